"""What the streams alone say about order: which task surely ends before which starts.

Times play no part here. A task starts when the counts of ended tasks that it requires are
reached, so it knows what those tasks knew: vector clocks (Fidge 1988, Mattern 1989), one
count per resource. Nothing of the schedulers is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from ooc_solve.models.vocabulary import Footprint, RegionName, Streams, Task, TaskGraph, TaskKind

Clock = tuple[int, ...]
"""For each resource how many of its tasks surely have ended."""

Access = tuple[RegionName | None, Footprint, bool]
"""Region (None: SRAM), bytes, and whether they are written."""


@dataclass(frozen=True, slots=True)
class Race:
    """Two tasks that share bytes of a region (None: of SRAM), one of them writing, in no fixed order.

    ``task`` is the one that comes later in the sequence examined, which says nothing about time.
    """

    task: int
    other: int
    region: RegionName | None


def cells_of(cells: NDArray[Any], footprint: Footprint) -> NDArray[Any]:
    """The cells of a footprint as ``rows x columns x run``; writing to it writes the cells."""
    if footprint.rows == footprint.columns == 1:  # most are one run, and a slice is made much faster
        return cells[footprint.start : footprint.start + footprint.run].reshape(1, 1, -1)
    step = cells.itemsize
    return as_strided(
        cells[footprint.start :],
        (footprint.rows, footprint.columns, footprint.run),
        (footprint.row_stride * step, footprint.column_stride * step, step),
    )


def placed(footprint: Footprint, address: int) -> Footprint:
    """Bytes of the arena that a footprint of a buffer at ``address`` means."""
    f = footprint
    return Footprint(f.start + address, f.run, f.rows, f.row_stride, f.columns, f.column_stride)


# -------------------------------------------------------------------- well-formedness


def broken_streams(graph: TaskGraph, streams: Streams) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Streams that do not list the tasks, or waits that mean nothing: what is wrong, and with which tasks."""
    listed = Counter(index for order in streams.order for index in order)
    if listed != Counter(range(len(graph.tasks))):
        yield "the streams must list every task exactly once", ()
    elif len(streams.order) != len(graph.resources) or len(streams.required) != len(graph.tasks):
        yield "there must be a stream per resource and a wait per task", ()
    else:
        for resource in range(len(graph.resources)):
            yield from _broken_stream(graph, streams, resource)
        for order in streams.order:
            computes = [t for t in order if graph.tasks[t].kind is TaskKind.COMPUTE]
            if computes != sorted(computes):
                yield "the stream of kernels must keep their order", ()


def _broken_stream(
    graph: TaskGraph, streams: Streams, resource: int
) -> Iterator[tuple[str, tuple[int, ...]]]:
    name, before = graph.resources[resource], (0,) * len(graph.resources)
    for position, index in enumerate(streams.order[resource]):
        need = streams.required[index]
        if graph.tasks[index].resource != name:
            yield f"task {index} stands in the stream of '{name}', where it does not run", (index,)
        elif len(need) != len(graph.resources) or need[resource] != position:
            yield f"task {index} must require the {position} tasks before it in its stream", (index,)
        elif any(n not in range(len(o) + 1) for n, o in zip(need, streams.order, strict=True)):
            yield f"task {index} requires more tasks than a stream has", (index,)
        elif any(now < then for now, then in zip(need, before, strict=True)):
            yield f"task {index} requires less than the task before it in its stream", (index,)
        else:
            before = need


# ------------------------------------------------------------------------------ order


def completion_order(streams: Streams) -> list[int]:
    """Tasks in an order in which the streams let them complete; shorter than all on a deadlock."""
    order, required = streams.order, streams.required
    done = [0] * len(order)
    sequence: list[int] = []
    progress = True
    while progress:
        progress = False
        for r, stream in enumerate(order):
            while done[r] < len(stream) and all(
                need <= have for need, have in zip(required[stream[done[r]]], done, strict=True)
            ):
                sequence.append(stream[done[r]])
                done[r] += 1
                progress = True
    return sequence


def clocks(streams: Streams, sequence: Sequence[int]) -> list[Clock]:
    """For each task how many tasks of each resource surely have ended when it starts.

    A task knows what it requires and what those it waits for knew. ``sequence`` is a complete
    `completion_order`.
    """
    known: list[Clock] = [()] * len(sequence)
    for index in sequence:
        need = streams.required[index]
        heard = [known[streams.order[r][count - 1]] for r, count in enumerate(need) if count]
        known[index] = tuple(map(max, zip(need, *heard, strict=True)))
    return known


# ------------------------------------------------------------------------------ races


class Pieces:
    """Bytes of a memory between one edge of what is touched and the next: they share one history."""

    def __init__(self, footprints: Iterable[Footprint]) -> None:
        edges = {0}
        for f in footprints:
            if f.rows == f.columns == 1:
                edges.update((f.start, f.start + f.run))
            else:
                starts = _starts(f)
                edges.update(starts.tolist(), (starts + f.run).tolist())
        self.edges = np.array(sorted(edges), np.int64)
        self.number = {edge: position for position, edge in enumerate(self.edges.tolist())}

    def of(self, f: Footprint) -> slice | NDArray[np.int64]:
        """Which pieces make up a footprint: what to index an array of them with."""
        if f.rows == f.columns == 1:
            return slice(self.number[f.start], self.number[f.start + f.run])
        starts = _starts(f)
        first = np.searchsorted(self.edges, starts)
        count = np.searchsorted(self.edges, starts + f.run) - first
        before = np.cumsum(count) - count
        pieces: NDArray[np.int64] = np.arange(count.sum()) + np.repeat(first - before, count)
        return pieces


def _starts(f: Footprint) -> NDArray[np.int64]:
    """First bytes of the runs of a footprint."""
    rows = f.start + f.row_stride * np.arange(f.rows)
    return (rows[:, None] + f.column_stride * np.arange(f.columns)).reshape(-1)


class _Marks:
    """Who touched each piece of a memory last: position in its stream plus one, 0 for nobody.

    Because a stream runs in order, its last toucher speaks for all before it.
    """

    def __init__(self, streams: int, footprints: Iterable[Footprint]) -> None:
        self.pieces = Pieces(footprints)
        self.written = np.zeros((streams, len(self.pieces.edges)), np.int32)
        self.read = np.zeros((streams, len(self.pieces.edges)), np.int32)


def _marks(graph: TaskGraph, accesses: Sequence[Sequence[Access]]) -> dict[RegionName | None, _Marks]:
    """Marks over the arena and over each region.

    Regions that no task writes are left out: readers may pass each other.
    """
    touched: dict[RegionName | None, set[Footprint]] = {}
    written = set()
    for region, footprint, writes in (access for own in accesses for access in own):
        touched.setdefault(region, set()).add(footprint)
        if writes:
            written.add(region)
    return {region: _Marks(len(graph.resources), touched[region]) for region in touched if region in written}


def _accesses(task: Task, address: Sequence[int]) -> list[Access]:
    found: list[Access] = [(None, placed(t.footprint, address[t.buffer]), False) for t in task.reads]
    found += [(None, placed(t.footprint, address[t.buffer]), True) for t in task.writes]
    if task.moved is not None:
        found.append((task.moved.region, task.moved.footprint, task.kind is TaskKind.STORE))
    return found


def races(
    graph: TaskGraph, streams: Streams, address: Sequence[int], sequence: Sequence[int]
) -> Iterator[Race]:
    """Pairs of tasks that touch a common byte, one of them writing, in an order that is left open.

    The check is exact per byte and covers all pairs: a task must know, of every stream, the
    last toucher of each of its bytes. The streams must not be broken, and ``sequence`` is their
    complete `completion_order`.
    """
    accesses = [_accesses(task, address) for task in graph.tasks]
    known, marks = clocks(streams, sequence), _marks(graph, accesses)
    stream_of = {name: r for r, name in enumerate(graph.resources)}
    position = {index: p for order in streams.order for p, index in enumerate(order)}
    for index in sequence:
        own = stream_of[graph.tasks[index].resource]
        places = [
            (region, marks[region].pieces.of(footprint), writes)
            for region, footprint, writes in accesses[index]
            if region in marks
        ]
        for r, order in enumerate(streams.order):
            if r != own:
                last, where = _last_toucher(r, marks, places, known[index][r])
                if last > known[index][r]:
                    yield Race(index, order[last - 1], where)
        for region, pieces, writes in places:
            mark = marks[region].written if writes else marks[region].read
            mark[own, pieces] = position[index] + 1


def _last_toucher(
    stream: int,
    marks: dict[RegionName | None, _Marks],
    places: list[tuple[RegionName | None, slice | NDArray[np.int64], bool]],
    known: int,
) -> tuple[int, RegionName | None]:
    """The last position after ``known`` at which a stream touched these pieces, and where; else ``known``."""
    latest, where = known, None
    for region, pieces, writes in places:
        touched = [marks[region].written] + ([marks[region].read] if writes else [])
        for mark in touched:
            if (last := int(mark[stream, pieces].max())) > latest:
                latest, where = last, region
    return latest, where
