"""A directory that builds with ``make``: tables, storage image, runtime, host program.

It is written beside its place and renamed, so that nobody ever sees half a project, and
it never takes the place of files that ooc-solve did not write.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

from ooc_solve.codegen.check import check_tables
from ooc_solve.codegen.emit import emit_header, emit_source, generator, identifier
from ooc_solve.codegen.image import write_image
from ooc_solve.codegen.tables import Tables, build_tables
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import InputError, InternalError, Plan

MARKER = ".ooc-solve"
"""File that lists what we wrote, one name per line."""

BUILD = "build"
"""Folder for what ``make`` makes; it belongs to the project."""


@dataclass(frozen=True, slots=True)
class Project:
    """A written project: its directory, the name of its tables, its files, the tables themselves."""

    directory: Path
    name: str
    files: tuple[str, ...]
    tables: Tables


def write_project(problem: Problem, plan: Plan, directory: Path, name: str) -> Project:
    """Write tables, image, runtime and Makefile into a directory of their own.

    Raises
    ------
    InputError
        If the plan does not fit the tables, or the directory holds files of others.
    InternalError
        If the tables fail their check; nothing is written then.
    """
    word = identifier(name)
    directory = directory.resolve()
    check_directory(directory)
    tables = build_tables(problem, plan)
    violations = check_tables(tables)
    if violations:
        raise InternalError(f"The emitted tables fail their check, so nothing was written: {violations[0]}.")

    def fill(folder: Path) -> tuple[str, ...]:
        return _write_files(folder, problem, plan, tables, word)

    return Project(directory, word, _replace_directory(directory, fill), tables)


def _write_files(folder: Path, problem: Problem, plan: Plan, tables: Tables, word: str) -> tuple[str, ...]:
    network = problem.network
    _write_text(folder / f"{word}.h", emit_header(tables, network, word))
    _write_text(folder / f"{word}.c", emit_source(tables, network, word))
    write_image(folder / f"{word}.bin", problem, plan, tables)
    sources_of = runtime_files() | port_files("host")
    for file, content in sources_of.items():
        (folder / file).write_bytes(content)
    sources = (f"{word}.c", *(file for file in sources_of if file.endswith(".c")))
    _write_text(folder / "Makefile", makefile(tables, word, sources))
    written = tuple(sorted(path.name for path in folder.iterdir()))
    _write_text(folder / MARKER, "\n".join((f"# written by {generator()}", *written)) + "\n")
    return written


def _write_text(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8", newline="\n")


def runtime_files() -> dict[str, bytes]:
    """The C sources and headers of the runtime, by name."""
    return _sources("runtime")


def port_files(port: str) -> dict[str, bytes]:
    """The sources of a port (a folder of ``codegen/ports``), by name."""
    return _sources("ports", port)


def _sources(*folders: str) -> dict[str, bytes]:
    folder = files("ooc_solve.codegen").joinpath(*folders)
    found = {entry.name: entry for entry in folder.iterdir() if entry.name.endswith((".c", ".h"))}
    return {name: found[name].read_bytes() for name in sorted(found)}


# ------------------------------------------------------------------------ directory


def check_directory(directory: Path) -> None:
    """Refuse a place that holds anything we did not write."""
    if not directory.exists():
        return
    if not directory.is_dir():
        raise InputError(f"Output '{directory}': must be a directory (it is a file); choose another with -o.")
    marker = directory / MARKER
    ours = {MARKER, BUILD}
    if marker.is_file():
        ours |= set(marker.read_text(encoding="utf-8", errors="replace").splitlines())
    others = sorted(path.name for path in directory.iterdir() if path.name not in ours)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise InputError(
            f"Output '{directory}': must be new, empty, or hold only what ooc-solve wrote (it holds "
            f"'{others[0]}'{more}); move that away or choose another directory with -o."
        )


def _replace_directory(directory: Path, fill: Callable[[Path], tuple[str, ...]]) -> tuple[str, ...]:
    """Fill a new directory and put it in the place of the old one."""
    try:
        directory.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{directory.name}-", dir=directory.parent))
    except OSError as error:
        raise InputError(f"Output '{directory}': cannot be written ({error.strerror}).") from error
    try:
        new = work / "new"
        new.mkdir()
        written = fill(new)
        if directory.exists():
            os.rename(directory, work / "old")
        try:
            os.rename(new, directory)
        except OSError:
            if (work / "old").exists():
                os.rename(work / "old", directory)
            raise
    except OSError as error:
        raise InputError(f"Output '{directory}': cannot be written ({error.strerror}).") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return written


# ------------------------------------------------------------------------- Makefile


def makefile(tables: Tables, word: str, sources: tuple[str, ...]) -> str:
    """The text of the Makefile: a host program for any C99 compiler."""
    granule = min(tables.store_granule(region.store) for region in tables.region)
    return _MAKEFILE.format(
        generator=generator(),
        name=word,
        build=BUILD,
        granule=granule,
        sources=" \\\n    ".join(sources),
    )


_MAKEFILE = """\
# Generated by {generator}, do not edit.
#
#     make                                  builds {build}/{name}
#     make run INPUT=in.bin OUTPUT=out.bin  runs it on the host with emulated storage
#
# INPUT holds all network inputs one after the other, OUTPUT receives the outputs
# ({name}.h has shapes and types). Relative paths count from where make was called,
# also with make -C. ARGUMENTS are passed on: see main_host.c.

CC ?= cc
CFLAGS ?= -O2
STRICT = -std=c99 -ffp-contract=off -pedantic -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes
EXTRA_CFLAGS ?=
OUTPUT ?= output.bin
ARGUMENTS ?=

PROGRAM = {build}/{name}
SOURCES = \\
    {sources}
OBJECTS = $(SOURCES:%.c={build}/%.o)

# The directory of the caller: the shell leaves it in PWD, and make -C does not change it.
# An input that is not there is looked for here.
CALLER := $(if $(PWD),$(PWD),$(CURDIR))
export CALLER INPUT OUTPUT

all: $(PROGRAM)

$(PROGRAM): $(OBJECTS)
\t$(CC) $(CFLAGS) $(STRICT) $(EXTRA_CFLAGS) $(LDFLAGS) -o $@ $(OBJECTS) $(LDLIBS)

$(OBJECTS): {build}/%.o: %.c $(wildcard *.h) Makefile
\t@mkdir -p {build}
\t$(CC) $(CFLAGS) $(STRICT) -I. -DOOC_MODEL_HEADER='"{name}.h"' -DOOC_MODEL={name}_model $(EXTRA_CFLAGS) -c -o $@ $<

run: $(PROGRAM)
\t@if [ -z "$$INPUT" ]; then \\
\t    echo "make run: say which file holds the network input: make run INPUT=in.bin OUTPUT=out.bin" >&2; \\
\t    exit 2; \\
\tfi; \\
\tinput=$$INPUT; output=$$OUTPUT; \\
\tcase $$input in /*) ;; *) if [ -e "$$CALLER/$$input" ]; then input=$$CALLER/$$input; fi ;; esac; \\
\tcase $$output in /*) ;; *) output=$$CALLER/$$output ;; esac; \\
\t./$(PROGRAM) {name}.bin "$$input" "$$output" --granule {granule} $(ARGUMENTS) && echo "wrote $$output"

clean:
\trm -rf {build}

.PHONY: all run clean
"""
