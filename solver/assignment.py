"""How much is fetched during which step, decided without a time axis.

The model of FlashMem (2026) for streaming weights, for the fetches of a task graph: steps
have capacities instead of times. Fetched bytes come in chunks; ``x[w, l]`` chunks of fetch
group ``w`` arrive during slot ``l``, at most as many as the channel moves while the slot
computes, and they take memory from then on. What no slot hides is exposed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from ortools.sat.python import cp_model

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import TaskGraph, TaskKind
from ooc_solve.solver.placement import buffer_uses
from ooc_solve.solver.solving import solved_in_time

MOST_SLOTS = 96
"""Graphs with more compute steps are looked at in so many slots of several steps each."""

LOOK_AHEAD = 8
"""How many slots early a chunk may arrive."""

CHUNKS = 64
"""Chunks per group: its bytes and its transfer time are split evenly over them."""

EXPOSED = 1000
"""Weight of a chunk that nothing hides against a chunk that waits in memory for a slot."""

DETERMINISTIC_TIME = 0.2
"""Limit of CP-SAT, in its own unit, so that the outcome does not depend on the machine."""


@dataclass(frozen=True, slots=True)
class _Slot:
    """A run of compute steps: what it computes, fetches and has in memory.

    ``inner_ns`` is what it can hide of its own fetches: those for its later steps, behind the steps before them.
    """

    first: int
    compute_ns: int
    inner_ns: int
    loads: tuple[int, ...]
    load_ns: int
    load_bytes: int
    store_ns: int
    taken_bytes: int


def gates(problem: Problem, graph: TaskGraph) -> dict[int, int]:
    """For each load how many compute steps end before it is to start, by the assignment model."""
    slots = _slots(graph)
    arrives = _solve(slots, problem.arena_bytes)
    found: dict[int, int] = {}
    for slot, chunks in zip(slots, arrives, strict=True):
        ends = list(accumulate(graph.tasks[load].duration_ns for load in slot.loads))
        for load, end in zip(slot.loads, ends, strict=True):
            begins = end - graph.tasks[load].duration_ns
            found[load] = slots[_slot_of(chunks, begins * CHUNKS, slot.load_ns)].first
    return found


def _slot_of(chunks: Sequence[tuple[int, int]], begins: int, total: int) -> int:
    """The slot in which the chunk arrives that holds the beginning of a load."""
    passed = 0
    for slot, count in chunks:
        passed += count
        if begins < passed * total:
            return slot
    return chunks[-1][0]


def _slots(graph: TaskGraph) -> list[_Slot]:
    """The steps of a graph in at most `MOST_SLOTS` runs."""
    uses, computes = buffer_uses(graph), graph.compute_tasks
    size = -(-len(computes) // MOST_SLOTS)
    loads: list[list[int]] = [[] for _ in computes]
    stores = [0] * (len(computes) + 1)
    step_of = {task.index: step for step, task in enumerate(computes)}
    for task in graph.tasks:
        if task.kind is TaskKind.LOAD:
            loads[min(uses[task.writes[0].buffer].first, len(computes) - 1)].append(task.index)
        elif task.kind is TaskKind.ENCRYPT:
            step_of[task.index] = step_of[task.after[-1]]
        elif task.kind is TaskKind.STORE:
            stores[step_of[task.after[-1]] + 1] += task.duration_ns
    taken = _taken_bytes(graph, len(computes))
    return [
        _slot(graph, first, min(first + size, len(computes)), loads, stores, taken)
        for first in range(0, len(computes), size)
    ]


def _slot(
    graph: TaskGraph, first: int, end: int, loads: list[list[int]], stores: list[int], taken: list[int]
) -> _Slot:
    own = tuple(load for step in range(first, end) for load in loads[step])
    compute = [task.duration_ns for task in graph.compute_tasks[first:end]]
    later = sum(graph.tasks[load].duration_ns for step in range(first + 1, end) for load in loads[step])
    return _Slot(
        first,
        sum(compute),
        min(later, sum(compute[:-1])),
        own,
        sum(graph.tasks[load].duration_ns for load in own),
        sum(graph.buffers[graph.tasks[load].writes[0].buffer].size_bytes for load in own),
        sum(stores[first:end]),
        max(taken[first:end]),
    )


def _taken_bytes(graph: TaskGraph, steps: int) -> list[int]:
    """Bytes of buffers in use at each step when everything is fetched for the step that uses it first."""
    change = [0] * (steps + 1)
    for buffer, use in zip(graph.buffers, buffer_uses(graph), strict=True):
        first, last = max(use.first, 0), min(use.last, steps - 1)
        if first <= last:
            change[first] += buffer.size_bytes
            change[last + 1] -= buffer.size_bytes
    return list(accumulate(change[:steps]))


def _solve(slots: Sequence[_Slot], arena: int) -> list[tuple[tuple[int, int], ...]]:
    """Slots and chunks for each group: as few exposed as can be, and those that are hidden as late as can be."""
    model = cp_model.CpModel()
    x = [
        {at: model.new_int_var(0, CHUNKS, f"x{w}.{at}") for at in range(max(0, w - LOOK_AHEAD), w + 1)}
        if slot.loads
        else {}
        for w, slot in enumerate(slots)
    ]
    exposed = [model.new_int_var(0, CHUNKS if slot.loads else 0, f"e{w}") for w, slot in enumerate(slots)]
    for w, slot in enumerate(slots):
        if slot.loads:
            model.add(sum(x[w].values()) + exposed[w] == CHUNKS)
            model.add(slot.load_ns * x[w][w] <= CHUNKS * slot.inner_ns)
    for at, slot in enumerate(slots):
        later = range(at, min(at + LOOK_AHEAD + 1, len(slots)))
        arriving = [x[w][at] * slots[w].load_ns for w in later if slots[w].loads]
        model.add(sum(arriving) <= CHUNKS * max(0, slot.compute_ns - slot.store_ns))
        early = [
            x[w][k] * slots[w].load_bytes for w in later if w > at and slots[w].loads for k in x[w] if k <= at
        ]
        model.add(sum(early) <= CHUNKS * max(0, arena - slot.taken_bytes))
    waits = [(w - at) * flag for w, own in enumerate(x) for at, flag in own.items()]
    model.minimize(EXPOSED * sum(exposed) + sum(waits))
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = 1
    solver.parameters.max_deterministic_time = DETERMINISTIC_TIME
    solver.parameters.catch_sigint_signal = False
    known = solved_in_time(solver, model) in (cp_model.OPTIMAL, cp_model.FEASIBLE)
    return [
        (*((at, solver.value(flag)) for at, flag in own.items() if known and solver.value(flag)), (w, CHUNKS))
        for w, own in enumerate(x)
    ]
