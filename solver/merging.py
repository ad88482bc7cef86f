"""The shortest schedule in which loads come in order of use and stores in order of making, by bytes alone.

Per channel the loads are a queue in the order in which kernels use them, the stores one in the order in
which kernels make them, and the kernels are a queue themselves. A schedule is then a merge of these
queues: the order in which tasks start. How far each queue has come determines the bytes in use, and
of the past only matters when each resource becomes free. So merges are paths in a small graph where
memory is tight, and the shortest one is found. Addresses come afterwards, as in `allocation_schedule`.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import accumulate

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Task, TaskGraph, TaskKind
from ooc_solve.solver.allocation_schedule import Counted
from ooc_solve.solver.allocation_search import UNLIMITED
from ooc_solve.solver.clock import Clock
from ooc_solve.solver.placement import buffer_uses
from ooc_solve.solver.variables import touchers

MOST_LABELS = 60_000
"""Partial merges that are looked at before a graph is given up."""

APART = 4
"""Partial merges that have come equally far and are told apart."""

Waits = Mapping[int, frozenset[int]]
"""Tasks that must have ended before a task begins, besides those whose results it needs."""

Far = tuple[int, ...]
"""How many tasks of each queue have started."""

State = tuple[Far, tuple[int, ...]]
"""How far the queues are, and for each resource the queue of its last task."""


@dataclass(frozen=True, slots=True)
class _Label:
    """A partial merge: when each resource is free, when its last task starts, which queue that is of."""

    free_ns: tuple[int, ...]
    now_ns: int
    queue: int
    before: _Label | None

    def no_later(self, other: _Label) -> bool:
        """Whether all that may follow the other may follow this one, as early."""
        return self.now_ns <= other.now_ns and all(
            own <= others for own, others in zip(self.free_ns, other.free_ns, strict=True)
        )


class Merger:
    """The queues of one task graph. ``labels`` counts the partial merges looked at so far."""

    def __init__(self, problem: Problem, graph: TaskGraph) -> None:
        self.problem, self.graph, self.labels = problem, graph, 0
        self.queues = _queues(graph)
        self.resources = [graph.resources.index(graph.tasks[q[0]].resource) for q in self.queues]
        self.place = {t: (q, n + 1) for q, queue in enumerate(self.queues) for n, t in enumerate(queue)}
        self.duration = [[0, *(graph.tasks[t].duration_ns for t in queue)] for queue in self.queues]
        self.left = [[*accumulate(own[:0:-1], initial=0)][::-1] for own in self.duration]
        self._count_bytes()

    def _count_bytes(self) -> None:
        """Bytes that tasks bring and free, by queue; of buffers freed by two queues, when."""
        self.brings = [[0] * (len(queue) + 1) for queue in self.queues]
        frees = [[0] * (len(queue) + 1) for queue in self.queues]
        self.shared: list[tuple[int, tuple[tuple[int, int], ...]]] = []
        self.pinned = 0
        for buffer, (first, last) in zip(self.graph.buffers, touchers(self.graph), strict=True):
            if buffer.pinned:
                self.pinned += buffer.size_bytes
            elif first:
                queue, place = min(self.place[t] for t in first)
                self.brings[queue][place] += buffer.size_bytes
                ends: dict[int, int] = {}
                for queue, place in map(self.place.__getitem__, last):
                    ends[queue] = max(ends.get(queue, 0), place)
                if len(ends) == 1:
                    ((queue, place),) = ends.items()
                    frees[queue][place] += buffer.size_bytes
                else:
                    self.shared.append((buffer.size_bytes, tuple(ends.items())))
        self.brought = [[*accumulate(own)] for own in self.brings]
        self.freed = [[*accumulate(own)] for own in frees]

    def best(
        self,
        below_ns: int = UNLIMITED,
        waits: Waits | None = None,
        most: int = MOST_LABELS,
        deadline: float = math.inf,
    ) -> Counted | None:
        """The shortest merge; None if there is none below a time, or too many are in between."""
        found = _Merging(self, below_ns, waits or {}, most, deadline).run()
        return None if found is None else self.timed(found, waits or {})

    def timed(self, sequence: list[int], waits: Waits) -> Counted | None:
        """Times of tasks that start in a sequence, each as early as data and bytes allow; None if stuck."""
        clock = Clock(self.graph, interruption_ns(self.problem.target))
        start, end = [0] * len(self.graph.tasks), [-1] * len(self.graph.tasks)
        far, done = [0] * len(self.queues), [0] * len(self.queues)
        idle, now = set(range(len(self.graph.resources))), 0
        for task in sequence:
            queue, place = self.place[task]
            resource = self.resources[queue]
            before = (*self.graph.tasks[task].after, *waits.get(task, ()))
            while (
                resource not in idle
                or any(end[t] < 0 for t in before)
                or self._used(far, done) + self.brings[queue][place] > self.problem.arena_bytes
            ):
                ended = clock.end()
                if ended is None:
                    return None
                now, last = ended
                end[last] = now
                done[self.place[last][0]] += 1
                idle.add(self.resources[self.place[last][0]])
            start[task], far[queue] = now, place
            idle.discard(resource)
            clock.start(task, now)
        while (ended := clock.end()) is not None:
            end[ended[1]] = ended[0]
        return Counted(tuple(start), tuple(end))

    def _used(self, far: list[int] | Far, done: list[int]) -> int:
        """Bytes in use when some tasks of each queue have started, and some have ended."""
        used = self.pinned
        for q, count in enumerate(far):
            used += self.brought[q][count] - self.freed[q][done[q]]
        for size, ends in self.shared:
            if all(done[q] >= place for q, place in ends):
                used -= size
        return used


def _queues(graph: TaskGraph) -> list[list[int]]:
    """Kernels in their order, then per channel loads in order of use and stores in order of making.

    What an engine opens or seals is a queue of loads or of stores like those of a channel.
    """
    uses, n = buffer_uses(graph), len(graph.compute_tasks)

    def use(task: Task) -> tuple[int, int]:
        return min(uses[task.writes[0].buffer].first, n), -task.index

    found = [[task.index for task in graph.compute_tasks]]
    for name in graph.resources:
        own = [task for task in graph.tasks if task.resource == name]
        inbound = (TaskKind.LOAD, TaskKind.DECRYPT)
        loads = sorted((task for task in own if task.kind in inbound), key=use)
        stores = sorted((task for task in own if task.is_outbound), key=lambda t: (t.after[-1], t.index))
        found += [[task.index for task in loads], [task.index for task in stores]]
    return [queue for queue in found if queue]


class _Merging:
    """One search for the shortest merge, level by level: all merges of as many tasks are one level."""

    def __init__(self, merger: Merger, below_ns: int, waits: Waits, most: int, deadline: float) -> None:
        self.merger, self.below_ns, self.most, self.deadline = merger, below_ns, most, deadline
        tasks = merger.graph.tasks
        self.needs = [
            [(), *(self._needs((*tasks[t].after, *waits.get(t, ()))) for t in queue)]
            for queue in merger.queues
        ]

    def _needs(self, before: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """How far queues must be before a task that waits for some others starts."""
        far: dict[int, int] = {}
        for queue, place in map(self.merger.place.__getitem__, before):
            far[queue] = max(far.get(queue, 0), place)
        return tuple(far.items())

    def run(self) -> list[int] | None:
        """Tasks in the order in which they start."""
        merger = self.merger
        last = tuple(
            min(q for q, own in enumerate(merger.resources) if own == r)
            for r in range(len(merger.graph.resources))
        )
        start = _Label((0,) * len(last), 0, -1, None)
        level: dict[State, list[_Label]] = {((0,) * len(merger.queues), last): [start]}
        looked_at = 0
        for _ in merger.graph.tasks:
            after: dict[State, list[_Label]] = defaultdict(list)
            for state, labels in level.items():
                for label in labels:
                    self._advance(state, label, after)
            level = after
            looked_at += sum(map(len, level.values()))
            if looked_at > self.most or time.monotonic() > self.deadline:
                break
        else:
            merger.labels += looked_at
            ends = [label for labels in level.values() for label in labels]
            return self._sequence(min(ends, key=lambda x: max(x.free_ns))) if ends else None
        merger.labels += looked_at
        return None

    def _sequence(self, label: _Label) -> list[int]:
        queues: list[int] = []
        while label.before is not None:
            queues.append(label.queue)
            label = label.before
        waiting = [iter(queue) for queue in self.merger.queues]
        return [next(waiting[q]) for q in reversed(queues)]

    def _advance(self, state: State, label: _Label, after: dict[State, list[_Label]]) -> None:
        """Start the next task of each queue that may start."""
        merger, (far, last) = self.merger, state
        for queue, count in enumerate(far):
            if count == len(merger.queues[queue]):
                continue
            at = self._start_ns(queue, count + 1, far, last, label)
            if at is None:
                continue
            resource = merger.resources[queue]
            free = list(label.free_ns)
            free[resource] = at + merger.duration[queue][count + 1]
            gone = (*far[:queue], count + 1, *far[queue + 1 :])
            if self._least_ns(gone, free, at) >= self.below_ns:
                continue
            now_last = last if last[resource] == queue else (*last[:resource], queue, *last[resource + 1 :])
            new = _Label(tuple(free), at, queue, label)
            _add(after[gone, now_last], new)

    def _least_ns(self, far: Far, free: list[int], now: int) -> int:
        """A time that the merge cannot end before: each resource has its own work left."""
        ends = [max(end, now) for end in free]
        for queue, count in enumerate(far):
            ends[self.merger.resources[queue]] += self.merger.left[queue][count]
        return max(ends)

    def _start_ns(self, queue: int, place: int, far: Far, last: tuple[int, ...], label: _Label) -> int | None:
        """When a task may start, not before the one started last; None if something else must start first."""
        merger, free = self.merger, label.free_ns
        at = max(label.now_ns, free[merger.resources[queue]])
        for other, count in self.needs[queue][place]:
            if far[other] < count:
                return None
            if far[other] == count and last[merger.resources[other]] == other:
                at = max(at, free[merger.resources[other]])
        room = merger.problem.arena_bytes - merger.brings[queue][place]
        for moment in sorted({at, *(end for end in free if end > at)}):
            done = list(far)
            for resource, end in enumerate(free):
                if end > moment:
                    done[last[resource]] -= 1
            if merger._used(far, done) <= room:
                return moment
        return None


def _add(labels: list[_Label], new: _Label) -> None:
    """Keep a label unless another is no later, and not those that are later; of too many the latest goes."""
    if any(label.no_later(new) for label in labels):
        return
    labels[:] = [label for label in labels if not new.no_later(label)]
    labels.append(new)
    if len(labels) > APART:
        labels.remove(max(labels, key=lambda label: sum(label.free_ns)))
