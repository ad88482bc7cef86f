"""Short names of layers: told apart, and no longer than they may be."""

from __future__ import annotations

import numpy as np
import pytest

from ooc_solve.api import load
from ooc_solve.layer_names import short_names
from ooc_solve.models.vocabulary import DType, Network, Op, OpKind, Tensor

HISTORY = "model/activation_1/Relu;model/conv2d_1/BiasAdd/ReadVariableOp/resource;model/conv2d_1/BiasAdd;model/conv2d_1/Conv2D"


def network(*names: str) -> Network:
    """A chain of tables called so."""
    tensors = {f"t{k}": Tensor(f"t{k}", 1, 1, 4, DType.INT8) for k in range(len(names) + 1)}
    table = np.zeros(256, np.uint8)
    ops = tuple(
        Op(name, OpKind.LOOKUP, (f"t{k}",), f"t{k + 1}", weights=table) for k, name in enumerate(names)
    )
    return Network("net", tensors, ops, ("t0",), (f"t{len(names)}",))


@pytest.mark.parametrize(
    ("name", "short"),
    [
        (HISTORY, "conv2d_1/Conv2D"),
        ("a/b;c/BiasAdd/ReadVariableOp/resource1", "a/b"),
        ("conv_1", "conv_1"),
        ("model/average_pooling2d/AvgPool", "average_poo…ng2d/AvgPool"),
        ("StatefulPartitionedCall:0", "StatefulPar…tionedCall:0"),
        ("", ""),
    ],
)
def test_the_end_of_a_history_names_a_layer(name: str, short: str) -> None:
    """The last two parts of the last node stay, cut in the middle where they are long."""
    assert short_names(network(name)) == {name: short}


@pytest.mark.parametrize("longest", [15, 24])
def test_no_two_are_alike(longest: int) -> None:
    """Layers whose ends are alike get their numbers, and no name is longer than allowed."""
    names = [f"model/block_{k}/depthwise_convolution/BiasAdd" for k in range(30)]
    found = short_names(network(*names), longest)
    assert len(set(found.values())) == len(names)
    assert max(map(len, found.values())) <= longest


def test_names_that_fit_stay() -> None:
    """Built-in networks keep their names."""
    made = load("zoo:resnet8")
    assert all(name == short for name, short in short_names(made).items())
