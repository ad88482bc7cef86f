"""The options of all stages as batches of runs of kernels, for each way in which their inputs may lie."""

from __future__ import annotations

import math
import time
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property, lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import RegionName
from ooc_solve.solver.fused import operands
from ooc_solve.solver.ladder import at_size
from ooc_solve.solver.lives import Lives, State
from ooc_solve.solver.maxplus import NEVER, Ints, Item, Stairs
from ooc_solve.solver.options import KEPT, Option, stored_bytes
from ooc_solve.solver.parts import PLANE_BITS, record_of
from ooc_solve.solver.selection import Space
from ooc_solve.solver.steps import (
    ALL,
    ANNEX,
    HOMES,
    LAST,
    LEAST_OPENING,
    OPENING,
    WEIGHTS,
    Load,
    StepCosts,
    Steps,
)
from ooc_solve.solver.thrift import counters_of
from ooc_solve.solver.tolls import Tolls
from ooc_solve.solver.units import meetings_of

Mask = NDArray[np.bool_]

Context = tuple[int, tuple[int, ...], int]
"""How many operators a stage has, codes of its inputs and of its output."""

Key = tuple[int, State, int, int]
"""First operator of a stage, state before it, code of its output, number of operators: one batch."""

SLOTS = 256
"""Quanta into which the arena is divided where storage has no larger granules."""


MOST_VARIANTS = 8_000
"""Options with the layouts of their inputs are not looked at if there are more of them, in all states together."""

MOST_KEYS = 60_000
"""Networks with more combinations of residences are not looked at."""

Alive = dict[Key, Mask]
"""Options of each batch that are left."""


class Fresh(NamedTuple):
    """A spilled tensor that a stage makes, and the first row of the tile that its last kernel leaves.

    Nobody loads any of that tile before the kernel ends.
    """

    name: str
    last_row: int


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
    same option that may follow; ``own`` the one of its own stores that may be outstanding. Where the CPU opens and
    seals, both have a row more for that.
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
    open_ns: Ints
    cipher_ns: Ints
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
                  "load_bytes", "load_ns", "open_ns", "cipher_ns", "first", "last", "count", "ahead", "own", "tile_bytes")  # fmt: skip
        return replace(
            self,
            options=tuple(o for o, there in zip(self.options, mask, strict=True) if there),
            row_runs=self.row_runs[rows], row_count=self.row_count[rows], rows=self.rows[mask],
            **{name: getattr(self, name)[..., runs] for name in by_run},
        )  # fmt: skip

    def loops(self, number: int) -> Iterator[tuple[list[tuple[int, int]], int]]:
        """Rows of one option, and how often each comes: its runs, and how many kernels each has."""
        first_row = int(self.rows[:number].sum())
        run = int(self.row_runs[:first_row].sum())
        for row in range(first_row, first_row + int(self.rows[number])):
            runs = range(run, run + int(self.row_runs[row]))
            yield [(r, int(self.count[r])) for r in runs], int(self.row_count[row])
            run += len(runs)


def _batch(
    numbers: Sequence[int],
    steps: Sequence[Steps],
    movers: int,
    ahead: list[Ints],
    own: list[Ints],
    tables: Ints,
) -> Batch:
    names = ("compute_ns", "fetch_ns", "store_ns", "need_bytes", "before_output", "instant", "released", "previous",
             "load_bytes", "load_ns", "open_ns", "cipher_ns", "first", "count", "row_runs", "row_count")  # fmt: skip
    joined = {name: np.concatenate([getattr(s, name) for s in steps], axis=-1) for name in names}
    return Batch(
        options=tuple(numbers), last=np.concatenate([s.place == LAST for s in steps]),
        rows=np.array([len(s.row_runs) for s in steps]), ahead=np.concatenate(ahead, axis=1),
        own=np.concatenate(own, axis=1), tables=tables,
        tile_bytes=np.concatenate([_tile_bytes(s, movers) for s in steps]), **joined,
    )  # fmt: skip


def _tile_bytes(steps: Steps, movers: int) -> Ints:
    """Bytes of the tile that a kernel of each run leaves to be stored; the least of those that take as long."""
    size = {ns: room for room, ns, _ in sorted(steps.stores, reverse=True)}
    moved = steps.store_ns[:movers].sum(axis=0)
    return np.array([size.get(ns, 0) for ns in moved.tolist()], np.int64)


@dataclass(frozen=True, slots=True)
class Stock:
    """What the options of one problem have in common, each figure worked out once."""

    problem: Problem
    lives: Lives
    costs: StepCosts
    staircases: Staircases
    steps: dict[tuple[int, Option, tuple[int, ...]], Steps]
    loads: dict[tuple[int, int, int, int | None, tuple[tuple[Load, int], ...]], Ints]
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


def stages_of(spaces: Sequence[Space]) -> list[Stage]:
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
        self.credited = max(self.channels, self.costs.cipher + 1)  # with what the CPU opens and seals
        self.counters = counters_of(self.problem, self.tolls)
        self.meetings = meetings_of(self.problem.target, self.problem.network)
        # without DMA the CPU moves bytes while the NPU computes, even if kernels always take turns
        self.in_one_chain = self.meetings.apart and (self.channels > 0 or self.problem.target.npu is None)
        self.clocks = 2 * self.channels + (1 if self.in_one_chain else 3)
        self.dimensions = self.clocks + sum(counter.size for counter in self.counters)
        self.options: list[list[Option]] = []
        self.contexts: list[list[Context]] = []
        self.steps: list[list[Steps]] = []
        self.batches: list[dict[Context, Batch]] = []
        self._codes: dict[str, dict[int, set[int]]] = defaultdict(lambda: defaultdict(set))
        self._names: dict[tuple[int, int], tuple[str, ...]] = {}
        for stage in range(len(stages)):
            check(deadline)
            self._add(stage)
        for stage in range(len(stages)):
            check(deadline)
            self.batches.append(dict(self._batches(stage)))

    @cached_property
    def head_ns(self) -> int:
        """Least time that the CPU has nothing to do before its second task where it opens records.

        Before the first one a record must have come, or all that the first kernel waits for, where that needs no
        opening; before the second one another record, or all that the first kernel waits for. 0 where kernels alone
        know what they wait for.
        """
        if not 0 < self.channels < self.credited:
            return 0
        batches = self.batches[0].values()
        first = np.concatenate([batch.fetch_ns[:, batch.first].max(axis=0) for batch in batches])
        plain = np.concatenate([batch.cipher_ns[OPENING, batch.first] == 0 for batch in batches])
        idle, kernel_ns = list[int](first[plain].tolist()), int(first.min())
        records = self._records()
        least = {c: min(ns for at, ns, _ in records if at == c) for c, _, _ in records}
        for channel, ns, opening in records:
            second = min(kernel_ns, *(own + ns * (c == channel) for c, own in least.items()))
            idle.append(max(ns, second - opening))
        return min(idle, default=0)

    def _records(self) -> set[tuple[int, int, int]]:
        """Channel, least time of the load and most time of the opening of what the CPU opens, of all options."""
        return {
            (self._channel(self.names(stage, option), k), ns, opening)
            for stage, (options, steps) in enumerate(zip(self.options, self.steps, strict=True))
            for option, own in zip(options, steps, strict=True)
            for k, _, ns, _, _, _, opening in own.ahead[ALL]
            if opening
        }

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
                records = tuple(map(record_of, codes)) if self.laid_out else ()
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
        """Where a tensor lives: its residence, and where it matters rows per record."""
        if residence == KEPT or not self.laid_out:
            return residence
        return residence | self.costs.record_rows(name, residence, rows) << PLANE_BITS

    def _inputs(self, stage: int, option: Option) -> list[tuple[int, ...]]:
        """Codes of the inputs that an option may find."""
        op, names = self.problem.network.ops[stage], self.names(stage, option)
        choices: dict[str, list[int]] = {}
        for name, residence in zip(names, option.inputs, strict=True):
            known = self._codes[name][residence] if name in self.lives.producer else {residence}
            whole = op.needs_whole_tensors and self.laid_out
            height = self.problem.network.tensors[name].height
            choices[name] = [c for c in sorted(known) if not whole or not 0 < record_of(c) < height]
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
        return None if self._many(left, alive) else Options(self.stock, left, True, deadline)

    def _many(self, stages: Sequence[Stage], alive: Alive) -> bool:
        """Whether variants with layouts would be too many, as each is looked at in as many states as its option."""
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
        states = sum(int(mask.sum()) for mask in alive.values()) / max(1, sum(len(s.options) for s in stages))
        return total * max(1.0, states) > MOST_VARIANTS

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

        channels, ahead, own = range(self.credited), [], []
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
        return _batch(numbers, steps_of, self.costs.movers, ahead, own, table)

    def _with_kept_input(self, stage: int, number: int) -> Steps:
        """Steps whose first kernel also waits for network inputs that are kept from here on."""
        steps, option = self.steps[stage][number], self.options[stage][number]
        for name, residence in dict(zip(self.names(stage, option), option.inputs, strict=True)).items():
            if residence == KEPT and self.comes_kept(name) and self.lives.consumers[name][0] == stage:
                _, ns, c = self.kept_input(name)
                fetch, compute = steps.fetch_ns.copy(), steps.compute_ns.copy()
                cipher = steps.cipher_ns.copy()
                cipher[LEAST_OPENING, 0] = 0
                if c < 0:
                    compute[0] += ns
                else:
                    fetch[c, 0] += ns
                steps = replace(steps, fetch_ns=fetch, compute_ns=compute, cipher_ns=cipher)
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

    @cached_property
    def start(self) -> Ints:
        """The vector before all stages, ``(d, 1)``."""
        found = np.zeros((self.dimensions, 1), np.int64)
        begun = [ns for counter in self.counters for ns in counter.start_ns]
        found[self.clocks :, 0] = begun
        found[0] = self.head_ns
        return found

    def counted(self, stage: int, numbers: Sequence[int]) -> Ints:
        """What options of a stage make of what is counted, ``(d, d, n)`` (see `thrift`)."""
        size = self.dimensions - self.clocks
        found = np.full((size, size, len(numbers)), NEVER, np.int64)
        low = 0
        for counter in self.counters:
            high = low + counter.size
            own = [counter.of(stage, self.options[stage][n]) for n in numbers]
            found[low:high, low:high] = (
                np.array(own, np.int64).reshape(-1, counter.size, counter.size).transpose(1, 2, 0)
            )
            low = high
        return found

    def with_tolls(self, matrices: Ints, stage: int, numbers: Sequence[int]) -> Ints:
        """Matrices ``(d, d, n)`` of options of a stage with their tolls, and what they count."""
        own = matrices + self.toll_ns(stage, numbers)
        if not self.counters:
            return own
        found = np.full((self.dimensions, self.dimensions, len(numbers)), NEVER, np.int64)
        found[: self.clocks, : self.clocks] = own
        found[self.clocks :, self.clocks :] = self.counted(stage, numbers)
        return found

    def batch(self, stage: int, state: State, output: int, operators: int) -> Batch:
        """The options of a stage that fit a state before it and a residence of its output."""
        return self.batches[stage][operators, self.lives.inputs(stage, state, operators), output]

    def everywhere(self) -> Alive:
        """All options in all states that can be reached.

        Raises `TimeUpError` if there are too many combinations.
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
                raise TimeUpError
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

    def all_loads(
        self, stage: int, number: int, channel: int, operand: int, fresh: Fresh | None = None
    ) -> Ints | None:
        """Staircase of all loads of an operand of a variant on a channel, None if there are none.

        Of a tensor that is ``fresh`` those that need no tile that its producer's last kernel makes.
        """
        own = self._channel(self.names(stage, self.options[stage][number]), operand)
        if channel not in (own, self.costs.cipher):
            return None
        steps = self.steps[stage][number]
        there = any(k == operand for k, *_ in steps.ahead[ALL])
        return self.load_stairs(stage, number, ALL, channel, operand, fresh) if there else None

    def every_load(self, stage: int, number: int, channel: int, fresh: Fresh | None = None) -> Ints:
        """Staircase of all loads of a variant on a channel, likewise."""
        return self.load_stairs(stage, number, ALL, channel, None, fresh)

    def load_stairs(
        self,
        stage: int,
        number: int,
        place: int,
        channel: int,
        operand: int | None = None,
        fresh: Fresh | None = None,
    ) -> Ints:
        """Staircase of the loads that may follow a place in a stage, of one operand only if given."""
        steps, names = self.steps[stage][number], self.names(stage, self.options[stage][number])
        late = _late(steps, names, fresh)
        key = id(steps), place, channel, operand, late  # all steps stay in stock
        if key not in self.stock.loads:
            items: dict[tuple[int, int], int] = defaultdict(int)
            loads = Counter(steps.ahead[place])
            loads.subtract(dict(late))
            for (k, size, ns, piece, each, pieces, opening), many in loads.items():
                if operand not in (None, k) or not many:
                    continue
                if channel == self.costs.cipher:
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
        if option.output != KEPT and channel == self.costs.cipher:
            return self.staircases.of(item for item in steps.sealed if item[1])
        name = self.output(stage, option)
        spilled = option.output != KEPT and self.costs.channel_of(self.costs.region_of(name)) == channel
        return self.staircases.of(steps.stores) if spilled else self.staircases.flat


def _late(steps: Steps, names: Sequence[str], fresh: Fresh | None) -> tuple[tuple[Load, int], ...]:
    """Loads, and how many of each kind, that need the last tile of what is fresh."""
    if fresh is None:
        return ()
    found: Counter[Load] = Counter()
    for (row, load), many in steps.reaching.items():
        if names[load[0]] == fresh.name and row > fresh.last_row:
            found[load] += many
    return tuple(sorted(found.items()))


def _stairs_of(problem: Problem) -> Stairs:
    """Quanta of which all sizes are multiples where there are few of them, else `SLOTS` of them."""
    arena, unit = problem.arena_bytes, problem.unit_bytes
    common = math.lcm(unit, math.gcd(*(problem.granule_bytes(region) for region in problem.regions)))
    quantum = common if arena // common <= 2 * SLOTS else unit * -(-arena // (SLOTS * unit))
    return Stairs(quantum, arena // quantum)


class TimeUpError(Exception):
    """The deadline passed; what has been proven so far stands."""


def check(deadline: float) -> None:
    """Raise `TimeUpError` when a time of `time.monotonic` has passed."""
    if time.monotonic() > deadline:
        raise TimeUpError
