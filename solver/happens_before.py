"""What the streams alone say about order: which task surely ends before which starts.

Times play no part here. A task starts when the counts of ended tasks that it requires are
reached, so it knows what those tasks knew: vector clocks (Fidge 1988, Mattern 1989), one
count per resource. Nothing of the schedulers is used.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
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
    step = cells.itemsize
    return as_strided(
        cells[footprint.start :],
        (footprint.rows, footprint.columns, footprint.run),
        (footprint.row_stride * step, footprint.column_stride * step, step),
    )


def placed(footprint: Footprint, address: int) -> Footprint:
    """Bytes of the arena that a footprint of a buffer at ``address`` means."""
    return replace(footprint, start=footprint.start + address)


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
        computes = [t for order in streams.order for t in order if graph.tasks[t].kind is TaskKind.COMPUTE]
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


class _Marks:
    """Who touched each cell of a memory last: position in its stream plus one, 0 for nobody.

    Cells are bytes, or with ``edges`` the pieces between one edge and the next. Because a
    stream runs in order, its last toucher speaks for all before it.
    """

    def __init__(self, streams: int, cells: int, edges: NDArray[np.int64] | None = None) -> None:
        self.edges = edges
        self.written = np.zeros((streams, cells), np.int32)
        self.read = np.zeros((streams, cells), np.int32)

    def cells(self, marks: NDArray[np.int32], footprint: Footprint) -> list[NDArray[np.int32]]:
        """The marks of a footprint; writing to them writes the marks."""
        if self.edges is None:
            return [cells_of(marks, footprint)]
        starts = footprint.start + footprint.row_stride * np.arange(footprint.rows)
        first = np.searchsorted(self.edges, starts)
        last = np.searchsorted(self.edges, starts + footprint.run)
        return [marks[low:high] for low, high in zip(first, last, strict=True)]


def _marks(graph: TaskGraph, arena_bytes: int) -> dict[RegionName | None, _Marks]:
    """Marks over the arena byte by byte, and over each region cut where segments begin and end."""
    streams = len(graph.resources)
    marks: dict[RegionName | None, _Marks] = {None: _Marks(streams, arena_bytes)}
    for region in graph.regions:
        edges = [np.zeros(1, np.int64)]
        for task in graph.tasks:
            if task.transfer is not None and task.transfer.region is region.name:
                starts = task.transfer.offset + task.transfer.pitch * np.arange(task.transfer.segments)
                edges += [starts, starts + task.transfer.segment_bytes]
        cuts = np.unique(np.concatenate(edges))
        marks[region.name] = _Marks(streams, len(cuts), cuts)
    return marks


def _accesses(task: Task, address: Sequence[int]) -> Iterator[Access]:
    for touch in task.reads:
        yield None, placed(touch.footprint, address[touch.buffer]), False
    for touch in task.writes:
        yield None, placed(touch.footprint, address[touch.buffer]), True
    if task.transfer is not None:
        yield task.transfer.region, task.transfer.footprint, task.kind is TaskKind.STORE


def races(
    graph: TaskGraph, streams: Streams, address: Sequence[int], arena_bytes: int, sequence: Sequence[int]
) -> Iterator[Race]:
    """Pairs of tasks that touch a common byte, one of them writing, in an order that is left open.

    The check is exact per byte and covers all pairs: a task must know, of every stream, the
    last toucher of each of its bytes. The streams must not be broken, ``sequence`` is their
    complete `completion_order`, and all bytes lie inside their memories.
    """
    known, marks = clocks(streams, sequence), _marks(graph, arena_bytes)
    stream_of = {name: r for r, name in enumerate(graph.resources)}
    position = {index: p for order in streams.order for p, index in enumerate(order)}
    for index in sequence:
        task = graph.tasks[index]
        own, accesses = stream_of[task.resource], list(_accesses(task, address))
        for r, order in enumerate(streams.order):
            if r != own:
                last, region = _last_toucher(r, marks, accesses, known[index][r])
                if last > known[index][r]:
                    yield Race(index, order[last - 1], region)
        for region, footprint, writes in accesses:
            mark = marks[region].written if writes else marks[region].read
            for cells in marks[region].cells(mark[own], footprint):
                cells[...] = position[index] + 1


def _last_toucher(
    stream: int, marks: dict[RegionName | None, _Marks], accesses: list[Access], known: int
) -> tuple[int, RegionName | None]:
    """The last position after ``known`` at which a stream touched these bytes, and where; else ``known``."""
    latest, where = known, None
    for region, footprint, writes in accesses:
        touched = [marks[region].written] + ([marks[region].read] if writes else [])
        for mark in touched:
            for cells in marks[region].cells(mark[stream], footprint):
                if (last := int(cells.max())) > latest:
                    latest, where = last, region
    return latest, where
