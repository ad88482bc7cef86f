"""FORMULATION.md and the code name the same rules."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

OF_BOTH_MODELS = {"write_budget", "latency_budget", "energy_budget"}
"""Described with the selection model."""

NOT_RULES = {"add_rules"}  # calls the rules in the order of the document


def headings() -> list[str]:
    """Second-level headings that look like names of functions."""
    text = (ROOT / "FORMULATION.md").read_text(encoding="utf-8")
    return [name for name in re.findall(r"^## (.+)$", text, re.MULTILINE) if re.fullmatch(r"[a-z_]+", name)]


def functions(file: str, owner: str | None = None) -> dict[str, ast.FunctionDef]:
    """Public functions of a module, or public methods of one of its classes."""
    body = ast.parse((ROOT / "solver" / file).read_text(encoding="utf-8")).body
    if owner is not None:
        body = next(node.body for node in body if isinstance(node, ast.ClassDef) and node.name == owner)
    found = [node for node in body if isinstance(node, ast.FunctionDef)]
    return {node.name: node for node in found if not node.name.startswith("_")}


def selection_rules() -> set[str]:
    """Methods that the constructor of the selection model calls on itself: its rules."""
    source = ast.parse((ROOT / "solver" / "selection.py").read_text(encoding="utf-8"))
    model = next(n for n in source.body if isinstance(n, ast.ClassDef) and n.name == "SelectionModel")
    init = next(n for n in model.body if isinstance(n, ast.FunctionDef) and n.name == "__init__")
    return {
        node.func.attr
        for node in ast.walk(init)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and node.func.value.id == "self"
    }


def test_every_rule_has_a_heading_and_every_heading_a_rule() -> None:
    """Rule functions of both models and the headings of the document are the same set."""
    rules = (set(functions("constraints.py")) - NOT_RULES) | selection_rules()
    assert selection_rules() <= set(functions("selection.py", "SelectionModel"))
    assert len(rules) >= 10
    assert set(headings()) == rules


def test_rules_of_the_tile_level_model_come_in_the_order_of_the_document() -> None:
    """`add_rules` calls them one by one as they are described."""
    calls = [
        node.func.id
        for node in ast.walk(functions("constraints.py")["add_rules"])
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    ]
    positions = {name: at for at, name in enumerate(headings())}
    described = [name for name in headings() if name in calls and name not in OF_BOTH_MODELS]
    ordered = sorted(calls, key=positions.__getitem__)
    assert [name for name in ordered if name not in OF_BOTH_MODELS] == described
    assert set(calls) == set(functions("constraints.py")) - NOT_RULES


def test_each_rule_says_what_it_means() -> None:
    """Every rule function has a docstring of one sentence."""
    for node in functions("constraints.py").values():
        assert (ast.get_docstring(node) or "").rstrip().endswith(".")


def test_files_and_functions_it_names_exist() -> None:
    """Source files in backquotes are there, and so are functions named with their module."""
    text = (ROOT / "FORMULATION.md").read_text(encoding="utf-8")
    for file in re.findall(r"`((?:solver|models)/[a-z_]+\.py)`", text):
        assert (ROOT / file).is_file()
    for module, name in re.findall(r"`([a-z]+)\.([a-z_]+)`", text):
        assert name in functions(f"{module}.py")
    for name, file in (("solve_graph", "cpsat.py"), ("lower_bound_ns", "cpsat.py"), ("cp_sat", "solve.py")):
        assert f"`{name}`" in text
        assert name in functions(file)
