"""Rows that a benchmark keeps in a file, and the table and the words of the page that is made of them."""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Generic, TypeVar

import ortools

from ooc_solve import __version__

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

R = TypeVar("R", bound="DataclassInstance")


class KeptRows(Generic[R]):
    """Rows in a file, if there is one: a benchmark that was stopped goes on where it was.

    ``kind`` is the dataclass of a row.
    """

    def __init__(self, kind: type[R], path: Path | None) -> None:
        self.path = path
        there = path is not None and path.exists()
        self.known = [kind(**row) for row in json.loads(path.read_text())] if path and there else []

    def of(self, is_one: Callable[[R], bool], count: int, make: Callable[[], Sequence[R]]) -> list[R]:
        """The known rows that are asked for if all of them are there, else new ones, which are kept."""
        known = [row for row in self.known if is_one(row)]
        if len(known) == count:
            return known
        made = list(make())
        self.known = [row for row in self.known if not is_one(row)] + made
        if self.path is not None:
            self.path.write_text(json.dumps([asdict(row) for row in self.known], indent=1) + "\n")
        return made


def markdown_table(heads: Sequence[str], words: int, lines: Iterable[str]) -> str:
    """A table under its heads, of which the first ``words`` are over words and the others over numbers."""
    rule = ["---"] * words + ["---:"] * (len(heads) - words)
    return "\n".join([f"| {' | '.join(heads)} |", f"|{'|'.join(rule)}|", *lines]) + "\n"


def add_options(made: argparse.ArgumentParser) -> None:
    """The options of every benchmark that keeps its rows."""
    made.add_argument("--seed", type=int, default=1)
    made.add_argument(
        "--cpu-clock", action="store_true", help="limit CPU time, where the machine does other work"
    )
    made.add_argument("--rows", type=Path, help="keep rows here, and take those that are there already")
    made.add_argument("--results", type=Path, help="write the table here, as a page")


def start_clock(options: argparse.Namespace) -> str:
    """Take deadlines from the clock asked for; returns its name."""
    if not options.cpu_clock:
        return "the clock"
    time.monotonic = time.process_time  # all deadlines are taken from it
    return "the processor"


def circumstances(seed: int) -> str:
    """What figures depend on beside the effort."""
    return (
        f"seed {seed}; {platform.system()}, Python {platform.python_version()}, "
        f"ooc-solve {__version__}, OR-Tools {ortools.__version__}."
    )
