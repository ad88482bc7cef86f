"""The table of operators in the documentation is the one of the code."""

from __future__ import annotations

from pathlib import Path

from ooc_solve.models.cost import KERNEL_KINDS
from ooc_solve.models.onnx_handlers import HANDLERS, INSTEAD
from ooc_solve.models.operator_table import operator_table

ROOT = Path(__file__).resolve().parents[2]


def test_the_document_is_current() -> None:
    """OPERATORS.md is what the code says; if not: python -m ooc_solve.models.operator_table > OPERATORS.md."""
    assert (ROOT / "OPERATORS.md").read_text() == operator_table()


def test_kernels_exist_and_nothing_is_both() -> None:
    """Every kernel named is one of the runtime's, and no operator is supported and refused."""
    assert {kernel for operator in HANDLERS.values() for kernel in operator.kernels} <= set(KERNEL_KINDS)
    assert not set(HANDLERS) & set(INSTEAD)
