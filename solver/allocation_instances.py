"""Packing problems with a known answer: rectangles of time and bytes that were cut to pieces.

The pieces of a rectangle pack into its height, so a capacity can be given that is hardly more
than, or just, the most bytes alive at once. The kinds differ in how cuts are made; `chained` comes
closest to the public instances for machine-learning accelerators, with its many blocks of one size
that follow each other and its blocks that live for long.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import pairwise

from ooc_solve.solver.allocation_search import Block

GRANULE = 1024
"""All sizes and times are multiples of this."""

SIDE = 1024
"""Granules along each side of the rectangle."""

CAPACITY_BYTES = GRANULE * SIDE


@dataclass(frozen=True, slots=True)
class _Piece:
    """Granules ``[begin, end)`` of time and ``[low, high)`` of memory."""

    begin: int
    end: int
    low: int
    high: int

    @property
    def area(self) -> int:
        return (self.end - self.begin) * (self.high - self.low)


def perfect(seed: int, count: int, pinwheels: float = 0.15) -> list[Block]:
    """Pieces of random cuts through single pieces, some of them in five around a middle; nothing is lost."""
    draw = random.Random(seed)
    pieces = [_Piece(0, SIDE, 0, SIDE)]
    while len(pieces) < count:
        weights = [piece.area**0.8 for piece in pieces]
        chosen = draw.choices(range(len(pieces)), weights)[0]
        whirls = draw.random() < pinwheels
        cut = _pinwheel(draw, pieces[chosen]) if whirls else _halves(draw, pieces[chosen])
        pieces[chosen : chosen + 1] = cut
    return _blocks(draw, pieces)


def chained(seed: int, count: int, loss: float = 0.03) -> list[Block]:
    """Wide pieces are cut into thin layers, high ones into chains; then up to ``loss`` of the area goes.

    Nothing is taken from one moment, so the capacity stays the most bytes alive at once.
    """
    draw = random.Random(seed)
    pieces = [_Piece(0, SIDE, 0, SIDE)]
    while len(pieces) < count * (1 + loss):
        chosen = draw.choices(range(len(pieces)), [piece.area**0.8 for piece in pieces])[0]
        piece = pieces[chosen]
        slender = (piece.high - piece.low) < (piece.end - piece.begin) * draw.choice((0.1, 0.3, 1.0))
        pieces[chosen : chosen + 1] = _chain(draw, piece) if slender else _layers(draw, piece)
    full, left = draw.randrange(SIDE), int(loss * SIDE * SIDE)
    kept = []
    for piece in draw.sample(pieces, len(pieces)):
        if not piece.begin <= full < piece.end and piece.area <= left:
            left -= piece.area
        else:
            kept.append(piece)
    return _blocks(draw, kept)


def online(seed: int, count: int, alive: int = 14) -> list[Block]:
    """Short blocks as an allocator would put them into random gaps while time goes on; much is lost."""
    draw = random.Random(seed)
    now, here, pieces = 0, [_Piece(0, 1, 0, 0)], list[_Piece]()
    while len(pieces) < count:
        now += max(1, int(draw.expovariate(count / SIDE / 4)))
        here = sorted((p for p in here if p.end > now), key=lambda p: p.low)
        ends = [
            (a, b) for a, b in zip([0, *(p.high for p in here)], [*(p.low for p in here), SIDE], strict=True)
        ]
        gaps = [(low, high) for low, high in ends if low < high]
        if not gaps:
            continue
        low, high = draw.choice(gaps)
        size = min(high - low, draw.randrange(SIDE // 30, SIDE // 9))
        size = high - low if high - low - size < SIDE // 40 else size
        at = draw.choice((low, high - size))
        lasts = max(2, int(4 * SIDE * alive / count * draw.uniform(0.6, 1.4)))
        here.append(_Piece(now, now + lasts, at, at + size))
        pieces.append(here[-1])
    return _blocks(draw, pieces)


def _blocks(draw: random.Random, pieces: list[_Piece]) -> list[Block]:
    """The pieces without their addresses, in random order."""
    return [
        Block(p.begin * GRANULE, p.end * GRANULE, (p.high - p.low) * GRANULE)
        for p in draw.sample(pieces, len(pieces))
    ]


def _halves(draw: random.Random, piece: _Piece) -> list[_Piece]:
    return _chain(draw, piece, 1) if draw.random() < 0.5 else _layers(draw, piece, 1)


def _chain(draw: random.Random, piece: _Piece, most: int = 4) -> list[_Piece]:
    """Pieces that follow each other in time."""
    times = _cuts(draw, piece.begin, piece.end, most)
    return [_Piece(a, b, piece.low, piece.high) for a, b in pairwise(times)]


def _layers(draw: random.Random, piece: _Piece, most: int = 2) -> list[_Piece]:
    """Pieces that lie on each other."""
    heights = _cuts(draw, piece.low, piece.high, most)
    return [_Piece(piece.begin, piece.end, a, b) for a, b in pairwise(heights)]


def _cuts(draw: random.Random, first: int, end: int, most: int) -> list[int]:
    inner = range(first + 1, end)
    return [first, *sorted(draw.sample(inner, min(draw.randint(1, most), len(inner)))), end]


def _pinwheel(draw: random.Random, piece: _Piece) -> list[_Piece]:
    """Four pieces around a fifth; small pieces stay whole."""
    begin, end, low, high = piece.begin, piece.end, piece.low, piece.high
    if end - begin < 3 or high - low < 3:
        return [piece]
    a, b = sorted(draw.sample(range(begin + 1, end), 2))
    c, d = sorted(draw.sample(range(low + 1, high), 2))
    return [
        _Piece(begin, a, low, d), _Piece(begin, b, d, high), _Piece(b, end, c, high),
        _Piece(a, end, low, c), _Piece(a, b, c, d),
    ]  # fmt: skip
