"""Views and strides say exactly where elements lie."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models.layout import View, by_channel, is_sequential, nchw, sequential, strides_of


@st.composite
def permutations(draw: st.DrawFn) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """The index of a transposed tensor of up to five axes."""
    shape = draw(st.lists(st.integers(1, 4), min_size=1, max_size=5))
    return sequential(shape).transpose(draw(st.permutations(range(len(shape)))))


@given(index=permutations())
def test_strides_read_what_the_index_says(index: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    """Walking the loops of ``strides_of`` gives the index, with no loop that could be merged."""
    loops = strides_of(index)
    assert loops is not None
    offsets = np.zeros(1, np.int64)
    for size, stride in loops:
        offsets = (offsets[:, None] + stride * np.arange(size)).reshape(-1)
    assert np.array_equal(offsets, index.reshape(-1))
    assert all(outer[1] != inner[0] * inner[1] for outer, inner in pairwise(loops))


def test_orders_without_strides_are_recognised() -> None:
    """An order that no nest of loops gives, and one that does not begin at 0, have no strides."""
    assert strides_of(np.array([0, 2, 1, 3, 5, 4])) is None
    assert strides_of(np.array([1, 0])) is None
    assert strides_of(np.array([0])) == ()


@given(index=permutations())
def test_scatter_puts_what_the_index_finds(index: np.ndarray[tuple[int, ...], np.dtype[np.int64]]) -> None:
    """What is stored through a view is read back through it."""
    values = np.random.default_rng(index.size).integers(-128, 128, index.shape)
    view = View("t", index)
    assert np.array_equal(view.scatter(values).reshape(-1)[index], values)


def test_nchw_shows_channels_innermost() -> None:
    """The graph's element (c, h, w) lies at (h, w, c)."""
    index = nchw(2, 3, 4)
    assert index.shape == (1, 4, 2, 3)
    assert index[0, 3, 1, 2] == (1 * 3 + 2) * 4 + 3
    assert is_sequential(index[0].transpose(1, 2, 0))


def test_by_channel_knows_functions_of_the_channel() -> None:
    """Operands that vary along height or width are not one value per channel."""
    index = nchw(2, 3, 4)
    per_channel = np.arange(4.0).reshape(4, 1, 1)
    assert np.array_equal(by_channel(per_channel, index, 4), [0, 1, 2, 3])  # type: ignore[arg-type]
    assert np.array_equal(by_channel(np.array(7.0), index, 4), [7])  # type: ignore[arg-type]
    assert by_channel(np.arange(3.0), index, 4) is None
    assert by_channel(np.arange(5.0), index, 4) is None
