"""What an option promises is never more than what the expanded tasks cost: that makes bounds valid."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    Budget,
    DType,
    Network,
    Op,
    OpKind,
    RegionName,
    Selection,
    TaskGraph,
    TaskKind,
    Tensor,
    Window,
)
from ooc_solve.solver import options as options_module
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.options import KEPT, Option, pareto, sizes
from ooc_solve.solver.placement import buffer_uses
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space

Problems = Callable[..., SearchStrategy[Problem]]

COMMON = {"deadline": None, "suppress_health_check": list(HealthCheck)}


def whole_space(problem: Problem) -> Space:
    """The option space before any option is dropped for being dominated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options_module, "pareto", list)
        return build_space(problem)


def choose(data: st.DataObject, space: Space) -> tuple[Option, ...] | None:
    """An option for each stage such that all agree on where every tensor lives."""
    width: dict[str, int] = {}
    chosen = []
    for op, options in zip(space.problem.network.ops, space.options, strict=True):
        pool = [
            o
            for o in options
            if all(width.get(n, w) == w for n, w in zip(op.inputs, o.inputs, strict=True))
            and len(dict(zip(op.inputs, o.inputs, strict=True))) == len(set(zip(op.inputs, o.inputs, strict=True)))
        ]
        if not pool:
            return None
        spilled = [o for o in pool if o.output != KEPT]
        option = data.draw(st.sampled_from(spilled if spilled and data.draw(st.booleans()) else pool))
        chosen.append(option)
        width |= dict(zip(op.inputs, option.inputs, strict=True)) | {op.output: option.output}
    return tuple(chosen)


def selection_of(space: Space, chosen: tuple[Option, ...]) -> Selection:
    """The selection that consists of these options."""
    kept = set()
    for op, option in zip(space.problem.network.ops, chosen, strict=True):
        kept |= {n for n, w in zip((*op.inputs, op.output), (*option.inputs, option.output), strict=True)
                 if w == KEPT}  # fmt: skip
    return Selection(tuple(option.tiling for option in chosen), frozenset(kept))


def busiest_step_bytes(graph: TaskGraph, stage: int) -> int:
    """Largest sum of buffers that are all needed during one compute step of a stage."""
    uses = buffer_uses(graph)
    return max(
        sum(b.size_bytes for b in graph.buffers if uses[b.index].first <= step <= uses[b.index].last)
        for step, task in enumerate(graph.compute_tasks)
        if task.stage == stage
    )


def kept_bytes(space: Space, selection: Selection, stage: int) -> int:
    """Bytes of the kept tensors that the selection model counts in a stage."""
    problem = space.problem
    return sum(
        problem.buffer_bytes(problem.network.tensors[name].size_bytes)
        for name, (first, last) in space.lives.items()
        if name in selection.kept and first <= stage <= last
    )


def check_stage(space: Space, selection: Selection, graph: TaskGraph, stage: int, option: Option) -> None:
    """Compare the figures of one option with the tasks of its stage."""
    tasks = [task for task in graph.tasks if task.stage == stage]
    by_kind = {kind: [t for t in tasks if t.kind is kind] for kind in TaskKind}
    assert option.compute_ns == sum(t.duration_ns for t in by_kind[TaskKind.COMPUTE])
    moved: Counter[str] = Counter()
    for task in tasks:
        if task.transfer is not None:
            moved[task.resource] += task.duration_ns
    assert all(ns <= moved[channel] for channel, ns in option.io_ns)
    assert option.bytes_read <= sum(t.transfer.size_bytes for t in by_kind[TaskKind.LOAD] if t.transfer)
    written = sum(t.transfer.size_bytes for t in by_kind[TaskKind.STORE] if t.transfer)
    assert option.bytes_written <= written
    if option.output != KEPT:
        assert option.bytes_written == written
    assert option.tasks <= len(tasks)
    assert option.need_bytes + kept_bytes(space, selection, stage) <= busiest_step_bytes(graph, stage)
    check_ends(graph, stage, option)


def check_ends(graph: TaskGraph, stage: int, option: Option) -> None:
    """What must pass before the first compute task and after the last is not overestimated."""
    steps = [task for task in graph.tasks if task.stage == stage and task.kind is TaskKind.COMPUTE]
    head: Counter[str] = Counter()
    for other in steps[0].after:
        head[graph.tasks[other].resource] += graph.tasks[other].duration_ns
    assert option.first_ns <= max(head.values(), default=0)
    tail = [t.duration_ns for t in graph.tasks if t.kind is TaskKind.STORE and steps[-1].index in t.after]
    assert option.last_ns <= max(tail, default=0)


def check(data: st.DataObject, problem: Problem) -> None:
    """Draw one option per stage and compare all of them with their expansion."""
    space = whole_space(problem)
    chosen = choose(data, space)
    assume(chosen is not None)
    assert chosen is not None
    selection = selection_of(space, chosen)
    try:
        graph = expand(problem, selection)
    except SelectionError:
        assume(False)
    for stage, option in enumerate(chosen):
        check_stage(space, selection, graph, stage, option)


@given(data=st.data())
@settings(max_examples=200, **COMMON)  # type: ignore[arg-type]
def test_options_are_lower_estimates(data: st.DataObject, problems: Problems) -> None:
    """Compute time is exact; transfer time, bytes, tasks and workspace are never overestimated."""
    check(data, data.draw(problems()))


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=5000, **COMMON)  # type: ignore[arg-type]
def test_options_are_lower_estimates_often(data: st.DataObject, problems: Problems) -> None:
    """The same over thousands of networks."""
    check(data, data.draw(problems()))
