"""Candidates: a selection with its tasks, addresses and times, and how good it is.

What is compared are schedules with addresses, not estimates.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import chain, islice, product
from math import inf

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.energy import Traffic, energy_nj
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import (
    Budget,
    Objective,
    Schedule,
    Selection,
    TaskGraph,
)
from ooc_solve.solver import listing
from ooc_solve.solver.allocation_schedule import counted, packed_placement, packed_schedules
from ooc_solve.solver.allocation_search import UNLIMITED
from ooc_solve.solver.allowance import allowed_makespan_ns
from ooc_solve.solver.deadline import TimeIsUp
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.figures import compute_ns, hottest_programs, traffic_of, written_bytes
from ooc_solve.solver.heuristics import FLIPS, prefetch_schedules
from ooc_solve.solver.listing import makespan_ns, order_of
from ooc_solve.solver.merging import Merger
from ooc_solve.solver.placed_merging import LEAN, NARROW, SLIM, WIDE, placed_merge
from ooc_solve.solver.placement import Placement, place
from ooc_solve.solver.repacking import repaired
from ooc_solve.solver.selection import Aim, SelectionModel, Space
from ooc_solve.solver.weaving import Policy, weave

Score = tuple[int, int, int, int, Fraction, int]
"""Lexicographic value of a schedule under the problem's objective; less is better."""

QUICK_WAYS = ((32, 0, False), (4, 1, False), (32, 0, True), (4, 1, True))
"""Placements ``(ahead, drain, corners)`` tried for each candidate of the search."""

QUICK_POLICIES = ((Policy(32, 3, False), 0), (Policy(32, 1, True), 0), (Policy(32, 1, True), 1))
"""Policies of weaving with the place in `FLIPS`, for the same purpose."""

POLICIES = tuple(
    (Policy(ahead, lead, careful), flips)
    for careful in (False, True)
    for ahead in (32, 8, 3, 1)
    for lead in (1, 3, 99)
    for flips in range(len(FLIPS))
)
"""Those that are tried for the best candidate."""


COUNTING = tuple(dict.fromkeys(policy for policy, _ in POLICIES))
"""Policies of schedules that count bytes and get addresses afterwards, tried for the best candidate."""

REPAIRED = (Policy(1, 1, False), Policy(32, 1, False))
"""Policies of schedules that count bytes and are mended until there are addresses."""

CAUTIOUS = (Policy(1, 1, True), Policy(0, 1, True))
"""The same where those paint themselves into corners."""

EVEN = (REPAIRED[0], CAUTIOUS[-1])
"""Policies that tell how good a schedule of many tasks can be: of those that run ahead hardly one gets to its end."""

QUICK_COUNTING = (Policy(32, 3, False), Policy(8, 1, False), Policy(32, 1, True), Policy(3, 1, True))
"""Those that are tried where there are many tasks."""

LAST_RESORT = (Policy(32, 1, True), Policy(3, 1, True))
"""The same for a candidate whose tiles are not placed in any other way."""

REPAIRED_TASKS = 300
"""Larger graphs are not mended task by task until they have addresses: it takes ten seconds and more."""

MANY_TASKS = 400
"""Graphs of more tasks are tried in fewer ways."""

MERGED_PER_TASK = 12
"""Partial merges that are looked at for one draft, for each of its tasks."""

WIDE_TASKS, WORTH_IT = 700, 0.001
"""Graphs of more tasks get no wide search, nor those that could be shorter by a smaller share at most."""

MERGED_TASKS = 2500
"""Larger ones get no merges with addresses: in the time of one some other selections are better candidates."""

WORTH_LONG = 0.005
"""The same share for merges of graphs that have more tasks."""

FAR_OFF, SOON_MERGED_TASKS, LONG_MERGED_TASKS = 0.03, 8000, 14_000
"""The same share for merges of graphs that windows serve better, and how many tasks these may have; from how many on
merges are worth their time again, as they leap over what windows would come to one by one."""

ONE_WAY_TASKS = 20_000
"""Larger graphs are scheduled in one way."""

MERGED_S_PER_TASK = 0.001
"""Time that a merge takes for each task, about: with less of it none is begun for such graphs."""

PACKED_TASKS = 1500
"""Larger ones get no schedules that count bytes: finding addresses takes time with the square of the tasks."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A selection with its best known schedule."""

    selection: Selection
    graph: TaskGraph
    schedule: Schedule
    score: Score


@dataclass(frozen=True, slots=True)
class Judge:
    """Judges schedules of one graph: what they have in common is counted once."""

    problem: Problem
    compute_ns: int
    traffic: tuple[Traffic, ...]
    written: int
    tasks: int
    hottest: Fraction

    @classmethod
    def of(cls, problem: Problem, graph: TaskGraph) -> Judge:
        """The judge of the schedules of a graph."""
        traffic, hottest = traffic_of(problem, graph), hottest_programs(problem, graph)
        return cls(
            problem, compute_ns(graph), traffic, written_bytes(problem, graph), len(graph.tasks), hottest
        )

    def score(self, makespan: int) -> Score:
        """Value of a schedule: the objective first, the other figures break ties, latency before all others."""
        energy = energy_nj(self.problem.target, self.compute_ns, makespan, self.traffic)
        first = {
            Objective.LATENCY: makespan,
            Objective.ENERGY: energy,
            Objective.WEAR: self.written,
        }[self.problem.objective]
        return first, makespan, energy, self.written, self.hottest, self.tasks


def score_of(problem: Problem, graph: TaskGraph, makespan: int) -> Score:
    """Value of a schedule of a graph: the objective first, the other figures break ties."""
    return Judge.of(problem, graph).score(makespan)


NEARLY = 1.1
"""Selections whose quick schedules take up to so many times what the budgets allow are scheduled in all ways."""


@dataclass(frozen=True, slots=True)
class Draft:
    """A selection with its tasks, and how long they take if bytes are counted and have no addresses.

    ``allowed_ns`` is the longest makespan within the budgets, infinite without any.
    """

    selection: Selection
    graph: TaskGraph
    counted_ns: int
    allowed_ns: float


def drafted(problem: Problem, selection: Selection) -> Draft | None:
    """What a selection comes to at best, quickly; None if it cannot be carried out within the budgets."""
    try:
        graph = expand(problem, selection)
    except SelectionError:
        return None
    allowed = allowed_makespan_ns(problem, graph)
    if allowed < 0:
        return None
    long = len(graph.tasks) > PACKED_TASKS
    times = [counted(problem, graph, policy) for policy in (EVEN if long else REPAIRED)]
    if not any(times):
        times = [counted(problem, graph, policy) for policy in CAUTIOUS]
    if not long:
        times.append(Merger(problem, graph).best(most=MERGED_PER_TASK * len(graph.tasks)))
    counted_ns = min((t.makespan_ns for t in times if t is not None), default=UNLIMITED)
    return Draft(selection, graph, counted_ns, allowed)


def evaluate(problem: Problem, selection: Selection) -> Candidate | None:
    """Best of a few list schedules of a selection, None if it cannot be carried out within the budgets."""
    draft = drafted(problem, selection)
    return None if draft is None else carried_out(problem, draft, 0)


def carried_out(problem: Problem, draft: Draft, below_ns: int, deadline: float = inf) -> Candidate | None:
    """Best of a few list schedules, None if none is found within the budgets.

    Where counting bytes alone gives less than that and ``below_ns``, tiles are packed again until they have
    addresses.
    """
    graph = draft.graph
    quick = _until_late(_quick(problem, graph))
    best = min(quick, key=lambda s: makespan_ns(graph, s.start_ns), default=None)
    above_ns = min(below_ns, UNLIMITED if best is None else makespan_ns(graph, best.start_ns))
    if draft.counted_ns < above_ns:
        with suppress(TimeIsUp) if best is not None else nullcontext():
            best = _with_places(problem, draft, above_ns, deadline) or best
    if best is None:  # tiles were never found gaps of their size
        packed = packed_schedules(problem, graph, LAST_RESORT, UNLIMITED)
        best = next(chain(packed, _step_by_step(problem, graph)), None)
    if best is None:
        return None
    makespan = makespan_ns(graph, best.start_ns)
    found = Candidate(draft.selection, graph, best, score_of(problem, graph, makespan))
    if draft.allowed_ns < makespan <= NEARLY * draft.allowed_ns:
        found = polish(problem, found, deadline)
    return found if found.score[1] <= draft.allowed_ns else None


def deepened(problem: Problem, candidate: Candidate, deadline: float) -> Candidate:
    """The same selection after a wide search for a merge with addresses, where merges that count bytes are shorter."""
    graph, takes = candidate.graph, candidate.score[1]
    if len(graph.tasks) > WIDE_TASKS:
        return candidate
    counted_ns = Merger(problem, graph).best(takes, most=MERGED_PER_TASK * len(graph.tasks))
    if counted_ns is None or counted_ns.makespan_ns > (1 - WORTH_IT) * takes:
        return candidate
    schedule = placed_merge(problem, graph, WIDE, takes, deadline)
    if schedule is None:
        return candidate
    score = score_of(problem, graph, makespan_ns(graph, schedule.start_ns))
    return min(candidate, Candidate(candidate.selection, graph, schedule, score), key=lambda c: c.score)


def _with_places(problem: Problem, draft: Draft, below_ns: int, deadline: float) -> Schedule | None:
    """A schedule shorter than a time where merges that count bytes are."""
    graph, best = draft.graph, None
    if len(graph.tasks) <= MERGED_TASKS:
        best = placed_merge(problem, graph, SLIM, below_ns, deadline)
    below_ns = below_ns if best is None else makespan_ns(graph, best.start_ns)
    if draft.counted_ns < below_ns and len(graph.tasks) <= REPAIRED_TASKS:
        best = repaired(problem, graph, REPAIRED, below_ns, deadline, merging=True) or best
    return best


def _merged(problem: Problem, candidate: Candidate, deadline: float) -> Candidate:
    """A long candidate merged anew, where schedules that count bytes are shorter by enough to be worth the time."""
    graph, takes = candidate.graph, candidate.score[1]
    least, tasks = WORTH_LONG, len(candidate.graph.tasks)
    if tasks > SOON_MERGED_TASKS:
        deadline = (time.monotonic() + deadline) / 2  # the rest is for windows
        if deadline - time.monotonic() < MERGED_S_PER_TASK * tasks:
            return candidate
    if tasks <= LONG_MERGED_TASKS:  # windows gain more where little is to be gained
        least = FAR_OFF if tasks <= SOON_MERGED_TASKS else 1.0
    times = [counted(problem, graph, policy) for policy in (*REPAIRED, *CAUTIOUS)] if least < 1.0 else []
    if min((t.makespan_ns for t in times if t is not None), default=takes) > (1 - least) * takes:
        return candidate
    with suppress(TimeIsUp):
        for width in (SLIM, LEAN):  # which of them gets to the end is chance
            schedule = placed_merge(problem, graph, width, takes, deadline)
            if schedule is not None:
                score = score_of(problem, graph, makespan_ns(graph, schedule.start_ns))
                return min(
                    candidate, replace(candidate, schedule=schedule, score=score), key=lambda c: c.score
                )
    return candidate


def polish(problem: Problem, candidate: Candidate, deadline: float) -> Candidate:
    """The same selection under the whole portfolio of placements and priorities."""
    if len(candidate.graph.tasks) > PACKED_TASKS:
        return _merged(problem, candidate, deadline)  # all else was tried when it was carried out
    effort = 8 if len(candidate.graph.tasks) <= MANY_TASKS else 3
    best, judge = candidate, Judge.of(problem, candidate.graph)
    policies = POLICIES if effort == 8 else QUICK_POLICIES
    listed = prefetch_schedules(problem, candidate.graph, effort)
    for schedule in chain(woven(problem, candidate.graph, policies), listed):
        score = judge.score(makespan_ns(candidate.graph, schedule.start_ns))
        if score < best.score:
            best = Candidate(candidate.selection, candidate.graph, schedule, score)
        if time.monotonic() > deadline:
            return best
    merged = placed_merge(problem, candidate.graph, NARROW, best.score[1], deadline)
    counting = COUNTING if effort == 8 else QUICK_COUNTING
    packed = packed_schedules(problem, candidate.graph, counting, best.score[1], deadline=deadline)
    for schedule in chain([] if merged is None else [merged], packed):
        score = judge.score(makespan_ns(candidate.graph, schedule.start_ns))
        if score < best.score:
            best = Candidate(candidate.selection, candidate.graph, schedule, score)
    return best


def _until_late(schedules: Iterator[Schedule]) -> Iterator[Schedule]:
    """Schedules until time is up; the first one is waited for, or there would be none."""
    found = False
    try:
        for schedule in schedules:
            found = True
            yield schedule
    except TimeIsUp:
        if not found:
            raise


def _quick(problem: Problem, graph: TaskGraph) -> Iterator[Schedule]:
    """Woven schedules first, as they are mostly the better ones; of long graphs those first that mostly exist."""
    if len(graph.tasks) <= PACKED_TASKS:
        yield from woven(problem, graph, QUICK_POLICIES)
        for way in QUICK_WAYS:
            yield from islice(_listed(problem, graph, way, FLIPS[:2]), 1)
        return
    *others, careful = sorted(QUICK_WAYS, key=lambda way: way[2] * way[0])
    if len(graph.tasks) > ONE_WAY_TASKS:  # windows of the first gain more than others take
        first = next(_listed(problem, graph, careful, FLIPS), None)
        if first is not None:
            yield first
            return
    yield from _listed(problem, graph, careful, FLIPS)
    yield from woven(problem, graph, [(policy, 0) for policy in CAUTIOUS])
    for way in others:
        yield from _listed(problem, graph, way, FLIPS)
    yield from woven(problem, graph, QUICK_POLICIES)


def _listed(
    problem: Problem, graph: TaskGraph, way: tuple[int, int, bool], flips: Sequence[int]
) -> Iterator[Schedule]:
    """Schedules whose addresses are found first."""
    ahead, drain, corners = way
    for flip in flips:
        placement = place(problem, graph, ahead, drain, flip, corners)
        if placement is not None:
            yield _timed(problem, graph, placement)


def _step_by_step(problem: Problem, graph: TaskGraph) -> Iterator[Schedule]:
    """The schedule that fetches nothing early: where it has no addresses hardly any other has."""
    placement = packed_placement(problem, graph)
    if placement is not None:
        yield _timed(problem, graph, placement)


def _timed(problem: Problem, graph: TaskGraph, placement: Placement) -> Schedule:
    """The schedule that a list of tasks by due date makes of addresses."""
    order = order_of(graph, placement)
    start = listing.run(order, listing.by_due_date, None, interruption_ns(problem.target))
    return Schedule(tuple(start), placement.address)


def woven(problem: Problem, graph: TaskGraph, policies: Sequence[tuple[Policy, int]]) -> Iterator[Schedule]:
    """Schedules whose addresses are found as the clock runs."""
    for policy, flips in policies:
        schedule = weave(problem, graph, policy, FLIPS[flips])
        if schedule is not None:
            yield schedule


STARTS = (
    (Aim.LAYER_OVERLAP, 1.0),
    (Aim.LAYER_OVERLAP, 0.0),
    (Aim.SERIAL, 0.5),
    (Aim.MAKESPAN_BOUND, 0.5),
)
"""Aims and slacks of the selection model that make good first candidates."""


MAKESHIFT = (Aim.SERIAL, Aim.LAYER_OVERLAP)
SHARES = (0.999, 0.93, 0.86, 0.8, 0.7)
"""Shares of the arena that are tried where selections for all of it cannot be placed."""


def first_candidates(space: Space, deadline: float) -> list[Candidate]:
    """Candidates from the selection model under several aims and amounts of slack."""
    found: list[Candidate] = []
    seen: set[Selection] = set()
    objective = space.problem.objective
    own = {Objective.ENERGY: Aim.ENERGY, Objective.WEAR: Aim.WRITES}
    starts = [(own[objective], 0.5)] if objective in own else []
    tries = [(aim, slack, False, 1.0) for aim, slack in (*starts, *STARTS)]
    tries += [(aim, 0.0, firm, share) for share in SHARES for firm, aim in product((True, False), MAKESHIFT)]
    for aim, slack, firm, share in tries:
        if found and (share < 1.0 or time.monotonic() > deadline):
            break
        arena = int(space.problem.arena_bytes * share)
        left = min(4.0, max(0.5, deadline - time.monotonic()))
        selected = SelectionModel(space, arena, slack, firm).solve(aim, Budget(left, 1, 1))
        if selected.selection is None or selected.selection in seen:
            continue
        seen.add(selected.selection)
        candidate = evaluate(space.problem, selected.selection)
        if candidate is not None:
            found.append(candidate)
    return sorted(found, key=lambda c: c.score)
