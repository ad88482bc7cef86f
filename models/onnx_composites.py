"""Operators of ONNX that are read as several others: sums and largest values over axes, normalisations, quotients.

Each function writes the nodes that together give what its operator gives, by the definition in ONNX. What they
work on is float32 nearly always: a result that is not rounded to bytes in between has no kernel on bytes, so the
reader turns to float32 by itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.onnx_graph import Node, make_node
from ooc_solve.models.onnx_operands import Operands
from ooc_solve.models.onnx_values import Constant, QuantizedConstant, Value
from ooc_solve.models.vocabulary import InputError

Array = NDArray[Any]

_SELU_ALPHA, _SELU_GAMMA = 1.6732632423543772, 1.0507009873554805
_LARGEST_CONCAT = 64


@dataclass(slots=True)
class Parts:
    """The nodes that stand for a node; the last one gives its first output."""

    given: Operands
    node: Node
    nodes: list[Node] = field(default_factory=list)
    constants: int = 0

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return the name of its output."""
        output = f"{self.node.outputs[0]}, {kind} {len(self.nodes)}"
        self.nodes.append(make_node(kind, inputs, (output,), self.node.name, **attributes))
        return output

    def constant(self, value: Any) -> str:
        """Return the name of a constant; a number is one of float32."""
        if not isinstance(value, Constant | QuantizedConstant):
            value = Constant(value if isinstance(value, np.ndarray) else np.asarray(value, np.float32))
        name = f"{self.node.outputs[0]}, constant {self.constants}"
        self.constants += 1
        self.given.values[name] = value
        return name

    def integers(self, *values: int) -> str:
        """Return the name of a constant of whole numbers."""
        return self.constant(np.array(values, np.int64))

    def shape(self, position: int = 0) -> tuple[int, ...]:
        """Shape of an input of the node."""
        return self.given.shape_of(self.given.operand(self.node, position), self.node.name)

    def number(self, key: str, default: float) -> float:
        """An attribute that is a number."""
        return float(self.node.attributes.get(key, default))

    def axis(self, default: int) -> int:
        """The attribute `axis`, counted from the front."""
        return self.node.axis_of(int(self.node.attributes.get("axis", default)), len(self.shape()))


Recipe = Callable[[Parts], None]


def read(given: Operands, node: Node, recipe: Recipe) -> Value:
    """Read the nodes that stand for a node; return its first output."""
    parts = Parts(given, node)
    recipe(parts)
    given.add_parts(node, parts.nodes)
    for part in parts.nodes:
        values = given.read(part)
        given.values.update(zip(part.outputs, values, strict=True))
    return values[0]


# ------------------------------------------------------------------ functions and pairs


def _selu(parts: Parts) -> None:
    elu = parts.add("Elu", parts.node.inputs[0], alpha=parts.number("alpha", _SELU_ALPHA))
    parts.add("Mul", elu, parts.constant(parts.number("gamma", _SELU_GAMMA)))


def _celu(parts: Parts) -> None:
    alpha = parts.constant(parts.number("alpha", 1))
    parts.add("Mul", parts.add("Elu", parts.add("Div", parts.node.inputs[0], alpha)), alpha)


def _softsign(parts: Parts) -> None:
    x = parts.node.inputs[0]
    parts.add("Div", x, parts.add("Add", parts.add("Abs", x), parts.constant(1)))


FUNCTIONS: dict[str, Recipe] = {"Celu": _celu, "Selu": _selu, "Softsign": _softsign}
"""Functions of one number that a table computes on bytes, and these nodes in float32."""


def quotient(parts: Parts) -> None:
    """``a / b`` as ``a * (1 / b)``."""
    a, b = parts.node.inputs
    parts.add("Mul", a, parts.add("Reciprocal", b))


def _larger(parts: Parts, a: str, b: str) -> str:
    return parts.add("Add", b, parts.add("Relu", parts.add("Sub", a, b)))


def _smaller(parts: Parts, a: str, b: str) -> str:
    return parts.add("Sub", a, parts.add("Relu", parts.add("Sub", a, b)))


def _sum(parts: Parts, a: str, b: str) -> str:
    return parts.add("Add", a, b)


_PAIRS: dict[str, Callable[[Parts, str, str], str]] = {
    "Add": _sum, "Sum": _sum, "Mean": _sum, "Max": _larger, "Min": _smaller,
}  # fmt: skip


def of_many(parts: Parts) -> None:
    """Sum, Mean, Max or Min of any number of inputs, one after the other."""
    total, *others = parts.node.inputs
    for other in others:
        total = _PAIRS[parts.node.kind](parts, total, other)
    if parts.node.kind == "Mean":
        parts.add("Mul", total, parts.constant(1 / (1 + len(others))))


def power(parts: Parts, exponent: float) -> None:
    """``x ** exponent`` by multiplications, roots and quotients."""
    x = parts.node.inputs[0]
    if abs(exponent) in (0.5, 1.5):
        root = parts.add("Sqrt", x)
        x = root if abs(exponent) == 0.5 else parts.add("Mul", x, root)
    elif abs(exponent) in (1, 2, 3, 4):
        square = parts.add("Mul", x, x) if abs(exponent) > 1 else x
        odd = parts.add("Mul", square, x) if abs(exponent) == 3 else square
        x = parts.add("Mul", square, square) if abs(exponent) == 4 else odd
    else:
        raise InputError(
            f"{parts.node}: its exponent must be 0.5, 1, 1.5, 2, 3 or 4, or less 0 one of these, in float32 "
            f"(got {exponent}); write it with Exp and Log."
        )
    if exponent < 0:
        parts.add("Reciprocal", x)
    elif exponent == 1:
        parts.add("Identity", x)


# ------------------------------------------------------------------------ over axes


def _axes(parts: Parts) -> list[int]:
    """The axes that a Reduce operator goes over."""
    found = parts.given.integers(parts.node, 1, "axes")
    rank = len(parts.shape())
    if not found and parts.node.attributes.get("noop_with_empty_axes"):
        raise InputError(f"{parts.node}: must have axes to go over; remove it.")
    return sorted({parts.node.axis_of(axis, rank) for axis in found or range(rank)})


def _reduced(parts: Parts, kind: str, x: str, axes: Sequence[int]) -> str:
    keepdims = int(parts.node.attributes.get("keepdims", 1))
    return parts.add(kind, x, axes=list(axes), keepdims=keepdims)


def _added(parts: Parts, x: str, axes: Sequence[int]) -> str:
    count = int(np.prod([parts.shape()[axis] for axis in axes]))
    return parts.add("Mul", _reduced(parts, "ReduceMean", x, axes), parts.constant(count))


def _reduce_sum(parts: Parts) -> None:
    _added(parts, parts.node.inputs[0], _axes(parts))


def _reduce_l1(parts: Parts) -> None:
    _added(parts, parts.add("Abs", parts.node.inputs[0]), _axes(parts))


def _reduce_squares(parts: Parts) -> None:
    x = parts.node.inputs[0]
    _added(parts, parts.add("Mul", x, x), _axes(parts))


def _reduce_l2(parts: Parts) -> None:
    x = parts.node.inputs[0]
    parts.add("Sqrt", _added(parts, parts.add("Mul", x, x), _axes(parts)))


def _reduce_log_sum(parts: Parts) -> None:
    parts.add("Log", _added(parts, parts.node.inputs[0], _axes(parts)))


def _reduce_log_sum_exp(parts: Parts) -> None:
    x, axes = parts.node.inputs[0], _axes(parts)
    rest = parts.add("Sub", x, parts.add("ReduceMax", x, axes=axes, keepdims=1))
    logarithm = parts.add("Log", _added(parts, parts.add("Exp", rest), axes))
    parts.add("Add", logarithm, _reduced(parts, "ReduceMax", x, axes))


def _reduce_min(parts: Parts) -> None:
    opposite = parts.add("Neg", parts.node.inputs[0])
    parts.add("Neg", _reduced(parts, "ReduceMax", opposite, _axes(parts)))


def _log_softmax(parts: Parts) -> None:
    old = parts.given.opset < 13
    axis, x = parts.axis(1 if old else -1), parts.node.inputs[0]
    axes = [k for k in range(axis, len(parts.shape())) if k == axis or old]
    rest = parts.add("Sub", x, parts.add("ReduceMax", x, axes=axes, keepdims=1))
    exponentials = parts.add("Exp", rest)
    mean = parts.add("ReduceMean", exponentials, axes=axes, keepdims=1)
    count = int(np.prod([parts.shape()[k] for k in axes]))
    parts.add("Sub", rest, parts.add("Log", parts.add("Mul", mean, parts.constant(count))))


def _reduce_product(parts: Parts) -> None:
    """One half of an axis times the other, until one position is left."""
    x, axes = parts.node.inputs[0], _axes(parts)
    for axis in axes:
        size = parts.shape()[axis]
        while size > 1:
            half, odd = divmod(size, 2)
            product = parts.add(
                "Mul", _slice(parts, x, axis, 0, half), _slice(parts, x, axis, half, 2 * half)
            )
            rest = [_slice(parts, x, axis, size - 1, size)] if odd else []
            x = parts.add("Concat", product, *rest, axis=axis) if odd else product
            size = half + odd
    keep = parts.node.attributes.get("keepdims", 1)
    shape = [1 if k in axes else size for k, size in enumerate(parts.shape()) if keep or k not in axes]
    parts.add("Reshape", x, parts.integers(*shape))


# ------------------------------------------------------------------- normalisations


def _normalized(parts: Parts, x: str, axes: Sequence[int], epsilon: float) -> str:
    """``(x - mean) / sqrt(variance + epsilon)`` over some axes."""
    rest = parts.add("Sub", x, parts.add("ReduceMean", x, axes=list(axes), keepdims=1))
    return _scaled_to_one(parts, rest, axes, epsilon)


def _scaled_to_one(parts: Parts, x: str, axes: Sequence[int], epsilon: float) -> str:
    """``x / sqrt(mean(x^2) + epsilon)`` over some axes."""
    variance = parts.add("ReduceMean", parts.add("Mul", x, x), axes=list(axes), keepdims=1)
    deviation = parts.add("Sqrt", parts.add("Add", variance, parts.constant(epsilon)))
    return parts.add("Mul", x, parts.add("Reciprocal", deviation))


def _scaled(parts: Parts, x: str, scale: str, bias: str) -> None:
    """``x * scale + bias``, either of which may be absent."""
    x = parts.add("Mul", x, scale) if scale else x
    if bias:
        parts.add("Add", x, bias)


def _input(parts: Parts, position: int) -> str:
    return parts.node.inputs[position] if position < len(parts.node.inputs) else ""


def _layer_normalization(parts: Parts) -> None:
    axes = range(parts.axis(-1), len(parts.shape()))
    x = _normalized(parts, parts.node.inputs[0], axes, parts.number("epsilon", 1e-5))
    _scaled(parts, x, _input(parts, 1), _input(parts, 2))


def _rms_normalization(parts: Parts) -> None:
    axes = range(parts.axis(-1), len(parts.shape()))
    x = _scaled_to_one(parts, parts.node.inputs[0], axes, parts.number("epsilon", 1e-5))
    _scaled(parts, x, _input(parts, 1), "")


def _skip_layer_normalization(parts: Parts) -> None:
    """onnxruntime's: inputs are two tensors, scale, bias, and a bias of the sum."""
    x = parts.add("Add", *parts.node.inputs[:2])
    x = parts.add("Add", x, _input(parts, 4)) if _input(parts, 4) else x
    x = _normalized(parts, x, [len(parts.shape()) - 1], parts.number("epsilon", 1e-12))
    _scaled(parts, x, _input(parts, 2), _input(parts, 3))


def _per_channel(parts: Parts, position: int) -> str:
    """A vector along axis 1 of the first input."""
    array = parts.given.array(parts.node, position)
    if array is None:
        raise InputError(f"{parts.node}: input {position} must be a constant.")
    channels = parts.shape()[1]
    full = np.repeat(array.reshape(-1), channels // array.size if channels % array.size == 0 else 1)
    return parts.constant(full.reshape(-1, *(1,) * (len(parts.shape()) - 2)))


def _instance_normalization(parts: Parts) -> None:
    axes = range(2, len(parts.shape()))
    x = _normalized(parts, parts.node.inputs[0], axes, parts.number("epsilon", 1e-5))
    _scaled(parts, x, _per_channel(parts, 1), _per_channel(parts, 2))


def _group_normalization(parts: Parts) -> None:
    shape, groups = parts.shape(), int(parts.number("num_groups", 1))
    if groups < 1 or shape[1] % groups:
        raise InputError(f"{parts.node}: num_groups must divide its {shape[1]} channels (got {groups}).")
    x = parts.add("Reshape", parts.node.inputs[0], parts.integers(shape[0], groups, -1))
    x = _normalized(parts, x, [2], parts.number("epsilon", 1e-5))
    x = parts.add("Reshape", x, parts.integers(*shape))
    _scaled(parts, x, _per_channel(parts, 1), _per_channel(parts, 2))


def _mean_variance_normalization(parts: Parts) -> None:
    axes = parts.node.axes_of(parts.node.attributes.get("axes", [0, 2, 3]), len(parts.shape()))
    _normalized(parts, parts.node.inputs[0], axes, 1e-9)


def _lp_normalization(parts: Parts) -> None:
    x, axis = parts.node.inputs[0], parts.axis(-1)
    by_squares = int(parts.number("p", 2)) == 2
    positive = parts.add("Mul", x, x) if by_squares else parts.add("Abs", x)
    mean = parts.add("ReduceMean", positive, axes=[axis], keepdims=1)
    total = parts.add("Mul", mean, parts.constant(parts.shape()[axis]))
    parts.add("Mul", x, parts.add("Reciprocal", parts.add("Sqrt", total) if by_squares else total))


def _local_response_normalization(parts: Parts) -> None:
    """``x / (bias + alpha / size * sum(x^2)) ** beta``, sums over so many neighbouring channels.

    A convolution of one tap sums, most of whose weights are 0: so no pixel is put in another order.
    """
    x, shape, size = parts.node.inputs[0], parts.shape(), int(parts.number("size", 1))
    if len(shape) < 3 or shape[0] != 1:
        raise InputError(f"{parts.node}: must have batch 1 and spatial axes (got shape {shape}).")
    before = (size - 1) // 2
    apart = (
        np.arange(shape[1]) - np.arange(shape[1])[:, np.newaxis]
    )  # of an input channel from an output channel
    near = ((apart >= -before) & (apart < size - before)) / size
    band = near.astype(np.float32).reshape(*near.shape, *(1,) * (len(shape) - 2))
    mean = parts.add("Conv", parts.add("Mul", x, x), parts.constant(band))
    share = parts.add("Mul", mean, parts.constant(parts.number("alpha", 1e-4)))
    logarithm = parts.add("Log", parts.add("Add", share, parts.constant(parts.number("bias", 1))))
    exponent = parts.constant(-parts.number("beta", 0.75))
    parts.add("Mul", x, parts.add("Exp", parts.add("Mul", logarithm, exponent)))


# -------------------------------------------------------------- what chooses elements


def _slice(parts: Parts, x: str, axis: int, start: int, end: int) -> str:
    return parts.add("Slice", x, *(parts.integers(value) for value in (start, end, axis)))


def _gather(parts: Parts) -> None:
    """Positions along an axis, neighbours in one piece."""
    x, axis = parts.node.inputs[0], parts.axis(0)
    indices = parts.given.array(parts.node, 1)
    if indices is None or indices.ndim > 1 or not indices.size:
        raise InputError(
            f"{parts.node}: its indices must be a constant number or list; use Slice and Concat."
        )
    size = parts.shape()[axis]
    places = [int(index) + size * (index < 0) for index in indices.reshape(-1)]
    if min(places) < 0 or max(places) >= size:
        raise InputError(f"{parts.node}: its indices must be positions of an axis of {size} (got {places}).")
    joined = _picked(parts, x, axis, places)
    if not indices.ndim:
        rest = [length for k, length in enumerate(parts.shape()) if k != axis]
        parts.add("Reshape", joined, parts.integers(*rest))


def _picked(parts: Parts, x: str, axis: int, places: Sequence[int]) -> str:
    """Some positions along an axis, neighbours in one piece."""
    breaks = [k for k in range(1, len(places)) if places[k] != places[k - 1] + 1]
    if len(breaks) >= _LARGEST_CONCAT:
        raise InputError(
            f"{parts.node}: what it picks must be at most {_LARGEST_CONCAT} runs of neighbours (got {len(breaks) + 1})."
        )
    runs = zip([0, *breaks], [*breaks, len(places)], strict=True)
    pieces = [_slice(parts, x, axis, places[low], places[high - 1] + 1) for low, high in runs]
    return pieces[0] if len(pieces) == 1 else parts.add("Concat", *pieces, axis=axis)


def reversed_slices(parts: Parts, slices: dict[int, tuple[int, int, int]]) -> None:
    """Slices some of which go backwards: start, end and step by axis."""
    x = parts.node.inputs[0]
    for axis, (start, end, step) in slices.items():
        if not step:
            raise InputError(f"{parts.node}: steps must not be 0.")
        places = range(*slice(start, end, step).indices(parts.shape()[axis]))
        if not places:
            raise InputError(f"{parts.node}: its output must have elements.")
        x = _picked(parts, x, axis, places)


def _tile(parts: Parts) -> None:
    """A tensor several times along its axes."""
    repeats, x = parts.given.integers(parts.node, 1, "repeats"), parts.node.inputs[0]
    if repeats is None or len(repeats) != len(parts.shape()) or min(repeats, default=0) < 1:
        raise InputError(f"{parts.node}: must have a constant number of repeats per axis, at least 1.")
    if max(repeats, default=1) > _LARGEST_CONCAT:
        raise InputError(f"{parts.node}: must have at most {_LARGEST_CONCAT} repeats (got {repeats}).")
    many = [axis for axis, count in enumerate(repeats) if count > 1]
    for axis in many:
        x = parts.add("Concat", *[x] * repeats[axis], axis=axis)
    if not many:
        parts.add("Identity", x)


def reflected(parts: Parts, pads: Sequence[int]) -> None:
    """Pad by what lies inside, the first and last position not repeated."""
    x, rank = parts.node.inputs[0], len(parts.shape())
    for axis in range(rank):
        size, before, after = parts.shape()[axis], pads[axis], pads[axis + rank]
        if min(before, after) < 0 or max(before, after) >= size or before + after > _LARGEST_CONCAT:
            raise InputError(
                f"{parts.node}: reflected pads must be smaller than the axis of {size} and at most "
                f"{_LARGEST_CONCAT} (got {before} and {after})."
            )
        if before or after:
            head = [_slice(parts, x, axis, k, k + 1) for k in range(before, 0, -1)]
            tail = [_slice(parts, x, axis, k, k + 1) for k in range(size - 2, size - 2 - after, -1)]
            x = parts.add("Concat", *head, x, *tail, axis=axis)
    if not any(pads):
        parts.add("Identity", x)


def padded(parts: Parts, pads: Sequence[int], value: float) -> None:
    """Pad by a number other than 0: less the number, pad by 0, and the number again."""
    if not np.isfinite(value) or abs(value) > 1e6:
        raise InputError(
            f"{parts.node}: its value must be at most 1e6 in float32 (got {value}); pad by the edges."
        )
    less = parts.add("Sub", parts.node.inputs[0], parts.constant(value))
    parts.add("Add", parts.add("Pad", less, parts.integers(*pads)), parts.constant(value))


# ------------------------------------------------------------- products of activations


def matched_product(parts: Parts) -> None:
    """``a @ b`` of two activations whose batches differ: the one that has fewer is repeated."""
    shapes = parts.shape(0), parts.shape(1)
    if min(map(len, shapes)) < 2 or shapes[0][-1] != shapes[1][-2]:
        raise InputError(
            f"{parts.node}: its inputs must be matrices that fit (got {shapes[0]} and {shapes[1]})."
        )
    try:
        batch = np.broadcast_shapes(*(shape[:-2] for shape in shapes))
    except ValueError:
        raise InputError(f"{parts.node}: its batches must fit (got {shapes[0]} and {shapes[1]}).") from None
    sides = [
        parts.add("Expand", name, parts.integers(*batch, *shape[-2:]))
        for name, shape in zip(parts.node.inputs, shapes, strict=True)
    ]
    parts.add("MatMul", *sides)


def einsum(parts: Parts) -> None:
    """A sum over products of two activations, as a product of matrices between transpositions.

    Letters of both inputs and the output number the matrices, those of both inputs alone are summed over.
    """
    equation = str(parts.node.attributes.get("equation", "")).replace(" ", "")
    terms, arrow, result = equation.partition("->")
    left, comma, right = terms.partition(",")
    letters = set(left) | set(right)
    shared, summed = (
        [c for c in left if c in right and c in result],
        [c for c in left if c in right and c not in result],
    )
    own = [[c for c in term if c not in other] for term, other in ((left, right), (right, left))]
    plain = all(len(set(text)) == len(text) and text.isalpha() for text in (left, right, result) if text)
    if not (arrow and comma and plain and set(result) == letters - set(summed)):
        raise InputError(
            f"{parts.node}: its equation must have two terms, and sum over letters that both have (got '{equation}'); "
            "write it with Transpose and MatMul."
        )
    sizes = dict(zip(left, parts.shape(0), strict=True)) | dict(zip(right, parts.shape(1), strict=True))

    def length(group: Sequence[str]) -> int:
        return int(np.prod([sizes[c] for c in group], initial=1))

    def matrices(position: int, *groups: Sequence[str]) -> str:
        order = [c for group in groups for c in group]
        perm = [(left, right)[position].index(c) for c in order]
        x = parts.add("Transpose", parts.node.inputs[position], perm=perm)
        return parts.add("Reshape", x, parts.integers(*map(length, groups)))

    x = parts.add("MatMul", matrices(0, shared, own[0], summed), matrices(1, shared, summed, own[1]))
    made = [*shared, *own[0], *own[1]]
    x = parts.add("Reshape", x, parts.integers(*(sizes[c] for c in made)))
    parts.add("Transpose", x, perm=[made.index(c) for c in result])


def of_constant_matrix(parts: Parts) -> None:
    """``constant @ x`` as ``(x' @ constant')'``."""
    array = parts.given.array(parts.node, 0)
    rank = len(parts.shape(1))
    if array is None or array.ndim != 2 or rank < 2:
        raise InputError(f"{parts.node}: its constant must be a matrix, its input have at least two axes.")
    turned = [*range(rank - 2), rank - 1, rank - 2]
    x = parts.add("Transpose", parts.node.inputs[1], perm=turned)
    product = parts.add("MatMul", x, parts.constant(np.ascontiguousarray(array.T)))
    parts.add("Transpose", product, perm=turned)


def _times(parts: Parts, x: str, factor: float) -> str:
    return x if factor == 1 else parts.add("Mul", x, parts.constant(factor))


def gemm_of_activations(parts: Parts) -> None:
    """Gemm whose second input is computed."""
    a, b = (
        parts.add("Transpose", name, perm=[1, 0]) if parts.node.attributes.get(key) else name
        for name, key in zip(parts.node.inputs, ("transA", "transB"), strict=False)
    )
    x = _times(parts, parts.add("MatMul", a, b), parts.number("alpha", 1))
    bias = parts.given.array(parts.node, 2)
    if bias is not None:
        parts.add("Add", x, parts.constant(bias.astype(np.float32) * np.float32(parts.number("beta", 1))))


def quantized_product(parts: Parts) -> None:
    """QLinearMatMul of two activations: dequantised, multiplied and quantised again, which is one kernel."""
    names = parts.node.inputs
    a, b = parts.add("DequantizeLinear", *names[:3]), parts.add("DequantizeLinear", *names[3:6])
    product = parts.add("MatMul", a, b)
    parts.add("QuantizeLinear", product, *names[6:8])


# ---------------------------------------------------------- onnxruntime's fused operators


def _activated(parts: Parts, x: str) -> None:
    kind = parts.node.attributes.get("activation", "")
    one = parts.node.attributes.get("activation_alpha")
    numbers = parts.node.attributes.get("activation_params", [] if one is None else [one])
    if kind == "Clip" and len(numbers) == 2:
        parts.add("Clip", x, parts.constant(numbers[0]), parts.constant(numbers[1]))
    elif kind in ("Relu", "Sigmoid", "Tanh"):
        parts.add(kind, x)
    elif kind in ("LeakyRelu", "HardSigmoid"):
        names = ("alpha", "beta")[: len(numbers)]
        parts.add(kind, x, **dict(zip(names, map(float, numbers), strict=False)))
    elif kind:
        raise InputError(
            f"{parts.node}: its activation must be Relu, Clip, LeakyRelu, Sigmoid or the like (got {kind})."
        )


def _fused(parts: Parts) -> None:
    """FusedConv and FusedGemm: what they are called, and an activation."""
    inner = {key: value for key, value in parts.node.attributes.items() if not key.startswith("activation")}
    plain = parts.node.kind.rpartition(".Fused")[2]
    count = 3 if plain == "Conv" else len(parts.node.inputs)
    x = parts.add(plain, *parts.node.inputs[:count], **inner)
    x = parts.add("Add", x, parts.node.inputs[3]) if _input(parts, 3) and plain == "Conv" else x
    _activated(parts, x)


def _fused_matmul(parts: Parts) -> None:
    """``alpha * a @ b``, either of which may be turned."""
    sides = []
    for position, key in enumerate(("transA", "transB")):
        rank, name = len(parts.shape(position)), parts.node.inputs[position]
        turned = [*range(rank - 2), rank - 1, rank - 2]
        sides.append(parts.add("Transpose", name, perm=turned) if parts.node.attributes.get(key) else name)
    _times(parts, parts.add("MatMul", *sides), parts.number("alpha", 1))


def _fast_gelu(parts: Parts) -> None:
    """By the hyperbolic tangent, a bias before it."""
    x = parts.add("Add", *parts.node.inputs[:2]) if _input(parts, 1) else parts.node.inputs[0]
    parts.add("Gelu", x, approximate="tanh")


def _bias_gelu(parts: Parts) -> None:
    parts.add("Gelu", parts.add("Add", *parts.node.inputs[:2]))


def _quick_gelu(parts: Parts) -> None:
    parts.add("Swish", parts.node.inputs[0], alpha=parts.number("alpha", 1.702))


_MOVES, _CONV = ("move",), ("conv", "lookup")
_SUMS, _MEANS = ("average_pool", "lookup"), ("conv", "average_pool", "add", "multiply", "lookup")

COMPOSITES: dict[str, tuple[Recipe, tuple[str, ...]]] = {
    "Einsum": (einsum, ("conv", "matmul")),
    "Gather": (_gather, _MOVES),
    "GroupNormalization": (_group_normalization, _MEANS),
    "InstanceNormalization": (_instance_normalization, _MEANS),
    "LRN": (_local_response_normalization, ("conv", "multiply", "lookup")),
    "LayerNormalization": (_layer_normalization, _MEANS),
    "LogSoftmax": (_log_softmax, ("max_pool", "average_pool", "add", "lookup")),
    "LpNormalization": (_lp_normalization, ("average_pool", "multiply", "lookup")),
    "Mean": (of_many, ("add", "lookup")),
    "MeanVarianceNormalization": (_mean_variance_normalization, _MEANS),
    "RMSNormalization": (_rms_normalization, ("average_pool", "multiply", "lookup")),
    "ReduceL1": (_reduce_l1, _SUMS),
    "ReduceL2": (_reduce_l2, ("multiply", *_SUMS)),
    "ReduceLogSum": (_reduce_log_sum, _SUMS),
    "ReduceLogSumExp": (_reduce_log_sum_exp, ("max_pool", "add", *_SUMS)),
    "ReduceMin": (_reduce_min, ("max_pool", "lookup")),
    "ReduceProd": (_reduce_product, ("move", "multiply")),
    "ReduceSum": (_reduce_sum, _SUMS),
    "ReduceSumSquare": (_reduce_squares, ("multiply", *_SUMS)),
    "SimplifiedLayerNormalization": (_rms_normalization, ("average_pool", "multiply", "lookup")),
    "Tile": (_tile, _MOVES),
    "com.microsoft.BiasGelu": (_bias_gelu, ("add", "lookup")),
    "com.microsoft.FastGelu": (_fast_gelu, ("add", "lookup")),
    "com.microsoft.FusedConv": (_fused, _CONV),
    "com.microsoft.FusedGemm": (_fused, _CONV),
    "com.microsoft.FusedMatMul": (_fused_matmul, ("conv", "matmul", "lookup")),
    "com.microsoft.QuickGelu": (_quick_gelu, ("lookup",)),
    "com.microsoft.SkipLayerNormalization": (_skip_layer_normalization, _MEANS),
}
"""Operators that are always read as others, with the kernels of these."""
