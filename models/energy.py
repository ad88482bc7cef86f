"""What an inference costs in energy: one sum for plans, for options and for bounds.

Where the energy goes: the CPU while it computes, the board while the CPU waits for DMA, the storage
parts for as long as the inference takes, and what each transfer costs by its bytes and by its requests.
All sums are exact fractions; only the last step rounds, upwards, to whole nJ.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from fractions import Fraction
from functools import cache

from ooc_solve.models.cost import align_up
from ooc_solve.models.vocabulary import Storage, Target

NS_PER_S = 1_000_000_000
NS_PER_DAY = 86_400 * NS_PER_S


@dataclass(frozen=True, slots=True)
class Traffic:
    """What moves between SRAM and one store in an inference.

    Bytes, requests, bytes erased for writes, and payload of sealed records.
    """

    read_bytes: int = 0
    written_bytes: int = 0
    reads: int = 0
    writes: int = 0
    erased_bytes: int = 0
    sealed_bytes: int = 0

    def __post_init__(self) -> None:
        if min(getattr(self, field.name) for field in fields(self)) < 0:
            raise ValueError(f"traffic must not be negative (got {self})")


def erased_bytes(storage: Storage, written_bytes: int) -> int:
    """Bytes that are erased before one request of so many bytes can be written: whole blocks, or none."""
    if storage.erase is None or not storage.erase.required:
        return 0
    return align_up(written_bytes, storage.erase.block_bytes)


@dataclass(frozen=True, slots=True)
class StoreRates:
    """What one store takes, in pJ: per byte, per request, per byte erased, per byte opened or sealed."""

    read: Fraction
    written: Fraction
    per_read: Fraction
    per_write: Fraction
    erased: Fraction
    sealed: Fraction = Fraction(0)

    def picojoules(self, traffic: Traffic) -> Fraction:
        """Energy of the transfers to and from the store."""
        return (
            self.read * traffic.read_bytes
            + self.written * traffic.written_bytes
            + self.per_read * traffic.reads
            + self.per_write * traffic.writes
            + self.erased * traffic.erased_bytes
            + self.sealed * traffic.sealed_bytes
        )


@dataclass(frozen=True, slots=True)
class Rates:
    """Energy of an inference as a linear function, in pJ (a mW over a ns is a pJ).

    ``per_ns`` of the makespan: the board while the CPU waits, and every store idling.
    ``per_compute_ns``: what a computing CPU takes more than a waiting one; nothing where the CPU moves
    the data itself, since it never waits then. ``stores``: one for each of ``Target.stores``.
    """

    per_ns: Fraction
    per_compute_ns: Fraction
    stores: tuple[StoreRates, ...]

    @classmethod
    @cache
    def of(cls, target: Target) -> Rates:
        """The rates of a target.

        With DMA each request also takes ``dma_setup_cycles`` of an active CPU that would wait otherwise.
        """
        board = target.board
        active, wait = _exact(board.active_mw), _exact(board.io_wait_mw)
        if not board.overlaps_cpu:
            wait = active
        idle = sum((_exact(store.storage.idle_mw) for store in target.stores), Fraction(0))
        setup = (active - wait) * _exact(board.dma_setup_cycles) * NS_PER_S / board.clock_hz
        sealed = Fraction(0) if target.crypto is None else 1000 * _exact(target.crypto.nj_per_byte)
        stores = tuple(_store_rates(store.storage, setup, sealed) for store in target.stores)
        return cls(wait + idle, active - wait, stores)

    def fixed_pj(self, compute_ns: int, traffic: Sequence[Traffic]) -> Fraction:
        """What does not depend on the makespan; ``traffic`` has one entry for each of ``Target.stores``."""
        moved = (rates.picojoules(t) for rates, t in zip(self.stores, traffic, strict=True))
        return self.per_compute_ns * compute_ns + sum(moved, Fraction(0))

    def picojoules(self, compute_ns: int, makespan_ns: int, traffic: Sequence[Traffic]) -> Fraction:
        """Energy of an inference, not rounded."""
        return self.per_ns * makespan_ns + self.fixed_pj(compute_ns, traffic)


def _store_rates(storage: Storage, setup_pj: Fraction, sealed_pj: Fraction) -> StoreRates:
    return StoreRates(
        1000 * _exact(storage.read_nj_per_byte),
        1000 * _exact(storage.write_nj_per_byte),
        1000 * _exact(storage.read_nj_per_request) + setup_pj,
        1000 * _exact(storage.write_nj_per_request) + setup_pj,
        1000 * _exact(storage.erase_nj_per_byte),
        sealed_pj,
    )


def energy_nj(target: Target, compute_ns: int, makespan_ns: int, traffic: Sequence[Traffic]) -> int:
    """Return the energy of one inference, in nJ, rounded up.

    ``active_mw * compute + io_wait_mw * (makespan - compute) + sum over stores of (idle_mw * makespan
    + transfers)``; where the CPU moves the data itself it never waits, so the whole makespan is active.
    The transfers of a store take their bytes, requests and erased bytes times its figures, and with DMA
    each request takes the CPU ``dma_setup_cycles`` at the difference of ``active_mw`` and ``io_wait_mw``; a
    cipher takes its ``nj_per_byte`` of payload.
    ``traffic`` holds one entry for each of ``target.stores``. The board does not sleep within an inference.
    An NPU that computes takes as much more than a waiting board as the CPU does, beside it or not.
    Raises ``ValueError`` when compute exceeds the makespan of each unit or ``traffic`` does not match the stores.
    """
    units = 1 if target.npu is None else 2
    if not 0 <= compute_ns <= units * makespan_ns:
        raise ValueError(f"compute time must lie within the makespan (got {compute_ns} of {makespan_ns} ns)")
    return nanojoules(Rates.of(target).picojoules(compute_ns, makespan_ns, traffic))


def nanojoules(picojoules: Fraction) -> int:
    """Whole nJ, rounded up."""
    return -(-picojoules.numerator // (1000 * picojoules.denominator))


# ------------------------------------------------------------------------- duty cycle


@dataclass(frozen=True, slots=True)
class Duty:
    """A day of a board that sleeps between inferences.

    ``asleep_share`` of the time it sleeps; ``sleep_mj`` is what that costs per day, ``awake_mj`` what the
    inferences do. Racing to idle pays where less time awake saves more than it costs.
    """

    inferences_per_day: float
    asleep_share: float
    awake_mj: float
    sleep_mj: float

    @property
    def mj_per_day(self) -> float:
        """Energy of a day."""
        return self.awake_mj + self.sleep_mj

    @property
    def mean_mw(self) -> float:
        """Mean power."""
        return self.mj_per_day / (NS_PER_DAY / NS_PER_S)


def sleep_mw(target: Target) -> float:
    """Power of the sleeping board with its storage parts."""
    return target.board.sleep_mw + sum(store.storage.sleep_mw for store in target.stores)


def waiting_mw(target: Target) -> float:
    """Power of the board with its storage parts while it is awake and nothing computes."""
    return float(Rates.of(target).per_ns)


def duty(target: Target, energy_nj: int, latency_ns: int, inferences_per_day: float) -> Duty | None:
    """What a day costs at so many inferences, None where they do not fit into a day."""
    awake_ns = latency_ns * inferences_per_day
    if awake_ns > NS_PER_DAY:
        return None
    asleep_s = (NS_PER_DAY - awake_ns) / NS_PER_S
    return Duty(
        inferences_per_day,
        1 - awake_ns / NS_PER_DAY,
        energy_nj * inferences_per_day / 1e6,
        sleep_mw(target) * asleep_s,
    )


@cache
def _exact(value: float) -> Fraction:
    """The decimal number as it was written."""
    return Fraction(str(value))
