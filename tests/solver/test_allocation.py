"""Addresses are found where there are any, and their absence is proven where there are none."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooc_solve.solver import allocation
from ooc_solve.solver.allocation import (
    Effort,
    Verdict,
    allocate,
    height_of,
    least_height,
    most_alive,
)
from ooc_solve.solver.allocation_instances import CAPACITY_BYTES, chained, online, perfect
from ooc_solve.solver.allocation_search import TURNS, Attempt, Block, Search

NEVER = 1e12
COMPLETE = Effort(nodes=1_000_000, seed=1)

EXAMPLE = [Block(0, 3, 4), Block(3, 9, 4), Block(0, 9, 4), Block(9, 21, 4), Block(0, 21, 4)]


def check(blocks: Sequence[Block], address: Sequence[int], capacity: int, walls: Sequence[int] = ()) -> None:
    """Compare every pair of blocks, and each with the capacity, its alignment and the walls."""
    assert len(address) == len(blocks)
    for block, at in zip(blocks, address, strict=True):
        assert at >= 0
        assert at + block.size_bytes <= capacity
        assert at % block.alignment_bytes == 0
        assert not any(at < wall < at + block.size_bytes for wall in walls)
    for (one, at), (other, low) in combinations(zip(blocks, address, strict=True), 2):
        together = one.begin < other.end and other.begin < one.end
        assert not together or at + one.size_bytes <= low or low + other.size_bytes <= at


def fits(blocks: Sequence[Block], capacity: int, walls: Sequence[int]) -> bool:
    """Whether blocks pack, by trying all addresses of all blocks."""

    def rest(placed: list[tuple[Block, int]]) -> bool:
        if len(placed) == len(blocks):
            return True
        block = blocks[len(placed)]
        for at in range(0, capacity - block.size_bytes + 1, block.alignment_bytes):
            if any(at < wall < at + block.size_bytes for wall in walls):
                continue
            if all(
                other.end <= block.begin
                or block.end <= other.begin
                or at + block.size_bytes <= low
                or low + other.size_bytes <= at
                for other, low in placed
            ) and rest([*placed, (block, at)]):
                return True
        return False

    return rest([])


@st.composite
def problems(
    draw: st.DrawFn, alignments: Sequence[int] = (1,), most_walls: int = 0
) -> tuple[list[Block], int, tuple[int, ...]]:
    """A few small blocks, a capacity near the most bytes alive, walls."""
    blocks = []
    for _ in range(draw(st.integers(1, 6))):
        begin = draw(st.integers(0, 5))
        end = draw(st.integers(begin + 1, 7))
        blocks.append(Block(begin, end, draw(st.integers(1, 5)), draw(st.sampled_from(alignments))))
    capacity = most_alive(blocks) + draw(st.integers(0, 3))
    walls = draw(st.lists(st.integers(1, max(1, capacity - 1)), max_size=most_walls, unique=True))
    return blocks, capacity, tuple(sorted(walls))


@given(problem=problems(), number=st.integers(0, 4 * len(TURNS) - 1))
@settings(max_examples=200)
def test_every_rule_agrees_with_brute_force(
    problem: tuple[list[Block], int, tuple[int, ...]], number: int
) -> None:
    """Each kind of search finds a packing exactly where one exists."""
    blocks, capacity, _ = problem
    found = Search(tuple(blocks), (), Attempt(number, 7, capacity, 1_000_000, NEVER)).run()
    assert found.complete
    assert (found.address is not None) is fits(blocks, capacity, ())
    if found.address is not None:
        check(blocks, found.address, capacity)


@given(problem=problems(alignments=(1, 2, 3, 4), most_walls=2))
@settings(max_examples=200)
def test_alignment_and_walls_agree_with_brute_force(
    problem: tuple[list[Block], int, tuple[int, ...]],
) -> None:
    """The same where addresses must be multiples and no block may lie across a wall."""
    blocks, capacity, walls = problem
    found = allocate(blocks, capacity, COMPLETE, walls)
    assert found.verdict is (Verdict.FOUND if fits(blocks, capacity, walls) else Verdict.INFEASIBLE)
    if found.verdict is Verdict.FOUND:
        check(blocks, found.address, capacity, walls)


@given(problem=problems(alignments=(2,)))
@settings(max_examples=200)
def test_a_common_alignment_agrees_with_brute_force(
    problem: tuple[list[Block], int, tuple[int, ...]],
) -> None:
    """The same where all blocks are aligned alike, whatever their sizes and the capacity are."""
    blocks, capacity, _ = problem
    found = allocate(blocks, capacity, COMPLETE)
    assert found.verdict is (Verdict.FOUND if fits(blocks, capacity, ()) else Verdict.INFEASIBLE)


@given(problem=problems(alignments=(1, 2)))
@settings(max_examples=100)
def test_the_least_height_is_the_least(problem: tuple[list[Block], int, tuple[int, ...]]) -> None:
    """Blocks pack into the height that is called the least, and into no less."""
    blocks, _, _ = problem
    found = least_height(blocks, COMPLETE)
    assert found.verdict is Verdict.FOUND
    assert found.bound_bytes == found.height_bytes == height_of(blocks, found.address)
    check(blocks, found.address, found.height_bytes)
    assert not fits(blocks, found.height_bytes - 1, ())


def test_the_example_of_the_public_format() -> None:
    """Five blocks that fill 12 bytes all the time have addresses there, and none in 11."""
    found = allocate(EXAMPLE, 12, COMPLETE)
    assert found.verdict is Verdict.FOUND
    check(EXAMPLE, found.address, 12)
    less = allocate(EXAMPLE, 11, COMPLETE)
    assert less.verdict is Verdict.INFEASIBLE
    assert less.height_bytes == less.bound_bytes == 12


def test_more_than_the_bytes_alive_may_be_needed() -> None:
    """Where no packing is as low as the most bytes alive, that is proven and the next height found."""
    blocks = [
        Block(0, 3, 1), Block(0, 1, 1), Block(1, 2, 1), Block(2, 4, 1), Block(3, 5, 2), Block(4, 6, 1),
        Block(0, 2, 2), Block(2, 3, 2), Block(5, 6, 2), Block(3, 4, 1), Block(5, 7, 1), Block(6, 7, 3),
    ]  # fmt: skip
    found = least_height(blocks, COMPLETE)
    assert found.verdict is Verdict.FOUND
    assert fits(blocks, found.height_bytes, ())
    assert not fits(blocks, found.height_bytes - 1, ())


def test_nothing_to_place() -> None:
    """No blocks need no bytes."""
    assert allocate([], 0, COMPLETE).verdict is Verdict.FOUND


def test_parts_of_time_are_searched_on_their_own() -> None:
    """An impossible stretch of time after many others is proven impossible without trying those again."""
    hopeless = [(0, 2, 2), (1, 4, 1), (3, 5, 2), (0, 1, 1), (2, 3, 2), (4, 5, 1), (1, 3, 0)]
    core = [Block(b, e, s) for b, e, s in hopeless if s]
    assert fits(core, 3, ()) is (allocate(core, 3, COMPLETE).verdict is Verdict.FOUND)
    blocks = []
    for part in range(12):
        blocks += [Block(10 * part + b.begin, 10 * part + b.end, b.size_bytes) for b in core]
    one = Search(tuple(core), (), Attempt(0, 1, 3, 1_000_000, NEVER)).run()
    all_ = Search(tuple(blocks), (), Attempt(0, 1, 3, 1_000_000, NEVER)).run()
    assert (one.address is None) is (all_.address is None)
    assert all_.nodes <= 12 * (one.nodes + 1)


def test_the_result_depends_on_the_seed_alone() -> None:
    """Two runs with one seed give the same addresses after the same work."""
    blocks = chained(1, 150)
    first, again = (allocate(blocks, CAPACITY_BYTES, Effort(attempts=6, seed=3)) for _ in range(2))
    assert first.address == again.address
    assert first.nodes == again.nodes


def test_the_deadline_is_kept() -> None:
    """A search that finds nothing ends when its time is over, with the lowest packing it came across."""
    blocks = online(0, 400)
    begun = time.monotonic()
    found = allocate(blocks, most_alive(blocks), Effort(seconds=1.0))
    assert time.monotonic() - begun < 20.0  # the machine may be busy
    check(blocks, found.address, found.height_bytes)


@pytest.mark.parametrize("make", [perfect, chained, online])
@pytest.mark.parametrize("seed", range(3))
def test_instances_are_what_they_say(make: Callable[[int, int], list[Block]], seed: int) -> None:
    """As many blocks as asked for, give or take what was taken out, and never more alive than the capacity."""
    blocks = make(seed, 200)
    assert 180 <= len(blocks) <= 210
    assert most_alive(blocks) <= CAPACITY_BYTES
    assert make is online or most_alive(blocks) == CAPACITY_BYTES
    assert blocks == make(seed, 200)


GENERATED = [
    *((perfect, count, seed) for count in (150, 300) for seed in range(3)),
    *((chained, 150, seed) for seed in range(2)),
]
HARD = [
    *((perfect, 450, seed) for seed in range(3)),
    *((online, 150, seed) for seed in range(3)),
    (chained, 150, 2),
]


@pytest.mark.parametrize(("make", "count", "seed"), GENERATED)
def test_generated_instances(make: Callable[[int, int], list[Block]], count: int, seed: int) -> None:
    """Hundreds of blocks that were cut from a rectangle go back into it within a few thousand states."""
    blocks = make(seed, count)
    found = allocate(blocks, CAPACITY_BYTES, Effort(attempts=6, seed=1))
    assert found.verdict is Verdict.FOUND
    assert found.nodes < 12_000
    check(blocks, found.address, CAPACITY_BYTES)


@pytest.mark.slow
@pytest.mark.parametrize(("make", "count", "seed"), HARD)
def test_hard_generated_instances(make: Callable[[int, int], list[Block]], count: int, seed: int) -> None:
    """The same for more of them, or where much is lost in places and nothing elsewhere."""
    blocks = make(seed, count)
    found = allocate(blocks, CAPACITY_BYTES, Effort(attempts=40, seed=1))
    assert found.verdict is Verdict.FOUND
    check(blocks, found.address, CAPACITY_BYTES)


@pytest.mark.slow
def test_several_processes_agree_with_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """What several processes find depends on the seed and on how many they are, not on which is faster."""
    monkeypatch.setattr(allocation, "ALONE", 0)
    blocks = chained(2, 150)
    effort = Effort(attempts=12, nodes=500, jobs=2, seed=5)
    first, again = allocate(blocks, CAPACITY_BYTES, effort), allocate(blocks, CAPACITY_BYTES, effort)
    assert (first.address, first.nodes) == (again.address, again.nodes)
    check(blocks, first.address, first.height_bytes)
