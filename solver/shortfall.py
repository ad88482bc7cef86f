"""Why there is no plan: which budget fails, by how much, and the least value that is feasible."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.vocabulary import Budget, Objective, Plan, Result
from ooc_solve.models.wear import is_levelled, lifetime_years
from ooc_solve.solver.burden import heaviest
from ooc_solve.solver.deadline import TimeIsUp, unhurried
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.floor import floor_of
from ooc_solve.solver.heuristics import baseline
from ooc_solve.solver.ladder import at_size, rungs
from ooc_solve.solver.larger_board import MOST_BYTES, demand
from ooc_solve.solver.least import least_bound_bytes, least_sram
from ooc_solve.solver.turns import misfit

Search = Callable[[Problem, Budget], Result]

EACH_SHARE = 0.4
"""Share of the time limit for each figure whose least value is sought."""


@dataclass(frozen=True, slots=True)
class Given:
    """A budget that was given: the figure it bounds, the problem without it, its words."""

    aim: Objective
    without: Problem
    most: int
    words: str
    scale: float
    unit: str
    lasting: bool = False  # whether it was given as a lifetime

    def amount(self, value: int) -> str:
        """A value of the figure with its unit; whole bytes, thousandths of the others."""
        return f"{value:,} {self.unit}" if self.scale == 1.0 else f"{value / self.scale:,.3f} {self.unit}"


def given_budgets(problem: Problem) -> tuple[Given, ...]:
    """The budgets of a problem apart from its SRAM."""
    limits, found = problem.limits, []
    if problem.write_budget_bytes is not None:
        without = replace(problem, write_budget_bytes=None)
        words = "the write budget"
        found.append(Given(Objective.WEAR, without, problem.write_budget_bytes, words, 1.0, "bytes"))
    if limits.lifetime_years is not None:
        without = replace(problem, limits=replace(limits, lifetime_years=None))
        most = replace(problem, write_budget_bytes=None).most_written_bytes
        words = f"the lifetime of {limits.lifetime_years:g} years at {problem.inferences_per_day:g} inferences a day"
        if most is not None:
            words = f"{words} (a write budget)"
            found.append(Given(Objective.WEAR, without, most, words, 1.0, "bytes", lasting=True))
        elif problem.most_programs is not None and not is_levelled(problem.activation_store.storage):
            found.append(
                Given(Objective.WEAR, without, 0, f"{words} (no bytes, as blocks wear out)", 1.0, "bytes")
            )
    if limits.latency_ns is not None:
        without = replace(problem, limits=replace(limits, latency_ns=None))
        found.append(Given(Objective.LATENCY, without, limits.latency_ns, "the latency budget", 1e6, "ms"))
    if limits.energy_nj is not None:
        without = replace(problem, limits=replace(limits, energy_nj=None))
        found.append(Given(Objective.ENERGY, without, limits.energy_nj, "the energy budget", 1e6, "mJ"))
    return tuple(found)


def why_infeasible(problem: Problem, search: Search, budget: Budget) -> str:
    """One sentence for a problem without a plan; other searches say what would be feasible.

    They end with the deadline (see `deadline`), and the sentence says so if they had not come to an end.
    """
    try:
        return _why(problem, search, budget)
    except TimeIsUp:
        return _unfinished(problem)


def _why(problem: Problem, search: Search, budget: Budget) -> str:
    ring = _ring_fault(problem, search, budget)
    if ring is not None:
        return ring
    if not has_room(problem):
        needed = _least_needed(problem)
        if needed is not None:
            return needed
    budgets = given_budgets(problem)
    time_s = EACH_SHARE * budget.time_limit_s
    for given in budgets:
        judged = replace(given.without, objective=given.aim)
        found = search(judged, replace(budget, time_limit_s=time_s))
        if found.objective is not None:
            return _sentence(given, found, len(budgets) > 1)
    if not budgets:
        return NOTHING_FOUND
    return _why(budgets[0].without, search, budget)


def storage_needed(problem: Problem) -> str | None:
    """What is said where the weights alone are more than their part holds; None if they are not."""
    store = problem.target.weights
    weights = sum(op.weight_bytes for op in problem.network.ops)
    missing = weights - store.storage.capacity_bytes
    if missing <= 0:
        return None
    return (
        f"the weights take {weights:,} bytes, {missing:,} more than '{store.storage.name}' holds: "
        "the target needs a larger part"
    )


def worn_by_output(problem: Problem) -> str | None:
    """What is said where the output alone, which has one place, wears out its part too soon; None if it does not."""
    most, asked = problem.most_programs, problem.limits.lifetime_years
    if most is None or most >= 1 or asked is None or problem.io is not IoPlace.STORAGE:
        return None
    part = problem.activation_store.storage
    years = lifetime_years(part, 0, 1, problem.runs_per_day)
    return (
        f"the lifetime of {asked:g} years at {problem.inferences_per_day:g} inferences a day fails: '{part.name}' lives "
        f"{years:.3g} years if the output is written to it, in the same place in every run; keep it in SRAM (--io sram)"
    )


NOTHING_FOUND = "no plan was found within the time limit; allow more with --time-limit"


def has_room(problem: Problem) -> bool:
    """Whether the SRAM is known to suffice without any other budget: the simplest rule finds a plan."""
    return any(baseline(at_size(problem.plainest, size)) is not None for size in rungs(problem)[:1])


def _least_needed(problem: Problem) -> str | None:
    """How much SRAM is missing; None if none is known to be."""
    bound = least_bound_bytes(problem)
    if bound is None:
        return fits_nowhere(problem)
    try:
        least = least_sram(problem)
    except TimeIsUp:
        if bound <= problem.sram_bytes:
            raise
        return (
            f"no plan of this kind fits in less than {bound} bytes of SRAM, {bound - problem.sram_bytes} more "
            "than given; the time limit was too short to find the least that works (ask with --min-sram)"
        )
    if least is not None and least.sram_bytes <= problem.sram_bytes:
        return None
    return sram_needed(problem)


def fits_nowhere(problem: Problem) -> str:
    """Which layer asks for more than the board has, and what a larger one would have to have."""
    board, network = problem.target.board, problem.network
    few, asked = f"the {board.usable_bytes} usable bytes of the board are too few", demand(problem)
    if asked is None:
        return f"{few}, and so are {MOST_BYTES}: use a smaller network"
    layer, need = f"layer '{network.ops[asked.stage].name}'", asked.need_bytes
    if need + problem.reserved_bytes > board.usable_bytes or asked.least is None:
        few = f"{few}: {layer} alone asks for at least {need} bytes of tiles and whole tensors"
    else:
        layer, need = f"layer '{network.ops[asked.least.stage].name}'", asked.least.need_bytes
        few = f"{few}: {layer} asks for {need} bytes of tiles beside {asked.least.kept_bytes} bytes of kept tensors"
    if asked.least is None:
        return f"{few}; the time limit was too short to find the least that works"
    return (
        f"{few}; the least SRAM known to work on a larger board is {asked.least.sram_bytes} bytes "
        f"(no plan of this kind fits in less than {asked.least.bound_bytes})"
    )


def _unfinished(problem: Problem) -> str:
    """What is said where the time was too short even for a reason; some budgets are soon known to fail."""
    budgets = given_budgets(problem)
    for given in budgets:
        with unhurried():
            floor = floor_of(replace(given.without, objective=given.aim))
        if floor > given.most:
            over = given.amount(floor - given.most)
            return (
                f"{given.words} of {given.amount(given.most)} fails by at least {over}: none needs less than "
                f"{given.amount(floor)}; the time limit was too short to find the least that works"
            )
    if budgets:
        return f"{NOTHING_FOUND} (whether the budgets can be met was not found out either, the proof is unfinished)"
    return (
        f"{NOTHING_FOUND}, or ask for the least SRAM that works with --min-sram, which takes the time it needs "
        "(it was not found out either, the proof is unfinished)"
    )


def _ring_fault(problem: Problem, search: Search, budget: Budget) -> str | None:
    """What is wrong with the ring for the plan that writes least, as it has the least scratch region known."""
    if problem.scratch_ring_bytes is None:
        return None
    limits = replace(problem.limits, lifetime_years=None)
    free = replace(problem, objective=Objective.WEAR, limits=limits, scratch_ring_bytes=None)
    least = least_sram(free)
    if least is None or least.sram_bytes > problem.sram_bytes:
        return None
    plan = search(free, replace(budget, time_limit_s=EACH_SHARE * budget.time_limit_s)).plan
    return None if plan is None else misfit(problem, plan.graph) or _short_life(problem, plan)


def _short_life(problem: Problem, plan: Plan) -> str | None:
    """How long the storage lives in the ring with a plan, where that is not long enough."""
    asked, years = (
        problem.limits.lifetime_years,
        figures_of(problem, plan.graph, plan.schedule).lifetime_years,
    )
    if problem.most_programs is None or asked is None or years is None or years >= asked:
        return None
    return (
        f"the lifetime of {asked:g} years at {problem.inferences_per_day:g} inferences a day fails: the storage lives "
        f"{years:.3g} years in this ring with the plan known to write least; a larger --scratch-ring levels further"
    )


def _sentence(given: Given, found: Result, others: bool) -> str:
    """By how much a budget fails, the least value known and where most of it comes from, the least that is proven."""
    assert found.objective is not None
    value, kept = found.objective, " with the other budgets kept" if others else ""
    least = f"the least known to work{kept} is {given.amount(value)}{_where(given, found)}"
    if found.bound > 0:
        least = f"{least}, and none needs less than {given.amount(found.bound)}"
    if value <= given.most:
        return (
            f"{given.words} of {given.amount(given.most)} may be kept, but no plan was found in time: {least}"
        )
    over = given.amount(value - given.most)
    return f"{given.words} of {given.amount(given.most)} fails by {over}: {least}"


def _where(given: Given, found: Result) -> str:
    """What the least value known means in years, where that was asked for, and the layer it is most due to."""
    if found.plan is None:
        return ""
    layer, share = heaviest(given.without, found.plan, given.aim)
    years = found.plan.figures.lifetime_years if given.lasting else None
    lasts = "" if years is None else f", which lasts {years:,.3g} years"
    return f"{lasts} ({given.amount(share)} of it in layer '{layer}')"


def sram_needed(problem: Problem) -> str:
    """How much SRAM is missing, and which layer asks for it."""
    least = least_sram(problem)
    if least is None:
        return fits_nowhere(problem)
    op = problem.network.ops[least.stage]
    return (
        f"the least SRAM known to work is {least.sram_bytes} bytes, {least.sram_bytes - problem.sram_bytes} more "
        f"than given: layer '{op.name}' asks for {least.need_bytes} bytes of tiles beside "
        f"{least.kept_bytes} bytes of kept tensors (no plan of this kind fits in less than {least.bound_bytes})"
    )
