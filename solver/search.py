"""Local search over selections: change the tiling of a stage, or where a tensor lives, and re-time.

Each candidate is expanded, placed and list-scheduled for real, so what is compared are
schedules with addresses, not estimates. The search is deterministic: it counts tasks that
it scheduled, not seconds, so that the same problem always gets the same plan.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

from ooc_solve.models.cost import energy_nj
from ooc_solve.models.problem import RESERVED_BYTES, Problem
from ooc_solve.models.vocabulary import (
    Budget,
    Objective,
    Schedule,
    Selection,
    TaskGraph,
    TaskKind,
)
from ooc_solve.solver import listing
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import FLIPS, prefetch_schedules
from ooc_solve.solver.listing import makespan_ns, order_of
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.placement import place
from ooc_solve.solver.selection import Aim, SelectionModel, Space

Score = tuple[int, ...]
"""Lexicographic value of a schedule under the problem's objective; less is better."""

Context = tuple[tuple[int, ...], int]
"""Residences of a stage's inputs and of its output."""

QUICK_WAYS = ((32, 0, False), (4, 1, False), (32, 0, True), (4, 1, True))
"""Placements ``(ahead, drain, corners)`` tried for each candidate of the search."""


@dataclass(frozen=True, slots=True)
class Candidate:
    """A selection with its best known schedule."""

    selection: Selection
    graph: TaskGraph
    schedule: Schedule
    score: Score


def score_of(problem: Problem, graph: TaskGraph, makespan: int) -> Score:
    """Value of a schedule of a graph: the objective first, the other figures break ties."""
    stores = problem.target.stores
    read, written = [0] * len(stores), [0] * len(stores)
    compute = 0
    for task in graph.tasks:
        if task.transfer is None:
            compute += task.duration_ns
            continue
        store = problem.store_index(task.transfer.region)
        (read if task.kind is TaskKind.LOAD else written)[store] += task.transfer.size_bytes
    energy = energy_nj(problem.target, compute, makespan, tuple(zip(read, written, strict=True)))
    first = {
        Objective.LATENCY: makespan,
        Objective.ENERGY: energy,
        Objective.WEAR: sum(written),
    }[problem.objective]
    return first, makespan, energy, sum(written), len(graph.tasks)


def within_writes(problem: Problem, graph: TaskGraph) -> bool:
    """Whether a graph keeps to the write budget."""
    if problem.write_budget_bytes is None:
        return True
    written = sum(t.transfer.size_bytes for t in graph.tasks if t.transfer and t.kind is TaskKind.STORE)
    return written <= problem.write_budget_bytes


def evaluate(problem: Problem, selection: Selection) -> Candidate | None:
    """Best of a few list schedules of a selection, None if it cannot be carried out."""
    try:
        graph = expand(problem, selection)
    except SelectionError:
        return None
    if not within_writes(problem, graph):
        return None
    best = min(_quick(problem, graph), key=lambda s: makespan_ns(graph, s.start_ns), default=None)
    if best is None:
        return None
    return Candidate(selection, graph, best, score_of(problem, graph, makespan_ns(graph, best.start_ns)))


def polish(problem: Problem, candidate: Candidate, deadline: float) -> Candidate:
    """The same selection under the whole portfolio of placements and priorities."""
    effort = 8 if len(candidate.graph.tasks) <= 600 else 3
    best = candidate
    for schedule in prefetch_schedules(problem, candidate.graph, effort):
        score = score_of(problem, candidate.graph, makespan_ns(candidate.graph, schedule.start_ns))
        if score < best.score:
            best = Candidate(candidate.selection, candidate.graph, schedule, score)
        if time.monotonic() > deadline:
            break
    return best


def _quick(problem: Problem, graph: TaskGraph) -> list[Schedule]:
    found = []
    for ahead, drain, corners in QUICK_WAYS:
        for flips in FLIPS[:2]:
            placement = place(problem, graph, ahead, drain, flips, corners)
            if placement is not None:
                start = listing.run(order_of(graph, placement), listing.by_due_date)
                found.append(Schedule(tuple(start), placement.address))
                break
    return found


class LocalSearch:
    """Simulated annealing over the options of a space."""

    def __init__(self, space: Space, seed: int) -> None:
        self.space = space
        self.problem = space.problem
        self.random = random.Random(seed)
        ops = self.problem.network.ops
        self.by_context: list[dict[Context, list[Option]]] = []
        for options in space.options:
            groups: dict[Context, list[Option]] = defaultdict(list)
            for option in options:
                groups[option.inputs, option.output].append(option)
            self.by_context.append(groups)
        self.users: dict[str, list[int]] = defaultdict(list)
        for stage, op in enumerate(ops):
            for name in {*op.inputs, op.output}:
                self.users[name].append(stage)

    def run(self, start: Candidate, effort: int, deadline: float, stop_at: int = 0) -> Candidate:
        """Improve a candidate until ``effort`` tasks were scheduled or the deadline passed.

        Stops early when the first figure of the score reaches ``stop_at``.
        """
        state = self._options_of(start.selection)
        if state is None:
            return start
        best = current = start
        spent, warm = 0, 0.02
        while spent < effort and time.monotonic() < deadline and best.score[0] > stop_at:
            changed = self._move(state)
            spent += 40
            if changed is None:
                continue
            candidate = evaluate(self.problem, self._selection(changed))
            if candidate is None:
                spent += len(current.graph.tasks)
                continue
            spent += 2 * len(candidate.graph.tasks)
            heat = warm * max(0.0, 1 - spent / effort)
            limit = current.score[0] * (1 + heat * self.random.random() ** 2)
            if candidate.score[0] <= limit and (
                candidate.score < current.score
                or candidate.score[0] != current.score[0]
                or self.random.random() < 0.5
            ):
                state, current = changed, candidate
            if candidate.score < best.score:
                best = candidate
        return best

    def _selection(self, state: list[Option]) -> Selection:
        kept = set()
        for op, option in zip(self.problem.network.ops, state, strict=True):
            kept |= {n for n, w in zip(op.inputs, option.inputs, strict=True) if w == KEPT}
            if option.output == KEPT:
                kept.add(op.output)
        return Selection(tuple(option.tiling for option in state), frozenset(kept))

    def _options_of(self, selection: Selection) -> list[Option] | None:
        """The options that a selection is made of; None if one is not in this space."""
        network = self.problem.network
        width = {
            name: KEPT if name in selection.kept else tensor.channels
            for name, tensor in network.tensors.items()
        }
        for op, tiling in zip(network.ops, selection.tilings, strict=True):
            if width[op.output] != KEPT:
                width[op.output] = tiling.channels
        state = []
        for stage, op in enumerate(network.ops):
            context = tuple(width[n] for n in op.inputs), width[op.output]
            found = [
                o for o in self.by_context[stage].get(context, ()) if o.tiling == selection.tilings[stage]
            ]
            if not found:
                close = self.by_context[stage].get(context, ())
                if not close:
                    return None
                found = [min(close, key=lambda o: (o.total_io_ns + o.compute_ns, o.need_bytes))]
            state.append(found[0])
        return state

    def _move(self, state: list[Option]) -> list[Option] | None:
        stage = self.random.randrange(len(state))
        groups = self.by_context[stage]
        context = state[stage].inputs, state[stage].output
        if self.random.random() < 0.5 or len(groups) == 1:
            pool = groups[context]
        else:
            pool = groups[self.random.choice(list(groups))]
        option = self.random.choice(pool)
        if option == state[stage]:
            return None
        changed = list(state)
        changed[stage] = option
        return changed if self._repair(changed, stage) else None

    def _repair(self, state: list[Option], stage: int) -> bool:
        """Give the other users of the stage's tensors options for their new residences."""
        ops = self.problem.network.ops
        op, option = ops[stage], state[stage]
        width = dict(zip(op.inputs, option.inputs, strict=True)) | {op.output: option.output}
        for name in width:
            for other in self.users[name]:
                if other == stage:
                    continue
                theirs = state[other]
                inputs = tuple(width.get(n, w) for n, w in zip(ops[other].inputs, theirs.inputs, strict=True))
                output = width.get(ops[other].output, theirs.output)
                if (inputs, output) == (theirs.inputs, theirs.output):
                    continue
                pool = self.by_context[other].get((inputs, output))
                if not pool:
                    return False
                state[other] = self._pick(pool, theirs)
        return True

    def _pick(self, pool: list[Option], before: Option) -> Option:
        """The same tiling if it is there; else a good one that is no larger, or any."""
        for option in pool:
            if option.tiling == before.tiling:
                return option
        fitting = [o for o in pool if o.need_bytes <= before.need_bytes + before.ahead_bytes] or pool
        ranked = sorted(fitting, key=lambda o: max(o.compute_ns, o.total_io_ns) + o.total_io_ns // 8)
        return ranked[min(len(ranked) - 1, int(self.random.expovariate(1.0)))]


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


def local_search(space: Space, start: Candidate, effort: int, seed: int, deadline: float) -> Candidate:
    """Improve a candidate by simulated annealing for a number of scheduled tasks."""
    return LocalSearch(space, seed).run(start, effort, deadline)


def rungs(problem: Problem) -> tuple[int, ...]:
    """SRAM sizes at which plans are sought, downwards: four to the octave, and the board's full size.

    They do not depend on the SRAM that is asked for. What is found on a rung does not depend on
    the others, so the plans considered for some SRAM are always among those considered for more.
    """
    full = problem.target.board.usable_bytes
    steps = {quarter << octave for octave in range(8, 22) for quarter in (4, 5, 6, 7)} | {full}
    return tuple(sorted((s for s in steps if RESERVED_BYTES < s <= problem.sram_bytes), reverse=True))


@lru_cache(maxsize=256)
def at_size(problem: Problem, sram_bytes: int) -> Problem:
    """The same problem with other SRAM; one object per size, so that caches find it again."""
    if sram_bytes == problem.sram_bytes:
        return problem
    return replace(problem, sram_bytes=sram_bytes)
