"""Which nodes of a model are supported, by which kernels, and why others are not."""

from __future__ import annotations

from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ooc_solve.models.onnx_reader import NodeReport, survey_onnx
from ooc_solve.models.vocabulary import InputError, UsageError

WIDTH = 80
"""Columns of the table on paper and in pipes; a terminal that is narrower has its own."""


def show_support(console: Console, model: str) -> int:
    """Print a row per node of an ONNX file and all problems of the file; return 0 if it has none, else 1.

    Raises ``UsageError`` for a built-in network, and ``InputError`` for a file that cannot be read.
    """
    if model.startswith("zoo:"):
        raise UsageError(f"--check is about ONNX files (got '{model}'); every built-in network is supported")
    reports, problems = survey_onnx(Path(model))
    wide = console.width if console.is_terminal else WIDTH
    console.print(support_table(reports), width=min(wide, WIDTH))
    refused = sum(bool(report.problem) for report in reports)
    console.print(f"{len(reports)} nodes, {refused} not supported.", markup=False)
    for line in str(InputError(*problems)).splitlines() if problems else ():
        console.print(f"- {line}", markup=False, soft_wrap=True)
    return 1 if problems else 0


def support_table(reports: tuple[NodeReport, ...]) -> Table:
    """One row per node: number, name, operator, kernels or reason."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("node", overflow="fold", ratio=3)
    table.add_column("operator", overflow="fold", ratio=3)
    table.add_column("supported by, or why not", overflow="fold", ratio=4)
    for report in reports:
        name, operator = (Text(str(InputError(part))) for part in (report.name, report.operator))
        table.add_row(name, operator, Text(_verdict(report)))
    return table


def _verdict(report: NodeReport) -> str:
    if report.problem:
        reason = report.problem.removeprefix(f"{report.operator} '{report.name}': ")
        return f"NO: {InputError(reason)}"
    if report.kernels:
        return ", ".join(report.kernels)
    return report.note or "not known: follows a node that is not supported"
