"""The search for plans, rung by rung downwards, within the time limit and in all its parts."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from itertools import islice
from math import ceil, inf, log

from ooc_solve.models.cost import align_up, interruption_ns
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Plan, Schedule, Selection, Status, TaskGraph
from ooc_solve.solver.allowance import complaints
from ooc_solve.solver.budgets import is_budgeted, limited_aims, most_value, narrowed
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.deadline import TimeIsUp, ends_at, keep_time, left_s, unhurried
from ooc_solve.solver.exhaustion import Exhaustion
from ooc_solve.solver.floor import least_value
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.improvement import Improvement
from ooc_solve.solver.ladder import NEARBY, Block, at_size, blocks, rungs, top_of
from ooc_solve.solver.least import least_sram
from ooc_solve.solver.listing import makespan_ns, settle
from ooc_solve.solver.plans import candidate_of
from ooc_solve.solver.quick_plan import can_keep_to_writes, quick_plan
from ooc_solve.solver.relaxation import FAR, Relaxation
from ooc_solve.solver.ruled_plans import QUICK_TASKS, rule_plans
from ooc_solve.solver.search import PACKED_TASKS, Candidate, deepened, evaluate, first_candidates, score_of
from ooc_solve.solver.second_process import SecondProcess, can_fork
from ooc_solve.solver.space_bounds import lower_bound, order_bound, orders_of, relaxed_bound, united_bound
from ooc_solve.solver.windows import MOST_TASKS as WINDOWED_TASKS
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

WINDOWS_WORK = 0.06
"""The same for the windows of the best plan of a rung, where it has more tasks (some 3 s for a unit)."""

TASKS_OF_WINDOWS = 5000
"""Plans of more tasks get as many times more, as they have more windows."""

WIDE_FROM_S = 2.0
"""Least time limit with which the best plan of a rung gets a wide search for a merge, which takes seconds."""

RULES_SHARE = 0.15
"""Share of the time limit after which no rule begins or goes on once there is a plan, if plans have many tasks."""

RELAXED_SHARE, FIRST_RELAXED_SHARE = 0.6, 0.8
"""Share of the time limit after which the relaxation says no more about rungs; the same for the first one, without
which there is neither a bound nor anything that guides the search."""

NEAR = 0.005
"""By how much better a plan must be to be sought when the rungs are gone through for the first time."""

FIRST_SHARE = 0.4
"""Share of the time limit after which they are not gone through any further for the first time."""

RUNGS_WITHOUT_A_PLAN = 3
"""Rungs that are tried, whatever the time, as long as there is no plan."""

SEARCH_SHARE = 0.75
"""Share of the time limit after which no better plan is sought; the rest is for the bound."""

SLOW_BOUND, LONGER_SEARCH = 0.15, 0.88
"""Share of the limit from which on a bound has been slow, so that the rest would hardly raise it; the search lasts
so long then."""

BESIDE_SHARE = 0.95
"""The same where a second process takes care of the bound; the rest is for what a plan is made of in the end."""

BESIDE_FROM_S = 4.0
"""Least seconds left for which a second process is started."""

UNSOUGHT_SHARE = 0.97
"""The same as long as only rules have given plans: the first search is worth more than what comes after it."""

BEFORE_WINDOWS, BEFORE_MANY_WINDOWS = 0.9, 0.8
"""Share of that after which no other tilings are sought, only better schedules of those of the best plan; the second
where that has more than `PACKED_TASKS` tasks, as windows gain most there."""

RACE = 4
"""Windows of two schedules of one selection are solved for one of so many parts of the time each, then of the better."""

SMALL_SHARE = 0.5
"""Share of the limit that the search for a small plan may take: in the rest all other selections are tried."""

EXHAUSTION_SHARE = 0.8
"""Share of what is left of the limit that trying them may take; where that is not enough the relaxation goes on."""

RUNG_BOUND_S = 5.0
"""Seconds for the selection bound of a rung, where the relaxation is of no use."""


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


def left_of(budget: Budget, spent_s: float) -> float:
    """Seconds of a limit that are left to a search, at least half of it, but no more than its caller has."""
    return min(max(budget.time_limit_s - spent_s, budget.time_limit_s / 2), left_s())


class Descent:
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
        left_s = left_of(budget, spent_s)
        self.deadline = self.begun + left_s
        self.share = SEARCH_SHARE if to_prove else 1.0  # of that, for the search
        self.is_slow = False  # the bound, on some rung
        self.rules_end = self.begun + left_s * RULES_SHARE
        self.relaxed_until = self.begun + left_s * RELAXED_SHARE
        self.second = SecondProcess()
        self.bound: int | None = None
        self.floor = 0  # a bound as long as there is no better one
        self.found: list[Candidate] = []
        self.given = given_candidates(problem, known)
        self.sought = False  # whether plans were sought, or the best one may still be a rule's
        self.worth = 0.0  # plans that are better by no larger share are not sought for now, if they are large
        self.rungs_seen = 0
        self.beyond = 0  # blocks without a selection within the write budget
        self.rung_begun = inf  # the last one; none has
        self.offered: list[Problem] = []  # with the options of all rungs looked at
        self.known: dict[int, Rung] = {}
        self.proven: set[Selection] = set()  # those whose best schedule is known on a larger rung

    @property
    def seconds(self) -> float:
        """Time since the search began."""
        return time.monotonic() - self.begun

    @property
    def leader(self) -> Candidate | None:
        """The best plan so far."""
        return min((*self.given, *self.found), key=lambda c: c.score, default=None)

    @property
    def best(self) -> int | None:
        """Objective of the best plan so far."""
        return None if self.leader is None else self.leader.score[0]

    @property
    def windows_end(self) -> float:
        """When the search ends, windows included."""
        return self._after(BESIDE_SHARE if self.is_helped else self.share)

    @property
    def windows_left_s(self) -> float:
        """Seconds until then."""
        return max(0.0, self.windows_end - time.monotonic())

    def _after(self, share: float) -> float:
        """When a share of the time there is has passed."""
        return self.begun + share * (self.deadline - self.begun)

    @property
    def is_helped(self) -> bool:
        """Whether a second process is there, and at work on all rungs looked at."""
        return self.second.covers(len(self.offered))

    @property
    def search_ends(self) -> float:
        """When no other tilings are sought any more: the sooner the more windows of the best plan gain.

        As long as only rules have given plans, other tilings gain more.
        """
        before, leader = 1.0, self.leader
        if leader is not None and self.is_small(leader.graph):
            return min(self.windows_end, self.begun + SMALL_SHARE * (self.deadline - self.begun))
        if leader is not None and self.sought and self._has_windows(leader):
            many = len(leader.graph.tasks) > PACKED_TASKS
            before = BEFORE_MANY_WINDOWS if many else BEFORE_WINDOWS
        return self.begun + before * (self.windows_end - self.begun)

    def is_small(self, graph: TaskGraph) -> bool:
        """Whether a plan has so few tasks that all selections that may be better can be tried."""
        return self.parts.relaxation and len(graph.tasks) <= self.parts.exact

    def _has_windows(self, candidate: Candidate) -> bool:
        """Whether windows of a plan are solved again: not of those that are solved whole, nor of very long ones."""
        return self.parts.windows and self.parts.exact < len(candidate.graph.tasks) <= WINDOWED_TASKS

    @property
    def over(self) -> bool:
        """Whether time is up for the search, and a few rungs have had their chance to give a plan."""
        if self.best is None and self.beyond >= NEARBY:
            return True
        tried = self.best is not None or self.rungs_seen >= RUNGS_WITHOUT_A_PLAN
        return tried and time.monotonic() > self.search_ends

    @property
    def late(self) -> bool:
        """Whether no more options are taken in: their bound takes time, too, whoever proves it.

        Where bounds are slow, a rung for which there is less time than the one before took would be given up, and its
        bound be low.
        """
        now = time.monotonic()
        given_up = self.is_slow and now - self.rung_begun > self.deadline - now
        too_late = now > self._after(self.share) or given_up
        return self.over or (self.best is not None and too_late)

    def search(self) -> None:
        """Plan for every rung whose bound allows a better plan than the rungs above it gave.

        First for those that allow a much better one; only then what they left is sought.
        """
        for self.worth in (NEAR, 0.0):
            for block in blocks(self.problem):
                if self.over or (self._is_late_for_more and not self._is_offered(block)):
                    break
                self._block(block)
            if self.best is None:
                return
        if self.late:
            self._shorten()

    @property
    def _is_late_for_more(self) -> bool:
        """Whether no more blocks are looked at: for now, if some searches are to go on."""
        return self.late or (self.worth > 0 and time.monotonic() > self._after(FIRST_SHARE))

    @property
    def near(self) -> float:
        """Share by which a plan must be better to be sought now: any where it is so small that all can be tried."""
        leader = self.leader
        return 0.0 if leader is not None and self.is_small(leader.graph) else self.worth

    @property
    def wanted(self) -> int | None:
        """The objective that a plan must be below to be sought now; None as long as there is no plan."""
        return None if self.best is None else ceil((1 - self.near) * self.best)

    @property
    def hoped(self) -> int | None:
        """The same where to refute it is worth the time: not for what rules gave, which is mostly far off."""
        return self.wanted if self.sought else None

    def _shorten(self) -> None:
        """Solve windows of the best plan again, as time has ended the search for others."""
        best = self.leader
        if best is not None and self._has_windows(best):
            here = ordered(self.problem, best.selection.order)
            self.found.append(windowed(here, best, self.budget, self.windows_end))

    def _block(self, block: Block) -> None:
        """Plan on the rungs of a block that are not above the SRAM asked for."""
        top = top_of(self.problem, block)
        if not any(map(can_keep_to_writes, orders_of(at_size(self.problem, top)))):
            self.beyond += 1
            return
        if not self.found and block.low <= self.problem.sram_bytes:
            self._begin(block.low, top)
        if not self.offered:  # what is said of a lower block holds for less than the SRAM asked for
            here = self._look(top)
            self._offer(top, least_value(space_of(here.problem)) if self.beyond else here.bound)
        if top > block.low and not self._look(top).allows(self.hoped):
            return  # nor is anything below it
        sizes = [size for size in self._sizes(block) if size <= self.problem.sram_bytes]
        for size in sizes:
            new = not self._is_offered(block)
            if (self.late if new else self.over) or self._is_ruled_out(block, size):
                return
            if new:
                self._offer(size, least_value(space_of(self._look(size).problem)))
            self._rung(self._look(size))

    def _is_ruled_out(self, block: Block, size: int) -> bool:
        """Whether a rung cannot give a plan that is wanted now: by itself, or as no higher one of its block can."""
        if self.wanted is not None:
            above = [rung.bound for at, rung in self.known.items() if size < at < block.high]
            above += [self.bound] if self.bound is not None and self._is_offered(block) else []
            if any(bound is None or bound >= self.wanted for bound in above):
                return True
        return not self._look(size).allows(self.hoped)

    def _is_offered(self, block: Block) -> bool:
        """Whether the options of a block are taken in."""
        return any(block.low <= offered.sram_bytes < block.high for offered in self.offered)

    def _offer(self, size: int, floor: int | None) -> None:
        """Take in the options for a size, which hold those of all rungs below it in its block.

        The ``floor`` holds for them in the arena of the SRAM asked for.
        """
        self.offered.append(at_size(self.problem, size))
        self.second.include(size)
        if floor is not None:
            self.bound = floor if self.bound is None else min(self.bound, floor)

    def _begin(self, low: int, top: int) -> None:
        """Have a plan and a bound soon, whatever time is left for better ones."""
        spaces = [space_of(at_size(self.problem, size)) for size in {low, top}]
        if not any(space.options[0] for space in spaces):
            return  # no option for the first operator fits
        if self.best is None and is_budgeted(self.problem):
            self.found += self._by_selection({low, top})
        self.found += self._by_rules(lambda ends: rule_plans(at_size(self.problem, low), ends))
        self.floor = min(map(least_value, spaces))
        self.tell(low)

    def _by_selection(self, sizes: Collection[int]) -> list[Candidate]:
        """A plan within the budgets for one of some sizes, the least first."""
        plans = (quick_plan(at_size(self.problem, size)) for size in sorted(sizes))
        return list(islice((plan for plan in plans if plan is not None), 1))

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
        """Rungs of a block, downwards; they depend on the problem without its SRAM only, unless time is short."""
        top = top_of(self.problem, block)
        if top < block.low + block.unit or not self.relaxed:
            return (block.low,)  # no other is within the SRAM asked for
        if self.is_slow:
            return top, block.low  # to find out how the bound rises would take most of the time
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
            begun = time.monotonic()
            until = self.relaxed_until if self.known else self._after(FIRST_RELAXED_SHARE)
            self.known[size] = Rung(at_size(self.problem, size), until, self.relaxed)
            if self.to_prove and time.monotonic() - begun > SLOW_BOUND * (self.deadline - self.begun):
                self.is_slow, self.share = True, LONGER_SEARCH
        return self.known[size]

    def _rung(self, rung: Rung) -> None:
        """Find the best plan for one rung."""
        size = rung.problem.sram_bytes
        self._prove_beside()
        if not rung.begun:
            self.rungs_seen, self.rung_begun, rung.begun = self.rungs_seen + 1, time.monotonic(), True
            starts = self._by_rules(lambda ends: _first_plans(rung, ends, self.best is not None))
            self.found += starts
            self.tell(size)
            for lane in rung.lanes:
                self._begin_lane(lane, starts)
        for lane in rung.lanes:
            if not lane.done:
                self._improve(lane)
        self.sought = True
        self.tell(size)

    def _begin_lane(self, lane: Lane, starts: Sequence[Candidate]) -> None:
        """Have what a search on a rung in one order begins with."""
        start = self._start(lane, starts)
        lane.done = start is not None and self.sought and not lane.allows(start.score[0])
        if not lane.done and limited_aims(self.problem):
            start = self._within_limits(lane) or start
        lane.found = [start] if start is not None else []

    def _start(self, lane: Lane, starts: Sequence[Candidate]) -> Candidate | None:
        """What a search begins with: the plan of a rule, or a long one that is known, as rules take long then."""
        long = [
            c
            for c in (*self.given, *self.found)
            if len(c.graph.tasks) > QUICK_TASKS and _fits(lane.problem, c)
        ]
        same = [c for c in starts or long if c.selection.order == lane.problem.network.order]
        return min(same, key=lambda c: c.score, default=None)

    def _within_limits(self, lane: Lane) -> Candidate | None:
        """The plan that is best in a figure that has a budget, where another one is to be minimised."""
        before = len(self.found)
        for aim in limited_aims(self.problem):
            judged = Lane(replace(lane.problem, objective=aim), self.relaxed_until, self.relaxed)
            self._improve(judged)
        return min(self.found[before:], key=lambda c: c.score, default=None)

    def _improve(self, lane: Lane) -> None:
        """Search for better plans on one rung, or go on with that; small graphs are solved to the end."""
        here = lane.problem
        keep = self._keeper(lane)
        if self.parts.beam:
            lane.search = lane.search or self._search_for(lane, keep)
            until = self._search_may_end_at()
            try:
                with ends_at(inf if self.best is None else until):
                    lane.search.run(until, lambda value: self._is_near(lane, value))
            except TimeIsUp:
                if self.best is None:
                    raise
        found = min(lane.found, key=lambda c: c.score, default=None)
        if found is not None and self._is_near(lane, found.score[0]):
            return
        lane.search, lane.done = None, True
        if found is None or found.selection in self.proven:
            return
        if len(found.graph.tasks) > self.parts.exact:
            if self.parts.windows and self.budget.time_limit_s >= WIDE_FROM_S:
                with suppress(TimeIsUp), ends_at(self.windows_end):
                    found = deepened(here, found, self.windows_end)
                    keep(found)
            if self._has_windows(found):
                keep(self._windowed(lane, found))
        elif time.monotonic() <= self.search_ends:
            keep(exact(here, found, self.budget, self.proven))

    def _windowed(self, lane: Lane, found: Candidate) -> Candidate:
        """A plan after windows of it were solved again, or of what it was before it was merged, if that gains more.

        Merges are shorter to begin with, but windows of equal tiles that still follow one another evenly are alike.
        """
        earlier = [c for c in lane.found if c.selection == found.selection and c.score > found.score]
        if earlier:
            rivals, quarter_s = (found, min(earlier, key=lambda c: c.score)), self.windows_left_s / RACE
            raced = [windowed(lane.problem, c, self.budget, time.monotonic() + quarter_s) for c in rivals]
            found = min(raced, key=lambda c: c.score)
        return windowed(lane.problem, found, self.budget, self.windows_end)

    def _search_for(self, lane: Lane, keep: Callable[[Candidate], None]) -> Improvement:
        """The search on one rung, from the plan that it begins with."""
        effort = (
            EFFORT_PER_SECOND * self.budget.time_limit_s * max(1.0, len(lane.problem.network.ops) / STAGES)
        )
        start = min(lane.found, key=lambda c: c.score, default=None)
        return Improvement(lane.space, start, int(effort), self.budget.seed, lane.relaxation, keep)

    def _keeper(self, lane: Lane) -> Callable[[Candidate], None]:
        """What is done with a plan found on one rung."""

        def keep(candidate: Candidate) -> None:
            lane.found.append(candidate)
            score = candidate.score
            if lane.problem.objective is not self.problem.objective:
                score = score_of(
                    replace(lane.problem, objective=self.problem.objective), candidate.graph, score[1]
                )
            self.found.append(replace(candidate, score=score))
            self.sought = True
            if lane.search is not None:
                lane.search.deadline = min(lane.search.deadline, self.search_ends)
            self.tell(lane.problem.sram_bytes)

        return keep

    def _is_near(self, lane: Lane, value: int) -> bool:
        """Whether the options of a rung hold no plan that is better by so much that it is sought now."""
        if not self.near or lane.relaxation is None or lane.problem.objective is not self.problem.objective:
            return False
        self.hear()
        return max(lane.relaxation.bound, self.bound or 0) >= (1 - self.near) * value

    def _search_may_end_at(self) -> float:
        """When its share of the limit is spent; without a plan by then, when the limit itself is."""
        now = time.monotonic()
        if self.best is not None:
            return self.search_ends if self.sought else max(self.search_ends, self._after(UNSOUGHT_SHARE))
        return self.search_ends if now < self.search_ends else now + left_s()

    def _prove_beside(self) -> None:
        """From now on a second process raises the bound, so that the search may go on for longer.

        Only where there is one to be had, and time that is worth it. What budgets rule out it does not know of.
        """
        left_s, allowed = self.deadline - time.monotonic(), self.budget.workers > 1 and can_fork()
        if self.rungs_seen or not (allowed and self.to_prove and self.relaxed) or left_s < BESIDE_FROM_S:
            return
        if is_budgeted(self.problem):
            return
        first = self._look(self.offered[0].sram_bytes)
        known = [r for lane in first.lanes if (r := lane.relaxation) is not None and r.first_ns]
        if len(known) < len(first.lanes) or first.problem.arena_bytes != self.problem.arena_bytes:
            known = []
        self.second.begin(self.problem, [o.sram_bytes for o in self.offered], known, left_s)

    @property
    def processes(self) -> int:
        """How many work, or have worked to the end."""
        return 1 + self.second.works

    def hear(self) -> None:
        """Take in what the second process has proven for all rungs looked at."""
        proven = self.second.bound(len(self.offered))
        if proven:
            self.bound = max(proven, self.bound or 0)

    def close(self) -> None:
        """Leave no process behind."""
        self.second.end()

    def prove(self, best: int) -> None:
        """Raise the bound by the relaxation over the options of all rungs looked at, in the arena asked for.

        Where the time for the search is up the second process alone does that.
        """
        self.hear()
        if not self.is_helped or time.monotonic() < self.windows_end:
            self._prove_here(best)
        self.second.wait(len(self.offered), best, self.deadline)

    def _prove_here(self, best: int) -> None:
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

    def exhaust(self, best: int) -> None:
        """Try all selections that may be better than the best plan (see `exhaustion`)."""
        offered, orders, floors = self.offered or [self.problem], orders_of(self.problem), [best]
        for left, there in zip(range(len(orders), 0, -1), orders, strict=True):
            spaces = [space_of(ordered(here, there.network.order)) for here in offered]
            until = time.monotonic() + EXHAUSTION_SHARE * (self.deadline - time.monotonic()) / left
            exhaustion = Exhaustion(there, spaces, min(floors), until, self.found)
            floors.append(exhaustion.bound())
        self.bound = max(self.bound or 0, min(floors))
        self.tell(self.problem.sram_bytes)

    def tell(self, size: int) -> None:
        """Report the state of the search."""
        self.hear()
        if self.progress is not None:
            name = f"{size // 1024} KiB" if size % 1024 == 0 else f"{size} B"
            self.progress(name, self.seconds, self.best, self.bound or self.floor)


class Lane:
    """One amount of SRAM and one order of the operators, with what the relaxation knows of them."""

    def __init__(self, problem: Problem, deadline: float, relaxed: bool) -> None:
        self.problem, self.deadline = problem, deadline
        self.relaxation: Relaxation | None = None
        self.search: Improvement | None = None  # one that may go on
        self.found: list[Candidate] = []
        self.done = False
        self.space = space_of(problem)
        if relaxed:
            self.space = narrowed(self.space, deadline)
            self.relaxation = Relaxation(problem, [self.space], deadline)

    @property
    def bound(self) -> int | None:
        """The least objective of a plan; None if nothing fits."""
        if self.relaxation is None:
            return order_bound(self.problem, RUNG_BOUND_S, None)
        if not self.relaxation.feasible:
            return None
        return max(self.relaxation.bound, least_value(self.space))

    def allows(self, best: int | None) -> bool:
        """Whether there may be a plan within the budget, and a better one than is known."""
        most = most_value(self.problem)
        below = min((v for v in (best, None if most is None else most + 1) if v is not None), default=None)
        if self.relaxation is None:
            floor = order_bound(self.problem, RUNG_BOUND_S, below)
            return floor is not None and (below is None or floor < below)
        if below is None or not self.relaxation.feasible:
            return self.relaxation.feasible
        if self.bound is not None and below > FAR * self.bound:
            return True  # to try would take long, in vain
        return not self.relaxation.excludes(below, self.deadline)


class Rung:
    """One amount of SRAM, with a lane for each order of the operators that is looked at."""

    def __init__(self, problem: Problem, deadline: float, relaxed: bool) -> None:
        self.problem = problem
        self.begun = False
        self.lanes = tuple(Lane(there, deadline, relaxed) for there in orders_of(problem))

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


def _first_plans(rung: Rung, deadline: float, is_begun: bool) -> list[Candidate]:
    """The best plans of the rules on a coarse rung, one for each order of the operators.

    The selection model proposes some too, where there is no plan yet and no relaxation guides the search.
    """
    here = rung.problem
    starts = rule_plans(here, deadline) if here.sram_bytes in rungs(here) else []
    if (
        not starts
        and not is_begun
        and all(lane.relaxation is None or lane.relaxation.round is None for lane in rung.lanes)
    ):
        starts = first_candidates(space_of(here), deadline)
    starts.sort(key=lambda c: c.score)
    return list({start.selection.order: start for start in reversed(starts)}.values())


def _fits(problem: Problem, candidate: Candidate) -> bool:
    """Whether a candidate's buffers lie within the arena of a problem."""
    buffers = zip(candidate.schedule.address, candidate.graph.buffers, strict=True)
    return all(at + buffer.size_bytes <= problem.arena_bytes for at, buffer in buffers)


def given_candidates(problem: Problem, known: Sequence[Plan | None]) -> list[Candidate]:
    """Plans that are known and keep to the budgets, as candidates."""
    with unhurried():
        return [candidate_of(problem, plan) for plan in known if plan and not complaints(problem, plan)]


def least_candidates(problem: Problem) -> list[Candidate]:
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
    work = WINDOWS_WORK * budget.time_limit_s * max(1.0, len(candidate.graph.tasks) / TASKS_OF_WINDOWS)
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
