"""Budgets that a plan must keep to, whatever it is judged by."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ooc_solve.models.energy import Rates, Traffic
from ooc_solve.models.vocabulary import Target


@dataclass(frozen=True, slots=True)
class Limits:
    """Most latency, most energy, least lifetime; None: no such budget."""

    latency_ns: int | None = None
    energy_nj: int | None = None
    lifetime_years: float | None = None

    def __post_init__(self) -> None:
        for value in (self.latency_ns, self.energy_nj, self.lifetime_years):
            if value is not None and value < 0:
                raise ValueError(f"a budget must not be negative (got {value})")

    def makespan_ns(self, target: Target, compute_ns: int, traffic: tuple[Traffic, ...]) -> int | None:
        """The longest makespan that keeps to both budgets once the tasks are known, None: any does."""
        found = self.latency_ns
        if self.energy_nj is not None:
            rates = Rates.of(target)
            left = 1000 * Fraction(self.energy_nj) - rates.fixed_pj(compute_ns, traffic)
            longest = left.numerator * rates.per_ns.denominator // (left.denominator * rates.per_ns.numerator)
            found = longest if found is None else min(found, longest)
        return found


NO_LIMITS = Limits()
