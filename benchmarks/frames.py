"""Frames in flight: the period of runs of one, two, three and four frames, with bound and gap.

    python benchmarks/frames.py --time-limit 20 --results benchmarks/FRAMES.md
    python benchmarks/frames.py --cases autoencoder:f746-sd:24KiB --frames 1,2 --rows rows.json

Each run of several frames knows the plan of one frame, repeated, and gets the time limit for itself, and as much
again to let runs overlap. Every plan is validated before it gets a line.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rows import KeptRows, add_options, circumstances, markdown_table, start_clock

from ooc_solve.api import load, problem_of, size_bytes, target
from ooc_solve.frames import Flight, busiest_ns, run_of
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Plan, Result
from ooc_solve.solver.repetition import repeated_plan
from ooc_solve.solver.solve import cp_sat
from ooc_solve.solver.validate import validate
from ooc_solve.throughput import overlapped

CASES = (
    "autoencoder:f746-sd:24KiB",
    "resnet8:f746-sd:32KiB",
    "mobilenet_v1_025_96:f746-sd:64KiB",
    "alexnet_224:f746-sd",
)


@dataclass(frozen=True, slots=True)
class Row:
    """A run of some frames; times in ns. ``bound_ns``: no run of so many frames is shorter, 0 if nothing is known.

    ``busiest_ns`` is what the resource works that works longest, so that no overlap with the next run
    could bring these tasks below it. Without a plan all are None. ``overlap_ns`` is the time from one run to the next
    where runs overlap, None if no such plan is known to be shorter; ``floor_ns``: it is not shorter in any way.
    ``overlap_table_bytes`` are those of its tables.
    """

    case: str
    frames: int
    run_ns: int | None
    bound_ns: int
    busiest: str | None
    busiest_ns: int | None
    bytes_read: int | None
    seconds: float
    reason: str
    overlap_ns: int | None = None
    floor_ns: int = 0
    overlap_busiest_ns: int | None = None
    overlap_table_bytes: int | None = None


def rows_of(case: str, frames: Sequence[int], budget: Budget) -> list[Row]:
    """Plan one network for runs of several numbers of frames.

    Raises
    ------
    SystemExit
        If a plan is not valid.
    """
    name, board, *sram = case.split(":")
    problem = problem_of(load(f"zoo:{name}"), target(board), size_bytes(sram[0]) if sram else None)
    alone = cp_sat(problem, budget)
    return [_row(case, problem, count, alone, budget) for count in frames]


def _row(case: str, problem: Problem, frames: int, alone: Result, budget: Budget) -> Row:
    run, result = run_of(problem, frames), alone
    if frames > 1:
        known = None
        if alone.plan is not None:
            known = repeated_plan(run, problem, alone.plan, time.monotonic() + budget.time_limit_s)
        result = cp_sat(run, budget, known=[known])
    plan = result.plan
    if plan is None:
        return Row(
            case, frames, None, result.bound, None, None, None, round(result.seconds, 1), result.reason
        )
    _checked(case, run, plan)
    resource, busy = busiest_ns(run, plan)
    figures = plan.figures
    row = Row(
        case, frames, figures.latency_ns, result.bound, resource, busy * frames, figures.bytes_read,
        round(result.seconds, 1), result.reason,
    )  # fmt: skip
    return _with_overlap(row, problem, run, result, alone, budget)


def _with_overlap(
    row: Row, problem: Problem, run: Problem, result: Result, alone: Result, budget: Budget
) -> Row:
    """The row with what becomes of it where runs overlap."""
    best = overlapped(Flight(row.frames, problem, alone, run, (result,)), budget.time_limit_s)
    floor, plan = best.results[-1].bound, best.results[-1].plan
    if plan is None or not best.problem.network.carried:
        return replace(row, floor_ns=floor)
    _checked(row.case, best.problem, plan)
    _, busy = busiest_ns(best.problem, plan)
    return replace(
        row, overlap_ns=plan.figures.latency_ns, floor_ns=floor, overlap_busiest_ns=busy * row.frames,
        overlap_table_bytes=plan.figures.table_bytes,
    )  # fmt: skip


def _checked(case: str, run: Problem, plan: Plan) -> None:
    if found := validate(ordered(run, plan.selection.order), plan):
        raise SystemExit(f"{case}: {found[0].message}")


HEADS = (
    *("network, target, SRAM", "frames", "period ms", "none below ms", "gap", "busiest ms"),
    *(
        "KiB read each",
        "run ms",
        "overlapping: period ms",
        "none below ms",
        "gap",
        "busiest ms",
        "tables KiB",
    ),
)


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown, times per frame."""
    return markdown_table(HEADS, 1, map(_line, rows))


def _line(row: Row) -> str:
    head = f"| {row.case.replace(':', ', ')} | {row.frames} |"
    if row.run_ns is None or row.busiest_ns is None or row.bytes_read is None:
        return f"{head} {row.reason or 'no plan'} | | | | | | | | | | |"
    period, bound, busy = (ns / row.frames / 1e6 for ns in (row.run_ns, row.bound_ns, row.busiest_ns))
    return (
        f"{head} {period:,.2f} | {bound:,.2f} | {1 - row.bound_ns / row.run_ns:.2%} | {busy:,.2f} ({row.busiest}) "
        f"| {row.bytes_read / row.frames / 1024:,.1f} | {row.run_ns / 1e6:,.2f} |{_overlap_cells(row)}"
    )


def _overlap_cells(row: Row) -> str:
    """What overlapping runs bring, if anything."""
    floor = row.floor_ns / row.frames / 1e6
    if row.overlap_ns is None or row.overlap_busiest_ns is None or row.overlap_table_bytes is None:
        return f" no gain | {floor:,.2f} | | | |"
    period, busy = (ns / row.frames / 1e6 for ns in (row.overlap_ns, row.overlap_busiest_ns))
    gap = 1 - row.floor_ns / row.overlap_ns
    return (
        f" {period:,.2f} | {floor:,.2f} | {gap:.2%} | {busy:,.2f} | {row.overlap_table_bytes / 1024:,.1f} |"
    )


def page(rows: Sequence[Row], budget: Budget, clock: str) -> str:
    """The file of results."""
    return f"""# Frames in flight

Written by `python benchmarks/frames.py {" ".join(sys.argv[1:])}`; not to be edited. All figures are of the cost model, not measured. *Period*: time of an inference when runs follow one another without overlap. *None below*: proven for all runs of so many frames in the option space, per frame. *Busiest*: what the resource works per frame that works longest; however much the end of a run overlapped with the start of the next, these tasks could not have a shorter period. *Run*: latency of the first frame's output at most. *Overlapping*: runs that compute the first layers of their frames beside the last layers of those of the run before; *none below* holds for all ways in which runs may overlap or not; an output takes two periods of so many frames at most. Runs are solved by themselves here; `ooc-solve --frames` takes one frame at a time where that has the shorter period.

{table(rows)}
At most {budget.time_limit_s:g} s of {clock} for each line, and as many to let runs overlap, {budget.workers} threads, {circumstances(budget.seed)}
"""


def main() -> None:
    """Plan everything that was asked for, print the table, and keep it where that was asked for."""
    options = parser().parse_args()
    budget, clock = Budget(options.time_limit, 1, options.seed), start_clock(options)
    wanted = [int(count) for count in options.frames.split(",")]
    kept, rows = KeptRows(Row, options.rows), list[Row]()
    for case in options.cases.split(","):
        rows += kept.of(
            lambda row, case=case: row.case == case and row.frames in wanted,
            len(wanted),
            lambda case=case: rows_of(case, wanted, budget),
        )
    print(table(rows), end="")
    if options.results is not None:
        options.results.write_text(page(rows, budget, clock), encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--cases", default=",".join(CASES), help="NETWORK:TARGET[:SRAM], separated by commas")
    made.add_argument("--frames", default="1,2,3,4", metavar="N,...", help="frames of a run (1,2,3,4)")
    made.add_argument("--time-limit", type=float, default=20.0, metavar="S", help="for each line (20)")
    add_options(made)
    return made


if __name__ == "__main__":
    main()
