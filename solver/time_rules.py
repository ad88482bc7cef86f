"""When and where tasks run: what each waits for, which resource it has to itself, and how long it takes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import replace
from itertools import pairwise

from ooc_solve.models.cost import compute_ns, interruption_ns, opening_ns, read_ns, sealing_ns, write_ns
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import RegionName, Task, TaskKind
from ooc_solve.solver.violations import Case, Rule, Violation, task_name


def precedence(case: Case) -> Iterator[Violation]:
    """Nothing starts before what it needs has ended; kernels start in graph order, those of a unit one by one."""
    for task in case.graph.tasks:
        for other in task.after:
            yield from _too_early(case, task, other, "whose result it needs")
    computes = case.graph.compute_tasks
    for earlier, later in pairwise(computes):
        if (early := case.start(earlier) - case.start(later)) > 0:
            message = f"{task_name(later)} starts {early} ns before kernel {earlier.index}, which comes first"
            yield Violation(Rule.PRECEDENCE, message, (later.index, earlier.index), at_ns=case.start(later))
    for unit in dict.fromkeys(task.resource for task in computes):
        for earlier, later in pairwise(task for task in computes if task.resource == unit):
            yield from _too_early(case, later, earlier.index, "the kernel before it")


def _too_early(case: Case, task: Task, other: int, reason: str) -> Iterator[Violation]:
    if (early := case.end_ns[other] - case.start(task)) > 0:
        message = f"{task_name(task)} starts {early} ns before the end of task {other}, {reason}"
        yield Violation(Rule.PRECEDENCE, message, (task.index, other), at_ns=case.start(task))


def resources(case: Case) -> Iterator[Violation]:
    """Every task runs on the resource its kind and store call for, and alone."""
    due_of = {region: _due_resource(case.problem, region) for region in (None, *case.problem.regions)}
    for task in case.graph.tasks:
        due = due_of[task.moved.region if task.moved else None]
        if task.transfer is not None and task.moved is None:
            due = case.problem.crypto_resource or due
        if task.transfer is None and case.geometry[task.stage].tiling.npu:
            due = "npu"
        if task.resource != due:
            message = f"{task_name(task)} must run on '{due}' (got '{task.resource}')"
            yield Violation(Rule.RESOURCE, message, (task.index,))
    for resource in dict.fromkeys(task.resource for task in case.graph.tasks):
        tasks = [task for task in case.graph.tasks if task.resource == resource]
        yield from _sharing(case, resource, tasks)


def _due_resource(problem: Problem, region: RegionName | None) -> str:
    """Where transfers to and from a region run, or with None the kernels."""
    if region is None:
        return problem.compute_resource
    return problem.resource_of(problem.target.stores[problem.store_index(region)])


def _sharing(case: Case, resource: str, tasks: list[Task]) -> Iterator[Violation]:
    running: Task | None = None
    for task in sorted(tasks, key=lambda task: (case.start(task), case.end_ns[task.index])):
        if running is not None and (common := case.end_ns[running.index] - case.start(task)) > 0:
            message = f"{task_name(task)} shares '{resource}' with task {running.index} for {common} ns"
            yield Violation(Rule.RESOURCE, message, (running.index, task.index), at_ns=case.start(task))
        if running is None or case.end_ns[task.index] > case.end_ns[running.index]:
            running = task


def durations(case: Case) -> Iterator[Violation]:
    """Every task takes the time that the cost model says; the first kernel to wait for a record checks it.

    What the CPU does takes longer by what the requests cost that complete meanwhile.
    """
    checked: set[int] = set()
    moments = _completions(case)
    known: dict[object, int] = {}  # transfers of one size take the same time
    for task in case.graph.tasks:
        alike = task.index if task.transfer is None else (task.kind, replace(task.transfer, offset=0))
        if alike not in known:
            known[alike] = _due_ns(case, task)
        due = known[alike]
        if task.kind is TaskKind.COMPUTE:
            for load in sorted(set(task.after) - checked):
                transfer = case.graph.tasks[load].transfer
                loaded = transfer is not None and case.graph.tasks[load].kind is TaskKind.LOAD
                due += opening_ns(case.problem.target, transfer) if transfer and loaded else 0
            checked |= set(task.after)
        if task.occupies_cpu:
            due = _with_interruptions(case, case.start(task), due, moments)
        if task.duration_ns != due:
            message = f"{task_name(task)} takes {due} ns (got {task.duration_ns})"
            yield Violation(Rule.DURATION, message, (task.index,), at_ns=case.start(task))


def _completions(case: Case) -> list[int]:
    """When requests complete: those of one transfer at equal distances, the last one at its end."""
    found = []
    for task in case.graph.tasks:
        requests = task.requests
        found += [case.start(task) + task.duration_ns * k // requests for k in range(1, requests + 1)]
    return sorted(found)


def _with_interruptions(case: Case, start_ns: int, duration_ns: int, moments: list[int]) -> int:
    """How long it takes the CPU to do what alone takes so long."""
    each = interruption_ns(case.problem.target)
    for moment in moments[bisect_right(moments, start_ns) :] if each else ():
        if moment >= start_ns + duration_ns:
            break
        duration_ns += each
    return duration_ns


def _due_ns(case: Case, task: Task) -> int:
    target = case.problem.target
    if task.transfer is None:
        geometry = case.geometry[task.stage]
        return compute_ns(target, geometry.tile_work(geometry.index(task.tile)))
    if task.moved is None:
        return (opening_ns if task.kind is TaskKind.DECRYPT else sealing_ns)(target, task.transfer)
    store = target.stores[case.problem.store_index(task.transfer.region)]
    size, segments = task.transfer.size_bytes, task.transfer.segments
    if task.kind is TaskKind.LOAD:
        return read_ns(target, store, size, segments)
    return write_ns(target, store, size, segments)
