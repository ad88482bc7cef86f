"""Schedules that count bytes, mended until their tiles can be packed.

A schedule that only keeps the bytes alive below the capacity (`allocation_schedule.counted`) is
mostly packed without loss, but for a few moments at which so much lies in SRAM that no addresses
exist. There a task is made to wait until some other tile is gone, and the clock runs once more.
That costs little where the gaps that a greedy placement leaves (`weaving`) would cost much.
"""

from __future__ import annotations

import math
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Schedule, TaskGraph
from ooc_solve.solver.allocation import Effort
from ooc_solve.solver.allocation_schedule import Counted, Packing, counted
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.merging import Merger
from ooc_solve.solver.weaving import Policy

Waits = dict[int, frozenset[int]]
"""Tasks that must have ended before a task begins, besides those whose results it needs."""

Timer = Callable[[Waits], Counted | None]
"""Times of all tasks under some waits, by bytes alone."""

MOST_TIMED = 100_000
"""Tasks that are timed, all attempts together, before a schedule is given up."""

WEIGHT = 8
"""How many times as long a task takes where the best merge is sought."""

MOST_LABELS = 10_000
"""Partial merges that are looked at for one schedule."""

MOST_WAITS = 8
"""Ways to mend one moment that are looked at."""

WINDOW = 16
"""Begins of buffers that are packed together when crowds are sought."""

WIDE_WINDOW = 64
"""The same where no crowd was found, but no addresses for all buffers either."""

IN_A_WINDOW = Effort(attempts=2, nodes=300)
"""How far addresses for a window are sought."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """A moment at which no addresses are found: the buffers from ``first`` ns on, up to a buffer's begin."""

    first_ns: int
    last_ns: int


class Repair:
    """One schedule on its way to addresses."""

    def __init__(self, problem: Problem, graph: TaskGraph, timer: Timer, weight: int = 1) -> None:
        self.graph, self.timer, self.weight = graph, timer, weight
        self.packing = Packing(problem, graph)
        self.tasks_timed = 0

    def run(self, below_ns: int, deadline: float = math.inf) -> Schedule | None:
        """A schedule with addresses that is shorter than ``below_ns``; None if none is found."""
        waits: Waits = {}
        times, since = self._timed(waits), 0
        while times is not None and times.makespan_ns < below_ns and self.tasks_timed < MOST_TIMED:
            if time.monotonic() > deadline:
                return None
            crowd = self._crowd(times, since, WINDOW)
            if crowd is None:
                address = self.packing.addresses(times)
                if address is not None:
                    return Schedule(times.start_ns, address)
                crowd = self._crowd(times, 0, WIDE_WINDOW)
            if crowd is None:
                return None
            times, waits = self._mended(times, waits, crowd, below_ns)
            since = crowd.first_ns
        return None

    def _timed(self, waits: Waits) -> Counted | None:
        self.tasks_timed += self.weight * len(self.graph.tasks)
        return self.timer(waits)

    def _crowd(self, times: Counted, since_ns: int, width: int) -> Crowd | None:
        """The earliest crowd that is not over at some time, with no more of the past and future than it takes."""
        begins = sorted({first for first, _ in self.packing.lifetimes(times)})
        at = bisect_left(begins, since_ns)
        while at < len(begins):
            end = min(at + width, len(begins)) - 1
            if not self._fits(times, begins[at], begins[end]):
                return self._narrowed(times, begins[at : end + 1])
            at += width // 2 if end + 1 < len(begins) else width
        return None

    def _narrowed(self, times: Counted, begins: list[int]) -> Crowd:
        """The least part of a window that has no addresses."""
        first = begins[0]
        last = begins[
            bisect_left(range(len(begins)), True, key=lambda k: not self._fits(times, first, begins[k]))
        ]
        behind = bisect_left(range(len(begins)), True, key=lambda k: self._fits(times, begins[k], last))
        return Crowd(begins[max(0, behind - 1)], last)

    def _fits(self, times: Counted, first_ns: int, last_ns: int) -> bool:
        """Whether there are addresses for the buffers alive from some time until one begins at another."""
        spans = zip(self.packing.lifetimes(times), self.graph.buffers, strict=True)
        there = [
            ((a, min(b, last_ns + 1)), buffer) for (a, b), buffer in spans if a <= last_ns and b > first_ns
        ]
        return self.packing.placed(there, IN_A_WINDOW) is not None

    def _mended(
        self, times: Counted, waits: Waits, crowd: Crowd, below_ns: int
    ) -> tuple[Counted | None, Waits]:
        """The shortest schedule in which the crowd has addresses, else the shortest of all that differ."""
        found: list[tuple[int, int, Counted, Waits]] = []
        for number, (task, until) in enumerate(self._ways(times, crowd)):
            more = {**waits, task: waits.get(task, frozenset()) | {until}}
            after = self._timed(more)
            if after is not None and after.makespan_ns < below_ns:
                found.append((after.makespan_ns, number, after, more))
        found.sort(key=lambda way: way[:2])
        for _, _, after, more in found:
            if self._fits(after, crowd.first_ns, crowd.last_ns):
                return after, more
        return (found[0][2], found[0][3]) if found else (None, waits)

    def _ways(self, times: Counted, crowd: Crowd) -> list[tuple[int, int]]:
        """Tasks that bring a buffer into the crowd, and whose end each may wait for: the next that frees one."""
        lifetimes = self.packing.lifetimes(times)
        there = [
            b for b, (first, end) in enumerate(lifetimes) if first <= crowd.last_ns and end > crowd.first_ns
        ]
        ends = sorted((lifetimes[b][1], b) for b in there)
        moments = [end for end, _ in ends]
        found: list[tuple[int, int]] = []
        for buffer in sorted(there, key=lambda b: lifetimes[b][0], reverse=True):
            first, _ = lifetimes[buffer]
            brings = self.packing.brought_by[buffer]
            next_end = bisect_right(moments, first)
            if first < crowd.first_ns or brings is None or next_end == len(ends):
                continue
            until = self._last_user(times, ends[next_end][1])
            if until != brings and (brings, until) not in found:
                found.append((brings, until))
        return found[:MOST_WAITS]

    def _last_user(self, times: Counted, buffer: int) -> int:
        """The task whose end frees a buffer."""
        return max(self.packing.users[buffer], key=lambda task: times.end_ns[task])


def repaired(
    problem: Problem,
    graph: TaskGraph,
    policies: Sequence[Policy],
    below_ns: int,
    deadline: float = math.inf,
    merging: bool = False,
) -> Schedule | None:
    """The shortest schedule of some policies that can be packed, if it is shorter than ``below_ns``.

    With ``merging`` the best merge of all transfers (`merging`) is tried as well, which takes longer.
    """
    best: Schedule | None = None
    repairs = [Repair(problem, graph, partial(counted, problem, graph, policy)) for policy in policies]
    if merging:
        merged = partial(Merger(problem, graph).best, below_ns, most=MOST_LABELS)
        repairs.append(Repair(problem, graph, merged, WEIGHT))
    for repair in repairs:
        found = repair.run(below_ns, deadline)
        if found is not None:
            best, below_ns = found, makespan_ns(graph, found.start_ns)
    return best
