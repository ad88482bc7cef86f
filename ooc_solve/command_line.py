"""What all commands do alike: how a command line that makes no sense is answered, and work that fails."""

from __future__ import annotations

import argparse
import difflib
import errno
import re
import sys
from collections.abc import Callable
from typing import NoReturn

from ooc_solve.__main__ import EXIT_INTERRUPTED
from ooc_solve.models.vocabulary import InternalError, OocError, UsageError

NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EIO)
"""Errors of a full or broken disk, which only standard output has left to raise: files are asked for by name."""


class Parser(argparse.ArgumentParser):
    """A parser whose complaints are one line; an option that it does not know is answered with the nearest."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and exit with status 2."""
        words = re.sub(r"^argument ", "", message)
        unknown = re.match(r"unrecognized arguments: (\S+)", message)
        if unknown:
            words = f"there is no option '{unknown[1]}'{self._nearest(unknown[1])}"
            if not unknown[1].startswith("-"):
                words = f"one argument too many: '{unknown[1]}'"
        self.exit(UsageError.exit_code, f"{self.prog}: error: {UsageError(words)} (see {self.prog} --help)\n")

    def _nearest(self, option: str) -> str:
        known = [name for action in self._actions for name in action.option_strings]
        found = difflib.get_close_matches(option.split("=")[0], known, 1)
        return f"; the nearest is '{found[0]}'" if found else ""


def exit_code_of(
    program: str, work: Callable[[], int], interrupted: str = "interrupted, nothing written"
) -> int:
    """Do the work of a command; what ends it early is one line on standard error.

    ``interrupted`` is what is said after Ctrl-C. Nothing is said where whoever read the output has left.
    """
    try:
        return work()
    except OocError as error:
        kind = "internal check failed" if isinstance(error, InternalError) else "error"
        print(f"{program}: {kind}: {error}", file=sys.stderr)
        return error.exit_code
    except MemoryError:
        print(
            f"{program}: error: this needs more memory than this machine gives; use a smaller model.",
            file=sys.stderr,
        )
        return OocError.exit_code
    except KeyboardInterrupt:
        print(f"{program}: {interrupted}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()  # or Python complains there when it cannot flush standard output
        return OocError.exit_code
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        print(f"{program}: error: the output cannot be written ({error.strerror}).", file=sys.stderr)
        sys.stderr.close()  # as above
        return OocError.exit_code
