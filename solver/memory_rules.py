"""Where things lie: buffers in SRAM and its banks, weights on an NPU, regions and transfers in storage."""

from __future__ import annotations

from collections.abc import Iterator
from math import prod

from ooc_solve.models.cost import align_up
from ooc_solve.models.in_place import ELEMENTWISE
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Region, RegionName, TaskKind, Transfer
from ooc_solve.solver.audit import audited_ring_bytes
from ooc_solve.solver.violations import Case, Rule, Violation, task_name

# ------------------------------------------------------------------------------ SRAM


def overlaps(case: Case) -> Iterator[Violation]:
    """Buffers are apart in address or in time, in SRAM and in the NPU's own memory."""
    alive: list[tuple[int, int]] = []  # end, buffer
    extents = [case.extent(buffer.index) for buffer in case.graph.buffers]
    for start, end, buffer in _lifetimes(case):
        alive = [(until, other) for until, other in alive if until > start]
        for _, other in alive:
            low, high = max(extents[buffer][0], extents[other][0]), min(extents[buffer][1], extents[other][1])
            if low < high:
                held = case.graph.buffers[buffer].held is not None
                at = (
                    f"byte {low - case.problem.arena_bytes} of the NPU's memory" if held else f"address {low}"
                )
                message = f"buffers {other} and {buffer} share {high - low} bytes from {at} on"
                yield Violation(Rule.OVERLAP, message, (), high - low, start)
        alive.append((end, buffer))


def _lifetimes(case: Case) -> list[tuple[int, int, int]]:
    """Start, end and number of every buffer that is used, by start.

    A buffer lives from the start of the first task that writes it (or that touches it, if
    nobody writes it) to the end of the last that touches it; pinned ones for the whole run.
    """
    written: dict[int, int] = {}
    touched: dict[int, int] = {}
    last: dict[int, int] = {}
    for task in case.graph.tasks:
        start, end = case.start(task), case.end_ns[task.index]
        for touch in (*task.reads, *task.writes):
            touched[touch.buffer] = min(touched.get(touch.buffer, start), start)
            last[touch.buffer] = max(last.get(touch.buffer, 0), end)
        for touch in task.writes:
            written[touch.buffer] = min(written.get(touch.buffer, start), start)
    lives = [(written.get(buffer, first), last[buffer], buffer) for buffer, first in touched.items()]
    pinned = {buffer.index for buffer in case.graph.buffers if buffer.pinned}
    free = [life for life in lives if life[2] not in pinned]
    return sorted(free + [(0, case.makespan_ns, buffer) for buffer in pinned])


def in_place(case: Case) -> Iterator[Violation]:
    """A kernel writes over what it reads only where it goes element by element, and each where it was read."""
    for task in case.graph.compute_tasks:
        elementwise = case.geometry[task.stage].op.kind in ELEMENTWISE
        for written in task.writes:
            beside = [t for t in task.reads if t.buffer == written.buffer != task.operands[4]]
            if beside and not (elementwise and all(t.footprint == written.footprint for t in beside)):
                message = f"{task_name(task)} writes over bytes of buffer {written.buffer} that it reads"
                yield Violation(Rule.IN_PLACE, message, (task.index,), at_ns=case.start(task))


def capacity(case: Case) -> Iterator[Violation]:
    """No buffer ends beyond the arena."""
    arena = case.problem.arena_bytes
    for buffer, address in zip(case.graph.buffers, case.schedule.address, strict=True):
        if (excess := address + buffer.size_bytes - arena) > 0:
            message = (
                f"buffer {buffer.index} ({buffer.label}) ends {excess} bytes beyond the arena of "
                f"{arena} bytes ({case.problem.sram_bytes} less {case.problem.reserved_bytes} reserved)"
            )
            yield Violation(Rule.CAPACITY, message, (), excess)


def banks(case: Case) -> Iterator[Violation]:
    """Every buffer starts on a unit and lies inside one bank."""
    walls, unit = _walls(case.problem), case.problem.unit_bytes
    for buffer, address in zip(case.graph.buffers, case.schedule.address, strict=True):
        if beyond := address % unit:
            message = f"buffer {buffer.index} must start on {unit} bytes (got {address})"
            yield Violation(Rule.ALIGNMENT, message, (), beyond)
        for name, _, wall in walls[:-1]:
            if address < wall < address + buffer.size_bytes:
                across = address + buffer.size_bytes - wall
                message = f"buffer {buffer.index} reaches {across} bytes across the end of bank '{name}'"
                yield Violation(Rule.BANK, message, (), across)


def _walls(problem: Problem) -> list[tuple[str, int, int]]:
    """Name, first address and end of every bank of the arena."""
    walls, start = [], 0
    for name, size in problem.banks:
        walls.append((name, start, start + size))
        start += size
    return walls


def reach(case: Case) -> Iterator[Violation]:
    """Where DMA moves the data, every transfer goes to a bank that DMA reaches."""
    board = case.problem.target.board
    closed = {bank.name for bank in board.banks if not bank.dma and board.dma_channels}
    barred = [(name, low, high) for name, low, high in _walls(case.problem) if name in closed]
    for task in case.graph.tasks if barred else ():
        for touch in (*task.reads, *task.writes) if task.transfer is not None else ():
            span = case.placed(touch.buffer, touch.footprint).span
            for name, low, high in barred:
                if span[0] < high and low < span[1]:
                    message = (
                        f"{task_name(task)} moves data to or from bank '{name}', which DMA does not reach"
                    )
                    inside = min(high, span[1]) - max(low, span[0])
                    yield Violation(Rule.REACH, message, (task.index,), inside, case.start(task))


def npu(case: Case) -> Iterator[Violation]:
    """What runs on an NPU is whole, or cut into channels whose weights are loaded, and in SRAM; weights fit its memory."""
    plan, unit = case.plan, case.problem.target.npu
    there = [g for g in case.geometry if g.tiling.npu]
    if there and unit is None:
        yield Violation(Rule.NPU, f"{len(there)} operators run on an NPU, which the target does not have")
        return
    resident = {name for name, _ in plan.graph.resident}
    for geometry in there:
        names = {geometry.op.output, *geometry.op.inputs}
        data = sum(t.size_bytes for t in (*geometry.inputs, geometry.output))
        pieces = prod(geometry.grid) // (geometry.grid[2] if geometry.tiling.npu_loads else 1)
        if pieces != 1 or not names <= resident:
            message = f"'{geometry.op.name}' must run on the NPU in one piece, with its tensors in SRAM"
            yield Violation(Rule.NPU, message)
        if unit is not None and unit.data_mem_bytes is not None and data > unit.data_mem_bytes:
            excess = data - unit.data_mem_bytes
            message = f"'{geometry.op.name}' needs {excess} bytes more than the data memory of the NPU has"
            yield Violation(Rule.NPU, message, (), excess)
    yield from _beyond_weight_memory(case)
    yield from _strayed_weights(case)


def _beyond_weight_memory(case: Case) -> Iterator[Violation]:
    """Resident weights, which take the first bytes, and loaded ones, none of which lies in those."""
    unit, most = case.problem.target.npu, case.problem.weight_memory_bytes
    there = (g.op.weight_bytes for g in case.geometry if g.tiling.npu and not g.tiling.npu_loads)
    resident = sum(there) if unit is not None and unit.weight_mem_bytes is not None else 0
    if (excess := resident - most) > 0:
        message = f"the weights on the NPU exceed its memory of {most} bytes by {excess}"
        yield Violation(Rule.NPU, message, (), excess)
    for buffer in case.graph.buffers:
        if buffer.held is None:
            continue
        low, high = buffer.held
        if (excess := max(resident - low, high - most)) > 0:
            message = (
                f"buffer {buffer.index} ({buffer.label}) must lie in the NPU's memory between the {resident} "
                f"bytes of resident weights and its end at {most} (got {low} to {high})"
            )
            yield Violation(Rule.NPU, message, (), excess)


def _strayed_weights(case: Case) -> Iterator[Violation]:
    """Only loads for the NPU fill its own memory, and only its kernels read there, those whose weights are loaded."""
    held = {buffer.index for buffer in case.graph.buffers if buffer.held is not None}
    for task in case.graph.tasks:
        there, due = any(touch.buffer in held for touch in (*task.reads, *task.writes)), False
        if task.kind in (TaskKind.LOAD, TaskKind.COMPUTE) and task.stage >= 0:
            geometry = case.geometry[task.stage]
            due = geometry.tiling.npu and geometry.loads_weights
        if there != due:
            message = f"{task_name(task)} must {'' if due else 'not '}use the NPU's own memory"
            yield Violation(Rule.NPU, message, (task.index,), at_ns=case.start(task))


# --------------------------------------------------------------------------- storage


def storage(case: Case) -> Iterator[Violation]:
    """Transfers keep to granules and to their regions, regions to the part; inputs stay as they are."""
    yield from _beyond_storage(case)
    for region in case.graph.regions:
        if region.store != (due := case.problem.store_index(region.name)):
            message = f"region '{region.name.value}' must lie on store {due} (got {region.store})"
            yield Violation(Rule.STORAGE, message)
    granules = {name: case.problem.granule_bytes(name) for name in case.problem.regions}
    for task in case.graph.tasks:
        if task.transfer is None:
            continue
        name = task.transfer.region
        granule = granules[name]
        for what, value in _distances(task.transfer):
            if value % granule:
                message = f"{task_name(task)}: {what} must be a multiple of {granule} bytes (got {value})"
                yield Violation(Rule.STORAGE, message, (task.index,), value % granule, case.start(task))
        if task.kind is TaskKind.STORE and name in GIVEN_REGIONS:
            message = f"{task_name(task)} writes to region '{name.value}', which is only read"
            yield Violation(Rule.STORAGE, message, (task.index,), task.transfer.size_bytes, case.start(task))


GIVEN_REGIONS = (RegionName.IMAGE, RegionName.ANNEX, RegionName.INPUT)
"""Regions that the host has written before the run."""


def _distances(transfer: Transfer) -> tuple[tuple[str, int], ...]:
    pitch = transfer.pitch if transfer.segments > 1 else 0
    return ("offset", transfer.offset), ("segment size", transfer.segment_bytes), ("pitch", pitch)


def _beyond_storage(case: Case) -> Iterator[Violation]:
    """Regions that do not fit in their part, and transfers that leave their region."""
    for number, store in enumerate(case.problem.target.stores):
        regions = [region for region in case.graph.regions if region.store == number]
        used = sum(align_up(_stored_bytes(case, r), case.problem.granule_bytes(r.name)) for r in regions)
        if (excess := used - store.storage.capacity_bytes) > 0:
            message = f"the regions on '{store.storage.name}' exceed its capacity by {excess} bytes"
            yield Violation(Rule.STORAGE, message, (), excess)
    size = {region.name: region.size_bytes for region in case.graph.regions}
    for task in case.graph.tasks:
        if task.transfer is None:
            continue
        name = task.transfer.region
        if (excess := task.transfer.footprint.span[1] - size[name]) > 0:
            message = f"{task_name(task)} ends {excess} bytes beyond region '{name.value}'"
            yield Violation(Rule.STORAGE, message, (task.index,), excess, case.start(task))


def _stored_bytes(case: Case, region: Region) -> int:
    """Bytes that a region takes in storage: the scratch region all places of its ring."""
    ring = audited_ring_bytes(case.problem, case.plan)
    return region.size_bytes if ring is None or region.name is not RegionName.SCRATCH else ring[1]


def ring(case: Case) -> Iterator[Violation]:
    """The scratch region and its note fit at least once in the ring."""
    ring, asked = audited_ring_bytes(case.problem, case.plan), case.problem.scratch_ring_bytes
    if ring is not None and asked is not None and (excess := ring[0] - asked) > 0:
        message = f"a place of the scratch ring takes {ring[0]} bytes, {excess} more than the ring has"
        yield Violation(Rule.STORAGE, message, (), excess)


def fits(case: Case) -> bool:
    """Whether everything lies inside the memories that the tilings mean, so that a mask of each can be kept."""
    meant = case.meant is not None and case.graph.regions == case.meant.regions
    within = not any(capacity(case)) and not any(_beyond_weight_memory(case))
    return meant and within and not any(_beyond_storage(case))
