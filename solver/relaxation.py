"""A lower bound on latency over all tilings, residences, transfer orders, times and addresses.

Each stage option is a matrix over (max, +) that lower-bounds what it does to the state
(E, B): E is when the kernels so far have ended, B per channel when at the earliest it can have
done all transfers that are due so far (`step_matrices`). The shortest path through the stages,
over where the live tensors are, is a bound (`Round.forward`). Credits for loads ahead and for
stores that are still outstanding are over-estimates over all options that are left. Paths that
reach an assumed makespan are ruled out, which makes credits smaller and the bound better; if
nothing is left, no plan has a makespan below the assumed one (`latency_bound`). What is left then is
walked through once more, case by case (`refinement`). FORMULATION.md has the proof.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import pairwise, product

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import Op, RegionName, Tiling
from ooc_solve.solver.fused import operands, outer_operand
from ooc_solve.solver.ladder import at_size
from ooc_solve.solver.maxplus import (
    Ints,
    Item,
    Stairs,
    applied,
    capped,
    chains,
    minimal,
    powers,
    pulled_back,
)
from ooc_solve.solver.options import KEPT, Option, stored_bytes
from ooc_solve.solver.refinement import refined
from ooc_solve.solver.selection import Space, build_space
from ooc_solve.solver.steps import ALL, ANNEX, HOMES, LAST, WEIGHTS, StepCosts, Steps
from ooc_solve.solver.tolls import Tolls
from ooc_solve.solver.workspace import Ranges, input_ranges

Mask = NDArray[np.bool_]
State = tuple[int, ...]
"""Code of the residence of each tensor that is alive between two stages, in the order of `Lives.alive`."""

Context = tuple[int, tuple[int, ...], int]
"""How many operators a stage has, codes of its inputs and of its output."""

Key = tuple[int, State, int, int]
"""First operator of a stage, state before it, code of its output, number of operators: one batch."""

SLOTS = 256
"""Quanta into which the arena is divided where storage has no larger granules."""

MOST_LABELS = 24
"""Vectors kept per state; one without channels."""

WIDTH_BITS = 20
"""Bits of a code that hold the channels per plane; rows per record are above them."""

MOST_VARIANTS = 12_000
"""Options with the layouts of their inputs are not looked at if there are more of them."""

MOST_KEYS = 60_000
"""Networks with more combinations of residences are not looked at."""

MOST_LOADS = 4
"""Operands of one kernel up to which all choices of what is loaded ahead are compared."""

TIGHT = 0.001
"""The search for the bound ends when what is refuted and what is not are this close."""

GROWTH = (0.002, 0.01, 0.03, 0.1, 0.3)
"""How far above the best bound so far a makespan is assumed, one after the other."""

SWEEPS = 4
"""Rounds of ruling out for one assumed makespan; more gain little."""


@dataclass(frozen=True, slots=True)
class Bound:
    """No plan is shorter than ``value_ns``.

    ``survivors`` are the options of each stage that a plan shorter than the incumbent can be
    made of: all of them where no incumbent is known.
    """

    value_ns: int
    survivors: tuple[tuple[Option, ...], ...]


# ------------------------------------------------------------------------------- lives


class Lives:
    """Which tensors matter where, and what they take in SRAM when kept."""

    def __init__(self, problem: Problem) -> None:
        network, self.problem = problem.network, problem
        self.network = network
        self.ops = network.ops
        self.consumers: dict[str, list[int]] = defaultdict(list)
        self.producer: dict[str, int] = {}
        for stage, op in enumerate(self.ops):
            for name in dict.fromkeys(op.inputs):
                self.consumers[name].append(stage)
            self.producer[op.output] = stage
        ends = {*network.inputs, *network.outputs} if problem.io is IoPlace.SRAM else set()
        self.pinned = frozenset(ends)
        self.size = {n: problem.buffer_bytes(stored_bytes(problem, n)) for n in network.tensors}
        self.pinned_bytes = sum(self.size[n] for n in self.pinned)
        self.alive = [self._alive(stage) for stage in range(len(self.ops) + 1)]
        self._in_full: dict[str, bool] = {}

    def _alive(self, stage: int) -> tuple[str, ...]:
        """Tensors that are there before a stage and used in it or later; pinned ones are always there."""
        return tuple(
            name
            for name, users in self.consumers.items()
            if name not in self.pinned and users[-1] >= stage and self.producer.get(name, -1) < stage
        )

    def kept_bytes(self, stage: int, state: State) -> int:
        """SRAM of tensors that are kept over a stage, its output aside."""
        alive = zip(self.alive[stage], state, strict=True)
        return self.pinned_bytes + sum(
            self.size[n] for n, w in alive if w == KEPT and self.occupies(n, stage)
        )

    def occupies(self, name: str, stage: int) -> bool:
        """Whether a kept tensor is in SRAM for sure: a network input may come as late as its first use."""
        return name in self.producer or self.consumers[name][0] <= stage

    def output_bytes(self, name: str) -> int:
        """SRAM of a kept output, 0 where it is counted as pinned."""
        return 0 if name in self.pinned else self.size[name]

    def residence(self, stage: int, state: State, name: str) -> int:
        """Where an input of a stage lives."""
        return KEPT if name in self.pinned else state[self.alive[stage].index(name)]

    def dying(self, stage: int, state: State, operators: int) -> list[tuple[int, int]]:
        """Kept tensors that nothing reads after a stage: its operands that are one, as bits, and the bytes."""
        names = operands(self.network, stage, operators)
        found = []
        for name in dict.fromkeys(names):
            kept = name not in self.pinned and self.residence(stage, state, name) == KEPT
            if kept and self.consumers[name][-1] < stage + operators and self.occupies(name, stage):
                found.append((sum(1 << k for k, other in enumerate(names) if other == name), self.size[name]))
        return found

    def after(self, stage: int, state: State, output: int, operators: int = 1) -> State:
        """The state behind a stage."""
        end = stage + operators
        known = dict(zip(self.alive[stage], state, strict=True)) | {self.ops[end - 1].output: output}
        return tuple(known[name] for name in self.alive[end])

    def inputs(self, stage: int, state: State, operators: int) -> tuple[int, ...]:
        """Where a stage finds what it reads."""
        names = operands(self.network, stage, operators)
        return tuple(self.residence(stage, state, name) for name in names)

    def read_in_full(self, name: str) -> bool:
        """Whether some consumer reads every element, whatever its tiling: then all stores precede its end."""
        if name not in self._in_full:
            self._in_full[name] = self._is_read_in_full(name)
        return self._in_full[name]

    def _is_read_in_full(self, name: str) -> bool:
        return any(
            _covers(self.problem, self.ops[stage], k)
            for stage in self.consumers[name]
            for k, other in enumerate(self.ops[stage].inputs)
            if other == name
        )


def _covers(problem: Problem, op: Op, k: int) -> bool:
    network = problem.network
    channels = network.tensors[op.inputs[0]].channels
    smallest = Tiling(1, 1, network.tensors[op.output].channels, channels)
    geometry = StageGeometry.of(network, op, smallest)
    tensor = geometry.inputs[k]
    rows, columns = input_ranges(geometry, k)
    return all(_reaches(ranges, size) for ranges, size in ((rows, tensor.height), (columns, tensor.width)))


def _reaches(ranges: Ranges, size: int) -> bool:
    """Whether ranges, in order of where they begin, cover everything up to a size."""
    reached = 0
    for low, high in sorted(ranges):
        if low > reached:
            return False
        reached = max(reached, high)
    return reached >= size


# ----------------------------------------------------------------------------- batches


class Staircases:
    """Staircases of sets of items, each computed once; equal ones are one array."""

    def __init__(self, stairs: Stairs) -> None:
        self.stairs = stairs
        self.flat = stairs.flat()
        self._known: dict[tuple[Item, ...], Ints] = {(): self.flat}
        self._equal: dict[bytes, Ints] = {self.flat.tobytes(): self.flat}

    def of(self, items: Iterable[Item]) -> Ints:
        """The staircase of some items."""
        key = tuple(sorted(items))
        if key not in self._known:
            found = self.stairs.of(key)
            self._known[key] = self._equal.setdefault(found.tobytes(), found)
        return self._known[key]


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Options of one stage for the same residences, their runs end to end.

    ``row_runs`` and ``row_count`` are as in `Steps`, ``rows`` counts the rows of each option.
    ``ahead`` names for every channel and run the staircase (row of ``tables``) of loads of the
    same option that may follow; ``own`` the one of its own stores that may be outstanding.
    """

    options: tuple[int, ...]
    compute_ns: Ints
    fetch_ns: Ints
    store_ns: Ints
    need_bytes: Ints
    before_output: Mask
    instant: Mask
    released: Ints
    previous: Ints
    load_bytes: Ints
    load_ns: Ints
    first: Mask
    last: Mask
    count: Ints
    row_runs: Ints
    row_count: Ints
    rows: Ints
    ahead: Ints
    own: Ints
    tables: Ints
    tile_bytes: Ints

    def take(self, mask: Mask) -> Batch:
        """The batch of some of the options."""
        if mask.all():
            return self
        rows = np.repeat(mask, self.rows)
        runs = np.repeat(rows, self.row_runs)
        by_run = ("compute_ns", "fetch_ns", "store_ns", "need_bytes", "before_output", "instant", "released", "previous",
                  "load_bytes", "load_ns", "first", "last", "count", "ahead", "own", "tile_bytes")  # fmt: skip
        return replace(
            self,
            options=tuple(o for o, there in zip(self.options, mask, strict=True) if there),
            row_runs=self.row_runs[rows], row_count=self.row_count[rows], rows=self.rows[mask],
            **{name: getattr(self, name)[..., runs] for name in by_run},
        )  # fmt: skip

    @property
    def kernels(self) -> int:
        """Kernels of all options together."""
        rows = np.add.reduceat(self.count, np.cumsum(self.row_runs) - self.row_runs)
        return int((rows * self.row_count).sum())

    def sequence(self, number: int) -> list[int]:
        """The run of each kernel of one option."""
        first_row = int(self.rows[:number].sum())
        run, found = int(self.row_runs[:first_row].sum()), list[int]()
        for row in range(first_row, first_row + int(self.rows[number])):
            runs = range(run, run + int(self.row_runs[row]))
            found += [r for r in runs for _ in range(int(self.count[r]))] * int(self.row_count[row])
            run += len(runs)
        return found


def _batch(
    numbers: Sequence[int], steps: Sequence[Steps], ahead: list[Ints], own: list[Ints], tables: Ints
) -> Batch:
    names = ("compute_ns", "fetch_ns", "store_ns", "need_bytes", "before_output", "instant", "released", "previous",
             "load_bytes", "load_ns", "first", "count", "row_runs", "row_count")  # fmt: skip
    joined = {name: np.concatenate([getattr(s, name) for s in steps], axis=-1) for name in names}
    return Batch(
        options=tuple(numbers), last=np.concatenate([s.place == LAST for s in steps]),
        rows=np.array([len(s.row_runs) for s in steps]), ahead=np.concatenate(ahead, axis=1),
        own=np.concatenate(own, axis=1), tables=tables,
        tile_bytes=np.concatenate([_tile_bytes(s) for s in steps]), **joined,
    )  # fmt: skip


def _tile_bytes(steps: Steps) -> Ints:
    """Bytes of the tile that a kernel of each run leaves to be stored; the least of those that take as long."""
    size = {ns: room for room, ns, _ in sorted(steps.stores, reverse=True)}
    moved = steps.store_ns[:-1] if steps.sealed else steps.store_ns  # without the engine
    return np.array([size.get(ns, 0) for ns in moved.sum(axis=0).tolist()], np.int64)


@dataclass(frozen=True, slots=True, eq=False)
class Credit:
    """Most transfer time (``(channels, runs)``) ahead of a kernel when it ends, and outstanding when it starts."""

    ahead_ns: Ints
    late_ns: Ints


def step_matrices(batch: Batch, wait_ns: Ints, far: Credit, near: Credit, entry_ns: Ints) -> Ints:
    """Matrices of single kernels on (E, B per channel, C per channel).

    With p compute, d the time of its own loads that cannot begin before the kernel before it ends,
    and per channel w fetched first, s stored after, h loaded ahead at most and o still to be stored
    at most, of all transfers (B) or of those of the stage (C)::

        S = max(E + d, B[c] + w[c] - o[c], C[c] + w[c] - o'[c])         the kernel starts
        E' = S + p
        B'[c] = max(B[c] + w[c], E' - h[c]) + s[c]
        C'[c] = max(C[c] + w[c], E' - h'[c]) + s[c]     or behind the last kernel  E' - entry[c]

    where ``entry`` is what may be there of the next stage's loads.
    """
    channels, n = batch.fetch_ns.shape
    found = np.empty((2 * channels + 1, 2 * channels + 1, n), np.int64)
    found[0, 0] = batch.compute_ns + wait_ns
    found[0, 1 : channels + 1] = batch.compute_ns + batch.fetch_ns - far.late_ns
    found[0, channels + 1 :] = batch.compute_ns + batch.fetch_ns - near.late_ns
    found[1 : channels + 1] = found[:1] + (batch.store_ns - far.ahead_ns)[:, None, :]
    behind = np.where(batch.last, -entry_ns, batch.store_ns - near.ahead_ns)
    found[channels + 1 :] = found[:1] + behind[:, None, :]
    due = batch.fetch_ns + batch.store_ns
    for c in range(channels):
        own = found[c + 1, c + 1]
        np.maximum(own, due[c], out=own)
        own = found[channels + c + 1, channels + c + 1]
        np.maximum(own, np.where(batch.last, own, due[c]), out=own)
    return found


def unstarted_ns(sizes: Ints, times: Ints, free_bytes: Ints) -> Ints:
    """Least time of loads (``(loads, runs)``) that are not begun where the others have to fit free bytes."""
    best = np.zeros(len(free_bytes), np.int64)
    for subset in product((0, 1), repeat=len(sizes)):
        chosen = np.flatnonzero(subset)
        fits = sizes[chosen].sum(axis=0) <= free_bytes
        np.maximum(best, np.where(fits, times[chosen].sum(axis=0), 0), out=best)
    found: Ints = times.sum(axis=0) - best
    return found


@dataclass(frozen=True, slots=True)
class Stock:
    """What the options of one problem have in common, each figure worked out once."""

    problem: Problem
    lives: Lives
    costs: StepCosts
    staircases: Staircases
    steps: dict[tuple[int, Option, tuple[int, ...]], Steps]
    loads: dict[tuple[int, int, int, int | None], Ints]
    tolls: Tolls

    @classmethod
    def of(cls, problem: Problem, tolls: Tolls) -> Stock:
        """Nothing known yet."""
        costs, steps = _steps_of(at_size(problem.bare, problem.target.board.usable_bytes))
        return cls(problem, Lives(problem), costs, Staircases(_stairs_of(problem)), steps, {}, tolls)


@lru_cache(maxsize=8)
def _steps_of(full: Problem) -> tuple[StepCosts, dict[tuple[int, Option, tuple[int, ...]], Steps]]:
    """Steps that are known; they do not depend on the SRAM."""
    return StepCosts(full), {}


@dataclass(frozen=True, slots=True)
class Stage:
    """Options of a stage; ``alike`` is the first stage like it, whose options have the same steps."""

    options: tuple[Option, ...]
    alike: int


def _stages(spaces: Sequence[Space]) -> list[Stage]:
    """The options of several spaces together."""
    found: list[Stage] = []
    first: dict[tuple[int, ...], int] = {}
    for stage, same in enumerate(zip(*(space.options for space in spaces), strict=True)):
        chosen = {(o.tilings, o.inputs, o.output): o for options in same for o in options}
        found.append(Stage(tuple(chosen.values()), first.setdefault(tuple(map(id, same)), stage)))
    return found


class Options:
    """Variants of the options, stage by stage, with their steps and staircases.

    A variant is an option with a `code` for where each of its tensors lives. Without ``laid_out``
    the code is the residence, and one variant stands for an option whatever its inputs' records;
    with it the code of a spilled tensor also says how many rows its records have, where that matters.
    """

    def __init__(self, stock: Stock, stages: Sequence[Stage], laid_out: bool, deadline: float) -> None:
        self.stock, self.stages, self.laid_out = stock, stages, laid_out
        self.problem, self.lives, self.costs = stock.problem, stock.lives, stock.costs
        self.staircases, self.stairs = stock.staircases, stock.staircases.stairs
        self.tolls = stock.tolls
        self.channels = len(self.costs.channels)
        self.dimensions = 2 * self.channels + 1
        self.options: list[list[Option]] = []
        self.contexts: list[list[Context]] = []
        self.steps: list[list[Steps]] = []
        self.batches: list[dict[Context, Batch]] = []
        self._codes: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        self._names: dict[tuple[int, int], tuple[str, ...]] = {}
        for stage in range(len(stages)):
            _check(deadline)
            self._add(stage)
        for stage in range(len(stages)):
            _check(deadline)
            self.batches.append(dict(self._batches(stage)))

    def _add(self, stage: int) -> None:
        """Add the variants of a stage; those of its inputs' producers are there."""
        options: list[Option] = []
        contexts: list[Context] = []
        steps: list[Steps] = []
        for option in self.stages[stage].options:
            made = self.output(stage, option)
            output = self._code(made, option.output, option.tiling.rows)
            self._codes[made][option.output].add(output)
            for codes in self._inputs(stage, option):
                records = tuple(code >> WIDTH_BITS for code in codes) if self.laid_out else ()
                options.append(option)
                contexts.append((option.operators, codes, output))
                steps.append(self._steps(stage, option, records))
        self.options.append(options)
        self.contexts.append(contexts)
        self.steps.append(steps)

    def output(self, stage: int, option: Option) -> str:
        """What an option of a stage makes."""
        return self.problem.network.ops[stage + option.operators - 1].output

    def names(self, stage: int, option: Option) -> tuple[str, ...]:
        """What an option of a stage reads, operand by operand."""
        return self._operands(stage, option.operators)

    def _operands(self, stage: int, operators: int) -> tuple[str, ...]:
        key = stage, operators
        if key not in self._names:
            self._names[key] = operands(self.problem.network, *key)
        return self._names[key]

    def _code(self, name: str, residence: int, rows: int) -> int:
        """Where a tensor lives: channels per plane, and where it matters rows per record."""
        if residence == KEPT or not self.laid_out:
            return residence
        return residence | self.costs.record_rows(name, residence, rows) << WIDTH_BITS

    def _inputs(self, stage: int, option: Option) -> list[tuple[int, ...]]:
        """Codes of the inputs that an option may find."""
        op, names = self.problem.network.ops[stage], self.names(stage, option)
        choices: dict[str, list[int]] = {}
        for name, residence in zip(names, option.inputs, strict=True):
            known = self._codes[name][residence] if name in self.lives.producer else {residence}
            whole = op.needs_whole_tensors and self.laid_out
            height = self.problem.network.tensors[name].height
            choices[name] = [c for c in sorted(known) if not whole or not 0 < c >> WIDTH_BITS < height]
        found = (dict(zip(choices, codes, strict=True)) for codes in product(*choices.values()))
        return [tuple(codes[name] for name in names) for codes in found]

    def _steps(self, stage: int, option: Option, records: tuple[int, ...]) -> Steps:
        known = self.stock.steps
        key = self.stages[stage].alike, option, records if any(records) else ()
        if key not in known:
            ops = self.problem.network.ops[stage : stage + option.operators]
            known[key] = self.costs.steps(ops, option, key[2])
        return known[key]

    def refined(self, alive: Alive, deadline: float) -> Options | None:
        """The options that are left with the layout of their inputs, None if there are too many."""
        left = [
            Stage(options, stage.alike) for options, stage in zip(self.named(alive), self.stages, strict=True)
        ]
        return None if self._many(left) else Options(self.stock, left, True, deadline)

    def _many(self, stages: Sequence[Stage]) -> bool:
        """Whether variants with layouts would be too many."""
        rows: dict[tuple[str, int], set[int]] = defaultdict(set)
        total = 0
        for number, stage in enumerate(stages):
            for option in stage.options:
                inputs = set(zip(self.names(number, option), option.inputs, strict=True))
                total += math.prod(max(1, len(rows[place])) for place in inputs if place[1] != KEPT)
                if option.output != KEPT:
                    made = self.output(number, option)
                    rows[made, option.output].add(
                        self.costs.record_rows(made, option.output, option.tiling.rows)
                    )
        return total > MOST_VARIANTS

    @property
    def layouts_matter(self) -> bool:
        """Whether some transfer depends on how its tensor was laid out."""
        return any(
            o.output != KEPT and self.costs.record_rows(self.output(number, o), o.output, 1)
            for number, stage in enumerate(self.stages)
            for o in stage.options
        )

    def _batches(self, stage: int) -> Iterator[tuple[Context, Batch]]:
        groups: dict[Context, list[int]] = defaultdict(list)
        for number, context in enumerate(self.contexts[stage]):
            groups[context].append(number)
        for context, numbers in groups.items():
            yield context, self._batch(stage, numbers)

    def _batch(self, stage: int, numbers: list[int]) -> Batch:
        known: dict[int, int] = {}
        tables: list[Ints] = []

        def row_of(staircase: Ints) -> int:
            row = known.setdefault(id(staircase), len(tables))
            if row == len(tables):
                tables.append(staircase)
            return row

        channels, ahead, own = range(self.channels), [], []
        for number in numbers:
            steps, option = self.steps[stage][number], self.options[stage][number]
            places = [
                [row_of(self.load_stairs(stage, number, place, c)) for place in range(3)] for c in channels
            ]
            left = [
                [row_of(self.staircases.flat), row_of(self.store_stairs(stage, option, steps, c))]
                for c in channels
            ]
            ahead.append(np.array(places, np.int64).reshape(-1, 3)[:, steps.place])
            own.append(np.array(left, np.int64).reshape(-1, 2)[:, 1 - steps.first.astype(np.int64)])
        table = np.stack(tables) if tables else self.staircases.flat[None]
        steps_of = [self._with_kept_input(stage, n) for n in numbers]
        return _batch(numbers, steps_of, ahead, own, table)

    def _with_kept_input(self, stage: int, number: int) -> Steps:
        """Steps whose first kernel also waits for network inputs that are kept from here on."""
        steps, option = self.steps[stage][number], self.options[stage][number]
        for name, residence in dict(zip(self.names(stage, option), option.inputs, strict=True)).items():
            if residence == KEPT and self.comes_kept(name) and self.lives.consumers[name][0] == stage:
                _, ns, c = self.kept_input(name)
                fetch, compute = steps.fetch_ns.copy(), steps.compute_ns.copy()
                if c < 0:
                    compute[0] += ns
                else:
                    fetch[c, 0] += ns
                steps = replace(steps, fetch_ns=fetch, compute_ns=compute)
        return steps

    def comes_kept(self, name: str) -> bool:
        """Whether keeping a tensor means to load it whole."""
        return name not in self.lives.producer and name not in self.lives.pinned

    def kept_input(self, name: str) -> tuple[int, int, int]:
        """Bytes, ns and channel of the load of a network input that is kept."""
        ns = self.costs.read_ns(RegionName.INPUT, stored_bytes(self.problem, name))
        return self.lives.size[name], ns, self.costs.channel_of(RegionName.INPUT)

    def toll_ns(self, stage: int, numbers: Sequence[int]) -> Ints:
        """What options of a stage cost beside time (see `tolls`)."""
        if self.tolls.free:
            return np.zeros(len(numbers), np.int64)
        return np.array([self.tolls.of(stage, self.options[stage][n]) for n in numbers], np.int64)

    def batch(self, stage: int, state: State, output: int, operators: int) -> Batch:
        """The options of a stage that fit a state before it and a residence of its output."""
        return self.batches[stage][operators, self.lives.inputs(stage, state, operators), output]

    def everywhere(self) -> Alive:
        """All options in all states that can be reached.

        Raises `_TimeUpError` if there are too many combinations.
        """
        found: Alive = {}
        states: list[set[State]] = [set() for _ in range(len(self.steps) + 1)]
        states[0] = set(self._starts())
        for stage in range(len(self.steps)):
            lengths = {operators for operators, _, _ in self.batches[stage]}
            for state in sorted(states[stage]):
                inputs = {n: self.lives.inputs(stage, state, n) for n in lengths}
                for (operators, needed, output), batch in self.batches[stage].items():
                    if needed == inputs[operators]:
                        found[stage, state, output, operators] = np.ones(len(batch.options), bool)
                        after = self.lives.after(stage, state, output, operators)
                        states[stage + operators].add(after)
            if len(found) > MOST_KEYS:
                raise _TimeUpError
        return found

    def _starts(self) -> Iterator[State]:
        """Where network inputs may live: kept, or in storage as one plane."""
        tensors = self.problem.network.tensors
        return product(*((KEPT, tensors[name].channels) for name in self.lives.alive[0]))

    def named(self, alive: Alive) -> tuple[tuple[Option, ...], ...]:
        """The options that are left anywhere, by stage."""
        left: list[set[int]] = [set() for _ in self.steps]
        for key, mask in alive.items():
            stage, batch = key[0], self.batch(*key)
            left[stage].update(o for o, there in zip(batch.options, mask, strict=True) if there)
        return tuple(
            tuple(dict.fromkeys(option for n, option in enumerate(options) if n in numbers))
            for options, numbers in zip(self.options, left, strict=True)
        )

    def among(self, alive: Alive, chosen: Sequence[Sequence[Option]]) -> Alive:
        """What is left of some options when only the chosen ones are."""
        sets = [set(options) for options in chosen]
        found: Alive = {}
        for key, mask in alive.items():
            stage, batch = key[0], self.batch(*key)
            there = np.array([self.options[stage][o] in sets[stage] for o in batch.options])
            if (there & mask).any():
                found[key] = there & mask
        return found

    # ------------------------------------------------------------------- staircases

    def all_loads(self, stage: int, number: int, channel: int, operand: int) -> Ints | None:
        """Staircase of all loads of an operand of a variant on a channel, None if there are none."""
        own = self._channel(self.names(stage, self.options[stage][number]), operand)
        if channel not in (own, self.costs.engine):
            return None
        steps = self.steps[stage][number]
        there = any(k == operand for k, *_ in steps.ahead[ALL])
        return self.load_stairs(stage, number, ALL, channel, operand) if there else None

    def every_load(self, stage: int, number: int, channel: int) -> Ints:
        """Staircase of all loads of a variant on a channel."""
        return self.load_stairs(stage, number, ALL, channel)

    def load_stairs(
        self, stage: int, number: int, place: int, channel: int, operand: int | None = None
    ) -> Ints:
        """Staircase of the loads that may follow a place in a stage, of one operand only if given."""
        steps, names = self.steps[stage][number], self.names(stage, self.options[stage][number])
        key = id(steps), place, channel, operand  # all steps stay in stock
        if key not in self.stock.loads:
            items: dict[tuple[int, int], int] = defaultdict(int)
            for (k, size, ns, piece, each, pieces, opening), many in steps.ahead[place].items():
                if operand not in (None, k):
                    continue
                if channel == self.costs.engine:
                    items[size, opening] += many
                elif self._channel(names, k) == channel:
                    items[size, ns] += many
                    if pieces:
                        items[piece, each] += many * pieces
            self.stock.loads[key] = self.staircases.of((*kind, many) for kind, many in items.items())
        return self.stock.loads[key]

    def operands(self, stage: int, operators: int) -> list[list[int]]:
        """Operands that are loaded over each channel, as rows of ``load_bytes``."""
        found: list[list[int]] = [[] for _ in range(self.channels)]
        names = self._operands(stage, operators)
        for k in (*range(len(names)), *self.costs.homes):
            if (channel := self._channel(names, k)) >= 0:
                found[channel].append(self.costs.row_of(k, len(names)))
        return found

    def _channel(self, names: Sequence[str], operand: int) -> int:
        """Channel of an operand of a stage that reads these tensors; those below 0 are weights."""
        if operand < 0:
            return self.costs.channel_of(HOMES[ANNEX if operand <= ANNEX else WEIGHTS])
        return self.costs.channel_of(self.costs.region_of(names[operand]))

    def store_stairs(self, stage: int, option: Option, steps: Steps, channel: int) -> Ints:
        """Staircase of the tiles that a stage stores or seals, on a channel."""
        if option.output != KEPT and channel == self.costs.engine:
            return self.staircases.of(item for item in steps.sealed if item[1])
        name = self.output(stage, option)
        spilled = option.output != KEPT and self.costs.channel_of(self.costs.region_of(name)) == channel
        return self.staircases.of(steps.stores) if spilled else self.staircases.flat


def _stairs_of(problem: Problem) -> Stairs:
    """Quanta of which all sizes are multiples where there are few of them, else `SLOTS` of them."""
    arena, unit = problem.arena_bytes, problem.unit_bytes
    common = math.lcm(unit, math.gcd(*(problem.granule_bytes(region) for region in problem.regions)))
    quantum = common if arena // common <= 2 * SLOTS else unit * -(-arena // (SLOTS * unit))
    return Stairs(quantum, arena // quantum)


class _TimeUpError(Exception):
    """The deadline passed; what has been proven so far stands."""


def _check(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise _TimeUpError


# ------------------------------------------------------------------------------ rounds

Alive = dict[Key, Mask]
"""Options of each batch that are left."""


Doing = tuple[int, int, int]
"""Stage and number of an option, and place of an operator in it."""


class _Credits:
    """Over-estimates of what may be loaded ahead or stored late, over the options that are left."""

    def __init__(self, options: Options, rooms: dict[Key, Room]) -> None:
        self.options, self.lives, self.stairs = options, options.lives, options.stairs
        self.left = self._left(rooms)
        self.doing = self._doing()
        self.past, self.through = self._passages(rooms)
        self.weights = [[self._most_weights(own, c) for own in self.doing] for c in range(options.channels)]
        self.following: list[list[Ints]] = []
        for by_stage in self.weights:
            rest = [self.stairs.flat()]
            for stage in reversed(range(len(options.steps))):
                rest.append(self.stairs.joined(capped(rest[-1], self.through[stage]), by_stage[stage]))
            self.following.append(rest[::-1])
        self._fetched: dict[tuple[int, str, int, int], Ints] = {}
        self._stored: dict[tuple[int, int | None, int], Ints] = {}
        self._ahead: dict[tuple[int, State, int], Ints] = {}
        self._late: dict[tuple[int, State, int], Ints] = {}
        self._entry: dict[tuple[int, State, int], Ints] = {}

    def _left(self, rooms: dict[Key, Room]) -> list[list[int]]:
        """Options of each stage that are left anywhere."""
        found: list[set[int]] = [set() for _ in self.options.steps]
        for key, room in rooms.items():
            found[key[0]].update(room.batch.options)
        return [sorted(numbers) for numbers in found]

    def _passages(self, rooms: dict[Key, Room]) -> tuple[list[int], list[int]]:
        """For each operator, quanta of what lies in SRAM all the while it is done, at most.

        First of stores that earlier stages left, then of loads for later stages. A stage of several
        operators counts with its first one for the former, with its last one for the latter.
        """
        most = self.stairs.slots
        past, through = [0] * len(self.left), [0] * len(self.left)
        for (stage, _, _, operators), room in rooms.items():
            last, quanta = stage + operators - 1, room.least_bytes // self.stairs.quantum
            past[stage], through[last] = max(past[stage], quanta), max(through[last], quanta)
            past[stage + 1 : last + 1] = through[stage:last] = [most] * (operators - 1)
        return past, through

    def _doing(self) -> list[list[Doing]]:
        """Which options that are left do an operator: stage, number, and the operator's place in it."""
        found: list[list[Doing]] = [[] for _ in self.left]
        for stage, numbers in enumerate(self.left):
            for number in numbers:
                for place in range(self.options.options[stage][number].operators):
                    found[stage + place].append((stage, number, place))
        return found

    def _most_weights(self, doing: Sequence[Doing], channel: int) -> Ints:
        """Most loads of the weights of one operator."""
        found: dict[int, Ints] = {}
        for stage, number, place in doing:
            for home in self.options.costs.homes:
                stairs = self.options.all_loads(stage, number, channel, home - place)
                if stairs is not None:
                    found[id(stairs)] = stairs
        return np.maximum.reduce(list(found.values())) if found else self.options.staircases.flat

    def ahead(self, stage: int, state: State, channel: int) -> Ints:
        """Loads for this stage and later ones that may happen before it, by free bytes."""
        key = stage, state, channel
        if key not in self._ahead:
            self._ahead[key] = self._loads(stage, state, channel)
        return self._ahead[key]

    def _loads(self, stage: int, state: State, channel: int) -> Ints:
        """Stage by stage, the last first: what comes earlier than the stage before lies there all the while."""
        own: dict[int, list[Ints]] = defaultdict(list)
        for name, width in zip(self.lives.alive[stage], state, strict=True):
            users = [user for user in self.lives.consumers[name] if user >= stage]
            if width == KEPT and not self.lives.occupies(name, stage - 1):
                size, ns, at = self.options.kept_input(name)
                own[users[0]] += [self.options.staircases.of([(size, ns, 1)])] if at == channel else []
            for user in users if width != KEPT else ():
                own[user].append(self._fetches(user, name, width, channel))
        end = max(own, default=stage - 1) + 1
        found = self.following[channel][end]
        for user in reversed(range(stage, end)):
            found = self.stairs.joined(capped(found, self.through[user]), self.weights[channel][user])
            for stairs in own[user]:
                found = self.stairs.joined(found, stairs)
        return found

    def entry(self, stage: int, state: State, channel: int) -> Ints:
        """Loads of one stage that may happen before it, by free bytes."""
        if stage == len(self.left):
            return self.stairs.flat()
        key = stage, state, channel
        if key not in self._entry:
            options = self.options
            inputs: dict[int, tuple[int, ...]] = {}
            found: dict[int, Ints] = {}
            for n in self.left[stage]:
                operators, needed, _ = options.contexts[stage][n]
                if operators not in inputs:
                    inputs[operators] = self.lives.inputs(stage, state, operators)
                if needed == inputs[operators]:
                    stairs = options.every_load(stage, n, channel)
                    found[id(stairs)] = stairs
            highest = np.maximum.reduce(list(found.values())) if found else self.stairs.flat()
            longest = operands(self.lives.network, stage, max(inputs, default=1))
            for name in dict.fromkeys(longest):
                width = self.lives.residence(stage, state, name)
                if width == KEPT and options.comes_kept(name) and self.lives.consumers[name][0] >= stage:
                    size, ns, own = options.kept_input(name)
                    if own == channel:
                        highest = self.stairs.joined(highest, options.staircases.of([(size, ns, 1)]))
            self._entry[key] = highest
        return self._entry[key]

    def _fetches(self, stage: int, name: str, width: int, channel: int) -> Ints:
        key = stage, name, width, channel
        if key not in self._fetched:
            found = self.stairs.flat()
            for k, other in enumerate(self.lives.ops[stage].inputs):
                if other == name:
                    found = self.stairs.joined(found, self._fetches_operand(stage, k, width, channel))
            self._fetched[key] = found
        return self._fetched[key]

    def _fetches_operand(self, stage: int, k: int, width: int, channel: int) -> Ints:
        """Most that operand ``k`` of an operator takes where it is spilled so."""
        found: dict[int, Ints] = {}
        for first, number, place in self.doing[stage]:
            operand = outer_operand(self.lives.network, first, place, k)
            if operand is not None and self.options.contexts[first][number][1][operand] == width:
                stairs = self.options.all_loads(first, number, channel, operand)
                if stairs is not None:
                    found[id(stairs)] = stairs
        return np.maximum.reduce(list(found.values())) if found else self.options.staircases.flat

    def late(self, stage: int, state: State, channel: int) -> Ints:
        """Stores of earlier stages that may be outstanding in this one, by free bytes."""
        key = stage, state, channel
        if key not in self._late:
            found, whole = self.stairs.flat(), 0
            where = dict(zip(self.lives.alive[stage], state, strict=True))
            for producer in range(stage):
                name = self.lives.ops[producer].output
                found = capped(found, self.past[producer])
                if name in where:
                    if where[name] != KEPT:
                        found = self.stairs.joined(found, self._stores(producer, where[name], channel))
                elif not self.lives.consumers[name] or not self.lives.read_in_full(name):
                    found = self.stairs.joined(found, self._stores(producer, None, channel))
                whole += self._stored_whole(producer, channel)
            self._late[key] = found + whole
        return self._late[key]

    def _stores(self, stage: int, width: int | None, channel: int) -> Ints:
        """Most that a stage leaves to be stored, for a residence of its output or for any."""
        key = stage, width, channel
        if key not in self._stored:
            found = [self.stairs.flat()]
            for first, number, place in self.doing[stage]:
                option = self.options.options[first][number]
                is_last = place == option.operators - 1
                if is_last and width in (None, self.options.contexts[first][number][2]):
                    steps = self.options.steps[first][number]
                    found.append(self.options.store_stairs(first, option, steps, channel))
            self._stored[key] = np.maximum.reduce(found)
        return self._stored[key]

    def _stored_whole(self, stage: int, channel: int) -> int:
        """Time to store a kept network output, whose bytes may be counted as kept already."""
        name, options = self.lives.ops[stage].output, self.options
        if not options.problem.stored_at_end(options.problem.network.tensors[name]):
            return 0
        if options.costs.channel_of(RegionName.OUTPUT) != channel:
            return 0
        return options.costs.write_ns(RegionName.OUTPUT, stored_bytes(options.problem, name))


@dataclass(frozen=True, eq=False)
class Room:
    """Options of a batch that fit beside the kept tensors, and what their kernels leave free.

    ``free_bytes`` are what a kernel of each run leaves, ``free_before_bytes`` what the one before it left
    (all, if that is of another stage).
    """

    mask: Mask
    batch: Batch
    free_bytes: Ints
    free_before_bytes: Ints

    @cached_property
    def begins(self) -> Ints:
        """The first run of each option."""
        runs = np.add.reduceat(self.batch.row_runs, np.cumsum(self.batch.rows) - self.batch.rows)
        found: Ints = np.cumsum(runs) - runs
        return found

    @property
    def least_bytes(self) -> int:
        """The most that any option leaves free all the while."""
        return int(np.minimum.reduceat(self.free_bytes, self.begins).max())

    @cached_property
    def so_far_bytes(self) -> Ints:
        """The least that the kernels of an option have left free up to each run."""
        return self._least(self.free_bytes, self.begins)

    @cached_property
    def onward_bytes(self) -> Ints:
        """The least that they leave free from each run on; runs of the same row may come again before it ends."""
        ends = len(self.free_bytes) - np.append(self.begins[1:], len(self.free_bytes))
        return self._least(self.free_bytes[::-1], ends[::-1])[::-1]

    def _least(self, free: Ints, begins: Ints) -> Ints:
        found = free.copy()
        for begin, end in pairwise([*begins.tolist(), len(free)]):
            np.minimum.accumulate(free[begin:end], out=found[begin:end])
        return found


@dataclass(frozen=True, eq=False)
class Fitting:
    """A room, and what may be done ahead and late beside each kernel there.

    ``ahead``, ``late`` and ``entry`` are staircases per channel: loads of later stages, stores of earlier
    ones, and loads of the next stage.
    """

    key: Key
    room: Room
    stairs: Stairs
    ahead: tuple[Ints, ...]
    late: tuple[Ints, ...]
    entry: tuple[Ints, ...]

    @property
    def mask(self) -> Mask:
        """The options that fit."""
        return self.room.mask

    @property
    def batch(self) -> Batch:
        """Their runs."""
        return self.room.batch

    @property
    def free_bytes(self) -> Ints:
        """What a kernel of each run leaves."""
        return self.room.free_bytes

    @cached_property
    def slots(self) -> Ints:
        """Free quanta beside a kernel of each run."""
        return self.free_bytes // self.stairs.quantum

    @cached_property
    def far(self) -> Credit:
        """Most time of all transfers ahead and outstanding."""
        ahead = self._shared(self.batch.ahead, self.ahead, self.room.onward_bytes)
        return Credit(ahead, self._shared(self.batch.own, self.late, self.room.so_far_bytes))

    @cached_property
    def near(self) -> Credit:
        """Most time of the stage's own transfers ahead and outstanding."""
        batch = self.batch
        return Credit(batch.tables[batch.ahead, self.slots], batch.tables[batch.own, self.slots])

    @cached_property
    def entry_ns(self) -> Ints:
        """Most time of loads of the next stage, ``(channels, runs)``."""
        return np.array([own[self.slots] for own in self.entry], np.int64).reshape(self.batch.fetch_ns.shape)

    def _shared(self, rows: Ints, others: Sequence[Ints], lasting_bytes: Ints) -> Ints:
        """Most time that the option's own transfers and others take in the free quanta of each run.

        The others are there for longer, and get no more than ``lasting_bytes``.
        """
        width, found = self.stairs.slots + 1, []
        lasting = lasting_bytes // self.stairs.quantum
        for own, other in zip(rows, others, strict=True):
            cases, back = np.unique((own * width + self.slots) * width + lasting, return_inverse=True)
            pairs, most = cases // width, cases % width
            shared = self.stairs.at(self.batch.tables, pairs // width, other, pairs % width, most)
            found.append(shared[back.reshape(-1)])
        return np.array(found, np.int64).reshape(self.batch.fetch_ns.shape)


class Round:
    """One pass over all stages with the credits of the options that are left."""

    def __init__(self, options: Options, alive: Alive, deadline: float) -> None:
        self.options, self.lives, self.deadline = options, options.lives, deadline
        rooms = {key: room for key, mask in alive.items() if (room := self._room(key, mask)) is not None}
        self.credits = _Credits(options, rooms)
        self.most = MOST_LABELS if options.channels else 1
        self.stages = len(options.steps)
        by_stage: list[list[tuple[Key, Room]]] = [[] for _ in range(self.stages)]
        for key, room in rooms.items():
            by_stage[key[0]].append((key, room))
        self.labels: list[dict[State, Ints]] = [{} for _ in range(self.stages + 1)]
        self.matrices: list[list[tuple[Key, Mask, Ints]]] = []
        self.fittings: list[list[Fitting]] = []
        self.rest: list[dict[State, Ints]] = []
        self._forward(by_stage)

    @property
    def value_ns(self) -> int | None:
        """Least makespan of the relaxation, None if no path is left."""
        ends = [int(labels.max(axis=0).min()) for labels in self.labels[-1].values()]
        return min(ends, default=None)

    def check_time(self) -> None:
        """Raise `_TimeUpError` after the deadline."""
        _check(self.deadline)

    def _forward(self, by_stage: list[list[tuple[Key, Room]]]) -> None:
        d = self.options.dimensions
        for key, _ in by_stage[0]:
            self.labels[0][key[1]] = np.zeros((d, 1), np.int64)
        arrived: list[dict[State, list[Ints]]] = [defaultdict(list) for _ in range(self.stages + 1)]
        for stage, batches in enumerate(by_stage):
            self.check_time()
            if stage:
                self.labels[stage] = self._kept(arrived[stage])
            fitting = [self._fitting(key, room) for key, room in batches if key[1] in self.labels[stage]]
            here = self._matrices(fitting)
            for key, _, matrices in here:
                images = applied(matrices, self.labels[stage][key[1]]).reshape(d, -1)
                arrived[stage + key[3]][self.lives.after(*key)].append(images)
            self.matrices.append(here)
        self.labels[-1] = self._kept(arrived[-1])

    def _kept(self, arrived: dict[State, list[Ints]]) -> dict[State, Ints]:
        """The vectors behind an operator that are told apart."""
        return {s: minimal(np.concatenate(images, axis=1), self.most) for s, images in arrived.items()}

    def _matrices(self, fitting: list[Fitting]) -> list[tuple[Key, Mask, Ints]]:
        """The options of some batches and their matrices."""
        self.fittings.append(fitting)
        if not fitting:
            return []
        parts = [fit.batch for fit in fitting]
        count, row_runs, row_count, rows = (
            np.concatenate([getattr(batch, name) for batch in parts])
            for name in ("count", "row_runs", "row_count", "rows")
        )
        single = np.concatenate([self._single(fit) for fit in fitting], axis=2)
        rounds = powers(chains(powers(single, count), row_runs), row_count)
        ends = np.cumsum([len(batch.rows) for batch in parts])
        whole = np.split(chains(rounds, rows), ends[:-1], axis=2)
        return [
            (fit.key, fit.mask, own + self.options.toll_ns(fit.key[0], fit.batch.options))
            for fit, own in zip(fitting, whole, strict=True)
        ]

    def _room(self, key: Key, mask: Mask) -> Room | None:
        """Options of a batch that fit, None if none do."""
        stage, state, output, operators = key
        batch = self.options.batch(*key).take(mask)
        made = self.lives.ops[stage + operators - 1].output
        own_bytes = self.lives.output_bytes(made) if output == KEPT else 0
        arena_bytes = self.options.problem.arena_bytes
        room = arena_bytes - self.lives.kept_bytes(stage, state) - own_bytes
        now = batch.need_bytes, batch.before_output, batch.instant, batch.released
        dying = self.lives.dying(stage, state, operators)
        free = self._free(room, own_bytes, dying, *now)
        runs = np.add.reduceat(batch.row_runs, np.cumsum(batch.rows) - batch.rows)
        fits = np.minimum.reduceat(free, np.cumsum(runs) - runs) >= 0
        if not fits.any():
            return None
        if not fits.all():
            left = mask.copy()
            left[np.flatnonzero(mask)[~fits]] = False
            free, batch, mask = free[np.repeat(fits, runs)], batch.take(fits), left
        before = self._free(room, own_bytes, dying, *batch.previous)
        return Room(mask, batch, free, np.where(batch.first, arena_bytes, before))

    def _fitting(self, key: Key, room: Room) -> Fitting:
        """The same with what may be done beside them."""
        stage, state, _, operators = key
        channels, after = range(self.options.channels), self.lives.after(*key)
        ahead, entry = (
            tuple(find(stage + operators, after, c) for c in channels)
            for find in (self.credits.ahead, self.credits.entry)
        )
        late = tuple(self.credits.late(stage, state, c) for c in channels)
        return Fitting(key, room, self.options.stairs, ahead, late, entry)

    def _free(
        self,
        room: int,
        own_bytes: int,
        dying: Sequence[tuple[int, int]],
        need: Ints,
        before_output: Ints | Mask,
        instant: Ints | Mask,
        released: Ints,
    ) -> Ints:
        """Bytes that kernels leave free; one that takes no time holds nothing, as lives are half-open."""
        free = room - need + own_bytes * (before_output > 0)
        for operands_read, size in dying:
            free = free + size * (released & operands_read == operands_read)
        return np.where(instant > 0, self.options.problem.arena_bytes, free)

    def _single(self, fit: Fitting) -> Ints:
        """Matrices of the single kernels of a batch."""
        batch = fit.batch
        wait = np.zeros(len(batch.count), np.int64)
        for rows in self.options.operands(fit.key[0], fit.key[3]):
            if 0 < len(rows) <= MOST_LOADS:
                loads = batch.load_bytes[rows], batch.load_ns[rows]
                np.maximum(wait, unstarted_ns(*loads, fit.room.free_before_bytes), out=wait)
        return step_matrices(batch, wait, fit.far, fit.near, fit.entry_ns)

    def below(self, limit_ns: int | None) -> Alive:
        """The options through which there is a path shorter than a limit.

        ``rest`` is left with functions of the vector at each state that bound the end from below.
        """
        d = self.options.dimensions
        functions = self.rest = [{} for _ in range(self.stages + 1)]
        functions[-1] = {state: np.zeros((d, 1), np.int64) for state in self.labels[-1]}
        found: Alive = {}
        for stage in reversed(range(self.stages)):
            self.check_time()
            earlier: dict[State, list[Ints]] = defaultdict(list)
            for key, mask, matrices in self.matrices[stage]:
                rest = functions[stage + key[3]].get(self.lives.after(*key))
                if rest is None:
                    continue
                from_here = pulled_back(matrices, rest)
                if limit_ns is not None:
                    short = _through(from_here, self.labels[stage][key[1]]) < limit_ns
                    if not short.any():
                        continue
                    left = mask.copy()
                    left[np.flatnonzero(mask)[~short]] = False
                    mask, from_here = left, from_here[:, short]
                found[key] = mask
                earlier[key[1]].append(from_here.reshape(d, -1))
            functions[stage] = self._kept(earlier)
        return found


def _through(functions: Ints, labels: Ints) -> Ints:
    """Least value of any label under any function of each option: ``(d, n, q)`` and ``(d, m)`` to ``(n,)``."""
    total = functions[0, :, :, None] + labels[0]
    for i in range(1, len(labels)):
        np.maximum(total, functions[i, :, :, None] + labels[i], out=total)
    found: Ints = total.min(axis=(1, 2))
    return found


# ------------------------------------------------------------------------------- bound


class _Search:
    """Assumes makespans and refutes them; what is proven so far is in ``proven_ns``."""

    def __init__(self, options: Options, deadline: float) -> None:
        self.options, self.deadline = options, deadline
        self.layouts_matter = options.layouts_matter
        self.proven_ns = 0
        self.last: Round | None = None  # with something left, and without layouts

    def settle(self, alive: Alive, limit_ns: int) -> Alive:
        """Rule out options, first without and then with layouts; nothing is left where the limit is refuted.

        Raises `_TimeUpError` at the deadline.
        """
        alive = self.sweep(self.options, alive, limit_ns)
        if not alive or not self.layouts_matter:
            return alive
        fine = self.options.refined(alive, self.deadline)
        if fine is None:
            return alive
        left = self.sweep(fine, fine.everywhere(), limit_ns)
        return self.options.among(alive, fine.named(left)) if left else {}

    def sweep(self, options: Options, alive: Alive, limit_ns: int) -> Alive:
        """Rule out options until that changes little."""
        for _ in range(SWEEPS):
            now = Round(options, alive, self.deadline)
            value = limit_ns if now.value_ns is None else min(now.value_ns, limit_ns)
            self.proven_ns = max(self.proven_ns, value)
            if value == limit_ns:
                return {}
            if options is self.options:
                self.last = now
            before, alive = _number(alive), self._finer(now, now.below(limit_ns), limit_ns)
            if not alive:
                self.proven_ns = max(self.proven_ns, limit_ns)
            if not alive or _number(alive) > 0.98 * before:
                break
        return alive

    def _finer(self, now: Round, alive: Alive, limit_ns: int) -> Alive:
        """What a walk through what is left leaves of it."""
        finer = refined(now, limit_ns) if alive and self.options.channels else None
        if finer is None:
            return alive
        self.proven_ns = max(self.proven_ns, min(limit_ns, finer.value_ns or 0))
        return finer.alive

    def begin(self, alive: Alive) -> Alive:
        """The bound without any assumption, and the options that a plan can be made of."""
        now = self.last = Round(self.options, alive, self.deadline)
        self.proven_ns = now.value_ns or 0
        return now.below(None)

    def climb(self, alive: Alive, limit_ns: int | None) -> None:
        """Refute longer and longer makespans, then halve the distance to what cannot be refuted."""
        for growth in GROWTH:
            step = self.proven_ns + 1 + int(growth * self.proven_ns)
            if limit_ns is not None and step >= limit_ns:
                break
            left = self.settle(alive, step)
            if left:
                limit_ns, alive = step, left
                break
        while limit_ns is not None and limit_ns - self.proven_ns > max(1, TIGHT * limit_ns):
            middle = (self.proven_ns + limit_ns) // 2
            left = self.settle(alive, middle)
            if left:
                limit_ns, alive = middle, left


def _number(alive: Alive) -> int:
    return sum(int(mask.sum()) for mask in alive.values())


class Relaxation:
    """The relaxation of one problem over one or more spaces; what is known grows from call to call.

    ``bound_ns``: no plan is shorter. ``round``: the last pass over the options that are left, None where
    time did not suffice for one, or nothing fits. ``first_ns``: the bound when nothing was assumed
    yet. A ``deadline`` is a time of `time.monotonic`, ``ns_per_byte`` a price of bytes written (`tolls`).
    """

    def __init__(
        self,
        problem: Problem,
        spaces: Sequence[Space] | None = None,
        deadline: float = math.inf,
        ns_per_byte: int = 0,
    ) -> None:
        stages = _stages((build_space(problem),) if spaces is None else spaces)
        self.survivors = tuple(stage.options for stage in stages)
        self.tolls = Tolls(problem, ns_per_byte)
        self._search: _Search | None = None
        self._alive: Alive = {}
        self._assumed: int | None = None
        self.first_ns = 0
        try:
            options = Options(Stock.of(problem, self.tolls), stages, False, deadline)
            self._search = _Search(options, deadline)
            self._alive = self._search.begin(options.everywhere())
            self.first_ns = self._search.proven_ns
        except _TimeUpError:
            pass  # what is known by then stays

    @property
    def bound_ns(self) -> int:
        """The bound so far, at most the least makespan assumed."""
        proven = 0 if self._search is None else self._search.proven_ns
        return proven if self._assumed is None else min(proven, self._assumed)

    @property
    def bound(self) -> int:
        """The bound in terms of the problem's objective."""
        return self.tolls.value(self.bound_ns)

    def excludes(self, value: int, deadline: float = math.inf) -> bool:
        """Whether no plan is better than a value of the problem's objective."""
        return self.refutes(self.tolls.limit(value), deadline)

    @property
    def feasible(self) -> bool:
        """Whether something may fit; without any makespan assumed, nothing is left only where nothing does."""
        return self._search is None or self._search.last is None or self._search.last.value_ns is not None

    @property
    def round(self) -> Round | None:
        """The last pass that left something."""
        return self._search.last if self._search is not None and self._alive else None

    def assume(self, makespan_ns: int, deadline: float = math.inf) -> None:
        """Rule out what cannot be part of a plan shorter than one that is known."""
        if self._search is None or not self._alive:
            return
        self._assumed = min(makespan_ns, self._assumed or makespan_ns)
        self._search.deadline = deadline
        try:
            self._alive = self._search.sweep(self._search.options, self._alive, makespan_ns)
            self.survivors = self._search.options.named(self._alive)
        except _TimeUpError:
            pass  # less is ruled out

    def refutes(self, makespan_ns: int, deadline: float = math.inf) -> bool:
        """Whether no plan is shorter than a makespan; nothing is ruled out for good."""
        if self._search is None or not self._alive or self.bound_ns >= makespan_ns:
            return self.bound_ns >= makespan_ns or not self.feasible
        self._search.deadline, last = deadline, self._search.last
        try:
            return not self._search.sweep(self._search.options, self._alive, makespan_ns)
        except _TimeUpError:
            return False
        finally:
            self._search.last = last

    def climb(self, deadline: float = math.inf) -> None:
        """Raise the bound as far as it goes."""
        if self._search is None or not self._alive:
            return
        self._search.deadline = deadline
        with suppress(_TimeUpError):
            self._search.climb(self._alive, self._assumed)


def latency_bound(
    problem: Problem,
    incumbent_ns: int | None = None,
    deadline: float = math.inf,
    spaces: Sequence[Space] | None = None,
) -> Bound:
    """Bound the latency of every plan whose options are in the spaces, and say which options matter.

    ``incumbent_ns`` is the makespan of a known plan, ``deadline`` a time of `time.monotonic`;
    ``spaces`` default to the one of the problem, several are taken together. The bound never
    exceeds the incumbent, and equals it where that is proven optimal; survivors may be empty then.
    """
    relaxation = Relaxation(problem, spaces, deadline)
    if incumbent_ns is not None:
        relaxation.assume(incumbent_ns, deadline)
    relaxation.climb(deadline)
    return Bound(relaxation.bound_ns, relaxation.survivors)


def proven_bound(problem: Problem, incumbent: int, deadline: float, spaces: Sequence[Space]) -> int:
    """Bound the objective of every plan whose options are in the spaces; at most the incumbent's value.

    For energy the length of a path is its makespan and the tolls of its options (`tolls`).
    """
    return raised(Relaxation(problem, spaces, deadline), incumbent, deadline)


def raised(relaxation: Relaxation, incumbent: int, deadline: float) -> int:
    """The bound of a relaxation in terms of its problem's objective, as high as it gets; at most the incumbent's value."""
    relaxation.assume(relaxation.tolls.limit(incumbent), deadline)
    relaxation.climb(deadline)
    return min(incumbent, relaxation.bound)
