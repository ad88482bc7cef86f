"""One judge for every plan, whoever made it.

Each rule is one function that reads the plan and yields what is wrong with it; `validate` applies all
of them. Those about structure, time, memory and contents have modules of their own (`structure_rules`,
`time_rules`, `memory_rules`, `content_rules`). What the streams mean without the times is in
`happens_before`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Figures, Plan
from ooc_solve.solver.audit import audited_energy_nj, audited_lifetime_years, audited_written_bytes
from ooc_solve.solver.content_rules import contents
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.happens_before import Race, broken_streams, completion_order, races
from ooc_solve.solver.memory_rules import banks, capacity, fits, in_place, npu, overlaps, reach, ring, storage
from ooc_solve.solver.structure_rules import structure
from ooc_solve.solver.time_rules import durations, precedence, resources
from ooc_solve.solver.violations import Case, Rule, Violation, task_name

__all__ = ["Rule", "Violation", "validate"]

ROUNDING = 1e-9
"""Relative error of figures that are not integers."""


def validate(problem: Problem, plan: Plan) -> tuple[Violation, ...]:
    """Everything that is wrong with a plan; empty if it is right.

    A plan that refers to things that are not there is only told so: no other rule can be
    applied to it. Byte masks are kept only where all addresses lie inside their memories.
    The operators may run in another order than that of the problem, if the plan says so.
    """
    try:
        problem = ordered(problem, plan.selection.order)
    except ValueError as error:
        return (Violation(Rule.STRUCTURE, f"the operators cannot run in the plan's order: {error}"),)
    if broken := tuple(structure(problem, plan)):
        return broken
    case = Case.of(problem, plan)
    return tuple(violation for rule in _RULES for violation in rule(case))


# -------------------------------------------------------------------------- coverage


def _coverage(case: Case) -> Iterator[Violation]:
    """The tasks and buffers are those that the selection means, every tile exactly once."""
    right = case.meant
    if right is None:
        yield Violation(Rule.COVERAGE, case.fault)
        return
    for name in ("resources", "regions", "resident", "weight_records"):
        if getattr(case.graph, name) != getattr(right, name):
            yield Violation(Rule.COVERAGE, f"the {name.replace('_', ' ')} differ from those of the tilings")
    yield from _first_difference("buffer", case.graph.buffers, right.buffers, ())
    # what a task costs, and where it runs, are rules of their own
    yield from _first_difference("task", case.graph.tasks, right.tasks, ("duration_ns", "resource"))


def _first_difference(
    what: str, found: Sequence[Any], right: Sequence[Any], ignored: tuple[str, ...]
) -> Iterator[Violation]:
    for index, (one, other) in enumerate(zip(found, right, strict=False)):
        if one == other:
            continue
        names = [f.name for f in fields(one) if f.name not in ignored]
        if differing := [name for name in names if getattr(one, name) != getattr(other, name)]:
            message = f"{what} {index} differs from that of the tilings in {', '.join(differing)}"
            yield Violation(Rule.COVERAGE, message, (index,) if what == "task" else ())
            return
    if len(found) != len(right):
        yield Violation(Rule.COVERAGE, f"the tilings mean {len(right)} {what}s (got {len(found)})")


# --------------------------------------------------------------------------- budgets


def _write_budget(case: Case) -> Iterator[Violation]:
    """No more bytes are programmed per inference than allowed."""
    written = audited_written_bytes(case.problem, case.plan)
    budget = case.problem.write_budget_bytes
    if budget is not None and written > budget:
        message = f"{written} bytes are written, {written - budget} more than the budget of {budget}"
        yield Violation(Rule.WRITE_BUDGET, message, (), written - budget)


def _latency_budget(case: Case) -> Iterator[Violation]:
    """The last task ends within the budget."""
    most = case.problem.limits.latency_ns
    if most is not None and case.makespan_ns > most:
        message = f"it takes {case.makespan_ns} ns, {case.makespan_ns - most} more than the budget of {most}"
        yield Violation(Rule.LATENCY_BUDGET, message, (), None, most)


def _energy_budget(case: Case) -> Iterator[Violation]:
    """The energy worked out from the timetable is within the budget."""
    most, energy = case.problem.limits.energy_nj, audited_energy_nj(case.problem, case.plan)
    if most is not None and energy > most:
        yield Violation(
            Rule.ENERGY_BUDGET, f"it takes {energy} nJ, {energy - most} more than the budget of {most}"
        )


def _lifetime(case: Case) -> Iterator[Violation]:
    """The storage lives as long as asked for."""
    least, years = case.problem.limits.lifetime_years, audited_lifetime_years(case.problem, case.plan)
    if least is not None and years is not None and years < least * (1 - ROUNDING):
        yield Violation(Rule.LIFETIME, f"the storage lives {years:.6g} years, less than {least:g}")


# --------------------------------------------------------------------------- streams


def _streams(case: Case) -> Iterator[Violation]:
    """The streams keep to the times, cannot deadlock, and alone order every conflict."""
    graph, streams = case.graph, case.plan.streams
    if broken := list(broken_streams(graph, streams)):
        yield from (Violation(Rule.STREAMS, message, tasks) for message, tasks in broken)
        return
    yield from _late_waits(case)
    sequence = completion_order(streams)
    if len(sequence) < len(graph.tasks):
        stuck = sorted(set(range(len(graph.tasks))) - set(sequence))
        message = f"the streams deadlock: {len(stuck)} tasks wait for ever, task {stuck[0]} among them"
        yield Violation(Rule.STREAMS, message, tuple(stuck[:1]))
    elif fits(case):
        starts = [case.extent(buffer.index)[0] for buffer in graph.buffers]
        for race in races(graph, streams, starts, sequence):
            yield _violation_of(case, race)


def _late_waits(case: Case) -> Iterator[Violation]:
    """Waits that the times do not honour."""
    order = case.plan.streams.order
    for task in case.graph.tasks:
        for r, need in enumerate(case.plan.streams.required[task.index]):
            awaited = order[r][need - 1] if need else task.index
            if need and (early := case.end_ns[awaited] - case.start(task)) > 0:
                message = f"{task_name(task)} starts {early} ns before task {awaited}, for which it waits, has ended"
                yield Violation(Rule.STREAMS, message, (task.index, awaited), at_ns=case.start(task))


def _violation_of(case: Case, race: Race) -> Violation:
    tasks = (case.graph.tasks[race.other], case.graph.tasks[race.task])
    first, second = sorted(tasks, key=case.start)
    place = "SRAM" if race.region is None else f"region '{race.region.value}'"
    message = (
        f"{task_name(second)} does not wait for task {first.index}, although they share bytes of {place}"
    )
    return Violation(Rule.STREAMS, message, (first.index, second.index), at_ns=case.start(second))


# --------------------------------------------------------------------------- figures


def _figures(case: Case) -> Iterator[Violation]:
    """What the plan promises is what it comes to."""
    try:
        due = figures_of(case.problem, case.graph, case.schedule)
    except ValueError as error:
        yield Violation(Rule.FIGURES, f"the figures cannot be worked out: {error}")
        return
    energy, years = (
        audited_energy_nj(case.problem, case.plan),
        audited_lifetime_years(case.problem, case.plan),
    )
    written = audited_written_bytes(case.problem, case.plan)
    due = replace(
        due, energy_nj=energy, lifetime_years=years, bytes_written=written
    )  # from the timetable alone
    for field in fields(Figures):
        right, promised = getattr(due, field.name), getattr(case.plan.figures, field.name)
        if promised != right:
            yield Violation(Rule.FIGURES, f"{field.name} is promised as {promised} but comes to {right}")


_RULES: tuple[Callable[[Case], Iterator[Violation]], ...] = (
    _coverage,
    precedence,
    resources,
    durations,
    overlaps,
    in_place,
    capacity,
    banks,
    reach,
    npu,
    storage,
    ring,
    _write_budget,
    _latency_budget,
    _energy_budget,
    _lifetime,
    contents,
    _streams,
    _figures,
)
"""All rules, in the order in which they are told."""
