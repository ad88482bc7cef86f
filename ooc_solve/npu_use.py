"""What a plan leaves to an NPU, in words."""

from __future__ import annotations

from ooc_solve.models.cost import read_ns
from ooc_solve.models.npu import held_bytes
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Plan


def sentences(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """How many operators run on the NPU, and how their weights get there; nothing without an NPU."""
    target, tilings = problem.target, plan.selection.tilings
    if target.npu is None:
        return ()
    network = ordered(problem, plan.selection.order).network
    count, held = sum(tiling.npu for tiling in tilings), held_bytes(network, tilings)
    sentence = f"NPU '{target.npu.name}' computes {count} of {len(tilings)} operators"
    if not count:
        return (f"{sentence}.",)
    if target.npu.weight_mem_bytes is None:
        return (f"{sentence} and reads their {held / 1024:,.1f} KiB of weights from flash meanwhile.",)
    room, loading = target.npu.weight_mem_bytes / 1024, read_ns(target, target.weights, held) / 1e6
    lie = f"their {held / 1024:,.1f} KiB of weights lie in its memory of {room:,.1f} KiB"
    return (f"{sentence}; {lie}, loaded once at start-up in at least {loading:,.2f} ms.",)
