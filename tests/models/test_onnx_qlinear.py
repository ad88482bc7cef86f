"""onnxruntime's operators of quantised tensors give its bytes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import numpy_helper

from ooc_solve.models.vocabulary import InputError, OpKind
from tests.models.onnx_sketch import OWN, Sketch, compare, kinds

FEW = settings(max_examples=30)


@st.composite
def convolutions(draw: st.DrawFn) -> Sketch:
    """Any QLinearConv with at most a few channels, on NCHW input."""
    sketch = Sketch(dtype=draw(st.sampled_from([np.int8, np.uint8])), seed=draw(st.integers(0, 2**31)))
    inputs, factor = draw(st.integers(1, 6)), draw(st.integers(1, 3))
    groups = draw(st.sampled_from([g for g in (1, 2, 3, inputs) if inputs % g == 0]))
    outputs = groups * factor
    kernel, stride, dilation = (
        tuple(draw(st.tuples(st.integers(1, m), st.integers(1, m)))) for m in (4, 3, 2)
    )
    attributes: dict[str, Any] = {"kernel_shape": kernel, "strides": stride, "group": groups}
    mode = draw(st.sampled_from(["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if mode == "NOTSET":
        attributes |= {"pads": draw(st.tuples(*[st.integers(0, 3)] * 4)), "dilations": dilation}
    size = [draw(st.integers(d * (k - 1) + 1, 10)) for k, d in zip(kernel, dilation, strict=True)]
    sketch.shapes = ((1, inputs, *size),)
    weights = sketch.rng.integers(-127, 128, (outputs, inputs // groups, *kernel)).astype(np.int8)
    per_channel = draw(st.booleans())
    scales = sketch.rng.uniform(0.001, 0.02, outputs if per_channel else ()).astype(np.float32)
    zeros = np.zeros(outputs if per_channel else (), np.int8)
    arguments = ["x", *sketch.pair(0.07), *map(sketch.constant, (weights, scales, zeros)), *sketch.pair(0.3)]
    if draw(st.booleans()):
        arguments.append(sketch.constant(sketch.rng.integers(-9000, 9000, outputs).astype(np.int32)))
    sketch.node("QLinearConv", *arguments, output="y", auto_pad=mode, **attributes)
    return sketch


@FEW
@given(sketch=convolutions())
def test_qlinear_conv_is_exact(tmp_path: Path, sketch: Sketch) -> None:
    """Asymmetric and automatic pads, strides, dilations, groups, both integer types: no bit differs."""
    _, steps = compare(sketch, tmp_path)
    assert steps.max() == 0


@FEW
@given(seed=st.integers(0, 2**31), unsigned=st.booleans(), rows=st.integers(1, 4), flatten=st.booleans())
def test_products_are_exact(tmp_path: Path, seed: int, unsigned: bool, rows: int, flatten: bool) -> None:
    """QGemm behind a Flatten of NCHW data, and QLinearMatMul of several rows, differ in no bit."""
    sketch = Sketch(dtype=np.uint8 if unsigned else np.int8, seed=seed)
    weights = sketch.constant(sketch.rng.integers(-127, 128, (24, 5)).astype(np.int8))
    scale, zero = sketch.constant(np.float32(0.01)), sketch.constant(np.int8(0))
    if flatten:
        sketch.shapes = ((1, 3, 4, 2),)
        flat = sketch.node("Flatten", "x")
        bias = sketch.constant(sketch.rng.integers(-900, 900, 5).astype(np.int32))
        arguments = [flat, *sketch.pair(0.02), weights, scale, zero, bias, *sketch.pair(0.1)]
        sketch.node("QGemm", *arguments, output="y", domain=OWN, alpha=1.0, transA=0, transB=0)
    else:
        sketch.shapes = ((rows, 24),)
        arguments = ["x", *sketch.pair(0.02), weights, scale, zero, *sketch.pair(0.1)]
        sketch.node("QLinearMatMul", *arguments, output="y")
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert OpKind.PERMUTE not in kinds(network)


@FEW
@given(seed=st.integers(0, 2**31), unsigned=st.booleans(), scales=st.tuples(*[st.floats(0.01, 0.2)] * 2))
def test_qlinear_add_is_exact_but_for_near_ties(
    tmp_path: Path, seed: int, unsigned: bool, scales: tuple[float, float]
) -> None:
    """Over all 65536 pairs of bytes, at most 1 of 100 sums is a step off, although scales that add up make ties."""
    sketch = Sketch((1, 65536), (1, 65536), dtype=np.uint8 if unsigned else np.int8, seed=seed)
    left, right = (sketch.pair(scale) for scale in scales)
    sketch.node("QLinearAdd", "x", *left, "x1", *right, *sketch.pair(sum(scales)), output="y", domain=OWN)
    pairs = np.arange(65536, dtype=np.uint32)
    inputs = [part.astype(np.uint8).view(sketch.dtype).reshape(1, -1) for part in (pairs % 256, pairs // 256)]
    _, steps = compare(sketch, tmp_path, inputs)
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.01


@FEW
@given(
    seed=st.integers(0, 2**31),
    unsigned=st.booleans(),
    last=st.booleans(),
    pads=st.tuples(*[st.integers(0, 1)] * 4),
    kernel=st.tuples(st.integers(2, 4), st.integers(2, 4)),
    count_pads=st.booleans(),
)
def test_qlinear_average_pool_is_within_a_step(
    tmp_path: Path,
    seed: int,
    unsigned: bool,
    last: bool,
    pads: tuple[int, ...],
    kernel: tuple[int, int],
    count_pads: bool,
) -> None:
    """Pooled integers differ from onnxruntime's float sums only where those decide a tie.

    With these scales 1 sum of 86 over a 2x2 window lies exactly between two steps.
    """
    sketch = Sketch(
        (1, 8, 9, 50) if last else (1, 50, 8, 9), dtype=np.uint8 if unsigned else np.int8, seed=seed
    )
    attributes: dict[str, Any] = {"kernel_shape": kernel, "pads": pads, "strides": (2, 1)}
    attributes |= {"channels_last": int(last), "count_include_pad": int(count_pads)}
    arguments = ["x", *sketch.pair(0.05), *sketch.pair(0.043)]
    sketch.node("QLinearAveragePool", *arguments, output="y", domain=OWN, **attributes)
    _, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1
    assert (steps > 0).mean() <= 0.04


@FEW
@given(seed=st.integers(0, 2**31), unsigned=st.booleans(), last=st.booleans())
def test_qlinear_global_average_pool_is_exact(tmp_path: Path, seed: int, unsigned: bool, last: bool) -> None:
    """The mean of the whole map differs in no bit, channels first or last."""
    sketch = Sketch(
        (1, 7, 5, 4) if last else (1, 4, 7, 5), dtype=np.uint8 if unsigned else np.int8, seed=seed
    )
    arguments = ["x", *sketch.pair(0.05), *sketch.pair(0.03)]
    sketch.node("QLinearGlobalAveragePool", *arguments, output="y", domain=OWN, channels_last=int(last))
    _, steps = compare(sketch, tmp_path)
    assert steps.max() == 0


@FEW
@given(
    seed=st.integers(0, 2**31),
    unsigned=st.booleans(),
    scale=st.floats(0.01, 0.25),
    place=st.sampled_from([(13, -1), (13, 1), (12, 1), (12, 2)]),
)
def test_qlinear_softmax_is_exact(
    tmp_path: Path, seed: int, unsigned: bool, scale: float, place: tuple[int, int]
) -> None:
    """Along any axis, and flattened as below opset 13, no bit differs."""
    dtype = np.uint8 if unsigned else np.int8
    sketch = Sketch((1, 6, 5, 3), dtype=dtype, seed=seed)
    arguments = ["x", *sketch.pair(scale), *sketch.pair(1 / 255, np.iinfo(dtype).min)]
    sketch.node("QLinearSoftmax", *arguments, output="y", domain=OWN, opset=place[0], axis=place[1])
    _, steps = compare(sketch, tmp_path)
    assert steps.max() == 0


@FEW
@given(
    seed=st.integers(0, 2**31),
    unsigned=st.booleans(),
    size=st.tuples(st.integers(4, 9), st.integers(4, 9)),
    stride=st.tuples(st.integers(1, 3), st.integers(1, 3)),
    pads=st.tuples(*[st.integers(0, 1)] * 4),
    mode=st.sampled_from(["floor", "ceil", "SAME_UPPER", "VALID"]),
)
def test_max_pool_of_integers_is_exact(
    tmp_path: Path,
    seed: int,
    unsigned: bool,
    size: tuple[int, int],
    stride: tuple[int, int],
    pads: tuple[int, ...],
    mode: str,
) -> None:
    """Pads, automatic pads and rounding the output size up leave the maximum of what is inside."""
    sketch = Sketch((1, 3, *size), dtype=np.uint8 if unsigned else np.int8, seed=seed)
    attributes: dict[str, Any] = {"kernel_shape": (3, 2), "strides": stride}
    if mode in ("floor", "ceil"):
        attributes |= {"pads": pads, "ceil_mode": int(mode == "ceil")}
    else:
        attributes["auto_pad"] = mode
    sketch.node("MaxPool", "x", output="y", **attributes)
    _, steps = compare(sketch, tmp_path)
    assert steps.max() == 0


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
def test_qlinear_concat_rescales_its_parts(tmp_path: Path, dtype: Any) -> None:
    """Parts of the output's scale are taken as they are, others through a table."""
    sketch = Sketch((1, 3, 4, 5), (1, 2, 4, 5), dtype=dtype)
    same, other = sketch.pair(0.1, 7), sketch.pair(0.06)
    sketch.node("QLinearConcat", *same, "x", *same, "x1", *other, output="y", domain=OWN, axis=1)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert kinds(network).count(OpKind.MOVE) == 1


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize(
    "shape", [(1, 3, 4, 5), (1, 3, 1, 1), (1, 3, 1, 5), (1, 1, 4, 5), (1, 1, 1, 1), (3, 1, 1)]
)
@pytest.mark.parametrize("swapped", [False, True])
def test_pairs_round_as_onnxruntime(
    tmp_path: Path, dtype: Any, kind: str, shape: tuple[int, ...], swapped: bool
) -> None:
    """Sums and products of two tensors, one of which may repeat, differ in no byte, ties included."""
    sketch = Sketch((1, 3, 4, 5), shape, dtype=dtype)
    operands = [("x", *sketch.pair(0.06)), ("x1", *sketch.pair(0.05))]
    first, second = reversed(operands) if swapped else operands
    sketch.node(kind, *first, *second, *sketch.pair(0.1), output="y", domain=OWN)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert (OpKind.ADD if kind == "QLinearAdd" else OpKind.MULTIPLY) in kinds(network)


@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearMul"])
@pytest.mark.parametrize("shape", [(1, 3, 1, 1), (5,), (1, 1, 4, 1), ()])
@pytest.mark.parametrize("position", [0, 1])
def test_constants_along_one_axis_become_tables(
    tmp_path: Path, kind: str, shape: tuple[int, ...], position: int
) -> None:
    """A constant that varies along a single axis is a table per position, whichever input it is."""
    sketch = Sketch((1, 3, 4, 5))
    constant = sketch.constant(sketch.rng.integers(-128, 128, shape).astype(np.int8))
    operands = [("x", *sketch.pair(0.06)), (constant, *sketch.pair(0.05))]
    first, second = operands if position else operands[::-1]
    sketch.node(kind, *first, *second, *sketch.pair(0.1), output="y", domain=OWN)
    network, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
    assert set(kinds(network)) <= {OpKind.LOOKUP, OpKind.PERMUTE}


@pytest.mark.parametrize(
    ("kind", "attributes"), [("QLinearSigmoid", {}), ("QLinearLeakyRelu", {"alpha": 0.2})]
)
def test_qlinear_functions_are_tables(tmp_path: Path, kind: str, attributes: dict[str, float]) -> None:
    """Every byte goes where onnxruntime takes it."""
    sketch = Sketch((1, 256))
    sketch.node(
        kind, "x", *sketch.pair(0.06), *sketch.pair(1 / 256, -128), output="y", domain=OWN, **attributes
    )
    network, steps = compare(sketch, tmp_path, [np.arange(-128, 128, dtype=np.int8)[None]])
    assert steps.max() == 0
    assert kinds(network) == [OpKind.LOOKUP]


@pytest.mark.parametrize("dtype", [np.int8, np.uint8])
@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearMul", "QLinearAveragePool"])
def test_a_zero_point_that_is_left_out_is_0_of_the_type_of_the_data(
    tmp_path: Path, kind: str, dtype: Any
) -> None:
    """Of an output of either type, as onnxruntime takes it."""
    sketch = Sketch((1, 3, 6, 5), dtype=dtype)
    operands = ("x", *sketch.pair(0.1)) * (2 if kind in ("QLinearAdd", "QLinearMul") else 1)
    attributes = {"kernel_shape": (2, 3)} if kind == "QLinearAveragePool" else {}
    sketch.node(kind, *operands, sketch.pair(0.1)[0], output="y", domain=OWN, **attributes)
    assert compare(sketch, tmp_path)[1].max() == 0


FAR_APART: dict[str, tuple[float, float, dict[str, Any]]] = {
    "QLinearMul": (1e30, 1e-10, {}),
    "QLinearAdd": (1e36, 1e-2, {}),
    "QLinearAveragePool": (1e30, 1e-10, {"kernel_shape": (2, 2)}),
    "QLinearGlobalAveragePool": (1e30, 1e-10, {}),
    "QLinearSoftmax": (0.1, 1e-40, {"opset": 13, "axis": 1}),
}


@pytest.mark.parametrize("kind", FAR_APART)
def test_scales_without_a_ratio_are_refused(tmp_path: Path, kind: str) -> None:
    """What float32 cannot hold would be another byte in every implementation; so no byte is given."""
    given, made, attributes = FAR_APART[kind]
    sketch = Sketch((1, 3, 6, 5))
    operands = ("x", *sketch.pair(given)) * (2 if kind in ("QLinearAdd", "QLinearMul") else 1)
    sketch.node(kind, *operands, *sketch.pair(made), output="y", domain=OWN, **attributes)
    with pytest.raises(InputError, match=rf"{kind}_0.*: its scales lie too far apart"):
        compare(sketch, tmp_path)


def test_huge_multipliers_saturate(tmp_path: Path) -> None:
    """More output steps than a 64-bit integer holds are the largest or the smallest byte, as they have to be."""
    sketch = Sketch((1, 4, 6, 5))
    weights = sketch.constant(sketch.rng.integers(-127, 128, (3, 4, 2, 2)).astype(np.int8))
    scales = sketch.constant(np.array([1e20, 1, 1e-30], np.float32)), sketch.constant(np.zeros(3, np.int8))
    sketch.node("QLinearConv", "x", *sketch.pair(0.1), weights, *scales, *sketch.pair(1e-10), output="y")
    assert compare(sketch, tmp_path)[1].max() == 0
    sketch.constants[1].CopyFrom(numpy_helper.from_array(np.array([1, np.nan, 1], np.float32), scales[0]))
    with pytest.raises(InputError, match=r"QLinearConv_0.*finite"):
        compare(sketch, tmp_path)


@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearMul"])
def test_quantised_constants_of_any_shape_are_exact(tmp_path: Path, kind: str) -> None:
    """So do those of onnxruntime's operators."""
    sketch = Sketch((1, 4, 3, 2))
    values = sketch.constant(sketch.rng.integers(-128, 128, (1, 4, 3, 2)).astype(np.int8))
    inputs = ("x", *sketch.pair(0.05), values, *sketch.pair(0.03), *sketch.pair(0.06))
    sketch.node(kind, *inputs, output="y", domain=OWN)
    _, steps = compare(sketch, tmp_path)
    assert steps.max() == 0
