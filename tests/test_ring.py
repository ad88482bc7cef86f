"""What reports say of rings and of parts without wear, and plans for a target whose flash must not be written."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ooc_solve.api import load, solve, target
from ooc_solve.cli import main
from ooc_solve.html_report import page
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_storage
from ooc_solve.models.vocabulary import Budget, Objective, Plan, Status
from ooc_solve.report import report, verdict
from ooc_solve.ring import ring_facts
from ooc_solve.solver.figures import figures_of, ring_of
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.solve import SCHEDULERS, cp_sat

TINY = ("ad_autoencoder_int8", "ic_resnet8_int8", "kws_dscnn_int8", "vww_mobilenetv1_025_96_int8")
OBJECTIVES = ("latency", "energy", "wear")


def spilling(name: str, io: IoPlace, ring_bytes: int | None) -> tuple[Problem, Plan]:
    """A network that spills most tensors, by a scheduler that needs no search, with one part for everything."""
    board = target("f746-sd")
    store = replace(board.weights, storage=load_storage(name))
    board = replace(board, weights=store, activations=store)
    problem = Problem(load("zoo:ds_cnn"), board, 13 << 10, io, scratch_ring_bytes=ring_bytes)
    plan = SCHEDULERS["serial"](problem, Budget(5.0, 1, 1)).plan
    assert plan is not None
    assert ring_bytes is None or ring_of(problem, plan.graph) is not None
    return problem, plan


def sentences(problem: Problem, plan: Plan) -> str:
    """The verdict on a plan."""
    result = SCHEDULERS["serial"](problem, Budget(5.0, 1, 1))
    return " ".join(verdict(problem, replace(result, plan=plan)))


def test_reports_tell_what_the_ring_brings() -> None:
    """Terminal and JSON have places, notes, and the lifetime with and without the ring."""
    problem, plan = spilling("w25q128jv", IoPlace.SRAM, 8 << 20)
    facts = ring_facts(problem, plan)
    assert facts is not None
    ring = ring_of(problem, plan.graph)
    assert ring is not None
    assert (facts["places"], facts["place_bytes"], facts["note_bytes"]) == (128, 65_536, 256)
    without = figures_of(replace(problem, scratch_ring_bytes=None), plan.graph, plan.schedule).lifetime_years
    assert facts["lifetime_years_without"] == without
    assert plan.figures.lifetime_years is not None
    assert without is not None
    assert plan.figures.lifetime_years > 50 * without
    words = sentences(problem, plan)
    assert "takes turns at 128 places of 65,536 bytes; in one place the storage would live " in words
    assert "each run first notes its place: 256 bytes, " in words
    result = SCHEDULERS["serial"](problem, Budget(5.0, 1, 1))
    found = json.loads(json.dumps(report(problem, [replace(result, plan=plan)])))
    assert found["scratch_ring"] == facts
    assert found["lifetime_years"] == plan.figures.lifetime_years
    assert sum(layer["energy_nj"] for layer in found["layers"]) == found["energy_nj"]
    assert "takes turns at 128 places" in page(problem, [replace(result, plan=plan)])


def test_an_output_in_storage_is_said_to_wear_most() -> None:
    """With the output in the flash its block is written in every run, which no ring changes."""
    problem, plan = spilling("w25q128jv", IoPlace.STORAGE, 8 << 20)
    assert "the output, which stays in one place, wears most (--io sram)" in sentences(problem, plan)


def test_a_ring_on_a_card_brings_nothing() -> None:
    """A card levels wear by itself, and the report says so."""
    problem, plan = spilling("sd-class10-tlc-32g", IoPlace.STORAGE, 1 << 20)
    assert "brings nothing here as sd-class10-tlc-32g levels wear by itself" in sentences(problem, plan)


@pytest.mark.parametrize(
    ("part", "kind"), [("aps6404l", "PSRAM"), ("mb85rs4mt", "FRAM"), ("em064lx", "MRAM")]
)
def test_parts_without_wear_say_so(part: str, kind: str) -> None:
    """RAM, ferroelectric and magnetic RAM live for ever, whatever is written."""
    problem, plan = spilling(part, IoPlace.STORAGE, None)
    assert plan.figures.bytes_written > 0
    assert plan.figures.lifetime_years is None
    assert f"The storage does not wear, as it is {kind} (" in sentences(problem, plan)


def test_nothing_spilled_uses_no_ring() -> None:
    """With SRAM for all tensors the ring is said not to be used, and the JSON has none."""
    found = solve(
        load("zoo:autoencoder"), target("f746-sd"), io="sram", scheduler="serial", scratch_ring="1MiB"
    )
    assert found.problem.scratch_ring_bytes == 1 << 20
    result = found.results[-1]
    assert result.plan is not None
    assert "The scratch ring is not used: nothing is spilled." in verdict(found.problem, result)
    assert report(found.problem, [result])["scratch_ring"] is None


def test_the_command_takes_a_ring(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The option reaches plan and report; a ring off the blocks ends in one line."""
    command = ["zoo:ds_cnn", "--target", "f746-sd", "--sram", "13KiB", "--scheduler", "serial"]
    assert main([*command, "--scratch-ring", "1MiB", "--json", str(tmp_path / "r.json")]) == 0
    facts = json.loads((tmp_path / "r.json").read_text())["scratch_ring"]
    assert facts["ring_bytes"] == 1 << 20
    assert facts["places"] == (1 << 20) // facts["place_bytes"] > 1
    capsys.readouterr()
    assert main([*command, "--scratch-ring", "1000"]) == 1
    told = capsys.readouterr().err
    assert told.startswith("ooc-solve: error: The scratch ring must be a multiple of the 512 bytes")
    assert len(told.splitlines()) == 1


# ------------------------------------------------------------ flash that must not be written


@pytest.mark.parametrize(
    "objective", [OBJECTIVES[0], *(pytest.param(o, marks=pytest.mark.slow) for o in OBJECTIVES[1:])]
)
@pytest.mark.parametrize("name", TINY)
def test_flash_without_activations_is_never_written(shared_models: Path, name: str, objective: str) -> None:
    """With the least SRAM there is a plan that writes nothing; with less it is infeasible, and the least is told."""
    network = load(str(shared_models / "mlperf_tiny" / f"{name}.onnx"))
    full = Problem(network, target("nrf52840-nor"), 212_992, IoPlace.SRAM, Objective(objective))
    least = least_sram(full)
    assert least is not None
    found = cp_sat(replace(full, sram_bytes=least.sram_bytes), Budget(4.0, 1, 1))
    assert found.plan is not None, found.reason
    assert (found.plan.figures.bytes_written, found.plan.figures.lifetime_years) == (0, None)
    below = cp_sat(replace(full, sram_bytes=least.bound_bytes - 8), Budget(8.0, 1, 1))
    assert least.bound_bytes <= least.sram_bytes
    assert below.status is Status.INFEASIBLE
    assert f"the least SRAM known to work is {least.sram_bytes} bytes" in below.reason
