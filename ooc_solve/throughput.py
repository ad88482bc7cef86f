"""The time between inferences when runs may overlap: pipelined runs beside runs that follow one another.

A pipelined run computes the first layers of its frames and the last layers of those of the run before
(`models.pipelines`). It is taken where its period is shorter; the bound holds for all ways.
"""

from __future__ import annotations

import time
from dataclasses import replace

from ooc_solve.frames import Flight, run_of
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, InputError, Objective, Plan, Result, Status
from ooc_solve.solver.deadline import LEAST_WORK_S, TimeIsUp, ends_at
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.pipelining import pipelined_plan
from ooc_solve.solver.space_bounds import orders_of
from ooc_solve.solver.workload import least_work_ns

PIPELINE_SHARE = 0.4
"""Share of the time limit for pipelined runs."""

FLOOR_SHARE = 0.4
"""Share of that for the bound."""


def check_throughput(problem: Problem) -> None:
    """Refuse other objectives than latency, and targets with a second compute unit.

    Raises
    ------
    InputError
        If it is one of those.
    """
    if problem.objective is not Objective.LATENCY:
        raise InputError(
            f"The time between inferences is minimised for the objective latency (got '{problem.objective.value}'): "
            "leave --throughput or --objective out."
        )
    if problem.target.npu is not None:
        raise InputError(
            f"Runs overlap only where one unit computes (target '{problem.target.name}' has an NPU): leave "
            "--throughput out."
        )


def shared_budget(budget: Budget) -> tuple[Budget, float]:
    """The budget for runs that follow one another, and the seconds that are left for those that overlap."""
    seconds = PIPELINE_SHARE * budget.time_limit_s
    return replace(budget, time_limit_s=budget.time_limit_s - seconds), seconds


def alone(problem: Problem, results: tuple[Result, ...]) -> Flight:
    """What is known of one frame at a time, if runs of more are not asked for."""
    return Flight(1, problem, results[-1], problem, results)


def overlapped(flight: Flight, seconds: float) -> Flight:
    """The best of the ways that are known and of pipelined runs, with a bound for all of them."""
    begun = time.monotonic()
    run = replace(run_of(flight.alone, flight.frames), fine_groups=True)
    found = _pipelined(run, flight.alone, begun + (1 - FLOOR_SHARE) * seconds)
    with ends_at(begun + seconds, LEAST_WORK_S):
        floor = _floor_of_all(flight, run)
    known = _bounded(flight, floor)
    known = replace(known, apart=known)
    present, times = known.results[-1], flight.frames // known.problem.network.frames
    if found is None:
        return known
    problem, plan = found
    objective = plan.figures.latency_ns
    if present.objective is not None and objective >= times * present.objective:
        return known
    bound = min(objective, floor)
    status = Status.OPTIMAL if objective == bound else Status.FEASIBLE
    took_s = present.seconds + time.monotonic() - begun
    result = Result("cp-sat", status, plan, objective, bound, took_s)
    return replace(known, problem=problem, results=(result,))


def _pipelined(run: Problem, single: Problem, deadline: float) -> tuple[Problem, Plan] | None:
    """A plan for a pipelined run, whose outputs are ready within two runs."""
    most = run.limits.latency_ns
    limits = replace(run.limits, latency_ns=None if most is None else most // 2)
    try:
        return pipelined_plan(replace(run, limits=limits), single.network, deadline)
    except TimeIsUp:
        return None


def _floor_of_all(flight: Flight, run: Problem) -> int:
    """What no way to make as many inferences as a run does is shorter than, however runs overlap."""
    floor = _floor(run)
    if flight.frames == 1:
        return floor
    return min(floor, flight.frames * max(flight.single.bound, _floor(flight.alone)))


def _floor(problem: Problem) -> int:
    """What the busiest resource has to do in a run at least; 0 if time is up."""
    try:
        found = [least_work_ns(space_of(here)) for here in orders_of(problem)]
    except TimeIsUp:
        return 0
    return min((work for work in found if work is not None), default=0)


def _bounded(flight: Flight, floor: int) -> Flight:
    """The flight with a bound that holds for runs that overlap as well."""
    *others, chosen = flight.results
    if chosen.objective is None:
        return flight
    bound = min(chosen.objective, floor * flight.problem.network.frames // flight.frames)
    status = Status.OPTIMAL if chosen.objective == bound else Status.FEASIBLE
    return replace(flight, results=(*others, replace(chosen, bound=bound, status=status)))
