"""The library in one screen: load a network, name a target, solve, look at the plan, write its C.

>>> import ooc_solve
>>> network = ooc_solve.load("zoo:autoencoder")
>>> board = ooc_solve.target("f746-sd")
>>> solution = ooc_solve.solve(network, board, sram="24KiB", time_limit=2)
>>> solution
<Solution: autoencoder on f746-sd, 24 KiB SRAM: ... ms, ...>
>>> solution.plan.validate()
()
>>> solution.plan.figures.sram_peak_bytes <= 24 * 1024
True
>>> folder = solution.plan.to_c("autoencoder_c")

In a notebook, a solution or a plan as the last value of a cell shows its figures and a small drawing;
`Plan.plot` gives one to zoom into, `Solution.report` the whole report as a page.
"""

from __future__ import annotations

import io as text_io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum
from functools import partial
from html import escape
from pathlib import Path
from typing import Any, TypeVar

from rich.console import Console

from ooc_solve import advice as advising
from ooc_solve.advice import Advice
from ooc_solve.codegen.project import check_directory, write_project
from ooc_solve.frames import Flight, fly, frames_facts, frames_words, period_ns
from ooc_solve.gantt import gantt_svg
from ooc_solve.models import sealing, vocabulary
from ooc_solve.models.frames import checked_frames
from ooc_solve.models.limits import NO_LIMITS, Limits
from ooc_solve.models.onnx_quantization import Quantized, quantize_onnx
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.roles import assigned
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    Budget,
    BudgetError,
    Figures,
    InputError,
    Network,
    Objective,
    Result,
    Schedule,
    Status,
    Target,
    TaskGraph,
)
from ooc_solve.models.wear import INFERENCES_PER_DAY
from ooc_solve.models.zoo import zoo_network
from ooc_solve.plotting import check_plotting
from ooc_solve.progress import History, Step
from ooc_solve.report import (
    kibibytes,
    milliseconds,
    optimality,
    report,
    show_comparison,
    title,
    verdict,
)
from ooc_solve.solver import solve as solving
from ooc_solve.solver.budgets import is_budgeted
from ooc_solve.solver.deadline import TimeIsUp, within
from ooc_solve.solver.plans import checked
from ooc_solve.solver.second_process import usual_workers
from ooc_solve.solver.shortfall import NOTHING_FOUND, sram_needed
from ooc_solve.solver.space_bounds import lower_bound
from ooc_solve.solver.validate import Violation, validate
from ooc_solve.throughput import alone as unaccompanied
from ooc_solve.throughput import check_throughput, overlapped, shared_budget
from ooc_solve.trace import measured, read_log, to_text, trace_of
from ooc_solve.whole_file import check_writable, write_whole

SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*(B|[kK]|[kK]iB|M|MiB|G|GiB)?")
FACTOR = {"": 1, "b": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
LARGEST_SIZE = 1 << 40

Named = TypeVar("Named", bound=Enum)


# ------------------------------------------------------------------------------- what is given


def load(model: str | Path) -> Network:
    """Read a network: an ONNX file, or ``zoo:NAME`` for a built-in one.

    Raises
    ------
    InputError
        If the file cannot be read, or holds what is not supported; names the node.
    """
    if str(model).startswith("zoo:"):
        return zoo_network(str(model).removeprefix("zoo:"))
    return read_onnx(Path(model))


def quantize(model: str | Path, calibration: str | Path = "random", activations: str = "int8") -> Quantized:
    """Quantise a float32 ONNX file to int8, by samples of an ``.npz`` file or by random ones.

    ``network`` of the result is what `solve` takes, ``changes`` say how far each output moved on the samples, and
    ``content`` is the quantised ONNX file.

    Raises
    ------
    InputError
        Without onnxruntime, for a model that is quantised already, and for samples that do not fit.
    """
    return quantize_onnx(Path(model), str(calibration), activations)


def target(name: str | Path) -> Target:
    """Read a target: the name of a built-in one, or a TOML file.

    Raises
    ------
    InputError
        If there is none of that name, or the file is wrong; says where.
    """
    return load_target(str(name))


def encrypted(target: Target, cipher: str) -> Target:
    """The target with weights and spilled activations sealed: ``aes-128-gcm`` or ``chacha20-poly1305``.

    ``inline``: an engine of the chip decrypts weights while they are read, and nothing is written to storage.

    Raises
    ------
    InputError
        If its board file does not say what the cipher costs.
    """
    return sealing.encrypted(target, cipher)


def size_bytes(size: int | str) -> int:
    """Bytes of a size such as ``65536``, ``"64KiB"`` or ``"128k"`` (k = 1024).

    Raises
    ------
    InputError
        If it does not read like one, or is not between 1 byte and 1 TiB.
    """
    match = SIZE.fullmatch(str(size).strip())
    if not match:
        raise InputError(f"a size looks like 65536, 64KiB or 128k (got '{size}')")
    found = float(match[1]) * FACTOR[(match[2] or "")[:1].lower()]
    if not 1 <= found <= LARGEST_SIZE:
        raise InputError(f"a size lies between 1 byte and 1 TiB (got '{size}')")
    return int(found)


def problem_of(
    network: Network,
    target: Target,
    sram_bytes: int | None = None,
    objective: str = "latency",
    io: str | None = None,
    write_budget_bytes: int | None = None,
    limits: Limits = NO_LIMITS,
    inferences_per_day: float = INFERENCES_PER_DAY,
    scratch_ring_bytes: int | None = None,
    parts: bool = False,
) -> Problem:
    """The problem of these options: all SRAM of the board, and storage for input and output, by default.

    Raises
    ------
    InputError
        If the board has less SRAM, or an option is not one.
    BudgetError
        If the SRAM does not even hold the runtime.
    """
    full = target.board.usable_bytes
    sram = full if sram_bytes is None else sram_bytes
    if sram > full:
        raise InputError(
            f"The SRAM must not exceed the {full} usable bytes of board '{target.board.name}' (got {sram})."
        )
    place = _usual_place(target) if io is None else _named(IoPlace, io, "the place of input and output")
    judged = _named(Objective, objective, "the objective")
    target = assigned(target, judged)
    return Problem(
        network, target, sram, place, judged, write_budget_bytes, limits, inferences_per_day,
        scratch_ring_bytes=scratch_ring_bytes, parts=parts,
    )  # fmt: skip


def _named(kind: type[Named], name: str, what: str) -> Named:
    """The member of an enumeration that a name stands for."""
    names = [str(member.value) for member in kind]
    if name not in names:
        raise InputError(f"The name of {what} must be one of {', '.join(names)} (got '{name}').")
    return kind(name)


def _usual_place(target: Target) -> IoPlace:
    return IoPlace.SRAM if target.activations is None else IoPlace.STORAGE


# ------------------------------------------------------------------------------- what is found


@dataclass(frozen=True, repr=False)
class Plan:
    """A plan that was checked, with the problem it solves."""

    problem: Problem
    decided: vocabulary.Plan

    @property
    def figures(self) -> Figures:
        """What it costs, by the model of the target."""
        return self.decided.figures

    @property
    def graph(self) -> TaskGraph:
        """Its tasks and buffers."""
        return self.decided.graph

    @property
    def schedule(self) -> Schedule:
        """When each task starts, and where each buffer lies."""
        return self.decided.schedule

    def validate(self) -> tuple[Violation, ...]:
        """Everything that is wrong with it, worked out again from scratch: nothing."""
        return validate(self.problem, self.decided)

    def to_c(self, directory: str | Path, name: str | None = None, key: bytes | None = None) -> Path:
        """Write tables, storage image, runtime and Makefile into a directory of their own.

        ``name`` begins the emitted symbols; it is made from the network's if not given. ``key`` seals the
        image where the target is `encrypted`.

        Raises
        ------
        InputError
            If the directory holds files of others, or the plan does not fit the tables.
        """
        place = Path(directory)
        check_directory(place)
        word = name or identifier(self.problem.network.name)
        return write_project(self.problem, self.decided, place, word, key).directory

    def trace(self, file: str | Path) -> None:
        """Write the plan as a trace, which Perfetto opens and ``ooc-trace`` puts measured runs beside."""
        check_writable(Path(file), "A trace")
        write_whole(Path(file), to_text(trace_of(self.problem, self.decided)), "Trace")

    def measured(self, log: str | Path) -> tuple[TaskGraph, Schedule]:
        """Its tasks with the starts and durations of a run, from the log that the port wrote.

        Raises
        ------
        InputError
            If the log cannot be read, is not whole or is not one of this plan.
        """
        return measured(self.decided, read_log(Path(log)), Path(log).name)

    def plot(self, file: str | Path | None = None) -> Any:
        """Draw the timeline and the map of SRAM, zoomed together, as a layout for ``bokeh.io.show``.

        With ``file`` the drawing is also written there, as a page that needs no network.

        Raises
        ------
        InputError
            If bokeh is not installed.
        """
        check_plotting()
        from ooc_solve.charts import drawing, standalone

        drawn = drawing(self.problem, self.decided)
        if file is not None:
            check_writable(Path(file), "A drawing")
            write_whole(Path(file), standalone(drawn, self.problem.network.name), "Drawing")
        return drawn

    def __repr__(self) -> str:
        return f"<Plan of {self.decided.scheduler}: {self._words()}>"

    def _words(self) -> str:
        figures = self.figures
        return (
            f"{milliseconds(figures.latency_ns)} ms, {figures.energy_nj / 1e6:,.2f} mJ, "
            f"{kibibytes(figures.sram_peak_bytes)} KiB of SRAM, {kibibytes(figures.bytes_read)} KiB read, "
            f"{kibibytes(figures.bytes_written)} KiB written, {len(self.decided.graph.tasks):,} tasks"
        )

    def _repr_html_(self) -> str:
        words = escape(f"{self.decided.scheduler}: {self._words()}")
        return f"<div>{words}</div>{gantt_svg(self.decided)}"


@dataclass(frozen=True, repr=False)
class Solution:
    """What `solve` found. ``results``: all that was tried, the chosen one last; ``steps``: the search.

    With frames in flight ``problem`` and ``results`` are those of a run of several inferences, unless one at a
    time is better; ``flight`` knows both.
    """

    problem: Problem
    results: tuple[Result, ...]
    steps: tuple[Step, ...] = field(default=())
    flight: Flight | None = None

    @property
    def result(self) -> Result:
        """The chosen one: objective, bound, gap, status, seconds, reason."""
        return self.results[-1]

    @property
    def found(self) -> bool:
        """Whether there is a plan."""
        return self.result.plan is not None

    @property
    def plan(self) -> Plan:
        """The plan.

        Raises
        ------
        BudgetError
            If nothing fits; says what would.
        """
        if self.result.plan is None:
            raise BudgetError(f"{self.problem.network.name}: {self.result.reason}")
        return plan_of(self.problem, self.result.plan)

    @property
    def objective(self) -> int | None:
        """Value of the plan: ns, nJ or bytes written."""
        return self.result.objective

    @property
    def bound(self) -> int:
        """No plan of the option space has a lower value."""
        return self.result.bound

    @property
    def period_ns(self) -> int | None:
        """Time per inference when the plan is run again and again; None without a plan."""
        return period_ns(self.problem, self.result)

    @property
    def gap(self) -> float | None:
        """How far the plan is from optimal at most, as a share of its value."""
        return self.result.gap

    @property
    def optimal(self) -> bool:
        """Whether the plan is proven optimal."""
        return self.result.status is Status.OPTIMAL

    def advise(self, time_limit: float = 20.0, workers: int | None = None, seed: int = 1) -> Advice:
        """What changes to SRAM, links, storage, places, patches and kernels would bring, the best first.

        Each is solved again; ``time_limit`` in seconds is for all of them together.
        """
        return advising.advise(
            self.problem,
            self.result.plan,
            _budget(time_limit, workers, seed),
            bound=self.result.bound,
        )

    def to_dict(self) -> dict[str, Any]:
        """The report as ``ooc-solve --json`` writes it."""
        facts = report(self.problem, self.results, self.steps)
        if self.flight is not None:
            facts["frames"] = frames_facts(self.flight)
        return facts

    def report(self, file: str | Path) -> None:
        """Write the report as one page for a browser.

        Raises
        ------
        InputError
            If bokeh is not installed, or the file cannot be written.
        BudgetError
            If there is no plan.
        """
        check_plotting()
        from ooc_solve.html_report import page

        check_writable(Path(file), "A report")
        problem = self.plan.problem
        write_whole(Path(file), page(problem, self.results, self.steps, flight=self.flight), "Report")

    def __repr__(self) -> str:
        words = self.result.reason
        if self.result.plan is not None:
            took = milliseconds(self.result.plan.figures.latency_ns)
            words = f"{took} ms, {optimality(self.problem, self.result).removeprefix('It is ')}"
        return f"<{type(self).__name__}: {_where(self.problem)}: {words}>"

    def _repr_html_(self) -> str:
        if not self.found:
            return f"<div>{escape(repr(self))}</div>"
        told = verdict(self.problem, self.result)
        if self.flight is not None:
            told = *told, frames_words(self.flight)
        lines = "".join(f"<div>{escape(line)}</div>" for line in told)
        return f"<div><b>{escape(_where(self.problem))}</b></div>{lines}{gantt_svg(self.plan.decided)}"


class Comparison(Solution):
    """What `compare` found: every scheduler on one problem, the bound of computing alone first."""

    @property
    def plans(self) -> dict[str, Plan]:
        """The plans by their scheduler."""
        found = [result.plan for result in self.results if result.plan is not None]
        return {plan.scheduler: plan_of(self.problem, plan) for plan in found}

    def __repr__(self) -> str:
        text = text_io.StringIO()
        show_comparison(_console(text), self.problem, self.results)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())

    def _repr_html_(self) -> str:
        drawn = gantt_svg(self.plan.decided) if self.found else ""
        return f"<pre>{escape(repr(self))}</pre>{drawn}"


def _console(text: text_io.StringIO) -> Console:
    """A console that only writes into ``text``: in a notebook rich would show it, with colours, by itself."""
    return Console(file=text, width=80, highlight=False, color_system=None, force_jupyter=False)


def plan_of(problem: Problem, decided: vocabulary.Plan) -> Plan:
    """A plan with the problem in the order in which it runs the operators."""
    return Plan(ordered(problem, decided.selection.order), decided)


def _where(problem: Problem) -> str:
    return title(problem).split(", io")[0]


# -------------------------------------------------------------------------------------- solving


def _budget(time_limit: float, workers: int | None, seed: int) -> Budget:
    """What a search may spend; as many processes as are usual where none are named."""
    processes = usual_workers() if workers is None else workers
    if processes < 1:
        raise InputError(f"A search needs at least one process (got workers={processes}).")
    return Budget(time_limit, processes, seed)


def solve(
    network: Network | str,
    target: Target | str,
    sram: int | str | None = None,
    *,
    objective: str = "latency",
    io: str | None = None,
    write_budget: int | None = None,
    limits: Limits = NO_LIMITS,
    inferences_per_day: float = INFERENCES_PER_DAY,
    scratch_ring: int | str | None = None,
    parts: bool = False,
    frames: int = 1,
    throughput: bool = False,
    scheduler: str = "cp-sat",
    time_limit: float = 20.0,
    workers: int | None = None,
    seed: int = 1,
    known: Sequence[Plan] = (),
    progress: Callable[[Step], None] | None = None,
) -> Solution:
    """Plan a network for a target: what `load` and `target` give, or what they are given.

    ``sram`` is all that may be used, runtime included (bytes, or a text such as ``"32KiB"``; all of the
    board's if not given). ``objective``: latency, energy or wear. ``io``: where input and output live,
    sram or storage. ``write_budget``: most bytes written per inference; ``limits``: most latency and
    energy, least lifetime at ``inferences_per_day``; no plan exceeds any of them. ``scratch_ring``: storage in which
    the region of spilled activations takes turns, to level wear (bytes, or a text). With ``parts`` tensors may stay
    in SRAM in part, which makes the search longer. With ``frames`` a run makes several inferences, and the time for each of many is what is minimised; with ``throughput`` runs may overlap
    (for the objectives latency and energy). ``time_limit`` in seconds.
    Of two ``workers`` (as many as there are processors, at most 2) one raises the bound while the other searches.
    ``known`` are plans of this problem (for one inference), which the solver starts from: what it finds is no worse
    than those that keep to the budgets. ``progress`` is told each step of the search.

    Raises
    ------
    InputError
        If the options do not go together. That nothing fits is no error: ask `Solution.found`.
    BudgetError
        If the SRAM does not even hold the runtime.
    """
    problem = _problem(
        network, target, sram, objective, io, write_budget, limits, inferences_per_day, scratch_ring, parts
    )
    if scheduler not in solving.SCHEDULERS:
        raise InputError(f"A scheduler must be one of {', '.join(solving.SCHEDULERS)} (got '{scheduler}').")
    budget, history = _budget(time_limit, workers, seed), History(progress)

    def planned(
        told: History, here: Problem, left: Budget, given: Sequence[vocabulary.Plan] = ()
    ) -> list[Result]:
        return [scheduled(here, scheduler, left, told, given)]

    given = [plan.decided for plan in known]
    seconds = 0.0
    if throughput:
        check_throughput(problem)
        budget, seconds = shared_budget(budget)
    if checked_frames(frames) == 1 and not throughput:
        return Solution(problem, tuple(planned(history, problem, budget, given)), tuple(history.steps))

    def alone(here: Problem, left: Budget, _: Sequence[vocabulary.Plan]) -> list[Result]:
        return planned(History(), here, left, given)

    if frames == 1:
        flight = unaccompanied(problem, tuple(planned(history, problem, budget, given)))
    else:
        flight = fly(problem, frames, budget, alone, partial(planned, history))
    if throughput:
        flight = overlapped(flight, seconds)
    return Solution(flight.problem, flight.results, tuple(history.steps), flight)


def compare(
    network: Network | str,
    target: Target | str,
    sram: int | str | None = None,
    *,
    objective: str = "latency",
    io: str | None = None,
    write_budget: int | None = None,
    limits: Limits = NO_LIMITS,
    inferences_per_day: float = INFERENCES_PER_DAY,
    scratch_ring: int | str | None = None,
    parts: bool = False,
    time_limit: float = 20.0,
    workers: int | None = None,
    seed: int = 1,
    progress: Callable[[Step], None] | None = None,
) -> Comparison:
    """Plan a network with every scheduler; options as in `solve`, the last plan is the one it would give."""
    problem = _problem(
        network, target, sram, objective, io, write_budget, limits, inferences_per_day, scratch_ring, parts
    )
    history = History(progress)
    results = solving.compare(problem, _budget(time_limit, workers, seed), history)
    return Comparison(problem, tuple(results), tuple(history.steps))


def advise(
    network: Network | str,
    target: Target | str,
    sram: int | str | None = None,
    *,
    objective: str = "latency",
    io: str | None = None,
    write_budget: int | None = None,
    limits: Limits = NO_LIMITS,
    inferences_per_day: float = INFERENCES_PER_DAY,
    scratch_ring: int | str | None = None,
    time_limit: float = 20.0,
    workers: int | None = None,
    seed: int = 1,
) -> Advice:
    """Solve, then say what changes would bring (`Solution.advise`); options as in `solve`.

    ``time_limit`` is taken twice: for the plan, and for all changes together.
    """
    options: dict[str, Any] = {
        "objective": objective, "io": io, "write_budget": write_budget, "limits": limits,
        "inferences_per_day": inferences_per_day, "scratch_ring": scratch_ring,
    }  # fmt: skip
    spent: dict[str, Any] = {"time_limit": time_limit, "workers": workers, "seed": seed}
    return solve(network, target, sram, **options, **spent).advise(**spent)


def scheduled(
    problem: Problem,
    scheduler: str,
    budget: Budget,
    progress: History,
    given: Sequence[vocabulary.Plan] = (),
) -> Result:
    """What one scheduler finds, with a bound, and with the reason if it found nothing.

    The solver may take one of the plans ``given``, if it keeps to the budgets.
    """
    if scheduler in solving.PARTS:
        return solving.cp_sat(problem, budget, progress, given, parts=solving.PARTS[scheduler])
    with within(budget.time_limit_s):
        return _ruled(problem, scheduler, budget)


def _ruled(problem: Problem, scheduler: str, budget: Budget) -> Result:
    """What a rule finds, as far as the time goes."""
    result = Result(scheduler.replace("-", " "), Status.INFEASIBLE, None, None, 0, 0.0, NOTHING_FOUND)
    try:
        result = solving.SCHEDULERS[scheduler](problem, budget)
        if result.plan is None:
            missing = "" if is_budgeted(problem) else f"; {sram_needed(problem)}"
            return replace(result, reason=f"{result.reason}{missing}")
        checked(problem, result.plan)
        return replace(result, bound=lower_bound(problem, budget, result.objective or 0))
    except TimeIsUp:
        return result


def _problem(
    network: Network | str,
    target: Target | str,
    sram: int | str | None,
    objective: str,
    io: str | None,
    write_budget: int | None,
    limits: Limits,
    inferences_per_day: float,
    scratch_ring: int | str | None,
    parts: bool,
) -> Problem:
    network = load(network) if isinstance(network, str) else network
    target = load_target(target) if isinstance(target, str) else target
    sram_bytes = None if sram is None else size_bytes(sram)
    ring_bytes = None if scratch_ring is None else size_bytes(scratch_ring)
    return problem_of(
        network,
        target,
        sram_bytes,
        objective,
        io,
        write_budget,
        limits,
        inferences_per_day,
        ring_bytes,
        parts,
    )


def identifier(name: str) -> str:
    """A C identifier made from a model's name."""
    cleaned = re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_").lower()
    return cleaned if cleaned and not cleaned[0].isdigit() else f"model_{cleaned}"
