"""Loops in task graphs: where the queues of `merging` go on as they have come.

A layer of hundreds of equal tiles is hundreds of times the same few tasks. If a partial merge is where
one of its own ancestors was, only so many tasks further in every queue, and the tasks to come are like those in
between, then what has been done in between can be done again and again.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from ooc_solve.solver.merging import Far, Merger

Extent = tuple[int, int, int]
"""Begin, end and number of a buffer in SRAM."""

Place = tuple[int, int, int]
"""Queue and place in it of the task that brings a buffer, and which of those that it brings."""


class Moment(NamedTuple):
    """What tells how a partial merge may go on, as far as that can recur.

    How far the queues are, the queue of each resource's last task, for how long each resource is still at work, and
    what lies where.
    """

    far: Far
    last: tuple[int, ...]
    busy_ns: tuple[int, ...]
    blocks: tuple[Extent, ...]

    def resembles(self, other: Moment) -> bool:
        """Whether the other is alike but for the tasks, as far as that is quick to tell."""
        return (
            self.last == other.last
            and self.busy_ns == other.busy_ns
            and len(self.blocks) == len(other.blocks)
        )


class Recurrence:
    """What of the tasks of some queues is like what was before.

    ``brings`` has the buffers that each task brings, by queue and place, ``lasts`` for each buffer the last places in
    queues that touch it, ``size`` its bytes.
    """

    def __init__(
        self,
        merger: Merger,
        brings: Sequence[Sequence[Sequence[int]]],
        lasts: Sequence[tuple[tuple[int, int], ...]],
        size: Sequence[int],
    ) -> None:
        self.merger, self.brings, self.lasts, self.size = merger, brings, lasts, size
        self.origin: dict[int, Place] = {
            buffer: (queue, place, number)
            for queue, places in enumerate(brings)
            for place, buffers in enumerate(places)
            for number, buffer in enumerate(buffers)
        }
        self._alike: dict[tuple[int, Far], dict[int, int]] = {}

    def times(self, before: Moment, now: Moment) -> int:
        """How often what came between two moments can come again; 0 if the second is not like the first."""
        shift = tuple(b - a for a, b in zip(before.far, now.far, strict=True))
        most = self._times_of_blocks(before, now, shift)
        for queue, step in enumerate(shift):
            if step and most:
                end = self._alike_until(queue, before.far[queue] + 1, shift)
                most = min(most, (end - before.far[queue]) // step)
        return most

    def _times_of_blocks(self, before: Moment, now: Moment, shift: Far) -> int:
        """The same as far as what lies in SRAM allows it."""
        most = len(self.merger.graph.tasks)
        for (low, high, old), (at, end, new) in zip(before.blocks, now.blocks, strict=True):
            if (low, high) != (at, end):
                return 0
            if old != new and not self._is_shifted(old, new, shift):
                return 0
            if old == new:
                most = min(most, self._times_beside(old, before.far, now.far, shift))
        return most

    def _times_beside(self, buffer: int, before: Far, now: Far, shift: Far) -> int:
        """How often a buffer that stays lets the same come again."""
        most = len(self.merger.graph.tasks)
        for queue, place in self.lasts[buffer]:
            if place > before[queue] and shift[queue]:
                most = min(most, max(0, (place - 1 - now[queue]) // shift[queue]))
        return most

    def _is_shifted(self, old: int, new: int, shift: Far) -> bool:
        """Whether a buffer is to the tasks to come what another one was."""
        moved = tuple((queue, place + shift[queue]) for queue, place in self.lasts[old])
        there = self.origin.get(old), self.origin.get(new)
        return None not in there and self.size[old] == self.size[new] and moved == self.lasts[new]

    def _alike_until(self, queue: int, place: int, shift: Far) -> int:
        """The last place of a queue up to which tasks from a place on are like those that are a shift later."""
        known = self._alike.setdefault((queue, shift), {})
        at, end = place, len(self.merger.queues[queue]) - shift[queue]
        while at <= end and at not in known and self._task_is_shifted(queue, at, shift):
            at += 1
        until = known.get(at, at - 1)
        known.update(dict.fromkeys(range(place, at + 1), until))
        return until

    def _task_is_shifted(self, queue: int, place: int, shift: Far) -> bool:
        """Whether a task does what the one a shift later does, with buffers and after tasks that are shifted."""
        later, duration = place + shift[queue], self.merger.duration[queue]
        if duration[place] != duration[later]:
            return False
        needs = self.merger.needs[queue]
        if tuple((q, least + shift[q]) for q, least in needs[place]) != needs[later]:
            return False
        old, new = self.brings[queue][place], self.brings[queue][later]
        return len(old) == len(new) and all(
            self._is_shifted(a, b, shift) for a, b in zip(old, new, strict=True)
        )

    def shifted(self, buffer: int, shift: Far, times: int) -> int:
        """What is in place of a buffer so many shifts later; one that is there all the time is itself."""
        queue, place, number = self.origin[buffer]
        return self.brings[queue][place + times * shift[queue]][number]
