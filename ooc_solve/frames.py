"""Frames in flight: what a run of several inferences gains over one inference at a time.

The value of a run is divided by its frames. One frame at a time is a way to make several inferences too, so its
plan is the one that is told and written unless the run is better, and bounds hold for both ways.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from ooc_solve.models.frames import checked_frames, in_flight
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, InputError, Objective, Plan, Result, Status
from ooc_solve.report import amount, milliseconds
from ooc_solve.solver.deadline import TimeIsUp
from ooc_solve.solver.floor import least_value
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.objective import value
from ooc_solve.solver.repetition import repeated_plan

ALONE_SHARE = 0.3
"""Share of the time limit for the plan of one frame at a time."""

REPEATED_SHARE = 0.2
"""Share of what is left to make a plan for the run of that."""

Solve = Callable[[Problem, Budget, Sequence[Plan]], Sequence[Result]]
"""Solves a problem for which plans are known; the last result is the answer."""


def read_frames(text: str) -> int:
    """The number of frames that a text means.

    Raises
    ------
    InputError
        If it is not one that is supported.
    """
    if not text.isdecimal():
        raise InputError(f"The frames in flight must be a whole number (got '{text}').")
    return checked_frames(int(text[:9]))


def run_of(problem: Problem, frames: int) -> Problem:
    """The problem of a run of so many frames, from that of one.

    What an inference may write and take of energy holds on average over the run; its latency is that of
    the run, since its output is ready at the end of it at the latest.

    Raises
    ------
    InputError
        If that is no number of frames that is supported.
    """
    if checked_frames(frames) == 1:
        return problem
    written, energy = problem.write_budget_bytes, problem.limits.energy_nj
    return replace(
        problem,
        network=in_flight(problem.network, frames),
        write_budget_bytes=None if written is None else frames * written,
        limits=replace(problem.limits, energy_nj=None if energy is None else frames * energy),
    )


@dataclass(frozen=True, slots=True)
class Flight:
    """The better of two ways to make many inferences: a run of several frames, or one frame at a time.

    ``frames`` were asked for; ``alone`` and ``single`` are the problem and the result of one at a time. ``problem``
    and ``results`` are those of the better way, the chosen result last. Where runs may overlap, ``apart`` is the
    better way of those that follow one another.
    """

    frames: int
    alone: Problem
    single: Result
    problem: Problem
    results: tuple[Result, ...]
    apart: Flight | None = None


def fly(problem: Problem, frames: int, budget: Budget, solve_alone: Solve, solve_run: Solve) -> Flight:
    """Plan for one frame at a time and for a run of several, and choose.

    The bound is weakened to what holds for both ways. One frame at a time is chosen if the run is no better.
    """
    share, left = ALONE_SHARE * budget.time_limit_s, (1 - ALONE_SHARE) * budget.time_limit_s
    single = solve_alone(problem, replace(budget, time_limit_s=share), ())[-1]
    run, known = run_of(problem, frames), None
    if single.plan is not None:
        known = _repeated(run, problem, single.plan, time.monotonic() + REPEATED_SHARE * left)
    budget = replace(budget, time_limit_s=(1 - REPEATED_SHARE) * left)
    results = tuple(solve_run(run, budget, () if known is None else (known,)))
    if _is_better(run, results[-1], single):
        return Flight(
            frames, problem, single, run, (*results[:-1], _bounded_by_both(results[-1], single, frames))
        )
    return Flight(frames, problem, single, problem, (_instead(run, results[-1], single),))


def _repeated(run: Problem, single: Problem, plan: Plan, deadline: float) -> Plan | None:
    """The plan of one frame made one for a run; None if there is none, or no time for it."""
    try:
        return repeated_plan(run, single, plan, deadline)
    except TimeIsUp:
        return None


def _is_better(run: Problem, together: Result, single: Result) -> bool:
    """Whether a run is better than as many times one frame: in its value, then in its latency."""
    if together.plan is None or single.plan is None:
        return together.plan is not None
    return _costs(run, together.plan, 1) < _costs(run, single.plan, run.network.frames)


def _bounded_by_both(together: Result, single: Result, frames: int) -> Result:
    """The result of a run, with a bound that holds for one frame at a time as well."""
    if single.plan is None:
        return together
    return _bounded(together, min(together.bound, frames * single.bound))


def _instead(run: Problem, together: Result, single: Result) -> Result:
    """The result of one frame at a time where a run is no better, with a bound that holds for both."""
    if single.plan is None:
        return single
    frames, floor = run.network.frames, _floor(run, together)
    bound = single.bound if floor is None else min(single.bound, floor // frames)
    words = f"no run of {frames} frames is known to be better: this is the plan of one, to be run for each"
    return replace(_bounded(single, bound), reason=words)


def _floor(run: Problem, result: Result) -> int | None:
    """A value that no plan for a run is below; None if it is proven that there is none."""
    if result.plan is not None:
        return result.bound
    try:
        least = least_sram(run)
        if least is None or least.bound_bytes > run.sram_bytes:
            return None
        return max(result.bound, least_value(space_of(run)))
    except TimeIsUp:
        return result.bound


def _costs(problem: Problem, plan: Plan, times: int) -> tuple[int, int]:
    """Value and latency of so many runs, one after the other."""
    return times * value(problem.objective, plan.figures), times * plan.figures.latency_ns


def _bounded(result: Result, bound: int) -> Result:
    """The result with another bound, which says anew whether it is optimal."""
    optimal = result.objective == bound
    return replace(result, bound=bound, status=Status.OPTIMAL if optimal else Status.FEASIBLE)


# -------------------------------------------------------------------------------- words


def period_ns(problem: Problem, result: Result) -> int | None:
    """Time per inference when the plan is run again and again, rounded up; None without a plan."""
    if result.plan is None:
        return None
    return -(-result.plan.figures.latency_ns // problem.network.frames)


def busiest_ns(problem: Problem, plan: Plan) -> tuple[str, int]:
    """The resource that works longest, and its time per inference, rounded up.

    However much the end of a run overlapped with the start of the next, these tasks could not have a shorter period.
    """
    busy = dict.fromkeys(plan.graph.resources, 0)
    for task in plan.graph.tasks:
        busy[task.resource] += task.duration_ns
    longest = max(busy, key=lambda resource: busy[resource])
    return longest, -(-busy[longest] // problem.network.frames)


def frames_facts(flight: Flight) -> dict[str, Any]:
    """What the JSON report says of frames in flight: figures per inference."""
    chosen, single, frames = flight.results[-1], flight.single, flight.problem.network.frames
    busiest = None if chosen.plan is None else busiest_ns(flight.problem, chosen.plan)
    return {
        "asked": flight.frames,
        "per_run": frames,
        "period_ns": period_ns(flight.problem, chosen),
        "value": None if chosen.objective is None else chosen.objective / frames,
        "bound": chosen.bound / frames,
        "gap": chosen.gap,
        "busiest": None if busiest is None else {"resource": busiest[0], "ns": busiest[1]},
        **_overlap_facts(flight),
        "one_at_a_time": {
            "period_ns": period_ns(flight.alone, single),
            "value": single.objective,
            "bound": single.bound,
            "gap": single.gap,
        },
    }


def _overlap_facts(flight: Flight) -> dict[str, Any]:
    """What the JSON report says besides where runs may overlap; ``overlap`` is null where they do not."""
    chosen, network = flight.results[-1], flight.problem.network
    if flight.apart is None:
        return {}
    facts = None
    if network.carried and chosen.plan is not None:
        facts = {
            "carried": [name for name, _ in network.carried],
            "carried_bytes": _carried_bytes(flight.problem),
            "output_latency_ns": 2 * chosen.plan.figures.latency_ns,
            "table_bytes": chosen.plan.figures.table_bytes,
        }
    apart = flight.apart
    return {
        "overlap": facts,
        "without_overlap": {
            "per_run": apart.problem.network.frames,
            "period_ns": period_ns(apart.problem, apart.results[-1]),
        },
    }


def _carried_bytes(problem: Problem) -> int:
    """Bytes that one run leaves for the next."""
    return sum(problem.network.tensors[name].size_bytes for name, _ in problem.network.carried)


def overlap_words(flight: Flight) -> str:
    """What overlapping runs bring, for people."""
    problem, chosen, apart = flight.problem, flight.results[-1], flight.apart
    each = period_ns(problem, chosen)
    if each is None or chosen.plan is None or chosen.gap is None or apart is None:
        return "There is no plan."
    frames = problem.network.frames
    bound = (
        f"none in the option space below {milliseconds(chosen.bound // frames)} ms, a gap of {chosen.gap:.2%}"
    )
    if not problem.network.carried:
        return (
            f"No runs that overlap are known to be better: there is an inference every {milliseconds(each)} ms "
            f"({bound}, however runs overlap)."
        )
    other = period_ns(apart.problem, apart.results[-1])
    rest = "no plan is known without overlap"
    if other is not None:
        rest = f"without overlap every {milliseconds(other)} ms, {other / each:.2f} times as long"
    resource, busy = busiest_ns(problem, chosen.plan)
    names = ", ".join(f"'{name}'" for name, _ in problem.network.carried)
    return (
        f"Runs of {frames} frame{'s' if frames > 1 else ''} overlap: there is an inference every {milliseconds(each)} ms "
        f"({bound}), of which '{resource}' works {milliseconds(busy)} ms; {rest}. An output is ready at most "
        f"{milliseconds(2 * chosen.plan.figures.latency_ns)} ms after its run began, at the end of the next run. "
        f"SRAM keeps {names} ({_carried_bytes(problem):,} bytes) from one run to the next."
    )


def frames_words(flight: Flight) -> str:
    """What frames in flight bring, for people."""
    if flight.apart is not None:
        return overlap_words(flight)
    problem, chosen, frames = flight.problem, flight.results[-1], flight.problem.network.frames
    each, single = period_ns(problem, chosen), period_ns(flight.alone, flight.single)
    if each is None or chosen.objective is None or chosen.plan is None or chosen.gap is None:
        return "There is no plan."
    if frames == 1:
        return f"No run of {flight.frames} frames is known to be better than one frame at a time."
    best, bound = (amount(problem, number // frames) for number in (chosen.objective, chosen.bound))
    at = "" if problem.objective is Objective.LATENCY else f", at {best} each"
    words = (
        f"With {frames} frames in flight there is an inference every {milliseconds(each)} ms{at} (none in the "
        f"option space below {bound}, a gap of {chosen.gap:.2%})"
    )
    other = "no plan is known for one at a time"
    if single is not None:
        other = f"one at a time every {milliseconds(single)} ms, {single / each:.2f} times as long"
    resource, busy = busiest_ns(problem, chosen.plan)
    rest = f"of which '{resource}' works {milliseconds(busy)} ms, so overlapping runs would save no more than the rest"
    return f"{words}, {rest}; {other}."
