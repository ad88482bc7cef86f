"""A mean over a tensor that no SRAM holds, as squeeze-excite networks take it of their largest ones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, OpKind
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.heuristics import serial, space_of
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


def test_narrow_planes_take_the_place_of_no_others() -> None:
    """What a mean asks for is offered beside the planes in the middle, of which one is the best here."""
    problem = Problem(zoo_network("ds_cnn"), load_target("f746-sd"), 5440, IoPlace.STORAGE)
    offered = space_of(problem).residences
    mean = next(op for op in problem.network.ops if op.kind is OpKind.AVERAGE_POOL)
    assert {64, 32, 16, 8, 4} <= set(offered[mean.inputs[0]]) & set(offered[mean.output])
