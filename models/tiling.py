"""Tile geometry: which output boxes a tiling makes, which input boxes they need.

The runtime repeats this arithmetic on the chip (codegen/runtime/ooc_kernels.c), so the
rules are written out in codegen/SPEC.md and must change in all three places together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from ooc_solve.models.cost import FLOAT_PREFIX, NPU, KernelWork, align_up
from ooc_solve.models.vocabulary import (
    CHEAP,
    FLOATING,
    Box,
    Cut,
    DType,
    LoopOrder,
    Network,
    Op,
    OpKind,
    Tensor,
    Tiling,
    Window,
)

WINDOWED = (OpKind.CONV, OpKind.DEPTHWISE, OpKind.MAX_POOL, OpKind.AVERAGE_POOL)
"""Kinds whose outputs depend on the taps of a window."""

BLOCK_CHANNELS = 4
PAIR_CHANNELS = 2
WORD_BYTES = 4
"""The kernels of the runtime (``ooc_windows.h``, ``ooc_dot.h``) compute output channels in blocks; where there are
several pixels, convolutions compute them in pairs, a word of each run of bytes at a time."""

TileIndex = tuple[int, int, int, int]
"""Row, column, channel group and split of a tile."""


def tile_count(size: int, tile: int) -> int:
    """Tiles of ``tile`` that cover ``size``."""
    return -(-size // tile)


def tile_range(index: int, tile: int, size: int) -> tuple[int, int]:
    """Half-open range of the ``index``-th tile."""
    return index * tile, min(size, (index + 1) * tile)


def cut_range(index: int, cut: Cut, size: int) -> tuple[int, int]:
    """Half-open range of the ``index``-th tile of a cut; empty ones end where they begin."""
    begin = index * cut.pitch - cut.lead
    low = min(max(begin, 0), size) if index else 0
    return low, max(low, min(size, begin + cut.extent))


@dataclass(frozen=True, slots=True)
class LiveTaps:
    """Along an axis of an output: ``positions``, their taps ``inside`` the input, those with ``cut`` windows."""

    positions: int
    inside: int
    cut: int


@cache
def live_taps(positions: tuple[int, int], window: Window, axis: int, size: int) -> LiveTaps:
    """Count the taps that lie inside an input of ``size`` over output positions along an axis."""
    taps = range(window.kernel[axis])
    inside = [sum(_lies_inside(window, axis, at, tap, size) for tap in taps) for at in range(*positions)]
    return LiveTaps(len(inside), sum(inside), sum(count < len(taps) for count in inside))


def _lies_inside(window: Window, axis: int, position: int, tap: int, size: int) -> bool:
    stride, pad, reach = window.stride[axis], window.pads[axis], tap * window.dilation[axis]
    if not window.transposed:
        return 0 <= position * stride - pad + reach < size
    source, rest = divmod(position + pad - reach, stride)
    return rest == 0 and 0 <= source < size


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
    def is_float(self) -> bool:
        """Whether the float32 kernel of its kind computes it."""
        return self.op.kind in FLOATING and self.output.dtype is DType.FLOAT32

    @property
    def grid(self) -> TileIndex:
        """Number of tiles along rows, columns, channel groups and splits."""
        tiling, out, patch = self.tiling, self.output, self.tiling.patch
        return (
            patch.rows.count if patch else tile_count(out.height, tiling.rows),
            patch.columns.count if patch else tile_count(out.width, tiling.columns),
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
        tiling, out, patch = self.tiling, self.output, self.tiling.patch
        channels = tile_range(index[2], tiling.channels, out.channels)
        if patch is not None:
            rows = cut_range(index[0], patch.rows, out.height)
            return Box(rows, cut_range(index[1], patch.columns, out.width), channels)
        return Box(
            tile_range(index[0], tiling.rows, out.height),
            tile_range(index[1], tiling.columns, out.width),
            channels,
        )

    def split_channels(self, index: TileIndex) -> tuple[int, int]:
        """Input channels that the tile sums over."""
        return tile_range(index[3], self.tiling.split, self.split_range)

    def input_box(self, operand: int, index: TileIndex) -> Box:
        """Box of input ``operand`` that the tile reads, halo included, padding clipped."""
        tensor = self.inputs[operand]
        if self.op.needs_whole_tensors:
            return whole(tensor)
        out = self.output_box(index)
        rows = self.op.reading(operand, 0).needed(out.rows, tensor.height)
        columns = self.columns_read(operand, out.columns)
        if self.op.kind is OpKind.CONV:
            channels = self.split_channels(index)
        elif self.op.mixes_channels:
            channels = (0, tensor.channels)
        else:
            channels = out.channels
        return Box(rows, columns, channels)

    def columns_read(self, operand: int, out: tuple[int, int]) -> tuple[int, int]:
        """Columns of an input that a tile with the output columns ``out`` reads.

        Without cuts along columns a window reads whole rows, those columns included that a stride leaves over.
        """
        width = self.inputs[operand].width
        if self.grid[1] == 1 and self.op.kind is not OpKind.MOVE:
            return 0, width
        return self.op.reading(operand, 1).needed(out, width)

    @property
    def tiles(self) -> int:
        """Number of tiles that are computed: those that are not empty."""
        rows, columns, groups, splits = self.grid
        if (patch := self.tiling.patch) is not None:
            rows = sum(a < b for a, b in (cut_range(i, patch.rows, self.output.height) for i in range(rows)))
            wide = (cut_range(i, patch.columns, self.output.width) for i in range(columns))
            columns = sum(a < b for a, b in wide)
        return rows * columns * groups * splits

    def order(self) -> Iterator[TileIndex]:
        """Tiles of an operator that is not fused in execution order; columns and splits are the inner loops."""
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
            steps = self.op.window.stride if self.op.window.transposed else (1, 1)
            return out * self.op.window.taps * (high - low) // (self.op.groups * steps[0] * steps[1])
        if self.op.kind in (OpKind.DEPTHWISE, OpKind.MAX_POOL, OpKind.AVERAGE_POOL):
            return out * self.op.window.taps
        return out * self.inputs[0].channels if self.op.kind is OpKind.MATMUL else 0

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
        if self.tiling.npu:
            return self._npu_work(rows * columns * channels, split)
        op, blocks = self.op, tile_count(channels, BLOCK_CHANNELS)
        outputs, lines = rows * columns * channels, rows * blocks
        if self.is_float:
            return self._float_work(shape, split, seen)
        if op.kind is OpKind.MATMUL:
            return self._byte_product_work(rows * columns, channels)
        if op.kind not in WINDOWED:
            return KernelWork(op.kind.value, outputs, 0, blocks, lines, computed=outputs)
        high, wide, window = self._live_taps(0, seen[0]), self._live_taps(1, seen[1]), op.window
        whole = high.positions * wide.positions
        inside = high.inside * wide.inside
        bands = rows * high.positions if self.tiling.ring_rows else rows * high.cut + high.positions
        cuts = blocks * (bands * (columns * wide.cut + wide.positions) // whole - 1)
        if op.kind is not OpKind.CONV:
            computed, slow = outputs, 0
            if op.kind is OpKind.DEPTHWISE and channels < BLOCK_CHANNELS:
                slow = outputs
            elif op.kind is OpKind.DEPTHWISE:
                computed = rows * columns * blocks * BLOCK_CHANNELS
            live, slow_taps = computed * inside // whole, slow * inside // whole
            macs = outputs * window.taps
            return KernelWork(op.kind.value, outputs, macs, blocks, lines, cuts, 0, computed, slow_taps, live)
        depth = split // op.groups if op.groups > 1 else split
        if window.transposed:
            live = outputs * depth * inside // whole
            return KernelWork(
                "transposed", outputs, live, blocks, lines, computed=outputs, computed_macs=live
            )
        even = tile_count(channels, PAIR_CHANNELS) * PAIR_CHANNELS
        if self._is_flat(columns):
            lines, paired = blocks, rows * columns // 2 * 2
        else:
            pairs = (wide.positions - wide.cut) // 2 * 2
            upright = wide.cut + (wide.positions - wide.cut == 1)  # columns that are lines by themselves
            between = (rows - rows * high.cut // high.positions) // 2 * 2
            paired = columns * (rows * pairs + between * upright) // wide.positions
        # a row of taps is one run of bytes where the tile has all the channels of a pixel
        dense = depth == self.inputs[0].channels and window.dilation[1] == 1
        run_taps = window.kernel[1] if dense else 1
        runs = paired * even * high.inside // high.positions * (window.kernel[1] // run_taps)
        singles = (rows * columns - paired) * blocks
        live = paired * even * depth * inside // whole
        live_single = (paired * even + singles * BLOCK_CHANNELS) * depth * inside // whole - live
        kind = "fc" if self.output.height == self.output.width == 1 else op.kind.value
        macs = outputs * window.taps * depth
        tails = runs * (depth * run_taps % WORD_BYTES)
        figures = blocks, lines, cuts, singles, paired * even, runs, live, live_single, tails
        return KernelWork(kind, outputs, macs, *figures)

    def _float_work(
        self, shape: tuple[int, int, int], split: int, seen: tuple[tuple[int, int], tuple[int, int]]
    ) -> KernelWork:
        """Work of a float32 kernel: it goes through the taps inside the input, or through exponentials."""
        rows, columns, channels = shape
        op, outputs, kind = self.op, rows * columns * channels, self.op.kind.value
        if op.kind is OpKind.CONV:
            return self._float_conv_work(rows * columns, channels, split, seen)
        if op.kind is OpKind.MATMUL:
            return self._matmul_work(rows * columns, channels)
        macs = live = 0
        if op.kind in WINDOWED:
            macs, live = outputs * op.window.taps, outputs * self._inside(seen) // self._positions(seen)
        elif op.kind is OpKind.LOOKUP and op.function not in CHEAP:
            live = outputs
        blocks = tile_count(channels, BLOCK_CHANNELS)
        return KernelWork(
            f"{FLOAT_PREFIX}{kind}",
            outputs,
            macs,
            blocks,
            rows * blocks,
            computed=outputs,
            computed_macs=live,
        )

    def _float_conv_work(
        self, pixels: int, channels: int, split: int, seen: tuple[tuple[int, int], tuple[int, int]]
    ) -> KernelWork:
        """Work of a float32 convolution: four channels of a group at a time, one by one what is left of them."""
        op, taps = self.op, self.op.window.taps
        width = min(channels, self.output.channels // op.groups)
        singles = channels // width * (width % BLOCK_CHANNELS)
        blocks = (channels - singles) // BLOCK_CHANNELS + singles
        depth = split // op.groups if op.groups > 1 else split
        inside, positions = self._inside(seen), self._positions(seen)
        live = pixels * (channels - singles) * depth * inside // positions
        single = pixels * singles * depth * inside // positions
        kind = "fc" if self.output.height == self.output.width == 1 else op.kind.value
        visits, macs = (op.window.kernel[0] if taps > 1 else 0), pixels * channels * taps * depth
        if op.window.transposed:
            kind, visits, macs = "transposed", taps, live + single
        return KernelWork(
            f"{FLOAT_PREFIX}{kind}",
            pixels * channels,
            macs,
            blocks,
            pixels * blocks,
            computed=pixels * channels,
            runs=pixels * blocks * depth * visits,
            computed_macs=live,
            single_macs=single,
        )

    def _matmul_work(self, pixels: int, channels: int) -> KernelWork:
        """Work of a product of matrices: what that of a convolution of one tap would be."""
        depth, singles = self.inputs[0].channels, channels % BLOCK_CHANNELS
        blocks = (channels - singles) // BLOCK_CHANNELS + singles
        return KernelWork(
            f"{FLOAT_PREFIX}{self.op.kind.value}",
            pixels * channels,
            pixels * channels * depth,
            blocks,
            pixels * blocks,
            computed=pixels * channels,
            computed_macs=pixels * (channels - singles) * depth,
            single_macs=pixels * singles * depth,
        )

    def _byte_product_work(self, pixels: int, channels: int) -> KernelWork:
        """Work of a product of matrices of bytes: a convolution of one tap, one pixel at a time."""
        depth, blocks = self.inputs[0].channels, tile_count(channels, BLOCK_CHANNELS)
        macs = pixels * channels * depth
        figures = blocks, pixels * blocks, 0, pixels * blocks, 0, 0, 0, macs
        return KernelWork(self.op.kind.value, pixels * channels, macs, *figures)

    def _inside(self, seen: tuple[tuple[int, int], tuple[int, int]]) -> int:
        """Taps inside the input over the output positions ``seen``."""
        return self._live_taps(0, seen[0]).inside * self._live_taps(1, seen[1]).inside

    def _positions(self, seen: tuple[tuple[int, int], tuple[int, int]]) -> int:
        """Number of these positions."""
        return self._live_taps(0, seen[0]).positions * self._live_taps(1, seen[1]).positions

    def _is_flat(self, columns: int) -> bool:
        """Whether a convolution goes through the pixels of a tile of full rows as through one long row."""
        window = self.op.window
        return (
            window.taps == max(window.stride) == 1
            and not any(window.pads)
            and columns == self.output.width
            and not self.tiling.ring_rows
        )

    def _npu_work(self, outputs: int, split: int) -> KernelWork:
        """What an NPU does: every tap of every output, in the padding too."""
        op = self.op
        taps = op.window.taps if op.kind in WINDOWED else 0
        macs = outputs * taps * (split // op.groups if op.kind is OpKind.CONV else 1)
        return KernelWork(NPU, outputs, macs, weight_bytes=op.weight_bytes)

    @property
    def loads_weights(self) -> bool:
        """Whether records of weights are loaded for it: into SRAM, or into the memory of an NPU."""
        return self.op.weights is not None and (self.tiling.npu_loads or not self.tiling.npu)

    def _live_taps(self, axis: int, positions: tuple[int, int]) -> LiveTaps:
        """Taps inside the input over output positions along an axis."""
        tensor = self.inputs[0]
        return live_taps(positions, self.op.window, axis, (tensor.height, tensor.width)[axis])

    def packed(self, index: TileIndex) -> tuple[int, int]:
        """Where in the record of a tile weights of four bits begin, and how many there are."""
        if not self.op.packed:
            return 0, 0
        low, high = tile_range(index[2], self.tiling.channels, self.output.channels)
        final = self.op.kind is OpKind.DEPTHWISE or index[3] == self.grid[3] - 1
        start = 8 * (high - low) if final else 0
        return start, self.weight_bytes(index) - start

    def record_bytes(self, index: TileIndex) -> int:
        """Bytes of the weight record of a tile without checksum and padding (0: no weights)."""
        count = self.packed(index)[1]
        return self.weight_bytes(index) - count + (count + 1) // 2

    def weight_bytes(self, index: TileIndex) -> int:
        """Bytes that the kernel of a tile reads as weights, bias and multipliers."""
        op = self.op
        if op.weights is None or not self.loads_weights:
            return 0
        low, high = tile_range(index[2], self.tiling.channels, self.output.channels)
        channels, size = high - low, op.weights.itemsize
        parameters = (4 if op.multiplier is None else 8) * channels
        if op.kind is OpKind.CONV:
            first, last = self.split_channels(index)
            final = index[3] == self.grid[3] - 1
            taps = op.window.taps * (last - first) // op.groups
            return channels * taps * size + (parameters if final else 0)
        if op.kind is OpKind.DEPTHWISE:
            return channels * op.window.taps * size + parameters
        if op.kind is OpKind.LOOKUP and op.weights.ndim == 2:
            return int(op.weights.shape[1]) * size * channels
        return op.weight_bytes

    def weight_key(self, index: TileIndex) -> tuple[int, int]:
        """Group and split of the weight record that the tile uses."""
        shared = self.op.kind is OpKind.SOFTMAX or (
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
    is dense and starts on a granule. ``base`` is the offset of the tensor in its region. With
    ``seal_bytes`` every row is sealed, and has so many bytes behind it; it is then moved whole.
    """

    tensor: Tensor
    plane_channels: int
    record_rows: int
    granule_bytes: int
    base: int = 0
    seal_bytes: int = 0

    @property
    def planes(self) -> int:
        """Number of planes."""
        return tile_count(self.tensor.channels, self.plane_channels)

    def plane_width(self, plane: int) -> int:
        """Channels in a plane; the last may be narrower."""
        low, high = tile_range(plane, self.plane_channels, self.tensor.channels)
        return high - low

    def row_bytes(self, plane: int) -> int:
        """Bytes of one row of a plane, with what lies behind it."""
        return self.tensor.width * self.plane_width(plane) * self.tensor.dtype.size_bytes + self.seal_bytes

    def rows_within(self, plane: int, start: int, end: int) -> int:
        """Rows of a plane that lie whole in the bytes ``[start, end)`` of the tensor."""
        places = (self.offset(plane, row) for row in range(self.tensor.height))
        return sum(start <= place and place + self.row_bytes(plane) <= end for place in places)

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
        """Whether any part of any row starts at the same place in its granule as in row 0, and may be moved alone."""
        return not self.seal_bytes and all(
            self.row_bytes(plane) % self.granule_bytes == 0 for plane in range(self.planes)
        )

    def plane_of(self, channels: tuple[int, int]) -> int | None:
        """The plane that holds exactly these channels, or the only plane; None otherwise."""
        if self.planes == 1:
            return 0
        plane, rest = divmod(channels[0], self.plane_channels)
        if rest or channels[1] - channels[0] != self.plane_width(plane):
            return None
        return plane
