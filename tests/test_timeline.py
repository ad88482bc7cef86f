"""Plans on the clock against their tasks."""

from __future__ import annotations

from itertools import pairwise

from ooc_solve.api import Comparison
from ooc_solve.models.problem import RESERVED_BYTES
from ooc_solve.timeline import layer_spans, lives_ns, moved_buffer, occupied_bytes, span_of, task_label


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
