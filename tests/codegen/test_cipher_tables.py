"""Tables in which the CPU opens and seals: its commands are told, and checked."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest

from ooc_solve.codegen.check import SCRATCH, Rule, _Checker, check_tables
from ooc_solve.codegen.decode import move_of
from ooc_solve.codegen.packing import CommandRow, pack, unpack
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import FLAG_STORE, StreamRow, Tables
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import InputError, Plan, RegionName, TaskKind


def made(workshop: Any, name: str = "f746-sd") -> tuple[Tables, Plan]:
    """Tables and plan of the small network."""
    problem = workshop.problem(encrypted(load_target(name), "aes-128-gcm"))
    plan = workshop.plan(problem, workshop.selection)
    return build_tables(problem, plan), plan


def with_commands(tables: Tables, commands: list[CommandRow]) -> Tables:
    """The tables with another compute stream."""
    row = tables.stream[0]
    return replace(tables, stream=(StreamRow.of(commands, row.channel, row.store), *tables.stream[1:]))


def rules(tables: Tables) -> set[Rule]:
    """Rules that tables break."""
    return {found.rule for found in check_tables(tables)}


@pytest.mark.parametrize("name", ["f746-sd", "f746-qspi-sdram"])
def test_right_tables_pass(workshop: Any, name: str) -> None:
    """The compute stream has a command for each load and store of sealed records, and nothing is wrong."""
    tables, plan = made(workshop, name)
    assert check_tables(tables) == ()
    moved = {c.word for row in tables.stream[1:] for c in row.commands}
    own = [c for c in tables.stream[0].commands if c.is_crypto]
    assert {command.word for command in own} <= moved
    kinds = [task.kind for task in plan.graph.tasks]
    sealing = [bool(c.word[3] & FLAG_STORE) for c in own]
    assert sealing.count(True) == kinds.count(TaskKind.ENCRYPT) > 0
    assert sealing.count(False) == kinds.count(TaskKind.DECRYPT) > 0
    assert unpack(pack(tables.stream[0].commands)) == tables.stream[0].commands


def test_a_command_in_the_place_of_another_is_told(workshop: Any) -> None:
    """Whatever command does the work of the one before it, something stays sealed or open, or is so twice."""
    tables, _ = made(workshop)
    commands = list(tables.stream[0].commands)
    own = [number for number, command in enumerate(commands) if command.is_crypto]
    for before, number in pairwise(own):
        if commands[before].word != commands[number].word:
            broken = [*commands]
            broken[number] = replace(commands[before], wait=commands[number].wait)
            assert Rule.SEALED in rules(with_commands(tables, broken))


def test_what_is_not_opened_or_sealed_is_told(workshop: Any) -> None:
    """Without what opens a record a kernel reads what is sealed; rows that are opened instead of sealed must not leave."""
    tables, _ = made(workshop)
    commands = list(tables.stream[0].commands)
    for number, command in enumerate(commands):
        if not command.is_crypto:
            continue
        a, b, region, flags, e, f = command.word
        if flags & FLAG_STORE:
            broken = [*commands]
            broken[number] = replace(command, word=(a, b, region, flags & ~FLAG_STORE, e, f))
            assert region == SCRATCH
            assert Rule.SEALED in rules(with_commands(tables, broken))
        else:  # a kernel runs first
            after = next(k for k in range(number + 1, len(commands)) if not commands[k].is_crypto)
            broken = [*commands]
            broken[number] = replace(commands[after], wait=command.wait)
            broken[after] = replace(command, wait=commands[after].wait)
            assert rules(with_commands(tables, broken)) & {Rule.SEALED, Rule.UNORDERED, Rule.UNWRITTEN}


def test_no_row_is_sealed_twice(workshop: Any) -> None:
    """A tile that is computed and sealed again would have the nonces of its rows again."""
    tables, _ = made(workshop)
    commands = list(tables.stream[0].commands)
    seals = next(
        k for k, command in enumerate(commands) if command.is_crypto and command.word[3] & FLAG_STORE
    )
    again = [replace(command, wait=(0, 0, 0)) for command in commands[seals - 1 : seals + 1]]
    assert not again[0].is_crypto
    found = check_tables(with_commands(tables, [*commands[: seals + 1], *again, *commands[seals + 1 :]]))
    assert any("a nonce comes twice" in violation.detail for violation in found)
    assert not any("a nonce comes twice" in violation.detail for violation in check_tables(tables))


def test_elements_that_would_be_blanked_are_told(workshop: Any) -> None:
    """Of a spilled tensor that were said to lie a granule further on, the runtime would blank the first rows."""
    tables, _ = made(workshop)
    assert tables.sealing is not None
    first, *others = tables.sealing.sealed
    moved = replace(first, offset=first.offset + tables.granule_bytes[SCRATCH])
    sealing = replace(tables.sealing, sealed=(moved, *others))
    assert Rule.UNWRITTEN in rules(replace(tables, sealing=sealing))


def test_blanking_is_a_write(workshop: Any) -> None:
    """Each store blanks bytes behind the elements that it moves, which counts as a write."""
    tables, _ = made(workshop)
    checker = _Checker(tables)
    checker.run()
    blanked = 0
    for (stream, number), touched in checker.touched.items():
        command = tables.stream[stream].commands[number]
        if command.is_transfer and command.word[3] & FLAG_STORE:
            move = move_of(tables, command)
            assert touched[0].footprint.run == move.size_bytes
            for access in touched[2:]:
                low, high = access.footprint.span
                assert access.write
                assert move.sram < low < high <= move.sram + move.size_bytes
                blanked += high - low
    assert blanked > 0


def test_nonces_count_image_and_annex_together(workshop: Any) -> None:
    """Image and annex of more than 4 GiB together are refused: places in the annex count on behind the image."""
    problem = workshop.problem(encrypted(load_target("h747-qspi-sd"), "chacha20-poly1305"))
    weighted = [k for k, op in enumerate(problem.network.ops) if op.weights is not None]
    tilings = [replace(t, annex=k == weighted[0]) for k, t in enumerate(workshop.selection.tilings)]
    plan = workshop.plan(problem, replace(workshop.selection, tilings=tuple(tilings)))
    homes = (RegionName.IMAGE, RegionName.ANNEX)
    large = [replace(r, size_bytes=3 << 30) if r.name in homes else r for r in plan.graph.regions]
    with pytest.raises(
        InputError, match=r"sealed image and annex must be at most 4294967295 .*\(got 6442450944\)"
    ):
        build_tables(problem, replace(plan, graph=replace(plan.graph, regions=tuple(large))))


def test_only_sealed_tables_open_and_only_the_cpu(workshop: Any) -> None:
    """Commands that open are malformed on a channel, and where nothing is sealed."""
    tables, _ = made(workshop)
    crypto = next(command for command in tables.stream[0].commands if command.is_crypto)
    row = tables.stream[1]
    moved = StreamRow.of([*row.commands, replace(crypto, wait=(0, 0, 0))], row.channel, row.store)
    assert Rule.MALFORMED in rules(replace(tables, stream=(tables.stream[0], moved, *tables.stream[2:])))
    assert Rule.MALFORMED in rules(replace(tables, sealing=None))
