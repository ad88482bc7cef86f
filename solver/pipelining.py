"""Plans for pipelined runs: the kernels of a front and of a back alternate, each in its own share of the SRAM.

One selection model gives both parts their tilings and their shares, so that the busiest resource has as little to do as
possible. Each part then gets addresses in its share, which says what its tasks wait for; a clock runs the tasks of
both, each part's kernels in their order. Whose kernels come next is read off that, and the plan is one of the whole
network, with turns. What is found is settled and improved as any other plan.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product

from ooc_solve.models.cost import read_ns
from ooc_solve.models.pipelines import Cut, cuts, front_size, pipelined
from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import Network, Plan, Schedule, Selection, Task, TaskGraph
from ooc_solve.solver.allowance import allowed_makespan_ns, excesses
from ooc_solve.solver.deadline import LEAST_WORK_S, TimeIsUp, ends_at, keep_time, unhurried
from ooc_solve.solver.duet import Duet
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.interleaving import turns_of
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.lives import Lives
from ooc_solve.solver.options import Option
from ooc_solve.solver.plans import checked, settled
from ooc_solve.solver.search import MANY_TASKS, Candidate, polish, score_of
from ooc_solve.solver.selection import Space
from ooc_solve.solver.two_parts import Halves, Placed
from ooc_solve.solver.workload import SCALE, Way, Workload

ROOMS = tuple(product((0.5, 0.3), (0.25, 0.125, 0.5), (2.0, 1.0, 3.0, 0.0)))
"""Room that a selection leaves: a share of the arena for the part with more transfers, the longest kernels of the other
one in terms of the time to load the whole arena, and how many more tiles there is room for than a kernel reads.

The part with more transfers can go on loading only while it has bytes, so kernels of the other one must be brief, and
its own tiles so small that some are loaded during each of them. The most promising come first.
"""

SHARES = (0.0, 0.1, 0.5)
"""Shares of the SRAM that no part needs in which the part with fewer transfers may load ahead."""

CUTS = 2
"""Cuts for which plans are sought."""

MOST_CARRIED = 0.25
"""Share of the arena that may be carried from one run to the next."""

TASKS = 256
"""A task counts as much as it takes to load this fraction of the arena: tiles of one part wait for those of the other."""


def pipelined_plan(run: Problem, base: Network, deadline: float) -> tuple[Problem, Plan] | None:
    """The plan with the shortest period of a pipelined run, at the cuts that promise most, and its problem.

    ``base`` is the network of one frame. None if none is found until the deadline (of `time.monotonic`).
    """
    found: list[tuple[Problem, Candidate]] = []
    with suppress(TimeIsUp), ends_at(deadline, LEAST_WORK_S):
        promising = _promising(run, base)
        for left, cut in zip(range(len(promising), 0, -1), promising, strict=True):
            problem = replace(run, network=pipelined(run.network, cut))
            until = time.monotonic() + (deadline - time.monotonic()) / left
            for candidate in pipelined_candidates(problem, until):
                found.append((problem, candidate))
    if not found:
        return None
    problem, best = min(found, key=lambda pair: pair[1].score)
    if len(best.graph.tasks) <= MANY_TASKS:
        with suppress(TimeIsUp), ends_at(deadline):
            best = polish(problem, best, deadline)
    with unhurried():
        plan = settled(problem, best, "cp-sat")
        if excesses(problem, plan.figures):
            return None
        checked(problem, plan)
    return problem, plan


def _promising(run: Problem, base: Network) -> list[Cut]:
    """The cuts whose parts differ most in which resource they keep busy, as far as little is carried."""
    way = Workload(space_of(run)).balanced()
    if way is None:
        return []
    ops, excess = run.network.ops, dict.fromkeys((op.output for op in run.network.ops), 0)
    for stage, option in way.options:
        excess[ops[stage + option.operators - 1].output] = option.total_io_ns - option.compute_ns
    total = sum(excess.values())

    def contrast(cut: Cut) -> int:
        front = sum(excess[name] for name in cut.front)
        return abs(front - (total - front))

    fitting = [
        c for c in cuts(run.network, base) if c.size_bytes(run.network) <= run.arena_bytes * MOST_CARRIED
    ]
    return sorted(fitting, key=lambda c: (-contrast(c), c.size_bytes(run.network)))[:CUTS]


def pipelined_candidates(problem: Problem, deadline: float) -> Iterator[Candidate]:
    """Schedules of a pipelined network within the budgets, any number of them, until the deadline."""
    seen = set[Selection]()
    for way in _ways(problem):
        if way.selection not in seen:
            seen.add(way.selection)
            yield from _schedules(problem, way.selection, deadline)
        if time.monotonic() > deadline:
            return


def _ways(problem: Problem) -> Iterator[Way]:
    """For each split of the SRAM the way with the least work of the busiest resource, and time for all others."""
    space, front = space_of(problem), front_size(problem.network)
    first = Workload(space).balanced()
    if first is None:
        return
    loading = _loading(first, front)
    pinned = Lives(problem).pinned_bytes
    free = problem.arena_bytes - pinned
    task_ns = _arena_ns(problem) // TASKS
    for share, longest, slack in ROOMS:
        brief = _with_brief_kernels(space, int(longest * _arena_ns(problem)))
        room = [pinned + int(free * (share if part == loading else 1 - share)) for part in range(2)]

        def room_of(stage: int, room: Sequence[int] = room) -> int:
            return room[stage >= front]

        def need(stage: int, option: Option, slack: float = slack) -> int:
            more = slack if (stage >= front) == bool(loading) else 0
            return option.need_bytes + int(more * option.ahead_bytes)

        load = Workload(brief, room_of, need, lambda _, option: option.tasks * task_ns * SCALE)
        found = min(load.ways(), key=lambda way: (max(way.work_ns), sum(way.work_ns)), default=None)
        if found is not None:
            yield found


def _loading(way: Way, front: int) -> int:
    """The part with more transfers, beside its kernels, than the other."""
    excess = [0, 0]
    for stage, option in way.options:
        excess[stage >= front] += option.total_io_ns - option.compute_ns
    return excess.index(max(excess))


def _arena_ns(problem: Problem) -> int:
    """Time to load as much as the arena holds, in pieces of a few KiB, from the slowest store with weights."""
    target, piece = problem.target, 1 << 14
    stores = {target.weights, *([] if target.annex is None else [target.annex])}
    return max(read_ns(target, store, piece) for store in stores) * problem.arena_bytes // piece


def _with_brief_kernels(space: Space, most_ns: int) -> Space:
    """The space without options whose kernels take longer, as far as others are for the same residences."""
    return replace(space, options=tuple(_brief(space, stage, most_ns) for stage in range(len(space.options))))


def _brief(space: Space, stage: int, most_ns: int) -> tuple[Option, ...]:
    groups: dict[object, list[tuple[int, Option]]] = {}
    for option in space.options[stage]:
        keep_time()
        key = option.operators, option.inputs, option.output
        groups.setdefault(key, []).append((_kernel_ns(space, stage, option), option))
    found = []
    for own in groups.values():
        limit = max(most_ns, min(ns for ns, _ in own))
        found += [option for ns, option in own if ns <= limit]
    return tuple(found)


def _kernel_ns(space: Space, stage: int, option: Option) -> int:
    """Time of a kernel of an option on average, as if the operator with the fewest tiles took all the time."""
    network = space.problem.network
    ops = network.ops[stage : stage + option.operators]
    tiles = (StageGeometry.of(network, op, t).tiles for op, t in zip(ops, option.tilings, strict=True))
    return option.kernels_ns // max(1, min(tiles))


def _schedules(problem: Problem, selection: Selection, deadline: float) -> Iterator[Candidate]:
    """Schedules of a selection, with more or less SRAM to load ahead."""
    try:
        graph = expand(problem, selection)
    except SelectionError:
        return
    if (allowed := allowed_makespan_ns(problem, graph)) < 0:
        return
    halves = Halves(problem, graph)
    for share in SHARES:
        placed = halves.placed(share)
        if placed is None:
            continue
        found = _played(problem, selection, placed)
        if found is not None and found.score[1] <= allowed:
            yield found
        if time.monotonic() > deadline or len(graph.tasks) > MANY_TASKS:
            return


def _played(problem: Problem, selection: Selection, placed: Placed) -> Candidate | None:
    """The candidate whose stages take turns as their kernels do when the clock runs."""
    graph, schedule = placed.graph, Duet(problem, placed).run()
    if schedule is None:
        return None
    start = schedule.start_ns
    stage_of = {op: number for number, span in enumerate(selection.stages) for op in span}
    kernels = sorted(graph.compute_tasks, key=lambda t: (start[t.index], t.index))
    turned = replace(selection, turns=turns_of(stage_of[task.stage] for task in kernels))
    try:
        other = expand(problem, turned)
    except SelectionError:  # kernels that take no time, in an order that nothing says
        return None
    times = [0] * len(start)
    for old, new in zip(_by_stage(graph), _by_stage(other), strict=True):
        times[new.index] = start[old.index]
    makespan = makespan_ns(other, times)
    schedule = Schedule(tuple(times), schedule.address)
    return Candidate(turned, other, schedule, score_of(problem, other, makespan))


def _by_stage(graph: TaskGraph) -> list[Task]:
    """Tasks stage by stage: turns change nothing in the order within one."""
    return sorted(graph.tasks, key=lambda task: task.stage)
