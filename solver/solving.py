"""CP-SAT within the time limit of its caller."""

from __future__ import annotations

from ortools.sat.python import cp_model

from ooc_solve.solver.deadline import keep_time, left_s


def solved_in_time(
    solver: cp_model.CpSolver,
    model: cp_model.CpModel,
    watch: cp_model.CpSolverSolutionCallback | None = None,
) -> cp_model.CpSolverStatus:
    """Let CP-SAT solve a model within its own limits, but no longer than until the deadline.

    Raises
    ------
    TimeIsUp
        If the deadline left it less time than its limits, and it found nothing in that.
    """
    asked_s = solver.parameters.max_time_in_seconds
    while True:
        keep_time()
        left = left_s()
        solver.parameters.max_time_in_seconds = min(asked_s, left)
        code = solver.solve(model, watch)
        if code != cp_model.UNKNOWN or left >= asked_s or solver.wall_time < left:
            return code
