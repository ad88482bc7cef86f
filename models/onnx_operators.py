"""Operators of ONNX as operators of a network, whatever dialect the file speaks.

Every function takes stored tensors with their scales (None: float32) and returns a ``Pending`` result, or a
view where the scale does not change. Formulas are in ``reference`` and ``float_reference``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import Index, View, by_channel, is_sequential, nchw, sequential
from ooc_solve.models.network_draft import NetworkDraft
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_values import (
    Constant,
    Floats,
    Pending,
    QuantizedConstant,
    Scale,
)
from ooc_solve.models.op_fusion import Size
from ooc_solve.models.reference import exponentials
from ooc_solve.models.vocabulary import POINT, UNLIMITED, DType, InputError, Op, OpKind, Place, Window

Array = NDArray[Any]
Bias = Constant | QuantizedConstant
Weights = Constant | QuantizedConstant

_INT32_MAX = 2**31 - 1
_WIDEST = np.float32(1024)  # steps: more than any two bytes are apart, zero points included


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
        shape = self.kernel_shape(kernel)
        if shape is None:
            raise InputError(f"{self.node}: must have a kernel_shape.")
        window = Window(
            kernel=self.pair(shape),
            stride=self.pair(attributes.get("strides")),
            dilation=self.pair(attributes.get("dilations")),
        )
        explicit = self.pads(attributes.get("pads"))
        return replace(window, pads=self._automatic_pads(window, explicit))

    def taps(self, weights: Weights) -> Array:
        """Return constant weights less their zero points, with two spatial axes behind the first two."""
        if weights.array.ndim != self.rank:
            raise InputError(
                f"{self.node}: weights must have rank {self.rank} like the input (got {weights.array.ndim})."
            )
        kernel = weights.array.shape[2:]
        return weights.centred(self.node).reshape(*weights.array.shape[:2], *self.pair(kernel))

    def kernel_shape(self, weights: Sequence[int] | None) -> Sequence[int] | None:
        """Return the kernel's shape by the node, which must be that of its weights, or by the weights alone."""
        shape: Sequence[int] | None = self.node.attributes.get("kernel_shape")
        if shape is None or weights is None:
            return weights if shape is None else shape
        if list(shape) != list(weights):
            raise InputError(
                f"{self.node}: kernel_shape must be that of its weights, {list(weights)} (got {list(shape)}); "
                "the file is damaged."
            )
        return shape

    def transposed_window(self, kernel: Sequence[int]) -> Window:
        """Read the window of a transposed convolution; its last pads say what size comes out."""
        attributes = self.node.attributes
        window = Window(
            kernel=self.pair(self.kernel_shape(kernel)),
            stride=self.pair(attributes.get("strides")),
            dilation=self.pair(attributes.get("dilations")),
            transposed=True,
        )
        full = window.output_size(self.size[0], self.size[1])
        longer = self.pair(attributes.get("output_padding"), default=0)
        wanted = attributes.get("output_shape")
        mode = attributes.get("auto_pad", "NOTSET")
        if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
            wanted = [size * stride for size, stride in zip(self.size[:2], window.stride, strict=True)]
        elif wanted is not None:
            wanted = list(self.pair(wanted[-(self.rank - 2) :]))
        if wanted is None:
            pads = self.pads(attributes.get("pads"))
        else:
            total = [max(full[k] + longer[k] - wanted[k], 0) for k in (0, 1)]
            begin = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
            pads = (begin[0], begin[1], total[0] - begin[0], total[1] - begin[1])
        last = (pads[2] - longer[0], pads[3] - longer[1])
        if min(last) < 0:
            raise InputError(
                f"{self.node}: output_padding must not exceed the pads at the end (got {longer}, {pads})."
            )
        return replace(window, pads=(pads[0], pads[1], *last))

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
    scale: Scale | None,
    weights: Weights,
    bias: Bias | None,
) -> Pending:
    """Lower a convolution with constant ``[oc, ic / g, (kh,) kw]`` weights."""
    spatial = Spatial.of(draft, node, source)
    values = spatial.taps(weights)
    window = spatial.window(weights.array.shape[2:])
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
        *(node.name, kind, (spatial.tensor,), "", window, groups),
        weights=np.ascontiguousarray(stored),
        packed=weights.four_bits and fits_four_bits(stored),
    )
    taps = values.reshape(outputs, -1)
    return _weighted(
        draft, template, size, spatial.index_of(size), scale, weights.scales(node, 0), taps, bias, node
    )


def transposed_convolution(
    draft: NetworkDraft,
    node: Node,
    source: View,
    scale: Scale | None,
    weights: Weights,
    bias: Bias | None,
) -> Pending:
    """Lower a transposed convolution with constant ``[ic, oc / g, (kh,) kw]`` weights."""
    spatial = Spatial.of(draft, node, source)
    groups, channels = int(node.attributes.get("group", 1)), spatial.size[2]
    values = spatial.taps(weights)
    inputs, per_group = values.shape[:2]
    if inputs != channels or inputs % groups:
        raise InputError(
            f"{node}: weights must have the input's {channels} channels, in {groups} groups (got {inputs})."
        )
    window = spatial.transposed_window(weights.array.shape[2:])
    outputs = per_group * groups
    by_group = values.reshape(groups, inputs // groups, per_group, *values.shape[2:])
    stored = by_group.transpose(0, 2, 3, 4, 1).reshape(outputs, *values.shape[2:], inputs // groups)
    size = spatial.output_size(window, outputs)
    template = Op(
        node.name,
        OpKind.CONV,
        (spatial.tensor,),
        "",
        window,
        groups,
        weights=np.ascontiguousarray(stored),
        packed=weights.four_bits and fits_four_bits(stored),
    )
    scales = weights.scales(node, 1)
    scales = np.tile(scales, groups) if scales.size > 1 else scales
    taps = stored.reshape(outputs, -1)
    return _weighted(draft, template, size, spatial.index_of(size), scale, scales, taps, bias, node)


def fully_connected(
    draft: NetworkDraft,
    node: Node,
    source: View,
    scale: Scale | None,
    weights: Weights,
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
    template = Op(
        *(node.name, OpKind.CONV, (tensor,), "", window),
        weights=np.ascontiguousarray(kernel),
        packed=weights.four_bits and fits_four_bits(kernel),
    )
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


def _finite(node: Node, factors: Array | np.float32) -> Floats:
    """Return what a kernel multiplies by, refused where float32 has no such number."""
    found = np.asarray(factors, np.float32)
    if not np.isfinite(found).all():
        raise InputError(
            f"{node}: its scales lie too far apart, or one is no number; those of inputs and weights over that of "
            f"the output must be finite (got {found[~np.isfinite(found)][0]}); quantise the model again."
        )
    return found


def fits_four_bits(values: Array) -> bool:
    """Whether integers can be stored with four bits each."""
    return bool(values.min() >= -8 and values.max() <= 7)


def _weighted(
    draft: NetworkDraft,
    template: Op,
    size: Size,
    index: Index,
    scale: Scale | None,
    weight_scales: Floats,
    taps: Array,
    bias: Bias | None,
    node: Node,
) -> Pending:
    """Return a convolution that waits for its output scale. ``taps`` is ``[oc, weights]``."""
    if scale is None:
        return _float_weighted(draft, template, size, index, _float_bias(node, bias, size[2]), node)
    product = np.broadcast_to(scale.scale * weight_scales, (size[2],)).astype(np.float32)
    steps = bias_steps(node, bias, product)
    largest = 255 * _magnitudes(taps) + np.abs(steps)
    if largest.max() > _INT32_MAX:
        raise InputError(f"{node}: sums must fit 32 bits (could reach {largest.max()}); use fewer inputs.")

    def emit(output: Scale | None, clamp: tuple[int, int], name: str) -> str:
        assert output is not None
        tensor = draft.add_tensor(name, size, quantization=output.quantization)
        multiplier = _finite(node, product / output.scale)
        op = replace(template, output=tensor, bias=steps.astype(np.int32), multiplier=multiplier, clamp=clamp)
        draft.add_op(op)
        return tensor

    def with_bias(extra: Bias, shown: Index) -> Pending:
        values = by_channel(extra.array, shown, size[2])
        if values is None:
            raise InputError(f"{node}: what is added to it must be one value per output channel, {size[2]}.")
        extra = replace(extra, array=values)
        return _weighted(draft, template, size, shown, scale, weight_scales, taps, extra, node)

    def rescaled(factor: Floats, addend: Floats) -> Pending:
        """Fold a factor and an addend per channel into weights and bias; a factor of 0 leaves the addend."""
        size_of_factor = np.where(factor == 0, np.float32(1), np.abs(factor)).astype(np.float32)
        signs = np.sign(factor).astype(np.int8)
        negated = _times(template, signs)
        folded = replace(template, weights=negated, packed=template.packed and fits_four_bits(negated))
        real = steps * (product.astype(np.float64) * factor) + addend
        sums = Constant(real.astype(np.float32))
        scales = weight_scales * size_of_factor
        return _weighted(draft, folded, size, index, scale, scales, taps * signs[:, np.newaxis], sums, node)

    return Pending(node, index, emit, add_bias=with_bias if bias is None else None, rescaled=rescaled)


def _magnitudes(taps: NDArray[np.int8]) -> NDArray[np.int64]:
    """Sums of absolute values along the rows, without a wider copy of all weights."""
    above = np.maximum(taps, 0).sum(axis=1, dtype=np.int64)
    return np.asarray(above - np.minimum(taps, 0).sum(axis=1, dtype=np.int64))


def _float_bias(node: Node, bias: Bias | None, count: int) -> Floats:
    if bias is None:
        return np.zeros(count, np.float32)
    real = bias.real() if isinstance(bias, QuantizedConstant) else bias.array.astype(np.float32)
    return np.asarray(_channelwise(node, real, count), np.float32)


def _float_weighted(
    draft: NetworkDraft, template: Op, size: Size, index: Index, bias: Floats, node: Node
) -> Pending:
    """Return a convolution of float32, in which a factor and an addend per channel can be folded."""

    def emit(output: Scale | None, clamp: tuple[int, int], name: str) -> str:
        tensor = draft.add_tensor(name, size, DType.FLOAT32)
        draft.add_op(replace(template, output=tensor, bias=bias, clamp=clamp))
        return tensor

    def rescaled(factor: Floats, addend: Floats) -> Pending:
        assert template.weights is not None
        axis = 2 if template.kind is OpKind.DEPTHWISE else 0
        shape = [-1 if axis == place else 1 for place in range(template.weights.ndim)]
        weights = template.weights.astype(np.float32) * factor.reshape(shape)
        sums = np.asarray(bias * factor + addend, np.float32)
        return _float_weighted(draft, replace(template, weights=weights), size, index, sums, node)

    return Pending(node, index, emit, rescaled=rescaled, channels=size[2], is_float=True)


def _times(template: Op, signs: NDArray[np.int8]) -> NDArray[np.int8]:
    """Return the weights of a convolution, those of some output channels negated or zero."""
    assert template.weights is not None
    axis = 2 if template.kind is OpKind.DEPTHWISE else 0
    shape = [-1 if axis == place else 1 for place in range(template.weights.ndim)]
    product = template.weights.astype(np.int16) * signs.reshape(shape)
    if product.max() > 127:
        raise InputError(f"'{template.name}': a weight of -128 cannot be negated; quantise to -127..127.")
    return np.asarray(product.astype(np.int8))


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
    if not np.abs(scaled).max() <= _INT32_MAX:
        raise InputError(f"{node}: its bias must fit 32 bits in units of input scale times weight scale.")
    return np.rint(scaled).astype(np.int64)


def _channelwise(node: Node, values: Array, count: int) -> Array:
    if values.size not in (1, count):
        raise InputError(
            f"{node}: its bias must have one value per output channel, {count} (got {values.size})."
        )
    return np.broadcast_to(values.reshape(-1), (count,))


# --------------------------------------------------------------------- the others


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
    _INT32_MAX // 255**2
)  # sums of products of two bytes, each less its zero point, must fit 32 bits


def _check_pair(
    draft: NetworkDraft, node: Node, kind: OpKind, tensors: tuple[str, str], output: np.float32
) -> None:
    """Refuse scales of which a sum or a product of any two bytes would be no number."""
    one, other = (_scale_of(draft, tensor) for tensor in tensors)
    if kind is OpKind.MULTIPLY:
        _finite(node, one * other / output)
    else:
        _finite(node, _WIDEST * (one / output) + _WIDEST * (other / output))


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
    return _float_weighted(
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
            _finite(node, _WIDEST * np.float32(window.taps) * _scale_of(draft, tensor) / output.scale)
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
        steps = _finite(node, np.float32(1) / output.scale)
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
