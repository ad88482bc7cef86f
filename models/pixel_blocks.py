"""Squares of pixels as blocks of channels and back, as convolutions whose weights are 0 and 1.

DepthToSpace, SpaceToDepth and the Reshapes and Transposes that amount to them put a whole tensor in another order, but
each pixel only within a square. A convolution with one weight of 1 per output does that tile by tile: transposed, its
kernel as large as its stride, it spreads a pixel's channels over a square; with a stride alone it gathers them.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import Index
from ooc_solve.models.vocabulary import Window

_MOST_PRODUCTS = 256
"""Per output element: more would take longer than the layers around it."""

Size = tuple[int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class PixelBlocks:
    """A convolution that puts elements in another order; ``weights`` are ``[oc, kh, kw, ic / groups]`` of 0 and 1."""

    window: Window
    groups: int
    weights: NDArray[np.int8]

    @property
    def products(self) -> int:
        """Products per output element; of a transposed window as large as its stride one tap reaches each."""
        _, *taps, depth = self.weights.shape
        return int(depth if self.window.transposed else prod(taps) * depth)


def blocks_of(order: Index, source: Size) -> PixelBlocks | None:
    """Recognise an order ``[height, width, channels]`` of offsets in a tensor of size ``source``, None if it is none such."""
    found = _spread(order, source) or _gathered(order, source)
    return found if found is not None and found.products <= _MOST_PRODUCTS else None


def _spread(order: Index, source: Size) -> PixelBlocks | None:
    """Channels of a pixel become a square of pixels."""
    (height, width, channels), (rows, columns, depth) = source, order.shape
    tall, wide = rows // height, columns // width
    if (rows, columns, channels) != (tall * height, wide * width, tall * wide * depth) or depth == channels:
        return None
    first = order[:tall, :wide]
    pixel = np.arange(rows)[:, np.newaxis] // tall * width + np.arange(columns) // wide
    expected = pixel[..., np.newaxis] * channels + np.tile(first, (height, width, 1))
    if first.max() >= channels or not np.array_equal(order, expected):
        return None
    is_grouped = np.array_equal(first // (tall * wide), np.broadcast_to(np.arange(depth), first.shape))
    groups = depth if is_grouped else 1
    weights = np.zeros((depth, tall, wide, channels // groups), np.int8)
    y, x, out = np.indices(first.shape)
    weights[out, y, x, first % (channels // groups)] = 1
    return PixelBlocks(Window((tall, wide), (tall, wide), transposed=True), groups, weights)


def _gathered(order: Index, source: Size) -> PixelBlocks | None:
    """A square of pixels becomes the channels of one."""
    (height, width, channels), (rows, columns, depth) = source, order.shape
    tall, wide = height // rows, width // columns
    if (height, width, depth) != (tall * rows, wide * columns, tall * wide * channels) or depth == channels:
        return None
    first = order[0, 0]
    corner = np.arange(rows)[:, np.newaxis] * tall * width + np.arange(columns) * wide
    y, x, channel = first // (width * channels), first // channels % width, first % channels
    expected = corner[..., np.newaxis] * channels + first
    if y.max() >= tall or x.max() >= wide or not np.array_equal(order, expected):
        return None
    is_grouped = np.array_equal(channel, np.arange(depth) // (tall * wide))
    groups = channels if is_grouped else 1
    weights = np.zeros((depth, tall, wide, channels // groups), np.int8)
    weights[np.arange(depth), y, x, channel % (channels // groups)] = 1
    return PixelBlocks(Window((tall, wide), (tall, wide)), groups, weights)
