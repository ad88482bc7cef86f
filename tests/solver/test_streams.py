"""Streams keep all conflicting tasks in order, whatever the tasks really take."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Schedule, Streams, TaskGraph
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.listing import order_of, run
from ooc_solve.solver.placement import place
from ooc_solve.solver.streams import earliest_times, in_sequence, synchronize

Case = tuple[Problem, TaskGraph]
Problems = Callable[..., SearchStrategy[Problem]]
TilesOf = Callable[[Problem], TaskGraph]
Conflicts = Callable[[TaskGraph, tuple[int, ...]], list[tuple[int, int]]]


def in_order(graph: TaskGraph, earlier: tuple[int, ...], start: tuple[int, ...], a: int, b: int) -> bool:
    """Whether two tasks follow each other at times ``start`` in the order of times ``earlier``."""
    if earlier[a] > earlier[b]:
        a, b = b, a
    return start[a] + graph.tasks[a].duration_ns <= start[b]


def slower(graph: TaskGraph, ns: list[int]) -> TaskGraph:
    """The same graph with other durations."""
    pairs = zip(graph.tasks, ns, strict=True)
    return replace(graph, tasks=tuple(replace(task, duration_ns=n) for task, n in pairs))


def check(data: st.DataObject, graph: TaskGraph, schedule: Schedule, conflicts: Conflicts) -> None:
    """Conflicts stay in order for the durations of the graph and for any others."""
    streams = synchronize(graph, schedule)
    check_form(graph, streams)
    pairs = conflicts(graph, schedule.address)
    start = earliest_times(graph, streams)
    assert all(early <= given_ns for early, given_ns in zip(start, schedule.start_ns, strict=True))
    assert all(in_order(graph, schedule.start_ns, start, a, b) for a, b in pairs)
    count = len(graph.tasks)
    for _ in range(3):
        ns = data.draw(st.lists(st.integers(1, 30), min_size=count, max_size=count))
        other = slower(graph, ns)
        times = earliest_times(other, streams)
        assert all(in_order(other, schedule.start_ns, times, a, b) for a, b in pairs)
        for task in graph.tasks:
            assert all(times[o] + ns[o] <= times[task.index] for o in task.after)


def check_form(graph: TaskGraph, streams: Streams) -> None:
    """Each task is in the stream of its resource, at the place it requires; waits never fall."""
    assert sorted(t for order in streams.order for t in order) == list(range(len(graph.tasks)))
    for r, order in enumerate(streams.order):
        waits = [streams.required[task] for task in order]
        for position, task in enumerate(order):
            assert graph.tasks[task].resource == graph.resources[r]
            assert waits[position][r] == position
        for before, after in pairwise(waits):
            assert all(x <= y for x, y in zip(before, after, strict=True))


@given(data=st.data())
@settings(max_examples=150)
def test_optimal_schedules(
    data: st.DataObject, task_graphs: SearchStrategy[Case], conflicts: Conflicts
) -> None:
    """Schedules by CP-SAT, with its own ideas of order and address."""
    problem, graph = data.draw(task_graphs)
    found = solve_graph(problem, graph, None, Budget(30.0, 1, 1))
    assume(found.schedule is not None)
    assert found.schedule is not None
    check(data, graph, found.schedule, conflicts)


@given(data=st.data())
@settings(max_examples=150)
def test_list_schedules(data: st.DataObject, task_graphs: SearchStrategy[Case], conflicts: Conflicts) -> None:
    """List schedules of hand-built graphs."""
    problem, graph = data.draw(task_graphs)
    placement = place(problem, graph, 3, 1)
    assume(placement is not None)
    assert placement is not None
    start = run(order_of(graph, placement))
    check(data, graph, Schedule(tuple(start), placement.address), conflicts)


@given(data=st.data())
@settings(max_examples=40)
def test_expanded_networks(
    data: st.DataObject, problems: Problems, tiles_of: TilesOf, conflicts: Conflicts
) -> None:
    """List schedules of the tiles of random networks, whose tasks touch parts of buffers."""
    problem = data.draw(problems(3, 5, 5))
    graph = tiles_of(problem)
    assume(len(graph.tasks) <= 60)
    placement = place(problem, graph, 4, 1)
    assume(placement is not None)
    assert placement is not None
    start = run(order_of(graph, placement))
    check(data, graph, Schedule(tuple(start), placement.address), conflicts)


@given(data=st.data())
@settings(max_examples=60)
def test_in_sequence_nothing_overlaps(data: st.DataObject, task_graphs: SearchStrategy[Case]) -> None:
    """Where every task waits for the one before it, no two run at once, whatever they take."""
    _, graph = data.draw(task_graphs)
    count = len(graph.tasks)
    streams = in_sequence(graph, range(count))
    check_form(graph, streams)
    ns = data.draw(st.lists(st.integers(0, 30), min_size=count, max_size=count))
    assert earliest_times(slower(graph, ns), streams) == tuple(sum(ns[:k]) for k in range(count))


def test_streams_that_wait_for_each_other_deadlock(new_sketch: Any) -> None:
    """A kernel that waits for a load that waits for the kernel is refused."""
    sketch = new_sketch()
    tile = sketch.buffer(1)
    load = sketch.load(tile, 1)
    step = sketch.compute(1, (tile,), (), (load,))
    graph = sketch.graph()
    assert earliest_times(graph, Streams(((step,), (load,)), ((0, 0), (0, 1)))) == (0, 1)
    with pytest.raises(ValueError, match="deadlock"):
        earliest_times(graph, Streams(((step,), (load,)), ((1, 0), (0, 1))))


def test_a_removed_wait_is_noticed(new_problem: Callable[..., Problem], new_sketch: Any) -> None:
    """Without its wait a kernel starts before its tile is there, so the waits are what orders them."""
    sketch = new_sketch()
    tile = sketch.buffer(1)
    load = sketch.load(tile, 5)
    step = sketch.compute(1, (tile,), (), (load,))
    graph = sketch.graph()
    schedule = Schedule((0, 5), (0,))
    streams = synchronize(graph, schedule)
    assert earliest_times(graph, streams) == (0, 5)
    loose = replace(streams, required=((0, 0), (0, 0)))
    assert not in_order(graph, schedule.start_ns, earliest_times(graph, loose), load, step)
