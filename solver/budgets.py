"""What budgets rule out before anything is searched, and what they say about the best value.

Options that no plan within the budgets can use are dropped (`narrowed`); the selection model over what
is left, with all budgets as rules, bounds whatever is asked for (`budgeted_bound`).
"""

from __future__ import annotations

import math
import time
from collections.abc import Sequence
from dataclasses import replace

from ooc_solve.models.cost import read_ns
from ooc_solve.models.npu import is_crowded
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
    """Whether there is any budget but the SRAM; a ring bounds the scratch region, an NPU's memory resident weights."""
    limits = problem.limits
    given = (
        *(problem.most_written_bytes, problem.most_programs, problem.most_scratch_bytes),
        *(limits.latency_ns, limits.energy_nj),
    )
    return any(value is not None for value in given) or is_crowded(problem.target, problem.network)


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
    """The relaxation with the prices of bytes (`tolls`) that give the highest bound; where nothing is counted, none.

    The bound is concave in a price. The first price of bytes written that is tried makes all activations together cost
    as much as half the makespan, that of bytes of a weight memory is what it takes to load them; from there it is
    doubled or halved as long as that helps, each time in a share of what is left.
    """
    best = Relaxation(problem, spaces, deadline)
    if not best.feasible:
        return best
    if problem.most_stored_bytes is not None:
        activations = sum(tensor.size_bytes for tensor in problem.network.tensors.values())
        best = _dearer(problem, spaces, best, "written", max(1, best.first_ns // (2 * activations)), deadline)
    if is_crowded(problem.target, problem.network):
        kib_ns = read_ns(problem.target, problem.target.weights, 1024)
        best = _dearer(problem, spaces, best, "resident", max(1, kib_ns // 1024), deadline)
    return best


def _dearer(
    problem: Problem, spaces: Sequence[Space], best: Relaxation, what: str, first: int, deadline: float
) -> Relaxation:
    """The relaxation with the price of one kind of bytes that gives the highest bound, others as they are."""
    for factor in (2.0, 0.5):
        price = first if factor > 1 else first // 2
        while 0 < price < MOST_NS_PER_BYTE and time.monotonic() < deadline:
            prices = replace(best.tolls.prices, **{what: price})
            found = Relaxation(problem, spaces, deadline, prices)
            if found.bound <= best.bound:
                break
            best, price = found, int(price * factor)
        if getattr(best.tolls.prices, what) > first:
            break  # it rose upwards, so it falls downwards
    return best


MOST_NS_PER_BYTE = 1 << 24
"""Prices of bytes are lower than this."""


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
