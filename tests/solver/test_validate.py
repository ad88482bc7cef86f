"""The validator finds nothing in right plans, and names the rule that a wrong one breaks."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterable
from dataclasses import fields, replace
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ooc_solve.models.limits import Limits
from ooc_solve.models.plan_json import plan_from_json, plan_to_json
from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.vocabulary import (
    Bank,
    Figures,
    Footprint,
    LoopOrder,
    Plan,
    Region,
    RegionName,
    Schedule,
    Selection,
    Store,
    Task,
    TaskGraph,
    TaskKind,
    Tiling,
    Touch,
)
from ooc_solve.solver.expansion import SelectionError
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.streams import synchronize
from ooc_solve.solver.validate import Rule, Violation, validate

Planned = Callable[[Problem, Selection, bool], Plan]

FREE = 6_144
"""First address of the second bank; the plans under test use only the first."""


def rules(problem: Problem, plan: Plan) -> set[Rule]:
    """The rules that a plan breaks."""
    return {violation.rule for violation in validate(problem, plan)}


def only(problem: Problem, plan: Plan, rule: Rule) -> Violation:
    """The one violation of a plan that must break one rule once."""
    violations = validate(problem, plan)
    assert [violation.rule for violation in violations] == [rule], violations
    return violations[0]


def promised(problem: Problem, plan: Plan) -> Plan:
    """The plan with right figures."""
    return replace(plan, figures=figures_of(problem, plan.graph, plan.schedule))


def in_sequence(problem: Problem, plan: Plan, sequence: Iterable[int]) -> Plan:
    """The plan with its tasks one by one in another order, streams and figures to match."""
    start, now = [0] * len(plan.graph.tasks), 0
    for index in sequence:
        start[index] = now
        now += plan.graph.tasks[index].duration_ns
    schedule = replace(plan.schedule, start_ns=tuple(start))
    return promised(problem, replace(plan, schedule=schedule, streams=synchronize(plan.graph, schedule)))


def shifted(plan: Plan, task: int, by_ns: int) -> Plan:
    """The plan with one task starting later or earlier."""
    start = list(plan.schedule.start_ns)
    start[task] += by_ns
    return replace(plan, schedule=replace(plan.schedule, start_ns=tuple(start)))


def moved(problem: Problem, plan: Plan, buffer: int, address: int) -> Plan:
    """The plan with one buffer elsewhere, streams and figures to match."""
    addresses = list(plan.schedule.address)
    addresses[buffer] = address
    schedule = replace(plan.schedule, address=tuple(addresses))
    return promised(problem, replace(plan, schedule=schedule, streams=synchronize(plan.graph, schedule)))


def with_task(plan: Plan, at: int, /, **changes: Any) -> Plan:
    """The plan with one task changed."""
    tasks = list(plan.graph.tasks)
    tasks[at] = replace(tasks[at], **changes)
    return replace(plan, graph=replace(plan.graph, tasks=tuple(tasks)))


def without(problem: Problem, plan: Plan, dropped: int) -> Plan:
    """The plan less one task, numbers closed up, streams and figures to match."""

    def close(numbers: Iterable[int]) -> tuple[int, ...]:
        return tuple(n - (n > dropped) for n in numbers if n != dropped)

    tasks = tuple(
        replace(task, index=task.index - (task.index > dropped), after=close(task.after))
        for task in plan.graph.tasks
        if task.index != dropped
    )
    graph = replace(plan.graph, tasks=tasks)
    start = plan.schedule.start_ns
    schedule = replace(plan.schedule, start_ns=(*start[:dropped], *start[dropped + 1 :]))
    shorter = replace(plan, graph=graph, schedule=schedule, streams=synchronize(graph, schedule))
    return promised(problem, shorter)


def requiring(plan: Plan, task: int, *need: int) -> Plan:
    """The plan with other waits of one task."""
    required = list(plan.streams.required)
    required[task] = need
    return replace(plan, streams=replace(plan.streams, required=tuple(required)))


def apart(problem: Problem, plan: Plan) -> tuple[Problem, Plan]:
    """The plan with every buffer in a place of its own, in a problem with SRAM enough for that."""
    ends = [0]
    for buffer in plan.graph.buffers:
        ends.append(ends[-1] + buffer.size_bytes)
    board = replace(problem.target.board, banks=(Bank("all", 32_768),))
    wide = replace(problem, sram_bytes=32_768, target=replace(problem.target, board=board))
    schedule = replace(plan.schedule, address=tuple(ends[:-1]))
    return wide, promised(wide, replace(plan, schedule=schedule, streams=synchronize(plan.graph, schedule)))


def find(plan: Plan, kind: TaskKind, stage: int, count: int = 0) -> Task:
    """The ``count``-th task of a kind in a stage."""
    return [task for task in plan.graph.tasks if task.kind is kind and task.stage == stage][count]


# ----------------------------------------------------------------------- right plans


def test_right_plans_break_nothing(tiny_problem: Problem, plan: Plan, overlapping: Plan) -> None:
    """Plans by the book pass, one task at a time or overlapping."""
    assert validate(tiny_problem, plan) == ()
    assert validate(tiny_problem, overlapping) == ()
    assert overlapping.figures.latency_ns < plan.figures.latency_ns


def test_plan_for_less_sram_is_right_with_more(tiny_problem: Problem, plan: Plan) -> None:
    """A plan passes with exactly the SRAM that it uses, and with any more."""
    for sram_bytes in (plan.figures.sram_peak_bytes, plan.figures.sram_peak_bytes + 1, 1 << 20):
        assert validate(replace(tiny_problem, sram_bytes=sram_bytes), plan) == ()


SIZES = st.sampled_from((1, 2, 3, 4, 5, 8, 16))
TILINGS = st.builds(
    Tiling, SIZES, SIZES, SIZES, SIZES, st.sampled_from(LoopOrder), st.booleans(), st.booleans()
)
NAMES = ("image", "conv", "depthwise", "point", "pool", "dense", "softmax")


@settings(max_examples=100)
@given(
    tilings=st.tuples(*[TILINGS] * 6),
    kept=st.frozensets(st.sampled_from(NAMES)),
    io=st.sampled_from(IoPlace),
    overlap=st.booleans(),
    granule_bytes=st.sampled_from((1, 32)),
    planes=st.booleans(),
)
def test_any_selection_makes_a_right_plan(
    tiny_problem: Problem,
    planned: Planned,
    tilings: tuple[Tiling, ...],
    kept: frozenset[str],
    io: IoPlace,
    overlap: bool,
    granule_bytes: int,
    planes: bool,
) -> None:
    """Whatever is tiled, kept, held or split: what expansion and synchronisation make is right.

    Parts that move single bytes allow column blocks, which come in several segments.
    """
    card = _granular(tiny_problem.target.weights, granule_bytes)
    board = replace(tiny_problem.target.board, banks=(Bank("all", 1 << 20),), usable_bytes=1 << 20)
    target = replace(tiny_problem.target, board=board, weights=card, activations=card)
    problem = replace(tiny_problem, target=target, io=io, sram_bytes=1 << 18)
    # channels in planes must suit the next layer, which random ones rarely do; whole ones always do
    sizes: dict[str, Any] = {} if planes else {"channels": 16, "split": 16}
    sizes |= {} if granule_bytes == 1 else {"columns": 16}
    selection = Selection(tuple(replace(tiling, **sizes) for tiling in tilings), kept)
    try:
        plan = planned(problem, selection, overlap)
    except SelectionError:
        assume(False)
    assert validate(problem, plan) == ()


def _granular(store: Store, granule_bytes: int) -> Store:
    storage = store.storage
    read = replace(storage.read, granularity_bytes=granule_bytes)
    write = replace(storage.write, granularity_bytes=granule_bytes)
    return replace(store, storage=replace(storage, read=read, write=write))


def test_the_judge_needs_no_solver() -> None:
    """Importing the validator loads neither OR-tools nor anything that makes schedules."""
    code = "import sys, ooc_solve.solver.validate; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "ooc_solve.solver.expansion" in loaded
    assert "ortools" not in loaded
    ours = {name for name in loaded if name.startswith("ooc_solve.solver.")}
    rules = {f"{family}_rules" for family in ("content", "memory", "structure", "time")}
    names = {
        "audit",
        "deadline",
        "expansion",
        "figures",
        "happens_before",
        "interleaving",
        "validate",
        "violations",
    }
    assert ours == {f"ooc_solve.solver.{name}" for name in rules | names}


# -------------------------------------------------------------------------- coverage


def test_tile_that_is_not_computed(tiny_problem: Problem, plan: Plan) -> None:
    """Without one kernel call the tilings have a tile that nobody computes."""
    dropped = find(plan, TaskKind.COMPUTE, 5).index
    assert Rule.COVERAGE in rules(tiny_problem, without(tiny_problem, plan, dropped))


def test_dropped_store(tiny_problem: Problem, plan: Plan) -> None:
    """Without the store of a tile its readers find nothing in storage."""
    broken = without(tiny_problem, plan, find(plan, TaskKind.STORE, 0).index)
    assert rules(tiny_problem, broken) == {Rule.COVERAGE, Rule.UNWRITTEN}


def test_dropped_load(tiny_problem: Problem, plan: Plan) -> None:
    """Without the load of its input a kernel finds nothing in its buffer."""
    broken = without(tiny_problem, plan, find(plan, TaskKind.LOAD, 1).index)
    assert rules(tiny_problem, broken) == {Rule.COVERAGE, Rule.UNWRITTEN}


def test_another_tiling(tiny_problem: Problem, plan: Plan) -> None:
    """Tasks that belong to other tilings are not those of the selection, even as many of them."""
    tilings = plan.selection.tilings
    other = replace(plan.selection, tilings=(replace(tilings[0], hold_inputs=True), *tilings[1:]))
    assert rules(tiny_problem, replace(plan, selection=other)) == {Rule.COVERAGE}


def test_tiling_that_storage_cannot_follow(tiny_problem: Problem, plan: Plan) -> None:
    """Tilings that cannot be carried out are said to be so."""
    tilings = plan.selection.tilings
    other = replace(
        plan.selection, tilings=(tilings[0], replace(tilings[1], channels=2, rows=4), *tilings[2:])
    )
    violation = only(tiny_problem, replace(plan, selection=other), Rule.COVERAGE)
    assert "cannot be carried out" in violation.message


def test_wrong_operand(tiny_problem: Problem, plan: Plan) -> None:
    """A kernel that is given another buffer than the tiling says computes something else."""
    task = find(plan, TaskKind.COMPUTE, 0)
    operands = (task.operands[1], *task.operands[1:])
    wrong = promised(tiny_problem, with_task(plan, task.index, operands=operands))
    violation = only(tiny_problem, wrong, Rule.COVERAGE)
    assert violation.tasks == (task.index,)
    assert violation.message.endswith("in operands")


def test_absurd_tiling_is_not_expanded(tiny_problem: Problem, plan: Plan) -> None:
    """A tiling of single elements is refused by counting its tiles."""
    absurd = replace(plan.selection, tilings=(Tiling(1, 1, 1, 1),) * 6)
    violations = validate(tiny_problem, replace(plan, selection=absurd))
    assert violations[0].message == "the tilings make 10426 tiles, but 24 are computed"
    assert {v.rule for v in violations} == {Rule.COVERAGE, Rule.DURATION}


# ------------------------------------------------------------------------------ time


def test_kernel_a_nanosecond_too_early(tiny_problem: Problem, plan: Plan) -> None:
    """A load that still runs for 1 ns does not count as done."""
    task = find(plan, TaskKind.COMPUTE, 0)
    violations = validate(tiny_problem, shifted(plan, task.index, -1))
    assert {v.rule for v in violations} == {Rule.PRECEDENCE, Rule.UNWRITTEN, Rule.STREAMS}
    precedence = next(v for v in violations if v.rule is Rule.PRECEDENCE)
    assert precedence.tasks == (task.index, task.index - 1)
    assert precedence.at_ns == plan.schedule.start_ns[task.index] - 1
    assert "1 ns before" in precedence.message


def test_every_task_a_nanosecond_too_early(tiny_problem: Problem, plan: Plan) -> None:
    """With no idle time, any task that starts 1 ns earlier meets the one before it in some rule."""
    times = {Rule.PRECEDENCE, Rule.RESOURCE, Rule.OVERLAP, Rule.UNWRITTEN, Rule.STREAMS}
    pairs = zip(plan.graph.tasks, plan.graph.tasks[1:], strict=False)
    for before, task in pairs:
        found = rules(tiny_problem, shifted(plan, task.index, -1))
        assert found <= times | {Rule.FIGURES, Rule.OUTPUT}
        if task.resource == before.resource:
            assert Rule.RESOURCE in found
        if before.index in task.after:
            assert Rule.PRECEDENCE in found


def test_last_task_later(tiny_problem: Problem, plan: Plan) -> None:
    """Starting the last task later is allowed, but the latency is then no longer as promised."""
    violations = validate(tiny_problem, shifted(plan, len(plan.graph.tasks) - 1, 1))
    assert {v.rule for v in violations} == {Rule.FIGURES}
    assert "latency_ns" in violations[0].message


def test_two_loads_at_once(tiny_problem: Problem, plan: Plan) -> None:
    """Two transfers on one channel at the same time; they go to different buffers."""
    second = find(plan, TaskKind.LOAD, 0, 1)
    assert second.index == 1
    violations = validate(tiny_problem, shifted(plan, 1, -1))
    sharing = [v for v in violations if v.rule is Rule.RESOURCE]
    assert [(v.tasks, v.at_ns) for v in sharing] == [((0, 1), plan.schedule.start_ns[1] - 1)]
    assert {v.rule for v in violations} == {Rule.RESOURCE, Rule.STREAMS}


def test_wrong_resource(tiny_problem: Problem, plan: Plan) -> None:
    """A load cannot run on the CPU of a board whose DMA moves the data."""
    graph = with_task(plan, 0, resource="cpu").graph
    broken = promised(tiny_problem, replace(plan, graph=graph, streams=synchronize(graph, plan.schedule)))
    violation = only(tiny_problem, broken, Rule.RESOURCE)
    assert violation.tasks == (0,)
    assert "'sdio'" in violation.message


def test_swapped_kernels(tiny_problem: Problem, plan: Plan) -> None:
    """Partial sums in the wrong order: the kernel order breaks, and the sum reads what is not there."""
    first, second = (find(plan, TaskKind.COMPUTE, 2, k).index for k in (0, 1))
    sequence = list(range(len(plan.graph.tasks)))
    sequence[first : second + 1] = [*range(first + 1, second + 1), first]
    found = rules(tiny_problem, in_sequence(tiny_problem, plan, sequence))
    assert {Rule.PRECEDENCE, Rule.UNWRITTEN, Rule.STREAMS} <= found
    assert found <= {Rule.PRECEDENCE, Rule.UNWRITTEN, Rule.STREAMS, Rule.OVERLAP, Rule.OUTPUT}


@pytest.mark.parametrize("by_ns", [-1, 1])
@pytest.mark.parametrize("kind", [TaskKind.LOAD, TaskKind.COMPUTE, TaskKind.STORE])
def test_wrong_duration(tiny_problem: Problem, plan: Plan, kind: TaskKind, by_ns: int) -> None:
    """A task that claims another time than the cost model's is found, however small the difference."""
    task = find(plan, kind, 0)
    changed = with_task(plan, task.index, duration_ns=task.duration_ns + by_ns)
    broken = in_sequence(tiny_problem, changed, range(len(plan.graph.tasks)))
    violation = only(tiny_problem, broken, Rule.DURATION)
    assert violation.tasks == (task.index,)
    assert f"takes {task.duration_ns} ns" in violation.message


# ------------------------------------------------------------------------------ SRAM


def test_two_buffers_in_one_place(tiny_problem: Problem, plan: Plan) -> None:
    """Weights loaded over the input that the same kernel needs."""
    weights = find(plan, TaskKind.LOAD, 0, 1).writes[0].buffer
    image = find(plan, TaskKind.LOAD, 0, 0).writes[0].buffer
    broken = moved(tiny_problem, plan, weights, plan.schedule.address[image])
    violations = validate(tiny_problem, broken)
    assert {v.rule for v in violations} == {Rule.OVERLAP, Rule.UNWRITTEN}
    first = next(v for v in violations if v.rule is Rule.OVERLAP)
    assert first.bytes == plan.graph.buffers[weights].size_bytes
    assert first.at_ns == plan.schedule.start_ns[1]


def test_last_unit_shared(tiny_problem: Problem, plan: Plan) -> None:
    """Buffers that share only their last unit share too much; those that touch do not."""
    image, weights = plan.graph.buffers[0], plan.graph.buffers[1]
    aside = moved(tiny_problem, plan, image.index, FREE)
    touching = moved(tiny_problem, aside, weights.index, FREE + image.size_bytes)
    assert validate(tiny_problem, touching) == ()
    sharing = moved(tiny_problem, aside, weights.index, FREE + image.size_bytes - 8)
    overlap = next(v for v in validate(tiny_problem, sharing) if v.rule is Rule.OVERLAP)
    assert overlap.bytes == 8


def test_pinned_buffers_live_for_the_whole_run(
    tiny_problem: Problem, tiny_selection: Selection, planned: Planned
) -> None:
    """The place of an input in SRAM cannot be used again, even after its last reader."""
    problem = replace(tiny_problem, io=IoPlace.SRAM)
    plan = planned(problem, tiny_selection, False)
    assert validate(problem, plan) == ()
    pinned = next(buffer for buffer in plan.graph.buffers if buffer.pinned)
    late = find(plan, TaskKind.LOAD, 4).writes[0].buffer
    broken = moved(problem, plan, late, plan.schedule.address[pinned.index])
    assert rules(problem, broken) == {Rule.OVERLAP}


def test_one_byte_of_sram_too_little(tiny_problem: Problem, plan: Plan) -> None:
    """With a byte less than it uses, the plan exceeds the arena, by one unit of addresses."""
    short = replace(tiny_problem, sram_bytes=plan.figures.sram_peak_bytes - 1)
    violations = validate(short, plan)
    assert {v.rule for v in violations} == {Rule.CAPACITY}
    assert {v.bytes for v in violations} == {tiny_problem.unit_bytes}
    assert str(RESERVED_BYTES) in violations[0].message


def test_bank_exceeded_by_one_unit(tiny_problem: Problem, plan: Plan) -> None:
    """A buffer that ends a unit behind the last bank exceeds the capacity by just that."""
    size = plan.graph.buffers[0].size_bytes
    end = tiny_problem.arena_bytes - size
    assert validate(tiny_problem, moved(tiny_problem, plan, 0, end)) == ()
    assert only(tiny_problem, moved(tiny_problem, plan, 0, end + 8), Rule.CAPACITY).bytes == 8


def test_buffer_across_a_wall(tiny_problem: Problem, plan: Plan) -> None:
    """A buffer may end at the end of a bank, but not lie across it."""
    size = plan.graph.buffers[0].size_bytes
    assert validate(tiny_problem, moved(tiny_problem, plan, 0, FREE - size)) == ()
    assert only(tiny_problem, moved(tiny_problem, plan, 0, FREE - size + 8), Rule.BANK).bytes == 8
    assert only(tiny_problem, moved(tiny_problem, plan, 0, FREE - 8), Rule.BANK).bytes == size - 8


def test_misaligned_buffer(tiny_problem: Problem, plan: Plan) -> None:
    """The tables count addresses in units; half a unit cannot be said."""
    assert only(tiny_problem, moved(tiny_problem, plan, 0, FREE + 4), Rule.ALIGNMENT).bytes == 4


class _OpenProblem(Problem):
    """A problem that offers every bank, whether DMA reaches it or not."""

    @property
    def banks(self) -> tuple[tuple[str, int], ...]:
        return ("low", 6_144), ("high", 3_072)


def test_bank_that_dma_does_not_reach(tiny_problem: Problem, plan: Plan) -> None:
    """A buffer that is loaded may not lie where only the CPU reaches; one that is not, may."""
    board = tiny_problem.target.board
    target = replace(
        tiny_problem.target, board=replace(board, banks=(Bank("high", 4_096, False), board.banks[1]))
    )
    problem = _OpenProblem(tiny_problem.network, target, 10_240, IoPlace.STORAGE)
    sums = next(buffer for buffer in plan.graph.buffers if buffer.label == "partial sums")
    assert validate(problem, moved(problem, plan, sums.index, FREE)) == ()
    violation = only(problem, moved(problem, plan, 0, FREE), Rule.REACH)
    assert violation.tasks == (0,)
    assert "'high'" in violation.message
    no_dma = replace(target, board=replace(target.board, dma_channels=0))
    problem = _OpenProblem(tiny_problem.network, no_dma, 10_240, IoPlace.STORAGE)
    assert validate(problem, moved(problem, plan, 0, FREE)) == ()


# --------------------------------------------------------------------------- storage


@pytest.mark.parametrize(
    ("changes", "rest"),
    [
        ({"offset": 1}, 1),
        ({"segment_bytes": 127}, 31),
        ({"segment_bytes": 64, "segments": 2, "pitch": 65}, 1),
    ],
)
def test_transfer_off_the_granules(
    tiny_problem: Problem, plan: Plan, changes: dict[str, int], rest: int
) -> None:
    """Offset, size and pitch of a transfer are whole granules of the part."""
    task = find(plan, TaskKind.STORE, 0)
    assert task.transfer is not None
    transfer = replace(task.transfer, **changes)  # type: ignore[arg-type]
    touch = Touch(task.reads[0].buffer, Footprint(0, transfer.size_bytes))
    broken = with_task(plan, task.index, transfer=transfer, reads=(touch,))
    violations = validate(tiny_problem, broken)
    assert [(v.tasks, v.bytes) for v in violations if v.rule is Rule.STORAGE] == [((task.index,), rest)]
    assert Rule.COVERAGE in {v.rule for v in violations}


def _regions(plan: Plan, name: RegionName, **changes: Any) -> Plan:
    regions = tuple(
        replace(region, **changes) if region.name is name else region for region in plan.graph.regions
    )
    return replace(plan, graph=replace(plan.graph, regions=regions))


def test_transfer_beyond_its_region(tiny_problem: Problem, plan: Plan) -> None:
    """A region one granule too small is left by its last transfers."""
    output = next(region for region in plan.graph.regions if region.name is RegionName.OUTPUT)
    broken = _regions(plan, RegionName.OUTPUT, size_bytes=output.size_bytes - 32)
    violations = validate(tiny_problem, promised(tiny_problem, broken))
    assert {v.rule for v in violations} == {Rule.COVERAGE, Rule.STORAGE}
    assert next(v.bytes for v in violations if v.rule is Rule.STORAGE) == 32


def test_part_too_small(tiny_problem: Problem, plan: Plan) -> None:
    """The regions on a part fit exactly, or exceed it by a byte."""
    used = sum(region.size_bytes for region in plan.graph.regions)
    for capacity, excess in ((used, None), (used - 1, 1)):
        card = tiny_problem.target.weights
        card = replace(card, storage=replace(card.storage, capacity_bytes=capacity))
        target = replace(tiny_problem.target, weights=card, activations=card)
        problem = replace(tiny_problem, target=target)
        fitting = promised(problem, plan)
        if excess is None:
            assert validate(problem, fitting) == ()
        else:
            assert only(problem, fitting, Rule.STORAGE).bytes == excess


def test_weights_are_not_written(tiny_problem: Problem, plan: Plan) -> None:
    """A store over the image that holds the weights would spoil the next inference."""
    task = find(plan, TaskKind.STORE, 0)
    assert task.transfer is not None
    broken = with_task(plan, task.index, transfer=replace(task.transfer, region=RegionName.IMAGE))
    storage = [v for v in validate(tiny_problem, broken) if v.rule is Rule.STORAGE]
    assert [v.tasks for v in storage] == [(task.index,)]
    assert "only read" in storage[0].message


def test_region_on_another_part(tiny_problem: Problem, plan: Plan) -> None:
    """Each region lies on the part that the target gives it."""
    card = tiny_problem.target.weights
    other = replace(card, storage=replace(card.storage, name="second card"))
    problem = replace(tiny_problem, target=replace(tiny_problem.target, activations=other))
    assert rules(problem, promised(problem, plan)) == {Rule.COVERAGE, Rule.STORAGE}


def test_write_budget_exceeded_by_a_byte(tiny_problem: Problem, plan: Plan) -> None:
    """What is written fits a budget of just as much, and exceeds one that is a byte less."""
    written = plan.figures.bytes_written
    assert validate(replace(tiny_problem, write_budget_bytes=written), plan) == ()
    assert only(replace(tiny_problem, write_budget_bytes=written - 1), plan, Rule.WRITE_BUDGET).bytes == 1


def test_latency_budget_exceeded_by_a_nanosecond(tiny_problem: Problem, plan: Plan) -> None:
    """A plan fits a budget of just its makespan, and exceeds one that is a nanosecond less."""
    latency = plan.figures.latency_ns
    assert validate(replace(tiny_problem, limits=Limits(latency_ns=latency)), plan) == ()
    only(replace(tiny_problem, limits=Limits(latency_ns=latency - 1)), plan, Rule.LATENCY_BUDGET)


def test_energy_budget_exceeded_by_a_nanojoule(tiny_problem: Problem, plan: Plan) -> None:
    """A plan fits a budget of just its energy, and exceeds one that is a nJ less."""
    energy = plan.figures.energy_nj
    assert validate(replace(tiny_problem, limits=Limits(energy_nj=energy)), plan) == ()
    only(replace(tiny_problem, limits=Limits(energy_nj=energy - 1)), plan, Rule.ENERGY_BUDGET)


def test_storage_that_dies_too_early(tiny_problem: Problem, plan: Plan) -> None:
    """The storage may be asked to live as long as it does, and not a thousandth longer."""
    years = plan.figures.lifetime_years
    assert years is not None
    assert validate(replace(tiny_problem, limits=Limits(lifetime_years=years)), plan) == ()
    only(replace(tiny_problem, limits=Limits(lifetime_years=years * 1.001)), plan, Rule.LIFETIME)


# -------------------------------------------------------------------------- contents


def test_tile_fetched_before_it_is_stored(tiny_problem: Problem, plan: Plan) -> None:
    """A load that runs before the stores it needs reads storage that holds nothing, of which it knows how much."""
    load = find(plan, TaskKind.LOAD, 1)
    assert load.transfer is not None
    away = moved(tiny_problem, plan, load.writes[0].buffer, FREE)
    sequence = [load.index, *(t.index for t in plan.graph.tasks if t.index != load.index)]
    violations = validate(tiny_problem, in_sequence(tiny_problem, away, sequence))
    assert {v.rule for v in violations} == {Rule.PRECEDENCE, Rule.UNWRITTEN}
    unwritten = [v for v in violations if v.rule is Rule.UNWRITTEN]
    assert (unwritten[0].tasks, unwritten[0].bytes) == ((load.index,), load.transfer.size_bytes)
    assert unwritten[0].at_ns == 0


def test_padding_is_no_data(tiny_problem: Problem, plan: Plan) -> None:
    """A kernel may read the 16 stored bytes of a 32-byte granule, not the padding behind them."""
    task = find(plan, TaskKind.COMPUTE, 4)
    (stored, weights) = task.reads
    assert stored.footprint == Footprint(0, 16)
    greedy = Touch(stored.buffer, Footprint(0, 17))
    violations = validate(tiny_problem, with_task(plan, task.index, reads=(greedy, weights)))
    assert {v.rule for v in violations} == {Rule.COVERAGE, Rule.UNWRITTEN}
    assert [v.bytes for v in violations if v.rule is Rule.UNWRITTEN] == [1]


def test_store_of_more_than_was_computed(tiny_problem: Problem, plan: Plan) -> None:
    """A store may fill up a granule with anything, but not a whole one."""
    kernel, store = find(plan, TaskKind.COMPUTE, 0), find(plan, TaskKind.STORE, 0)
    for written, missing in ((97, 0), (96, 1)):
        touch = Touch(kernel.writes[0].buffer, Footprint(0, written))
        violations = validate(tiny_problem, with_task(plan, kernel.index, writes=(touch,)))
        at_store = [v.bytes for v in violations if v.rule is Rule.UNWRITTEN and v.tasks == (store.index,)]
        assert at_store == [missing] * bool(missing)


def test_output_not_stored(tiny_problem: Problem, plan: Plan) -> None:
    """Without the last store the output is not in storage at the end."""
    broken = without(tiny_problem, plan, len(plan.graph.tasks) - 1)
    violations = validate(tiny_problem, broken)
    assert {v.rule for v in violations} == {Rule.COVERAGE, Rule.OUTPUT}
    assert next(v.bytes for v in violations if v.rule is Rule.OUTPUT) == 10


@pytest.mark.parametrize("io", IoPlace)
@pytest.mark.parametrize("kept", [True, False])
def test_output_lacks_its_last_byte(
    tiny_problem: Problem, tiny_selection: Selection, planned: Planned, io: IoPlace, kept: bool
) -> None:
    """An output whose last byte nobody computes is incomplete, in SRAM as in storage."""
    problem = replace(tiny_problem, io=io)
    names = tiny_selection.kept | ({"softmax"} if kept else set())
    plan = planned(problem, replace(tiny_selection, kept=frozenset(names)), False)
    assert validate(problem, plan) == ()
    task = find(plan, TaskKind.COMPUTE, 5)
    touch = Touch(task.writes[0].buffer, Footprint(0, 9))
    violations = validate(problem, with_task(plan, task.index, writes=(touch,)))
    assert {v.rule for v in violations} == {Rule.COVERAGE, Rule.OUTPUT}
    assert next(v.bytes for v in violations if v.rule is Rule.OUTPUT) == 1


# --------------------------------------------------------------------------- streams


def test_race_is_named(tiny_problem: Problem, plan: Plan) -> None:
    """A kernel that does not wait for its input and its weights is named with both loads."""
    violations = validate(tiny_problem, requiring(plan, 2, 0, 0))
    assert {v.rule for v in violations} == {Rule.STREAMS}
    assert {v.tasks for v in violations} == {(0, 2), (1, 2)}
    assert all(v.message.startswith("task 2 (compute, stage 0) does not wait") for v in violations)
    assert {v.at_ns for v in violations} == {plan.schedule.start_ns[2]}


def test_race_in_storage(tiny_problem: Problem, plan: Plan) -> None:
    """With a channel for reading and one for writing, a fetch must wait for the store that it reads."""
    read, write = "sdio", "sdio write"
    tasks = tuple(
        replace(task, resource=write) if task.kind is TaskKind.STORE else task for task in plan.graph.tasks
    )
    graph = replace(plan.graph, tasks=tasks, resources=("cpu", read, write))
    problem, wide = apart(tiny_problem, replace(plan, graph=graph))
    streams = wide.streams
    assert rules(problem, wide) == {Rule.COVERAGE, Rule.RESOURCE}  # this board has no such channel
    fetch = find(wide, TaskKind.LOAD, 1)
    racing = validate(problem, requiring(wide, fetch.index, *streams.required[fetch.index][:2], 0))
    named = [v for v in racing if v.rule is Rule.STREAMS]
    assert [v.tasks for v in named] == [(find(wide, TaskKind.STORE, 0).index, fetch.index)]
    assert "region 'scratch'" in named[0].message


def test_deadlock(tiny_problem: Problem, plan: Plan) -> None:
    """Two tasks that wait for each other never start."""
    broken = requiring(requiring(plan, 0, 1, 0), 1, 1, 1)  # the first loads wait for the first kernel
    violations = validate(tiny_problem, broken)
    assert {v.rule for v in violations} == {Rule.STREAMS}
    assert violations[-1].message.startswith(f"the streams deadlock: {len(plan.graph.tasks)} tasks wait")


def test_times_that_do_not_honour_a_wait(tiny_problem: Problem, plan: Plan) -> None:
    """A wait for a task that ends later than the start is not what the times say."""
    kernel = find(plan, TaskKind.COMPUTE, 2).index
    cpu, sdio = plan.streams.required[kernel]
    violation = only(tiny_problem, requiring(plan, kernel, cpu, sdio + 1), Rule.STREAMS)
    assert violation.tasks == (kernel, kernel + 1)


def test_streams_that_do_not_list_the_tasks(tiny_problem: Problem, plan: Plan) -> None:
    """Streams from which a task is missing are told so, and nothing else is made of them."""
    cpu, sdio = plan.streams.order
    broken = replace(plan, streams=replace(plan.streams, order=(cpu, sdio[:-1])))
    assert "every task exactly once" in only(tiny_problem, broken, Rule.STREAMS).message


# --------------------------------------------------------------------------- figures


@pytest.mark.parametrize("name", [field.name for field in fields(Figures)])
def test_wrong_figure(tiny_problem: Problem, plan: Plan, name: str) -> None:
    """Each promised figure is compared; the one that is off by one is named."""
    wrong: Any = {name: getattr(plan.figures, name) + 1}
    violation = only(tiny_problem, replace(plan, figures=replace(plan.figures, **wrong)), Rule.FIGURES)
    assert violation.message.startswith(name)


def test_lifetime_that_is_not_stated(tiny_problem: Problem, plan: Plan) -> None:
    """Promising that nothing wears out is wrong where something does."""
    figures = replace(plan.figures, lifetime_years=None)
    only(tiny_problem, replace(plan, figures=figures), Rule.FIGURES)


# ------------------------------------------------------------------------- structure


def _graph(**changes: Any) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, graph=replace(plan.graph, **changes))


def _task(at: int, /, **changes: Any) -> Callable[[Plan], Plan]:
    return lambda plan: with_task(plan, at, **changes)


def _schedule(change: Callable[[Schedule], Schedule]) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, schedule=change(plan.schedule))


def _buffers(change: Callable[[TaskGraph], Any]) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, graph=replace(plan.graph, buffers=change(plan.graph)))


def _selection(change: Callable[[Selection], Selection]) -> Callable[[Plan], Plan]:
    return lambda plan: replace(plan, selection=change(plan.selection))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_selection(lambda s: replace(s, tilings=s.tilings[:-1])), "every operator needs a tiling"),
        (_selection(lambda s: replace(s, kept=s.kept | {"ghost"})), "'ghost' is not one of the network's"),
        (_schedule(lambda s: replace(s, start_ns=s.start_ns[:-1])), "every task needs a start"),
        (_schedule(lambda s: replace(s, start_ns=(-1, *s.start_ns[1:]))), "before 0 ns"),
        (_schedule(lambda s: replace(s, address=s.address[:-1])), "every buffer needs an address"),
        (_schedule(lambda s: replace(s, address=(-8, *s.address[1:]))), "below address 0"),
        (_graph(resources=("cpu", "cpu")), "distinct names"),
        (_graph(regions=(Region(RegionName.IMAGE, 0, 1),)), "exactly once"),
        (lambda plan: _regions(plan, RegionName.SCRATCH, store=1), "lie on a store"),
        (lambda plan: _regions(plan, RegionName.SCRATCH, size_bytes=-1), "have a size"),
        (_buffers(lambda g: (replace(g.buffers[0], size_bytes=0), *g.buffers[1:])), "buffer 0 must carry"),
        (_buffers(lambda g: (replace(g.buffers[0], index=1), *g.buffers[1:])), "buffer 0 must carry"),
        (_task(3, index=4), "must carry its position"),
        (_task(3, duration_ns=-1), "negative time"),
        (_task(3, after=(3,)), "after other tasks"),
        (_task(3, after=(999,)), "after other tasks"),
        (_task(2, reads=(Touch(999, Footprint(0, 1)),)), "buffer 999, which is not there"),
        (_task(2, reads=(Touch(0, Footprint(0, 449)),)), "1 bytes beyond its end"),
        (_task(2, reads=(Touch(0, Footprint(-1, 1)),)), "has no bytes"),
        (_task(2, reads=(Touch(0, Footprint(0, 0)),)), "has no bytes"),
        (_task(2, reads=(Touch(0, Footprint(0, 2, 10**9, 0)),)), "meets itself"),
        (_task(2, reads=(Touch(0, Footprint(0, 2, 1, 0, 10**9, 1)),)), "meets itself"),
        (_task(2, stage=6), "operator's number"),
        (_task(2, tile=4), "one of 4"),
        (_task(2, kind=TaskKind.ENCRYPT), "between storage and one buffer"),
        (_task(0, kind=TaskKind.DECRYPT), "opened and sealed in place"),
        (_task(0, kind=TaskKind.DECRYPT), "no records to open"),
        (_task(2, kind=TaskKind.LOAD), "between storage and one buffer"),
        (_task(0, transfer=None), "between storage and one buffer"),
        (_task(0, kind=TaskKind.COMPUTE, tile=0), "moves nothing"),
        (_task(0, kind=TaskKind.STORE), "between storage and one buffer"),
        (_task(0, writes=(Touch(0, Footprint(0, 447)),)), "moves 448 bytes"),
    ],
)
def test_plan_that_refers_to_nothing(
    tiny_problem: Problem, plan: Plan, change: Callable[[Plan], Plan], message: str
) -> None:
    """Numbers that point at nothing, and sizes that are none, are told and end the examination."""
    violations = validate(tiny_problem, change(plan))
    assert {v.rule for v in violations} == {Rule.STRUCTURE}
    assert any(message in v.message for v in violations), violations


@settings(max_examples=300)
@given(data=st.data())
def test_any_other_number_is_found(tiny_problem: Problem, plan: Plan, data: st.DataObject) -> None:
    """Another number anywhere in the tasks, buffers, regions, addresses or figures is judged, and found wrong.

    Only an address may be changed to another right one.
    """
    document: Any = plan_to_json(plan)
    part = data.draw(st.sampled_from(("graph", "figures", "address")))
    document["address"] = document["schedule"]["address"]  # the same list, within reach
    place, key = document, part
    while isinstance(place[key], (dict, list)):
        place = place[key]
        keys = sorted(place) if isinstance(place, dict) else list(range(len(place)))
        assume(keys)
        key = data.draw(st.sampled_from(keys))
    assume(type(place[key]) is int)
    near = st.integers(-40, 40).map(lambda by: place[key] + by)
    value = data.draw(near | st.integers(-(2**63) + 1, 2**63 - 1))
    assume(value != place[key])
    place[key] = value
    del document["address"]
    found = rules(tiny_problem, plan_from_json(document))
    assert found or part == "address"
