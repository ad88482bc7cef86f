"""The C kernels against the reference executor, byte for byte, on random tiles and layouts."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ooc_solve.models.reference import run_op
from ooc_solve.models.tiling import StageGeometry, StorageLayout, TileIndex
from ooc_solve.models.vocabulary import (
    UNLIMITED,
    Box,
    DType,
    Function,
    Network,
    Op,
    OpKind,
    Place,
    Quantization,
    Tensor,
    Tiling,
    Window,
)

Array = NDArray[Any]
RUNTIME = Path(__file__).resolve().parents[2] / "codegen" / "runtime"
KERNELS = (
    *("ooc_kernels.c", "ooc_windows.c", "ooc_conv.c", "ooc_depthwise.c"),
    *("ooc_transposed.c", "ooc_move.c", "ooc_tile.c", "ooc_float.c", "ooc_function.c"),
)
WARNINGS = (
    "-pedantic",
    "-Wall",
    "-Wextra",
    "-Werror",
    "-Wconversion",
    "-Wsign-conversion",
    "-Wshadow",
    "-Wcast-align",
    "-Wcast-qual",
    "-Wdouble-promotion",
    "-Wmissing-prototypes",
    "-Wstrict-prototypes",
    "-Wundef",
    "-Wfloat-equal",
)
CASES = 60
GUARD = 32
GUARD_BYTE = 0xC5

KINDS = {
    OpKind.CONV: 0,
    OpKind.DEPTHWISE: 1,
    OpKind.MAX_POOL: 2,
    OpKind.AVERAGE_POOL: 3,
    OpKind.ADD: 4,
    OpKind.LOOKUP: 5,
    OpKind.QUANTIZE: 6,
    OpKind.DEQUANTIZE: 7,
    OpKind.SOFTMAX: 8,
    OpKind.MOVE: 9,
    OpKind.PERMUTE: 10,
    OpKind.MULTIPLY: 11,
    OpKind.MATMUL: 12,
}


# ------------------------------------------------------- the C structs of ooc_tables.h


class CTensor(ctypes.Structure):
    _fields_ = (
        ("height", ctypes.c_uint16),
        ("width", ctypes.c_uint16),
        ("channels", ctypes.c_uint16),
        ("zero_point", ctypes.c_int16),
        ("scale", ctypes.c_float),
        ("element_bytes", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8 * 3),
    )


class COperand(ctypes.Structure):
    _fields_ = (
        ("tensor", ctypes.c_uint16),
        ("plane_channels", ctypes.c_uint16),
        ("record_rows", ctypes.c_uint16),
        ("granule", ctypes.c_uint16),
        ("plane_pitch", ctypes.c_uint32),
        ("place", ctypes.c_uint8),
        ("reserved", ctypes.c_uint8),
        ("maker", ctypes.c_uint16),
    )


class CCut(ctypes.Structure):
    _fields_ = (
        ("count", ctypes.c_uint16),
        ("pitch", ctypes.c_uint16),
        ("lead", ctypes.c_int16),
        ("extent", ctypes.c_uint16),
    )


class CStage(ctypes.Structure):
    _fields_ = (
        ("kind", ctypes.c_uint8),
        ("inputs", ctypes.c_uint8),
        ("flags", ctypes.c_uint8),
        ("fill", ctypes.c_int8),
        ("kernel", ctypes.c_uint8 * 2),
        ("stride", ctypes.c_uint8 * 2),
        ("dilation", ctypes.c_uint8 * 2),
        ("pad", ctypes.c_uint8 * 2),
        ("conv_groups", ctypes.c_uint16),
        ("first_axis", ctypes.c_uint16),
        ("tiles", CCut * 2),
        ("tile_channels", ctypes.c_uint16),
        ("split_channels", ctypes.c_uint16),
        ("clamp_low", ctypes.c_int16),
        ("clamp_high", ctypes.c_int16),
        ("operand", COperand * 3),
    )


class CAxis(ctypes.Structure):
    _fields_ = (("size", ctypes.c_uint32), ("stride", ctypes.c_uint32))


# ------------------------------------------------------------------------- the library

DRIVER = """
#include "ooc_kernels.h"
#include "ooc_requantize.h"
int run_tile(const struct ooc_tensor *tensors, const struct ooc_axis *axes, const struct ooc_stage *stage,
             uint32_t number, uint8_t *const address[OOC_SLOTS]);
int run_tile(const struct ooc_tensor *tensors, const struct ooc_axis *axes, const struct ooc_stage *stage,
             uint32_t number, uint8_t *const address[OOC_SLOTS]) {
    struct ooc_model model;
    struct ooc_tile tile;
    memset(&model, 0, sizeof model);
    model.tensors = tensors;
    model.axes = axes;
    memset(&tile, 0xA5, sizeof tile);
    ooc_tile_set(&tile, &model, stage, number, address);
    return ooc_kernel(&tile);
}
int sizes(int which);
int sizes(int which) {
    return which == 0 ? (int)sizeof(struct ooc_tensor) : (int)sizeof(struct ooc_stage);
}
void rescale(const int32_t *sums, const float *multipliers, int count, const int32_t *bounds, int8_t *out);
void rescale(const int32_t *sums, const float *multipliers, int count, const int32_t *bounds, int8_t *out) {
    const struct ooc_range range = ooc_range_of(bounds[0], bounds[1], bounds[2]);
    const int is_full = range.low == -128 && range.high == 127;
    int i;
    for (i = 0; i < count; i++) {
        struct ooc_scale scale;
        if (ooc_set_scale(&scale, multipliers[i])) {
            out[i] = (int8_t)ooc_scale_sum(&range, range.base, &scale, sums[i], is_full);
        } else {
            out[i] = (int8_t)ooc_scale_exactly(&range, multipliers[i], sums[i]);
        }
    }
}
"""

FLAGS = {
    "gcc-c99": ("gcc", "-std=c99", "-O2"),
    "gcc-gnu99-fma": ("gcc", "-std=gnu99", "-O3", "-march=native"),
    "gcc-integers": ("gcc", "-std=c99", "-O2", "-DOOC_INTEGER_SCALING=1"),
    "clang-c99": ("clang", "-std=c99", "-O2"),
    "clang-integers": ("clang", "-std=c99", "-O2", "-DOOC_INTEGER_SCALING=1"),
    "clang-fma": ("clang", "-std=c99", "-O3", "-march=native"),
}


def compile_c(*arguments: str | Path) -> None:
    """Run a compiler, or skip the test if there is none."""
    if shutil.which(str(arguments[0])) is None:
        pytest.skip(f"no {arguments[0]} on this machine")
    finished = subprocess.run(list(map(str, arguments)), check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


@pytest.fixture(scope="module", params=list(FLAGS))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "driver.c").write_text(DRIVER)
    sources = [folder / "driver.c", *(RUNTIME / name for name in KERNELS)]
    target = folder / "kernels.so"
    flags = (*FLAGS[request.param], *WARNINGS, "-DOOC_FLOATS", "-DOOC_MATRICES")
    compile_c(*flags, f"-I{RUNTIME}", "-shared", "-fPIC", *sources, "-o", target)
    loaded = ctypes.CDLL(str(target))
    assert (loaded.sizes(0), loaded.sizes(1)) == (ctypes.sizeof(CTensor), ctypes.sizeof(CStage))
    return loaded


# ----------------------------------------------------------------------------- the case


@dataclass(frozen=True)
class Case:
    """An operator with tensors, tiling, data, and the layout of each streamed operand (None: resident)."""

    op: Op
    tensors: tuple[Tensor, ...]  # inputs, then output
    tiling: Tiling
    data: tuple[Array, ...]
    layouts: tuple[StorageLayout | None, ...]

    @property
    def network(self) -> Network:
        *inputs, output = self.tensors
        names = tuple(tensor.name for tensor in inputs)
        return Network("case", {t.name: t for t in self.tensors}, (self.op,), names, (output.name,))

    @property
    def geometry(self) -> StageGeometry:
        return StageGeometry(self.op, self.tensors[:-1], self.tensors[-1], self.tiling)


def padded(array: Array) -> Array:
    """A copy of some bytes in SRAM between guards; element 0 lies GUARD bytes into it."""
    raw = np.ascontiguousarray(array).view(np.uint8).reshape(-1)
    guard = np.full(GUARD, GUARD_BYTE, np.uint8)
    return np.concatenate([guard, raw, guard])


def address(buffer: Array | None, shift: int = 0) -> int | None:
    return None if buffer is None else int(buffer.ctypes.data) + GUARD + shift


def guards_are_intact(buffer: Array | None) -> bool:
    return buffer is None or bool(
        np.all(buffer[:GUARD] == GUARD_BYTE) and np.all(buffer[-GUARD:] == GUARD_BYTE)
    )


def in_storage(layout: StorageLayout, data: Array, rng: np.random.Generator) -> Array:
    """The tensor as storage holds it, padding being garbage."""
    stored = rng.integers(0, 256, layout.size_bytes).astype(np.uint8)
    for plane in range(layout.planes):
        low = plane * layout.plane_channels
        part = np.ascontiguousarray(data[:, :, low : low + layout.plane_width(plane)])
        for row in range(data.shape[0]):
            at = layout.offset(plane, row)
            stored[at : at + layout.row_bytes(plane)] = part[row].reshape(-1).view(np.uint8)
    return stored


def transferred(layout: StorageLayout, stored: Array, box: Box) -> Array:
    """What a transfer of a box leaves in SRAM: whole granules, row by row if the box is narrow."""
    granule, tensor = layout.granule_bytes, layout.tensor
    plane = layout.plane_of(box.channels)
    plane = box.channels[0] // layout.plane_channels if plane is None else plane
    pixel = layout.plane_width(plane) * tensor.dtype.size_bytes
    (first, last), (left, right) = box.rows, box.columns
    if (left, right) == (0, tensor.width):
        spans = [(layout.offset(plane, first), layout.offset(plane, last - 1) + right * pixel)]
    else:
        rows = [layout.offset(plane, row) for row in range(first, last)]
        spans = [(row + left * pixel, row + right * pixel) for row in rows]
    return np.concatenate(
        [stored[low // granule * granule : -(-high // granule) * granule] for low, high in spans]
    )


def record(case: Case, index: TileIndex) -> Array | None:
    """The weights record of a tile as the tables describe it."""
    op, geometry = case.op, case.geometry
    if op.weights is None:
        return None
    low, high = geometry.output_box(index).channels
    parts: list[Array] = []
    if op.kind in (OpKind.CONV, OpKind.DEPTHWISE):
        assert op.bias is not None
        if index[3] == geometry.grid[3] - 1:
            parts += [array[low:high] for array in (op.bias, op.multiplier) if array is not None]
        if op.kind is OpKind.CONV:
            first, last = geometry.split_channels(index)
            chunk = slice(None) if op.groups > 1 else slice(first, last)
            parts.append(op.weights[low:high, :, :, chunk])
        else:
            parts.append(op.weights[:, :, low:high])
    elif op.kind is OpKind.LOOKUP and op.weights.ndim == 2:
        parts.append(op.weights[low:high])
    else:
        parts.append(op.weights)
        if op.kind is OpKind.SOFTMAX:
            assert op.multiplier is not None
            parts.append(op.multiplier)
    return np.concatenate([np.ascontiguousarray(part).view(np.uint8).reshape(-1) for part in parts])


def c_tables(case: Case) -> tuple[Any, Any, CStage]:
    """The case as ooc_tensor[], ooc_axis[] and ooc_stage."""
    op, tiling = case.op, case.tiling
    tensors = (CTensor * len(case.tensors))()
    for c, tensor in zip(tensors, case.tensors, strict=True):
        quantization = tensor.quantization or Quantization(1.0, 0)
        c.height, c.width, c.channels = tensor.height, tensor.width, tensor.channels
        c.zero_point, c.scale, c.element_bytes = (
            quantization.zero_point,
            quantization.scale,
            tensor.dtype.size_bytes,
        )
    axes = (CAxis * 6)(
        *([CAxis(1, 0)] * (5 - len(op.permutation)) + [CAxis(*axis) for axis in op.permutation])
    )
    for k, place in enumerate(op.places):
        for axis in range(3):
            axes[3 * k + axis] = CAxis(
                place.step[axis] | place.period[axis] << 16, place.start[axis] % (1 << 32)
            )
    fill = op.fill if op.function is None else op.function.value
    stage = CStage(kind=KINDS[op.kind], inputs=len(op.inputs), conv_groups=op.groups, fill=fill)
    table_per_channel = op.kind is OpKind.LOOKUP and op.weights is not None and op.weights.ndim == 2
    flags = (
        *(op.count_include_pad, table_per_channel, op.window.transposed or op.turned),
        *(op.edges, op.offset > 0, op.by_floats, case.geometry.is_float),
    )
    stage.flags = sum(bool(flag) << bit for bit, flag in enumerate(flags))
    stage.kernel[:], stage.stride[:] = op.window.kernel, op.window.stride
    stage.dilation[:], stage.pad[:] = op.window.dilation, op.window.pads[:2]
    grid = case.geometry.grid
    stage.tiles[:] = (
        CCut(grid[0], tiling.rows, 0, tiling.rows),
        CCut(grid[1], tiling.columns, 0, tiling.columns),
    )
    stage.tile_channels, stage.split_channels = tiling.channels, tiling.split
    stage.clamp_low, stage.clamp_high = op.clamp
    for k, layout in enumerate(case.layouts):
        operand = stage.operand[2 if k == len(case.layouts) - 1 else k]
        operand.tensor = k
        if layout is not None:
            operand.place = 1
            operand.plane_channels, operand.record_rows = layout.plane_channels, layout.record_rows
            operand.granule, operand.plane_pitch = layout.granule_bytes, layout.plane_pitch
    return tensors, axes, stage


def run(library: ctypes.CDLL, case: Case, rng: np.random.Generator) -> Array:
    """Compute the whole output tile by tile with the C kernels."""
    tensors, axes, stage = c_tables(case)
    geometry, output = case.geometry, case.tensors[-1]
    dtype = np.dtype("<f4") if output.dtype is DType.FLOAT32 else np.dtype("i1")
    result = np.zeros((output.height, output.width, output.channels), dtype)
    stored = [
        None if layout is None else in_storage(layout, data, rng)
        for layout, data in zip(case.layouts[:-1], case.data, strict=True)
    ]
    resident = [padded(data) for data in case.data]
    whole, sums = padded(result), None
    for index in geometry.order():
        box = geometry.output_box(index)
        buffers: list[Array | None] = []
        for k, layout in enumerate(case.layouts[:-1]):
            bytes_ = stored[k]
            if layout is None or bytes_ is None:
                buffers.append(resident[k])
            else:
                buffers.append(padded(transferred(layout, bytes_, geometry.input_box(k, index))))
        weights = record(case, index)
        tile = padded(rng.integers(0, 256, box.elements * dtype.itemsize).astype(np.uint8))
        if geometry.grid[3] > 1 and index[3] == 0:
            sums = padded(rng.integers(0, 256, 4 * box.elements).astype(np.uint8))
        last = index[3] == geometry.grid[3] - 1
        out = (whole if case.layouts[-1] is None else tile) if last else None
        used = [buffers[0], buffers[1] if len(buffers) > 1 else None, None, out, sums]
        used[2] = None if weights is None else padded(weights)
        slots = (ctypes.c_void_p * 5)(*(address(buffer) for buffer in used))
        assert library.run_tile(tensors, axes, ctypes.byref(stage), geometry.number(index), slots) == 0
        assert all(guards_are_intact(buffer) for buffer in used)
        if last and case.layouts[-1] is not None:
            dense = tile[GUARD:-GUARD].view(dtype).reshape(box.shape)
            result[slice(*box.rows), slice(*box.columns), slice(*box.channels)] = dense
    return result if case.layouts[-1] is not None else whole[GUARD:-GUARD].view(dtype).reshape(result.shape)


# ------------------------------------------------------------------------ random cases


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
DRAWS |= {
    f"float_{name}": in_floats(draw) for name, draw in DRAWS.items() if name not in ("quantize", "dequantize")
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


# ------------------------------------------------------------------------------ tests


@pytest.mark.parametrize("kind", list(DRAWS))
def test_kernel_equals_reference(library: ctypes.CDLL, kind: str) -> None:
    """Tile by tile, resident or streamed in any layout, a kernel gives the bytes of the reference."""
    streamed = narrow = split = 0
    for seed in range(CASES):
        rng = np.random.default_rng([list(DRAWS).index(kind), seed])
        case = random_case(kind, rng)
        values = dict(zip(case.network.inputs, case.data, strict=True))
        expected = run_op(case.network, case.op, values)
        found = run(library, case, rng)
        assert found.tobytes() == expected.tobytes(), f"{kind} seed {seed}: {case}"
        streamed += case.layouts[0] is not None
        narrow += case.layouts[0] is not None and case.tiling.columns < case.tensors[-1].width
        split += case.geometry.grid[3] > 1
    if not kind.endswith("permute"):
        assert min(streamed, narrow) > CASES // 20, "the cases drawn leave out a layout"
    assert split > 0 or not kind.endswith(("conv", "transposed"))


@pytest.mark.parametrize("start", [-2, 0, 1])
@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
def test_edges_of_channels_are_repeated(library: ctypes.CDLL, start: int, dtype: DType) -> None:
    """Before the first and behind the last channel of the input stands the nearest one, on either side or one alone."""
    op = Op("op", OpKind.MOVE, ("a",), "y", places=(Place(start=(0, 0, start)),), edges=True)
    tensors = (Tensor("a", 2, 2, 3, dtype), Tensor("y", 2, 2, 6, dtype))
    data = np.arange(12).reshape(2, 2, 3).astype("f4" if dtype is DType.FLOAT32 else "i1")
    case = Case(op, tensors, Tiling(2, 2, 6, 3), (data,), (None, None))
    found = run(library, case, np.random.default_rng(0))
    assert np.array_equal(found, data[..., np.clip(np.arange(6) + start, 0, 2)])


def test_rounding_goes_half_to_even(library: ctypes.CDLL) -> None:
    """Sums that fall on a half are rounded to the even neighbour, as are ties behind a zero point."""
    steps = np.arange(-40, 40, dtype=np.float32) / 2
    shape = (1, 1, steps.size)
    output = Tensor("y", *shape, DType.INT8, Quantization(1.0, 3))
    op = Op("op", OpKind.QUANTIZE, ("a",), "y")
    case = Case(
        op,
        (Tensor("a", *shape, DType.FLOAT32), output),
        Tiling(1, 1, steps.size, steps.size),
        (steps.reshape(shape),),
        (None, None),
    )
    found = run(library, case, np.random.default_rng(0)).reshape(-1)
    assert found.tolist() == (np.rint(steps) + 3).astype(int).tolist()


def test_quantize_saturates(library: ctypes.CDLL) -> None:
    """Reals beyond the range, infinities included, become the nearest end of the clamp."""
    reals = np.array([1e30, -1e30, np.inf, -np.inf, 127.4, -128.4], np.float32)
    shape = (1, 1, reals.size)
    output = Tensor("y", *shape, DType.INT8, Quantization(1.0, 0))
    case = Case(
        Op("op", OpKind.QUANTIZE, ("a",), "y"),
        (Tensor("a", *shape, DType.FLOAT32), output),
        Tiling(1, 1, reals.size, reals.size),
        (reals.reshape(shape),),
        (None, None),
    )
    found = run(library, case, np.random.default_rng(0)).reshape(-1)
    assert found.tolist() == [127, -128, 127, -128, 127, -128]


def exact_rescaling(sums: Array, multipliers: Array, zero: int, low: int, high: int) -> Array:
    """The definition, operation by operation; NaN counts as below everything."""
    with np.errstate(all="ignore"):
        real = sums.astype(np.float32) * multipliers
    steps = np.where(np.isnan(real), -np.inf, np.rint(real)).astype(np.float64)
    return np.clip(steps + zero, low, high).astype(np.int8)


def near_ties(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Sums and multipliers whose products lie on or next to a half."""
    bits = rng.integers(1, 25, count)
    mantissa = rng.integers(1 << 23, 1 << 24, count) >> (24 - bits) << (24 - bits)
    multipliers = np.ldexp(np.maximum(mantissa, 1 << 23), -rng.integers(15, 50, count)).astype(np.float32)
    halves = rng.integers(-300, 300, count) + 0.5
    sums = np.rint(halves / multipliers.astype(np.float64)) + rng.integers(-1, 2, count)
    return np.clip(sums, -(2**31), 2**31 - 1).astype(np.int32), multipliers


def any_sums(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Sums of all sizes, multipliers of all sizes and kinds."""
    sums = rng.integers(-(2**31), 2**31, count) >> rng.integers(0, 32, count)
    multipliers = np.ldexp(rng.uniform(0.5, 1, count), rng.integers(-45, 20, count)).astype(np.float32)
    odd = np.array(
        [0, -0.5, np.inf, -np.inf, np.nan, 1e-42, 3e38, 1.0, 0.5, 2.0**-25, 2.0**-26, 2.0**13, 2.0**14]
    )
    chosen = rng.random(count) < 0.1
    multipliers[chosen] = rng.choice(odd, int(chosen.sum())).astype(np.float32)
    return sums.astype(np.int32), multipliers


@pytest.mark.parametrize("draw", [near_ties, any_sums])
@pytest.mark.parametrize("bounds", [(0, -128, 127), (-128, -128, 127), (127, -128, 127), (-7, -7, 101)])
def test_rescaling_is_that_of_float32(
    library: ctypes.CDLL,
    draw: Callable[[np.random.Generator, int], tuple[Array, Array]],
    bounds: tuple[int, int, int],
) -> None:
    """One conversion, one float32 product, halves to even, for ties, huge sums and odd multipliers alike."""
    count = 400_000
    sums, multipliers = draw(np.random.default_rng(list(map(abs, bounds))), count)
    out = np.zeros(count, np.int8)
    pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (sums, multipliers, out))
    given, factors, found = pointers
    library.rescale(given, factors, count, (ctypes.c_int32 * 3)(*bounds), found)
    expected = exact_rescaling(sums, multipliers, *bounds)
    wrong = np.flatnonzero(out != expected)
    assert wrong.size == 0, [(sums[k], multipliers[k], out[k], expected[k]) for k in wrong[:5]]


def test_kind_left_out_is_refused(tmp_path: Path) -> None:
    """A kernel that OOC_KINDS leaves out is reported as a format error, not run."""
    source = tmp_path / "kinds.c"
    source.write_text(
        '#include "ooc_kernels.h"\n#include <string.h>\n'
        "int main(void) {\n"
        "    struct ooc_stage conv, add, transposed;\n"
        "    memset(&conv, 0, sizeof conv);\n"
        "    add = transposed = conv;\n"
        "    add.kind = OOC_ADD;\n"
        "    transposed.flags = OOC_FLAG_TRANSPOSED;\n"
        "    return ooc_has_kernel(&conv) && !ooc_has_kernel(&add) && !ooc_has_kernel(&transposed) ? 0 : 1;\n"
        "}\n"
    )
    program = tmp_path / "kinds"
    files = (*(RUNTIME / name for name in KERNELS), source)
    compile_c("gcc", "-std=c99", "-O2", *WARNINGS, "-DOOC_KINDS=1u", f"-I{RUNTIME}", *files, "-o", program)
    assert subprocess.run([program], check=False).returncode == 0


FLOATS = """
#include "%s"
#include <stdio.h>
int main(void) {
    uint32_t seed = 1, hash = 2166136261u, k;
    struct ooc_tile tile;
    struct ooc_stage stage;
    struct ooc_range range = ooc_range_of(0, -128, 127);
    struct ooc_scale scale;
    int8_t bytes[2];
    uint8_t out = 0;
    memset(&tile, 0, sizeof tile);
    memset(&stage, 0, sizeof stage);
    stage.clamp_low = -128;
    stage.clamp_high = 127;
    tile.stage = &stage;
    tile.channels = 1;
    tile.row[1] = 1;
    tile.column[1] = 1;
    tile.input[0].base = (uint8_t *)&bytes[0];
    tile.input[1].base = (uint8_t *)&bytes[1];
    tile.output.base = &out;
    for (k = 0; k < 4000000; k++) {
        seed = seed * 1664525u + 1013904223u;
        tile.output.zero_point = (int32_t)(seed >> 24) - 128;
        range = ooc_range_of(tile.output.zero_point, -128, 127);
        (void)ooc_set_scale(&scale, (float)((seed & 0xFFFFu) + 512u) * 0x1p-33f);
        hash = (hash ^ (uint8_t)ooc_scale_sum(&range, range.base, &scale, (int32_t)seed >> 8, 1)) * 16777619u;
        bytes[0] = (int8_t)((int32_t)(seed >> 8 & 255) - 128);
        bytes[1] = (int8_t)((int32_t)(seed >> 16 & 255) - 128);
        tile.input[0].scale = (float)(10007u + (seed >> 4 & 0xFFFu)) * 0x1p-20f;
        tile.input[1].scale = (float)(13001u + (seed >> 13 & 0xFFFu)) * 0x1p-20f;
        tile.output.scale = (float)(17011u + (seed >> 20)) * 0x1p-20f;
        add_tile(&tile);
        hash = (hash ^ out) * 16777619u;
    }
    printf("%%08lx\\n", (unsigned long)hash);
    return 0;
}
"""


def test_floats_are_the_same_everywhere(tmp_path: Path) -> None:
    """Rescaling and adding give equal bits on SSE, x87 and FMA units, with gcc and clang."""
    source = tmp_path / "floats.c"
    source.write_text(FLOATS % (RUNTIME / "ooc_kernels.c"))
    variants = [
        (compiler, standard, *machine)
        for compiler in ("gcc", "clang")
        for standard in ("-std=c99", "-std=gnu99")
        for machine in (
            ("-O2",),
            ("-O2", "-DOOC_INTEGER_SCALING=1"),
            ("-O3", "-march=native"),
            ("-O2", "-m32", "-mfpmath=387"),
            ("-O0",),
        )
        if not (compiler == "clang" and "-m32" in machine)
    ]
    variants += [("clang", "-std=c99", "-O2", "-m32", "-march=i686")]
    hashes: dict[str, list[str]] = {}
    for number, variant in enumerate(variants):
        program = tmp_path / f"floats{number}"
        only = "-DOOC_KINDS=(1u<<OOC_ADD)"  # other kernels are in other files
        command = [*variant, only, f"-I{RUNTIME}", str(source), "-o", str(program)]
        if shutil.which(variant[0]) is None:
            continue
        if subprocess.run(command, check=False, capture_output=True).returncode != 0:
            assert "-m32" in variant, f"{' '.join(variant)} does not compile"
            continue  # no 32-bit C library
        found = subprocess.run([program], capture_output=True, text=True, check=True).stdout
        hashes.setdefault(found, []).append(" ".join(variant))
    if sum(map(len, hashes.values())) < 2:
        pytest.skip("no two compilers to compare")
    assert len(hashes) == 1, hashes


RINGS = """
#include "ooc_kernels.h"
#include <stdlib.h>
#include <string.h>
enum { HEIGHT = 13, WIDTH = 9, DEPTH = 8, ROW = WIDTH * DEPTH };
static int8_t input[HEIGHT * ROW];
static uint8_t record[8 * DEPTH + 9 * DEPTH * DEPTH];
static struct ooc_stage stage;

static void set_view(struct ooc_view *view, void *base, int zero, int ring) {
    view->base = base;
    view->row_pitch = ROW;
    view->pixel_pitch = DEPTH;
    view->zero_point = (int16_t)zero;
    view->record_rows = (uint16_t)(ring > 0 ? ring : 1);
    view->record_gap = 0u - (uint32_t)(ring * ROW);
}

/* Rows [low, high); rings of so many rows, or 0. */
static void compute(int kind, int low, int high, void *in, int in_ring, void *out, int out_ring) {
    struct ooc_tile tile;
    memset(&tile, 0, sizeof tile);
    stage.kind = (uint8_t)kind;
    stage.inputs = 1;
    memset(stage.kernel, 3, 2);
    memset(stage.stride, 1, 2);
    memset(stage.dilation, 1, 2);
    memset(stage.pad, 1, 2);
    stage.conv_groups = kind == OOC_CONV ? 1 : DEPTH;
    stage.clamp_low = -128;
    stage.clamp_high = 127;
    tile.stage = &stage;
    set_view(&tile.input[0], in, 7, in_ring);
    set_view(&tile.output, out, -3, out_ring);
    tile.row[0] = low;
    tile.row[1] = high;
    tile.column[1] = tile.width = WIDTH;
    tile.height = HEIGHT;
    tile.channels = tile.depth = tile.group_outputs = tile.group_inputs = DEPTH;
    tile.bias = record;
    tile.multiplier = record + 4 * DEPTH;
    tile.weights = record + 8 * DEPTH;
    tile.first = tile.last = 1;
    (void)ooc_kernel(&tile);
}

/* How many rows differ from those of the whole if `rows` at a time are computed in rings. */
static int differing(int kind, int rows, int ring, const uint8_t *whole) {
    int8_t *in = malloc((size_t)(ring * ROW));
    uint8_t *out = malloc((size_t)(ring * ROW));
    int low, y, wrong = 0;
    for (low = 0; low < HEIGHT; low += rows) {
        int high = low + rows < HEIGHT ? low + rows : HEIGHT;
        memset(in, 85, (size_t)(ring * ROW));
        for (y = low - 1; y <= high; y++) {
            if (y >= 0 && y < HEIGHT) {
                memcpy(in + y % ring * ROW, input + y * ROW, ROW);
            }
        }
        compute(kind, low, high, in, ring, out, ring);
        for (y = low; y < high; y++) {
            wrong += memcmp(out + y % ring * ROW, whole + y * ROW, ROW) != 0;
        }
    }
    free(in);
    free(out);
    return wrong;
}

int main(void) {
    static uint8_t whole[HEIGHT * ROW];
    const float multiplier = 0.003f;
    int kind, rows, ring, wrong = 0;
    uint32_t i;
    for (i = 0; i < sizeof input; i++) {
        input[i] = (int8_t)(rand() % 256 - 128);
    }
    for (i = 0; i < sizeof record; i++) {
        record[i] = (uint8_t)(rand() % 256);
    }
    for (i = 0; i < DEPTH; i++) {
        memset(record + 4 * i + 2, 0, 2);
        memcpy(record + 4 * DEPTH + 4 * i, &multiplier, 4);
    }
    for (kind = OOC_CONV; kind <= OOC_DEPTHWISE; kind++) {
        compute(kind, 0, HEIGHT, input, 0, whole, 0);
        for (ring = 3; ring < 8; ring++) {
            for (rows = 1; rows + 2 <= ring; rows++) {
                wrong += differing(kind, rows, ring, whole);
            }
        }
    }
    return wrong;
}
"""


@pytest.mark.parametrize("scaling", ["-DOOC_INTEGER_SCALING=0", "-DOOC_INTEGER_SCALING=1"])
def test_rings_of_rows_give_the_bytes_of_whole_tensors(scaling: str, tmp_path: Path) -> None:
    """Windows that go around the end of a ring, and outputs that do, have the bytes of a tensor in one piece."""
    source = tmp_path / "rings.c"
    source.write_text(RINGS)
    program = tmp_path / "rings"
    files = (*(RUNTIME / name for name in KERNELS), source)
    checks = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", scaling)
    compile_c("gcc", "-std=c99", *checks, *WARNINGS, f"-I{RUNTIME}", *files, "-o", program)
    done = subprocess.run([program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
