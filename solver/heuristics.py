"""Schedulers that decide by rules: all share the signature ``(Problem, Budget) -> Result``.

They differ in when a transfer may start and which one goes first, some also in what stays in
SRAM and in which order branches run. Unless said otherwise each works on the tiling that moves
the fewest bytes (`baseline`), so what they lose against CP-SAT is lost by the schedule and by
what tiling and schedule could have decided together.

Those that follow a published one say whose it is and how they differ from it. What all differ
in: tasks are tiles of this product's cost model, and every run begins with nothing fetched.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import lru_cache

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.operator_order import ordered
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
from ooc_solve.solver.allocation_schedule import packed_placement
from ooc_solve.solver.allowance import complaints, within_writes
from ooc_solve.solver.assignment import gates
from ooc_solve.solver.clock import interrupted
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.fused import keeps_rows
from ooc_solve.solver.fusion_path import Paths
from ooc_solve.solver.ladder import offering
from ooc_solve.solver.listing import LAST, Order, Priority, makespan_ns, order_of, settle
from ooc_solve.solver.objective import value
from ooc_solve.solver.options import Option
from ooc_solve.solver.ordering import least_peak
from ooc_solve.solver.placement import FOREVER, Placement, place, place_step_by_step
from ooc_solve.solver.residence import clairvoyant, selection_of
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space, least_compute_ns, unfused
from ooc_solve.solver.streams import in_sequence, synchronize

Scheduler = Callable[[Problem, Budget], Result]
FLIPS = (0, 0x555555, 0xAAAAAA)
"""Which kept tensors grow from the top of the arena: none, every other one."""


@lru_cache(maxsize=64)
def space_of(problem: Problem) -> Space:
    """The option space of a problem, enumerated once for all budgets and objectives with the same options."""
    plainest = problem.plainest
    if problem != plainest:
        return replace(space_of(plainest), problem=problem)
    return build_space(problem, offered_bytes=offering(problem).arena_bytes)


@lru_cache(maxsize=64)
def baseline(problem: Problem) -> tuple[Selection, TaskGraph] | None:
    """The tiling with the least total work that can be placed, None if there is none.

    Room for a second set of fetched tiles is left where possible, as double buffering
    needs; less and less of it where memory is short.
    """
    space = unfused(space_of(problem))
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
        if selected.status is Status.INFEASIBLE and not slack:
            break  # nor does any selection fit into less
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
    """The first placement that works among the ways to stack kept tensors.

    Where nothing may be fetched early the last resort is the search of `allocation`.
    """
    for flips in FLIPS:
        placement = place(problem, graph, ahead, drain, flips)
        if placement is not None:
            return placement
    return packed_placement(problem, graph) if (ahead, drain) == (0, 0) else None


def finish(problem: Problem, selection: Selection, graph: TaskGraph, schedule: Schedule, name: str) -> Plan:
    """A plan with its streams and figures; its kernels take as long as they do with their interruptions."""
    graph = interrupted(graph, schedule.start_ns, interruption_ns(problem.target))
    streams = synchronize(graph, schedule)
    return Plan(selection, graph, schedule, streams, figures_of(problem, graph, schedule), name)


IN_CORE = "in-core bound"


def in_core(problem: Problem, budget: Budget) -> Result:
    """Compute only, as if everything fitted in SRAM: no plan can be shorter."""
    begun = time.monotonic()
    compute = least_compute_ns(space_of(problem)) or 0
    return Result(IN_CORE, Status.FEASIBLE, None, None, compute, time.monotonic() - begun)


def _rule(
    problem: Problem,
    name: str,
    schedules: Callable[[TaskGraph], Iterator[Schedule]],
    tiles: Callable[[Problem], tuple[Selection, TaskGraph] | None] = baseline,
) -> Result:
    """Best of the schedules that a rule makes for its tiling."""
    begun = time.monotonic()
    found = tiles(problem)
    if found is None:
        return Result(name, Status.INFEASIBLE, None, None, 0, time.monotonic() - begun, "no tiling fits")
    selection, graph = found
    best = min(schedules(graph), key=lambda s: makespan_ns(graph, s.start_ns), default=None)
    if best is None:
        reason = "the buffers cannot be placed without fragmentation"
        return Result(name, Status.INFEASIBLE, None, None, 0, time.monotonic() - begun, reason)
    plan = finish(problem, selection, graph, best, name)
    beyond = complaints(problem, plan)
    if beyond:
        return Result(name, Status.INFEASIBLE, None, None, 0, time.monotonic() - begun, beyond[0])
    objective = value(problem.objective, plan.figures)
    return Result(name, Status.FEASIBLE, plan, objective, 0, time.monotonic() - begun)


def serial(problem: Problem, budget: Budget) -> Result:
    """Load what a tile needs, compute, store; nothing overlaps, on the machine neither."""
    result = _rule(problem, "serial", lambda graph: serial_schedules(problem, graph))
    if result.plan is None:
        return result
    graph = result.plan.graph
    streams = in_sequence(graph, in_turn(graph))
    return replace(result, plan=replace(result.plan, streams=streams))


def serial_schedules(problem: Problem, graph: TaskGraph) -> Iterator[Schedule]:
    """All tasks one after the other."""
    placement = first_placement(problem, graph, 0, 0)
    if placement is not None:
        now, start = 0, [0] * len(graph.tasks)
        for index in in_turn(graph):
            start[index] = now
            now += graph.tasks[index].duration_ns
        yield Schedule(tuple(start), placement.address)


def in_turn(graph: TaskGraph) -> list[int]:
    """The order of expansion, but inputs of the network are loaded only before their first reader.

    Where a second input is read late, its bytes may belong to another buffer until then.
    """
    waiting = {task.index: {touch.buffer for touch in task.writes} for task in graph.tasks if task.stage < 0}
    order: list[int] = []
    for task in graph.tasks:
        if task.stage < 0:
            continue
        read = {touch.buffer for touch in task.reads}
        due = [index for index, written in waiting.items() if written & read]
        for index in due:
            del waiting[index]
        order += [*due, task.index]
    return [*order, *waiting]


def double_buffering(problem: Problem, budget: Budget) -> Result:
    """Within a layer, fetch the next tile while one is computed; layers do not overlap.

    This is what tilers such as DORY (Burrello et al., 2021) and Deeploy (2024) emit. Theirs fill
    the memory as far as they can, while the tiles here move the fewest bytes.
    """

    def schedules(graph: TaskGraph) -> Iterator[Schedule]:
        begins = layer_begins(graph)

        def gate(order: Order, task: int) -> int:
            """Loads wait for the last but one step, and never start before their layer does."""
            if graph.tasks[task].is_outbound:
                return 0
            step = order.step[task]
            return max(begins.get(graph.tasks[task].stage, step), step - 1)

        return _listed(problem, graph, ((1, 1),), listing.by_due_date, gate)

    return _rule(problem, "double buffering", schedules)


def layer_begins(graph: TaskGraph) -> dict[int, int]:
    """First compute step of each stage."""
    begins: dict[int, int] = {}
    for step, task in enumerate(graph.compute_tasks):
        begins.setdefault(task.stage, step)
    return begins


def demand_layering(problem: Problem, budget: Budget) -> Result:
    """Loads in order of use, each as soon as the channel is free and its bytes are.

    Demand Layering (Ji et al., 2022) for tiles instead of layers. Its third stage, a copy to the
    GPU, has no counterpart, and finished tiles that are spilled wait until no load is ready.
    """
    return _rule(problem, "demand layering", lambda graph: _layered(problem, graph))


ONE_ORDER = "the model's own order has the least peak, so this is demand layering"


def reorder_first(problem: Problem, budget: Budget) -> Result:
    """Demand layering on the network whose operators run in the order with the least peak of memory.

    The order of Liberis and Lane (2019), by dynamic programming over what is finished
    (`ordering.least_peak`). They stop there, while here the tiles and the schedule follow, and of
    several orders with the least peak the one is taken that holds the fewest bytes over time.
    """
    order = least_peak(problem.network, problem.io).order
    here = ordered(problem, order)
    result = replace(demand_layering(here, budget), scheduler="reorder first")
    if result.plan is not None:
        result = replace(result, plan=replace(result.plan, scheduler="reorder first"))
    return result if here is not problem else replace(result, reason=ONE_ORDER)


def swap_list(problem: Problem, budget: Budget) -> Result:
    """A list scheduler in the spirit of Miao & Lin: swap out under pressure, else feed the CPU.

    An idle channel first writes tiles that nobody needs in this layer any more, then loads
    for the earliest step that is not ready, within this layer before the next.
    """

    def priority(order: Order, task: int) -> tuple[int, ...]:
        store = order.graph.tasks[task].is_outbound
        blocks = order.due[task] < LAST
        return (0 if store and blocks else 1, order.graph.tasks[task].stage, order.step[task], task)

    ways = ((64, 2), (16, 1), (4, 1))
    return _rule(problem, "swap list", lambda graph: _listed(problem, graph, ways, priority, None))


def flexnn(problem: Problem, budget: Budget) -> Result:
    """Every fetch as early as its bytes allow, addresses given step by step, as FlexNN's planner does.

    Li et al. (2024): kept activations grow from both ends of the arena in turn, fetches get the
    earliest place in order of use, at most 50 layers ahead, and a layer whose other buffers do not
    fit then is planned again without fetching early. Tiles stand for its slices. Its rule for
    weights that stay from one inference to the next has no counterpart, and it spills nothing.
    """

    def schedules(graph: TaskGraph) -> Iterator[Schedule]:
        placement = place_step_by_step(problem, graph, 50, FLIPS[2])
        if placement is None:
            return _listed(problem, graph, (), listing.loads_first, None)
        return _best_listed(problem, graph, (placement,), listing.loads_first, None)

    return _rule(problem, "flexnn like", schedules)


def assignment(problem: Problem, budget: Budget) -> Result:
    """What is fetched during which step by a model of capacities without a time axis, then by due date.

    FlashMem's load planner (2026), solved by CP-SAT as there (`assignment.gates`). Its bytes that
    are loaded before the run are here those that nothing hides; its capacities come from measured
    kernels, here from the cost model, and activations are fetched and stored beside the weights.
    """

    def schedules(graph: TaskGraph) -> Iterator[Schedule]:
        first = gates(problem, graph)
        ways = ((FOREVER, 2), (8, 1))
        return _listed(problem, graph, ways, listing.by_due_date, lambda _, task: first.get(task, 0))

    return _rule(problem, "assignment model", schedules)


@lru_cache(maxsize=64)
def clairvoyant_tiles(problem: Problem) -> tuple[Selection, TaskGraph] | None:
    """The tiling with the least work when Belady's rule decides what stays, None if none can be placed."""
    space = unfused(space_of(problem))

    def select(arena: int) -> Selection | None:
        kept = clairvoyant(space, arena)
        return None if kept is None else selection_of(space, arena, kept)

    return _placeable(problem, select)


def _placeable(
    problem: Problem, select: Callable[[int], Selection | None]
) -> tuple[Selection, TaskGraph] | None:
    """The first selection that can be placed, for ever less of the arena; None if there is none."""
    for share in (1.0, 0.93, 0.86, 0.8, 0.7):
        selection = select(int(problem.arena_bytes * share))
        if selection is None:
            continue
        try:
            graph = expand(problem, selection)
        except SelectionError:
            continue
        if within_writes(problem, graph) and first_placement(problem, graph, 0, 0) is not None:
            return selection, graph
    return None


def clairvoyant_eviction(problem: Problem, budget: Budget) -> Result:
    """Demand layering on what is left in SRAM when the tensor needed last always goes first.

    Belady's rule (1966), which knows the future, for whole tensors instead of pages
    (`residence.clairvoyant`): the tiles within a layer are chosen for the least work afterwards.
    """
    return _rule(problem, "clairvoyant", lambda graph: _layered(problem, graph), clairvoyant_tiles)


def patch_first(problem: Problem, budget: Budget) -> Result:
    """Demand layering on tiles that compute the first operators patch by patch, as MCUNetV2 does.

    Lin et al. (2021) try how many operators the first stage fuses and into how many patches it is
    cut, and keep the cheapest that fits; so here, with patches that compute again what they share.
    Where none fits, nothing is fused.
    Cheapest means least compute and transfer time, as weights and activations come from storage,
    and the operators behind are tiled so too. Networks are not changed, as theirs are.
    """
    front = [o for o in space_of(problem).options[0] if o.operators > 1 and not keeps_rows(o)]
    patched = _fused(problem, "patch first", lambda k, o: o in front if k == 0 else o.operators == 1)
    return patched if patched.plan else _fused(problem, "patch first", lambda _, o: o.operators == 1)


def fusion_path(problem: Problem, budget: Budget) -> Result:
    """Demand layering on the cheapest path through fused and single stages, as in msf-CNN.

    Huang and Baccelli (2025) look for the fewest multiplications with a limit of memory, or the
    reverse, with all activations in SRAM. Here the path has the least compute and transfer time,
    tensors between stages may be in storage (`fusion_path.Paths`), and rows that the next patch
    needs again may be kept whole.
    """
    return _fused(problem, "fusion path", lambda first, option: True)


def _fused(problem: Problem, name: str, allowed: Callable[[int, Option], bool]) -> Result:
    """Demand layering on the cheapest path with the fused stages that are allowed."""

    def tiles(problem: Problem) -> tuple[Selection, TaskGraph] | None:
        return _placeable(problem, Paths(space_of(problem), allowed).cheapest)

    return _rule(problem, name, lambda graph: _layered(problem, graph), tiles)


def _layered(problem: Problem, graph: TaskGraph) -> Iterator[Schedule]:
    """The schedule of demand layering."""
    return _listed(problem, graph, ((FOREVER, 4), (FOREVER, 1), (FOREVER, 0)), listing.loads_first, None)


def _listed(
    problem: Problem,
    graph: TaskGraph,
    ways: tuple[tuple[int, int], ...],
    priority: Priority,
    gate: Callable[[Order, int], int] | None,
) -> Iterator[Schedule]:
    """The best schedule of list scheduling over several placements ``(ahead, drain)``.

    The serial placement is the last resort, so that every feasible problem has a schedule.
    """
    placements = (
        first_placement(problem, graph, min(ahead, len(graph.tasks)), drain) for ahead, drain in ways
    )
    found = [placement for placement in placements if placement is not None]
    if not found and (last := first_placement(problem, graph, 0, 0)) is not None:
        found.append(last)
    return _best_listed(problem, graph, found, priority, gate)


def _best_listed(
    problem: Problem,
    graph: TaskGraph,
    placements: Sequence[Placement],
    priority: Priority,
    gate: Callable[[Order, int], int] | None,
) -> Iterator[Schedule]:
    """The best list schedule over placements, with every task as early as its order allows."""
    request_ns = interruption_ns(problem.target)
    rough = [
        Schedule(
            tuple(listing.run(order_of(graph, placement), priority, gate, request_ns)), placement.address
        )
        for placement in placements
    ]
    if rough:
        best = min(rough, key=lambda schedule: makespan_ns(graph, schedule.start_ns))
        yield settle(graph, best.start_ns, best.address, request_ns)


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
                start = listing.run(order, priority, None, interruption_ns(problem.target))
                yield Schedule(tuple(start), placement.address)
