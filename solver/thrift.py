"""Bytes as one more clock, which runs out where a budget does: those written, or those of a weight memory.

A path through the stages of the relaxation carries what its options write, as a coordinate of its vector. It
begins below 0 by the budget and each option adds its own bytes, so it is above 0 behind a path that no plan
within the budget takes, and then by so much that no makespan comes near it: the path counts as longer than
anything, and is ruled out like one that takes too long. Weights for an NPU are counted alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ooc_solve.models.npu import is_crowded
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import RegionName
from ooc_solve.solver.maxplus import NEVER
from ooc_solve.solver.options import Option
from ooc_solve.solver.tolls import Tolls

NS_PER_UNIT = 1 << 38
"""What a unit above the budget counts: no makespan that is of interest takes so long (four minutes)."""

MOST_UNITS = 1 << 16
"""Units of a budget: with them coordinates stay far from the ends of 64 bits, and of `maxplus.NEVER`."""


class Counter(Protocol):
    """Coordinates of the vectors of the relaxation that count something of which there is only so much.

    A path on which one of them rises above 0 takes more than there is.
    """

    size: int

    @property
    def start_ns(self) -> Sequence[int]:
        """The coordinates before all stages."""
        ...

    def of(self, stage: int, option: Option) -> Sequence[Sequence[int]]:
        """What an option of a stage makes of them: a matrix over (max, +)."""
        ...


class Thrift:
    """The coordinate of one problem with a write budget.

    A unit is what the part writes at least, or more where the budget has many; bytes are rounded down to it.
    """

    size = 1

    def __init__(self, problem: Problem, tolls: Tolls, most_bytes: int) -> None:
        granule = problem.granule_bytes(RegionName.SCRATCH) if problem.target.activations is not None else 1
        self.unit_bytes = max(granule, -(-most_bytes // MOST_UNITS))
        self._most_units, self._tolls = most_bytes // self.unit_bytes, tolls
        self.start_ns = (-self._most_units * NS_PER_UNIT,)

    def of(self, stage: int, option: Option) -> tuple[tuple[int]]:
        """What an option of a stage adds; no more than would exceed every budget."""
        units = self._tolls.written(stage, option) // self.unit_bytes
        return ((min(units, self._most_units + 1) * NS_PER_UNIT,),)


class Holdings:
    """Coordinates for an NPU's weight memory that is too small for all weights.

    The first counts resident weights so far, the second the most that these and those loaded for a tile of some
    stage so far come to, if no more become resident. Bytes are rounded down to units.
    """

    size = 2

    def __init__(self, most_bytes: int) -> None:
        self.unit_bytes = max(1, -(-most_bytes // MOST_UNITS))
        self._most_units = most_bytes // self.unit_bytes
        self.start_ns = (-self._most_units * NS_PER_UNIT,) * 2

    def of(self, _: int, option: Option) -> tuple[tuple[int, int], tuple[int, int]]:
        """What an option makes of them; where it has weights there, more are resident in all later stages."""
        resident, loaded = (
            min(size // self.unit_bytes, self._most_units + 1) * NS_PER_UNIT
            for size in (option.resident_bytes, option.loaded_bytes)
        )
        return (resident, NEVER), (resident + loaded, resident)


def counters_of(problem: Problem, tolls: Tolls) -> tuple[Counter, ...]:
    """The coordinates of a problem: none without a write budget and a crowded weight memory."""
    found: list[Counter] = []
    if (most := problem.most_stored_bytes) is not None:
        found.append(Thrift(problem, tolls, most))
    if is_crowded(problem.target, problem.network):
        found.append(Holdings(problem.weight_memory_bytes))
    return tuple(found)
