"""Energy and writes as time: what each option costs beside the makespan, in the ns that would cost as much.

Energy is ``rate * makespan`` plus what each option takes whatever the schedule (`models.energy`). Divided
by the rate it is a makespan plus a toll per option, so a path through the stages that pays its tolls
has the energy as its length, and the relaxation and the beam search need nothing else to be bounded
and guided by energy. Latency has no tolls.

Under a write budget B each byte written may have a price q in ns as well. A plan that writes no more than B
has a path at most q B longer than without it, so what is proven of lengths with the price, less q B,
holds of all plans within the budget, whatever q is (Lagrange's relaxation of the budget). So may each byte of
an NPU's weight memory that resident weights take.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ooc_solve.models.energy import Rates
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Objective
from ooc_solve.solver.fused import operands
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.selection import whole_transfers


@dataclass(frozen=True, slots=True)
class Prices:
    """What a byte costs in ns: ``written`` to storage, and ``resident`` in an NPU's weight memory."""

    written: int = 0
    resident: int = 0


NO_PRICES = Prices()


class Tolls:
    """Tolls of the options of one problem, and what lengths of paths mean in terms of its objective.

    Bytes have ``prices`` in problems with a budget of them.
    """

    def __init__(self, problem: Problem, prices: Prices = NO_PRICES) -> None:
        self.problem, self.prices = problem, prices
        self._timed = problem.objective is not Objective.ENERGY
        self.free = self._timed and prices == NO_PRICES
        self._allowed_ns = prices.resident * problem.weight_memory_bytes
        if prices.written:
            most = problem.most_stored_bytes
            if most is None:
                raise ValueError("bytes written have a price only where there is a budget of them")
            self._allowed_ns += prices.written * most
        self._rates = Rates.of(problem.target)
        self._whole = {whole.tensor: whole for whole in whole_transfers(problem)}
        self._first_use: dict[str, int] = {}
        for stage, op in enumerate(problem.network.ops):
            for name in op.inputs:
                self._first_use.setdefault(name, stage)

    def of(self, stage: int, option: Option) -> int:
        """Toll of an option of a stage in ns, rounded down."""
        if self.free:
            return 0
        own = 0 if self._timed else int(self.fixed_pj(stage, option) / self._rates.per_ns)
        own += self.prices.resident * option.resident_bytes
        return own + (self.prices.written * self.written(stage, option) if self.prices.written else 0)

    def written(self, stage: int, option: Option) -> int:
        """Bytes that an option writes, an output of the network that it leaves in SRAM included."""
        whole = (self._whole[name].bytes_written for name in self._kept_ends(stage, option))
        return option.bytes_written + sum(whole)

    def fixed_pj(self, stage: int, option: Option) -> Fraction:
        """Least energy of an option apart from that of the makespan."""
        own = self._rates.per_compute_ns * option.compute_ns + option.storage_pj
        return own + sum(self._whole[name].storage_pj for name in self._kept_ends(stage, option))

    def _kept_ends(self, stage: int, option: Option) -> list[str]:
        """Network inputs and outputs that are moved whole because the option finds or leaves them in SRAM."""
        network, behind = self.problem.network, stage + option.operators
        names = operands(network, stage, option.operators)
        kept = {name for name, residence in zip(names, option.inputs, strict=True) if residence == KEPT}
        loaded = kept & set(network.inputs)  # an output that is read again was counted where it was made
        found = [name for name in loaded if stage <= self._first_use[name] < behind]
        if option.output == KEPT:
            found.append(network.ops[behind - 1].output)
        return [name for name in found if name in self._whole]

    def limit(self, value: int) -> int:
        """Length that no plan better than ``value`` reaches: its path is shorter."""
        if self._timed:
            return value + self._allowed_ns
        return int((value - 1) * 1000 / self._rates.per_ns) + 1 + self._allowed_ns

    def value(self, length: int) -> int:
        """Least value of a plan whose path is no shorter than ``length``."""
        length = max(0, length - self._allowed_ns)
        if self._timed:
            return length
        least = length * self._rates.per_ns / 1000
        return -(-least.numerator // least.denominator)
