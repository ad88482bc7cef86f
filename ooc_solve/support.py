"""Which nodes of a model are supported, by which kernels, and why others are not."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from ooc_solve.layer_names import shortened
from ooc_solve.models.onnx_quantization import ACTIVATIONS
from ooc_solve.models.onnx_reader import NodeReport, survey_onnx
from ooc_solve.models.vocabulary import InputError, UsageError
from ooc_solve.quantization import quantized_model

WIDTH = 80
"""Columns of the table on paper and in pipes; a terminal that is narrower has its own."""

LONGEST_NAME = 30
"""Characters of a node's name in the table."""


def show_support(
    console: Console, model: str, calibration: str | None = None, activations: str = ACTIVATIONS[0]
) -> int:
    """Print a row per node of an ONNX file and all problems of the file; return 0 if it has none, else 1.

    With samples in ``calibration`` the nodes are those of the quantised model, as it would be planned.

    Raises ``UsageError`` for a built-in network, and ``InputError`` for a file that cannot be read, or quantised.
    """
    if model.startswith("zoo:"):
        raise UsageError(f"--check is about ONNX files (got '{model}'); every built-in network is supported")
    if calibration is None:
        reports, problems = survey_onnx(Path(model))
    else:
        quantized = quantized_model(model, calibration, activations)
        with tempfile.TemporaryDirectory(prefix="ooc-check-") as folder:
            file = Path(folder) / Path(model).name
            file.write_bytes(quantized.content)
            reports, problems = survey_onnx(file)
        words = f"Nodes of the quantised model ({quantized.form} form, {quantized.samples} samples):"
        console.print(words, markup=False)
    wide = console.width if console.is_terminal else WIDTH
    console.print(support_table(reports), width=min(wide, WIDTH))
    refused = sum(bool(report.problem) for report in reports)
    count = "1 node" if len(reports) == 1 else f"{len(reports)} nodes"
    console.print(f"{count}, {refused} not supported.", markup=False)
    for line in str(InputError(*problems)).splitlines() if problems else ():
        console.print(f"- {line}", markup=False, soft_wrap=True)
    return 1 if problems else 0


def support_table(reports: tuple[NodeReport, ...]) -> Table:
    """One line per node: short name, operator, kernels. Why others have none takes more room than a table has."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for title in ("node", "operator", "supported by"):
        table.add_column(title, overflow="ellipsis", no_wrap=True)
    names = shortened([str(InputError(report.name)) for report in reports], LONGEST_NAME)
    for name, report in zip(names, reports, strict=True):
        operator = str(InputError(report.operator)).rpartition(".")[2]  # its domain takes too much room
        table.add_row(Text(name), Text(operator), Text(_verdict(report)))
    return table


def _verdict(report: NodeReport) -> str:
    if report.problem:
        return "NO, see below"
    return ", ".join(report.kernels) or report.note or "not known (follows a NO)"
