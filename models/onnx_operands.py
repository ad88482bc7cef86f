"""What nodes of an ONNX graph find at their inputs, checked for what they need."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import View
from ooc_solve.models.network_draft import NetworkDraft
from ooc_solve.models.onnx_graph import Graph, Node
from ooc_solve.models.onnx_values import (
    Constant,
    Float32,
    Pending,
    QuantizedConstant,
    Real,
    Scale,
    Value,
)
from ooc_solve.models.vocabulary import InputError

Array = NDArray[Any]


Read = Callable[[Node], tuple[Value, ...]]


def bytes_of(view: View) -> np.dtype[Any]:
    """Type of stored integers in the file, and of a zero point that it leaves out."""
    return np.dtype(np.uint8 if view.offset else np.int8)


class Operands:
    """All values of a graph by name, and the network being drafted from them.

    ``read`` gives the outputs of a node. Within ``in_float32`` what follows from stored bytes (``Real``) or waits
    for a scale (``Pending``) is found as float32: the nodes that made it are read once more, back to where bytes
    are stored, which are dequantised.
    """

    def __init__(self, graph: Graph, read: Read) -> None:
        self.opset = graph.opset
        self.read = read
        self.floating = False
        self.draft = NetworkDraft()
        self.values: dict[str, Value] = {name: Constant(array) for name, array in graph.constants.items()}
        self._makers = {name: node for node in graph.nodes for name in node.outputs}
        self._wholes: dict[Node, Node] = {}  # nodes by those that stand for them
        self._floats: dict[str, Value] = {}  # what stands for values in `in_float32`
        reads = (*(name for node in graph.nodes for name in node.inputs), *graph.outputs)
        self._readers = Counter(reads)
        self._computed: dict[tuple[object, float, float], str] = {}  # tensors of float32 results

    def value(self, node: Node, position: int) -> Value | None:
        """Return an input, None where it is absent."""
        if position >= len(node.inputs) or not node.inputs[position]:
            return None
        name = node.inputs[position]
        return self.as_float32(name) if self.floating else self.values[name]

    def operand(self, node: Node, position: int = 0) -> Value:
        """Return an input that must be there."""
        value = self.value(node, position)
        if value is None:
            raise InputError(f"{node}: input {position} must be given.")
        return value

    def computed(self, name: str) -> Value | None:
        """Return a value by name; of a float32 result what its operator computes, which adds that once."""
        value = self.as_float32(name) if self.floating else self.values.get(name)
        if not (isinstance(value, Pending) and value.is_float):
            return value
        key = (value.emit, float(value.low), float(value.high))
        if key not in self._computed:
            clamp = value.float_clamp
            assert clamp is not None, "limits that do not fit the tables are never folded"
            self._computed[key] = self._emitted(value, None, clamp, name)
        return Float32(View(self._computed[key], value.index))

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Let nodes find float32 where there are reals that follow from bytes."""
        before, self.floating = self.floating, True
        try:
            yield
        finally:
            self.floating = before

    def follows_from_bytes(self, name: str) -> bool:
        """Whether a value is real numbers of a quantised tensor, or waits for a scale to become one."""
        value = self.values.get(name)
        return isinstance(value, Real) or (isinstance(value, Pending) and not value.is_float)

    def as_float32(self, name: str) -> Value:
        """Return a value, as float32 if it follows from bytes, which reads again what made it."""
        value = self.values[name]
        if isinstance(value, QuantizedConstant):
            return Constant(value.real())
        if not self.follows_from_bytes(name):
            return value
        if name not in self._floats:
            maker = self._makers[name]
            with self.in_float32():
                self._floats.update(zip(maker.outputs, self.read(maker), strict=True))
        return self._floats[name]

    def add_parts(self, node: Node, parts: list[Node]) -> None:
        """Take nodes that together stand for another one."""
        for part in parts:
            self._makers.update(dict.fromkeys(part.outputs, part))
            self._readers.update(part.inputs)
            self._wholes[part] = self._wholes.get(node, node)

    def settled(self, node: Node, position: int = 0) -> Value:
        """Return an input that must be there, as what is computed."""
        self.operand(node, position)
        value = self.computed(node.inputs[position])
        assert value is not None
        return value

    def is_read(self, name: str) -> bool:
        """Whether a node or the caller of the network reads a value."""
        return self._readers[name] > 0

    def foldable(self, node: Node, position: int = 0) -> Pending | None:
        """Return an input that is a result to which the node may add its own work: nobody else reads it."""
        value = self.operand(node, position)
        alone = self._readers[node.inputs[position]] == 1
        return value if isinstance(value, Pending) and (alone or not value.is_float) else None

    def array(self, node: Node, position: int) -> Array | None:
        """Return a constant input, None where it is absent."""
        value = self.value(node, position)
        if value is None:
            return None
        if isinstance(value, Constant):
            return value.array
        if isinstance(value, QuantizedConstant):
            return value.real()
        raise InputError(f"{node}: input '{node.inputs[position]}' must be a constant.")

    def integers(self, node: Node, position: int, attribute: str) -> list[int] | None:
        """Return a list of integers that is an attribute in old opsets and an input in new ones."""
        found = self.array(node, position)
        if found is not None:
            if found.size and found.dtype.kind not in "iu":
                raise InputError(
                    f"{node}: input {position} must be whole numbers (got {found.dtype}); repair the file."
                )
            return [int(item) for item in found.reshape(-1)]
        return node.attributes.get(attribute)

    def stored(self, node: Node, position: int) -> View:
        """Return an input that must be a quantised activation."""
        value = self.operand(node, position)
        if not isinstance(value, View):
            raise InputError(f"{node}: input '{node.inputs[position]}' must be a quantised activation.")
        return value

    def real(self, node: Node, position: int = 0) -> Real:
        """Return an input that must be the dequantised form of stored data."""
        value = self.settled(node, position)
        if isinstance(value, Float32):
            raise InputError(
                f"{node}: must read quantised data here (got float32); quantise all of the model, or nothing of it."
            )
        if isinstance(value, Pending):
            raise InputError(f"{node}: the result of {value.node} must be quantised before it is used here.")
        if not isinstance(value, Real):
            raise InputError(f"{node}: input '{node.inputs[position]}' must come from a DequantizeLinear.")
        return value

    def dequantized(self, node: Node, position: int = 0) -> tuple[View, Scale | None]:
        """Return an input that must come straight from a DequantizeLinear, with its scale; or is float32, without."""
        found = self.settled(node, position)
        if isinstance(found, Float32):
            return found.view, None
        value = self.real(node, position)
        if value.scale is None:
            raise InputError(
                f"{node}: input '{node.inputs[position]}' must be quantised again after the elementwise operators "
                "before it."
            )
        return value.view, value.scale

    def weights(self, node: Node, position: int, scale: Scale | None) -> QuantizedConstant | Constant:
        """Return constant int8 weights behind a DequantizeLinear, or those of a float32 operator (no ``scale``)."""
        value = self.operand(node, position)
        if scale is None:
            found = self.array(node, position)
            assert found is not None
            return Constant(found)
        if not isinstance(value, QuantizedConstant):
            raise InputError(
                f"{node}: weights '{node.inputs[position]}' must be constant int8 behind a DequantizeLinear; "
                "quantise activations and weights."
            )
        return value

    def bias(self, node: Node, position: int) -> Constant | QuantizedConstant | None:
        """Return a constant bias, None without one."""
        value = self.value(node, position)
        if value is not None and not isinstance(value, Constant | QuantizedConstant):
            raise InputError(f"{node}: its bias '{node.inputs[position]}' must be a constant.")
        return value

    def scale(self, node: Node, position: int, default: np.dtype[Any] | None = None) -> Scale:
        """Return the scale and zero point of an activation, at two neighbouring inputs."""
        scale, zero = self.array(node, position), self.array(node, position + 1)
        if scale is None or scale.size != 1 or (zero is not None and zero.size != 1):
            raise InputError(f"{node}: an activation must have a single scale and zero point.")
        if zero is None:
            zero = np.zeros(1, default or np.dtype(np.uint8))
        if zero.dtype not in (np.int8, np.uint8) or scale.dtype != np.float32:
            raise InputError(
                f"{node}: activations must be int8 or uint8 with a float32 scale (got {zero.dtype}, {scale.dtype})."
            )
        offset = 128 if zero.dtype == np.uint8 else 0
        factor = np.float32(scale.reshape(-1)[0])
        if not (factor > 0 and np.isfinite(factor)):
            raise InputError(f"{node}: a scale must be positive and finite (got {factor}).")
        return Scale(factor, int(zero.reshape(-1)[0]) - offset, offset)

    def activation(self, node: Node, position: int) -> tuple[View, Scale]:
        """Return a QLinear operand: data, scale and zero point at three neighbouring inputs."""
        view = self.stored(node, position)
        scale = self.scale(node, position + 1, bytes_of(view))
        self.check_sign(node, view, scale)
        return self.draft.read_as(view, scale.quantization), scale

    def constant(self, node: Node, position: int, axis: int) -> QuantizedConstant:
        """Return a QLinear constant: integers, scale and zero point at three neighbouring inputs."""
        array, scale, zero = (self.array(node, position + step) for step in range(3))
        if array is None or scale is None:
            raise InputError(f"{node}: input {position} must be a constant with a scale.")
        zero = np.zeros(1, array.dtype) if zero is None else zero
        if scale.dtype != np.float32 or zero.dtype != array.dtype:
            raise InputError(
                f"{node}: constants must have a float32 scale and a zero point of their own type "
                f"(got {scale.dtype}, {zero.dtype} for {array.dtype}); repair the file."
            )
        return QuantizedConstant(array, scale.reshape(-1), zero.reshape(-1), axis)

    def check_sign(self, node: Node, view: View, scale: Scale) -> None:
        """Refuse a zero point of another type than the data."""
        if view.offset != scale.offset:
            raise InputError(f"{node}: data and zero point must have one type; repair the file.")

    def shape_of(self, value: Value, name: str) -> tuple[int, ...]:
        """Return the graph's shape of a value."""
        if isinstance(value, View):
            return value.shape
        if isinstance(value, Real | Float32):
            return value.view.shape
        if isinstance(value, Pending):
            return value.index.shape
        if isinstance(value, Constant | QuantizedConstant):
            return value.array.shape
        raise InputError(f"'{name}': its shape is not known.")

    def round_to(self, pending: Pending, scale: Scale, name: str) -> View:
        """Give a pending result its scale, which adds the operator."""
        return View(self._emitted(pending, scale, pending.clamp(scale), name), pending.index, scale.offset)

    def _emitted(self, pending: Pending, scale: Scale | None, clamp: tuple[int, int], name: str) -> str:
        before = self.draft.origin
        self.draft.origin = self._wholes.get(pending.node, pending.node)
        tensor = pending.emit(scale, clamp, name)
        self.draft.origin = before
        return tensor
