"""Float32 networks end to end: plan, build strictly, run; the reference's bytes, and onnxruntime's numbers."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.check import check_tables
from ooc_solve.codegen.machines import ARM
from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.simulate import durations_of, simulate_tables
from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.target import list_targets, load_target
from ooc_solve.models.vocabulary import Budget, InputError, Network, OpKind, Plan
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.solver.validate import validate

pytestmark = pytest.mark.usefixtures("compiled_once")

SMALL = ("mlperf_tiny/kws_dscnn_float", "mlperf_tiny/ad_autoencoder_float", "mnist/mnist_cntk_opset8_float")
LARGE = (
    "mlperf_tiny/ic_resnet8_float",
    "mlperf_tiny/vww_mobilenetv1_025_96_float",
    "micro_kws/micro_kws_m_float",
    "mobilenet/mobilenetv1_025_128_float",
)
MOST_SHARE = 1e-5
"""Of the range of the outputs: how far sums in another order may lie from onnxruntime's."""

STRICTEST = (
    "-Werror -Wall -Wextra -Wconversion -Wsign-conversion -Wshadow -Wcast-align -Wcast-qual -Wundef "
    "-Wdouble-promotion -Wmissing-prototypes -Wstrict-prototypes -Wfloat-equal "
)
SANITIZE = "-g -fsanitize=address,undefined -fno-sanitize-recover=all"
SANITIZED = ("CC=gcc", "CFLAGS=-O1", f"EXTRA_CFLAGS={STRICTEST}{SANITIZE}")
EMULATED = ("TARGET_CFLAGS=-O2 -Werror",)

needs_compiler = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("gcc") is None, reason="needs make and gcc"
)
needs_emulator = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("make", "cc", ARM.compiler, ARM.emulator)),
    reason=f"needs make, cc, {ARM.compiler} and {ARM.emulator}",
)


@lru_cache(maxsize=2)
def model(path: Path) -> tuple[Network, dict[str, Any]]:
    """A network of the development set with its samples."""
    return read_onnx(path), dict(np.load(path.with_suffix(".npz")))


def in_core_bytes(network: Network) -> int:
    """SRAM in which every layer finds its inputs, its output and its weights, and all that is read later."""
    last = {name: k for k, op in enumerate(network.ops) for name in op.inputs}
    last |= dict.fromkeys(network.outputs, len(network.ops))
    made = dict.fromkeys(network.inputs, -1) | {op.output: k for k, op in enumerate(network.ops)}
    alive = (
        op.weight_bytes
        + sum(t.size_bytes for name, t in network.tensors.items() if made[name] <= k <= last[name])
        for k, op in enumerate(network.ops)
    )
    return max(alive) + RESERVED_BYTES


def planned(network: Network, target: str, sram_bytes: int, scheduler: str) -> tuple[Problem, Plan]:
    """A plan that the validator finds nothing wrong with, and its problem in the order it chose."""
    problem = Problem(network, load_target(target), sram_bytes, IoPlace.STORAGE)
    result = SCHEDULERS[scheduler](problem, Budget(2.0, 1, 1))
    if result.plan is None:  # half is too little: the least that is known to work
        least = least_sram(problem)
        assert least is not None
        problem = replace(problem, sram_bytes=max(sram_bytes, least.sram_bytes))
        result = SCHEDULERS["cp-sat"](problem, Budget(2.0, 1, 1))
    assert result.plan is not None, result.reason
    problem = ordered(problem, result.plan.selection.order)
    assert validate(problem, result.plan) == ()
    assert result.plan.figures.sram_peak_bytes <= problem.sram_bytes
    return problem, result.plan


@pytest.fixture(scope="module")
def objects(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where compiled runtimes are kept for the next project with the same switches."""
    return tmp_path_factory.mktemp("objects")


def run(folder: Path, content: bytes, settings: tuple[str, ...]) -> bytes:
    """Build a project and run one inference."""
    (folder / "in.bin").write_bytes(content)
    files = [f"INPUT={folder / 'in.bin'}", f"OUTPUT={folder / 'out.bin'}"]
    command = ["make", "-s", "-C", str(folder / "c"), "run", *files, *settings]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "out.bin").read_bytes()


def kept(folder: Path, objects: Path) -> Callable[[bytes], bytes]:
    """Function that builds a project, sanitized, around a runtime that was compiled before if there is one, and runs it."""

    def execute(content: bytes) -> bytes:
        makefile = (folder / "c" / "Makefile").read_text()
        switches = "".join(sorted(set(re.findall(r"-DOOC_(?:ONE|FLOATS|MATRICES)\w*", makefile))))
        place, build = objects / f"switches{switches}", folder / "c" / "build"
        if place.exists():
            shutil.copytree(place, build, copy_function=shutil.copy)  # newer than the sources
        made = run(folder, content, SANITIZED)
        if not place.exists():
            place.mkdir()
            for file in build.glob("ooc*.o"):
                shutil.copy(file, place)
        return made

    return execute


def compare(
    path: Path,
    share: float | None,
    scheduler: str,
    folder: Path,
    target: str,
    execute: Callable[[bytes], bytes],
) -> None:
    """In a share of its in-core need (None: all SRAM there is) a network gives the bytes of the reference."""
    network, samples = model(path)
    usable = load_target(target).board.usable_bytes
    sram = usable if share is None else min(usable, int(share * in_core_bytes(network)))
    problem, plan = planned(network, target, sram, scheduler)
    project = write_project(problem, plan, folder / "c", "net")
    assert check_tables(project.tables) == ()
    assert simulate_tables(project.tables, durations_of(plan)).makespan_ns == plan.figures.latency_ns
    source, sink = network.inputs[0], network.outputs[0]
    sample = samples["input"][:1]
    content = execute(reference.pack_input(network, source, sample))
    found = reference.unpack_output(network, sink, content)
    values = reference.run(network, {source: sample})
    assert found.tobytes() == reference.graph_output(network, sink, values).tobytes()
    expected = samples["output_0"]
    assert np.abs(np.ravel(found) - np.ravel(expected[0])).max() <= MOST_SHARE * np.ptp(expected)


@needs_compiler
@pytest.mark.parametrize("share", [None, 0.5])
@pytest.mark.parametrize("name", SMALL)
def test_small_networks(
    shared_models: Path, tmp_path: Path, objects: Path, name: str, share: float | None
) -> None:
    """With all SRAM and with half of the in-core need, under the sanitizers of gcc."""
    path = shared_models / f"{name}.onnx"
    compare(path, share, "demand-layering", tmp_path, "f746-sd", kept(tmp_path, objects))


def test_the_list_of_float_networks_is_complete(shared_models: Path) -> None:
    """Every float32 file of the development set is listed here."""
    files = {
        str(path.relative_to(shared_models).with_suffix("")) for path in shared_models.rglob("*_float.onnx")
    }
    assert files == {*SMALL, *LARGE}


@needs_compiler
def test_residual_network_by_the_solver(shared_models: Path, tmp_path: Path, objects: Path) -> None:
    """Planned by CP-SAT, fused stages included where they pay, in half of the in-core need."""
    path = shared_models / "mlperf_tiny/ic_resnet8_float.onnx"
    compare(path, 0.5, "cp-sat", tmp_path, "f746-sd", kept(tmp_path, objects))


@pytest.mark.slow
@needs_compiler
@pytest.mark.parametrize("share", [None, 0.5, 0.25])
@pytest.mark.parametrize("scheduler", ["serial", "demand-layering", "cp-sat"])
@pytest.mark.parametrize("name", [*SMALL, *LARGE])
def test_all_networks(
    shared_models: Path, tmp_path: Path, objects: Path, name: str, scheduler: str, share: float | None
) -> None:
    """Every float32 network, three schedulers, three sizes, sanitized."""
    path = shared_models / f"{name}.onnx"
    compare(path, share, scheduler, tmp_path, "f746-sd", kept(tmp_path, objects))


@needs_emulator
@pytest.mark.parametrize("target", ["an386-qemu", "an500-qemu"])
def test_networks_on_emulated_cores(shared_models: Path, tmp_path: Path, target: str) -> None:
    """A Cortex-M4F and a Cortex-M7 with their float units give the bytes of the host."""
    path = shared_models / "mlperf_tiny/kws_dscnn_float.onnx"
    compare(path, 0.5, "demand-layering", tmp_path, target, partial(run, tmp_path, settings=EMULATED))


@needs_emulator
def test_networks_without_a_float_unit(shared_models: Path, tmp_path: Path) -> None:
    """Soft float gives the same bytes on a Cortex-M3, and the plan says that it takes longer."""
    path = shared_models / "mnist/mnist_cntk_opset8_float.onnx"
    compare(path, 0.75, "demand-layering", tmp_path, "lm3s-qemu", partial(run, tmp_path, settings=EMULATED))
    network, _ = model(path)
    slow, fast = (load_target(name).runtime for name in ("lm3s-qemu", "an386-qemu"))
    per_mac = [
        next(cost for cost in runtime.kernels if cost.kind == "float_conv").cycles_per_mac
        for runtime in (slow, fast)
    ]
    assert per_mac[0] > 3 * per_mac[1]
    assert {op.kind for op in network.ops} >= {OpKind.CONV}


def test_partial_sums_are_float32(shared_models: Path, tmp_path: Path) -> None:
    """Split along input channels, a fully connected layer adds up to the same bits."""
    network, _ = model(shared_models / "mlperf_tiny/ad_autoencoder_float.onnx")
    problem, plan = planned(network, "f746-sd", 8192, "demand-layering")
    splits = [
        tiling.split < network.tensors[op.inputs[0]].channels
        for op, tiling in zip(problem.network.ops, plan.selection.tilings, strict=True)
    ]
    assert any(splits)


def test_board_without_figures_is_refused(shared_models: Path) -> None:
    """Figures of int8 kernels say nothing about float32 ones: one sentence says what is missing."""
    network, _ = model(shared_models / "mnist/mnist_cntk_opset8_float.onnx")
    problem = Problem(network, load_target("microbit-qemu"), 8192, IoPlace.STORAGE)
    with pytest.raises(
        InputError, match=r"^Board 'microbit-qemu': must have figures for kernels of float32"
    ) as caught:
        SCHEDULERS["serial"](problem, Budget())
    assert "\n" not in str(caught.value)


def test_boards_with_a_float_unit_have_figures() -> None:
    """Every built-in board whose core has one can plan a float32 network; of the others those with soft float."""
    without = {
        target.name
        for target in list_targets()
        if not any(cost.kind.startswith("float_") for cost in target.runtime.kernels)
    }
    assert without == {"microbit-qemu", "riscv-virt-qemu"}


@needs_compiler
def test_kernels_are_compiled_only_if_asked_for(shared_models: Path, tmp_path: Path) -> None:
    """Tables that compute in float32 refuse to compile without the switch, and the Makefile sets it."""
    network, _ = model(shared_models / "mnist/mnist_cntk_opset8_float.onnx")
    problem, plan = planned(network, "f746-sd", 64 << 10, "serial")
    write_project(problem, plan, tmp_path / "c", "net")
    command = ["gcc", "-std=c99", "-I.", "-c", "net.c", "-o", str(tmp_path / "net.o")]
    done = subprocess.run(command, cwd=tmp_path / "c", capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "compile it and the runtime with -DOOC_FLOATS" in done.stderr
    assert "-DOOC_FLOATS" in (tmp_path / "c" / "Makefile").read_text()
    subprocess.run([*command, "-DOOC_FLOATS"], cwd=tmp_path / "c", check=True)


def test_quantised_projects_stay_without_them(tmp_path: Path) -> None:
    """Nothing of float32 is compiled for an int8 network."""
    problem, plan = planned(zoo_network("ds_cnn"), "f746-sd", 64 << 10, "serial")
    write_project(problem, plan, tmp_path / "c", "net")
    assert "OOC_FLOATS" not in (tmp_path / "c" / "Makefile").read_text()
    assert "OOC_FLOATS" not in (tmp_path / "c" / "net.c").read_text()
