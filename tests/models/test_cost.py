"""The cost model against figures worked out by hand, and the laws every cost obeys."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models.cost import (
    FLOAT_PREFIX,
    KERNEL_KINDS,
    KernelWork,
    align_down,
    align_up,
    check_ns,
    compute_ns,
    read_ns,
    write_ns,
)
from ooc_solve.models.target import list_targets, load_storage, load_target
from ooc_solve.models.vocabulary import InputError, KernelCost, Store, Target

TARGETS = list_targets()
PAIRS = [(target, store) for target in TARGETS for store in target.stores]
F746 = load_target("f746-sd")


def _behind(name: str, port: str, storage: str) -> tuple[Target, Store]:
    """A storage part behind a port of a built-in target's board."""
    target = load_target(name)
    link = next(link for link in target.board.ports if link.name == port)
    return target, Store("activations", link, load_storage(storage))


def _work(kind: str, macs: int, outputs: int) -> KernelWork:
    """A call that only the coarse figures of a board apply to."""
    return KernelWork(kind, outputs, macs)


# --------------------------------------------------------------------------- transfers


def test_sd_card_read() -> None:
    """SD: 20 us port + 230 us card + 32768 B at min(12 MB/s x 0.88, 23 MB/s) = 3 103 030.3 ns."""
    assert read_ns(F746, F746.weights, 32_768) == 20_000 + 230_000 + 3_103_031


def test_sd_card_write() -> None:
    """SD: a partial sector is written whole, 20 us + 850 us + 512 B at 10.56 MB/s = 48 484.8 ns."""
    assert write_ns(F746, F746.weights, 1) == 20_000 + 850_000 + 48_485
    assert write_ns(F746, F746.weights, 512) == write_ns(F746, F746.weights, 1)
    assert write_ns(F746, F746.weights, 513) == 20_000 + 850_000 + 96_970


def test_sd_card_read_in_segments() -> None:
    """Four segments of 1000 B are four requests of two sectors each; a byte too many makes it three."""
    one = 20_000 + 230_000 + 96_970
    assert read_ns(F746, F746.weights, 4_000, segments=4) == 4 * one
    assert read_ns(F746, F746.weights, 4_096, segments=4) == 4 * one
    assert read_ns(F746, F746.weights, 4_097, segments=4) == 4 * (20_000 + 230_000 + 145_455)


def test_nor_read() -> None:
    """NOR: 3 us port + 0.2 us part + 4860 B at 54 MB/s x 0.9 = 100 us."""
    target, store = _behind("f746-qspi-sdram", "qspi", "w25q128jv")
    assert read_ns(target, store, 4_860) == 3_000 + 200 + 100_000


def test_nor_write_programs_pages_and_erases_blocks() -> None:
    """NOR: 257 B are two pages of 704 us in one block of 160 ms; 65 537 B are 257 pages in two blocks."""
    target, store = _behind("f746-qspi-sdram", "qspi", "w25q128jv")
    assert write_ns(target, store, 257) == 3_000 + 1_000 + 2 * 704_000 + 160_000_000
    assert write_ns(target, store, 65_537) == 3_000 + 1_000 + 257 * 704_000 + 2 * 160_000_000


def test_psram_read_is_addressed_again_after_every_burst() -> None:
    """PSRAM: 1500 B in three bursts of 0.15 us set-up, at 37.5 MB/s x 0.8 = 30 MB/s."""
    target, store = _behind("rp2350-psram", "qmi1", "aps6404l")
    assert read_ns(target, store, 1_500) == 500 + 3 * 150 + 50_000


def test_psram_write_in_one_burst() -> None:
    """PSRAM: the part sets no limit to write bursts; 2100 B at 37.5 MB/s x 0.7 = 80 us."""
    target, store = _behind("rp2350-psram", "qmi1", "aps6404l")
    assert write_ns(target, store, 2_100) == 500 + 100 + 80_000


def test_fram_transfers() -> None:
    """FRAM on 25 MHz SPI: 1000 B at 3.125 MB/s x 0.8 read and x 0.75 written, no erase, no page."""
    target, store = _behind("l4r5-sdspi", "spi1", "mb85rs4mt")
    assert read_ns(target, store, 1_000) == 30_000 + 1_000 + 400_000
    assert write_ns(target, store, 1_000) == 30_000 + 1_200 + 426_667


def test_media_slower_than_link_sets_the_rate() -> None:
    """FRAM on quad SPI: the part's 5 MB/s, not the link's 27 MB/s."""
    target, store = _behind("l4r5-sdspi", "octospi1", "mb85rs4mt")
    assert read_ns(target, store, 1_000) == 3_000 + 1_000 + 200_000


def test_nand_transfers() -> None:
    """NAND: two pages read cost 60 us each; written, 250 us each and one block erase of 2 ms."""
    target, store = _behind("f746-qspi-sdram", "qspi", "w25n01gv")
    # 4096 B at min(48.6, 52) MB/s = 84 279.8 ns
    assert read_ns(target, store, 2_049) == 3_000 + 2 * 60_000 + 84_280
    assert write_ns(target, store, 2_049) == 3_000 + 5_000 + 2 * 250_000 + 2_000_000


def test_link_slower_than_programming_sets_the_rate() -> None:
    """NAND on SPI: a page of 2048 B takes 873 813.3 ns at 3.125 MB/s x 0.75, longer than its 250 us program time."""
    target, store = _behind("l4r5-sdspi", "spi1", "w25n01gv")
    assert write_ns(target, store, 2_048) == 30_000 + 5_000 + 873_814 + 2_000_000


def test_polled_port_takes_the_slower_of_link_and_cpu() -> None:
    """LM3S: 20 cycles per byte at 50 MHz are 400 ns, as the link's 2.5 MB/s read; writes wait for the link."""
    target = load_target("lm3s-qemu")
    assert read_ns(target, target.weights, 512) == 50_000 + 230_000 + 512 * 400
    # 3.125 MB/s x 0.75 is 426.67 ns per byte
    assert write_ns(target, target.weights, 512) == 50_000 + 850_000 + 218_454
    slow = replace(target, board=replace(target.board, clock_hz=25_000_000))
    assert read_ns(slow, slow.weights, 512) == 50_000 + 230_000 + 512 * 800


@pytest.mark.parametrize(("target", "store"), PAIRS, ids=lambda value: getattr(value, "name", "store"))
def test_moving_nothing_is_free(target: Target, store: Store) -> None:
    """No bytes, no request, no time."""
    assert read_ns(target, store, 0) == write_ns(target, store, 0) == 0


def test_impossible_transfers_are_refused() -> None:
    """Negative sizes and transfers in no segments are mistakes of the caller."""
    for size, segments in ((-1, 1), (1, 0)):
        with pytest.raises(ValueError, match="a transfer needs a size and segments"):
            read_ns(F746, F746.weights, size, segments)
        with pytest.raises(ValueError, match="a transfer needs a size and segments"):
            write_ns(F746, F746.weights, size, segments)


SIZES = st.integers(0, 1 << 22)


@given(pair=st.sampled_from(PAIRS), size=SIZES, more=SIZES, segments=st.integers(1, 64))
def test_transfers_are_monotone(pair: tuple[Target, Store], size: int, more: int, segments: int) -> None:
    """More bytes never take less time, and neither do more segments."""
    for cost in (read_ns, write_ns):
        assert cost(*pair, size, segments) <= cost(*pair, size + more, segments)
        assert cost(*pair, size) <= cost(*pair, size, segments)


@given(pair=st.sampled_from(PAIRS), size=st.integers(1, 1 << 22))
def test_no_transfer_beats_the_link(pair: tuple[Target, Store], size: int) -> None:
    """Nothing is faster than the peak rate of the port or the rate of the part."""
    target, store = pair
    for cost, access in ((read_ns, store.storage.read), (write_ns, store.storage.write)):
        rate = min(store.port.peak_bytes_per_s, access.bytes_per_s)
        assert cost(target, store, size) * rate >= size * 10**9


# ----------------------------------------------------------------------------- compute


def test_convolution_time() -> None:
    """F746, tuned: (2000 + 0.98 x 1 000 000 + 20 x 1000) cycles at 216 MHz = 4 638 888.9 ns."""
    assert compute_ns(F746, _work("conv", 1_000_000, 1_000)) == 4_638_889


def test_each_category_has_its_own_cost() -> None:
    """F746, tuned: 216 000 MACs are 1.40 ms depthwise, 1.88 ms fully connected, as depthwise for pools, nothing for sums."""
    call = 9_260  # 2000 cycles at 216 MHz are 9259.3 ns
    assert compute_ns(F746, _work("depthwise", 216_000, 0)) == 1_400_000 + call
    assert compute_ns(F746, _work("max_pool", 216_000, 0)) == 1_400_000 + call
    assert compute_ns(F746, _work("fc", 216_000, 0)) == 1_880_000 + call
    assert compute_ns(F746, _work("add", 216_000, 0)) == call


def test_decimals_count_as_written() -> None:
    """0.284 cycles per MAC are exactly 284/1000: a product that is whole is not rounded up."""
    target = load_target("esp32s3-psram")
    # (1000 + 0.284 x 1e9 + 0) cycles at 240 MHz = 1 183 337 500 ns exactly
    assert compute_ns(target, _work("conv", 10**9, 0)) == 1_183_337_500


# MLPerf Tiny int8 models: MACs of conv, depthwise, fully connected; outputs of conv, depthwise; layers.
MLPERF_TINY = {
    "visual wake words": (6_690_816, 798_336, 512, 142_848, 88_704, 31),
    "image classification": (12_500_992, 0, 640, 86_016, 0, 16),
    "keyword spotting": (2_368_000, 288_000, 768, 40_000, 32_000, 13),
    "anomaly detection": (0, 0, 264_192, 0, 0, 10),
}
# Closed division, v1.0, in ms: Plumerai on STM32F746 and STM32U585, microTVM with CMSIS-NN on STM32L4R5.
PUBLISHED_MS = {
    "f746-sd": (57.03, 64.77, 19.12, 2.29),
    "u585-octal": (107, 107, 35.44, 4.85),
    "l4r5-sdspi": (301, 390, 99.81, 8.60),
}


@pytest.mark.parametrize("name", PUBLISHED_MS)
def test_published_latencies_are_met(name: str) -> None:
    """The coefficients that ship reproduce the published latencies they were fitted on within 5 %."""
    target = load_target(name)
    for (conv, dw, fc, conv_out, dw_out, layers), published in zip(
        MLPERF_TINY.values(), PUBLISHED_MS[name], strict=True
    ):
        work = _work("conv", conv, conv_out), _work("depthwise", dw, dw_out), _work("fc", fc, 0)
        calls = sum(compute_ns(target, call) for call in work)
        calls += (layers - 3) * compute_ns(target, _work("add", 0, 0))
        assert calls / 1e6 == pytest.approx(published, rel=0.05)


def test_impossible_calls_are_refused() -> None:
    """An unknown kind or negative counts are mistakes of the caller."""
    with pytest.raises(ValueError, match="a kernel is one of conv, "):
        _work("pool", 1, 1)
    with pytest.raises(ValueError, match="cannot do less than nothing"):
        _work("conv", -1, 1)


FLOAT_KINDS = [kind for kind in KERNEL_KINDS if kind.startswith(FLOAT_PREFIX)]


@given(
    target=st.sampled_from(TARGETS),
    kind=st.sampled_from([kind for kind in KERNEL_KINDS if kind not in FLOAT_KINDS]),
    counts=st.tuples(*[st.integers(0, 10**7)] * 10),
    more=st.tuples(*[st.integers(0, 10**5)] * 10),
)
def test_compute_is_monotone(
    target: Target, kind: str, counts: tuple[int, ...], more: tuple[int, ...]
) -> None:
    """More work of any sort never takes less time."""
    less = KernelWork(kind, *counts)
    assert compute_ns(target, less) <= compute_ns(
        target, KernelWork(kind, *map(sum, zip(counts, more, strict=True)))
    )


@pytest.mark.parametrize("kind", FLOAT_KINDS)
def test_float_kernels_have_figures_of_their_own(kind: str) -> None:
    """Those of a board with a float unit; without any, the coarse ones do not stand in for them."""
    work = KernelWork(kind, 100, 900, computed=100, computed_macs=900)
    assert compute_ns(F746, work) > 0
    bare = replace(F746, runtime=replace(F746.runtime, kernels=()))
    with pytest.raises(InputError, match=f"it has no \\[runtime.vendor_tuned.kernel.{kind}\\]"):
        compute_ns(bare, work)


CALIBRATED = replace(
    F746,
    board=replace(F746.board, clock_hz=1_000_000_000),
    runtime=replace(
        F746.runtime,
        cycles_per_request=700.0,
        cycles_per_checked_byte=10.5,
        kernels=(KernelCost("conv", 1000.0, 100.0, 50.0, 20.0, 10.0, 5.0, 2.0, 0.25, 3.0),),
    ),
)


def test_kinds_with_figures_of_their_own_take_them() -> None:
    """At 1 GHz: 1000 + 2 x 100 + 3 x 50 + 4 x 20 + 5 x 10 + 6 x 5 + 7 x 2 + 9 x 0.25 + 3 cycles, rounded up."""
    work = KernelWork("conv", 10**6, 10**9, 2, 3, 4, 5, 6, 7, 9, 1)
    assert compute_ns(CALIBRATED, work) == 1530
    # other kinds keep the coarse figures
    assert compute_ns(CALIBRATED, _work("add", 0, 0)) == F746.runtime.cycles_per_call


def test_transfers_take_the_cpu_besides() -> None:
    """At 1 GHz: 700 cycles per request on top of the channel's time, 10.5 per byte of a record that is checked."""
    plain = replace(CALIBRATED, runtime=F746.runtime)
    store = CALIBRATED.weights
    assert read_ns(CALIBRATED, store, 2_048, 2) == read_ns(plain, store, 2_048, 2) + 2 * 700
    assert write_ns(CALIBRATED, store, 512) == write_ns(plain, store, 512) + 700
    assert read_ns(CALIBRATED, store, 0) == 0
    assert check_ns(CALIBRATED, 512) == 5_376
    assert check_ns(CALIBRATED, 513) == 5_387  # rounded up


# --------------------------------------------------------------------------- alignment


@given(value=st.integers(0, 1 << 40), granule=st.integers(1, 1 << 20))
def test_alignment_brackets_the_value(value: int, granule: int) -> None:
    """Both are multiples, around the value, and nearer than one granule."""
    low, high = align_down(value, granule), align_up(value, granule)
    assert low % granule == high % granule == 0
    assert value - granule < low <= value <= high < value + granule
