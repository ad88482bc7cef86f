"""Runtime and host port give analysers nothing to say but what ``MISRA.md`` answers for."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ooc_solve.codegen.project import port_files, runtime_files

DEVIATIONS = (Path(__file__).parents[2] / "codegen" / "MISRA.md").read_text(encoding="utf-8")
ARM_HEADERS = Path("/usr/lib/arm-none-eabi/include")
CLANG_TIDY = next((name for name in ("clang-tidy", "clang-tidy-15") if shutil.which(name)), None)
ENTRIES = ('-DOOC_MODEL_HEADER="model.h"', "-DOOC_MODEL=some_model")


def listed(heading: str) -> set[str]:
    """First column of the table under a heading, its entries apart."""
    (section,) = [part for part in DEVIATIONS.split("\n## ") if part.startswith(heading)]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| ")][1:]
    return {entry.strip() for row in rows for entry in row.split(",")}


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runtime and host port in one folder, as in a project, with a model's header."""
    folder = tmp_path_factory.mktemp("sources")
    for name, content in (runtime_files() | port_files("host")).items():
        (folder / name).write_bytes(content)
    (folder / "model.h").write_text('#include "ooc_tables.h"\nextern const struct ooc_model some_model;\n')
    return folder


def names(folder: Path, *, host: bool) -> list[str]:
    """The C files, those of the host port or the others."""
    return sorted(p.name for p in folder.glob("*.c") if p.name.endswith("_host.c") == host)


def tool(folder: Path, *command: str) -> str:
    """Everything a tool prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


@pytest.mark.skipif(shutil.which("cppcheck") is None, reason="needs cppcheck")
@pytest.mark.parametrize("host", [False, True])
def test_cppcheck(sources: Path, host: bool) -> None:
    """No warning, no remark on style, performance or portability."""
    which = "--enable=warning,style,performance,portability"
    found = tool(
        sources,
        "cppcheck",
        which,
        "--std=c99",
        "--force",
        "-q",
        "--template={id} {file}:{line} {message}",
        *ENTRIES,
        *names(sources, host=host),
    )
    findings = [line for line in found.splitlines() if re.match(r"\w+ \w+\.[ch]:\d", line)]
    left_out = listed("cppcheck findings")
    assert [line for line in findings if line.split()[0] not in left_out] == []


@pytest.mark.skipif(shutil.which("cppcheck") is None, reason="needs cppcheck")
@pytest.mark.parametrize("host", [False, True])
def test_misra(sources: Path, host: bool) -> None:
    """MISRA rules are kept, or their deviation is listed with its reason."""
    found = tool(
        sources,
        "cppcheck",
        "--std=c99",
        "--force",
        "-q",
        "--addon=misra",
        "--template={id} {file}:{line} {message}",
        *ENTRIES,
        *names(sources, host=host),
    )
    if "misra-c2012-" not in found:
        pytest.skip("needs cppcheck with its MISRA addon")
    findings = set(re.findall(r"misra-c2012-([\d.]+) (\S+:\d+)", found))
    assert sorted(f for f in findings if f[0] not in listed("MISRA")) == []


@pytest.mark.skipif(CLANG_TIDY is None, reason="needs clang-tidy")
@pytest.mark.parametrize("host", [False, True])
def test_clang_tidy(sources: Path, host: bool) -> None:
    """The checks for bugs and the CERT rules find nothing, for a Cortex-M3 and for the host."""
    if not host and not ARM_HEADERS.is_dir():
        pytest.skip("needs the headers of arm-none-eabi-gcc")
    checks = ",".join(["-*,bugprone-*,cert-*", *(f"-{check}" for check in sorted(listed("clang-tidy")))])
    machine = ENTRIES if host else ("--target=thumbv7m-none-eabi", "-isystem", str(ARM_HEADERS))
    for name in names(sources, host=host):
        assert CLANG_TIDY is not None
        found = tool(sources, CLANG_TIDY, "-quiet", f"-checks={checks}", name, "--", "-std=c99", *machine)
        assert [line for line in found.splitlines() if re.search(r"(warning|error):", line)] == []


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("host", [False, True])
def test_gcc_analyser(sources: Path, host: bool) -> None:
    """gcc's analyser follows every path of every function and finds nothing."""
    left_out = listed("Findings of gcc")
    for name in names(sources, host=host):
        strict = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wshadow", "-fanalyzer", "-O1")
        found = tool(sources, "gcc", *strict, *ENTRIES, "-c", name, "-o", "object.o")
        if "unrecognized" in found:
            pytest.skip("needs a gcc with -fanalyzer")
        warnings = re.findall(
            r"^(\w+\.[ch]):\d+:\d+: (?:warning|error): .*\[-W([\w-]+)\]$", found, re.MULTILINE
        )
        findings = [f"{what} {file}" for file, what in warnings if f"{what} {file}" not in left_out]
        assert findings == []
        assert warnings or found == ""


def test_lists_are_read() -> None:
    """The lists that the other tests compare with are those of the page."""
    assert {"2.3", "2.5", "15.5"} <= listed("MISRA")
    assert "bugprone-signed-char-misuse" in listed("clang-tidy")
    assert listed("cppcheck findings") == {"knownConditionTrueFalse"}
