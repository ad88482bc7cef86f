"""Rungs do not depend on the SRAM that is asked for, and what can be done on one can be done above it."""

from __future__ import annotations

from itertools import pairwise
from math import inf

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.ladder import MOST_PARTS, RISE, Block, at_size, blocks, offering, rungs


def problem_of(sram_bytes: int) -> Problem:
    """A small network in so much SRAM."""
    return Problem(zoo_network("ds_cnn"), load_target("f746-sd"), sram_bytes, IoPlace.STORAGE)


@given(small=st.integers(2000, 286_720), large=st.integers(2000, 286_720))
def test_more_sram_only_adds_blocks(small: int, large: int) -> None:
    """The blocks for some SRAM are the last ones of those for more, and the SRAM lies in the first."""
    small, large = sorted((small, large))
    few, many = blocks(problem_of(small)), blocks(problem_of(large))
    assert many[len(many) - len(few) :] == few
    assert few[0].low <= small < few[0].high
    assert all(upper.low == lower.high for upper, lower in pairwise(few))


def test_the_full_size_is_a_rung() -> None:
    """All of the board's SRAM is a block of one size."""
    full = load_target("f746-sd").board.usable_bytes
    first = blocks(problem_of(full))[0]
    assert (first.low, first.top) == (full, full)
    assert rungs(problem_of(full))[0] == full


@given(low=st.integers(300, 40_000), parts=st.integers(1, 900), rise=st.floats(0, 5))
def test_sizes_of_a_block(low: int, parts: int, rise: float) -> None:
    """Rungs go down from below the next block to the lowest size, in units, evenly and not too many."""
    block = Block(8 * low, 8 * (low + parts), 8)
    sizes = block.sizes(rise)
    assert sizes[-1] == block.low
    assert sizes[0] <= block.top < block.high
    assert all(size % 8 == 0 for size in sizes)
    assert list(sizes) == sorted(set(sizes), reverse=True)
    assert len(sizes) <= min(MOST_PARTS, parts)
    assert len(sizes) >= min(MOST_PARTS, parts, int(rise / RISE))
    assert block.sizes(inf) == block.sizes(1e6)


@given(
    low=st.integers(300, 40_000),
    parts=st.integers(1, 900),
    rise=st.floats(0, 5),
    fits=st.sets(st.integers(0, 41_000)),
)
def test_rungs_come_down_to_thresholds(low: int, parts: int, rise: float, fits: set[int]) -> None:
    """There are as many rungs, each at the highest threshold above the next, or where it was."""
    block = Block(8 * low, 8 * (low + parts), 8)
    even, thresholds = block.sizes(rise)[::-1], {8 * size for size in fits}
    snapped = block.sizes(rise, thresholds)[::-1]
    assert len(snapped) == len(even)
    assert snapped[0] == even[0]
    for below, size, now in zip(even, even[1:], snapped[1:], strict=False):
        between = [t for t in thresholds if below < t <= size]
        assert now == (max(between) if between else size)


@pytest.mark.parametrize(("low", "high"), [(5120, 6144), (8192, 10240), (49152, 57344)])
def test_less_sram_of_a_block_offers_no_more(low: int, high: int) -> None:
    """Every option on a rung is one on the rungs above it in the block."""
    more = [set(options) for options in space_of(problem_of(high - 8)).options]
    for size in (low, low + 8, (low + high) // 2):
        assert offering(problem_of(size)).sram_bytes == low
        less = space_of(at_size(problem_of(high), size)).options
        assert all(set(options) <= above for options, above in zip(less, more, strict=True))
