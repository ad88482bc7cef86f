"""The workspace of a stage is never overestimated, and exact where storage adds no padding."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn

from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    DType,
    LoopOrder,
    Network,
    Op,
    OpKind,
    Selection,
    TaskGraph,
    Tensor,
    Tiling,
    Window,
)
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.options import KEPT, OptionCosts

BusiestStep = Callable[[TaskGraph, int], int]


def network(side: int, inputs: int, outputs: int, window: Window) -> Network:
    """A pool that does nothing, so that its output can be spilled in planes, and a convolution."""
    height, width = window.output_size(side, side)
    tensors = {name: Tensor(name, side, side, inputs, DType.INT8) for name in ("x", "y")}
    tensors["z"] = Tensor("z", height, width, outputs, DType.INT8)
    fields = {
        "weights": np.zeros((outputs, *window.kernel, inputs), np.int8),
        "bias": np.zeros(outputs, np.int32),
        "multiplier": np.ones(outputs, np.float32),
    }
    pool = Op("pool", OpKind.MAX_POOL, ("x",), "y")
    conv = Op("conv", OpKind.CONV, ("y",), "z", window, **fields)  # type: ignore[arg-type]
    return Network("two", tensors, (pool, conv), ("x",), ("z",))


def needs(
    busiest_step_bytes: BusiestStep, net: Network, plane: int, rows: int, tiling: Tiling, output: int
) -> tuple[int, int] | None:
    """What an option of the convolution says it needs beside kept tensors, and what its tiles need.

    None where storage cannot address the tiles.
    """
    problem = Problem(net, load_target("u585-octal"), RESERVED_BYTES + (1 << 16), IoPlace.STORAGE)
    option = OptionCosts(problem).cost(net.ops[1], tiling, (plane,), output)
    if option is None:
        return None
    side = net.tensors["y"].height
    selection = Selection(
        (Tiling(rows, side, plane, net.tensors["x"].channels), tiling),
        frozenset({"z"} if output == KEPT else ()),
    )
    try:
        graph = expand(problem, selection)
    except SelectionError:
        return None
    kept = problem.buffer_bytes(net.tensors["z"].size_bytes) if output == KEPT else 0
    return option.need_bytes, busiest_step_bytes(graph, 1) - kept


HOLDS = (
    (LoopOrder.WEIGHTS_OUTER, False, False),
    (LoopOrder.ACTIVATIONS_OUTER, False, False),
    (LoopOrder.ACTIVATIONS_OUTER, True, False),
    (LoopOrder.WEIGHTS_OUTER, False, True),
)


@st.composite
def stages(draw: DrawFn) -> tuple[Network, int, int, Tiling, int]:
    """A convolution with any tiling at all, not only those that the option space offers."""
    side, inputs, outputs = draw(st.integers(1, 6)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (2, 1), (1, 3)]))
    window = Window(
        kernel, pads=draw(st.sampled_from([(0, 0, 0, 0), (1, 1, 1, 1), (3, 0, 0, 1), (0, 2, 3, 0)]))
    )
    assume(min(window.output_size(side, side)) > 0)
    net = network(side, inputs, outputs, window)
    out = net.tensors["z"]
    plane = draw(st.integers(1, inputs))
    output = draw(st.sampled_from([KEPT, -1]))
    loop, hold_weights, hold_inputs = draw(st.sampled_from(HOLDS))
    rows, columns = draw(st.integers(1, out.height)), draw(st.sampled_from([out.width, 1, 2]))
    channels = draw(st.integers(1, outputs))
    tiling = Tiling(rows, min(columns, out.width), channels, plane, loop, hold_weights, hold_inputs)
    return net, plane, draw(st.integers(1, side)), tiling, KEPT if output == KEPT else channels


@given(stage=stages())
@settings(max_examples=500)
def test_never_more_than_the_busiest_tile(
    stage: tuple[Network, int, int, Tiling, int], busiest_step_bytes: BusiestStep
) -> None:
    """Whatever the tiling, order and residences, some tile needs at least what the option says."""
    found = needs(busiest_step_bytes, *stage)
    assume(found is not None)
    assert found is not None
    promised, real = found
    assert promised <= real


@pytest.mark.parametrize("output", [KEPT, 8])
@pytest.mark.parametrize(("loop", "hold_weights", "hold_inputs"), HOLDS)
def test_exact_where_nothing_is_padded(
    loop: LoopOrder, hold_weights: bool, hold_inputs: bool, output: int, busiest_step_bytes: BusiestStep
) -> None:
    """With rows and planes of whole granules, the estimate is the bytes of the busiest tile."""
    net = network(8, 16, 24, Window((3, 3), pads=(1, 1, 1, 1)))
    for rows, split in ((8, 16), (4, 16), (2, 16), (2, 8), (8, 4)):
        tiling = Tiling(rows, 8, 8, split, loop, hold_weights, hold_inputs)
        found = needs(busiest_step_bytes, net, split, 8, tiling, output)
        assert found is not None
        assert found[0] == found[1], (rows, split)


def test_a_kept_output_is_not_counted_before_it_exists(busiest_step_bytes: BusiestStep) -> None:
    """Of a single tile in two splits, the larger first one needs no output; the last one does."""
    net = network(2, 9, 8, Window())
    tiling = Tiling(2, 2, 8, 8)
    # 8 weights, 64 bytes of parameters and a checksum; 4 bytes of input; 32 sums: in units of 16
    assert needs(busiest_step_bytes, net, 8, 2, tiling, KEPT) == (80 + 16 + 128,) * 2


def test_an_output_tile_is_not_counted_before_the_last_split(busiest_step_bytes: BusiestStep) -> None:
    """While partial sums grow, the tile that goes to storage has no buffer."""
    net = network(4, 12, 8, Window((3, 3), pads=(1, 1, 1, 1)))
    # weights and checksum of the first split, input and sums: in units of 16
    assert needs(busiest_step_bytes, net, 8, 4, Tiling(4, 4, 8, 8), 8) == ((576 + 16) + 128 + 512,) * 2
