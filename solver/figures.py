"""What a schedule costs, counted from its tasks by the model of the target."""

from __future__ import annotations

from ooc_solve.models.cost import energy_nj, lifetime_years
from ooc_solve.models.footprint import count_table_bytes
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Figures, RegionName, Schedule, TaskGraph, TaskKind

INFERENCES_PER_DAY = 1000
"""Rate at which lifetimes are stated unless another is asked for."""


def figures_of(
    problem: Problem, graph: TaskGraph, schedule: Schedule, inferences_per_day: float = INFERENCES_PER_DAY
) -> Figures:
    """Count everything a schedule costs.

    ``sram_peak_bytes`` is the highest end of a buffer in the arena plus the reserve of the
    runtime. ``compute_ns`` and ``io_ns`` are sums of durations, whether or not they overlap.

    Raises
    ------
    ValueError
        If the schedule or the graph cannot be costed, e.g. kernels that take longer than the makespan.
    """
    makespan, compute = _makespan_ns(graph, schedule), _busy_ns(graph, TaskKind.COMPUTE)
    traffic = traffic_bytes(problem, graph)
    return Figures(
        latency_ns=makespan,
        energy_nj=energy_nj(problem.target, compute, makespan, traffic),
        bytes_read=sum(read for read, _ in traffic),
        bytes_written=sum(written for _, written in traffic),
        sram_peak_bytes=_arena_peak_bytes(graph, schedule) + problem.reserved_bytes,
        table_bytes=count_table_bytes(problem, graph),
        compute_ns=compute,
        io_ns=_busy_ns(graph, TaskKind.LOAD, TaskKind.STORE),
        lifetime_years=_lifetime_years(problem, graph, traffic, inferences_per_day),
    )


def traffic_bytes(problem: Problem, graph: TaskGraph) -> tuple[tuple[int, int], ...]:
    """Bytes read from and written to each of ``target.stores``."""
    moved = [[0, 0] for _ in problem.target.stores]
    for task in graph.tasks:
        if task.transfer is not None:
            store = problem.store_index(task.transfer.region)
            moved[store][task.kind is TaskKind.STORE] += task.transfer.size_bytes
    return tuple((read, written) for read, written in moved)


def _makespan_ns(graph: TaskGraph, schedule: Schedule) -> int:
    ends = zip(graph.tasks, schedule.start_ns, strict=True)
    return max((start + task.duration_ns for task, start in ends), default=0)


def _busy_ns(graph: TaskGraph, *kinds: TaskKind) -> int:
    return sum(task.duration_ns for task in graph.tasks if task.kind in kinds)


def _arena_peak_bytes(graph: TaskGraph, schedule: Schedule) -> int:
    placed = zip(graph.buffers, schedule.address, strict=True)
    return max((address + buffer.size_bytes for buffer, address in placed), default=0)


def _lifetime_years(
    problem: Problem, graph: TaskGraph, traffic: tuple[tuple[int, int], ...], inferences_per_day: float
) -> float | None:
    """Years until the activation store wears out; what is rewritten are the scratch and output regions."""
    written = traffic[problem.store_index(RegionName.SCRATCH)][1]
    rewritten = (RegionName.SCRATCH, RegionName.OUTPUT)
    region_bytes = sum(region.size_bytes for region in graph.regions if region.name in rewritten)
    return lifetime_years(problem.activation_store, written, inferences_per_day, region_bytes)
