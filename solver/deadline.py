"""The time limit as a promise: whatever takes long asks now and then whether the time of its caller is up.

Searches end by themselves when their share of the limit is spent. What cannot be left half done, such as
the options of a large network, a schedule of thousands of tasks, a rule of the comparison, has no result
to give by then: `keep_time` ends it with `TimeIsUp`, and whoever set the deadline says what is known.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from math import inf

OVERRUN_SHARE, OVERRUN_S = 0.04, 0.8
"""Share of a limit, and seconds, by which work in progress may exceed it: what is left of a tenth and two
seconds is for checking and printing the plan."""

LEAST_WORK_S = 2.4
"""Seconds of the processor that a deadline leaves in any case. A small network has a plan by then, however
little time was given, and however many others the machine works for."""


@dataclass(slots=True)
class _End:
    """A time of `time.monotonic`, and one of `time.process_time` that must have passed too."""

    moment: float
    worked: float

    def left_s(self) -> float:
        """Seconds until both have passed; negative afterwards."""
        now = time.monotonic()
        # work takes no less time than the processor does: nobody has to ask for that again before then
        self.moment = max(self.moment, now + self.worked - time.process_time())
        return self.moment - now


_ENDS: ContextVar[tuple[_End, ...]] = ContextVar("ends", default=())


class TimeIsUp(Exception):
    """What was being computed is given up, as its deadline has passed."""


@contextmanager
def ends_at(moment: float, least_s: float = 0.0) -> Iterator[None]:
    """Let what is done inside end at a time of `time.monotonic`, or earlier if that was said before.

    It may take ``least_s`` seconds of the processor in any case.
    """
    token = _ENDS.set((*_ENDS.get(), _End(moment, time.process_time() + least_s)))
    try:
        yield
    finally:
        _ENDS.reset(token)


@contextmanager
def within(limit_s: float) -> Iterator[None]:
    """Let what is done inside end with a time limit that begins now, or little later if it is in the middle of something."""
    with ends_at(time.monotonic() + limit_s * (1 + OVERRUN_SHARE) + OVERRUN_S, LEAST_WORK_S):
        yield


@contextmanager
def unhurried() -> Iterator[None]:
    """What must be finished once it is begun, such as checking a plan."""
    token = _ENDS.set(())
    try:
        yield
    finally:
        _ENDS.reset(token)


def left_s() -> float:
    """Seconds until the deadline; infinite where there is none."""
    return max(0.0, min((end.left_s() for end in _ENDS.get()), default=inf))


def keep_time() -> None:
    """Go on, unless the deadline has passed.

    Raises
    ------
    TimeIsUp
        If it has.
    """
    now = time.monotonic()
    for end in _ENDS.get():
        if now > end.moment and end.left_s() < 0:
            raise TimeIsUp
