"""Operators that are read as several others give what onnxruntime gives, in float32 and between quantised tensors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from ooc_solve.models import reference
from ooc_solve.models.onnx_composites import COMPOSITES, FUNCTIONS
from ooc_solve.models.onnx_reader import read_onnx, survey_onnx
from ooc_solve.models.onnx_truths import TRUTHS
from ooc_solve.models.vocabulary import InputError, Network, OpKind

Array = NDArray[Any]

TOLERANCE = 1e-5
RNG = np.random.default_rng(5)
CONSTANTS: dict[str, Array] = {
    "six": RNG.normal(1, 0.3, 6).astype(np.float32),
    "eight": RNG.normal(1, 0.3, 8).astype(np.float32),
    "two": RNG.normal(1, 0.3, 2).astype(np.float32),
    "half": np.array(0.5, np.float32),
    "tiny": np.array(1e-3, np.float32),
    "scales": np.array([1, 1, 2, 4], np.float32),
    "pads": np.array([0, 0, 1, 2, 0, 0, 2, 1], np.int64),
    "number": np.array(-1.5, np.float32),
    "list": np.array([4, 0, 1, -1], np.int64),
    "one": np.array(1, np.int64),
    "repeats": np.array([1, 1, 2, 1], np.int64),
    "wide": np.array([1, 6, 9, 8], np.int64),
    "weights": RNG.normal(0, 0.3, (4, 6, 3, 3)).astype(np.float32),
    "weights_t": RNG.normal(0, 0.3, (8, 5)).astype(np.float32),
    "five": RNG.normal(0, 1, 5).astype(np.float32),
    "four": RNG.normal(0, 1, 4).astype(np.float32),
    "axes": np.array([1, 3], np.int64),
    **{f"e{k}": np.array(number, np.float32) for k, number in enumerate((0.5, 1.5, 2, 3, 4, -1, -0.5))},
}
OWN = {"domain": "com.microsoft"}

Step = tuple[str, tuple[str, ...], dict[str, Any]]

CASES: dict[str, tuple[Step, ...]] = {
    "BiasGelu": (("Transpose", ("x",), {}), ("BiasGelu", ("t0", "one_per_row"), OWN)),
    "Cast": (("Tanh", ("x",), {}), ("Cast", ("t0",), {"to": TensorProto.FLOAT})),
    **{
        f"{kind} of {shape}": ((kind, ("x", shape), {}),)
        for kind in ("Add", "Mul", "Sub") for shape in ("each", "by row", "by plane and column")
    },
    "Concat with a constant": (("Concat", ("two planes", "x"), {"axis": 1}),),
    "Einsum": (("Tanh", ("x",), {}), ("Einsum", ("t0", "x"), {"equation": "bchw,bdhw->bdc"})),
    "Einsum by matrices": (("Tanh", ("x",), {}), ("Einsum", ("t0", "x"), {"equation": "bhqd,bhkd->bqhk"})),
    "FastGelu": (("FastGelu", ("x", "eight"), OWN),),
    "MatMul of few matrices": (
        ("ReduceMean", ("x", "planes"), {"keepdims": 1}), ("Transpose", ("t0",), {"perm": (0, 1, 3, 2)}),
        ("MatMul", ("x", "t1"), {}),
    ),
    "MatMul by many matrices": (
        ("ReduceMean", ("x", "planes"), {"keepdims": 1}), ("Transpose", ("x",), {"perm": (0, 1, 3, 2)}),
        ("MatMul", ("t0", "t1"), {}),
    ),
    "Celu": (("Celu", ("x",), {"alpha": 0.7}),),
    "Div": (("Sigmoid", ("x",), {}), ("Div", ("x", "t0"), {})),
    "Expand": (("ReduceMean", ("x", "axes"), {}), ("Expand", ("t0", "wide"), {})),
    "FusedConv": (("FusedConv", ("x", "weights", "four"), {"activation": "Relu", **OWN}),),
    "FusedGemm": (
        ("Flatten", ("x",), {"axis": 3}),
        ("FusedGemm", ("t0", "weights_t", "five"), {"activation": "LeakyRelu", "activation_alpha": 0.1, **OWN}),
    ),
    "FusedMatMul": (("FusedMatMul", ("x", "weights_t"), {"alpha": 0.5, **OWN}),),
    "FusedMatMul of activations": (
        ("Tanh", ("x",), {}),
        ("FusedMatMul", ("x", "t0"), {"transB": 1, "alpha": 0.1, **OWN}),
    ),
    "Gather": (("Gather", ("x", "list"), {"axis": 1}),),
    "Gather of one": (("Gather", ("x", "one"), {"axis": 2}),),
    "GroupNormalization": (("GroupNormalization", ("x", "six", "six"), {"num_groups": 2}),),
    "InstanceNormalization": (("InstanceNormalization", ("x", "six", "six"), {}),),
    "LRN": (("LRN", ("x",), {"size": 3, "alpha": 0.2}),),
    "LayerNormalization": (("LayerNormalization", ("x", "eight", "eight"), {}),),
    "LayerNormalization written out": (
        ("ReduceMean", ("x", "last"), {}),
        ("Sub", ("x", "t0"), {}),
        ("Pow", ("t1", "e2"), {}),
        ("ReduceMean", ("t2", "last"), {}),
        ("Add", ("t3", "tiny"), {}),
        ("Sqrt", ("t4",), {}),
        ("Div", ("t1", "t5"), {}),
        ("Mul", ("t6", "eight"), {}),
    ),
    "Log": (("Exp", ("x",), {}), ("Log", ("t0",), {})),
    "LogSoftmax": (("LogSoftmax", ("x",), {"axis": 1}),),
    "LpNormalization": (("LpNormalization", ("x",), {"axis": 1}),),
    "LpNormalization of sizes": (("LpNormalization", ("x",), {"p": 1}),),
    "Max": (("Tanh", ("x",), {}), ("Max", ("x", "t0"), {})),
    "Max of a constant": (("Max", ("x", "half"), {}),),
    "Mean": (("Tanh", ("x",), {}), ("Elu", ("x",), {}), ("Mean", ("x", "t0", "t1"), {})),
    "MeanVarianceNormalization": (("MeanVarianceNormalization", ("x",), {}),),
    "Min": (("Tanh", ("x",), {}), ("Elu", ("x",), {}), ("Min", ("x", "t0", "t1"), {})),
    "Min of a constant": (("Min", ("half", "x"), {}),),
    "MatMul of activations": (
        ("Transpose", ("x",), {"perm": (0, 1, 3, 2)}),
        ("Mul", ("t0", "tiny"), {}),
        ("MatMul", ("x", "t1"), {}),
        ("Softmax", ("t2",), {}),
        ("MatMul", ("t3", "x"), {}),
    ),
    "MatMul of a constant first": (("MatMul", ("seven", "x"), {}),),
    "Gemm of activations": (
        ("Flatten", ("x",), {"axis": 2}),
        ("Tanh", ("t0",), {}),
        ("Gemm", ("t0", "t1", "half"), {"transB": 1, "alpha": 0.02}),
    ),
    "Mish": (("Mish", ("x",), {}),),
    "Mish written out": (("Softplus", ("x",), {}), ("Tanh", ("t0",), {}), ("Mul", ("x", "t1"), {})),
    "Pad by a number": (("Pad", ("x", "pads", "number"), {}),),
    "Pad by reflection": (("Pad", ("x", "pads"), {"mode": "reflect"}),),
    **{
        f"Pow {CONSTANTS[f'e{k}']}": (("Sigmoid", ("x",), {}), ("Pow", ("t0", f"e{k}"), {})) for k in range(7)
    },
    "QuickGelu": (("QuickGelu", ("x",), OWN),),
    "RMSNormalization": (("RMSNormalization", ("x", "eight"), {}),),
    **{
        f"{kind} {keep}": (("Sigmoid", ("x",), {}), (kind, ("t0", axes), {"keepdims": keep}))
        for kind in ("ReduceL1", "ReduceL2", "ReduceLogSum", "ReduceLogSumExp", "ReduceMax", "ReduceMin",
                     "ReduceSum", "ReduceSumSquare")
        for keep, axes in ((0, "axes"), (1, "last"))
    },
    "Resize": (("Resize", ("x", "", "scales"), {"mode": "linear"}),),
    "Resize asymmetric": (
        ("Resize", ("x", "", "scales"), {"mode": "linear", "coordinate_transformation_mode": "asymmetric"}),
    ),
    **{
        f"Resize {mode} {way} {scales}": (
            ("Resize", ("x", "", scales), {"mode": mode, "coordinate_transformation_mode": way}),
        )
        for mode in ("linear", "cubic")
        for way, scales in (("align_corners", "scales"), ("half_pixel", "odd"), ("asymmetric", "odd"))
    },
    **{
        f"ReduceProd {keep}": (("Sigmoid", ("x",), {}), ("ReduceProd", ("t0", axes), {"keepdims": keep}))
        for keep, axes in ((0, "axes"), (1, "last"))
    },
    "SimplifiedLayerNormalization": (("SimplifiedLayerNormalization", ("x", "eight"), {"axis": -1}),),
    "Slice backwards": (("Slice", ("x", "back", "past", "axes", "down"), {}),),
    **{
        f"{kind} of {what}": (
            *first, (kind, ("x", other), {}), ("Cast", (f"t{len(first)}",), {"to": TensorProto.FLOAT}),
        )
        for kind in ("Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual")
        for what, first, other in (("a constant", (), "half"), ("another", (("Relu", ("x",), {}),), "t0"))
    },
    **{
        kind: (
            ("Greater", ("x", "half"), {}), ("Less", ("x", "each"), {}), ("Not", ("t1",), {}),
            (kind, ("t0", "t2"), {}), (kind, ("t3", "mask"), {}), ("Cast", ("t4",), {"to": TensorProto.FLOAT}),
        )
        for kind in ("And", "Or", "Xor")
    },
    "Cast to truth": (
        ("Relu", ("x",), {}), ("Cast", ("t0",), {"to": TensorProto.BOOL}), ("Where", ("t1", "x", "number"), {}),
    ),
    "Where of computed masks": (
        ("Tanh", ("x",), {}), ("Less", ("x", "half"), {}), ("Where", ("t1", "x", "t0"), {}),
        ("Greater", ("t0", "half"), {}), ("Where", ("t3", "number", "t2"), {}),
    ),
    "Where": (("Tanh", ("x",), {}), ("Where", ("mask", "x", "t0"), {}), ("Where", ("mask", "t1", "number"), {})),
    "Selu": (("Selu", ("x",), {}),),
    "SkipLayerNormalization": (
        ("Reshape", ("x", "rows"), {}),
        ("Tanh", ("t0",), {}),
        ("SkipLayerNormalization", ("t0", "t1", "eight", "eight"), OWN),
    ),
    "Softplus": (("Softplus", ("x",), {}),),
    "Softsign": (("Softsign", ("x",), {}),),
    "Sqrt": (("Abs", ("x",), {}), ("Sqrt", ("t0",), {})),
    "Sum": (("Tanh", ("x",), {}), ("Elu", ("x",), {}), ("Sum", ("x", "t0", "t1"), {})),
    "Tile": (("Tile", ("x", "repeats"), {}),),
}  # fmt: skip
CONSTANTS |= {
    "last": np.array([-1], np.int64),
    "planes": np.array([1], np.int64),
    "each": RNG.normal(1, 0.3, (1, 6, 9, 8)).astype(np.float32),
    "by row": RNG.normal(1, 0.3, (9, 1)).astype(np.float32),
    "by plane and column": RNG.normal(1, 0.3, (6, 1, 8)).astype(np.float32),
    "two planes": RNG.normal(1, 0.3, (1, 2, 9, 8)).astype(np.float32),
    "odd": np.array([1, 1, 5 / 3, 0.75], np.float32),
    "back": np.array([-1, -2], np.int64),
    "past": np.array([-(2**31), 1], np.int64),
    "down": np.array([-1, -2], np.int64),
    "mask": RNG.random((1, 1, 9, 8)) > 0.5,
    "seven": RNG.normal(0, 0.3, (7, 9)).astype(np.float32),
    "rows": np.array([1, 54, 8], np.int64),
    "one_per_row": RNG.normal(0, 1, 1).astype(np.float32),
}
SHAPE = (1, 6, 9, 8)


def nodes_of(steps: tuple[Step, ...], source: str) -> list[NodeProto]:
    """The nodes of a case, its input renamed; the output of step ``k`` is ``tk``."""
    return [
        helper.make_node(kind, [source if name == "x" else name for name in inputs], [f"t{k}"], f"{kind}_{k}", **attributes)
        for k, (kind, inputs, attributes) in enumerate(steps)
    ]  # fmt: skip


def written(
    folder: Path, nodes: list[NodeProto], dtype: int, constants: dict[str, Array], opset: int
) -> Path:
    """A model file of nodes from ``x`` to the output of the last one."""
    used = {name for node in nodes for name in node.input}
    graph = helper.make_graph(
        nodes,
        "sketch",
        [helper.make_tensor_value_info("x", dtype, SHAPE)],
        [helper.make_tensor_value_info(nodes[-1].output[0], dtype, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items() if name in used],
    )
    domains = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    path = folder / "sketch.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=domains, ir_version=10).SerializeToString())
    return path


def both(path: Path, x: Array) -> tuple[Network, Array, Array]:
    """Our network, what it gives, and what onnxruntime gives."""
    network = read_onnx(path)
    name = network.outputs[0]
    found = reference.graph_output(network, name, reference.run(network, {"x": x}))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (expected,) = session.run([name], {"x": x})
    assert found.shape == expected.shape
    return network, found, expected


@pytest.mark.parametrize("name", CASES)
def test_float32(tmp_path: Path, name: str) -> None:
    """Every one lies within 1e-5 of the range."""
    opset = 23 if name == "RMSNormalization" else 21
    path = written(tmp_path, nodes_of(CASES[name], "x"), TensorProto.FLOAT, CONSTANTS, opset)
    x = np.random.default_rng(1).normal(0, 2, SHAPE).astype(np.float32)
    _, found, expected = both(path, x)
    size = max(float(np.ptp(expected)), float(np.abs(expected).max()))
    assert np.abs(found - expected).max() <= TOLERANCE * size


@pytest.mark.parametrize("name", CASES)
def test_between_quantised_tensors(tmp_path: Path, name: str) -> None:
    """What has no kernel on bytes is computed in float32 between them, and rounded alike but for ties.

    Of a linear Resize many results are halves.
    """
    constants = CONSTANTS | {"s": np.array(0.04, np.float32), "z": np.array(-3, np.int8)}
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["r"], "dequantize"),
        *nodes_of(CASES[name], "r"),
    ]
    nodes.append(helper.make_node("QuantizeLinear", [nodes[-1].output[0], "s", "z"], ["y"], "quantize"))
    opset = 23 if name == "RMSNormalization" else 21
    path = written(tmp_path, nodes, TensorProto.INT8, constants, opset)
    x = np.random.default_rng(2).integers(-128, 128, SHAPE).astype(np.int8)
    _, found, expected = both(path, x)
    steps = np.abs(found.astype(np.int64) - expected)
    assert steps.max() <= 1
    share = 0.1 if name.startswith("Resize") else 0.01
    assert np.count_nonzero(steps) <= share * steps.size


def test_every_one_is_tried() -> None:
    """Each operator that is read as others occurs in the cases."""
    kinds = {kind for steps in CASES.values() for kind, _, _ in steps}
    assert {name.rpartition(".")[2] for name in (*COMPOSITES, *FUNCTIONS, *TRUTHS)} <= kinds


def test_linear_resizing_stays_on_bytes(tmp_path: Path) -> None:
    """Where the weights are whole parts of one that fit bytes, a convolution of bytes computes it."""
    constants = CONSTANTS | {"s": np.array(0.04, np.float32), "z": np.array(-3, np.int8)}
    constants["scales"] = np.array([1, 1, 2, 2], np.float32)
    nodes = [
        helper.make_node("DequantizeLinear", ["x", "s", "z"], ["r"]),
        helper.make_node("Resize", ["r", "", "scales"], ["t"], "up", mode="linear"),
        helper.make_node("QuantizeLinear", ["t", "s", "z"], ["y"]),
    ]
    x = np.random.default_rng(2).integers(-128, 128, SHAPE).astype(np.int8)
    network, found, expected = both(written(tmp_path, nodes, TensorProto.INT8, constants, 21), x)
    assert [op.kind for op in network.ops if op.kind is not OpKind.PERMUTE] == [OpKind.MOVE, OpKind.CONV]
    assert np.abs(found.astype(np.int64) - expected).max() <= 1


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (("Pow", ("x", "number2"), {}), "Pow 'Pow_0': its exponent must be 0.5, 1, 1.5, 2, 3 or 4"),
        (("Gather", ("x", "far"), {"axis": 1}), "Gather 'Gather_0': its indices must be positions of an axis of 6"),
        (("Tile", ("x", "none"), {}), "Tile 'Tile_0': must have a constant number of repeats per axis"),
        (("Pad", ("x", "many"), {"mode": "reflect"}), "Pad 'Pad_0': reflected pads must be smaller than the axis"),
        (("GroupNormalization", ("x", "six", "six"), {"num_groups": 4}), "GroupNormalization 'GroupNormalization_0': num_groups must divide"),
        (("Resize", ("x", "", "scales"), {"mode": "cubic", "exclude_outside": 1}), "Resize 'Resize_0': antialias and exclude_outside must be 0"),
        (("Einsum", ("x", "x"), {"equation": "bchw,bchw"}), "Einsum 'Einsum_0': its equation must have two terms"),
        (("MatMul", ("x", "x"), {}), "MatMul 'MatMul_0': its inputs must be matrices that fit"),
        (("Slice", ("x", "planes", "none1", "planes", "none1"), {}), "Slice 'Slice_0': steps must not be 0"),
        (("Where", ("x", "x", "endless"), {}), "Where 'Where_0': what is chosen by a computed mask must be finite"),
        (("Cast", ("x",), {"to": TensorProto.INT32}), "Cast 'Cast_0': must be to float32"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_out_is_named(tmp_path: Path, step: Step, message: str) -> None:
    """Node, operator and what is supported stand in one line."""
    constants = CONSTANTS | {
        "number2": np.array(2.7, np.float32),
        "far": np.array([6], np.int64),
        "endless": np.array(-np.inf, np.float32),
        "none": np.array([1, 1, 0, 1], np.int64),
        "many": np.array([0, 0, 9, 0, 0, 0, 0, 0], np.int64),
        "none1": np.array([0], np.int64),
    }
    path = written(tmp_path, nodes_of((step,), "x"), TensorProto.FLOAT, constants, 21)
    with pytest.raises(InputError) as caught:
        read_onnx(path)
    assert str(caught.value).startswith(message)
    assert "\n" not in str(caught.value)


def test_the_survey_names_the_kernels_of_one_node(tmp_path: Path) -> None:
    """All kernels of the operators that a node is read as are those of the node."""
    path = written(tmp_path, nodes_of(CASES["LayerNormalization"], "x"), TensorProto.FLOAT, CONSTANTS, 21)
    (report,), problems = survey_onnx(path)
    assert problems == ()
    assert set(report.kernels) >= {"float_conv", "float_multiply", "float_add", "float_lookup"}


def test_a_mean_of_many_is_a_window_of_two_sides(tmp_path: Path) -> None:
    """No side of a window is longer than the tables hold: a normalised image is averaged in one go."""
    nodes = [
        helper.make_node("Concat", ["x"] * 8, ["wide"], "concat", axis=3),
        helper.make_node("Reshape", ["wide", "flat"], ["row"], "reshape"),
        helper.make_node("ReduceMean", ["row"], ["t"], "mean", axes=[2], keepdims=1),
    ]
    constants = {"flat": np.array([1, 1, -1], np.int64)}
    path = written(tmp_path, nodes, TensorProto.FLOAT, constants, 13)
    network, found, expected = both(path, np.random.default_rng(1).normal(0, 2, SHAPE).astype(np.float32))
    assert np.abs(found - expected).max() <= TOLERANCE
    assert max(max(op.window.kernel) for op in network.ops) <= 255
