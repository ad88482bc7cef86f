"""Plans as the runtime steps through them, against times worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ooc_solve.models.problem import Problem
from ooc_solve.models.stepping import stepped_makespan_ns
from ooc_solve.models.vocabulary import InternalError, Plan, Selection, Streams, Target, TaskKind


@pytest.fixture
def plans(
    tiny_problem: Problem, tiny_selection: Selection, planned: Callable[[Problem, Selection, bool], Plan]
) -> tuple[Plan, Plan]:
    """A plan whose tasks run one by one, and one whose tasks start as early as their waits allow."""
    return planned(tiny_problem, tiny_selection, False), planned(tiny_problem, tiny_selection, True)


def _makespan(plan: Plan) -> int:
    return max(plan.schedule.start_ns[task.index] + task.duration_ns for task in plan.graph.tasks)


def test_stepping_lies_between_the_plan_and_no_overlap(plans: tuple[Plan, Plan], tiny_target: Target) -> None:
    """Looking after transfers between kernels only costs time, but less than no overlap at all."""
    serial, overlapping = map(_makespan, plans)
    stepped = stepped_makespan_ns(plans[1], tiny_target)
    assert overlapping <= stepped <= serial
    assert overlapping < serial


def test_without_overlap_nothing_is_lost(plans: tuple[Plan, Plan], tiny_target: Target) -> None:
    """Where every task waits for the one before, stepping takes the sum of all durations, to a ns per segment."""
    plan = plans[0]
    tasks = plan.graph.tasks
    lane = {index: r for r, order in enumerate(plan.streams.order) for index in order}
    done = [0] * len(plan.streams.order)
    required = []
    for task in tasks:
        required.append(tuple(done))
        done[lane[task.index]] += 1
    chained = replace(plan, streams=Streams(plan.streams.order, tuple(required)))
    segments = sum(task.transfer.segments for task in tasks if task.transfer)
    total = sum(task.duration_ns for task in tasks)
    assert total - segments <= stepped_makespan_ns(chained, tiny_target) <= total


def test_second_load_waits_for_the_kernel(plans: tuple[Plan, Plan], tiny_target: Target) -> None:
    """Two loads of 10 ns that may run beside a kernel of 100 ns: the second starts after it, 110 ns in all."""
    plan = plans[0]
    kernel = next(t for t in plan.graph.tasks if t.kind is TaskKind.COMPUTE)
    load = next(
        t for t in plan.graph.tasks if t.kind is TaskKind.LOAD and t.transfer and not t.transfer.checked
    )
    assert load.transfer is not None
    move = replace(load.transfer, segment_bytes=32, segments=1, pitch=0)
    tasks = (
        replace(kernel, index=0, duration_ns=100, after=()),
        replace(load, index=1, duration_ns=10, transfer=move),
        replace(load, index=2, duration_ns=10, transfer=move),
    )
    streams = Streams(((0,), (1, 2)), ((0, 0), (0, 0), (0, 1)))
    graph = replace(plan.graph, tasks=tasks)
    assert stepped_makespan_ns(replace(plan, graph=graph, streams=streams), tiny_target) == 110


def test_deadlock_is_said(plans: tuple[Plan, Plan], tiny_target: Target) -> None:
    """Streams that wait for each other are an error, not an endless loop."""
    plan = plans[0]
    never = tuple(tuple(9_999 for _ in row) for row in plan.streams.required)
    with pytest.raises(InternalError, match="deadlock"):
        stepped_makespan_ns(replace(plan, streams=Streams(plan.streams.order, never)), tiny_target)
