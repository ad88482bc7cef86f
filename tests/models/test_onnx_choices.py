"""Pads, slices, parts and other sizes choose the elements that onnxruntime chooses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from ooc_solve.models.vocabulary import InputError, OpKind
from tests.models.onnx_sketch import OWN, Sketch, compare, kinds

FEW = settings(max_examples=30)


@pytest.mark.parametrize("zero", [-128, 5])
@pytest.mark.parametrize("last", [True, False])
def test_pads_by_zero_fold_into_the_convolution(tmp_path: Path, zero: int, last: bool) -> None:
    """An explicit Pad by real 0 in front of a Conv is its padding, in either layout."""
    sketch = Sketch((1, 6, 7, 3) if last else (1, 3, 6, 7))
    pads = (0, 1, 0, 0, 0, 2, 1, 0) if last else (0, 0, 1, 0, 0, 0, 2, 1)
    padded = sketch.node("Pad", sketch.real(zero=zero), sketch.constant(np.array(pads)))
    stored = sketch.node("QuantizeLinear", padded, *sketch.pair(0.05, zero))
    if last:
        stored = sketch.node("Transpose", stored, perm=(0, 3, 1, 2))
    result = sketch.node("Conv", sketch.real(stored, 0.05, zero), sketch.weight(4, 3, 3, 3), strides=(2, 2))
    sketch.end(result)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1
    assert OpKind.MOVE not in kinds(network)
    assert next(op for op in network.ops if op.kind is OpKind.CONV).window.pads == (1, 0, 2, 1)


@pytest.mark.parametrize("axes", [(1,), (2,), (3,), (1, 3), (1, 2)])
def test_pads_along_any_axes(tmp_path: Path, axes: tuple[int, ...]) -> None:
    """Channels are padded like any other axis, if need be in a permuted copy."""
    sketch = Sketch((1, 3, 4, 5))
    pads = np.zeros((2, 4), np.int64)
    pads[0, list(axes)], pads[1, list(axes)] = 1, 2
    pooled = sketch.node("MaxPool", sketch.real(zero=9), kernel_shape=(2, 2))
    sketch.end(sketch.node("Pad", pooled, sketch.constant(pads.reshape(-1))), 0.05, 9)
    _, steps = compare(sketch, tmp_path)
    assert steps.max() == 0


def test_padding_by_another_value_stays(tmp_path: Path) -> None:
    """A Pad by a value that is not real 0 is an operator of its own, and in float32 where no byte is the value."""
    sketch = Sketch((1, 3, 4, 5))
    pads, filling = sketch.constant(np.array([0, 0, 1, 1, 0, 0, 1, 1])), sketch.constant(np.float32(0.5))
    padded = sketch.node("Pad", sketch.real(scale=0.25, zero=4), pads, filling)
    sketch.end(padded, 0.25, 4)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert OpKind.MOVE in kinds(network)
    sketch.constants[1] = numpy_helper.from_array(np.array(0.3, np.float32), "c1")
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert OpKind.DEQUANTIZE in kinds(network)


@pytest.mark.parametrize("axis", [1, 2, 3])
def test_four_parts_join_in_pairs_along_any_axis(tmp_path: Path, axis: int) -> None:
    """Four parts cost three moves, each element two copies; along height, width and channels alike."""
    shapes = [
        tuple(k + 1 if axis == place else size for place, size in enumerate((1, 3, 4, 5))) for k in range(4)
    ]
    sketch = Sketch(*shapes)
    output = sketch.pair(0.1, 7)
    parts = [("x" if k == 0 else f"x{k}", *(output if k % 2 else sketch.pair(0.06))) for k in range(4)]
    operands = [name for part in parts for name in part]
    sketch.node("QLinearConcat", *output, *operands, output="y", domain=OWN, axis=axis)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert kinds(network).count(OpKind.MOVE) == 3


@FEW
@given(data=st.data(), seed=st.integers(0, 99))
def test_slices_and_pads_choose_elements(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject, seed: int
) -> None:
    """Any starts, ends and steps along any axes, then pads by a value or the edges, move bytes as they are."""
    sketch = Sketch((1, 3, 6, 7), seed=seed)
    axes = data.draw(st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True))
    numbers = {
        "starts": [data.draw(st.integers(-3, 2)) for _ in axes],
        "ends": [data.draw(st.sampled_from([3, -1, 100])) for _ in axes],
        "axes": axes,
        "steps": [data.draw(st.integers(1, 3)) for _ in axes],
    }
    spans = zip(numbers["starts"], numbers["ends"], axes, numbers["steps"], strict=True)
    assume(
        all(range(*slice(start, end, step).indices((1, 3, 6, 7)[axis])) for start, end, axis, step in spans)
    )
    given_numbers = [sketch.constant(np.array(values, np.int64)) for values in numbers.values()]
    cut = sketch.node("Slice", "x", *given_numbers)
    mode = data.draw(st.sampled_from(["constant", "edge"]))
    pads = [
        0,
        *(data.draw(st.integers(0, 2)) for _ in range(3)),
        0,
        *(data.draw(st.integers(0, 2)) for _ in range(3)),
    ]
    filling = [sketch.constant(np.int8(9))] if mode == "constant" else []
    sketch.node("Pad", cut, sketch.constant(np.array(pads, np.int64)), *filling, output="y", mode=mode)
    _, steps = compare(sketch, tmp_path_factory.mktemp("slice"))
    assert steps.max() == 0


@pytest.mark.parametrize("mode", ["asymmetric", "half_pixel", "pytorch_half_pixel", "align_corners"])
@pytest.mark.parametrize("nearest", ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"])
@pytest.mark.parametrize("size", [(8, 10), (12, 5), (2, 5), (7, 9), (3, 4)])
def test_resize_takes_the_nearest(tmp_path: Path, mode: str, nearest: str, size: tuple[int, int]) -> None:
    """Whole and broken scales, however coordinates are transformed and rounded."""
    sketch = Sketch((1, 3, 4, 5))
    sizes = sketch.constant(np.array([1, 3, *size], np.int64))
    sketch.node(
        "Resize", "x", "", "", sizes, output="y",
        mode="nearest", coordinate_transformation_mode=mode, nearest_mode=nearest,
    )  # fmt: skip
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert kinds(network).count(OpKind.MOVE) == 1


def test_upsample_of_old_files(tmp_path: Path) -> None:
    """Opset 9 repeats by scales, between DequantizeLinear and QuantizeLinear of a later opset as Resize does."""
    sketch = Sketch((1, 2, 3, 4), opset=10)
    scales = sketch.constant(np.array([1, 1, 2, 3], np.float32))
    sketch.end(sketch.node("Resize", sketch.real(zero=3), scales, mode="nearest"), 0.05, 3)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert [op.places[0].period for op in network.ops if op.places] == [(6, 12, 1)]


def test_uneven_scales_are_refused(tmp_path: Path) -> None:
    """Where rounding errors of float32 make steps uneven, no formula gives them."""
    sketch = Sketch((1, 1, 1, 10))
    sizes = sketch.constant(np.array([1, 1, 1, 6], np.int64))
    sketch.node(
        "Resize", "x", "", "", sizes, output="y",
        mode="nearest", coordinate_transformation_mode="half_pixel", nearest_mode="floor",
    )  # fmt: skip
    with pytest.raises(InputError, match="must repeat or skip positions evenly"):
        compare(sketch, tmp_path)


def test_split_has_several_outputs(tmp_path: Path) -> None:
    """Parts of a Split are read apart, joined again they are what came in."""
    sketch = Sketch((1, 6, 4, 5))
    node = helper.make_node(
        "Split", ["x", sketch.constant(np.array([1, 2, 3]))], ["a", "b", "c"], "parts", axis=1
    )
    sketch.nodes.append(node)
    sketch.node("Concat", "c", "a", "b", output="y", axis=1)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert kinds(network).count(OpKind.MOVE) == 5
