"""Tests of `merging`: the shortest merge of loads, stores and kernels."""

from __future__ import annotations

import random
from itertools import pairwise, permutations

import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, TaskGraph
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.allocation_schedule import Counted, Packing, counted
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import serial
from ooc_solve.solver.merging import Merger
from ooc_solve.solver.search import COUNTING
from tests.solver.test_relaxation import random_problem, samples, selection_of, whole_space

CASES = [("resnet8", "f746-sd", 16384), ("ds_cnn", "f746-sd", 12288), ("ds_cnn", "h747-qspi", 12288),
         ("autoencoder", "rp2350-psram", 8192)]  # fmt: skip


def _case(name: str, target: str, sram_bytes: int) -> tuple[Problem, TaskGraph]:
    """The tasks of the selection that the serial rule makes."""
    problem = Problem(zoo_network(name), load_target(target), sram_bytes, IoPlace.STORAGE)
    plan = serial(problem, Budget()).plan
    assert plan is not None
    return problem, expand(problem, plan.selection)


def _most_bytes(problem: Problem, graph: TaskGraph, times: Counted) -> int:
    """The most bytes that buffers take at once."""
    lives = Packing(problem, graph).lifetimes(times)
    sizes = [buffer.size_bytes for buffer in graph.buffers]
    moments = {first for first, _ in lives}
    return max(
        sum(size for (a, b), size in zip(lives, sizes, strict=True) if a <= moment < b) for moment in moments
    )


@pytest.mark.parametrize(("name", "target", "sram_bytes"), CASES)
def test_a_merge_keeps_the_rules_and_beats_all_policies(name: str, target: str, sram_bytes: int) -> None:
    """Data, channels and capacity are respected, and no list schedule that counts bytes is shorter (0.1 %)."""
    problem, graph = _case(name, target, sram_bytes)
    times = Merger(problem, graph).best(most=400_000)
    assert times is not None
    for task in graph.tasks:
        assert times.end_ns[task.index] >= times.start_ns[task.index] + task.duration_ns
        assert all(times.end_ns[other] <= times.start_ns[task.index] for other in task.after)
    for resource in graph.resources:
        own = sorted(
            (times.start_ns[t.index], times.end_ns[t.index]) for t in graph.tasks if t.resource == resource
        )
        assert all(a[1] <= b[0] for a, b in pairwise(own))
    assert _most_bytes(problem, graph, times) <= problem.arena_bytes
    listed = [found for policy in COUNTING if (found := counted(problem, graph, policy)) is not None]
    assert times.makespan_ns <= 1.001 * min(found.makespan_ns for found in listed)


@pytest.mark.parametrize("block", range(4))
def test_no_order_of_starts_is_shorter(block: int) -> None:
    """Of all orders in which the queues can be merged, none is shorter than the one found."""
    compared = 0
    for seed in range(25 * block, 25 * block + 25):
        problem = random_problem(seed, most_ops=2)
        space = whole_space(problem)
        for chosen in list(samples(space, random.Random(seed), 4)) if all(space.options) else ():
            try:
                graph = expand(problem, selection_of(problem, chosen))
            except SelectionError:
                continue
            if len(graph.tasks) > 8:
                continue
            merger = Merger(problem, graph)
            found = merger.best(most=100_000)
            every = (
                merger.timed(list(order), {})
                for order in permutations(range(len(graph.tasks)))
                if _in_queues(merger, order)
            )
            least = min((times.makespan_ns for times in every if times is not None), default=None)
            assert (found is None) == (least is None)
            if found is not None and least is not None:
                assert found.makespan_ns == least, f"seed {seed}"
                compared += 1
    assert compared > 3


def _in_queues(merger: Merger, order: tuple[int, ...]) -> bool:
    """Whether an order keeps the order of each queue."""
    at = {task: n for n, task in enumerate(order)}
    return all(at[a] < at[b] for queue in merger.queues for a, b in pairwise(queue))


def test_limits_are_kept() -> None:
    """Nothing is found that is not below a time, nor where too many merges are in between."""
    problem, graph = _case("ds_cnn", "f746-sd", 12288)
    merger = Merger(problem, graph)
    best = merger.best()
    assert best is not None
    assert merger.best(best.makespan_ns) is None
    again = merger.best(best.makespan_ns + 1)
    assert again is not None
    assert again.makespan_ns == best.makespan_ns
    assert merger.best(most=10) is None


def test_waits_delay_tasks() -> None:
    """A task that waits for another one starts when that has ended, and the merge is no shorter."""
    problem, graph = _case("resnet8", "f746-sd", 16384)
    merger = Merger(problem, graph)
    free = merger.best()
    assert free is not None
    start, end = free.start_ns, free.end_ns
    kernel, early = next(
        (kernel.index, t.index)
        for kernel in graph.compute_tasks
        for t in graph.tasks
        if t.transfer and start[kernel.index] < start[t.index] < end[kernel.index]
    )
    late = merger.best(waits={early: frozenset({kernel})})
    assert late is not None
    assert late.start_ns[early] >= late.end_ns[kernel]
    assert late.makespan_ns >= free.makespan_ns
