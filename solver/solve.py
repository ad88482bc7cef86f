"""Front of the solver: the CP-SAT scheduler, the comparison, the reasons when nothing fits."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from math import inf, log

from ooc_solve.models.cost import align_up, interruption_ns
from ooc_solve.models.limits import NO_LIMITS
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import (
    Budget,
    InternalError,
    Objective,
    Plan,
    Result,
    Schedule,
    Selection,
    Status,
)
from ooc_solve.solver.allowance import complaints
from ooc_solve.solver.budgets import (
    BOUND_AIMS,
    budgeted_bound,
    is_budgeted,
    limited_aims,
    most_value,
    narrowed,
    priced,
    united,
)
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.deadline import TimeIsUp, ends_at, keep_time, left_s, unhurried, within
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.floor import floor_of, least_value
from ooc_solve.solver.heuristics import (
    IN_CORE,
    Scheduler,
    assignment,
    clairvoyant_eviction,
    demand_layering,
    double_buffering,
    finish,
    flexnn,
    fusion_path,
    in_core,
    patch_first,
    reorder_first,
    serial,
    space_of,
    swap_list,
)
from ooc_solve.solver.improvement import improve
from ooc_solve.solver.ladder import Block, at_size, blocks, rungs
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.listing import makespan_ns, settle
from ooc_solve.solver.objective import score, value
from ooc_solve.solver.ordering import least_peak
from ooc_solve.solver.relaxation import Relaxation, raised
from ooc_solve.solver.search import Candidate, deepened, evaluate, first_candidates, score_of
from ooc_solve.solver.selection import Aim, SelectionModel
from ooc_solve.solver.shortfall import storage_needed, why_infeasible, worn_by_output
from ooc_solve.solver.sparing import least_wear
from ooc_solve.solver.validate import validate
from ooc_solve.solver.windows import shortened

Progress = Callable[[str, float, int | None, int], None]
"""Called with what is being done, seconds, best value so far and bound."""

EXACT_TASKS = 48
"""Graphs up to this size are solved to the end by the tile-level model on each rung."""

EFFORT_PER_SECOND = 4000
"""Units of effort of the search on each rung (see `improvement`), per second of time limit."""

STAGES = 16
"""Networks of more stages get as many times more."""

EXACT_SHARE = 0.005
"""CP-SAT's deterministic time for each of them, per second of time limit; the unit is far
longer than a second here (14 s on the machine it was measured on)."""

WINDOWS_WORK = 0.02
"""The same for the windows of the best plan of a rung, where it has more tasks (some 3 s for a unit)."""


@dataclass(frozen=True, slots=True)
class Parts:
    """Which parts of the solver work; leave some out to see what they are worth.

    ``relaxation`` guides the beam search and refutes rungs, ``beam`` is that search, and ``exact``
    the tile-level model, which gets graphs of up to so many tasks; ``windows`` of larger ones are solved again.
    """

    relaxation: bool = True
    beam: bool = True
    exact: int = EXACT_TASKS
    windows: bool = True


ALL_PARTS = Parts()


def cp_sat(
    problem: Problem,
    budget: Budget,
    progress: Progress | None = None,
    known: Sequence[Plan | None] = (),
    spent_s: float = 0.0,
    parts: Parts = ALL_PARTS,
) -> Result:
    """Tilings, residence, times and addresses by beam search and CP-SAT, with a bound.

    Plans are sought on each rung of a fixed ladder of SRAM sizes (see `ladder`), downwards from the
    one asked for, as long as the bound of a rung allows a better plan there. What a rung gives
    depends on nothing but the rung and the time limit, so more SRAM never gives a worse plan, unless
    the deadline cuts the search. No heuristic's plan is better: those of each coarse rung are
    candidates, and so are the plans ``known`` for this problem, which took ``spent_s`` of the time
    limit. Operators run in the order of the problem, and also in the one with the least peak; the
    bound holds for both. Ctrl-C ends the search, and so does the time limit, whatever is being done
    (see `deadline`); what is known by then is returned.

    Wear is minimised by searches for latency under write budgets (see `sparing`).
    """
    begun = time.monotonic()
    missing = storage_needed(problem) or worn_by_output(problem)
    if missing is not None:
        return Result("cp-sat", Status.INFEASIBLE, None, None, 0, 0.0, missing)
    with within(budget.time_limit_s):
        result = _solved(problem, budget, progress, known, spent_s, parts)
        if result.plan is not None:
            return result

        def search(here: Problem, budget: Budget) -> Result:
            return _solved(here, budget, None, [*known, *_plans_without_budgets(here)], 0.0, parts)

        rest_s = begun + budget.time_limit_s - spent_s - time.monotonic()
        return replace(
            result, reason=why_infeasible(problem, search, replace(budget, time_limit_s=max(0.1, rest_s)))
        )


def _solved(
    problem: Problem,
    budget: Budget,
    progress: Progress | None,
    known: Sequence[Plan | None],
    spent_s: float,
    parts: Parts,
    to_prove: bool = True,
) -> Result:
    """`cp_sat` without the reason why nothing is found; ``to_prove``: whether the bound is of use."""
    if problem.objective is Objective.WEAR:
        return _spared(problem, budget, progress, known, spent_s, parts)
    descent, interrupted = _Descent(problem, budget, progress, spent_s, parts, to_prove, known), False
    try:
        descent.search()
    except TimeIsUp:
        pass
    except KeyboardInterrupt:
        interrupted = True
    return _concluded(descent, interrupted)


def _spared(
    problem: Problem,
    budget: Budget,
    progress: Progress | None,
    known: Sequence[Plan | None],
    spent_s: float,
    parts: Parts,
) -> Result:
    """The plan that writes least, which is none that writes more than one that is known already."""
    given = _begun(problem, [plan for plan in known if plan is not None], left_s() / 2)

    def search(here: Problem, budget: Budget) -> Result:
        found = _solved(here, budget, _by_writes(progress, here), given, 0.0, parts, to_prove=False)
        given.extend([] if found.plan is None else [found.plan])
        return found

    def floor(here: Problem, seconds: float) -> int | None:
        begun, least = time.monotonic(), 0
        try:  # what holds without budgets is soon known
            least = floor_of(here)
            free = replace(here, limits=NO_LIMITS, write_budget_bytes=None)
            least = max(least, least_written(free, seconds) or 0)
            found = least_written(here, max(0.0, seconds - (time.monotonic() - begun)))
        except TimeIsUp:
            return least
        return None if found is None else max(least, found)

    left = replace(budget, time_limit_s=_left_of(budget, spent_s))
    result = least_wear(problem, left, search, floor)
    fewest = min((p for p in given if not complaints(problem, p)), key=_writes_first, default=None)
    if fewest is None or (result.plan is not None and _writes_first(result.plan) <= _writes_first(fewest)):
        return result
    with unhurried():
        plan = _best_plan(problem, [candidate_of(problem, fewest)])
    if plan is None:
        return result
    written = plan.figures.bytes_written
    status = Status.OPTIMAL if written <= result.bound else Status.FEASIBLE
    return replace(result, status=status, plan=plan, objective=written, bound=min(written, result.bound))


def _begun(problem: Problem, known: list[Plan], seconds: float) -> list[Plan]:
    """The plans that are known, and one of the rules if none of them keeps to the budgets."""
    if any(not complaints(problem, plan) for plan in known):
        return known
    begun, candidates = time.monotonic(), []
    try:
        with ends_at(begun + seconds):
            for size in rungs(problem)[:1]:
                candidates = _rule_plans(at_size(problem, size), begun + seconds / 2)
    except TimeIsUp:
        return known
    with unhurried():
        plan = _best_plan(problem, candidates)
    return known if plan is None else [*known, plan]


def _writes_first(plan: Plan) -> tuple[int, ...]:
    return score(Objective.WEAR, plan.figures)


def _left_of(budget: Budget, spent_s: float) -> float:
    """Seconds of a limit that are left to a search, at least half of it, but no more than its caller has."""
    return min(max(budget.time_limit_s - spent_s, budget.time_limit_s / 2), left_s())


def _by_writes(progress: Progress | None, here: Problem) -> Progress | None:
    """Tell the progress of a search for latency under a write budget by what it may write."""
    if progress is None:
        return None
    tell, most = progress, here.most_written_bytes
    return lambda what, seconds, best, _: tell(what, seconds, None if best is None else most, 0)


def _concluded(descent: _Descent, interrupted: bool) -> Result:
    """The best plan that is known, with what is proven."""
    problem = descent.problem
    with unhurried():
        plan = _best_plan(problem, [*descent.given, *descent.found])
    if plan is None and interrupted:
        raise KeyboardInterrupt
    plan = plan or _plan_for_least_sram(problem)
    if plan is None:
        return Result("cp-sat", Status.INFEASIBLE, None, None, descent.bound or 0, descent.seconds)
    objective = value(problem.objective, plan.figures)
    if not interrupted and descent.to_prove:
        interrupted = _proven(descent, objective)
    bound = min(objective, descent.bound or descent.floor or _simple_floor(problem))
    status = Status.OPTIMAL if objective == bound else Status.FEASIBLE
    note = "interrupted: this is the best plan and the bound so far" if interrupted else ""
    return Result("cp-sat", status, plan, objective, bound, descent.seconds, note)


def _simple_floor(problem: Problem) -> int:
    """The bound that is there without any search: what computing alone takes."""
    with unhurried():
        return floor_of(problem)


def _proven(descent: _Descent, objective: int) -> bool:
    """Raise the bound of a search as far as its time goes; whether Ctrl-C ended that."""
    try:
        descent.prove(objective)
    except TimeIsUp:
        pass
    except KeyboardInterrupt:
        return True
    return False


def _plan_for_least_sram(problem: Problem) -> Plan | None:
    """The plan with the least SRAM known, if it fits where no rung does and is found in time."""
    try:
        candidates = _least_candidates(problem)
    except TimeIsUp:
        return None
    with unhurried():
        return _best_plan(problem, candidates)


def _best_plan(problem: Problem, candidates: Sequence[Candidate]) -> Plan | None:
    """The best candidate as a plan that keeps to the budgets: interruptions may make one exceed them."""
    for candidate in sorted(candidates, key=lambda c: c.score):
        here = ordered(problem, candidate.selection.order)
        plan = settled(here, candidate, "cp-sat")
        if not complaints(here, plan):
            checked(here, plan)
            return plan
    return None


class _Descent:
    """The search over the rungs, the largest first, and the bound on all of them."""

    def __init__(
        self,
        problem: Problem,
        budget: Budget,
        progress: Progress | None,
        spent_s: float,
        parts: Parts = ALL_PARTS,
        to_prove: bool = True,
        known: Sequence[Plan | None] = (),
    ) -> None:
        self.problem = problem
        self.budget, self.parts, self.to_prove = budget, parts, to_prove
        self.progress = progress
        self.begun = time.monotonic()
        left_s = _left_of(budget, spent_s)
        self.deadline = self.begun + left_s
        share = SEARCH_SHARE if to_prove else 1.0
        self.windows_end = self.begun + left_s * share
        self.search_ends = self.begun + left_s * share * (BEFORE_WINDOWS if parts.windows else 1.0)
        self.rules_end = self.begun + left_s * RULES_SHARE
        self.relaxed_until = self.begun + left_s * RELAXED_SHARE
        self.bound: int | None = None
        self.floor = 0  # a bound as long as there is no better one
        self.found: list[Candidate] = []
        self.given = _given(problem, known)
        self.rungs_seen = 0
        self.offered: list[Problem] = []  # with the options of all rungs looked at
        self.known: dict[int, Rung] = {}
        self.proven: set[Selection] = set()  # those whose best schedule is known on a larger rung

    @property
    def seconds(self) -> float:
        """Time since the search began."""
        return time.monotonic() - self.begun

    @property
    def best(self) -> int | None:
        """Objective of the best plan so far."""
        return min((candidate.score[0] for candidate in (*self.given, *self.found)), default=None)

    @property
    def over(self) -> bool:
        """Whether time is up for the search, and a few rungs have had their chance to give a plan."""
        tried = self.best is not None or self.rungs_seen >= RUNGS_WITHOUT_A_PLAN
        return tried and time.monotonic() > self.search_ends

    def search(self) -> None:
        """Plan for every rung whose bound allows a better plan than the rungs above it gave."""
        for block in blocks(self.problem):
            if self.over:
                break
            self._block(block)
        if self.over:
            self._shorten()

    def _shorten(self) -> None:
        """Solve windows of the best plan again, as time has ended the search for others."""
        best = min((*self.given, *self.found), key=lambda c: c.score, default=None)
        if best is not None and self.parts.windows and len(best.graph.tasks) > self.parts.exact:
            here = ordered(self.problem, best.selection.order)
            self.found.append(windowed(here, best, self.budget, self.windows_end))

    def _block(self, block: Block) -> None:
        """Plan on the rungs of a block that are not above the SRAM asked for."""
        top = min(block.top, self.problem.sram_bytes // block.unit * block.unit)
        if not self.found and block.low <= self.problem.sram_bytes:
            self._begin(block.low, top)
        if not self.offered:
            self._offer(top, self._look(top).bound)
        if top > block.low and not self._look(top).allows(self.best):
            return  # nor is anything below it
        sizes = [size for size in self._sizes(block) if size <= self.problem.sram_bytes]
        for size in sizes:
            if self.over or not self._look(size).allows(self.best):
                return
            if size == sizes[0] and block.high <= self.problem.sram_bytes:
                self._offer(size, least_value(space_of(self._look(size).problem)))
            self._rung(self._look(size))

    def _offer(self, size: int, floor: int | None) -> None:
        """Take in the options for a size, which hold those of all rungs below it in its block.

        The ``floor`` holds for them in the arena of the SRAM asked for.
        """
        self.offered.append(at_size(self.problem, size))
        if floor is not None:
            self.bound = floor if self.bound is None else min(self.bound, floor)

    def _begin(self, low: int, top: int) -> None:
        """Have a plan and a bound soon, whatever time is left for better ones."""
        self.found += _selected(at_size(self.problem, low)) if is_budgeted(self.problem) else []
        self.found += self._by_rules(lambda ends: _rule_plans(at_size(self.problem, low), ends))
        spaces = [space_of(at_size(self.problem, size)) for size in {low, top}]
        self.floor = min(map(least_value, spaces))
        self.tell(low)

    def _by_rules(self, plans: Callable[[float], list[Candidate]]) -> list[Candidate]:
        """What the rules give, as long as their share of the limit lasts if they give plans of many tasks."""
        if not any(len(c.graph.tasks) > QUICK_TASKS for c in (*self.given, *self.found)):
            return plans(self.rules_end)
        try:
            with ends_at(self.rules_end):
                return plans(self.rules_end)
        except TimeIsUp:
            keep_time()
            return []

    def _sizes(self, block: Block) -> tuple[int, ...]:
        """Rungs of a block, downwards; they depend on the problem without its SRAM only."""
        if block.top == block.low or not self.relaxed:
            return (block.low,)
        low, high = self._look(block.low), self._look(block.top)
        if not low.feasible:
            return block.sizes(inf, high.thresholds)
        return block.sizes(log(low.first / high.first) if low.first and high.first else 0.0, high.thresholds)

    @property
    def relaxed(self) -> bool:
        """Whether the relaxation says which rungs are of use."""
        return self.parts.relaxation

    def _look(self, size: int) -> Rung:
        if size not in self.known:
            self.known[size] = Rung(at_size(self.problem, size), self.relaxed_until, self.relaxed)
        return self.known[size]

    def _rung(self, rung: Rung) -> None:
        """Find the best plan for one rung."""
        size = rung.problem.sram_bytes
        self.rungs_seen += 1
        starts = self._by_rules(lambda ends: _first_plans(rung, ends))
        self.found += starts
        self.tell(size)
        for lane in rung.lanes:
            start = self._start(lane, starts)
            if start is None or lane.allows(start.score[0]):
                start = self._within_limits(lane) or start if limited_aims(self.problem) else start
                self._improve(lane, start)
        self.tell(size)

    def _start(self, lane: Lane, starts: Sequence[Candidate]) -> Candidate | None:
        """What a search begins with: the plan of a rule, or a long one that is known, as rules take long then."""
        long = [c for c in self.given if len(c.graph.tasks) > QUICK_TASKS and _fits(lane.problem, c)]
        same = [c for c in starts or long if c.selection.order == lane.problem.network.order]
        return min(same, key=lambda c: c.score, default=None)

    def _within_limits(self, lane: Lane) -> Candidate | None:
        """The plan that is best in a figure that has a budget, where another one is to be minimised."""
        before = len(self.found)
        for aim in limited_aims(self.problem):
            judged = Lane(replace(lane.problem, objective=aim), self.relaxed_until, self.relaxed)
            self._improve(judged, None)
        return min(self.found[before:], key=lambda c: c.score, default=None)

    def _improve(self, lane: Lane, start: Candidate | None) -> None:
        """Search for better plans on one rung; small graphs are solved to the end."""
        here, size, stages = lane.problem, lane.problem.sram_bytes, len(lane.problem.network.ops)
        effort = int(EFFORT_PER_SECOND * self.budget.time_limit_s * max(1.0, stages / STAGES))

        own = [start] if start is not None else []

        def keep(candidate: Candidate) -> None:
            own.append(candidate)
            score = candidate.score
            if here.objective is not self.problem.objective:
                score = score_of(replace(here, objective=self.problem.objective), candidate.graph, score[1])
            self.found.append(replace(candidate, score=score))
            self.tell(size)

        until = self._search_may_end_at()
        if self.parts.beam:
            try:
                with ends_at(inf if self.best is None else until):
                    improve(lane.space, start, effort, self.budget.seed, until, lane.relaxation, keep)
            except TimeIsUp:
                if self.best is None:
                    raise
        found = min(own, key=lambda c: c.score, default=None)
        if found is None or found.selection in self.proven:
            return
        if len(found.graph.tasks) > self.parts.exact:
            if self.parts.windows:
                with suppress(TimeIsUp), ends_at(self.windows_end):
                    found = deepened(here, found, self.windows_end)
                    keep(found)
                keep(windowed(here, found, self.budget, self.windows_end))
        elif time.monotonic() <= self.search_ends:
            keep(exact(here, found, self.budget, self.proven))

    def _search_may_end_at(self) -> float:
        """When its share of the limit is spent; without a plan by then, when the limit itself is."""
        now = time.monotonic()
        return self.search_ends if self.best is not None or now < self.search_ends else now + left_s()

    def prove(self, best: int) -> None:
        """Raise the bound by the relaxation over the options of all rungs looked at, in the arena asked for."""
        left_s = self.deadline - time.monotonic()
        if self.bound is None and (left_s > 0 or not self.floor):
            self.bound = lower_bound(self.problem, replace(self.budget, time_limit_s=max(1.0, left_s)), best)
            return
        if self.bound is None or self.bound >= best:
            return
        if is_budgeted(self.problem):
            seconds = max(1.0, left_s / 3)
            self.bound = max(self.bound, united_bound(self.problem, self.offered, seconds) or 0)
        proven = relaxed_bound(self.problem, self.offered, best, self.deadline)
        self.bound = max(self.bound, proven)

    def tell(self, size: int) -> None:
        """Report the state of the search."""
        if self.progress is not None:
            name = f"{size // 1024} KiB" if size % 1024 == 0 else f"{size} B"
            self.progress(name, self.seconds, self.best, self.bound or self.floor)


RULES_SHARE = 0.15
"""Share of the time limit after which no rule begins or goes on once there is a plan, if plans have many tasks."""

RELAXED_SHARE = 0.45
"""Share of the time limit after which the relaxation says no more about rungs."""

RUNGS_WITHOUT_A_PLAN = 3
"""Rungs that are tried, whatever the time, as long as there is no plan."""

SEARCH_SHARE = 0.75
"""Share of the time limit after which no better plan is sought; the rest is for the bound."""

BEFORE_WINDOWS = 0.9
"""Share of that after which no other tilings are sought, only better schedules of those of the best plan."""

RUNG_BOUND_S = 5.0
"""Seconds for the selection bound of a rung, where the relaxation is of no use."""


class Lane:
    """One amount of SRAM and one order of the operators, with what the relaxation knows of them."""

    def __init__(self, problem: Problem, deadline: float, relaxed: bool) -> None:
        self.problem, self.deadline = problem, deadline
        self.relaxation: Relaxation | None = None
        self.space = space_of(problem)
        if relaxed:
            self.space = narrowed(self.space, deadline)
            self.relaxation = Relaxation(problem, [self.space], deadline)

    @property
    def bound(self) -> int | None:
        """The least objective of a plan; None if nothing fits."""
        if self.relaxation is None:
            return _order_bound(self.problem, RUNG_BOUND_S, None)
        if not self.relaxation.feasible:
            return None
        return max(self.relaxation.bound, least_value(self.space))

    def allows(self, best: int | None) -> bool:
        """Whether there may be a plan within the budget, and a better one than is known."""
        most = most_value(self.problem)
        below = min((v for v in (best, None if most is None else most + 1) if v is not None), default=None)
        if self.relaxation is None:
            floor = _order_bound(self.problem, RUNG_BOUND_S, below)
            return floor is not None and (below is None or floor < below)
        if below is None or not self.relaxation.feasible:
            return self.relaxation.feasible
        return not self.relaxation.excludes(below, self.deadline)


class Rung:
    """One amount of SRAM, with a lane for each order of the operators that is looked at."""

    def __init__(self, problem: Problem, deadline: float, relaxed: bool) -> None:
        self.problem = problem
        self.lanes = tuple(Lane(there, deadline, relaxed) for there in _orders(problem))

    @property
    def bound(self) -> int | None:
        """The least objective of a plan; None if nothing fits."""
        return min((bound for lane in self.lanes if (bound := lane.bound) is not None), default=None)

    @property
    def feasible(self) -> bool:
        """Whether something may fit."""
        return any(lane.relaxation is None or lane.relaxation.feasible for lane in self.lanes)

    @property
    def first(self) -> int:
        """The bound of the relaxation when no plan was known; 0 where nothing fits, or time did not suffice."""
        firsts = [lane.relaxation.first_ns for lane in self.lanes if lane.relaxation is not None]
        return min((first for first in firsts if first), default=0)

    @property
    def thresholds(self) -> set[int]:
        """Sizes, up to this one, at which options begin to fit, what is kept beside them aside."""
        problem, spaces = self.problem, [lane.space for lane in self.lanes]
        reserved = problem.sram_bytes - problem.arena_bytes
        needs = {o.need_bytes for space in spaces for options in space.options for o in options}
        return {align_up(reserved + need, problem.unit_bytes) for need in needs}

    def allows(self, best: int | None) -> bool:
        """Whether there may be a plan, and a better one than is known."""
        return any(lane.allows(best) for lane in self.lanes)


QUICK_TASKS = 1000
"""With plans of more tasks than this a rule takes long enough to be left out when time is up."""


def _first_plans(rung: Rung, deadline: float) -> list[Candidate]:
    """The best plans of the rules on a coarse rung, one for each order of the operators.

    The selection model proposes some too, where nothing else does and no relaxation guides the search.
    """
    here = rung.problem
    starts = _rule_plans(here, deadline) if here.sram_bytes in rungs(here) else []
    if not starts and all(lane.relaxation is None or lane.relaxation.round is None for lane in rung.lanes):
        starts = first_candidates(space_of(here), deadline)
    starts.sort(key=lambda c: c.score)
    return list({start.selection.order: start for start in reversed(starts)}.values())


ROOM = ((True, 1.0), (True, 0.93), (False, 1.0))
"""Whether tiles count as starting anywhere in their granules, and the share of the arena, of quick selections."""


@lru_cache(maxsize=32)
def _selected(here: Problem) -> list[Candidate]:
    """A plan within the budgets, soon: no rule minds them, but the selection model does."""
    for firm, share in ROOM:
        model = SelectionModel(space_of(here), int(here.arena_bytes * share), firm=firm)
        selection = model.solve(Aim.LAYER_OVERLAP, Budget(5.0, 1, 1)).selection
        found = None if selection is None else evaluate(here, selection)
        if found is not None:
            return [found]
    return []


def _rule_plans(here: Problem, deadline: float) -> list[Candidate]:
    """What the rules make of one rung within the budgets.

    What they make of it without budgets is known soon where several budgets are tried on one rung; if
    none of that keeps to them, the rules that choose their tiles by the write budget have their turn.
    """
    plans = _plans_by_rules(here.bare, deadline)
    if not is_budgeted(here):
        return [candidate_of(here, plan) for plan in plans]
    costed = [replace(plan, figures=figures_of(here, plan.graph, plan.schedule)) for plan in plans]
    found = [candidate_of(here, plan) for plan in costed if not complaints(here, plan)]
    if found:
        return found
    return [candidate_of(here, plan) for plan in _plans_by_rules(here, deadline, enough=1)]


def _plans_without_budgets(problem: Problem) -> list[Plan]:
    """What the rules make of the largest rung if there is no budget but the SRAM."""
    return [
        plan
        for size in rungs(problem)[:1]
        for plan in _plans_by_rules(at_size(problem, size).bare, time.monotonic() + left_s())
    ]


def _plans_by_rules(here: Problem, deadline: float, enough: int | None = None) -> list[Plan]:
    """Plans of the rules, the last of the comparison first, as they are mostly the better ones."""
    found: list[Plan] = []
    for rule in reversed(HEURISTICS.values()):
        if (time.monotonic() > deadline and any(map(_is_long, found))) or (
            enough is not None and len(found) >= enough
        ):
            break
        try:
            with ends_at(deadline if any(map(_is_long, found)) else inf):
                plan = _ruled(rule, here).plan
        except TimeIsUp:
            if not found:
                raise
            break
        found += [] if plan is None else [plan]
    return found


def _fits(problem: Problem, candidate: Candidate) -> bool:
    """Whether a candidate's buffers lie within the arena of a problem."""
    buffers = zip(candidate.schedule.address, candidate.graph.buffers, strict=True)
    return all(at + buffer.size_bytes <= problem.arena_bytes for at, buffer in buffers)


def _is_long(plan: Plan) -> bool:
    return len(plan.graph.tasks) > QUICK_TASKS


def _given(problem: Problem, known: Sequence[Plan | None]) -> list[Candidate]:
    """Plans that are known and keep to the budgets, as candidates."""
    with unhurried():
        return [candidate_of(problem, plan) for plan in known if plan and not complaints(problem, plan)]


def candidate_of(problem: Problem, plan: Plan) -> Candidate:
    """A plan as a candidate, whose kernels take as long as they do without interruptions."""
    problem = ordered(problem, plan.selection.order)
    graph = expand(problem, plan.selection) if interruption_ns(problem.target) else plan.graph
    return Candidate(plan.selection, graph, plan.schedule, score_of(problem, graph, plan.figures.latency_ns))


def _least_candidates(problem: Problem) -> list[Candidate]:
    """The plan with the least SRAM known, if it fits where no rung does."""
    least = least_sram(problem)
    if least is None or least.sram_bytes > problem.sram_bytes:
        return []
    found = evaluate(problem, least.candidate.selection)
    return [found] if found is not None else [] if is_budgeted(problem) else [least.candidate]


def exact(problem: Problem, candidate: Candidate, budget: Budget, proven: set[Selection]) -> Candidate:
    """Let the tile-level model finish a small graph, within deterministic time."""
    hint = settle(candidate.graph, candidate.schedule.start_ns, candidate.schedule.address)
    share = EXACT_SHARE * budget.time_limit_s
    result = solve_graph(
        problem, candidate.graph, hint, Budget(budget.time_limit_s, 1, 1), deterministic=share
    )
    if result.status is Status.OPTIMAL:
        proven.add(candidate.selection)
    if result.schedule is None:
        return candidate
    return rescheduled(problem, candidate, result.schedule)


def windowed(problem: Problem, candidate: Candidate, budget: Budget, deadline: float) -> Candidate:
    """A plan of many tasks after windows of it were solved again, within deterministic time."""
    work = WINDOWS_WORK * budget.time_limit_s
    try:
        with ends_at(deadline):
            schedule = shortened(problem, candidate.graph, candidate.schedule, work)
    except TimeIsUp:
        return candidate
    return rescheduled(problem, candidate, schedule)


def rescheduled(problem: Problem, candidate: Candidate, schedule: Schedule) -> Candidate:
    """The same selection with another schedule, settled, if that is better."""
    graph, request_ns = candidate.graph, interruption_ns(problem.target)
    schedule = settle(graph, schedule.start_ns, schedule.address, request_ns)
    found = score_of(problem, graph, makespan_ns(graph, schedule.start_ns))
    if found >= candidate.score:
        return candidate
    return Candidate(candidate.selection, graph, schedule, found)


def rung_bound(here: Problem, seconds: float, below: int | None = None) -> int | None:
    """Bound of the objective over the option space of one rung; None if nothing fits or none is ``below``."""
    floors = (_order_bound(there, seconds, below) for there in _orders(here))
    return min((floor for floor in floors if floor is not None), default=None)


def _orders(problem: Problem) -> tuple[Problem, ...]:
    """The problem with its operators in each of the orders that are looked at."""
    order = least_peak(problem.network, problem.io).order
    return tuple(dict.fromkeys((problem, ordered(problem, order))))


@lru_cache(maxsize=1024)
def _order_bound(here: Problem, seconds: float, below: int | None) -> int | None:
    """`rung_bound` for one order of the operators."""
    space = space_of(here)
    selected = SelectionModel(space).solve(BOUND_AIMS[here.objective], Budget(max(1.0, seconds), 1, 1), below)
    if selected.status is Status.INFEASIBLE:
        return None
    return max(least_value(space), selected.bound)


def least_written(problem: Problem, seconds: float) -> int | None:
    """Least bytes written by the options that are offered for the SRAM asked for, the budgets kept.

    None if nothing keeps to them.
    """
    offered = rungs(problem)[:1] or (problem.sram_bytes,)
    return united_bound(problem, [at_size(problem, size) for size in offered], seconds)


def united_bound(problem: Problem, rungs_seen: Sequence[Problem], seconds: float) -> int | None:
    """Bound of the objective over the options of several rungs together, the budgets kept; None if nothing is."""
    found, orders = [], _orders(problem)
    for there in orders:
        spaces = [space_of(ordered(here, there.network.order)) for here in rungs_seen]
        deadline = time.monotonic() + seconds / len(orders)
        found.append(budgeted_bound(united(there, spaces), seconds / len(orders), deadline))
    return min((bound for bound in found if bound is not None), default=None)


@lru_cache(maxsize=64)
def lower_bound(problem: Problem, budget: Budget, value_of_plan: int) -> int:
    """Proven lower bound of the objective over all tilings and schedules of the option space.

    That is the space for the SRAM asked for: plans for less of it may be made of narrower planes.
    """
    deadline = time.monotonic() + budget.time_limit_s
    floor = rung_bound(problem, budget.time_limit_s / 4, value_of_plan)
    least = value_of_plan if floor is None else min(value_of_plan, floor)
    return max(least, relaxed_bound(problem, [problem], value_of_plan, deadline))


def relaxed_bound(problem: Problem, rungs_seen: Sequence[Problem], best: int, deadline: float) -> int:
    """What the (max,+) relaxation proves for the options of several rungs together; 0 if it says nothing."""
    if problem.objective is Objective.WEAR or not rungs_seen:
        return 0
    orders = _orders(problem)
    least = best
    for left, there in zip(range(len(orders), 0, -1), orders, strict=True):
        spaces = [space_of(ordered(here, there.network.order)) for here in rungs_seen]
        until = time.monotonic() + max(0.0, deadline - time.monotonic()) / left
        pricing_ends = (time.monotonic() + until) / 2
        least = min(least, raised(priced(there, spaces, pricing_ends), best, until))
    return least


def plan_of(problem: Problem, candidate: Candidate, name: str) -> Plan:
    """Settle a candidate's times and check the plan from every side.

    Raises
    ------
    InternalError
        If the validator finds a violation: the plan is withheld.
    """
    plan = settled(problem, candidate, name)
    checked(problem, plan)
    return plan


def settled(problem: Problem, candidate: Candidate, name: str) -> Plan:
    """A candidate as a plan, every task as early as the order allows."""
    found, request_ns = candidate.schedule, interruption_ns(problem.target)
    schedule = settle(candidate.graph, found.start_ns, found.address, request_ns)
    return finish(problem, candidate.selection, candidate.graph, schedule, name)


def checked(problem: Problem, plan: Plan) -> None:
    """Raise `InternalError` with the first violation of a plan."""
    violations = validate(problem, plan)
    if violations:
        first = violations[0]
        raise InternalError(
            f"The plan of scheduler '{plan.scheduler}' breaks the rule '{first.rule}': {first.message}"
        )


def on_rungs(rule: Scheduler) -> Scheduler:
    """A rule that plans for the largest rung on which it finds a plan, as `cp_sat` does."""

    def schedule(problem: Problem, budget: Budget) -> Result:
        missing = storage_needed(problem)
        result = Result("", Status.INFEASIBLE, None, None, 0, 0.0, missing or "no tiling fits")
        if missing is not None:
            return result
        for size in rungs(problem)[:RUNGS_OF_A_RULE]:
            result = _ruled(rule, at_size(problem, size))
            if result.plan is not None:
                return result
        least = least_sram(problem)
        if least is None or least.sram_bytes > problem.sram_bytes:
            return result
        return _ruled(rule, at_size(problem, least.sram_bytes))

    return schedule


@lru_cache(maxsize=128)
def _ruled(rule: Scheduler, here: Problem) -> Result:
    """What a rule gives for one rung: no rule needs to know what it may spend."""
    return rule(here, Budget())


RUNGS_OF_A_RULE = 3
"""Rungs that a rule tries before it turns to the least SRAM known to work."""

HEURISTICS: dict[str, Scheduler] = {
    "serial": serial,
    "double-buffering": double_buffering,
    "demand-layering": demand_layering,
    "swap-list": swap_list,
    "flexnn-like": flexnn,
    "assignment-model": assignment,
    "clairvoyant": clairvoyant_eviction,
    "reorder-first": reorder_first,
    "patch-first": patch_first,
    "fusion-path": fusion_path,
}
"""The rules in the order of the comparison, by the name the command line gives them."""

RULES: tuple[Scheduler, ...] = tuple(on_rungs(rule) for rule in HEURISTICS.values())
"""The same, each for the largest rung on which it finds a plan."""

PARTS: dict[str, Parts] = {
    "cp-sat": ALL_PARTS,
    "cp-sat-only": Parts(relaxation=False, beam=False, exact=400),
    "beam-only": Parts(relaxation=False, exact=0),
    "guided-beam-only": Parts(exact=0),
}
"""The solver, and the same without some of its parts; the bound at the end does not differ."""


def _made_of(parts: Parts) -> Scheduler:
    """The scheduler that consists of some parts only."""
    return lambda problem, budget: cp_sat(problem, budget, parts=parts)


SCHEDULERS: dict[str, Scheduler] = {
    **dict(zip(HEURISTICS, RULES, strict=True)),
    **{name: _made_of(parts) for name, parts in PARTS.items()},
}
"""Schedulers by the name the command line gives them."""


def three_objectives(problem: Problem, budget: Budget) -> dict[Objective, Result]:
    """A problem solved for each objective, each within the time limit; every plan is a candidate for all.

    So none is worse in its own figure than the plan of another objective.
    """
    found: dict[Objective, Result] = {}
    for aim in Objective:
        known = [result.plan for result in found.values()]
        found[aim] = cp_sat(replace(problem, objective=aim), budget, known=known)
    return {aim: _best_of(aim, result, list(found.values())) for aim, result in found.items()}


def _best_of(aim: Objective, own: Result, others: Sequence[Result]) -> Result:
    """The result for an objective with the best plan of all; the bound is its own."""
    plans = [result.plan for result in others if result.plan is not None]
    if not plans:
        return own
    plan = min(plans, key=lambda plan: score(aim, plan.figures))
    objective = value(aim, plan.figures)
    bound = min(own.bound, objective)
    status = Status.OPTIMAL if objective == bound else Status.FEASIBLE
    return replace(own, plan=plan, objective=objective, bound=bound, status=status)


COMPARED_SHARE, COMPARED_S = 0.4, 1.0
"""Share of the time limit, and seconds on top, after which no rule of the comparison goes on."""

NOT_RUN = "not run: the time limit leaves no room"


def compare(
    problem: Problem, budget: Budget, progress: Progress | None = None, given: Sequence[Plan] = ()
) -> list[Result]:
    """Every scheduler on one problem: the in-core bound first, CP-SAT last; it also knows the plans ``given``.

    Rules that have not ended after their share of the time limit are left out, and say so as their reason.
    """
    begun = time.monotonic()
    with within(budget.time_limit_s):
        with ends_at(begun + COMPARED_SHARE * budget.time_limit_s + COMPARED_S, COMPARED_S):
            results, interrupted = _rules_in_turn(problem, budget)
        known, spent_s = [*given, *(result.plan for result in results)], time.monotonic() - begun
        if interrupted:
            last = _concluded(_Descent(problem, budget, progress, spent_s, known=known), interrupted)
        else:
            last = cp_sat(problem, budget, progress, known, spent_s)
    return [*results, last]


def _rules_in_turn(problem: Problem, budget: Budget) -> tuple[list[Result], bool]:
    """What the rules give, the in-core bound first, and whether Ctrl-C ended them."""
    names = [IN_CORE, *(name.replace("-", " ") for name in HEURISTICS)]
    results: list[Result] = []
    interrupted = False
    for name, rule in zip(names, (in_core, *RULES), strict=True):
        try:
            results.append(_not_run(name) if interrupted else _checked_result(rule, problem, budget))
        except TimeIsUp:
            results.append(_not_run(name))
        except KeyboardInterrupt:
            interrupted = True
            results.append(_not_run(name))
    return results, interrupted


def _checked_result(rule: Scheduler, problem: Problem, budget: Budget) -> Result:
    """What a rule gives, from every side."""
    keep_time()
    result = rule(problem, budget)
    if result.plan is not None:
        checked(problem, result.plan)
    return result


def _not_run(name: str) -> Result:
    return Result(name, Status.FEASIBLE, None, None, 0, 0.0, NOT_RUN)
