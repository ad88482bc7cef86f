"""Bounds option by option; that no plan beats them is tested with the relaxation, which calls them."""

from __future__ import annotations

import math

import numpy as np

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.branching import branches, refuted
from ooc_solve.solver.relaxation import Relaxation
from ooc_solve.solver.selection import build_space
from ooc_solve.solver.tolls import Tolls
from ooc_solve.solver.variants import Alive, Options, Stock, stages_of

TIGHT = Problem(zoo_network("ds_cnn"), load_target("f746-sd"), 8704, IoPlace.STORAGE)


def every_option() -> tuple[Options, Alive]:
    """All options of the problem."""
    stages = stages_of((build_space(TIGHT),))
    options = Options(Stock.of(TIGHT, Tolls(TIGHT)), stages, False, math.inf)
    return options, options.everywhere()


def test_branches_part_the_options_of_the_first_operator_that_has_a_choice() -> None:
    """Each option is in one branch, nothing of the other operators is lost, and one option each is no choice."""
    options, alive = every_option()
    parts = branches(options, alive)
    assert len(parts) > 1
    for key, mask in alive.items():
        shares = [part[key] for part in parts if key in part]
        if key[0] == 0:
            assert (np.sum(shares, axis=0) == mask).all()
        else:
            assert all((share == mask).all() for share in shares)
            assert len(shares) == len(parts)
    while parts:
        alive, parts = parts[0], branches(options, parts[0])
    assert all(len(used) <= 1 for used in options.named(alive))


def test_a_limit_is_refuted_where_it_is_in_every_branch() -> None:
    """One branch in which something is left to the end is enough to refute nothing."""
    options, alive = every_option()
    assert refuted(lambda *_: {}, options, alive, 1)
    assert not refuted(lambda _, left, __: left, options, alive, 1)


def test_branching_raises_the_bound() -> None:
    """In tight memory more is proven option by option than over all options, and never more than is assumed."""
    problem = Problem(zoo_network("resnet8"), load_target("f746-sd"), 15872, IoPlace.STORAGE)
    relaxation = Relaxation(problem, [build_space(problem)])
    relaxation.assume(105_000_000)
    relaxation.climb()
    before = relaxation.bound_ns
    limit = before + before // 300
    relaxation.assume(limit)
    relaxation.branch()
    assert before < relaxation.bound_ns <= limit
