"""What a schedule costs, counted from its tasks by the model of the target."""

from __future__ import annotations

from collections import Counter
from fractions import Fraction

from ooc_solve.models.energy import Traffic, energy_nj, erased_bytes
from ooc_solve.models.footprint import count_table_bytes
from ooc_solve.models.levelling import Ring
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Figures, RegionName, Schedule, TaskGraph, TaskKind
from ooc_solve.models.wear import block_programs, lifetime_years, wear_block_bytes


def figures_of(
    problem: Problem, graph: TaskGraph, schedule: Schedule, inferences_per_day: float | None = None
) -> Figures:
    """Count everything a schedule costs.

    ``sram_peak_bytes`` is the highest end of a buffer in the arena plus the reserve of the
    runtime. ``compute_ns`` and ``io_ns`` are sums of durations, whether or not they overlap.
    The lifetime is that at the problem's rate unless another is given.

    Raises
    ------
    ValueError
        If the schedule or the graph cannot be costed, e.g. kernels that take longer than the makespan.
    """
    makespan, compute = _makespan_ns(graph, schedule), compute_ns(graph)
    traffic = traffic_of(problem, graph)
    return Figures(
        latency_ns=makespan,
        energy_nj=energy_nj(problem.target, compute, makespan, traffic),
        bytes_read=sum(store.read_bytes for store in traffic),
        bytes_written=sum(store.written_bytes for store in traffic),
        sram_peak_bytes=_arena_peak_bytes(graph, schedule) + problem.reserved_bytes,
        table_bytes=count_table_bytes(problem, graph),
        compute_ns=compute,
        io_ns=_busy_ns(graph, TaskKind.LOAD, TaskKind.STORE),
        lifetime_years=_lifetime_years(problem, graph, traffic, inferences_per_day),
    )


def traffic_of(problem: Problem, graph: TaskGraph) -> tuple[Traffic, ...]:
    """What moves to and from each of ``target.stores``, the note in a ring included."""
    storage = [store.storage for store in problem.target.stores]
    store_of = {region: problem.store_index(region) for region in problem.regions}
    moved = [[0] * 6 for _ in storage]
    for task in graph.tasks:
        if task.moved is not None:
            store, sums = store_of[task.moved.region], moved[store_of[task.moved.region]]
            requests, size = task.moved.segments, task.moved.segment_bytes
            write = task.kind is TaskKind.STORE
            sums[write] += requests * size
            sums[2 + write] += requests
            sums[5] += task.moved.sealed_bytes
            sums[4] += requests * erased_bytes(storage[store], size) if write else 0
    note = note_bytes(problem, graph)
    if note:
        sums = moved[store_of[RegionName.SCRATCH]]
        sums[1], sums[3] = sums[1] + note, sums[3] + 1
        sums[4] += erased_bytes(storage[store_of[RegionName.SCRATCH]], note)
    return tuple(Traffic(*sums) for sums in moved)


def written_bytes(problem: Problem, graph: TaskGraph) -> int:
    """Bytes written in an inference, the note in a ring included."""
    stored = sum(t.transfer.size_bytes for t in graph.tasks if t.transfer and t.kind is TaskKind.STORE)
    return stored + note_bytes(problem, graph)


def scratch_bytes(graph: TaskGraph) -> int:
    """Bytes of the scratch region."""
    return sum(region.size_bytes for region in graph.regions if region.name is RegionName.SCRATCH)


def ring_of(problem: Problem, graph: TaskGraph) -> Ring | None:
    """Where the scratch region takes turns, None if it does not, or if there is none."""
    return problem.ring(scratch_bytes(graph))


def note_bytes(problem: Problem, graph: TaskGraph) -> int:
    """Bytes that a run writes to say which place of the ring it uses."""
    return problem.note_bytes if scratch_bytes(graph) else 0


def compute_ns(graph: TaskGraph) -> int:
    """Sum of what the CPU takes for kernels and for opening and sealing between them, and an NPU for its kernels."""
    return sum(task.duration_ns for task in graph.tasks if task.occupies_unit)


def programs_of(
    graph: TaskGraph, block_bytes: int, base: dict[RegionName, int] | None = None
) -> Counter[tuple[RegionName, int]]:
    """Write requests that touch each block of each region, which begin at multiples of a block or at ``base``."""
    found: Counter[tuple[RegionName, int]] = Counter()
    for task in graph.tasks:
        if task.transfer is not None and task.kind is TaskKind.STORE:
            at, region = task.transfer, task.transfer.region
            first = at.offset + (base or {}).get(region, 0)
            requests = ((first + i * at.pitch, at.segment_bytes) for i in range(at.segments))
            for block, count in block_programs(requests, block_bytes).items():
                found[region, block] += count
    return found


def hottest_programs(problem: Problem, graph: TaskGraph) -> Fraction:
    """Programs per inference of the erase block that is written most often; 0 where blocks do not wear each for itself.

    Regions begin on erase blocks (`codegen.table_builder`), so no block belongs to two of them. In a ring every place
    has its turn, so the blocks of the scratch region and the note behind it have their share of the runs.
    """
    block = wear_block_bytes(problem.activation_store.storage)
    if block is None:
        return Fraction(0)
    ring, programs = ring_of(problem, graph), programs_of(graph, block)
    if ring is None:
        return Fraction(max(programs.values(), default=0))
    for number in block_programs([(ring.note_offset, ring.note_bytes)], block):
        programs[RegionName.SCRATCH, number] += 1
    shares = {RegionName.SCRATCH: ring.share}
    return max(count * shares.get(region, Fraction(1)) for (region, _), count in programs.items())


def _makespan_ns(graph: TaskGraph, schedule: Schedule) -> int:
    ends = zip(graph.tasks, schedule.start_ns, strict=True)
    return max((start + task.duration_ns for task, start in ends), default=0)


def _busy_ns(graph: TaskGraph, *kinds: TaskKind) -> int:
    return sum(task.duration_ns for task in graph.tasks if task.kind in kinds)


def _arena_peak_bytes(graph: TaskGraph, schedule: Schedule) -> int:
    placed = zip(graph.buffers, schedule.address, strict=True)
    return max((address + buffer.size_bytes for buffer, address in placed), default=0)


def _lifetime_years(
    problem: Problem, graph: TaskGraph, traffic: tuple[Traffic, ...], inferences_per_day: float | None
) -> float | None:
    """Years until the activation store wears out."""
    rate = problem.inferences_per_day if inferences_per_day is None else inferences_per_day
    written = traffic[problem.store_index(RegionName.SCRATCH)].written_bytes
    storage = problem.activation_store.storage
    runs_per_day = Fraction(str(rate)) / problem.network.frames
    return lifetime_years(storage, written, hottest_programs(problem, graph), runs_per_day)
