"""Fits against coefficients that are known, and against what a fit must never do."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ooc_solve.calibrate import main
from ooc_solve.models.calibration import (
    KERNEL_COLUMNS,
    KernelSample,
    RequestSample,
    TransferSample,
    fit_runtime,
    fit_transfers,
    kernel_cycles,
    nonnegative_least_squares,
    read_kernel_samples,
    read_transfer_samples,
)
from ooc_solve.models.cost import KernelWork, compute_ns, read_ns, write_ns
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import InputError, KernelCost

# ----------------------------------------------------------------- non-negative least squares


@given(st.integers(0, 10**6), st.integers(1, 6))
@settings(max_examples=60)
def test_no_other_point_is_better(seed: int, columns: int) -> None:
    """The solution meets the conditions of Kuhn and Tucker: no step, and no new column, reduces the error."""
    random = np.random.default_rng(seed)
    a, b = random.normal(size=(12, columns)), random.normal(size=12)
    x = nonnegative_least_squares(a, b)
    gradient = a.T @ (b - a @ x)
    assert (x >= 0).all()
    assert np.abs(gradient[x > 0]).max(initial=0.0) < 1e-8
    assert gradient[x == 0].max(initial=0.0) < 1e-8


def test_known_solution_is_found() -> None:
    """With exact data the coefficients come back, zeros among them; an empty column stays 0."""
    random = np.random.default_rng(1)
    a = random.uniform(1, 1000, size=(20, 4))
    a[:, 2] = 0.0
    x = np.array([3.0, 0.0, 0.0, 0.25])
    assert nonnegative_least_squares(a, a @ x) == pytest.approx(x, abs=1e-9)


# ------------------------------------------------------------------------------------ kernels

KNOWN = KernelCost("conv", 900.0, 300.0, 120.0, 700.0, 110.0, 23.0, 11.0, 1.6, 1.9, 4.2)


def _calls(count: int, kind: str = "conv") -> list[KernelWork]:
    """Calls of all sizes, seeded."""
    random = np.random.default_rng(5)
    return [KernelWork(kind, *(int(10 ** random.uniform(0, 5)) for _ in range(11))) for _ in range(count)]


def test_fit_recovers_the_figures_that_made_the_samples() -> None:
    """Enough calls of a kind give back all ten figures, and what the CPU spends on transfers."""
    kernels = [
        KernelSample(f"call {k}", work, kernel_cycles(KNOWN, work)) for k, work in enumerate(_calls(40))
    ]
    requests = [
        RequestSample("r", n, size, 640.0 * n + 10.0 * size + 200.0 * kernels, kernels)
        for n, kernels in ((1, 0), (3, 0), (0, 1))
        for size in (1, 512, 9000)
    ]
    fit = fit_runtime("mine", kernels, requests)
    found = next(cost for cost in fit.cost.kernels if cost.kind == "conv")
    for name in KernelCost.__slots__[1:]:
        assert getattr(found, name) == pytest.approx(getattr(KNOWN, name), rel=1e-3)
    assert fit.cost.cycles_per_request == pytest.approx(640.0)
    assert fit.cost.cycles_per_checked_byte == pytest.approx(10.0)
    assert fit.cost.rms_error_percent is not None
    assert fit.cost.rms_error_percent < 0.1
    assert [(told.kind, told.calls, len(told.columns), told.figures) for told in fit.told] == [
        ("conv", 40, 10, 10)
    ]


def test_few_calls_tell_few_figures() -> None:
    """One call is blamed on its MACs alone: a fit through every point would say nothing about other calls."""
    work = KernelWork("conv", 10, 40, 1, 2, 3, 4, 5, 6, 40)
    (cost,) = fit_runtime("mine", [KernelSample("one", work, 800.0)]).cost.kernels
    assert cost == KernelCost("conv", cycles_per_mac=20.0)


def test_samples_without_time_are_refused() -> None:
    """Nothing measured, or nothing taken, is no sample."""
    with pytest.raises(InputError, match="at least one measured kernel"):
        fit_runtime("mine", [])
    with pytest.raises(InputError, match="Cycles must be above 0"):
        fit_runtime("mine", [KernelSample("idle", _calls(1)[0], 0.0)])


def test_kernels_of_float32_do_not_blur_the_figures_of_int8(tmp_path: Path) -> None:
    """They get figures of their own, the coarse ones come from int8 kernels alone, and without any there are none."""
    file = tmp_path / "kernels.csv"
    rows = (
        "conv,4,4,8,8,3,3,1,same,9000",
        "float_conv,4,4,8,8,3,3,1,same,90000",
        "float_lookup,4,4,8,8,1,1,1,same,900",
    )
    header = "op,height,width,channels,input_channels,kernel_height,kernel_width,stride,padding,cycles"
    file.write_text("\n".join((header, *rows)))
    samples = read_kernel_samples(file)
    assert [sample.work.kind for sample in samples] == ["conv", "float_conv", "float_lookup"]
    assert samples[1].work.macs == samples[0].work.macs
    both, alone = fit_runtime("mine", samples).cost, fit_runtime("mine", samples[:1]).cost
    assert both.conv_cycles_per_mac == alone.conv_cycles_per_mac
    assert {kernel.kind for kernel in both.kernels} == {"conv", "float_conv", "float_lookup"}
    with pytest.raises(InputError, match="at least one measured kernel of int8"):
        fit_runtime("mine", samples[1:])


# ---------------------------------------------------------------------------------- transfers


def test_transfers_give_setup_and_rate() -> None:
    """120 us and 2 MB/s come back from exact times; the directions are apart."""
    reads = [TransferSample("read", size, 120 + size / 2) for size in (512, 4_096, 65_536)]
    writes = [TransferSample("write", size, 900 + size) for size in (512, 65_536)]
    read, write = fit_transfers([*reads, *writes], "here")
    assert (read.direction, read.setup_ns, read.bytes_per_s) == ("read", 120_000, 2_000_000)
    assert (write.direction, write.setup_ns, write.bytes_per_s) == ("write", 900_000, 1_000_000)
    with pytest.raises(InputError, match=r"^here: write times must grow .* to tell a rate"):
        fit_transfers(writes[:1], "here")
    with pytest.raises(InputError, match=r"^here: at least two transfers are needed \(got none\)"):
        fit_transfers([], "here")
    fast = [TransferSample("read", size, size / 1e9) for size in (512, 4_096)]
    with pytest.raises(
        InputError, match=r"^here: read times must be in microseconds \(got a rate of 1e\+15 "
    ):
        fit_transfers(fast, "here")


# ------------------------------------------------------------------------------------ command

KERNELS = """\
op,height,width,channels,input_channels,kernel_height,kernel_width,stride,padding,cycles
conv,32,32,16,3,3,3,1,same,1815399
conv,16,16,32,16,1,1,2,valid,627700
depthwise,25,5,64,64,3,3,1,same,733593
fc,1,1,10,64,1,1,1,valid,4557
add,8,8,64,64,1,1,1,valid,139064
"""
TRANSFERS = """\
direction,bytes,microseconds
read,512,300
read,32768,4600
write,512,1200
write,32768,9000
"""


@pytest.fixture
def measured(tmp_path: Path) -> tuple[Path, Path]:
    """Two files of measurements."""
    kernels, transfers = tmp_path / "kernels.csv", tmp_path / "transfers.csv"
    kernels.write_text(KERNELS)
    transfers.write_text(TRANSFERS)
    return kernels, transfers


def test_written_target_says_what_was_measured(tmp_path: Path, measured: tuple[Path, Path]) -> None:
    """The file that comes out is read as a target, and its transfers and kernels take the measured times."""
    kernels, transfers = measured
    file = tmp_path / "mine.toml"
    arguments = ["--target", "f746-sd", "--kernels", str(kernels), "--transfers", str(transfers)]
    assert main([*arguments, "-o", str(file)]) == 0
    target = load_target(file)
    assert read_ns(target, target.weights, 32_768) == pytest.approx(4_600_000, rel=1e-3)
    assert write_ns(target, target.weights, 512) == pytest.approx(1_200_000, rel=1e-3)
    for sample in read_kernel_samples(kernels)[2:]:
        cycles = compute_ns(target, sample.work) * target.board.clock_hz / 1e9
        assert cycles == pytest.approx(sample.cycles, rel=0.01)
    source = "M: fitted by ooc-calibrate from measured cycles"
    assert target.provenance[f"board.runtime.{target.runtime.name}.conv_cycles_per_mac"] == source
    # what was not measured stays as it was
    assert replace(target.board, ports=(), runtimes=()) == replace(
        load_target("f746-sd").board, ports=(), runtimes=()
    )


def test_what_no_sample_tells_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two convolutions change the figure of convolutions; the others stay, with their provenance."""
    rows = ("conv,32,32,16,16,3,3,1,same,2500000", "conv,16,16,32,32,3,3,1,same,2400000")
    kernels, file = tmp_path / "two.csv", tmp_path / "mine.toml"
    kernels.write_text("\n".join([",".join(KERNEL_COLUMNS), *rows]))
    assert main(["--target", "f746-sd", "--kernels", str(kernels), "-o", str(file)]) == 0
    assert "Not measured, kept as they were: dw_cycles_per_mac, fc_cycles_per_mac" in capsys.readouterr().out
    before, after = load_target("f746-sd"), load_target(file)
    assert after.runtime.conv_cycles_per_mac != before.runtime.conv_cycles_per_mac
    kept = ("dw_cycles_per_mac", "fc_cycles_per_mac", "cycles_per_output", "cycles_per_checked_byte")
    for name in kept:
        assert getattr(after.runtime, name) == getattr(before.runtime, name)
        key = f"board.runtime.{after.runtime.name}.{name}"
        assert after.provenance[key] == before.provenance[key]


def test_padding_is_not_computed(measured: tuple[Path, Path]) -> None:
    """A 3x3 window on 32x32 pixels with padding has 94 x 94 of its 96 x 96 taps inside, per channel."""
    sample = read_kernel_samples(measured[0])[0]
    assert sample.work.macs == 32 * 32 * 16 * 27
    assert sample.work.computed_macs + sample.work.single_macs == 94 * 94 * 16 * 3


def test_kernels_are_counted_as_they_walk(tmp_path: Path) -> None:
    """A 1x1 window walks full rows as one long row; of runs of 9 bytes one byte each is left beyond words."""
    file = tmp_path / "kernels.csv"
    rows = ("conv,5,5,8,64,1,1,1,valid,9", "conv,32,32,16,3,3,3,1,same,9", "conv,5,5,8,64,1,1,2,valid,9")
    file.write_text("\n".join((",".join(KERNEL_COLUMNS), *rows)))
    point, window, strided = (sample.work for sample in read_kernel_samples(file))
    assert (point.blocks, point.lines, point.cuts, point.singles) == (2, 2, 0, 2)
    assert (point.computed, point.runs, point.tails) == (24 * 8, 24 * 8, 0)
    assert (strided.lines, strided.singles, strided.computed) == (10, 10, 20 * 8)
    assert (window.lines, window.cuts, window.singles) == (32 * 4, 8 * 4, 4 * 4)  # rows, sides, corners
    assert window.runs == (32 * 32 - 4) * 16 * 94 // 32
    assert window.tails == window.runs


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("conv,32,32,16,3,3,3,1,same,0", "line 2: cycles must be a number above 0, up to 1e+15 (got '0')"),
        (
            "conv,32,x,16,3,3,3,1,same,9",
            "line 2: width must be a whole number above 0, up to 65535 (got 'x')",
        ),
        (
            "conv,32,32,16,3,256,3,1,same,9",
            "line 2: kernel_height must be a whole number above 0, up to 255 (got '256')",
        ),
        ("pool,32,32,16,3,3,3,1,same,9", "line 2: op must be one of conv, "),
        ("conv,32,32,16,3,3,3,1,full,9", "line 2: padding must be same or valid (got 'full')"),
        ("conv,32", "line 2: padding must be same or valid (got '')"),
    ],
)
def test_wrong_rows_are_named(tmp_path: Path, row: str, message: str) -> None:
    """A row that cannot be used is refused with its file, line and column."""
    file = tmp_path / "kernels.csv"
    file.write_text(",".join(KERNEL_COLUMNS) + f"\n{row}\n")
    with pytest.raises(InputError) as caught:
        read_kernel_samples(file)
    assert message in str(caught.value)


def test_wrong_files_and_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Missing files, missing columns and empty commands end with one line and a code, not a traceback."""
    (tmp_path / "t.csv").write_text("direction,size\nread,1\n")
    with pytest.raises(InputError, match="must name the columns direction, bytes"):
        read_transfer_samples(tmp_path / "t.csv")
    (tmp_path / "k.csv").write_text(",".join(KERNEL_COLUMNS) + "\n")
    with pytest.raises(InputError, match=r"k\.csv: at least one measured kernel is needed \(got none\)"):
        read_kernel_samples(tmp_path / "k.csv")
    assert main(["--target", "f746-sd"]) == 2
    command = ["--target", "f746-sd", "--kernels", str(tmp_path / "k.csv"), "-o"]
    for place in (tmp_path, tmp_path / "none" / "mine.toml"):
        assert main([*command, str(place)]) == 1
        due = f"--output needs a plain file in a folder that can be written (got '{place}'"
        assert due in capsys.readouterr().err
    assert main(["--target", "f746-sd", "--emulate", "zoo:ds_cnn"]) == 1
    assert "must name an emulated machine" in capsys.readouterr().err
    assert main(["--target", "f746-sd", "--kernels", str(tmp_path / "none.csv")]) == 1
    assert "the file cannot be read" in capsys.readouterr().err
