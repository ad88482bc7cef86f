"""The documentation is built without a warning, with every text, notebook and module in it."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMAND = ("-m", "sphinx", "-q", "-W", "--keep-going", "-c", "docs", ".")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, made as CONTRIBUTING.md says; a warning is an error."""
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, *COMMAND, str(folder)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder


def test_the_command_is_documented() -> None:
    """CONTRIBUTING.md names the command that is tested here."""
    assert f"python {' '.join(COMMAND)} build/site" in (ROOT / "CONTRIBUTING.md").read_text()


def test_every_text_and_notebook_is_a_page(site: Path) -> None:
    """Each Markdown file of the repository and each notebook is a page, and the start leads to them."""
    folders = (ROOT, ROOT / "codegen", ROOT / "codegen" / "ports")
    sources = [path for folder in folders for path in folder.glob("*.md")]
    sources += sorted((ROOT / "notebooks").iterdir())
    start = (site / "docs" / "index.html").read_text()
    for source in sources:
        page = source.relative_to(ROOT).with_suffix(".html")
        assert (site / page).is_file(), source
        assert f"../{page.as_posix()}" in start, source
    assert "docs/index.html" in (site / "index.html").read_text()


@pytest.mark.parametrize(
    ("page", "words"),
    [
        ("interface", ["ooc_solve.api.solve", "ooc_solve.api.Plan.to_c", "ooc_solve.pictures.draw_memory"]),
        ("models", ["ooc_solve.models.vocabulary.Op", "ooc_solve.models.patches.fused_tilings"]),
        ("solver", ["ooc_solve.solver.validate.validate", "ooc_solve.solver.constraints.buffers_apart"]),
        ("codegen", ["ooc_solve.codegen.check.check_tables"]),
    ],
)
def test_docstrings_are_in_it(site: Path, page: str, words: list[str]) -> None:
    """Pages of modules have an entry for what is public in them."""
    text = (site / "docs" / f"{page}.html").read_text()
    for word in words:
        assert f'id="{word}"' in text


def test_sections_and_constants(site: Path) -> None:
    """Errors are a list of their own, and a colon in the words on a constant begins no type."""
    text = (site / "docs" / "interface.html").read_text()
    assert ">Raises:<" in re.sub(r"<span class=.colon.>:</span>", ":", text)
    assert ">Type:<" not in re.sub(r"<span class=.colon.>:</span>", ":", text)


def test_plurals_of_code_are_code(site: Path) -> None:
    """A docstring's ```Option`s`` is shown as code with a letter behind it."""
    text = (site / "docs" / "solver.html").read_text()
    assert ">Option</span></code>s." in text
