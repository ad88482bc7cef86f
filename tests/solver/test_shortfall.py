"""What is said where budgets cannot be met, and that what is found keeps to all of them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooc_solve.models.limits import Limits
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Objective, Result, Status
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.allowance import excesses
from ooc_solve.solver.burden import heaviest
from ooc_solve.solver.deadline import TimeIsUp
from ooc_solve.solver.heuristics import serial
from ooc_solve.solver.shortfall import given_budgets, why_infeasible
from ooc_solve.solver.solve import cp_sat

BUDGET = Budget(2.0, 1, 1)


def autoencoder(target: str = "f746-sd", kib: int = 16, **changes: object) -> Problem:
    """A small network."""
    system = load_target(target)
    io = IoPlace.SRAM if system.activations is None else IoPlace.STORAGE
    problem = Problem(zoo_network("autoencoder"), system, kib * 1024, io)
    return replace(problem, **changes)  # type: ignore[arg-type]


def least(value: int, bound: int) -> Result:
    """A search that found something of this value."""
    return Result("", Status.FEASIBLE, None, value, bound, 0.0)


def test_the_sentence_names_budget_shortfall_and_least_value() -> None:
    """A latency budget of 5 ms where 8 ms are known and 7.5 are proven: 3 ms are missing."""
    problem = autoencoder(limits=Limits(latency_ns=5_000_000))
    why = why_infeasible(problem, lambda p, b: least(8_000_000, 7_500_000), BUDGET)
    assert why == (
        "the latency budget of 5.000 ms fails by 3.000 ms: the least known to work is 8.000 ms, "
        "and none needs less than 7.500 ms"
    )


def test_a_bound_of_nothing_is_not_told() -> None:
    """That no plan needs less than 0 bytes is known to everybody."""
    problem = autoencoder(write_budget_bytes=100)
    why = why_infeasible(problem, lambda p, b: least(1024, 0), BUDGET)
    assert why == "the write budget of 100 bytes fails by 924 bytes: the least known to work is 1,024 bytes"


def test_what_no_plan_can_meet_is_told_without_a_search() -> None:
    """Where time is up at once, the outputs alone, or computing alone, may exceed a budget."""

    def search(here: Problem, budget: Budget) -> Result:
        raise TimeIsUp

    why = why_infeasible(autoencoder(write_budget_bytes=100), search, BUDGET)
    assert why.startswith(
        "the write budget of 100 bytes fails by at least 924 bytes: none needs less than 1,024"
    )
    why = why_infeasible(autoencoder(write_budget_bytes=1024), search, BUDGET)
    assert "was not found out either" in why


def test_the_sentence_says_where() -> None:
    """The layer that takes most of the least value known, and for a lifetime how long that lasts."""
    problem = autoencoder(limits=Limits(lifetime_years=1e9))
    why = cp_sat(problem, BUDGET).reason
    assert (
        "the least known to work is 1,024 bytes, which lasts 6.42e+04 years (1,024 bytes of it in layer"
        in why
    )


@pytest.mark.parametrize("aim", list(Objective))
def test_the_heaviest_layer_of_each_figure(aim: Objective) -> None:
    """No layer has more than the whole; the output is all that is written, and by the last layer."""
    problem = autoencoder(kib=64)
    plan = serial(problem, BUDGET).plan
    assert plan is not None
    name, share = heaviest(problem, plan, aim)
    figures = plan.figures
    whole = {
        Objective.LATENCY: figures.latency_ns,
        Objective.ENERGY: figures.energy_nj,
        Objective.WEAR: figures.bytes_written,
    }[aim]
    assert whole / len(problem.network.ops) <= share <= whole
    if aim is Objective.WEAR:
        assert (name, share) == (problem.network.ops[-1].name, whole)


def test_what_is_minimised_is_the_figure_of_the_budget() -> None:
    """Each budget is left out in turn and its figure minimised with the others kept."""
    limits = Limits(latency_ns=5, energy_nj=7)
    problem = autoencoder(limits=limits, write_budget_bytes=600)
    without = [(given.aim, given.without) for given in given_budgets(problem)]
    assert without == [
        (Objective.WEAR, replace(problem, write_budget_bytes=None)),
        (Objective.LATENCY, replace(problem, limits=Limits(energy_nj=7))),
        (Objective.ENERGY, replace(problem, limits=Limits(latency_ns=5))),
    ]


def test_budgets_that_contradict_each_other() -> None:
    """Where dropping one does not help, the next one alone is told about."""
    problem = autoencoder(limits=Limits(latency_ns=5, energy_nj=7))

    def search(here: Problem, budget: Budget) -> Result:
        if here.limits == Limits():
            return least(9, 8)
        return replace(least(0, 0), objective=None, status=Status.INFEASIBLE)

    assert why_infeasible(problem, search, BUDGET).startswith(
        "the energy budget of 0.000 mJ fails by 0.000 mJ"
    )


@pytest.mark.parametrize(
    ("objective", "limits", "writes", "words"),
    [
        (Objective.WEAR, Limits(latency_ns=1), None, "the latency budget of 0.000 ms fails by"),
        (Objective.LATENCY, Limits(energy_nj=1), None, "the energy budget of 0.000 mJ fails by"),
        (Objective.ENERGY, Limits(), 0, "the write budget of 0 bytes fails by 1,024 bytes: the least known"),
        (Objective.LATENCY, Limits(lifetime_years=1e9), None, "the lifetime of 1e+09 years"),
    ],
)
def test_impossible_budgets_are_told(
    objective: Objective, limits: Limits, writes: int | None, words: str
) -> None:
    """A nanosecond, a nanojoule, no bytes at all: no plan, and the words say which budget fails."""
    problem = autoencoder(objective=objective, limits=limits, write_budget_bytes=writes)
    result = cp_sat(problem, BUDGET)
    assert result.plan is None
    assert result.status is Status.INFEASIBLE
    assert words in result.reason


@pytest.mark.parametrize("objective", list(Objective))
@pytest.mark.parametrize("target", ["f746-sd", "u585-octal", "nrf52840-nor"])
def test_budgets_hold(target: str, objective: Objective) -> None:
    """Plans keep to budgets of all figures, whatever is minimised, and are no worse than what set them."""
    free = cp_sat(autoencoder(target), BUDGET)
    assert free.plan is not None
    figures = free.plan.figures
    limits = Limits(int(figures.latency_ns * 1.02), int(figures.energy_nj * 1.02))
    problem = autoencoder(
        target, objective=objective, limits=limits, write_budget_bytes=figures.bytes_written
    )
    result = cp_sat(problem, BUDGET, known=[free.plan])
    assert result.plan is not None
    assert excesses(problem, result.plan.figures) == ()
    assert result.bound <= (result.objective or 0)


def test_flash_for_weights_only_is_never_written() -> None:
    """Where NOR takes no activations the plan of least wear writes nothing; with too little SRAM it says how much."""
    result = cp_sat(autoencoder("nrf52840-nor", objective=Objective.WEAR), BUDGET)
    assert result.plan is not None
    assert (result.objective, result.bound, result.status) == (0, 0, Status.OPTIMAL)
    assert result.plan.figures.lifetime_years is None
    less = replace(autoencoder("nrf52840-nor", objective=Objective.WEAR), sram_bytes=1600)
    little = cp_sat(less, Budget(20.0, 1, 1))
    assert little.plan is None
    assert "the least SRAM known to work is" in little.reason
