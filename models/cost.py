"""What transfers and layers cost: time in ns, energy in nJ, wear in years.

Times and energies are integers, rounded up, and exact: a decimal such as 0.88 in a board file counts as
88/100, so no result depends on floating-point rounding.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from functools import cache

from ooc_solve.models.vocabulary import Storage, StorageAccess, Store, Target

NS_PER_S = 1_000_000_000
DAYS_PER_YEAR = 365.25


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

    Nothing costs nothing. Raises ``ValueError`` for a negative size or fewer than one segment.
    """
    access = store.storage.read
    per_byte = _link_ns_per_byte(target, store, store.port.read_efficiency, access)
    moved = align_up(_segment_bytes(size_bytes, segments), access.granularity_bytes)
    return segments * _request_ns(store, access, moved, per_byte)


def write_ns(target: Target, store: Store, size_bytes: int, segments: int = 1) -> int:
    """Return the time to write ``size_bytes`` in ``segments`` equal requests, in ns.

    Per request of ``n`` bytes, ``n`` rounded up to the granularity and, in programmed memories, the page::

        port.setup + write.setup * ceil(n / max_burst) + n * max(1 / link, cpu, page_program / page)
        + (ceil(n / block) * erase.typ where blocks must be erased first)

    with ``link`` and ``cpu`` as in `read_ns`. Typical times: stalls of the part are not included.
    Raises ``ValueError`` for a negative size or fewer than one segment.
    """
    access = store.storage.write
    per_byte = _link_ns_per_byte(target, store, store.port.write_efficiency, access)
    moved = align_up(_segment_bytes(size_bytes, segments), access.granularity_bytes)
    if access.page_bytes and access.page_program_ns:
        moved = align_up(moved, access.page_bytes)
        per_byte = max(per_byte, Fraction(access.page_program_ns, access.page_bytes))
    return segments * (_request_ns(store, access, moved, per_byte) + _erase_ns(store.storage, moved))


def _segment_bytes(size_bytes: int, segments: int) -> int:
    if size_bytes < 0 or segments < 1:
        raise ValueError(f"a transfer needs a size and segments (got {size_bytes} bytes in {segments})")
    return -(-size_bytes // segments)


def _request_ns(store: Store, access: StorageAccess, moved_bytes: int, ns_per_byte: Fraction) -> int:
    if moved_bytes == 0:
        return 0
    bursts = -(-moved_bytes // (access.max_burst_bytes or moved_bytes))
    streaming = -(-moved_bytes * ns_per_byte.numerator // ns_per_byte.denominator)
    return store.port.setup_ns + access.setup_ns * bursts + streaming


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


def compute_ns(target: Target, category: str, macs: int, outputs: int) -> int:
    """Return the CPU time of one kernel call, in ns.

    ``(cycles_per_call + c * macs + cycles_per_output * outputs) / clock`` with ``c`` the cycles per MAC
    of ``category``: "conv", "dw" (depthwise), "fc" (fully connected) or "none" (0). Weights are in SRAM,
    so reading them in place costs nothing here. Raises ``ValueError`` for another category or negative counts.
    """
    if macs < 0 or outputs < 0:
        raise ValueError(f"a kernel call cannot have {macs} MACs and {outputs} outputs")
    call, per_mac, per_output = _kernel_ns(target, category)
    total = call + per_mac * macs + per_output * outputs
    return -(-total.numerator // total.denominator)


def _kernel_ns(target: Target, category: str) -> tuple[Fraction, Fraction, Fraction]:
    cost, clock_hz = target.runtime, target.board.clock_hz
    per_mac = {
        "conv": cost.conv_cycles_per_mac,
        "dw": cost.dw_cycles_per_mac,
        "fc": cost.fc_cycles_per_mac,
        "none": 0.0,
    }
    if category not in per_mac:
        raise ValueError(f"a kernel is one of {', '.join(per_mac)} (got '{category}')")
    return (
        _cycles_ns(cost.cycles_per_call, clock_hz),
        _cycles_ns(per_mac[category], clock_hz),
        _cycles_ns(cost.cycles_per_output, clock_hz),
    )


# ------------------------------------------------------------------------------ energy


def transfer_nj(store: Store, read_bytes: int, written_bytes: int) -> int:
    """Return the energy the storage part spends on moving bytes, in nJ.

    ``read * read_nj_per_byte + written * write_nj_per_byte``, and where blocks must be erased before
    writing, ``erase_nj_per_byte`` for the written bytes rounded up to whole blocks.
    """
    return _ceil(_transfer_nj(store.storage, read_bytes, written_bytes))


def energy_nj(target: Target, compute_ns: int, makespan_ns: int, traffic: Sequence[tuple[int, int]]) -> int:
    """Return the energy of one inference, in nJ.

    ``active_mw * compute + io_wait_mw * (makespan - compute) + sum over stores of (idle_mw * makespan
    + transfer)``, with `transfer_nj` for the last term. ``traffic`` holds ``(bytes read, bytes written)`` for
    each of ``target.stores``. The board does not sleep within one inference, so ``sleep_mw`` has no part in it.
    Raises ``ValueError`` when compute exceeds the makespan or ``traffic`` does not match the stores.
    """
    if not 0 <= compute_ns <= makespan_ns:
        raise ValueError(f"compute time must lie within the makespan (got {compute_ns} of {makespan_ns} ns)")
    power = target.board
    # mW times ns is pJ
    picojoules = _exact(power.active_mw) * compute_ns + _exact(power.io_wait_mw) * (makespan_ns - compute_ns)
    total = picojoules / 1000
    for store, (read_bytes, written_bytes) in zip(target.stores, traffic, strict=True):
        total += _exact(store.storage.idle_mw) * makespan_ns / 1000
        total += _transfer_nj(store.storage, read_bytes, written_bytes)
    return _ceil(total)


def _transfer_nj(storage: Storage, read_bytes: int, written_bytes: int) -> Fraction:
    if read_bytes < 0 or written_bytes < 0:
        raise ValueError(f"bytes moved must not be negative (got {read_bytes} read, {written_bytes} written)")
    total = _exact(storage.read_nj_per_byte) * read_bytes + _exact(storage.write_nj_per_byte) * written_bytes
    if storage.erase is not None and storage.erase.required:
        total += _exact(storage.erase_nj_per_byte) * align_up(written_bytes, storage.erase.block_bytes)
    return total


def _ceil(value: Fraction) -> int:
    return -(-value.numerator // value.denominator)


# -------------------------------------------------------------------------------- wear


def lifetime_years(
    store: Store, bytes_written_per_inference: int, inferences_per_day: float, region_bytes: int
) -> float | None:
    """Return how long the part lasts in years, or None when nothing is written or it does not wear.

    Device with a translation layer that levels wear (unit "device")::

        inferences = capacity * cycles / (bytes written * write_amplification)

    No levelling (units "block" and "byte"): the ``region_bytes`` rewritten by every inference wear out first.
    Its blocks are erased once per inference, or more often when it is written over more than once::

        inferences = cycles / (write_amplification * max(1, bytes written / region))

    with the region in whole erase blocks. Years have 365.25 days. Raises ``ValueError`` for negative figures
    and for a region that is empty or larger than the part although bytes are written.
    """
    if min(bytes_written_per_inference, inferences_per_day) < 0:
        raise ValueError("bytes written and inferences per day must not be negative")
    if store.storage.endurance is None or not bytes_written_per_inference or not inferences_per_day:
        return None
    inferences = _inferences_survived(store.storage, bytes_written_per_inference, region_bytes)
    return inferences / (inferences_per_day * DAYS_PER_YEAR)


def _inferences_survived(storage: Storage, written_bytes: int, region_bytes: int) -> float:
    endurance = storage.endurance
    assert endurance is not None
    if not 0 < region_bytes <= storage.capacity_bytes:
        raise ValueError(
            f"the rewritten region must fit in {storage.capacity_bytes} bytes (got {region_bytes})"
        )
    if endurance.unit == "device":
        return storage.capacity_bytes * endurance.cycles / (written_bytes * endurance.write_amplification)
    block_bytes = storage.erase.block_bytes if storage.erase and endurance.unit == "block" else 1
    rewrites = max(1.0, written_bytes / align_up(region_bytes, block_bytes))
    return endurance.cycles / (endurance.write_amplification * rewrites)
