"""A small drawing of a plan for notebooks: one SVG, no script."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import NamedTuple

from ooc_solve.colours import TASK_COLOURS, TASK_NAMES
from ooc_solve.models.vocabulary import Plan, Task, TaskKind
from ooc_solve.timeline import span_of

WIDTH, LEFT, ROW, TOP = 720, 76, 22, 4
"""Pixels: of the drawing, of the names on its left, of a row, above the first."""


class _Bar(NamedTuple):
    """A stretch of one row in pixels, of one or several tasks of a kind."""

    row: int
    kind: TaskKind
    left: float
    right: float


def gantt_svg(plan: Plan) -> str:
    """A row per resource with a box for each task; tasks too short to be seen apart share one."""
    rows = len(plan.graph.resources)
    height = TOP + rows * ROW + 40
    names = "".join(
        f'<text x="{LEFT - 8}" y="{TOP + row * ROW + 15}" text-anchor="end">{escape(name)}</text>'
        for row, name in enumerate(plan.graph.resources)
    )
    boxes = "".join(_box(bar) for bar in _bars(plan))
    return (
        f'<svg viewBox="0 0 {WIDTH} {height}" width="100%" style="max-width:{WIDTH}px" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-size="12" font-family="sans-serif" fill="currentColor">'
        f"<title>{escape(plan.scheduler)}: {plan.figures.latency_ns / 1e6:,.2f} ms</title>"
        f"{names}{boxes}{_axis(plan, TOP + rows * ROW)}{_legend(plan, height - 6)}</svg>"
    )


def _bars(plan: Plan) -> Iterator[_Bar]:
    """Boxes in order of time, those of one kind less than half a pixel apart as one."""
    scale = (WIDTH - LEFT - 8) / max(plan.figures.latency_ns, 1)
    for row, order in enumerate(plan.streams.order):
        last: _Bar | None = None
        for task in (plan.graph.tasks[number] for number in order):
            bar = _bar_of(plan, task, row, scale)
            if last is not None and last.kind is bar.kind and bar.left - last.right < 0.5:
                last = last._replace(right=bar.right)
                continue
            if last is not None:
                yield last
            last = bar
        if last is not None:
            yield last


def _bar_of(plan: Plan, task: Task, row: int, scale: float) -> _Bar:
    start, end = span_of(plan, task)
    return _Bar(row, task.kind, LEFT + start * scale, LEFT + end * scale)


def _box(bar: _Bar) -> str:
    return (
        f'<rect x="{bar.left:.1f}" y="{TOP + bar.row * ROW + 2}" width="{max(0.5, bar.right - bar.left):.1f}" '
        f'height="{ROW - 4}" fill="{TASK_COLOURS[bar.kind]}"/>'
    )


def _axis(plan: Plan, y: int) -> str:
    end = plan.figures.latency_ns / 1e6
    line = f'<path d="M{LEFT} {y + 2}H{WIDTH - 8}" stroke="currentColor" stroke-opacity="0.4"/>'
    return (
        f'{line}<text x="{LEFT}" y="{y + 15}">0</text>'
        f'<text x="{WIDTH - 8}" y="{y + 15}" text-anchor="end">{end:,.2f} ms</text>'
    )


def _legend(plan: Plan, y: int) -> str:
    kinds = {task.kind for task in plan.graph.tasks}
    marks = []
    for place, kind in enumerate(kind for kind in TASK_COLOURS if kind in kinds):
        x = LEFT + place * 90
        marks.append(
            f'<rect x="{x}" y="{y - 10}" width="11" height="11" fill="{TASK_COLOURS[kind]}"/>'
            f'<text x="{x + 16}" y="{y}">{TASK_NAMES[kind]}</text>'
        )
    return "".join(marks)
