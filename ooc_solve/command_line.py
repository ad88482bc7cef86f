"""What all commands do alike with a command line that makes no sense: one sentence, and where to read more."""

from __future__ import annotations

import argparse
import difflib
import re
from typing import NoReturn

from ooc_solve.models.vocabulary import UsageError


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
