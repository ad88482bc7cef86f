"""Two weight stores, a ring, a cipher, an engine and frames: any of them together give the reference's bytes."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import has_annex, has_engine
from ooc_solve.frames import run_of
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.reference import run
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Network, Plan, Selection, Target
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.solver.validate import validate

needs_tools = pytest.mark.skipif(
    not all(map(shutil.which, ("make", "cc"))) or not Path("/usr/include/mbedtls/gcm.h").is_file(),
    reason="needs make, cc and libmbedtls-dev",
)
KEY = bytes(range(32))
FEATURES = ("annex", "ring", "sealed", "engine")
"""What may be put together; an engine opens what is sealed."""

RARE = (("annex", "sealed", "engine"), ("ring", "sealed", "engine"), ("annex", "ring", "sealed"))
TOGETHER = (
    ("annex", "ring"),
    FEATURES,
    *(pytest.param(names, marks=pytest.mark.slow, id="+".join(names)) for names in RARE),
)
"""Those that no other test puts together."""


def target_with(features: Iterable[str]) -> Target:
    """Flash and a card, or the card alone; records may be sealed, by software or by an engine as fast."""
    target = load_target("h747-qspi-sd")
    if "annex" not in features:
        target = replace(target, annex=None)
    if "sealed" in features:
        target = encrypted(target, "chacha20-poly1305")
    if "engine" in features:
        assert target.crypto is not None
        target = replace(target, crypto=replace(target.crypto, engine="hw", cpu_busy=False))
    return target


def inputs_of(network: Network) -> dict[str, Any]:
    """Inputs drawn from a seed."""
    rng, found = np.random.default_rng(3), {}
    for name in network.inputs:
        tensor = network.tensors[name]
        shape = tensor.graph_shape or (tensor.height, tensor.width, tensor.channels)
        found[name] = rng.integers(-128, 128, shape).astype(np.int8)
    return found


def computes_right(problem: Problem, plan: Plan, folder: Path, *arguments: str) -> bool:
    """Whether the emitted network gives the reference's bytes in every run."""
    network, inputs = problem.network, inputs_of(problem.network)
    key = KEY if problem.target.crypto is not None else None
    write_project(problem, plan, folder / "out", "net", key)
    files = {"INPUT": "in.bin", "OUTPUT": "out.bin", "KEY": "key.bin"}
    (folder / "in.bin").write_bytes(b"".join(inputs[name].tobytes() for name in network.inputs))
    (folder / "key.bin").write_bytes(KEY)
    named = [f"{name}={folder / file}" for name, file in files.items()]
    strict = "CFLAGS=-O1 -Wconversion -Werror"
    done = subprocess.run(
        ["make", "-s", "-C", str(folder / "out"), "run", *named, strict, f"ARGUMENTS={' '.join(arguments)}"],
        env=os.environ | {"PWD": str(folder)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = run(network, inputs)
    return (folder / "out.bin").read_bytes() == b"".join(found[name].tobytes() for name in network.outputs)


def spread(problem: Problem, selection: Selection) -> Selection:
    """The selection with the weights of every second operator that has any in the annex."""
    weighted = [k for k, op in enumerate(problem.network.ops) if op.weights is not None]
    there = set(weighted[::2]) if problem.target.annex is not None else set()
    tilings = tuple(replace(t, annex=k in there) for k, t in enumerate(selection.tilings))
    return replace(selection, tilings=tilings)


@needs_tools
@pytest.mark.parametrize("features", TOGETHER)
def test_features_together(workshop: Any, tmp_path: Path, features: tuple[str, ...]) -> None:
    """Over more runs than a ring has places, and with transfers of any length, the output is the reference's."""
    problem = workshop.problem(target_with(features))
    problem = replace(problem, scratch_ring_bytes=48 << 10 if "ring" in features else None)
    plan = workshop.plan(problem, spread(problem, workshop.selection))
    plan = replace(plan, figures=figures_of(problem, plan.graph, plan.schedule))
    assert validate(problem, plan) == ()
    tables = build_tables(problem, plan)
    made = {
        "annex": has_annex(tables),
        "ring": tables.ring is not None,
        "sealed": tables.sealing is not None,
        "engine": has_engine(tables),
    }
    assert {name for name, there in made.items() if there} == set(features)
    assert computes_right(problem, plan, tmp_path, "--rounds 5", "--runs 2", "--seed 4")


@needs_tools
@pytest.mark.parametrize(
    ("features", "kib"),
    [(("ring", "sealed", "engine"), 16), pytest.param(("sealed",), 24, marks=pytest.mark.slow)],
)
def test_frames_together(tmp_path: Path, features: tuple[str, ...], kib: int) -> None:
    """Sealed runs of two frames give each frame the reference's output, at every place of a ring too."""
    ring = 1 << 18 if "ring" in features else None
    alone = Problem(
        *(zoo_network("ds_cnn"), target_with(features), kib << 10, IoPlace.STORAGE), scratch_ring_bytes=ring
    )
    problem = run_of(alone, 2)
    plan = SCHEDULERS["demand-layering"](problem, Budget(5.0, 1, 1)).plan
    assert plan is not None
    assert validate(problem, plan) == ()
    assert (build_tables(problem, plan).ring is not None) == ("ring" in features)
    assert computes_right(problem, plan, tmp_path, "--rounds 4", "--seed 4")
