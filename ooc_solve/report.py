"""What people and programs read of a result: the JSON report and the terminal tables."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from fractions import Fraction
from itertools import pairwise
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ooc_solve import __version__, npu_use, storage_use
from ooc_solve.bottlenecks import Cause, critical_ns_of_layers, critical_path
from ooc_solve.layer_names import short_names
from ooc_solve.models.energy import Rates, nanojoules
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.plan_json import plan_hash
from ooc_solve.models.problem import Problem
from ooc_solve.models.sealing import cipher_of
from ooc_solve.models.vocabulary import Budget, Objective, Plan, Result, Status, Task, TaskKind
from ooc_solve.models.wear import is_levelled
from ooc_solve.progress import Step
from ooc_solve.ring import ring_facts
from ooc_solve.solver.figures import hottest_programs, traffic_of
from ooc_solve.solver.heuristics import IN_CORE, in_core
from ooc_solve.solver.least import least_known
from ooc_solve.storage_use import StoreUse, uses_of
from ooc_solve.timeline import crypto_ns_of_layers

SCHEMA = "ooc-report/1"
LAYER_WIDTH = 15
"""Characters of a layer's name in the terminal."""


@dataclass(frozen=True, slots=True)
class Layer:
    """Share of one operator in a plan. ``waiting_ns``: time the CPU stood still before its tiles.

    ``crypto_ns``: what opening and sealing records take, beside ``compute_ns``, on the CPU or on an engine.
    ``bound_by`` is what most of its time on the critical path is put down to, empty if it has none
    there. The energies of all layers add up to that of the plan.
    """

    name: str
    kind: str
    tiles: int
    compute_ns: int
    io_ns: int
    waiting_ns: int
    bytes_read: int
    bytes_written: int
    sram_bytes: int
    output_kept: bool
    energy_nj: int
    bound_by: str
    crypto_ns: int


def layers_of(problem: Problem, plan: Plan) -> tuple[Layer, ...]:
    """Per-operator figures of a plan, in the order in which it runs them."""
    problem = ordered(problem, plan.selection.order)
    graph, start = plan.graph, plan.schedule.start_ns
    count = len(problem.network.ops)
    compute, io, waiting = [0] * count, [0] * count, [0] * count
    read, written, tiles, sram = [0] * count, [0] * count, [0] * count, [0] * count
    busy, spent, previous = [0] * count, [0] * count, 0
    for task in sorted((t for t in graph.tasks if t.occupies_unit), key=lambda t: start[t.index]):
        stage, end = max(task.stage, 0), start[task.index] + task.duration_ns
        busy[stage] += task.duration_ns
        waiting[stage] += max(0, start[task.index] - previous)
        spent[stage] += max(0, end - previous)
        previous = max(previous, end)
    for task in graph.tasks:
        stage = max(task.stage, 0)
        if task.kind is TaskKind.COMPUTE:
            tiles[stage] += 1
            compute[stage] += task.duration_ns
            used = {touch.buffer for touch in (*task.reads, *task.writes)}
            sram[stage] = max(sram[stage], sum(graph.buffers[b].size_bytes for b in used))
        elif task.transfer is not None:
            io[stage] += task.duration_ns if task.moved is not None else 0
            if task.kind is TaskKind.LOAD:
                read[stage] += task.transfer.size_bytes
            elif task.kind is TaskKind.STORE:
                written[stage] += task.transfer.size_bytes
    kept = {name for name, _ in graph.resident}
    energy, bound = _energies(problem, plan, busy, spent), _bounds(plan, count)
    crypto = crypto_ns_of_layers(plan)
    return tuple(
        Layer(
            op.name, op.kind.value, tiles[s], compute[s], io[s], waiting[s], read[s], written[s], sram[s],
            op.output in kept, energy[s], bound[s], crypto[s],
        )
        for s, op in enumerate(problem.network.ops)
    )  # fmt: skip


def _energies(problem: Problem, plan: Plan, busy: list[int], spent: list[int]) -> list[int]:
    """What each layer adds to the energy; what follows the last kernel belongs to the last layer.

    ``busy`` is for how long units compute for a layer, ``spent`` how much later it ends than those before it (ns).
    """
    rates, tasks = Rates.of(problem.target), defaultdict[int, list[Task]](list)
    for task in plan.graph.tasks:
        tasks[max(task.stage, 0)].append(task)
    sums, spent_ns, fixed_pj = [0], 0, Fraction(0)
    for stage in range(len(busy)):
        spent_ns += spent[stage]
        if stage == len(busy) - 1:
            spent_ns = plan.figures.latency_ns
        regions = () if stage else plan.graph.regions  # the note in a ring belongs to the first layer
        traffic = traffic_of(problem, replace(plan.graph, tasks=tuple(tasks[stage]), regions=regions))
        fixed_pj += rates.fixed_pj(busy[stage], traffic)
        sums.append(nanojoules(fixed_pj + rates.per_ns * spent_ns))
    return [after - before for before, after in pairwise(sums)]


def _bounds(plan: Plan, count: int) -> list[str]:
    """What bounds each layer: where most of its time on the critical path goes."""
    shares = critical_ns_of_layers(critical_path(plan), count)

    def most(share: dict[Cause, int]) -> str:
        cause = max(share, key=lambda cause: share[cause])
        return cause.value if share[cause] else ""

    return [most(share) for share in shares]


# ----------------------------------------------------------------------------- JSON


def report(problem: Problem, results: Sequence[Result], steps: Sequence[Step] = ()) -> dict[str, Any]:
    """The JSON report, schema ``ooc-report/1``: the last result in full, all in short, the search's steps."""
    chosen = results[-1]
    found: dict[str, Any] = {
        "schema": SCHEMA,
        "version": __version__,
        "model": problem.network.name,
        "model_digest": problem.network.digest,
        "target": problem.target.name,
        "sram_bytes": problem.sram_bytes,
        "io": problem.io.value,
        "objective": problem.objective.value,
        "write_budget_bytes": problem.write_budget_bytes,
        "inferences_per_day": problem.inferences_per_day,
        "scratch_ring": None if chosen.plan is None else ring_facts(problem, chosen.plan),
        "in_core_ns": _in_core_ns(problem, results),
        **_figures(chosen),
        "schedulers": [
            {"name": result.scheduler, **_figures(result), "reason": result.reason or None}
            for result in results
        ],
        "layers": [],
        "stores": [],
        "weight_memory": [],
        "convergence": [
            {"seconds": round(step.seconds, 3), "what": step.what, "best": step.best, "bound": step.bound}
            for step in steps
        ],
        "plan_hash": None,
    }
    if chosen.plan is not None:
        found["layers"] = [_layer(layer) for layer in layers_of(problem, chosen.plan)]
        found["stores"] = [_store(use) for use in uses_of(problem, chosen.plan)]
        found["weight_memory"] = [asdict(held) for held in npu_use.holdings(problem, chosen.plan)]
        found["plan_hash"] = plan_hash(problem, chosen.plan)
    else:
        least = least_known(problem)
        found["reason"] = chosen.reason
        found["min_sram_bytes"] = least.sram_bytes if least else None
    return found


def _figures(result: Result) -> dict[str, Any]:
    figures = result.plan.figures if result.plan else None
    return {
        "status": result.status.value,
        "value": result.objective,
        "bound": result.bound,
        "gap": result.gap,
        "latency_ns": figures.latency_ns if figures else None,
        "energy_nj": figures.energy_nj if figures else None,
        "bytes_read": figures.bytes_read if figures else None,
        "bytes_written": figures.bytes_written if figures else None,
        "lifetime_years": figures.lifetime_years if figures else None,
        "sram_peak_bytes": figures.sram_peak_bytes if figures else None,
        "table_bytes": figures.table_bytes if figures else None,
        "tasks": len(result.plan.graph.tasks) if result.plan else None,
        "solve_seconds": round(result.seconds, 3),
        "processes": result.processes,
    }


def _store(use: StoreUse) -> dict[str, Any]:
    return {name: getattr(use, name) for name in StoreUse.__slots__} | {"regions": dict(use.regions)}


def _layer(layer: Layer) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in Layer.__slots__}


# ------------------------------------------------------------------------- terminal


def milliseconds(ns: int) -> str:
    """Time for people."""
    return f"{ns / 1e6:,.2f}" if ns < 10**9 else f"{ns / 1e6:,.0f}"


def kibibytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1024:,.1f}" if size < 10 * 1024 * 1024 else f"{size / 1024:,.0f}"


def show_comparison(console: Console, problem: Problem, results: Sequence[Result]) -> None:
    """One line per scheduler, the chosen plan last."""
    bound = results[-1].bound
    console.print(Text(title(problem)))
    table = Table(pad_edge=False, box=None, header_style="bold")
    table.add_column("scheduler", no_wrap=True)
    for name in ("ms", "vs bound", "mJ", "KiB read", "written", "SRAM", "years"):
        table.add_column(name, justify="right", no_wrap=True)
    left_out = [result for result in results if _is_left_out(result)]
    all_are = len(left_out) == len(results) - 1
    for result in results:
        if not (all_are and _is_left_out(result)):
            table.add_row(*_row(result, bound), style="bold" if result is results[-1] else "")
    console.print(table)
    for result in results[:-1]:
        if result.plan is not None and result.reason:
            console.print(Text(f"{result.scheduler}: {result.reason}."))
    if left_out:
        names = "all rules" if all_are else ", ".join(result.scheduler for result in left_out)
        console.print(Text(f"{names}: {left_out[0].reason}; allow more with --time-limit."))


def _is_left_out(result: Result) -> bool:
    """Whether a scheduler was not asked, as there was no time."""
    return result.plan is None and result.status is not Status.INFEASIBLE and bool(result.reason)


def title(problem: Problem) -> str:
    """Network, target and options in one line."""
    return (
        f"{problem.network.name} on {problem.target.name}, {problem.sram_bytes / 1024:g} KiB SRAM, "
        f"io {problem.io.value}, least {problem.objective.value}{run_words(problem)}"
    )


def run_words(problem: Problem) -> str:
    """What the figures are about, where that is more than one inference."""
    frames = problem.network.frames
    return f", a run of {frames} frames" if frames > 1 else ""


def _row(result: Result, bound: int) -> tuple[str, ...]:
    if result.plan is None:
        if result.status is Status.INFEASIBLE or result.reason:
            return (result.scheduler, "none" if result.status is Status.INFEASIBLE else "not run", *[""] * 6)
        return (result.scheduler, milliseconds(result.bound), *[""] * 6)
    figures = result.plan.figures
    value = result.objective or 0
    over = f"+{(value - bound) / bound:.1%}" if bound else "-"
    years = "-" if figures.lifetime_years is None else f"{figures.lifetime_years:,.0f}"
    return (
        result.scheduler,
        milliseconds(figures.latency_ns),
        over,
        f"{figures.energy_nj / 1e6:,.2f}",
        kibibytes(figures.bytes_read),
        kibibytes(figures.bytes_written),
        kibibytes(figures.sram_peak_bytes),
        years,
    )


def show_layers(console: Console, problem: Problem, plan: Plan) -> None:
    """Per-layer breakdown of a plan."""
    console.print("per layer (read, written and RAM in KiB)")
    table = Table(pad_edge=False, box=None, header_style="bold", collapse_padding=True)
    table.add_column("layer", no_wrap=True, max_width=LAYER_WIDTH)
    table.add_column("kind", no_wrap=True)
    for name in ("tiles", "ms", "I/O ms", "waits", "read", "written", "RAM"):
        table.add_column(name, justify="right", no_wrap=True)
    short = short_names(problem.network, LAYER_WIDTH)
    for layer in layers_of(problem, plan):
        table.add_row(
            Text(short[layer.name]),
            layer.kind,
            str(layer.tiles),
            milliseconds(layer.compute_ns),
            milliseconds(layer.io_ns),
            milliseconds(layer.waiting_ns),
            kibibytes(layer.bytes_read),
            kibibytes(layer.bytes_written),
            kibibytes(layer.sram_bytes),
        )
    console.print(table)


MOST_LOADS = 40
"""Rows of the table of what is loaded into a weight memory."""


def show_weight_memory(console: Console, problem: Problem, plan: Plan) -> None:
    """What is loaded into the NPU's own memory within an inference, and when; nothing where nothing is."""
    loads = [held for held in npu_use.holdings(problem, plan) if held.loaded_ns is not None]
    if not loads:
        return
    console.print("loaded into the weight memory of the NPU (times in ms)")
    table = Table(pad_edge=False, box=None, header_style="bold", collapse_padding=True)
    table.add_column("layer", no_wrap=True, max_width=LAYER_WIDTH)
    for name in ("bytes", "from byte", "load begins", "loaded", "used until"):
        table.add_column(name, justify="right", no_wrap=True)
    short = short_names(problem.network, LAYER_WIDTH)
    for held in loads[:MOST_LOADS]:
        times = (milliseconds(ns) for ns in (held.from_ns, held.loaded_ns or 0, held.to_ns))
        table.add_row(Text(short[held.layer]), f"{held.size_bytes:,}", f"{held.first_byte:,}", *times)
    console.print(table)
    if len(loads) > MOST_LOADS:
        console.print(Text(f"and {len(loads) - MOST_LOADS} more, all of them in the reports."))
    console.print()


def show_verdict(console: Console, problem: Problem, results: Sequence[Result]) -> None:
    """What a tired person needs: does it fit, how slow, how long the card lives, how far from the best."""
    for sentence in verdict(problem, results[-1]):
        console.print(Text(sentence))


def verdict(problem: Problem, chosen: Result) -> tuple[str, ...]:
    """One sentence per question about the plan of a result; none without a plan."""
    plan = chosen.plan
    if plan is None:
        return ()
    return (
        _fit(problem, plan),
        _slowness(problem, plan),
        _life(problem, plan),
        *ring_words(problem, plan),
        *storage_use.sentences(problem, plan),
        *npu_use.sentences(problem, plan),
        *_sealing(problem, plan),
        f"{optimality(problem, chosen)}, after {chosen.seconds:.1f} s.",
        "All times and energies are those of the board's cost model, not of a measurement.",
    )


def _fit(problem: Problem, plan: Plan) -> str:
    figures = plan.figures
    kept, places = len(plan.graph.resident), len({buffer for _, buffer in plan.graph.resident})
    in_place = f" in {places} places" if places < kept else ""
    return (
        f"It fits: {figures.sram_peak_bytes:,} of {problem.sram_bytes:,} bytes of SRAM, "
        f"{len(plan.graph.tasks):,} tasks, at most {figures.table_bytes:,} bytes of tables, {kept} tensors kept{in_place}."
    )


def _in_core_ns(problem: Problem, results: Sequence[Result]) -> int:
    """The in-core bound; 0 where not even that was known when the time was up."""
    known = next((result.bound for result in results if result.scheduler == IN_CORE), None)
    if known is None and results[-1].plan is not None:
        return in_core(problem, Budget()).bound
    return known or 0


def _slowness(problem: Problem, plan: Plan) -> str:
    figures = plan.figures
    cpu_ns = sum(task.duration_ns for task in plan.graph.tasks if task.occupies_cpu)
    share = cpu_ns / figures.latency_ns if figures.latency_ns else 1.0
    slower = slowdown(problem, plan)
    against = "" if slower is None else f", {slower:.2f} times as long as with everything in SRAM"
    return (
        f"It takes {milliseconds(figures.latency_ns)} ms{against}; the CPU computes {share:.0%} of the time."
    )


def slowdown(problem: Problem, plan: Plan) -> float | None:
    """Latency over the in-core bound, None where nothing computes."""
    bound = in_core(problem, Budget()).bound
    return plan.figures.latency_ns / bound if bound else None


def written_each(problem: Problem, written_bytes: int) -> str:
    """KiB that each inference of a run writes, for people."""
    return kibibytes(written_bytes // problem.network.frames)


def _life(problem: Problem, plan: Plan) -> str:
    """How long the storage lasts, or why it does not matter."""
    years, written = plan.figures.lifetime_years, plan.figures.bytes_written
    if written == 0:
        return "The storage does not wear: nothing is written."
    each = f"{problem.inferences_per_day:,g} inferences a day, {written_each(problem, written)} KiB written by each"
    if years is None:
        kind = problem.activation_store.storage.kind.upper()
        return f"The storage does not wear, as it is {kind} ({each})."
    return f"The storage lives {lifetime(years)} at {each}{_hottest(problem, plan)}."


def _hottest(problem: Problem, plan: Plan) -> str:
    """What decides the lifetime where every erase block wears for itself."""
    programs = float(hottest_programs(problem, plan.graph))
    return f", {programs:,.4g} programs of the hottest erase block" if programs else ""


def ring_words(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """One sentence where a ring was asked for."""
    if problem.scratch_ring_bytes is None:
        return ()
    facts = ring_facts(problem, plan)
    if facts is None:
        return ("The scratch ring is not used: nothing is spilled.",)
    note = (
        f"each run first notes its place: {facts['note_bytes']:,} bytes, {milliseconds(facts['note_ns'])} ms that the "
        "latency does not count"
    )
    return (f"{_gain(problem, facts)}; {note}.",)


def _gain(problem: Problem, facts: dict[str, Any]) -> str:
    part, years = problem.activation_store.storage, facts["lifetime_years_without"]
    turns = f"The scratch region takes turns at {facts['places']:,} places of {facts['place_bytes']:,} bytes"
    if is_levelled(part):
        return f"{turns}, which brings nothing here as {part.name} levels wear by itself"
    limit = (
        "; the output, which stays in one place, wears most (--io sram)" if facts["output_wears_most"] else ""
    )
    return (
        turns if years is None else f"{turns}; in one place the storage would live {lifetime(years)}{limit}"
    )


def _sealing(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """What sealed records cost, where there are any."""
    if (inline := problem.target.inline) is not None:
        sentence = f"Engine '{inline.name}' decrypts weights while they are read; the image is plain until"
        return (f"{sentence} the chip's own tools write it, and nothing else goes to storage.",)
    if problem.target.crypto is None:
        return ()
    spent = sum(crypto_ns_of_layers(plan))
    moved = (t.transfer for t in plan.graph.tasks if t.kind in (TaskKind.LOAD, TaskKind.STORE))
    records = sum(transfer.sealed_records for transfer in moved if transfer is not None)
    cipher = cipher_of(problem.target.crypto).title
    whose = "the CPU's time" if problem.target.engine is None else "an engine beside the CPU"
    sentence = f"{cipher} takes {milliseconds(spent)} ms of {whose} to open and seal {records:,} records"
    return (f"{sentence}; inputs and outputs in storage are plain.",)


def lifetime(years: float) -> str:
    """Years for people."""
    if years >= 10:
        return f"{years:,.0f} years"
    return f"{years:.1f} years" if years >= 1 else f"{years * 365.25:,.1f} days"


def optimality(problem: Problem, chosen: Result) -> str:
    """How far a plan is from the best possible, with the numbers that prove it."""
    if chosen.objective is None or chosen.gap is None:
        return "There is no plan"
    if chosen.status is Status.OPTIMAL:
        return f"It is proven optimal ({amount(problem, chosen.objective)})"
    return (
        f"It is at most {chosen.gap:.2%} from optimal ({amount(problem, chosen.objective)}, none in the "
        f"option space below {amount(problem, chosen.bound)})"
    )


def amount(problem: Problem, value: int) -> str:
    """A value of the objective with its unit."""
    return amount_of(problem.objective, value)


def amount_of(objective: Objective, value: int) -> str:
    """A value of an objective, in ns, nJ or bytes, with the unit that people read."""
    return {
        Objective.LATENCY: f"{milliseconds(value)} ms",
        Objective.ENERGY: f"{value / 1e6:,.2f} mJ",
        Objective.WEAR: f"{value:,} bytes written",
    }[objective]
