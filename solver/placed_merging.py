"""The shortest merge of transfers and kernels in which every buffer has an address, nearly.

`merging` counts bytes; here each partial merge also knows where the buffers lie that are in SRAM then.
Where memory is tight these are few, and so are the gaps a new one may go to: at an end of a gap, or beside
a buffer that a running task is about to free, for which it may be worth waiting. Level by level, one
more task started each, the most promising partial merges are kept (a beam search). One from which the kernels
cannot be carried on, because what was loaded early lies in their way, is kept only if all are like that.
In long graphs the search leaps over what is like what was just done (`recurrence`).
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Schedule, TaskGraph
from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.listing import settle
from ooc_solve.solver.merging import Far, Merger, State
from ooc_solve.solver.placement import buffer_uses
from ooc_solve.solver.recurrence import Extent, Moment, Recurrence
from ooc_solve.solver.variables import touchers


@dataclass(frozen=True, slots=True)
class Width:
    """How many partial merges are kept, of how many with the same tasks, and how many places a buffer is offered."""

    merges: int
    alike: int
    places: int


SLIM, LEAN, NARROW, WIDE = Width(20, 4, 3), Width(30, 5, 4), Width(60, 8, 4), Width(300, 30, 6)

Timed = tuple[int, int, int, int]
"""A block and when it is free: `NEVER` where that is not known yet."""

Places = tuple[tuple[int, int], ...]
"""Buffers and their addresses."""

NEVER = 1 << 62

LEAPS_FROM = 1500
"""Graphs of so many tasks are searched with leaps."""

PATIENCE_S = 1.0
"""Time after which a search of such a graph is given up where it would not be done by its deadline at that pace."""

LOOKED_BACK = 256
"""Ancestors of the most promising partial merge that it is compared with."""

LEAST_LEAP, BEHIND_A_LEAP = 2, 2
"""How often something must come again for a leap, and how often it does so after it, when the search is wide again."""


class _Leap(NamedTuple):
    """What came after one partial merge comes again so many times, the queues so far on and so much later each time."""

    origin: Partial
    times: int
    shift: Far
    period_ns: int


class Partial(NamedTuple):
    """A partial merge: when each resource is free, when its last task starts, what lies where; and how it came about."""

    free: tuple[int, ...]
    now: int
    blocks: tuple[Extent, ...]
    before: Partial | None
    queue: int
    places: Places
    leap: _Leap | None = None


_Step = tuple[int, int, Places]
"""Queue of the task that starts, when, and where what it brings comes to lie."""


def placed_merge(
    problem: Problem,
    graph: TaskGraph,
    width: Width = NARROW,
    below_ns: int = NEVER,
    deadline: float = math.inf,
) -> Schedule | None:
    """A schedule shorter than ``below_ns``, None if none was found until a ``deadline`` (of `time.monotonic`)."""
    return PlacedBeam(problem, graph, width, below_ns, deadline).run()


class PlacedBeam:
    """One search."""

    def __init__(
        self, problem: Problem, graph: TaskGraph, width: Width, below_ns: int, deadline: float
    ) -> None:
        self.problem, self.graph, self.width = problem, graph, width
        self.below_ns, self.deadline, self.begun = below_ns, deadline, time.monotonic()
        self.merger = Merger(problem, graph)
        self.queues, self.resources = self.merger.queues, self.merger.resources
        self.goal = tuple(map(len, self.queues))  # how far the queues are in the end
        self.fixed: dict[int, int] = {}  # addresses that are given
        self.size = [b.size_bytes for b in graph.buffers]
        self.pinned = [b.index for b in graph.buffers if b.pinned]
        self.walls = tuple(accumulate(size for _, size in problem.banks))
        self.arena, self.unit = problem.arena_bytes, problem.unit_bytes
        self._follow_buffers()
        self._follow_kernels()
        self._safe: dict[tuple[int, int, tuple[Extent, ...]], bool] = {}
        self.recurrence = Recurrence(self.merger, self.brings, self.lasts, self.size)
        self.leaps = len(graph.tasks) >= LEAPS_FROM
        # of the most promising partial merges, by identity
        self._moments: dict[int, tuple[Partial, Moment]] = {}

    def _follow_buffers(self) -> None:
        """Which task brings each buffer, and which are the last of their queues to touch it."""
        place = self.merger.place
        self.brings: list[list[list[int]]] = [[[] for _ in range(len(q) + 1)] for q in self.queues]
        self.lasts: list[tuple[tuple[int, int], ...]] = [() for _ in self.graph.buffers]
        for buffer, (first, last) in zip(self.graph.buffers, touchers(self.graph), strict=True):
            if first and not buffer.pinned and buffer.held is None:
                queue, at = min(place[t] for t in first)
                self.brings[queue][at].append(buffer.index)
                ends: dict[int, int] = {}
                for queue, at in map(place.__getitem__, last):
                    ends[queue] = max(ends.get(queue, 0), at)
                self.lasts[buffer.index] = tuple(ends.items())

    def _follow_kernels(self) -> None:
        """Which buffers each kernel finds in SRAM, the largest first."""
        kernels, uses = len(self.graph.compute_tasks), buffer_uses(self.graph)
        self.begins = [max(use.first, 0) for use in uses]
        self.ends = [min(use.last, kernels) for use in uses]
        self.beside: list[list[int]] = [[] for _ in range(kernels + 1)]
        for buffer in sorted(self.graph.buffers, key=lambda b: -b.size_bytes):
            for kernel in range(self.begins[buffer.index], self.ends[buffer.index] + 1):
                if not buffer.pinned and buffer.held is None:
                    self.beside[kernel].append(buffer.index)

    # ------------------------------------------------------------------------ levels

    def run(self) -> Schedule | None:
        """Start one task after the other."""
        ends = self._ends(self._start(), len(self.graph.tasks))
        return self._schedule(min(ends, key=lambda p: max(p.free))) if ends else None

    def _ends(self, level: dict[State, list[Partial]], tasks: int) -> list[Partial]:
        """What is left when so many tasks have started; nothing if none is, or the deadline comes before that."""
        started = sum(next(iter(level))[0]) if level else 0
        while level and started < tasks:
            keep_time()
            if time.monotonic() > self.deadline or self._is_slow(started):
                return []
            after: dict[State, list[Partial]] = {}
            for state, partials in level.items():
                self._advance(state, partials, after)
            level = self._kept(after)
            if self.leaps and level:
                level = self._leapt(level)
            started = sum(next(iter(level))[0]) if level else 0
        return [partial for partials in level.values() for partial in partials]

    def _is_slow(self, started: int) -> bool:
        """Whether the rest will take longer than there is time, if it takes as long as what is done."""
        spent_s, left_s = time.monotonic() - self.begun, self.deadline - self.begun
        too_slow = self.leaps and spent_s * len(self.graph.tasks) > started * left_s
        return spent_s > PATIENCE_S and too_slow

    def _start(self) -> dict[State, list[Partial]]:
        """Nothing is started; pinned buffers lie one behind the other."""
        names, at, blocks = range(len(self.graph.resources)), 0, list[Extent]()
        for buffer in self.pinned:
            at = self._unwalled(at, self.size[buffer])
            blocks.append((at, at + self.size[buffer], buffer))
            at += self.size[buffer]
        first = tuple(next((q for q, own in enumerate(self.resources) if own == r), 0) for r in names)
        start = Partial((0,) * len(names), 0, tuple(blocks), None, -1, ())
        fits = at <= self.arena
        return {((0,) * len(self.queues), first): [start]} if fits else {}

    def _unwalled(self, at: int, size: int) -> int:
        """The least address from ``at`` on that is a multiple of the unit and where no bank ends in between."""
        at = -(-at // self.unit) * self.unit
        for wall in self.walls[:-1]:
            if at < wall < at + size:
                at = wall
        return at

    def _kept(self, after: dict[State, list[Partial]]) -> dict[State, list[Partial]]:
        """The most promising partial merges, of those from which kernels can be carried on if there are any."""
        ranked = []
        for state, partials in after.items():
            left = self._left(state)
            here = sorted(
                ((self._rank(left, p), p) for p in _undominated(partials)), key=lambda pair: pair[0]
            )
            ranked += [(rank, state, p) for rank, p in here[: self.width.alike]]
        ranked.sort(key=lambda found: found[0])
        good: list[tuple[tuple[int, int, int], State, Partial]] = []
        rest: list[tuple[tuple[int, int, int], State, Partial]] = []
        for found in ranked:
            _, state, partial = found
            (good if self._goes_on(partial.blocks, state[0][0]) else rest).append(found)
            if len(good) == self.width.merges:
                break
        kept: dict[State, list[Partial]] = {}
        for _, state, partial in good or rest[: self.width.merges]:
            kept.setdefault(state, []).append(partial)
        return kept

    # ------------------------------------------------------------------------- leaps

    def _leapt(self, level: dict[State, list[Partial]]) -> dict[State, list[Partial]]:
        """The level, or what the most promising partial merge comes to if it goes on as it has come."""
        state, (partial, *_) = next(iter(level.items()))
        if partial.queue != 0:
            return level
        now = self._moment(state, partial)
        self._moments[id(partial)] = partial, now
        ancestor = partial.before
        for _ in range(LOOKED_BACK):
            if ancestor is None:
                break
            _, before = self._moments.get(id(ancestor), (None, None))
            if before is not None and now.resembles(before):
                times = self.recurrence.times(before, now) - BEHIND_A_LEAP
                if times >= LEAST_LEAP:
                    return self._beyond(partial, now, ancestor, before, times)
            ancestor = ancestor.before
        return level

    def _moment(self, state: State, partial: Partial) -> Moment:
        busy = tuple(max(0, free - partial.now) for free in partial.free)
        return Moment(*state, busy, partial.blocks)

    def _beyond(
        self, partial: Partial, now: Moment, ancestor: Partial, before: Moment, times: int
    ) -> dict[State, list[Partial]]:
        """The only partial merge of a level that many tasks further on."""
        shift = tuple(b - a for a, b in zip(before.far, now.far, strict=True))
        period_ns = partial.now - ancestor.now
        blocks = tuple(
            (low, high, new if old == new else self.recurrence.shifted(new, shift, times))
            for (_, _, old), (low, high, new) in zip(ancestor.blocks, partial.blocks, strict=True)
        )
        later = times * period_ns
        free = tuple(max(at, partial.now) + later for at in partial.free)
        leap = _Leap(ancestor, times, shift, period_ns)
        reached = Partial(free, partial.now + later, blocks, partial, partial.queue, (), leap)
        far = tuple(f + times * s for f, s in zip(now.far, shift, strict=True))
        self._moments[id(reached)] = reached, now._replace(far=far, blocks=blocks)
        return {(far, now.last): [reached]}

    def _left(self, state: State) -> list[int]:
        """For how long each resource is still to work."""
        left = [0] * len(self.graph.resources)
        for queue, count in enumerate(state[0]):
            left[self.resources[queue]] += self.merger.left[queue][count]
        return left

    def _rank(self, left: Sequence[int], partial: Partial) -> tuple[int, int, int]:
        """When all can be done at the earliest, the sum of that over resources; and gaps: one is better than many."""
        now = partial.now
        ends = [max(free, now) + rest for free, rest in zip(partial.free, left, strict=True)]
        return max(ends), sum(ends), -self._gaps(partial.blocks)

    def _gaps(self, blocks: Iterable[Extent]) -> int:
        """Sum of the squares of the gaps between blocks."""
        found = at = 0
        for low, high, _ in blocks:
            found += (low - at) ** 2
            at = high
        return int(found + (self.arena - at) ** 2)

    # ------------------------------------------------------------------------- tasks

    def _advance(self, state: State, partials: Sequence[Partial], after: dict[State, list[Partial]]) -> None:
        """Start every task that may start next, at every place that is offered, after each of some merges."""
        far, last = state
        nexts = [
            (queue, waits) for queue in range(len(far)) if (waits := self._waits(state, queue)) is not None
        ]
        reached = {queue: self._behind(state, queue) for queue, _ in nexts}
        for partial in partials:
            blocks = [(*block, self._free_ns(block[2], far, last, partial.free)) for block in partial.blocks]
            for queue, waits in nexts:
                found = after.setdefault(reached[queue], [])
                found += self._started(partial, blocks, queue, far[queue] + 1, waits)

    def _behind(self, state: State, queue: int) -> State:
        far, last = state
        resource = self.resources[queue]
        return (
            (*far[:queue], far[queue] + 1, *far[queue + 1 :]),
            (*last[:resource], queue, *last[resource + 1 :]),
        )

    def _waits(self, state: State, queue: int) -> set[int] | None:
        """Resources that the next task of a queue waits for; None if something that it needs is not started."""
        far, last = state
        if far[queue] == self.goal[queue]:
            return None
        needs = self.merger.needs[queue][far[queue] + 1]
        if any(far[other] < least for other, least in needs):
            return None
        return {
            self.resources[q] for q, least in needs if far[q] == least and last[self.resources[q]] == q
        } | {self.resources[queue]}

    def _free_ns(self, buffer: int, far: Far, last: tuple[int, ...], free: tuple[int, ...]) -> int:
        """When the bytes of a buffer are free, `NEVER` if a task that touches it is still to be started."""
        found = 0
        for queue, place in self.lasts[buffer]:
            if far[queue] < place:
                return NEVER
            resource = self.resources[queue]
            if far[queue] == place and last[resource] == queue:
                found = max(found, free[resource])
        return found if self.lasts[buffer] else NEVER

    def _started(
        self, partial: Partial, blocks: Sequence[Timed], queue: int, place: int, waits: set[int]
    ) -> Iterable[Partial]:
        """A partial merge with one more task, for each way to place what that brings."""
        at = max(partial.now, *(partial.free[r] for r in waits))
        resource, duration = self.resources[queue], self.merger.duration[queue][place]
        latest = self.below_ns - duration - self.merger.left[queue][place]
        ways: list[tuple[int, list[Timed], Places]] = [(at, [b for b in blocks if b[3] > at], ())]
        for buffer in self.brings[queue][place]:
            ways = [
                (start, self._with(there, start, buffer, address), (*places, (buffer, address)))
                for now, there, places in ways
                for address, start in self._offers(there, buffer, now)
            ]
        for start, there, places in ways:
            if start < latest:
                free = (*partial.free[:resource], start + duration, *partial.free[resource + 1 :])
                yield Partial(
                    free, start, tuple(b[:3] for b in there if b[3] > start), partial, queue, places
                )

    def _with(self, blocks: Sequence[Timed], start: int, buffer: int, address: int) -> list[Timed]:
        """Blocks that are still there when a buffer comes, and that."""
        there = [b for b in blocks if b[3] > start]
        return sorted([*there, (address, address + self.size[buffer], buffer, NEVER)])

    def _offers(self, blocks: Sequence[Timed], buffer: int, now: int) -> list[tuple[int, int]]:
        """Addresses for a new buffer, and when they are free: early ones first, then those in tight gaps."""
        found: dict[int, tuple[int, int]] = {}
        unit, size = self.unit, self.size[buffer]
        if buffer in self.fixed:
            address = self.fixed[buffer]
            free_ns = max([now, *(b[3] for b in blocks if b[0] < address + size and address < b[1])])
            return [(address, free_ns)] if free_ns < NEVER else []
        for low, high, leaving in self._rooms(blocks):
            rest = high - low - size
            if rest < 0:
                continue
            beside = {low, high - size, *(b[1] for b in leaving), *(b[0] - size for b in leaving)}
            for address in {-(-at // unit) * unit for at in beside}:
                if low <= address <= high - size:
                    in_way = [b[3] for b in leaving if b[0] < address + size and address < b[1]]
                    at_end = address in (low, high - size)
                    found[address] = max([now, *in_way]), rest if at_end else rest + 1
        order = sorted((start, rest, address) for address, (start, rest) in found.items())
        return [(address, start) for start, _, address in order[: self.width.places]]

    def _rooms(self, blocks: Sequence[Timed]) -> Iterable[tuple[int, int, list[Timed]]]:
        """Stretches between blocks that stay, with the blocks in them that will be gone at a known time."""
        low, leaving = 0, list[Timed]()
        for block in (*blocks, *((wall, wall, -1, NEVER) for wall in self.walls[-1:])):
            if block[3] < NEVER:
                leaving.append(block)
                continue
            yield from self._between_walls(low, block[0], leaving)
            low, leaving = block[1], []

    def _between_walls(
        self, low: int, high: int, leaving: list[Timed]
    ) -> Iterable[tuple[int, int, list[Timed]]]:
        for wall in self.walls[:-1]:
            if low < wall < high:
                yield low, wall, [b for b in leaving if b[0] < wall]
                low, leaving = wall, [b for b in leaving if b[1] > wall]
        yield low, high, leaving

    # ------------------------------------------------------------------------- going on

    def _goes_on(self, blocks: tuple[Extent, ...], kernel: int) -> bool:
        """Whether the next kernels find room beside what is loaded already, each buffer where it fits best.

        Up to the kernel behind the last one that something is loaded for. What was found out on the way holds for
        all partial merges that come by there, and mostly those behind this one do.
        """
        there = tuple([b for b in blocks if self.ends[b[2]] >= kernel])
        last = max([self.begins[b[2]] for b in there], default=0)
        passed: list[tuple[int, int, tuple[Extent, ...]]] = []
        found = True
        for now in range(kernel, min(last + 2, len(self.beside))):
            key = now, last, there
            if key in self._safe:
                found = self._safe[key]
                break
            passed.append(key)
            after = self._behind_kernel(there, now)
            if after is None:
                found = False
                break
            there = after
        self._safe.update(dict.fromkeys(passed, found))
        return found

    def _behind_kernel(self, there: tuple[Extent, ...], kernel: int) -> tuple[Extent, ...] | None:
        """What is in SRAM behind a kernel that finds all it needs, each buffer where it fits best; None if not."""
        here = {b[2] for b in there}
        missing = [buffer for buffer in self.beside[kernel] if buffer not in here]
        blocks = list(there)
        for buffer in missing:
            address = self._best_fit(blocks, self.size[buffer])
            if address is None:
                return None
            insort(blocks, (address, address + self.size[buffer], buffer))
        return tuple(b for b in blocks if self.ends[b[2]] > kernel)

    def _best_fit(self, blocks: Sequence[Extent], size: int) -> int | None:
        found: tuple[int, int] | None = None
        at = 0
        for low, high, _ in (*blocks, (self.arena,) * 3):
            address = self._unwalled(at, size)
            if address + size <= low and (found is None or low - address < found[0]):
                found = low - address, address
            at = max(at, high)
        return None if found is None else found[1]

    # ------------------------------------------------------------------------- result

    def _schedule(self, last: Partial) -> Schedule | None:
        """The schedule of a merge, its tasks as early as order and addresses allow."""
        root = last
        while root.before is not None:
            root = root.before
        address = [0] * len(self.size)
        for low, _, buffer in root.blocks:
            address[buffer] = low
        waiting, start = [iter(queue) for queue in self.queues], [0] * len(self.graph.tasks)
        for queue, now, places in reversed(self._steps_back(last, root)):
            start[next(waiting[queue])] = now
            for buffer, at in places:
                address[buffer] = at
        return settle(self.graph, start, tuple(address), interruption_ns(self.problem.target))

    def _steps_back(self, last: Partial, origin: Partial) -> list[_Step]:
        """The tasks that were started between two partial merges, the last one first."""
        steps, partial = list[_Step](), last
        while partial is not origin:
            assert partial.before is not None
            if partial.leap is None:
                steps.append((partial.queue, partial.now, partial.places))
            else:
                steps += self._again(partial.leap, self._steps_back(partial.before, partial.leap.origin))
            partial = partial.before
        return steps

    def _again(self, leap: _Leap, steps: Sequence[_Step]) -> Iterable[_Step]:
        """Steps back, again and again."""
        for times in range(leap.times, 0, -1):
            for queue, now, places in steps:
                there = ((self.recurrence.shifted(b, leap.shift, times), at) for b, at in places)
                yield queue, now + times * leap.period_ns, tuple(there)


def _undominated(partials: Iterable[Partial]) -> list[Partial]:
    """Those with the same blocks as no other that is nowhere later."""
    found: dict[tuple[Extent, ...], list[Partial]] = {}
    for new in partials:
        alike = found.setdefault(new.blocks, [])
        if not any(_no_later(old, new) for old in alike):
            alike[:] = [old for old in alike if not _no_later(new, old)]
            alike.append(new)
    return [partial for alike in found.values() for partial in alike]


def _no_later(partial: Partial, other: Partial) -> bool:
    return partial.now <= other.now and all(a <= b for a, b in zip(partial.free, other.free, strict=True))
