"""Tensors of which only the first rows stay in SRAM; the others are stored and fetched, like those of any spilled one.

The rows kept lie in a buffer as they would lie in storage: in planes, each in records of the producer's
tiles. So a tile there is for a kernel what a tile of its own would be, some bytes into the buffer, and
whatever reads kernels and transfers (`codegen/SPEC.md`, streamed operands) knows nothing of it.

A consumer's tile that reads only rows that are kept reads them there, any other one fetches all that it
reads. As windows overlap, some rows are kept and stored: those from `Tiling.stored_from` on.
"""

from __future__ import annotations

from dataclasses import replace

from ooc_solve.models.tiling import StageGeometry, StorageLayout


def part_layout(layout: StorageLayout, rows: int) -> StorageLayout:
    """Where the first rows of a tensor lie in the buffer of those that are kept."""
    return replace(layout, tensor=replace(layout.tensor, height=rows), base=0)


def makes_part(geometry: StageGeometry) -> bool:
    """Whether the tiles of an operator end where the rows kept of its output do, and have full rows."""
    tiling, out = geometry.tiling, geometry.output
    whole_rows = tiling.columns >= out.width and tiling.patch is None
    inside = 0 < tiling.kept_rows < out.height and tiling.kept_rows % tiling.rows == 0
    return whole_rows and inside and not geometry.op.needs_whole_tensors


def reads_part(geometry: StageGeometry, operand: int, kept_rows: int, stored_from: int) -> bool:
    """Whether each tile of an operator finds what it reads of an input among the rows kept, or among those stored.

    Some tiles have to do with the former, others with the latter, and all read full rows.
    """
    rows, columns, _, _ = geometry.grid
    if geometry.op.needs_whole_tensors or geometry.tiling.patch is not None or columns > 1:
        return False
    boxes = [geometry.input_box(operand, (row, 0, 0, 0)) for row in range(rows)]
    if boxes[0].columns != (0, geometry.inputs[operand].width):
        return False
    kept = [is_kept(box.rows, kept_rows) for box in boxes]
    stored = [box.rows[0] >= stored_from for box in boxes]
    return any(kept) and not all(kept) and all(map(max, kept, stored))


def is_kept(rows: tuple[int, int], kept_rows: int) -> bool:
    """Whether all of some rows are kept."""
    return rows[1] <= kept_rows
