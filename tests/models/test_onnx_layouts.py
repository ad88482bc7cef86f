"""Operators that only lay out anew move nothing, or permute once."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ooc_solve.models.vocabulary import OpKind
from tests.models.onnx_sketch import Sketch, compare, kinds


def test_channel_shuffle_is_one_permutation(tmp_path: Path) -> None:
    """Reshape, Transpose and Reshape between convolutions cost one PERMUTE and no rounding."""
    sketch = Sketch((1, 3, 3, 6))
    moved = sketch.node("Transpose", "x", perm=(0, 3, 1, 2))
    split = sketch.node("Reshape", moved, sketch.constant(np.array([1, 2, 3, 3, 3])))
    mixed = sketch.node("Transpose", split, perm=(0, 2, 1, 3, 4))
    joined = sketch.node("Reshape", mixed, sketch.constant(np.array([1, 6, 3, 3])))
    result = sketch.node("Conv", sketch.real(joined), sketch.weight(6, 1, 3, 3, channels=0), group=6)
    sketch.end(sketch.node("Flatten", result))
    network, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1
    assert kinds(network) == [OpKind.PERMUTE, OpKind.DEPTHWISE]


def test_residuals_of_different_layout_meet(tmp_path: Path) -> None:
    """A sum of two tensors seen through different views permutes one of them."""
    sketch = Sketch((1, 4, 5, 3), (1, 3, 4, 5))
    turned = sketch.node("Transpose", sketch.real(zero=1), perm=(0, 3, 1, 2))
    sketch.end(sketch.node("Add", turned, sketch.real("x1", 0.03)))
    network, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1
    assert OpKind.PERMUTE in kinds(network)


def test_equal_scales_around_layout_cost_nothing(tmp_path: Path) -> None:
    """DQ, Transpose, Q with one scale is a view; with another scale it is a table."""
    for scale, expected in ((0.05, 0), (0.04, 1)):
        sketch = Sketch((1, 2, 3, 4))
        value = sketch.node("Transpose", sketch.real(scale=0.05, zero=3), perm=(0, 2, 3, 1))
        stored = sketch.node("QuantizeLinear", value, *sketch.pair(scale, 3))
        sketch.node("Transpose", stored, perm=(0, 3, 1, 2), output="y")
        network, steps = compare(sketch, tmp_path)
        assert steps.max() == 0
        tables = [op.weights for op in network.ops if op.weights is not None]
        changing = [table for table in tables if not np.array_equal(table, np.arange(256))]
        assert (
            len(changing) == expected
        )  # an output that is the input is copied by a table that changes nothing


def test_two_shuffles_in_a_row_are_two_permutations(tmp_path: Path) -> None:
    """What no nest of loops could read at once is copied in between."""
    sketch = Sketch((1, 6, 2, 3))
    value = "x"
    for shape in ((1, 2, 3, 2, 3), (1, 3, 2, 2, 3)):
        split = sketch.node("Reshape", value, sketch.constant(np.array(shape)))
        mixed = sketch.node("Transpose", split, perm=(0, 2, 1, 3, 4))
        value = sketch.node("Reshape", mixed, sketch.constant(np.array([1, 6, 2, 3])))
        value = sketch.node("Transpose", value, perm=(0, 2, 1, 3))
        value = sketch.node("Reshape", value, sketch.constant(np.array([1, 6, 2, 3])))
    sketch.node("Identity", value, output="y")
    _, steps = compare(sketch, tmp_path)
    assert steps.max() == 0


@pytest.mark.parametrize("kind", ["DCR", "CRD", ""])
def test_blocks_of_channels_and_squares_of_pixels(tmp_path: Path, kind: str) -> None:
    """DepthToSpace in both modes and SpaceToDepth move every element where onnxruntime does."""
    sketch = Sketch((1, 8, 4, 6))
    if kind:
        moved = sketch.node("DepthToSpace", sketch.real(zero=2), blocksize=2, mode=kind)
    else:
        moved = sketch.node("SpaceToDepth", sketch.real(zero=2), blocksize=2)
    sketch.end(moved, 0.05, 2)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert set(kinds(network)) <= {OpKind.PERMUTE}
