"""Where the elements of a graph's tensor lie in memory: index views over dense tensors.

The graph speaks in shapes such as ``1 x channels x height x width`` and moves data with
Transpose and Reshape; the runtime stores every activation once, dense, channels innermost.
A view says, for every position of the graph's tensor, which stored element it is. Layout
operators then change views and move nothing; only an operator that needs another order
than the stored one costs a copy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

Index = NDArray[np.int64]


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A graph's tensor as offsets into a stored tensor.

    ``index`` has the graph's shape; its entries are a permutation of ``0 .. elements - 1``.
    ``offset`` is what the graph's integers are above the stored ones (128 where the graph
    says uint8, because activations are always stored as int8).
    """

    tensor: str
    index: Index
    offset: int = 0

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape in the graph."""
        return self.index.shape

    @property
    def is_stored_order(self) -> bool:
        """Whether reading the view row by row reads memory from first to last."""
        return is_sequential(self.index)

    def with_index(self, index: Index) -> View:
        """Return the same data seen through another index array."""
        return replace(self, index=index)

    def transposed(self, order: Sequence[int] | None) -> View:
        """Return the view with permuted axes (reversed ones without an order, as in ONNX)."""
        return self.with_index(np.transpose(self.index, None if order is None else tuple(order)))

    def scatter(self, values: NDArray[np.generic]) -> NDArray[np.generic]:
        """Return the flat stored tensor that shows ``values`` through this view."""
        stored = np.empty(self.index.size, values.dtype)
        stored[self.index.reshape(-1)] = values.reshape(-1)
        return stored


MOST_ELEMENTS = 1 << 24
"""Of one activation: far above what any microcontroller stores. A damaged file must not exhaust the host."""


def sequential(shape: Sequence[int]) -> Index:
    """Return the index of a tensor stored exactly as the graph writes it.

    Raises ``ValueError`` for more than ``MOST_ELEMENTS``.
    """
    if prod(map(int, shape)) > MOST_ELEMENTS:
        raise ValueError(f"a tensor must have at most {MOST_ELEMENTS} elements (got shape {list(shape)})")
    return np.arange(int(np.prod(shape)), dtype=np.int64).reshape(tuple(shape))


def as_size(index: Index) -> Index:
    """Return an index as ``[height, width, channels]`` by its last axes, the other ones being rows."""
    padded = (1, 1, 1, *index.shape)
    return index.reshape(int(np.prod(padded[:-2])), padded[-2], padded[-1])


def is_sequential(index: Index) -> bool:
    """Whether an index counts 0, 1, 2, ... in row-major order."""
    return bool(np.array_equal(index.reshape(-1), np.arange(index.size)))


def nchw(height: int, width: int, channels: int) -> Index:
    """Return the ``1 x channels x height x width`` index of a stored ``height x width x channels`` tensor."""
    return sequential((height, width, channels)).transpose(2, 0, 1)[np.newaxis]


def by_channel(values: NDArray[np.generic], index: Index, channels: int) -> NDArray[np.generic] | None:
    """Bring an operand of an elementwise operator into one value per stored channel.

    ``values`` broadcasts to the graph's shape (that of ``index``). Returns ``[1]`` for a scalar,
    ``[channels]``, or None when the operand is no function of the stored channel.
    """
    if values.size == 1:
        return values.reshape(1)
    try:
        spread = np.broadcast_to(values, index.shape).reshape(-1)
    except ValueError:
        return None
    channel = index.reshape(-1) % channels
    result = np.empty(channels, values.dtype)
    result[channel] = spread
    return result if np.array_equal(result[channel], spread) else None


def strides_of(order: Index) -> tuple[tuple[int, int], ...] | None:
    """Write a reading order as nested loops ``(size, stride)``, outermost first.

    ``order`` lists stored offsets in the order wanted. Axes that run on from one another
    are merged. None when no nest of loops from offset 0 gives this order.
    """
    rest = order.reshape(-1)
    if rest.size == 0 or rest[0] != 0:
        return None
    loops: list[tuple[int, int]] = []
    while rest.size > 1:
        size, stride = _innermost_loop(rest)
        blocks = rest.reshape(-1, size) if rest.size % size == 0 else None
        if blocks is None or not np.array_equal(
            blocks, blocks[:, :1] + stride * np.arange(size, dtype=np.int64)
        ):
            return None
        loops.insert(0, (size, stride))
        rest = blocks[:, 0]
    return tuple(loops)


def _innermost_loop(order: Index) -> tuple[int, int]:
    """Return length and stride of the longest run of equal steps at the start."""
    steps = np.diff(order)
    breaks = np.flatnonzero(steps != steps[0])
    return (int(breaks[0]) + 1 if breaks.size else order.size), int(steps[0])
