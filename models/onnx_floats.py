"""Operators of ONNX on float32 that go another way than on quantised tensors: functions and arithmetic.

A quantised function is a table; here it is a formula with two parameters. A factor and an addend per
channel go into the weights of the operator before, where nobody else reads its result.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models import onnx_composites as composites
from ooc_solve.models import onnx_convolutions as convolutions
from ooc_solve.models import onnx_moves as moves
from ooc_solve.models import onnx_operators as operators
from ooc_solve.models.layout import View, by_channel
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_operands import Operands
from ooc_solve.models.onnx_values import Constant, Float32, Pending, Value
from ooc_solve.models.vocabulary import UNLIMITED, Function, InputError, OpKind

Array = NDArray[Any]
Floats = NDArray[np.float32]
Parameters = tuple[Function, float, float]

_SIXTH = 1 / 6


def _number(node: Node, key: str, default: float) -> float:
    return float(node.attributes.get(key, default))


def _gelu(node: Node) -> Parameters:
    by_tanh = node.attributes.get("approximate", "none") == "tanh"
    return (Function.GELU_TANH if by_tanh else Function.GELU), 0, 0


FUNCTIONS: dict[str, Callable[[Node], Parameters]] = {
    "Abs": lambda node: (Function.ABS, 0, 0),
    "Elu": lambda node: (Function.ELU, _number(node, "alpha", 1), 0),
    "Erf": lambda node: (Function.ERF, 0, 0),
    "Exp": lambda node: (Function.EXP, 0, 0),
    "Gelu": _gelu,
    "HardSigmoid": lambda node: (
        *(Function.HARD_SIGMOID, _number(node, "alpha", 0.2)),
        _number(node, "beta", 0.5),
    ),
    "HardSwish": lambda node: (Function.HARD_SWISH, _SIXTH, 0.5),
    "LeakyRelu": lambda node: (Function.LEAKY, _number(node, "alpha", 0.01), 0),
    "Log": lambda node: (Function.LOG, 0, 0),
    "Mish": lambda node: (Function.MISH, 0, 0),
    "Neg": lambda node: (Function.AFFINE, -1, 0),
    "Reciprocal": lambda node: (Function.INVERSE, 1, 0),
    "Sigmoid": lambda node: (Function.SIGMOID, 1, 0),
    "Softplus": lambda node: (Function.SOFTPLUS, 0, 0),
    "Sqrt": lambda node: (Function.SQRT, 0, 0),
    "Swish": lambda node: (Function.SWISH, _number(node, "alpha", 1), 0),
    "Tanh": lambda node: (Function.TANH, 0, 0),
}
"""Functions of one number that have a formula, besides Relu and Clip."""


def function(given: Operands, node: Node, value: Float32, limits: tuple[np.float32, np.float32]) -> Value:
    """Read a function of one number; ``limits`` are those of Relu and Clip."""
    if node.kind in ("Relu", "Clip"):
        return _applied(given, node, value.view, Function.CLIP, np.array(limits, np.float32))
    if node.kind in composites.FUNCTIONS:
        return composites.read(given, node, composites.FUNCTIONS[node.kind])
    if node.kind not in FUNCTIONS:
        raise InputError(
            f"{node}: must be a function that float32 has a formula for, Relu, Clip, "
            f"{', '.join(sorted((*FUNCTIONS, *composites.FUNCTIONS)))}; "
            "use one of these, or quantise the model."
        )
    kind, a, b = FUNCTIONS[node.kind](node)
    return _applied(given, node, value.view, kind, np.array([a, b], np.float32))


def _applied(given: Operands, node: Node, view: View, kind: Function, parameters: Floats) -> Float32:
    return Float32(given.draft.function(view, kind, parameters, node.name, tensor=node.outputs[0]))


def arithmetic(given: Operands, node: Node, position: int, array: Array) -> Value:
    """Read a function of input ``position`` and a constant as the other one."""
    constant, first = array.astype(np.float32), position == 0
    one, none = np.ones_like(constant), np.zeros_like(constant)
    with np.errstate(divide="ignore"):
        if node.kind in ("Add", "Sum"):
            return affine(given, node, position, (one, constant))
        if node.kind == "Sub":
            return affine(given, node, position, (one, -constant) if first else (-one, constant))
        if node.kind == "Mul":
            return affine(given, node, position, (constant, none))
        if node.kind == "Div" and first:
            return affine(given, node, position, (one / constant, none))
    if node.kind == "Pow":
        return _power(given, node, position, constant)
    if node.kind == "PRelu" and not first:
        raise InputError(f"{node}: its slope must be a constant, its input an activation.")
    kind, parameters = {
        "Div": (Function.INVERSE, (constant, none)),
        "PRelu": (Function.LEAKY, (constant, none)),
        "Max": (Function.CLIP, (constant, np.full_like(constant, np.inf))),
        "Min": (Function.CLIP, (np.full_like(constant, -np.inf), constant)),
    }[node.kind]
    view, stored = _parameters(given, node, _float_view(given, node, position), parameters)
    return _applied(given, node, view, kind, stored)


def _power(given: Operands, node: Node, position: int, exponent: Floats) -> Value:
    if position or exponent.size != 1:
        raise InputError(f"{node}: its exponent must be one constant in float32; use Mul, Sqrt, Exp and Log.")
    number = float(exponent.reshape(-1)[0])
    return composites.read(given, node, lambda parts: composites.power(parts, number))


def affine(
    given: Operands, node: Node, position: int, pair: tuple[Array, Array], *, channels_first: bool = False
) -> Value:
    """Multiply by constants and add constants: in the operator before, or by a kernel.

    ``channels_first``: they are vectors along axis 1 of the input.
    """
    rank = len(given.shape_of(given.operand(node, position), node.name))
    if channels_first:
        pair = pair[0].reshape(-1, *(1,) * (rank - 2)), pair[1].reshape(-1, *(1,) * (rank - 2))
    factor, addend = (part.astype(np.float32) for part in pair)
    before = given.foldable(node, position)
    if before is not None and before.rescaled is not None:
        found = [by_channel(part, before.index, before.channels) for part in (factor, addend)]
        if found[0] is not None and found[1] is not None:
            shape = (before.channels,)
            spread = [np.broadcast_to(part, shape).astype(np.float32) for part in found if part is not None]
            return replace(before.rescaled(spread[0], spread[1]), index=before.index)
    source = _float_view(given, node, position)
    if not moves.varies_along_one_axis(given.draft, factor, source):
        source, factor = _beside(given, node, OpKind.MULTIPLY, source, factor), np.ones(1, np.float32)
    if not moves.varies_along_one_axis(given.draft, addend, source):
        if (factor != 1).any():
            view, parameters = _parameters(given, node, source, (factor, np.zeros(1, np.float32)))
            source = given.draft.function(view, Function.AFFINE, parameters, node.name)
        return Float32(_beside(given, node, OpKind.ADD, source, addend))
    view, parameters = _parameters(given, node, source, (factor, addend))
    return _applied(given, node, view, Function.AFFINE, parameters)


def _beside(given: Operands, node: Node, kind: OpKind, view: View, array: Floats) -> View:
    """Multiply by or add constants that vary along several axes: they lie beside the tensor as another one does."""
    other = moves.constant(given.draft, node, view.tensor, array, None)
    try:
        pending = operators.combination(given.draft, node, kind, view, other)
    except InputError:  # it repeats along axes that are not rows or columns of what is stored
        full = np.broadcast_to(array, np.broadcast_shapes(array.shape, view.shape))
        other = moves.constant(given.draft, node, view.tensor, full, None)
        pending = operators.combination(given.draft, node, kind, view, other)
    return View(pending.emit(None, UNLIMITED, node.outputs[0]), pending.index)


def _float_view(given: Operands, node: Node, position: int) -> View:
    value = given.settled(node, position)
    if not isinstance(value, Float32):
        raise InputError(
            f"{node}: its inputs must all be float32, or all be quantised; quantise the other one too."
        )
    return value.view


def _parameters(given: Operands, node: Node, view: View, pair: tuple[Floats, Floats]) -> tuple[View, Floats]:
    """Return two constants as parameters, and a view whose stored channels they belong to."""
    both = np.empty(np.broadcast_shapes(pair[0].shape, pair[1].shape), np.complex64)  # a place per pair
    both.real, both.imag = pair
    found, arranged = moves.channel_operand(given.draft, node, both, view)
    parameters = np.stack([found.real, found.imag], axis=-1).astype(np.float32)
    return arranged, np.ascontiguousarray(parameters[0] if found.size == 1 else parameters)


def pair(given: Operands, node: Node, kind: OpKind | None) -> Value:
    """Read a function of two activations."""
    if node.kind == "Div":
        return composites.read(given, node, composites.quotient)
    if node.kind in ("Max", "Min"):
        return composites.read(given, node, composites.of_many)
    if kind is None:
        raise InputError(f"{node}: one of its inputs must be a constant in float32; use Mul, Exp and Log.")
    one, other = _float_view(given, node, 0), _float_view(given, node, 1)
    if node.kind == "Sub":
        minus = np.array([-1, 0], np.float32)
        other = given.draft.function(other, Function.AFFINE, minus, f"{node.name}_negated")
    return operators.combination(given.draft, node, kind, one, other)


def gemm(given: Operands, node: Node, view: View) -> Pending:
    """Read Gemm; alpha and beta go into its constants."""
    weights, bias = given.weights(node, 1, None).transposed((1, 0)), given.bias(node, 2)
    if not node.attributes.get("transB"):
        weights = weights.transposed((1, 0))
    if node.attributes.get("transA"):
        raise InputError(f"{node}: transA must be 0; transpose the weights instead.")
    alpha, beta = (np.float32(_number(node, key, 1)) for key in ("alpha", "beta"))
    scaled = Constant(weights.centred(node) * alpha)
    found = given.array(node, 2)
    bias = None if found is None else Constant(found * beta)
    return convolutions.fully_connected(given.draft, node, view, None, scaled, bias)
