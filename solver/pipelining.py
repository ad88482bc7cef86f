"""Plans for pipelined runs: the kernels of a front and of a back alternate, each in its own share of the SRAM.

One selection model gives both parts their tilings and their shares, so that the busiest resource has as little to do as
possible. Each part then gets addresses in its share, which says what its tasks wait for; a clock runs the tasks of
both, each part's kernels in their order. Whose kernels come next is read off that, and the plan is one of the whole
network, with turns. What is found is settled and improved as any other plan.
"""

from __future__ import annotations

import heapq
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import accumulate, product

from ooc_solve.models.cost import align_up, interruption_ns, read_ns
from ooc_solve.models.pipelines import Cut, cuts, front_size, pipelined
from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import (
    Bank,
    BufferRole,
    Network,
    Plan,
    Schedule,
    Selection,
    Task,
    TaskGraph,
    TaskKind,
    Touch,
)
from ooc_solve.solver.allowance import allowed_makespan_ns, excesses
from ooc_solve.solver.clock import Clock
from ooc_solve.solver.deadline import LEAST_WORK_S, TimeIsUp, ends_at, keep_time, unhurried
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import FLIPS, space_of
from ooc_solve.solver.interleaving import turns_of
from ooc_solve.solver.listing import makespan_ns, order_of
from ooc_solve.solver.lives import Lives
from ooc_solve.solver.options import Option
from ooc_solve.solver.placement import buffer_uses, place_step_by_step
from ooc_solve.solver.plans import checked, settled
from ooc_solve.solver.search import MANY_TASKS, Candidate, polish, score_of
from ooc_solve.solver.selection import Space
from ooc_solve.solver.workload import SCALE, Way, Workload

ROOMS = tuple(product((0.5, 0.25), (0.25, 0.125, 0.5), (0.0, 1.0)))
"""Room that a selection leaves: a share of the arena for the part with more transfers, the longest kernels in terms
of the time to load the whole arena, and a share of a second set of fetched tiles.

The part with more transfers can go on loading only while it has bytes, so kernels of the other one must be brief.
"""

SPLITS = (0.5, 0.3, 0.8)
"""Shares of the SRAM that no part needs which the part with more transfers gets for itself; the rest it can borrow."""

AHEAD = (32, 4, 0)
"""Kernels that loads of a part may run ahead, the most with which there are addresses."""

LOOK_AHEAD = 3
"""Kernels of one part during which the bytes that it needs are not lent to the other."""

CUTS = 2
"""Cuts for which plans are sought."""

MOST_CARRIED = 0.25
"""Share of the arena that may be carried from one run to the next."""

TASKS = 256
"""A task counts as much as it takes to load this fraction of the arena: tiles of one part wait for those of the other."""


def pipelined_plan(run: Problem, base: Network, deadline: float) -> tuple[Problem, Plan] | None:
    """The plan with the shortest period of a pipelined run, at the cuts that promise most, and its problem.

    ``base`` is the network of one frame. None if none is found until the deadline (of `time.monotonic`).
    """
    found: list[tuple[Problem, Candidate]] = []
    with suppress(TimeIsUp), ends_at(deadline, LEAST_WORK_S):
        promising = _promising(run, base)
        for left, cut in zip(range(len(promising), 0, -1), promising, strict=True):
            problem = replace(run, network=pipelined(run.network, cut))
            until = time.monotonic() + (deadline - time.monotonic()) / left
            for candidate in pipelined_candidates(problem, until):
                found.append((problem, candidate))
    if not found:
        return None
    problem, best = min(found, key=lambda pair: pair[1].score)
    if len(best.graph.tasks) <= MANY_TASKS:
        with suppress(TimeIsUp), ends_at(deadline):
            best = polish(problem, best, deadline)
    with unhurried():
        plan = settled(problem, best, "cp-sat")
        if excesses(problem, plan.figures):
            return None
        checked(problem, plan)
    return problem, plan


def _promising(run: Problem, base: Network) -> list[Cut]:
    """The cuts whose parts differ most in which resource they keep busy, as far as little is carried."""
    way = Workload(space_of(run)).balanced()
    if way is None:
        return []
    ops, excess = run.network.ops, dict.fromkeys((op.output for op in run.network.ops), 0)
    for stage, option in way.options:
        excess[ops[stage + option.operators - 1].output] = option.total_io_ns - option.compute_ns
    total = sum(excess.values())

    def contrast(cut: Cut) -> int:
        front = sum(excess[name] for name in cut.front)
        return abs(front - (total - front))

    fitting = [
        c for c in cuts(run.network, base) if c.size_bytes(run.network) <= run.arena_bytes * MOST_CARRIED
    ]
    return sorted(fitting, key=lambda c: (-contrast(c), c.size_bytes(run.network)))[:CUTS]


def pipelined_candidates(problem: Problem, deadline: float) -> Iterator[Candidate]:
    """Schedules of a pipelined network within the budgets, any number of them, until the deadline."""
    seen = set[Selection]()
    for way in _ways(problem):
        if way.selection not in seen:
            seen.add(way.selection)
            yield from _schedules(problem, way.selection, deadline)
        if time.monotonic() > deadline:
            return


def _ways(problem: Problem) -> Iterator[Way]:
    """For each split of the SRAM the way with the least work of the busiest resource, and time for all others."""
    space, front = space_of(problem), front_size(problem.network)
    first = Workload(space).balanced()
    if first is None:
        return
    loading = _loading(first, front)
    pinned = Lives(problem).pinned_bytes
    free = problem.arena_bytes - pinned
    task_ns = _arena_ns(problem) // TASKS
    for share, longest, slack in ROOMS:
        brief = _with_brief_kernels(space, int(longest * _arena_ns(problem)))
        room = [pinned + int(free * (share if part == loading else 1 - share)) for part in range(2)]

        def room_of(stage: int, room: Sequence[int] = room) -> int:
            return room[stage >= front]

        def need(option: Option, slack: float = slack) -> int:
            return option.need_bytes + int(slack * option.ahead_bytes)

        load = Workload(brief, room_of, need, lambda option: option.tasks * task_ns * SCALE)
        found = min(load.ways(), key=lambda way: (max(way.work_ns), sum(way.work_ns)), default=None)
        if found is not None:
            yield found


def _loading(way: Way, front: int) -> int:
    """The part with more transfers, beside its kernels, than the other."""
    excess = [0, 0]
    for stage, option in way.options:
        excess[stage >= front] += option.total_io_ns - option.compute_ns
    return excess.index(max(excess))


def _arena_ns(problem: Problem) -> int:
    """Time to load as much as the arena holds, in pieces of a few KiB, from the slowest store with weights."""
    target, piece = problem.target, 1 << 14
    stores = {target.weights, *([] if target.annex is None else [target.annex])}
    return max(read_ns(target, store, piece) for store in stores) * problem.arena_bytes // piece


def _with_brief_kernels(space: Space, most_ns: int) -> Space:
    """The space without options whose kernels take longer, as far as others are for the same residences."""
    return replace(space, options=tuple(_brief(space, stage, most_ns) for stage in range(len(space.options))))


def _brief(space: Space, stage: int, most_ns: int) -> tuple[Option, ...]:
    groups: dict[object, list[tuple[int, Option]]] = {}
    for option in space.options[stage]:
        keep_time()
        key = option.operators, option.inputs, option.output
        groups.setdefault(key, []).append((_kernel_ns(space, stage, option), option))
    found = []
    for own in groups.values():
        limit = max(most_ns, min(ns for ns, _ in own))
        found += [option for ns, option in own if ns <= limit]
    return tuple(found)


def _kernel_ns(space: Space, stage: int, option: Option) -> int:
    """Time of a kernel of an option on average, as if the operator with the fewest tiles took all the time."""
    network = space.problem.network
    ops = network.ops[stage : stage + option.operators]
    tiles = (StageGeometry.of(network, op, t).tiles for op, t in zip(ops, option.tilings, strict=True))
    return option.kernels_ns // max(1, min(tiles))


def _schedules(problem: Problem, selection: Selection, deadline: float) -> Iterator[Candidate]:
    """Schedules of a selection, its parts split in several ways."""
    try:
        graph = expand(problem, selection)
    except SelectionError:
        return
    if (allowed := allowed_makespan_ns(problem, graph)) < 0:
        return
    halves = _Halves(problem, graph)
    for split in SPLITS:
        placed = halves.placed(split)
        if placed is None:
            continue
        found = _played(problem, selection, placed, halves.loading)
        if found is not None and found.score[1] <= allowed:
            yield found
        if time.monotonic() > deadline or len(graph.tasks) > MANY_TASKS:
            return


def _parts_of(problem: Problem, graph: TaskGraph) -> tuple[int, ...]:
    """Which part each task belongs to."""
    front = front_size(problem.network)
    return tuple(int(task.stage >= front) for task in graph.tasks)


def _carry(problem: Problem, graph: TaskGraph, part: Sequence[int], before: list[set[int]]) -> None:
    """What is carried is not made before the tensor that is there is read."""
    resident = dict(graph.resident)
    for buffer in {resident[name] for name, _ in problem.network.carried}:
        for task in graph.tasks:
            if any(touch.buffer == buffer for touch in task.writes):
                before[task.index].update(
                    other.index
                    for other in graph.tasks
                    if part[other.index] and any(touch.buffer == buffer for touch in other.reads)
                )


# --------------------------------------------------------------------------- two parts


@dataclass(frozen=True, slots=True)
class _Part:
    """The tasks and buffers of one part as a graph of their own, and their numbers in the whole graph."""

    graph: TaskGraph
    tasks: tuple[int, ...]
    buffers: tuple[int, ...]

    @property
    def kernels_ns(self) -> int:
        """What computing takes."""
        return sum(task.duration_ns for task in self.graph.compute_tasks)

    @property
    def transfers_ns(self) -> int:
        """What all transfers take together."""
        return sum(task.duration_ns for task in self.graph.tasks if task.moved is not None)

    @property
    def need_bytes(self) -> int:
        """Most bytes that the kernels of this part have in use at once."""
        change = [0] * (len(self.graph.compute_tasks) + 2)
        last = len(change) - 2
        for buffer, use in zip(self.graph.buffers, buffer_uses(self.graph), strict=True):
            change[min(max(0, use.first), last)] += buffer.size_bytes
            change[min(use.last, last) + 1] -= buffer.size_bytes
        total = most = 0
        for step in change:
            total += step
            most = max(most, total)
        return most


@dataclass(frozen=True, slots=True)
class _Placed:
    """Addresses of all buffers, and what each task of the whole graph waits for."""

    graph: TaskGraph
    address: tuple[int, ...]
    before: tuple[frozenset[int], ...]
    due: tuple[int, ...]
    opens: tuple[int, ...]  # kernel of its own part from which on the bytes of each buffer are taken
    part: tuple[int, ...]
    shares: tuple[tuple[int, int], tuple[int, int]]  # addresses of each part


class _Halves:
    """The two parts of a graph whose stages run one after the other."""

    def __init__(self, problem: Problem, graph: TaskGraph) -> None:
        self.problem, self.graph = problem, graph
        resident = dict(graph.resident)
        self.carried = [resident[name] for name, _ in problem.network.carried]
        self.part = _parts_of(problem, graph)
        self.parts = [self._part(k) for k in range(2)]
        self.fixed = sum(graph.buffers[b].size_bytes for b in self.carried)
        excess = [part.transfers_ns - part.kernels_ns for part in self.parts]
        self.loading = excess.index(max(excess))  # the part with more transfers

    def _part(self, number: int) -> _Part:
        graph = self.graph
        tasks = tuple(task.index for task in graph.tasks if self.part[task.index] == number)
        touched = {touch.buffer for t in tasks for touch in (*graph.tasks[t].reads, *graph.tasks[t].writes)}
        owned = {b.index for b in graph.buffers if b.pinned and (b.stage >= 0) == bool(number)}
        buffers = tuple(sorted((touched | owned) - set(self.carried)))
        task_at = {old: new for new, old in enumerate(tasks)}
        buffer_at = {old: new for new, old in enumerate(buffers)}
        own = tuple(_moved(graph.tasks[t], task_at, buffer_at) for t in tasks)
        blocks = tuple(replace(graph.buffers[b], index=new) for b, new in buffer_at.items())
        return _Part(replace(graph, tasks=own, buffers=blocks, resident=()), tasks, buffers)

    def placed(self, split: float) -> _Placed | None:
        """Addresses and precedences: carried tensors lowest, the front above them, then the back."""
        unit, arena = self.problem.unit_bytes, self.problem.arena_bytes
        spare = arena - self.fixed - sum(part.need_bytes for part in self.parts)
        if spare < 0:
            return None
        given = 1 - split if self.loading else split
        front = align_up(self.parts[0].need_bytes + int(given * spare), unit)
        address, low = [0] * len(self.graph.buffers), 0
        for buffer in self.carried:
            address[buffer], low = low, low + self.graph.buffers[buffer].size_bytes
        before: list[set[int]] = [set() for _ in self.graph.tasks]
        due, opens = [0] * len(self.graph.tasks), [0] * len(self.graph.buffers)
        shares = (low, low + front), (low + front, arena)
        for part, (low, high) in zip(self.parts, shares, strict=True):
            if not self._place(part, low, high, address, before, due, opens):
                return None
        _carry(self.problem, self.graph, self.part, before)
        return _Placed(
            self.graph,
            tuple(address),
            tuple(map(frozenset, before)),
            tuple(due),
            tuple(opens),
            self.part,
            shares,
        )

    def _place(
        self, part: _Part, low: int, high: int,
        address: list[int], before: list[set[int]], due: list[int], opens: list[int],
    ) -> bool:  # fmt: skip
        """Place the buffers of a part in its share; False if that fails."""
        room, origin = _share(self.problem, low, high)
        tries = (place_step_by_step(room, part.graph, ahead, flips) for ahead, flips in product(AHEAD, FLIPS))
        placement = next(filter(None, tries), None)
        if placement is None:
            return False
        order = order_of(part.graph, placement)
        for old, at, begin in zip(part.buffers, placement.address, placement.opens, strict=True):
            address[old], opens[old] = origin(at), begin
        for new, old in enumerate(part.tasks):
            before[old] = {part.tasks[other] for other in order.before[new]}
            due[old] = order.due[new]
        return True


def _share(problem: Problem, low: int, high: int) -> tuple[Problem, Callable[[int], int]]:
    """The problem with a range of the arena only, and where the addresses there lie in the whole arena."""
    pieces = sorted(_within(problem, low, high), key=lambda piece: piece[0] - piece[1])
    banks = tuple(Bank(f"part {k}", end - begin) for k, (begin, end) in enumerate(pieces))
    board = replace(problem.target.board, banks=banks)
    size = sum(bank.size_bytes for bank in banks) + problem.reserved_bytes
    starts = [*accumulate((bank.size_bytes for bank in banks), initial=0)]

    def origin(address: int) -> int:
        piece = bisect_right(starts, address) - 1
        return address - starts[piece] + pieces[piece][0]

    return replace(problem, target=replace(problem.target, board=board), sram_bytes=size), origin


def _moved(task: Task, tasks: dict[int, int], buffers: dict[int, int]) -> Task:
    """A task as one of a part: other numbers, and nothing of what is carried."""

    def kept(touches: tuple[Touch, ...]) -> tuple[Touch, ...]:
        return tuple(replace(t, buffer=buffers[t.buffer]) for t in touches if t.buffer in buffers)

    return replace(
        task,
        index=tasks[task.index],
        reads=kept(task.reads),
        writes=kept(task.writes),
        after=tuple(tasks[other] for other in task.after),
    )


# ---------------------------------------------------------------------------- one clock


class _Duet:
    """A clock that runs the tasks of two parts, kernels of each in their order.

    Where both could go on, the part with more transfers computes, as its kernels make room for its next loads; and
    the other one loads, as its transfers are few and its kernels should never wait for them. That one keeps to its
    addresses. The part with more transfers borrows: a tile whose own place is not free yet is loaded into bytes that
    the other part does not need for some kernels. Should it need them before the tile is used, it waits. Nothing waits
    for ever, as the borrower never waits for the lender.
    """

    def __init__(self, problem: Problem, placed: _Placed, loading: int) -> None:
        self.placed, self.loading, self.graph = placed, loading, placed.graph
        self.tasks, self.unit = placed.graph.tasks, problem.unit_bytes
        self.clock = Clock(placed.graph, interruption_ns(problem.target))
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
        self.done = [False] * len(self.tasks)
        self.lending = _Lending(problem, placed, loading)
        self.queue = {r: self._borrowers(r) for r in placed.graph.resources}

    def _borrowers(self, resource: str) -> deque[int]:
        """Loads of the part with more transfers in the order in which they are due: tiles, each by one load."""
        loads = [
            task for task in self.tasks
            if task.kind is TaskKind.LOAD and task.resource == resource
            and self.placed.part[task.index] == self.loading
            and self.graph.buffers[task.writes[0].buffer].role is not BufferRole.TENSOR
        ]  # fmt: skip
        return deque(t.index for t in sorted(loads, key=lambda t: (self.placed.due[t.index], t.index)))

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
                    self.lending.begin(self.tasks[chosen])
                    self.clock.start(chosen, now)
            ended = self.clock.end()
            if ended is None:
                break
            now, finished = ended
            self._finish(self.tasks[finished])
        if min(self.start, default=0) < 0:
            return None
        return Schedule(tuple(self.start), tuple(self.lending.address))

    def _finish(self, task: Task) -> None:
        self.free[task.resource], self.done[task.index] = True, True
        self.lending.finish(task)
        for other in self.after[task.index]:
            self.waiting[other] -= 1
            if not self.waiting[other]:
                self._offer(self.tasks[other])

    def _offer(self, task: Task) -> None:
        """A task waits for nothing but its resource; kernels are looked up in their order."""
        if task.kind is not TaskKind.COMPUTE and self.start[task.index] < 0:
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
                self.lending.advance(part)
                return kernel
        return -1

    def _may_start(self, kernel: int) -> bool:
        return not self.waiting[kernel] and not self.lending.is_lent(self.tasks[kernel])

    def _transfer(self, resource: str) -> int:
        """The next transfer or crypto task, in its own place or in borrowed bytes."""
        queue, put_back, found = self.ready[resource], [], -1
        while queue and found < 0:
            entry = heapq.heappop(queue)
            if self.start[entry[1]] >= 0:
                continue  # was loaded elsewhere
            if self.lending.is_lent(self.tasks[entry[1]]):
                put_back.append(entry)
            else:
                found = entry[1]
        for entry in put_back:
            heapq.heappush(queue, entry)
        return found if found >= 0 else self._borrowing(resource)

    def _borrowing(self, resource: str) -> int:
        queue = self.queue[resource]
        while queue and self.start[queue[0]] >= 0:
            queue.popleft()
        if not queue or not all(self.done[other] for other in self.tasks[queue[0]].after):
            return -1
        return queue.popleft() if self.lending.borrow(self.tasks[queue[0]].writes[0].buffer) else -1


class _Lending:
    """Which bytes one part lends to the other: those of no buffer that it uses now or soon.

    ``address`` are the places of all buffers as far as is known; a buffer that borrows gets another one.
    """

    def __init__(self, problem: Problem, placed: _Placed, loading: int) -> None:
        graph = placed.graph
        self.sizes = [buffer.size_bytes for buffer in graph.buffers]
        self.address, self.opens = list(placed.address), placed.opens
        self.left = [0] * len(graph.buffers)  # tasks that still have to touch each buffer
        owner: dict[int, int] = {}
        for task in graph.tasks:
            for buffer in _touched(task):
                self.left[buffer] += 1
                owner[buffer] = placed.part[task.index]
        carried = {dict(graph.resident)[name] for name, _ in problem.network.carried}
        pinned = {b.index for b in graph.buffers if b.pinned} | carried
        own = [b for b, part in owner.items() if part != loading and b not in pinned]
        self.lender = 1 - loading
        self.step = 0
        self.later = deque(sorted(own, key=lambda b: (placed.opens[b], b)))
        self.lenders = set(own)
        self.taken = {b for b in pinned if owner.get(b) != loading or b in carried}
        self.lent: dict[int, tuple[int, int]] = {}
        self.walls = _within(problem, *placed.shares[self.lender])
        self._look_ahead()

    def _look_ahead(self) -> None:
        """Take back what is needed soon."""
        while self.later and self.opens[self.later[0]] <= self.step + LOOK_AHEAD:
            buffer = self.later.popleft()
            if self.left[buffer]:
                self.taken.add(buffer)

    def advance(self, part: int) -> None:
        """A kernel of a part starts."""
        if part == self.lender:
            self.step += 1
            self._look_ahead()

    def is_lent(self, task: Task) -> bool:
        """Whether a task would write where a borrowed tile still lies."""
        if not self.lent:
            return False
        places = [
            (self.address[b], self.address[b] + self.sizes[b]) for b in _written(task) if b in self.lenders
        ]
        return any(low < end and at < high for low, high in places for at, end in self.lent.values())

    def borrow(self, buffer: int) -> bool:
        """Give a buffer bytes that nobody needs soon, the smallest gap; False if there are none."""
        size = self.sizes[buffer]
        busy = [(self.address[b], self.address[b] + self.sizes[b]) for b in self.taken]
        gaps = [
            gap for gap in _gaps(self.walls, sorted([*busy, *self.lent.values()])) if gap[1] - gap[0] >= size
        ]
        if not gaps:
            return False
        _, high = min(gaps, key=lambda gap: (gap[1] - gap[0], gap))
        self.address[buffer] = high - size
        self.lent[buffer] = high - size, high
        return True

    def begin(self, task: Task) -> None:
        """A task starts: what it writes of the lender's is there from now on."""
        self.taken.update(b for b in _written(task) if b in self.lenders)

    def finish(self, task: Task) -> None:
        """A task ends: what nobody touches any more is free."""
        for buffer in _touched(task):
            self.left[buffer] -= 1
            if not self.left[buffer]:
                self.lent.pop(buffer, None)
                if buffer in self.lenders:
                    self.taken.discard(buffer)


def _touched(task: Task) -> set[int]:
    return {touch.buffer for touch in (*task.reads, *task.writes)}


def _written(task: Task) -> set[int]:
    return {touch.buffer for touch in task.writes}


def _within(problem: Problem, low: int, high: int) -> list[tuple[int, int]]:
    """A range of addresses, cut at the ends of banks."""
    found, at = [], 0
    for _, size in problem.banks:
        if max(low, at) < min(high, at + size):
            found.append((max(low, at), min(high, at + size)))
        at += size
    return found


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


def _played(problem: Problem, selection: Selection, placed: _Placed, loading: int) -> Candidate | None:
    """The candidate whose stages take turns as their kernels do when the clock runs."""
    graph, schedule = placed.graph, _Duet(problem, placed, loading).run()
    if schedule is None:
        return None
    start = schedule.start_ns
    stage_of = {op: number for number, span in enumerate(selection.stages) for op in span}
    kernels = sorted(graph.compute_tasks, key=lambda t: (start[t.index], t.index))
    turned = replace(selection, turns=turns_of(stage_of[task.stage] for task in kernels))
    try:
        other = expand(problem, turned)
    except SelectionError:  # kernels that take no time, in an order that nothing says
        return None
    times = [0] * len(start)
    for old, new in zip(_by_stage(graph), _by_stage(other), strict=True):
        times[new.index] = start[old.index]
    makespan = makespan_ns(other, times)
    schedule = Schedule(tuple(times), schedule.address)
    return Candidate(turned, other, schedule, score_of(problem, other, makespan))


def _by_stage(graph: TaskGraph) -> list[Task]:
    """Tasks stage by stage: turns change nothing in the order within one."""
    return sorted(graph.tasks, key=lambda task: task.stage)
