"""Folded steps mean the same kernels, transfers and bytes as the expansion of the selection."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import suppress
from itertools import islice

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Selection, TaskGraph, TaskKind
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.fused import operands
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.ladder import at_size
from ooc_solve.solver.maxplus import Ints
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.placement import buffer_uses
from ooc_solve.solver.selection import Space, unfused
from ooc_solve.solver.steps import LAST, NO_ROW, StepCosts, Steps

NETWORKS = ("ds_cnn", "resnet8", "mobilenet_v1_025_96")
TARGETS = ("f746-sd", "l4r5-sdspi", "u585-octal", "f746-qspi-sdram", "lm3s-qemu")
MOST_TILES = 400


Chosen = dict[int, Option]
"""Options by the operators that their stages begin with."""


def drawn(space: Space, rng: random.Random, fused: bool = False) -> Chosen | None:
    """Options that agree on where tensors live, None if the residences fit no option; fused ones if so asked."""
    network = space.problem.network
    width = {name: rng.choice(widths) for name, widths in space.residences.items()}
    found: Chosen = {}
    stage = 0
    while stage < len(space.options):
        fit = [o for o in space.options[stage] if o.tasks <= MOST_TILES and fits(space, stage, o, width)]
        wide = [o for o in fit if o.operators > 1]
        if not fit:
            return None
        found[stage] = rng.choice(wide if fused and wide else [o for o in fit if o.operators == 1] or wide)
        stage += found[stage].operators
    assert stage == len(network.ops)
    return found


def expanded(
    space: Space, rng: random.Random, draws: int, fused: bool = False
) -> Iterator[tuple[Chosen, TaskGraph]]:
    """What can be expanded of so many draws, with its task graph; if fused, only where a stage is."""
    for _ in range(draws):
        chosen = drawn(space, rng, fused)
        if chosen is None or (fused and all(option.operators == 1 for option in chosen.values())):
            continue
        with suppress(SelectionError):
            yield chosen, expand(space.problem, selected(space.problem, chosen))


def fits(space: Space, stage: int, option: Option, width: dict[str, int]) -> bool:
    """Whether an option assumes these residences."""
    network = space.problem.network
    names, made = operands(network, stage, option.operators), network.ops[stage + option.operators - 1].output
    return option.inputs == tuple(width[name] for name in names) and option.output == width[made]


def selected(problem: Problem, chosen: Chosen) -> Selection:
    """The selection of some options."""
    network, kept = problem.network, set[str]()
    for stage, option in chosen.items():
        names = (
            *operands(network, stage, option.operators),
            network.ops[stage + option.operators - 1].output,
        )
        kept |= {n for n, w in zip(names, (*option.inputs, option.output), strict=True) if w == KEPT}
    return Selection(tuple(t for option in chosen.values() for t in option.tilings), frozenset(kept))


def unfolded(steps: Steps) -> Iterator[int]:
    """Run of every kernel, in order of execution."""
    end = 0
    for runs, rounds in zip(steps.row_runs, steps.row_count, strict=True):
        row = np.repeat(np.arange(end, end + runs), steps.count[end : end + runs])
        for _ in range(rounds):
            yield from row.tolist()
        end += runs


def records_of(problem: Problem, costs: StepCosts, chosen: Chosen, stage: int) -> tuple[int, ...]:
    """Rows per record of the inputs of a stage, where they matter."""
    ops = problem.network.ops
    made = {ops[first + option.operators - 1].output: option for first, option in chosen.items()}
    names = operands(problem.network, stage, chosen[stage].operators)
    return tuple(
        costs.record_rows(name, width, made[name].tiling.rows) if width != KEPT and name in made else 0
        for name, width in zip(names, chosen[stage].inputs, strict=True)
    )


def needs(problem: Problem, graph: TaskGraph, stages: range) -> list[int]:
    """Bytes of the stage's own tile buffers during each of its kernels, less an output that has none of its own."""
    network, where = problem.network, dict(graph.resident)
    names = (network.ops[stages[-1]].output, *network.ops[stages[-1]].inputs)
    places = [where[name] for name in names if name in where]
    twice = names[0] in where and where[names[0]] in places[1:]
    spared = network.tensors[names[0]].size_bytes if twice else 0
    begun = [task.stage for task in graph.compute_tasks].index(stages[-1])
    uses, kernels = buffer_uses(graph), [task.stage for task in graph.compute_tasks]
    own = [b for b in graph.buffers if b.stage in stages and b.role.value != "tensor"]
    return [
        sum(b.size_bytes for b in own if uses[b.index].first <= k <= uses[b.index].last)
        - (problem.buffer_bytes(spared) if k >= begun else 0)
        for k, of in enumerate(kernels)
        if of in stages
    ]


def check(problem: Problem, chosen: Chosen, graph: TaskGraph) -> None:
    """Compare every stage's steps, with known and with unknown layouts, with the tasks of the graph."""
    costs = StepCosts(problem)
    for stage, option in chosen.items():
        stages = range(stage, stage + option.operators)
        ops = problem.network.ops[stage : stage + option.operators]
        exact = costs.steps(ops, option, records_of(problem, costs, chosen, stage))
        rough = costs.steps(ops, option)
        own = [task for task in graph.tasks if task.stage in stages]
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
        assert exact.need_bytes[order].tolist() == needs(problem, graph, stages)
        assert (rough.need_bytes[list(unfolded(rough))] <= exact.need_bytes[order]).all()
        check_loads(exact, rough)
        check_option(option, exact, order)


def check_option(option: Option, steps: Steps, order: list[int]) -> None:
    """The figures of an option are no more than its kernels and transfers need."""
    work = steps.compute_ns[order].sum() + steps.fetch_ns[:, order].sum() + steps.store_ns[:, order].sum()
    assert option.compute_ns + option.total_io_ns <= work
    assert option.need_bytes <= steps.need_bytes[order].max()


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
        most = sum(
            (ns + each * pieces) * n for (_, _, ns, _, each, pieces, _), n in rough.ahead[place].items()
        )
        assert sum(ns * n for (_, _, ns, *_), n in exact.ahead[place].items()) <= most


@settings(max_examples=9, deadline=None)
@given(
    st.integers(0, 10**6), st.sampled_from(NETWORKS), st.sampled_from(TARGETS), st.sampled_from((16, 32, 64))
)
def test_steps_are_those_of_the_expansion(seed: int, name: str, target: str, kib: int) -> None:
    """Times of kernels and transfers and bytes of buffers agree, kernel by kernel, for three selections of a space."""
    problem = at_size(Problem(zoo_network(name), load_target(target), 48 << 10, IoPlace.STORAGE), kib << 10)
    space, rng, checked = space_of(problem), random.Random(seed), 0
    for chosen, graph in islice(expanded(space, rng, draws=50), 3):
        check(problem, chosen, graph)
        checked += 1
    assume(checked)


@pytest.mark.parametrize(
    ("name", "target", "kib"),
    [
        ("mobilenet_v1_025_96", "f746-sd", 40),
        ("mobilenet_v1_025_96", "u585-octal", 24),
        ("resnet8", "f746-sd", 32),
    ],
)
def test_steps_of_fused_stages_are_those_of_the_expansion(name: str, target: str, kib: int) -> None:
    """The same where operators are fused."""
    problem = Problem(zoo_network(name), load_target(target), kib << 10, IoPlace.STORAGE)
    space, rng, found = space_of(problem), random.Random(5), 0
    for chosen, graph in expanded(space, rng, draws=200, fused=True):
        check(problem, chosen, graph)
        found += 1
    assert found >= 3


@pytest.mark.parametrize(("name", "kib"), [("resnet8", 16), ("ds_cnn", 10)])
def test_what_reaches_the_last_tile_waits_for_it(name: str, kib: int) -> None:
    """Loads that steps take to need the last tile of a stage wait for the store of it; some stages have such ones."""
    problem = Problem(zoo_network(name), load_target("f746-sd"), kib << 10, IoPlace.STORAGE)
    costs, ops, seen = StepCosts(problem), problem.network.ops, [0, 0]
    for fused in (False, True):
        for chosen, graph in islice(expanded(space_of(problem), random.Random(4), 60, fused), 4):
            for stage, option in chosen.items():
                stages = range(stage, stage + option.operators)
                steps = costs.steps(
                    ops[stage : stages.stop], option, records_of(problem, costs, chosen, stage)
                )
                last = [task.index for task in graph.compute_tasks if task.stage in stages][-1]
                stores = {t.index for t in graph.tasks if t.kind is TaskKind.STORE and last in t.after}
                assert (steps.last_row < NO_ROW) == (option.output != KEPT)
                for later, consumer in chosen.items():
                    names = operands(problem.network, later, consumer.operators)
                    own = costs.steps(
                        ops[later : later + consumer.operators],
                        consumer,
                        records_of(problem, costs, chosen, later),
                    )
                    late = sum(
                        many
                        for (row, load), many in own.reaching.items()
                        if names[load[0]] == ops[stages.stop - 1].output and row > steps.last_row
                    )
                    waiting = [
                        t
                        for t in graph.tasks
                        if t.kind is TaskKind.LOAD and t.stage in range(later, later + consumer.operators)
                        if stores & set(t.after)
                    ]
                    assert late <= len(waiting)
                    seen = [seen[0] + late, seen[1] + len(waiting)]
    assert seen[0] > 0.9 * seen[1] > 0


def test_steps_know_what_the_cpu_opens_and_seals() -> None:
    """Kernels alone and sealing are exact; openings, and the least of those of a kernel, are not overestimated."""
    target = encrypted(load_target("f746-sd"), "aes-128-gcm")
    problem = Problem(zoo_network("resnet8"), target, 32 << 10, IoPlace.STORAGE)
    costs, seen = StepCosts(problem), [0, 0]
    for chosen, graph in islice(expanded(space_of(problem), random.Random(3), draws=60), 4):
        opened: set[int] = set()
        for stage, option in chosen.items():
            ops = problem.network.ops[stage : stage + option.operators]
            steps = costs.steps(ops, option, records_of(problem, costs, chosen, stage))
            stages = range(stage, stage + option.operators)
            kernels = [task for task in graph.compute_tasks if task.stage in stages]
            for run, kernel in zip(unfolded(steps), kernels, strict=True):
                opening, least, sealing = steps.cipher_ns[:, run].tolist()
                assert steps.compute_ns[run] - opening - sealing == kernel.duration_ns
                fresh = [t for t in map(graph.tasks.__getitem__, set(kernel.after) - opened) if t.stage >= 0]
                opened |= set(kernel.after)
                waits = [t.duration_ns if t.kind is TaskKind.DECRYPT else 0 for t in fresh]
                assert opening <= sum(waits)
                assert least <= min(waits, default=0)
                seals = [t for t in graph.tasks if t.kind is TaskKind.ENCRYPT and kernel.index in t.after]
                assert sealing == sum(task.duration_ns for task in seals)
                seen = [seen[0] + (least > 0), seen[1] + (sealing > 0)]
    assert min(seen) > 10


def test_thousands_of_tiles_fold_into_a_few_runs() -> None:
    """The number of runs does not grow with the number of equal tiles."""
    problem = Problem(zoo_network("resnet8"), load_target("f746-sd"), 8 << 10, IoPlace.STORAGE)
    space, costs = space_of(problem), StepCosts(problem)
    op, option = max(
        (
            (op, o)
            for op, options in zip(problem.network.ops, unfused(space).options, strict=True)
            for o in options
        ),
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
