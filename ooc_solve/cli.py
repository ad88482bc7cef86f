"""The command ``ooc-solve``: arguments in, library calls, report out."""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from ooc_solve import __version__
from ooc_solve.__main__ import EXIT_INTERRUPTED
from ooc_solve.codegen.project import check_directory, write_project
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import list_targets, load_target
from ooc_solve.models.vocabulary import (
    Budget,
    InputError,
    InternalError,
    Network,
    Objective,
    OocError,
    Result,
    UsageError,
)
from ooc_solve.models.zoo import describe, zoo_names, zoo_network
from ooc_solve.report import report, show_comparison, show_layers, show_verdict
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.solve import SCHEDULERS, checked, compare, cp_sat, lower_bound, why_infeasible

EXIT_INFEASIBLE = 3
SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[kK]|[kK]iB|M|MiB|G|GiB)?")
FACTOR = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
LARGEST_SIZE = 1 << 40


def parse_size(text: str) -> int:
    """Bytes of a size such as ``65536``, ``64KiB`` or ``128k`` (k = 1024)."""
    match = SIZE.fullmatch(text.strip())
    if not match:
        raise argparse.ArgumentTypeError(f"a size looks like 65536, 64KiB or 128k (got '{text}')")
    size = float(match[1]) * FACTOR[(match[2] or "")[:1].lower()]
    if not 1 <= size <= LARGEST_SIZE:
        raise argparse.ArgumentTypeError(f"a size lies between 1 byte and 1 TiB (got '{text}')")
    return int(size)


def parse_budget(text: str) -> int:
    """A size that may be zero."""
    return 0 if text.strip() == "0" else parse_size(text)


def parse_seconds(text: str) -> float:
    """A positive, finite number of seconds."""
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds <= 1e6:
        raise argparse.ArgumentTypeError(f"seconds must lie between 0 and 1000000 (got '{text}')")
    return seconds


def parse_count(text: str) -> int:
    """A whole number from 0 to 2**31 - 1."""
    if not text.isdecimal() or int(text) >= 1 << 31:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to 2147483647 is needed (got '{text}')")
    return int(text)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="ooc-solve",
        description="Plan and emit a neural network that does not fit the memory of its microcontroller.",
        epilog="Exit code: 0 plan found, 1 input error, 2 usage, 3 infeasible, 4 internal check failed.",
    )
    made.add_argument("model", nargs="?", help="an ONNX file, or zoo:NAME for a built-in network")
    made.add_argument(
        "--objective",
        choices=[o.value for o in Objective],
        default="latency",
        help="what to minimise (latency)",
    )
    made.add_argument(
        "--target", default="f746-sd", metavar="ID|FILE", help="built-in target or TOML file (f746-sd)"
    )
    made.add_argument(
        "--sram", type=parse_size, metavar="SIZE", help="SRAM to use, e.g. 64KiB (all of the board's)"
    )
    made.add_argument(
        "--io",
        choices=[p.value for p in IoPlace],
        help="where the network's input and output live (storage, if the target's takes writes)",
    )
    made.add_argument("--scheduler", choices=list(SCHEDULERS), default="cp-sat", help="who decides (cp-sat)")
    made.add_argument("--time-limit", type=parse_seconds, default=20.0, metavar="S", help="seconds (20)")
    made.add_argument("--workers", type=parse_count, default=2, metavar="N", help="solver threads (2)")
    made.add_argument("--seed", type=parse_count, default=1, metavar="N", help="random seed (1)")
    made.add_argument(
        "--write-budget", type=parse_budget, metavar="SIZE", help="most bytes written per inference"
    )
    made.add_argument("--no-compare", action="store_true", help="leave the other schedulers out")
    made.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write C tables, image and project here"
    )
    made.add_argument("--name", help="prefix of the emitted symbols (the model's name)")
    made.add_argument(
        "--json", type=Path, metavar="FILE", help="write the report as JSON ('-': standard output)"
    )
    made.add_argument("--min-sram", action="store_true", help="print the least feasible SRAM and stop")
    made.add_argument("--list-targets", action="store_true", help="list the built-in targets and stop")
    made.add_argument("--list-models", action="store_true", help="list the built-in networks and stop")
    made.add_argument("-v", "--verbose", action="store_true", help="show the solver's log")
    made.add_argument("--version", action="version", version=f"ooc-solve {__version__}")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s", level=logging.DEBUG if options.verbose else logging.WARNING)
    console = Console(highlight=False, soft_wrap=False)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    try:
        return run(options, console, errors)
    except OocError as error:
        kind = "internal check failed" if isinstance(error, InternalError) else "error"
        errors.print(f"ooc-solve: {kind}: {error}", markup=False)
        return error.exit_code
    except KeyboardInterrupt:
        errors.print("ooc-solve: interrupted, nothing written", markup=False)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stderr.close()
        return 1


def run(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Do what the parsed command line asks for."""
    if options.list_targets:
        return list_all_targets(console)
    if options.list_models:
        for name in zoo_names():
            console.print(describe(name), markup=False, soft_wrap=True)
        return 0
    if options.model is None:
        raise UsageError("a model is needed: an ONNX file, or zoo:NAME (see --list-models)")
    problem = problem_of(options)
    if options.output is not None:
        check_creatable(options.output)
        check_directory(options.output)
    if options.json is not None and str(options.json) != "-":
        check_writable(options.json)
    if options.min_sram:
        return show_least(problem, console)
    budget = Budget(options.time_limit, max(1, options.workers), options.seed)
    results = solve(options, problem, budget, errors)
    chosen = results[-1]
    quiet = options.json is not None and str(options.json) == "-"
    if options.json is not None:
        write_json(options.json, report(problem, results))
    if chosen.plan is not None and options.output is not None:
        write_project(problem, chosen.plan, options.output, options.name or identifier(problem.network.name))
    if chosen.plan is None:
        errors.print(f"ooc-solve: infeasible: {problem.network.name}: {chosen.reason}", markup=False)
        return EXIT_INFEASIBLE
    if not quiet:
        show_comparison(console, problem, results)
        console.print()
        show_layers(console, problem, chosen.plan)
        console.print()
        show_verdict(console, problem, results)
        if options.output is not None:
            console.print(f"Written to {options.output}: see the Makefile there.", markup=False)
    return 0


def solve(options: argparse.Namespace, problem: Problem, budget: Budget, errors: Console) -> list[Result]:
    """Run the schedulers asked for, the chosen one last, with progress on a terminal."""
    with errors.status("") as status:

        def progress(what: str, seconds: float, best: int | None, bound: int) -> None:
            shown = "no plan yet" if best is None else f"best {best:,}"
            gap = "" if not best else f", gap {(best - bound) / best:.1%}"
            status.update(f"{seconds:5.1f} s  plans up to {what}: {shown}, bound {bound:,}{gap}")

        if options.scheduler == "cp-sat":
            if options.no_compare:
                return [cp_sat(problem, budget, progress)]
            return compare(problem, budget, progress)
        result = SCHEDULERS[options.scheduler](problem, budget)
        if result.plan is not None:
            checked(problem, result.plan)
        return [with_bound(problem, budget, result)]


def with_bound(problem: Problem, budget: Budget, result: Result) -> Result:
    """A heuristic's result with the bound and, if it found nothing, the reason."""
    if result.plan is None:
        return replace(result, reason=f"{result.reason}; {why_infeasible(problem)}")
    return replace(result, bound=lower_bound(problem, budget, result.objective or 0))


def problem_of(options: argparse.Namespace) -> Problem:
    """Read the model and the target."""
    target = load_target(options.target)
    network = load_network(options.model)
    full = target.board.usable_bytes
    sram = options.sram if options.sram is not None else full
    if sram > full:
        raise InputError(
            f"--sram must not exceed the {full} usable bytes of board '{target.board.name}' (got {sram})."
        )
    if options.io is not None:
        place = IoPlace(options.io)
    else:
        place = IoPlace.SRAM if target.activations is None else IoPlace.STORAGE
    return Problem(network, target, sram, place, Objective(options.objective), options.write_budget)


def load_network(model: str) -> Network:
    """A built-in network or an ONNX file."""
    if model.startswith("zoo:"):
        return zoo_network(model.removeprefix("zoo:"))
    return read_onnx(Path(model))


def identifier(name: str) -> str:
    """A C identifier made from a model's name."""
    cleaned = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    return cleaned if cleaned and not cleaned[0].isdigit() else f"model_{cleaned}"


def show_least(problem: Problem, console: Console) -> int:
    """Print the least feasible SRAM in bytes and who asks for it."""
    least = least_sram(problem)
    if least is None:
        raise InputError(
            f"'{problem.network.name}' cannot run on '{problem.target.name}' with any SRAM it has."
        )
    op = problem.network.ops[least.stage]
    console.print(
        f"{least.sram_bytes} bytes: layer '{op.name}' asks for {least.need_bytes} bytes of tiles beside "
        f"{least.kept_bytes} bytes of kept tensors; proven: not below {least.bound_bytes} bytes.",
        markup=False,
        soft_wrap=True,
    )
    return 0


def list_all_targets(console: Console) -> int:
    """One line per built-in target."""
    for target in list_targets():
        console.print(f"{target.name:18} {target.title}", markup=False, soft_wrap=True)
    return 0


def check_creatable(directory: Path) -> None:
    """Refuse a directory that cannot be written, by making one beside it that is removed at once."""
    made: list[Path] = []
    try:
        place = directory.resolve()
        for folder in reversed([parent for parent in place.parents if not parent.exists()]):
            folder.mkdir()
            made.append(folder)
        made.append(Path(tempfile.mkdtemp(prefix=f".{place.name}-", dir=place.parent)))
    except (OSError, RuntimeError) as error:  # the latter for links that go round in circles
        reason = error.strerror if isinstance(error, OSError) else error
        raise InputError(
            f"Output '{directory}': cannot be written ({reason}); choose another directory with -o."
        ) from error
    finally:
        for folder in reversed(made):
            folder.rmdir()


def check_writable(path: Path) -> None:
    """Refuse a report path that cannot be written before work is spent on it."""
    try:
        if os.path.lexists(path) and (path.is_symlink() or not path.is_file()):
            raise InputError(f"--json needs a plain file in a folder that can be written (got '{path}').")
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.name):
            pass
    except OSError as error:
        raise InputError(
            f"--json needs a plain file in a folder that can be written (got '{path}': {error.strerror})."
        ) from error


def write_json(path: Path, content: object) -> None:
    """Write a report whole or not at all."""
    text = json.dumps(content, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    temporary = ""
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=path.name)
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except OSError as error:
        if temporary:
            Path(temporary).unlink(missing_ok=True)
        raise InputError(f"--json '{path}' cannot be written ({error.strerror}).") from error
