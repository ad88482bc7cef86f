"""Scheduling instances: files without loss, a judge of its own, and schedulers that keep its rules."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, BufferRole, InputError, Plan, Schedule, Selection, TaskKind
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.heuristics import prefetch_schedules, serial_schedules
from ooc_solve.solver.instances import (
    Instance,
    Job,
    Origin,
    Space,
    broken_rules,
    dump_instance,
    graph_of,
    instance_of,
    lower_bound_ns,
    makespan_ns,
    parse_instance,
    problem_of,
)

FOLDER = Path(__file__).parents[2] / "benchmarks" / "instances"

SMALL = Instance(
    "small",
    Origin("", "", 0, "", "", ""),
    8,
    (32, 16),
    ("cpu", "card"),
    (
        Job(TaskKind.LOAD, 1, 10, 0, (), (), (0,)),
        Job(TaskKind.COMPUTE, 0, 20, 0, (0,), (0,), (1,)),
        Job(TaskKind.LOAD, 1, 10, 1, (), (), (2,)),
        Job(TaskKind.COMPUTE, 0, 20, 1, (1, 2), (1, 2), (3,)),
        Job(TaskKind.STORE, 1, 5, 1, (3,), (3,), ()),
    ),
    (
        Space(16, BufferRole.INPUT, False),
        Space(16, BufferRole.TENSOR, False),
        Space(16, BufferRole.WEIGHTS, False),
        Space(8, BufferRole.OUTPUT, False),
    ),
)
RIGHT = Schedule((0, 10, 10, 30, 50), (0, 16, 32, 0))


@pytest.fixture
def exported(
    tiny_problem: Problem, tiny_selection: Selection, planned: Callable[[Problem, Selection, bool], Plan]
) -> tuple[Instance, Plan]:
    """The instance of a plan that has something of everything, and the plan."""
    plan = planned(tiny_problem, tiny_selection, True)
    return instance_of(tiny_problem, plan, "tiny"), plan


def test_a_plan_keeps_the_rules_of_its_instance(exported: tuple[Instance, Plan]) -> None:
    """What is exported is the problem that the plan solves: the plan's schedule is right and as long."""
    instance, plan = exported
    assert broken_rules(instance, plan.schedule) == ()
    assert makespan_ns(instance, plan.schedule) == plan.figures.latency_ns
    assert 0 < lower_bound_ns(instance) <= plan.figures.latency_ns


def test_files_lose_nothing(exported: tuple[Instance, Plan]) -> None:
    """An instance is read as it was written."""
    assert parse_instance(dump_instance(exported[0]), "file") == exported[0]


def test_schedulers_keep_the_rules(exported: tuple[Instance, Plan]) -> None:
    """Ours, given the instance alone, make schedules that the judge finds right; CP-SAT's is not longer."""
    instance, _ = exported
    problem, graph = problem_of(instance), graph_of(instance)
    assert [size for _, size in problem.banks] == list(instance.bank_bytes)
    assert problem.unit_bytes == instance.unit_bytes
    rules = [*serial_schedules(problem, graph), *prefetch_schedules(problem, graph, 2)]
    assert rules
    best = min(rules, key=lambda s: makespan_ns(instance, s))
    exact = solve_graph(problem, graph, best, Budget(10.0, 1, 1), deterministic=0.2)
    assert exact.schedule is not None
    for schedule in (*rules, exact.schedule):
        assert broken_rules(instance, schedule) == ()
    assert lower_bound_ns(instance) <= makespan_ns(instance, exact.schedule) <= makespan_ns(instance, best)


def test_the_small_schedule_is_right() -> None:
    """The schedule that the next test breaks keeps all rules, and is 55 ns long."""
    assert broken_rules(SMALL, RIGHT) == ()
    assert makespan_ns(SMALL, RIGHT) == 55
    assert lower_bound_ns(SMALL) == 55


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (replace(RIGHT, start_ns=(-1, 10, 10, 30, 50)), "no task starts before 0"),
        (replace(RIGHT, start_ns=(0, 9, 10, 30, 50)), "task 1 starts before task 0 has ended"),
        (replace(RIGHT, start_ns=(0, 10, 5, 30, 50)), "tasks 0 and 2 hold 'card' at the same time"),
        (replace(RIGHT, start_ns=(0, 10, 10, 29, 50)), "compute 3 starts before compute 1 has ended"),
        (replace(RIGHT, address=(0, 16, 33, 0)), "buffer 2 must lie at a multiple of 8"),
        (replace(RIGHT, address=(0, 16, 24, 0)), "buffer 2 must lie inside one bank"),
        (replace(RIGHT, address=(0, 16, 40, 0)), "buffer 2 must lie inside one bank"),
        (replace(RIGHT, address=(0, 8, 32, 0)), "buffers 0 and 1 share bytes at the same time"),
        (replace(RIGHT, address=(0, 16, 32)), "every task needs a start, and every buffer an address"),
    ],
)
def test_each_rule_is_judged(schedule: Schedule, words: str) -> None:
    """A schedule that breaks one rule is told which."""
    assert any(words in fault for fault in broken_rules(SMALL, schedule))


def test_pinned_buffers_live_all_the_time() -> None:
    """A pinned buffer shares its bytes with none, whenever tasks use it."""
    pinned = replace(SMALL, buffers=(replace(SMALL.buffers[0], pinned=True), *SMALL.buffers[1:]))
    assert any("buffers 0 and 3 share" in fault for fault in broken_rules(pinned, RIGHT))


def changed(**values: object) -> str:
    """The small instance with other values, as a file."""
    return json.dumps({**json.loads(dump_instance(SMALL)), **values})


def changed_task(place: int, **values: object) -> str:
    """The small instance with other values of a task, as a file."""
    tasks = json.loads(dump_instance(SMALL))["tasks"]
    tasks[place] |= values
    return changed(tasks=tasks)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "Expecting"),
        ("[]", "schema must be 'ooc-instance/1'"),
        (changed(schema="ooc-instance/9"), "schema must be"),
        (changed(colour=1), "colour is not part of the format"),
        (changed(unit_bytes=12), "unit_bytes must be a power of two"),
        (changed(bank_bytes=[]), "bank_bytes must be multiples of 8"),
        (changed(bank_bytes=[16, 32]), "bank_bytes must fall"),
        (changed(resources=["cpu", "cpu"]), "resources must have names, each its own"),
        (changed(bank_bytes=[8]), "must fit a bank"),
        (changed_task(0, duration_ns=-1), "tasks[0] must not take negative time"),
        (changed_task(0, resource=2), "tasks[0] must be on one of the resources"),
        (changed_task(1, after=[3]), "tasks[1] must come after earlier tasks"),
        (changed_task(1, reads=[9]), "tasks[1] must use buffers that are there"),
        (changed_task(0, reads=[1]), "tasks[0] must write one buffer, as it is a load"),
        (changed_task(4, after=[]), "tasks[4] must read one buffer after the task that fills it"),
        (changed_task(0, kind="encrypt"), "tasks[0] must change one buffer in place"),
        (changed_task(0, kind="jump"), "tasks[0].kind must be one of"),
    ],
)
def test_impossible_instances_are_refused(text: str, words: str) -> None:
    """What is not an instance is named with its place, in one sentence."""
    with pytest.raises(InputError) as refusal:
        parse_instance(text, "x.json")
    assert str(refusal.value).startswith("x.json: an instance must be as benchmarks/README.md says (")
    assert words in str(refusal.value)


def test_the_published_instances_are_instances() -> None:
    """Every file of the benchmark is read, and named as the instance in it."""
    files = sorted(FOLDER.glob("*.json"))
    assert len(files) >= 4
    for file in files:
        assert parse_instance(file.read_text(), str(file)).name == file.stem
