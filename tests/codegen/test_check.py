"""The checker: right tables pass, and every way to break them is named."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import networkx as nx
import pytest

from ooc_solve.codegen.check import Position, Rule, Violation, check_tables, required_counts
from ooc_solve.codegen.decode import SRAM, Access, accesses
from ooc_solve.codegen.packing import NOWHERE, CommandRow
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import StreamRow, Tables
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Plan


@pytest.fixture
def tables(problem: Problem, plan: Plan) -> Tables:
    return build_tables(problem, plan)


def with_command(tables: Tables, at: Position, command: CommandRow) -> Tables:
    """The tables with one command replaced."""
    rows = list(tables.stream)
    commands = list(rows[at[0]].commands)
    commands[at[1]] = command
    rows[at[0]] = StreamRow.of(commands, rows[at[0]].channel, rows[at[0]].store)
    return replace(tables, stream=tuple(rows))


def with_word(tables: Tables, at: Position, index: int, value: int) -> Tables:
    """The tables with one word of one command replaced."""
    command = tables.stream[at[0]].commands[at[1]]
    word = list(command.word)
    word[index] = value
    a, b, c, d, e, f = word
    return with_command(tables, at, replace(command, word=(a, b, c, d, e, f)))


def commands(tables: Tables) -> Iterator[tuple[Position, CommandRow]]:
    for s, row in enumerate(tables.stream):
        for k, command in enumerate(row.commands):
            yield (s, k), command


def rules(tables: Tables) -> set[Rule]:
    return {violation.rule for violation in check_tables(tables)}


def find(tables: Tables, wanted: Callable[[CommandRow], bool]) -> Position:
    """The first command of a sort."""
    return next(at for at, command in commands(tables) if wanted(command))


def is_load(command: CommandRow) -> bool:
    return command.is_transfer and not command.word[3] & 1


def is_store(command: CommandRow) -> bool:
    return command.is_transfer and bool(command.word[3] & 1)


# -------------------------------------------------------------------- right tables


@pytest.mark.parametrize("name", ["f746-sd", "f746-qspi-sdram", "h747-sd", "lm3s-qemu"])
@pytest.mark.parametrize("io", list(IoPlace))
@pytest.mark.parametrize("reuse", [True, False])
def test_right_tables_pass(workshop: Any, name: str, io: IoPlace, reuse: bool) -> None:
    """Tables of a right plan violate nothing, on every sort of target."""
    problem = workshop.problem(load_target(name), io)
    plan = workshop.plan(problem, workshop.selection, reuse)
    assert check_tables(build_tables(problem, plan)) == ()


# --------------------------------------------------------------------------- order


def span_overlaps(a: Access, b: Access) -> bool:
    (low, high), (first, end) = a.footprint.span, b.footprint.span
    return a.space == b.space and (a.write or b.write) and low < end and first < high


def racing(tables: Tables) -> bool:
    """By brute force: do two commands touch a common byte, one writing, without any path between them?"""
    graph: nx.DiGraph[Position] = nx.DiGraph()
    touched = {at: accesses(tables, command) for at, command in commands(tables)}
    graph.add_nodes_from(touched)
    for s in range(len(tables.stream)):
        for k, need in enumerate(required_counts(tables, s)):
            graph.add_edges_from(((r, count - 1), (s, k)) for r, count in enumerate(need) if count)
    after = {at: nx.descendants(graph, at) for at in graph}
    return any(
        p[0] < q[0] and q not in after[p] and p not in after[q]
        for p, mine in touched.items()
        for q, theirs in touched.items()
        if any(span_overlaps(a, b) for a in mine for b in theirs)
    )


def test_dropped_waits_are_found_exactly_when_they_matter(tables: Tables) -> None:
    """With any one wait lowered, the checker finds a race if and only if brute force does."""
    verdicts = []
    for at, command in commands(tables):
        for k, rise in enumerate(command.wait):
            if rise:
                wait = list(command.wait)
                wait[k] = rise - 1
                broken = with_command(tables, at, replace(command, wait=(wait[0], wait[1], wait[2])))
                verdicts.append(Rule.UNORDERED in rules(broken))
                assert verdicts[-1] == racing(broken)
    assert sum(verdicts) > len(verdicts) // 2


def test_race_names_both_commands_and_the_bytes(tables: Tables) -> None:
    """The first computation without its wait races with the loads of its operands."""
    command = tables.stream[0].commands[0]
    broken = with_command(tables, (0, 0), replace(command, wait=(0, 0, 0)))
    races = [v for v in check_tables(broken) if v.rule is Rule.UNORDERED]
    assert any("command 0" in v.detail or v.command == 0 for v in races)
    assert all(v.space == "SRAM" and v.first_byte < v.end_byte for v in races[:1])
    assert "unordered: stream" in str(races[0])


def test_swapped_commands_are_found(tables: Tables) -> None:
    """Any two neighbours of different content swapped in a stream break a rule or are independent."""
    found = 0
    for s, row in enumerate(tables.stream):
        for k in range(len(row.commands) - 1):
            a, b = row.commands[k], row.commands[k + 1]
            swapped = with_command(tables, (s, k), replace(b, wait=a.wait))
            swapped = with_command(swapped, (s, k + 1), replace(a, wait=b.wait))
            found += bool(check_tables(swapped))
    assert found >= sum(len(row.commands) for row in tables.stream) // 2


def test_reversed_stream_is_found(tables: Tables) -> None:
    """Computations in reverse order are never accepted."""
    row = tables.stream[0]
    waits = [command.wait for command in row.commands]
    turned = tuple(replace(c, wait=w) for c, w in zip(reversed(row.commands), waits, strict=True))
    stream = StreamRow.of(turned, row.channel, row.store)
    assert check_tables(replace(tables, stream=(stream, *tables.stream[1:])))


def test_endless_wait_is_a_deadlock(tables: Tables) -> None:
    """A wait for more commands than the other stream has names the command that never starts."""
    at = (0, 3)
    command = tables.stream[0].commands[3]
    broken = with_command(tables, at, replace(command, wait=(1000, 0, 0)))
    deadlocks = [v for v in check_tables(broken) if v.rule is Rule.DEADLOCK]
    assert (0, 3) in {(v.stream, v.command) for v in deadlocks}


def test_circular_wait_is_a_deadlock(tables: Tables) -> None:
    """Two streams that wait for each other's first command are both named."""
    broken = tables
    for at in ((0, 0), (1, 0)):
        command = tables.stream[at[0]].commands[0]
        broken = with_command(broken, at, replace(command, wait=(1, 0, 0)))
    deadlocks = {(v.stream, v.command) for v in check_tables(broken) if v.rule is Rule.DEADLOCK}
    assert deadlocks == {(0, 0), (1, 0)}


# ----------------------------------------------------------------------- addresses


def sram_words(command: CommandRow) -> tuple[int, ...]:
    return (0,) if command.is_transfer else (1, 2, 3, 4, 5)


@pytest.mark.parametrize("shift", [1, -1])
def test_every_address_shifted_by_one_unit_is_found(tables: Tables, shift: int) -> None:
    """Whichever SRAM address is one unit off, the tables fail."""
    for at, command in commands(tables):
        for index in sram_words(command):
            word = command.word[index]
            if word not in (NOWHERE, 0 if shift < 0 else NOWHERE):
                assert check_tables(with_word(tables, at, index, word + shift)), (at, index)


def test_every_offset_shifted_by_one_granule_is_found(tables: Tables) -> None:
    """Whichever transfer takes the next granule of storage, the tables fail."""
    for at, command in commands(tables):
        if command.is_transfer:
            assert check_tables(with_word(tables, at, 4, command.word[4] + 512)), at


def test_every_other_tile_is_found(tables: Tables) -> None:
    """Whichever computation is told the number of another tile, the tables fail."""
    for at, command in commands(tables):
        if not command.is_transfer and command.word[0] > 0:
            assert check_tables(with_word(tables, at, 0, command.word[0] - 1)), at


def test_bank_exceeded_by_one_unit_is_found(tables: Tables) -> None:
    """An arena one unit too small is named with the bytes beyond it."""
    small = replace(tables, bank_bytes=(tables.bank_bytes[0] - tables.unit,))
    found = [v for v in check_tables(small) if v.rule is Rule.OUTSIDE_BANK]
    assert found
    assert all(v.end_byte > small.bank_bytes[0] for v in found)


def test_straddling_a_bank_wall_is_found(tables: Tables) -> None:
    """The same addresses are wrong when a wall stands in the middle of the arena."""
    half = tables.bank_bytes[0] // 2 // tables.unit * tables.unit
    split = replace(tables, bank_bytes=(half, tables.bank_bytes[0] - half))
    found = [v for v in check_tables(split) if v.rule is Rule.OUTSIDE_BANK]
    assert found
    assert all(v.first_byte < half < v.end_byte for v in found)


def test_bank_size_off_the_unit_is_found(tables: Tables) -> None:
    """Banks are whole units, or the next one's addresses would be off."""
    assert Rule.MISALIGNED in rules(replace(tables, bank_bytes=(tables.bank_bytes[0] + 1,)))


def test_transfer_beyond_its_region_is_found(tables: Tables) -> None:
    """A transfer that starts at the end of its region is named with the region."""
    at = find(tables, is_store)
    region = tables.stream[at[0]].commands[at[1]].word[2]
    broken = with_word(tables, at, 4, tables.region[region].bytes)
    found = [v for v in check_tables(broken) if v.rule is Rule.OUTSIDE_REGION]
    assert [(v.stream, v.command) for v in found] == [at]


def test_transfer_off_the_granule_is_found(tables: Tables) -> None:
    """An offset that storage cannot address is named."""
    at = find(tables, is_load)
    found = check_tables(with_word(tables, at, 4, tables.stream[at[0]].commands[at[1]].word[4] + 8))
    assert (Rule.OFF_GRANULE, *at) in {(v.rule, v.stream, v.command) for v in found}


def test_store_into_the_image_is_found(tables: Tables) -> None:
    """Weights are read only."""
    at = find(tables, is_store)
    assert Rule.OUTSIDE_REGION in rules(with_word(tables, at, 2, 0))


def test_overlapping_regions_are_found(tables: Tables) -> None:
    """Two regions of one store never share bytes."""
    a, b, c, d = tables.region
    assert Rule.OUTSIDE_REGION in rules(replace(tables, region=(a, b, c, replace(d, base=c.base))))


# ---------------------------------------------------------------------------- data


def test_load_before_its_store_is_found(tables: Tables) -> None:
    """A store whose data never reach storage leaves the load of it without written bytes."""
    at = find(tables, is_store)
    row = tables.stream[at[0]]
    load = next(c for c in row.commands if is_load(c) and c.word[2] == 0)
    command = replace(row.commands[at[1]], word=load.word)
    found = check_tables(with_command(tables, at, command))
    assert Rule.UNWRITTEN in {v.rule for v in found}


def test_weights_of_another_tile_are_found(tables: Tables) -> None:
    """A load of another layer's weights into the right place is wrong data."""
    image = [(at, c) for at, c in commands(tables) if is_load(c) and c.word[2] == 0]
    (at, first), (_, other) = image[0], image[1]
    assert first.word[4] != other.word[4]
    broken = with_word(tables, at, 4, other.word[4])
    assert Rule.WRONG_DATA in rules(broken)


def test_output_never_stored_is_found(tables: Tables) -> None:
    """If a part of the network output is stored elsewhere, the output is named as incomplete."""
    at = find(tables, lambda c: is_store(c) and c.word[2] == 2)
    broken = with_word(with_word(tables, at, 2, 3), at, 4, 0)
    found = [v for v in check_tables(broken) if v.command == -1]
    assert [v.rule for v in found] == [Rule.UNWRITTEN]
    assert "output 0" in found[0].detail


def test_missing_input_binding_is_found(workshop: Any, target: Any) -> None:
    """An input in SRAM counts as written only where its binding says."""
    problem = workshop.problem(target, IoPlace.SRAM)
    tables = build_tables(problem, workshop.plan(problem, workshop.selection))
    given, result = tables.bindings
    moved = replace(given, offset=given.offset + tables.unit)
    assert rules(replace(tables, bindings=(moved, result))) & {Rule.UNWRITTEN, Rule.WRONG_DATA}


def test_unknown_rows_are_malformed(tables: Tables) -> None:
    """A command for a stage that does not exist is named, and the rest is still checked."""
    command = tables.stream[0].commands[5]
    found = check_tables(with_command(tables, (0, 5), replace(command, stage=50)))
    assert (Rule.MALFORMED, 0, 5) in {(v.rule, v.stream, v.command) for v in found}


def test_computation_on_a_channel_is_malformed(tables: Tables) -> None:
    """An IO channel cannot compute."""
    found = check_tables(with_command(tables, (1, 0), tables.stream[0].commands[0]))
    assert (Rule.MALFORMED, 1, 0) in {(v.rule, v.stream, v.command) for v in found}


def test_message_names_rule_place_and_bytes() -> None:
    """A violation reads as one line."""
    violation = Violation(Rule.UNWRITTEN, 0, 4, "SRAM", 16, 24, "a kernel reads 8 bytes that nothing wrote")
    assert str(violation) == (
        "unwritten: stream 0, command 4: a kernel reads 8 bytes that nothing wrote (SRAM bytes 16:24)"
    )
    assert SRAM == -1
