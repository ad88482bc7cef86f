"""Emitted C: deterministic, compiles strictly, two models side by side, refuses other runtimes."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.emit import _float, _string, emit_header, emit_source, identifier
from ooc_solve.codegen.project import port_files, runtime_files
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import Tables, table_bytes
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import InputError, Plan

COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wconversion", "-Werror")
needs_compiler = pytest.mark.skipif(not COMPILERS, reason="needs gcc or clang")


@pytest.fixture
def tables(problem: Problem, plan: Plan) -> Tables:
    return build_tables(problem, plan)


def compiled(folder: Path, compiler: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [compiler, *STRICT, "-I.", *arguments], cwd=folder, capture_output=True, text=True, check=False
    )


def write(folder: Path, tables: Tables, problem: Problem, *names: str) -> None:
    for file, content in (runtime_files() | port_files("host")).items():
        (folder / file).write_bytes(content)
    for name in names:
        word = identifier(name)
        (folder / f"{word}.h").write_text(emit_header(tables, problem.network, name))
        (folder / f"{word}.c").write_text(emit_source(tables, problem.network, name))


def test_same_plan_same_text(workshop: Any, problem: Problem) -> None:
    """Two plans made alike give the same bytes of C."""
    texts = set()
    for _ in range(2):
        tables = build_tables(problem, workshop.plan(problem, workshop.selection))
        texts.add(emit_header(tables, problem.network, "net") + emit_source(tables, problem.network, "net"))
    assert len(texts) == 1


@needs_compiler
@pytest.mark.parametrize("compiler", COMPILERS)
def test_two_models_link_into_one_program(
    tables: Tables, problem: Problem, tmp_path: Path, compiler: str
) -> None:
    """Tables compile without a warning, and those of two models do not collide."""
    write(tmp_path, tables, problem, "left", "right")
    (tmp_path / "both.c").write_text(
        '#include "left.h"\n#include "right.h"\n'
        "int main(void) { return left_model.format != right_model.format || LEFT_INPUT0_BYTES != "
        "RIGHT_INPUT0_BYTES; }\n"
    )
    result = compiled(tmp_path, compiler, "both.c", "left.c", "right.c", "-o", "both")
    assert result.stderr == ""
    assert subprocess.run([tmp_path / "both"], check=False).returncode == 0


@needs_compiler
def test_32_bit_tables_have_the_counted_size(tables: Tables, problem: Problem, tmp_path: Path) -> None:
    """Everything constant in the object file of a 32-bit target is what `table_bytes` says."""
    write(tmp_path, tables, problem, "net")
    (tmp_path / "probe.c").write_text("#include <stdint.h>\nextern int x;\n")
    if compiled(tmp_path, COMPILERS[0], "-m32", "-ffreestanding", "-c", "probe.c").returncode:
        pytest.skip("the compiler makes no 32-bit code")
    made = compiled(tmp_path, COMPILERS[0], "-m32", "-ffreestanding", "-c", "net.c", "-o", "net.o")
    assert made.returncode == 0, made.stderr
    listing = subprocess.run(["nm", "-S", "net.o"], cwd=tmp_path, capture_output=True, text=True, check=True)
    symbols = [line.split() for line in listing.stdout.splitlines()]
    assert sum(int(symbol[1], 16) for symbol in symbols if len(symbol) == 4) == table_bytes(tables)


@needs_compiler
def test_other_format_is_refused_with_advice(tables: Tables, problem: Problem, tmp_path: Path) -> None:
    """Beside a runtime of another format the tables do not compile, and say what to do."""
    write(tmp_path, tables, problem, "net")
    header = tmp_path / "ooc_tables.h"
    header.write_text(header.read_text().replace("#define OOC_FORMAT 5", "#define OOC_FORMAT 6"))
    result = compiled(tmp_path, COMPILERS[0], "-c", "net.c")
    assert result.returncode != 0
    assert "net.c was generated for runtime format 5: regenerate it with ooc-solve" in result.stderr


@needs_compiler
def test_changed_struct_does_not_compile(tables: Tables, problem: Problem, tmp_path: Path) -> None:
    """A struct of another size breaks a static assertion instead of being misread."""
    write(tmp_path, tables, problem, "net")
    header = tmp_path / "ooc_tables.h"
    text = header.read_text().replace("    uint32_t pitch;", "    uint32_t pitch[2];")
    header.write_text(text)
    result = compiled(tmp_path, COMPILERS[0], "-c", "net.c")
    assert "net_assert_ooc_shape_size" in result.stderr


@needs_compiler
def test_value_beyond_its_field_does_not_compile(tables: Tables, problem: Problem, tmp_path: Path) -> None:
    """A row that was tampered with breaks the assertion of its field."""
    row = replace(tables.tensors[0], height=70000)
    write(tmp_path, replace(tables, tensors=(row, *tables.tensors[1:])), problem, "net")
    result = compiled(tmp_path, COMPILERS[0], "-c", "net.c")
    assert "net_assert_tensor_dimensions" in result.stderr


@pytest.mark.parametrize(
    ("name", "word"),
    [
        ("resnet8", "resnet8"),
        ("my model-v1.2", "my_model_v1_2"),
        ("8bit", "model_8bit"),
        ("ooc", "model_ooc"),
        ("ooc_tables", "model_ooc_tables"),
        ("string", "model_string"),
        ("größe", "gr_e"),
    ],
)
def test_names_become_identifiers(name: str, word: str) -> None:
    """Any name gives a C identifier whose files hide no header."""
    assert identifier(name) == word
    assert re.fullmatch(r"[A-Za-z][A-Za-z0-9_]*", word)


def test_name_without_letters_is_refused() -> None:
    """A name of which nothing is left is an input error."""
    with pytest.raises(InputError, match="must hold a letter or digit"):
        identifier("--")


@pytest.mark.parametrize("value", [1.0, 0.1, 3.0e-39, 1e-45, 65504.0, 0.00392156862745098])
def test_floats_are_exact(value: float) -> None:
    """A hexadecimal constant reads back as the same float32, denormals included."""
    text = _float(value)
    assert text.endswith("f")
    assert np.float32(float.fromhex(text[:-1])) == np.float32(value)


def test_strings_are_escaped() -> None:
    """Quotes, backslashes, trigraphs and other alphabets cannot end a literal."""
    assert _string('a"b\\c?é') == '"a\\042b\\134c\\077\\303\\251"'


def test_comments_cannot_be_ended_by_names(tables: Tables, problem: Problem) -> None:
    """A tensor or layer named ``*/`` stays inside its comment."""
    op = replace(problem.network.ops[0], name="x */ int y; /*")
    network = replace(problem.network, ops=(op, *problem.network.ops[1:]))
    assert "*/ int y" not in emit_source(tables, network, "net")
