"""Real networks in half of the SRAM that they need in core, with weights on two stores, give onnxruntime's bytes."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ooc_solve.codegen.project import write_project
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.reference import pack_input, unpack_output
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Network, Plan, RegionName, Selection
from ooc_solve.models.zoo import zoo_network
from ooc_solve.report import report, verdict
from ooc_solve.solver.ordering import least_peak, peak_bytes
from ooc_solve.solver.plans import checked, plan_of
from ooc_solve.solver.search import evaluate
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.solver.validate import Rule, validate
from ooc_solve.storage_use import uses_of

pytestmark = pytest.mark.usefixtures("compiled_once")

MODELS = (
    "ad_autoencoder_ort_qop_u8s8",
    "ic_resnet8_ort_qop_u8s8",
    "kws_dscnn_ort_qop_u8s8",
    "vww_mobilenetv1_025_96_ort_qop_u8s8",
)

compiled = pytest.mark.skipif(
    not (shutil.which("make") and shutil.which("cc")), reason="needs make and a C compiler"
)


def half_of_need(network: Network, target: str) -> Problem:
    """The network on a target with half of what all weights and the busiest tensors take."""
    order = least_peak(network, IoPlace.STORAGE).order
    need = peak_bytes(network, IoPlace.STORAGE, order) + sum(op.weight_bytes for op in network.ops)
    return Problem(network, load_target(target), (RESERVED_BYTES + need) // 2, IoPlace.STORAGE)


def spread_plan(problem: Problem) -> Plan:
    """The plan of a rule, with the weights of every second operator in the annex."""
    found = SCHEDULERS["demand-layering"](problem, Budget()).plan
    assert found is not None
    here = ordered(problem, found.selection.order)
    weighty = [k for k, op in enumerate(here.network.ops) if op.weights is not None]
    tilings = tuple(replace(t, annex=k in weighty[::2]) for k, t in enumerate(found.selection.tilings))
    candidate = evaluate(here, replace(found.selection, tilings=tilings))
    assert candidate is not None
    return plan_of(here, candidate, "by hand")


def compare_runs(problem: Problem, plan: Plan, samples: Path, folder: Path) -> None:
    """Emit, build and run a plan; the output must be that of the sample."""
    here = ordered(problem, plan.selection.order)
    write_project(problem, plan, folder / "out", "net")
    network, known = here.network, np.load(samples)
    content = pack_input(network, network.inputs[0], known["input"][:1])
    (folder / "in.bin").write_bytes(content)
    command = ["make", "-s", "-C", str(folder / "out"), "run", f"INPUT={folder / 'in.bin'}",
               f"OUTPUT={folder / 'out.bin'}", "CFLAGS=-O1", "ARGUMENTS=--seed 1 --runs 2"]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found = unpack_output(network, network.outputs[0], (folder / "out.bin").read_bytes())
    np.testing.assert_array_equal(found, known["output_0"][:1].reshape(found.shape))


@compiled
@pytest.mark.parametrize("model", MODELS)
def test_runs_equal_onnxruntime(shared_models: Path, tmp_path: Path, model: str) -> None:
    """Half of the weights from flash, half from the card, beside spilled tensors: not a byte differs."""
    path = shared_models / "mlperf_tiny" / f"{model}.onnx"
    problem = half_of_need(read_onnx(path), "h747-qspi-sd")
    plan = spread_plan(problem)
    sizes = {region.name: region.size_bytes for region in plan.graph.regions}
    assert min(sizes[RegionName.IMAGE], sizes[RegionName.ANNEX]) > 1000
    compare_runs(problem, plan, path.with_suffix(".npz"), tmp_path)


@compiled
@pytest.mark.slow
@pytest.mark.parametrize("target", ["h747-qspi-sd", "rt1060-flash-sdram-sd"])
@pytest.mark.parametrize("model", MODELS)
def test_plans_of_the_solver_run(shared_models: Path, tmp_path: Path, model: str, target: str) -> None:
    """What the solver chooses runs as well, and none of its plans is below its bound."""
    path = shared_models / "mlperf_tiny" / f"{model}.onnx"
    problem = half_of_need(read_onnx(path), target)
    result = SCHEDULERS["cp-sat"](problem, Budget(20.0))
    assert result.plan is not None
    assert result.objective is not None
    assert result.bound <= result.objective
    checked(ordered(problem, result.plan.selection.order), result.plan)
    compare_runs(problem, result.plan, path.with_suffix(".npz"), tmp_path)


def test_a_plan_that_uses_both_is_faster() -> None:
    """Where loading weights is all that takes time, moving some of them to the card makes the plan faster."""
    network = zoo_network("autoencoder")
    problem = half_of_need(network, "h747-qspi-sd")
    alone = SCHEDULERS["demand-layering"](problem, Budget()).plan
    assert alone is not None
    sizes = [op.weight_bytes for op in network.ops]
    largest = sizes.index(max(sizes))
    tilings = tuple(replace(t, annex=k == largest) for k, t in enumerate(alone.selection.tilings))
    candidate = evaluate(problem, Selection(tilings, alone.selection.kept, alone.selection.order))
    assert candidate is not None
    both = plan_of(problem, candidate, "by hand")
    assert both.figures.latency_ns < alone.figures.latency_ns


def test_the_validator_knows_where_weights_lie() -> None:
    """A record loaded from the other store, and an annex that the target does not have, are reported."""
    problem = half_of_need(zoo_network("ds_cnn"), "h747-qspi-sd")
    plan = spread_plan(problem)
    assert not validate(problem, plan)
    tasks = list(plan.graph.tasks)
    load = next(t for t in tasks if t.transfer is not None and t.transfer.region is RegionName.ANNEX)
    assert load.transfer is not None
    tasks[load.index] = replace(load, transfer=replace(load.transfer, region=RegionName.IMAGE))
    moved = replace(plan, graph=replace(plan.graph, tasks=tuple(tasks)))
    assert {Rule.COVERAGE, Rule.RESOURCE} <= {violation.rule for violation in validate(problem, moved)}
    alone = replace(problem, target=replace(problem.target, annex=None, parts=()))
    assert Rule.STRUCTURE in {violation.rule for violation in validate(alone, plan)}


def test_reports_say_what_lies_where() -> None:
    """The JSON report and the verdict name each part with its regions and what is moved."""
    problem = half_of_need(zoo_network("ds_cnn"), "h747-qspi-sd")
    plan = spread_plan(problem)
    nor, card = uses_of(problem, plan)
    assert (nor.storage, nor.channel, card.channel) == ("w25q128jv", "qspi", "sdmmc1")
    assert {name for name, _ in nor.regions} == {"image"}
    assert {"annex", "input", "output"} <= {name for name, _ in card.regions}
    assert nor.bytes_read + card.bytes_read == plan.figures.bytes_read
    result = replace(SCHEDULERS["demand-layering"](problem, Budget()), plan=plan)
    assert report(problem, [result])["stores"][1]["regions"]["annex"] == dict(card.regions)["annex"]
    assert any(line.startswith("On w25q128jv at port qspi: image (") for line in verdict(problem, result))
