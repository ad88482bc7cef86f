"""Settings of the documentation's generator; CONTRIBUTING.md has the command.

The pages are the repository's own Markdown files and notebooks, and the docstrings of all modules.
Sphinx, because it reads all three where they are (MyST-NB), and its warnings make broken references errors.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from sphinx.application import Sphinx
from sphinx.ext.napoleon import Config, NumpyDocstring

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = {"ooc_solve": "ooc_solve", "models": "ooc_solve.models", "solver": "ooc_solve.solver",
            "codegen": "ooc_solve.codegen"}  # fmt: skip
"""Packages by their folders."""


def modules_of(folder: str) -> str:
    """Markdown with the docstrings of all modules of a folder."""
    names = sorted(path.stem for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("__"))
    blocks = (
        f"```{{eval-rst}}\n.. automodule:: {PACKAGES[folder]}.{name}\n   :members:\n```" for name in names
    )
    return "\n\n".join(
        f"## {PACKAGES[folder]}.{name}\n\n{block}" for name, block in zip(names, blocks, strict=True)
    )


project = "ooc-solve"
copyright = "the authors of ooc-solve, Apache-2.0"
extensions = ["myst_nb", "sphinx.ext.autodoc"]
root_doc = "docs/index"
include_patterns = [
    "*.md",
    "codegen/*.md",
    "codegen/ports/*.md",
    "benchmarks/*.md",
    "notebooks/*",
    "docs/*.md",
]

myst_enable_extensions = ["substitution"]
myst_substitutions = {f"{folder}_modules": modules_of(folder) for folder in PACKAGES}
myst_heading_anchors = 3
nb_execution_mode = "off"  # tests run the notebooks; -D nb_execution_mode=force shows their results

default_role = "code"  # single backticks in docstrings are code, as in Markdown
autodoc_member_order = "bysource"
autodoc_typehints = "signature"

html_theme = "furo"
html_title = "ooc-solve"
html_extra_path = ["start"]
html_show_sourcelink = False


def setup(app: Sphinx) -> None:
    """Register `as_restructured_text`."""
    app.connect("autodoc-process-docstring", as_restructured_text)


def as_restructured_text(
    app: Sphinx, what: str, name: str, subject: Any, options: Any, lines: list[str]
) -> None:
    """Rewrite a docstring: its sections, and code with a letter behind it, as in plural.

    Every docstring is read as that of a function: in those of constants a colon would begin a type.
    """
    plain = NumpyDocstring(lines, Config(), app, "function", name, subject, options).lines()
    lines[:] = [re.sub(r"(?<!`)(`[^`]+`)(?=[A-Za-z])", r"\1\\ ", line) for line in plain]
