"""Bounds over the options of one or more amounts of SRAM."""

from __future__ import annotations

import time
from collections.abc import Sequence
from functools import lru_cache

from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Objective, Status
from ooc_solve.solver.budgets import BOUND_AIMS, budgeted_bound, priced, united
from ooc_solve.solver.floor import least_value
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.ladder import at_size, nearby
from ooc_solve.solver.ordering import least_peak
from ooc_solve.solver.relaxation import raised
from ooc_solve.solver.selection import SelectionModel
from ooc_solve.solver.unit_order import unit_order


def rung_bound(here: Problem, seconds: float, below: int | None = None) -> int | None:
    """Bound of the objective over the option space of one rung; None if nothing fits or none is ``below``."""
    floors = (order_bound(there, seconds, below) for there in orders_of(here))
    return min((floor for floor in floors if floor is not None), default=None)


def orders_of(problem: Problem) -> tuple[Problem, ...]:
    """The problem with its operators in each of the orders that are looked at, the most promising first."""
    both, least = unit_order(problem.target, problem.network), least_peak(problem.network, problem.io).order
    orders = (both, problem.network.order, least)
    return tuple(dict.fromkeys(ordered(problem, order) for order in orders if order is not None))


@lru_cache(maxsize=1024)
def order_bound(here: Problem, seconds: float, below: int | None) -> int | None:
    """`rung_bound` for one order of the operators."""
    space = space_of(here)
    selected = SelectionModel(space).solve(BOUND_AIMS[here.objective], Budget(max(1.0, seconds), 1, 1), below)
    if selected.status is Status.INFEASIBLE:
        return None
    return max(least_value(space), selected.bound)


def least_written(problem: Problem, seconds: float) -> int | None:
    """Least bytes written by the options that are offered for the SRAM asked for and somewhat less, the budgets kept.

    None if nothing keeps to them.
    """
    return united_bound(problem, [at_size(problem, size) for size in nearby(problem)], seconds)


def united_bound(problem: Problem, offering: Sequence[Problem], seconds: float) -> int | None:
    """Bound of the objective over the options of several rungs together, the budgets kept; None if nothing is."""
    found, orders = [], orders_of(problem)
    for there in orders:
        spaces = [space_of(ordered(here, there.network.order)) for here in offering]
        deadline = time.monotonic() + seconds / len(orders)
        found.append(budgeted_bound(united(there, spaces), seconds / len(orders), deadline))
    return min((bound for bound in found if bound is not None), default=None)


@lru_cache(maxsize=64)
def lower_bound(problem: Problem, budget: Budget, value_of_plan: int) -> int:
    """Proven lower bound of the objective over all tilings and schedules of the option space.

    That is the space for the SRAM asked for: plans for less of it may be made of narrower planes.
    """
    deadline = time.monotonic() + budget.time_limit_s
    floor = rung_bound(problem, budget.time_limit_s / 4, value_of_plan)
    least = value_of_plan if floor is None else min(value_of_plan, floor)
    return max(least, relaxed_bound(problem, [problem], value_of_plan, deadline))


def relaxed_bound(problem: Problem, offering: Sequence[Problem], best: int, deadline: float) -> int:
    """What the (max,+) relaxation proves for the options of several rungs together; 0 if it says nothing."""
    if problem.objective is Objective.WEAR or not offering:
        return 0
    orders = orders_of(problem)
    least = best
    for left, there in zip(range(len(orders), 0, -1), orders, strict=True):
        spaces = [space_of(ordered(here, there.network.order)) for here in offering]
        until = time.monotonic() + max(0.0, deadline - time.monotonic()) / left
        pricing_ends = (time.monotonic() + until) / 2
        least = min(least, raised(priced(there, spaces, pricing_ends), best, until))
    return least
