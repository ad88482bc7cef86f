"""Rings: places and notes by hand, and what is refused with the values that would be right."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import pytest

from ooc_solve.models.footprint import RING_BYTES
from ooc_solve.models.levelling import RING_STATE_BYTES, Ring, most_scratch_bytes
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_storage, load_target
from ooc_solve.models.vocabulary import InputError, Storage, Target
from ooc_solve.models.zoo import zoo_network


def on(part: Storage, target: Target) -> Target:
    """The target with all in one part."""
    store = replace(target.weights, storage=part)
    return replace(target, weights=store, activations=store)


def ringed(target: Target, ring_bytes: int) -> Problem:
    """A network of the zoo with a ring."""
    return Problem(zoo_network("ds_cnn"), target, 65_536, IoPlace.SRAM, scratch_ring_bytes=ring_bytes)


@pytest.mark.parametrize(
    ("ring", "scratch", "granule", "block", "made"),
    [
        (4096, 1000, 512, 512, Ring(1536, 2, 1024, 512)),  # 1024 bytes and a note of a granule
        (4096, 1024, 1, 1, Ring(1040, 3, 1024, 16)),
        (5 << 16, 1000, 256, 1 << 16, Ring(1 << 16, 5, 1024, 256)),  # an erase block holds both
        (5 << 16, 1 << 16, 256, 1 << 16, Ring(2 << 16, 2, 1 << 16, 256)),  # the note begins another
        (512, 1000, 512, 512, Ring(1536, 1, 1024, 512)),  # too small: told elsewhere
        (1 << 30, 8, 8, 8, Ring(24, 65535, 8, 16)),  # as many places as their numbers can say
    ],
)
def test_places(ring: int, scratch: int, granule: int, block: int, made: Ring) -> None:
    """A place is the region, behind it its note on a granule of its own, rounded up to whole blocks."""
    assert Ring.of(ring, scratch, granule, block) == made
    assert made.share == Fraction(1, made.places)
    assert made.size_bytes <= max(ring, made.step_bytes)


def test_the_largest_region_of_a_ring_fits_and_no_larger_one() -> None:
    """What a ring holds takes one place of it; a granule more does not fit."""
    for ring, granule, block in ((4096, 512, 512), (2 << 16, 256, 1 << 16), (4096, 1, 64)):
        most = most_scratch_bytes(ring, granule)
        assert Ring.of(ring, most, granule, block).step_bytes <= ring
        assert Ring.of(ring, most + granule, granule, block).step_bytes > ring


@pytest.mark.parametrize(
    ("target", "ring", "words"),
    [
        ("sf2-nor-qemu", 100_000, "multiple of the 65536 bytes .*got 100000.; choose 65536 or 131072"),
        ("sf2-nor-qemu", 4096, "multiple of the 65536 bytes .*got 4096.; choose 65536"),
        ("f746-sd", 1000, "multiple of the 512 bytes .*; choose 512 or 1024"),
        ("sf2-nor-qemu", 32 << 20, "must not exceed the 16777216 bytes of 's25fl128p' .got 33554432"),
        ("nrf52840-nor", 65_536, "'nrf52840-nor' has no storage that takes writes"),
        ("u585-octal", 65_536, "on a part that wears .'aps6408l-ocx' is PSRAM, which does not"),
    ],
)
def test_bad_rings_are_refused(target: str, ring: int, words: str) -> None:
    """Off the blocks, larger than the part, where nothing is written or nothing wears: one sentence with what is right."""
    with pytest.raises(InputError, match=words):
        ringed(load_target(target), ring)


def test_ferroelectric_ram_has_no_ring() -> None:
    """FRAM is said not to wear, as RAM is."""
    with pytest.raises(InputError, match="'mb85rs4mt' is FRAM, which does not"):
        ringed(on(load_storage("mb85rs4mt"), load_target("f746-sd")), 4096)


def test_a_ring_costs_state_and_tables_and_belongs_to_the_problem(tiny_problem: Problem) -> None:
    """State and tables grow by what the runtime keeps, and plans of another ring are not taken for this one's."""
    problem = replace(tiny_problem, scratch_ring_bytes=4096)
    assert problem.state_bytes == tiny_problem.state_bytes + RING_STATE_BYTES
    assert RING_STATE_BYTES == 8
    assert RING_BYTES == 12
    assert problem.ring(0) is None
    assert tiny_problem.ring(64) is None
    assert problem.bare.scratch_ring_bytes == 4096
    assert (tiny_problem.note_bytes, problem.note_bytes) == (0, 32)
