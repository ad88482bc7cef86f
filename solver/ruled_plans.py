"""What the rules of the comparison make of the rungs of the ladder."""

from __future__ import annotations

import time
from dataclasses import replace
from functools import lru_cache
from math import inf

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Plan, Result, Status
from ooc_solve.solver.allowance import complaints
from ooc_solve.solver.budgets import is_budgeted
from ooc_solve.solver.deadline import TimeIsUp, ends_at
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.heuristics import (
    Scheduler,
    assignment,
    clairvoyant_eviction,
    demand_layering,
    double_buffering,
    flexnn,
    fusion_path,
    patch_first,
    reorder_first,
    serial,
    swap_list,
)
from ooc_solve.solver.ladder import at_size, rungs
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.plans import candidate_of
from ooc_solve.solver.search import Candidate
from ooc_solve.solver.shortfall import has_room, storage_needed

QUICK_TASKS = 1000
"""With plans of more tasks than this a rule takes long enough to be left out when time is up."""


def rule_plans(here: Problem, deadline: float) -> list[Candidate]:
    """What the rules make of one rung within the budgets.

    What they make of it without budgets is known soon where several budgets are tried on one rung; if
    none of that keeps to them, the rules that choose their tiles by the write budget have their turn.
    """
    plans = plans_by_rules(here.plainest, deadline)
    if not is_budgeted(here):
        return [candidate_of(here, plan) for plan in plans]
    costed = [replace(plan, figures=figures_of(here, plan.graph, plan.schedule)) for plan in plans]
    found = [candidate_of(here, plan) for plan in costed if not complaints(here, plan)]
    if found:
        return found
    return [candidate_of(here, plan) for plan in plans_by_rules(here, deadline, enough=1)]


def plans_by_rules(here: Problem, deadline: float, enough: int | None = None) -> list[Plan]:
    """Plans of the rules, the last of the comparison first, as they are mostly the better ones."""
    found: list[Plan] = []
    for rule in reversed(HEURISTICS.values()):
        if (time.monotonic() > deadline and any(map(is_long, found))) or (
            enough is not None and len(found) >= enough
        ):
            break
        try:
            with ends_at(deadline if any(map(is_long, found)) else inf):
                plan = ruled(rule, here).plan
        except TimeIsUp:
            if not found:
                raise
            break
        found += [] if plan is None else [plan]
    return found


def is_long(plan: Plan) -> bool:
    """Whether a plan has so many tasks that rules and searches take long."""
    return len(plan.graph.tasks) > QUICK_TASKS


def on_rungs(rule: Scheduler) -> Scheduler:
    """A rule that plans for the largest rung on which it finds a plan, as `cp_sat` does."""

    def schedule(problem: Problem, budget: Budget) -> Result:
        missing = storage_needed(problem)
        result = Result("", Status.INFEASIBLE, None, None, 0, 0.0, missing or "no tiling fits")
        if missing is not None:
            return result
        for size in rungs(problem)[:RUNGS_OF_A_RULE]:
            result = ruled(rule, at_size(problem, size))
            if result.plan is not None:
                return result
        if is_budgeted(problem) and has_room(problem):
            return result  # it is not the SRAM that is missing
        least = least_sram(problem)
        if least is None or least.sram_bytes > problem.sram_bytes:
            return result
        return ruled(rule, at_size(problem, least.sram_bytes))

    return schedule


@lru_cache(maxsize=128)
def ruled(rule: Scheduler, here: Problem) -> Result:
    """What a rule gives for one rung: no rule needs to know what it may spend."""
    return rule(here, Budget())


RUNGS_OF_A_RULE = 3
"""Rungs that a rule tries before it turns to the least SRAM known to work."""


HEURISTICS: dict[str, Scheduler] = {
    "serial": serial,
    "double-buffering": double_buffering,
    "demand-layering": demand_layering,
    "swap-list": swap_list,
    "flexnn-like": flexnn,
    "assignment-model": assignment,
    "clairvoyant": clairvoyant_eviction,
    "reorder-first": reorder_first,
    "patch-first": patch_first,
    "fusion-path": fusion_path,
}
"""The rules in the order of the comparison, by the name the command line gives them."""


RULES: tuple[Scheduler, ...] = tuple(on_rungs(rule) for rule in HEURISTICS.values())
"""The same, each for the largest rung on which it finds a plan."""
