"""Plans on the clock against their tasks."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import pytest

from ooc_solve.api import Comparison, encrypted, load, target
from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.vocabulary import Budget, Plan, TaskKind
from ooc_solve.report import layers_of
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.timeline import (
    layer_spans,
    lives_ns,
    moved_buffer,
    occupied_bytes,
    span_of,
    task_label,
)


def test_a_buffer_lives_while_tasks_touch_it(comparison: Comparison) -> None:
    """No task touches a buffer outside its life, and one starts and one ends with it."""
    plan = comparison.plan.decided
    lives = lives_ns(plan)
    starts: dict[int, int] = {}
    ends: dict[int, int] = {}
    for task in plan.graph.tasks:
        start, end = span_of(plan, task)
        for touch in (*task.reads, *task.writes):
            assert lives[touch.buffer][0] <= start <= end <= lives[touch.buffer][1]
            starts[touch.buffer] = min(start, starts.get(touch.buffer, start))
            ends[touch.buffer] = max(end, ends.get(touch.buffer, end))
    assert lives == tuple((starts[b.index], ends[b.index]) for b in plan.graph.buffers)


def test_buffers_that_live_at_once_are_apart(comparison: Comparison) -> None:
    """Lives and addresses together never give a byte to two buffers: the map of SRAM has no overlap."""
    plan = comparison.plan.decided
    boxes = [
        (life, at, at + buffer.size_bytes)
        for life, at, buffer in zip(lives_ns(plan), plan.schedule.address, plan.graph.buffers, strict=True)
    ]
    for k, (life, low, high) in enumerate(boxes):
        for other, bottom, top in boxes[:k]:
            apart = life[1] <= other[0] or other[1] <= life[0] or high <= bottom or top <= low
            assert apart


def test_occupied_bytes_add_up(comparison: Comparison) -> None:
    """The counter rises and falls by whole buffers, ends at nothing, and never exceeds the peak."""
    plan = comparison.plan.decided
    steps = list(occupied_bytes((buffer.size_bytes for buffer in plan.graph.buffers), lives_ns(plan)))
    assert all(first[0] < second[0] for first, second in pairwise(steps))
    assert max(held for _, held in steps) <= plan.figures.sram_peak_bytes - RESERVED_BYTES
    assert steps[-1][1] == 0
    middle = steps[len(steps) // 2]
    held = [
        b.size_bytes
        for b, (start, end) in zip(plan.graph.buffers, lives_ns(plan), strict=True)
        if start <= middle[0] < end
    ]
    assert sum(held) == middle[1]


def test_labels_name_layer_and_buffer(comparison: Comparison) -> None:
    """Kernels are called by layer and tile, transfers by direction and buffer."""
    plan, problem = comparison.plan.decided, comparison.problem
    for task in plan.graph.tasks:
        label = task_label(problem, plan, task)
        if task.transfer is None:
            assert label == f"{problem.network.ops[task.stage].name} tile {task.tile}"
        else:
            assert label == f"{task.kind.value} {moved_buffer(plan, task).label}"


def test_layers_come_one_after_the_other(comparison: Comparison) -> None:
    """The spans of layers hold all their kernels and do not overlap."""
    plan = comparison.plan.decided
    spans = layer_spans(plan)
    assert len(spans) == len(comparison.problem.network.ops)
    assert all(first[1][1] <= second[1][0] for first, second in pairwise(spans))
    of_stage = dict(spans)
    for task in plan.graph.compute_tasks:
        start, end = span_of(plan, task)
        assert of_stage[task.stage][0] <= start <= end <= of_stage[task.stage][1]


def sealed(kib: int, scheduler: str, request_cycles: float, beside: bool) -> tuple[Problem, Plan]:
    """A plan with sealed records, opened by software or by an engine, on a core that requests interrupt so long."""
    board = encrypted(target("f746-sd"), "aes-128-gcm")
    assert board.crypto is not None
    crypto = replace(board.crypto, engine="hw", cpu_busy=False) if beside else board.crypto
    runtime = replace(board.runtime, cycles_per_request=request_cycles)
    problem = Problem(
        load("zoo:ds_cnn"), replace(board, crypto=crypto, runtime=runtime), kib << 10, IoPlace.STORAGE
    )
    plan = SCHEDULERS[scheduler](problem, Budget(5.0, 1, 1)).plan
    assert plan is not None
    return problem, plan


@pytest.mark.parametrize(("kib", "scheduler"), [(16, "demand-layering"), (13, "fusion-path")])
def test_layers_tell_what_is_opened_and_sealed(kib: int, scheduler: str) -> None:
    """Each layer has the time of its own crypto tasks beside that of its kernels, whoever runs them; the rest is waiting."""
    for beside, request_cycles in ((False, 0.0), (False, 5000.0), (True, 0.0)):
        problem, plan = sealed(kib, scheduler, request_cycles, beside)
        tasks = plan.graph.tasks
        layers = layers_of(problem, plan)
        for stage, layer in enumerate(layers):
            own = [t for t in tasks if max(t.stage, 0) == stage]
            crypto = sum(t.duration_ns for t in own if t.kind in (TaskKind.DECRYPT, TaskKind.ENCRYPT))
            assert layer.crypto_ns == crypto
            assert layer.compute_ns == sum(t.duration_ns for t in own if t.kind is TaskKind.COMPUTE)
        assert sum(layer.crypto_ns for layer in layers) > 0
        busy = sum(t.duration_ns for t in tasks if t.resource == "cpu")
        ends = max(span_of(plan, t)[1] for t in tasks if t.resource == "cpu")
        assert sum(layer.waiting_ns for layer in layers) == ends - busy
        assert sum(layer.energy_nj for layer in layers) == plan.figures.energy_nj
