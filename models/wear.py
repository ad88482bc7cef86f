"""What writing does to a storage part: bytes programmed, the hottest erase block, years until it wears out.

Parts with a translation layer (unit "device") level wear over their whole capacity: bytes decide.
Bare flash (unit "block") does not: every write request erases and programs each block that it
touches, and the block that is hit most often in an inference wears out first. RAM and ferroelectric or
magnetic RAM do not wear: 10^13 writes and more of one byte outlast any device.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from fractions import Fraction

from ooc_solve.models.vocabulary import Endurance, Storage

DAYS_PER_YEAR = Fraction("365.25")

INFERENCES_PER_DAY = 1000.0
"""Rate at which lifetimes are stated unless another is asked for."""


def endurance_of(storage: Storage) -> Endurance | None:
    """The endurance of a part that wears, None for one that does not."""
    endurance = storage.endurance
    return None if endurance is None or endurance.unit == "byte" else endurance


def is_levelled(storage: Storage) -> bool:
    """Whether the part spreads wear over its capacity, so that only the bytes written count."""
    endurance = endurance_of(storage)
    return endurance is not None and endurance.unit == "device"


def wear_block_bytes(storage: Storage) -> int | None:
    """Bytes of the blocks that wear each for itself, None where there are none."""
    endurance = endurance_of(storage)
    if endurance is None or endurance.unit == "device":
        return None
    return storage.erase.block_bytes if storage.erase is not None else storage.write.granularity_bytes


def block_programs(requests: Iterable[tuple[int, int]], block_bytes: int) -> Counter[int]:
    """How many of the write requests ``(offset, bytes)`` touch each block, by its number."""
    found: Counter[int] = Counter()
    for offset, size in requests:
        found.update(range(offset // block_bytes, (offset + size - 1) // block_bytes + 1))
    return found


def inferences_survived(storage: Storage, written_bytes: int, hottest_programs: int) -> Fraction | None:
    """Inferences until the part wears out, None if it never does.

    By the unit of its endurance::

        device    capacity * cycles / (bytes written * write_amplification)
        block     cycles / (programs of the hottest block * write_amplification)
    """
    endurance = endurance_of(storage)
    stress = written_bytes if is_levelled(storage) else hottest_programs
    if endurance is None or stress == 0:
        return None
    spare = storage.capacity_bytes if is_levelled(storage) else 1
    return spare * endurance.cycles / (stress * Fraction(str(endurance.write_amplification)))


def lifetime_years(
    storage: Storage, written_bytes: int, hottest_programs: int, inferences_per_day: float | Fraction
) -> float | None:
    """Years of 365.25 days until the part wears out, None if it never does.

    Raises ``ValueError`` for negative figures.
    """
    if min(written_bytes, hottest_programs, inferences_per_day) < 0:
        raise ValueError("bytes written, programs and inferences per day must not be negative")
    survived = inferences_survived(storage, written_bytes, hottest_programs)
    if survived is None or not inferences_per_day:
        return None
    return float(survived / (Fraction(str(inferences_per_day)) * DAYS_PER_YEAR))


def most_stress(storage: Storage, years: float, inferences_per_day: float | Fraction) -> int | None:
    """Bytes written (levelled parts) or programs of one block that an inference may cost at most.

    None where the part does not wear. The part then lasts at least ``years``.
    """
    endurance = endurance_of(storage)
    inferences = Fraction(str(years)) * Fraction(str(inferences_per_day)) * DAYS_PER_YEAR
    if endurance is None or inferences == 0:
        return None
    spare = storage.capacity_bytes if is_levelled(storage) else 1
    return int(spare * endurance.cycles / (inferences * Fraction(str(endurance.write_amplification))))
