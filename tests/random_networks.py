"""Quantised and float32 ONNX models that grow by operators drawn from a seed.

Those of bytes are in QOperator form: all operators, odd shapes, strides, pads, branches, several outputs.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

OWN = "com.microsoft"
MOST_ELEMENTS = 3000


@dataclass(frozen=True)
class Known:
    """A tensor of the model in the making."""

    name: str
    shape: tuple[int, int, int, int]
    scale: float
    zero: int


@dataclass
class RandomModel:
    """A model that grows by operators drawn from a seed."""

    seed: int
    nodes: list[onnx.NodeProto] = field(default_factory=list)
    constants: list[onnx.TensorProto] = field(default_factory=list)
    known: list[Known] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.rng = np.random.default_rng(self.seed)
        self.dtype: Any = np.uint8 if self.rng.integers(3) == 0 else np.int8
        shape = (1, self.between(1, 8), self.between(1, 13), self.between(1, 13))
        self.inputs = [Known("x", shape, self.scale(), self.zero())]
        if self.rng.integers(3) == 0:
            self.inputs.append(Known("second input/;", shape, self.scale(), self.zero()))
        self.known += self.inputs

    # ------------------------------------------------------------------- what is drawn

    def between(self, low: int, high: int) -> int:
        """A whole number of the closed range."""
        return int(self.rng.integers(low, high + 1))

    def scale(self) -> float:
        """A scale, now and then one for which many sums fall on a half."""
        if self.rng.integers(3) == 0:
            return float(np.float32(self.rng.choice([0.05, 0.1, 0.02, 1 / 64, 0.25])))
        return float(np.float32(self.rng.uniform(0.01, 0.1)))

    def zero(self) -> int:
        """A zero point, often at the end of the range."""
        limits = np.iinfo(self.dtype)
        return int(self.rng.choice([limits.min, self.between(int(limits.min), int(limits.max))]))

    def any(self) -> Known:
        """A tensor to read, rather a late one."""
        at = len(self.known) - 1 - min(int(self.rng.geometric(0.5)) - 1, len(self.known) - 1)
        return self.known[at]

    # ---------------------------------------------------------------------- what is added

    def constant(self, value: Any) -> str:
        """Add an initialiser."""
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value), name))
        return name

    def pair(self, tensor: Known) -> tuple[str, str]:
        """Scale and zero point of a tensor."""
        return self.constant(np.float32(tensor.scale)), self.constant(self.dtype(tensor.zero))

    def triple(self, tensor: Known) -> tuple[str, str, str]:
        """A tensor with its scale and zero point."""
        return (tensor.name, *self.pair(tensor))

    def node(
        self, kind: str, inputs: tuple[str, ...], made: Known, domain: str = "", **attributes: Any
    ) -> None:
        """Add a node whose output is a tensor that others may read."""
        label = f"{kind} node {len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [made.name], label, domain=domain, **attributes))
        self.known.append(made)

    def made(self, shape: tuple[int, ...], like: Known | None = None) -> Known | None:
        """A tensor to come, with a scale of its own or that of another; None if it is too large."""
        if min(shape) < 1 or np.prod(shape) > MOST_ELEMENTS:
            return None
        batch, channels, height, width = shape
        scale, zero = (self.scale(), self.zero()) if like is None else (like.scale, like.zero)
        return Known(f"t/{len(self.nodes)}:0", (batch, channels, height, width), scale, zero)

    def joined(self, source: Known) -> tuple[int, list[Known], tuple[int, ...]]:
        """An axis, tensors that can be joined along it to what a tensor is like, and the shape of all together."""
        axis = self.between(1, 3)
        alike = np.delete(source.shape, axis).tolist()
        fits = [t for t in self.known if np.delete(t.shape, axis).tolist() == alike]
        parts = [fits[self.between(0, len(fits) - 1)] for _ in range(self.between(2, 4))]
        size = sum(part.shape[axis] for part in parts)
        return axis, parts, tuple(size if k == axis else n for k, n in enumerate(source.shape))

    def grow(self) -> None:
        """Try one operator; some draws do not fit and add nothing."""
        kind = self.rng.choice(
            ["conv", "conv", "conv", "pool", "mean", "binary", "binary", "constant", "concat", "function", "slice",
             "split", "pad", "resize", "shuffle", "transpose", "softmax", "product", "attention"]
        )  # fmt: skip
        getattr(self, f"_{kind}")(self.any())

    # ------------------------------------------------------------------------- operators

    def _window(self, size: tuple[int, int]) -> tuple[dict[str, Any], tuple[int, int]] | None:
        kernel = (self.between(1, 4), self.between(1, 4))
        strides = (self.between(1, 2), self.between(1, 3))
        pads = tuple(self.between(0, kernel[axis % 2] - 1) for axis in range(4))
        out = [(size[k] + pads[k] + pads[k + 2] - kernel[k]) // strides[k] + 1 for k in (0, 1)]
        if any(size[k] + pads[k] + pads[k + 2] < kernel[k] for k in (0, 1)):
            return None
        return {"kernel_shape": kernel, "strides": strides, "pads": pads}, (out[0], out[1])

    def _conv(self, source: Known) -> None:
        window = self._window(source.shape[2:])
        if window is None:
            return
        attributes, size = window
        channels = source.shape[1]
        divisors = [d for d in range(1, channels + 1) if channels % d == 0]
        groups = int(self.rng.choice([1, *divisors]))
        outputs = channels if self.rng.integers(3) == 0 else groups * self.between(1, 12 // groups or 1)
        kernel = attributes["kernel_shape"]
        if self.rng.integers(4) == 0:  # dilated, if it still fits
            reach = tuple(2 * k - 1 for k in kernel)
            grown = [
                (source.shape[2 + k] + attributes["pads"][k] + attributes["pads"][k + 2] - reach[k])
                // attributes["strides"][k] + 1
                for k in (0, 1)
            ]  # fmt: skip
            if min(grown) >= 1:
                attributes["dilations"], size = (2, 2), (grown[0], grown[1])
        made = self.made((1, outputs, *size))
        if made is None:
            return
        weights = self.rng.integers(-127, 128, (outputs, channels // groups, *kernel)).astype(np.int8)
        taps = channels // groups * kernel[0] * kernel[1]
        count = int(self.rng.choice([1, outputs]))
        scales = (
            self.rng.uniform(0.5, 2, count) * made.scale / source.scale / 40 / np.sqrt(taps) / 2
        ).astype(np.float32)
        zeros = np.zeros(count, np.int8)
        shape = () if count == 1 else (count,)
        bias = self.rng.integers(-2000, 2000, outputs).astype(np.int32)
        self.node(
            "QLinearConv",
            (*self.triple(source), self.constant(weights), self.constant(scales.reshape(shape)),
             self.constant(zeros.reshape(shape)), *self.pair(made), self.constant(bias)),
            made, group=groups, **attributes,
        )  # fmt: skip

    def _pool(self, source: Known) -> None:
        window = self._window(source.shape[2:])
        if window is None:
            return
        attributes, size = window
        average = bool(self.rng.integers(2))
        made = self.made((1, source.shape[1], *size), None if average else source)
        if made is None:
            return
        if average:
            include = self.between(0, 1)
            inputs = (*self.triple(source), *self.pair(made))
            self.node("QLinearAveragePool", inputs, made, OWN, count_include_pad=include, **attributes)
        else:
            self.node("MaxPool", (source.name,), made, **attributes)

    def _mean(self, source: Known) -> None:
        made = self.made((1, source.shape[1], 1, 1))
        assert made is not None
        self.node("QLinearGlobalAveragePool", (*self.triple(source), *self.pair(made)), made, OWN)

    def _binary(self, source: Known) -> None:
        partners = [
            t for t in self.known if all(a in (1, b) for a, b in zip(t.shape, source.shape, strict=True))
        ]
        other = partners[self.between(0, len(partners) - 1)] if partners else source
        made = self.made(source.shape)
        assert made is not None
        kind = str(self.rng.choice(["QLinearAdd", "QLinearMul"]))
        first, second = (source, other) if self.rng.integers(2) else (other, source)
        self.node(kind, (*self.triple(first), *self.triple(second), *self.pair(made)), made, OWN)

    def _constant(self, source: Known) -> None:
        axis = self.between(0, 3)
        shape = tuple(size if k == axis else 1 for k, size in enumerate(source.shape))
        made, limits = self.made(source.shape), np.iinfo(self.dtype)
        assert made is not None
        values = self.rng.integers(limits.min, limits.max + 1, shape).astype(self.dtype)
        other = Known(self.constant(values), made.shape, self.scale(), self.zero())
        kind = str(self.rng.choice(["QLinearAdd", "QLinearMul"]))
        first, second = (source, other) if self.rng.integers(2) else (other, source)
        self.node(kind, (*self.triple(first), *self.triple(second), *self.pair(made)), made, OWN)

    def _concat(self, source: Known) -> None:
        axis, parts, shape = self.joined(source)
        made = self.made(shape, parts[0] if self.rng.integers(2) else None)
        if made is None:
            return
        operands = [name for part in parts for name in self.triple(part)]
        self.node("QLinearConcat", (*self.pair(made), *operands), made, OWN, axis=axis)

    def _function(self, source: Known) -> None:
        made = self.made(source.shape)
        assert made is not None
        kind = str(self.rng.choice(["QLinearSigmoid", "QLinearLeakyRelu"]))
        attributes = {"alpha": 0.25} if kind == "QLinearLeakyRelu" else {}
        self.node(kind, (*self.triple(source), *self.pair(made)), made, OWN, **attributes)

    def _slice(self, source: Known) -> None:
        axis = self.between(1, 3)
        size = source.shape[axis]
        start = self.between(0, size - 1)
        end, step = self.between(start + 1, size), self.between(1, 3)
        shape = list(source.shape)
        shape[axis] = len(range(start, end, step))
        made = self.made(tuple(shape), source)
        assert made is not None
        numbers = (self.constant(np.array([value], np.int64)) for value in (start, end, axis, step))
        self.node("Slice", (source.name, *numbers), made)

    def _split(self, source: Known) -> None:
        axis = self.between(1, 3)
        size = source.shape[axis]
        if size < 2:
            return
        first = self.between(1, size - 1)
        parts = []
        for k, part in enumerate((first, size - first)):
            shape = list(source.shape)
            shape[axis] = part
            made = self.made(tuple(shape), source)
            assert made is not None
            parts.append(Known(f"{made.name}#{k}", made.shape, made.scale, made.zero))
        sizes = self.constant(np.array([first, size - first], np.int64))
        label = f"Split node {len(self.nodes)}"
        names = [part.name for part in parts]
        self.nodes.append(helper.make_node("Split", [source.name, sizes], names, label, axis=axis))
        self.known += parts

    def _pad(self, source: Known) -> None:
        pads = [0] + [self.between(0, 2) for _ in range(3)] + [0] + [self.between(0, 2) for _ in range(3)]
        made = self.made(tuple(source.shape[k] + pads[k] + pads[k + 4] for k in range(4)), source)
        if made is None:
            return
        fill = source.zero if self.rng.integers(2) else self.between(0, 100)
        names = (self.constant(np.array(pads, np.int64)), self.constant(self.dtype(fill)))
        self.node("Pad", (source.name, *names), made)

    def _resize(self, source: Known) -> None:
        size = (self.between(1, 2 * source.shape[2]), self.between(1, 2 * source.shape[3]))
        made = self.made((*source.shape[:2], *size), source)
        if made is None:
            return
        mode, nearest = (("asymmetric", "floor"), ("half_pixel", "round_prefer_floor"))[self.between(0, 1)]
        sizes = self.constant(np.array(made.shape, np.int64))
        self.node(
            "Resize", (source.name, "", "", sizes), made, mode="nearest",
            coordinate_transformation_mode=mode, nearest_mode=nearest,
        )  # fmt: skip

    def _shuffle(self, source: Known) -> None:
        _, channels, height, width = source.shape
        groups = [d for d in range(2, channels) if channels % d == 0]
        if not groups:
            return
        group = groups[self.between(0, len(groups) - 1)]
        split, mixed = f"s{len(self.nodes)}", f"m{len(self.nodes)}"
        shapes = [(1, group, channels // group, height, width), source.shape]
        first, last = (self.constant(np.array(shape, np.int64)) for shape in shapes)
        self.nodes.append(helper.make_node("Reshape", [source.name, first], [split]))
        self.nodes.append(helper.make_node("Transpose", [split], [mixed], perm=(0, 2, 1, 3, 4)))
        made = self.made(source.shape, source)
        assert made is not None
        self.node("Reshape", (mixed, last), made)

    def _transpose(self, source: Known) -> None:
        order = [0, *(1 + k for k in self.rng.permutation(3).tolist())]
        made = self.made(tuple(source.shape[k] for k in order), source)
        assert made is not None
        self.node("Transpose", (source.name,), made, perm=order)

    def _softmax(self, source: Known) -> None:
        made = self.made(source.shape)
        assert made is not None
        made = Known(made.name, made.shape, 1 / 256, int(np.iinfo(self.dtype).min))
        inputs, axis = (*self.triple(source), *self.pair(made)), self.between(1, 3)
        if source.shape[axis] > 1:  # of a single uint8 value onnxruntime's float sum overflows
            self.node("QLinearSoftmax", inputs, made, OWN, axis=axis, opset=13)

    def _product(self, source: Known) -> None:
        inputs, outputs = source.shape[3], self.between(1, 12)
        made = self.made((*source.shape[:3], outputs))
        if made is None:
            return
        weights = self.rng.integers(-127, 128, (inputs, outputs)).astype(np.int8)
        scale = np.float32(made.scale / source.scale / 40 / np.sqrt(inputs))
        constants = (self.constant(weights), self.constant(scale), self.constant(np.int8(0)))
        self.node("QLinearMatMul", (*self.triple(source), *constants, *self.pair(made)), made)

    def _attention(self, source: Known) -> None:
        """A product of a tensor and itself turned."""
        batch, channels, height, width = source.shape
        made = self.made((batch, channels, height, height))
        if made is None:
            return
        scale = float(np.float32(110 * source.scale**2 * width**0.5))  # most of the products fit
        made = Known(made.name, made.shape, scale, made.zero)
        turned = f"turned {len(self.nodes)}"
        self.nodes.append(helper.make_node("Transpose", [source.name], [turned], perm=(0, 1, 3, 2)))
        inputs = self.triple(source)
        self.node("QLinearMatMul", (*inputs, turned, *inputs[1:], *self.pair(made)), made)

    # ------------------------------------------------------------------------ the model

    def model(self, operators: int) -> onnx.ModelProto:
        """Grow by some operators; outputs are what nobody reads, or one of all if that is an input."""
        while len(self.known) <= len(self.inputs) or operators > 0:
            self.grow()
            operators -= 1
        read = {name for node in self.nodes for name in node.input}
        ends = [tensor for tensor in self.known if tensor.name not in read and tensor not in self.inputs]
        kind = {np.uint8: TensorProto.UINT8, np.int8: TensorProto.INT8}.get(self.dtype, TensorProto.FLOAT)
        used = [tensor for tensor in self.inputs if tensor.name in read]
        graph = helper.make_graph(
            self.nodes,
            "random",
            [helper.make_tensor_value_info(t.name, kind, t.shape) for t in used],
            [helper.make_tensor_value_info(t.name, kind, t.shape) for t in ends[:4]],
            self.constants,
        )
        made = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", 15), helper.make_opsetid(OWN, 1)]
        )
        made.ir_version = 8
        return made


class RandomFloatModel(RandomModel):
    """The same in float32; values stay about as large as they are, so that rounding errors do too."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.dtype = np.float32

    def zero(self) -> int:
        """Nothing is quantised."""
        return 0

    def grow(self) -> None:
        """Try one operator, now and then one that is read as several others."""
        if self.rng.integers(4):
            super().grow()
        else:
            kind = self.rng.choice(
                ["reduce", "normalisation", "attention", "enlarge", "pair", "beside", "chosen"]
            )
            getattr(self, f"_{kind}")(self.any())

    def _reduce(self, source: Known) -> None:
        axis = self.between(1, 3)
        made = self.made(tuple(1 if k == axis else size for k, size in enumerate(source.shape)))
        assert made is not None
        kind = str(self.rng.choice(["ReduceMax", "ReduceMin", "ReduceL1", "ReduceL2"]))
        self.node(kind, (source.name,), made, axes=[axis])

    def _normalisation(self, source: Known) -> None:
        made, channels = self.made(source.shape), source.shape[1]
        assert made is not None
        if self.rng.integers(2):
            names = (source.name, self.reals(channels), self.reals(channels))
            self.node("InstanceNormalization", names, made, epsilon=0.5)
        else:
            self.node("LogSoftmax", (source.name,), made, axis=self.between(1, 3))

    def _attention(self, source: Known) -> None:
        """A product of a tensor and itself turned."""
        batch, channels, height, width = source.shape
        made = self.made((batch, channels, height, height))
        if made is None or np.prod(source.shape) * height > 4 * MOST_ELEMENTS:
            return
        turned, scaled = f"turned {len(self.nodes)}", f"scaled {len(self.nodes)}"
        self.nodes.append(helper.make_node("Transpose", [source.name], [turned], perm=(0, 1, 3, 2)))
        factor = self.constant(np.float32(0.5 / width))
        self.nodes.append(helper.make_node("Mul", [turned, factor], [scaled]))
        self.node("MatMul", (source.name, scaled), made)

    def _enlarge(self, source: Known) -> None:
        """By whole factors or to any size."""
        factors = (1, 1, self.between(1, 3), self.between(1, 3))
        shape = tuple(a * b for a, b in zip(source.shape, factors, strict=True))
        if self.rng.integers(2):
            shape = (*source.shape[:2], self.between(2, 14), self.between(2, 14))
        made = self.made(shape)
        if made is not None:
            way = str(self.rng.choice(["half_pixel", "asymmetric", "align_corners"]))
            names = (source.name, "", "", self.constant(np.array(shape, np.int64)))
            mode = str(self.rng.choice(["linear", "linear", "cubic"]))
            self.node("Resize", names, made, mode=mode, coordinate_transformation_mode=way)

    def _beside(self, source: Known) -> None:
        """A constant joined to a tensor."""
        axis, count = self.between(1, 3), self.between(1, 3)
        part = tuple(count if k == axis else size for k, size in enumerate(source.shape))
        made = self.made(tuple(size + count * (k == axis) for k, size in enumerate(source.shape)))
        if made is not None:
            names = [source.name, self.reals(*part)]
            self.node("Concat", tuple(names[:: int(self.rng.choice([1, -1]))]), made, axis=axis)

    def _chosen(self, source: Known) -> None:
        """By a mask, or times a number for each position of two axes."""
        made, (_, channels, height, width) = self.made(source.shape), source.shape
        assert made is not None
        if self.rng.integers(2):
            mask = self.constant(self.rng.random((1, 1, height, width)) > 0.5)
            self.node("Where", (mask, source.name, self.reals(1)), made)
        else:
            self.node("Mul", (source.name, self.reals(channels, 1, width)), made)

    def _pair(self, source: Known) -> None:
        others = [t.name for t in self.known if t.shape == source.shape]
        made = self.made(source.shape)
        assert made is not None
        count = min(3, len(others))
        kind = str(self.rng.choice(["Max", "Min", "Sum", "Mean"]))
        self.node(kind, (source.name, *others[-count:]), made)

    def reals(self, *shape: int, spread: float = 1.0) -> str:
        """Add random numbers."""
        return self.constant(self.rng.normal(0, spread, shape).astype(np.float32))

    def _conv(self, source: Known) -> None:
        window = self._window(source.shape[2:])
        channels = source.shape[1]
        groups = int(self.rng.choice([1, *(d for d in range(1, channels + 1) if channels % d == 0)]))
        outputs = channels if self.rng.integers(3) == 0 else groups * self.between(1, 12 // groups or 1)
        if window is None:
            return
        attributes, size = window
        if self.rng.integers(4) == 0:
            self._conv_transpose(source, groups)
            return
        made = self.made((1, outputs, *size))
        if made is not None:
            kernel = attributes["kernel_shape"]
            taps = channels // groups * kernel[0] * kernel[1]
            weights = self.reals(outputs, channels // groups, *kernel, spread=taps**-0.5)
            bias = (self.reals(outputs),) if self.rng.integers(2) else ()
            self.node("Conv", (source.name, weights, *bias), made, group=groups, **attributes)

    def _conv_transpose(self, source: Known, groups: int) -> None:
        kernel, stride = self.between(1, 3), self.between(1, 2)
        height, width = ((size - 1) * stride + kernel for size in source.shape[2:])
        each = self.between(1, 6 // groups or 1)
        made = self.made((1, each * groups, height, width))
        if made is not None:
            weights = self.reals(source.shape[1], each, kernel, kernel, spread=source.shape[1] ** -0.5)
            strides = (stride, stride)
            self.node("ConvTranspose", (source.name, weights), made, group=groups, strides=strides)

    def _pool(self, source: Known) -> None:
        window = self._window(source.shape[2:])
        made = None if window is None else self.made((1, source.shape[1], *window[1]))
        if window is None or made is None:
            return
        if self.rng.integers(2):
            include = self.between(0, 1)
            self.node("AveragePool", (source.name,), made, count_include_pad=include, **window[0])
        else:
            self.node("MaxPool", (source.name,), made, **window[0])

    def _mean(self, source: Known) -> None:
        made = self.made((1, source.shape[1], 1, 1))
        assert made is not None
        self.node("GlobalAveragePool", (source.name,), made)

    def _binary(self, source: Known) -> None:
        partners = [
            t for t in self.known if all(a in (1, b) for a, b in zip(t.shape, source.shape, strict=True))
        ]
        other = partners[self.between(0, len(partners) - 1)] if partners else source
        made = self.made(source.shape)
        assert made is not None
        kind = str(self.rng.choice(["Add", "Sub", "Mul"]))
        names = (source.name, other.name) if self.rng.integers(2) else (other.name, source.name)
        self.node(kind, names, made)
        if kind == "Mul":
            limited = self.made(source.shape)
            assert limited is not None
            self.node("Tanh", (made.name,), limited)

    def _constant(self, source: Known) -> None:
        axis = self.between(0, 3)
        shape = tuple(size if k == axis else 1 for k, size in enumerate(source.shape))
        made = self.made(source.shape)
        assert made is not None
        values = self.constant(self.rng.uniform(0.5, 1.5, shape).astype(np.float32))
        kind = str(self.rng.choice(["Add", "Sub", "Mul", "Div", "PRelu"]))
        first = kind in ("Div", "PRelu") or self.rng.integers(2)
        self.node(kind, (source.name, values) if first else (values, source.name), made)

    def _concat(self, source: Known) -> None:
        axis, parts, shape = self.joined(source)
        made = self.made(shape)
        if made is not None:
            self.node("Concat", tuple(part.name for part in parts), made, axis=axis)

    def _function(self, source: Known) -> None:
        made = self.made(source.shape)
        assert made is not None
        kind = str(
            self.rng.choice(
                [
                    "Relu",
                    "LeakyRelu",
                    "Sigmoid",
                    "HardSigmoid",
                    "HardSwish",
                    "Tanh",
                    "Elu",
                    "Clip",
                    "Erf",
                    "Softplus",
                    "Selu",
                    "Softsign",
                ]
            )
        )
        bounds = (np.float32(0), np.float32(self.rng.choice([6, 0.75]))) if kind == "Clip" else ()
        self.node(kind, (source.name, *map(self.constant, bounds)), made)

    def _pad(self, source: Known) -> None:
        pads = [0] + [self.between(0, 2) for _ in range(3)] + [0] + [self.between(0, 2) for _ in range(3)]
        made = self.made(tuple(source.shape[k] + pads[k] + pads[k + 4] for k in range(4)))
        if made is not None:
            mode = str(self.rng.choice(["constant", "edge"]))
            self.node("Pad", (source.name, self.constant(np.array(pads, np.int64))), made, mode=mode)

    def _softmax(self, source: Known) -> None:
        made = self.made(source.shape)
        assert made is not None
        self.node("Softmax", (source.name,), made, axis=self.between(1, 3))

    def _product(self, source: Known) -> None:
        inputs, outputs = source.shape[3], self.between(1, 12)
        made = self.made((*source.shape[:3], outputs))
        if made is not None:
            self.node("MatMul", (source.name, self.reals(inputs, outputs, spread=inputs**-0.5)), made)
