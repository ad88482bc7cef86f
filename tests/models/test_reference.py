"""The reference executor computes by its formulas, rounds halves to even and checks what it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ooc_solve.models import reference
from ooc_solve.models.vocabulary import (
    DType,
    InputError,
    Network,
    Op,
    OpKind,
    Place,
    Quantization,
    Tensor,
    Window,
)

Array = NDArray[Any]


def single(op: Op, *sources: Tensor, output: Tensor) -> Network:
    """A network of one operator."""
    return Network("one", {t.name: t for t in (*sources, output)}, (op,), op.inputs, (op.output,))


def tensor(
    name: str, shape: tuple[int, int, int], scale: float = 1.0, zero: int = 0, dtype: DType = DType.INT8
) -> Tensor:
    """A tensor whose graph shape is its stored shape."""
    return Tensor(name, *shape, dtype, Quantization(scale, zero), graph_shape=shape)


def result(network: Network, *inputs: Array) -> Array:
    """Output of a network of one operator."""
    return reference.run(network, dict(zip(network.inputs, inputs, strict=True)))[network.outputs[0]]


def test_convolution_is_the_sum_it_says() -> None:
    """Groups, stride, dilation, pads by the zero point, bias and range, against four nested loops."""
    rng = np.random.default_rng(1)
    window = Window((2, 3), (2, 1), (1, 2), (1, 0, 2, 3))
    source = tensor("x", (5, 7, 4), 0.5, 3)
    height, width = window.output_size(5, 7)
    output = tensor("y", (height, width, 6), 0.25, -7)
    weights, bias = rng.integers(-128, 128, (6, 2, 3, 2)), rng.integers(-500, 500, 6)
    multiplier = rng.uniform(0.001, 0.01, 6).astype(np.float32)
    op = Op(
        "c",
        OpKind.CONV,
        ("x",),
        "y",
        window,
        2,
        weights.astype(np.int8),
        bias.astype(np.int32),
        multiplier,
        (-50, 60),
    )
    data = rng.integers(-128, 128, (5, 7, 4)).astype(np.int8)
    expected = np.zeros((height, width, 6), np.int8)
    for y, x, o in np.ndindex(height, width, 6):
        total = int(bias[o])
        for ky, kx, c in np.ndindex(2, 3, 2):
            row, column = 2 * y + ky - 1, x + 2 * kx
            if 0 <= row < 5 and 0 <= column < 7:
                total += (int(data[row, column, 2 * (o // 3) + c]) - 3) * int(weights[o, ky, kx, c])
        real = np.float32(total) * multiplier[o]
        expected[y, x, o] = min(max(int(np.rint(real)) - 7, -50), 60)
    assert np.array_equal(result(single(op, source, output=output), data), expected)


def test_depthwise_is_a_convolution_with_a_group_per_channel() -> None:
    """The same weights as CONV with as many groups as channels give the same bytes."""
    rng = np.random.default_rng(2)
    window = Window((3, 2), (1, 2), pads=(1, 1, 0, 0))
    source, output = tensor("x", (6, 5, 4), 0.5, -9), tensor("y", (*window.output_size(6, 5), 4), 0.25, 4)
    weights = rng.integers(-128, 128, (3, 2, 4)).astype(np.int8)
    shared: dict[str, Any] = {
        "bias": np.arange(4, dtype=np.int32),
        "multiplier": np.full(4, 0.003, np.float32),
    }
    depthwise = Op("d", OpKind.DEPTHWISE, ("x",), "y", window, weights=weights, **shared)
    grouped = np.ascontiguousarray(weights.transpose(2, 0, 1)[..., None])
    conv = Op("c", OpKind.CONV, ("x",), "y", window, 4, grouped, **shared)
    data = rng.integers(-128, 128, (6, 5, 4)).astype(np.int8)
    found, expected = (result(single(op, source, output=output), data) for op in (depthwise, conv))
    assert np.array_equal(found, expected)


def test_halves_round_to_even() -> None:
    """In CONV the sum alone is rounded; in ADD the zero point is added first."""
    data = np.array([1, 3, 5, -1, -3], np.int8).reshape(1, 5, 1)
    source, output = tensor("x", (1, 5, 1), 1.0, 0), tensor("y", (1, 5, 1), 2.0, 1)
    op = Op(
        "c",
        OpKind.CONV,
        ("x",),
        "y",
        weights=np.ones((1, 1, 1, 1), np.int8),
        multiplier=np.array([0.5], np.float32),
    )
    assert result(single(op, source, output=output), data).ravel().tolist() == [1, 3, 3, 1, -1]
    zeros = tensor("o", (1, 5, 1), 1.0, 0)
    both = single(Op("a", OpKind.ADD, ("x", "o"), "y"), source, zeros, output=output)
    assert result(both, data, np.zeros_like(data)).ravel().tolist() == [2, 2, 4, 0, 0]


def test_average_counts_what_is_inside_unless_told() -> None:
    """Pads count in the divisor only with ``count_include_pad``."""
    data = np.full((2, 2, 1), 12, np.int8)
    source, output = tensor("x", (2, 2, 1)), tensor("y", (1, 1, 1))
    window = Window((3, 3), pads=(1, 1, 0, 0))
    for include, expected in ((False, 12), (True, round(48 / 9))):
        op = Op("p", OpKind.AVERAGE_POOL, ("x",), "y", window, count_include_pad=include)
        assert result(single(op, source, output=output), data).item() == expected


def test_maximum_ignores_pads() -> None:
    """A window of which only the corner lies inside gives that corner, however small."""
    data = np.full((1, 1, 1), -120, np.int8)
    op = Op("m", OpKind.MAX_POOL, ("x",), "y", Window((2, 2), pads=(1, 1, 0, 0)))
    network = single(op, tensor("x", (1, 1, 1)), output=tensor("y", (1, 1, 1)))
    assert result(network, data).item() == -120


def test_tables_are_indexed_by_the_byte() -> None:
    """Value -1 reads entry 255, in one table or in a channel's own."""
    table = np.arange(256, dtype=np.uint8)[::-1].copy()
    data = np.array([[[-1, -1]]], np.int8)
    for weights, expected in ((table, [0, 0]), (np.stack([table, table ^ 1]), [0, 1])):
        op = Op("l", OpKind.LOOKUP, ("x",), "y", weights=weights)
        network = single(op, tensor("x", (1, 1, 2)), output=tensor("y", (1, 1, 2)))
        assert result(network, data).ravel().tolist() == expected


def test_quantize_and_dequantize_use_division_and_multiplication() -> None:
    """Out of range values saturate; halves round to even before the zero point is added."""
    source = tensor("x", (1, 1, 5), dtype=DType.FLOAT32)
    network = single(Op("q", OpKind.QUANTIZE, ("x",), "y"), source, output=tensor("y", (1, 1, 5), 2.0, 1))
    data = np.array([[[1, 3, -1, 1e9, -np.inf]]], np.float32)
    assert result(network, data).ravel().tolist() == [1, 3, 1, 127, -128]
    back = single(
        Op("d", OpKind.DEQUANTIZE, ("x",), "y"),
        tensor("x", (1, 1, 2), 0.1, 5),
        output=tensor("y", (1, 1, 2), dtype=DType.FLOAT32),
    )
    found = result(back, np.array([[[6, -5]]], np.int8))
    assert found.dtype == np.float32
    assert found.ravel().tolist() == [np.float32(0.1), np.float32(-10) * np.float32(0.1)]


def test_softmax_adds_up_and_follows_the_exponential() -> None:
    """Every pixel sums to 1 within rounding, and is the exponential's share of it within half a step."""
    scale = 0.05
    table, steps = reference.exponentials(scale, 6), np.array([255], np.float32)
    op = Op("s", OpKind.SOFTMAX, ("x",), "y", weights=table, multiplier=steps)
    network = single(op, tensor("x", (2, 3, 6), scale, 4), output=tensor("y", (2, 3, 6), 1 / 255, -128))
    data = np.random.default_rng(3).integers(-128, 128, (2, 3, 6)).astype(np.int8)
    powers = np.exp(data * scale)
    expected = 255 * powers / powers.sum(axis=-1, keepdims=True)
    assert np.abs(result(network, data).astype(float) + 128 - expected).max() <= 0.5001


def test_softmax_of_a_single_value_is_one() -> None:
    """A sum of one value does not overflow: its share is all output steps."""
    table, steps = reference.exponentials(0.1, 1), np.array([200], np.float32)
    op = Op("s", OpKind.SOFTMAX, ("x",), "y", weights=table, multiplier=steps)
    network = single(op, tensor("x", (1, 1, 1)), output=tensor("y", (1, 1, 1), 1 / 200, -128))
    assert result(network, np.array([[[5]]], np.int8)).item() == 72


def test_permutation_and_move_take_bytes_as_they_are() -> None:
    """PERMUTE reads by strides; MOVE pads by its fill, repeats, skips, and joins what it finds first."""
    data = np.arange(6, dtype=np.int8).reshape(1, 2, 3)
    permute = Op("p", OpKind.PERMUTE, ("x",), "y", permutation=((3, 1), (2, 3)))
    found = result(single(permute, tensor("x", (1, 2, 3)), output=tensor("y", (1, 3, 2))), data)
    assert found.ravel().tolist() == [0, 3, 1, 4, 2, 5]
    pad = Op("p", OpKind.MOVE, ("x",), "y", places=(Place(start=(-1, 0, 0)),), fill=9)
    found = result(single(pad, tensor("x", (1, 2, 3)), output=tensor("y", (2, 3, 3))), data)
    assert found[1, :2].ravel().tolist() == list(range(6))
    assert (found[0] == 9).all()
    assert (found[1, 2] == 9).all()
    twice = Op("r", OpKind.MOVE, ("x",), "y", places=(Place(step=(1, 1, 2), period=(2, 1, 1)),))
    found = result(single(twice, tensor("x", (1, 2, 3)), output=tensor("y", (2, 2, 2))), data)
    assert found.tolist() == [[[0, 2], [3, 5]]] * 2
    concat = Op("c", OpKind.MOVE, ("x", "z"), "y", places=(Place(), Place.shifted(2, 3)))
    sources = (tensor("x", (1, 2, 3)), tensor("z", (1, 2, 1)))
    found = result(
        single(concat, *sources, output=tensor("y", (1, 2, 4))), data, np.full((1, 2, 1), 7, np.int8)
    )
    assert found.ravel().tolist() == [0, 1, 2, 7, 3, 4, 5, 7]


def test_inputs_and_outputs_have_the_graph_s_shape_and_type() -> None:
    """Packing checks shape and type by name; unpacking checks the number of bytes."""
    source = Tensor("x", 1, 1, 3, DType.FLOAT32, graph_shape=(1, 3))
    network = single(Op("q", OpKind.QUANTIZE, ("x",), "y"), source, output=tensor("y", (1, 1, 3)))
    packed = reference.pack_input(network, "x", np.array([[1, 2, 3]], np.float32))
    assert packed == b"\x00\x00\x80\x3f\x00\x00\x00\x40\x00\x00\x40\x40"
    with pytest.raises(
        InputError, match=r"Input 'x': must be float32 of shape \(1, 3\) \(got float64, \(1, 3\)\)"
    ):
        reference.pack_input(network, "x", np.zeros((1, 3)))
    with pytest.raises(InputError, match="Input 'x': must be given"):
        reference.run(network, {})
    assert reference.unpack_output(network, "y", b"\x01\xff\x80").ravel().tolist() == [1, -1, -128]
    with pytest.raises(InputError, match=r"Output 'y': must be 3 bytes \(got 2\)"):
        reference.unpack_output(network, "y", b"12")


def test_planar_inputs_are_read_channel_by_channel() -> None:
    """A planar tensor is stored channels outermost; strides of a PERMUTE count in that order."""
    source = Tensor("x", 2, 2, 3, DType.INT8, Quantization(1, 0), planar=True, graph_shape=(1, 3, 2, 2))
    op = Op("p", OpKind.PERMUTE, ("x",), "y", permutation=((4, 1), (3, 4)))
    data = np.arange(12, dtype=np.int8).reshape(1, 3, 2, 2)
    found = result(single(op, source, output=tensor("y", (2, 2, 3))), data)
    assert np.array_equal(found, data[0].transpose(1, 2, 0))
