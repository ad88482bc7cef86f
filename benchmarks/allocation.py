"""How well addresses are found: packing problems with times, and what fragmentation costs plans.

    python benchmarks/allocation.py
    python benchmarks/allocation.py --only instances --time-limit 60 --csv A.1048576.csv B.1048576.csv
    python benchmarks/allocation.py --only fragmentation --networks resnet8 --sizes 24KiB 32KiB

*Instances* are made by cutting up a rectangle of 1 MiB, which is then the capacity; a CSV file with
the columns of `ooc-allocate` is searched with the same capacity. *Fragmentation* compares plans for the
tilings of the selection model: shortest schedule that only counts bytes, shortest in which tiles
take gaps as they find them, and shortest with the addresses that `solver/allocation.py` finds.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ooc_solve.allocate import read_buffers
from ooc_solve.arguments import parse_seconds, parse_size
from ooc_solve.conditions import conditions
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Schedule, Selection, TaskGraph
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.allocation import Effort, Verdict, allocate, most_alive
from ooc_solve.solver.allocation_instances import CAPACITY_BYTES, chained, online, perfect
from ooc_solve.solver.allocation_schedule import QUICK, addresses, counted
from ooc_solve.solver.allocation_search import Block
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import prefetch_schedules, space_of
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.search import COUNTING, POLICIES, woven
from ooc_solve.solver.selection import Aim, SelectionModel

KINDS: dict[str, Callable[[int, int], list[Block]]] = {
    "perfect": perfect,
    "pinwheels": lambda seed, count: perfect(seed, count, 0.5),
    "chained, 1 % lost": lambda seed, count: chained(seed, count, 0.01),
    "chained, 3 % lost": chained,
    "online": online,
}
COUNTS = (150, 300, 450)
SEEDS = (0, 1, 2)

MATRIX = {
    "ds_cnn": ("16KiB", "20KiB", "24KiB", "32KiB"),
    "resnet8": ("24KiB", "32KiB", "48KiB", "64KiB"),
    "mobilenet_v1_025_96": ("24KiB", "32KiB", "48KiB", "64KiB", "96KiB"),
    "mobilenet_v2_224": ("192KiB", "224KiB", "256KiB"),
}
"""Networks with the amounts of SRAM in which they are planned."""

TILINGS = ((Aim.SERIAL, 0.0), (Aim.LAYER_OVERLAP, 0.0), (Aim.MAKESPAN_BOUND, 0.5))
"""Aims and slacks of the selection model; few bytes are left over where the slack is 0."""


def main() -> None:
    """Print the tables asked for."""
    options = _parser().parse_args()
    console = Console(width=100, highlight=False)
    if options.only != "fragmentation":
        effort = Effort(seconds=options.time_limit, jobs=options.workers, seed=options.seed)
        console.print(instances(options.csv, effort, console))
    if options.only != "instances":
        console.print(fragmentation(options, console))
    console.print("\n".join(conditions()), highlight=False)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("--only", choices=("instances", "fragmentation"), help="one of the tables (both)")
    made.add_argument("--time-limit", type=parse_seconds, default=60.0, help="seconds per instance (60)")
    made.add_argument("--workers", type=int, default=2, help="processes per instance (2)")
    made.add_argument("--seed", type=int, default=1, help="random seed of the search (1)")
    made.add_argument("--csv", nargs="*", type=Path, default=[], help="instances in files, instead")
    made.add_argument("--target", default="f746-sd", help="target of the plans (f746-sd)")
    made.add_argument("--networks", nargs="*", default=list(MATRIX), help="networks of the plans")
    made.add_argument("--sizes", nargs="*", help="amounts of SRAM of the plans")
    return made


# ------------------------------------------------------------------------------- instances


def instances(files: Sequence[Path], effort: Effort, console: Console) -> Table:
    """Search all instances one after the other."""
    made = _table("instance", "blocks", "most alive", "height", "states", "s")
    solved = total = 0
    for name, blocks in _instances(files):
        found = allocate(blocks, CAPACITY_BYTES, effort)
        total, solved = total + 1, solved + (found.verdict is Verdict.FOUND)
        cells = (
            f"{most_alive(blocks):,}",
            f"{found.height_bytes:,}",
            f"{found.nodes:,}",
            f"{found.seconds:.2f}",
        )
        made.add_row(name, str(len(blocks)), *cells)
        console.print(name, len(blocks), found.verdict.value, *cells)
    made.caption = f"{solved} of {total} within {CAPACITY_BYTES:,} bytes"
    return made


def _instances(files: Sequence[Path]) -> Iterator[tuple[str, Sequence[Block]]]:
    for file in files:
        yield file.name, read_buffers(file).blocks
    for kind, make in KINDS.items() if not files else ():
        for count in COUNTS:
            for seed in SEEDS:
                yield f"{kind}, {count}, seed {seed}", make(seed, count)


# --------------------------------------------------------------------------- fragmentation


@dataclass(frozen=True, slots=True)
class Case:
    """Makespans of one tiling (ns), None where there is no schedule of the kind.

    ``searched_s`` is the time it took to find addresses for the one that counts bytes.
    """

    counted_ns: int | None
    gaps_ns: int | None
    packed_ns: int | None
    searched_s: float


def fragmentation(options: argparse.Namespace, console: Console) -> Table:
    """Plan all tilings of all networks in three ways."""
    made = _table("network", "SRAM", "tilings", "no gaps fit", "gaps cost", "not packed", "cost", "s")
    every: list[Case] = []
    for network in options.networks:
        for size in options.sizes or MATRIX[network]:
            cases = list(_cases(network, options.target, parse_size(size)))
            every += cases
            made.add_row(network, size, *_cells(cases))
            console.print(network, size, *_cells(cases))
    made.add_row("all", "", *_cells(every))
    made.caption = (
        "gaps cost, cost: mean excess over the schedule that only counts bytes, without and with the search"
    )
    return made


def _cases(network: str, target: str, sram_bytes: int) -> Iterator[Case]:
    problem = Problem(zoo_network(network), load_target(target), sram_bytes, IoPlace.STORAGE)
    seen: set[Selection] = set()
    for aim, slack in TILINGS:
        model = SelectionModel(space_of(problem), problem.arena_bytes, slack)
        selection = model.solve(aim, Budget(4.0, 1, 1)).selection
        if selection is None or selection in seen:
            continue
        seen.add(selection)
        try:
            yield _case(problem, expand(problem, selection))
        except SelectionError:
            continue


def _case(problem: Problem, graph: TaskGraph) -> Case:
    """One tiling: the ways to count bytes and to fill gaps are the same ones."""
    found = [times for policy in COUNTING if (times := counted(problem, graph, policy)) is not None]
    gaps = [_makespan(graph, s) for s in woven(problem, graph, POLICIES)]
    gaps += [_makespan(graph, s) for s in prefetch_schedules(problem, graph)]
    gaps_ns = min(gaps, default=None)
    if gaps_ns is not None:
        found = [times for times in found if times.makespan_ns < gaps_ns]
    begun, packed_ns = time.monotonic(), gaps_ns
    for times in sorted(set(found), key=lambda times: times.makespan_ns):
        if addresses(problem, graph, times, QUICK) is not None:
            packed_ns = times.makespan_ns
            break
    counted_ns = min((times.makespan_ns for times in found), default=gaps_ns)
    return Case(counted_ns, gaps_ns, packed_ns, time.monotonic() - begun)


def _makespan(graph: TaskGraph, schedule: Schedule) -> int:
    return makespan_ns(graph, schedule.start_ns)


def _cells(cases: Sequence[Case]) -> tuple[str, ...]:
    """Counts and means of some tilings; a tiling without a schedule of a kind is counted, not averaged."""
    gaps = [c.gaps_ns / c.counted_ns - 1 for c in cases if c.gaps_ns and c.counted_ns]
    packed = [c.packed_ns / c.counted_ns - 1 for c in cases if c.packed_ns and c.counted_ns]
    return (
        str(len(cases)),
        str(sum(c.gaps_ns is None for c in cases)),
        _mean(gaps),
        str(sum(c.packed_ns is None for c in cases)),
        _mean(packed),
        f"{sum(c.searched_s for c in cases):.1f}",
    )


def _mean(shares: Sequence[float]) -> str:
    return f"{sum(shares) / len(shares):.2%}" if shares else "-"


def _table(*columns: str) -> Table:
    made = Table(box=None, pad_edge=False)
    for number, column in enumerate(columns):
        made.add_column(column, justify="right" if number else "left", no_wrap=True)
    return made


if __name__ == "__main__":
    main()
