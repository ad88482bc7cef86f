"""What one option makes of a stage, kernel by kernel, for given layouts of what it fetches.

The figures are those of the tasks that `expansion` makes, in the same order, but as arrays and
without task graph, so that thousands of selections can be timed (`simulation`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.cost import (
    align_up,
    compute_ns,
    crypto_ns,
    opening_ns,
    read_ns,
    write_ns,
)
from ooc_solve.models.parts import is_kept
from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StageGeometry, StorageLayout
from ooc_solve.models.vocabulary import CRYPTO, Box, LoopOrder, Op, OpKind, RegionName, Tensor
from ooc_solve.models.weight_records import weight_record
from ooc_solve.solver.expansion import (
    ACCUMULATOR_BYTES,
    SelectionError,
    input_transfer,
)
from ooc_solve.solver.options import KEPT, Option, stored_bytes
from ooc_solve.solver.parts import PLANE_BITS, part_bytes, rows_kept, width_of
from ooc_solve.solver.patchwork import Patchwork
from ooc_solve.solver.workspace import input_ranges

Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

COMPUTE, NEED, STORE_BYTES, STORE_NS, STORE_ROW, STORE_SEAL = range(6)
LOADS = 6
"""Rows of a profile's table: ns of the kernel, bytes of its tile buffers, and of the tile that it leaves
to be stored buffer bytes, ns, first row and ns of the task that seals it; from `LOADS` on `LOAD_ROWS` for each
operand, the weights last."""

PLANE = 1 << 20
"""What a row of the next plane in storage counts more: rows are numbered through all planes."""

LOAD_BYTES, LOAD_NS, LOAD_REACH, LOAD_OPEN = range(4)
LOAD_ROWS = 4
"""Rows per operand: buffer bytes and ns of what is loaded for a kernel (0: nothing), the end of the
rows that it reads, and ns of the task that opens it (what is only checked is part of the kernel)."""

MOST_KERNELS = 700
"""Options with more kernels are not simulated."""


@dataclass(frozen=True, slots=True, eq=False)
class Profile:
    """One option with known layouts: ``table`` is ``(rows, kernels)``, one column per kernel in its order.

    ``peak_bytes`` is the largest need, ``read_bytes`` and ``written_bytes`` are what moves, by store. ``npu``: the
    NPU computes it.
    """

    table: Ints
    peak_bytes: int
    compute_ns: int
    io_ns: int
    read_bytes: tuple[int, ...]
    written_bytes: tuple[int, ...]
    npu: bool = False

    @property
    def kernels(self) -> int:
        """How many kernels the stage has."""
        return int(self.table.shape[1])


@lru_cache(maxsize=8)
def _profiles_of(full: Problem) -> Profiles:
    return Profiles(full)


def profiles_of(problem: Problem) -> Profiles:
    """The profiles that a problem shares with the same problem under other budgets and objectives."""
    usable = problem.target.board.usable_bytes
    return _profiles_of(replace(problem.bare, sram_bytes=usable))


class Profiles:
    """Profiles of the options of one problem; what was made is remembered."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.overlaps = problem.target.board.overlaps_cpu
        stores = problem.target.stores
        channels = tuple(dict.fromkeys(store.channel for store in stores))
        self.engine = -1 if problem.target.engine is None else len(channels)
        self.names = channels if problem.target.engine is None else (*channels, CRYPTO)
        self.channels = len(self.names) if self.overlaps else 1
        self.by_task = problem.target.crypto is not None
        self.channel_of = {
            region: channels.index(stores[problem.store_index(region)].channel) if self.overlaps else 0
            for region in problem.regions
        }
        self.homes = tuple(r for r in (RegionName.IMAGE, RegionName.ANNEX) if r in problem.regions)
        """Regions with weights, each an operand of its own behind the inputs."""

        self._known: dict[object, Profile | None] = {}
        self._moves: dict[object, tuple[int, int, int, int] | None] = {}
        first: dict[str, int] = {}
        for stage, op in enumerate(problem.network.ops):
            for name in op.inputs:
                first.setdefault(name, stage)
        self._first_use = first

    def cpu_ns(self, table: Ints) -> int:
        """What the CPU does of a profile's table: kernels, and what it opens and seals."""
        crypto = (STORE_SEAL, *range(LOADS + LOAD_OPEN, len(table), LOAD_ROWS)) if self.engine < 0 else ()
        return int(table[[COMPUTE, *crypto]].sum())

    def region_of(self, name: str) -> RegionName:
        """Where a tensor lies in storage."""
        network = self.problem.network
        if name in network.inputs:
            return RegionName.INPUT
        return RegionName.OUTPUT if name in network.outputs else RegionName.SCRATCH

    def operand_channels(self, names: Sequence[str]) -> tuple[int, ...]:
        """Channel of each operand of a stage, the weights last, those in the annex behind those in the image."""
        inputs = (self.channel_of[self.region_of(name)] for name in names)
        return (*inputs, *(self.channel_of[region] for region in self.homes))

    def fetches_kept(self, stage: int, name: str) -> bool:
        """Whether a kept tensor is loaded whole for this stage: a network input in storage, at its first use."""
        problem = self.problem
        return problem.in_storage_at_start(problem.network.tensors[name]) and self._first_use[name] == stage

    def of(self, stage: int, option: Option, records: tuple[int, ...]) -> Profile | None:
        """Profile of an option whose spilled inputs lie in records of so many rows; None if it cannot be."""
        op = self.problem.network.ops[stage]
        key = op.name, option.tilings, option.inputs, option.output, records
        if key not in self._known:
            self._known[key] = self._made(stage, op, option, records)
        return self._known[key]

    def _made(self, stage: int, op: Op, option: Option, records: tuple[int, ...]) -> Profile | None:
        if option.operators > 1:
            return self._fused(stage, option, records)
        geometry = StageGeometry.of(self.problem.network, op, option.tiling)
        rows, columns, groups, splits = geometry.grid
        if rows * columns * groups * splits > MOST_KERNELS:
            return None
        try:
            return _Walk(self, stage, geometry, option, records).run()
        except SelectionError:
            return None

    def _fused(self, stage: int, option: Option, records: tuple[int, ...]) -> Profile | None:
        span = zip(self.problem.network.ops[stage:], option.tilings, strict=False)
        layers = [StageGeometry.of(self.problem.network, op, tiling) for op, tiling in span]
        if sum(layer.tiles for layer in layers) > MOST_KERNELS:
            return None
        try:
            return _FusedWalk(self, stage, layers, option, records).run()
        except SelectionError:
            return None

    def fetched(
        self,
        tensor: Tensor,
        width: int,
        record: int,
        plane: int,
        rows: tuple[int, int],
        columns: tuple[int, int],
    ) -> tuple[int, int, int, int]:
        """Buffer bytes, ns and bytes moved of a fetched box, and ns of opening it.

        Raises
        ------
        SelectionError
            If storage cannot address it.
        """
        key = tensor.name, width, record, plane, rows, columns
        if key not in self._moves:
            self._moves[key] = self._fetch(tensor, width, record, plane, Box(rows, columns, (0, width)))
        found = self._moves[key]
        if found is None:
            raise SelectionError(f"a box of '{tensor.name}' cannot be addressed")
        return found

    def _fetch(
        self, tensor: Tensor, width: int, record: int, plane: int, box: Box
    ) -> tuple[int, int, int, int] | None:
        region = self.region_of(tensor.name)
        granule, seal = self.problem.granule_bytes(region), self.problem.seal_bytes(region)
        layout = StorageLayout(tensor, width, record, granule, 0, seal)
        try:
            transfer = input_transfer(region, layout, plane, box)
        except SelectionError:
            return None
        size = transfer.size_bytes
        opening = opening_ns(self.problem.target, transfer)
        return self.problem.buffer_bytes(size), self.read_ns(region, size, transfer.segments), size, opening

    def read_ns(self, region: RegionName, size: int, segments: int = 1) -> int:
        """Time of a load."""
        store = self.problem.target.stores[self.problem.store_index(region)]
        return read_ns(self.problem.target, store, size, segments)

    def write_ns(self, region: RegionName, size: int, segments: int = 1) -> int:
        """Time of a store."""
        store = self.problem.target.stores[self.problem.store_index(region)]
        return write_ns(self.problem.target, store, size, segments)


class _Walk:
    """Goes through the kernels of one option; an instance per profile."""

    def __init__(
        self, known: Profiles, stage: int, geometry: StageGeometry, option: Option, records: tuple[int, ...]
    ) -> None:
        self.known, self.problem, self.stage = known, known.problem, stage
        self.geometry, self.option, self.records = geometry, option, records
        rows, columns, groups, splits = self.grid = geometry.grid
        if option.tiling.loop is LoopOrder.WEIGHTS_OUTER:
            self.group, self.row, self.column, self.split = np.indices(
                (groups, rows, columns, splits)
            ).reshape(4, -1)
        else:
            self.row, self.group, self.column, self.split = np.indices(
                (rows, groups, columns, splits)
            ).reshape(4, -1)
        self.n = len(self.row)
        operands = len(geometry.inputs) + len(known.homes)
        self.table = np.zeros((LOADS + LOAD_ROWS * operands, self.n), np.int64)
        stores = len(self.problem.target.stores)
        self.read, self.written = [0] * stores, [0] * stores
        self.io_ns = 0

    def run(self) -> Profile:
        """The profile."""
        for k, residence in enumerate(self.option.inputs):
            name = self.geometry.inputs[k].name
            if residence != KEPT:
                self._input(k, residence)
            elif self.known.fetches_kept(self.stage, name) and self.geometry.op.inputs.index(name) == k:
                self._kept_input(k)
        if self.geometry.loads_weights:
            self._weights()
        self._kernels()
        self._output()
        compute, peak = self.known.cpu_ns(self.table), int(self.table[NEED].max())
        table = self.table if self.known.overlaps else self._serial(compute, peak)
        on_npu = self.option.tiling.npu
        return Profile(table, peak, compute, self.io_ns, tuple(self.read), tuple(self.written), on_npu)

    def _serial(self, compute: int, peak: int) -> Ints:
        """One kernel for all, where the CPU moves the data itself and never waits."""
        table = np.zeros((len(self.table), 1), np.int64)
        table[COMPUTE], table[NEED] = compute + self.io_ns, peak
        return table

    def _by_size(self, tiles: tuple[tuple[int, int, Ints], ...]) -> tuple[list[tuple[int, ...]], Ints]:
        """Distinct shapes along axes ``(total, tile, index)``, and which of them each kernel has."""
        kinds: list[tuple[int, ...]] = [()]
        which = np.zeros(self.n, np.int64)
        for total, tile, index in tiles:
            whole, rest = divmod(total, tile)
            sizes = ([tile] if whole else []) + ([rest] if rest else [])
            kinds = [(*kind, size) for kind in kinds for size in sizes]
            which = which * len(sizes) + (index >= whole if whole and rest else 0)
        return kinds, which

    def _kernels(self) -> None:
        out, tiling, conv = self.geometry.output, self.option.tiling, self.geometry.op.kind is OpKind.CONV
        depth = (self.geometry.split_range, tiling.split) if conv else (1, 1)
        kinds, which = self._by_size(
            (
                (out.height, tiling.rows, self.row),
                (out.width, tiling.columns, self.column),
                (out.channels, tiling.channels, self.group),
                (*depth, self.split),
            )
        )
        work = [compute_ns(self.problem.target, self.geometry.work(*kind)) for kind in kinds]
        self.table[COMPUTE] += np.array(work, np.int64)[which]

    # ------------------------------------------------------------------------- loads

    def _input(self, k: int, residence: int) -> None:
        tensor, op = self.geometry.inputs[k], self.geometry.op
        kept_rows, residence = rows_kept(residence), width_of(residence)
        planes = -(-tensor.channels // residence)
        plane = np.zeros(self.n, np.int64)
        if planes > 1:
            plane = self.split if op.kind is OpKind.CONV else self.group
        rows, columns = input_ranges(self.geometry, k)
        if op.needs_whole_tensors:
            at_row = at_column = np.zeros(self.n, np.int64)
        else:
            at_row, at_column = _numbers(rows)[self.row], _numbers(columns)[self.column]
        key = (plane * len(rows) + at_row) * len(columns) + at_column
        kept = np.array([is_kept(range_, kept_rows) for range_ in rows])[at_row]
        distinct, first, which = np.unique(key, return_index=True, return_inverse=True)
        figures = np.empty((LOAD_ROWS, len(distinct)), np.int64)
        moved = np.empty(len(distinct), np.int64)
        for i, kernel in enumerate(first):
            box = rows[at_row[kernel]], columns[at_column[kernel]]
            figures[LOAD_BYTES, i], figures[LOAD_NS, i], moved[i], figures[LOAD_OPEN, i] = self.known.fetched(
                tensor, residence, self.records[k], int(plane[kernel]), *box
            )
            figures[LOAD_REACH, i] = int(plane[kernel]) * PLANE + box[0][1]
        region = self.known.region_of(tensor.name)
        which = which.reshape(-1)
        self._load(k, region, figures, moved, which, self.option.tiling.hold_inputs, kept)

    def _kept_input(self, k: int) -> None:
        name = self.geometry.inputs[k].name
        size = stored_bytes(self.problem, name)
        rows = self._rows(k)
        ns = self.known.read_ns(RegionName.INPUT, size)
        self.table[rows, 0] = self.problem.buffer_bytes(size), ns, 0, 0
        self.read[self.problem.store_index(RegionName.INPUT)] += size
        self.io_ns += ns

    def _weights(self) -> None:
        geometry, (_, _, groups, splits) = self.geometry, self.grid
        region = self.option.tiling.weights_in
        operand = len(geometry.inputs) + self.known.homes.index(region)
        shared = geometry.weight_key((0, 0, 1, 1)) == (0, 0)
        which = np.zeros(self.n, np.int64) if shared else self.group * splits + self.split
        groups_at, like_group = _representatives(1 if shared else groups)
        splits_at, like_split = _representatives(1 if shared else splits)
        like = (like_group[:, None] * len(splits_at) + like_split).reshape(-1)
        records = [weight_record(self.problem, geometry, (0, 0, g, s)) for g in groups_at for s in splits_at]
        sizes = [record.size_bytes for record in records]
        checks = np.array([record.check_ns for record in records], np.int64)
        opening = checks if self.known.by_task else np.zeros_like(checks)
        figures = np.array(
            [(r.room_bytes, self.known.read_ns(region, r.size_bytes), 0, 0) for r in records],
            np.int64,
        ).T
        figures[LOAD_OPEN] = opening
        moved, hold = np.array(sizes, np.int64)[like], self.option.tiling.hold_weights
        nothing = np.zeros(self.n, bool)
        starts = self._load(operand, region, figures[:, like], moved, which, hold, nothing)
        self.table[COMPUTE, starts] += (checks - opening)[like[which[starts]]]

    def _rows(self, k: int) -> slice:
        start = LOADS + LOAD_ROWS * k
        return slice(start, start + LOAD_ROWS)

    def _load(
        self, k: int, region: RegionName, figures: Ints, moved: Ints, which: Ints, hold: bool, kept: Mask
    ) -> Ints:
        """Enter the loads of an operand: tile ``which`` of each kernel; return where it is new, so loaded.

        What is ``kept`` is not loaded, and what was loaded before it is loaded again after it, unless it is held.
        """
        room, key = np.where(kept, 0, figures[0][which]), np.where(kept, -1, which)
        if hold:
            _, starts = np.unique(key, return_index=True)
            _, back = np.unique(key[::-1], return_index=True)
            change = np.zeros(self.n + 1, np.int64)
            np.add.at(change, starts, room[starts])
            np.add.at(change, self.n - back, -room[starts])
            self.table[NEED] += np.cumsum(change)[:-1]
            starts = np.sort(starts)
        else:
            starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
            self.table[NEED] += room
        starts = starts[key[starts] >= 0]
        self.table[self._rows(k), starts] = figures[:, which[starts]]
        self.read[self.problem.store_index(region)] += int(moved[which[starts]].sum())
        self.io_ns += int(figures[1, which[starts]].sum())
        return starts

    # ----------------------------------------------------------------------- results

    def _output(self) -> None:
        """Partial sums, the output tile, and its store."""
        out, tiling, splits = self.geometry.output, self.option.tiling, self.grid[3]
        kinds, which = self._by_size(
            (
                (out.height, tiling.rows, self.row),
                (out.width, tiling.columns, self.column),
                (out.channels, tiling.channels, self.group),
            )
        )
        if splits > 1:
            sums = [self.problem.buffer_bytes(r * c * g * ACCUMULATOR_BYTES) for r, c, g in kinds]
            self.table[NEED] += np.array(sums, np.int64)[which]
        if self.option.output == KEPT:
            self._kept_output()
            return
        region = self.known.region_of(out.name)
        granule, narrow = self.problem.granule_bytes(region), tiling.columns < out.width
        ends = np.minimum((self.row + 1) * tiling.rows, out.height)
        tiles = np.flatnonzero((self.split == splits - 1) & (ends > tiling.stored_from))
        figures = np.empty((4, len(kinds)), np.int64)
        seal, target = self.problem.seal_bytes(region), self.problem.target
        for i, (rows, columns, channels) in enumerate(kinds):
            payload = rows * columns * channels * out.dtype.size_bytes
            dense = payload + rows * seal
            size, segments = (dense, rows) if narrow else (align_up(dense, granule), 1)
            size_there = self.problem.buffer_bytes(align_up(dense, granule))
            sealing = crypto_ns(target, rows, payload) if seal else 0
            figures[:, i] = size_there, self.known.write_ns(region, size, segments), size, sealing
        at = which[tiles]
        self.table[STORE_SEAL, tiles] += figures[3, at]
        room = np.where(ends[tiles] <= tiling.kept_rows, 0, figures[0, at])
        self.table[NEED, tiles] += room
        self.table[STORE_BYTES, tiles], self.table[STORE_NS, tiles] = room, figures[1, at]
        # the rows kept are not there during the first partial sums
        own = self.option.output | tiling.rows << PLANE_BITS
        self.table[NEED, : splits - 1] -= part_bytes(self.problem, out.name, own)
        self.table[STORE_ROW, tiles] = self.group[tiles] * PLANE + self.row[tiles] * tiling.rows
        self._wrote(region, int(figures[2, at].sum()), int(figures[1, at].sum()))

    def _kept_output(self) -> None:
        """A kept output is not there during the first partial sums; one of the network is stored at the end."""
        out, problem = self.geometry.output, self.problem
        if self.option.tiling.in_place:
            self.table[NEED] -= problem.buffer_bytes(out.size_bytes)
        if out.name not in problem.pinned:
            self.table[NEED, : self.grid[3] - 1] -= problem.buffer_bytes(stored_bytes(problem, out.name))
        if problem.stored_at_end(out):
            size = stored_bytes(problem, out.name)
            ns = self.known.write_ns(RegionName.OUTPUT, size)
            self.table[STORE_NS, -1] = ns
            self._wrote(RegionName.OUTPUT, size, ns)

    def _wrote(self, region: RegionName, size: int, ns: int) -> None:
        self.written[self.problem.store_index(region)] += size
        self.io_ns += ns


class _FusedWalk:
    """Makes the profile of a fused stage of its kernels."""

    def __init__(
        self,
        known: Profiles,
        stage: int,
        layers: list[StageGeometry],
        option: Option,
        records: tuple[int, ...],
    ) -> None:
        self.known, self.problem, self.stage, self.records = known, known.problem, stage, records
        self.layers, self.option = layers, option
        self.work = Patchwork(known.problem, layers, option, lambda *box: self._fetched(*box)[0])
        self.weights = len(option.inputs)
        self.table = np.zeros(
            (LOADS + LOAD_ROWS * (self.weights + len(known.homes)), self.work.kernels), np.int64
        )
        stores = len(self.problem.target.stores)
        self.read, self.written = [0] * stores, [0] * stores
        self.io_ns = 0

    def _fetched(
        self, operand: int, tensor: Tensor, rows: tuple[int, int], columns: tuple[int, int]
    ) -> tuple[int, int, int, int]:
        return self.known.fetched(tensor, tensor.channels, self.records[operand], 0, rows, columns)

    def run(self) -> Profile:
        """The profile."""
        work, table = self.work, self.table
        table[COMPUTE], table[NEED] = work.compute_ns, work.need_bytes
        tensors = [self.layers[n].inputs[k] for n, k, _ in work.outer()]
        for fetch in work.fetches:
            if fetch.record is not None:
                region, record = self.layers[fetch.place].tiling.weights_in, fetch.record
                ns = self.known.read_ns(region, record.size_bytes)
                operand = self.weights + self.known.homes.index(region)
                self._open(operand, fetch.kernel, record.check_ns)
                self._load(operand, region, fetch.kernel, (record.room_bytes, ns, record.size_bytes), 0)
            else:
                tensor = tensors[fetch.operand]
                room, ns, moved, opening = self._fetched(fetch.operand, tensor, fetch.rows, fetch.columns)
                self._open(fetch.operand, fetch.kernel, opening)
                region = self.known.region_of(tensor.name)
                self._load(fetch.operand, region, fetch.kernel, (room, ns, moved), fetch.rows[1])
        self._kept_inputs()
        self._output()
        compute, peak = self.known.cpu_ns(table), int(table[NEED].max())
        if not self.known.overlaps:
            table = np.zeros((len(table), 1), np.int64)
            table[COMPUTE], table[NEED] = compute + self.io_ns, peak
        return Profile(table, peak, compute, self.io_ns, tuple(self.read), tuple(self.written))

    def _open(self, operand: int, kernel: int, opening: int) -> None:
        """Have what is loaded for a kernel checked or opened."""
        opened = LOADS + LOAD_ROWS * operand + LOAD_OPEN
        self.table[opened if self.known.by_task else COMPUTE, kernel] += opening

    def _load(
        self, operand: int, region: RegionName, kernel: int, figures: tuple[int, int, int], reach: int
    ) -> None:
        """Enter a load; two weight records of one kernel do not occur."""
        room, ns, moved = figures
        start = LOADS + LOAD_ROWS * operand
        self.table[start : start + LOAD_OPEN, kernel] = room, ns, reach
        self.read[self.problem.store_index(region)] += moved
        self.io_ns += ns

    def _kept_inputs(self) -> None:
        """Network inputs that are kept are loaded whole for the first operator that reads them."""
        for operand, (n, k, residence) in enumerate(self.work.outer()):
            name = self.layers[n].op.inputs[k]
            first = (
                self.known.fetches_kept(self.stage + n, name) and self.layers[n].op.inputs.index(name) == k
            )
            if residence == KEPT and first:
                size = stored_bytes(self.problem, name)
                figures = self.problem.buffer_bytes(size), self.known.read_ns(RegionName.INPUT, size), size
                self._load(operand, RegionName.INPUT, self.work.firsts[n], figures, 0)

    def _output(self) -> None:
        layer, problem = self.layers[-1], self.problem
        out, region = layer.output, self.known.region_of(layer.output.name)
        granule, element = problem.granule_bytes(region), out.dtype.size_bytes
        seal = problem.seal_bytes(region)
        for kernel, (rows, columns, channels), row in self.work.stored:
            payload = rows * columns * channels * element
            dense = payload + rows * seal
            self.table[STORE_SEAL, kernel] += crypto_ns(problem.target, rows, payload) if seal else 0
            narrow = columns < out.width
            size = dense if narrow else align_up(dense, granule)
            room = problem.buffer_bytes(align_up(dense, granule))
            ns = self.known.write_ns(region, size, rows if narrow else 1)
            self.table[NEED, kernel] += room
            self.table[STORE_BYTES : STORE_ROW + 1, kernel] = room, ns, row
            self._wrote(region, size, ns)
        if self.option.output == KEPT and problem.stored_at_end(out):
            size = stored_bytes(problem, out.name)
            ns = self.known.write_ns(RegionName.OUTPUT, size)
            self.table[STORE_NS, -1] = ns
            self._wrote(RegionName.OUTPUT, size, ns)

    def _wrote(self, region: RegionName, size: int, ns: int) -> None:
        self.written[self.problem.store_index(region)] += size
        self.io_ns += ns


def _numbers(ranges: tuple[tuple[int, int], ...]) -> Ints:
    """For each range, the position of the first that equals it."""
    known: dict[tuple[int, int], int] = {}
    return np.array([known.setdefault(r, i) for i, r in enumerate(ranges)], np.int64)


def _representatives(tiles: int) -> tuple[list[int], Ints]:
    """Tiles of an axis that stand for all of equal size (the last may be smaller), and which one each is like."""
    chosen = sorted({0, tiles - 1})
    like = np.zeros(tiles, np.int64)
    like[-1] = len(chosen) - 1
    return chosen, like
