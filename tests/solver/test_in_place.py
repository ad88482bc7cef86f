"""Outputs in place take no bytes of their own, and the judge lets nothing else lie over what is read."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ooc_solve.models.in_place import replaceable
from ooc_solve.models.plan_json import plan_from_json, plan_to_json
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    Budget,
    DType,
    Network,
    Op,
    OpKind,
    Plan,
    Selection,
    Tensor,
    Tiling,
    Window,
)
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.least import peak_bytes
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space
from ooc_solve.solver.validate import Rule, validate

Planned = Callable[[Problem, Selection, bool], Plan]

SIDE, CHANNELS = 8, 8
SIZE = SIDE * SIDE * CHANNELS


def residual() -> Network:
    """A sum of two tensors, and a table over it."""
    names = ("x", "a", "b", "sum", "table", "y")
    tensors = {name: Tensor(name, SIDE, SIDE, CHANNELS, DType.INT8) for name in names}
    arrays = {
        "weights": np.ones((CHANNELS, 1, 1, CHANNELS), np.int8),
        "bias": np.zeros(CHANNELS, np.int32),
        "multiplier": np.ones(CHANNELS, np.float32),
    }
    ops = (
        Op("a", OpKind.CONV, ("x",), "a", **arrays),  # type: ignore[arg-type]
        Op("b", OpKind.CONV, ("a",), "b", **arrays),  # type: ignore[arg-type]
        Op("sum", OpKind.ADD, ("a", "b"), "sum"),
        Op("table", OpKind.LOOKUP, ("sum",), "table", weights=np.zeros(256, np.uint8)),
        Op("y", OpKind.MAX_POOL, ("table",), "y", Window()),
    )
    return Network("residual", tensors, ops, ("x",), ("y",))


def problem_of(network: Network, arena: int, io: IoPlace = IoPlace.STORAGE) -> Problem:
    """The network in so many bytes, transfers byte by byte."""
    problem = Problem(network, load_target("f746-qspi-sdram"), 64 << 10, io)
    return replace(problem, sram_bytes=problem.reserved_bytes + arena)


KEPT = frozenset({"a", "b", "sum", "table"})
WHOLE = Tiling(SIDE, SIDE, CHANNELS, CHANNELS)
STRIPED = replace(WHOLE, rows=2)
IN_PLACE = Selection(
    (STRIPED, STRIPED, replace(WHOLE, in_place=True), replace(WHOLE, in_place=True), STRIPED), KEPT
)
APART = replace(IN_PLACE, tilings=tuple(replace(t, in_place=False) for t in IN_PLACE.tilings))


@pytest.fixture
def problem() -> Problem:
    return problem_of(residual(), 4096)


@pytest.fixture
def plan(planned: Planned, problem: Problem) -> Plan:
    return planned(problem, IN_PLACE, True)


def rules(problem: Problem, plan: Plan) -> set[Rule]:
    """The rules that a plan breaks."""
    return {violation.rule for violation in validate(problem, plan)}


def test_one_buffer_holds_one_tensor_after_the_other(problem: Problem, plan: Plan) -> None:
    """The sum lies where the first operand lay, the table over the sum; that takes one tensor less of SRAM."""
    where = dict(plan.graph.resident)
    assert where["a"] == where["sum"] == where["table"] != where["b"]
    assert peak_bytes(expand(problem, APART)) == 3 * SIZE
    assert peak_bytes(plan.graph) < 3 * SIZE
    assert validate(problem, plan) == ()
    assert plan_from_json(plan_to_json(plan)) == plan


def test_the_space_holds_outputs_in_place_instead_of_others() -> None:
    """Where an input gives its bytes away every option takes them, where none does no option does."""
    network = residual()
    space = build_space(problem_of(network, 1600))
    for number, options in enumerate(space.options):
        for option in options:
            span = range(number, number + option.operators)
            names = [name for k in span for name in network.ops[k].inputs]
            given = [
                n
                for n, w in zip(names, option.inputs, strict=False)
                if n in replaceable(network, span) and w == 0
            ]
            assert option.tiling.in_place == (option.output == 0 and bool(given))
    assert any(option.tiling.in_place for option in space.options[2])


def test_less_sram_suffices_without_a_byte_of_traffic_more() -> None:
    """Two tensors fit where the sum of them would need three; the bounds know."""
    problem = problem_of(residual(), 2 * SIZE + 64, IoPlace.STORAGE)
    model = SelectionModel(build_space(problem))
    model.model.add(sum(model.resides[name][0] for name in sorted(KEPT)) == len(KEPT))
    selected = model.solve(Aim.MAKESPAN_BOUND, Budget(20.0, 1, 1))
    assert selected.selection is not None
    assert peak_bytes(expand(problem, selected.selection)) <= problem.arena_bytes
    assert Relaxation(problem).bound_ns > 0


def random_network(rng: random.Random) -> Network:
    """Sums, products, tables and convolutions to one pixel of whatever was made before, all of one shape."""
    form = rng.randint(1, 6), rng.randint(1, 6), rng.randint(1, 8)
    names, ops = ["t"], []
    for number in range(rng.randint(2, 6)):
        name, kind = (
            f"t{number}",
            rng.choice((OpKind.ADD, OpKind.ADD, OpKind.MULTIPLY, OpKind.LOOKUP, OpKind.MAX_POOL)),
        )
        inputs = tuple(
            rng.choice(names[-3:]) for _ in range(2 if kind in (OpKind.ADD, OpKind.MULTIPLY) else 1)
        )
        arrays = {"weights": np.zeros(256, np.uint8)} if kind is OpKind.LOOKUP else {}
        ops.append(Op(f"op{number}", kind, inputs, name, Window(), **arrays))  # type: ignore[arg-type]
        names.append(name)
    tensors = {name: Tensor(name, *form, DType.INT8) for name in names}
    return Network("random", tensors, tuple(ops), ("t",), (names[-1],))


def drawn(space: Space, rng: random.Random) -> Selection | None:
    """A selection of the space, None if the residences drawn fit no option."""
    network = space.problem.network
    width = {name: rng.choice((0, *widths)) for name, widths in space.residences.items()}
    tilings = []
    for op, options in zip(network.ops, space.options, strict=True):
        places = (*(width[name] for name in op.inputs), width[op.output])
        fitting = [o for o in options if o.operators == 1 and (*o.inputs, o.output) == places]
        if not fitting:
            return None
        tilings.append(rng.choice(fitting).tiling)
    return Selection(tuple(tilings), frozenset(name for name, w in width.items() if not w))


def test_bounds_and_judge_agree_with_every_selection(planned: Planned) -> None:
    """Over random networks nothing is below the bounds on time and SRAM, and every plan that fits is right."""
    rng, in_place = random.Random(3), 0
    for _ in range(60):
        problem = problem_of(random_network(rng), 8 * rng.randint(20, 120), rng.choice(list(IoPlace)))
        space = build_space(problem)
        bound = Relaxation(problem, (space,)).bound_ns
        least = SelectionModel(space).solve(Aim.SRAM, Budget(20.0, 1, 1))
        for _ in range(6):
            selection = drawn(space, rng)
            if selection is None:
                continue
            plan = planned(problem, selection, True)
            assert peak_bytes(plan.graph) >= least.bound
            ends = (plan.schedule.start_ns[t.index] + t.duration_ns for t in plan.graph.tasks)
            broken = rules(problem, plan)
            assert broken <= {Rule.CAPACITY}
            if not broken:
                assert bound <= max(ends)
                in_place += sum(tiling.in_place for tiling in selection.tilings)
    assert in_place > 20


@pytest.mark.parametrize("number", [0, 1, 4])
def test_windows_and_convolutions_do_not_work_in_place(problem: Problem, number: int) -> None:
    """A tiling in place is refused where the kernel reads more than it writes, or the output is the network's."""
    tilings = list(IN_PLACE.tilings)
    tilings[number] = replace(tilings[number], in_place=True)
    with pytest.raises(SelectionError, match="in place"):
        expand(problem, replace(IN_PLACE, tilings=tuple(tilings)))


@pytest.mark.parametrize("spilled", [{"sum"}, {"a", "b"}])
def test_spilled_tensors_give_no_bytes_away(problem: Problem, spilled: set[str]) -> None:
    """In place means that an input and the output are kept."""
    with pytest.raises(SelectionError, match="in place"):
        expand(problem, replace(IN_PLACE, kept=KEPT - spilled))


def test_a_spilled_operand_is_added_to_a_kept_one(planned: Planned, problem: Problem) -> None:
    """One operand comes tile by tile, the other one becomes the sum tile by tile."""
    tilings = (*IN_PLACE.tilings[:2], replace(STRIPED, in_place=True), *IN_PLACE.tilings[3:])
    plan = planned(problem, Selection(tilings, KEPT - {"b"}), True)
    where = dict(plan.graph.resident)
    assert where["a"] == where["sum"]
    assert validate(problem, plan) == ()


def test_a_tensor_that_is_read_again_must_not_be_written_over(planned: Planned, problem: Problem) -> None:
    """If two tensors share a buffer and the first is read after the second was written, the judge says so."""
    plan = planned(problem, APART, False)
    buffer = dict(plan.graph.resident)
    resident = tuple((name, buffer["a"] if name == "b" else place) for name, place in plan.graph.resident)

    def moved(touches: tuple) -> tuple:  # type: ignore[type-arg]
        return tuple(replace(t, buffer=buffer["a"]) if t.buffer == buffer["b"] else t for t in touches)

    tasks = tuple(
        replace(task, reads=moved(task.reads), writes=moved(task.writes)) for task in plan.graph.tasks
    )
    wrong = replace(plan, graph=replace(plan.graph, tasks=tasks, resident=resident))
    assert {Rule.COVERAGE, Rule.IN_PLACE, Rule.UNWRITTEN} <= rules(problem, wrong)


def test_an_element_must_be_written_where_it_was_read(problem: Problem, plan: Plan) -> None:
    """A sum that is shifted by a byte against its operand would be read before it is complete."""
    first = next(task for task in plan.graph.compute_tasks if task.stage == 2)
    touch = first.writes[0]
    footprint = replace(touch.footprint, run=touch.footprint.run - 1)
    tasks = list(plan.graph.tasks)
    tasks[first.index] = replace(first, writes=(replace(touch, footprint=footprint),))
    assert Rule.IN_PLACE in rules(problem, replace(plan, graph=replace(plan.graph, tasks=tuple(tasks))))
