"""SRAM that one stage needs beside the kept tensors: what any schedule has to find room for.

The bytes that a single tile needs are a lower estimate for the stage, whichever tile is
looked at; so a few tiles are enough, as long as the busiest is mostly among them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from ooc_solve.models.cost import align_up
from ooc_solve.models.parts import is_kept
from ooc_solve.models.tiling import StageGeometry, TileIndex, tile_count, tile_range
from ooc_solve.models.vocabulary import LoopOrder, Reading
from ooc_solve.models.weight_records import WeightRecord
from ooc_solve.solver.expansion import ACCUMULATOR_BYTES
from ooc_solve.solver.parts import rows_kept, width_of

Ranges = tuple[tuple[int, int], ...]


def input_ranges(geometry: StageGeometry, operand: int) -> tuple[Ranges, Ranges]:
    """Rows of an input for each row of tiles, and its columns for each column of tiles."""
    tensor = geometry.inputs[operand]
    if geometry.op.needs_whole_tensors:
        return ((0, tensor.height),), ((0, tensor.width),)
    tiling, out = geometry.tiling, geometry.output
    rows = geometry.op.reading(operand, 0)
    cuts = (tile_range(i, tiling.columns, out.width) for i in range(tile_count(out.width, tiling.columns)))
    return (
        _ranges(out.height, tiling.rows, rows, tensor.height),
        tuple(geometry.columns_read(operand, cut) for cut in cuts),
    )


@lru_cache(maxsize=1 << 12)
def _ranges(size: int, tile: int, reading: Reading, limit: int) -> Ranges:
    return tuple(reading.needed(tile_range(i, tile, size), limit) for i in range(tile_count(size, tile)))


@lru_cache(maxsize=1 << 12)
def distinct(ranges: Ranges) -> Ranges:
    """Each range once, in order."""
    return tuple(sorted(set(ranges)))


@lru_cache(maxsize=1 << 12)
def widest(ranges: Ranges) -> int:
    """Index of the first of the longest ranges."""
    return max(range(len(ranges)), key=lambda i: ranges[i][1] - ranges[i][0])


@dataclass(slots=True)
class Workspace:
    """Tile buffers of a stage for given residences of its tensors.

    SRAM is given out in units of ``unit_bytes``.
    ``inputs`` and ``output`` are residences: channels per plane in storage, 0 for what stays in SRAM, or those of
    `parts`; ``part_bytes`` is what the rows kept of each input take.
    ``granules`` are the storage granules of each input's region, of the output's and of the
    image, ``seals`` what lies behind the rows of each input and of the output. ``held_inputs`` and
    ``held_weights`` are the bytes of all tiles that are held for the stage, 0 where they are not.
    ``record`` tells the record of weights of a tile.
    """

    unit_bytes: int
    geometry: StageGeometry
    inputs: tuple[int, ...]
    output: int
    granules: tuple[int, ...]
    held_inputs: int
    held_weights: int
    seals: tuple[int, ...]
    record: Callable[[StageGeometry, TileIndex], WeightRecord]
    part_bytes: tuple[int, ...] = ()
    ranges: list[tuple[Ranges, Ranges]] = field(init=False)  # of each input
    rows_kept: list[int] = field(init=False)  # of each input
    grid: TileIndex = field(init=False)
    known: dict[tuple[int, ...], int] = field(
        init=False
    )  # bytes of inputs, by operand and tile without what is alike

    def __post_init__(self) -> None:
        self.ranges = [input_ranges(self.geometry, k) for k in range(len(self.inputs))]
        self.rows_kept = [rows_kept(residence) for residence in self.inputs]
        self.grid = self.geometry.grid
        self.known = {}

    def busiest_bytes(self) -> int:
        """Bytes that are needed at once during the busiest of a few tiles."""
        return max(self._at(index) for index in self._tiles())

    def _tiles(self) -> Iterator[TileIndex]:
        """Tiles at the corners of the stage, those with the most input, and some from the middle."""
        rows, columns, groups, splits = self.grid
        middle = [1] if self.held_inputs or self.held_weights else []
        widest_rows, widest_columns = ({widest(ranges[axis]) for ranges in self.ranges} for axis in (0, 1))
        some_rows = {0, *widest_rows, rows - 1, *(i for i in middle if i < rows)}
        some_columns = {0, *widest_columns, columns - 1}
        some_groups = {0, groups - 1, *(i for i in middle if i < groups)}
        some_splits = {0, max(0, splits - 2), splits - 1}
        for row in some_rows:
            for column in some_columns:
                for group in some_groups:
                    for split in some_splits:
                        first = (row, column, group) == (0, 0, 0)
                        # during the first partial sums, a kept output does not exist yet
                        stays = not self.output or rows_kept(self.output) > 0
                        if not (first and split < splits - 1 and stays):
                            yield row, column, group, split

    def _at(self, index: TileIndex) -> int:
        """Bytes of the buffers that are needed during one tile."""
        fetched = 0
        for k, residence in enumerate(self.inputs):
            if residence and not is_kept(self.ranges[k][0][index[0]], self.rows_kept[k]):
                fetched += self._input(k, index)
        if self.held_inputs and self._inputs_all_held(index):
            fetched = self.held_inputs
        weights = self.record(self.geometry, index).room_bytes if self.geometry.loads_weights else 0
        if self.held_weights and self._weights_all_held(index):
            weights = self.held_weights
        return fetched + weights + self._results(index) - self._released(index)

    def _released(self, index: TileIndex) -> int:
        """Bytes of rows kept of inputs that neither this tile nor a later one reads: they may be gone."""
        total, (_, columns, groups, splits) = 0, self.grid
        for many, size, (rows, _) in zip(self.rows_kept, self.part_bytes, self.ranges, strict=False):
            kept = [row for row, range_ in enumerate(rows) if is_kept(range_, many)] if size else []
            if kept and self._position((kept[-1], columns - 1, groups - 1, splits - 1)) < self._position(
                index
            ):
                total += size
        return total

    def _input(self, k: int, index: TileIndex) -> int:
        """Bytes of what a tile fetches of an input."""
        row, column, group, split = index
        plane = split if self.geometry.op.mixes_channels else group
        key = k, row, column, plane
        if key not in self.known:
            self.known[key] = self._fetched(k, row, column, plane)
        return self.known[key]

    def _fetched(self, k: int, row: int, column: int, plane: int) -> int:
        tensor, granule = self.geometry.inputs[k], self.granules[k]
        pixel = self._plane_width(k, plane) * tensor.dtype.size_bytes
        rows, columns = (high - low for low, high in (self.ranges[k][0][row], self.ranges[k][1][column]))
        if columns == tensor.width:
            return self._buffer(align_up(rows * (columns * pixel + self.seals[k]), granule))
        return self._buffer(rows * align_up(columns * pixel, granule))

    def _plane_width(self, k: int, plane: int) -> int:
        """Channels of an input that are fetched together."""
        channels, width = self.geometry.inputs[k].channels, width_of(self.inputs[k])
        return channels if width == channels else min(width, channels - plane * width)

    def _buffer(self, size_bytes: int) -> int:
        return align_up(size_bytes, self.unit_bytes)

    def _results(self, index: TileIndex) -> int:
        """Partial sums, and the output tile once it is complete."""
        out, tiling, splits = self.geometry.output, self.geometry.tiling, self.grid[3]
        rows = min(tiling.rows, out.height - index[0] * tiling.rows)
        columns = min(tiling.columns, out.width - index[1] * tiling.columns)
        channels = min(tiling.channels, out.channels - index[2] * tiling.channels)
        elements = rows * columns * channels
        total = self._buffer(elements * ACCUMULATOR_BYTES) if splits > 1 else 0
        kept = is_kept((0, index[0] * tiling.rows + rows), rows_kept(self.output))
        if self.output and not kept and index[3] == splits - 1:
            size = elements * out.dtype.size_bytes + rows * self.seals[-1]
            total += self._buffer(align_up(size, self.granules[-2]))
        return total

    # ------------------------------------------------------------------ held tiles

    def _position(self, index: TileIndex) -> int:
        """Place of a tile in the order of execution."""
        rows, columns, groups, splits = self.grid
        row, column, group, split = index
        if self.geometry.tiling.loop is LoopOrder.WEIGHTS_OUTER:
            return ((group * rows + row) * columns + column) * splits + split
        return ((row * groups + group) * columns + column) * splits + split

    def _inputs_all_held(self, index: TileIndex) -> bool:
        """Whether all inputs have been fetched for the first group and are awaited by the last."""
        rows, columns, groups, splits = self.grid
        first = self._position((rows - 1, columns - 1, 0, splits - 1))
        last = self._position((0, 0, groups - 1, 0))
        return first <= self._position(index) <= last

    def _weights_all_held(self, index: TileIndex) -> bool:
        """Whether all weights have been fetched for the first rows and are awaited by the last."""
        rows, columns, groups, splits = self.grid
        first = self._position((0, 0, groups - 1, splits - 1))
        last = self._position((rows - 1, columns - 1, 0, 0))
        return first <= self._position(index) <= last
