"""One point of a sweep: solved, as a row of the results, and as a file that keeps it.

A point knows nothing of the others but the best plans for less SRAM and for slower transfers, which it can always
carry out itself: so no row is worse than one with less SRAM or a slower channel, whatever the clock did to its
search. (Where requests interrupt kernels, a plan may take longer with a faster channel; nothing is said there.)
"""

from __future__ import annotations

import json
import types
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, get_type_hints

from ooc_solve import __version__
from ooc_solve.api import problem_of, scheduled
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.plan_json import dump_plan, parse_plan, plan_hash
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import BudgetError, InputError, Network, Plan, Result, Status
from ooc_solve.progress import History
from ooc_solve.solver.deadline import TimeIsUp, unhurried, within
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.objective import score, value
from ooc_solve.solver.plans import candidate_of, carried, checked
from ooc_solve.solver.plans import plan_of as settled
from ooc_solve.solver.shortfall import NOTHING_FOUND
from ooc_solve.solver.solve import PARTS, cp_sat
from ooc_solve.sweep_grid import Point

SCHEMA = "ooc-sweep-point/1"


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the results; what does not apply is None.

    ``value`` and ``bound`` are in ns, nJ or bytes written, as the objective has it. ``plan_sram_bytes`` is
    the SRAM for which the plan was found, less than ``sram_bytes`` where no better one is known with more.
    ``reason`` is there where no plan is, and so is ``min_sram_bytes`` if it was found within the time limit.
    ``seconds`` is what the search took, with whatever else ran on that machine.
    """

    model: str
    model_digest: str
    target: str
    sram_bytes: int
    io: str | None
    objective: str
    scheduler: str
    write_budget_bytes: int | None
    version: str
    seed: int
    time_limit_s: float
    workers: int
    status: str
    value: int | None
    bound: int | None
    gap: float | None
    latency_ns: int | None
    energy_nj: int | None
    bytes_read: int | None
    bytes_written: int | None
    lifetime_years: float | None
    sram_peak_bytes: int | None
    table_bytes: int | None
    compute_ns: int | None
    io_ns: int | None
    tasks: int | None
    plan_sram_bytes: int | None
    plan_hash: str | None
    min_sram_bytes: int | None
    reason: str | None
    seconds: float


@dataclass(frozen=True, slots=True)
class Known:
    """A finished point: its row, and its plan as a plan file, if there is one.

    ``given`` is the least value of the plans that were known when it was solved.
    """

    row: Row
    plan: str | None
    given: int | None = None

    def outdated_by(self, less: Known | None) -> bool:
        """Whether a plan for less, SRAM or speed, that was not known then is better than what was found."""
        if less is None or less.row.value is None:
            return False
        return all(known is None or less.row.value < known for known in (self.given, self.row.value))

    def to_text(self) -> str:
        """The file that keeps it."""
        content = {"schema": SCHEMA, "row": _values(self.row), "plan": self.plan, "given": self.given}
        return json.dumps(content) + "\n"

    @classmethod
    def from_text(cls, text: str, source: str) -> Known:
        """What `to_text` wrote.

        Raises
        ------
        InputError
            If it is not.
        """
        try:
            content = json.loads(text)
            if content["schema"] != SCHEMA:
                raise ValueError(content["schema"])
            return cls(Row(**content["row"]), content["plan"], content["given"])
        except (ValueError, TypeError, KeyError):
            raise InputError(
                f"{source}: a finished point must be as it was written; delete the file to solve it again."
            ) from None


Earlier = tuple[Point, Known]
"""A point of a sweep and what became of it."""


def columns() -> dict[str, type]:
    """Names and types of the columns."""
    hints = get_type_hints(Row)

    def plain(hint: Any) -> type:
        found: type = hint.__args__[0] if isinstance(hint, types.UnionType) else hint
        return found

    return {field.name: plain(hints[field.name]) for field in fields(Row)}


def _values(row: Row) -> dict[str, Any]:
    return {field.name: getattr(row, field.name) for field in fields(row)}


# ----------------------------------------------------------------------------------- solving


def solve_point(point: Point, less: Known | None = None, slower: Earlier | None = None) -> Known:
    """Solve a point; ``less`` is the best that is known for less SRAM of the same series, ``slower`` a slower point.

    Where there is no plan, the search and what tells the least SRAM share the time limit.
    """
    limit_s = point.budget.time_limit_s
    before = [(point, less)] if less is not None else []
    before += [slower] if slower is not None else []
    given = min((known.row.value for _, known in before if known.row.value is not None), default=None)
    try:
        problem = _problem(point, point.sram_bytes)
    except (InputError, BudgetError) as error:  # what does not go together is a row as well
        with within(limit_s):
            return Known(_row_without_plan(point, None, _none(point, str(error))), None, given)
    plans = [
        (plan, known) for there, known in before if (plan := _plan_of(there, known, problem)) is not None
    ]
    with within(limit_s):
        result = _solved(point, problem, [plan for plan, _ in plans])
        if result.plan is None:
            return Known(_row_without_plan(point, problem, result), None, given)
    made_for = point.sram_bytes
    for plan, known in plans:
        if _same(plan, result.plan):
            made_for = known.row.plan_sram_bytes or made_for
    return Known(_row(point, problem, result, made_for), dump_plan(problem, result.plan), given)


_NETWORKS: dict[tuple[str, str], Network] = {}
"""The networks that this process has met: the solver remembers what it knows of an object, not of its copies."""


def _problem(point: Point, sram_bytes: int) -> Problem:
    network = _NETWORKS.setdefault((point.network.name, point.network.digest), point.network)
    return problem_of(network, point.target, sram_bytes, point.objective, point.io, point.write_budget_bytes)


def _plan_of(there: Point, known: Known, here: Problem) -> Plan | None:
    """The plan of an earlier point, with the times that it has here; None if it cannot be carried out."""
    if known.plan is None:
        return None
    plan = parse_plan(_problem(there, known.row.sram_bytes), known.plan, "the plan of an earlier point")
    return plan if there.target == here.target else carried(here, plan)


def _same(one: Plan, other: Plan) -> bool:
    return one.selection == other.selection and one.schedule == other.schedule


def _solved(point: Point, problem: Problem, known: Sequence[Plan]) -> Result:
    """What the scheduler finds, or the best known plan if that is better."""
    if point.scheduler in PARTS:
        return cp_sat(problem, point.budget, None, known, parts=PARTS[point.scheduler])
    result = scheduled(problem, point.scheduler, point.budget, History())
    if not known:
        return result
    with unhurried():
        plan = min(
            (_settled(problem, plan) for plan in known), key=lambda p: score(problem.objective, p.figures)
        )
    best = value(problem.objective, plan.figures)
    if result.objective is not None and result.objective <= best:
        return result
    return replace(
        result, status=Status.FEASIBLE, plan=plan, objective=best, bound=min(result.bound, best), reason=""
    )


def _settled(problem: Problem, known: Plan) -> Plan:
    there = ordered(problem, known.selection.order)
    plan = settled(there, candidate_of(problem, known), known.scheduler)
    checked(problem, plan)
    return plan


def _none(point: Point, reason: str) -> Result:
    return Result(point.scheduler, Status.INFEASIBLE, None, None, 0, 0.0, reason)


def _row_without_plan(point: Point, problem: Problem | None, result: Result) -> Row:
    """The row of a point that has no plan, with the least SRAM if that is known in time."""
    try:
        least = _least(point)
    except TimeIsUp:
        hint = "" if ASK in result.reason else f"; {TOO_SHORT}"
        return _row(point, problem, replace(result, reason=f"{result.reason}{hint}"), None)
    return _row(point, problem, replace(result, reason=_reason(point, result, least)), None, least)


ASK = "--min-sram"
TOO_SHORT = f"the time limit was too short to find the least SRAM that works (ask ooc-solve with {ASK})"


def _row(
    point: Point, problem: Problem | None, result: Result, made_for: int | None, least: int | None = None
) -> Row:
    """The row of a result; ``problem`` is None where the options do not go together."""
    plan = result.plan
    figures = plan.figures if plan else None
    return Row(
        model=point.model,
        model_digest=point.network.digest,
        target=point.target.name,
        sram_bytes=point.sram_bytes,
        io=problem.io.value if problem else point.io,
        objective=point.objective,
        scheduler=point.scheduler,
        write_budget_bytes=point.write_budget_bytes,
        version=__version__,
        seed=point.budget.seed,
        time_limit_s=point.budget.time_limit_s,
        workers=point.budget.workers,
        status=result.status.value,
        value=result.objective,
        bound=result.bound if plan else None,
        gap=result.gap,
        latency_ns=figures.latency_ns if figures else None,
        energy_nj=figures.energy_nj if figures else None,
        bytes_read=figures.bytes_read if figures else None,
        bytes_written=figures.bytes_written if figures else None,
        lifetime_years=figures.lifetime_years if figures else None,
        sram_peak_bytes=figures.sram_peak_bytes if figures else None,
        table_bytes=figures.table_bytes if figures else None,
        compute_ns=figures.compute_ns if figures else None,
        io_ns=figures.io_ns if figures else None,
        tasks=len(plan.graph.tasks) if plan else None,
        plan_sram_bytes=made_for,
        plan_hash=plan_hash(problem, plan) if plan and problem else None,
        min_sram_bytes=least,
        reason=None if plan else result.reason,
        seconds=round(result.seconds, 3),
    )


def _reason(point: Point, result: Result, least: int | None) -> str:
    """Why there is no plan: of a search that ran out of time the least SRAM that works tells more."""
    if NOTHING_FOUND not in result.reason or least is None or least <= point.sram_bytes:
        return result.reason
    return f"the least SRAM known to work is {least} bytes, {least - point.sram_bytes} more than given"


def _least(point: Point) -> int | None:
    """The least SRAM known to work on the board, None if there is none.

    Raises
    ------
    TimeIsUp
        If the deadline passes before any is known.
    """
    try:
        least = least_sram(_problem(point, point.target.board.usable_bytes))
    except (InputError, BudgetError):
        return None
    return least.sram_bytes if least else None
