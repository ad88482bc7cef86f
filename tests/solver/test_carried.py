"""A plan for a slower channel is a plan for a faster one, and takes no longer there."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooc_solve.models.link_speed import at_speed
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Objective
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.plans import carried
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.solver.validate import validate


@pytest.mark.parametrize(
    ("name", "target", "kib", "scheduler"),
    [
        ("ds_cnn", "f746-sd", 12, "double-buffering"),
        ("autoencoder", "u585-octal", 24, "swap-list"),
        ("resnet8", "n6-neural-art", 64, "demand-layering"),
    ],
)
def test_a_carried_plan_is_no_worse(name: str, target: str, kib: int, scheduler: str) -> None:
    """Ever faster channels give the same selection no more time and energy, the same bytes, and a valid plan."""
    slow = Problem(zoo_network(name), load_target(target), kib << 10, IoPlace.STORAGE, Objective.ENERGY)
    plan = SCHEDULERS[scheduler](slow, Budget()).plan
    assert plan is not None
    figures = [plan.figures]
    for speed in (1.01, 1.5, 3, 20):
        fast = replace(slow, target=at_speed(slow.target, speed))
        found = carried(fast, plan)
        assert found is not None
        assert not validate(fast, found)
        assert found.selection == plan.selection
        figures.append(found.figures)
    latencies, energies = [f.latency_ns for f in figures], [f.energy_nj for f in figures]
    assert latencies == sorted(latencies, reverse=True)
    assert energies == sorted(energies, reverse=True)
    assert latencies[-1] < latencies[0]
    assert len({(f.bytes_read, f.bytes_written, f.lifetime_years) for f in figures}) == 1
