"""Runs that overlap, the whole way: plans, their bound, words and facts, and the bytes of several runs."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from ooc_solve import api
from ooc_solve.api import problem_of, target
from ooc_solve.cli import main
from ooc_solve.codegen.check import check_tables
from ooc_solve.codegen.machines import machine_of
from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.frames import Flight, frames_facts, frames_words, run_of
from ooc_solve.measurement import measure
from ooc_solve.models import reference
from ooc_solve.models.limits import Limits
from ooc_solve.models.plan_json import dump_plan, parse_plan
from ooc_solve.models.problem import Problem
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.vocabulary import InputError, Network, Plan, Quantization, Result, Status, TaskKind
from ooc_solve.models.zoo_builder import Sketch, materialise
from ooc_solve.solver.allowance import excesses
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.pipelining import pipelined_plan
from ooc_solve.solver.streams import synchronize
from ooc_solve.solver.validate import Rule, validate
from ooc_solve.solver.workload import least_period
from ooc_solve.throughput import check_throughput, overlapped

pytestmark = pytest.mark.usefixtures("compiled_once")

FOREVER = 1e12


def small_network() -> Network:
    """Convolutions that keep the CPU busy, then layers that keep the card busy: both take about as long."""
    sketch = Sketch("small", (16, 16, 3), Quantization(0.05, 0))
    sketch.conv(16, 3)
    sketch.conv(16, 3)
    sketch.max_pool(2)
    sketch.dense(64)
    sketch.dense(10)
    return materialise(sketch.blueprint())


def small_problem(board: str = "f746-sd", io: str = "storage", objective: str = "latency") -> Problem:
    """That network in 24 KiB."""
    return problem_of(small_network(), target(board), 24 * 1024, objective, io)


@cache
def pipelined_run(
    frames: int, board: str = "f746-sd", io: str = "storage", objective: str = "latency"
) -> tuple[Problem, Plan]:
    """The pipelined run of so many frames: no clock ends the search."""
    problem = small_problem(board, io, objective)
    found = pipelined_plan(run_of(problem, frames), problem.network, FOREVER)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def found() -> tuple[Problem, Plan]:
    """A run of two frames."""
    return pipelined_run(2)


def kernels_of(plan: Plan) -> list[int]:
    """Stages of the kernels in the order in which they run."""
    return [task.stage for task in plan.graph.compute_tasks]


# ---------------------------------------------------------------------------------- plans


def test_kernels_of_both_parts_alternate(found: tuple[Problem, Plan]) -> None:
    """The plan is valid, its stages take turns, and it is shorter than its parts one after the other."""
    problem, plan = found
    assert validate(problem, plan) == ()
    assert plan.selection.turns
    assert kernels_of(plan) != sorted(kernels_of(plan))
    assert plan.figures.latency_ns < plan.figures.compute_ns + plan.figures.io_ns


def test_no_period_is_below_the_bound(found: tuple[Problem, Plan]) -> None:
    """The bound of the network that is not cut holds for the plans of all cuts."""
    bound = least_period(space_of(run_of(small_problem(), 2)))
    assert bound is not None
    assert bound <= found[1].figures.latency_ns < 1.5 * bound


def test_what_is_carried_is_not_made_too_early(found: tuple[Problem, Plan]) -> None:
    """A plan that makes the carried tensor before the one of the run before is read breaks a rule."""
    problem, plan = found
    wrong = replace(plan.selection, turns=())  # the front first, then the back
    graph = expand(problem, wrong)
    start, now = [0] * len(graph.tasks), 0
    for task in graph.tasks:
        start[task.index], now = now, now + task.duration_ns
    schedule = replace(plan.schedule, start_ns=tuple(start))
    broken = replace(
        plan, selection=wrong, graph=graph, schedule=schedule, streams=synchronize(graph, schedule)
    )
    assert Rule.UNWRITTEN in {violation.rule for violation in validate(problem, broken)}


def test_a_plan_file_keeps_turns(found: tuple[Problem, Plan]) -> None:
    """A plan with turns is the same after it was written and read."""
    problem, plan = found
    assert parse_plan(problem, dump_plan(problem, plan), "plan") == plan


def test_a_write_budget_is_for_each_inference(found: tuple[Problem, Plan]) -> None:
    """Two frames may write twice what one may, every time a run begins; the outputs alone are too much for less."""
    _, plan = found
    assert plan.figures.bytes_written == 2 * 512  # a granule for each output
    assert not excesses(run_of(replace(small_problem(), write_budget_bytes=512), 2), plan.figures)
    too_little = replace(small_problem(), write_budget_bytes=511)
    assert pipelined_plan(run_of(too_little, 2), too_little.network, FOREVER) is None


@pytest.mark.slow
@pytest.mark.parametrize("share", [1.01, 0.5])
def test_other_budgets_hold_for_each_inference(found: tuple[Problem, Plan], share: float) -> None:
    """Energy counts the storage and the waiting CPU for one period, a lifetime all that a run writes for its frames."""
    figures, base = found[1].figures, small_problem()
    assert figures.lifetime_years is not None
    for limits in (
        Limits(None, int(share * figures.energy_nj / 2), None),
        Limits(None, None, figures.lifetime_years / share),
    ):
        run = run_of(replace(base, limits=limits), 2)
        other = pipelined_plan(run, base.network, FOREVER)
        assert (other is None) is (share < 1)
        assert other is None or not excesses(run, other[1].figures)


# ------------------------------------------------------------------------- the better way


@pytest.fixture
def one_search(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the search finds is known."""
    monkeypatch.setattr("ooc_solve.throughput.pipelined_plan", lambda *_: pipelined_run(1))


def flight_of(period_ns: int) -> Flight:
    """One frame at a time as if a plan of that latency were known."""
    problem = small_problem()
    plan = pipelined_run(1)[1]
    plan = replace(plan, figures=replace(plan.figures, latency_ns=period_ns))
    result = Result("cp-sat", Status.FEASIBLE, plan, period_ns, period_ns // 2, 0.1)
    return Flight(1, problem, result, problem, (result,))


@pytest.mark.usefixtures("one_search")
def test_overlap_where_it_is_shorter() -> None:
    """The pipelined run is taken, with its bound, latency of an output, and what would be without it."""
    best = overlapped(flight_of(10**9), FOREVER)
    facts = frames_facts(best)
    assert best.problem.network.carried
    assert facts["bound"] <= facts["period_ns"] < 10**9
    assert facts["overlap"]["output_latency_ns"] == 2 * facts["period_ns"]
    assert facts["without_overlap"] == {"per_run": 1, "period_ns": 10**9, "value": 10**9}
    assert "overlap" in frames_words(best)


@pytest.mark.slow
def test_energy_of_overlapping_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is waited for less costs less: value and bound are energy, of an inference in the steady state."""
    problem, plan = pipelined_run(1, objective="energy")
    assert validate(problem, plan) == ()
    bound = least_period(space_of(replace(small_problem(objective="energy"), fine_groups=True)))
    assert bound is not None
    assert bound <= plan.figures.energy_nj < 1.5 * bound
    monkeypatch.setattr("ooc_solve.throughput.pipelined_plan", lambda *_: (problem, plan))
    alone = small_problem(objective="energy")
    known = Result("cp-sat", Status.FEASIBLE, plan, 2 * plan.figures.energy_nj, 1, 0.1)
    best = overlapped(Flight(1, alone, known, alone, (known,)), FOREVER)
    assert best.results[-1].objective == plan.figures.energy_nj
    assert frames_facts(best)["bound"] == bound
    assert frames_facts(best)["without_overlap"]["value"] == 2 * plan.figures.energy_nj
    assert "mJ each" in frames_words(best)


@pytest.mark.usefixtures("one_search")
def test_no_overlap_where_it_is_not() -> None:
    """A shorter plan without overlap stays, with a bound that holds for runs that overlap as well."""
    best = overlapped(flight_of(1000), FOREVER)
    assert not best.problem.network.carried
    assert best.results[-1].bound == 1000
    assert frames_facts(best)["overlap"] is None
    assert "No runs that overlap" in frames_words(best)
    assert "all that overlap could save is the rest" in frames_words(best)


def test_only_times_overlap(capsys: pytest.CaptureFixture[str]) -> None:
    """The objective wear, fronts and advice are refused in one line."""
    assert main(["zoo:autoencoder", "--throughput", "--objective", "wear", "--time-limit", "1"]) == 1
    assert "leave --throughput or --objective out" in capsys.readouterr().err
    with pytest.raises(InputError, match="has an NPU"):
        check_throughput(problem_of(small_network(), target("max78000-cnn")))
    assert main(["zoo:autoencoder", "--throughput", "--pareto"]) == 2
    assert "goes without" in capsys.readouterr().err


def test_command_and_python(tmp_path: Path) -> None:
    """The command writes report, page and facts; the interface of Python gives the same ones."""
    facts, page = tmp_path / "f.json", tmp_path / "p.html"
    options = ["--sram", "24KiB", "--throughput", "--time-limit", "1", "--scheduler", "demand-layering"]
    assert main(["zoo:autoencoder", *options, "--json", str(facts), "--report", str(page)]) == 0
    told = json.loads(facts.read_text())["frames"]
    assert told["bound"] <= told["period_ns"]
    assert "overlap" in told
    assert page.read_text()
    solved = api.solve(
        "zoo:autoencoder", "f746-sd", "24KiB", throughput=True, scheduler="demand-layering", time_limit=1
    )
    assert solved.flight is not None
    assert "overlap" in solved.to_dict()["frames"]


# ----------------------------------------------------------------------------------- runs


needs_make = pytest.mark.skipif(shutil.which("make") is None, reason="needs make and a C compiler")


def outputs_of(folder: Path, network: Network, count: int, arguments: str = "") -> bytes:
    """What the emitted project gives for so many frames; they are written to a file behind one another."""
    (name,), random = network.inputs, np.random.default_rng(5)
    shape = network.tensors[name].graph_shape
    frames = [random.integers(-128, 128, shape, dtype=np.int8) for _ in range(count)]
    (folder / "in.bin").write_bytes(b"".join(reference.pack_input(network, name, frame) for frame in frames))
    expected = [reference.run(network, {name: frame})[network.outputs[0]].tobytes() for frame in frames]
    (folder / "expected.bin").write_bytes(b"".join(expected))
    files = [f"INPUT={folder / 'in.bin'}", f"OUTPUT={folder / 'out.bin'}", f"ARGUMENTS={arguments}"]
    command = ["make", "-s", "-C", str(folder / "c"), "run", *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return (folder / "out.bin").read_bytes()


@needs_make
@pytest.mark.parametrize("frames", [pytest.param(1, marks=pytest.mark.slow), 2])
def test_every_frame_gets_its_output(frames: int, tmp_path: Path) -> None:
    """Three runs, and one more for the last of them: each output has the bytes of the reference, in any timing."""
    problem, plan = pipelined_run(frames)
    assert not check_tables(build_tables(problem, plan))
    write_project(problem, plan, tmp_path / "c", "run")
    made = outputs_of(tmp_path, small_network(), 3 * frames, "--seed 1 --runs 5")
    assert made == (tmp_path / "expected.bin").read_bytes()
    assert f"RUN_CARRIED {len(problem.network.carried)}\n" in (tmp_path / "c" / "run.h").read_text()


@needs_make
@pytest.mark.slow
@pytest.mark.skipif(not Path("/usr/include/mbedtls/gcm.h").is_file(), reason="needs libmbedtls-dev")
def test_sealed_runs_overlap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Records are opened between the kernels of both parts, and every frame gets the bytes of the reference."""
    sealed = encrypted(target("f746-sd"), "aes-128-gcm")
    base = problem_of(small_network(), sealed, 28 * 1024)
    found = pipelined_plan(run_of(base, 2), base.network, FOREVER)
    assert found is not None
    problem, plan = found
    assert any(task.kind is TaskKind.DECRYPT for task in plan.graph.tasks)
    (tmp_path / "key.bin").write_bytes(bytes(range(16)))
    write_project(problem, plan, tmp_path / "c", "run", bytes(range(16)))
    monkeypatch.setenv("KEY", str(tmp_path / "key.bin"))
    made = outputs_of(tmp_path, small_network(), 6, "--seed 1 --runs 3")
    assert made == (tmp_path / "expected.bin").read_bytes()


@needs_make
def test_other_sizes_and_retries_are_refused(found: tuple[Problem, Plan], tmp_path: Path) -> None:
    """A file that does not hold the inputs of whole runs, and what is not for such runs, is told in one line."""
    problem, plan = found
    write_project(problem, plan, tmp_path / "c", "run")
    (tmp_path / "in.bin").write_bytes(bytes(100))
    command = [
        "make",
        "-s",
        "-C",
        str(tmp_path / "c"),
        "run",
        f"INPUT={tmp_path / 'in.bin'}",
        "OUTPUT=out.bin",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "must hold 1536 bytes for each run (got 100)" in done.stderr
    done = subprocess.run([*command, "ARGUMENTS=--retry 1"], capture_output=True, text=True, check=False)
    assert "not for runs that overlap" in done.stderr


EMULATED = ("an386-qemu", "an505-qemu", "sf2-nor-qemu", "riscv-virt-qemu")


def need_machine(board: str) -> None:
    """Skip where the tools of a target's machine are missing."""
    machine = machine_of(target(board).board)
    assert machine is not None
    if not all(map(shutil.which, (machine.tools.compiler, machine.tools.emulator))):
        pytest.skip(f"needs {machine.tools.compiler} and {machine.tools.emulator}")


@needs_make
@pytest.mark.parametrize(
    ("board", "io"),
    [
        ("lm3s-qemu", "storage"),
        pytest.param("lm3s-qemu", "sram", marks=pytest.mark.slow),
        *(pytest.param(*pair, marks=pytest.mark.slow) for pair in product(EMULATED, ("storage", "sram"))),
    ],
)
def test_emulated_machines_give_the_same_bytes(board: str, io: str, tmp_path: Path) -> None:
    """Three runs of two frames and one more, inputs and outputs by the machine's own driver or in its SRAM."""
    need_machine(board)
    problem, plan = pipelined_run(2, board, io)
    write_project(problem, plan, tmp_path / "c", "run")
    assert outputs_of(tmp_path, small_network(), 6) == (tmp_path / "expected.bin").read_bytes()


@needs_make
@pytest.mark.slow
def test_the_period_is_that_of_the_machine(tmp_path: Path) -> None:
    """Where a machine moves bytes beside its kernels, the last run takes within 5 % of the period that was planned."""
    need_machine("an505-qemu")
    problem, plan = pipelined_run(2, "an505-qemu")
    took = measure(problem, plan, tmp_path)
    assert took.makespan_ns == pytest.approx(plan.figures.latency_ns, rel=0.05)
    assert len(took.events) == 2 * len(plan.graph.tasks)  # of one run
