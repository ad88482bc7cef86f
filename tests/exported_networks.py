"""Small float32 networks with the operators of published ones, written as their exporters write them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


@dataclass
class Exporter:
    """A model in the making, with random weights; names are those of torch's exporter."""

    shape: tuple[int, ...]
    opset: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.opset)

    def constant(self, value: Any) -> str:
        """Add a Constant node; numbers become float32."""
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        name = f"/Constant_{len(self.nodes)}_output_0"
        self.nodes.append(helper.make_node("Constant", [], [name], value=numpy_helper.from_array(array)))
        return name

    def integers(self, *values: int) -> str:
        """Add a list of whole numbers."""
        return self.constant(np.array(values, np.int64))

    def random(self, *shape: int, spread: float = 1.0, about: float = 0.0) -> str:
        """Add an initialiser of random numbers."""
        name = f"onnx::{len(self.constants)}"
        array = self.rng.normal(about, spread, shape).astype(np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def add(self, kind: str, *inputs: str, **attributes: Any) -> str:
        """Add a node, and return its output."""
        name = f"/{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [f"{name}_output_0"], name, **attributes))
        return f"{name}_output_0"

    def conv(self, x: str, inputs: int, outputs: int, kernel: int, stride: int = 1, pad: int = 0) -> str:
        """Add a convolution and its Relu."""
        weights = self.random(outputs, inputs, kernel, kernel, spread=1.4 / kernel / inputs**0.5)
        bias = self.random(outputs, spread=0.1)
        x = self.add(
            "Conv", x, weights, bias, kernel_shape=[kernel] * 2, strides=[stride] * 2, pads=[pad] * 4
        )
        return self.add("Relu", x)

    def linear(self, x: str, inputs: int, outputs: int) -> str:
        """Add a MatMul and its bias."""
        x = self.add("MatMul", x, self.random(inputs, outputs, spread=inputs**-0.5))
        return self.add("Add", self.random(outputs, spread=0.1), x)

    def gelu(self, x: str) -> str:
        """Add the parts of a Gelu."""
        bent = self.add("Add", self.add("Erf", self.add("Div", x, self.constant(2**0.5))), self.constant(1.0))
        return self.add("Mul", self.add("Mul", x, bent), self.constant(0.5))

    def size(self, x: str, axis: int) -> str:
        """The size of an axis, as a number that is computed."""
        return self.add("Gather", self.add("Shape", x), self.constant(np.array(axis, np.int64)), axis=0)

    def model(self, *outputs: str) -> onnx.ModelProto:
        """The model; its batch is free."""
        source = helper.make_tensor_value_info("input", TensorProto.FLOAT, ("batch", *self.shape[1:]))
        made = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs]
        graph = helper.make_graph(self.nodes, "main_graph", [source], made, self.constants)
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", self.opset)], ir_version=8)


def keyword_transformer() -> onnx.ModelProto:
    """Patches, a class token, positions, one block of attention with everything written out, the token alone."""
    net, steps, width, heads = Exporter((1, 1, 20, 12), 13), 13, 16, 2
    x = net.add("Reshape", net.add("Transpose", "input", perm=(0, 1, 3, 2)), net.integers(-1, 12, 20))
    x = net.add("Concat", net.random(1, 1, width), net.linear(x, 20, width), axis=1)
    x = net.add("Add", x, net.random(1, steps, width))
    parts = net.add("Reshape", net.linear(x, width, 3 * width), net.integers(1, steps, 3, heads, 8))
    parts = net.add("Transpose", parts, perm=(2, 0, 3, 1, 4))
    q, k, v = (net.add("Gather", parts, net.constant(np.array(i, np.int64)), axis=0) for i in range(3))
    scores = net.add("MatMul", q, net.add("Transpose", k, perm=(0, 1, 3, 2)))
    shares = net.add("Softmax", net.add("Mul", scores, net.constant(8**-0.5)), axis=-1)
    mixed = net.add("Transpose", net.add("MatMul", shares, v), perm=(0, 2, 1, 3))
    x = net.add("Add", x, net.linear(net.add("Reshape", mixed, net.integers(1, steps, width)), width, width))
    rest = net.add("Sub", x, net.add("ReduceMean", x, axes=[-1]))
    variance = net.add("ReduceMean", net.add("Pow", rest, net.constant(2.0)), axes=[-1])
    x = net.add("Div", rest, net.add("Sqrt", net.add("Add", variance, net.constant(1e-5))))
    x = net.add("Add", net.add("Mul", x, net.random(width, about=1)), net.random(width))
    bent = net.gelu(net.linear(x, width, 32))
    x = net.add("Gather", net.linear(bent, 32, width), net.constant(np.array(0, np.int64)), axis=1)
    return net.model(net.linear(x, width, 5))


def vision_transformer() -> onnx.ModelProto:
    """One layer of attention over patches, each projection by itself, normalised before, with LayerNormalization."""
    net, width, tokens, heads = Exporter((1, 3, 24, 24), 17), 16, 9, 2

    def normalized(x: str) -> str:
        scale, bias = net.random(width, about=1, spread=0.2), net.random(width, spread=0.1)
        return net.add("LayerNormalization", x, scale, bias, axis=-1, epsilon=1e-6)

    def projected(x: str, *perm: int) -> str:
        parts = net.integers(1, tokens, heads, width // heads)
        return net.add("Transpose", net.add("Reshape", net.linear(x, width, width), parts), perm=perm)

    weights, bias = net.random(width, 3, 8, 8, spread=0.1), net.random(width, spread=0.1)
    x = net.add("Conv", "input", weights, bias, kernel_shape=[8, 8], strides=[8, 8])
    x = net.add("Transpose", net.add("Reshape", x, net.integers(1, width, tokens)), perm=(0, 2, 1))
    x = net.add("Add", x, net.random(1, tokens, width, spread=0.5))
    y = normalized(x)
    query, key, value = projected(y, 0, 2, 1, 3), projected(y, 0, 2, 3, 1), projected(y, 0, 2, 1, 3)
    scores = net.add("Div", net.add("MatMul", query, key), net.constant((width / heads) ** 0.5))
    mixed = net.add("MatMul", net.add("Softmax", scores, axis=-1), value)
    mixed = net.add("Reshape", net.add("Transpose", mixed, perm=(0, 2, 1, 3)), net.integers(1, tokens, width))
    x = net.add("Add", x, net.linear(mixed, width, width))
    x = net.add("Add", x, net.linear(net.gelu(net.linear(normalized(x), width, 32)), 32, width))
    x = net.add("ReduceMean", normalized(x), axes=[1], keepdims=0)
    return net.model(net.add("Gemm", x, net.random(10, width, spread=0.3), net.random(10), transB=1))


def segmenter() -> onnx.ModelProto:
    """Down, up with aligned corners, padded to what was before by sizes that are computed, joined; a mask."""
    net = Exporter((1, 3, 30, 30), 13)
    before = net.conv("input", 3, 6, 3, pad=1)
    x = net.conv(net.add("MaxPool", before, kernel_shape=[2, 2], strides=[2, 2]), 6, 6, 3, stride=2, pad=1)
    scales = net.constant(np.array([1, 1, 3, 3], np.float32))
    x = net.add("Resize", x, "", scales, mode="linear", coordinate_transformation_mode="align_corners")
    missing = [net.add("Sub", net.size(before, axis), net.size(x, axis)) for axis in (2, 3)]
    ends = [net.add("Unsqueeze", number, net.integers(0)) for number in missing]
    none = net.integers(0, 0)
    x = net.add("Pad", x, net.add("Concat", none, none, none, *ends, axis=0), net.constant(0.0))
    x = net.conv(net.add("Concat", before, x, axis=1), 12, 4, 3, pad=1)
    return net.model(net.add("Sigmoid", x))


def styler() -> onnx.ModelProto:
    """Reflected borders and normalised images, which come and go plane by plane."""
    net = Exporter((1, 3, 48, 48), 11)
    pads = net.integers(0, 0, 1, 1, 0, 0, 1, 1)
    x = net.conv(net.add("Pad", "input", pads, mode="reflect"), 3, 6, 3, stride=2)
    x = net.add("InstanceNormalization", x, net.random(6, about=1, spread=0.1), net.random(6))
    x = net.add(
        "Resize", x, net.constant(np.zeros(0, np.float32)), net.constant(np.array([1, 1, 2, 2], np.float32))
    )
    return net.model(net.conv(x, 6, 3, 3, pad=1))


def classifier() -> onnx.ModelProto:
    """Windows that leave columns over, local response normalisation, dropout, and a flattening that is computed."""
    net = Exporter((1, 3, 44, 44), 9)
    x = net.conv("input", 3, 12, 5, stride=2)
    x = net.add("LRN", x, size=5, alpha=0.1, beta=0.75, bias=1.0)
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[0, 0, 1, 1])
    x = net.add("MaxPool", net.conv(x, 12, 16, 3), kernel_shape=[3, 3], strides=[2, 2])
    x = net.add("Dropout", x, ratio=0.5)
    batch = net.add("Unsqueeze", net.size(x, 0), axes=[0])
    x = net.add("Reshape", x, net.add("Concat", batch, net.integers(-1), axis=0))
    return net.model(
        net.add("Softmax", net.add("Gemm", x, net.random(144, 10, spread=0.08), net.random(10)), axis=1)
    )


NETWORKS = {function.__name__: function for function in (keyword_transformer, segmenter, styler, classifier)}
