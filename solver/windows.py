"""Windows of a long schedule, solved again by CP-SAT: order, times and addresses of some dozens of tasks at once.

What comes before a window stays where it is, as early as it can be. What comes after it is put as late as
the makespan allows, and moves as one block: the window has all the time between the two that is not
needed, and the block may begin as much earlier as the window is shortened. The rest of the schedule
then holds as it is, so each window that is shortened shortens the makespan by as much.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from ortools.sat.python import cp_model

from ooc_solve.models.cost import interruption_ns
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Schedule, Streams, TaskGraph, TaskKind
from ooc_solve.solver.deadline import TimeIsUp, keep_time
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.maxplus import Ints
from ooc_solve.solver.solving import solved_in_time
from ooc_solve.solver.streams import earliest_times, synchronize
from ooc_solve.solver.variables import addresses_of, touchers

MOST_TASKS = 14_000
"""Plans of more tasks gain too little by windows for the time that they take."""

PASSES = ((25, 0.05), (50, 0.1), (100, 0.3))
"""Tasks in a window and CP-SAT's deterministic time for it. Short windows gain most for their time; long
ones see what those do not."""

OVERHEAD = 0.005
"""What a window counts for besides."""

LEAST_GAIN = 1e-5
"""Share of the makespan by which a window may have to be shortened to be solved."""


@dataclass(frozen=True, slots=True)
class Timetable:
    """A schedule: tasks in the order in which they start, for each the earliest and the latest start in that order.

    ``place`` says where a task is in ``sequence``. ``free[n]`` is when each resource has done what is among
    the first n tasks, ``taken[n]`` when it must begin what is not.
    """

    address: tuple[int, ...]
    sequence: tuple[int, ...]
    place: tuple[int, ...]
    earliest_ns: tuple[int, ...]
    latest_ns: tuple[int, ...]
    makespan_ns: int
    free: tuple[Mapping[str, int], ...]
    taken: tuple[Mapping[str, int], ...]

    @classmethod
    def of(cls, graph: TaskGraph, schedule: Schedule, request_ns: int = 0) -> Timetable:
        """The timetable of the order and the addresses that a schedule has."""
        streams = synchronize(graph, schedule)
        earliest = earliest_times(graph, streams, request_ns)
        end_ns = makespan_ns(graph, earliest)
        sequence = tuple(sorted(range(len(graph.tasks)), key=lambda t: (earliest[t], t)))
        place = tuple(sorted(range(len(sequence)), key=sequence.__getitem__))
        latest = _latest(graph, streams, sequence, end_ns)
        edges = _free(graph, sequence, earliest), _taken(graph, sequence, latest, end_ns)
        return cls(schedule.address, sequence, place, earliest, latest, end_ns, *edges)

    @property
    def schedule(self) -> Schedule:
        """The schedule with every task as early as it can be."""
        return Schedule(self.earliest_ns, self.address)


def _latest(graph: TaskGraph, streams: Streams, sequence: Sequence[int], end_ns: int) -> tuple[int, ...]:
    """Latest start of each task (ns) if all have ended by some time, and each waits for what it does now."""
    ends = [end_ns] * len(graph.tasks)
    kernel_before = {later.index: earlier for earlier, later in pairwise(graph.compute_tasks)}
    for task in reversed(sequence):
        if (kernel := kernel_before.get(task)) is not None:  # which starts no later
            latest = ends[task] - graph.tasks[task].duration_ns + kernel.duration_ns
            ends[kernel.index] = min(ends[kernel.index], latest)
        for order, count in zip(streams.order, streams.required[task], strict=True):
            if count:
                before = order[count - 1]
                ends[before] = min(ends[before], ends[task] - graph.tasks[task].duration_ns)
    return tuple(end - task.duration_ns for end, task in zip(ends, graph.tasks, strict=True))


def _free(
    graph: TaskGraph, sequence: Sequence[int], start_ns: Sequence[int]
) -> tuple[Mapping[str, int], ...]:
    """When each resource has done what is among the first n tasks of a sequence, by n."""
    found = [dict.fromkeys(graph.resources, 0)]
    for task in map(graph.tasks.__getitem__, sequence):
        end = start_ns[task.index] + task.duration_ns
        found.append({**found[-1], task.resource: max(found[-1][task.resource], end)})
    return tuple(found)


def _taken(
    graph: TaskGraph, sequence: Sequence[int], start_ns: Sequence[int], end_ns: int
) -> tuple[Mapping[str, int], ...]:
    """When each resource begins what is not among the first n tasks of a sequence, by n."""
    found = [dict.fromkeys(graph.resources, end_ns)]
    for task in map(graph.tasks.__getitem__, reversed(sequence)):
        least = min(found[-1][task.resource], start_ns[task.index])
        found.append({**found[-1], task.resource: least})
    return tuple(reversed(found))


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

    def run(self) -> None:
        """Pass over all windows in each way as long as that is of use."""
        for tasks, work in PASSES:
            shift = 0
            while self._pass(tasks, work, shift):
                shift = tasks // 4 - shift

    def _pass(self, tasks: int, work: float, shift: int) -> bool:
        """Solve windows of so many tasks, each half over the one before; whether to do so again, shifted."""
        before = self.table.makespan_ns
        firsts = range(shift, max(shift + 1, len(self.graph.tasks) - tasks // 2), tasks // 2)
        most = {first: self._window(first, tasks).most_ns for first in firsts}
        for first in sorted(firsts, key=lambda first: -most[first]):  # the most idle ones first
            keep_time()
            if self.left <= 0:
                return False
            window = self._window(first, tasks)
            if window.most_ns > LEAST_GAIN * before:
                self._solve(window, work)
        return self.table.makespan_ns < before

    def _window(self, first: int, tasks: int) -> _Window:
        return _Window(self.graph, self.table, first, tasks)

    def _solve(self, window: _Window, work: float) -> None:
        """Take what a window becomes, if the schedule gets shorter."""
        model = _Model(self.problem, window, self.touching, self.times)
        found = model.solve(work)
        self.left -= OVERHEAD + model.work
        if found is not None:
            table = Timetable.of(self.graph, found, self.request_ns)
            if table.makespan_ns < self.table.makespan_ns:
                self.table, self.times = table, self.touching.times(table)


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
        self.free, self.taken = table.free[self.first], table.taken[self.end]

    def is_before(self, task: int) -> bool:
        """Whether a task starts before those of the window."""
        return self.table.place[task] < self.first

    def is_after(self, task: int) -> bool:
        """Whether a task starts after those of the window."""
        return self.table.place[task] >= self.end

    @property
    def most_ns(self) -> int:
        """By how much it may be shortened at most: the least idle time of a resource."""
        idle = {name: self.taken[name] - free for name, free in self.free.items()}
        for task in self.inside:
            idle[self.graph.tasks[task].resource] -= self.graph.tasks[task].duration_ns
        return max(0, min(idle.values()))


class _Model:
    """The CP-SAT model of a window: starts, addresses, and how much earlier all that follows may begin."""

    def __init__(self, problem: Problem, window: _Window, touching: Touching, times: BufferTimes) -> None:
        self.problem, self.window, self.work = problem, window, 0.0
        self.graph, self.table = window.graph, window.table
        self.model = cp_model.CpModel()
        self.earlier = self.model.new_int_var(0, window.most_ns, "earlier")
        self.end_ns = max(self.table.makespan_ns, *window.taken.values())
        self.start = {
            t: self.model.new_int_var(window.free[self.graph.tasks[t].resource], self.end_ns, f"start {t}")
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
            self.model.add_hint(var, self.table.earliest_ns[task])
        for buffer, var in self.address.items():
            self.model.add_hint(var, self.table.address[buffer] // self.problem.unit_bytes)
        self.model.add_hint(self.earlier, 0)

    def begins(self, task: int) -> cp_model.LinearExprT:
        """Start of any task."""
        if self.window.is_before(task):
            return self.table.earliest_ns[task]
        return self.start[task] if task in self.start else self.table.latest_ns[task] - self.earlier

    def ends(self, task: int) -> cp_model.LinearExprT:
        """End of any task."""
        return self.begins(task) + self.graph.tasks[task].duration_ns

    def _order(self, waiting: Sequence[Sequence[int]]) -> None:
        """Data, kernels in their order, each resource used by one at a time."""
        model, tasks, window = self.model, self.graph.tasks, self.window
        for task in sorted({*self.start, *(t for other in self.start for t in waiting[other])}):
            for other in tasks[task].after:
                if task in self.start or other in self.start:
                    model.add(self.ends(other) <= self.begins(task))
        kernels = sorted(t for t in self.start if tasks[t].kind is TaskKind.COMPUTE)
        order = [task.index for task in self.graph.compute_tasks]
        for first, second in pairwise(order) if kernels else ():
            if first in self.start or second in self.start:
                model.add(self.begins(first) <= self.begins(second))
        for unit in dict.fromkeys(tasks[t].resource for t in kernels):
            for first, second in pairwise(t for t in kernels if tasks[t].resource == unit):
                model.add(self.ends(first) <= self.begins(second))
        for name in self.graph.resources:
            own = [t for t in self.start if tasks[t].resource == name]
            for t in own:
                model.add(self.ends(t) <= window.taken[name] - self.earlier)
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
            return model.new_fixed_size_interval_var(0, self.end_ns, "")
        begin = self._extreme([self.begins(t) for t in first], earliest=True)
        end = self._extreme([self.ends(t) for t in last], earliest=False)
        length = model.new_int_var(0, self.end_ns, "")
        return model.new_interval_var(begin, length, end, "")

    def _extreme(self, times: list[cp_model.LinearExprT], earliest: bool) -> cp_model.LinearExprT:
        if len(times) == 1:
            return times[0]
        found = self.model.new_int_var(0, self.end_ns, "")
        (self.model.add_min_equality if earliest else self.model.add_max_equality)(found, times)
        return found

    def solve(self, work: float) -> Schedule | None:
        """A schedule in which what follows begins earlier; None if none is found within deterministic time."""
        solver = window_solver(work)
        code = solved_in_time(solver, self.model)
        self.work = solver.response_proto.deterministic_time
        if code not in (cp_model.OPTIMAL, cp_model.FEASIBLE) or not solver.value(self.earlier):
            return None
        table, earlier = self.table, int(solver.value(self.earlier))
        start = [
            table.earliest_ns[t] if self.window.is_before(t) else table.latest_ns[t] - earlier
            for t in range(len(self.graph.tasks))
        ]
        for t, var in self.start.items():
            start[t] = int(solver.value(var))
        address = list(self.table.address)
        for buffer, var in self.address.items():
            address[buffer] = solver.value(var) * self.problem.unit_bytes
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
