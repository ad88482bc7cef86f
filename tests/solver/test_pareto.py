"""The front: which problems are asked, and which points are left."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ooc_solve.models.limits import Limits
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Objective, Plan, Result, Status
from ooc_solve.solver.pareto import Point, front, undominated

COSTS = {
    Objective.LATENCY: (10, 300, 9_000),
    Objective.ENERGY: (14, 200, 9_000),
    Objective.WEAR: (30, 400, 90),
}


@pytest.fixture
def asked() -> list[Problem]:
    """Problems that were asked."""
    return []


def result_of(plan: Plan, costs: tuple[int, int, int]) -> Result:
    """A result with a plan of these figures."""
    latency, energy, written = costs
    figures = replace(plan.figures, latency_ns=latency, energy_nj=energy, bytes_written=written)
    return Result("test", Status.FEASIBLE, replace(plan, figures=figures), latency, 0, 0.0)


def test_extremes_and_what_lies_between(tiny_problem: Problem, plan: Plan, asked: list[Problem]) -> None:
    """Each figure is minimised, then latency and energy under three write budgets, then latency under energy."""

    def solve(problem: Problem, known: Sequence[Plan]) -> Result:
        asked.append(problem)
        assert len(known) == len(asked) - 1
        within = problem.write_budget_bytes
        latency, energy, written = COSTS[problem.objective]
        if within is not None:
            return result_of(plan, (latency + 10, energy + 50, within))
        return result_of(plan, (latency, energy, written))

    points = front(tiny_problem, solve)
    assert [p.objective for p in asked[:3]] == list(Objective)
    budgets = [p.write_budget_bytes for p in asked[3:9]]
    assert budgets == [285, 285, 900, 900, 2_846, 2_846]
    assert asked[9].limits == Limits(energy_nj=250)
    assert len(asked) == 10
    assert [point.costs for point in points] == sorted(point.costs for point in points)
    assert (10, 300, 9_000) in [point.costs for point in points]


def test_the_answer_that_is_known_is_not_sought_again(
    tiny_problem: Problem, plan: Plan, asked: list[Problem]
) -> None:
    """The plan for the problem's own objective is a point as it is."""

    def solve(problem: Problem, known: Sequence[Plan]) -> Result:
        asked.append(problem)
        return result_of(plan, (5, 5, 5))

    given = result_of(plan, (5, 5, 5))
    points = front(tiny_problem, solve, [given])
    assert [p.objective for p in asked] == [Objective.ENERGY, Objective.WEAR]
    assert [point.result for point in points] == [given]


def test_no_point_where_nothing_fits(tiny_problem: Problem, asked: list[Problem]) -> None:
    """Without any plan the front is empty."""
    nothing = Result("test", Status.INFEASIBLE, None, None, 0, 0.0)
    assert front(tiny_problem, lambda problem, known: nothing) == ()


def test_dominated_points_are_left_out(tiny_problem: Problem, plan: Plan) -> None:
    """A point that another one is no worse than in every figure goes, of equal ones all but one."""

    def point(*costs: Any) -> Point:
        return Point("", tiny_problem, result_of(plan, costs))

    points = [point(1, 9, 9), point(2, 9, 9), point(9, 1, 9), point(9, 9, 1), point(9, 9, 1), point(9, 2, 9)]
    left = undominated(points)
    assert [p.costs for p in left] == [(1, 9, 9), (9, 1, 9), (9, 9, 1)]
    assert [[o.costs for o in p.also] for p in left] == [[(2, 9, 9)], [(9, 2, 9)], [(9, 9, 1)]]


def test_a_plan_answers_what_it_is_no_worse_for(tiny_problem: Problem, plan: Plan) -> None:
    """The bound of a question whose own plan is left out says how far the plan that stays is from the best."""
    fast = Point("least latency", tiny_problem, result_of(plan, (10, 10, 100)))
    wear = replace(result_of(plan, (20, 20, 200)), bound=75)
    (left,) = undominated([fast, Point("least wear", replace(tiny_problem, objective=Objective.WEAR), wear)])
    assert [other.words for other in left.also] == ["least wear"]
    assert left.gap_of(left.also[0]) == 0.25
