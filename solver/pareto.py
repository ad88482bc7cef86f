"""The front of latency, energy and wear: plans of which none is better in every figure.

Each point is a problem of its own: the least of one figure, or of one figure under a budget for
another one between the extremes (epsilon constraints), solved with plan, bound and gap.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from operator import le

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Figures, Objective, Plan, Result, relative_gap

LEVELS = 3
"""Write budgets between the least writes and those of the fastest plan."""

MOST_POINTS = len(Objective) + 2 * LEVELS + 1
"""Problems that are asked at most: each objective, two of them at each level, latency at half the energy."""

WORTH = 0.005
"""Budgets are tried between extremes that differ by a larger share than this."""

Solve = Callable[[Problem, Sequence[Plan]], Result]
"""Solves a problem; the plans are known already, and may or may not keep to its budgets."""


@dataclass(frozen=True, slots=True)
class Point:
    """A plan of the front, the problem whose answer it is, and what was asked in words.

    ``also`` are answers to other questions that were left out, as this plan is no worse in any figure.
    """

    words: str
    problem: Problem
    result: Result
    also: tuple[Point, ...] = ()

    @property
    def figures(self) -> Figures:
        """What the plan costs."""
        assert self.result.plan is not None
        return self.result.plan.figures

    @property
    def costs(self) -> tuple[int, int, int]:
        """Latency, energy and bytes written."""
        return self.figures.latency_ns, self.figures.energy_nj, self.figures.bytes_written

    def gap_of(self, other: Point) -> float:
        """How far this plan is at most from what is best for the question of another one, by the bound of that."""
        objectives = Objective.LATENCY, Objective.ENERGY, Objective.WEAR
        return relative_gap(self.costs[objectives.index(other.problem.objective)], other.result.bound)


def front(problem: Problem, solve: Solve, known: Sequence[Result] = ()) -> tuple[Point, ...]:
    """The front by growing latency; empty where there is no plan.

    ``known`` are results for this problem, of which the last one is the answer for its own objective.
    """
    walk = _Walk(problem, solve, [r.plan for r in known if r.plan is not None])
    for aim in Objective:
        given = known[-1] if known and aim is problem.objective else None
        walk.ask(f"least {aim.value}", replace(problem, objective=aim), given)
    if len(walk.points) == len(Objective):
        for words, asked in walk.between():
            walk.ask(words, asked)
    return undominated(walk.points)


class _Walk:
    """The points so far, and the plans that later problems may take as known."""

    def __init__(self, problem: Problem, solve: Solve, plans: list[Plan]) -> None:
        self.problem, self.solve, self.plans = problem, solve, plans
        self.points: list[Point] = []

    def ask(self, words: str, asked: Problem, given: Result | None = None) -> None:
        """Solve one problem, unless its answer is given."""
        result = given if given is not None else self.solve(asked, self.plans)
        if result.plan is not None:
            self.plans.append(result.plan)
            self.points.append(Point(words, asked, result))

    def between(self) -> Iterator[tuple[str, Problem]]:
        """Problems between the extremes, which are the first points."""
        fastest, thriftiest, lasting = self.points[: len(Objective)]
        for budget in _levels(lasting.costs[2], fastest.costs[2]):
            for aim in (Objective.LATENCY, Objective.ENERGY):
                words = f"least {aim.value}, at most {budget:,} bytes written"
                yield words, replace(self.problem, objective=aim, write_budget_bytes=budget)
        low, high = thriftiest.costs[1], fastest.costs[1]
        if high > low * (1 + WORTH):
            budget = (low + high) // 2
            limits = replace(self.problem.limits, energy_nj=budget)
            words = f"least latency, at most {budget / 1e6:,.2f} mJ"
            yield words, replace(self.problem, objective=Objective.LATENCY, limits=limits)


def _levels(low: int, high: int) -> list[int]:
    """Write budgets strictly between two amounts, in equal ratios: bytes may differ a hundredfold."""
    if high <= low * (1 + WORTH):
        return []
    ratio = (high / max(low, 1)) ** (1 / (LEVELS + 1))
    found = [round(max(low, 1) * ratio**step) for step in range(1, LEVELS + 1)]
    return [budget for budget in dict.fromkeys(found) if low < budget < high]


def undominated(points: Sequence[Point]) -> tuple[Point, ...]:
    """The points that no other one is at least as good as in every figure, by growing latency.

    What is left out is `Point.also` of the first that is as good.
    """
    kept: list[Point] = []
    for point in sorted(points, key=lambda p: p.costs):
        no_worse = (n for n, o in enumerate(kept) if all(map(le, o.costs, point.costs)))
        if (number := next(no_worse, None)) is None:
            kept.append(point)
        else:
            kept[number] = replace(kept[number], also=(*kept[number].also, point))
    return tuple(kept)
