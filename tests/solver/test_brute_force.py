"""The tile-level model finds what trying everything finds, on graphs small enough to try everything."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from fractions import Fraction
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.energy import energy_nj
from ooc_solve.models.levelling import NOTE_BYTES
from ooc_solve.models.limits import Limits
from ooc_solve.models.problem import Problem
from ooc_solve.models.target import load_storage
from ooc_solve.models.vocabulary import (
    CRYPTO,
    Budget,
    Crypto,
    Objective,
    RegionName,
    Status,
    TaskGraph,
    TaskKind,
)
from ooc_solve.models.wear import wear_block_bytes
from ooc_solve.solver.allowance import excesses
from ooc_solve.solver.cpsat import lower_bound_ns, solve_graph
from ooc_solve.solver.figures import figures_of, traffic_of, written_bytes
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.objective import score, value

Case = tuple[Problem, TaskGraph]
Pairs = frozenset[tuple[int, int]]

BUDGET = Budget(60.0, 1, 1)


# ---------------------------------------------------------------------- brute force


def touched(graph: TaskGraph, task: int) -> set[int]:
    """Buffers of a task."""
    return {touch.buffer for touch in (*graph.tasks[task].reads, *graph.tasks[task].writes)}


def positions(problem: Problem, size_bytes: int) -> list[int]:
    """Every address at which a buffer lies inside one bank, unit by unit."""
    found: list[int] = []
    low = 0
    for _, bank in problem.banks:
        found += range(low, low + bank - size_bytes + 1, problem.unit_bytes)
        low += bank
    return found


def sharing_patterns(problem: Problem, graph: TaskGraph) -> set[Pairs]:
    """Which pairs of buffers share bytes, for every way to give all buffers addresses.

    Patterns that share more than another one does are left out: they forbid more.
    """
    together = {pair for t in range(len(graph.tasks)) for pair in combinations(sorted(touched(graph, t)), 2)}
    together |= {
        (a.index, b.index) for a, b in combinations(graph.buffers, 2) if a.pinned or b.pinned
    }  # a pinned buffer is never anybody else's
    found: set[Pairs] = set()

    def extend(placed: list[int], pairs: Pairs) -> None:
        if len(placed) == len(graph.buffers):
            found.add(pairs)
            return
        b = len(placed)
        size = graph.buffers[b].size_bytes
        for low in positions(problem, size):
            shared = {
                (a, b)
                for a, at in enumerate(placed)
                if at < low + size and low < at + graph.buffers[a].size_bytes
            }
            if not shared & together:
                extend([*placed, low], pairs | shared)

    extend([], frozenset())
    return {pairs for pairs in found if not any(other < pairs for other in found)}


@dataclass(slots=True)
class Timetables:
    """All schedules in which every task starts as early as the tasks before it allow."""

    graph: TaskGraph
    pairs: Pairs

    def makespans(self) -> frozenset[int]:
        """Makespans of all of them; empty where the shared bytes contradict each other."""
        tasks = self.graph.tasks
        users: list[set[int]] = [set() for _ in self.graph.buffers]
        for task in tasks:
            for buffer in touched(self.graph, task.index):
                users[buffer].add(task.index)
        rivals: list[list[set[int]]] = [[] for _ in tasks]
        for task in tasks:
            for a, b in self.pairs:
                for mine, other in ((a, b), (b, a)):
                    if task.index in users[mine]:
                        rivals[task.index].append(users[other])
        steps = [task.index for task in self.graph.compute_tasks]
        before = dict(zip(steps[1:], steps, strict=False))
        known: dict[tuple[int, ...], frozenset[int]] = {}

        def outcomes(ends: tuple[int, ...]) -> frozenset[int]:
            """Makespans that can be reached from tasks that end then (-1: not started)."""
            if ends in known:
                return known[ends]
            found: set[int] = set()
            for task in tasks:
                if ends[task.index] < 0 and (begin := earliest(ends, task.index)) is not None:
                    end = begin + task.duration_ns
                    found |= outcomes((*ends[: task.index], end, *ends[task.index + 1 :]))
            known[ends] = frozenset(found) if min(ends) < 0 else frozenset({max(ends)})
            return known[ends]

        def earliest(ends: tuple[int, ...], t: int) -> int | None:
            needed = [*tasks[t].after]
            if any(ends[other] < 0 for other in (*needed, *([before[t]] if t in before else []))):
                return None
            for others in rivals[t]:  # whoever shares bytes has finished, or has not begun
                if any(ends[other] >= 0 for other in others):
                    if any(ends[other] < 0 for other in others):
                        return None
                    needed += others
            needed += [u.index for u in tasks if u.resource == tasks[t].resource and ends[u.index] >= 0]
            issued = ends[before[t]] - tasks[before[t]].duration_ns if t in before else 0
            return max((issued, *(ends[other] for other in needed)))

        return outcomes((-1,) * len(tasks))


def all_makespans(problem: Problem, graph: TaskGraph) -> frozenset[int]:
    """Makespans of all schedules without needless waiting; empty if the buffers do not fit."""
    found: set[int] = set()
    for pairs in sharing_patterns(problem, graph):
        found |= Timetables(graph, pairs).makespans()
    return frozenset(found)


# ---------------------------------------------------------------------------- tests


def cpu_ns(graph: TaskGraph) -> int:
    """What the CPU does, kernels and crypto tasks that no engine has, and an NPU."""
    return sum(t.duration_ns for t in graph.tasks if t.resource in ("cpu", "npu") and t.moved is None)


def check(problem: Problem, graph: TaskGraph) -> None:
    """Compare makespan, energy and bytes written with those of every possible schedule."""
    makespans = all_makespans(problem, graph)
    result = solve_graph(problem, graph, None, BUDGET)
    if not makespans:
        assert result.status is Status.INFEASIBLE
        return
    assert result.status is Status.OPTIMAL
    assert result.schedule is not None
    assert makespan_ns(graph, result.schedule.start_ns) == min(makespans)
    assert lower_bound_ns(graph) <= result.bound_ns == min(makespans)
    figures = figures_of(problem, graph, result.schedule)
    compute = cpu_ns(graph)
    moved = traffic_of(problem, graph)
    energies = [energy_nj(problem.target, compute, makespan, moved) for makespan in makespans]
    written = written_bytes(problem, graph)
    assert value(Objective.ENERGY, figures) == min(energies)
    assert value(Objective.WEAR, figures) == written
    plans = [(written, m, e, written) for m, e in zip(makespans, energies, strict=True)]
    assert score(Objective.WEAR, figures) == min(plans)


def hottest(problem: Problem, graph: TaskGraph) -> Fraction:
    """Programs of the busiest erase block per run, byte by byte: a request programs each block that it touches."""
    block = wear_block_bytes(problem.activation_store.storage)
    if block is None:
        return Fraction(0)
    requests = [
        range(t.transfer.offset + k * t.transfer.pitch, t.transfer.offset + k * t.transfer.pitch + size)
        for t in graph.tasks
        if t.transfer is not None and t.kind is TaskKind.STORE
        for k, size in enumerate([t.transfer.segment_bytes] * t.transfer.segments)
    ]
    places = Fraction(1)
    scratch = max(region.size_bytes for region in graph.regions if region.name is RegionName.SCRATCH)
    if problem.scratch_ring_bytes is not None and scratch:
        granule, erase = problem.granule_bytes(RegionName.SCRATCH), problem.block_bytes(RegionName.SCRATCH)
        note = -(-scratch // granule) * granule
        end = note + -(-NOTE_BYTES // granule) * granule
        requests.append(range(note, end))
        places = Fraction(problem.scratch_ring_bytes // (-(-end // erase) * erase))
    found = Counter(number for bytes_ in requests for number in {byte // block for byte in bytes_})
    return max(found.values(), default=0) / places


def lives(problem: Problem, graph: TaskGraph, years: float) -> bool:
    """Whether the part that is written lives so long, by its bytes or by its busiest block."""
    storage = problem.activation_store.storage
    endurance = storage.endurance
    if endurance is None or endurance.unit == "byte":
        return True
    stress: Fraction | int = hottest(problem, graph)
    if endurance.unit == "device":
        stress = Fraction(written_bytes(problem, graph), storage.capacity_bytes)
    runs = Fraction(str(years)) * Fraction("365.25") * Fraction(str(problem.inferences_per_day))
    return stress * Fraction(str(endurance.write_amplification)) * runs <= endurance.cycles


def check_within(problem: Problem, graph: TaskGraph, limits: Limits, written: int | None) -> None:
    """Under budgets there is a schedule exactly where one of all possible ones keeps to them; it is the best."""
    problem = replace(problem, limits=limits, write_budget_bytes=written)
    compute, moved = cpu_ns(graph), traffic_of(problem, graph)
    lasts = limits.lifetime_years is None or lives(problem, graph, limits.lifetime_years)

    def energy(makespan: int) -> int:
        return energy_nj(problem.target, compute, makespan, moved)

    def keeps(makespan: int) -> bool:
        late = limits.latency_ns is not None and makespan > limits.latency_ns
        costly = limits.energy_nj is not None and energy(makespan) > limits.energy_nj
        few = written is None or written_bytes(problem, graph) <= written
        return lasts and few and not late and not costly

    kept = [makespan for makespan in all_makespans(problem, graph) if keeps(makespan)]
    result = solve_graph(problem, graph, None, BUDGET)
    if not kept:
        assert result.status is Status.INFEASIBLE
        assert result.schedule is None
        return
    assert result.status is Status.OPTIMAL
    assert result.schedule is not None
    figures = figures_of(problem, graph, result.schedule)
    assert figures.latency_ns == min(kept)
    least = {
        Objective.LATENCY: min(kept),
        Objective.ENERGY: min(map(energy, kept)),
        Objective.WEAR: written_bytes(problem, graph),
    }
    assert value(problem.objective, figures) == least[problem.objective]
    assert excesses(problem, figures) == ()


ROOM = 1 << 16


def same_arena(problem: Problem, other: Problem) -> Problem:
    """Another problem with as much SRAM beside what the runtime takes."""
    return replace(other, sram_bytes=other.reserved_bytes + problem.arena_bytes)


def worn(problem: Problem, part: str, ring_bytes: int | None) -> Problem:
    """The problem with everything in one part, in which the scratch region may take turns."""
    store = replace(problem.target.weights, storage=load_storage(part))
    target = replace(problem.target, weights=store, activations=store)
    return same_arena(
        problem, replace(problem, target=target, scratch_ring_bytes=ring_bytes, sram_bytes=ROOM)
    )


def sealed(problem: Problem, graph: TaskGraph) -> Problem:
    """The problem with what opens and seals, an engine beside the CPU or software, which takes energy."""
    beside = CRYPTO in graph.resources
    kind = "hw" if beside else "sw"
    crypto = Crypto("aes128_gcm", kind, 0, not beside, "rw", cycles_per_byte=1.0, nj_per_byte=2.5)
    target = replace(problem.target, crypto=crypto)
    return same_arena(problem, replace(problem, target=target, sram_bytes=ROOM))


def check_drawn_budgets(data: st.DataObject, task_graphs: SearchStrategy[Case]) -> None:
    """Draw objective, part, cipher and budgets around the optimum, and compare with every schedule."""
    problem, graph = data.draw(task_graphs)
    part = data.draw(st.sampled_from([None, "w25q128jv", "sd-class10-tlc-32g"]))
    if part is not None:
        ring = data.draw(st.sampled_from([None, 1 << 16, 1 << 18])) if part == "w25q128jv" else None
        problem = worn(problem, part, ring)
    if any(task.kind in (TaskKind.DECRYPT, TaskKind.ENCRYPT) for task in graph.tasks):
        problem = sealed(problem, graph)
    problem = replace(problem, objective=data.draw(st.sampled_from(Objective)))
    makespans = all_makespans(problem, graph)
    least, near = min(makespans, default=5), st.integers(-1, 1)
    compute, moved = cpu_ns(graph), traffic_of(problem, graph)
    energy = energy_nj(problem.target, compute, max(least, compute), moved)
    latency = data.draw(st.one_of(st.none(), near.map(lambda step: max(0, least + step))))
    spent = data.draw(st.one_of(st.none(), near.map(lambda step: max(0, energy + step))))
    written = data.draw(
        st.one_of(st.none(), st.sampled_from([-8, 0, 8]).map(lambda d: written_bytes(problem, graph) + d))
    )
    years = data.draw(st.sampled_from([None, 0.05, 0.1, 0.2, 0.27, 0.3, 0.8, 1.0, 3.0, 1e6, 1e8]))
    check_within(problem, graph, Limits(latency, spent, years), None if written is None else max(0, written))


@given(data=st.data())
@settings(max_examples=100)
def test_budgets_leave_what_brute_force_finds(data: st.DataObject, task_graphs: SearchStrategy[Case]) -> None:
    """Whatever is minimised, with budgets of latency, energy, writes and lifetime, in a ring, with an engine or a CPU that
    opens and seals: the model finds what trying everything does.
    """
    check_drawn_budgets(data, task_graphs)


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=3000)
def test_budgets_leave_what_brute_force_finds_often(
    data: st.DataObject, task_graphs: SearchStrategy[Case]
) -> None:
    """The same over thousands of graphs."""
    check_drawn_budgets(data, task_graphs)


@given(data=st.data())
@settings(max_examples=250)
def test_equals_brute_force(data: st.DataObject, task_graphs: SearchStrategy[Case]) -> None:
    """Makespan, energy and bytes written are the least of all schedules; none exists where it says so."""
    check(*data.draw(task_graphs))


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=3000)
def test_equals_brute_force_often(data: st.DataObject, task_graphs: SearchStrategy[Case]) -> None:
    """The same over thousands of graphs."""
    check(*data.draw(task_graphs))
