"""What holds of every plan without any search: a bound that is there as soon as the options are."""

from __future__ import annotations

from ooc_solve.models.energy import Traffic, energy_nj
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Objective
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.ladder import at_size, rungs
from ooc_solve.solver.selection import Space, least_compute_ns, outputs_written


def floor_of(problem: Problem) -> int:
    """A value of the objective that no plan is below."""
    return min(
        least_value(space_of(at_size(problem, size))) for size in (*rungs(problem)[:1], problem.sram_bytes)
    )


def least_value(space: Space) -> int:
    """What computing alone takes of the objective; of bytes written, what the outputs of the network take."""
    if space.problem.objective is Objective.WEAR:
        return outputs_written(space)
    compute, target = least_compute_ns(space) or 0, space.problem.target
    if space.problem.objective is Objective.LATENCY:
        return compute
    return energy_nj(target, compute, compute, [Traffic()] * len(target.stores))
