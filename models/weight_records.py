"""Records of weights in the image: what is moved, what they take in SRAM, and what the CPU does before their use.

Weights of four bits lie two to a byte, the first one in the lower half. The record is loaded to the start of a
buffer that has room for a byte per weight, and the runtime spreads them in place, from the last to the first,
when it checks the record.

Records for the memory of an NPU take no SRAM, and nothing compares their checksum.
"""

from __future__ import annotations

from dataclasses import dataclass

from ooc_solve.models.cost import align_up, check_ns
from ooc_solve.models.problem import Problem
from ooc_solve.models.sealing import trailer_bytes
from ooc_solve.models.tiling import StageGeometry, TileIndex

HEADER_BYTES = 64
"""What an image begins with, before its records."""


@dataclass(frozen=True, slots=True)
class WeightRecord:
    """One record: bytes moved, bytes of its buffer, and time to check, open and unpack it in ns."""

    size_bytes: int
    room_bytes: int
    check_ns: int


def weight_record(problem: Problem, geometry: StageGeometry, index: TileIndex) -> WeightRecord:
    """The record that a tile uses."""
    granule = problem.granule_bytes(geometry.tiling.weights_in)
    size = align_up(geometry.record_bytes(index) + trailer_bytes(problem.target), granule)
    if geometry.tiling.npu:
        return WeightRecord(size, 0, 0)
    room = problem.buffer_bytes(max(size, geometry.weight_bytes(index)))
    return WeightRecord(size, room, check_ns(problem.target, size, geometry.packed(index)[1]))
