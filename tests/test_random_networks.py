"""Random networks, planned, emitted, compiled and run, give onnxruntime's bytes.

Zero differences are expected of bytes, not few: every kernel rounds as onnxruntime's does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Network, Target
from ooc_solve.models.zoo import zoo_network
from tests.emitted_networks import emitted_outputs, expected_outputs, fresh_folder, random_feeds
from tests.random_networks import RandomFloatModel, RandomModel

Array = NDArray[Any]


def fresh_case(folder: Path, model: onnx.ModelProto) -> tuple[Path, Network]:
    """A folder with the model's file, and what is read from it."""
    case = fresh_folder(folder)
    (case / "model.onnx").write_bytes(model.SerializeToString())
    return case, read_onnx(case / "model.onnx")


def memory_of(seed: int) -> tuple[Target, int]:
    """A target and bytes of SRAM, in turn."""
    target = load_target(TARGETS[seed % 2])
    return target, SIZES[seed // 2 % 3] or target.board.usable_bytes


TARGETS = ("f746-sd", "f746-qspi-sdram")

SIZES = (None, 16384, 9216)


def check_one(seed: int, operators: int, scheduler: str, folder: Path) -> None:
    """One network: read, plan, emit, run; not a byte may differ."""
    model = RandomModel(seed).model(operators)
    case, network = fresh_case(folder, model)
    feeds = random_feeds(network, seed)
    target, sram = memory_of(seed)
    problem = Problem(network, target, sram, IoPlace.STORAGE)
    found = emitted_outputs(problem, scheduler, feeds, case, folder / "objects")
    expected = expected_outputs(model, network.outputs, feeds)
    different = {name: int((found[name] != expected[name]).sum()) for name in network.outputs}
    kinds = [op.kind.value for op in network.ops]
    assert not any(different.values()), f"seed {seed}, {operators} operators: {different} of {kinds}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A place for projects and for the runtime they share."""
    return tmp_path_factory.mktemp("random")


MOST_SHARE = 1e-5
"""Of the range of an output: how far float32 results may lie from onnxruntime's, which adds in other orders."""


def check_floats(seed: int, operators: int, scheduler: str, folder: Path) -> None:
    """One float32 network: the bytes of the reference, and next to onnxruntime's numbers."""
    model = RandomFloatModel(seed).model(operators)
    case, network = fresh_case(folder, model)
    rng = np.random.default_rng([seed, 1])
    feeds = {
        name: rng.normal(0, 1, network.tensors[name].graph_shape).astype(np.float32)
        for name in network.inputs
    }
    target, sram = memory_of(seed)
    problem = Problem(network, target, 3 * sram if sram < 20_000 else sram, IoPlace.STORAGE)
    found = emitted_outputs(problem, scheduler, feeds, case, folder / "objects")
    values, expected = reference.run(network, feeds), expected_outputs(model, network.outputs, feeds)
    kinds = [op.kind.value for op in network.ops]
    for name in network.outputs:
        case_name = f"seed {seed}, {operators} operators, '{name}' of {kinds}"
        assert found[name].tobytes() == reference.graph_output(network, name, values).tobytes(), case_name
        size = max(float(np.ptp(expected[name])), float(np.abs(expected[name]).max()))
        assert np.abs(found[name] - expected[name]).max() <= MOST_SHARE * size, case_name


SEEDS = {"seed": st.integers(0, 2**31), "operators": st.integers(1, 12)}

LOOSE = {
    "deadline": None,
    "suppress_health_check": [HealthCheck.too_slow],
    "phases": [Phase.explicit, Phase.reuse, Phase.generate],  # every step of shrinking compiles a project
}


@settings(max_examples=30, derandomize=True, **LOOSE)  # type: ignore[arg-type]
@given(**SEEDS)
def test_random_networks_give_the_bytes_of_onnxruntime(folder: Path, seed: int, operators: int) -> None:
    """Through plan, C and run, in much SRAM and in little, no byte differs."""
    check_one(seed, operators, "demand-layering", folder)


@settings(max_examples=12, derandomize=True, **LOOSE)  # type: ignore[arg-type]
@given(**SEEDS)
def test_random_float_networks(folder: Path, seed: int, operators: int) -> None:
    """In float32 plan, C and run give the bits of the reference, and onnxruntime's numbers but for rounding."""
    check_floats(seed, operators, "demand-layering", folder)


@pytest.mark.slow
@pytest.mark.parametrize("scheduler", ["demand-layering", "cp-sat"])
@settings(max_examples=100, **LOOSE)  # type: ignore[arg-type]
@given(**SEEDS)
def test_many_random_float_networks(folder: Path, scheduler: str, seed: int, operators: int) -> None:
    """Two hundred of them."""
    check_floats(seed, operators, scheduler, folder)


@pytest.mark.slow
@pytest.mark.parametrize(
    "scheduler", ["demand-layering", "serial", "double-buffering", "swap-list", "cp-sat"]
)
@settings(max_examples=100, **LOOSE)  # type: ignore[arg-type]
@given(**SEEDS)
def test_many_random_networks(folder: Path, scheduler: str, seed: int, operators: int) -> None:
    """Five hundred of them, a hundred per scheduler."""
    check_one(seed, operators, scheduler, folder)


@pytest.mark.parametrize(("seed", "operators"), [(512, 1), (11, 11)])
def test_one_task_after_the_other(folder: Path, seed: int, operators: int) -> None:
    """No input overwrites another that is still read, and records are checked before their bytes are given away."""
    check_one(seed, operators, "serial", folder)


@settings(max_examples=6, derandomize=True, **LOOSE)  # type: ignore[arg-type]
@given(
    seed=st.integers(0, 2**31),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    groups=st.sampled_from([1, 1, 2]),
    target=st.sampled_from(TARGETS),
)
def test_transposed_convolutions_in_tiles(
    folder: Path, seed: int, kernel: int, stride: int, groups: int, target: str
) -> None:
    """Cut into tiles and sums over some channels, a transposed convolution gives the bytes of the reference.

    There is no integer form of it whose rounding onnxruntime would tell.
    """
    rng = np.random.default_rng(seed)
    values: dict[str, Array] = {
        "s": np.array(0.05, np.float32),
        "z": np.array(-7, np.int8),
        "w": rng.integers(-127, 128, (24, 32 // groups, kernel, kernel)).astype(np.int8),
        "ws": rng.uniform(0.001, 0.002, 32 // groups).astype(np.float32),
        "wz": np.zeros(32 // groups, np.int8),
    }
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"], perm=(0, 3, 1, 2)),
        helper.make_node("DequantizeLinear", ["t", "s", "z"], ["r"]),
        helper.make_node("DequantizeLinear", ["w", "ws", "wz"], ["wr"], axis=1),
        helper.make_node("ConvTranspose", ["r", "wr"], ["c"], strides=(stride, stride), group=groups),
        helper.make_node("QuantizeLinear", ["c", "s", "z"], ["q"]),
        helper.make_node("Transpose", ["q"], ["y"], perm=(0, 2, 3, 1)),
    ]
    source = helper.make_tensor_value_info("x", TensorProto.INT8, (1, 15, 11, 24))
    result = helper.make_tensor_value_info("y", TensorProto.INT8, None)
    constants = [numpy_helper.from_array(value, name) for name, value in values.items()]
    graph = helper.make_graph(nodes, "transposed", [source], [result], constants)
    case, network = fresh_case(folder, helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)]))
    feeds = random_feeds(network, seed)
    problem = Problem(network, load_target(target), 24576, IoPlace.STORAGE)
    found = emitted_outputs(problem, "demand-layering", feeds, case, folder / "objects")
    values_of = reference.run(network, feeds)
    for name in network.outputs:
        assert np.array_equal(found[name], reference.graph_output(network, name, values_of))


@pytest.mark.slow
def test_squeezenet_is_emitted(folder: Path) -> None:
    """The built-in network with concatenations gives the bytes of the reference in 256 KiB."""
    network = zoo_network("squeezenet_224")
    feeds = random_feeds(network, 1)
    problem = Problem(network, load_target("f746-sd"), 256 << 10, IoPlace.STORAGE)
    case = fresh_folder(folder)
    found = emitted_outputs(problem, "demand-layering", feeds, case, folder / "objects")
    values = reference.run(network, feeds)
    for name in network.outputs:
        assert np.array_equal(found[name], reference.graph_output(network, name, values))
