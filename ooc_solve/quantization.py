"""Quantising a float32 model on the way in, and telling what that changes."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.text import Text

from ooc_solve.models.onnx_quantization import OutputChange, Quantized, quantize_onnx
from ooc_solve.models.vocabulary import UsageError


def add_options(parser: argparse.ArgumentParser, activations: tuple[str, ...]) -> None:
    """Add --quantize and --activations."""
    parser.add_argument(
        "--quantize",
        metavar="FILE.npz|random",
        help="quantise a float32 model first, with these samples (or random ones)",
    )
    parser.add_argument(
        "--activations",
        choices=activations,
        default=activations[0],
        help=f"type of activations with --quantize ({activations[0]})",
    )


def quantized_model(model: str, calibration: str, activations: str) -> Quantized:
    """Quantise an ONNX file as the command line asks for.

    Raises ``UsageError`` for a built-in network, ``InputError`` as `quantize_onnx`.
    """
    if model.startswith("zoo:"):
        raise UsageError(
            f"--quantize is about ONNX files (got '{model}'); built-in networks are int8 already"
        )
    return quantize_onnx(Path(model), calibration, activations)


def show_change(console: Console, quantized: Quantized, calibration: str) -> None:
    """Say how far each output moved."""
    source = "random samples" if calibration == "random" else f"samples of {calibration}"
    words = f"Quantised in {quantized.form} form with {quantized.samples} {source}. Against the float model on these:"
    console.print(Text(words))
    for change in quantized.changes:
        console.print(Text(f"- {change_line(change, quantized.samples)}"))


def change_facts(quantized: Quantized, calibration: str) -> dict[str, object]:
    """What the JSON report says of quantising: form, samples, and the change of each output.

    Differences are in the output's own unit, over all samples of the calibration; ``same_class`` is how many of
    them keep their largest entry, null for outputs that are not one row of scores.
    """
    outputs = {change.name: {key: value for key, value in asdict(change).items() if key != "name"}
               for change in quantized.changes}  # fmt: skip
    return {
        "form": quantized.form,
        "calibration": calibration,
        "samples": quantized.samples,
        "outputs": outputs,
    }


def change_line(change: OutputChange, samples: int) -> str:
    """One output's change in words."""
    text = (
        f"output '{change.name}': at most {change.most:.4g} and on average {change.mean:.4g} away, "
        f"in a range of {change.range:.4g}"
    )
    if change.same_class is None:
        return f"{text}."
    return f"{text}; {change.same_class} of {samples} keep their largest entry."


def model_beside(project: Path) -> Path:
    """Where the quantised model of a project is written."""
    return project.resolve().with_name(f"{project.resolve().name}.onnx")
