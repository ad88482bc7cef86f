"""Front of the solver: the CP-SAT scheduler, the comparison, the reasons when nothing fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

from ooc_solve.models.cost import energy_nj
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import (
    Budget,
    InternalError,
    Objective,
    Plan,
    Result,
    Schedule,
    Status,
)
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.heuristics import (
    HEURISTICS,
    Scheduler,
    demand_layering,
    double_buffering,
    finish,
    in_core,
    serial,
    space_of,
    swap_list,
)
from ooc_solve.solver.least import least_sram, least_writes, unbudgeted
from ooc_solve.solver.listing import makespan_ns, settle
from ooc_solve.solver.objective import value
from ooc_solve.solver.search import (
    Candidate,
    at_size,
    first_candidates,
    is_large,
    ladder,
    local_search,
    polish,
    score_of,
    within_writes,
)
from ooc_solve.solver.selection import Aim, SelectionModel
from ooc_solve.solver.validate import validate

Progress = Callable[[str, float, int | None, int], None]
"""Called with what is being done, seconds, best value so far and bound."""

EXACT_TASKS = 48
"""Graphs up to this size are solved to the end by the tile-level model at each step."""

EFFORT_PER_SECOND = 1500
"""Tasks that the local search schedules on each rung, per second of time limit."""

EXACT_SHARE = 0.005
"""CP-SAT's deterministic time for each of them, per second of time limit; the unit is far
longer than a second here (14 s on the machine it was measured on)."""


def cp_sat(
    problem: Problem,
    budget: Budget,
    progress: Progress | None = None,
    known: Sequence[Plan | None] | None = None,
) -> Result:
    """Tilings, residence, times and addresses by CP-SAT and local search, with a bound.

    The steps climb a fixed ladder of SRAM sizes. Each step starts from the best plan of the
    step below, so from step to step more SRAM never gives a worse plan (between steps it may:
    the heuristics' plans at the exact size are not carried upwards). Each step is deterministic,
    so the same call gives the same plan while the deadline is not reached. No heuristic's plan is better: they are candidates too
    (``known``, made here if not given).
    """
    begun = time.monotonic()
    deadline = begun + budget.time_limit_s
    if not writes_can_be_met(problem):
        return _nothing("cp-sat", problem, time.monotonic() - begun)
    bound = lower_bound(problem, budget)
    best: Candidate | None = None
    for size in feasible_rungs(problem, budget):
        here = at_size(problem, size)
        best = _step(here, best, budget, deadline)
        if progress is not None:
            seen = best.score[0] if best else None
            progress(f"{size // 1024} KiB", time.monotonic() - begun, seen, bound)
        if time.monotonic() > deadline and size < problem.sram_bytes:
            found = first_candidates(space_of(problem), deadline)
            best = min([*found, *([best] if best else [])], key=lambda c: c.score, default=None)
            break
    plans = (heuristic(problem, Budget()).plan for heuristic in HEURISTICS) if known is None else known
    best = _last_step(problem, best, plans, deadline)
    if best is None:
        return _nothing("cp-sat", problem, time.monotonic() - begun)
    plan = plan_of(problem, best, "cp-sat")
    objective = value(problem.objective, plan.figures)
    status = Status.OPTIMAL if objective <= bound else Status.FEASIBLE
    return Result("cp-sat", status, plan, objective, min(bound, objective), time.monotonic() - begun)


def feasible_rungs(problem: Problem, budget: Budget) -> list[int]:
    """Sizes of the ladder, upwards, from the lowest at which the selection model has a solution."""
    found: list[int] = []
    for size in reversed(ladder(problem, budget.time_limit_s)):
        model = SelectionModel(space_of(at_size(problem, size)))
        if model.solve(Aim.SERIAL, Budget(10.0, 1, 1)).status is Status.INFEASIBLE:
            break
        found.insert(0, size)
    return found


def _step(here: Problem, best: Candidate | None, budget: Budget, deadline: float) -> Candidate | None:
    """One rung of the ladder: candidates from the selection model and from below, improved."""
    space = space_of(here)
    starts = first_candidates(space, deadline)
    starts += [best] if best is not None else []
    if not starts:
        return None
    start = min(starts, key=lambda c: c.score)
    effort = int(EFFORT_PER_SECOND * budget.time_limit_s)
    found = local_search(space, start, effort, budget.seed, deadline)
    found = exact(here, polish(here, found, deadline), budget)
    return found if best is None or found.score < best.score else best


def _last_step(
    problem: Problem, best: Candidate | None, known: Iterable[Plan | None], deadline: float
) -> Candidate | None:
    """Take the heuristics' plans into account at the exact size asked for.

    Where no rung of the ladder fits, the plan with the least SRAM may still.
    """
    found = [best] if best is not None else []
    for plan in known:
        if plan is not None:
            value_of = score_of(problem, plan.graph, plan.figures.latency_ns)
            found.append(Candidate(plan.selection, plan.graph, plan.schedule, value_of))
        if found and is_large(problem) and time.monotonic() > deadline:
            break
    if not found:
        least = least_sram(problem)
        fits = least is not None and least.sram_bytes <= problem.sram_bytes
        if least is not None and fits and within_writes(problem, least.candidate.graph):
            found.append(least.candidate)
    return min(found, key=lambda c: c.score, default=None)


def exact(problem: Problem, candidate: Candidate, budget: Budget) -> Candidate:
    """Let the tile-level model finish a small graph, within deterministic time."""
    if len(candidate.graph.tasks) > EXACT_TASKS:
        return candidate
    hint = settle(candidate.graph, candidate.schedule.start_ns, candidate.schedule.address)
    share = EXACT_SHARE * budget.time_limit_s
    result = solve_graph(
        problem, candidate.graph, hint, Budget(budget.time_limit_s, 1, 1), deterministic=share
    )
    if result.schedule is None:
        return candidate
    makespan = makespan_ns(candidate.graph, result.schedule.start_ns)
    found = score_of(problem, candidate.graph, makespan)
    if found >= candidate.score:
        return candidate
    return Candidate(candidate.selection, candidate.graph, result.schedule, found)


@lru_cache(maxsize=64)
def lower_bound(problem: Problem, budget: Budget) -> int:
    """Proven lower bound of the objective over all tilings and schedules of the option space.

    The space depends on the SRAM (little of it offers narrower planes), and plans are taken
    over from smaller sizes, so the least bound of all those spaces counts.
    """
    aim = {
        Objective.LATENCY: Aim.MAKESPAN_BOUND,
        Objective.ENERGY: Aim.ENERGY,
        Objective.WEAR: Aim.WRITES,
    }[problem.objective]
    sizes = {*feasible_rungs(problem, budget), problem.sram_bytes}
    seconds = max(2.0, budget.time_limit_s / 4 / len(sizes))
    bounds = []
    for size in sizes:
        model = SelectionModel(space_of(at_size(problem, size)), problem.arena_bytes)
        selected = model.solve(aim, Budget(seconds, 1, 1))
        if selected.status is not Status.INFEASIBLE:
            bounds.append(selected.bound)
    compute = sum(min((o.compute_ns for o in options), default=0) for options in space_of(problem).options)
    trivial = {
        Objective.LATENCY: compute,
        Objective.ENERGY: energy_nj(problem.target, compute, compute, [(0, 0)] * len(problem.target.stores)),
        Objective.WEAR: 0,
    }[problem.objective]
    return max(trivial, min(bounds, default=0))


def plan_of(problem: Problem, candidate: Candidate, name: str) -> Plan:
    """Settle a candidate's times and check the plan from every side.

    Raises
    ------
    InternalError
        If the validator finds a violation: the plan is withheld.
    """
    schedule: Schedule = settle(candidate.graph, candidate.schedule.start_ns, candidate.schedule.address)
    plan = finish(problem, candidate.selection, candidate.graph, schedule, name)
    checked(problem, plan)
    return plan


def checked(problem: Problem, plan: Plan) -> None:
    """Raise `InternalError` with the first violation of a plan."""
    violations = validate(problem, plan)
    if violations:
        first = violations[0]
        raise InternalError(
            f"The plan of scheduler '{plan.scheduler}' breaks the rule '{first.rule}': {first.message}"
        )


def writes_can_be_met(problem: Problem) -> bool:
    """Whether the write budget is not below what is proven to be written at least."""
    if problem.write_budget_bytes is None:
        return True
    least = SelectionModel(space_of(unbudgeted(problem))).solve(Aim.WRITES, Budget(10.0, 1, 1))
    return least.selection is None or least.bound <= problem.write_budget_bytes


def _nothing(name: str, problem: Problem, seconds: float) -> Result:
    return Result(name, Status.INFEASIBLE, None, None, 0, seconds, why_infeasible(problem))


def why_infeasible(problem: Problem) -> str:
    """Which budget fails, by how many bytes, and what the least feasible value is."""
    least = least_sram(unbudgeted(problem))
    if least is None:
        return f"no tiling fits the {problem.target.board.usable_bytes} usable bytes of the board"
    if least.sram_bytes <= problem.sram_bytes and problem.write_budget_bytes is not None:
        writes = least_writes(problem)
        return (
            f"at least {writes} bytes must be written per inference with {problem.sram_bytes} bytes of SRAM, "
            f"but the write budget is {problem.write_budget_bytes}"
        )
    op = problem.network.ops[least.stage]
    return (
        f"the least SRAM known to work is {least.sram_bytes} bytes, {least.sram_bytes - problem.sram_bytes} more "
        f"than given: layer '{op.name}' asks for {least.need_bytes} bytes of tiles beside "
        f"{least.kept_bytes} bytes of kept tensors (no plan of this kind fits in less than {least.bound_bytes})"
    )


SCHEDULERS: dict[str, Scheduler] = {
    "serial": serial,
    "double-buffering": double_buffering,
    "demand-layering": demand_layering,
    "swap-list": swap_list,
    "cp-sat": cp_sat,
}
"""Schedulers by the name the command line gives them."""


def compare(problem: Problem, budget: Budget, progress: Progress | None = None) -> list[Result]:
    """Every scheduler on one problem: the in-core bound first, CP-SAT last."""
    results = [in_core(problem, budget)]
    for heuristic in HEURISTICS:
        result = heuristic(problem, Budget())
        if result.plan is not None:
            checked(problem, result.plan)
        results.append(result)
    results.append(cp_sat(problem, budget, progress, [result.plan for result in results]))
    return results
