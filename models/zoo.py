"""Built-in networks: well-known architectures at full size, with seeded weights.

They are for planning and measuring, not for recognising anything. Where an original was
published with batch normalisation, it counts as folded into the convolution before it.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable
from functools import lru_cache

import numpy as np

from ooc_solve.models.vocabulary import InputError, Network, Quantization
from ooc_solve.models.zoo_builder import Activation, Blueprint, Sketch, materialise


def _quantization(scale: float, zero_point: int) -> Quantization:
    """Quantisation whose scale is a float32, as every ONNX scale is."""
    return Quantization(float(np.float32(scale)), zero_point)


# Input quantisations as published models have them.
_PIXELS = _quantization(1.0, -128)  # 0..255
_UNIT_PIXELS = _quantization(1 / 255, -128)  # 0..1
_SIGNED_PIXELS = _quantization(2 / 255, -1)  # -1..1
_NORMALISED_PIXELS = _quantization(0.018658, -14)  # ImageNet mean and deviation removed
_CEPSTRUM = _quantization(0.5847029, 83)
_LOG_MEL = _quantization(0.39101523, 89)

_NONE, _RELU, _RELU6 = Activation.NONE, Activation.RELU, Activation.RELU6


def zoo_names() -> tuple[str, ...]:
    """Names of all built-in networks, small ones first."""
    return tuple(_ARCHITECTURES)


@lru_cache(maxsize=4)
def zoo_network(name: str) -> Network:
    """Make a built-in network with its weights, the same object each time: problems of it are equal, and found again.

    Raises ``InputError`` naming the nearest known name if there is no such network.
    """
    return materialise(_blueprint(name))


def describe(name: str) -> str:
    """One line: input size, multiply-accumulates and parameters. No weights are made.

    Raises ``InputError`` as ``zoo_network`` does.
    """
    blueprint = _blueprint(name)
    height, width, channels = blueprint.input_shape
    macs, parameters = _count(blueprint.macs), _count(blueprint.parameters)
    return f"{name}: input {height}x{width}x{channels}, {macs} MACs, {parameters} parameters"


def _count(number: int) -> str:
    """Three or four digits and a unit: 12.5 M."""
    for size, unit in ((10**9, "G"), (10**6, "M"), (10**3, "k")):
        if number >= size:
            return f"{number / size:.2f} {unit}" if number < 10 * size else f"{number / size:.1f} {unit}"
    return str(number)


def _blueprint(name: str) -> Blueprint:
    if name not in _ARCHITECTURES:
        raise InputError(_unknown(name))
    return _ARCHITECTURES[name](name)


def _unknown(name: str) -> str:
    nearest = difflib.get_close_matches(name.lower(), _ARCHITECTURES, n=1, cutoff=0.4)
    advice = f"did you mean 'zoo:{nearest[0]}'?" if nearest else f"choose one of {', '.join(_ARCHITECTURES)}."
    return f"Model 'zoo:{name}': the name must be that of a built-in network; {advice}"


# ----------------------------------------------------------------------- MLPerf Tiny


def _resnet8(name: str) -> Blueprint:
    """Image classification of MLPerf Tiny (mlcommons/tiny)."""
    net = Sketch(name, (32, 32, 3), _PIXELS)
    skip = net.conv(16, 3, pads="same")
    for channels, stride in ((16, 1), (32, 2), (64, 2)):
        source = skip
        net.conv(channels, 3, stride=stride, pads="same", source=source)
        branch = net.conv(channels, 3, pads="same", activation=_NONE)
        if stride != 1:
            skip = net.conv(channels, stride=stride, activation=_NONE, source=source)
        skip = net.add(skip, branch, _RELU)
    net.global_average()
    net.dense(10)
    net.softmax()
    return net.blueprint()


def _ds_cnn(name: str) -> Blueprint:
    """Keyword spotting of MLPerf Tiny (mlcommons/tiny)."""
    net = Sketch(name, (49, 10, 1), _CEPSTRUM)
    net.conv(64, (10, 4), stride=2, pads="same")
    for _ in range(4):
        net.depthwise()
        net.conv(64)
    net.global_average()
    net.dense(12)
    net.softmax()
    return net.blueprint()


def _autoencoder(name: str) -> Blueprint:
    """Anomaly detection of MLPerf Tiny (mlcommons/tiny)."""
    net = Sketch(name, (1, 1, 640), _LOG_MEL)
    for channels in (128, 128, 128, 128, 8, 128, 128, 128, 128):
        net.dense(channels, _RELU)
    net.dense(640)
    return net.blueprint()


# ---------------------------------------------------------------------------- MobileNet


def _mobilenet_v1_025_96(name: str) -> Blueprint:
    """Visual wake words of MLPerf Tiny (mlcommons/tiny): a quarter of the channels."""
    return _mobilenet_v1(Sketch(name, (96, 96, 3), _UNIT_PIXELS), divisor=4, classes=2, activation=_RELU)


def _mobilenet_v1_224(name: str) -> Blueprint:
    """MobileNet (Howard et al. 2017), padded as in TensorFlow."""
    net = Sketch(name, (224, 224, 3), _SIGNED_PIXELS)
    return _mobilenet_v1(net, divisor=1, classes=1000, activation=_RELU6)


def _mobilenet_v1(net: Sketch, divisor: int, classes: int, activation: Activation) -> Blueprint:
    net.conv(32 // divisor, 3, stride=2, pads="same", activation=activation)
    blocks = [
        (64, 1),
        (128, 2),
        (128, 1),
        (256, 2),
        (256, 1),
        (512, 2),
        *[(512, 1)] * 5,
        (1024, 2),
        (1024, 1),
    ]
    for channels, stride in blocks:
        net.depthwise(stride=stride, activation=activation)
        net.conv(channels // divisor, activation=activation)
    net.global_average()
    net.dense(classes)
    net.softmax()
    return net.blueprint()


def _mobilenet_v2_224(name: str) -> Blueprint:
    """MobileNetV2 (Sandler et al. 2018) as in torchvision: symmetric padding, no softmax."""
    net = Sketch(name, (224, 224, 3), _NORMALISED_PIXELS)
    net.conv(32, 3, stride=2, pads=1, activation=_RELU6)
    channels = 32
    groups = (
        (1, 16, 1, 1),
        (6, 24, 2, 2),
        (6, 32, 3, 2),
        (6, 64, 4, 2),
        (6, 96, 3, 1),
        (6, 160, 3, 2),
        (6, 320, 1, 1),
    )
    for expansion, width, count, first_stride in groups:
        for index in range(count):
            _inverted_residual(net, channels, expansion, width, first_stride if index == 0 else 1)
            channels = width
    net.conv(1280, activation=_RELU6)
    net.global_average()
    net.dense(1000)
    return net.blueprint()


def _inverted_residual(net: Sketch, channels: int, expansion: int, width: int, stride: int) -> None:
    """Widen, filter each channel, narrow; add the input back where the shapes agree."""
    source = net.last
    if expansion != 1:
        net.conv(channels * expansion, activation=_RELU6)
    net.depthwise(stride=stride, pads=1, activation=_RELU6)
    narrowed = net.conv(width, activation=_NONE)
    if stride == 1 and channels == width:
        net.add(source, narrowed)


# ----------------------------------------------------------------------- large networks


def _resnet18_224(name: str) -> Blueprint:
    """ResNet-18 (He et al. 2015) as in torchvision."""
    net = Sketch(name, (224, 224, 3), _NORMALISED_PIXELS)
    net.conv(64, 7, stride=2, pads=3)
    skip = net.max_pool(3, pads=1)
    for channels, first_stride in ((64, 1), (128, 2), (256, 2), (512, 2)):
        for stride in (first_stride, 1):
            source = skip
            net.conv(channels, 3, stride=stride, pads=1, source=source)
            branch = net.conv(channels, 3, pads=1, activation=_NONE)
            if stride != 1:
                skip = net.conv(channels, stride=stride, activation=_NONE, source=source)
            skip = net.add(branch, skip, _RELU)
    net.global_average()
    net.dense(1000)
    return net.blueprint()


def _alexnet_224(name: str) -> Blueprint:
    """AlexNet in one tower (Krizhevsky 2014) as in torchvision."""
    net = Sketch(name, (224, 224, 3), _NORMALISED_PIXELS)
    net.conv(64, 11, stride=4, pads=2)
    net.max_pool(3)
    net.conv(192, 5, pads=2)
    net.max_pool(3)
    for channels in (384, 256, 256):
        net.conv(channels, 3, pads=1)
    net.max_pool(3)
    return _classifier_of_three(net)


def _vgg16_224(name: str) -> Blueprint:
    """VGG-16 (Simonyan and Zisserman 2014), configuration D."""
    net = Sketch(name, (224, 224, 3), _NORMALISED_PIXELS)
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            net.conv(channels, 3, pads=1)
        net.max_pool(2)
    return _classifier_of_three(net)


def _classifier_of_three(net: Sketch) -> Blueprint:
    net.dense(4096, _RELU)
    net.dense(4096, _RELU)
    net.dense(1000)
    return net.blueprint()


def _squeezenet_224(name: str) -> Blueprint:
    """SqueezeNet 1.1 (Iandola et al. 2016) as in torchvision."""
    net = Sketch(name, (224, 224, 3), _NORMALISED_PIXELS)
    net.conv(64, 3, stride=2)
    for group in (((16, 64), (16, 64)), ((32, 128), (32, 128)), ((48, 192), (48, 192), (64, 256), (64, 256))):
        net.max_pool(3)
        for squeeze, expand in group:
            _fire(net, squeeze, expand)
    net.conv(1000)
    net.global_average()
    return net.blueprint()


def _fire(net: Sketch, squeeze: int, expand: int) -> None:
    """Narrow, then widen by 1x1 and by 3x3 side by side, both in one quantisation."""
    narrow = net.conv(squeeze)
    key = f"{narrow}_expand"
    small = net.conv(expand, source=narrow, scale_key=key)
    large = net.conv(expand, 3, pads=1, source=narrow, scale_key=key)
    net.concat(small, large)


_ARCHITECTURES: dict[str, Callable[[str], Blueprint]] = {
    "autoencoder": _autoencoder,
    "ds_cnn": _ds_cnn,
    "mobilenet_v1_025_96": _mobilenet_v1_025_96,
    "resnet8": _resnet8,
    "mobilenet_v2_224": _mobilenet_v2_224,
    "squeezenet_224": _squeezenet_224,
    "mobilenet_v1_224": _mobilenet_v1_224,
    "alexnet_224": _alexnet_224,
    "resnet18_224": _resnet18_224,
    "vgg16_224": _vgg16_224,
}
