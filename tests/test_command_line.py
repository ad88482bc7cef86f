"""What every command does when its work fails."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from ooc_solve.command_line import exit_code_of
from ooc_solve.models.vocabulary import BudgetError, InputError, InternalError, UsageError


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (InputError("It is wrong."), 1, "ooc-x: error: It is wrong.\n"),
        (UsageError("it makes no sense"), 2, "ooc-x: error: it makes no sense\n"),
        (BudgetError("It is too little."), 3, "ooc-x: error: It is too little.\n"),
        (InternalError("It is our fault."), 4, "ooc-x: internal check failed: It is our fault.\n"),
        (
            MemoryError(),
            1,
            "ooc-x: error: this needs more memory than this machine gives; use a smaller model.\n",
        ),
        (KeyboardInterrupt(), 130, "ooc-x: interrupted, nothing written\n"),
    ],
)
def test_work_that_fails(
    capsys: pytest.CaptureFixture[str], error: BaseException, code: int, said: str
) -> None:
    """One line on standard error, and the exit code of its kind."""

    def work() -> int:
        raise error

    assert exit_code_of("ooc-x", work) == code
    assert capsys.readouterr() == ("", said)


def test_reader_that_has_left(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody reads the output any more nothing is said, not even when Python ends."""

    def work() -> int:
        raise BrokenPipeError

    class Closed:
        """Standard error that notes whether it was closed."""

        closed = False

        def close(self) -> None:
            self.closed = True

    stream = Closed()
    monkeypatch.setattr(sys, "stderr", stream)
    assert exit_code_of("ooc-x", work) == 1
    assert stream.closed


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is always full")
def test_full_disk_behind_standard_output() -> None:
    """Where the output does not fit there is one line and an exit code, and no traceback."""
    with open("/dev/full", "w") as full:
        call = [sys.executable, "-m", "ooc_solve", "--list-targets"]
        done = subprocess.run(call, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr == "ooc-solve: error: the output cannot be written (No space left on device).\n"
