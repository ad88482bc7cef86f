"""Wear: which writes hit which blocks, and how long a part lasts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models.target import load_storage
from ooc_solve.models.wear import (
    block_programs,
    endurance_of,
    is_levelled,
    lifetime_years,
    most_stress,
    wear_block_bytes,
)

CARD = load_storage("sd-class10-tlc-32g")
NOR = load_storage("w25q128jv")
NAND = load_storage("w25n01gv")
FRAM = load_storage("mb85rs4mt")
PSRAM = load_storage("aps6404l")


def test_levelled_card() -> None:
    """SD: 32 GB x 3000 cycles / 4 are 24 TB; 1 MB per inference, 65 536 a day: 1.0026 years."""
    assert is_levelled(CARD)
    assert wear_block_bytes(CARD) is None
    assert lifetime_years(CARD, 1_000_000, 0, 65_536) == pytest.approx(24_000_000 / 65_536 / 365.25)


def test_the_hottest_block_decides() -> None:
    """NOR: one program per inference lasts 100 000 inferences however few the bytes; NAND amplifies by 1.1."""
    assert lifetime_years(NOR, 1, 1, 100) == pytest.approx(1_000 / 365.25)
    assert lifetime_years(NOR, 65_536, 1, 100) == pytest.approx(1_000 / 365.25)
    assert lifetime_years(NAND, 1, 3, 10) == pytest.approx(100_000 / 3.3 / 10 / 365.25)


def test_what_does_not_wear() -> None:
    """FRAM and PSRAM never wear out, and no part does where nothing is written or nothing runs."""
    for part in (FRAM, PSRAM):
        assert endurance_of(part) is None
        assert lifetime_years(part, 10**9, 10**9, 1e6) is None
        assert most_stress(part, 100.0, 1e6) is None
    assert lifetime_years(CARD, 0, 0, 1000) is None
    assert lifetime_years(CARD, 1, 0, 0) is None


def test_requests_hit_every_block_they_touch() -> None:
    """A request counts once for each block it touches, those at its ends included."""
    found = block_programs([(0, 10), (8, 2), (9, 2), (40, 1)], 10)
    assert dict(found) == {0: 3, 1: 1, 4: 1}


@given(
    part=st.sampled_from([CARD, NOR, NAND]),
    years=st.floats(0.01, 1000),
    rate=st.floats(0.01, 1e6),
)
def test_the_most_stress_is_the_last_that_lives_long_enough(part: object, years: float, rate: float) -> None:
    """What is allowed for a lifetime lasts as long, and one byte or program more does not."""
    assert isinstance(part, type(CARD))
    found = most_stress(part, years, rate)
    assert found is not None
    most = int(found)

    def lasts(stress: int) -> float:
        found = lifetime_years(part, stress, stress, rate)
        return float("inf") if found is None else found

    assert lasts(most) >= years * (1 - 1e-12)
    assert lasts(most + 1) < years * (1 + 1e-12)


def test_negative_figures_are_refused() -> None:
    """Less than nothing cannot be written."""
    with pytest.raises(ValueError, match="must not be negative"):
        lifetime_years(CARD, -1, 0, 1)
