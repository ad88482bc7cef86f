"""What budgets and the front say: sentences, the drawing, and the trade of spilling against fusing."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from ooc_solve.api import Comparison, load, problem_of, target
from ooc_solve.models.vocabulary import Budget, Plan, Result, Status
from ooc_solve.quantities import LatencyBudget
from ooc_solve.solver.pareto import Point
from ooc_solve.solver.solve import cp_sat
from ooc_solve.trade import (
    before_and_after,
    day_words,
    front_section,
    front_svg,
    latency_ns,
    trade_facts,
)


def with_costs(result: Result, latency: int, energy: int, written: int) -> Result:
    """A result whose plan has other figures."""
    assert result.plan is not None
    figures = replace(
        result.plan.figures,
        latency_ns=latency, energy_nj=energy, bytes_written=written, lifetime_years=1e6 / written,
    )  # fmt: skip
    return replace(result, plan=replace(result.plan, figures=figures))


@pytest.fixture
def points(comparison: Comparison) -> tuple[Point, ...]:
    """Three plans, the faster the more they write."""
    costs = [(10_000_000, 5_000_000, 9_000), (20_000_000, 6_000_000, 3_000), (30_000_000, 7_000_000, 100)]
    return tuple(
        Point(f"number <{k}>", comparison.problem, with_costs(comparison.result, *one))
        for k, one in enumerate(costs)
    )


def test_a_factor_counts_from_the_least_latency(comparison: Comparison) -> None:
    """1.1x of the plan that is known; a time is a time."""
    assert comparison.result.plan is not None
    least = comparison.result.plan.figures.latency_ns
    assert latency_ns(LatencyBudget.read("1.1x"), comparison.result) == least * 11 // 10
    assert latency_ns(LatencyBudget.read("3ms"), comparison.result) == 3_000_000
    assert latency_ns(LatencyBudget.read("2x"), None) is None


def test_before_and_after_tell_both_lifetimes(comparison: Comparison) -> None:
    """The fastest plan writes a hundred times as much, and the storage lives a hundredth as long."""
    fast = with_costs(comparison.result, 5_000_000, 1, 100_000)
    lasting = with_costs(comparison.result, 6_000_000, 1, 1_000)
    words = before_and_after(comparison.problem, lasting, fast)
    assert words is not None
    assert re.search(r"Before.* 5\.00 ms.* 10 years.*After.* 6\.00 ms.* 1,000 years", words)
    assert before_and_after(comparison.problem, lasting, None) is None


def test_a_day_without_room(comparison: Comparison) -> None:
    """A million inferences of a second each do not fit into a day."""
    slow = with_costs(comparison.result, 1_000_000_000, 1, 1)
    often = replace(comparison.problem, inferences_per_day=1e6)
    assert day_words(often, slow) == "There is no room for 1e+06 inferences a day."
    assert trade_facts(often, slow, None, ())["day"] is None


def test_the_drawing_has_a_dot_per_point(comparison: Comparison, points: tuple[Point, ...]) -> None:
    """Dots lie inside the drawing, faster ones further left and those that write more further up."""
    svg = front_svg(points)
    dots = [tuple(map(float, d)) for d in re.findall(r'cx="([\d.]+)" cy="([\d.]+)" r="([\d.]+)"', svg)]
    assert len(dots) == len(points)
    assert [x for x, _, _ in dots] == sorted(x for x, _, _ in dots)
    assert [y for _, y, _ in dots] == sorted(y for _, y, _ in dots)
    assert [r for _, _, r in dots] == sorted(r for _, _, r in dots)
    assert all(x - r > 0 and x + r < 720 and y - r > 0 and y + r < 320 for x, y, r in dots)
    section = front_section(points)
    assert "number &lt;2&gt;" in section
    assert "<2>" not in section
    assert front_svg(points[:1]).count("<circle") == 1


def test_the_page_shows_the_front(comparison: Comparison, points: tuple[Point, ...]) -> None:
    """The report has the drawing if the front was asked for, and else no word of it."""
    pytest.importorskip("bokeh", reason="needs the plotting library: pip install bokeh")
    from ooc_solve.html_report import page

    given = comparison.problem, comparison.results, comparison.steps
    assert "front of latency, energy and wear" in page(*given, points)
    assert "front of latency, energy and wear" not in page(*given)


def fused_operators(plan: Plan) -> int:
    """Operators of the first fused stage, 0 without one among the first stages."""
    stages = plan.selection.stages[:4]
    return max((len(stage) for stage in stages if len(stage) > 1), default=0)


@pytest.mark.slow
def test_a_tight_write_budget_fuses_the_early_blocks() -> None:
    """MobileNetV2-224 on an SD card spills less and fuses its first blocks when it may write a tenth."""
    problem = problem_of(load("zoo:mobilenet_v2_224"), target("f746-sd"))
    free = cp_sat(problem, Budget(240.0, 1, 1))
    assert free.plan is not None
    budget = free.plan.figures.bytes_written // 10
    tight = cp_sat(replace(problem, write_budget_bytes=budget), Budget(240.0, 1, 1))
    assert tight.plan is not None
    assert tight.status in (Status.OPTIMAL, Status.FEASIBLE)
    assert tight.plan.figures.bytes_written <= budget
    assert fused_operators(tight.plan) > fused_operators(free.plan)
