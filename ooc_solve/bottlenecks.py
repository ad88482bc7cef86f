"""What a plan spends its time on: its critical path, and the same plan timed again with other parts.

The critical path is a chain of tasks without a gap from the start to the end of the run: each starts
when the one before it ends, because it waits for it or because the scheduler's rule has it wait. A shorter task on it would shorten the run, until
another chain is longest. Transfers on it are put down to memory when they could begin only after other
tiles had left their bytes, otherwise to IO; opening and sealing records, on the CPU or on an engine, to crypto.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from enum import Enum

from ooc_solve.models.vocabulary import Plan, Streams, Task, TaskGraph, TaskKind
from ooc_solve.solver.streams import earliest_times

SAME_PARTS = "same parts"
"""What `retimed` calls the plan without a change."""


class Cause(Enum):
    """What a stretch of the critical path is put down to."""

    COMPUTE = "compute"
    CRYPTO = "crypto"
    IO = "IO"
    MEMORY = "memory"


class _Wait(Enum):
    """Why a task starts when another ends; the strongest reason first."""

    DATA = 0  # it needs its result
    ORDER = 1  # they share a resource
    MEMORY = 2  # it needs its bytes
    RULE = 3  # the scheduler has it wait


@dataclass(frozen=True, slots=True)
class Critical:
    """A task of the critical path and what its time is put down to."""

    task: Task
    cause: Cause


@dataclass(frozen=True, slots=True)
class Retimed:
    """The same tiles in the same order with other parts: how long they take then."""

    change: str
    latency_ns: int


def critical_path(plan: Plan) -> tuple[Critical, ...]:
    """The tasks that make the run as long as it is, in order of time.

    Raises
    ------
    ValueError
        If a task starts when no other ends, which no scheduler plans.
    """
    chain: list[tuple[Task, _Wait | None]] = []
    ending: dict[int, list[int]] = {}
    for index, start in enumerate(plan.schedule.start_ns):
        ending.setdefault(start + plan.graph.tasks[index].duration_ns, []).append(index)
    current = ending[max(ending)][0] if ending else None
    while current is not None:
        before, wait = _cause_of_start(plan, ending, current)
        chain.append((plan.graph.tasks[current], wait))
        current = before
    return tuple(_with_causes(reversed(chain)))


def _cause_of_start(plan: Plan, ending: dict[int, list[int]], index: int) -> tuple[int | None, _Wait | None]:
    """The task whose end lets this one start, and why; None at time zero."""
    start, task = plan.schedule.start_ns[index], plan.graph.tasks[index]
    if start == 0:
        return None, None
    awaited = set(_awaited(plan, task))
    binding = [other for other in ending.get(start, ()) if other != index]
    if not binding:
        raise ValueError(f"task {index} starts at {start} ns, when no other ends")

    def why(other: int) -> _Wait:
        if other in task.after:
            return _Wait.DATA
        if other not in awaited:
            return _Wait.RULE
        return _Wait.ORDER if plan.graph.tasks[other].resource == task.resource else _Wait.MEMORY

    chosen = min(binding, key=lambda other: (why(other).value, other))
    return chosen, why(chosen)


def _awaited(plan: Plan, task: Task) -> Iterator[int]:
    """The last command of each stream that a task waits for."""
    for order, count in zip(plan.streams.order, plan.streams.required[task.index], strict=True):
        if count:
            yield order[count - 1]


def _with_causes(chain: Iterator[tuple[Task, _Wait | None]]) -> Iterator[Critical]:
    """What each task is put down to; a row of transfers has the cause of the first."""
    last: Critical | None = None
    for task, wait in chain:
        if task.moved is None:
            cause = Cause.CRYPTO if is_cipher(task) else Cause.COMPUTE
        elif wait is _Wait.ORDER and last is not None and last.task.moved is not None:
            cause = last.cause
        else:
            cause = Cause.MEMORY if wait is _Wait.MEMORY else Cause.IO
        last = Critical(task, cause)
        yield last


def is_cipher(task: Task) -> bool:
    """Whether a task opens or seals records, on the CPU or on an engine."""
    return task.kind in (TaskKind.DECRYPT, TaskKind.ENCRYPT)


def critical_ns(path: tuple[Critical, ...]) -> dict[Cause, int]:
    """Time of the path by cause; the sum is the length of the run."""
    found = dict.fromkeys(Cause, 0)
    for step in path:
        found[step.cause] += step.task.duration_ns
    return found


def critical_ns_of_layers(path: tuple[Critical, ...], layers: int) -> tuple[dict[Cause, int], ...]:
    """Time of the path by layer and cause."""
    found = tuple(dict.fromkeys(Cause, 0) for _ in range(layers))
    for step in path:
        found[max(step.task.stage, 0)][step.cause] += step.task.duration_ns
    return found


# ------------------------------------------------------------------------------ timed again


def retimed(plan: Plan) -> tuple[Retimed, ...]:
    """The plan as it is, with faster storage, with faster kernels, and with memory that is never in the way.

    Where records are opened or sealed, with a faster cipher as well.

    Every task starts as soon as its waits allow; a rule of the scheduler that has it wait longer does not
    count. Nothing is decided anew: tiles and order stay, so that solving again could only be better.
    """
    faster_cipher: tuple[Retimed, ...] = ()
    if any(map(is_cipher, plan.graph.tasks)):
        faster_cipher = (Retimed("cipher twice as fast", _with_durations_halved(plan, is_cipher)),)
    return (
        Retimed(SAME_PARTS, _makespan_ns(plan.graph, plan.streams)),
        Retimed("storage twice as fast", _with_durations_halved(plan, lambda task: task.moved is not None)),
        Retimed("kernels twice as fast", _with_durations_halved(plan, lambda task: task.transfer is None)),
        *faster_cipher,
        Retimed("SRAM never in the way", _without_memory_waits(plan)),
    )


def _with_durations_halved(plan: Plan, is_faster: Callable[[Task], bool]) -> int:
    def halved(task: Task) -> Task:
        return replace(task, duration_ns=-(-task.duration_ns // 2)) if is_faster(task) else task

    return _makespan_ns(replace(plan.graph, tasks=tuple(map(halved, plan.graph.tasks))), plan.streams)


def _makespan_ns(graph: TaskGraph, streams: Streams) -> int:
    starts = earliest_times(graph, streams)
    return max((start + task.duration_ns for start, task in zip(starts, graph.tasks, strict=True)), default=0)


def _without_memory_waits(plan: Plan) -> int:
    """Length of the run when tasks wait for results and for their turn, not for room."""
    ends = [0] * len(plan.graph.tasks)
    free_at = dict.fromkeys(plan.graph.resources, 0)
    turns = {task: turn for order in plan.streams.order for turn, task in enumerate(order)}
    for index in sorted(range(len(ends)), key=lambda t: (plan.schedule.start_ns[t], turns[t])):
        task = plan.graph.tasks[index]
        start = max((ends[other] for other in task.after), default=0)
        ends[index] = max(start, free_at[task.resource]) + task.duration_ns
        free_at[task.resource] = ends[index]
    return max(ends, default=0)
