"""Folded steps mean the same kernels, transfers and bytes as the expansion of the selection."""

from __future__ import annotations

import random
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Selection, TaskGraph, TaskKind
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.ladder import at_size
from ooc_solve.solver.maxplus import Ints
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.placement import buffer_uses
from ooc_solve.solver.selection import Space
from ooc_solve.solver.steps import LAST, StepCosts, Steps

NETWORKS = ("ds_cnn", "resnet8", "mobilenet_v1_025_96")
TARGETS = ("f746-sd", "l4r5-sdspi", "u585-octal", "f746-qspi-sdram", "lm3s-qemu")
MOST_TILES = 400


def drawn(space: Space, rng: random.Random) -> tuple[Option, ...] | None:
    """Options of all stages that agree on where tensors live, None if the residences fit no option."""
    width = {name: rng.choice(widths) for name, widths in space.residences.items()}
    found = []
    for op, options in zip(space.problem.network.ops, space.options, strict=True):
        wanted = tuple(width[name] for name in op.inputs), width[op.output]
        fit = [o for o in options if (o.inputs, o.output) == wanted and o.tasks <= MOST_TILES]
        if not fit:
            return None
        found.append(rng.choice(fit))
    return tuple(found)


def unfolded(steps: Steps) -> Iterator[int]:
    """Run of every kernel, in order of execution."""
    end = 0
    for runs, rounds in zip(steps.row_runs, steps.row_count, strict=True):
        row = np.repeat(np.arange(end, end + runs), steps.count[end : end + runs])
        for _ in range(rounds):
            yield from row.tolist()
        end += runs


def records_of(problem: Problem, costs: StepCosts, chosen: tuple[Option, ...], stage: int) -> tuple[int, ...]:
    """Rows per record of the inputs of a stage, where they matter."""
    ops = problem.network.ops
    made = {op.output: option for op, option in zip(ops, chosen, strict=True)}
    return tuple(
        costs.record_rows(name, width, made[name].tiling.rows) if width != KEPT and name in made else 0
        for name, width in zip(ops[stage].inputs, chosen[stage].inputs, strict=True)
    )


def needs(graph: TaskGraph, stage: int) -> list[int]:
    """Bytes of the stage's own tile buffers during each of its kernels."""
    uses, kernels = buffer_uses(graph), [task.stage for task in graph.compute_tasks]
    own = [b for b in graph.buffers if b.stage == stage and b.role.value != "tensor"]
    return [
        sum(b.size_bytes for b in own if uses[b.index].first <= k <= uses[b.index].last)
        for k, of in enumerate(kernels)
        if of == stage
    ]


def check(problem: Problem, chosen: tuple[Option, ...], graph: TaskGraph) -> None:
    """Compare every stage's steps, with known and with unknown layouts, with the tasks of the graph."""
    costs = StepCosts(problem)
    for stage, (op, option) in enumerate(zip(problem.network.ops, chosen, strict=True)):
        exact = costs.steps((op,), option, records_of(problem, costs, chosen, stage))
        rough = costs.steps((op,), option)
        own = [task for task in graph.tasks if task.stage == stage]
        kernels = [task.duration_ns for task in own if task.kind is TaskKind.COMPUTE]
        order = list(unfolded(exact))
        moved: list[int] = [0] * 2
        for way, kind in enumerate((TaskKind.LOAD, TaskKind.STORE)):
            moved[way] = sum(task.duration_ns for task in own if task.kind is kind)
        assert len(order) == len(kernels) == len(list(unfolded(rough)))
        total = {
            name: total_of(steps, list(unfolded(steps)))
            for name, steps in (("exact", exact), ("rough", rough))
        }
        assert total["exact"] == sum(kernels) + sum(moved)
        assert total["rough"] <= total["exact"]
        if costs.channels:
            assert exact.compute_ns[order].tolist() == kernels
        assert exact.need_bytes[order].tolist() == needs(graph, stage)
        assert (rough.need_bytes[list(unfolded(rough))] <= exact.need_bytes[order]).all()
        check_loads(exact, rough)


def total_of(steps: Steps, order: list[int]) -> int:
    """Time of all kernels and transfers."""
    parts: list[Ints] = [steps.compute_ns, *steps.fetch_ns, *steps.store_ns]
    return int(sum(part[order].sum() for part in parts))


def check_loads(exact: Steps, rough: Steps) -> None:
    """All loads are counted, and credits for unknown layouts cover the known ones."""
    assert exact.place[-1] == LAST
    assert exact.first[0]
    assert exact.first.sum() == 1
    for place in range(4):
        assert sum(exact.ahead[place].values()) == sum(rough.ahead[place].values())
        most = sum((ns + each * pieces) * n for (_, _, ns, _, each, pieces), n in rough.ahead[place].items())
        assert sum(ns * n for (_, _, ns, *_), n in exact.ahead[place].items()) <= most


@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from(NETWORKS), st.sampled_from(TARGETS), st.sampled_from((16, 32, 64))
)
def test_steps_are_those_of_the_expansion(seed: int, name: str, target: str, kib: int) -> None:
    """Times of kernels and transfers and bytes of buffers agree, kernel by kernel."""
    problem = at_size(Problem(zoo_network(name), load_target(target), 48 << 10, IoPlace.STORAGE), kib << 10)
    space, rng = space_of(problem), random.Random(seed)
    chosen = next((found for _ in range(50) if (found := drawn(space, rng)) is not None), None)
    assume(chosen is not None)
    assert chosen is not None
    kept = {n for op, o in zip(problem.network.ops, chosen, strict=True)
            for n, w in zip((*op.inputs, op.output), (*o.inputs, o.output), strict=True) if w == KEPT}  # fmt: skip
    try:
        graph = expand(problem, Selection(tuple(o.tiling for o in chosen), frozenset(kept)))
    except SelectionError:
        assume(False)
        raise
    check(problem, chosen, graph)


def test_thousands_of_tiles_fold_into_a_few_runs() -> None:
    """The number of runs does not grow with the number of equal tiles."""
    problem = Problem(zoo_network("resnet8"), load_target("f746-sd"), 8 << 10, IoPlace.STORAGE)
    space, costs = space_of(problem), StepCosts(problem)
    op, option = max(
        ((op, o) for op, options in zip(problem.network.ops, space.options, strict=True) for o in options),
        key=lambda pair: pair[1].tasks,
    )
    steps = costs.steps((op,), option)
    assert len(list(unfolded(steps))) > 500
    assert len(steps.count) < 60


@pytest.mark.parametrize("rows", [1, 3])
def test_records_matter_only_where_rows_are_no_granules(rows: int) -> None:
    """Rows of 320 bytes depend on the producer's tiles, those of 512 bytes and network inputs do not."""
    problem = Problem(zoo_network("ds_cnn"), load_target("f746-sd"), 32 << 10, IoPlace.STORAGE)
    costs, network = StepCosts(problem), problem.network
    wide = next(op.output for op in network.ops if network.tensors[op.output].width > 1)
    channels = network.tensors[wide].channels
    assert costs.record_rows(wide, channels, rows) == rows
    assert costs.record_rows(network.inputs[0], 1, rows) == 0
    resnet = Problem(zoo_network("resnet8"), load_target("f746-sd"), 32 << 10, IoPlace.STORAGE)
    first = resnet.network.ops[1].output
    assert StepCosts(resnet).record_rows(first, resnet.network.tensors[first].channels, rows) == 0
