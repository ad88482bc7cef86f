"""The finer pass of the relaxation; that no plan beats it is tested with the relaxation."""

from __future__ import annotations

import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import refinement
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.selection import build_space

TIGHT = Problem(zoo_network("ds_cnn"), load_target("f746-sd"), 8704, IoPlace.STORAGE)


def climbed(problem: Problem) -> Relaxation:
    """The relaxation of a problem with a bound as high as it gets."""
    relaxation = Relaxation(problem, [build_space(problem)])
    relaxation.climb()
    return relaxation


def test_cases_raise_the_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where memory is tight and storage slow, telling cases apart proves more than matrices alone."""
    finer = climbed(TIGHT).bound_ns
    monkeypatch.setattr(refinement, "MOST_KERNELS", -1)
    assert climbed(TIGHT).bound_ns < finer


def test_a_walk_leaves_what_a_path_below_the_limit_needs() -> None:
    """Options are ruled out by a limit, none without one, and all by one that no path is below."""
    round_ = Relaxation(TIGHT, [build_space(TIGHT)]).round
    assert round_ is not None
    everything = round_.below(None)
    free = refinement.refined(round_, 1 << 58)
    assert free is not None
    assert free.value_ns is not None
    assert {key: mask.sum() for key, mask in free.alive.items()} == {
        k: m.sum() for k, m in everything.items()
    }
    some = refinement.refined(round_, free.value_ns + free.value_ns // 100)
    assert some is not None
    left = sum(int(mask.sum()) for mask in some.alive.values())
    assert 0 < left < sum(int(mask.sum()) for mask in everything.values())
    nothing = refinement.refined(round_, free.value_ns)
    assert nothing is not None
    assert not nothing.alive
    assert nothing.value_ns is None


def test_too_many_kernels_are_not_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a number of kernels there is no finer pass."""
    round_ = Relaxation(TIGHT, [build_space(TIGHT)]).round
    assert round_ is not None
    round_.below(None)
    monkeypatch.setattr(refinement, "MOST_KERNELS", 10)
    assert refinement.refined(round_, 1 << 58) is None
