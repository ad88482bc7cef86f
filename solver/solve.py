"""Front of the solver: the CP-SAT scheduler, the comparison, the reasons when nothing fits."""

from __future__ import annotations

import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace

from ooc_solve.models.limits import NO_LIMITS
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Objective, Plan, Result, Status, TaskGraph
from ooc_solve.solver.allowance import complaints
from ooc_solve.solver.budgets import is_budgeted
from ooc_solve.solver.deadline import TimeIsUp, ends_at, keep_time, left_s, unhurried, within
from ooc_solve.solver.descent import ALL_PARTS, Descent, Parts, Progress, least_candidates, left_of
from ooc_solve.solver.floor import floor_of
from ooc_solve.solver.heuristics import IN_CORE, Scheduler, in_core
from ooc_solve.solver.ladder import at_size, rungs
from ooc_solve.solver.objective import score, value
from ooc_solve.solver.plans import candidate_of, checked, settled
from ooc_solve.solver.quick_plan import thrifty_plan
from ooc_solve.solver.ruled_plans import HEURISTICS, RULES, plans_by_rules, rule_plans
from ooc_solve.solver.search import Candidate
from ooc_solve.solver.shortfall import has_room, storage_needed, why_infeasible, worn_by_output
from ooc_solve.solver.space_bounds import least_written
from ooc_solve.solver.sparing import least_wear


def cp_sat(
    problem: Problem,
    budget: Budget,
    progress: Progress | None = None,
    known: Sequence[Plan | None] = (),
    spent_s: float = 0.0,
    parts: Parts = ALL_PARTS,
) -> Result:
    """Tilings, residence, times and addresses by beam search and CP-SAT, with a bound.

    Plans are sought on each rung of a fixed ladder of SRAM sizes (see `ladder`), downwards from the
    one asked for, as long as the bound of a rung allows a better plan there. What a rung gives
    depends on nothing but the rung and the time limit, so more SRAM never gives a worse plan, unless
    the deadline cuts the search. No heuristic's plan is better: those of each coarse rung are
    candidates, and so are the plans ``known`` for this problem, which took ``spent_s`` of the time
    limit. Operators run in the order of the problem, and also in the one with the least peak; the
    bound holds for both. Ctrl-C ends the search, and so does the time limit, whatever is being done
    (see `deadline`); what is known by then is returned.

    Wear is minimised by searches for latency under write budgets (see `sparing`).
    """
    begun = time.monotonic()
    missing = storage_needed(problem) or worn_by_output(problem)
    if missing is not None:
        return Result("cp-sat", Status.INFEASIBLE, None, None, 0, 0.0, missing)
    with within(budget.time_limit_s):
        result = _solved(problem, budget, progress, known, spent_s, parts)
        if result.plan is not None:
            return result

        def search(here: Problem, budget: Budget) -> Result:
            return _solved(here, budget, None, [*known, *_plans_without_budgets(here)], 0.0, parts)

        rest_s = begun + budget.time_limit_s - spent_s - time.monotonic()
        return replace(
            result, reason=why_infeasible(problem, search, replace(budget, time_limit_s=max(0.1, rest_s)))
        )


def _solved(
    problem: Problem,
    budget: Budget,
    progress: Progress | None,
    known: Sequence[Plan | None],
    spent_s: float,
    parts: Parts,
    to_prove: bool = True,
) -> Result:
    """`cp_sat` without the reason why nothing is found; ``to_prove``: whether the bound is of use."""
    if problem.objective is Objective.WEAR:
        return _spared(problem, budget, progress, known, spent_s, parts)
    descent, interrupted = Descent(problem, budget, progress, spent_s, parts, to_prove, known), False
    with closing(descent):
        try:
            descent.search()
        except TimeIsUp:
            pass
        except KeyboardInterrupt:
            interrupted = True
        return _concluded(descent, interrupted)


def _spared(
    problem: Problem,
    budget: Budget,
    progress: Progress | None,
    known: Sequence[Plan | None],
    spent_s: float,
    parts: Parts,
) -> Result:
    """The plan that writes least, which is none that writes more than one that is known already."""
    given = _begun(problem, [plan for plan in known if plan is not None], left_s() / 2)

    def search(here: Problem, budget: Budget) -> Result:
        found = _solved(here, budget, _by_writes(progress, here), given, 0.0, parts, to_prove=False)
        given.extend([] if found.plan is None else [found.plan])
        return found

    def floor(here: Problem, seconds: float) -> int | None:
        begun, least = time.monotonic(), 0
        try:  # what holds without budgets is soon known
            least = floor_of(here)
            free = replace(here, limits=NO_LIMITS, write_budget_bytes=None)
            least = max(least, least_written(free, seconds) or 0)
            found = least_written(here, max(0.0, seconds - (time.monotonic() - begun)))
        except TimeIsUp:
            return least
        return None if found is None else max(least, found)

    left = replace(budget, time_limit_s=left_of(budget, spent_s))

    def fewest_known() -> Plan | None:
        return min((p for p in given if not complaints(problem, p)), key=_writes_first, default=None)

    def fewest_written() -> int | None:
        fewest = fewest_known()
        return None if fewest is None else fewest.figures.bytes_written

    result = least_wear(problem, left, search, floor, fewest_written)
    fewest = fewest_known()
    if fewest is None or (result.plan is not None and _writes_first(result.plan) <= _writes_first(fewest)):
        return result
    with unhurried():
        plan = _best_plan(problem, [candidate_of(problem, fewest)])
    if plan is None:
        return result
    written = plan.figures.bytes_written
    status = Status.OPTIMAL if written <= result.bound else Status.FEASIBLE
    return replace(result, status=status, plan=plan, objective=written, bound=min(written, result.bound))


def _begun(problem: Problem, known: list[Plan], seconds: float) -> list[Plan]:
    """The plans that are known, and one that writes little; one of the rules if none of them keeps to the budgets."""
    begun, candidates = time.monotonic(), []
    try:
        with ends_at(begun + seconds):
            for here in (at_size(problem, size) for size in rungs(problem)[:1]):
                thrifty = thrifty_plan(here)
                candidates = [] if thrifty is None else [thrifty]
                if not candidates and all(complaints(problem, plan) for plan in known):
                    candidates = rule_plans(here, begun + seconds / 2)
    except TimeIsUp:
        pass
    with unhurried():
        plan = _best_plan(problem, candidates)
    return known if plan is None else [*known, plan]


def _writes_first(plan: Plan) -> tuple[int, ...]:
    return score(Objective.WEAR, plan.figures)


def _by_writes(progress: Progress | None, here: Problem) -> Progress | None:
    """Tell the progress of a search for latency under a write budget by what it may write."""
    if progress is None:
        return None
    tell, most = progress, here.most_written_bytes
    return lambda what, seconds, best, _: tell(what, seconds, None if best is None else most, 0)


def _concluded(descent: Descent, interrupted: bool) -> Result:
    """The best plan that is known, with what is proven."""
    problem = descent.problem
    with unhurried():
        plan = _best_plan(problem, [*descent.given, *descent.found])
    if plan is None and interrupted:
        raise KeyboardInterrupt
    plan = plan or _plan_for_least_sram(problem)
    if plan is None:
        return Result("cp-sat", Status.INFEASIBLE, None, None, descent.bound or 0, descent.seconds)
    objective = value(problem.objective, plan.figures)
    if not interrupted and descent.to_prove:
        known = len(descent.found)
        interrupted = _proven(descent, objective, plan.graph)
        if len(descent.found) > known:  # a small problem was solved to the end
            with unhurried():
                plan = _best_plan(problem, [*descent.given, *descent.found]) or plan
            objective = value(problem.objective, plan.figures)
    descent.hear()
    bound = min(objective, descent.bound or descent.floor or _simple_floor(problem))
    status = Status.OPTIMAL if objective == bound else Status.FEASIBLE
    note = "interrupted: this is the best plan and the bound so far" if interrupted else ""
    return Result("cp-sat", status, plan, objective, bound, descent.seconds, note, descent.processes)


def _simple_floor(problem: Problem) -> int:
    """The bound that is there without any search: what computing alone takes."""
    with unhurried():
        return floor_of(problem)


def _proven(descent: Descent, objective: int, graph: TaskGraph) -> bool:
    """Raise the bound of a search as far as its time goes; whether Ctrl-C ended that.

    Where the best plan has so few tasks as its ``graph`` all selections that may be better are tried first.
    """
    try:
        if descent.is_small(graph) and (descent.bound or 0) < objective:
            descent.exhaust(objective)
        descent.prove(min([objective, *(c.score[0] for c in descent.found)]))
    except TimeIsUp:
        pass
    except KeyboardInterrupt:
        return True
    return False


def _plan_for_least_sram(problem: Problem) -> Plan | None:
    """The plan with the least SRAM known, if it fits where no rung does and is found in time.

    Where budgets are in the way, and not the SRAM, it is not asked for.
    """
    try:
        candidates = [] if is_budgeted(problem) and has_room(problem) else least_candidates(problem)
    except TimeIsUp:
        return None
    with unhurried():
        return _best_plan(problem, candidates)


def _best_plan(problem: Problem, candidates: Sequence[Candidate]) -> Plan | None:
    """The best candidate as a plan that keeps to the budgets: interruptions may make one exceed them."""
    for candidate in sorted(candidates, key=lambda c: c.score):
        here = ordered(problem, candidate.selection.order)
        plan = settled(here, candidate, "cp-sat")
        if not complaints(here, plan):
            checked(here, plan)
            return plan
    return None


def _plans_without_budgets(problem: Problem) -> list[Plan]:
    """What the rules make of the largest rung if there is no budget but the SRAM."""
    return [
        plan
        for size in rungs(problem)[:1]
        for plan in plans_by_rules(at_size(problem, size).plainest, time.monotonic() + left_s())
    ]


PARTS: dict[str, Parts] = {
    "cp-sat": ALL_PARTS,
    "cp-sat-only": Parts(relaxation=False, beam=False, exact=400),
    "beam-only": Parts(relaxation=False, exact=0),
    "guided-beam-only": Parts(exact=0),
}
"""The solver, and the same without some of its parts; the bound at the end does not differ."""


def _made_of(parts: Parts) -> Scheduler:
    """The scheduler that consists of some parts only."""
    return lambda problem, budget: cp_sat(problem, budget, parts=parts)


SCHEDULERS: dict[str, Scheduler] = {
    **dict(zip(HEURISTICS, RULES, strict=True)),
    **{name: _made_of(parts) for name, parts in PARTS.items()},
}
"""Schedulers by the name the command line gives them."""


def three_objectives(problem: Problem, budget: Budget) -> dict[Objective, Result]:
    """A problem solved for each objective, each within the time limit; every plan is a candidate for all.

    So none is worse in its own figure than the plan of another objective.
    """
    found: dict[Objective, Result] = {}
    for aim in Objective:
        known = [result.plan for result in found.values()]
        found[aim] = cp_sat(replace(problem, objective=aim), budget, known=known)
    return {aim: _best_of(aim, result, list(found.values())) for aim, result in found.items()}


def _best_of(aim: Objective, own: Result, others: Sequence[Result]) -> Result:
    """The result for an objective with the best plan of all; the bound is its own."""
    plans = [result.plan for result in others if result.plan is not None]
    if not plans:
        return own
    plan = min(plans, key=lambda plan: score(aim, plan.figures))
    objective = value(aim, plan.figures)
    bound = min(own.bound, objective)
    status = Status.OPTIMAL if objective == bound else Status.FEASIBLE
    return replace(own, plan=plan, objective=objective, bound=bound, status=status)


COMPARED_SHARE, COMPARED_S = 0.4, 1.0
"""Share of the time limit, and seconds on top, after which no rule of the comparison goes on."""


NOT_RUN = "not run: the time limit leaves no room"


def compare(
    problem: Problem, budget: Budget, progress: Progress | None = None, given: Sequence[Plan] = ()
) -> list[Result]:
    """Every scheduler on one problem: the in-core bound first, CP-SAT last; it also knows the plans ``given``.

    Rules that have not ended after their share of the time limit are left out, and say so as their reason.
    """
    begun = time.monotonic()
    with within(budget.time_limit_s):
        with ends_at(begun + COMPARED_SHARE * budget.time_limit_s + COMPARED_S, COMPARED_S):
            results, interrupted = _rules_in_turn(problem, budget)
        known, spent_s = [*given, *(result.plan for result in results)], time.monotonic() - begun
        if interrupted:
            last = _concluded(Descent(problem, budget, progress, spent_s, known=known), interrupted)
        else:
            last = cp_sat(problem, budget, progress, known, spent_s)
    return [*results, last]


def _rules_in_turn(problem: Problem, budget: Budget) -> tuple[list[Result], bool]:
    """What the rules give, the in-core bound first, and whether Ctrl-C ended them."""
    names = [IN_CORE, *(name.replace("-", " ") for name in HEURISTICS)]
    results: list[Result] = []
    interrupted = False
    for name, rule in zip(names, (in_core, *RULES), strict=True):
        try:
            results.append(_not_run(name) if interrupted else _checked_result(rule, problem, budget))
        except TimeIsUp:
            results.append(_not_run(name))
        except KeyboardInterrupt:
            interrupted = True
            results.append(_not_run(name))
    return results, interrupted


def _checked_result(rule: Scheduler, problem: Problem, budget: Budget) -> Result:
    """What a rule gives, from every side."""
    keep_time()
    result = rule(problem, budget)
    if result.plan is not None:
        checked(problem, result.plan)
    return result


def _not_run(name: str) -> Result:
    return Result(name, Status.FEASIBLE, None, None, 0, 0.0, NOT_RUN)
