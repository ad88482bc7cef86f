"""Networks whose operators run in another order than the model lists them, end to end."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ooc_solve.codegen.project import write_project
from ooc_solve.codegen.simulate import durations_of, simulate_tables
from ooc_solve.models import reference
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.plan_json import dump_plan, parse_plan, plan_hash
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Network, Plan, Quantization
from ooc_solve.models.zoo import zoo_network
from ooc_solve.models.zoo_builder import Sketch, materialise
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import demand_layering, reorder_first
from ooc_solve.solver.ordering import least_peak, peak_bytes
from ooc_solve.solver.solve import cp_sat
from ooc_solve.solver.validate import Rule, validate

needs_compiler = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("gcc") is None, reason="needs make and gcc"
)


def inception() -> Network:
    """Three branches that widen and narrow, listed layer by layer, and joined along channels."""
    net = Sketch("inception", (16, 16, 3), Quantization(1 / 256, -128))
    stem = net.conv(8, 3, pads=1)
    wide = [net.conv(24, 3, pads=1, source=stem) for _ in range(3)]
    ends = [net.conv(4, 3, pads=1, source=source, scale_key="ends") for source in wide]
    net.concat(net.concat(ends[0], ends[1]), ends[2])
    net.conv(8, 3, pads=1)
    net.global_average()
    net.dense(5)
    return materialise(net.blueprint())


CASES = [("inception", "f746-sd", 10), ("resnet8", "f746-sd", 32), ("resnet8", "l4r5-sdspi", 16)]


def problem_of(name: str, target: str, kib: int) -> Problem:
    """A network in so much SRAM."""
    network = inception() if name == "inception" else zoo_network(name)
    return Problem(network, load_target(target), kib * 1024, IoPlace.STORAGE)


def reordered(problem: Problem) -> Plan:
    """The plan of `reorder_first`, in an order other than the model's."""
    plan = reorder_first(problem, Budget()).plan
    assert plan is not None
    assert plan.selection.order != ()
    return plan


def run_on_host(folder: Path, content: bytes) -> bytes:
    """Build an emitted project with sanitizers and run one inference."""
    (folder / "in.bin").write_bytes(content)
    files = [f"INPUT={folder / 'in.bin'}", f"OUTPUT={folder / 'out.bin'}"]
    flags = "EXTRA_CFLAGS=-Werror -g -fsanitize=address,undefined -fno-sanitize-recover=all"
    command = ["make", "-s", "-C", str(folder / "c"), "run", "CC=gcc", flags, *files]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return (folder / "out.bin").read_bytes()


@needs_compiler
@pytest.mark.parametrize(("name", "target", "kib"), CASES)
def test_the_same_bytes_in_another_order(tmp_path: Path, name: str, target: str, kib: int) -> None:
    """A plan in another order passes the validator, and what is emitted from it gives the reference's bytes."""
    problem = problem_of(name, target, kib)
    plan = reordered(problem)
    assert validate(problem, plan) == ()
    project = write_project(problem, plan, tmp_path / "c", "reordered")
    assert simulate_tables(project.tables, durations_of(plan)).makespan_ns == plan.figures.latency_ns
    network = problem.network
    source, sink = network.inputs[0], network.outputs[0]
    sample = np.random.default_rng(7).integers(-128, 128, network.tensors[source].graph_shape, np.int8)
    got = run_on_host(tmp_path, reference.pack_input(network, source, sample))
    want = reference.run(network, {source: sample})[sink]
    assert got[: want.nbytes] == want.tobytes()


def test_the_order_halves_the_peak() -> None:
    """Finishing each branch before the next needs half the memory of opening all of them."""
    problem = problem_of(*CASES[0])
    listed, least = tuple(range(len(problem.network.ops))), least_peak(problem.network, problem.io).order
    assert peak_bytes(problem.network, problem.io, listed) == 20 * 1024
    assert peak_bytes(problem.network, problem.io, least) == 10 * 1024


def test_a_plan_in_another_order_as_a_file() -> None:
    """The order is part of the plan's file and of its hash; read back, the plan is right for the problem."""
    problem = problem_of(*CASES[0])
    plan = reordered(problem)
    again = parse_plan(problem, dump_plan(problem, plan), "plan.json")
    assert again == plan
    assert validate(problem, again) == ()
    listed = replace(plan, selection=replace(plan.selection, order=()))
    assert plan_hash(problem, listed) != plan_hash(problem, plan)
    assert plan_hash(ordered(problem, plan.selection.order), plan) == plan_hash(problem, plan)


def test_the_validator_goes_by_the_order_of_the_plan() -> None:
    """A plan that names another order than its tiles are for, or one that cannot be, is refused."""
    problem = problem_of(*CASES[0])
    plan = reordered(problem)
    for order in (plan.selection.order[::-1], (0,)):
        wrong = replace(plan, selection=replace(plan.selection, order=order))
        assert {violation.rule for violation in validate(problem, wrong)} == {Rule.STRUCTURE}, order
    listed = replace(plan, selection=replace(plan.selection, order=()))
    assert validate(problem, listed) != ()
    with pytest.raises(SelectionError, match="another order"):
        expand(problem, plan.selection)


def test_reorder_first_keeps_an_order_without_choice() -> None:
    """Where the model's own order has the least peak, the plan is that of demand layering, and it says so."""
    problem = problem_of("ds_cnn", "f746-sd", 16)
    first, layered = reorder_first(problem, Budget()), demand_layering(problem, Budget())
    assert first.plan is not None
    assert layered.plan is not None
    assert first.plan.schedule == layered.plan.schedule
    assert "the model's own order" in first.reason
    assert reorder_first(problem_of(*CASES[0]), Budget()).reason == ""


def test_the_search_is_not_worse_than_another_order() -> None:
    """CP-SAT takes the plan of `reorder_first` where that is the better one, with a bound that holds for it."""
    problem = problem_of("resnet8", "f746-sd", 32)
    other = reorder_first(problem, Budget())
    found = cp_sat(problem, Budget(1.0, 1, 1))
    assert found.objective is not None
    assert other.objective is not None
    assert found.bound <= found.objective <= other.objective
    assert found.plan is not None
    assert validate(problem, found.plan) == ()
