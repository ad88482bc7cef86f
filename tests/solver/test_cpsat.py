"""What the tile-level model makes of hints, the right ones and those that claim the impossible."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Schedule, Status, TaskGraph
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.listing import makespan_ns

NewProblem = Callable[..., Problem]

BUDGET = Budget(30.0, 1, 1)


@pytest.fixture(scope="module")
def two_tiles(new_sketch: Any) -> TaskGraph:
    """Two kernels, each with a tile of two units that must be fetched before; then one is written."""
    sketch = new_sketch()
    tiles = [sketch.buffer(2) for _ in range(2)]
    steps = [sketch.compute(3, (tile,), (), (sketch.load(tile, 4),)) for tile in tiles]
    sketch.store(tiles[1], 5, steps[1])
    graph: TaskGraph = sketch.graph()
    return graph


SERIAL = Schedule((0, 4, 7, 11, 14), (0, 0))
"""Load, compute, load, compute, store, with both tiles at address 0."""

AT_ONCE = Schedule((0, 4, 4, 8, 11), (0, 0))
"""The second tile is fetched into the bytes of the first while that is still computed with."""


def test_a_hint_is_improved_or_kept(two_tiles: TaskGraph, new_problem: NewProblem) -> None:
    """With room for one tile the serial schedule is the best there is; with room for both it is not."""
    for units, best in ((2, 19), (4, 16)):
        found = solve_graph(new_problem((units,)), two_tiles, SERIAL, BUDGET)
        assert found.status is Status.OPTIMAL
        assert found.schedule is not None
        assert makespan_ns(two_tiles, found.schedule.start_ns) == found.bound_ns == best


def test_a_hint_does_not_make_the_impossible_possible(
    two_tiles: TaskGraph, new_sketch: Any, new_problem: NewProblem
) -> None:
    """Where no schedule exists, none is returned, whatever the hint."""
    assert solve_graph(new_problem((1,)), two_tiles, SERIAL, BUDGET).status is Status.INFEASIBLE
    sketch = new_sketch()
    a, b = sketch.buffer(2), sketch.buffer(2)
    sketch.compute(3, (a, b), (), (sketch.load(a, 4), sketch.load(b, 4)))
    hint = Schedule((0, 4, 9), (0, 8))
    found = solve_graph(new_problem((3,)), sketch.graph(), hint, BUDGET)
    assert found.status is Status.INFEASIBLE
    assert found.schedule is None


@pytest.mark.parametrize(("budget", "status"), [(16, Status.OPTIMAL), (15, Status.INFEASIBLE)])
def test_writes_beyond_the_budget_are_infeasible(
    budget: int, status: Status, two_tiles: TaskGraph, new_problem: NewProblem
) -> None:
    """Sixteen bytes are written, so fifteen are not enough, with the best hint as without one."""
    problem = new_problem((4,), write_budget_bytes=budget)
    best = Schedule((0, 4, 4, 8, 11), (0, 16))
    for hint in (None, best):
        assert solve_graph(problem, two_tiles, hint, BUDGET).status is status


def test_a_hint_that_breaks_the_rules_is_left_aside(two_tiles: TaskGraph, new_problem: NewProblem) -> None:
    """A schedule in which two tiles share bytes is not returned; the best that keeps the rules is."""
    problem = new_problem((2,))
    assert makespan_ns(two_tiles, AT_ONCE.start_ns) < makespan_ns(two_tiles, SERIAL.start_ns)
    found = solve_graph(problem, two_tiles, AT_ONCE, BUDGET)
    assert found.status is Status.OPTIMAL
    assert found.schedule is not None
    assert makespan_ns(two_tiles, found.schedule.start_ns) == makespan_ns(two_tiles, SERIAL.start_ns)
