"""The rows of the constant tables, one frozen class per C struct.

Field names, order and meaning are those of ``runtime/ooc_tables.h``; ``SPEC.md`` has the prose.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from ooc_solve.codegen.packing import CommandRow, pack, unpack
from ooc_solve.models.footprint import (
    AXIS_BYTES,
    BINDING_BYTES,
    CODE_BYTES,
    MODEL_BYTES,
    PACKING_BYTES,
    PACKING_POINTER_BYTES,
    REGION_BYTES,
    RING_BYTES,
    SEALING_BYTES,
    SHAPE_BYTES,
    STAGE_BYTES,
    TENSOR_BYTES,
)
from ooc_solve.models.vocabulary import OpKind, Reading, RegionName

FORMAT = 5

MAX_STREAMS = 4

MAX_BANKS = 4

COMPUTE_CHANNEL = 0xFF

ENGINE_CHANNEL = 0xFE

NO_STORE = 0xFF

FLAG_COUNT_PAD = 1

FLAG_TABLE_PER_CHANNEL = 2

FLAG_TRANSPOSED = 4

FLAG_EDGES = 8

FLAG_UNSIGNED = 16

FLAG_FLOATS = 32

FLAG_FLOAT32 = 64

FLAG_STORE = 1

FLAG_CHECKED = 2

REGIONS = (
    RegionName.IMAGE,
    RegionName.INPUT,
    RegionName.OUTPUT,
    RegionName.SCRATCH,
    RegionName.ANNEX,
)
"""Regions by their number in the tables; the last only where weights lie there."""

HOMES = (RegionName.IMAGE, RegionName.ANNEX)
"""Regions with a header and weight records: each begins its store."""

KINDS = (
    OpKind.CONV,
    OpKind.DEPTHWISE,
    OpKind.MAX_POOL,
    OpKind.AVERAGE_POOL,
    OpKind.ADD,
    OpKind.LOOKUP,
    OpKind.QUANTIZE,
    OpKind.DEQUANTIZE,
    OpKind.SOFTMAX,
    OpKind.MOVE,
    OpKind.PERMUTE,
    OpKind.MULTIPLY,
    OpKind.MATMUL,
)
"""Kinds of operators by their number in the tables."""

RESIDENT, STREAMED, PATCH = range(3)
"""``enum ooc_place``."""

BYTEWISE = (OpKind.LOOKUP, OpKind.PERMUTE, OpKind.MOVE)
"""Kinds that take bytes as they are, signed or not."""

UINT8, UINT16, UINT32 = (1 << 8) - 1, (1 << 16) - 1, (1 << 32) - 1

MOST_STEP = (1 << 15) - 1


# ----------------------------------------------------------------------------- rows


@dataclass(frozen=True, slots=True)
class TensorRow:
    """``struct ooc_tensor``."""

    height: int
    width: int
    channels: int
    zero_point: int
    scale: float
    element_bytes: int

    @property
    def size_bytes(self) -> int:
        """Dense size."""
        return self.height * self.width * self.channels * self.element_bytes


@dataclass(frozen=True, slots=True)
class OperandRow:
    """``struct ooc_operand``."""

    tensor: int = 0
    plane_channels: int = 0
    record_rows: int = 0
    granule: int = 0
    plane_pitch: int = 0
    place: int = RESIDENT
    maker: int = 0
    seal: int = 0


@dataclass(frozen=True, slots=True)
class CutRow:
    """``struct ooc_cut``."""

    count: int
    pitch: int
    lead: int
    extent: int


@dataclass(frozen=True, slots=True)
class StageRow:
    """``struct ooc_stage``."""

    kind: int
    inputs: int
    flags: int
    fill: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int]
    conv_groups: int
    first_axis: int
    tiles: tuple[CutRow, CutRow]
    tile_channels: int
    split_channels: int
    clamp_low: int
    clamp_high: int
    operand: tuple[OperandRow, OperandRow, OperandRow]


@dataclass(frozen=True, slots=True)
class AxisRow:
    """``struct ooc_axis``: of a permutation, or of a move (`moved`)."""

    size: int
    stride: int

    @classmethod
    def moved(cls, step: int, start: int, period: int) -> AxisRow:
        """One axis of an input of a move."""
        return cls(period << 16 | step, start % (1 << 32))

    @property
    def reading(self) -> Reading:
        """What output positions of a move need of the input."""
        start = self.stride - (1 << 32 if self.stride >> 31 else 0)
        return Reading(self.size & UINT16, start, 0, self.size >> 16)


@dataclass(frozen=True, slots=True)
class ShapeRow:
    """``struct ooc_shape``."""

    bytes: int
    pitch: int
    segments: int

    @property
    def size_bytes(self) -> int:
        """Bytes moved."""
        return self.bytes * self.segments


@dataclass(frozen=True, slots=True)
class PackingRow:
    """``struct ooc_packing``: where weights of four bits begin in what a shape moves, and their number."""

    start: int
    weights: int

    @property
    def end(self) -> int:
        """Bytes from the start of the record to the last weight, once they are spread."""
        return self.start + self.weights if self.weights else 0


@dataclass(frozen=True, slots=True)
class RegionRow:
    """``struct ooc_region``."""

    base: int
    bytes: int
    store: int


@dataclass(frozen=True, slots=True)
class BindingRow:
    """``struct ooc_binding``."""

    operand: OperandRow
    offset: int
    bytes: int


@dataclass(frozen=True, slots=True)
class SealingRow:
    """What ``struct ooc_model`` has besides where records are sealed: the cipher, tensors, and the journal."""

    cipher: int
    sealed: tuple[BindingRow, ...]
    journal: RegionRow


@dataclass(frozen=True, slots=True)
class RingRow:
    """``struct ooc_ring``: where the scratch region takes turns, and the SRAM address through which notes go."""

    step: int
    places: int
    buffer: int
    note: int


@dataclass(frozen=True, slots=True)
class StreamRow:
    """``struct ooc_stream``; ``commands`` are what its words stand for."""

    code: tuple[int, ...]
    channel: int
    store: int
    commands: tuple[CommandRow, ...] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "commands", unpack(self.code))

    @classmethod
    def of(cls, commands: Sequence[CommandRow], channel: int, store: int) -> StreamRow:
        """A stream of some commands, packed."""
        return cls(pack(commands), channel, store)


@dataclass(frozen=True, slots=True)
class Tables:
    """``struct ooc_model`` and all that it points to.

    ``granule_bytes`` (per region) is not in the structs; the header tells it to people,
    and the checker holds transfers to it.
    """

    format: int
    unit: int
    inputs: int
    outputs: int
    bank_bytes: tuple[int, ...]
    digest: bytes
    region: tuple[RegionRow, ...]
    stream: tuple[StreamRow, ...]
    tensors: tuple[TensorRow, ...]
    stages: tuple[StageRow, ...]
    shapes: tuple[ShapeRow, ...]
    axes: tuple[AxisRow, ...]
    bindings: tuple[BindingRow, ...]
    granule_bytes: tuple[int, ...]
    sealing: SealingRow | None = None
    ring: RingRow | None = None
    packings: tuple[PackingRow, ...] = ()  # one per shape, or none at all

    @property
    def arena_bytes(self) -> int:
        """SRAM that the addresses reach, over all banks."""
        return sum(self.bank_bytes)

    def store_bytes(self, store: int) -> int:
        """Bytes of a store from its start to the end of the last region on it."""
        regions = (*self.used_regions, *([self.sealing.journal] if self.sealing else []))
        return max((r.base + r.bytes for r in regions if r.store == store), default=0)

    @property
    def used_regions(self) -> tuple[RegionRow, ...]:
        """The regions with all bytes that they lie in: the scratch region takes the places of its ring."""
        scratch = REGIONS.index(RegionName.SCRATCH)
        if self.ring is None:
            return self.region
        whole = replace(self.region[scratch], bytes=self.ring.step * self.ring.places)
        return (*self.region[:scratch], whole, *self.region[scratch + 1 :])

    def store_granule(self, store: int) -> int:
        """Granule that suits every region in use on a store, 1 if there is none."""
        sizes = [
            granule
            for region, granule in zip(self.region, self.granule_bytes, strict=True)
            if region.store == store and region.bytes
        ]
        return min(sizes, default=1)


def table_bytes(tables: Tables) -> int:
    """Bytes of all constant structs on a chip with 32-bit pointers."""
    sealing = SEALING_BYTES + BINDING_BYTES * len(tables.sealing.sealed) if tables.sealing else 0
    return (
        MODEL_BYTES
        + REGION_BYTES * has_annex(tables)
        + sealing
        + (RING_BYTES if tables.ring else 0)
        + CODE_BYTES * sum(len(stream.code) for stream in tables.stream)
        + STAGE_BYTES * len(tables.stages)
        + TENSOR_BYTES * len(tables.tensors)
        + SHAPE_BYTES * len(tables.shapes)
        + (PACKING_POINTER_BYTES if tables.packings else 0)
        + PACKING_BYTES * len(tables.packings)
        + AXIS_BYTES * len(tables.axes)
        + BINDING_BYTES * len(tables.bindings)
    )


def has_engine(tables: Tables) -> bool:
    """Whether an engine opens and seals records beside the CPU."""
    return any(stream.channel == ENGINE_CHANNEL for stream in tables.stream)


def has_annex(tables: Tables) -> bool:
    """Whether weights lie in an annex."""
    return len(tables.region) == len(REGIONS)


def computes_in_floats(tables: Tables) -> bool:
    """Whether a stage needs the float32 kernels of the runtime."""
    return any(stage.flags & FLAG_FLOAT32 for stage in tables.stages)


def multiplies_matrices(tables: Tables) -> bool:
    """Whether a stage multiplies two activations, for which the runtime has kernels where it is asked for them."""
    return any(KINDS[stage.kind] is OpKind.MATMUL for stage in tables.stages)
