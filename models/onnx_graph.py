"""ONNX files: reading, binding the batch, and folding what is constant.

The only module that imports ``onnx`` (the other ``onnx_*`` modules work on what it returns). It hands out plain nodes and arrays; what the
operators mean is the business of ``onnx_reader``.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.inliner
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray
from onnx import external_data_helper, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from ooc_solve.models.layout import MOST_ELEMENTS
from ooc_solve.models.vocabulary import DType, InputError

Array = NDArray[Any]

_INPUT_TYPES: dict[int, DType] = {
    onnx.TensorProto.FLOAT: DType.FLOAT32,
    onnx.TensorProto.UINT8: DType.UINT8,
    onnx.TensorProto.INT8: DType.INT8,
}
# Of operators that ONNX itself does not define, and of attributes that only other versions have.
_ATTRIBUTE_TYPES: dict[str, int] = {
    **dict.fromkeys(("axis", "channels_last", "opset", "transA", "transB"), onnx.AttributeProto.INT),
    **dict.fromkeys(("block_size", "group", "keepdims", "ceil_mode", "allowzero"), onnx.AttributeProto.INT),
    **dict.fromkeys(("count_include_pad", "output_dtype"), onnx.AttributeProto.INT),
    **dict.fromkeys(("kernel_shape", "strides", "dilations", "pads"), onnx.AttributeProto.INTS),
    **dict.fromkeys(("perm", "axes", "split"), onnx.AttributeProto.INTS),
    **dict.fromkeys(("alpha", "beta", "epsilon"), onnx.AttributeProto.FLOAT),
    **dict.fromkeys(("auto_pad", "mode"), onnx.AttributeProto.STRING),
}
_ALSO_STANDARD = frozenset({"QuantizeLinear", "DequantizeLinear"})
"""Operators that onnxruntime's own domain has too, with the same meaning."""
_ANY = 2**31 - 1  # of inputs, as ONNX writes it
FLOAT_TYPE = int(onnx.TensorProto.FLOAT)
TRUTH_TYPE = int(onnx.TensorProto.BOOL)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """An operator of the graph. ``inputs`` holds "" where an optional input is absent.

    ``problem`` says what keeps it from being read at all.
    """

    name: str
    kind: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: dict[str, Any]
    has_subgraph: bool
    proto: onnx.NodeProto = field(repr=False)
    problem: str = ""

    def __str__(self) -> str:
        return f"{self.kind} '{self.name}'"

    def axis_of(self, axis: int, rank: int) -> int:
        """Return an axis of a tensor of that rank, counted from the front.

        Raises ``InputError`` where the tensor has no such axis.
        """
        if not -rank <= axis < rank:
            raise InputError(
                f"{self}: axis must be from {-rank} to {rank - 1} (got {axis}); repair the file."
            )
        return axis % rank

    def axes_of(self, axes: Iterable[int], rank: int) -> list[int]:
        """Return different axes of a tensor of that rank, counted from the front.

        Raises as ``axis_of``, and where an axis is given twice.
        """
        given = list(axes)
        found = [self.axis_of(axis, rank) for axis in given]
        if len(set(found)) < len(found):
            raise InputError(f"{self}: each axis must be given once (got {given}); repair the file.")
        return found

    def as_standard(self, kind: str) -> Node:
        """Return a node of the standard domain with the first input, the output and the attributes of this one."""
        proto = helper.make_node(kind, self.inputs[:1], self.outputs, self.name)
        proto.attribute.extend(self.proto.attribute)
        return replace(self, kind=kind, inputs=self.inputs[:1], proto=proto)


def make_node(
    kind: str, inputs: tuple[str, ...], outputs: tuple[str, ...], name: str, **attributes: Any
) -> Node:
    """Return a node of the standard domain that no file has."""
    proto = helper.make_node(kind, inputs, outputs, name, **attributes)
    return Node(name, kind, inputs, outputs, attributes, False, proto)


@dataclass(frozen=True, slots=True)
class GraphInput:
    """An input of the graph with its shape after the batch is bound."""

    name: str
    shape: tuple[int, ...]
    dtype: DType


@dataclass(frozen=True, slots=True, eq=False)
class Graph:
    """A model file as it is met: nodes in the file's (topological) order.

    ``problems`` are those of names, and of inputs; these inputs are missing.
    """

    name: str
    inputs: tuple[GraphInput, ...]
    outputs: tuple[str, ...]
    nodes: tuple[Node, ...]
    constants: dict[str, Array]
    opset: int
    digest: str
    problems: tuple[str, ...] = ()


def load_graph(path: Path) -> Graph:
    """Read an ONNX file.

    Raises
    ------
    InputError
        When the file cannot be read, is not ONNX, or misses its external data.
    """
    model, digest = load_model(path)
    graph = model.graph
    constants = {item.name: _array_of(item, path) for item in graph.initializer}
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)
    inputs, problems = _inputs_of(graph, constants)
    return Graph(
        name=path.stem,
        inputs=tuple(inputs),
        outputs=tuple(item.name for item in graph.output),
        nodes=tuple(_node_of(item, opset) for item in graph.node),
        constants=constants,
        opset=opset,
        digest=digest,
        problems=(*_opset_problems(opset), *_repeated_names(graph), *problems, *_output_problems(graph)),
    )


def _opset_problems(opset: int) -> list[str]:
    newest = onnx.defs.onnx_opset_version()
    if opset <= newest:
        return []
    return [
        (
            f"The file: opset must be at most {newest}, the newest that the installed onnx package knows (got {opset}); "
            "install a newer one, or export with an earlier opset."
        )
    ]


def _repeated_names(graph: onnx.GraphProto) -> list[str]:
    """Say which names stand for several tensors, and which outputs are listed several times."""
    inputs = [item.name for item in graph.input]  # may have defaults of the same name
    constants = [item.name for item in graph.initializer if item.name not in inputs]
    made = Counter([*inputs, *constants, *(name for node in graph.node for name in node.output if name)])
    listed = Counter(item.name for item in graph.output)
    return [
        *(
            f"'{name}': must be made once (got {n} times); repair the file."
            for name, n in made.items()
            if n > 1
        ),
        *(
            f"Graph output '{name}': must be listed once (got {n} times); repair the file."
            for name, n in listed.items()
            if n > 1
        ),
    ]


def _inputs_of(graph: onnx.GraphProto, constants: dict[str, Array]) -> tuple[list[GraphInput], list[str]]:
    """Return the inputs that can be used, and what is wrong with the others."""
    found: list[GraphInput] = []
    problems: list[str] = []
    for item in graph.input:
        try:
            found += [] if item.name in constants else [_input_of(item)]
        except InputError as error:
            problems += error.args
    return found, problems


def _output_problems(graph: onnx.GraphProto) -> list[str]:
    return [
        f"Graph output '{item.name}': must be float32, uint8 or int8 (got bool); cast it to float32."
        for item in graph.output
        if item.type.tensor_type.elem_type == TRUTH_TYPE
    ]


def evaluate(node: Node, inputs: list[Array | None], opset: int) -> list[Array]:
    """Compute one node of the standard domain on arrays with ONNX's own reference evaluator.

    Raises ``InputError`` when the evaluator cannot.
    """
    values = {name: array for name, array in zip(node.inputs, inputs, strict=True) if array is not None}
    arguments = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in values.items()
    ]
    results = [helper.make_empty_tensor_value_info(name) for name in node.outputs]
    graph = helper.make_graph([node.proto], "folded", arguments, results)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        return [np.asarray(array) for array in ReferenceEvaluator(model).run(None, values)]
    except Exception as error:  # the evaluator raises whatever its numpy code raises
        raise InputError(f"{node}: its constant inputs cannot be evaluated ({error}).") from error


def unpacked(array: Array) -> Array:
    """Return four-bit integers as bytes, and other arrays as they are."""
    wider = {"int4": np.int8, "uint4": np.uint8}.get(array.dtype.name)
    return array if wider is None else array.astype(wider)


def load_model(path: Path) -> tuple[onnx.ModelProto, str]:
    """Parse an ONNX file, its external data aside, and return it with the SHA-256 of its bytes.

    Raises as ``load_graph``.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"'{path}': the model file cannot be read ({error.strerror}).") from error
    try:
        model = onnx.load_model_from_string(content)
    except DecodeError as error:
        raise InputError(
            f"'{path}': must be an ONNX model, but its {len(content)} bytes do not parse as one; "
            "it may be cut short or of another format."
        ) from error
    if not model.graph.node or not model.graph.output or not model.opset_import:
        raise InputError(
            f"'{path}': must be an ONNX model, but lacks operators, outputs or the operator set's version."
        )
    return _written_out(model, path), hashlib.sha256(content).hexdigest()


def _written_out(model: onnx.ModelProto, path: Path) -> onnx.ModelProto:
    """The model with the functions that it defines itself written out where they are called."""
    if not model.functions:
        return model
    try:
        return onnx.inliner.inline_local_functions(model)
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise InputError(
            f"'{path}': the functions that it defines must be such that onnx can write them out "
            f"({str(error).splitlines()[0]}); export it without functions."
        ) from error


def _array_of(item: onnx.TensorProto, path: Path) -> Array:
    """Decode an initialiser; external data is read for this one alone and never kept in the message."""
    try:
        if external_data_helper.uses_external_data(item):
            filled = onnx.TensorProto()
            filled.CopyFrom(item)
            external_data_helper.load_external_data_for_tensor(filled, str(path.parent))
            item = filled
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise InputError(
            f"'{path}': the external data of '{item.name}' cannot be read ({error}); keep it beside the model."
        ) from error
    try:
        return np.asarray(numpy_helper.to_array(item))
    except (TypeError, ValueError, KeyError) as error:
        raise InputError(f"'{path}': initialiser '{item.name}' cannot be decoded ({error}).") from error


def _input_of(item: onnx.ValueInfoProto) -> GraphInput:
    tensor = item.type.tensor_type
    dtype = _INPUT_TYPES.get(tensor.elem_type)
    if dtype is None:
        names = {number: name.lower() for name, number in onnx.TensorProto.DataType.items()}
        name = names.get(tensor.elem_type, f"type {tensor.elem_type}, which ONNX does not have")
        raise InputError(f"Graph input '{item.name}': must be float32, uint8 or int8 (got {name}).")
    if not tensor.HasField("shape"):
        raise InputError(f"Graph input '{item.name}': must have a shape, but the file gives none.")
    shape, problems = [], []
    for axis, dim in enumerate(tensor.shape.dim):
        # A batch is free in most exported files; everything is planned for one sample.
        size = 1 if dim.dim_value < 1 and axis == 0 else dim.dim_value
        if size < 1:
            problems.append(
                f"Graph input '{item.name}': dimension {axis} ('{dim.dim_param or '?'}') must have a fixed size; "
                "export the model again with that size."
            )
        shape.append(size)
    if problems:
        raise InputError(*problems)
    if np.prod(shape, dtype=float) > MOST_ELEMENTS:
        raise InputError(
            f"Graph input '{item.name}': must have at most {MOST_ELEMENTS} elements (got {shape})."
        )
    return GraphInput(item.name, tuple(shape), dtype)


def _node_of(found: onnx.NodeProto, opset: int) -> Node:
    proto = onnx.NodeProto()
    proto.CopyFrom(found)  # a part of the model would keep the whole of it in memory
    texts = (proto.op_type, proto.domain, proto.name, *proto.input, *proto.output)
    if not all(isinstance(text, str) for text in texts):  # what is not UTF-8 comes as bytes
        raise InputError(f"Node {texts[2]!r}: its names must be UTF-8 text; the file is damaged.")
    if proto.domain == "com.microsoft" and proto.op_type in _ALSO_STANDARD:
        proto.domain = ""
    attributes = {item.name: _attribute_of(item) for item in proto.attribute}
    graph_types = (onnx.AttributeProto.GRAPH, onnx.AttributeProto.GRAPHS)
    return Node(
        name=proto.name or (proto.output[0] if proto.output else proto.op_type),
        kind=proto.op_type if proto.domain in ("", "ai.onnx") else f"{proto.domain}.{proto.op_type}",
        inputs=tuple(proto.input),
        outputs=tuple(proto.output),
        attributes=attributes,
        has_subgraph=any(item.type in graph_types for item in proto.attribute),
        proto=proto,
        problem=_problem_of(proto, opset),
    )


def _attribute_of(item: onnx.AttributeProto) -> Any:
    try:
        value = helper.get_attribute_value(item)
    except ValueError:  # a type that ONNX does not have
        return None
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _problem_of(proto: onnx.NodeProto, opset: int) -> str:
    """Say what no node may be, whatever its operator."""
    expected = _ATTRIBUTE_TYPES | _attribute_types(proto, opset)
    for item in proto.attribute:
        if item.type != expected.get(item.name, item.type) or _attribute_of(item) is None:
            return f"attribute '{item.name}' must be of the type ONNX gives it; the file is damaged."
    if not proto.output or not proto.output[0]:
        return "its first output must have a name; the file is damaged."
    for names, most, word in zip(
        (proto.input, proto.output), _most_names(proto), ("input", "output"), strict=True
    ):
        count = max((k for k, name in enumerate(names, 1) if name), default=0)
        if count > most:
            return f"must have at most {most} {word}{'s' * (most != 1)} (got {count}); the file is damaged."
    return ""


def _most_names(proto: onnx.NodeProto) -> tuple[int, int]:
    """Return how many inputs and outputs an operator may have in any version, any number where ONNX does not define it."""
    domain = "" if proto.domain == "ai.onnx" else proto.domain
    return _most_of_all_versions().get((domain, proto.op_type), (_ANY, _ANY))


@lru_cache(maxsize=1)
def _most_of_all_versions() -> dict[tuple[str, str], tuple[int, int]]:
    found: dict[tuple[str, str], tuple[int, int]] = {}
    for schema in onnx.defs.get_all_schemas_with_history():
        inputs, outputs = found.get((schema.domain, schema.name), (0, 0))
        most = max(inputs, schema.max_input), max(outputs, schema.max_output)
        found[schema.domain, schema.name] = most
    return found


def _attribute_types(proto: onnx.NodeProto, opset: int) -> dict[str, int]:
    """Return the types of an operator's attributes, empty where ONNX does not define the operator."""
    try:
        schema = onnx.defs.get_schema(proto.op_type, opset, proto.domain)
    except onnx.defs.SchemaError:
        return {}
    types = {name: attribute.type for name, attribute in schema.attributes.items()}
    return {name: int(kind.value) for name, kind in types.items()}  # type: ignore[attr-defined]
