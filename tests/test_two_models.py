"""Two emitted projects in one program: one runtime, two sets of tables, run in turns."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ooc_solve.codegen.project import write_project
from ooc_solve.models import reference
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Network
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.solve import SCHEDULERS

MAIN = Path(__file__).parent / "codegen" / "two_models.c"
NAMES = ("ds_cnn", "autoencoder")


def emitted(name: str, kib: int, folder: Path) -> Network:
    """Plan a built-in network and write its project."""
    problem = Problem(zoo_network(name), load_target("f746-sd"), kib * 1024, IoPlace.STORAGE)
    result = SCHEDULERS["demand-layering"](problem, Budget(5.0, 1, 1))
    assert result.plan is not None
    problem = ordered(problem, result.plan.selection.order)
    write_project(problem, result.plan, folder, name)
    return problem.network


def built(folder: Path) -> Path:
    """Compile the files of the first project and the tables of the second, and link them once."""
    first, second = (folder / name for name in NAMES)
    runtime = sorted(set(first.glob("ooc*.c")) | {first / "port_host.c"})
    assert all((second / file.name).read_bytes() == file.read_bytes() for file in runtime)
    headers = [f'-DMODEL_{which}_HEADER="{name}.h"' for which, name in zip("AB", NAMES, strict=True)]
    models = [f"-DMODEL_{which}={name}_model" for which, name in zip("AB", NAMES, strict=True)]
    program = folder / "both"
    files = [*runtime, first / f"{NAMES[0]}.c", second / f"{NAMES[1]}.c", MAIN]
    flags = ["-std=c99", "-O1", "-ffp-contract=off", "-pedantic", "-Wall", "-Wextra", "-Werror"]
    command = ["gcc", *flags, *headers, *models, f"-I{first}", f"-I{second}", "-o", str(program)]
    subprocess.run([*command, *map(str, files)], check=True)
    return program


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_two_models_run_in_one_program(tmp_path: Path) -> None:
    """Step by step in turns, each gives the bytes that it gives alone."""
    arguments, expected = [], []
    for name, kib in zip(NAMES, (24, 16), strict=True):
        network = emitted(name, kib, tmp_path / name)
        tensor = network.tensors[network.inputs[0]]
        sample = np.random.default_rng(8).integers(-128, 128, tensor.graph_shape).astype(np.int8)
        (tmp_path / f"{name}.in").write_bytes(reference.pack_input(network, tensor.name, sample))
        arguments += [
            str(path)
            for path in (tmp_path / name / f"{name}.bin", tmp_path / f"{name}.in", tmp_path / f"{name}.out")
        ]
        expected.append(reference.run(network, {tensor.name: sample})[network.outputs[0]].tobytes())
    done = subprocess.run([str(built(tmp_path)), *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 20, "both must have been under way together"
    assert [(tmp_path / f"{name}.out").read_bytes() for name in NAMES] == expected
