"""Front of the solver: the CP-SAT scheduler, the comparison, the reasons when nothing fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
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
    Selection,
    Status,
)
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.heuristics import (
    HEURISTICS,
    Scheduler,
    finish,
    in_core,
    space_of,
)
from ooc_solve.solver.improvement import improve
from ooc_solve.solver.least import least_sram, least_writes, unbudgeted
from ooc_solve.solver.listing import makespan_ns, settle
from ooc_solve.solver.objective import value
from ooc_solve.solver.relaxation import latency_bound
from ooc_solve.solver.search import (
    Candidate,
    at_size,
    first_candidates,
    polish,
    rungs,
    score_of,
    within_writes,
)
from ooc_solve.solver.selection import Aim, SelectionModel
from ooc_solve.solver.validate import validate

Progress = Callable[[str, float, int | None, int], None]
"""Called with what is being done, seconds, best value so far and bound."""

EXACT_TASKS = 48
"""Graphs up to this size are solved to the end by the tile-level model on each rung."""

EFFORT_PER_SECOND = 4000
"""Units of effort of the search on each rung (see `improvement`), per second of time limit."""

EXACT_SHARE = 0.005
"""CP-SAT's deterministic time for each of them, per second of time limit; the unit is far
longer than a second here (14 s on the machine it was measured on)."""


def cp_sat(
    problem: Problem,
    budget: Budget,
    progress: Progress | None = None,
    known: Sequence[Plan | None] = (),
    spent_s: float = 0.0,
) -> Result:
    """Tilings, residence, times and addresses by beam search and CP-SAT, with a bound.

    Plans are sought on each rung of a fixed ladder of SRAM sizes, downwards from the one asked
    for, as long as the bound of a rung allows a better plan there. What a rung gives depends on
    nothing but the rung and the time limit, so more SRAM never gives a worse plan, unless the
    deadline cuts the search. No heuristic's plan is better: those of each rung are candidates,
    and so are the plans ``known`` for this problem, which took ``spent_s`` of the time limit.
    """
    descent = _Descent(problem, budget, progress, spent_s)
    descent.search()
    descent.prove()
    given = [candidate_of(problem, plan) for plan in known if plan is not None]
    best = min([*given, *descent.found], key=lambda c: c.score, default=None) or _least_candidate(problem)
    if best is None:
        return _nothing("cp-sat", problem, descent.seconds)
    plan = plan_of(problem, best, "cp-sat")
    objective = value(problem.objective, plan.figures)
    bound = (
        lower_bound(problem, budget, objective) if descent.bound is None else min(objective, descent.bound)
    )
    status = Status.OPTIMAL if objective == bound else Status.FEASIBLE
    return Result("cp-sat", status, plan, objective, bound, descent.seconds)


class _Descent:
    """The search over the rungs, the largest first, and the bound on all of them."""

    def __init__(self, problem: Problem, budget: Budget, progress: Progress | None, spent_s: float) -> None:
        self.problem = problem
        self.budget = budget
        self.progress = progress
        self.begun = time.monotonic()
        left_s = max(budget.time_limit_s - spent_s, budget.time_limit_s / 2)
        self.deadline = self.begun + left_s
        self.search_ends = self.begun + left_s * SEARCH_SHARE
        self.bound: int | None = None
        self.found: list[Candidate] = []
        self.rungs_seen: list[Problem] = []
        self.proven: set[Selection] = set()  # those whose best schedule is known on a larger rung

    @property
    def seconds(self) -> float:
        """Time since the search began."""
        return time.monotonic() - self.begun

    @property
    def best(self) -> int | None:
        """Objective of the best plan so far."""
        return min(candidate.score[0] for candidate in self.found) if self.found else None

    def search(self) -> None:
        """Plan for every rung whose bound allows a better plan than the rungs above it gave."""
        for size in rungs(self.problem):
            if self.found and time.monotonic() > self.search_ends:
                break
            here = at_size(self.problem, size)
            floor = rung_bound(here, self.budget.time_limit_s / 4, self.best)
            if floor is None:
                continue
            self.bound = floor if self.bound is None else min(self.bound, floor)
            self.rungs_seen.append(here)
            start = _first_plan(here, self.search_ends)
            if start is not None:
                self.found.append(start)
                self.tell(size)
                if floor < start.score[0]:
                    ends = self.search_ends if len(self.rungs_seen) > 1 else self.deadline
                    self.found.append(self.improved(here, start, ends))
            self.tell(size)

    def prove(self) -> None:
        """Raise the bound by the relaxation over the options of all rungs looked at."""
        if self.best is not None and self.bound is not None and self.bound < self.best:
            proven = relaxed_bound(self.problem, self.rungs_seen, self.best, self.deadline)
            self.bound = max(self.bound, proven)

    def improved(self, here: Problem, start: Candidate, ends: float) -> Candidate:
        """A better plan for one rung, by beam search and, for small graphs, to the end."""
        effort = int(EFFORT_PER_SECOND * self.budget.time_limit_s)
        found = improve(space_of(here), start, effort, self.budget.seed, ends)
        found = polish(here, found, ends)
        if found.selection in self.proven or time.monotonic() > ends:
            return found
        return exact(here, found, self.budget, self.proven)

    def tell(self, size: int) -> None:
        """Report the state of the search."""
        if self.progress is not None:
            name = f"{size // 1024} KiB" if size % 1024 == 0 else f"{size} B"
            self.progress(name, self.seconds, self.best, self.bound or 0)


SEARCH_SHARE = 0.75
"""Share of the time limit after which no better plan is sought; the rest is for the bound."""


def _first_plan(here: Problem, deadline: float) -> Candidate | None:
    """The best of what the selection model and the rules propose for one rung."""
    plans = (rule(here, Budget()).plan for rule in HEURISTICS)
    starts = first_candidates(space_of(here), deadline)
    starts += [candidate_of(here, plan) for plan in plans if plan is not None]
    return min(starts, key=lambda c: c.score, default=None)


def candidate_of(problem: Problem, plan: Plan) -> Candidate:
    """A plan as a candidate."""
    return Candidate(
        plan.selection, plan.graph, plan.schedule, score_of(problem, plan.graph, plan.figures.latency_ns)
    )


def _least_candidate(problem: Problem) -> Candidate | None:
    """The plan with the least SRAM known, if it fits where no rung does."""
    least = least_sram(problem)
    if least is None or least.sram_bytes > problem.sram_bytes:
        return None
    found = least.candidate
    return found if within_writes(problem, found.graph) else None


def exact(problem: Problem, candidate: Candidate, budget: Budget, proven: set[Selection]) -> Candidate:
    """Let the tile-level model finish a small graph, within deterministic time."""
    if len(candidate.graph.tasks) > EXACT_TASKS:
        return candidate
    hint = settle(candidate.graph, candidate.schedule.start_ns, candidate.schedule.address)
    share = EXACT_SHARE * budget.time_limit_s
    result = solve_graph(
        problem, candidate.graph, hint, Budget(budget.time_limit_s, 1, 1), deterministic=share
    )
    if result.status is Status.OPTIMAL:
        proven.add(candidate.selection)
    if result.schedule is None:
        return candidate
    makespan = makespan_ns(candidate.graph, result.schedule.start_ns)
    found = score_of(problem, candidate.graph, makespan)
    if found >= candidate.score:
        return candidate
    return Candidate(candidate.selection, candidate.graph, result.schedule, found)


BOUND_AIMS = {
    Objective.LATENCY: Aim.MAKESPAN_BOUND,
    Objective.ENERGY: Aim.ENERGY,
    Objective.WEAR: Aim.WRITES,
}


@lru_cache(maxsize=1024)
def rung_bound(here: Problem, seconds: float, below: int | None = None) -> int | None:
    """Bound of the objective over the option space of one rung; None if nothing fits or none is ``below``."""
    space = space_of(here)
    selected = SelectionModel(space).solve(BOUND_AIMS[here.objective], Budget(max(1.0, seconds), 1, 1), below)
    if selected.status is Status.INFEASIBLE:
        return None
    compute = sum(min((o.compute_ns for o in options), default=0) for options in space.options)
    trivial = {
        Objective.LATENCY: compute,
        Objective.ENERGY: energy_nj(here.target, compute, compute, [(0, 0)] * len(here.target.stores)),
        Objective.WEAR: 0,
    }[here.objective]
    return max(trivial, selected.bound)


@lru_cache(maxsize=64)
def lower_bound(problem: Problem, budget: Budget, value_of_plan: int) -> int:
    """Proven lower bound of the objective over all tilings and schedules of the option space.

    The space depends on the SRAM (little of it offers narrower planes), so the least bound over
    the rungs counts, as many as the time limit allows; those that have no selection better than
    the plan that is known cannot lower it.
    """
    deadline = time.monotonic() + budget.time_limit_s
    least = value_of_plan
    seen: list[Problem] = []
    for here in (at_size(problem, size) for size in (*rungs(problem), problem.sram_bytes)):
        if seen and time.monotonic() > deadline:
            break
        floor = rung_bound(here, budget.time_limit_s / 4, value_of_plan)
        if floor is not None:
            least = min(least, floor)
            seen.append(here)
    return max(least, relaxed_bound(problem, seen, value_of_plan, deadline))


def relaxed_bound(problem: Problem, rungs_seen: Sequence[Problem], best: int, deadline: float) -> int:
    """What the (max,+) relaxation proves for the options of several rungs together; 0 if it says nothing."""
    if problem.objective is not Objective.LATENCY or not rungs_seen:
        return 0
    spaces = [space_of(here) for here in rungs_seen]
    return latency_bound(problem, best, deadline, spaces).value_ns


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


def on_rungs(rule: Scheduler) -> Scheduler:
    """A rule that plans for the largest rung on which it finds a plan, as `cp_sat` does."""

    def schedule(problem: Problem, budget: Budget) -> Result:
        result = Result("", Status.INFEASIBLE, None, None, 0, 0.0, "no tiling fits")
        for size in rungs(problem)[:RUNGS_OF_A_RULE]:
            result = rule(at_size(problem, size), budget)
            if result.plan is not None:
                return result
        least = least_sram(problem)
        if least is None or least.sram_bytes > problem.sram_bytes:
            return result
        return rule(at_size(problem, least.sram_bytes), budget)

    return schedule


RUNGS_OF_A_RULE = 3
"""Rungs that a rule tries before it turns to the least SRAM known to work."""

RULES: tuple[Scheduler, ...] = tuple(on_rungs(rule) for rule in HEURISTICS)
"""The heuristics in the order of the comparison."""

SCHEDULERS: dict[str, Scheduler] = {
    "serial": RULES[0],
    "double-buffering": RULES[1],
    "demand-layering": RULES[2],
    "swap-list": RULES[3],
    "cp-sat": cp_sat,
}
"""Schedulers by the name the command line gives them."""


def compare(problem: Problem, budget: Budget, progress: Progress | None = None) -> list[Result]:
    """Every scheduler on one problem: the in-core bound first, CP-SAT last."""
    begun = time.monotonic()
    results = [in_core(problem, budget)]
    for rule in RULES:
        result = rule(problem, Budget())
        if result.plan is not None:
            checked(problem, result.plan)
        results.append(result)
    known = [result.plan for result in results]
    results.append(cp_sat(problem, budget, progress, known, time.monotonic() - begun))
    return results
