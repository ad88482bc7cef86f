"""Budgets as people write them."""

from __future__ import annotations

from fractions import Fraction

import pytest

from ooc_solve.models.vocabulary import InputError
from ooc_solve.quantities import LatencyBudget, energy_nj


def test_latencies() -> None:
    """A time is exact to the nanosecond, and an x makes a factor."""
    assert LatencyBudget.read("80ms") == LatencyBudget(ns=80_000_000)
    assert LatencyBudget.read("0.2 s") == LatencyBudget(ns=200_000_000)
    assert LatencyBudget.read("1.1x") == LatencyBudget(factor=Fraction(11, 10))


def test_energies() -> None:
    """Energies are exact to the nanojoule."""
    assert energy_nj("20mJ") == 20_000_000
    assert energy_nj("1.5uJ") == 1_500


@pytest.mark.parametrize("text", ["", "80", "ms", "-1ms", "1e3ms", "0.5x", "9999999x", "nan", "99999999999s"])
def test_what_is_no_latency(text: str) -> None:
    """The message says what a latency looks like, or what a factor must be."""
    with pytest.raises(InputError, match=r"a latency looks like|must be at least 1"):
        LatencyBudget.read(text)


@pytest.mark.parametrize("text", ["", "20", "20W", "-2mJ", "99999999999J"])
def test_what_is_no_energy(text: str) -> None:
    """The message says what an energy looks like."""
    with pytest.raises(InputError, match="an energy looks like"):
        energy_nj(text)
