"""The command ``ooc-sweep``: a grid of problems in, one table and one page of curves out.

The command itself only keeps the books: processes of this machine, or of a Dask cluster, solve the points,
and every finished one is written as a file of its own before anything else happens. So it may be killed at
any time; the same call goes on where it was, and solves nothing twice.
"""

from __future__ import annotations

import argparse
import csv
import io
import multiprocessing
import os
import re
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, ProcessPoolExecutor, wait
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import astuple, dataclass, field
from importlib.util import find_spec
from pathlib import Path
from threading import Thread
from typing import Any

from rich.console import Console
from rich.text import Text

from ooc_solve.arguments import parse_processes
from ooc_solve.command_line import Parser, exit_code_of
from ooc_solve.models.vocabulary import InputError, InternalError, Objective, OocError
from ooc_solve.report import amount_of, kibibytes
from ooc_solve.sweep_grid import Grid, Point, Series, read_grid
from ooc_solve.sweep_point import Earlier, Known, Row, columns, solve_point
from ooc_solve.whole_file import check_writable, write_whole

POINTS, CSV, PARQUET, PAGE = "points", "results.csv", "results.parquet", "results.html"

Tell = Callable[[Row], None]


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
        prog="ooc-sweep",
        description="Plan networks for targets with different amounts of SRAM, and tabulate what is found.",
        epilog=f"DIR holds a file for each finished point in {POINTS}/, the table {CSV} (and {PARQUET} where "
        f"pyarrow is installed), and its curves in {PAGE} (where bokeh is). The same call again goes on "
        "after an interruption. SWEEPS.md says what a grid may hold and what the columns mean. Exit code: "
        "0 every point has a row, 1 input error, 2 usage, 4 some point failed.",
    )
    made.add_argument("grid", type=Path, metavar="GRID.toml", help="models, targets, SRAM and options")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="DIR", help="where results go")
    made.add_argument(
        "--jobs", type=parse_processes, metavar="N", help="processes (as many as leave each its workers)"
    )
    made.add_argument("--cluster", metavar="ADDRESS", help="let a Dask cluster work, e.g. tcp://host:8786")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parser().parse_args(arguments)
    console = Console(highlight=False, soft_wrap=True)
    interrupted = "interrupted; the same call goes on after the finished points"
    return exit_code_of("ooc-sweep", lambda: run(options, console), interrupted)


def run(options: argparse.Namespace, console: Console) -> int:
    """Do what the parsed command line asks for."""
    grid = read_grid(options.grid)
    store = Store.at(options.output)
    books = Books(grid, store)
    total = len(grid.points)
    books.start()
    console.print(f"{len(books.rows)} of {total} points are finished.", markup=False)

    def tell(row: Row) -> None:
        console.print(Text(f"{len(books.rows)}/{total}  {line(row)}"))

    try:
        if books.waiting:
            with _executor(options, grid) as executor:
                books.work(executor, tell)
    finally:
        write_results(options.output, books.table())
    for text in books.failures:
        print(f"ooc-sweep: {text}", file=sys.stderr)
    if books.failures:
        raise InternalError(
            f"Every point must end with a row, but {len(books.failures)} failed; the rest is in {options.output}."
        )
    made = [name for name in (CSV, PARQUET, PAGE) if (options.output / name).exists()]
    console.print(f"Written to {options.output}: {', '.join(made)}.", markup=False)
    return 0


def line(row: Row) -> str:
    """What became of a point, in few words."""
    where = f"{row.model} {row.target} {kibibytes(row.sram_bytes)} KiB {row.objective} {row.scheduler}"
    if row.value is None or row.gap is None:
        return f"{where}: none fits"
    value = amount_of(Objective(row.objective), row.value)
    return f"{where}: {value}, {'optimal' if row.status == 'optimal' else f'gap {row.gap:.1%}'}"


# ----------------------------------------------------------------------------- finished points


@dataclass(frozen=True, slots=True)
class Store:
    """A folder with a file for each finished point, named by its key."""

    folder: Path

    @classmethod
    def at(cls, directory: Path) -> Store:
        """The store in a directory of results, made if it is not there.

        Raises
        ------
        InputError
            If it cannot be written.
        """
        folder = directory / POINTS
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(
                f"Output '{directory}' must be a folder that can be written ({error.strerror}); choose another with -o."
            ) from None
        for name in (CSV, PARQUET, PAGE):
            check_writable(directory / name, "-o")
        return cls(folder)

    def get(self, point: Point) -> Known | None:
        """A finished point; None if it is not."""
        path = self._path(point)
        try:
            return Known.from_text(path.read_text(encoding="utf-8"), str(path))
        except FileNotFoundError:
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: a finished point must be a file to read ({error}).") from None

    def put(self, point: Point, known: Known) -> None:
        """Keep a finished point, whole or not at all."""
        write_whole(self._path(point), known.to_text(), "Point")

    def _path(self, point: Point) -> Path:
        return self.folder / f"{point.key}.json"


@dataclass(slots=True)
class _Turn:
    """How far a series is: the next of its points, and the plans up to there."""

    series: Series
    next: int = 0
    found: list[Earlier] = field(default_factory=list)

    @property
    def less(self) -> Known | None:
        """The best plan for less SRAM: that of the last point as fast as the next one."""
        here = self.series[self.next].target
        return next((known for point, known in reversed(self.found) if point.target == here), None)

    @property
    def slower(self) -> Earlier | None:
        """The last point with as much SRAM: it was less fast."""
        size = self.series[self.next].sram_bytes
        return next((earlier for earlier in reversed(self.found) if earlier[0].sram_bytes == size), None)

    def outdates(self, known: Known) -> bool:
        """Whether a plan of an earlier point is better than what is finished of the next one."""
        return known.outdated_by(self.less) or known.outdated_by(self.slower[1] if self.slower else None)


@dataclass(slots=True)
class Books:
    """Which points are finished and which come next.

    Points of a series are solved one after the other, the slowest and the least SRAM first, each knowing the best
    plans so far. A finished point is solved again only if a smaller or slower one that was added later has a better plan.
    """

    grid: Grid
    store: Store
    rows: dict[str, Row] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    waiting: list[_Turn] = field(default_factory=list)

    def start(self) -> None:
        """Take in what is finished."""
        self.waiting = [turn for turn in map(_Turn, self.grid.series) if self._passes(turn)]

    def work(self, executor: Executor, tell: Tell) -> None:
        """Let an executor solve what is not finished.

        Raises
        ------
        OocError
            If processes of the executor die; what was finished is kept.
        """
        running: dict[Future[Known], _Turn] = {}

        def submit(turn: _Turn) -> None:
            running[executor.submit(solve_point, turn.series[turn.next], turn.less, turn.slower)] = turn

        try:
            for turn in self.waiting:
                submit(turn)
            while running:
                for future in wait(running, return_when=FIRST_COMPLETED).done:
                    turn = running.pop(future)
                    self._finish(turn, future, tell)
                    if self._passes(turn):
                        submit(turn)
        except BrokenExecutor:
            raise OocError(
                "The processes that solve points must live, but one was killed or ran out of memory; finished "
                "points are kept: call again, perhaps with fewer --jobs."
            ) from None

    def table(self) -> list[Row]:
        """The rows of all finished points in the order of the grid."""
        return [self.rows[point.key] for point in self.grid.points if point.key in self.rows]

    def _passes(self, turn: _Turn) -> bool:
        """Pass over the finished points of a series; returns whether one is left to solve."""
        while turn.next < len(turn.series):
            point = turn.series[turn.next]
            known = self.store.get(point)
            if known is None or turn.outdates(known):
                return True
            self._take(turn, point, known)
        return False

    def _finish(self, turn: _Turn, future: Future[Known], tell: Tell) -> None:
        """Keep what became of the next point of a series."""
        point = turn.series[turn.next]
        try:
            known = future.result()
        except BrokenExecutor:
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, the other points go on
            self.failures.append(f"{_where(point)}: {type(error).__name__}: {error}")
            turn.next += 1
            return
        self.store.put(point, known)
        self._take(turn, point, known)
        tell(known.row)

    def _take(self, turn: _Turn, point: Point, known: Known) -> None:
        self.rows[point.key] = known.row
        turn.next += 1
        if known.plan is not None:
            turn.found.append((point, known))


def _where(point: Point) -> str:
    return f"{point.model} on {point.target.name} with {point.sram_bytes} bytes by {point.scheduler}"


# --------------------------------------------------------------------------------- who works


@contextmanager
def _executor(options: argparse.Namespace, grid: Grid) -> Iterator[Executor]:
    """Processes of this machine, or of a cluster; given up at once if the command is interrupted."""
    with _client(options.cluster) if options.cluster else nullcontext() as client:
        made: Executor = _processes(options, grid) if client is None else client.get_executor(pure=False)
        try:
            yield made
        except BaseException:
            made.shutdown(wait=False, cancel_futures=True)
            if client is None:
                _end_children()
            raise
        made.shutdown()


def _end_children() -> None:
    for child in multiprocessing.active_children():
        child.terminate()


def _processes(options: argparse.Namespace, grid: Grid) -> Executor:
    threads = max(point.budget.workers for point in grid.points)
    jobs = options.jobs or max(1, (os.cpu_count() or 1) // threads)
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(min(jobs, len(grid.series)), context, _live_with_parent)


def _live_with_parent() -> None:
    """End when the command ends, however that comes about."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    parent = multiprocessing.parent_process()

    def watch() -> None:
        if parent is not None:
            parent.join()
            os._exit(1)

    Thread(target=watch, daemon=True).start()


def _client(address: str) -> AbstractContextManager[Any]:
    """A connection to the scheduler of a Dask cluster."""
    if find_spec("distributed") is None:
        raise InputError("--cluster needs the library distributed: pip install distributed.")
    from distributed import Client

    try:
        client: AbstractContextManager[Any] = Client(address, timeout="10s")
    except (OSError, ValueError, TypeError) as error:
        reason = re.sub(r"\s+", " ", str(error)) or type(error).__name__
        raise InputError(
            f"--cluster must be the address of a Dask scheduler that answers (got '{address}': {reason})."
        ) from None
    return client


# ----------------------------------------------------------------------------------- results


def write_results(directory: Path, rows: Sequence[Row]) -> None:
    """Write the table and the page; Parquet and the page only where their libraries are."""
    write_whole(directory / CSV, csv_text(rows), "Table")
    if find_spec("pyarrow") is not None:
        _write_parquet(directory / PARQUET, rows)
    if find_spec("bokeh") is not None and rows:
        from ooc_solve.sweep_page import page

        write_whole(directory / PAGE, page(rows), "Page")


def csv_text(rows: Sequence[Row]) -> str:
    """The rows with a header; what does not apply is an empty field."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(columns())
    table.writerows(astuple(row) for row in rows)
    return text.getvalue()


def _write_parquet(path: Path, rows: Sequence[Row]) -> None:
    import pyarrow
    from pyarrow import parquet

    kinds: dict[type, Any] = {str: pyarrow.string(), int: pyarrow.int64(), float: pyarrow.float64()}
    arrays = {
        name: pyarrow.array([getattr(row, name) for row in rows], kinds[kind])
        for name, kind in columns().items()
    }
    beside = path.with_name(f"{path.name}.part")
    try:
        parquet.write_table(pyarrow.table(arrays), beside)
        os.replace(beside, path)
    except OSError as error:
        raise InputError(f"Table '{path}' cannot be written ({error.strerror}).") from error


if __name__ == "__main__":
    sys.exit(main())
