"""Operators are merged only where nothing changes."""

from __future__ import annotations

import numpy as np
import pytest

from ooc_solve.models.op_fusion import clamp_of, fold_pads, fuse_clamps, without_unused
from ooc_solve.models.vocabulary import Op, OpKind, Place, Quantization, Window

SIZES = {"x": (3, 3, 1), "a": (4, 3, 1)}
SAME = Quantization(0.5, -3)
RELU = np.clip(np.arange(256, dtype=np.uint8).view(np.int8), -3, 90).view(np.uint8)


def pad(value: int = -3) -> Op:
    """A MOVE that pads one row above."""
    return Op("p", OpKind.MOVE, ("x",), "a", places=(Place(start=(-1, 0, 0)),), fill=value)


def conv(source: str = "a", output: str = "b") -> Op:
    """A convolution with a column of padding of its own."""
    return Op(
        "c", OpKind.CONV, (source,), output, Window(pads=(0, 2, 0, 0)), weights=np.ones((1, 1, 1, 1), np.int8)
    )


def relu(source: str = "b", output: str = "y") -> Op:
    """A LOOKUP that clamps to -3..90."""
    return Op("r", OpKind.LOOKUP, (source,), output, weights=RELU)


def test_a_pad_by_the_zero_point_goes_into_all_its_convolutions() -> None:
    """Pads add up, and the MOVE is gone."""
    ops = fold_pads([pad(), conv(), conv(output="d")], SIZES, {"x": -3}, {"b", "d"})
    assert [op.inputs for op in ops] == [("x",), ("x",)]
    assert [op.window.pads for op in ops] == [(1, 2, 0, 0)] * 2


@pytest.mark.parametrize("case", ["another value", "another reader", "an output", "cuts off"])
def test_other_pads_stay(case: str) -> None:
    """A pad by another value, with another reader, that is an output itself or cuts off rows, stays."""
    sizes = SIZES | ({"a": (3, 3, 1)} if case == "cuts off" else {})
    ops = [pad(0 if case == "another value" else -3), conv()]
    ops += [Op("m", OpKind.MAX_POOL, ("a",), "m")] if case == "another reader" else []
    kept = {"b", "m"} | ({"a"} if case == "an output" else set())
    assert fold_pads(ops, sizes, {"x": -3}, kept) == ops


def test_a_clamping_table_becomes_the_range_of_its_producer() -> None:
    """The producer takes the table's output and the narrower range."""
    (op,) = fuse_clamps([conv(), relu()], {"b": SAME, "y": SAME}, {"y"})
    assert (op.output, op.clamp) == ("y", (-3, 90))


@pytest.mark.parametrize("case", ["another scale", "another reader", "an output"])
def test_other_tables_stay(case: str) -> None:
    """A table between different scales, or behind a tensor that is read elsewhere, stays."""
    ops = [conv(), relu()] + ([conv("b", "d")] if case == "another reader" else [])
    scales = {"b": Quantization(0.25, -3) if case == "another scale" else SAME, "y": SAME, "d": SAME}
    kept = {"y", "d"} | ({"b"} if case == "an output" else set())
    assert fuse_clamps(ops, scales, kept) == ops


def test_only_clamps_count_as_clamps() -> None:
    """A table that moves one value inside its limits is no clamp."""
    assert clamp_of(RELU) == (-3, 90)
    moved = RELU.copy()
    moved[10] = 11
    assert clamp_of(moved) is None
    assert clamp_of(np.stack([RELU, RELU])) is None


def test_unused_operators_go() -> None:
    """What no output follows from is dropped, in order."""
    ops = [conv("x", "b"), conv("x", "d"), relu("b", "y")]
    assert [op.output for op in without_unused(ops, {"y"})] == ["b", "y"]
