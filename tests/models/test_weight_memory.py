"""Which bytes of an NPU's own memory loaded records get, and which kernels their loads wait for."""

from __future__ import annotations

import random

import pytest

from ooc_solve.models.weight_memory import NOBODY, WeightMemory


def test_what_is_of_no_use_for_longest_gives_way() -> None:
    """Free bytes first, from the low end on; then those whose last kernel is earliest."""
    memory = WeightMemory(8, 40)
    for kernel, (size, found) in enumerate(
        [(16, (8, NOBODY)), (8, (24, NOBODY)), (16, (8, 0)), (16, (24, 1)), (24, (8, 3))]
    ):
        assert memory.place(size) == found
        memory.use(found[0], found[0] + size, kernel)
    with pytest.raises(ValueError, match="33 bytes do not fit into 32"):
        memory.place(33)


@pytest.mark.parametrize("seed", range(20))
def test_a_load_waits_for_all_that_used_its_bytes(seed: int) -> None:
    """Counted byte by byte: the kernel waited for is the last one that used any of them, and no place waits for less."""
    rng = random.Random(seed)
    low, high = rng.randint(0, 5), rng.randint(20, 40)
    memory, used = WeightMemory(low, high), [NOBODY] * high
    for kernel in range(60):
        size = rng.randint(1, high - low)
        first, last = memory.place(size)
        assert low <= first <= high - size
        waits = [max(used[at : at + size]) for at in range(low, high - size + 1)]
        assert last == waits[first - low] == min(waits)
        used[first : first + size] = [kernel] * size
        memory.use(first, first + size, kernel)
