"""The input elements under the windows of an operator, tap by tap."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.vocabulary import Tensor, Window

Array = NDArray[Any]


def taps_of(data: Array, window: Window, output: Tensor, fill: float) -> list[Array]:
    """Return for each tap of a window the ``[height, width, channels]`` input under it."""
    if window.transposed:
        return _transposed_taps(data, window, output, fill)
    top, left, bottom, right = window.pads
    padded = np.pad(data, ((top, bottom), (left, right), (0, 0)), constant_values=fill)
    (down, across), (row_step, column_step) = window.stride, window.dilation
    return [
        padded[
            row * row_step : row * row_step + (output.height - 1) * down + 1 : down,
            column * column_step : column * column_step + (output.width - 1) * across + 1 : across,
        ]
        for row in range(window.kernel[0])
        for column in range(window.kernel[1])
    ]


def _transposed_taps(data: Array, window: Window, output: Tensor, fill: float) -> list[Array]:
    """Return for each tap the input that reaches each output position through it."""
    taps = []
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            tap = np.full((output.height, output.width, data.shape[2]), fill, data.dtype)
            to_rows, from_rows = _reached(window, 0, row, output.height, data.shape[0])
            to_columns, from_columns = _reached(window, 1, column, output.width, data.shape[1])
            tap[np.ix_(to_rows, to_columns)] = data[np.ix_(from_rows, from_columns)]
            taps.append(tap)
    return taps


def _reached(window: Window, axis: int, tap: int, size: int, limit: int) -> tuple[Array, Array]:
    """Return output positions along an axis that a tap reaches, and the input positions it starts from."""
    sources = np.arange(limit)
    targets = sources * window.stride[axis] + tap * window.dilation[axis] - window.pads[axis]
    inside = (targets >= 0) & (targets < size)
    return targets[inside], sources[inside]
