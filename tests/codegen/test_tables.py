"""Tables: rows say what the plan says, and what does not fit is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.packing import NOWHERE, TRANSFER, pack
from ooc_solve.codegen.table_builder import build_tables, storage_layouts
from ooc_solve.codegen.tables import FLAG_CHECKED, FLAG_STORE, KINDS, REGIONS, StreamRow, Tables, table_bytes
from ooc_solve.models.footprint import command_bytes, count_table_bytes
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    Bank,
    DType,
    InputError,
    InternalError,
    Network,
    Op,
    OpKind,
    Plan,
    RegionName,
    Selection,
    Streams,
    Target,
    TaskKind,
    Tensor,
    Tiling,
    Window,
)

TARGETS = ("f746-sd", "f746-qspi-sdram", "h747-sd", "l4r5-sdspi", "lm3s-qemu")


@pytest.fixture(params=TARGETS)
def any_target(request: pytest.FixtureRequest) -> Target:
    return load_target(request.param)


@pytest.fixture
def tables(problem: Problem, plan: Plan) -> Tables:
    return build_tables(problem, plan)


def single(op: Op, *tensors: Tensor) -> Network:
    """A network of one operator over the tensors given, the last its output."""
    names = tuple(tensor.name for tensor in tensors)
    return Network("single", {t.name: t for t in tensors}, (op,), names[:-1], names[-1:])


def plan_of_one(workshop: Any, network: Network, tiling: Tiling, target: Target) -> tuple[Problem, Plan]:
    problem = Problem(network, target, 256 * 1024, IoPlace.STORAGE)
    return problem, workshop.plan(problem, Selection((tiling,), frozenset()))


def unlooped(row: StreamRow, others: int) -> StreamRow:
    """The stream without loops, every command waiting for 99 more of every other stream."""
    a, b, c = (99 if k < others else 0 for k in range(3))
    cells = [pack([replace(command, wait=(a, b, c))]) for command in row.commands]
    return StreamRow(tuple(word for cell in cells for word in cell), row.channel, row.store)


def test_bytes_are_bounded_before_tables_are_built(workshop: Any, any_target: Target) -> None:
    """The count from tasks alone is what tables without loops take if every wait takes a word."""
    for io in IoPlace:
        problem = workshop.problem(any_target, io)
        plan = workshop.plan(problem, workshop.selection)
        tables = build_tables(problem, plan)
        rows = tuple(unlooped(row, len(tables.stream) - 1) for row in tables.stream)
        longest = table_bytes(replace(tables, stream=rows))
        assert table_bytes(tables) <= longest == count_table_bytes(problem, plan.graph)


def test_a_task_takes_at_most_22_bytes(workshop: Any, any_target: Target) -> None:
    """No command takes more than 22 bytes of the tables, whatever it touches and waits for."""
    problem = workshop.problem(any_target)
    for task in workshop.plan(problem, workshop.selection).graph.tasks:
        assert 0 < command_bytes(replace(task, operands=(0, 0, 0, 0, 0)), 4) <= 22


def test_tables_beyond_the_count_are_refused(
    problem: Problem, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tables larger than what the plan promised are an internal error."""
    monkeypatch.setattr("ooc_solve.codegen.table_builder.count_table_bytes", lambda *_: 300)
    with pytest.raises(InternalError, match="Tables must fit the 300 bytes"):
        build_tables(problem, plan)


def test_waits_add_up_to_the_required_counts(tables: Tables, plan: Plan) -> None:
    """Summed along a stream, the waits are what the plan requires of the other streams."""
    for own, order in enumerate(plan.streams.order):
        seen = [0, 0, 0]
        for command, task in zip(tables.stream[own].commands, order, strict=True):
            seen = [total + rise for total, rise in zip(seen, command.wait, strict=True)]
            others = [n for r, n in enumerate(plan.streams.required[task]) if r != own]
            assert seen[: len(others)] == others


def test_commands_say_what_tasks_say(tables: Tables, problem: Problem, plan: Plan) -> None:
    """Addresses, tiles, regions and offsets of every command are those of its task."""
    address = plan.schedule.address
    for row, order in zip(tables.stream, plan.streams.order, strict=True):
        for command, index in zip(row.commands, order, strict=True):
            task = plan.graph.tasks[index]
            if task.kind is TaskKind.COMPUTE:
                assert (command.stage, command.word[0]) == (task.stage, task.tile)
                for word, buffer in zip(command.word[1:], task.operands, strict=True):
                    assert word == (NOWHERE if buffer < 0 else address[buffer] // problem.unit_bytes)
                continue
            assert task.transfer is not None
            store = task.kind is TaskKind.STORE
            buffer = (task.reads if store else task.writes)[0].buffer
            shape = tables.shapes[command.word[1]]
            assert command.stage == TRANSFER
            assert command.word[0] * problem.unit_bytes == address[buffer]
            assert REGIONS[command.word[2]] is task.transfer.region
            assert bool(command.word[3] & FLAG_STORE) == store
            assert bool(command.word[3] & FLAG_CHECKED) == task.transfer.checked
            assert command.offset == task.transfer.offset
            assert (shape.bytes, shape.segments) == (task.transfer.segment_bytes, task.transfer.segments)


def test_streams_are_the_compute_stream_and_io_channels(workshop: Any, psram_target: Target) -> None:
    """The compute stream has channel 0xFF, the channels count from 0 and know their store."""
    problem = workshop.problem(psram_target)
    tables = build_tables(problem, workshop.plan(problem, workshop.selection))
    assert [(row.channel, row.store) for row in tables.stream] == [(0xFF, 0), (0, 0), (1, 1)]


def test_without_overlap_one_stream_does_everything(workshop: Any) -> None:
    """On a board without DMA the compute stream holds the transfers too, in the order of tasks."""
    problem = workshop.problem(load_target("lm3s-qemu"))
    plan = workshop.plan(problem, workshop.selection)
    (stream,) = build_tables(problem, plan).stream
    assert len(stream.commands) == len(plan.graph.tasks)
    assert {wait for command in stream.commands for wait in command.wait} == {0}


def test_regions_lie_apart_on_aligned_bases(workshop: Any, any_target: Target) -> None:
    """Regions of a store follow each other without overlap, each on its granule."""
    problem = workshop.problem(any_target)
    tables = build_tables(problem, workshop.plan(problem, workshop.selection))
    for store in {row.store for row in tables.region}:
        end = 0
        for row, granule in zip(tables.region, tables.granule_bytes, strict=True):
            if row.store == store:
                assert row.base >= end
                assert row.base % granule == 0
                end = row.base + row.bytes
        assert end == tables.store_bytes(store)


def test_regions_start_on_erase_blocks(workshop: Any, target: Target) -> None:
    """On a part that must be erased, no two regions share an erase block."""
    nor = load_target("nrf52840-nor").weights.storage
    store = replace(target.weights, storage=nor)
    erased = replace(target, weights=store, activations=store)
    problem = workshop.problem(erased)
    assert nor.erase is not None
    tables = build_tables(problem, workshop.plan(problem, workshop.selection))
    assert all(row.base % nor.erase.block_bytes == 0 for row in tables.region)
    assert tables.region[1].base > 0


def test_banks_are_as_large_as_the_plan_needs(workshop: Any, target: Target) -> None:
    """Addresses count over the used parts of the banks, and the used parts cover every buffer."""
    banks = (Bank("a", 2560), Bank("b", 2048), Bank("c", 2048))
    small = replace(target, board=replace(target.board, banks=banks))
    problem = workshop.problem(small)
    plan = workshop.plan(problem, workshop.selection, reuse=True)
    tables = build_tables(problem, plan)
    walls = [0, *np.cumsum([size for _, size in problem.banks])]
    used = [0, *np.cumsum(tables.bank_bytes)]
    assert len(tables.bank_bytes) > 1
    for row, order in zip(tables.stream, plan.streams.order, strict=True):
        for command, index in zip(row.commands, order, strict=True):
            task = plan.graph.tasks[index]
            if task.kind is TaskKind.LOAD:
                buffer = plan.graph.buffers[task.writes[0].buffer]
                address = plan.schedule.address[buffer.index]
                bank = max(k for k in range(len(walls) - 1) if walls[k] <= address)
                assert command.word[0] * tables.unit - used[bank] == address - walls[bank]
                assert command.word[0] * tables.unit + buffer.size_bytes <= used[bank + 1]


def test_bindings_follow_the_place_of_input_and_output(workshop: Any, target: Target) -> None:
    """In SRAM a binding is the address of the pinned buffer, in storage the layout in its region."""
    for io, streamed in ((IoPlace.SRAM, 0), (IoPlace.STORAGE, 1)):
        problem = workshop.problem(target, io)
        plan = workshop.plan(problem, workshop.selection)
        tables = build_tables(problem, plan)
        assert [row.operand.place for row in tables.bindings] == [streamed, streamed]
        assert [row.bytes for row in tables.bindings] == [9 * 8 * 4, 10]
        if io is IoPlace.SRAM:
            resident = dict(plan.graph.resident)
            expected = [plan.schedule.address[resident[name]] for name in ("image", "scores.out")]
            assert [row.offset for row in tables.bindings] == expected


def test_layouts_fill_the_regions(problem: Problem, plan: Plan) -> None:
    """Tensors lie in the region of their role, one after the other."""
    layouts = storage_layouts(problem, plan)
    assert {name: region for name, (region, _) in layouts.items()} == {
        "image": RegionName.INPUT,
        "first.out": RegionName.SCRATCH,
        "deep.out": RegionName.SCRATCH,
        "wide.out": RegionName.SCRATCH,
        "scores.out": RegionName.OUTPUT,
    }
    first, deep = layouts["first.out"][1], layouts["deep.out"][1]
    assert deep.base == first.base + first.size_bytes


@pytest.mark.parametrize("name", ["", "a file that names external data"])
def test_digest_ties_tables_to_weights_and_rows(problem: Problem, plan: Plan, name: str) -> None:
    """The same plan has the same digest; another weight or address has another, whatever the reader says of the file."""
    problem = replace(problem, network=replace(problem.network, digest=name))
    tables = build_tables(problem, plan)
    assert build_tables(problem, plan) == tables
    op = problem.network.ops[0]
    assert op.weights is not None
    weights = np.bitwise_xor(op.weights.astype(np.int8), np.int8(1))
    other = replace(problem.network, ops=(replace(op, weights=weights), *problem.network.ops[1:]))
    assert build_tables(replace(problem, network=other), plan).digest != tables.digest
    moved = replace(plan.schedule, address=tuple(a + 8 for a in plan.schedule.address))
    assert build_tables(problem, replace(plan, schedule=moved)).digest != tables.digest


def test_too_many_tiles_are_refused(workshop: Any, psram_target: Target) -> None:
    """A stage of more than 65535 tiles names the layer and the limit."""
    a, y = (Tensor(n, 300, 300, 1, DType.INT8) for n in "ay")
    op = Op("rectify", OpKind.LOOKUP, ("a",), "y", weights=np.zeros(256, np.uint8))
    problem = Problem(single(op, a, y), psram_target, 256 * 1024, IoPlace.SRAM)
    plan = workshop.plan(problem, Selection((Tiling(300, 300, 1, 1),), frozenset()))
    tiny = replace(plan, selection=Selection((Tiling(1, 1, 1, 1),), frozenset()))
    with pytest.raises(
        InputError, match=r"lookup 'rectify': the number of tiles must be at most 65535 .*90000"
    ):
        build_tables(problem, tiny)


def test_long_dimensions_are_refused(workshop: Any, psram_target: Target) -> None:
    """A tensor of more than 65535 channels is refused by name."""
    a, y = (Tensor(n, 1, 1, 70000, DType.INT8) for n in "ay")
    op = Op("rectify", OpKind.LOOKUP, ("a",), "y", weights=np.zeros(256, np.uint8))
    problem, plan = plan_of_one(workshop, single(op, a, y), Tiling(1, 1, 70000, 70000), psram_target)
    with pytest.raises(InputError, match=r"Tensor 'a': the channels must be at most 65535 .*70000"):
        build_tables(problem, plan)


def test_wide_kernels_are_refused(workshop: Any, psram_target: Target) -> None:
    """A kernel of more than 255 columns is refused by name."""
    a, y = Tensor("a", 1, 300, 1, DType.INT8), Tensor("y", 1, 1, 1, DType.INT8)
    op = Op("pool", OpKind.MAX_POOL, ("a",), "y", Window((1, 300)))
    problem, plan = plan_of_one(workshop, single(op, a, y), Tiling(1, 1, 1, 1), psram_target)
    with pytest.raises(InputError, match=r"max_pool 'pool': kernel, .* must be at most 255 .*300"):
        build_tables(problem, plan)


@pytest.mark.parametrize(
    ("dtype", "weights", "message"),
    [
        (DType.INT8, np.zeros((1, 1, 1, 1), np.float32), "weights must be int8"),
        (DType.UINT8, np.zeros((1, 1, 1, 1), np.int8), "computes on int8"),
        (DType.INT32, np.zeros((1, 1, 1, 1), np.int8), "int"),
    ],
)
def test_other_types_are_refused(
    workshop: Any, psram_target: Target, dtype: DType, weights: np.ndarray[Any, Any], message: str
) -> None:
    """Float weights, uint8 and int32 activations of a convolution have no kernel."""
    a, y = (Tensor(n, 2, 2, 1, dtype) for n in "ay")
    ones = np.ones(1, np.float32)
    op = Op("c", OpKind.CONV, ("a",), "y", weights=weights, bias=np.zeros(1, np.int32), multiplier=ones)
    problem, plan = plan_of_one(workshop, single(op, a, y), Tiling(2, 2, 1, 1), psram_target)
    with pytest.raises(InputError, match=message):
        build_tables(problem, plan)


def test_every_kind_has_a_number() -> None:
    """No kind of operator is without a kernel, and no number stands for two."""
    assert set(KINDS) == set(OpKind)
    assert len(KINDS) == len(set(KINDS))


def test_long_waits_are_refused(problem: Problem, plan: Plan) -> None:
    """A wait for more than 65535 commands at once is refused, naming the layer."""
    last = plan.streams.order[0][-1]
    required = list(plan.streams.required)
    required[last] = (required[last][0], 70000)
    streams = Streams(plan.streams.order, tuple(required))
    with pytest.raises(InputError, match=r"conv 'scores': the commands waited for at once .* 65535"):
        build_tables(problem, replace(plan, streams=streams))


def test_far_offsets_are_refused(problem: Problem, plan: Plan) -> None:
    """A region that ends beyond 4 GiB does not fit the tables."""
    regions = tuple(
        replace(r, size_bytes=1 << 32) if r.name is RegionName.IMAGE else r for r in plan.graph.regions
    )
    with pytest.raises(InputError, match="must be at most 4294967295"):
        build_tables(problem, replace(plan, graph=replace(plan.graph, regions=regions)))


def test_many_channels_are_refused(problem: Problem, plan: Plan) -> None:
    """More than three IO channels do not fit, and the message says what to do."""
    graph = replace(plan.graph, resources=("cpu", "a", "b", "c", "d"))
    with pytest.raises(
        InputError, match=r"at most 3 IO channels and engines fit the tables .*exclusive_group"
    ):
        build_tables(problem, replace(plan, graph=graph))
