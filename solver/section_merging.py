"""Sections of a long schedule, merged anew: some hundreds of tasks at once, faster than CP-SAT solves windows of dozens.

A section is a window (`windows`): what comes before it stays, what comes after it moves as one block. Between the
two the beam search of `placed_merging` goes from what is in SRAM when the section begins to what must be there
when it ends, where that was. It needs tasks to follow one another as `merging` says, so sections of which the
tasks of some queue are in another order are left alone.
"""

from __future__ import annotations

import math

import numpy as np

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Schedule, TaskGraph
from ooc_solve.solver.maxplus import Ints
from ooc_solve.solver.merging import Far, State
from ooc_solve.solver.placed_merging import NEVER, SLIM, Partial, PlacedBeam, Width
from ooc_solve.solver.recurrence import Extent
from ooc_solve.solver.timetable import Timetable

LOOKED_BACK = 4096
"""Tasks before a section among which the last one of each resource is sought; what ended before those is over."""


class SectionMerger(PlacedBeam):
    """Merges sections of schedules of one graph, one after the other."""

    def __init__(self, problem: Problem, graph: TaskGraph) -> None:
        super().__init__(problem, graph, SLIM, NEVER, math.inf)
        self.leaps = False
        self.queue, self.place = (
            np.array([self.merger.place[t][k] for t in range(len(graph.tasks))], np.int64) for k in (0, 1)
        )

    def merged(self, table: Timetable, first: int, end: int, width: Width) -> Schedule | None:
        """A schedule whose tasks from one place of the sequence to another are merged anew; None if none is shorter.

        What follows starts as late as it can, less what is gained.
        """
        self.width = width
        begun, self.goal = self._far(table, first), self._far(table, end)
        self._fix(table, begun)
        ends = self._ends(self._begin(table, begun, first), end)
        if not ends:
            return None
        taken = [int(table.taken(end)[name]) for name in self.graph.resources]
        follows_ns = min((table.latest_ns[t] for t in table.sequence[end:]), default=max(taken))

        def earlier_ns(partial: Partial) -> int:
            slack = (late - free for late, free in zip(taken, partial.free, strict=True))
            return min(follows_ns - partial.now, *slack)

        best = max(ends, key=earlier_ns)
        return self._section(table, begun, best, end, earlier_ns(best)) if earlier_ns(best) > 0 else None

    def cuts(self, table: Timetable) -> Ints:
        """Places of the sequence before which all queues have come as far as there are tasks of them."""
        there = np.array(table.sequence, np.int64)
        apart = np.zeros(len(there) + 1, bool)
        for queue in range(len(self.queues)):
            own = self.queue[there] == queue
            count = np.cumsum(own)
            apart[1:] |= np.maximum.accumulate(np.where(own, self.place[there], 0)) != count
        return np.flatnonzero(~apart)

    def is_cut(self, table: Timetable, first: int, end: int) -> bool:
        """Whether a section may still begin and end there."""
        places = self.cuts(table)
        return bool(np.isin((first, end), places).all())

    def _far(self, table: Timetable, tasks: int) -> Far:
        """How many of the first so many tasks are of each queue."""
        there = np.array(table.sequence[:tasks], np.int64)
        return tuple(np.bincount(self.queue[there], minlength=len(self.queues)).tolist())

    def _fix(self, table: Timetable, begun: Far) -> None:
        """Have buffers that are still needed behind the section where they are."""
        self.fixed = {}
        for queue, brought in enumerate(self.brings):
            for buffers in brought[begun[queue] + 1 : self.goal[queue] + 1]:
                for buffer in buffers:
                    if any(self.goal[q] < place for q, place in self.lasts[buffer]):
                        self.fixed[buffer] = table.address[buffer]

    def _begin(self, table: Timetable, begun: Far, first: int) -> dict[State, list[Partial]]:
        """What there is when a section begins."""
        free = tuple(int(table.free(first)[name]) for name in self.graph.resources)
        now = table.earliest_ns[table.sequence[first - 1]] if first else 0
        last = [next((q for q, own in enumerate(self.resources) if own == r), 0) for r in range(len(free))]
        for task in table.sequence[max(0, first - LOOKED_BACK) : first]:
            queue = int(self.queue[task])
            last[self.resources[queue]] = queue
        blocks: list[Extent] = [(table.address[b], table.address[b] + self.size[b], b) for b in self.pinned]
        for queue, brought in enumerate(self.brings):
            for buffers in brought[1 : begun[queue] + 1]:
                blocks += [
                    (table.address[b], table.address[b] + self.size[b], b)
                    for b in buffers
                    if self._free_ns(b, begun, tuple(last), free) > now
                ]
        partial = Partial(free, now, tuple(sorted(blocks)), None, -1, ())
        return {(begun, tuple(last)): [partial]}

    def _section(self, table: Timetable, begun: Far, best: Partial, end: int, earlier_ns: int) -> Schedule:
        """The schedule with a section as it was merged."""
        start = list(table.earliest_ns)
        for task in table.sequence[end:]:
            start[task] = table.latest_ns[task] - earlier_ns
        address = list(table.address)
        root = best
        while root.before is not None:
            root = root.before
        far = list(begun)
        for queue, now, places in reversed(self._steps_back(best, root)):
            start[self.queues[queue][far[queue]]] = now
            far[queue] += 1
            for buffer, at in places:
                address[buffer] = at
        return Schedule(tuple(start), tuple(address))
