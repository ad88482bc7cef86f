"""Budgets: what they say of the makespan, and what a problem makes of a lifetime."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models.energy import Traffic, energy_nj
from ooc_solve.models.limits import NO_LIMITS, Limits
from ooc_solve.models.problem import MOST_WRITTEN_BYTES, Problem
from ooc_solve.models.target import list_targets, load_storage
from ooc_solve.models.vocabulary import Target
from ooc_solve.models.wear import lifetime_years


@given(
    target=st.sampled_from(list_targets()),
    compute=st.integers(0, 10**9),
    wait=st.integers(0, 10**9),
    less=st.integers(0, 10**6),
)
def test_the_longest_makespan_keeps_the_energy_budget(
    target: Target, compute: int, wait: int, less: int
) -> None:
    """The makespan allowed is the last one whose energy is within the budget."""
    traffic = tuple(Traffic(64, 32, 1, 1) for _ in target.stores)
    budget = max(0, energy_nj(target, compute, compute + wait, traffic) - less)
    longest = Limits(energy_nj=budget).makespan_ns(target, compute, traffic)
    assert longest is not None
    if longest >= compute:
        assert energy_nj(target, compute, longest, traffic) <= budget
        assert energy_nj(target, compute, longest + 1, traffic) > budget


def test_the_tighter_budget_counts(tiny_problem: Problem) -> None:
    """Latency bounds the makespan by itself; without budgets nothing does."""
    target, traffic = tiny_problem.target, (Traffic(),)
    assert NO_LIMITS.makespan_ns(target, 5, traffic) is None
    assert Limits(latency_ns=70).makespan_ns(target, 5, traffic) == 70
    assert Limits(latency_ns=70, energy_nj=10**6).makespan_ns(target, 5, traffic) == 70


def test_a_lifetime_is_a_write_budget_of_a_levelled_part(tiny_problem: Problem) -> None:
    """The card may be written as many bytes as let it live ten years, or fewer if fewer are allowed."""
    lasting = replace(tiny_problem, limits=Limits(lifetime_years=10.0), inferences_per_day=100.0)
    most = lasting.most_written_bytes
    assert most is not None
    years = lifetime_years(lasting.activation_store.storage, most, 0, 100.0)
    assert years is not None
    assert years >= 10
    assert replace(lasting, write_budget_bytes=5).most_written_bytes == 5
    brief = replace(tiny_problem, limits=Limits(lifetime_years=1e-300))
    assert brief.most_written_bytes == MOST_WRITTEN_BYTES  # no larger number reaches the solver
    assert lasting.most_programs is None
    assert lasting.bare == replace(tiny_problem, target=lasting.target)


def test_a_lifetime_of_bare_flash_counts_programs(tiny_problem: Problem) -> None:
    """100 000 cycles at 1000 inferences a day last 0.2 years with one program each, 0.3 with none."""
    store = replace(tiny_problem.target.weights, storage=load_storage("w25q128jv"))
    target = replace(tiny_problem.target, weights=store, activations=store)
    problem = replace(tiny_problem, target=target)
    lasting, lasting_longer = (replace(problem, limits=Limits(lifetime_years=years)) for years in (0.2, 0.3))
    assert lasting.most_programs == Fraction(100_000) / (200 * Fraction("365.25"))
    assert lasting.allows_writes
    assert not lasting_longer.allows_writes
    assert replace(lasting_longer, scratch_ring_bytes=2 << 16).allows_writes
    assert replace(problem, limits=Limits(lifetime_years=0.3)).most_written_bytes is None


def test_budgets_are_not_negative() -> None:
    """A budget below nothing is a mistake."""
    with pytest.raises(ValueError, match="must not be negative"):
        Limits(latency_ns=-1)
