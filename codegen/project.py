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
from ooc_solve.codegen.machines import (
    COMMON_SOURCES,
    HOST_TOOL,
    LINKER_SCRIPT,
    PROBE,
    Machine,
    machine_of,
    memory_script,
)
from ooc_solve.codegen.makefile import BUILD, emulated_makefile, host_makefile
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import Tables, has_annex, has_engine
from ooc_solve.models.npu import check_emitted
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import InputError, InternalError, Plan, RegionName

MARKER = ".ooc-solve"
"""File that lists what we wrote, one name per line."""


@dataclass(frozen=True, slots=True)
class Project:
    """A written project: its directory, the name of its tables, its files, the tables themselves."""

    directory: Path
    name: str
    files: tuple[str, ...]
    tables: Tables


def write_project(
    problem: Problem, plan: Plan, directory: Path, name: str, key: bytes | None = None
) -> Project:
    """Write tables, image, runtime and Makefile into a directory of their own.

    The image is sealed with ``key`` where the target has a cipher.

    Raises
    ------
    InputError
        If the plan does not fit the tables, or the directory holds files of others.
    InternalError
        If the tables fail their check; nothing is written then.
    """
    word = identifier(name)
    problem = ordered(problem, plan.selection.order)
    directory = directory.resolve()
    check_directory(directory)
    if problem.target.crypto is not None and key is None:
        raise InputError("Sealed records need a key (there is none); name its file with --key-file.")
    check_emitted(problem.target, plan.selection.tilings)
    tables = build_tables(problem, plan)
    if has_annex(tables) and problem.target.board.emulator is not None:
        raise InputError(
            f"Target '{problem.target.name}': an emulated machine has no store for an annex; "
            "leave [annex] out of the target, or 'emulator' out of the board."
        )
    violations = check_tables(tables)
    if violations:
        raise InternalError(f"The emitted tables fail their check, so nothing was written: {violations[0]}.")

    def fill(folder: Path) -> tuple[str, ...]:
        return _write_files(folder, problem, plan, tables, word, key)

    return Project(directory, word, _replace_directory(directory, fill), tables)


def _write_files(
    folder: Path, problem: Problem, plan: Plan, tables: Tables, word: str, key: bytes | None
) -> tuple[str, ...]:
    network, machine = problem.network, machine_of(problem.target.board)
    _write_text(folder / f"{word}.h", emit_header(tables, network, word))
    _write_text(folder / f"{word}.c", emit_source(tables, network, word))
    write_image(folder / f"{word}.bin", problem, plan, tables, key)
    if has_annex(tables):
        write_image(folder / f"{word}_annex.bin", problem, plan, tables, key, RegionName.ANNEX)
    copied = runtime_files() | port_files("host")
    if tables.sealing is not None:
        copied |= port_files("mbedtls")
    if has_engine(tables):
        copied |= port_files("engine")
    sources = (f"{word}.c", *(file for file in copied if file.endswith(".c")))
    if machine is None:
        text = host_makefile(problem, tables, word, sources)
    else:
        copied |= machine_files(machine)
        banks = tuple(name for name, _ in problem.banks)
        _write_text(
            folder / "memory.ld", memory_script(machine, banks, problem.stack_bytes, problem.state_bytes)
        )
        text = emulated_makefile(problem, tables, word, sources, machine)
    _write_text(folder / "Makefile", text)
    for file, content in copied.items():
        (folder / file).parent.mkdir(exist_ok=True)
        (folder / file).write_bytes(content)
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


def machine_files(machine: Machine) -> dict[str, bytes]:
    """What a machine is built from: its sources and drivers, by name, with all headers of its folder."""
    wanted = {*COMMON_SOURCES, *machine.sources, HOST_TOOL, LINKER_SCRIPT, PROBE}
    found = _sources("ports", "emulated")
    library = _sources("ports", "freestanding") if machine.freestanding else {}
    return {name: text for name, text in found.items() if name in wanted or name.endswith(".h")} | {
        f"freestanding/{name}": text for name, text in library.items()
    }


def _sources(*folders: str) -> dict[str, bytes]:
    folder = files("ooc_solve.codegen").joinpath(*folders)
    kinds = (".c", ".h", ".S", ".ld")
    found = {entry.name: entry for entry in folder.iterdir() if entry.name.endswith(kinds)}
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
    try:
        if marker.is_file():
            ours |= set(marker.read_text(encoding="utf-8", errors="replace").splitlines())
        others = sorted(path.name for path in directory.iterdir() if path.name not in ours)
    except OSError as error:
        raise InputError(
            f"Output '{directory}': must be a directory that can be read ({error.strerror}); choose another with -o."
        ) from error
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
