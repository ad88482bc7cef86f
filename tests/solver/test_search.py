"""Tests of `search`: selections become candidates."""

from __future__ import annotations

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.allocation_schedule import counted
from ooc_solve.solver.allocation_search import UNLIMITED
from ooc_solve.solver.heuristics import finish, serial
from ooc_solve.solver.search import REPAIRED, carried_out, drafted
from ooc_solve.solver.validate import validate


def test_a_long_selection_is_not_given_up_in_a_corner() -> None:
    """Where loads ahead of their time leave no room for the next kernel, careful schedules make a plan yet."""
    problem = Problem(zoo_network("ds_cnn"), load_target("h747-qspi"), 2800, IoPlace.STORAGE)
    plan = serial(problem, Budget()).plan
    assert plan is not None
    draft = drafted(problem, plan.selection)
    assert draft is not None
    assert [counted(problem, draft.graph, policy) for policy in REPAIRED] == [None, None]
    assert draft.counted_ns < UNLIMITED
    candidate = carried_out(problem, draft, UNLIMITED)
    assert candidate is not None
    assert draft.counted_ns <= 1.05 * candidate.score[1]
    assert validate(problem, finish(problem, plan.selection, draft.graph, candidate.schedule, "found")) == ()
