"""Tests of `repacking`: schedules that count bytes find addresses with little delay."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, TaskGraph
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.allocation_schedule import Packing, counted, packed_schedules
from ooc_solve.solver.allocation_search import UNLIMITED
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.heuristics import serial
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.repacking import Repair, repaired
from ooc_solve.solver.search import COUNTING, REPAIRED


def _case(name: str, sram_bytes: int) -> tuple[Problem, TaskGraph]:
    """The tasks of the selection that the serial rule makes."""
    problem = Problem(zoo_network(name), load_target("f746-sd"), sram_bytes, IoPlace.STORAGE)
    plan = serial(problem, Budget()).plan
    assert plan is not None
    return problem, expand(problem, plan.selection)


CASES = [("resnet8", 24576), ("ds_cnn", 16384), ("autoencoder", 8192)]


@pytest.mark.parametrize(("name", "sram_bytes"), CASES)
def test_repaired_schedules_keep_every_rule(name: str, sram_bytes: int) -> None:
    """Tasks wait for their data, channels do one thing at a time, and no two buffers share a byte."""
    problem, graph = _case(name, sram_bytes)
    schedule = repaired(problem, graph, REPAIRED, UNLIMITED)
    assert schedule is not None
    start, end = (
        schedule.start_ns,
        [s + t.duration_ns for s, t in zip(schedule.start_ns, graph.tasks, strict=True)],
    )
    assert all(end[other] <= start[task.index] for task in graph.tasks for other in task.after)
    for resource in graph.resources:
        own = sorted((start[t.index], end[t.index]) for t in graph.tasks if t.resource == resource)
        assert all(a[1] <= b[0] for a, b in pairwise(own))
    alive = _lives(graph, schedule.start_ns, end)
    places = [(schedule.address[b.index], schedule.address[b.index] + b.size_bytes) for b in graph.buffers]
    assert max(high for _, high in places) <= problem.arena_bytes
    for i, (a, p) in enumerate(zip(alive, places, strict=True)):
        for b, q in zip(alive[:i], places[:i], strict=True):
            assert a[1] <= b[0] or b[1] <= a[0] or p[1] <= q[0] or q[1] <= p[0]


def _lives(graph: TaskGraph, start: tuple[int, ...], end: list[int]) -> list[tuple[int, int]]:
    """From the start of the first task that touches a buffer to the end of the last; all the time if pinned."""
    found = []
    for buffer in graph.buffers:
        users = [t.index for t in graph.tasks if any(x.buffer == buffer.index for x in (*t.reads, *t.writes))]
        writers = [t.index for t in graph.tasks if any(x.buffer == buffer.index for x in t.writes)]
        begin = min((start[t] for t in writers or users), default=0)
        ends = max((end[t] for t in users), default=begin)
        found.append((0, max(end)) if buffer.pinned else (begin, ends))
    return found


@pytest.mark.parametrize(("name", "sram_bytes"), CASES)
def test_repairing_is_no_worse_than_packing(name: str, sram_bytes: int) -> None:
    """Where a counted schedule has addresses as it is, it is taken as it is; otherwise little is lost."""
    problem, graph = _case(name, sram_bytes)
    least = min(t.makespan_ns for policy in REPAIRED if (t := counted(problem, graph, policy)) is not None)
    schedule = repaired(problem, graph, REPAIRED, UNLIMITED)
    assert schedule is not None
    assert least <= makespan_ns(graph, schedule.start_ns) <= 1.05 * least
    packed = next(packed_schedules(problem, graph, COUNTING[:1], UNLIMITED), None)
    if packed is not None and counted(problem, graph, COUNTING[0]) == counted(problem, graph, REPAIRED[0]):
        assert makespan_ns(graph, schedule.start_ns) <= makespan_ns(graph, packed.start_ns)


def test_a_limit_is_kept() -> None:
    """Nothing that takes as long as the limit is handed out."""
    problem, graph = _case("resnet8", 24576)
    found = repaired(problem, graph, REPAIRED, UNLIMITED)
    assert found is not None
    takes = makespan_ns(graph, found.start_ns)
    again = repaired(problem, graph, REPAIRED, takes)
    assert again is None or makespan_ns(graph, again.start_ns) < takes


def test_a_wait_delays_a_task() -> None:
    """A task that waits for another one starts when that has ended, not earlier."""
    problem, graph = _case("ds_cnn", 16384)
    repair = Repair(problem, graph, partial(counted, problem, graph, REPAIRED[0]))
    free = repair._timed({})
    assert free is not None
    kernel = graph.compute_tasks[0].index
    early = (t.index for t in graph.tasks if t.transfer and 0 < free.start_ns[t.index] < free.end_ns[kernel])
    late = next(t for t in early if t not in graph.tasks[kernel].after)
    held = repair._timed({late: frozenset({kernel})})
    assert held is not None
    assert held.start_ns[late] >= held.end_ns[kernel]
    assert len(Packing(problem, graph).lifetimes(held)) == len(graph.buffers)
