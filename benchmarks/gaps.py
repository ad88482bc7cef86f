"""How close plans come to proven bounds: a table over networks, targets and amounts of SRAM.

    python benchmarks/gaps.py --time-limit 60
    python benchmarks/gaps.py --networks ds_cnn,resnet8 --targets f746-sd --sizes 2x,full --json gaps.json

Each row is solved in a process of its own, so that peak memory and caches are its own. A size is
``NUMx``, that many times the least SRAM for which a plan is known, ``full`` or a number of bytes.
Finding the least SRAM takes long; it does not count as time of the row, and ``--least FILE`` keeps it.
The baselines are solved after the search and have as much time again, all together.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import resource
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from ooc_solve.api import size_bytes
from ooc_solve.conditions import conditions
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Objective, Status
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.deadline import TimeIsUp, within
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.ruled_plans import RULES
from ooc_solve.solver.solve import cp_sat

T = TypeVar("T")

NETWORKS = ("ds_cnn", "resnet8", "mobilenet_v1_025_96", "mobilenet_v2_224")
TARGETS = ("f746-sd", "h747-qspi")
SIZES = ("1.25x", "2x", "full")


@dataclass(frozen=True, slots=True)
class Row:
    """One problem solved. ``ratio``: makespan by that of the best baseline; ``None`` where there is none.

    ``seconds`` is what the search took by the clock of its deadlines, ``cpu_s`` what the process used,
    ``peak_mib`` its largest resident set; both with those of a second process.
    """

    network: str
    target: str
    size: str
    sram_bytes: int
    status: str
    value_ns: int | None
    bound_ns: int
    gap: float | None
    ratio: float | None
    seconds: float
    cpu_s: float
    peak_mib: float


def main() -> None:
    """Solve the rows asked for, one after the other."""
    options = _parser().parse_args()
    rows: list[Row] = []
    console = Console(width=80)
    for network in options.networks.split(","):
        for target in options.targets.split(","):
            for size in options.sizes.split(","):
                row = solve(network, target, size, options)
                rows.append(row)
                console.print(_line(row), highlight=False)
                if options.json is not None:
                    options.json.write_text(json.dumps([asdict(r) for r in rows], indent=2) + "\n")
    console.print(table(rows))
    console.print("\n".join(conditions()), highlight=False)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument(
        "--networks", default=",".join(NETWORKS), help="names of built-in networks, with commas"
    )
    made.add_argument("--targets", default=",".join(TARGETS), help="targets, with commas")
    made.add_argument(
        "--sizes",
        default=",".join(SIZES),
        help="amounts of SRAM, with commas: 32KiB, full, or 1.25x of the least that works",
    )
    made.add_argument("--time-limit", type=float, default=60.0, help="seconds per row (60)")
    made.add_argument("--workers", type=int, default=2, help="processes of the solver (2)")
    made.add_argument("--seed", type=int, default=1, help="random seed (1)")
    made.add_argument(
        "--cpu-clock", action="store_true", help="limit CPU time, where the machine does other work"
    )
    made.add_argument("--json", type=Path, help="write the rows here as well")
    made.add_argument("--least", type=Path, help="keep the least SRAM of each network and target here")
    return made


# ------------------------------------------------------------------------------- rows


def solve(network: str, target: str, size: str, options: argparse.Namespace) -> Row:
    """Solve one row in a process of its own."""
    sram = _sram_bytes(network, target, size, options.least)
    budget = Budget(options.time_limit, options.workers, options.seed)

    def measured() -> Row:
        if options.cpu_clock:
            time.monotonic = time.process_time  # all deadlines are taken from it
        return _measured(network, target, size, sram, budget)

    return _apart(measured)


def _problem(network: str, target: str, sram_bytes: int | None = None) -> Problem:
    board = load_target(target)
    size = board.board.usable_bytes if sram_bytes is None else sram_bytes
    return Problem(zoo_network(network), board, size, IoPlace.STORAGE, Objective.LATENCY)


def _sram_bytes(network: str, target: str, size: str, known: Path | None) -> int:
    """Bytes of a size by its name, never more than the board has."""
    full = _problem(network, target).sram_bytes
    if size == "full":
        return full
    if not size.endswith("x"):
        return min(size_bytes(size), full)
    return min(int(float(size.removesuffix("x")) * _least_bytes(network, target, known)), full)


def _least_bytes(network: str, target: str, known: Path | None) -> int:
    """Least SRAM for which a plan is known, from the file if it is there."""
    table: dict[str, int] = json.loads(known.read_text()) if known is not None and known.exists() else {}
    key = f"{network} {target}"
    if key not in table:
        table[key] = _apart(lambda: _least(network, target))
        if known is not None:
            known.write_text(json.dumps(table, indent=2) + "\n")
    return table[key]


def _least(network: str, target: str) -> int:
    found = least_sram(_problem(network, target))
    if found is None:
        raise SystemExit(f"'{network}' cannot run on '{target}' with any SRAM it has.")
    return found.sram_bytes


def _measured(network: str, target: str, size: str, sram_bytes: int, budget: Budget) -> Row:
    """Solve a problem, and then by the baselines, which have as much time again."""
    begun, problem = time.monotonic(), _problem(network, target, sram_bytes)
    result = cp_sat(problem, budget)
    seconds, values = time.monotonic() - begun, _baselines(problem, budget)
    ratio = result.objective / min(values) if values and result.objective is not None else None
    used = resource.getrusage(resource.RUSAGE_SELF)
    helpers = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Row(
        network, target, size, sram_bytes, result.status.value, result.objective, result.bound,
        result.gap, ratio, seconds,
        used.ru_utime + used.ru_stime + helpers.ru_utime + helpers.ru_stime,
        (used.ru_maxrss + helpers.ru_maxrss) / 1024,
    )  # fmt: skip


def _baselines(problem: Problem, budget: Budget) -> list[int]:
    """What the baselines come to, those that the time limit leaves time for."""
    found = []
    with suppress(TimeIsUp), within(budget.time_limit_s):
        for rule in RULES:
            result = rule(problem, budget)
            found += [result.objective] if result.plan is not None and result.objective is not None else []
    return found


def _apart(work: Callable[[], T]) -> T:
    """The result of some work done in a forked process."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    process = context.Process(target=_send, args=(work, theirs))
    process.start()
    theirs.close()
    try:
        received: T = ours.recv()
        return received
    finally:
        process.join()


def _send(work: Callable[[], T], to: Connection) -> None:
    to.send(work())


# ------------------------------------------------------------------------------ output


def table(rows: list[Row]) -> Table:
    """All rows, in 80 columns."""
    made = Table(box=None, pad_edge=False, padding=(0, 1))
    made.add_column("network", no_wrap=True)
    made.add_column("target", no_wrap=True)
    for name in ("SRAM", "ms", "bound", "gap", "of base", "s", "CPU s", "MiB"):
        made.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        made.add_row(*_cells(row))
    solved = [row for row in rows if row.gap is not None]
    close, near = (sum(r.gap <= limit for r in solved if r.gap is not None) for limit in (0.01, 0.05))
    made.caption = f"{close} of {len(rows)} within 1 %, {near} within 5 %"
    ratios = sorted(row.ratio for row in rows if row.ratio is not None)
    if ratios:
        made.caption += f"; median of base {ratios[len(ratios) // 2]:.3f}"
    return made


def _cells(row: Row) -> tuple[str, ...]:
    proven = row.status == Status.OPTIMAL.value
    return (
        row.network[:16], row.target[:9], str(row.sram_bytes),
        "-" if row.value_ns is None else f"{row.value_ns / 1e6:.2f}", f"{row.bound_ns / 1e6:.2f}",
        "proven" if proven else "-" if row.gap is None else f"{row.gap:.2%}",
        "-" if row.ratio is None else f"{row.ratio:.3f}",
        f"{row.seconds:.0f}", f"{row.cpu_s:.0f}", f"{row.peak_mib:.0f}",
    )  # fmt: skip


def _line(row: Row) -> str:
    return " ".join(_cells(row))


if __name__ == "__main__":
    main()
