"""What a plan leaves to an NPU: in words, and what its own memory holds when."""

from __future__ import annotations

from dataclasses import dataclass

from ooc_solve.models.cost import read_ns
from ooc_solve.models.npu import held_bytes
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Plan, TaskKind
from ooc_solve.timeline import lives_ns, span_of


@dataclass(frozen=True, slots=True)
class Held:
    """Weights in an NPU's own memory: bytes ``[first_byte, end_byte)`` from the start of their load to their last use.

    ``loaded_ns`` is when they have been loaded, None for resident ones, which are there from start-up on.
    """

    layer: str
    first_byte: int
    end_byte: int
    from_ns: int
    loaded_ns: int | None
    to_ns: int

    @property
    def size_bytes(self) -> int:
        """How many bytes."""
        return self.end_byte - self.first_byte


def holdings(problem: Problem, plan: Plan) -> tuple[Held, ...]:
    """What the NPU's own memory holds and when, resident weights first, then what is loaded in order of time."""
    npu = problem.target.npu
    if npu is None or npu.weight_mem_bytes is None:
        return ()
    network, low, found = ordered(problem, plan.selection.order).network, 0, list[Held]()
    for op, tiling in zip(network.ops, plan.selection.tilings, strict=True):
        if tiling.npu and not tiling.npu_loads and op.weight_bytes:
            end = low + op.weight_bytes
            found.append(Held(op.name, low, end, 0, None, plan.figures.latency_ns))
            low = end
    ends = {
        task.writes[0].buffer: span_of(plan, task)[1]
        for task in plan.graph.tasks
        if task.kind is TaskKind.LOAD
    }
    loaded = [
        Held(network.ops[buffer.stage].name, *buffer.held, since, ends[buffer.index], until)
        for buffer, (since, until) in zip(plan.graph.buffers, lives_ns(plan), strict=True)
        if buffer.held is not None
    ]
    return (*found, *sorted(loaded, key=lambda held: held.from_ns))


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
    loads = [one for one in holdings(problem, plan) if one.loaded_ns is not None]
    whose = (
        f"the {held / 1024:,.1f} KiB of weights of {count - len({one.layer for one in loads})} of them"
        if loads
        else f"their {held / 1024:,.1f} KiB of weights"
    )
    lie = (
        f"{whose} lie in its memory of {room:,.1f} KiB, loaded once at start-up in at least {loading:,.2f} ms"
    )
    return (f"{sentence}; {lie}.{_loaded(loads)}{beside}",)


def _loaded(loads: list[Held]) -> str:
    """What is loaded within each inference."""
    if not loads:
        return ""
    size, layers = sum(one.size_bytes for one in loads) / 1024, len({one.layer for one in loads})
    return (
        f" Within each inference {size:,.1f} KiB of {layers} operators are loaded there, in {len(loads)} pieces, where "
        "weights before them are of no more use."
    )


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
