"""The emulated storage of the host counts what a plan promises: bytes moved, requests, programs per block."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import REGIONS
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.sealing import cipher_of, encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Plan, Target
from ooc_solve.models.wear import wear_block_bytes
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.figures import hottest_programs, programs_of, traffic_of
from ooc_solve.solver.solve import three_objectives

pytestmark = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="needs make and a C compiler"
)

CARD_BLOCK_BYTES = 16_384
"""A block size for parts that level wear: their plans do not count by block, but the counts must agree."""


Blocks = Counter[tuple[int, int]]
"""How many writes touch a block, by store and number."""


def counted(problem: Problem, plan: Plan, folder: Path, block_bytes: int) -> tuple[dict[str, int], Blocks]:
    """What the host port counts while the emitted network runs once, all together and by block."""
    crypto = problem.target.crypto
    key = None if crypto is None else bytes(cipher_of(crypto).key_bytes)
    folder.mkdir(exist_ok=True)
    write_project(problem, plan, folder / "out", "net", key)
    (folder / "key.bin").write_bytes(key or b"")
    count = sum(problem.network.tensors[name].size_bytes for name in problem.network.inputs)
    data = np.random.default_rng(5).integers(-128, 128, count, dtype=np.int8)
    (folder / "in.bin").write_bytes(data.tobytes())
    done = subprocess.run(
        ["make", "-s", "-C", str(folder / "out"), "host-run", "INPUT=in.bin", "OUTPUT=out.bin",
         *(() if key is None else (f"KEY={folder / 'key.bin'}",)), "CFLAGS=-O1", f"ARGUMENTS=--blocks --block {block_bytes}"],
        cwd=folder, env={**os.environ, "PWD": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    lines = [line.split() for line in done.stdout.splitlines()]
    figures = {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
    numbers = (tuple(map(int, words[1:])) for words in lines if words[:1] == ["block_writes"])
    return figures, Counter({(store, block): writes for store, block, writes in numbers})


def check_counts(problem: Problem, plan: Plan, folder: Path) -> Blocks:
    """Compare every figure that the host counts with the plan's; the writes by block."""
    part = problem.activation_store.storage
    block_bytes = wear_block_bytes(part) or CARD_BLOCK_BYTES
    found, blocks = counted(problem, plan, folder, block_bytes)
    traffic = traffic_of(problem, plan.graph)
    assert found["bytes_written"] == sum(store.written_bytes for store in traffic)
    assert found["bytes_read"] == sum(store.read_bytes for store in traffic)
    assert found["writes"] == sum(store.writes for store in traffic)
    assert found["reads"] == sum(store.reads for store in traffic)
    rows = dict(zip(REGIONS, build_tables(problem, plan).region, strict=False))
    base, promised = {name: row.base for name, row in rows.items()}, Blocks()
    for (region, block), count in programs_of(plan.graph, block_bytes, base).items():
        promised[rows[region].store, block] += count
    assert blocks == promised
    assert found["worst_block_writes"] == max(blocks.values(), default=0)
    if wear_block_bytes(part) is not None:
        assert found["worst_block_writes"] == hottest_programs(problem, plan.graph)
    return blocks


@pytest.mark.parametrize("name", ["f746-sd", "u585-octal", "sf2-nor-qemu", "f746-qspi-sdram"])
def test_spilled_plans_are_counted_as_promised(workshop: Any, tmp_path: Path, name: str) -> None:
    """A plan that spills most tensors: SD card, PSRAM, bare NOR flash, SDRAM."""
    problem = workshop.problem(load_target(name))
    plan = workshop.plan(problem, workshop.selection)
    assert check_counts(problem, plan, tmp_path)


def test_flash_that_takes_no_activations_is_not_written(workshop: Any, tmp_path: Path) -> None:
    """With NOR for weights only and all tensors kept nothing is programmed."""
    problem = workshop.problem(load_target("nrf52840-nor"), IoPlace.SRAM)
    plan = workshop.plan(problem, workshop.striped(problem.network, 1, False))
    assert not check_counts(problem, plan, tmp_path)


def target_of(name: str, cipher: str | None) -> Target:
    """A target, with a cipher at the cost that it has on another core."""
    target = load_target(name)
    if cipher is None:
        return target
    crypto = load_target("an386-qemu").board.crypto
    return encrypted(replace(target, board=replace(target.board, crypto=crypto), provenance={}), cipher)


KIB = {"ds_cnn": 16, "autoencoder": 16, "resnet8": 32, "mobilenet_v1_025_96": 32}
"""SRAM that does not hold the networks of MLPerf Tiny; with NOR that takes no activations they have all of it."""

MATRIX = [
    pytest.param(*case, marks=() if case == ("ds_cnn", "f746-sd", "aes-128-gcm", True) else pytest.mark.slow)
    for case in product(KIB, ("f746-sd", "u585-octal", "nrf52840-nor"), (None, "aes-128-gcm"), (False, True))
    if not (case[1] == "nrf52840-nor" and case[3])
]


@pytest.mark.parametrize(("name", "target", "cipher", "tight"), MATRIX)
def test_small_networks_are_counted_as_promised(
    tmp_path: Path, name: str, target: str, cipher: str | None, tight: bool
) -> None:
    """The plans of all objectives, plain and sealed, with all SRAM and with little, move and program what they say."""
    board = target_of(target, cipher)
    io = IoPlace.SRAM if board.activations is None else IoPlace.STORAGE
    sram = KIB[name] << 10 if tight else board.board.usable_bytes
    problem = Problem(zoo_network(name), board, sram, io)
    for objective, result in three_objectives(problem, Budget(1.0, 1, 1)).items():
        assert result.plan is not None, result.reason
        here = ordered(replace(problem, objective=objective), result.plan.selection.order)
        blocks = check_counts(here, result.plan, tmp_path / objective.value)
        traffic = traffic_of(here, result.plan.graph)
        assert result.plan.figures.bytes_written == sum(store.written_bytes for store in traffic)
        assert bool(blocks) == (board.activations is not None)
