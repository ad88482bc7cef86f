"""Energy and wear of a plan worked out a second time, from its timetable alone.

`figures` multiplies sums by rates; here power is integrated over the intervals of the timetable, each
transfer is charged by itself, and erase blocks are counted one by one. Only the board file is shared.
"""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from fractions import Fraction

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Plan, RegionName, Task, TaskKind, Transfer


def audited_energy_nj(problem: Problem, plan: Plan) -> int:
    """Energy of a plan in nJ, rounded up."""
    end_ns = max((s + t.duration_ns for t, s in _timetable(plan)), default=0)
    total = _cpu_pj(problem, plan, end_ns)
    for store in problem.target.stores:
        total += Fraction(str(store.storage.idle_mw)) * end_ns
    for task in plan.graph.tasks:
        if task.moved is not None:
            total += _transfer_pj(problem, task.kind, task.moved)
    turns = _turns(problem, plan)
    if turns is not None:
        total += _transfer_pj(problem, TaskKind.STORE, Transfer(RegionName.SCRATCH, 0, turns.note_bytes))
    return math.ceil(total / 1000)


def _timetable(plan: Plan) -> list[tuple[Task, int]]:
    return list(zip(plan.graph.tasks, plan.schedule.start_ns, strict=True))


def _cpu_pj(problem: Problem, plan: Plan, end_ns: int) -> Fraction:
    """The board's power over time: active while the CPU computes, opens, seals or moves data, else waiting.

    An NPU that computes adds as much to waiting as the CPU does.
    """
    board = problem.target.board
    changes: defaultdict[int, int] = defaultdict(int)
    for task, start in _timetable(plan):
        if task.occupies_unit:
            changes[start] += 1
            changes[start + task.duration_ns] -= 1
    active_ns = running = before = 0
    for now in sorted(changes):
        active_ns += (now - before) * running
        running, before = running + changes[now], now
    if not board.overlaps_cpu:
        active_ns = end_ns
    wait_ns = end_ns - active_ns
    return Fraction(str(board.active_mw)) * active_ns + Fraction(str(board.io_wait_mw)) * wait_ns


def _transfer_pj(problem: Problem, kind: TaskKind, moved: Transfer) -> Fraction:
    """What the part and the CPU take for one transfer, request by request."""
    board, size = problem.target.board, moved.segment_bytes
    part = problem.target.stores[problem.store_index(moved.region)].storage
    if kind is TaskKind.LOAD:
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
    cipher = problem.target.crypto
    sealing = 1000 * Fraction(str(cipher.nj_per_byte)) * moved.sealed_bytes if cipher else 0
    return each * moved.segments + sealing


@dataclass(frozen=True, slots=True)
class _Turns:
    """The ring as the board file and the plan's tasks make it: places, bytes of one and of its note, where that lies."""

    places: int
    place_bytes: int
    note_bytes: int
    note_at: int


def audited_ring_bytes(problem: Problem, plan: Plan) -> tuple[int, int] | None:
    """Bytes of a place of the ring, and of all that are used; None without a ring or without spilled tensors."""
    turns = _turns(problem, plan)
    return None if turns is None else (turns.place_bytes, turns.places * turns.place_bytes)


def audited_written_bytes(problem: Problem, plan: Plan) -> int:
    """Bytes written in a run, the note in the ring among them."""
    turns = _turns(problem, plan)
    stores = [t.transfer for t in plan.graph.tasks if t.kind is TaskKind.STORE and t.transfer is not None]
    return sum(at.segments * at.segment_bytes for at in stores) + (turns.note_bytes if turns else 0)


def _turns(problem: Problem, plan: Plan) -> _Turns | None:
    """The region ends at a granule, the note takes whole granules for its 16 bytes, and places begin on erase blocks."""
    (size,) = [r.size_bytes for r in plan.graph.regions if r.name is RegionName.SCRATCH] or [0]
    if problem.scratch_ring_bytes is None or size == 0:
        return None
    part, shared = problem.activation_store.storage, problem.target.activations == problem.target.weights
    granule = problem.granule_bytes(RegionName.SCRATCH)
    steps = [granule, problem.granule_bytes(RegionName.IMAGE) if shared else 1]
    steps += [part.erase.block_bytes] if part.erase is not None and part.erase.required else []
    at, note = math.ceil(size / granule) * granule, math.ceil(16 / granule) * granule
    whole = math.ceil((at + note) / max(steps)) * max(steps)
    return _Turns(min(65535, max(1, problem.scratch_ring_bytes // whole)), whole, note, at)


def audited_programs(problem: Problem, plan: Plan) -> Fraction:
    """Programs per run of the erase block that is written most often, 0 where blocks do not wear each for itself.

    With a ring a lap of it is counted: every place once, all else as often as there are places.
    """
    part, turns = problem.activation_store.storage, _turns(problem, plan)
    if part.endurance is None or part.endurance.unit != "block":
        return Fraction(0)
    size = part.erase.block_bytes if part.erase is not None else part.write.granularity_bytes
    lap = 1 if turns is None else turns.places
    count: defaultdict[tuple[str, int], int] = defaultdict(int)
    for task in plan.graph.tasks:
        if task.kind is TaskKind.STORE and task.transfer is not None:
            at = task.transfer
            runs = 1 if at.region is RegionName.SCRATCH else lap
            for segment in range(at.segments):
                first = at.offset + segment * at.pitch
                for block in range(first // size, -(-(first + at.segment_bytes) // size)):
                    count[at.region.value, block] += runs
    if turns is not None:
        for block in range(turns.note_at // size, -(-(turns.note_at + turns.note_bytes) // size)):
            count[RegionName.SCRATCH.value, block] += 1
    return Fraction(max(count.values(), default=0), lap)


def audited_lifetime_years(problem: Problem, plan: Plan) -> float | None:
    """Years until the storage of the activations wears out, None if it never does."""
    part, written = problem.activation_store.storage, audited_written_bytes(problem, plan)
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
