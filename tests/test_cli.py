"""The command as a user meets it: exit codes, messages, report, nothing half-written."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console

from ooc_solve.api import Comparison, identifier
from ooc_solve.cli import main, parser, problem_asked
from ooc_solve.models.zoo import zoo_network
from ooc_solve.report import show_comparison
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.parts import rows_kept
from ooc_solve.solver.ruled_plans import HEURISTICS
from ooc_solve.solver.solve import NOT_RUN

QUICK = ("--time-limit", "1", "--no-compare")


def run(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Exit code, standard output and standard error of a call."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = int(stop.code or 0)
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("text", ["", "-1", "64KB", "1e9", "0", "nan", "9999999TiB", "10 k B"])
def test_bad_sizes_are_usage_errors(capsys: pytest.CaptureFixture[str], text: str) -> None:
    """A size that is none stops the command with code 2 and says what one looks like."""
    code, out, err = run(capsys, "zoo:ds_cnn", f"--sram={text}")
    assert (code, out) == (2, "")
    assert "a size" in err


def test_report_and_comparison(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The JSON report has the promised keys, and CP-SAT is never worse than a heuristic."""
    target = tmp_path / "report.json"
    arguments = ("zoo:ds_cnn", "--sram", "16KiB", "--time-limit", "1", "--json", str(target))
    code, out, _ = run(capsys, *arguments)
    report = json.loads(target.read_text())
    assert code == 0
    assert report["schema"] == "ooc-report/1"
    names = [s["name"] for s in report["schedulers"]]
    assert names == ["in-core bound", *(name.replace("-", " ") for name in HEURISTICS), "cp-sat"]
    values = [s["value"] for s in report["schedulers"] if s["value"] is not None]
    assert report["value"] == min(values)
    assert 0 < report["bound"] <= report["value"]
    assert report["gap"] == pytest.approx((report["value"] - report["bound"]) / report["value"])
    assert report["sram_peak_bytes"] <= report["sram_bytes"] == 16 * 1024
    assert sum(layer["compute_ns"] for layer in report["layers"]) <= report["latency_ns"]
    assert len(report["plan_hash"]) == 64
    assert all(len(line) <= 80 for line in out.splitlines())


def test_same_call_same_plan(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two calls give the same plan and the same emitted bytes."""
    for name in ("a", "b"):
        run(capsys, "zoo:autoencoder", "--sram", "8KiB", *QUICK, "-o", str(tmp_path / name))
    for file in ("autoencoder.c", "autoencoder.h", "autoencoder.bin", "Makefile"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_infeasible_names_the_least(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Too little SRAM: code 3, the layer and the least feasible size, which then works; no directory."""
    folder, report = tmp_path / "c", tmp_path / "r.json"
    little = ("zoo:autoencoder", "--sram", "2000", "--no-compare", "--time-limit", "120")
    code, out, err = run(capsys, *little, "-o", str(folder), "--json", str(report))
    assert (code, out) == (3, "")
    assert not folder.exists()
    found = json.loads(report.read_text())
    assert found["status"] == "infeasible"
    assert str(found["min_sram_bytes"]) in err
    assert "layer '" in err
    code, _, referring = run(capsys, *little, "--objective", "wear", "--max-latency", "1.1x")
    assert code == 3  # a factor that refers to no plan is not left out
    assert "no plan to which the 1.1x of --max-latency could refer" in referring
    assert str(found["min_sram_bytes"]) in referring
    enough = ("zoo:autoencoder", "--sram", str(found["min_sram_bytes"]), "--scheduler", "serial")
    assert run(capsys, *enough, "--time-limit", "120")[0] == 0  # a rule ends when it is done


def test_min_sram_prints_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    """--min-sram prints the least SRAM, who asks for it, and what is proven."""
    code, out, _ = run(capsys, "zoo:autoencoder", "--min-sram")
    assert code == 0
    least, bound = int(out.split()[0]), int(out.split()[-2])
    assert bound <= least <= 4096


def test_write_budget_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A write budget holds, and one that cannot be met is refused with the least that can."""
    report = tmp_path / "r.json"
    limit = ("--time-limit", "4", "--no-compare")
    tight = ("zoo:ds_cnn", "--sram", "24KiB", *limit, "--write-budget", "4KiB")
    code, _, _ = run(capsys, *tight, "--json", str(report))
    assert code == 0
    assert json.loads(report.read_text())["bytes_written"] <= 4096
    code, _, err = run(capsys, "zoo:ds_cnn", "--sram", "8KiB", *QUICK, "--write-budget", "1KiB")
    assert code == 3
    assert "the write budget of 1,024 bytes fails by" in err
    assert "the least known to work is" in err


def test_budgets_of_every_kind(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """All budgets together hold, are told in the JSON, and a factor shows how long the storage lived before."""
    report = tmp_path / "r.json"
    given = ("--max-latency", "1.5x", "--max-energy", "1J", "--lifetime-years", "0.5")
    call = ("zoo:ds_cnn", "--sram", "16KiB", "--time-limit", "4", "--no-compare", "--objective", "wear")
    code, out, _ = run(capsys, *call, *given, "--inferences-per-day", "5000", "--json", str(report))
    assert code == 0
    found = json.loads(report.read_text())
    before = found["least_latency"]
    assert found["limits"]["latency_ns"] == int(1.5 * before["latency_ns"])
    assert found["latency_ns"] <= found["limits"]["latency_ns"]
    assert found["energy_nj"] <= found["limits"]["energy_nj"] == 10**9
    assert found["bytes_written"] <= min(before["bytes_written"], found["limits"]["bytes_written"])
    assert found["lifetime_years"] >= 0.5
    day = found["day"]
    assert day["inferences_per_day"] == 5000
    assert day["awake_mj"] == pytest.approx(5000 * found["energy_nj"] / 1e6)
    assert day["mj_per_day"] == pytest.approx(day["awake_mj"] + day["sleep_mj"])
    assert day["mean_mw"] == pytest.approx(day["mj_per_day"] / 86_400)
    waits_ns = found["latency_ns"] - sum(layer["compute_ns"] for layer in found["layers"])
    assert day["waiting_mj"] == pytest.approx(100.8 * waits_ns * 5000 / 1e9)  # 100 mW, and 0.8 mW of the card
    assert day["saved_mj_per_ms"] == pytest.approx((100.8 - 1.2) * 5000 / 1e3)
    words = " ".join(out.split())
    assert "Before, with the least latency: " in words
    assert "at 5,000 inferences a day" in words
    assert "each ms that it sleeps earlier saves 498 mJ a day" in words
    assert max(map(len, out.splitlines())) <= 80


@pytest.mark.parametrize(
    ("option", "text", "words"),
    [
        ("--max-latency", "80", "a latency looks like 80ms"),
        ("--max-latency", "0.9x", "at least 1"),
        ("--max-energy", "3kWh", "an energy looks like 20mJ"),
        ("--lifetime-years", "-1", "years must be more than 0"),
        ("--inferences-per-day", "0", "inferences a day must be more than 0"),
    ],
)
def test_bad_budgets_are_usage_errors(
    capsys: pytest.CaptureFixture[str], option: str, text: str, words: str
) -> None:
    """A budget that is none stops the command with code 2 and says what one looks like."""
    code, out, err = run(capsys, "zoo:ds_cnn", f"{option}={text}")
    assert (code, out) == (2, "")
    assert words in err


def test_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--pareto prints points of which none is better in every figure, each with its bound, and puts them in the JSON."""
    report = tmp_path / "r.json"
    call = ("zoo:autoencoder", "--sram", "12KiB", *QUICK, "--pareto")
    code, out, _ = run(capsys, *call, "--json", str(report))
    assert code == 0
    points = json.loads(report.read_text())["front"]
    costs = [(p["latency_ns"], p["energy_nj"], p["bytes_written"]) for p in points]
    assert costs
    assert costs == sorted(costs)
    for one in costs:
        assert not any(
            other != one and all(a <= b for a, b in zip(other, one, strict=True)) for other in costs
        )
    assert all(0 <= p["bound"] <= p["value"] for p in points)
    assert ("none is better" if len(points) > 1 else "the best known") + " in every figure" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((), 2, "a model is needed"),
        (("no_such_file.onnx",), 1, "no_such_file.onnx"),
        (("zoo:resnet9",), 1, "zoo:resnet8"),
        (("zoo:ds_cnn", "--target", "f746-st"), 1, "f746-sd"),
        (("zoo:ds_cnn", "--sram", "1GiB"), 1, "must not exceed"),
        (("zoo:ds_cnn", "--sram", "100"), 3, "must exceed"),
        (("zoo:ds_cnn", "--target", "nrf52840-nor", "--io", "storage"), 1, "--io sram"),
        (("zoo:ds_cnn", "--json", "/no/such/folder/r.json"), 1, "/no/such/folder/r.json"),
        (("zoo:ds_cnn", "--objective", "speed"), 2, "invalid choice"),
        (("zoo:ds_cnn", "--time-limit", "0"), 2, "seconds"),
        (("zoo:ds_cnn", "--workers", "-3"), 2, "whole number"),
        (("zoo:ds_cnn", "--workers", "0"), 2, "from 1 to"),
    ],
)
def test_bad_input(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, words: str
) -> None:
    """Each kind of bad input: the right code, one message with the words that help, no output."""
    found, out, err = run(capsys, *arguments)
    assert (found, out) == (code, "")
    assert words in err
    assert "Traceback" not in err


@pytest.mark.parametrize("content", [b"", b"not onnx at all", b"\x08\x07\x12\x04abcd" * 40])
def test_broken_models(tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes) -> None:
    """A file that is no ONNX model is one line on standard error and nothing else."""
    model = tmp_path / "broken.onnx"
    model.write_bytes(content)
    code, out, err = run(capsys, str(model), "-o", str(tmp_path / "c"))
    assert (code, out) == (1, "")
    assert "broken.onnx" in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "c").exists()


def test_foreign_directory_is_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A directory with somebody else's files is refused before any work."""
    (tmp_path / "thesis.txt").write_text("mine")
    code, _, err = run(capsys, "zoo:ds_cnn", "-o", str(tmp_path))
    assert code == 1
    assert str(tmp_path) in err
    assert [p.name for p in tmp_path.iterdir()] == ["thesis.txt"]


def test_lists(capsys: pytest.CaptureFixture[str]) -> None:
    """The lists name the default target and every built-in network."""
    assert "f746-sd" in run(capsys, "--list-targets")[1]
    models = run(capsys, "--list-models")[1]
    assert all(name in models for name in ("resnet8", "mobilenet_v2_224", "vgg16_224"))


def test_other_schedulers(capsys: pytest.CaptureFixture[str]) -> None:
    """Every scheduler can be asked for by name."""
    for name in HEURISTICS:
        code, out, _ = run(capsys, "zoo:autoencoder", "--sram", "24KiB", "--scheduler", name)
        assert code == 0
        assert name.replace("-", " ") in out


def test_identifiers() -> None:
    """Any model name becomes a C identifier."""
    assert [identifier(n) for n in ("a;b/c", "3net", "ü")] == ["a_b_c", "model_3net", "model_"]


def interrupted(command: list[str], signals: int) -> tuple[int, str]:
    """Exit code and errors of a run that gets Ctrl-C as soon as it has a plan, so many times."""
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = ""
        while ": best " not in said:
            line = process.stderr.readline()
            assert line, said
            said += line
        for _ in range(signals):
            process.send_signal(signal.SIGINT)
            time.sleep(0.05)
        said += process.communicate(timeout=300)[1]
    return process.returncode, said


def test_interrupt_gives_the_best_plan_so_far(tmp_path: Path) -> None:
    """Ctrl-C during the search: its best plan is written, with the bound so far and a note, code 0."""
    made, facts = tmp_path / "c", tmp_path / "r.json"
    options = ["--time-limit", "3000", "-v", "-o", str(made), "--json", str(facts), "--no-compare"]
    command = [sys.executable, "-m", "ooc_solve", "zoo:resnet8", "--sram", "20KiB", *options]
    code, errors = interrupted(command, 1)
    assert code == 0, errors
    assert "interrupted: this is the best plan and the bound so far" in errors
    assert (made / "Makefile").exists()
    result = json.loads(facts.read_text())
    assert 0 < result["bound"] <= result["value"]


def test_a_second_interrupt_ends_at_once(tmp_path: Path) -> None:
    """Ctrl-C twice leaves no directory behind, unless the plan was written by then."""
    made = tmp_path / "c"
    options = ["--time-limit", "3000", "-v", "-o", str(made), "--no-compare"]
    command = [sys.executable, "-m", "ooc_solve", "zoo:resnet8", "--sram", "20KiB", *options]
    code, errors = interrupted(command, 2)
    assert (code, made.exists()) in ((130, False), (0, True)), errors
    assert "Traceback" not in errors


def test_interrupt_before_any_plan_leaves_nothing(tmp_path: Path) -> None:
    """Ctrl-C before there is a plan ends with code 130, at most one line, and no directory."""
    made = tmp_path / "c"
    command = [sys.executable, "-m", "ooc_solve", "zoo:vgg16_224", "--no-compare", "-o", str(made)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        time.sleep(3)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert (process.returncode, out) == (130, "")
    assert err.strip() in ("", "ooc-solve: interrupted, nothing written")
    assert not made.exists()


def test_special_files_are_left_alone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A report path that is no plain file is refused and stays what it is."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    code, _, err = run(capsys, "zoo:ds_cnn", "--json", str(pipe))
    assert code == 1
    assert "plain file" in err
    assert pipe.is_fifo()


INTERRUPTING = """
import os, signal, sys
from ooc_solve.__main__ import main

class Interrupting:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name == {module!r}:
            os.kill(os.getpid(), signal.SIGINT)

sys.meta_path.insert(0, Interrupting)
sys.exit(main())
"""


@pytest.mark.parametrize("module", ["ooc_solve.cli", "numpy", "ortools", "onnx", "ooc_solve.solver.solve"])
def test_interrupt_while_loading(module: str) -> None:
    """Ctrl-C while modules are loaded ends with code 130 and one line."""
    code = INTERRUPTING.format(module=module)
    call = [sys.executable, "-c", code, "--list-targets"]
    done = subprocess.run(call, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "ooc-solve: interrupted, nothing written\n"


def test_the_entry_point_is_light() -> None:
    """What the console script imports before it heeds Ctrl-C is next to nothing."""
    code = "import sys, ooc_solve.__main__; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    ours = {name for name in done.stdout.split() if name.startswith("ooc_solve")}
    assert ours == {"ooc_solve", "ooc_solve.__main__"}
    assert "numpy" not in done.stdout.split()


@pytest.mark.parametrize("place", ["/proc/x", "/proc/x/y", "file/x", "loop", f"{'n' * 300}"])
@pytest.mark.parametrize("option", ["-o", "--json"])
def test_places_that_cannot_be_written_are_found_before_solving(
    option: str,
    place: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Output into a file, a folder of the kernel, or a name that is too long is refused at once, without a trace."""

    def solve(*arguments: object) -> None:
        raise AssertionError("nothing may be solved")

    monkeypatch.setattr("ooc_solve.cli.solve", solve)
    (tmp_path / "file").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    code, out, err = run(capsys, "zoo:ds_cnn", option, str(tmp_path / place))
    assert (code, out) == (1, "")
    assert err.startswith("ooc-solve: error: ")
    assert err.count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "loop"]


def test_trying_a_place_leaves_nothing_behind(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folders that were made to see whether they can be are gone before anything is solved."""
    seen: list[list[Path]] = []

    def solve(*arguments: object) -> None:
        seen.append(list(tmp_path.iterdir()))
        raise KeyboardInterrupt

    monkeypatch.setattr("ooc_solve.cli.solve", solve)
    assert run(capsys, "zoo:ds_cnn", "-o", str(tmp_path / "a" / "b"), "--json", str(tmp_path / "r"))[0] == 130
    assert seen == [[]]


def test_page_and_trace(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--report and --trace write a page and a trace of the plan that the JSON report names."""
    pytest.importorskip("bokeh", reason="needs the plotting library")
    page, trace, facts = tmp_path / "r.html", tmp_path / "t.json", tmp_path / "r.json"
    files = ("--report", str(page), "--trace", str(trace), "--json", str(facts))
    assert run(capsys, "zoo:autoencoder", "--sram", "16KiB", *QUICK, *files)[0] == 0
    plan = json.loads(facts.read_text())["plan_hash"]
    assert plan in page.read_text()
    assert json.loads(trace.read_text())["otherData"]["plan_hash"] == plan


def test_a_report_needs_its_library(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without the plotting library --report is refused before solving, in one sentence that helps."""
    monkeypatch.setattr("ooc_solve.plotting.find_spec", lambda name: None)
    monkeypatch.setattr("ooc_solve.cli.solve", None)
    code, out, err = run(capsys, "zoo:ds_cnn", "--report", str(tmp_path / "r.html"))
    assert (code, out) == (1, "")
    assert "pip install bokeh" in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_verbose_shows_the_search(capsys: pytest.CaptureFixture[str]) -> None:
    """--verbose tells each step of the search with best and bound, and only on standard error."""
    call = ("zoo:autoencoder", "--sram", "16KiB", *QUICK)
    code, out, err = run(capsys, *call, "-v")
    assert code == 0
    assert any(" best " in line and " bound " in line for line in err.splitlines())
    quiet = run(capsys, *call)
    assert quiet[2] == ""
    # The figures of a search that a clock ends differ from run to run; its headings do not.
    assert quiet[1].splitlines()[:2] == out.splitlines()[:2]


def test_the_verdict_answers_four_questions(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Piped output has no colour, fits 80 columns, and ends with: fits, how slow, how long, how far."""
    facts = tmp_path / "r.json"
    code, out, _ = run(capsys, "zoo:ds_cnn", "--sram", "12KiB", *QUICK, "--json", str(facts))
    assert code == 0
    assert "\x1b" not in out
    assert max(map(len, out.splitlines())) <= 80
    report, words = json.loads(facts.read_text()), " ".join(out.split())
    assert f"It fits: {report['sram_peak_bytes']:,} of 12,288 bytes of SRAM" in words
    slower = report["latency_ns"] / report["in_core_ns"]
    assert f"{slower:.2f} times as long as with everything in SRAM" in words
    assert f"The storage lives {report['lifetime_years']:,.0f} years" in words
    assert f"at most {report['gap']:.2%} from optimal" in words


def test_encrypted_plans_say_what_they_cost(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """--encrypt seals the image with the key of --key-file, and the verdict names the cipher and its time."""
    (tmp_path / "key.bin").write_bytes(bytes(range(16)))
    call = ("zoo:autoencoder", "--sram", "24KiB", "--scheduler", "serial", *QUICK, "--encrypt", "aes-128-gcm")
    key = ("--key-file", str(tmp_path / "key.bin"))
    code, out, _ = run(capsys, *call, *key, "-o", str(tmp_path / "out"))
    assert code == 0
    assert "AES-128-GCM takes " in " ".join(out.split())
    assert f"OUTPUT=out.binKEY={key[1]}(in.bin" in "".join(out.split())
    image = (tmp_path / "out" / "autoencoder.bin").read_bytes()
    assert image[6:8] == b"\1\0"
    assert run(capsys, *call)[0] == 0  # a plan alone needs no key
    code, out, _ = run(capsys, *call, "--target", "n6-npu")
    assert code == 0
    assert "ms of an engine beside the CPU to open and seal" in " ".join(out.split())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (
            ("--encrypt", "aes-128-gcm", "-o", "out"),
            2,
            "--encrypt with -o needs --key-file; make one with: head -c 16",
        ),
        (("--key-file", "key.bin"), 2, "--key-file goes with --encrypt and a cipher"),
        (("--encrypt", "inline"), 1, "weights must lie behind an inline engine"),
        (("--encrypt", "chacha20-poly1305", "--key-file", "key.bin"), 1, "must hold the 32 bytes"),
        (("--encrypt", "aes-128-gcm", "--key-file", "none.bin"), 1, "cannot be read"),
        (("--encrypt", "aes-128-gcm", "--target", "nrf52840-nor"), 1, "[crypto.aes128_gcm] must say"),
    ],
)
def test_what_sealing_needs(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    words: str,
) -> None:
    """A missing or wrong key, and a board without the cipher, are told in one line before anything is solved."""
    monkeypatch.chdir(tmp_path)
    Path("key.bin").write_bytes(bytes(16))
    found, out, err = run(capsys, "zoo:autoencoder", "--sram", "24KiB", *QUICK, *arguments)
    assert found == code
    assert out == ""
    assert words in err
    assert err.count("\n") == 1
    assert not Path("out").exists()


def test_what_was_left_out_says_why(comparison: Comparison) -> None:
    """Rows without figures are explained below the table, with what to do; no row, no sentence."""
    first, last = comparison.results[0], comparison.results[-1]
    left_out = replace(last, scheduler="reorder first", plan=None, objective=None, reason=NOT_RUN)
    told = []
    for results in ((first, last), (first, left_out, last)):
        text = io.StringIO()
        show_comparison(Console(file=text, width=80), comparison.problem, results)
        told.append(" ".join(text.getvalue().split()))
    assert "--time-limit" not in told[0]
    assert f"reorder first: {NOT_RUN}; allow more with --time-limit." in told[1]


def test_parts_are_offered_where_asked_for() -> None:
    """With --parts tensors may stay in SRAM in part, otherwise in whole or not at all."""
    offered = []
    for asked in ((), ("--parts",)):
        options = parser().parse_args(("zoo:resnet8", "--sram", "24KiB", *asked))
        residences = space_of(problem_asked(options, zoo_network("resnet8"))).residences
        offered.append(sum(rows_kept(residence) > 0 for some in residences.values() for residence in some))
    assert offered[0] == 0
    assert offered[1] > 0
