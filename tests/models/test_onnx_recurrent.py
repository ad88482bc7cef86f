"""LSTM, GRU and RNN written out give what onnxruntime gives, for whole sequences and for a step of a stream."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.vocabulary import InputError

Array = NDArray[Any]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
HIDDEN, VALUES = 5, 4
TOLERANCE = 2e-6
VARIANTS = [
    *product(("LSTM", "GRU", "RNN"), ("forward", "reverse", "bidirectional"), (0,), (1, 4)),
    *product(("GRU",), ("forward", "bidirectional"), (1,), (1, 4)),
]


def model(
    kind: str,
    direction: str,
    steps: int,
    states: str,
    *,
    batch: int = 1,
    biased: bool = True,
    **attributes: Any,
) -> onnx.ModelProto:
    """A node whose states at the start are absent, "constant" or inputs."""
    rng, count = np.random.default_rng(4), 2 if direction == "bidirectional" else 1
    rows = GATES[kind] * HIDDEN
    shapes = {"w": (count, rows, VALUES), "r": (count, rows, HIDDEN), "b": (count, 2 * rows)}
    names, state = ["x", "w", "r", "b" if biased else "", ""], (count, 1, HIDDEN)
    inputs = [("x", (steps, batch, VALUES))]
    if states != "absent":
        given = ["h", "c"] if kind == "LSTM" else ["h"]
        names += given
        shapes |= dict.fromkeys(given, state) if states == "constant" else {}
        inputs += [(name, state) for name in given] if states == "inputs" else []
    outputs = ["y", "yh", "yc"] if kind == "LSTM" else ["y", "yh"]
    node = helper.make_node(kind, names, outputs, "it", hidden_size=HIDDEN, direction=direction, **attributes)
    constants = {name: rng.normal(0, 0.5, shape).astype(np.float32) for name, shape in shapes.items()}
    graph = helper.make_graph(
        *([node], "graph"),
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in constants.items() if name in names],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 14)], ir_version=8)


def check(made: onnx.ModelProto, folder: Path) -> None:
    """Compare all outputs."""
    path = folder / "model.onnx"
    path.write_bytes(made.SerializeToString())
    network = read_onnx(path)
    rng = np.random.default_rng(1)
    feeds = {
        name: rng.normal(0, 1, network.tensors[name].graph_shape).astype(np.float32)
        for name in network.inputs
    }
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    values = reference.run(network, feeds)
    for name, expected in zip(network.outputs, session.run(list(network.outputs), feeds), strict=True):
        found = reference.graph_output(network, name, values)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= TOLERANCE


@pytest.mark.parametrize(("kind", "direction", "linear", "steps"), VARIANTS)
def test_every_variant_is_that_of_onnxruntime(
    tmp_path: Path, kind: str, direction: str, linear: int, steps: int
) -> None:
    """All outputs, both directions, one step and several, with and without states at the start."""
    attributes = {"linear_before_reset": linear} if kind == "GRU" else {}
    for states in ("absent", "constant"):
        check(model(kind, direction, steps, states, biased=states == "constant", **attributes), tmp_path)


@pytest.mark.parametrize("kind", GATES)
def test_a_step_of_a_stream(tmp_path: Path, kind: str) -> None:
    """States may be inputs of the network: what was kept comes in, what is to be kept comes out."""
    check(model(kind, "forward", 1, "inputs"), tmp_path)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (model("LSTM", "forward", 65, "absent"), "its input must be [1 to 64 steps, batch 1, values]"),
        (model("GRU", "forward", 2, "absent", batch=2), "its input must be [1 to 64 steps, batch 1, values]"),
        (model("LSTM", "forward", 2, "absent", clip=1.0), "must have the functions Sigmoid, Tanh, Tanh"),
        (model("RNN", "forward", 2, "absent", activations=["Relu"]), "must have the functions Tanh"),
        (model("RNN", "sideways", 2, "absent"), "must have the functions Tanh"),
    ],
)
def test_other_variants_are_named(tmp_path: Path, made: onnx.ModelProto, message: str) -> None:
    """What is not written out is refused in a line that says what is."""
    path = tmp_path / "model.onnx"
    path.write_bytes(made.SerializeToString())
    with pytest.raises(InputError) as caught:
        read_onnx(path)
    assert f"{made.graph.node[0].op_type} 'it': {message}" in str(caught.value)
    assert "\n" not in str(caught.value)
