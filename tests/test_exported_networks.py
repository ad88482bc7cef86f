"""Networks as exporters write them, float32: from the file to the emitted program, in a part of the SRAM they need."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import OpKind
from tests.emitted_networks import emitted_outputs
from tests.exported_networks import NETWORKS, keyword_transformer, styler

MOST_SHARE = 1e-5
"""Of the range of an output: how far sums in another order may lie from onnxruntime's."""

SRAM = {"keyword_transformer": 12_000, "segmenter": 40_000, "styler": 40_000, "classifier": 24_000}

needs_compiler = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("gcc") is None, reason="needs make and gcc"
)


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled runtimes are kept for the next network."""
    return tmp_path_factory.mktemp("objects")


@needs_compiler
@pytest.mark.parametrize("name", SRAM)
def test_an_exported_network_runs(tmp_path: Path, objects: Path, name: str) -> None:
    """Its program gives the bytes of the reference, next to onnxruntime's numbers."""
    path = tmp_path / f"{name}.onnx"
    path.write_bytes(NETWORKS[name]().SerializeToString())
    network = read_onnx(path)
    source, sink = network.inputs[0], network.outputs[0]
    shape = network.tensors[source].graph_shape
    feeds = {source: np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)}
    problem = Problem(network, load_target("f746-sd"), SRAM[name], IoPlace.STORAGE)
    found = emitted_outputs(problem, "demand-layering", feeds, tmp_path, objects)[sink]
    expected = reference.graph_output(network, sink, reference.run(network, feeds))
    assert found.tobytes() == expected.tobytes()
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (theirs,) = session.run([sink], feeds)
    size = max(float(np.ptp(theirs)), float(np.abs(theirs).max()))
    assert np.abs(expected.reshape(theirs.shape) - theirs).max() <= MOST_SHARE * size


def test_images_are_taken_and_given_plane_by_plane(tmp_path: Path) -> None:
    """Large images need no PERMUTE, which would hold them in SRAM twice."""
    path = tmp_path / "styler.onnx"
    path.write_bytes(styler().SerializeToString())
    assert OpKind.PERMUTE not in {op.kind for op in read_onnx(path).ops}


def test_attention_is_not_spread_out(tmp_path: Path) -> None:
    """No tensor of a transformer is larger than its activations: products are summed by one kernel."""
    path = tmp_path / "transformer.onnx"
    path.write_bytes(keyword_transformer().SerializeToString())
    network = read_onnx(path)
    assert [op.kind for op in network.ops].count(OpKind.MATMUL) == 2
    assert max(tensor.elements for tensor in network.tensors.values()) == 13 * 48
