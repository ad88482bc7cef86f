"""Weights on two stores: tables, both images, the checker, runs, faults and sealed records."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.check import Rule, check_tables
from ooc_solve.codegen.packing import CommandRow, pack, unpack
from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import REGIONS, StreamRow, Tables, has_annex, table_bytes
from ooc_solve.models.footprint import count_table_bytes
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.reference import run
from ooc_solve.models.sealing import NONCE_BYTES, SEAL_BYTES, encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import InputError, Plan, RegionName, Selection

TARGETS = ("h747-qspi-sd", "rt1060-flash-sdram-sd", "esp32s3-flash-psram-sd")
ANNEX = REGIONS.index(RegionName.ANNEX)
NO_IMAGE, RECORD, DIGEST, TRUNCATED = -2, -4, -9, -10

compiled = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="needs make and a C compiler"
)


def spread(problem: Problem, selection: Selection, first: int = 0) -> Selection:
    """The selection with the weights of every second operator that has any in the annex."""
    weighty = [k for k, op in enumerate(problem.network.ops) if op.weights is not None]
    there = set(weighty[first::2])
    return replace(
        selection, tilings=tuple(replace(t, annex=k in there) for k, t in enumerate(selection.tilings))
    )


def planned(workshop: Any, name: str, io: IoPlace = IoPlace.STORAGE) -> tuple[Problem, Plan]:
    """The small network on a target, with weights on both stores."""
    problem = workshop.problem(load_target(name), io)
    return problem, workshop.plan(problem, spread(problem, workshop.selection))


@dataclass(frozen=True)
class Device:
    """A network built for the host with sanitizers, its input and its right output."""

    folder: Path
    expected: bytes

    def run(self, *arguments: str, annex: Path | None = None) -> tuple[bytes | None, str]:
        """Output (None if there is none), and what was told on stderr."""
        out = self.folder / "result.bin"
        out.unlink(missing_ok=True)
        files = ["net.bin", "in.bin", "result.bin", "--annex", str(annex or "net_annex.bin")]
        command = [str(self.folder / "build" / "net"), *files, *arguments]
        done = subprocess.run(
            command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60
        )
        assert "Sanitizer" not in done.stderr, done.stderr
        return (out.read_bytes() if out.exists() else None), done.stderr

    def error(self, *arguments: str, annex: Path | None = None) -> int:
        """The error of a run that must not give an output."""
        output, told = self.run(*arguments, annex=annex)
        assert output is None
        return int(told.split()[2].rstrip(","))


def built(problem: Problem, plan: Plan, folder: Path, key: bytes | None = None) -> Device:
    """Write and compile a network, with an input from a fixed seed."""
    write_project(problem, plan, folder, "net", key)
    flags = "EXTRA_CFLAGS=-O1 -fsanitize=address,undefined -fno-sanitize-recover=all -Wconversion -Werror"
    done = subprocess.run(["make", "-s", flags], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    data = np.random.default_rng(3).integers(-128, 128, (9, 8, 4), dtype=np.int8)
    (folder / "in.bin").write_bytes(data.tobytes())
    if key is not None:
        (folder / "key.bin").write_bytes(key)
    return Device(folder, run(problem.network, {"image": data})["scores.out"].tobytes())


@pytest.fixture(scope="module")
def device(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Device:
    """The small network in flash, on a card, with spilled tensors on that card."""
    return built(*planned(workshop, "h747-qspi-sd"), tmp_path_factory.mktemp("annex") / "out")


# ------------------------------------------------------------------------------- tables


@pytest.mark.parametrize("name", TARGETS)
@pytest.mark.parametrize("io", list(IoPlace))
def test_tables_are_sound(workshop: Any, name: str, io: IoPlace) -> None:
    """Each channel has a stream of its own, weights come over two of them, and the checker proves the order."""
    problem, plan = planned(workshop, name, io)
    tables = build_tables(problem, plan)
    assert not check_tables(tables)
    assert has_annex(tables)
    channels = list(dict.fromkeys(store.channel for store in problem.target.stores))
    assert len(tables.stream) == 1 + len(channels)
    read = [{c.word[2] for c in stream.commands if c.is_transfer} for stream in tables.stream]
    annex = problem.target.annex
    assert annex is not None
    assert ANNEX in read[1 + channels.index(annex.channel)]
    assert 0 in read[1]
    assert tables.region[ANNEX].base == 0
    assert table_bytes(tables) <= count_table_bytes(problem, plan.graph)


def test_without_weights_there_no_annex_is_emitted(workshop: Any, tmp_path: Path) -> None:
    """A plan that takes all weights from the image has the tables of a target without an annex."""
    target = load_target("h747-qspi-sd")
    plain = workshop.problem(replace(target, annex=None, parts=()))
    problem = workshop.problem(target)
    plan = workshop.plan(problem, workshop.selection)
    tables = build_tables(problem, plan)
    assert tables == build_tables(plain, workshop.plan(plain, workshop.selection))
    assert not has_annex(tables)
    write_project(problem, plan, tmp_path / "out", "net")
    assert not (tmp_path / "out" / "net_annex.bin").exists()
    assert "ANNEX" not in (tmp_path / "out" / "Makefile").read_text()


def changed(tables: Tables, stream: int, number: int, command: CommandRow) -> Tables:
    """Tables with another command in one place."""
    row = tables.stream[stream]
    commands = [*row.commands[:number], command, *row.commands[number + 1 :]]
    streams = list(tables.stream)
    streams[stream] = StreamRow.of(commands, row.channel, row.store)
    return replace(tables, stream=tuple(streams))


def annex_loads(tables: Tables) -> list[tuple[int, int]]:
    """Stream and number of the commands that load from the annex."""
    return [
        (s, n)
        for s, row in enumerate(tables.stream)
        for n, command in enumerate(row.commands)
        if command.is_transfer and command.word[2] == ANNEX
    ]


@pytest.mark.parametrize("name", TARGETS)
def test_the_checker_knows_the_annex(workshop: Any, name: str) -> None:
    """A record taken from the image instead, or from elsewhere in the annex, or stored there, is reported."""
    tables = build_tables(*planned(workshop, name))
    stream, number = annex_loads(tables)[-1]
    command = tables.stream[stream].commands[number]
    sram, shape, _, flags, low, high = command.word
    elsewhere = replace(command, word=(sram, shape, 0, flags, low, high))
    assert check_tables(changed(tables, stream, number, elsewhere))
    first = tables.stream[stream].commands[annex_loads(tables)[0][1]]
    shifted = replace(command, word=(sram, shape, ANNEX, flags, *first.word[4:]))
    assert check_tables(changed(tables, stream, number, shifted))
    stored = replace(command, word=(sram, shape, ANNEX, flags | 1, low, high))
    rules = {violation.rule for violation in check_tables(changed(tables, stream, number, stored))}
    assert Rule.OUTSIDE_REGION in rules


@pytest.mark.parametrize("name", TARGETS)
def test_the_checker_misses_waits_of_every_stream(workshop: Any, name: str) -> None:
    """Whichever stream a kernel does not wait for any more, there is a race, over all streams together."""
    tables = build_tables(*planned(workshop, name))
    for awaited in range(1, len(tables.stream)):
        commands = tables.stream[0].commands
        loose = [
            replace(c, wait=tuple(0 if k == awaited - 1 else w for k, w in enumerate(c.wait)))  # type: ignore[arg-type]
            for c in commands
        ]
        assert loose != list(commands)
        row = tables.stream[0]
        streams = (StreamRow.of(loose, row.channel, row.store), *tables.stream[1:])
        found = {violation.rule for violation in check_tables(replace(tables, stream=streams))}
        assert Rule.UNORDERED in found


def test_regions_of_commands_have_three_bits() -> None:
    """What is packed comes back, for every region and flag."""
    rows = [
        CommandRow((0, 0, 0), 0xFFFF, (k, 1, region, flags, 2, 3))
        for region in range(len(REGIONS))
        for flags in range(4)
        for k in range(2)
    ]
    assert list(unpack(pack(rows))) == rows


def test_emulated_machines_have_no_annex(workshop: Any, tmp_path: Path) -> None:
    """A board with an emulator refuses a plan with an annex, in one sentence, and writes nothing."""
    target = load_target("h747-qspi-sd")
    board = replace(target.board, emulator=load_target("lm3s-qemu").board.emulator)
    problem = workshop.problem(replace(target, board=board))
    plan = workshop.plan(problem, spread(problem, workshop.selection))
    with pytest.raises(InputError, match="has no store for an annex"):
        write_project(problem, plan, tmp_path / "out", "net")
    assert not (tmp_path / "out").exists()


# --------------------------------------------------------------------------------- runs


@compiled
@pytest.mark.parametrize(
    ("name", "io"), [(TARGETS[0], IoPlace.SRAM), (TARGETS[1], IoPlace.STORAGE), (TARGETS[2], IoPlace.STORAGE)]
)
def test_runs_equal_the_reference(workshop: Any, tmp_path: Path, name: str, io: IoPlace) -> None:
    """Whatever both stores do and however long they take, the output is the reference's."""
    device = built(*planned(workshop, name, io), tmp_path / "out")
    assert device.run("--seed", "1", "--runs", "10") == (device.expected, "")


@compiled
def test_a_wrong_annex_is_refused_when_opened(workshop: Any, device: Device, tmp_path: Path) -> None:
    """None, the image in its place, that of another plan, and one that ends early: each has its error."""
    folder = device.folder
    content = (folder / "net_annex.bin").read_bytes()
    problem, _ = planned(workshop, "h747-qspi-sd")
    other = workshop.plan(problem, spread(problem, workshop.selection, 1))
    write_project(problem, other, tmp_path / "other", "net")
    (tmp_path / "none").write_bytes(b"")
    (tmp_path / "short").write_bytes(content[:-512])
    assert device.error(annex=tmp_path / "none") == NO_IMAGE
    assert device.error(annex=folder / "net.bin") == NO_IMAGE
    assert device.error(annex=tmp_path / "other" / "net_annex.bin") == DIGEST
    assert device.error(annex=tmp_path / "short") == TRUNCATED


@compiled
def test_wrong_bits_in_the_annex_are_found(device: Device, tmp_path: Path) -> None:
    """A record of the annex is compared with its checksum before a kernel uses it."""
    content = bytearray((device.folder / "net_annex.bin").read_bytes())
    content[600] ^= 4
    (tmp_path / "damaged").write_bytes(content)
    assert device.error(annex=tmp_path / "damaged") == RECORD


@compiled
def test_a_power_cut_leaves_the_annex_alone(device: Device) -> None:
    """Cut at any write, a run after the power is back finds both images and gives the right output."""
    for number in (1, 2, 5):
        output, told = device.run("--cut", str(number), "--retry", "2")
        assert output == device.expected
        assert "-3" in told


@compiled
def test_every_transfer_may_fail_once(device: Device) -> None:
    """Whichever transfer fails, of any stream, the run after it gives the right output."""
    statistics = subprocess.run(
        [*(device.folder / "build" / "net", "net.bin", "in.bin", "result.bin"), "--annex", "net_annex.bin", "--stats"],
        cwd=device.folder, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    counts = dict(line.split() for line in statistics.splitlines())
    streams = set()
    for number in range(1, int(counts["reads"]) + int(counts["writes"]) + 1):
        output, told = device.run("--fail", str(number), "--retry", "1")
        assert output == device.expected
        streams.add(told.split("(stream ")[1].split(",")[0])
    assert streams == {"1", "2"}


# ------------------------------------------------------------------------------- sealed


def nonces(content: bytes, spans: list[tuple[int, int]]) -> list[bytes]:
    """Nonces of sealed records at ``(offset, bytes)``."""
    return [content[at + size - SEAL_BYTES : at + size - SEAL_BYTES + NONCE_BYTES] for at, size in spans]


@pytest.mark.skipif(find_spec("cryptography") is None, reason="needs the library cryptography")
def test_no_nonce_comes_twice(workshop: Any, tmp_path: Path) -> None:
    """Records at the same offset of image and annex are sealed with different nonces."""
    problem = workshop.problem(encrypted(load_target("h747-qspi-sd"), "chacha20-poly1305"))
    plan = workshop.plan(problem, spread(problem, workshop.selection))
    write_project(problem, plan, tmp_path / "out", "net", bytes(32))
    found = []
    for region, file in ((0, "net.bin"), (ANNEX, "net_annex.bin")):
        moved = {
            (t.transfer.offset, t.transfer.size_bytes)
            for t in plan.graph.tasks
            if t.transfer is not None and REGIONS.index(t.transfer.region) == region
        }
        assert moved
        found += nonces((tmp_path / "out" / file).read_bytes(), sorted(moved))
    assert len(found) == len(set(found))


@compiled
@pytest.mark.skipif(
    find_spec("cryptography") is None or not Path("/usr/include/mbedtls/chachapoly.h").exists(),
    reason="needs the library cryptography and Mbed TLS",
)
def test_sealed_weights_on_two_stores_run(workshop: Any, tmp_path: Path) -> None:
    """With sealed records in image and annex the output is the reference's, and damage is told."""
    problem = workshop.problem(encrypted(load_target("h747-qspi-sd"), "chacha20-poly1305"))
    plan = workshop.plan(problem, spread(problem, workshop.selection))
    device = built(problem, plan, tmp_path / "out", bytes(range(32)))
    assert device.run("--key", "key.bin") == (device.expected, "")
    content = bytearray((device.folder / "net_annex.bin").read_bytes())
    content[600] ^= 4
    (tmp_path / "damaged").write_bytes(content)
    assert device.error("--key", "key.bin", annex=tmp_path / "damaged") == -14
