"""What budgets and the front say to people and programs: tables, sentences, JSON, a drawing."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ooc_solve.models.energy import duty, sleep_mw, waiting_mw
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Objective, Plan, Result, Status
from ooc_solve.quantities import LatencyBudget
from ooc_solve.report import kibibytes, lifetime, milliseconds
from ooc_solve.solver import solve as solving
from ooc_solve.solver.deadline import left_s
from ooc_solve.solver.pareto import MOST_POINTS, Point, front


class Turns:
    """One time limit for everything that a command asks for: each in its turn gets an even share of the rest."""

    def __init__(self, budget: Budget, turns: int) -> None:
        self.budget, self.left = budget, turns
        self.ends = time.monotonic() + budget.time_limit_s

    def next(self) -> Budget:
        """The share of what comes next."""
        rest_s = max(LEAST_TURN_S, self.ends - time.monotonic()) / max(1, self.left)
        self.left -= 1
        return replace(self.budget, time_limit_s=rest_s)


LEAST_TURN_S = 0.1
"""Seconds that are left to whoever comes last, whatever the others have spent."""


def least_latency(problem: Problem, budget: Budget) -> Result:
    """The fastest plan without any budget but the SRAM, for a factor to refer to."""
    return solving.cp_sat(problem.bare, budget)


def latency_ns(asked: LatencyBudget, reference: Result | None) -> int | None:
    """The budget in ns: a factor counts from the plan that is known to be fastest.

    Raises ``ValueError`` for a factor of nothing: a budget that is asked for is never left out.
    """
    if asked.factor is None:
        return asked.ns
    if reference is None or reference.plan is None:
        raise ValueError("a factor of the least latency needs a plan to refer to")
    return int(asked.factor * reference.plan.figures.latency_ns)


def without_reference(asked: LatencyBudget, reference: Result) -> Result:
    """What is answered where there is no fastest plan that a factor could refer to."""
    assert asked.factor is not None
    factor = f"{float(asked.factor):g}x"
    words = f"no plan to which the {factor} of --max-latency could refer was found: {reference.reason}"
    return replace(reference, reason=words)


def walk_front(problem: Problem, budget: Budget, known: Sequence[Result]) -> tuple[Point, ...]:
    """The front; its points share the time limit."""
    turns = Turns(budget, MOST_POINTS - 1)

    def solve(asked: Problem, plans: Sequence[Plan]) -> Result:
        if left_s() <= 0:
            return Result("cp-sat", Status.INFEASIBLE, None, None, 0, 0.0, solving.NOT_RUN)
        return solving.cp_sat(asked, turns.next(), None, plans)

    return front(problem, solve, known)


# ------------------------------------------------------------------------------- JSON


def trade_facts(
    problem: Problem, chosen: Result, reference: Result | None, points: Sequence[Point]
) -> dict[str, Any]:
    """What the JSON report says of budgets, of a day, and of other plans to choose from."""
    limits = problem.limits
    return {
        "limits": {
            "latency_ns": limits.latency_ns,
            "energy_nj": limits.energy_nj,
            "lifetime_years": limits.lifetime_years,
            "bytes_written": problem.most_written_bytes,
        },
        "day": _day_facts(problem, chosen),
        "least_latency": None if reference is None or reference.plan is None else _plan_facts(reference),
        "front": [
            {
                "asked": point.words,
                **_plan_facts(point.result),
                "also": [_also_facts(point, o) for o in point.also],
            }
            for point in points
        ],
    }


def _plan_facts(result: Result) -> dict[str, Any]:
    assert result.plan is not None
    figures = result.plan.figures
    return {
        "latency_ns": figures.latency_ns,
        "energy_nj": figures.energy_nj,
        "bytes_written": figures.bytes_written,
        "lifetime_years": figures.lifetime_years,
        "value": result.objective,
        "bound": result.bound,
        "gap": result.gap,
        "status": result.status.value,
    }


def _also_facts(point: Point, other: Point) -> dict[str, Any]:
    """A question that a point answers besides its own."""
    return {"asked": other.words, "bound": other.result.bound, "gap": point.gap_of(other)}


def _day_facts(problem: Problem, chosen: Result) -> dict[str, Any] | None:
    if chosen.plan is None:
        return None
    figures = chosen.plan.figures
    runs = float(problem.runs_per_day)
    day = duty(problem.target, figures.energy_nj, figures.latency_ns, runs)
    if day is None:
        return None
    waits_ns = max(0, figures.latency_ns - figures.compute_ns)
    return {
        "inferences_per_day": problem.inferences_per_day,
        "asleep_share": day.asleep_share,
        "awake_mj": day.awake_mj,
        "sleep_mj": day.sleep_mj,
        "mj_per_day": day.mj_per_day,
        "mean_mw": day.mean_mw,
        "waiting_mj": waiting_mw(problem.target) * waits_ns * runs / 1e9,
        "saved_mj_per_ms": (waiting_mw(problem.target) - sleep_mw(problem.target)) * runs / 1e3,
    }


# --------------------------------------------------------------------------- terminal


def day_words(problem: Problem, chosen: Result) -> str:
    """What a day costs, and what racing to idle would save."""
    facts = _day_facts(problem, chosen)
    rate = f"{problem.inferences_per_day:,g} inferences a day"
    if facts is None:
        return f"There is no room for {rate}."
    return (
        f"At {rate} the board sleeps {facts['asleep_share']:.2%} of the time at {sleep_mw(problem.target):g} mW: "
        f"{facts['mj_per_day']:,.0f} mJ a day ({facts['awake_mj']:,.0f} mJ of it awake), "
        f"{facts['mean_mw']:.3g} mW on average. Awake it takes {waiting_mw(problem.target):.3g} mW even where nothing "
        f"computes ({facts['waiting_mj']:,.0f} mJ a day): each ms that it sleeps earlier saves "
        f"{facts['saved_mj_per_ms']:,.3g} mJ a day."
    )


def before_and_after(problem: Problem, chosen: Result, reference: Result | None) -> str | None:
    """How long the storage lives with the fastest plan, and with this one."""
    if reference is None or reference.plan is None or chosen.plan is None:
        return None
    before, after = reference.plan.figures, chosen.plan.figures
    return (
        f"Before, with the least latency: {milliseconds(before.latency_ns)} ms, "
        f"{kibibytes(before.bytes_written)} KiB written, {_years(problem, reference)}. "
        f"After: {milliseconds(after.latency_ns)} ms, {kibibytes(after.bytes_written)} KiB written, "
        f"{_years(problem, chosen)}.{_unchanged(problem, reference, chosen)}"
    )


def _unchanged(problem: Problem, reference: Result, chosen: Result) -> str:
    """That writes did not fall, and whether they can."""
    assert reference.plan is not None
    assert chosen.plan is not None
    if chosen.plan.figures.bytes_written < reference.plan.figures.bytes_written:
        return ""
    if problem.objective is Objective.WEAR and chosen.status is Status.OPTIMAL:
        return " The fastest plan writes no more than the plan chosen, and no plan within the budgets does better."
    return " The fastest plan writes no more than the plan chosen; none that is better was found in time."


def _years(problem: Problem, result: Result) -> str:
    assert result.plan is not None
    years = result.plan.figures.lifetime_years
    if years is None:
        return "no wear"
    return f"the storage lives {lifetime(years)} at {problem.inferences_per_day:,g} inferences a day"


def show_front(console: Console, points: Sequence[Point]) -> None:
    """One line per question: those that a plan answers, then those of the next plan."""
    console.print(Text(f"front of latency, energy and wear: {_front_words(points)}"))
    table = Table(pad_edge=False, box=None, header_style="bold")
    table.add_column("asked", no_wrap=False, max_width=30)
    for name in ("ms", "mJ", "KiB written", "years", "gap"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in points:
        for cells in _rows(point):
            table.add_row(*cells)
    console.print(table)


def _front_words(points: Sequence[Point]) -> str:
    """What the points have in common."""
    if len(points) == 1:
        return "one plan is the best known in every figure"
    return "none is better in every figure"


def _rows(point: Point) -> list[tuple[str, ...]]:
    """A line for what was asked, and one for each other question that the same plan answers as well as any known."""
    *cells, gap = _cells(point)
    others = [(other.words, *cells, f"{point.gap_of(other):.2%}") for other in point.also]
    return [(point.words, *cells, gap), *others]


def _cells(point: Point) -> tuple[str, ...]:
    figures, gap = point.figures, point.result.gap
    return (
        milliseconds(figures.latency_ns),
        f"{figures.energy_nj / 1e6:,.2f}",
        kibibytes(figures.bytes_written),
        "-" if figures.lifetime_years is None else f"{figures.lifetime_years:,.0f}",
        "-" if gap is None else f"{gap:.2%}",
    )


# ---------------------------------------------------------------------------- drawing

WIDTH, HEIGHT, EDGE = 720, 320, 56
"""Pixels of the drawing, and of its margins."""


def front_svg(points: Sequence[Point]) -> str:
    """The front as one SVG: latency to the right, KiB written upwards, the area of a dot its energy."""
    latency = [point.costs[0] / 1e6 for point in points]
    written = [point.costs[2] / 1024 for point in points]
    most = max(point.costs[1] for point in points)
    dots = "".join(
        _dot(point, _along(x, latency, EDGE, WIDTH - EDGE), _along(y, written, HEIGHT - EDGE, EDGE), most)
        for point, x, y in zip(points, latency, written, strict=True)
    )
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" width="100%" style="max-width:{WIDTH}px" role="img" '
        f'xmlns="http://www.w3.org/2000/svg" font-size="12" font-family="sans-serif" fill="currentColor">'
        f"<title>front of latency, energy and wear</title>{_axes(latency, written)}{dots}</svg>"
    )


def _along(value: float, values: Sequence[float], start: float, end: float) -> float:
    """Where a value lies between two ends; in the middle where all are the same."""
    low, high = min(values), max(values)
    return (start + end) / 2 if high == low else start + (value - low) / (high - low) * (end - start)


def _dot(point: Point, x: float, y: float, most_nj: int) -> str:
    radius = 4 + 6 * point.costs[1] / max(most_nj, 1)
    words = f"{point.words}: {' / '.join(_cells(point))}"
    return (
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" fill="currentColor" fill-opacity="0.55">'
        f"<title>{escape(words)}</title></circle>"
    )


def _axes(latency: Sequence[float], written: Sequence[float]) -> str:
    bottom, right = HEIGHT - EDGE + 24, WIDTH - EDGE
    return (
        f'<path d="M{EDGE - 24} {EDGE - 24}V{bottom}H{right + 24}" fill="none" stroke="currentColor" '
        f'stroke-opacity="0.4"/>'
        f'<text x="{EDGE}" y="{bottom + 18}">{min(latency):,.2f} ms</text>'
        f'<text x="{right}" y="{bottom + 18}" text-anchor="end">{max(latency):,.2f} ms</text>'
        f'<text x="{EDGE - 16}" y="{EDGE - 28}">{max(written):,.1f} KiB written</text>'
        f'<text x="{EDGE - 16}" y="{bottom - 6}">{min(written):,.1f} KiB</text>'
    )


def front_section(points: Sequence[Point]) -> str:
    """Drawing and table of the front for the page."""
    heads = "".join(f"<th>{name}</th>" for name in ("asked", "ms", "mJ", "KiB written", "years", "gap"))
    rows = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>"
        for point in points
        for cells in _rows(point)
    )
    if len(points) == 1:
        words, drawing = "One plan is the best known in every figure.", ""
    else:
        words = (
            "Each dot is a plan; the larger, the more energy. None is better than another in every figure."
        )
        drawing = front_svg(points)
    return f"<p>{words}</p>{drawing}<table><tr>{heads}</tr>{rows}</table>"
