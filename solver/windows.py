"""Windows of a long schedule, solved again by CP-SAT: order, times and addresses of some dozens of tasks at once.

What comes before a window stays where it is, as early as it can be. What comes after it is put as late as
the makespan allows, and moves as one block: the window has all the time between the two that is not
needed, and the block may begin as much earlier as the window is shortened. The rest of the schedule
then holds as it is, so each window that is shortened shortens the makespan by as much.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise

import numpy as np
from ortools.sat.python import cp_model

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Schedule, TaskGraph, TaskKind
from ooc_solve.solver.deadline import TimeIsUp, keep_time
from ooc_solve.solver.maxplus import Ints
from ooc_solve.solver.placed_merging import NARROW, Width
from ooc_solve.solver.section_merging import SectionMerger
from ooc_solve.solver.solving import solved_in_time
from ooc_solve.solver.timetable import Timetable
from ooc_solve.solver.variables import addresses_of, touchers

MOST_TASKS = 40_000
"""Plans of more tasks gain too little by windows for the time that they take."""

PASSES = ((12, 0.02), (25, 0.05), (50, 0.1), (100, 0.3))
"""Tasks in a window and CP-SAT's deterministic time for it. Short windows gain most for their time; long
ones see what those do not."""

SECTIONS_FROM = 1500
"""Plans of so many tasks are merged anew section by section before, as that gains more for its time."""

SECTION = 60
"""Tasks of half a section, which begins and ends where it can (`section_merging`)."""

SECTION_WIDTHS = Width(40, 6, 4), NARROW
"""Of the beam searches for them, one after the other."""

WORK_PER_MERGE = 0.000015
"""What a task of a section counts for, for each partial merge that is kept."""

TURN = 0.15
"""Work after which the other way has its turn if it gained more for its last one."""

OVERHEAD = 0.002
"""What a window counts for besides."""

LEAST_GAIN = 1e-5
"""Share of the makespan by which a window may have to be shortened to be solved."""


def shortened(problem: Problem, graph: TaskGraph, schedule: Schedule, work: float) -> Schedule:
    """The schedule after windows were solved again, never a longer one.

    ``work`` is CP-SAT's deterministic time for all of them together: what is found depends on nothing but
    the schedule and that, unless the deadline of the caller ends it.

    Raises
    ------
    TimeIsUp
        If the deadline has passed before the first window.
    """
    shortening = _Shortening(problem, graph, schedule, work)
    with suppress(TimeIsUp):
        shortening.run()
    return shortening.table.schedule


class _Shortening:
    """One schedule, window by window, as long as some are shortened."""

    def __init__(self, problem: Problem, graph: TaskGraph, schedule: Schedule, work: float) -> None:
        self.problem, self.graph, self.left = problem, graph, work
        self.request_ns = interruption_ns(problem.target)
        self.touching = Touching(graph)
        self.table = Timetable.of(graph, schedule, self.request_ns)
        self.times = self.touching.times(self.table)
        self.solved: dict[bytes, Values | None] = {}

    def run(self) -> None:
        """Solve windows and merge sections in turns, always what has gained more for its work."""
        ways, rates = [self._windows()], [math.inf]
        if len(self.graph.tasks) >= SECTIONS_FROM and not self.request_ns:
            ways, rates = [*ways, self._sections()], [*rates, math.inf]
        while ways and self.left > 0:
            best = max(range(len(ways)), key=rates.__getitem__)
            before_ns, left = self.table.makespan_ns, self.left
            over = True
            for _ in ways[best]:
                if left - self.left >= TURN:
                    over = False
                    break
            if over:
                del ways[best], rates[best]
            else:
                rates[best] = (before_ns - self.table.makespan_ns) / (left - self.left)

    def _windows(self) -> Iterator[None]:
        """Pass over all windows in each way as long as that is of use."""
        for tasks, work in PASSES:
            shift, before_ns = 0, math.inf
            while self.table.makespan_ns < before_ns:
                before_ns = self.table.makespan_ns
                yield from self._pass(tasks, work, shift)
                shift = tasks // 4 - shift

    def _sections(self) -> Iterator[None]:
        """Pass over all sections in each way as long as that is of use."""
        merger = SectionMerger(self.problem, self.graph)
        for width in SECTION_WIDTHS:
            shift, before_ns = 0, math.inf
            while self.table.makespan_ns < before_ns:
                before_ns = self.table.makespan_ns
                yield from self._merge(merger, width, shift)
                shift = SECTION // 2 - shift

    def _merge(self, merger: SectionMerger, width: Width, shift: int) -> Iterator[None]:
        """Merge sections anew, each half over the one before."""
        places = merger.cuts(self.table)
        whole = np.arange(shift, len(self.graph.tasks), SECTION)
        bounds = np.unique([0, *places[np.searchsorted(places, whole, "right") - 1], places[-1]]).tolist()
        pairs = [*zip(bounds, bounds[2:], strict=False)] or [(bounds[0], bounds[-1])]
        most = {pair: self._window(pair[0], pair[1] - pair[0]).most_ns for pair in pairs}
        least_ns = LEAST_GAIN * self.table.makespan_ns
        for first, end in sorted(pairs, key=lambda pair: -most[pair] / (pair[1] - pair[0])):
            keep_time()
            window = self._window(first, end - first)
            if window.most_ns > least_ns and merger.is_cut(self.table, first, end):
                self.left -= WORK_PER_MERGE * width.merges * (end - first)
                self._take(window, merger.merged(self.table, first, end, width))
                yield

    def _pass(self, tasks: int, work: float, shift: int) -> Iterator[None]:
        """Solve windows of so many tasks, each half over the one before."""
        firsts = range(shift, max(shift + 1, len(self.graph.tasks) - tasks // 2), tasks // 2)
        most = {first: self._window(first, tasks).most_ns for first in firsts}
        least_ns = LEAST_GAIN * self.table.makespan_ns
        for first in sorted(firsts, key=lambda first: -most[first]):  # the most idle ones first
            keep_time()
            window = self._window(first, tasks)
            if window.most_ns > least_ns:
                self._solve(window, work)
                yield

    def _window(self, first: int, tasks: int) -> _Window:
        return _Window(self.graph, self.table, first, tasks)

    def _solve(self, window: _Window, work: float) -> None:
        """Take what a window becomes, if the schedule gets shorter."""
        model = _Model(self.problem, window, self.touching, self.times)
        like = model.fingerprint
        if like not in self.solved:
            self.solved[like] = model.solve(work)
            self.left -= model.work
        self.left -= OVERHEAD
        self._take(window, model.schedule(self.solved[like]))

    def _take(self, window: _Window, found: Schedule | None) -> None:
        """Go on with what a window becomes, if it becomes anything shorter."""
        if found is not None:
            table = self._settled(window, found)
            if table.makespan_ns < self.table.makespan_ns:
                self.table, self.times = table, self.touching.times(table)

    def _settled(self, window: _Window, found: Schedule) -> Timetable:
        """The timetable of what a window has become; where requests interrupt kernels all of it is made anew."""
        if self.request_ns:
            return Timetable.of(self.graph, found, self.request_ns)
        return self.table.moved(window.inside, found)


class Touching:
    """What touches what in a graph: buffers first and last, and the tasks that wait for each task."""

    def __init__(self, graph: TaskGraph) -> None:
        self.graph, self.touchers = graph, touchers(graph)
        self.waiting: list[list[int]] = [[] for _ in graph.tasks]
        for task in graph.tasks:
            for other in task.after:
                self.waiting[other].append(task.index)
        pairs = [(n, *found) for n, found in enumerate(self.touchers) if found[0]]
        self.touched = np.array([n for n, _, _ in pairs], np.int64)
        self.first, self.first_at = _joined([first for _, first, _ in pairs])
        self.last, self.last_at = _joined([last for _, _, last in pairs])
        self.pinned = [b.index for b in graph.buffers if b.pinned]
        self.duration_ns = np.array([task.duration_ns for task in graph.tasks], np.int64)

    def times(self, table: Timetable) -> BufferTimes:
        """When the touched buffers begin and end."""
        place = np.array(table.place, np.int64)
        ends, latest = np.array(table.earliest_ns, np.int64) + self.duration_ns, np.array(table.latest_ns)
        return BufferTimes(
            np.minimum.reduceat(place[self.first], self.first_at),
            np.minimum.reduceat(latest[self.first], self.first_at),
            np.maximum.reduceat(place[self.last], self.last_at),
            np.maximum.reduceat(ends[self.last], self.last_at),
        )

    def beside(self, window: _Window, times: BufferTimes) -> list[int]:
        """Pinned buffers, and those not gone when a window begins that do not come when it is over."""
        begin_ns, end_ns = min(window.free.values()), max(window.taken.values())
        over = (times.last_place < window.first) & (times.ends_ns <= begin_ns)
        later = (times.first_place >= window.end) & (times.latest_ns >= end_ns)
        return sorted({*self.pinned, *self.touched[~(over | later)].tolist()})


Values = tuple[int, ...]
"""Of all variables of a model."""


@dataclass(frozen=True, slots=True)
class BufferTimes:
    """Of each buffer that is touched: where its first and last tasks are in the sequence, and when they are.

    ``latest_ns`` is the latest start of a first task, ``ends_ns`` when the last ones have ended at the earliest.
    """

    first_place: Ints
    latest_ns: Ints
    last_place: Ints
    ends_ns: Ints


def _joined(lists: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    """Lists end to end, and where each begins."""
    lengths = np.array([len(own) for own in lists], np.int64)
    return np.array([t for own in lists for t in own], np.int64), np.cumsum(lengths) - lengths


class _Window:
    """The tasks that start as the ``first`` and after it, so many of them.

    ``free`` is from when on it has each resource, ``taken`` from when on what follows needs that (ns).
    """

    def __init__(self, graph: TaskGraph, table: Timetable, first: int, tasks: int) -> None:
        self.graph, self.table = graph, table
        self.first, self.end = first, min(first + tasks, len(graph.tasks))
        self.inside = table.sequence[self.first : self.end]
        self.free, self.taken = table.free(self.first), table.taken(self.end)

    def is_before(self, task: int) -> bool:
        """Whether a task starts before those of the window."""
        return self.table.place[task] < self.first

    @property
    def most_ns(self) -> int:
        """By how much it may be shortened at most: the least idle time of a resource."""
        idle = {name: self.taken[name] - free for name, free in self.free.items()}
        for task in self.inside:
            idle[self.graph.tasks[task].resource] -= self.graph.tasks[task].duration_ns
        return max(0, min(idle.values()))


class _Model:
    """The CP-SAT model of a window: starts, addresses, and how much earlier all that follows may begin.

    Times begin with the window, and those before or behind it are cut off, so that windows in which the same
    is to be done have the same model.
    """

    def __init__(self, problem: Problem, window: _Window, touching: Touching, times: BufferTimes) -> None:
        self.problem, self.window, self.work = problem, window, 0.0
        self.graph, self.table = window.graph, window.table
        self.model = cp_model.CpModel()
        self.earlier = self.model.new_int_var(0, window.most_ns, "")
        self.begin_ns = min(window.free.values())
        self.most_ns = max(window.taken.values()) - self.begin_ns
        self.start = {
            t: self.model.new_int_var(
                window.free[self.graph.tasks[t].resource] - self.begin_ns, self.most_ns, ""
            )
            for t in window.inside
        }
        self.address: dict[int, cp_model.IntVar] = {}
        self._order(touching.waiting)
        self._pack(touching, touching.beside(window, times))
        self.model.maximize(self.earlier)
        self._hint()

    def _hint(self) -> None:
        """Begin with the schedule that is known."""
        for task, var in self.start.items():
            self.model.add_hint(var, self.table.earliest_ns[task] - self.begin_ns)
        for buffer, var in self.address.items():
            self.model.add_hint(var, self.table.address[buffer] // self.problem.unit_bytes)
        self.model.add_hint(self.earlier, 0)

    @property
    def fingerprint(self) -> bytes:
        """What is the same for equal models."""
        return sha256(str(self.model.proto).encode()).digest()

    def begins(self, task: int) -> cp_model.LinearExprT:
        """Start of any task."""
        return self.start[task] if task in self.start else self._outside(task, 0)

    def ends(self, task: int) -> cp_model.LinearExprT:
        """End of any task."""
        duration_ns = self.graph.tasks[task].duration_ns
        return self.start[task] + duration_ns if task in self.start else self._outside(task, duration_ns)

    def _outside(self, task: int, later_ns: int) -> cp_model.LinearExprT:
        """So long after the start of a task that is not in the window."""
        if self.window.is_before(task):
            return max(0, self.table.earliest_ns[task] + later_ns - self.begin_ns)
        return min(self.most_ns, self.table.latest_ns[task] + later_ns - self.begin_ns) - self.earlier

    def _order(self, waiting: Sequence[Sequence[int]]) -> None:
        """Data, kernels in their order, each resource used by one at a time."""
        model, tasks, window = self.model, self.graph.tasks, self.window
        for task in sorted({*self.start, *(t for other in self.start for t in waiting[other])}):
            for other in tasks[task].after:
                if task in self.start or other in self.start:
                    model.add(self.ends(other) <= self.begins(task))
        kernels = sorted(t for t in self.start if tasks[t].kind is TaskKind.COMPUTE)
        uses = self.table.uses
        for first, second in sorted(
            {(uses.kernel_before[t], t) for t in kernels} | {(t, uses.kernel_behind[t]) for t in kernels}
        ):
            if first >= 0 and second >= 0:
                model.add(self.begins(first) <= self.begins(second))
        for unit in dict.fromkeys(tasks[t].resource for t in kernels):
            for first, second in pairwise(t for t in kernels if tasks[t].resource == unit):
                model.add(self.ends(first) <= self.begins(second))
        for name in self.graph.resources:
            own = [t for t in self.start if tasks[t].resource == name]
            for t in own:
                model.add(self.ends(t) <= window.taken[name] - self.begin_ns - self.earlier)
            model.add_no_overlap(
                [model.new_fixed_size_interval_var(self.start[t], tasks[t].duration_ns, "") for t in own]
            )

    def _pack(self, touching: Touching, beside: Sequence[int]) -> None:
        """Buffers that live at the same time have no byte in common; those that lie across an edge stay."""
        unit, lives, extents, sizes = self.problem.unit_bytes, [], [], []
        domain_of = addresses_of(self.problem)
        for buffer in map(self.graph.buffers.__getitem__, beside):
            if buffer.held is not None:
                continue
            first, last = touching.touchers[buffer.index]
            at: cp_model.LinearExprT = self.table.address[buffer.index] // unit
            if not buffer.pinned and all(t in self.start for t in (*first, *last)):
                self.address[buffer.index] = self.model.new_int_var_from_domain(domain_of(buffer), "")
                at = self.address[buffer.index]
            size = buffer.size_bytes // unit
            lives.append(self._life(first, last, buffer.pinned))
            extents.append(self.model.new_fixed_size_interval_var(at, size, ""))
            sizes.append(size)
        self.model.add_no_overlap_2d(lives, extents)
        self.model.add_cumulative(lives, sizes, self.problem.arena_bytes // unit)

    def _life(self, first: Sequence[int], last: Sequence[int], pinned: bool) -> cp_model.IntervalVar:
        model = self.model
        if pinned:
            return model.new_fixed_size_interval_var(0, self.most_ns, "")
        begin = self._extreme([self.begins(t) for t in first], earliest=True)
        end = self._extreme([self.ends(t) for t in last], earliest=False)
        length = model.new_int_var(0, self.most_ns, "")
        return model.new_interval_var(begin, length, end, "")

    def _extreme(self, times: list[cp_model.LinearExprT], earliest: bool) -> cp_model.LinearExprT:
        if len(times) == 1:
            return times[0]
        found = self.model.new_int_var(0, self.most_ns, "")
        (self.model.add_min_equality if earliest else self.model.add_max_equality)(found, times)
        return found

    def solve(self, work: float) -> Values | None:
        """A solution in which what follows begins earlier; None if none is found within deterministic time."""
        solver = window_solver(work)
        code = solved_in_time(solver, self.model)
        self.work = solver.response_proto.deterministic_time
        if code not in (cp_model.OPTIMAL, cp_model.FEASIBLE) or not solver.value(self.earlier):
            return None
        return tuple(solver.response_proto.solution)

    def schedule(self, values: Values | None) -> Schedule | None:
        """The schedule that a solution of this model means."""
        if values is None:
            return None
        table, earlier = self.table, values[self.earlier.index]
        start = [
            table.earliest_ns[t] if self.window.is_before(t) else table.latest_ns[t] - earlier
            for t in range(len(self.graph.tasks))
        ]
        for t, var in self.start.items():
            start[t] = values[var.index] + self.begin_ns
        address = list(table.address)
        for buffer, var in self.address.items():
            address[buffer] = values[var.index] * self.problem.unit_bytes
        return Schedule(tuple(start), tuple(address))


def window_solver(work: float) -> cp_model.CpSolver:
    """CP-SAT as it is best at such models: strong propagation of order, no linear programs."""
    solver = cp_model.CpSolver()
    solver.parameters.max_deterministic_time = work
    solver.parameters.num_workers = 1
    solver.parameters.random_seed = 1
    solver.parameters.linearization_level = 0
    solver.parameters.use_precedences_in_disjunctive_constraint = False
    solver.parameters.use_strong_propagation_in_disjunctive = True
    solver.parameters.catch_sigint_signal = False  # Ctrl-C is for Python, which cleans up
    return solver
