"""ONNX models as networks: quantised ones of integer operators, float32 ones of float32 operators.

Nodes are taken in the file's order; each name stands for a ``Value``; what can be folded or
expressed as a view emits nothing. The first problems of a file are reported together.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import View, as_size, sequential
from ooc_solve.models.onnx_graph import Graph, GraphInput, Node, evaluate, load_graph
from ooc_solve.models.onnx_handlers import HANDLERS, INSTEAD, LAYOUT, Operator
from ooc_solve.models.onnx_operands import Operands
from ooc_solve.models.onnx_qlinear import OWN_DOMAIN
from ooc_solve.models.onnx_values import (
    Constant,
    Float32,
    Pending,
    QuantizedConstant,
    Real,
    Unknown,
    Value,
)
from ooc_solve.models.vocabulary import DType, InputError, Network, Op, OpKind, Place, Quantization

_SIGN_FLIP: NDArray[np.uint8] = np.arange(256, dtype=np.uint8) ^ np.uint8(128)
_MOST_PROBLEMS = 200
_MOST_CHARACTERS = 1_000  # of a problem; names in damaged files can be of any length
_NO_NUMBERS = "cSUO"  # kinds of numpy: complex numbers and texts
_RANDOM = ("Random", "Multinomial", "Bernoulli")


@dataclass(frozen=True, slots=True)
class NodeReport:
    """What becomes of one node: the kernels that compute it, or why nothing can.

    ``note`` says where a node without kernel went. Without ``problem``, kernels and note the node
    follows one that is not supported.
    """

    name: str
    operator: str
    kernels: tuple[str, ...] = ()
    note: str = ""
    problem: str = ""


def survey_onnx(path: Path | str) -> tuple[tuple[NodeReport, ...], tuple[str, ...]]:
    """Say of every node of a model what becomes of it, and list all problems of the file.

    Raises ``InputError`` where there are no nodes to speak of: a file that is not ONNX.
    """
    reader = _Reader(load_graph(Path(path)))
    try:
        reader.read()
    except InputError as error:
        return reader.reports(), error.args
    return reader.reports(), ()


def read_onnx(path: Path | str) -> Network:
    """Read an ONNX model.

    Raises
    ------
    InputError
        With one line per problem, naming node and operator.
    """
    return read_onnx_with_names(path)[0]


def read_onnx_with_names(path: Path | str) -> tuple[Network, dict[str, View]]:
    """Read an ONNX model and say where its tensors are.

    The second result maps names of the graph's stored tensors to views of the network's tensors.
    Tensors that were merged away are missing. Raises as ``read_onnx``.
    """
    reader = _Reader(load_graph(Path(path)))
    return reader.read()


class _Reader:
    """The state of one reading: values by name, the network so far, the problems so far."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.given = Operands(graph, self.value_of)
        self.draft, self.values = self.given.draft, self.given.values
        self.raw_inputs: dict[str, str] = {}  # uint8 inputs by the tensor that holds them shifted
        self.problems: list[str] = list(graph.problems)
        self.refused: dict[int, str] = {}  # by the number of the node

    def read(self) -> tuple[Network, dict[str, View]]:
        """Read inputs, nodes and outputs, and build the network."""
        with np.errstate(all="ignore"):  # what is no number, or too large, is refused where it matters
            return self.read_all()

    def read_all(self) -> tuple[Network, dict[str, View]]:
        """Read inputs, nodes and outputs."""
        inputs = [self.add_input(item) for item in self.graph.inputs]
        self.mark_unbound()
        for number, node in enumerate(self.graph.nodes):
            self.draft.origin = node
            self.read_node(number, node)
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
        index = sequential(item.shape)
        height, width, channels = as_size(index).shape
        tensor = self.draft.add_tensor(
            item.name, (height, width, channels), item.dtype, settled=False, graph_shape=item.shape
        )
        view = View(tensor, index)
        if item.dtype is DType.FLOAT32:
            self.values[item.name] = Float32(view)
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
        value = self.given.computed(name)
        if self.given.follows_from_bytes(name) and not (isinstance(value, Real) and value.scale is not None):
            with self.given.in_float32():
                value = self.given.computed(name)
        if isinstance(value, Float32):
            tensor = self.float_output(value.view, name, taken)
        elif isinstance(value, Real) and value.scale is not None:
            view = replace(value.view, tensor=self.in_order(value.view, name))
            op = Op(f"{name}_dequantize", OpKind.DEQUANTIZE, (view.tensor,), name)
            tensor = self.draft.elementwise(op, None, DType.FLOAT32)
        elif isinstance(value, View):
            tensor = self.integer_output(value, name, taken)
        else:
            raise InputError(
                f"Graph output '{name}': must be quantised, float32, or come from a DequantizeLinear; "
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

    def float_output(self, view: View, name: str, taken: set[str]) -> str:
        """Return a tensor with a float32 output in the graph's order."""
        tensor = self.in_order(view, name)
        if tensor in taken:  # an input, or an output already: it needs a place of its own
            self.draft.settle(tensor)
            tensor = self.draft.move(f"{name}_copy", (tensor,), (Place(),), self.draft.size(tensor), name)
        return tensor

    def in_order(self, view: View, name: str) -> str:
        """Return the tensor that holds a view as the graph writes it."""
        view = self.draft.in_pixels(view, name)
        if view.is_stored_order:
            return view.tensor
        planes = self.draft.stored_by_plane(view, name)
        if planes is not None:
            return planes
        return self.draft.stored_as(view, as_size(view.index), name)

    # ------------------------------------------------------------------- nodes

    def mark_unbound(self) -> None:
        """Let nodes read inputs that have problems, so that theirs are found too."""
        if self.graph.problems:
            made = {name for node in self.graph.nodes for name in node.outputs}
            read = {name for node in self.graph.nodes for name in node.inputs if name}
            self.values.update(dict.fromkeys(read - made - set(self.values), Unknown()))

    def read_node(self, number: int, node: Node) -> None:
        """Read one node; remember its problem, if it has one, and go on."""
        try:
            values = self.value_of(node)
        except InputError as error:
            self.refuse(number, str(error))
            values = (Unknown(),) * len(node.outputs)
        except ValueError as error:  # an invariant of the vocabulary, or a shape that does not fit
            self.refuse(number, f"{node}: {error}.")
            values = (Unknown(),) * len(node.outputs)
        except (IndexError, ArithmeticError) as error:  # an axis or a group count that no shape has
            self.refuse(number, f"{node}: its attributes must fit the shapes of its inputs ({error}).")
            values = (Unknown(),) * len(node.outputs)
        self.values.update(zip(node.outputs, values, strict=True))

    def refuse(self, number: int, problem: str) -> None:
        """Remember the problem of a node."""
        self.refused[number] = problem
        self.problems.append(problem)

    def value_of(self, node: Node) -> tuple[Value, ...]:
        """Return what a node gives; one that reads what could not be read is only looked up."""
        if node.problem:
            raise InputError(f"{node}: {node.problem}")
        present = [name for name in node.inputs if name]
        missing = [name for name in present if name not in self.values]
        if missing:
            raise InputError(f"{node}: its input '{missing[0]}' must be produced before it; repair the file.")
        for name in present:
            value = self.values[name]
            if isinstance(value, Constant) and value.array.dtype.kind in _NO_NUMBERS:
                raise InputError(
                    f"{node}: its constant '{name}' must be real numbers (got {value.array.dtype}); repair the file."
                )
        if any(isinstance(self.values[name], Unknown) for name in present):
            self.operator_of(node)
            return (Unknown(),) * len(node.outputs)
        if self.is_foldable(node):
            return self.folded(node)
        return self.on_bytes_or_floats(node)

    def on_bytes_or_floats(self, node: Node) -> tuple[Value, ...]:
        """Return what a node gives; where no kernel computes that on bytes, in float32."""
        try:
            return self.computed(node)
        except (InputError, ValueError):
            if self.given.floating or not any(map(self.given.follows_from_bytes, node.inputs)):
                raise
            problem = sys.exception()
        self.draft.kernels.pop(node, None)
        try:
            with self.given.in_float32():
                return self.computed(node)
        except (InputError, ValueError):
            assert problem is not None
            raise problem from None

    def computed(self, node: Node) -> tuple[Value, ...]:
        """Return what the operator of a node gives."""
        value = self.operator_of(node).read(self.given, node)
        if isinstance(value, tuple):
            return value
        other = next((name for name in node.outputs[1:] if name and self.given.is_read(name)), None)
        if other is not None:
            raise InputError(
                f"{node}: its output '{other}' must not be read, only the first is supported; remove what reads it."
            )
        return (value,) * len(node.outputs)

    def operator_of(self, node: Node) -> Operator:
        """Return how a node's operator is read."""
        if node.has_subgraph:
            raise InputError(f"{node}: control flow is not supported; export a model without it.")
        if node.kind in HANDLERS:
            return HANDLERS[node.kind]
        instead = INSTEAD.get(node.kind, "")
        if not instead:
            nearest = get_close_matches(node.kind, HANDLERS, n=1, cutoff=0.75)
            instead = f"{nearest[0]} is" if nearest else "OPERATORS.md lists those that are"
        raise InputError(f"{node}: operator is not supported; {instead}.")

    def reports(self) -> tuple[NodeReport, ...]:
        """Say of every node what became of it."""
        return tuple(self.report(number, node) for number, node in enumerate(self.graph.nodes))

    def report(self, number: int, node: Node) -> NodeReport:
        """Say what became of a node."""
        report = NodeReport(node.name, node.kind)
        if number in self.refused:
            return replace(report, problem=self.refused[number])
        values = [self.values.get(name) for name in node.outputs]
        kernels = tuple(dict.fromkeys(self.draft.kernels.get(node, ())))
        if kernels or any(isinstance(value, Unknown) for value in values):
            return replace(report, kernels=kernels)
        if all(isinstance(value, Constant | QuantizedConstant) for value in values):
            return replace(report, note="constant, folded")
        if any(isinstance(value, Pending) for value in values):
            return replace(report, note="part of the operator before it")
        if any(isinstance(value, Real) for value in values):
            return replace(report, note="part of what reads it")
        return replace(report, note="moves nothing")

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

    def folded(self, node: Node) -> tuple[Value, ...]:
        """Evaluate a node on constants."""
        inputs = [self.given.array(node, position) for position in range(len(node.inputs))]
        return tuple(map(Constant, evaluate(node, inputs, self.graph.opset)))


def _first_of(problems: list[str]) -> list[str]:
    """As many problems as can be taken in at once, and how many there are besides."""
    shown = [p if len(p) <= _MOST_CHARACTERS else f"{p[:_MOST_CHARACTERS]}…" for p in problems]
    if len(problems) <= _MOST_PROBLEMS:
        return shown
    more = len(problems) - _MOST_PROBLEMS
    last = f"... and {more} more {'problem' if more == 1 else 'problems'}; the file may be damaged."
    return [*shown[:_MOST_PROBLEMS], last]
