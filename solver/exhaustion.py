"""Small problems solved to the end: every selection that may be the best is scheduled by the tile-level model.

A best-first branch and bound over the stages. The relaxation (see `relaxation`) says what a selection that
begins with some options takes at least; the most hopeful beginning is gone on with first. A whole selection
goes to the tile-level model, which finds its best schedule or proves that none is better than what is known.
When nothing hopeful is left, the best plan is proven to be the best one of the option space.
"""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import count

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Objective, Selection, Status
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.fused import operands
from ooc_solve.solver.guidance import Guide, least_ns
from ooc_solve.solver.listing import makespan_ns, settle
from ooc_solve.solver.lives import State
from ooc_solve.solver.maxplus import Ints
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.relaxation import Relaxation, Round
from ooc_solve.solver.search import Candidate, score_of
from ooc_solve.solver.selection import Space

MOST_BEGINNINGS = 50_000
"""Beginnings that are held at a time; where there are more the problem is not small."""

MOST_WORK = 2.0
"""Deterministic time of CP-SAT for one selection."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """Options of the first operators of the network, and the vector of the relaxation behind them."""

    end: int
    state: State
    vector: Ints
    chosen: tuple[tuple[int, Option], ...]


@dataclass(slots=True)
class Exhaustion:
    """The branch and bound over the options of some spaces; what is known grows while it goes on.

    ``value`` is that of the best plan known in the problem's objective, ``found`` the better plans, ``open`` the
    least value that a selection may have whose best schedule was not found out.
    """

    problem: Problem
    spaces: Sequence[Space]
    value: int
    deadline: float
    found: list[Candidate] = field(default_factory=list)
    open: int | None = None
    tried: int = 0

    def bound(self) -> int:
        """No plan of the spaces is below it; at most the value of the best plan known."""
        relaxation = Relaxation(self.problem, self.spaces, self.deadline)
        relaxation.assume(relaxation.tolls.limit(self.value), self.deadline)
        if relaxation.round is None:
            return min(self.value, relaxation.bound)
        proven = relaxation.tolls.value(self._walk(relaxation, relaxation.round))
        if self.open is not None:
            proven = min(proven, self.open)
        return min(self.value, max(relaxation.bound, proven))

    def _walk(self, relaxation: Relaxation, last: Round) -> int:
        """Try selections, the most hopeful first; none of those that are left is shorter than what comes back."""
        guide, ranks = Guide(last, last.options.options), count()
        beginnings: list[tuple[float, int, Beginning]] = []
        for begun in _beginnings(last):
            heapq.heappush(beginnings, (_price(guide, begun), next(ranks), begun))
        while beginnings:
            price, _, begun = heapq.heappop(beginnings)
            if price >= relaxation.tolls.limit(self.value):
                break
            if time.monotonic() > self.deadline or len(beginnings) > MOST_BEGINNINGS:
                return int(price)
            if begun.end == last.stages:
                self._try(begun)
                continue
            for longer in _longer(last, guide, begun):
                price = _price(guide, longer)
                if price < relaxation.tolls.limit(self.value):
                    heapq.heappush(beginnings, (price, next(ranks), longer))
        return relaxation.tolls.limit(self.value)

    def _try(self, whole: Beginning) -> None:
        """Find the best schedule of a selection, as far as it is better than the best plan known."""
        selection = _selection(self.problem, whole.chosen)
        self.tried += 1
        try:
            graph = expand(self.problem, selection)
        except SelectionError:
            return
        seconds = max(0.1, self.deadline - time.monotonic())
        better = _better(self.problem, self.value)
        result = solve_graph(better, graph, None, Budget(seconds, 1, 1), deterministic=MOST_WORK)
        if result.status is Status.INFEASIBLE:
            return
        if result.schedule is not None:
            schedule = settle(
                graph, result.schedule.start_ns, result.schedule.address, interruption_ns(self.problem.target)
            )
            score = score_of(self.problem, graph, makespan_ns(graph, schedule.start_ns))
            if score[0] < self.value:
                self.value = score[0]
                self.found.append(Candidate(selection, graph, schedule, score))
        least = score_of(self.problem, graph, result.bound_ns)[0]
        self.open = least if self.open is None else min(self.open, least)


def _better(problem: Problem, value: int) -> Problem:
    """The problem whose budgets only plans better than a value keep to."""
    limits = problem.limits
    if problem.objective is Objective.ENERGY:
        most = min(value - 1, limits.energy_nj if limits.energy_nj is not None else value)
        return replace(problem, limits=replace(limits, energy_nj=most))
    most = min(value - 1, limits.latency_ns if limits.latency_ns is not None else value)
    return replace(problem, limits=replace(limits, latency_ns=most))


def _beginnings(last: Round) -> Iterator[Beginning]:
    """Nothing chosen, for each residence of the inputs."""
    for state, vectors in last.labels[0].items():
        for vector in vectors.T:
            yield Beginning(0, state, vector, ())


def _longer(last: Round, guide: Guide, begun: Beginning) -> Iterator[Beginning]:
    """A beginning with one more option."""
    options = last.options.options[begun.end]
    for (end, state), numbers, matrices in guide.behind[begun.end].get(begun.state, []):
        if state not in guide.functions[end]:
            continue
        vectors = (matrices + begun.vector[None, :, None]).max(axis=1)
        for number, vector in zip(numbers, vectors.T, strict=True):
            yield Beginning(end, state, vector, (*begun.chosen, (begun.end, options[number])))


def _price(guide: Guide, begun: Beginning) -> float:
    """No selection that begins so has a shorter makespan, tolls included."""
    functions = guide.functions[begun.end].get(begun.state)
    return math.inf if functions is None else float(least_ns(functions, begun.vector[:, None])[0])


def _selection(problem: Problem, chosen: Sequence[tuple[int, Option]]) -> Selection:
    """The selection that options make, each with the number of its first operator."""
    network, kept = problem.network, set[str]()
    for first, option in chosen:
        names = operands(network, first, option.operators)
        kept |= {name for name, w in zip(names, option.inputs, strict=True) if w == KEPT}
        kept |= {network.ops[first + option.operators - 1].output} if option.output == KEPT else set()
    tilings = tuple(tiling for _, option in chosen for tiling in option.tilings)
    return Selection(tilings, frozenset(kept), network.order)
