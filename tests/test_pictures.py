"""Still pictures against the schedule that they show."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from ooc_solve.api import Comparison
from ooc_solve.colours import BUFFER_COLOURS, BUFFER_NAMES, TASK_COLOURS, TASK_NAMES
from ooc_solve.models.vocabulary import BufferRole, TaskKind
from ooc_solve.pictures import draw_memory, draw_timeline
from ooc_solve.timeline import lives_ns

figure = pytest.importorskip("matplotlib.figure", reason="needs matplotlib")


@pytest.fixture
def axes() -> Any:
    """Axes of a figure of its own, without a window."""
    return figure.Figure().subplots()


def boxes(axes: Any) -> list[tuple[float, float, float, float]]:
    """Left, bottom, right and top of everything drawn."""
    paths = [path for collection in axes.collections for path in collection.get_paths()]
    return [tuple(path.get_extents().extents.tolist()) for path in paths]


def flat(boxes: Sequence[tuple[float, ...]]) -> list[float]:
    """The numbers of all boxes, those that begin first in front."""
    return [number for box in sorted(boxes) for number in box]


def test_timeline(axes: Any, comparison: Comparison) -> None:
    """A box for each task, as wide as it takes, in the row of its resource."""
    plan = comparison.plan
    draw_timeline(axes, plan.graph, plan.schedule)
    rows = {name: row for row, name in enumerate(plan.graph.resources)}
    expected = [
        (plan.schedule.start_ns[t.index] / 1e6, rows[t.resource] - 0.4, t.duration_ns / 1e6)
        for t in plan.graph.tasks
    ]
    found = [(left, bottom, right - left) for left, bottom, right, _ in boxes(axes)]
    assert flat(found) == pytest.approx(flat(expected), abs=1e-6)
    assert [label.get_text() for label in axes.get_yticklabels()] == list(plan.graph.resources)


def test_memory(axes: Any, comparison: Comparison) -> None:
    """A box for each buffer: when it is in use, and which bytes it takes; the arena ends at the line."""
    plan = comparison.plan
    draw_memory(axes, plan.graph, plan.schedule, plan.problem.arena_bytes)
    expected = [
        (start / 1e6, address / 1024, end / 1e6, (address + buffer.size_bytes) / 1024)
        for buffer, address, (start, end) in zip(
            plan.graph.buffers, plan.schedule.address, lives_ns(plan.decided), strict=True
        )
    ]
    assert flat(boxes(axes)) == pytest.approx(flat(expected), abs=1e-6)
    (line,) = axes.lines
    assert set(line.get_ydata()) == {plan.problem.arena_bytes / 1024}


def test_a_schedule_of_nothing(axes: Any, comparison: Comparison) -> None:
    """A graph without tasks is an empty picture, not an error."""
    plan = comparison.plan
    nothing = replace(plan.graph, tasks=(), buffers=())
    draw_timeline(axes, nothing, replace(plan.schedule, start_ns=(), address=()))
    draw_memory(axes, nothing, replace(plan.schedule, start_ns=(), address=()))
    assert boxes(axes) == []


def test_everything_has_a_colour_and_a_name() -> None:
    """Every kind of task and every role of a buffer can be drawn, and no two roles look the same."""
    assert set(TASK_COLOURS) == set(TASK_NAMES) == set(TaskKind)
    assert set(BUFFER_COLOURS) == set(BUFFER_NAMES) == set(BufferRole)
    assert len(set(BUFFER_COLOURS.values())) == len(BufferRole)
