"""Tile geometry: which output boxes a tiling makes, which input boxes they need.

The runtime repeats this arithmetic on the chip (codegen/runtime/ooc_kernels.c), so the
rules are written out in codegen/SPEC.md and must change in all three places together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from ooc_solve.models.cost import KernelWork, align_up
from ooc_solve.models.vocabulary import (
    Box,
    LoopOrder,
    Network,
    Op,
    OpKind,
    Tensor,
    Tiling,
)

WINDOWED = (OpKind.CONV, OpKind.DEPTHWISE, OpKind.MAX_POOL, OpKind.AVERAGE_POOL)
"""Kinds whose outputs depend on the taps of a window."""

BLOCK_CHANNELS = 4
PAIR_CHANNELS = 2
"""The kernels of the runtime (``ooc_windows.h``, ``ooc_dot.h``) compute output channels in blocks; where there are
several pixels, convolutions compute them in pairs."""

TileIndex = tuple[int, int, int, int]
"""Row, column, channel group and split of a tile."""


def tile_count(size: int, tile: int) -> int:
    """Tiles of ``tile`` that cover ``size``."""
    return -(-size // tile)


def tile_range(index: int, tile: int, size: int) -> tuple[int, int]:
    """Half-open range of the ``index``-th tile."""
    return index * tile, min(size, (index + 1) * tile)


def input_range(
    out: tuple[int, int], kernel: int, stride: int, dilation: int, pad: int, size: int
) -> tuple[int, int]:
    """Input rows (or columns) that output rows ``out`` read, clipped to the tensor.

    At least one row is returned even where all taps fall into the padding, so that every
    tile has an input buffer.
    """
    low = min(max(out[0] * stride - pad, 0), size - 1)
    high = (out[1] - 1) * stride - pad + dilation * (kernel - 1) + 1
    return low, max(min(high, size), low + 1)


@dataclass(frozen=True, slots=True)
class LiveTaps:
    """Along an axis of an output: ``positions``, their taps ``inside`` the input, those with ``cut`` windows."""

    positions: int
    inside: int
    cut: int


@cache
def live_taps(
    positions: tuple[int, int], kernel: int, stride: int, dilation: int, pad: int, size: int
) -> LiveTaps:
    """Count the taps that lie inside an input of ``size`` over output positions along an axis."""
    inside = [
        sum(0 <= position * stride - pad + tap * dilation < size for tap in range(kernel))
        for position in range(*positions)
    ]
    return LiveTaps(len(inside), sum(inside), sum(taps < kernel for taps in inside))


@dataclass(frozen=True, slots=True)
class StageGeometry:
    """An operator with its tensors and one tiling of it."""

    op: Op
    inputs: tuple[Tensor, ...]
    output: Tensor
    tiling: Tiling

    @classmethod
    def of(cls, network: Network, op: Op, tiling: Tiling) -> StageGeometry:
        """Look up the tensors of ``op``."""
        return cls(op, tuple(network.tensors[n] for n in op.inputs), network.tensors[op.output], tiling)

    @property
    def split_range(self) -> int:
        """Input channels that are summed over and may be split."""
        return self.inputs[0].channels

    @property
    def grid(self) -> TileIndex:
        """Number of tiles along rows, columns, channel groups and splits."""
        tiling, out = self.tiling, self.output
        return (
            tile_count(out.height, tiling.rows),
            tile_count(out.width, tiling.columns),
            tile_count(out.channels, tiling.channels),
            tile_count(self.split_range, tiling.split) if self.op.kind is OpKind.CONV else 1,
        )

    def number(self, index: TileIndex) -> int:
        """Number of a tile in the tables."""
        _, columns, groups, splits = self.grid
        return ((index[0] * columns + index[1]) * groups + index[2]) * splits + index[3]

    def index(self, number: int) -> TileIndex:
        """Inverse of `number`."""
        _, columns, groups, splits = self.grid
        rest, split = divmod(number, splits)
        rest, group = divmod(rest, groups)
        row, column = divmod(rest, columns)
        return row, column, group, split

    def output_box(self, index: TileIndex) -> Box:
        """Box of the output that the tile computes."""
        tiling, out = self.tiling, self.output
        return Box(
            tile_range(index[0], tiling.rows, out.height),
            tile_range(index[1], tiling.columns, out.width),
            tile_range(index[2], tiling.channels, out.channels),
        )

    def split_channels(self, index: TileIndex) -> tuple[int, int]:
        """Input channels that the tile sums over."""
        return tile_range(index[3], self.tiling.split, self.split_range)

    def input_box(self, operand: int, index: TileIndex) -> Box:
        """Box of input ``operand`` that the tile reads, halo included, padding clipped."""
        tensor = self.inputs[operand]
        if self.op.needs_whole_tensors:
            return whole(tensor)
        out, window = self.output_box(index), self.op.window
        ranges = [
            input_range(
                (out.rows, out.columns)[axis],
                window.kernel[axis],
                window.stride[axis],
                window.dilation[axis],
                window.pads[axis],
                (tensor.height, tensor.width)[axis],
            )
            for axis in (0, 1)
        ]
        if self.op.kind is OpKind.CONV:
            channels = self.split_channels(index)
        elif self.op.mixes_channels:
            channels = (0, tensor.channels)
        else:
            channels = out.channels
        return Box(ranges[0], ranges[1], channels)

    def order(self) -> Iterator[TileIndex]:
        """Tiles in execution order; columns and splits are always the inner loops."""
        rows, columns, groups, splits = self.grid
        pairs: Iterator[tuple[int, int]]
        if self.tiling.loop is LoopOrder.WEIGHTS_OUTER:
            pairs = ((row, group) for group in range(groups) for row in range(rows))
        else:
            pairs = ((row, group) for row in range(rows) for group in range(groups))
        for row, group in pairs:
            for column in range(columns):
                for split in range(splits):
                    yield row, column, group, split

    def macs(self, index: TileIndex) -> int:
        """Multiply-accumulates of one tile, taps in the padding included."""
        out = self.output_box(index).elements
        if self.op.kind is OpKind.CONV:
            low, high = self.split_channels(index)
            return out * self.op.window.taps * (high - low) // self.op.groups
        if self.op.kind in (OpKind.DEPTHWISE, OpKind.MAX_POOL, OpKind.AVERAGE_POOL):
            return out * self.op.window.taps
        return 0

    def work(self, rows: int, columns: int, channels: int, split: int) -> KernelWork:
        """What the kernel does for a tile of this size, summing over ``split`` input channels.

        The share of taps and of pixels in the padding is that of the whole operator, wherever the tile lies.
        """
        everywhere = (0, self.output.height), (0, self.output.width)
        return self._work((rows, columns, channels), split, everywhere)

    def tile_work(self, index: TileIndex) -> KernelWork:
        """What the kernel does for one tile, by its size alone."""
        return self.work(*self.output_box(index).shape, self._depth(index))

    def exact_work(self, index: TileIndex) -> KernelWork:
        """What the kernel does for one tile, with its own share of the padding."""
        box = self.output_box(index)
        return self._work(box.shape, self._depth(index), (box.rows, box.columns))

    def _depth(self, index: TileIndex) -> int:
        low, high = self.split_channels(index) if self.op.kind is OpKind.CONV else (0, 1)
        return high - low

    def _work(
        self, shape: tuple[int, int, int], split: int, seen: tuple[tuple[int, int], tuple[int, int]]
    ) -> KernelWork:
        """Work of a tile whose share of the padding is that of the output positions ``seen``."""
        rows, columns, channels = shape
        op, blocks = self.op, tile_count(channels, BLOCK_CHANNELS)
        outputs, lines = rows * columns * channels, rows * blocks
        if op.kind not in WINDOWED:
            return KernelWork(op.kind.value, outputs, 0, blocks, lines, computed=outputs)
        high, wide, window = self._live_taps(0, seen[0]), self._live_taps(1, seen[1]), op.window
        whole = high.positions * wide.positions
        inside = high.inside * wide.inside
        cuts = lines * columns * wide.cut // wide.positions
        if op.kind is not OpKind.CONV:
            slow = rows * columns * (channels % BLOCK_CHANNELS) if op.kind is OpKind.DEPTHWISE else 0
            live, slow_taps = outputs * inside // whole, slow * inside // whole
            macs = outputs * window.taps
            return KernelWork(op.kind.value, outputs, macs, blocks, lines, cuts, 0, outputs, slow_taps, live)
        depth = split // op.groups if op.groups > 1 else split
        even = tile_count(channels, PAIR_CHANNELS) * PAIR_CHANNELS
        pairs = (wide.positions - wide.cut) // 2 * 2
        paired = rows * columns * pairs // wide.positions
        runs = paired * even * high.inside // high.positions
        # a row of taps is one run of bytes where the tile has all the channels of a pixel
        if depth < self.inputs[0].channels or window.dilation[1] > 1:
            runs *= window.kernel[1]
        singles = (rows * columns - paired) * blocks
        live, live_single = (
            outputs_of * depth * inside // whole for outputs_of in (paired * even, singles * BLOCK_CHANNELS)
        )
        kind = "fc" if self.output.height == self.output.width == 1 else op.kind.value
        macs = outputs * window.taps * depth
        figures = blocks, lines, cuts, singles, paired * even, runs, live, live_single
        return KernelWork(kind, outputs, macs, *figures)

    def _live_taps(self, axis: int, positions: tuple[int, int]) -> LiveTaps:
        """Taps inside the input over output positions along an axis."""
        window, tensor = self.op.window, self.inputs[0]
        return live_taps(
            positions,
            window.kernel[axis],
            window.stride[axis],
            window.dilation[axis],
            window.pads[axis],
            (tensor.height, tensor.width)[axis],
        )

    def weight_bytes(self, index: TileIndex) -> int:
        """Bytes of the weight record of a tile without checksum and padding (0: no weights)."""
        op = self.op
        if op.weights is None:
            return 0
        low, high = tile_range(index[2], self.tiling.channels, self.output.channels)
        channels = high - low
        parameters = 8 * channels
        if op.kind is OpKind.CONV:
            first, last = self.split_channels(index)
            final = index[3] == self.grid[3] - 1
            taps = op.window.taps * (last - first) // op.groups
            return channels * taps + (parameters if final else 0)
        if op.kind is OpKind.DEPTHWISE:
            return channels * op.window.taps + parameters
        if op.kind is OpKind.LOOKUP and op.weights.ndim == 2:
            return 256 * channels
        return op.weight_bytes

    def weight_key(self, index: TileIndex) -> tuple[int, int]:
        """Group and split of the weight record that the tile uses."""
        shared = self.op.kind in (OpKind.SOFTMAX,) or (
            self.op.kind is OpKind.LOOKUP and self.op.weights is not None and self.op.weights.ndim == 1
        )
        return (0, 0) if shared else (index[2], index[3])


def whole(tensor: Tensor) -> Box:
    """The box of all elements."""
    return Box((0, tensor.height), (0, tensor.width), (0, tensor.channels))


@dataclass(frozen=True, slots=True)
class StorageLayout:
    """How a tensor is laid out in a region (the rules are those of ``ooc_operand``).

    Planes of ``plane_channels`` channels, each of records of ``record_rows`` rows; a record
    is dense and starts on a granule. ``base`` is the offset of the tensor in its region.
    """

    tensor: Tensor
    plane_channels: int
    record_rows: int
    granule_bytes: int
    base: int = 0

    @property
    def planes(self) -> int:
        """Number of planes."""
        return tile_count(self.tensor.channels, self.plane_channels)

    def plane_width(self, plane: int) -> int:
        """Channels in a plane; the last may be narrower."""
        low, high = tile_range(plane, self.plane_channels, self.tensor.channels)
        return high - low

    def row_bytes(self, plane: int) -> int:
        """Bytes of one row of a plane."""
        return self.tensor.width * self.plane_width(plane) * self.tensor.dtype.size_bytes

    def record_bytes(self, plane: int) -> int:
        """Distance between the records of a plane."""
        return align_up(self.record_rows * self.row_bytes(plane), self.granule_bytes)

    @property
    def plane_pitch(self) -> int:
        """Distance between planes."""
        return tile_count(self.tensor.height, self.record_rows) * self.record_bytes(0)

    @property
    def size_bytes(self) -> int:
        """Bytes the tensor takes in its region."""
        return align_up(self.planes * self.plane_pitch, self.granule_bytes)

    def offset(self, plane: int, row: int) -> int:
        """Offset of the first byte of a row from the start of the tensor."""
        record, inside = divmod(row, self.record_rows)
        return plane * self.plane_pitch + record * self.record_bytes(plane) + inside * self.row_bytes(plane)

    @property
    def rows_are_aligned(self) -> bool:
        """Whether any part of any row starts at the same place in its granule as in row 0."""
        return all(self.row_bytes(plane) % self.granule_bytes == 0 for plane in range(self.planes))

    def plane_of(self, channels: tuple[int, int]) -> int | None:
        """The plane that holds exactly these channels, or the only plane; None otherwise."""
        if self.planes == 1:
            return 0
        plane, rest = divmod(channels[0], self.plane_channels)
        if rest or channels[1] - channels[0] != self.plane_width(plane):
            return None
        return plane
