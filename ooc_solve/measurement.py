"""Measured runs of emitted projects on an emulated machine that counts instructions."""

from __future__ import annotations

import csv
import math
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from ooc_solve.codegen.project import write_project
from ooc_solve.models.calibration import KernelSample, RequestSample
from ooc_solve.models.cost import check_ns, compute_ns, handling_ns, interruption_ns, opening_ns, sealing_ns
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.reference import pack_input
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import (
    Board,
    DType,
    InputError,
    Network,
    Plan,
    Target,
    Task,
    TaskKind,
    Tensor,
    Transfer,
)
from ooc_solve.solver.clock import interrupted
from ooc_solve.solver.streams import earliest_times

NAME = "measured"
NS_PER_S = 1_000_000_000


@dataclass(frozen=True, slots=True)
class Event:
    """The start or the end of a command, in ns since the first one."""

    stream: int
    index: int
    is_start: bool
    ns: float


@dataclass(frozen=True, slots=True)
class Measurement:
    """A plan and what its run took; ``events`` come from a second run that keeps a log."""

    problem: Problem
    plan: Plan
    makespan_ns: float
    events: tuple[Event, ...]

    def task(self, event: Event) -> Task:
        """The task that an event is about."""
        return self.plan.graph.tasks[self.plan.streams.order[event.stream][event.index]]


# ---------------------------------------------------------------------------------- running


def measure(problem: Problem, plan: Plan, folder: Path) -> Measurement:
    """Build and run a plan twice in ``folder``, without and with a log of its commands.

    Raises
    ------
    InputError
        If the board names no machine that counts, or the project does not build or run.
    """
    shift = instruction_shift(problem.target.board)
    project = folder / "project"
    write_project(problem, plan, project, NAME)
    (folder / "input.bin").write_bytes(random_input(problem.network))
    ticks, ticks_per_s = _run(project, shift, "")
    for stale in (project / "build" / "target").glob("machine_*.o"):
        stale.unlink()
    _run(project, shift, "-DOOC_EVENT_LOG")
    events = tuple(_events(project / "build" / "run" / "events.csv"))
    return Measurement(ordered(problem, plan.selection.order), plan, ticks * NS_PER_S / ticks_per_s, events)


def instruction_shift(board: Board) -> int:
    """How often a nanosecond is doubled to make the time of an instruction of a board's machine.

    Raises
    ------
    InputError
        If the board names no machine that counts.
    """
    if board.emulator is None:
        raise InputError(
            f"Board '{board.name}' must name an emulated machine to be measured (it has no 'emulator')."
        )
    shift = round(math.log2(NS_PER_S / board.clock_hz))
    if board.clock_hz << shift != NS_PER_S:
        raise InputError(
            f"Board '{board.name}': cpu.clock_hz must be 10^9 / 2^n, an instruction per cycle (got {board.clock_hz})."
        )
    return shift


def random_input(network: Network) -> bytes:
    """Bytes for all inputs of a network that a caller writes, from a fixed seed."""
    random = np.random.default_rng(1)

    def values(tensor: Tensor) -> bytes:
        shape = tensor.graph_shape or (tensor.height, tensor.width, tensor.channels)
        if tensor.dtype is DType.FLOAT32:
            array = random.standard_normal(shape).astype(np.float32)
        elif tensor.dtype is DType.UINT8:
            array = random.integers(0, 256, shape).astype(np.uint8)
        else:
            array = random.integers(-128, 128, shape).astype(np.int8)
        return pack_input(network, tensor.name, array)

    return b"".join(values(network.tensors[name]) for name in network.given)


def _run(project: Path, shift: int, define: str) -> tuple[int, int]:
    """Ticks of the run and ticks per second."""
    command = ["make", "-s", "-C", str(project), "run", f"ICOUNT={shift}", f"TARGET_CFLAGS=-O2 {define}"]
    files = [f"INPUT={project.parent / 'input.bin'}", f"OUTPUT={project.parent / 'output.bin'}"]
    try:
        done = subprocess.run([*command, *files], capture_output=True, text=True, check=False)
    except OSError as error:
        raise InputError(f"A measurement needs 'make' ({error.strerror}).") from error
    if done.returncode != 0:
        said = (done.stderr.strip() or "no message").splitlines()[0]
        raise InputError(f"The project in '{project}' must build and run on its machine ({said}).")
    values = dict(line.split(" ", 1) for line in done.stdout.splitlines() if line.count(" ") == 1)
    return int(values["ticks"]), int(values["ticks_per_s"])


def _events(path: Path) -> Iterator[Event]:
    with path.open(newline="") as file:
        for row in csv.DictReader(file):
            start = row["event"] == "start"
            yield Event(int(row["stream"]), int(row["index"]), start, int(row["ns"]))


# ---------------------------------------------------------------------------------- samples


def kernel_samples(measured: Measurement, cycles_per_checked_byte: float) -> list[KernelSample]:
    """Cycles of each kernel call, with what the runtime did before it since the last event.

    What checking records took is left out, at so many cycles per byte, and what unpacking their weights took.
    """
    target, samples = measured.problem.target, []
    clock_hz, records = target.board.clock_hz, checked_bytes(measured.plan)
    packed = packed_weights(measured.plan)
    for before, start, end in _pairs(measured):
        task = measured.task(start)
        if task.kind is TaskKind.COMPUTE:
            op = measured.problem.network.ops[task.stage]
            geometry = StageGeometry.of(
                measured.problem.network, op, measured.plan.selection.tilings[task.stage]
            )
            work = geometry.exact_work(geometry.index(task.tile))
            cycles = (end.ns - before.ns) * clock_hz / NS_PER_S
            cycles -= cycles_per_checked_byte * records[task.index]
            cycles -= target.runtime.cycles_per_unpacked_weight * packed[task.index]
            samples.append(
                KernelSample(f"{work.kind} {task.stage}, {measured.problem.network.name}", work, cycles)
            )
    return samples


def request_samples(measured: Measurement) -> list[RequestSample]:
    """Cycles the CPU spent on each transfer that nothing came between, and before each kernel."""
    target, samples = measured.problem.target, []
    records, packed = checked_bytes(measured.plan), packed_weights(measured.plan)
    for before, start, end in _pairs(measured):
        task = measured.task(start)
        transfer = task.transfer
        label = f"{measured.problem.network.name}: {task.kind.value} {task.index}"
        if transfer is None:
            cycles = (start.ns - before.ns) * target.board.clock_hz / NS_PER_S
            cycles -= target.runtime.cycles_per_unpacked_weight * packed[task.index]
            samples.append(RequestSample(label, 0, records[task.index], cycles, kernels=1))
        else:
            handling = handling_ns(target, transfer.size_bytes, transfer.segments)
            spent = end.ns - before.ns - (task.duration_ns - handling)
            cycles = spent * target.board.clock_hz / NS_PER_S
            samples.append(RequestSample(label, transfer.segments, 0, cycles))
    return samples


def checked_bytes(plan: Plan) -> tuple[int, ...]:
    """Per task, the bytes of the records that the runtime checks before it.

    They are those among all commands that it waits for, and that no kernel before waited for: on a channel the
    record of a later kernel may come first, and is then checked early.
    """
    return tuple(sum(move.size_bytes for move in moves) for moves in _checked_moves(plan))


def packed_weights(plan: Plan) -> tuple[int, ...]:
    """Per task, the weights of four bits in these records."""
    return tuple(sum(move.packed_weights for move in moves) for moves in _checked_moves(plan))


def _checked_moves(plan: Plan) -> list[list[Transfer]]:
    order = plan.streams.order
    seen: list[int] = [0] * len(order)
    found: list[list[Transfer]] = [[] for _ in plan.graph.tasks]
    for position, index in enumerate(order[0]):
        if plan.graph.tasks[index].kind is TaskKind.COMPUTE:
            needs = plan.streams.required[index] if len(order) > 1 else (position,)
            for stream in range(min(1, len(order) - 1), len(order)):
                moves = [plan.graph.tasks[k].moved for k in order[stream][seen[stream] : needs[stream]]]
                found[index] += [move for move in moves if move is not None and move.checked]
                seen[stream] = max(seen[stream], needs[stream])
    return found


def record_bytes(plan: Plan) -> tuple[int, ...]:
    """Per task, the bytes of the records that the cost model lets it check: it is the first that reads them."""
    return tuple(sum(move.size_bytes for move in moves) for moves in _records_read_first(plan))


def _records_read_first(plan: Plan) -> list[list[Transfer]]:
    checked: set[int] = set()
    found: list[list[Transfer]] = [[] for _ in plan.graph.tasks]
    for task in plan.graph.tasks:
        if task.kind is TaskKind.COMPUTE:
            loads = [plan.graph.tasks[load].moved for load in set(task.after) - checked]
            found[task.index] = [move for move in loads if move is not None and move.checked]
            checked |= set(task.after)
    return found


def _pairs(measured: Measurement) -> Iterator[tuple[Event, Event, Event]]:
    """When the CPU turned to it, the start and the end of each command that no event fell into.

    The start of a kernel is told after its records were checked, which begins with the end of the kernel before
    or of a transfer that it waits for: one that follows any other event is left out.
    """
    events = measured.events
    for before, start, end in zip(events, events[1:], events[2:], strict=False):
        same = (start.stream, start.index) == (end.stream, end.index)
        if not same or not start.is_start or end.is_start:
            continue
        task, last = measured.task(start), measured.task(before)
        if task.transfer is not None:
            # after the start of a transfer, the CPU was still busy with that one
            yield start if before.is_start else before, start, end
        elif not before.is_start and (last.transfer is None or last.index in task.after):
            yield before, start, end


# ------------------------------------------------------------------------------- prediction


def predict(measured: Measurement, target: Target) -> int:
    """Return how long the measured plan takes with the figures of ``target``, in ns."""
    plan, request_ns = with_durations(measured, target), interruption_ns(target)
    starts = earliest_times(plan.graph, plan.streams, request_ns)
    graph = interrupted(plan.graph, starts, request_ns)
    return max(start + task.duration_ns for start, task in zip(starts, graph.tasks, strict=True))


def with_durations(measured: Measurement, target: Target) -> Plan:
    """The measured plan with the durations of another calibration of its target, kernels without interruptions."""
    problem, plan = measured.problem, measured.plan
    records = record_bytes(plan)
    packed = [sum(move.packed_weights for move in moves) for moves in _records_read_first(plan)]

    def duration(task: Task) -> int:
        if task.transfer is None:
            op = problem.network.ops[task.stage]
            geometry = StageGeometry.of(problem.network, op, plan.selection.tilings[task.stage])
            work = geometry.tile_work(geometry.index(task.tile))
            checks = check_ns(target, records[task.index], packed[task.index]) if records[task.index] else 0
            return compute_ns(target, work) + checks
        if task.moved is None:
            return (opening_ns if task.kind is TaskKind.DECRYPT else sealing_ns)(target, task.transfer)
        figures = task.transfer.size_bytes, task.transfer.segments
        return task.duration_ns - handling_ns(problem.target, *figures) + handling_ns(target, *figures)

    tasks = tuple(replace(task, duration_ns=duration(task)) for task in plan.graph.tasks)
    return replace(plan, graph=replace(plan.graph, tasks=tasks))
