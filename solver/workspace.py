"""SRAM that one stage needs beside the kept tensors: what any schedule has to find room for.

The bytes that a single tile needs are a lower estimate for the stage, whichever tile is
looked at; so a few tiles are enough, as long as the busiest is mostly among them.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache

from ooc_solve.models.cost import align_up
from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StageGeometry, TileIndex, tile_count, tile_range
from ooc_solve.models.vocabulary import LoopOrder, Reading
from ooc_solve.models.weight_records import weight_record
from ooc_solve.solver.expansion import ACCUMULATOR_BYTES

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

    ``inputs`` and ``output`` are channels per plane in storage, 0 for what stays in SRAM.
    ``granules`` are the storage granules of each input's region, of the output's and of the
    image, ``seals`` what lies behind the rows of each input and of the output. ``held_inputs`` and ``held_weights`` are the bytes of all tiles that are held for
    the stage, 0 where they are not.
    """

    problem: Problem
    geometry: StageGeometry
    inputs: tuple[int, ...]
    output: int
    granules: tuple[int, ...]
    held_inputs: int
    held_weights: int
    seals: tuple[int, ...]
    ranges: list[tuple[Ranges, Ranges]] = field(init=False)  # of each input
    grid: TileIndex = field(init=False)
    records: dict[tuple[int, int], int] = field(init=False)  # weight bytes by group and split

    def __post_init__(self) -> None:
        self.ranges = [input_ranges(self.geometry, k) for k in range(len(self.inputs))]
        self.grid = self.geometry.grid
        self.records = {}

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
                        if not (first and split < splits - 1 and not self.output):
                            yield row, column, group, split

    def _at(self, index: TileIndex) -> int:
        """Bytes of the buffers that are needed during one tile."""
        fetched = sum(self._input(k, index) for k, width in enumerate(self.inputs) if width)
        if self.held_inputs and self._inputs_all_held(index):
            fetched = self.held_inputs
        weights = self._weights(index) if self.geometry.loads_weights else 0
        if self.held_weights and self._weights_all_held(index):
            weights = self.held_weights
        return fetched + weights + self._results(index)

    def _input(self, k: int, index: TileIndex) -> int:
        tensor, granule = self.geometry.inputs[k], self.granules[k]
        pixel = self._plane_width(k, index) * tensor.dtype.size_bytes
        rows, columns = (high - low for low, high in (self.ranges[k][axis][index[axis]] for axis in (0, 1)))
        if columns == tensor.width:
            return self.problem.buffer_bytes(align_up(rows * (columns * pixel + self.seals[k]), granule))
        return self.problem.buffer_bytes(rows * align_up(columns * pixel, granule))

    def _plane_width(self, k: int, index: TileIndex) -> int:
        """Channels of an input that are fetched together."""
        channels, width = self.geometry.inputs[k].channels, self.inputs[k]
        plane = index[3] if self.geometry.op.mixes_channels else index[2]
        return channels if width == channels else min(width, channels - plane * width)

    def _weights(self, index: TileIndex) -> int:
        if index[2:] not in self.records:
            self.records[index[2:]] = weight_record(self.problem, self.geometry, index).room_bytes
        return self.records[index[2:]]

    def _results(self, index: TileIndex) -> int:
        """Partial sums, and the output tile once it is complete."""
        out, tiling, splits = self.geometry.output, self.geometry.tiling, self.grid[3]
        sizes = (out.height, tiling.rows), (out.width, tiling.columns), (out.channels, tiling.channels)
        rows, columns, channels = (
            min(tile, size - i * tile) for i, (size, tile) in zip(index, sizes, strict=False)
        )
        elements = rows * columns * channels
        total = self.problem.buffer_bytes(elements * ACCUMULATOR_BYTES) if splits > 1 else 0
        if self.output and index[3] == splits - 1:
            size = elements * out.dtype.size_bytes + rows * self.seals[-1]
            total += self.problem.buffer_bytes(align_up(size, self.granules[-2]))
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
