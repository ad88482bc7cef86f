"""Plans with an NPU: chosen per operator, checked by the validator, bounded, told, and never emitted as C."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ooc_solve.cli import main
from ooc_solve.codegen.project import write_project
from ooc_solve.models.npu import held_bytes, offered, whole_tiling
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, InputError, Plan, Target
from ooc_solve.models.zoo import zoo_network
from ooc_solve.report import verdict
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.solver.validate import Rule, validate


def problem_on(target: Target, kib: int = 256, network: str = "resnet8") -> Problem:
    """A network on a target, input and output in SRAM."""
    return Problem(zoo_network(network), target, kib << 10, IoPlace.SRAM)


def ruled(problem: Problem) -> Plan:
    """The plan of a rule that chooses its tilings by the selection model."""
    plan = SCHEDULERS["demand-layering"](problem, Budget()).plan
    assert plan is not None
    return plan


@pytest.fixture(scope="module")
def planned() -> tuple[Problem, Plan]:
    """ResNet-8 on a board with an NPU that holds all its weights."""
    problem = problem_on(load_target("max78000-cnn"))
    return problem, ruled(problem)


def test_the_npu_is_chosen_where_it_is_faster(planned: tuple[Problem, Plan]) -> None:
    """All that can run there does, nothing but the softmax table is loaded, and the plan beats that of the CPU."""
    problem, plan = planned
    assert sum(tiling.npu for tiling in plan.selection.tilings) == len(
        offered(problem.target, problem.network)
    )
    alone = ruled(problem_on(replace(problem.target, npu=None)))
    assert plan.figures.latency_ns < alone.figures.latency_ns
    assert plan.figures.bytes_read < 2048 < alone.figures.bytes_read
    assert not validate(problem, plan)


def test_what_does_not_fit_runs_on_the_cpu(planned: tuple[Problem, Plan]) -> None:
    """With a small weight memory both units compute, and the memory is not exceeded."""
    target = planned[0].target
    assert target.npu is not None
    problem = problem_on(replace(target, npu=replace(target.npu, weight_mem_bytes=20_000)))
    plan = ruled(problem)
    assert not validate(problem, plan)
    assert 0 < held_bytes(problem.network, plan.selection.tilings) <= 20_000
    weighty = [
        t.npu
        for op, t in zip(problem.network.ops, plan.selection.tilings, strict=True)
        if op.weights is not None
    ]
    assert set(weighty) == {True, False}


def test_the_cpu_is_chosen_where_it_is_faster() -> None:
    """An NPU that takes long to start computes large operators only."""
    problem = problem_on(load_target("n6-neural-art"), network="mobilenet_v1_025_96")
    plan = ruled(problem)
    chosen = [tiling.npu for tiling in plan.selection.tilings]
    assert set(chosen) == {True, False}
    assert not validate(problem, plan)


def test_the_validator_knows_the_limits(planned: tuple[Problem, Plan]) -> None:
    """Too many weights, too large tensors, or no NPU at all are reported, with the bytes in excess."""
    problem, plan = planned
    unit = problem.target.npu
    assert unit is not None
    held = held_bytes(problem.network, plan.selection.tilings)
    small = replace(problem, target=replace(problem.target, npu=replace(unit, weight_mem_bytes=held - 7)))
    (found,) = (v for v in validate(small, plan) if v.rule is Rule.NPU)
    assert found.bytes == 7
    narrow = replace(problem, target=replace(problem.target, npu=replace(unit, data_mem_bytes=100)))
    assert Rule.NPU in {violation.rule for violation in validate(narrow, plan)}


def test_only_whole_operators_in_sram_run_there(planned: tuple[Problem, Plan]) -> None:
    """A tile of an operator, a kind without support, and too many weights are no selections."""
    problem, plan = planned
    tilings = plan.selection.tilings
    piece = replace(tilings[0], rows=4)
    with pytest.raises(SelectionError, match="cannot run on an NPU"):
        expand(problem, replace(plan.selection, tilings=(piece, *tilings[1:])))
    last = problem.network.ops[-1]
    with pytest.raises(SelectionError, match="cannot run on an NPU"):
        expand(problem, replace(plan.selection, tilings=(*tilings[:-1], whole_tiling(problem.network, last))))
    unit = problem.target.npu
    assert unit is not None
    small = replace(problem, target=replace(problem.target, npu=replace(unit, weight_mem_bytes=40_000)))
    with pytest.raises(SelectionError, match="the weight memory of"):
        expand(small, plan.selection)


def test_no_c_is_emitted_for_an_npu(planned: tuple[Problem, Plan], tmp_path: Path) -> None:
    """Asked for C, the product says in one sentence that there is none, and writes nothing."""
    problem, plan = planned
    with pytest.raises(InputError, match="C is emitted for kernels of the CPU alone") as error:
        write_project(problem, plan, tmp_path / "out", "net")
    assert len(str(error.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_the_command_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """With -o the command ends with exit code 1 and one line."""
    out = tmp_path / "out"
    arguments = ["zoo:resnet8", "--target", "max78000-cnn", "--scheduler", "demand-layering", "-o", str(out)]
    assert main([*arguments, "--no-compare"]) == 1
    told = " ".join(capsys.readouterr().err.split())
    assert "leave 'npu' out of the target file to emit." in told
    assert not out.exists()


def test_the_verdict_says_when_weights_are_loaded(planned: tuple[Problem, Plan]) -> None:
    """Once at start-up into a memory of its own, or from flash while the NPU computes."""
    problem, plan = planned
    result = replace(SCHEDULERS["demand-layering"](problem, Budget()), plan=plan)
    (line,) = (line for line in verdict(problem, result) if line.startswith("NPU"))
    assert line.startswith(
        "NPU 'cnn' computes 14 of 15 operators; their 78.2 KiB of weights lie in its memory of 432.0 KiB"
    )
    unit = load_target("n6-neural-art")
    streaming = replace(problem, target=unit)
    assert "from flash meanwhile" in " ".join(verdict(streaming, result))
