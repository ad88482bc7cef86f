"""Simulation: with the model's durations the tables take what the plan promises."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from ooc_solve.codegen.simulate import durations_of, random_durations, simulate_tables
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import StreamRow, Tables
from ooc_solve.models.problem import Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import InternalError, Plan


@pytest.fixture
def tables(problem: Problem, plan: Plan) -> Tables:
    return build_tables(problem, plan)


@pytest.mark.parametrize("name", ["f746-sd", "f746-qspi-sdram", "lm3s-qemu"])
def test_model_durations_give_the_plan(workshop: Any, name: str) -> None:
    """Every command starts when the plan says, and the last ends at the plan's makespan."""
    problem = workshop.problem(load_target(name))
    plan = workshop.plan(problem, workshop.selection)
    result = simulate_tables(build_tables(problem, plan), durations_of(plan))
    expected = [[plan.schedule.start_ns[t] for t in order] for order in plan.streams.order]
    assert [list(row) for row in result.start_ns] == expected
    assert result.makespan_ns == workshop.makespan_ns(plan)


@pytest.mark.parametrize("seed", range(20))
def test_random_durations_respect_order_and_waits(tables: Tables, seed: int) -> None:
    """Whatever commands take, none starts before its stream and its waits allow, nor later."""
    durations = random_durations(tables, seed)
    starts = simulate_tables(tables, durations).start_ns
    end = [[s + d for s, d in zip(*pair, strict=True)] for pair in zip(starts, durations, strict=True)]
    for own, row in enumerate(tables.stream):
        need = [0] * len(tables.stream)
        for k, command in enumerate(row.commands):
            for rise, r in zip(command.wait, (r for r in range(4) if r != own), strict=True):
                if r < len(need):
                    need[r] += rise
            need[own] = k
            before = [end[r][count - 1] for r, count in enumerate(need) if count]
            assert starts[own][k] == max(before, default=0)


def test_durations_are_repeatable(tables: Tables) -> None:
    """A seed gives the same durations again, another seed others."""
    assert random_durations(tables, 5) == random_durations(tables, 5)
    assert random_durations(tables, 5) != random_durations(tables, 6)


def test_order_lists_every_command_once_by_time(tables: Tables, plan: Plan) -> None:
    """The order holds each command once, and starts never fall along it."""
    result = simulate_tables(tables, durations_of(plan))
    times = [result.start_ns[s][k] for s, k in result.order]
    assert times == sorted(times)
    assert len(set(result.order)) == len(plan.graph.tasks)


def test_deadlock_is_raised(tables: Tables, plan: Plan) -> None:
    """A wait that is never met names stream and command."""
    row = tables.stream[1]
    stuck = (replace(row.commands[0], wait=(9999, 0, 0)), *row.commands[1:])
    broken = replace(tables, stream=(tables.stream[0], StreamRow.of(stuck, row.channel, row.store)))
    with pytest.raises(InternalError, match="deadlock"):
        simulate_tables(broken, durations_of(plan))


def test_missing_durations_are_refused(tables: Tables, plan: Plan) -> None:
    """Durations of another plan are refused."""
    with pytest.raises(InternalError, match="one duration for each command"):
        simulate_tables(tables, durations_of(plan)[:1])
