"""What a run shows of its outputs: the first values as real numbers, and the largest of scores."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from ooc_solve.codegen.shown_values import values_recipe
from ooc_solve.models.vocabulary import DType, Network, Op, OpKind, Quantization, Tensor

pytestmark = pytest.mark.skipif(
    not all(map(shutil.which, ("make", "od", "awk"))), reason="needs make, od and awk"
)


def shown(folder: Path, *outputs: tuple[Tensor, NDArray[np.generic]]) -> list[str]:
    """The lines that a Makefile prints of an output file with these tensors."""
    source = Tensor("source", 1, 1, 1, DType.INT8)
    tensors = {"source": source} | {tensor.name: tensor for tensor, _ in outputs}
    table = np.zeros(256, np.uint8)
    ops = tuple(
        Op(f"op{k}", OpKind.LOOKUP, ("source",), tensor.name, weights=table)
        for k, (tensor, _) in enumerate(outputs)
    )
    network = Network("net", tensors, ops, ("source",), tuple(tensor.name for tensor, _ in outputs))
    (folder / "Makefile").write_text(f"{values_recipe(network)}\nshow:\n\t@output=out.bin; $(VALUES)\n")
    (folder / "out.bin").write_bytes(b"".join(values.tobytes() for _, values in outputs))
    done = subprocess.run(
        ["make", "-s", "show"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
        env={"LC_ALL": "C.UTF-8"},
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def test_scores_are_real_numbers_with_the_largest(tmp_path: Path) -> None:
    """Integers become what they stand for; where all values belong to one place the largest is told."""
    scores = Tensor("scores", 1, 1, 3, DType.INT8, Quantization(0.00390625, -128))
    assert shown(tmp_path, (scores, np.array([-128, 127, 0], np.int8))) == [
        "scores, 3 values: 0 0.9961 0.5; largest: 0.9961 at 1"
    ]


def test_the_largest_is_sought_beyond_what_is_shown(tmp_path: Path) -> None:
    """Ten values of many are shown, the largest may be any of them."""
    values = np.zeros(1001, np.float32)
    values[285] = 0.75
    many = Tensor("many", 1, 1, 1001, DType.FLOAT32)
    assert shown(tmp_path, (many, values)) == [
        f"many, the first 10 of 1001 values:{' 0' * 10}; largest: 0.75 at 285"
    ]


def test_every_output_is_found_in_the_file(tmp_path: Path) -> None:
    """Outputs lie one after the other, each in its type; maps have no largest."""
    area = Tensor("area", 2, 2, 3, DType.UINT8)
    one = Tensor("one", 1, 1, 1, DType.FLOAT32)
    last = Tensor("last", 1, 2, 1, DType.INT8, Quantization(0.5, 1))
    found = shown(
        tmp_path,
        (area, np.arange(200, 212, dtype=np.uint8)),
        (one, np.array([-2.5e-9], np.float32)),
        (last, np.array([3, -1], np.int8)),
    )
    assert found == [
        "area, the first 10 of 12 values: 200 201 202 203 204 205 206 207 208 209",
        "one: -2.5e-09",
        "last, 2 values: 1 -1",
    ]


def test_names_mean_nothing_to_a_shell(tmp_path: Path) -> None:
    """Whatever a model calls its output is shown, and nothing of it is carried out."""
    name = "a'$(touch x)`touch y`\"; touch z #"
    tensor = Tensor(name, 1, 1, 1, DType.FLOAT32)
    assert shown(tmp_path, (tensor, np.ones(1, np.float32))) == ["a???touch?x??touch?y????touch?z??: 1"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["Makefile", "out.bin"]
