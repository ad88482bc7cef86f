"""Plans within write budgets that are there soon, and budgets that are soon known to be too small."""

from __future__ import annotations

from dataclasses import replace

import pytest

from ooc_solve.models.limits import Limits
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Objective, Status
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.allowance import complaints
from ooc_solve.solver.deadline import within as within_time
from ooc_solve.solver.descent import Descent, Rung
from ooc_solve.solver.floor import least_value
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.ladder import at_size, blocks, nearby
from ooc_solve.solver.plans import checked, settled
from ooc_solve.solver.quick_plan import can_keep_to_writes, quick_plan, thrifty_plan
from ooc_solve.solver.search import _step_by_step, drafted
from ooc_solve.solver.selection import Aim, SelectionModel
from ooc_solve.solver.solve import cp_sat
from ooc_solve.solver.space_bounds import least_written

FREE = Problem(zoo_network("resnet8"), load_target("f746-sd"), 12 << 10, IoPlace.STORAGE)


def within(written: int) -> Problem:
    """The network with a write budget."""
    return replace(FREE, write_budget_bytes=written)


def least() -> int:
    """Fewest bytes that any selection writes."""
    found = least_written(replace(FREE, objective=Objective.WEAR), 10.0)
    assert found is not None
    return found


@pytest.mark.parametrize("plan", [quick_plan, thrifty_plan])
def test_a_plan_within_the_budget_that_passes_the_validator(plan) -> None:  # type: ignore[no-untyped-def]
    """Whatever the selection model chose, tiles have addresses and the bytes written are within the budget."""
    here = within(2 * least())
    found = plan(here)
    assert found is not None
    made = settled(here, found, "quick")
    checked(here, made)
    assert not complaints(here, made)
    assert made.figures.bytes_written <= 2 * least()


def test_the_thrifty_plan_writes_less_than_the_fast_one() -> None:
    """It is near the fewest bytes that its share of the arena allows, the other one as fast as can be."""
    fast, thrifty = quick_plan(within(1 << 20)), thrifty_plan(within(1 << 20))
    assert fast is not None
    assert thrifty is not None
    written, makespan = 3, 1  # of the score
    assert thrifty.score[written] < fast.score[written]
    assert fast.score[makespan] < thrifty.score[makespan]


def test_budgets_that_no_selection_keeps_to() -> None:
    """One byte below the fewest that are written is too little; without a budget nothing is."""
    sizes = nearby(FREE)
    assert any(can_keep_to_writes(at_size(within(least()), size)) for size in sizes)
    assert not any(can_keep_to_writes(at_size(within(least() - 1), size)) for size in sizes)
    assert can_keep_to_writes(FREE)


def test_more_sram_never_writes_more() -> None:
    """At a coarse rung fewer ways to fuse are offered than a few bytes below, where less is written."""
    below = replace(FREE, sram_bytes=FREE.sram_bytes - 8, objective=Objective.WEAR)
    less, more = (cp_sat(here, Budget(6.0, 1, 1)) for here in (below, at_size(below, FREE.sram_bytes)))
    assert less.objective is not None
    assert more.objective is not None
    assert least() <= more.objective <= less.objective


def test_a_budget_that_is_too_small_is_said_to_be_so() -> None:
    """The sentence names the least that is known to work and what none is below, as proven."""
    result = cp_sat(within(least() - 1), Budget(8.0, 1, 1))
    assert result.status is Status.INFEASIBLE
    assert result.plan is None
    assert f"the write budget of {least() - 1:,} bytes fails by" in result.reason
    assert f"none needs less than {least():,} bytes" in result.reason


def test_the_bound_of_a_lower_block_is_none_for_the_sram_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the options for all SRAM write too much, what is said of a rung below is not taken for a bound."""
    monkeypatch.setattr(Rung, "bound", 1 << 40)
    here = within(least())
    top, lower, *_ = nearby(here)
    assert not can_keep_to_writes(at_size(here, top))
    assert can_keep_to_writes(at_size(here, lower))
    descent = Descent(here, Budget(4.0, 1, 1), None, 0.0, to_prove=False)
    with within_time(4.0):
        for block in blocks(here)[:2]:
            descent._block(block)
    assert [offered.sram_bytes for offered in descent.offered] == [lower]
    assert descent.bound == least_value(space_of(at_size(here, lower)))


def test_other_budgets_are_kept_as_well() -> None:
    """Where the latency is limited, too, a quick plan keeps to that or there is none."""
    fast = quick_plan(within(1 << 20))
    assert fast is not None
    for share in (0.5, 1.0, 2.0):
        most_ns = int(share * fast.score[1])
        here = replace(within(1 << 20), limits=Limits(latency_ns=most_ns))
        found = quick_plan(here)
        assert found is None or found.score[1] <= most_ns


def test_what_fetches_nothing_early_is_a_schedule() -> None:
    """The last resort of a selection: addresses where nothing is fetched early, and times for them."""
    here = within(1 << 20)
    selection = SelectionModel(space_of(here), int(0.9 * here.arena_bytes), firm=True).solve(
        Aim.LAYER_OVERLAP, Budget(5.0, 1, 1)
    )
    assert selection.selection is not None
    draft = drafted(here, selection.selection)
    assert draft is not None
    (schedule,) = _step_by_step(here, draft.graph)
    ends = (at + buffer.size_bytes for at, buffer in zip(schedule.address, draft.graph.buffers, strict=True))
    assert max(ends) <= here.arena_bytes
    assert len(schedule.start_ns) == len(draft.graph.tasks)


def test_one_model_for_two_aims() -> None:
    """A second aim begins with what the first found, and is as good as alone."""
    space = space_of(within(1 << 20))
    both = SelectionModel(space)
    both.solve(Aim.WRITES, Budget(10.0, 1, 1))
    second = both.solve(Aim.SERIAL, Budget(10.0, 1, 1))
    alone = SelectionModel(space).solve(Aim.SERIAL, Budget(10.0, 1, 1))
    assert second.status is alone.status is Status.OPTIMAL
    assert second.value == alone.value


def test_selections_of_few_tasks_and_few_writes() -> None:
    """What is asked of a model beside its rules holds for what it finds."""
    model = SelectionModel(space_of(FREE))
    many = model.solve(Aim.WRITES, Budget(10.0, 1, 1))
    model.few_tasks(many.tasks - 1)
    fewer = model.solve(Aim.WRITES, Budget(10.0, 1, 1))
    assert fewer.tasks < many.tasks
    assert fewer.value >= many.value
    model.few_writes(many.value)
    assert model.solve(Aim.SERIAL, Budget(10.0, 1, 1)).status is (
        Status.INFEASIBLE if fewer.value > many.value else Status.OPTIMAL
    )


def test_least_wear_starts_from_a_plan_that_writes_little() -> None:
    """The first plan known writes less than those of the rules, and what is found no more than that."""
    wear = replace(FREE, objective=Objective.WEAR)
    first = thrifty_plan(wear)
    assert first is not None
    result = cp_sat(wear, Budget(6.0, 1, 1))
    assert result.objective is not None
    assert least() <= result.bound <= result.objective <= first.score[3]
