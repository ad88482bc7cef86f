"""What makes one plan better than another, and the same as a CP-SAT objective."""

from __future__ import annotations

from ortools.sat.python import cp_model

from ooc_solve.models.vocabulary import Figures, Objective
from ooc_solve.solver.variables import Variables


def value(objective: Objective, figures: Figures) -> int:
    """The figure that an objective asks about: ns, nJ or bytes written."""
    return {
        Objective.LATENCY: figures.latency_ns,
        Objective.ENERGY: figures.energy_nj,
        Objective.WEAR: figures.bytes_written,
    }[objective]


def score(objective: Objective, figures: Figures) -> tuple[int, ...]:
    """Lexicographic order of plans: the objective first, the others break ties."""
    rest = (figures.latency_ns, figures.energy_nj, figures.bytes_written)
    return (value(objective, figures), *rest)


def minimise_makespan(model: cp_model.CpModel, v: Variables) -> None:
    """Objective of the tile-level model for all three aims.

    With the tilings fixed, the bytes moved and the compute time are constants. Energy is a
    constant plus (waiting power + idle power of the storage) times the makespan, and the
    bytes written are a constant whose ties latency breaks. So the shortest plan is the best
    one for latency, energy and wear alike.
    """
    model.minimize(v.makespan)
