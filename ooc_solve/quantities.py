"""Budgets as people write them: a latency such as ``80ms`` or ``1.1x``, an energy such as ``20mJ``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction

from ooc_solve.models.vocabulary import InputError

NUMBER = r"(\d+(?:\.\d+)?)"
TIMES_NS = {"ns": 1, "us": 10**3, "ms": 10**6, "s": 10**9}
ENERGIES_NJ = {"nJ": 1, "uJ": 10**3, "mJ": 10**6, "J": 10**9}
MOST = 1 << 53
MOST_FACTOR = 1_000_000


@dataclass(frozen=True, slots=True)
class LatencyBudget:
    """Most latency: in ns, or as a factor of the least latency; the other one is None."""

    ns: int | None = None
    factor: Fraction | None = None

    @classmethod
    def read(cls, text: str) -> LatencyBudget:
        """The budget that a text such as ``80ms``, ``0.2s`` or ``1.1x`` means.

        Raises
        ------
        InputError
            If it does not read like one, or the factor is below 1 or beyond all measure.
        """
        match = re.fullmatch(NUMBER + r"\s*[xX]", text.strip())
        if match is None:
            return cls(ns=_amount(text, TIMES_NS, "a latency looks like 80ms, 0.2s or 1.1x"))
        if not 1 <= Fraction(match[1]) <= MOST_FACTOR:
            raise InputError(
                f"a factor of the least latency must be at least 1, and at most {MOST_FACTOR} (got '{text}')"
            )
        return cls(factor=Fraction(match[1]))


def energy_nj(text: str) -> int:
    """The nJ that a text such as ``20mJ`` means.

    Raises
    ------
    InputError
        If it does not read like one.
    """
    return _amount(text, ENERGIES_NJ, "an energy looks like 20mJ or 500uJ")


def _amount(text: str, units: dict[str, int], like: str) -> int:
    match = re.fullmatch(NUMBER + r"\s*([a-zA-Z]+)", text.strip())
    if match is None or match[2] not in units:
        raise InputError(f"{like} (got '{text}')")
    found = int(Fraction(match[1]) * units[match[2]])
    if found > MOST:
        raise InputError(f"{like}, and is not as large as '{text}'")
    return found
