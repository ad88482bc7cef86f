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
    together = beside_ns(plan)
    beside = f" Both units compute at once for {together / 1e6:,.2f} ms." if together else ""
    count, held = sum(tiling.npu for tiling in tilings), held_bytes(network, tilings)
    sentence = f"NPU '{target.npu.name}' computes {count} of {len(tilings)} operators"
    if not count:
        return (f"{sentence}.",)
    if target.npu.weight_mem_bytes is None:
        return (
            f"{sentence} and reads their {held / 1024:,.1f} KiB of weights from flash meanwhile.{beside}",
        )
    room, loading = target.npu.weight_mem_bytes / 1024, read_ns(target, target.weights, held) / 1e6
    lie = f"their {held / 1024:,.1f} KiB of weights lie in its memory of {room:,.1f} KiB"
    return (f"{sentence}; {lie}, loaded once at start-up in at least {loading:,.2f} ms.{beside}",)


def beside_ns(plan: Plan) -> int:
    """For how long the CPU and the NPU work at once: each of them does one thing after the other."""
    spans: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for task, start in zip(plan.graph.tasks, plan.schedule.start_ns, strict=True):
        if task.occupies_unit:
            spans[task.occupies_cpu].append((start, start + task.duration_ns))
    return sum(
        max(0, min(end, other_end) - max(start, other))
        for start, end in spans[False]
        for other, other_end in spans[True]
    )
