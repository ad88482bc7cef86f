"""What may be loaded ahead of a kernel or stored late at most, and the bytes that are left for that."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

import numpy as np

from ooc_solve.models.vocabulary import RegionName
from ooc_solve.solver.fused import operands, outer_operand
from ooc_solve.solver.lives import State
from ooc_solve.solver.maxplus import Ints, Stairs, capped
from ooc_solve.solver.options import KEPT, stored_bytes
from ooc_solve.solver.parts import rows_kept
from ooc_solve.solver.variants import Batch, Fresh, Key, Mask, Options

Doing = tuple[int, int, int]
"""Stage and number of an option, and place of an operator in it."""


@dataclass(frozen=True, slots=True, eq=False)
class Credit:
    """Most transfer time (``(channels, runs)``) ahead of a kernel when it ends, and outstanding when it starts.

    Where the CPU opens and seals, a row more has the most of that.
    """

    ahead_ns: Ints
    late_ns: Ints


class Credits:
    """Over-estimates of what may be loaded ahead or stored late, over the options that are left."""

    def __init__(self, options: Options, rooms: dict[Key, Room]) -> None:
        self.options, self.lives, self.stairs = options, options.lives, options.stairs
        self.left = self._left(rooms)
        self.doing = self._doing()
        self.past, self.through = self._passages(rooms)
        self.weights = [[self._most_weights(own, c) for own in self.doing] for c in range(options.credited)]
        self.following: list[list[Ints]] = []
        for by_stage in self.weights:
            rest = [self.stairs.flat()]
            for stage in reversed(range(len(options.steps))):
                rest.append(self.stairs.joined(capped(rest[-1], self.through[stage]), by_stage[stage]))
            self.following.append(rest[::-1])
        self._fetched: dict[tuple[int, str, int, int, Fresh | None], Ints] = {}
        self._stored: dict[tuple[int, int | None, int, bool], Ints] = {}
        self._ahead: dict[tuple[int, State, int, Fresh | None], Ints] = {}
        self._late: dict[tuple[int, State, int], Ints] = {}
        self._entry: dict[tuple[int, State, int, Fresh | None], Ints] = {}

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

    def fresh(self, key: Key, numbers: Sequence[int]) -> Fresh | None:
        """What some options of a batch make in storage, all of which nobody loads before their last kernel ends."""
        stage, _, output, operators = key
        rows = [self.options.steps[stage][number].last_row for number in numbers]
        return None if output == KEPT else Fresh(self.lives.ops[stage + operators - 1].output, max(rows))

    def ahead(self, stage: int, state: State, channel: int, fresh: Fresh | None) -> Ints:
        """Loads for this stage and later ones that may happen before the one before it ends, by free bytes."""
        key = stage, state, channel, fresh
        if key not in self._ahead:
            self._ahead[key] = self._loads(*key)
        return self._ahead[key]

    def _loads(self, stage: int, state: State, channel: int, fresh: Fresh | None) -> Ints:
        """Stage by stage, the last first: what comes earlier than the stage before lies there all the while."""
        own: dict[int, list[Ints]] = defaultdict(list)
        for name, width in zip(self.lives.alive[stage], state, strict=True):
            users = [user for user in self.lives.consumers[name] if user >= stage]
            if width == KEPT and not self.lives.occupies(name, stage - 1):
                size, ns, at = self.options.kept_input(name)
                own[users[0]] += [self.options.staircases.of([(size, ns, 1)])] if at == channel else []
            for user in users if width != KEPT else ():
                own[user].append(self._fetches(user, name, width, channel, fresh))
        end = max(own, default=stage - 1) + 1
        found = self.following[channel][end]
        for user in reversed(range(stage, end)):
            found = self.stairs.joined(capped(found, self.through[user]), self.weights[channel][user])
            for stairs in own[user]:
                found = self.stairs.joined(found, stairs)
        return found

    def entry(self, stage: int, state: State, channel: int, fresh: Fresh | None) -> Ints:
        """Loads of one stage that may happen before the one before it ends, by free bytes."""
        if stage == len(self.left):
            return self.stairs.flat()
        key = stage, state, channel, fresh
        if key not in self._entry:
            options = self.options
            inputs: dict[int, tuple[int, ...]] = {}
            found: dict[int, Ints] = {}
            for n in self.left[stage]:
                operators, needed, _ = options.contexts[stage][n]
                if operators not in inputs:
                    inputs[operators] = self.lives.inputs(stage, state, operators)
                if needed == inputs[operators]:
                    stairs = options.every_load(stage, n, channel, fresh)
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

    def _fetches(self, stage: int, name: str, width: int, channel: int, fresh: Fresh | None) -> Ints:
        fresh = fresh if fresh is not None and fresh.name == name else None
        key = stage, name, width, channel, fresh
        if key not in self._fetched:
            found = self.stairs.flat()
            for k, other in enumerate(self.lives.ops[stage].inputs):
                if other == name:
                    of_operand = self._fetches_operand(stage, k, width, channel, fresh)
                    found = self.stairs.joined(found, of_operand)
            self._fetched[key] = found
        return self._fetched[key]

    def _fetches_operand(self, stage: int, k: int, width: int, channel: int, fresh: Fresh | None) -> Ints:
        """Most that operand ``k`` of an operator takes where it is spilled so."""
        found: dict[int, Ints] = {}
        for first, number, place in self.doing[stage]:
            operand = outer_operand(self.lives.network, first, place, k)
            if operand is not None and self.options.contexts[first][number][1][operand] == width:
                stairs = self.options.all_loads(first, number, channel, operand, fresh)
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
                else:  # of what is kept in part, nobody may read some of the rows that are stored as well
                    found = self.stairs.joined(found, self._stores(producer, None, channel, parted=True))
                whole += self._stored_whole(producer, channel)
            self._late[key] = found + whole
        return self._late[key]

    def _stores(self, stage: int, width: int | None, channel: int, parted: bool = False) -> Ints:
        """Most that a stage leaves to be stored, for a residence of its output or for any, or any in part."""
        key = stage, width, channel, parted
        if key not in self._stored:
            found = [self.stairs.flat()]
            for first, number, place in self.doing[stage]:
                option = self.options.options[first][number]
                is_last = place == option.operators - 1 and (not parted or rows_kept(option.output) > 0)
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
    def latest_ns(self) -> Ints:
        """Most time of stores that may be outstanding at any time before a kernel of each run, likewise."""
        late = np.array([stairs[-1] for stairs in self.late], np.int64)
        found: Ints = self.batch.tables[self.batch.own, -1] + late[:, None]
        return found

    @cached_property
    def entry_ns(self) -> Ints:
        """Most time of loads of the next stage, and of what opens them on the CPU, ``(channels, runs)``."""
        return np.array([own[self.slots] for own in self.entry], np.int64).reshape(self.batch.own.shape)

    @property
    def entry_most_ns(self) -> Ints:
        """The same where nothing else takes bytes, per channel."""
        return np.array([own[-1] for own in self.entry], np.int64)

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
        return np.array(found, np.int64).reshape(rows.shape)
