"""Runtime and ports give analysers nothing to say but what ``MISRA.md`` answers for."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import pytest

from ooc_solve.codegen.machines import ARM, COMMON_SOURCES, HOST_TOOL, MACHINES, PROBE, RISCV
from ooc_solve.codegen.project import port_files, runtime_files

DEVIATIONS = (Path(__file__).parents[2] / "codegen" / "MISRA.md").read_text(encoding="utf-8")
ARM_HEADERS = Path("/usr/lib/arm-none-eabi/include")
CLANG_TIDY = next((name for name in ("clang-tidy", "clang-tidy-15") if shutil.which(name)), None)
CPPCHECK = ("cppcheck", "--std=c99", "-q", "--template={id} {file}:{line} {message}")
STRICT = ("-std=c99", "-pedantic", "-Wall", "-Wextra", "-Wshadow", "-fanalyzer", "-O1")
ENTRIES = ('-DOOC_MODEL_HEADER="model.h"', "-DOOC_MODEL=some_model")
ON_ARM = ("--target=thumbv7m-none-eabi", "-isystem", str(ARM_HEADERS))
CORTEX_M3 = (ARM.compiler, "-mcpu=cortex-m3", "-mthumb")
RV32 = (RISCV.compiler, *MACHINES["virt"].flags.split())
MACHINE = (
    *("-DMACHINE_CLOCK_HZ=50000000u", "-DSTACK_RESERVE_BYTES=1024u", "-DBANK0_BYTES=1024", "-DOOC_EVENT_LOG"),
    *(f"-DPACE{k}_{way}_SETUP_NS=1000u" for k in range(2) for way in ("READ", "WRITE")),
    *(f"-DPACE{k}_{way}_BYTES_PER_S=1000000u" for k in range(2) for way in ("READ", "WRITE")),
)
"""What a project's Makefile defines; the paced stores and the log of events are part of it."""


THUMB2 = ("-D__GNUC__=12", "-D__thumb__", "-D__thumb2__", "-D__ARM_FP=4")
DSP = (*THUMB2, "-D__ARM_ARCH=7", "-D__ARM_FEATURE_DSP=1", "-D__ARM_FEATURE_SIMD32=1")
MVE = (*THUMB2, "-D__ARM_ARCH=8", "-D__ARM_FEATURE_MVE=3")
PLAIN = ("-D__thumb__", "-D__ARM_ARCH=6", "-DOOC_NO_MESSAGES")


@dataclass(frozen=True, slots=True)
class Group:
    """Files that are analysed together, and what each tool is told about them.

    ``configurations`` are for cppcheck, which looks at one after the other: what compilers define on a
    core, and choices of the user.
    """

    files: tuple[str, ...]
    defines: tuple[str, ...]
    configurations: tuple[tuple[str, ...], ...]
    gcc: tuple[str, ...]
    clang: tuple[str, ...] = ()


def c_files(names: Iterable[str]) -> tuple[str, ...]:
    """The C files among names, each once."""
    return tuple(sorted({name for name in names if name.endswith(".c")}))


def machine_sources(compiler: str) -> tuple[str, ...]:
    """The files of all machines that a compiler is for."""
    machines = [machine for machine in MACHINES.values() if machine.tools.compiler == compiler]
    return c_files((*COMMON_SOURCES, *(name for machine in machines for name in machine.sources)))


GROUPS = {
    "runtime": Group(
        c_files(runtime_files()),
        (*ENTRIES, "-DOOC_FLOATS", "-DOOC_MATRICES", "-DOOC_PACKED"),
        (PLAIN, DSP, MVE),
        ("gcc",),
        ON_ARM,
    ),
    "host": Group(c_files(port_files("host")), ENTRIES, ((), ("-DOOC_ANNEX",)), ("gcc",)),
    "sealed": Group(
        c_files(runtime_files()), (*ENTRIES, "-DOOC_SEAL", "-DOOC_ANNEX"), ((),), ("gcc",), ON_ARM
    ),
    "ring": Group(c_files(runtime_files()), (*ENTRIES, "-DOOC_RING"), ((),), ("gcc",), ON_ARM),
    "mbedtls": Group(c_files(port_files("mbedtls")), (*ENTRIES, "-DOOC_SEAL"), ((),), ("gcc",)),
    "engine": Group(
        (*c_files(port_files("engine")), "ooc.c", "ooc_check.c", "ooc_seal.c"),
        (*ENTRIES, "-DOOC_SEAL", "-DOOC_ENGINE"),
        ((),),
        ("gcc",),
        ON_ARM,
    ),
    "tools": Group((HOST_TOOL, PROBE), ENTRIES, ((),), ("gcc",)),
    "cortex-m": Group(
        machine_sources(ARM.compiler),
        (*ENTRIES, *MACHINE),
        (("--platform=unix32", "-D__ARM_ARCH=7", "-D__ARM_FP=4"),),
        CORTEX_M3,
        ON_ARM,
    ),
    "riscv": Group(
        machine_sources(RISCV.compiler),
        (*ENTRIES, *MACHINE),
        (("--platform=unix32", "-D__riscv", "-Ifreestanding"),),
        RV32,
        ("--target=riscv32-unknown-elf", "-march=rv32imac", "-ffreestanding", "-isystem", "freestanding"),
    ),
}
"""All C files of the product. The tools run on the host, and MISRA is not about them."""


@cache
def place_of(file: str) -> str:
    """Where a file of the product belongs, in the words of the page."""
    if file in runtime_files():
        return "runtime"
    on_host = (*port_files("host"), *port_files("mbedtls"), *port_files("engine"), HOST_TOOL, PROBE)
    return "host" if file in on_host else "emulated"


def rows(heading: str) -> list[list[str]]:
    """Cells of the table under a heading, without its first row."""
    (section,) = [part for part in DEVIATIONS.split("\n## ") if part.startswith(heading)]
    lines = [line for line in section.splitlines() if line.startswith("| ")][1:]
    return [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]


@cache
def listed(heading: str, place: str) -> frozenset[str]:
    """What the table under a heading leaves out at a place: its first column, entries apart."""
    places = {"all", place}
    valid = [row for row in rows(heading) if places & {where.strip() for where in row[1].split(",")}]
    return frozenset(entry.strip() for row in valid for entry in row[0].split(","))


def unanswered(heading: str, findings: Iterable[tuple[str, str]]) -> list[str]:
    """Findings, as rule and file (with or without a line), that the page does not answer for."""
    return sorted(
        {
            f"{rule} {where}"
            for rule, where in findings
            if rule not in listed(heading, place_of(where.split(":")[0]))
        }
    )


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Runtime and ports in one folder, as in a project, with a model's header."""
    folder = tmp_path_factory.mktemp("sources")
    (folder / "freestanding").mkdir()
    library = {f"freestanding/{name}": text for name, text in port_files("freestanding").items()}
    ports = port_files("host") | port_files("emulated") | port_files("mbedtls") | port_files("engine")
    for name, content in (runtime_files() | ports | library).items():
        (folder / name).write_bytes(content)
    (folder / "model.h").write_text('#include "ooc_tables.h"\nextern const struct ooc_model some_model;\n')
    return folder


def tool(folder: Path, *command: str) -> str:
    """Everything a tool prints."""
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    return done.stdout + done.stderr


def cppcheck(folder: Path, group: Group, *options: str) -> str:
    """What cppcheck says about a group in all its configurations."""
    calls = [(*CPPCHECK, *options, *one, *group.defines, *group.files) for one in group.configurations]
    return "".join(tool(folder, *call) for call in calls)


@pytest.mark.skipif(shutil.which("cppcheck") is None, reason="needs cppcheck")
@pytest.mark.parametrize("name", GROUPS)
def test_cppcheck(sources: Path, name: str) -> None:
    """No warning, no remark on style, performance or portability."""
    found = cppcheck(sources, GROUPS[name], "--enable=warning,style,performance,portability")
    findings = re.findall(r"^(\w+) (\w+\.[ch]:\d+)", found, re.MULTILINE)
    assert unanswered("cppcheck findings", findings) == []


@pytest.mark.skipif(shutil.which("cppcheck") is None, reason="needs cppcheck")
@pytest.mark.parametrize("name", [name for name in GROUPS if name != "tools"])
def test_misra(sources: Path, name: str) -> None:
    """MISRA rules are kept, or their deviation is listed with its reason."""
    found = cppcheck(sources, GROUPS[name], "--addon=misra")
    if "misra-c2012-" not in found:
        pytest.skip("needs cppcheck with its MISRA addon")
    assert unanswered("MISRA", re.findall(r"misra-c2012-([\d.]+) (\S+:\d+)", found)) == []


@pytest.mark.skipif(CLANG_TIDY is None, reason="needs clang-tidy")
@pytest.mark.parametrize("name", GROUPS)
def test_clang_tidy(sources: Path, name: str) -> None:
    """The checks for bugs and the CERT rules find nothing, on the core that the files are for."""
    group = GROUPS[name]
    if str(ARM_HEADERS) in group.clang and not ARM_HEADERS.is_dir():
        pytest.skip(f"needs the headers of {ARM.compiler}")
    assert CLANG_TIDY is not None
    command = (CLANG_TIDY, "-quiet", "-checks=-*,bugprone-*,cert-*", *group.files)
    found = tool(sources, *command, "--", "-std=c99", *group.clang, *group.defines)
    findings = re.findall(r"(\w+\.[ch]:\d+):\d+: (?:warning|error): .*\[([\w.-]+)[\],]", found)
    assert "error:" not in found, found
    assert unanswered("clang-tidy", [(check, where) for where, check in findings]) == []


@pytest.mark.parametrize("name", GROUPS)
def test_gcc_analyser(sources: Path, name: str) -> None:
    """gcc's analyser follows every path of every function and finds nothing."""
    group = GROUPS[name]
    if shutil.which(group.gcc[0]) is None:
        pytest.skip(f"needs {group.gcc[0]}")
    for file in group.files:
        found = tool(sources, *group.gcc, *STRICT, *group.defines, "-c", file, "-o", "object.o")
        if "unrecognized" in found:
            pytest.skip("needs a gcc with -fanalyzer")
        findings = re.findall(
            r"^(\w+\.[ch]:\d+):\d+: (?:warning|error): .*\[-W([\w-]+)\]$", found, re.MULTILINE
        )
        assert unanswered("Findings of gcc", [(what, where) for where, what in findings]) == []
        assert findings or found == ""


def test_all_files_are_analysed() -> None:
    """Every C file of the runtime and of the ports is in a group."""
    ports = ("host", "emulated", "mbedtls", "engine")
    product = {**runtime_files(), **{name: text for port in ports for name, text in port_files(port).items()}}
    assert {file for group in GROUPS.values() for file in group.files} == set(c_files(product))


def test_lists_are_read() -> None:
    """The lists that the other tests compare with are those of the page, each for its place."""
    assert {"2.3", "2.5", "15.5"} <= listed("MISRA", "runtime")
    assert "11.4" in listed("MISRA", "emulated")
    assert "11.4" not in listed("MISRA", "runtime")
    assert "bugprone-signed-char-misuse" in listed("clang-tidy", "host")
    places = {"all", "runtime", "host", "emulated"}
    for heading in ("MISRA", "clang-tidy", "cppcheck findings", "Findings of gcc"):
        assert rows(heading)
        assert all({where.strip() for where in row[1].split(",")} <= places for row in rows(heading))
        assert all(len(row) == 3 and row[2] for row in rows(heading)), "no deviation without a reason"
