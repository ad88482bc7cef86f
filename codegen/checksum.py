"""The checksum of headers and weight records; `SPEC.md` says what it finds, and why.

Bytes are words of 32 bits, lowest byte first, the last one filled up with zeros. From `START` on, every
word is added to the sum without carries, and the sum goes through a linear map `_mapped`. The last four
of the bytes are chosen so that nothing is left.
"""

from __future__ import annotations

from functools import cache
from itertools import count

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.sealing import CHECKSUM_BYTES

START = 0x9E3779B9
"""The sum before the first word; any number but 0 does, so that zeros have a wrong checksum."""

UP, DOWN = 11, 21
MASK = (1 << 32) - 1
BYTES_PER_WORD = 4

Words = NDArray[np.uint32]


def checksum(content: bytes) -> int:
    """The sum of some bytes: 0 if the last four are their checksum."""
    filled = content.ljust(-(-len(content) // BYTES_PER_WORD) * BYTES_PER_WORD, b"\0")
    words = np.frombuffer(filled, "<u4").astype(np.uint32)
    if len(words) == 0:
        return START
    words[0] ^= START
    for level in count():
        if len(words) == 1:
            break
        words = words if len(words) % 2 == 0 else np.concatenate((np.zeros(1, np.uint32), words))
        words = _through(_tables(level), words[0::2]) ^ words[1::2]
    return int(_mapped(words)[0])


def closed(content: bytes) -> bytes:
    """The bytes with their checksum behind them.

    With ``t`` bytes left over after whole words, the checksum begins in the word of these, and its last ``t``
    bytes are a word by themselves: that word must be what the map leaves of the sum before. The map shifts up,
    then down. After the shift up only the low ``t`` bytes may be left, and they follow from the low bytes of the
    sum, which are known; so does what the shift down makes of them.
    """
    bits = 8 * (len(content) % BYTES_PER_WORD)
    whole, rest = content[: len(content) - bits // 8], content[len(content) - bits // 8 :]
    known = checksum(whole) ^ int.from_bytes(rest, "little")
    left = (known ^ known << UP) & (1 << bits) - 1
    needed = (left ^ left << UP ^ left << 2 * UP) & MASK  # the shift up makes `left` of it
    seal = (known ^ needed) >> bits | (left ^ left >> DOWN) << 32 - bits
    return content + seal.to_bytes(CHECKSUM_BYTES, "little")


def _mapped(words: Words) -> Words:
    """The map between two words, of every element."""
    up = words ^ words << np.uint32(UP)
    return np.asarray(up ^ up >> np.uint32(DOWN), np.uint32)


@cache
def _tables(level: int) -> Words:
    """What the map, applied ``2 ** level`` times, makes of each byte at each of the four places of a word."""
    bits = np.uint32(1) << np.arange(32, dtype=np.uint32)
    half = _tables(level - 1) if level > 0 else None
    bits = _mapped(bits) if half is None else _through(half, _through(half, bits))
    tables = np.zeros((BYTES_PER_WORD, 1 << 8), np.uint32)
    for bit in range(8):
        tables[:, 1 << bit : 2 << bit] = tables[:, : 1 << bit] ^ bits[bit::8, None]
    return tables


def _through(tables: Words, words: Words) -> Words:
    """The map of these tables, of every element."""
    places = np.ascontiguousarray(words, "<u4").view(np.uint8).reshape(-1, BYTES_PER_WORD).T
    first, second, third, fourth = (table[byte] for table, byte in zip(tables, places, strict=True))
    return np.asarray(first ^ second ^ third ^ fourth, np.uint32)
