"""The curves of a sweep as one page for a browser: what SRAM is worth, by model, target and objective."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

from bokeh.embed import components
from bokeh.models import ColumnDataSource, CustomJSTickFormatter, FixedTicker, HoverTool, Range1d
from bokeh.palettes import Colorblind8
from bokeh.plotting import figure

from ooc_solve.colours import BOUND_COLOUR
from ooc_solve.html_report import SCALES, document, legend, section, table
from ooc_solve.models.vocabulary import Objective
from ooc_solve.report import kibibytes
from ooc_solve.sweep_point import Row

COLOURS = tuple(colour for colour in Colorblind8 if colour.upper() != BOUND_COLOUR)
MARKS = ("circle", "square", "triangle", "diamond", "inverted_triangle", "hex", "star")

Group = tuple[str, str, str]
"""Model, target and objective: what shares a drawing."""


def page(rows: Sequence[Row]) -> str:
    """The page about the rows of a sweep, of which there must be one."""
    groups: dict[Group, list[Row]] = {}
    for row in rows:
        groups.setdefault((row.model, row.target, row.objective), []).append(row)
    drawn = {group: curves(found) for group, found in groups.items() if _sizes(found)}
    script, places = components(list(drawn.values())) if drawn else ("", ())
    shown = dict(zip(drawn, places, strict=True))
    content = "".join(
        section(
            f"{model} on {target}, least {objective}",
            "",
            _legend(found) + shown.get((model, target, objective), "") + _table(found),
        )
        for (model, target, objective), found in groups.items()
    )
    solved = sum(row.value is not None for row in rows)
    return document("Sweep", f"{len(rows)} points, {solved} with a plan", content, script)


def curves(rows: Sequence[Row]) -> Any:
    """Value over SRAM, a curve for each scheduler and seed, and the highest of the proven bounds."""
    unit, scale = SCALES[Objective(rows[0].objective)]
    sizes = _sizes(rows)
    drawn = figure(
        x_axis_type="log",
        x_range=Range1d(start=min(sizes) / 1.1, end=max(sizes) * 1.1),
        height=320,
        sizing_mode="stretch_width",
        tools="pan,box_zoom,reset",
        active_drag="box_zoom",
        background_fill_color=None,
        border_fill_color=None,
        outline_line_color=None,
    )
    drawn.toolbar.logo = None
    drawn.xaxis.axis_label, drawn.yaxis.axis_label = "KiB of SRAM", unit
    drawn.xaxis.ticker = FixedTicker(ticks=_apart(sizes))
    for axis in (drawn.xaxis, drawn.yaxis):
        axis.formatter = CustomJSTickFormatter(code="return tick.toLocaleString('en')")
    for number, scheduler in enumerate(_schedulers(rows)):
        for seed in dict.fromkeys(row.seed for row in rows):
            found = [row for row in _planned(rows) if (row.scheduler, row.seed) == (scheduler, seed)]
            _curve(drawn, found, scale, unit, number)
    bounds = {"x": sizes, "y": [_bound(rows, size) / scale for size in sizes]}
    drawn.scatter(
        "x", "y", source=ColumnDataSource(bounds), color=BOUND_COLOUR, marker="dash", size=18, line_width=3
    )
    return drawn


def _curve(drawn: Any, rows: Sequence[Row], scale: float, unit: str, number: int) -> None:
    """The plans of one scheduler; they hold until more SRAM gives a better one, so the line has steps."""
    source = ColumnDataSource(
        {
            "x": [row.sram_bytes / 1024 for row in rows],
            "y": [(row.value or 0) / scale for row in rows],
            "name": [f"{row.scheduler}, seed {row.seed}" for row in rows],
            "gap": [f"{row.gap or 0:.2%}" for row in rows],
        }
    )
    colour = COLOURS[number % len(COLOURS)]
    drawn.step("x", "y", source=source, mode="after", line_width=2, color=colour)
    marker = MARKS[number % len(MARKS)]
    marks = drawn.scatter("x", "y", source=source, size=8, color=colour, marker=marker)
    tips = f"<b>@name</b><div>@x{{0,0.0}} KiB: @y{{0,0.000}} {unit}</div><div>gap @gap</div>"
    drawn.add_tools(HoverTool(renderers=[marks], tooltips=tips, visible=False))


def _planned(rows: Sequence[Row]) -> list[Row]:
    return [row for row in rows if row.value is not None]


def _sizes(rows: Sequence[Row]) -> list[float]:
    """KiB of SRAM of the rows with plans."""
    return sorted({row.sram_bytes / 1024 for row in _planned(rows)})


def _bound(rows: Sequence[Row], size: float) -> int:
    """The highest bound for some SRAM: each holds for the plans of all schedulers."""
    return max(row.bound or 0 for row in _planned(rows) if row.sram_bytes / 1024 == size)


def _apart(sizes: Sequence[float]) -> list[float]:
    """Sizes whose labels do not run into each other."""
    found = [sizes[0]]
    for size in sizes[1:]:
        if size >= found[-1] * (max(sizes) / min(sizes)) ** 0.12:
            found.append(size)
    return found


def _schedulers(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row.scheduler for row in rows))


def _legend(rows: Sequence[Row]) -> str:
    marks = [(COLOURS[n % len(COLOURS)], name) for n, name in enumerate(_schedulers(rows))]
    return legend([*marks, (BOUND_COLOUR, "proven: no plan is below")])


def _table(rows: Sequence[Row]) -> str:
    """The plans in a table, and below it why the other points have none."""
    unit, scale = SCALES[Objective(rows[0].objective)]
    seeds = len({row.seed for row in rows}) > 1
    heads = ("scheduler", "KiB SRAM", unit, "bound", "gap", "takes ms", "mJ", "KiB read", "KiB written")
    found = [(_name(row, seeds), *_cells(row, scale)) for row in _planned(rows)]
    return (table(heads, found, "layers") if found else "") + _without(rows, seeds)


def _name(row: Row, seeds: bool) -> str:
    """The scheduler, with the seed where there are several."""
    return escape(f"{row.scheduler}, seed {row.seed}" if seeds else row.scheduler)


def _cells(row: Row, scale: float) -> tuple[str, ...]:
    digits = 2 if scale > 1 else 0  # bytes are whole
    return (
        kibibytes(row.sram_bytes),
        f"{(row.value or 0) / scale:,.{digits}f}",
        f"{(row.bound or 0) / scale:,.{digits}f}",
        f"{row.gap or 0:.2%}",
        f"{(row.latency_ns or 0) / 1e6:,.2f}",
        f"{(row.energy_nj or 0) / 1e6:,.2f}",
        kibibytes(row.bytes_read or 0),
        kibibytes(row.bytes_written or 0),
    )


def _without(rows: Sequence[Row], seeds: bool) -> str:
    return "".join(
        f"<p><b>{kibibytes(row.sram_bytes)} KiB, {_name(row, seeds)}: no plan.</b> {escape(_why(row))}</p>"
        for row in rows
        if row.value is None
    )


def _why(row: Row) -> str:
    """Why a point has no plan, and the least SRAM known to work where the reason does not name it."""
    reason, least = row.reason or "", row.min_sram_bytes
    if least is None or str(least) in reason:
        return reason
    return f"{reason} (least SRAM known: {least:,} bytes)"
