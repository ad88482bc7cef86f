"""The beam search only proposes what fits, and what it improves never gets worse."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Objective
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.beam import Course, Outlook, State, Vista, Way, search
from ooc_solve.solver.guidance import Guide
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.improvement import Improvement
from ooc_solve.solver.plans import plan_of
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.search import Candidate, first_candidates

Problems = Callable[..., SearchStrategy[Problem]]


def soon() -> float:
    """A deadline that is far away."""
    return time.monotonic() + 600


@cache
def problem_of(name: str, target: str, kib: int, objective: Objective = Objective.LATENCY) -> Problem:
    """A built-in network in so much SRAM."""
    return Problem(zoo_network(name), load_target(target), kib * 1024, IoPlace.STORAGE, objective)


@cache
def start_of(problem: Problem) -> Candidate:
    """The first plan of a problem."""
    return first_candidates(space_of(problem), soon())[0]


@given(data=st.data(), width=st.integers(1, 40))
@settings(max_examples=40, deadline=None)
def test_outlook_is_never_above_what_comes(data: st.DataObject, width: int, problems: Problems) -> None:
    """No proposal is cheaper than the outlook at the start, and proposals come best first."""
    problem = data.draw(problems())
    course = Course(space_of(problem))
    everything = [range(len(options)) for options in course.options]
    outlook = Outlook(course, everything)
    found = search(course, everything, width, outlook)
    assume(found.proposals)
    vectors = outlook.vectors[0].values()
    least = min(course.price.per_ns * max(v[:-1].max(axis=0).min(), 0.0) + v[-1].min() for v in vectors)
    prices = [proposal.price for proposal in found.proposals]
    assert prices == sorted(prices)
    assert len(prices) <= width
    assert least <= prices[0] * (1 + 1e-9) + 1e-6


@given(data=st.data())
@settings(max_examples=15, deadline=None)
def test_never_worse_and_always_valid(data: st.DataObject, problems: Problems) -> None:
    """Whatever the network, board and objective: the plan is valid, and no worse than the one given."""
    problem = data.draw(problems())
    starts = first_candidates(space_of(problem), soon())
    assume(starts)
    found = Improvement(space_of(problem), starts[-1], 2000, 1).run(soon())
    assert found is not None
    assert found.score <= starts[-1].score
    plan_of(problem, found, "beam")  # raises if the validator objects


@pytest.mark.parametrize(
    ("name", "target", "kib", "share"), [("resnet8", "f746-sd", 16, 0.95), ("ds_cnn", "l4r5-sdspi", 8, 0.98)]
)
def test_first_plans_in_tight_memory_get_better(name: str, target: str, kib: int, share: float) -> None:
    """Where memory is tight, a little search saves several per cent, and the same whenever it is run."""
    problem = problem_of(name, target, kib)
    start = start_of(problem)
    effort = 30_000
    found = Improvement(space_of(problem), start, effort, 1).run(soon())
    assert found is not None
    assert found.score[0] <= share * start.score[0]
    plan_of(problem, found, "beam")
    short, again = (Improvement(space_of(problem), start, effort // 10, 1).run(soon()) for _ in range(2))
    assert short is not None
    assert again is not None
    assert (again.selection, again.schedule) == (short.selection, short.schedule)


def test_what_was_enough_is_no_end() -> None:
    """A search that ends with a good enough plan goes on when asked again, to what it would have found at once."""
    problem = problem_of("ds_cnn", "l4r5-sdspi", 8)
    start = start_of(problem)
    whole, search_in_parts = (Improvement(space_of(problem), start, 3_000, 1) for _ in range(2))
    first = search_in_parts.run(soon(), lambda _: True)
    assert first is not None
    at_once, then = whole.run(soon()), search_in_parts.run(soon())
    assert at_once is not None
    assert then is not None
    assert then.score < first.score
    assert (then.selection, then.schedule) == (at_once.selection, at_once.schedule)


@pytest.mark.parametrize("effort", [4_000, pytest.param(20_000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("objective", [Objective.ENERGY, Objective.WEAR])
def test_other_objectives(objective: Objective, effort: int) -> None:
    """What is asked for gets no worse, be it energy or bytes written."""
    problem = problem_of("ds_cnn", "f746-sd", 12, objective)
    start = start_of(problem)
    found = Improvement(space_of(problem), start, effort, 1).run(soon())
    assert found is not None
    assert found.score <= start.score
    plan_of(problem, found, "beam")


def test_write_budget() -> None:
    """Proposals keep to the write budget, however tight it is."""
    free = problem_of("resnet8", "f746-sd", 16)

    def writes(problem: Problem) -> list[int]:
        """Bytes written by the options of each proposal."""
        course = Course(space_of(problem))
        found = search(course, [range(len(options)) for options in course.options], 16)
        return [
            sum(options[n].bytes_written for options, n in zip(course.options, p.numbers, strict=True))
            for p in found.proposals
        ]

    budget = min(writes(free))
    kept_output = 512  # the network's result, which is written whole
    within = writes(replace(free, write_budget_bytes=budget + kept_output))
    assert within
    assert max(within) <= budget + kept_output < max(writes(free))


class EarlyCourse(Course):
    """A course that looks at the kernels of every way before the relaxation has chosen among them."""

    def ways(self, stage: int, operators: int, state: State, allowed: Collection[int]) -> list[Way]:
        """Those ways only that fit kernel by kernel."""
        found = super().ways(stage, operators, state, allowed)
        return [way for way in found if self.step(stage, state, way) is not None]


@pytest.mark.parametrize(("name", "target", "kib"), [("ds_cnn", "f746-sd", 16), ("resnet8", "h747-qspi", 32)])
def test_ways_that_do_not_fit_are_found_late_but_make_no_difference(name: str, target: str, kib: int) -> None:
    """A guided search proposes what it would if all ways that do not fit were known beforehand."""
    space = space_of(problem_of(name, target, kib))
    relaxation = Relaxation(space.problem, [space])
    assert relaxation.round is not None
    guide = Guide(relaxation.round, space.options)
    late, early = Course(space), EarlyCourse(space)
    found, expected = (
        search(
            course, guide.survivors(), 6, None, soon(), Vista(course, guide, None, 2 * relaxation.bound_ns)
        )
        for course in (late, early)
    )
    assert found.proposals
    assert found.proposals == expected.proposals
    assert late.looked_at < early.looked_at


def test_nothing_beside_the_options_allowed() -> None:
    """A search over a few options uses no others."""
    problem = problem_of("ds_cnn", "f746-sd", 32)
    course = Course(space_of(problem))
    best = search(course, [range(len(options)) for options in course.options], 8).proposals[0]
    only = [[number] for number in best.numbers]
    assert [p.numbers for p in search(course, only, 8).proposals] == [best.numbers]
