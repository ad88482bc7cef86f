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
from math import inf

from ortools.sat.python import cp_model

OVERRUN_SHARE, OVERRUN_S = 0.04, 0.8
"""Share of a limit, and seconds, by which work in progress may exceed it: what is left of a tenth and two
seconds is for checking and printing the plan."""

_MOMENT: ContextVar[float] = ContextVar("deadline", default=inf)


class TimeIsUp(Exception):
    """What was being computed is given up, as its deadline has passed."""


@contextmanager
def ends_at(moment: float) -> Iterator[None]:
    """Let what is done inside end at a time of `time.monotonic`, or earlier if that was said before."""
    token = _MOMENT.set(min(moment, _MOMENT.get()))
    try:
        yield
    finally:
        _MOMENT.reset(token)


@contextmanager
def unhurried() -> Iterator[None]:
    """What must be finished once it is begun, such as checking a plan."""
    token = _MOMENT.set(inf)
    try:
        yield
    finally:
        _MOMENT.reset(token)


def limit_ends(limit_s: float) -> float:
    """When work under a limit that begins now has to end, at last."""
    return time.monotonic() + limit_s * (1 + OVERRUN_SHARE) + OVERRUN_S


def left_s() -> float:
    """Seconds until the deadline; infinite where there is none."""
    return max(0.0, _MOMENT.get() - time.monotonic())


def keep_time() -> None:
    """Go on, unless the deadline has passed.

    Raises
    ------
    TimeIsUp
        If it has.
    """
    if time.monotonic() > _MOMENT.get():
        raise TimeIsUp


def solved_in_time(
    solver: cp_model.CpSolver,
    model: cp_model.CpModel,
    watch: cp_model.CpSolverSolutionCallback | None = None,
) -> cp_model.CpSolverStatus:
    """Let CP-SAT solve a model within its own limits, but no longer than until the deadline.

    Raises
    ------
    TimeIsUp
        If the deadline left it less time than it was to have, and it found nothing in that.
    """
    asked_s, left = solver.parameters.max_time_in_seconds, left_s()
    keep_time()
    solver.parameters.max_time_in_seconds = min(asked_s, left)
    code = solver.solve(model, watch)
    if code == cp_model.UNKNOWN and left < asked_s:
        raise TimeIsUp
    return code
