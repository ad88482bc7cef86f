"""The ways consecutive operators may be fused, each with what it costs: part of the space of level one.

A fused stage computes its operators patch by patch, depth first; what lies between them never
leaves SRAM (`models.patches`). Only some of all fused stages are offered: those whose inner
tensors are large for the arena, which read and make tensors of at most half the size, and whose
patches are rows in powers of two, with rows kept (rings) or computed again, or rectangles.
As for other options, all figures are lower estimates of what the expanded tasks cost.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise, product
from typing import TypeVar

from ooc_solve.models.cost import align_up, by_task, compute_ns, crypto_ns, on_cpu
from ooc_solve.models.patches import buffer_elements, can_be_fused, fused_tilings, reading_rings
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import Network, OpKind, RegionName, Tensor, Tiling
from ooc_solve.models.weight_records import WeightRecord, weight_record
from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.options import KEPT, Option, OptionCosts, pareto, stored_bytes

T = TypeVar("T")

LARGE = 3
"""Stages are fused where an inner tensor takes more than the arena divided by this."""

SMALLER = 2
"""What a stage reads and makes is smaller by this factor than that tensor; where writes are few it is no larger."""

WIDER = 2
"""Arenas for which the same options are offered differ at most by this factor."""

ROWS = (1, 2, 4, 8)
"""Rows of a patch that has the whole width."""

GRIDS = (2, 4, 7)
"""Into how many parts rows, or rows and columns, are cut where rows are computed again."""

MOST_PATCHES = 128
USUALLY_KEPT, FRUGALLY_KEPT = 2, 8
"""Options kept of a fused stage for the same residences, for rows kept and rows computed again: the fastest
and the smallest; where writes are few, others between them, too."""

LIGHT = 8
"""Weights that take less than the arena divided by this are held, not fetched again for every patch."""

HEAVIEST = (1, 2, 3)
"""How many of the heaviest weights alone are fetched again for every patch, where writes are few."""


def operands(network: Network, first: int, operators: int) -> tuple[str, ...]:
    """What a stage of some operators reads of tensors made before it, operand by operand."""
    ops = network.ops[first : first + operators]
    inner = {op.output for op in ops[:-1]}
    return tuple(name for op in ops for name in op.inputs if name not in inner)


def outer_operand(network: Network, first: int, place: int, k: int) -> int | None:
    """Which operand of a stage is operand ``k`` of its operator at a place; None if it is made inside."""
    ops = network.ops[first : first + place + 1]
    inner = {op.output for op in ops[:-1]}
    if ops[-1].inputs[k] in inner:
        return None
    before = sum(name not in inner for op in ops[:-1] for name in op.inputs)
    return before + sum(name not in inner for name in ops[-1].inputs[:k])


def spans(network: Network, arena: int, depth: int, frugal: bool = False) -> Iterator[range]:
    """Consecutive operators worth fusing within an arena, at most ``depth`` of them; more where writes are few."""
    smaller = 1 if frugal else SMALLER
    for first in range(len(network.ops)):
        for end in range(first + 2, min(len(network.ops), first + depth) + 1):
            span = range(first, end)
            sizes = [network.tensors[network.ops[k].output].size_bytes for k in span]
            most = max(sizes[:-1])
            names = set(operands(network, first, len(span))) - set(network.inputs)
            given = sum(network.tensors[name].size_bytes for name in names)
            spares = smaller * max(given, sizes[-1]) <= most and sizes[-1] <= sizes[-2]
            if spares and most * LARGE > arena and can_be_fused(network, span):
                yield span


def fused_options(
    costs: OptionCosts,
    span: range,
    where: dict[str, tuple[int, ...]],
    arena: int,
    offered: int,
    frugal: bool,
) -> list[Option]:
    """Undominated options of a fused stage within an arena, for all residences of its tensors.

    Which ones are offered depends on ``offered`` bytes only, so that a smaller arena leaves some of them; more where
    few bytes are to be written (``frugal``).
    """
    most = WIDER * offered
    network = costs.problem.network
    names = operands(network, span[0], len(span))
    output = network.ops[span[-1]].output
    places = {name: _whole(where[name], network.tensors[name]) for name in {*names, output}}
    light = LIGHT * sum(network.ops[k].weight_bytes for k in span) < offered
    cuts = [t for t in _cuts(costs, span, frugal) if not light or all(tiling.hold_weights for tiling in t)]
    cuts = [t for t in cuts if _fits(costs, span, t, most)]
    cuts = list(costs.homes([network.ops[k] for k in span], cuts))
    found: list[Option] = []
    most_kept = FRUGALLY_KEPT if frugal else USUALLY_KEPT
    for chosen in product(*(places[name] for name in dict.fromkeys(names))):
        residence = dict(zip(dict.fromkeys(names), chosen, strict=True))
        inputs = tuple(residence[name] for name in names)
        for out in places[output]:
            here = cuts
            if costs.is_in_place(span, names, inputs, out):
                here = [(*tilings[:-1], replace(tilings[-1], in_place=True)) for tilings in cuts]
            made = (_option(costs, span, tilings, inputs, out) for tilings in here)
            fitting = [o for o in made if o is not None and o.need_bytes <= most and costs.in_a_bank(o)]
            for kind in product((True, False), repeat=2):
                alike = [o for o in fitting if (keeps_rows(o), is_annexed(o)) == kind]
                found += _few(pareto(alike), most_kept)
    return [option for option in found if option.need_bytes <= arena]


def keeps_rows(option: Option) -> bool:
    """Whether patches leave rows for the next ones instead of computing them again."""
    return any(tiling.patch is not None and tiling.patch.ring_rows > 0 for tiling in option.tilings)


def is_annexed(option: Option) -> bool:
    """Whether weights come from the annex."""
    return any(tiling.annex for tiling in option.tilings)


def _whole(widths: Sequence[int], tensor: Tensor) -> list[int]:
    """Residences with all channels in one plane."""
    return [width for width in widths if width in (KEPT, tensor.channels)]


def _few(options: list[Option], most: int) -> list[Option]:
    """Some of the options, from the fastest to the smallest."""
    order = sorted(
        options, key=lambda o: (max(o.compute_ns, o.total_io_ns) + o.total_io_ns // 8, o.need_bytes)
    )
    front: list[Option] = []
    for option in order:
        if not front or option.need_bytes < front[-1].need_bytes:
            front.append(option)
    last = len(front) - 1
    return [front[i] for i in sorted({round(k * last / (most - 1)) for k in range(most)})] if front else []


def _cuts(costs: OptionCosts, span: range, frugal: bool) -> list[tuple[Tiling, ...]]:
    """Tilings of a fused stage that are offered, whatever the arena.

    What an operator has to compute depends on the operators behind it only, so the tilings of a
    stage are the last ones of a longer stage that ends at the same place.
    """
    end = span[-1] + 1
    if end not in costs.cuts:
        costs.cuts[end] = list(_longest(costs.problem.network, end, costs.problem.patch_depth))
    network = costs.problem.network
    parts = (tilings[-len(span) :] for tilings in costs.cuts[end] if len(tilings) >= len(span))
    # the first operator may have read the ring of one before it
    own = [reading_rings(network, span, tilings) for tilings in parts]
    weights = [network.ops[k].weight_bytes for k in span]
    again = (0, *HEAVIEST, len(span)) if frugal else (0, len(span))
    return list(dict.fromkeys(_holding(tilings, weights, heaviest) for tilings in own for heaviest in again))


def _holding(tilings: tuple[Tiling, ...], weights: Sequence[int], heaviest: int) -> tuple[Tiling, ...]:
    """The tilings with all weights held but those of so many operators, which have the most."""
    order = sorted(range(len(weights)), key=lambda k: -weights[k])
    again = set(order[:heaviest])
    return tuple(replace(tiling, hold_weights=k not in again) for k, tiling in enumerate(tilings))


def _longest(network: Network, end: int, depth: int) -> Iterator[tuple[Tiling, ...]]:
    """For each way to cut the last operator, the tilings of as many operators before it as can be fused."""
    starts = [k for k in range(max(0, end - depth), end - 1) if can_be_fused(network, range(k, end))]
    for rows, columns, rings in _shapes(network.tensors[network.ops[end - 1].output]):
        made = (fused_tilings(network, range(k, end), rows, columns, rings, True) for k in starts)
        longest = next((tilings for tilings in made if tilings is not None), None)
        if longest is not None:
            yield longest


def _shapes(out: Tensor) -> Iterator[tuple[int, int, bool]]:
    """Rows and columns of the patches that are offered, and whether rows are kept in rings."""
    for rows in ROWS:
        if rows < out.height <= rows * MOST_PATCHES:
            yield rows, out.width, True
    for parts in GRIDS:
        if parts <= min(out.height, out.width):
            yield -(-out.height // parts), -(-out.width // parts), False
            yield -(-out.height // parts), out.width, False


def _fits(costs: OptionCosts, span: range, tilings: tuple[Tiling, ...], arena: int) -> bool:
    """Whether the largest patches of neighbours fit, which is quick to tell."""
    network = costs.problem.network
    sizes = []
    for k, tiling in zip(span, tilings, strict=True):
        key = "elements", network.ops[k].name, tiling
        if key not in costs.shared:
            out, patch = network.tensors[network.ops[k].output], tiling.patch
            costs.shared[key] = buffer_elements(patch, out, (0, 0)) if patch else 0
        sizes.append(costs.shared[key])
    return bool(max(a + b for a, b in pairwise(sizes)) <= arena)


# ------------------------------------------------------------------------------- costs


@dataclass(frozen=True, slots=True)
class _Io:
    """Transfers of one kind: time, time of the first, bytes, how many, the largest buffer, and time to open them."""

    ns: int
    first_ns: int
    size: int
    count: int
    slot: int
    worse: int = 0
    opening_ns: int = 0


def _option(
    costs: OptionCosts, span: range, tilings: tuple[Tiling, ...], inputs: tuple[int, ...], output: int
) -> Option | None:
    """Figures of a fused stage, or None where storage cannot address it."""
    key = span, tilings, inputs, output
    if key not in costs.known:
        keep_time()
        costs.known[key] = _Costing(costs, span, tilings, inputs, output).run()
    return costs.known[key]


class _Costing:
    """Adds up one fused stage; what an operator costs by itself is remembered for other stages."""

    def __init__(
        self,
        costs: OptionCosts,
        span: range,
        tilings: tuple[Tiling, ...],
        inputs: tuple[int, ...],
        output: int,
    ) -> None:
        self.costs, self.problem, self.span = costs, costs.problem, span
        network = costs.problem.network
        pairs = [(network.ops[k], tiling) for k, tiling in zip(span, tilings, strict=True)]
        self.known = [costs.shared.setdefault((op.name, tiling), {}) for op, tiling in pairs]
        self.layers: list[StageGeometry] = []
        for known, (op, tiling) in zip(self.known, pairs, strict=True):
            if "geometry" not in known:
                known["geometry"] = StageGeometry.of(network, op, tiling)
            self.layers.append(known["geometry"])
        self.last_tiles = [self._shared("last tile", k, _last_tile) for k in range(len(pairs))]
        self.readers = [self._last_reader(k) for k in range(len(pairs))]
        self.tilings, self.inputs, self.output = tilings, inputs, output
        self.passing = self._passing()
        self.io: Counter[str] = Counter(costs.idle)
        self.first: Counter[str] = Counter()
        self.tile_rooms: list[dict[int, int]] = [{} for _ in self.layers]  # of fetched operands, by operand

    def run(self) -> Option | None:
        read = written = tasks = ahead = worse = last_ns = pj = 0
        places = range(len(self.layers))
        crypto = sum(self._shared("checks", number, self._checks) for number in places)
        records = [self._shared("weights", number, self._weights) for number in places]
        for number, io in enumerate(records):
            if io is not None:
                region = self.tilings[number].weights_in
                self._add(region, io, number == 0)
                read, tasks = read + io.size, tasks + io.count
                pj += self.costs.read_pj(region, io.size, io.count)
                ahead += 0 if self.tilings[number].hold_weights else io.slot
        for number, k, residence in self._outer():
            if residence == KEPT:
                continue
            fetched = self._shared(f"input {k}", number, partial(self._input, k))
            if fetched is None:
                return None
            self._add(self.costs.region_of(self.layers[number].op.inputs[k]), fetched, number == 0)
            self.tile_rooms[number][k] = fetched.slot
            read, tasks = read + fetched.size, tasks + fetched.count
            region = self.costs.region_of(self.layers[number].op.inputs[k])
            pj += self.costs.read_pj(region, fetched.size, fetched.count)
            ahead, worse = ahead + fetched.slot, worse + fetched.worse
            crypto += fetched.opening_ns
        room = 0
        if self.output != KEPT:
            figures = self.costs.output_cost(self.layers[-1])
            if figures is None:
                return None
            room, ns, last_ns, written, count, sealing = figures
            crypto += sealing
            self.io[self.costs.channel_of(self._output_region())] += ns
            tasks += count
            pj += self.costs.written_pj(self._output_region(), written, count)
        need, largest = self._need([io.slot if io else 0 for io in records], room)
        spared = self.costs.spared_bytes(self.tilings[-1], self.layers[-1].output)
        compute = sum(self._shared("compute", number, self._compute) for number in places)
        self.costs.engage(self.io, crypto)
        checks = on_cpu(self.problem.target, crypto)
        return Option(
            self.tilings, self.inputs, self.output, need - spared, need + worse - spared, ahead,
            compute + checks, tuple(self.io.items()),
            max(self.first.values(), default=0), last_ns, read, written,
            tasks + sum(layer.tiles for layer in self.layers), min(need, largest), pj,
            by_task(self.problem.target, checks),
        )  # fmt: skip

    def _outer(self) -> Iterator[tuple[int, int, int]]:
        """Operator, operand and residence of each tensor that is made outside."""
        inner = {layer.output.name for layer in self.layers[:-1]}
        residences = iter(self.inputs)
        for number, layer in enumerate(self.layers):
            for k, name in enumerate(layer.op.inputs):
                if name not in inner:
                    yield number, k, next(residences)

    def _output_region(self) -> RegionName:
        return self.costs.region_of(self.layers[-1].output.name)

    def _add(self, region: RegionName, io: _Io, is_first: bool) -> None:
        channel = self.costs.channel_of(region)
        self.io[channel] += io.ns
        if is_first:
            self.first[channel] += io.first_ns

    def _shared(self, what: object, number: int, work: Callable[[StageGeometry], T]) -> T:
        """A figure of one operator, the same in every stage that cuts it so."""
        known = self.known[number]
        if what not in known:
            known[what] = work(self.layers[number])
        found: T = known[what]
        return found

    def _compute(self, layer: StageGeometry) -> int:
        """Time of all kernels of an operator."""
        rows, columns, groups, _ = layer.grid
        high = Counter(_length(layer.output_box((i, 0, 0, 0)).rows) for i in range(rows))
        wide = Counter(_length(layer.output_box((0, j, 0, 0)).columns) for j in range(columns))
        deep = Counter(_length(layer.output_box((0, 0, g, 0)).channels) for g in range(groups))
        depth = layer.split_range if layer.op.kind is OpKind.CONV else 1
        return sum(
            h[1] * w[1] * d[1] * compute_ns(self.problem.target, layer.work(h[0], w[0], d[0], depth))
            for h, w, d in product(high.items(), wide.items(), deep.items())
            if h[0] and w[0]
        )

    def _records(self, layer: StageGeometry) -> list[WeightRecord]:
        """The weight records of an operator."""
        if layer.op.weights is None:
            return []
        keys = {layer.weight_key((0, 0, g, 0)): (0, 0, g, 0) for g in range(layer.grid[2])}
        return [weight_record(self.problem, layer, index) for index in keys.values()]

    def _rounds(self, layer: StageGeometry) -> int:
        """How often the records are fetched."""
        return 1 if layer.tiling.hold_weights else layer.tiles // layer.grid[2]

    def _checks(self, layer: StageGeometry) -> int:
        """Time to check or to open the records of an operator."""
        return sum(record.check_ns for record in self._records(layer)) * self._rounds(layer)

    def _weights(self, layer: StageGeometry) -> _Io | None:
        if layer.op.weights is None:
            return None
        records, rounds = self._records(layer), self._rounds(layer)
        sizes, rooms = [record.size_bytes for record in records], [record.room_bytes for record in records]
        times = [self.costs.read_ns(layer.tiling.weights_in, size, 1) for size in sizes]
        slot = sum(rooms) if layer.tiling.hold_weights else max(rooms)
        return _Io(sum(times) * rounds, times[0], sum(sizes) * rounds, len(sizes) * rounds, slot)

    def _input(self, k: int, layer: StageGeometry) -> _Io | None:
        """Fetched boxes of an operand; a box that is wanted again at once is not fetched again."""
        tensor, region = layer.inputs[k], self.costs.region_of(layer.op.inputs[k])
        granule, pixel = self.problem.granule_bytes(region), tensor.channels * tensor.dtype.size_bytes
        seal = self.problem.seal_bytes(region)
        rows, columns, _, _ = layer.grid
        tiles = [(i, j, 0, 0) for i in range(rows) for j in range(columns)]
        boxes = [layer.input_box(k, tile) for tile in tiles if layer.output_box(tile).elements]
        boxes = [box for before, box in pairwise([None, *boxes]) if box is not None and box != before]
        ns = size = slot = worse = opening = 0
        for box, many in Counter((b.shape[0], b.shape[1]) for b in boxes).items():
            high, wide = box
            narrow = wide < tensor.width
            if narrow and (seal or tensor.width * pixel % granule):
                return None
            segments = high if narrow else 1
            row = wide * pixel + seal
            moved = align_up(row, granule) * high if narrow else align_up(high * row, granule)
            ns, size = ns + many * self.costs.read_ns(region, moved, segments), size + many * moved
            slot = max(slot, self.problem.buffer_bytes(moved))
            if seal:
                opening += many * crypto_ns(self.problem.target, high, high * wide * pixel)
            worse = granule if row % granule else worse
        head = min(b.shape[0] for b in boxes) * pixel * min(b.shape[1] for b in boxes)
        first = self.costs.read_ns(region, align_up(head, granule), 1)
        return _Io(ns, first, size, len(boxes), slot, worse, opening)

    def _need(self, weights: list[int], output_room: int) -> tuple[int, int]:
        """Bytes that the busiest kernel of the first and of a later patch needs, and the largest buffer."""
        most = largest = 0
        rows, columns = self.layers[-1].grid[:2]
        for tile in {(0, 0), (min(1, rows - 1), min(1, columns - 1))}:
            rooms = [self._patch_room(number, tile) for number in range(len(self.layers))]
            largest = max(largest, output_room, *rooms, *(r for by in self.tile_rooms for r in by.values()))
            for number in range(len(self.layers)):
                if self._shared(
                    ("elements", tile), number, partial(_elements, tile)
                ):  # otherwise there is no kernel
                    now = self._at(number, tile, rooms, weights) - self._released(number, tile)
                    most = max(most, now)
        return most, max(largest, *weights)

    def _patch_room(self, number: int, tile: tuple[int, int]) -> int:
        return self._shared(("room", tile), number, partial(self._room, tile))

    def _room(self, tile: tuple[int, int], layer: StageGeometry) -> int:
        patch = layer.tiling.patch
        if patch is None:
            return 0
        size = buffer_elements(patch, layer.output, tile) * layer.output.dtype.size_bytes
        return self.problem.buffer_bytes(size) if size else 0

    def _at(self, number: int, tile: tuple[int, int], rooms: list[int], weights: list[int]) -> int:
        """Bytes in use while one operator computes one patch."""
        now = tile, number
        total = sum(self._fetched_room(number, k, tile) for k in self.tile_rooms[number])
        if number == len(self.layers) - 1 and self.output != KEPT:
            total += self._stored_room(tile)
        for other, layer in enumerate(self.layers):
            begun = tile != (0, 0) or other <= number
            held = layer.tiling.hold_weights and begun and now <= (self.last_tiles[other], other)
            total += weights[other] if held or other == number else 0
            patch = layer.tiling.patch
            if patch is None:
                continue
            reader = self.readers[other]
            ring = bool(patch.ring_rows) and begun and now <= (self.last_tiles[reader], reader)
            if ring or other <= number <= reader:
                total += rooms[other]
        return total

    def _released(self, number: int, tile: tuple[int, int]) -> int:
        """Bytes of kept inputs that nothing reads from there on: they may be gone then."""
        return sum(size for end, size in self.passing if end < (tile, number))

    def _passing(self) -> list[tuple[tuple[tuple[int, int], int], int]]:
        """When kept inputs that nothing else reads are read for the last time, and their bytes."""
        last: dict[str, tuple[tuple[int, int], int]] = {}
        for reader, k, residence in self._outer():
            name = self.layers[reader].op.inputs[k]
            if residence == KEPT and self._is_read_here_only(name):
                last[name] = max(last.get(name, ((0, 0), 0)), (self.last_tiles[reader], reader))
        return [(end, self.problem.buffer_bytes(stored_bytes(self.problem, n))) for n, end in last.items()]

    def _is_read_here_only(self, name: str) -> bool:
        """Whether a tensor is not there for good, and no operator outside of the stage reads it."""
        network, own = self.problem.network, {layer.op.name for layer in self.layers}
        if name in self.problem.pinned:
            return False
        return all(op.name in own for op in network.ops if name in op.inputs)

    def _fetched_room(self, number: int, k: int, tile: tuple[int, int]) -> int:
        """Least buffer of what one patch of an operator reads of a spilled tensor."""
        return self._shared(("fetched", k, tile), number, partial(self._fetched, k, tile))

    def _fetched(self, k: int, tile: tuple[int, int], layer: StageGeometry) -> int:
        tensor, box = layer.inputs[k], layer.input_box(k, (*tile, 0, 0))
        region = self.costs.region_of(tensor.name)
        granule, seal = self.problem.granule_bytes(region), self.problem.seal_bytes(region)
        row = box.shape[1] * tensor.channels * tensor.dtype.size_bytes + seal
        if box.shape[1] < tensor.width:
            return self.problem.buffer_bytes(box.shape[0] * align_up(row, granule))
        return self.problem.buffer_bytes(align_up(box.shape[0] * row, granule))

    def _stored_room(self, tile: tuple[int, int]) -> int:
        """Buffer of what one patch leaves to be stored."""
        return self._shared(("stored", tile), len(self.layers) - 1, partial(self._stored, tile))

    def _stored(self, tile: tuple[int, int], layer: StageGeometry) -> int:
        out = layer.output
        box, region = layer.output_box((*tile, 0, 0)), self._output_region()
        size = box.elements * out.dtype.size_bytes + box.shape[0] * self.problem.seal_bytes(region)
        return self.problem.buffer_bytes(align_up(size, self.problem.granule_bytes(region)))

    def _last_reader(self, number: int) -> int:
        """The last operator that reads what one makes; the last one itself, whose output leaves the stage."""
        name = self.layers[number].output.name
        return max((k for k, layer in enumerate(self.layers) if name in layer.op.inputs), default=number)


def _elements(tile: tuple[int, int], layer: StageGeometry) -> int:
    """Elements that an operator computes for a patch."""
    return layer.output_box((*tile, 0, 0)).elements


def _last_tile(layer: StageGeometry) -> tuple[int, int]:
    """The last patch for which an operator computes anything."""
    rows, columns, _, _ = layer.grid
    tiles = ((row, columns - 1) for row in reversed(range(rows)))
    return next(tile for tile in tiles if layer.output_box((*tile, 0, 0)).elements)


def _length(interval: tuple[int, int]) -> int:
    return interval[1] - interval[0]
