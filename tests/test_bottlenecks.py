"""Critical paths and plans timed again, on a plan worked out by hand and on those of all schedulers."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from ooc_solve.api import Comparison, encrypted, load, target
from ooc_solve.bottlenecks import (
    SAME_PARTS,
    Cause,
    critical_ns,
    critical_ns_of_layers,
    critical_path,
    retimed,
)
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.vocabulary import (
    Budget,
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
from ooc_solve.report import layers_of
from ooc_solve.solver.solve import SCHEDULERS
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
    assert critical_ns(path) == {Cause.COMPUTE: 35, Cause.CRYPTO: 0, Cause.IO: 10, Cause.MEMORY: 20}
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
    assert critical_ns(critical_path(roomy)) == {
        Cause.COMPUTE: 35,
        Cause.CRYPTO: 0,
        Cause.IO: 10,
        Cause.MEMORY: 0,
    }


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


CIPHER = (TaskKind.DECRYPT, TaskKind.ENCRYPT)


def sealed(beside: bool, scheduler: str) -> tuple[Problem, Plan]:
    """A plan of a small network with sealed records, opened by slow software or by an engine that is as slow."""
    board = encrypted(target("f746-sd"), "aes-128-gcm")
    assert board.crypto is not None
    cipher = replace(board.crypto, cycles_per_byte=1000)
    if beside:
        cipher = replace(cipher, engine="hw", cpu_busy=False)
    problem = Problem(load("zoo:ds_cnn"), replace(board, crypto=cipher), 32 << 10, IoPlace.STORAGE)
    plan = SCHEDULERS[scheduler](problem, Budget(5.0, 1, 1)).plan
    assert plan is not None
    return problem, plan


@pytest.mark.parametrize("scheduler", ["serial", "demand-layering"])
@pytest.mark.parametrize("beside", [False, True], ids=["software", "engine"])
def test_opening_and_sealing_is_crypto(beside: bool, scheduler: str) -> None:
    """Only kernels are computing and only transfers IO or memory; a layer whose path is mostly cipher says so."""
    problem, plan = sealed(beside, scheduler)
    path = critical_path(plan)
    for step in path:
        assert (step.cause is Cause.CRYPTO) is (step.task.kind in CIPHER)
        assert (step.cause is Cause.COMPUTE) is (step.task.kind is TaskKind.COMPUTE)
    found = critical_ns(path)
    assert found[Cause.CRYPTO] == sum(s.task.duration_ns for s in path if s.task.kind in CIPHER) > 0
    assert sum(found.values()) == plan.figures.latency_ns
    shares = critical_ns_of_layers(path, len(problem.network.ops))
    bound = [layer.bound_by for layer in layers_of(problem, plan)]
    assert "crypto" in bound
    for word, share in zip(bound, shares, strict=True):
        assert (word == "crypto") is (
            0 < share[Cause.CRYPTO] > max(share[c] for c in Cause if c.value != "crypto")
        )


def test_a_faster_cipher_by_hand(plan: Plan) -> None:
    """Behind the second load its record is opened for 8 ns: a cipher twice as fast ends 4 ns earlier."""
    *first, last = plan.graph.tasks
    touches, image = last.reads, first[2].transfer
    opening = Task(3, TaskKind.DECRYPT, "cpu", 8, 1, -1, touches, touches, (2,), image)
    tasks = (*first, opening, replace(last, index=4, after=(3,)))
    graph = replace(plan.graph, tasks=tasks)
    schedule = Schedule((0, 10, 40, 60, 68), (0, 0, 8))
    opened = replace(plan, graph=graph, schedule=schedule, streams=synchronize(graph, schedule))
    assert critical_ns(critical_path(opened)) == {
        Cause.COMPUTE: 35,
        Cause.CRYPTO: 8,
        Cause.IO: 10,
        Cause.MEMORY: 20,
    }
    found = {again.change: again.latency_ns for again in retimed(opened)}
    assert found == {
        SAME_PARTS: 73,
        "storage twice as fast": 5 + 30 + 10 + 8 + 5,
        "kernels twice as fast": 10 + 15 + 20 + 8 + 3,
        "cipher twice as fast": 10 + 30 + 20 + 4 + 5,
        "SRAM never in the way": 10 + 30 + 8 + 5,
    }
