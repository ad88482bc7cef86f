"""A plan within the budgets, soon: no rule minds them, but the selection model does.

Tiles can be packed the more easily the more of the arena is left free, but the less of it there is the more is
written. Which share is best is not known before, so several are tried.
"""

from __future__ import annotations

import math
from functools import lru_cache

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Selection, Status
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.search import Candidate, evaluate
from ooc_solve.solver.selection import Aim, SelectionModel, Space

SHARES = (0.95, 0.93, 0.9, 0.86, 0.8, 0.7)
"""Shares of the arena that are tried, down to one that is too small for the budgets; the whole of it comes last."""

SECONDS = 3.0
"""Time for each of these selections, which need not be the best."""

MOST_TASKS = 20_000
"""Selections of more tasks take minutes to be carried out."""


NEARLY = 1.05
"""How many times the least that a selection writes a plan may write that is to write little."""


@lru_cache(maxsize=32)
def quick_plan(here: Problem) -> Candidate | None:
    """A fast plan within the budgets; None if none is found soon."""
    return _plan(here, math.inf)


@lru_cache(maxsize=32)
def thrifty_plan(here: Problem) -> Candidate | None:
    """A plan within the budgets that writes little; None if none is found soon."""
    return _plan(here, NEARLY)


def _plan(here: Problem, factor: float) -> Candidate | None:
    """A plan that writes at most so many times what the selection writes least that it is made of."""
    space = space_of(here)
    for share in SHARES:
        selection = _selected(space, share, factor, firm=True)
        if selection is None:
            break  # nor does a smaller one do
        found = evaluate(here, selection)
        if found is not None:
            return found
    whole = (_selected(space, 1.0, factor, firm) for firm in (True, False))
    plans = (evaluate(here, selection) for selection in whole if selection is not None)
    return next((plan for plan in plans if plan is not None), None)


def _selected(space: Space, share: float, factor: float, firm: bool) -> Selection | None:
    """What the selection model takes for the fastest in a share of the arena, starting from what writes least."""
    model = SelectionModel(space, int(space.problem.arena_bytes * share), firm=firm)
    model.few_tasks(MOST_TASKS)
    least = model.solve(Aim.WRITES, Budget(SECONDS, 1, 1))
    if least.selection is None:
        return None
    if math.isfinite(factor):
        model.few_writes(int(factor * least.value))
    return model.solve(Aim.LAYER_OVERLAP, Budget(SECONDS, 1, 1)).selection


@lru_cache(maxsize=64)
def can_keep_to_writes(here: Problem) -> bool:
    """Whether a selection of the options that are offered may keep to the write budget; soon known where none does."""
    if here.most_stored_bytes is None and here.allows_writes:
        return True
    return (
        SelectionModel(space_of(here)).solve(Aim.WRITES, Budget(SECONDS, 1, 1)).status
        is not Status.INFEASIBLE
    )
