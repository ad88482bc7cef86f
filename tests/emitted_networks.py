"""What a network computes: in onnxruntime, and planned, emitted, compiled and run."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
from numpy.typing import NDArray

from ooc_solve.codegen.project import write_project
from ooc_solve.models import reference
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Network
from ooc_solve.solver.plans import checked
from ooc_solve.solver.solve import SCHEDULERS

Array = NDArray[Any]


def expected_outputs(
    model: onnx.ModelProto, names: tuple[str, ...], feeds: dict[str, Array]
) -> dict[str, Array]:
    """What onnxruntime computes, its kernels as they are written in the graph."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    providers = ["CPUExecutionProvider"]
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=providers)
    return dict(zip(names, session.run(list(names), feeds), strict=True))


def random_feeds(network: Network, seed: int) -> dict[str, Array]:
    """Every byte as likely as every other."""
    rng = np.random.default_rng([seed, 1])
    tensors = [network.tensors[name] for name in network.inputs]
    return {t.name: rng.integers(0, 256, t.graph_shape).astype(np.uint8).view(t.dtype.value) for t in tensors}


def emitted_outputs(
    problem: Problem, scheduler: str, feeds: dict[str, Array], folder: Path, objects: Path
) -> dict[str, Array]:
    """What the emitted project computes on the host. ``objects`` keeps compiled runtimes between projects."""
    result = SCHEDULERS[scheduler](problem, Budget(5.0, 1, 1))
    assert result.plan is not None, result.reason
    problem = ordered(problem, result.plan.selection.order)
    checked(problem, result.plan)
    write_project(problem, result.plan, folder / "project", "net")
    build = folder / "project" / "build"
    switches = re.findall(r"-DOOC_(?:ONE|FLOATS|MATRICES)\w*", (folder / "project" / "Makefile").read_text())
    objects = objects / "".join(["switches", *sorted(set(switches))])
    if objects.exists():
        shutil.copytree(objects, build, copy_function=shutil.copy)  # newer than the sources
    network, given_file, made_file = problem.network, folder / "in.bin", folder / "out.bin"
    given_file.write_bytes(
        b"".join(reference.pack_input(network, name, feeds[name]) for name in network.inputs)
    )
    command = ["make", "-s", "run", f"INPUT={given_file}", f"OUTPUT={made_file}", "CFLAGS=-O1"]
    done = subprocess.run(command, cwd=folder / "project", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    if not objects.exists():
        objects.mkdir(parents=True)
        for file in build.glob("ooc*.o"):
            shutil.copy(file, objects)
    content, outputs = made_file.read_bytes(), {}
    for name in network.outputs:
        size = network.tensors[name].size_bytes
        outputs[name], content = reference.unpack_output(network, name, content[:size]), content[size:]
    return outputs


def fresh_folder(folder: Path) -> Path:
    """An empty folder for one network, in place of that of the one before."""
    case = folder / "case"
    shutil.rmtree(case, ignore_errors=True)
    case.mkdir()
    return case
