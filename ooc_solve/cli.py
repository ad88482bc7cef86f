"""The command ``ooc-solve``: arguments in, library calls, report out."""

from __future__ import annotations

import argparse
import json
import logging
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from ooc_solve import __version__
from ooc_solve.advice import Advice, advise, show_advice
from ooc_solve.api import identifier, load, problem_of, scheduled, target
from ooc_solve.arguments import (
    parse_budget,
    parse_count,
    parse_processes,
    parse_rate,
    parse_seconds,
    parse_size,
    parse_years,
    read_by,
)
from ooc_solve.codegen.project import check_directory, write_project
from ooc_solve.codegen.seal import check_library, key_recipe, read_key
from ooc_solve.command_line import Parser, exit_code_of
from ooc_solve.frames import Flight, fly, frames_facts, frames_words, read_frames, run_of
from ooc_solve.models.limits import Limits
from ooc_solve.models.onnx_quantization import ACTIVATIONS, Quantized
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.sealing import CIPHERS, INLINE, PLAIN, encrypted
from ooc_solve.models.target import list_targets
from ooc_solve.models.vocabulary import (
    Budget,
    InputError,
    Network,
    Objective,
    Plan,
    Result,
    UsageError,
)
from ooc_solve.models.zoo import describe, zoo_names
from ooc_solve.plotting import check_plotting
from ooc_solve.progress import History, Step
from ooc_solve.quantities import LatencyBudget, energy_nj
from ooc_solve.quantization import add_options, change_facts, model_beside, quantized_model, show_change
from ooc_solve.report import amount, report, show_comparison, show_layers, show_verdict, show_weight_memory
from ooc_solve.solver.deadline import within
from ooc_solve.solver.instances import dump_instance, instance_of
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.pareto import Point
from ooc_solve.solver.second_process import usual_workers
from ooc_solve.solver.shortfall import fits_nowhere
from ooc_solve.solver.solve import SCHEDULERS, compare
from ooc_solve.support import show_support
from ooc_solve.throughput import alone, check_throughput, overlapped, shared_budget
from ooc_solve.trace import to_text, trace_of
from ooc_solve.trade import (
    Turns,
    before_and_after,
    day_words,
    latency_ns,
    least_latency,
    show_front,
    trade_facts,
    walk_front,
    without_reference,
)
from ooc_solve.whole_file import check_apart, check_writable, write_whole

EXIT_INFEASIBLE = 3


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = Parser(
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
    made.add_argument(
        "--scheduler", choices=list(SCHEDULERS), default="cp-sat", metavar="NAME",
        help=f"who decides (cp-sat): {', '.join(SCHEDULERS)}",
    )  # fmt: skip
    made.add_argument(
        "--parts", action="store_true",
        help="offer that tensors stay in SRAM in part, too, their other rows spilled (makes the search longer)",
    )  # fmt: skip
    made.add_argument("--time-limit", type=parse_seconds, default=20.0, metavar="S", help="seconds (20)")
    made.add_argument(
        "--workers", type=parse_processes, default=usual_workers(), metavar="N",
        help="processes: a second one raises the bound during the search (one for each processor, at most 2)",
    )  # fmt: skip
    made.add_argument("--seed", type=parse_count, default=1, metavar="N", help="random seed (1)")
    made.add_argument(
        "--write-budget", type=parse_budget, metavar="SIZE", help="most bytes written per inference"
    )
    made.add_argument(
        "--max-latency",
        type=read_by(LatencyBudget.read),
        metavar="T",
        help="most time of an inference, e.g. 80ms, or 1.1x: a factor of the least latency found",
    )
    made.add_argument(
        "--max-energy", type=read_by(energy_nj), metavar="E", help="most energy of an inference, e.g. 20mJ"
    )
    made.add_argument(
        "--lifetime-years",
        type=parse_years,
        metavar="Y",
        help="least lifetime of the storage at --inferences-per-day",
    )
    made.add_argument(
        "--scratch-ring", type=parse_size, metavar="SIZE",
        help="storage in which spilled activations take turns, to level wear, e.g. 1MiB (none)",
    )  # fmt: skip
    made.add_argument(
        "--inferences-per-day", type=parse_rate, default=1000.0, metavar="N",
        help="rate for lifetimes, mean power and mJ a day (1000)",
    )  # fmt: skip
    made.add_argument(
        "--frames", type=read_by(read_frames), default=1, metavar="N",
        help="inferences in one run, to minimise the time for each of many (1)",
    )  # fmt: skip
    made.add_argument(
        "--throughput", action="store_true",
        help="let runs overlap, to minimise the time between inferences: first layers beside the last of the run before",
    )  # fmt: skip
    made.add_argument(
        "--pareto",
        action="store_true",
        help="also the front over latency, energy and wear: about ten plans in half of the time limit",
    )
    made.add_argument(
        "--encrypt",
        choices=[PLAIN, *CIPHERS, INLINE],
        default=PLAIN,
        help="seal weights and spilled activations (none)",
    )
    made.add_argument(
        "--key-file", type=Path, metavar="FILE", help="the key with which the image is sealed, as raw bytes"
    )
    made.add_argument("--no-compare", action="store_true", help="leave the other schedulers out")
    made.add_argument(
        "-o", "--output", type=Path, metavar="DIR", help="write C tables, image and project here"
    )
    add_options(made, ACTIVATIONS)
    made.add_argument("--name", help="prefix of the emitted symbols (the model's name)")
    made.add_argument(
        "--json", type=Path, metavar="FILE", help="write the report as JSON ('-': standard output)"
    )
    made.add_argument(
        "--report", type=Path, metavar="FILE.html", help="write the report as one page for a browser"
    )
    made.add_argument(
        "--trace", type=Path, metavar="FILE.json", help="write the plan as a trace for Perfetto"
    )
    made.add_argument(
        "--advise",
        action="store_true",
        help="solve again with other SRAM, storage, links, int8, patches and kernels, and rank them, in half of the time limit",
    )
    made.add_argument(
        "--instance", type=Path, metavar="FILE.json", help="write the plan's tiles as a scheduling benchmark"
    )
    made.add_argument("--min-sram", action="store_true", help="print the least feasible SRAM and stop")
    made.add_argument(
        "--check",
        action="store_true",
        help="say which nodes of the model, quantised if --quantize asks for it, are supported and stop",
    )
    made.add_argument("--list-targets", action="store_true", help="list the built-in targets and stop")
    made.add_argument("--list-models", action="store_true", help="list the built-in networks and stop")
    made.add_argument("-v", "--verbose", action="store_true", help="show the solver's log")
    made.add_argument("--version", action="version", version=f"ooc-solve {__version__}")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parser().parse_args(arguments)
    logging.basicConfig(format="%(message)s")
    logging.getLogger("ooc_solve").setLevel(logging.DEBUG if options.verbose else logging.WARNING)
    console = Console(highlight=False, soft_wrap=False)
    errors = Console(stderr=True, highlight=False, soft_wrap=True)
    return exit_code_of("ooc-solve", lambda: run(options, console, errors))


def run(options: argparse.Namespace, console: Console, errors: Console) -> int:
    """Do what the parsed command line asks for."""
    if options.list_targets:
        return list_all_targets(console)
    if options.list_models:
        return list_all_models(console)
    if options.model is None:
        raise UsageError("a model is needed: an ONNX file, or zoo:NAME (see --list-models)")
    if options.check:
        return show_support(console, options.model, options.quantize, options.activations)
    check_files(options)
    quantized = None
    if options.quantize is not None:
        quantized = quantized_model(options.model, options.quantize, options.activations)
    problem = problem_asked(options, load(options.model) if quantized is None else quantized.network)
    if options.output is not None:
        check_creatable(options.output)
        check_directory(options.output)
    key = key_of(options, problem)
    if options.min_sram:
        return show_least(run_of(problem, options.frames), console)
    if options.throughput and (options.pareto or options.advise):
        raise UsageError("--throughput goes without --pareto and --advise")
    history = History()
    with within(options.time_limit):
        found = answers(options, problem, errors, history)
    write_files(options, found, quantized, history.steps, key)
    return show(options, found, quantized, console, errors)


def problem_asked(options: argparse.Namespace, network: Network) -> Problem:
    """The problem that the options put for a network, but for a budget of latency, which may refer to a plan."""
    return problem_of(
        network,
        encrypted(target(options.target), options.encrypt),
        options.sram,
        options.objective,
        options.io,
        options.write_budget,
        Limits(None, options.max_energy, options.lifetime_years),
        options.inferences_per_day,
        options.scratch_ring,
        options.parts,
    )


@dataclass(frozen=True, slots=True)
class Answers:
    """All that was solved for: the problem with its budgets, in the order that was chosen; what was found.

    ``reference`` is the least latency, where a budget refers to it.
    """

    problem: Problem
    reference: Result | None
    results: Sequence[Result]
    flight: Flight | None
    points: tuple[Point, ...]
    advice: Advice | None

    @property
    def chosen(self) -> Result:
        """The answer itself."""
        return self.results[-1]


def answers(options: argparse.Namespace, problem: Problem, errors: Console, history: History) -> Answers:
    """Solve for all that is asked, each in its turn within the time limit."""
    factor = options.max_latency is not None and options.max_latency.factor is not None
    budget = Budget(options.time_limit, options.workers, options.seed)
    turns = Turns(budget, sum((factor, True, options.pareto, options.advise)))
    reference = least_latency(run_of(problem, options.frames), turns.next()) if factor else None
    if reference is not None and reference.plan is None:
        none = without_reference(options.max_latency, reference)
        return Answers(problem, reference, [none], None, (), None)
    if options.max_latency is not None:
        most = latency_ns(options.max_latency, reference)
        problem = replace(problem, limits=replace(problem.limits, latency_ns=most))
    given = () if reference is None or reference.plan is None else (reference.plan,)
    flight = None
    results: Sequence[Result]
    if options.throughput or options.frames > 1:
        flight = flown(options, problem, turns.next(), errors, history, given)
        problem, results = flight.problem, flight.results
        reference = reference if problem.network.frames > 1 else None  # it is that of a run
    else:
        results = solve(options, problem, turns.next(), errors, history, given)
    plan = results[-1].plan
    points = walk_front(problem, turns.next(), results) if options.pareto and plan is not None else ()
    if plan is not None:
        problem = ordered(problem, plan.selection.order)
    advice = advised(options, problem, results[-1], turns.next(), errors) if options.advise else None
    return Answers(problem, reference, results, flight, points, advice)


def write_files(
    options: argparse.Namespace,
    found: Answers,
    quantized: Quantized | None,
    steps: Sequence[Step],
    key: bytes | None,
) -> None:
    """Write the report, the pictures and the project that were asked for; without a plan only the first."""
    problem, plan = found.problem, found.chosen.plan
    if options.json is not None:
        write_json(options.json, facts_of(options, found, quantized, steps))
    if plan is None:
        return
    write_pictures(options, found, steps)
    if options.output is not None:
        name = options.name or identifier(problem.network.name)
        write_project(problem, plan, options.output, name, key)
        if quantized is not None:
            write_whole(model_beside(options.output), quantized.content, "The quantised model")


def facts_of(
    options: argparse.Namespace, found: Answers, quantized: Quantized | None, steps: Sequence[Step]
) -> dict[str, Any]:
    """The JSON report."""
    facts = report(found.problem, found.results, steps)
    facts |= trade_facts(found.problem, found.chosen, found.reference, found.points)
    if quantized is not None:
        facts["quantization"] = change_facts(quantized, options.quantize)
    if found.flight is not None:
        facts["frames"] = frames_facts(found.flight)
    if found.advice is not None:
        facts["advice"] = found.advice.to_dict()
    return facts


def show(
    options: argparse.Namespace,
    found: Answers,
    quantized: Quantized | None,
    console: Console,
    errors: Console,
) -> int:
    """Print what was found, unless the JSON goes there; returns the exit code."""
    problem, chosen = found.problem, found.chosen
    quiet = options.json is not None and str(options.json) == "-"
    if chosen.plan is None:
        errors.print(f"ooc-solve: infeasible: {problem.network.name}: {chosen.reason}", markup=False)
        if found.advice is not None and not quiet:
            show_advice(console, found.advice)
        return EXIT_INFEASIBLE
    if chosen.reason:
        errors.print(f"ooc-solve: {chosen.reason}", markup=False)
    if not quiet:
        if quantized is not None:
            show_change(console, quantized, options.quantize)
            console.print()
        show_answers(console, found, chosen.plan)
        show_written(console, options, problem)
    return 0


def show_answers(console: Console, found: Answers, plan: Plan) -> None:
    """Tables and sentences about the plan, and about others that were asked for."""
    problem, chosen = found.problem, found.chosen
    show_comparison(console, problem, found.results)
    console.print()
    show_layers(console, problem, plan)
    console.print()
    show_weight_memory(console, problem, plan)
    show_verdict(console, problem, found.results)
    if found.flight is not None:
        console.print(Text(frames_words(found.flight)))
    console.print(Text(day_words(problem, chosen)))
    changed = before_and_after(problem, chosen, found.reference)
    if changed is not None:
        console.print(Text(changed))
    if found.points:
        console.print()
        show_front(console, found.points)
    if found.advice is not None:
        console.print()
        show_advice(console, found.advice)


def show_written(console: Console, options: argparse.Namespace, problem: Problem) -> None:
    """Where everything lies, and what to do with it."""
    folder = options.output
    if folder is not None:
        network = problem.network
        size = sum(network.tensors[name].size_bytes for name in network.given)
        key = "" if options.key_file is None else f" KEY={options.key_file}"
        run = f"make -C {folder} run INPUT=in.bin OUTPUT=out.bin{key}"
        console.print(Text(f"Written to {folder}: {run} (in.bin: the {size:,} bytes of the input)."))
        if options.quantize is not None:
            model = model_beside(folder)
            console.print(Text(f"Written to {model}: the quantised model, with whose outputs to compare."))
    if options.report is not None:
        console.print(Text(f"Written to {options.report}: open it in a browser."))
    if options.trace is not None:
        console.print(Text(f"Written to {options.trace}: open it at https://ui.perfetto.dev."))
    if options.json is not None:
        console.print(Text(f"Written to {options.json}: the same for programs."))


def key_of(options: argparse.Namespace, problem: Problem) -> bytes | None:
    """The key of the image; whatever is missing to seal it is told before anything is solved."""
    crypto = problem.target.crypto
    if crypto is None:
        if options.key_file is not None:
            raise UsageError("--key-file goes with --encrypt and a cipher")
        return None
    if options.key_file is None:
        if options.output is not None:
            raise UsageError(f"--encrypt with -o needs --key-file; make one with: {key_recipe(crypto)}")
        return None
    check_library()
    return read_key(options.key_file, crypto)


def check_files(options: argparse.Namespace) -> None:
    """Refuse what cannot be written, and a report without its library, before anything is solved."""
    files = {f"--{option}": getattr(options, option) for option in ("json", "report", "trace", "instance")}
    wanted = {name: path for name, path in files.items() if path is not None and str(path) != "-"}
    given = {"MODEL": options.model, "--quantize": options.quantize, "--key-file": options.key_file}
    check_apart(wanted, {name: Path(path) for name, path in given.items() if path}, options.output)
    for name, path in wanted.items():
        check_writable(path, name)
    if options.report is not None:
        check_plotting()


def advised(
    options: argparse.Namespace, problem: Problem, known: Result, budget: Budget, errors: Console
) -> Advice:
    """What changes would bring, with progress on a terminal."""
    with errors.status("what if") as status:
        return advise(problem, known.plan, budget, status.update, known.bound, options.time_limit)


def write_pictures(options: argparse.Namespace, found: Answers, steps: Sequence[Step]) -> None:
    """Write the page, the trace and the instance that were asked for."""
    problem, plan = found.problem, found.chosen.plan
    if plan is not None and options.report is not None:
        from ooc_solve.html_report import page  # its plotting library is an extra

        text = page(problem, found.results, steps, found.points, found.advice, found.flight)
        write_whole(options.report, text, "--report")
    if plan is not None and options.trace is not None:
        write_whole(options.trace, to_text(trace_of(problem, plan)), "--trace")
    if plan is not None and options.instance is not None:
        instance = instance_of(problem, plan, options.instance.stem)
        write_whole(options.instance, dump_instance(instance), "--instance")


def solve(
    options: argparse.Namespace,
    problem: Problem,
    budget: Budget,
    errors: Console,
    history: History,
    given: Sequence[Plan],
) -> list[Result]:
    """Run the schedulers asked for, the chosen one last, with progress on a terminal.

    The plans ``given`` are known already.
    """
    with errors.status("planning by rules, before the search") as status:

        def tell(step: Step) -> None:
            words = step.told(lambda value: amount(problem, value))
            if options.verbose:
                errors.print(words, markup=False)
            status.update(words)

        history.tell = tell
        if options.scheduler == "cp-sat" and not options.no_compare:
            return compare(problem, budget, history, given)
        return [scheduled(problem, options.scheduler, budget, history, given)]


def flown(
    options: argparse.Namespace,
    problem: Problem,
    budget: Budget,
    errors: Console,
    history: History,
    given: Sequence[Plan],
) -> Flight:
    """The best of one frame at a time, of a run of several, for which plans are ``given``, and of runs that overlap."""
    seconds = 0.0
    if options.throughput:
        check_throughput(problem)
        budget, seconds = shared_budget(budget)

    def single(problem: Problem, budget: Budget, _: Sequence[Plan]) -> list[Result]:
        return [scheduled(problem, options.scheduler, budget, History())]

    def together(run: Problem, budget: Budget, known: Sequence[Plan]) -> list[Result]:
        return solve(options, run, budget, errors, history, (*given, *known))

    if options.frames == 1:
        flight = alone(problem, tuple(solve(options, problem, budget, errors, history, given)))
    else:
        flight = fly(problem, options.frames, budget, single, together)
    if not options.throughput:
        return flight
    with errors.status("letting runs overlap"):
        return overlapped(flight, seconds)


def show_least(problem: Problem, console: Console) -> int:
    """Print the least feasible SRAM in bytes and who asks for it."""
    least = least_sram(problem)
    if least is None:
        raise InputError(
            f"'{problem.network.name}' cannot run on '{problem.target.name}' with any SRAM it has: "
            f"{fits_nowhere(problem)}."
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
    for built_in in list_targets():
        console.print(f"{built_in.name:18} {built_in.title}", markup=False, soft_wrap=True)
    return 0


def list_all_models(console: Console) -> int:
    """One line per built-in network."""
    for name in zoo_names():
        console.print(describe(name), markup=False, soft_wrap=True)
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


def write_json(path: Path, content: object) -> None:
    """Write a report whole or not at all."""
    text = json.dumps(content, indent=2) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
        return
    write_whole(path, text, "--json")
