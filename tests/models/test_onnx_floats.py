"""Small float32 models give what onnxruntime gives within 1e-5 of the range, operator by operator."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx, survey_onnx
from ooc_solve.models.vocabulary import UNLIMITED, InputError, Network, OpKind

Array = NDArray[Any]

TOLERANCE = 1e-5
SHAPE = (1, 6, 9, 8)


class Sketch:
    """A float32 model in the making: input ``x``, output ``y``."""

    def __init__(self, shape: tuple[int, ...] = SHAPE, opset: int = 20) -> None:
        self.rng = np.random.default_rng(3)
        self.shape, self.opset = shape, opset
        self.nodes: list[onnx.NodeProto] = []
        self.constants: list[onnx.TensorProto] = []

    def real(self, *shape: int) -> str:
        """Add random numbers, so large that sums of products stay about 1."""
        spread = float(np.prod(shape[1:], dtype=float)) ** -0.5
        return self.constant(self.rng.normal(0, spread, shape).astype(np.float32))

    def constant(self, value: Any) -> str:
        """Add an initialiser."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def numbers(self, *values: int) -> str:
        """Add whole numbers."""
        return self.constant(np.array(values, np.int64))

    def node(self, kind: str, *inputs: str, output: str = "", domain: str = "", **attributes: Any) -> str:
        """Add an operator and return its output."""
        output = output or f"t{len(self.nodes)}"
        label = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [output], label, domain=domain, **attributes))
        return output

    def model(self, *outputs: str) -> onnx.ModelProto:
        """Return the model."""
        graph = helper.make_graph(
            self.nodes,
            "sketch",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, self.shape)],
            [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
            self.constants,
        )
        domains = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        made = helper.make_model(graph, opset_imports=domains)
        made.ir_version = 9
        return made


def agrees(sketch: Sketch, folder: Path, *outputs: str) -> Network:
    """Compare with onnxruntime and return our network."""
    outputs = outputs or (sketch.nodes[-1].output[0],)
    model = sketch.model(*outputs)
    path = folder / "sketch.onnx"
    path.write_bytes(model.SerializeToString())
    network = read_onnx(path)
    x = sketch.rng.normal(0, 2, sketch.shape).astype(np.float32)
    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    values = reference.run(network, {"x": x})
    for name, expected in zip(outputs, session.run(list(outputs), {"x": x}), strict=True):
        found = reference.graph_output(network, name, values)
        assert found.shape == expected.shape
        assert np.abs(found - expected).max() <= TOLERANCE * max(
            float(np.ptp(expected)), float(np.abs(expected).max())
        )
    return network


def kinds_of(network: Network) -> list[OpKind]:
    return [op.kind for op in network.ops if op.kind is not OpKind.PERMUTE]


# ------------------------------------------------------------------ windows and products


@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": (3, 3), "pads": (1, 0, 2, 1), "strides": (2, 1)},
        {"kernel_shape": (2, 3), "dilations": (2, 2), "group": 3},
        {"kernel_shape": (1, 1)},
        {"kernel_shape": (3, 3), "auto_pad": "SAME_UPPER", "strides": (2, 2), "group": 6},
    ],
)
@pytest.mark.parametrize("bias", [True, False])
def test_convolution(tmp_path: Path, attributes: dict[str, Any], bias: bool) -> None:
    """Plain, grouped, dilated, depthwise; with and without bias."""
    sketch, group = Sketch(), int(attributes.get("group", 1))
    weights = sketch.real(12 if group < 6 else 6, 6 // group, *attributes["kernel_shape"])
    count = 12 if group < 6 else 6
    sketch.node("Conv", "x", weights, *([sketch.real(count)] if bias else []), **attributes)
    expected = OpKind.DEPTHWISE if group == 6 else OpKind.CONV
    assert kinds_of(agrees(sketch, tmp_path)) == [expected]


@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("stride", [1, 2, 3])
def test_transposed_convolution(tmp_path: Path, group: int, stride: int) -> None:
    """Any stride and number of groups."""
    sketch = Sketch()
    weights, bias = sketch.real(6, 8 // group, 3, 2), sketch.real(8)
    sketch.node("ConvTranspose", "x", weights, bias, group=group, strides=(stride, stride), pads=(1, 0, 0, 1))
    assert kinds_of(agrees(sketch, tmp_path)) == [OpKind.CONV]


@pytest.mark.parametrize("transposed", [0, 1])
def test_gemm_with_its_factors(tmp_path: Path, transposed: int) -> None:
    """Alpha and beta go into weights and bias."""
    sketch = Sketch((1, 20))
    weights = sketch.real(*((7, 20) if transposed else (20, 7)))
    sketch.node("Gemm", "x", weights, sketch.real(1, 7), alpha=0.5, beta=2.0, transB=transposed)
    assert kinds_of(agrees(sketch, tmp_path)) == [OpKind.CONV]


def test_matmul_and_add_are_one_operator(tmp_path: Path) -> None:
    """What is added per output is a bias; over several rows it is a 1 x 1 convolution."""
    sketch = Sketch((5, 20))
    product = sketch.node("MatMul", "x", sketch.real(20, 7))
    sketch.node("Relu", sketch.node("Add", sketch.real(7), product))
    (op,) = agrees(sketch, tmp_path).ops
    assert (op.kind, op.clamp) == (OpKind.CONV, (0, UNLIMITED[1]))


def test_normalisation_goes_into_the_convolution(tmp_path: Path) -> None:
    """So do a factor and an addend per channel behind it; by itself it is a function."""
    sketch = Sketch()
    made = sketch.node("Conv", "x", sketch.real(5, 6, 3, 3))
    four = [sketch.constant(sketch.rng.uniform(0.5, 2, 5).astype(np.float32)) for _ in range(4)]
    made = sketch.node("BatchNormalization", made, *four)
    sketch.node("Mul", sketch.node("Sub", made, sketch.real(5, 1, 1)), sketch.constant(np.float32(3)))
    assert kinds_of(agrees(sketch, tmp_path)) == [OpKind.CONV]
    alone = Sketch((1, 5, 4, 4))
    four = [alone.constant(alone.rng.uniform(0.5, 2, 5).astype(np.float32)) for _ in range(4)]
    alone.node("BatchNormalization", "x", *four)
    assert kinds_of(agrees(alone, tmp_path)) == [OpKind.LOOKUP]


@pytest.mark.parametrize("kind", ["MaxPool", "AveragePool"])
@pytest.mark.parametrize(
    "attributes", [{"pads": (1, 1, 0, 1)}, {"strides": (2, 2)}, {"ceil_mode": 1, "strides": (2, 3)}]
)
def test_pools(tmp_path: Path, kind: str, attributes: dict[str, Any]) -> None:
    """Padding does not count, at any stride."""
    sketch = Sketch()
    sketch.node(kind, "x", kernel_shape=(3, 2), **attributes)
    agrees(sketch, tmp_path)


def test_padding_may_count_in_averages(tmp_path: Path) -> None:
    """With count_include_pad the divisor is the window's size."""
    sketch = Sketch()
    sketch.node("AveragePool", "x", kernel_shape=(3, 3), pads=(1, 1, 1, 1), count_include_pad=1)
    agrees(sketch, tmp_path)


@pytest.mark.parametrize("axes", [(2, 3), (1,), (3,), (1, 2, 3)])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_means(tmp_path: Path, axes: tuple[int, ...], keepdims: int) -> None:
    """Over any axes."""
    sketch = Sketch()
    sketch.node("ReduceMean", "x", sketch.numbers(*axes), keepdims=keepdims)
    agrees(sketch, tmp_path)


def test_global_pool(tmp_path: Path) -> None:
    """The mean of each channel."""
    sketch = Sketch()
    sketch.node("GlobalAveragePool", "x")
    agrees(sketch, tmp_path)


# ----------------------------------------------------------------------- functions


@pytest.mark.parametrize(
    ("kind", "attributes"),
    [
        ("Relu", {}),
        ("LeakyRelu", {"alpha": 0.2}),
        ("Sigmoid", {}),
        ("HardSigmoid", {"alpha": 0.15, "beta": 0.4}),
        ("HardSwish", {}),
        ("Tanh", {}),
        ("Elu", {"alpha": 1.5}),
        ("Celu", {}),
        ("Erf", {}),
        ("Exp", {}),
        ("Abs", {}),
        ("Neg", {}),
        ("Reciprocal", {}),
        ("Gelu", {}),
        ("Gelu", {"approximate": "tanh"}),
    ],
)
def test_function(tmp_path: Path, kind: str, attributes: dict[str, Any]) -> None:
    """Each function of one number is one kernel."""
    sketch = Sketch()
    sketch.node(kind, sketch.node("Sigmoid", "x") if kind == "Reciprocal" else "x", **attributes)
    assert set(kinds_of(agrees(sketch, tmp_path))) == {OpKind.LOOKUP}


def test_gelu_of_onnxruntime(tmp_path: Path) -> None:
    """Its own domain has it too."""
    sketch = Sketch()
    sketch.node("Gelu", "x", domain="com.microsoft")
    assert kinds_of(agrees(sketch, tmp_path)) == [OpKind.LOOKUP]


@pytest.mark.parametrize(("low", "high", "fused"), [(0, 6, True), (-1, 1, True), (-0.5, 2.25, False)])
def test_limits_are_part_of_the_operator_if_whole(
    tmp_path: Path, low: float, high: float, fused: bool
) -> None:
    """Tables hold whole numbers as limits; others take a kernel of their own."""
    sketch = Sketch()
    made = sketch.node("Conv", "x", sketch.real(4, 6, 1, 1))
    bounds = (sketch.constant(np.float32(bound)) for bound in (low, high))
    sketch.node("Clip", made, *bounds)
    kinds = kinds_of(agrees(sketch, tmp_path))
    assert kinds == ([OpKind.CONV] if fused else [OpKind.CONV, OpKind.LOOKUP])


def test_limits_behind_a_pool_are_part_of_it(tmp_path: Path) -> None:
    """A MaxPool limits as well."""
    sketch = Sketch()
    sketch.node("Relu", sketch.node("MaxPool", "x", kernel_shape=(2, 2)))
    assert kinds_of(agrees(sketch, tmp_path)) == [OpKind.MAX_POOL]


def test_what_several_read_is_computed_once(tmp_path: Path) -> None:
    """A result with two readers is not folded into either of them."""
    sketch = Sketch()
    made = sketch.node("Conv", "x", sketch.real(6, 6, 1, 1), output="made")
    positive = sketch.node("Relu", made, output="positive")
    sketch.node("Add", made, positive, output="sum")
    network = agrees(sketch, tmp_path, "made", "sum")
    assert kinds_of(network) == [OpKind.CONV, OpKind.LOOKUP, OpKind.ADD]


# ---------------------------------------------------------------------- arithmetic


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Div"])
@pytest.mark.parametrize("first", [True, False])
@pytest.mark.parametrize("shape", [(), (6, 1, 1), (8,)])
def test_arithmetic_with_constants(tmp_path: Path, kind: str, first: bool, shape: tuple[int, ...]) -> None:
    """From either side, by one number or one per position of an axis."""
    sketch = Sketch()
    source = sketch.node("Sigmoid", "x")
    constant = sketch.constant(sketch.rng.uniform(0.5, 2, shape).astype(np.float32))
    sketch.node(kind, *((source, constant) if first else (constant, source)))
    agrees(sketch, tmp_path)


def test_slope_per_channel(tmp_path: Path) -> None:
    """PRelu has a slope for each."""
    sketch = Sketch()
    sketch.node("PRelu", "x", sketch.real(6, 1, 1))
    agrees(sketch, tmp_path)


@pytest.mark.parametrize("kind", ["Add", "Sub", "Mul", "Sum"])
def test_two_activations(tmp_path: Path, kind: str) -> None:
    """One of them may repeat over rows and columns, as in squeeze and excite."""
    sketch = Sketch()
    few = sketch.node("Sigmoid", sketch.node("GlobalAveragePool", "x"))
    same = sketch.node("Mul", "x", sketch.node("Sigmoid", "x"))
    sketch.node(kind, same, few)
    agrees(sketch, tmp_path)


# --------------------------------------------------------------------------- moves


@pytest.mark.parametrize("axis", [1, 2, 3, -1])
def test_softmax(tmp_path: Path, axis: int) -> None:
    """Over any axis."""
    sketch = Sketch()
    sketch.node("Softmax", "x", axis=axis)
    agrees(sketch, tmp_path)


def test_moves(tmp_path: Path) -> None:
    """Pad, slice, split, resize, join, reorder: elements of four bytes."""
    sketch = Sketch()
    padded = sketch.node("Pad", "x", sketch.numbers(0, 0, 1, 2, 0, 0, 0, 1))
    ends = (sketch.numbers(1), sketch.numbers(9), sketch.numbers(2), sketch.numbers(2))
    part = sketch.node("Slice", padded, *ends)
    large = sketch.node(
        "Resize", part, "", sketch.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest"
    )
    joined = sketch.node("Concat", large, sketch.node("Tanh", large), axis=1)
    turned = sketch.node("Transpose", joined, perm=(0, 2, 3, 1))
    sketch.node("Flatten", sketch.node("Dropout", turned))
    agrees(sketch, tmp_path)


def test_padding_goes_into_the_convolution(tmp_path: Path) -> None:
    """Pads of zeros are those of the window."""
    sketch = Sketch()
    padded = sketch.node("Pad", "x", sketch.numbers(0, 0, 1, 1, 0, 0, 1, 1))
    sketch.node("Conv", padded, sketch.real(4, 6, 3, 3))
    assert kinds_of(agrees(sketch, tmp_path)) == [OpKind.CONV]


def test_edges_do_not_go_into_the_convolution(tmp_path: Path) -> None:
    """Windows pad with zeros, so a Pad that repeats the edges stays."""
    sketch = Sketch()
    padded = sketch.node("Pad", "x", sketch.numbers(0, 0, 1, 1, 0, 0, 1, 1), mode="edge")
    sketch.node("Conv", padded, sketch.real(4, 6, 3, 3))
    assert kinds_of(agrees(sketch, tmp_path)) == [OpKind.MOVE, OpKind.CONV]


def test_weights_behind_a_dequantize(tmp_path: Path) -> None:
    """Weights alone may be quantised: they are what their DequantizeLinear makes of them."""
    sketch = Sketch()
    stored = sketch.constant(sketch.rng.integers(-127, 128, (4, 6, 3, 3)).astype(np.int8))
    scales = sketch.constant(sketch.rng.uniform(0.001, 0.002, 4).astype(np.float32))
    weights = sketch.node("DequantizeLinear", stored, scales, axis=0)
    sketch.node("Conv", "x", weights)
    assert kinds_of(agrees(sketch, tmp_path)) == [OpKind.CONV]


def test_an_input_that_is_an_output_too(tmp_path: Path) -> None:
    """It is copied to a place of its own, and so is an output with two names."""
    sketch = Sketch()
    sketch.node("Identity", "x", output="same")
    sketch.node("Relu", "x", output="one")
    sketch.node("Identity", "one", output="other")
    agrees(sketch, tmp_path, "same", "one", "other")


def test_float_before_quantised(tmp_path: Path) -> None:
    """A float32 operator may stand before the first QuantizeLinear, and behind the last DequantizeLinear."""
    sketch = Sketch()
    scale, zero = sketch.constant(np.float32(0.05)), sketch.constant(np.int8(3))
    stored = sketch.node("QuantizeLinear", sketch.node("Tanh", "x"), scale, zero)
    sketch.node("DequantizeLinear", stored, scale, zero)
    path = tmp_path / "sketch.onnx"
    path.write_bytes(sketch.model("t2").SerializeToString())
    assert kinds_of(read_onnx(path)) == [OpKind.LOOKUP, OpKind.QUANTIZE, OpKind.DEQUANTIZE]


# ------------------------------------------------------------------------ refusals


def complaint(sketch: Sketch, folder: Path) -> str:
    path = folder / "sketch.onnx"
    path.write_bytes(sketch.model(sketch.nodes[-1].output[0]).SerializeToString())
    with pytest.raises(InputError) as caught:
        read_onnx(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_float32_has_no_kernel_for_is_named(tmp_path: Path) -> None:
    """Functions without a formula and exponents that vary are refused in one line."""
    sketch = Sketch()
    sketch.node("Ceil", "x")
    assert complaint(sketch, tmp_path).startswith(
        "Ceil 'Ceil_0': must be a function that float32 has a formula for"
    )
    sketch = Sketch()
    sketch.node("Pow", "x", sketch.real(8))
    assert complaint(sketch, tmp_path).startswith("Pow 'Pow_0': its exponent must be one constant")


def test_factors_go_into_an_operator_whose_result_was_turned(tmp_path: Path) -> None:
    """What is folded into the operator before a Transpose keeps the shape that the Transpose gave it."""
    sketch = Sketch()
    turned = sketch.node("Transpose", sketch.node("Conv", "x", sketch.real(4, 6, 3, 3)), perm=(0, 3, 2, 1))
    sketch.node("Mul", turned, sketch.real(1, 1, 1, 4))
    network = agrees(sketch, tmp_path)
    assert OpKind.LOOKUP not in kinds_of(network)


def test_float32_meets_bytes(tmp_path: Path) -> None:
    """Where one input is float32 and the other is quantised, that one is dequantised."""
    sketch = Sketch()
    scale, zero = sketch.constant(np.float32(0.05)), sketch.constant(np.int8(3))
    stored = sketch.node("QuantizeLinear", "x", scale, zero)
    sketch.node("Add", "x", sketch.node("DequantizeLinear", stored, scale, zero))
    network = agrees(sketch, tmp_path)
    assert kinds_of(network) == [OpKind.QUANTIZE, OpKind.DEQUANTIZE, OpKind.ADD]


def test_operators_between_that_were_not_quantised(tmp_path: Path) -> None:
    """A layer left in float32 between quantised ones, its result rounded later or never, is computed in float32."""
    sketch = Sketch()
    scale, zero = sketch.constant(np.float32(0.05)), sketch.constant(np.int8(3))
    real = sketch.node("DequantizeLinear", sketch.node("QuantizeLinear", "x", scale, zero), scale, zero)
    made = sketch.node("Relu", sketch.node("Conv", real, sketch.real(4, 6, 3, 3)))
    sketch.node("Sigmoid", made)
    network = agrees(sketch, tmp_path)
    assert kinds_of(network) == [OpKind.QUANTIZE, OpKind.DEQUANTIZE, OpKind.CONV, OpKind.LOOKUP]
    assert next(op for op in network.ops if op.kind is OpKind.CONV).clamp[0] == 0


def test_survey_names_float_kernels(tmp_path: Path) -> None:
    """The check of a file says which kernels of float32 compute it."""
    sketch = Sketch((1, 20))
    sketch.node("Relu", sketch.node("MatMul", "x", sketch.real(20, 7)))
    path = tmp_path / "sketch.onnx"
    path.write_bytes(sketch.model("t1").SerializeToString())
    reports, problems = survey_onnx(path)
    assert problems == ()
    assert [(report.kernels, report.note) for report in reports] == [
        (("float_conv",), ""),
        ((), "part of the operator before it"),
    ]
