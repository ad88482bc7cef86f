"""The cheapest path through fused and single stages, against the selection model and against itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Selection
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.fusion_path import Paths
from ooc_solve.solver.selection import Aim, SelectionModel, build_space, unfused, whole_transfers

Problems = Callable[..., SearchStrategy[Problem]]


def cheapest(problem: Problem, fusing: bool) -> Selection | None:
    """The cheapest selection, with or without fused stages."""
    return Paths(build_space(problem), lambda first, option: fusing or option.operators == 1).cheapest(
        problem.arena_bytes
    )


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_as_cheap_as_the_selection_model(data: st.DataObject, problems: Problems) -> None:
    """Without fused stages the path costs what CP-SAT finds least for the sum of compute and transfers.

    CP-SAT leaves out the transfers of inputs and outputs that are kept, which the path counts.
    """
    problem = data.draw(problems(most_ops=4))
    space = unfused(build_space(problem))
    paths = Paths(space, lambda first, option: True)
    found = paths.cheapest(problem.arena_bytes)
    if problem.arena_bytes > max(size for _, size in problem.banks):
        return  # the model counts banks, which the path leaves to the placement
    model = SelectionModel(space, problem.arena_bytes, firm=True)
    best = model.solve(Aim.SERIAL, Budget(20.0, 1, 1))
    assert (found is None) == (best.selection is None)
    if found is not None and best.selection is not None:
        cost_ns = paths.cost_ns(problem.arena_bytes)
        assert cost_ns is not None
        whole = sum(w.ns for w in whole_transfers(problem) if w.tensor in best.selection.kept)
        assert best.value <= cost_ns <= best.value + whole


def work_ns(problem: Problem, selection: Selection) -> int:
    """All durations of the tasks of a selection."""
    return sum(task.duration_ns for task in expand(problem, selection).tasks)


@pytest.mark.parametrize(("name", "kib"), [("mobilenet_v1_025_96", 32), ("mobilenet_v1_025_96", 48)])
def test_fusing_is_cheaper_where_memory_is_short(name: str, kib: int) -> None:
    """The more may be fused, the less work is left."""
    problem = Problem(zoo_network(name), load_target("f746-sd"), kib << 10, IoPlace.STORAGE)
    single, fused = cheapest(problem, False), cheapest(problem, True)
    assert single is not None
    assert fused is not None
    assert not any(tiling.patch for tiling in single.tilings)
    assert any(tiling.patch for tiling in fused.tilings)
    assert work_ns(problem, fused) < work_ns(problem, single)
