"""Quantised ONNX models as networks of integer operators.

Nodes are taken in the file's order; each name stands for a ``Value``; what can be folded or
expressed as a view emits nothing. The first problems of a file are reported together.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import View, sequential
from ooc_solve.models.network_draft import Size
from ooc_solve.models.onnx_dialects import HANDLERS, LAYOUT, OWN_DOMAIN
from ooc_solve.models.onnx_graph import Graph, GraphInput, Node, evaluate, load_graph
from ooc_solve.models.onnx_operands import FloatNetwork, Operands
from ooc_solve.models.onnx_values import Constant, FloatInput, QuantizedConstant, Real, Unknown, Value
from ooc_solve.models.vocabulary import DType, InputError, Network, Op, OpKind, Quantization

_SIGN_FLIP: NDArray[np.uint8] = np.arange(256, dtype=np.uint8) ^ np.uint8(128)
_MOST_PROBLEMS = 5
_MOST_CHARACTERS = 1_000  # of a problem; names in damaged files can be of any length
_RANDOM = ("Random", "Multinomial", "Bernoulli")


def read_onnx(path: Path | str) -> Network:
    """Read a quantised ONNX model.

    Raises
    ------
    InputError
        With one line per problem, naming node and operator; the first ones, if there are many.
    """
    return read_onnx_with_names(path)[0]


def read_onnx_with_names(path: Path | str) -> tuple[Network, dict[str, View]]:
    """Read a quantised ONNX model and say where its tensors are.

    The second result maps names of the graph's integer tensors to views of the network's tensors.
    Tensors that were merged away are missing. Raises as ``read_onnx``.
    """
    reader = _Reader(load_graph(Path(path)))
    return reader.read()


class _Reader:
    """The state of one reading: values by name, the network so far, the problems so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.given = Operands(graph)
        self.draft, self.values = self.given.draft, self.given.values
        self.raw_inputs: dict[str, str] = {}  # uint8 inputs by the tensor that holds them shifted
        self.problems: list[str] = []

    def read(self) -> tuple[Network, dict[str, View]]:
        """Read inputs, nodes and outputs, and build the network."""
        inputs = [self.add_input(item) for item in self.graph.inputs]
        for node in self.graph.nodes:
            self.read_node(node)
        outputs = {} if self.problems else self.add_outputs(inputs)
        if self.problems:
            raise InputError(*_first_of(self.problems))
        self.describe_raw_inputs()
        network, names = self.draft.finish(self.graph.name, inputs, outputs, self.graph.digest)
        shown = {name: value for name, value in self.values.items() if isinstance(value, View)}
        return network, {
            name: replace(view, tensor=names[view.tensor])
            for name, view in shown.items()
            if view.tensor in names
        }

    # ------------------------------------------------------- inputs and outputs

    def add_input(self, item: GraphInput) -> str:
        """Add a graph input, and return its tensor."""
        tensor = self.draft.add_tensor(
            item.name, _plain_size(item.shape), item.dtype, settled=False, graph_shape=item.shape
        )
        view = View(tensor, sequential(item.shape))
        if item.dtype is DType.FLOAT32:
            self.values[item.name] = FloatInput(view)
        elif item.dtype is DType.INT8:
            self.values[item.name] = view
        else:
            shifted = self.draft.lookup(view, _SIGN_FLIP, None, f"{item.name}_int8")
            self.raw_inputs[shifted.tensor] = tensor
            self.values[item.name] = replace(shifted, offset=128)
        return tensor

    def describe_raw_inputs(self) -> None:
        """Give uint8 inputs the quantisation that their readers gave the shifted tensor."""
        for shifted, tensor in self.raw_inputs.items():
            known = self.draft.quantization(shifted)
            if known is not None:
                raw = Quantization(known.scale, known.zero_point + 128)
                self.draft.read_as(View(tensor, sequential((1,))), raw)

    def add_outputs(self, inputs: list[str]) -> dict[str, str]:
        """Put every graph output in the graph's order and type; return their tensors."""
        outputs: dict[str, str] = {}
        for name in self.graph.outputs:
            try:
                tensor = self.add_output(name, {*inputs, *outputs.values()})
                outputs[name] = tensor
            except InputError as error:
                self.problems.append(str(error))
        return outputs

    def add_output(self, name: str, taken: set[str]) -> str:
        """Add what one graph output needs after its last operator."""
        value = self.values.get(name)
        if isinstance(value, Real) and value.scale is not None:
            view = replace(value.view, tensor=self.in_order(value.view, name))
            op = Op(f"{name}_dequantize", OpKind.DEQUANTIZE, (view.tensor,), name)
            tensor = self.draft.elementwise(op, None, DType.FLOAT32)
        elif isinstance(value, View):
            tensor = self.integer_output(value, name, taken)
        else:
            raise InputError(
                f"Graph output '{name}': must be quantised, or come from a DequantizeLinear; "
                "quantise the last operator too."
            )
        self.draft.set_graph_shape(tensor, self.given.shape_of(value, name))
        return tensor

    def integer_output(self, value: View, name: str, taken: set[str]) -> str:
        """Return a tensor with an integer output in the graph's order and type."""
        tensor = self.in_order(value, name)
        known = self.draft.quantization(tensor)
        plain = View(tensor, sequential(value.shape))
        if value.offset:
            raw = None if known is None else Quantization(known.scale, known.zero_point + 128)
            plain = self.draft.lookup(plain, _SIGN_FLIP, raw, f"{name}_uint8", tensor=name, dtype=DType.UINT8)
        elif tensor in taken:  # an input, or an output already: it needs a place of its own
            plain = self.draft.lookup(plain, _SIGN_FLIP ^ np.uint8(128), known, f"{name}_copy", tensor=name)
        return plain.tensor

    def in_order(self, view: View, name: str) -> str:
        """Return the tensor that holds a view as the graph writes it."""
        if view.is_stored_order:
            return view.tensor
        return self.draft.stored_as(view, view.index.reshape(_plain_size(view.shape)), name)

    # ------------------------------------------------------------------- nodes

    def read_node(self, node: Node) -> None:
        """Read one node; remember its problem, if it has one, and go on."""
        present = [name for name in node.inputs if name]
        try:
            missing = [name for name in present if name not in self.values]
            if missing:
                raise InputError(
                    f"{node}: its input '{missing[0]}' must be produced before it; repair the file."
                )
            if any(isinstance(self.values[name], Unknown) for name in present):
                value: Value = Unknown()
            elif self.is_foldable(node):
                self.fold(node)
                return
            else:
                value = self.lower(node)
        except FloatNetwork:
            raise
        except InputError as error:
            self.problems.append(str(error))
            value = Unknown()
        except ValueError as error:  # an invariant of the vocabulary, or a shape that does not fit
            self.problems.append(f"{node}: {error}.")
            value = Unknown()
        for name in node.outputs:
            self.values[name] = value

    def lower(self, node: Node) -> Value:
        """Call the handler of a node's operator."""
        if node.has_subgraph:
            raise InputError(f"{node}: control flow is not supported; export a model without it.")
        handler = HANDLERS.get(node.kind)
        if handler is None:
            raise InputError(
                f"{node}: operator is not supported; supported are {', '.join(sorted(HANDLERS))}."
            )
        return handler(self.given, node)

    def is_foldable(self, node: Node) -> bool:
        """Whether a node computes from constants alone, so that its value is known now."""
        if node.kind in ("QuantizeLinear", "DequantizeLinear") or node.kind.startswith(
            (OWN_DOMAIN, *_RANDOM)
        ):
            return False
        if node.has_subgraph:
            return False
        values = [self.values[name] for name in node.inputs if name]
        if isinstance(values[0] if values else None, QuantizedConstant) and node.kind in LAYOUT:
            return False
        return all(isinstance(value, Constant | QuantizedConstant) for value in values)

    def fold(self, node: Node) -> None:
        """Evaluate a node on constants."""
        inputs = [self.given.array(node, position) for position in range(len(node.inputs))]
        for name, array in zip(node.outputs, evaluate(node, inputs, self.graph.opset), strict=True):
            self.values[name] = Constant(array)


def _first_of(problems: list[str]) -> list[str]:
    """As many problems as can be taken in at once, and how many there are besides."""
    shown = [p if len(p) <= _MOST_CHARACTERS else f"{p[:_MOST_CHARACTERS]}…" for p in problems]
    if len(problems) <= _MOST_PROBLEMS:
        return shown
    more = len(problems) - _MOST_PROBLEMS
    last = f"... and {more} more {'problem' if more == 1 else 'problems'}; the file may be damaged."
    return [*shown[:_MOST_PROBLEMS], last]


def _plain_size(shape: tuple[int, ...]) -> Size:
    """Return height, width and channels of data in the graph's own order, by its last axes."""
    padded = (1, 1, 1, *shape)
    return int(np.prod(padded[:-2])), padded[-2], padded[-1]
