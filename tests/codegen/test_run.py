"""End to end on the host: emitted projects compute what the reference and onnxruntime compute."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.check import check_tables
from ooc_solve.codegen.checksum import closed
from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.patches import fused_tilings
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.reference import pack_input, run, unpack_output
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Selection
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.validate import Rule, validate

pytestmark = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="needs make and a C compiler"
)

QOPERATOR_MODELS = (
    "micro_kws/micro_kws_m_qoperator",
    "mlperf_tiny/ad_autoencoder_ort_qop_u8s8",
    "mlperf_tiny/ic_resnet8_ort_qop_s8_pertensor",
    "mlperf_tiny/ic_resnet8_ort_qop_u8s8",
    "mlperf_tiny/kws_dscnn_ort_qop_u8s8",
    "mlperf_tiny/vww_mobilenetv1_025_96_ort_qop_u8s8",
)


def make(folder: Path, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Call make as a shell in ``cwd`` would."""
    environment = {**os.environ, "PWD": str(cwd or folder)}
    return subprocess.run(
        ["make", "-s", "-C", str(folder), *arguments],
        cwd=cwd or folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def inferred(folder: Path, content: bytes, *arguments: str) -> bytes:
    """Output of one run of a project."""
    (folder.parent / "in.bin").write_bytes(content)
    result = make(folder, "host-run", "INPUT=in.bin", "OUTPUT=out.bin", *arguments, cwd=folder.parent)
    assert result.returncode == 0, result.stdout + result.stderr
    return (folder.parent / "out.bin").read_bytes()


@pytest.mark.parametrize("name", ["f746-sd", "f746-qspi-sdram", "h747-sd", "lm3s-qemu"])
@pytest.mark.parametrize("io", list(IoPlace))
def test_project_equals_reference(workshop: Any, tmp_path: Path, name: str, io: IoPlace) -> None:
    """Whatever the storage does and however long it takes, the output is the reference's."""
    problem = workshop.problem(load_target(name), io)
    plan = workshop.plan(problem, workshop.selection)
    write_project(problem, plan, tmp_path / "out", "net")
    data = np.random.default_rng(3).integers(-128, 128, (9, 8, 4), dtype=np.int8)
    sanitize = "EXTRA_CFLAGS=-fsanitize=address,undefined -fno-sanitize-recover=all -Werror"
    found = inferred(tmp_path / "out", data.tobytes(), sanitize, "ARGUMENTS=--seed 1 --runs 10")
    assert found == run(problem.network, {"image": data})["scores.out"].tobytes()


@pytest.mark.parametrize(
    ("name", "operators", "rows", "columns", "rings"),
    [
        ("ds_cnn", 5, 1, 99, True),
        ("ds_cnn", 3, 3, 2, False),
        ("resnet8", 4, 1, 99, True),
        ("resnet8", 4, 9, 7, False),
    ],
)
def test_fused_stages_equal_reference(
    workshop: Any, tmp_path: Path, name: str, operators: int, rows: int, columns: int, rings: bool
) -> None:
    """Patches with halos that are computed again, and rings of rows, give the bytes of the reference.

    Every other operator fetches its weights for each patch, the others hold them.
    """
    network = zoo_network(name)
    problem = Problem(network, load_target("f746-sd"), 128 * 1024, IoPlace.SRAM)
    out = network.tensors[network.ops[operators - 1].output]
    fused = fused_tilings(network, range(operators), rows, min(columns, out.width), rings, True)
    assert fused is not None
    fused = tuple(replace(tiling, hold_weights=k % 2 == 0) for k, tiling in enumerate(fused))
    whole = workshop.striped(network, 1, False)
    inside = {op.output for op in network.ops[: operators - 1]}
    selection = Selection((*fused, *whole.tilings[operators:]), whole.kept - inside)
    plan = workshop.plan(problem, selection)
    assert {violation.rule for violation in validate(problem, plan)} <= {Rule.FIGURES}  # it promises none
    assert not check_tables(build_tables(problem, plan))
    write_project(problem, plan, tmp_path / "out", "net")
    (source,) = network.inputs
    shape = network.tensors[source].graph_shape
    data = np.random.default_rng(5).integers(-128, 128, shape, dtype=np.int8)
    sanitize = "EXTRA_CFLAGS=-fsanitize=address,undefined -fno-sanitize-recover=all -Werror"
    found = inferred(tmp_path / "out", data.tobytes(), sanitize, "ARGUMENTS=--seed 1 --runs 2")
    assert found == run(network, {source: data})[network.outputs[0]].tobytes()


@pytest.mark.parametrize("model", QOPERATOR_MODELS)
@pytest.mark.parametrize(("stripes", "spill"), [(1, False), (3, True)])
def test_project_equals_onnxruntime(
    workshop: Any, shared_models: Path, tmp_path: Path, model: str, stripes: int, spill: bool
) -> None:
    """Real networks give onnxruntime's bytes, in core and tile by tile through storage."""
    network = read_onnx(shared_models / f"{model}.onnx")
    problem = Problem(network, load_target("f746-sd"), 300 * 1024, IoPlace.STORAGE)
    plan = workshop.plan(problem, workshop.striped(network, stripes, spill))
    write_project(problem, plan, tmp_path / "out", "net")
    samples = np.load(shared_models / f"{model}.npz")
    for k in range(2):
        content = pack_input(network, network.inputs[0], samples["input"][k : k + 1])
        found = unpack_output(network, network.outputs[0], inferred(tmp_path / "out", content))
        np.testing.assert_array_equal(found, samples["output_0"][k : k + 1].reshape(found.shape))


@pytest.fixture
def project(workshop: Any, problem: Problem, tmp_path: Path) -> Path:
    write_project(problem, workshop.plan(problem, workshop.selection), tmp_path / "out", "net")
    return tmp_path / "out"


def test_paths_count_from_the_caller(project: Path) -> None:
    """Relative paths, spaces included, count from where make -C is called; absolute ones stay."""
    caller = project.parent / "some where"
    caller.mkdir()
    (caller / "my in.bin").write_bytes(bytes(9 * 8 * 4))
    result = make(project, "run", "INPUT=my in.bin", "OUTPUT=my out.bin", cwd=caller)
    assert result.returncode == 0, result.stderr
    relative = (caller / "my out.bin").read_bytes()
    paths = (f"INPUT={caller / 'my in.bin'}", f"OUTPUT={project.parent / 'absolute.bin'}")
    assert make(project, "run", *paths).returncode == 0
    assert (project.parent / "absolute.bin").read_bytes() == relative


def test_missing_input_is_explained(project: Path) -> None:
    """Without INPUT, make says how to give it; an unreadable one is named."""
    result = make(project, "run")
    assert result.returncode != 0
    assert "make run INPUT=in.bin OUTPUT=out.bin" in result.stderr
    assert "nothing.bin" in make(project, "run", "INPUT=nothing.bin").stderr


def test_image_of_other_tables_is_refused(project: Path) -> None:
    """The digest ties the image to the tables."""
    image = bytearray((project / "net.bin").read_bytes())
    image[16] ^= 1
    image[:64] = closed(bytes(image[:60]))
    (project / "net.bin").write_bytes(image)
    (project / "in.bin").write_bytes(bytes(9 * 8 * 4))
    result = make(project, "run", "INPUT=in.bin")
    assert result.returncode != 0
    assert "does not hold the image of this model" in result.stderr


def test_damaged_record_is_refused(project: Path) -> None:
    """A flipped bit among the weights is found by the checksum of its record."""
    image = bytearray((project / "net.bin").read_bytes())
    image[-100] ^= 1
    (project / "net.bin").write_bytes(image)
    (project / "in.bin").write_bytes(bytes(9 * 8 * 4))
    assert "wrong checksum" in make(project, "run", "INPUT=in.bin").stderr
