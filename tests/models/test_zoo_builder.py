"""Blueprints get shapes and padding right, and their digest covers everything."""

from __future__ import annotations

import numpy as np
import pytest

from ooc_solve.models.vocabulary import Quantization
from ooc_solve.models.zoo_builder import Activation, Blueprint, Sketch, materialise

UNIT = Quantization(1.0, 3)


def sketch(
    *,
    name: str = "net",
    height: int = 8,
    quantization: Quantization = UNIT,
    channels: int = 4,
    stride: int = 1,
    activation: Activation = Activation.RELU,
) -> Blueprint:
    """Draw a network of two layers."""
    net = Sketch(name, (height, 8, 2), quantization)
    net.conv(channels, 3, stride=stride, pads="same", activation=activation)
    net.dense(5)
    return net.blueprint()


@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("kernel", [1, 2, 3, 4, 5])
def test_same_padding_follows_tensorflow(kernel: int, stride: int) -> None:
    """Padding "same" gives ``ceil(size / stride)`` rows and puts the odd row at the end."""
    for size in range(1, 20):
        net = Sketch("net", (size, 7, 1), UNIT)
        net.conv(1, kernel, stride=stride, pads="same")
        layer = net.blueprint().layers[0]
        top, _, bottom, _ = layer.window.pads
        assert layer.shape[0] == -(-size // stride)
        assert bottom - top in (0, 1)


@pytest.mark.parametrize(
    "other",
    [
        sketch(name="other"),
        sketch(height=9),
        sketch(quantization=Quantization(1.0, 4)),
        sketch(quantization=Quantization(2.0, 3)),
        sketch(channels=5),
        sketch(stride=2),
        sketch(activation=Activation.RELU6),
    ],
)
def test_digest_changes_with_the_definition(other: Blueprint) -> None:
    """Whatever the bytes of a network depend on changes its digest."""
    assert other.digest != sketch().digest


def test_layers_have_weights_of_their_own() -> None:
    """Layers of one network, and equal layers of two networks, never share weights."""
    first, second = materialise(sketch()), materialise(sketch(name="other"))
    conv, dense = first.ops
    assert conv.weights is not None
    assert dense.weights is not None
    other = second.ops[0].weights
    assert other is not None
    assert not np.array_equal(conv.weights, other)
    assert not np.array_equal(conv.weights.ravel()[:50], dense.weights.ravel()[:50])


def test_weights_fill_their_range_evenly() -> None:
    """Seeded weights are symmetric over -127..127 with the deviation of a uniform distribution."""
    net = Sketch("net", (1, 1, 512), UNIT)
    net.dense(512)
    weights = materialise(net.blueprint()).ops[0].weights
    assert weights is not None
    values = weights.astype(np.int64)
    assert (values.min(), values.max()) == (-127, 127)
    assert abs(values.mean()) < 1.0
    assert values.std() == pytest.approx(73.9, abs=0.5)


def test_concatenation_refuses_different_quantisations() -> None:
    """Tensors that were not given a common scale cannot be concatenated."""
    net = Sketch("net", (4, 4, 2), UNIT)
    left, right = net.conv(3, source="input"), net.conv(3, source="input")
    net.concat(left, right)
    with pytest.raises(ValueError, match="share one quantisation"):
        materialise(net.blueprint())
