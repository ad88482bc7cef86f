"""Two parts of a run side by side: one clock, and the bytes that they share.

One part, the *loading* one, has more transfers. Its tiles have no addresses of their own: each load in turn takes the
bytes that nobody needs then or soon, as soon as there are enough. All other buffers keep to the addresses of a
placement. Should one of the other part need its bytes before a tile that lies there is used, it waits. Nothing waits
for ever, as the loading part never waits for the other one.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterator

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Schedule, Task, TaskGraph, TaskKind
from ooc_solve.solver.clock import Clock
from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.two_parts import Placed, pieces_of

LOOK_AHEAD = 3
"""Kernels of the other part during which the bytes that it needs are not given to tiles of the loading part."""


class Duet:
    """A clock that runs the tasks of two parts, kernels of each in their order.

    Where both could go on, the loading part computes, as its kernels make room for its next loads; and the other one
    loads, as its transfers are few and its kernels should never wait for them.
    """

    def __init__(self, problem: Problem, placed: Placed) -> None:
        self.placed, self.loading, self.graph = placed, placed.loading, placed.graph
        self.tasks = placed.graph.tasks
        self.clock = Clock(placed.graph, interruption_ns(problem.target))
        loads = (task for task in self.tasks if task.kind is TaskKind.LOAD)
        self.moves = {load.index for load in loads if load.writes[0].buffer in placed.moving}
        self.waiting = [len(before) for before in placed.before]
        self.after: list[list[int]] = [[] for _ in self.tasks]
        for task, before in enumerate(placed.before):
            for other in before:
                self.after[other].append(task)
        kernels = [task.index for task in placed.graph.compute_tasks]
        self.kernels = [[t for t in kernels if placed.part[t] == k] for k in range(2)]
        self.next = [0, 0]
        self.ready: dict[str, list[tuple[tuple[int, ...], int]]] = {r: [] for r in placed.graph.resources}
        self.free = dict.fromkeys(placed.graph.resources, True)
        self.start = [-1] * len(self.tasks)
        self.room = _Room(problem, placed)
        self.queue = {r: deque(self._moves_on(r)) for r in placed.graph.resources}

    def _moves_on(self, resource: str) -> list[int]:
        """Loads of tiles without addresses, in the order in which they are due."""
        own = [task for task in self.moves if self.tasks[task].resource == resource]
        return sorted(own, key=lambda task: (self.placed.due[task], task))

    def run(self) -> Schedule | None:
        """Start of every task and the addresses, None if some never start."""
        now = 0
        for task in self.tasks:
            if not self.waiting[task.index]:
                self._offer(task)
        while True:
            for resource in self.free:
                if self.free[resource] and (chosen := self._chosen(resource)) >= 0:
                    self.start[chosen], self.free[resource] = now, False
                    self.room.begin(self.tasks[chosen])
                    self.clock.start(chosen, now)
            ended = self.clock.end()
            if ended is None:
                break
            now, finished = ended
            self._finish(self.tasks[finished])
        if min(self.start, default=0) < 0:
            return None
        return Schedule(tuple(self.start), tuple(self.room.address))

    def _finish(self, task: Task) -> None:
        self.free[task.resource] = True
        self.room.finish(task)
        for other in self.after[task.index]:
            self.waiting[other] -= 1
            if not self.waiting[other]:
                self._offer(self.tasks[other])

    def _offer(self, task: Task) -> None:
        """A task waits for nothing but its resource; kernels and moves are looked up in their order."""
        if task.kind is not TaskKind.COMPUTE and task.index not in self.moves:
            last = self.placed.part[task.index] == self.loading
            key = (int(last), self.placed.due[task.index], task.index)
            heapq.heappush(self.ready[task.resource], (key, task.index))

    def _chosen(self, resource: str) -> int:
        """The next task of a resource, -1 if none is ready: what the CPU moves or opens itself goes first."""
        keep_time()
        if (task := self._transfer(resource)) >= 0:
            return task
        if resource != self.graph.resources[0]:
            return -1
        for part in (self.loading, 1 - self.loading):
            at = self.next[part]
            if at < len(self.kernels[part]) and self._may_start(kernel := self.kernels[part][at]):
                self.next[part] += 1
                self.room.advance(part)
                return kernel
        return -1

    def _may_start(self, kernel: int) -> bool:
        return not self.waiting[kernel] and not self.room.is_lent(self.tasks[kernel])

    def _transfer(self, resource: str) -> int:
        """The next transfer or crypto task with an address, or else one that gets it now."""
        queue, put_back, found = self.ready[resource], [], -1
        while queue and found < 0:
            entry = heapq.heappop(queue)
            if self.room.is_lent(self.tasks[entry[1]]):
                put_back.append(entry)
            else:
                found = entry[1]
        for entry in put_back:
            heapq.heappush(queue, entry)
        return found if found >= 0 else self._move(resource)

    def _move(self, resource: str) -> int:
        queue = self.queue[resource]
        if not queue or self.waiting[queue[0]]:
            return -1
        buffer = self.tasks[queue[0]].writes[0].buffer
        return queue.popleft() if self.room.lend(buffer, self.placed.due[queue[0]]) else -1


class _Room:
    """Which bytes tiles may have: those of no buffer with an address that is in use now or soon.

    ``address`` are the places of all buffers as far as is known; a tile gets its own when its load begins.
    """

    def __init__(self, problem: Problem, placed: Placed) -> None:
        graph: TaskGraph = placed.graph
        self.sizes = [buffer.size_bytes for buffer in graph.buffers]
        self.address, self.opens = list(placed.address), placed.opens
        self.left = [0] * len(graph.buffers)  # tasks that still have to touch each buffer
        owner: dict[int, int] = {}
        for task in graph.tasks:
            for buffer in _touched(task):
                self.left[buffer] += 1
                owner[buffer] = placed.part[task.index]
        self.pinned = frozenset(b.index for b in graph.buffers if b.pinned)
        self.placed = frozenset(owner.keys() - placed.moving)
        self.taken = set(self.pinned)
        self.loading, self.step = placed.loading, 0
        self.later = [
            deque(
                sorted(
                    (b for b in self.placed - self.pinned if owner[b] == k), key=lambda b: (self.opens[b], b)
                )
            )
            for k in range(2)
        ]
        self.lent: dict[int, tuple[int, int]] = {}
        self.walls = pieces_of(problem, 0, problem.arena_bytes)
        self._take(1 - placed.loading, LOOK_AHEAD)

    def _take(self, part: int, kernel: int) -> None:
        """Keep what the buffers of a part take that open up to a kernel."""
        later = self.later[part]
        while later and self.opens[later[0]] <= kernel:
            buffer = later.popleft()
            if self.left[buffer]:
                self.taken.add(buffer)

    def advance(self, part: int) -> None:
        """A kernel of a part starts."""
        if part != self.loading:
            self.step += 1
            self._take(part, self.step + LOOK_AHEAD)

    def is_lent(self, task: Task) -> bool:
        """Whether a task would write where a tile still lies."""
        if not self.lent:
            return False
        places = [
            (self.address[b], self.address[b] + self.sizes[b]) for b in _written(task) if b in self.placed
        ]
        return any(low < end and at < high for low, high in places for at, end in self.lent.values())

    def lend(self, buffer: int, due: int) -> bool:
        """Give a tile bytes until the kernel for which it is due, the smallest gap; False if there are none."""
        self._take(self.loading, due)
        size = self.sizes[buffer]
        busy = [(self.address[b], self.address[b] + self.sizes[b]) for b in self.taken]
        busy = sorted([*busy, *self.lent.values()])
        gaps = [gap for gap in _gaps(self.walls, busy) if gap[1] - gap[0] >= size]
        if not gaps:
            return False
        _, high = min(gaps, key=lambda gap: (gap[1] - gap[0], gap))
        self.address[buffer] = high - size
        self.lent[buffer] = high - size, high
        return True

    def begin(self, task: Task) -> None:
        """A task starts: what it writes to its address is there from now on."""
        self.taken.update(b for b in _written(task) if b in self.placed)

    def finish(self, task: Task) -> None:
        """A task ends: what nobody touches any more is free."""
        for buffer in _touched(task):
            self.left[buffer] -= 1
            if not self.left[buffer]:
                self.lent.pop(buffer, None)
                self.taken -= {buffer} - self.pinned


def _touched(task: Task) -> set[int]:
    return {touch.buffer for touch in (*task.reads, *task.writes)}


def _written(task: Task) -> set[int]:
    return {touch.buffer for touch in task.writes}


def _gaps(walls: list[tuple[int, int]], busy: list[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """Free ranges within walls, between sorted busy ones."""
    for low, top in walls:
        at = low
        for begin, end in busy:
            if end > low and begin < top:
                if begin > at:
                    yield at, begin
                at = max(at, end)
        if at < top:
            yield at, top
