"""The storage image: header, records where loads find them, checksums, parameters."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.checksum import checksum
from ooc_solve.codegen.image import image_chunks, image_header, weight_payload, with_checksum, write_image
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.models.problem import Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import (
    DType,
    InternalError,
    Op,
    OpKind,
    Plan,
    RegionName,
    TaskKind,
    Tensor,
    Tiling,
    Window,
)


def image_of(problem: Problem, plan: Plan) -> bytes:
    return b"".join(image_chunks(problem, plan, build_tables(problem, plan)))


def geometry_of(op: Op, channels_in: int, channels_out: int, tiling: Tiling) -> StageGeometry:
    a, y = (Tensor(n, 4, 4, c, DType.INT8) for n, c in (("a", channels_in), ("y", channels_out)))
    return StageGeometry(op, (a,), y, tiling)


def conv(channels_out: int, channels_in: int, groups: int = 1) -> Op:
    """A convolution whose parameters all differ."""
    shape = (channels_out, 3, 3, channels_in // groups)
    weights = (np.arange(np.prod(shape)) % 251 - 125).astype(np.int8).reshape(shape)
    bias = np.arange(channels_out, dtype=np.int32) - 3
    multiplier = (np.arange(channels_out) / 7 + 1).astype(np.float32)
    window = Window((3, 3), pads=(1, 1, 1, 1))
    return Op("c", OpKind.CONV, ("a",), "y", window, groups, weights, bias, multiplier)


def test_header_names_format_size_and_digest(problem: Problem, plan: Plan) -> None:
    """The first 64 bytes hold magic, format, size, the last bytes, digest, and a checksum of all that."""
    tables = build_tables(problem, plan)
    image = image_of(problem, plan)
    magic, form, zero, total, end = struct.unpack("<4sHHI4s", image[:16])
    assert (magic, form, zero, total) == (b"OOCI", 5, 0, len(image))
    assert end == image[-4:]
    assert image[16:48] == tables.digest
    assert not any(image[48:60])
    assert checksum(image[:64]) == 0
    assert not any(image[64:512])


@pytest.mark.parametrize("name", ["f746-sd", "f746-qspi-sdram"])
def test_every_load_of_weights_finds_a_sound_record(workshop: Any, name: str) -> None:
    """Each checked load covers one record whose last four bytes are the checksum of the others."""
    problem = workshop.problem(load_target(name))
    plan = workshop.plan(problem, workshop.selection)
    image = image_of(problem, plan)
    loads = [t.transfer for t in plan.graph.tasks if t.kind is TaskKind.LOAD and t.transfer is not None]
    checked = [t for t in loads if t.region is RegionName.IMAGE]
    assert checked
    for transfer in checked:
        record = image[transfer.offset : transfer.offset + transfer.size_bytes]
        assert checksum(record) == 0


def test_seal_pads_with_zeros_to_the_granule() -> None:
    """A record is payload, zeros, and the checksum of both in the last four bytes of a granule."""
    record = with_checksum(b"abc", 16)
    assert record[:12] == b"abc" + bytes(9)
    assert checksum(record) == 0
    assert len(with_checksum(bytes(13), 16)) == 32
    assert len(with_checksum(bytes(12), 16)) == 16


def test_parameters_come_with_the_last_split() -> None:
    """Bias and multipliers stand before the weights of the last split and nowhere else."""
    op = conv(5, 7)
    assert op.weights is not None
    assert op.bias is not None
    assert op.multiplier is not None
    geometry = geometry_of(op, 7, 5, Tiling(4, 4, 3, 4))
    for group, (low, high) in enumerate(((0, 3), (3, 5))):
        assert weight_payload(geometry, group, 0) == op.weights[low:high, :, :, :4].tobytes()
        parameters = (
            op.bias[low:high].astype("<i4").tobytes() + op.multiplier[low:high].astype("<f4").tobytes()
        )
        assert weight_payload(geometry, group, 1) == parameters + op.weights[low:high, :, :, 4:].tobytes()


def test_grouped_weights_are_not_split() -> None:
    """A grouped convolution has the input channels of one group per output channel."""
    op = conv(6, 4, groups=2)
    assert op.weights is not None
    geometry = geometry_of(op, 4, 6, Tiling(4, 4, 4, 4))
    assert weight_payload(geometry, 1, 0)[2 * 8 :] == op.weights[4:6].tobytes()


def test_depthwise_weights_are_cut_by_channels() -> None:
    """A depthwise record has rows, columns, then the channels of its tile."""
    weights = np.arange(9 * 6, dtype=np.int8).reshape(3, 3, 6)
    scale = np.ones(6, np.float32)
    window = Window((3, 3), pads=(1, 1, 1, 1))
    op = Op("d", OpKind.DEPTHWISE, ("a",), "y", window, 6, weights, np.zeros(6, np.int32), scale)
    geometry = geometry_of(op, 6, 6, Tiling(4, 4, 4, 6))
    assert weight_payload(geometry, 1, 0)[2 * 8 :] == weights[:, :, 4:].tobytes()


def test_lookup_tables_are_bytes_per_tensor_or_channel() -> None:
    """One table of 256 bytes, or one for each channel of the tile."""
    table = np.random.default_rng(1).integers(0, 256, (6, 256), dtype=np.uint8)
    tiling = Tiling(4, 4, 4, 6)
    one = geometry_of(Op("l", OpKind.LOOKUP, ("a",), "y", weights=table[0]), 6, 6, tiling)
    each = geometry_of(Op("l", OpKind.LOOKUP, ("a",), "y", weights=table), 6, 6, tiling)
    assert weight_payload(one, 0, 0) == table[0].tobytes()
    assert weight_payload(each, 1, 0) == table[4:].tobytes()


def test_softmax_has_its_exponentials_and_steps() -> None:
    """A softmax record has 256 float32 exponentials, then the output steps per unit."""
    table = np.random.default_rng(2).uniform(0, 1, 256).astype(np.float32)
    steps = np.array([255], np.float32)
    op = Op("s", OpKind.SOFTMAX, ("a",), "y", weights=table, multiplier=steps)
    payload = weight_payload(geometry_of(op, 6, 6, Tiling(4, 4, 6, 6)), 0, 0)
    assert payload == table.astype("<f4").tobytes() + struct.pack("<f", 255)


def test_missing_bias_is_zero() -> None:
    """A convolution without bias gets zeros, so that all kernels read the same."""
    op = replace(conv(2, 1), bias=None)
    assert weight_payload(geometry_of(op, 1, 2, Tiling(4, 4, 2, 1)), 0, 0)[:8] == bytes(8)


def test_file_holds_what_the_chunks_hold(problem: Problem, plan: Plan, tmp_path: Path) -> None:
    """The file is the chunks, and as long as the image region."""
    tables = build_tables(problem, plan)
    size = write_image(tmp_path / "image", problem, plan, tables)
    assert (tmp_path / "image").read_bytes() == image_of(problem, plan)
    assert size == tables.region[0].bytes


def test_gap_between_records_is_refused(problem: Problem, plan: Plan) -> None:
    """Records that do not follow each other are an internal error, never a wrong image."""
    records = (*plan.graph.weight_records[:-1], (plan.graph.weight_records[-1][0], 1 << 20))
    broken = replace(plan, graph=replace(plan.graph, weight_records=records))
    with pytest.raises(InternalError, match="must follow each other"):
        list(image_chunks(problem, broken, build_tables(problem, plan)))


def test_header_has_64_bytes() -> None:
    """Whatever the digest, the header has 64 bytes."""
    assert len(image_header(bytes(32), 1 << 31, bytes(4))) == 64
