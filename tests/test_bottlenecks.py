"""Critical paths and plans timed again, on a plan worked out by hand and on those of all schedulers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from ooc_solve.api import Comparison
from ooc_solve.bottlenecks import (
    SAME_PARTS,
    Cause,
    critical_ns,
    critical_ns_of_layers,
    critical_path,
    retimed,
)
from ooc_solve.models.vocabulary import (
    Buffer,
    BufferRole,
    Figures,
    Footprint,
    Plan,
    RegionName,
    Schedule,
    Selection,
    Task,
    TaskGraph,
    TaskKind,
    Touch,
    Transfer,
)
from ooc_solve.solver.streams import earliest_times, synchronize


@pytest.fixture
def plan() -> Plan:
    """Two tiles whose weights take turns in the same bytes: the second load waits for the first kernel.

    load A 10 | compute A 30 (10 to 40) | load B 20 (40 to 60) | compute B 5 (60 to 65)
    """
    block = Footprint(0, 8)
    graph = TaskGraph(
        tasks=(
            Task(0, TaskKind.LOAD, "sd", 10, 0, -1, (), (Touch(0, block),), (), _image(0)),
            Task(1, TaskKind.COMPUTE, "cpu", 30, 0, 0, (Touch(0, block),), (Touch(2, block),), (0,)),
            Task(2, TaskKind.LOAD, "sd", 20, 1, -1, (), (Touch(1, block),), (), _image(8)),
            Task(3, TaskKind.COMPUTE, "cpu", 5, 1, 0, (Touch(1, block),), (Touch(2, block),), (2,)),
        ),
        buffers=(
            Buffer(0, BufferRole.WEIGHTS, 0, "A", 8),
            Buffer(1, BufferRole.WEIGHTS, 1, "B", 8),
            Buffer(2, BufferRole.OUTPUT, 1, "out", 8),
        ),
        resources=("cpu", "sd"),
        regions=(),
    )
    schedule = Schedule((0, 10, 40, 60), (0, 0, 8))
    streams = synchronize(graph, schedule)
    assert earliest_times(graph, streams) == schedule.start_ns
    figures = Figures(65, 0, 16, 0, 16, 0, 35, 30, None)
    return Plan(Selection((), frozenset()), graph, schedule, streams, figures, "by hand")


def _image(offset: int) -> Transfer:
    return Transfer(RegionName.IMAGE, offset, 8)


def test_by_hand(plan: Plan) -> None:
    """The first load is IO, the one that waited for room is memory, and kernels are computing."""
    path = critical_path(plan)
    assert [(step.task.index, step.cause) for step in path] == [
        (0, Cause.IO),
        (1, Cause.COMPUTE),
        (2, Cause.MEMORY),
        (3, Cause.COMPUTE),
    ]
    assert critical_ns(path) == {Cause.COMPUTE: 35, Cause.IO: 10, Cause.MEMORY: 20}
    first, second = critical_ns_of_layers(path, 2)
    assert (first[Cause.IO], second[Cause.MEMORY]) == (10, 20)


def test_timed_again_by_hand(plan: Plan) -> None:
    """Halved transfers, halved kernels, and the second load at 10 ns instead of 40."""
    found = {again.change: again.latency_ns for again in retimed(plan)}
    assert found == {
        SAME_PARTS: 65,
        "storage twice as fast": 5 + 30 + 10 + 5,
        "kernels twice as fast": 10 + 15 + 20 + 3,
        "SRAM never in the way": 10 + 30 + 5,
    }


def test_room_makes_it_io(plan: Plan) -> None:
    """With bytes of its own, the second load follows the first and nothing is put down to memory."""
    schedule = Schedule((0, 10, 10, 40), (0, 16, 8))
    streams = synchronize(plan.graph, schedule)
    roomy = replace(plan, schedule=schedule, streams=streams, figures=replace(plan.figures, latency_ns=45))
    assert critical_ns(critical_path(roomy)) == {Cause.COMPUTE: 35, Cause.IO: 10, Cause.MEMORY: 0}


def test_a_late_start_is_refused(plan: Plan) -> None:
    """A gap that no task explains is an error, not a wrong share."""
    late = replace(plan, schedule=Schedule((0, 10, 40, 61), (0, 0, 8)))
    with pytest.raises(ValueError, match="starts at 61 ns"):
        critical_path(late)


def test_the_path_has_no_gap(comparison: Comparison) -> None:
    """For the plan of every scheduler the path leads from 0 to the end of the run."""
    assert len(comparison.plans) > 3
    for plan in (found.decided for found in comparison.plans.values()):
        path = critical_path(plan)
        start = plan.schedule.start_ns
        assert start[path[0].task.index] == 0
        for first, second in pairwise(path):
            assert start[first.task.index] + first.task.duration_ns == start[second.task.index]
        assert sum(critical_ns(path).values()) == plan.figures.latency_ns


def test_the_chosen_plan_is_timed_like_planned(comparison: Comparison) -> None:
    """With the same parts it takes as long as its figures say, and better parts never make it slower."""
    base, *others = retimed(comparison.plan.decided)
    assert (base.change, base.latency_ns) == (SAME_PARTS, comparison.plan.figures.latency_ns)
    assert all(again.latency_ns <= base.latency_ns for again in others)
