"""Projects: complete, replaceable, and never in the place of other files."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from ooc_solve.codegen import project as module
from ooc_solve.codegen.project import MARKER, write_project
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import InputError, InternalError, Plan


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_project_is_complete_and_deterministic(problem: Problem, plan: Plan, tmp_path: Path) -> None:
    """Tables, image, runtime and Makefile are there, the same bytes each time."""
    first = write_project(problem, plan, tmp_path / "a", "net")
    write_project(problem, plan, tmp_path / "b", "net")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    assert {"net.h", "net.c", "net.bin", "Makefile", "ooc.c", "ooc.h", "ooc_tables.h", "main_host.c"} <= set(
        first.files
    )
    assert first.tables.region[0].bytes == (tmp_path / "a" / "net.bin").stat().st_size


def test_own_output_is_replaced(problem: Problem, plan: Plan, tmp_path: Path) -> None:
    """A second project of another name leaves nothing of the first, built files included."""
    write_project(problem, plan, tmp_path / "out", "one")
    (tmp_path / "out" / "build").mkdir()
    (tmp_path / "out" / "build" / "one.o").write_bytes(b"")
    write_project(problem, plan, tmp_path / "out", "two")
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert "two.c" in names
    assert not names & {"one.c", "one.bin", "build"}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_empty_and_missing_directories_are_filled(problem: Problem, plan: Plan, tmp_path: Path) -> None:
    """An empty directory is used, and missing parents are made."""
    (tmp_path / "empty").mkdir()
    write_project(problem, plan, tmp_path / "empty", "net")
    write_project(problem, plan, tmp_path / "x" / "y", "net")
    assert (tmp_path / "x" / "y" / MARKER).is_file()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_files_are_those_of_the_caller(problem: Problem, plan: Plan, tmp_path: Path) -> None:
    """An input is sought where make was called, then in the project; one that is missing is named as the first."""
    write_project(problem, plan, tmp_path / "out", "net")
    (tmp_path / "both.bin").touch()
    for name in ("both.bin", "inside.bin"):
        (tmp_path / "out" / name).touch()
    for name, folder in (("both.bin", tmp_path), ("inside.bin", tmp_path / "out"), ("none.bin", tmp_path)):
        tell = "tell: ; @$(FILES); echo $$input $$output"
        call = ["make", "-s", "-C", "out", "--eval", tell, "tell", f"INPUT={name}", "OUTPUT=o.bin"]
        environment = {**os.environ, "PWD": str(tmp_path)}
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True)
        assert done.stdout.split() == [str(folder / name), str(tmp_path / "o.bin")]


@pytest.mark.parametrize("marked", [False, True])
def test_files_of_others_are_kept(problem: Problem, plan: Plan, tmp_path: Path, marked: bool) -> None:
    """A directory with anything we did not write is refused by name and stays as it is."""
    if marked:
        write_project(problem, plan, tmp_path / "out", "net")
    (tmp_path / "out").mkdir(exist_ok=True)
    (tmp_path / "out" / "thesis.txt").write_text("precious")
    before = contents(tmp_path / "out")
    with pytest.raises(InputError, match=r"it holds 'thesis.txt'"):
        write_project(problem, plan, tmp_path / "out", "net")
    assert contents(tmp_path / "out") == before


def test_file_in_the_place_is_refused(problem: Problem, plan: Plan, tmp_path: Path) -> None:
    """A file where the directory should be is an input error."""
    (tmp_path / "out").write_text("")
    with pytest.raises(InputError, match="must be a directory"):
        write_project(problem, plan, tmp_path / "out", "net")


def test_failure_leaves_the_old_project(
    problem: Problem, plan: Plan, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If writing fails half way, the former project is untouched and nothing is left beside it."""
    write_project(problem, plan, tmp_path / "out", "net")
    before = contents(tmp_path / "out")

    def fail(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "write_image", fail)
    with pytest.raises(InputError, match="No space left on device"):
        write_project(problem, plan, tmp_path / "out", "other")
    assert contents(tmp_path / "out") == before
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_wrong_plan_is_never_written(problem: Problem, plan: Plan, tmp_path: Path) -> None:
    """A plan whose buffers share bytes is withheld."""
    squeezed = replace(plan, schedule=replace(plan.schedule, address=(0,) * len(plan.graph.buffers)))
    with pytest.raises(InternalError, match="fail their check"):
        write_project(problem, squeezed, tmp_path / "out", "net")
    assert not (tmp_path / "out").exists()
