"""Command lines that make no sense: one sentence, status 2, from every command."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ooc_solve import allocate, calibrate, cli, sweep, trace

COMMANDS: dict[str, Callable[[list[str]], int]] = {
    "ooc-solve": cli.main,
    "ooc-sweep": sweep.main,
    "ooc-trace": trace.main,
    "ooc-calibrate": calibrate.main,
    "ooc-allocate": allocate.main,
}


def complaint(capsys: pytest.CaptureFixture[str], command: str, *arguments: str) -> str:
    """The one line that a command answers, after its name; nothing else is printed."""
    try:
        code = COMMANDS[command](list(arguments))
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    assert (code, captured.out) == (2, "")
    assert captured.err.startswith(f"{command}: error: ")
    assert captured.err.count("\n") == 1
    return captured.err


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "ooc-solve"])
def test_what_is_missing_is_named(capsys: pytest.CaptureFixture[str], command: str) -> None:
    """Without its arguments a command names them, and says where to read more."""
    said = complaint(capsys, command)
    assert "required" in said
    assert f"(see {command} --help)" in said


def test_an_unknown_option_is_answered_with_the_nearest(capsys: pytest.CaptureFixture[str]) -> None:
    """A slip of the finger is named with what was probably meant; what is like nothing is only named."""
    assert "no option '--srm'; the nearest is '--sram'" in complaint(
        capsys, "ooc-solve", "zoo:ds_cnn", "--srm", "1k"
    )
    assert "no option '--xyzzy' (see" in complaint(capsys, "ooc-solve", "zoo:ds_cnn", "--xyzzy")
    assert "one argument too many: 'more'" in complaint(capsys, "ooc-solve", "zoo:ds_cnn", "more")
    assert r"no option '--a\x1b'" in complaint(capsys, "ooc-solve", "zoo:ds_cnn", "--a\x1b")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("zoo:ds_cnn", "--json", "a", "--trace", "a"), "--json and --trace must be different files"),
        (("net.onnx", "--json", "net.onnx"), "MODEL and --json must be different files"),
        (("zoo:ds_cnn", "-o", "out", "--report", "out/page.html"), "--report must lie outside"),
        (("zoo:ds_cnn", "-o", "out", "--json", "out"), "--json must lie outside"),
    ],
)
def test_options_that_write_over_each_other(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...], words: str,
) -> None:  # fmt: skip
    """Two results for one file, or one for a file that is read, are refused before anything is solved."""
    monkeypatch.chdir(tmp_path)
    Path("net.onnx").write_bytes(b"a model")
    assert words in complaint(capsys, "ooc-solve", *arguments)
    assert [path.name for path in tmp_path.iterdir()] == ["net.onnx"]
    assert Path("net.onnx").read_bytes() == b"a model"
