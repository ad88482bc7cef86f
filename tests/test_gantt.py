"""The small drawing against the plan it shows."""

from __future__ import annotations

import re
from xml.etree import ElementTree

from ooc_solve.api import Comparison
from ooc_solve.colours import TASK_COLOURS
from ooc_solve.gantt import LEFT, WIDTH, gantt_svg
from ooc_solve.models.vocabulary import TaskKind

SVG = "{http://www.w3.org/2000/svg}"


def test_rows_and_lengths(comparison: Comparison) -> None:
    """It is sound XML, names every resource, and its blue covers as much as the CPU computes."""
    plan = comparison.plan.decided
    drawn = ElementTree.fromstring(gantt_svg(plan))
    words = [text.text for text in drawn.iter(f"{SVG}text")]
    assert set(plan.graph.resources) <= set(words)
    boxes = [box for box in drawn.iter(f"{SVG}rect") if box.get("fill") == TASK_COLOURS[TaskKind.COMPUTE]]
    width = sum(float(box.get("width", 0)) for box in boxes[:-1])  # the last one is the legend's
    share = plan.figures.compute_ns / plan.figures.latency_ns
    assert abs(width / (WIDTH - LEFT - 8) - share) < 0.1


def test_small_however_long_the_plan(comparison: Comparison) -> None:
    """Tasks too short to be told apart share a box, so that the drawing stays small."""
    svg = gantt_svg(comparison.plan.decided)
    per_row = len(re.findall("<rect", svg)) / len(comparison.plan.decided.graph.resources)
    assert per_row <= 2 * (WIDTH - LEFT)
    assert "script" not in svg
