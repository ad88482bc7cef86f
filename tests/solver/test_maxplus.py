"""The algebra agrees with loops written out and choices tried one by one."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooc_solve.solver.maxplus import (
    NEVER,
    Ints,
    Item,
    Stairs,
    applied,
    capped,
    chains,
    identity,
    minimal,
    powers,
    pulled_back,
    times,
)


def random_matrices(seed: int, d: int, n: int) -> Ints:
    """``n`` matrices with entries of either sign."""
    return np.random.default_rng(seed).integers(-50, 100, (d, d, n))


def product_of(later: Ints, earlier: Ints) -> Ints:
    """The product of two single matrices, entry by entry."""
    d = len(later)
    entries = [[max(later[i, j] + earlier[j, k] for j in range(d)) for k in range(d)] for i in range(d)]
    return np.array(entries)


SHAPES = st.tuples(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 9))


@given(SHAPES)
def test_products_are_the_largest_sums(shape: tuple[int, int, int]) -> None:
    """Each entry is the longest way through the middle, and the identity changes nothing."""
    seed, d, n = shape
    a, b = random_matrices(seed, d, n), random_matrices(seed + 1, d, n)
    found = times(a, b)
    for m in range(n):
        assert (found[:, :, m] == product_of(a[:, :, m], b[:, :, m])).all()
    assert (times(a, identity(d, n)) == a).all()
    assert (times(identity(d, n), a) == a).all()


@given(SHAPES, st.data())
def test_powers_are_repeated_products(shape: tuple[int, int, int], data: st.DataObject) -> None:
    """A matrix to the power of n is n times the same step."""
    seed, d, n = shape
    matrices = random_matrices(seed, d, n)
    counts = np.array(data.draw(st.lists(st.integers(0, 20), min_size=n, max_size=n)))
    found = powers(matrices, counts)
    for m in range(n):
        one = identity(d, 1)
        for _ in range(counts[m]):
            one = times(matrices[:, :, m : m + 1], one)
        assert (found[:, :, m] == one[:, :, 0]).all()


@given(SHAPES, st.data())
def test_chains_apply_the_last_matrix_last(shape: tuple[int, int, int], data: st.DataObject) -> None:
    """Runs of any lengths are multiplied in their order."""
    seed, d, n = shape
    lengths = np.array(data.draw(st.lists(st.integers(1, 7), min_size=n, max_size=n)))
    matrices = random_matrices(seed, d, int(lengths.sum()))
    found, start = chains(matrices, lengths), 0
    for m, length in enumerate(lengths):
        one = identity(d, 1)
        for k in range(start, start + length):
            one = times(matrices[:, :, k : k + 1], one)
        assert (found[:, :, m] == one[:, :, 0]).all()
        start += length


def test_a_forbidden_way_stays_forbidden() -> None:
    """Minus infinity neither grows into a number nor wraps around, however often it is added."""
    never = np.full((2, 2, 1), NEVER)
    assert (powers(never, np.array([1 << 40])) == NEVER).all()


@given(SHAPES)
def test_functions_pulled_back_give_what_vectors_pushed_on_give(shape: tuple[int, int, int]) -> None:
    """The value of a path is the same seen from its start and from its end."""
    seed, d, n = shape
    random = np.random.default_rng(seed)
    matrices, vectors, functions = random_matrices(seed, d, n), *random.integers(0, 99, (2, d, 5))
    images, pulled = applied(matrices, vectors), pulled_back(matrices, functions)
    for m, v, f in product(range(n), range(5), range(5)):
        ahead = (functions[:, f] + images[:, m, v]).max()
        assert ahead == (pulled[:, m, f] + vectors[:, v]).max()


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 40), st.integers(1, 9))
def test_minimal_vectors_are_below_all(seed: int, d: int, n: int, most: int) -> None:
    """Every vector has one below it in the result; with room enough the result is the Pareto front."""
    vectors = np.random.default_rng(seed).integers(0, 12, (d, n))
    few = minimal(vectors, most)
    assert few.shape[1] <= most
    assert all((few <= vectors[:, [i]]).all(axis=0).any() for i in range(n))
    front = {
        tuple(v.tolist()) for v in vectors.T
        if not any((u <= v).all() and (u < v).any() for u in vectors.T)
    }  # fmt: skip
    assert {tuple(v.tolist()) for v in minimal(vectors, n).T} == front


ITEMS = st.lists(st.tuples(st.integers(1, 40), st.integers(0, 30), st.integers(1, 3)), max_size=4)


def most_time(items: list[Item], room: int) -> int:
    """Most time of items that fit, by trying every choice."""
    best = 0
    for counts in product(*(range(many + 1) for _, _, many in items)):
        chosen = list(zip(counts, items, strict=True))
        if sum(n * size for n, (size, _, _) in chosen) <= room:
            best = max(best, sum(n * ns for n, (_, ns, _) in chosen))
    return best


@given(ITEMS, st.integers(1, 16), st.integers(1, 12))
def test_a_staircase_is_never_too_low(items: list[Item], quantum: int, slots: int) -> None:
    """At least what really fits into the free bytes is allowed, and with sizes in quanta no more."""
    found = Stairs(quantum, slots).of(items)
    exact = all(size % quantum == 0 for size, _, _ in items)
    for room in range((slots + 1) * quantum):
        assert found[room // quantum] >= most_time(items, room)
        if exact:
            assert found[room // quantum] == most_time(items, room // quantum * quantum)


@given(st.integers(1, 60), st.integers(1, 9), st.integers(1, 300), st.integers(1, 12))
def test_many_equal_buffers_count_as_if_added_one_by_one(size: int, ns: int, many: int, quantum: int) -> None:
    """The shortcut for many items of a kind allows at least what fits, and at most a rounding more."""
    stairs = Stairs(quantum, 100)
    found = stairs.of([(size, ns, many)])
    for slot in range(101):
        least, largest = (min(many, room // size) * ns for room in (slot * quantum, (slot + 1) * quantum - 1))
        assert least <= found[slot] <= largest


MANY = st.tuples(st.integers(1, 60), st.integers(0, 30), st.integers(1, 70))


@given(MANY, MANY, st.integers(1, 12), st.booleans())
def test_two_kinds_of_many_buffers(a: Item, b: Item, quantum: int, whole: bool) -> None:
    """Of two kinds the best of all pairs of numbers is taken, whether or not sizes are whole quanta."""
    items = [(size * quantum if whole else size, ns, many) for size, ns, many in (a, b)]
    slots = 60
    taken = [[(n * size // quantum, n * ns) for n in range(many + 1)] for size, ns, many in items]
    found = Stairs(quantum, slots).of(items)
    for slot in range(slots + 1):
        fitting = (x + y for i, x in taken[0] for j, y in taken[1] if i + j <= slot)
        assert found[slot] == max(fitting)


@given(ITEMS, ITEMS, st.integers(1, 8))
def test_joined_staircases_share_the_room(a: list[Item], b: list[Item], quantum: int) -> None:
    """Two staircases together allow what all their items allow, by table and one by one."""
    sizes = [[(size * quantum, ns, n) for size, ns, n in items] for items in (a, b)]
    stairs = Stairs(quantum, 50)
    f, g = map(stairs.of, sizes)
    joined = stairs.joined(f, g)
    assert (joined == stairs.of(sizes[0] + sizes[1])).all()
    slots, rows = np.arange(51), np.zeros(51, np.int64)
    assert (stairs.at(f[None], rows, g, slots, np.full(51, 50)) == joined).all()
    for most in (0, 7, 50):
        kept = stairs.joined(f, capped(g, most))
        assert (stairs.at(f[None], rows, g, slots, np.full(51, most)) == kept).all()


@given(ITEMS, st.integers(1, 8), st.integers(0, 50))
def test_a_capped_staircase_rises_no_more(items: list[Item], quantum: int, most: int) -> None:
    """What gets no more than so many quanta takes as long as in as many free ones."""
    stairs = Stairs(quantum, 50).of([(size * quantum, ns, n) for size, ns, n in items])
    assert (capped(stairs, most) == stairs[np.minimum(np.arange(51), most)]).all()


@pytest.mark.slow
@settings(max_examples=3000)
@given(ITEMS, st.integers(1, 16), st.integers(1, 12))
def test_a_staircase_is_never_too_low_often(items: list[Item], quantum: int, slots: int) -> None:
    """The same over thousands of sets of items."""
    found = Stairs(quantum, slots).of(items)
    for room in range((slots + 1) * quantum):
        assert found[room // quantum] >= most_time(items, room)
