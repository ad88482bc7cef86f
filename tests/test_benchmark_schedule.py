"""The runner of the scheduling benchmark: it checks files, judges schedules and writes its table."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

from ooc_solve.solver.heuristics import serial_schedules
from ooc_solve.solver.instances import graph_of, makespan_ns, parse_instance, problem_of

FOLDER = Path(__file__).parents[1] / "benchmarks"
SMALLEST = FOLDER / "instances" / "autoencoder_8k.json"


def run(*arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a call."""
    call = [sys.executable, str(FOLDER / "schedule.py"), *map(str, arguments)]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


def test_results_name_values_machine_and_versions(tmp_path: Path) -> None:
    """The table has a line for the instance with a value of every scheduler, and says what made it."""
    file = tmp_path / "RESULTS.md"
    code, _, _ = run(SMALLEST, "--time-limit", "1", "--results", file)
    assert code == 0
    lines = file.read_text().splitlines()
    call = shlex.join(
        ["python", "benchmarks/schedule.py", str(SMALLEST), "--time-limit", "1", "--results", str(file)]
    )
    assert lines[2].startswith(f"Written by `{call}`;"), (
        "the command that makes the figures stands beside them"
    )
    cells = next(line for line in lines if line.startswith("| autoencoder_8k |")).strip("| ").split(" | ")
    instance = parse_instance(SMALLEST.read_text(), "instance")
    (serial,) = serial_schedules(problem_of(instance), graph_of(instance))
    assert cells[1:3] == [str(len(instance.tasks)), f"{makespan_ns(instance, serial) / 1e6:.3f}"]
    values = [float(cell) for cell in cells[2:-2] if cell != "-"]  # packing has a limit in seconds
    assert float(cells[-2]) <= float(cells[-3]) == min(values)
    assert [line.split(":")[0] for line in lines if line.startswith("- ")] == [
        "- machine",
        "- system",
        "- versions",
    ]


def test_the_published_table_has_every_instance() -> None:
    """RESULTS.md was written for the instances that are there."""
    lines = (FOLDER / "RESULTS.md").read_text().splitlines()
    call = "python benchmarks/schedule.py --time-limit 10 --results benchmarks/RESULTS.md"
    assert lines[2].startswith(f"Written by `{call}`;")
    assert call in (FOLDER / "README.md").read_text()
    assert any(line.startswith("CP-SAT had 10 s for each, 1 threads, seed 1,") for line in lines)
    named = [line.split("|")[1].strip() for line in lines if line.startswith("| ")][1:]
    assert named == sorted(file.stem for file in (FOLDER / "instances").glob("*.json"))


def test_schedules_are_judged(tmp_path: Path) -> None:
    """A right schedule is told its length with code 0, a wrong one its faults with code 1."""
    instance = parse_instance(SMALLEST.read_text(), "instance")
    (serial,) = serial_schedules(problem_of(instance), graph_of(instance))
    file = tmp_path / "schedule.json"
    file.write_text(json.dumps({"start_ns": serial.start_ns, "address": serial.address}))
    code, out, _ = run("--judge", file, SMALLEST)
    assert (code, f"{makespan_ns(instance, serial):,} ns" in out) == (0, True)
    file.write_text(json.dumps({"start_ns": [0] * len(serial.start_ns), "address": serial.address}))
    code, out, _ = run("--judge", file, SMALLEST)
    assert code == 1
    assert "has ended" in out


def test_files_are_checked(tmp_path: Path) -> None:
    """--check counts instances, and names a file that is none."""
    code, out, _ = run("--check")
    assert (code, "files hold instances" in out) == (0, True)
    wrong = tmp_path / "x.json"
    wrong.write_text("{}")
    code, _, err = run("--check", wrong)
    assert code == 1
    assert err.startswith(f"schedule: error: {wrong}: an instance must be as benchmarks/README.md says")
