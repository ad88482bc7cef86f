"""Beam search: the most promising partial selections, carried stage by stage through the simulation.

A partial selection is judged by what it would cost if all that follows were overlapped perfectly
(`Outlook`), on top of what the simulation says so far. The search counts its work, not seconds.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from math import inf, prod

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import Objective, RegionName, Selection
from ooc_solve.solver.maxplus import Ints, minimal
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.profiles import MOST_KERNELS, Profile, profiles_of
from ooc_solve.solver.selection import Space, stored_bytes
from ooc_solve.solver.simulation import Front, Profiled, StageTraffic, advance

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

UNITS_PER_KERNEL = 2
"""Units of effort that a kernel takes however few plans share it."""


@dataclass(frozen=True, slots=True)
class Price:
    """What plans are compared by: ``per_ns`` times the makespan plus what each option costs.

    For energy in pJ, for wear in bytes with the time as a tie-break.
    """

    per_ns: float
    per_compute_ns: float
    per_read: tuple[float, ...]
    per_written: tuple[float, ...]

    @classmethod
    def of(cls, problem: Problem) -> Price:
        """The price that stands for a problem's objective."""
        board, stores = problem.target.board, problem.target.stores
        free = (0.0,) * len(stores)
        if problem.objective is Objective.LATENCY:
            return cls(1.0, 0.0, free, free)
        if problem.objective is Objective.WEAR:
            return cls(1e-12, 0.0, free, (1.0,) * len(stores))
        wait = board.io_wait_mw if board.overlaps_cpu else board.active_mw
        idle = sum(store.storage.idle_mw for store in stores)
        written = tuple(
            1000 * (s.storage.write_nj_per_byte + (s.storage.erase_nj_per_byte if s.storage.erase else 0.0))
            for s in stores
        )
        read = tuple(1000 * s.storage.read_nj_per_byte for s in stores)
        return cls(wait + idle, board.active_mw - wait, read, written)

    def fixed(self, profile: Profile) -> float:
        """What a profile costs apart from its time."""
        read = sum(a * b for a, b in zip(self.per_read, profile.read_bytes, strict=True))
        written = sum(a * b for a, b in zip(self.per_written, profile.written_bytes, strict=True))
        return self.per_compute_ns * profile.compute_ns + read + written


class Course:
    """The stages of a problem for the simulation: options, tensors alive, traffic."""

    def __init__(self, space: Space, margin_bytes: int = 0) -> None:
        self.margin_bytes, self.looked_at = margin_bytes, 0
        problem = self.problem = space.problem
        network = self.network = problem.network
        self.space, self.options = space, space.options
        self.profiles, self.price = profiles_of(problem), Price.of(problem)
        ops = network.ops
        number = {name: i for i, name in enumerate(network.tensors)}
        self.traffic = [
            StageTraffic(
                self.profiles.operand_channels(op), self.profiles.channel_of[self.profiles.region_of(op.output)],
                tuple(number[n] for n in op.inputs), number[op.output],
            )
            for op in ops
        ]  # fmt: skip
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
        self.from_inputs = [
            {i: [n for n, o in enumerate(options) if o.inputs == i] for i in {o.inputs for o in options}}
            for options in self.options
        ]
        self.output_channel = self.profiles.channel_of[RegionName.OUTPUT]
        self._steps: dict[tuple[int, State], dict[int, Step | None]] = {}

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

    def steps(self, stage: int, state: State, allowed: Collection[int]) -> list[Step]:
        """What may be done with a stage from a state, by the options allowed."""
        known = self._steps.setdefault((stage, state), {})
        inputs = tuple(
            width for width, _ in self._inputs(stage, dict(zip(self.alive[stage], state, strict=True)))
        )
        found = []
        for number in self.from_inputs[stage].get(inputs, ()):
            if number in allowed:
                if number not in known:
                    self.looked_at += 1
                    known[number] = self._step(stage, state, number)
                step = known[number]
                if step is not None:
                    found.append(step)
        return found

    def _inputs(self, stage: int, places: dict[str, Place]) -> list[Place]:
        return [places[name] for name in self.network.ops[stage].inputs]

    def _step(self, stage: int, state: State, number: int) -> Step | None:
        """A stage done by one option, None if it does not fit or is too long to be simulated."""
        option, output = self.options[stage][number], self.network.ops[stage].output
        places = dict(zip(self.alive[stage], state, strict=True))
        room = self.room_bytes(stage, {name: width for name, (width, _) in places.items()})
        room -= self.own_bytes(stage) if option.output == KEPT else 0
        if option.need_bytes > room or self.kernels(stage, option) > MOST_KERNELS:
            return None
        records = tuple(rows for _, rows in self._inputs(stage, places))
        profile = self.profiles.of(stage, option, records)
        if profile is None or profile.peak_bytes > room:
            return None
        places[output] = (option.output, option.tiling.rows if option.output != KEPT else 0)
        after = tuple(places[name] for name in self.alive[stage + 1])
        fixed, written = self.price.fixed(profile), sum(profile.written_bytes)
        return Step(number, profile, room, after, fixed, written)

    def room_bytes(self, stage: int, residence: dict[str, int]) -> int:
        """Arena that kept tensors leave in a stage, its own output aside."""
        taken = sum(self.size[name] for name in self.pinned)
        for name, width in residence.items():
            late = name in self.network.inputs and self.first_use[name] > stage
            if width == KEPT and name not in self.pinned and not late:
                taken += self.size[name]
        return self.problem.arena_bytes - self.margin_bytes - taken

    def own_bytes(self, stage: int) -> int:
        """What a kept output of a stage takes beside `room_bytes`."""
        name = self.network.ops[stage].output
        return 0 if name in self.pinned else self.size[name]

    def kernels(self, stage: int, option: Option) -> int:
        """How many kernels an option has."""
        return prod(StageGeometry.of(self.network, self.network.ops[stage], option.tiling).grid)

    def selection(self, numbers: Sequence[int]) -> Selection:
        """The selection that consists of one option per stage."""
        kept: set[str] = set()
        chosen = [options[n] for options, n in zip(self.options, numbers, strict=True)]
        for op, option in zip(self.network.ops, chosen, strict=True):
            kept |= {n for n, w in zip(op.inputs, option.inputs, strict=True) if w == KEPT}
            if option.output == KEPT:
                kept.add(op.output)
        return Selection(tuple(option.tiling for option in chosen), frozenset(kept))


@dataclass(frozen=True, slots=True, eq=False)
class Step:
    """One stage done in one way: option, profile, bytes beside kept tensors, state behind, price, writes."""

    option: int
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
        found = [{tuple(w for w, _ in state) for state in course.starts()}]
        for stage in range(course.stages):
            outputs: dict[tuple[int, ...], set[int]] = defaultdict(set)
            for number in allowed[stage]:
                option = course.options[stage][number]
                outputs[option.inputs].add(option.output)
            behind = set()
            for state in found[-1]:
                for output in outputs.get(self._inputs(stage, state), ()):
                    behind.add(self._after(stage, state, output))
            found.append(behind)
        return found

    def _inputs(self, stage: int, state: tuple[int, ...]) -> tuple[int, ...]:
        places = dict(zip(self.course.alive[stage], state, strict=True))
        return tuple(places[name] for name in self.course.network.ops[stage].inputs)

    def _after(self, stage: int, state: tuple[int, ...], output: int) -> tuple[int, ...]:
        places = dict(zip(self.course.alive[stage], state, strict=True))
        places[self.course.network.ops[stage].output] = output
        return tuple(places[name] for name in self.course.alive[stage + 1])

    def _stage(self, stage: int, states: set[tuple[int, ...]], allowed: Sequence[int]) -> None:
        course = self.course
        groups: dict[tuple[tuple[int, ...], int], list[Option]] = defaultdict(list)
        for number in allowed:
            option = course.options[stage][number]
            if course.kernels(stage, option) <= MOST_KERNELS:
                groups[option.inputs, option.output].append(option)
        figures = {
            key: (
                np.array([self._figures(stage, o) for o in options]).T,
                np.array([o.need_bytes for o in options]),
                np.array([o.bytes_written for o in options]),
            )
            for key, options in groups.items()
        }
        for state in states:
            inputs, found, writes = self._inputs(stage, state), [], []
            room = course.room_bytes(stage, dict(zip(course.alive[stage], state, strict=True)))
            for (needed, output), (own, need, written) in figures.items():
                after = self._after(stage, state, output) if needed == inputs else None
                if after is None or after not in self.vectors[stage + 1]:
                    continue
                fits = need <= room - (course.own_bytes(stage) if output == KEPT else 0)
                if not fits.any():
                    continue
                rest = self.vectors[stage + 1][after]
                found.append((own[:, fits, None] + rest[:, None, :]).reshape(len(own), -1))
                writes.append(int(written[fits].min()) + self.writes[stage + 1][after])
            if found:
                joined = np.concatenate(found, axis=1)
                self.vectors[stage][state] = minimal(joined.astype(np.int64), VECTORS).astype(float)
                self.writes[stage][state] = min(writes)

    def _figures(self, stage: int, option: Option) -> list[float]:
        """Compute, transfers per channel and price of an option, by its own estimates."""
        course, problem = self.course, self.course.problem
        io = dict(option.io_ns)
        channels = [0.0] * course.profiles.channels
        compute = float(option.compute_ns)
        if course.profiles.overlaps:
            names = list(dict.fromkeys(store.channel for store in problem.target.stores))
            for name, ns in io.items():
                channels[names.index(name)] += ns
        else:
            compute += sum(io.values())
        price = course.price
        fixed = price.per_compute_ns * option.compute_ns + min(price.per_read) * option.bytes_read
        return [compute, *channels, fixed + min(price.per_written) * option.bytes_written]

    def price(self, stage: int, state: State, front: Front, which: Ints, fixed: Floats) -> Floats:
        """Least price of plans that are at a stage in one state; infinite where nothing follows."""
        vectors = self.vectors[stage].get(tuple(w for w, _ in state))
        if vectors is None:
            return np.full(len(which), np.inf)
        clocks = [front.compute_ns[which], *front.channel_ns[:, which]]
        ends = clocks[0][:, None] + vectors[0]
        for clock, more in zip(clocks[1:], vectors[1:-1], strict=True):
            np.maximum(ends, clock[:, None] + more, out=ends)
        found: Floats = (self.course.price.per_ns * ends + vectors[-1]).min(axis=1) + fixed
        return found


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Plans that were kept behind a stage: the plan that each comes from, and its option."""

    parent: Ints
    option: Ints


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
    course: Course, allowed: Allowed, width: int, outlook: Outlook | None = None, deadline: float = inf
) -> Found:
    """Carry at most ``width`` partial selections through the stages; none are found after the deadline."""
    return _Beam(course, allowed, width, outlook or Outlook(course, allowed)).run(deadline)


class _Beam:
    """One search; the plans of the present boundary are parallel arrays."""

    def __init__(self, course: Course, allowed: Allowed, width: int, outlook: Outlook) -> None:
        self.course, self.width, self.outlook = course, width, outlook
        self.allowed = [frozenset(numbers) for numbers in allowed]
        self.states = course.starts()
        n = len(self.states)
        self.front = Front.start(course.profiles.channels).take(np.zeros(n, np.int64))
        self.state_of = np.arange(n)
        self.fixed, self.written = np.zeros(n), np.zeros(n, np.int64)
        self.layers: list[Layer] = []
        self.effort = 0

    def run(self, deadline: float) -> Found:
        """The complete selections that are left at the end."""
        for stage in range(self.course.stages):
            if time.monotonic() > deadline or not self._stage(stage):
                return Found((), self.effort)
        prices = self.course.price.per_ns * self.front.ends_ns(self.course.output_channel) + self.fixed
        proposals = [
            Proposal(self._numbers(int(plan)), float(prices[plan]))
            for plan in np.argsort(prices, kind="stable")
        ]
        return Found(tuple(proposals), self.effort)

    def _numbers(self, plan: int) -> tuple[int, ...]:
        numbers = []
        for layer in reversed(self.layers):
            numbers.append(int(layer.option[plan]))
            plan = int(layer.parent[plan])
        return tuple(reversed(numbers))

    def _stage(self, stage: int) -> bool:
        """Do a stage in every way from every plan and keep the best; False if none is left."""
        plans, ways, steps = self._pairs(stage)
        if not steps or not len(plans):
            return False
        known: dict[int, int] = {}
        profiles: list[Profile] = []
        for step in steps:
            if id(step.profile) not in known:
                known[id(step.profile)] = len(profiles)
                profiles.append(step.profile)
        which = np.array([known[id(step.profile)] for step in steps])[ways]
        room = np.array([step.room_bytes for step in steps], np.int64)[ways]
        profiled = Profiled(profiles)
        kernels = profiled.kernels[which]
        self.effort += int(kernels.max()) * UNITS_PER_KERNEL + int(kernels.sum()) // KERNELS_PER_UNIT
        front = advance(self.front.take(plans), profiled, which, room, self.course.traffic[stage])
        fixed = self.fixed[plans] + np.array([step.fixed for step in steps])[ways]
        written = self.written[plans] + np.array([step.written_bytes for step in steps], np.int64)[ways]
        numbers: dict[State, int] = {}
        behind = np.array([numbers.setdefault(step.after, len(numbers)) for step in steps])[ways]
        states = list(numbers)
        prices = self._prices(stage + 1, states, behind, front, fixed, written)
        options = np.array([step.option for step in steps])[ways]
        kept = self._best(prices, behind, options, front)
        self.front, self.states, self.state_of = front.take(kept), states, behind[kept]
        self.fixed, self.written = fixed[kept], written[kept]
        self.layers.append(Layer(plans[kept], options[kept]))
        return bool(len(kept))

    def _pairs(self, stage: int) -> tuple[Ints, Ints, list[Step]]:
        """Plans with what may be done next: plan, number of the step, and the steps."""
        steps: list[Step] = []
        plans, ways = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
        for number in np.unique(self.state_of):
            here = np.flatnonzero(self.state_of == number)
            own = self.course.steps(stage, self.states[number], self.allowed[stage])
            plans.append(np.repeat(here, len(own)))
            ways.append(np.tile(np.arange(len(steps), len(steps) + len(own)), len(here)))
            steps += own
        return np.concatenate(plans), np.concatenate(ways), steps

    def _prices(
        self, stage: int, states: list[State], behind: Ints, front: Front, fixed: Floats, written: Ints
    ) -> Floats:
        prices = np.full(len(behind), np.inf)
        budget = self.course.problem.write_budget_bytes
        for number, state in enumerate(states):
            here = np.flatnonzero(behind == number)
            prices[here] = self.outlook.price(stage, state, front, here, fixed[here])
            if budget is not None:
                least = self.outlook.writes[stage].get(tuple(w for w, _ in state), 0)
                prices[here[written[here] + least > budget]] = np.inf
        return prices

    def _best(self, prices: Floats, behind: Ints, options: Ints, front: Front) -> Ints:
        """The plans that go on: the cheapest, but not all in one state or by one option."""
        order = np.lexsort((front.channel_ns.sum(axis=0), front.compute_ns, prices))
        order = order[np.isfinite(prices[order])]
        if len(order) <= self.width:
            return order
        by_state = _rank_within(behind[order])
        by_both = _rank_within(behind[order] * (1 + int(options.max())) + options[order])
        share = max(4, self.width // 3)
        first = order[(by_state < share) & (by_both < max(2, self.width // 12))][: self.width]
        if len(first) < self.width:
            rest = order[~np.isin(order, first)][: self.width - len(first)]
            first = np.concatenate((first, rest))
        return first


def _rank_within(groups: Ints) -> Ints:
    """For each entry, how many earlier ones are in the same group."""
    order = np.argsort(groups, kind="stable")
    ordered = groups[order]
    starts = np.flatnonzero(np.concatenate(([True], ordered[1:] != ordered[:-1])))
    lengths = np.diff(np.append(starts, len(ordered)))
    found = np.empty(len(groups), np.int64)
    found[order] = np.arange(len(groups)) - np.repeat(starts, lengths)
    return found
