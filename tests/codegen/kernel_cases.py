"""Operators, tilings and layouts drawn from a seed, each a case for a kernel."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.tiling import StageGeometry, StorageLayout
from ooc_solve.models.vocabulary import (
    UNLIMITED,
    DType,
    Function,
    Op,
    OpKind,
    Place,
    Quantization,
    Tensor,
    Tiling,
    Window,
)
from tests.codegen.kernel_library import Case

Array = NDArray[Any]


def scale(rng: np.random.Generator) -> Quantization:
    return Quantization(float(np.float32(rng.uniform(0.005, 0.1))), int(rng.integers(-128, 128)))


def tensor(name: str, rng: np.random.Generator, height: int, width: int, channels: int) -> Tensor:
    return Tensor(name, height, width, channels, DType.INT8, scale(rng))


def int8(rng: np.random.Generator, *shape: int) -> Array:
    return rng.integers(-128, 128, shape).astype(np.int8)


def between(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number of the closed range."""
    return int(rng.integers(low, high + 1))


def random_window(rng: np.random.Generator) -> Window:
    kernel = (between(rng, 1, 4), between(rng, 1, 4))
    pads = tuple(between(rng, 0, 2) for _ in range(4))
    return Window(
        kernel,
        (between(rng, 1, 3), between(rng, 1, 3)),
        (between(rng, 1, 2), between(rng, 1, 2)),
        (pads[0], pads[1], pads[2], pads[3]),
    )


def windowed_sizes(
    rng: np.random.Generator, transposed: bool = False
) -> tuple[Window, tuple[int, int], tuple[int, int]]:
    """A window, an input size that it fits, and the output size."""
    while True:
        window = replace(random_window(rng), transposed=transposed)
        size = between(rng, 1, 11), between(rng, 1, 11)
        out = window.output_size(*size)
        if min(out) > 0:
            return window, size, out


def clamp(rng: np.random.Generator) -> tuple[int, int]:
    return (-128, 127) if rng.integers(2) else (between(rng, -128, -20), between(rng, 20, 127))


def conv(rng: np.random.Generator, transposed: bool = False) -> tuple[Op, list[Tensor]]:
    window, size, out = windowed_sizes(rng, transposed)
    groups = int(rng.choice([1, 1, 2, 3]))
    ic, oc = groups * between(rng, 1, 6), groups * between(rng, 1, 6)
    op = Op(
        "op",
        OpKind.CONV,
        ("a",),
        "y",
        window,
        groups,
        int8(rng, oc, *window.kernel, ic // groups),
        rng.integers(-5000, 5000, oc).astype(np.int32),
        rng.uniform(1e-4, 3e-3, oc).astype(np.float32),
        clamp(rng),
    )
    return op, [tensor("a", rng, *size, ic), tensor("y", rng, *out, oc)]


def transposed(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
    return conv(rng, transposed=True)


def depthwise(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
    window, size, out = windowed_sizes(rng)
    channels = between(rng, 1, 40)
    bias = rng.integers(-5000, 5000, channels).astype(np.int32)
    multiplier = rng.uniform(1e-3, 1e-2, channels).astype(np.float32)
    weights = int8(rng, *window.kernel, channels)
    op = Op("op", OpKind.DEPTHWISE, ("a",), "y", window, channels, weights, bias, multiplier, clamp(rng))
    return op, [tensor("a", rng, *size, channels), tensor("y", rng, *out, channels)]


def pool(kind: OpKind) -> Callable[[np.random.Generator], tuple[Op, list[Tensor]]]:
    def draw(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
        window, size, out = windowed_sizes(rng)
        pads = (min(window.pads[0], window.kernel[0] - 1), min(window.pads[1], window.kernel[1] - 1))
        window = replace(window, pads=(*pads, 0, 0), dilation=(1, 1))  # every window meets the input
        out = window.output_size(*size)
        if min(out) < 1:
            return draw(rng)
        channels = between(rng, 1, 40)
        op = Op(
            *("op", kind, ("a",), "y", window),
            clamp=clamp(rng),
            count_include_pad=bool(rng.integers(2)),
            by_floats=kind is OpKind.AVERAGE_POOL and bool(rng.integers(2)),
            offset=int(rng.choice([0, 128])),
        )
        return op, [tensor("a", rng, *size, channels), tensor("y", rng, *out, channels)]

    return draw


def point_shape(rng: np.random.Generator) -> tuple[int, int, int]:
    return between(rng, 1, 7), between(rng, 1, 7), between(rng, 1, 12)


def pair(kind: OpKind) -> Callable[[np.random.Generator], tuple[Op, list[Tensor]]]:
    """Two operands, of which the second may repeat its rows and columns."""

    def draw(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
        shape = point_shape(rng)
        few = (shape[0] if rng.integers(2) else 1, shape[1] if rng.integers(2) else 1, shape[2])
        tensors = [tensor("a", rng, *shape), tensor("b", rng, *few), tensor("y", rng, *shape)]
        offset = int(rng.choice([0, 128]))
        return Op("op", kind, ("a", "b"), "y", clamp=clamp(rng), offset=offset), tensors

    return draw


def lookup(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
    shape = point_shape(rng)
    table = rng.integers(0, 256, (256,) if rng.integers(2) else (shape[2], 256)).astype(np.uint8)
    op = Op("op", OpKind.LOOKUP, ("a",), "y", weights=table)
    return op, [tensor("a", rng, *shape), tensor("y", rng, *shape)]


def quantize(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
    shape = point_shape(rng)
    return Op("op", OpKind.QUANTIZE, ("a",), "y"), [
        Tensor("a", *shape, DType.FLOAT32),
        tensor("y", rng, *shape),
    ]


def dequantize(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
    shape = point_shape(rng)
    op = Op("op", OpKind.DEQUANTIZE, ("a",), "y")
    return op, [tensor("a", rng, *shape), Tensor("y", *shape, DType.FLOAT32)]


def softmax(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
    shape = point_shape(rng)
    table = np.exp((np.arange(256) - 255) * rng.uniform(0.01, 0.2)).astype(np.float32)
    steps = np.array([rng.choice([256.0, 255.5, 300.25])], np.float32)
    op = Op("op", OpKind.SOFTMAX, ("a",), "y", weights=table, multiplier=steps)
    return op, [tensor("a", rng, *shape), tensor("y", rng, *shape)]


def matmul(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
    """Matrices beside each other; the second one may be turned."""
    rows, count, depth, columns = (between(rng, 1, most) for most in (6, 4, 9, 9))
    turned = bool(rng.integers(2))
    right = (columns, count, depth) if turned else (depth, count, columns)
    tensors = [
        tensor("a", rng, rows, count, depth),
        tensor("b", rng, *right),
        tensor("y", rng, rows, count, columns),
    ]
    return Op("op", OpKind.MATMUL, ("a", "b"), "y", clamp=clamp(rng), turned=turned), tensors


def move(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
    """Any place along any axes; what the input does not have is filled."""
    shape, out = point_shape(rng), point_shape(rng)
    changed = [bool(rng.integers(2)) for _ in range(3)]
    rows, columns, channels = (
        (between(rng, 0, 3), between(rng, -4, 4), between(rng, 1, 3)) if change else (1, 0, 1)
        for change in changed
    )
    place = Place(*(tuple(part) for part in zip(rows, columns, channels, strict=True)))  # type: ignore[arg-type]
    out = (out[0], out[1], out[2] if changed[2] else shape[2])
    edges = bool(rng.integers(2))
    op = Op("op", OpKind.MOVE, ("a",), "y", places=(place,), fill=between(rng, -128, 127), edges=edges)
    return op, [tensor("a", rng, *shape), tensor("y", rng, *out)]


def concat(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
    axis, shape = between(rng, 0, 2), list(point_shape(rng))
    extra = between(rng, 1, 7)
    second, whole = ([*shape[:axis], size, *shape[axis + 1 :]] for size in (extra, shape[axis] + extra))
    places = (Place(), Place.shifted(axis, shape[axis]))
    sizes = zip("aby", (shape, second, whole), strict=True)
    op = Op("op", OpKind.MOVE, ("a", "b"), "y", places=places)
    return op, [tensor(name, rng, size[0], size[1], size[2]) for name, size in sizes]


def permute(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
    height, width, channels = point_shape(rng)
    axes = [(height, width * channels), (width, channels), (channels, 1)]
    order = rng.permutation(3)
    op = Op("op", OpKind.PERMUTE, ("a",), "y", permutation=tuple(axes[k] for k in order))
    sizes = [axes[k][0] for k in order]
    return op, [tensor("a", rng, height, width, channels), tensor("y", rng, *sizes)]


def in_floats(
    draw: Callable[[np.random.Generator], tuple[Op, list[Tensor]]],
) -> Callable[[np.random.Generator], tuple[Op, list[Tensor]]]:
    """The same operator on tensors of float32."""

    def drawn(rng: np.random.Generator) -> tuple[Op, list[Tensor]]:
        op, tensors = draw(rng)
        tensors = [replace(part, dtype=DType.FLOAT32, quantization=None) for part in tensors]
        op = replace(
            op, clamp=FLOAT_CLAMPS[between(rng, 0, 3)], multiplier=None, by_floats=False, offset=0, fill=0
        )
        if op.kind is OpKind.LOOKUP:
            shape = (2,) if rng.integers(2) else (tensors[0].channels, 2)
            function = Function(between(rng, 0, len(Function) - 1))
            return replace(op, weights=real(rng, *shape), function=function), tensors
        if op.weights is None or op.kind is OpKind.SOFTMAX:
            return replace(op, weights=None), tensors
        return replace(
            op, weights=real(rng, *op.weights.shape), bias=real(rng, tensors[-1].channels)
        ), tensors

    return drawn


def real(rng: np.random.Generator, *shape: int) -> Array:
    return rng.normal(0, 1, shape).astype(np.float32)


FLOAT_CLAMPS = (UNLIMITED, (0, UNLIMITED[1]), (0, 6), (-1, 1))

DRAWS = {
    "conv": conv,
    "transposed": transposed,
    "depthwise": depthwise,
    "max_pool": pool(OpKind.MAX_POOL),
    "average_pool": pool(OpKind.AVERAGE_POOL),
    "add": pair(OpKind.ADD),
    "multiply": pair(OpKind.MULTIPLY),
    "lookup": lookup,
    "matmul": matmul,
    "quantize": quantize,
    "dequantize": dequantize,
    "softmax": softmax,
    "move": move,
    "concat": concat,
    "permute": permute,
}


def tiling_of(op: Op, tensors: list[Tensor], rng: np.random.Generator) -> Tiling:
    out, depth = tensors[-1], tensors[0].channels
    if op.needs_whole_tensors:
        return Tiling(out.height, out.width, out.channels, depth)
    channels = out.channels if op.takes_whole_pixels else between(rng, 1, out.channels)
    columns = out.width if rng.integers(2) else between(rng, 1, out.width)
    split = between(rng, 1, depth) if op.kind is OpKind.CONV and op.groups == 1 else depth
    return Tiling(between(rng, 1, out.height), columns, channels, split)


def layout_of(op: Op, tensor: Tensor, tiling: Tiling, rng: np.random.Generator) -> StorageLayout:
    """A layout whose planes suit the tiling: one plane, or planes as wide as tiles."""
    tile = tiling.split if op.kind is OpKind.CONV else tiling.channels
    plane = tile if rng.integers(2) and not op.takes_whole_pixels else tensor.channels
    return StorageLayout(tensor, plane, between(rng, 1, tensor.height), int(rng.choice([1, 2, 4, 16, 64])))


def is_transferable(geometry: StageGeometry, operand: int, layout: StorageLayout) -> bool:
    """Narrow boxes need rows that all begin at the same place in a granule."""
    boxes = [geometry.input_box(operand, index) for index in geometry.order()]
    return layout.rows_are_aligned or all(box.shape[1] == layout.tensor.width for box in boxes)


def random_case(kind: str, rng: np.random.Generator) -> Case:
    op, tensors = DRAWS[kind](rng)
    tiling = tiling_of(op, tensors, rng)
    geometry = StageGeometry(op, tuple(tensors[:-1]), tensors[-1], tiling)
    layouts: list[StorageLayout | None] = []
    for k, part in enumerate(tensors):
        layout = (
            layout_of(op, part, tiling, rng) if rng.integers(3) and not kind.endswith("permute") else None
        )
        if layout is not None and k < len(tensors) - 1:
            while not is_transferable(geometry, k, layout):
                layout = replace(layout, granule_bytes=layout.granule_bytes // 2)
        layouts.append(layout)
    data = tuple(
        rng.normal(0, 6, stored).astype(np.float32) if part.dtype is DType.FLOAT32 else int8(rng, *stored)
        for part in tensors[:-1]
        for stored in [(part.height, part.width, part.channels)]
    )
    return Case(op, tuple(tensors), tiling, data, tuple(layouts))
