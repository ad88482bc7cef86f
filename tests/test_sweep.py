"""The command ``ooc-sweep``: results of a grid, again after an interruption, and never worse with more SRAM."""

from __future__ import annotations

import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from ooc_solve.sweep import Books, Store, csv_text, main, write_results
from ooc_solve.sweep_grid import Point, read_grid
from ooc_solve.sweep_point import Earlier, Known, columns, solve_point

GRID = """schema = "ooc-sweep/1"
models = ["zoo:autoencoder"]
targets = ["f746-sd"]
sram = [{sizes}]
schedulers = ["serial", "demand-layering"]
time_limit = 0.5
workers = 1
"""


def grid_file(folder: Path, sizes: str = '2000, "8KiB", "12KiB", "24KiB", "1MiB"') -> Path:
    """A small grid in a file."""
    file = folder / "grid.toml"
    file.write_text(GRID.format(sizes=sizes))
    return file


def kept(folder: Path) -> dict[str, tuple[int, bytes]]:
    """The finished points with when and how they were written."""
    return {file.name: (file.stat().st_mtime_ns, file.read_bytes()) for file in folder.glob("points/*.json")}


def worked(file: Path, folder: Path) -> Books:
    """The books after all points were solved in this process."""
    books = Books(read_grid(file), Store.at(folder))
    books.start()
    with ThreadPoolExecutor(1) as executor:
        books.work(executor, lambda row: None)
    return books


def rows_of(folder: Path) -> list[dict[str, str]]:
    """The rows of the CSV file."""
    return list(csv.DictReader((folder / "results.csv").read_text().splitlines()))


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The results of the small grid, by the command, in processes of its own."""
    folder = tmp_path_factory.mktemp("sweep")
    assert main([str(grid_file(folder)), "-o", str(folder / "out"), "--jobs", "2"]) == 0
    return folder


def test_every_point_has_a_row(swept: Path) -> None:
    """The table has a row for each point in the order of the grid, those that nothing fits with a reason."""
    rows = rows_of(swept / "out")
    asked = read_grid(swept / "grid.toml").points
    assert [(r["scheduler"], int(r["sram_bytes"])) for r in rows] == [
        (p.scheduler, p.sram_bytes) for p in asked
    ]
    assert list(rows[0]) == list(columns())
    for row in rows:
        fits = row["sram_bytes"] not in ("2000", str(1 << 20))
        assert bool(row["value"]) is bool(row["plan_hash"]) is fits
        assert bool(row["reason"]) is bool(row["min_sram_bytes"]) is not fits


def test_more_sram_is_never_worse(swept: Path) -> None:
    """Along the SRAM no value rises."""
    for scheduler in ("serial", "demand-layering"):
        values = [
            int(r["value"]) for r in rows_of(swept / "out") if r["scheduler"] == scheduler and r["value"]
        ]
        assert len(values) == 3
        assert values == sorted(values, reverse=True)


def test_a_faster_channel_is_never_worse(tmp_path: Path) -> None:
    """Along the speed of the channels no value rises, though that of a rule by itself does."""
    file = tmp_path / "grid.toml"
    text = GRID.format(sizes='"12KiB"').replace("autoencoder", "ds_cnn").replace('"serial", ', "")
    file.write_text(text.replace("0.5", "5") + "speeds = [4, 3]\n")
    books = worked(file, tmp_path / "out")
    slow, fast = books.table()
    assert (slow.target, fast.target) == ("f746-sd@3x", "f746-sd@4x")
    alone = solve_point(books.grid.points[1]).row
    assert alone.value is not None
    assert slow.value is not None
    assert fast.value is not None
    assert alone.value > slow.value > fast.value
    again = Books(books.grid, books.store)
    again.start()
    assert not again.waiting


def test_less_and_slower_are_known(tmp_path: Path) -> None:
    """A point knows the last one that is as fast, and the last one with as much SRAM, which was slower."""
    file = grid_file(tmp_path, '"12KiB", "24KiB"')
    file.write_text(file.read_text() + "speeds = [1, 2]\n")
    asked: dict[tuple[str, int], tuple[object, object]] = {}

    class Recorder(ThreadPoolExecutor):
        def submit(self, work, point, less, slower):  # type: ignore[no-untyped-def, override]
            named = None if slower is None else (slower[0].target.name, slower[0].sram_bytes)
            asked[point.target.name, point.sram_bytes] = (
                None if less is None else less.row.sram_bytes,
                named,
            )
            return super().submit(work, point, less, slower)

    books = Books(read_grid(file), Store.at(tmp_path / "out"))
    books.start()
    with Recorder(1) as executor:
        books.work(executor, lambda row: None)
    assert asked == {
        ("f746-sd", 12288): (None, None),
        ("f746-sd", 24576): (12288, None),
        ("f746-sd@2x", 12288): (None, ("f746-sd", 12288)),
        ("f746-sd@2x", 24576): (12288, ("f746-sd", 24576)),
    }


def test_again_solves_nothing(swept: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same call again writes the same table and touches no finished point."""
    before, table = kept(swept / "out"), (swept / "out" / "results.csv").read_bytes()
    assert len(before) == 10
    assert main([str(swept / "grid.toml"), "-o", str(swept / "out")]) == 0
    assert kept(swept / "out") == before
    assert (swept / "out" / "results.csv").read_bytes() == table
    assert "10 of 10 points are finished" in capsys.readouterr().out


def test_parquet_holds_the_same(swept: Path) -> None:
    """Where pyarrow is installed, its file has the rows of the table."""
    parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow: pip install pyarrow")
    rows = parquet.read_table(swept / "out" / "results.parquet").to_pylist()
    texts = [{name: "" if value is None else str(value) for name, value in row.items()} for row in rows]
    assert texts == rows_of(swept / "out")


def test_killed_and_called_again_nothing_is_lost(tmp_path: Path) -> None:
    """After SIGKILL the finished points are whole, are not solved again, and the rest is."""
    file, out = grid_file(tmp_path), tmp_path / "out"
    call = [sys.executable, "-m", "ooc_solve.sweep", str(file), "-o", str(out), "--jobs", "1"]
    with subprocess.Popen(call, stdout=subprocess.DEVNULL) as process:
        until = time.monotonic() + 120
        while len(kept(out)) < 2 and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    before = kept(out)
    assert 2 <= len(before) < 10
    books = worked(file, out)
    after = kept(out)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(books.table()) == 10


def test_interrupted_the_table_has_what_is_finished(tmp_path: Path) -> None:
    """Ctrl-C ends with code 130 and a table of the finished points."""
    file, out = grid_file(tmp_path), tmp_path / "out"
    call = [sys.executable, "-m", "ooc_solve.sweep", str(file), "-o", str(out), "--jobs", "1"]
    with subprocess.Popen(call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        until = time.monotonic() + 120
        while not kept(out) and time.monotonic() < until:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        _, told = process.communicate(timeout=120)
    assert process.returncode == 130
    assert told.splitlines()[-1].startswith("ooc-sweep: interrupted; the same call goes on")
    assert "Traceback" not in told
    assert 1 <= len(rows_of(out)) < 10


def test_a_smaller_size_added_later_is_heeded(tmp_path: Path) -> None:
    """Points that were finished stay, unless a smaller one has a better plan now; then they have it, too."""
    folder = tmp_path / "out"
    worked(grid_file(tmp_path, '"24KiB"'), folder)
    point = read_grid(tmp_path / "grid.toml").points[0]
    path = folder / "points" / f"{point.key}.json"
    content = json.loads(path.read_text())
    content["row"]["value"] *= 100
    path.write_text(json.dumps(content))
    books = worked(grid_file(tmp_path, '"12KiB", "24KiB"'), folder)
    for series in books.grid.series:
        less, more = (books.rows[p.key].value for p in series)
        assert less is not None
        assert more is not None
        assert more <= less


def test_an_unfinished_file_is_no_point(tmp_path: Path) -> None:
    """What a killed process left beside a point does not count."""
    books = worked(grid_file(tmp_path, '"24KiB"'), tmp_path / "out")
    name = f"{books.grid.points[0].key}.json"
    os.replace(tmp_path / "out" / "points" / name, tmp_path / "out" / "points" / f"{name}abc")
    again = Books(books.grid, books.store)
    again.start()
    assert len(again.rows) == len(books.rows) - 1


def test_a_failing_point_does_not_stop_the_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A point that fails is told and has no row; the rest of the grid is solved."""

    def failing(point: Point, less: Known | None = None, slower: Earlier | None = None) -> Known:
        if point.scheduler == "serial" and point.sram_bytes == 8192:
            raise RuntimeError("broken")
        return solve_point(point, less, slower)

    monkeypatch.setattr("ooc_solve.sweep.solve_point", failing)
    books = worked(grid_file(tmp_path), tmp_path / "out")
    assert len(books.failures) == 1
    assert "8192 bytes by serial: RuntimeError: broken" in books.failures[0]
    assert len(books.table()) == 9


def test_wrong_calls_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A grid, a folder and an address that cannot be used are told in one sentence, with code 1."""
    file = grid_file(tmp_path, '"24KiB"')
    taken = tmp_path / "taken"
    taken.write_text("")
    for arguments, words in (
        ((str(tmp_path / "none.toml"), "-o", str(tmp_path / "a")), "must be a file to read"),
        ((str(file), "-o", str(taken)), "must be a folder that can be written"),
        ((str(file), "-o", str(tmp_path / "b"), "--cluster", "nonsense://x"), "--cluster"),
    ):
        assert main(arguments) == 1
        told = capsys.readouterr().err.splitlines()
        assert told[-1].startswith("ooc-sweep: error: ")
        assert words in told[-1]


def test_page_shows_every_row(swept: Path) -> None:
    """The page fetches nothing, and has the numbers and reasons of all rows."""
    pytest.importorskip("bokeh", reason="needs the plotting library: pip install bokeh")
    text = (swept / "out" / "results.html").read_text().replace(",", "")
    for row in rows_of(swept / "out"):
        shown = f"{int(row['value']) / 1e6:.2f}" if row["value"] else f"{row['min_sram_bytes']} bytes"
        assert shown in text
    assert not re.search(r"<(script|link|img)\b[^>]*\b(src|href)=", text)


def test_an_empty_table_has_its_columns(tmp_path: Path) -> None:
    """Interrupted before anything is finished, the table is a header."""
    write_results(tmp_path, [])
    assert (tmp_path / "results.csv").read_text() == csv_text([]) == ",".join(columns()) + "\n"
