"""Wear levelling of the scratch region: a ring of storage in which it lies at another place in every run.

The ring is cut into places of equal size. In each of them lies the scratch region and, behind it, a note that says
which run used it last; so the runtime finds its turn after a power cut, and what it notes wears no block
more than the region itself does. After as many runs as there are places every place was used once.
"""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from ooc_solve.models.cost import align_down, align_up
from ooc_solve.models.vocabulary import InputError, Storage
from ooc_solve.models.wear import endurance_of

NOTE_BYTES = 16
"""What a note says: the number of the run, the first bytes of the digest, a checksum. It takes a whole granule."""

MOST_PLACES = (1 << 16) - 1
"""Places have numbers of 16 bits in the tables."""

RING_STATE_BYTES = 8
"""SRAM for what the state holds besides with a ring: number and place of the run."""


@dataclass(frozen=True, slots=True)
class Ring:
    """Where a scratch region takes turns: ``places`` of ``step_bytes`` each.

    The note lies ``note_offset`` bytes into a place and takes ``note_bytes``.
    """

    step_bytes: int
    places: int
    note_offset: int
    note_bytes: int

    @classmethod
    def of(cls, ring_bytes: int, scratch_bytes: int, granule_bytes: int, block_bytes: int) -> Ring:
        """The ring of a scratch region on a store whose places begin on blocks; at least one place."""
        offset, note = align_up(scratch_bytes, granule_bytes), note_bytes(granule_bytes)
        step = align_up(offset + note, block_bytes)
        return cls(step, min(max(ring_bytes // step, 1), MOST_PLACES), offset, note)

    @property
    def size_bytes(self) -> int:
        """Bytes of all places."""
        return self.step_bytes * self.places

    @property
    def share(self) -> Fraction:
        """Runs of a place per inference."""
        return Fraction(1, self.places)


def note_bytes(granule_bytes: int) -> int:
    """Bytes that are written for a note."""
    return align_up(NOTE_BYTES, granule_bytes)


def most_scratch_bytes(ring_bytes: int, granule_bytes: int) -> int:
    """Bytes of the largest scratch region of which a place fits in a ring."""
    return align_down(ring_bytes - note_bytes(granule_bytes), granule_bytes)


def check_ring(ring_bytes: int, storage: Storage, block_bytes: int) -> None:
    """See that a ring suits a part, whatever the plan.

    Raises
    ------
    InputError
        If the part does not wear, or the ring is not made of whole blocks, or smaller than a block or larger than
        the part.
    """
    if endurance_of(storage) is None:
        raise InputError(
            f"A scratch ring must lie on a part that wears ('{storage.name}' is {storage.kind.upper()}, which does "
            "not); leave --scratch-ring out."
        )
    if ring_bytes > storage.capacity_bytes:
        raise InputError(
            f"The scratch ring must not exceed the {storage.capacity_bytes} bytes of '{storage.name}' "
            f"(got {ring_bytes}); the image and the other regions take their part of them."
        )
    if ring_bytes < block_bytes or ring_bytes % block_bytes:
        below = align_down(ring_bytes, block_bytes)
        near = f"{below} or {below + block_bytes}" if below else f"{block_bytes}"
        raise InputError(
            f"The scratch ring must be a multiple of the {block_bytes} bytes in which '{storage.name}' is erased or "
            f"written (got {ring_bytes}); choose {near}."
        )
