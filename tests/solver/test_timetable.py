"""Tests of `timetable`: what is counted anew after a change is what counting everything gives."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import pytest

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Plan, Schedule, TaskGraph
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import windows
from ooc_solve.solver.heuristics import double_buffering, serial
from ooc_solve.solver.listing import makespan_ns, settle
from ooc_solve.solver.streams import synchronize
from ooc_solve.solver.timetable import Timetable

CASES = (
    ("ds_cnn", "h747-qspi", 4736),
    ("resnet8", "h747-qspi-sd", 16384),
    ("ds_cnn", "n6-neural-art", 12288),
    ("resnet8", "f746-sd", 16384),
)
"""One channel, two of them, a second unit that computes, a channel for both ways."""


@cache
def _plan(network: str, target: str, sram_bytes: int, overlaps: bool) -> tuple[Problem, Plan]:
    problem = Problem(zoo_network(network), load_target(target), sram_bytes, IoPlace.STORAGE)
    assert not interruption_ns(problem.target)
    plan = (double_buffering if overlaps else serial)(problem, Budget()).plan
    assert plan is not None
    return problem, plan


def _latest(graph: TaskGraph, schedule: Schedule) -> Sequence[int]:
    """Latest starts by the waits of all streams, counted from the end."""
    streams, end_ns = synchronize(graph, schedule), makespan_ns(graph, schedule.start_ns)
    ends = [end_ns] * len(graph.tasks)
    before = {later.index: earlier for earlier, later in pairwise(graph.compute_tasks)}
    for task in sorted(range(len(ends)), key=lambda t: (schedule.start_ns[t], t), reverse=True):
        start = ends[task] - graph.tasks[task].duration_ns
        if (kernel := before.get(task)) is not None:
            ends[kernel.index] = min(ends[kernel.index], start + kernel.duration_ns)
        for order, count in zip(streams.order, streams.required[task], strict=True):
            if count:
                ends[order[count - 1]] = min(ends[order[count - 1]], start)
    return [end - task.duration_ns for end, task in zip(ends, graph.tasks, strict=True)]


def _agrees(graph: TaskGraph, table: Timetable, schedule: Schedule) -> None:
    """The timetable is that of settling everything."""
    settled = settle(graph, schedule.start_ns, schedule.address)
    assert table.schedule == settled
    assert table.makespan_ns == makespan_ns(graph, settled.start_ns)
    assert list(table.latest_ns) == _latest(graph, settled)
    assert table.sequence == tuple(sorted(table.sequence, key=lambda t: (settled.start_ns[t], t)))
    assert all(table.sequence[place] == task for task, place in enumerate(table.place))
    for count in (0, len(graph.tasks) // 3, len(graph.tasks)):
        for name in graph.resources:
            done = [t for t in table.sequence[:count] if graph.tasks[t].resource == name]
            left = [t for t in table.sequence[count:] if graph.tasks[t].resource == name]
            ends = (settled.start_ns[t] + graph.tasks[t].duration_ns for t in done)
            assert table.free(count)[name] == max(ends, default=0)
            assert table.taken(count)[name] == min(
                (table.latest_ns[t] for t in left), default=table.makespan_ns
            )


@pytest.mark.parametrize("case", CASES)
def test_all_is_counted_as_settling_does(case: tuple[str, str, int]) -> None:
    """Times of a whole schedule are those of its streams."""
    _, plan = _plan(*case, True)
    _agrees(plan.graph, Timetable.of(plan.graph, plan.schedule), plan.schedule)


@pytest.mark.parametrize("overlaps", [True, False])
@pytest.mark.parametrize("case", CASES)
def test_what_has_moved_is_counted_as_settling_all_does(
    case: tuple[str, str, int], overlaps: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Window after window anywhere in a schedule, the timetable that is kept up is the one of the schedule."""
    problem, plan = _plan(*case, overlaps)
    shortening = windows._Shortening(problem, plan.graph, plan.schedule, 1.0)
    moves = list[Schedule]()
    kept_up = shortening._settled

    def settled(window: windows._Window, found: Schedule) -> Timetable:
        table = kept_up(window, found)
        _agrees(plan.graph, table, found)
        moves.append(found)
        return table

    monkeypatch.setattr(shortening, "_settled", settled)
    drawn, tasks = random.Random(3), len(plan.graph.tasks)
    for _ in range(12):
        length = drawn.choice((6, 12, 25))
        shortening._solve(shortening._window(drawn.randrange(max(1, tasks - length)), length), 0.01)
    assert moves or overlaps
