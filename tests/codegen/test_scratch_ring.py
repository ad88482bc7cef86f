"""The scratch region takes turns in its ring: the storage counts what plans promise, and power cuts change nothing."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.check import Rule, check_tables
from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import REGIONS, RingRow, Tables
from ooc_solve.models.levelling import Ring
from ooc_solve.models.problem import Problem
from ooc_solve.models.reference import run
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import InputError, Plan, RegionName
from ooc_solve.models.wear import wear_block_bytes
from ooc_solve.solver.figures import figures_of, hottest_programs, programs_of, ring_of, traffic_of
from ooc_solve.solver.validate import validate

HERE = Path(__file__).parent
needs_tools = pytest.mark.skipif(not all(map(shutil.which, ("make", "cc"))), reason="needs make and cc")
RINGS = {"f746-sd": 48 << 10, "sf2-nor-qemu": 5 << 16, "lm3s-qemu": 48 << 10}
"""Rings of several places by target: cards in granules of 512 bytes, NOR flash in erase blocks of 64 KiB."""

BLOCK_BYTES = 1024
"""A block for cards, which level wear by themselves: their plans do not count by block, but the counts must agree."""

STRICT = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror")


@dataclass(frozen=True)
class Levelled:
    """A project whose scratch region takes turns, what it must compute, and what it was made from."""

    folder: Path
    problem: Problem
    plan: Plan
    expected: bytes

    @property
    def ring(self) -> Ring:
        """Where the region takes turns."""
        ring = ring_of(self.problem, self.plan.graph)
        assert ring is not None
        return ring

    @property
    def block_bytes(self) -> int:
        """Blocks in which writes are counted."""
        return wear_block_bytes(self.problem.activation_store.storage) or BLOCK_BYTES

    def lap(self, laps: int = 1) -> Counter[int]:
        """Writes of each block of the store in so many laps of the ring, by the plan's tasks and its ring alone."""
        rows = build_tables(self.problem, self.plan).region
        base = {name: row.base for name, row in zip(REGIONS, rows, strict=False)}
        found: Counter[int] = Counter()
        for place in range(self.ring.places):
            moved = base[RegionName.SCRATCH] + place * self.ring.step_bytes
            turn = base | {RegionName.SCRATCH: moved}
            for (_, block), count in programs_of(self.plan.graph, self.block_bytes, turn).items():
                found[block] += laps * count
            note = moved + self.ring.note_offset
            last = note + self.ring.note_bytes - 1
            found.update(dict.fromkeys(range(note // self.block_bytes, last // self.block_bytes + 1), laps))
        return found

    def make(self, goal: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Call make with the files beside the project."""
        files = (f"{name}={self.folder.parent / file}" for name, file in FILES.items())
        return subprocess.run(
            ["make", "-s", "-C", str(self.folder), goal, *files, *arguments],
            env=os.environ | {"PWD": str(self.folder.parent)}, capture_output=True, text=True, check=False,
        )  # fmt: skip

    def counted(self, goal: str, *arguments: str) -> dict[str, int]:
        """What a run tells, and that it computed what it must."""
        done = self.make(goal, *arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (self.folder.parent / "out.bin").read_bytes() == self.expected
        lines = (line.split() for line in done.stdout.splitlines())
        return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}

    def device(self, deed: str, *more: str) -> list[list[int]]:
        """What the device says after its name, by lines."""
        files = ("net.bin", "../in.bin", "../expected.bin")
        command = ["./device", deed, *files, *more]
        done = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return [[int(w) for w in line.split() if w.isdigit()] for line in done.stdout.splitlines()]


FILES = {"INPUT": "in.bin", "OUTPUT": "out.bin", "KEY": "key.bin"}


def written(problem: Problem, plan: Plan, folder: Path) -> Levelled:
    """Write a project and its files, with an input drawn from a seed."""
    network, rng = problem.network, np.random.default_rng(3)
    key = bytes(range(16)) if problem.target.crypto else None
    write_project(problem, plan, folder / "out", "net", key)
    shapes = {name: network.tensors[name] for name in network.inputs}
    inputs: dict[str, Any] = {
        name: rng.integers(-128, 128, (t.height, t.width, t.channels)).astype(np.int8)
        for name, t in shapes.items()
    }
    (folder / "in.bin").write_bytes(b"".join(inputs[name].tobytes() for name in network.inputs))
    (folder / "key.bin").write_bytes(key or b"")
    found = run(network, inputs)
    expected = b"".join(found[name].tobytes() for name in network.outputs)
    (folder / "expected.bin").write_bytes(expected)
    return Levelled(folder / "out", problem, plan, expected)


def levelled(workshop: Any, problem: Problem) -> Plan:
    """A plan by hand, with its figures."""
    plan = workshop.plan(problem, workshop.selection)
    plan = replace(plan, figures=figures_of(problem, plan.graph, plan.schedule))
    assert validate(problem, plan) == ()
    return plan  # type: ignore[no-any-return]


@pytest.fixture(scope="module")
def small(workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Levelled]:
    """Function that writes the small network's project with a ring on a target, once."""

    @cache
    def made(target: str) -> Levelled:
        problem = replace(workshop.problem(load_target(target)), scratch_ring_bytes=RINGS[target])
        folder = tmp_path_factory.mktemp("ring")
        return written(problem, levelled(workshop, problem), folder)

    return made


@pytest.fixture(scope="module")
def device(small: Callable[[str], Levelled]) -> Callable[[str], Levelled]:
    """Function that builds the device of ring_device.c around the small network, once."""

    @cache
    def built(target: str) -> Levelled:
        project = small(target)
        runtime = (path for path in project.folder.glob("*.c") if path.name.startswith(("ooc", "net")))
        model = ("-DOOC_RING", '-DOOC_MODEL_HEADER="net.h"', "-DOOC_MODEL=net_model", "-I.")
        erase = project.problem.activation_store.storage.erase
        nor = (f"-DNOR={erase.block_bytes}u",) if erase is not None and erase.required else ()
        own = (str(HERE / file) for file in ("ring_device.c", "memory_device.c"))
        command = ["cc", *STRICT, *model, *nor, *(path.name for path in runtime), *own]
        done = subprocess.run(
            [*command, "-o", "device"], cwd=project.folder, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr
        return project

    return built


# ---------------------------------------------------------------------------- counts


@needs_tools
@pytest.mark.parametrize("target", ["f746-sd", "sf2-nor-qemu"])
@pytest.mark.parametrize("each", [1, 3, 1000])
def test_laps_wear_each_block_as_the_plan_says(
    device: Callable[[str], Levelled], target: str, each: int
) -> None:
    """Two laps program each block exactly as often as tasks and notes say, however often power fails between runs."""
    project = device(target)
    runs = 2 * project.ring.places
    (_, wrong, _), *rows = project.device("count", str(project.block_bytes), str(runs), str(each))
    assert wrong == 0
    programs = {block: programs for _, block, programs, _ in rows if programs}
    assert programs == project.lap(2)
    if wear_block_bytes(project.problem.activation_store.storage) is not None:
        hottest = max(programs.values()) / runs
        assert hottest == hottest_programs(project.problem, project.plan.graph)
        assert all(erases <= programs for _, _, programs, erases in rows)
    assert project.ring.places >= 4


@needs_tools
@pytest.mark.parametrize("target", ["f746-sd", "sf2-nor-qemu"])
def test_the_host_port_counts_a_lap(small: Callable[[str], Levelled], target: str) -> None:
    """The host program moves in a lap as many times what the plan says of one run, notes included."""
    project = small(target)
    lap = project.ring.places
    arguments = f"ARGUMENTS=--stats --rounds {lap} --block {project.block_bytes}"
    found = project.counted("host-run", arguments)
    traffic = traffic_of(project.problem, project.plan.graph)
    assert found["bytes_written"] == lap * sum(store.written_bytes for store in traffic)
    assert found["writes"] == lap * sum(store.writes for store in traffic)
    assert found["bytes_read"] == lap * sum(store.read_bytes for store in traffic)
    assert found["worst_block_writes"] == max(project.lap().values())
    assert found["bytes_written"] == lap * project.plan.figures.bytes_written


@needs_tools
@pytest.mark.parametrize("target", ["sf2-nor-qemu", "lm3s-qemu"])
def test_emulated_machines_count_a_lap(small: Callable[[str], Levelled], target: str) -> None:
    """A card and NOR flash that must be erased, driven in an emulator, get the writes of a lap, block by block."""
    for tool in ("arm-none-eabi-gcc", "qemu-system-arm"):
        if shutil.which(tool) is None:
            pytest.skip(f"needs {tool}")
    project = small(target)
    lap = project.ring.places
    found = project.counted("run", f"ARGUMENTS=--rounds {lap} --block {project.block_bytes}")
    assert found["bytes_written"] == lap * project.plan.figures.bytes_written
    assert found["worst_block_writes"] == max(project.lap().values())


# ------------------------------------------------------------------------ power cuts


@needs_tools
@pytest.mark.parametrize("target", ["f746-sd", "sf2-nor-qemu"])
def test_power_may_fail_at_every_write(device: Callable[[str], Levelled], target: str) -> None:
    """Power fails at every write and erase of a run at every place, before, amid and behind it: the next run is right.

    It goes on at the next place, or at the same one if no note says that this one was used.
    """
    project = device(target)
    (deeds,), (lives,), (wrong,), (astray,) = project.device("cut")
    assert lives == 3 * deeds * project.ring.places
    assert deeds > 10
    assert (wrong, astray) == (0, 0)


@needs_tools
@pytest.mark.parametrize("target", ["f746-sd", "sf2-nor-qemu"])
def test_notes_that_cannot_be_read_are_lost(device: Callable[[str], Levelled], target: str) -> None:
    """Where the part refuses to read the note of any one place, after any number of runs, the next run is right."""
    ((wrong,),) = device(target).device("refuse")
    assert wrong == 0


@needs_tools
@pytest.mark.parametrize("target", ["f746-sd", "sf2-nor-qemu"])
def test_turns_are_kept_over_a_life_of_cuts(device: Callable[[str], Levelled], target: str) -> None:
    """Of hundreds of runs, half of them cut anywhere, each that left its note was at the place behind the one before."""
    (cuts,), (wrong,), (astray,) = device(target).device("life", "400", "5")
    assert cuts > 50
    assert (wrong, astray) == (0, 0)


@needs_tools
def test_a_sealed_region_takes_turns(workshop: Any, tmp_path: Path) -> None:
    """Sealed rows open wherever their region lies, run after run, and after power cuts at every write of a run."""
    if not any(Path(f, "mbedtls/gcm.h").is_file() for f in ("/usr/include", "/usr/local/include")):
        pytest.skip("needs libmbedtls-dev")
    sealed = workshop.problem(encrypted(load_target("f746-sd"), "aes-128-gcm"))
    problem = replace(sealed, scratch_ring_bytes=64 << 10)
    project = written(problem, levelled(workshop, problem), tmp_path)
    lap = project.ring.places
    found = project.counted("run", f"ARGUMENTS=--stats --rounds {2 * lap} --seed 3")
    assert lap > 1
    assert found["bytes_written"] == 2 * lap * project.plan.figures.bytes_written
    sources = [path.name for path in project.folder.glob("*.c") if not path.name.endswith("_host.c")]
    model = ("-DOOC_RING", "-DOOC_SEAL", '-DOOC_MODEL_HEADER="net.h"', "-DOOC_MODEL=net_model", "-I.")
    own = (str(HERE / file) for file in ("sealed_device.c", "memory_device.c"))
    command = ["cc", *STRICT, *model, *sources, *own, "-lmbedcrypto", "-o", "device"]
    subprocess.run(command, cwd=project.folder, check=True)
    deed = ["./device", "cut", "net.bin", "../in.bin", "../key.bin"]
    done = subprocess.run(deed, cwd=project.folder, capture_output=True, text=True, check=True)
    told = {name: int(value) for name, value in map(str.split, done.stdout.splitlines())}
    assert told["lives"] == 3 * told["writes"] > 20
    assert (told["twice"], told["failed"]) == (0, 0)


# --------------------------------------------------------------------------- tables


def rows_with(tables: Tables, **changes: int) -> Tables:
    """Tables with another ring."""
    assert tables.ring is not None
    return replace(tables, ring=replace(tables.ring, **changes))


def test_checker_knows_the_ring(workshop: Any) -> None:
    """Right tables pass; places too small, notes off the granule, outside of SRAM or of the store are told."""
    problem = replace(workshop.problem(load_target("f746-sd")), scratch_ring_bytes=48 << 10)
    tables = build_tables(problem, levelled(workshop, problem))
    assert check_tables(tables) == ()
    ring, scratch = tables.ring, tables.region[3]
    assert ring is not None
    assert ring == RingRow(ring.step, (48 << 10) // ring.step, ring.buffer, 512)
    assert tables.store_bytes(0) == scratch.base + ring.step * ring.places

    def rules(**changes: int) -> set[Rule]:
        return {violation.rule for violation in check_tables(rows_with(tables, **changes))}

    assert rules(step=scratch.bytes) == {Rule.OUTSIDE_REGION}
    assert rules(step=ring.step + 8) == {Rule.OFF_GRANULE}
    assert rules(buffer=tables.arena_bytes // tables.unit) == {Rule.OUTSIDE_BANK}


def test_checker_keeps_notes_off_the_inputs(workshop: Any) -> None:
    """A note that goes through the bytes of an input in the arena is told: the input must outlive a failed run."""
    problem = replace(workshop.problem(load_target("f746-sd")), scratch_ring_bytes=48 << 10)
    tables = build_tables(problem, levelled(workshop, problem))
    first = tables.bindings[0]
    resident = replace(first, operand=replace(first.operand, place=0), offset=0)
    moved = replace(tables, bindings=(resident, *tables.bindings[1:]))
    found = [violation.detail for violation in check_tables(rows_with(moved, buffer=0))]
    assert "the note must not lie on input 0" in found


def test_tables_without_a_ring_are_as_before(workshop: Any) -> None:
    """Without a ring, and with one but nothing spilled, the runtime has no part of it."""
    problem = workshop.problem(load_target("f746-sd"))
    assert build_tables(problem, workshop.plan(problem, workshop.selection)).ring is None
    ringed = replace(problem, scratch_ring_bytes=48 << 10)
    kept = workshop.striped(ringed.network, 1, False)
    assert build_tables(ringed, workshop.plan(ringed, kept)).ring is None


def test_a_ring_beyond_the_part_is_refused(workshop: Any) -> None:
    """A ring that does not fit behind the other regions is refused with the greatest that does."""
    target = load_target("sf2-nor-qemu")
    problem = replace(workshop.problem(target), scratch_ring_bytes=16 << 20)
    plan = workshop.plan(problem, workshop.selection)
    greatest = (16 << 20) - 3 * (64 << 10)
    with pytest.raises(InputError, match=f"at most {greatest}"):
        build_tables(problem, plan)
