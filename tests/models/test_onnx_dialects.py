"""Small generated models give what onnxruntime gives, operator by operator and attribute by attribute."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.vocabulary import InputError, Network, OpKind

Array = NDArray[Any]

FEW = settings(max_examples=30)
OWN = "com.microsoft"
INTEGERS = {np.int8: TensorProto.INT8, np.uint8: TensorProto.UINT8}


class Sketch:
    """A model in the making: input ``x``, further inputs, output ``y``."""

    def __init__(
        self, *shapes: tuple[int, ...], dtype: Any = np.int8, opset: int = 15, seed: int = 0
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.dtype, self.shapes, self.opset = dtype, shapes, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def constant(self, value: Any) -> str:
        """Add an initialiser."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def node(self, kind: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        """Add an operator and return its output."""
        output = output or f"t{len(self.nodes)}"
        node = helper.make_node(
            kind, inputs, [output], f"{kind}_{len(self.nodes)}", domain=domain, **attributes
        )
        self.nodes.append(node)
        return output

    def pair(self, scale: float, zero: int | None = None) -> tuple[str, str]:
        """Add scale and zero point of an activation."""
        limits = np.iinfo(self.dtype)
        zero = int(self.rng.integers(limits.min, limits.max + 1)) if zero is None else zero
        return self.constant(np.float32(scale)), self.constant(self.dtype(zero))

    def real(self, source: str = "x", scale: float = 0.05, zero: int | None = None) -> str:
        """Add a DequantizeLinear of an activation."""
        return self.node("DequantizeLinear", source, *self.pair(scale, zero))

    def weight(self, *shape: int, channels: int | None = None) -> str:
        """Add int8 weights behind a DequantizeLinear, with one scale per position of axis ``channels``."""
        values = self.constant(self.rng.integers(-127, 128, shape).astype(np.int8))
        if channels is None:
            return self.node(
                "DequantizeLinear", values, self.constant(np.float32(0.01)), self.constant(np.int8(0))
            )
        count = shape[channels]
        scales = self.constant(self.rng.uniform(0.005, 0.02, count).astype(np.float32))
        return self.node(
            "DequantizeLinear", values, scales, self.constant(np.zeros(count, np.int8)), axis=channels
        )

    def end(self, source: str, scale: float = 0.1, zero: int | None = None) -> None:
        """Add the QuantizeLinear that makes the output."""
        self.node("QuantizeLinear", source, *self.pair(scale, zero), output="y")

    def model(self) -> onnx.ModelProto:
        """Return the model."""
        kind = INTEGERS.get(self.dtype, TensorProto.FLOAT)
        names = ["x", *(f"x{k}" for k in range(1, len(self.shapes)))]
        graph = helper.make_graph(
            self.nodes,
            "sketch",
            [
                helper.make_tensor_value_info(name, kind, shape)
                for name, shape in zip(names, self.shapes, strict=True)
            ],
            [helper.make_tensor_value_info("y", kind, None)],
            self.constants,
        )
        domains = [helper.make_opsetid("", self.opset), helper.make_opsetid(OWN, 1)]
        model = helper.make_model(graph, opset_imports=domains)
        model.ir_version = 8
        return model


def compare(sketch: Sketch, folder: Path, inputs: Iterable[Array] | None = None) -> tuple[Network, Array]:
    """Return our network and how many steps its output is from onnxruntime's, element by element."""
    model = sketch.model()
    path = folder / "sketch.onnx"
    path.write_bytes(model.SerializeToString())
    network = read_onnx(path)
    limits = np.iinfo(sketch.dtype)
    arrays = inputs or [
        sketch.rng.integers(limits.min, limits.max + 1, shape).astype(sketch.dtype) for shape in sketch.shapes
    ]
    feeds = dict(zip(network.inputs, arrays, strict=True))
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    (expected,) = session.run(["y"], feeds)
    found = reference.graph_output(network, network.outputs[0], reference.run(network, feeds))
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    return network, np.abs(found.astype(int) - expected.astype(int))


def kinds(network: Network) -> list[OpKind]:
    """Kinds of the operators in order."""
    return [op.kind for op in network.ops]


# ------------------------------------------------------------------- QLinear operators


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


@pytest.mark.parametrize("tall", [True, False])
def test_one_dimensional_convolution(tmp_path: Path, tall: bool) -> None:
    """A Conv over one axis is one over two; which one the axis lies along does not matter."""
    sketch = Sketch((1, 11, 3) if tall else (1, 3, 11))
    source = sketch.node("Transpose", "x", perm=(0, 2, 1)) if tall else "x"
    result = sketch.node("Conv", sketch.real(source), sketch.weight(4, 3, 3), pads=(2, 1), strides=(2,))
    sketch.end(result)
    _, steps = compare(sketch, tmp_path)
    assert steps.max() <= 1


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


# ------------------------------------------------------- pairs, choices of elements, folding


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


@pytest.mark.parametrize("kind", ["QLinearAdd", "QLinearMul"])
def test_quantised_constants_of_any_shape_are_exact(tmp_path: Path, kind: str) -> None:
    """So do those of onnxruntime's operators."""
    sketch = Sketch((1, 4, 3, 2))
    values = sketch.constant(sketch.rng.integers(-128, 128, (1, 4, 3, 2)).astype(np.int8))
    inputs = ("x", *sketch.pair(0.05), values, *sketch.pair(0.03), *sketch.pair(0.06))
    sketch.node(kind, *inputs, output="y", domain=OWN)
    _, steps = compare(sketch, tmp_path)
    assert steps.max() == 0


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
