"""Energy as time: what each option costs beside the makespan, in the ns that would cost as much.

Energy is ``rate * makespan`` plus what each option takes whatever the schedule (`models.energy`). Divided
by the rate it is a makespan plus a toll per option, so a path through the stages that pays its tolls
has the energy as its length, and the relaxation and the beam search need nothing else to be bounded
and guided by energy. Latency has no tolls.
"""

from __future__ import annotations

from fractions import Fraction

from ooc_solve.models.energy import Rates
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Objective
from ooc_solve.solver.fused import operands
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.selection import whole_transfers


class Tolls:
    """Tolls of the options of one problem, and what lengths of paths mean in terms of its objective."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.free = problem.objective is not Objective.ENERGY
        self._rates = Rates.of(problem.target)
        self._whole = {whole.tensor: whole.storage_pj for whole in whole_transfers(problem)}
        self._first_use: dict[str, int] = {}
        for stage, op in enumerate(problem.network.ops):
            for name in op.inputs:
                self._first_use.setdefault(name, stage)

    def of(self, stage: int, option: Option) -> int:
        """Toll of an option of a stage in ns, rounded down."""
        if self.free:
            return 0
        return int(self.fixed_pj(stage, option) / self._rates.per_ns)

    def fixed_pj(self, stage: int, option: Option) -> Fraction:
        """Least energy of an option apart from that of the makespan."""
        own = self._rates.per_compute_ns * option.compute_ns + option.storage_pj
        return own + sum(self._whole[name] for name in self._kept_ends(stage, option))

    def _kept_ends(self, stage: int, option: Option) -> list[str]:
        """Network inputs and outputs that are moved whole because the option finds or leaves them in SRAM."""
        network, behind = self.problem.network, stage + option.operators
        names = operands(network, stage, option.operators)
        kept = {name for name, residence in zip(names, option.inputs, strict=True) if residence == KEPT}
        found = [name for name in kept if stage <= self._first_use[name] < behind]
        if option.output == KEPT:
            found.append(network.ops[behind - 1].output)
        return [name for name in found if name in self._whole]

    def limit(self, value: int) -> int:
        """Length that no plan better than ``value`` reaches: its path is shorter."""
        if self.free:
            return value
        return int((value - 1) * 1000 / self._rates.per_ns) + 1

    def value(self, length: int) -> int:
        """Least value of a plan whose path is no shorter than ``length``."""
        if self.free:
            return length
        least = length * self._rates.per_ns / 1000
        return -(-least.numerator // least.denominator)
