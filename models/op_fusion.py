"""Rewrites of a list of operators that save an operator and change no result."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.vocabulary import UNLIMITED, Function, Op, OpKind, Place, Quantization

Size = tuple[int, int, int]

_CLAMPING = (
    *(OpKind.CONV, OpKind.DEPTHWISE, OpKind.ADD, OpKind.MULTIPLY, OpKind.MAX_POOL, OpKind.AVERAGE_POOL),
)


def fold_pads(
    ops: Iterable[Op], sizes: Mapping[str, Size], zero_points: Mapping[str, int], kept: set[str]
) -> list[Op]:
    """Let convolutions do the padding of a MOVE that feeds them alone.

    Convolutions pad with the zero point, so only pads by the zero point (real 0) can go.
    ``sizes`` are height, width and channels of the tensors; ``kept`` names those that must survive.
    """
    ops = list(ops)
    pads = {
        op.output: op
        for op in ops
        if op.output not in kept and op.fill == zero_points.get(op.inputs[0]) and _pads_of(op, sizes)
    }
    for op in ops:
        if op.kind not in (OpKind.CONV, OpKind.DEPTHWISE) or op.window.transposed:
            for name in op.inputs:
                pads.pop(name, None)
    return [_with_pad(op, pads.get(op.inputs[0]), sizes) for op in ops if op.output not in pads]


def _pads_of(op: Op, sizes: Mapping[str, Size]) -> tuple[int, int, int, int] | None:
    """Return top, left, bottom and right of a MOVE that only pads rows and columns; else None."""
    if op.kind is not OpKind.MOVE or len(op.places) != 1 or op.edges:
        return None
    (top, left, _), source, output = (-s for s in op.places[0].start), sizes[op.inputs[0]], sizes[op.output]
    pads = (top, left, output[0] - source[0] - top, output[1] - source[1] - left)
    plain = op.places[0] == Place(start=(-top, -left, 0)) and source[2] == output[2]
    return pads if plain and min(pads) >= 0 else None


def _with_pad(op: Op, pad: Op | None, sizes: Mapping[str, Size]) -> Op:
    if pad is None:
        return op
    top, left, bottom, right = (
        a + b for a, b in zip(op.window.pads, _pads_of(pad, sizes) or op.window.pads, strict=True)
    )
    return replace(op, inputs=pad.inputs, window=replace(op.window, pads=(top, left, bottom, right)))


def fuse_clamps(
    ops: Iterable[Op], quantizations: Mapping[str, Quantization | None], kept: set[str]
) -> list[Op]:
    """Merge a LOOKUP that only clamps (a Relu or Clip between equal scales) into its producer."""
    ops = list(ops)
    readers = Counter(name for op in ops for name in op.inputs)
    place = {op.output: position for position, op in enumerate(ops)}
    merged: set[int] = set()
    for position, op in enumerate(ops):
        if op.kind is not OpKind.LOOKUP or op.weights is None or op.inputs[0] not in place:
            continue
        before = place[op.inputs[0]]
        producer = ops[before]
        limits = clamp_of(op.weights) if op.function is None else float_limits(op)
        fits = producer.kind in _CLAMPING and readers[producer.output] == 1 and producer.output not in kept
        if fits and limits and quantizations[op.output] == quantizations[producer.output]:
            low, high = (min(max(bound, limits[0]), limits[1]) for bound in producer.clamp)
            ops[before] = replace(producer, output=op.output, clamp=(low, high))
            place[op.output] = before
            merged.add(position)
    return [op for position, op in enumerate(ops) if position not in merged]


def clamp_of(table: NDArray[np.generic]) -> tuple[int, int] | None:
    """Return the limits if a LOOKUP table maps every int8 value to itself, but limited; else None."""
    if table.ndim != 1:
        return None
    values = np.arange(-128, 128)
    mapped = table.view(np.int8)[values.astype(np.uint8)].astype(int)
    low, high = int(mapped.min()), int(mapped.max())
    return (low, high) if np.array_equal(mapped, np.clip(values, low, high)) else None


def float_limits(op: Op) -> tuple[int, int] | None:
    """Return the limits of a CLIP of float32 by whole numbers, or none; else None."""
    if op.function is not Function.CLIP or op.weights is None or op.weights.ndim != 1:
        return None
    limits = [float(bound) for bound in op.weights.astype(np.float32)]
    if not all(bound in (-math.inf, math.inf) or bound == round(bound) for bound in limits):
        return None
    low, high = max(limits[0], UNLIMITED[0]), min(limits[1], UNLIMITED[1])
    fit = limits[0] in (-math.inf, low) and limits[1] in (math.inf, high)
    return (int(low), int(high)) if fit and low <= high else None


def without_unused(ops: Iterable[Op], kept: set[str]) -> list[Op]:
    """Drop operators from which no kept tensor follows."""
    needed, used = set(kept), []
    for op in reversed(list(ops)):
        if op.output in needed:
            needed.update(op.inputs)
            used.append(op)
    return used[::-1]
