"""Small float32 networks with the layers of published architectures, as torch, tf2onnx and keras2onnx write them.

Each function cites what it is the small form of; weights are random. Those of torch keep channels first, those of
tf2onnx and keras2onnx take images with channels last and put Transposes where a layer needs them first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from tests.exported_networks import Exporter

FIRST, LAST = (0, 3, 1, 2), (0, 2, 3, 1)


def _torch(shape: Sequence[int], opset: int) -> Any:
    return Exporter(tuple(shape), opset)


def _model(net: Any, *outputs: str) -> onnx.ModelProto:
    model: onnx.ModelProto = net.model(*outputs)
    return model


def _conv(
    net: Any, x: str, inputs: int, outputs: int, kernel: Sequence[int] = (3, 3), *, groups: int = 1,
    bias: bool = True, **attributes: Any,
) -> str:  # fmt: skip
    """A convolution of any window, padded so that a stride of 1 keeps the size, without what follows it."""
    taps = int(np.prod(kernel)) * inputs // groups
    weights = net.random(outputs, inputs // groups, *kernel, spread=taps**-0.5)
    attributes.setdefault("pads", [size // 2 for size in kernel] * 2)
    extra = [net.random(outputs, spread=0.1)] if bias else []
    made: str = net.add("Conv", x, weights, *extra, kernel_shape=list(kernel), group=groups, **attributes)
    return made


def _normed(net: Any, x: str, channels: int) -> str:
    """BatchNormalization as an exporter in training mode leaves it."""
    scale, bias, mean = (net.random(channels, about=about, spread=0.2) for about in (1, 0, 0))
    variance = net.constant(np.abs(net.rng.normal(1, 0.2, channels)) + 0.1)
    made: str = net.add("BatchNormalization", x, scale, bias, mean, variance, epsilon=1e-5)
    return made


def _swish(net: Any, x: str) -> str:
    made: str = net.add("Mul", x, net.add("Sigmoid", x))
    return made


def _hard_swish(net: Any, x: str) -> str:
    """As torch wrote it before the operator: ``x * relu6(x + 3) / 6``."""
    low, high = net.constant(0.0), net.constant(6.0)
    bent = net.add("Clip", net.add("Add", x, net.constant(3.0)), low, high)
    made: str = net.add("Div", net.add("Mul", x, bent), net.constant(6.0))
    return made


def _squeezed(net: Any, x: str, channels: int, hidden: int) -> str:
    """Squeeze and excitation (Hu et al. 2017) by 1x1 convolutions."""
    y = net.add("Relu", _conv(net, net.add("GlobalAveragePool", x), channels, hidden, (1, 1)))
    y = net.add("Sigmoid", _conv(net, y, hidden, channels, (1, 1)))
    made: str = net.add("Mul", x, y)
    return made


def _head(net: Any, x: str, channels: int, classes: int) -> onnx.ModelProto:
    x = net.add("Flatten", net.add("GlobalAveragePool", x), axis=1)
    weights, bias = net.random(classes, channels, spread=channels**-0.5), net.random(classes)
    return _model(net, net.add("Gemm", x, weights, bias, transB=1))


# ------------------------------------------------------------------- classifiers, torch


def convnext() -> onnx.ModelProto:
    """ConvNeXt (Liu et al. 2022): 7x7 depthwise, LayerNorm over channels written out, Gelu, layer scale."""
    net, width = _torch((1, 3, 32, 32), 13), 8
    x = _conv(net, "input", 3, width, (4, 4), strides=[4, 4], pads=[0, 0, 0, 0])
    y = net.add("Transpose", _conv(net, x, width, width, (7, 7), groups=width), perm=LAST)
    rest = net.add("Sub", y, net.add("ReduceMean", y, axes=[-1]))
    variance = net.add("ReduceMean", net.add("Pow", rest, net.constant(2.0)), axes=[-1])
    y = net.add("Div", rest, net.add("Sqrt", net.add("Add", variance, net.constant(1e-6))))
    y = net.add("Add", net.add("Mul", y, net.random(width, about=1)), net.random(width))
    y = net.linear(net.gelu(net.linear(y, width, 4 * width)), 4 * width, width)
    y = net.add("Transpose", net.add("Mul", y, net.random(width)), perm=FIRST)
    return _head(net, net.add("Add", x, y), width, 5)


def ghostnet() -> onnx.ModelProto:
    """GhostNet (Han et al. 2020): half of the channels by cheap depthwise filters, cut to what is wanted."""
    net = _torch((1, 3, 24, 24), 11)
    x = net.conv("input", 3, 8, 3, stride=2, pad=1)
    primary = net.add("Relu", _normed(net, _conv(net, x, 8, 10, (1, 1), bias=False), 10))
    cheap = net.add("Relu", _normed(net, _conv(net, primary, 10, 10, groups=10, bias=False), 10))
    x = net.add("Concat", primary, cheap, axis=1)
    x = net.add("Slice", x, net.integers(0), net.integers(19), net.integers(1), net.integers(1))
    y = net.add("ReduceMean", x, axes=[2, 3], keepdims=1)
    y = net.add("Relu", _conv(net, y, 19, 8, (1, 1)))
    y = net.add("HardSigmoid", _conv(net, y, 8, 19, (1, 1)), alpha=1 / 6, beta=0.5)
    return _head(net, _conv(net, net.add("Mul", x, y), 19, 8, (1, 1)), 8, 5)


def wide_resnet() -> onnx.ModelProto:
    """Wide ResNet (Zagoruyko and Komodakis 2016): normalised and bent before each convolution."""
    net = _torch((1, 3, 16, 16), 9)
    x = _conv(net, "input", 3, 8, bias=False)
    for inputs, outputs, stride in ((8, 16, 1), (16, 24, 2)):
        y = net.add("Relu", _normed(net, x, inputs))
        short = _conv(net, y, inputs, outputs, (1, 1), strides=[stride, stride], bias=False)
        y = _conv(net, y, inputs, outputs, strides=[stride, stride], bias=False)
        y = _conv(net, net.add("Relu", _normed(net, y, outputs)), outputs, outputs, bias=False)
        x = net.add("Add", y, short)
    x = net.add("AveragePool", net.add("Relu", _normed(net, x, 24)), kernel_shape=[8, 8], strides=[8, 8])
    x = net.add("Reshape", x, net.integers(-1, 24))
    return _model(net, net.add("Gemm", x, net.random(5, 24), net.random(5), transB=1, alpha=1.0, beta=1.0))


def shufflenet_v1() -> onnx.ModelProto:
    """ShuffleNet (Zhang et al. 2017): grouped 1x1 convolutions, channels shuffled, pooled shortcut joined."""
    net, groups = _torch((1, 3, 32, 32), 11), 3
    x = net.conv("input", 3, 12, 3, stride=2, pad=1)
    for stride in (2, 1):
        inputs = 12 if stride == 2 else 24
        y = net.add("Relu", _normed(net, _conv(net, x, inputs, 6, (1, 1), groups=groups, bias=False), 6))
        size = 16 if stride == 2 else 8
        y = net.add("Reshape", y, net.integers(1, groups, 2, size, size))
        y = net.add("Reshape", net.add("Transpose", y, perm=(0, 2, 1, 3, 4)), net.integers(1, 6, size, size))
        y = _normed(net, _conv(net, y, 6, 6, groups=6, strides=[stride, stride], bias=False), 6)
        y = _normed(
            net, _conv(net, y, 6, 12 if stride == 2 else 24, (1, 1), groups=groups), 24 - 12 * (stride == 2)
        )
        if stride == 2:
            short = net.add("AveragePool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
            x = net.add("Relu", net.add("Concat", short, y, axis=1))
        else:
            x = net.add("Relu", net.add("Add", x, y))
    return _head(net, x, 24, 5)


def se_resnext() -> onnx.ModelProto:
    """SE-ResNeXt (Hu et al. 2017): grouped bottlenecks with squeeze and excitation."""
    net = _torch((1, 3, 24, 24), 13)
    x = net.add(
        "MaxPool",
        net.conv("input", 3, 16, 7, stride=2, pad=3),
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
    )
    y = net.add("Relu", _conv(net, x, 16, 16, (1, 1)))
    y = net.add("Relu", _conv(net, y, 16, 16, groups=4))
    y = _squeezed(net, _conv(net, y, 16, 32, (1, 1)), 32, 4)
    x = net.add("Relu", net.add("Add", y, _conv(net, x, 16, 32, (1, 1))))
    return _head(net, x, 32, 5)


def mobilevit() -> onnx.ModelProto:
    """MobileViT (Mehta and Rastegari 2021): attention over the pixels of the same place in each 2x2 patch."""
    net, width = _torch((1, 3, 16, 16), 17), 12
    x = _swish(net, _conv(net, "input", 3, 8, strides=[2, 2]))
    local = _conv(net, _swish(net, _conv(net, x, 8, 8)), 8, width, (1, 1), bias=False)
    y = net.add("Reshape", local, net.integers(width * 4, 2, 4, 2))
    y = net.add("Transpose", y, perm=(0, 2, 1, 3))
    y = net.add("Reshape", y, net.integers(1, width, 16, 4))
    y = net.add("Reshape", net.add("Transpose", y, perm=(0, 3, 2, 1)), net.integers(4, 16, width))
    z = net.add("LayerNormalization", y, net.random(width, about=1), net.random(width), axis=-1)
    parts = net.add("Reshape", net.linear(z, width, 3 * width), net.integers(4, 16, 3, 2, 6))
    parts = net.add("Transpose", parts, perm=(2, 0, 3, 1, 4))
    q, k, v = (net.add("Gather", parts, net.constant(np.array(i, np.int64)), axis=0) for i in range(3))
    shares = net.add("MatMul", q, net.add("Transpose", k, perm=(0, 1, 3, 2)))
    shares = net.add("Softmax", net.add("Mul", shares, net.constant(6**-0.5)), axis=-1)
    z = net.add("Transpose", net.add("MatMul", shares, v), perm=(0, 2, 1, 3))
    y = net.add("Add", y, net.linear(net.add("Reshape", z, net.integers(4, 16, width)), width, width))
    y = net.add("Reshape", y, net.integers(1, 4, 16, width))
    y = net.add("Reshape", net.add("Transpose", y, perm=(0, 3, 2, 1)), net.integers(width * 4, 4, 2, 2))
    y = net.add("Reshape", net.add("Transpose", y, perm=(0, 2, 1, 3)), net.integers(1, width, 8, 8))
    y = _swish(net, _conv(net, y, width, 8, (1, 1)))
    return _head(net, _swish(net, _conv(net, net.add("Concat", x, y, axis=1), 16, 8)), 8, 5)


def edgenext() -> onnx.ModelProto:
    """EdgeNeXt (Maaz et al. 2022): attention between channels, keys and queries of length one."""
    net, width = _torch((1, 3, 24, 24), 13), 8
    x = _conv(net, "input", 3, width, (4, 4), strides=[4, 4], pads=[0, 0, 0, 0])
    first = net.add("Split", x, net.integers(4, 4), axis=1)
    net.nodes[-1].output.append("/second")
    second = _conv(net, net.add("Add", "/second", first), 4, 4, groups=4)
    x = net.add("Concat", first, second, axis=1)
    y = net.add("Transpose", net.add("Reshape", x, net.integers(1, width, 36)), perm=(0, 2, 1))
    parts = net.add("Reshape", net.linear(y, width, 3 * width), net.integers(1, 36, 3, 2, 4))
    parts = net.add("Transpose", parts, perm=(2, 0, 3, 4, 1))
    q, k, v = (net.add("Gather", parts, net.constant(np.array(i, np.int64)), axis=0) for i in range(3))
    q, k = (
        net.add("Div", z, net.add("Clip", net.add("ReduceL2", z, axes=[-1], keepdims=1), net.constant(1e-12)))
        for z in (q, k)
    )
    shares = net.add("MatMul", q, net.add("Transpose", k, perm=(0, 1, 3, 2)))
    shares = net.add("Softmax", net.add("Mul", shares, net.random(2, 1, 1, about=1)), axis=-1)
    z = net.add("Transpose", net.add("MatMul", shares, v), perm=(0, 3, 1, 2))
    y = net.add("Add", y, net.linear(net.add("Reshape", z, net.integers(1, 36, width)), width, width))
    y = net.add("Reshape", net.add("Transpose", y, perm=(0, 2, 1)), net.integers(1, width, 6, 6))
    return _head(net, y, width, 5)


def mlp_mixer() -> onnx.ModelProto:
    """MLP-Mixer (Tolstikhin et al. 2021): products along tokens, then along channels."""
    net, width, tokens = _torch((1, 3, 16, 16), 17), 12, 16
    x = _conv(net, "input", 3, width, (4, 4), strides=[4, 4], pads=[0, 0, 0, 0])
    x = net.add("Transpose", net.add("Flatten", x, axis=2), perm=(1, 0))
    x = net.add("Reshape", x, net.integers(1, tokens, width))
    y = net.add("LayerNormalization", x, net.random(width, about=1), net.random(width), axis=-1)
    y = net.linear(net.gelu(net.linear(net.add("Transpose", y, perm=(0, 2, 1)), tokens, 20)), 20, tokens)
    x = net.add("Add", x, net.add("Transpose", y, perm=(0, 2, 1)))
    y = net.add("LayerNormalization", x, net.random(width, about=1), net.random(width), axis=-1)
    x = net.add("Add", x, net.linear(net.gelu(net.linear(y, width, 24)), 24, width))
    x = net.add("ReduceMean", x, axes=[1], keepdims=0)
    return _model(net, net.add("Gemm", x, net.random(5, width), net.random(5), transB=1))


# -------------------------------------------------------------------- detectors, torch


def blazeface() -> onnx.ModelProto:
    """BlazeFace (Bazarevsky et al. 2019): shortcuts pooled and padded with channels of zeros, anchors joined."""
    net = _torch((1, 3, 32, 32), 11)
    padded = net.add("Pad", "input", net.integers(0, 0, 1, 1, 0, 0, 2, 2), net.constant(0.0))
    x = net.add("Relu", _conv(net, padded, 3, 8, (5, 5), strides=[2, 2], pads=[0, 0, 0, 0]))
    y = net.add("Pad", x, net.integers(0, 0, 0, 0, 0, 0, 2, 2), net.constant(0.0))
    y = _conv(net, _conv(net, y, 8, 8, groups=8, strides=[2, 2], pads=[0, 0, 0, 0]), 8, 12, (1, 1))
    short = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    short = net.add("Pad", short, net.integers(0, 0, 0, 0, 0, 4, 0, 0), net.constant(0.0))
    x = net.add("Relu", net.add("Add", y, short))
    z = net.add("Relu", _conv(net, x, 12, 12, strides=[2, 2]))
    scores = [_conv(net, part, 12, anchors, (1, 1)) for part, anchors in ((x, 2), (z, 6))]
    places = [_conv(net, part, 12, 4 * anchors, (1, 1)) for part, anchors in ((x, 2), (z, 6))]
    outputs = []
    for parts, depth in ((scores, 1), (places, 4)):
        rows = [
            net.add("Reshape", net.add("Transpose", part, perm=LAST), net.integers(1, -1, depth))
            for part in parts
        ]
        outputs.append(net.add("Concat", *rows, axis=1))
    return _model(net, *outputs)


def _mtcnn(shape: Sequence[int], convs: Sequence[tuple[int, int, int]], hidden: int) -> onnx.ModelProto:
    net = _torch(shape, 11)
    x, inputs, size = "input", 3, shape[2]
    for outputs, kernel, pool in convs:
        x = _conv(net, x, inputs, outputs, (kernel, kernel), pads=[0, 0, 0, 0])
        x = net.add("PRelu", x, net.random(outputs, 1, 1, about=0.25, spread=0.05))
        inputs, size = outputs, size - kernel + 1
        if pool:
            attributes = {"kernel_shape": [pool, pool], "strides": [2, 2], "ceil_mode": 1}
            x, size = net.add("MaxPool", x, **attributes), -(-(size - pool) // 2) + 1
    if not hidden:
        scores = net.add("Softmax", _conv(net, x, inputs, 2, (1, 1)), axis=1)
        return _model(net, scores, _conv(net, x, inputs, 4, (1, 1)))
    x = net.add("Flatten", net.add("Transpose", x, perm=(0, 3, 2, 1)), axis=1)
    many = inputs * size * size
    x = net.add("Gemm", x, net.random(hidden, many, spread=many**-0.5), net.random(hidden), transB=1)
    x = net.add("PRelu", x, net.random(hidden, about=0.25, spread=0.05))
    ends = [
        net.add("Gemm", x, net.random(n, hidden, spread=hidden**-0.5), net.random(n), transB=1)
        for n in (2, 4, 10)
    ]
    return _model(net, net.add("Softmax", ends[0], axis=1), *ends[1:])


def mtcnn_proposal() -> onnx.ModelProto:
    """P-Net of MTCNN (Zhang et al. 2016), where the image is larger than its window."""
    return _mtcnn((1, 3, 19, 19), ((10, 3, 2), (16, 3, 0), (32, 3, 0)), 0)


def mtcnn_refinement() -> onnx.ModelProto:
    """R-Net of MTCNN: pools that round up, PReLU, columns before rows when it is flattened."""
    return _mtcnn((1, 3, 24, 24), ((14, 3, 3), (16, 3, 3), (16, 2, 0)), 32)


def mtcnn_output() -> onnx.ModelProto:
    """O-Net of MTCNN."""
    return _mtcnn((1, 3, 48, 48), ((8, 3, 3), (16, 3, 3), (16, 3, 2), (24, 2, 0)), 32)


def picodet() -> onnx.ModelProto:
    """PicoDet's head (Yu et al. 2021): distances as expectations over bins, decoded beside the grid."""
    net = _torch((1, 3, 32, 32), 13)
    x = _hard_swish(net, _conv(net, "input", 3, 12, strides=[4, 4]))
    y = _hard_swish(net, _conv(net, x, 12, 12, (5, 5), groups=12))
    y = _hard_swish(net, _conv(net, y, 12, 12, (1, 1)))
    scores = net.add("Sigmoid", _conv(net, y, 12, 3, (1, 1)))
    scores = net.add("Transpose", net.add("Reshape", scores, net.integers(1, 3, -1)), perm=(0, 2, 1))
    bins = net.add("Transpose", _conv(net, y, 12, 4 * 8, (1, 1)), perm=LAST)
    bins = net.add("Softmax", net.add("Reshape", bins, net.integers(-1, 8)), axis=1)
    distances = net.add("MatMul", bins, net.constant(np.arange(8.0).reshape(8, 1)))
    distances = net.add("Reshape", distances, net.integers(1, 64, 4))
    low, high = (
        net.add("Slice", distances, net.integers(start), net.integers(start + 2), net.integers(-1))
        for start in (0, 2)
    )
    grid = np.stack(np.meshgrid(np.arange(8.0), np.arange(8.0)), -1).reshape(1, 64, 2)
    corners = net.add("Sub", net.constant(grid), low), net.add("Add", net.constant(grid), high)
    return _model(net, scores, net.add("Mul", net.add("Concat", *corners, axis=-1), net.constant(4.0)))


def yolo_fastest() -> onnx.ModelProto:
    """Yolo-Fastest's two heads (dog-qiuqiu 2020), the lower one enlarged and joined."""
    net = _torch((1, 3, 32, 32), 11)
    x = net.add(
        "LeakyRelu", _normed(net, _conv(net, "input", 3, 8, strides=[4, 4], bias=False), 8), alpha=0.1
    )
    y = net.add("LeakyRelu", _conv(net, x, 8, 12, strides=[2, 2]), alpha=0.1)
    pools = [net.add("MaxPool", y, kernel_shape=[k, k], pads=[k // 2] * 4, strides=[1, 1]) for k in (3, 5)]
    y = _conv(net, net.add("Concat", *pools, y, axis=1), 36, 12, (1, 1))
    empty = net.constant(np.zeros(0, np.float32))
    z = net.add(
        "Resize", y, empty, net.constant(np.array([1, 1, 2, 2], np.float32)), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    z = _conv(net, net.add("Concat", z, x, axis=1), 20, 12, (5, 5), groups=4)
    outputs = []
    for part, size in ((y, 4), (z, 8)):
        part = net.add("Reshape", _conv(net, part, 12, 3 * 7, (1, 1)), net.integers(1, 3, 7, size, size))
        outputs.append(net.add("Sigmoid", net.add("Transpose", part, perm=(0, 1, 3, 4, 2))))
    return _model(net, *outputs)


# ---------------------------------------------------------------------- images, torch


def unet() -> onnx.ModelProto:
    """U-Net (Ronneberger et al. 2015): transposed convolutions, and what went down cut to what comes up."""
    net = _torch((1, 1, 30, 30), 11)
    down = net.add("Relu", _conv(net, "input", 1, 6, pads=[0, 0, 0, 0]))
    x = net.add(
        "Relu",
        _conv(net, net.add("MaxPool", down, kernel_shape=[2, 2], strides=[2, 2]), 6, 12, pads=[0, 0, 0, 0]),
    )
    weights, bias = net.random(12, 6, 2, 2, spread=0.3), net.random(6, spread=0.1)
    x = net.add("ConvTranspose", x, weights, bias, kernel_shape=[2, 2], strides=[2, 2])
    cut = net.add("Slice", down, net.integers(2, 2), net.integers(26, 26), net.integers(2, 3))
    x = net.add("Relu", _conv(net, net.add("Concat", cut, x, axis=1), 12, 6))
    return _model(net, net.add("Softmax", _conv(net, x, 6, 2, (1, 1)), axis=1))


def dncnn() -> onnx.ModelProto:
    """DnCNN (Zhang et al. 2017): what is learned is the noise, which is taken off."""
    net = _torch((1, 1, 40, 40), 11)
    x = net.conv("input", 1, 8, 3, pad=1)
    x = net.add("Relu", _normed(net, _conv(net, x, 8, 8, bias=False), 8))
    return _model(net, net.add("Sub", "input", _conv(net, x, 8, 1, bias=False)))


def espcn() -> onnx.ModelProto:
    """ESPCN (Shi et al. 2016), as torch wrote PixelShuffle at first: six axes, transposed, joined."""
    net = _torch((1, 1, 44, 44), 9)
    x = net.add("Tanh", _conv(net, "input", 1, 8, (5, 5)))
    x = _conv(net, net.add("Tanh", _conv(net, x, 8, 8)), 8, 9)
    x = net.add("Reshape", x, net.integers(1, 1, 3, 3, 44, 44))
    x = net.add("Transpose", x, perm=(0, 1, 4, 2, 5, 3))
    return _model(net, net.add("Reshape", x, net.integers(1, 1, 132, 132)))


def fsrcnn() -> onnx.ModelProto:
    """FSRCNN (Dong et al. 2016): a transposed convolution of nine taps at the end, PReLU."""
    net = _torch((1, 1, 20, 20), 13)
    x = net.add("PRelu", _conv(net, "input", 1, 12, (5, 5)), net.random(12, 1, 1, about=0.25, spread=0.05))
    x = net.add("PRelu", _conv(net, x, 12, 6, (1, 1)), net.random(6, 1, 1, about=0.25, spread=0.05))
    x = net.add("PRelu", _conv(net, x, 6, 12), net.random(12, 1, 1, about=0.25, spread=0.05))
    attributes = {"kernel_shape": [9, 9], "strides": [3, 3], "pads": [4, 4, 4, 4], "output_padding": [2, 2]}
    return _model(
        net, net.add("ConvTranspose", x, net.random(12, 1, 9, 9, spread=0.1), net.random(1), **attributes)
    )


# ------------------------------------------------------------------- sequences, torch


def tcn() -> onnx.ModelProto:
    """TCN (Bai et al. 2018): causal dilated convolutions, what sticks out at the end cut off."""
    net, x, inputs = _torch((1, 4, 40), 11), "input", 4
    for dilation in (1, 2, 4):
        y = x
        for depth in (inputs, 8):
            y = _conv(net, y, depth, 8, (3,), dilations=[dilation], pads=[2 * dilation] * 2)
            y = net.add("Slice", y, net.integers(0), net.integers(-2 * dilation), net.integers(2))
            y = net.add("Relu", y)
        short = _conv(net, x, inputs, 8, (1,)) if inputs != 8 else x
        x, inputs = net.add("Relu", net.add("Add", y, short)), 8
    x = net.add("Gather", x, net.constant(np.array(-1, np.int64)), axis=2)
    return _model(net, net.add("Gemm", x, net.random(5, 8), net.random(5), transB=1))


def patch_tst() -> onnx.ModelProto:
    """PatchTST (Nie et al. 2022): series normalised by themselves, cut into patches, each of them a token."""
    net, width, count, length = _torch((1, 32, 3), 17), 8, 4, 8
    x = net.add("Transpose", "input", perm=(0, 2, 1))
    mean = net.add("ReduceMean", x, axes=[-1], keepdims=1)
    rest = net.add("Sub", x, mean)
    deviation = net.add("ReduceMean", net.add("Mul", rest, rest), axes=[-1], keepdims=1)
    deviation = net.add("Sqrt", net.add("Add", deviation, net.constant(1e-5)))
    x = net.add("Reshape", net.add("Div", rest, deviation), net.integers(3, count, length))
    x = net.add("Add", net.linear(x, length, width), net.random(1, count, width))
    q, k, v = (
        net.add(
            "Transpose",
            net.add("Reshape", net.linear(x, width, width), net.integers(3, count, 2, 4)),
            perm=perm,
        )
        for perm in ((0, 2, 1, 3), (0, 2, 3, 1), (0, 2, 1, 3))
    )
    shares = net.add("Softmax", net.add("Mul", net.add("MatMul", q, k), net.constant(0.5)), axis=-1)
    y = net.add("Transpose", net.add("MatMul", shares, v), perm=(0, 2, 1, 3))
    y = net.linear(net.add("Reshape", y, net.integers(3, count, width)), width, width)
    x = net.add(
        "LayerNormalization", net.add("Add", x, y), net.random(width, about=1), net.random(width), axis=-1
    )
    x = net.linear(net.add("Reshape", x, net.integers(1, 3, count * width)), count * width, 6)
    x = net.add("Add", net.add("Mul", x, deviation), mean)
    return _model(net, net.add("Transpose", x, perm=(0, 2, 1)))


def crnn() -> onnx.ModelProto:
    """CRNN's front (Shi et al. 2015): pools of unlike strides down to one row, whose columns are the sequence."""
    net = _torch((1, 1, 32, 48), 11)
    x = net.add("MaxPool", net.conv("input", 1, 8, 3, pad=1), kernel_shape=[2, 2], strides=[2, 2])
    x = net.conv(x, 8, 8, 3, pad=1)
    x = net.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 1], pads=[0, 1, 0, 1])
    x = net.add(
        "MaxPool", net.conv(x, 8, 12, 3, pad=1), kernel_shape=[2, 2], strides=[2, 1], pads=[0, 1, 0, 1]
    )
    x = net.add("Relu", _conv(net, x, 12, 12, (4, 2), pads=[0, 0, 0, 0]))
    x = net.add("Transpose", net.add("Squeeze", x, axes=[2]), perm=(2, 0, 1))
    rows = net.add("Reshape", x, net.integers(-1, 12))
    x = net.add("Gemm", rows, net.random(7, 12), net.random(7), transB=1)
    return _model(net, net.add("LogSoftmax", net.add("Reshape", x, net.integers(-1, 1, 7)), axis=2))


# ---------------------------------------------------------- channels last, from keras


def _same(net: Any, x: str, inputs: int, outputs: int, kernel: int, stride: int, groups: int) -> str:
    """A convolution as tf2onnx writes it: padding is left to the operator, the bias comes with it."""
    weights = net.random(
        outputs, inputs // groups, kernel, kernel, spread=1.4 / kernel / (inputs / groups) ** 0.5
    )
    made: str = net.add(
        "Conv", x, weights, net.random(outputs, spread=0.1), auto_pad="SAME_UPPER",
        kernel_shape=[kernel, kernel], strides=[stride, stride], group=groups, dilations=[1, 1],
    )  # fmt: skip
    return made


def efficientnet_lite() -> onnx.ModelProto:
    """EfficientNet-Lite (Liu 2020) by tf2onnx: input scaled, Relu6 as Clip, shortcuts between channels-first layers."""
    net = Exporter((1, 24, 24, 3), 13)
    x = net.add("Mul", net.add("Sub", "input", net.constant(0.5)), net.constant(2.0))
    x = net.add("Transpose", x, perm=FIRST)
    low, high = net.constant(0.0), net.constant(6.0)
    x = net.add("Clip", _same(net, x, 3, 8, 3, 2, 1), low, high)
    y = net.add("Clip", _same(net, x, 8, 24, 1, 1, 1), low, high)
    y = net.add("Clip", _same(net, y, 24, 24, 5, 1, 24), low, high)
    x = net.add("Add", _same(net, y, 24, 8, 1, 1, 1), x)
    x = net.add("Clip", _same(net, x, 8, 16, 1, 1, 1), low, high)
    x = net.add("Squeeze", net.add("GlobalAveragePool", x), net.integers(2, 3))
    x = net.add("MatMul", x, net.random(16, 5, spread=0.3))
    return _model(net, net.add("Softmax", net.add("Add", x, net.random(5)), axis=-1))


def keras_resnet() -> onnx.ModelProto:
    """A residual network by keras2onnx: every layer is channels last, with a Transpose before and behind each convolution."""
    net = Exporter((1, 20, 20, 3), 11)

    def last(x: str, inputs: int, outputs: int, kernel: int, stride: int) -> str:
        made = _same(net, net.add("Transpose", x, perm=FIRST), inputs, outputs, kernel, stride, 1)
        back: str = net.add("Transpose", _normed(net, made, outputs), perm=LAST)
        return back

    pads = net.integers(0, 1, 1, 0, 0, 1, 1, 0)
    x = net.add("Relu", last(net.add("Pad", "input", pads, net.constant(0.0)), 3, 8, 3, 2))
    y = last(net.add("Relu", last(x, 8, 8, 3, 1)), 8, 8, 3, 1)
    x = net.add("Relu", net.add("Add", x, y))
    x = net.add("Transpose", x, perm=FIRST)
    x = net.add("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    x = net.add("ReduceMean", net.add("Transpose", x, perm=LAST), axes=[1, 2], keepdims=0)
    x = net.add("Add", net.add("MatMul", x, net.random(8, 5)), net.random(5))
    return _model(net, net.add("Softmax", x, axis=1))


def keras_unet() -> onnx.ModelProto:
    """A U-Net by tf2onnx: UpSampling2D, concatenation along the last axis, Conv2DTranspose."""
    net = Exporter((1, 24, 24, 1), 13)
    down = net.add(
        "Relu", _same(net, net.add("Reshape", "input", net.integers(-1, 1, 24, 24)), 1, 6, 3, 1, 1)
    )
    x = net.add("MaxPool", down, kernel_shape=[2, 2], strides=[2, 2], auto_pad="SAME_UPPER")
    x = net.add("Relu", _same(net, x, 6, 8, 3, 1, 1))
    x = net.add(
        "Resize", net.add("Transpose", x, perm=LAST), net.constant(np.zeros(0, np.float32)),
        net.constant(np.array([1, 2, 2, 1], np.float32)), mode="nearest",
        coordinate_transformation_mode="asymmetric", nearest_mode="floor",
    )  # fmt: skip
    x = net.add("Concat", x, net.add("Transpose", down, perm=LAST), axis=-1)
    x = net.add("Relu", _same(net, net.add("Transpose", x, perm=FIRST), 14, 6, 3, 1, 1))
    weights = net.random(6, 1, 3, 3, spread=0.3)
    x = net.add(
        "ConvTranspose", x, weights, net.random(1), strides=[2, 2], kernel_shape=[3, 3], auto_pad="SAME_UPPER"
    )
    return _model(net, net.add("Sigmoid", net.add("Transpose", x, perm=LAST)))


def keras_wavenet() -> onnx.ModelProto:
    """Gated dilated convolutions over time by keras2onnx: axes come and go around each Conv1D."""
    net = Exporter((1, 48, 2), 11)
    x, inputs = "input", 2
    skips = []
    for dilation in (1, 2, 4):
        y = net.add("Pad", x, net.integers(0, dilation, 0, 0, 0, 0), net.constant(0.0))
        y = net.add("Transpose", y, perm=(0, 2, 1))
        sides = [_conv(net, y, inputs, 6, (2,), dilations=[dilation], pads=[0, 0]) for _ in range(2)]
        y = net.add("Mul", net.add("Tanh", sides[0]), net.add("Sigmoid", sides[1]))
        y = net.add("Transpose", _conv(net, y, 6, 6, (1,)), perm=(0, 2, 1))
        skips.append(y)
        x, inputs = (net.add("Add", x, y) if inputs == 6 else y), 6
    x = net.add("Relu", net.add("Sum", *skips))
    x = net.add("ReduceMax", x, axes=[1], keepdims=0)
    return _model(net, net.add("Add", net.add("MatMul", x, net.random(6, 4)), net.random(4)))


NETWORKS: dict[str, Callable[[], onnx.ModelProto]] = {
    function.__name__: function
    for function in (
        blazeface, convnext, crnn, dncnn, edgenext, efficientnet_lite, espcn, fsrcnn, ghostnet, keras_resnet,
        keras_unet, keras_wavenet, mlp_mixer, mobilevit, mtcnn_output, mtcnn_proposal, mtcnn_refinement, patch_tst,
        picodet, se_resnext, shufflenet_v1, tcn, unet, wide_resnet, yolo_fastest,
    )
}  # fmt: skip
