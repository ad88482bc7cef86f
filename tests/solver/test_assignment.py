"""What is fetched during which step: small cases whose answer is plain."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import TaskGraph
from ooc_solve.solver import assignment
from ooc_solve.solver.assignment import gates

NewProblem = Callable[..., Problem]


def steps(new_sketch: Any, load_ns: int, compute_ns: int, units: int) -> tuple[TaskGraph, list[int]]:
    """Four steps of one fetch each."""
    sketch = new_sketch()
    loads = []
    for _ in range(4):
        buffer = sketch.buffer(units)
        loads.append(sketch.load(buffer, load_ns))
        sketch.compute(compute_ns, (buffer,), (), (loads[-1],))
    return sketch.graph(), loads


def test_each_fetch_hides_behind_the_step_before(new_problem: NewProblem, new_sketch: Any) -> None:
    """With room for two tiles and kernels as long as fetches, every tile arrives one step early, no earlier."""
    graph, loads = steps(new_sketch, 64, 64, 1)
    assert gates(new_problem((2,)), graph) == {loads[0]: 0, loads[1]: 0, loads[2]: 1, loads[3]: 2}


def test_no_room_for_a_second_tile(new_problem: NewProblem, new_sketch: Any) -> None:
    """With room for one tile nothing is fetched early."""
    graph, loads = steps(new_sketch, 64, 64, 1)
    assert gates(new_problem((1,)), graph) == {load: step for step, load in enumerate(loads)}


def test_capacity_of_a_step(new_problem: NewProblem, new_sketch: Any) -> None:
    """A fetch that takes as long as two steps begins two steps early where there is room."""
    sketch = new_sketch()
    first, last = sketch.buffer(1), sketch.buffer(1)
    load = sketch.load(first, 1)
    for _ in range(3):
        sketch.compute(32, (first,), (), (load,))
    late = sketch.load(last, 64)
    sketch.compute(32, (first, last), (), (load, late))
    assert gates(new_problem((2,)), sketch.graph()) == {load: 0, late: 1}


def test_steps_are_put_together(
    new_problem: NewProblem, new_sketch: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With two slots for four steps, only what the first step of a pair needs must come with the pair before."""
    monkeypatch.setattr(assignment, "MOST_SLOTS", 2)
    graph, loads = steps(new_sketch, 64, 128, 1)
    assert gates(new_problem((4,)), graph) == {loads[0]: 0, loads[1]: 0, loads[2]: 0, loads[3]: 2}
