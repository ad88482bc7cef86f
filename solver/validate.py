"""One judge for every plan, whoever made it.

Each rule is one function that reads the plan and yields what is wrong with it; `validate`
applies all of them. Nothing of the schedulers is used here: what waits for what, which
bytes are written when, and what a task may cost are worked out again from the problem and
from the plan alone. What the streams mean without the times is in `happens_before`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from enum import StrEnum
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.cost import (
    align_up,
    compute_ns,
    interruption_ns,
    opening_ns,
    read_ns,
    sealing_ns,
    write_ns,
)
from ooc_solve.models.in_place import ELEMENTWISE
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.tiling import StageGeometry, StorageLayout, tile_range
from ooc_solve.models.vocabulary import (
    Figures,
    Footprint,
    Plan,
    Region,
    RegionName,
    Schedule,
    Selection,
    Task,
    TaskGraph,
    TaskKind,
    Tensor,
    Transfer,
)
from ooc_solve.solver.audit import (
    audited_energy_nj,
    audited_lifetime_years,
    audited_ring_bytes,
    audited_written_bytes,
)
from ooc_solve.solver.expansion import SelectionError, meaning
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.happens_before import (
    Race,
    broken_streams,
    cells_of,
    completion_order,
    placed,
    races,
)


class Rule(StrEnum):
    """What a plan may violate."""

    STRUCTURE = "structure"  # the plan refers to things that are not there
    COVERAGE = "coverage"  # the tasks are not those that the tilings mean
    PRECEDENCE = "precedence"
    RESOURCE = "resource"
    DURATION = "duration"
    OVERLAP = "overlap"  # two buffers share bytes at the same time
    IN_PLACE = "in place"  # a kernel writes over what it has still to read
    CAPACITY = "capacity"
    BANK = "bank"  # a buffer lies across a wall between banks
    ALIGNMENT = "alignment"
    NPU = "npu"  # an operator that the NPU cannot compute so, or too many weights in its memory
    REACH = "reach"  # a transfer touches a bank that DMA cannot reach
    STORAGE = "storage"
    WRITE_BUDGET = "write budget"
    LATENCY_BUDGET = "latency budget"
    ENERGY_BUDGET = "energy budget"
    LIFETIME = "lifetime"
    UNWRITTEN = "unwritten"  # a task reads bytes that nobody has finished writing for it
    OUTPUT = "output"
    STREAMS = "streams"
    FIGURES = "figures"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the tasks concerned, how many bytes, and when, where that applies."""

    rule: Rule
    message: str
    tasks: tuple[int, ...] = ()
    bytes: int | None = None
    at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class _Case:
    """A well-formed plan with what most rules look up."""

    problem: Problem
    plan: Plan
    geometry: tuple[StageGeometry, ...]
    end_ns: tuple[int, ...]
    meant: TaskGraph | None  # what the selection expands to
    fault: str  # why it does not expand

    @classmethod
    def of(cls, problem: Problem, plan: Plan) -> _Case:
        start = plan.schedule.start_ns
        geometry = _geometry(problem, plan)
        meant, fault = _expanded(problem, plan, sum(g.tiles for g in geometry))
        ends = tuple(start[task.index] + task.duration_ns for task in plan.graph.tasks)
        return cls(problem, plan, geometry, ends, meant, fault)

    @property
    def graph(self) -> TaskGraph:
        return self.plan.graph

    @property
    def schedule(self) -> Schedule:
        return self.plan.schedule

    @property
    def makespan_ns(self) -> int:
        return max(self.end_ns, default=0)

    @property
    def fits(self) -> bool:
        """Whether everything lies inside the memories that the tilings mean, so that masks can be kept."""
        meant = self.meant is not None and self.graph.regions == self.meant.regions
        return meant and not any(_capacity(self)) and not any(_beyond_storage(self))

    def start(self, task: Task) -> int:
        return self.schedule.start_ns[task.index]

    def placed(self, buffer: int, footprint: Footprint) -> Footprint:
        """Bytes of the arena that a footprint of a buffer means."""
        return placed(footprint, self.schedule.address[buffer])


def validate(problem: Problem, plan: Plan) -> tuple[Violation, ...]:
    """Everything that is wrong with a plan; empty if it is right.

    A plan that refers to things that are not there is only told so: no other rule can be
    applied to it. Byte masks are kept only where all addresses lie inside their memories.
    The operators may run in another order than that of the problem, if the plan says so.
    """
    try:
        problem = ordered(problem, plan.selection.order)
    except ValueError as error:
        return (Violation(Rule.STRUCTURE, f"the operators cannot run in the plan's order: {error}"),)
    if broken := tuple(_structure(problem, plan)):
        return broken
    case = _Case.of(problem, plan)
    return tuple(violation for rule in _RULES for violation in rule(case))


def _geometry(problem: Problem, plan: Plan) -> tuple[StageGeometry, ...]:
    stages = zip(problem.network.ops, plan.selection.tilings, strict=True)
    return tuple(StageGeometry.of(problem.network, op, tiling) for op, tiling in stages)


def _expanded(problem: Problem, plan: Plan, tiles: int) -> tuple[TaskGraph | None, str]:
    """What the selection means, or why it means nothing.

    Counting tiles first keeps an absurd tiling from being expanded.
    """
    if tiles != (computes := len(plan.graph.compute_tasks)):
        return None, f"the tilings make {tiles} tiles, but {computes} are computed"
    return _meaning(problem, plan.selection)


@lru_cache(maxsize=4)
def _meaning(problem: Problem, selection: Selection) -> tuple[TaskGraph | None, str]:
    """What a selection expands to, or why it does not; several plans in a row often share it.

    Whether the storage parts are large enough for it is a rule of its own.
    """
    try:
        return meaning(problem, selection), ""
    except SelectionError as error:
        return None, f"the tilings cannot be carried out: {error}"


def _name(task: Task) -> str:
    return f"task {task.index} ({task.kind.value}, stage {task.stage})"


# ------------------------------------------------------------------------- structure


def _structure(problem: Problem, plan: Plan) -> Iterator[Violation]:
    """Every number that points at something points at something, and sizes are sizes."""
    for message in _broken_selection(problem, plan):
        yield Violation(Rule.STRUCTURE, message)
    for message in _broken_memories(problem, plan):
        yield Violation(Rule.STRUCTURE, message)
    if len(plan.selection.tilings) != len(problem.network.ops):
        return
    regions = {region.name for region in plan.graph.regions}
    tiles = [prod(geometry.grid) for geometry in _geometry(problem, plan)]
    for position, task in enumerate(plan.graph.tasks):
        if task.index != position:
            yield Violation(Rule.STRUCTURE, f"task {position} must carry its position (got {task.index})")
            continue
        for fault in _broken_task(plan, task, regions, tiles):
            yield Violation(Rule.STRUCTURE, f"{_name(task)}: {fault}", (position,))


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
        if buffer.index != position or buffer.size_bytes < 1:
            yield f"buffer {position} must carry its position and a size (got {buffer.index}, {buffer.size_bytes})"
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
        elif fault := _broken_footprint(touch.footprint, plan.graph.buffers[touch.buffer].size_bytes):
            yield f"touches buffer {touch.buffer} {fault}"
    if task.kind is TaskKind.COMPUTE:
        yield from _broken_compute(task, tiles)
    else:
        yield from _broken_transfer(task, regions)
        yield from _broken_crypto(task)


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


# -------------------------------------------------------------------------- coverage


def _coverage(case: _Case) -> Iterator[Violation]:
    """The tasks and buffers are those that the selection means, every tile exactly once."""
    right = case.meant
    if right is None:
        yield Violation(Rule.COVERAGE, case.fault)
        return
    for name in ("resources", "regions", "resident", "weight_records"):
        if getattr(case.graph, name) != getattr(right, name):
            yield Violation(Rule.COVERAGE, f"the {name.replace('_', ' ')} differ from those of the tilings")
    yield from _first_difference("buffer", case.graph.buffers, right.buffers, ())
    # what a task costs, and where it runs, are rules of their own
    yield from _first_difference("task", case.graph.tasks, right.tasks, ("duration_ns", "resource"))


def _first_difference(
    what: str, found: Sequence[Any], right: Sequence[Any], ignored: tuple[str, ...]
) -> Iterator[Violation]:
    for index, (one, other) in enumerate(zip(found, right, strict=False)):
        if one == other:
            continue
        names = [f.name for f in fields(one) if f.name not in ignored]
        if differing := [name for name in names if getattr(one, name) != getattr(other, name)]:
            message = f"{what} {index} differs from that of the tilings in {', '.join(differing)}"
            yield Violation(Rule.COVERAGE, message, (index,) if what == "task" else ())
            return
    if len(found) != len(right):
        yield Violation(Rule.COVERAGE, f"the tilings mean {len(right)} {what}s (got {len(found)})")


# ---------------------------------------------------------------- time and resources


def _precedence(case: _Case) -> Iterator[Violation]:
    """Nothing starts before what it needs has ended; kernels run in graph order."""
    for task in case.graph.tasks:
        for other in task.after:
            yield from _too_early(case, task, other, "whose result it needs")
    computes = case.graph.compute_tasks
    for earlier, later in pairwise(computes):
        yield from _too_early(case, later, earlier.index, "the kernel before it")


def _too_early(case: _Case, task: Task, other: int, reason: str) -> Iterator[Violation]:
    if (early := case.end_ns[other] - case.start(task)) > 0:
        message = f"{_name(task)} starts {early} ns before the end of task {other}, {reason}"
        yield Violation(Rule.PRECEDENCE, message, (task.index, other), at_ns=case.start(task))


def _resources(case: _Case) -> Iterator[Violation]:
    """Every task runs on the resource its kind and store call for, and alone."""
    due_of = {region: _due_resource(case.problem, region) for region in (None, *case.problem.regions)}
    for task in case.graph.tasks:
        due = due_of[task.moved.region if task.moved else None]
        if task.transfer is not None and task.moved is None:
            due = case.problem.crypto_resource or due
        if task.resource != due:
            message = f"{_name(task)} must run on '{due}' (got '{task.resource}')"
            yield Violation(Rule.RESOURCE, message, (task.index,))
    for resource in dict.fromkeys(task.resource for task in case.graph.tasks):
        tasks = [task for task in case.graph.tasks if task.resource == resource]
        yield from _sharing(case, resource, tasks)


def _due_resource(problem: Problem, region: RegionName | None) -> str:
    """Where transfers to and from a region run, or with None the kernels."""
    if region is None:
        return problem.compute_resource
    return problem.resource_of(problem.target.stores[problem.store_index(region)])


def _sharing(case: _Case, resource: str, tasks: list[Task]) -> Iterator[Violation]:
    running: Task | None = None
    for task in sorted(tasks, key=lambda task: (case.start(task), case.end_ns[task.index])):
        if running is not None and (common := case.end_ns[running.index] - case.start(task)) > 0:
            message = f"{_name(task)} shares '{resource}' with task {running.index} for {common} ns"
            yield Violation(Rule.RESOURCE, message, (running.index, task.index), at_ns=case.start(task))
        if running is None or case.end_ns[task.index] > case.end_ns[running.index]:
            running = task


def _durations(case: _Case) -> Iterator[Violation]:
    """Every task takes the time that the cost model says; the first to wait for a record checks or opens it.

    What is stored sealed is sealed by the kernel that the store waits for. A kernel takes longer by what the requests cost that complete while it runs.
    """
    checked: set[int] = set()
    moments = _completions(case)
    sealing = _sealing(case)
    known: dict[object, int] = {}  # transfers of one size take the same time
    for task in case.graph.tasks:
        alike = task.index if task.transfer is None else (task.kind, replace(task.transfer, offset=0))
        if alike not in known:
            known[alike] = _due_ns(case, task)
        due = known[alike]
        if task.kind is TaskKind.COMPUTE:
            for load in sorted(set(task.after) - checked):
                transfer = case.graph.tasks[load].transfer
                loaded = transfer is not None and case.graph.tasks[load].kind is TaskKind.LOAD
                due += opening_ns(case.problem.target, transfer) if transfer and loaded else 0
            checked |= set(task.after)
            due += sealing.get(task.index, 0)
            due = _with_interruptions(case, case.start(task), due, moments)
        if task.duration_ns != due:
            message = f"{_name(task)} takes {due} ns (got {task.duration_ns})"
            yield Violation(Rule.DURATION, message, (task.index,), at_ns=case.start(task))


def _sealing(case: _Case) -> dict[int, int]:
    """What each kernel spends on sealing what the stores that wait for it take."""
    found: dict[int, int] = {}
    for task in case.graph.tasks:
        if task.kind is TaskKind.STORE and task.transfer is not None and task.transfer.sealed_records:
            for kernel in task.after:
                found[kernel] = found.get(kernel, 0) + sealing_ns(case.problem.target, task.transfer)
    return found


def _completions(case: _Case) -> list[int]:
    """When requests complete: those of one transfer at equal distances, the last one at its end."""
    found = []
    for task in case.graph.tasks:
        requests = task.requests
        found += [case.start(task) + task.duration_ns * k // requests for k in range(1, requests + 1)]
    return sorted(found)


def _with_interruptions(case: _Case, start_ns: int, duration_ns: int, moments: list[int]) -> int:
    """How long a kernel takes whose work alone takes so long."""
    each = interruption_ns(case.problem.target)
    for moment in moments[bisect_right(moments, start_ns) :] if each else ():
        if moment >= start_ns + duration_ns:
            break
        duration_ns += each
    return duration_ns


def _due_ns(case: _Case, task: Task) -> int:
    target = case.problem.target
    if task.transfer is None:
        geometry = case.geometry[task.stage]
        return compute_ns(target, geometry.tile_work(geometry.index(task.tile)))
    if task.moved is None:
        return sealing_ns(target, task.transfer)
    store = target.stores[case.problem.store_index(task.transfer.region)]
    size, segments = task.transfer.size_bytes, task.transfer.segments
    if task.kind is TaskKind.LOAD:
        return read_ns(target, store, size, segments)
    return write_ns(target, store, size, segments)


# ------------------------------------------------------------------------------ SRAM


def _overlaps(case: _Case) -> Iterator[Violation]:
    """Buffers are apart in address or in time."""
    alive: list[tuple[int, int]] = []  # end, buffer
    sizes = [buffer.size_bytes for buffer in case.graph.buffers]
    address = case.schedule.address
    for start, end, buffer in _lifetimes(case):
        alive = [(until, other) for until, other in alive if until > start]
        for _, other in alive:
            low = max(address[buffer], address[other])
            high = min(address[buffer] + sizes[buffer], address[other] + sizes[other])
            if low < high:
                message = f"buffers {other} and {buffer} share {high - low} bytes from address {low} on"
                yield Violation(Rule.OVERLAP, message, (), high - low, start)
        alive.append((end, buffer))


def _lifetimes(case: _Case) -> list[tuple[int, int, int]]:
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


def _in_place(case: _Case) -> Iterator[Violation]:
    """A kernel writes over what it reads only where it goes element by element, and each where it was read."""
    for task in case.graph.compute_tasks:
        elementwise = case.geometry[task.stage].op.kind in ELEMENTWISE
        for written in task.writes:
            beside = [t for t in task.reads if t.buffer == written.buffer != task.operands[4]]
            if beside and not (elementwise and all(t.footprint == written.footprint for t in beside)):
                message = f"{_name(task)} writes over bytes of buffer {written.buffer} that it reads"
                yield Violation(Rule.IN_PLACE, message, (task.index,), at_ns=case.start(task))


def _capacity(case: _Case) -> Iterator[Violation]:
    """No buffer ends beyond the arena."""
    arena = case.problem.arena_bytes
    for buffer, address in zip(case.graph.buffers, case.schedule.address, strict=True):
        if (excess := address + buffer.size_bytes - arena) > 0:
            message = (
                f"buffer {buffer.index} ({buffer.label}) ends {excess} bytes beyond the arena of "
                f"{arena} bytes ({case.problem.sram_bytes} less {case.problem.reserved_bytes} reserved)"
            )
            yield Violation(Rule.CAPACITY, message, (), excess)


def _banks(case: _Case) -> Iterator[Violation]:
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


def _reach(case: _Case) -> Iterator[Violation]:
    """Where DMA moves the data, every transfer goes to a bank that DMA reaches."""
    board = case.problem.target.board
    closed = {bank.name for bank in board.banks if not bank.dma and board.dma_channels}
    barred = [(name, low, high) for name, low, high in _walls(case.problem) if name in closed]
    for task in case.graph.tasks if barred else ():
        for touch in (*task.reads, *task.writes) if task.transfer is not None else ():
            span = case.placed(touch.buffer, touch.footprint).span
            for name, low, high in barred:
                if span[0] < high and low < span[1]:
                    message = f"{_name(task)} moves data to or from bank '{name}', which DMA does not reach"
                    inside = min(high, span[1]) - max(low, span[0])
                    yield Violation(Rule.REACH, message, (task.index,), inside, case.start(task))


def _npu(case: _Case) -> Iterator[Violation]:
    """What runs on an NPU is whole and in SRAM, and all its weights fit the NPU's memory."""
    plan, unit = case.plan, case.problem.target.npu
    there = [g for g in case.geometry if g.tiling.npu]
    if there and unit is None:
        yield Violation(Rule.NPU, f"{len(there)} operators run on an NPU, which the target does not have")
        return
    resident = {name for name, _ in plan.graph.resident}
    for geometry in there:
        names = {geometry.op.output, *geometry.op.inputs}
        data = sum(t.size_bytes for t in (*geometry.inputs, geometry.output))
        if prod(geometry.grid) != 1 or not names <= resident:
            message = f"'{geometry.op.name}' must run on the NPU in one piece, with its tensors in SRAM"
            yield Violation(Rule.NPU, message)
        if unit is not None and unit.data_mem_bytes is not None and data > unit.data_mem_bytes:
            excess = data - unit.data_mem_bytes
            message = f"'{geometry.op.name}' needs {excess} bytes more than the data memory of the NPU has"
            yield Violation(Rule.NPU, message, (), excess)
    if unit is not None and unit.weight_mem_bytes is not None:
        excess = sum(geometry.op.weight_bytes for geometry in there) - unit.weight_mem_bytes
        if excess > 0:
            message = f"the weights on the NPU exceed its memory of {unit.weight_mem_bytes} bytes by {excess}"
            yield Violation(Rule.NPU, message, (), excess)


# --------------------------------------------------------------------------- storage


def _storage(case: _Case) -> Iterator[Violation]:
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
                message = f"{_name(task)}: {what} must be a multiple of {granule} bytes (got {value})"
                yield Violation(Rule.STORAGE, message, (task.index,), value % granule, case.start(task))
        if task.kind is TaskKind.STORE and name in _GIVEN:
            message = f"{_name(task)} writes to region '{name.value}', which is only read"
            yield Violation(Rule.STORAGE, message, (task.index,), task.transfer.size_bytes, case.start(task))


_GIVEN = (RegionName.IMAGE, RegionName.ANNEX, RegionName.INPUT)
"""Regions that the host has written before the run."""


def _distances(transfer: Transfer) -> tuple[tuple[str, int], ...]:
    pitch = transfer.pitch if transfer.segments > 1 else 0
    return ("offset", transfer.offset), ("segment size", transfer.segment_bytes), ("pitch", pitch)


def _beyond_storage(case: _Case) -> Iterator[Violation]:
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
            message = f"{_name(task)} ends {excess} bytes beyond region '{name.value}'"
            yield Violation(Rule.STORAGE, message, (task.index,), excess, case.start(task))


def _stored_bytes(case: _Case, region: Region) -> int:
    """Bytes that a region takes in storage: the scratch region all places of its ring."""
    ring = audited_ring_bytes(case.problem, case.plan)
    return region.size_bytes if ring is None or region.name is not RegionName.SCRATCH else ring[1]


def _ring(case: _Case) -> Iterator[Violation]:
    """The scratch region and its note fit at least once in the ring."""
    ring, asked = audited_ring_bytes(case.problem, case.plan), case.problem.scratch_ring_bytes
    if ring is not None and asked is not None and (excess := ring[0] - asked) > 0:
        message = f"a place of the scratch ring takes {ring[0]} bytes, {excess} more than the ring has"
        yield Violation(Rule.STORAGE, message, (), excess)


def _write_budget(case: _Case) -> Iterator[Violation]:
    """No more bytes are programmed per inference than allowed."""
    written = audited_written_bytes(case.problem, case.plan)
    budget = case.problem.write_budget_bytes
    if budget is not None and written > budget:
        message = f"{written} bytes are written, {written - budget} more than the budget of {budget}"
        yield Violation(Rule.WRITE_BUDGET, message, (), written - budget)


def _latency_budget(case: _Case) -> Iterator[Violation]:
    """The last task ends within the budget."""
    most = case.problem.limits.latency_ns
    if most is not None and case.makespan_ns > most:
        message = f"it takes {case.makespan_ns} ns, {case.makespan_ns - most} more than the budget of {most}"
        yield Violation(Rule.LATENCY_BUDGET, message, (), None, most)


def _energy_budget(case: _Case) -> Iterator[Violation]:
    """The energy worked out from the timetable is within the budget."""
    most, energy = case.problem.limits.energy_nj, audited_energy_nj(case.problem, case.plan)
    if most is not None and energy > most:
        yield Violation(
            Rule.ENERGY_BUDGET, f"it takes {energy} nJ, {energy - most} more than the budget of {most}"
        )


def _lifetime(case: _Case) -> Iterator[Violation]:
    """The storage lives as long as asked for."""
    least, years = case.problem.limits.lifetime_years, audited_lifetime_years(case.problem, case.plan)
    if least is not None and years is not None and years < least * (1 - ROUNDING):
        yield Violation(Rule.LIFETIME, f"the storage lives {years:.6g} years, less than {least:g}")


ROUNDING = 1e-9
"""Relative error of figures that are not integers."""


# -------------------------------------------------------------------------- contents


def _contents(case: _Case) -> Iterator[Violation]:
    """Every read finds what it is after, and the outputs are complete when the run ends."""
    if not case.fits:
        return
    contents = _Contents(case)
    yield from contents.replay()
    yield from contents.missing_outputs()


_EMPTY, _PADDING, _DATA = 0, 1, 2
"""State of a byte of storage: not written, written with padding, written with data."""


class _Contents:
    """What every byte of SRAM and storage holds while the tasks run.

    ``owner`` says what a byte of SRAM was last written as completely, -1 if not or if a write is
    under way: the number of a buffer, or behind those of all buffers that of a tensor, as several
    may lie in one buffer one after the other. Padding, which transfers carry along because parts
    move whole granules, counts as not written when a kernel reads it.
    """

    def __init__(self, case: _Case) -> None:
        self.case = case
        self.tenants: dict[int, list[str]] = {}  # tensors of each buffer
        for name, buffer in case.graph.resident:
            self.tenants.setdefault(buffer, []).append(name)
        names = enumerate(case.problem.network.tensors, len(case.graph.buffers))
        self.owner_of = {name: number for number, name in names}
        narrow = len(case.graph.buffers) + len(self.owner_of) <= np.iinfo(np.int16).max  # half the bytes
        self.owner = np.full(case.problem.arena_bytes, -1, np.int16 if narrow else np.int32)
        self.stored = {
            region.name: np.zeros(region.size_bytes, np.uint8)
            for region in case.graph.regions
            if region.name not in _GIVEN
        }
        self.carried: dict[int, NDArray[np.bool_]] = {}  # which bytes of a transfer under way are data
        self._place_inputs()

    def _place_inputs(self) -> None:
        """Inputs in SRAM are there before the run."""
        case, network = self.case, self.case.problem.network
        for name, buffer in case.graph.resident:
            if case.problem.io is IoPlace.SRAM and name in network.inputs:
                place = self._in_sram(buffer, Footprint(0, network.tensors[name].size_bytes))
                place[...] = self.owner_of[name]

    def _owner(self, task: Task, buffer: int, writes: bool) -> int:
        """What a task reads of a buffer, or what it makes of it."""
        network, names = self.case.problem.network, self.tenants.get(buffer)
        if names is None:
            return buffer
        if task.kind is TaskKind.COMPUTE:
            op = network.ops[task.stage]
            due: Sequence[str] = (op.output,) if writes else op.inputs
        else:
            due = network.outputs if task.is_outbound else network.inputs
        return next((self.owner_of[name] for name in due if name in names), -1)

    def _in_sram(self, buffer: int, footprint: Footprint) -> NDArray[np.signedinteger[Any]]:
        return cells_of(self.owner, self.case.placed(buffer, footprint))

    def _in_storage(self, transfer: Transfer) -> NDArray[np.uint8]:
        return cells_of(self.stored[transfer.region], transfer.footprint)

    def replay(self) -> Iterator[Violation]:
        """Run all tasks by their times; what ends at an instant is there for what starts then."""
        case = self.case
        events = []
        for task in case.graph.tasks:
            events.append((case.start(task), 1, task.index))
            if task.duration_ns:
                events.append((case.end_ns[task.index], 0, task.index))
        for _, starts, index in sorted(events):
            task = case.graph.tasks[index]
            if starts:
                yield from self._begin(task)
            if not starts or not task.duration_ns:
                self._finish(task)

    def _begin(self, task: Task) -> Iterator[Violation]:
        """Check what is read, then take away what is about to be overwritten."""
        for source, count in self._missing(task):
            message = f"{_name(task)} reads {count} bytes of {source} that hold nothing written for it"
            yield Violation(Rule.UNWRITTEN, message, (task.index,), count, self.case.start(task))
        for touch in task.writes:
            self._in_sram(touch.buffer, touch.footprint)[...] = -1
        if task.kind is TaskKind.STORE and task.transfer is not None and task.transfer.region in self.stored:
            self._in_storage(task.transfer)[...] = _EMPTY

    def _missing(self, task: Task) -> list[tuple[str, int]]:
        """Sources of a task with the number of bytes that are not there; notes what a transfer carries."""
        if task.kind is TaskKind.LOAD and task.transfer is not None:
            if task.transfer.region in _GIVEN:
                return []
            state = self._in_storage(task.transfer)
            self.carried[task.index] = (state == _DATA).reshape(-1)
            found = [(f"region '{task.transfer.region.value}'", _count(state == _EMPTY))]
        elif task.kind is TaskKind.STORE and task.transfer is not None:
            touch = task.reads[0]
            present = self.carried[task.index] = self._present(task)
            # the last granule may be filled up with anything
            needed = max(0, present.size - self.case.problem.granule_bytes(task.transfer.region) + 1)
            found = [(f"buffer {touch.buffer}", _count(~present[:needed]))]
        elif task.transfer is not None:
            present = self.carried[task.index] = self._present(task)
            found = [(f"buffer {task.reads[0].buffer}", task.transfer.sealed_bytes - _count(present))]
        else:
            found = [
                (
                    f"buffer {touch.buffer}",
                    _count(
                        self._in_sram(touch.buffer, touch.footprint) != self._owner(task, touch.buffer, False)
                    ),
                )
                for touch in task.reads
            ]
        return [(source, count) for source, count in found if count > 0]

    def _present(self, task: Task) -> NDArray[np.bool_]:
        """Which bytes of a transfer are data; what is opened or sealed in place leaves that as it is."""
        touch = task.reads[0]
        owner = self._owner(task, touch.buffer, False)
        found: NDArray[np.bool_] = self._in_sram(touch.buffer, touch.footprint) == owner
        return found.reshape(-1)

    def _finish(self, task: Task) -> None:
        """What a task wrote is there from now on."""
        for touch in task.writes:
            view, owner = self._in_sram(touch.buffer, touch.footprint), self._owner(task, touch.buffer, True)
            if task.index in self.carried:
                data = self.carried.pop(task.index).reshape(view.shape)
                view[...] = np.where(data, owner, -1)
            else:
                view[...] = owner
        if task.kind is TaskKind.STORE and task.transfer is not None and task.transfer.region in self.stored:
            stored = self._in_storage(task.transfer)
            stored[...] = np.where(self.carried.pop(task.index).reshape(stored.shape), _DATA, _PADDING)

    def missing_outputs(self) -> Iterator[Violation]:
        """Outputs of the network that are not complete where they belong."""
        problem = self.case.problem
        places = dict(self._output_layouts())
        for name in problem.network.outputs:
            tensor = problem.network.tensors[name]
            if problem.io is IoPlace.SRAM:
                missing = self._missing_in_sram(tensor)
            elif name in places:
                missing = self._missing_in_storage(places[name])
            else:
                missing = tensor.size_bytes
            if missing:
                message = f"output '{name}' lacks {missing} of {tensor.size_bytes} bytes at the end"
                yield Violation(Rule.OUTPUT, message, (), missing, self.case.makespan_ns)

    def _missing_in_sram(self, tensor: Tensor) -> int:
        buffer = dict(self.case.graph.resident).get(tensor.name)
        if buffer is None or self.case.graph.buffers[buffer].size_bytes < tensor.size_bytes:
            return tensor.size_bytes
        return _count(self._in_sram(buffer, Footprint(0, tensor.size_bytes)) != self.owner_of[tensor.name])

    def _missing_in_storage(self, layout: StorageLayout) -> int:
        written, present = self.stored[RegionName.OUTPUT], 0
        for plane in range(layout.planes):
            for record in range(-(-layout.tensor.height // layout.record_rows)):
                low, high = tile_range(record, layout.record_rows, layout.tensor.height)
                start = layout.base + layout.offset(plane, low)
                run = written[start : start + (high - low) * layout.row_bytes(plane)]
                present += _count(run == _DATA)
        return layout.tensor.size_bytes - present

    def _output_layouts(self) -> Iterator[tuple[str, StorageLayout]]:
        """Where each output lies in its region: one after the other, kept ones in one record."""
        case, base = self.case, 0
        granule = case.problem.granule_bytes(RegionName.OUTPUT)
        for geometry in case.geometry:
            tensor, tiling = geometry.output, geometry.tiling
            if tensor.name in case.problem.network.outputs:
                kept = tensor.name in case.plan.selection.kept
                plane = tensor.channels if kept else tiling.channels
                layout = StorageLayout(tensor, plane, tensor.height if kept else tiling.rows, granule, base)
                base += layout.size_bytes
                yield tensor.name, layout


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


# --------------------------------------------------------------------------- streams


def _streams(case: _Case) -> Iterator[Violation]:
    """The streams keep to the times, cannot deadlock, and alone order every conflict."""
    graph, streams = case.graph, case.plan.streams
    if broken := list(broken_streams(graph, streams)):
        yield from (Violation(Rule.STREAMS, message, tasks) for message, tasks in broken)
        return
    yield from _late_waits(case)
    sequence = completion_order(streams)
    if len(sequence) < len(graph.tasks):
        stuck = sorted(set(range(len(graph.tasks))) - set(sequence))
        message = f"the streams deadlock: {len(stuck)} tasks wait for ever, task {stuck[0]} among them"
        yield Violation(Rule.STREAMS, message, tuple(stuck[:1]))
    elif case.fits:
        for race in races(graph, streams, case.schedule.address, sequence):
            yield _violation_of(case, race)


def _late_waits(case: _Case) -> Iterator[Violation]:
    """Waits that the times do not honour."""
    order = case.plan.streams.order
    for task in case.graph.tasks:
        for r, need in enumerate(case.plan.streams.required[task.index]):
            awaited = order[r][need - 1] if need else task.index
            if need and (early := case.end_ns[awaited] - case.start(task)) > 0:
                message = (
                    f"{_name(task)} starts {early} ns before task {awaited}, for which it waits, has ended"
                )
                yield Violation(Rule.STREAMS, message, (task.index, awaited), at_ns=case.start(task))


def _violation_of(case: _Case, race: Race) -> Violation:
    tasks = (case.graph.tasks[race.other], case.graph.tasks[race.task])
    first, second = sorted(tasks, key=case.start)
    place = "SRAM" if race.region is None else f"region '{race.region.value}'"
    message = f"{_name(second)} does not wait for task {first.index}, although they share bytes of {place}"
    return Violation(Rule.STREAMS, message, (first.index, second.index), at_ns=case.start(second))


# --------------------------------------------------------------------------- figures


def _figures(case: _Case) -> Iterator[Violation]:
    """What the plan promises is what it comes to."""
    try:
        due = figures_of(case.problem, case.graph, case.schedule)
    except ValueError as error:
        yield Violation(Rule.FIGURES, f"the figures cannot be worked out: {error}")
        return
    energy, years = (
        audited_energy_nj(case.problem, case.plan),
        audited_lifetime_years(case.problem, case.plan),
    )
    written = audited_written_bytes(case.problem, case.plan)
    due = replace(
        due, energy_nj=energy, lifetime_years=years, bytes_written=written
    )  # from the timetable alone
    for field in fields(Figures):
        right, promised = getattr(due, field.name), getattr(case.plan.figures, field.name)
        if promised != right:
            yield Violation(Rule.FIGURES, f"{field.name} is promised as {promised} but comes to {right}")


_RULES: tuple[Callable[[_Case], Iterator[Violation]], ...] = (
    _coverage,
    _precedence,
    _resources,
    _durations,
    _overlaps,
    _in_place,
    _capacity,
    _banks,
    _reach,
    _npu,
    _storage,
    _ring,
    _write_budget,
    _latency_budget,
    _energy_budget,
    _lifetime,
    _contents,
    _streams,
    _figures,
)
"""All rules, in the order in which they are told."""
