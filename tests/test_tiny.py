"""The whole way in a few seconds: ONNX-like network in, plan, C, run, compare."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from ooc_solve.codegen.project import write_project
from ooc_solve.models import reference
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.solve import cp_sat


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make and a C compiler")
def test_tiny(tmp_path: Path) -> None:
    """A built-in network planned in a sixth of its SRAM gives the reference's bytes on the host."""
    network = zoo_network("ds_cnn")
    problem = Problem(network, load_target("f746-sd"), 8 * 1024, IoPlace.STORAGE)
    result = cp_sat(problem, Budget(time_limit_s=3))
    assert result.plan is not None
    assert result.plan.figures.sram_peak_bytes <= 8 * 1024
    assert result.plan.figures.bytes_written > 16 * 1024, "8 KiB cannot do without spilling"
    write_project(problem, result.plan, tmp_path / "c", "tiny")
    name = network.inputs[0]
    shape = network.tensors[name].graph_shape
    sample = np.random.default_rng(3).integers(-128, 128, shape, dtype=np.int8)
    (tmp_path / "in.bin").write_bytes(reference.pack_input(network, name, sample))
    command = ["make", "-s", "-C", str(tmp_path / "c"), "run"]
    files = [f"INPUT={tmp_path / 'in.bin'}", f"OUTPUT={tmp_path / 'out.bin'}"]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = reference.run(network, {name: sample})[network.outputs[0]]
    assert (tmp_path / "out.bin").read_bytes() == expected.tobytes()
