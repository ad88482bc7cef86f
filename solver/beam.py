"""Beam search: the most promising partial selections, carried stage by stage through the simulation.

A partial selection is judged by what it would cost if all that follows were overlapped perfectly
(`Outlook`), on top of what the simulation says so far. The search counts its work, not seconds.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.energy import Rates
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import Objective, RegionName, Selection, Tiling
from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.fused import operands
from ooc_solve.solver.guidance import Guide, carried, least_ns
from ooc_solve.solver.maxplus import Ints, minimal
from ooc_solve.solver.options import KEPT, Option, stored_bytes
from ooc_solve.solver.parts import PLANE_BITS, part_bytes
from ooc_solve.solver.profiles import MOST_KERNELS, Profile, profiles_of
from ooc_solve.solver.selection import Space
from ooc_solve.solver.simulation import TILE_NS, Front, Profiled, StageTraffic, advance
from ooc_solve.solver.units import meetings_of

Floats = NDArray[np.float64]

Place = tuple[int, int]
"""Where a tensor is: residence, and rows per record in storage (0: kept)."""

State = tuple[Place, ...]
"""Places of the tensors that are alive between two stages."""

Allowed = Sequence[Sequence[int]]
"""Numbers of the options of each stage that a search may use."""

VECTORS = 12
"""Ways to go on that are told apart for each residence of the tensors."""

KERNELS_PER_UNIT = 250
"""Simulated kernels that take as long as a unit of effort."""

HOPEFUL = 8
"""Partial selections that are simulated for each that is kept: those that the relaxation deems best."""

UNITS_PER_KERNEL = 2
"""Units of effort that a kernel takes however few plans share it."""


@dataclass(frozen=True, slots=True)
class Price:
    """What plans are compared by: ``per_ns`` times the makespan plus what each option costs, in ns or nJ."""

    per_ns: float
    per_compute_ns: float
    per_pj: float
    per_read: float

    @classmethod
    def of(cls, problem: Problem) -> Price:
        """The price that stands for a problem's objective."""
        if problem.objective is not Objective.ENERGY:
            return cls(1.0, 0.0, 0.0, 0.0)
        rates = Rates.of(problem.target)
        read = min(store.read for store in rates.stores)
        return cls(float(rates.per_ns) / 1000, float(rates.per_compute_ns) / 1000, 1e-3, float(read) / 1000)

    def estimate(self, option: Option) -> float:
        """What an option costs apart from its time, by its own figures."""
        return self.per_compute_ns * option.compute_ns + self.per_pj * option.storage_pj

    def fixed(self, option: Option, profile: Profile) -> float:
        """The same once it is known how its inputs are laid out: it may read more then."""
        return self.estimate(option) + self.per_read * (sum(profile.read_bytes) - option.bytes_read)


class Course:
    """The stages of a problem for the simulation: options, tensors alive, traffic."""

    def __init__(self, space: Space, margin_bytes: int = 0) -> None:
        self.margin_bytes, self.looked_at = margin_bytes, 0
        problem = self.problem = space.problem
        network = self.network = problem.network
        self.space, self.options = space, space.options
        self.profiles, self.price = profiles_of(problem), Price.of(problem)
        self.meetings = meetings_of(problem.target, network)
        ops = network.ops
        number = {name: i for i, name in enumerate(network.tensors)}
        self.number = number
        self._traffic: dict[tuple[int, int], StageTraffic] = {}
        self.size = {n: problem.buffer_bytes(stored_bytes(problem, n)) for n in network.tensors}
        ends = {*network.inputs, *network.outputs} if problem.io is IoPlace.SRAM else set()
        self.pinned = frozenset(ends)
        made = {op.output: s for s, op in enumerate(ops)}
        used: dict[str, list[int]] = defaultdict(list)
        for stage, op in enumerate(ops):
            for name in op.inputs:
                used[name].append(stage)
        self.first_use = {name: stages[0] for name, stages in used.items()}
        self.alive = [
            tuple(n for n, stages in used.items() if made.get(n, -1) < stage <= stages[-1])
            for stage in range(len(ops) + 1)
        ]
        self.from_inputs = [_by_inputs(options) for options in self.options]
        self.spans = [sorted({o.operators for o in options}) for options in self.options]
        self.output_channel = self.profiles.channel_of[RegionName.OUTPUT]
        self._ways: dict[tuple[int, State], dict[int, Way | None]] = {}
        self._steps: dict[tuple[int, State, int], Step | None] = {}
        self._kernels: dict[tuple[int, tuple[Tiling, ...]], int] = {}

    @property
    def stages(self) -> int:
        """How many there are."""
        return len(self.options)

    def starts(self) -> list[State]:
        """Where network inputs may be at the start."""
        found: list[State] = [()]
        for name in self.alive[0]:
            tensor = self.network.tensors[name]
            spilled = [(w, tensor.height) for w in self.space.residences[name] if w != KEPT]
            found = [(*state, place) for state in found for place in [(KEPT, 0), *spilled]]
        return found

    def ways(self, stage: int, operators: int, state: State, allowed: Collection[int]) -> list[Way]:
        """What may be done with a stage of some operators from a state, by the options allowed.

        Some may turn out not to fit when their kernels are looked at one by one (`step`).
        """
        known = self._ways.setdefault((stage, state), {})
        places = dict(zip(self.alive[stage], state, strict=True))
        inputs = tuple(places[name][0] for name in operands(self.network, stage, operators))
        found = []
        for number in self.from_inputs[stage].get((operators, inputs), ()):
            if number in allowed:
                if number not in known:
                    known[number] = self._way(stage, state, number)
                way = known[number]
                if way is not None:
                    found.append(way)
        return found

    def step(self, stage: int, state: State, way: Way) -> Step | None:
        """A stage done in one way, kernel by kernel; None if it does not fit."""
        key = stage, state, way.option
        if key not in self._steps:
            keep_time()
            self.looked_at += 1
            self._steps[key] = self._step(stage, state, way)
        return self._steps[key]

    def steps(self, stage: int, operators: int, state: State, allowed: Collection[int]) -> list[Step]:
        """What can be done with a stage of some operators from a state, by the options allowed."""
        ways = self.ways(stage, operators, state, allowed)
        return [step for way in ways if (step := self.step(stage, state, way)) is not None]

    def traffic(self, stage: int, operators: int) -> StageTraffic:
        """What moves over which channel in a stage of some operators."""
        key = stage, operators
        if key not in self._traffic:
            names, output = operands(self.network, *key), self.output(*key)
            self._traffic[key] = StageTraffic(
                self.profiles.operand_channels(names), self.profiles.channel_of[self.profiles.region_of(output)],
                tuple(self.number[n] for n in names), self.number[output], self.profiles.engine,
                all(self.meetings.joins[stage : stage + operators]),
            )  # fmt: skip
        return self._traffic[key]

    def output(self, stage: int, operators: int) -> str:
        """What a stage makes."""
        return self.network.ops[stage + operators - 1].output

    def _way(self, stage: int, state: State, number: int) -> Way | None:
        """A stage done by one option, None if it does not fit at all or is too long to be simulated."""
        option = self.options[stage][number]
        output, end = self.output(stage, option.operators), stage + option.operators
        places = dict(zip(self.alive[stage], state, strict=True))
        room = self.room_bytes(end - 1, {name: w | rows << PLANE_BITS for name, (w, rows) in places.items()})
        room -= self.taken_bytes(
            output, option.output | option.tiling.rows << PLANE_BITS if option.output else KEPT
        )
        if option.need_bytes > room or self.kernels(stage, option) > MOST_KERNELS:
            return None
        places[output] = (option.output, option.tiling.rows if option.output != KEPT else 0)
        return Way(number, option.operators, room, tuple(places[name] for name in self.alive[end]))

    def _step(self, stage: int, state: State, way: Way) -> Step | None:
        places = dict(zip(self.alive[stage], state, strict=True))
        records = tuple(places[name][1] for name in operands(self.network, stage, way.operators))
        option = self.options[stage][way.option]
        profile = self.profiles.of(stage, option, records)
        if profile is None or profile.peak_bytes > way.room_bytes:
            return None
        fixed, written = self.price.fixed(option, profile), sum(profile.written_bytes)
        return Step(way.option, way.operators, profile, way.room_bytes, way.after, fixed, written)

    def room_bytes(self, stage: int, residence: dict[str, int]) -> int:
        """Arena that kept tensors leave in a stage that ends with an operator, its own output aside."""
        taken = sum(self.size[name] for name in self.pinned)
        for name, width in residence.items():
            late = name in self.network.inputs and self.first_use[name] > stage
            taken += 0 if late else self.taken_bytes(name, width)
        return self.problem.arena_bytes - self.margin_bytes - taken

    def taken_bytes(self, name: str, residence: int) -> int:
        """What is kept of a tensor takes, that of a stage's output beside `room_bytes`."""
        if name in self.pinned:
            return 0
        return self.size[name] if residence == KEPT else part_bytes(self.problem, name, residence)

    def kernels(self, stage: int, option: Option) -> int:
        """How many kernels an option has."""
        key = stage, option.tilings
        if key not in self._kernels:
            ops = self.network.ops[stage : stage + option.operators]
            pairs = zip(ops, option.tilings, strict=True)
            self._kernels[key] = sum(StageGeometry.of(self.network, op, tiling).tiles for op, tiling in pairs)
        return self._kernels[key]

    def selection(self, numbers: Sequence[int]) -> Selection:
        """The selection that consists of one option per stage; `COVERED` where a stage goes on."""
        kept: set[str] = set()
        tilings: list[Tiling] = []
        for stage, number in enumerate(numbers):
            if number == COVERED:
                continue
            option = self.options[stage][number]
            names = operands(self.network, stage, option.operators)
            kept |= {n for n, w in zip(names, option.inputs, strict=True) if w == KEPT}
            if option.output == KEPT:
                kept.add(self.output(stage, option.operators))
            tilings += option.tilings
        return Selection(tuple(tilings), frozenset(kept), self.network.order)


COVERED = -1
"""In place of an option: the operator belongs to a stage that begins before."""


def _by_inputs(options: Sequence[Option]) -> dict[tuple[int, tuple[int, ...]], list[int]]:
    """Numbers of the options with some operators for some residences of what they read."""
    found: dict[tuple[int, tuple[int, ...]], list[int]] = defaultdict(list)
    for number, option in enumerate(options):
        found[option.operators, option.inputs].append(number)
    return found


@dataclass(frozen=True, slots=True, eq=False)
class Way:
    """What one option makes of a stage, its kernels aside: bytes beside kept tensors, state behind."""

    option: int
    operators: int
    room_bytes: int
    after: State


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One stage done in one way: option, profile, bytes beside kept tensors, state behind, price, writes."""

    option: int
    operators: int
    profile: Profile
    room_bytes: int
    after: State
    fixed: float
    written_bytes: int


class Outlook:
    """For each residence of the tensors, what the stages that follow take at least.

    Vectors ``(compute, transfers per channel, price)``, as if everything overlapped; and the
    least that has to be written.
    """

    def __init__(self, course: Course, allowed: Allowed) -> None:
        self.course = course
        self.latest_ns = course.problem.limits.latency_ns
        self.vectors: list[dict[tuple[int, ...], Floats]] = [{} for _ in range(course.stages + 1)]
        self.writes: list[dict[tuple[int, ...], int]] = [{} for _ in range(course.stages + 1)]
        states = self._states(allowed)
        d = 2 + course.profiles.channels
        for state in states[-1]:
            self.vectors[-1][state], self.writes[-1][state] = np.zeros((d, 1)), 0
        for stage in reversed(range(course.stages)):
            self._stage(stage, states[stage], allowed[stage])

    def _states(self, allowed: Allowed) -> list[set[tuple[int, ...]]]:
        course = self.course
        found: list[set[tuple[int, ...]]] = [set() for _ in range(course.stages + 1)]
        found[0] = {tuple(w for w, _ in state) for state in course.starts()}
        for stage in range(course.stages):
            outputs: dict[tuple[int, tuple[int, ...]], set[int]] = defaultdict(set)
            for number in allowed[stage]:
                option = course.options[stage][number]
                outputs[option.operators, option.inputs].add(option.output)
            for operators in {key[0] for key in outputs}:
                for state in found[stage]:
                    for output in outputs.get((operators, self._inputs(stage, operators, state)), ()):
                        found[stage + operators].add(self._after(stage, operators, state, output))
        return found

    def _inputs(self, stage: int, operators: int, state: tuple[int, ...]) -> tuple[int, ...]:
        places = dict(zip(self.course.alive[stage], state, strict=True))
        return tuple(places[name] for name in operands(self.course.network, stage, operators))

    def _after(self, stage: int, operators: int, state: tuple[int, ...], output: int) -> tuple[int, ...]:
        places = dict(zip(self.course.alive[stage], state, strict=True))
        places[self.course.output(stage, operators)] = output
        return tuple(places[name] for name in self.course.alive[stage + operators])

    def _stage(self, stage: int, states: set[tuple[int, ...]], allowed: Sequence[int]) -> None:
        course = self.course
        groups: dict[tuple[int, tuple[int, ...], int], list[Option]] = defaultdict(list)
        for number in allowed:
            option = course.options[stage][number]
            if course.kernels(stage, option) <= MOST_KERNELS:
                groups[option.operators, option.inputs, option.output].append(option)
        figures = {
            key: (
                np.array([self._figures(stage, o) for o in options]).T,
                np.array([o.need_bytes for o in options]),
                np.array([o.bytes_written for o in options]),
            )
            for key, options in groups.items()
        }
        for state in states:
            keep_time()
            found, writes = [], []
            given = dict(zip(course.alive[stage], state, strict=True))
            inputs = {n: self._inputs(stage, n, state) for n in {key[0] for key in figures}}
            for (operators, needed, output), (own, need, written) in figures.items():
                end = stage + operators
                after = self._after(stage, operators, state, output) if needed == inputs[operators] else None
                if after is None or after not in self.vectors[end]:
                    continue
                made = course.output(stage, operators)
                room = course.room_bytes(end - 1, given) - course.taken_bytes(made, output)
                fits = need <= room
                if not fits.any():
                    continue
                rest = self.vectors[end][after]
                found.append((own[:, fits, None] + rest[:, None, :]).reshape(len(own), -1))
                writes.append(int(written[fits].min()) + self.writes[end][after])
            if found:
                joined = np.concatenate(found, axis=1)
                self.vectors[stage][state] = minimal(joined.astype(np.int64), VECTORS).astype(float)
                self.writes[stage][state] = min(writes)

    def _figures(self, stage: int, option: Option) -> list[float]:
        """Compute, transfers per channel and price of an option, by its own estimates."""
        course = self.course
        io = dict(option.io_ns)
        channels = [0.0] * course.profiles.channels
        beside = option.tiling.npu and course.meetings.loose(stage)
        compute = 0.0 if beside else float(option.compute_ns)
        if course.profiles.overlaps:
            for name, ns in io.items():
                channels[course.profiles.names.index(name)] += ns
        else:
            compute += sum(io.values())
        return [compute, *channels, course.price.estimate(option)]

    def price(self, stage: int, state: State, front: Front, which: Ints, fixed: Floats) -> Floats:
        """Least price of plans that are at a stage in one state; infinite where nothing follows."""
        vectors = self.vectors[stage].get(tuple(w for w, _ in state))
        if vectors is None:
            return np.full(len(which), np.inf)
        clocks = [front.compute_ns[which], *front.channel_ns[:, which]]
        ends = clocks[0][:, None] + vectors[0]
        for clock, more in zip(clocks[1:], vectors[1:-1], strict=True):
            np.maximum(ends, clock[:, None] + more, out=ends)
        price = self.course.price.per_ns * ends + vectors[-1]
        if self.latest_ns is not None:
            price[ends > self.latest_ns] = np.inf
        found: Floats = price.min(axis=1) + fixed
        return found


class Vista:
    """What the relaxation says of plans that use some options only: see `guidance`.

    Plans carry a vector of the relaxation. One whose price is not below ``limit_ns`` is given up.
    """

    def __init__(self, course: Course, guide: Guide, allowed: Allowed | None, limit_ns: int | None) -> None:
        self.course, self.guide, self.per_ns = course, guide, course.price.per_ns
        self.limit_ns = inf if limit_ns is None else limit_ns
        self.functions = guide.functions if allowed is None else guide.backwards(allowed)
        self._places = [
            [course.alive[stage].index(name) for name in guide.lives.alive[stage]]
            for stage in range(course.stages + 1)
        ]

    def state(self, stage: int, state: State) -> tuple[int, ...]:
        """Residences of the tensors that the relaxation tells apart."""
        return tuple(state[i][0] for i in self._places[stage])

    def carry(
        self, stage: int, states: Sequence[State], ways: Sequence[Way], which: Ints, vectors: Ints
    ) -> Ints:
        """Vectors ``(d, n)`` of plans behind a stage that begins here; way i is gone from ``states[i]``."""
        tables, first = [], 0
        while first < len(ways):
            last = first
            while last < len(ways) and states[last] is states[first]:
                last += 1
            numbers = [way.option for way in ways[first:last]]
            tables.append(self.guide.matrices(stage, self.state(stage, states[first]), numbers))
            first = last
        return carried(np.concatenate(tables, axis=2)[:, :, which], vectors)

    def simulated(self, traffic: StageTraffic, front: Front, vectors: Ints, fixed: Floats) -> Ints:
        """Vectors that are no better than the simulation behind a stage, and what it cost apart from its time."""
        found, tolls = vectors.copy(), (fixed / self.per_ns).astype(np.int64)
        np.maximum(found[0], front.compute_ns + tolls, out=found[0])
        with_dma = front.channel_ns[: self.guide.channels]  # none where the core transfers by itself
        for channel, busy in enumerate(with_dma):
            if channel == traffic.stores:
                busy = busy + front.tiles[TILE_NS].sum(axis=0)
            np.maximum(found[1 + channel], busy + tolls, out=found[1 + channel])
        return found

    def price(self, stage: int, states: Sequence[State], behind: Ints, vectors: Ints) -> Floats:
        """Least price of plans at a stage, as a time; infinite where it is not below the limit or nothing follows."""
        found = np.full(len(behind), np.inf)
        for number, state in enumerate(states):
            here = np.flatnonzero(behind == number)
            functions = self.functions[stage].get(self.state(stage, state))
            if functions is not None and len(here):
                found[here] = least_ns(functions, vectors[:, here])
        return found


BY_PLAN = ("state_of", "fixed", "written", "vectors", "begun", "origin", "option")
"""Fields of a `Crowd` whose last axis counts the plans."""


@dataclass(frozen=True, slots=True, eq=False)
class Crowd:
    """Plans behind the same operator, as parallel arrays.

    ``states`` are those that occur, ``state_of`` says which each plan is in. ``origin`` and
    ``option`` say where it comes from: the plan's number there, at boundary ``begun``, and what was
    done with the stage. ``vectors`` are those of the relaxation (`Vista`), without entries if it is not asked.
    """

    front: Front
    states: list[State]
    state_of: Ints
    fixed: Floats
    written: Ints
    vectors: Ints
    begun: Ints
    origin: Ints
    option: Ints

    def take(self, which: Ints) -> Crowd:
        """Some of the plans."""
        return Crowd(self.front.take(which), self.states, *(getattr(self, n)[..., which] for n in BY_PLAN))

    @classmethod
    def joined(cls, crowds: Sequence[Crowd]) -> Crowd:
        """The plans of all of them."""
        if len(crowds) == 1:
            return crowds[0]
        numbers: dict[State, int] = {}
        state_of = [
            np.array([numbers.setdefault(state, len(numbers)) for state in c.states], np.int64)[c.state_of]
            for c in crowds
        ]
        together = (np.concatenate([getattr(c, name) for c in crowds], axis=-1) for name in BY_PLAN[1:])
        front = Front.joined([c.front for c in crowds])
        return cls(front, list(numbers), np.concatenate(state_of), *together)


@dataclass(frozen=True, slots=True)
class Proposal:
    """One option per stage, and what the simulation makes of them."""

    numbers: tuple[int, ...]
    price: float


@dataclass(frozen=True, slots=True)
class Found:
    """Proposals, best first, and the work it took."""

    proposals: tuple[Proposal, ...]
    effort: int


def search(
    course: Course,
    allowed: Allowed,
    width: int,
    outlook: Outlook | None = None,
    deadline: float = inf,
    vista: Vista | None = None,
) -> Found:
    """Carry at most ``width`` partial selections through the stages; none are found after the deadline."""
    return _Beam(course, allowed, width, outlook or Outlook(course, allowed), vista).run(deadline)


class _Beam:
    """One search: ``arrived`` has the plans that have reached each boundary between operators."""

    def __init__(
        self, course: Course, allowed: Allowed, width: int, outlook: Outlook, vista: Vista | None
    ) -> None:
        self.course, self.width, self.outlook, self.vista = course, width, outlook, vista
        self.allowed = [frozenset(numbers) for numbers in allowed]
        states = course.starts()
        n, none = len(states), np.zeros(len(states), np.int64)
        front = Front.start(course.profiles.channels).take(none)
        self.dimensions = 0 if vista is None else vista.guide.dimensions
        vectors = np.zeros((0, n), np.int64) if vista is None else np.repeat(vista.guide.start, n, axis=1)
        start = Crowd(front, states, np.arange(n), np.zeros(n), none, vectors, none, none, none)
        self.arrived: list[list[Crowd]] = [[] for _ in range(course.stages + 1)]
        self.arrived[0] = [start]
        self.kept: list[Crowd] = []
        self.effort = 0

    def run(self, deadline: float) -> Found:
        """The complete selections that are left at the end."""
        for stage in range(self.course.stages + 1):
            if time.monotonic() > deadline:
                return Found((), self.effort)
            self._settle(stage)
            if stage < self.course.stages and len(self.kept[stage].origin):
                self._expand(stage)
        last = self.kept[-1]
        if not len(last.origin):
            return Found((), self.effort)
        prices = self.course.price.per_ns * last.front.ends_ns(self.course.output_channel) + last.fixed
        proposals = [
            Proposal(self._numbers(int(plan)), float(prices[plan]))
            for plan in np.argsort(prices, kind="stable")
        ]
        return Found(tuple(proposals), self.effort)

    def _numbers(self, plan: int) -> tuple[int, ...]:
        numbers, stage = [COVERED] * self.course.stages, self.course.stages
        while stage > 0:
            crowd = self.kept[stage]
            begun = int(crowd.begun[plan])
            numbers[begun] = int(crowd.option[plan])
            plan, stage = int(crowd.origin[plan]), begun
        return tuple(numbers)

    def _settle(self, stage: int) -> None:
        """Keep the best of the plans that have reached a boundary."""
        crowds = self.arrived[stage]
        self.arrived[stage] = []
        if not crowds:
            self.kept.append(_nobody(self.course.profiles.channels, self.dimensions))
            return
        crowd = Crowd.joined(crowds)
        if len(crowds) > 1:
            crowd = crowd.take(self._chosen(stage, crowd))
        self.kept.append(crowd)

    def _expand(self, stage: int) -> None:
        """Do the next stage in every way from every plan and keep the best, by the operators it takes."""
        crowd = self.kept[stage]
        for operators in self.course.spans[stage]:
            keep_time()
            plans, which, ways, froms = self._pairs(stage, operators, crowd)
            if len(plans):
                self._advance(stage, operators, crowd, plans, which, ways, froms)

    def _advance(
        self,
        stage: int,
        operators: int,
        crowd: Crowd,
        plans: Ints,
        which: Ints,
        ways: list[Way],
        froms: list[State],
    ) -> None:
        """Carry plans through a stage, each in one way: ``plans[i]`` in ``ways[which[i]]``."""
        end, traffic = stage + operators, self.course.traffic(stage, operators)
        numbers: dict[State, int] = {}
        behind = np.array([numbers.setdefault(way.after, len(numbers)) for way in ways])[which]
        states = list(numbers)
        options = np.array([way.option for way in ways])[which]
        vectors, hopes = crowd.vectors[:, plans], np.zeros(len(plans))
        if self.vista is not None:
            vectors = self.vista.carry(stage, froms, ways, which, vectors)
            hopes = self.vista.price(end, states, behind, vectors)
            hopes[hopes >= self.vista.limit_ns] = np.inf
        if (budget := self.course.problem.most_stored_bytes) is not None:
            own = np.array([self.course.options[stage][way.option].bytes_written for way in ways])[which]
            rest = [self.outlook.writes[end].get(tuple(w for w, _ in state), 0) for state in states]
            hopes[crowd.written[plans] + own + np.array(rest)[behind] > budget] = np.inf
        steps: list[Step | None] = [None] * len(ways)
        left = self._hopeful(stage, hopes, behind, options, vectors, which, ways, froms, steps)
        if not len(left):
            return
        plans, which, vectors = plans[left], which[left], vectors[:, left]
        profiles, room, fixed, written = self._figures(steps, which)
        front = self._simulated(traffic, crowd.front.take(plans), profiles, room)
        if self.vista is not None:
            vectors = self.vista.simulated(traffic, front, vectors, crowd.fixed[plans] + fixed)
        begun = np.full(len(plans), stage, np.int64)
        moved = Crowd(front, states, behind[left], crowd.fixed[plans] + fixed, crowd.written[plans] + written,
                      vectors, begun, plans, options[left])  # fmt: skip
        self.arrived[end].append(moved.take(self._chosen(end, moved)))

    def _hopeful(
        self,
        stage: int,
        hopes: Floats,
        behind: Ints,
        options: Ints,
        vectors: Ints,
        which: Ints,
        ways: list[Way],
        froms: list[State],
        steps: list[Step | None],
    ) -> Ints:
        """Plans to simulate, whose ways have their ``steps``: the best by the relaxation, all without it.

        Only ways that are gone are looked at kernel by kernel; those that do not fit after all make room
        for others.
        """
        while True:
            left = np.flatnonzero(np.isfinite(hopes))
            if self.vista is not None:
                left = _best(hopes, behind, options, (vectors[0],), HOPEFUL * self.width)
            unfit = []
            for way in np.unique(which[left]):
                steps[way] = self.course.step(stage, froms[way], ways[way])
                unfit += [way] if steps[way] is None else []
            if not unfit:
                return left
            hopes[np.isin(which, unfit)] = np.inf

    def _figures(self, steps: Sequence[Step | None], which: Ints) -> tuple[list[Profile], Ints, Floats, Ints]:
        """Of each plan: profile, bytes beside kept tensors, price, writes."""
        gone: list[Step] = [step for i in which if (step := steps[i]) is not None]
        room, written = (
            np.array(figures, np.int64)
            for figures in zip(*((step.room_bytes, step.written_bytes) for step in gone), strict=True)
        )
        return [step.profile for step in gone], room, np.array([step.fixed for step in gone]), written

    def _simulated(
        self, traffic: StageTraffic, front: Front, profiles: Sequence[Profile], room: Ints
    ) -> Front:
        """Fronts of plans behind a stage, each with its own profile."""
        known: dict[int, int] = {}
        distinct: list[Profile] = []
        for profile in profiles:
            if known.setdefault(id(profile), len(distinct)) == len(distinct):
                distinct.append(profile)
        which = np.array([known[id(profile)] for profile in profiles], np.int64)
        profiled = Profiled(distinct)
        kernels = profiled.kernels[which]
        self.effort += int(kernels.max()) * UNITS_PER_KERNEL + int(kernels.sum()) // KERNELS_PER_UNIT
        return advance(front, profiled, which, room, traffic)

    def _pairs(self, stage: int, operators: int, crowd: Crowd) -> tuple[Ints, Ints, list[Way], list[State]]:
        """Plans with what may be done next: plan, number of the way, the ways and the state of each."""
        ways: list[Way] = []
        froms: list[State] = []
        plans, which = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number in np.unique(crowd.state_of):
            here = np.flatnonzero(crowd.state_of == number)
            own = self.course.ways(stage, operators, crowd.states[number], self.allowed[stage])
            plans.append(np.repeat(here, len(own)))
            which.append(np.tile(np.arange(len(ways), len(ways) + len(own)), len(here)))
            ways += own
            froms += [crowd.states[number]] * len(own)
        return np.concatenate(plans), np.concatenate(which), ways, froms

    def _chosen(self, stage: int, crowd: Crowd) -> Ints:
        """The plans that go on from a boundary."""
        prices = self._prices(stage, crowd.states, crowd.state_of, crowd.front, crowd.fixed, crowd.written)
        if self.vista is not None:
            least = self.vista.price(stage, crowd.states, crowd.state_of, crowd.vectors)
            np.maximum(prices, least * self.vista.per_ns, out=prices)
        ties = crowd.front.compute_ns, crowd.front.channel_ns.sum(axis=0)
        ways = crowd.option * self.course.stages + crowd.begun
        return _best(prices, crowd.state_of, ways, ties, self.width)

    def _prices(
        self, stage: int, states: list[State], behind: Ints, front: Front, fixed: Floats, written: Ints
    ) -> Floats:
        prices = np.full(len(behind), np.inf)
        budget = self.course.problem.most_stored_bytes
        for number, state in enumerate(states):
            here = np.flatnonzero(behind == number)
            prices[here] = self.outlook.price(stage, state, front, here, fixed[here])
            if budget is not None:
                least = self.outlook.writes[stage].get(tuple(w for w, _ in state), 0)
                prices[here[written[here] + least > budget]] = np.inf
        return prices


def _best(prices: Floats, behind: Ints, options: Ints, ties: tuple[Ints, ...], width: int) -> Ints:
    """The plans that go on: the cheapest, but not all in one state or by one option."""
    order = np.lexsort((*reversed(ties), prices))
    order = order[np.isfinite(prices[order])]
    if len(order) <= width:
        return order
    by_state = _rank_within(behind[order])
    by_both = _rank_within(behind[order] * (1 + int(options.max())) + options[order])
    share = max(4, width // 3)
    first = order[(by_state < share) & (by_both < max(2, width // 12))][:width]
    if len(first) < width:
        rest = order[~np.isin(order, first)][: width - len(first)]
        first = np.concatenate((first, rest))
    return first


def _nobody(channels: int, dimensions: int) -> Crowd:
    """No plans at all."""
    none = np.zeros(0, np.int64)
    vectors = np.zeros((dimensions, 0), np.int64)
    return Crowd(Front.start(channels).take(none), [], none, np.zeros(0), none, vectors, none, none, none)


def _rank_within(groups: Ints) -> Ints:
    """For each entry, how many earlier ones are in the same group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    lengths = np.diff(np.append(starts, len(ordered)))
    found = np.empty(len(groups), np.int64)
    found[order] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return found
