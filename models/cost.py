"""What transfers and layers cost: time in ns.

Times are integers, rounded up, and exact: a decimal such as 0.88 in a board file counts as
88/100, so no result depends on floating-point rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from math import lcm

from ooc_solve.models.sealing import SEAL_BYTES
from ooc_solve.models.vocabulary import (
    FLOATING,
    Crypto,
    InputError,
    KernelCost,
    OpKind,
    Storage,
    StorageAccess,
    Store,
    Target,
    Transfer,
)

NS_PER_S = 1_000_000_000


def align_up(value: int, granule: int) -> int:
    """Return the least multiple of ``granule`` that is at least ``value``."""
    return -(-value // granule) * granule


def align_down(value: int, granule: int) -> int:
    """Return the greatest multiple of ``granule`` that is at most ``value``."""
    return value // granule * granule


# --------------------------------------------------------------------------- transfers


def read_ns(target: Target, store: Store, size_bytes: int, segments: int = 1) -> int:
    """Return the time to read ``size_bytes`` in ``segments`` equal requests, in ns.

    Per request of ``n`` bytes, ``n`` rounded up to the granularity::

        port.setup + read.setup * ceil(n / max_burst) + n * max(1 / link, cpu)
        link = min(port.peak * port.read_efficiency, read.rate)
        cpu  = port.cpu_cycles_per_byte / clock     (0 where DMA moves the data)

    and the cycles that the runtime spends on each request; weights behind an inline engine take its setup and its time
    per byte besides. Nothing costs nothing. Raises ``ValueError`` for a negative size or fewer than one segment.
    """
    access = store.storage.read
    per_byte = _link_ns_per_byte(target, store, store.port.read_efficiency, access)
    moved = align_up(_segment_bytes(size_bytes, segments), access.granularity_bytes)
    moving = segments * _request_ns(store, access, moved, per_byte)
    decrypting = segments * _inline_ns(target, store, moved)
    return moving + decrypting + handling_ns(target, segments * moved, segments)


def write_ns(target: Target, store: Store, size_bytes: int, segments: int = 1) -> int:
    """Return the time to write ``size_bytes`` in ``segments`` equal requests, in ns.

    Per request of ``n`` bytes, ``n`` rounded up to the granularity and, in programmed memories, the page::

        port.setup + write.setup * ceil(n / max_burst) + n * max(1 / link, cpu, page_program / page)
        + (ceil(n / block) * erase.typ where blocks must be erased first)

    with ``link``, ``cpu`` and the cycles of the runtime as in `read_ns`. Typical times: stalls of the part are not included.
    Raises ``ValueError`` for a negative size or fewer than one segment.
    """
    access = store.storage.write
    per_byte = _link_ns_per_byte(target, store, store.port.write_efficiency, access)
    moved = align_up(_segment_bytes(size_bytes, segments), access.granularity_bytes)
    if access.page_bytes and access.page_program_ns:
        moved = align_up(moved, access.page_bytes)
        per_byte = max(per_byte, Fraction(access.page_program_ns, access.page_bytes))
    moving = segments * (_request_ns(store, access, moved, per_byte) + _erase_ns(store.storage, moved))
    return moving + handling_ns(target, segments * moved, segments)


def _segment_bytes(size_bytes: int, segments: int) -> int:
    if size_bytes < 0 or segments < 1:
        raise ValueError(f"a transfer needs a size and segments (got {size_bytes} bytes in {segments})")
    return -(-size_bytes // segments)


def _inline_ns(target: Target, store: Store, moved_bytes: int) -> int:
    """What an engine in the read path adds to one request for weights."""
    engine = target.inline
    if engine is None or store != target.weights or moved_bytes == 0:
        return 0
    return engine.setup_ns + _ceil(moved_bytes * _cipher_ns(engine, target))


def _request_ns(store: Store, access: StorageAccess, moved_bytes: int, ns_per_byte: Fraction) -> int:
    if moved_bytes == 0:
        return 0
    bursts = -(-moved_bytes // (access.max_burst_bytes or moved_bytes))
    streaming = -(-moved_bytes * ns_per_byte.numerator // ns_per_byte.denominator)
    return store.port.setup_ns + access.setup_ns * bursts + streaming


def handling_ns(target: Target, moved_bytes: int, segments: int) -> int:
    """What the CPU does about a transfer: the channel waits for it, so it is part of the transfer."""
    if moved_bytes == 0:
        return 0
    return _ceil(segments * _cycles_ns(target.runtime.cycles_per_request, target.board.clock_hz))


def interruption_ns(target: Target) -> int:
    """What a request of a transfer takes from a kernel that runs when it completes, in ns."""
    return _ceil(_cycles_ns(target.runtime.cycles_per_request, target.board.clock_hz))


def check_ns(target: Target, record_bytes: int, packed_weights: int = 0) -> int:
    """Time to compare the checksum of a record of weights, or to open it if it is sealed, and to unpack it, in ns.

    The runtime compares checksums right before the first kernel that waits for the record, so that is part of
    that computation. What is sealed is opened and unpacked by a task of its own.
    """
    runtime, clock_hz = target.runtime, target.board.clock_hz
    unpacking = _ceil(packed_weights * _cycles_ns(runtime.cycles_per_unpacked_weight, clock_hz))
    if target.crypto is not None:
        return crypto_ns(target, 1, record_bytes - SEAL_BYTES) + unpacking
    return _ceil(record_bytes * _cycles_ns(runtime.cycles_per_checked_byte, clock_hz)) + unpacking


def crypto_ns(target: Target, records: int, payload_bytes: int) -> int:
    """Time to seal or to open so many records of so many bytes together, in ns.

    ``records * setup + bytes * cycles_per_byte / clock``, or with ``bytes / rate`` where the engine has a rate.
    An engine beside the CPU waits for it once per record, as a channel does (`handling_ns`).
    """
    if target.crypto is None or not records:
        return 0
    working = records * target.crypto.setup_ns + _ceil(payload_bytes * _cipher_ns(target.crypto, target))
    return working + (handling_ns(target, payload_bytes, records) if target.engine is not None else 0)


def on_cpu(target: Target, checking_ns: int) -> int:
    """What of the time to check, open or seal records is the CPU's, in ns: all, or nothing."""
    return checking_ns if target.engine is None else 0


def on_engine(target: Target, checking_ns: int) -> int:
    """What of the time to check, open or seal records is that of an engine beside the CPU, in ns."""
    return checking_ns - on_cpu(target, checking_ns)


def by_task(target: Target, checking_ns: int) -> int:
    """What of the time to check or open records is that of tasks of their own, on an engine or the CPU, in ns."""
    return checking_ns if target.crypto is not None else 0


def opening_ns(target: Target, transfer: Transfer) -> int:
    """What checking, opening and unpacking takes that a load has brought, in ns."""
    if transfer.checked:
        return check_ns(target, transfer.size_bytes, transfer.packed_weights)
    return sealing_ns(target, transfer)


def sealing_ns(target: Target, transfer: Transfer) -> int:
    """What sealing the rows takes that a store takes to storage, in ns."""
    return crypto_ns(target, transfer.sealed_records, transfer.sealed_bytes)


def _cipher_ns(crypto: Crypto, target: Target) -> Fraction:
    """Time per byte of a payload."""
    if crypto.bytes_per_s is not None:
        return Fraction(NS_PER_S, crypto.bytes_per_s)
    return _cycles_ns(crypto.cycles_per_byte or 0.0, target.board.clock_hz)


def _erase_ns(storage: Storage, moved_bytes: int) -> int:
    if storage.erase is None or not storage.erase.required:
        return 0
    return -(-moved_bytes // storage.erase.block_bytes) * storage.erase.typ_ns


def _link_ns_per_byte(target: Target, store: Store, efficiency: float, access: StorageAccess) -> Fraction:
    port = store.port
    link = _slowest_ns_per_byte(port.peak_bytes_per_s, efficiency, access.bytes_per_s)
    return max(link, _cycles_ns(port.cpu_cycles_per_byte, target.board.clock_hz))


@cache
def _slowest_ns_per_byte(peak_bytes_per_s: int, efficiency: float, media_bytes_per_s: int) -> Fraction:
    return NS_PER_S / min(peak_bytes_per_s * _exact(efficiency), Fraction(media_bytes_per_s))


@cache
def _cycles_ns(cycles: float, clock_hz: int) -> Fraction:
    return NS_PER_S * _exact(cycles) / clock_hz


@cache
def _exact(value: float) -> Fraction:
    """Return the decimal number as it was written: ``str`` gives the shortest that reads back the same."""
    return Fraction(str(value))


# ----------------------------------------------------------------------------- compute


FLOAT_PREFIX = "float_"
"""Before the names of the kinds of float32 kernels."""

KERNEL_KINDS = (
    *(kind.value for kind in OpKind),
    *("fc", "transposed"),
    *(f"{FLOAT_PREFIX}{kind.value}" for kind in OpKind if kind in FLOATING),
    *(f"{FLOAT_PREFIX}{name}" for name in ("fc", "transposed")),
)
"""Kinds of kernels that a runtime may have figures of its own for: "fc" is a convolution to one pixel,
"transposed" one with a transposed window, those that begin with ``float_`` are the kernels of float32
tensors."""

ALIKE = {f"{prefix}matmul": f"{prefix}conv" for prefix in ("", FLOAT_PREFIX)}
"""Kinds whose figures stand in where a board has none: a product of matrices goes through a row as a convolution of one
tap goes through a pixel (of bytes: one that is left over, beside the pairs)."""

NPU = "npu"
"""Kind of the work of an NPU, for which `Npu` has the figures."""

COARSE_PER_MAC = {
    "conv": "conv_cycles_per_mac",
    "fc": "fc_cycles_per_mac",
    "transposed": "conv_cycles_per_mac",
    "matmul": "conv_cycles_per_mac",
    "depthwise": "dw_cycles_per_mac",
    "max_pool": "dw_cycles_per_mac",
    "average_pool": "dw_cycles_per_mac",
}
"""Coarse figure per kind; the others have no MACs."""


@dataclass(frozen=True, slots=True)
class KernelWork:
    """What one kernel call does, or one operator on an NPU (kind `NPU`, with its ``weight_bytes``).

    ``outputs`` and ``macs`` are those of the operator: every tap counts (pools have them too), in the padding
    as well. The others count what the runtime's kernels go through: output channels in ``blocks`` of four;
    each block row by row of output pixels: ``lines``; besides the pixels whose windows lie inside the input,
    areas whose windows the padding cuts alike (a row, a column or a corner pixel; over a ring of rows,
    those of every row): ``cuts``. Convolutions
    compute pairs of pixels of a row, or of a column that is cut, for pairs of channels, the pixels that are
    left for a block of channels: ``singles``. ``computed`` are the other outputs, those included that only
    fill a pair or a block; ``runs``, over these, the stretches of input bytes that follow each other in memory
    (of depthwise convolutions the taps of fewer channels than a block has, which they walk one by one);
    ``computed_macs`` their taps inside the input, ``single_macs`` those of the singles; ``tails`` the
    bytes of runs beyond whole words of four, which convolutions go through one by one.

    Kernels of float32 have no pairs: their ``lines`` are pixels of a block (convolutions) or rows of it, ``runs`` rows
    of taps looked at (of transposed windows taps), ``single_macs`` those of channels that fill no block. Functions
    with an exponential have as many ``computed_macs`` as outputs.
    """

    kind: str
    outputs: int
    macs: int = 0
    blocks: int = 0
    lines: int = 0
    cuts: int = 0
    singles: int = 0
    computed: int = 0
    runs: int = 0
    computed_macs: int = 0
    single_macs: int = 0
    tails: int = 0
    weight_bytes: int = 0

    def __post_init__(self) -> None:
        if self.kind not in (*KERNEL_KINDS, NPU):
            raise ValueError(f"a kernel is one of {', '.join(KERNEL_KINDS)} (got '{self.kind}')")
        if min(self.outputs, self.macs, *self.figures) < 0:
            raise ValueError(f"a kernel call cannot do less than nothing (got {self})")

    @property
    def figures(self) -> tuple[int, ...]:
        """What the figures of a `KernelCost` count, in their order."""
        return (
            1,
            self.blocks,
            self.lines,
            self.cuts,
            self.singles,
            self.computed,
            self.runs,
            self.computed_macs,
            self.single_macs,
            self.tails,
        )


def compute_ns(target: Target, work: KernelWork) -> int:
    """Return the CPU time of one kernel call, in ns.

    Where the runtime has figures for the kind of kernel, the sum of each of them times what it counts
    (`KernelWork.figures`); otherwise ``cycles_per_call + c * macs + cycles_per_output * outputs`` with ``c`` the
    cycles per MAC of convolutions, of depthwise convolutions and pools, of fully connected layers, or 0. Weights
    are in SRAM, so reading them in place costs nothing here.

    Raises `InputError` for kernels of float32 without figures: the coarse ones are those of int8 kernels.
    """
    if work.kind == NPU:
        return npu_ns(target, work)
    clock_hz = target.board.clock_hz
    known = {cost.kind: cost for cost in target.runtime.kernels}
    cost = known.get(work.kind) or known.get(ALIKE.get(work.kind, ""))
    if cost is not None:
        unit, times = _kernel_terms(cycles_of(cost), clock_hz)
        return -(-_weighted(times, work.figures) // unit)
    if work.kind.startswith(FLOAT_PREFIX):
        raise InputError(
            f"Board '{target.board.name}': must have figures for kernels of float32 to plan a float32 network "
            f"(it has no [runtime.{target.runtime.name}.kernel.{work.kind}]); quantise the network, or add them."
        )
    coarse = target.runtime
    per_mac: float = getattr(coarse, COARSE_PER_MAC[work.kind]) if work.kind in COARSE_PER_MAC else 0.0
    cycles = (coarse.cycles_per_call, coarse.cycles_per_output, per_mac)
    unit, times = _kernel_terms(cycles, clock_hz)
    return -(-_weighted(times, (1, work.outputs, work.macs)) // unit)


def npu_ns(target: Target, work: KernelWork) -> int:
    """Time of one operator on the target's NPU, in ns.

    ``fixed + f(weights / weight rate, outputs / output rate, MACs / MAC rate)`` with ``f`` the sum or the largest;
    terms without a rate are left out, that of weights too where they lie in the NPU's own memory.

    Raises ``ValueError`` where the target has no NPU.
    """
    npu = target.npu
    if npu is None:
        raise ValueError(f"target '{target.name}' has no NPU")
    streamed = npu.weight_bytes_per_s if npu.weight_mem_bytes is None else None
    rates = (work.weight_bytes, streamed), (work.outputs, npu.outputs_per_s), (work.macs, npu.macs_per_s)
    terms = [Fraction(amount * NS_PER_S, rate) for amount, rate in rates if rate is not None]
    longest = max(terms, default=Fraction(0)) if npu.combine == "max" else sum(terms, Fraction(0))
    return npu.fixed_ns + _ceil(longest)


def cycles_of(cost: KernelCost) -> tuple[float, ...]:
    """The figures of a kind of kernels, in the order of `KernelWork.figures`."""
    return (
        cost.cycles_per_call,
        cost.cycles_per_block,
        cost.cycles_per_line,
        cost.cycles_per_cut,
        cost.cycles_per_single,
        cost.cycles_per_output,
        cost.cycles_per_run,
        cost.cycles_per_mac,
        cost.cycles_per_single_mac,
        cost.cycles_per_tail,
    )


def _weighted(times: tuple[int, ...], counts: tuple[int, ...]) -> int:
    return sum(time * count for time, count in zip(times, counts, strict=True))


@cache
def _kernel_terms(cycles: tuple[float, ...], clock_hz: int) -> tuple[int, tuple[int, ...]]:
    """How many units of time are a nanosecond, and how many of them so many cycles take."""
    times = [_cycles_ns(figure, clock_hz) for figure in cycles]
    unit = lcm(*(time.denominator for time in times))
    return unit, tuple(int(time * unit) for time in times)


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)
