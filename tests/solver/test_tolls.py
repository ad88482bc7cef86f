"""Bounds of energy: below every plan, exact in their conversions, and what tolls are made of."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace
from functools import cache

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.energy import Rates
from ooc_solve.models.limits import Limits
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Figures, Network, Objective, Selection, Tiling
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import variants
from ooc_solve.solver.allowance import excesses
from ooc_solve.solver.beam import COVERED
from ooc_solve.solver.budgets import budgeted_bound, priced
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.figures import compute_ns, figures_of, traffic_of
from ooc_solve.solver.fused import operands
from ooc_solve.solver.improvement import numbers_of
from ooc_solve.solver.options import KEPT
from ooc_solve.solver.relaxation import Relaxation, proven_bound, raised
from ooc_solve.solver.selection import Space, build_space
from ooc_solve.solver.tolls import Prices, Tolls

BUDGET = Budget(20.0, 1, 1)


@cache
def autoencoder() -> Network:
    """A small network."""
    return zoo_network("autoencoder")


def random_selection(space: Space, seed: int) -> Selection | None:
    """Options drawn one after the other so that residences agree, None if that came to a dead end."""
    draw, network = random.Random(seed), space.problem.network
    where: dict[str, int] = {}
    tilings: list[Tiling] = []
    stage = 0
    while stage < len(network.ops):
        fitting = []
        for option in space.options[stage]:
            names = operands(network, stage, option.operators)
            found = dict(zip(names, option.inputs, strict=True))  # a tensor read twice is in one place
            if all(
                where.get(n, found[n]) == w == found[n] for n, w in zip(names, option.inputs, strict=True)
            ):
                fitting.append(option)
        if not fitting:
            return None
        option = draw.choice(fitting)
        where |= dict(zip(operands(network, stage, option.operators), option.inputs, strict=True))
        stage += option.operators
        where[network.ops[stage - 1].output] = option.output
        tilings += option.tilings
    kept = frozenset(name for name, width in where.items() if width == KEPT)
    return Selection(tuple(tilings), kept, network.order)


def toll_of(space: Space, selection: Selection) -> int | None:
    """Tolls of the options of a selection together."""
    numbers = numbers_of(space, selection)
    if numbers is None:
        return None
    tolls = Tolls(space.problem)
    pairs = ((s, space.options[s][n]) for s, n in enumerate(numbers) if n != COVERED)
    return sum(tolls.of(stage, option) for stage, option in pairs)


def check_bounds(problem: Problem, seeds: range) -> None:
    """No plan of random selections takes less energy than a bound says, and its tolls are no more than its own."""
    problem = replace(problem, objective=Objective.ENERGY)
    space = build_space(problem)
    relaxation = Relaxation(problem, [space])
    bound, rates = relaxation.bound, Rates.of(problem.target)
    found: list[Figures] = []
    for seed in seeds:
        selection = random_selection(space, seed)
        try:
            graph = expand(problem, selection) if selection is not None else None
        except SelectionError:
            continue
        result = None if graph is None else solve_graph(problem, graph, None, BUDGET)
        if selection is None or graph is None or result is None or result.schedule is None:
            continue
        toll = toll_of(space, selection)
        assert toll is not None
        assert toll * rates.per_ns <= rates.fixed_pj(compute_ns(graph), traffic_of(problem, graph))
        found.append(figures_of(problem, graph, result.schedule))
    assume(found)
    check_budgeted_bounds(space, found)
    check_priced_bounds(space, found)
    least = min(figures.energy_nj for figures in found)
    assert 0 < bound <= least
    assert bound <= proven_bound(problem, least, math.inf, [space]) <= least
    free = budgeted_bound(space, 20.0)
    assert free is not None
    assert free <= least
    assert not relaxation.excludes(least + 1)


def check_priced_bounds(space: Space, found: list[Figures]) -> None:
    """Whatever a byte written costs, no plan within the write budget is better than the bound.

    The budget is what one of the plans writes, to the byte.
    """
    for objective, figure in ((Objective.LATENCY, "latency_ns"), (Objective.ENERGY, "energy_nj")):
        most = sorted(figures.bytes_written for figures in found)[len(found) // 2]
        judged = replace(space.problem, objective=objective, write_budget_bytes=most)
        least = min(getattr(figures, figure) for figures in found if not excesses(judged, figures))
        for relaxation in (
            Relaxation(judged, [space]),
            Relaxation(judged, [space], math.inf, Prices(30)),
            priced(judged, [space]),
        ):
            assert relaxation.bound <= least
            assert not relaxation.excludes(least + 1)
            assert raised(relaxation, least + 1, math.inf) <= least


def check_budgeted_bounds(space: Space, found: list[Figures]) -> None:
    """Under budgets that some of the plans keep to, no bound is above the best of those."""
    problem, middle = space.problem, len(found) // 2
    latest = sorted(figures.latency_ns for figures in found)[middle]
    costliest = sorted(figures.energy_nj for figures in found)[middle]
    most = sorted(figures.bytes_written for figures in found)[middle]
    for objective, limits, written, figure in (
        (Objective.WEAR, Limits(latency_ns=latest), None, "bytes_written"),
        (Objective.WEAR, Limits(energy_nj=costliest), None, "bytes_written"),
        (Objective.ENERGY, Limits(latency_ns=latest), most, "energy_nj"),
        (Objective.LATENCY, Limits(energy_nj=costliest), most, "latency_ns"),
    ):
        judged = replace(problem, objective=objective, limits=limits, write_budget_bytes=written)
        within = [getattr(figures, figure) for figures in found if not excesses(judged, figures)]
        bound = budgeted_bound(replace(space, problem=judged), 20.0)
        assert not within or (bound is not None and bound <= min(within))


@given(data=st.data())
@settings(max_examples=15, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_no_plan_takes_less_energy_than_the_bounds(
    data: st.DataObject, problems: Callable[..., SearchStrategy[Problem]]
) -> None:
    """The optimal schedules of random selections on random targets are never below a bound."""
    check_bounds(data.draw(problems()), range(6))


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=1500, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
def test_no_plan_takes_less_energy_than_the_bounds_often(
    data: st.DataObject, problems: Callable[..., SearchStrategy[Problem]]
) -> None:
    """The same over many problems."""
    check_bounds(data.draw(problems()), range(30))


@given(value=st.integers(1, 10**9), name=st.sampled_from(["f746-sd", "u585-octal", "rp2350-psram"]))
@settings(max_examples=200)
def test_limits_and_values_are_exact(value: int, name: str) -> None:
    """A plan of one nJ less is shorter than the limit; a path as long as the limit takes the value at least."""
    network = autoencoder()
    problem = Problem(network, load_target(name), 32 * 1024, IoPlace.SRAM, Objective.ENERGY)
    tolls, rates = Tolls(problem), Rates.of(problem.target)
    limit = tolls.limit(value)
    assert tolls.value(limit) >= value
    longest = int((value - 1) * 1000 / rates.per_ns)  # of a plan that takes less
    assert longest < limit
    assert tolls.value(longest) <= value - 1


def test_latency_has_no_tolls() -> None:
    """Where time is minimised a length is a time."""
    problem = Problem(autoencoder(), load_target("f746-sd"), 32 * 1024, IoPlace.STORAGE)
    tolls = Tolls(problem)
    assert tolls.free
    assert (tolls.limit(77), tolls.value(77)) == (77, 77)
    assert tolls.of(0, build_space(problem).options[0][0]) == 0


def test_a_price_of_bytes_raises_the_bound_under_a_write_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    """ResNet-8 in 32 KiB writes 49 kB at its fastest; the bound of 70 ms is raised where it may write 16 kB.

    Counting what each path writes raises it further, so that no price is of use.
    """
    problem = Problem(zoo_network("resnet8"), load_target("f746-sd"), 32 * 1024, IoPlace.STORAGE)
    space = build_space(problem)
    tight = replace(problem, write_budget_bytes=16_000)
    counted = priced(tight, [space])
    assert counted.tolls.prices.written == 0
    monkeypatch.setattr(variants, "counters_of", lambda *_: ())
    free, found = Relaxation(tight, [space]), priced(tight, [space])
    assert found.tolls.prices.written > 0
    assert found.bound > 1.08 * free.bound
    assert counted.bound > 1.02 * found.bound
    assert priced(problem, [space]).tolls.prices.written == 0


def test_a_price_needs_a_budget() -> None:
    """Without a budget of bytes a price would bound nothing."""
    with pytest.raises(ValueError, match="only where there is a budget"):
        Tolls(Problem(autoencoder(), load_target("f746-sd"), 32 * 1024, IoPlace.STORAGE), Prices(1))


@pytest.mark.parametrize("objective", [Objective.LATENCY, Objective.ENERGY])
def test_the_price_of_the_whole_budget_is_taken_off(objective: Objective) -> None:
    """Limits and values with a price are those without, moved by what the budget costs."""
    plain = Problem(autoencoder(), load_target("f746-sd"), 32 * 1024, IoPlace.STORAGE, objective, 1_000)
    without, tolls = Tolls(plain), Tolls(plain, Prices(7))
    assert tolls.limit(10**6) == without.limit(10**6) + 7_000
    assert tolls.value(10**6 + 7_000) == without.value(10**6)
    assert tolls.value(6_999) == 0
    space = build_space(plain)
    for stage, options in enumerate(space.options):
        for option in options[:20]:
            own = tolls.of(stage, option) - without.of(stage, option)
            assert own >= 7 * option.bytes_written
            assert own == 7 * option.bytes_written or option.output == KEPT
