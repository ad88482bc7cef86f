"""Stages that take turns: tasks are numbered anew, and impossible turns are refused."""

from __future__ import annotations

from dataclasses import replace
from itertools import groupby

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Selection, TaskKind
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.interleaving import turned, turns_of


@given(st.lists(st.integers(0, 3), max_size=20))
def test_turns_say_the_order_of_stages(stages: list[int]) -> None:
    """The turns of an order of kernels give that order back, and none are needed for one stage after the other."""
    turns = turns_of(stages)
    if stages == sorted(stages):
        assert turns == ()
        return
    tiles = sorted(stages)
    order = turned([(stage, k) for k, stage in enumerate(tiles)], turns, len(tiles))
    assert [tiles[k] for k in order] == stages
    assert len(turns) == len(list(groupby(stages)))


def test_tasks_keep_what_they_wait_for(tiny_problem: Problem, tiny_selection: Selection) -> None:
    """Turns that say one stage after the other change nothing but what the selection says."""
    graph = expand(tiny_problem, tiny_selection)
    stages = [task.stage for task in graph.tasks if task.kind is TaskKind.COMPUTE]
    turns = tuple((stage, len(list(same))) for stage, same in groupby(stages))
    assert expand(tiny_problem, replace(tiny_selection, turns=turns)) == graph


@pytest.mark.parametrize(
    "turns", [((1, 1), (0, 4), (1, 3), (2, 4), (3, 1)), ((0, 99),), ((0, 1),), ((7, 1),), ((0, 0),)]
)
def test_impossible_turns_are_refused(
    tiny_problem: Problem, tiny_selection: Selection, turns: tuple[tuple[int, int], ...]
) -> None:
    """A stage before what it reads from storage, kernels that are not there, and kernels left out are no order."""
    with pytest.raises(SelectionError, match="take turns"):
        expand(tiny_problem, replace(tiny_selection, turns=turns))
