"""Selections whose resources have the least to do, and what no selection is below, whatever the order of its tasks.

However the kernels and transfers of runs overlap, the time between two runs is at least the work of each resource in
one. The least that the busiest one must do is bounded by Lagrange multipliers: for weights w >= 0 of sum 1,

    max over r of work[r]  >=  sum over r of w[r] work[r]  >=  its least value over all selections

and the last is a shortest path through the stages, since weighted work adds up (FORMULATION.md, "Frames in flight").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.vocabulary import Selection
from ooc_solve.solver.deadline import TimeIsUp, keep_time
from ooc_solve.solver.lives import Lives, State
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.selection import Space, whole_transfers

SCALE = 1 << 20
"""Sum of the weights, which are whole numbers so that sums are exact."""

ROUNDS = 24
"""Weights that are tried for one bound."""

Weights = tuple[int, ...]
Longs = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Way:
    """A way through all stages: the work of each resource, in ns, the selection, and its options by first operator."""

    weighted: int
    work_ns: tuple[int, ...]
    selection: Selection
    options: tuple[tuple[int, Option], ...]


@dataclass(frozen=True, slots=True)
class _Group:
    """Options for the same operators and residences. ``work_ns`` has a row per option, a column per resource."""

    operators: int
    output: int
    options: tuple[Option, ...]
    need: Longs
    work_ns: Longs
    extra: Longs


@dataclass(frozen=True, slots=True)
class _Label:
    """The best way to a state: what it costs, and how it got there."""

    cost: int
    stage: int
    state: State
    option: Option | None


class Workload:
    """Shortest paths through the stages of a space, for any weights of its resources.

    ``room`` says how many bytes a stage may have for kept tensors and its tiles; ``need`` what the tiles of an
    option count, and ``extra`` what an option costs besides, in ns times `SCALE`. With the arena, ``need_bytes`` and
    nothing these are lower estimates, and values are bounds.
    """

    def __init__(
        self,
        space: Space,
        room: Callable[[int], int] | None = None,
        need: Callable[[int, Option], int] = lambda _, option: option.need_bytes,
        extra: Callable[[int, Option], int] = lambda _, option: 0,
    ) -> None:
        problem = space.problem
        self.space, self.lives = space, Lives(problem)
        self.room = room or (lambda stage: problem.arena_bytes)
        transfers = {name for own in space.options for o in own for name, _ in o.io_ns}
        self.whole = {whole.tensor: whole for whole in whole_transfers(problem)}
        transfers |= {whole.resource for whole in self.whole.values()}
        self.resources = tuple(dict.fromkeys((problem.compute_resource, *sorted(transfers))))
        self.groups = [
            self._groups(own, partial(need, stage), partial(extra, stage))
            for stage, own in enumerate(space.options)
        ]

    def _groups(
        self, options: Sequence[Option], need: Callable[[Option], int], extra: Callable[[Option], int]
    ) -> dict[tuple[int, ...], list[_Group]]:
        """Options by where they find their inputs."""
        alike: dict[tuple[int, int, tuple[int, ...]], list[Option]] = defaultdict(list)
        for option in options:
            alike[option.operators, option.output, option.inputs].append(option)
        found: dict[tuple[int, ...], list[_Group]] = defaultdict(list)
        for (operators, output, inputs), own in alike.items():
            keep_time()
            work = np.array([self._work_of(option) for option in own], np.int64)
            needs = np.array([need(option) for option in own], np.int64)
            extras = np.array([extra(option) for option in own], np.int64)
            found[inputs].append(_Group(operators, output, tuple(own), needs, work, extras))
        return found

    def _work_of(self, option: Option) -> tuple[int, ...]:
        io = dict(option.io_ns)
        own = (io.get(name, 0) for name in self.resources)
        return tuple(ns + (option.compute_ns if k == 0 else 0) for k, ns in enumerate(own))

    # ---------------------------------------------------------------------- shortest path

    def best(self, weights: Weights) -> Way | None:
        """The way with the least weighted work, None if there is none."""
        lives, count = self.lives, len(self.groups)
        labels: list[dict[State, _Label]] = [{} for _ in range(count + 1)]
        for state, cost in self._starts(weights):
            labels[0][state] = _Label(cost, -1, (), None)
        vector = np.array(weights, np.int64)
        costs = {
            id(g): g.work_ns @ vector + g.extra for own in self.groups for gs in own.values() for g in gs
        }
        for stage in range(count):
            keep_time()
            for state, label in labels[stage].items():
                held = lives.kept_bytes(stage, state)
                for operators in {g.operators for gs in self.groups[stage].values() for g in gs}:
                    inputs = lives.inputs(stage, state, operators)
                    for group in self.groups[stage].get(inputs, ()):
                        if group.operators == operators:
                            self._extend(labels, stage, state, label, held, group, costs[id(group)], weights)
        ends = labels[count]
        return None if not ends else self._way(labels, min(ends, key=lambda s: (ends[s].cost, s)))

    def _starts(self, weights: Weights) -> Iterator[tuple[State, int]]:
        """Where the inputs of the network may live, and what it takes to load those that are kept."""
        names = self.lives.alive[0]
        for state in product(*(self.space.residences[name] for name in names)):
            kept = (name for name, width in zip(names, state, strict=True) if width == KEPT)
            yield state, sum(self._whole_cost(name, weights) for name in kept)

    def _whole_cost(self, name: str, weights: Weights) -> int:
        whole = self.whole.get(name)
        return 0 if whole is None else whole.ns * weights[self.resources.index(whole.resource)]

    def _extend(
        self, labels: list[dict[State, _Label]], stage: int, state: State, label: _Label, held: int,
        group: _Group, costs: Longs, weights: Weights,
    ) -> None:  # fmt: skip
        """Go on with the best option of a group that fits."""
        made, end = self.lives.ops[stage + group.operators - 1].output, stage + group.operators
        own = self.lives.taken_bytes(made, group.output)
        fits = np.flatnonzero(group.need <= self.room(stage) - held - own)
        if not fits.size:
            return
        at = int(fits[np.argmin(costs[fits])])
        cost = label.cost + int(costs[at]) + (self._whole_cost(made, weights) if group.output == KEPT else 0)
        after = self.lives.after(stage, state, group.output, group.operators)
        known = labels[end].get(after)
        if known is None or cost < known.cost:
            labels[end][after] = _Label(cost, stage, state, group.options[at])

    def _way(self, labels: list[dict[State, _Label]], state: State) -> Way:
        """Walk back from the last state."""
        stage, chosen = len(self.groups), list[tuple[int, State, Option]]()
        weighted = labels[stage][state].cost
        while (label := labels[stage][state]).option is not None:
            stage, state = label.stage, label.state
            chosen.append((stage, state, label.option))
        chosen.reverse()
        kept = {*self.space.problem.pinned}
        kept |= {n for n, w in zip(self.lives.alive[0], chosen[0][1], strict=True) if w == KEPT}
        kept |= {self.lives.ops[at + o.operators - 1].output for at, _, o in chosen if o.output == KEPT}
        work = [sum(values) for values in zip(*(self._work_of(o) for _, _, o in chosen), strict=True)]
        for name in kept & self.whole.keys():
            work[self.resources.index(self.whole[name].resource)] += self.whole[name].ns
        tilings = tuple(tiling for _, _, o in chosen for tiling in o.tilings)
        order = self.space.problem.network.order
        options = tuple((at, option) for at, _, option in chosen)
        return Way(weighted, tuple(work), Selection(tilings, frozenset(kept), order), options)

    # ------------------------------------------------------------------------ multipliers

    def balanced(self) -> Way | None:
        """The way with the least work of all resources together."""
        return self.best((SCALE,) * len(self.resources))

    def ways(self, rounds: int = ROUNDS) -> Iterator[Way]:
        """Ways for weights that go to where the bound is greatest, until they do not change any more."""
        if len(self.resources) == 1:
            only = self.best((SCALE,))
            yield from [] if only is None else [only]
            return
        yield from self._bisected(rounds) if len(self.resources) == 2 else self._descended(rounds)

    def _bisected(self, rounds: int) -> Iterator[Way]:
        """Of two resources the weight of one says all: the one with less to do gets less of it."""
        low, high, weight = 0, SCALE, SCALE
        for _ in range(rounds):
            way = self.best((SCALE - weight, weight))
            if way is None:
                return
            yield way
            excess = way.work_ns[1] - way.work_ns[0]
            low, high = (weight, high) if excess > 0 else (low, weight)
            if high - low <= 1 or not excess:
                return
            weight = (low + high) // 2

    def _descended(self, rounds: int) -> Iterator[Way]:
        """Weights that grow with what their resources have to do, in smaller and smaller steps."""
        shares = np.full(len(self.resources), 1.0 / len(self.resources))
        for turn in range(rounds):
            whole = [int(share * SCALE) for share in shares]
            whole[0] += SCALE - sum(whole)
            way = self.best(tuple(whole))
            if way is None:
                return
            yield way
            work = np.array(way.work_ns, float)
            shares = shares * np.exp(4.0 / (1 + turn) ** 0.5 * work / max(1.0, work.max()))
            shares /= shares.sum()


def least_work_ns(space: Space, rounds: int = ROUNDS) -> int | None:
    """What the busiest resource does at least in a run of any selection; None if nothing fits.

    What was proven until the deadline counts; raises `TimeIsUp` if that is nothing.
    """
    ways, found = Workload(space).ways(rounds), list[int]()
    try:
        found += (-(-way.weighted // SCALE) for way in ways)
    except TimeIsUp:
        if not found:
            raise
    return max(found, default=None)
