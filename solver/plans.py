"""Candidates as plans, which are checked from every side before anyone sees them."""

from __future__ import annotations

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import InternalError, Plan, Schedule
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import finish
from ooc_solve.solver.listing import settle
from ooc_solve.solver.search import Candidate, score_of
from ooc_solve.solver.streams import earliest_times
from ooc_solve.solver.validate import validate


def candidate_of(problem: Problem, plan: Plan) -> Candidate:
    """A plan as a candidate, whose kernels take as long as they do without interruptions."""
    problem = ordered(problem, plan.selection.order)
    graph = expand(problem, plan.selection) if interruption_ns(problem.target) else plan.graph
    return Candidate(plan.selection, graph, plan.schedule, score_of(problem, graph, plan.figures.latency_ns))


def carried(problem: Problem, plan: Plan) -> Plan | None:
    """A plan of another problem with the times it has in this one, None if it cannot be carried out."""
    try:
        there = ordered(problem, plan.selection.order)
        graph = expand(there, plan.selection)
    except (SelectionError, ValueError):
        return None
    if len(graph.tasks) != len(plan.graph.tasks) or len(graph.resources) != len(plan.graph.resources):
        return None
    try:
        start = earliest_times(graph, plan.streams, interruption_ns(problem.target))
    except ValueError:
        return None
    made = finish(there, plan.selection, graph, Schedule(start, plan.schedule.address), plan.scheduler)
    return None if validate(problem, made) else made


def plan_of(problem: Problem, candidate: Candidate, name: str) -> Plan:
    """Settle a candidate's times and check the plan from every side.

    Raises
    ------
    InternalError
        If the validator finds a violation: the plan is withheld.
    """
    plan = settled(problem, candidate, name)
    checked(problem, plan)
    return plan


def settled(problem: Problem, candidate: Candidate, name: str) -> Plan:
    """A candidate as a plan, every task as early as the order allows."""
    found, request_ns = candidate.schedule, interruption_ns(problem.target)
    schedule = settle(candidate.graph, found.start_ns, found.address, request_ns)
    return finish(problem, candidate.selection, candidate.graph, schedule, name)


def checked(problem: Problem, plan: Plan) -> None:
    """Raise `InternalError` with the first violation of a plan."""
    violations = validate(problem, plan)
    if violations:
        first = violations[0]
        raise InternalError(
            f"The plan of scheduler '{plan.scheduler}' breaks the rule '{first.rule}': {first.message}"
        )
