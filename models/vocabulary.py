"""The words every other module speaks: network, hardware, tiles, tasks, plans.

Nothing here imports another module of the package. All classes are frozen; after
construction everything they say about themselves is true. Intervals are half-open
``[start, end)``. Integers carry their unit in the name. A violated invariant raises
``ValueError`` with one sentence; the readers turn it into an input error that names
the node or the file.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import numpy as np
from numpy.typing import NDArray

# --------------------------------------------------------------------------- errors


class OocError(Exception):
    """Root of all errors the user may see; ``exit_code`` is what the command returns.

    Every argument is one sentence and shown as one line. Names in it may come from a damaged
    file, so whatever cannot be printed is escaped as in a Python string.
    """

    exit_code = 1

    def __str__(self) -> str:
        return "\n".join(map(_escaped, map(str, self.args)))


def _escaped(text: str) -> str:
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


class InputError(OocError):
    """A model, board file or option that cannot be used as it is (exit code 1)."""


class UsageError(OocError):
    """A command line that does not make sense (exit code 2)."""

    exit_code = 2


class BudgetError(OocError):
    """A budget that nothing can meet (exit code 3)."""

    exit_code = 3


class InternalError(OocError):
    """A check of our own that failed; the plan is withheld (exit code 4)."""

    exit_code = 4


# -------------------------------------------------------------------------- network


class Term(Enum):
    """An enumeration in the keys of what is remembered: a member is itself, so it needs no hash of its name."""

    __hash__ = object.__hash__


class DType(Term):
    """Element types of tensors; the value is the name used in reports and tables."""

    INT8 = "int8"
    UINT8 = "uint8"
    INT32 = "int32"
    FLOAT32 = "float32"

    @property
    def size_bytes(self) -> int:
        """Bytes of one element."""
        return 1 if self in (DType.INT8, DType.UINT8) else 4


@dataclass(frozen=True, slots=True)
class Quantization:
    """Affine quantisation: ``real = scale * (stored - zero_point)``, one pair per tensor."""

    scale: float
    zero_point: int

    def __post_init__(self) -> None:
        if not (self.scale > 0 and np.isfinite(self.scale)):
            raise ValueError(f"a quantisation scale must be positive and finite (got {self.scale})")


@dataclass(frozen=True, slots=True)
class Tensor:
    """An activation: ``height x width x channels``, stored row by row, channels innermost.

    A vector is ``1 x 1 x n``. ``planar`` marks a network input or output that the graph
    keeps channel by channel (``channels x height x width``).
    ``graph_shape`` is the shape the ONNX graph gives it, for people and for file sizes.
    """

    name: str
    height: int
    width: int
    channels: int
    dtype: DType
    quantization: Quantization | None = None
    planar: bool = False
    graph_shape: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if min(self.height, self.width, self.channels) < 1:
            raise ValueError(f"tensor '{self.name}': every dimension must be at least 1")

    @property
    def elements(self) -> int:
        """Number of elements."""
        return self.height * self.width * self.channels

    @property
    def size_bytes(self) -> int:
        """Dense size in bytes."""
        return self.elements * self.dtype.size_bytes


class OpKind(Term):
    """What an operator computes; the value is the name used in reports and tables."""

    CONV = "conv"  # convolution or fully connected layer, any group count but depthwise
    DEPTHWISE = "depthwise"  # one input channel per output channel (channel multiplier 1)
    MAX_POOL = "max_pool"
    AVERAGE_POOL = "average_pool"
    ADD = "add"
    MULTIPLY = "multiply"
    MATMUL = "matmul"  # matrices of two activations
    LOOKUP = "lookup"  # a function of one element: 8-bit by a table of 256 bytes, float32 by a formula
    QUANTIZE = "quantize"  # float32 to int8
    DEQUANTIZE = "dequantize"  # int8 to float32
    SOFTMAX = "softmax"  # over the channels of each pixel
    MOVE = "move"  # pad, slice, nearest resize, concat: each output element is one of an input, or a constant
    PERMUTE = "permute"  # element reordering of the whole tensor


FLOATING = frozenset(
    {
        OpKind.CONV,
        OpKind.DEPTHWISE,
        OpKind.MAX_POOL,
        OpKind.AVERAGE_POOL,
        OpKind.ADD,
        OpKind.MULTIPLY,
        OpKind.MATMUL,
        OpKind.LOOKUP,
        OpKind.SOFTMAX,
    }
)
"""Kinds with a kernel for float32 and another for int8. The others do not compute, or convert."""


class Function(Term):
    """What a LOOKUP of float32 computes, with two parameters ``a`` and ``b``; the value is its number in tables."""

    CLIP = 0  # x limited to [a, b]
    AFFINE = 1  # x * a + b
    LEAKY = 2  # x, below 0 x * a
    INVERSE = 3  # a / x
    EXP = 4
    SIGMOID = 5  # 1 / (1 + exp(-a x))
    SWISH = 6  # x / (1 + exp(-a x))
    TANH = 7
    ERF = 8
    GELU = 9  # x / 2 * (1 + erf(x / sqrt 2))
    GELU_TANH = 10  # x / 2 * (1 + tanh(sqrt(2 / pi) * (x + 0.044715 x^3)))
    HARD_SIGMOID = 11  # x * a + b limited to [0, 1]
    HARD_SWISH = 12  # x * (x * a + b limited to [0, 1])
    ELU = 13  # x, below 0 a * (exp(x) - 1)
    ABS = 14
    SQRT = 15
    LOG = 16
    SOFTPLUS = 17  # log(1 + exp(x))
    MISH = 18  # x * tanh(log(1 + exp(x)))


CHEAP = frozenset(
    {
        *(Function.CLIP, Function.AFFINE, Function.LEAKY, Function.INVERSE, Function.ABS),
        *(Function.HARD_SIGMOID, Function.HARD_SWISH),
    }
)
"""Functions without an exponential, a logarithm or a root."""

UNLIMITED = (-(1 << 15), (1 << 15) - 1)
"""The clamp of float32 outputs that have no limits: these two bounds limit nothing."""


@dataclass(frozen=True, slots=True)
class Reading:
    """Which positions of an input the positions of an output need, along one axis.

    Position ``p`` needs ``floor((p * step + start) / period)`` up to and including
    ``floor((p * step + start + extra) / period)``, as far as those exist.
    """

    step: int
    start: int
    extra: int
    period: int

    def needed(self, out: tuple[int, int], size: int) -> tuple[int, int]:
        """Input range of the output range ``out``, clipped to an input of ``size``.

        At least one position is returned even where none exists, so that every tile has an input buffer.
        """
        first = (out[0] * self.step + self.start) // self.period
        last = ((out[1] - 1) * self.step + self.start + self.extra) // self.period
        low = min(max(first, 0), size - 1)
        return low, max(min(last + 1, size), low + 1)


@dataclass(frozen=True, slots=True)
class Window:
    """Spatial window of an operator. Pairs are ``(vertical, horizontal)``.

    ``pads`` is ``(top, left, bottom, right)``, as in ONNX. ``transposed``: the window of a transposed
    convolution, whose input positions lie ``stride`` output positions apart, and whose pads are cut
    off the output.
    """

    kernel: tuple[int, int] = (1, 1)
    stride: tuple[int, int] = (1, 1)
    dilation: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    transposed: bool = False

    def __post_init__(self) -> None:
        if min(self.kernel + self.stride + self.dilation) < 1:
            raise ValueError("kernel, stride and dilation must be at least 1")
        if min(self.pads) < 0:
            raise ValueError(f"pads must not be negative (got {self.pads})")

    @property
    def reach(self) -> tuple[int, int]:
        """Input rows and columns that one output element spans: ``dilation * (kernel - 1) + 1``."""
        return (
            self.dilation[0] * (self.kernel[0] - 1) + 1,
            self.dilation[1] * (self.kernel[1] - 1) + 1,
        )

    @property
    def taps(self) -> int:
        """Elements of the window."""
        return self.kernel[0] * self.kernel[1]

    def output_size(self, height: int, width: int) -> tuple[int, int]:
        """Output rows and columns for an input of ``height x width`` (floor mode)."""
        reach = self.reach
        if self.transposed:
            return (
                (height - 1) * self.stride[0] + reach[0] - self.pads[0] - self.pads[2],
                (width - 1) * self.stride[1] + reach[1] - self.pads[1] - self.pads[3],
            )
        return (
            (height + self.pads[0] + self.pads[2] - reach[0]) // self.stride[0] + 1,
            (width + self.pads[1] + self.pads[3] - reach[1]) // self.stride[1] + 1,
        )

    def reading(self, axis: int) -> Reading:
        """What output rows (axis 0) or columns (1) need of the input."""
        extra, stride, pad = self.reach[axis] - 1, self.stride[axis], self.pads[axis]
        if self.transposed:  # tap k of position p lies at (p + pad - k * dilation) / stride, if that is whole
            return Reading(1, pad - extra + stride - 1, extra - stride + 1, stride)
        return Reading(stride, -pad, extra, 1)


POINT = Window()

EVERYTHING = Reading(0, 0, 1 << 30, 1)
"""All positions of an input, whatever the output."""

MAX_INPUTS = 2
"""Tensors that one kernel reads."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a MOVE finds its output in one input; triples are rows, columns, channels.

    Output position ``p`` is input position ``floor((p * step + start) / period)``, if that exists.
    """

    step: tuple[int, int, int] = (1, 1, 1)
    start: tuple[int, int, int] = (0, 0, 0)
    period: tuple[int, int, int] = (1, 1, 1)

    def __post_init__(self) -> None:
        if min(self.step) < 0 or min(self.period) < 1:
            raise ValueError("steps must not be negative, and periods at least 1")

    @classmethod
    def shifted(cls, axis: int, offset: int) -> Place:
        """The place of an input that begins at position ``offset`` along one axis."""
        rows, columns, channels = (-offset if axis == k else 0 for k in range(3))
        return cls(start=(rows, columns, channels))

    @property
    def keeps_channels(self) -> bool:
        """Whether every channel comes from the channel of the same number."""
        return (self.step[2], self.start[2], self.period[2]) == (1, 0, 1)

    def reading(self, axis: int) -> Reading:
        """What output rows (axis 0), columns (1) or channels (2) need of the input."""
        return Reading(self.step[axis], self.start[axis], 0, self.period[axis])


@dataclass(frozen=True, slots=True, eq=False)
class Op:
    """One operator with everything its kernel needs except addresses.

    Arrays by kind (``oc``, ``ic`` output and input channels, ``g`` groups):

    CONV        ``weights`` int8 or float32 ``[oc, kh, kw, ic / g]``, ``bias`` ``[oc]`` int32 or
                float32, for int8 ``multiplier`` float32 ``[oc]``.
                ``out = clamp(round_half_even(float32(sum (x - zx) w + bias) * multiplier) + zy)``

    DEPTHWISE   ``weights`` ``[kh, kw, oc]``, the rest as CONV

    LOOKUP      ``weights`` uint8 ``[256]`` or ``[channels, 256]``, indexed by the input byte; of float32
                ``[2]`` or ``[channels, 2]``, the parameters of ``function``

    SOFTMAX     ``weights`` float32 ``[256]`` from ``reference.exponentials``, ``multiplier`` float32
                ``[1]``: output steps per unit; of float32 neither

    MOVE        ``places``, one per input: an output element is taken from the first input that has
                its position, else it is ``fill``, or with ``edges`` the nearest the input has;
                ``whole_pixels`` where input and output have different numbers of channels

    MATMUL      rows of both are rows of matrices, columns number the matrices, channels are their columns:
                ``out[i, n, j]`` is the sum of ``a[i, n, k] * b[k, n, j]``, or with ``turned`` of ``a[i, n, k] * b[j, n, k]``

    PERMUTE     ``permutation``: for each output axis, outermost first, ``(size, input stride)``
                in elements; the output is written densely in that order

    ``packed``: the weights of a CONV or DEPTHWISE are within -8..7 and are stored with four bits each.
    ``clamp`` is the closed range of the stored output, for CONV, DEPTHWISE, ADD, MULTIPLY, MATMUL and pools; of float32
    outputs whole numbers too, or those of ``UNLIMITED``.
    Inputs of ADD and MULTIPLY that have one row or one column are read again for each; ``offset`` is
    what the model's integers are above the stored ones (128: uint8), which decides some of their halves.
    ``count_include_pad`` belongs to AVERAGE_POOL, so does ``by_floats``: sums are float32. The exact arithmetic is in ``reference``.
    """

    name: str
    kind: OpKind
    inputs: tuple[str, ...]
    output: str
    window: Window = POINT
    groups: int = 1
    weights: NDArray[np.generic] | None = None
    bias: NDArray[np.generic] | None = None
    multiplier: NDArray[np.float32] | None = None
    clamp: tuple[int, int] = (-128, 127)
    count_include_pad: bool = False
    by_floats: bool = False
    permutation: tuple[tuple[int, int], ...] = ()
    places: tuple[Place, ...] = ()
    fill: int = 0
    edges: bool = False
    whole_pixels: bool = False
    offset: int = 0
    function: Function | None = None
    packed: bool = False
    turned: bool = False

    def __post_init__(self) -> None:
        arity = 2 if self.kind in (OpKind.ADD, OpKind.MULTIPLY, OpKind.MATMUL) else 1
        if self.kind is OpKind.MOVE:
            arity = min(max(1, len(self.places)), MAX_INPUTS)
        if len(self.inputs) != arity:
            raise ValueError(f"{self.kind.value} '{self.name}' takes {arity} inputs (got {len(self.inputs)})")
        if self.kind in (OpKind.CONV, OpKind.DEPTHWISE, OpKind.LOOKUP) and self.weights is None:
            raise ValueError(f"{self.kind.value} '{self.name}' needs weights")

    @property
    def mixes_channels(self) -> bool:
        """Whether one output channel depends on several input channels."""
        return self.kind in (OpKind.CONV, OpKind.PERMUTE) or self.takes_whole_pixels

    @property
    def takes_whole_pixels(self) -> bool:
        """Whether its tiles have all channels, of the output and of every input."""
        moves_channels = not all(place.keeps_channels for place in self.places)
        return self.kind in (OpKind.SOFTMAX, OpKind.MATMUL) or self.whole_pixels or moves_channels

    @property
    def needs_whole_tensors(self) -> bool:
        """Whether the operator cannot be tiled at all."""
        return self.kind is OpKind.PERMUTE

    def reading(self, operand: int, axis: int) -> Reading:
        """What output rows (axis 0) or columns (1) need of input ``operand``."""
        if self.kind is OpKind.MATMUL and (operand, axis) == (1, 0):
            return EVERYTHING
        return self.places[operand].reading(axis) if self.places else self.window.reading(axis)

    @property
    def weight_bytes(self) -> int:
        """Bytes of weights, bias and multipliers as the kernels read them."""
        arrays = (self.weights, self.bias, self.multiplier)
        return sum(int(array.nbytes) for array in arrays if array is not None)


@dataclass(frozen=True, slots=True, eq=False)
class Network:
    """Operators in topological order over named tensors.

    Every tensor is a network input or the output of exactly one operator. ``order`` says
    where each operator stands in the model's own list, ``base`` is the network that runs them
    as listed; empty and None: this one does. One run makes as many inferences as it has ``frames``.
    ``carried`` pairs outputs with the inputs that find them in the next run, in the same bytes of SRAM: they are
    the last outputs and the last inputs, and no caller writes or reads them.
    """

    name: str
    tensors: dict[str, Tensor]
    ops: tuple[Op, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    digest: str = ""
    order: tuple[int, ...] = ()
    base: Network | None = None
    frames: int = 1
    carried: tuple[tuple[str, str], ...] = ()

    def __post_init__(self) -> None:
        known = set(self.inputs)
        for op in self.ops:
            for name in op.inputs:
                if name not in known:
                    raise ValueError(f"'{op.name}' reads '{name}' before it is produced")
            if op.output in known:
                raise ValueError(f"'{op.output}' is produced twice")
            known.add(op.output)
        for name in (*self.outputs, *known):
            if name not in self.tensors or name not in known:
                raise ValueError(f"tensor '{name}' is not produced by any operator")
        count = len(self.carried)
        ends = tuple(zip(self.outputs[-count:], self.inputs[-count:], strict=False)) if count else ()
        if self.carried != ends:
            raise ValueError("what is carried over must be the last outputs and the last inputs")

    @property
    def given(self) -> tuple[str, ...]:
        """The inputs that the caller writes before a run: all but those that the run before leaves."""
        return self.inputs[: len(self.inputs) - len(self.carried)]

    @property
    def taken(self) -> tuple[str, ...]:
        """The outputs that the caller reads after a run."""
        return self.outputs[: len(self.outputs) - len(self.carried)]

    def __repr__(self) -> str:
        """One line for people, without weights."""
        macs, weights = sum(map(self.macs, self.ops)), sum(op.weight_bytes for op in self.ops)
        ends = [", ".join(map(self._shown, names)) for names in (self.inputs, self.outputs)]
        return (
            f"<Network {self.name}: {len(self.ops)} operators, {' -> '.join(ends)}, "
            f"{macs / 1e6:,.2f} M MACs, {weights / 1024:,.1f} KiB of weights>"
        )

    def _shown(self, name: str) -> str:
        tensor = self.tensors[name]
        return f"{name} {tensor.height}x{tensor.width}x{tensor.channels} {tensor.dtype.value}"

    def macs(self, op: Op) -> int:
        """Multiply-accumulates of one operator (0 for those that are no sums of products)."""
        out = self.tensors[op.output]
        if op.kind is OpKind.MATMUL:
            return out.elements * self.tensors[op.inputs[0]].channels
        if op.window.transposed:
            return self.tensors[op.inputs[0]].elements * op.window.taps * out.channels // op.groups
        if op.kind is OpKind.CONV:
            return out.elements * op.window.taps * self.tensors[op.inputs[0]].channels // op.groups
        if op.kind is OpKind.DEPTHWISE:
            return out.elements * op.window.taps
        return 0


# ------------------------------------------------------------------------- hardware


@dataclass(frozen=True, slots=True)
class Bank:
    """A block of SRAM at consecutive addresses. ``dma``: whether transfers may reach it."""

    name: str
    size_bytes: int
    dma: bool = True


@dataclass(frozen=True, slots=True)
class Port:
    """A link from the SoC to a storage part.

    ``cpu_cycles_per_byte`` is 0 where DMA moves the data. Ports of one
    ``exclusive_group`` share a controller and never transfer at the same time.
    """

    name: str
    bus: str
    clock_hz: int
    peak_bytes_per_s: int
    read_efficiency: float
    write_efficiency: float
    setup_ns: int
    cpu_cycles_per_byte: float = 0.0
    exclusive_group: str | None = None

    @property
    def channel(self) -> str:
        """Name of the resource that transfers over this port occupy."""
        return self.exclusive_group or self.name


@dataclass(frozen=True, slots=True)
class KernelCost:
    """Cycles of the kernels of one kind (`models.cost.KernelWork` says what is counted)."""

    kind: str
    cycles_per_call: float = 0.0
    cycles_per_block: float = 0.0
    cycles_per_line: float = 0.0
    cycles_per_cut: float = 0.0
    cycles_per_single: float = 0.0
    cycles_per_output: float = 0.0
    cycles_per_run: float = 0.0
    cycles_per_mac: float = 0.0
    cycles_per_single_mac: float = 0.0
    cycles_per_tail: float = 0.0


@dataclass(frozen=True, slots=True)
class RuntimeCost:
    """Cycles of one kernel library on one core (where they come from: provenance of models/boards).

    Kinds listed in ``kernels`` take the cycles given there; the first five figures are for the others.
    ``cycles_per_request`` are what the CPU spends on starting and completing a request of a transfer: its
    channel waits for it, and so does a kernel that runs when it completes;
    ``cycles_per_checked_byte`` on comparing the checksum of a record, before the first kernel that waits for it,
    ``cycles_per_unpacked_weight`` on spreading weights of four bits there: where a board file does not say, those of
    the 10 instructions that Cortex-M3 to M55 take for two of them (GCC 12, -O2), one cycle each.
    """

    name: str
    conv_cycles_per_mac: float
    dw_cycles_per_mac: float
    fc_cycles_per_mac: float
    cycles_per_output: float
    cycles_per_call: float
    xip_cycles_per_weight_byte: float | None = None
    rms_error_percent: float | None = None
    cycles_per_request: float = 0.0
    cycles_per_checked_byte: float = 0.0
    cycles_per_unpacked_weight: float = 5.0
    kernels: tuple[KernelCost, ...] = ()


@dataclass(frozen=True, slots=True)
class Crypto:
    """A cipher engine: software, hardware, or inline in the read path.

    ``cpu_busy``: the CPU computes, or waits for the engine. Otherwise it only begins and ends each request.
    ``nj_per_byte`` is what the engine itself takes, beside the CPU's power.
    """

    name: str
    engine: str
    setup_ns: int
    cpu_busy: bool
    directions: str
    cycles_per_byte: float | None = None
    bytes_per_s: int | None = None
    nj_per_byte: float = 0.0


@dataclass(frozen=True, slots=True)
class Npu:
    """An accelerator: time of an operator = fixed + sum or max of weight, output and MAC terms.

    With ``weight_mem_bytes`` weights lie in a memory of its own, from start-up on or loaded within the run; otherwise
    it reads them from flash while it computes. ``data_mem_bytes`` hold inputs and output of an operator.
    """

    name: str
    fixed_ns: int
    combine: str
    weight_bytes_per_s: int | None = None
    outputs_per_s: int | None = None
    macs_per_s: int | None = None
    weight_mem_bytes: int | None = None
    data_mem_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Board:
    """A microcontroller board: core, SRAM, ports, power, kernel libraries.

    ``emulator`` names the emulated machine on which emitted projects run; None: they run on the host.
    """

    name: str
    title: str
    core: str
    cores: int
    clock_hz: int
    usable_bytes: int
    banks: tuple[Bank, ...]
    flash_bytes: int | None
    dma_channels: int
    overlaps_cpu: bool
    dma_setup_cycles: float
    cpu_stall_cycles_per_byte: float
    ports: tuple[Port, ...]
    runtimes: tuple[RuntimeCost, ...]
    active_mw: float
    io_wait_mw: float
    sleep_mw: float
    crypto: tuple[Crypto, ...] = ()
    npus: tuple[Npu, ...] = ()
    emulator: str | None = None


@dataclass(frozen=True, slots=True)
class StorageAccess:
    """How a storage part reads or writes.

    ``page_bytes`` / ``page_program_ns`` belong to programmed memories, ``max_burst_bytes``
    to parts that must be addressed again after so many bytes.
    """

    bytes_per_s: int
    setup_ns: int
    granularity_bytes: int
    max_burst_bytes: int | None = None
    page_bytes: int | None = None
    page_program_ns: int | None = None
    stall_ns_max: int | None = None


@dataclass(frozen=True, slots=True)
class Erase:
    """Block erase of NOR and NAND parts."""

    required: bool
    block_bytes: int
    typ_ns: int
    max_ns: int


@dataclass(frozen=True, slots=True)
class Endurance:
    """Program/erase cycles a ``unit`` ("block", "byte" or "device") survives."""

    cycles: int
    unit: str
    write_amplification: float


@dataclass(frozen=True, slots=True)
class Storage:
    """A storage part. ``endurance`` is None for memories that do not wear."""

    name: str
    kind: str
    capacity_bytes: int
    volatile: bool
    read: StorageAccess
    write: StorageAccess
    erase: Erase | None
    endurance: Endurance | None
    read_nj_per_byte: float
    write_nj_per_byte: float
    erase_nj_per_byte: float
    idle_mw: float
    sleep_mw: float
    read_nj_per_request: float = 0.0
    write_nj_per_request: float = 0.0


@dataclass(frozen=True, slots=True)
class Store:
    """A storage part behind a port: where records live."""

    role: str
    port: Port
    storage: Storage

    @property
    def channel(self) -> str:
        """Name of the resource that transfers to and from it occupy."""
        return self.port.channel


@dataclass(frozen=True, slots=True)
class Target:
    """A whole system: board, kernel library, and the stores for weights and activations.

    ``activations`` is None where spilled activations have no place to go (NOR flash).
    It may be the same store as ``weights``. With ``crypto``, an engine of the board, records of weights and
    rows of spilled activations are sealed. With ``inline`` an engine decrypts weights while they are read.
    ``annex`` holds weights too, where it is another store than
    ``weights``: of each operator the plan says where its weights lie. It may be the same store as ``activations``.
    ``npu``, one of the board's, computes some operators in place of the CPU.
    ``parts`` are the stores to which `roles.assigned` gives these roles; empty: the target file gives them.
    """

    name: str
    title: str
    board: Board
    runtime: RuntimeCost
    weights: Store
    activations: Store | None
    provenance: dict[str, str] = field(default_factory=dict, compare=False, hash=False)
    crypto: Crypto | None = None
    inline: Crypto | None = None
    annex: Store | None = None
    parts: tuple[Store, ...] = ()
    npu: Npu | None = None

    def __repr__(self) -> str:
        """One line for people."""
        sealed = "" if self.crypto is None else ", sealed"
        return f"<Target {self.name}: {self.title}, {self.board.usable_bytes / 1024:g} KiB of SRAM{sealed}>"

    @property
    def engine(self) -> Crypto | None:
        """What opens and seals records beside the CPU, None where the CPU does so or waits for it.

        Without DMA the CPU would have to feed it, so it waits there too.
        """
        alone = self.crypto is not None and not self.crypto.cpu_busy and self.board.overlaps_cpu
        return self.crypto if alone else None

    @property
    def stores(self) -> tuple[Store, ...]:
        """The distinct stores, weights first."""
        found = [self.weights]
        for store in (self.activations, self.annex):
            if store is not None and store not in found:
                found.append(store)
        return tuple(found)


# ------------------------------------------------------------------ tiles and storage


@dataclass(frozen=True, slots=True)
class Box:
    """A part of a tensor: half-open ranges of rows, columns and channels."""

    rows: tuple[int, int]
    columns: tuple[int, int]
    channels: tuple[int, int]

    @property
    def shape(self) -> tuple[int, int, int]:
        """Rows, columns and channels of the box."""
        return (
            self.rows[1] - self.rows[0],
            self.columns[1] - self.columns[0],
            self.channels[1] - self.channels[0],
        )

    @property
    def elements(self) -> int:
        """Number of elements."""
        rows, columns, channels = self.shape
        return rows * columns * channels


class LoopOrder(Term):
    """Which operand stays while the other passes by."""

    WEIGHTS_OUTER = "weights"  # a weight tile stays, stripes of the input pass
    ACTIVATIONS_OUTER = "activations"  # a stripe of the input stays, weight tiles pass


@dataclass(frozen=True, slots=True)
class Cut:
    """Overlapping tiles along an axis: tile ``i`` of ``count`` is ``[i * pitch - lead, i * pitch - lead + extent)``.

    Clipped to the tensor; the first one begins at 0. A tile may be empty.
    """

    count: int
    pitch: int
    lead: int
    extent: int

    def __post_init__(self) -> None:
        if min(self.count, self.pitch, self.extent) < 1:
            raise ValueError("a cut needs tiles, a pitch and an extent of at least 1")


@dataclass(frozen=True, slots=True)
class Patch:
    """How the output of an operator inside a fused stage is cut; it only lives in SRAM, tile by tile.

    Without ``ring_rows`` every tile has a buffer of its own, which holds its box densely. With
    them all tiles share one of so many rows, in which row ``y`` lies at ``y % ring_rows``: rows
    that later tiles need are there already and are not computed again.
    """

    rows: Cut
    columns: Cut
    ring_rows: int = 0


@dataclass(frozen=True, slots=True)
class Tiling:
    """How one stage is cut: sizes of an output tile, input channels per partial sum, loops.

    ``hold_weights`` / ``hold_inputs``: what was loaded stays until the stage ends instead
    of being fetched again for the next round of the loop. With a ``patch`` the operator is fused
    with the one behind it; rows and columns are those of the largest tile. ``ring_rows`` are those of
    the ring that it reads first, 0 where it reads none: kernels go through the rows of a ring one by one.
    ``annex``: the weights come from `Target.annex`. ``npu``: the operator runs on `Target.npu`, which has
    the weights or reads them itself, or with ``npu_loads`` finds those of each tile loaded into its own memory
    (`models.npu`).
    ``in_place``: the output takes the bytes of the first kept input that is not read any more (`models.in_place`).
    ``kept_rows``: the first rows of the output stay in SRAM until their last consumer has read them, 0 where it is
    kept or spilled whole; rows from ``stored_from`` on, which is not above it, are spilled (`models.parts`).
    """

    rows: int
    columns: int
    channels: int
    split: int
    loop: LoopOrder = LoopOrder.WEIGHTS_OUTER
    hold_weights: bool = False
    hold_inputs: bool = False
    patch: Patch | None = None
    ring_rows: int = 0
    annex: bool = False
    npu: bool = False
    npu_loads: bool = False
    in_place: bool = False
    kept_rows: int = 0
    stored_from: int = 0

    def __post_init__(self) -> None:
        if min(self.rows, self.columns, self.channels, self.split) < 1:
            raise ValueError("tile sizes must be at least 1")
        if self.npu_loads and not self.npu:
            raise ValueError("only an operator on an NPU has its weights loaded there")
        if not 0 <= self.stored_from <= self.kept_rows:
            raise ValueError("rows must be stored from one of those on that are kept, or from the next one")

    @property
    def weights_in(self) -> RegionName:
        """The region with the weight records."""
        return RegionName.ANNEX if self.annex else RegionName.IMAGE


@dataclass(frozen=True, slots=True)
class Footprint:
    """Bytes ``start + r * row_stride + c * column_stride + [0, run)`` of a buffer or region."""

    start: int
    run: int
    rows: int = 1
    row_stride: int = 0
    columns: int = 1
    column_stride: int = 0

    @property
    def span(self) -> tuple[int, int]:
        """Smallest interval of bytes that holds the footprint."""
        last = self.start + (self.rows - 1) * self.row_stride + (self.columns - 1) * self.column_stride
        return self.start, last + self.run


# -------------------------------------------------------------------- tasks and plans


CRYPTO = "crypto"
"""Name of the resource that opens and seals records beside the CPU."""

NPU_UNIT = "npu"
"""Name of the resource that computes operators beside the CPU."""


class TaskKind(Term):
    """What a task does; the value is the name used in reports and traces."""

    LOAD = "load"
    STORE = "store"
    COMPUTE = "compute"
    ENCRYPT = "encrypt"
    DECRYPT = "decrypt"


class BufferRole(Term):
    """What a buffer in SRAM holds."""

    TENSOR = "tensor"  # an activation, or its first rows, kept from its producer to its last consumer
    INPUT = "input"  # a tile of an activation fetched from storage
    WEIGHTS = "weights"
    OUTPUT = "output"  # a tile of an activation on its way to storage
    ACCUMULATOR = "accumulator"  # int32 or float32 partial sums
    PATCH = "patch"  # a tile, or some rows, of an activation inside a fused stage


class RegionName(Term):
    """A part of a store."""

    IMAGE = "image"  # header and weight records, written once by the host
    INPUT = "input"
    OUTPUT = "output"
    SCRATCH = "scratch"  # spilled activations
    ANNEX = "annex"  # a second image, with the weight records that lie on another store


@dataclass(frozen=True, slots=True)
class Region:
    """Where a region lies: ``store`` indexes ``Target.stores``."""

    name: RegionName
    store: int
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Buffer:
    """A block of SRAM that tasks fill and read.

    Weights for an NPU lie ``held`` in its own memory (first byte, end) and take no SRAM.
    """

    index: int
    role: BufferRole
    stage: int
    label: str
    size_bytes: int
    pinned: bool = False  # in the arena for the whole run (network input or output)
    held: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Touch:
    """Bytes of one buffer that a task reads or writes."""

    buffer: int
    footprint: Footprint


@dataclass(frozen=True, slots=True)
class Transfer:
    """Storage side of a LOAD or STORE, or of what is opened or sealed for it: ``segments`` runs of ``segment_bytes``, ``pitch`` apart."""

    region: RegionName
    offset: int
    segment_bytes: int
    segments: int = 1
    pitch: int = 0
    checked: bool = False  # ends with a checksum, or is sealed
    sealed_records: int = 0  # opened after a LOAD, sealed before a STORE
    sealed_bytes: int = 0  # of their payloads
    packed_start: int = 0  # where its weights of four bits begin, two to a byte
    packed_weights: int = 0  # their number; a byte each once they are spread

    @property
    def size_bytes(self) -> int:
        """Bytes moved."""
        return self.segment_bytes * self.segments

    @property
    def footprint(self) -> Footprint:
        """The bytes of the region that are touched."""
        return Footprint(self.offset, self.segment_bytes, self.segments, self.pitch)


@dataclass(frozen=True, slots=True)
class Task:
    """One unit of work on one resource.

    A DECRYPT task opens the records that the LOAD it comes after has brought, an ENCRYPT task seals those that
    the STORE behind it takes, both in place. Their ``transfer`` is that of the LOAD or STORE; they move nothing
    themselves. They run on an engine beside the CPU (`CRYPTO`), otherwise on the CPU between kernels.
    ``after`` lists the tasks whose results it needs. ``operands`` of a COMPUTE task are
    buffer indices: input 0, input 1, weights, output, accumulator; -1 where unused. ``offsets`` say how many bytes
    into its buffer each begins.
    """

    index: int
    kind: TaskKind
    resource: str
    duration_ns: int
    stage: int
    tile: int
    reads: tuple[Touch, ...]
    writes: tuple[Touch, ...]
    after: tuple[int, ...] = ()
    transfer: Transfer | None = None
    operands: tuple[int, int, int, int, int] = (-1, -1, -1, -1, -1)
    offsets: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)

    @property
    def moved(self) -> Transfer | None:
        """What moves between SRAM and storage, None for kernels and crypto tasks."""
        return self.transfer if self.kind in (TaskKind.LOAD, TaskKind.STORE) else None

    @property
    def occupies_unit(self) -> bool:
        """Whether the CPU or an NPU computes, or the CPU opens or seals; moving bytes is not counted."""
        return self.moved is None and self.resource != CRYPTO

    @property
    def occupies_cpu(self) -> bool:
        """Whether the CPU computes, opens or seals; moving bytes where there is no DMA is not counted."""
        return self.occupies_unit and self.resource != NPU_UNIT

    @property
    def is_inbound(self) -> bool:
        """Whether it brings a tile from storage."""
        return self.kind in (TaskKind.LOAD, TaskKind.DECRYPT)

    @property
    def is_outbound(self) -> bool:
        """Whether it takes a tile towards storage."""
        return self.kind in (TaskKind.STORE, TaskKind.ENCRYPT)

    @property
    def requests(self) -> int:
        """Requests that the CPU begins and ends: segments of a transfer, records that an engine opens or seals."""
        if self.transfer is None or self.occupies_cpu:
            return 0
        return self.transfer.segments if self.moved is not None else self.transfer.sealed_records


@dataclass(frozen=True, slots=True)
class TaskGraph:
    """All tasks of a selection of tilings, compute tasks in the order in which they start.

    ``resources`` names the CPU first, then the IO channels, then the crypto engine, if it
    works beside them, then the NPU, if it computes something. ``resident`` are the
    tensors kept whole in SRAM with their buffers; ``weight_records`` the offset of each weight tile
    ``(stage, group, split)`` in the region that `Tiling.weights_in` of its stage says.
    """

    tasks: tuple[Task, ...]
    buffers: tuple[Buffer, ...]
    resources: tuple[str, ...]
    regions: tuple[Region, ...]
    resident: tuple[tuple[str, int], ...] = ()
    weight_records: tuple[tuple[tuple[int, int, int], int], ...] = ()

    @property
    def compute_tasks(self) -> tuple[Task, ...]:
        """COMPUTE tasks in their order: none starts before the one before it does, or while its unit is busy."""
        return tuple(task for task in self.tasks if task.kind is TaskKind.COMPUTE)


@dataclass(frozen=True, slots=True)
class Schedule:
    """When each task starts and where each buffer lies (bytes over all banks end to end)."""

    start_ns: tuple[int, ...]
    address: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Streams:
    """The order that carries correctness: what the tables hold instead of times.

    ``order[r]`` lists the tasks of resource ``r`` (as in ``TaskGraph.resources``).
    ``required[t]`` says for task ``t`` how many tasks of each resource must have completed
    before it starts (its own resource: its position). Along a resource they never fall.
    """

    order: tuple[tuple[int, ...], ...]
    required: tuple[tuple[int, ...], ...]


class Objective(Enum):
    """What a plan is judged by first."""

    LATENCY = "latency"
    ENERGY = "energy"
    WEAR = "wear"


class Status(Enum):
    """How much is proven about a result."""

    OPTIMAL = "optimal"
    FEASIBLE = "feasible"
    INFEASIBLE = "infeasible"


@dataclass(frozen=True, slots=True)
class Selection:
    """Level-one decisions: the order of the operators, a tiling for each, and the tensors kept whole in SRAM.

    A tensor that is not kept is spilled: stored tile by tile, fetched by its consumers, but for the first rows
    of those of which its tiling keeps some; or its tiling has a `Patch`, and it is produced and consumed within a
    fused stage.
    ``order`` is that of the network it was made for (`Network.order`), as are the tilings.
    ``turns`` say whose kernels run next, where stages alternate: number of the stage and how many kernels, again and
    again until all have run; empty: one stage after the other.
    """

    tilings: tuple[Tiling, ...]
    kept: frozenset[str]
    order: tuple[int, ...] = ()
    turns: tuple[tuple[int, int], ...] = ()

    @property
    def stages(self) -> tuple[range, ...]:
        """Numbers of the operators of each stage: operators with a patch belong to the stage of the next one."""
        ends = [k + 1 for k, tiling in enumerate(self.tilings) if tiling.patch is None]
        return tuple(map(range, [0, *ends[:-1]], ends))


@dataclass(frozen=True, slots=True)
class Figures:
    """What a plan costs, by the model of the target."""

    latency_ns: int
    energy_nj: int
    bytes_read: int
    bytes_written: int
    sram_peak_bytes: int
    table_bytes: int
    compute_ns: int
    io_ns: int
    lifetime_years: float | None


@dataclass(frozen=True, slots=True)
class Plan:
    """A complete decision: tilings, tasks, times, addresses, and what it promises."""

    selection: Selection
    graph: TaskGraph
    schedule: Schedule
    streams: Streams
    figures: Figures
    scheduler: str


@dataclass(frozen=True, slots=True)
class Budget:
    """What a scheduler may spend. ``time_limit_s`` bounds its wall-clock time, ``workers`` its processes."""

    time_limit_s: float = 20.0
    workers: int = 1
    seed: int = 1


def relative_gap(value: int, bound: int) -> float:
    """How far a value is from a bound below it, as a share of the value."""
    return (value - bound) / value if value else 0.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a scheduler found. ``gap`` is ``(objective - bound) / objective``, ``processes`` how many worked on it."""

    scheduler: str
    status: Status
    plan: Plan | None
    objective: int | None
    bound: int
    seconds: float
    reason: str = ""
    processes: int = 1

    @property
    def gap(self) -> float | None:
        """Relative distance of the plan from the bound, None without a plan."""
        return None if self.objective is None else relative_gap(self.objective, self.bound)
