"""The plan of one frame, repeated, is a plan for a run of several."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import pytest

from ooc_solve.models.frames import in_flight, of_frame
from ooc_solve.models.operator_order import in_order, ordered
from ooc_solve.models.patches import fused_tilings
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Network, Plan, Selection, Tiling
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.plans import settled
from ooc_solve.solver.repetition import repeated, repeated_plan
from ooc_solve.solver.ruled_plans import HEURISTICS
from ooc_solve.solver.search import evaluate
from ooc_solve.solver.validate import validate


@pytest.mark.parametrize("frames", [2, 3])
def test_every_frame_is_tiled_as_one(
    tiny_problem: Problem,
    tiny_selection: Selection,
    planned: Callable[[Problem, Selection, bool], Plan],
    frames: int,
) -> None:
    """The repeated plan is right, has the tiles of each frame, and loads what is shared once."""
    plan = planned(tiny_problem, tiny_selection, True)
    run = replace(tiny_problem, network=in_flight(tiny_problem.network, frames))
    found = repeated_plan(run, tiny_problem, plan, time.monotonic() + 1)
    assert found is not None
    run = ordered(run, found.selection.order)
    assert validate(run, found) == ()
    tiling_of = dict(zip([op.output for op in run.network.ops], found.selection.tilings, strict=True))
    for name, tiling in zip(["conv", "depthwise", "point"], tiny_selection.tilings, strict=False):
        assert all(tiling_of[of_frame(name, k)] == tiling for k in range(frames))
    assert tiling_of[f"dense_0to{frames - 1}"].rows == frames
    alone = plan.figures.bytes_read
    assert found.figures.bytes_read < frames * alone
    assert found.figures.latency_ns < frames * plan.figures.latency_ns


def whole(network: Network) -> Selection:
    """Whole tensors, all of them kept."""
    t = network.tensors
    tilings = tuple(
        Tiling(t[op.output].height, t[op.output].width, t[op.output].channels, t[op.inputs[0]].channels)
        for op in network.ops
    )
    return Selection(tilings, frozenset(t), network.order)


def test_another_order_is_repeated_too() -> None:
    """Frames run their operators in the order of the plan of one, and the plan for the run is right."""
    listed = zoo_network("resnet8")
    order = [0, 1, 2, 3, 6, 4, 5, *range(7, len(listed.ops))]
    assert listed.ops[6].inputs == listed.ops[4].inputs, "the two branches of a block begin alike"
    single = Problem(in_order(listed, order), load_target("f746-sd"), 320 * 1024, IoPlace.STORAGE)
    run = replace(single, network=in_flight(single.network, 2))
    selection = repeated(run.network, single.network, whole(single.network))
    assert selection is not None
    names = [op.name for op in ordered(run, selection.order).network.ops]
    assert names[:7] == [of_frame(listed.ops[k].name, 0) for k in order[:7]]
    candidate = evaluate(ordered(run, selection.order), selection)
    assert candidate is not None
    assert validate(ordered(run, selection.order), settled(run, candidate, "test")) == ()


def test_a_stage_that_is_half_shared_is_not_repeated() -> None:
    """A pool of each frame that is fused with a layer for all frames has no counterpart."""
    network = zoo_network("ds_cnn")
    run, selection = in_flight(network, 2), whole(network)
    assert repeated(run, network, selection) is not None
    fused = fused_tilings(network, range(9, 11), 1, 1, False, True)
    assert fused is not None
    halves = replace(
        selection,
        tilings=(*selection.tilings[:9], *fused, selection.tilings[11]),
        kept=selection.kept - {network.ops[9].output},
    )
    assert repeated(run, network, halves) is None


def test_nothing_is_repeated_where_it_does_not_fit() -> None:
    """With inputs and outputs of all frames in SRAM a run needs more of it than one frame."""
    network = zoo_network("resnet8")
    target = load_target("f746-sd")
    single = Problem(network, target, 20 * 1024, IoPlace.SRAM)
    plan = HEURISTICS["demand-layering"](single, Budget()).plan
    assert plan is not None
    run = replace(single, network=in_flight(network, 8))
    assert repeated_plan(run, single, plan, time.monotonic()) is None


def test_budgets_hold_for_repeated_plans(
    tiny_problem: Problem,
    tiny_selection: Selection,
    planned: Callable[[Problem, Selection, bool], Plan],
) -> None:
    """A plan for the run that writes more than it may is not given."""
    plan = planned(tiny_problem, tiny_selection, True)
    run = replace(tiny_problem, network=in_flight(tiny_problem.network, 2))
    found = repeated_plan(run, tiny_problem, plan, time.monotonic())
    assert found is not None
    least = replace(run, write_budget_bytes=found.figures.bytes_written)
    assert repeated_plan(least, tiny_problem, plan, time.monotonic()) is not None
    less = replace(run, write_budget_bytes=found.figures.bytes_written - 1)
    assert repeated_plan(less, tiny_problem, plan, time.monotonic()) is None
