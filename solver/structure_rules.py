"""Whether a plan is well formed: every number that points at something points at something, and sizes are sizes."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Buffer, Footprint, Plan, RegionName, Task, TaskKind, Transfer
from ooc_solve.solver.violations import Rule, Violation, geometry_of, task_name


def structure(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """Every number that points at something points at something, and sizes are sizes."""
    for message in _broken_selection(problem, plan):
        yield Violation(Rule.STRUCTURE, message)
    for message in _broken_memories(problem, plan):
        yield Violation(Rule.STRUCTURE, message)
    if len(plan.selection.tilings) != len(problem.network.ops):
        return
    regions = {region.name for region in plan.graph.regions}
    tiles = [prod(geometry.grid) for geometry in geometry_of(problem, plan)]
    for position, task in enumerate(plan.graph.tasks):
        if task.index != position:
            yield Violation(Rule.STRUCTURE, f"task {position} must carry its position (got {task.index})")
            continue
        for fault in _broken_task(plan, task, regions, tiles):
            yield Violation(Rule.STRUCTURE, f"{task_name(task)}: {fault}", (position,))


def _broken_selection(problem: Problem, plan: Plan) -> Iterator[str]:
    ops, tilings, kept = problem.network.ops, plan.selection.tilings, plan.selection.kept
    if len(tilings) != len(ops):
        yield f"every operator needs a tiling (got {len(tilings)} for {len(ops)})"
    for name in sorted(kept - problem.network.tensors.keys()):
        yield f"kept tensor '{name}' is not one of the network's"


def _broken_memories(problem: Problem, plan: Plan) -> Iterator[str]:
    graph, schedule = plan.graph, plan.schedule
    if len(schedule.start_ns) != len(graph.tasks):
        yield f"every task needs a start (got {len(schedule.start_ns)} for {len(graph.tasks)})"
    if min(schedule.start_ns, default=0) < 0:
        yield f"no task may start before 0 ns (got {min(schedule.start_ns)})"
    if len(schedule.address) != len(graph.buffers):
        yield f"every buffer needs an address (got {len(schedule.address)} for {len(graph.buffers)})"
    if min(schedule.address, default=0) < 0:
        yield f"no buffer may lie below address 0 (got {min(schedule.address)})"
    if len(set(graph.resources)) != len(graph.resources):
        yield f"resources must have distinct names (got {', '.join(graph.resources)})"
    for position, buffer in enumerate(graph.buffers):
        if buffer.index != position or (buffer.size_bytes < 1) != (buffer.held is not None):
            yield f"buffer {position} must carry its position and a size (got {buffer.index}, {buffer.size_bytes})"
        if buffer.held is not None and not 0 <= buffer.held[0] < buffer.held[1]:
            yield f"buffer {position} must have bytes in the NPU's own memory (got {buffer.held})"
    if sorted(r.name.value for r in graph.regions) != sorted(name.value for name in problem.regions):
        yield "every region must be there exactly once"
    for region in graph.regions:
        if region.size_bytes < 0 or region.store not in range(len(problem.target.stores)):
            yield f"region '{region.name.value}' must have a size and lie on a store of the target"


def _broken_task(plan: Plan, task: Task, regions: set[RegionName], tiles: list[int]) -> Iterator[str]:
    if task.duration_ns < 0:
        yield f"must not take negative time (got {task.duration_ns} ns)"
    if any(other not in range(len(plan.graph.tasks)) or other == task.index for other in task.after):
        yield f"must come after other tasks of the plan (got {task.after})"
    for touch in (*task.reads, *task.writes):
        if touch.buffer not in range(len(plan.graph.buffers)):
            yield f"touches buffer {touch.buffer}, which is not there"
        elif fault := _broken_footprint(touch.footprint, _size_bytes(plan.graph.buffers[touch.buffer])):
            yield f"touches buffer {touch.buffer} {fault}"
    if task.kind is TaskKind.COMPUTE:
        yield from _broken_compute(task, tiles)
    else:
        yield from _broken_transfer(task, regions)
        yield from _broken_crypto(task)


def _size_bytes(buffer: Buffer) -> int:
    """Bytes of a buffer, wherever it lies."""
    return buffer.size_bytes if buffer.held is None else buffer.held[1] - buffer.held[0]


def _broken_footprint(footprint: Footprint, size_bytes: int | None) -> str:
    """What is wrong with a footprint; its runs must be apart, in order, and within the size."""
    f = footprint
    if f.start < 0 or min(f.run, f.rows, f.columns) < 1:
        return "with a footprint that has no bytes"
    row = (f.columns - 1) * f.column_stride + f.run
    if (f.columns > 1 and f.column_stride < f.run) or (f.rows > 1 and f.row_stride < row):
        return "with a footprint that meets itself"
    if size_bytes is not None and f.span[1] > size_bytes:
        return f"{f.span[1] - size_bytes} bytes beyond its end"
    return ""


def _broken_compute(task: Task, tiles: list[int]) -> Iterator[str]:
    if task.stage not in range(len(tiles)):
        yield f"its stage must be an operator's number (got {task.stage})"
        return
    if task.tile not in range(tiles[task.stage]):
        yield f"its tile must be one of {tiles[task.stage]} (got {task.tile})"
    if task.transfer is not None:
        yield "a kernel moves nothing to or from storage"


def _broken_transfer(task: Task, regions: set[RegionName]) -> Iterator[str]:
    touches = task.writes if task.kind is TaskKind.LOAD else task.reads
    ways = len(task.reads) + len(task.writes) if task.moved else 1
    if task.transfer is None or len(touches) != 1 or ways != 1:
        yield "a transfer must move bytes between storage and one buffer, in one direction"
    elif task.transfer.region not in regions:
        yield f"region '{task.transfer.region.value}' is not there"
    elif fault := _broken_footprint(task.transfer.footprint, None):
        yield f"touches storage {fault}"
    elif _bytes_of(touches[0].footprint) != _extent_bytes(task.transfer):
        yield (
            f"moves {task.transfer.size_bytes} bytes of storage to or from "
            f"{_bytes_of(touches[0].footprint)} bytes of SRAM"
        )


def _extent_bytes(transfer: Transfer) -> int:
    """Bytes of SRAM that a transfer is about: weights of four bits end up in a byte each."""
    spread = transfer.packed_start + transfer.packed_weights
    return max(transfer.size_bytes, spread if transfer.packed_weights else 0)


def _broken_crypto(task: Task) -> Iterator[str]:
    """What opens or seals records of a transfer does so in place."""
    if task.moved is None and task.transfer is not None:
        if task.reads != task.writes:
            yield "records are opened and sealed in place"
        if not task.transfer.sealed_records:
            yield "there are no records to open or to seal"


def _bytes_of(footprint: Footprint) -> int:
    return footprint.rows * footprint.columns * footprint.run
