"""Operator sets and file versions: one network, however old or new the file that holds it."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, defs, helper, numpy_helper

from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.onnx_versions import at_least, standard_opset
from ooc_solve.models.vocabulary import InputError

NEWEST = defs.onnx_opset_version()
NEWEST_IR = onnx.IR_VERSION


def quantized_model(opset: int = 10, ir_version: int = 5) -> onnx.ModelProto:
    """Quantised pads, convolution, clip, mean, squeeze and softmax, in the attributes of operator set 10."""
    rng = np.random.default_rng(5)
    constants: dict[str, NDArray[Any]] = {
        "s": np.array(0.04, np.float32),
        "z": np.array(-5, np.int8),
        "ws": np.array(0.01, np.float32),
        "wz": np.array(0, np.int8),
        "w": rng.integers(-127, 128, (4, 3, 3, 3)).astype(np.int8),
    }
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["r"]),
        helper.make_node("Pad", ["r"], ["p"], pads=(0, 0, 1, 1, 0, 0, 0, 1), value=0.0),
        helper.make_node("QuantizeLinear", ["p", "s", "z"], ["q"]),
        helper.make_node("DequantizeLinear", ["q", "s", "z"], ["t"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["v"]),
        helper.make_node("Conv", ["t", "v"], ["c"], strides=(2, 2)),
        helper.make_node("Clip", ["c"], ["d"], min=-1.0, max=2.0),
        helper.make_node("QuantizeLinear", ["d", "s", "z"], ["e"]),
        helper.make_node("DequantizeLinear", ["e", "s", "z"], ["f"]),
        helper.make_node("ReduceMean", ["f"], ["g"], axes=(2, 3), keepdims=1),
        helper.make_node("QuantizeLinear", ["g", "s", "z"], ["h"]),
        helper.make_node("DequantizeLinear", ["h", "s", "z"], ["i"]),
        helper.make_node("Squeeze", ["i"], ["j"], axes=(2, 3)),
        helper.make_node("Softmax", ["j"], ["k"], axis=1),
        helper.make_node("QuantizeLinear", ["k", "s", "z"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "versions",
        [helper.make_tensor_value_info("x", TensorProto.INT8, (1, 3, 9, 9))],
        [helper.make_tensor_value_info("y", TensorProto.INT8, (1, 4))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 10)])
    model = at_least(model, opset, Path("versions.onnx"))
    model.ir_version = ir_version
    if ir_version == 3:
        inputs = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in model.graph.initializer]
        model.graph.input.extend(inputs)
    return model


def computed(path: Path, model: onnx.ModelProto) -> bytes:
    """What the file computes for some input."""
    path.write_bytes(model.SerializeToString())
    network = read_onnx(path)
    data = np.random.default_rng(6).integers(-128, 128, (1, 3, 9, 9)).astype(np.int8)
    return reference.run(network, {"x": data})["y"].tobytes()


@pytest.mark.parametrize("opset", range(11, NEWEST + 1))
def test_every_operator_set_gives_the_same_network(tmp_path: Path, opset: int) -> None:
    """ONNX's own converter changes attributes to inputs and back; what is computed stays."""
    model = quantized_model(opset)
    assert standard_opset(model) == opset
    assert computed(tmp_path / "m.onnx", model) == computed(tmp_path / "m.onnx", quantized_model())


@pytest.mark.parametrize("ir_version", range(3, NEWEST_IR + 1))
def test_every_file_version_gives_the_same_network(tmp_path: Path, ir_version: int) -> None:
    """Version 3 lists constants among the inputs, later ones need not."""
    other = computed(tmp_path / "m.onnx", quantized_model(ir_version=ir_version))
    assert other == computed(tmp_path / "m.onnx", quantized_model())


def test_a_newer_operator_set_stays(tmp_path: Path) -> None:
    """Models are only ever brought forward."""
    model = quantized_model(13)
    assert at_least(model, 11, tmp_path) is model


def test_what_cannot_be_brought_forward_is_refused(tmp_path: Path) -> None:
    """An operator that ONNX does not have gives one sentence with both versions."""
    node = helper.make_node("Nonsense", ["x", "s"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, (1, 1, 2, 2)) for name in "xsy"]
    graph = helper.make_graph([node], "old", ends[:2], ends[2:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 9)])
    with pytest.raises(InputError, match="cannot be brought from operator set 9 to 13"):
        at_least(model, 13, tmp_path)


def large_model(folder: Path, *, external: bool) -> Path:
    """A product with 16 MiB of weights."""
    rng = np.random.default_rng(7)
    constants: dict[str, NDArray[Any]] = {
        "s": np.array(0.05, np.float32),
        "z": np.array(0, np.int8),
        "w": rng.integers(-127, 128, (4096, 4096)).astype(np.int8),
    }
    node = helper.make_node("QLinearMatMul", ["x", "s", "z", "w", "s", "z", "s", "z"], ["y"])
    ends = [helper.make_tensor_value_info(name, TensorProto.INT8, (1, 4096)) for name in "xy"]
    tensors = [numpy_helper.from_array(array, name) for name, array in constants.items()]
    graph = helper.make_graph([node], "large", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])
    path = folder / "large.onnx"
    onnx.save_model(model, path, save_as_external_data=external, location="large.bin")
    return path


@pytest.mark.parametrize("external", [False, True])
def test_weights_are_not_copied_many_times(tmp_path: Path, external: bool) -> None:
    """While a model is read, beside or inside its file, numpy and Python hold four times its weights at most."""
    path = large_model(tmp_path, external=external)
    assert (path.stat().st_size < 1 << 20) == external
    tracemalloc.start()
    network = read_onnx(path)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    weights = network.ops[0].weights
    assert weights is not None
    assert peak < 4.1 * weights.nbytes


def test_external_data_gives_the_same_network(tmp_path: Path) -> None:
    """It does not matter in which file the weights lie."""
    (one,) = read_onnx(large_model(tmp_path, external=False)).ops
    (other,) = read_onnx(large_model(tmp_path, external=True)).ops
    assert one.weights is not None
    assert other.weights is not None
    assert one.weights.tobytes() == other.weights.tobytes()
