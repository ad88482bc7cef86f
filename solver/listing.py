"""List scheduling over placed buffers: which transfer goes next, and when everything happens."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from ooc_solve.models.vocabulary import Schedule, TaskGraph, TaskKind
from ooc_solve.solver.clock import Clock
from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.placement import Placement, buffer_uses
from ooc_solve.solver.streams import earliest_times, ordered_conflicts, synchronize

Priority = Callable[["Order", int], tuple[int, ...]]
"""Sort key of a waiting transfer: the smallest goes first."""

LAST = 1 << 60


@dataclass(frozen=True, slots=True)
class Order:
    """A task graph with every precedence that data and addresses impose.

    ``step`` is the compute step a task belongs to: its own, the first that uses what it
    loads, or the one that produced what it stores. ``due`` is the first compute step that
    waits for it, directly or through other transfers.
    """

    graph: TaskGraph
    before: tuple[frozenset[int], ...]
    step: tuple[int, ...]
    due: tuple[int, ...]


def order_of(graph: TaskGraph, placement: Placement) -> Order:
    """Precedences of a placement, from the sequence in which it handed out the bytes."""
    uses = buffer_uses(graph)
    step = [0] * len(graph.tasks)
    compute = 0
    for task in graph.tasks:
        if task.kind is TaskKind.COMPUTE:
            step[task.index] = compute
            compute += 1
    keys: list[tuple[int, int, int]] = [(0, 0, 0)] * len(graph.tasks)
    for task in graph.tasks:
        if task.is_inbound:
            buffer = task.writes[0].buffer
            step[task.index] = uses[buffer].first
            keys[task.index] = (placement.opens[buffer], 0, task.index)
        elif task.is_outbound:
            step[task.index] = step[task.after[-1]]
            keys[task.index] = (step[task.index], 2, task.index)
        else:
            keys[task.index] = (step[task.index], 1, task.index)
    for task in graph.tasks:  # a load of spilled data comes after the stores it reads, what opens it after it
        if task.is_inbound:
            for other in task.after:
                keys[task.index] = max(keys[task.index], (*keys[other][:2], task.index))
    sequence = sorted(range(len(graph.tasks)), key=lambda t: keys[t])
    unit = {name: -1 - number for number, name in enumerate(graph.resources)}
    lane = [unit[t.resource] if t.kind is TaskKind.COMPUTE else t.index for t in graph.tasks]
    before = [
        frozenset(found | set(graph.tasks[t].after))
        for t, found in enumerate(ordered_conflicts(graph, placement.address, sequence, lane))
    ]
    due = _due(graph, before, step, sequence)
    return Order(graph, tuple(before), tuple(step), tuple(due))


def _due(
    graph: TaskGraph, before: Sequence[frozenset[int]], step: Sequence[int], sequence: Sequence[int]
) -> list[int]:
    due = [LAST] * len(graph.tasks)
    for task in reversed(sequence):
        if graph.tasks[task].kind is TaskKind.COMPUTE:
            due[task] = step[task]
        for other in before[task]:
            due[other] = min(due[other], due[task])
    return due


def by_due_date(order: Order, task: int) -> tuple[int, ...]:
    """Most urgent first: the transfer that the earliest compute step waits for."""
    return order.due[task], order.step[task], task


def loads_first(order: Order, task: int) -> tuple[int, ...]:
    """Loads in order of use, stores when no load is ready."""
    return int(order.graph.tasks[task].is_outbound), order.step[task], task


def stores_first(order: Order, task: int) -> tuple[int, ...]:
    """Finished tiles leave at once, loads in order of use otherwise."""
    return int(not order.graph.tasks[task].is_outbound), order.step[task], task


def run(
    order: Order,
    priority: Priority = by_due_date,
    gate: Callable[[Order, int], int] | None = None,
    request_ns: int = 0,
) -> list[int]:
    """Start times (ns) when each resource takes the first ready task by priority.

    Compute tasks start in graph order, each on its unit. ``gate`` names for a transfer the number of compute
    steps that must have finished before it may start (0: none). ``request_ns`` is as in `clock.Clock`.
    """
    tasks = order.graph.tasks
    waiting = [len(before) for before in order.before]
    after: list[list[int]] = [[] for _ in tasks]
    for task, before in enumerate(order.before):
        for other in before:
            after[other].append(task)
    gated: dict[int, list[int]] = {}
    for transfer in tasks:
        if gate is not None and transfer.kind is not TaskKind.COMPUTE:
            steps = gate(order, transfer.index)
            if steps > 0:
                waiting[transfer.index] += 1
                gated.setdefault(steps, []).append(transfer.index)
    computes = [task.index for task in tasks if task.kind is TaskKind.COMPUTE]
    ready: dict[str, list[tuple[tuple[int, ...], int]]] = {name: [] for name in order.graph.resources}
    start = [-1] * len(tasks)
    free_at = dict.fromkeys(order.graph.resources, True)
    clock = Clock(order.graph, request_ns)
    started_steps = done_steps = 0
    now = 0

    def release(task: int) -> None:
        waiting[task] -= 1
        if waiting[task] == 0 and tasks[task].kind is not TaskKind.COMPUTE:
            heapq.heappush(ready[tasks[task].resource], (priority(order, task), task))

    for first in tasks:
        if waiting[first.index] == 0 and first.kind is not TaskKind.COMPUTE:
            heapq.heappush(ready[first.resource], (priority(order, first.index), first.index))
    while True:
        keep_time()
        waits = False
        while not waits:  # a kernel that starts lets the next one start on another unit
            waits = True
            for resource in order.graph.resources:
                if not free_at[resource]:
                    continue
                step = computes[started_steps] if started_steps < len(computes) else -1
                queue = ready[resource]
                chosen = -1
                own = step >= 0 and tasks[step].resource == resource
                if own and waiting[step] == 0 and not (queue and queue[0][0][0] < 0):
                    chosen, waits = step, False
                    started_steps += 1
                elif queue:
                    chosen = heapq.heappop(queue)[1]
                if chosen >= 0:
                    start[chosen] = now
                    free_at[resource] = False
                    clock.start(chosen, now)
        ended = clock.end()
        if ended is None:
            break
        now, finished = ended
        free_at[tasks[finished].resource] = True
        if tasks[finished].kind is TaskKind.COMPUTE:
            done_steps += 1
            for task in gated.get(done_steps, ()):
                release(task)
        for task in after[finished]:
            release(task)
    if min(start, default=0) < 0:
        raise ValueError("list scheduling deadlocked")
    return start


def settle(
    graph: TaskGraph, start_ns: Sequence[int], address: Sequence[int], request_ns: int = 0
) -> Schedule:
    """The schedule in which every task starts as early as its order and its bytes allow.

    ``request_ns`` is as in `clock.Clock`.
    """
    rough = Schedule(tuple(start_ns), tuple(address))
    return Schedule(earliest_times(graph, synchronize(graph, rough), request_ns), rough.address)


def makespan_ns(graph: TaskGraph, start_ns: Sequence[int]) -> int:
    """End of the last task."""
    return max((start_ns[task.index] + task.duration_ns for task in graph.tasks), default=0)
