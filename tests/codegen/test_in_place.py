"""Kernels that write over what they read give the bytes of the reference, and tables say where they may."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.check import Rule, check_tables
from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import KINDS, StreamRow, Tables
from ooc_solve.models.in_place import replaceable
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.reference import run
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    DType,
    Function,
    Network,
    Op,
    OpKind,
    Plan,
    Quantization,
    Selection,
    Tensor,
    Window,
)
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.validate import Rule as PlanRule
from ooc_solve.solver.validate import validate

needs_compiler = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="needs make and a C compiler"
)

needs_emulator = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("arm-none-eabi-gcc") and shutil.which("qemu-system-arm")),
    reason="needs make, a compiler for Arm and its emulator",
)

SANITIZE = "EXTRA_CFLAGS=-fsanitize=address,undefined -fno-sanitize-recover=all -Werror"


def elementwise_network(dtype: DType) -> Network:
    """Sums, products and functions of one another, all of one shape, with scales of their own."""
    floats = dtype is DType.FLOAT32
    names = ("x", "a", "b", "sum", "product", "table", "double", "y")
    scales = dict(zip(names, (0.05, 0.04, 0.03, 0.06, 0.02, 0.02, 0.11, 0.11), strict=True))
    tensors = {
        name: Tensor(
            name, 6, 5, 7, dtype, None if floats else Quantization(scales[name], k - 3), graph_shape=(6, 5, 7)
        )
        for k, name in enumerate(names)
    }
    rng, clamp = np.random.default_rng(1), ((-2, 3) if floats else (-100, 90))
    every = rng.integers(0, 256, 256).astype(np.uint8)
    each = rng.integers(0, 256, (7, 256)).astype(np.uint8)
    kinds: dict[str, Any] = {"function": Function.SWISH, "weights": np.array([1.5, 0], np.float32)}
    first = Op("a", OpKind.LOOKUP, ("x",), "a", **(kinds if floats else {"weights": every}))
    per_channel = rng.uniform(-2, 2, (7, 2)).astype(np.float32)
    table: dict[str, Any] = (
        {"function": Function.AFFINE, "weights": per_channel} if floats else {"weights": each}
    )
    ops = (
        first,
        Op("b", OpKind.MAX_POOL, ("x",), "b", Window((3, 3), pads=(1, 1, 1, 1)), clamp=clamp),
        Op("sum", OpKind.ADD, ("b", "a"), "sum", clamp=clamp),
        Op("product", OpKind.MULTIPLY, ("a", "sum"), "product"),
        Op("table", OpKind.LOOKUP, ("product",), "table", **table),
        Op("double", OpKind.ADD, ("table", "table"), "double"),
        Op("y", OpKind.MAX_POOL, ("double",), "y", Window()),
    )
    return Network("elementwise", tensors, ops, ("x",), ("y",))


def in_place(
    workshop: Any, network: Network, stripes: int, spilled: frozenset[str] = frozenset()
) -> Selection:
    """Everything kept but some tensors, and in place wherever that is possible."""
    selection = workshop.striped(network, stripes, False)
    kept = selection.kept - spilled - set(network.outputs)

    def gives(number: int) -> bool:
        given = set(replaceable(network, range(number, number + 1)))
        return network.ops[number].output in kept and bool(given & kept)

    tilings = (replace(tiling, in_place=gives(k)) for k, tiling in enumerate(selection.tilings))
    return Selection(tuple(tilings), kept)


def planned(workshop: Any, problem: Problem, selection: Selection) -> tuple[Plan, Tables]:
    """A plan by hand that the judges find nothing in, and its tables."""
    plan = workshop.plan(problem, selection)
    assert {violation.rule for violation in validate(problem, plan)} <= {PlanRule.FIGURES}  # it promises none
    tables = build_tables(problem, plan)
    assert check_tables(tables) == ()
    return plan, tables


ON_HOST = ("host-run", SANITIZE, "ARGUMENTS=--runs 2")


def inferred(
    problem: Problem, plan: Plan, folder: Path, content: bytes, way: tuple[str, ...] = ON_HOST
) -> bytes:
    """Output of an emitted project for one input."""
    write_project(problem, plan, folder / "out", "net")
    (folder / "in.bin").write_bytes(content)
    command = ["make", "-s", "-C", str(folder / "out"), *way, "INPUT=in.bin", "OUTPUT=out.bin"]
    environment = {**os.environ, "PWD": str(folder)}
    result = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return (folder / "out.bin").read_bytes()


def samples(network: Network) -> dict[str, Any]:
    """A random input."""
    (name,) = network.inputs
    rng, tensor = np.random.default_rng(4), network.tensors[name]
    if tensor.dtype is DType.FLOAT32:
        return {name: rng.normal(0, 2, tensor.graph_shape).astype(np.float32)}
    return {name: rng.integers(-128, 128, tensor.graph_shape, dtype=np.int8)}


@needs_compiler
@pytest.mark.parametrize(
    ("dtype", "stripes", "spilled"),
    [
        (DType.INT8, 1, frozenset()),
        (DType.INT8, 3, frozenset({"sum"})),
        (DType.FLOAT32, 2, frozenset({"a"})),
    ],
)
def test_every_elementwise_kernel_works_in_place(
    workshop: Any, tmp_path: Path, dtype: DType, stripes: int, spilled: frozenset[str]
) -> None:
    """Sums, products and tables over one of their operands equal the reference, whole and in stripes."""
    network = elementwise_network(dtype)
    problem = Problem(network, load_target("f746-qspi-sdram"), 64 << 10, IoPlace.STORAGE)
    selection = in_place(workshop, network, stripes, spilled)
    assert sum(tiling.in_place for tiling in selection.tilings) >= 2
    plan, _ = planned(workshop, problem, selection)
    data = samples(network)
    found = inferred(problem, plan, tmp_path, data["x"].tobytes())
    assert found == run(network, data)["y"].tobytes()


@needs_emulator
@pytest.mark.parametrize("target", ["an505-qemu", "an547-qemu"])
def test_elementwise_kernels_work_in_place_on_emulated_cores(
    workshop: Any, tmp_path: Path, target: str
) -> None:
    """Compiled for cores with instructions for several bytes at once they give the same bytes."""
    network = elementwise_network(DType.INT8)
    problem = Problem(network, load_target(target), 64 << 10, IoPlace.SRAM)
    plan, _ = planned(workshop, problem, in_place(workshop, network, 2))
    data = samples(network)
    found = inferred(problem, plan, tmp_path, data["x"].tobytes(), ("run", "TIMEOUT=300"))
    assert found == run(network, data)["y"].tobytes()


@needs_compiler
def test_resnet8_in_place_equals_reference(workshop: Any, tmp_path: Path) -> None:
    """The sums of a residual network lie where one of their operands was."""
    network = zoo_network("resnet8")
    problem = Problem(network, load_target("f746-sd"), 128 << 10, IoPlace.STORAGE)
    selection = in_place(workshop, network, 1)
    assert sum(tiling.in_place for tiling in selection.tilings) == 3
    plan, _ = planned(workshop, problem, selection)
    data = samples(network)
    (source,), (target,) = network.inputs, network.outputs
    assert inferred(problem, plan, tmp_path, data[source].tobytes()) == run(network, data)[target].tobytes()


def with_output(tables: Tables, kind: OpKind, of: int, by: int) -> Tables:
    """The tables with the first kernel of a kind writing ``by`` units behind its operand ``of``."""
    commands = list(tables.stream[0].commands)
    for number, command in enumerate(commands):
        if not command.is_transfer and KINDS[tables.stages[command.stage].kind] is kind:
            word = list(command.word)
            word[4] = word[1 + of] + by
            commands[number] = replace(command, word=tuple(word))  # type: ignore[arg-type]
            break
    first = StreamRow.of(commands, tables.stream[0].channel, tables.stream[0].store)
    return replace(tables, stream=(first, *tables.stream[1:]))


@pytest.mark.parametrize(
    ("kind", "by"), [(OpKind.MAX_POOL, 0), (OpKind.ADD, 1), (OpKind.MULTIPLY, 1), (OpKind.LOOKUP, 1)]
)
def test_checker_finds_kernels_that_overwrite_what_they_read(workshop: Any, kind: OpKind, by: int) -> None:
    """Windows must not write over their input at all, the others not beside the element that they read."""
    network = elementwise_network(DType.INT8)
    problem = Problem(network, load_target("f746-qspi-sdram"), 64 << 10, IoPlace.STORAGE)
    _, tables = planned(workshop, problem, in_place(workshop, network, 1))
    found = check_tables(with_output(tables, kind, 0, by))
    assert Rule.OVERWRITTEN in {violation.rule for violation in found}
