"""What a plan may violate, and what the rules of the validator look up in a plan.

`validate` applies the rules; their families have modules of their own. Nothing of the schedulers is used
in any of them: what waits for what, which bytes are written when, and what a task may cost are worked
out again from the problem and from the plan alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import Footprint, Plan, Schedule, Selection, Task, TaskGraph
from ooc_solve.solver.expansion import SelectionError, meaning
from ooc_solve.solver.happens_before import placed


class Rule(StrEnum):
    """What a plan may violate."""

    STRUCTURE = "structure"  # the plan refers to things that are not there
    COVERAGE = "coverage"  # the tasks are not those that the tilings mean
    PRECEDENCE = "precedence"
    RESOURCE = "resource"
    DURATION = "duration"
    OVERLAP = "overlap"  # two buffers share bytes at the same time
    IN_PLACE = "in place"  # a kernel writes over what it has still to read
    CAPACITY = "capacity"
    BANK = "bank"  # a buffer lies across a wall between banks
    ALIGNMENT = "alignment"
    NPU = "npu"  # an operator that the NPU cannot compute so, or weights beyond its memory
    REACH = "reach"  # a transfer touches a bank that DMA cannot reach
    STORAGE = "storage"
    WRITE_BUDGET = "write budget"
    LATENCY_BUDGET = "latency budget"
    ENERGY_BUDGET = "energy budget"
    LIFETIME = "lifetime"
    UNWRITTEN = "unwritten"  # a task reads bytes that nobody has finished writing for it
    OUTPUT = "output"
    STREAMS = "streams"
    FIGURES = "figures"


@dataclass(frozen=True, slots=True)
class Violation:
    """One broken rule: the tasks concerned, how many bytes, and when, where that applies."""

    rule: Rule
    message: str
    tasks: tuple[int, ...] = ()
    bytes: int | None = None
    at_ns: int | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A well-formed plan with what most rules look up."""

    problem: Problem
    plan: Plan
    geometry: tuple[StageGeometry, ...]
    end_ns: tuple[int, ...]
    meant: TaskGraph | None  # what the selection expands to
    fault: str  # why it does not expand

    @classmethod
    def of(cls, problem: Problem, plan: Plan) -> Case:
        """The case of a plan whose every number points at something."""
        start = plan.schedule.start_ns
        geometry = geometry_of(problem, plan)
        meant, fault = _expanded(problem, plan, sum(g.tiles for g in geometry))
        ends = tuple(start[task.index] + task.duration_ns for task in plan.graph.tasks)
        return cls(problem, plan, geometry, ends, meant, fault)

    @property
    def graph(self) -> TaskGraph:
        """Tasks and buffers of the plan."""
        return self.plan.graph

    @property
    def schedule(self) -> Schedule:
        """Starts and addresses of the plan."""
        return self.plan.schedule

    @property
    def makespan_ns(self) -> int:
        """When the last task ends."""
        return max(self.end_ns, default=0)

    def start(self, task: Task) -> int:
        """When a task starts, in ns."""
        return self.schedule.start_ns[task.index]

    def extent(self, buffer: int) -> tuple[int, int]:
        """First byte and end of a buffer in the arena; the NPU's own memory counts as lying behind that."""
        there = self.graph.buffers[buffer]
        if there.held is not None:
            arena = self.problem.arena_bytes
            return arena + there.held[0], arena + there.held[1]
        start = self.schedule.address[buffer]
        return start, start + there.size_bytes

    def placed(self, buffer: int, footprint: Footprint) -> Footprint:
        """Bytes of the arena, or of the memory behind it, that a footprint of a buffer means."""
        return placed(footprint, self.extent(buffer)[0])


def geometry_of(problem: Problem, plan: Plan) -> tuple[StageGeometry, ...]:
    """How each operator of a plan is cut."""
    stages = zip(problem.network.ops, plan.selection.tilings, strict=True)
    return tuple(StageGeometry.of(problem.network, op, tiling) for op, tiling in stages)


def _expanded(problem: Problem, plan: Plan, tiles: int) -> tuple[TaskGraph | None, str]:
    """What the selection means, or why it means nothing.

    Counting tiles first keeps an absurd tiling from being expanded.
    """
    if tiles != (computes := len(plan.graph.compute_tasks)):
        return None, f"the tilings make {tiles} tiles, but {computes} are computed"
    return _meaning(problem, plan.selection)


@lru_cache(maxsize=4)
def _meaning(problem: Problem, selection: Selection) -> tuple[TaskGraph | None, str]:
    """What a selection expands to, or why it does not; several plans in a row often share it.

    Whether the storage parts are large enough for it is a rule of its own.
    """
    try:
        return meaning(problem, selection), ""
    except SelectionError as error:
        return None, f"the tilings cannot be carried out: {error}"


def task_name(task: Task) -> str:
    """A task as messages name it."""
    return f"task {task.index} ({task.kind.value}, stage {task.stage})"
