"""A plan on the clock: what each task is called, when each buffer holds its bytes, how full SRAM is."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Buffer, Plan, Schedule, Task, TaskGraph, TaskKind

Span = tuple[int, int]
"""Half-open interval of time, ns."""


def span_of(plan: Plan, task: Task) -> Span:
    """When a task runs."""
    start = plan.schedule.start_ns[task.index]
    return start, start + task.duration_ns


def layer_of(problem: Problem, plan: Plan, stage: int) -> str:
    """Name of the operator that a plan runs as a stage; what belongs to none counts as the first one's."""
    return ordered(problem, plan.selection.order).network.ops[max(stage, 0)].name


def task_label(problem: Problem, plan: Plan, task: Task) -> str:
    """What a task does, for people: ``conv_1 tile 3``, ``load weights 0.0``, ``store conv_1 rows 0:8``."""
    if task.transfer is None:
        return f"{layer_of(problem, plan, task.stage)} tile {task.tile}"
    return f"{task.kind.value} {moved_buffer(plan, task).label}"


def crypto_ns_of_layers(plan: Plan) -> tuple[int, ...]:
    """What opening and sealing take for each stage, on the CPU or on an engine."""
    found = [0] * len(plan.selection.tilings)
    for task in plan.graph.tasks:
        if task.kind in (TaskKind.DECRYPT, TaskKind.ENCRYPT):
            found[max(task.stage, 0)] += task.duration_ns
    return tuple(found)


def moved_buffer(plan: Plan, task: Task) -> Buffer:
    """The buffer that a transfer fills or empties."""
    return plan.graph.buffers[(*task.reads, *task.writes)[0].buffer]


def lives_ns(plan: Plan) -> tuple[Span, ...]:
    """For each buffer of a plan, when it is in use (`buffer_lives_ns`)."""
    return buffer_lives_ns(plan.graph, plan.schedule)


def end_ns(graph: TaskGraph, schedule: Schedule) -> int:
    """When the last task has ended."""
    ends = (start + task.duration_ns for task, start in zip(graph.tasks, schedule.start_ns, strict=True))
    return max(ends, default=0)


def buffer_lives_ns(graph: TaskGraph, schedule: Schedule) -> tuple[Span, ...]:
    """For each buffer, from the first start to the last end of a task that touches it.

    What is pinned lives as long as the run, and what nobody touches not at all.
    """
    return lives_in_use(
        (
            (start, start + task.duration_ns, touched_buffers(task))
            for task, start in zip(graph.tasks, schedule.start_ns, strict=True)
        ),
        [buffer.pinned for buffer in graph.buffers],
    )


def touched_buffers(task: Task) -> tuple[int, ...]:
    """Numbers of the buffers that a task reads or writes, each once."""
    return tuple(sorted({touch.buffer for touch in (*task.reads, *task.writes)}))


def lives_in_use(uses: Iterable[tuple[int, int, Sequence[int]]], pinned: Sequence[bool]) -> tuple[Span, ...]:
    """For each buffer, from the first start to the last end of its ``uses`` (start, end, buffers touched).

    What is pinned lives from time 0 to the last end, and what nobody touches not at all.
    """
    lives: list[Span | None] = [None] * len(pinned)
    makespan = 0
    for start, end, buffers in uses:
        makespan = max(makespan, end)
        for buffer in buffers:
            known = lives[buffer] or (start, end)
            lives[buffer] = min(known[0], start), max(known[1], end)
    return tuple(
        (0, makespan) if always else life or (0, 0) for always, life in zip(pinned, lives, strict=True)
    )


def occupied_bytes(sizes: Iterable[int], lives: Iterable[Span]) -> Iterator[tuple[int, int]]:
    """Yield ``(time in ns, bytes of all buffers that live from then on)`` whenever the sum changes."""
    changes: dict[int, int] = {}
    for size, (start, end) in zip(sizes, lives, strict=True):
        changes[start] = changes.get(start, 0) + size
        changes[end] = changes.get(end, 0) - size
    held = 0
    for time, change in sorted(changes.items()):
        held += change
        if change:
            yield time, held


def layer_spans(plan: Plan) -> tuple[tuple[int, Span], ...]:
    """For each stage in order of time, from the start of its first kernel to the end of its last."""
    found: dict[int, Span] = {}
    for task in plan.graph.tasks:
        if task.kind is TaskKind.COMPUTE:
            start, end = span_of(plan, task)
            known = found.get(task.stage, (start, end))
            found[task.stage] = min(known[0], start), max(known[1], end)
    return tuple(sorted(found.items(), key=lambda item: item[1]))
