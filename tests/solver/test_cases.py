"""Cases of the CPU's own tasks; that no plan beats it is tested with the relaxation."""

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
from ooc_solve.solver import cases, relaxation
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.selection import build_space


def climbed(problem: Problem) -> Relaxation:
    """The relaxation of a problem with a bound as high as it gets."""
    relaxation = Relaxation(problem, [build_space(problem)])
    relaxation.climb()
    return relaxation


def test_cases_raise_the_bound_where_the_cpu_opens_records(monkeypatch: pytest.MonkeyPatch) -> None:
    """The CPU is a lane: what waits to be opened and sealed is told apart like what waits for a channel."""
    target = encrypted(load_target("f746-sd"), "aes-128-gcm")
    problem = Problem(zoo_network("autoencoder"), target, 16 << 10, IoPlace.STORAGE)
    finer = climbed(problem).bound_ns
    monkeypatch.setattr(relaxation, "refined", lambda *_: None)
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

    loads = [cases.Loaded(0, 1, load_ns, open_ns) for load_ns, open_ns in times]
    assert cases.two_stations(loads) == min(takes(order) for order in permutations(times))
