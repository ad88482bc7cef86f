"""What a command touches, from the tables alone.

This repeats the arithmetic of ``runtime/ooc_tile.c`` on rows; nothing of the plan or the
network is used, so that a mistake on the way to the tables cannot hide here.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

from ooc_solve.codegen.packing import NOWHERE, CommandRow
from ooc_solve.codegen.tables import (
    FLAG_CHECKED,
    FLAG_FLOAT32,
    FLAG_STORE,
    FLAG_TABLE_PER_CHANNEL,
    FLAG_TRANSPOSED,
    HOMES,
    KINDS,
    PATCH,
    REGIONS,
    RESIDENT,
    STREAMED,
    CutRow,
    OperandRow,
    PackingRow,
    StageRow,
    Tables,
    TensorRow,
)
from ooc_solve.models.footprint import MOVE_AXES, PERMUTE_AXES
from ooc_solve.models.vocabulary import EVERYTHING, Footprint, OpKind, Reading

SRAM = -1
"""Number of SRAM among the spaces; regions have numbers from 0."""

SOFTMAX_BYTES = 4 * 256 + 4
"""Exponentials and the number of output steps per unit."""

FUNCTION_BYTES = 8
"""The two parameters of a function of float32."""

IN_PLACE = Reading(1, 0, 0, 1)
"""How an axis is read whose positions stay what they are."""

Interval = tuple[int, int]


class DecodeError(ValueError):
    """A command that means nothing: it refers to rows that are not there."""


class Subject(Enum):
    """What kind of data an operand holds."""

    TENSOR = "tensor"
    WEIGHTS = "weights"
    SUMS = "partial sums"
    SEAL = "seals"


@dataclass(frozen=True, slots=True)
class Content:
    """What the bytes of an access are, in the order of the access.

    TENSOR: ``key`` is the tensor, ``dense`` the same bytes in the dense tensor. WEIGHTS: the
    record of ``(stage, group, split)``, ``head`` the bytes before the weights. SUMS: the sums of ``(stage, tile without split)``
    after ``split`` more splits. SEAL: what is behind rows that are sealed; no kernel reads it.
    """

    subject: Subject
    key: tuple[int, ...]
    dense: Footprint
    head: int = 0


@dataclass(frozen=True, slots=True)
class Access:
    """Bytes of one space that a command reads or writes.

    ``base`` is the address it was given; ``content`` is None for transfers, which move what
    is there.
    """

    space: int
    base: int
    footprint: Footprint
    write: bool
    content: Content | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """A transfer: as many bytes from the same positions of both sides."""

    sram: int
    region: int
    offset: int
    segment_bytes: int
    pitch: int
    segments: int
    store: bool

    @property
    def size_bytes(self) -> int:
        """Bytes moved."""
        return self.segment_bytes * self.segments


@dataclass(frozen=True, slots=True)
class Tile:
    """Output box of a compute command, its input channels and its splits.

    ``position`` is the number of the box without splits, and its channel group; ``patch`` its row
    and column among the tiles.
    """

    rows: Interval
    columns: Interval
    channels: Interval
    depth: Interval
    position: tuple[int, int]
    patch: tuple[int, int]
    split: int
    splits: int

    @property
    def first(self) -> bool:
        """Whether there are no partial sums yet."""
        return self.split == 0

    @property
    def last(self) -> bool:
        """Whether the output is due."""
        return self.split == self.splits - 1

    @property
    def elements(self) -> int:
        """Output elements."""
        return _width(self.rows) * _width(self.columns) * _width(self.channels)


def move_of(tables: Tables, command: CommandRow) -> Move:
    """Decode a transfer command."""
    sram, shape_number, region, flags, _, _ = command.word
    if shape_number >= len(tables.shapes):
        raise DecodeError(f"shape {shape_number} of {len(tables.shapes)} does not exist")
    if region >= len(tables.region):
        raise DecodeError(f"region {region} of {len(tables.region)} does not exist")
    shape = tables.shapes[shape_number]
    if shape.bytes < 1 or shape.segments < 1:
        raise DecodeError(f"shape {shape_number} moves nothing")
    return Move(
        sram * tables.unit,
        region,
        command.offset,
        shape.bytes,
        shape.pitch,
        shape.segments,
        bool(flags & FLAG_STORE),
    )


def accesses(tables: Tables, command: CommandRow, in_place: bool = False) -> tuple[Access, ...]:
    """All bytes that a command touches, reads first.

    ``in_place``: it opens or seals in SRAM what the transfer moves, and spreads packed weights there.

    Raises
    ------
    DecodeError
        If the command refers to what is not there.
    """
    if command.is_transfer or command.is_crypto:
        move = move_of(tables, command)
        if in_place:
            place = Footprint(move.sram, move.size_bytes)
            both = Access(SRAM, move.sram, place, False), Access(SRAM, move.sram, place, True)
            return (*both, *unpacked_access(tables, command, move))
        sram = Access(SRAM, move.sram, Footprint(move.sram, move.size_bytes), not move.store)
        stored = Footprint(move.offset, move.segment_bytes, move.segments, move.pitch)
        region = Access(move.region, move.offset, stored, move.store)
        unpacked = unpacked_access(tables, command, move)
        return (sram, region) if move.store else (region, sram, *unpacked)
    return _compute_accesses(tables, command)


def unpacked_access(tables: Tables, command: CommandRow, move: Move) -> tuple[Access, ...]:
    """What a load of packed weights has besides: the bytes that they are spread over before a kernel reads them."""
    packing = tables.packings[command.word[1]] if tables.packings else PackingRow(0, 0)
    if not packing.weights:
        return ()
    stored = packing.start + (packing.weights + 1) // 2
    checked = REGIONS[move.region] in HOMES and command.word[3] == FLAG_CHECKED
    if not checked or move.segments > 1 or stored > move.size_bytes:
        raise DecodeError("only whole records of weights can be packed")
    return (Access(SRAM, move.sram, Footprint(move.sram, packing.end), True),)


def _compute_accesses(tables: Tables, command: CommandRow) -> tuple[Access, ...]:
    if command.stage >= len(tables.stages):
        raise DecodeError(f"stage {command.stage} of {len(tables.stages)} does not exist")
    stage = tables.stages[command.stage]
    tile = tile_of(tables, stage, command.word[0])
    found: list[Access] = []
    for k in range(stage.inputs):
        at = _address(tables, command.word[1 + k], f"input {k}")
        found += [_sram(at, f, False, content) for f, content in _input(tables, stage, k, tile)]
    if (size := weight_bytes(stage, tile)) > 0:
        at = _address(tables, command.word[3], "weights")
        key = (command.stage, *_weight_key(stage, tile))
        content = Content(Subject.WEIGHTS, key, Footprint(0, size), parameter_bytes(stage, tile))
        found.append(_sram(at, Footprint(0, size), False, content))
    if tile.splits > 1:
        found += _sums(_address(tables, command.word[5], "partial sums"), command.stage, tile)
    if tile.last:
        at = _address(tables, command.word[4], "output")
        found += [_sram(at, f, True, content) for f, content in _output(tables, stage, tile)]
    return tuple(sorted(found, key=lambda access: access.write))


def _sums(at: int, stage: int, tile: Tile) -> list[Access]:
    """Sums of the splits before, and those with this one."""
    dense = Footprint(0, 4 * tile.elements)
    before = Content(Subject.SUMS, (stage, tile.position[0], tile.split), dense)
    after = Content(Subject.SUMS, (stage, tile.position[0], tile.split + 1), dense)
    return [
        *([] if tile.first else [_sram(at, dense, False, before)]),
        *([] if tile.last else [_sram(at, dense, True, after)]),
    ]


def _sram(at: int, inside: Footprint, write: bool, content: Content) -> Access:
    """Access to a footprint of the buffer at an address."""
    f = inside
    moved = Footprint(f.start + at, f.run, f.rows, f.row_stride, f.columns, f.column_stride)
    return Access(SRAM, at, moved, write, content)


def _address(tables: Tables, word: int, what: str) -> int:
    if word == NOWHERE:
        raise DecodeError(f"the address of the {what} is missing")
    return word * tables.unit


# ---------------------------------------------------------------------------- tiles


def tile_of(tables: Tables, stage: StageRow, number: int) -> Tile:
    """The tile with a number: ``((row * columns + column) * groups + group) * splits + split``."""
    source, out = _tensors(tables, stage)
    rows, columns = stage.tiles[0].count, stage.tiles[1].count
    groups = _count(out.channels, stage.tile_channels)
    splits = _count(source.channels, stage.split_channels) if KINDS[stage.kind] is OpKind.CONV else 1
    if number >= rows * columns * groups * splits:
        raise DecodeError(f"tile {number} of {rows * columns * groups * splits} does not exist")
    rest, split = divmod(number, splits)
    rest, group = divmod(rest, groups)
    row, column = divmod(rest, columns)
    channels = _range(group, stage.tile_channels, out.channels)
    depth = (0, source.channels)
    if KINDS[stage.kind] is OpKind.CONV:
        depth = _range(split, stage.split_channels, source.channels)
    elif KINDS[stage.kind] not in (OpKind.SOFTMAX, OpKind.PERMUTE):
        depth = channels
    return Tile(
        cut_range(row, stage.tiles[0], out.height),
        cut_range(column, stage.tiles[1], out.width),
        channels,
        depth,
        (number // splits, group),
        (row, column),
        split,
        splits,
    )


def _tensors(tables: Tables, stage: StageRow) -> tuple[TensorRow, TensorRow]:
    """First input and output of a stage."""
    operands = (*stage.operand[: stage.inputs], stage.operand[2])
    if stage.kind >= len(KINDS) or not 1 <= stage.inputs <= 2:
        raise DecodeError(f"a stage of kind {stage.kind} with {stage.inputs} inputs does not exist")
    if max(operand.tensor for operand in operands) >= len(tables.tensors):
        raise DecodeError("a stage refers to a tensor that does not exist")
    cuts = [v for cut in stage.tiles for v in (cut.count, cut.pitch, cut.extent)]
    if min(*cuts, stage.tile_channels, stage.split_channels) < 1:
        raise DecodeError("a stage has tiles without elements")
    return tables.tensors[stage.operand[0].tensor], tables.tensors[stage.operand[2].tensor]


def _count(size: int, tile: int) -> int:
    return -(-size // tile)


def _range(index: int, tile: int, size: int) -> Interval:
    return index * tile, min(size, (index + 1) * tile)


def cut_range(index: int, cut: CutRow, size: int) -> Interval:
    """Tile of a cut; an empty one ends where it begins."""
    begin = index * cut.pitch - cut.lead
    low = min(max(begin, 0), size) if index else 0
    return low, max(low, min(size, begin + cut.extent))


def _width(interval: Interval) -> int:
    return interval[1] - interval[0]


def parameter_bytes(stage: StageRow, tile: Tile) -> int:
    """Bytes of biases and multipliers before the weights."""
    is_float = bool(stage.flags & FLAG_FLOAT32)
    if KINDS[stage.kind] not in (OpKind.CONV, OpKind.DEPTHWISE) or not tile.last:
        return 0
    return (4 if is_float else 8) * _width(tile.channels)


def weight_bytes(stage: StageRow, tile: Tile) -> int:
    """Bytes that the kernel reads at its weights address, 0 if it has none."""
    kind, channels = KINDS[stage.kind], _width(tile.channels)
    taps = stage.kernel[0] * stage.kernel[1]
    is_float = bool(stage.flags & FLAG_FLOAT32)
    weight = 4 if is_float else 1
    if kind is OpKind.CONV:
        depth = _width(tile.depth) // stage.conv_groups
        return channels * taps * depth * weight + parameter_bytes(stage, tile)
    if kind is OpKind.DEPTHWISE:
        return channels * taps * weight + parameter_bytes(stage, tile)
    if kind is OpKind.LOOKUP:
        size = FUNCTION_BYTES if is_float else 256
        return size * (channels if stage.flags & FLAG_TABLE_PER_CHANNEL else 1)
    return SOFTMAX_BYTES if kind is OpKind.SOFTMAX and not is_float else 0


def _weight_key(stage: StageRow, tile: Tile) -> tuple[int, int]:
    """Group and split whose record the tile uses; all tiles share one where it says so."""
    kind = KINDS[stage.kind]
    shared = kind is OpKind.SOFTMAX or (kind is OpKind.LOOKUP and not stage.flags & FLAG_TABLE_PER_CHANNEL)
    return (0, 0) if shared else (tile.position[1], tile.split)


# ------------------------------------------------------------------------- operands


def _output(tables: Tables, stage: StageRow, tile: Tile) -> Iterator[tuple[Footprint, Content]]:
    """Where in its buffer the output lies, part by part, and what each part is."""
    operand = stage.operand[2]
    tensor = tables.tensors[operand.tensor]
    if operand.place == PATCH:
        yield from _patch(tables, operand, tile, tile.rows, tile.columns, tile.channels)
        return
    dense = dense_footprint(tensor, tile.rows, tile.columns, tile.channels)
    inside = dense
    if operand.place == STREAMED or KINDS[stage.kind] is OpKind.PERMUTE:
        inside = _rows(_width(tile.rows), tile.elements * tensor.element_bytes, operand.seal)
    yield inside, Content(Subject.TENSOR, (operand.tensor,), dense)
    if operand.seal:
        behind = Footprint(inside.run, operand.seal, inside.rows, inside.row_stride)
        yield behind, Content(Subject.SEAL, (operand.tensor,), behind)


def _input(tables: Tables, stage: StageRow, k: int, tile: Tile) -> Iterator[tuple[Footprint, Content]]:
    """Where in its buffer an input lies, part by part, and what each part is."""
    operand = stage.operand[k]
    tensor = tables.tensors[operand.tensor]
    rows = _reading(tables, stage, k, 0).needed(tile.rows, tensor.height)
    columns = _reading(tables, stage, k, 1).needed(tile.columns, tensor.width)
    if stage.tiles[1].count == 1 and KINDS[stage.kind] is not OpKind.MOVE:
        columns = (0, tensor.width)
    channels = tile.depth
    if _moves_channels(tables, stage):
        channels = (0, tensor.channels)
    if KINDS[stage.kind] is OpKind.PERMUTE:
        _check_axes(tables, stage, tensor)
        whole = Footprint(0, tensor.size_bytes)
        yield whole, Content(Subject.TENSOR, (operand.tensor,), whole)
    elif operand.place == PATCH:
        yield from _patch(tables, operand, tile, rows, columns, channels)
    elif operand.place == RESIDENT:
        dense = dense_footprint(tensor, rows, columns, channels)
        yield dense, Content(Subject.TENSOR, (operand.tensor,), dense)
    else:
        for part, inside in streamed_footprints(operand, tensor, rows, columns, channels):
            dense = dense_footprint(tensor, part, columns, channels)
            yield inside, Content(Subject.TENSOR, (operand.tensor,), dense)


def _patch(
    tables: Tables, operand: OperandRow, tile: Tile, rows: Interval, columns: Interval, channels: Interval
) -> Iterator[tuple[Footprint, Content]]:
    """Where a box lies in the buffer of a patch, or part by part in a ring of rows."""
    tensor = tables.tensors[operand.tensor]
    if (
        operand.maker >= len(tables.stages)
        or tables.stages[operand.maker].operand[2].tensor != operand.tensor
    ):
        raise DecodeError(f"stage {operand.maker} does not make the tensor of a patch")
    cut = tables.stages[operand.maker].tiles
    held = [cut_range(tile.patch[k], cut[k], (tensor.height, tensor.width)[k]) for k in (0, 1)]
    ring = operand.record_rows
    outside = [columns[0] < held[1][0], columns[1] > held[1][1]]
    if not ring:
        outside += [rows[0] < held[0][0], rows[1] > held[0][1]]
    if any(outside):
        raise DecodeError("a tile reaches beyond the patch that it uses")
    pixel = tensor.channels * tensor.element_bytes
    row = _width(held[1]) * pixel
    skip = (columns[0] - held[1][0]) * pixel + channels[0] * tensor.element_bytes
    y = rows[0]
    while y < rows[1]:
        end = min(rows[1], (y // ring + 1) * ring) if ring else rows[1]
        start = (y % ring if ring else y - held[0][0]) * row + skip
        inside = Footprint(
            start, _width(channels) * tensor.element_bytes, end - y, row, _width(columns), pixel
        )
        dense = dense_footprint(tensor, (y, end), columns, channels)
        yield inside, Content(Subject.TENSOR, (operand.tensor,), dense)
        y = end


def _check_axes(tables: Tables, stage: StageRow, tensor: TensorRow) -> None:
    """A permutation reads its input densely, whatever the layout says."""
    axes = tables.axes[stage.first_axis : stage.first_axis + PERMUTE_AXES]
    if len(axes) < PERMUTE_AXES:
        raise DecodeError(f"axis {stage.first_axis} of {len(tables.axes)} does not exist")
    reach = sum((axis.size - 1) * axis.stride for axis in axes) + 1
    if reach * tensor.element_bytes > tensor.size_bytes:
        raise DecodeError("a permutation reads beyond its input")


def _moves_channels(tables: Tables, stage: StageRow) -> bool:
    """Whether the tiles of a move or of a product of matrices take all channels."""
    if KINDS[stage.kind] is OpKind.MATMUL:
        return True
    inputs = range(stage.inputs if KINDS[stage.kind] is OpKind.MOVE else 0)
    channels = tables.tensors[stage.operand[2].tensor].channels
    return any(
        _reading(tables, stage, k, 2) != IN_PLACE
        or tables.tensors[stage.operand[k].tensor].channels != channels
        for k in inputs
    )


def _reading(tables: Tables, stage: StageRow, k: int, axis: int) -> Reading:
    """What output rows (axis 0), columns (1) or channels of a move (2) need of input ``k``."""
    if KINDS[stage.kind] is OpKind.MOVE:
        number = stage.first_axis + MOVE_AXES * k + axis
        if number >= len(tables.axes) or tables.axes[number].reading.period < 1:
            raise DecodeError(f"axis {number} of {len(tables.axes)} is none of a move")
        return tables.axes[number].reading
    if KINDS[stage.kind] is OpKind.MATMUL and (k, axis) == (1, 0):
        return EVERYTHING
    extra, stride, pad = stage.dilation[axis] * (stage.kernel[axis] - 1), stage.stride[axis], stage.pad[axis]
    if stage.flags & FLAG_TRANSPOSED:
        return Reading(1, pad - extra + stride - 1, extra - stride + 1, stride)
    return Reading(stride, -pad, extra, 1)


def dense_footprint(tensor: TensorRow, rows: Interval, columns: Interval, channels: Interval) -> Footprint:
    """A box of a buffer that holds the whole tensor."""
    pixel = tensor.channels * tensor.element_bytes
    row = tensor.width * pixel
    start = rows[0] * row + columns[0] * pixel + channels[0] * tensor.element_bytes
    run = _width(channels) * tensor.element_bytes
    return Footprint(start, run, _width(rows), row, _width(columns), pixel)


def streamed_footprints(
    operand: OperandRow, tensor: TensorRow, rows: Interval, columns: Interval, channels: Interval
) -> Iterator[tuple[Interval, Footprint]]:
    """Rows of a box and where they lie in the buffer that one transfer filled, record by record."""
    plane, skip = divmod(channels[0], operand.plane_channels)
    pixel = plane_width(operand, tensor, plane) * tensor.element_bytes
    row = tensor.width * pixel + operand.seal
    if skip + _width(channels) > plane_width(operand, tensor, plane):
        raise DecodeError("the input channels of a tile lie in several planes")
    first = plane * operand.plane_pitch + row_offset(operand, rows[0], row)
    head = (first + columns[0] * pixel) % operand.granule
    run, count = _width(channels) * tensor.element_bytes, _width(columns)
    inner = head + skip * tensor.element_bytes
    if count < tensor.width:
        pitch = _align(head + count * pixel, operand.granule)
        yield rows, Footprint(inner, run, _width(rows), pitch, count, pixel)
        return
    base = row_offset(operand, rows[0], row)
    y = rows[0]
    while y < rows[1]:
        end = min(rows[1], (y // operand.record_rows + 1) * operand.record_rows)
        start = inner + row_offset(operand, y, row) - base
        yield (y, end), Footprint(start, run, end - y, row, count, pixel)
        y = end


def stored_tensor(tables: Tables, operand: OperandRow, region: int, offset: int) -> Iterator[Access]:
    """All elements of a tensor in its region, record by record of each plane."""
    tensor = tables.tensors[operand.tensor]
    for plane in range(_count(tensor.channels, operand.plane_channels)):
        width = plane_width(operand, tensor, plane)
        row = tensor.width * width * tensor.element_bytes + operand.seal
        low = plane * operand.plane_channels
        for y in range(0, tensor.height, operand.record_rows):
            rows = (y, min(y + operand.record_rows, tensor.height))
            start = offset + plane * operand.plane_pitch + row_offset(operand, y, row)
            dense = dense_footprint(tensor, rows, (0, tensor.width), (low, low + width))
            content = Content(Subject.TENSOR, (operand.tensor,), dense)
            inside = _rows(_width(rows), _width(rows) * (row - operand.seal), operand.seal, start)
            yield Access(region, offset, inside, False, content)


def _rows(rows: int, payload_bytes: int, seal_bytes: int, start: int = 0) -> Footprint:
    """So many rows one after the other, with or without something behind each."""
    if not seal_bytes:
        return Footprint(start, payload_bytes)
    row = payload_bytes // rows
    return Footprint(start, row, rows, row + seal_bytes)


def plane_width(operand: OperandRow, tensor: TensorRow, plane: int) -> int:
    """Channels in a plane; the last may be narrower."""
    return min(operand.plane_channels, tensor.channels - plane * operand.plane_channels)


def row_offset(operand: OperandRow, y: int, row_bytes: int) -> int:
    """Offset of row ``y`` from the start of its plane."""
    record, inside = divmod(y, operand.record_rows)
    return record * _align(operand.record_rows * row_bytes, operand.granule) + inside * row_bytes


def _align(value: int, granule: int) -> int:
    return -(-value // granule) * granule
