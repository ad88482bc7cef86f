"""What one option makes of a stage, kernel by kernel: times, bytes, and loops folded up.

The figures follow `expansion` exactly but for fetched activations, whose transfers depend on
how the producer laid them out: there ``fetch`` is a lower estimate, and the items that may be
loaded ahead have lower estimates of their bytes and upper estimates of their time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.cost import (
    align_down,
    align_up,
    by_task,
    compute_ns,
    crypto_ns,
    read_ns,
    write_ns,
)
from ooc_solve.models.parts import is_kept
from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import CRYPTO, LoopOrder, Op, OpKind, RegionName, Tensor
from ooc_solve.models.weight_records import weight_record
from ooc_solve.solver.expansion import ACCUMULATOR_BYTES
from ooc_solve.solver.maxplus import Ints, Item
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.parts import rows_kept, width_of
from ooc_solve.solver.patchwork import Patchwork
from ooc_solve.solver.workspace import input_ranges

WEIGHTS = -1
"""Operand number of the weights; inputs are 0 and up. In ``Steps.ahead`` the weights of the operators behind
the first one of a fused stage count on downwards."""

ANNEX = -(1 << 16)
"""Likewise of weights that lie in the annex."""

HOMES = {WEIGHTS: RegionName.IMAGE, ANNEX: RegionName.ANNEX}
"""Where weights lie."""

Load = tuple[int, int, int, int, int, int, int]
"""Operand, least bytes and least ns; bytes, most ns and number of pieces that it may have in addition; ns of the
task that opens it, at most."""

Loads = dict[Load, int]
"""How many loads of each kind."""

Reaching = dict[tuple[int, Load], int]
"""How many loads of each kind that end with a row."""

NO_ROW = 1 << 30
"""Behind all rows."""

LATER, LAST_ROW, LAST, ALL = 0, 1, 2, 3
"""Place of a kernel: before the last round of the outer loop, in it, the very last; before all of them."""


@dataclass(frozen=True, slots=True, eq=False)
class Steps:
    """A stage as runs of equal kernels, in rows that are rounds of the outer loop.

    Arrays have an entry per run. ``compute_ns`` and, per channel (``(channels, runs)``),
    ``fetch_ns``, what a kernel has to wait for, and ``store_ns``, what it leaves to be stored;
    ``need_bytes``, its tile buffers; ``before_output``: a kept output does not exist yet;
    ``place``: `LATER`, `LAST_ROW` or `LAST`; ``first``: the very first; ``count``: its length.
    ``row_runs`` and ``row_count``: runs per row, and how often the row comes.
    ``instant``: the kernel itself takes no time; ``released``: one bit for each operand that neither the
    kernel nor a later one of the stage reads. ``cipher_ns`` says what of ``compute_ns`` are tasks of their own
    (``(3, runs)``): at least, what opens all loads of the kernel, what opens that of them which takes least, and what
    seals its tile. ``previous`` holds ``need_bytes``, ``before_output``,
    ``instant`` and ``released`` of the kernel before (of the stage; 0 for the first), and
    ``load_bytes`` and ``load_ns`` (``(operands, runs)``, inputs first, then what `StepCosts.homes` has)
    what is loaded for this one; ``open_ns``, alike, is the least time in which the CPU opens that by a task.

    ``ahead`` holds the loads that may still follow a kernel at each place, then all of them.
    ``stores`` are the tiles that the stage stores, ``sealed`` the same with the ns of the tasks that seal them.
    ``last_row`` is the first row of the tile that the very last kernel leaves to be stored, `NO_ROW` if it leaves none.
    ``reaching`` holds the fetches that span the last column of the last plane of what they read, with the row where
    they end.
    """

    compute_ns: Ints
    fetch_ns: Ints
    store_ns: Ints
    need_bytes: Ints
    before_output: NDArray[np.bool_]
    instant: NDArray[np.bool_]
    released: Ints
    previous: Ints
    load_bytes: Ints
    load_ns: Ints
    open_ns: Ints
    place: Ints
    first: NDArray[np.bool_]
    count: Ints
    row_runs: Ints
    row_count: Ints
    ahead: tuple[Loads, Loads, Loads, Loads]
    stores: tuple[Item, ...]
    cipher_ns: Ints
    last_row: int
    reaching: Reaching
    sealed: tuple[Item, ...] = ()


OPENING, LEAST_OPENING, SEALING = range(3)
"""Rows of ``Steps.cipher_ns``."""

NOT_FETCHED = -1
"""In place of the number of a tile that a kernel reads where it is kept."""

NOTHING_LOADED = 1 << 56
"""In `LEAST_OPENING` as long as no load is known."""


class StepCosts:
    """Steps of options of one problem. ``channels`` are the resources beside the CPU, a crypto ``engine`` last.

    What an engine opens is like a load on one more channel, what it seals like a store: it holds a buffer and
    a kernel waits for it. ``engine`` is -1 where the CPU does that. ``cipher`` is the number of what may be opened
    ahead or sealed late among the credits, which the CPU has behind the channels; -1 where nothing is sealed.
    ``movers`` are the channels that move something.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        names = dict.fromkeys(problem.resource_of(store) for store in problem.target.stores)
        self.read_ns = lru_cache(maxsize=1 << 16)(self._read_ns)
        self.write_ns = lru_cache(maxsize=1 << 16)(self._write_ns)
        self.channels = tuple(name for name in names if name != problem.compute_resource)
        self.movers = len(self.channels)
        self.cipher = -1 if problem.target.crypto is None else self.movers
        self.engine = -1
        if problem.target.engine is not None:
            self.engine = self.movers
            self.channels += (CRYPTO,)
        self.homes = {operand: region for operand, region in HOMES.items() if region in problem.regions}
        self.channel_of = cache(self._channel_of)

    def region_of(self, name: str) -> RegionName:
        """Where a spilled tensor lies."""
        network = self.problem.network
        if name in network.inputs:
            return RegionName.INPUT
        return RegionName.OUTPUT if name in network.outputs else RegionName.SCRATCH

    def _channel_of(self, region: RegionName) -> int:
        """Number of the channel that moves a region, -1 for the CPU."""
        store = self.problem.target.stores[self.problem.store_index(region)]
        name = self.problem.resource_of(store)
        return self.channels.index(name) if name in self.channels else -1

    def _read_ns(self, region: RegionName, size: int, segments: int = 1) -> int:
        """Time of a load."""
        store = self.problem.target.stores[self.problem.store_index(region)]
        return read_ns(self.problem.target, store, size, segments)

    def steady(self, region: RegionName) -> bool:
        """Whether each byte more of a load takes the same time."""
        store = self.problem.target.stores[self.problem.store_index(region)]
        return store.storage.read.max_burst_bytes is None

    def _write_ns(self, region: RegionName, size: int, segments: int = 1) -> int:
        """Time of a store."""
        store = self.problem.target.stores[self.problem.store_index(region)]
        return write_ns(self.problem.target, store, size, segments)

    def opening_ns(self, region: RegionName, tensor: Tensor, rows: int, width: int) -> int:
        """Least time to open so many whole rows of a plane, 0 where they are not sealed."""
        payload = rows * tensor.width * width * tensor.dtype.size_bytes
        return crypto_ns(self.problem.target, rows, payload) if self.problem.seal_bytes(region) else 0

    def record_rows(self, name: str, width: int, rows: int) -> int:
        """Rows per record of a spilled tensor if transfers depend on them, else 0.

        ``width`` and ``rows`` are channels per plane and the rows of its producer's tiles. Where
        rows are whole granules, every box starts and ends on one; network inputs are one record.
        """
        tensor, width = self.problem.network.tensors[name], width_of(width)
        region = self.region_of(name)
        granule, seal = self.problem.granule_bytes(region), self.problem.seal_bytes(region)
        row = tensor.width * width * tensor.dtype.size_bytes + seal
        last = tensor.width * (tensor.channels % width) * tensor.dtype.size_bytes + seal
        if name in self.problem.network.inputs or (row % granule == 0 and last % granule == 0):
            return 0
        return rows

    def row_of(self, operand: int, inputs: int) -> int:
        """Row of ``Steps.load_bytes`` of an operand of a stage with so many inputs."""
        return operand if operand >= 0 else inputs + list(self.homes).index(operand)

    def steps(self, ops: Sequence[Op], option: Option, records: tuple[int, ...] = ()) -> Steps:
        """The steps of one option of some operators, for given `record_rows` of its inputs (none: any)."""
        if len(ops) > 1:
            return _FusedStage(self, ops, option, records).run()
        return _Stage(self, ops[0], option, records).run()

    def laid_out(
        self, k: int, region: RegionName, tensor: Tensor, record: int, rows: tuple[int, int], width: int
    ) -> tuple[int, int, Load]:
        """Buffer bytes and ns of whole rows of a plane in records of so many rows, and its kind of load."""
        granule = self.problem.granule_bytes(region)
        row = tensor.width * width * tensor.dtype.size_bytes + self.problem.seal_bytes(region)
        pitch = align_up(record * row, granule)
        first, last = (r // record * pitch + r % record * row for r in (rows[0], rows[1] - 1))
        size = align_up(last + row, granule) - align_down(first, granule)
        room, ns = self.problem.buffer_bytes(size), self.read_ns(region, size)
        opened = self._most_opening_ns(region, tensor, rows[1] - rows[0], width)
        return room, ns, (k, room, ns, 0, 0, 0, opened)

    def _most_opening_ns(self, region: RegionName, tensor: Tensor, rows: int, width: int) -> int:
        """Most time of the task that opens a box: also the rows beside it that lie whole in its granules."""
        row = tensor.width * width * tensor.dtype.size_bytes + self.problem.seal_bytes(region)
        beside = 2 * ((self.problem.granule_bytes(region) - 1) // row)
        return self.opening_ns(region, tensor, min(rows + beside, tensor.height), width)

    def fetched(
        self, k: int, region: RegionName, tensor: Tensor, rows: int, columns: int, width: int
    ) -> tuple[int, int, Load]:
        """Least buffer bytes and least ns of a fetched box, and its kind of load.

        Where rows do not start on granules, a box may begin inside one, and every record that
        it spans may end with padding: at most the granules that the rows take one by one, and
        one more.
        """
        granule = self.problem.granule_bytes(region)
        pixel = width * tensor.dtype.size_bytes
        if columns == tensor.width:
            row, segments = columns * pixel + self.problem.seal_bytes(region), 1
            segment = align_up(rows * row, granule)
            worst = segment if row % granule == 0 else rows * align_up(row, granule) + granule
        else:
            segment, segments = align_up(columns * pixel, granule), rows
            worst = segment if columns * pixel % granule == 0 and pixel % granule == 0 else segment + granule
        least = self.read_ns(region, segment * segments, segments)
        size = segment * segments
        room = self.problem.buffer_bytes(size)
        extra = self.read_ns(region, worst * segments, segments) - least
        opened = self._most_opening_ns(region, tensor, rows, width)
        if not extra:
            return room, least, (k, room, least, 0, 0, 0, opened)
        pieces = (worst - segment) // granule if self.steady(region) else 1
        # times are rounded up to whole ns: one for the pieces together, one for their share
        each = extra if pieces == 1 else -(-extra // pieces) + 2
        return room, least, (k, size, least, granule, each, pieces, opened)


@dataclass(frozen=True, slots=True)
class _Axes:
    """Index of each kernel along rows, columns, groups and splits, in execution order."""

    row: Ints
    column: Ints
    group: Ints
    split: Ints
    inner: int  # kernels per round of the outer loop

    @classmethod
    def of(cls, geometry: StageGeometry) -> _Axes:
        rows, columns, groups, splits = geometry.grid
        if geometry.tiling.loop is LoopOrder.WEIGHTS_OUTER:
            group, row, column, split = np.indices((groups, rows, columns, splits)).reshape(4, -1)
            return cls(row, column, group, split, rows * columns * splits)
        row, group, column, split = np.indices((rows, groups, columns, splits)).reshape(4, -1)
        return cls(row, column, group, split, groups * columns * splits)


def _tiles(total: int, tile: int) -> Ints:
    """Sizes of the tiles that cover ``total``."""
    starts = np.arange(0, total, tile, dtype=np.int64)
    return np.minimum(tile, total - starts)


class _Stage:
    """Walks one stage; an instance per option."""

    def __init__(self, costs: StepCosts, op: Op, option: Option, records: tuple[int, ...]) -> None:
        self.records = records
        self.costs, self.op, self.option, self.problem = costs, op, option, costs.problem
        self.geometry = StageGeometry.of(self.problem.network, op, option.tiling)
        self.axes = _Axes.of(self.geometry)
        self.n = len(self.axes.row)
        tiling, out = option.tiling, self.geometry.output
        self.rows = _tiles(out.height, tiling.rows)
        self.columns = _tiles(out.width, tiling.columns)
        self.groups = _tiles(out.channels, tiling.channels)
        conv = op.kind is OpKind.CONV
        self.splits = _tiles(self.geometry.split_range, tiling.split) if conv else np.ones(1, np.int64)
        channels = len(costs.channels)
        self.compute = np.zeros(self.n, np.int64)
        self.fetch = np.zeros((channels, self.n), np.int64)
        self.store = np.zeros((channels, self.n), np.int64)
        self.need = np.zeros(self.n, np.int64)
        operands = len(option.inputs) + len(costs.homes)
        self.load_bytes = np.zeros((operands, self.n), np.int64)
        self.load_ns = np.zeros((operands, self.n), np.int64)
        self.open_ns = np.zeros((operands, self.n), np.int64)
        self.instant = np.zeros(self.n, np.int64)
        self.released = np.zeros(self.n, np.int64)
        self.loads: list[tuple[Ints, Ints, list[Load]]] = []  # at which kernels, their kinds, the kinds
        self.stores: tuple[Item, ...] = ()
        self.sealed: tuple[Item, ...] = ()
        self.last_row = NO_ROW
        self.reaching: Counter[tuple[int, Load]] = Counter()
        self.cipher = _no_cipher(self.n)

    def run(self) -> Steps:
        self._kernels()
        for k, residence in enumerate(self.option.inputs):
            if residence != KEPT:
                self._input(k, residence)
        if self.geometry.loads_weights:
            self._weights()
        self._results()
        return self._folded()

    # ------------------------------------------------------------------- per kernel

    def _by_size(self, sizes: tuple[Ints, ...], at: tuple[Ints, ...]) -> tuple[list[tuple[int, ...]], Ints]:
        """Distinct combinations of sizes along some axes, and which of them each kernel has."""
        kinds: list[tuple[int, ...]] = [()]
        which = np.zeros(self.n, np.int64)
        for axis, index in zip(sizes, at, strict=True):
            values, inverse = np.unique(axis, return_inverse=True)
            kinds = [(*kind, int(value)) for kind in kinds for value in values]
            which = which * len(values) + inverse.reshape(-1)[index]
        return kinds, which

    def _kernels(self) -> None:
        a, geometry = self.axes, self.geometry
        kinds, which = self._by_size(
            (self.rows, self.columns, self.groups, self.splits), (a.row, a.column, a.group, a.split)
        )
        times = [compute_ns(self.problem.target, geometry.work(*sizes)) for sizes in kinds]
        self.compute += np.array(times, np.int64)[which]
        self.instant += self.compute == 0

    def _results(self) -> None:
        """Partial sums, the output tile, and its store."""
        a, tensor, last = self.axes, self.geometry.output, len(self.splits) - 1
        element = tensor.dtype.size_bytes
        kinds, which = self._by_size((self.rows, self.columns, self.groups), (a.row, a.column, a.group))
        complete = a.split == last
        if last:
            sums = [self.problem.buffer_bytes(r * c * g * ACCUMULATOR_BYTES) for r, c, g in kinds]
            self.need += np.array(sums, np.int64)[which]
        if self.option.output == KEPT:
            if self.option.tiling.in_place:
                self.need -= self.problem.buffer_bytes(tensor.size_bytes)
            if self.problem.stored_at_end(tensor):
                granule = self.problem.granule_bytes(RegionName.OUTPUT)
                size = align_up(tensor.size_bytes, granule)
                ns = self.costs.write_ns(RegionName.OUTPUT, size)
                self._add_store(RegionName.OUTPUT, np.array([self.n - 1]), np.array([ns], np.int64))
            return
        region = self.costs.region_of(tensor.name)
        granule = self.problem.granule_bytes(region)
        narrow = self.option.tiling.columns < tensor.width
        room, moved, sealing = [], [], []
        for rows, columns, groups in kinds:
            seal, payload = self.problem.seal_bytes(region), rows * columns * groups * element
            size = payload + rows * seal
            sealing.append(crypto_ns(self.problem.target, rows, payload) if seal else 0)
            room.append(self.problem.buffer_bytes(align_up(size, granule)))
            moved.append(
                self.costs.write_ns(
                    region, size if narrow else align_up(size, granule), rows if narrow else 1
                )
            )
        ends, tiling = (a.row + 1) * self.option.tiling.rows, self.option.tiling
        kinds_kept = ends <= tiling.kept_rows  # these are no buffers of their own
        which, room = which + len(kinds) * kinds_kept, [*room, *(0 for _ in kinds)]
        moved, sealing = 2 * moved, 2 * sealing
        tiles = np.flatnonzero(complete & (np.minimum(ends, tensor.height) > tiling.stored_from))
        self.need[tiles] += np.array(room, np.int64)[which[tiles]]
        sealed = np.array(sealing, np.int64)[which[tiles]]
        if self.costs.engine < 0:
            self.compute[tiles] += sealed
            self.cipher[SEALING, tiles] += sealed
        else:
            self.store[self.costs.engine, tiles] += sealed
        self._add_store(region, tiles, np.array(moved, np.int64)[which[tiles]])
        self.last_row = int(a.row[-1]) * tiling.rows
        many = np.bincount(which[tiles], minlength=len(room))
        self.stores = tuple((r, m, int(n)) for r, m, n in zip(room, moved, many, strict=True) if n)
        if self.costs.cipher >= 0:
            self.sealed = tuple((r, s, int(n)) for r, s, n in zip(room, sealing, many, strict=True) if n)

    def _add_store(self, region: RegionName, at: Ints, ns: Ints) -> None:
        channel = self.costs.channel_of(region)
        if channel < 0:  # without DMA the CPU moves the bytes
            self.compute[at] += ns
        else:
            self.store[channel, at] += ns

    # ------------------------------------------------------------------------- loads

    def _open(self, operand: int, kernels: Ints, opening: Ints) -> None:
        """Have records of an operand checked or opened before kernels."""
        if self.costs.engine < 0:
            self.compute[kernels] += opening
            if self.costs.cipher >= 0:
                self.open_ns[self.costs.row_of(operand, len(self.option.inputs)), kernels] = opening
                self.cipher[OPENING, kernels] += opening
                self.cipher[LEAST_OPENING, kernels] = np.minimum(self.cipher[LEAST_OPENING, kernels], opening)
        else:
            self.fetch[self.costs.engine, kernels] += opening

    def _input(self, k: int, residence: int) -> None:
        a, tensor = self.axes, self.geometry.inputs[k]
        kept_rows, residence = rows_kept(residence), width_of(residence)
        row_ranges, column_ranges = input_ranges(self.geometry, k)
        planes = 1 if residence >= tensor.channels else -(-tensor.channels // residence)
        plane = np.zeros(self.n, np.int64)
        if planes > 1:
            plane = a.split if self.op.kind is OpKind.CONV else a.group
        widths = _tiles(tensor.channels, residence)
        heights = np.array([high - low for low, high in row_ranges], np.int64)
        spans = np.array([high - low for low, high in column_ranges], np.int64)
        row_id, column_id = _numbered(row_ranges), _numbered(column_ranges)
        whole = self.op.needs_whole_tensors
        at_row, at_column = (np.zeros(self.n, np.int64),) * 2 if whole else (a.row, a.column)
        key = (plane * len(row_ranges) + row_id[at_row]) * len(column_ranges) + column_id[at_column]
        kept = np.array([is_kept(rows, kept_rows) for rows in row_ranges])[at_row]
        key = np.where(kept, NOT_FETCHED, key)
        if kept.any():
            self.released[np.flatnonzero(kept)[-1] + 1 :] |= 1 << k
        region = self.costs.region_of(tensor.name)
        rows = tensor.height if tensor.name in self.problem.network.inputs else 0
        rows = self.records[k] if self.records and not rows else rows
        if rows and not whole and (spans == tensor.width).all():
            kinds, which = self._by_size((row_id, widths), (at_row, plane))
            of_row = dict(zip(row_id.tolist(), row_ranges, strict=True))
            figures = [self.costs.laid_out(k, region, tensor, rows, of_row[r], width) for r, width in kinds]
        else:
            kinds, which = self._by_size((heights, spans, widths), (at_row, at_column, plane))
            figures = [self.costs.fetched(k, region, tensor, *kind) for kind in kinds]
        starts = self._fetch(region, key, which, figures, self.option.tiling.hold_inputs)
        highs = np.array(row_ranges, np.int64)[at_row[starts], 1]
        ends = np.array(column_ranges, np.int64)[at_column[starts], 1]
        to_end = (ends == tensor.width) & (plane[starts] == planes - 1)
        rows_and_kinds = zip(highs[to_end].tolist(), which[starts][to_end].tolist(), strict=True)
        self.reaching.update((row, figures[kind][2]) for row, kind in rows_and_kinds)
        if self.costs.cipher >= 0:
            plane_heights, widths_now = heights[at_row], widths[plane]
            sizes = zip(plane_heights[starts].tolist(), widths_now[starts].tolist(), strict=True)
            opening = [self.costs.opening_ns(region, tensor, *size) for size in sizes]
            self._open(k, starts, np.array(opening, np.int64))

    def _weights(self) -> None:
        a, geometry, operand = self.axes, self.geometry, weights_of(self.geometry)
        final = (np.arange(len(self.splits)) == len(self.splits) - 1).astype(np.int64)
        group_of = np.unique(self.groups, return_index=True, return_inverse=True)
        split_of = np.unique(self.splits * 2 + final, return_index=True, return_inverse=True)
        figures, checks = [], []
        for group in group_of[1]:
            for split in split_of[1]:
                record = weight_record(self.problem, geometry, (0, 0, int(group), int(split)))
                ns, room = self.costs.read_ns(HOMES[operand], record.size_bytes), record.room_bytes
                checks.append(record.check_ns)
                opened = by_task(self.problem.target, record.check_ns)
                figures.append((room, ns, (operand, room, ns, 0, 0, 0, opened)))
        which = group_of[2].reshape(-1)[a.group] * len(split_of[1]) + split_of[2].reshape(-1)[a.split]
        shared = geometry.weight_key((0, 0, 1, 1)) == (0, 0)
        key = np.zeros(self.n, np.int64) if shared else a.group * len(self.splits) + a.split
        starts = self._fetch(HOMES[operand], key, which, figures, self.option.tiling.hold_weights)
        self._open(operand, starts, np.array(checks, np.int64)[which[starts]])

    def _fetch(
        self, region: RegionName, key: Ints, which: Ints, figures: list[tuple[int, int, Load]], hold: bool
    ) -> Ints:
        """Account for the tiles of one operand; return where they are loaded: where the key is new."""
        room = np.where(key == NOT_FETCHED, 0, np.array([figure[0] for figure in figures], np.int64)[which])
        if hold:
            _, starts = np.unique(key, return_index=True)
            _, back = np.unique(key[::-1], return_index=True)
            change = np.zeros(self.n + 1, np.int64)
            np.add.at(change, starts, room[starts])
            np.add.at(change, self.n - back, -room[starts])
            self.need += np.cumsum(change)[:-1]
            starts = np.sort(starts)
        else:
            starts = np.flatnonzero(np.concatenate(([True], key[1:] != key[:-1])))
            self.need += room
        starts = np.compress(key[starts] != NOT_FETCHED, starts)
        ns = np.array([figure[1] for figure in figures], np.int64)[which[starts]]
        channel = self.costs.channel_of(region)
        if channel < 0:
            self.compute[starts] += ns
        else:
            self.fetch[channel, starts] += ns
        row = self.costs.row_of(figures[0][2][0], len(self.option.inputs))
        self.load_bytes[row, starts] = room[starts]
        self.load_ns[row, starts] = ns
        self.loads.append((starts, which[starts], [figure[2] for figure in figures]))
        return starts

    def loads_from(self, kernel: int) -> Loads:
        """Kinds of loads that kernels from this one on wait for."""
        found: Counter[Load] = Counter()
        for starts, which, kinds in self.loads:
            left = which[np.searchsorted(starts, kernel) :]
            for kind, many in enumerate(np.bincount(left, minlength=len(kinds))):
                if many:
                    found[kinds[kind]] += int(many)
        return dict(found)

    # ----------------------------------------------------------------------- folding

    def _folded(self) -> Steps:
        n, inner = self.n, self.axes.inner
        rounds = n // inner
        place = np.full(n, LATER, np.int64)
        place[-inner:] = LAST_ROW
        place[-1] = LAST
        absent = np.zeros(n, np.int64)
        if self.option.output == KEPT or rows_kept(self.option.output):
            absent[: len(self.splits) - 1] = 1  # during the first partial sums
        figures = _Figures.of(self, place, absent, self.instant, self.released)
        fresh, begins = np.ones(rounds, bool), np.ones(n, bool)
        fresh[1:] = figures.changes(inner).reshape(rounds - 1, inner).any(axis=1)
        begins[1:] = figures.changes(1)
        begins[::inner] = True
        kept = np.flatnonzero(fresh)
        runs = np.flatnonzero(begins.reshape(rounds, inner)[kept])  # among the kernels of the rounds kept
        loops = _Loops(
            count=np.diff(np.append(runs, len(kept) * inner)),
            row_runs=np.bincount(runs // inner, minlength=len(kept)),
            row_count=np.diff(np.append(kept, rounds)),
        )
        return figures.of_kernels(kept[runs // inner] * inner + runs % inner).steps(
            self, loops, n - inner, self.stores, self.sealed
        )


class _FusedStage:
    """Makes the steps of a fused stage of its kernels; a row is a patch."""

    def __init__(self, costs: StepCosts, ops: Sequence[Op], option: Option, records: tuple[int, ...]) -> None:
        self.costs, self.problem, self.option, self.records = costs, costs.problem, option, records
        pairs = zip(ops, option.tilings, strict=True)
        self.layers = [StageGeometry.of(costs.problem.network, op, tiling) for op, tiling in pairs]
        self.work = Patchwork(costs.problem, self.layers, option, lambda *box: self._load(*box)[0])
        channels, n = len(costs.channels), self.work.kernels
        self.compute = self.work.compute_ns.copy()
        self.fetch, self.store = np.zeros((channels, n), np.int64), np.zeros((channels, n), np.int64)
        operands = len(option.inputs) + len(costs.homes)
        self.load_bytes, self.load_ns = np.zeros((operands, n), np.int64), np.zeros((operands, n), np.int64)
        self.open_ns = np.zeros((operands, n), np.int64)
        self.need = self.work.need_bytes
        self.loads: list[tuple[int, Load]] = []
        self.rooms: Counter[tuple[int, int]] = Counter()
        self.sealed: Counter[tuple[int, int]] = Counter()
        self.last_row = NO_ROW
        self.reaching: Counter[tuple[int, Load]] = Counter()
        self.cipher = _no_cipher(n)

    def run(self) -> Steps:
        """The steps."""
        instant = self.compute == 0
        tensors = [self.layers[n].inputs[k] for n, k, _ in self.work.outer()]
        for fetch in self.work.fetches:
            if fetch.record is not None:
                room, opening = fetch.record.room_bytes, fetch.record.check_ns
                operand = weights_of(self.layers[fetch.place])
                ns = self.costs.read_ns(HOMES[operand], fetch.record.size_bytes)
                self._enter(fetch.kernel, operand, HOMES[operand], (room, ns))
                self._open(fetch.kernel, operand, opening)
                opened = by_task(self.problem.target, opening)
                self.loads.append((fetch.kernel, (operand - fetch.place, room, ns, 0, 0, 0, opened)))
            else:
                tensor = tensors[fetch.operand]
                room, ns, load = self._load(fetch.operand, tensor, fetch.rows, fetch.columns)
                region = self.costs.region_of(tensor.name)
                self._enter(fetch.kernel, fetch.operand, region, (room, ns))
                high = fetch.rows[1] - fetch.rows[0]
                opening = self.costs.opening_ns(region, tensor, high, tensor.channels)
                self._open(fetch.kernel, fetch.operand, opening)
                self.loads.append((fetch.kernel, load))
                if fetch.columns[1] == tensor.width:
                    self.reaching[fetch.rows[1], load] += 1
        self._results()
        return self._folded(instant)

    def _load(
        self, operand: int, tensor: Tensor, rows: tuple[int, int], columns: tuple[int, int]
    ) -> tuple[int, int, Load]:
        """Least buffer bytes and ns of a fetched box, and its kind of load."""
        region, whole = self.costs.region_of(tensor.name), columns == (0, tensor.width)
        record = tensor.height if tensor.name in self.problem.network.inputs else 0
        record = self.records[operand] if self.records and not record else record
        if record and whole:
            return self.costs.laid_out(operand, region, tensor, record, rows, tensor.channels)
        high, wide = rows[1] - rows[0], columns[1] - columns[0]
        return self.costs.fetched(operand, region, tensor, high, wide, tensor.channels)

    def _open(self, kernel: int, operand: int, opening: int) -> None:
        """Have records of an operand checked or opened before a kernel."""
        if self.costs.engine < 0:
            self.compute[kernel] += opening
            if self.costs.cipher >= 0:
                self.open_ns[self.costs.row_of(operand, len(self.option.inputs)), kernel] = opening
                self.cipher[OPENING, kernel] += opening
                self.cipher[LEAST_OPENING, kernel] = min(self.cipher[LEAST_OPENING, kernel], opening)
        else:
            self.fetch[self.costs.engine, kernel] += opening

    def _enter(self, kernel: int, operand: int, region: RegionName, figures: tuple[int, int]) -> None:
        """A load right before a kernel."""
        channel = self.costs.channel_of(region)
        if channel < 0:  # without DMA the CPU moves the bytes
            self.compute[kernel] += figures[1]
        else:
            self.fetch[channel, kernel] += figures[1]
        row = self.costs.row_of(operand, len(self.option.inputs))
        self.load_bytes[row, kernel], self.load_ns[row, kernel] = figures

    def _results(self) -> None:
        """Tiles that are stored, or the whole output at the end."""
        out, problem = self.layers[-1].output, self.problem
        region = self.costs.region_of(out.name)
        granule = problem.granule_bytes(region)
        for kernel, (rows, columns, channels), row in self.work.stored:
            if kernel == self.work.kernels - 1:
                self.last_row = row
            narrow = columns < out.width
            payload, seal = rows * columns * channels * out.dtype.size_bytes, problem.seal_bytes(region)
            dense = payload + rows * seal
            sealing = crypto_ns(problem.target, rows, payload) if seal else 0
            if self.costs.engine < 0:
                self.compute[kernel] += sealing
                self.cipher[SEALING, kernel] += sealing
            else:
                self.store[self.costs.engine, kernel] += sealing
            size = dense if narrow else align_up(dense, granule)
            room = problem.buffer_bytes(align_up(dense, granule))
            ns = self.costs.write_ns(region, size, rows if narrow else 1)
            self.need[kernel] += room
            self.rooms[room, ns] += 1
            self.sealed[room, sealing] += self.costs.cipher >= 0
            self._leave(kernel, region, ns)
        if self.option.output == KEPT and problem.stored_at_end(out):
            size = align_up(out.size_bytes, problem.granule_bytes(RegionName.OUTPUT))
            self._leave(-1, RegionName.OUTPUT, self.costs.write_ns(RegionName.OUTPUT, size))

    def _leave(self, kernel: int, region: RegionName, ns: int) -> None:
        channel = self.costs.channel_of(region)
        if channel < 0:
            self.compute[kernel] += ns
        else:
            self.store[channel, kernel] += ns

    def loads_from(self, kernel: int) -> Loads:
        """Kinds of loads that kernels from this one on wait for."""
        return dict(Counter(load for at, load in self.loads if at >= kernel))

    def _folded(self, instant: NDArray[np.bool_]) -> Steps:
        n, last_row = self.work.kernels, self.work.starts[-1]
        place = np.full(n, LATER, np.int64)
        place[last_row:] = LAST_ROW
        place[-1] = LAST
        absent = np.zeros(n, np.int64)
        if self.option.output == KEPT:
            absent[: self.work.firsts[-1]] = 1
        released = np.zeros(n, np.int64)
        for operand, kernel in enumerate(self.work.released):
            released[kernel:] |= 1 << operand
        figures = _Figures.of(self, place, absent, instant.astype(np.int64), released)
        table = np.vstack(figures)
        begins = np.concatenate(([True], figures.changes(1)))
        begins[self.work.starts] = True
        kept: list[tuple[int, int]] = []
        many: list[int] = []
        for row in pairwise([*self.work.starts, n]):
            if kept and np.array_equal(table[:, slice(*kept[-1])], table[:, slice(*row)]):
                many[-1] += 1
            else:
                kept.append(row)
                many.append(1)
        kernels = np.concatenate([np.arange(*row) for row in kept])
        runs = np.flatnonzero(begins[kernels])
        loops = _Loops(
            count=np.diff(np.append(runs, len(kernels))),
            row_runs=np.array([begins[a:b].sum() for a, b in kept], np.int64),
            row_count=np.array(many, np.int64),
        )
        stores, sealed = (
            tuple((room, ns, many) for (room, ns), many in sorted(tiles.items()) if many)
            for tiles in (self.rooms, self.sealed)
        )
        return figures.of_kernels(kernels[runs]).steps(self, loops, last_row, stores, sealed)


@dataclass(frozen=True, slots=True, eq=False)
class _Loops:
    """How runs of equal kernels make up rows: `Steps` has the same."""

    count: Ints
    row_runs: Ints
    row_count: Ints


class _Figures(NamedTuple):
    """What is known of each kernel, a column each: rows of `Steps` before runs of equal kernels are folded up."""

    compute: Ints
    place: Ints
    first: Ints
    now: Ints
    previous: Ints
    fetch: Ints
    store: Ints
    load_bytes: Ints
    load_ns: Ints
    open_ns: Ints
    cipher: Ints

    @classmethod
    def of(
        cls, stage: _Stage | _FusedStage, place: Ints, absent: Ints, instant: Ints, released: Ints
    ) -> _Figures:
        """Those of a stage."""
        first = np.zeros_like(place)
        first[0] = 1
        now = np.vstack((stage.need, absent, instant, released))
        previous = np.hstack((np.zeros((len(now), 1), np.int64), now[:, :-1]))
        rows = (
            *map(np.atleast_2d, (stage.compute, place, first)),
            now, previous, stage.fetch, stage.store, stage.load_bytes, stage.load_ns, stage.open_ns, stage.cipher,
        )  # fmt: skip
        return cls(*rows)

    def changes(self, step: int) -> NDArray[np.bool_]:
        """Whether each kernel but the first ``step`` differs in any figure from the one so many before it."""
        found = np.zeros(self.place.shape[1] - step, bool)
        for part in self:
            found |= (part[:, step:] != part[:, :-step]).any(axis=0)
        return found

    def of_kernels(self, kernels: Ints) -> _Figures:
        """Those of some of the kernels."""
        return _Figures(*(part[:, kernels] for part in self))

    def steps(
        self,
        stage: _Stage | _FusedStage,
        loops: _Loops,
        last_row: int,
        stores: tuple[Item, ...],
        sealed: tuple[Item, ...],
    ) -> Steps:
        """Steps of a stage whose runs have these figures; ``last_row`` is the first kernel of its last row."""
        loads_from = stage.loads_from
        return Steps(
            compute_ns=self.compute[0], fetch_ns=self.fetch, store_ns=self.store, need_bytes=self.now[0],
            before_output=self.now[1] > 0, instant=self.now[2] > 0, released=self.now[3], previous=self.previous,
            load_bytes=self.load_bytes, load_ns=self.load_ns, open_ns=self.open_ns, place=self.place[0],
            first=self.first[0] > 0, count=loops.count, row_runs=loops.row_runs, row_count=loops.row_count,
            ahead=(loads_from(1), loads_from(max(1, last_row + 1)), {}, loads_from(0)),
            stores=stores, sealed=sealed, cipher_ns=_known(self.cipher), last_row=stage.last_row,
            reaching=dict(stage.reaching),
        )  # fmt: skip


def _no_cipher(kernels: int) -> Ints:
    """``Steps.cipher_ns`` of kernels that load and store nothing."""
    return np.repeat(np.array([[0], [NOTHING_LOADED], [0]], np.int64), kernels, axis=1)


def _known(cipher: Ints) -> Ints:
    """``Steps.cipher_ns`` once all loads are known: where there are none, the least of them takes no time."""
    cipher[LEAST_OPENING] = np.minimum(cipher[LEAST_OPENING], cipher[OPENING])
    return cipher


def weights_of(layer: StageGeometry) -> int:
    """Operand number of the weights of an operator: `WEIGHTS` or `ANNEX`."""
    return ANNEX if layer.tiling.annex else WEIGHTS


def _numbered(ranges: tuple[tuple[int, int], ...]) -> Ints:
    """A number for each range, the same for equal ones."""
    known: dict[tuple[int, int], int] = {}
    return np.array([known.setdefault(r, len(known)) for r in ranges], np.int64)
