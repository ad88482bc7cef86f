"""How good schedules of given tiles are: our schedulers on the instances of this folder.

    python benchmarks/schedule.py                              # all of benchmarks/instances
    python benchmarks/schedule.py my.json --time-limit 60      # one, longer
    python benchmarks/schedule.py --check my.json              # is the file an instance?
    python benchmarks/schedule.py --judge schedule.json my.json  # a schedule of someone else's

README.md here documents the files. Instances are made by ``ooc-solve MODEL --instance FILE``. Every
schedule is judged by the rules of the format before it counts; ``--results FILE.md`` writes the table.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from ooc_solve.arguments import parse_count, parse_seconds
from ooc_solve.conditions import conditions
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, InputError, OocError, Schedule, Status, TaskGraph
from ooc_solve.solver.allocation_schedule import packed_schedules
from ooc_solve.solver.allocation_search import UNLIMITED
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.heuristics import prefetch_schedules, serial_schedules
from ooc_solve.solver.instances import (
    Instance,
    broken_rules,
    graph_of,
    lower_bound_ns,
    makespan_ns,
    parse_instance,
    problem_of,
)
from ooc_solve.solver.search import COUNTING, POLICIES, woven
from ooc_solve.whole_file import check_writable, write_whole

FOLDER = Path(__file__).parent / "instances"

Rule = Callable[[Problem, TaskGraph], Iterable[Schedule]]

RULES: dict[str, Rule] = {
    "serial": serial_schedules,
    "listed": prefetch_schedules,
    "woven": lambda problem, graph: woven(problem, graph, POLICIES),
    "packed": lambda problem, graph: packed_schedules(problem, graph, COUNTING, UNLIMITED),
}
"""Schedulers that follow rules: nothing overlaps; addresses before times; both together; times before addresses."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one scheduler made of one instance; ``None`` where it found no schedule."""

    value_ns: int | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Line:
    """What all schedulers made of one instance, and what is proven."""

    instance: Instance
    outcomes: dict[str, Outcome]
    bound_ns: int
    proven: bool


def main() -> int:
    """Run, check or judge what was asked for; returns the exit code."""
    options = _parser().parse_args()
    try:
        return _run(options, Console(width=80, highlight=False))
    except OocError as error:
        print(f"schedule: error: {error}", file=sys.stderr)
        return error.exit_code


def _parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    made.add_argument("instances", nargs="*", type=Path, help="instance files (all of benchmarks/instances)")
    made.add_argument("--time-limit", type=parse_seconds, default=20.0, help="seconds of CP-SAT each (20)")
    made.add_argument("--workers", type=parse_count, default=1, help="threads of CP-SAT (1)")
    made.add_argument("--seed", type=parse_count, default=1, help="random seed of CP-SAT (1)")
    made.add_argument("--check", action="store_true", help="only check the files")
    made.add_argument("--judge", type=Path, metavar="FILE", help="judge a schedule of the one instance given")
    made.add_argument("--results", type=Path, metavar="FILE.md", help="write the table here")
    return made


def _run(options: argparse.Namespace, console: Console) -> int:
    if options.results is not None:
        check_writable(options.results, "--results")
    files = options.instances or sorted(FOLDER.glob("*.json"))
    instances = [parse_instance(_text(file), str(file)) for file in files]
    if options.check:
        console.print(f"{len(instances)} files hold instances.")
        return 0
    if options.judge is not None:
        return _judged(options.judge, instances, console)
    budget = Budget(options.time_limit, max(1, options.workers), options.seed)
    lines = []
    for instance in instances:
        lines.append(solved(instance, budget))
        console.print(" ".join(_cells(lines[-1])))
    console.print(_table(lines))
    if options.results is not None:
        write_whole(options.results, results(lines, budget), "--results")
    return 0


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{file}: an instance must be a text file to read ({error}).") from None


def _judged(file: Path, instances: list[Instance], console: Console) -> int:
    """Say what is wrong with a schedule, or how long it is."""
    if len(instances) != 1:
        raise InputError(f"--judge needs one instance (got {len(instances)}); name its file.")
    try:
        content = json.loads(_text(file))
        schedule = Schedule(tuple(map(int, content["start_ns"])), tuple(map(int, content["address"])))
    except (ValueError, TypeError, KeyError):
        raise InputError(f"{file}: a schedule must have lists start_ns and address of integers.") from None
    faults = broken_rules(instances[0], schedule)
    for fault in faults[:10]:
        console.print(fault, soft_wrap=True)
    if not faults:
        console.print(f"The schedule is right and ends after {makespan_ns(instances[0], schedule):,} ns.")
    return 1 if faults else 0


# --------------------------------------------------------------------------------------- solving


def solved(instance: Instance, budget: Budget) -> Line:
    """Run all schedulers; CP-SAT starts from the best schedule of the others."""
    problem, graph = problem_of(instance), graph_of(instance)
    found: dict[str, Outcome] = {}
    best: Schedule | None = None
    for name, rule in RULES.items():
        begun = time.monotonic()
        schedules = list(_right(instance, rule(problem, graph)))
        shortest = min(schedules, key=lambda s: makespan_ns(instance, s), default=None)
        found[name] = Outcome(makespan_ns(instance, shortest) if shortest else None, time.monotonic() - begun)
        known = [schedule for schedule in (best, shortest) if schedule is not None]
        best = min(known, key=lambda s: makespan_ns(instance, s), default=None)
    begun = time.monotonic()
    exact = solve_graph(problem, graph, best, budget)
    last = min(
        (makespan_ns(instance, s) for s in _right(instance, [exact.schedule] if exact.schedule else [])),
        default=None,
    )
    found["CP-SAT"] = Outcome(last, time.monotonic() - begun)
    bound = max(exact.bound_ns, lower_bound_ns(instance))
    return Line(instance, found, bound, exact.status is Status.OPTIMAL or bound == last)


def _right(instance: Instance, schedules: Iterable[Schedule]) -> Iterator[Schedule]:
    """The same schedules; stops at one that breaks a rule."""
    for schedule in schedules:
        for fault in broken_rules(instance, schedule):
            raise SystemExit(f"{instance.name}: a scheduler broke a rule: {fault}")
        yield schedule


# ---------------------------------------------------------------------------------------- output

HEADS = ("instance", "tasks", *RULES, "CP-SAT", "bound", "gap")


def _cells(line: Line) -> tuple[str, ...]:
    values = [outcome.value_ns for outcome in line.outcomes.values()]
    best = min((value for value in values if value is not None), default=None)
    gap = "-" if best is None else "0" if line.proven else f"{(best - line.bound_ns) / best:.2%}"
    shown = ("-" if value is None else f"{value / 1e6:.3f}" for value in values)
    return (
        line.instance.name,
        str(len(line.instance.tasks)),
        *shown,
        f"{line.bound_ns / 1e6:.3f}",
        gap,
    )


def _table(lines: list[Line]) -> Table:
    made = Table(box=None, pad_edge=False, padding=(0, 1))
    for head in HEADS:
        made.add_column(head, justify="left" if head == "instance" else "right", no_wrap=True)
    for line in lines:
        made.add_row(*_cells(line))
    return made


def results(lines: list[Line], budget: Budget) -> str:
    """The table as Markdown, with the machine and the versions that made it."""
    command = shlex.join(("python", "benchmarks/schedule.py", *sys.argv[1:]))  # so that anybody can repeat it
    rows = "\n".join(f"| {' | '.join(_cells(line))} |" for line in lines)
    rule = "|".join(["---", *["---:"] * (len(HEADS) - 1)])
    seconds = sum(outcome.seconds for line in lines for outcome in line.outcomes.values())
    return (
        f"# Results\n\nWritten by `{command}`; not to be "
        "edited. Makespans in ms of the cost model, not of a measurement; *bound*: no schedule of these tiles is "
        f"shorter.\n\n| {' | '.join(HEADS)} |\n|{rule}|\n{rows}\n\n"
        f"CP-SAT had {budget.time_limit_s:g} s for each, {budget.workers} threads, seed {budget.seed}, and "
        f"began with the best of the others; everything together took {seconds:.0f} s, with whatever else ran.\n\n"
        + "".join(f"- {line}\n" for line in conditions())
    )


if __name__ == "__main__":
    sys.exit(main())
