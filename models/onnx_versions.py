"""Operator sets: bringing a file to a newer one, by ONNX's own converter.

Operators are read in the form of any operator set; only tools that demand a newer one need this.
"""

from __future__ import annotations

from pathlib import Path

import onnx
from onnx import version_converter

from ooc_solve.models.vocabulary import InputError


def standard_opset(model: onnx.ModelProto) -> int:
    """Return the version of the standard operator set that a model is written in."""
    return next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 1)


def at_least(model: onnx.ModelProto, opset: int, path: Path) -> onnx.ModelProto:
    """Return the model in an operator set of at least that version.

    Raises ``InputError`` where ONNX has no conversion for one of the operators.
    """
    if standard_opset(model) >= opset:
        return model
    try:
        return version_converter.convert_version(model, opset)
    except Exception as error:  # the converter raises C++ errors of several kinds
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(
            f"'{path}': cannot be brought from operator set {standard_opset(model)} to {opset} ({reason[0]}); "
            "export it again with a newer one."
        ) from error
