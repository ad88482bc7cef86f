"""Schedules that count bytes keep every rule once they have addresses."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Schedule, TaskGraph
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.allocation_schedule import (
    QUICK,
    Packing,
    addresses,
    counted,
    packed_placement,
    packed_schedules,
)
from ooc_solve.solver.allocation_search import UNLIMITED
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.heuristics import finish, space_of
from ooc_solve.solver.listing import by_due_date, makespan_ns, order_of, run, settle
from ooc_solve.solver.search import COUNTING, evaluate, polish
from ooc_solve.solver.selection import Aim, SelectionModel
from ooc_solve.solver.validate import validate
from ooc_solve.solver.weaving import Policy, weave

Case = tuple[Problem, TaskGraph]
POLICIES = st.builds(Policy, st.integers(0, 5), st.sampled_from([1, 2, 9]), st.booleans())


@given(data=st.data(), policy=POLICIES)
@settings(max_examples=200)
def test_bytes_alive_keep_to_the_capacity(
    data: st.DataObject, policy: Policy, task_graphs: SearchStrategy[Case]
) -> None:
    """At no moment more bytes are alive than there are, and settling with addresses never delays the end."""
    problem, graph = data.draw(task_graphs)
    times = counted(problem, graph, policy)
    assume(times is not None)
    assert times is not None
    lives = Packing(problem, graph).lifetimes(times)
    for moment, _ in lives:
        alive = [b for b, (begin, end) in zip(graph.buffers, lives, strict=True) if begin <= moment < end]
        used = {touch.buffer for task in graph.tasks for touch in (*task.reads, *task.writes)}
        assert sum(b.size_bytes for b in alive if b.index in used or b.pinned) <= problem.arena_bytes
    address = addresses(problem, graph, times, QUICK)
    if address is not None:
        assert makespan_ns(graph, settle(graph, times.start_ns, address).start_ns) <= times.makespan_ns


@given(data=st.data(), policy=POLICIES)
@settings(max_examples=100)
def test_what_finds_gaps_can_be_counted(
    data: st.DataObject, policy: Policy, task_graphs: SearchStrategy[Case]
) -> None:
    """A careful schedule that counts bytes exists wherever a careful one with gaps does."""
    problem, graph = data.draw(task_graphs)
    careful = Policy(0, policy.lead, True)
    assume(weave(problem, graph, careful) is not None)
    assert counted(problem, graph, careful) is not None


@given(data=st.data())
@settings(max_examples=100)
def test_placements_without_fetching_early(data: st.DataObject, task_graphs: SearchStrategy[Case]) -> None:
    """Tasks can be listed on a placement that was searched for."""
    problem, graph = data.draw(task_graphs)
    placement = packed_placement(problem, graph)
    assume(placement is not None)
    assert placement is not None
    start = run(order_of(graph, placement), by_due_date)
    assert min(start, default=0) >= 0


CASES = [("ds_cnn", 16), ("resnet8", 24), ("resnet8", 48), ("mobilenet_v1_025_96", 48)]


@pytest.mark.parametrize(("network", "kib"), CASES)
def test_fragmentation_costs_nothing(network: str, kib: int) -> None:
    """The shortest schedule that counts bytes finds addresses and passes the validator; none is made too late."""
    problem = Problem(zoo_network(network), load_target("f746-sd"), kib << 10, IoPlace.STORAGE)
    model = SelectionModel(space_of(problem), problem.arena_bytes, 0.0)
    selection = model.solve(Aim.SERIAL, Budget(20.0, 1, 1)).selection
    assert selection is not None
    graph = expand(problem, selection)
    shortest = min(
        times.makespan_ns for policy in COUNTING if (times := counted(problem, graph, policy)) is not None
    )
    found = next(packed_schedules(problem, graph, COUNTING, UNLIMITED))
    settled = settle(graph, found.start_ns, found.address)
    assert makespan_ns(graph, settled.start_ns) <= shortest
    plan = finish(problem, selection, graph, Schedule(settled.start_ns, settled.address), "packed")
    assert not validate(problem, plan)
    assert not list(packed_schedules(problem, graph, COUNTING, UNLIMITED, deadline=0.0))
    quick = evaluate(problem, selection)
    assert quick is not None
    assert polish(problem, quick, 1e12).score[1] <= shortest
