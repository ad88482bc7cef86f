"""What budgets and the front say: sentences, the drawing, and the trade of spilling against fusing."""

from __future__ import annotations

import io
import re
import time
from dataclasses import replace

import pytest
from rich.console import Console

from ooc_solve.api import Comparison, load, problem_of, target
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Result, Selection, Status
from ooc_solve.quantities import LatencyBudget
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.figures import written_bytes
from ooc_solve.solver.pareto import Point
from ooc_solve.solver.selection import Aim, SelectionModel, build_space
from ooc_solve.solver.solve import cp_sat
from ooc_solve.trade import (
    before_and_after,
    day_words,
    front_section,
    front_svg,
    latency_ns,
    show_front,
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
    with pytest.raises(ValueError, match="needs a plan to refer to"):
        latency_ns(LatencyBudget.read("2x"), None)


def test_before_and_after_tell_both_lifetimes(comparison: Comparison) -> None:
    """The fastest plan writes a hundred times as much, and the storage lives a hundredth as long."""
    fast = with_costs(comparison.result, 5_000_000, 1, 100_000)
    lasting = with_costs(comparison.result, 6_000_000, 1, 1_000)
    words = before_and_after(comparison.problem, lasting, fast)
    assert words is not None
    assert re.search(r"Before.* 5\.00 ms.* 10 years.*After.* 6\.00 ms.* 1,000 years", words)
    assert "writes no more" not in words
    same = before_and_after(comparison.problem, fast, fast)
    assert same is not None
    assert "The fastest plan writes no more than the plan chosen" in same
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


def test_one_plan_is_no_front(points: tuple[Point, ...]) -> None:
    """A single plan is said to be the best known, and no drawing is made of it."""
    text = io.StringIO()
    show_front(Console(file=text, width=80), points[:1])
    for told in (text.getvalue(), front_section(points[:1])):
        assert "ne plan is the best known in every figure" in told
        assert "<svg" not in told
    show_front(Console(file=text, width=80), points)
    assert "none is better in every figure" in text.getvalue()


def test_the_page_shows_the_front(comparison: Comparison, points: tuple[Point, ...]) -> None:
    """The report has the drawing if the front was asked for, and else no word of it."""
    pytest.importorskip("bokeh", reason="needs the plotting library: pip install bokeh")
    from ooc_solve.html_report import page

    given = comparison.problem, comparison.results, comparison.steps
    assert "front of latency, energy and wear" in page(*given, points)
    assert "front of latency, energy and wear" not in page(*given)


TIGHT_BYTES = 100_000
"""A write budget under which MobileNetV2-224 may hardly spill at 128 KiB."""


def little_sram() -> Problem:
    """MobileNetV2-224 on an SD card with 128 KiB of SRAM: the fastest plan spills a megabyte."""
    return problem_of(load("zoo:mobilenet_v2_224"), target("f746-sd"), 128 * 1024)


def test_the_selection_fuses_early_blocks_where_it_may_hardly_write() -> None:
    """The fastest selection spills more than the budget; the fastest within it fuses more operators, and is slower."""
    space = build_space(little_sram())
    tight = replace(space, problem=replace(space.problem, write_budget_bytes=TIGHT_BYTES))
    free, within = (
        SelectionModel(one).solve(Aim.LAYER_OVERLAP, Budget(60.0, 1, 1)) for one in (space, tight)
    )
    assert free.status is within.status is Status.OPTIMAL
    assert free.selection is not None
    assert within.selection is not None
    assert longest_stage(within.selection) > longest_stage(free.selection)
    assert within.value > free.value
    assert written_bytes(tight.problem, expand(tight.problem, within.selection)) <= TIGHT_BYTES
    assert written_bytes(space.problem, expand(space.problem, free.selection)) > 5 * TIGHT_BYTES


def longest_stage(selection: Selection) -> int:
    """Most operators that are fused among the first stages."""
    return max(len(stage) for stage in selection.stages[:4])


@pytest.mark.slow
def test_a_tight_write_budget_fuses_the_early_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """The plan for MobileNetV2-224 on an SD card fuses its first blocks where it may write 100 kB."""
    monkeypatch.setattr(time, "monotonic", time.process_time)  # however much else the machine does
    tight = cp_sat(replace(little_sram(), write_budget_bytes=TIGHT_BYTES), Budget(60.0, 1, 1))
    assert tight.plan is not None
    assert tight.status in (Status.OPTIMAL, Status.FEASIBLE)
    assert tight.plan.figures.bytes_written <= TIGHT_BYTES
    assert longest_stage(tight.plan.selection) >= 6
