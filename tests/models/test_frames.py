"""Networks of several frames compute for each frame what the network computes for one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models import reference
from ooc_solve.models.frames import MOST_FRAMES, in_flight, of_frame, shared_operators, stacked_window
from ooc_solve.models.vocabulary import (
    POINT,
    DType,
    InputError,
    Network,
    Op,
    OpKind,
    Quantization,
    Tensor,
    Window,
)
from ooc_solve.models.zoo import zoo_network

SCALE = Quantization(0.05, 3)


def tensor(name: str, *shape: int) -> Tensor:
    """An int8 tensor."""
    height, width, channels = shape
    return Tensor(name, height, width, channels, DType.INT8, SCALE)


def dense(name: str, source: Tensor, output: Tensor, window: Window = POINT, seed: int = 5) -> Op:
    """A convolution with random constants."""
    random = np.random.default_rng(seed)
    weights = random.integers(-127, 128, (output.channels, *window.kernel, source.channels)).astype(np.int8)
    bias = random.integers(-999, 1000, output.channels).astype(np.int32)
    multiplier = random.uniform(0.001, 0.004, output.channels).astype(np.float32)
    return Op(name, OpKind.CONV, (source.name,), output.name, window, 1, weights, bias, multiplier)


def samples(network: Network, frames: int) -> list[dict[str, np.ndarray]]:
    """Random inputs of so many frames."""
    random = np.random.default_rng(11)
    shapes = {
        name: network.tensors[name].graph_shape or reference.stored_shape(network.tensors[name])
        for name in network.inputs
    }
    return [
        {name: random.integers(-128, 128, shape).astype(np.int8) for name, shape in shapes.items()}
        for _ in range(frames)
    ]


def check(network: Network, frames: int) -> Network:
    """Compare every output of every frame; returns the network of all frames."""
    run, given = in_flight(network, frames), samples(network, frames)
    assert run.frames == frames
    assert run.inputs == tuple(of_frame(n, k) for k in range(frames) for n in network.inputs)
    inputs = {of_frame(name, k): data for k, frame in enumerate(given) for name, data in frame.items()}
    found = reference.run(run, inputs)
    for k, frame in enumerate(given):
        expected = reference.run(network, frame)
        for name in network.outputs:
            assert np.array_equal(found[of_frame(name, k)], expected[name])
    return run


@pytest.mark.parametrize("name", ["autoencoder", "ds_cnn", "resnet8"])
@pytest.mark.parametrize("frames", [2, 3, 5])
def test_every_frame_is_computed_as_alone(name: str, frames: int) -> None:
    """Convolutions, residual blocks, pools and softmax give each frame what they give it alone."""
    check(zoo_network(name), frames)


def test_two_inputs_two_outputs_and_branches() -> None:
    """An output that is read again, a sum of two vectors, one of them shared first, and an output of every frame."""
    sizes = {"image": (6, 6, 4), "side": (1, 1, 8), "pool": (1, 1, 4), "map": (6, 6, 4)}
    sizes |= {"a": (1, 1, 8), "sum": (1, 1, 8), "b": (1, 1, 5)}
    t = {name: tensor(name, *size) for name, size in sizes.items()}
    ops = (
        dense("conv", t["image"], t["map"], Window((3, 3), pads=(1, 1, 1, 1))),
        Op("pool", OpKind.AVERAGE_POOL, ("map",), "pool", Window((6, 6), (6, 6))),
        dense("fc", t["pool"], t["a"]),
        Op("add", OpKind.ADD, ("a", "side"), "sum"),
        dense("last", t["sum"], t["b"]),
    )
    network = Network("branches", t, ops, ("image", "side"), ("map", "sum", "b"))
    assert shared_operators(network) == {"a", "sum", "b"}
    run = check(network, 3)
    assert sum(op.kind is OpKind.MOVE for op in run.ops) == 2 * 2 + 2 * 3, "two put together, two taken apart"


def test_what_is_shared_comes_last() -> None:
    """A fully connected layer whose output is combined with a whole image is there for every frame."""
    sizes = {"image": (4, 4, 8), "pool": (1, 1, 8), "gate": (1, 1, 8), "gated": (4, 4, 8)}
    t = {name: tensor(name, *size) for name, size in sizes.items()}
    ops = (
        Op("pool", OpKind.AVERAGE_POOL, ("image",), "pool", Window((4, 4), (4, 4))),
        dense("squeeze", t["pool"], t["gate"]),
        Op("excite", OpKind.MULTIPLY, ("image", "gate"), "gated"),
    )
    network = Network("squeeze", t, ops, ("image",), ("gated",))
    assert not shared_operators(network)
    assert not any(op.kind is OpKind.MOVE for op in check(network, 2).ops)


def test_weights_of_a_fully_connected_network_are_there_once() -> None:
    """Every layer of the autoencoder computes all frames; copies of a convolution have one array."""
    network = zoo_network("autoencoder")
    assert shared_operators(network) == {op.output for op in network.ops}
    run = in_flight(network, 4)
    assert sum(op.weight_bytes for op in run.ops) == sum(op.weight_bytes for op in network.ops)
    copies = {op.name: op for op in in_flight(zoo_network("ds_cnn"), 2).ops}
    assert copies[of_frame("conv_1", 0)].weights is copies[of_frame("conv_1", 1)].weights


@given(
    kernel=st.integers(1, 5),
    stride=st.integers(1, 4),
    dilation=st.integers(1, 2),
    pads=st.tuples(st.integers(0, 1), st.integers(0, 1)),
    height=st.integers(1, 9),
)
def test_windows_that_stay_within_their_frame(
    kernel: int, stride: int, dilation: int, pads: tuple[int, int], height: int
) -> None:
    """Wherever a window is found for frames below each other, their rows are those that each frame has alone."""
    window = Window((kernel, 1), (stride, 1), (dilation, 1), (pads[0], 0, pads[1], 0))
    rows = window.output_size(height, 2)[0]
    if rows < 1:
        return
    source, out = tensor("x", height, 2, 3), tensor("y", rows, 2, 3)
    op = dense("conv", source, out, window)
    network = Network("one", {"x": source, "y": out}, (op,), ("x",), ("y",))
    stacked = stacked_window(network, op)
    touches_others = (pads != (0, 0), dilation * (kernel - 1) + 1 > height)
    if stacked is None:
        fits = rows == 1 or (rows * stride == height and dilation * (kernel - 1) + 1 <= stride)
        assert any(touches_others) or not fits, "nothing of another frame would have been read"
        return
    random, frames = np.random.default_rng(3), 3
    data = random.integers(-128, 128, (frames, height, 2, 3)).astype(np.int8)
    tall, result = replace(source, height=frames * height), replace(out, height=frames * rows)
    both = Network("all", {"x": tall, "y": result}, (replace(op, window=stacked),), ("x",), ("y",))
    found = reference.run(both, {"x": data.reshape(frames * height, 2, 3)})["y"].reshape(frames, rows, 2, 3)
    for k in range(frames):
        assert np.array_equal(found[k], reference.run(network, {"x": data[k]})["y"])


def test_one_frame_is_the_network_itself() -> None:
    """Nothing is copied for one frame."""
    network = zoo_network("ds_cnn")
    assert in_flight(network, 1) is network
    assert network.frames == 1


@pytest.mark.parametrize("frames", [-1, 0, MOST_FRAMES + 1, 1000])
def test_numbers_of_frames_that_are_not_supported(frames: int) -> None:
    """The error says which are, and which came."""
    with pytest.raises(InputError, match=rf"from 1 to {MOST_FRAMES} \(got {frames}\)"):
        in_flight(zoo_network("ds_cnn"), frames)


def test_runs_differ_from_each_other_in_their_digest() -> None:
    """A plan for two frames is none for three, nor for one."""
    network = zoo_network("autoencoder")
    assert len({in_flight(network, k).digest for k in (1, 2, 3)}) == 3
