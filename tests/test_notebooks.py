"""Every notebook runs from top to bottom; its text claims no number that no cell asserts."""

from __future__ import annotations

import ast
import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from ooc_solve.exercises import RIGHT, UNANSWERED

nbformat: Any = pytest.importorskip("nbformat", reason="needs nbformat")
nbclient: Any = pytest.importorskip("nbclient", reason="needs nbclient")

FOLDER = Path(__file__).resolve().parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
EXERCISE = re.compile(r"^## Exercise (\d+\.\d+)", re.MULTILINE)
FEWEST, MOST = 10, 35
"""Cells of a notebook."""

LONGEST = 40
"""Lines of a cell."""

each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=[path.stem for path in NOTEBOOKS])


@cache
def cells_of(path: Path) -> tuple[Any, ...]:
    """Cells of a notebook as they are in the repository."""
    return tuple(nbformat.read(path, as_version=4).cells)


@cache
def solutions() -> dict[str, str]:
    """Code of each solution by the number of its exercise."""
    text = (FOLDER / "SOLUTIONS.md").read_text()
    found = re.findall(r"^## (\d+\.\d+)\n(.*?)```python\n(.*?)```", text, re.DOTALL | re.MULTILINE)
    return {number: code for number, _, code in found}


def exercises_of(path: Path) -> dict[str, int]:
    """Place of each exercise's heading by its number."""
    found = {}
    for place, cell in enumerate(cells_of(path)):
        if cell.cell_type == "markdown" and (heading := EXERCISE.search(cell.source)):
            found[heading[1]] = place
    return found


def assigns_answer(cell: Any) -> bool:
    """Whether a cell leaves the answer open."""
    return bool(re.search(r"^answer = \.\.\.$", cell.source, re.MULTILINE))


def place_of_check(path: Path, heading: int) -> int:
    """Place of the cell that checks an exercise: the one behind the open answer."""
    cells = cells_of(path)
    opened = next(k for k in range(heading + 1, len(cells)) if assigns_answer(cells[k]))
    return opened + 1


def solved(path: Path) -> Any:
    """The notebook, with each exercise solved and checked once more behind its check."""
    cells = list(cells_of(path))
    for number, heading in reversed(exercises_of(path).items()):
        check = place_of_check(path, heading)
        solution = nbformat.v4.new_code_cell(solutions()[number])
        cells[check + 1 : check + 1] = [solution, nbformat.v4.new_code_cell(cells[check].source)]
    return nbformat.v4.new_notebook(cells=cells)


def printed(cell: Any) -> list[str]:
    """Lines that a cell printed."""
    streams = [out.text for out in cell.outputs if out.output_type == "stream" and out.name == "stdout"]
    return "".join(streams).splitlines()


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder in which there is nothing that a notebook could find by chance."""
    return tmp_path_factory.mktemp("elsewhere")


@each_notebook
def test_runs_and_its_exercises_can_be_solved(path: Path, elsewhere: Path) -> None:
    """It runs without an error in any folder, open answers are none, and the solutions are found right."""
    notebook = solved(path)
    nbclient.NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(elsewhere)}}
    ).execute()
    verdicts = [
        printed(cell)[-1]
        for cell in notebook.cells
        if cell.cell_type == "code" and re.search(r"^check\(", cell.source, re.MULTILINE)
    ]
    assert verdicts == [UNANSWERED, RIGHT] * len(exercises_of(path))
    assert any(
        "image/png" in out.get("data", {}) for cell in notebook.cells for out in cell.get("outputs", ())
    )
    assert not list(elsewhere.iterdir()), "it must not leave files behind"


def test_notebooks_and_solutions_are_numbered() -> None:
    """Numbers are distinct, every exercise is of its notebook and has a solution, no solution is left over."""
    numbers = [int(path.stem.split("_")[0]) for path in NOTEBOOKS]
    assert len(numbers) >= 8
    assert numbers == sorted(set(numbers))
    known: list[str] = []
    for number, path in zip(numbers, NOTEBOOKS, strict=True):
        own = list(exercises_of(path))
        assert own == [f"{number}.{k + 1}" for k in range(len(own))] != []
        assert cells_of(path)[0].source.startswith(f"# {number}. ")
        known += own
    assert list(solutions()) == known


@each_notebook
def test_is_stripped(path: Path) -> None:
    """No outputs, no counters, no metadata, cells named by their place: a diff shows what was changed."""
    content = json.loads(path.read_text())
    assert content["metadata"] == {"language_info": {"name": "python"}}
    for cell in content["cells"]:
        assert cell.get("outputs", []) == []
        assert cell.get("execution_count") is None
        assert cell["metadata"] == {}
    assert path.read_text() == nbformat.writes(nbformat.read(path, as_version=4)) + "\n"


@each_notebook
def test_cells_are_few_and_short(path: Path) -> None:
    """Ten to thirty-odd cells with a question at the top, none longer than a screen, no path of a machine."""
    cells = cells_of(path)
    assert FEWEST <= len(cells) <= MOST
    assert "The question of this notebook" in cells[0].source
    for cell in cells:
        assert len(cell.source.splitlines()) <= LONGEST
        assert not re.search(r"/home/|/tmp/|/work/|/Users/|C:\\", cell.source)


WORDS = {"third": "3", "ten": "10", "tenth": "10", "thousand": "1000"}


def claimed(cell: Any) -> set[str]:
    """Numbers in the text of a cell, but those of headings, code, addresses and names such as ``ResNet-8``."""
    text = re.sub(r"^#.*$", "", cell.source, flags=re.MULTILINE)
    text = re.sub(r"```.*?```|`[^`]*`|\]\([^)]*\)", "", text, flags=re.DOTALL)
    text = re.sub(r"\b[A-Za-z][A-Za-z0-9]*-?\d+\b", "", text)
    words = {number for word, number in WORDS.items() if re.search(rf"\b{word}\b", text)}
    return words | set(re.findall(r"\d+(?:[.,]\d+)*", text))


def asserted(cells: tuple[Any, ...]) -> set[str]:
    """Numbers in assertions, and in cells that check an answer."""
    found = set()
    for cell in cells:
        if cell.cell_type == "code":
            tree = ast.parse(cell.source)
            whole = [tree] if re.search(r"^check\(", cell.source, re.MULTILINE) else []
            for node in (*whole, *(node for node in ast.walk(tree) if isinstance(node, ast.Assert))):
                numbers = (part.value for part in ast.walk(node) if isinstance(part, ast.Constant))
                found |= {str(number) for number in numbers if isinstance(number, int | float)}
    return found


@each_notebook
def test_numbers_in_the_text_are_asserted(path: Path) -> None:
    """A number in the text occurs in an assertion, or in what a check demands of an answer."""
    cells = cells_of(path)
    known = asserted(cells)
    for cell in cells:
        if cell.cell_type == "markdown":
            assert claimed(cell) <= known, (
                f"{path.name}: {claimed(cell) - known} in the text, in no assertion"
            )
