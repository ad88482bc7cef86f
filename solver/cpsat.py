"""The tile-level CP-SAT model: build, hint, solve, translate."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf

from ortools.sat.python import cp_model

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Schedule, Status, TaskGraph
from ooc_solve.solver.allowance import allowed_makespan_ns
from ooc_solve.solver.constraints import Rules, add_rules
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.objective import minimise_makespan
from ooc_solve.solver.solving import solved_in_time
from ooc_solve.solver.variables import Variables, add_hint, make_variables

log = logging.getLogger("ooc_solve")

Progress = Callable[[float, int | None, int], None]
"""Called with seconds, best makespan (ns) and bound (ns)."""


@dataclass(frozen=True, slots=True)
class GraphResult:
    """What is known of one task graph: its best schedule, and a bound on all of them."""

    status: Status
    schedule: Schedule | None
    bound_ns: int
    seconds: float


class _Watch(cp_model.CpSolverSolutionCallback):
    """Passes each better solution on."""

    def __init__(self, progress: Progress) -> None:
        super().__init__()
        self.progress = progress

    def on_solution_callback(self) -> None:
        """Report time, objective and bound of a new incumbent."""
        self.progress(self.wall_time, int(self.objective_value), int(self.best_objective_bound))


def lower_bound_ns(graph: TaskGraph) -> int:
    """The busiest resource, or the first loads and then all compute of a unit: no schedule is shorter."""
    busy = [sum(t.duration_ns for t in graph.tasks if t.resource == r) for r in graph.resources]
    computes = graph.compute_tasks
    head = 0
    if computes and len(graph.resources) > 1:
        head = max((graph.tasks[t].duration_ns for t in computes[0].after), default=0)
    units = Counter[str]()
    for task in computes:
        units[task.resource] += task.duration_ns
    return max([*busy, head + max(units.values(), default=0)], default=0)


def solve_graph(
    problem: Problem,
    graph: TaskGraph,
    hint: Schedule | None,
    budget: Budget,
    rules: Rules | None = None,
    progress: Progress | None = None,
    deterministic: float | None = None,
) -> GraphResult:
    """Schedule a task graph: times, transfer order and addresses at once.

    Status OPTIMAL means that no schedule of this graph (compute order kept) is shorter. A
    ``hint`` must keep the rules; one that is too good to be true does not, and the graph is
    scheduled without it. ``deterministic`` limits CP-SAT's own count of work instead of
    seconds, so that a result with one worker is reproducible.
    """
    begun = time.monotonic()
    rules = rules or Rules()
    if not _may_fit(problem, graph, rules):
        return GraphResult(Status.INFEASIBLE, None, 0, 0.0)
    allowed = allowed_makespan_ns(problem, graph) if rules.budgets else inf
    if hint is not None and makespan_ns(graph, hint.start_ns) > allowed:
        hint = None
    lower = lower_bound_ns(graph) if rules == Rules() else 0
    upper = makespan_ns(graph, hint.start_ns) if hint else sum(t.duration_ns for t in graph.tasks)
    if hint is not None and upper == lower:
        return GraphResult(Status.OPTIMAL, hint, lower, 0.0)
    model = cp_model.CpModel()
    variables = make_variables(model, problem, graph, min(lower, upper), upper)
    add_rules(model, problem, graph, variables, rules)
    minimise_makespan(model, variables)
    if hint is not None:
        add_hint(model, problem, variables, hint)
    solver = _solver(budget, deterministic)
    code = solved_in_time(solver, model, _Watch(progress) if progress else None)
    seconds = time.monotonic() - begun
    if code == cp_model.INFEASIBLE and hint is not None:
        left = replace(budget, time_limit_s=budget.time_limit_s - seconds)
        return solve_graph(problem, graph, None, left, rules, progress, deterministic)
    if code == cp_model.INFEASIBLE:
        return GraphResult(Status.INFEASIBLE, None, 0, seconds)
    if code not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
        return GraphResult(Status.FEASIBLE, hint, lower, seconds)
    schedule = _schedule(solver, problem, variables)
    if code == cp_model.OPTIMAL:
        return GraphResult(Status.OPTIMAL, schedule, makespan_ns(graph, schedule.start_ns), seconds)
    return GraphResult(Status.FEASIBLE, schedule, max(lower, int(solver.best_objective_bound)), seconds)


def _may_fit(problem: Problem, graph: TaskGraph, rules: Rules) -> bool:
    """Whether every buffer fits a bank and the budgets leave time for the tasks: no schedule changes either."""
    largest_bank = max((size for _, size in problem.banks), default=0)
    if any(buffer.size_bytes > largest_bank for buffer in graph.buffers):
        return False  # CP-SAT takes no empty set of addresses
    return not rules.budgets or allowed_makespan_ns(problem, graph) >= 0


def _solver(budget: Budget, deterministic: float | None) -> cp_model.CpSolver:
    solver = cp_model.CpSolver()
    if deterministic is not None:
        solver.parameters.max_deterministic_time = deterministic
    solver.parameters.max_time_in_seconds = max(0.05, budget.time_limit_s)
    solver.parameters.num_workers = budget.workers
    solver.parameters.random_seed = budget.seed
    solver.parameters.catch_sigint_signal = False  # Ctrl-C is for Python, which cleans up
    solver.parameters.log_search_progress = log.isEnabledFor(logging.DEBUG)
    solver.parameters.log_to_stdout = False
    solver.log_callback = log.debug
    return solver


def _schedule(solver: cp_model.CpSolver, problem: Problem, v: Variables) -> Schedule:
    return Schedule(
        tuple(solver.value(task.start) for task in v.tasks),
        tuple(solver.value(buffer.address) * problem.unit_bytes for buffer in v.buffers),
    )
