"""The checksum of records: C and Python agree, and what SPEC.md says of it is so.

The sum is linear, so a damage is missed exactly if the sum of the flipped bits alone, from 0, is 0; and what
a bit leaves depends only on its place in its word and on the number of words from there to the end.
"""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ooc_solve.codegen.checksum import DOWN, MASK, START, UP, checksum, closed

RUNTIME = Path(__file__).resolve().parents[2] / "codegen" / "runtime"
MOST_WORDS = 64 * 1024 // 4
Words = NDArray[np.uint32]
UNITS: Words = np.uint32(1) << np.arange(32, dtype=np.uint32)


def mapped(words: Words) -> Words:
    """The map between two words."""
    up = words ^ words << np.uint32(UP)
    return np.asarray(up ^ up >> np.uint32(DOWN), np.uint32)


def ranks(vectors: Words) -> NDArray[np.int64]:
    """Rank over GF(2) of each row of 32 vectors."""
    left = vectors.copy()
    rank = np.zeros(len(left), np.int64)
    rows = np.arange(len(left))
    for bit in range(32):
        has = (left >> np.uint32(bit) & np.uint32(1)).astype(bool)
        first = has.argmax(axis=1)
        pivot = np.where(has.any(axis=1), left[rows, first], np.uint32(0)).astype(np.uint32)
        rank += has.any(axis=1)
        left ^= np.where(has, pivot[:, None], np.uint32(0)).astype(np.uint32)
    return rank


def test_ranks() -> None:
    """The rank that the other tests go by is that of the vectors."""
    rows = np.stack([UNITS, np.repeat(UNITS[:1], 32), UNITS ^ np.roll(UNITS, 1), np.zeros(32, np.uint32)])
    assert ranks(rows.astype(np.uint32)).tolist() == [32, 1, 31, 0]


@pytest.mark.parametrize("compiler", ["gcc", "clang"])
def test_runtime_and_image_agree(compiler: str, tmp_path: Path) -> None:
    """For all lengths, of whole words or not, both give the same sum, and none of what was closed is left."""
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    target = tmp_path / "checksum.so"
    source = RUNTIME / "ooc_checksum.c"
    subprocess.run([compiler, "-std=c99", "-O2", "-shared", "-fPIC", source, "-o", target], check=True)
    library = ctypes.CDLL(str(target))
    library.ooc_checksum.restype = ctypes.c_uint32
    data = np.random.default_rng(1).integers(0, 256, 300).astype(np.uint8).tobytes()
    for length in range(len(data)):
        assert library.ooc_checksum(data[:length], length) == checksum(data[:length])
        whole = closed(data[:length])
        assert whole[:-4] == data[:length]
        assert library.ooc_checksum(whole, len(whole)) == checksum(whole) == 0


def test_other_byte_orders_are_refused() -> None:
    """Words are taken as they lie there, so a core that takes them the other way round is told at once."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    order = ["-U__BYTE_ORDER__", "-D__BYTE_ORDER__=__ORDER_BIG_ENDIAN__"]
    command = ["gcc", "-std=c99", *order, "-fsyntax-only", str(RUNTIME / "ooc_checksum.c")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode != 0
    assert "little-endian, this core is not" in done.stderr


def test_sum_is_the_one_of_the_page() -> None:
    """Word by word: add, shift up, shift down, as SPEC.md says."""
    words = np.random.default_rng(2).integers(0, 1 << 32, 37, dtype=np.uint32)
    total = START
    for word in words.tolist():
        total ^= word
        total ^= total << UP & MASK
        total ^= total >> DOWN
    assert checksum(words.astype("<u4").tobytes()) == total


@pytest.mark.parametrize("length", [24, 25, 26, 27])
def test_any_damage_within_32_bits_is_found(length: int) -> None:
    """Bits that lie within 32 successive ones leave independent sums, wherever, the checksum included."""
    sound = closed(bytes(range(length - 4)))
    flipped = [int.from_bytes(sound, "little") ^ 1 << bit for bit in range(8 * length)]
    left = np.array([checksum(number.to_bytes(length, "little")) for number in flipped], np.uint32)
    windows = np.lib.stride_tricks.sliding_window_view(left, 32)
    assert (ranks(windows) == 32).all()


def test_any_two_flipped_bits_are_found() -> None:
    """However far apart in a record of 64 KiB: what a bit leaves is never what another one leaves."""
    left = UNITS.copy()
    for _ in range(MOST_WORDS):
        left = mapped(left)
        assert (left != 0).all()
        assert (left & left - np.uint32(1) != 0).all()  # more than one bit


def test_any_two_swapped_words_are_found() -> None:
    """Unless they are equal; and so is one change that is made in two words, or in a whole row of them."""
    moved = np.empty((MOST_WORDS - 2, 32), np.uint32)
    left = UNITS.copy()
    for distance in range(len(moved)):
        left = mapped(left)
        moved[distance] = left ^ UNITS
    assert (ranks(moved) == 32).all()


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_erased_records_are_wrong(byte: int) -> None:
    """No record is all zeros or all ones, whatever its length."""
    word = int.from_bytes(bytes([byte] * 4), "little")
    total = START
    for _ in range(MOST_WORDS):
        total ^= word
        total ^= total << UP & MASK
        total ^= total >> DOWN
        assert total != 0


def damaged(sound: NDArray[np.uint8], random: np.random.Generator) -> dict[str, NDArray[np.uint8]]:
    """A record with a block that is not its own."""
    size = len(sound)
    low = int(random.integers(0, size - 64)) & ~3
    high = min(size, low + int(random.integers(8, 600)))
    found = {name: sound.copy() for name in ("zeros", "ones", "noise", "slipped", "swapped", "cut")}
    found["zeros"][low:high] = 0
    found["ones"][low:high] = 255
    found["noise"][low:high] = random.integers(0, 256, high - low)
    found["slipped"][low:high] = np.roll(sound[low:high], 1 + int(random.integers(0, 7)))
    half = (high - low) // 8 * 4
    first, second = sound[low : low + half].copy(), sound[low + half : low + 2 * half].copy()
    found["swapped"][low : low + half], found["swapped"][low + half : low + 2 * half] = second, first
    found["cut"][low:] = random.integers(0, 256, size - low)  # what an earlier record left there
    return found


def test_wrong_blocks_are_found() -> None:
    """Blocks of zeros, of noise, of bytes that slipped or changed places, and what stands behind a cut."""
    random = np.random.default_rng(5)
    tried = 0
    for _ in range(300):
        payload = random.integers(-30, 30, int(random.integers(100, 3000))).astype(np.int8)
        sound = np.frombuffer(closed(payload.tobytes()), np.uint8)
        for what, wrong in damaged(sound, random).items():
            if not np.array_equal(wrong, sound):
                assert checksum(wrong.tobytes()) != 0, what
                tried += 1
    assert tried > 1700


def test_noise_has_the_right_sum_once_in_two_to_the_32() -> None:
    """Of all values that a word may have exactly one is right, whatever the others are; noise spreads evenly."""
    assert ranks(mapped(UNITS)[None, :]).tolist() == [32]
    words = np.random.default_rng(6).integers(0, 1 << 32, (24, 1 << 18), dtype=np.uint32)
    total = np.full(words.shape[1], START, np.uint32)
    for row in words:
        total = mapped(total ^ row)
    assert (total != 0).all()
    counts = np.bincount(total >> np.uint32(20), minlength=1 << 12)  # 64 on average in each of 4096
    assert ((counts - 64.0) ** 2 / 64).sum() < 4096 + 6 * np.sqrt(2 * 4096)
