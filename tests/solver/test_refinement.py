"""The finer pass of the relaxation; that no plan beats it is tested with the relaxation."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import cases, refinement, relaxation
from ooc_solve.solver.credits import Credits
from ooc_solve.solver.maxplus import Ints
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.selection import build_space

TIGHT = Problem(zoo_network("ds_cnn"), load_target("f746-sd"), 8704, IoPlace.STORAGE)

LONG = Problem(zoo_network("mobilenet_v1_025_96"), load_target("f746-sd"), 6100, IoPlace.STORAGE)
"""With many equal kernels."""


def climbed(problem: Problem) -> Relaxation:
    """The relaxation of a problem with a bound as high as it gets."""
    found = Relaxation(problem, [build_space(problem)])
    found.climb()
    return found


def test_cases_raise_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is tight and storage slow, telling cases apart proves more than matrices alone."""
    finer = climbed(TIGHT).bound_ns
    monkeypatch.setattr(relaxation, "refined", lambda *_: None)
    assert climbed(TIGHT).bound_ns < finer


def left_of_resnet8() -> int:
    """Options of resnet8 in tight memory that are left where a makespan is assumed."""
    problem = Problem(zoo_network("resnet8"), load_target("f746-sd"), 15872, IoPlace.STORAGE)
    found = Relaxation(problem, [build_space(problem)])
    found.assume(100_500_000)
    return sum(map(len, found.survivors))


def test_loads_of_far_stages_count_for_those_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Less is left where what is ahead is told apart by its stage, and where nobody loads a tile that is not stored."""

    def for_any_stage(own: cases.Cases, run: int) -> Ints:
        every, near, _, _ = np.split(loads(own, run), cases.SETS)
        return np.concatenate((every, near, every, every))

    loads, apart = cases.Cases._loads, left_of_resnet8()
    with monkeypatch.context() as together:
        together.setattr(cases.Cases, "_loads", for_any_stage)
        assert apart < left_of_resnet8()
    monkeypatch.setattr(Credits, "fresh", lambda *_: None)
    assert apart < left_of_resnet8()


def test_a_walk_leaves_what_a_path_below_the_limit_needs() -> None:
    """Options are ruled out by a limit, none without one, and all by one that no path is below."""
    round_ = Relaxation(TIGHT, [build_space(TIGHT)]).round
    assert round_ is not None
    everything = round_.below(None)
    free = refinement.refined(round_, 1 << 58, 1 << 30)
    assert free is not None
    assert free.value_ns is not None
    assert {key: mask.sum() for key, mask in free.alive.items()} == {
        k: m.sum() for k, m in everything.items()
    }
    some = refinement.refined(round_, free.value_ns + free.value_ns // 100, 1 << 30)
    assert some is not None
    left = sum(int(mask.sum()) for mask in some.alive.values())
    assert 0 < left < sum(int(mask.sum()) for mask in everything.values())
    nothing = refinement.refined(round_, free.value_ns, 1 << 30)
    assert nothing is not None
    assert not nothing.alive
    assert nothing.value_ns is None


def test_loops_are_left_early_without_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where what comes again is added up at once, the same is ruled out and proven as kernel by kernel."""
    kernels = 0

    def counted(option: refinement._Option, run: int) -> None:
        nonlocal kernels
        kernels += 1
        kernel(option, run)

    def one_by_one(_option: refinement._Option, many: int, walk: Callable[[], None]) -> None:
        for _ in range(many):
            walk()

    kernel = refinement._Option._kernel
    monkeypatch.setattr(refinement._Option, "_kernel", counted)
    round_ = Relaxation(LONG, [build_space(LONG)]).round
    assert round_ is not None
    assert round_.value_ns is not None
    limit_ns = round_.value_ns + round_.value_ns // 50
    round_.below(limit_ns)
    leapt, walked = refinement.refined(round_, limit_ns, 1 << 30), kernels
    monkeypatch.setattr(refinement._Option, "repeat", one_by_one)
    plain = refinement.refined(round_, limit_ns, 1 << 30)
    assert leapt is not None
    assert plain is not None
    assert leapt.value_ns == plain.value_ns
    assert {k: m.tolist() for k, m in leapt.alive.items()} == {k: m.tolist() for k, m in plain.alive.items()}
    assert walked < 0.8 * (kernels - walked)


def test_too_many_runs_are_not_walked_through() -> None:
    """Above a number of runs of kernels there is no finer pass."""
    round_ = Relaxation(TIGHT, [build_space(TIGHT)]).round
    assert round_ is not None
    round_.below(None)
    assert refinement.refined(round_, 1 << 58, 10) is None


def test_a_walk_that_takes_too_long_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Beyond a number of kernels there is no finer pass, nor another one of as many runs; the bound still holds."""
    monkeypatch.setattr(refinement, "MOST_IMAGES", 10)
    found = Relaxation(TIGHT, [build_space(TIGHT)])
    search, limit_ns = found._search, found.bound_ns + found.bound_ns // 50
    assert search is not None
    assert search.last is not None
    assert search.sweep(search.options, found._alive, limit_ns, 1 << 30)
    assert search.most_runs < search.last.runs
