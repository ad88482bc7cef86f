"""Axes that a tensor does not have are refused, as onnxruntime refuses them, in one line that says so."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.vocabulary import InputError

SHAPE = (1, 4, 6, 8)
ALL = range(-7, 8)

Array = NDArray[Any]
Case = tuple[str, int, dict[str, Array], dict[str, Any]]

_ONE, _TWO = np.ones(1, np.float32), np.array([2], np.float32)


def _integers(*values: int) -> Array:
    return np.array(values, np.int64)


def _by_input(kind: str, opset: int, **before: Array) -> Callable[[int], Case]:
    return lambda axis: (kind, opset, {**before, "axes": _integers(axis)}, {})


def _by_attribute(kind: str, opset: int, key: str = "axis", **inputs: Array) -> Callable[[int], Case]:
    return lambda axis: (kind, opset, inputs, {key: axis if key == "axis" else [axis]})


def _twice(kind: str, opset: int, **before: Array) -> Callable[[int], Case]:
    return lambda axis: (kind, opset, {**before, "axes": _integers(axis, 1)}, {})


_REDUCE = ("ReduceL2", "ReduceLogSumExp", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum")
_PADS = {"pads": _integers(1, 1), "number": np.zeros((), np.float32)}
_BACKWARDS = {"starts": _integers(-1), "ends": _integers(-20)}

CASES: dict[str, Callable[[int], Case]] = {
    **{kind: _by_input(kind, 18) for kind in _REDUCE},
    **{f"{kind} before opset 13": _by_attribute(kind, 11, "axes") for kind in _REDUCE},
    **{f"{kind} twice": _twice(kind, 18) for kind in _REDUCE},
    **{kind: _by_attribute(kind, 13) for kind in ("Flatten", "LogSoftmax", "LpNormalization", "Softmax")},
    "Concat": _by_attribute("Concat", 13, other=np.ones(SHAPE, np.float32)),
    "Gather": _by_attribute("Gather", 13, indices=_integers(0)),
    "LayerNormalization": _by_attribute("LayerNormalization", 17, scale=_ONE),
    "MeanVarianceNormalization": _by_attribute("MeanVarianceNormalization", 13, "axes"),
    "Pad": _by_input("Pad", 18, **_PADS),
    "Resize": _by_attribute("Resize", 18, "axes", region=np.zeros(0, np.float32), scales=_TWO),
    "Slice": _by_input("Slice", 13, starts=_integers(0), ends=_integers(1)),
    "Slice backwards": lambda axis: (
        *("Slice", 13),
        *({**_BACKWARDS, "axes": _integers(axis), "steps": _integers(-1)}, {}),
    ),
    "Softmax before opset 13": _by_attribute("Softmax", 11),
    "Split": _by_attribute("Split", 13, split=_integers(1)),
    "Squeeze": _by_input("Squeeze", 13),
    "Squeeze twice": lambda axis: ("Squeeze", 13, {"axes": _integers(axis, 0)}, {}),
    "Transpose": lambda axis: ("Transpose", 13, {}, {"perm": [axis, 1, 2, 3]}),
    "Unsqueeze": _by_input("Unsqueeze", 13),
    "Unsqueeze twice": _twice("Unsqueeze", 13),
}
"""Nodes by an axis: operator, operator set, constant inputs behind the first, attributes."""


def model_of(case: Case) -> bytes:
    """A model of one node."""
    kind, opset, inputs, attributes = case
    node = helper.make_node(kind, ["x", *inputs], ["y"], "it", **attributes)
    constants = [numpy_helper.from_array(array, name) for name, array in inputs.items()]
    graph = helper.make_graph(
        *([node], "graph"),
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        constants,
    )
    opsets = [helper.make_opsetid("", opset)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString()
    return content


def their_shape(content: bytes) -> tuple[int, ...] | None:
    """The shape of what onnxruntime computes, None where it refuses."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with suppress(Exception):  # its errors have no common class
        session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
        (found,) = session.run(None, {"x": np.ones(SHAPE, np.float32)})
        return tuple(found.shape)
    return None


@pytest.mark.parametrize("name", CASES)
def test_axes_are_those_of_onnxruntime(tmp_path: Path, name: str) -> None:
    """An axis from either end is the axis onnxruntime takes; one beyond is refused, and the line names it."""
    path, met = tmp_path / "model.onnx", 0
    for axis in ALL:
        content = model_of(CASES[name](axis))
        path.write_bytes(content)
        theirs = their_shape(content)
        try:
            network = read_onnx(path)
        except InputError as error:
            (line,) = error.args
            assert theirs is None or "at most three axes" in line
            assert line.startswith(f"{CASES[name](axis)[0]} 'it': ")
            beyond = not -len(SHAPE) - 2 <= axis < len(SHAPE) + 2
            assert not beyond or (str(axis) in line and "\n" not in line)
        else:
            assert network.tensors[network.outputs[0]].graph_shape == theirs
            met += theirs is not None
    assert met or name.endswith("Transpose")


def test_a_resize_along_negative_axes_keeps_its_scale(tmp_path: Path) -> None:
    """Positions follow the scale of the file, not the ratio of the sizes, however the axes are counted."""
    positions = []
    for axis in (3, -1):
        node = helper.make_node("Resize", ["x", "", "scales"], ["y"], "it", mode="linear", axes=[axis])
        graph = helper.make_graph(
            *([node], "graph"),
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, SHAPE)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            [numpy_helper.from_array(np.array([1.3], np.float32), "scales")],
        )
        path = tmp_path / f"{axis}.onnx"
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
        network = read_onnx(path)
        positions.append([(op.kind, op.places) for op in network.ops])
        weights = [op.weights for op in network.ops if op.weights is not None]
        positions[-1].append(np.concatenate([np.ravel(w) for w in weights]).tolist())
    assert positions[0] == positions[1]
