"""The order that the streams leave open is found exactly: every race, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import accumulate

import networkx as nx
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import (
    Footprint,
    Plan,
    RegionName,
    Schedule,
    Streams,
    TaskGraph,
    TaskKind,
)
from ooc_solve.solver.happens_before import (
    Pieces,
    Race,
    broken_streams,
    cells_of,
    clocks,
    completion_order,
    placed,
    races,
)
from ooc_solve.solver.streams import synchronize

Conflicts = Callable[[TaskGraph, tuple[int, ...]], list[tuple[int, int]]]


def requiring(streams: Streams, task: int, *need: int) -> Streams:
    """The streams with other waits of one task."""
    required = list(streams.required)
    required[task] = need
    return replace(streams, required=tuple(required))


def apart(graph: TaskGraph) -> tuple[int, ...]:
    """An address for every buffer such that none share a byte."""
    ends = accumulate((buffer.size_bytes for buffer in graph.buffers), initial=0)
    return tuple(ends)[:-1]


def one_by_one(graph: TaskGraph, address: tuple[int, ...], sequence: Sequence[int]) -> Streams:
    """The streams of a schedule that runs the tasks in a sequence."""
    start, now = [0] * len(graph.tasks), 0
    for index in sequence:
        start[index] = now
        now += graph.tasks[index].duration_ns
    return synchronize(graph, Schedule(tuple(start), address))


def pairs(found: Iterable[Race]) -> set[tuple[int, int]]:
    """The tasks of races, the one with the lower number first."""
    return {(min(race.task, race.other), max(race.task, race.other)) for race in found}


def races_of(graph: TaskGraph, streams: Streams, address: Sequence[int]) -> list[Race]:
    """All races of streams that are not broken and do not deadlock."""
    assert list(broken_streams(graph, streams)) == []
    sequence = completion_order(streams)
    assert sorted(sequence) == list(range(len(graph.tasks)))
    return list(races(graph, streams, address, sequence))


def _ordered(streams: Streams) -> nx.DiGraph:
    """Which task surely ends before which starts."""
    graph = nx.DiGraph()
    for order in streams.order:
        nx.add_path(graph, order)
    for task, need in enumerate(streams.required):
        graph.add_edges_from((streams.order[r][n - 1], task) for r, n in enumerate(need) if n)
    return nx.transitive_closure_dag(graph)


# ---------------------------------------------------------------------------- races


def test_every_dropped_wait(
    tiny_problem: Problem, plan: Plan, overlapping: Plan, conflicts: Conflicts
) -> None:
    """Of all waits lowered one by one, those are found that leave two conflicting tasks unordered.

    The other way to decide it is slow and plain: sets of bytes and the transitive closure. In
    the second case weights and inputs are fetched long before their use, and every task waits
    for all before it, so that many waits are not needed.
    """
    graph, outcomes = plan.graph, []
    early = [task.index for task in graph.tasks if task.kind is TaskKind.LOAD and not task.after]
    sequence = early + [task.index for task in graph.tasks if task.index not in early]
    ahead = _waiting_for_everything(graph, one_by_one(graph, apart(graph), sequence), sequence)
    tight = overlapping.schedule.address
    for streams, address in (
        (overlapping.streams, tight),
        (ahead, apart(graph)),
    ):
        assert races_of(graph, streams, address) == []
        sharing = conflicts(graph, address)
        for broken in _dropping_waits(streams):
            closure = _ordered(broken)
            open_pairs = {
                pair for pair in sharing if not (closure.has_edge(*pair) or closure.has_edge(*pair[::-1]))
            }
            found = pairs(races_of(graph, broken, address))
            assert found <= open_pairs
            assert bool(found) == bool(open_pairs)
            outcomes.append(bool(open_pairs))
    assert outcomes.count(True) > 40
    assert outcomes.count(False) > 10


def _waiting_for_everything(graph: TaskGraph, streams: Streams, sequence: Sequence[int]) -> Streams:
    """The streams with each task waiting for all that come before it in a sequence."""
    done, required = [0, 0], [(0, 0)] * len(sequence)
    for index in sequence:
        required[index] = (done[0], done[1])
        done[graph.resources.index(graph.tasks[index].resource)] += 1
    return replace(streams, required=tuple(required))


def _dropping_waits(streams: Streams) -> Iterator[Streams]:
    """The streams with one wait for the other resource lowered, at most to that of the task before."""
    for r, order in enumerate(streams.order):
        floor = 0
        for position, task in enumerate(order):
            need = streams.required[task][1 - r]
            for lower in range(floor, need):
                yield requiring(streams, task, *((position, lower) if r == 0 else (lower, position)))
            floor = need


def test_a_kernel_that_waits_for_nothing(tiny_problem: Problem, plan: Plan) -> None:
    """The last load of a kernel's stream stands for those before it, and SRAM is where they meet."""
    streams = requiring(plan.streams, 2, 0, 0)
    found = races_of(plan.graph, streams, plan.schedule.address)
    assert {race.region for race in found} == {None}
    assert pairs(found) == {(0, 2), (1, 2)}


def test_a_race_in_storage(plan: Plan) -> None:
    """With a channel for reading and one for writing, a fetch must wait for the store that it reads."""
    tasks = tuple(
        replace(task, resource="writing") if task.kind is TaskKind.STORE else task
        for task in plan.graph.tasks
    )
    graph = replace(plan.graph, tasks=tasks, resources=(*plan.graph.resources, "writing"))
    address = apart(graph)
    streams = one_by_one(graph, address, range(len(tasks)))
    spilled = [task for task in tasks if task.transfer and task.transfer.region is RegionName.SCRATCH]
    fetch = next(task for task in spilled if task.kind is TaskKind.LOAD)
    store = next(task for task in spilled if task.kind is TaskKind.STORE)
    assert races_of(graph, streams, address) == []
    loose = requiring(streams, fetch.index, *streams.required[fetch.index][:2], 0)
    found = races_of(graph, loose, address)
    assert pairs(found) == {(store.index, fetch.index)}
    assert {race.region for race in found} == {RegionName.SCRATCH}


# ---------------------------------------------------------------------------- order


def test_clocks_pass_knowledge_on() -> None:
    """A task knows what those it waits for knew, even of a resource for which it does not wait itself."""
    streams = Streams(((0,), (1,), (2,)), ((0, 0, 0), (1, 0, 0), (0, 1, 0)))
    assert clocks(streams, completion_order(streams)) == [(0, 0, 0), (1, 0, 0), (1, 1, 0)]


def test_a_deadlock_ends_the_order() -> None:
    """Of streams that wait for each other only what comes before the deadlock completes."""
    streams = Streams(((0, 1), (2,)), ((0, 0), (1, 1), (2, 0)))
    assert completion_order(streams) == [0]


def _order(streams: Streams, *order: tuple[int, ...]) -> Streams:
    return replace(streams, order=order)


def test_streams_that_mean_nothing(plan: Plan) -> None:
    """Streams list every task once, on its resource, in positions that the waits agree with."""
    streams = plan.streams
    cpu, sdio = streams.order
    assert list(broken_streams(plan.graph, streams)) == []
    broken = [
        (_order(streams, cpu, sdio[:-1]), "exactly once"),
        (_order(streams, cpu, (*sdio, sdio[-1])), "exactly once"),
        (_order(streams, cpu, (*sdio[:-1], 999)), "exactly once"),
        (_order(streams, cpu + sdio), "a stream per resource"),
        (replace(streams, required=streams.required[:-1]), "a wait per task"),
        (_order(streams, (*cpu, sdio[-1]), sdio[:-1]), "where it does not run"),
        (_order(streams, sdio, cpu), "where it does not run"),
        (_order(streams, (cpu[1], cpu[0], *cpu[2:]), sdio), "keep their order"),
        (_order(streams, cpu, (sdio[1], sdio[0], *sdio[2:])), "tasks before it in its stream"),
        (requiring(streams, 2, 0), "must require the 0 tasks before it"),
        (requiring(streams, 2, 1, 2), "must require the 0 tasks before it"),
        (requiring(streams, 2, 0, 999), "more tasks than a stream has"),
        (requiring(streams, 2, 0, -1), "more tasks than a stream has"),
        (requiring(streams, cpu[-1], len(cpu) - 1, 0), "less than the task before it"),
    ]
    for wrong, message in broken:
        assert any(message in found for found, _ in broken_streams(plan.graph, wrong)), message


# ---------------------------------------------------------------------------- cells


@pytest.mark.parametrize("address", [0, 5])
def test_cells_of_a_footprint(address: int) -> None:
    """The cells are those that the footprint enumerates, moved by the address, and can be written."""
    footprint = Footprint(3, 2, 2, 20, 3, 4)
    cells = np.zeros(64, np.int32)
    cells_of(cells, placed(footprint, address))[...] = 1
    due = [3, 4, 7, 8, 11, 12, 23, 24, 27, 28, 31, 32]
    assert np.flatnonzero(cells).tolist() == [byte + address for byte in due]


@st.composite
def footprints(draw: st.DrawFn) -> Footprint:
    """A footprint whose runs are apart and in order."""
    run, columns, rows = (draw(st.integers(1, 4)) for _ in range(3))
    column = run + draw(st.integers(0, 3))
    row = (columns - 1) * column + run + draw(st.integers(0, 3))
    return Footprint(draw(st.integers(0, 30)), run, rows, row, columns, column)


@given(st.lists(footprints(), min_size=2, max_size=4))
def test_pieces_meet_where_bytes_do(found: list[Footprint]) -> None:
    """Two footprints have a piece in common exactly where they have a byte in common."""
    pieces = Pieces(found)
    cells, marks = np.zeros(256, np.int8), np.zeros(len(pieces.edges), np.int8)
    for first in found:
        cells[:], marks[:] = 0, 0
        cells_of(cells, first)[...] = 1
        marks[pieces.of(first)] = 1
        for second in found:
            assert marks[pieces.of(second)].any() == cells_of(cells, second).any()
            assert marks[pieces.of(second)].all() == cells_of(cells, second).all()
