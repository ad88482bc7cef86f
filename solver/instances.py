"""Scheduling problems apart from networks: tasks, buffers and banks, as a file for anyone's scheduler.

An instance is what the tile-level model of FORMULATION.md is given, with nothing of layers or storage left
in it. benchmarks/README.md documents the file; this module reads and writes it, judges schedules, and turns an
instance into what the schedulers here take.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

from ooc_solve import __version__
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.plan_json import decoded, encoded, plan_hash
from ooc_solve.models.problem import MAX_UNITS, RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.vocabulary import (
    Bank,
    Board,
    Buffer,
    BufferRole,
    Footprint,
    InputError,
    Network,
    Plan,
    Port,
    RegionName,
    RuntimeCost,
    Schedule,
    Storage,
    StorageAccess,
    Store,
    Target,
    Task,
    TaskGraph,
    TaskKind,
    Touch,
    Transfer,
)
from ooc_solve.solver.expansion import expand

SCHEMA = "ooc-instance/1"


@dataclass(frozen=True, slots=True)
class Origin:
    """Where an instance comes from; nothing of it matters for schedules."""

    model: str
    target: str
    sram_bytes: int
    scheduler: str
    plan_hash: str
    version: str


@dataclass(frozen=True, slots=True)
class Job:
    """A task: it holds its resource for so long, after some tasks, and uses buffers all the while."""

    kind: TaskKind
    resource: int
    duration_ns: int
    layer: int
    after: tuple[int, ...]
    reads: tuple[int, ...]
    writes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Space:
    """A buffer: bytes at consecutive addresses of one bank. ``pinned``: for the whole run."""

    size_bytes: int
    role: BufferRole
    pinned: bool


@dataclass(frozen=True, slots=True)
class Instance:
    """Tasks on resources, and the buffers they use in banks that lie end to end."""

    name: str
    origin: Origin
    unit_bytes: int
    bank_bytes: tuple[int, ...]
    resources: tuple[str, ...]
    tasks: tuple[Job, ...]
    buffers: tuple[Space, ...]


# ------------------------------------------------------------------------------------- files


def instance_of(problem: Problem, plan: Plan, name: str) -> Instance:
    """The scheduling problem that a plan solves: its tiles, with its times and addresses forgotten.

    Kernels take as long as they do without interruptions.
    """
    there = ordered(problem, plan.selection.order)
    graph = expand(there, plan.selection)
    return Instance(
        name,
        Origin(
            problem.network.name, problem.target.name, problem.sram_bytes, plan.scheduler,
            plan_hash(there, plan), __version__,
        ),
        problem.unit_bytes,
        tuple(size // problem.unit_bytes * problem.unit_bytes for _, size in problem.banks),
        graph.resources,
        tuple(_job(graph, task) for task in graph.tasks),
        tuple(
            Space(problem.buffer_bytes(buffer.size_bytes), buffer.role, buffer.pinned)
            for buffer in graph.buffers
        ),
    )  # fmt: skip


def _job(graph: TaskGraph, task: Task) -> Job:
    return Job(
        task.kind,
        graph.resources.index(task.resource),
        task.duration_ns,
        task.stage,
        task.after,
        tuple(dict.fromkeys(touch.buffer for touch in task.reads)),
        tuple(dict.fromkeys(touch.buffer for touch in task.writes)),
    )


def dump_instance(instance: Instance) -> str:
    """Text of an instance file."""
    return json.dumps({"schema": SCHEMA, **encoded(instance)}, separators=(",", ":")) + "\n"


def parse_instance(text: str, source: str) -> Instance:
    """The instance of a file; ``source`` names it in errors.

    Raises
    ------
    InputError
        If it is none, or says something impossible; names the place.
    """
    try:
        content = json.loads(text)
        if not isinstance(content, dict) or content.pop("schema", None) != SCHEMA:
            raise ValueError(f"schema must be '{SCHEMA}'")
        found: Instance = decoded(Instance, content)
        for fault in _faults(found):
            raise ValueError(fault)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{source}: an instance must be as benchmarks/README.md says ({error}).") from None
    return found


def _faults(found: Instance) -> Iterator[str]:
    """What is impossible about an instance of the right form."""
    unit = found.unit_bytes
    if unit < 8 or unit & (unit - 1):
        yield f"unit_bytes must be a power of two from 8 on (got {unit})"
    if not found.bank_bytes or any(size < unit or size % unit for size in found.bank_bytes):
        yield f"bank_bytes must be multiples of {unit}, at least one of them (got {list(found.bank_bytes)})"
    if list(found.bank_bytes) != sorted(found.bank_bytes, reverse=True):
        yield "bank_bytes must fall, the largest bank first"
    if len(set(found.resources)) != len(found.resources) or not found.resources:
        yield "resources must have names, each its own"
    for place, buffer in enumerate(found.buffers):
        if buffer.size_bytes < 0 or buffer.size_bytes % unit:
            yield f"buffers[{place}].size_bytes must be a multiple of {unit} (got {buffer.size_bytes})"
        if buffer.size_bytes > max(found.bank_bytes):
            yield f"buffers[{place}].size_bytes must fit a bank (got {buffer.size_bytes})"
    for place, task in enumerate(found.tasks):
        for fault in _broken(found, place, task):
            yield f"tasks[{place}] {fault}"


def _broken(found: Instance, place: int, task: Job) -> Iterator[str]:
    if task.duration_ns < 0:
        yield f"must not take negative time (got {task.duration_ns})"
    if task.resource not in range(len(found.resources)):
        yield f"must be on one of the resources (got {task.resource})"
    if any(other not in range(place) for other in task.after):
        yield f"must come after earlier tasks (got {list(task.after)})"
    if any(buffer not in range(len(found.buffers)) for buffer in (*task.reads, *task.writes)):
        yield "must use buffers that are there"
    shape = (len(task.reads), len(task.writes))
    if task.kind is TaskKind.LOAD and shape != (0, 1):
        yield "must write one buffer, as it is a load"
    if task.kind is TaskKind.STORE and (shape != (1, 0) or not task.after):
        yield "must read one buffer after the task that fills it, as it is a store"
    in_place = shape == (1, 1) and task.reads == task.writes and bool(task.after)
    if task.kind in (TaskKind.DECRYPT, TaskKind.ENCRYPT) and not in_place:
        yield f"must change one buffer in place, after the task that fills it, to {task.kind.value} it"


# ---------------------------------------------------------------------------------- schedules


def makespan_ns(instance: Instance, schedule: Schedule) -> int:
    """When the last task ends."""
    return max((s + t.duration_ns for s, t in zip(schedule.start_ns, instance.tasks, strict=True)), default=0)


def lower_bound_ns(instance: Instance) -> int:
    """No schedule is shorter: the work of the busiest resource, or the longest chain of tasks and kernels."""
    work = [0] * len(instance.resources)
    ends = [0] * len(instance.tasks)
    kernel = 0
    for place, task in enumerate(instance.tasks):
        work[task.resource] += task.duration_ns
        begin = max((ends[other] for other in task.after), default=0)
        if task.kind is TaskKind.COMPUTE:
            begin = max(begin, kernel)
        ends[place] = begin + task.duration_ns
        if task.kind is TaskKind.COMPUTE:
            kernel = ends[place]
    return max([*work, *ends], default=0)


def broken_rules(instance: Instance, schedule: Schedule) -> tuple[str, ...]:
    """What is wrong with a schedule, worked out from the rules in benchmarks/README.md alone."""
    shape = (len(schedule.start_ns), len(schedule.address))
    if shape != (len(instance.tasks), len(instance.buffers)):
        return ("every task needs a start, and every buffer an address",)
    return tuple(
        fault for rule in (_times, _resources, _places, _overlaps) for fault in rule(instance, schedule)
    )


def _times(instance: Instance, schedule: Schedule) -> Iterator[str]:
    start, tasks = schedule.start_ns, instance.tasks
    if min(start, default=0) < 0:
        yield "no task starts before 0"
    for place, task in enumerate(tasks):
        for other in task.after:
            if start[other] + tasks[other].duration_ns > start[place]:
                yield f"task {place} starts before task {other} has ended"
    kernels = [place for place, task in enumerate(tasks) if task.kind is TaskKind.COMPUTE]
    for before, after in pairwise(kernels):
        if start[before] > start[after]:
            yield f"compute {after} starts before compute {before}"
    for unit in {tasks[kernel].resource for kernel in kernels}:
        for before, after in pairwise(kernel for kernel in kernels if tasks[kernel].resource == unit):
            if start[before] + tasks[before].duration_ns > start[after]:
                yield f"compute {after} starts before compute {before} has ended"


def _resources(instance: Instance, schedule: Schedule) -> Iterator[str]:
    for resource in range(len(instance.resources)):
        spans = sorted(
            (start, start + task.duration_ns, place)
            for place, (start, task) in enumerate(zip(schedule.start_ns, instance.tasks, strict=True))
            if task.resource == resource and task.duration_ns
        )
        for one, other in pairwise(spans):
            if one[1] > other[0]:
                yield f"tasks {one[2]} and {other[2]} hold '{instance.resources[resource]}' at the same time"


def _places(instance: Instance, schedule: Schedule) -> Iterator[str]:
    edges = [sum(instance.bank_bytes[:k]) for k in range(len(instance.bank_bytes) + 1)]
    for place, (address, buffer) in enumerate(zip(schedule.address, instance.buffers, strict=True)):
        if address % instance.unit_bytes:
            yield f"buffer {place} must lie at a multiple of {instance.unit_bytes} (got {address})"
        if not any(low <= address and address + buffer.size_bytes <= high for low, high in pairwise(edges)):
            yield f"buffer {place} must lie inside one bank (got {address})"


def _overlaps(instance: Instance, schedule: Schedule) -> Iterator[str]:
    lives = _lives(instance, schedule)
    spans = [(a, a + b.size_bytes) for a, b in zip(schedule.address, instance.buffers, strict=True)]
    for one, other in combinations(range(len(spans)), 2):
        if _meet(lives[one], lives[other]) and _meet(spans[one], spans[other]):
            yield f"buffers {one} and {other} share bytes at the same time"


def _meet(one: tuple[int, int], other: tuple[int, int]) -> bool:
    return max(one[0], other[0]) < min(one[1], other[1])


def _lives(instance: Instance, schedule: Schedule) -> list[tuple[int, int]]:
    """From the first start to the last end of the tasks that use a buffer."""
    end = makespan_ns(instance, schedule)
    found: list[tuple[int, int] | None] = [(0, end) if b.pinned else None for b in instance.buffers]
    for task, start in zip(instance.tasks, schedule.start_ns, strict=True):
        for buffer in (*task.reads, *task.writes):
            low, high = found[buffer] or (start, start)
            found[buffer] = min(low, start), max(high, start + task.duration_ns)
    return [life or (0, 0) for life in found]


# ----------------------------------------------------------------------------- for our schedulers


def graph_of(instance: Instance) -> TaskGraph:
    """The instance as a task graph: every transfer has bytes of storage of its own."""
    buffers = tuple(
        Buffer(
            place,
            b.role,
            0,
            f"buffer {place}",
            b.size_bytes,
            b.pinned,
            None if b.size_bytes else (place, place + 1),
        )
        for place, b in enumerate(instance.buffers)
    )
    tasks = tuple(_task(instance, place, job) for place, job in enumerate(instance.tasks))
    return TaskGraph(tasks, buffers, instance.resources, ())


def _task(instance: Instance, place: int, job: Job) -> Task:
    def touches(buffers: Sequence[int]) -> tuple[Touch, ...]:
        return tuple(Touch(b, Footprint(0, max(1, instance.buffers[b].size_bytes))) for b in buffers)

    transfer = None
    if job.kind is not TaskKind.COMPUTE:
        region = RegionName.IMAGE if job.kind is TaskKind.LOAD else RegionName.SCRATCH
        transfer = Transfer(region, place, 1)
    resource = instance.resources[job.resource]
    return Task(
        place, job.kind, resource, job.duration_ns, job.layer, place, touches(job.reads), touches(job.writes),
        job.after, transfer,
    )  # fmt: skip


def problem_of(instance: Instance) -> Problem:
    """A problem with the banks of an instance and nothing to compute, for schedulers that ask for one."""
    banks = tuple(Bank(f"bank {place}", size) for place, size in enumerate(instance.bank_bytes))
    port = Port("port", "spi", 1, 1, 1.0, 1.0, 0)
    board = Board(
        name=instance.name, title=instance.name, core="", cores=1, clock_hz=1,
        usable_bytes=instance.unit_bytes * MAX_UNITS, banks=banks, flash_bytes=None, dma_channels=1,
        overlaps_cpu=True, dma_setup_cycles=0.0, cpu_stall_cycles_per_byte=0.0, ports=(port,), runtimes=(),
        active_mw=1.0, io_wait_mw=1.0, sleep_mw=0.0,
    )  # fmt: skip
    access = StorageAccess(1, 0, 1)
    part = Storage("", "sd", 1 << 40, False, access, access, None, None, 0.0, 0.0, 0.0, 0.0, 0.0)
    store = Store("both", port, part)
    target = Target(
        instance.name, instance.name, board, RuntimeCost("", 1.0, 1.0, 1.0, 0.0, 0.0), store, store
    )
    network = Network(instance.name, {}, (), (), ())
    return Problem(network, target, sum(instance.bank_bytes) + RESERVED_BYTES, IoPlace.STORAGE)
