"""What a search says while it runs, kept for reports and passed on to whoever watches."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Step:
    """What a search knew after so many seconds: the value of its best plan, and its bound."""

    seconds: float
    what: str
    best: int | None
    bound: int

    def told(self, amount: Callable[[int], str]) -> str:
        """The step in words; ``amount`` writes a value with its unit."""
        shown = "no plan yet" if self.best is None else f"best {amount(self.best)}"
        gap = "" if not self.best else f", gap {(self.best - self.bound) / self.best:.1%}"
        return f"{self.seconds:5.1f} s  plans up to {self.what}: {shown}, bound {amount(self.bound)}{gap}"

    def __str__(self) -> str:
        return self.told("{:,}".format)


class History:
    """The steps of a search, each passed on to ``tell``; a solver calls it as its progress."""

    def __init__(self, tell: Callable[[Step], None] | None = None) -> None:
        self.steps: list[Step] = []
        self.tell = tell

    def __call__(self, what: str, seconds: float, best: int | None, bound: int) -> None:
        """Keep a step and pass it on."""
        step = Step(seconds, what, best, bound)
        self.steps.append(step)
        if self.tell is not None:
            self.tell(step)
