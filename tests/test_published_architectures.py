"""Layers of published architectures, float32, as three exporters write them: read, planned, emitted and run."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Network
from tests.emitted_networks import emitted_outputs
from tests.published_architectures import NETWORKS

MOST_SHARE = 1e-5
"""Of the range of an output: how far sums in another order may lie from onnxruntime's."""

SRAM_BYTES = 48_000
FEW = ("crnn", "mobilevit")

Array = NDArray[Any]

needs_compiler = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("gcc") is None, reason="needs make and gcc"
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled runtimes are kept for the next network."""
    return tmp_path_factory.mktemp("objects")


def read(name: str, folder: Path) -> tuple[Network, dict[str, Array], list[Array]]:
    """A network, an input, and what onnxruntime makes of it."""
    path = folder / f"{name}.onnx"
    path.write_bytes(NETWORKS[name]().SerializeToString())
    network = read_onnx(path)
    shape = network.tensors[network.inputs[0]].graph_shape
    feeds = {network.inputs[0]: np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return network, feeds, session.run(list(network.outputs), feeds)


@pytest.mark.parametrize("name", NETWORKS)
def test_numbers_are_those_of_onnxruntime(tmp_path: Path, name: str) -> None:
    """Every output has onnxruntime's shape, and its numbers but for the order of sums."""
    network, feeds, expected = read(name, tmp_path)
    values = reference.run(network, feeds)
    for output, theirs in zip(network.outputs, expected, strict=True):
        ours = reference.graph_output(network, output, values)
        assert ours.shape == theirs.shape
        size = max(float(np.ptp(theirs)), float(np.abs(theirs).max()))
        assert size > 1e-3
        assert np.abs(ours - theirs).max() <= MOST_SHARE * size


def emitted(name: str, folder: Path, objects: Path) -> None:
    """Plan, emit and run a network, and compare it with the reference in every bit."""
    network, feeds, _ = read(name, folder)
    problem = Problem(network, load_target("f746-sd"), SRAM_BYTES, IoPlace.STORAGE)
    found, values = (
        emitted_outputs(problem, "demand-layering", feeds, folder, objects),
        reference.run(network, feeds),
    )
    for output in network.outputs:
        expected = reference.graph_output(network, output, values)
        assert found[output].tobytes() == expected.tobytes()


@needs_compiler
@pytest.mark.parametrize("name", FEW)
def test_a_few_are_emitted(tmp_path: Path, objects: Path, name: str) -> None:
    """Columns as a sequence, and attention within patches, give the bits of the reference."""
    emitted(name, tmp_path, objects)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", sorted(set(NETWORKS) - set(FEW)))
def test_all_are_emitted(tmp_path: Path, objects: Path, name: str) -> None:
    """All others give the bits of the reference too."""
    emitted(name, tmp_path, objects)


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_quantised_ones_give_onnxruntimes_numbers(tmp_path: Path, name: str) -> None:
    """Quantised with random samples, each runs; in QOperator form it gives what onnxruntime's kernels give."""
    from ooc_solve.models.onnx_quantization import quantize_onnx

    path = tmp_path / f"{name}.onnx"
    path.write_bytes(NETWORKS[name]().SerializeToString())
    quantized = quantize_onnx(path, "random")
    network = quantized.network
    shape = network.tensors[network.inputs[0]].graph_shape
    feeds = {network.inputs[0]: np.random.default_rng(5).normal(0, 1, shape).astype(np.float32)}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(quantized.content, options, providers=["CPUExecutionProvider"])
    values = reference.run(network, feeds)
    for output, theirs in zip(network.outputs, session.run(list(network.outputs), feeds), strict=True):
        ours = reference.graph_output(network, output, values)
        assert np.abs(ours.reshape(theirs.shape) - theirs).mean() <= MOST_MEAN * np.ptp(theirs)


MOST_MEAN = 0.02
"""Of the range: QuantizeLinear/DequantizeLinear files are computed in float by onnxruntime, which rounds some to other steps."""
