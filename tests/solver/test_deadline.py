"""A time limit is kept to a tenth and two seconds, whatever is minimised, under whatever budgets."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from ooc_solve.models.limits import Limits
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_storage, load_target
from ooc_solve.models.vocabulary import Budget, Objective, Status, Target
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.deadline import LEAST_WORK_S, TimeIsUp, ends_at, keep_time, left_s, unhurried
from ooc_solve.solver.solve import cp_sat
from ooc_solve.solver.validate import validate

LIMIT_S = 2.0

FLASH, CARD = "w25q128jv", "sd-class10-tlc-32g"
BUDGETS: dict[str, dict[str, object]] = {
    "none": {},
    "ring": {"scratch_ring_bytes": 8 << 20},
    "life": {"limits": Limits(lifetime_years=0.5)},
    "life in ring": {"limits": Limits(lifetime_years=0.5), "scratch_ring_bytes": 8 << 20},
    "long life in ring": {"limits": Limits(lifetime_years=50.0), "scratch_ring_bytes": 8 << 20},
    "writes": {"write_budget_bytes": 40_000},
    "few writes": {"write_budget_bytes": 100},
    "latency": {"limits": Limits(latency_ns=400_000_000)},
    "energy": {"limits": Limits(energy_nj=100_000_000)},
    "all": {
        "limits": Limits(latency_ns=10**10, energy_nj=10**10, lifetime_years=0.5),
        "scratch_ring_bytes": 8 << 20,
        "write_budget_bytes": 50_000,
    },
}
"""Budgets that ds_cnn in 13 KiB keeps to, narrowly, or cannot keep to."""

PER_PUSH = (("wear", "life in ring", FLASH),)


def with_part(part: str) -> Target:
    """A target with everything in one part."""
    target = load_target("f746-sd")
    store = replace(target.weights, storage=load_storage(part))
    return replace(target, weights=store, activations=store)


@pytest.fixture
def own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time is that of the processor, so that it does not matter what else the machine does."""
    monkeypatch.setattr(time, "monotonic", time.process_time)


@pytest.mark.usefixtures("own_clock")
@pytest.mark.parametrize(
    ("objective", "budget", "part"),
    [
        *PER_PUSH,
        *(
            pytest.param(objective.value, budget, part, marks=pytest.mark.slow)
            for objective in Objective
            for budget in BUDGETS
            for part in (FLASH, CARD)
            if (objective.value, budget, part) not in PER_PUSH
        ),
    ],
)
def test_every_search_keeps_its_limit(objective: str, budget: str, part: str) -> None:
    """The search ends in time; a plan keeps to all budgets and is not below the bound, and without one there is a reason."""
    plain = Problem(zoo_network("ds_cnn"), with_part(part), 13 << 10, IoPlace.SRAM, Objective(objective))
    problem = replace(plain, **BUDGETS[budget])  # type: ignore[arg-type]
    begun = time.process_time()
    found = cp_sat(problem, Budget(LIMIT_S, 1, 1))
    assert time.process_time() - begun < max(LIMIT_S, LEAST_WORK_S) * 1.1 + 2
    if found.plan is None:
        assert found.status is Status.INFEASIBLE
        assert found.reason
    else:
        assert validate(problem, found.plan) == ()
        assert found.objective is not None
        assert found.bound <= found.objective


@pytest.mark.parametrize("objective", Objective)
def test_an_output_that_wears_its_part_is_told_at_once(objective: Objective) -> None:
    """Where the output is written to bare flash in every run, no ring and no search makes it live longer."""
    problem = Problem(
        *(zoo_network("ds_cnn"), with_part(FLASH), 13 << 10, IoPlace.STORAGE, objective),
        limits=Limits(lifetime_years=5.0), scratch_ring_bytes=8 << 20,
    )  # fmt: skip
    found = cp_sat(problem, Budget(60.0, 1, 1))
    assert (found.status, found.seconds) == (Status.INFEASIBLE, 0.0)
    assert "lives 0.274 years if the output is written to it" in found.reason
    assert "(--io sram)" in found.reason


def test_an_inner_deadline_does_not_outlast_the_outer_one() -> None:
    """Of several deadlines the first counts, and behind it nothing goes on but what must be finished."""
    now = time.monotonic()
    with ends_at(now + 100):
        assert 90 < left_s() <= 100
        with ends_at(now + 1000):
            assert left_s() <= 100
        with ends_at(now - 1):
            assert left_s() == 0
            with pytest.raises(TimeIsUp):
                keep_time()
            with unhurried():
                keep_time()
        keep_time()
