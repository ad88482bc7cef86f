"""Emulated machines: emitted projects compute the reference's bytes there, within the plan's memory."""

from __future__ import annotations

import ctypes
import os
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.machines import (
    ARM,
    COMMON_SOURCES,
    MACHINES,
    PORT_STACK_BYTES,
    Memory,
    machine_of,
    memory_script,
)
from ooc_solve.codegen.project import port_files, runtime_files, write_project
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.problem import STACK_BYTES, STATE_BYTES, IoPlace, Problem
from ooc_solve.models.reference import pack_input, run, unpack_output
from ooc_solve.models.target import list_targets, load_target
from ooc_solve.models.vocabulary import Budget, InputError, Network, Plan
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.solve import SCHEDULERS

MISSING = [tool for tool in ("make", "cc", ARM.compiler, ARM.emulator) if shutil.which(tool) is None]
needs_emulator = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

STRICT = "TARGET_CFLAGS=-O2 -Werror"
STRICTEST = (
    *("-std=c99", "-ffp-contract=off", "-pedantic", "-Wall", "-Wextra", "-Wshadow", "-Wconversion"),
    *("-Wstrict-prototypes", "-Wmissing-prototypes", "-Werror"),
)


def need(target: str) -> None:
    """Skip where the tools of a target's machine are missing."""
    machine = machine_of(load_target(target).board)
    assert machine is not None
    for tool in ("make", "cc", machine.tools.compiler, machine.tools.emulator):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")


SMALL_SRAM = {"vldiscovery-qemu": 7_168, "microbit-qemu": 8_192}
FILE_MACHINES = ("an386-qemu", "an500-qemu", "an547-qemu", "microbit-qemu", "vldiscovery-qemu")


def make(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Call make beside the project, as a shell there would."""
    return subprocess.run(
        ["make", "-s", "-C", str(folder), *arguments],
        cwd=folder.parent,
        env={**os.environ, "PWD": str(folder.parent)},
        capture_output=True,
        text=True,
        check=False,
    )


def started(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """One run of a project with in.bin and out.bin beside it."""
    files = ("INPUT=in.bin", "OUTPUT=out.bin")
    return make(folder, "run", *files, STRICT, "TIMEOUT=300", *arguments)


def failure(folder: Path) -> str:
    """The errors that an unsuccessful run prints."""
    result = started(folder)
    assert result.returncode != 0
    return result.stderr


def measured(folder: Path, *arguments: str) -> dict[str, int]:
    """The figures that a successful run prints."""
    result = started(folder, *arguments)
    assert result.returncode == 0, result.stdout + result.stderr
    return {name: int(value) for name, value in re.findall(r"^(\w+) (\d+)$", result.stdout, re.MULTILINE)}


@dataclass(frozen=True)
class Touched:
    """A part of memory in the report of the probe: its size, and bytes loaded and stored at least once."""

    size_bytes: int
    loaded_bytes: int
    stored_bytes: int


def probed(folder: Path) -> dict[str, Touched]:
    """What a run touches in each part of memory; nothing outside of them.

    The plugin counts the instructions from reset to the end, the machine's clock those of the run.
    """
    figures = measured(folder, "PROBE=1", "ICOUNT=7")
    assert figures["stray_loads"] == figures["stray_stores"] == 0
    assert figures["all_instructions"] / 2 < figures["instructions"] < figures["all_instructions"]
    report = (folder / "build" / "run" / "probe.txt").read_text()
    rows = re.findall(r"^part (\w+) bytes (\d+) loaded (\d+) stored (\d+)$", report, re.MULTILINE)
    return {name: Touched(*(int(count) for count in counts)) for name, *counts in rows}


def prepared(problem: Problem, plan: Plan, folder: Path) -> bytes:
    """Write a project and its input; returns the output that the reference computes."""
    write_project(problem, plan, folder, "net")
    network = problem.network
    random = np.random.default_rng(3)
    inputs: dict[str, Any] = {}
    for name in network.inputs:
        tensor = network.tensors[name]
        shape = tensor.graph_shape or (tensor.height, tensor.width, tensor.channels)
        inputs[name] = random.integers(-128, 128, shape).astype(np.int8)
    (folder.parent / "in.bin").write_bytes(b"".join(inputs[name].tobytes() for name in network.inputs))
    found = run(network, inputs)
    return b"".join(found[name].tobytes() for name in network.outputs)


def scheduled(network: Network, target: str, sram_bytes: int, place: IoPlace) -> tuple[Problem, Plan]:
    """A plan by a scheduler that needs no search."""
    problem = Problem(network, load_target(target), sram_bytes, place)
    result = SCHEDULERS["serial"](problem, Budget(5.0, 1, 1))
    assert result.plan is not None, result.reason
    return problem, result.plan


@dataclass(frozen=True)
class Built:
    """A project of the small network, what it must compute, and what it was made from."""

    folder: Path
    expected: bytes
    problem: Problem
    plan: Plan

    @property
    def output(self) -> bytes:
        """What the last run left."""
        return (self.folder.parent / "out.bin").read_bytes()

    @property
    def work(self) -> Path:
        """The folder in which the emulator was started."""
        return self.folder / "build" / "run"

    def edited(self, file: str, old: str, new: str) -> None:
        """Change one place of an emitted file."""
        text = (self.folder / file).read_text()
        assert old in text
        (self.folder / file).write_text(text.replace(old, new))


Small = Callable[..., Built]


@pytest.fixture(scope="session")
def built(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Small:
    """Function that writes the small network's project for a target and builds it, once for all tests."""

    @cache
    def written(target: str, place: IoPlace = IoPlace.STORAGE) -> Built:
        folder = tmp_path_factory.mktemp("machine") / "out"
        problem = workshop.problem(load_target(target), place, SMALL_SRAM.get(target, 16 * 1024))
        plan = workshop.plan(problem, workshop.selection)
        expected = prepared(problem, plan, folder)
        made = make(folder, "-j2", STRICT)
        assert made.returncode == 0, made.stderr
        assert (folder / "build" / "net.elf").exists()
        made = make(folder, "-j2", STRICT, "build/host_store", "build/probe.so")
        assert made.returncode == 0, made.stderr
        return Built(folder, expected, problem, plan)

    return written


@pytest.fixture
def small(built: Small, tmp_path: Path) -> Small:
    """Function that gives a copy of such a project of the test's own."""

    def copied(target: str, place: IoPlace = IoPlace.STORAGE) -> Built:
        original = built(target, place)
        shutil.copytree(original.folder.parent, tmp_path / "copy")
        return replace(original, folder=tmp_path / "copy" / "out")

    return copied


def first_record(plan: Plan) -> int:
    """Number, from 1, of the first transfer of a plan without overlaps that moves weights with a checksum."""
    number = 1
    for task in sorted(plan.graph.tasks, key=lambda task: plan.schedule.start_ns[task.index]):
        if task.transfer is not None:
            if task.transfer.checked:
                return number
            number += task.transfer.segments
    raise AssertionError("no record of weights")


# ------------------------------------------------------------------------ machines


@needs_emulator
@pytest.mark.parametrize("target", ["lm3s-qemu", *FILE_MACHINES])
def test_machine_equals_reference(small: Small, target: str) -> None:
    """Each machine gives the reference's bytes, reading and writing its storage, without a warning."""
    project = small(target)
    figures = measured(project.folder)
    assert project.output == project.expected
    assert figures["bytes_read"] > 0
    assert figures["bytes_written"] > 0
    assert 0 < figures["stack_bytes"] <= STACK_BYTES
    assert figures["stack_reserve_bytes"] == STACK_BYTES
    assert figures["state_bytes"] <= STATE_BYTES


@needs_emulator
@pytest.mark.parametrize("target", ["lm3s-qemu", "vldiscovery-qemu"])
def test_tensors_in_the_arena(small: Small, target: str) -> None:
    """Input and output in SRAM arrive there and come back."""
    project = small(target, IoPlace.SRAM)
    measured(project.folder)
    assert project.output == project.expected


@needs_emulator
@pytest.mark.skipif(shutil.which("clang") is None, reason="needs clang")
def test_clang_for_the_m55(small: Small) -> None:
    """Objects of clang link with GCC's linker and compute the same."""
    project = small("an547-qemu")
    assert make(project.folder, "clean").returncode == 0
    measured(project.folder, "COMPILER=clang", "TARGET_CFLAGS=-Os -Werror")
    assert project.output == project.expected


@needs_emulator
@pytest.mark.parametrize("capacity_bytes", [1 << 20, 1 << 31, 1 << 32])
def test_cards_of_all_capacities(small: Small, capacity_bytes: int) -> None:
    """Cards addressed by bytes (to 2 GiB) and by blocks (above) serve the same driver."""
    project = small("lm3s-qemu")
    measured(project.folder, f"STORE_BYTES={capacity_bytes}")
    assert project.output == project.expected
    assert (project.work / "store0.img").stat().st_size == capacity_bytes


@needs_emulator
@pytest.mark.parametrize(("name", "kib"), [("ds_cnn", 8), ("resnet8", 24)])
def test_networks_on_the_card(tmp_path: Path, name: str, kib: int) -> None:
    """Real networks whose activations spill to the SD card give the reference's bytes."""
    problem, plan = scheduled(zoo_network(name), "lm3s-qemu", kib * 1024, IoPlace.STORAGE)
    expected = prepared(problem, plan, tmp_path / "out")
    figures = measured(tmp_path / "out")
    assert (tmp_path / "out.bin").read_bytes() == expected
    assert figures["bytes_written"] > 50_000


@pytest.mark.slow
@needs_emulator
@pytest.mark.parametrize("place", list(IoPlace))
@pytest.mark.parametrize("name", ["ds_cnn", "resnet8", "autoencoder"])
@pytest.mark.parametrize("target", ["lm3s-qemu", *FILE_MACHINES])
def test_networks_on_all_machines(tmp_path: Path, target: str, name: str, place: IoPlace) -> None:
    """Every machine runs the small networks of the zoo in all the SRAM it has, if a plan fits there."""
    board = load_target(target).board
    problem = Problem(zoo_network(name), load_target(target), board.usable_bytes, place)
    result = SCHEDULERS["serial"](problem, Budget(5.0, 1, 1))
    if result.plan is None:
        pytest.skip(f"no plan: {result.reason}")
    expected = prepared(problem, result.plan, tmp_path / "out")
    probed(tmp_path / "out")
    assert (tmp_path / "out.bin").read_bytes() == expected


FORMS = ("ort_qop_u8s8", "ort_qdq_s8")
NETWORKS = ("ic_resnet8", "vww_mobilenetv1_025_96", "kws_dscnn", "ad_autoencoder")
ALL_MACHINES = ("lm3s-qemu", "sf2-nor-qemu", "an505-qemu", "riscv-virt-qemu", *FILE_MACHINES)
MOST_SRAM = 24 << 10


def activation_peak_bytes(network: Network) -> int:
    """The most bytes of activations that are alive during one operator."""
    last = {name: number for number, op in enumerate(network.ops) for name in op.inputs}
    born = {op.output: number for number, op in enumerate(network.ops)} | dict.fromkeys(network.inputs, 0)
    return max(
        sum(
            network.tensors[name].size_bytes
            for name in born
            if born[name] <= number <= last.get(name, number)
        )
        for number in range(len(network.ops))
    )


def in_core_bytes(network: Network) -> int:
    """What the network needs where weights and activations are all in SRAM."""
    return activation_peak_bytes(network) + sum(op.weight_bytes for op in network.ops)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("target", ALL_MACHINES)
def test_same_bytes_on_host_and_machine(
    shared_models: Path, tmp_path: Path, target: str, name: str, form: str
) -> None:
    """In 24 KiB or less, below its in-core need, a network gives the host's bytes and the reference's everywhere.

    Activations that do not fit are written to the storage, and nothing but these and the output.
    """
    need(target)
    path = shared_models / "mlperf_tiny" / f"{name}_{form}.onnx"
    network, samples = read_onnx(path), np.load(path.with_suffix(".npz"))
    board = load_target(target)
    budget_bytes = min(MOST_SRAM, board.board.usable_bytes)
    problem = Problem(network, board, budget_bytes, IoPlace.STORAGE)
    result = SCHEDULERS["demand-layering"](problem, Budget(5.0, 1, 1))
    if result.plan is None:
        pytest.skip(f"no plan: {result.reason}")
    assert budget_bytes < in_core_bytes(network)
    write_project(problem, result.plan, tmp_path / "out", "net")
    (source,), (sink,) = network.inputs, network.outputs
    sample = samples["input"][:1]
    (tmp_path / "in.bin").write_bytes(pack_input(network, source, sample))
    figures = measured(tmp_path / "out")
    output = (tmp_path / "out.bin").read_bytes()
    made = make(tmp_path / "out", "host-run", "INPUT=in.bin", "OUTPUT=host.bin")
    assert made.returncode == 0, made.stderr
    assert output == (tmp_path / "host.bin").read_bytes()
    want = run(network, {source: sample})[sink]
    assert np.array_equal(np.ravel(unpack_output(network, sink, output)), np.ravel(want))
    assert figures["arena_bytes"] <= MOST_SRAM
    assert figures["bytes_written"] == result.plan.figures.bytes_written
    if activation_peak_bytes(network) > budget_bytes:
        assert figures["bytes_written"] > network.tensors[sink].size_bytes + 10_000


def test_machines_have_targets() -> None:
    """Each machine is named by the board of a built-in target whose banks lie in the machine's memory."""
    targets = [target for target in list_targets() if target.board.emulator]
    assert {target.board.emulator for target in targets} == set(MACHINES)
    for target in targets:
        machine = machine_of(target.board)
        assert machine is not None
        sizes = {bank.name: bank.size_bytes for bank in machine.banks}
        assert all(bank.size_bytes <= sizes[bank.name] for bank in target.board.banks)


def test_unknown_machine_is_refused(problem: Problem) -> None:
    """A board that names no machine of ours, or banks that the machine lacks, is an input error."""
    board = replace(problem.target.board, emulator="pdp11")
    with pytest.raises(InputError, match=r"emulator must be one of .*lm3s6965evb.* \(got 'pdp11'\)"):
        machine_of(board)
    with pytest.raises(InputError, match="the banks of the emulated machine 'microbit' are SRAM"):
        machine_of(replace(board, emulator="microbit"))
    assert machine_of(replace(board, emulator=None)) is None


def test_memory_script_names_the_banks() -> None:
    """Parts of the arena go to the bank of their name, what a plan lacks to the first."""
    base = MACHINES["mps3-an547"]
    machine = replace(base, banks=(*base.banks, Memory("SRAM", 0x01000000, 1 << 21)))
    text = memory_script(machine, ("SRAM", "DTCM"))
    assert "BANK0 (rwx) : ORIGIN = 0x20000000, LENGTH = 0x80000" in text
    assert "BANK1 (rwx) : ORIGIN = 0x1000000, LENGTH = 0x200000" in text
    aliases = dict(re.findall(r'REGION_ALIAS\("(\w+)", (\w+)\)', text))
    parts = {f"ARENA{k}": bank for k, bank in enumerate(("BANK1", "BANK0", "BANK0", "BANK0"))}
    assert aliases == {"DATA": "BANK0"} | parts


@pytest.mark.parametrize("compiler", [ARM.compiler, f"clang {ARM.clang_flags}"])
def test_ports_compile_strictly(tmp_path: Path, compiler: str) -> None:
    """Start-up code, drivers and main are free of implicit conversions on cores with and without an FPU."""
    program = shutil.which(compiler.split()[0])
    if program is None:
        pytest.skip(f"needs {compiler.split()[0]}")
    for name, content in (runtime_files() | port_files("emulated")).items():
        (tmp_path / name).write_bytes(content)
    (tmp_path / "net.h").write_text('#include "ooc_tables.h"\nextern const struct ooc_model net_model;\n')
    for machine in (MACHINES[name] for name in ("lm3s6965evb", "mps3-an547", "microbit")):
        command = [
            *(*compiler.split(), *machine.flags.split(), *STRICTEST, "-O2", "-fsyntax-only"),
            *("-DMACHINE_CLOCK_HZ=1000000u", "-DSTACK_RESERVE_BYTES=768u", "-DBANK0_BYTES=1024"),
            *('-DOOC_MODEL_HEADER="net.h"', "-DOOC_MODEL=net_model", *COMMON_SOURCES, *machine.sources),
        ]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


# ------------------------------------------------------------------------ measuring


@needs_emulator
@pytest.mark.parametrize("target", ["lm3s-qemu", "an547-qemu"])
def test_instruction_counts_repeat(small: Small, target: str) -> None:
    """Under -icount a run takes the same number of instructions each time, whatever their length."""
    project = small(target)
    counts = [measured(project.folder, f"ICOUNT={shift}")["instructions"] for shift in (7, 7, 8)]
    assert counts[0] == counts[1]
    assert counts[0] > 10_000
    # Longer instructions let the 24-bit counter wrap more often, each time with an interrupt.
    assert counts[0] <= counts[2] <= counts[0] + 50


@needs_emulator
@pytest.mark.parametrize("target", ["lm3s-qemu", *FILE_MACHINES])
def test_every_byte_touched_is_declared(small: Small, target: str) -> None:
    """Arena, state and stack within the budget, and the port's variables, are all the RAM that is touched."""
    project = small(target)
    parts = probed(project.folder)
    assert parts.keys() <= {"code", "stack", "state", "data", "bss", "arena0"}
    assert parts["arena0"].size_bytes + STATE_BYTES + STACK_BYTES <= project.problem.sram_bytes
    assert parts["state"].size_bytes <= STATE_BYTES
    assert parts["stack"].size_bytes == STACK_BYTES + PORT_STACK_BYTES
    assert parts["arena0"].loaded_bytes > 0
    assert parts["arena0"].stored_bytes > 0
    assert parts["code"].stored_bytes == 0


@needs_emulator
def test_probe_finds_strays(small: Small) -> None:
    """Told that the arena is smaller than it is, the plugin counts accesses; PLUGIN= passes it on."""
    project = small("lm3s-qemu")
    probed(project.folder)
    rows = [row.split() for row in (project.work / "parts.txt").read_text().splitlines()]
    (low,) = (int(address, 16) for name, end, address in rows if (name, end) == ("arena0", "low"))
    rows = [[n, e, f"{low + 64:x}" if (n, e) == ("arena0", "high") else a] for n, e, a in rows]
    (project.work / "less.txt").write_text("\n".join(" ".join(row) for row in rows))
    measured(project.folder, "PLUGIN=out/build/probe.so,parts=less.txt,out=report.txt")
    strays = re.findall(r"^stray_\w+ (\d+)", (project.work / "report.txt").read_text(), re.MULTILINE)
    assert len(strays) == 2
    assert all(int(count) > 0 for count in strays)


# ------------------------------------------------------------------------- failures


@needs_emulator
@pytest.mark.parametrize(
    ("fault", "complaint"),
    [
        ("--fail 3", r"error -3, .*\(port error -101\)"),
        ("--short RECORD", r"error -(4|11), "),
        ("--partial 2", "error -11, "),
        ("--full 1", "error -12, "),
        ("--flip RECORD", "error -4, "),
        ("--hang 2", "error -6, "),
        ("--cut 1", r"error -3, .*\(port error -102\)"),
        ("--fial 3", "--fial"),
        ("--fail x", "--fail"),
    ],
)
def test_faults_end_in_one_line(small: Small, fault: str, complaint: str) -> None:
    """An injected fault, or a wrong option, fails the run with one line and without an output."""
    project = small("lm3s-qemu")
    number = str(first_record(project.plan))
    result = started(project.folder, f"ARGUMENTS={fault.replace('RECORD', number)}")
    lines = [line for line in result.stderr.splitlines() if not line.startswith("make")]
    assert result.returncode != 0
    assert len(lines) == 1, lines
    assert re.match(f"ooc: .*{complaint}", lines[0]), lines
    assert not (project.folder.parent / "out.bin").exists()


@needs_emulator
def test_power_cut_stops_all_writes(small: Small) -> None:
    """What was on the card before power went is still there; of the rest only what was written before."""
    project = small("lm3s-qemu")
    measured(project.folder)
    whole = (project.work / "store0.img").read_bytes()
    assert started(project.folder, "ARGUMENTS=--cut 2").returncode != 0
    cut = (project.work / "store0.img").read_bytes()
    image_bytes = (project.folder / "net.bin").stat().st_size
    blocks = [k for k in range(0, len(whole), 512) if cut[k : k + 512] != whole[k : k + 512]]
    assert cut[:image_bytes] == whole[:image_bytes]
    assert blocks
    assert any(cut[image_bytes:])
    assert all(not any(cut[k : k + 512]) for k in blocks), "a block is neither whole nor untouched"


@needs_emulator
def test_missing_storage_is_explained(small: Small) -> None:
    """Without a card in the slot the driver says so."""
    project = small("lm3s-qemu")
    project.edited("Makefile", "-drive if=sd,format=raw,file=store0.img", "")
    assert "ooc: the SD card does not answer" in failure(project.folder)


@needs_emulator
def test_emulator_that_hangs_is_stopped(small: Small) -> None:
    """Out of time is said in one line."""
    project = small("lm3s-qemu")
    result = make(project.folder, "run", "INPUT=in.bin", STRICT, "TIMEOUT=0.01")
    assert result.returncode != 0
    assert "ended with status 124 (124: out of time)" in result.stderr


@needs_emulator
def test_too_much_stack_is_a_failure(small: Small) -> None:
    """A run that takes more stack than the plan counted fails and says how much."""
    project = small("lm3s-qemu")
    project.edited("Makefile", f"-DSTACK_RESERVE_BYTES={STACK_BYTES}u", "-DSTACK_RESERVE_BYTES=100u")
    assert re.search(
        r"^ooc: .* more stack than plans count, bytes \d{3}$", failure(project.folder), re.MULTILINE
    )


@needs_emulator
def test_arena_too_large_does_not_link(small: Small) -> None:
    """What does not fit the machine's memory is refused by the linker, not found out at run time."""
    project = small("vldiscovery-qemu")
    (bank,) = (size for _, size in project.problem.banks)
    used = re.search(r"-DBANK0_BYTES=(\d+)", (project.folder / "Makefile").read_text())
    assert used is not None
    assert int(used[1]) <= bank
    project.edited("Makefile", used[0], "-DBANK0_BYTES=8000")
    assert "overflowed" in failure(project.folder)


@needs_emulator
def test_fault_of_the_core_is_reported(small: Small) -> None:
    """A program that runs into a bus fault ends with one line instead of hanging."""
    project = small("vldiscovery-qemu")
    wild = "*(volatile uint32_t *)0x30000000u = 1;\n    systick_start();"
    project.edited("machine_semihost.c", "systick_start();", wild)
    assert re.search(
        "^ooc: fault or unexpected interrupt: exception 3, CFSR ", failure(project.folder), re.MULTILINE
    )


@needs_emulator
def test_input_of_another_size_is_refused(small: Small) -> None:
    """The size that the tables want is named."""
    project = small("lm3s-qemu")
    (project.folder.parent / "in.bin").write_bytes(bytes(17))
    assert "must hold 288 bytes (got 17)" in failure(project.folder)


@needs_emulator
def test_a_failed_run_leaves_no_output(small: Small) -> None:
    """The output of an earlier run does not pass for that of one that failed."""
    project = small("lm3s-qemu")
    output = project.folder.parent / "out.bin"
    assert started(project.folder).returncode == 0
    assert output.exists()
    assert started(project.folder, "ARGUMENTS=--fail 2").returncode != 0
    assert not output.exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_the_input_is_asked_for_before_anything_is_built(workshop: Any, tmp_path: Path) -> None:
    """`make run` without INPUT says so in one line, and compiles nothing."""
    problem = workshop.problem(load_target("lm3s-qemu"), IoPlace.STORAGE, 16 * 1024)
    write_project(problem, workshop.plan(problem, workshop.selection), tmp_path / "out", "net")
    result = make(tmp_path / "out", "run")
    lines = [line for line in result.stderr.splitlines() if "***" not in line]
    assert lines == ["make run: say which file holds the network input: make run INPUT=in.bin OUTPUT=out.bin"]
    assert not (tmp_path / "out" / "build").exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
@pytest.mark.parametrize(
    ("present", "goal", "missing", "packages"),
    [
        ((), "run", f"cc, {ARM.compiler}, {ARM.emulator}", " ".join(("gcc libc6-dev", *ARM.packages))),
        (("cc",), "run", f"{ARM.compiler}, {ARM.emulator}", " ".join(ARM.packages)),
        (("cc",), "all", ARM.compiler, ARM.packages[0]),
        ((), "host-run", "cc", "gcc libc6-dev"),
    ],
)
def test_all_missing_tools_are_named_at_once(
    workshop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    present: tuple[str, ...], goal: str, missing: str, packages: str,
) -> None:  # fmt: skip
    """One line names every tool that the goal lacks, and the Debian packages in the form apt-get takes."""
    problem = workshop.problem(load_target("lm3s-qemu"), IoPlace.STORAGE, 16 * 1024)
    write_project(problem, workshop.plan(problem, workshop.selection), tmp_path / "out", "net")
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("make", "sh", *present):
        (tools / name).symlink_to(shutil.which(name) or "/bin/true")
    monkeypatch.setenv("PATH", str(tools))
    result = make(tmp_path / "out", goal, "INPUT=in.bin")
    lines = [line for line in result.stderr.splitlines() if "***" not in line]
    assert result.returncode != 0
    assert lines == [f"make: missing: {missing}; on Debian: apt-get install {packages}"]


@pytest.mark.skipif(not shutil.which("make"), reason="needs make")
def test_a_compiler_without_its_library_is_missing_too(
    workshop: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the headers of the C library are not found, its package is named."""
    problem = workshop.problem(load_target("lm3s-qemu"), IoPlace.STORAGE, 16 * 1024)
    write_project(problem, workshop.plan(problem, workshop.selection), tmp_path / "out", "net")
    tools = tmp_path / "tools"
    tools.mkdir()
    bare = tools / ARM.compiler
    bare.write_text('#!/bin/sh\nread line\nwhile read more; do line=$line$more; done\n[ -z "$line" ]\n')
    bare.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    result = make(tmp_path / "out", "all")
    assert result.returncode != 0
    assert f"missing: {ARM.compiler}; on Debian: apt-get install {ARM.packages[0]}\n" in result.stderr


@pytest.mark.skipif(not (shutil.which("make") and shutil.which("cc")), reason="needs make and a C compiler")
def test_host_still_runs(workshop: Any, tmp_path: Path) -> None:
    """The host build of an emulated project computes the same, without any tool of the machine."""
    problem = workshop.problem(load_target("lm3s-qemu"))
    expected = prepared(problem, workshop.plan(problem, workshop.selection), tmp_path / "out")
    result = make(tmp_path / "out", "host-run", "INPUT=in.bin", "OUTPUT=out.bin", "TARGET_CC=none")
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out.bin").read_bytes() == expected
    assert "scores" in result.stdout  # the output's first values


@needs_emulator
def test_a_log_lies_where_it_was_asked_for(workshop: Any, tmp_path: Path) -> None:
    """LOG counts from where make was called, on the host and on a machine that keeps one; others say so."""
    for name in ("an505-qemu", "lm3s-qemu"):
        folder, problem = tmp_path / name, workshop.problem(load_target(name))
        prepared(problem, workshop.plan(problem, workshop.selection), folder)
        files = ("INPUT=in.bin", "OUTPUT=out.bin", f"LOG={name}.csv")
        assert make(folder, "host-run", *files).returncode == 0
        host = (tmp_path / f"{name}.csv").read_text()
        (tmp_path / f"{name}.csv").unlink()
        result = make(folder, "run", *files)
        if name == "lm3s-qemu":
            assert result.returncode != 0
            assert f"make host-run LOG={name}.csv" in result.stderr
        else:
            board = (tmp_path / f"{name}.csv").read_text()
            assert sorted(line.split(",")[:3] for line in board.splitlines()) == sorted(
                line.split(",")[:3] for line in host.splitlines()
            )


# ------------------------------------------------------------------- SD card driver

SELECT = ctypes.CFUNCTYPE(None, ctypes.c_int)
EXCHANGE = ctypes.CFUNCTYPE(ctypes.c_uint8, ctypes.c_uint8)
MOVE = ctypes.CFUNCTYPE(None, ctypes.POINTER(ctypes.c_uint8), ctypes.c_uint32)


class SdCard(ctypes.Structure):
    """struct sd_card of sd_spi.h."""

    _fields_ = (
        ("select", SELECT),
        ("exchange", EXCHANGE),
        ("receive", MOVE),
        ("send", MOVE),
        ("hc", ctypes.c_uint8),
    )


def crc16(content: bytes) -> int:
    """CRC-16 of SD data, bit by bit: x^16 + x^12 + x^5 + 1."""
    crc = 0
    for byte in content:
        crc ^= byte << 8
        for _ in range(8):
            crc = (crc << 1 ^ (0x1021 if crc & 0x8000 else 0)) & 0xFFFF
    return crc


class FakeCard:
    """A card that answers in SPI mode, with one thing wrong if asked to."""

    def __init__(self, flaw: str = "") -> None:
        self.flaw = flaw
        self.queue: list[int] = []
        self.frame: list[int] = []
        self.data: list[int] | None = None
        self.blocks = {3: bytes(range(256)) * 2}
        self.block = 0
        self.commands: list[int] = []

    def exchange(self, sent: int) -> int:
        if self.flaw == "absent":
            return 0xFF
        answer = self.queue.pop(0) if self.queue else 0xFF
        if self.data is not None:
            self.take(sent)
        elif self.frame or sent & 0xC0 == 0x40:
            self.frame.append(sent)
            if len(self.frame) == 6:
                self.obey(self.frame[0] & 0x3F, int.from_bytes(self.frame[1:5], "big"))
                self.frame = []
        return answer

    def obey(self, number: int, argument: int) -> None:
        self.commands.append(number)
        answers = {
            0: [0x01], 8: [0x01, 0, 0, 1, 0xAA], 55: [0x01], 41: [0x00], 58: [0x00, 0xC0, 0xFF, 0x80, 0],
        }  # fmt: skip
        self.queue = [0xFF, *answers.get(number, [0x00])]
        if number == 17:
            content = self.blocks[argument]
            crc = crc16(content)
            wrong = bytes([content[0] ^ 1]) + content[1:] if self.flaw == "bit" else content
            self.queue += [0xFF, 0xFE, *wrong, crc >> 8, crc & 0xFF]
        if number == 24:
            self.block, self.data = argument, []

    def take(self, sent: int) -> None:
        assert self.data is not None
        if self.data or sent == 0xFE:
            self.data.append(sent)
        if len(self.data) == 515:
            content, crc = bytes(self.data[1:513]), self.data[513] << 8 | self.data[514]
            sound = crc == crc16(content) and self.flaw != "refuse"
            self.queue = [0x05 if sound else 0x0B, *([0x00] * (2000 if self.flaw == "busy" else 3))]
            self.blocks[self.block], self.data = content, None


@pytest.fixture(scope="session")
def driver(tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    """sd_spi.c as a library of the host."""
    if shutil.which("cc") is None:
        pytest.skip("needs a C compiler")
    folder = tmp_path_factory.mktemp("driver")
    sources = port_files("emulated")
    for name in ("sd_spi.c", "sd_spi.h"):
        (folder / name).write_bytes(sources[name])
    command = ["cc", "-std=c99", "-Wall", "-Wextra", "-Werror", "-DSD_WAIT_BYTES=1000"]
    command += ["-shared", "-fPIC", "sd_spi.c", "-o", "sd.so"]
    subprocess.run(command, cwd=folder, check=True)
    return ctypes.CDLL(str(folder / "sd.so"))


def linked(fake: FakeCard) -> SdCard:
    """The driver's view of a fake card."""

    def receive(target: Any, count: int) -> None:
        for k in range(count):
            target[k] = fake.exchange(0xFF)

    def send(source: Any, count: int) -> None:
        for k in range(count):
            fake.exchange(source[k])

    return SdCard(SELECT(lambda on: None), EXCHANGE(fake.exchange), MOVE(receive), MOVE(send), 0)


def test_card_is_read_and_written(driver: ctypes.CDLL) -> None:
    """A sound card wakes up by blocks, gives its block and takes another with the right checksums."""
    fake = FakeCard()
    card, buffer = linked(fake), (ctypes.c_uint8 * 512)()
    assert driver.sd_open(ctypes.byref(card)) == 0
    assert card.hc == 1
    assert driver.sd_read(ctypes.byref(card), 3, buffer, 1) == 0
    assert bytes(buffer) == fake.blocks[3]
    assert driver.sd_write(ctypes.byref(card), 9, buffer, 1) == 0
    assert fake.blocks[9] == fake.blocks[3]


@pytest.mark.parametrize(("flaw", "error"), [("bit", -205), ("refuse", -206), ("busy", -202)])
def test_flaws_of_a_card_are_errors(driver: ctypes.CDLL, flaw: str, error: int) -> None:
    """A flipped bit fails the CRC-16, refused data and endless business are told apart."""
    fake = FakeCard(flaw)
    card, buffer = linked(fake), (ctypes.c_uint8 * 512)()
    assert driver.sd_open(ctypes.byref(card)) == 0
    read = driver.sd_read(ctypes.byref(card), 3, buffer, 1)
    assert (read or driver.sd_write(ctypes.byref(card), 9, buffer, 1)) == error


def test_absent_card_is_an_error(driver: ctypes.CDLL) -> None:
    """Nothing on the bus is told from a card that is slow."""
    card = linked(FakeCard("absent"))
    assert driver.sd_open(ctypes.byref(card)) == -200
