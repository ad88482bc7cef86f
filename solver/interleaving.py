"""Stages that alternate kernel by kernel: tasks in the order of turns, and the turns of an order.

A task graph lists its kernels in the order in which they run. Without turns that is one stage after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import groupby, pairwise

from ooc_solve.models.vocabulary import Task

Turns = tuple[tuple[int, int], ...]
"""Number of a stage and how many of its kernels run, again and again."""


def in_turns(tasks: Sequence[Task], begun: Sequence[tuple[int, int]], turns: Turns) -> tuple[Task, ...]:
    """The tasks of stages that take turns, numbered anew.

    ``begun`` names for each tile, stage by stage, its stage and the first of its tasks; what comes before the first
    tile stays there. A tile keeps its loads before its kernel and its stores behind it.

    Raises
    ------
    ValueError
        If the turns are not those of these tiles, or a task would come before one that it waits for.
    """
    order = turned(begun, turns, len(tasks))
    number = {old: new for new, old in enumerate(order)}
    found = tuple(_numbered(tasks[old], number) for old in order)
    late = next((task for task in found if any(other >= task.index for other in task.after)), None)
    if late is not None:
        raise ValueError(f"task {late.index} would come before one that it waits for")
    return found


def turned(begun: Sequence[tuple[int, int]], turns: Turns, count: int) -> list[int]:
    """Numbers of ``count`` tasks in the order of turns; raises as `in_turns` does."""
    ends = [first for _, first in begun[1:]] + [count]
    tiles: dict[int, list[range]] = {}
    for (stage, first), end in zip(begun, ends, strict=True):
        tiles.setdefault(stage, []).append(range(first, end))
    order = list(range(begun[0][1] if begun else count))
    given = dict.fromkeys(tiles, 0)
    for stage, kernels in turns:
        at = given.get(stage, 0)
        if kernels < 1 or at + kernels > len(tiles.get(stage, ())):
            raise ValueError(f"stage {stage} has no {kernels} kernels left")
        order += [task for tile in tiles[stage][at : at + kernels] for task in tile]
        given[stage] = at + kernels
    if len(order) != count:
        raise ValueError("some kernels get no turn")
    return order


def _numbered(task: Task, number: dict[int, int]) -> Task:
    after = tuple(sorted(number[other] for other in task.after))
    return replace(task, index=number[task.index], after=after)


def turns_of(stages: Iterable[int]) -> Turns:
    """The turns of kernels, from the stage of each of them in the order in which they run; none without need."""
    turns = tuple((stage, len(list(same))) for stage, same in groupby(stages))
    in_sequence = all(one < other for (one, _), (other, _) in pairwise(turns))
    return () if in_sequence else turns
