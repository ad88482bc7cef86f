"""The shortest schedule in which loads come in order of use and stores in order of making, by bytes alone.

Per channel the loads are a queue in the order in which kernels use them, the stores one in the order in
which kernels make them, and the kernels are a queue themselves. A schedule is then a merge of these
queues: the order in which tasks start. How far each queue has come determines the bytes in use, and
of the past only matters when each resource becomes free. So merges are paths in a small graph where
memory is tight, and the shortest one is found (nearly: partial merges that differ little give way to each other). Addresses come afterwards, as in `allocation_schedule`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

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
"""Partial merges that have come equally far and are told apart, to the power of the number of channels."""

Waits = Mapping[int, frozenset[int]]
"""Tasks that must have ended before a task begins, besides those whose results it needs."""

Far = tuple[int, ...]
"""How many tasks of each queue have started."""

State = tuple[Far, tuple[int, ...]]
"""How far the queues are, and for each resource the queue of its last task."""

Label = tuple[tuple[int, ...], int, int, Any]
"""A partial merge: when each resource is free, when its last task starts, the queue of that, the label before."""


class _Next(NamedTuple):
    """A task that may start next: its queue and resource, bytes, time, the resources it waits for, where
    it leads, and the latest time its resource and each other one may be free then.
    """

    queue: int
    resource: int
    brings: int
    duration_ns: int
    waits_for: tuple[int, ...]
    state: State
    latest_ns: list[int]


class Merger:
    """The queues of one task graph. ``labels`` counts the partial merges looked at so far."""

    def __init__(self, problem: Problem, graph: TaskGraph) -> None:
        self.problem, self.graph, self.labels = problem, graph, 0
        self.queues = _queues(graph)
        self.resources = [graph.resources.index(graph.tasks[q[0]].resource) for q in self.queues]
        if graph.compute_tasks:
            self.resources[0] = 0  # one kernel after the other, whichever unit's; settling pulls them apart
        self.place = {t: (q, n + 1) for q, queue in enumerate(self.queues) for n, t in enumerate(queue)}
        self.duration = [[0, *(graph.tasks[t].duration_ns for t in queue)] for queue in self.queues]
        self.left = [[*accumulate(own[:0:-1], initial=0)][::-1] for own in self.duration]
        self.needs = [[(), *self._fresh(queue)] for queue in self.queues]
        self._count_bytes()

    def needed(self, before: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """How far queues must be before a task that waits for some others starts."""
        far: dict[int, int] = {}
        for queue, place in map(self.place.__getitem__, before):
            far[queue] = max(far.get(queue, 0), place)
        return tuple(far.items())

    def _fresh(self, queue: Sequence[int]) -> list[tuple[tuple[int, int], ...]]:
        """The same of each task of a queue, without what a task before it in the queue has waited for already."""
        found, known = list[tuple[tuple[int, int], ...]](), [0] * len(self.queues)
        for task in queue:
            needs = self.needed(self.graph.tasks[task].after)
            found.append(tuple((q, least) for q, least in needs if least > known[q]))
            for q, least in needs:
                known[q] = max(known[q], least)
        return found

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
        found = self.sequence(below_ns, waits, most, deadline)
        return None if found is None else self.timed(found, waits or {})

    def sequence(
        self,
        below_ns: int = UNLIMITED,
        waits: Waits | None = None,
        most: int = MOST_LABELS,
        deadline: float = math.inf,
    ) -> list[int] | None:
        """Tasks in the order in which they start in the shortest merge; None as for `best`."""
        return _Merging(self, below_ns, waits or {}, most, deadline).run()

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
                or self.used(far, done) + self.brings[queue][place] > self.problem.arena_bytes
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

    def used(self, far: Sequence[int], done: Sequence[int]) -> int:
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

    What is opened or sealed is a queue of loads or of stores like those of a channel.
    """
    uses, n = buffer_uses(graph), len(graph.compute_tasks)

    def use(task: Task) -> tuple[int, int, int]:
        load = task.index if task.kind is TaskKind.LOAD else task.after[-1]
        return min(uses[task.writes[0].buffer].first, n), -load, task.index

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
        self.resources = range(len(merger.graph.resources))
        self.apart = APART ** (len(self.resources) - 1)
        self.needs = merger.needs
        if waits:
            self.needs = [
                [(), *(merger.needed((*tasks[t].after, *waits.get(t, ()))) for t in queue)]
                for queue in merger.queues
            ]

    def run(self) -> list[int] | None:
        """Tasks in the order in which they start."""
        merger = self.merger
        last = tuple(
            next((q for q, own in enumerate(merger.resources) if own == r), 0) for r in self.resources
        )
        start: Label = ((0,) * len(last), 0, -1, None)
        level: dict[State, list[Label]] = {((0,) * len(merger.queues), last): [start]}
        looked_at = 0
        for _ in merger.graph.tasks:
            after: dict[State, list[Label]] = {}
            for state, labels in level.items():
                self._advance(state, labels, after)
            level = after
            looked_at += sum(map(len, level.values()))
            if looked_at > self.most or time.monotonic() > self.deadline:
                level = {}
        merger.labels += looked_at
        ends = [label for labels in level.values() for label in labels]
        return self._sequence(min(ends, key=lambda label: max(label[0]))) if ends else None

    def _sequence(self, label: Label) -> list[int]:
        queues: list[int] = []
        while label[3] is not None:
            queues.append(label[2])
            label = label[3]
        waiting = [iter(queue) for queue in self.merger.queues]
        return [next(waiting[q]) for q in reversed(queues)]

    def _advance(self, state: State, labels: list[Label], after: dict[State, list[Label]]) -> None:
        """Start every task that may start next, after each of the merges that have come to a state."""
        following, used = self._following(state), self._used(state)
        arena = self.merger.problem.arena_bytes
        for label in labels:
            free, now = label[0], label[1]
            for queue, resource, brings, duration_ns, waits_for, reached, latest_ns in following:
                at = free[resource]
                at = max(at, now)
                for other in waits_for:
                    at = max(at, free[other])
                if used[_running(free, at)] + brings > arena:
                    later = [end for end in sorted(free) if end > at]
                    at = next((end for end in later if used[_running(free, end)] + brings <= arena), -1)
                    if at < 0:
                        continue
                if at + duration_ns > latest_ns[resource] or any(at > end for end in latest_ns):
                    continue
                gone = (*free[:resource], at + duration_ns, *free[resource + 1 :])
                if reached in after:
                    _add(after[reached], (gone, at, queue, label), self.apart)
                else:
                    after[reached] = [(gone, at, queue, label)]

    def _following(self, state: State) -> list[_Next]:
        """The next tasks of the queues whose predecessors have started."""
        merger, (far, last), found = self.merger, state, []
        latest = [self.below_ns - 1 for _ in self.resources]
        for queue, count in enumerate(far):
            latest[merger.resources[queue]] -= merger.left[queue][count]
        for queue, count in enumerate(far):
            if count == len(merger.queues[queue]):
                continue
            needs = self.needs[queue][count + 1]
            if any(far[other] < least for other, least in needs):
                continue
            resource, duration_ns = merger.resources[queue], merger.duration[queue][count + 1]
            waits = {
                merger.resources[q]
                for q, least in needs
                if far[q] == least and last[merger.resources[q]] == q
            }
            after = [*latest]
            after[resource] += duration_ns
            reached = (
                (*far[:queue], count + 1, *far[queue + 1 :]),
                (*last[:resource], queue, *last[resource + 1 :]),
            )
            brings = merger.brings[queue][count + 1]
            found.append(_Next(queue, resource, brings, duration_ns, tuple(waits), reached, after))
        return found

    def _used(self, state: State) -> list[int]:
        """Bytes in use by which resources are still at work, one bit for each."""
        merger, (far, last) = self.merger, state
        found = [merger.used(far, far)]
        for resource in self.resources:
            queue = last[resource]
            holds = merger.freed[queue][far[queue]] - merger.freed[queue][far[queue] - 1] if far[queue] else 0
            found += [bytes_used + holds for bytes_used in found]
        return found if not merger.shared else [self._shared(state, n) for n in range(len(found))]

    def _shared(self, state: State, running: int) -> int:
        """The same where buffers are freed by tasks of two queues."""
        far, last = state
        done = [*far]
        for resource in self.resources:
            if running >> resource & 1 and done[last[resource]]:
                done[last[resource]] -= 1
        return self.merger.used(far, done)


def _running(free: tuple[int, ...], now: int) -> int:
    """Which resources are at work at a time, one bit for each."""
    found = 0
    for resource, end in enumerate(free):
        if end > now:
            found |= 1 << resource
    return found


def _add(labels: list[Label], new: Label, most: int) -> None:
    """Keep a label unless another is no later, and not those that are later; of too many the latest goes."""
    for label in labels:
        if _no_later(label, new):
            return
    labels[:] = [label for label in labels if not _no_later(new, label)]
    labels.append(new)
    if len(labels) > most:
        labels.remove(max(labels, key=lambda label: sum(label[0])))


def _no_later(label: Label, other: Label) -> bool:
    """Whether all that may follow the other may follow this one, as early."""
    return label[1] <= other[1] and all(a <= b for a, b in zip(label[0], other[0], strict=True))
