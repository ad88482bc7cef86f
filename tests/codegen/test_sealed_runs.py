"""Sealed networks compute what plain ones do, and whatever is changed in storage is told."""

from __future__ import annotations

import itertools
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

from ooc_solve.codegen.check import OUTPUT, SCRATCH
from ooc_solve.codegen.decode import stored_tensor
from ooc_solve.codegen.image import weight_payload
from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import STREAMED, Tables
from ooc_solve.models.cost import opening_ns, sealing_ns
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.reference import run
from ooc_solve.models.sealing import CIPHERS, SEAL_BYTES, encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import (
    CRYPTO,
    Budget,
    InputError,
    Network,
    Plan,
    RegionName,
    Target,
    TaskKind,
)
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.figures import traffic_of
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.solver.validate import validate

HERE = Path(__file__).parent
HAS_MBEDTLS = any(
    Path(folder, "mbedtls/gcm.h").is_file() for folder in ("/usr/include", "/usr/local/include")
)
TOOLS = all(map(shutil.which, ("make", "cc")))
needs_mbedtls = pytest.mark.skipif(not (HAS_MBEDTLS and TOOLS), reason="needs make, cc and libmbedtls-dev")
STRICT = "-O1 -Wconversion -Werror"
FEW, MANY = 60, 1000
TOLD = {"flip": "tampered", "swap": "swapped", "replay": "replayed"}

LIBRARY = re.compile(
    r"mbedtls_\w+|gcm_mult|aes_\w+|chacha20_\w+|poly1305_\w+|chachapoly_\w+"
    r"|seal|open|open_\w+|seal_\w+|work_rows|rows_from|expect|put|ooc_seal_\w+|memset|memcmp"
)
"""Functions of a run that seal and open: those of Mbed TLS, of its port, and of ooc_seal.c."""


def key_of(cipher: str) -> bytes:
    """A key for tests."""
    return bytes(range(7, 7 + CIPHERS[cipher].key_bytes))


@dataclass(frozen=True)
class Sealed:
    """A project with sealed records, what it must compute, and what it was made from."""

    folder: Path
    problem: Problem
    plan: Plan
    expected: bytes

    def make(self, goal: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call make with the files beside the project."""
        files = (f"{name}={self.folder.parent / file}" for name, file in FILES.items())
        return subprocess.run(
            ["make", "-s", "-C", str(self.folder), goal, *files, *arguments],
            env=os.environ | {"PWD": str(self.folder.parent)},
            capture_output=True,
            text=True,
            check=False,
        )

    @property
    def output(self) -> bytes:
        """What the last run left."""
        return (self.folder.parent / "out.bin").read_bytes()


FILES = {"INPUT": "in.bin", "OUTPUT": "out.bin", "KEY": "key.bin"}


def written(problem: Problem, plan: Plan, folder: Path, cipher: str) -> Sealed:
    """Write a project and its files, with an input drawn from a seed."""
    network, rng = problem.network, np.random.default_rng(3)
    write_project(problem, plan, folder / "out", "net", key_of(cipher))
    inputs: dict[str, Any] = {}
    for name in network.inputs:
        tensor = network.tensors[name]
        shape = tensor.graph_shape or (tensor.height, tensor.width, tensor.channels)
        inputs[name] = rng.integers(-128, 128, shape).astype(np.int8)
    (folder / "in.bin").write_bytes(b"".join(inputs[name].tobytes() for name in network.inputs))
    (folder / "key.bin").write_bytes(key_of(cipher))
    found = run(network, inputs)
    return Sealed(folder / "out", problem, plan, b"".join(found[n].tobytes() for n in network.outputs))


ENGINE = "+engine"
"""Behind the name of a target: an engine as fast as its software opens and seals beside the CPU."""


def target_of(name: str, cipher: str) -> Target:
    """A target whose records are sealed, with or without an engine; without figures of its own those of another core."""
    target = load_target(name.removesuffix(ENGINE))
    if not target.board.crypto:
        target = replace(
            target, board=replace(target.board, crypto=load_target("an386-qemu").board.crypto), provenance={}
        )
    target = encrypted(target, cipher)
    if not name.endswith(ENGINE):
        return target
    assert target.crypto is not None
    return replace(target, crypto=replace(target.crypto, engine="hw", cpu_busy=False))


def planned(
    network: Network, target: str, cipher: str, kib: int, scheduler: str = "serial"
) -> tuple[Problem, Plan]:
    """A checked plan by a scheduler that needs no search."""
    problem = Problem(network, target_of(target, cipher), kib << 10, IoPlace.STORAGE)
    result = SCHEDULERS[scheduler](problem, Budget(5.0, 1, 1))
    assert result.plan is not None, result.reason
    assert validate(problem, result.plan) == ()
    return problem, result.plan


@pytest.fixture(scope="module")
def small(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str], Sealed]:
    """Function that writes the small network's project for a target and a cipher, once."""

    @cache
    def made(target: str, cipher: str) -> Sealed:
        problem = workshop.problem(target_of(target, cipher))
        plan = workshop.plan(problem, workshop.selection)
        return written(problem, plan, tmp_path_factory.mktemp("sealed"), cipher)

    return made


# ------------------------------------------------------------------------ same bytes


@needs_mbedtls
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize(
    "target", ["f746-sd", "f746-qspi-sdram", f"f746-sd{ENGINE}", f"f746-qspi-sdram{ENGINE}"]
)
def test_sealed_run_equals_reference(small: Callable[[str, str], Sealed], target: str, cipher: str) -> None:
    """Planes, splits and stripes, sealed, give the reference's bytes, and move the bytes that the plan counts."""
    project = small(target, cipher)
    found = project.make("run", f"CFLAGS={STRICT}", "ARGUMENTS=--stats --seed 5")
    assert found.returncode == 0, found.stderr
    assert project.output == project.expected
    traffic = traffic_of(project.problem, project.plan.graph)
    assert f"bytes_read {sum(store.read_bytes for store in traffic)}\n" in found.stdout
    assert f"bytes_written {sum(store.written_bytes for store in traffic)}\n" in found.stdout


NETWORKS = (("ds_cnn", 16), ("autoencoder", 16), ("resnet8", 32), ("mobilenet_v1_025_96", 32))
"""Networks of the zoo, and KiB of SRAM that do not hold them."""


@needs_mbedtls
@pytest.mark.parametrize(
    ("name", "kib", "cipher"),
    [
        ("ds_cnn", 16, "aes-128-gcm"),
        ("autoencoder", 16, "chacha20-poly1305"),
        *(
            pytest.param(*network, cipher, marks=pytest.mark.slow)
            for network in NETWORKS
            for cipher in CIPHERS
        ),
    ],
)
def test_sealed_networks(tmp_path: Path, name: str, kib: int, cipher: str) -> None:
    """Networks of the zoo give the same bytes sealed."""
    project = written(*planned(zoo_network(name), "f746-sd", cipher, kib), tmp_path, cipher)
    found = project.make("run", "CFLAGS=-O1", "ARGUMENTS=--runs 2 --seed 1")
    assert found.returncode == 0, found.stderr
    assert project.output == project.expected


@needs_mbedtls
@pytest.mark.parametrize("name", ["ds_cnn", pytest.param("mobilenet_v1_025_96", marks=pytest.mark.slow)])
def test_networks_with_an_engine(tmp_path: Path, name: str) -> None:
    """Where records are opened ahead of the kernels, beside them, the bytes are the same in every run."""
    kib, target = dict(NETWORKS)[name], f"f746-qspi-sdram{ENGINE}"
    problem, plan = planned(zoo_network(name), target, "aes-128-gcm", kib, "demand-layering")
    project = written(problem, plan, tmp_path, "aes-128-gcm")
    found = project.make("run", f"CFLAGS={STRICT}", "ARGUMENTS=--runs 3 --seed 2")
    assert found.returncode == 0, found.stderr
    assert project.output == project.expected


@needs_mbedtls
def test_a_wrong_key_opens_nothing(small: Callable[[str, str], Sealed]) -> None:
    """With another key the first record that is opened counts as changed; without one there is no run."""
    project = small("f746-qspi-sdram", "aes-128-gcm")
    (project.folder.parent / "wrong.bin").write_bytes(bytes(16))
    wrong = f"KEY={project.folder.parent / 'wrong.bin'}"
    found = project.make("run", f"CFLAGS={STRICT}", wrong)
    assert found.returncode != 0
    assert "error -14, a sealed record was changed (stream 0, command " in found.stderr
    (project.folder.parent / "short.bin").write_bytes(bytes(15))
    found = project.make("run", f"CFLAGS={STRICT}", f"KEY={project.folder.parent / 'short.bin'}")
    assert "short.bin must hold the 16 bytes of the key (got 15)" in found.stderr
    found = project.make("run", f"CFLAGS={STRICT}", "KEY=")
    assert "say which file holds the key" in found.stderr


@needs_mbedtls
def test_tables_and_runtime_agree_on_sealing(workshop: Any, tmp_path: Path) -> None:
    """Sealed tables ask for a runtime that opens them, and plain ones refuse its larger state."""
    plain = workshop.problem(load_target("f746-sd"))
    sealed = replace(plain, target=encrypted(plain.target, "aes-128-gcm"))
    complaints: dict[bool, str] = {}
    for problem, defines in ((plain, ["-DOOC_SEAL"]), (sealed, [])):
        folder = tmp_path / f"out{len(complaints)}"
        plan = workshop.plan(problem, workshop.selection)
        write_project(problem, plan, folder, "net", key_of("aes-128-gcm"))
        command = ["cc", "-std=c99", *defines, "-c", "net.c"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        complaints[problem.target.crypto is None] = done.stderr
    assert "net_assert_state_size" in complaints[True]
    assert "net.c has sealed records: define OOC_SEAL" in complaints[False]


def test_what_is_emitted_tells_neither_key_nor_weights(workshop: Any, tmp_path: Path) -> None:
    """No file of a sealed project holds the key, or a record of weights as kernels read it; of a plain one the image does."""
    plain = workshop.problem(load_target("f746-sd"))
    told: dict[bool, int] = {}
    for problem in (plain, replace(plain, target=encrypted(plain.target, "aes-128-gcm"))):
        plan, folder = workshop.plan(problem, workshop.selection), tmp_path / f"out{len(told)}"
        write_project(problem, plan, folder, "net", key_of("aes-128-gcm"))
        content = b"\n".join(path.read_bytes() for path in folder.iterdir())
        assert key_of("aes-128-gcm") not in content
        payloads = []
        for (stage, group, split), _ in plan.graph.weight_records:
            op, tiling = problem.network.ops[stage], plan.selection.tilings[stage]
            payloads.append(weight_payload(StageGeometry.of(problem.network, op, tiling), group, split))
        told[problem.target.crypto is None] = sum(payload in content for payload in payloads)
        assert len(payloads) > 1
        assert min(map(len, payloads)) > 16
    assert told == {True: len(payloads), False: 0}


def test_sealed_tables_need_a_key(workshop: Any, tmp_path: Path) -> None:
    """Nothing is written without a key."""
    problem = workshop.problem(encrypted(load_target("f746-sd"), "aes-128-gcm"))
    with pytest.raises(InputError, match="need a key"):
        write_project(problem, workshop.plan(problem, workshop.selection), tmp_path / "out", "net")
    assert not (tmp_path / "out").exists()


# -------------------------------------------------------------------- changed storage


@pytest.fixture(scope="module")
def device(small: Callable[[str, str], Sealed]) -> Callable[[str, str], Sealed]:
    """Function that builds the device of sealed_device.c around the small network, once."""

    @cache
    def built(target: str, cipher: str) -> Sealed:
        project = small(target, cipher)
        sources = [path.name for path in project.folder.glob("*.c") if not path.name.endswith("_host.c")]
        engine = ("-DOOC_ENGINE",) if target.endswith(ENGINE) else ()
        model = ("-DOOC_SEAL", *engine, '-DOOC_MODEL_HEADER="net.h"', "-DOOC_MODEL=net_model", "-I.")
        command = ["cc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", *model, *sources]
        command += [str(HERE / file) for file in ("sealed_device.c", "memory_device.c")]
        command += ["-lmbedcrypto", "-o", "device"]
        done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return project

    return built


def exposed(project: Sealed, deed: str, *more: str) -> list[list[str]]:
    """What the device says, by lines and words."""
    files = ("net.bin", "../in.bin", "../key.bin")
    command = ["./device", deed, *files, *more]
    done = subprocess.run(command, cwd=project.folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return [line.split() for line in done.stdout.splitlines()]


@needs_mbedtls
@pytest.mark.parametrize("count", [FEW, pytest.param(MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize(
    ("target", "cipher"),
    [
        ("f746-sd", "aes-128-gcm"),
        ("f746-qspi-sdram", "chacha20-poly1305"),
        (f"f746-sd{ENGINE}", "aes-128-gcm"),
    ],
)
def test_attacks_are_told(device: Callable[[str, str], Sealed], target: str, cipher: str, count: int) -> None:
    """Every flipped bit, swap and replay is told by its own error, at the command that opens it; then all is well."""
    project = device(target, cipher)
    found = exposed(project, "attack", "../out.bin", str(count), "11")
    assert len(found) == count
    assert {kind for kind, _, _, _ in found} == set(TOLD)
    for kind, told, stream, command in found:
        assert told == TOLD[kind]
        task = project.plan.graph.tasks[project.plan.streams.order[int(stream)][int(command)]]
        assert task.kind is TaskKind.DECRYPT
        assert task.transfer is not None
        assert task.transfer.sealed_records > 0
        assert kind != "replay" or task.transfer.region is RegionName.SCRATCH
    assert project.output == project.expected


@needs_mbedtls
@pytest.mark.parametrize("count", [200, pytest.param(20 * MANY, marks=pytest.mark.slow)])
@pytest.mark.parametrize("target", ["f746-sd", f"f746-qspi-sdram{ENGINE}"])
def test_no_run_is_wrong(device: Callable[[str, str], Sealed], target: str, count: int) -> None:
    """Whatever bytes of image, spilled rows, padding and journal change whenever, a run tells it or is right."""
    project = device(target, "aes-128-gcm")
    told = {name: int(value) for name, value in exposed(project, "noise", str(count), "3")}
    assert told["told"] + told["right"] == count
    assert min(told.values()) > count // 20


@needs_mbedtls
def test_power_cuts_never_repeat_a_nonce(device: Callable[[str, str], Sealed]) -> None:
    """Power fails at every write, before, amid and behind it: no nonce comes twice, and later runs are done."""
    project = device("f746-sd", "aes-128-gcm")
    told = {name: int(value) for name, value in exposed(project, "cut")}
    assert told["lives"] == 3 * told["writes"] > 20
    assert told["nonces"] > 10 * told["writes"]
    assert (told["twice"], told["failed"]) == (0, 0)


@needs_mbedtls
def test_journal_survives_the_loss_of_a_slot(device: Callable[[str, str], Sealed]) -> None:
    """Whichever slot is lost, again and again, or cannot be read, openings count up; with both lost nothing is opened."""
    found = exposed(device("f746-sd", "aes-128-gcm"), "journal")
    told = {name for name, _, _ in found}
    assert told == {
        *("first", "second", "lost", "lost_again", "other_lost", "after", "later", "refused"),
        *("both_lost", "provisioned"),
    }
    assert [result for name, result, _ in found if name == "both_lost"] == ["journal"]
    assert {result for name, result, _ in found if name != "both_lost"} == {"done"}
    numbers = [int(number) for name, _, number in found if name != "both_lost"]
    assert numbers[:2] == [1, 2]
    assert all(after > before for before, after in itertools.pairwise(numbers))
    assert numbers[-1] == 1001


def elements_of(tables: Tables, region: int) -> set[int]:
    """Bytes of a region that hold elements of tensors, or what is behind rows that are sealed."""
    assert tables.sealing is not None
    bindings = tables.sealing.sealed if region == SCRATCH else tables.bindings[tables.inputs :]
    found: set[int] = set()
    for binding in bindings:
        if binding.operand.place == STREAMED:
            for access in stored_tensor(tables, binding.operand, region, binding.offset):
                f = access.footprint
                for row in range(f.rows):
                    start = f.start + row * f.row_stride
                    found |= set(range(start, start + f.run + binding.operand.seal))
    return found


@needs_mbedtls
@pytest.mark.parametrize("target", ["f746-sd", "f746-qspi-sdram", f"f746-sd{ENGINE}"])
def test_padding_tells_nothing(device: Callable[[str, str], Sealed], tmp_path: Path, target: str) -> None:
    """What lies in storage between rows, behind outputs and in the journal is zeros, whatever was in SRAM."""
    project = device(target, "aes-128-gcm")
    exposed(project, "dump", str(tmp_path))
    tables = build_tables(project.problem, project.plan)
    stores = [(tmp_path / f"store{k}.bin").read_bytes() for k in (0, 1)]
    padding = 0
    for region in (OUTPUT, SCRATCH):
        row, data = tables.region[region], elements_of(tables, region)
        content = stores[row.store][row.base : row.base + row.bytes]
        assert any(content[at] for at in data)
        assert not any(content[at] for at in set(range(row.bytes)) - data), region
        padding += row.bytes - len(data)
    assert padding > 0
    assert tables.sealing is not None
    journal = tables.sealing.journal
    for slot in (0, 1):
        start = journal.base + slot * journal.bytes // 2
        content = stores[journal.store][start : start + journal.bytes // 2]
        assert any(content[:SEAL_BYTES])
        assert not any(content[SEAL_BYTES:])


@needs_mbedtls
def test_a_record_of_an_older_image_is_a_replay(workshop: Any, tmp_path: Path) -> None:
    """A record that was sealed for other tables with the same key, at the same place, is told."""
    problem = workshop.problem(encrypted(load_target("f746-sd"), "aes-128-gcm"))
    plan = workshop.plan(problem, workshop.selection)
    new = written(problem, plan, tmp_path, "aes-128-gcm")
    older = workshop.problem(problem.target, sram_bytes=60 << 10)
    (tmp_path / "older").mkdir()
    old = written(older, workshop.plan(older, workshop.selection, False), tmp_path / "older", "aes-128-gcm")
    (_, first), (_, second) = sorted(plan.graph.weight_records, key=lambda record: record[1])[:2]
    assert first in {offset for _, offset in old.plan.graph.weight_records}
    image = bytearray((new.folder / "net.bin").read_bytes())
    image[first:second] = (old.folder / "net.bin").read_bytes()[first:second]
    (new.folder / "net.bin").write_bytes(bytes(image))
    found = new.make("run", "CFLAGS=-O1")
    assert "error -16, a sealed record is of another run or image (stream " in found.stderr


# ------------------------------------------------------------------------ machines


@pytest.fixture(scope="session")
def mbedtls_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source of Debian's Mbed TLS, fetched with apt without touching the system's lists."""
    folder = tmp_path_factory.mktemp("mbedtls")
    (folder / "lists" / "partial").mkdir(parents=True)
    (folder / "sources.list").write_text("deb-src http://deb.debian.org/debian bookworm main\n")
    places = {
        "Dir::Etc::sourcelist": folder / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::lists": folder / "lists",
        "Dir::Cache": folder,
    }
    options = [word for name, value in places.items() for word in ("-o", f"{name}={value}")]
    for deed in (["update"], ["source", "--download-only", "mbedtls"]):
        command = ["apt-get", "-qq", *options, *deed]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=300, check=False
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            pytest.skip(f"apt-get cannot fetch the source of Mbed TLS ({error})")
        if done.returncode != 0:
            pytest.skip(f"apt-get cannot fetch the source of Mbed TLS ({done.stderr.strip()[-200:]})")
    (archive,) = folder.glob("mbedtls_*.orig.tar.*")
    shutil.unpack_archive(archive, folder / "source", filter="data")
    (found,) = (folder / "source").iterdir()
    return found


@needs_mbedtls
@pytest.mark.parametrize(
    "network", ["small", *(pytest.param(name, marks=pytest.mark.slow) for name in ("ds_cnn", "resnet8"))]
)
def test_an_engine_beside_an_emulated_cpu(
    mbedtls_source: Path, workshop: Any, tmp_path: Path, network: str
) -> None:
    """With DMA whose interrupts go on with the tables, an engine opens and seals: the same bytes, or the change is told."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    target, cipher = f"an505-qemu{ENGINE}", "aes-128-gcm"
    if network == "small":
        problem = workshop.problem(target_of(target, cipher))
        plan = workshop.plan(problem, workshop.selection)
    else:
        problem, plan = planned(
            zoo_network(network), target, cipher, dict(NETWORKS)[network], "demand-layering"
        )
    project = written(problem, plan, tmp_path, cipher)
    kinds = {task.kind for task in project.plan.graph.tasks if task.resource == CRYPTO}
    assert kinds == {TaskKind.DECRYPT, TaskKind.ENCRYPT}
    options = (f"MBEDTLS={mbedtls_source}", "TARGET_CFLAGS=-O1")
    found = project.make("run", *options)
    assert found.returncode == 0, found.stderr
    assert project.output == project.expected
    image = project.folder / "net.bin"
    content = bytearray(image.read_bytes())
    (_, first), *_ = sorted(project.plan.graph.weight_records, key=lambda record: record[1])
    content[first + 1] ^= 4
    image.write_bytes(content)
    found = project.make("run", *options)
    assert found.returncode != 0
    engine = len(project.plan.streams.order) - 1
    assert f"error -14, a sealed record was changed (stream {engine}, command " in found.stderr + found.stdout


def crypto_instructions(project: Sealed) -> int:
    """Instructions of the last run with PROFILE=1 in functions that seal and open."""
    report = (project.folder / "build" / "run" / "profile.txt").read_text()
    rows = (line.split() for line in report.splitlines())
    return sum(int(count) for count, _, name in rows if LIBRARY.fullmatch(name.split(".")[0]))


@pytest.mark.slow
@needs_mbedtls
@pytest.mark.parametrize(("name", "kib"), NETWORKS)
@pytest.mark.parametrize("cipher", CIPHERS)
@pytest.mark.parametrize("target", ["lm3s-qemu", "an386-qemu"])
def test_sealed_machines(
    mbedtls_source: Path, tmp_path: Path, target: str, cipher: str, name: str, kib: int
) -> None:
    """Emulated machines give the reference's bytes, within the stack that plans count; sealing takes what is planned.

    The board file's cycles are instructions, so the planned time is compared with counted instructions.
    """
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    problem, plan = planned(zoo_network(name), target, cipher, kib)
    project = written(problem, plan, tmp_path, cipher)
    found = project.make("run", f"MBEDTLS={mbedtls_source}", "TARGET_CFLAGS=-O2", "ICOUNT=7", "PROFILE=1")
    assert found.returncode == 0, found.stderr
    assert project.output == project.expected
    planned_ns = sum(
        (opening_ns if task.kind is TaskKind.DECRYPT else sealing_ns)(problem.target, task.transfer)
        for task in plan.graph.tasks
        if task.transfer is not None and task.moved is None
    )
    planned_cycles = planned_ns * problem.target.board.clock_hz / 1e9
    assert planned_cycles == pytest.approx(crypto_instructions(project), rel=0.05)
