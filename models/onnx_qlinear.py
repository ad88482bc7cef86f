"""onnxruntime's operators of quantised tensors: the QLinear ones and QGemm."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ooc_solve.models import onnx_composites as composites
from ooc_solve.models import onnx_convolutions as convolutions
from ooc_solve.models import onnx_moves as moves
from ooc_solve.models import onnx_operators as operators
from ooc_solve.models.layout import View
from ooc_solve.models.onnx_dialects import PAIRS, axis_of, gemm_weights, looked_up, stored_constant
from ooc_solve.models.onnx_graph import Node, evaluate
from ooc_solve.models.onnx_operands import Operands, bytes_of
from ooc_solve.models.onnx_values import BYTES_AS_INT8, Constant, Pending, QuantizedConstant, Scale, Value
from ooc_solve.models.reference import added, multiplied
from ooc_solve.models.vocabulary import InputError, OpKind

OWN_DOMAIN = "com.microsoft."


def conv(given: Operands, node: Node) -> Value:
    """Read QLinearConv."""
    view, scale = given.activation(node, 0)
    weights, output = given.constant(node, 3, 0), given.scale(node, 6)
    pending = convolutions.convolution(
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


def matmul(given: Operands, node: Node) -> Value:
    """Read QLinearMatMul, by weights or of two activations."""
    if isinstance(given.operand(node, 3), View):
        return composites.read(given, node, composites.quantized_product)
    view, scale = given.activation(node, 0)
    weights, output = given.constant(node, 3, 1), given.scale(node, 6)
    pending = convolutions.fully_connected(given.draft, node, view, scale, weights, None)
    return given.round_to(pending, output, node.outputs[0])


def gemm(given: Operands, node: Node) -> Value:
    """Read QGemm."""
    view, scale = given.activation(node, 0)
    constant = given.constant(node, 3, 0 if node.attributes.get("transB") else 1)
    weights, output = gemm_weights(node, constant), given.scale(node, 7, bytes_of(view))
    bias = _integer_bias(given, node, 6, scale, weights)
    pending = convolutions.fully_connected(given.draft, node, view, scale, weights, bias)
    return given.round_to(pending, output, node.outputs[0])


def pair(given: Operands, node: Node) -> Value:
    """Read QLinearAdd and QLinearMul, of two activations or with a constant."""
    kind = PAIRS[node.kind.removeprefix(f"{OWN_DOMAIN}QLinear")]
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
    return looked_up(given, view, table, output, node.name, node.outputs[0])


def function(given: Operands, node: Node) -> Value:
    """Read QLinearSigmoid and QLinearLeakyRelu as tables."""
    view, scale = given.activation(node, 0)
    output = given.scale(node, 3, bytes_of(view))
    plain = node.as_standard(node.kind.removeprefix(f"{OWN_DOMAIN}QLinear"))
    (real,) = evaluate(plain, [scale.real(BYTES_AS_INT8)], given.opset)
    table = output.stored(real).view(np.uint8)
    return looked_up(given, view, table, output, node.name, node.outputs[0])


def average_pool(given: Operands, node: Node) -> Value:
    """Read QLinearAveragePool, which sums in float32."""
    view, _ = given.activation(node, 0)
    pending = operators.average_pool(given.draft, node, _channels_second(node, view), by_floats=True)
    output = given.scale(node, 3, bytes_of(view))
    return given.round_to(_channels_as_given(node, pending), output, node.outputs[0])


def global_average(given: Operands, node: Node) -> Value:
    """Read QLinearGlobalAveragePool."""
    view, _ = given.activation(node, 0)
    first = 1 if node.attributes.get("channels_last") else 2
    axes = range(first, first + len(view.shape) - 2)
    pending = operators.mean(given.draft, node, view, axes, True)
    return given.round_to(pending, given.scale(node, 3, bytes_of(view)), node.outputs[0])


def concat(given: Operands, node: Node) -> Value:
    """Read QLinearConcat, whose parts have scales of their own."""
    places = range(2, len(node.inputs), 3)
    computed = [k for k in places if isinstance(given.operand(node, k), View)]
    parts = [_quantized_part(given, node, k, computed) for k in places]
    if len(parts) < 2:
        raise InputError(f"{node}: must have at least two inputs (got {len(parts)}).")
    pending = moves.concatenation(given.draft, node, parts, axis_of(node, parts[0][0]))
    return given.round_to(pending, given.scale(node, 0, bytes_of(parts[0][0])), node.outputs[0])


def _quantized_part(given: Operands, node: Node, position: int, computed: list[int]) -> tuple[View, Scale]:
    """Return an input of QLinearConcat with its scale, which may be a constant."""
    value = given.operand(node, position)
    if not (isinstance(value, Constant) and computed):
        return given.activation(node, position)
    scale = given.scale(node, position + 1, value.array.dtype)
    like, _ = given.activation(node, computed[0])
    return stored_constant(given, node, like, value.array, scale), scale


def _channels_second(node: Node, view: View) -> View:
    if not node.attributes.get("channels_last"):
        return view
    return view.with_index(np.moveaxis(view.index, -1, 1))


def _channels_as_given(node: Node, pending: Pending) -> Pending:
    if not node.attributes.get("channels_last"):
        return pending
    return replace(pending, index=np.moveaxis(pending.index, 1, -1))


def softmax(given: Operands, node: Node) -> Value:
    """Read QLinearSoftmax."""
    view, scale = given.activation(node, 0)
    old = int(node.attributes.get("opset", given.opset)) < 13
    axis = int(node.attributes.get("axis", 1 if old else -1))
    pending = operators.softmax(given.draft, node, view, scale, axis, flatten=old, whole_steps=True)
    return given.round_to(pending, given.scale(node, 3, bytes_of(view)), node.outputs[0])
