"""Where an NPU's own memory holds weights that are loaded within a run.

Resident weights take its low end from start-up on, the rest is given out in the order of the kernels: a record gets
the bytes that have been of no use for longest, and its load waits for the last kernel that used any of them. So which
bytes a record lies in, and what it replaces, is known before anything has a time.
"""

from __future__ import annotations

from dataclasses import dataclass, field

NOBODY = -1
"""In place of a kernel: bytes that none has used."""


@dataclass(slots=True)
class WeightMemory:
    """Bytes ``[low, high)``; ``lying`` are records with their first byte, end, and the kernel that used them last."""

    low: int
    high: int
    lying: list[tuple[int, int, int]] = field(default_factory=list)

    def place(self, size_bytes: int) -> tuple[int, int]:
        """The first of the bytes that a record gets, and the last kernel that used any of them.

        Raises
        ------
        ValueError
            If the memory has fewer bytes.
        """
        if size_bytes > self.high - self.low:
            raise ValueError(f"{size_bytes} bytes do not fit into {self.high - self.low}")
        edges = {
            self.low,
            *(end for _, end, _ in self.lying),
            *(low - size_bytes for low, _, _ in self.lying),
        }
        offered = (at for at in edges if self.low <= at <= self.high - size_bytes)
        last, first = min((self._last_use(at, at + size_bytes), at) for at in offered)
        return first, last

    def _last_use(self, low: int, high: int) -> int:
        return max((kernel for a, b, kernel in self.lying if a < high and low < b), default=NOBODY)

    def use(self, low: int, high: int, kernel: int) -> None:
        """A kernel, later than all before, uses these bytes."""
        left = [piece for old in self.lying for piece in _outside(old, low, high)]
        self.lying = sorted([*left, (low, high, kernel)])


def _outside(old: tuple[int, int, int], low: int, high: int) -> list[tuple[int, int, int]]:
    """What other bytes leave of a record that lies there."""
    first, end, kernel = old
    pieces = [(first, min(end, low), kernel), (max(first, high), end, kernel)]
    return [piece for piece in pieces if piece[0] < piece[1]]
