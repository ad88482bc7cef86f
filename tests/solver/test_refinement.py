"""The finer pass of the relaxation; that no plan beats it is tested with the relaxation."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.sealing import encrypted
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


def test_cases_raise_the_bound_where_the_cpu_opens_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is a lane: what waits to be opened and sealed is told apart like what waits for a channel."""
    target = encrypted(load_target("f746-sd"), "aes-128-gcm")
    problem = Problem(zoo_network("autoencoder"), target, 16 << 10, IoPlace.STORAGE)
    finer = climbed(problem).bound_ns
    monkeypatch.setattr(refinement, "MOST_KERNELS", -1)
    assert 1.005 * climbed(problem).bound_ns < finer


@given(times=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=5))
def test_loads_that_are_opened_one_by_one_take_no_less(times: list[tuple[int, int]]) -> None:
    """No order in which records come and are opened ends sooner than what is assumed, and one does as soon."""

    def takes(order: Sequence[tuple[int, int]]) -> int:
        come = opened = 0
        for load_ns, open_ns in order:
            come += load_ns
            opened = max(opened, come) + open_ns
        return opened

    loads = [refinement.Loaded(0, 1, load_ns, open_ns) for load_ns, open_ns in times]
    assert refinement.two_stations(loads) == min(takes(order) for order in permutations(times))


def test_too_many_kernels_are_not_walked_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above a number of kernels there is no finer pass."""
    round_ = Relaxation(TIGHT, [build_space(TIGHT)]).round
    assert round_ is not None
    round_.below(None)
    monkeypatch.setattr(refinement, "MOST_KERNELS", 10)
    assert refinement.refined(round_, 1 << 58) is None
