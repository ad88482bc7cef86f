"""Frames in flight, the whole way: the better of two plans, its bound, its words, and the bytes of its run."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ooc_solve import api
from ooc_solve.api import Solution, load, problem_of, scheduled, target
from ooc_solve.cli import main
from ooc_solve.codegen.check import check_tables
from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.frames import (
    Flight,
    busiest_ns,
    fly,
    frames_facts,
    frames_words,
    period_ns,
    read_frames,
    run_of,
)
from ooc_solve.models import reference
from ooc_solve.models.frames import in_flight
from ooc_solve.models.limits import Limits
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.vocabulary import Budget, InputError, Plan, Result, Status
from ooc_solve.models.zoo import zoo_network
from ooc_solve.progress import History
from ooc_solve.report import milliseconds
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.plans import checked
from ooc_solve.solver.ruled_plans import HEURISTICS
from ooc_solve.solver.validate import validate

pytestmark = pytest.mark.usefixtures("compiled_once")

BUDGET = Budget(1.0, 1, 1)


def by_rule(problem: Problem, budget: Budget, given: Sequence[Plan]) -> list[Result]:
    """What a rule finds, with a bound: no clock ends it."""
    return [scheduled(problem, "demand-layering", budget, History(), given)]


@pytest.fixture(scope="module")
def autoencoder() -> Flight:
    """Three frames of a network that waits for its weights most of the time."""
    problem = problem_of(load("zoo:autoencoder"), target("f746-sd"), 24 * 1024)
    return fly(problem, 3, BUDGET, by_rule, by_rule)


# --------------------------------------------------------------------------- what is chosen


def test_weights_are_loaded_once_for_all_frames(autoencoder: Flight) -> None:
    """Three inferences read little more than one does, and the time for each is less than half."""
    chosen, single = autoencoder.results[-1].plan, autoencoder.single.plan
    assert chosen is not None
    assert single is not None
    assert autoencoder.problem.network.frames == 3
    assert chosen.figures.bytes_read < 1.1 * single.figures.bytes_read
    found = period_ns(autoencoder.problem, autoencoder.results[-1])
    assert found is not None
    assert 2 * found < single.figures.latency_ns


def test_the_bound_holds_for_both_ways(autoencoder: Flight) -> None:
    """No plan of a rule, of the run or of one frame as often, has a lower value than the bound."""
    bound, frames = autoencoder.results[-1].bound, autoencoder.frames
    assert 0 < bound <= frames * autoencoder.single.bound
    for rule in HEURISTICS.values():
        for problem, times in ((autoencoder.problem, 1), (autoencoder.alone, frames)):
            plan = rule(problem, BUDGET).plan
            assert plan is not None
            assert bound <= times * plan.figures.latency_ns


def test_one_at_a_time_where_a_run_does_not_fit(tiny_problem: Problem) -> None:
    """Inputs of two frames have no room in the least SRAM of one; its plan is told with period and reason."""
    problem = replace(tiny_problem, io=IoPlace.SRAM)
    least = least_sram(problem)
    assert least is not None
    flight = fly(replace(problem, sram_bytes=least.sram_bytes), 2, BUDGET, by_rule, by_rule)
    assert flight.problem is flight.alone
    (result,) = flight.results
    assert result.plan is not None
    assert result.plan is flight.single.plan
    assert period_ns(flight.problem, result) == result.plan.figures.latency_ns
    assert "no run of 2 frames is known to be better" in result.reason
    assert result.bound == flight.single.bound, "a run does not fit, so it cannot be better"
    assert "one frame at a time" in frames_words(flight)
    assert frames_facts(flight)["per_run"] == 1


def test_a_run_that_is_no_better_is_not_chosen(autoencoder: Flight) -> None:
    """A run of the same value per inference gives way to one frame, and a bound below it is kept."""
    single = autoencoder.single
    assert single.plan is not None
    run = autoencoder.results[-1]
    assert run.plan is not None
    slow = replace(run.plan, figures=replace(run.plan.figures, latency_ns=3 * single.plan.figures.latency_ns))

    def alone(*_: object) -> list[Result]:
        return [single]

    def together(*_: object) -> list[Result]:
        return [replace(run, plan=slow, objective=slow.figures.latency_ns)]

    flight = fly(autoencoder.alone, 3, BUDGET, alone, together)
    assert flight.problem is autoencoder.alone
    assert flight.results[-1].bound == min(single.bound, run.bound // 3)


def test_neither_way_has_a_plan() -> None:
    """Where not even one frame fits, its reason is told."""

    def nothing(problem: Problem, *_: object) -> list[Result]:
        return [Result("x", Status.INFEASIBLE, None, None, 0, 0.0, f"{problem.network.frames} does not fit")]

    flight = fly(problem_of(zoo_network("ds_cnn"), target("f746-sd")), 2, BUDGET, nothing, nothing)
    assert flight.results[-1].reason == "1 does not fit"
    assert frames_facts(flight)["period_ns"] is None


def test_the_search_for_a_run_knows_the_plan_of_one() -> None:
    """A search that finds nothing itself gives the plan of one frame, repeated: a run no slower than that."""
    known: list[Plan] = []

    def together(problem: Problem, budget: Budget, given: Sequence[Plan]) -> list[Result]:
        known.extend(given)
        return by_rule(problem, budget, given)

    problem = problem_of(zoo_network("resnet8"), target("f746-sd"), 48 * 1024)
    flight = fly(problem, 2, BUDGET, by_rule, together)
    (plan,) = known
    run = ordered(run_of(problem, 2), plan.selection.order)
    assert validate(run, plan) == ()
    assert flight.single.plan is not None
    assert plan.figures.latency_ns <= 2 * flight.single.plan.figures.latency_ns


# ---------------------------------------------------------------------------- budgets


def test_budgets_of_an_inference_hold_on_average() -> None:
    """A run may write and spend as often as much; rates are of inferences, so it runs less often."""
    limits = Limits(5_000_000_000, 700, 2.0)
    one = problem_of(
        zoo_network("ds_cnn"),
        target("f746-sd"),
        write_budget_bytes=900,
        limits=limits,
        inferences_per_day=1000,
    )
    run = run_of(one, 3)
    assert run.write_budget_bytes == 2700
    assert run.limits == Limits(5_000_000_000, 2100, 2.0)
    assert run.inferences_per_day == one.inferences_per_day
    assert run.runs_per_day * 3 == one.runs_per_day == 1000
    assert run_of(one, 1) is one


def test_a_lifetime_counts_inferences(autoencoder: Flight) -> None:
    """Three frames write three outputs in each of a third as many runs: the storage lives as long."""
    chosen, single = autoencoder.results[-1].plan, autoencoder.single.plan
    assert chosen is not None
    assert single is not None
    assert chosen.figures.bytes_written == 3 * single.figures.bytes_written
    assert chosen.figures.lifetime_years == pytest.approx(single.figures.lifetime_years)
    checked(ordered(autoencoder.problem, chosen.selection.order), chosen)


# ------------------------------------------------------------------------------- words


def test_words_and_facts(autoencoder: Flight) -> None:
    """Both tell the period, the bound per inference, and what one at a time takes."""
    chosen, facts = autoencoder.results[-1], frames_facts(autoencoder)
    assert chosen.objective is not None
    assert facts["asked"] == facts["per_run"] == 3
    assert facts["period_ns"] == -(-chosen.objective // 3)
    assert facts["bound"] * 3 == pytest.approx(chosen.bound)
    assert facts["gap"] == chosen.gap
    assert facts["one_at_a_time"]["period_ns"] == autoencoder.single.objective
    words = frames_words(autoencoder)
    assert words.startswith(
        f"With 3 frames in flight there is an inference every {chosen.objective / 3e6:.2f}"
    )
    assert "none in the option space below" in words
    assert "times as long" in words


def test_the_page_tells_both_ways(autoencoder: Flight) -> None:
    """The report in a browser has the periods, bounds and gaps of the JSON report, and only where frames were asked."""
    pytest.importorskip("bokeh", reason="needs the plotting library: pip install bokeh")
    from ooc_solve.html_report import page

    facts = frames_facts(autoencoder)
    made = page(autoencoder.problem, autoencoder.results, flight=autoencoder)
    words = " ".join(re.sub(r"<[^>]+>", " ", made).split())
    assert f"an inference every {milliseconds(facts['period_ns'])} ms" in words
    assert "ms per run of 3 frames;" in words
    for name, told in (
        ("a run of 3 frames (this page)", facts),
        ("one frame at a time", facts["one_at_a_time"]),
    ):
        cells = f"{name} {milliseconds(told['period_ns'])} {milliseconds(told['value'])} ms"
        assert f"{cells} {milliseconds(told['bound'])} ms {told['gap']:.2%}" in words
    lost = replace(autoencoder, problem=autoencoder.alone, results=(autoencoder.single,))
    assert "No run of 3 frames is known to be better" in page(lost.problem, lost.results, flight=lost)
    assert "Frames in flight" not in page(lost.problem, lost.results)


def test_what_overlapping_runs_would_save(autoencoder: Flight) -> None:
    """No resource works longer per inference than the period, and the words and facts tell the busiest one."""
    chosen = autoencoder.results[-1]
    assert chosen.plan is not None
    resource, busy = busiest_ns(autoencoder.problem, chosen.plan)
    works = [task.duration_ns for task in chosen.plan.graph.tasks if task.resource == resource]
    assert busy == -(-sum(works) // 3)
    assert busy * 3 > chosen.plan.figures.compute_ns
    assert busy <= frames_facts(autoencoder)["period_ns"]
    assert frames_facts(autoencoder)["busiest"] == {"resource": resource, "ns": busy}
    assert f"of which '{resource}' works {busy / 1e6:.2f} ms" in frames_words(autoencoder)


@pytest.mark.parametrize("text", ["0", "9", "1000", "-1", "two", "1.5", "9" * 5000])
def test_bad_numbers_of_frames(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on the command line, and the same error from Python."""
    with pytest.raises(SystemExit) as ended:
        main(["zoo:ds_cnn", "--frames", text])
    assert ended.value.code == 2
    assert "frames in flight must be a" in capsys.readouterr().err.splitlines()[-1]
    with pytest.raises(InputError):
        read_frames(text)


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The command prints the period, and writes facts and a project of the run."""
    arguments = ["zoo:autoencoder", "--sram", "24KiB", "--scheduler", "demand-layering", "--time-limit", "1"]
    files = [
        "--json",
        str(tmp_path / "r.json"),
        "-o",
        str(tmp_path / "c"),
        "--report",
        str(tmp_path / "r.html"),
    ]
    assert main([*arguments, "--frames", "2", *files]) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert "a run of 2 frames" in shown
    assert "With 2 frames in flight there is an inference every" in shown
    facts = json.loads((tmp_path / "r.json").read_text())
    assert facts["frames"]["per_run"] == 2
    assert facts["frames"]["period_ns"] * 2 - facts["latency_ns"] in (0, 1)
    header = next((tmp_path / "c").glob("autoencoder.h")).read_text()
    assert "input_1" in header
    assert "Frames in flight" in (tmp_path / "r.html").read_text()


def test_one_frame_is_as_without_the_option(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Plan, layers and entries of the report are those of a call that does not mention frames."""
    told: list[tuple[object, ...]] = []
    for extra in ([], ["--frames", "1"]):
        file = tmp_path / f"{len(told)}.json"
        arguments = ["zoo:autoencoder", "--sram", "24KiB", "--scheduler", "demand-layering"]
        assert main([*arguments, "--time-limit", "1", "--json", str(file), *extra]) == 0
        facts = json.loads(file.read_text())
        told.append((facts["plan_hash"], facts["layers"], facts["latency_ns"], sorted(facts)))
    assert told[0] == told[1]
    assert "frames" not in facts
    assert "frames" not in capsys.readouterr().out


def test_from_python() -> None:
    """A solution with frames tells its period, and one frame its latency."""
    network, board = load("zoo:autoencoder"), target("f746-sd")
    found = api.solve(network, board, "24KiB", frames=2, scheduler="demand-layering", time_limit=1)
    assert isinstance(found, Solution)
    assert found.plan.validate() == ()
    assert found.period_ns == -(-found.plan.figures.latency_ns // 2)
    assert found.to_dict()["frames"]["period_ns"] == found.period_ns
    assert "frames in flight" in found._repr_html_()
    single = api.solve(network, board, "24KiB", scheduler="demand-layering", time_limit=1)
    assert single.period_ns == single.plan.figures.latency_ns > found.period_ns


# --------------------------------------------------------------------------------- runs


def computed(flight: Flight, folder: Path) -> bool:
    """Whether the emitted run gives every frame the bytes of the reference."""
    chosen = flight.results[-1].plan
    assert chosen is not None
    assert flight.problem.network.frames > 1
    problem, network = ordered(flight.problem, chosen.selection.order), flight.alone.network
    assert not check_tables(build_tables(problem, chosen))
    write_project(problem, chosen, folder / "c", "run")
    (name,), random = network.inputs, np.random.default_rng(4)
    shape = network.tensors[name].graph_shape
    frames = [random.integers(-128, 128, shape, dtype=np.int8) for _ in range(flight.frames)]
    (folder / "in.bin").write_bytes(b"".join(reference.pack_input(network, name, frame) for frame in frames))
    command = ["make", "-s", "-C", str(folder / "c"), "run"]
    files = [f"INPUT={folder / 'in.bin'}", f"OUTPUT={folder / 'out.bin'}"]
    done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    expected = [reference.run(network, {name: frame})[network.outputs[0]].tobytes() for frame in frames]
    return (folder / "out.bin").read_bytes() == b"".join(expected)


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make and a C compiler")


@needs_make
def test_the_run_gives_every_frame_its_output(autoencoder: Flight, tmp_path: Path) -> None:
    """Three inputs, one behind the other, and three outputs: the bytes of the reference."""
    assert computed(autoencoder, tmp_path)


@needs_make
@pytest.mark.parametrize(("name", "kib", "frames"), [("ds_cnn", 24, 2), ("resnet8", 128, 2)])
def test_frames_of_convolutions_give_their_outputs(name: str, kib: int, frames: int, tmp_path: Path) -> None:
    """Convolutions of each frame, one behind the other, and layers of all frames: the bytes of the reference."""
    problem = problem_of(load(f"zoo:{name}"), target("f746-sd"), kib * 1024)
    run = run_of(problem, frames)
    (single,), (result,) = by_rule(problem, BUDGET, ()), by_rule(run, BUDGET, ())
    assert computed(Flight(frames, problem, single, run, (result,)), tmp_path)


@needs_make
@pytest.mark.skipif(
    not (shutil.which("qemu-system-arm") and shutil.which("arm-none-eabi-gcc")),
    reason="needs qemu-system-arm and arm-none-eabi-gcc",
)
def test_an_emulated_machine_runs_frames(tmp_path: Path) -> None:
    """On a board without an operating system the run gives the same bytes."""
    problem = problem_of(load("zoo:ds_cnn"), target("lm3s-qemu"), 32 * 1024, io="sram")
    run = run_of(problem, 2)
    (single,), (result,) = by_rule(problem, BUDGET, ()), by_rule(run, BUDGET, ())
    assert result.plan is not None
    assert computed(Flight(2, problem, single, run, (result,)), tmp_path)


def test_real_networks(shared_models: Path) -> None:
    """The autoencoder as onnxruntime quantises it: float32 input and output, layers for all frames between them."""
    network = load(shared_models / "mlperf_tiny" / "ad_autoencoder_ort_qdq_s8.onnx")
    flight = fly(problem_of(network, target("f746-sd"), 32 * 1024), 2, BUDGET, by_rule, by_rule)
    chosen, single = flight.results[-1].plan, flight.single.plan
    assert chosen is not None
    assert single is not None
    assert flight.problem.network.inputs == in_flight(network, 2).inputs
    assert chosen.figures.latency_ns < 1.3 * single.figures.latency_ns
    assert not check_tables(build_tables(ordered(flight.problem, chosen.selection.order), chosen))
