"""What operators of float32 tensors compute, exactly: every operation rounded to float32, in one order.

The order is the same however an operator is cut, so that tiles, and sums over some of the input channels at a
time, give the bits of the whole:

========== =====================================================================================
CONV       ``y = clamp(sum + bias)``; the sum starts at 0 and takes the products ``x * w`` input channel by
           input channel, within a channel row by row and column by column of the window; taps in the
           padding contribute nothing. DEPTHWISE likewise, over its one channel
AVERAGE    ``y = clamp(sum / float(count))``, the sum over the window row by row, ``count`` as for int8
_POOL
MAX_POOL   ``y = clamp(max(x))`` over the elements inside the input
ADD        ``y = clamp(a + b)``
MULTIPLY   ``y = clamp(a * b)``
MATMUL     ``y = clamp(sum)``; the sum starts at 0 and takes the products in the order of ``a``'s channels
LOOKUP     ``y = function(x)`` with the operator's parameters (``float_functions``)
SOFTMAX    per pixel: ``t = exp(x - max(x))``, ``total`` their sum in channel order, ``y = t / total``
========== =====================================================================================

onnxruntime adds in other orders, so results differ from its own in the last bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.float_functions import apply, exponential
from ooc_solve.models.taps import taps_of
from ooc_solve.models.vocabulary import UNLIMITED, Op, OpKind, Tensor

Array = NDArray[Any]
Floats = NDArray[np.float32]
Kernel = Callable[[Op, list[Array], list[Tensor], Tensor], Array]


def _clamped(values: Floats, op: Op) -> Floats:
    low, high = (np.float32(bound) for bound in op.clamp)
    if op.clamp[0] > UNLIMITED[0]:
        values = np.where(values < low, low, values)
    if op.clamp[1] < UNLIMITED[1]:
        values = np.where(values > high, high, values)
    return values


def _conv(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    assert op.weights is not None
    outputs, _, _, depth = op.weights.shape
    taps = np.stack(taps_of(data[0], op.window, output, 0))
    weights = op.weights.astype(np.float32).reshape(outputs, -1, depth)
    width = outputs // op.groups
    total = np.zeros((output.height, output.width, outputs), np.float32)
    for group in range(op.groups):
        part = slice(group * width, (group + 1) * width)
        sums = np.zeros((output.height, output.width, width), np.float32)
        for channel in range(depth):
            for tap in range(weights.shape[1]):
                sums += taps[tap, :, :, group * depth + channel, np.newaxis] * weights[part, tap, channel]
        total[..., part] = sums
    return _with_bias(op, total)


def _depthwise(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    assert op.weights is not None
    weights = op.weights.astype(np.float32).reshape(-1, output.channels)
    total = np.zeros((output.height, output.width, output.channels), np.float32)
    for tap, weight in zip(taps_of(data[0], op.window, output, 0), weights, strict=True):
        total += tap * weight
    return _with_bias(op, total)


def _with_bias(op: Op, sums: Floats) -> Floats:
    bias = np.float32(0) if op.bias is None else op.bias.astype(np.float32)
    return _clamped(sums + bias, op)


def _add(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    return _clamped(data[0] + data[1], op)


def _multiply(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    return _clamped(data[0] * data[1], op)


def _matmul(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    right = data[1].transpose(2, 1, 0) if op.turned else data[1]
    total = np.zeros((output.height, output.width, output.channels), np.float32)
    for depth in range(data[0].shape[2]):
        total += data[0][:, :, depth, np.newaxis] * right[depth]
    return _clamped(total, op)


def _max_pool(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    most = np.full((output.height, output.width, output.channels), -np.inf, np.float32)
    for tap in taps_of(data[0], op.window, output, -np.inf):
        most = np.where(tap > most, tap, most)
    return _clamped(most, op)


def _average_pool(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    total = np.zeros((output.height, output.width, output.channels), np.float32)
    for tap in taps_of(data[0], op.window, output, 0):
        total += tap
    inside = np.sum(taps_of(np.ones_like(data[0], np.int32), op.window, output, 0), axis=0, dtype=np.int32)
    count = np.full_like(inside, op.window.taps) if op.count_include_pad else inside
    return _clamped(total / count.astype(np.float32), op)


def _function(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    if op.weights is None or op.function is None:
        raise ValueError(f"lookup '{op.name}' of float32 needs a function with its parameters")
    parameters = op.weights.astype(np.float32)
    return apply(op.function, data[0], parameters[..., 0], parameters[..., 1])


def _softmax(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    powers = exponential(data[0] - data[0].max(axis=-1, keepdims=True))
    # cumsum adds one channel after the other; sum would add in pairs
    return np.asarray(powers / np.cumsum(powers, axis=-1, dtype=np.float32)[..., -1:])


FLOAT_KERNELS: dict[OpKind, Kernel] = {
    OpKind.CONV: _conv,
    OpKind.DEPTHWISE: _depthwise,
    OpKind.ADD: _add,
    OpKind.MULTIPLY: _multiply,
    OpKind.MATMUL: _matmul,
    OpKind.MAX_POOL: _max_pool,
    OpKind.AVERAGE_POOL: _average_pool,
    OpKind.LOOKUP: _function,
    OpKind.SOFTMAX: _softmax,
}
"""The kernels of the kinds in ``vocabulary.FLOATING``."""
