"""The algebra of waiting: matrices over (max, +), and the most time that fits into free bytes.

A matrix takes a vector of times ``v`` to ``out[i] = max over j of (m[i, j] + v[j])``. A kernel
with its transfers is such a matrix, kernels one after the other are a product, a loop is a
power; so a layer of thousands of tiles costs a handful of operations. Arrays of matrices are
``(d, d, n)``: the n matrices last, which is how numpy works through them fastest.

A *staircase* is an array ``f`` over free bytes in quanta: ``f[c]`` is the most transfer time
whose buffers fit into ``c`` quanta.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

Ints = NDArray[np.int64]

NEVER = -(1 << 56)
"""Minus infinity, with room to be added to itself without wrapping around."""

Item = tuple[int, int, int]
"""Bytes of a buffer, ns of its transfer, how many of them there are."""

FEW = 12
"""Up to so many shifts of a staircase are compared one by one, more of them all at once."""


# ---------------------------------------------------------------------------- matrices


def identity(d: int, n: int) -> Ints:
    """``n`` matrices that change nothing."""
    found = np.full((d, d, n), NEVER, np.int64)
    found[np.arange(d), np.arange(d)] = 0
    return found


def times(later: Ints, earlier: Ints) -> Ints:
    """Products ``later after earlier`` of two arrays of matrices (``(d, d, n)`` each)."""
    found: Ints = later[:, 0, None, :] + earlier[None, 0, :, :]
    for j in range(1, later.shape[1]):
        np.maximum(found, later[:, j, None, :] + earlier[None, j, :, :], out=found)
    np.maximum(found, NEVER, out=found)
    return found


def powers(matrices: Ints, counts: Ints) -> Ints:
    """Each matrix repeated ``counts`` times (``(n,)``, at least 0)."""
    found = identity(matrices.shape[0], matrices.shape[2])
    left, square = counts.copy(), matrices
    while left.any():
        odd = np.flatnonzero(left & 1)
        found[:, :, odd] = times(square[:, :, odd], found[:, :, odd])
        left >>= 1
        more = np.flatnonzero(left)
        if len(more):
            square = square.copy()
            square[:, :, more] = times(square[:, :, more], square[:, :, more])
    return found


def chains(matrices: Ints, lengths: Ints) -> Ints:
    """Products of consecutive runs of matrices, the last of a run applied last.

    ``lengths`` (each at least 1) add up to the number of matrices; one product per run.
    """
    while len(lengths) and lengths.max() > 1:
        halves = (lengths + 1) // 2
        starts = np.repeat(np.cumsum(lengths) - lengths, halves)
        place = np.arange(halves.sum()) - np.repeat(np.cumsum(halves) - halves, halves)
        first = starts + 2 * place
        paired = 2 * place + 1 < np.repeat(lengths, halves)
        found = matrices[:, :, first]
        both = first[paired]
        found[:, :, paired] = times(matrices[:, :, both + 1], matrices[:, :, both])
        matrices, lengths = found, halves
    return matrices


def applied(matrices: Ints, vectors: Ints) -> Ints:
    """Images ``(d, n, m)`` of ``m`` vectors ``(d, m)`` under ``n`` matrices."""
    found: Ints = matrices[:, 0, :, None] + vectors[0]
    for j in range(1, len(vectors)):
        np.maximum(found, matrices[:, j, :, None] + vectors[j], out=found)
    return found


def pulled_back(matrices: Ints, functions: Ints) -> Ints:
    """Functions ``(d, n, m)`` that do a matrix first and then one of ``m`` functions ``(d, m)``.

    A function of a vector is ``max over i of (f[i] + v[i])``.
    """
    return applied(matrices.transpose(1, 0, 2), functions)


def through(functions: Ints, labels: Ints) -> Ints:
    """Least value of any label under any function of each option: ``(d, n, q)`` and ``(d, m)`` to ``(n,)``."""
    total = functions[0, :, :, None] + labels[0]
    for i in range(1, len(labels)):
        np.maximum(total, functions[i, :, :, None] + labels[i], out=total)
    found: Ints = total.min(axis=(1, 2))
    return found


def minimal(vectors: Ints, most: int) -> Ints:
    """The vectors (columns of ``(d, n)``) that no other one is below everywhere.

    If more than ``most`` remain, neighbours give way to their componentwise minimum, which is
    below both: a minimum over the result is never larger than over the vectors.
    """
    if vectors.shape[1] <= 1:
        return vectors
    vectors = vectors[:, np.lexsort(vectors[::-1])]
    if len(vectors) <= 2:
        low = vectors[-1]
        before = np.concatenate(([np.iinfo(np.int64).max], np.minimum.accumulate(low)[:-1]))
        kept = vectors[:, low < before] if len(vectors) == 2 else vectors[:, :1]
    else:
        kept = _undominated(vectors)
    return kept if kept.shape[1] <= most else _merged(kept, most)


def _undominated(vectors: Ints) -> Ints:
    """Of columns in lexicographic order, those that no earlier one is below everywhere."""
    found = []
    while vectors.shape[1]:
        found.append(vectors[:, 0])
        vectors = vectors[:, (vectors < vectors[:, :1]).any(axis=0)]
    return np.stack(found, axis=1)


def _merged(vectors: Ints, most: int) -> Ints:
    """At most ``most`` columns below the given ones, which are in lexicographic order.

    Columns are joined where the steps between neighbours are smallest.
    """
    steps = np.abs(np.diff(vectors, axis=1)).sum(axis=0)
    cuts = np.sort(np.argsort(-steps, kind="stable")[: most - 1]) + 1
    return np.stack([part.min(axis=1) for part in np.split(vectors, cuts, axis=1)], axis=1)


# --------------------------------------------------------------------------- staircases


@dataclass(frozen=True, slots=True)
class Stairs:
    """How free bytes are counted: ``slots`` quanta of ``quantum`` bytes at most.

    Sizes are rounded down, so a staircase is never too low.
    """

    quantum: int
    slots: int

    def flat(self, ns: int = 0) -> Ints:
        """The staircase that is ``ns`` everywhere."""
        return np.full(self.slots + 1, ns, np.int64)

    def of(self, items: Iterable[Item]) -> Ints:
        """Most time of any choice among items whose bytes fit.

        n buffers of a kind take at least ``floor(n size / quantum)`` quanta.
        """
        kinds = sorted(items, key=lambda item: item[2])
        if not kinds:
            return self.flat()
        found = self._alone(*kinds.pop())
        for size, ns, count in reversed(kinds):
            found = self._with(found, size, ns, count)
        return found

    def _alone(self, size: int, ns: int, count: int) -> Ints:
        """The staircase of up to ``count`` buffers of one kind."""
        if not size:
            return self.flat(ns * count)
        ends = (np.arange(self.slots + 1, dtype=np.int64) + 1) * self.quantum - 1
        found: Ints = np.minimum(count, ends // size) * ns
        return found

    def _with(self, f: Ints, size: int, ns: int, count: int) -> Ints:
        """The staircase ``f`` with up to ``count`` more buffers of one kind."""
        if not size:
            return f + ns * count
        most = min(count, ((self.slots + 1) * self.quantum - 1) // size)
        if size % self.quantum:
            many = np.arange(most + 1, dtype=np.int64)
            return _shifted(f, many * size // self.quantum, many * ns)
        found, slots, part = f.copy(), size // self.quantum, 1
        while most > 0:  # 1, 2, 4 and so on buffers at once, and what is left, make any number of them
            part = min(part, most)
            np.maximum(
                found[part * slots :], found[: len(f) - part * slots] + part * ns, out=found[part * slots :]
            )
            most, part = most - part, 2 * part
        return found

    def joined(self, f: Ints, g: Ints) -> Ints:
        """Most time when the free bytes are shared out between two staircases."""
        if not g[-1]:
            return f
        if not f[-1]:
            return g
        # between its rises a staircase gains nothing
        rises, others = (np.flatnonzero(np.diff(h, prepend=-1)) for h in (g, f))
        if len(others) < len(rises):
            f, g, rises = g, f, others
        return _shifted(f, rises, g[rises])

    def at(self, table: Ints, rows: Ints, g: Ints, slots: Ints, most: Ints) -> Ints:
        """``joined(table[row], capped(g, most))[slot]`` for rows, numbers of free quanta, and caps."""
        given = slots[:, None] - np.arange(self.slots + 1)
        others = g[np.minimum(np.maximum(given, 0), most[:, None])]
        shared = np.where(given >= 0, table[rows] + others, 0)
        found: Ints = shared.max(axis=1)
        return found


def capped(f: Ints, most: int) -> Ints:
    """The staircase of what gets no more than so many quanta."""
    if most >= len(f) - 1 or f[-1] == f[most]:
        return f
    found = f.copy()
    found[most:] = f[most]
    return found


def _shifted(f: Ints, skips: Ints, gains: Ints) -> Ints:
    """The most of ``f[c - skip] + gain`` over pairs of a skip and a gain, the first skip 0, for each ``c``."""
    if len(skips) <= FEW:
        found: Ints = f + gains[0]
        for skip, gain in zip(skips[1:].tolist(), gains[1:].tolist(), strict=True):
            np.maximum(found[skip:], f[: len(f) - skip] + gain, out=found[skip:])
        return found
    padded = np.concatenate((np.full(len(f), NEVER, np.int64), f))
    moved = sliding_window_view(padded, len(f))[len(f) - skips]
    moved += gains[:, None]
    most: Ints = moved.max(axis=0)
    return most
