"""What guides the beam search never says more than the relaxation, nor rules out what is better."""

from __future__ import annotations

from functools import cache
from math import inf

import numpy as np
import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.beam import Course, Vista, search
from ooc_solve.solver.guidance import Guide, carried, least_ns
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.improvement import Improvement, numbers_of
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.search import Candidate, first_candidates
from ooc_solve.solver.selection import Space

CASES = [("ds_cnn", "f746-sd", 12), ("resnet8", "f746-sd", 20)]


@cache
def problem_of(name: str, target: str, kib: int) -> Problem:
    """A built-in network in so much SRAM."""
    return Problem(zoo_network(name), load_target(target), kib << 10, IoPlace.STORAGE)


def known(problem: Problem) -> Candidate:
    """A plan that is not very good."""
    return first_candidates(space_of(problem), inf)[-1]


def made_of(space: Space, candidate: Candidate) -> tuple[int, ...]:
    """The options that a plan's selection is made of."""
    numbers = numbers_of(space, candidate.selection)
    assert numbers is not None
    return numbers


def guide_of(problem: Problem, makespan_ns: int | None) -> tuple[Guide, Relaxation]:
    """A guide to plans that are shorter."""
    relaxation = Relaxation(problem, [space_of(problem)])
    if makespan_ns is not None:
        relaxation.assume(makespan_ns)
    assert relaxation.round is not None
    return Guide(relaxation.round, space_of(problem).options), relaxation


@pytest.mark.parametrize(("name", "target", "kib"), CASES)
def test_functions_at_the_start_give_the_bound(name: str, target: str, kib: int) -> None:
    """From nothing done, the best that may follow is the bound, or less where functions were merged."""
    problem = problem_of(name, target, kib)
    guide, relaxation = guide_of(problem, None)
    start = np.zeros((guide.dimensions, 1), np.int64)
    least = min(float(least_ns(functions, start)[0]) for functions in guide.functions[0].values())
    assert 0.98 * relaxation.first_ns <= least <= relaxation.first_ns


@pytest.mark.parametrize(("name", "target", "kib"), CASES)
def test_no_plan_is_shorter_than_its_vectors(name: str, target: str, kib: int) -> None:
    """Each plan that the search finds takes at least what its options make of the vectors."""
    problem = problem_of(name, target, kib)
    space, start = space_of(problem), known(problem_of(name, target, kib))
    guide, _ = guide_of(problem, None)
    course = Course(space)
    found = Improvement(space, start, 8000, 1).run(inf)
    assert found is not None
    allowed = [[n] for n in made_of(space, found)]
    (proposal,) = search(course, allowed, 1).proposals[:1]
    vista = Vista(course, guide, allowed, None)
    vectors = np.zeros((guide.dimensions, len(course.starts())), np.int64)
    prices = vista.price(0, course.starts(), np.arange(len(course.starts())), vectors)
    assert prices.min() <= found.score[0]
    assert proposal.numbers == tuple(n for (n,) in allowed)


@pytest.mark.parametrize(("name", "target", "kib"), CASES)
def test_better_plans_are_not_ruled_out(name: str, target: str, kib: int) -> None:
    """What a plan is made of is left where a longer makespan is assumed."""
    problem = problem_of(name, target, kib)
    space, start = space_of(problem), known(problem)
    found = Improvement(space, start, 8000, 1).run(inf)
    assert found is not None
    guide, _ = guide_of(problem, found.score[0] + 1)
    numbers = made_of(space, found)
    assert all(n in left for n, left in zip(numbers, guide.survivors(), strict=True))


@pytest.mark.parametrize(("name", "target", "kib"), CASES)
def test_guided_search_is_better(name: str, target: str, kib: int) -> None:
    """With the same effort the relaxation leads to plans at least as good, which are never below its bound."""
    problem = problem_of(name, target, kib)
    space, start = space_of(problem), known(problem)
    plain = Improvement(space, start, 12_000, 1).run(inf)
    relaxation = Relaxation(problem, [space])
    guided = Improvement(space, start, 12_000, 1, relaxation).run(inf)
    assert plain is not None
    assert guided is not None
    assert relaxation.bound_ns <= guided.score[0] <= plain.score[0]


@pytest.mark.parametrize(("name", "target", "kib"), CASES[:1])
def test_more_effort_is_never_worse(name: str, target: str, kib: int) -> None:
    """A longer search begins like a shorter one, so it ends no worse; without a plan to start from too."""
    problem = problem_of(name, target, kib)
    space = space_of(problem)
    scores = []
    for effort in (2000, 5000, 10_000):
        found = Improvement(space, None, effort, 1, Relaxation(problem, [space])).run(inf)
        scores.append((1 << 60,) if found is None else found.score)
    assert scores == sorted(scores, reverse=True)


def test_matrices_of_options_that_are_ruled_out() -> None:
    """Vectors are carried by the matrix of each option; nothing follows one that is ruled out."""
    problem = problem_of(*CASES[0])
    guide, _ = guide_of(problem, known(problem).score[0])
    state = next(iter(guide.behind[0]))
    left = guide.survivors()[0]
    out = next(n for n in range(len(space_of(problem).options[0])) if n not in left)
    inside = next(n for _, numbers, _ in guide.behind[0][state] for n in numbers)
    vectors = carried(guide.matrices(0, state, [int(inside), out]), np.zeros((guide.dimensions, 2), np.int64))
    assert vectors[0, 0] > 0 > vectors[0, 1]
