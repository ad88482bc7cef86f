"""Networks with their operators in another order."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooc_solve.models.operator_order import in_order, listed, ordered
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import DType, Network, Op, OpKind, Tensor


@pytest.fixture
def fork() -> Network:
    """Two branches of one operator each behind a common one, and their sum."""
    tensors = {name: Tensor(name, 1, 1, 1, DType.INT8) for name in "xabcd"}
    pool = OpKind.MAX_POOL
    ops = (
        Op("first", pool, ("x",), "a"),
        Op("left", pool, ("a",), "b"),
        Op("right", pool, ("a",), "c"),
        Op("sum", OpKind.ADD, ("b", "c"), "d"),
    )
    return Network("fork", tensors, ops, ("x",), ("d",), "digest")


def test_another_order(fork: Network) -> None:
    """The operators run in the order asked for; everything else stays, the digest of the model too."""
    other = in_order(fork, (0, 2, 1, 3))
    assert [op.name for op in other.ops] == ["first", "right", "left", "sum"]
    assert other.order == (0, 2, 1, 3)
    assert (other.digest, other.tensors) == (fork.digest, fork.tensors)
    assert listed(other) is fork


def test_order_counts_from_the_models_list(fork: Network) -> None:
    """An order means the same for a network in whatever order it runs; the model's own comes back."""
    other = in_order(fork, (0, 2, 1, 3))
    assert in_order(other, (0, 2, 1, 3)) is other
    assert in_order(other, ()) is fork
    assert in_order(other, (0, 1, 2, 3)) is fork
    assert in_order(fork, (0, 1, 2, 3)) is fork


@pytest.mark.parametrize("order", [(0, 1, 2), (0, 1, 2, 2), (0, 1, 2, 4)])
def test_not_an_order(fork: Network, order: tuple[int, ...]) -> None:
    """Operators that are missing or named twice are refused."""
    with pytest.raises(ValueError, match="must name each of the 4 operators once"):
        in_order(fork, order)


def test_reading_before_it_is_there(fork: Network) -> None:
    """An order in which an operator reads what comes later is refused."""
    with pytest.raises(ValueError, match="'sum' reads 'c' before it is produced"):
        in_order(fork, (0, 1, 3, 2))


def test_one_problem_per_order(fork: Network) -> None:
    """The same order gives the same object, so that what is known about it is found again."""
    problem = Problem(fork, load_target("f746-sd"), 32768, IoPlace.STORAGE)
    assert ordered(problem, ()) is problem
    other = ordered(problem, (0, 2, 1, 3))
    assert other is ordered(problem, (0, 2, 1, 3))
    assert other.network.order == (0, 2, 1, 3)
    assert other.network is ordered(replace(problem, sram_bytes=16384), (0, 2, 1, 3)).network
    assert ordered(other, ()).network is fork
