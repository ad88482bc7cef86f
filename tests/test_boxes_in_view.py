"""A drawing of thousands of tasks, zoomed in a browser: what is painted, and what is not."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from ooc_solve.api import Comparison
from ooc_solve.models.vocabulary import Plan, Touch
from ooc_solve.timeline import span_of, task_label

pytest.importorskip("bokeh", reason="needs the plotting library: pip install bokeh")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

SHARES = (0.999, 0.1, 0.01, 0.001)
"""Of the whole time: the stretches that are looked at, each in the middle."""

PROBE = """
<iframe id="page" src="{page}" style="border:0;width:1280px;height:900px"></iframe><pre id="told"></pre>
<script>
const wait = (ms) => new Promise((after) => setTimeout(after, ms));
async function look() {{
  const view = document.getElementById("page").contentWindow;
  const figures = () => view.Bokeh ? view.Bokeh.documents.flatMap((shown) => shown.roots()).flatMap(
    (root) => [...root.references()]).filter((model) => model.type === "Figure") : [];
  while (figures().length < 2 || !figures().every((one) => one.inner_width > 100)) {{ await wait(200); }}
  await wait(1000);
  let painted = 0;
  const brush = view.CanvasRenderingContext2D.prototype, rect = brush.rect;
  brush.rect = function (...box) {{ painted += 1; return rect.apply(this, box); }};
  const time = figures()[0].x_range, whole = time.end, told = [];
  for (const share of {shares}) {{
    painted = 0;
    time.setv({{start: whole * (1 - share) / 2, end: whole * (1 + share) / 2}});
    for (let tries = 0; painted === 0 && tries < 100; tries++) {{ await wait(100); }}
    const boxes = figures()[0].renderers.filter((one) => one.view.filter.type === "IndexFilter");
    const seen = boxes.flatMap((one) => one.view.filter.indices.map((i) => one.data_source.data.name?.[i]));
    told.push({{start: time.start, end: time.end, width: figures()[0].inner_width, painted, seen}});
  }}
  document.getElementById("told").textContent = JSON.stringify(told);
}}
look();
</script>
"""


def repeated(plan: Plan, times: int) -> Plan:
    """The drawing of a plan that is carried out again and again: as many tasks and buffers for each time."""
    graph, schedule, span_ns = plan.graph, plan.schedule, plan.figures.latency_ns
    starts = tuple(start + k * span_ns for k in range(times) for start in schedule.start_ns)

    def moved(touches: tuple[Touch, ...], k: int) -> tuple[Touch, ...]:
        return tuple(replace(touch, buffer=touch.buffer + k * len(graph.buffers)) for touch in touches)

    tasks = tuple(
        replace(
            task,
            index=k * len(graph.tasks) + task.index,
            reads=moved(task.reads, k),
            writes=moved(task.writes, k),
        )
        for k in range(times)
        for task in graph.tasks
    )
    return replace(
        plan,
        graph=replace(graph, tasks=tasks, buffers=graph.buffers * times),
        schedule=replace(schedule, start_ns=starts, address=schedule.address * times),
        figures=replace(plan.figures, latency_ns=times * span_ns),
    )


def looked_at(page: Path, folder: Path) -> list[dict[str, Any]]:
    """What the probe tells of each stretch."""
    assert CHROMIUM is not None
    probe = folder / "probe.html"
    probe.write_text(PROBE.format(page=page.as_uri(), shares=list(SHARES)))
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--allow-file-access-from-files"),
        *(f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000"),
        *("--virtual-time-budget=120000", "--dump-dom", probe.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    told = re.search(r'<pre id="told">(.+?)</pre>', done.stdout, re.DOTALL)
    assert told is not None, done.stderr[-2000:]
    found: list[dict[str, Any]] = json.loads(unescape(told[1]))
    return found


@pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")
def test_only_what_can_be_seen_is_painted(comparison: Comparison, tmp_path: Path) -> None:
    """Of as many tasks as a plan of vgg16 has, a redraw paints a box for each that is in view, and no more.

    What a redraw takes grows with the boxes that it paints: this bounds it on every machine.
    """
    from ooc_solve.charts import drawing, standalone

    short = comparison.plan.decided
    plan = repeated(short, 1 + 6_600 // len(short.graph.tasks))
    (tmp_path / "page.html").write_text(standalone(drawing(comparison.plan.problem, plan), "many"))
    total = len(plan.graph.tasks) + len(plan.graph.buffers)
    for share, told in zip(SHARES, looked_at(tmp_path / "page.html", tmp_path), strict=True):
        width_ms = (told["end"] - told["start"]) / told["width"]
        in_view, wide = 0, []
        for task in plan.graph.tasks:
            start, end = (time / 1e6 for time in span_of(plan, task))
            if told["start"] < end and start < told["end"]:
                in_view += 1
                if end - start > 1.001 * width_ms:
                    wide.append(task_label(comparison.plan.problem, plan, task))
        assert set(wide) <= set(told["seen"]), "what is wider than a pixel is there"
        assert 0 < told["painted"] <= 2 * share * total + 300, share
        assert len(told["seen"]) <= in_view + 100, share
