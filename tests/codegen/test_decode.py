"""Decoding: the tables alone say the same about touched bytes as the plan does."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.decode import SRAM, Access, DecodeError, accesses
from ooc_solve.codegen.packing import CommandRow
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import REGIONS, Tables
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Footprint, Plan

Bytes = set[tuple[int, int]]


def positions(f: Footprint, shift: int = 0) -> set[int]:
    """All bytes of a footprint, one by one."""
    rows = np.arange(f.rows)[:, None, None] * f.row_stride
    columns = np.arange(f.columns)[:, None] * f.column_stride
    return set((shift + f.start + rows + columns + np.arange(f.run)).ravel().tolist())


def decoded(found: tuple[Access, ...], write: bool) -> Bytes:
    return {(a.space, byte) for a in found if a.write == write for byte in positions(a.footprint)}


def planned(plan: Plan, index: int, write: bool) -> Bytes:
    task = plan.graph.tasks[index]
    address = plan.schedule.address
    touches = task.writes if write else task.reads
    found = {(SRAM, b) for t in touches for b in positions(t.footprint, address[t.buffer])}
    if task.transfer is not None and bool(task.reads) == write:
        found |= {(REGIONS.index(task.transfer.region), b) for b in positions(task.transfer.footprint)}
    return found


@pytest.mark.parametrize("name", ["f746-sd", "f746-qspi-sdram"])
@pytest.mark.parametrize("io", list(IoPlace))
def test_commands_touch_what_tasks_touch(workshop: Any, name: str, io: IoPlace) -> None:
    """Byte for byte, every command reads and writes what its task in the plan reads and writes."""
    problem = workshop.problem(load_target(name), io)
    plan = workshop.plan(problem, workshop.selection)
    tables = build_tables(problem, plan)
    for row, order in zip(tables.stream, plan.streams.order, strict=True):
        for command, index in zip(row.commands, order, strict=True):
            found = accesses(tables, command)
            for write in (False, True):
                assert decoded(found, write) == planned(plan, index, write)


@pytest.mark.parametrize(
    ("stage", "word", "message"),
    [
        (99, (0, 0, 0, 0, 0, 0), "stage 99 of 6 does not exist"),
        (0, (3, 0, 0, 0, 0, 0), "tile 3 of 3 does not exist"),
        (0, (0, 0xFFFF, 0xFFFF, 0, 0, 0xFFFF), "the address of the input 0 is missing"),
        (0, (0, 0, 0xFFFF, 0xFFFF, 0, 0xFFFF), "the address of the weights is missing"),
        (0, (0, 0, 0xFFFF, 0, 0xFFFF, 0xFFFF), "the address of the output is missing"),
        (2, (0, 0, 0xFFFF, 0, 0xFFFF, 0xFFFF), "the address of the partial sums is missing"),
        (0xFFFF, (0, 99, 0, 0, 0, 0), "shape 99 of .* does not exist"),
        (0xFFFF, (0, 0, 4, 0, 0, 0), "region 4 of 4 does not exist"),
    ],
)
def test_commands_without_meaning_are_named(
    problem: Problem, plan: Plan, stage: int, word: tuple[int, int, int, int, int, int], message: str
) -> None:
    """A command that refers to rows that are not there says which."""
    tables: Tables = build_tables(problem, plan)
    with pytest.raises(DecodeError, match=message):
        accesses(tables, CommandRow((0, 0, 0), stage, word))
