"""Convolutions by 0 and 1 put squares of pixels and blocks of channels in each other's order."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models import reference
from ooc_solve.models.layout import sequential
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.pixel_blocks import PixelBlocks, blocks_of
from ooc_solve.models.vocabulary import (
    UNLIMITED,
    DType,
    Network,
    Op,
    OpKind,
    Quantization,
    Tensor,
)

Size = tuple[int, int, int]


def computed(blocks: PixelBlocks, source: Size, made: Size, values: np.ndarray) -> np.ndarray:
    """What the convolution makes of a tensor."""
    real = values.dtype == np.float32
    dtype, known = (DType.FLOAT32, None) if real else (DType.INT8, Quantization(0.03, -11))
    tensors = {"x": Tensor("x", *source, dtype, known), "y": Tensor("y", *made, dtype, known)}
    op = Op(
        *("it", OpKind.CONV, ("x",), "y", blocks.window, blocks.groups),
        weights=blocks.weights.astype(values.dtype),
        bias=np.zeros(made[2], np.float32 if real else np.int32),
        multiplier=None if real else np.ones(made[2], np.float32),
        clamp=UNLIMITED if real else (-128, 127),
    )
    return reference.run_op(Network("n", tensors, (op,), ("x",), ("y",), ""), op, {"x": values})


@settings(max_examples=60, derandomize=True, deadline=None)
@given(
    size=st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(1, 4)),
    block=st.tuples(st.integers(1, 3), st.integers(1, 3)).filter(lambda pair: pair != (1, 1)),
    by_channel=st.booleans(),
    spread=st.booleans(),
    floats=st.booleans(),
)
def test_every_order_of_blocks_is_recognised(
    size: Size, block: tuple[int, int], by_channel: bool, spread: bool, floats: bool
) -> None:
    """Both orders of channels, squares or not, both ways: the convolution gives the elements in that order."""
    (height, width, depth), (tall, wide) = size, block
    channels = depth * tall * wide
    if spread:
        source, made = (height, width, channels), (height * tall, width * wide, depth)
        axes = (height, width, depth, tall, wide) if by_channel else (height, width, tall, wide, depth)
        order = (0, 3, 1, 4, 2) if by_channel else (0, 2, 1, 3, 4)
    else:
        source, made = (height * tall, width * wide, depth), (height, width, channels)
        axes = (height, tall, width, wide, depth)
        order = (0, 2, 4, 1, 3) if by_channel else (0, 2, 1, 3, 4)
    wanted = sequential(source).reshape(axes).transpose(order).reshape(made)
    blocks = blocks_of(wanted, source)
    assert blocks is not None
    assert by_channel == (blocks.groups == depth) or depth == 1
    rng = np.random.default_rng(1)
    values = rng.integers(-128, 128, source).astype(np.float32 if floats else np.int8)
    assert np.array_equal(computed(blocks, source, made, values), values.reshape(-1)[wanted])


@pytest.mark.parametrize("made", [(4, 4, 8), (8, 8, 2), (2, 2, 32), (8, 4, 4), (16, 8, 1)])
def test_other_orders_are_left_alone(made: Size) -> None:
    """An order that mixes pixels of different squares is no convolution with one weight per output."""
    rng = np.random.default_rng(2)
    assert blocks_of(rng.permutation(128).reshape(made), (4, 4, 8)) is None
    assert blocks_of(sequential(made), (4, 4, 8)) is None


def test_many_channels_are_left_to_a_permute() -> None:
    """Where an output would be a sum of more products than the layers around it have, blocks are not convolutions."""
    wanted = sequential((2, 2, 2, 2, 128)).transpose(0, 2, 1, 3, 4).reshape(4, 4, 128)
    assert blocks_of(wanted, (2, 2, 512)) is None


@pytest.mark.parametrize("nodes", ["DepthToSpace", "Reshape, Transpose, Reshape"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_large_image_is_put_together_tile_by_tile(tmp_path: Path, nodes: str, channels: int) -> None:
    """The last step of super resolution needs no tensor as a whole, on bytes too, and gives onnxruntime's."""
    shape = (1, 9 * channels, 48, 40)
    values: dict[str, np.ndarray] = {
        "scale": np.array(0.02, np.float32),
        "zero": np.array(5, np.int8),
        "apart": np.array((1, channels, 3, 3, 48, 40), np.int64),
        "together": np.array((1, channels, 144, 120), np.int64),
    }
    steps = [helper.make_node("QuantizeLinear", ["x", "scale", "zero"], ["q"])]
    if nodes == "DepthToSpace":
        steps += [helper.make_node("DepthToSpace", ["q"], ["t"], blocksize=3, mode="CRD")]
    else:
        steps += [
            helper.make_node("Reshape", ["q", "apart"], ["a"]),
            helper.make_node("Transpose", ["a"], ["b"], perm=(0, 1, 4, 2, 5, 3)),
            helper.make_node("Reshape", ["b", "together"], ["t"]),
        ]
    steps += [helper.make_node("DequantizeLinear", ["t", "scale", "zero"], ["y"])]
    graph = helper.make_graph(
        *(steps, "graph"),
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 48, 40, 9 * channels))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in values.items()],
    )
    first = helper.make_node("Transpose", ["x"], ["planes"], perm=(0, 3, 1, 2))
    graph.node[0].input[0] = "planes"
    graph.node.insert(0, first)
    path = tmp_path / "model.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    network = read_onnx(path)
    assert OpKind.PERMUTE not in {op.kind for op in network.ops}
    feeds = {"x": np.random.default_rng(3).normal(0, 1, (1, 48, 40, shape[1])).astype(np.float32)}
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    (theirs,) = session.run(None, feeds)
    (name,) = network.outputs
    assert np.array_equal(reference.graph_output(network, name, reference.run(network, feeds)), theirs)
