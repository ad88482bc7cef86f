"""Schedulers that decide by rules: all share the signature ``(Problem, Budget) -> Result``.

They differ in when a transfer may start and which one goes first. Each works on the tiling
that moves the fewest bytes (`baseline`), so what they lose against CP-SAT is lost by the
schedule and by what tiling and schedule could have decided together.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from functools import lru_cache

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import (
    Budget,
    Plan,
    Result,
    Schedule,
    Selection,
    Status,
    TaskGraph,
    TaskKind,
)
from ooc_solve.solver import listing
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.listing import LAST, Order, Priority, makespan_ns, order_of, settle
from ooc_solve.solver.objective import value
from ooc_solve.solver.placement import FOREVER, Placement, place
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space
from ooc_solve.solver.streams import synchronize

Scheduler = Callable[[Problem, Budget], Result]
FLIPS = (0, 0x555555, 0xAAAAAA)
"""Which kept tensors grow from the top of the arena: none, every other one."""


@lru_cache(maxsize=64)
def space_of(problem: Problem) -> Space:
    """The option space of a problem, enumerated once."""
    return build_space(problem)


@lru_cache(maxsize=64)
def baseline(problem: Problem) -> tuple[Selection, TaskGraph] | None:
    """The tiling with the least total work that can be placed, None if there is none.

    Room for a second set of fetched tiles is left where possible, as double buffering
    needs; less and less of it where memory is short.
    """
    space = space_of(problem)
    for slack, share in (
        (1.0, 1.0),
        (0.5, 1.0),
        (0.0, 1.0),
        (0.0, 0.93),
        (0.0, 0.86),
        (0.0, 0.8),
        (0.0, 0.7),
    ):
        arena = int(problem.arena_bytes * share)
        selected = SelectionModel(space, arena, slack).solve(Aim.SERIAL, Budget(10.0, 1, 1))
        if selected.selection is None:
            continue
        try:
            graph = expand(problem, selected.selection)
        except SelectionError:
            continue
        if first_placement(problem, graph, 0, 0) is not None:
            return selected.selection, graph
    return None


def first_placement(problem: Problem, graph: TaskGraph, ahead: int, drain: int) -> Placement | None:
    """The first placement that works among the ways to stack kept tensors."""
    for flips in FLIPS:
        placement = place(problem, graph, ahead, drain, flips)
        if placement is not None:
            return placement
    return None


def finish(problem: Problem, selection: Selection, graph: TaskGraph, schedule: Schedule, name: str) -> Plan:
    """A plan with its streams and figures."""
    streams = synchronize(graph, schedule)
    return Plan(selection, graph, schedule, streams, figures_of(problem, graph, schedule), name)


def in_core(problem: Problem, budget: Budget) -> Result:
    """Compute only, as if everything fitted in SRAM: no plan can be shorter."""
    begun = time.monotonic()
    compute = sum(min(o.compute_ns for o in options) for options in space_of(problem).options if options)
    return Result("in-core bound", Status.FEASIBLE, None, None, compute, time.monotonic() - begun)


def _rule(problem: Problem, name: str, schedules: Callable[[TaskGraph], Iterator[Schedule]]) -> Result:
    """Best of the schedules that a rule makes for the baseline tiling."""
    begun = time.monotonic()
    found = baseline(problem)
    if found is None:
        return Result(name, Status.INFEASIBLE, None, None, 0, time.monotonic() - begun, "no tiling fits")
    selection, graph = found
    best = min(schedules(graph), key=lambda s: makespan_ns(graph, s.start_ns), default=None)
    if best is None:
        reason = "the buffers cannot be placed without fragmentation"
        return Result(name, Status.INFEASIBLE, None, None, 0, time.monotonic() - begun, reason)
    plan = finish(problem, selection, graph, best, name)
    objective = value(problem.objective, plan.figures)
    return Result(name, Status.FEASIBLE, plan, objective, 0, time.monotonic() - begun)


def serial(problem: Problem, budget: Budget) -> Result:
    """Load what a tile needs, compute, store; nothing overlaps."""
    return _rule(problem, "serial", lambda graph: serial_schedules(problem, graph))


def serial_schedules(problem: Problem, graph: TaskGraph) -> Iterator[Schedule]:
    """All tasks one after the other, in the order of expansion."""
    placement = first_placement(problem, graph, 0, 0)
    if placement is not None:
        now, start = 0, []
        for task in graph.tasks:
            start.append(now)
            now += task.duration_ns
        yield Schedule(tuple(start), placement.address)


def double_buffering(problem: Problem, budget: Budget) -> Result:
    """Within a layer, fetch the next tile while one is computed; layers do not overlap."""

    def schedules(graph: TaskGraph) -> Iterator[Schedule]:
        begins = layer_begins(graph)

        def gate(order: Order, task: int) -> int:
            """Loads wait for the last but one step, and never start before their layer does."""
            if graph.tasks[task].kind is TaskKind.STORE:
                return 0
            step = order.step[task]
            return max(begins.get(graph.tasks[task].stage, step), step - 1)

        return _listed(problem, graph, ((1, 1),), (listing.by_due_date,), gate)

    return _rule(problem, "double buffering", schedules)


def layer_begins(graph: TaskGraph) -> dict[int, int]:
    """First compute step of each stage."""
    begins: dict[int, int] = {}
    for step, task in enumerate(graph.compute_tasks):
        begins.setdefault(task.stage, step)
    return begins


def demand_layering(problem: Problem, budget: Budget) -> Result:
    """Loads in order of use, each as soon as the channel is free and its bytes are."""
    ways = ((FOREVER, 4), (FOREVER, 1), (FOREVER, 0))
    return _rule(
        problem, "demand layering", lambda graph: _listed(problem, graph, ways, (listing.loads_first,), None)
    )


def swap_list(problem: Problem, budget: Budget) -> Result:
    """A list scheduler in the spirit of Miao & Lin: swap out under pressure, else feed the CPU.

    An idle channel first writes tiles that nobody needs in this layer any more, then loads
    for the earliest step that is not ready, within this layer before the next.
    """

    def priority(order: Order, task: int) -> tuple[int, ...]:
        store = order.graph.tasks[task].kind is TaskKind.STORE
        blocks = order.due[task] < LAST
        return (0 if store and blocks else 1, order.graph.tasks[task].stage, order.step[task], task)

    ways = ((64, 2), (16, 1), (4, 1))
    return _rule(problem, "swap list", lambda graph: _listed(problem, graph, ways, (priority,), None))


def _listed(
    problem: Problem,
    graph: TaskGraph,
    ways: tuple[tuple[int, int], ...],
    priorities: tuple[Priority, ...],
    gate: Callable[[Order, int], int] | None,
) -> Iterator[Schedule]:
    """Schedules by list scheduling over several placements ``(ahead, drain)``.

    The serial placement is the last resort, so that every feasible problem has a schedule.
    """
    found = False
    for ahead, drain in (*ways, (0, 0)):
        placement = first_placement(problem, graph, min(ahead, len(graph.tasks)), drain)
        if placement is None or (found and (ahead, drain) == (0, 0)):
            continue
        found = True
        order = order_of(graph, placement)
        for priority in priorities:
            yield settle(graph, listing.run(order, priority, gate), placement.address)


PREFETCH_WAYS = ((FOREVER, 2), (32, 2), (8, 2), (3, 1), (FOREVER, 8), (12, 4), (1, 1), (2, 0))


def prefetch_schedules(problem: Problem, graph: TaskGraph, effort: int = 8) -> Iterator[Schedule]:
    """A portfolio of list schedules; ``effort`` is how many placements are tried."""
    priorities: tuple[Priority, ...] = (listing.by_due_date, listing.loads_first, listing.stores_first)
    if not any(t.kind is TaskKind.STORE for t in graph.tasks[:-1]):
        priorities = priorities[:1]
    seen: set[tuple[int, ...]] = set()
    for ahead, drain in (*PREFETCH_WAYS[:effort], (0, 0)):
        for flips in FLIPS if effort > 4 else FLIPS[:1]:
            placement = place(problem, graph, min(ahead, len(graph.tasks)), drain, flips)
            if placement is None or (key := placement.address + placement.opens) in seen:
                continue
            seen.add(key)
            order = order_of(graph, placement)
            for priority in priorities:
                yield Schedule(tuple(listing.run(order, priority, None)), placement.address)


HEURISTICS: tuple[Scheduler, ...] = (serial, double_buffering, demand_layering, swap_list)
