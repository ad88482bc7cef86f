"""Operators of ONNX as operators of a network, whatever dialect the file speaks.

Every function takes stored tensors with their scales (None: float32) and returns a ``Pending`` result, or a
view where the scale does not change. Formulas are in ``reference`` and ``float_reference``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import Index, View, is_sequential, sequential
from ooc_solve.models.network_draft import NetworkDraft
from ooc_solve.models.onnx_convolutions import INT32_MAX, finite, float_weighted
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_spatial import Spatial
from ooc_solve.models.onnx_values import Pending, Scale
from ooc_solve.models.op_fusion import Size
from ooc_solve.models.reference import exponentials
from ooc_solve.models.vocabulary import POINT, UNLIMITED, DType, InputError, Op, OpKind, Place, Window

Array = NDArray[Any]

_WIDEST = np.float32(1024)  # steps: more than any two bytes are apart, zero points included


def combination(draft: NetworkDraft, node: Node, kind: OpKind, one: View, other: View) -> Pending:
    """Lower the sum (ADD) or product (MULTIPLY) of two tensors."""
    tensors, index = _paired(draft, node, one, other)

    def emit(output: Scale | None, clamp: tuple[int, int], name: str) -> str:
        if output is not None:
            _check_pair(draft, node, kind, tensors, output.scale)
        op = Op(node.name, kind, tensors, name, clamp=clamp, offset=output.offset if output else 0)
        return draft.elementwise(op, output.quantization if output else None, _dtype(output))

    return Pending(node, index, emit, is_float=draft.is_float(tensors[0]))


_DEEPEST_PRODUCT = (
    INT32_MAX // 255**2
)  # sums of products of two bytes, each less its zero point, must fit 32 bits


def _check_pair(
    draft: NetworkDraft, node: Node, kind: OpKind, tensors: tuple[str, str], output: np.float32
) -> None:
    """Refuse scales of which a sum or a product of any two bytes would be no number."""
    one, other = (_scale_of(draft, tensor) for tensor in tensors)
    if kind is OpKind.MULTIPLY:
        finite(node, one * other / output)
    else:
        finite(node, _WIDEST * (one / output) + _WIDEST * (other / output))


def _scale_of(draft: NetworkDraft, tensor: str) -> np.float32:
    known = draft.quantization(tensor)
    return np.float32(1 if known is None else known.scale)


def matrix_product(draft: NetworkDraft, node: Node, one: View, other: View) -> Pending:
    """Lower the product of matrices: as many of the second as of the first, or one, which fit.

    The second may be stored with its rows or with its columns last, so that mostly nothing is put in another order.
    """
    count = int(np.prod(other.shape[:-2]))
    depth, columns = other.shape[-2:]
    if not draft.is_float(one.tensor) and depth > _DEEPEST_PRODUCT:
        raise InputError(
            f"{node}: a product of bytes must sum at most {_DEEPEST_PRODUCT} of them (got {depth}); "
            "leave it in float32."
        )
    left = one.index.reshape(count, -1, depth).transpose(1, 0, 2)
    right = other.index.reshape(count, depth, columns)
    plain, sideways = right.transpose(1, 0, 2), right.transpose(2, 0, 1)
    turned = not is_sequential(plain) and is_sequential(sideways)
    tensors = (
        draft.stored_as(one, left, node.name),
        draft.stored_as(other, sideways if turned else plain, node.name),
    )
    size = (left.shape[0], count, columns)
    shape = (*one.shape[:-2], one.shape[-2], columns)

    def emit(output: Scale | None, clamp: tuple[int, int], name: str) -> str:
        quantization = output.quantization if output else None
        result = draft.add_tensor(name, size, _dtype(output), quantization)
        draft.add_op(Op(node.name, OpKind.MATMUL, tensors, result, clamp=clamp, turned=turned))
        return result

    is_float = draft.is_float(tensors[0])
    return Pending(node, sequential(size).transpose(1, 0, 2).reshape(shape), emit, is_float=is_float)


def _dtype(output: Scale | None) -> DType:
    """Element type of an output with that scale."""
    return DType.FLOAT32 if output is None else DType.INT8


def _paired(draft: NetworkDraft, node: Node, one: View, other: View) -> tuple[tuple[str, str], Index]:
    """Return tensors in which elements that belong together lie at the same places, and the result's index.

    The smaller tensor may lack rows and columns that would repeat; channels that would repeat are copied.
    """
    try:
        shape = np.broadcast_shapes(one.shape, other.shape)
    except ValueError:
        raise InputError(
            f"{node}: both inputs must have one shape, or one that repeats (got {one.shape} and {other.shape})."
        ) from None
    if one.index.size == other.index.size == int(np.prod(shape)):
        left, right = (view.with_index(view.index.reshape(shape)) for view in (one, other))
        return draft.aligned(left, right, node.name), left.index
    large, small = (one, other) if one.index.size > other.index.size else (other, one)
    if int(np.prod(shape)) != large.index.size:
        raise InputError(f"{node}: one of its inputs must have the shape of the result, {shape}.")
    index = large.index.reshape(shape)
    draft.settle(large.tensor)
    order = np.empty(index.size, np.int64)
    order[index.reshape(-1)] = np.broadcast_to(small.index, shape).reshape(-1)
    few = _repeated(draft, node, small, order.reshape(draft.size(large.tensor)))
    first = large is one or is_single(small.shape, shape)
    return ((large.tensor, few) if first else (few, large.tensor)), index


def is_single(small: tuple[int, ...], shape: tuple[int, ...]) -> bool:
    """Whether onnxruntime takes values of a repeated operand one by one, which puts it second."""
    padded = (1,) * (len(shape) - len(small)) + small
    return next((few == 1 for few, many in zip(padded[::-1], shape[::-1], strict=True) if many > 1), False)


def _repeated(draft: NetworkDraft, node: Node, source: View, order: Index) -> str:
    """Return the tensor that holds a smaller operand, without rows and columns that repeat."""
    few = order
    for axis in (0, 1):
        if np.array_equal(few, np.broadcast_to(few.take([0], axis), few.shape)):
            few = few.take([0], axis)
    if few.size == source.index.size:
        return draft.stored_as(source, few, node.name)
    times, rest = divmod(few.size, source.index.size)
    once = few[:, :, ::times]
    if rest or not np.array_equal(few, np.repeat(once, times, 2)[:, :, : few.shape[2]]):
        raise InputError(f"{node}: its smaller input must repeat along whole axes of what is stored.")
    tensor = draft.stored_as(source, once, node.name)
    place = Place(period=(1, 1, times))
    label = f"{node.name}_spread"
    return draft.move(label, (tensor,), (place,), (few.shape[0], few.shape[1], few.shape[2]), label)


def max_pool(draft: NetworkDraft, node: Node, source: View, name: str) -> View:
    """Lower MaxPool; scale and zero point stay."""
    spatial = Spatial.of(draft, node, source)
    window = spatial.window()
    size = spatial.output_size(window, spatial.size[2])
    tensor = draft.add_tensor(
        name, size, draft.dtype(spatial.tensor), quantization=draft.quantization(spatial.tensor)
    )
    clamp = UNLIMITED if draft.is_float(tensor) else (-128, 127)
    draft.add_op(Op(node.name, OpKind.MAX_POOL, (spatial.tensor,), tensor, window, clamp=clamp))
    return replace(source, tensor=tensor, index=spatial.index_of(size))


def average_pool(draft: NetworkDraft, node: Node, source: View, *, by_floats: bool = False) -> Pending:
    """Lower AveragePool.

    ``by_floats``: windows smaller than the whole input are summed as onnxruntime's QLinearAveragePool does.
    """
    spatial = Spatial.of(draft, node, source)
    window = spatial.window()
    size = spatial.output_size(window, spatial.size[2])
    include = bool(node.attributes.get("count_include_pad", 0))
    by_floats = by_floats and (window.kernel != spatial.size[:2] or any(window.pads))
    return _average(draft, node, spatial.tensor, window, size, spatial.index_of(size), include, by_floats)


def mean(draft: NetworkDraft, node: Node, source: View, axes: Sequence[int], keepdims: bool) -> Pending:
    """Lower the mean over some axes.

    Where those are the stored height or width, it is an average over a window of that size;
    else the data is first put in the order reduced axes, other axes.
    """
    if draft.is_float(source.tensor):
        found = _mean_of_channels(draft, node, source, axes, keepdims)
        if found is not None:
            return found
    tensor, window, size, index = _window_over(draft, node, source, axes, keepdims)
    return _average(draft, node, tensor, window, size, index, False)


def _mean_of_channels(
    draft: NetworkDraft, node: Node, source: View, axes: Sequence[int], keepdims: bool
) -> Pending | None:
    """Lower the mean over what is stored as channels: a convolution of one tap whose weights are alike."""
    reduced = sorted({node.axis_of(axis, len(source.shape)) for axis in axes})
    kept = [axis for axis in range(len(source.shape)) if axis not in reduced]
    height, width, channels = draft.size(source.tensor)
    count = int(np.prod([source.shape[axis] for axis in reduced]))
    ordered = is_sequential(source.index.transpose(*kept, *reduced))
    if not ordered or count != channels or height * width == 1 or not draft.settle(source.tensor):
        return None
    weights = np.full((1, 1, 1, channels), 1 / channels, np.float32)
    template = Op(node.name, OpKind.CONV, (source.tensor,), node.name, weights=weights)
    shape = [1 if k in reduced else size for k, size in enumerate(source.shape) if keepdims or k in kept]
    return float_weighted(
        draft, template, (height, width, 1), sequential(shape), np.zeros(1, np.float32), node
    )


def largest(
    draft: NetworkDraft, node: Node, source: View, axes: Sequence[int], keepdims: bool, name: str
) -> View:
    """Lower the largest element over some axes, likewise; scale and zero point stay."""
    tensor, window, size, index = _window_over(draft, node, source, axes, keepdims)
    result = draft.add_tensor(name, size, draft.dtype(tensor), quantization=draft.quantization(tensor))
    clamp = UNLIMITED if draft.is_float(tensor) else (-128, 127)
    draft.add_op(Op(node.name, OpKind.MAX_POOL, (tensor,), result, window, clamp=clamp))
    return replace(source, tensor=result, index=index)


_LARGEST_KERNEL = 255  # of a window along an axis, which the tables hold


def _window_over(
    draft: NetworkDraft, node: Node, source: View, axes: Sequence[int], keepdims: bool
) -> tuple[str, Window, Size, Index]:
    """Return a tensor, a window in it that spans some axes, and size and index of what comes out."""
    reduced = sorted({node.axis_of(axis, len(source.shape)) for axis in axes})
    kept = [axis for axis in range(len(source.shape)) if axis not in reduced]
    shape = tuple(
        1 if axis in reduced else source.shape[axis]
        for axis in range(len(source.shape))
        if keepdims or axis in kept
    )
    first = source.index[tuple(0 if axis in reduced else slice(None) for axis in range(len(source.shape)))]
    blocks = np.sort(source.index.transpose(*kept, *reduced).reshape(first.size, -1), axis=1)
    height, width, channels = draft.size(source.tensor)
    for kernel in ((height, width), (height, 1), (1, width)):
        fits = max(kernel) <= _LARGEST_KERNEL and kernel[0] * kernel[1] == blocks.shape[1]
        if (
            fits
            and np.array_equal(blocks, _window_elements(first.reshape(-1), kernel, width, channels))
            and draft.settle(source.tensor)
        ):
            size = (height // kernel[0], width // kernel[1], channels)
            row, column = first // (width * channels), first // channels % width
            row, column = (0 * row if kernel[0] > 1 else row), (0 * column if kernel[1] > 1 else column)
            index = (row * size[1] + column) * channels + first % channels
            return source.tensor, replace(POINT, kernel=kernel), size, index.reshape(shape)
    count = blocks.shape[1]
    across = next(
        (
            size
            for size in range(1, _LARGEST_KERNEL + 1)
            if count % size == 0 and count // size <= _LARGEST_KERNEL
        ),
        1,
    )
    order = source.index.transpose(*reduced, *kept).reshape(-1, across, first.size)
    tensor = draft.stored_as(source, order, node.name)
    window = replace(POINT, kernel=(order.shape[0], across))
    return tensor, window, (1, 1, first.size), sequential(shape)


def _window_elements(first: Index, kernel: tuple[int, int], width: int, channels: int) -> Index:
    """Return the offsets under a window at each of some first elements, row by row."""
    rows = np.arange(kernel[0])[:, np.newaxis] * width * channels
    window = (rows + np.arange(kernel[1]) * channels).reshape(-1)
    return np.asarray(first[:, np.newaxis] + window)


def _average(
    draft: NetworkDraft,
    node: Node,
    tensor: str,
    window: Window,
    size: Size,
    index: Index,
    include_pads: bool,
    by_floats: bool = False,
) -> Pending:
    def emit(output: Scale | None, clamp: tuple[int, int], name: str) -> str:
        if output is not None:
            finite(node, _WIDEST * np.float32(window.taps) * _scale_of(draft, tensor) / output.scale)
        result = draft.add_tensor(name, size, _dtype(output), output.quantization if output else None)
        op = Op(
            node.name,
            OpKind.AVERAGE_POOL,
            (tensor,),
            result,
            window,
            clamp=clamp,
            count_include_pad=include_pads,
            by_floats=by_floats,
            offset=output.offset if output else 0,
        )
        draft.add_op(op)
        return result

    return Pending(node, index, emit, is_float=draft.is_float(tensor))


def softmax(
    draft: NetworkDraft,
    node: Node,
    source: View,
    scale: Scale,
    axis: int,
    *,
    flatten: bool,
    whole_steps: bool,
) -> Pending:
    """Lower Softmax over one axis, or below opset 13 over all axes from ``axis`` on (``flatten``).

    ``whole_steps`` rounds the number of output steps per unit down, as QLinearSoftmax does.
    """
    tensor, size, index = _rows_of(draft, node, source, axis, flatten)
    table = exponentials(float(scale.scale), size[2])

    def emit(output: Scale | None, clamp: tuple[int, int], name: str) -> str:
        assert output is not None
        steps = finite(node, np.float32(1) / output.scale)
        steps = np.floor(steps) if whole_steps else steps
        result = draft.add_tensor(name, size, quantization=output.quantization)
        multiplier = np.array([steps], np.float32)
        op = Op(
            node.name, OpKind.SOFTMAX, (tensor,), result, weights=table, multiplier=multiplier, clamp=clamp
        )
        draft.add_op(op)
        return result

    return Pending(node, index, emit)


def float_softmax(
    draft: NetworkDraft, node: Node, source: View, axis: int, name: str, *, flatten: bool
) -> View:
    """Lower Softmax of float32, over the same axes."""
    tensor, size, index = _rows_of(draft, node, source, axis, flatten)
    result = draft.add_tensor(name, size, DType.FLOAT32)
    draft.add_op(Op(node.name, OpKind.SOFTMAX, (tensor,), result, clamp=UNLIMITED))
    return View(result, index)


def _rows_of(
    draft: NetworkDraft, node: Node, source: View, axis: int, flatten: bool
) -> tuple[str, Size, Index]:
    """Return a tensor with what shares a sum in the channels of a pixel, its size, and the result's index."""
    axis = node.axis_of(axis, len(source.shape))
    if flatten:
        length = int(np.prod(source.shape[axis:]))
        rows = source.index.reshape(-1, length)
    else:
        length = source.shape[axis]
        rows = np.moveaxis(source.index, axis, -1).reshape(-1, length)
    size = draft.size(source.tensor)
    by_pixel = np.array_equal(rows, rows[:, :1] + np.arange(length))
    if by_pixel and size[2] == length and draft.settle(source.tensor):
        return source.tensor, size, source.index
    size = (rows.shape[0], 1, length)
    tensor = draft.stored_as(source, rows.reshape(size), node.name)
    place = np.empty(source.index.size, np.int64)
    place[rows.reshape(-1)] = np.arange(rows.size)
    return tensor, size, place[source.index]
