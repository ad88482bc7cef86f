"""The C kernels as a library that Python calls: the structs of ``ooc_tables.h``, buffers with guards, one tile at a time."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ooc_solve.models.tiling import StageGeometry, StorageLayout, TileIndex
from ooc_solve.models.vocabulary import Box, DType, Network, Op, OpKind, Quantization, Tensor, Tiling

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


def compile_c(*arguments: str | Path) -> None:
    """Run a compiler, or skip the test if there is none."""
    if shutil.which(str(arguments[0])) is None:
        pytest.skip(f"no {arguments[0]} on this machine")
    finished = subprocess.run(list(map(str, arguments)), check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr


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
