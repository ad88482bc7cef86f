"""What every operator computes, exactly: the executor that kernels and ports are checked against.

All arithmetic is int32 and float32, every float32 operation rounded on its own (no fused
multiply-add but where ADD says so), ``rint`` rounding halves to even. ``x``, ``y`` are stored values, ``s`` and ``z``
scale and zero point of input (``sx``, ``zx``; ``sa``, ``za``, ``sb``, ``zb`` for ADD) and output
(``sy``, ``zy``), ``clamp`` the closed range of the operator. Parts in ``float()`` are conversions
to float32.

========== =====================================================================================
CONV       ``y = clamp(rint(float(sum((x - zx) * w) + bias) * multiplier) + zy)``, sums in int32,
DEPTHWISE  ``multiplier = (sx * sw) / sy`` per output channel, padding contributes 0
MULTIPLY   ``y = clamp(rint(float((a - za) * (b - zb)) * ((sa * sb) / sy) + float(zy + o)) - o)``, with ``o``
           the operator's ``offset``
ADD        ``y = clamp(rint(fma(a + o, ra, fma(b + o, rb, rest))) - o)``, with ``ra = sa / sy``, ``rb = sb /
           sy``, ``rest = float(zy + o) - fma(ra, za + o, rb * (zb + o))``; ``fma(x, y, z)`` is ``x * y + z``
           rounded once
MATMUL     ``y = clamp(rint(float(sum((a - za) * (b - zb))) * ((sa * sb) / sy)) + zy)``, sums over the
           channels of ``a``
AVERAGE    ``y = clamp(rint(float(sum(x - zx)) * (sx / (sy * float(count)))) + zy)``; ``count`` is
_POOL      the number of elements of the window inside the input, or all of the window with
           ``count_include_pad``. With ``by_floats`` instead ``y = clamp(rint(((sum(float(x - zx) *
           sx) / float(count)) / sy) + float(zy + o)) - o)``, a float32 sum in the order of memory
MAX_POOL   ``y = clamp(max(x))`` over the elements inside the input
SOFTMAX    per pixel: ``t = weights[255 + x - max(x)]``, ``total`` the float32 sum of ``t`` in
           channel order, ``y = clamp(rint((t * multiplier[0]) / total) + zy)``; ``weights`` from
           ``exponentials``, ``multiplier[0]`` the output steps per unit
LOOKUP     ``y = weights[byte of x]``, or ``weights[channel, byte of x]``
QUANTIZE   ``y = clamp(rint(x / sy) + zy)`` to int8
DEQUANTIZE ``y = float(x - zx) * sx``
MOVE       ``y[r, c, k]`` is the first input's ``x[R, C, K]`` that exists, else ``fill``, with ``R =
           floor((r * step + start) / period)`` by that input's place, likewise ``C`` and ``K``; with
           ``edges`` those are limited to what the input has
PERMUTE    the input read by the nested loops of ``permutation``
========== =====================================================================================

Operators of float32 tensors are in ``float_reference``.

Sources: CONV, ADD, MULTIPLY, MATMUL, SOFTMAX and the global AVERAGE_POOL follow the x86 kernels of onnxruntime
(QLinearConv, QLinearAdd, QLinearMul, QLinearMatMul, QLinearSoftmax, QLinearAveragePool, QLinearGlobalAveragePool); QUANTIZE and DEQUANTIZE
follow the ONNX operators.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.float_reference import FLOAT_KERNELS
from ooc_solve.models.taps import taps_of
from ooc_solve.models.vocabulary import (
    FLOATING,
    DType,
    InputError,
    Network,
    Op,
    OpKind,
    Quantization,
    Reading,
    Tensor,
)

Array = NDArray[Any]
Real = np.floating[Any]
Kernel = Callable[[Op, list[Array], list[Tensor], Tensor], Array]

_NUMPY_TYPES: dict[DType, np.dtype[Any]] = {
    DType.INT8: np.dtype("<i1"),
    DType.UINT8: np.dtype("<u1"),
    DType.INT32: np.dtype("<i4"),
    DType.FLOAT32: np.dtype("<f4"),
}


def run(network: Network, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """Execute a network.

    ``inputs`` are in the graph's shape and type. Returns every tensor as stored,
    ``[height, width, channels]`` (``[channels, height, width]`` where planar).
    """
    values = {
        name: _checked_input(network, name, inputs).reshape(stored_shape(network.tensors[name]))
        for name in network.inputs
    }
    for op in network.ops:
        values[op.output] = run_op(network, op, values)
    return values


def run_op(network: Network, op: Op, values: Mapping[str, Array]) -> Array:
    """Execute one operator on the stored tensors in ``values``, and return its output as stored."""
    inputs = [network.tensors[name] for name in op.inputs]
    output = network.tensors[op.output]
    data = [values[tensor.name].reshape(stored_shape(tensor)) for tensor in inputs]
    is_float = op.kind in FLOATING and output.dtype is DType.FLOAT32
    result = (FLOAT_KERNELS if is_float else _KERNELS)[op.kind](op, data, inputs, output)
    return np.ascontiguousarray(result.reshape(stored_shape(output)), dtype=_NUMPY_TYPES[output.dtype])


def stored_shape(tensor: Tensor) -> tuple[int, int, int]:
    """Return the shape of a tensor as it lies in memory."""
    if tensor.planar:
        return (tensor.channels, tensor.height, tensor.width)
    return (tensor.height, tensor.width, tensor.channels)


def pack_input(network: Network, name: str, array: Array) -> bytes:
    """Return the bytes of a network input, little-endian, from an array in the graph's shape and type."""
    return _checked_input(network, name, {name: array}).tobytes()


def unpack_output(network: Network, name: str, content: bytes) -> Array:
    """Return a network output in the graph's shape and type from its bytes."""
    tensor = network.tensors[name]
    if len(content) != tensor.size_bytes:
        raise InputError(f"Output '{name}': must be {tensor.size_bytes} bytes (got {len(content)}).")
    array = np.frombuffer(content, _NUMPY_TYPES[tensor.dtype])
    return array.reshape(tensor.graph_shape or stored_shape(tensor))


def graph_output(network: Network, name: str, values: Mapping[str, Array]) -> Array:
    """Return a network output in the graph's shape from the result of ``run``."""
    tensor = network.tensors[name]
    return values[name].reshape(tensor.graph_shape or stored_shape(tensor))


def _checked_input(network: Network, name: str, inputs: Mapping[str, Array]) -> Array:
    tensor = network.tensors[name]
    if name not in inputs:
        raise InputError(f"Input '{name}': must be given (got {', '.join(inputs) or 'none'}).")
    array, dtype = np.asarray(inputs[name]), _NUMPY_TYPES[tensor.dtype]
    shape = tensor.graph_shape or stored_shape(tensor)
    if array.shape != shape or array.dtype != dtype:
        raise InputError(
            f"Input '{name}': must be {tensor.dtype.value} of shape {shape} (got {array.dtype}, {array.shape})."
        )
    return np.ascontiguousarray(array, dtype)


# ----------------------------------------------------------------------- kernels


def _scale(tensor: Tensor) -> Quantization:
    if tensor.quantization is None:
        raise ValueError(f"tensor '{tensor.name}' needs a quantisation")
    return tensor.quantization


def _clamped(steps: Array, op: Op) -> Array:
    return np.clip(steps, *op.clamp)


def _centred(data: Array, tensor: Tensor) -> NDArray[np.int32]:
    return data.astype(np.int32) - np.int32(_scale(tensor).zero_point)


def _requantized(op: Op, sums: Array, output: Tensor) -> Array:
    assert op.multiplier is not None
    bias = 0 if op.bias is None else op.bias.astype(np.int32)
    zero, (low, high) = _scale(output).zero_point, op.clamp
    steps = np.rint((sums.astype(np.int32) + bias).astype(np.float32) * op.multiplier)
    # Limited while they are real: steps may be more than any integer holds.
    limited: Array = np.clip(steps, low - zero, high - zero).astype(np.int64)
    return limited + zero


def _conv(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    assert op.weights is not None
    # Sums stay below 2^31, so products in float64 are exact whatever the order of addition.
    taps = taps_of(_centred(data[0], inputs[0]).astype(np.float64), op.window, output, 0)
    outputs, channels = op.weights.shape[0], op.weights.shape[3]
    weights = op.weights.reshape(op.groups, outputs // op.groups, -1, channels).astype(np.float64)
    sums = [
        np.concatenate([tap[..., group * channels : (group + 1) * channels] for tap in taps], axis=-1)
        @ weights[group].reshape(outputs // op.groups, -1).T
        for group in range(op.groups)
    ]
    total = np.concatenate(sums, axis=-1)
    return _requantized(op, total, output)


def _depthwise(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    assert op.weights is not None
    taps = taps_of(_centred(data[0], inputs[0]), op.window, output, 0)
    weights = op.weights.reshape(-1, output.channels).astype(np.int32)
    total = np.zeros((output.height, output.width, output.channels), np.int32)
    for tap, weight in zip(taps, weights, strict=True):
        total += tap * weight
    return _requantized(op, total, output)


def added(
    data: list[Array], scales: list[Quantization], output: Quantization, offset: int
) -> NDArray[np.float32]:
    """Return the steps of a sum of two stored operands, before rounding and ``offset`` above stored ones."""
    one, other = (part.astype(np.float32) + np.float32(offset) for part in data)
    first, second = (np.float32(scale.scale) / np.float32(output.scale) for scale in scales)
    zeros = [np.float32(scale.zero_point + offset) for scale in (*scales, output)]
    rest = zeros[2] - _fused(first, zeros[0], second * zeros[1])
    return _fused(one, first, _fused(other, second, rest))


def _fused(left: Array | Real, right: Array | Real, addend: Array | Real) -> NDArray[np.float32]:
    """Return ``left * right + addend`` rounded once: the product is exact in float64, and the sum nearly."""
    wide = np.asarray(left, np.float64) * np.asarray(right, np.float64) + np.asarray(addend, np.float64)
    return np.asarray(wide.astype(np.float32))


def multiplied(
    product: Array, scales: list[Quantization], output: Quantization, offset: int
) -> NDArray[np.float32]:
    """Return the steps of a product of whole numbers, before rounding and ``offset`` above stored ones."""
    one, other, scale = (np.float32(part.scale) for part in (*scales, output))
    return np.asarray(
        product.astype(np.float32) * (one * other / scale) + np.float32(output.zero_point + offset)
    )


def _add(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    steps = added(data, [_scale(tensor) for tensor in inputs], _scale(output), op.offset)
    return _clamped(np.rint(steps) - np.float32(op.offset), op)


def _multiply(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    left, right = (_centred(part, tensor) for part, tensor in zip(data, inputs, strict=True))
    steps = multiplied(left * right, [_scale(tensor) for tensor in inputs], _scale(output), op.offset)
    return _clamped(np.rint(steps) - np.float32(op.offset), op)


def _matmul(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    left, right = (_centred(part, tensor) for part, tensor in zip(data, inputs, strict=True))
    sums = np.einsum("ink,jnk->inj" if op.turned else "ink,knj->inj", left, right)
    one, other, scale = (np.float32(_scale(part).scale) for part in (*inputs, output))
    steps = np.rint(sums.astype(np.float32) * (one * other / scale))
    return _clamped(steps + _scale(output).zero_point, op)


def _max_pool(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    return _clamped(np.max(taps_of(data[0], op.window, output, -128), axis=0), op)


def _average_pool(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    total = np.sum(taps_of(_centred(data[0], inputs[0]), op.window, output, 0), axis=0, dtype=np.int32)
    inside = np.sum(taps_of(np.ones_like(data[0], np.int32), op.window, output, 0), axis=0, dtype=np.int32)
    count = np.full_like(inside, op.window.taps) if op.count_include_pad else inside
    scale, zero = np.float32(_scale(output).scale), _scale(output).zero_point
    if op.by_floats:
        real = _centred(data[0], inputs[0]).astype(np.float32) * np.float32(_scale(inputs[0]).scale)
        sums = np.zeros_like(count, np.float32)
        for tap in taps_of(real, op.window, output, 0):
            sums = sums + tap
        steps = sums / count.astype(np.float32) / scale + np.float32(zero + op.offset)
        return _clamped(np.rint(steps) - np.float32(op.offset), op)
    factor = np.float32(_scale(inputs[0]).scale) / (scale * count.astype(np.float32))
    return _clamped(np.rint(total.astype(np.float32) * factor) + zero, op)


def exponentials(scale: float, length: int) -> NDArray[np.float32]:
    """Return the 256 exponentials of a SOFTMAX, entry ``255 - d`` for a value ``d`` steps below the maximum.

    ``scale`` is the input's, ``length`` the number of values that share a sum. The common factor,
    which cancels, is the largest power that leaves the sum room in float32. Source: onnxruntime,
    qlinear_softmax.cc; another factor would round differently.
    """
    # Alone, a value times 256 output steps would overflow: the room is for two at least.
    room = math.log(float(np.finfo(np.float32).max) / max(length, 2)) - 5
    shift = max(0.0, room) / float(scale)
    return np.array([math.exp((step - 255 + shift) * float(scale)) for step in range(256)], np.float32)


def _softmax(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    if op.weights is None or op.multiplier is None:
        raise ValueError(f"softmax '{op.name}' needs its exponentials and output steps per unit")
    values = data[0].astype(np.int32)
    powers = op.weights[255 + values - values.max(axis=-1, keepdims=True)]
    # cumsum adds one channel after the other, as the kernels do; sum would add in pairs.
    total = np.cumsum(powers, axis=-1, dtype=np.float32)[..., -1:]
    return _clamped(np.rint((powers * op.multiplier[0]) / total) + _scale(output).zero_point, op)


def _lookup(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    assert op.weights is not None
    index = np.ascontiguousarray(data[0]).view(np.uint8)
    channel = np.arange(output.channels)
    found = op.weights[index] if op.weights.ndim == 1 else op.weights[channel, index]
    return np.ascontiguousarray(found).view(_NUMPY_TYPES[output.dtype])


def _quantize(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    scale = _scale(output)
    return _clamped(np.rint(data[0] / np.float32(scale.scale)) + np.float32(scale.zero_point), op)


def _dequantize(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    real = _centred(data[0], inputs[0]).astype(np.float32) * np.float32(_scale(inputs[0]).scale)
    return np.asarray(real)


def _move(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    shape = stored_shape(output)
    result = np.full(shape, op.fill, data[0].dtype)
    for part, place in reversed(list(zip(data, op.places, strict=True))):
        found = [_found(place.reading(axis), shape[axis], part.shape[axis], op.edges) for axis in range(3)]
        result[np.ix_(*(to for to, _ in found))] = part[np.ix_(*(at for _, at in found))]
    return result


def _found(reading: Reading, size: int, limit: int, edges: bool) -> tuple[Array, Array]:
    """Return the output positions along an axis that an input has, and where it has them."""
    sources = (np.arange(size) * reading.step + reading.start) // reading.period
    sources = np.clip(sources, 0, limit - 1) if edges else sources
    targets = np.flatnonzero((sources >= 0) & (sources < limit))
    return targets, sources[targets]


def _permute(op: Op, data: list[Array], inputs: list[Tensor], output: Tensor) -> Array:
    source = np.ascontiguousarray(data[0]).reshape(-1)
    sizes = [size for size, _ in op.permutation]
    steps = [stride * source.itemsize for _, stride in op.permutation]
    return np.lib.stride_tricks.as_strided(source, sizes, steps, writeable=False)


_KERNELS: dict[OpKind, Kernel] = {
    OpKind.CONV: _conv,
    OpKind.DEPTHWISE: _depthwise,
    OpKind.ADD: _add,
    OpKind.MULTIPLY: _multiply,
    OpKind.MATMUL: _matmul,
    OpKind.MAX_POOL: _max_pool,
    OpKind.AVERAGE_POOL: _average_pool,
    OpKind.SOFTMAX: _softmax,
    OpKind.LOOKUP: _lookup,
    OpKind.QUANTIZE: _quantize,
    OpKind.DEQUANTIZE: _dequantize,
    OpKind.MOVE: _move,
    OpKind.PERMUTE: _permute,
}
