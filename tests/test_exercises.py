"""Verdicts on answers."""

from __future__ import annotations

from typing import Any

import pytest

from ooc_solve.exercises import check


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (..., "Not answered yet."),
        (6, "Right."),
        (5, "Not yet: try six"),
        ("six", "Not yet: try six (the check says: not a number: six)"),
    ],
)
def test_check(answer: Any, words: str, capsys: pytest.CaptureFixture[str]) -> None:
    """An open answer is no error, a wrong one gets the hint, one that the check cannot take says why."""

    def right(it: Any) -> bool:
        if not isinstance(it, int):
            raise TypeError(f"not a number: {it}")
        return it == 6

    check(answer, right, "try six")
    assert capsys.readouterr().out == words + "\n"
