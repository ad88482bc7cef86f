"""The ring in which the scratch region takes turns, as reports have it: places, notes, and what they bring."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ooc_solve.models.cost import write_ns
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Plan, RegionName
from ooc_solve.models.wear import wear_block_bytes
from ooc_solve.solver.figures import figures_of, hottest_programs, programs_of, ring_of


def ring_facts(problem: Problem, plan: Plan) -> dict[str, Any] | None:
    """The ring for the JSON report; None if nothing takes turns. ``note_ns`` comes before a run, not in its latency."""
    ring = ring_of(problem, plan.graph)
    if ring is None:
        return None
    return {
        "ring_bytes": problem.scratch_ring_bytes,
        "places": ring.places,
        "place_bytes": ring.step_bytes,
        "note_bytes": ring.note_bytes,
        "note_ns": write_ns(problem.target, problem.activation_store, ring.note_bytes),
        "lifetime_years_without": _years_without(problem, plan),
        "output_wears_most": _output_wears_most(problem, plan),
    }


def _output_wears_most(problem: Problem, plan: Plan) -> bool:
    """Whether the hottest block is one of the output, which stays where it is."""
    block = wear_block_bytes(problem.activation_store.storage)
    if block is None:
        return False
    programs = programs_of(plan.graph, block)
    output = max((n for (region, _), n in programs.items() if region is RegionName.OUTPUT), default=0)
    return output == hottest_programs(problem, plan.graph)


def _years_without(problem: Problem, plan: Plan) -> float | None:
    without = replace(problem, scratch_ring_bytes=None)
    return figures_of(without, plan.graph, plan.schedule).lifetime_years
