"""Which tensors stay when the one that is needed last goes first."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import DType, Network, Op, OpKind, Tensor
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.options import KEPT
from ooc_solve.solver.residence import clairvoyant, selection_of
from ooc_solve.solver.selection import build_space

SIDE = 32


@pytest.fixture
def ladder() -> Problem:
    """Pools in a row; the first result is added at the end, the second one step before.

    Each tensor takes 4096 bytes. In the third pool a, b and c are wanted besides its output d.
    """
    names = "xabcdef"
    tensors = {name: Tensor(name, SIDE, SIDE, 4, DType.INT8) for name in names}
    pool, add = OpKind.MAX_POOL, OpKind.ADD
    ops = (
        Op("1", pool, ("x",), "a"),
        Op("2", pool, ("a",), "b"),
        Op("3", pool, ("b",), "c"),
        Op("4", pool, ("c",), "d"),
        Op("5", add, ("d", "b"), "e"),
        Op("6", add, ("e", "a"), "f"),
    )
    network = Network("ladder", tensors, ops, ("x",), ("f",))
    return Problem(network, load_target("f746-sd"), 8 * 4096 + RESERVED_BYTES, IoPlace.STORAGE)


def test_everything_stays_where_it_fits(ladder: Problem) -> None:
    """Nothing is evicted when there is room for all."""
    space = build_space(ladder)
    assert clairvoyant(space, ladder.arena_bytes) == frozenset("xabcdef")


def test_what_is_needed_last_goes_first(ladder: Problem) -> None:
    """With room for three and a half tensors, the one read in the last step is evicted, not the one read before."""
    problem = replace(ladder, sram_bytes=7 * 2048 + RESERVED_BYTES)
    space = build_space(problem)
    kept = clairvoyant(space, problem.arena_bytes)
    assert kept is not None
    assert "a" not in kept
    assert {"b", "c", "d"} <= kept


def test_what_storage_holds_anyway_goes_before(ladder: Problem) -> None:
    """Of two tensors needed equally late, the network's input goes: it need not be written."""
    network = ladder.network
    last = replace(network.ops[-1], inputs=("e", "x"))
    early = replace(network.ops[-2], inputs=("d", "a"))
    changed = replace(network, ops=(*network.ops[:-2], early, last))
    problem = replace(ladder, network=changed, sram_bytes=7 * 2048 + RESERVED_BYTES)
    kept = clairvoyant(build_space(problem), problem.arena_bytes)
    assert kept is not None
    assert "x" not in kept


def test_exactly_those_stay(ladder: Problem) -> None:
    """The selection keeps the tensors it is told to and spills all others."""
    problem = replace(ladder, sram_bytes=7 * 2048 + RESERVED_BYTES)
    space = build_space(problem)
    kept = clairvoyant(space, problem.arena_bytes)
    assert kept is not None
    selection = selection_of(space, problem.arena_bytes, kept)
    assert selection is not None
    assert selection.kept == kept
    assert {name for name, _ in expand(problem, selection).resident} == kept


def test_none_where_nothing_may_go(ladder: Problem) -> None:
    """Where tensors have no place in storage and do not fit, there is no answer."""
    problem = replace(ladder, target=load_target("nrf52840-nor"), io=IoPlace.SRAM)
    space = build_space(problem, 4096)
    assert all(widths == (KEPT,) for widths in space.residences.values())
    assert clairvoyant(space, 4096) is None
