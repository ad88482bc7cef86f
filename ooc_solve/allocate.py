"""The command ``ooc-allocate``: lifetimes and sizes of buffers in, addresses out."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ooc_solve.arguments import parse_count, parse_processes, parse_seconds, parse_size
from ooc_solve.command_line import Parser, exit_code_of
from ooc_solve.models.vocabulary import BudgetError, InputError
from ooc_solve.solver.allocation import (
    Allocation,
    Effort,
    Verdict,
    allocate,
    least_height,
    most_alive,
)
from ooc_solve.solver.allocation_search import Block
from ooc_solve.whole_file import check_writable, write_whole

REQUIRED = ("id", "lower", "upper", "size")
OPTIONAL = ("alignment", "gaps", "hint", "offset")
"""Other columns of the public format: hints and offsets only say where an allocator might look."""

MOST_BUFFERS = 4096
MOST = 1 << 52
"""Times, sizes and alignments beyond this are taken for mistakes."""

OUTPUT = ("id", "lower", "upper", "size", "offset")


@dataclass(frozen=True, slots=True)
class Buffers:
    """The buffers of a file: what they are called there, and their blocks."""

    ids: tuple[str, ...]
    blocks: tuple[Block, ...]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="ooc-allocate",
        description="Give buffers addresses: those that live at the same time share no byte.",
        epilog=f"FILE has the columns {', '.join(REQUIRED)} in any order, and may have alignment; a buffer "
        "lives from lower until upper, upper not included. Exit code: 0 found, 1 input error, 2 usage, "
        "3 infeasible or not found in time.",
    )
    made.add_argument("file", type=Path, metavar="FILE", help="buffers, a CSV file")
    made.add_argument(
        "--capacity",
        type=parse_size,
        metavar="SIZE",
        help="bytes there are, e.g. 1MiB (as few as can be found)",
    )
    made.add_argument("--time-limit", type=parse_seconds, default=60.0, metavar="S", help="seconds (60)")
    made.add_argument("--workers", type=parse_processes, default=2, metavar="N", help="processes (2)")
    made.add_argument("--seed", type=parse_count, default=1, metavar="N", help="random seed (1)")
    made.add_argument("-o", "--output", type=Path, metavar="FILE", help=f"write {','.join(OUTPUT)}")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    return exit_code_of("ooc-allocate", lambda: run(options, console))


def run(options: argparse.Namespace, console: Console) -> int:
    """Do what the parsed command line asks for."""
    if options.output is not None:
        check_writable(options.output, "--output")
    buffers = read_buffers(options.file)
    effort = Effort(seconds=options.time_limit, jobs=options.workers, seed=options.seed)
    if options.capacity is None:
        found = least_height(buffers.blocks, effort)
    else:
        found = allocate(buffers.blocks, options.capacity, effort)
    show(console, options, buffers, found)
    if options.capacity is not None and found.verdict is not Verdict.FOUND:
        raise BudgetError(why_not(options, found))
    if options.output is not None:
        write_whole(options.output, table_text(buffers, found), "--output")
        console.print(f"Written to {options.output}.", markup=False)
    return 0


def why_not(options: argparse.Namespace, found: Allocation) -> str:
    """One sentence: that there are no addresses, or none were found, and what is known."""
    known = f"the least height found is {found.height_bytes} bytes"
    if found.verdict is Verdict.INFEASIBLE:
        return (
            f"{options.file}: the capacity must be at least {found.bound_bytes} bytes, proven "
            f"(it is {options.capacity}); {known}."
        )
    return (
        f"{options.file}: no addresses within {options.capacity} bytes were found in "
        f"{options.time_limit:g} s, nor was it proven that there are none; {known}."
    )


# ------------------------------------------------------------------------------------- input


def read_buffers(path: Path) -> Buffers:
    """The buffers of a CSV file.

    Raises
    ------
    InputError
        For whatever is not as it must be, with the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InputError(f"{path}: the buffers must be a text file that can be read ({reason}).") from None
    ids: dict[str, int] = {}
    blocks: list[Block] = []
    for line, row in _rows(path, text):
        name = row["id"]
        if not name or name in ids:
            raise _wrong(path, line, "id", name, "a name that no other buffer has")
        ids[name] = line
        blocks.append(_block(path, line, row))
        if len(blocks) > MOST_BUFFERS:
            raise InputError(
                f"{path}: there must be at most {MOST_BUFFERS} buffers (line {line} has one more)."
            )
    return Buffers(tuple(ids), tuple(blocks))


def _rows(path: Path, text: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line numbers and fields by column of all lines below the header."""
    reader = csv.reader(text.splitlines(keepends=True), strict=True)
    header: list[str] = []
    try:
        for fields in reader:
            fields = [field.strip() for field in fields]
            if not any(fields):
                continue
            if not header:
                header = _header(path, reader.line_num, fields)
            elif len(fields) != len(header):
                raise InputError(
                    f"{path}, line {reader.line_num}: there must be {len(header)} fields as in the header "
                    f"(there are {len(fields)})."
                )
            else:
                yield reader.line_num, dict(zip(header, fields, strict=True))
    except csv.Error as error:
        raise InputError(f"{path}, line {reader.line_num}: the line must be CSV ({error}).") from None
    if not header:
        raise InputError(f"{path}: the first line must name the columns {', '.join(REQUIRED)} (it is empty).")


def _header(path: Path, line: int, fields: list[str]) -> list[str]:
    for name in REQUIRED:
        if name not in fields:
            raise InputError(
                f"{path}, line {line}: the columns must include {', '.join(REQUIRED)} ('{name}' is missing)."
            )
    for name in fields:
        if name not in (*REQUIRED, *OPTIONAL) or fields.count(name) > 1:
            what = "twice" if fields.count(name) > 1 else "among them"
            raise InputError(
                f"{path}, line {line}: each column must be one of {', '.join((*REQUIRED, *OPTIONAL))}, "
                f"and there only once ('{name}' is {what}); take it out."
            )
    return fields


def _block(path: Path, line: int, row: dict[str, str]) -> Block:
    begin, end = _number(path, line, row, "lower", 0), _number(path, line, row, "upper", 0)
    if begin >= end:
        raise _wrong(path, line, "upper", row["upper"], f"greater than lower ({begin})")
    alignment = _number(path, line, row, "alignment", 1) if row.get("alignment") else 1
    if row.get("gaps"):
        raise _wrong(path, line, "gaps", row["gaps"], "empty: buffers live without gaps here")
    return Block(begin, end, _number(path, line, row, "size", 1), alignment)


def _number(path: Path, line: int, row: dict[str, str], column: str, least: int) -> int:
    text = row[column]
    if text.isascii() and text.isdigit() and len(text) <= 16 and least <= int(text) <= MOST:
        return int(text)
    raise _wrong(path, line, column, text, f"a whole number of at least {least} and at most {MOST}")


def _wrong(path: Path, line: int, column: str, value: str, must: str) -> InputError:
    return InputError(f"{path}, line {line}: {column} must be {must} (it is '{value}').")


# ------------------------------------------------------------------------------------ output


def table_text(buffers: Buffers, found: Allocation) -> str:
    """The buffers with their addresses as a CSV file."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(OUTPUT)
    for name, block, address in zip(buffers.ids, buffers.blocks, found.address, strict=True):
        table.writerow((name, block.begin, block.end, block.size_bytes, address))
    return text.getvalue()


def show(console: Console, options: argparse.Namespace, buffers: Buffers, found: Allocation) -> None:
    """Print what was found and what is known about it."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column()
    table.add_column(justify="right")
    table.add_row("buffers", f"{len(buffers.blocks):,}")
    if options.capacity is not None:
        table.add_row("capacity", f"{options.capacity:,} bytes")
    table.add_row("most bytes alive at once", f"{most_alive(buffers.blocks):,} bytes")
    table.add_row("height reached", f"{found.height_bytes if buffers.blocks else 0:,} bytes")
    table.add_row("no packing is below", f"{found.bound_bytes:,} bytes")
    table.add_row("states searched", f"{found.nodes:,}")
    table.add_row("time", f"{found.seconds:.2f} s")
    console.print(table)
    console.print(f"\n{said(options, found)}", markup=False)


def said(options: argparse.Namespace, found: Allocation) -> str:
    """The verdict in words."""
    lowest = "no packing is lower" if found.height_bytes == found.bound_bytes else "a lower one may exist"
    if options.capacity is None or found.verdict is Verdict.FOUND:
        return f"Addresses found; {lowest}."
    if found.verdict is Verdict.INFEASIBLE:
        return "There are no addresses within the capacity: proven."
    return "No addresses within the capacity were found in time."


if __name__ == "__main__":
    sys.exit(main())
