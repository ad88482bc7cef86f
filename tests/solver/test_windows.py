"""Tests of `windows`: parts of long schedules solved again, which never break a rule or cost time."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Plan, Schedule, Status
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.descent import windowed
from ooc_solve.solver.heuristics import double_buffering, finish, serial
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.plans import candidate_of
from ooc_solve.solver.timetable import Timetable
from ooc_solve.solver.validate import validate
from ooc_solve.solver.windows import shortened


def _problem(name: str, target: str, sram_bytes: int) -> Problem:
    return Problem(zoo_network(name), load_target(target), sram_bytes, IoPlace.STORAGE)


@cache
def _long() -> tuple[Problem, Plan]:
    """About two thousand tasks on three resources, where memory is tight."""
    problem = _problem("ds_cnn", "h747-qspi", 4736)
    plan = double_buffering(problem, Budget()).plan
    assert plan is not None
    return problem, plan


def _violations(problem: Problem, plan: Plan, schedule: Schedule) -> list[str]:
    made = finish(problem, plan.selection, plan.graph, schedule, "windows")
    return [violation.message for violation in validate(problem, made)]


def test_a_long_plan_becomes_shorter_and_keeps_every_rule() -> None:
    """A few windows of two thousand tasks shorten double buffering, and the validator finds nothing wrong."""
    problem, plan = _long()
    found = windowed(problem, candidate_of(problem, plan), Budget(time_limit_s=8.0), float("inf"))
    assert found.selection == plan.selection
    assert found.score[0] < plan.figures.latency_ns
    assert not _violations(problem, plan, found.schedule)


def test_what_is_found_depends_on_the_work_alone() -> None:
    """The same schedule and the same work give the same schedule again, and no work leaves it as it is."""
    problem, plan = _long()
    first, second = (shortened(problem, plan.graph, plan.schedule, 0.15) for _ in range(2))
    assert first == second
    untouched = shortened(problem, plan.graph, plan.schedule, 0.0)
    assert makespan_ns(plan.graph, untouched.start_ns) == plan.figures.latency_ns


def test_what_follows_a_window_may_begin_as_late_as_is_said() -> None:
    """The schedule in which every task starts as late as it can takes no longer and keeps every rule."""
    problem, plan = _long()
    table = Timetable.of(plan.graph, plan.schedule)
    assert all(a <= b for a, b in zip(table.earliest_ns, table.latest_ns, strict=True))
    late = Schedule(table.latest_ns, table.address)
    assert makespan_ns(plan.graph, late.start_ns) == table.makespan_ns
    assert not _violations(problem, plan, late)


def test_a_window_over_everything_is_solved_to_the_optimum() -> None:
    """From a plan in which nothing overlaps, a graph that fits into one window gets its shortest schedule."""
    problem = _problem("resnet8", "h747-qspi", 65536)
    plan = serial(problem, Budget()).plan
    assert plan is not None
    assert len(plan.graph.tasks) <= 60
    best = solve_graph(problem, plan.graph, plan.schedule, Budget(60.0, 1, 1), deterministic=2.0)
    assert best.status is Status.OPTIMAL
    found = shortened(problem, plan.graph, plan.schedule, 2.0)
    assert makespan_ns(plan.graph, found.start_ns) == best.bound_ns < plan.figures.latency_ns


def test_requests_that_interrupt_kernels_are_counted() -> None:
    """Where requests cost kernels time, times are those that the validator counts, too."""
    problem = _problem("ds_cnn", "an505-qemu", 16384)
    plan = double_buffering(problem, Budget()).plan
    assert plan is not None
    assert interruption_ns(problem.target)
    candidate = candidate_of(problem, plan)
    found = windowed(problem, candidate, Budget(time_limit_s=6.0), float("inf"))
    assert found.score <= candidate.score
    assert not _violations(problem, replace(plan, graph=found.graph), found.schedule)
