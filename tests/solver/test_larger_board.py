"""Where a network fits nowhere on a board, the layer at fault and a board that is large enough are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Bank, DType, Network, Op, OpKind, Tensor
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import larger_board
from ooc_solve.solver.deadline import TimeIsUp
from ooc_solve.solver.larger_board import demand
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.shortfall import fits_nowhere

SIDE = 500


def turned() -> Problem:
    """An image of 250,000 bytes that is put in another order, on a board of 280 KiB."""
    tensors = {name: Tensor(name, SIDE, SIDE, 1, DType.INT8) for name in ("x", "small", "y")}
    ops = (
        Op("pool", OpKind.MAX_POOL, ("x",), "small"),
        Op("turn", OpKind.PERMUTE, ("small",), "y", permutation=((SIDE, 1), (SIDE, SIDE))),
    )
    network = Network("turned", tensors, ops, ("x",), ("y",), "")
    target = load_target("f746-sd")
    return Problem(network, target, target.board.usable_bytes, IoPlace.STORAGE)


def test_the_layer_at_fault_is_named() -> None:
    """A PERMUTE asks for its input and its output whole; a board with the least told runs the network."""
    problem = turned()
    asked = demand(problem)
    assert asked is not None
    assert asked.least is not None
    assert (asked.stage, asked.need_bytes) == (1, 2 * SIDE * SIDE)
    least = asked.least.sram_bytes
    assert least >= asked.least.bound_bytes >= 2 * SIDE * SIDE + problem.reserved_bytes
    words = fits_nowhere(problem)
    assert "layer 'turn' alone asks for at least 500000 bytes" in words
    assert f"is {least} bytes" in words
    board = replace(problem.target.board, usable_bytes=least, banks=(Bank("all", least),))
    there = replace(problem, target=replace(problem.target, board=board), sram_bytes=least)
    found = least_sram(there)
    assert found is not None
    assert found.sram_bytes <= least


def test_the_layer_is_named_even_without_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Which layer it is, is known before the search for the least SRAM begins."""

    def never(problem: Problem) -> None:
        raise TimeIsUp

    monkeypatch.setattr(larger_board, "least_sram", never)
    words = fits_nowhere(turned())
    assert "layer 'turn' alone asks for at least 500000 bytes" in words
    assert "too short" in words


@pytest.mark.parametrize("name", ["autoencoder", pytest.param("ds_cnn", marks=pytest.mark.slow)])
def test_no_plan_needs_less_than_its_greediest_layer(name: str) -> None:
    """What one layer asks for at least is a bound of the least SRAM known to work."""
    target = load_target("f746-sd")
    problem = Problem(zoo_network(name), target, 4096, IoPlace.STORAGE)
    few = problem.reserved_bytes + 256
    board = replace(target.board, usable_bytes=few, banks=(Bank("all", few),))
    problem = replace(problem, target=replace(target, board=board), sram_bytes=few)
    assert least_sram(problem) is None
    asked = demand(problem)
    assert asked is not None
    assert asked.least is not None
    assert 256 < asked.need_bytes <= asked.least.sram_bytes - problem.reserved_bytes
