"""Every quantised network of the development set, end to end on the host, with much SRAM and with little.

QOperator files give onnxruntime's bytes. For QuantizeLinear/DequantizeLinear files onnxruntime's float kernels
decide ties otherwise, and one flipped step grows through the depth: these agree by class, or, where there are
none, on average within a part of the output's range.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from ooc_solve.codegen.project import write_project
from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Network
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.ordering import peak_bytes
from ooc_solve.solver.plans import checked
from ooc_solve.solver.solve import SCHEDULERS

pytestmark = pytest.mark.usefixtures("compiled_once")

Array = NDArray[Any]

TINY = {
    "ic_resnet8": ("int8", "ort_qdq_s8", "ort_qdq_s8_sym", "ort_qop_s8_pertensor", "ort_qop_u8s8"),
    **dict.fromkeys(
        ("vww_mobilenetv1_025_96", "kws_dscnn", "ad_autoencoder"), ("int8", "ort_qdq_s8", "ort_qop_u8s8")
    ),
}
PUBLISHED = (
    *(f"mlperf_tiny/{name}_{form}" for name, forms in TINY.items() for form in forms),
    *("mcunet/mcunet_vww_int8", "micro_kws/micro_kws_m_qdq", "micro_kws/micro_kws_m_qoperator"),
    "mobilenet/mobilenetv1_025_128_ort_qdq_s8",
)
FEW = ("mlperf_tiny/kws_dscnn_ort_qop_u8s8", "mlperf_tiny/ic_resnet8_int8", "micro_kws/micro_kws_m_qoperator")
MOST_OTHER_CLASSES = 1  # of ten samples; onnxruntime's own two settings differ as much
MEAN_SHARE_OF_RANGE = 0.02

needs_compiler = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("gcc") is None, reason="needs make and gcc"
)


def loaded(path: Path) -> ModuleType:
    """A module of the tests by its file."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def in_core_bytes(network: Network) -> int:
    """What the network needs with all weights and activations in SRAM."""
    order = tuple(range(len(network.ops)))
    return peak_bytes(network, IoPlace.STORAGE, order) + sum(op.weight_bytes for op in network.ops)


def computed(problem: Problem, samples: Array, folder: Path) -> list[Array]:
    """Outputs of the emitted program, each equal to the reference in every byte."""
    result = SCHEDULERS["demand-layering"](problem, Budget(5.0, 1, 1))
    assert result.plan is not None, result.reason
    problem = ordered(problem, result.plan.selection.order)
    checked(problem, result.plan)
    assert result.plan.figures.sram_peak_bytes <= problem.sram_bytes
    write_project(problem, result.plan, folder / "c", "net")
    subprocess.run(["make", "-s", "-C", str(folder / "c"), "CFLAGS=-O1"], check=True)
    return [_inferred(problem.network, sample[np.newaxis], folder) for sample in samples]


def _inferred(network: Network, sample: Array, folder: Path) -> Array:
    source, sink = network.inputs[0], network.outputs[0]
    (folder / "in.bin").write_bytes(reference.pack_input(network, source, sample))
    files = [folder / "c" / "net.bin", folder / "in.bin", folder / "out.bin"]
    subprocess.run([str(folder / "c" / "build" / "net"), *map(str, files)], check=True)
    found = reference.unpack_output(network, sink, (folder / "out.bin").read_bytes())
    expected = reference.graph_output(network, sink, reference.run(network, {source: sample}))
    assert np.array_equal(np.ravel(found), np.ravel(expected))
    return np.ravel(found)


def judge(name: str, found: list[Array], samples: dict[str, Array]) -> None:
    """Compare with what onnxruntime gave, as closely as the form of the file allows."""
    ours = np.stack(found)
    theirs = samples["output_noopt_0"][: len(found)].reshape(ours.shape)
    if "qop" in name:
        assert ours.tobytes() == theirs.tobytes()
    elif "autoencoder" in name:
        difference = np.abs(ours.astype(float) - theirs)
        assert difference.mean() < MEAN_SHARE_OF_RANGE * np.ptp(theirs.astype(float))
    else:
        assert (ours.argmax(1) != theirs.argmax(1)).sum() <= MOST_OTHER_CLASSES


def check_network(folder: Path, models: Path, name: str, share: str, count: int) -> None:
    """One file at one size: read, plan, emit, build, run."""
    path = models / f"{name}.onnx"
    network, samples = read_onnx(path), dict(np.load(path.with_suffix(".npz")))
    board = load_target("f746-sd")
    sram = board.board.usable_bytes
    if share == "half":
        sram = min(sram, in_core_bytes(network) // 2)
    problem = Problem(network, board, sram, IoPlace.STORAGE)
    judge(name, computed(problem, samples["input"][:count], folder), samples)


@needs_compiler
@pytest.mark.parametrize("name", FEW)
def test_a_few_networks_run_in_half_their_need(shared_models: Path, tmp_path: Path, name: str) -> None:
    """Half of what weights and activations take together is enough, and changes no byte."""
    check_network(tmp_path, shared_models, name, "half", 3)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("share", ["full", "half"])
@pytest.mark.parametrize("name", PUBLISHED)
def test_every_quantised_network_runs(shared_models: Path, tmp_path: Path, name: str, share: str) -> None:
    """All quantised files, all their samples, with all SRAM of the board and with half of their need."""
    check_network(tmp_path, shared_models, name, share, 100)


def test_the_list_of_networks_is_complete(shared_models: Path) -> None:
    """Every file of the development set is quantised and listed here, or a float one."""
    files = {str(path.relative_to(shared_models).with_suffix("")) for path in shared_models.rglob("*.onnx")}
    assert {name for name in files if not name.endswith("_float")} == set(PUBLISHED)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("kib", [256, 128])
def test_a_large_network_gives_onnxruntimes_bytes(tmp_path: Path, kib: int) -> None:
    """MobileNetV2 at full size, in QOperator form and with random weights, streamed through little SRAM."""
    model = loaded(Path(__file__).parent / "models" / "onnx_export.py").export(
        zoo_network("mobilenet_v2_224")
    )
    path = tmp_path / "mobilenet.onnx"
    path.write_bytes(model.SerializeToString())
    network = read_onnx(path)
    source = network.tensors[network.inputs[0]]
    sample = np.random.default_rng(1).integers(-128, 128, source.graph_shape).astype(np.int8)
    problem = Problem(network, load_target("f746-sd"), kib << 10, IoPlace.STORAGE)
    (found,) = computed(problem, sample, tmp_path)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    (expected,) = session.run(list(network.outputs), {network.inputs[0]: sample})
    assert np.ptp(expected.astype(np.int64)) > 0
    assert found.tobytes() == np.ravel(expected).tobytes()
