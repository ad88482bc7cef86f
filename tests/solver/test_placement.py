"""Placements give every buffer bytes of its own inside one bank for as long as it is needed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Bank, Budget, BufferRole, TaskGraph
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.allocation_schedule import packed_placement
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.heuristics import FLIPS, first_placement
from ooc_solve.solver.placement import Placement, buffer_uses, place, place_step_by_step
from ooc_solve.solver.selection import Aim, SelectionModel, build_space

Case = tuple[Problem, TaskGraph]
Problems = Callable[..., SearchStrategy[Problem]]

WAYS = st.tuples(st.integers(0, 6), st.integers(0, 3), st.sampled_from([0, 0x555555, 0xAAAAAA]))


def check(problem: Problem, graph: TaskGraph, placement: Placement) -> None:
    """Compare all pairs of buffers, and each buffer with the walls of the banks."""
    uses = buffer_uses(graph)
    ends = [at + b.size_bytes for at, b in zip(placement.address, graph.buffers, strict=True)]
    for a, b in combinations(range(len(graph.buffers)), 2):
        together = placement.opens[a] <= uses[b].last and placement.opens[b] <= uses[a].last
        apart = ends[a] <= placement.address[b] or ends[b] <= placement.address[a]
        assert apart or not together, (a, b)
    walls, low = [], 0
    for _, size in problem.banks:
        walls.append((low, low + size))
        low += size
    for buffer, (at, end) in enumerate(zip(placement.address, ends, strict=True)):
        assert at % problem.unit_bytes == 0
        assert any(first <= at and end <= last for first, last in walls), buffer
        assert placement.opens[buffer] <= uses[buffer].first


@given(data=st.data(), way=WAYS)
@settings(max_examples=300)
def test_hand_built_graphs(
    data: st.DataObject, way: tuple[int, int, int], task_graphs: SearchStrategy[Case]
) -> None:
    """Buffers needed at the same step never share a byte and never straddle banks."""
    problem, graph = data.draw(task_graphs)
    placement = place(problem, graph, *way)
    assume(placement is not None)
    assert placement is not None
    check(problem, graph, placement)


@given(data=st.data(), way=WAYS)
@settings(max_examples=100)
def test_expanded_networks(
    data: st.DataObject,
    way: tuple[int, int, int],
    problems: Problems,
    in_two_banks: Callable[[Problem, int], Problem],
    tiles_of: Callable[[Problem], TaskGraph],
) -> None:
    """The same for the tiles of random networks, over two banks."""
    problem = data.draw(problems())
    problem = in_two_banks(problem, problem.arena_bytes // (3 * problem.unit_bytes) * problem.unit_bytes)
    graph = tiles_of(problem)
    placement = place(problem, graph, *way)
    assume(placement is not None)
    assert placement is not None
    check(problem, graph, placement)


def test_a_real_network_in_two_banks() -> None:
    """DS-CNN fits two banks of 10 KiB and no buffer crosses the wall between them."""
    target = load_target("u585-octal")
    banks = (Bank("a", 10 << 10), Bank("b", 10 << 10))
    target = replace(target, board=replace(target.board, banks=banks))
    problem = Problem(zoo_network("ds_cnn"), target, RESERVED_BYTES + (20 << 10), IoPlace.STORAGE)
    selection = (
        SelectionModel(build_space(problem), slack=1.0).solve(Aim.SERIAL, Budget(20.0, 1, 1)).selection
    )
    assert selection is not None
    graph = expand(problem, selection)
    placement = place(problem, graph, 4, 1)
    assert placement is not None
    check(problem, graph, placement)
    assert {at // (10 << 10) for at in placement.address} == {0, 1}


def test_loads_are_given_their_bytes_ahead(new_problem: Callable[..., Problem], new_sketch: Any) -> None:
    """With room for two tiles, the second may be loaded one step early; with room for one it may not."""
    sketch = new_sketch()
    tiles = [sketch.buffer(2) for _ in range(2)]
    for tile in tiles:
        sketch.compute(1, (tile,), (), (sketch.load(tile, 1),))
    graph = sketch.graph()
    for units, opens in ((4, 0), (2, 1)):
        placement = place(new_problem((units,)), graph, 5, 0)
        assert placement is not None
        assert placement.opens == (0, opens)


def test_a_kept_input_that_nobody_reads_has_a_place(
    new_problem: Callable[..., Problem], new_sketch: Any
) -> None:
    """It is loaded once the last step is over, into bytes that tiles have had, or not at all if it is too large."""
    sketch = new_sketch()
    unread = sketch.buffer(3, BufferRole.TENSOR)
    sketch.load(unread, 1)
    for tile in [sketch.buffer(2) for _ in range(2)]:
        sketch.compute(1, (tile,), (), (sketch.load(tile, 1),))
    graph = sketch.graph()
    for ahead in (0, 5):
        placement = place(new_problem((3,)), graph, ahead, 0)
        assert placement is not None
        assert placement.address[unread] == 0
        assert placement.opens[unread] == 2
        check(new_problem((3,)), graph, placement)
    assert place(new_problem((2,)), graph, 0, 0) is None


@pytest.mark.parametrize(("units", "found"), [(4, True), (3, False)])
def test_nothing_is_placed_where_it_does_not_fit(
    units: int, found: bool, new_problem: Callable[..., Problem], new_sketch: Any
) -> None:
    """Two buffers of two units in one step fit four units and not three."""
    sketch = new_sketch()
    a, b = sketch.buffer(2), sketch.buffer(2)
    sketch.compute(1, (a, b), (), (sketch.load(a, 1), sketch.load(b, 1)))
    assert (place(new_problem((units,)), sketch.graph(), 2, 0) is not None) is found


@given(data=st.data(), ahead=st.integers(0, 6), flips=st.sampled_from([0, 0x555555, 0xAAAAAA]))
@settings(max_examples=300)
def test_step_by_step(data: st.DataObject, ahead: int, flips: int, task_graphs: SearchStrategy[Case]) -> None:
    """Steps placed one after the other keep the same rules; no fetch comes before one that is used earlier."""
    problem, graph = data.draw(task_graphs)
    placement = place_step_by_step(problem, graph, ahead, flips)
    assume(placement is not None)
    assert placement is not None
    check(problem, graph, placement)
    uses = buffer_uses(graph)
    fetched = [b.index for b in graph.buffers if uses[b.index].loaded and b.role is not BufferRole.TENSOR]
    for a, b in combinations(fetched, 2):
        early, late = sorted((a, b), key=lambda k: uses[k].first)
        assert uses[early].first == uses[late].first or placement.opens[early] <= placement.opens[late]
        assert placement.opens[late] >= uses[late].first - ahead


def test_a_step_is_placed_again_without_fetching_early(
    new_problem: Callable[..., Problem], new_sketch: Any
) -> None:
    """Where a tile that is fetched early would split the room that the result needs, it is fetched late."""
    sketch = new_sketch()
    first = sketch.buffer(2)
    step = sketch.compute(4, (), (first,))
    sketch.store(first, 1, step)
    tile, result = sketch.buffer(2), sketch.buffer(2)
    load = sketch.load(tile, 1)
    step = sketch.compute(4, (tile,), (result,), (load,))
    sketch.store(result, 1, step)
    graph = sketch.graph()
    wide, tight = (place_step_by_step(new_problem((units,)), graph, 9, 0) for units in (6, 4))
    assert wide is not None
    assert tight is not None
    assert wide.opens[tile] == 0
    assert tight.opens[tile] == 0


@given(data=st.data())
@settings(max_examples=200)
def test_the_last_resort(data: st.DataObject, task_graphs: SearchStrategy[Case]) -> None:
    """Whatever the greedy order places without fetching early, the search places too, by the same rules."""
    problem, graph = data.draw(task_graphs)
    placement = packed_placement(problem, graph)
    if placement is None:
        assert all(place(problem, graph, 0, 0, flips) is None for flips in FLIPS)
    else:
        check(problem, graph, placement)


def test_the_greedy_order_is_not_all(new_problem: Callable[..., Problem], new_sketch: Any) -> None:
    """Kept tensors that fill the arena have places that no stacking in order of their first use finds."""
    lives = ((4, 1, 2), (4, 2, 3), (3, 0, 3), (2, 0, 1), (1, 1, 3), (1, 2, 2))  # size, first and last step
    sketch = new_sketch()
    kept = [sketch.buffer(size, BufferRole.TENSOR) for size, _, _ in lives]
    for step in range(4):
        read = tuple(b for b, (_, first, last) in zip(kept, lives, strict=True) if first < step <= last)
        written = tuple(b for b, (_, first, _) in zip(kept, lives, strict=True) if first == step)
        sketch.compute(1, read, written, ())
    graph, problem = sketch.graph(), new_problem((13,))
    assert all(place(problem, graph, 0, 0, flips) is None for flips in FLIPS)
    placement = first_placement(problem, graph, 0, 0)
    assert placement is not None
    check(problem, graph, placement)
