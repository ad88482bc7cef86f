"""Transfers that go on from interrupts: whenever they come, the output is the reference's."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.project import write_project
from ooc_solve.models.problem import IoPlace
from ooc_solve.models.reference import run
from ooc_solve.models.target import load_target

RUNS = 120

INTERRUPTS = """
#include "ooc.h"
#include <stdio.h>

int run_interrupted(struct ooc *o);
void __sanitizer_cov_trace_pc(void);

static struct ooc *running;
static uint32_t random_state = 88172645u, depth, interrupts, useful, nested, postponed;

/* Called in every basic block of runtime and port: now and then, an interrupt. */
__attribute__((no_sanitize_coverage)) void __sanitizer_cov_trace_pc(void) {
    random_state ^= random_state << 13;
    random_state ^= random_state >> 17;
    random_state ^= random_state << 5;
    if (running == NULL || depth >= 3 || random_state % 128u != 0) {
        return;
    }
    depth++;
    interrupts++;
    nested += depth > 1;
    postponed += running->held;
    useful += (uint32_t)ooc_advance(running);
    depth--;
}

int run_interrupted(struct ooc *o) {
    int result;
    running = o;
    result = ooc_run(o);
    running = NULL;
    fprintf(stderr, "%u %u %u %u\\n", interrupts, useful, nested, postponed);
    return result;
}
"""

FLAGS = ("-std=c99", "-O1", "-ffp-contract=off", "-Wno-attributes")
COVERED: tuple[str, ...] = ("-fsanitize-coverage=trace-pc",)


def _built(folder: Path) -> Path:
    """The host program of a project, with an interrupt in the middle of everything."""
    (folder / "interrupts.c").write_text(INTERRUPTS)
    model = ('-DOOC_MODEL_HEADER="net.h"', "-DOOC_MODEL=net_model")
    units: dict[str, tuple[str, ...]] = {path.name: COVERED for path in folder.glob("ooc*.c")} | {
        "port_host.c": COVERED
    }
    units |= {"net.c": (), "interrupts.c": (), "main_host.c": (*model, "-Dooc_run=run_interrupted")}
    for name, flags in units.items():
        command = ["cc", *FLAGS, *flags, "-include", "ooc.h", "-c", name, "-o", f"{name}.o"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if "fsanitize-coverage" in done.stderr:
            pytest.skip("needs a compiler with -fsanitize-coverage=trace-pc")
        assert done.returncode == 0, done.stderr
    objects = [f"{name}.o" for name in units]
    subprocess.run(["cc", *objects, "-lm", "-o", "interrupted"], cwd=folder, check=True)
    return folder / "interrupted"


def _ran(program: Path, content: bytes) -> tuple[int, bytes, str]:
    """Exit status, output and counts of interrupts of all runs."""
    folder, output = program.parent, program.parent / "out.bin"
    (folder / "in.bin").write_bytes(content)
    command = [str(program), "net.bin", "in.bin", "out.bin", "--seed", "1", "--runs", str(RUNS)]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    except subprocess.TimeoutExpired:
        return -1, b"", "no end"
    return done.returncode, output.read_bytes() if done.returncode == 0 else b"", done.stderr


@pytest.fixture
def compiler() -> None:
    if shutil.which("cc") is None:
        pytest.skip("needs cc")


def _program(
    workshop: Any, folder: Path, name: str, right: str = "", wrong: str = ""
) -> tuple[Path, bytes, bytes]:
    """Program, input and expected output for a target; in ooc.c ``wrong`` takes the place of ``right``."""
    problem = workshop.problem(load_target(name), IoPlace.STORAGE)
    write_project(problem, workshop.plan(problem, workshop.selection), folder / "out", "net")
    source = folder / "out" / "ooc.c"
    assert right in source.read_text()
    source.write_text(source.read_text().replace(right, wrong) if right else source.read_text())
    data = np.random.default_rng(3).integers(-128, 128, (9, 8, 4), dtype=np.int8)
    expected = run(problem.network, {"image": data})["scores.out"].tobytes()
    return _built(folder / "out"), data.tobytes(), expected


@pytest.mark.usefixtures("compiler")
@pytest.mark.parametrize("name", ["f746-sd", "f746-qspi-sdram", "an505-qemu", "lm3s-qemu"])
def test_interrupts_anywhere_change_nothing(workshop: Any, tmp_path: Path, name: str) -> None:
    """With interrupts in random basic blocks of runtime, kernels and port, and in each other, the bytes stay."""
    program, content, expected = _program(workshop, tmp_path, name)
    status, output, counts = _ran(program, content)
    assert (status, output) == (0, expected), counts
    interrupts, useful, nested, postponed = (int(word) for word in counts.split()[-4:])
    assert min(interrupts // RUNS, useful // RUNS, nested // RUNS, postponed // RUNS) >= 1


@pytest.mark.usefixtures("compiler")
def test_without_the_guard_runs_go_wrong(workshop: Any, tmp_path: Path) -> None:
    """The same interrupts spoil the runs of a runtime whose guard is never held: the test above can fail."""
    program, content, expected = _program(
        workshop, tmp_path, "f746-qspi-sdram", "o->held = 1;", "o->held = 0;"
    )
    status, output, _ = _ran(program, content)
    assert status != 0 or output != expected
