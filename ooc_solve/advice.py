"""Advice: what a change would bring, each solved again, the best first.

The time limit is split evenly over all that is left to solve, again and again, so that what one change does
not use the others have; the problem as it is gets the same share. A search needs some time whatever its share,
so a change is begun only if the longest search so far would still end in time (one that is begun is not cut
off); the others are told as not tried, as they are after Ctrl-C. A plan that can be carried out with a change as it
is (more SRAM, a faster link) is known to the search, so such a change is never said to do harm. A change with
which computing alone takes longer than the plan that is known is not searched: it is proven not to help.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from ooc_solve.layer_names import short_names
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Objective, Plan
from ooc_solve.receptive_field import Halo, halos
from ooc_solve.report import amount
from ooc_solve.solver.deadline import TimeIsUp, unhurried
from ooc_solve.solver.heuristics import in_core
from ooc_solve.solver.plans import carried
from ooc_solve.solver.solve import cp_sat
from ooc_solve.what_if import AS_IS, WhatIf, what_ifs

NOT_TRIED = "not tried: the time limit leaves no room"

NO_GAIN = "no gain: computing alone takes longer"

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a change brings: the value of its plan and what is proven, in the unit of the objective.

    ``change_share`` compares with the problem as it is, in the same time: -0.1 is a tenth less. ``floor_ns``
    is what computing alone takes: where a kernel is smaller, part of the gain is that.
    """

    change: str
    value: int | None
    bound: int | None
    change_share: float | None
    floor_ns: int | None
    seconds: float
    reason: str


@dataclass(frozen=True, slots=True)
class Advice:
    """All answers, the best first and those without a plan last, and what makes patches overlap.

    ``enough_s`` is the time limit with which those that were not tried might be; None if nothing tells.
    """

    problem: Problem
    base: int | None
    answers: tuple[Answer, ...]
    halos: tuple[Halo, ...]
    seconds: float
    enough_s: int | None

    def to_dict(self) -> dict[str, Any]:
        """The advice as the JSON report has it."""
        return {
            "base": self.base,
            "seconds": round(self.seconds, 3),
            "what_ifs": [
                {name: getattr(answer, name) for name in Answer.__slots__} for answer in self.answers
            ],
            "halos": [{name: getattr(halo, name) for name in Halo.__slots__} for halo in self.halos],
        }

    def __repr__(self) -> str:
        text = io.StringIO()
        show_advice(Console(file=text, width=80, highlight=False), self)
        return "\n".join(line.rstrip() for line in text.getvalue().splitlines())


def advise(
    problem: Problem,
    plan: Plan | None,
    budget: Budget,
    tell: Tell | None = None,
    bound: int = 0,
    limit_s: float | None = None,
) -> Advice:
    """Solve a problem with every change within a time limit.

    ``plan`` is the best that is known of it, ``bound`` what is proven of it, ``limit_s`` the limit of which the
    budget is a share.
    """
    begun = time.monotonic()
    with unhurried():
        asked = what_ifs(problem, plan)
        found = halos(problem, plan) if plan is not None else ()
    asked = (WhatIf(AS_IS, problem), *asked) if plan is not None else asked
    answers: list[Answer] = []
    try:
        for number, change in enumerate(asked):
            left = budget.time_limit_s - (time.monotonic() - begun)
            if left <= max((answer.seconds for answer in answers), default=0.0):
                break
            if tell is not None:
                tell(f"what if {number + 1} of {len(asked)}: {change.change}")
            share = replace(budget, time_limit_s=left / (len(asked) - number))
            answers.append(_answer(change, plan, share, bound if _restricts(problem, change.problem) else 0))
    except (KeyboardInterrupt, TimeIsUp):  # what is known by then is advice, too
        pass
    seconds = time.monotonic() - begun
    enough_s = _enough_s(seconds, len(asked), len(answers), (limit_s or 0.0) / budget.time_limit_s)
    answers += [_untried(change) for change in asked[len(answers) :]]
    base = next((answer.value for answer in answers if answer.change == AS_IS), None)
    return Advice(problem, base, _ranked(base, answers), found, seconds, enough_s)


def _restricts(problem: Problem, changed: Problem) -> bool:
    """Whether every plan of a changed problem is one of the problem as it is, so that a bound holds for both."""
    less = changed.sram_bytes <= problem.sram_bytes and changed.patch_depth <= problem.patch_depth
    return less and problem == replace(
        changed, sram_bytes=problem.sram_bytes, patch_depth=problem.patch_depth
    )


def _enough_s(seconds: float, asked: int, tried: int, shares: float) -> int | None:
    """A limit, up to the next ten seconds, if the rest takes as long as what was tried and others have their shares."""
    if not tried:
        return None
    return 10 * math.ceil(1.1 * seconds * asked / tried * max(1.0, shares) / 10)


def _answer(change: WhatIf, plan: Plan | None, budget: Budget, bound: int) -> Answer:
    begun = time.monotonic()
    floor = in_core(change.problem, budget).bound
    if plan is not None and change.problem.objective is Objective.LATENCY and floor > plan.figures.latency_ns:
        return Answer(change.change, None, floor, None, floor, round(time.monotonic() - begun, 3), NO_GAIN)
    known = [] if plan is None else [carried(change.problem, plan)]
    result = cp_sat(change.problem, budget, None, known)
    if result.plan is not None and result.reason:
        raise KeyboardInterrupt  # the search heeded it, with half a plan
    seconds = round(time.monotonic() - begun, 3)
    if result.plan is None or result.objective is None:
        return Answer(change.change, None, None, None, None, seconds, result.reason)
    proven = min(result.objective, max(bound, result.bound))
    return Answer(change.change, result.objective, proven, None, floor, seconds, "")


def _untried(change: WhatIf) -> Answer:
    return Answer(change.change, None, None, None, None, 0.0, NOT_TRIED)


def _ranked(base: int | None, answers: list[Answer]) -> tuple[Answer, ...]:
    """The answers compared with what is, the least value first."""
    told = [
        replace(answer, change_share=(answer.value - base) / base if base else None)
        if answer.value is not None
        else answer
        for answer in answers
    ]
    return tuple(sorted(told, key=lambda answer: (answer.value is None, answer.value or 0)))


# ------------------------------------------------------------------------------------- terminal


def show_advice(console: Console, advice: Advice) -> None:
    """A line for each change in 80 columns, then what is not there and why, then what overlaps."""
    unit = {Objective.LATENCY: "ms", Objective.ENERGY: "mJ", Objective.WEAR: "bytes"}
    table = Table(pad_edge=False, box=None, header_style="bold")
    table.add_column("what if", max_width=44)
    for name in (unit[advice.problem.objective], "change", "at best", "gap"):
        table.add_column(name, justify="right", no_wrap=True)
    for cells in rows(advice):
        table.add_row(*map(Text, cells), style="bold" if cells[0] == AS_IS else "")
    console.print(table)
    for sentence in remarks(advice):
        console.print(Text(sentence))


def rows(advice: Advice) -> Iterator[tuple[str, ...]]:
    """Change, value, difference, proven difference at best, and gap of each change with a plan."""
    for answer in advice.answers:
        if answer.value is None or answer.bound is None:
            continue
        gap = (answer.value - answer.bound) / answer.value if answer.value else 0.0
        yield (
            answer.change,
            amount(advice.problem, answer.value).split(" ")[0],
            "-" if answer.change_share is None else _percent(answer.change_share),
            _percent((answer.bound - advice.base) / advice.base) if advice.base else "-",
            f"{gap:.1%}",
        )


def _percent(share: float) -> str:
    """A change; one that is too small to be shown has no sign of a loss."""
    text = f"{share:+.1%}"
    return "+0.0%" if text == "-0.0%" else text


def remarks(advice: Advice) -> tuple[str, ...]:
    """What the table leaves out: changes without a plan, kernels that make patches overlap, the time."""
    untried = [answer.change for answer in advice.answers if answer.reason == NOT_TRIED]
    found = [
        f"{answer.change}: no plan, {answer.reason}."
        for answer in advice.answers
        if answer.value is None and answer.reason not in (NOT_TRIED, NO_GAIN)
    ]
    found += [
        f"{answer.change}: no gain, computing alone takes {amount(advice.problem, answer.floor_ns)}."
        for answer in advice.answers
        if answer.reason == NO_GAIN and answer.floor_ns is not None
    ]
    found += [_not_tried(advice, untried)] if untried else []
    short = short_names(advice.problem.network)
    found += _overlaps(advice.halos, short)
    words = (
        f"Every change was solved again, {advice.seconds:.1f} s in all; at best: what its bound allows. The truth "
        "lies between the two; where the gap is large, a longer --time-limit tells. None of it is measured on a board."
    )
    return (*found, words)


def _not_tried(advice: Advice, untried: list[str]) -> str:
    """What was left out, and what limit would do."""
    enough = "" if advice.enough_s is None else f" (--time-limit {advice.enough_s} may do)"
    return f"Not tried, as the time limit leaves no room{enough}: {'; '.join(untried)}."


def _overlaps(halos: tuple[Halo, ...], short: dict[str, str]) -> list[str]:
    """Kernels that make patches overlap: one by one where something is computed again, the others together."""
    words = {halo: f"{short[halo.op]} ({halo.kernel[0]}x{halo.kernel[1]})" for halo in halos}
    found = [
        f"Patches: {words[halo]} makes them overlap by {halo.rows} rows of the stage's input; "
        f"{halo.again:.1%} is computed again."
        for halo in halos
        if halo.again > 0
    ]
    kept = ", ".join(f"{words[halo]} by {halo.rows}" for halo in halos if halo.again <= 0)
    if kept:
        found.append(
            f"Patches overlap by rows of the stage's input that are kept, so nothing is computed again: {kept}."
        )
    return found
