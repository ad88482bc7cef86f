"""Kernels take longer by the requests that complete while they run, and by no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Network, Plan, TaskGraph
from ooc_solve.solver.clock import Clock, interrupted
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.listing import order_of, run, settle
from ooc_solve.solver.placement import place
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.solver.streams import earliest_times
from ooc_solve.solver.validate import Rule, validate


def ends(graph: TaskGraph, request_ns: int) -> dict[int, int]:
    """When the tasks end if channel after channel does its own, and the kernels one after the other."""
    clock, found = Clock(graph, request_ns), dict[int, int]()
    queue = {name: [t.index for t in graph.tasks if t.resource == name] for name in graph.resources}
    for tasks in filter(None, queue.values()):
        clock.start(tasks.pop(0), 0)
    while (ended := clock.end()) is not None:
        now, task = ended
        found[task] = now
        if rest := queue[graph.tasks[task].resource]:
            clock.start(rest.pop(0), now)
    return found


def loads_and_kernel(new_sketch: Callable[..., Any], loads_ns: tuple[int, ...], kernel_ns: int) -> TaskGraph:
    """Some loads, one after the other, beside one kernel, the last task."""
    sketch = new_sketch(("cpu", "io"))
    for ns in loads_ns:
        sketch.load(sketch.buffer(1), ns)
    sketch.compute(kernel_ns)
    graph: TaskGraph = sketch.graph()
    return graph


@pytest.mark.parametrize(
    ("loads_ns", "end_ns"),
    [
        ((), 100),
        ((30, 40), 114),
        ((30, 40, 35), 121),  # at 105: only because of the others is the kernel still running
        ((30, 40, 44), 114),  # at the moment when it ends
        ((100,), 100),
    ],
)
def test_requests_within_a_kernel_delay_it(
    loads_ns: tuple[int, ...], end_ns: int, new_sketch: Callable[..., Any]
) -> None:
    """A kernel of 100 ns takes 7 ns more per load that ends while it runs."""
    graph = loads_and_kernel(new_sketch, loads_ns, 100)
    kernel = len(loads_ns)
    assert ends(graph, 7)[kernel] == end_ns
    starts = [sum(loads_ns[:k]) for k in range(kernel)]
    assert interrupted(graph, (*starts, 0), 7).tasks[kernel].duration_ns == end_ns
    assert ends(graph, 0)[kernel] == 100


def test_every_request_of_a_transfer_counts(new_sketch: Callable[..., Any]) -> None:
    """Each of the four segments of a load counts that completes strictly within the kernel."""
    graph = loads_and_kernel(new_sketch, (80,), 60)
    load = graph.tasks[0]
    assert load.transfer is not None
    cut = replace(load.transfer, segments=4, segment_bytes=load.transfer.segment_bytes // 4)
    graph = replace(graph, tasks=(replace(load, transfer=cut), graph.tasks[1]))
    assert ends(graph, 10)[1] == 60 + 40
    assert interrupted(graph, (0, 0), 10).tasks[1].duration_ns == 100
    assert interrupted(graph, (0, 20), 10).tasks[1].duration_ns == 60 + 30  # not the one at 20
    assert ends(graph, 10)[0] == 80


@given(data=st.data(), request_ns=st.integers(1, 6))
@settings(max_examples=60, deadline=None)
def test_times_agree_with_durations(
    task_graphs: SearchStrategy[tuple[Problem, TaskGraph]], data: st.DataObject, request_ns: int
) -> None:
    """With the durations that a schedule's interruptions make, plain earliest times are the same again."""
    problem, graph = data.draw(task_graphs)
    placement = place(problem, graph, 2, 1)
    if placement is None:
        return
    start = run(order_of(graph, placement), request_ns=request_ns)
    settled = settle(graph, start, placement.address, request_ns)
    longer = interrupted(graph, settled.start_ns, request_ns)
    for early, late in pairwise(longer.compute_tasks):
        end = settled.start_ns[early.index] + early.duration_ns
        assert end <= settled.start_ns[late.index]
    plain = settle(longer, settled.start_ns, placement.address)
    assert plain.start_ns == settled.start_ns
    assert all(a.duration_ns <= b.duration_ns for a, b in zip(graph.tasks, longer.tasks, strict=True))


@pytest.fixture(scope="module")
def interrupted_plan(tiny_network: Network) -> tuple[Problem, Plan]:
    """A plan that overlaps kernels and transfers, on a board whose requests take 2 us."""
    target = load_target("u585-octal")
    runtime = replace(target.runtime, cycles_per_request=2e-6 * target.board.clock_hz)
    problem = Problem(tiny_network, replace(target, runtime=runtime), 6 << 10, IoPlace.STORAGE)
    plan = SCHEDULERS["cp-sat"](problem, Budget(1.0, 1, 1)).plan
    assert plan is not None
    return problem, plan


def test_plans_count_interruptions(interrupted_plan: tuple[Problem, Plan]) -> None:
    """Plans hold, and one that leaves out its interruptions, or one too many, is told by the validator."""
    problem, plan = interrupted_plan
    each = interruption_ns(problem.target)
    assert each == 2_000
    assert validate(problem, plan) == ()
    assert earliest_times(plan.graph, plan.streams) == plan.schedule.start_ns
    alone = expand(problem, plan.selection)
    found = [k.index for k in alone.compute_tasks if plan.graph.tasks[k.index].duration_ns > k.duration_ns]
    assert found
    for kernel in found[:3]:
        for change_ns in (-each, each):
            tasks = list(plan.graph.tasks)
            tasks[kernel] = replace(tasks[kernel], duration_ns=tasks[kernel].duration_ns + change_ns)
            wrong = replace(plan, graph=replace(plan.graph, tasks=tuple(tasks)))
            assert Rule.DURATION in {violation.rule for violation in validate(problem, wrong)}
