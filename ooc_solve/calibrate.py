"""The command ``ooc-calibrate``: measured cycles and transfer times in, a board file out."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ooc_solve.api import load
from ooc_solve.arguments import parse_count, parse_seconds, parse_size
from ooc_solve.command_line import Parser, exit_code_of
from ooc_solve.measurement import (
    Measurement,
    instruction_shift,
    kernel_samples,
    measure,
    predict,
    request_samples,
)
from ooc_solve.models.calibration import (
    COARSE_FIGURES,
    KERNEL_COLUMNS,
    TRANSFER_COLUMNS,
    KernelSample,
    RequestSample,
    Row,
    RuntimeFit,
    TransferFit,
    fit_requests,
    fit_runtime,
    fit_transfers,
    put_runtime,
    put_transfers,
    read_kernel_samples,
    read_transfer_samples,
    rms_error,
)
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target, target_tables
from ooc_solve.models.toml_writer import toml_text
from ooc_solve.models.vocabulary import Budget, Target, UsageError
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.whole_file import check_writable, write_whole

SIZES = (16 << 10, 32 << 10, 64 << 10)
SCHEDULED = ("serial", "cp-sat")

NUMBER_WIDTH, MOST_CUT = 13, 16
"""Characters of a column of numbers with the gap before it, and of labels at least."""


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="ooc-calibrate",
        description="Fit the cost figures of a board to measurements and write them as a target file.",
        epilog=f"Kernels: a CSV file with the columns {', '.join(KERNEL_COLUMNS)}. Transfers: one with "
        f"{', '.join(TRANSFER_COLUMNS)}. Exit code: 0 fitted, 1 input error, 2 usage.",
    )
    made.add_argument("--target", required=True, metavar="ID|FILE", help="target to start from")
    made.add_argument("--kernels", type=Path, metavar="CSV", help="measured kernel calls")
    made.add_argument("--transfers", type=Path, metavar="CSV", help="measured transfers")
    made.add_argument(
        "--store",
        choices=("weights", "activations"),
        default="weights",
        help="what was transferred (weights)",
    )
    made.add_argument(
        "--emulate", nargs="+", default=[], metavar="MODEL", help="measure these models on the emulated board"
    )
    made.add_argument(
        "--sram",
        nargs="+",
        type=parse_size,
        default=SIZES,
        metavar="SIZE",
        help="with these (16, 32, 64 KiB)",
    )
    made.add_argument("--time-limit", type=parse_seconds, default=10.0, metavar="S", help="per plan (10)")
    made.add_argument(
        "--seed", type=parse_count, default=1, metavar="N", help="random seed of the solver (1)"
    )
    made.add_argument("-o", "--output", type=Path, metavar="FILE", help="write a target file")
    made.add_argument("--board-only", action="store_true", help="write a board file instead")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=False)
    return exit_code_of("ooc-calibrate", lambda: run(options, console))


def run(options: argparse.Namespace, console: Console) -> int:
    """Do what the parsed command line asks for."""
    if not (options.kernels or options.transfers or options.emulate):
        raise UsageError("measurements are needed: --kernels, --transfers or --emulate")
    if options.output is not None:
        check_writable(options.output, "--output")
    target, tables = load_target(options.target), target_tables(options.target)
    measured = run_emulated(options, target, console)
    kernels, requests = samples_of(options, measured)
    if kernels:
        fit = fit_runtime(target.runtime.name, kernels, requests, target.runtime)
        put_runtime(
            tables["board"], fit.cost, _source("cycles" if options.kernels else "instructions"), fit.kept
        )
        show_runtime(console, fit)
        show_predictions(console, measured, replace(target, runtime=fit.cost))
    if options.transfers:
        fits = fit_transfers(read_transfer_samples(options.transfers), str(options.transfers))
        put_transfers(tables, options.store, fits, _source("transfers"))
        show_transfers(console, fits)
    if options.output is not None:
        write_profile(options.output, tables, options.board_only)
        console.print(f"Written to {options.output}.", markup=False)
    return 0


def _source(what: str) -> str:
    counted = "counted" if what == "instructions" else "measured"
    return f"M: fitted by ooc-calibrate from {counted} {what}"


def samples_of(
    options: argparse.Namespace, measured: Sequence[Measurement]
) -> tuple[list[KernelSample], list[RequestSample]]:
    """All kernel and request samples, from the CSV file and the emulator."""
    kernels = read_kernel_samples(options.kernels) if options.kernels else []
    requests: list[RequestSample] = []
    for run_ in measured:
        requests += request_samples(run_)
    _, per_byte = fit_requests(requests)
    for run_ in measured:
        kernels += kernel_samples(run_, per_byte)
    return kernels, requests


def write_profile(path: Path, tables: dict[str, Any], board_only: bool) -> None:
    """Write a target file that needs no other, or the board alone."""
    if board_only:
        tables = {"schema": tables["schema"], "kind": "board"} | tables["board"]
    write_whole(path, toml_text(tables), "--output")


# --------------------------------------------------------------------------------- emulated


def run_emulated(options: argparse.Namespace, target: Target, console: Console) -> list[Measurement]:
    """Plan and measure every model with every SRAM size, serially and as well as can be."""
    measured = []
    if options.emulate:
        instruction_shift(target.board)
    for model in options.emulate:
        network = load(model)
        for sram_bytes in options.sram:
            problem = Problem(network, target, sram_bytes, IoPlace.STORAGE)
            for scheduler in SCHEDULED:
                plan = SCHEDULERS[scheduler](problem, Budget(options.time_limit, 1, options.seed)).plan
                if plan is None:
                    console.print(f"{network.name} with {sram_bytes} bytes: no plan", markup=False)
                    continue
                with tempfile.TemporaryDirectory() as folder:
                    measured.append(measure(problem, plan, Path(folder)))
                console.print(f"{network.name} with {sram_bytes} bytes, {scheduler}: measured", markup=False)
    return measured


# ----------------------------------------------------------------------------------- tables


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of one label."""

    label: str
    rows: tuple[Row, ...]

    @property
    def worst(self) -> float:
        """The relative error furthest from 0."""
        return max((row.error for row in self.rows), key=abs)


def grouped(rows: Iterable[Row]) -> list[Group]:
    """Rows by label, in the order of their first appearance."""
    found: dict[str, list[Row]] = {}
    for row in rows:
        found.setdefault(row.label, []).append(row)
    return [Group(label, tuple(own)) for label, own in found.items()]


def _table(console: Console, *columns: str) -> Table:
    """A table whose labels, in the first column, are cut where its numbers would not fit beside them."""
    table = Table(box=None, pad_edge=False)
    room = console.width - NUMBER_WIDTH * (len(columns) - 1)
    table.add_column(columns[0], overflow="ellipsis", no_wrap=True, max_width=max(MOST_CUT, room))
    for column in columns[1:]:
        table.add_column(column, justify="right", no_wrap=True)
    return table


def show_runtime(console: Console, fit: RuntimeFit) -> None:
    """Print samples beside the fit, then the figures."""
    table = _table(console, "kernel", "calls", "measured", "fitted", "worst error")
    for group in grouped(fit.rows):
        measured, fitted = sum(r.measured for r in group.rows), sum(r.fitted for r in group.rows)
        count = str(len(group.rows))
        table.add_row(group.label, count, f"{measured:,.0f}", f"{fitted:,.0f}", f"{group.worst:+.2%}")
    console.print(table)
    console.print(f"\nrms error {rms_error(fit.rows):.2%} of {len(fit.rows)} calls", markup=False)
    for told in fit.told:
        if len(told.columns) < told.figures:
            console.print(
                f"{told.kind}: different calls {told.calls}, figures they tell {len(told.columns)} of "
                f"{told.figures}; {2 * told.figures} calls tell all",
                markup=False,
            )
    console.print()
    figures = _table(console, "figure", "cycles")
    cost = fit.cost
    for name in COARSE_FIGURES:
        figures.add_row(name, f"{getattr(cost, name):g}" + (" (kept)" if name in fit.kept else ""))
    for kernel in cost.kernels:
        for name in kernel.__slots__[1:]:
            if getattr(kernel, name):
                figures.add_row(f"{kernel.kind}.{name}", f"{getattr(kernel, name):g}")
    console.print(figures)
    if fit.kept:
        console.print(f"Not measured, kept as they were: {', '.join(fit.kept)}.", markup=False)


def show_transfers(console: Console, fits: Iterable[TransferFit]) -> None:
    """Print transfers beside the fit, then setup and rate."""
    for fit in fits:
        table = _table(console, "transfer", "us", "fitted", "error")
        for row in fit.rows:
            table.add_row(row.label, f"{row.measured:,.1f}", f"{row.fitted:,.1f}", f"{row.error:+.2%}")
        console.print(table)
        console.print(
            f"{fit.direction}: setup {fit.setup_ns} ns, {fit.bytes_per_s} bytes/s, "
            f"rms error {rms_error(fit.rows):.2%}\n",
            markup=False,
        )


def show_predictions(console: Console, measured: Sequence[Measurement], target: Target) -> None:
    """Print what the fitted figures say about the measured plans."""
    if not measured:
        return
    table = _table(console, "run", "SRAM", "scheduler", "measured ms", "plan")
    for run_ in measured:
        said = predict(run_, target)
        table.add_row(
            run_.problem.network.name,
            str(run_.problem.sram_bytes),
            run_.plan.scheduler,
            f"{run_.makespan_ns / 1e6:,.2f}",
            f"{said / run_.makespan_ns - 1:+.2%}",
        )
    console.print(table)


if __name__ == "__main__":
    sys.exit(main())
