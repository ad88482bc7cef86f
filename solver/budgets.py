"""What budgets rule out before anything is searched, and what they say about the best value.

Options that no plan within the budgets can use are dropped (`narrowed`); the selection model over what
is left, with all budgets as rules, bounds whatever is asked for (`budgeted_bound`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Objective, Status
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.selection import Aim, SelectionModel, Space

BOUND_AIMS = {
    Objective.LATENCY: Aim.MAKESPAN_BOUND,
    Objective.ENERGY: Aim.ENERGY,
    Objective.WEAR: Aim.WRITES,
}
"""Aims of the selection model whose optimum bounds an objective."""


def is_budgeted(problem: Problem) -> bool:
    """Whether there is any budget but the SRAM; a ring bounds the scratch region."""
    limits = problem.limits
    given = (
        *(problem.most_written_bytes, problem.most_programs, problem.most_scratch_bytes),
        *(limits.latency_ns, limits.energy_nj),
    )
    return any(value is not None for value in given)


def most_value(problem: Problem) -> int | None:
    """The budget for the figure that is minimised, if there is one."""
    return {
        Objective.LATENCY: problem.limits.latency_ns,
        Objective.ENERGY: problem.limits.energy_nj,
        Objective.WEAR: problem.most_written_bytes,
    }[problem.objective]


def limited_aims(problem: Problem) -> tuple[Objective, ...]:
    """The figures that have a budget and are bounded by the relaxation, that of the objective aside."""
    limits = {Objective.LATENCY: problem.limits.latency_ns, Objective.ENERGY: problem.limits.energy_nj}
    return tuple(aim for aim, limit in limits.items() if limit is not None and aim is not problem.objective)


def priced(problem: Problem, spaces: Sequence[Space], deadline: float = math.inf) -> Relaxation:
    """The relaxation with the price of bytes written (`tolls`) that gives the highest bound; without a budget none.

    The bound is concave in the price. The first price tried makes all activations together cost as much as half the
    makespan; from there it is doubled or halved as long as that helps, each time in a share of what is left.
    """
    best = Relaxation(problem, spaces, deadline)
    if problem.most_stored_bytes is None or not best.feasible:
        return best
    activations = sum(tensor.size_bytes for tensor in problem.network.tensors.values())
    first = max(1, best.first_ns // (2 * activations))
    for factor in (2.0, 0.5):
        price = first if factor > 1 else first // 2
        while 0 < price < MOST_NS_PER_BYTE and time.monotonic() < deadline:
            found = Relaxation(problem, spaces, deadline, price)
            if found.bound <= best.bound:
                break
            best, price = found, int(price * factor)
        if best.tolls.ns_per_byte > first:
            break  # it rose upwards, so it falls downwards
    return best


MOST_NS_PER_BYTE = 1 << 24
"""Prices of bytes written are lower than this."""


def narrowed(space: Space, deadline: float = math.inf) -> Space:
    """The options that a plan within the budgets of latency and energy can be made of."""
    for aim in limited_aims(space.problem):
        judged = replace(space.problem, objective=aim)
        most = most_value(judged)
        assert most is not None
        relaxation = Relaxation(judged, [space], deadline)
        relaxation.assume(relaxation.tolls.limit(most + 1), deadline)
        space = replace(space, options=relaxation.survivors)
    return space


def united(problem: Problem, spaces: Sequence[Space]) -> Space:
    """All options of several spaces, in the arena of the problem."""
    stages = []
    for same in zip(*(space.options for space in spaces), strict=True):
        stages.append(
            tuple({(o.tilings, o.inputs, o.output): o for options in same for o in options}.values())
        )
    where = {
        name: tuple(sorted({width for space in spaces for width in space.residences[name]}))
        for name in spaces[0].residences
    }
    return Space(problem, tuple(stages), where, spaces[0].lives)


def budgeted_bound(space: Space, seconds: float, deadline: float = math.inf) -> int | None:
    """Least value of the objective within all budgets over a space; None if there is no selection within them."""
    here = narrowed(space, deadline)
    if not _is_complete(here):
        return None
    aim = BOUND_AIMS[space.problem.objective]
    selected = SelectionModel(here).solve(aim, Budget(max(1.0, seconds), 1, 1))
    return None if selected.status is Status.INFEASIBLE else selected.bound


def _is_complete(space: Space) -> bool:
    """Whether every operator is done by some option."""
    covered: set[int] = set()
    for stage, options in enumerate(space.options):
        for operators in {option.operators for option in options}:
            covered.update(range(stage, stage + operators))
    return len(covered) == len(space.options)
