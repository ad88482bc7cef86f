"""The storage image: header and weight records as the runtime reads them.

Everything is little-endian. Records are made one at a time, so that a network of
hundreds of megabytes never lies in memory twice.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ooc_solve.codegen.checksum import closed
from ooc_solve.codegen.seal import Sealer
from ooc_solve.codegen.tables import FORMAT, REGIONS, Tables
from ooc_solve.models.cost import align_up
from ooc_solve.models.problem import Problem
from ooc_solve.models.sealing import CHECKSUM_BYTES, cipher_of
from ooc_solve.models.tiling import StageGeometry, TileIndex, tile_range
from ooc_solve.models.vocabulary import InternalError, Op, OpKind, Plan, RegionName
from ooc_solve.models.weight_records import HEADER_BYTES

MAGIC = {RegionName.IMAGE: b"OOCI", RegionName.ANNEX: b"OOCA"}
"""How the header of each image begins."""

END_BYTES = 4
"""Bytes at the end of the image that the header repeats."""


def image_chunks(
    problem: Problem,
    plan: Plan,
    tables: Tables,
    key: bytes | None = None,
    home: RegionName = RegionName.IMAGE,
) -> Iterator[bytes]:
    """The image, or the annex, from its first to its last byte: the header, then one record after the other.

    Records are sealed with ``key`` where the tables say so.
    """
    closing = _closing(problem, tables, key, home)
    granule = problem.granule_bytes(home)
    total = tables.region[REGIONS.index(home)].bytes
    here = (r for r in plan.graph.weight_records if plan.selection.tilings[r[0][0]].weights_in is home)
    records = sorted(here, key=lambda record: record[1])
    last = closing(_payload(problem, plan, records[-1][0]), records[-1][1]) if records else bytes(END_BYTES)
    cipher = tables.sealing.cipher if tables.sealing else 0
    header = image_header(tables.digest, total, last[-END_BYTES:], cipher, home)
    position = align_up(len(header), granule)
    yield header.ljust(position, b"\0")
    for place, offset in records:
        if offset != position:
            raise InternalError(
                f"Weight records must follow each other (record at {offset}, not {position})."
            )
        record = closing(_payload(problem, plan, place), offset)
        position += len(record)
        yield record
    if position != total:
        raise InternalError(f"The image must be as long as its region ({total} bytes; it has {position}).")


def write_image(
    path: Path,
    problem: Problem,
    plan: Plan,
    tables: Tables,
    key: bytes | None = None,
    home: RegionName = RegionName.IMAGE,
) -> int:
    """Write the image, or the annex, to a file and return its size in bytes."""
    with path.open("wb") as file:
        return sum(file.write(chunk) for chunk in image_chunks(problem, plan, tables, key, home))


def _payload(problem: Problem, plan: Plan, place: tuple[int, int, int]) -> bytes:
    """The payload of the weight record of a stage, channel group and split."""
    stage, group, split = place
    geometry = StageGeometry.of(problem.network, problem.network.ops[stage], plan.selection.tilings[stage])
    return weight_payload(geometry, group, split)


def _closing(
    problem: Problem, tables: Tables, key: bytes | None, home: RegionName
) -> Callable[[bytes, int], bytes]:
    """What makes the record at an offset of a payload: zeros up to the granule, and what comes behind."""
    granule = problem.granule_bytes(home)
    if problem.target.crypto is None:
        return lambda payload, offset: with_checksum(payload, granule)
    sealer = Sealer(cipher_of(problem.target.crypto), key, tables.digest)
    before = tables.region[0].bytes if home is RegionName.ANNEX else 0  # no nonce may come twice
    return lambda payload, offset: sealer.record(payload, before + offset, granule)


def image_header(
    digest: bytes, total_bytes: int, end: bytes, cipher: int = 0, home: RegionName = RegionName.IMAGE
) -> bytes:
    """The first 64 bytes of an image that ends with the four bytes of ``end``."""
    body = struct.pack("<4sHHI4s", MAGIC[home], FORMAT, cipher, total_bytes, end) + digest
    return closed(body.ljust(HEADER_BYTES - CHECKSUM_BYTES, b"\0"))


def with_checksum(payload: bytes, granule_bytes: int) -> bytes:
    """A record: payload, zeros up to the granule, and the checksum of both in the last four bytes."""
    size = align_up(len(payload) + CHECKSUM_BYTES, granule_bytes)
    return closed(payload.ljust(size - CHECKSUM_BYTES, b"\0"))


def weight_payload(geometry: StageGeometry, group: int, split: int) -> bytes:
    """What the record of one channel group and split holds: what a kernel finds at its weights address, once unpacked."""
    index: TileIndex = (0, 0, group, split)
    channels = tile_range(group, geometry.tiling.channels, geometry.output.channels)
    op = geometry.op
    if op.kind is OpKind.CONV:
        parameters = _parameters(op, channels) if split == geometry.grid[3] - 1 else b""
        payload = parameters + _conv_weights(geometry, index, channels)
    elif op.kind is OpKind.DEPTHWISE:
        weights = _array(op)[:, :, channels[0] : channels[1]]
        payload = _parameters(op, channels) + _bytes(weights, _form(op))
    elif op.kind is OpKind.LOOKUP:
        tables = _array(op)
        form = "<f4" if geometry.is_float else "u1"
        payload = _bytes(tables if tables.ndim == 1 else tables[channels[0] : channels[1]], form)
    elif op.kind is OpKind.SOFTMAX:
        payload = _bytes(_array(op), "<f4") + (b"" if op.multiplier is None else _bytes(op.multiplier, "<f4"))
    else:
        payload = _bytes(_array(op), "i1")
    if len(payload) != geometry.weight_bytes(index):
        raise InternalError(
            f"'{op.name}': a weight record must have {geometry.weight_bytes(index)} bytes (got {len(payload)})."
        )
    start, count = geometry.packed(index)
    return payload[:start] + packed_weights(payload[start:]) if count else payload


def packed_weights(weights: bytes) -> bytes:
    """Two weights of -8 to 7 to a byte, the first one in the lower half."""
    halves = np.frombuffer(weights.ljust(len(weights) + len(weights) % 2, b"\0"), np.uint8) & 15
    return (halves[::2] | halves[1::2] << 4).astype(np.uint8).tobytes()


def _conv_weights(geometry: StageGeometry, index: TileIndex, channels: tuple[int, int]) -> bytes:
    """``[output channel][row][column][input channel]`` of a tile; a grouped one is never split."""
    weights = _array(geometry.op)[channels[0] : channels[1]]
    if geometry.op.groups == 1:
        low, high = geometry.split_channels(index)
        weights = weights[..., low:high]
    return _bytes(weights, _form(geometry.op))


def _form(op: Op) -> str:
    """How a weight is written."""
    return "<f4" if op.multiplier is None else "i1"


def _parameters(op: Op, channels: tuple[int, int]) -> bytes:
    """Bias and multiplier of some output channels; of float32 the bias alone."""
    low, high = channels
    bias = np.zeros(high - low, "<i4") if op.bias is None else op.bias[low:high]
    if op.multiplier is None:
        return _bytes(bias, "<f4")
    return _bytes(bias, "<i4") + _bytes(op.multiplier[low:high], "<f4")


def _array(op: Op) -> NDArray[np.generic]:
    if op.weights is None:
        raise InternalError(f"'{op.name}' has a weight record but no weights.")
    return op.weights


def _bytes(array: NDArray[np.generic], form: str) -> bytes:
    """The array densely in one byte order, its values unchanged."""
    kept = array.view("u1") if form == "u1" and array.dtype == "int8" else array
    return np.ascontiguousarray(kept, dtype=form).tobytes()
