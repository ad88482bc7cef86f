"""What is shipped: the package list, the data files, the README's commands."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
CODE = ("ooc_solve", "solver", "models", "codegen")


def test_package_list_is_complete() -> None:
    """Every folder with an __init__.py is in the list of packages, else the wheel lacks it."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    folders = {
        found.parent.relative_to(ROOT).as_posix()
        for top in CODE
        for found in (ROOT / top).rglob("__init__.py")
        if not any(part.is_symlink() for part in found.parents)
    }
    listed = {settings["package-dir"][package] for package in settings["packages"]}
    assert folders == listed


def test_data_files_are_listed() -> None:
    """Every TOML, C and Markdown file that the code reads is matched by a package-data pattern."""
    data = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["package-data"]
    for package, folder in (("ooc_solve.models", "models"), ("ooc_solve.codegen", "codegen")):
        shipped = {p for pattern in data[package] for p in (ROOT / folder).glob(pattern)}
        wanted = {p for p in (ROOT / folder).rglob("*") if p.suffix in {".toml", ".c", ".h"} and p.is_file()}
        assert wanted <= shipped


def test_ci_runs_the_readme_command() -> None:
    """.ci/run calls the README's second command word for word."""
    blocks = re.findall(r"```(?:sh|bash)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    commands = [line for block in blocks for line in block.strip().splitlines()]
    assert commands[1] in (ROOT / ".ci" / "run").read_text()


def test_sources_keep_to_themselves() -> None:
    """Only the onnx_* modules import onnx, only the solver imports ortools."""
    for top in CODE:
        for path in (ROOT / top).rglob("*.py"):
            if any(part.is_symlink() for part in path.parents):
                continue
            text = path.read_text()
            if re.search(r"^\s*(import|from) onnx\b", text, re.MULTILINE):
                assert path.name.startswith("onnx_"), path
            if re.search(r"^\s*(import|from) ortools\b", text, re.MULTILINE):
                assert top == "solver", path
            assert not re.search(r"^from ooc_solve.*import.*#\s*type: ignore", text, re.MULTILINE)


def test_vocabulary_imports_nothing_of_ours() -> None:
    """The vocabulary stands alone."""
    assert "ooc_solve" not in (ROOT / "models" / "vocabulary.py").read_text()


def test_data_flows_one_way() -> None:
    """models imports neither solver nor codegen, and solver does not import codegen."""
    for top, banned in (("models", ("solver", "codegen")), ("solver", ("codegen",))):
        for path in (ROOT / top).rglob("*.py"):
            for other in banned:
                assert f"ooc_solve.{other}" not in path.read_text(), path
