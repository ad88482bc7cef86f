"""Operators of ONNX on real numbers, one function each.

Between DequantizeLinear and QuantizeLinear, as tf2onnx and as onnxruntime write them, they compute on bytes;
without these on float32 (``onnx_floats`` where that goes another way). ``onnx_qlinear`` has those that take bytes.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models import onnx_composites as composites
from ooc_solve.models import onnx_convolutions as convolutions
from ooc_solve.models import onnx_floats as floats
from ooc_solve.models import onnx_moves as moves
from ooc_solve.models import onnx_operators as operators
from ooc_solve.models import onnx_truths as truths
from ooc_solve.models.layout import View
from ooc_solve.models.onnx_choices import moved, plain_table
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
from ooc_solve.models.vocabulary import DType, InputError, Op, OpKind

Array = NDArray[Any]

PAIRS = {"Add": OpKind.ADD, "Sum": OpKind.ADD, "Sub": OpKind.ADD, "Mul": OpKind.MULTIPLY}
"""Operators of two activations."""

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


def quantize(given: Operands, node: Node) -> Value:
    """Read QuantizeLinear: it ends what is pending, or changes a scale."""
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
    return looked_up(given, value.view, table, scale, node.name, output)


def looked_up(
    given: Operands, view: View, table: NDArray[np.uint8], scale: Scale, name: str, output: str
) -> View:
    """Map stored bytes by a table; a table that changes nothing costs nothing."""
    if table.ndim == 2 and (table == table[0]).all():
        table = table[0]
    if table.ndim == 1 and np.array_equal(table.view(np.int8), BYTES_AS_INT8):
        return replace(view, offset=scale.offset)
    result = given.draft.lookup(view, table, scale.quantization, name, tensor=output)
    return replace(result, offset=scale.offset)


def dequantize(given: Operands, node: Node) -> Value:
    """Read DequantizeLinear: of constants, or a table of reals."""
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


# ---------------------------------------------------------------- elementwise


def function(given: Operands, node: Node) -> Value:
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


def arithmetic(given: Operands, node: Node) -> Value:
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
        return floats.pair(given, node, PAIRS.get(node.kind))
    one, other = given.real(node, 0), given.real(node, 1)
    function = _ARITHMETIC["Add" if node.kind == "Sum" else node.kind]
    if one.view.tensor == other.view.tensor and np.array_equal(one.view.index, other.view.index):
        with np.errstate(all="ignore"):
            return replace(one, table=function(*_same_rank(one.table, other.table)), scale=None)
    kind = PAIRS.get(node.kind)
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


def conv(given: Operands, node: Node) -> Value:
    """Read Conv."""
    view, scale = given.dequantized(node)
    weights, bias = given.weights(node, 1, scale), given.bias(node, 2)
    return convolutions.convolution(given.draft, node, view, scale, weights, bias)


def conv_transpose(given: Operands, node: Node) -> Value:
    """Read ConvTranspose."""
    view, scale = given.dequantized(node)
    weights, bias = given.weights(node, 1, scale), given.bias(node, 2)
    return convolutions.transposed_convolution(given.draft, node, view, scale, weights, bias)


def batch_normalization(given: Operands, node: Node) -> Value:
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
    real = plain_table(given, node)
    shape = (-1,) + (1,) * (len(real.view.shape) - 2)
    factors, view = moves.channel_operand(given.draft, node, factor.reshape(shape), real.view)
    addends, _ = moves.channel_operand(given.draft, node, addend.reshape(shape), view)
    table = real.table * factors[:, np.newaxis] + addends[:, np.newaxis]
    return replace(real, view=view, table=np.asarray(table, np.float32), scale=None)


def gemm(given: Operands, node: Node) -> Value:
    """Read Gemm by weights; of two activations it is a composite."""
    if not isinstance(given.operand(node, 1), Constant | QuantizedConstant):
        return composites.read(given, node, composites.gemm_of_activations)
    view, scale = given.dequantized(node)
    if scale is None:
        return floats.gemm(given, node, view)
    found = given.weights(node, 1, scale)
    assert isinstance(found, QuantizedConstant)
    weights = gemm_weights(node, found)
    if node.attributes.get("beta", 1.0) != 1.0:
        raise InputError(f"{node}: beta must be 1 (got {node.attributes['beta']}).")
    return convolutions.fully_connected(given.draft, node, view, scale, weights, given.bias(node, 2))


def gemm_weights(node: Node, weights: QuantizedConstant) -> QuantizedConstant:
    """Return Gemm's weights as ``[in, out]``."""
    if node.attributes.get("alpha", 1.0) != 1.0 or node.attributes.get("transA"):
        raise InputError(f"{node}: alpha must be 1 and transA 0; fold them into the weights.")
    return weights.transposed((1, 0)) if node.attributes.get("transB") else weights


def matmul(given: Operands, node: Node) -> Value:
    """Read MatMul by weights, or of two activations."""
    left, right = (isinstance(given.operand(node, k), Constant | QuantizedConstant) for k in (0, 1))
    if not right:
        return (
            composites.read(given, node, composites.of_constant_matrix)
            if left
            else _product_of_two(given, node)
        )
    view, scale = given.dequantized(node)
    return convolutions.fully_connected(given.draft, node, view, scale, given.weights(node, 1, scale), None)


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


def average_pool(given: Operands, node: Node) -> Value:
    """Read AveragePool."""
    view, _ = given.dequantized(node)
    return operators.average_pool(given.draft, node, view)


def global_average(given: Operands, node: Node) -> Value:
    """Read GlobalAveragePool as a mean over all axes but batch and channels."""
    view, _ = given.dequantized(node)
    return operators.mean(given.draft, node, view, range(2, len(view.shape)), True)


def reduce_mean(given: Operands, node: Node) -> Value:
    """Read ReduceMean over any axes."""
    view, _ = given.dequantized(node)
    axes = given.integers(node, 1, "axes")
    if not axes and node.attributes.get("noop_with_empty_axes"):
        return given.operand(node)
    keepdims = bool(node.attributes.get("keepdims", 1))
    return operators.mean(given.draft, node, view, axes or range(len(view.shape)), keepdims)


def reduce_max(given: Operands, node: Node) -> Value:
    """Read the largest over some axes, of bytes as they are, or of what they mean."""
    axes = given.integers(node, 1, "axes")
    if not axes and node.attributes.get("noop_with_empty_axes"):
        return given.operand(node)
    keepdims, name = bool(node.attributes.get("keepdims", 1)), node.outputs[0]

    def largest(view: View) -> View:
        return operators.largest(given.draft, node, view, axes or range(len(view.shape)), keepdims, name)

    value = given.settled(node)
    if isinstance(value, Real):
        _refuse_falling(node, plain_table(given, node))
    return moved(given, node, largest)


def _refuse_falling(node: Node, real: Real) -> None:
    if (np.diff(real.table[BYTES_AS_INT8.argsort()]) < 0).any():
        raise InputError(f"{node}: its input must be quantised after the function before it.")


def expand(given: Operands, node: Node) -> Value:
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

    return moved(given, node, move)


def cast(given: Operands, node: Node) -> Value:
    """Read a change of type that changes nothing, from float32 or truth values to float32, or one to truth values."""
    value = given.operand(node)
    if int(node.attributes.get("to", 0)) == TRUTH_TYPE and not isinstance(value, View):
        return composites.read(given, node, truths.of_number)
    if int(node.attributes.get("to", 0)) != FLOAT_TYPE or isinstance(value, View):
        raise InputError(f"{node}: must be to float32, of float32 or of constants; use QuantizeLinear.")
    return value


def softmax(given: Operands, node: Node) -> Value:
    """Read Softmax along an axis."""
    view, scale = given.dequantized(node)
    old = given.opset < 13
    axis = int(node.attributes.get("axis", 1 if old else -1))
    if scale is None:
        name = node.outputs[0]
        return Float32(operators.float_softmax(given.draft, node, view, axis, name, flatten=old))
    return operators.softmax(given.draft, node, view, scale, axis, flatten=old, whole_steps=False)


def concat(given: Operands, node: Node) -> Value:
    """Read Concat, of constants too."""
    values = _with_constants(given, node, [given.settled(node, k) for k in range(len(node.inputs))])
    reals = [value.view for value in values if isinstance(value, Float32)]
    if len(reals) == len(values) > 1:
        return Float32(moves.joined(given.draft, node, reals, axis_of(node, reals[0]), node.outputs[0]))
    views = [value for value in values if isinstance(value, View)]
    if len(views) == len(values) > 1:
        return moves.joined(given.draft, node, views, axis_of(node, views[0]), node.outputs[0])
    if len(values) == 1:
        return given.operand(node)
    made = [value if isinstance(value, Real) else given.real(node, k) for k, value in enumerate(values)]
    parts = [(real.view, real.scale) for real in made]
    found = [(view, scale) for view, scale in parts if scale is not None]
    if len(found) < len(parts):
        raise InputError(
            f"{node}: its inputs must be quantised again after the elementwise operators before it."
        )
    return moves.concatenation(given.draft, node, found, axis_of(node, found[0][0]))


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
        return stored_constant(given, node, like, value.array, None)
    if not isinstance(value, QuantizedConstant) or value.scale.size > 1:
        raise InputError(
            f"{node}: a constant input must be quantised with one scale, as the other inputs are."
        )
    offset = 128 if value.array.dtype == np.uint8 else 0
    scale = Scale(
        np.float32(value.scale.reshape(-1)[0]), int(value.zero_point.reshape(-1)[0]) - offset, offset
    )
    return Real.dequantized(stored_constant(given, node, like.view, value.array, scale), scale)


def stored_constant(given: Operands, node: Node, like: View, array: Array, scale: Scale | None) -> View:
    """Return a view of constant bytes."""
    if array.dtype not in (np.int8, np.uint8):
        raise InputError(f"{node}: a constant input must be int8 or uint8, as the other inputs are.")
    offset = 128 if array.dtype == np.uint8 else 0
    known = given.draft.quantization(like.tensor) if scale is None else scale.quantization
    stored = array.astype(np.int16) - offset
    return replace(moves.constant(given.draft, node, like.tensor, stored, known), offset=offset)


def axis_of(node: Node, view: View) -> int:
    """The axis that a node names, 1 if it names none."""
    return node.axis_of(int(node.attributes.get("axis", 1)), len(view.shape))


def max_pool(given: Operands, node: Node) -> Value:
    """Read MaxPool, of bytes, reals or float32."""
    value = given.settled(node)
    if isinstance(value, Float32):
        return Float32(operators.max_pool(given.draft, node, value.view, node.outputs[0]))
    if isinstance(value, View):
        return operators.max_pool(given.draft, node, value, node.outputs[0])
    real = plain_table(given, node)
    _refuse_falling(node, real)
    return replace(real, view=operators.max_pool(given.draft, node, real.view, node.outputs[0]))


def global_max(given: Operands, node: Node) -> Value:
    """Read the largest of each channel as a MaxPool over the whole map."""
    shape = given.shape_of(given.operand(node), node.name)
    return max_pool(given, replace(node, attributes={"kernel_shape": list(shape[2:])}))


def own_gelu(given: Operands, node: Node) -> Value:
    """Read onnxruntime's Gelu as the standard one."""
    return function(given, node.as_standard("Gelu"))
