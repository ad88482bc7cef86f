"""Exercises of the notebooks: an answer that is still ``...`` is no error, so notebooks run before it is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

UNANSWERED = "Not answered yet."
RIGHT = "Right."


def check(answer: Any, right: Callable[[Any], bool], hint: str) -> None:
    """Print whether an answer is right, and the hint if it is not.

    ``right`` is told the answer; an answer it cannot work with is wrong, and the reason is shown.
    """
    print(verdict_on(answer, right, hint))


def verdict_on(answer: Any, right: Callable[[Any], bool], hint: str) -> str:
    """What `check` prints."""
    if answer is ...:
        return UNANSWERED
    try:
        return RIGHT if right(answer) else f"Not yet: {hint}"
    except Exception as error:  # noqa: BLE001 - whatever an answer leads to
        return f"Not yet: {hint} (the check says: {error})"
