"""Which input positions a nearest-neighbour Resize takes, axis by axis.

The formulas are those of the ONNX operator, every float32 operation rounded on its own, in the order
in which onnxruntime computes them: the reference evaluator of ONNX rounds some halves the other way.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

_ONE, _HALF = np.float32(1), np.float32(0.5)


def _align_corners(at: Floats, scale: np.float32, size: int, count: int) -> Floats:
    if count == 1:
        return np.zeros_like(at)
    return np.asarray(at * np.float32(size - 1) / np.float32(count - 1))


TRANSFORMATIONS: dict[str, Callable[[Floats, np.float32, int, int], Floats]] = {
    "asymmetric": lambda at, scale, size, count: at / scale,
    "half_pixel": lambda at, scale, size, count: (at + _HALF) / scale - _HALF,
    "pytorch_half_pixel": lambda at, scale, size, count: (
        (at + _HALF) / scale - _HALF if count > 1 else np.zeros_like(at)
    ),
    "tf_half_pixel_for_nn": lambda at, scale, size, count: (at + _HALF) / scale,
    "align_corners": _align_corners,
}
"""From output positions to real input positions."""

ROUNDINGS: dict[str, Callable[[Floats], Floats]] = {
    "floor": np.floor,
    "ceil": np.ceil,
    "round_prefer_floor": lambda real: np.ceil(real - _HALF),
    "round_prefer_ceil": lambda real: np.floor(real + _HALF),
}
"""From real positions to whole ones."""


def nearest_positions(
    size: int, count: int, scale: np.float32 | None, transformation: str, rounding: str
) -> NDArray[np.int64]:
    """Return the input position of each of ``count`` output positions along an axis of ``size``.

    Without a ``scale``, it is the ratio of the sizes.
    """
    if size == count and (scale is None or scale == 1):
        return np.arange(size, dtype=np.int64)
    factor = np.float32(count) / np.float32(size) if scale is None else scale
    real = TRANSFORMATIONS[transformation](np.arange(count, dtype=np.float32), factor, size, count)
    return np.clip(ROUNDINGS[rounding](real.astype(np.float32)), 0, size - 1).astype(np.int64)


def scaled_size(size: int, scale: np.float32) -> int:
    """Return the size of an axis after scaling: rounded down."""
    return int(np.floor(np.float32(size) * scale))
