"""The int8 shape of a float32 network: that of what onnxruntime's quantisation makes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ooc_solve.api import load, problem_of, target
from ooc_solve.models.int8_twin import int8_twin
from ooc_solve.models.onnx_quantization import quantize_onnx
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.vocabulary import Budget, DType, Function, Network, Op, OpKind, Tensor
from ooc_solve.solver.heuristics import serial

FLOAT_MODELS = (
    "mlperf_tiny/ic_resnet8_float.onnx",
    "mlperf_tiny/kws_dscnn_float.onnx",
    "mlperf_tiny/ad_autoencoder_float.onnx",
    "mnist/mnist_cntk_opset8_float.onnx",
)


def shapes(network: Network) -> list[tuple[object, ...]]:
    """What planning needs of each operator."""
    return [
        (op.kind, op.window, op.groups, op.weight_bytes, network.tensors[op.output].size_bytes)
        for op in network.ops
    ]


@pytest.mark.parametrize("file", FLOAT_MODELS)
def test_it_has_the_shape_of_the_quantised_model(shared_models: Path, file: str) -> None:
    """Operators, windows, weights and tensors are as large as after quantisation, so plans take as long."""
    twin = int8_twin(read_onnx(shared_models / file))
    quantised = quantize_onnx(shared_models / file, "random").network
    assert twin is not None
    assert shapes(twin) == shapes(quantised)
    took = [
        serial(problem_of(network, target("f746-sd"), 48 * 1024), Budget()).objective
        for network in (twin, quantised)
    ]
    assert took[0] == took[1] is not None


def test_only_float_networks_have_one() -> None:
    """A network that is quantised already has none."""
    assert int8_twin(load("zoo:ds_cnn")) is None


def test_functions_become_tables() -> None:
    """A function of float32 becomes a table of 256 bytes, one per channel where its parameters are."""
    shape = (4, 4, 3, DType.FLOAT32)
    tensors = {name: Tensor(name, *shape) for name in ("x", "y", "z")}
    one = Op("one", OpKind.LOOKUP, ("x",), "y", weights=np.zeros(2, np.float32), function=Function.TANH)
    each = replace(one, name="each", inputs=("y",), output="z", weights=np.zeros((3, 2), np.float32))
    twin = int8_twin(Network("net", tensors, (one, each), ("x",), ("z",)))
    assert twin is not None
    found = {op.name: op for op in twin.ops}
    assert [op.kind for op in twin.ops] == [
        OpKind.QUANTIZE, OpKind.LOOKUP, OpKind.LOOKUP, OpKind.DEQUANTIZE,
    ]  # fmt: skip
    for name, wanted in (("one", (256,)), ("each", (3, 256))):
        weights = found[name].weights
        assert weights is not None
        assert weights.shape == wanted
        assert found[name].function is None
    assert twin.tensors["z"].dtype is DType.FLOAT32
    assert twin.inputs == ("x",)
