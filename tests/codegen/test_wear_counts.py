"""The emulated storage of the host counts what a plan promises: bytes moved, requests, programs per block."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import REGIONS
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Plan
from ooc_solve.models.wear import wear_block_bytes
from ooc_solve.solver.figures import hottest_programs, programs_of, traffic_of

pytestmark = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="needs make and a C compiler"
)

CARD_BLOCK_BYTES = 16_384
"""A block size for parts that level wear: their plans do not count by block, but the counts must agree."""


def counted(problem: Problem, plan: Plan, folder: Path, block_bytes: int) -> dict[str, int]:
    """What the host port counts while the emitted network runs once."""
    write_project(problem, plan, folder / "out", "net")
    count = sum(problem.network.tensors[name].size_bytes for name in problem.network.inputs)
    data = np.random.default_rng(5).integers(-128, 128, count, dtype=np.int8)
    (folder / "in.bin").write_bytes(data.tobytes())
    done = subprocess.run(
        ["make", "-s", "-C", str(folder / "out"), "host-run", "INPUT=in.bin", "OUTPUT=out.bin",
         f"ARGUMENTS=--stats --block {block_bytes}"],
        cwd=folder, env={**os.environ, "PWD": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = (line.split() for line in done.stdout.splitlines())
    return {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}


def check_counts(problem: Problem, plan: Plan, folder: Path) -> None:
    """Compare every figure that the host counts with the plan's."""
    part = problem.activation_store.storage
    block_bytes = wear_block_bytes(part) or CARD_BLOCK_BYTES
    found = counted(problem, plan, folder, block_bytes)
    traffic = traffic_of(problem, plan.graph)
    assert found["bytes_written"] == sum(store.written_bytes for store in traffic)
    assert found["bytes_read"] == sum(store.read_bytes for store in traffic)
    assert found["writes"] == sum(store.writes for store in traffic)
    assert found["reads"] == sum(store.reads for store in traffic)
    rows = build_tables(problem, plan).region
    base = {name: row.base for name, row in zip(REGIONS, rows, strict=False)}
    blocks: dict[int, int] = {}
    for (_, block), count in programs_of(plan.graph, block_bytes, base).items():
        blocks[block] = blocks.get(block, 0) + count
    assert found["worst_block_writes"] == max(blocks.values(), default=0)
    if wear_block_bytes(part) is not None:
        assert found["worst_block_writes"] == hottest_programs(problem, plan.graph) > 0


@pytest.mark.parametrize("name", ["f746-sd", "u585-octal", "sf2-nor-qemu", "f746-qspi-sdram"])
def test_spilled_plans_are_counted_as_promised(workshop: Any, tmp_path: Path, name: str) -> None:
    """A plan that spills most tensors: SD card, PSRAM, bare NOR flash, SDRAM."""
    problem = workshop.problem(load_target(name))
    plan = workshop.plan(problem, workshop.selection)
    check_counts(problem, plan, tmp_path)


def test_flash_that_takes_no_activations_is_not_written(workshop: Any, tmp_path: Path) -> None:
    """With NOR for weights only and all tensors kept nothing is programmed."""
    problem = workshop.problem(load_target("nrf52840-nor"), IoPlace.SRAM)
    plan = workshop.plan(problem, workshop.striped(problem.network, 1, False))
    found = counted(problem, plan, tmp_path, 4096)
    assert found["bytes_written"] == found["writes"] == found["worst_block_writes"] == 0
