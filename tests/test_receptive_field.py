"""What makes patches overlap, and networks with smaller kernels."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from ooc_solve.api import load
from ooc_solve.models.patches import fused_tilings
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import DType, Network, Op, OpKind, Plan, Selection, Tensor, Tiling, Window
from ooc_solve.receptive_field import (
    cut_kernels,
    grown_op,
    halos,
    receptive_rows,
    redistributed,
    shrunk,
    shrunk_op,
)


@pytest.fixture
def fused(tiny_problem: Problem, planned: Callable[[Problem, Selection, bool], Plan]) -> Plan:
    """The tiny network with its first three operators fused, in patches of two rows that are computed again."""
    tilings = fused_tilings(tiny_problem.network, range(3), 2, 8, False, True)
    assert tilings is not None
    rest = (Tiling(1, 1, 16, 16), Tiling(1, 1, 10, 16), Tiling(1, 1, 10, 10))
    return planned(tiny_problem, Selection((*tilings, *rest), frozenset({"point", "pool", "dense"})), False)


def test_each_kernel_adds_its_reach_times_the_strides_before(tiny_problem: Problem, fused: Plan) -> None:
    """Behind a convolution of stride 2 a kernel of three rows adds four rows of the input, the convolution two."""
    assert [(halo.op, halo.kernel, halo.rows, halo.stage) for halo in halos(tiny_problem, fused)] == [
        ("depthwise", (3, 3), 4, 0),
        ("conv", (3, 3), 2, 0),
    ]


def test_what_is_computed_again_is_counted(tiny_problem: Problem, fused: Plan) -> None:
    """Four patches of two rows need 3 + 4 + 4 + 3 rows of the convolution's 8, and no more of the depthwise."""
    again = {halo.op: halo.again for halo in halos(tiny_problem, fused)}
    assert again == {"depthwise": 0.0, "conv": 14 / 8 - 1}


def test_without_fused_stages_nothing_overlaps(
    tiny_problem: Problem, tiny_selection: Selection, planned: Callable[[Problem, Selection, bool], Plan]
) -> None:
    """A plan without patches has no halos; then the kernels that do not fit whole may cause some."""
    assert halos(tiny_problem, planned(tiny_problem, tiny_selection, False)) == ()
    assert cut_kernels(tiny_problem) == ()
    assert cut_kernels(replace(tiny_problem, sram_bytes=2048)) == ("conv", "depthwise")


@pytest.mark.parametrize("name", ["zoo:ds_cnn", "zoo:resnet8", "zoo:mobilenet_v1_025_96"])
def test_smaller_kernels_leave_all_shapes(name: str) -> None:
    """Whatever can be made smaller makes a network with the same tensors and fewer weights."""
    network = load(name)
    names = [op.name for op in network.ops if shrunk_op(network, op)]
    assert names
    smaller = shrunk(network, names)
    assert smaller is not None
    assert smaller.tensors == network.tensors
    assert smaller.digest != network.digest
    for op, old in zip(smaller.ops, network.ops, strict=True):
        source, output = network.tensors[op.inputs[0]], network.tensors[op.output]
        assert op.window.output_size(source.height, source.width) == (output.height, output.width)
        assert (op.weight_bytes < old.weight_bytes) is (op.name in names)


def convolution(pads: tuple[int, int, int, int], stride: int = 1, size: int = 8) -> tuple[Network, Op]:
    """One convolution of 5x5 on a square."""
    window = Window((5, 5), (stride, stride), pads=pads)
    high, wide = window.output_size(size, size)
    weights = np.arange(2 * 5 * 5 * 3, dtype=np.int8).reshape(2, 5, 5, 3)
    op = Op("conv", OpKind.CONV, ("in",), "out", window, weights=weights)
    tensors = {"in": Tensor("in", size, size, 3, DType.INT8), "out": Tensor("out", high, wide, 2, DType.INT8)}
    return Network("one", tensors, (op,), ("in",), ("out",)), op


def test_the_middle_of_a_kernel_stays() -> None:
    """A kernel of 5x5 with two rows of padding becomes its middle 3x3 with one."""
    network, op = convolution((2, 2, 2, 2))
    made = shrunk_op(network, op)
    assert made is not None
    assert (made.window.kernel, made.window.pads) == ((3, 3), (1, 1, 1, 1))
    assert op.weights is not None
    assert made.weights is not None
    assert np.array_equal(made.weights, op.weights[:, 1:4, 1:4])


def test_uneven_padding_keeps_the_output() -> None:
    """With padding on one side more than on the other the output stays as large as it was."""
    network, op = convolution((1, 1, 2, 2), stride=2)
    made = shrunk_op(network, op)
    assert made is not None
    assert made.window.output_size(8, 8) == op.window.output_size(8, 8)


def test_a_kernel_without_padding_stays() -> None:
    """Where a smaller kernel would make the output larger there is none, nor a network with it."""
    network, op = convolution((0, 0, 0, 0))
    assert shrunk_op(network, op) is None
    assert shrunk(network, ["conv"]) is None


@pytest.mark.parametrize(
    ("name", "rows"),
    [
        # conv_1 10x4/2 sees 10 rows, four 3x3 at pitch 2 add 16
        ("zoo:ds_cnn", 26),
        # 1 + 2 + 4 rows of the first block, then 3x3/2 and 3x3 at pitch 2, 3x3/2 at pitch 2 and 3x3 at pitch 4
        ("zoo:resnet8", 25),
    ],
)
def test_receptive_fields_are_those_of_the_arithmetic(name: str, rows: int) -> None:
    """Reaches times the strides before them add up, along the longest way to the last map."""
    assert receptive_rows(load(name)) == rows


@pytest.mark.parametrize("name", ["zoo:ds_cnn", "zoo:resnet8", "zoo:mobilenet_v1_025_96"])
def test_what_smaller_kernels_lose_larger_ones_behind_give_back(name: str) -> None:
    """An output sees at least as many rows as before, only later kernels grew, and tensors keep their shapes."""
    network = load(name)
    early = [op.name for op in network.ops if shrunk_op(network, op)][:3]
    later = [op.name for op in network.ops[6:]]
    smaller, found = shrunk(network, early), redistributed(network, early, later)
    assert smaller is not None
    assert found is not None
    made, grown = found
    assert receptive_rows(smaller) < receptive_rows(network) <= receptive_rows(made)
    assert set(grown) <= set(later)
    assert made.tensors == network.tensors
    assert len({made.digest, smaller.digest, network.digest}) == 3
    for op, old in zip(made.ops, network.ops, strict=True):
        changed = op.window.kernel[0] - old.window.kernel[0]
        assert (changed > 0) is (op.name in grown)
        assert (changed < 0) is (op.name in early)


def test_nothing_is_moved_where_no_kernel_can_grow() -> None:
    """Without later kernels there is no such network; with ones that see the whole map there is none either."""
    network = load("zoo:resnet8")
    assert redistributed(network, ["conv_2"], []) is None
    assert redistributed(network, ["conv_2"], ["conv_14"]) is None


def test_a_larger_kernel_has_zeros_around() -> None:
    """Two rows and columns more, padded as much, and the output as large as before."""
    network, op = convolution((2, 2, 2, 2))
    made = grown_op(network, op)
    assert made is not None
    assert (made.window.kernel, made.window.pads) == ((7, 7), (3, 3, 3, 3))
    assert made.window.output_size(8, 8) == op.window.output_size(8, 8)
    assert op.weights is not None
    assert made.weights is not None
    assert np.array_equal(made.weights[:, 1:-1, 1:-1], op.weights)
    assert not made.weights[:, 0].any()
    assert grown_op(*convolution((2, 2, 2, 2), size=6)) is None
