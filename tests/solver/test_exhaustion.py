"""Small problems are solved to the end: what is proven is what trying every selection gives."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import replace
from itertools import islice
from math import inf

import pytest

from ooc_solve.models.vocabulary import Budget, Objective, Status
from ooc_solve.solver import exhaustion
from ooc_solve.solver.exhaustion import Exhaustion
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.solve import cp_sat
from tests.solver.test_relaxation import MOST_SELECTIONS, choices, optimum_ns, random_problem


def check_selections(seed: int) -> Counter[str]:
    """Compare what is proven, from several plans known, with the best of all selections of a small space."""
    problem = random_problem(seed, most_ops=3, side=4, channels=6)
    space = space_of(problem)
    every = (
        list(islice(choices(space, random.Random(seed)), MOST_SELECTIONS + 1)) if all(space.options) else []
    )
    if not every or len(every) > MOST_SELECTIONS:
        return Counter()
    values = [optimum_ns(problem, chosen) for chosen in every]
    if -1 in values or all(value is None for value in values):
        return Counter()
    best = min(value for value in values if value is not None)
    for known in (best, best + 1, 3 * best):
        search = Exhaustion(problem, [space], known, inf)
        assert search.bound() == best, f"seed {seed}, {known} known"
        assert [c.score[0] for c in search.found[-1:]] == ([best] if known > best else []), f"seed {seed}"
    alone = Exhaustion(problem, [space], best + 1, inf)
    alone.bound()
    return Counter({"tried": 1, "selections": len(every), "scheduled": alone.tried})


def test_what_is_proven_is_the_best_selection() -> None:
    """Branch and bound ends with the best of all selections, whatever plan is known, and schedules fewer of them."""
    seen = sum((check_selections(seed) for seed in range(40)), Counter[str]())
    assert seen["tried"] >= 5, seen
    assert seen["scheduled"] < seen["selections"] / 2, seen


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_what_is_proven_is_the_best_selection_often(block: int) -> None:
    """The same over a thousand problems."""
    seen = sum(
        (check_selections(seed) for seed in range(1000 + 250 * block, 1250 + 250 * block)), Counter[str]()
    )
    assert seen["tried"] >= 40, seen


@pytest.mark.parametrize("seed", [19, 22, 34, 37])
@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.ENERGY])
def test_small_problems_are_proven(seed: int, objective: Objective) -> None:
    """Problems whose bound is far from the best plan are solved to optimality all the same."""
    problem = replace(random_problem(seed, most_ops=5, side=8, channels=16), objective=objective)
    result = cp_sat(problem, Budget(20.0, 1, 1))
    assert result.status is Status.OPTIMAL


def test_what_is_known_early_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is given up before any selection the bound is that of the relaxation, which no plan is below."""
    problem = random_problem(4, most_ops=5, side=8, channels=16)
    whole = Exhaustion(problem, [space_of(problem)], 10**9, inf)
    best = whole.bound()
    monkeypatch.setattr(exhaustion, "MOST_BEGINNINGS", -1)
    early = Exhaustion(problem, [space_of(problem)], 10**9, inf)
    assert 0 < early.bound() < best
    assert not early.found
