"""Timetables: when each task of a schedule starts at the earliest and at the latest, kept up as parts of it change.

Tasks keep their order on each resource, and the order in which they touch bytes. What they wait for follows from
that; of how the bytes of SRAM change hands each buffer knows its part: the order in which tasks touch it, and the
buffers that had its bytes right before. When some tasks of a long schedule change places, few of these
parts change, and times are counted anew only from there on until all that follow are shifted alike.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from ooc_solve.models.vocabulary import Schedule, TaskGraph
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.maxplus import Ints
from ooc_solve.solver.streams import earliest_times, ordered_conflicts, synchronize

FIRST_LOOK = 16
"""Tasks counted anew after which it is seen whether all that follow are shifted alike; then after twice as many."""

Waits = list[frozenset[int]]
"""For each task others."""


class Uses:
    """What a graph says whatever its schedule: who touches which buffers, in which order kernels start."""

    def __init__(self, graph: TaskGraph) -> None:
        self.graph = graph
        number = {name: r for r, name in enumerate(graph.resources)}
        self.lane = [number[task.resource] for task in graph.tasks]
        self.lanes = np.array(self.lane, np.int64)
        self.duration_ns = np.array([task.duration_ns for task in graph.tasks], np.int64)
        self.size = np.array([buffer.size_bytes for buffer in graph.buffers], np.int64)
        self.reads = [frozenset(touch.buffer for touch in task.reads) for task in graph.tasks]
        self.writes = [frozenset(touch.buffer for touch in task.writes) for task in graph.tasks]
        self.touchers: list[list[int]] = [[] for _ in graph.buffers]
        for task, (reads, writes) in enumerate(zip(self.reads, self.writes, strict=True)):
            for buffer in reads | writes:
                self.touchers[buffer].append(task)
        self.kernel_before, self.kernel_behind = [-1] * len(self.lane), [-1] * len(self.lane)
        for earlier, later in pairwise(task.index for task in graph.compute_tasks):
            self.kernel_before[later], self.kernel_behind[earlier] = earlier, later
        lasts = self.duration_ns.tolist()
        self.shorter_ns = [lasts[kernel] - lasts[task] for task, kernel in enumerate(self.kernel_behind)]
        self.touched = np.array([b for b, own in enumerate(self.touchers) if own], np.int64)
        self.every = np.array([t for own in self.touchers for t in own], np.int64)
        lengths = np.array([len(own) for own in self.touchers if own], np.int64)
        self.begins = np.cumsum(lengths) - lengths

    def within(self, buffer: int, touchers: Sequence[int]) -> dict[int, set[int]]:
        """Who waits for whom as both touch a buffer and one of them writes it, in this order."""
        found: dict[int, set[int]] = {}
        writer, readers = -1, dict[int, int]()
        for task in touchers:
            own = {writer}
            if buffer in self.writes[task]:
                own.update(readers.values())
                writer, readers = task, {}
            else:
                readers[self.lane[task]] = task
            found[task] = own - {-1}
        return found

    def stored(self, address: Sequence[int], sequence: Sequence[int]) -> Waits:
        """What each task waits for whatever lies where in SRAM: data, and bytes of storage."""
        apart = range(len(self.graph.tasks))  # every reader of bytes is named, whichever channel it uses
        written = frozenset(t.moved.region.value for t in self.graph.tasks if t.moved and t.reads)
        conflicts = ordered_conflicts(self.graph, address, sequence, apart, written)
        return [
            frozenset(found.union(task.after))
            for found, task in zip(conflicts, self.graph.tasks, strict=True)
        ]


class _Bytes:
    """Which buffers had, and will have, the bytes of another: where they lie, and when tasks touch them."""

    def __init__(self, uses: Uses, address: Sequence[int], place: Ints) -> None:
        self.low = np.array(address, np.int64)
        self.high = self.low.copy()  # what nobody touches takes nothing
        self.first, self.last = np.zeros_like(self.low), np.zeros_like(self.low)
        if len(uses.touched):
            self.high[uses.touched] += uses.size[uses.touched]
            self.first[uses.touched] = np.minimum.reduceat(place[uses.every], uses.begins)
            self.last[uses.touched] = np.maximum.reduceat(place[uses.every], uses.begins)

    def before(self, buffer: int) -> list[int]:
        """The buffers that had some of its bytes last before it."""
        gone = self._meeting(buffer) & (self.last < self.first[buffer])
        return self._seen(buffer, np.flatnonzero(gone), -self.last)

    def behind(self, buffer: int) -> list[int]:
        """The buffers that have some of its bytes next after it."""
        coming = self._meeting(buffer) & (self.first > self.last[buffer])
        return self._seen(buffer, np.flatnonzero(coming), self.first)

    def _meeting(self, buffer: int) -> Any:
        return (self.low < self.high[buffer]) & (self.high > self.low[buffer])

    def _seen(self, buffer: int, others: Ints, distance: Ints) -> list[int]:
        """Those that are not hidden behind nearer ones."""
        found, left = list[int](), [(int(self.low[buffer]), int(self.high[buffer]))]
        for other in others[np.argsort(distance[others], kind="stable")].tolist():
            low, high = int(self.low[other]), int(self.high[other])
            rest = list[tuple[int, int]]()
            for a, z in left:
                rest += [(x, y) for x, y in ((a, min(z, low)), (max(a, high), z)) if x < y]
            if rest != left:
                found.append(other)
                left = rest
            if not left:
                break
        return found


@dataclass(frozen=True, slots=True)
class Timetable:
    """A schedule: tasks in the order in which they start, for each the earliest and the latest start in that order.

    ``place`` says where a task is in ``sequence``. ``order`` is that of each resource, with the task ``ahead``
    of each or -1, ``touchers`` that of each buffer, ``over`` the buffers whose bytes it gets. Tasks wait until those ``before`` them have ended.
    """

    uses: Uses
    stored: Waits
    address: tuple[int, ...]
    order: list[list[int]]
    ahead: list[int]
    touchers: list[list[int]]
    within: list[dict[int, set[int]]]
    over: list[list[int]]
    under: Waits
    before: Waits
    behind: Waits
    earliest_ns: tuple[int, ...]
    latest_ns: tuple[int, ...]
    sequence: tuple[int, ...]
    place: tuple[int, ...]
    makespan_ns: int
    free_ns: Ints
    taken_ns: Ints

    @classmethod
    def of(cls, graph: TaskGraph, schedule: Schedule, request_ns: int = 0) -> Timetable:
        """The timetable of the order and the addresses that a schedule has (``request_ns`` as in `clock.Clock`)."""
        uses = Uses(graph)
        sequence, place = _sorted(schedule.start_ns)
        rank = place.tolist()
        there = _Bytes(uses, schedule.address, place)
        stored = uses.stored(schedule.address, sequence.tolist())
        touchers = [sorted(own, key=rank.__getitem__) for own in uses.touchers]
        within = [uses.within(b, own) for b, own in enumerate(touchers)]
        over = [there.before(b) if own else [] for b, own in enumerate(touchers)]
        order: list[list[int]] = [[] for _ in graph.resources]
        for task in sequence.tolist():
            order[uses.lane[task]].append(task)
        ahead = [-1] * len(graph.tasks)
        for earlier, later in (pair for own in order for pair in pairwise(own)):
            ahead[later] = earlier
        waits = _Waits(uses, stored, ahead, touchers, within, over)
        before = [waits.of(task) for task in range(len(graph.tasks))]
        behind = _turned(before)
        none = np.zeros(len(before), np.int64)
        earliest = _forward(uses, before, none).all(sequence.tolist())
        if request_ns:
            streams = synchronize(graph, schedule)
            earliest = np.array(earliest_times(graph, streams, request_ns), np.int64)
        end_ns = makespan_ns(graph, earliest.tolist())
        last = _backward(uses, behind, none).all(sequence[::-1].tolist())
        latest = end_ns - last - uses.duration_ns
        places = (
            tuple(schedule.address),
            order,
            ahead,
            touchers,
            within,
            over,
            _turned(over),
            before,
            behind,
        )
        return cls(uses, stored, *places, *_timed(uses, earliest, latest, end_ns))

    @property
    def schedule(self) -> Schedule:
        """The schedule with every task as early as it can be."""
        return Schedule(self.earliest_ns, self.address)

    def free(self, count: int) -> dict[str, int]:
        """When each resource has done what is among the first so many tasks of the sequence."""
        return dict(zip(self.uses.graph.resources, self.free_ns[:, count].tolist(), strict=True))

    def taken(self, count: int) -> dict[str, int]:
        """When each resource must begin what is not among the first so many tasks of the sequence."""
        return dict(zip(self.uses.graph.resources, self.taken_ns[:, count].tolist(), strict=True))

    def moved(self, tasks: Sequence[int], schedule: Schedule) -> Timetable:
        """The timetable of a schedule in which some tasks that follow one another, and what they touch, have moved.

        It is that of `of` where requests take no time from kernels. All others keep their order.
        """
        return _Move(self, tasks, schedule).run()


class _Waits:
    """What tasks wait for, from the parts of a timetable."""

    def __init__(
        self,
        uses: Uses,
        stored: Waits,
        ahead: Sequence[int],
        touchers: Sequence[Sequence[int]],
        within: Sequence[Mapping[int, set[int]]],
        over: Sequence[Sequence[int]],
    ) -> None:
        self.uses, self.stored, self.touchers, self.within, self.over = uses, stored, touchers, within, over
        self.ahead = ahead
        self.gone: dict[int, set[int]] = {}

    def of(self, task: int) -> frozenset[int]:
        """Tasks that must have ended before one begins."""
        found = set(self.stored[task])
        if self.ahead[task] >= 0:
            found.add(self.ahead[task])
        for buffer in self.uses.reads[task] | self.uses.writes[task]:
            found |= self.within[buffer][task]
            if self.touchers[buffer][0] == task:
                found.update(*(self.last(other) for other in self.over[buffer]))
        return frozenset(found)

    def last(self, buffer: int) -> set[int]:
        """The last task of each resource to touch a buffer."""
        if buffer not in self.gone:
            self.gone[buffer] = set({self.uses.lane[t]: t for t in self.touchers[buffer]}.values())
        return self.gone[buffer]


class _Move:
    """One change of a timetable: its parts are copied, those that change are made anew."""

    def __init__(self, table: Timetable, tasks: Sequence[int], schedule: Schedule) -> None:
        self.table, self.uses, self.tasks, self.schedule = table, table.uses, tasks, schedule
        self.sequence, self.place = _sorted(schedule.start_ns)
        self.rank = self.place.tolist()
        self.there = _Bytes(self.uses, schedule.address, self.place)

    def run(self) -> Timetable:
        """The new timetable."""
        table, uses = self.table, self.uses
        changed = set(self.tasks)
        order, ahead = self._order(changed)
        touchers, within = self._touchers(changed)
        over, under = self._over(touchers, changed)
        waits = _Waits(uses, table.stored, ahead, touchers, within, over)
        before, behind = [*table.before], [*table.behind]
        others = set(self.tasks)  # whose followers change
        for task in changed:
            now = waits.of(task)
            for other in before[task] - now:
                behind[other] -= {task}
            for other in now - before[task]:
                behind[other] |= {task}
            others |= before[task] ^ now
            before[task] = now
        earliest = self._earliest(before, changed)
        end_ns = int((earliest + uses.duration_ns).max())
        latest = self._latest(behind, others, end_ns)
        places = (tuple(self.schedule.address), order, ahead, touchers, within, over, under, before, behind)
        return Timetable(uses, table.stored, *places, *_timed(uses, earliest, latest, end_ns))

    def _order(self, changed: set[int]) -> tuple[list[list[int]], list[int]]:
        """The order of each resource, and who is ahead of each; what comes next on it is changed, too."""
        found, ahead = [*self.table.order], [*self.table.ahead]
        for lane, order in enumerate(found):
            own = sorted((t for t in self.tasks if self.uses.lane[t] == lane), key=self.rank.__getitem__)
            if own:
                at = min(map(order.index, own))
                behind = order[at + len(own) : at + len(own) + 1]
                for earlier, later in pairwise((*order[max(0, at - 1) : at], *own, *behind)):
                    ahead[later] = earlier
                if not at:
                    ahead[own[0]] = -1
                found[lane] = [*order[:at], *own, *order[at + len(own) :]]
                changed.update(behind)
        return found, ahead

    def _touchers(self, changed: set[int]) -> tuple[list[list[int]], list[dict[int, set[int]]]]:
        """The order in which tasks touch each buffer, and who waits for whom therefore."""
        touchers, within = [*self.table.touchers], [*self.table.within]
        self.buffers = set[int]().union(*(self.uses.reads[t] | self.uses.writes[t] for t in self.tasks))
        for buffer in self.buffers:
            own = sorted(touchers[buffer], key=self.rank.__getitem__)
            if own != touchers[buffer]:
                changed.update(own)
                touchers[buffer], within[buffer] = own, self.uses.within(buffer, own)
        return touchers, within

    def _over(self, touchers: Sequence[Sequence[int]], changed: set[int]) -> tuple[list[list[int]], Waits]:
        """Whose bytes each buffer gets, and who gets its bytes; the first that touch them may be changed."""
        over, under = [*self.table.over], [*self.table.under]
        found = set(self.buffers).union(*(under[b] for b in self.buffers))
        for buffer in self.buffers:
            if self.schedule.address[buffer] != self.table.address[buffer]:
                found.update(self.there.behind(buffer))
        for buffer in found:
            others = self.there.before(buffer)
            for other in over[buffer]:
                under[other] -= {buffer}
            for other in others:
                under[other] |= {buffer}
            over[buffer] = others
            changed.update((touchers[buffer][0], self.table.touchers[buffer][0]))
        return over, under

    def _earliest(self, before: Waits, changed: set[int]) -> Ints:
        """Starts, counted anew from the first task on that waits for others than before."""
        table, uses = self.table, self.uses
        own = [self.rank[t] for t in self.tasks]
        first = min([*own, *(self.rank[t] for t in changed if before[t] != table.before[t])])
        near, done = self.sequence[first : max(own) + 1], self.sequence[:first]
        counting = _forward(uses, before, np.array(table.earliest_ns, np.int64))
        return counting.anew(done, near, np.array(table.sequence, np.int64), changed)

    def _latest(self, behind: Waits, changed: set[int], end_ns: int) -> Ints:
        """Latest starts, counted anew from the last task on that others wait for than before."""
        table, uses = self.table, self.uses
        own = [self.rank[t] for t in self.tasks]
        last = max([*own, *(self.rank[t] for t in changed)])
        near, done = self.sequence[min(own) : last + 1][::-1], self.sequence[last + 1 :]
        latest = np.array(table.latest_ns, np.int64)
        counting = _backward(uses, behind, table.makespan_ns - latest - uses.duration_ns)
        rest = np.lexsort((np.arange(len(latest)), latest))[::-1]
        return end_ns - counting.anew(done, near, rest, changed) - uses.duration_ns


class _Counting:
    """Starts (ns), each as early as the ends of those that a task waits for allow; seen from the end, latest ones.

    A task starts no earlier than ``kernel`` and so much later.
    """

    def __init__(
        self, duration_ns: Ints, waits: Waits, kernel: Sequence[int], later_ns: Sequence[int], start_ns: Ints
    ) -> None:
        self.duration_ns, self.waits, self.kernel, self.later_ns = duration_ns, waits, kernel, later_ns
        self.old_ns = start_ns
        self.lasts_ns, self.starts_ns = duration_ns.tolist(), start_ns.tolist()

    def counted(self, task: int) -> int:
        """When a task starts, if those before it do as is known."""
        starts, lasts, kernel = self.starts_ns, self.lasts_ns, self.kernel[task]
        at = starts[kernel] + self.later_ns[task] if kernel >= 0 else 0
        for other in self.waits[task]:
            end = starts[other] + lasts[other]
            at = max(at, end)
        return max(0, at)

    def all(self, sequence: Iterable[int]) -> Ints:
        """Starts of tasks in an order in which none comes before one that it waits for."""
        for task in sequence:
            self.starts_ns[task] = self.counted(task)
        return np.array(self.starts_ns, np.int64)

    def anew(self, done: Ints, near: Ints, sequence: Ints, changed: Iterable[int]) -> Ints:
        """Starts where ``changed`` tasks wait for others than before: those that are ``done`` stay as they are.

        Those ``near`` are counted first, then the others in a sequence that was one before.
        """
        known = np.zeros(len(self.old_ns), bool)
        known[done] = known[near] = True
        self.all(near.tolist())
        rest = sequence[~known[sequence]]
        next_ns = np.minimum.accumulate(self.old_ns[rest][::-1])[::-1]
        at, look = 0, FIRST_LOOK
        while at < len(rest):
            part = rest[at : at + look]
            start = self.all(part.tolist())
            known[part] = True
            at, look = at + look, 2 * look
            if at < len(rest):
                shifted = self._shifted(start, known, int(part[-1]), int(next_ns[at]))
                if shifted is not None and self._holds(shifted, [t for t in changed if not known[t]]):
                    return shifted
        return np.array(self.starts_ns, np.int64)

    def _shifted(self, start_ns: Ints, known: Any, last: int, next_ns: int) -> Ints | None:
        """All others moved by as much as the last one was, if none waits for one that was not.

        Those that were not have ended before others start, now, and did so before.
        """
        shift = int(self.old_ns[last] - start_ns[last])
        apart = known & (self.old_ns - start_ns != shift)
        before = int((self.old_ns + self.duration_ns)[apart].max(initial=-1))
        now = int((start_ns + self.duration_ns)[apart].max(initial=-1))
        if before >= next_ns or now + shift > next_ns or shift > next_ns:
            return None
        moved: Ints = np.where(known, start_ns, self.old_ns - shift)
        return moved

    def _holds(self, start_ns: Ints, changed: Sequence[int]) -> bool:
        """Whether tasks that wait for others now start as was said nevertheless; else all is as it was."""
        before, self.starts_ns = self.starts_ns, start_ns.tolist()
        if all(self.counted(task) == self.starts_ns[task] for task in changed):
            return True
        self.starts_ns = before
        return False


def _forward(uses: Uses, before: Waits, start_ns: Ints) -> _Counting:
    """Earliest starts: a kernel starts no earlier than the one before it."""
    return _Counting(uses.duration_ns, before, uses.kernel_before, [0] * len(before), start_ns)


def _backward(uses: Uses, behind: Waits, start_ns: Ints) -> _Counting:
    """The same seen from the end, where starts are ends: no kernel starts later than the one behind it."""
    return _Counting(uses.duration_ns, behind, uses.kernel_behind, uses.shorter_ns, start_ns)


def _turned(others: Iterable[Iterable[int]]) -> Waits:
    """For each who names it."""
    known = [*others]
    found: list[set[int]] = [set() for _ in known]
    for one, own in enumerate(known):
        for other in own:
            found[other].add(one)
    return [frozenset(own) for own in found]


def _sorted(start_ns: Sequence[int] | Ints) -> tuple[Ints, Ints]:
    """Tasks in the order in which they start, and where each is in it."""
    sequence = np.argsort(np.array(start_ns, np.int64), kind="stable")
    place = np.empty_like(sequence)
    place[sequence] = np.arange(len(sequence))
    return sequence, place


def _timed(
    uses: Uses, earliest_ns: Ints, latest_ns: Ints, end_ns: int
) -> tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...], tuple[int, ...], int, Ints, Ints]:
    """The fields of a timetable that follow from its times."""
    sequence, place = _sorted(earliest_ns)
    tasks, resources = len(sequence), range(len(uses.graph.resources))
    free = np.zeros((len(resources), tasks + 1), np.int64)
    taken = np.full((len(resources), tasks + 1), end_ns, np.int64)
    ends, latest, lanes = (
        (earliest_ns + uses.duration_ns)[sequence],
        latest_ns[sequence],
        uses.lanes[sequence],
    )
    for r in resources:
        free[r, 1:] = np.maximum.accumulate(np.where(lanes == r, ends, 0))
        taken[r, :-1] = np.minimum.accumulate(np.where(lanes == r, latest, end_ns)[::-1])[::-1]
    times = (tuple(earliest_ns.tolist()), tuple(latest_ns.tolist()))
    return *times, tuple(sequence.tolist()), tuple(place.tolist()), end_ns, free, taken
