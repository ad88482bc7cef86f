"""The selection model's bound never exceeds what the best of all selections really costs."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    Budget,
    DType,
    Network,
    Op,
    OpKind,
    Selection,
    Status,
    TaskGraph,
    TaskKind,
    Tensor,
    Tiling,
    Window,
)
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import options as options_module
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.fused import operands
from ooc_solve.solver.heuristics import FLIPS
from ooc_solve.solver.options import KEPT, Option, OptionCosts
from ooc_solve.solver.placement import place
from ooc_solve.solver.search import evaluate
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space

Problems = Callable[..., SearchStrategy[Problem]]
TwoBanks = Callable[[Problem, int], Problem]

BUDGET = Budget(60.0, 1, 1)
MOST_SELECTIONS = 60
MOST_TASKS = 16


@dataclass(frozen=True, slots=True)
class Best:
    """Least figures over all selections, each scheduled to the optimum."""

    latency_ns: int
    energy_nj: int
    bytes_written: int
    arena_bytes: int


def whole_space(problem: Problem) -> Space:
    """The option space before any option is dropped for being dominated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options_module, "pareto", lambda options, several_banks: options)
        patch.setattr(OptionCosts, "_least_need", lambda *arguments: 0)
        return build_space(problem)


def selections(space: Space) -> Iterator[Selection]:
    """Every combination of options that agree on where each tensor lives."""
    ops = space.problem.network.ops

    def extend(stage: int, width: dict[str, int], chosen: tuple[Option, ...]) -> Iterator[Selection]:
        if stage == len(ops):
            kept = frozenset(name for name, w in width.items() if w == KEPT)
            yield Selection(tuple(tiling for option in chosen for tiling in option.tilings), kept)
            return
        for option in space.options[stage]:
            end = stage + option.operators
            names = operands(space.problem.network, stage, option.operators)
            named = [*zip(names, option.inputs, strict=True), (ops[end - 1].output, option.output)]
            if all(width.get(name, w) == w for name, w in named) and len(dict(named)) == len(set(named)):
                yield from extend(end, width | dict(named), (*chosen, option))

    return extend(0, {}, ())


def graphs(space: Space) -> Iterator[TaskGraph]:
    """Expansions of all selections within the write budget; a third thing may make one impossible."""
    limit = space.problem.write_budget_bytes
    for selection in selections(space):
        try:
            graph = expand(space.problem, selection)
        except SelectionError:
            continue
        written = sum(t.transfer.size_bytes for t in graph.tasks if t.transfer and t.kind is TaskKind.STORE)
        if limit is None or written <= limit:
            yield graph


def best_of_all(space: Space) -> Best | None:
    """Schedule every selection to the optimum and take the least of each figure."""
    found = []
    for graph in graphs(space):
        assume(len(graph.tasks) <= MOST_TASKS)
        result = solve_graph(space.problem, graph, None, Budget(5.0, 1, 1))
        assume(result.status is not Status.FEASIBLE)  # only proven optima are compared
        if result.schedule is not None:
            found.append(figures_of(space.problem, graph, result.schedule))
    if not found:
        return None
    return Best(
        min(f.latency_ns for f in found),
        min(f.energy_nj for f in found),
        min(f.bytes_written for f in found),
        min(f.sram_peak_bytes for f in found) - space.problem.reserved_bytes,
    )


def check_bounds(problem: Problem) -> None:
    """Compare the four bounds with the best of all selections, dominated options included."""
    everything = whole_space(problem)
    assume(len(list(islice(selections(everything), MOST_SELECTIONS + 1))) <= MOST_SELECTIONS)
    best = best_of_all(everything)
    assume(best is not None)
    assert best is not None
    space = build_space(problem)
    bounds = {
        aim: SelectionModel(space).solve(aim, BUDGET)
        for aim in (Aim.MAKESPAN_BOUND, Aim.ENERGY, Aim.WRITES, Aim.SRAM)
    }
    assert all(found.status is Status.OPTIMAL for found in bounds.values())
    assert 0 < bounds[Aim.MAKESPAN_BOUND].bound <= best.latency_ns
    assert 0 < bounds[Aim.ENERGY].bound <= best.energy_nj
    assert bounds[Aim.WRITES].bound <= best.bytes_written
    assert 0 < bounds[Aim.SRAM].bound <= best.arena_bytes


def draw_problem(data: st.DataObject, problems: SearchStrategy[Problem], in_two_banks: TwoBanks) -> Problem:
    """A problem whose arena is one bank, or two of any sizes."""
    problem = data.draw(problems)
    units = problem.arena_bytes // problem.unit_bytes
    second = data.draw(st.just(0) | st.integers(0, units // 2))
    return in_two_banks(problem, second * problem.unit_bytes) if second else problem


@given(data=st.data())
@settings(max_examples=25)
def test_bounds_hold_over_all_selections(
    data: st.DataObject, problems: Problems, in_two_banks: TwoBanks
) -> None:
    """No selection has a schedule that beats the bounds on latency, energy, writes or SRAM."""
    check_bounds(draw_problem(data, problems(2, 3, 3), in_two_banks))


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=300)
def test_bounds_hold_over_all_selections_often(
    data: st.DataObject, problems: Problems, in_two_banks: TwoBanks
) -> None:
    """The same over hundreds of networks."""
    check_bounds(draw_problem(data, problems(3, 4, 4), in_two_banks))


@given(data=st.data())
@settings(max_examples=60)
def test_infeasible_means_that_nothing_can_be_placed(
    data: st.DataObject, problems: Problems, in_two_banks: TwoBanks
) -> None:
    """Where the model finds no selection, none of the option space can be given addresses."""
    problem = data.draw(problems(2, 7, 7))
    problem = replace(problem, sram_bytes=problem.reserved_bytes + data.draw(st.integers(2, 40)) * 8)
    if problem.unit_bytes == 8:
        problem = in_two_banks(problem, problem.arena_bytes // 16 * 8)
    found = SelectionModel(build_space(problem)).solve(Aim.SERIAL, BUDGET)
    assume(found.status is Status.INFEASIBLE)
    assert all(place(problem, graph, 0, 0) is None for graph in islice(graphs(whole_space(problem)), 200))


@pytest.fixture(scope="module")
def chain() -> Problem:
    """Two convolutions whose middle tensor may be spilled, with little SRAM."""
    tensors = {"x": Tensor("x", 8, 8, 8, DType.INT8)}
    ops = []
    for name, source, channels in (("y", "x", 16), ("z", "y", 4)):
        tensors[name] = Tensor(name, 8, 8, channels, DType.INT8)
        fields = {
            "weights": np.zeros((channels, 1, 1, tensors[source].channels), np.int8),
            "bias": np.zeros(channels, np.int32),
            "multiplier": np.ones(channels, np.float32),
        }
        ops.append(Op(name, OpKind.CONV, (source,), name, **fields))  # type: ignore[arg-type]
    network = Network("chain", tensors, tuple(ops), ("x",), ("z",))
    return Problem(network, load_target("u585-octal"), RESERVED_BYTES + 1300, IoPlace.STORAGE)


def test_chosen_options_fit_the_arena(chain: Problem) -> None:
    """The least SRAM fits itself and eight bytes less do not."""
    least = SelectionModel(build_space(chain)).solve(Aim.SRAM, BUDGET).value
    assert 0 < least <= chain.arena_bytes
    for arena, status in ((least, Status.OPTIMAL), (least - 8, Status.INFEASIBLE)):
        assert SelectionModel(build_space(chain), arena).solve(Aim.SERIAL, BUDGET).status is status


def written_bytes(problem: Problem, selection: Selection) -> int:
    """Bytes that the expansion of a selection stores."""
    graph = expand(problem, selection)
    return sum(t.transfer.size_bytes for t in graph.tasks if t.transfer and t.kind is TaskKind.STORE)


def test_write_budget_is_respected(chain: Problem) -> None:
    """With the least bytes written as budget a selection is found that keeps to it; with one less, none."""
    least = SelectionModel(build_space(chain)).solve(Aim.WRITES, BUDGET).value
    assert least == 256  # the output has to be stored, the middle tensor does not
    spilling = SelectionModel(build_space(chain)).solve(Aim.SRAM, BUDGET).selection
    assert spilling is not None
    assert written_bytes(chain, spilling) > least
    for budget, status in ((least, Status.OPTIMAL), (least - 1, Status.INFEASIBLE)):
        problem = replace(chain, write_budget_bytes=budget)
        found = SelectionModel(build_space(problem)).solve(Aim.SERIAL, BUDGET)
        assert found.status is status
        if found.selection is not None:
            assert written_bytes(problem, found.selection) <= budget


def test_every_stage_has_one_option_and_every_tensor_one_place(chain: Problem) -> None:
    """The selection names a tiling per operator, and tilings and kept tensors expand to a graph."""
    for aim in Aim:
        found = SelectionModel(build_space(chain)).solve(aim, BUDGET)
        assert found.selection is not None
        assert len(found.selection.tilings) == len(chain.network.ops)
        assert expand(chain, found.selection).compute_tasks


def test_options_that_assume_other_residences_are_not_combined(chain: Problem) -> None:
    """A kept tensor is read by an option for kept inputs, a spilled one by an option for its planes."""
    space = build_space(chain)
    model = SelectionModel(space)
    first = next(x for x, o in zip(model.choice[0], space.options[0], strict=True) if o.output == KEPT)
    second = next(x for x, o in zip(model.choice[1], space.options[1], strict=True) if o.inputs != (KEPT,))
    model.model.add(first == 1)
    model.model.add(second == 1)
    assert model.solve(Aim.SERIAL, BUDGET).status is Status.INFEASIBLE


@pytest.mark.parametrize("name", ["ds_cnn", "resnet8"])
def test_bounds_hold_for_real_networks(name: str) -> None:
    """A scheduled selection of a real network is never better than the bounds."""
    problem = Problem(zoo_network(name), load_target("u585-octal"), 40 << 10, IoPlace.STORAGE)
    space = build_space(problem)
    selected = SelectionModel(space).solve(Aim.LAYER_OVERLAP, BUDGET)
    assert selected.selection is not None
    candidate = evaluate(problem, selected.selection)
    assert candidate is not None
    figures = figures_of(problem, candidate.graph, candidate.schedule)
    assert SelectionModel(space).solve(Aim.MAKESPAN_BOUND, BUDGET).bound <= figures.latency_ns
    assert SelectionModel(space).solve(Aim.ENERGY, BUDGET).bound <= figures.energy_nj
    assert SelectionModel(space).solve(Aim.WRITES, BUDGET).bound <= figures.bytes_written


@pytest.fixture(scope="module")
def pools() -> Problem:
    """Two poolings and the sum of both: three tensors of 1216 bytes alive at once, in 4 KiB."""
    tensors = {name: Tensor(name, 8, 8, 19, DType.INT8) for name in ("x", "a", "b", "c")}
    window = Window((3, 3), pads=(1, 1, 1, 1))
    ops = (
        Op("a", OpKind.MAX_POOL, ("x",), "a", window),
        Op("b", OpKind.MAX_POOL, ("a",), "b", window),
        Op("c", OpKind.ADD, ("a", "b"), "c"),
    )
    network = Network("pools", tensors, ops, ("x",), ("c",))
    return Problem(network, load_target("u585-octal"), RESERVED_BYTES + 4096, IoPlace.STORAGE)


def test_what_two_equal_banks_cannot_hold_is_not_selected(pools: Problem, in_two_banks: TwoBanks) -> None:
    """Three tensors of more than half a bank fit 4 KiB at once, but not two banks of 2 KiB."""
    halves = in_two_banks(pools, 2048)
    kept = []
    for problem in (pools, halves):
        found = SelectionModel(build_space(problem)).solve(Aim.SERIAL, BUDGET).selection
        assert found is not None
        kept.append(found.kept)
        graph = expand(problem, found)
        assert any(place(problem, graph, 0, 0, flips) for flips in FLIPS)
        assert any(place(halves, graph, 0, 0, flips) for flips in FLIPS) is (problem is halves)
    assert {"a", "b", "c"} <= kept[0]
    assert not {"a", "b", "c"} <= kept[1]


def test_no_tile_exceeds_the_largest_bank(pools: Problem, in_two_banks: TwoBanks) -> None:
    """Whole tensors are fetched where one bank takes them, not where each of two is too small."""
    small = in_two_banks(replace(pools, sram_bytes=RESERVED_BYTES + 2048), 1024)
    for problem, whole in ((pools, True), (small, False)):
        streamed = [o for o in build_space(problem).options[0] if o.inputs == (19,)]
        assert any(o.tiling.rows == 8 for o in streamed) is whole
        assert streamed


@pytest.mark.parametrize("target", ["u585-octal", "lm3s-qemu"])
def test_fetching_a_kept_input_and_storing_a_kept_output_count(target: str) -> None:
    """Where one pooling keeps both, latency, energy and bytes written are exactly the bounds."""
    tensors = {name: Tensor(name, 8, 8, 16, DType.INT8) for name in ("x", "y")}
    op = Op("pool", OpKind.MAX_POOL, ("x",), "y")
    network = Network("pool", tensors, (op,), ("x",), ("y",))
    problem = Problem(network, load_target(target), RESERVED_BYTES + 4096, IoPlace.STORAGE)
    selection = Selection((Tiling(8, 8, 16, 16),), frozenset({"x", "y"}))
    candidate = evaluate(problem, selection)
    assert candidate is not None
    figures = figures_of(problem, candidate.graph, candidate.schedule)
    model = SelectionModel(build_space(problem))
    for flag in (model.resides["x"][KEPT], model.resides["y"][KEPT]):
        model.model.add(flag == 1)
    assert model.solve(Aim.MAKESPAN_BOUND, BUDGET).bound == figures.latency_ns
    assert model.solve(Aim.WRITES, BUDGET).bound == figures.bytes_written
    energy = model.solve(Aim.ENERGY, BUDGET).bound
    assert 0.99 * figures.energy_nj < energy <= figures.energy_nj


def test_energy_of_a_large_space_does_not_overflow() -> None:
    """VGG16 on the slowest board has an energy bound of the size that its latency asks for."""
    target = load_target("l4r5-sdspi")
    problem = Problem(zoo_network("vgg16_224"), target, 100 << 10, IoPlace.STORAGE)
    space = build_space(problem)
    found = SelectionModel(space).solve(Aim.ENERGY, Budget(30.0, 1, 1))
    latency = SelectionModel(space).solve(Aim.MAKESPAN_BOUND, BUDGET).bound
    assert found.selection is not None
    assert found.bound >= latency * target.board.io_wait_mw / 1000  # mW times ns is pJ
