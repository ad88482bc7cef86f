"""LSTM, GRU and RNN, written out step by step: products with constants, functions, and what is kept between steps.

By ONNX's definitions, with the functions these have by default. A network that is called for every step of a stream has
one step; its states are inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.onnx_composites import Parts
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_operands import Operands
from ooc_solve.models.onnx_values import Value
from ooc_solve.models.vocabulary import InputError

Floats = NDArray[np.float32]

MOST_STEPS = 64
"""Each is some ten operators of the network."""

_FUNCTIONS = {"LSTM": ("Sigmoid", "Tanh", "Tanh"), "GRU": ("Sigmoid", "Tanh"), "RNN": ("Tanh",)}
_DIRECTIONS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}


def read(given: Operands, node: Node) -> tuple[Value, ...]:
    """Read a node of one of the three kinds, for as many of its outputs as it has."""
    parts = Parts(given, node)
    outputs = _outputs(parts)
    given.add_parts(node, parts.nodes)
    for part in parts.nodes:
        given.values.update(zip(part.outputs, given.read(part), strict=True))
    return tuple(given.values[name] for name in outputs[: len(node.outputs)])


@dataclass(frozen=True, slots=True, eq=False)
class _Layer:
    """One direction of a node.

    ``inputs`` ``[1, steps, gates * hidden]`` is the share of the input in all gates, biases included; ``weights``
    ``[hidden, gates * hidden]`` are those of the state, ``bias`` what is added to its products.
    """

    parts: Parts
    inputs: str
    weights: Floats
    bias: Floats
    hidden: int

    def share(self, step: int, gate: int, count: int = 1) -> str:
        """The input's share in some gates at a step."""
        row = self.parts.add("Slice", self.inputs, *map(self.parts.integers, (step, step + 1, 1)))
        return self.piece(row, gate, count)

    def piece(self, row: str, gate: int, count: int = 1) -> str:
        """Some gates of a row of all of them."""
        ends = gate * self.hidden, (gate + count) * self.hidden
        return self.parts.add("Slice", row, *map(self.parts.integers, (*ends, 2)))

    def product(self, state: str, gate: int, count: int) -> str:
        """The share of the state in some gates."""
        columns = slice(gate * self.hidden, (gate + count) * self.hidden)
        weights, bias = np.ascontiguousarray(self.weights[:, columns]), self.bias[columns]
        made = self.parts.add("MatMul", state, self.parts.constant(weights))
        return self.parts.add("Add", made, self.parts.constant(bias)) if bias.any() else made


def _outputs(parts: Parts) -> tuple[str, ...]:
    """Write the parts, and return the names of Y, Y_h and, of an LSTM, Y_c."""
    node, shape = parts.node, parts.shape()
    directions = _DIRECTIONS.get(str(node.attributes.get("direction", "forward")), ())
    if len(shape) != 3 or shape[1] != 1 or not 1 <= shape[0] <= MOST_STEPS:
        raise InputError(
            f"{node}: its input must be [1 to {MOST_STEPS} steps, batch 1, values] (got {list(shape)}); "
            "use fewer steps, or Conv over a window of time."
        )
    _refuse_variants(parts, len(directions))
    steps, rows = shape[0], parts.add("Reshape", node.inputs[0], parts.integers(1, shape[0], shape[2]))
    sides = [_side(parts, rows, number, steps, turned) for number, turned in enumerate(directions)]
    states = [
        parts.add("Concat", *(states[step] for states, _ in sides), axis=1)
        if len(sides) > 1
        else sides[0][0][step]
        for step in range(steps)
    ]
    hidden = int(node.attributes["hidden_size"])
    together = parts.add("Concat", *states, axis=0) if steps > 1 else states[0]
    whole = parts.add("Reshape", together, parts.integers(steps, len(sides), 1, hidden))
    lasts = [[states[0 if turned else -1] for (states, _), turned in zip(sides, directions, strict=True)]]
    lasts += [[cell for _, cell in sides]] if node.kind == "LSTM" else []
    ends = [parts.add("Concat", *last, axis=0) if len(last) > 1 else last[0] for last in lasts]
    shown = [parts.add("Reshape", end, parts.integers(len(sides), 1, hidden)) for end in ends]
    return (whole, *shown)


def _refuse_variants(parts: Parts, directions: int) -> None:
    """Refuse what only few files have, and no exporter writes by itself."""
    attributes, kind = parts.node.attributes, parts.node.kind
    functions = [str(name) for name in attributes.get("activations", _FUNCTIONS[kind] * directions)]
    usual = functions == list(_FUNCTIONS[kind] * directions)
    absent = [k for k in (4, 7) if parts.node.inputs[k : k + 1] not in ((), ("",))]
    if not usual or not directions or absent or attributes.get("clip") or attributes.get("layout"):
        raise InputError(
            f"{parts.node}: must have the functions {', '.join(_FUNCTIONS[kind])}, a direction, no clip, layout 0, no "
            "lengths and no peepholes; export it so."
        )


def _constant(parts: Parts, position: int, number: int, shape: Sequence[int]) -> Floats:
    """The part of a constant input for one direction, zeros where it is absent."""
    array = parts.given.array(parts.node, position)
    if array is None and position == 3:
        return np.zeros(tuple(shape), np.float32)
    if array is None or array.shape[1:] != tuple(shape) or number >= array.shape[0]:
        raise InputError(
            f"{parts.node}: input {position} must be constants of shape [directions, {list(shape)}]."
        )
    return np.asarray(array[number], np.float32)


def _side(parts: Parts, rows: str, number: int, steps: int, turned: bool) -> tuple[list[str], str]:
    """States of one direction by step, each ``[1, 1, hidden]``, and the last cell (of an LSTM)."""
    node, hidden = parts.node, int(parts.node.attributes.get("hidden_size", 0))
    gates = {"LSTM": 4, "GRU": 3, "RNN": 1}[node.kind]
    weights = _constant(parts, 1, number, (gates * hidden, parts.shape()[2]))
    state_weights = _constant(parts, 2, number, (gates * hidden, hidden))
    biases = _constant(parts, 3, number, (2 * gates * hidden,))
    before, behind = biases[: gates * hidden].copy(), biases[gates * hidden :].copy()
    separate = slice(2 * hidden if node.attributes.get("linear_before_reset") else gates * hidden, None)
    before += np.where(np.arange(gates * hidden) < separate.start, behind, 0)
    behind[: separate.start] = 0
    made = parts.add("MatMul", rows, parts.constant(np.ascontiguousarray(weights.T)))
    made = parts.add("Add", made, parts.constant(before)) if before.any() else made
    layer = _Layer(parts, made, np.ascontiguousarray(state_weights.T), behind, hidden)
    state, cell = _initial(parts, 5, number, hidden), _initial(parts, 6, number, hidden)
    states: list[str] = [""] * steps
    for step in reversed(range(steps)) if turned else range(steps):
        state, cell = _STEPS[node.kind](layer, step, state, cell)
        states[step] = state
    return states, cell


def _initial(parts: Parts, position: int, number: int, hidden: int) -> str:
    """The state before the first step, zeros without one; an LSTM alone has a cell."""
    if parts.node.inputs[position : position + 1] in ((), ("",)):
        return ""
    ends = map(parts.integers, (number, number + 1, 0))
    return (
        parts.add("Slice", parts.node.inputs[position], *ends)
        if position == 5 or parts.node.kind == "LSTM"
        else ""
    )


def _total(layer: _Layer, step: int, state: str, gate: int, count: int) -> str:
    """The sum of what input and state give to some gates."""
    share = layer.share(step, gate, count)
    return layer.parts.add("Add", layer.product(state, gate, count), share) if state else share


def _lstm(layer: _Layer, step: int, state: str, cell: str) -> tuple[str, str]:
    parts, total = layer.parts, _total(layer, step, state, 0, 4)
    entering, leaving, kept = (parts.add("Sigmoid", layer.piece(total, gate)) for gate in (0, 1, 2))
    new = parts.add("Mul", entering, parts.add("Tanh", layer.piece(total, 3)))
    cell = parts.add("Add", parts.add("Mul", kept, cell), new) if cell else new
    return parts.add("Mul", leaving, parts.add("Tanh", cell)), cell


def _gru(layer: _Layer, step: int, state: str, cell: str) -> tuple[str, str]:
    parts, total = layer.parts, _total(layer, step, state, 0, 2)
    kept, reset = (parts.add("Sigmoid", layer.piece(total, gate)) for gate in (0, 1))
    share = layer.share(step, 2)
    if layer.parts.node.attributes.get("linear_before_reset"):
        product = layer.product(state, 2, 1) if state else parts.constant(layer.bias[2 * layer.hidden :])
        share = parts.add("Add", share, parts.add("Mul", reset, product))
    elif state:
        share = parts.add("Add", share, layer.product(parts.add("Mul", reset, state), 2, 1))
    new = parts.add("Tanh", share)
    rest = parts.add("Sub", state, new) if state else parts.add("Neg", new)
    return parts.add("Add", new, parts.add("Mul", kept, rest)), cell


def _rnn(layer: _Layer, step: int, state: str, cell: str) -> tuple[str, str]:
    return layer.parts.add("Tanh", _total(layer, step, state, 0, 1)), cell


_STEPS: dict[str, Callable[[_Layer, int, str, str], tuple[str, str]]] = {
    "LSTM": _lstm,
    "GRU": _gru,
    "RNN": _rnn,
}
