"""Small ONNX models node by node, and what they compute here and in onnxruntime."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.vocabulary import Network, OpKind

Array = NDArray[Any]
OWN = "com.microsoft"
INTEGERS = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}


class Sketch:
    """A model in the making: input ``x``, further inputs, output ``y``."""

    def __init__(
        self, *shapes: tuple[int, ...], dtype: Any = np.int8, opset: int = 15, seed: int = 0
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype, self.shapes, self.opset = dtype, shapes, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        """Add an initialiser."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        """Add an operator and return its output."""
        output = output or f"t{len(self.nodes)}"
        node = helper.make_node(
            kind, inputs, [output], f"{kind}_{len(self.nodes)}", domain=domain, **attributes
        )
        self.nodes.append(node)
        return output

    def pair(self, scale: float, zero: int | None = None) -> tuple[str, str]:
        """Add scale and zero point of an activation."""
        limits = np.iinfo(self.dtype)
        zero = int(self.rng.integers(limits.min, limits.max + 1)) if zero is None else zero
        return self.constant(np.float32(scale)), self.constant(self.dtype(zero))

    def real(self, source: str = "x", scale: float = 0.05, zero: int | None = None) -> str:
        """Add a DequantizeLinear of an activation."""
        return self.node("DequantizeLinear", source, *self.pair(scale, zero))

    def weight(self, *shape: int, channels: int | None = None) -> str:
        """Add int8 weights behind a DequantizeLinear, with one scale per position of axis ``channels``."""
        values = self.constant(self.rng.integers(-127, 128, shape).astype(np.int8))
        if channels is None:
            return self.node(
                "DequantizeLinear", values, self.constant(np.float32(0.01)), self.constant(np.int8(0))
            )
        count = shape[channels]
        scales = self.constant(self.rng.uniform(0.005, 0.02, count).astype(np.float32))
        return self.node(
            "DequantizeLinear", values, scales, self.constant(np.zeros(count, np.int8)), axis=channels
        )

    def end(self, source: str, scale: float = 0.1, zero: int | None = None) -> None:
        """Add the QuantizeLinear that makes the output."""
        self.node("QuantizeLinear", source, *self.pair(scale, zero), output="y")

    def model(self) -> onnx.ModelProto:
        """Return the model."""
        kind = INTEGERS.get(self.dtype, TensorProto.FLOAT)
        names = ["x", *(f"x{k}" for k in range(1, len(self.shapes)))]
        graph = helper.make_graph(
            self.nodes,
            "sketch",
            [
                helper.make_tensor_value_info(name, kind, shape)
                for name, shape in zip(names, self.shapes, strict=True)
            ],
            [helper.make_tensor_value_info("y", kind, None)],
            self.constants,
        )
        domains = [helper.make_opsetid("", self.opset), helper.make_opsetid(OWN, 1)]
        model = helper.make_model(graph, opset_imports=domains)
        model.ir_version = 8
        return model


def compare(sketch: Sketch, folder: Path, inputs: Iterable[Array] | None = None) -> tuple[Network, Array]:
    """Return our network and how many steps its output is from onnxruntime's, element by element."""
    model = sketch.model()
    path = folder / "sketch.onnx"
    path.write_bytes(model.SerializeToString())
    network = read_onnx(path)
    limits = np.iinfo(sketch.dtype)
    arrays = inputs or [
        sketch.rng.integers(limits.min, limits.max + 1, shape).astype(sketch.dtype) for shape in sketch.shapes
    ]
    feeds = dict(zip(network.inputs, arrays, strict=True))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(["y"], feeds)
    found = reference.graph_output(network, network.outputs[0], reference.run(network, feeds))
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    return network, np.abs(found.astype(int) - expected.astype(int))


def kinds(network: Network) -> list[OpKind]:
    """Kinds of the operators in order."""
    return [op.kind for op in network.ops]
