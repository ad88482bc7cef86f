"""Least wear: the fewest bytes written for which there is a plan, and then the fastest of those plans.

Bytes written do not depend on the schedule, so wear is minimised by searches for latency under write
budgets: first the least that the selection model allows, and where nothing is found there, budgets
between that and the best plan known.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Objective, Result, Status
from ooc_solve.solver.deadline import ends_at, left_s

Search = Callable[[Problem, Budget], Result]
"""Plans for a problem that is judged by latency."""

FLOOR_SHARE = 0.1
"""Share of the time limit for the bound on bytes written."""

FIRST_SHARE = 0.45
"""Share for the search at that bound."""

STEPS = 4
"""Budgets that are tried between the bound and the best plan known."""

Floor = Callable[[Problem, float], int | None]
"""Least bytes written over the option space within so many seconds; None if nothing keeps to the budgets."""

Known = Callable[[], int | None]
"""Fewest bytes that a plan writes which is known by now; None if none is."""


def least_wear(problem: Problem, budget: Budget, search: Search, floor: Floor, known: Known) -> Result:
    """The plan that writes least, of several the fastest; its bound holds for the whole option space."""
    begun = time.monotonic()
    least = floor(problem, FLOOR_SHARE * budget.time_limit_s)
    if least is None:
        return Result("cp-sat", Status.INFEASIBLE, None, None, 0, time.monotonic() - begun)
    most = least + problem.note_bytes  # the bound does not know of notes
    result = _within(problem, most, search, _share(budget, FIRST_SHARE))
    if result.plan is None and left_s() > 0:
        result = _between(
            problem,
            most,
            search,
            known,
            replace(budget, time_limit_s=begun + budget.time_limit_s - time.monotonic()),
        )
    seconds = time.monotonic() - begun
    if result.plan is None:
        return replace(result, bound=least, seconds=seconds)
    written = result.plan.figures.bytes_written
    status = Status.OPTIMAL if written <= least else Status.FEASIBLE
    return replace(result, status=status, objective=written, bound=min(written, least), seconds=seconds)


def _between(problem: Problem, failed: int, search: Search, known: Known, budget: Budget) -> Result:
    """Search at budgets between one that failed and what the best plan writes; without any as long as there is none."""
    end = time.monotonic() + budget.time_limit_s
    best = Result("cp-sat", Status.INFEASIBLE, None, None, 0, 0.0)
    for _ in range(STEPS):
        written, left = known(), min(end - time.monotonic(), left_s())
        if (written is not None and written <= failed + 1) or left <= 0 or best.reason:
            break  # a reason is given by searches that were interrupted
        middle = None if written is None else (failed + written) // 2
        found = _within(problem, middle, search, replace(budget, time_limit_s=left / 2))
        if found.plan is not None:
            best = found
        elif middle is None:
            break
        else:
            failed = middle
    return best


def _within(problem: Problem, most: int | None, search: Search, budget: Budget) -> Result:
    """The fastest plan that writes at most so many bytes, the problem's own budget kept."""
    both = [size for size in (most, problem.write_budget_bytes) if size is not None]
    here = replace(problem, objective=Objective.LATENCY, write_budget_bytes=min(both, default=None))
    if most is None:
        return search(here, budget)
    with ends_at(time.monotonic() + budget.time_limit_s):  # whatever is tried where there is no plan
        return search(here, budget)


def _share(budget: Budget, share: float) -> Budget:
    return replace(budget, time_limit_s=share * budget.time_limit_s)
