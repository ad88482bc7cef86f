"""Energy and wear of a plan worked out a second time, from its timetable alone.

`figures` multiplies sums by rates; here power is integrated over the intervals of the timetable, each
transfer is charged by itself, and erase blocks are counted one by one. Only the board file is shared.
"""

from __future__ import annotations

import math
from collections import defaultdict
from fractions import Fraction

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Plan, Task, TaskKind


def audited_energy_nj(problem: Problem, plan: Plan) -> int:
    """Energy of a plan in nJ, rounded up."""
    end_ns = max((s + t.duration_ns for t, s in _timetable(plan)), default=0)
    total = _cpu_pj(problem, plan, end_ns)
    for store in problem.target.stores:
        total += Fraction(str(store.storage.idle_mw)) * end_ns
    for task in plan.graph.tasks:
        if task.transfer is not None:
            total += _transfer_pj(problem, task)
    return math.ceil(total / 1000)


def _timetable(plan: Plan) -> list[tuple[Task, int]]:
    return list(zip(plan.graph.tasks, plan.schedule.start_ns, strict=True))


def _cpu_pj(problem: Problem, plan: Plan, end_ns: int) -> Fraction:
    """The board's power over time: active while a kernel runs or the CPU moves data, else waiting."""
    board = problem.target.board
    changes: defaultdict[int, int] = defaultdict(int)
    for task, start in _timetable(plan):
        if task.kind is TaskKind.COMPUTE:
            changes[start] += 1
            changes[start + task.duration_ns] -= 1
    active_ns = running = before = 0
    for now in sorted(changes):
        active_ns += now - before if running else 0
        running, before = running + changes[now], now
    if not board.overlaps_cpu:
        active_ns = end_ns
    wait_ns = end_ns - active_ns
    return Fraction(str(board.active_mw)) * active_ns + Fraction(str(board.io_wait_mw)) * wait_ns


def _transfer_pj(problem: Problem, task: Task) -> Fraction:
    """What the part and the CPU take for one transfer, request by request."""
    assert task.transfer is not None
    board, size = problem.target.board, task.transfer.segment_bytes
    part = problem.target.stores[problem.store_index(task.transfer.region)].storage
    if task.kind is TaskKind.LOAD:
        nj = Fraction(str(part.read_nj_per_byte)) * size + Fraction(str(part.read_nj_per_request))
    else:
        nj = Fraction(str(part.write_nj_per_byte)) * size + Fraction(str(part.write_nj_per_request))
        if part.erase is not None and part.erase.required:
            blocks = math.ceil(Fraction(size, part.erase.block_bytes))
            nj += Fraction(str(part.erase_nj_per_byte)) * blocks * part.erase.block_bytes
    each = 1000 * nj
    if board.overlaps_cpu:
        extra_mw = Fraction(str(board.active_mw)) - Fraction(str(board.io_wait_mw))
        each += extra_mw * Fraction(str(board.dma_setup_cycles)) * 10**9 / board.clock_hz
    return each * task.transfer.segments


def audited_programs(problem: Problem, plan: Plan) -> int:
    """Programs of the erase block that is written most often, 0 where blocks do not wear each for itself."""
    part = problem.activation_store.storage
    if part.endurance is None or part.endurance.unit != "block":
        return 0
    size = part.erase.block_bytes if part.erase is not None else part.write.granularity_bytes
    count: defaultdict[tuple[str, int], int] = defaultdict(int)
    for task in plan.graph.tasks:
        if task.kind is TaskKind.STORE and task.transfer is not None:
            at = task.transfer
            for segment in range(at.segments):
                first = at.offset + segment * at.pitch
                for block in range(first // size, -(-(first + at.segment_bytes) // size)):
                    count[at.region.value, block] += 1
    return max(count.values(), default=0)


def audited_lifetime_years(problem: Problem, plan: Plan) -> float | None:
    """Years until the storage of the activations wears out, None if it never does."""
    part, written = problem.activation_store.storage, 0
    for task in plan.graph.tasks:
        if task.kind is TaskKind.STORE and task.transfer is not None:
            written += task.transfer.segments * task.transfer.segment_bytes
    if part.endurance is None or part.endurance.unit == "byte" or not written:
        return None
    cycles = part.endurance.cycles / Fraction(str(part.endurance.write_amplification))
    each_day = Fraction(str(problem.inferences_per_day)) / problem.network.frames
    if not each_day:
        return None
    if part.endurance.unit == "device":
        days = cycles * part.capacity_bytes / written / each_day
    else:
        days = cycles / audited_programs(problem, plan) / each_day
    return float(days / Fraction("365.25"))
