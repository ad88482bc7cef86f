"""Still pictures of task graphs and schedules for notebooks, drawn on the axes of matplotlib.

They take a graph and a schedule rather than a plan, so that schedules made by hand, and wrong ones, can
be looked at too. `Plan.plot` gives a drawing to zoom into instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ooc_solve.colours import BUFFER_COLOURS, BUFFER_NAMES, TASK_COLOURS, TASK_NAMES
from ooc_solve.models.vocabulary import Schedule, TaskGraph
from ooc_solve.timeline import buffer_lives_ns, end_ns

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def draw_timeline(axes: Axes, graph: TaskGraph, schedule: Schedule) -> None:
    """Draw a row per resource with a box for each task; time in ms."""
    for row, resource in enumerate(graph.resources):
        for kind, colour in TASK_COLOURS.items():
            spans = [
                (schedule.start_ns[task.index] / 1e6, task.duration_ns / 1e6)
                for task in graph.tasks
                if task.resource == resource and task.kind is kind
            ]
            if spans:
                axes.broken_barh(spans, (row - 0.4, 0.8), facecolors=colour, edgecolor="white", linewidth=0.5)
    axes.set_yticks(range(len(graph.resources)), graph.resources)
    axes.set_ylim(len(graph.resources) - 0.5, -0.5)
    axes.set_xlim(0, max(end_ns(graph, schedule), 1) / 1e6)
    axes.set_xlabel("ms")
    kinds = {task.kind for task in graph.tasks}
    _name_colours(axes, [(TASK_NAMES[kind], TASK_COLOURS[kind]) for kind in TASK_COLOURS if kind in kinds])


def draw_memory(axes: Axes, graph: TaskGraph, schedule: Schedule, arena_bytes: int | None = None) -> None:
    """Draw each buffer as a rectangle: the time it is in use (ms) by the addresses it takes (KiB).

    ``arena_bytes`` draws the end of the arena as a line.
    """
    lives = buffer_lives_ns(graph, schedule)
    for role, colour in BUFFER_COLOURS.items():
        for buffer in (buffer for buffer in graph.buffers if buffer.role is role):
            start, end = lives[buffer.index]
            low = schedule.address[buffer.index] / 1024
            axes.broken_barh(
                [(start / 1e6, (end - start) / 1e6)],
                (low, buffer.size_bytes / 1024),
                facecolors=colour,
                edgecolor="white",
                linewidth=0.5,
                alpha=0.8,
            )
    if arena_bytes is not None:
        axes.axhline(arena_bytes / 1024, color="black", linewidth=1)
        axes.set_ylim(0, arena_bytes / 1024 * 1.05)
    axes.set_xlim(0, max(end_ns(graph, schedule), 1) / 1e6)
    axes.set_xlabel("ms")
    axes.set_ylabel("address, KiB")
    roles = {buffer.role for buffer in graph.buffers}
    _name_colours(
        axes, [(BUFFER_NAMES[role], BUFFER_COLOURS[role]) for role in BUFFER_COLOURS if role in roles]
    )


def _name_colours(axes: Axes, names: list[tuple[str, str]]) -> None:
    """Add a legend beside the axes."""
    from matplotlib.patches import Patch

    marks = [Patch(color=colour, label=name) for name, colour in names]
    axes.legend(handles=marks, loc="upper left", bbox_to_anchor=(1, 1), frameon=False)
