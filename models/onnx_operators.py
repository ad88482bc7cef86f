"""Operators of ONNX as operators of a network, whatever dialect the file speaks.

Every function takes stored tensors with their scales and returns a ``Pending`` result, or a
view where the scale does not change. Formulas are in ``reference``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import Index, View, by_channel, is_sequential, nchw, sequential
from ooc_solve.models.network_draft import NetworkDraft, Size
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_values import (
    BYTES_AS_INT8,
    Constant,
    Floats,
    Pending,
    QuantizedConstant,
    Scale,
)
from ooc_solve.models.reference import exponentials
from ooc_solve.models.vocabulary import POINT, InputError, Op, OpKind, Window

Array = NDArray[Any]
Bias = Constant | QuantizedConstant

_INT32_MAX = 2**31 - 1


# ------------------------------------------------------------------ spatial input


@dataclass(frozen=True, slots=True, eq=False)
class Spatial:
    """An operator's ``1 x channels x height x width`` input in a tensor with channels innermost.

    Inputs with one spatial axis get a second one of size 1: the height if ``tall``, else the width.
    """

    node: Node
    tensor: str
    size: Size
    rank: int
    tall: bool

    @classmethod
    def of(cls, draft: NetworkDraft, node: Node, view: View) -> Spatial:
        """Arrange a view of rank 3 or 4 for a windowed operator."""
        rank = len(view.shape)
        if rank not in (3, 4):
            raise InputError(f"{node}: must have one or two spatial axes (got {rank - 2}).")
        if view.shape[0] != 1:
            raise InputError(f"{node}: the batch must be 1 (got {view.shape[0]}); export it with batch 1.")
        tall = rank == 3 and draft.size(view.tensor)[1] == 1
        index = view.index
        if rank == 3:
            index = index[..., np.newaxis] if tall else index[:, :, np.newaxis, :]
        tensor = draft.channels_last(view.with_index(index), node.name)
        return cls(node, tensor, draft.size(tensor), rank, tall)

    def pair(self, values: Sequence[int] | None, default: int = 1) -> tuple[int, int]:
        """Return an attribute with one entry per spatial axis as (vertical, horizontal)."""
        if values is None:
            return (default, default) if self.rank == 4 else self.pair([default])
        if len(values) != self.rank - 2:
            raise InputError(
                f"{self.node}: must have {self.rank - 2} entries per attribute (got {list(values)})."
            )
        if self.rank == 4:
            return (values[0], values[1])
        return (values[0], 1) if self.tall else (1, values[0])

    def pads(self, values: Sequence[int] | None) -> tuple[int, int, int, int]:
        """Return an ONNX ``pads`` attribute as (top, left, bottom, right)."""
        if values is None:
            return (0, 0, 0, 0)
        half = len(values) // 2
        begin, end = self.pair(values[:half]), self.pair(values[half:])
        if self.rank == 3:  # the axis that was added has no pads
            axis = 0 if self.tall else 1
            begin, end = ((p[0], 0) if axis == 0 else (0, p[1]) for p in (begin, end))
        return (*begin, *end)

    def index_of(self, size: Size) -> Index:
        """Return the graph's index of an output of the given stored size."""
        index = nchw(*size)
        if self.rank == 4:
            return index
        return index[..., 0] if self.tall else index[:, :, 0, :]

    def window(self, kernel: Sequence[int] | None = None) -> Window:
        """Read kernel, strides, dilations and padding from the node's attributes."""
        attributes = self.node.attributes
        shape = attributes.get("kernel_shape", kernel)
        if shape is None:
            raise InputError(f"{self.node}: must have a kernel_shape.")
        window = Window(
            kernel=self.pair(shape),
            stride=self.pair(attributes.get("strides")),
            dilation=self.pair(attributes.get("dilations")),
        )
        explicit = self.pads(attributes.get("pads"))
        return replace(window, pads=self._automatic_pads(window, explicit))

    def _automatic_pads(
        self, window: Window, explicit: tuple[int, int, int, int]
    ) -> tuple[int, int, int, int]:
        mode = self.node.attributes.get("auto_pad", "NOTSET")
        if mode in ("NOTSET", ""):
            return self._ceil_pads(window, explicit) if self.node.attributes.get("ceil_mode") else explicit
        if mode == "VALID":
            return (0, 0, 0, 0)
        if mode not in ("SAME_UPPER", "SAME_LOWER"):
            raise InputError(
                f"{self.node}: auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER (got {mode})."
            )
        begin, end = [], []
        for length, reach, stride in zip(self.size, window.reach, window.stride, strict=False):
            total = max((math.ceil(length / stride) - 1) * stride + reach - length, 0)
            small, large = total // 2, total - total // 2
            begin.append(large if mode == "SAME_LOWER" else small)
            end.append(small if mode == "SAME_LOWER" else large)
        return (begin[0], begin[1], end[0], end[1])

    def _ceil_pads(self, window: Window, pads: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Pad below and right until rounding down gives what rounding up gave."""
        extra = []
        for axis in (0, 1):
            padded = self.size[axis] + pads[axis] + pads[axis + 2]
            reach, stride = window.reach[axis], window.stride[axis]
            steps = math.ceil((padded - reach) / stride)
            if steps * stride >= self.size[axis] + pads[axis]:  # a window must start inside
                steps -= 1
            extra.append(max(steps * stride + reach - padded, 0))
        if any(extra) and self.node.attributes.get("count_include_pad"):
            raise InputError(
                f"{self.node}: ceil_mode with count_include_pad is not supported; use floor mode."
            )
        return (pads[0], pads[1], pads[2] + extra[0], pads[3] + extra[1])

    def output_size(self, window: Window, channels: int) -> Size:
        """Return the stored size of the output."""
        height, width = window.output_size(self.size[0], self.size[1])
        if min(height, width) < 1:
            raise InputError(
                f"{self.node}: its window must fit the padded input (window {window.reach}, input {self.size[:2]})."
            )
        return (height, width, channels)


# ------------------------------------------------------------------- convolution


def convolution(
    draft: NetworkDraft,
    node: Node,
    source: View,
    scale: Scale,
    weights: QuantizedConstant,
    bias: Bias | None,
) -> Pending:
    """Lower a convolution with constant ``[oc, ic / g, (kh,) kw]`` weights."""
    spatial = Spatial.of(draft, node, source)
    if weights.array.ndim != spatial.rank:
        raise InputError(
            f"{node}: weights must have rank {spatial.rank} like the input (got {weights.array.ndim})."
        )
    kernel = weights.array.shape[2:]
    window = spatial.window(kernel)
    values = weights.centred(node).reshape(*weights.array.shape[:2], *spatial.pair(kernel))
    outputs, per_group = values.shape[:2]
    groups = int(node.attributes.get("group", 1))
    channels = spatial.size[2]
    if per_group * groups != channels or outputs % groups:
        raise InputError(
            f"{node}: {groups} groups of {per_group} input channels must make up the input's {channels} channels "
            f"and divide the {outputs} output channels."
        )
    size = spatial.output_size(window, outputs)
    if groups == channels == outputs and groups > 1:
        kind, stored, groups = OpKind.DEPTHWISE, values[:, 0].transpose(1, 2, 0), 1
    else:
        kind, stored = OpKind.CONV, values.transpose(0, 2, 3, 1)
    template = Op(
        node.name, kind, (spatial.tensor,), "", window, groups, weights=np.ascontiguousarray(stored)
    )
    taps = values.reshape(outputs, -1)
    return _weighted(
        draft, template, size, spatial.index_of(size), scale, weights.scales(node, 0), taps, bias, node
    )


def fully_connected(
    draft: NetworkDraft,
    node: Node,
    source: View,
    scale: Scale,
    weights: QuantizedConstant,
    bias: Bias | None,
) -> Pending:
    """Lower a product with constant ``[in, out]`` weights.

    A single row is a convolution whose kernel spans the whole stored tensor: the weights are
    put in the order of the data, so that a Flatten before it moves nothing. Several rows are
    a 1x1 convolution down the rows.
    """
    if weights.array.ndim != 2 or weights.array.shape[0] != source.shape[-1]:
        raise InputError(
            f"{node}: weights must be [{source.shape[-1]}, outputs] for its input (got {list(weights.array.shape)})."
        )
    values = weights.centred(node)
    inputs, outputs = values.shape
    rows = source.index.size // inputs
    if rows == 1:
        draft.settle(source.tensor)
        tensor, window, size = source.tensor, POINT, (1, 1, outputs)
        height, width, channels = draft.size(tensor)
        window = replace(POINT, kernel=(height, width))
        stored = np.empty_like(values)
        stored[source.index.reshape(-1)] = values
        kernel = stored.T.reshape(outputs, height, width, channels)
    else:
        tensor, size = _row_tensor(draft, node, source, rows, inputs, outputs)
        window, kernel = POINT, values.T.reshape(outputs, 1, 1, inputs)
    template = Op(node.name, OpKind.CONV, (tensor,), "", window, weights=np.ascontiguousarray(kernel))
    index = sequential((*source.shape[:-1], outputs))
    return _weighted(draft, template, size, index, scale, weights.scales(node, 1), values.T, bias, node)


def _row_tensor(
    draft: NetworkDraft, node: Node, source: View, rows: int, inputs: int, outputs: int
) -> tuple[str, Size]:
    height, width, channels = draft.size(source.tensor)
    if source.is_stored_order and channels == inputs and draft.settle(source.tensor):
        return source.tensor, (height, width, outputs)
    order = source.index.reshape(rows, 1, inputs)
    return draft.stored_as(source, order, node.name), (rows, 1, outputs)


def _weighted(
    draft: NetworkDraft,
    template: Op,
    size: Size,
    index: Index,
    scale: Scale,
    weight_scales: Floats,
    taps: NDArray[np.int8],
    bias: Bias | None,
    node: Node,
) -> Pending:
    """Return a convolution that waits for its output scale. ``taps`` is ``[oc, weights]``."""
    product = np.broadcast_to(scale.scale * weight_scales, (size[2],)).astype(np.float32)
    steps = bias_steps(node, bias, product)
    largest = 255 * np.abs(taps.astype(np.int64)).sum(axis=1) + np.abs(steps)
    if largest.max() > _INT32_MAX:
        raise InputError(f"{node}: sums must fit 32 bits (could reach {largest.max()}); use fewer inputs.")

    def emit(output: Scale, clamp: tuple[int, int], name: str) -> str:
        tensor = draft.add_tensor(name, size, quantization=output.quantization)
        multiplier = np.asarray(product / output.scale, np.float32)
        op = replace(template, output=tensor, bias=steps.astype(np.int32), multiplier=multiplier, clamp=clamp)
        draft.add_op(op)
        return tensor

    def with_bias(extra: Bias, shown: Index) -> Pending:
        values = by_channel(extra.array, shown, size[2])
        if values is None:
            raise InputError(f"{node}: what is added to it must be one value per output channel, {size[2]}.")
        extra = replace(extra, array=values)
        return _weighted(draft, template, size, shown, scale, weight_scales, taps, extra, node)

    return Pending(node, index, emit, add_bias=with_bias if bias is None else None)


def bias_steps(node: Node, bias: Bias | None, product: Floats) -> NDArray[np.int64]:
    """Return the bias in units of input scale times weight scale.

    Quantisers store it so already (up to rounding of the scale in its last bit); any other bias is
    rounded to those units, an error of half a unit of a sum of many.
    """
    count = product.size
    if bias is None:
        return np.zeros(count, np.int64)
    if isinstance(bias, QuantizedConstant) and bias.scale.size in (1, count):
        matching = np.allclose(bias.scale, product if bias.scale.size > 1 else product[:1], rtol=1e-5, atol=0)
        if matching and (bias.scale.size > 1 or np.ptp(product) == 0):
            steps = bias.array.astype(np.int64) - bias.zero_point.astype(np.int64)
            return _channelwise(node, steps, count)
    real = bias.real() if isinstance(bias, QuantizedConstant) else bias.array.astype(np.float32)
    scaled = _channelwise(node, real.astype(np.float64), count) / product.astype(np.float64)
    if np.abs(scaled).max() > _INT32_MAX:
        raise InputError(f"{node}: its bias must fit 32 bits in units of input scale times weight scale.")
    return np.rint(scaled).astype(np.int64)


def _channelwise(node: Node, values: Array, count: int) -> Array:
    if values.size not in (1, count):
        raise InputError(
            f"{node}: its bias must have one value per output channel, {count} (got {values.size})."
        )
    return np.broadcast_to(values.reshape(-1), (count,))


# --------------------------------------------------------------------- the others


def addition(draft: NetworkDraft, node: Node, one: View, other: View) -> Pending:
    """Lower the sum of two tensors of one shape."""
    if one.shape != other.shape:
        raise InputError(f"{node}: both inputs must have one shape (got {one.shape} and {other.shape}).")
    tensors = draft.aligned(one, other, node.name)

    def emit(output: Scale, clamp: tuple[int, int], name: str) -> str:
        op = Op(node.name, OpKind.ADD, tensors, name, clamp=clamp)
        return draft.elementwise(op, output.quantization)

    return Pending(node, one.index, emit)


def concatenation(draft: NetworkDraft, node: Node, parts: Sequence[tuple[View, Scale]], axis: int) -> Pending:
    """Lower Concat along an axis, which becomes the channels; parts of another scale are rounded first."""
    rank = len(parts[0][0].shape)
    shapes = {tuple(np.delete(view.shape, axis)) for view, _ in parts}
    if len(shapes) != 1 or not 1 <= rank <= 4:
        raise InputError(f"{node}: inputs must have one shape but for axis {axis}, and up to 4 axes.")
    outer = (1, 1, *(int(size) for size in shapes.pop()))
    height, width = int(np.prod(outer[:-1])), outer[-1]
    orders = [np.moveaxis(view.index, axis, -1).reshape(height, width, -1) for view, _ in parts]
    size = (height, width, sum(order.shape[2] for order in orders))
    index = np.moveaxis(sequential((*outer[2:], size[2])), -1, axis)

    def emit(output: Scale, clamp: tuple[int, int], name: str) -> str:
        tensors = []
        for (view, scale), order in zip(parts, orders, strict=True):
            if scale.quantization != output.quantization:
                table = output.stored(scale.real(BYTES_AS_INT8)).view(np.uint8)
                label = f"{node.name}_rescale"
                view = draft.lookup(view, table, output.quantization, label, tensor=f"{view.tensor}_rescaled")
            tensors.append(draft.stored_as(view, order, node.name))
        result = draft.add_tensor(name, size, quantization=output.quantization)
        draft.add_op(Op(node.name, OpKind.CONCAT, tuple(tensors), result))
        if clamp == (-128, 127):
            return result
        table = np.clip(BYTES_AS_INT8, *clamp).astype(np.int8).view(np.uint8)
        return draft.lookup(View(result, index), table, output.quantization, f"{name}_clip").tensor

    return Pending(node, index, emit)


def max_pool(draft: NetworkDraft, node: Node, source: View, name: str) -> View:
    """Lower MaxPool; scale and zero point stay."""
    spatial = Spatial.of(draft, node, source)
    window = spatial.window()
    size = spatial.output_size(window, spatial.size[2])
    tensor = draft.add_tensor(name, size, quantization=draft.quantization(spatial.tensor))
    draft.add_op(Op(node.name, OpKind.MAX_POOL, (spatial.tensor,), tensor, window))
    return replace(source, tensor=tensor, index=spatial.index_of(size))


def average_pool(draft: NetworkDraft, node: Node, source: View) -> Pending:
    """Lower AveragePool."""
    spatial = Spatial.of(draft, node, source)
    window = spatial.window()
    size = spatial.output_size(window, spatial.size[2])
    include = bool(node.attributes.get("count_include_pad", 0))
    return _average(draft, node, spatial.tensor, window, size, spatial.index_of(size), include)


def mean(draft: NetworkDraft, node: Node, source: View, axes: Sequence[int], keepdims: bool) -> Pending:
    """Lower the mean over some axes.

    Where those are the stored height or width, it is an average over a window of that size;
    else the data is first put in the order reduced axes, other axes.
    """
    reduced = sorted({axis % len(source.shape) for axis in axes})
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
        under = _window_elements(first.reshape(-1), kernel, width, channels)
        if np.array_equal(blocks, under) and draft.settle(source.tensor):
            size = (height // kernel[0], width // kernel[1], channels)
            row, column = first // (width * channels), first // channels % width
            row, column = (0 * row if kernel[0] > 1 else row), (0 * column if kernel[1] > 1 else column)
            index = (row * size[1] + column) * channels + first % channels
            window = replace(POINT, kernel=kernel)
            return _average(draft, node, source.tensor, window, size, index.reshape(shape), False)
    order = source.index.transpose(*reduced, *kept).reshape(-1, 1, first.size)
    tensor = draft.stored_as(source, order, node.name)
    window = replace(POINT, kernel=(order.shape[0], 1))
    return _average(draft, node, tensor, window, (1, 1, first.size), sequential(shape), False)


def _window_elements(first: Index, kernel: tuple[int, int], width: int, channels: int) -> Index:
    """Return the offsets under a window at each of some first elements, row by row."""
    rows = np.arange(kernel[0])[:, np.newaxis] * width * channels
    window = (rows + np.arange(kernel[1]) * channels).reshape(-1)
    return np.asarray(first[:, np.newaxis] + window)


def _average(
    draft: NetworkDraft, node: Node, tensor: str, window: Window, size: Size, index: Index, include_pads: bool
) -> Pending:
    def emit(output: Scale, clamp: tuple[int, int], name: str) -> str:
        result = draft.add_tensor(name, size, quantization=output.quantization)
        op = Op(
            node.name,
            OpKind.AVERAGE_POOL,
            (tensor,),
            result,
            window,
            clamp=clamp,
            count_include_pad=include_pads,
        )
        draft.add_op(op)
        return result

    return Pending(node, index, emit)


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
    axis %= len(source.shape)
    if flatten:
        length = int(np.prod(source.shape[axis:]))
        rows = source.index.reshape(-1, length)
    else:
        length = source.shape[axis]
        rows = np.moveaxis(source.index, axis, -1).reshape(-1, length)
    height, width, channels = draft.size(source.tensor)
    if is_sequential(rows) and channels == length and draft.settle(source.tensor):
        tensor, size = source.tensor, (height, width, channels)
    else:
        size = (rows.shape[0], 1, length)
        tensor = draft.stored_as(source, rows.reshape(size), node.name)
    place = np.empty(source.index.size, np.int64)
    place[rows.reshape(-1)] = np.arange(rows.size)
    table = exponentials(float(scale.scale), length)

    def emit(output: Scale, clamp: tuple[int, int], name: str) -> str:
        steps = np.float32(1) / output.scale
        steps = np.floor(steps) if whole_steps else steps
        result = draft.add_tensor(name, size, quantization=output.quantization)
        multiplier = np.array([steps], np.float32)
        op = Op(
            node.name, OpKind.SOFTMAX, (tensor,), result, weights=table, multiplier=multiplier, clamp=clamp
        )
        draft.add_op(op)
        return result

    return Pending(node, place[source.index], emit)


def pad(draft: NetworkDraft, node: Node, source: View, pads: Sequence[int], value: int, name: str) -> View:
    """Lower Pad by a stored value along up to two axes; scale and zero point stay."""
    rank = len(source.shape)
    if len(pads) != 2 * rank or min(pads) < 0:
        raise InputError(f"{node}: pads must be {2 * rank} numbers of at least 0 (got {list(pads)}).")
    tensor, places = _stored_axes(draft, node, source, [a for a in range(rank) if pads[a] or pads[a + rank]])
    rows = next((axis for axis in range(rank) if places[axis] == 0), None)
    columns = next((axis for axis in range(rank) if places[axis] == 1), None)
    top, bottom = (0, 0) if rows is None else (pads[rows], pads[rows + rank])
    left, right = (0, 0) if columns is None else (pads[columns], pads[columns + rank])
    height, width, channels = draft.size(tensor)
    size = (height + top + bottom, width + left + right, channels)
    window = replace(POINT, pads=(top, left, bottom, right))
    result = draft.add_tensor(name, size, quantization=draft.quantization(tensor))
    fill = np.array([value], np.int8)
    draft.add_op(Op(node.name, OpKind.PAD, (tensor,), result, window, weights=fill))
    shape = [source.shape[axis] + pads[axis] + pads[axis + rank] for axis in range(rank)]
    order = sorted(range(rank), key=lambda axis: places[axis])
    index = sequential([shape[axis] for axis in order]).transpose(np.argsort(order))
    return replace(source, tensor=result, index=index)


def _stored_axes(draft: NetworkDraft, node: Node, source: View, padded: list[int]) -> tuple[str, list[float]]:
    """Say which stored axis each axis of a view is: 0 height, 1 width, 2 channels; channels are not padded.

    Axes of size 1 that stay so carry no data and fall between the others. Tried in turn: channels
    last, first, in the middle, a single one. The first that fits what is stored is taken, else the first
    that is possible, in a permuted copy.
    """
    axes = range(len(source.shape))
    large = [axis for axis in axes if source.shape[axis] > 1 or axis in padded]
    possible: list[tuple[Index, list[float]]] = []
    for channel in (large[-1:], large[:1], large[1:2], []):
        spatial = [axis for axis in large if axis not in channel]
        if len(spatial) > 2 or set(channel) & set(padded):
            continue
        order = (*spatial, *channel)
        lengths = [source.shape[axis] for axis in order]
        size = (*[1] * (2 - len(spatial)), *lengths, *[1] * (1 - len(channel)))
        stored = source.index.transpose(*order, *(axis for axis in axes if axis not in order)).reshape(size)
        numbers = {axis: float(2 - len(spatial) + place) for place, axis in enumerate(spatial)}
        places = [numbers.get(axis, 2.0 if axis in channel else 1.5) for axis in axes]
        if is_sequential(stored) and draft.settle(source.tensor, (size[0], size[1], size[2])):
            return source.tensor, places
        possible.append((stored, places))
    if not possible:
        raise InputError(f"{node}: at most two axes can be padded, of three (got pads along axes {padded}).")
    return draft.stored_as(source, possible[0][0], node.name), possible[0][1]
