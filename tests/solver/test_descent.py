"""Tests of `descent`: what the search does with plans that are known when it begins."""

from __future__ import annotations

import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Plan
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import descent, ruled_plans
from ooc_solve.solver.heuristics import double_buffering


@pytest.fixture(scope="module")
def known() -> tuple[Problem, Plan]:
    """A problem in tight memory and a plan of about two thousand tasks for it."""
    problem = Problem(zoo_network("ds_cnn"), load_target("h747-qspi"), 4736, IoPlace.STORAGE)
    plan = double_buffering(problem, Budget()).plan
    assert plan is not None
    assert len(plan.graph.tasks) > ruled_plans.QUICK_TASKS
    return problem, plan


def _by_rules(problem: Problem, plans: list[Plan]) -> tuple[descent.Descent, int]:
    """A search whose share for rules is spent, and how many plans it still gets from them."""
    found = descent.Descent(problem, Budget(time_limit_s=30.0), None, 0.0, known=plans)
    found.rules_end = 0.0
    return found, len(found._by_rules(lambda ends: ruled_plans.rule_plans(problem, ends)))


def test_rules_are_not_begun_late_where_a_long_plan_is_known(known: tuple[Problem, Plan]) -> None:
    """With a plan of many tasks at hand, rules stop when their share is spent; else the first gives a plan."""
    problem, plan = known
    ruled_plans.ruled.cache_clear()
    with_a_plan, none = _by_rules(problem, [plan])
    assert none == 0
    assert with_a_plan.best == plan.figures.latency_ns
    without, some = _by_rules(problem, [])
    assert some > 0
    assert without.best is None
