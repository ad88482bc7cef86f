"""Real networks end to end: plan in little SRAM, build strictly, run, compare byte for byte."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.check import check_tables
from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.simulate import durations_of, random_durations, simulate_tables
from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Network, Plan
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.ruled_plans import RULES
from ooc_solve.solver.solve import SCHEDULERS, cp_sat
from ooc_solve.solver.validate import validate

pytestmark = pytest.mark.usefixtures("compiled_once")

MLPERF_TINY = {
    "ic": ("int8", "ort_qdq_s8", "ort_qdq_s8_sym", "ort_qop_s8_pertensor", "ort_qop_u8s8"),
    "vww": ("int8", "ort_qdq_s8", "ort_qop_u8s8"),
    "kws": ("int8", "ort_qdq_s8", "ort_qop_u8s8"),
    "ad": ("int8", "ort_qdq_s8", "ort_qop_u8s8"),
}
STEM = {"ic": "ic_resnet8", "vww": "vww_mobilenetv1_025_96", "kws": "kws_dscnn", "ad": "ad_autoencoder"}
MODELS = tuple(f"{STEM[task]}_{form}" for task, forms in MLPERF_TINY.items() for form in forms)
QOPERATOR = tuple(name for name in MODELS if name.endswith("qop_u8s8"))
STRICTEST = (
    "-Werror -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wcast-align -Wcast-qual -Wundef "
    "-Wdouble-promotion -Wmissing-prototypes -Wstrict-prototypes -Wfloat-equal "
)
SANITIZE = "-g -fsanitize=address,undefined -fno-sanitize-recover=all"
BUILDS = (("gcc", SANITIZE), ("clang", SANITIZE), ("gcc", "-m32"), ("clang", "-m32"))

needs_compiler = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("gcc") is None, reason="needs make and gcc"
)


@lru_cache(maxsize=4)
def model(path: Path) -> tuple[Network, dict[str, Any]]:
    """A network of the development set with its samples."""
    return read_onnx(path), dict(np.load(path.with_suffix(".npz")))


def planned(network: Network, target: str, sram: int | None, seconds: float) -> tuple[Problem, Plan]:
    """A plan of the CP-SAT scheduler, judged by the validator, the table checker and the simulator.

    It begins with the plan of a rule, which no clock ends: so there is a plan, however little a second is.
    """
    board = load_target(target)
    problem = Problem(network, board, sram or board.board.usable_bytes, IoPlace.STORAGE)
    known = SCHEDULERS["demand-layering"](problem, Budget()).plan
    result = cp_sat(problem, Budget(time_limit_s=seconds), known=[known])
    assert result.plan is not None, result.reason
    assert validate(problem, result.plan) == ()
    assert result.plan.figures.sram_peak_bytes <= problem.sram_bytes
    assert result.objective is not None
    assert result.bound <= result.objective
    return problem, result.plan


def outputs(folder: Path, compiler: str, flags: str, content: bytes, *extra: str) -> bytes:
    """Build a project and run one inference."""
    (folder / "in.bin").write_bytes(content)
    files = [f"INPUT={folder / 'in.bin'}", f"OUTPUT={folder / 'out.bin'}"]
    settings = [f"CC={compiler}", f"EXTRA_CFLAGS={STRICTEST}{flags}", *extra]
    shutil.rmtree(folder / "c" / "build", ignore_errors=True)
    command = ["make", "-s", "-C", str(folder / "c"), "run", *files, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "out.bin").read_bytes()


def compare(
    path: Path, name: str, target: str, sram: int | None, seconds: float, builds: tuple[tuple[str, str], ...],
    folder: Path,
) -> None:  # fmt: skip
    """Plan, emit, build, run two samples; equal to the reference, and to onnxruntime where exact."""
    network, samples = model(path)
    problem, plan = planned(network, target, sram, seconds)
    project = write_project(problem, plan, folder / "c", name)
    assert check_tables(project.tables) == ()
    simulated = simulate_tables(project.tables, durations_of(plan))
    assert simulated.makespan_ns == plan.figures.latency_ns
    source, sink = network.inputs[0], network.outputs[0]
    for k in range(2):
        sample = samples["input"][k : k + 1]
        want = reference.run(network, {source: sample})[sink]
        for compiler, flags in builds:
            content = outputs(folder, compiler, flags, reference.pack_input(network, source, sample))
            got = reference.unpack_output(network, sink, content)
            assert np.array_equal(np.ravel(got), np.ravel(want)), (compiler, flags)
        if "qop" in name:
            assert np.ravel(got).tobytes() == np.ravel(samples["output_0"][k]).tobytes()
        elif not name.startswith("ad"):
            assert np.argmax(got) == np.argmax(samples["output_noopt_0"][k])


@needs_compiler
@pytest.mark.parametrize("name", QOPERATOR)
@pytest.mark.parametrize(("target", "kib"), [("f746-sd", 16), ("l4r5-sdspi", 10)])
def test_qoperator_networks(shared_models: Path, tmp_path: Path, name: str, target: str, kib: int) -> None:
    """In a fraction of its in-core need every QOperator network gives onnxruntime's bytes."""
    build = BUILDS[:1] if kib == 16 else BUILDS[1:3]
    if shutil.which("clang") is None:
        build = BUILDS[:1]
    compare(shared_models / f"mlperf_tiny/{name}.onnx", name, target, kib * 1024, 1, build, tmp_path)


@needs_compiler
@pytest.mark.parametrize("name", ["mcunet/mcunet_vww_int8", "micro_kws/micro_kws_m_qdq"])
def test_other_networks(shared_models: Path, tmp_path: Path, name: str) -> None:
    """Networks of other families, with their own operators, run in 24 KiB."""
    compare(shared_models / f"{name}.onnx", name.split("/")[1], "f746-sd", 24 * 1024, 1, BUILDS[:1], tmp_path)


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("target", ["f746-sd", "l4r5-sdspi"])
@pytest.mark.parametrize("kib", [None, 32, 24, 16, 8])
def test_matrix(shared_models: Path, tmp_path: Path, name: str, target: str, kib: int | None) -> None:
    """Every quantised form of the four tasks, on two targets, at five sizes, with four builds.

    Where the least SRAM known to work is more than the size, that is taken.
    """
    size = None if kib is None else kib * 1024
    if size == 8192:
        network, _ = model(shared_models / f"mlperf_tiny/{name}.onnx")
        least = least_sram(Problem(network, load_target(target), size, IoPlace.STORAGE))
        assert least is not None
        size = max(size, least.sram_bytes)
    compare(shared_models / f"mlperf_tiny/{name}.onnx", name, target, size, 3, BUILDS, tmp_path)


@needs_compiler
def test_any_timing_gives_the_same_bytes(tmp_path: Path) -> None:
    """However long transfers take, on tables or on the host, order alone keeps the result right."""
    network = zoo_network("resnet8")
    problem, plan = planned(network, "f746-sd", 24 * 1024, 1)
    project = write_project(problem, plan, tmp_path / "c", "timing")
    orders = set()
    for seed in range(1000):
        result = simulate_tables(project.tables, random_durations(project.tables, seed, 1_000_000))
        orders.add(result.order)
    assert len(orders) > 500, "the random durations must really mix the streams"
    source = network.inputs[0]
    sample = np.random.default_rng(0).integers(-128, 128, network.tensors[source].graph_shape, np.int8)
    content = outputs(
        tmp_path, "gcc", "", reference.pack_input(network, source, sample), "ARGUMENTS=--runs 100 --seed 1"
    )
    assert content == reference.run(network, {source: sample})[network.outputs[0]].tobytes()


def sweep(name: str, target: str, sizes: list[int], seconds: float) -> None:
    """More SRAM never gives a longer makespan, and CP-SAT is never worse than a heuristic."""
    base = Problem(zoo_network(name), load_target(target), sizes[0], IoPlace.STORAGE)
    previous = None
    for size in sizes:
        problem = replace(base, sram_bytes=size)
        result = cp_sat(problem, Budget(time_limit_s=seconds))
        for rule in RULES:
            other = rule(problem, Budget())
            if other.objective is not None:
                assert result.objective is not None
                assert result.objective <= other.objective, (size, other.scheduler)
        if previous is not None:
            assert result.objective is not None
            assert result.objective <= previous, size
        previous = result.objective
    assert previous is not None


@pytest.fixture
def endless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that stands still: no deadline cuts the search, only its effort ends it."""
    still = SimpleNamespace(monotonic=lambda: 1e12, process_time=lambda: 0.0, thread_time=lambda: 0.0)
    for module in ("solve", "descent", "ruled_plans", "space_bounds", "deadline"):
        monkeypatch.setattr(f"ooc_solve.solver.{module}.time", still)


@pytest.mark.usefixtures("endless")
def test_more_sram_is_never_slower() -> None:
    """A sweep over sizes between rungs and on them never gets worse."""
    sweep("ds_cnn", "f746-sd", [19000, 20480, 23456, 131072], 0.2)


@pytest.mark.slow
@pytest.mark.usefixtures("endless")
@pytest.mark.parametrize("name", ["resnet8", "ds_cnn", "mobilenet_v1_025_96", "autoencoder"])
@pytest.mark.parametrize("target", ["f746-sd", "l4r5-sdspi"])
def test_more_sram_is_never_slower_everywhere(name: str, target: str) -> None:
    """The same for all small networks on two targets, over seventeen sizes."""
    sizes = [k * 1024 for k in (8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 64, 96, 128, 192, 256, 280)]
    sweep(name, target, sizes, 5)
