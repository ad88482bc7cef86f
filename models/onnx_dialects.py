"""The operators of the three quantised dialects of ONNX, one function each.

QuantizeLinear / DequantizeLinear pairs around float operators, as tf2onnx and as onnxruntime
write them, and onnxruntime's QLinear operators. ``HANDLERS`` is the list of what is supported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models import onnx_operators as operators
from ooc_solve.models.layout import Index, View, by_channel
from ooc_solve.models.onnx_graph import Node, evaluate
from ooc_solve.models.onnx_operands import Operands
from ooc_solve.models.onnx_values import (
    BYTES_AS_INT8,
    Constant,
    FloatInput,
    Pending,
    QuantizedConstant,
    Real,
    Scale,
    Value,
)
from ooc_solve.models.vocabulary import InputError, Op, OpKind

Array = NDArray[Any]
Handler = Callable[[Operands, Node], Value]

OWN_DOMAIN = "com.microsoft."

_FUNCTIONS = (
    *("Abs", "Celu", "Clip", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Neg"),
    *("Reciprocal", "Relu", "Selu", "Sigmoid", "Softplus", "Softsign", "Sqrt", "Tanh", "ThresholdedRelu"),
)
_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "PRelu": lambda x, slope: np.where(x < 0, x * slope, x),
}


# ------------------------------------------------------------ QuantizeLinear and back


def _quantize(given: Operands, node: Node) -> Value:
    value, output = given.operand(node), node.outputs[0]
    if isinstance(value, Constant):
        return Constant(_quantized_array(given, node, value.array))
    default = {2: np.dtype(np.uint8), 3: np.dtype(np.int8)}.get(node.attributes.get("output_dtype", 2))
    scale = given.scale(node, 1, default)
    if isinstance(value, Pending):
        return given.round_to(value, scale, output)
    if isinstance(value, FloatInput):
        op = Op(node.name, OpKind.QUANTIZE, (value.view.tensor,), output)
        return View(given.draft.elementwise(op, scale.quantization), value.view.index, scale.offset)
    if not isinstance(value, Real):
        raise InputError(f"{node}: its input must be real numbers (got integers).")
    table = scale.stored(value.table).view(np.uint8)
    return _looked_up(given, value.view, table, scale, node.name, output)


def _looked_up(
    given: Operands, view: View, table: NDArray[np.uint8], scale: Scale, name: str, output: str
) -> View:
    """Map stored bytes by a table; a table that changes nothing costs nothing."""
    if table.ndim == 2 and (table == table[0]).all():
        table = table[0]
    if table.ndim == 1 and np.array_equal(table.view(np.int8), BYTES_AS_INT8):
        return replace(view, offset=scale.offset)
    result = given.draft.lookup(view, table, scale.quantization, name, tensor=output)
    return replace(result, offset=scale.offset)


def _quantized_array(given: Operands, node: Node, array: Array) -> Array:
    scale, zero = given.array(node, 1), given.array(node, 2)
    if scale is None:
        raise InputError(f"{node}: must have a scale.")
    zero = np.zeros(1, np.uint8) if zero is None else zero
    shape = [1] * array.ndim
    if scale.size > 1:
        shape[node.attributes.get("axis", 1)] = scale.size
    steps = np.rint(array / scale.reshape(shape)) + zero.reshape(shape if zero.size > 1 else [1] * array.ndim)
    limits = np.iinfo(zero.dtype)
    return np.asarray(np.clip(steps, limits.min, limits.max).astype(zero.dtype))


def _dequantize(given: Operands, node: Node) -> Value:
    value = given.operand(node)
    if isinstance(value, Constant):
        if value.array.dtype not in (np.int8, np.uint8, np.int32):
            raise InputError(f"{node}: constants must be int8, uint8 or int32 (got {value.array.dtype}).")
        if node.attributes.get("block_size"):
            raise InputError(
                f"{node}: blocked quantisation is not supported; quantise per tensor or per channel."
            )
        axis = int(node.attributes.get("axis", 1))
        axis = axis % value.array.ndim if value.array.ndim > 1 else 0
        return replace(given.constant(node, 0, axis), array=value.array)
    if not isinstance(value, View):
        raise InputError(f"{node}: its input must be quantised integers.")
    scale = given.scale(node, 1, np.dtype(np.uint8 if value.offset else np.int8))
    given.check_sign(node, value, scale)
    return Real.dequantized(given.draft.read_as(value, scale.quantization), scale)


# --------------------------------------------------------------------- layout


def _rearranged(given: Operands, node: Node, change: Callable[[Index], Index]) -> Value:
    """Apply a change of layout to whatever carries an index."""
    value = given.operand(node)
    if isinstance(value, View):
        return value.with_index(change(value.index))
    if isinstance(value, Real | FloatInput):
        return replace(value, view=value.view.with_index(change(value.view.index)))
    if isinstance(value, Pending):
        return replace(value, index=change(value.index))
    assert isinstance(value, QuantizedConstant)
    if value.scale.size > 1 or value.zero_point.size > 1:
        raise InputError(
            f"{node}: weights with one scale per channel cannot be reshaped; fold it into the weights."
        )
    return replace(value, array=change(value.array))


def _transpose(given: Operands, node: Node) -> Value:
    value = given.operand(node)
    rank = len(given.shape_of(value, node.name))
    order = node.attributes.get("perm", range(rank)[::-1])
    if sorted(order) != list(range(rank)):
        raise InputError(
            f"{node}: perm must hold each of the {rank} axes of its input once (got {list(order)})."
        )
    if isinstance(value, QuantizedConstant):
        return value.transposed(tuple(order))
    return _rearranged(given, node, lambda index: np.transpose(index, order))


def _reshape(given: Operands, node: Node) -> Value:
    target = given.integers(node, 1, "shape")
    if target is None:
        raise InputError(f"{node}: its target shape must be a constant.")
    before = given.shape_of(given.operand(node), node.name)
    if not node.attributes.get("allowzero"):
        target = [
            before[axis] if size == 0 and axis < len(before) else size for axis, size in enumerate(target)
        ]
    try:
        return _rearranged(given, node, lambda index: index.reshape(target))
    except ValueError:
        raise InputError(f"{node}: {before} cannot be reshaped to {target}; is the batch 1?") from None


def _flatten(given: Operands, node: Node) -> Value:
    shape = given.shape_of(given.operand(node), node.name)
    axis = node.attributes.get("axis", 1)
    rows = int(np.prod(shape[:axis]))
    return _rearranged(given, node, lambda index: index.reshape(rows, -1))


def _squeeze(given: Operands, node: Node) -> Value:
    axes = given.integers(node, 1, "axes")
    return _rearranged(given, node, lambda index: np.squeeze(index, None if axes is None else tuple(axes)))


def _unsqueeze(given: Operands, node: Node) -> Value:
    axes = given.integers(node, 1, "axes") or []
    return _rearranged(given, node, lambda index: np.expand_dims(index, tuple(axes)))


def _identity(given: Operands, node: Node) -> Value:
    return given.operand(node)


def _shape(given: Operands, node: Node) -> Value:
    shape = given.shape_of(given.operand(node), node.name)
    part = slice(node.attributes.get("start"), node.attributes.get("end"))
    return Constant(np.array(shape[part], np.int64))


# ---------------------------------------------------------------- elementwise


def _function(given: Operands, node: Node) -> Value:
    """Read a function of one number, as limits of a pending result or as a new table."""
    value = given.operand(node)
    if isinstance(value, Pending) and node.kind in ("Relu", "Clip"):
        return value.limited(*_limits(given, node))
    if isinstance(value, View) and node.kind == "Clip":
        return _clip_integers(given, node, value)
    real = given.real(node)
    others = [given.array(node, position) for position in range(1, len(node.inputs))]
    (table,) = evaluate(node, [real.table, *others], given.opset)
    return replace(real, table=table.astype(np.float32), scale=None)


def _clip_integers(given: Operands, node: Node, view: View) -> View:
    """Limit stored integers by a table; scale and zero point stay."""
    bounds = np.nan_to_num(np.array(_limits(given, node)), posinf=255, neginf=-128) - view.offset
    table = np.clip(BYTES_AS_INT8, *np.clip(bounds, -128, 127)).astype(np.int8).view(np.uint8)
    known = given.draft.quantization(view.tensor)
    clipped = given.draft.lookup(view, table, known, node.name, tensor=node.outputs[0])
    return replace(clipped, offset=view.offset)


def _limits(given: Operands, node: Node) -> tuple[np.float32, np.float32]:
    low, high = np.float32(-np.inf), np.float32(np.inf)
    if node.kind == "Relu":
        return np.float32(0), high
    bounds: list[np.float32] = []
    for position, key, default in ((1, "min", low), (2, "max", high)):
        found = given.array(node, position)
        bounds.append(
            np.float32(found.reshape(-1)[0] if found is not None else node.attributes.get(key, default))
        )
    return bounds[0], bounds[1]


def _arithmetic(given: Operands, node: Node) -> Value:
    """Read Add, Sub, Mul, Div and PRelu: of two activations (Add only) or with a constant."""
    if len(node.inputs) != 2:
        raise InputError(f"{node}: must have two inputs (got {len(node.inputs)}).")
    left, right = given.operand(node, 0), given.operand(node, 1)
    adds = node.kind in ("Add", "Sum")
    constant_left = isinstance(left, Constant | QuantizedConstant)
    value, constant = (right, left) if constant_left else (left, right)
    if not isinstance(constant, Constant | QuantizedConstant):
        if not adds:
            given.real(node, 0)
            raise InputError(f"{node}: one of its inputs must be a constant.")
        (one, _), (other, _) = given.dequantized(node, 0), given.dequantized(node, 1)
        return operators.addition(given.draft, node, one, other)
    if adds and isinstance(value, Pending) and value.add_bias is not None:
        return value.add_bias(constant, value.index)
    real = given.real(node, 1 if constant_left else 0)
    array = constant.array if isinstance(constant, Constant) else constant.real()
    step = _channel_operand(given, node, array, real.view).astype(np.float32)
    table = real.table if step.size == 1 and real.table.ndim == 1 else np.atleast_2d(real.table)
    step = step if table.ndim == 1 else step[:, np.newaxis]
    function = _ARITHMETIC["Add" if adds else node.kind]
    result = function(step, table) if constant_left else function(table, step)
    return replace(real, table=result.astype(np.float32), scale=None)


def _channel_operand(given: Operands, node: Node, array: Array, view: View) -> Array:
    """Return a constant operand as one value, or as one per stored channel."""
    channels = given.draft.size(view.tensor)[2]
    found = by_channel(array, view.index, channels)
    if found is None:
        raise InputError(
            f"{node}: a constant operand must be one number or one per channel, {channels} "
            f"(got shape {array.shape} for {view.shape})."
        )
    return np.asarray(found)


# ------------------------------------------------- operators between DQ and Q


def _conv(given: Operands, node: Node) -> Value:
    view, scale = given.dequantized(node)
    weights, bias = given.weights(node, 1), given.bias(node, 2)
    return operators.convolution(given.draft, node, view, scale, weights, bias)


def _gemm(given: Operands, node: Node) -> Value:
    view, scale = given.dequantized(node)
    weights = _gemm_weights(node, given.weights(node, 1))
    if node.attributes.get("beta", 1.0) != 1.0:
        raise InputError(f"{node}: beta must be 1 (got {node.attributes['beta']}).")
    return operators.fully_connected(given.draft, node, view, scale, weights, given.bias(node, 2))


def _gemm_weights(node: Node, weights: QuantizedConstant) -> QuantizedConstant:
    """Return Gemm's weights as ``[in, out]``."""
    if node.attributes.get("alpha", 1.0) != 1.0 or node.attributes.get("transA"):
        raise InputError(f"{node}: alpha must be 1 and transA 0; fold them into the weights.")
    return weights.transposed((1, 0)) if node.attributes.get("transB") else weights


def _matmul(given: Operands, node: Node) -> Value:
    view, scale = given.dequantized(node)
    return operators.fully_connected(given.draft, node, view, scale, given.weights(node, 1), None)


def _average_pool(given: Operands, node: Node) -> Value:
    view, _ = given.dequantized(node)
    return operators.average_pool(given.draft, node, view)


def _global_average(given: Operands, node: Node) -> Value:
    view, _ = given.dequantized(node)
    return operators.mean(given.draft, node, view, range(2, len(view.shape)), True)


def _reduce_mean(given: Operands, node: Node) -> Value:
    view, _ = given.dequantized(node)
    axes = given.integers(node, 1, "axes")
    if not axes and node.attributes.get("noop_with_empty_axes"):
        return given.operand(node)
    keepdims = bool(node.attributes.get("keepdims", 1))
    return operators.mean(given.draft, node, view, axes or range(len(view.shape)), keepdims)


def _softmax(given: Operands, node: Node) -> Value:
    view, scale = given.dequantized(node)
    old = given.opset < 13
    axis = int(node.attributes.get("axis", 1 if old else -1))
    return operators.softmax(given.draft, node, view, scale, axis, flatten=old, whole_steps=False)


def _concat(given: Operands, node: Node) -> Value:
    parts = [given.dequantized(node, position) for position in range(len(node.inputs))]
    if len(parts) == 1:
        return given.operand(node)
    return operators.concatenation(given.draft, node, parts, _axis(node, parts[0][0]))


def _axis(node: Node, view: View) -> int:
    axis, rank = int(node.attributes.get("axis", 1)), len(view.shape)
    if not -rank <= axis < rank:
        raise InputError(f"{node}: axis must be one of the {rank} axes of its input (got {axis}).")
    return axis % rank


def _max_pool(given: Operands, node: Node) -> Value:
    if len(node.outputs) > 1 and node.outputs[1]:
        raise InputError(f"{node}: its output of indices is not supported; remove it.")
    value = given.operand(node)
    if isinstance(value, View):
        return operators.max_pool(given.draft, node, value, node.outputs[0])
    real = _plain_table(given, node)
    if (np.diff(real.table[BYTES_AS_INT8.argsort()]) < 0).any():
        raise InputError(f"{node}: its input must be quantised after the function before it.")
    return replace(real, view=operators.max_pool(given.draft, node, real.view, node.outputs[0]))


def _plain_table(given: Operands, node: Node) -> Real:
    real = given.real(node)
    if real.table.ndim != 1:
        raise InputError(
            f"{node}: its input must be quantised after the operator with one constant per channel."
        )
    return real


def _pad(given: Operands, node: Node) -> Value:
    mode = node.attributes.get("mode", "constant")
    if mode != "constant":
        raise InputError(f"{node}: mode must be constant (got {mode}).")
    pads = _all_pads(given, node)
    filling = given.array(node, 2)
    number = filling.reshape(-1)[0] if filling is not None else node.attributes.get("value", 0)
    value = given.operand(node)
    if isinstance(value, View):
        return operators.pad(given.draft, node, value, pads, int(number) - value.offset, node.outputs[0])
    real = _plain_table(given, node)
    matches = BYTES_AS_INT8[real.table == np.float32(number)]
    if not matches.size:
        raise InputError(f"{node}: its value must be one the quantised input can hold (got {number}).")
    zero = real.scale.zero_point if real.scale else int(matches[0])
    fill = zero if zero in matches else int(matches[0])
    return replace(real, view=operators.pad(given.draft, node, real.view, pads, fill, node.outputs[0]))


def _all_pads(given: Operands, node: Node) -> list[int]:
    """Return pads of every axis: starts, then ends."""
    pads = given.integers(node, 1, "pads")
    if pads is None:
        raise InputError(f"{node}: pads must be constant.")
    axes = given.integers(node, 3, "axes")
    if axes is None:
        return pads
    rank = len(given.shape_of(given.operand(node), node.name))
    full = [0] * (2 * rank)
    if len(pads) != 2 * len(axes):
        raise InputError(f"{node}: pads must be {2 * len(axes)} numbers for {len(axes)} axes (got {pads}).")
    for place, axis in enumerate(axes):
        full[axis % rank], full[axis % rank + rank] = pads[place], pads[place + len(axes)]
    return full


# ------------------------------------------------------ onnxruntime's QLinear operators


def _qlinear_conv(given: Operands, node: Node) -> Value:
    view, scale = given.activation(node, 0)
    weights, output = given.constant(node, 3, 0), given.scale(node, 6)
    pending = operators.convolution(
        given.draft, node, view, scale, weights, _integer_bias(given, node, 8, scale, weights)
    )
    return given.round_to(pending, output, node.outputs[0])


def _integer_bias(
    given: Operands, node: Node, position: int, scale: Scale, weights: QuantizedConstant
) -> QuantizedConstant | None:
    """Return a bias that is in units of input scale times weight scale by definition."""
    array = given.array(node, position)
    if array is None:
        return None
    return QuantizedConstant(array.reshape(-1), scale.scale * weights.scale, np.zeros(1, np.int32), 0)


def _qlinear_matmul(given: Operands, node: Node) -> Value:
    view, scale = given.activation(node, 0)
    weights, output = given.constant(node, 3, 1), given.scale(node, 6)
    pending = operators.fully_connected(given.draft, node, view, scale, weights, None)
    return given.round_to(pending, output, node.outputs[0])


def _qgemm(given: Operands, node: Node) -> Value:
    view, scale = given.activation(node, 0)
    constant = given.constant(node, 3, 0 if node.attributes.get("transB") else 1)
    weights, output = _gemm_weights(node, constant), given.scale(node, 7)
    bias = _integer_bias(given, node, 6, scale, weights)
    pending = operators.fully_connected(given.draft, node, view, scale, weights, bias)
    return given.round_to(pending, output, node.outputs[0])


def _qlinear_add(given: Operands, node: Node) -> Value:
    output = given.scale(node, 6)
    constants = [p for p in (0, 3) if isinstance(given.operand(node, p), Constant)]
    if constants:
        return _add_constant(given, node, 3 - constants[0], constants[0], output)
    (one, _), (other, _) = given.activation(node, 0), given.activation(node, 3)
    pending = operators.addition(given.draft, node, one, other)
    return given.round_to(pending, output, node.outputs[0])


def _add_constant(given: Operands, node: Node, position: int, constant: int, output: Scale) -> View:
    """Add a quantised constant by tables, with the formula of ADD."""
    view, scale = given.activation(node, position)
    array, other = given.array(node, constant), given.scale(node, constant + 1)
    assert array is not None
    steps = array.astype(np.int32) - other.offset - other.zero_point
    values = _channel_operand(given, node, steps, view).astype(np.float32)
    data = (BYTES_AS_INT8.astype(np.int32) - scale.zero_point).astype(np.float32)
    total = data * (scale.scale / output.scale) + (values * (other.scale / output.scale))[:, np.newaxis]
    sums = np.rint(total + np.float32(output.zero_point))
    table = np.clip(sums, -128, 127).astype(np.int8).view(np.uint8)
    return _looked_up(given, view, table, output, node.name, node.outputs[0])


def _qlinear_average_pool(given: Operands, node: Node) -> Value:
    view, _ = given.activation(node, 0)
    pending = operators.average_pool(given.draft, node, _channels_second(node, view))
    return given.round_to(_channels_as_given(node, pending), given.scale(node, 3), node.outputs[0])


def _qlinear_global_average(given: Operands, node: Node) -> Value:
    view, _ = given.activation(node, 0)
    first = 1 if node.attributes.get("channels_last") else 2
    axes = range(first, first + len(view.shape) - 2)
    pending = operators.mean(given.draft, node, view, axes, True)
    return given.round_to(pending, given.scale(node, 3), node.outputs[0])


def _qlinear_concat(given: Operands, node: Node) -> Value:
    parts = [given.activation(node, position) for position in range(2, len(node.inputs), 3)]
    if len(parts) < 2:
        raise InputError(f"{node}: must have at least two inputs (got {len(parts)}).")
    pending = operators.concatenation(given.draft, node, parts, _axis(node, parts[0][0]))
    return given.round_to(pending, given.scale(node, 0), node.outputs[0])


def _channels_second(node: Node, view: View) -> View:
    if not node.attributes.get("channels_last"):
        return view
    return view.with_index(np.moveaxis(view.index, -1, 1))


def _channels_as_given(node: Node, pending: Pending) -> Pending:
    if not node.attributes.get("channels_last"):
        return pending
    return replace(pending, index=np.moveaxis(pending.index, 1, -1))


def _qlinear_softmax(given: Operands, node: Node) -> Value:
    view, scale = given.activation(node, 0)
    old = int(node.attributes.get("opset", given.opset)) < 13
    axis = int(node.attributes.get("axis", 1 if old else -1))
    pending = operators.softmax(given.draft, node, view, scale, axis, flatten=old, whole_steps=True)
    return given.round_to(pending, given.scale(node, 3), node.outputs[0])


LAYOUT: dict[str, Handler] = {
    "Transpose": _transpose,
    "Reshape": _reshape,
    "Flatten": _flatten,
    "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze,
    "Identity": _identity,
    "Dropout": _identity,
}

HANDLERS: dict[str, Handler] = {
    **LAYOUT,
    **dict.fromkeys(_FUNCTIONS, _function),
    **dict.fromkeys((*_ARITHMETIC, "Sum"), _arithmetic),
    "Shape": _shape,
    "QuantizeLinear": _quantize,
    "DequantizeLinear": _dequantize,
    "Conv": _conv,
    "Gemm": _gemm,
    "MatMul": _matmul,
    "AveragePool": _average_pool,
    "GlobalAveragePool": _global_average,
    "ReduceMean": _reduce_mean,
    "Softmax": _softmax,
    "MaxPool": _max_pool,
    "Pad": _pad,
    "Concat": _concat,
    "QLinearConv": _qlinear_conv,
    "QLinearMatMul": _qlinear_matmul,
    f"{OWN_DOMAIN}QGemm": _qgemm,
    f"{OWN_DOMAIN}QLinearAdd": _qlinear_add,
    f"{OWN_DOMAIN}QLinearAveragePool": _qlinear_average_pool,
    f"{OWN_DOMAIN}QLinearGlobalAveragePool": _qlinear_global_average,
    f"{OWN_DOMAIN}QLinearConcat": _qlinear_concat,
    f"{OWN_DOMAIN}QLinearSoftmax": _qlinear_softmax,
}
