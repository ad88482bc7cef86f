"""Tables with a stream for a crypto engine: what it opens and seals is told, and checked."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ooc_solve.codegen.check import SCRATCH, Rule, check_tables
from ooc_solve.codegen.emit import emit_header
from ooc_solve.codegen.packing import CommandRow
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import COMPUTE_CHANNEL, ENGINE_CHANNEL, FLAG_STORE, NO_STORE, StreamRow, Tables
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Target, TaskKind


def engine_target(name: str) -> Target:
    """A target with an engine beside the CPU."""
    target = encrypted(load_target(name), "aes-128-gcm")
    assert target.crypto is not None
    return replace(target, crypto=replace(target.crypto, engine="hw", cpu_busy=False))


def made(workshop: Any, name: str = "f746-sd") -> tuple[Tables, Any]:
    """Tables and plan of the small network."""
    problem = workshop.problem(engine_target(name))
    plan = workshop.plan(problem, workshop.selection)
    return build_tables(problem, plan), plan


def with_engine_command(tables: Tables, number: int, command: CommandRow) -> Tables:
    """The tables with one command of the engine replaced."""
    row = tables.stream[-1]
    commands = [*row.commands[:number], command, *row.commands[number + 1 :]]
    return replace(tables, stream=(*tables.stream[:-1], StreamRow.of(commands, row.channel, row.store)))


@pytest.mark.parametrize("name", ["f746-sd", "f746-qspi-sdram"])
def test_right_tables_pass(workshop: Any, name: str) -> None:
    """The engine has the last stream, with a command for each load and store of sealed records, and nothing is wrong."""
    tables, plan = made(workshop, name)
    assert check_tables(tables) == ()
    assert [row.channel for row in tables.stream] == [COMPUTE_CHANNEL, *range(len(tables.stream) - 2), 0xFE]
    assert (tables.stream[-1].channel, tables.stream[-1].store) == (ENGINE_CHANNEL, NO_STORE)
    moved = [c.word for row in tables.stream[1:-1] for c in row.commands]
    assert {command.word for command in tables.stream[-1].commands} <= set(moved)
    kinds = [task.kind for task in plan.graph.tasks]
    sealing = [bool(c.word[3] & FLAG_STORE) for c in tables.stream[-1].commands]
    assert sealing.count(True) == kinds.count(TaskKind.ENCRYPT) > 0
    assert sealing.count(False) == kinds.count(TaskKind.DECRYPT) > 0


def test_header_asks_for_an_engine(workshop: Any) -> None:
    """Only tables with a stream for an engine stop a compiler that was not told."""
    tables, _ = made(workshop)
    network = workshop.problem(load_target("f746-sd")).network
    assert "#ifndef OOC_ENGINE" in emit_header(tables, network, "net")
    plain = workshop.problem(load_target("f746-sd"))
    text = emit_header(build_tables(plain, workshop.plan(plain, workshop.selection)), network, "net")
    assert "OOC_ENGINE" not in text


def test_a_command_in_the_place_of_another_is_told(workshop: Any) -> None:
    """Whatever command of the engine does the work of another, something stays sealed or open, or is so twice."""
    tables, _ = made(workshop)
    commands = tables.stream[-1].commands
    for number, command in enumerate(commands):
        for other in (commands[number - 1], commands[(number + 1) % len(commands)]):
            if other.word != command.word:
                broken = with_engine_command(tables, number, replace(other, wait=command.wait))
                assert Rule.SEALED in {found.rule for found in check_tables(broken)}


def test_open_rows_do_not_leave(workshop: Any) -> None:
    """A store of rows that the engine opens instead of sealing them is told."""
    tables, _ = made(workshop)
    for number, command in enumerate(tables.stream[-1].commands):
        if command.word[3] & FLAG_STORE:
            a, b, region, flags, e, f = command.word
            turned = replace(command, word=(a, b, region, flags & ~FLAG_STORE, e, f))
            found = check_tables(with_engine_command(tables, number, turned))
            assert region == SCRATCH
            assert any(v.rule is Rule.SEALED and "a transfer takes" in v.detail for v in found)


def test_lowered_waits_are_races(workshop: Any) -> None:
    """An engine that starts before its load has completed, or is not waited for, races."""
    tables, _ = made(workshop)
    found = checked = 0
    for number, command in enumerate(tables.stream[-1].commands):
        for k, rise in enumerate(command.wait):
            if rise:
                wait = [*command.wait[:k], rise - 1, *command.wait[k + 1 :]]
                lowered = replace(command, wait=(wait[0], wait[1], wait[2]))
                broken = with_engine_command(tables, number, lowered)
                checked += 1
                found += Rule.UNORDERED in {v.rule for v in check_tables(broken)}
    assert found > checked // 2 > 0
