"""Which tasks must wait for which: conflicts over common bytes, and times that follow from them."""

from __future__ import annotations

from bisect import bisect_right
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from ooc_solve.models.vocabulary import NPU_UNIT, Schedule, Streams, Task, TaskGraph, Touch
from ooc_solve.solver.clock import Clock
from ooc_solve.solver.deadline import keep_time

Span = tuple[str, int, int]
"""Space (``"sram"`` or the name of a region), first byte, end."""


@dataclass(slots=True)
class _Piece:
    """Bytes with one history: who wrote them last, and who has read them since, per resource."""

    writer: int = -1
    readers: dict[int, int] = field(default_factory=dict)

    def copy(self) -> _Piece:
        return _Piece(self.writer, dict(self.readers))


class _History:
    """Bytes of one space cut into pieces of equal history."""

    def __init__(self) -> None:
        self.starts: list[int] = [0]
        self.pieces: list[_Piece] = [_Piece()]

    def between(self, low: int, high: int) -> list[_Piece]:
        """The pieces that make up ``[low, high)``, cut where necessary."""
        first, last = self._cut(low), self._cut(high)
        return self.pieces[first:last]

    def forget(self, low: int, high: int, piece: _Piece) -> None:
        """Replace ``[low, high)`` by one piece."""
        first, last = self._cut(low), self._cut(high)
        self.starts[first:last] = [low]
        self.pieces[first:last] = [piece]

    def _cut(self, position: int) -> int:
        at = bisect_right(self.starts, position) - 1
        if self.starts[at] == position:
            return at
        self.starts.insert(at + 1, position)
        self.pieces.insert(at + 1, self.pieces[at].copy())
        return at + 1


def accesses(graph: TaskGraph, task: Task, address: Sequence[int]) -> tuple[list[Span], list[Span]]:
    """Spans of bytes that a task reads and writes; in SRAM and an NPU's memory whole buffers, padding included."""
    reads = [_placed(graph, touch, address) for touch in task.reads]
    writes = [_placed(graph, touch, address) for touch in task.writes]
    if task.moved is not None:
        span = (task.moved.region.value, *task.moved.footprint.span)
        (writes if task.reads else reads).append(span)
    return reads, writes


def _placed(graph: TaskGraph, touch: Touch, address: Sequence[int]) -> Span:
    buffer, start = graph.buffers[touch.buffer], address[touch.buffer]
    if buffer.held is not None:
        return NPU_UNIT, *buffer.held
    return "sram", start, start + buffer.size_bytes


def ordered_conflicts(
    graph: TaskGraph,
    address: Sequence[int],
    sequence: Iterable[int],
    lane: Sequence[int],
    spaces: frozenset[str] | None = None,
) -> list[set[int]]:
    """For each task the earlier ones of ``sequence`` that it conflicts with, in some spaces or in all.

    Two tasks conflict when they touch a common byte and one of them writes it. Of several
    readers in one lane only the last is named: tasks of a lane run in sequence anyway.
    """
    history: dict[str, _History] = {}
    found: list[set[int]] = [set() for _ in graph.tasks]
    for index in sequence:
        keep_time()
        reads, writes = accesses(graph, graph.tasks[index], address)
        if spaces is not None:
            reads, writes = ([s for s in spans if s[0] in spaces] for spans in (reads, writes))
        for space, low, high in reads:
            for piece in history.setdefault(space, _History()).between(low, high):
                found[index].add(piece.writer)
                piece.readers[lane[index]] = index
        for space, low, high in writes:
            spans = history.setdefault(space, _History())
            for piece in spans.between(low, high):
                found[index].add(piece.writer)
                found[index].update(piece.readers.values())
            spans.forget(low, high, _Piece(index))
        found[index] -= {-1, index}
    return found


def synchronize(graph: TaskGraph, schedule: Schedule) -> Streams:
    """Orders and waits that keep every conflicting pair of tasks in the order of the schedule.

    Each wait points from a later start to an earlier one, so the streams cannot deadlock.
    """
    resource = {name: r for r, name in enumerate(graph.resources)}
    lane = [resource[task.resource] for task in graph.tasks]
    sequence = sorted(range(len(graph.tasks)), key=lambda t: (schedule.start_ns[t], t))
    conflicts = ordered_conflicts(graph, schedule.address, sequence, lane)
    for task, others in zip(graph.tasks, conflicts, strict=True):
        others.update(task.after)  # an operator waits for all of another unit's, whichever part it reads
    return _streams(graph, lane, sequence, conflicts)


def in_sequence(graph: TaskGraph, sequence: Sequence[int]) -> Streams:
    """Orders and waits that let every task wait for all before it: nothing overlaps.

    It waits for the last one of every resource, not only for the one before it: a record of weights is
    compared with its checksum by the first command that waits for its transfer, which must come before
    its bytes are given away.
    """
    resource = {name: r for r, name in enumerate(graph.resources)}
    lane = [resource[task.resource] for task in graph.tasks]
    before: list[set[int]] = [set() for _ in graph.tasks]
    last: dict[int, int] = {}
    for task in sequence:
        before[task] = set(last.values())
        last[lane[task]] = task
    return _streams(graph, lane, sequence, before)


def _streams(
    graph: TaskGraph, lane: Sequence[int], sequence: Sequence[int], before: Sequence[set[int]]
) -> Streams:
    """Streams that run tasks in a sequence, each after those ``before`` it."""
    order: list[list[int]] = [[] for _ in graph.resources]
    position: dict[int, int] = {}
    required: list[tuple[int, ...]] = [()] * len(graph.tasks)
    floor = [[0] * len(graph.resources) for _ in graph.resources]
    for task in sequence:
        need = floor[lane[task]]
        for other in before[task]:
            if lane[other] != lane[task]:
                need[lane[other]] = max(need[lane[other]], position[other] + 1)
        need[lane[task]] = position[task] = len(order[lane[task]])
        required[task] = tuple(need)
        order[lane[task]].append(task)
    return Streams(tuple(map(tuple, order)), tuple(required))


def earliest_times(graph: TaskGraph, streams: Streams, request_ns: int = 0) -> tuple[int, ...]:
    """Start of each task (ns) when every command starts as soon as its waits allow, and kernels in their order.

    ``request_ns`` is as in `clock.Clock`.

    Raises
    ------
    ValueError
        If the streams deadlock.
    """
    clock, done = Clock(graph, request_ns), [0] * len(streams.order)
    busy, start = [False] * len(streams.order), [-1] * len(graph.tasks)
    lane = {task: own for own, order in enumerate(streams.order) for task in order}
    computes = deque(task.index for task in graph.compute_tasks)
    kernels = frozenset(computes)
    now = 0

    def start_some() -> bool:
        """Start what may start now; whether a kernel did, which may let one of another unit start."""
        left = len(computes)
        for own, order in enumerate(streams.order):
            if busy[own] or done[own] == len(order):
                continue
            task = order[done[own]]
            need = streams.required[task]
            if task in kernels and task != computes[0]:
                continue
            if all(count <= done[r] for r, count in enumerate(need) if r != own):
                busy[own], start[task] = True, now
                clock.start(task, now)
                if task in kernels:
                    computes.popleft()
        return len(computes) < left

    while True:
        while start_some():
            pass
        ended = clock.end()
        if ended is None:
            break
        now, task = ended
        busy[lane[task]] = False
        done[lane[task]] += 1
    if any(count < len(order) for count, order in zip(done, streams.order, strict=True)):
        raise ValueError("the streams deadlock")
    return tuple(start)
