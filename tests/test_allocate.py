"""The command that gives buffers of a CSV file addresses: results, exit codes, one sentence for each mistake."""

from __future__ import annotations

import csv
from itertools import combinations
from pathlib import Path

import pytest

from ooc_solve import allocate
from ooc_solve.solver.allocation_instances import CAPACITY_BYTES, chained

EXAMPLE = "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\nb3,0,9,4\nb4,9,21,4\nb5,0,21,4\n"


def run(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a call."""
    try:
        code = allocate.main([str(argument) for argument in arguments])
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture
def example(tmp_path: Path) -> Path:
    """A file with five buffers that fill 12 bytes."""
    path = tmp_path / "in.csv"
    path.write_text(EXAMPLE)
    return path


def check(path: Path, capacity: int, alignment: int = 1) -> list[dict[str, str]]:
    """Read addresses back and compare all pairs of buffers."""
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    boxes = [tuple(int(row[name]) for name in ("lower", "upper", "offset", "size")) for row in rows]
    for _, _, offset, size in boxes:
        assert offset >= 0
        assert offset + size <= capacity
        assert offset % alignment == 0
    for (a, b, at, size), (c, d, low, other) in combinations(boxes, 2):
        assert b <= c or d <= a or at + size <= low or low + other <= at
    return rows


def test_addresses_are_written(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The output has the buffers as they came, with offsets below the capacity, and nothing else is left."""
    out = tmp_path / "out.csv"
    code, text, error = run(capsys, example, "--capacity", "12", "-o", out)
    assert (code, error) == (0, "")
    assert [line.rsplit(",", 1)[0] for line in out.read_text().splitlines()] == EXAMPLE.split()
    assert out.read_text().splitlines()[0] == "id,lower,upper,size,offset"
    check(out, 12)
    assert "12 bytes" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == ["in.csv", "out.csv"]


def test_the_least_height_is_sought(example: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Without a capacity the lowest packing is found, and called so where that is proven."""
    code, text, _ = run(capsys, example)
    assert code == 0
    assert "no packing is lower" in text


def test_infeasible(example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too small a capacity gives code 3 and the least that works, and no file."""
    out = tmp_path / "out.csv"
    code, text, error = run(capsys, example, "--capacity", "11", "-o", out)
    assert code == 3
    assert "proven" in text
    assert error.count("\n") == 1
    assert "at least 12 bytes" in error
    assert not out.exists()


def test_not_found_in_time(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where time is up the command says so with code 3 and tells the least height found."""
    path = tmp_path / "hard.csv"
    rows = [f"{i},{b.begin},{b.end},{b.size_bytes}\n" for i, b in enumerate(chained(0, 450, 0.05))]
    path.write_text("id,lower,upper,size\n" + "".join(rows))
    code, _, error = run(capsys, path, "--capacity", CAPACITY_BYTES, "--time-limit", "0.01", "--workers", "1")
    assert code == 3
    assert "nor was it proven" in error
    assert "least height found" in error


def test_columns_in_any_order_with_alignment(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Columns are found by name; offsets are multiples of the alignment; hints and old offsets are ignored."""
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    path.write_text(
        "size,hint,upper,lower,alignment,id,gaps,offset\r\n5,-1,4,0,8,a,,3\r\n3,7,4,0,8,b,,3\r\n\r\n9,0,9,4,8,c,,0\r\n"
    )
    code, _, _ = run(capsys, path, "--capacity", "13", "-o", out)
    assert code == 0
    assert [row["id"] for row in check(out, 13, alignment=8)] == ["a", "b", "c"]


WRONG = {
    "no such column": ("id,lower,upper\na,0,1\n", "'size' is missing"),
    "no header": ("1,0,3,4\n", "'id' is missing"),
    "unknown column": ("id,lower,upper,size,colour\na,0,1,2,red\n", "'colour'"),
    "column twice": ("id,lower,upper,size,size\na,0,1,2,2\n", "twice"),
    "empty": ("", "it is empty"),
    "missing field": ("id,lower,upper,size\na,0,1\n", "line 2"),
    "no number": ("id,lower,upper,size\na,0,x,2\n", "upper"),
    "fraction": ("id,lower,upper,size\na,0,1.5,2\n", "'1.5'"),
    "negative": ("id,lower,upper,size\na,-1,1,2\n", "lower"),
    "too large": ("id,lower,upper,size\na,0,1,99999999999999999999\n", "size"),
    "no time": ("id,lower,upper,size\na,3,3,2\n", "greater than lower"),
    "backwards": ("id,lower,upper,size\na,3,2,2\n", "greater than lower"),
    "no bytes": ("id,lower,upper,size\nb,0,1,1\na,0,1,0\n", "line 3"),
    "same name": ("id,lower,upper,size\na,0,1,1\na,0,1,2\n", "line 3"),
    "no name": ("id,lower,upper,size\n,0,1,1\n", "id"),
    "gaps": ("id,lower,upper,size,gaps\na,0,9,1,2-3\n", "gaps"),
    "no alignment": ("id,lower,upper,size,alignment\na,0,9,1,0\n", "alignment"),
    "open quote": ('id,lower,upper,size\n"a,0,9,1\n', "CSV"),
    "other digits": ("id,lower,upper,size\na,0,٣,1\n", "upper"),
}


@pytest.mark.parametrize("name", WRONG)
def test_mistakes_in_the_file(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Each is one sentence that names the file, with code 1, and nothing is written."""
    text, expected = WRONG[name]
    path, out = tmp_path / "in.csv", tmp_path / "out.csv"
    path.write_text(text, encoding="utf-8")
    code, printed, error = run(capsys, path, "-o", out)
    assert (code, printed) == (1, "")
    assert error.startswith(f"ooc-allocate: error: {path}")
    assert error.count("\n") == 1
    assert expected in error
    assert not out.exists()


def test_files_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A file that is not there, a folder and bytes that are no text are input errors."""
    binary = tmp_path / "binary.csv"
    binary.write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "missing.csv", tmp_path, binary):
        code, printed, error = run(capsys, path)
        assert (code, printed) == (1, "")
        assert str(path) in error


def test_an_output_that_cannot_be_written(
    example: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A folder, or a file in a folder that does not exist, is refused before the search."""
    for out in (tmp_path, tmp_path / "none" / "out.csv"):
        code, printed, _ = run(capsys, example, "-o", out)
        assert (code, printed) == (1, "")


def test_too_many_buffers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """There is a limit, and the error tells it."""
    path = tmp_path / "in.csv"
    rows = "".join(f"{i},0,1,1\n" for i in range(allocate.MOST_BUFFERS + 1))
    path.write_text(f"id,lower,upper,size\n{rows}")
    code, _, error = run(capsys, path)
    assert code == 1
    assert str(allocate.MOST_BUFFERS) in error


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["a", "--capacity", "x"], ["a", "--time-limit", "0"]])
def test_usage(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """A command line that makes no sense gives code 2."""
    code, printed, _ = run(capsys, *arguments)
    assert (code, printed) == (2, "")
