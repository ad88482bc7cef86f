"""The operators of the dialects of ONNX, one function each.

QuantizeLinear / DequantizeLinear pairs around float operators, as tf2onnx and as onnxruntime
write them, onnxruntime's QLinear operators, and float32 (``onnx_floats`` where that goes another way).
``HANDLERS`` is the list of what is supported.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models import onnx_composites as composites
from ooc_solve.models import onnx_floats as floats
from ooc_solve.models import onnx_moves as moves
from ooc_solve.models import onnx_operators as operators
from ooc_solve.models import onnx_recurrent as recurrent
from ooc_solve.models import onnx_resizes as resizes
from ooc_solve.models import onnx_truths as truths
from ooc_solve.models.layout import Index, View, as_size, sequential
from ooc_solve.models.onnx_graph import FLOAT_TYPE, TRUTH_TYPE, Node, evaluate, unpacked
from ooc_solve.models.onnx_operands import Operands, bytes_of
from ooc_solve.models.onnx_values import (
    BYTES_AS_INT8,
    Constant,
    Float32,
    Pending,
    QuantizedConstant,
    Real,
    Scale,
    Value,
)
from ooc_solve.models.reference import added, multiplied
from ooc_solve.models.resampling import ROUNDINGS, TRANSFORMATIONS, nearest_positions, scaled_size
from ooc_solve.models.vocabulary import DType, InputError, Op, OpKind

Array = NDArray[Any]
Handler = Callable[[Operands, Node], Value | tuple[Value, ...]]

OWN_DOMAIN = "com.microsoft."

_PAIRS = {"Add": OpKind.ADD, "Sum": OpKind.ADD, "Sub": OpKind.ADD, "Mul": OpKind.MULTIPLY}
"""Operators of two activations."""

_FUNCTIONS = (
    *("Abs", "Ceil", "Celu", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish"),
    *("LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign"),
    *("Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu"),
)
_ARITHMETIC: dict[str, Callable[[Array, Array], Array]] = {
    "Add": np.add,
    "Sub": np.subtract,
    "Mul": np.multiply,
    "Div": np.divide,
    "PRelu": lambda x, slope: np.where(x < 0, x * slope, x),
    "Max": np.maximum,
    "Min": np.minimum,
    "Pow": np.power,
}


# ------------------------------------------------------------ QuantizeLinear and back


def _output_type(node: Node) -> np.dtype[Any]:
    """The type of what a QuantizeLinear without a zero point gives."""
    wanted = int(node.attributes.get("output_dtype", 0))
    known = {0: np.uint8, 2: np.uint8, 3: np.int8}
    if wanted not in known:
        raise InputError(
            f"{node}: output_dtype must be 2 (uint8) or 3 (int8) (got {wanted}); quantise to bytes."
        )
    return np.dtype(known[wanted])


def _quantize(given: Operands, node: Node) -> Value:
    value, output = given.settled(node), node.outputs[0]
    if isinstance(value, Constant):
        inputs = [given.array(node, position) for position in range(len(node.inputs))]
        return Constant(evaluate(node, inputs, given.opset)[0])
    default = _output_type(node)
    scale = given.scale(node, 1, default)
    if isinstance(value, Pending):
        return given.round_to(value, scale, output)
    if isinstance(value, Float32):
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


def _dequantize(given: Operands, node: Node) -> Value:
    value = given.operand(node)
    if isinstance(value, Constant):
        array = unpacked(value.array)
        if array.dtype not in (np.int8, np.uint8, np.int32):
            raise InputError(
                f"{node}: constants must be int4, int8, int32 or unsigned ones (got {value.array.dtype})."
            )
        if node.attributes.get("block_size"):
            raise InputError(
                f"{node}: blocked quantisation is not supported; quantise per tensor or per channel."
            )
        axis = int(node.attributes.get("axis", 1))
        axis = node.axis_of(axis, value.array.ndim) if value.array.ndim > 1 else 0
        constant = given.constant(node, 0, axis)
        four = array is not value.array
        return replace(constant, array=array, zero_point=unpacked(constant.zero_point), four_bits=four)
    if not isinstance(value, View):
        raise InputError(f"{node}: its input must be quantised integers.")
    scale = given.scale(node, 1, bytes_of(value))
    given.check_sign(node, value, scale)
    view = given.draft.read_as(value, scale.quantization)
    if given.floating:
        op = Op(node.name, OpKind.DEQUANTIZE, (view.tensor,), node.outputs[0])
        return Float32(View(given.draft.elementwise(op, None, DType.FLOAT32), view.index))
    return Real.dequantized(view, scale)


# --------------------------------------------------------------------- layout


def _rearranged(given: Operands, node: Node, change: Callable[[Index], Index]) -> Value:
    """Apply a change of layout to whatever carries an index."""
    value = given.operand(node)
    if isinstance(value, View):
        return _seen_through(given, node, value, change)
    if isinstance(value, Real | Float32):
        return replace(value, view=_seen_through(given, node, value.view, change))
    if isinstance(value, Pending):  # factors of bytes go by the channels of the operator alone
        rescaled = value.rescaled if value.is_float else None
        return replace(value, index=change(value.index), rescaled=rescaled)
    assert isinstance(value, QuantizedConstant)
    if value.scale.size > 1 or value.zero_point.size > 1:
        raise InputError(
            f"{node}: weights with one scale per channel cannot be reshaped; fold it into the weights."
        )
    return replace(value, array=change(value.array))


def _seen_through(given: Operands, node: Node, view: View, change: Callable[[Index], Index]) -> View:
    """Change the layout of a view; where no copy could undo what has come together, copy before that."""
    index = change(view.index)
    if given.draft.can_be_copied(index):
        return view.with_index(index)
    tensor = given.draft.stored_as(view, as_size(view.index), node.name)
    return replace(view, tensor=tensor, index=change(sequential(view.shape)))


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
    axis, rank = int(node.attributes.get("axis", 1)), len(shape)
    rows = int(np.prod(shape[: rank if axis == rank else node.axis_of(axis, rank)]))
    return _rearranged(given, node, lambda index: index.reshape(rows, -1))


def _squeeze(given: Operands, node: Node) -> Value:
    shape, axes = given.shape_of(given.operand(node), node.name), given.integers(node, 1, "axes")
    gone = None if axes is None else tuple({node.axis_of(axis, len(shape)) for axis in axes})
    return _rearranged(given, node, lambda index: np.squeeze(index, gone))


def _unsqueeze(given: Operands, node: Node) -> Value:
    shape, axes = given.shape_of(given.operand(node), node.name), given.integers(node, 1, "axes") or []
    new = tuple(node.axes_of(axes, len(shape) + len(axes)))
    return _rearranged(given, node, lambda index: np.expand_dims(index, new))


def _depth_to_space(given: Operands, node: Node) -> Value:
    """Read blocks of channels as squares of pixels."""
    batch, channels, height, width = _planar_shape(given, node)
    size = _block_size(node)
    if channels % (size * size):
        raise InputError(f"{node}: {size} x {size} must divide its {channels} channels.")
    depth = channels // (size * size)
    blocks = (batch, depth, size, size, height, width)
    order = (0, 1, 4, 2, 5, 3)
    if node.attributes.get("mode", "DCR") == "DCR":
        blocks, order = (batch, size, size, depth, height, width), (0, 3, 4, 1, 5, 2)
    shape = (batch, depth, height * size, width * size)
    return _rearranged(given, node, lambda index: index.reshape(blocks).transpose(order).reshape(shape))


def _space_to_depth(given: Operands, node: Node) -> Value:
    """Read squares of pixels as blocks of channels."""
    batch, channels, height, width = _planar_shape(given, node)
    size = _block_size(node)
    if height % size or width % size:
        raise InputError(f"{node}: its block of {size} must divide {height} rows and {width} columns.")
    blocks = (batch, channels, height // size, size, width // size, size)
    shape = (batch, channels * size * size, height // size, width // size)
    return _rearranged(
        given, node, lambda index: index.reshape(blocks).transpose(0, 3, 5, 1, 2, 4).reshape(shape)
    )


def _block_size(node: Node) -> int:
    size = int(node.attributes.get("blocksize", 0))
    if size < 1:
        raise InputError(f"{node}: must have a blocksize of at least 1 (got {size}).")
    return size


def _planar_shape(given: Operands, node: Node) -> tuple[int, int, int, int]:
    shape = given.shape_of(given.operand(node), node.name)
    if len(shape) != 4:
        raise InputError(f"{node}: must have four axes (got {len(shape)}).")
    return shape[0], shape[1], shape[2], shape[3]


def _dropout(given: Operands, node: Node) -> Value:
    training = given.array(node, 2)
    if training is not None and training.any():
        raise InputError(f"{node}: must not be in training mode; export the network for inference.")
    return _identity(given, node)


def _identity(given: Operands, node: Node) -> Value:
    return given.operand(node)


def _shape(given: Operands, node: Node) -> Value:
    shape = given.shape_of(given.operand(node), node.name)
    part = slice(node.attributes.get("start"), node.attributes.get("end"))
    return Constant(np.array(shape[part], np.int64))


# ---------------------------------------------------------------- elementwise


def _function(given: Operands, node: Node) -> Value:
    """Read a function of one number, as limits of a pending result or as a new table."""
    value = given.foldable(node)
    if value is not None and node.kind in ("Relu", "Clip"):
        limited = value.limited(*_limits(given, node))
        if not value.is_float or limited.float_clamp is not None:
            return limited
    found = given.settled(node)
    if isinstance(found, Float32):
        return floats.function(given, node, found, _limits(given, node))
    if isinstance(found, View) and node.kind == "Clip":
        return _clip_integers(given, node, found)
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
    return min(bounds), bounds[1]  # where they cross, the greater one counts for everything


def _arithmetic(given: Operands, node: Node) -> Value:
    """Read functions of two numbers: of two activations or with a constant."""
    if len(node.inputs) == 1 and node.kind in ("Sum", "Max", "Min"):
        return given.operand(node)
    if len(node.inputs) > 2 and node.kind in ("Sum", "Max", "Min"):
        return composites.read(given, node, composites.of_many)
    if len(node.inputs) != 2:
        raise InputError(f"{node}: must have two inputs (got {len(node.inputs)}).")
    left, right = given.operand(node, 0), given.operand(node, 1)
    adds = node.kind in ("Add", "Sum")
    constant_left = isinstance(left, Constant | QuantizedConstant)
    value, constant = (right, left) if constant_left else (left, right)
    if not isinstance(constant, Constant | QuantizedConstant):
        return _of_two(given, node)
    position = 1 if constant_left else 0
    if isinstance(value, Float32 | Pending) and (isinstance(value, Float32) or value.is_float):
        array = given.array(node, 1 - position)
        assert array is not None
        return floats.arithmetic(given, node, position, array)
    if adds and isinstance(value, Pending) and value.add_bias is not None:
        return value.add_bias(constant, value.index)
    real = given.real(node, position)
    array = constant.array if isinstance(constant, Constant) else constant.real()
    step, view = moves.channel_operand(given.draft, node, array, real.view)
    if real.table.ndim == 2 and view.tensor != real.view.tensor:
        raise InputError(
            f"{node}: its input must be quantised after the operator with constants along another axis."
        )
    step = step.astype(np.float32)
    table = real.table if step.size == 1 and real.table.ndim == 1 else np.atleast_2d(real.table)
    step = step if table.ndim == 1 else step[:, np.newaxis]
    function = _ARITHMETIC["Add" if adds else node.kind]
    with np.errstate(all="ignore"):  # what no byte means may divide by zero
        result = function(step, table) if constant_left else function(table, step)
    return replace(real, view=view, table=result.astype(np.float32), scale=None)


def _of_two(given: Operands, node: Node) -> Value:
    """Combine two activations; functions of the same bytes are one function of them."""
    if any(isinstance(given.settled(node, position), Float32) for position in (0, 1)):
        return floats.pair(given, node, _PAIRS.get(node.kind))
    one, other = given.real(node, 0), given.real(node, 1)
    function = _ARITHMETIC["Add" if node.kind == "Sum" else node.kind]
    if one.view.tensor == other.view.tensor and np.array_equal(one.view.index, other.view.index):
        with np.errstate(all="ignore"):
            return replace(one, table=function(*_same_rank(one.table, other.table)), scale=None)
    kind = _PAIRS.get(node.kind)
    if kind is None:
        raise InputError(f"{node}: one of its inputs must be a constant, or both functions of one tensor.")
    (left, _), (right, scale) = given.dequantized(node, 0), given.dequantized(node, 1)
    if node.kind == "Sub" and scale is not None:
        right = _negated(given, node, right, scale)
    return operators.combination(given.draft, node, kind, left, right)


def _negated(given: Operands, node: Node, view: View, scale: Scale) -> View:
    """Return the data with the other sign: ``-(q - z)`` is ``(-1 - q) - (-1 - z)``, and all of it fits int8."""
    quantization = replace(scale, zero_point=-1 - scale.zero_point).quantization
    table = (-1 - BYTES_AS_INT8).view(np.uint8)
    return given.draft.lookup(view, table, quantization, f"{node.name}_negated")


def _same_rank(one: Array, other: Array) -> tuple[Array, Array]:
    return (np.atleast_2d(one), np.atleast_2d(other)) if one.ndim != other.ndim else (one, other)


# ------------------------------------------------- operators between DQ and Q


def _conv(given: Operands, node: Node) -> Value:
    view, scale = given.dequantized(node)
    weights, bias = given.weights(node, 1, scale), given.bias(node, 2)
    return operators.convolution(given.draft, node, view, scale, weights, bias)


def _conv_transpose(given: Operands, node: Node) -> Value:
    view, scale = given.dequantized(node)
    weights, bias = given.weights(node, 1, scale), given.bias(node, 2)
    return operators.transposed_convolution(given.draft, node, view, scale, weights, bias)


def _batch_normalization(given: Operands, node: Node) -> Value:
    """Read a normalisation by constants as a factor and an addend per channel."""
    scale, bias, mean, variance = (given.array(node, position) for position in (1, 2, 3, 4))
    if (
        scale is None
        or bias is None
        or mean is None
        or variance is None
        or node.attributes.get("training_mode")
    ):
        raise InputError(f"{node}: must have four constants, and not be in training.")
    factor = scale / np.sqrt(variance + np.float32(node.attributes.get("epsilon", 1e-5)))
    addend = bias - mean * factor
    value = given.operand(node)
    if isinstance(value, Float32) or (isinstance(value, Pending) and value.is_float):
        return floats.affine(given, node, 0, (factor, addend), channels_first=True)
    if isinstance(value, Pending) and value.rescaled is not None:
        return value.rescaled(factor.astype(np.float32), addend.astype(np.float32))
    real = _plain_table(given, node)
    shape = (-1,) + (1,) * (len(real.view.shape) - 2)
    factors, view = moves.channel_operand(given.draft, node, factor.reshape(shape), real.view)
    addends, _ = moves.channel_operand(given.draft, node, addend.reshape(shape), view)
    table = real.table * factors[:, np.newaxis] + addends[:, np.newaxis]
    return replace(real, view=view, table=np.asarray(table, np.float32), scale=None)


def _gemm(given: Operands, node: Node) -> Value:
    if not isinstance(given.operand(node, 1), Constant | QuantizedConstant):
        return composites.read(given, node, composites.gemm_of_activations)
    view, scale = given.dequantized(node)
    if scale is None:
        return floats.gemm(given, node, view)
    found = given.weights(node, 1, scale)
    assert isinstance(found, QuantizedConstant)
    weights = _gemm_weights(node, found)
    if node.attributes.get("beta", 1.0) != 1.0:
        raise InputError(f"{node}: beta must be 1 (got {node.attributes['beta']}).")
    return operators.fully_connected(given.draft, node, view, scale, weights, given.bias(node, 2))


def _gemm_weights(node: Node, weights: QuantizedConstant) -> QuantizedConstant:
    """Return Gemm's weights as ``[in, out]``."""
    if node.attributes.get("alpha", 1.0) != 1.0 or node.attributes.get("transA"):
        raise InputError(f"{node}: alpha must be 1 and transA 0; fold them into the weights.")
    return weights.transposed((1, 0)) if node.attributes.get("transB") else weights


def _matmul(given: Operands, node: Node) -> Value:
    left, right = (isinstance(given.operand(node, k), Constant | QuantizedConstant) for k in (0, 1))
    if not right:
        return (
            composites.read(given, node, composites.of_constant_matrix)
            if left
            else _product_of_two(given, node)
        )
    view, scale = given.dequantized(node)
    return operators.fully_connected(given.draft, node, view, scale, given.weights(node, 1, scale), None)


def _product_of_two(given: Operands, node: Node) -> Value:
    """Read MatMul of two activations, of bytes or of float32."""
    shapes = [given.shape_of(given.operand(node, k), node.name) for k in (0, 1)]
    few, many = (int(np.prod(shape[:-2])) for shape in reversed(shapes))
    if min(map(len, shapes)) < 2 or shapes[0][-1] != shapes[1][-2] or few not in (1, many):
        return composites.read(given, node, composites.matched_product)
    (one, _), (other, scale) = given.dequantized(node, 0), given.dequantized(node, 1)
    if given.draft.is_float(one.tensor) != (scale is None):
        raise InputError(
            f"{node}: its inputs must all be float32, or all be quantised; quantise the other one."
        )
    return operators.matrix_product(given.draft, node, one, other)


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


def _reduce_max(given: Operands, node: Node) -> Value:
    """Read the largest over some axes, of bytes as they are, or of what they mean."""
    axes = given.integers(node, 1, "axes")
    if not axes and node.attributes.get("noop_with_empty_axes"):
        return given.operand(node)
    keepdims, name = bool(node.attributes.get("keepdims", 1)), node.outputs[0]

    def largest(view: View) -> View:
        return operators.largest(given.draft, node, view, axes or range(len(view.shape)), keepdims, name)

    value = given.settled(node)
    if isinstance(value, Real):
        _refuse_falling(node, _plain_table(given, node))
    return _moved(given, node, largest)


def _refuse_falling(node: Node, real: Real) -> None:
    if (np.diff(real.table[BYTES_AS_INT8.argsort()]) < 0).any():
        raise InputError(f"{node}: its input must be quantised after the function before it.")


def _expand(given: Operands, node: Node) -> Value:
    """Read axes of one position as so many of the same."""
    before, wanted = given.shape_of(given.operand(node), node.name), given.integers(node, 1, "shape")
    if wanted is None:
        raise InputError(f"{node}: its shape must be a constant.")
    try:
        shape = np.broadcast_shapes(before, wanted)
    except ValueError:
        raise InputError(f"{node}: {before} cannot be expanded to {wanted}.") from None
    rank = len(shape)
    full = (1,) * (rank - len(before)) + before
    changes = {axis: moves.Steps(step=0) for axis in range(rank) if full[axis] != shape[axis]}

    def move(view: View) -> View:
        wide = view.with_index(view.index.reshape(full))
        return moves.moved(given.draft, node, wide, changes, shape, node.outputs[0]) if changes else wide

    return _moved(given, node, move)


def _cast(given: Operands, node: Node) -> Value:
    """Read a change of type that changes nothing, from float32 or truth values to float32, or one to truth values."""
    value = given.operand(node)
    if int(node.attributes.get("to", 0)) == TRUTH_TYPE and not isinstance(value, View):
        return composites.read(given, node, truths.of_number)
    if int(node.attributes.get("to", 0)) != FLOAT_TYPE or isinstance(value, View):
        raise InputError(f"{node}: must be to float32, of float32 or of constants; use QuantizeLinear.")
    return value


def _softmax(given: Operands, node: Node) -> Value:
    view, scale = given.dequantized(node)
    old = given.opset < 13
    axis = int(node.attributes.get("axis", 1 if old else -1))
    if scale is None:
        name = node.outputs[0]
        return Float32(operators.float_softmax(given.draft, node, view, axis, name, flatten=old))
    return operators.softmax(given.draft, node, view, scale, axis, flatten=old, whole_steps=False)


def _concat(given: Operands, node: Node) -> Value:
    values = _with_constants(given, node, [given.settled(node, k) for k in range(len(node.inputs))])
    reals = [value.view for value in values if isinstance(value, Float32)]
    if len(reals) == len(values) > 1:
        return Float32(moves.joined(given.draft, node, reals, _axis(node, reals[0]), node.outputs[0]))
    views = [value for value in values if isinstance(value, View)]
    if len(views) == len(values) > 1:
        return moves.joined(given.draft, node, views, _axis(node, views[0]), node.outputs[0])
    if len(values) == 1:
        return given.operand(node)
    made = [value if isinstance(value, Real) else given.real(node, k) for k, value in enumerate(values)]
    parts = [(real.view, real.scale) for real in made]
    found = [(view, scale) for view, scale in parts if scale is not None]
    if len(found) < len(parts):
        raise InputError(
            f"{node}: its inputs must be quantised again after the elementwise operators before it."
        )
    return moves.concatenation(given.draft, node, found, _axis(node, found[0][0]))


def _with_constants(given: Operands, node: Node, values: list[Value]) -> list[Value]:
    """Give constants among the inputs a place, of the type that the first input which is computed has."""
    first = next((value for value in values if isinstance(value, View | Real | Float32)), None)
    if first is None:
        return values
    return [_with_place(given, node, value, first) for value in values]


def _with_place(given: Operands, node: Node, value: Value, like: View | Real | Float32) -> Value:
    if not isinstance(value, Constant | QuantizedConstant):
        return value
    if isinstance(like, Float32):
        array = value.array if isinstance(value, Constant) else value.real()
        return Float32(moves.constant(given.draft, node, like.view.tensor, array, None))
    if isinstance(like, View):
        return _stored_constant(given, node, like, value.array, None)
    if not isinstance(value, QuantizedConstant) or value.scale.size > 1:
        raise InputError(
            f"{node}: a constant input must be quantised with one scale, as the other inputs are."
        )
    offset = 128 if value.array.dtype == np.uint8 else 0
    scale = Scale(
        np.float32(value.scale.reshape(-1)[0]), int(value.zero_point.reshape(-1)[0]) - offset, offset
    )
    return Real.dequantized(_stored_constant(given, node, like.view, value.array, scale), scale)


def _stored_constant(given: Operands, node: Node, like: View, array: Array, scale: Scale | None) -> View:
    """Return a view of constant bytes."""
    if array.dtype not in (np.int8, np.uint8):
        raise InputError(f"{node}: a constant input must be int8 or uint8, as the other inputs are.")
    offset = 128 if array.dtype == np.uint8 else 0
    known = given.draft.quantization(like.tensor) if scale is None else scale.quantization
    stored = array.astype(np.int16) - offset
    return replace(moves.constant(given.draft, node, like.tensor, stored, known), offset=offset)


def _axis(node: Node, view: View) -> int:
    return node.axis_of(int(node.attributes.get("axis", 1)), len(view.shape))


def _max_pool(given: Operands, node: Node) -> Value:
    value = given.settled(node)
    if isinstance(value, Float32):
        return Float32(operators.max_pool(given.draft, node, value.view, node.outputs[0]))
    if isinstance(value, View):
        return operators.max_pool(given.draft, node, value, node.outputs[0])
    real = _plain_table(given, node)
    _refuse_falling(node, real)
    return replace(real, view=operators.max_pool(given.draft, node, real.view, node.outputs[0]))


def _global_max(given: Operands, node: Node) -> Value:
    """Read the largest of each channel as a MaxPool over the whole map."""
    shape = given.shape_of(given.operand(node), node.name)
    return _max_pool(given, replace(node, attributes={"kernel_shape": list(shape[2:])}))


def _plain_table(given: Operands, node: Node) -> Real:
    real = given.real(node)
    if real.table.ndim != 1:
        raise InputError(
            f"{node}: its input must be quantised after the operator with one constant per channel."
        )
    return real


def _pad(given: Operands, node: Node) -> Value:
    mode = node.attributes.get("mode", "constant")
    if mode not in ("constant", "edge", "reflect"):
        raise InputError(f"{node}: mode must be constant, edge or reflect (got {mode}).")
    pads = _all_pads(given, node)
    if mode == "reflect":
        return composites.read(given, node, lambda parts: composites.reflected(parts, pads))
    if mode == "edge":
        return _moved(
            given, node, lambda view: moves.pad(given.draft, node, view, pads, None, node.outputs[0])
        )
    filling = given.array(node, 2)
    number = filling.reshape(-1)[0] if filling is not None else node.attributes.get("value", 0)
    value = given.settled(node)
    if isinstance(value, Float32):
        if number != 0:
            return composites.read(given, node, lambda parts: composites.padded(parts, pads, float(number)))
        return Float32(moves.pad(given.draft, node, value.view, pads, 0, node.outputs[0]))
    if isinstance(value, View):
        return moves.pad(given.draft, node, value, pads, int(number) - value.offset, node.outputs[0])
    real = _plain_table(given, node)
    matches = BYTES_AS_INT8[real.table == np.float32(number)]
    if not matches.size:
        raise InputError(f"{node}: its value must be one the quantised input can hold (got {number}).")
    zero = real.scale.zero_point if real.scale else int(matches[0])
    fill = zero if zero in matches else int(matches[0])
    return replace(real, view=moves.pad(given.draft, node, real.view, pads, fill, node.outputs[0]))


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
    for place, axis in enumerate(node.axes_of(axes, rank)):
        full[axis], full[axis + rank] = pads[place], pads[place + len(axes)]
    return full


def _moved(given: Operands, node: Node, move: Callable[[View], View]) -> Value:
    """Apply a choice of elements to what is stored, or to what dequantises it."""
    value = given.settled(node)
    if isinstance(value, View):
        return move(value)
    if isinstance(value, Float32):
        return Float32(move(value.view))
    real = _plain_table(given, node)
    return replace(real, view=move(real.view))


def _slice(given: Operands, node: Node) -> Value:
    shape = given.shape_of(given.operand(node), node.name)
    starts, ends = given.integers(node, 1, "starts"), given.integers(node, 2, "ends")
    if starts is None or ends is None:
        raise InputError(f"{node}: starts and ends must be constant.")
    axes = node.axes_of(given.integers(node, 3, "axes") or range(len(starts)), len(shape))
    steps = given.integers(node, 4, "steps") or [1] * len(starts)
    if min(steps, default=1) < 0:
        picked = dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True))
        return composites.read(given, node, lambda parts: composites.reversed_slices(parts, picked))
    changes, size = {}, list(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise InputError(f"{node}: steps must not be 0.")
        found = range(*slice(start, end, step).indices(shape[axis]))
        changes[axis] = moves.Steps(step, found.start)
        size[axis] = len(found)
    return _moved(
        given, node, lambda view: moves.moved(given.draft, node, view, changes, size, node.outputs[0])
    )


def _split(given: Operands, node: Node) -> tuple[Value, ...]:
    shape = given.shape_of(given.operand(node), node.name)
    axis = node.axis_of(int(node.attributes.get("axis", 0)), len(shape))
    count = int(node.attributes.get("num_outputs", len(node.outputs)))
    if count != len(node.outputs):
        raise InputError(
            f"{node}: num_outputs must be that of its outputs, {len(node.outputs)} (got {count})."
        )
    sizes = given.integers(node, 1, "split")
    if sizes is None:
        part = -(-shape[axis] // count)
        sizes = [min(part, shape[axis] - k * part) for k in range(count)]
    if sum(sizes) != shape[axis] or len(sizes) != len(node.outputs):
        raise InputError(f"{node}: its parts must make up axis {axis} of {shape[axis]} (got {sizes}).")
    parts = (partial(_part, given, node, axis, sizes, k) for k in range(len(sizes)))
    return tuple(_moved(given, node, part) for part in parts)


def _part(given: Operands, node: Node, axis: int, sizes: list[int], k: int, view: View) -> View:
    shape = [sizes[k] if place == axis else size for place, size in enumerate(view.shape)]
    changes = {axis: moves.Steps(start=sum(sizes[:k]))}
    return moves.moved(given.draft, node, view, changes, shape, node.outputs[k])


def _resize(given: Operands, node: Node) -> Value:
    mode = node.attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        raise InputError(
            f"{node}: mode must be nearest, linear or cubic (got {mode}); export the model with one of these."
        )
    shape = given.shape_of(given.operand(node), node.name)
    found = _resize_positions(given, node, shape)
    spread = all(size == 1 or table.size == size for table, size in zip(found, shape, strict=True))
    if mode != "nearest" and not spread:  # one position only is repeated in all modes
        if isinstance(given.settled(node), View):
            raise InputError(
                f"{node}: a {mode} mode must work on real numbers (got integers, which onnxruntime rounds towards 0); "
                "put it between DequantizeLinear and QuantizeLinear."
            )
        return _weighted_resize(given, node, shape, tuple(table.size for table in found))
    changes = {
        axis: moves.rational_steps(node, table, shape[axis])
        for axis, table in enumerate(found)
        if not np.array_equal(table, np.arange(shape[axis]))
    }
    size = [table.size for table in found]
    return _moved(
        given,
        node,
        lambda view: moves.moved(given.draft, node, view, changes, size, node.outputs[0], edges=True),
    )


def _weighted_resize(given: Operands, node: Node, shape: tuple[int, ...], sizes: tuple[int, ...]) -> Value:
    """Read a linear or cubic Resize."""
    cubic = node.attributes.get("mode") == "cubic"
    if node.attributes.get("antialias") or node.attributes.get("exclude_outside"):
        raise InputError(f"{node}: antialias and exclude_outside must be 0; average before it instead.")
    resizing = resizes.Resizing(
        sizes,
        tuple(_scale_of(given, node, axis, len(shape)) for axis in range(len(shape))),
        _transformation(given, node),
        float(node.attributes.get("cubic_coeff_a", -0.75)) if cubic else None,
    )
    if resizing.is_by_whole_factors(shape):
        return composites.read(given, node, lambda parts: resizes.by_whole_factors(parts, resizing))
    value = given.settled(node)
    if not isinstance(value, Float32):
        raise InputError(f"{node}: its input must be float32 where it does not enlarge by whole factors.")
    return Float32(resizes.by_weights(given, node, value.view, resizing))


def _scale_of(given: Operands, node: Node, axis: int, rank: int) -> np.float32 | None:
    """Return the factor that the file gives for an axis, None where it is the ratio of the sizes."""
    old = node.kind == "Upsample" or given.opset < 11
    scales = given.array(node, 1 if old else 2)
    along = node.axes_of(node.attributes.get("axes", range(rank)), rank)
    if scales is None or not scales.size or axis not in along:
        return None
    return np.float32(scales.reshape(-1)[along.index(axis)])


def _transformation(given: Operands, node: Node) -> str:
    """How positions are transformed; before opset 11 they were divided."""
    if node.kind == "Upsample" or given.opset < 11:
        return "asymmetric"
    return str(node.attributes.get("coordinate_transformation_mode", "half_pixel"))


def _resize_positions(given: Operands, node: Node, shape: tuple[int, ...]) -> list[Array]:
    """Return the input position of every output position, axis by axis."""
    old = node.kind == "Upsample" or given.opset < 11
    scales = given.array(node, 1 if old else 2)
    sizes = None if old else given.integers(node, 3, "sizes")
    if scales is None and (written := node.attributes.get("scales")):
        scales = np.asarray(written, np.float32)
    wanted = sizes or ([] if scales is None else scales.reshape(-1).tolist())
    axes = node.axes_of(node.attributes.get("axes", range(len(shape))), len(shape))
    if len(wanted) != len(axes) or node.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise InputError(
            f"{node}: constant scales or sizes must be given for each of {len(axes)} axes, to be met."
        )
    transformation = _transformation(given, node)
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
    if old:  # before opset 11 positions were rounded down, or up where the output is smaller
        rounding = "ceil" if min(wanted) < 1 else "floor"
    if transformation not in TRANSFORMATIONS or rounding not in ROUNDINGS:
        raise InputError(
            f"{node}: coordinates must be transformed by {', '.join(TRANSFORMATIONS)} (got {transformation})."
        )
    along = dict(zip(axes, wanted, strict=True))
    found = []
    for axis, size in enumerate(shape):
        value = along.get(axis, size if sizes else 1.0)
        scale = None if sizes else np.float32(value)
        count = int(value) if scale is None else scaled_size(size, scale)
        found.append(nearest_positions(size, count, scale, transformation, rounding))
    return found


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
    if array.dtype != np.int32:
        raise InputError(f"{node}: its bias must be int32 (got {array.dtype}); repair the file.")
    return QuantizedConstant(array.reshape(-1), scale.scale * weights.scale, np.zeros(1, np.int32), 0)


def _qlinear_matmul(given: Operands, node: Node) -> Value:
    if isinstance(given.operand(node, 3), View):
        return composites.read(given, node, composites.quantized_product)
    view, scale = given.activation(node, 0)
    weights, output = given.constant(node, 3, 1), given.scale(node, 6)
    pending = operators.fully_connected(given.draft, node, view, scale, weights, None)
    return given.round_to(pending, output, node.outputs[0])


def _qgemm(given: Operands, node: Node) -> Value:
    view, scale = given.activation(node, 0)
    constant = given.constant(node, 3, 0 if node.attributes.get("transB") else 1)
    weights, output = _gemm_weights(node, constant), given.scale(node, 7, bytes_of(view))
    bias = _integer_bias(given, node, 6, scale, weights)
    pending = operators.fully_connected(given.draft, node, view, scale, weights, bias)
    return given.round_to(pending, output, node.outputs[0])


def _qlinear_pair(given: Operands, node: Node) -> Value:
    """Read QLinearAdd and QLinearMul, of two activations or with a constant."""
    kind = _PAIRS[node.kind.removeprefix(f"{OWN_DOMAIN}QLinear")]
    constants = [p for p in (0, 3) if isinstance(given.operand(node, p), Constant)]
    if constants:
        return _with_constant(given, node, kind, 3 - constants[0], constants[0])
    (one, _), (other, _) = given.activation(node, 0), given.activation(node, 3)
    pending = operators.combination(given.draft, node, kind, one, other)
    return given.round_to(pending, given.scale(node, 6, bytes_of(one)), node.outputs[0])


def _with_constant(given: Operands, node: Node, kind: OpKind, position: int, constant: int) -> View:
    """Add or multiply by a quantised constant by tables, with the formulas of ADD and MULTIPLY."""
    view, scale = given.activation(node, position)
    array, output = given.array(node, constant), given.scale(node, 6, bytes_of(view))
    assert array is not None
    other = given.scale(node, constant + 1, array.dtype)
    stored = array.astype(np.int32) - other.offset
    found, view = moves.channel_operand(given.draft, node, stored, view)
    values = found[:, np.newaxis]
    data = BYTES_AS_INT8.astype(np.int32)
    scales = [scale.quantization, other.quantization]
    if kind is OpKind.MULTIPLY:
        product = (data - scale.zero_point) * (values - other.zero_point)
        steps = multiplied(product, scales, output.quantization, output.offset)
    elif position == 0 or operators.is_single(array.shape, view.shape):
        steps = added([data, values], scales, output.quantization, output.offset)
    else:
        steps = added([values, data], scales[::-1], output.quantization, output.offset)
    table = np.clip(np.rint(steps) - np.float32(output.offset), -128, 127).astype(np.int8).view(np.uint8)
    return _looked_up(given, view, table, output, node.name, node.outputs[0])


def _qlinear_function(given: Operands, node: Node) -> Value:
    """Read QLinearSigmoid and QLinearLeakyRelu as tables."""
    view, scale = given.activation(node, 0)
    output = given.scale(node, 3, bytes_of(view))
    plain = node.as_standard(node.kind.removeprefix(f"{OWN_DOMAIN}QLinear"))
    (real,) = evaluate(plain, [scale.real(BYTES_AS_INT8)], given.opset)
    table = output.stored(real).view(np.uint8)
    return _looked_up(given, view, table, output, node.name, node.outputs[0])


def _own_gelu(given: Operands, node: Node) -> Value:
    return _function(given, node.as_standard("Gelu"))


def _qlinear_average_pool(given: Operands, node: Node) -> Value:
    view, _ = given.activation(node, 0)
    pending = operators.average_pool(given.draft, node, _channels_second(node, view), by_floats=True)
    output = given.scale(node, 3, bytes_of(view))
    return given.round_to(_channels_as_given(node, pending), output, node.outputs[0])


def _qlinear_global_average(given: Operands, node: Node) -> Value:
    view, _ = given.activation(node, 0)
    first = 1 if node.attributes.get("channels_last") else 2
    axes = range(first, first + len(view.shape) - 2)
    pending = operators.mean(given.draft, node, view, axes, True)
    return given.round_to(pending, given.scale(node, 3, bytes_of(view)), node.outputs[0])


def _qlinear_concat(given: Operands, node: Node) -> Value:
    places = range(2, len(node.inputs), 3)
    computed = [k for k in places if isinstance(given.operand(node, k), View)]
    parts = [_quantized_part(given, node, k, computed) for k in places]
    if len(parts) < 2:
        raise InputError(f"{node}: must have at least two inputs (got {len(parts)}).")
    pending = moves.concatenation(given.draft, node, parts, _axis(node, parts[0][0]))
    return given.round_to(pending, given.scale(node, 0, bytes_of(parts[0][0])), node.outputs[0])


def _quantized_part(given: Operands, node: Node, position: int, computed: list[int]) -> tuple[View, Scale]:
    """Return an input of QLinearConcat with its scale, which may be a constant."""
    value = given.operand(node, position)
    if not (isinstance(value, Constant) and computed):
        return given.activation(node, position)
    scale = given.scale(node, position + 1, value.array.dtype)
    like, _ = given.activation(node, computed[0])
    return _stored_constant(given, node, like, value.array, scale), scale


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
    return given.round_to(pending, given.scale(node, 3, bytes_of(view)), node.outputs[0])


def _composite(recipe: composites.Recipe) -> Handler:
    return lambda given, node: composites.read(given, node, recipe)


@dataclass(frozen=True, slots=True)
class Operator:
    """How an ONNX operator is read: by which function, computed by which kernels, within which limits."""

    read: Handler
    kernels: tuple[str, ...]
    limits: str


_WEIGHTS = "constant int8 weights, per tensor or per output channel; one or two spatial axes; batch 1"
_IN_PLACE = "moves nothing; PERMUTE (whole tensor in SRAM, five loops) where a kernel needs another order"
_IN_BLOCKS = f"{_IN_PLACE}; large ones tile by tile, at most 256 channels of a group"
_TABLE = "of one tensor; a table of 256 bytes, exact"
_PAIR = "one input may repeat along axes; constants of any shape: 256 bytes of table per position"
_MOVE = "three axes longer than 1, or one changed axis"
_COMPOSITE = "read as several other operators; float32 between them"
_FLOATS_OF_TWO = "two activations in float32"
_PRODUCT = "of two activations, the second one whole in SRAM, one matrix at a time"
_POOL = "one or two spatial axes; batch 1"

LAYOUT: dict[str, Operator] = {
    "Transpose": Operator(_transpose, ("permute",), _IN_PLACE),
    "Reshape": Operator(_reshape, ("permute",), _IN_PLACE),
    "Flatten": Operator(_flatten, ("permute",), _IN_PLACE),
    "Squeeze": Operator(_squeeze, ("permute",), _IN_PLACE),
    "Unsqueeze": Operator(_unsqueeze, ("permute",), _IN_PLACE),
    "Identity": Operator(_identity, (), "dropped"),
    "DepthToSpace": Operator(_depth_to_space, ("permute", "transposed"), _IN_BLOCKS),
    "SpaceToDepth": Operator(_space_to_depth, ("permute", "conv"), _IN_BLOCKS),
    "Dropout": Operator(_dropout, (), "dropped"),
}

HANDLERS: dict[str, Operator] = {
    **LAYOUT,
    **dict.fromkeys(_FUNCTIONS, Operator(_function, ("lookup",), _TABLE)),
    "Relu": Operator(_function, ("lookup",), f"part of the operator before it, or {_TABLE}"),
    "Clip": Operator(_function, ("lookup",), f"part of the operator before it, or {_TABLE}; constant bounds"),
    "Add": Operator(_arithmetic, ("add", "lookup"), f"{_PAIR}; behind Conv, Gemm, MatMul: its bias"),
    "Sum": Operator(_arithmetic, ("add", "lookup"), f"any number of inputs, float32 from three on; {_PAIR}"),
    "Mul": Operator(_arithmetic, ("multiply", "lookup"), _PAIR),
    "Sub": Operator(_arithmetic, ("add", "lookup"), _PAIR),
    "Div": Operator(
        _arithmetic, ("lookup", "multiply"), f"one input constant, of any shape; {_FLOATS_OF_TWO}"
    ),
    "PRelu": Operator(_arithmetic, ("lookup",), "constant slope, of any shape"),
    "BatchNormalization": Operator(
        _batch_normalization, ("lookup",), "part of a Conv before it, or a table per channel"
    ),
    **dict.fromkeys(
        ("Max", "Min"),
        Operator(_arithmetic, ("lookup", "add"), f"one input constant, of any shape; {_FLOATS_OF_TWO}"),
    ),
    "Pow": Operator(_arithmetic, ("lookup",), "one input constant; in float32 the exponents below"),
    "Shape": Operator(_shape, (), "constant"),
    "Cast": Operator(_cast, ("lookup",), "dropped; to float32, to truth values"),
    "Expand": Operator(_expand, ("move",), f"constant shape; {_MOVE}"),
    "ReduceMax": Operator(_reduce_max, ("max_pool",), "any axes; others than height and width by PERMUTE"),
    **{
        kind: Operator(_composite(recipe), kernels, _COMPOSITE)
        for kind, (recipe, kernels) in (composites.COMPOSITES | truths.TRUTHS).items()
    },
    **dict.fromkeys(
        ("GRU", "LSTM", "RNN"),
        Operator(
            recurrent.read,
            ("conv", "move", "add", "multiply", "lookup"),
            f"{_COMPOSITE}; at most {recurrent.MOST_STEPS} steps, each written out; usual functions, constant weights",
        ),
    ),
    "QuantizeLinear": Operator(_quantize, ("quantize", "lookup"), "int8, uint8; per tensor"),
    "DequantizeLinear": Operator(
        _dequantize, ("dequantize",), "int8, uint8; per tensor; int32 and per axis for constants"
    ),
    "Conv": Operator(
        _conv, ("conv", "depthwise"), f"{_WEIGHTS}; any groups, strides, dilations, pads up to 255"
    ),
    "ConvTranspose": Operator(
        _conv_transpose, ("transposed",), f"{_WEIGHTS}; any groups, strides, dilations"
    ),
    "Gemm": Operator(
        _gemm, ("conv", "matmul"), f"constant int8 weights; alpha 1, beta 1, transA 0; {_PRODUCT}"
    ),
    "MatMul": Operator(_matmul, ("conv", "matmul"), f"constant int8 weights [in, out]; {_PRODUCT}"),
    "AveragePool": Operator(_average_pool, ("average_pool",), _POOL),
    "GlobalAveragePool": Operator(_global_average, ("average_pool",), "any rank"),
    "ReduceMean": Operator(
        _reduce_mean, ("average_pool",), "any axes; others than height and width by PERMUTE"
    ),
    "Softmax": Operator(_softmax, ("softmax",), "any axis; below opset 13 the axes from `axis` on"),
    "MaxPool": Operator(_max_pool, ("max_pool",), f"{_POOL}; no indices"),
    "GlobalMaxPool": Operator(_global_max, ("max_pool",), "one or two spatial axes; batch 1"),
    "Pad": Operator(_pad, ("move",), f"constant, edge or reflect; constant pads, also negative; {_MOVE}"),
    "Concat": Operator(_concat, ("move",), f"any axis; {_MOVE}"),
    "Slice": Operator(_slice, ("move",), f"constant; backwards at most 64 positions; {_MOVE}"),
    "Split": Operator(_split, ("move",), f"constant; {_MOVE}"),
    **dict.fromkeys(
        ("Resize", "Upsample"),
        Operator(
            _resize,
            ("move", "transposed"),
            f"nearest, positions evenly apart; linear, cubic: in float32 but by whole factors of height and width; {_MOVE}",
        ),
    ),
    "QLinearConv": Operator(
        _qlinear_conv, ("conv", "depthwise"), f"{_WEIGHTS}; any groups, strides, dilations, pads up to 255"
    ),
    "QLinearMatMul": Operator(
        _qlinear_matmul, ("conv", "matmul"), f"constant int8 weights [in, out]; {_PRODUCT}"
    ),
    f"{OWN_DOMAIN}QGemm": Operator(_qgemm, ("conv",), "constant int8 weights; alpha 1, transA 0"),
    f"{OWN_DOMAIN}QLinearAdd": Operator(_qlinear_pair, ("add", "lookup"), _PAIR),
    f"{OWN_DOMAIN}QLinearMul": Operator(_qlinear_pair, ("multiply", "lookup"), _PAIR),
    f"{OWN_DOMAIN}QLinearSigmoid": Operator(_qlinear_function, ("lookup",), _TABLE),
    f"{OWN_DOMAIN}QLinearLeakyRelu": Operator(_qlinear_function, ("lookup",), _TABLE),
    f"{OWN_DOMAIN}Gelu": Operator(_own_gelu, ("lookup",), _TABLE),
    f"{OWN_DOMAIN}QLinearAveragePool": Operator(_qlinear_average_pool, ("average_pool",), _POOL),
    f"{OWN_DOMAIN}QLinearGlobalAveragePool": Operator(_qlinear_global_average, ("average_pool",), "any rank"),
    f"{OWN_DOMAIN}QLinearConcat": Operator(_qlinear_concat, ("move", "lookup"), f"any axis; {_MOVE}"),
    f"{OWN_DOMAIN}QLinearSoftmax": Operator(_qlinear_softmax, ("softmax",), "any axis; several values"),
}
"""What is supported."""

_FOR_PROGRAM = "Slice, Split and Gather by constants are; leave what follows the network to the program"

INSTEAD = {
    **dict.fromkeys(("CumSum",), "ReduceSum, ReduceMean and ReduceMax are"),
    **dict.fromkeys(("LpPool", "GlobalLpPool"), "AveragePool and MaxPool are"),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"), "static quantisation (QDQ, QOperator) is"),
    **dict.fromkeys(
        ("GatherND", "GatherElements", "ScatterND", "ScatterElements", "TopK", "NonMaxSuppression", "ArgMax", "ArgMin",
         "Hardmax", "NonZero", "OneHot"), _FOR_PROGRAM),
    **dict.fromkeys(("GridSample", "RoiAlign", "MaxRoiPool"), "Resize is"),
    **dict.fromkeys(("Sin", "Cos", "Tan", "DFT", "STFT", "MelWeightMatrix"), "Conv and MatMul are; leave features to the program"),
}  # fmt: skip
"""What is supported instead of operators that are not."""
