"""The ways a stage may be cut, each with what it costs: the space that level one chooses from.

All figures are lower estimates of what the expanded tasks cost (alignment at the heads of
fetched stripes and padding between records are left out), so a minimum over options bounds
every plan that uses them.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache
from math import lcm
from typing import Any, NamedTuple

from ooc_solve.models.cost import (
    align_up,
    by_task,
    compute_ns,
    crypto_ns,
    on_cpu,
    on_engine,
    read_ns,
    write_ns,
)
from ooc_solve.models.energy import Rates, erased_bytes
from ooc_solve.models.in_place import replaceable
from ooc_solve.models.npu import is_crowded, ways
from ooc_solve.models.parts import is_kept, makes_part, reads_part
from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StageGeometry, TileIndex, tile_count
from ooc_solve.models.vocabulary import (
    CRYPTO,
    LoopOrder,
    Network,
    Op,
    OpKind,
    RegionName,
    Store,
    Tensor,
    Tiling,
)
from ooc_solve.models.weight_records import WeightRecord, weight_record
from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.expansion import ACCUMULATOR_BYTES
from ooc_solve.solver.parts import offered_parts, part_bytes, rows_kept, stored_from, width_of
from ooc_solve.solver.tile_sizes import sizes, spread
from ooc_solve.solver.workspace import Ranges, Workspace, distinct, input_ranges

KEPT = 0
"""Residence of a tensor that stays in SRAM; any other value is its plane width in storage, or one of `parts`."""

MAX_WIDTHS = 5
"""Plane widths offered for one tensor."""

MAX_TILES = 6000
"""Tilings of a stage into more tiles than this are left out while a coarser one exists."""


@dataclass(frozen=True, slots=True)
class Option:
    """One way to carry out one stage for given residences of its tensors.

    ``tilings`` has one tiling per operator: a stage that begins with some operator may be fused with
    the next ones. ``inputs`` has a residence per operand made outside of the stage (`fused.operands`).
    ``inputs`` and ``output`` are residences: `KEPT`, channels per plane in storage, or one of `parts`.
    ``need_bytes`` is the workspace beside kept tensors when nothing overlaps, less an output that lies
    where a kept input did, so that both are kept and take their bytes once; ``firm_bytes``
    the largest tiles of all kinds together when every fetched stripe starts and ends
    anywhere in its granules;
    ``ahead_bytes`` is what a second set of fetched tiles would take. ``io_ns`` is transfer
    time per resource. ``largest_bytes`` is the largest single buffer beside kept tensors,
    ``storage_pj`` the energy of all transfers (`models.energy`).
    ``compute_ns`` is all that the CPU does, ``cipher_ns`` what of it are tasks of their own, which open and seal.
    ``resident_bytes`` of an NPU's weight memory have its weights for the whole run, ``loaded_bytes`` at most those of
    one tile; 0 where that memory has room for all weights.
    """

    tilings: tuple[Tiling, ...]
    inputs: tuple[int, ...]
    output: int
    need_bytes: int
    firm_bytes: int
    ahead_bytes: int
    compute_ns: int
    io_ns: tuple[tuple[str, int], ...]
    first_ns: int
    last_ns: int
    bytes_read: int
    bytes_written: int
    tasks: int
    largest_bytes: int
    storage_pj: int = 0
    cipher_ns: int = 0
    resident_bytes: int = 0
    loaded_bytes: int = 0

    @property
    def kernels_ns(self) -> int:
        """Time of the kernels, which follow each other."""
        return self.compute_ns - self.cipher_ns

    @property
    def tiling(self) -> Tiling:
        """Tiling of the last operator, the one whose output leaves the stage."""
        return self.tilings[-1]

    @property
    def operators(self) -> int:
        """Number of operators of the stage."""
        return len(self.tilings)

    @property
    def total_io_ns(self) -> int:
        """Transfer time on all channels together."""
        return sum(ns for _, ns in self.io_ns)


@lru_cache(maxsize=16)
def _costs_of(full: Problem) -> OptionCosts:
    return OptionCosts(full)


def stored_bytes(problem: Problem, name: str) -> int:
    """Bytes of a kept tensor: whole granules where storage holds it before or after the run."""
    tensor, size = problem.network.tensors[name], problem.network.tensors[name].size_bytes
    if problem.in_storage_at_start(tensor):
        return align_up(size, problem.granule_bytes(RegionName.INPUT))
    if problem.stored_at_end(tensor):
        return align_up(size, problem.granule_bytes(RegionName.OUTPUT))
    return size


def costs_of(problem: Problem) -> OptionCosts:
    """The costs that a problem shares with the same problem under other budgets and objectives."""
    usable = problem.target.board.usable_bytes
    return _costs_of(replace(problem.bare, sram_bytes=usable))


def residences(problem: Problem, arena: int) -> dict[str, tuple[int, ...]]:
    """Residences that each tensor may have; `KEPT` always comes first.

    Narrower planes are offered only while the wider ones are large for the arena: where
    the producer's weights for a whole plane, or a few rows of it, take a quarter of it.
    Operators that keep channels apart hand the planes of their inputs on.
    """
    network = problem.network
    found: dict[str, tuple[int, ...]] = {}
    for name in network.inputs:
        spilled = name not in problem.pinned and problem.target.activations is not None
        found[name] = (KEPT, network.tensors[name].channels) if spilled else (KEPT,)
    for op in network.ops:
        name = op.output
        if name in problem.pinned or problem.target.activations is None:
            found[name] = (KEPT,)
            continue
        widths = _plane_widths(problem, op, arena)
        if not op.mixes_channels:
            widths |= {w for n in op.inputs for w in map(width_of, found[n]) if w != KEPT}
        row = network.tensors[name].width * network.tensors[name].dtype.size_bytes
        fitting = sorted({w for w in widths if row * w <= arena // 2} or {min(widths)}, reverse=True)
        offered = spread(fitting, MAX_WIDTHS)
        found[name] = (KEPT, *offered, *offered_parts(problem, op, offered, arena))
    return found


def _plane_widths(problem: Problem, op: Op, arena: int) -> set[int]:
    network = problem.network
    tensor = network.tensors[op.output]
    channels = network.tensors[op.inputs[0]].channels
    width = tensor.channels
    widths = {width}
    if op.takes_whole_pixels or op.needs_whole_tensors:
        return widths
    high = max(4, min(tensor.height, _highest_window(network, op.output)))
    while width > 1:
        weights = StageGeometry.of(network, op, Tiling(1, 1, width, channels)).weight_bytes((0, 0, 0, 0))
        rows = high * tensor.width * width * tensor.dtype.size_bytes
        if max(weights, rows) <= arena // 4:
            break
        width = -(-width // 2)
        widths.add(width)
    return widths


def _highest_window(network: Network, name: str) -> int:
    """Rows that a consumer of a tensor reads for one row of its own of the same channels: all, for a mean over them."""
    readers = (op for op in network.ops if name in op.inputs and not op.mixes_channels)
    return max((op.window.reach[0] for op in readers), default=0)


class _Rates(NamedTuple):
    """What a region takes per byte and per request, in so many ``parts`` of a pJ; requests to write erase a block."""

    parts: int
    read: int
    per_read: int
    written: int
    per_write: int


class OptionCosts:
    """Costs of tilings for one network and board; what was computed is remembered.

    The SRAM budget plays no part in them, so all sizes share one object: `costs_of`.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self.known: dict[object, Option | None] = {}
        self.cuts: dict[int, list[tuple[Tiling, ...]]] = {}  # of fused stages, by where they end
        self.shared: dict[object, Any] = {}  # figures of operators that several options have in common
        self.read_ns = lru_cache(maxsize=1 << 16)(self._read_ns)
        self.write_ns = lru_cache(maxsize=1 << 16)(self._write_ns)
        self._granule = cache(problem.granule_bytes)
        self._energy = cache(self._rates)
        self._largest_bank = max((size for _, size in problem.banks), default=0)
        self.idle = dict.fromkeys(map(problem.resource_of, problem.target.stores), 0)
        self._number = {op.name: k for k, op in enumerate(problem.network.ops)}

    def _store(self, region: RegionName) -> Store:
        return self.problem.target.stores[self.problem.store_index(region)]

    def _read_ns(self, region: RegionName, size: int, segments: int) -> int:
        return read_ns(self.problem.target, self._store(region), size, segments)

    def _write_ns(self, region: RegionName, size: int, segments: int) -> int:
        return write_ns(self.problem.target, self._store(region), size, segments)

    def read_pj(self, region: RegionName, size: int, requests: int) -> int:
        """Least energy of reading so many bytes in at least so many requests."""
        rates = self._energy(region)
        return (rates.read * size + rates.per_read * requests) // rates.parts

    def written_pj(self, region: RegionName, size: int, requests: int) -> int:
        """Least energy of writing so many bytes in at least so many requests, none of them empty."""
        rates = self._energy(region)
        return (rates.written * size + rates.per_write * requests) // rates.parts

    def _rates(self, region: RegionName) -> _Rates:
        index = self.problem.store_index(region)
        rates, storage = (
            Rates.of(self.problem.target).stores[index],
            self.problem.target.stores[index].storage,
        )
        write = rates.per_write + rates.erased * erased_bytes(storage, 1)
        exact = rates.read, rates.per_read, rates.written, write
        parts = lcm(*(rate.denominator for rate in exact))
        return _Rates(parts, *(int(rate * parts) for rate in exact))

    def record(self, geometry: StageGeometry, index: TileIndex) -> WeightRecord:
        """The record of weights of a tile, the same for all tilings that cut the channels alike."""
        tiling = geometry.tiling
        key = "record", geometry.op.name, tiling.channels, tiling.split, tiling.annex, tiling.npu, *index[2:]
        if key not in self.shared:
            self.shared[key] = weight_record(self.problem, geometry, index)
        found: WeightRecord = self.shared[key]
        return found

    # ---------------------------------------------------------------- enumeration

    def options(
        self, op: Op, inputs: tuple[int, ...], output: int, arena: int, offered: int | None = None
    ) -> list[Option]:
        """Undominated options of an operator for given residences within ``arena`` bytes.

        Tilings are those for an arena of ``offered`` bytes (default: the same).
        """
        found = []
        number = self._number[op.name]
        in_place = self.is_in_place(range(number, number + 1), op.inputs, inputs, output)
        tilings = self._parted(op, inputs, output, arena if offered is None else offered)
        for (tiling,) in self.homes((op,), ((tiling,) for tiling in tilings)):
            tiling = replace(tiling, in_place=True) if in_place and not tiling.npu else tiling
            if self._least_need(op, tiling, inputs, output) > arena:
                continue
            key = op.name, tiling, inputs, output
            if key not in self.known:
                keep_time()
                self.known[key] = self.cost(op, tiling, inputs, output)
            option = self.known[key]
            if option is None or option.need_bytes > arena or not self.in_a_bank(option):
                continue
            if option.loaded_bytes > self.problem.weight_memory_bytes:
                continue
            found.append(option)
        return pareto(found, several_banks=arena > self._largest_bank)

    def homes(self, ops: Sequence[Op], cuts: Iterable[tuple[Tiling, ...]]) -> Iterator[tuple[Tiling, ...]]:
        """Tilings of a stage with its weights in the image, and, if the target has an annex, with all of them there."""
        annexed = self.problem.target.annex is not None and any(op.weights is not None for op in ops)
        for tilings in cuts:
            yield tilings
            if annexed and (tilings[0].npu_loads or not tilings[0].npu):
                weighty = (op.weights is not None for op in ops)
                yield tuple(replace(t, annex=there) for t, there in zip(tilings, weighty, strict=True))

    def is_in_place(self, span: range, names: Sequence[str], inputs: tuple[int, ...], output: int) -> bool:
        """Whether the output of a stage takes the bytes of an input, which costs nothing."""
        given = replaceable(self.problem.network, span) if output == KEPT else ()
        return any(w == KEPT and name in given for name, w in zip(names, inputs, strict=True))

    def spared_bytes(self, tiling: Tiling, output: Tensor) -> int:
        """What an output takes less of SRAM because it lies where an input did."""
        return self.problem.buffer_bytes(output.size_bytes) if tiling.in_place else 0

    def _least_need(self, op: Op, tiling: Tiling, inputs: tuple[int, ...], output: int) -> int:
        """Bytes that a tiling needs at the very least, cheap to tell."""
        geometry = StageGeometry.of(self.problem.network, op, tiling)
        need = 0 if tiling.npu else geometry.weight_bytes((0, 0, 0, 0))
        box = geometry.output_box((0, 0, 0, 0))
        if output != KEPT and not rows_kept(output):
            need += box.elements * geometry.output.dtype.size_bytes
        for k, residence in enumerate(inputs):
            if residence != KEPT and not rows_kept(residence):
                tensor = geometry.inputs[k]
                rows, columns, _ = geometry.input_box(k, (0, 0, 0, 0)).shape
                need += rows * columns * min(residence, tensor.channels) * tensor.dtype.size_bytes
        return need

    def in_a_bank(self, option: Option) -> bool:
        """Whether some bank takes the largest buffer."""
        return option.largest_bytes <= self._largest_bank

    def _parted(self, op: Op, inputs: tuple[int, ...], output: int, arena: int) -> Iterator[Tiling]:
        """Tilings that go with what is kept in part."""
        kept, first = rows_kept(output), stored_from(output)
        parts = [(k, rows_kept(w), stored_from(w)) for k, w in enumerate(inputs) if rows_kept(w)]
        if not kept and not parts:
            yield from self._tilings(op, inputs, output, arena)
            return
        for tiling in self._tilings(op, inputs, output, arena):
            tiling = replace(tiling, kept_rows=kept, stored_from=first)
            geometry = StageGeometry.of(self.problem.network, op, tiling)
            if kept and not makes_part(geometry):
                continue
            if all(self._reads_part(geometry, *part) for part in parts):
                yield tiling

    def _reads_part(self, geometry: StageGeometry, operand: int, kept_rows: int, first: int) -> bool:
        """`reads_part`, which does not depend on channels and loops."""
        key = (
            "part",
            geometry.op.name,
            geometry.tiling.rows,
            geometry.tiling.columns,
            operand,
            kept_rows,
            first,
        )
        if key not in self.shared:
            self.shared[key] = reads_part(geometry, operand, kept_rows, first)
        found: bool = self.shared[key]
        return found

    def _tilings(self, op: Op, inputs: tuple[int, ...], output: int, arena: int) -> Iterator[Tiling]:
        network = self.problem.network
        inputs, parted_rows, output = tuple(map(width_of, inputs)), rows_kept(output), width_of(output)
        out, first = network.tensors[op.output], network.tensors[op.inputs[0]]
        if not streamed_at_all(inputs, output):
            yield from ways(self.problem.target, network, op)
        if op.needs_whole_tensors:
            yield Tiling(out.height, out.width, out.channels, first.channels)
            return
        streamed = streamed_at_all(inputs, output)
        channels = [out.channels] if op.takes_whole_pixels else self._group_sizes(op, out.channels, arena)
        splits = [first.channels]
        planes = {width for width, name in zip(inputs, op.inputs, strict=True)
                  if width not in (KEPT, network.tensors[name].channels)}  # fmt: skip
        if op.mixes_channels and planes:
            splits = list(planes)
        elif planes:
            channels = list(planes) if len(planes) == 1 else []
        if output != KEPT:
            channels = [c for c in channels if c == output] or (
                [output] if not planes or op.mixes_channels else []
            )
        if op.kind is OpKind.CONV and op.groups == 1 and inputs[0] == KEPT:
            splits = (
                [s for s in sizes(first.channels) if s * 8 >= first.channels]
                if 4 * self._channel_bytes(op) > arena
                else splits
            )
        rows = sizes(out.height) if streamed else [out.height]
        if len(splits) > 1 or splits[0] < first.channels:
            rows = sizes(out.height)  # accumulators are smaller in stripes
        if parted_rows:
            rows = [row for row in sizes(parted_rows) if parted_rows % row == 0]
        columns = [out.width]
        smallest_rows = set(rows[-2:])
        if streamed and 2 * first.width * first.channels * op.window.reach[0] > arena:
            columns = sizes(out.width, 5)
        if op.kind is OpKind.MATMUL and 2 * network.tensors[op.inputs[1]].size_bytes > arena:
            columns = sizes(out.width, 5)  # so many matrices at a time
        for row in rows:
            for channel in channels:
                for split in splits:
                    for column in columns if row in smallest_rows else columns[:1]:
                        yield from self._loops(op, out, first, row, column, channel, split)

    def _group_sizes(self, op: Op, count: int, arena: int) -> list[int]:
        """How many output channels a tile may have; the weights of fine groups fit into the arena."""
        found = sizes(count)
        if not self.problem.fine_groups or op.kind is not OpKind.CONV or op.groups > 1:
            return found
        most = arena // self._channel_bytes(op)
        fine = sizes(most) if 0 < most < count else []
        return sorted({*found, *fine}, reverse=True)

    def _channel_bytes(self, op: Op) -> int:
        """What the weights of one output channel take."""
        first = self.problem.network.tensors[op.inputs[0]]
        geometry = StageGeometry.of(self.problem.network, op, Tiling(1, 1, 1, first.channels))
        return geometry.weight_bytes((0, 0, 0, 0))

    def _loops(
        self, op: Op, out: Tensor, first: Tensor, row: int, column: int, channel: int, split: int
    ) -> Iterator[Tiling]:
        stripes = tile_count(out.height, row) * tile_count(out.width, column)
        groups, splits = tile_count(out.channels, channel), 1
        if op.kind is OpKind.CONV:
            splits = tile_count(first.channels, split)
        if stripes * groups * splits > MAX_TILES and max(out.height, out.channels) > 1 and row * channel > 1:
            return
        base = Tiling(row, column, channel, split)
        yield base
        if stripes > 1 and (groups > 1 or splits > 1):
            yield Tiling(row, column, channel, split, LoopOrder.ACTIVATIONS_OUTER)
            yield Tiling(row, column, channel, split, LoopOrder.ACTIVATIONS_OUTER, hold_weights=True)
        if groups > 1 and (stripes > 1 or splits > 1):
            yield Tiling(row, column, channel, split, hold_inputs=True)

    # ----------------------------------------------------------------------- costs

    def cost(self, op: Op, tiling: Tiling, inputs: tuple[int, ...], output: int) -> Option | None:
        """Figures of a tiling, or None where storage cannot address it."""
        geometry = StageGeometry.of(self.problem.network, op, tiling)
        rows, columns, groups, splits = geometry.grid
        reads: Counter[str] = Counter(self.idle)
        first: Counter[str] = Counter()  # channels work at the same time
        slots: list[int] = []
        room = extra = ahead = last = bytes_read = bytes_written = held_inputs = held_weights = 0
        checking = crypto = pj = 0
        tasks = rows * columns * groups * splits
        for k, residence in enumerate(inputs):
            if residence == KEPT:
                continue
            figure = self._input_cost(geometry, k, residence)
            if figure is None:
                return None
            slot, total_ns, head_ns, size, count, worse, largest, opening = figure
            extra, crypto = extra + worse, crypto + opening
            channel = self.channel_of(self.region_of(op.inputs[k]))
            reads[channel] += total_ns
            first[channel] += head_ns
            slots.append(largest)
            room, ahead = room + slot, ahead + slot
            if tiling.hold_inputs and not self._own_planes(geometry, k, residence):
                held_inputs += slot
            bytes_read, tasks = bytes_read + size, tasks + count
            pj += self.read_pj(self.region_of(op.inputs[k]), size, count)
        if geometry.loads_weights:
            slot, total_ns, head_ns, size, count, held_weights, checking = self._weight_cost(geometry)
            channel = self.channel_of(tiling.weights_in)
            reads[channel] += total_ns
            first[channel] += head_ns
            slots.append(slot)
            room, ahead = room + (held_weights or slot), ahead + slot
            bytes_read, tasks = bytes_read + size, tasks + count
            pj += self.read_pj(tiling.weights_in, size, count)
        if splits > 1:
            elements = geometry.output_box((0, 0, 0, 0)).elements
            slots.append(self.problem.buffer_bytes(elements * ACCUMULATOR_BYTES))
            room += slots[-1]
        if output != KEPT:
            figure_out = self.output_cost(geometry)
            if figure_out is None:
                return None
            slot, total_ns, tail_ns, size, count, sealing = figure_out
            crypto += sealing
            region = RegionName.OUTPUT if op.output in self.problem.network.outputs else RegionName.SCRATCH
            reads[self.channel_of(region)] += total_ns
            slots.append(slot)
            room, last, bytes_written, tasks = room + slot, tail_ns, size, tasks + count
            pj += self.written_pj(region, size, count)
        self.engage(reads, checking + crypto)
        regions = (*map(self.region_of, (*op.inputs, op.output)), tiling.weights_in)
        granules = tuple(map(self._granule, regions))
        workspace = Workspace(
            self.problem.unit_bytes, geometry, inputs, output, granules, held_inputs, held_weights,
            tuple(map(self.problem.seal_bytes, regions[:-1])), self.record,
            tuple(part_bytes(self.problem, name, w) for name, w in zip(op.inputs, inputs, strict=True)),
        )  # fmt: skip
        need, spared = workspace.busiest_bytes(), self.spared_bytes(tiling, geometry.output)
        resident_bytes, loaded_bytes = self._weight_memory_bytes(geometry)
        checks = on_cpu(self.problem.target, checking + crypto)
        return Option(
            (tiling,), inputs, output, need - spared, max(need, room + extra) - spared, ahead,
            self._compute_cost(geometry) + checks,
            tuple(reads.items()), max(first.values(), default=0), last, bytes_read, bytes_written, tasks,
            min(need, max(slots, default=0)), pj, by_task(self.problem.target, checks), resident_bytes, loaded_bytes,
        )  # fmt: skip

    def _weight_memory_bytes(self, geometry: StageGeometry) -> tuple[int, int]:
        """What an operator takes of an NPU's weight memory: for the whole run, and while one of its tiles is computed.

        Beside records that are loaded, in whole units, the last bytes of the memory that are none are lost.
        """
        tiling, target = geometry.tiling, self.problem.target
        if not tiling.npu or not is_crowded(target, self.problem.network):
            return 0, 0
        if not tiling.npu_loads:
            return geometry.op.weight_bytes, 0
        size = max(self.record(geometry, (0, 0, 0, 0)).size_bytes, geometry.weight_bytes((0, 0, 0, 0)))
        lost = self.problem.weight_memory_bytes % self.problem.unit_bytes
        return 0, self.problem.buffer_bytes(size) + lost

    def engage(self, busy: Counter[str], crypto_ns: int) -> None:
        """Add the time of an engine that opens and seals beside the CPU to that of the channels."""
        if self.problem.target.engine is not None:
            busy[CRYPTO] += on_engine(self.problem.target, crypto_ns)

    def channel_of(self, region: RegionName) -> str:
        """The resource that transfers to and from a region occupy."""
        return self.problem.resource_of(self._store(region))

    def region_of(self, name: str) -> RegionName:
        """Where a tensor lies in storage."""
        network = self.problem.network
        if name in network.inputs:
            return RegionName.INPUT
        return RegionName.OUTPUT if name in network.outputs else RegionName.SCRATCH

    def _compute_cost(self, geometry: StageGeometry) -> int:
        """Compute time of all tiles, which does not depend on the order of the loops."""
        tiling = geometry.tiling
        shape = tiling.rows, tiling.columns, tiling.channels, tiling.split
        key = "compute", geometry.op.name, tiling.npu, shape
        if key not in self.shared:
            self.shared[key] = self._computed(geometry)
        found: int = self.shared[key]
        return found

    def _computed(self, geometry: StageGeometry) -> int:
        """Compute time of all tiles, from their few distinct shapes."""
        target, total = self.problem.target, 0
        out, tiling = geometry.output, geometry.tiling
        row_sizes = _tile_sizes(out.height, tiling.rows)
        column_sizes = _tile_sizes(out.width, tiling.columns)
        group_sizes = _tile_sizes(out.channels, tiling.channels)
        split_sizes = Counter({1: 1})
        if geometry.op.kind is OpKind.CONV:
            split_sizes = _tile_sizes(geometry.split_range, tiling.split)
        for r, nr in row_sizes.items():
            for c, nc in column_sizes.items():
                for g, ng in group_sizes.items():
                    for s, ns in split_sizes.items():
                        total += nr * nc * ng * ns * compute_ns(target, geometry.work(r, c, g, s))
        return total

    def _input_cost(
        self, geometry: StageGeometry, k: int, residence: int
    ) -> tuple[int, int, int, int, int, int, int, int] | None:
        """Slot bytes, total ns, ns of the first fetch, bytes, transfers, worst extra bytes, largest fetch, opening ns."""
        op, tensor, tiling = geometry.op, geometry.inputs[k], geometry.tiling
        region = self.region_of(op.inputs[k])
        granule = self._granule(region)
        element = tensor.dtype.size_bytes
        seal = self.problem.seal_bytes(region)
        if op.needs_whole_tensors and seal:
            return None
        if op.needs_whole_tensors:
            size = align_up(tensor.size_bytes, granule)
            ns = self.read_ns(region, size, 1)
            slot = self.problem.buffer_bytes(size)
            return slot, ns, ns, size, 1, 0, slot, 0
        _, column_ranges = input_ranges(geometry, k)
        kept_rows, residence = rows_kept(residence), width_of(residence)
        narrow = any(high - low < tensor.width for low, high in column_ranges)
        if narrow and (seal or (tensor.width * residence * element) % granule):
            return None
        row_ranges, column_ranges = self._fetched(geometry, k, residence)
        row_ranges = tuple(rows for rows in row_ranges if not is_kept(rows, kept_rows))
        spans = Counter(high - low for low, high in row_ranges)
        if not row_ranges:
            return None  # nothing of what is stored is read
        rounds = self._rounds(geometry, k, residence)
        slot = total_ns = size = count = held = opening = 0
        first_ns = None
        widths = _tile_sizes(tensor.channels, residence)
        for height, many in spans.items():
            for low, high in column_ranges:
                for width, planes in widths.items():
                    pixel = width * element
                    if high - low == tensor.width:
                        segment, segments = align_up(height * (tensor.width * pixel + seal), granule), 1
                    else:
                        segment, segments = align_up((high - low) * pixel, granule), height
                    ns = self.read_ns(region, segment * segments, segments)
                    times = many * planes
                    bytes_each = segment * segments
                    slot = max(slot, bytes_each)
                    held += times * self.problem.buffer_bytes(bytes_each)
                    total_ns += ns * times * rounds
                    if seal:
                        opened = crypto_ns(self.problem.target, height, height * tensor.width * pixel)
                        opening += opened * times * rounds
                    size += bytes_each * times * rounds
                    count += times * rounds
                    first_ns = ns if first_ns is None else min(first_ns, ns)
        slot = self.problem.buffer_bytes(slot)
        worst = self._worst_slot(max(spans), tensor.width * residence * element + seal, granule)
        extra = max(0, self.problem.buffer_bytes(worst) - slot)
        if tiling.hold_inputs:
            extra *= count // max(1, rounds)
            return held, total_ns, first_ns or 0, size, count, extra, slot, opening
        return slot, total_ns, first_ns or 0, size, count, extra, slot, opening

    @staticmethod
    def _worst_slot(rows: int, row: int, granule: int) -> int:
        """Buffer for stripes of ``rows`` rows of so many bytes that start anywhere, in records of many rows."""
        return align_up(rows * row, granule) + (granule if row % granule else 0)

    @staticmethod
    def _fetched(geometry: StageGeometry, k: int, residence: int) -> tuple[Ranges, Ranges]:
        """Ranges of rows and of columns that are fetched in one round.

        Padding can make neighbours read the same box; one that stays is not fetched again.
        """
        rows, columns = input_ranges(geometry, k)
        tiling, splits, tensor = geometry.tiling, geometry.grid[3], geometry.inputs[k]
        if splits > 1 and not tiling.hold_inputs:
            return rows, columns
        few_rows, few_columns = distinct(rows), distinct(columns)
        planes_pass = residence < tensor.channels and tiling.loop is LoopOrder.ACTIVATIONS_OUTER
        stays = tiling.hold_inputs or (len(few_columns) == 1 and not planes_pass)
        return few_rows if stays else rows, few_columns

    @staticmethod
    def _own_planes(geometry: StageGeometry, k: int, residence: int) -> bool:
        """Whether every group of output channels has a plane of the input to itself."""
        return not geometry.op.mixes_channels and width_of(residence) < geometry.inputs[k].channels

    def _rounds(self, geometry: StageGeometry, k: int, residence: int) -> int:
        """How often each input tile is fetched."""
        _, _, groups, splits = geometry.grid
        if geometry.tiling.hold_inputs or groups == 1:
            return 1
        if self._own_planes(geometry, k, residence):
            return 1
        rows, columns = (len(distinct(ranges)) for ranges in input_ranges(geometry, k))
        stays = splits == 1 and (
            columns == 1 if geometry.tiling.loop is LoopOrder.ACTIVATIONS_OUTER else rows * columns == 1
        )
        return 1 if stays else groups

    def _weight_cost(self, geometry: StageGeometry) -> tuple[int, int, int, int, int, int, int]:
        """Slot bytes, total ns, ns of the first fetch, bytes, transfers, bytes when held, ns of checking."""
        tiling = geometry.tiling
        rows, columns, groups, splits = geometry.grid
        one = geometry.weight_key((0, 0, groups - 1, splits - 1)) == (0, 0)
        if one or tiling.hold_weights:
            rounds = 1
        elif splits > 1:
            rounds = rows * columns
        elif tiling.loop is LoopOrder.ACTIVATIONS_OUTER and groups > 1:
            rounds = rows
        else:
            rounds = 1
        key = "weights", geometry.op.name, tiling.channels, tiling.split, tiling.annex, tiling.npu
        if key not in self.shared:
            self.shared[key] = self._records(geometry)
        slot, ns, first, size, count, held, checking = self.shared[key]
        held = held if tiling.hold_weights else 0
        return slot, ns * rounds, first, size * rounds, count * rounds, held, checking * rounds

    def _records(self, geometry: StageGeometry) -> tuple[int, int, int, int, int, int, int]:
        """`_weight_cost` of records that are fetched once and held."""
        _, _, groups, splits = geometry.grid
        region = geometry.tiling.weights_in
        keys: Counter[WeightRecord] = Counter()
        seen = set()
        for group in {0, groups - 1}:
            for split in {0, splits - 1, max(0, splits - 2)}:
                index = (0, 0, group, split)
                key = geometry.weight_key(index)
                if key in seen:
                    continue
                seen.add(key)
                record = self.record(geometry, index)
                like = 1
                if geometry.weight_key((0, 0, groups - 1, splits - 1)) != (0, 0) or groups * splits == 1:
                    like = self._alike(group, groups) * self._alike_split(split, splits)
                keys[record] += like
        ns = sum(self.read_ns(region, record.size_bytes, 1) * n for record, n in keys.items())
        slot = max(record.room_bytes for record in keys)
        held = sum(record.room_bytes * n for record, n in keys.items())
        first = min(self.read_ns(region, record.size_bytes, 1) for record in keys)
        total = sum(record.size_bytes * n for record, n in keys.items())
        checking = sum(record.check_ns * n for record, n in keys.items())
        return slot, ns, first, total, sum(keys.values()), held, checking

    @staticmethod
    def _alike(group: int, groups: int) -> int:
        """Groups with the size of group 0 (all but the last) or of the last (one)."""
        return groups - 1 if group == 0 and groups > 1 else 1

    @staticmethod
    def _alike_split(split: int, splits: int) -> int:
        """Splits like the first (all but the last two), the last but one, and the last."""
        if splits <= 2 or split >= splits - 2:
            return 1
        return splits - 2

    def output_cost(self, geometry: StageGeometry) -> tuple[int, int, int, int, int, int] | None:
        """Slot bytes, total ns, ns of the last store, bytes and transfers of the output, ns of sealing it."""
        tensor, tiling, op = geometry.output, geometry.tiling, geometry.op
        region = RegionName.OUTPUT if op.output in self.problem.network.outputs else RegionName.SCRATCH
        granule = self._granule(region)
        element = tensor.dtype.size_bytes
        narrow, seal = tiling.columns < tensor.width, self.problem.seal_bytes(region)
        if seal and (narrow or op.needs_whole_tensors):
            return None
        if narrow and (
            (tiling.columns * tiling.channels * element) % granule
            or (tensor.width * tiling.channels * element) % granule
            or tensor.width % tiling.columns or tensor.channels % tiling.channels
        ):  # fmt: skip
            return None
        slot = total_ns = size = count = sealing = 0
        last_ns = None
        unstored = tiling.stored_from // tiling.rows * tiling.rows
        with_slots = _tile_sizes(tensor.height - tiling.kept_rows, tiling.rows)
        for height, nr in _tile_sizes(tensor.height - unstored, tiling.rows).items():
            for width, nc in _tile_sizes(tensor.width, tiling.columns).items():
                for depth, ng in _tile_sizes(tensor.channels, tiling.channels).items():
                    dense = height * (width * depth * element + seal)
                    segments = height if narrow else 1
                    moved = dense if narrow else align_up(dense, granule)
                    ns, times = self.write_ns(region, moved, segments), nr * nc * ng
                    if seal:
                        sealing += times * crypto_ns(self.problem.target, height, dense - height * seal)
                    slot = max(slot, moved if height in with_slots else 0)
                    total_ns, size, count = total_ns + ns * times, size + moved * times, count + times
                    last_ns = ns if last_ns is None else min(last_ns, ns)
        return self.problem.buffer_bytes(slot), total_ns, last_ns or 0, size, count, sealing


def streamed_at_all(inputs: tuple[int, ...], output: int) -> bool:
    """Whether a tensor of a stage lives in storage."""
    return any(inputs) or output != KEPT


def _tile_sizes(total: int, tile: int) -> Counter[int]:
    """Sizes of the tiles that cover ``total``, with multiplicity."""
    whole, rest = divmod(total, tile)
    found = Counter({tile: whole} if whole else {})
    if rest:
        found[rest] += 1
    return found


def pareto(options: list[Option], several_banks: bool = False) -> list[Option]:
    """Options that no other option beats in every figure; the largest buffer is one with several banks."""
    options = sorted(options, key=lambda o: (o.need_bytes, o.total_io_ns + o.compute_ns, o.tasks))
    kept: list[Option] = []
    for option in options:
        keep_time()
        rivals = (o for o in kept if not several_banks or o.largest_bytes <= option.largest_bytes)
        if not any(_dominates(other, option) for other in rivals):
            kept.append(option)
    return kept


def _dominates(a: Option, b: Option) -> bool:
    return (
        a.need_bytes <= b.need_bytes
        and a.need_bytes + a.ahead_bytes <= b.need_bytes + b.ahead_bytes
        and a.compute_ns <= b.compute_ns
        and a.kernels_ns <= b.kernels_ns
        and all(x <= y for (_, x), (_, y) in zip(a.io_ns, b.io_ns, strict=True))
        and a.first_ns <= b.first_ns
        and a.last_ns <= b.last_ns
        and a.bytes_read <= b.bytes_read
        and a.bytes_written <= b.bytes_written
        and a.tasks <= b.tasks
        and a.storage_pj <= b.storage_pj
        and a.resident_bytes <= b.resident_bytes
        and a.loaded_bytes <= b.loaded_bytes
    )
