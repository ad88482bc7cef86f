"""Schedules whose addresses are found as the clock runs keep every rule."""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.frames import in_flight
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    Budget,
    DType,
    Network,
    Op,
    OpKind,
    Quantization,
    Selection,
    TaskGraph,
    Tensor,
    Tiling,
)
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import baseline, finish, space_of
from ooc_solve.solver.listing import makespan_ns, settle
from ooc_solve.solver.selection import Aim, SelectionModel
from ooc_solve.solver.validate import validate
from ooc_solve.solver.weaving import Policy, weave

Case = tuple[Problem, TaskGraph]
Problems = Callable[..., SearchStrategy[Problem]]

POLICIES = st.builds(Policy, st.integers(0, 5), st.sampled_from([1, 2, 9]), st.booleans())
FLIPS = st.sampled_from([0, 0x555555])


def selected(problem: Problem, aim: Aim) -> Selection | None:
    """What the selection model proposes."""
    return SelectionModel(space_of(problem)).solve(aim, Budget(20.0, 1, 1)).selection


@given(data=st.data(), policy=POLICIES, flips=FLIPS)
@settings(max_examples=300)
def test_hand_built_graphs(
    data: st.DataObject, policy: Policy, flips: int, task_graphs: SearchStrategy[Case]
) -> None:
    """No two buffers share a byte while both live, in one bank each, and settling never delays the end."""
    problem, graph = data.draw(task_graphs)
    schedule = weave(problem, graph, policy, flips)
    assume(schedule is not None)
    assert schedule is not None
    ends = [begin + task.duration_ns for begin, task in zip(schedule.start_ns, graph.tasks, strict=True)]
    lives = []
    for buffer in graph.buffers:
        users = [t.index for t in graph.tasks if buffer.index in {x.buffer for x in (*t.reads, *t.writes)}]
        life = min((schedule.start_ns[t] for t in users), default=0), max((ends[t] for t in users), default=0)
        lives.append((0, max(ends)) if buffer.pinned else life)
    for one in graph.buffers:
        low = schedule.address[one.index]
        for other in graph.buffers[: one.index]:
            at = schedule.address[other.index]
            apart = low + one.size_bytes <= at or at + other.size_bytes <= low
            (begin, end), (first, last) = lives[one.index], lives[other.index]
            assert apart or end <= first or last <= begin, (one.index, other.index)
    settled = settle(graph, schedule.start_ns, schedule.address)
    assert makespan_ns(graph, settled.start_ns) <= makespan_ns(graph, schedule.start_ns)


@given(data=st.data(), policy=POLICIES, flips=FLIPS)
@settings(max_examples=100, deadline=None)
def test_random_networks(data: st.DataObject, policy: Policy, flips: int, problems: Problems) -> None:
    """The validator has nothing to say about a woven plan, whatever the board and the banks."""
    problem = data.draw(problems())
    selection = selected(problem, data.draw(st.sampled_from([Aim.SERIAL, Aim.LAYER_OVERLAP, Aim.SRAM])))
    assume(selection is not None)
    assert selection is not None
    try:
        graph = expand(problem, selection)
    except SelectionError:
        assume(False)
    schedule = weave(problem, graph, policy, flips)
    assume(schedule is not None)
    assert schedule is not None
    settled = settle(graph, schedule.start_ns, schedule.address)
    assert validate(problem, finish(problem, selection, graph, settled, "woven")) == ()


def test_kept_outputs_stay_until_they_are_stored() -> None:
    """Outputs that take turns in the same bytes wait for the store of the one before, however slow that is."""
    shape = 16, 16, 16
    names = ("x", *(f"y{k}" for k in range(4)))
    tensors = {
        name: Tensor(name, *shape, DType.INT8, Quantization(1.0, 0), graph_shape=shape) for name in names
    }
    ops = tuple(Op(f"copy {y}", OpKind.PERMUTE, ("x",), y, permutation=((4096, 1),)) for y in names[1:])
    network = Network("copies", tensors, ops, ("x",), names[1:])
    problem = Problem(network, load_target("l4r5-sdspi"), 4 * 4096, IoPlace.STORAGE)
    selection = Selection((Tiling(*shape, 16),) * len(ops), frozenset(names))
    graph = expand(problem, selection)
    schedule = weave(problem, graph, Policy(32, 3, careful=False), 0)
    assert schedule is not None
    placed = {schedule.address[b.index] for b in graph.buffers if b.label != "x"}
    assert len(placed) < len(ops), "some must take turns"
    settled = settle(graph, schedule.start_ns, schedule.address)
    assert validate(problem, finish(problem, selection, graph, settled, "woven")) == ()


def test_careful_policies_find_room_where_hasty_ones_do_not() -> None:
    """In tight memory, loads that leave room for all steps until their own avoid corners."""
    problem = Problem(zoo_network("ds_cnn"), load_target("f746-sd"), 16 * 1024, IoPlace.STORAGE)
    selection = selected(problem, Aim.MAKESPAN_BOUND)
    assert selection is not None
    graph = expand(problem, selection)
    found = {careful: weave(problem, graph, Policy(32, 1, careful)) for careful in (False, True)}
    assert found[True] is not None
    assert found[False] is None


def test_outputs_lie_apart_until_they_are_stored() -> None:
    """A run of four frames has four outputs; none takes the bytes of one that is still on its way to storage."""
    board = load_target("f746-sd")
    run = Problem(in_flight(zoo_network("autoencoder"), 4), board, 24 * 1024, IoPlace.STORAGE)
    made = baseline(run)
    assert made is not None
    selection, graph = made
    for careful in (False, True):
        schedule = weave(run, graph, Policy(8, 1, careful))
        assert schedule is not None
        assert validate(run, finish(run, selection, graph, schedule, "woven")) == ()
