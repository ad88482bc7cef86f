"""The page against the JSON report, and in a browser: no error, nothing fetched, nothing cut off."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import pytest

from ooc_solve.api import Comparison, encrypted, load, target
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.vocabulary import Budget
from ooc_solve.report import kibibytes, milliseconds
from ooc_solve.solver.solve import SCHEDULERS

pytest.importorskip("bokeh", reason="needs the plotting library: pip install bokeh")

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="needs chromium: apt-get install chromium")

DARK = "--blink-settings=preferredColorScheme=0"

PROBE = """
<iframe id="page" src="{page}" style="border:0;width:{width}px;height:4000px"></iframe><pre id="told"></pre>
<script>
// The page in a frame of the width asked for: browsers do not make their windows as narrow as a telephone.
console.log("probed");
function isDrawn() {{
  const view = document.getElementById("page").contentWindow;
  const drawings = view.Bokeh ? view.Bokeh.documents.flatMap((shown) => shown.roots()) : [];
  return drawings.length > 0 && drawings.every((m) => m.inner_width > 100);
}}
function whenDrawn(left) {{
  if (isDrawn() || left === 0) {{ setTimeout(tell, 500); }} else {{ setTimeout(() => whenDrawn(left - 1), 200); }}
}}
function tell() {{
  const frame = document.getElementById("page"), shown = frame.contentDocument, view = frame.contentWindow;
  const wide = [...shown.body.querySelectorAll("*")].filter((item) => {{
    const box = item.getBoundingClientRect();
    return box.width > 0 && (box.right > {width} + 0.5 || box.left < -0.5);
  }});
  const cut = [...shown.body.querySelectorAll("td, th, dd, dt, p, h1, h2, li")].filter(
    (item) => item.scrollWidth > item.clientWidth + 1 && item.clientWidth > 0);
  const drawings = view.Bokeh.documents.flatMap((shown) => shown.roots());
  const style = view.getComputedStyle(shown.body);
  document.getElementById("told").textContent = JSON.stringify({{
    width: shown.documentElement.scrollWidth,
    wide: wide.map((item) => item.outerHTML.slice(0, 80)),
    cut: cut.map((item) => item.textContent.slice(0, 80)),
    drawings: drawings.map((m) => m.inner_width > 100 && m.inner_height > 50),
    answers: [...shown.querySelectorAll(".answer")].map((item) => item.getBoundingClientRect().bottom),
    ground: style.backgroundColor,
    ink: style.color,
  }});
}}
whenDrawn(250);
</script>
"""


@pytest.fixture(scope="module")
def page(comparison: Comparison, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report in a file."""
    file = tmp_path_factory.mktemp("report") / "report.html"
    comparison.report(file)
    return file


def words_of(page: Path) -> str:
    """What a reader reads, without scripts and styles."""
    text = re.sub(r"(?s)<(script|style)\b.*?</\1>", " ", page.read_text())
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", text)))


def test_figures_are_those_of_the_json_report(page: Path, comparison: Comparison) -> None:
    """Every figure of the JSON report is on the page, for the plan, each scheduler and each layer."""
    facts, words = comparison.to_dict(), words_of(page)
    assert f"{facts['sram_peak_bytes']:,} of {facts['sram_bytes']:,} bytes" in words
    for name, unit in (("latency_ns", "ns"), ("in_core_ns", "ns"), ("energy_nj", "nJ")):
        assert f"{facts[name]:,} {unit}" in words
    for name in ("bytes_read", "bytes_written", "table_bytes"):
        assert f"{facts[name]:,} bytes" in words
    assert f"{facts['gap']:.2%}" in words
    assert f"{facts['gap']:.4%}" in words
    assert f"{facts['latency_ns'] / facts['in_core_ns']:.2f} × in-core" in words
    assert facts["plan_hash"] in words
    for one in facts["schedulers"]:
        if one["latency_ns"] is not None:
            row = f"{one['name']} {milliseconds(one['latency_ns'])} {one['energy_nj'] / 1e6:,.2f} "
            assert row + kibibytes(one["bytes_read"]) in words
        elif one["reason"]:
            assert f"{one['name']} {'none' if one['status'] == 'infeasible' else 'not run'} " in words
        else:
            assert f"{one['name']} {milliseconds(one['bound'])} " in words
    for layer in facts["layers"]:
        times = (milliseconds(layer[name]) for name in ("compute_ns", "io_ns", "waiting_ns"))
        sizes = (kibibytes(layer[name]) for name in ("bytes_read", "bytes_written", "sram_bytes"))
        cells = (
            layer["name"],
            layer["kind"],
            f"{layer['tiles']:,}",
            *times,
            f"{layer['energy_nj'] / 1e6:,.2f}",
        )
        assert " ".join((*cells, *sizes, layer["bound_by"] or "nothing")) in words


def test_what_helps_most_comes_first(page: Path) -> None:
    """The table of the plan with other parts begins with the shortest run."""
    text = page.read_text()
    section = text[text.index("What would help most") :].split("</table>")[0]
    shares = [float(share) for share in re.findall(r">([+-][\d.]+)%<", section)]
    assert len(shares) >= 3
    assert shares == sorted(shares)


def test_sealed_records_have_their_share(page: Path, tmp_path: Path) -> None:
    """Where records are sealed, the cipher has its row on the critical path and in what would help; else none."""
    from ooc_solve import html_report

    problem = Problem(
        load("zoo:ds_cnn"), encrypted(target("f746-sd"), "aes-128-gcm"), 32 << 10, IoPlace.STORAGE
    )
    file = tmp_path / "sealed.html"
    file.write_text(html_report.page(problem, [SCHEDULERS["demand-layering"](problem, Budget(5.0, 1, 1))]))
    for words, expected in ((words_of(file), True), (words_of(page), False)):
        assert (re.search(r"opening and sealing records \d", words) is not None) is expected
        assert ("cipher twice as fast" in words) is expected
        assert ("crypto ms bound by" in words) is expected
        assert "crypto ms , where records are sealed" in words


def test_every_task_and_buffer_is_drawn(page: Path, comparison: Comparison) -> None:
    """The data of the drawings name every buffer, and have a box for each task."""
    plan = comparison.plan.decided
    text = page.read_text()
    for buffer in plan.graph.buffers:
        assert json.dumps(buffer.label) in text
    boxes = [len(json.loads(names)) for names in re.findall(r'\["name",(\[[^\]]*\])\]', text)]
    kernels = len(plan.graph.compute_tasks)
    assert {kernels, len(plan.graph.tasks) - kernels, len(plan.graph.buffers)} <= set(boxes)


def test_nothing_is_fetched(page: Path) -> None:
    """No tag of the page points anywhere: it works without a network."""
    tags = re.findall(
        r"<(?:script|link|img|iframe|source)\b[^>]*>",
        re.sub(r"(?s)<script.*?</script>", "", page.read_text()),
    )
    assert tags == []
    assert not re.findall(r"<script[^>]*\bsrc", page.read_text())
    assert "@import" not in page.read_text()
    assert page.stat().st_size < 4_000_000


def browse(page: Path, folder: Path, width: int, *options: str) -> tuple[dict[str, object], list[str]]:
    """What the probe tells of the page at a width, and what the browser's console says."""
    assert CHROMIUM is not None
    probe = folder / f"probe{width}.html"
    probe.write_text(PROBE.format(page=page.as_uri(), width=width))
    command = [
        *(CHROMIUM, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", *options),
        *(
            "--enable-logging=stderr",
            "--v=0",
            "--allow-file-access-from-files",
            "--host-resolver-rules=MAP * 0.0.0.0",
        ),
        *(f"--user-data-dir={folder / 'profile'}", "--window-size=1400,1000", "--virtual-time-budget=60000"),
        *("--dump-dom", probe.as_uri()),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    told = re.search(r'<pre id="told">(.+?)</pre>', done.stdout, re.DOTALL)
    assert told is not None, done.stderr[-2000:]
    return json.loads(unescape(told[1])), [line for line in done.stderr.splitlines() if "CONSOLE" in line]


def brightness(colour: str) -> float:
    """Mean of the channels of ``rgb(r, g, b)``."""
    return sum(map(int, re.findall(r"\d+", colour)[:3])) / 3


@needs_chromium
@pytest.mark.parametrize("options", [(), (DARK,)], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1280, 400])
def test_in_a_browser(page: Path, tmp_path: Path, width: int, options: tuple[str, ...]) -> None:
    """At both widths, light and dark: no console error, drawings there, nothing beyond the edge or cut off."""
    told, console = browse(page, tmp_path, width, *options)
    assert any("probed" in line for line in console), "the console is heard"
    assert [line for line in console if "setting log level" not in line and "probed" not in line] == []
    assert told["width"] == width
    assert told["wide"] == []
    assert told["cut"] == []
    assert told["drawings"] == [True] * 3
    answers = told["answers"]
    assert isinstance(answers, list)
    assert len(answers) == 4
    assert max(answers) < 800, "the first screen of a telephone has all four answers"
    contrast = brightness(str(told["ink"])) - brightness(str(told["ground"]))
    assert contrast > 150 if options else contrast < -150
