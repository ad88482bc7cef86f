"""Each rule of the tile-level model alone, on patterns drawn by hand: what it allows and what it forbids."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from ortools.sat.python import cp_model

from ooc_solve.models.energy import energy_nj
from ooc_solve.models.limits import Limits
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Status, TaskGraph
from ooc_solve.solver import constraints
from ooc_solve.solver.constraints import Rules
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.figures import traffic_of
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.variables import Variables, make_variables

NewProblem = Callable[..., Problem]
Rule = Callable[[cp_model.CpModel, Variables], None]

HORIZON = 50


def allowed(
    problem: Problem,
    graph: TaskGraph,
    rule: Rule,
    start: dict[int, int] | None = None,
    address: dict[int, int] | None = None,
    makespan: int | None = None,
) -> bool:
    """Whether one rule alone accepts these starts (ns), addresses (units) and makespan (ns)."""
    model = cp_model.CpModel()
    v = make_variables(model, problem, graph, 0, HORIZON)
    for task, ns in (start or {}).items():
        model.add(v.tasks[task].start == ns)
    for buffer, unit in (address or {}).items():
        model.add(v.buffers[buffer].address == unit)
    if makespan is not None:
        model.add(v.makespan == makespan)
    rule(model, v)
    code = cp_model.CpSolver().solve(model)
    assert code in (cp_model.OPTIMAL, cp_model.INFEASIBLE)
    return bool(code == cp_model.OPTIMAL)


def test_compute_order(new_problem: NewProblem, new_sketch: Any) -> None:
    """A compute task starts when the one before it has ended, not a nanosecond earlier, never before it."""
    sketch = new_sketch()
    a, b = sketch.compute(5), sketch.compute(3)
    graph, problem = sketch.graph(), new_problem((4,))

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.compute_order(model, graph, v)

    assert allowed(problem, graph, rule, {a: 2, b: 7})
    assert not allowed(problem, graph, rule, {a: 2, b: 6})
    assert not allowed(problem, graph, rule, {a: 10, b: 0})


def test_data_dependency(new_problem: NewProblem, new_sketch: Any) -> None:
    """A task waits for the end of its load, and a load for the end of the store that it reads back."""
    sketch = new_sketch()
    x, y, z = sketch.buffer(1), sketch.buffer(1), sketch.buffer(1)
    load = sketch.load(x, 4)
    step = sketch.compute(5, (x,), (y,), (load,))
    store = sketch.store(y, 2, step)
    back = sketch.load(z, 2, store=store)
    graph, problem = sketch.graph(), new_problem((4,))

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.data_dependency(model, graph, v)

    assert allowed(problem, graph, rule, {load: 1, step: 5, store: 10, back: 12})
    assert not allowed(problem, graph, rule, {load: 1, step: 4})
    assert not allowed(problem, graph, rule, {step: 5, store: 9})
    assert not allowed(problem, graph, rule, {store: 10, back: 11})


def test_channel_exclusive(new_problem: NewProblem, new_sketch: Any) -> None:
    """Tasks of one channel follow each other in any order; those of two channels may coincide."""
    sketch = new_sketch(("cpu", "io", "io2"))
    buffers = [sketch.buffer(1) for _ in range(3)]
    a, b = sketch.load(buffers[0], 4), sketch.load(buffers[1], 3)
    other = sketch.load(buffers[2], 4, "io2")
    graph, problem = sketch.graph(), new_problem((4,))

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.channel_exclusive(model, graph, v)

    assert allowed(problem, graph, rule, {a: 3, b: 7, other: 3})
    assert allowed(problem, graph, rule, {a: 3, b: 0})
    assert not allowed(problem, graph, rule, {a: 3, b: 6})
    assert not allowed(problem, graph, rule, {a: 3, b: 1})


def test_channel_exclusive_on_a_single_stream(new_problem: NewProblem, new_sketch: Any) -> None:
    """Where the CPU moves the data, transfers and kernels exclude each other too."""
    sketch = new_sketch(("cpu",))
    load = sketch.load(sketch.buffer(1), 4, "cpu")
    step = sketch.compute(3)
    graph, problem = sketch.graph(), new_problem((4,))

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.channel_exclusive(model, graph, v)

    assert allowed(problem, graph, rule, {load: 0, step: 4})
    assert allowed(problem, graph, rule, {load: 3, step: 0})
    assert not allowed(problem, graph, rule, {load: 0, step: 3})


def two_buffers(new_sketch: Any) -> tuple[TaskGraph, list[int], list[int]]:
    """Two loads with two consumers; buffer 0 takes two units and buffer 1 three."""
    sketch = new_sketch()
    buffers = [sketch.buffer(2), sketch.buffer(3)]
    loads = [sketch.load(buffer, 2) for buffer in buffers]
    steps = [sketch.compute(4, (b,), (), (load,)) for b, load in zip(buffers, loads, strict=True)]
    return sketch.graph(), loads, steps


def test_buffers_apart(new_problem: NewProblem, new_sketch: Any) -> None:
    """Buffers may touch in space or in time, but not overlap in both by a unit and a nanosecond."""
    graph, loads, steps = two_buffers(new_sketch)
    problem = new_problem((8,))

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.buffers_apart(model, graph, v)

    together = {loads[0]: 0, steps[0]: 2, loads[1]: 2, steps[1]: 6}  # lives [0, 6) and [2, 10)
    assert allowed(problem, graph, rule, together, {0: 0, 1: 2})
    assert allowed(problem, graph, rule, together, {0: 3, 1: 0})
    assert not allowed(problem, graph, rule, together, {0: 0, 1: 1})
    assert not allowed(problem, graph, rule, together, {0: 2, 1: 0})
    in_turn = {loads[0]: 0, steps[0]: 2, loads[1]: 6, steps[1]: 8}
    assert allowed(problem, graph, rule, in_turn, {0: 0, 1: 0})
    assert not allowed(problem, graph, rule, in_turn | {loads[1]: 5}, {0: 0, 1: 0})


def test_pinned_buffers_live_until_the_makespan(new_problem: NewProblem, new_sketch: Any) -> None:
    """Nobody else ever gets the bytes of a pinned buffer, even long after its last use."""
    sketch = new_sketch()
    pinned, late = sketch.buffer(2, pinned=True), sketch.buffer(2)
    first = sketch.compute(1, (pinned,))
    load = sketch.load(late, 1)
    graph, problem = sketch.graph(), new_problem((6,))

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.buffers_apart(model, graph, v)

    starts = {first: 0, load: 20}
    assert allowed(problem, graph, rule, starts, {pinned: 0, late: 2}, makespan=21)
    assert not allowed(problem, graph, rule, starts, {pinned: 0, late: 1}, makespan=21)
    assert allowed(problem, graph, rule, starts, {pinned: 0, late: 1}, makespan=20)


@pytest.mark.parametrize(("units", "fits"), [(5, True), (4, False)])
def test_arena_capacity(units: int, fits: bool, new_problem: NewProblem, new_sketch: Any) -> None:
    """Two and three units at once fit an arena of five, not of four; in turn they fit both."""
    graph, loads, steps = two_buffers(new_sketch)
    problem = new_problem((units,))

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.arena_capacity(model, problem, graph, v)

    together = {loads[0]: 0, steps[0]: 2, loads[1]: 5, steps[1]: 7}
    assert allowed(problem, graph, rule, together) is fits
    assert allowed(problem, graph, rule, together | {loads[1]: 6, steps[1]: 8})


@pytest.mark.parametrize(("budget", "fits"), [(None, True), (24, True), (23, False)])
def test_write_budget(budget: int | None, fits: bool, new_problem: NewProblem, new_sketch: Any) -> None:
    """A store of 24 bytes needs a budget of 24, and loads cost nothing of it."""
    sketch = new_sketch()
    x, y = sketch.buffer(1), sketch.buffer(3)
    step = sketch.compute(1, (x,), (y,), (sketch.load(x, 1),))
    sketch.store(y, 1, step)
    graph, problem = sketch.graph(), new_problem((4,), write_budget_bytes=budget)

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.write_budget(model, problem, graph)

    assert allowed(problem, graph, rule) is fits


@pytest.mark.parametrize(("limit_ns", "fits"), [(None, True), (9, True), (8, False)])
def test_latency_budget(limit_ns: int | None, fits: bool, new_problem: NewProblem, new_sketch: Any) -> None:
    """A makespan of 9 ns needs a budget of 9 ns."""
    sketch = new_sketch()
    sketch.compute(5)
    graph, problem = sketch.graph(), replace(new_problem((4,)), limits=Limits(latency_ns=limit_ns))

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.latency_budget(model, problem, v)

    assert allowed(problem, graph, rule, makespan=9) is fits


@pytest.mark.parametrize(("spare_nj", "fits"), [(None, True), (0, True), (-1, False)])
def test_energy_budget(spare_nj: int | None, fits: bool, new_problem: NewProblem, new_sketch: Any) -> None:
    """A makespan needs a budget of the energy that it takes with these tasks, not a nJ less."""
    sketch = new_sketch()
    sketch.compute(5, (), (), (sketch.load(sketch.buffer(1), 4),))
    graph, problem = sketch.graph(), new_problem((4,))
    energy = energy_nj(problem.target, 5, 9, traffic_of(problem, graph))
    limit = None if spare_nj is None else energy + spare_nj
    problem = replace(problem, limits=Limits(energy_nj=limit))

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.energy_budget(model, problem, graph, v)

    assert allowed(problem, graph, rule, makespan=9) is fits


def test_ends_by_makespan(new_problem: NewProblem, new_sketch: Any) -> None:
    """The makespan is not smaller than the end of any task, transfer or kernel."""
    sketch = new_sketch()
    load, step = sketch.load(sketch.buffer(1), 5), sketch.compute(3)
    graph, problem = sketch.graph(), new_problem((4,))

    def rule(model: cp_model.CpModel, v: Variables) -> None:
        constraints.ends_by_makespan(model, graph, v)

    assert allowed(problem, graph, rule, {load: 2, step: 4}, makespan=7)
    assert not allowed(problem, graph, rule, {load: 2, step: 4}, makespan=6)
    assert not allowed(problem, graph, rule, {load: 2, step: 5}, makespan=7)


@pytest.mark.parametrize(
    ("banks", "units", "places"), [((3, 2), 2, {0, 1, 3}), ((3, 2), 3, {0}), ((5,), 4, {0, 1})]
)
def test_no_buffer_straddles_banks(
    banks: tuple[int, ...], units: int, places: set[int], new_problem: NewProblem, new_sketch: Any
) -> None:
    """A buffer lies inside one bank: these are all of its addresses."""
    sketch = new_sketch()
    sketch.load(sketch.buffer(units), 1)
    graph, problem = sketch.graph(), new_problem(banks)
    found = {at for at in range(6) if allowed(problem, graph, lambda model, v: None, address={0: at})}
    assert found == places


def test_a_buffer_larger_than_every_bank_is_infeasible(new_problem: NewProblem, new_sketch: Any) -> None:
    """Three units do not fit banks of two and two."""
    sketch = new_sketch()
    sketch.load(sketch.buffer(3), 1)
    result = solve_graph(new_problem((2, 2)), sketch.graph(), None, Budget(10.0, 1, 1))
    assert result.status is Status.INFEASIBLE
    assert result.schedule is None


@pytest.mark.parametrize(
    ("rules", "least"),
    [
        (Rules(), 12),  # twice load 2 and compute 4, one after the other in the same bytes
        (Rules(memory=False), 10),  # the second load is hidden
        (Rules(order=False), 12),
        (Rules(dependency=False), 8),
        (Rules(memory=False, channels=False), 10),
        (Rules(memory=False, dependency=False, channels=False), 8),
        (Rules(memory=False, dependency=False, channels=False, order=False), 4),
    ],
)
def test_rules_can_be_switched_off(
    rules: Rules, least: int, new_problem: NewProblem, new_sketch: Any
) -> None:
    """Without a group of rules the optimum is what the remaining ones allow, and the bound says no more."""
    graph, _, _ = two_buffers(new_sketch)
    result = solve_graph(new_problem((4,)), graph, None, Budget(10.0, 1, 1), rules)
    assert result.status is Status.OPTIMAL
    assert result.schedule is not None
    assert makespan_ns(graph, result.schedule.start_ns) == result.bound_ns == least
