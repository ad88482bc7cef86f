"""Fused stages compute and keep exactly what their operators read."""

from __future__ import annotations

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from ooc_solve.models.patches import (
    buffer_elements,
    can_be_fused,
    extra_macs,
    fused_tilings,
    held_box,
    patch_footprints,
)
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import DType, Footprint, Network, Op, OpKind, Tensor, Tiling, Window
from ooc_solve.models.zoo import zoo_network

CHANNELS = 2


def chain(windows: list[Window], size: int, skip: bool) -> Network | None:
    """Depthwise operators one after the other, and if asked for a sum of the last two equal tensors."""
    tensors = {"t0": Tensor("t0", size, size, CHANNELS, DType.INT8)}
    ops: list[Op] = []
    for k, window in enumerate(windows):
        height, width = window.output_size(tensors[f"t{k}"].height, tensors[f"t{k}"].width)
        if min(height, width) < 1:
            return None
        weights = np.zeros((*window.kernel, CHANNELS), np.int8)
        tensors[f"t{k + 1}"] = Tensor(f"t{k + 1}", height, width, CHANNELS, DType.INT8)
        ops.append(Op(f"op{k}", OpKind.DEPTHWISE, (f"t{k}",), f"t{k + 1}", window, CHANNELS, weights))
    if skip:
        last = len(windows)
        a, b = tensors[f"t{last - 1}"], tensors[f"t{last}"]
        if (a.height, a.width) != (b.height, b.width):
            return None
        tensors["sum"] = Tensor("sum", b.height, b.width, CHANNELS, DType.INT8)
        ops.append(Op("sum", OpKind.ADD, (a.name, b.name), "sum"))
    return Network("chain", tensors, tuple(ops), ("t0",), (ops[-1].output,))


WINDOWS = st.builds(
    lambda kernel, stride, pad: Window((kernel, kernel), (stride, stride), (1, 1), (pad, pad, pad, pad)),
    st.integers(1, 3),
    st.integers(1, 2),
    st.integers(0, 1),
)


@settings(max_examples=400, deadline=None)
@given(
    st.lists(WINDOWS, min_size=2, max_size=5), st.integers(6, 20), st.booleans(),
    st.integers(1, 5), st.integers(1, 5), st.booleans(),
)  # fmt: skip
def test_every_tile_finds_what_it_reads(
    windows: list[Window], size: int, skip: bool, rows: int, columns: int, rings: bool
) -> None:
    """Played through with labels, whatever a tile reads lies where the footprints say."""
    network = chain(windows, size, skip)
    assume(network is not None)
    assert network is not None
    span = range(len(network.ops))
    out = network.tensors[network.outputs[0]]
    wide = out.width if rings else min(columns, out.width)
    tilings = fused_tilings(network, span, min(rows, out.height), wide, rings, True)
    assume(tilings is not None)
    assert tilings is not None
    assert can_be_fused(network, span)
    play(network, tilings)


def labels(tensor: Tensor) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    """A number for each element of a tensor."""
    return np.arange(1, tensor.elements + 1).reshape(tensor.height, tensor.width, tensor.channels)


def play(network: Network, tilings: tuple[Tiling, ...]) -> None:
    """Compute all patches on labels instead of values."""
    layers = [StageGeometry.of(network, op, t) for op, t in zip(network.ops, tilings, strict=True)]
    patches = {layer.output.name: layer.tiling.patch for layer in layers if layer.tiling.patch}
    memory: dict[str, np.ndarray[tuple[int, ...], np.dtype[np.int64]]] = {}
    done = np.zeros((layers[-1].output.height, layers[-1].output.width), bool)
    rows, columns, _, _ = layers[-1].grid
    for tile in ((row, column) for row in range(rows) for column in range(columns)):
        for layer in layers:
            box = layer.output_box((*tile, 0, 0))
            if not box.elements:
                continue
            for k, source in enumerate(layer.inputs):
                if (patch := patches.get(source.name)) is not None:
                    wanted = layer.input_box(k, (*tile, 0, 0))
                    places = bytes_of(list(patch_footprints(patch, source, tile, wanted)))
                    slices = (slice(*wanted.rows), slice(*wanted.columns), slice(*wanted.channels))
                    assert (memory[source.name][places] == labels(source)[slices].reshape(-1)).all()
            patch = layer.tiling.patch
            if patch is None:
                done[slice(*box.rows), slice(*box.columns)] = True
                continue
            name = layer.output.name
            if not patch.ring_rows or name not in memory:
                memory[name] = np.zeros(buffer_elements(patch, layer.output, tile), np.int64)
            assert held_box(patch, layer.output, tile).rows[1] == box.rows[1]
            places = bytes_of(list(patch_footprints(patch, layer.output, tile, box)))
            slices = (slice(*box.rows), slice(*box.columns), slice(*box.channels))
            memory[name][places] = labels(layer.output)[slices].reshape(-1)
    assert done.all()


def bytes_of(footprints: list[Footprint]) -> list[int]:
    """Positions of the elements of some footprints (elements of one byte), in order."""
    found: list[int] = []
    for f in footprints:
        start, run = f.start, f.run
        for row in range(f.rows):
            for column in range(f.columns):
                first = start + row * f.row_stride + column * f.column_stride
                found += range(first, first + run)
    return found


def test_rings_compute_nothing_twice() -> None:
    """Where rows are kept there are no more multiplications than without fusing, elsewhere a few."""
    network = zoo_network("mobilenet_v2_224")
    kept = fused_tilings(network, range(6), 2, 56, True, True)
    again = fused_tilings(network, range(6), 14, 14, False, True)
    assert kept is not None
    assert again is not None
    total = sum(network.macs(op) for op in network.ops)
    assert extra_macs(network, range(6), kept) == 0
    assert 0 < extra_macs(network, range(6), again) < 0.05 * total


def test_what_others_read_is_not_fused_away() -> None:
    """A tensor that is read outside of the stage, or an output of the network, cannot be inside."""
    network = zoo_network("resnet8")
    reads_twice = next(k for k, op in enumerate(network.ops) if op.kind is OpKind.ADD)
    assert not can_be_fused(network, range(reads_twice, reads_twice + 2))
    assert not can_be_fused(network, range(1))
