"""The command ``ooc-solve``, also as ``python -m ooc_solve``: light, so that Ctrl-C is heeded from the start."""

from __future__ import annotations

import os
import signal
import sys
from types import FrameType

EXIT_INTERRUPTED = 130


def main() -> int:
    """Load the command and run it; returns the exit code."""
    heeds = signal.getsignal(signal.SIGINT) is signal.default_int_handler
    try:
        if heeds:  # an exception in the middle of an import comes out as any other error
            signal.signal(signal.SIGINT, _leave)
        from ooc_solve.cli import main as command

        if heeds:
            signal.signal(signal.SIGINT, signal.default_int_handler)
        return command()
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _leave(number: int, frame: FrameType | None) -> None:
    os.write(2, b"ooc-solve: interrupted, nothing written\n")
    os._exit(EXIT_INTERRUPTED)


if __name__ == "__main__":
    sys.exit(main())
