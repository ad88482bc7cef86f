"""What a kernel of one unit waits for of another: the CPU and an NPU compute beside each other.

Kernels start in the order of the graph, one at a time on each unit. A kernel waits for all kernels of the other
unit that make what its operator reads, whichever part of it is read, and one that works in place for those that
still read what it overwrites.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field


@dataclass(slots=True)
class UnitUses:
    """The last kernel of each unit that wrote a kept tensor's buffer, and the last that touched it."""

    wrote: dict[int, dict[str, int]] = field(default_factory=dict)
    touched: dict[int, dict[str, int]] = field(default_factory=dict)

    def waits(self, unit: str, kernel: int, reads: Sequence[int], writes: int) -> Iterator[int]:
        """Kernels of other units that a new one has to wait for; it is the last to use these buffers from now on.

        ``reads`` are the buffers of the kept tensors that its operator reads, ``writes`` that of a kept output, or -1.
        """
        for buffer in reads:
            yield from _others(self.wrote, buffer, unit)
        yield from _others(self.touched, writes, unit)
        for buffer in (*reads, writes):
            self.touched.setdefault(buffer, {})[unit] = kernel
        if writes >= 0:
            self.wrote.setdefault(writes, {})[unit] = kernel


def _others(uses: dict[int, dict[str, int]], buffer: int, unit: str) -> list[int]:
    """Last uses of a buffer by other units."""
    return [kernel for other, kernel in uses.get(buffer, {}).items() if other != unit and buffer >= 0]
