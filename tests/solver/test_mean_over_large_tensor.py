"""A mean over a tensor that no SRAM holds, as squeeze-excite networks take it of their largest ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget
from ooc_solve.solver.heuristics import serial
from ooc_solve.solver.validate import validate


def test_a_mean_is_taken_plane_by_plane(tmp_path: Path) -> None:
    """The producer stores a tensor of 256 KiB in planes so narrow that the mean has room for one in 48 KiB."""
    weights = np.linspace(-1, 1, 16 * 3 * 3 * 3, dtype=np.float32).reshape(16, 3, 3, 3)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["c"], "conv", pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["c"], ["y"], "mean"),
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 64, 64))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 16, 1, 1))],
        [numpy_helper.from_array(weights, "w")],
    )
    path = tmp_path / "mean.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)
    problem = Problem(read_onnx(path), load_target("f746-sd"), 48 << 10, IoPlace.STORAGE)
    plan = serial(problem, Budget()).plan
    assert plan is not None
    assert validate(problem, plan) == ()
    assert max(tensor.size_bytes for tensor in problem.network.tensors.values()) > problem.sram_bytes
