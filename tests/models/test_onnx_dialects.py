"""Small generated models give what onnxruntime gives, operator by operator and attribute by attribute."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper

from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.vocabulary import InputError, OpKind
from tests.models.onnx_sketch import Sketch, compare, kinds

Array = NDArray[Any]

FEW = settings(max_examples=30)


# ----------------------------------------------- float operators between DQ and Q


def test_relu_and_clip_become_the_range_of_a_convolution(tmp_path: Path) -> None:
    """Between Conv and Q they cost nothing; with a Q/DQ pair of their own and equal scales neither."""
    sketch = Sketch((1, 5, 5, 4))
    moved = sketch.node("Transpose", "x", perm=(0, 3, 1, 2))
    result = sketch.node("Conv", sketch.real(moved), sketch.weight(6, 4, 3, 3, channels=0), pads=(1, 1, 1, 1))
    result = sketch.node("Clip", result, sketch.constant(np.float32(-1)), sketch.constant(np.float32(1.5)))
    stored = sketch.node("QuantizeLinear", result, *sketch.pair(0.03, -5))
    sketch.end(sketch.node("Relu", sketch.real(stored, 0.03, -5)), 0.03, -5)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.01
    assert kinds(network) == [OpKind.CONV, OpKind.PERMUTE]
    assert network.ops[0].clamp == (-5, 45)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("bounds", [("low", "high"), ("low", ""), ("", "high")])
def test_integers_may_be_clipped(tmp_path: Path, dtype: Any, bounds: tuple[str, str]) -> None:
    """A Clip of integers is exact, with one bound or two."""
    sketch = Sketch((1, 256), dtype=dtype)
    names = [
        sketch.constant(dtype(value)) if bound else "" for bound, value in zip(bounds, (20, 90), strict=True)
    ]
    sketch.node("Clip", "x", *names, output="y")
    _, steps = compare(sketch, tmp_path, [np.arange(256, dtype=np.uint8).view(dtype)[None]])
    assert steps.max() == 0


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("Sigmoid", {}),
        ("HardSigmoid", {"alpha": 0.2, "beta": 0.5}),
        ("LeakyRelu", {"alpha": 0.1}),
        ("Relu", {}),
        ("Tanh", {}),
        ("Exp", {}),
    ],
)
def test_functions_become_one_table(tmp_path: Path, kind: str, attributes: dict[str, Any]) -> None:
    """A function of one number between DQ and Q is a LOOKUP, at most a step off."""
    sketch = Sketch((1, 256))
    sketch.end(sketch.node(kind, sketch.real(scale=0.03), **attributes), 0.01)
    network, steps = compare(sketch, tmp_path, [np.arange(-128, 128, dtype=np.int8)[None]])
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.01
    assert kinds(network) == [OpKind.LOOKUP]


@pytest.mark.parametrize("shape", [(), (4, 1, 1), (1, 4, 1, 1)])
@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "PRelu"])
def test_constants_become_tables_per_channel(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    """A constant operand of one value, or of one per channel, is exact by table."""
    sketch = Sketch((1, 4, 3, 2))
    values = sketch.constant(sketch.rng.uniform(0.2, 2, shape).astype(np.float32))
    small = sketch.node("MaxPool", sketch.real(zero=3), kernel_shape=(1, 1))
    sketch.end(sketch.node(kind, small, values))
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    table = next(op for op in network.ops if op.kind is OpKind.LOOKUP).weights
    assert table is not None
    assert table.shape == ((256,) if shape == () else (4, 256))


def test_a_constant_from_the_left_keeps_its_place(tmp_path: Path) -> None:
    """``constant - x`` and ``constant / x`` are not ``x - constant`` and ``x / constant``."""
    sketch = Sketch((1, 256))
    less = sketch.node("Sub", sketch.constant(np.float32(1.5)), sketch.real(zero=0))
    sketch.end(less, 0.07, 3)
    _, steps = compare(sketch, tmp_path, [np.arange(-128, 128, dtype=np.int8)[None]])
    assert steps.max() == 0


@pytest.mark.parametrize("axes", [(2,), (3,), (2, 3), (1,), (1, 3)])
@pytest.mark.parametrize("keep", [0, 1])
def test_means_over_any_axes(tmp_path: Path, axes: tuple[int, ...], keep: int) -> None:
    """Means over height, width or both are windows; others are permuted first. One step at most."""
    sketch = Sketch((1, 4, 6, 5))
    value = sketch.node("MaxPool", sketch.real(), kernel_shape=(1, 1))
    sketch.end(sketch.node("ReduceMean", value, axes=axes, keepdims=keep), 0.02)
    _, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.05


def test_matmul_takes_the_bias_that_is_added(tmp_path: Path) -> None:
    """MatMul and Add of a quantised or a float bias are one convolution."""
    for quantised in (True, False):
        sketch = Sketch((1, 12))
        product = sketch.node("MatMul", sketch.real(scale=0.05), sketch.weight(12, 4))
        bias = sketch.constant(sketch.rng.integers(-90, 90, 4).astype(np.int32 if quantised else np.float32))
        if quantised:
            bias = sketch.node("DequantizeLinear", bias, sketch.constant(np.float32(0.05 * 0.01)))
        sketch.end(sketch.node("Add", product, bias), 1.0)
        network, steps = compare(sketch, tmp_path)
        assert steps.max() <= 1
        assert kinds(network) == [OpKind.CONV]
        assert network.ops[0].bias is not None
        assert network.ops[0].bias.any()


def test_weights_may_be_reached_through_constant_subgraphs(tmp_path: Path) -> None:
    """Constant nodes, a Transpose of weights and a target shape computed in the graph are folded."""
    sketch = Sketch((1, 3, 4, 2))
    turned = sketch.node("Transpose", sketch.weight(5, 24, channels=0), perm=(1, 0))
    shape = sketch.node("Shape", "x")
    first = sketch.node("Gather", shape, sketch.node("Constant", value_ints=[0]), axis=0)
    target = sketch.node("Concat", first, sketch.node("Constant", value_ints=[-1]), axis=0)
    flat = sketch.node("Reshape", "x", target)
    sketch.end(sketch.node("MatMul", sketch.real(flat), turned), 0.3)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1
    assert kinds(network) == [OpKind.CONV]


def test_softmax_below_opset_13_flattens(tmp_path: Path) -> None:
    """Softmax of opset 12 sums over all axes from its own on."""
    sketch = Sketch((1, 2, 3, 4), opset=12)
    sketch.end(sketch.node("Softmax", sketch.real(scale=0.02), axis=1), 1 / 256, -128)
    _, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1


def test_a_second_scale_for_one_tensor_is_a_copy(tmp_path: Path) -> None:
    """Two DequantizeLinear of one input that disagree are both obeyed."""
    sketch = Sketch((1, 64))
    sketch.end(sketch.node("Add", sketch.real(scale=0.03, zero=5), sketch.real(scale=0.05, zero=-7)))
    _, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1


@pytest.mark.parametrize("tall", [True, False])
def test_one_dimensional_convolution(tmp_path: Path, tall: bool) -> None:
    """A Conv over one axis is one over two; which one the axis lies along does not matter."""
    sketch = Sketch((1, 11, 3) if tall else (1, 3, 11))
    source = sketch.node("Transpose", "x", perm=(0, 2, 1)) if tall else "x"
    result = sketch.node("Conv", sketch.real(source), sketch.weight(4, 3, 3), pads=(2, 1), strides=(2,))
    sketch.end(result)
    _, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1


@FEW
@given(
    seed=st.integers(0, 99),
    kernel=st.tuples(st.integers(1, 4), st.integers(1, 4)),
    strides=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    dilations=st.tuples(st.integers(1, 2), st.integers(1, 2)),
    groups=st.sampled_from([1, 2, 4]),
    form=st.sampled_from(["pads", "longer", "shape", "same"]),
)
def test_transposed_convolutions(
    tmp_path_factory: pytest.TempPathFactory,
    seed: int,
    kernel: tuple[int, int],
    strides: tuple[int, int],
    dilations: tuple[int, int],
    groups: int,
    form: str,
) -> None:
    """Any stride, dilation, groups and form of padding; float sums of onnxruntime may round one step off."""
    sketch = Sketch((1, 4, 3, 5), seed=seed)
    pads = tuple(min(1, dilation * (taps - 1)) for taps, dilation in zip(kernel, dilations, strict=True))
    attributes: dict[str, Any] = {"strides": strides, "dilations": dilations, "group": groups}
    full = [
        (size - 1) * stride + dilation * (taps - 1) + 1
        for size, stride, dilation, taps in zip((3, 5), strides, dilations, kernel, strict=True)
    ]
    assume(all(size > sum(pads) * 2 for size in full))
    if form == "longer":
        attributes |= {
            "pads": (*pads, *pads),
            "output_padding": [min(p, s - 1) for p, s in zip(pads, strides, strict=True)],
        }
    elif form == "shape":
        attributes["output_shape"] = [size - 1 if size > 1 else size for size in full]
    elif form == "same":
        assume(all(s * n <= size for s, n, size in zip(strides, (3, 5), full, strict=True)))
        attributes["auto_pad"] = "SAME_UPPER"
    else:
        attributes["pads"] = (*pads, *pads)
    weights = sketch.weight(4, 6 // 2 if groups == 2 else 2, *kernel)
    result = sketch.node("ConvTranspose", sketch.real(), weights, **attributes)
    sketch.end(result)
    _, steps = compare(sketch, tmp_path_factory.mktemp("transposed"))
    assert steps.max() <= 1
    assert (steps > 0).sum() <= 1 + 0.05 * steps.size  # some scales make many ties


@pytest.mark.parametrize("kind", ["HardSwish", "Mul", "Gelu", "Tanh", "Erf", "Elu", "HardSigmoid"])
def test_functions_of_one_tensor_are_tables(tmp_path: Path, kind: str) -> None:
    """Operators, and what is written out with the tensor itself, cost one table between two roundings."""
    sketch = Sketch((1, 256), opset=20)
    real = sketch.real(zero=0)
    if kind == "Mul":  # hard-swish written out
        clipped = sketch.node("Clip", sketch.node("Add", real, sketch.constant(np.float32(3))),
                              sketch.constant(np.float32(0)), sketch.constant(np.float32(6)))  # fmt: skip
        result = sketch.node("Mul", real, sketch.node("Div", clipped, sketch.constant(np.float32(6))))
    else:
        result = sketch.node(kind, real)
    sketch.end(result, 0.05, -20)
    network, steps = compare(sketch, tmp_path, [np.arange(-128, 128, dtype=np.int8)[None]])
    assert steps.max() == 0
    assert kinds(network) == [OpKind.LOOKUP]


@pytest.mark.parametrize("folded", [True, False])
def test_batch_normalisation_costs_nothing_or_a_table(tmp_path: Path, folded: bool) -> None:
    """Behind a convolution it is part of it, negative factors included; elsewhere a table per channel."""
    sketch = Sketch((1, 3, 6, 6))
    real = sketch.real()
    channels = 4 if folded else 3
    value = sketch.node("Conv", real, sketch.weight(4, 3, 3, 3, channels=0)) if folded else real
    four = [sketch.rng.uniform(low, 1, channels).astype(np.float32) for low in (-1, -1, -1, 0.1)]
    sketch.end(sketch.node("BatchNormalization", value, *map(sketch.constant, four)))
    network, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.02
    assert (OpKind.LOOKUP in kinds(network)) != folded


@pytest.mark.parametrize("shape", [(1, 3, 4, 5), (1, 3, 1, 1)])
def test_differences_are_sums_with_the_other_sign(tmp_path: Path, shape: tuple[int, ...]) -> None:
    """A Sub of two activations negates the second by a table, which loses nothing."""
    sketch = Sketch((1, 3, 4, 5), shape)
    sketch.end(sketch.node("Sub", sketch.real(), sketch.real("x1", 0.031)), 0.0713)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.02
    assert {OpKind.ADD, OpKind.LOOKUP} <= set(kinds(network))


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div", "PRelu", "Max", "Min", "Pow"])
@pytest.mark.parametrize("shape", [(1, 4, 3, 2), (4, 1, 2), (3, 2)])
def test_constants_of_any_shape_become_tables(tmp_path: Path, kind: str, shape: tuple[int, ...]) -> None:
    """A constant that varies along several axes is exact by a table per element."""
    sketch = Sketch((1, 4, 3, 2))
    values = sketch.constant(sketch.rng.uniform(0.2, 2, shape).astype(np.float32))
    source = sketch.real(zero=3) if kind == "PRelu" else sketch.node("Relu", sketch.real(zero=3))
    sketch.end(sketch.node(kind, source, values))
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    table = next(op for op in network.ops if op.kind is OpKind.LOOKUP).weights
    assert table is not None
    assert table.shape == (24, 256)


def test_a_constant_of_another_shape_is_refused(tmp_path: Path) -> None:
    """Operands that do not fit each other are named with their shapes."""
    sketch = Sketch((1, 4, 3, 2))
    sketch.end(sketch.node("Mul", sketch.real(), sketch.constant(np.ones((5, 7), np.float32))))
    (tmp_path / "m.onnx").write_bytes(sketch.model().SerializeToString())
    with pytest.raises(InputError, match=r"got shape \(5, 7\) for \(1, 4, 3, 2\)"):
        read_onnx(tmp_path / "m.onnx")


@pytest.mark.parametrize("bits", [TensorProto.INT4, TensorProto.UINT4])
def test_four_bit_weights_are_read(tmp_path: Path, bits: int) -> None:
    """Weights of four bits, signed and unsigned, give what onnxruntime gives."""
    sketch = Sketch((1, 3, 5, 5), opset=21)
    low, high = (-8, 8) if bits == TensorProto.INT4 else (0, 16)
    values = sketch.rng.integers(low, high, (4, 3, 3, 3))
    zero = 0 if bits == TensorProto.INT4 else 8
    for name, array in (("w", values), ("wz", np.full(4, zero))):
        sketch.constants.append(helper.make_tensor(name, bits, array.shape, array.reshape(-1).tolist()))
    scales = sketch.constant(sketch.rng.uniform(0.05, 0.1, 4).astype(np.float32))
    weights = sketch.node("DequantizeLinear", "w", scales, "wz", axis=0)
    sketch.end(sketch.node("Conv", sketch.real(), weights))
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    op = next(op for op in network.ops if op.kind is OpKind.CONV)
    assert op.weights is not None
    assert op.weights.dtype == np.int8
    assert op.weights.min() == -8
    assert op.weights.max() == 7


@pytest.mark.parametrize("rank", [3, 4])
def test_global_max_pool_is_exact(tmp_path: Path, rank: int) -> None:
    """The largest of each channel, over one or two axes."""
    sketch = Sketch((1, 5, 7, 6)[:rank])
    sketch.node("GlobalMaxPool", "x", output="y")
    path = tmp_path / "m.onnx"
    path.write_bytes(sketch.model().SerializeToString())
    network = read_onnx(path)
    data = sketch.rng.integers(-128, 128, sketch.shapes[0]).astype(np.int8)
    found = reference.graph_output(network, "y", reference.run(network, {"x": data}))
    axes = tuple(range(2, rank))
    assert np.array_equal(found, data.max(axis=axes, keepdims=True))


@pytest.mark.parametrize("kind", ["Conv", "ConvTranspose"])
def test_a_kernel_must_be_that_of_its_weights(tmp_path: Path, kind: str) -> None:
    """A damaged kernel_shape is named, and nothing is planned by it."""
    sketch = Sketch((1, 4, 6, 6))
    made = sketch.node(kind, sketch.real(zero=0), sketch.weight(4, 4, 3, 3), kernel_shape=[3, 1])
    sketch.node("QuantizeLinear", made, *sketch.pair(0.1), output="y")
    path = tmp_path / "sketch.onnx"
    path.write_bytes(sketch.model().SerializeToString())
    with pytest.raises(
        InputError, match=r"kernel_shape must be that of its weights, \[3, 3\] \(got \[3, 1\]\)"
    ):
        read_onnx(path)
