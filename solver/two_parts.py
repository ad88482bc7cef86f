"""The two parts of a pipelined run, each with addresses in its own share of the SRAM."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import accumulate, product

from ooc_solve.models.cost import align_down, align_up
from ooc_solve.models.pipelines import front_size
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Bank, BufferRole, Task, TaskGraph, TaskKind, Touch
from ooc_solve.solver.heuristics import FLIPS
from ooc_solve.solver.listing import order_of
from ooc_solve.solver.placement import buffer_uses, place_step_by_step

AHEAD = (32, 4, 0)
"""Kernels that loads of a part may run ahead, the most with which there are addresses."""


@dataclass(frozen=True, slots=True)
class Part:
    """Tasks and buffers of one part as a graph of their own, and their numbers in the whole graph."""

    graph: TaskGraph
    tasks: tuple[int, ...]
    buffers: tuple[int, ...]

    @property
    def need_bytes(self) -> int:
        """Most bytes that the kernels of this part have in use at once."""
        change = [0] * (len(self.graph.compute_tasks) + 2)
        last = len(change) - 2
        for buffer, use in zip(self.graph.buffers, buffer_uses(self.graph), strict=True):
            change[min(max(0, use.first), last)] += buffer.size_bytes
            change[min(use.last, last) + 1] -= buffer.size_bytes
        return max(accumulate(change))


@dataclass(frozen=True, slots=True)
class Placed:
    """Addresses of all buffers but those that move, and what each task of the whole graph waits for.

    ``due`` is the kernel of its own part for which a task is done; from the kernel ``opens`` of its own part on the
    bytes of a buffer are taken. Buffers that are ``moving`` get their addresses when they are loaded.
    """

    graph: TaskGraph
    address: tuple[int, ...]
    before: tuple[frozenset[int], ...]
    due: tuple[int, ...]
    opens: tuple[int, ...]
    part: tuple[int, ...]
    loading: int
    moving: frozenset[int]


class Halves:
    """The two parts of a graph whose stages run one after the other; the *loading* one has more transfers."""

    def __init__(self, problem: Problem, graph: TaskGraph) -> None:
        self.problem, self.graph = problem, graph
        resident = dict(graph.resident)
        self.carried = frozenset(resident[name] for name, _ in problem.network.carried)
        front = front_size(problem.network)
        self.part = tuple(int(task.stage >= front) for task in graph.tasks)
        excess = [0, 0]
        for task in graph.tasks:
            if task.moved is not None or task.kind is TaskKind.COMPUTE:
                excess[self.part[task.index]] += (
                    task.duration_ns if task.moved is not None else -task.duration_ns
                )
        self.loading = excess.index(max(excess))
        self.moving = self._moving()
        self.steady, self.other = self._part(self.loading, self.moving), self._part(1 - self.loading)
        fixed = sum(graph.buffers[b].size_bytes for b in self.carried)
        needs = self._part(self.loading).need_bytes + self.other.need_bytes
        self.spare_bytes = problem.arena_bytes - fixed - needs

    def _moving(self) -> frozenset[int]:
        """Buffers of the loading part that one load fills and nothing else does; tensors stay where they are."""
        loads, others = dict[int, int](), set[int]()
        for task in self.graph.tasks:
            for buffer in {touch.buffer for touch in task.writes}:
                if task.kind is TaskKind.LOAD and self.part[task.index] == self.loading:
                    loads[buffer] = loads.get(buffer, 0) + 1
                elif task.kind is not TaskKind.DECRYPT:
                    others.add(buffer)
        tensors = {b.index for b in self.graph.buffers if b.role is BufferRole.TENSOR}
        return frozenset({buffer for buffer, count in loads.items() if count == 1} - others - tensors)

    def _part(self, number: int, moving: frozenset[int] = frozenset()) -> Part:
        """A part without what is carried, and without some buffers and what fetches them."""
        graph = self.graph
        tasks = tuple(
            task.index
            for task in graph.tasks
            if self.part[task.index] == number and not (task.is_inbound and task.writes[0].buffer in moving)
        )
        touched = {touch.buffer for t in tasks for touch in (*graph.tasks[t].reads, *graph.tasks[t].writes)}
        owned = {b.index for b in graph.buffers if b.pinned and (b.stage >= 0) == bool(number)}
        buffers = tuple(sorted((touched | owned) - self.carried - moving))
        task_at = {old: new for new, old in enumerate(tasks)}
        buffer_at = {old: new for new, old in enumerate(buffers)}
        own = tuple(_renumbered(graph.tasks[t], task_at, buffer_at) for t in tasks)
        blocks = tuple(replace(graph.buffers[b], index=new) for b, new in buffer_at.items())
        return Part(replace(graph, tasks=own, buffers=blocks, resident=()), tasks, buffers)

    def placed(self, share: float) -> Placed | None:
        """Addresses and precedences: what is carried and the loading part from the top, the other part from the bottom.

        That one gets a ``share`` of what no part needs, to load ahead, or more if it has no addresses else. What lies
        between them is for tiles, and small banks, which come last, are used up first.
        """
        if self.spare_bytes < 0:
            return None
        made, top, unit = _Draft.of(self.graph), self.problem.arena_bytes, self.problem.unit_bytes
        for buffer in sorted(self.carried):
            top = made.address[buffer] = self._below(top, self.graph.buffers[buffer].size_bytes)
        tries = [int(more * self.spare_bytes) for more in (0.0, 0.5, 1.0)]
        lows = (align_down(max(0, top - self.steady.need_bytes - more), unit) for more in tries)
        low = next((low for low in lows if self._place(self.steady, low, top, made)), None)
        if low is None:
            return None
        tries = [int(more * self.spare_bytes) for more in (share, (1 + share) / 2, 1.0)]
        highs = (min(low, align_up(self.other.need_bytes + more, unit)) for more in tries)
        if not any(self._place(self.other, 0, high, made) for high in highs):
            return None
        self._add_moves(made)
        self._carry(made)
        return Placed(
            self.graph,
            tuple(made.address),
            tuple(map(frozenset, made.before)),
            tuple(made.due),
            tuple(made.opens),
            self.part,
            self.loading,
            self.moving,
        )

    def _below(self, top: int, size: int) -> int:
        """The highest address below another one at which so many bytes lie in one bank, 0 if there is none."""
        pieces = pieces_of(self.problem, 0, top)
        return next((high - size for low, high in reversed(pieces) if high - low >= size), 0)

    def _place(self, part: Part, low: int, high: int, made: _Draft) -> bool:
        """Place the buffers of a part between two addresses; False if that fails."""
        room, origin = _share(self.problem, low, high)
        tries = (place_step_by_step(room, part.graph, ahead, flips) for ahead, flips in product(AHEAD, FLIPS))
        placement = next(filter(None, tries), None)
        if placement is None:
            return False
        order = order_of(part.graph, placement)
        for old, at, begin in zip(part.buffers, placement.address, placement.opens, strict=True):
            made.address[old], made.opens[old] = origin(at), begin
        for new, old in enumerate(part.tasks):
            made.before[old] = {part.tasks[other] for other in order.before[new]}
            made.due[old] = order.due[new]
        return True

    def _add_moves(self, made: _Draft) -> None:
        """What fetches a buffer that moves, and what reads it: they wait for what makes their bytes only."""
        kernels = [task for task in self.graph.compute_tasks if self.part[task.index] == self.loading]
        first: dict[int, int] = {}
        for step, kernel in enumerate(kernels):
            for touch in kernel.reads:
                first.setdefault(touch.buffer, step)
        for task in self.graph.tasks:
            made.before[task.index].update(task.after)
            if task.is_inbound and task.writes[0].buffer in self.moving:
                made.due[task.index] = first.get(task.writes[0].buffer, len(kernels))

    def _carry(self, made: _Draft) -> None:
        """What is carried is not made before the tensor that is there is read."""
        for task in self.graph.tasks:
            over = {touch.buffer for touch in task.writes} & self.carried
            made.before[task.index].update(
                other.index
                for other in self.graph.tasks
                if over and self.part[other.index] and any(touch.buffer in over for touch in other.reads)
            )


@dataclass(frozen=True, slots=True)
class _Draft:
    """Addresses and precedences while they are made."""

    address: list[int]
    opens: list[int]
    before: list[set[int]]
    due: list[int]

    @staticmethod
    def of(graph: TaskGraph) -> _Draft:
        """Nothing is known."""
        tasks, buffers = len(graph.tasks), len(graph.buffers)
        return _Draft([0] * buffers, [0] * buffers, [set() for _ in range(tasks)], [0] * tasks)


def _share(problem: Problem, low: int, high: int) -> tuple[Problem, Callable[[int], int]]:
    """The problem with a range of the arena only, and where the addresses there lie in the whole arena."""
    pieces = sorted(pieces_of(problem, low, high), key=lambda piece: piece[0] - piece[1])
    banks = tuple(Bank(f"part {k}", end - begin) for k, (begin, end) in enumerate(pieces))
    board = replace(problem.target.board, banks=banks)
    size = sum(bank.size_bytes for bank in banks) + problem.reserved_bytes
    starts = [*accumulate((bank.size_bytes for bank in banks), initial=0)]

    def origin(address: int) -> int:
        piece = bisect_right(starts, address) - 1
        return address - starts[piece] + pieces[piece][0]

    return replace(problem, target=replace(problem.target, board=board), sram_bytes=size), origin


def _renumbered(task: Task, tasks: dict[int, int], buffers: dict[int, int]) -> Task:
    """A task as one of a part: other numbers, and nothing of what is carried."""

    def kept(touches: tuple[Touch, ...]) -> tuple[Touch, ...]:
        return tuple(replace(t, buffer=buffers[t.buffer]) for t in touches if t.buffer in buffers)

    return replace(
        task,
        index=tasks[task.index],
        reads=kept(task.reads),
        writes=kept(task.writes),
        after=tuple(tasks[other] for other in task.after if other in tasks),
    )


def pieces_of(problem: Problem, low: int, high: int) -> list[tuple[int, int]]:
    """A range of addresses, cut at the ends of banks."""
    found, at = [], 0
    for _, size in problem.banks:
        if max(low, at) < min(high, at + size):
            found.append((max(low, at), min(high, at + size)))
        at += size
    return found
