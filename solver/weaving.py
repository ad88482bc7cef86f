"""Times and addresses together: tiles get their bytes at the moment when their load or kernel starts.

`placement` fixes addresses first, step by step, and `listing` finds times for them. Here a clock
runs: whenever a channel or the CPU is idle it takes what fits into the bytes that are free right
then. That packs more where memory is tight, but it can paint itself into a corner; then there is
no schedule.
"""

from __future__ import annotations

from bisect import insort
from collections import deque
from dataclasses import dataclass

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Buffer, Schedule, TaskGraph, TaskKind
from ooc_solve.solver.clock import Clock
from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.placement import Use, buffer_uses, kept_addresses


@dataclass(frozen=True, slots=True)
class Policy:
    """How far loads may run ahead (steps), and from how many steps ahead on stores go first.

    ``careful``: a load gets only bytes beside which all steps until its own still find room.
    That avoids corners, and some gains.
    """

    ahead: int
    lead: int
    careful: bool


def weave(problem: Problem, graph: TaskGraph, policy: Policy, flips: int = 0) -> Schedule | None:
    """A schedule with addresses, or None if the bytes that are free never suffice.

    ``flips`` is as in `placement.place`.
    """
    uses = buffer_uses(graph)
    kept = kept_addresses(problem, graph, uses, flips)
    return None if kept is None else Loom(problem, graph, uses, kept, policy).run()


class Loom:
    """The state while the clock runs."""

    def __init__(
        self, problem: Problem, graph: TaskGraph, uses: list[Use], kept: dict[int, int], policy: Policy
    ) -> None:
        self.graph, self.uses, self.policy, self.kept = graph, uses, policy, kept
        self.tasks = graph.tasks
        self.steps = [task.index for task in graph.tasks if task.kind is TaskKind.COMPUTE]
        self.running: list[int] = []  # steps whose kernel runs, one on each unit at most
        self.walls = [0]
        for _, size in problem.banks:
            self.walls.append(self.walls[-1] + size)
        self.address = [kept.get(b.index, -1) for b in graph.buffers]
        self.fixed = [  # first byte, end, first step, last
            (at, at + graph.buffers[b].size_bytes, uses[b].first, uses[b].last) for b, at in kept.items()
        ]
        self.live: list[tuple[int, int, int]] = []  # first byte, end, buffer
        self.start = [-1] * len(self.tasks)
        self.done = [False] * len(self.tasks)
        self.clock = Clock(graph, interruption_ns(problem.target))
        self.step = 0  # next to start
        self.now = 0
        self.busy: dict[str, int] = dict.fromkeys(graph.resources, -1)
        self._sort_out(graph.buffers)

    def _sort_out(self, buffers: tuple[Buffer, ...]) -> None:
        """Which loads each step waits for, which buffers it creates, and which it is the last to use."""
        n = len(self.steps)
        self.makes: list[list[int]] = [[] for _ in range(n + 1)]
        self.frees: list[list[int]] = [[] for _ in range(n + 1)]
        self.wants: list[list[int]] = [[] for _ in range(n + 1)]
        self.leaves: list[list[tuple[int, int]]] = [[] for _ in range(n + 1)]  # kept outputs and their stores
        for task in self.tasks:
            if task.kind is TaskKind.STORE and task.reads[0].buffer in self.kept:
                output = task.reads[0].buffer
                self.leaves[min(self.uses[output].last, n)].append((output, task.index))
        for buffer in buffers:
            use = self.uses[buffer.index]
            first = min(max(use.first, 0), n)
            if buffer.index in self.kept:
                continue
            self.wants[first].append(buffer.index)
            if not use.loaded:
                self.makes[first].append(buffer.index)
            if not use.stored:
                self.frees[min(use.last, n)].append(buffer.index)
        loads = [t for t in self.tasks if t.kind is TaskKind.LOAD]
        self.first_of = {t.index: min(self.uses[t.writes[0].buffer].first, n) for t in loads}
        queue = sorted(loads, key=lambda t: (self.first_of[t.index], -t.index))
        self.loads = {
            name: deque(t.index for t in queue if t.resource == name) for name in self.graph.resources
        }
        self.stores: dict[str, deque[int]] = {name: deque() for name in self.graph.resources}
        self.followers: dict[
            int, list[int]
        ] = {}  # stores and crypto tasks, which a channel takes as they come
        for task in self.tasks:
            if task.kind not in (TaskKind.LOAD, TaskKind.COMPUTE):
                self.followers.setdefault(task.after[-1], []).append(task.index)

    def run(self) -> Schedule | None:
        """Let the clock run until everything is done, or nothing can start any more."""
        while True:
            keep_time()
            while self._start_step() | self._start_transfers():
                pass
            ended = self.clock.end()
            if ended is None:
                break
            self.now, task = ended
            self._finish(task)
        if min(self.start, default=0) < 0:
            return None
        return Schedule(tuple(self.start), tuple(max(a, 0) for a in self.address))

    # ---------------------------------------------------------------------- starting

    def _begin(self, task: int) -> None:
        self.start[task] = self.now
        self.clock.start(task, self.now)
        self.busy[self.tasks[task].resource] = task

    def _ready(self, task: int) -> bool:
        return all(self.done[t] for t in self.tasks[task].after)

    def _start_step(self) -> bool:
        """Start the next kernel if its data are there and its results have room."""
        if self.step == len(self.steps):
            return False
        task = self.steps[self.step]
        if self.busy[self.tasks[task].resource] >= 0 or not self._ready(task):
            return False
        if not self._clear(self.step):
            return False
        placed: list[int] = []
        for buffer in self.makes[self.step]:
            size, last = self.graph.buffers[buffer].size_bytes, self.uses[buffer].last
            corners = self._corners(size, self._present, last)
            if not corners:
                for other in placed:
                    self._release(other)
                    self.address[other] = -1
                return False
            self._occupy(buffer, corners[-1])
            placed.append(buffer)
        self._begin(task)
        self.running.append(self.step)
        self.step += 1
        return True

    def _start_transfers(self) -> bool:
        """Start what an idle channel may do: loads in order of use, stores when they are more urgent."""
        started = False
        for name, running in self.busy.items():
            if running >= 0 or not (self.loads[name] or self.stores[name]):
                continue
            load = self._placeable(name)
            if self.stores[name] and (load is None or self._store_first(load[0])):
                self._begin(self.stores[name].popleft())
                started = True
            elif load is not None:
                self.loads[name].popleft()
                self._occupy(self.tasks[load[0]].writes[0].buffer, load[1])
                self._begin(load[0])
                started = True
        return started

    def _store_first(self, load: int) -> bool:
        if self.first_of[load] > self.step - 1 + self.policy.lead:
            return True
        waits = self.step < len(self.steps) and not self._computes
        return waits and self._ready(self.steps[self.step])  # only for bytes

    def _placeable(self, name: str) -> tuple[int, int] | None:
        """The next load of a channel with an address, if it may start."""
        if not self.loads[name]:
            return None
        task = self.loads[name][0]
        first, buffer = self.first_of[task], self.tasks[task].writes[0].buffer
        if not self._ready(task) or first > self.step + self.policy.ahead:
            return None
        if buffer in self.kept:  # a network input that is loaded whole
            return (task, self.address[buffer]) if self._clear_for(buffer) else None
        size, last = self.graph.buffers[buffer].size_bytes, self.uses[buffer].last
        for at in self._corners(size, self._present, last):
            steps = range(self._present, first + 1) if self.policy.careful else ()
            if all(self._fits(step, buffer, (at, at + size)) for step in steps):
                return task, at
        return None

    @property
    def _present(self) -> int:
        """The first step that is running, else the next."""
        return min(self.running, default=self.step)

    @property
    def _computes(self) -> bool:
        """Whether a kernel is running."""
        return bool(self.running)

    # ------------------------------------------------------------------------- bytes

    def _gaps(self, busy: list[tuple[int, int]]) -> list[tuple[int, int]]:
        """Free ranges between the busy ones, within the banks."""
        found = []
        busy.sort()
        for wall, top in zip(self.walls, self.walls[1:], strict=False):
            at = wall
            for low, end in busy:
                if end > wall and low < top:
                    if low > at:
                        found.append((at, low))
                    at = max(at, end)
            if at < top:
                found.append((at, top))
        return found

    def _corners(self, size: int, first: int, last: int) -> list[int]:
        """Addresses at the ends of the gaps for some steps: the smallest gap first, its high end first."""
        busy = [(low, end) for low, end, _ in self.live]
        busy += [(low, end) for low, end, a, b in self.fixed if a <= last and b >= first]
        gaps = sorted((end - low, low, end) for low, end in self._gaps(busy) if end - low >= size)
        return [at for _, low, end in gaps for at in (end - size, low)]

    def _fits(self, step: int, buffer: int, place: tuple[int, int]) -> bool:
        """Whether what a step still has to get fits beside what will be there, and a new block."""
        missing = [
            self.graph.buffers[b].size_bytes for b in self.wants[step] if self.address[b] < 0 and b != buffer
        ]
        if not missing:
            return True
        busy = [(low, end) for low, end, b in self.live if self.uses[b].last >= step]
        busy += [(low, end) for low, end, a, b in self.fixed if a <= step <= b]
        if self.uses[buffer].last >= step:
            busy.append(place)
        gaps = sorted(end - low for low, end in self._gaps(busy))
        for size in sorted(missing, reverse=True):
            for i, gap in enumerate(gaps):
                if gap >= size:
                    gaps[i] -= size
                    gaps.sort()
                    break
            else:
                return False
        return True

    def _clear(self, step: int) -> bool:
        """Whether nothing lies where a kept tensor begins in this step: no tile, nor what a running step still needs."""
        starting = [(low, end) for low, end, first, _ in self.fixed if first == step]
        there = [(low, end) for low, end, _ in self.live]
        there += [
            (low, end)
            for low, end, first, last in self.fixed
            if first <= last < step and last >= self._present
        ]
        return not any(a < end and low < b for low, end in starting for a, b in there)

    def _clear_for(self, buffer: int) -> bool:
        """Whether the bytes of a kept tensor are free now and until its first use."""
        low = self.address[buffer]
        high = low + self.graph.buffers[buffer].size_bytes
        if any(a < high and low < b for a, b, _ in self.live):
            return False
        now, own = self._present, self.uses[buffer]
        return not any(
            a < high and low < b and first < own.first and last >= now for a, b, first, last in self.fixed
        )

    def _occupy(self, buffer: int, at: int) -> None:
        size = self.graph.buffers[buffer].size_bytes
        if buffer in self.kept:  # it is there from now on, not only from its first use
            self.fixed.append((at, at + size, self._present, self.uses[buffer].first))
            return
        self.address[buffer] = at
        insort(self.live, (at, at + size, buffer))

    def _is_live(self, buffer: int) -> bool:
        """Whether a buffer lies among the tiles, as kept outputs do from their last kernel to their store."""
        at, size = self.address[buffer], self.graph.buffers[buffer].size_bytes
        return (at, at + size, buffer) in self.live

    def _release(self, buffer: int) -> None:
        at, size = self.address[buffer], self.graph.buffers[buffer].size_bytes
        self.live.remove((at, at + size, buffer))

    def _finish(self, task: int) -> None:
        done = self.tasks[task]
        self.done[task] = True
        self.busy[done.resource] = -1
        if done.kind is TaskKind.COMPUTE:
            step = next(step for step in self.running if self.steps[step] == task)
            self.running.remove(step)
            for buffer in self.frees[step]:
                self._release(buffer)
            for output, store in self.leaves[step]:
                if not self.done[store]:  # its bytes are taken until then
                    at = self.address[output]
                    insort(self.live, (at, at + self.graph.buffers[output].size_bytes, output))
        elif done.kind is TaskKind.STORE and self._is_live(done.reads[0].buffer):
            self._release(done.reads[0].buffer)
        for follower in self.followers.get(task, ()):
            self.stores[self.tasks[follower].resource].append(follower)
