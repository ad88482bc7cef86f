"""Latency, energy and wear: a plan with its bound for each, over networks and targets.

    python benchmarks/objectives.py --time-limit 8 --large-time-limit 20 --results benchmarks/OBJECTIVES.md
    python benchmarks/objectives.py --networks ds_cnn --targets f746-sd --rows rows.json

The plans of the three objectives are candidates for one another, so the one of least energy takes no more
energy than the fastest, and the one of least wear writes no more than both. Every plan is validated, its
figures too, before it gets a line. Networks whose name ends in a size of 224 are large.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rows import KeptRows, add_options, circumstances, markdown_table, start_clock

from ooc_solve.api import load, problem_of, target
from ooc_solve.models.vocabulary import Budget, Objective
from ooc_solve.solver.solve import three_objectives
from ooc_solve.solver.validate import validate

NETWORKS = (
    "autoencoder",
    "ds_cnn",
    "mobilenet_v1_025_96",
    "resnet8",
    "mobilenet_v2_224",
    "alexnet_224",
    "vgg16_224",
)
TARGETS = ("f746-sd", "u585-octal", "nrf52840-nor")


@dataclass(frozen=True, slots=True)
class Row:
    """One objective of one network on one target; figures are ``None`` where there is no plan.

    ``value`` and ``bound`` are in the unit of the objective: ns, nJ or bytes; ``seconds`` what the search took.
    """

    network: str
    target: str
    objective: str
    status: str
    latency_ns: int | None
    energy_nj: int | None
    bytes_written: int | None
    lifetime_years: float | None
    value: int | None
    bound: int
    seconds: float
    reason: str


def rows_of(network: str, target_name: str, budget: Budget) -> list[Row]:
    """Solve a network on a target for every objective.

    Raises
    ------
    SystemExit
        If a plan is not valid, is worse than another one's in its own figure, or below a bound.
    """
    problem = problem_of(load(f"zoo:{network}"), target(target_name))
    rows = []
    for objective, result in three_objectives(problem, budget).items():
        plan = result.plan
        if plan is not None and (found := validate(problem, plan)):
            raise SystemExit(f"{network} on {target_name}: {found[0].message}")
        figures = None if plan is None else plan.figures
        rows.append(
            Row(
                network, target_name, objective.value, result.status.value,
                figures and figures.latency_ns, figures and figures.energy_nj,
                figures and figures.bytes_written, figures and figures.lifetime_years,
                result.objective, result.bound, round(result.seconds, 1), result.reason,
            )
        )  # fmt: skip
    _compared(rows)
    return rows


def _compared(rows: Sequence[Row]) -> None:
    for row in rows:
        others = [asdict(other)[FIGURES[row.objective]] for other in rows]
        if row.value is not None and (
            row.value > min(v for v in others if v is not None) or row.value < row.bound
        ):
            raise SystemExit(f"{row.network} on {row.target}: {row.objective} is not what it claims to be")


FIGURES = {
    Objective.LATENCY.value: "latency_ns",
    Objective.ENERGY.value: "energy_nj",
    Objective.WEAR.value: "bytes_written",
}
"""The figure that each objective minimises."""


HEADS = ("network", "target", "objective", "ms", "mJ", "KiB written", "years", "bound", "gap")


def table(rows: Sequence[Row]) -> str:
    """The rows as a table in Markdown."""
    return markdown_table(HEADS, 3, map(_line, rows))


def _line(row: Row) -> str:
    head = f"| {row.network} | {row.target} | {row.objective} |"
    if row.value is None or row.latency_ns is None or row.energy_nj is None or row.bytes_written is None:
        return f"{head} {row.reason or 'no plan'} | | | | | |"
    years = "-" if row.lifetime_years is None else f"{row.lifetime_years:,.0f}"
    scale, unit = (
        (1024, "KiB") if row.objective == "wear" else (1e6, "ms" if row.objective == "latency" else "mJ")
    )
    gap = (row.value - row.bound) / row.value if row.value else 0.0
    return (
        f"{head} {row.latency_ns / 1e6:,.2f} | {row.energy_nj / 1e6:,.3f} | {row.bytes_written / 1024:,.1f} | {years} "
        f"| {row.bound / scale:,.2f} {unit} | {gap:.2%} |"
    )


def page(rows: Sequence[Row], words: str) -> str:
    """The file of results; ``words`` say how they were made."""
    return f"""# Objectives

Written by `python benchmarks/objectives.py --cpu-clock --results benchmarks/OBJECTIVES.md`; not to be edited. All figures are of the cost model, not measured, and were recomputed by the validator; each board with all of its SRAM. *Years* at 1,000 inferences a day; `-`: nothing is written, or the part does not wear. *Bound*: no plan of the option space is below it.

{table(rows)}
{words}
"""


def _how(options: argparse.Namespace, clock: str) -> str:
    """How the rows were made."""
    limits = f"At most {options.time_limit:g} s of {clock} for each objective"
    if options.large_time_limit is not None:
        limits += f", {options.large_time_limit:g} s for large networks"
    return f"{limits}, one thread, {circumstances(options.seed)}"


def _limit(options: argparse.Namespace, network: str) -> float:
    large = network.endswith("_224") and options.large_time_limit is not None
    return float(options.large_time_limit if large else options.time_limit)


def main() -> None:
    """Solve everything that was asked for, print the table, and keep it where that was asked for."""
    options = parser().parse_args()
    clock = start_clock(options)
    kept, rows = KeptRows(Row, options.rows), list[Row]()
    for network in options.networks.split(","):
        budget = Budget(_limit(options, network), 1, options.seed)
        for name in options.targets.split(","):
            rows += kept.of(
                lambda row, case=(network, name): (row.network, row.target) == case,
                len(Objective),
                lambda case=(network, name), budget=budget: rows_of(*case, budget),
            )
    print(table(rows), end="")
    if options.results is not None:
        options.results.write_text(page(rows, _how(options, clock)), encoding="utf-8")


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    made.add_argument("--networks", default=",".join(NETWORKS))
    made.add_argument("--targets", default=",".join(TARGETS))
    made.add_argument("--time-limit", type=float, default=30.0, metavar="S", help="for each objective (30)")
    made.add_argument("--large-time-limit", type=float, metavar="S", help="the same for large networks")
    add_options(made)
    return made


if __name__ == "__main__":
    main()
