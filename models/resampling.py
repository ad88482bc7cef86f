"""Which input positions a Resize takes, axis by axis, and how much of each.

The formulas are those of the ONNX operator, every float32 operation rounded on its own, in the order
in which onnxruntime computes them: the reference evaluator of ONNX rounds some halves the other way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import MOST_ELEMENTS

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
    if count > MOST_ELEMENTS:
        raise ValueError(f"an axis must have at most {MOST_ELEMENTS} positions (got {count})")
    if size == count and (scale is None or scale == 1):
        return np.arange(size, dtype=np.int64)
    factor = np.float32(count) / np.float32(size) if scale is None else scale
    real = TRANSFORMATIONS[transformation](np.arange(count, dtype=np.float32), factor, size, count)
    return np.clip(ROUNDINGS[rounding](real.astype(np.float32)), 0, size - 1).astype(np.int64)


def scaled_size(size: int, scale: np.float32) -> int:
    """Return the size of an axis after scaling: rounded down."""
    return int(min(np.floor(np.float32(size) * scale), np.float32(1 << 30)))


@dataclass(frozen=True, slots=True, eq=False)
class LinearTaps:
    """One axis of a linear Resize by a whole factor, as a transposed convolution.

    Its input has ``edges`` more positions at both ends, which repeat the first and the last one. ``weights`` count
    ``parts`` of 1; ``before`` and ``after`` are what the result has too much.
    """

    factor: int
    weights: NDArray[np.int64]
    parts: int
    edges: tuple[int, int]
    before: int
    after: int


def linear_taps(size: int, count: int, transformation: str) -> LinearTaps | None:
    """Return the taps that enlarge an axis of ``size`` to ``count``, None where no whole factor does.

    Output ``q`` lies at ``v = (q + 0.5) / factor - 0.5``, or at ``q / factor`` if asymmetric, and its neighbour ``j``
    has the weight ``1 - |v - j|``, as far as that is above 0.
    """
    factor, rest = divmod(count, size)
    if rest or transformation not in ("half_pixel", "pytorch_half_pixel", "asymmetric"):
        return None
    half = transformation != "asymmetric" and factor > 1
    edges = (int(half), int(factor > 1))
    offsets = np.arange(
        -2 * factor, 2 * factor
    )  # of an output from the place of its neighbour, edge included
    shift = 1 - factor + 2 * factor * edges[0] if half else 0
    weights = 2 * factor - np.abs(2 * offsets + shift)
    kept = offsets[weights > 0]
    before, taps = -int(kept[0]), weights[weights > 0]
    after = (sum(edges) - 1) * factor + len(taps) - before
    return LinearTaps(factor, taps, 2 * factor, edges, before, after)


@dataclass(frozen=True, slots=True, eq=False)
class Neighbour:
    """One of the input positions that every output position along an axis takes, and its weights."""

    positions: NDArray[np.int64]
    weights: Floats


def neighbours(
    size: int, count: int, scale: np.float32 | None, transformation: str, coefficient: float | None
) -> tuple[Neighbour, ...]:
    """Return what ``count`` positions along an axis of ``size`` are sums of, in a linear or a cubic mode.

    An output lies at real position ``v``; with ``t = v - floor(v)`` its neighbours ``floor(v)`` and ``floor(v) + 1``
    have the weights ``1 - t`` and ``t``, or four of them those of the cubic convolution of R. Keys (1981) with
    ``coefficient`` a. What lies outside is the edge.
    """
    if size == count and (scale is None or scale == 1):
        return (Neighbour(np.arange(size, dtype=np.int64), np.ones(size, np.float32)),)
    factor = np.float32(count) / np.float32(size) if scale is None else scale
    real = TRANSFORMATIONS[transformation](np.arange(count, dtype=np.float32), factor, size, count)
    first = np.floor(real)
    t = (real - first).astype(np.float64)
    weights = {0: 1 - t, 1: t} if coefficient is None else _cubic(t, coefficient)
    found = (
        Neighbour(np.clip(first + step, 0, size - 1).astype(np.int64), weight.astype(np.float32))
        for step, weight in weights.items()
    )
    return tuple(neighbour for neighbour in found if neighbour.weights.any())


def _cubic(t: NDArray[np.float64], a: float) -> dict[int, NDArray[np.float64]]:
    """Weights of the neighbours -1, 0, 1 and 2 of positions ``t`` behind neighbour 0."""
    far = {step: np.abs(t - step) for step in (-1, 0, 1, 2)}
    return {
        step: ((a + 2) * x - (a + 3)) * x * x + 1 if step in (0, 1) else a * (((x - 5) * x + 8) * x - 4)
        for step, x in far.items()
    }
