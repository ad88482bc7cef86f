"""CP-SAT variables of the tile-level model, in small holders."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ortools.sat.python import cp_model

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Buffer, Schedule, Task, TaskGraph, TaskKind


@dataclass(frozen=True, slots=True)
class TaskVar:
    """Start of a task (ns) and its interval on its resource."""

    start: cp_model.IntVar
    duration: int
    interval: cp_model.IntervalVar

    @property
    def end(self) -> cp_model.LinearExprT:
        """End of the task (ns)."""
        return self.start + self.duration


@dataclass(frozen=True, slots=True)
class BufferVar:
    """Address (in units) and lifetime of a buffer, as the two sides of a rectangle."""

    address: cp_model.IntVar
    lifetime: cp_model.IntervalVar
    extent: cp_model.IntervalVar


@dataclass(frozen=True, slots=True)
class Variables:
    """All variables of one model."""

    tasks: tuple[TaskVar, ...]
    buffers: tuple[BufferVar, ...]
    makespan: cp_model.IntVar


def make_variables(
    model: cp_model.CpModel, problem: Problem, graph: TaskGraph, lower: int, upper: int
) -> Variables:
    """Create the variables for a makespan between ``lower`` and ``upper`` (ns)."""
    makespan = model.new_int_var(lower, upper, "makespan")
    tasks = tuple(_task_variable(model, task, upper) for task in graph.tasks)
    touching = touchers(graph)
    domain_of = addresses_of(problem)
    buffers = []
    for buffer in graph.buffers:
        size = buffer.size_bytes // problem.unit_bytes
        address = model.new_int_var_from_domain(domain_of(buffer), f"address {buffer.index}")
        length = model.new_int_var(0, upper, f"length {buffer.index}")
        if buffer.pinned:
            begin: cp_model.LinearExprT = 0
            end: cp_model.LinearExprT = makespan
        else:
            begins, ends = touching[buffer.index]
            begin = _extreme(model, [tasks[t].start for t in begins], upper, earliest=True)
            end = _extreme(model, [tasks[t].end for t in ends], upper, earliest=False)
        lifetime = model.new_interval_var(begin, length, end, f"life {buffer.index}")
        extent = model.new_fixed_size_interval_var(address, size, f"bytes {buffer.index}")
        buffers.append(BufferVar(address, lifetime, extent))
    return Variables(tasks, tuple(buffers), makespan)


def _extreme(
    model: cp_model.CpModel, times: list[cp_model.LinearExprT], upper: int, earliest: bool
) -> cp_model.LinearExprT:
    if len(times) == 1:
        return times[0]
    found = model.new_int_var(0, upper, "")
    (model.add_min_equality if earliest else model.add_max_equality)(found, times)
    return found


def _task_variable(model: cp_model.CpModel, task: Task, upper: int) -> TaskVar:
    start = model.new_int_var(0, max(0, upper - task.duration_ns), f"start {task.index}")
    interval = model.new_fixed_size_interval_var(start, task.duration_ns, f"task {task.index}")
    return TaskVar(start, task.duration_ns, interval)


def addresses_of(problem: Problem) -> Callable[[Buffer], cp_model.Domain]:
    """Gives the addresses (in units) at which a buffer of some size lies inside one bank."""

    def domain(buffer: Buffer) -> cp_model.Domain:
        if buffer.held is not None:
            return cp_model.Domain(0, 0)
        unit, low = problem.unit_bytes, 0
        intervals = []
        for _, size in problem.banks:
            if buffer.size_bytes <= size:
                intervals.append([low // unit, (low + size - buffer.size_bytes) // unit])
            low += size
        return cp_model.Domain.from_intervals(intervals)

    return domain


def touchers(graph: TaskGraph) -> list[tuple[list[int], list[int]]]:
    """For each buffer the tasks that may touch it first, and those that may touch it last.

    Compute tasks start in their order, so of those only the first counts, and the last of each unit; a load
    comes before all of them, a store after the one it waits for. What is opened or sealed is so between.
    """
    computes: list[list[int]] = [[] for _ in graph.buffers]
    loads: list[list[int]] = [[] for _ in graph.buffers]
    stores: list[list[int]] = [[] for _ in graph.buffers]
    opened: list[list[int]] = [[] for _ in graph.buffers]
    sealed: list[list[int]] = [[] for _ in graph.buffers]
    lists = {
        TaskKind.COMPUTE: computes,
        TaskKind.LOAD: loads,
        TaskKind.STORE: stores,
        TaskKind.DECRYPT: opened,
        TaskKind.ENCRYPT: sealed,
    }
    for task in graph.tasks:
        for buffer in {touch.buffer for touch in (*task.writes, *task.reads)}:
            lists[task.kind][buffer].append(task.index)
    found = []
    for buffer in range(len(graph.buffers)):
        first = loads[buffer] or computes[buffer][:1]
        last = list(stores[buffer])
        waits = max((graph.tasks[t].after[-1] for t in stores[buffer]), default=-1)
        latest = {graph.tasks[t].resource: t for t in computes[buffer]}
        last += [t for t in latest.values() if t > waits]
        found.append((first, last or sealed[buffer] or opened[buffer] or loads[buffer]))
    return found


def add_hint(model: cp_model.CpModel, problem: Problem, variables: Variables, schedule: Schedule) -> None:
    """Hand a known schedule to the solver, so that it never ends with a worse one."""
    for var, start in zip(variables.tasks, schedule.start_ns, strict=True):
        model.add_hint(var.start, start)
    for buffer, address in zip(variables.buffers, schedule.address, strict=True):
        model.add_hint(buffer.address, address // problem.unit_bytes)
    ends = [s + v.duration for s, v in zip(schedule.start_ns, variables.tasks, strict=True)]
    model.add_hint(variables.makespan, max(ends))
