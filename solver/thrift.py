"""Bytes written as one more clock, which runs out where a write budget does.

A path through the stages of the relaxation carries what its options write, as a coordinate of its vector. It
begins below 0 by the budget and each option adds its own bytes, so it is above 0 behind a path that no plan
within the budget takes, and then by so much that no makespan comes near it: the path counts as longer than
anything, and is ruled out like one that takes too long.
"""

from __future__ import annotations

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import RegionName
from ooc_solve.solver.options import Option
from ooc_solve.solver.tolls import Tolls

NS_PER_UNIT = 1 << 38
"""What a unit above the budget counts: no makespan that is of interest takes so long (four minutes)."""

MOST_UNITS = 1 << 16
"""Units of a budget: with them coordinates stay far from the ends of 64 bits, and of `maxplus.NEVER`."""


class Thrift:
    """The coordinate of one problem with a write budget.

    A unit is what the part writes at least, or more where the budget has many; bytes are rounded down to it.
    """

    def __init__(self, problem: Problem, tolls: Tolls, most_bytes: int) -> None:
        granule = problem.granule_bytes(RegionName.SCRATCH) if problem.target.activations is not None else 1
        self.unit_bytes = max(granule, -(-most_bytes // MOST_UNITS))
        self.start_ns = -(most_bytes // self.unit_bytes) * NS_PER_UNIT
        self._most_units, self._tolls = most_bytes // self.unit_bytes, tolls

    def of(self, stage: int, option: Option) -> int:
        """What an option of a stage adds; no more than would exceed every budget."""
        units = self._tolls.written(stage, option) // self.unit_bytes
        return min(units, self._most_units + 1) * NS_PER_UNIT


def thrift_of(problem: Problem, tolls: Tolls) -> Thrift | None:
    """The coordinate of a problem; None without a write budget."""
    most = problem.most_stored_bytes
    return None if most is None else Thrift(problem, tolls, most)
