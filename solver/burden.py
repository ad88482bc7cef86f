"""Which layer a figure of a plan is most due to: where to look when a budget fails."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from ooc_solve.models.energy import Rates, nanojoules
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Objective, Plan, Task, TaskKind
from ooc_solve.solver.figures import compute_ns, traffic_of


def heaviest(problem: Problem, plan: Plan, aim: Objective) -> tuple[str, int]:
    """The layer with the largest share of a figure, and that share in ns, nJ or bytes written."""
    shares = {Objective.LATENCY: _spent_ns, Objective.ENERGY: _spent_nj, Objective.WEAR: _written}[aim]
    found = shares(problem, plan)
    stage = max(range(len(found)), key=lambda s: found[s])
    return ordered(problem, plan.selection.order).network.ops[stage].name, found[stage]


def _tasks_by_stage(problem: Problem, plan: Plan) -> list[list[Task]]:
    found: list[list[Task]] = [[] for _ in problem.network.ops]
    for task in plan.graph.tasks:
        found[max(task.stage, 0)].append(task)
    return found


def _written(problem: Problem, plan: Plan) -> list[int]:
    return [
        sum(task.transfer.size_bytes for task in tasks if task.transfer and task.kind is TaskKind.STORE)
        for tasks in _tasks_by_stage(problem, plan)
    ]


def _spent_ns(problem: Problem, plan: Plan) -> list[int]:
    """By how much kernels end later than those before them; what follows the last one is its layer's."""
    spent, ended, last = [0] * len(problem.network.ops), 0, 0
    for task in plan.graph.compute_tasks:
        last, end = max(task.stage, 0), plan.schedule.start_ns[task.index] + task.duration_ns
        spent[last] += max(0, end - ended)
        ended = max(ended, end)
    spent[last] += plan.figures.latency_ns - ended
    return spent


def _spent_nj(problem: Problem, plan: Plan) -> list[int]:
    rates = Rates.of(problem.target)

    def picojoules(tasks: list[Task], spent_ns: int) -> Fraction:
        own = replace(plan.graph, tasks=tuple(tasks), regions=())  # the note in a ring is no layer's
        return rates.per_ns * spent_ns + rates.fixed_pj(compute_ns(own), traffic_of(problem, own))

    shares = zip(_tasks_by_stage(problem, plan), _spent_ns(problem, plan), strict=True)
    return [nanojoules(picojoules(tasks, spent)) for tasks, spent in shares]
