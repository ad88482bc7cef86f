"""Outputs take the bytes of an input only where nobody misses it."""

from __future__ import annotations

import numpy as np

from ooc_solve.models.in_place import replaceable
from ooc_solve.models.vocabulary import DType, Network, Op, OpKind, Tensor, Window

SAME3 = Window((3, 3), pads=(1, 1, 1, 1))


def branching() -> Network:
    """Input x, a and b of it, twice = a + b, again = twice + b, row of one row, sum of again and row, y."""
    names = ("x", "a", "b", "twice", "again", "sum", "y")
    tensors = {name: Tensor(name, 4, 4, 2, DType.INT8) for name in names}
    tensors["row"] = Tensor("row", 1, 4, 2, DType.INT8)
    table = np.zeros(256, np.uint8)
    weights = np.zeros((3, 3, 2), np.int8)
    ops = (
        Op("a", OpKind.LOOKUP, ("x",), "a", weights=table),
        Op("b", OpKind.DEPTHWISE, ("a",), "b", SAME3, 2, weights),
        Op("twice", OpKind.ADD, ("a", "b"), "twice"),
        Op("again", OpKind.MULTIPLY, ("twice", "b"), "again"),
        Op("row", OpKind.MAX_POOL, ("x",), "row", Window((4, 1))),
        Op("sum", OpKind.ADD, ("row", "again"), "sum"),
        Op("y", OpKind.LOOKUP, ("sum",), "y", weights=table),
    )
    return Network("branching", tensors, ops, ("x",), ("y",))


def test_inputs_give_their_bytes_away_to_their_last_reader() -> None:
    """Network inputs and outputs, tensors read later and those of another shape do not, nor do windows take any."""
    network = branching()
    found = {op.name: replaceable(network, range(k, k + 1)) for k, op in enumerate(network.ops)}
    assert found == {
        "a": (),  # of the network's input
        "b": (),  # a window reads its neighbours, and a is read again
        "twice": ("a",),
        "again": ("twice", "b"),
        "row": (),
        "sum": ("again",),
        "y": (),  # the network's output
    }


def test_operators_of_the_same_stage_are_readers_too() -> None:
    """Patches interleave the operators of a fused stage, so what any of them reads stays."""
    network = branching()
    assert replaceable(network, range(1, 3)) == ()
    assert replaceable(network, range(2, 4)) == ()
    assert replaceable(network, range(4, 6)) == ("again",)
