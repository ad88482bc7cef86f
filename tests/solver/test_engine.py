"""Tasks that open and seal, on an engine beside the CPU or on the CPU: in every plan, bound and check."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import replace

import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import CRYPTO, Budget, Objective, Plan, Task, TaskGraph, TaskKind
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.relaxation import Relaxation, latency_bound
from ooc_solve.solver.selection import Aim, SelectionModel, build_space
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.solver.validate import Rule, validate

RULES = ("serial", "double-buffering", "demand-layering", "swap-list", "assignment-model")


def problem_of(name: str, kib: int, beside: bool, target: str = "f746-qspi-sdram") -> Problem:
    """A network on a target where software, or an engine that is as slow, opens and seals."""
    system = encrypted(load_target(target), "aes-128-gcm")
    assert system.crypto is not None
    if beside:
        system = replace(system, crypto=replace(system.crypto, engine="hw", cpu_busy=False))
    return Problem(zoo_network(name), system, kib << 10, IoPlace.STORAGE)


@pytest.fixture(scope="module")
def spilling() -> Problem:
    """A problem whose plans spill sealed rows, with an engine."""
    return problem_of("mobilenet_v1_025_96", 32, True)


@pytest.fixture(scope="module")
def plan(spilling: Problem) -> Plan:
    """A right plan with all kinds of tasks."""
    found = SCHEDULERS["demand-layering"](spilling, Budget(5.0, 1, 1)).plan
    assert found is not None
    assert validate(spilling, found) == ()
    return found


def of_kind(graph: TaskGraph, kind: TaskKind) -> list[Task]:
    """Tasks of one kind."""
    return [task for task in graph.tasks if task.kind is kind]


def test_software_has_the_tasks_of_the_engine(spilling: Problem, plan: Plan) -> None:
    """Tasks are the same with software, but those that open and seal run on the CPU, which has as much more to do."""
    software = replace(spilling, target=problem_of("ds_cnn", 32, False).target)
    graph, engine = expand(software, plan.selection), expand(spilling, plan.selection)
    assert [replace(t, resource="") for t in graph.tasks] == [replace(t, resource="") for t in engine.tasks]
    assert {task.kind for task in graph.tasks} == set(TaskKind)
    assert CRYPTO not in graph.resources
    busy: Counter[str] = Counter()
    for graph_ in (graph, engine):
        for task in graph_.tasks:
            busy[f"{task.resource} {graph_ is graph}"] += task.duration_ns
    assert busy["cpu True"] - busy["cpu False"] == busy[f"{CRYPTO} False"] > 0


def test_every_sealed_transfer_has_its_task(plan: Plan) -> None:
    """Loads of sealed records are opened before anybody reads them, and tiles sealed before they are stored."""
    tasks = plan.graph.tasks
    sealed = [t for t in of_kind(plan.graph, TaskKind.LOAD) if t.transfer and t.transfer.sealed_records]
    assert [t.after for t in of_kind(plan.graph, TaskKind.DECRYPT)] == [(load.index,) for load in sealed]
    assert not {load.index for load in sealed} & {
        other for task in plan.graph.compute_tasks for other in task.after
    }
    for store in of_kind(plan.graph, TaskKind.STORE):
        (before,) = store.after
        inside = store.transfer is not None and store.transfer.sealed_records > 0
        assert tasks[before].kind is (TaskKind.ENCRYPT if inside else TaskKind.COMPUTE)
        assert not inside or tasks[before].transfer == store.transfer


@pytest.mark.parametrize("scheduler", [*RULES, "fusion-path", "cp-sat"])
def test_the_cpu_opens_between_kernels(scheduler: str) -> None:
    """With software every scheduler makes a right plan, none below the bound; loads are opened while others come."""
    problem = problem_of("ds_cnn", 16, False, "f746-sd")
    plan = SCHEDULERS[scheduler](problem, Budget(5.0, 1, 1)).plan
    assert plan is not None
    assert validate(problem, plan) == ()
    assert latency_bound(problem, deadline=time.monotonic() + 20).value_ns <= plan.figures.latency_ns
    tasks, start = plan.graph.tasks, plan.schedule.start_ns
    opened = of_kind(plan.graph, TaskKind.DECRYPT)
    assert {task.resource for task in opened} == {problem.compute_resource}
    loads = of_kind(plan.graph, TaskKind.LOAD)
    ends = {load.index: start[load.index] + load.duration_ns for load in loads}
    needed = {
        t: {tasks[o].after[-1] for o in t.after if tasks[o].kind is TaskKind.DECRYPT}
        for t in plan.graph.compute_tasks
    }
    early = [
        opening.index
        for kernel, own in needed.items()
        for opening in opened
        if opening.index in kernel.after and start[opening.index] < max(ends[load] for load in own)
    ]
    assert early or scheduler == "serial"


@pytest.mark.parametrize("scheduler", RULES)
def test_rules_hide_what_an_engine_does(scheduler: str) -> None:
    """Every rule makes a right plan that is no longer than with software as fast, and none is below the bound."""
    latency = {}
    for beside in (False, True):
        problem = problem_of("ds_cnn", 24, beside, "f746-sd")
        found = SCHEDULERS[scheduler](problem, Budget(5.0, 1, 1)).plan
        assert found is not None
        assert validate(problem, found) == ()
        latency[beside] = found.figures.latency_ns
        assert latency_bound(problem).value_ns <= latency[beside]
    assert latency[True] < latency[False] or (scheduler == "serial" and latency[True] == latency[False])


def test_bounds_know_the_engine() -> None:
    """With an engine slow enough the bound is its work, and no plan is below that of any objective."""
    problem = problem_of("ds_cnn", 24, True, "f746-sd")
    assert problem.target.crypto is not None
    crypto = replace(problem.target.crypto, cycles_per_byte=1000.0)
    slow = replace(problem, target=replace(problem.target, crypto=crypto))
    found = SCHEDULERS["demand-layering"](slow, Budget(5.0, 1, 1)).plan
    assert found is not None
    work = sum(task.duration_ns for task in of_kind(found.graph, TaskKind.DECRYPT))
    assert work <= found.figures.latency_ns
    assert 0.9 * work < latency_bound(slow).value_ns <= found.figures.latency_ns
    least = SelectionModel(build_space(slow)).solve(Aim.MAKESPAN_BOUND, Budget(5.0, 1, 1))
    assert 0.9 * work < least.bound <= found.figures.latency_ns
    assert Relaxation(replace(slow, objective=Objective.ENERGY)).bound <= found.figures.energy_nj


def test_an_engine_takes_energy() -> None:
    """Each byte that is opened costs what the board file says of the engine, and budgets and checks know it."""
    problem = replace(problem_of("ds_cnn", 24, True, "f746-sd"), objective=Objective.ENERGY)
    assert problem.target.crypto is not None
    hungry = replace(
        problem, target=replace(problem.target, crypto=replace(problem.target.crypto, nj_per_byte=2.5))
    )
    found = [SCHEDULERS["demand-layering"](it, Budget(5.0, 1, 1)).plan for it in (problem, hungry)]
    assert found[0] is not None
    assert found[1] is not None
    opened = [t.transfer.sealed_bytes for t in of_kind(found[1].graph, TaskKind.DECRYPT) if t.transfer]
    assert found[0].schedule == found[1].schedule
    extra = found[1].figures.energy_nj - found[0].figures.energy_nj
    assert abs(extra - 2.5 * sum(opened)) <= 1
    assert sum(opened) > 0
    assert validate(hungry, found[1]) == ()
    assert Relaxation(hungry).bound <= found[1].figures.energy_nj


def changed(plan: Plan, index: int, **fields: object) -> Plan:
    """The plan with one task changed."""
    tasks = list(plan.graph.tasks)
    tasks[index] = replace(tasks[index], **fields)  # type: ignore[arg-type]
    return replace(plan, graph=replace(plan.graph, tasks=tuple(tasks)))


def started(plan: Plan, index: int, start_ns: int) -> Plan:
    """The plan with another start of one task."""
    start = list(plan.schedule.start_ns)
    start[index] = start_ns
    return replace(plan, schedule=replace(plan.schedule, start_ns=tuple(start)))


def test_broken_plans_are_told(spilling: Problem, plan: Plan) -> None:
    """A crypto task on another resource, too short, too early, or left out of what waits is told by its rule."""
    for kind in (TaskKind.DECRYPT, TaskKind.ENCRYPT):
        task = of_kind(plan.graph, kind)[1]
        start = plan.schedule.start_ns[task.index]
        for broken, rule in (
            (changed(plan, task.index, resource="cpu"), Rule.RESOURCE),
            (changed(plan, task.index, duration_ns=task.duration_ns - 1), Rule.DURATION),
            (changed(plan, task.index, after=()), Rule.COVERAGE),
            (changed(plan, task.index, writes=()), Rule.STRUCTURE),
            (started(plan, task.index, start - 1), Rule.PRECEDENCE),
        ):
            if rule is Rule.PRECEDENCE and start != max(
                plan.schedule.start_ns[k] + plan.graph.tasks[k].duration_ns for k in task.after
            ):
                broken = started(plan, task.index, 0)
            assert rule in {found.rule for found in validate(spilling, broken)}, (kind, rule)


def test_without_dma_the_cpu_waits() -> None:
    """Where nothing overlaps with the CPU, it feeds the engine: what that does are tasks of the CPU."""
    problem = problem_of("ds_cnn", 24, True, "lm3s-qemu")
    assert problem.target.engine is None
    found = SCHEDULERS["serial"](problem, Budget(5.0, 1, 1)).plan
    assert found is not None
    assert found.graph.resources == (problem.compute_resource,)
    assert of_kind(found.graph, TaskKind.DECRYPT)
    assert validate(problem, found) == ()


@pytest.mark.parametrize("scheduler", ["demand-layering", "flexnn-like"])
def test_records_interrupt_kernels(scheduler: str) -> None:
    """Where requests take the CPU's time, each record costs its own on the engine, and kernels end later."""
    problem = problem_of("ds_cnn", 24, True, "f746-sd")
    runtime = replace(problem.target.runtime, cycles_per_request=5000.0)
    costly = replace(problem, target=replace(problem.target, runtime=runtime))
    latency = []
    for it in (problem, costly):
        found = SCHEDULERS[scheduler](it, Budget(5.0, 1, 1)).plan
        assert found is not None
        assert validate(it, found) == ()
        latency.append(found)
    before, after = latency
    assert before.selection == after.selection
    request_ns = 5000 * 1_000_000_000 // problem.target.board.clock_hz
    for a, b in zip(before.graph.tasks, after.graph.tasks, strict=True):
        if a.kind is TaskKind.DECRYPT:
            assert a.transfer is not None
            assert b.duration_ns - a.duration_ns in (request_ns, request_ns + 1)
    longer = sum(
        b.duration_ns - a.duration_ns for a, b in zip(*(p.graph.compute_tasks for p in latency), strict=True)
    )
    assert longer > 0


def test_behind_an_inline_engine_nothing_is_written() -> None:
    """Plans take no crypto tasks and write nothing; reads take what the engine adds; what does not fit is refused."""
    target = encrypted(load_target("u585-octal"), "inline")
    assert target.inline is not None
    slow = replace(target, inline=replace(target.inline, cycles_per_byte=8.0))
    latency, read = [], 0
    for it in (target, slow):
        problem = Problem(zoo_network("ds_cnn"), it, 32 << 10, IoPlace.SRAM)
        found = SCHEDULERS["serial"](problem, Budget(5.0, 1, 1)).plan
        assert found is not None
        assert {task.kind for task in found.graph.tasks} == {TaskKind.LOAD, TaskKind.COMPUTE}
        assert validate(problem, found) == ()
        latency.append(found.figures.latency_ns)
        read = found.figures.bytes_read
    assert latency[1] - latency[0] == pytest.approx(read * 8 * 1e9 / target.board.clock_hz, rel=0.01)
    tight = Problem(zoo_network("mobilenet_v1_025_96"), target, 24 << 10, IoPlace.SRAM)
    assert SCHEDULERS["serial"](tight, Budget(5.0, 1, 1)).plan is None
