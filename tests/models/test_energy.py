"""The energy of an inference and of a day, against figures worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models.energy import Rates, Traffic, duty, energy_nj, erased_bytes, sleep_mw
from ooc_solve.models.target import list_targets, load_storage, load_target
from ooc_solve.models.vocabulary import Target

TARGETS = list_targets()
F746 = load_target("f746-sd")
NOTHING = [Traffic()]


def test_waiting_and_computing() -> None:
    """F746: 330 mW x 2 ms computing + 100 mW x 1 ms waiting + the card idle at 0.8 mW x 3 ms."""
    assert energy_nj(F746, 2_000_000, 3_000_000, NOTHING) == 660_000 + 100_000 + 2_400


def test_transfers_cost_bytes_and_requests() -> None:
    """SD: 8 and 20 nJ a byte, 15 180 and 56 100 nJ a request, and 2000 cycles of the CPU at 230 mW for each."""
    base = energy_nj(F746, 0, 0, NOTHING)
    found = energy_nj(F746, 0, 0, [Traffic(1_000, 500, 2, 1)])
    setup = 3 * 2_000 / 216e6 * 230e6  # three requests, in nJ
    assert found - base == pytest.approx(8_000 + 10_000 + 2 * 15_180 + 56_100 + setup, abs=1)


def test_every_store_counts_and_rounding_comes_last() -> None:
    """Two stores idle and move bytes each for itself; 3 bytes of NOR and 2 of SDRAM cost 1 nJ each."""
    target = load_target("f746-qspi-sdram")
    board = replace(target.board, dma_setup_cycles=0.0)
    quiet = replace(target, board=board)
    # 330 mW x 1 us + (0.05 + 40) mW x 1 us = 370.05 nJ
    assert energy_nj(quiet, 1_000, 1_000, [Traffic(read_bytes=3, reads=1), Traffic(0, 2, 0, 1)]) == 376


def test_cpu_that_moves_the_data_never_waits() -> None:
    """Without DMA the whole makespan is that of an active CPU, and requests cost it nothing on top."""
    polling = replace(F746, board=replace(F746.board, overlaps_cpu=False))
    assert energy_nj(polling, 1_000_000, 3_000_000, NOTHING) == 990_000 + 2_400
    one = [Traffic(read_bytes=0, reads=1)]
    assert energy_nj(polling, 1_000_000, 3_000_000, one) == 990_000 + 2_400 + 15_180


def test_blocks_are_erased_whole() -> None:
    """A byte to NOR erases 65 536 bytes; memories that need no erasing erase nothing."""
    assert erased_bytes(load_storage("w25q128jv"), 1) == 65_536
    assert erased_bytes(load_storage("w25q128jv"), 65_537) == 131_072
    assert erased_bytes(F746.weights.storage, 100) == 0


def test_impossible_energy_is_refused() -> None:
    """Compute beyond the makespan, negative traffic, or figures for other stores are mistakes of the caller."""
    with pytest.raises(ValueError, match="within the makespan"):
        energy_nj(F746, 2, 1, NOTHING)
    with pytest.raises(ValueError, match="must not be negative"):
        Traffic(-1)
    with pytest.raises(ValueError, match="zip"):
        energy_nj(F746, 1, 1, [])


@given(
    target=st.sampled_from(TARGETS),
    compute=st.integers(0, 10**12),
    wait=st.integers(0, 10**12),
    moved=st.integers(0, 10**9),
    requests=st.integers(0, 10**6),
)
def test_energy_is_monotone(target: Target, compute: int, wait: int, moved: int, requests: int) -> None:
    """Waiting longer or moving more never takes less energy, and the sum is linear in the makespan."""
    still = [Traffic()] * len(target.stores)
    busy = [Traffic(moved, moved, requests, requests)] * len(target.stores)
    base = energy_nj(target, compute, compute, still)
    assert base <= energy_nj(target, compute, compute + wait, still)
    assert base <= energy_nj(target, compute, compute, busy)
    rates = Rates.of(target)
    longer = rates.picojoules(compute, compute + wait, busy)
    assert longer == rates.fixed_pj(compute, busy) + rates.per_ns * (compute + wait)


def test_a_day_of_a_board_that_sleeps() -> None:
    """1000 inferences of 0.1 s and 30 mJ: 30 J awake, 1.2 mW asleep for 86 300 s, 1.546 mW on average."""
    found = duty(F746, 30_000_000, 100_000_000, 1000)
    assert found is not None
    assert sleep_mw(F746) == pytest.approx(1.2)
    assert found.asleep_share == pytest.approx(1 - 100 / 86_400)
    assert found.awake_mj == pytest.approx(30_000)
    assert found.mj_per_day == pytest.approx(30_000 + 1.2 * 86_300)
    assert found.mean_mw == pytest.approx((30_000 + 1.2 * 86_300) / 86_400)


def test_a_day_has_no_room_for_more() -> None:
    """A second each leaves room for 86 400 inferences, then the board never sleeps, and for no more."""
    full = duty(F746, 1, 1_000_000_000, 86_400)
    assert full is not None
    assert full.sleep_mj == 0
    assert duty(F746, 1, 1_000_000_000, 86_401) is None
