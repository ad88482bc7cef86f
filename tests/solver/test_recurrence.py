"""Tests of `recurrence`: loops in task graphs, over which a search for a merge leaps."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Schedule, Selection, TaskGraph
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import placed_merging
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.heuristics import finish, serial
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.placed_merging import NEVER, SLIM, placed_merge
from ooc_solve.solver.validate import validate


def _case(name: str, sram_bytes: int) -> tuple[Problem, Selection, TaskGraph]:
    """The tasks of the selection that the serial rule makes."""
    problem = Problem(zoo_network(name), load_target("f746-sd"), sram_bytes, IoPlace.STORAGE)
    plan = serial(problem, Budget()).plan
    assert plan is not None
    return problem, plan.selection, expand(problem, plan.selection)


def _merged(
    problem: Problem, graph: TaskGraph, leaps: bool, monkeypatch: pytest.MonkeyPatch
) -> tuple[Schedule, int]:
    """A merge, and in how many levels the search made it."""
    monkeypatch.setattr(placed_merging, "LEAPS_FROM", 0 if leaps else NEVER)
    levels, kept = 0, placed_merging.PlacedBeam._kept

    def counted(self: placed_merging.PlacedBeam, after: dict) -> dict:  # type: ignore[type-arg]
        nonlocal levels
        levels += 1
        return kept(self, after)

    with monkeypatch.context() as patch:
        patch.setattr(placed_merging.PlacedBeam, "_kept", counted)
        schedule = placed_merge(problem, graph, SLIM)
    assert schedule is not None
    return schedule, levels


@pytest.mark.parametrize(
    ("name", "sram_bytes", "share"),
    [("autoencoder", 3200, 0.2), ("autoencoder", 4000, 0.2), ("ds_cnn", 4400, 0.9)],
)
def test_leaps_save_work_and_lose_nothing(
    name: str, sram_bytes: int, share: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With leaps only a share of the tasks is searched for, the schedule is a plan's, and about as short."""
    problem, selection, graph = _case(name, sram_bytes)
    slow, every = _merged(problem, graph, False, monkeypatch)
    fast, few = _merged(problem, graph, True, monkeypatch)
    assert every == len(graph.tasks)
    assert few <= share * every
    assert validate(problem, finish(problem, selection, graph, fast, "leapt")) == ()
    assert makespan_ns(graph, fast.start_ns) <= 1.001 * makespan_ns(graph, slow.start_ns)


def test_a_leap_ends_before_what_is_different(monkeypatch: pytest.MonkeyPatch) -> None:
    """If a task in the middle takes longer than those around it, more is searched for, and still there is a plan."""
    problem, _, graph = _case("autoencoder", 3200)
    _, before = _merged(problem, graph, True, monkeypatch)
    kernels = graph.compute_tasks
    odd = kernels[len(kernels) // 2].index
    tasks = tuple(replace(t, duration_ns=t.duration_ns + 12_345 * (t.index == odd)) for t in graph.tasks)
    changed = replace(graph, tasks=tasks)
    schedule, after = _merged(problem, changed, True, monkeypatch)
    assert after > before
    starts = sorted((schedule.start_ns[t.index], t.duration_ns) for t in changed.compute_tasks)
    assert all(a + length <= b for (a, length), (b, _) in pairwise(starts))
