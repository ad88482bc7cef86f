"""Rules of the tile-level model: one function per rule, named as in FORMULATION.md."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import pairwise

from ortools.sat.python import cp_model

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import TaskGraph
from ooc_solve.solver.allowance import within_writes
from ooc_solve.solver.figures import compute_ns, traffic_of
from ooc_solve.solver.variables import Variables


@dataclass(frozen=True, slots=True)
class Rules:
    """Which groups of rules are active; switch some off to study what they cost."""

    order: bool = True
    dependency: bool = True
    channels: bool = True
    memory: bool = True
    budgets: bool = True


def compute_order(model: cp_model.CpModel, graph: TaskGraph, v: Variables) -> None:
    """Compute tasks start in graph order, on one unit one after the other."""
    computes = graph.compute_tasks
    for before, after in pairwise(computes):
        if before.resource != after.resource:
            model.add(v.tasks[before.index].start <= v.tasks[after.index].start)
    for unit in dict.fromkeys(task.resource for task in computes):
        own = [v.tasks[task.index] for task in computes if task.resource == unit]
        for earlier, later in pairwise(own):
            model.add(earlier.end <= later.start)


def data_dependency(model: cp_model.CpModel, graph: TaskGraph, v: Variables) -> None:
    """A task starts when every task whose result it needs has ended."""
    for task in graph.tasks:
        for other in task.after:
            model.add(v.tasks[other].end <= v.tasks[task.index].start)


def channel_exclusive(model: cp_model.CpModel, graph: TaskGraph, v: Variables) -> None:
    """Tasks of one resource do not overlap in time."""
    for resource in graph.resources:
        model.add_no_overlap([v.tasks[t.index].interval for t in graph.tasks if t.resource == resource])


def buffers_apart(model: cp_model.CpModel, graph: TaskGraph, v: Variables) -> None:
    """Two buffers that live at the same time have no byte in common."""
    there = [var for var, buffer in zip(v.buffers, graph.buffers, strict=True) if buffer.held is None]
    if there:
        model.add_no_overlap_2d([b.lifetime for b in there], [b.extent for b in there])


def arena_capacity(model: cp_model.CpModel, problem: Problem, graph: TaskGraph, v: Variables) -> None:
    """The buffers alive at any time fit the arena (implied by `buffers_apart`, but propagates)."""
    model.add_cumulative(
        [b.lifetime for b in v.buffers],
        [b.size_bytes // problem.unit_bytes for b in graph.buffers],
        problem.arena_bytes // problem.unit_bytes,
    )


def write_budget(model: cp_model.CpModel, problem: Problem, graph: TaskGraph) -> None:
    """Bytes programmed per inference, and programs of one erase block, stay within the budget."""
    model.add(model.new_constant(int(within_writes(problem, graph))) == 1)


def latency_budget(model: cp_model.CpModel, problem: Problem, v: Variables) -> None:
    """The makespan stays within the budget."""
    if problem.limits.latency_ns is not None:
        model.add(v.makespan <= problem.limits.latency_ns)


def energy_budget(model: cp_model.CpModel, problem: Problem, graph: TaskGraph, v: Variables) -> None:
    """With the tasks known, the energy budget is one for the makespan."""
    traffic, only = traffic_of(problem, graph), replace(problem.limits, latency_ns=None)
    longest = only.makespan_ns(problem.target, compute_ns(graph), traffic)
    if longest is not None:
        model.add(v.makespan <= longest)


def ends_by_makespan(model: cp_model.CpModel, graph: TaskGraph, v: Variables) -> None:
    """Every task has ended at the makespan."""
    for task in graph.tasks:
        model.add(v.tasks[task.index].end <= v.makespan)


def add_rules(
    model: cp_model.CpModel, problem: Problem, graph: TaskGraph, v: Variables, rules: Rules
) -> None:
    """All rules, in the order of FORMULATION.md."""
    ends_by_makespan(model, graph, v)
    if rules.order:
        compute_order(model, graph, v)
    if rules.dependency:
        data_dependency(model, graph, v)
    if rules.channels:
        channel_exclusive(model, graph, v)
    if rules.memory:
        buffers_apart(model, graph, v)
        arena_capacity(model, problem, graph, v)
    if rules.budgets:
        write_budget(model, problem, graph)
        latency_budget(model, problem, v)
        energy_budget(model, problem, graph, v)
