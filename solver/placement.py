"""Addresses by position: where each buffer lies, and how early a load may begin.

Time is counted in compute steps here. A buffer must have its bytes from the step that
first uses it to the step that last uses it; a fetched one may be given them earlier, so
that its load overlaps with earlier steps, and one on its way to storage may keep them
longer. Addresses that are given in step order can always be honoured by waiting, so a
schedule built on them never deadlocks.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Buffer, BufferRole, TaskGraph, TaskKind
from ooc_solve.solver.deadline import keep_time

FOREVER = 1 << 60


@dataclass(frozen=True, slots=True)
class Use:
    """Compute steps between which a buffer is needed; ``last`` is inclusive."""

    first: int
    last: int
    loaded: bool
    stored: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """Address of each buffer (bytes) and the first step at which its bytes are its own."""

    address: tuple[int, ...]
    opens: tuple[int, ...]


@dataclass(slots=True)
class _Block:
    low: int
    high: int
    opens: int
    last: int


def buffer_uses(graph: TaskGraph) -> list[Use]:
    """When each buffer is used, in compute steps.

    What no step uses, such as an input that is loaded but not read, is needed once the last
    step is over: there it takes no room from anything.
    """
    first = [len(graph.compute_tasks)] * len(graph.buffers)
    last = [-1] * len(graph.buffers)
    loaded = [False] * len(graph.buffers)
    stored = [False] * len(graph.buffers)
    step = 0
    for task in graph.tasks:
        if task.kind is TaskKind.COMPUTE:
            for touch in (*task.reads, *task.writes):
                first[touch.buffer] = min(first[touch.buffer], step)
                last[touch.buffer] = max(last[touch.buffer], step)
            step += 1
    for task in graph.tasks:
        for touch in task.writes:
            loaded[touch.buffer] |= task.kind is TaskKind.LOAD
        for touch in task.reads:
            stored[touch.buffer] |= task.kind is TaskKind.STORE
    return [
        Use(-FOREVER, FOREVER, loaded[b.index], stored[b.index])
        if b.pinned
        else Use(first[b.index], max(first[b.index], last[b.index]), loaded[b.index], stored[b.index])
        for b in graph.buffers
    ]


class _Arena:
    """Blocks placed so far, over banks laid end to end."""

    def __init__(self, problem: Problem) -> None:
        self.skyline: list[_Block] = []
        self.walls: list[tuple[int, int]] = []
        start = 0
        for _, size in problem.banks:
            self.walls.append((start, start + size))
            start += size
        self.blocks: list[_Block] = []

    def settle_before(self, step: int) -> int:
        """Melt blocks that end before ``step`` into a skyline: for each address, when it was last used.

        Buffers come in order of their first step, so those blocks are past for all that follow.
        Returns how many blocks are left.
        """
        past = [block for block in self.blocks if block.last < step]
        if not past:
            return len(self.blocks)
        self.blocks = [block for block in self.blocks if block.last >= step]
        for block in sorted(past, key=lambda b: b.last):
            self._paint(block)
        return len(self.blocks)

    def _paint(self, block: _Block) -> None:
        """Lay a block over the skyline; none there is later."""
        found = []
        for under in self.skyline:
            if under.high <= block.low or under.low >= block.high:
                found.append(under)
                continue
            if under.low < block.low:
                found.append(_Block(under.low, block.low, 0, under.last))
            if under.high > block.high:
                found.append(_Block(block.high, under.high, 0, under.last))
        found.append(block)
        self.skyline = found

    def gaps(self, first: int, last: int, size: int) -> list[tuple[int, int]]:
        """Free address ranges of at least ``size`` during steps ``first..last``."""
        busy = sorted(
            (block.low, block.high) for block in self.blocks if block.opens <= last and block.last >= first
        )
        found = []
        for low, high in self.walls:
            for start, end in busy:
                if start < high and end > low:
                    if start - low >= size:
                        found.append((low, start))
                    low = max(low, end)
            if high - low >= size:
                found.append((low, high))
        return found

    def earliest(self, first: int, last: int, size: int, ahead: int, corners: bool) -> tuple[int, int] | None:
        """Address that is free longest before ``first``, and the step from which it is.

        At most ``ahead`` steps count; ties go to the lowest address. With ``corners`` only the
        ends of gaps are looked at, which keeps what is left in one piece.
        """
        best: tuple[int, int] | None = None
        floor = max(0, first - ahead)
        for low, high in self.gaps(first, last, size):
            past = [
                block
                for block in (*self.skyline, *self.blocks)
                if block.low < high and block.high > low and floor <= block.last < first
            ]
            edges = {low, high - size}
            if not corners:
                edges |= {block.high for block in past if block.high <= high - size}
                edges |= {block.low - size for block in past if low <= block.low - size}
            for address in sorted(edges):
                opens = floor
                for block in past:
                    if block.low < address + size and block.high > address:
                        opens = max(opens, block.last + 1)
                if best is None or opens < best[1]:
                    best = address, opens
            if best is not None and best[1] == floor:
                break
        return best


def place(
    problem: Problem, graph: TaskGraph, ahead: int, drain: int, flips: int = 0, corners: bool = False
) -> Placement | None:
    """Give every buffer an address, or None if the greedy order does not find one.

    ``ahead`` is how many steps a load may run ahead, ``drain`` how many steps an output tile
    may stay while it is written. ``flips`` is a bit pattern: which of the kept tensors are
    placed from the top of the arena; the others grow from the bottom. ``corners``: tiles only
    go to the ends of gaps; that finds addresses where memory is tight, but loads may begin later.
    """
    uses = buffer_uses(graph)
    kept = kept_addresses(problem, graph, uses, flips)
    if kept is None:
        return None
    arena = _Arena(problem)
    address = [0] * len(graph.buffers)
    opens = [0] * len(graph.buffers)
    for index, at in kept.items():
        address[index], opens[index] = at, uses[index].first
        size = graph.buffers[index].size_bytes
        arena.blocks.append(_Block(at, at + size, uses[index].first, uses[index].last))
    rest = [b for b in graph.buffers if b.index not in kept]
    rest.sort(key=lambda b: (uses[b.index].first, -uses[b.index].last, -b.size_bytes, b.index))
    for buffer in rest:
        keep_time()
        use = uses[buffer.index]
        arena.settle_before(use.first)
        found = _place_tile(arena, buffer, use, ahead, drain, corners)
        if found is None:
            return None
        address[buffer.index], opens[buffer.index] = found
    return Placement(tuple(address), tuple(opens))


def place_step_by_step(problem: Problem, graph: TaskGraph, ahead: int, flips: int) -> Placement | None:
    """Addresses one step at a time: what it fetches as early as can be, and then the rest of its buffers.

    Fetched buffers are given their bytes in the order in which they are used, none before the
    one that is used before it, at most ``ahead`` steps early. Where that leaves no room for the
    rest, the step is placed again with nothing fetched early. None if that does not work either.
    """
    uses = buffer_uses(graph)
    kept = kept_addresses(problem, graph, uses, flips)
    if kept is None:
        return None
    arena, found = _Arena(problem), dict[int, tuple[int, int]]()
    for index, low in kept.items():
        found[index] = low, uses[index].first
        high = low + graph.buffers[index].size_bytes
        arena.blocks.append(_Block(low, high, uses[index].first, uses[index].last))
    rest = [b for b in graph.buffers if b.index not in kept]
    rest.sort(key=lambda b: (uses[b.index].first, not uses[b.index].loaded, -b.size_bytes, b.index))
    opened = 0
    for first, group in groupby(rest, key=lambda b: uses[b.index].first):
        step = list(group)
        placed = _place_step(arena, step, uses, (min(ahead, first - opened), 0))
        if placed is None:
            return None
        for buffer, at in zip(step, placed, strict=True):
            found[buffer.index] = at
            if uses[buffer.index].loaded:
                opened = max(opened, at[1])
    given = [found[b.index] for b in graph.buffers]
    return Placement(tuple(at for at, _ in given), tuple(opens for _, opens in given))


def _place_step(
    arena: _Arena, step: Sequence[Buffer], uses: Sequence[Use], ways: Iterable[int]
) -> list[tuple[int, int]] | None:
    """Places for the buffers that one step is the first to use, with the first ``ahead`` that works."""
    keep_time()
    before = arena.settle_before(uses[step[0].index].first)
    for ahead in ways:
        del arena.blocks[before:]
        placed = [_place_tile(arena, b, uses[b.index], ahead, 0, False) for b in step]
        if all(placed):
            return [at for at in placed if at is not None]
    return None


def kept_addresses(problem: Problem, graph: TaskGraph, uses: list[Use], flips: int) -> dict[int, int] | None:
    """Addresses of kept tensors by buffer, None if there are none; ``flips`` as in `place`.

    What lies in an NPU's own memory is among them, with no bytes at address 0.
    """
    arena = _Arena(problem)
    kept = [b for b in graph.buffers if b.role is BufferRole.TENSOR]
    kept.sort(key=lambda b: (not b.pinned, uses[b.index].first))
    found = {b.index: 0 for b in graph.buffers if b.held is not None}
    for count, buffer in enumerate(kept):
        use = uses[buffer.index]
        gaps = arena.gaps(use.first, use.last, buffer.size_bytes)
        if not gaps:
            return None
        top = (flips >> (count % 24)) & 1
        at = found[buffer.index] = gaps[-1][1] - buffer.size_bytes if top else gaps[0][0]
        arena.blocks.append(_Block(at, at + buffer.size_bytes, use.first, use.last))
    return found


def _place_tile(
    arena: _Arena, buffer: Buffer, use: Use, ahead: int, drain: int, corners: bool
) -> tuple[int, int] | None:
    for extra in (drain, 0) if use.stored and drain else (0,):
        found = arena.earliest(use.first, use.last + extra, buffer.size_bytes, ahead, corners)
        if found is not None:
            at, start = found
            begin = start if use.loaded else use.first
            arena.blocks.append(_Block(at, at + buffer.size_bytes, begin, use.last + extra))
            return at, begin
    return None
