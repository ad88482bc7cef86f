"""What budgets leave to a plan once its tasks are known: a longest makespan, or nothing at all."""

from __future__ import annotations

from math import inf

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Figures, TaskGraph
from ooc_solve.models.wear import most_stress
from ooc_solve.solver.figures import compute_ns, hottest_programs, traffic_of, written_bytes

NOTHING = -1


def within_writes(problem: Problem, graph: TaskGraph) -> bool:
    """Whether the tasks keep to the budgets of bytes written and of programs of one erase block."""
    most_bytes, most_programs = problem.most_written_bytes, problem.most_programs
    few = most_bytes is None or written_bytes(graph) <= most_bytes
    return few and (most_programs is None or hottest_programs(problem, graph) <= most_programs)


def allowed_makespan_ns(problem: Problem, graph: TaskGraph) -> float:
    """The longest makespan within all budgets: infinite without any, `NOTHING` where the writes are too many."""
    if not within_writes(problem, graph):
        return NOTHING
    longest = problem.limits.makespan_ns(problem.target, compute_ns(graph), traffic_of(problem, graph))
    return inf if longest is None else longest


def excesses(problem: Problem, figures: Figures) -> tuple[str, ...]:
    """The budgets that a plan of these figures exceeds, each in words with by how much; none if it keeps to all."""
    found = []
    limits, most = problem.limits, problem.write_budget_bytes
    if limits.latency_ns is not None and figures.latency_ns > limits.latency_ns:
        over = (figures.latency_ns - limits.latency_ns) / 1e6
        found.append(
            f"it takes {over:.3f} ms more than the latency budget of {limits.latency_ns / 1e6:.3f} ms"
        )
    if limits.energy_nj is not None and figures.energy_nj > limits.energy_nj:
        over = (figures.energy_nj - limits.energy_nj) / 1e6
        found.append(f"it takes {over:.3f} mJ more than the energy budget of {limits.energy_nj / 1e6:.3f} mJ")
    if most is not None and figures.bytes_written > most:
        found.append(
            f"it writes {figures.bytes_written - most} bytes more than the write budget of {most} bytes"
        )
    if _dies_early(problem, figures):
        found.append(
            f"the storage lives {figures.lifetime_years:.3g} years, less than the {limits.lifetime_years:g} "
            f"asked for at {problem.inferences_per_day:g} inferences a day"
        )
    return tuple(found)


def _dies_early(problem: Problem, figures: Figures) -> bool:
    """Whether the storage wears out too soon; decided in whole bytes where bytes decide."""
    asked, years = problem.limits.lifetime_years, figures.lifetime_years
    if asked is None or years is None:
        return False
    if problem.most_programs is not None:
        return years < asked
    storage = problem.activation_store.storage
    most = most_stress(storage, asked, problem.runs_per_day)
    return most is not None and figures.bytes_written > most
