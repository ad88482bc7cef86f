"""The same network with its operators in another order.

A network lists its operators in one topological order; where branches run side by side
there are others, and which one is run decides what must be kept meanwhile. A plan says in
its selection in which order it runs them, so whoever is given a problem and a plan asks
`ordered` for the problem that the plan solves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import lru_cache

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Network


def listed(network: Network) -> Network:
    """The network that runs its operators as the model lists them."""
    return network.base or network


def in_order(network: Network, order: Sequence[int]) -> Network:
    """The network that runs its operators in an order; itself if it does already.

    ``order`` holds positions in the model's list, in whatever order ``network`` runs them;
    empty: as listed.

    Raises
    ------
    ValueError
        If that is no order of the operators, or one reads what is produced after it.
    """
    base = listed(network)
    if order and sorted(order) != list(range(len(base.ops))):
        raise ValueError(
            f"an order must name each of the {len(base.ops)} operators once (got {len(order)} numbers)"
        )
    if list(order) == sorted(order):
        return base
    if tuple(order) == network.order:
        return network
    return replace(base, ops=tuple(base.ops[k] for k in order), order=tuple(order), base=base)


@lru_cache(maxsize=256)
def ordered(problem: Problem, order: tuple[int, ...]) -> Problem:
    """The problem with its operators in an order, one object per order; raises as `in_order` does."""
    network = _network(listed(problem.network), order)
    return problem if network is problem.network else replace(problem, network=network)


@lru_cache(maxsize=64)
def _network(base: Network, order: tuple[int, ...]) -> Network:
    """`in_order`, with one object per order for problems with other budgets as well."""
    return in_order(base, order)
