"""What people and programs read of a result: the JSON report and the terminal tables."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ooc_solve import __version__
from ooc_solve.models.plan_json import plan_hash
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import BufferRole, Objective, Plan, Result, Status, TaskKind
from ooc_solve.solver.least import least_sram

SCHEMA = "ooc-report/1"


@dataclass(frozen=True, slots=True)
class Layer:
    """Share of one operator in a plan. ``waiting_ns``: time the CPU stood still before its tiles."""

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


def layers_of(problem: Problem, plan: Plan) -> tuple[Layer, ...]:
    """Per-operator figures of a plan."""
    graph, start = plan.graph, plan.schedule.start_ns
    count = len(problem.network.ops)
    compute, io, waiting = [0] * count, [0] * count, [0] * count
    read, written, tiles, sram = [0] * count, [0] * count, [0] * count, [0] * count
    previous = 0
    for task in graph.tasks:
        stage = max(task.stage, 0)
        if task.kind is TaskKind.COMPUTE:
            tiles[stage] += 1
            compute[stage] += task.duration_ns
            waiting[stage] += start[task.index] - previous
            previous = start[task.index] + task.duration_ns
            used = {touch.buffer for touch in (*task.reads, *task.writes)}
            sram[stage] = max(sram[stage], sum(graph.buffers[b].size_bytes for b in used))
        elif task.transfer is not None:
            io[stage] += task.duration_ns
            if task.kind is TaskKind.LOAD:
                read[stage] += task.transfer.size_bytes
            else:
                written[stage] += task.transfer.size_bytes
    kept = {name for name, _ in graph.resident}
    return tuple(
        Layer(
            op.name, op.kind.value, tiles[s], compute[s], io[s], waiting[s], read[s], written[s], sram[s],
            op.output in kept,
        )
        for s, op in enumerate(problem.network.ops)
    )  # fmt: skip


# ----------------------------------------------------------------------------- JSON


def report(problem: Problem, results: list[Result]) -> dict[str, Any]:
    """The JSON report, schema ``ooc-report/1``: the last result in full, all in short."""
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
        **_figures(chosen),
        "schedulers": [{"name": result.scheduler, **_figures(result)} for result in results],
        "layers": [],
        "plan_hash": None,
    }
    if chosen.plan is not None:
        found["layers"] = [_layer(layer) for layer in layers_of(problem, chosen.plan)]
        found["plan_hash"] = plan_hash(problem, chosen.plan)
    else:
        least = least_sram(problem)
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
    }


def _layer(layer: Layer) -> dict[str, Any]:
    return {name: getattr(layer, name) for name in Layer.__slots__}


# ------------------------------------------------------------------------- terminal


def milliseconds(ns: int) -> str:
    """Time for people."""
    return f"{ns / 1e6:,.2f}" if ns < 10**9 else f"{ns / 1e6:,.0f}"


def kibibytes(size: int) -> str:
    """Bytes for people."""
    return f"{size / 1024:,.1f}" if size < 10 * 1024 * 1024 else f"{size / 1024:,.0f}"


def show_comparison(console: Console, problem: Problem, results: list[Result]) -> None:
    """One line per scheduler, the chosen plan last."""
    bound = results[-1].bound
    console.print(_title(problem))
    table = Table(pad_edge=False, box=None, header_style="bold")
    table.add_column("scheduler", no_wrap=True)
    for name in ("ms", _bound_head(problem), "mJ", "KiB read", "written", "SRAM", "years"):
        table.add_column(name, justify="right", no_wrap=True)
    for result in results:
        chosen = result is results[-1]
        table.add_row(*_row(problem, result, bound), style="bold" if chosen else "")
    console.print(table)


def _title(problem: Problem) -> Text:
    return Text(
        f"{problem.network.name} on {problem.target.name}, {problem.sram_bytes / 1024:g} KiB SRAM, "
        f"io {problem.io.value}, least {_aim(problem.objective)}"
    )


def _aim(objective: Objective) -> str:
    return {Objective.LATENCY: "latency", Objective.ENERGY: "energy", Objective.WEAR: "wear"}[objective]


def _bound_head(problem: Problem) -> str:
    return "vs bound"


def _row(problem: Problem, result: Result, bound: int) -> tuple[str, ...]:
    if result.plan is None:
        if result.status is Status.INFEASIBLE:
            return (result.scheduler, "none", *[""] * 6)
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
    table = Table(pad_edge=False, box=None, header_style="bold")
    table.add_column("layer", no_wrap=True, max_width=15)
    table.add_column("kind", no_wrap=True, max_width=9)
    for name in ("tiles", "ms", "I/O ms", "waits", "read", "written", "RAM"):
        table.add_column(name, justify="right", no_wrap=True, min_width=5)
    for layer in layers_of(problem, plan):
        table.add_row(
            Text(layer.name if len(layer.name) <= 15 else "…" + layer.name[-14:]),
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


def show_verdict(console: Console, problem: Problem, results: list[Result]) -> None:
    """What a tired person needs: does it fit, how slow, how far from the best possible."""
    chosen = results[-1]
    plan, gap = chosen.plan, chosen.gap
    if plan is None or gap is None or chosen.objective is None:
        return
    unit = {Objective.LATENCY: "ns", Objective.ENERGY: "nJ", Objective.WEAR: "bytes written"}[
        problem.objective
    ]
    proof = "proven optimal" if chosen.status is Status.OPTIMAL else f"at most {gap:.2%} from optimal"
    console.print(
        Text(
            f"{chosen.scheduler}: {proof} (value {chosen.objective:,} {unit}, bound {chosen.bound:,}, "
            f"status {chosen.status.value}) after {chosen.seconds:.1f} s"
        )
    )
    figures = plan.figures
    kept = sum(b.role is BufferRole.TENSOR for b in plan.graph.buffers)
    console.print(
        Text(
            f"It fits: {figures.sram_peak_bytes:,} of {problem.sram_bytes:,} bytes of SRAM, "
            f"{len(plan.graph.tasks):,} tasks, at most {figures.table_bytes:,} bytes of tables, {kept} tensors kept."
        )
    )
    share = figures.compute_ns / figures.latency_ns if figures.latency_ns else 1.0
    console.print(
        Text(
            f"The CPU computes {share:.0%} of the time. All times and energies are those of the "
            "board's cost model, not of a measurement."
        )
    )
