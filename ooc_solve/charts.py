"""The drawings of a report, made with bokeh: timeline, map of SRAM, progress of the search.

The figures have no background: the page gives it, light or dark.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bokeh.embed import file_html
from bokeh.layouts import column
from bokeh.models import (
    ColumnDataSource,
    CustomJSTickFormatter,
    FixedTicker,
    HoverTool,
    Range1d,
    WheelZoomTool,
)
from bokeh.plotting import figure
from bokeh.resources import Resources

from ooc_solve.boxes_in_view import paint_only_what_is_seen
from ooc_solve.colours import (
    BEST_COLOUR,
    BOUND_COLOUR,
    BUFFER_COLOURS,
    BUFFER_NAMES,
    LAYER_GREYS,
    TASK_COLOURS,
)
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import BufferRole, Plan, Task
from ooc_solve.npu_use import holdings
from ooc_solve.progress import Step
from ooc_solve.timeline import layer_of, layer_spans, lives_ns, span_of, task_label

BOX = {"fill_alpha": 0.85, "line_width": 0.5}
ROW_PIXELS = 46
SMOOTH_BOXES = 5000
"""A drawing of more boxes leaves some out while it is moved."""

LEFT_PIXELS = 72
"""Room for the names of rows and addresses, the same in all drawings so that their times line up."""


def drawing(problem: Problem, plan: Plan) -> Any:
    """Timeline, map of SRAM, and of an NPU's own memory that holds something, one above the other."""
    time = time_axis(plan)
    maps = [sram_map(problem, plan, time)]
    if holdings(problem, plan):
        maps.append(weight_memory_map(problem, plan, time))
    return column(timeline(problem, plan, time), *maps, sizing_mode="stretch_width")


def standalone(drawn: Any, title: str) -> str:
    """A drawing as a page that fetches nothing."""
    return file_html(drawn, Resources(mode="inline"), title)


def time_axis(plan: Plan) -> Range1d:
    """The range of time (ms) that drawings of one plan share, so that they are zoomed together."""
    end = max(plan.figures.latency_ns, 1) / 1e6
    return Range1d(start=0, end=end, bounds=(0, end), min_interval=end / 1e6)


def timeline(problem: Problem, plan: Plan, time: Range1d) -> Any:
    """Every task as a box: a row for the layers, one for each resource."""
    rows = ("layers", *plan.graph.resources)
    height = 74 + ROW_PIXELS * len(rows)
    drawn = _figure(time, Range1d(start=len(rows) - 0.45, end=-0.55), height)
    drawn.toolbar_location = "above"  # its buttons move what shares its range, too
    tips = [("layer", "@layer"), ("from", "@left{0,0.000} ms"), ("takes", "@takes{0,0.000} ms")]
    kernels = [task for task in plan.graph.tasks if task.transfer is None]
    transfers = [task for task in plan.graph.tasks if task.transfer is not None]
    many = []
    for boxes, more in (
        (_layer_boxes(problem, plan), []),
        (_task_boxes(problem, plan, kernels), []),
        (_task_boxes(problem, plan, transfers), [("bytes", "@bytes{0,0}")]),
    ):
        drawing = drawn.quad(source=boxes, color="colour", **BOX, **_EDGES)
        drawn.add_tools(_hover(drawing, "@name", [*tips, *more]))
        many.append(drawing)
    paint_only_what_is_seen(drawn, time, many)
    drawn.yaxis.ticker = FixedTicker(ticks=list(range(len(rows))))
    drawn.yaxis.major_label_overrides = dict(enumerate(rows))
    drawn.ygrid.visible = False
    return drawn


def sram_map(problem: Problem, plan: Plan, time: Range1d) -> Any:
    """Every buffer as a box of addresses and time; the runtime's reserve lies on top."""
    drawn = _figure(time, Range1d(start=0, end=problem.sram_bytes / 1024), 360)
    drawn.yaxis.axis_label = "KiB of SRAM"
    makespan = plan.figures.latency_ns / 1e6
    reserve = ColumnDataSource(
        {
            "left": [0.0],
            "right": [makespan],
            "bottom": [(problem.sram_bytes - problem.reserved_bytes) / 1024],
            "top": [problem.sram_bytes / 1024],
        }
    )
    drawn.quad(source=reserve, color=LAYER_GREYS[0], fill_alpha=0.35, line_width=0, name="reserve", **_EDGES)
    boxes = drawn.quad(source=_buffer_boxes(problem, plan), color="colour", name="buffers", **BOX, **_EDGES)
    edge = 0
    for _, size in problem.banks[:-1]:
        edge += size
        drawn.hspan(y=edge / 1024, line_dash="dashed", line_color=LAYER_GREYS[0])
    tips = [
        ("layer", "@layer"),
        ("holds", "@role"),
        ("address", "@address{0,0}"),
        ("bytes", "@bytes{0,0}"),
        ("from", "@left{0,0.000} ms"),
        ("to", "@right{0,0.000} ms"),
    ]
    drawn.add_tools(_hover(boxes, "@name", tips))
    paint_only_what_is_seen(drawn, time, [boxes])
    return drawn


def weight_memory_map(problem: Problem, plan: Plan, time: Range1d) -> Any:
    """What an NPU's own memory holds, as boxes of bytes and time, resident weights below."""
    held = holdings(problem, plan)
    drawn = _figure(time, Range1d(start=0, end=problem.weight_memory_bytes / 1024), 240)
    drawn.yaxis.axis_label = "KiB of the NPU's memory"
    loaded, resident = BUFFER_COLOURS[BufferRole.WEIGHTS], LAYER_GREYS[0]
    boxes = ColumnDataSource(
        {
            "left": [one.from_ns / 1e6 for one in held],
            "right": [one.to_ns / 1e6 for one in held],
            "bottom": [one.first_byte / 1024 for one in held],
            "top": [one.end_byte / 1024 for one in held],
            "bytes": [one.size_bytes for one in held],
            "colour": [resident if one.loaded_ns is None else loaded for one in held],
            "name": [one.layer for one in held],
            "loaded": [
                "at start-up" if one.loaded_ns is None else f"by {one.loaded_ns / 1e6:,.3f} ms"
                for one in held
            ],
        }
    )
    drawing = drawn.quad(source=boxes, color="colour", name="weights", **BOX, **_EDGES)
    tips = [("bytes", "@bytes{0,0}"), ("loaded", "@loaded"), ("used until", "@right{0,0.000} ms")]
    drawn.add_tools(_hover(drawing, "@name", tips))
    paint_only_what_is_seen(drawn, time, [drawing])
    return drawn


def convergence(steps: Sequence[Step], unit: str, scale: float) -> Any:
    """Value of the best plan and bound over the seconds of the search; ``scale`` divides both."""
    end = max(step.seconds for step in steps)
    values = [value / scale for step in steps for value in (step.best, step.bound) if value]
    room = (max(values) - min(values)) * 0.1 or max(values) * 0.1
    low, high = min(values) - room, max(values) + room
    drawn = _figure(Range1d(start=0, end=end * 1.02), Range1d(start=low, end=high), 260)
    drawn.xaxis.axis_label, drawn.yaxis.axis_label = "seconds of search", unit
    best = [step for step in steps if step.best is not None]
    bounded = [step for step in steps if step.bound]
    for name, colour, points in (("best", BEST_COLOUR, best), ("bound", BOUND_COLOUR, bounded)):
        source = ColumnDataSource(
            {
                "x": [step.seconds for step in points],
                "y": [(step.bound if name == "bound" else step.best or 0) / scale for step in points],
                "what": [f"{name}, {step.what}" for step in points],
            }
        )
        drawn.step("x", "y", source=source, mode="after", line_width=2, color=colour, name=name)
        marks = drawn.scatter("x", "y", source=source, size=7, color=colour, marker=_MARKS[name])
        drawn.add_tools(_hover(marks, "@what", [("after", "@x{0.0} s"), (unit, "@y{0,0.000}")]))
    return drawn


def _hover(drawing: Any, head: str, tips: Sequence[tuple[str, str]]) -> HoverTool:
    """Say what lies under the pointer: a heading and lines of a word and a value."""
    lines = "".join(f"<div>{word}: {value}</div>" for word, value in tips)
    return HoverTool(
        renderers=[drawing],
        tooltips=f"<div><b>{head}</b>{lines}</div>",
        point_policy="follow_mouse",
        visible=False,
    )


_MARKS = {"best": "circle", "bound": "triangle"}
_EDGES = {"left": "left", "right": "right", "bottom": "bottom", "top": "top"}


def _figure(time: Range1d, other: Range1d, height: int) -> Any:
    """An empty figure as wide as the page, zoomed along time only; the wheel alone scrolls the page."""
    drawn = figure(
        x_range=time,
        y_range=other,
        height=height,
        sizing_mode="stretch_width",
        tools="xpan,xbox_zoom,xzoom_in,xzoom_out,reset",
        active_drag="xbox_zoom",
        toolbar_location=None,
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
        min_border_left=LEFT_PIXELS,
        min_border_right=8,
        lod_threshold=SMOOTH_BOXES,
    )
    drawn.add_tools(WheelZoomTool(dimensions="width", modifiers={"ctrl": True}, visible=False))
    drawn.toolbar.logo = None
    drawn.xaxis.axis_label = "ms"
    drawn.xaxis.formatter = CustomJSTickFormatter(code="return tick.toLocaleString('en')")
    return drawn


# ----------------------------------------------------------------------------- data of the boxes


def _layer_boxes(problem: Problem, plan: Plan) -> ColumnDataSource:
    spans = layer_spans(plan)
    left = np.array([start / 1e6 for _, (start, _) in spans])
    right = np.array([end / 1e6 for _, (_, end) in spans])
    names = [layer_of(problem, plan, stage) for stage, _ in spans]
    return ColumnDataSource(
        {
            "left": left,
            "right": right,
            "top": np.full(len(spans), -0.4),
            "bottom": np.full(len(spans), 0.4),
            "takes": right - left,
            "colour": [LAYER_GREYS[k % 2] for k in range(len(spans))],
            "name": names,
            "layer": names,
        }
    )


def _task_boxes(problem: Problem, plan: Plan, tasks: Sequence[Task]) -> ColumnDataSource:
    row = {name: number for number, name in enumerate(plan.graph.resources, start=1)}
    spans = np.array([span_of(plan, task) for task in tasks]).reshape(-1, 2) / 1e6
    middle = np.array([row[task.resource] for task in tasks])
    return ColumnDataSource(
        {
            "left": spans[:, 0],
            "right": spans[:, 1],
            "top": middle - 0.4,
            "bottom": middle + 0.4,
            "takes": spans[:, 1] - spans[:, 0],
            "bytes": np.array([task.transfer.size_bytes if task.transfer else 0 for task in tasks]),
            "colour": [TASK_COLOURS[task.kind] for task in tasks],
            "name": [task_label(problem, plan, task) for task in tasks],
            "layer": [layer_of(problem, plan, task.stage) for task in tasks],
        }
    )


def _buffer_boxes(problem: Problem, plan: Plan) -> ColumnDataSource:
    buffers = plan.graph.buffers
    lives = np.array(lives_ns(plan)).reshape(-1, 2) / 1e6
    low = np.array(plan.schedule.address)
    size = np.array([buffer.size_bytes for buffer in buffers])
    return ColumnDataSource(
        {
            "left": lives[:, 0],
            "right": lives[:, 1],
            "bottom": low / 1024,
            "top": (low + size) / 1024,
            "address": low,
            "bytes": size,
            "colour": [BUFFER_COLOURS[buffer.role] for buffer in buffers],
            "role": [BUFFER_NAMES[buffer.role] for buffer in buffers],
            "name": [buffer.label for buffer in buffers],
            "layer": [layer_of(problem, plan, buffer.stage) for buffer in buffers],
        }
    )
