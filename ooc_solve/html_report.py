"""The report as one page for a browser: everything inside, nothing fetched."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from operator import itemgetter
from typing import Any

from bokeh.embed import components
from bokeh.resources import Resources

from ooc_solve.advice import Advice, remarks, rows
from ooc_solve.bottlenecks import SAME_PARTS, Cause, critical_ns, critical_path, is_cipher, retimed
from ooc_solve.charts import convergence, sram_map, time_axis, timeline, weight_memory_map
from ooc_solve.colours import (
    BEST_COLOUR,
    BOUND_COLOUR,
    BUFFER_COLOURS,
    BUFFER_NAMES,
    CAUSE_COLOURS,
    CIPHER_COLOUR,
    LAYER_GREYS,
    TASK_COLOURS,
    TASK_NAMES,
)
from ooc_solve.frames import Flight, frames_facts, frames_words
from ooc_solve.layer_names import short_names
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import NPU_UNIT, Objective, Plan, Result
from ooc_solve.npu_use import holdings
from ooc_solve.progress import Step
from ooc_solve.report import (
    amount,
    kibibytes,
    lifetime,
    milliseconds,
    report,
    ring_words,
    run_words,
    written_each,
)
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.pareto import Point
from ooc_solve.trade import day_words, front_section

RATES = (100, 1_000, 10_000, 100_000)
"""Inferences a day for which lifetimes are told."""


def page(
    problem: Problem,
    results: Sequence[Result],
    steps: Sequence[Step] = (),
    points: Sequence[Point] = (),
    advice: Advice | None = None,
    flight: Flight | None = None,
) -> str:
    """The page about the last result, which must have a plan; all figures are those of the JSON report.

    ``points`` are those of the front, ``advice`` is what changes would bring and ``flight`` what frames in flight
    do, if they were asked for.
    """
    chosen = results[-1]
    assert chosen.plan is not None
    plan, facts = chosen.plan, report(problem, results, steps)
    if flight is not None:
        facts["frames"] = frames_facts(flight)
    drawings = _drawings(problem, chosen, steps)
    script, places = components(drawings)
    sections = "".join(
        (
            section("Timeline", _TIMELINE_WORDS, _task_legend(plan) + places["timeline"]),
            section("SRAM", _SRAM_WORDS, _buffer_legend(problem, plan) + places["sram"]),
            section("The NPU's own memory", _WEIGHT_MEMORY_WORDS, places["weight memory"])
            if "weight memory" in places
            else "",
            section("Where the time goes", _CRITICAL_WORDS, _critical(plan) + _idle(plan)),
            section("Frames in flight", escape(frames_words(flight)), _frames(problem, facts["frames"]))
            if flight
            else "",
            section("What would help most", _RETIMED_WORDS, _retimed(problem, plan, facts)),
            section("What if", *((_ADVICE_WORDS, _advice(advice)) if advice else (_NO_ADVICE_WORDS, ""))),
            section("Layers", _LAYER_WORDS, _layers(facts, short_names(problem.network))),
            section("Schedulers side by side", _scheduler_words(facts), _schedulers(facts)),
            section("The search", _search_words(steps), _search_legend(steps) + places.get("search", "")),
            section("Latency, energy and wear", "", front_section(points)) if points else "",
            section("Wear and lifetime", "", _wear(problem, plan)),
            section("A day", "", f"<p>{escape(day_words(problem, chosen))}</p>"),
            section("In numbers", "", _numbers(problem, facts)),
        )
    )
    heads = f"{facts['model']} on {facts['target']}", _subtitle(problem, facts)
    return document(*heads, f'<div class="cards">{_cards(problem, facts)}</div>{sections}', script)


def document(title: str, subtitle: str, content: str, script: str) -> str:
    """A page that fetches nothing; ``content`` is HTML, ``script`` what bokeh makes of its drawings."""
    return _PAGE.format(
        title=escape(title),
        subtitle=escape(subtitle),
        style=_STYLE,
        content=content,
        library=Resources(mode="inline", components=["bokeh"], log_level="error").render_js(),
        drawings=script,
        dress=_DRESS,
    )


def _drawings(problem: Problem, chosen: Result, steps: Sequence[Step]) -> dict[str, Any]:
    assert chosen.plan is not None
    time = time_axis(chosen.plan)
    found = {
        "timeline": timeline(problem, chosen.plan, time),
        "sram": sram_map(problem, chosen.plan, time),
    }
    if holdings(problem, chosen.plan):
        found["weight memory"] = weight_memory_map(problem, chosen.plan, time)
    told = _whole_history(chosen, steps)
    if told:
        unit, scale = SCALES[problem.objective]
        found["search"] = convergence(told, unit, scale)
    return found


def _whole_history(chosen: Result, steps: Sequence[Step]) -> list[Step]:
    """The steps of the search and what it ended with."""
    if not steps:
        return []
    return [*steps, Step(chosen.seconds, "the end", chosen.objective, chosen.bound)]


SCALES = {
    Objective.LATENCY: ("ms", 1e6),
    Objective.ENERGY: ("mJ", 1e6),
    Objective.WEAR: ("bytes written", 1.0),
}


def _subtitle(problem: Problem, facts: dict[str, Any]) -> str:
    return (
        f"{facts['sram_bytes'] / 1024:g} KiB of SRAM, input and output in {facts['io']}, least "
        f"{facts['objective']}, planned by {facts['schedulers'][-1]['name']}{run_words(problem)}"
    )


# ------------------------------------------------------------------------------- first screen


def _cards(problem: Problem, facts: dict[str, Any]) -> str:
    return "".join(
        (
            _card("Does it fit?", "Yes", *_fit_words(facts)),
            _card("How slow?", *_slow_words(facts)),
            _card("How far from optimal, at most?", *_gap_words(problem, facts)),
            _card("How long does the storage live?", *_life_words(problem, facts)),
        )
    )


def _card(question: str, answer: str, words: str, share: float | None = None) -> str:
    bar = "" if share is None else f'<div class="meter"><i style="width:{min(1.0, share):.1%}"></i></div>'
    return (
        f'<div class="card"><h2>{question}</h2><p class="answer">{escape(answer)}</p>{bar}'
        f"<p>{escape(words)}</p></div>"
    )


def _fit_words(facts: dict[str, Any]) -> tuple[str, float]:
    used, given = facts["sram_peak_bytes"], facts["sram_bytes"]
    return f"{used:,} of {given:,} bytes of SRAM", used / given


def _slow_words(facts: dict[str, Any]) -> tuple[str, str]:
    took, floor, frames = facts["latency_ns"], facts["in_core_ns"], facts.get("frames")
    each = f"; an inference every {milliseconds(frames['period_ns'])} ms" if frames else ""
    if not floor:
        return f"{milliseconds(took)} ms", f"per {_run(facts)}{each}"
    words = (
        f"{milliseconds(took)} ms per {_run(facts)}; with everything in SRAM {milliseconds(floor)} ms at best"
    )
    return f"{took / floor:.2f} × in-core", words + each


def _run(facts: dict[str, Any]) -> str:
    """What a plan carries out."""
    frames = facts.get("frames")
    return f"run of {frames['per_run']} frames" if frames and frames["per_run"] > 1 else "inference"


def _gap_words(problem: Problem, facts: dict[str, Any]) -> tuple[str, str]:
    if facts["status"] == "optimal":
        return "Optimal", f"proven: {amount(problem, facts['value'])} is the least"
    value, bound = amount(problem, facts["value"]), amount(problem, facts["bound"])
    return f"{facts['gap']:.2%}", f"{value}; proven: no plan of the option space is below {bound}"


def _life_words(problem: Problem, facts: dict[str, Any]) -> tuple[str, str]:
    written, each = facts["bytes_written"], written_each(problem, facts["bytes_written"])
    if facts["lifetime_years"] is None:
        return (
            "No wear",
            f"{each} KiB written per inference" if written else "nothing is written",
        )
    rate = facts["inferences_per_day"]
    words = f"at {rate:,g} inferences a day, {each} KiB written by each"
    return lifetime(facts["lifetime_years"]), words


# ------------------------------------------------------------------------------------ sections


def section(title: str, words: str, content: str) -> str:
    """A part of a page under a heading; words and content are HTML."""
    lead = f"<p>{words}</p>" if words else ""
    return f"<section><h2>{escape(title)}</h2>{lead}{content}</section>"


def legend(items: Iterable[tuple[str, str]]) -> str:
    """Which colour means what."""
    marks = "".join(
        f'<li><i style="background:{colour}"></i>{escape(name)}</li>' for colour, name in dict.fromkeys(items)
    )
    return f'<ul class="legend">{marks}</ul>'


def _task_legend(plan: Plan) -> str:
    kinds = {task.kind for task in plan.graph.tasks}
    return legend((colour, TASK_NAMES[kind]) for kind, colour in TASK_COLOURS.items() if kind in kinds)


def _buffer_legend(problem: Problem, plan: Plan) -> str:
    roles = {buffer.role for buffer in plan.graph.buffers}
    marks = [(colour, BUFFER_NAMES[role]) for role, colour in BUFFER_COLOURS.items() if role in roles]
    return legend([*marks, (LAYER_GREYS[0], f"runtime ({problem.reserved_bytes:,} bytes)")])


def _search_legend(steps: Sequence[Step]) -> str:
    return legend(((BEST_COLOUR, "best plan"), (BOUND_COLOUR, "bound"))) if steps else ""


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table; on narrow screens each row becomes a block whose cells name their column.

    Cells are HTML; the first of each row is its name. ``kind``: classes of the style sheet.
    """
    body = [
        "<tr>"
        + "".join(
            f'<td data-head="{escape(head)}">{cell}</td>' for head, cell in zip(heads, row, strict=True)
        )
        + "</tr>"
        for row in rows
    ]
    head = "".join(f"<th>{escape(name)}</th>" for name in heads)
    return f'<table class="{kind}"><thead><tr>{head}</tr></thead><tbody>{"".join(body)}</tbody></table>'


def _bar(share: float, colour: str) -> str:
    return f'<div class="bar"><i style="width:{min(1.0, share):.1%};background:{colour}"></i></div>'


def _critical(plan: Plan) -> str:
    total = plan.figures.latency_ns or 1
    found = critical_ns(critical_path(plan))
    if not any(map(is_cipher, plan.graph.tasks)):
        del found[Cause.CRYPTO]
    rows = [
        (
            _CAUSE_WORDS[cause],
            milliseconds(time),
            f"{time / total:.0%}",
            _bar(time / total, CAUSE_COLOURS[cause]),
        )
        for cause, time in found.items()
    ]
    return table(("critical path", "ms", "share", ""), rows, "small")


def _idle(plan: Plan) -> str:
    total = plan.figures.latency_ns or 1
    units = plan.graph.resources[0], NPU_UNIT

    def busy(resource: str) -> int:
        return sum(task.duration_ns for task in plan.graph.tasks if task.resource == resource)

    spent = [
        (name, busy(name), CAUSE_COLOURS[Cause.COMPUTE if name in units else Cause.IO])
        for name in plan.graph.resources
    ]
    sealing = sum(t.duration_ns for t in plan.graph.tasks if t.occupies_cpu and t.transfer is not None)
    if sealing:
        spent.insert(1, ("of which opening and sealing", sealing, CIPHER_COLOUR))
    rows = [
        (escape(name), milliseconds(time), f"{time / total:.0%}", _bar(time / total, colour))
        for name, time, colour in spent
    ]
    return table(("busy", "ms", "share", ""), rows, "small")


def _retimed(problem: Problem, plan: Plan, facts: dict[str, Any]) -> str:
    base = plan.figures.latency_ns

    def times() -> Iterator[tuple[str, int]]:
        for again in retimed(plan):
            if again.change != SAME_PARTS or again.latency_ns != base:
                yield again.change, again.latency_ns
        if problem.objective is Objective.LATENCY and facts["bound"]:
            yield "a perfect plan, at best", facts["bound"]

    def row(change: str, latency_ns: int) -> tuple[str, str, str]:
        share = (latency_ns - base) / base if base else 0.0
        return escape(change), milliseconds(latency_ns), f"{share:+.1%}"

    rows = [row(*time) for time in sorted(times(), key=itemgetter(1))]
    return table(("this plan with", "ms", "change"), rows, "small")


def _frames(problem: Problem, frames: dict[str, Any]) -> str:
    """A run of several frames and one at a time, each inference's share; the plan of this page first."""

    def row(name: str, told: dict[str, Any]) -> tuple[str, ...]:
        if told["period_ns"] is None:
            return name, "none", "", "", ""
        best, bound = (amount(problem, round(told[key])) for key in ("value", "bound"))
        return name, milliseconds(told["period_ns"]), best, bound, f"{told['gap']:.2%}"

    rows = [row("one frame at a time", frames["one_at_a_time"])]
    if frames.get("overlap"):
        rows.insert(0, row(f"runs of {frames['per_run']} that overlap (this page)", frames))
    elif frames["per_run"] > 1:
        rows.insert(0, row(f"a run of {frames['per_run']} frames (this page)", frames))
    heads = ("each inference", "every ms", "value", "bound", "gap")
    lost = f"<p>No run of {frames['asked']} frames is known to be better than one frame at a time.</p>"
    return table(heads, rows, "small") + (lost if frames["per_run"] == 1 < frames["asked"] else "")


def _advice(advice: Advice) -> str:
    heads = (
        "what if",
        SCALES[advice.problem.objective][0],
        "change",
        "at best",
        "gap",
        "in-core ms",
        "s spent",
    )
    planned = [answer for answer in advice.answers if answer.value is not None]
    found = [
        (*map(escape, cells), milliseconds(answer.floor_ns or 0), f"{answer.seconds:.1f}")
        for cells, answer in zip(rows(advice), planned, strict=True)
    ]
    return table(heads, found) + "".join(f"<p>{escape(remark)}</p>" for remark in remarks(advice))


def _layers(facts: dict[str, Any], short: dict[str, str]) -> str:
    heads = ("layer", "kind", "tiles", "ms", "I/O ms", "waits ms", "mJ", "KiB read", "KiB written", "KiB RAM")
    sealed = any(layer["crypto_ns"] for layer in facts["layers"])
    rows = [
        (
            f'<span title="{escape(layer["name"])}">{escape(short[layer["name"]])}</span>',
            escape(layer["kind"]),
            f"{layer['tiles']:,}",
            milliseconds(layer["compute_ns"]),
            milliseconds(layer["io_ns"]),
            milliseconds(layer["waiting_ns"]),
            f"{layer['energy_nj'] / 1e6:,.2f}",
            kibibytes(layer["bytes_read"]),
            kibibytes(layer["bytes_written"]),
            kibibytes(layer["sram_bytes"]),
            *([milliseconds(layer["crypto_ns"])] if sealed else []),
            _badge(layer["bound_by"]),
        )
        for layer in facts["layers"]
    ]
    return table((*heads, *(["crypto ms"] if sealed else []), "bound by"), rows, "layers")


def _badge(cause: str) -> str:
    if not cause:
        return '<span class="badge">nothing</span>'
    return f'<span class="badge"><i style="background:{CAUSE_COLOURS[Cause(cause)]}"></i>{cause}</span>'


def _schedulers(facts: dict[str, Any]) -> str:
    longest = max((one["latency_ns"] or 0 for one in facts["schedulers"]), default=1) or 1
    rows = []
    for one in facts["schedulers"]:
        name = escape(one["name"])
        if one["latency_ns"] is not None:
            rows.append((name, *_scheduler_row(facts, one, longest)))
        elif one["status"] == "infeasible" or one["reason"]:
            rows.append((name, "none" if one["status"] == "infeasible" else "not run", *[""] * 6))
        else:
            floor = one["bound"]
            rows.append((name, milliseconds(floor), _bar(floor / longest, LAYER_GREYS[0]), *[""] * 5))
    heads = ("scheduler", "ms", "", "mJ", "KiB read", "KiB written", "KiB SRAM", "years")
    return table(heads, rows, "chosen")


def _scheduler_row(facts: dict[str, Any], one: dict[str, Any], longest: int) -> tuple[str, ...]:
    years = one["lifetime_years"]
    chosen = one is facts["schedulers"][-1]
    return (
        milliseconds(one["latency_ns"]),
        _bar(one["latency_ns"] / longest, BEST_COLOUR if chosen else LAYER_GREYS[0]),
        f"{one['energy_nj'] / 1e6:,.2f}",
        kibibytes(one["bytes_read"]),
        kibibytes(one["bytes_written"]),
        kibibytes(one["sram_peak_bytes"]),
        "–" if years is None else f"{years:,.0f}",
    )


def _scheduler_words(facts: dict[str, Any]) -> str:
    if len(facts["schedulers"]) == 1:
        return "Only one was asked for."
    return "The last one was chosen; the others are rules of tools and papers for the same problem."


def _search_words(steps: Sequence[Step]) -> str:
    return _SEARCH_WORDS if steps else "This scheduler follows a rule: there was no search."


def _wear(problem: Problem, plan: Plan) -> str:
    figures = plan.figures
    store = problem.activation_store.storage
    if figures.lifetime_years is None:
        why = (
            "nothing is written"
            if not figures.bytes_written
            else f"a part of kind {store.kind} does not wear"
        )
        return f"<p>The storage does not wear: {escape(why)}.</p>"
    rows = []
    for rate in RATES:
        years = figures_of(problem, plan.graph, plan.schedule, rate).lifetime_years
        daily = rate * figures.bytes_written / problem.network.frames / 1024
        rows.append((f"{rate:,}", f"{daily:,.0f}", "–" if years is None else lifetime(years)))
    assert store.endurance is not None
    words = (
        f"{escape(store.name)}: {store.endurance.cycles:,} program and erase cycles per {store.endurance.unit}, "
        f"{store.capacity_bytes / 2**20:,.0f} MiB, each byte written costs "
        f"{store.endurance.write_amplification:g} in the part."
    )
    ring = "".join(f"<p>{escape(sentence)}</p>" for sentence in ring_words(problem, plan))
    return f"<p>{words}</p>{ring}" + table(
        ("inferences a day", "KiB written a day", "storage lives"), rows, "small"
    )


def _numbers(problem: Problem, facts: dict[str, Any]) -> str:
    budget = facts["write_budget_bytes"]
    gap = "–" if facts["gap"] is None else f"{facts['gap']:.4%}"
    pairs = (
        ("objective", amount(problem, facts["value"])),
        ("bound", amount(problem, facts["bound"])),
        ("gap", gap),
        ("status", facts["status"]),
        ("seconds to solve", f"{facts['solve_seconds']:.1f}"),
        ("latency", f"{facts['latency_ns']:,} ns"),
        ("in-core bound", f"{facts['in_core_ns']:,} ns"),
        ("energy", f"{facts['energy_nj']:,} nJ"),
        ("read", f"{facts['bytes_read']:,} bytes"),
        ("written", f"{facts['bytes_written']:,} bytes"),
        ("write budget", "none" if budget is None else f"{budget:,} bytes"),
        ("SRAM", f"{facts['sram_peak_bytes']:,} of {facts['sram_bytes']:,} bytes"),
        ("tables", f"at most {facts['table_bytes']:,} bytes"),
        ("tasks", f"{facts['tasks']:,}"),
        ("plan", facts["plan_hash"]),
        ("model", facts["model_digest"]),
        ("made by", f"ooc-solve {facts['version']}"),
    )
    items = "".join(f"<dt>{name}</dt><dd>{escape(str(text))}</dd>" for name, text in pairs)
    return f'<dl class="numbers">{items}</dl>'


# --------------------------------------------------------------------------------------- words

_CAUSE_WORDS = {
    Cause.COMPUTE: "computing",
    Cause.CRYPTO: "opening and sealing records",
    Cause.IO: "waiting for storage",
    Cause.MEMORY: "waiting for storage because SRAM was full",
}
_TIMELINE_WORDS = (
    "Drag across to zoom, turn the wheel with Ctrl held, or use the buttons; the last one shows everything "
    "again. Hover or tap for names. The map of SRAM below zooms with it."
)
_SRAM_WORDS = "Which bytes hold what, and when. Free bytes are blank."
_WEIGHT_MEMORY_WORDS = (
    "Which weights lie where, and when: grey ones from start-up on, the others from the start of their load to the end "
    "of the last kernel that uses them."
)
_CRITICAL_WORDS = (
    "A chain of tasks without a gap, each waiting for the one before, makes the run as long as it is. "
    "Below it, how long each resource is busy."
)
_RETIMED_WORDS = (
    "This plan timed again by the cost model with its tiles and order unchanged. Solving again for such parts "
    "can only be better, and none of it is measured on a board."
)
_NO_ADVICE_WORDS = (
    "With <code>--advise</code> more and less SRAM, other storage and links, int8, patches and kernels are solved "
    "again, and ranked here."
)
_ADVICE_WORDS = (
    "Each change was made to the problem and solved again by the cost model. <b>change</b>: against this problem "
    "in the same time; <b>at best</b>: what the proven bound of the changed problem allows; <b>in-core</b>: "
    "computing alone. How well a network with smaller kernels works only training tells."
)
_LAYER_WORDS = (
    "<b>ms</b>: kernels. <b>I/O ms</b>: transfers, mostly behind kernels. <b>waits ms</b>: how long the CPU stood "
    "still before its tiles. <b>crypto ms</b>, where records are sealed: opening and sealing them, on the CPU or on "
    "an engine. <b>bound by</b>: what most of the layer's part of the critical path goes to; "
    "<i>nothing</i>: all of it is hidden behind other layers."
)
_SEARCH_WORDS = (
    "When better plans were found and how the proven bound rose; the gap between them is what is left."
)

_STYLE = """
:root { color-scheme: light dark; --page: #ffffff; --ink: #1b1f24; --soft: #59636e; --line: #d5d9de;
  --card: #f4f6f8; --good: #0072B2; }
@media (prefers-color-scheme: dark) { :root { --page: #14171b; --ink: #e8eaed; --soft: #a4adb8;
  --line: #363c44; --card: #1e2329; --good: #56B4E9; --bokeh-icon-color: #a4adb8; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 1280px; padding: 20px 24px 48px; background: var(--page); color: var(--ink);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
h1 { font-size: 26px; line-height: 1.2; margin: 0; overflow-wrap: anywhere; }
h2 { font-size: 19px; margin: 0 0 6px; }
p { margin: 0 0 10px; max-width: 80ch; }
header p, section > p { color: var(--soft); }
section { margin-top: 34px; }
.cards { display: grid; grid-template-columns: repeat(4, 1fr); gap: 14px; margin-top: 16px; }
.card { background: var(--card); border-radius: 10px; padding: 14px 16px; }
.card h2 { font-size: 14px; font-weight: 600; color: var(--soft); margin: 0; }
.card p { margin: 4px 0 0; overflow-wrap: anywhere; }
.card .answer { font-size: 27px; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums; }
.meter, .bar { background: var(--line); border-radius: 3px; overflow: hidden; }
.meter { height: 6px; margin-top: 6px; }
.bar { height: 12px; min-width: 90px; }
.meter i, .bar i { display: block; height: 100%; background: var(--good); }
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; list-style: none; padding: 0; margin: 0 0 4px; }
.legend i, .badge i { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 6px;
  vertical-align: -1px; }
.badge { white-space: nowrap; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; margin-bottom: 14px; }
th, td { padding: 5px 8px; text-align: right; border-bottom: 1px solid var(--line); }
th { font-weight: 600; color: var(--soft); font-size: 13px; vertical-align: bottom; }
th:first-child, td:first-child { text-align: left; padding-left: 0; overflow-wrap: anywhere; }
td:has(.bar) { width: 34%; }
.small { max-width: 780px; }
.layers th:nth-child(2), .layers td:nth-child(2) { text-align: left; }
.chosen tr:last-child td { font-weight: 650; }
.numbers { display: grid; grid-template-columns: max-content 1fr; gap: 4px 18px; margin: 0; }
.numbers dt { color: var(--soft); }
.numbers dd { margin: 0; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
footer { margin-top: 34px; color: var(--soft); border-top: 1px solid var(--line); padding-top: 10px; }
@media (max-width: 960px) { .cards { grid-template-columns: repeat(2, 1fr); } }
@media (max-width: 760px) {
  body { padding: 14px 12px 32px; }
  thead { display: none; }
  table, tbody { display: block; }
  tr { display: grid; grid-template-columns: 1fr 1fr; gap: 0 18px; padding: 8px 0;
    border-bottom: 1px solid var(--line); }
  td { display: flex; justify-content: space-between; gap: 8px; border: 0; padding: 1px 0; }
  td:first-child, td:has(.bar) { grid-column: 1 / -1; width: 100%; }
  td:first-child { font-weight: 650; }
  td:empty { display: none; }
  td:not(:first-child)::before { content: attr(data-head); color: var(--soft); }
  td:has(.bar)::before { content: none; }
  .bar { width: 100%; }
  .numbers { grid-template-columns: 1fr; }
  .numbers dd { margin-bottom: 6px; }
}
@media (max-width: 480px) { .cards { grid-template-columns: 1fr; gap: 10px; } .card { padding: 10px 14px; } }
"""

_DRESS = """
// The drawings take the colours of the page, now and when the system turns light or dark.
(function () {
  const dark = window.matchMedia("(prefers-color-scheme: dark)");
  function dress() {
    const style = getComputedStyle(document.documentElement);
    const colour = (name) => style.getPropertyValue(name).trim();
    const ink = colour("--ink"), soft = colour("--soft"), line = colour("--line");
    for (const root of Bokeh.documents.flatMap((shown) => shown.roots())) {
      for (const model of root.references()) {
        if (model.type.endsWith("Axis")) {
          model.setv({axis_line_color: line, major_tick_line_color: line, minor_tick_line_color: null,
            major_label_text_color: ink, axis_label_text_color: soft, axis_label_text_font_style: "normal",
            major_label_text_font_size: "12px", axis_label_text_font_size: "12px"});
        } else if (model.type === "Grid") {
          model.grid_line_color = line;
        }
      }
    }
  }
  function whenDrawn() {
    if (window.Bokeh && Bokeh.documents.length > 0) { dress(); } else { setTimeout(whenDrawn, 20); }
  }
  dark.addEventListener("change", dress);
  whenDrawn();
})();
"""

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>{style}</style>
{library}
</head>
<body>
<header><h1>{title}</h1><p>{subtitle}</p></header>
{content}
<footer>All times and energies are those of the board's cost model, not of a measurement.</footer>
{drawings}
<script>{dress}</script>
</body>
</html>
"""
