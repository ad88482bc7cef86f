"""The SRAM sizes at which plans are sought: a fixed ladder, finer where SRAM matters more.

Coarse rungs are fixed. A *block* is what lies from one coarse rung to the next. It is cut into parts
by how much the bound differs between its ends, so the rungs do not depend on the SRAM that is asked
for: more SRAM only adds rungs at the top. All rungs of a block offer the same ways to cut operators,
as far as they fit: what can be done on a rung can be done on all higher ones of its block.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import pairwise

from ooc_solve.models.cost import align_up
from ooc_solve.models.problem import Problem

NEARBY = 3
"""Blocks whose options say how few bytes may be written: with less SRAM more ways to fuse operators are offered, so
that less may be written than with the options for all of it, but hardly any further down."""

RISE = 0.006
"""How much the bound may differ from one rung to the next, if it rises evenly within a block."""

MOST_PARTS = 256
"""Rungs of one block."""


def rungs(problem: Problem) -> tuple[int, ...]:
    """Coarse rungs up to a problem's SRAM, downwards: four to the octave, and the board's full size.

    Below the first of them that leaves an arena it is the arena that has four to the octave.

    They do not depend on the SRAM that is asked for. What is found on a rung does not depend on
    the others, so the plans considered for some SRAM are always among those considered for more.
    """
    return tuple(
        size
        for size in _coarse(problem.target.board.usable_bytes, problem.reserved_bytes, problem.unit_bytes)
        if size <= problem.sram_bytes
    )


@lru_cache(maxsize=64)
def _coarse(full: int, reserved: int, unit: int) -> tuple[int, ...]:
    steps = [quarter << octave for octave in range(8, 22) for quarter in (4, 5, 6, 7)]
    first = min((size for size in steps if size > reserved), default=full)
    arenas = (quarter << octave for octave in range(22) for quarter in (4, 5, 6, 7))
    tiny = {align_up(reserved + arena, unit) for arena in arenas if reserved + arena < first}
    return tuple(sorted((s for s in {*steps, *tiny, full} if reserved < s <= full), reverse=True))


@lru_cache(maxsize=1024)
def at_size(problem: Problem, sram_bytes: int) -> Problem:
    """The same problem with other SRAM; one object per size, so that caches find it again."""
    if sram_bytes == problem.sram_bytes:
        return problem
    return replace(problem, sram_bytes=sram_bytes)


def offering(problem: Problem) -> Problem:
    """The problem on the coarse rung below: its arena says which ways to cut operators are offered."""
    below = rungs(problem)
    return at_size(problem, below[0]) if below else problem


@dataclass(frozen=True, slots=True)
class Block:
    """Sizes from ``low`` up to and without ``high``, in multiples of ``unit``."""

    low: int
    high: int
    unit: int

    @property
    def top(self) -> int:
        """The largest size."""
        return self.low + (self.high - 1 - self.low) // self.unit * self.unit

    def sizes(self, rise: float, thresholds: Collection[int] = ()) -> tuple[int, ...]:
        """Rungs downwards, for a rise of the bound (natural logarithm) from the top to the lowest.

        ``thresholds`` are sizes from which on more is offered: a rung with one between it and the next is as low
        as the highest of these, so that nobody who has just enough misses it.
        """
        units = 1 + (self.top - self.low) // self.unit
        most = min(MOST_PARTS, units)
        parts = most if math.isinf(rise) else max(1, min(most, math.ceil(rise / RISE)))
        even = [self.low + units * part // parts * self.unit for part in range(parts)]
        snapped = [self.low]
        for below, size in pairwise(even):
            snapped.append(max((t for t in thresholds if below < t <= size), default=size))
        return tuple(reversed(snapped))


def blocks(problem: Problem) -> tuple[Block, ...]:
    """The blocks that hold sizes up to a problem's SRAM, downwards."""
    full, unit = problem.target.board.usable_bytes, problem.unit_bytes
    known = rungs(problem)
    above = [size for size in _coarse(full, problem.reserved_bytes, unit) if size > problem.sram_bytes]
    highs = [above[-1] if above else full + 1, *known]
    return tuple(Block(low, high, unit) for low, high in zip(known, highs, strict=False))


def top_of(problem: Problem, block: Block) -> int:
    """The largest size of a block that is not above the SRAM asked for."""
    return min(block.top, problem.sram_bytes // block.unit * block.unit)


def nearby(problem: Problem) -> tuple[int, ...]:
    """The SRAM asked for, and the largest sizes of the next blocks below."""
    below = (top_of(problem, block) for block in blocks(problem)[1:NEARBY])
    return problem.sram_bytes, *below
