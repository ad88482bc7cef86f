"""What an option promises is never more than what the expanded tasks cost: that makes bounds valid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.limits import Limits
from ooc_solve.models.patches import covered
from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    Budget,
    BufferRole,
    DType,
    Network,
    Objective,
    Op,
    OpKind,
    Selection,
    TaskGraph,
    TaskKind,
    Tensor,
    Tiling,
    Window,
)
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import options as options_module
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.options import KEPT, Option, pareto, stored_bytes
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space, unfused
from ooc_solve.solver.tile_sizes import sizes

Problems = Callable[..., SearchStrategy[Problem]]
BusiestStep = Callable[[TaskGraph, int], int]


def whole_space(problem: Problem) -> Space:
    """The option space before any option is dropped for being dominated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options_module, "pareto", lambda options, several_banks: options)
        return unfused(build_space(problem))


def choose(data: st.DataObject, space: Space) -> tuple[Option, ...] | None:
    """An option for each stage such that all agree on where every tensor lives."""
    width: dict[str, int] = {}
    chosen = []
    for op, options in zip(space.problem.network.ops, space.options, strict=True):
        pool = [
            o
            for o in options
            if all(width.get(n, w) == w for n, w in zip(op.inputs, o.inputs, strict=True))
            and len(dict(zip(op.inputs, o.inputs, strict=True)))
            == len(set(zip(op.inputs, o.inputs, strict=True)))
        ]
        if not pool:
            return None
        spilled = [o for o in pool if o.output != KEPT]
        prefer: bool = data.draw(st.booleans())
        option = data.draw(st.sampled_from(spilled if spilled and prefer else pool))
        chosen.append(option)
        width |= dict(zip(op.inputs, option.inputs, strict=True)) | {op.output: option.output}
    return tuple(chosen)


def selection_of(space: Space, chosen: tuple[Option, ...]) -> Selection:
    """The selection that consists of these options."""
    kept = set()
    for op, option in zip(space.problem.network.ops, chosen, strict=True):
        kept |= {n for n, w in zip((*op.inputs, op.output), (*option.inputs, option.output), strict=True)
                 if w == KEPT}  # fmt: skip
    return Selection(tuple(option.tiling for option in chosen), frozenset(kept))


def kept_bytes(space: Space, selection: Selection, stage: int) -> int:
    """Bytes of the kept tensors that the selection model counts in a stage."""
    problem = space.problem
    return sum(
        problem.buffer_bytes(stored_bytes(problem, name))
        for name, (first, last) in space.lives.items()
        if name in selection.kept and first <= stage <= last
    )


def check_stage(
    busiest_step_bytes: BusiestStep,
    space: Space,
    selection: Selection,
    graph: TaskGraph,
    stage: int,
    option: Option,
) -> None:
    """Compare the figures of one option with the tasks of its stage."""
    tasks = [task for task in graph.tasks if task.stage == stage]
    by_kind = {kind: [t for t in tasks if t.kind is kind] for kind in TaskKind}
    cipher = sum(t.duration_ns for t in tasks if t.occupies_cpu and t.transfer is not None)
    transfers = [t.transfer for t in by_kind[TaskKind.LOAD] if t.transfer]
    opens_rows = any(
        moved.sealed_records and not moved.checked for moved in transfers
    )  # also some beside the box
    assert option.kernels_ns == sum(t.duration_ns for t in by_kind[TaskKind.COMPUTE])
    assert option.cipher_ns <= cipher if opens_rows else option.cipher_ns == cipher
    moved: Counter[str] = Counter()
    for task in tasks:
        if not task.occupies_cpu:
            moved[task.resource] += task.duration_ns
    assert all(ns <= moved[channel] for channel, ns in option.io_ns)
    assert option.bytes_read <= sum(t.transfer.size_bytes for t in by_kind[TaskKind.LOAD] if t.transfer)
    written = sum(t.transfer.size_bytes for t in by_kind[TaskKind.STORE] if t.transfer)
    assert option.bytes_written <= written
    if option.output != KEPT:
        assert option.bytes_written == written
    assert option.tasks <= len(tasks)
    beside = [b.size_bytes for b in graph.buffers if b.stage == stage and b.role is not BufferRole.TENSOR]
    assert option.largest_bytes <= max(beside, default=0)
    assert option.need_bytes + kept_bytes(space, selection, stage) <= busiest_step_bytes(graph, stage)
    check_ends(graph, stage, option)


def check_ends(graph: TaskGraph, stage: int, option: Option) -> None:
    """What must pass before the first compute task and after the last is not overestimated."""
    steps = [task for task in graph.tasks if task.stage == stage and task.kind is TaskKind.COMPUTE]
    head: Counter[str] = Counter()
    for other in steps[0].after:
        task = graph.tasks[other]
        load = graph.tasks[task.after[0]] if task.kind is TaskKind.DECRYPT else task
        head[load.resource] += load.duration_ns
    assert option.first_ns <= max(head.values(), default=0)
    ends = {steps[-1].index}
    ends |= {t.index for t in graph.tasks if t.kind is TaskKind.ENCRYPT and steps[-1].index in t.after}
    tail = [t.duration_ns for t in graph.tasks if t.kind is TaskKind.STORE and ends & set(t.after)]
    assert option.last_ns <= max(tail, default=0)


def check(busiest_step_bytes: BusiestStep, data: st.DataObject, problem: Problem) -> None:
    """Draw one option per stage and compare all of them with their expansion."""
    space = whole_space(problem)
    chosen = choose(data, space)
    assume(chosen is not None)
    assert chosen is not None
    selection = selection_of(space, chosen)
    try:
        graph = expand(problem, selection)
    except SelectionError:
        assume(False)
    for stage, option in enumerate(chosen):
        check_stage(busiest_step_bytes, space, selection, graph, stage, option)


@given(data=st.data())
@settings(max_examples=400)
def test_options_are_lower_estimates(
    data: st.DataObject, problems: Problems, busiest_step_bytes: BusiestStep
) -> None:
    """Compute time is exact, but for opening rows that come along; nothing else is overestimated."""
    check(busiest_step_bytes, data, data.draw(problems()))


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=5000)
def test_options_are_lower_estimates_often(
    data: st.DataObject, problems: Problems, busiest_step_bytes: BusiestStep
) -> None:
    """The same over thousands of networks."""
    check(busiest_step_bytes, data, data.draw(problems()))


FIGURES = ("need_bytes", "compute_ns", "first_ns", "last_ns", "bytes_read", "bytes_written", "tasks")


@given(data=st.data())
@settings(max_examples=40)
def test_dropped_options_are_beaten(data: st.DataObject, problems: Problems) -> None:
    """For every option that is dropped, one that is kept is no worse in any figure."""
    problem = data.draw(problems(1))
    everything, pruned = whole_space(problem), unfused(build_space(problem))
    for options, kept in zip(everything.options, pruned.options, strict=True):
        assert set(kept) <= set(options)
        for option in set(options) - set(kept):
            rivals = [o for o in kept if (o.inputs, o.output) == (option.inputs, option.output)]
            assert any(
                all(getattr(rival, f) <= getattr(option, f) for f in FIGURES)
                and all(ns <= dict(option.io_ns)[c] for c, ns in rival.io_ns)
                for rival in rivals
            )


@given(data=st.data())
@settings(max_examples=25)
def test_pruning_keeps_an_optimum(data: st.DataObject, problems: Problems) -> None:
    """Dropping dominated options never changes the least latency, energy, writes or SRAM."""
    problem = data.draw(problems(2, 6, 6))
    everything, pruned = whole_space(problem), unfused(build_space(problem))
    assume(everything.size < 600)
    for aim in (Aim.MAKESPAN_BOUND, Aim.ENERGY, Aim.WRITES, Aim.SRAM):
        found = [SelectionModel(space).solve(aim, Budget(30.0, 1, 1)) for space in (everything, pruned)]
        assert found[0].status is found[1].status
        assert found[0].value == found[1].value


def test_boxes_that_padding_makes_equal_are_fetched_once() -> None:
    """Two rows of tiles that read the same two input rows cost one fetch."""
    tensors = {name: Tensor(name, 2, 4, 4, DType.INT8) for name in ("x", "y")}
    op = Op("pool", OpKind.MAX_POOL, ("x",), "y", Window((3, 3), pads=(1, 1, 1, 1)))
    network = Network("small", tensors, (op,), ("x",), ("y",))
    problem = Problem(network, load_target("u585-octal"), RESERVED_BYTES + 1024, IoPlace.STORAGE)
    options = [o for o in whole_space(problem).options[0] if o.tiling.rows == 1 and o.inputs == (4,)]
    assert options
    assert all(o.bytes_read == 32 for o in options if o.tiling.channels == 4 and o.tiling.columns == 4)


def test_first_fetches_on_two_channels_overlap() -> None:
    """Weights and input that come over different channels delay the first tile by the longer only."""
    tensors = {name: Tensor(name, 4, 4, 8, DType.INT8) for name in ("x", "y")}
    fields = {
        "weights": np.zeros((8, 1, 1, 8), np.int8),
        "bias": np.zeros(8, np.int32),
        "multiplier": np.ones(8, np.float32),
    }
    op = Op("conv", OpKind.CONV, ("x",), "y", **fields)  # type: ignore[arg-type]
    network = Network("small", tensors, (op,), ("x",), ("y",))
    problem = Problem(network, load_target("u585-octal"), RESERVED_BYTES + 4096, IoPlace.STORAGE)
    weights, activations = (problem.resource_of(store) for store in problem.target.stores)
    assert weights != activations
    options = [o for o in whole_space(problem).options[0] if o.inputs == (8,) and o.tiling.channels == 8]
    assert options
    for option in options:
        assert option.first_ns <= max(dict(option.io_ns).values())


@given(total=st.integers(1, 2000), limit=st.integers(2, 12))
def test_sizes_go_from_the_total_to_one(total: int, limit: int) -> None:
    """Tile sizes fall from the whole to a single one, and there are no more than the limit."""
    found = sizes(total, limit)
    assert found[0] == total
    assert found[-1] == 1
    assert found == sorted(set(found), reverse=True)
    assert len(found) <= max(limit, 2)


def two_convolutions() -> Network:
    """Two padded 3x3 convolutions with 32 output channels."""
    tensors = {"x": Tensor("x", 6, 6, 16, DType.INT8)}
    ops = []
    for name, source in (("y", "x"), ("z", "y")):
        tensors[name] = Tensor(name, 6, 6, 32, DType.INT8)
        fields = {
            "weights": np.zeros((32, 3, 3, tensors[source].channels), np.int8),
            "bias": np.zeros(32, np.int32),
            "multiplier": np.ones(32, np.float32),
        }
        window = Window((3, 3), pads=(1, 1, 1, 1))
        ops.append(Op(name, OpKind.CONV, (source,), name, window, **fields))  # type: ignore[arg-type]
    return Network("convolutions", tensors, tuple(ops), ("x",), ("z",))


@pytest.mark.parametrize("arena", [2048, 4096, 12288])
def test_options_of_two_convolutions_are_lower_estimates(arena: int, busiest_step_bytes: BusiestStep) -> None:
    """Of the pairs of options that fit each other, held, split and planar ones included, every 29th is checked."""
    problem = Problem(two_convolutions(), load_target("u585-octal"), RESERVED_BYTES + arena, IoPlace.STORAGE)
    space = unfused(build_space(problem))
    checked = 0
    for number, first in enumerate(space.options[0]):
        fitting = [o for o in space.options[1] if o.inputs == (first.output,)]
        for second in fitting[number % 29 :: 29]:
            selection = selection_of(space, (first, second))
            graph = expand(problem, selection)
            for stage, option in enumerate((first, second)):
                check_stage(busiest_step_bytes, space, selection, graph, stage, option)
            checked += 1
    assert checked > 50


def test_small_arenas_offer_every_kind_of_cut() -> None:
    """Held weights, held inputs, planes with partial sums, stripes and spilled tensors are all offered."""
    options: list[Option] = []
    for arena in (2048, 4096, 12288):
        target = load_target("u585-octal")
        problem = Problem(two_convolutions(), target, RESERVED_BYTES + arena, IoPlace.STORAGE)
        options += unfused(build_space(problem)).options[1]
    assert any(o.tiling.hold_weights for o in options)
    assert any(o.tiling.hold_inputs for o in options)
    assert any(0 < o.inputs[0] < 32 and o.tiling.split < 32 for o in options)
    assert any(o.output != KEPT for o in options)
    assert any(o.tiling.rows < 6 for o in options)


@pytest.mark.parametrize("figure", FIGURES)
def test_an_option_that_is_best_in_one_figure_is_kept(figure: str) -> None:
    """Worse in everything but one figure is enough to stay; equal in that one too is not."""
    tiling = Tiling(1, 1, 1, 1)
    good = Option((tiling,), (KEPT,), KEPT, 5, 5, 5, 5, (("io", 5),), 5, 5, 5, 5, 5, 5)
    bad = Option((tiling,), (KEPT,), KEPT, 6, 6, 6, 6, (("io", 6),), 6, 6, 6, 6, 6, 6)
    assert pareto([bad, good]) == [good]
    equal, better = (replace(bad, **{figure: n}) for n in (5, 4))  # type: ignore[arg-type]
    assert pareto([equal, good]) == [good]
    assert set(pareto([better, good])) == {better, good}


def test_the_largest_buffer_counts_only_with_several_banks() -> None:
    """An option that is worse in everything but its largest buffer stays where SRAM has walls."""
    tiling = Tiling(1, 1, 1, 1)
    good = Option((tiling,), (KEPT,), KEPT, 5, 5, 5, 5, (("io", 5),), 5, 5, 5, 5, 5, 5)
    bad = Option((tiling,), (KEPT,), KEPT, 6, 6, 6, 6, (("io", 6),), 6, 6, 6, 6, 6, 4)
    assert pareto([bad, good]) == [good]
    assert pareto([bad, good], several_banks=True) == [good, bad]


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.WEAR])
def test_every_fused_option_can_be_carried_out(objective: Objective) -> None:
    """Patches of each stage that is offered hold what is read of them, wherever in a long chain it begins."""
    network, target = zoo_network("mobilenet_v1_025_96"), load_target("f746-sd")
    problem = Problem(network, target, 48 * 1024, IoPlace.STORAGE, objective)
    space = build_space(problem)
    fused = [(first, o) for first, options in enumerate(space.options) for o in options if o.operators > 1]
    assert any(tiling.ring_rows for _, option in fused for tiling in option.tilings)
    for first, option in fused:
        assert covered(problem.network, range(first, first + option.operators), option.tilings)


def fused_of(problem: Problem) -> set[tuple[int, Option]]:
    """The options of fused stages that a problem has, by their first operator."""
    return {(s, o) for s, options in enumerate(space_of(problem).options) for o in options if o.operators > 1}


def test_more_is_fused_where_few_bytes_are_to_be_written() -> None:
    """A budget, a lifetime, wear and parts that are erased first: stages as large as what they read, some weights held."""
    network, card = zoo_network("ds_cnn"), load_target("f746-sd")
    free = Problem(network, card, 16 * 1024, IoPlace.STORAGE)
    assert not fused_of(free)
    few = fused_of(replace(free, write_budget_bytes=10_000))
    held = {
        "".join(
            str(int(t.hold_weights)) for s, t in enumerate(o.tilings, first) if network.ops[s].weight_bytes
        )
        for first, o in few
    }
    assert {0, 1, 7} <= {first for first, _ in few}
    assert any("0" in pattern and "1" in pattern for pattern in held)
    limits = Limits(lifetime_years=50.0)
    for other in (replace(free, objective=Objective.WEAR), replace(free, limits=limits)):
        assert fused_of(other) == few
    nor = load_target("nrf52840-nor")
    erased = replace(free, target=replace(nor, activations=nor.weights))
    assert fused_of(erased)
    assert fused_of(erased) == fused_of(replace(erased, objective=Objective.WEAR))
