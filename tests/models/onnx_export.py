"""Writes an int8 network as an ONNX model of quantised operators, so that onnxruntime can judge it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models.vocabulary import Network, Op, OpKind, Quantization, Tensor

_DOMAINS = (("", 13), ("com.microsoft", 1))


def export(network: Network, *, every_layer: bool = False) -> onnx.ModelProto:
    """Return the model; its inputs and outputs have their graph shapes, inside it is planar.

    With ``every_layer`` each operator's planar output is a further output of the graph.
    """
    writer = _Writer(network)
    for op in network.ops:
        writer.write(op)
    outputs = [writer.unplanar(name) for name in network.outputs]
    if every_layer:
        outputs += [_planar_info(network.tensors[op.output]) for op in network.ops]
    inputs = [_graph_info(network.tensors[name], name) for name in network.inputs]
    graph = helper.make_graph(writer.nodes, network.name, inputs, outputs, writer.constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid(*domain) for domain in _DOMAINS])
    model.ir_version = 8
    return model


def weight_scales(op: Op, source: Quantization, output: Quantization) -> NDArray[np.float32]:
    """Float32 scales for which ``source * scale / output`` gives the multipliers bit for bit."""
    assert op.multiplier is not None
    first = (op.multiplier.astype(np.float64) * output.scale / source.scale).astype(np.float32)
    found = np.zeros_like(first)
    for ulps in (0, 1, -1, 2, -2):
        candidate = (first.view(np.int32) + ulps).view(np.float32)
        exact = np.float32(source.scale) * candidate / np.float32(output.scale) == op.multiplier
        found = np.where((found == 0) & exact, candidate, found)
    assert found.all(), f"no float32 weight scale gives the multipliers of '{op.name}'"
    return found


def _graph_info(tensor: Tensor, name: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.INT8, tensor.graph_shape)


def _planar_info(tensor: Tensor) -> onnx.ValueInfoProto:
    shape = (1, tensor.channels, tensor.height, tensor.width)
    return helper.make_tensor_value_info(f"{tensor.name}_planar", TensorProto.INT8, shape)


class _Writer:
    """Collects nodes and initialisers."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []
        for name in network.inputs:
            self._planar(name)

    def write(self, op: Op) -> None:
        """Append the nodes of one operator, and a Clip where its range is narrower than int8."""
        output = f"{op.output}_planar"
        clipped = op.clamp != (-128, 127)
        self._operator(op, f"{op.output}_unclipped" if clipped else output)
        if clipped:
            bounds = [
                self._constant(f"{op.name}_{side}", np.array(bound, np.int8))
                for side, bound in zip(("low", "high"), op.clamp, strict=True)
            ]
            self._node("Clip", [f"{op.output}_unclipped", *bounds], output)

    def unplanar(self, name: str) -> onnx.ValueInfoProto:
        """Give a network output its graph shape under its own name."""
        tensor = self.network.tensors[name]
        self._node("Transpose", [f"{name}_planar"], f"{name}_rows", perm=(0, 2, 3, 1))
        shape = self._constant(f"{name}_shape", np.array(tensor.graph_shape, np.int64))
        self._node("Reshape", [f"{name}_rows", shape], name)
        return _graph_info(tensor, name)

    def _planar(self, name: str) -> None:
        tensor = self.network.tensors[name]
        dense = np.array((1, tensor.height, tensor.width, tensor.channels), np.int64)
        self._node("Reshape", [name, self._constant(f"{name}_shape", dense)], f"{name}_rows")
        self._node("Transpose", [f"{name}_rows"], f"{name}_planar", perm=(0, 3, 1, 2))

    def _operator(self, op: Op, output: str) -> None:
        sources = [f"{name}_planar" for name in op.inputs]
        window: dict[str, Any] = {
            "kernel_shape": op.window.kernel,
            "strides": op.window.stride,
            "pads": op.window.pads,
        }
        if op.kind in (OpKind.CONV, OpKind.DEPTHWISE):
            self._convolution(op, sources[0], output, window)
        elif op.kind is OpKind.MAX_POOL:
            self._node("MaxPool", sources, output, **window)
        elif op.kind is OpKind.MOVE:
            self._node("Concat", sources, output, axis=1)
        elif op.kind is OpKind.AVERAGE_POOL:
            self._requantising("QLinearAveragePool", op, sources, output, **window)
        elif op.kind is OpKind.SOFTMAX:
            self._requantising("QLinearSoftmax", op, sources, output, axis=1, opset=13)
        else:
            assert op.kind is OpKind.ADD, f"no export for {op.kind.value}"
            self._requantising("QLinearAdd", op, sources, output)

    def _convolution(self, op: Op, source: str, output: str, window: dict[str, Any]) -> None:
        assert op.weights is not None
        assert op.bias is not None
        depthwise = op.kind is OpKind.DEPTHWISE
        planar = op.weights.transpose(2, 0, 1)[:, None] if depthwise else op.weights.transpose(0, 3, 1, 2)
        before, after = self._quantization(op.inputs[0]), self._quantization(op.output)
        scales = weight_scales(op, before, after)
        arguments = [
            *(source, *self._pair(op.inputs[0])),
            self._constant(f"{op.name}_weights", np.ascontiguousarray(planar)),
            self._constant(f"{op.name}_scales", scales),
            self._constant(f"{op.name}_zeros", np.zeros(len(scales), np.int8)),
            *self._pair(op.output),
            self._constant(f"{op.name}_bias", op.bias),
        ]
        self._node("QLinearConv", arguments, output, group=op.groups, **window)

    def _requantising(self, kind: str, op: Op, sources: list[str], output: str, **attributes: object) -> None:
        arguments: list[str] = []
        for name, source in zip(op.inputs, sources, strict=True):
            arguments += [source, *self._pair(name)]
        arguments += self._pair(op.output)
        self._node(kind, arguments, output, domain="com.microsoft", **attributes)

    def _quantization(self, name: str) -> Quantization:
        quantization = self.network.tensors[name].quantization
        assert quantization is not None
        return quantization

    def _pair(self, name: str) -> tuple[str, str]:
        """Scale and zero point of a tensor as initialisers."""
        quantization = self._quantization(name)
        return (
            self._constant(f"{name}_scale", np.array(quantization.scale, np.float32)),
            self._constant(f"{name}_zero", np.array(quantization.zero_point, np.int8)),
        )

    def _constant(self, name: str, value: NDArray[np.generic]) -> str:
        if all(constant.name != name for constant in self.constants):
            self.constants.append(numpy_helper.from_array(value, name))
        return name

    def _node(
        self, kind: str, inputs: list[str], output: str, domain: str | None = None, **attributes: object
    ) -> None:
        node = helper.make_node(kind, inputs, [output], name=f"{output}_node", domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
        self.nodes.append(node)
