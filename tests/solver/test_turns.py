"""Turns in a ring: what a plan costs then, what lifetimes they allow, and rings that do not suit a plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest

from ooc_solve.models.levelling import Ring
from ooc_solve.models.limits import Limits
from ooc_solve.models.plan_json import dump_plan, parse_plan
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.target import load_storage, load_target
from ooc_solve.models.vocabulary import (
    Budget,
    Endurance,
    Erase,
    InputError,
    Objective,
    Plan,
    RegionName,
    Result,
    Selection,
    Status,
    TaskKind,
)
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.allowance import complaints, within_writes
from ooc_solve.solver.audit import audited_energy_nj, audited_lifetime_years, audited_programs
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.figures import (
    figures_of,
    hottest_programs,
    note_bytes,
    programs_of,
    ring_of,
    scratch_bytes,
    written_bytes,
)
from ooc_solve.solver.selection import Aim, SelectionModel, build_space
from ooc_solve.solver.shortfall import why_infeasible
from ooc_solve.solver.solve import SCHEDULERS, cp_sat
from ooc_solve.solver.turns import greatest_ring_bytes, misfit
from ooc_solve.solver.validate import Rule, validate

Planned = Callable[[Problem, Selection, bool], Plan]
BLOCK = 256


@pytest.fixture(scope="module")
def flash(tiny_problem: Problem) -> Problem:
    """The small problem with everything in bare flash of small erase blocks."""
    erase, endurance = Erase(True, BLOCK, 1_000, 2_000), Endurance(10_000, "block", 1.0)
    part = replace(tiny_problem.target.weights.storage, kind="nor", erase=erase, endurance=endurance)
    store = replace(tiny_problem.target.weights, storage=part)
    return replace(tiny_problem, target=replace(tiny_problem.target, weights=store, activations=store))


def with_ring(problem: Problem, places: int, step: int) -> Problem:
    """The problem with a ring of so many places."""
    return replace(problem, scratch_ring_bytes=places * step)


def promised(problem: Problem, plan: Plan) -> Plan:
    """The plan with its figures."""
    return replace(plan, figures=figures_of(problem, plan.graph, plan.schedule))


@pytest.mark.parametrize("places", [1, 2, 7])
def test_a_ring_shares_the_programs_of_the_region(
    flash: Problem, tiny_selection: Selection, planned: Planned, places: int
) -> None:
    """Blocks of the region and of the note have their share of the runs, those of the output all; so do years."""
    size = scratch_bytes(planned(flash, tiny_selection, False).graph)
    ring = Ring.of(1 << 20, size, 32, BLOCK)
    problem = with_ring(flash, places, ring.step_bytes)
    plan = promised(problem, planned(problem, tiny_selection, False))
    assert ring_of(problem, plan.graph) == Ring(ring.step_bytes, places, size, 32)
    counts = programs_of(plan.graph, BLOCK)
    counts[RegionName.SCRATCH, size // BLOCK] += 1
    shares = [Fraction(n, places if region is RegionName.SCRATCH else 1) for (region, _), n in counts.items()]
    assert hottest_programs(problem, plan.graph) == max(shares)
    assert audited_programs(problem, plan) == max(shares)
    years = plan.figures.lifetime_years
    assert years == pytest.approx(10_000 / float(max(shares)) / 1000 / 365.25)
    assert validate(problem, plan) == ()


def test_notes_are_written_and_take_energy(
    flash: Problem, tiny_selection: Selection, planned: Planned
) -> None:
    """A run with a ring writes a granule more, and takes the energy of that request; without a region neither."""
    problem = with_ring(flash, 2, 8192)
    before, after = (promised(p, planned(p, tiny_selection, False)) for p in (flash, problem))
    assert note_bytes(problem, after.graph) == 32
    assert after.figures.bytes_written == before.figures.bytes_written + 32
    part = flash.activation_store.storage
    added = 32 * part.write_nj_per_byte + part.write_nj_per_request + BLOCK * part.erase_nj_per_byte
    assert after.figures.energy_nj == pytest.approx(before.figures.energy_nj + added, abs=1)
    assert after.figures.energy_nj == audited_energy_nj(problem, after)
    assert after.figures.latency_ns == before.figures.latency_ns
    kept = tuple(r for r in after.graph.regions if r.name is not RegionName.SCRATCH)
    assert note_bytes(problem, replace(after.graph, regions=kept)) == 0


def test_parts_that_level_wear_count_the_notes(
    tiny_problem: Problem, tiny_selection: Selection, planned: Planned
) -> None:
    """On a card a ring only adds bytes: the card lives a little shorter."""
    problem = with_ring(tiny_problem, 4, 8192)
    before, after = (promised(p, planned(p, tiny_selection, False)) for p in (tiny_problem, problem))
    assert before.figures.lifetime_years is not None
    ratio = before.figures.bytes_written / after.figures.bytes_written
    assert after.figures.lifetime_years == pytest.approx(before.figures.lifetime_years * ratio)
    assert after.figures.lifetime_years == audited_lifetime_years(problem, after)


def test_write_budgets_count_the_notes(flash: Problem, tiny_selection: Selection, planned: Planned) -> None:
    """A budget of the tasks' bytes alone is exceeded by the note."""
    problem = with_ring(flash, 2, 8192)
    plan = promised(problem, planned(problem, tiny_selection, False))
    written = written_bytes(problem, plan.graph)
    exact, short = (replace(problem, write_budget_bytes=size) for size in (written, written - 1))
    assert within_writes(exact, plan.graph)
    assert not within_writes(short, plan.graph)
    assert validate(exact, plan) == ()
    assert [violation.rule for violation in validate(short, plan)] == [Rule.WRITE_BUDGET]


def test_validator_finds_rings_that_are_too_small_or_too_large(
    flash: Problem, tiny_selection: Selection, planned: Planned
) -> None:
    """A ring without room for one place, and one beyond the part, break the rule of the storage."""
    size = scratch_bytes(planned(flash, tiny_selection, False).graph)
    step = Ring.of(1 << 20, size, 32, BLOCK).step_bytes
    small = with_ring(flash, 1, step - BLOCK)
    plan = promised(small, planned(small, tiny_selection, False))
    assert [violation.rule for violation in validate(small, plan)] == [Rule.STORAGE]
    words = misfit(small, plan.graph)
    assert words is not None
    assert f"the least ring known to work is {step} bytes" in words
    assert complaints(small, plan) == (words,)
    capacity = flash.activation_store.storage.capacity_bytes
    large = replace(flash, scratch_ring_bytes=capacity)
    plan = promised(large, planned(large, tiny_selection, False))
    assert [violation.rule for violation in validate(large, plan)] == [Rule.STORAGE]
    greatest = greatest_ring_bytes(large, plan.graph)
    assert f"the greatest that does is {greatest} bytes" in (misfit(large, plan.graph) or "")
    right = replace(flash, scratch_ring_bytes=greatest)
    plan = promised(right, planned(right, tiny_selection, False))
    assert misfit(right, plan.graph) is None
    assert validate(right, plan) == ()


def test_a_figure_without_the_note_is_refused(
    flash: Problem, tiny_selection: Selection, planned: Planned
) -> None:
    """A plan that promises the bytes of its tasks alone, or the lifetime without a ring, promises wrongly."""
    problem = with_ring(flash, 3, 8192)
    plan = promised(problem, planned(problem, tiny_selection, False))
    for figures in (
        replace(plan.figures, bytes_written=plan.figures.bytes_written - 32),
        replace(plan.figures, lifetime_years=promised(flash, plan).figures.lifetime_years),
    ):
        assert {v.rule for v in validate(problem, replace(plan, figures=figures))} == {Rule.FIGURES}


def test_sealed_records_leave_room_for_their_journal(tiny_selection: Selection, planned: Planned) -> None:
    """The greatest ring beside sealed records is smaller by the two slots of the journal."""
    found = []
    for cipher in ("none", "aes-128-gcm"):
        target = encrypted(load_target("f746-sd"), cipher)
        problem = Problem(
            zoo_network("ds_cnn"), target, 16 << 10, IoPlace.STORAGE, scratch_ring_bytes=1 << 20
        )
        plan = SCHEDULERS["serial"](problem, Budget(5.0, 1, 1)).plan
        assert plan is not None
        others = sum(r.size_bytes for r in plan.graph.regions if r.name is not RegionName.SCRATCH)
        found.append(greatest_ring_bytes(problem, plan.graph) + others)
    assert found[0] - found[1] == 2 * 512


def test_plans_belong_to_their_ring(flash: Problem, tiny_selection: Selection, planned: Planned) -> None:
    """A plan file made with one ring is not taken with another, or without."""
    problem = with_ring(flash, 2, 8192)
    plan = promised(problem, planned(problem, tiny_selection, False))
    text = dump_plan(problem, plan)
    assert parse_plan(problem, text, "plan.json") == plan
    for other in (flash, with_ring(flash, 3, 8192)):
        with pytest.raises(InputError, match="problem_hash differs"):
            parse_plan(other, text, "plan.json")


# --------------------------------------------------------------------------- search


def test_the_reason_is_the_ring(flash: Problem, tiny_selection: Selection, planned: Planned) -> None:
    """A ring too small is told with the least that works, one too small for a lifetime with the years it gives."""
    plan = promised(flash, planned(flash, tiny_selection, False))
    step = Ring.of(1 << 20, scratch_bytes(plan.graph), 32, BLOCK).step_bytes

    def search(here: Problem, budget: Budget) -> Result:
        assert (here.scratch_ring_bytes, here.limits.lifetime_years) == (None, None)
        return Result("", Status.FEASIBLE, plan, 1, 1, 0.0)

    ringed = replace(with_ring(flash, 2, step), limits=Limits(lifetime_years=20.0))
    words = why_infeasible(ringed, search, Budget(1.0, 1, 1))
    assert words.startswith("the lifetime of 20 years at 1000 inferences a day fails")
    years = figures_of(ringed, plan.graph, plan.schedule).lifetime_years
    assert f"lives {years:.3g} years in this ring" in words
    words = why_infeasible(with_ring(flash, 1, step - BLOCK), search, Budget(1.0, 1, 1))
    assert f"the least ring known to work is {step} bytes" in words


def test_no_byte_of_the_region_is_written_twice(flash: Problem) -> None:
    """What options say is spilled is never more than the region that it lies in, on which the model's rule rests."""
    space = build_space(flash)
    found = 0
    for options in product(*(stage[:: max(1, len(stage) // 4)] for stage in space.options)):
        tilings = tuple(tiling for option in options for tiling in option.tilings)
        if len(tilings) != len(flash.network.ops):
            continue
        kept = frozenset(op.output for op, o in zip(flash.network.ops, options, strict=True) if o.output == 0)
        try:
            graph = expand(flash, Selection(tilings, kept))
        except (SelectionError, ValueError, KeyError):
            continue
        stores = [
            t.transfer.size_bytes
            for t in graph.tasks
            if t.kind is TaskKind.STORE and t.transfer and t.transfer.region is RegionName.SCRATCH
        ]
        assert sum(stores) <= scratch_bytes(graph)
        found += bool(stores)
        if found > 60:
            break
    assert found > 10


def test_selections_keep_to_the_ring(flash: Problem) -> None:
    """With ever smaller rings the model spills ever less; where it finds nothing, no aim without a ring fits either."""
    free = [SelectionModel(build_space(flash)).solve(aim, Budget(5.0, 1, 1)).selection for aim in Aim]
    sizes = [scratch_bytes(expand(flash, selection)) for selection in free if selection is not None]
    for ring in (8192, 4096, 2048, 1024, 512, 256):
        problem = replace(flash, scratch_ring_bytes=ring)
        most = problem.most_scratch_bytes
        assert most is not None
        found = SelectionModel(build_space(problem)).solve(Aim.SERIAL, Budget(5.0, 1, 1))
        if found.status is Status.INFEASIBLE:
            assert min(sizes) > most
        elif found.selection is not None:
            stored = written_bytes(flash, expand(problem, found.selection))
            assert problem.most_stored_bytes is None or stored <= problem.most_stored_bytes


@pytest.mark.parametrize(
    "objective",
    [
        Objective.LATENCY,
        *(pytest.param(o, marks=pytest.mark.slow) for o in (Objective.ENERGY, Objective.WEAR)),
    ],
)
def test_a_ring_makes_a_lifetime_possible(objective: Objective) -> None:
    """Bare flash that is to live a year cannot be written in one place; in a ring it can, and no bound is exceeded."""
    target = load_target("f746-sd")
    store = replace(target.weights, storage=load_storage("w25q128jv"))
    target = replace(target, weights=store, activations=store)
    problem = Problem(
        *(zoo_network("ds_cnn"), target, 13 << 10, IoPlace.SRAM, objective),
        limits=Limits(lifetime_years=0.5), inferences_per_day=1000.0,
    )  # fmt: skip
    plain = replace(problem, limits=Limits())
    spilled = SCHEDULERS["serial"](plain, Budget(5.0, 1, 1))
    assert spilled.plan is not None
    assert spilled.plan.figures.lifetime_years is not None
    assert spilled.plan.figures.lifetime_years < 0.5
    ringed = replace(problem, scratch_ring_bytes=8 << 20)
    found = cp_sat(ringed, Budget(8.0, 1, 1))
    assert found.plan is not None, found.reason
    assert validate(ringed, found.plan) == ()
    years = found.plan.figures.lifetime_years
    assert years is None or years >= 0.5
    assert found.objective is not None
    assert found.bound <= found.objective
