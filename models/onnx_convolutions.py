"""Operators of ONNX with constant weights as convolutions of a network: convolutions, products with matrices.

Every function takes a stored tensor with its scale (None: float32) and returns a ``Pending`` result.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import Index, View, by_channel, sequential
from ooc_solve.models.network_draft import NetworkDraft
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_spatial import Spatial, Weights
from ooc_solve.models.onnx_values import Constant, Floats, Pending, QuantizedConstant, Scale
from ooc_solve.models.op_fusion import Size
from ooc_solve.models.vocabulary import POINT, DType, InputError, Op, OpKind

Array = NDArray[Any]
Bias = Constant | QuantizedConstant

INT32_MAX = 2**31 - 1


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


def finite(node: Node, factors: Array | np.float32) -> Floats:
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
        return float_weighted(draft, template, size, index, _float_bias(node, bias, size[2]), node)
    product = np.broadcast_to(scale.scale * weight_scales, (size[2],)).astype(np.float32)
    steps = bias_steps(node, bias, product)
    largest = 255 * _magnitudes(taps) + np.abs(steps)
    if largest.max() > INT32_MAX:
        raise InputError(f"{node}: sums must fit 32 bits (could reach {largest.max()}); use fewer inputs.")

    def emit(output: Scale | None, clamp: tuple[int, int], name: str) -> str:
        assert output is not None
        tensor = draft.add_tensor(name, size, quantization=output.quantization)
        multiplier = finite(node, product / output.scale)
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


def float_weighted(
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
        return float_weighted(draft, replace(template, weights=weights), size, index, sums, node)

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
    if not np.abs(scaled).max() <= INT32_MAX:
        raise InputError(f"{node}: its bias must fit 32 bits in units of input scale times weight scale.")
    return np.rint(scaled).astype(np.int64)


def _channelwise(node: Node, values: Array, count: int) -> Array:
    if values.size not in (1, count):
        raise InputError(
            f"{node}: its bias must have one value per output channel, {count} (got {values.size})."
        )
    return np.broadcast_to(values.reshape(-1), (count,))
