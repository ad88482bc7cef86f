"""Fused stages: operators that run patch by patch, depth first, with nothing between them stored.

The last operator of a fused stage is cut as any other. What each patch of it needs of the
tensors before is worked out backwards: it is the same distance further for every patch, so
a `Cut` says it, and the runtime repeats the arithmetic (codegen/SPEC.md). Where the patches of
a tensor overlap, the overlap (halo) is computed again for each, or rows are kept in a ring.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ooc_solve.models.tiling import StageGeometry, cut_range, tile_count
from ooc_solve.models.vocabulary import Box, Cut, Footprint, Network, Op, OpKind, Patch, Tensor, Tiling

LOCAL = frozenset(
    {
        OpKind.CONV,
        OpKind.DEPTHWISE,
        OpKind.MAX_POOL,
        OpKind.AVERAGE_POOL,
        OpKind.ADD,
        OpKind.MULTIPLY,
        OpKind.LOOKUP,
    }
)
"""Kinds whose outputs depend on inputs nearby, so that they can be fused."""


@dataclass(frozen=True, slots=True)
class _Need:
    """Rows (or columns) that patch ``i`` reads: ``[i * pitch - lead, i * pitch - lead + extent)``."""

    pitch: int
    lead: int
    extent: int

    def joined(self, other: _Need) -> _Need | None:
        """The least interval that holds both, None where patches move on at different paces."""
        if self.pitch != other.pitch:
            return None
        lead = max(self.lead, other.lead)
        end = max(self.extent - self.lead, other.extent - other.lead)
        return _Need(self.pitch, lead, end + lead)

    def before(self, op: Op, operand: int, axis: int) -> _Need | None:
        """What an operator reads of an input to compute this, None where patches do not move on evenly."""
        reading = op.reading(operand, axis)
        pitch, rest = divmod(self.pitch * reading.step, reading.period)
        if rest or not pitch:
            return None
        begin = (reading.start - self.lead * reading.step) // reading.period
        last = self.extent - 1 - self.lead
        end = (last * reading.step + reading.start + reading.extra) // reading.period + 1
        return _Need(pitch, -begin, end - begin)


def _is_local(network: Network, op: Op) -> bool:
    """Whether every input is read around the position that is computed: none repeats, none is spread."""
    output = network.tensors[op.output]
    repeats = any(
        (source.height, source.width) != (output.height, output.width)
        for source in (network.tensors[name] for name in op.inputs)
    )
    pair = op.kind in (OpKind.ADD, OpKind.MULTIPLY)
    return op.kind in LOCAL and not op.window.transposed and not (pair and repeats)


FROM_THE_ENDS = 4
"""Tiles at each end that clipping may make different."""

Needs = tuple[_Need | None, _Need | None]
"""Along rows and columns; None where there is one patch only, which is the whole."""


def can_be_fused(network: Network, span: range) -> bool:
    """Whether consecutive operators may form a fused stage: local ones, whose results nobody else reads."""
    ops = [network.ops[k] for k in span]
    inner = {op.output for op in ops[:-1]}
    if len(ops) < 2 or inner & set(network.outputs) or not all(_is_local(network, op) for op in ops):
        return False
    outside = (op for k, op in enumerate(network.ops) if k not in span)
    if any(inner & set(op.inputs) for op in outside):
        return False
    return all(any(name in op.inputs for op in ops) for name in inner)


def fused_tilings(
    network: Network, span: range, rows: int, columns: int, rings: bool, hold_weights: bool
) -> tuple[Tiling, ...] | None:
    """Tilings of a fused stage whose last operator is computed in patches of ``rows x columns``.

    With ``rings`` the rows that the next patches need again stay (columns must be whole then).
    None where the patches of some tensor do not follow each other evenly.
    """
    ops = [network.ops[k] for k in span]
    out = network.tensors[ops[-1].output]
    counts = tile_count(out.height, rows), tile_count(out.width, columns)
    if rings and (counts[1] > 1 or counts[0] == 1):
        return None
    inner = {op.output for op in ops[:-1]}
    needs: dict[str, Needs] = {}
    last = Tiling(rows, columns, out.channels, network.tensors[ops[-1].inputs[0]].channels,
                  hold_weights=hold_weights)  # fmt: skip
    found = [last]
    computed = (
        _Need(rows, 0, rows) if counts[0] > 1 else None,
        _Need(columns, 0, columns) if counts[1] > 1 else None,
    )
    for op in reversed(ops):
        if op is not ops[-1]:
            tensor, need = network.tensors[op.output], needs[op.output]
            patch, computed = _patch(tensor, need, counts, rings)
            if not _largest(patch.rows, tensor.height) or not _largest(patch.columns, tensor.width):
                return None  # nothing is read but padding
            found.append(
                Tiling(
                    _largest(patch.rows, tensor.height), _largest(patch.columns, tensor.width),
                    tensor.channels, network.tensors[op.inputs[0]].channels, hold_weights=hold_weights, patch=patch,
                )
            )  # fmt: skip
        for operand, name in enumerate(op.inputs):
            if name not in inner:
                continue
            own = tuple(n.before(op, operand, axis) if n else None for axis, n in enumerate(computed))
            joined = _joined(own, needs.get(name))
            if any((n is None) != (count == 1) for n, count in zip(joined, counts, strict=True)):
                return None
            needs[name] = joined
    tilings = reading_rings(network, span, tuple(reversed(found)))
    return tilings if covered(network, span, tilings) else None


def reading_rings(network: Network, span: range, tilings: tuple[Tiling, ...]) -> tuple[Tiling, ...]:
    """The tilings, with the rows of the ring that each operator reads."""
    rings = {network.ops[k].output: t.patch.ring_rows for k, t in zip(span, tilings, strict=True) if t.patch}
    names = (network.ops[k].inputs[0] for k in span)
    return tuple(replace(t, ring_rows=rings.get(name, 0)) for t, name in zip(tilings, names, strict=True))


def _largest(cut: Cut, size: int) -> int:
    """Size of the largest tile of a cut."""
    return max(high - low for low, high in (cut_range(i, cut, size) for i in range(min(cut.count, 3))))


def _joined(own: Sequence[_Need | None], known: Sequence[_Need | None] | None) -> Needs:
    """What two operators read of a tensor, along both axes; None where that does not go together."""
    a, b = own
    if known is not None:
        a, b = (one.joined(two) if one and two else None for one, two in zip(own, known, strict=True))
    return a, b


def _patch(tensor: Tensor, need: Needs, counts: tuple[int, int], rings: bool) -> tuple[Patch, Needs]:
    """How a tensor inside a fused stage is cut for what is read of it, and what is computed at once."""
    high, wide = need
    columns = (
        Cut(counts[1], wide.pitch, wide.lead, wide.extent) if wide else Cut(1, tensor.width, 0, tensor.width)
    )
    if high is None:
        return Patch(Cut(1, tensor.height, 0, tensor.height), columns), (None, wide)
    ring_rows = 0
    if rings:
        # the first tile primes the ring: all rows from 0 on
        largest = min(max(high.extent, high.pitch, high.extent - high.lead), tensor.height)
        ring_rows = largest if high.extent > high.pitch else 0  # no tile needs rows of the one before
        high = _Need(high.pitch, high.pitch - high.extent + high.lead, high.pitch)
    return Patch(Cut(counts[0], high.pitch, high.lead, high.extent), columns, ring_rows), (high, wide)


def covered(network: Network, span: range, tilings: tuple[Tiling, ...]) -> bool:
    """Whether every tile finds in the patches before it what it reads."""
    patches = {network.ops[k].output: t.patch for k, t in zip(span, tilings, strict=True)}
    if tilings != reading_rings(network, span, tilings):
        return False
    for k, tiling in zip(span, tilings, strict=True):
        geometry = StageGeometry.of(network, network.ops[k], tiling)
        rows, columns, _, _ = geometry.grid
        for name, tensor in zip(network.ops[k].inputs, geometry.inputs, strict=True):
            patch = patches.get(name)
            if patch is None:
                continue
            tiles = [*((i, 0) for i in _ends(rows)), *((0, i) for i in _ends(columns))]
            if not all(_holds(patch, tensor, geometry, tile) for tile in tiles):
                return False
    return True


def _ends(tiles: int) -> set[int]:
    """Tiles at both ends; those between are alike, as cuts move on evenly."""
    return {i for i in range(tiles) if i < FROM_THE_ENDS or i >= tiles - FROM_THE_ENDS}


def _holds(patch: Patch, tensor: Tensor, geometry: StageGeometry, tile: tuple[int, int]) -> bool:
    out = geometry.output_box((*tile, 0, 0))
    if not out.elements:
        return True
    box = geometry.input_box(geometry.inputs.index(tensor), (*tile, 0, 0))
    held = held_box(patch, tensor, tile)
    return all(a[0] <= b[0] and b[1] <= a[1] for a, b in ((held.rows, box.rows), (held.columns, box.columns)))


def held_box(patch: Patch, tensor: Tensor, tile: tuple[int, int]) -> Box:
    """The part of a tensor inside a fused stage that is in its buffer once tile ``(row, column)`` is computed."""
    rows = cut_range(tile[0], patch.rows, tensor.height)
    if patch.ring_rows:
        rows = max(0, rows[1] - patch.ring_rows), rows[1]
    return Box(rows, cut_range(tile[1], patch.columns, tensor.width), (0, tensor.channels))


def patch_footprints(patch: Patch, tensor: Tensor, tile: tuple[int, int], box: Box) -> Iterator[Footprint]:
    """Where a box lies in the buffer of a patch; in a ring it may have two parts."""
    held = held_box(patch, tensor, tile)
    element = tensor.dtype.size_bytes
    pixel = tensor.channels * element
    row = (held.columns[1] - held.columns[0]) * pixel
    skip = (box.columns[0] - held.columns[0]) * pixel + box.channels[0] * element
    columns, channels = box.shape[1:]
    for low, high in _runs(box.rows, patch.ring_rows):
        first = low % patch.ring_rows if patch.ring_rows else low - held.rows[0]
        start = first * row + skip
        if channels < tensor.channels:
            yield Footprint(start, channels * element, high - low, row, columns, pixel)
        elif columns * pixel < row:
            yield Footprint(start, columns * pixel, high - low, row)
        else:
            yield Footprint(start, (high - low) * row)


def _runs(rows: tuple[int, int], ring: int) -> Iterator[tuple[int, int]]:
    """The rows in parts that lie one after the other."""
    low = rows[0]
    while low < rows[1]:
        high = min(rows[1], (low // ring + 1) * ring) if ring else rows[1]
        yield low, high
        low = high


def buffer_elements(patch: Patch, tensor: Tensor, tile: tuple[int, int]) -> int:
    """Elements of the buffer in which a tile of a patch is computed."""
    box = held_box(patch, tensor, tile)
    rows = patch.ring_rows or box.shape[0]
    return rows * box.shape[1] * tensor.channels


def extra_macs(network: Network, span: range, tilings: tuple[Tiling, ...]) -> int:
    """Multiply-accumulates of a fused stage beyond those of its operators one by one."""
    total = 0
    for k, tiling in zip(span, tilings, strict=True):
        op = network.ops[k]
        geometry = StageGeometry.of(network, op, tiling)
        rows, columns, groups, _ = geometry.grid
        boxes = (
            geometry.output_box((i, j, g, 0)).elements
            for i in range(rows)
            for j in range(columns)
            for g in range(groups)
        )
        dense = network.tensors[op.output].elements
        total += network.macs(op) * sum(boxes) // dense - network.macs(op)
    return total
