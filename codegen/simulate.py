"""Execution of tables in time: each command starts as soon as its stream and its waits allow."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from ooc_solve.codegen.check import Position, required_counts
from ooc_solve.codegen.tables import Tables
from ooc_solve.models.vocabulary import InternalError, Plan

Durations = Sequence[Sequence[int]]
"""Nanoseconds of each command of each stream."""


@dataclass(frozen=True, slots=True)
class SimulationResult:
    """Start of each command of each stream (ns) and the end of the last one."""

    start_ns: tuple[tuple[int, ...], ...]
    makespan_ns: int

    @property
    def order(self) -> tuple[Position, ...]:
        """Stream and number of every command by start time, ties by stream."""
        commands = [(s, k) for s, starts in enumerate(self.start_ns) for k in range(len(starts))]
        return tuple(sorted(commands, key=lambda at: (self.start_ns[at[0]][at[1]], at)))


def durations_of(plan: Plan) -> tuple[tuple[int, ...], ...]:
    """What the model of the target says each command takes."""
    return tuple(
        tuple(plan.graph.tasks[index].duration_ns for index in order) for order in plan.streams.order
    )


def random_durations(tables: Tables, seed: int, longest_ns: int = 1_000_000) -> tuple[tuple[int, ...], ...]:
    """Durations drawn from a seed, spread over orders of magnitude, some of them 0."""
    draw = random.Random(seed)

    def duration() -> int:
        return draw.choice((0, 1, draw.randint(1, longest_ns), draw.randint(1, max(1, longest_ns // 1000))))

    return tuple(tuple(duration() for _ in stream.commands) for stream in tables.stream)


def simulate_tables(tables: Tables, durations: Durations) -> SimulationResult:
    """Run the streams.

    Raises
    ------
    InternalError
        If the streams deadlock, or the durations are not those of the commands.
    """
    if [len(row) for row in durations] != [len(stream.commands) for stream in tables.stream]:
        raise InternalError("A simulation needs one duration for each command of each stream.")
    required = [required_counts(tables, s) for s in range(len(tables.stream))]
    starts: list[list[int]] = [[] for _ in tables.stream]
    ends: list[list[int]] = [[] for _ in tables.stream]
    while any(_advance(s, required[s], durations[s], starts, ends) for s in range(len(starts))):
        pass
    for s, stream in enumerate(tables.stream):
        if len(ends[s]) < len(stream.commands):
            raise InternalError(f"The streams deadlock: stream {s} never starts command {len(ends[s])}.")
    return SimulationResult(tuple(map(tuple, starts)), max((end[-1] for end in ends if end), default=0))


def _advance(
    s: int,
    required: list[tuple[int, ...]],
    durations: Sequence[int],
    starts: list[list[int]],
    ends: list[list[int]],
) -> bool:
    """Run stream ``s`` until it has to wait for another; whether it moved at all."""
    before = len(ends[s])
    for number in range(before, len(durations)):
        need = required[number]
        if any(count > len(ends[r]) for r, count in enumerate(need) if r != s):
            break
        start = max((ends[r][count - 1] for r, count in enumerate(need) if count), default=0)
        starts[s].append(start)
        ends[s].append(start + durations[number])
    return len(ends[s]) > before
