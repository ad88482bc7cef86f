"""Architectures as light blueprints, and the networks made from them.

A blueprint knows every shape but holds no weights, so listing all built-in networks costs
nothing. ``materialise`` fills it with seeded int8 weights. Quantisation is worked out by
following the mean and variance of every channel through the layers: each channel is given
a bias that cancels the mean it would have and a multiplier that gives it a chosen spread,
as a folded batch normalisation would. Random networks then neither die nor saturate, and
no sample data is needed.

The bytes do not depend on the machine: random numbers are raw PCG64 output, and sums over
weights are integer sums.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.reference import exponentials
from ooc_solve.models.vocabulary import DType, Network, Op, OpKind, Place, Quantization, Tensor, Window

FORMAT = 2  # raise it whenever the bytes made from an unchanged blueprint change

INPUT = "input"
Shape = tuple[int, int, int]  # height, width, channels
Floats = NDArray[np.float64]

_WEIGHTED = (OpKind.CONV, OpKind.DEPTHWISE)
_LEAST_SPREAD_STEPS, _MOST_SPREAD_STEPS = 32.0, 40.0
_FARTHEST_ZERO_POINT = 24
_FRACTION = 256  # moments are rounded to 1/256 step before they meet weights
_BLOCK_ELEMENTS = 1 << 18  # weights are widened to int32 in blocks of this size

# Mean and variance of the largest of n independent standard normals (Harter 1961).
_LARGEST_OF = {4: (1.0294, 0.4917), 9: (1.4850, 0.3574)}


# ---------------------------------------------------------------------- blueprints


class Activation(Enum):
    """What follows a layer; the value is its name in the digest."""

    NONE = "none"
    RELU = "relu"
    RELU6 = "relu6"

    @property
    def real_spread(self) -> float:
        """Standard deviation, in real units, that a layer is given before this activation.

        With 2, the upper bound of relu6 lies three deviations out, so it does limit.
        """
        return 2.0 if self is Activation.RELU6 else 1.0


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer without its numbers; its output tensor carries its name.

    Layers with the same ``scale_key`` get the same output quantisation.
    """

    name: str
    kind: OpKind
    inputs: tuple[str, ...]
    shape: Shape
    window: Window = field(default_factory=Window)
    activation: Activation = Activation.NONE
    scale_key: str = ""


@dataclass(frozen=True, slots=True)
class Blueprint:
    """A network without its numbers: one input, layers in order, the last one is the output."""

    name: str
    input_shape: Shape
    input_quantization: Quantization
    layers: tuple[Layer, ...]

    @property
    def shapes(self) -> dict[str, Shape]:
        """Height, width and channels of every tensor."""
        return {INPUT: self.input_shape} | {layer.name: layer.shape for layer in self.layers}

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights of every layer that has weights, as ``Op`` stores them."""
        shapes = self.shapes
        return {
            layer.name: _weight_shape(layer, shapes[layer.inputs[0]][2])
            for layer in self.layers
            if layer.kind in _WEIGHTED
        }

    @property
    def macs(self) -> int:
        """Multiply-accumulates of one inference: every weight once per output pixel."""
        shapes = self.shapes
        return sum(
            math.prod(weights) * shapes[name][0] * shapes[name][1]
            for name, weights in self.weight_shapes().items()
        )

    @property
    def parameters(self) -> int:
        """Weights and biases; normalisation counts as folded into them."""
        shapes = self.shapes
        return sum(math.prod(weights) + shapes[name][2] for name, weights in self.weight_shapes().items())

    @property
    def digest(self) -> str:
        """SHA-256 over everything the bytes of the network follow from."""
        quantization = (self.input_quantization.scale, self.input_quantization.zero_point)
        layers = [_canonical(layer) for layer in self.layers]
        text = json.dumps([FORMAT, self.name, self.input_shape, quantization, layers])
        return hashlib.sha256(text.encode()).hexdigest()


def _weight_shape(layer: Layer, input_channels: int) -> tuple[int, ...]:
    if layer.kind is OpKind.DEPTHWISE:
        return (*layer.window.kernel, input_channels)
    return (layer.shape[2], *layer.window.kernel, input_channels)


def _canonical(layer: Layer) -> list[object]:
    window = layer.window
    return [
        *(layer.name, layer.kind.value, layer.inputs, layer.shape, layer.activation.value, layer.scale_key),
        *(window.kernel, window.stride, window.dilation, window.pads),
    ]


class Sketch:
    """Draws a blueprint layer by layer.

    Every method appends one layer that reads ``source``, or the layer before if it is
    not given, and returns the name of the new tensor. Names are the kind and the position.
    ``pads`` is a number of rows and columns on each side, or "same" for TensorFlow's
    padding (output size ``ceil(size / stride)``, the odd row or column at the end).
    """

    def __init__(self, name: str, shape: Shape, quantization: Quantization) -> None:
        self._name = name
        self._quantization = quantization
        self._shapes = {INPUT: shape}
        self._layers: list[Layer] = []
        self.last = INPUT

    def conv(
        self,
        channels: int,
        kernel: int | tuple[int, int] = 1,
        *,
        stride: int = 1,
        pads: int | Literal["same"] = 0,
        activation: Activation = Activation.RELU,
        source: str | None = None,
        scale_key: str = "",
    ) -> str:
        """Append a convolution."""
        window = self._window(source, kernel, stride, pads)
        return self._append(OpKind.CONV, (source,), window, channels, activation, scale_key)

    def depthwise(
        self,
        *,
        stride: int = 1,
        pads: int | Literal["same"] = "same",
        activation: Activation = Activation.RELU,
    ) -> str:
        """Append a 3x3 depthwise convolution."""
        window = self._window(None, 3, stride, pads)
        return self._append(OpKind.DEPTHWISE, (None,), window, None, activation)

    def dense(self, channels: int, activation: Activation = Activation.NONE) -> str:
        """Append a fully connected layer over all that the layer before gives.

        It is a convolution whose window is the whole map, so nothing need be flattened.
        """
        return self.conv(channels, self._shapes[self.last][:2], activation=activation)

    def add(self, left: str, right: str, activation: Activation = Activation.NONE) -> str:
        """Append an element-wise sum."""
        return self._append(OpKind.ADD, (left, right), Window(), None, activation)

    def max_pool(self, kernel: int, *, stride: int = 2, pads: int = 0) -> str:
        """Append a maximum over windows."""
        return self._append(OpKind.MAX_POOL, (None,), self._window(None, kernel, stride, pads))

    def global_average(self) -> str:
        """Append the mean over the whole map."""
        size = self._shapes[self.last][:2]
        return self._append(OpKind.AVERAGE_POOL, (None,), Window(kernel=size, stride=size))

    def concat(self, *sources: str) -> str:
        """Append a concatenation along channels."""
        channels = sum(self._shapes[source][2] for source in sources)
        return self._append(OpKind.MOVE, sources, Window(), channels)

    def softmax(self) -> str:
        """Append a softmax over channels."""
        return self._append(OpKind.SOFTMAX, (None,), Window())

    def blueprint(self) -> Blueprint:
        """Return what was drawn."""
        return Blueprint(self._name, self._shapes[INPUT], self._quantization, tuple(self._layers))

    def _window(
        self, source: str | None, kernel: int | tuple[int, int], stride: int, pads: int | Literal["same"]
    ) -> Window:
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        if pads != "same":
            return Window(kernel=sides, stride=(stride, stride), pads=(pads, pads, pads, pads))
        height, width, _ = self._shapes[source or self.last]
        rows, columns = _same_padding(height, sides[0], stride), _same_padding(width, sides[1], stride)
        return Window(
            kernel=sides,
            stride=(stride, stride),
            pads=(rows // 2, columns // 2, rows - rows // 2, columns - columns // 2),
        )

    def _append(
        self,
        kind: OpKind,
        sources: tuple[str | None, ...],
        window: Window,
        channels: int | None = None,
        activation: Activation = Activation.NONE,
        scale_key: str = "",
    ) -> str:
        inputs = tuple(source or self.last for source in sources)
        height, width, input_channels = self._shapes[inputs[0]]
        shape = (*window.output_size(height, width), channels or input_channels)
        name = f"{'concat' if kind is OpKind.MOVE else kind.value}_{len(self._layers) + 1}"
        self._layers.append(Layer(name, kind, inputs, shape, window, activation, scale_key or name))
        self._shapes[name] = shape
        self.last = name
        return name


def _same_padding(size: int, kernel: int, stride: int) -> int:
    """Rows or columns TensorFlow's SAME padding adds in all."""
    outputs = -(-size // stride)
    return max(0, (outputs - 1) * stride + kernel - size)


# --------------------------------------------------------------------- random numbers


def _stream(*names: str) -> np.random.PCG64:
    """Random bits that depend on nothing but the names."""
    seed = hashlib.sha256("/".join(names).encode()).digest()
    return np.random.PCG64(int.from_bytes(seed[:16], "little"))


def _random_weights(stream: np.random.PCG64, shape: tuple[int, ...]) -> NDArray[np.int8]:
    """Weights spread evenly over -127..127 (-128 of the raw bytes becomes -127)."""
    elements = math.prod(shape)
    words = stream.random_raw(-(-elements // 8)).astype("<u8", copy=False)
    weights = words.view(np.int8)[:elements]
    np.maximum(weights, np.int8(-127), out=weights)
    return weights.reshape(shape)


def _uniform(stream: np.random.PCG64, low: float, high: float, count: int) -> Floats:
    """``count`` numbers spread evenly over ``[low, high)``."""
    fractions = (stream.random_raw(count) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return low + (high - low) * fractions


# ---------------------------------------------------------------------------- moments


@dataclass(frozen=True, slots=True, eq=False)
class _Signal:
    """A tensor and what is expected of its values.

    ``mean`` and ``variance`` are those of each channel before its activation, in real units,
    the values there taken as normal.
    """

    tensor: Tensor
    mean: Floats
    variance: Floats
    activation: Activation = Activation.NONE

    @property
    def quantization(self) -> Quantization:
        """Quantisation of the tensor; every tensor of a built-in network has one."""
        if self.tensor.quantization is None:
            raise ValueError(f"tensor '{self.tensor.name}' has no quantisation")
        return self.tensor.quantization

    def moments(self) -> tuple[Floats, Floats]:
        """Mean and variance of each channel after the activation (relu6 counts as relu)."""
        if self.activation is Activation.NONE:
            return self.mean, self.variance
        spread = np.sqrt(self.variance)
        at = self.mean / spread
        positive = np.array([0.5 * math.erfc(-value / math.sqrt(2.0)) for value in at])
        density = np.exp(-0.5 * at * at) / math.sqrt(2.0 * math.pi)
        mean = self.mean * positive + spread * density
        square = (self.mean**2 + self.variance) * positive + self.mean * spread * density
        return mean, np.maximum(square - mean**2, 0.0)


def _accumulator_moments(kind: OpKind, weights: NDArray[np.int8], source: _Signal) -> tuple[Floats, Floats]:
    """Mean and variance of ``sum (x - zx) w`` for every output channel.

    Elements of the window count as independent. Sums are taken in integers, so that they
    do not depend on the order in which a machine adds.
    """
    scale = source.quantization.scale
    real_mean, real_variance = source.moments()
    mean = np.rint(real_mean / scale * _FRACTION).astype(np.int64)
    variance = np.rint(real_variance / scale**2 * _FRACTION).astype(np.int64)
    if kind is OpKind.DEPTHWISE:
        sums, squares = _tap_sums(weights.reshape(1, -1, weights.shape[-1]))
        return sums[0] * mean / _FRACTION, squares[0] * variance / _FRACTION
    rows = weights.reshape(weights.shape[0], -1, weights.shape[-1])
    moments = np.empty((2, len(rows)), np.int64)
    block = max(1, _BLOCK_ELEMENTS // rows[0].size)
    for start in range(0, len(rows), block):
        sums, squares = _tap_sums(rows[start : start + block])
        moments[:, start : start + block] = sums @ mean, squares @ variance
    return moments[0] / _FRACTION, moments[1] / _FRACTION


def _tap_sums(rows: NDArray[np.int8]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Sums of weights and of their squares over the middle axis, the taps."""
    wide = rows.astype(np.int32)
    return wide.sum(axis=1, dtype=np.int64), np.square(wide, out=wide).sum(axis=1, dtype=np.int64)


def _clamp(activation: Activation, quantization: Quantization) -> tuple[int, int]:
    """Closed range of the stored output."""
    if activation is Activation.NONE:
        return (-128, 127)
    zero = quantization.zero_point
    top = zero + round(6.0 / quantization.scale) if activation is Activation.RELU6 else 127
    return (zero, min(127, top))


# ----------------------------------------------------------------------------- layers


def materialise(blueprint: Blueprint) -> Network:
    """Make the network: int8 weights, int32 biases, float32 multipliers, int8 tensors."""
    signals = {INPUT: _input_signal(blueprint)}
    ops: list[Op] = []
    for layer in blueprint.layers:
        op, signal = _MAKERS[layer.kind](blueprint, layer, tuple(signals[name] for name in layer.inputs))
        ops.append(op)
        signals[layer.name] = signal
    return Network(
        name=blueprint.name,
        tensors={name: signal.tensor for name, signal in signals.items()},
        ops=tuple(ops),
        inputs=(INPUT,),
        outputs=(ops[-1].output,),
        digest=blueprint.digest,
    )


def _input_signal(blueprint: Blueprint) -> _Signal:
    """The network input, every byte taken as equally likely."""
    quantization = blueprint.input_quantization
    tensor = _tensor(INPUT, blueprint.input_shape, quantization)
    mean = quantization.scale * (-0.5 - quantization.zero_point)
    variance = quantization.scale**2 * (256**2 - 1) / 12
    return _Signal(tensor, np.full(tensor.channels, mean), np.full(tensor.channels, variance))


def _tensor(name: str, shape: Shape, quantization: Quantization) -> Tensor:
    graph_shape = (1, shape[2]) if shape[:2] == (1, 1) else (1, *shape)
    return Tensor(name, *shape, DType.INT8, quantization, graph_shape=graph_shape)


def _output_quantization(blueprint: Blueprint, layer: Layer, real_spread: float) -> Quantization:
    """Scale that spreads the values over 32 to 40 steps; a zero point of its own unless rectified."""
    stream = _stream(blueprint.name, layer.scale_key, "quantization")
    steps = float(_uniform(stream, _LEAST_SPREAD_STEPS, _MOST_SPREAD_STEPS, 1)[0])
    offset = int(_uniform(stream, 1, _FARTHEST_ZERO_POINT + 1, 1)[0])
    sign = 1 if _uniform(stream, 0, 2, 1)[0] < 1 else -1
    zero_point = sign * offset if layer.activation is Activation.NONE else -128
    return Quantization(float(np.float32(real_spread / steps)), zero_point)


def _weighted(blueprint: Blueprint, layer: Layer, sources: tuple[_Signal, ...]) -> tuple[Op, _Signal]:
    """A convolution whose channels get a chosen mean and spread, as after a normalisation."""
    source = sources[0]
    stream = _stream(blueprint.name, layer.name)
    weights = _random_weights(stream, _weight_shape(layer, source.tensor.channels))
    unit = layer.activation.real_spread
    spread = unit * _uniform(stream, 0.75, 1.25, layer.shape[2])
    centre = unit * _uniform(stream, -0.5, 0.5, layer.shape[2])
    quantization = _output_quantization(blueprint, layer, unit)
    mean, variance = _accumulator_moments(layer.kind, weights, source)
    multiplier = _multiplier(source.quantization, spread / np.sqrt(variance), quantization)
    bias = np.rint(centre / quantization.scale / multiplier - mean).astype(np.int32)
    op = _op(layer, quantization, weights=weights, bias=bias, multiplier=multiplier)
    tensor = _tensor(layer.name, layer.shape, quantization)
    return op, _Signal(tensor, centre, spread * spread, layer.activation)


def _multiplier(source: Quantization, real_per_sum: Floats, output: Quantization) -> NDArray[np.float32]:
    """``source scale * weight scale / output scale``, every step rounded to float32 as in ONNX.

    ``real_per_sum`` is the wanted product of the first two.
    """
    weight_scale = (real_per_sum / source.scale).astype(np.float32)
    return np.float32(source.scale) * weight_scale / np.float32(output.scale)


def _add(blueprint: Blueprint, layer: Layer, sources: tuple[_Signal, ...]) -> tuple[Op, _Signal]:
    (left_mean, left_variance), (right_mean, right_variance) = (source.moments() for source in sources)
    mean, variance = left_mean + right_mean, left_variance + right_variance
    quantization = _output_quantization(blueprint, layer, _overall_spread(mean, variance))
    tensor = _tensor(layer.name, layer.shape, quantization)
    return _op(layer, quantization), _Signal(tensor, mean, variance, layer.activation)


def _overall_spread(mean: Floats, variance: Floats) -> float:
    """Standard deviation over all channels taken together."""
    count = len(mean)
    centre = math.fsum(mean) / count
    return math.sqrt(math.fsum(variance + np.square(mean - centre)) / count)


def _max_pool(blueprint: Blueprint, layer: Layer, sources: tuple[_Signal, ...]) -> tuple[Op, _Signal]:
    """A maximum, which may as well be taken before the activation as after it."""
    source = sources[0]
    shift, shrink = _LARGEST_OF[layer.window.taps]
    mean = source.mean + shift * np.sqrt(source.variance)
    tensor = _tensor(layer.name, layer.shape, source.quantization)
    signal = _Signal(tensor, mean, shrink * source.variance, source.activation)
    return _op(layer, source.quantization), signal


def _average_pool(blueprint: Blueprint, layer: Layer, sources: tuple[_Signal, ...]) -> tuple[Op, _Signal]:
    """A mean over the map; what it says of an image is the mean itself, so that is not cancelled."""
    source = sources[0]
    mean, variance = source.moments()
    tensor = _tensor(layer.name, layer.shape, source.quantization)
    signal = _Signal(tensor, np.zeros_like(mean), variance / layer.window.taps + np.square(mean))
    return _op(layer, source.quantization), signal


def _concat(blueprint: Blueprint, layer: Layer, sources: tuple[_Signal, ...]) -> tuple[Op, _Signal]:
    if len({(source.quantization, source.activation) for source in sources}) != 1:
        raise ValueError(f"inputs of '{layer.name}' must share one quantisation and activation")
    mean = np.concatenate([source.mean for source in sources])
    variance = np.concatenate([source.variance for source in sources])
    tensor = _tensor(layer.name, layer.shape, sources[0].quantization)
    starts = np.cumsum([0, *(source.tensor.channels for source in sources[:-1])])
    places = tuple(Place.shifted(2, int(start)) for start in starts)
    op = _op(layer, sources[0].quantization, places=places)
    return op, _Signal(tensor, mean, variance, sources[0].activation)


def _softmax(blueprint: Blueprint, layer: Layer, sources: tuple[_Signal, ...]) -> tuple[Op, _Signal]:
    """Probabilities in 1/256; nothing reads them, so their moments are of no use."""
    quantization = Quantization(1 / 256, -128)
    tensor = _tensor(layer.name, layer.shape, quantization)
    source = sources[0].quantization
    powers = exponentials(source.scale, layer.shape[2])
    op = _op(layer, quantization, powers, None, np.array([256], np.float32))
    return op, _Signal(tensor, sources[0].mean, sources[0].variance)


def _op(
    layer: Layer,
    quantization: Quantization,
    weights: NDArray[np.generic] | None = None,
    bias: NDArray[np.int32] | None = None,
    multiplier: NDArray[np.float32] | None = None,
    places: tuple[Place, ...] = (),
) -> Op:
    return Op(
        name=layer.name,
        kind=layer.kind,
        inputs=layer.inputs,
        output=layer.name,
        window=layer.window,
        groups=layer.shape[2] if layer.kind is OpKind.DEPTHWISE else 1,
        weights=weights,
        bias=bias,
        multiplier=multiplier,
        clamp=_clamp(layer.activation, quantization),
        places=places,
    )


_Maker = Callable[[Blueprint, Layer, tuple[_Signal, ...]], tuple[Op, _Signal]]
_MAKERS: dict[OpKind, _Maker] = {
    OpKind.CONV: _weighted,
    OpKind.DEPTHWISE: _weighted,
    OpKind.ADD: _add,
    OpKind.MAX_POOL: _max_pool,
    OpKind.AVERAGE_POOL: _average_pool,
    OpKind.MOVE: _concat,
    OpKind.SOFTMAX: _softmax,
}
