"""Schedulers that decide by rules: every plan is right, and each rule does what its name says."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Plan, Result, Status, TaskKind
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.heuristics import fusion_path, patch_first
from ooc_solve.solver.ruled_plans import HEURISTICS
from ooc_solve.solver.validate import validate

Problems = Callable[..., SearchStrategy[Problem]]

RULES = {**HEURISTICS, "patch-first": patch_first, "fusion-path": fusion_path}

CASES = [("resnet8", "f746-sd", 32), ("ds_cnn", "l4r5-sdspi", 12), ("autoencoder", "rp2350-psram", 16)]


@cache
def solved(rule: str, name: str, target: str, kib: int) -> tuple[Problem, Result]:
    """What a rule finds for a built-in network."""
    problem = Problem(zoo_network(name), load_target(target), kib << 10, IoPlace.STORAGE)
    return problem, RULES[rule](problem, Budget())


@pytest.mark.parametrize("case", CASES, ids=str)
@pytest.mark.parametrize("rule", RULES)
def test_plans_of_real_networks(rule: str, case: tuple[str, str, int]) -> None:
    """Every rule has a plan, it breaks nothing, and it is called by the name of the rule."""
    problem, result = solved(rule, *case)
    assert result.plan is not None
    assert validate(problem, result.plan) == ()
    assert result.scheduler == result.plan.scheduler == rule.replace("-", " ")


@settings(max_examples=40, deadline=None)
@given(data=st.data(), rule=st.sampled_from(sorted(RULES)))
def test_plans_of_random_networks(data: st.DataObject, rule: str, problems: Problems) -> None:
    """Where a rule finds a plan it breaks nothing; where it finds none it says why."""
    problem = data.draw(problems())
    result = RULES[rule](problem, Budget())
    if result.plan is None:
        assert result.status is Status.INFEASIBLE
        assert result.reason
    else:
        assert validate(problem, result.plan) == ()


def makespans(name: str, target: str, kib: int) -> dict[str, int]:
    """Latency of the plan of each rule."""
    results = {rule: solved(rule, name, target, kib)[1] for rule in RULES}
    return {rule: r.plan.figures.latency_ns for rule, r in results.items() if r.plan is not None}


def test_fetching_early_takes_time_off() -> None:
    """Serial is the slowest of the rules that share its tiles; those that fetch early are faster."""
    found = makespans(*CASES[0])
    shared = ("double-buffering", "demand-layering", "swap-list", "flexnn-like", "assignment-model")
    assert all(found[rule] < found["serial"] for rule in shared)


def starts(plan: Plan, kind: TaskKind) -> list[int]:
    """Tasks of a kind by start."""
    tasks = [task for task in plan.graph.tasks if task.kind is kind]
    return [task.index for task in sorted(tasks, key=lambda task: plan.schedule.start_ns[task.index])]


def test_flexnn_fetches_weights_in_order_of_use() -> None:
    """Weights arrive in the order in which the kernels use them."""
    _, result = solved("flexnn-like", "ds_cnn", "f746-sd", 24)
    assert result.plan is not None
    weights = {
        t.index for t in result.plan.graph.tasks if t.transfer and not t.after and t.kind is TaskKind.LOAD
    }
    order = [load for load in starts(result.plan, TaskKind.LOAD) if load in weights]
    assert order == sorted(order)


def test_the_assignment_model_keeps_to_its_gates() -> None:
    """The same problem has the same plan each time: the model's limit is no time limit."""
    problem, result = solved("assignment-model", *CASES[1])
    assert result.plan is not None
    assert RULES["assignment-model"](problem, Budget()).plan == result.plan


def fused(plan: Plan) -> list[bool]:
    """For each operator whether it is computed patch by patch with the one behind it."""
    return [tiling.patch is not None for tiling in plan.selection.tilings]


def test_patch_first_fuses_the_first_operators_only() -> None:
    """The large feature maps at the front are never whole, and nothing behind them is fused."""
    _, result = solved("patch-first", "mobilenet_v1_025_96", "f746-sd", 32)
    assert result.plan is not None
    begins = fused(result.plan)
    assert begins[0]
    assert not any(begins[begins.index(False) :])
    assert not any(t.patch and t.patch.ring_rows for t in result.plan.selection.tilings)


def test_fusion_writes_less() -> None:
    """Fusing the large layers spares the writes that every plan of single stages needs in so little SRAM."""
    written = {
        rule: result.plan.figures.bytes_written
        for rule in RULES
        if (result := solved(rule, "mobilenet_v1_025_96", "f746-sd", 32)[1]).plan is not None
    }
    single = min(count for rule, count in written.items() if rule not in ("patch-first", "fusion-path"))
    assert written["fusion-path"] < written["patch-first"] < single
