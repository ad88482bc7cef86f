"""Tests of `descent`: what the search does with plans that are known when it begins."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Plan, Status
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import descent, ruled_plans
from ooc_solve.solver.heuristics import double_buffering
from ooc_solve.solver.plans import candidate_of
from ooc_solve.solver.search import Candidate
from ooc_solve.solver.solve import cp_sat


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


def test_small_plans_are_sought_to_the_end_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of some dozens of tasks is proven before blocks of less SRAM are looked at, whose bounds take time."""
    monkeypatch.setattr(time, "monotonic", time.process_time)
    board = load_target("f746-sd")
    problem = Problem(zoo_network("resnet8"), board, board.board.usable_bytes, IoPlace.STORAGE)
    result = cp_sat(problem, Budget(20.0, 1, 1))
    assert (result.status, result.objective) == (Status.OPTIMAL, result.bound)


def test_windows_are_solved_of_what_was_merged_and_of_what_was_not(
    known: tuple[Problem, Plan], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The schedule whose windows gain more in a part of the time goes on, though it was the longer one."""
    problem, plan = known
    before = candidate_of(problem, plan)
    merged = replace(before, score=(before.score[0] - 10, *before.score[1:]))
    asked: list[int] = []

    def windowed(_: Problem, candidate: Candidate, __: Budget, ___: float) -> Candidate:
        asked.append(candidate.score[0] - before.score[0])
        gain = 1 if candidate.score[0] == merged.score[0] else 100
        return replace(candidate, score=(candidate.score[0] - gain, *candidate.score[1:]))

    monkeypatch.setattr(descent, "windowed", windowed)
    search = descent.Descent(problem, Budget(time_limit_s=30.0), None, 0.0)
    lane = descent.Lane(problem, 0.0, relaxed=False)
    lane.found = [before, merged]
    assert search._windowed(lane, merged).score[0] == before.score[0] - 200
    assert asked == [-10, 0, -100]
