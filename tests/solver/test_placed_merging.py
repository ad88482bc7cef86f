"""Tests of `placed_merging`: merges of loads, stores and kernels in which every buffer has an address."""

from __future__ import annotations

import random
from collections.abc import Iterator

import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Schedule, Selection, TaskGraph
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.heuristics import FLIPS, finish, serial
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.merging import Merger
from ooc_solve.solver.placed_merging import NARROW, SLIM, WIDE, placed_merge
from ooc_solve.solver.search import REPAIRED, woven
from ooc_solve.solver.validate import validate
from tests.solver.test_relaxation import optimum_ns, random_problem, samples, selection_of, whole_space

CASES = [("resnet8", "f746-sd", 16384), ("ds_cnn", "f746-sd", 12288), ("ds_cnn", "h747-qspi", 12288),
         ("autoencoder", "rp2350-psram", 8192)]  # fmt: skip


def _case(name: str, target: str, sram_bytes: int) -> tuple[Problem, Selection, TaskGraph]:
    """The tasks of the selection that the serial rule makes."""
    problem = Problem(zoo_network(name), load_target(target), sram_bytes, IoPlace.STORAGE)
    plan = serial(problem, Budget()).plan
    assert plan is not None
    return problem, plan.selection, expand(problem, plan.selection)


def _violations(problem: Problem, selection: Selection, graph: TaskGraph, schedule: Schedule) -> object:
    return validate(problem, finish(problem, selection, graph, schedule, "placed merge"))


@pytest.mark.parametrize(("name", "target", "sram_bytes"), CASES)
def test_merges_are_plans_and_little_longer_than_counted_ones(
    name: str, target: str, sram_bytes: int
) -> None:
    """The validator has nothing to say, and no merge that counts bytes is much shorter, or longer."""
    problem, selection, graph = _case(name, target, sram_bytes)
    schedule = placed_merge(problem, graph)
    assert schedule is not None
    assert _violations(problem, selection, graph, schedule) == ()
    counted = Merger(problem, graph).best(most=400_000)
    assert counted is not None
    assert 0.999 * counted.makespan_ns <= makespan_ns(graph, schedule.start_ns) <= 1.06 * counted.makespan_ns


def test_wider_searches_lose_nothing() -> None:
    """Where a narrow search loses some per cent, as weaving does, a wide one is as short as counting bytes."""
    problem, _, graph = _case("resnet8", "f746-sd", 16384)
    counted = Merger(problem, graph).best(most=400_000)
    schedule = placed_merge(problem, graph, WIDE)
    assert counted is not None
    assert schedule is not None
    takes = makespan_ns(graph, schedule.start_ns)
    assert takes <= 1.001 * counted.makespan_ns
    ways = [(policy, flips) for policy in REPAIRED for flips in range(len(FLIPS))]
    assert takes <= min(makespan_ns(graph, s.start_ns) for s in woven(problem, graph, ways))


def test_limits_are_kept() -> None:
    """Nothing that takes as long as the limit is handed out, and the same call gives the same schedule."""
    problem, _, graph = _case("ds_cnn", "f746-sd", 12288)
    found = placed_merge(problem, graph, SLIM)
    assert found is not None
    assert placed_merge(problem, graph, SLIM) == found
    takes = makespan_ns(graph, found.start_ns)
    again = placed_merge(problem, graph, SLIM, takes)
    assert again is None or makespan_ns(graph, again.start_ns) < takes
    assert placed_merge(problem, graph, SLIM, deadline=0.0) is None


def _small_cases(seeds: range) -> Iterator[tuple[Problem, Selection, TaskGraph, int]]:
    """Selections of random problems whose optimum CP-SAT proves, and that."""
    for seed in seeds:
        problem = random_problem(seed)
        for chosen in samples(whole_space(problem), random.Random(seed), 3):
            best = optimum_ns(problem, chosen)
            if best is not None and best >= 0:
                selection = selection_of(problem, chosen)
                yield problem, selection, expand(problem, selection), best


def _judged(seeds: range) -> tuple[int, int, int]:
    """How many selections there are, for how many a schedule is found, and how often it is the shortest one."""
    there = found = shortest = 0
    for problem, selection, graph, best in _small_cases(seeds):
        there += 1
        schedule = placed_merge(problem, graph, NARROW)
        if schedule is not None:
            found += 1
            assert _violations(problem, selection, graph, schedule) == ()
            assert makespan_ns(graph, schedule.start_ns) >= best
            shortest += makespan_ns(graph, schedule.start_ns) == best
    return there, found, shortest


def test_merges_of_small_graphs_are_mostly_optimal() -> None:
    """Schedules are plans and never shorter than CP-SAT proves; nine of ten are as short."""
    there, found, shortest = _judged(range(7000, 7060))
    assert there >= 30
    assert found >= 0.95 * there
    assert shortest >= 0.9 * there


@pytest.mark.slow
def test_merges_of_many_small_graphs() -> None:
    """The same for a thousand random problems."""
    there, found, shortest = _judged(range(20_000, 21_000))
    assert there >= 500
    assert found >= 0.95 * there
    assert shortest >= 0.9 * there
