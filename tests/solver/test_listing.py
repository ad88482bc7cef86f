"""List schedules keep every rule that the tile-level model has."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations, pairwise
from typing import Any

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, TaskGraph, TaskKind
from ooc_solve.solver import listing
from ooc_solve.solver.cpsat import lower_bound_ns, solve_graph
from ooc_solve.solver.listing import Order, makespan_ns, order_of, run, settle
from ooc_solve.solver.placement import place

Case = tuple[Problem, TaskGraph]
Problems = Callable[..., SearchStrategy[Problem]]
TilesOf = Callable[[Problem], TaskGraph]

PRIORITIES = (listing.by_due_date, listing.loads_first, listing.stores_first)
WAYS = st.tuples(st.integers(0, 6), st.integers(0, 3))


def check(graph: TaskGraph, start: list[int] | tuple[int, ...], address: tuple[int, ...]) -> None:
    """Order of kernels on each unit and of their starts, precedence, resources, and buffers apart in time or in space."""
    ends = [begin + task.duration_ns for begin, task in zip(start, graph.tasks, strict=True)]
    steps = [task.index for task in graph.compute_tasks]
    assert all(start[a] <= start[b] for a, b in pairwise(steps))
    units = {graph.tasks[step].resource for step in steps}
    alone = [[step for step in steps if graph.tasks[step].resource == unit] for unit in units]
    assert all(ends[a] <= start[b] for own in alone for a, b in pairwise(own))
    assert all(ends[other] <= start[t.index] for t in graph.tasks for other in t.after)
    for a, b in combinations(graph.tasks, 2):
        if a.resource == b.resource:
            assert ends[a.index] <= start[b.index] or ends[b.index] <= start[a.index]
    lives = []
    for buffer in graph.buffers:
        users = [
            t.index
            for t in graph.tasks
            if any(touch.buffer == buffer.index for touch in (*t.reads, *t.writes))
        ]
        life = (min((start[t] for t in users), default=0), max((ends[t] for t in users), default=0))
        lives.append((0, max(ends)) if buffer.pinned else life)
    for one, other in combinations(graph.buffers, 2):
        low, high = address[one.index], address[other.index]
        apart = low + one.size_bytes <= high or high + other.size_bytes <= low
        (begin, end), (first, last) = lives[one.index], lives[other.index]
        assert apart or end <= first or last <= begin, (one.index, other.index)


def check_all(problem: Problem, graph: TaskGraph, way: tuple[int, int]) -> None:
    """Run every priority on one placement, before and after settling."""
    placement = place(problem, graph, *way)
    assume(placement is not None)
    assert placement is not None
    order = order_of(graph, placement)
    for priority in PRIORITIES:
        start = run(order, priority)
        check(graph, start, placement.address)
        settled = settle(graph, start, placement.address)
        check(graph, settled.start_ns, placement.address)
        assert makespan_ns(graph, settled.start_ns) <= makespan_ns(graph, start)
        assert lower_bound_ns(graph) <= makespan_ns(graph, settled.start_ns)


@given(data=st.data(), way=WAYS)
@settings(max_examples=300)
def test_hand_built_graphs(
    data: st.DataObject, way: tuple[int, int], task_graphs: SearchStrategy[Case]
) -> None:
    """No rule is broken, whichever transfer goes first."""
    problem, graph = data.draw(task_graphs)
    check_all(problem, graph, way)


@given(data=st.data(), way=WAYS)
@settings(max_examples=100)
def test_expanded_networks(
    data: st.DataObject, way: tuple[int, int], problems: Problems, tiles_of: TilesOf
) -> None:
    """The same for the tiles of random networks."""
    problem = data.draw(problems())
    graph = tiles_of(problem)
    assume(len(graph.tasks) < 300)
    check_all(problem, graph, way)


@given(data=st.data())
@settings(max_examples=60)
def test_never_better_than_the_optimum(data: st.DataObject, task_graphs: SearchStrategy[Case]) -> None:
    """A list schedule handed to the tile-level model as hint is never beaten by a worse answer."""
    problem, graph = data.draw(task_graphs)
    placement = place(problem, graph, 3, 1)
    assume(placement is not None)
    assert placement is not None
    hint = settle(graph, run(order_of(graph, placement)), placement.address)
    free, hinted = (solve_graph(problem, graph, known, Budget(30.0, 1, 1)) for known in (None, hint))
    assert free.schedule is not None
    assert hinted.schedule is not None
    optimum = makespan_ns(graph, free.schedule.start_ns)
    assert makespan_ns(graph, hinted.schedule.start_ns) == optimum <= makespan_ns(graph, hint.start_ns)


def test_a_gate_holds_transfers_back(new_problem: Callable[..., Problem], new_sketch: Any) -> None:
    """A load that has to wait for one step begins when the step has ended, though its bytes are free before."""
    sketch = new_sketch()
    tiles = [sketch.buffer(2) for _ in range(2)]
    loads = []
    for tile in tiles:
        loads.append(sketch.load(tile, 2))
        sketch.compute(4, (tile,), (), (loads[-1],))
    graph = sketch.graph()
    placement = place(new_problem((4,)), graph, 5, 0)
    assert placement is not None
    order = order_of(graph, placement)

    def gate(order: Order, task: int) -> int:
        return order.step[task]

    assert [run(order)[load] for load in loads] == [0, 2]
    assert [run(order, gate=gate)[load] for load in loads] == [0, 6]


def test_priorities_decide_which_transfer_goes_first(
    new_problem: Callable[..., Problem], new_sketch: Any
) -> None:
    """With a finished tile and a load waiting for one channel, each priority picks as its name says."""
    sketch = new_sketch()
    x, y, z = sketch.buffer(1), sketch.buffer(1), sketch.buffer(1)
    blocker, late = sketch.buffer(1), sketch.buffer(1)
    first = sketch.compute(3, (), (y,))
    store = sketch.store(y, 2, first)
    second = sketch.compute(1, (x,), (z,), (sketch.load(x, 3),))
    third = sketch.compute(1, (blocker, late), (), (sketch.load(blocker, 5), sketch.load(late, 2)))
    graph = sketch.graph()
    placement = place(new_problem((5,)), graph, 5, 2)
    assert placement is not None
    order = order_of(graph, placement)
    assert graph.tasks[store].kind is TaskKind.STORE
    assert run(order, listing.stores_first)[store] == 3
    assert run(order, listing.loads_first)[store] == 10
    assert run(order, listing.by_due_date)[second] == 3
    assert run(order, listing.by_due_date)[third] == run(order, listing.loads_first)[third] == 10
