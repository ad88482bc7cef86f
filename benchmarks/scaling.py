"""How time and memory of the solver grow with the number of stages: a table and a plot.

    python benchmarks/scaling.py
    python benchmarks/scaling.py --stages 8,16,32,64,128 --target h747-qspi --sram 64KiB --json scaling.json

The networks are chains of convolutions, no two of them alike, so that nothing worked out for one layer is
of use for another. What is measured is one rung of the ladder, without a clock that ends anything: the
option space, the relaxation with its first round, and one guided beam search. Times are CPU seconds; each
network is planned in a process of its own, so peak memory and caches are its own.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import resource
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from ooc_solve.arguments import parse_size
from ooc_solve.conditions import conditions
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Network, Quantization
from ooc_solve.models.zoo_builder import Sketch, materialise
from ooc_solve.solver.beam import Course, Outlook, Vista, search
from ooc_solve.solver.guidance import Guide
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.selection import build_space

WIDTH = 32
"""Partial selections that the search keeps."""

SIDE = 28
"""Rows and columns of all tensors."""

BAR = 50
"""Characters of the longest bar."""


@dataclass(frozen=True, slots=True)
class Row:
    """CPU seconds by part, and the largest resident set, for a network of so many stages."""

    stages: int
    options: int
    space_s: float
    relaxation_s: float
    search_s: float
    peak_mib: float

    @property
    def total_s(self) -> float:
        """All parts together."""
        return self.space_s + self.relaxation_s + self.search_s


def main() -> None:
    """Measure each number of stages, one after the other."""
    options = _parser().parse_args()
    console = Console(width=90)
    rows: list[Row] = []
    for stages in options.stages:
        rows.append(_apart(stages, options.target, options.sram))
        if options.json is not None:
            options.json.write_text(json.dumps([asdict(row) for row in rows], indent=2) + "\n")
    console.print(table(rows))
    for line in plot(rows):
        console.print(line, highlight=False)
    console.print("\n".join(conditions()), highlight=False)


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument(
        "--stages", type=_numbers, default=(8, 16, 32, 64), help="numbers of stages, with commas"
    )
    made.add_argument("--target", default="f746-sd", help="target (f746-sd)")
    made.add_argument("--sram", type=parse_size, default=48 * 1024, help="amount of SRAM (48KiB)")
    made.add_argument("--json", type=Path, help="write the rows here as well")
    return made


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(","))


def chain(stages: int) -> Network:
    """Convolutions one after the other, each with other channels than the rest."""
    net = Sketch(f"chain_{stages}", (SIDE, SIDE, 16), Quantization(0.05, 0))
    for stage in range(stages):
        net.conv(32 + 37 * stage % 64 + stage // 64, 3 if stage % 2 else 1, pads=stage % 2)
    return materialise(net.blueprint())


def measured(stages: int, target: str, sram_bytes: int) -> Row:
    """Plan a chain on one rung and take the times."""
    problem = Problem(chain(stages), load_target(target), sram_bytes, IoPlace.STORAGE)
    clock = [time.process_time()]
    space = build_space(problem)
    clock.append(time.process_time())
    relaxation = Relaxation(problem, [space])
    clock.append(time.process_time())
    course, found = Course(space), relaxation.round
    if found is not None:
        guide = Guide(found, space.options)
        allowed = guide.survivors()
        vista = Vista(course, guide, None, None)
        search(course, allowed, WIDTH, Outlook(course, allowed), math.inf, vista)
    clock.append(time.process_time())
    parts = [float(seconds) for seconds in np.diff(clock)]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Row(stages, sum(map(len, space.options)), *parts, peak)


def _apart(stages: int, target: str, sram_bytes: int) -> Row:
    """`measured` in a process of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measured, (stages, target, sram_bytes))


def exponent(rows: Sequence[Row]) -> float:
    """The power of the number of stages with which the time grows, by least squares."""
    stages, seconds = (np.log([getattr(row, name) for row in rows]) for name in ("stages", "total_s"))
    return float(np.polyfit(stages, seconds, 1)[0])


def table(rows: Sequence[Row]) -> Table:
    """All rows, with the power law in the caption."""
    made = Table(box=None, pad_edge=False, padding=(0, 1))
    for name in ("stages", "options", "space s", "relaxation s", "search s", "all s", "s per stage", "MiB"):
        made.add_column(name, justify="right", no_wrap=True)
    for row in rows:
        seconds = row.space_s, row.relaxation_s, row.search_s, row.total_s, row.total_s / row.stages
        made.add_row(str(row.stages), str(row.options), *(f"{s:.2f}" for s in seconds), f"{row.peak_mib:.0f}")
    if len(rows) > 1:
        made.caption = f"time grows with the number of stages to the power of {exponent(rows):.2f}"
    return made


def plot(rows: Sequence[Row]) -> Iterator[str]:
    """A bar per row, as long as its time."""
    longest = max(row.total_s for row in rows)
    for row in rows:
        yield f"{row.stages:6d} {'#' * max(1, round(BAR * row.total_s / longest))} {row.total_s:.1f} s"


if __name__ == "__main__":
    main()
