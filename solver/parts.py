"""Residences of tensors that stay in SRAM in part, and which of them are offered."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import lcm

from ooc_solve.models.parts import part_layout
from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StorageLayout, tile_count, tile_range
from ooc_solve.models.vocabulary import Op, RegionName
from ooc_solve.solver.tile_sizes import sizes

QUARTERS: tuple[int, ...] = (2,)
"""Rows that may be kept of a tensor, in quarters of all."""

SMALL = 5
"""Tensors of less than this part of the arena are kept or spilled whole."""

PLANE_BITS, KEPT_SHIFT, OVERLAP_SHIFT = 20, 40, 52
"""Bits of a residence: channels per plane in storage, rows per record where they are told apart (`variants`), then
the rows kept, then how many of these are stored as well."""

MOST_ROWS = 1 << (OVERLAP_SHIFT - KEPT_SHIFT)


def parted(width: int, kept_rows: int, stored_from: int) -> int:
    """The residence of a tensor whose first rows are kept, the others in planes of so many channels."""
    return width | kept_rows << KEPT_SHIFT | (kept_rows - stored_from) << OVERLAP_SHIFT


def width_of(residence: int) -> int:
    """Channels per plane in storage, 0 of what is kept whole."""
    return residence & ((1 << PLANE_BITS) - 1)


def record_of(residence: int) -> int:
    """Rows per record, 0 where they are not told apart."""
    return residence >> PLANE_BITS & ((1 << KEPT_SHIFT - PLANE_BITS) - 1)


def rows_kept(residence: int) -> int:
    """Rows of a tensor kept in part, otherwise 0."""
    return residence >> KEPT_SHIFT & (MOST_ROWS - 1)


def stored_from(residence: int) -> int:
    """First row that is stored of a tensor kept in part."""
    return rows_kept(residence) - (residence >> OVERLAP_SHIFT)


def part_bytes(problem: Problem, name: str, residence: int) -> int:
    """SRAM that the rows kept of a tensor take, at least where records are not told apart; 0 if none are."""
    rows = rows_kept(residence)
    if not rows:
        return 0
    granule, tensor = problem.granule_bytes(RegionName.SCRATCH), problem.network.tensors[name]
    layout = StorageLayout(tensor, width_of(residence), record_of(residence) or rows, granule)
    return problem.buffer_bytes(part_layout(layout, rows).size_bytes)


def offered_parts(problem: Problem, op: Op, widths: Sequence[int], arena: int) -> tuple[int, ...]:
    """Residences in part that the output of an operator may have, spilled in the widest of some planes.

    None where they are not asked for (`Problem.parts`): they gained nothing so far (FORMULATION.md). None where rows are sealed: those kept have no nonce, and those stored are sealed where they lie.
    """
    tensor = problem.network.tensors[op.output]
    if not problem.parts or not _can_be_parted(problem, op, widths[0]) or tensor.size_bytes * SMALL < arena:
        return ()
    found: list[int] = []
    for quarter in QUARTERS:
        rows = _aligned(tensor.height, quarter)
        if rows < min(tensor.height, MOST_ROWS) and tensor.size_bytes * quarter <= 3 * arena:
            found += [parted(widths[0], rows, first) for first in _firsts(problem, op.output, rows)]
    return tuple(dict.fromkeys(found))


def _can_be_parted(problem: Problem, op: Op, width: int) -> bool:
    network, tensor = problem.network, problem.network.tensors[op.output]
    users = [user for user in network.ops if op.output in user.inputs]
    whole = any(user.needs_whole_tensors for user in (op, *users))
    sealed = problem.seal_bytes(RegionName.SCRATCH) > 0
    if whole or sealed or not users or op.output in network.outputs:
        return False
    granule, unit = problem.granule_bytes(RegionName.SCRATCH), problem.unit_bytes
    rows = {tensor.width * w * tensor.dtype.size_bytes for w in (width, tensor.channels % width)}
    return granule % unit == 0 or all(row % lcm(granule, unit) == 0 for row in rows)


def _aligned(height: int, quarter: int) -> int:
    """A number of rows near some quarters of all that many sizes of tiles divide."""
    near, most = height * quarter // 4, height // 16
    tiles = sizes(height)

    def merit(rows: int) -> tuple[int, int]:
        return sum(rows % tile == 0 for tile in tiles), -abs(rows - near)

    return max(range(max(1, near - most), max(1, near + most) + 1), key=merit)


def _firsts(problem: Problem, name: str, kept: int) -> Iterator[int]:
    """First rows that may be stored if so many are kept: the highest, and one for larger tiles of the consumers."""
    lows = list(_lows(problem, name, kept))
    if lows:
        highest, lower = (min(kept, *(by_consumer[k] for by_consumer in lows)) for k in (0, 1))
        yield from (first for first in dict.fromkeys((highest, lower)) if first > 0)


def _lows(problem: Problem, name: str, kept: int) -> Iterator[tuple[int, int]]:
    """For each consumer the first row that its tiles beyond the rows kept read: at best, and by larger tiles."""
    network = problem.network
    for user in network.ops:
        height, reads = (
            network.tensors[user.output].height,
            [user.reading(k, 0) for k, n in enumerate(user.inputs) if n == name],
        )
        for reading in reads:
            found = {}
            for tile in sizes(height):
                ranges = (reading.needed(tile_range(i, tile, height), network.tensors[name].height)
                          for i in range(tile_count(height, tile)))  # fmt: skip
                beyond = [low for low, high in ranges if high > kept]
                found[tile] = beyond[0] if beyond else 0
            few = [low for tile, low in found.items() if tile * 8 <= height and low]
            yield max(found.values()), min(few, default=max(found.values()))
