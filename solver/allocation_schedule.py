"""Schedules made by counting bytes alone, and addresses for them afterwards.

A schedule that only keeps the bytes alive below the capacity is at least as short as one whose
tiles must find a gap when their load starts; the difference is what fragmentation costs. The
lifetimes of such a schedule are a packing problem for `allocation`. Where that is solved the
schedule holds as it is, and fragmentation costs nothing.
"""

from __future__ import annotations

import math
import time
from bisect import insort
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Buffer, BufferRole, Schedule, TaskGraph
from ooc_solve.solver.allocation import Effort, Verdict, allocate
from ooc_solve.solver.allocation_search import Block
from ooc_solve.solver.deadline import keep_time, left_s
from ooc_solve.solver.placement import Placement, Use, buffer_uses
from ooc_solve.solver.weaving import Loom, Policy

QUICK = Effort(attempts=4, nodes=1000)
"""How far addresses are sought for one schedule: a few tenths of a second at most."""


@dataclass(frozen=True, slots=True)
class Counted:
    """Times that keep to the capacity, without addresses: when each task starts and ends (ns)."""

    start_ns: tuple[int, ...]
    end_ns: tuple[int, ...]

    @property
    def makespan_ns(self) -> int:
        """End of the last task."""
        return max(self.end_ns, default=0)


def counted(
    problem: Problem, graph: TaskGraph, policy: Policy, waits: Mapping[int, frozenset[int]] | None = None
) -> Counted | None:
    """A schedule that counts bytes, as `weaving.weave` makes one with addresses; None if it gets stuck.

    ``waits``: tasks that must have ended before a task begins, besides those whose results it needs.
    """
    loom = _CountingLoom(problem, graph, buffer_uses(graph), policy, waits or {})
    schedule = loom.run()
    return None if schedule is None else Counted(schedule.start_ns, tuple(loom.ends))


def addresses(problem: Problem, graph: TaskGraph, times: Counted, effort: Effort) -> tuple[int, ...] | None:
    """Addresses for the buffers of a schedule, None if none were found."""
    return Packing(problem, graph, effort).addresses(times)


def packed_placement(problem: Problem, graph: TaskGraph, effort: Effort = QUICK) -> Placement | None:
    """Addresses when nothing is fetched early and nothing kept longer than its last step."""
    uses = buffer_uses(graph)
    steps = len(graph.compute_tasks)
    spans = [(max(use.first, 0), min(use.last, steps) + 1) for use in uses]
    found = Packing(problem, graph, effort).placed(zip(spans, graph.buffers, strict=True))
    return None if found is None else Placement(found, tuple(use.first for use in uses))


def packed_schedules(
    problem: Problem,
    graph: TaskGraph,
    policies: Sequence[Policy],
    below_ns: int,
    effort: Effort = QUICK,
    deadline: float = math.inf,
) -> Iterator[Schedule]:
    """Schedules shorter than ``below_ns`` that were made by counting bytes and then found addresses.

    A ``deadline`` (of `time.monotonic`) ends the search early.
    """
    found = [
        times
        for policy in policies
        if time.monotonic() < deadline and (times := counted(problem, graph, policy)) is not None
    ]
    packing = Packing(problem, graph, effort)
    for times in sorted(set(found), key=lambda times: times.makespan_ns):
        if times.makespan_ns >= below_ns:
            return
        left_s = max(0.0, deadline - time.monotonic())
        address = packing.addresses(times, replace(effort, seconds=min(effort.seconds, left_s)))
        if address is not None:
            yield Schedule(times.start_ns, address)
            return


class Packing:
    """The buffers of a graph as blocks, whenever their tasks run.

    ``users`` are the tasks that touch each buffer; ``brought_by`` the one whose start begins its
    life, None for those that are there from the start.
    """

    def __init__(self, problem: Problem, graph: TaskGraph, effort: Effort = QUICK) -> None:
        self.graph, self.effort, self.unit = graph, effort, problem.unit_bytes
        self.arena_bytes = problem.arena_bytes
        self.walls = tuple(accumulate(size for _, size in problem.banks))[:-1]
        self.users: list[list[int]] = [[] for _ in graph.buffers]
        writers: list[list[int]] = [[] for _ in graph.buffers]
        for task in graph.tasks:
            for touch in (*task.reads, *task.writes):
                self.users[touch.buffer].append(task.index)
            for touch in task.writes:
                writers[touch.buffer].append(task.index)
        self.begins = [wrote or users for wrote, users in zip(writers, self.users, strict=True)]
        self.brought_by = [
            None if b.pinned or not self.begins[b.index] else self.begins[b.index][0] for b in graph.buffers
        ]

    def lifetimes(self, times: Counted) -> list[tuple[int, int]]:
        """From when to when (ns) each buffer needs its bytes; never empty.

        That is from the start of the first task that writes it, or that touches it if none does, to the
        end of the last one; pinned buffers live for the whole run.
        """
        found = []
        for buffer, users, begins in zip(self.graph.buffers, self.users, self.begins, strict=True):
            begin = (
                0 if buffer.pinned else min((times.start_ns[t] for t in begins), default=times.makespan_ns)
            )
            end = times.makespan_ns if buffer.pinned else max((times.end_ns[t] for t in users), default=begin)
            found.append((begin, max(end, begin + 1)))
        return found

    def addresses(self, times: Counted, effort: Effort | None = None) -> tuple[int, ...] | None:
        """Addresses for all buffers, None if none were found."""
        return self.placed(zip(self.lifetimes(times), self.graph.buffers, strict=True), effort)

    def placed(
        self, alive: Iterable[tuple[tuple[int, int], Buffer]], effort: Effort | None = None
    ) -> tuple[int, ...] | None:
        """Addresses of buffers whose bytes are theirs from some time to another; None if none were found."""
        alive = list(alive)
        there = [(span, buffer) for span, buffer in alive if buffer.held is None]
        blocks = [Block(first, end, buffer.size_bytes, self.unit) for (first, end), buffer in there]
        asked = effort or self.effort
        within = replace(asked, seconds=min(asked.seconds, left_s()))
        found = allocate(blocks, self.arena_bytes, within, self.walls)
        keep_time()
        if found.verdict is not Verdict.FOUND:
            return None
        given = iter(found.address)
        return tuple(next(given) if buffer.held is None else 0 for _, buffer in alive)


class _CountingLoom(Loom):
    """A loom for which every block that fits by its size has a place."""

    def __init__(
        self,
        problem: Problem,
        graph: TaskGraph,
        uses: list[Use],
        policy: Policy,
        waits: Mapping[int, frozenset[int]],
    ) -> None:
        kept = {b.index: 0 for b in graph.buffers if b.role is BufferRole.TENSOR or b.held is not None}
        super().__init__(problem, graph, uses, kept, policy)
        self.arena_bytes, self.waits = problem.arena_bytes, waits
        self.ends = [0] * len(graph.tasks)

    def _ready(self, task: int) -> bool:
        return super()._ready(task) and all(self.done[t] for t in self.waits.get(task, ()))

    def _room(self, first: int, last: int, held: int) -> int:
        """Bytes free during all of some steps beside ``held`` of tiles."""
        steps = {first, last, *(a for _, _, a, _ in self.fixed if first < a <= last)}
        present, newest = self._present, max(self.running, default=-1)  # what runs holds bytes all together
        spans = [(present, newest) if present <= step <= newest else (step, step) for step in steps]
        kept = max(sum(end - low for low, end, a, b in self.fixed if a <= to and b >= at) for at, to in spans)
        return self.arena_bytes - held - kept

    @property
    def _held(self) -> int:
        return sum(end - low for low, end, _ in self.live)

    def _corners(self, size: int, first: int, last: int) -> list[int]:
        return [0] if size <= self._room(first, last, self._held) else []

    def _fits(self, step: int, buffer: int, place: tuple[int, int]) -> bool:
        missing = [self.graph.buffers[b].size_bytes for b in self.wants[step] if self.address[b] < 0]
        if self.address[buffer] < 0 and buffer not in self.wants[step] and self.uses[buffer].last >= step:
            missing.append(place[1] - place[0])
        held = sum(end - low for low, end, b in self.live if self.uses[b].last >= step)
        return sum(missing) <= self._room(step, step, held)

    def _clear(self, step: int) -> bool:
        needed = sum(end - low for low, end, a, b in self.fixed if a <= step and b >= self._present)
        return needed <= self.arena_bytes - self._held

    def _clear_for(self, buffer: int) -> bool:
        present, first = self._present, self.uses[buffer].first
        if first <= present:  # its bytes are counted already
            return self._room(present, present, self._held) >= 0
        return self.graph.buffers[buffer].size_bytes <= self._room(present, first - 1, self._held)

    def _occupy(self, buffer: int, at: int) -> None:
        if buffer in self.kept:  # counted with its first use from there on
            super()._occupy(buffer, at)
            at, end, begun, first = self.fixed.pop()
            self.fixed.append((at, end, begun, first - 1))
            return
        self.address[buffer] = at
        insort(self.live, (at, at + self.graph.buffers[buffer].size_bytes, buffer))

    def _finish(self, task: int) -> None:
        super()._finish(task)
        self.ends[task] = self.now
