"""The case-by-case pass where the CPU opens and seals records: it is one more channel, a *lane*.

What it opens is like loads, what it seals like stores. The CPU does one thing at a time, so more cases can be told
apart than on channels alone (`refinement`). Each option is walked through kernel by kernel. FORMULATION.md has
the proof.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ooc_solve.solver.lives import State
from ooc_solve.solver.maxplus import NEVER, Ints, applied, capped, minimal
from ooc_solve.solver.refinement import MOST_LOADS, MOST_VECTORS, Refined

if TYPE_CHECKING:
    from ooc_solve.solver.credits import Fitting
    from ooc_solve.solver.relaxation import Round
    from ooc_solve.solver.variants import Alive, Batch

MOST_KERNELS = 20_000
"""Kernels of all options together above which they are not walked through."""


def refined(round_: Round, limit_ns: int) -> Refined | None:
    """Walk through the options of a round, without those that no path shorter than a limit goes through.

    None if there are too many kernels.
    """
    kernels = sum(kernels_of(fit.batch) for stage in round_.fittings for fit in stage)
    return None if kernels > MOST_KERNELS else _Walk(round_, limit_ns).run()


def kernels_of(batch: Batch) -> int:
    """Kernels of all options of a batch together."""
    rows = np.add.reduceat(batch.count, np.cumsum(batch.row_runs) - batch.row_runs)
    return int((rows * batch.row_count).sum())


def sequence_of(batch: Batch, number: int) -> list[int]:
    """The run of each kernel of one option."""
    return [
        run
        for row, many in batch.loops(number)
        for _ in range(many)
        for run, count in row
        for _ in range(count)
    ]


@dataclass(frozen=True, slots=True)
class _Last:
    """The kernel before: bytes that it left free, time to store its tile per lane, bytes of the tile.

    ``near_ns`` is the same time where the next kernel is of the same stage, else 0; ``so_far_bytes`` the
    least that kernels of the stage have left free then, all where there were none. No kernel at all has left
    less than nothing, as nothing can have begun before it.
    """

    free_bytes: int
    so_far_bytes: int
    store_ns: tuple[int, ...]
    near_ns: tuple[int, ...]
    tile_bytes: int
    channels: int

    @property
    def is_none(self) -> bool:
        """Whether there was no kernel before."""
        return self.free_bytes < 0

    @property
    def sealing_ns(self) -> int:
        """Time in which the CPU seals the tile, as a task of its own."""
        return self.store_ns[-1] if len(self.store_ns) > self.channels else 0

    @property
    def chain_ns(self) -> int:
        """Least time from the end of the kernel until its tile is sealed and stored."""
        return self.sealing_ns + max(self.store_ns[: self.channels], default=0)


Tiles = tuple[tuple[int, int, int, int], ...]
"""Tiles of a stage that may be outstanding: lane, bytes, ns, how many."""

Vectors = dict[_Last, Ints]
"""Vectors (columns) by the kernel that they are behind."""


class Loaded(NamedTuple):
    """A load of a kernel: channel, bytes, time, and least time in which the CPU opens it."""

    channel: int
    size_bytes: int
    load_ns: int
    open_ns: int


NOT_BEGUN, BEGUN, OPENED = range(3)
"""How far a load can be when the kernel before ends. The CPU does one thing at a time, so what it opens it has
opened by then, or not begun to open."""


class _Choice(NamedTuple):
    """What has begun when the kernel before ends: bytes of it, and most ns per lane that have been done of it.

    The kernel waits at least ``chain_ns`` from then on, and ``last_ns[c]`` from the last load of channel c on.
    """

    size_bytes: int
    begun_ns: tuple[int, ...]
    chain_ns: int
    last_ns: tuple[int, ...]


class _Walk:
    """One pass over all stages.

    A vector has the end of the last kernel, Φ of every lane (B), the same of its stage alone (C), and what is written
    where there is a budget (`thrift`). Those of the round have no end where the CPU is a lane, but Φ of the CPU
    before all others.
    """

    def __init__(self, round_: Round, limit_ns: int) -> None:
        self.round, self.limit_ns = round_, limit_ns
        self.channels, self.lanes = round_.options.channels, round_.options.credited

    def run(self) -> Refined:
        """Walk from the first stage to the last."""
        none = (0,) * self.lanes
        nothing = _Last(-1, 0, none, none, 0, self.channels)
        arrived: list[dict[State, dict[_Last, list[Ints]]]] = [
            defaultdict(lambda: defaultdict(list)) for _ in range(self.round.stages + 1)
        ]
        for state, vectors in self.round.labels[0].items():
            arrived[0][state][nothing].append(self._with_lanes(vectors))
        alive: Alive = {}
        for stage, fittings in enumerate(self.round.fittings):
            self.round.check_time()
            here = {state: _settled(found) for state, found in arrived[stage].items()}
            for fit in fittings:
                if fit.key[1] not in here:
                    continue
                end, after, cases = (
                    stage + fit.key[3],
                    self.round.lives.after(*fit.key),
                    _Cases(self.round, fit),
                )
                left = fit.mask.copy()
                for number, place in enumerate(np.flatnonzero(fit.mask)):
                    found = self._short(cases.walked(number, here[fit.key[1]]), end, after)
                    left[place] = found.shape[1] > 0
                    if left[place]:
                        arrived[end][after][cases.last(number)].append(found)
                if left.any():
                    alive[fit.key] = left
        ends = [v.max(axis=0).min() for found in arrived[-1].values() for vs in found.values() for v in vs]
        least = int(min(ends)) if ends else None
        return Refined({} if least is None else alive, least)

    def _with_lanes(self, vectors: Ints) -> Ints:
        """Vectors before all stages: no kernel has ended then."""
        if self.lanes == self.channels:
            return vectors
        n = self.channels
        cpu, far, near, written = np.split(vectors, (1, 1 + n, 1 + 2 * n))
        return np.concatenate((np.zeros_like(cpu), far, cpu, near, cpu, written))

    def _of_round(self, vectors: Ints) -> Ints:
        """Vectors as the round has them."""
        if self.lanes == self.channels:
            return vectors
        n = self.lanes
        _, far, near, written = np.split(vectors, (1, 1 + n, 1 + 2 * n))
        return np.concatenate((far[-1:], far[:-1], near[:-1], written))

    def _short(self, vectors: Ints, end: int, after: State) -> Ints:
        """Vectors from which the end may be reached before the limit."""
        rest = self.round.rest[end].get(after)
        if rest is None:
            return vectors[:, :0]
        total = (self._of_round(vectors)[:, :, None] + rest[:, None, :]).max(axis=0).min(axis=1)
        return vectors[:, total < self.limit_ns]


def _settled(arrived: dict[_Last, list[Ints]]) -> Vectors:
    return {last: minimal(np.hstack(found), MOST_VECTORS) for last, found in arrived.items()}


@dataclass(frozen=True, slots=True)
class _Sides:
    """Staircases per lane: of transfers of all stages, and of those of one."""

    far: list[Ints]
    near: list[Ints]

    def at(self, slots: int) -> tuple[list[int], list[int]]:
        """Most time per lane in some free quanta."""
        return [int(f[slots]) for f in self.far], [int(f[slots]) for f in self.near]


class _Cases:
    """The matrices of the kernels of one fitting, case by case, each worked out once."""

    def __init__(self, round_: Round, fit: Fitting) -> None:
        self.fit, self.batch, self.options = fit, fit.batch, round_.options
        self.stairs = fit.stairs
        self.channels, self.lanes = round_.options.channels, range(round_.options.credited)
        self.movers = round_.options.costs.movers
        self.d, self.none = 1 + 2 * len(self.lanes), (0,) * len(self.lanes)
        self.operands = round_.options.operands(fit.key[0], fit.key[3])
        self.fetch_ns, self.store_ns, self.kernel_ns = (
            self.batch.fetch_ns,
            self.batch.store_ns,
            self.batch.compute_ns,
        )
        if len(self.lanes) > self.channels:  # the CPU's own
            opening, _, sealing = self.batch.cipher_ns
            self.fetch_ns, self.store_ns = (
                np.vstack((self.fetch_ns, opening)),
                np.vstack((self.store_ns, sealing)),
            )
            self.kernel_ns = self.kernel_ns - opening - sealing
        self._known: dict[tuple[int, _Last, Tiles, Tiles], Ints] = {}
        self._ahead: dict[tuple[int, ...], _Sides] = {}
        self._late: dict[tuple[int, Tiles], _Sides] = {}
        self._chosen: dict[tuple[int, bool], list[_Choice]] = {}

    def walked(self, number: int, before: Vectors) -> Ints:
        """Vectors behind an option, from those before it."""
        sequence, tiles, earlier = sequence_of(self.batch, number), Counter[tuple[int, int, int]](), Tiles()
        first = sequence[0]
        found = [self._images(first, last, (), (), vectors) for last, vectors in before.items()]
        vectors = minimal(np.hstack(found), MOST_VECTORS)
        for previous, run in pairwise(sequence):
            self._leave(tiles, previous)
            now = self._outstanding(tiles)
            vectors = self._images(run, self._behind(previous, True), earlier, now, vectors)
            vectors, earlier = minimal(vectors, MOST_VECTORS), now
        vectors[1 + len(self.lanes) : self.d] = vectors[0] - self.fit.entry_ns[:, sequence[-1], None]
        stage, options = self.fit.key[0], self.batch.options[number : number + 1]
        vectors[: self.d] += self.options.toll_ns(stage, options)
        if self.options.counters:
            vectors[self.d :] = applied(self.options.counted(stage, options), vectors[self.d :])[:, 0]
        return vectors

    def last(self, number: int) -> _Last:
        """What the last kernel of an option leaves to the next stage."""
        return self._behind(sequence_of(self.batch, number)[-1], False)

    def _behind(self, run: int, same_stage: bool) -> _Last:
        store = tuple(self.store_ns[:, run].tolist())
        near = store if same_stage else (0,) * len(store)
        free = int(self.fit.free_bytes[run])
        so_far = int(self.fit.room.so_far_bytes[run]) if same_stage else self.options.problem.arena_bytes
        return _Last(free, so_far, store, near, int(self.batch.tile_bytes[run]), self.channels)

    def _leave(self, tiles: Counter[tuple[int, int, int]], run: int) -> None:
        for lane, ns in enumerate(self.store_ns[:, run].tolist()):
            if ns:
                tiles[lane, int(self.batch.tile_bytes[run]), ns] += 1

    def _outstanding(self, tiles: Counter[tuple[int, int, int]]) -> Tiles:
        """Tiles, no more of a kind than fit."""
        arena = self.options.problem.arena_bytes
        return tuple(sorted((*kind, min(many, arena // max(1, kind[1]) + 1)) for kind, many in tiles.items()))

    def _images(self, run: int, last: _Last, earlier: Tiles, now: Tiles, vectors: Ints) -> Ints:
        """All vectors that a kernel makes of some.

        ``earlier``: tiles of the stage that may be outstanding when the kernel before ends, its own
        aside; ``now``: when this one starts.
        """
        key = run, last, earlier, now
        if key not in self._known:
            cases = np.stack(list(self._matrices(*key)), axis=2)
            flat = cases.reshape(self.d * self.d, -1)  # a case that another one is below changes no minimum
            self._known[key] = minimal(flat, flat.shape[1]).reshape(self.d, self.d, -1)
        clocks = applied(self._known[key], vectors[: self.d])
        written = np.broadcast_to(vectors[self.d :, None], (len(vectors) - self.d, *clocks.shape[1:]))
        return np.concatenate((clocks, written)).reshape(len(vectors), -1)

    def _matrices(self, run: int, last: _Last, earlier: Tiles, now: Tiles) -> Iterator[Ints]:
        n, quantum = len(self.lanes), self.stairs.quantum
        room, ahead, late = (
            int(self.fit.free_bytes[run]),
            self._loads(run),
            self._stores(int(self.fit.room.so_far_bytes[run]), now),
        )
        far_late, near_late = late.at(room // quantum)
        fetch = self.fetch_ns[:, run].tolist()
        one = np.full((self.d, self.d), NEVER, np.int64)
        np.fill_diagonal(one, 0)  # rows: E, B per lane, C per lane
        for choice in self._choices(run, last.is_none):
            if choice.size_bytes > max(0, last.free_bytes):
                continue
            slots = (max(0, last.free_bytes) - choice.size_bytes) // quantum
            far, near = self._stores(last.so_far_bytes, earlier).at(slots)
            far_ahead, near_ahead = ahead.at(slots)
            ready, due, own = [], [], []
            for c in self.lanes:
                b, own_b = one[1 + c], one[1 + n + c]
                gone = np.maximum(one[0] - choice.begun_ns[c], b - last.store_ns[c] - far[c])
                gone = np.maximum(gone, own_b - last.near_ns[c] - near[c])
                ready.append(gone + fetch[c])  # its own loads are there, if the channel does nothing else
                due.append(np.maximum(b + fetch[c], ready[c] - far_ahead[c] + last.store_ns[c]))
                own.append(np.maximum(own_b + fetch[c], ready[c] - near_ahead[c] + last.near_ns[c]))
            at_least = [due[c] - far_late[c] for c in self.lanes]
            at_least += [own[c] - near_late[c] for c in self.lanes]
            at_least += [ready[c] + choice.last_ns[c] for c in self.lanes] + [one[0] + choice.chain_ns]
            waits = np.maximum.reduce([*ready, *at_least])
            stored = [ready[c] + last.store_ns[c] for c in self.lanes]
            whole = one[0] + last.chain_ns  # sealed, then stored
            yield self._matrix(run, np.maximum.reduce([waits, whole, *stored]), due, own, ahead, room)
            if not any(last.store_ns) or last.tile_bytes > room:
                continue
            beside = room - last.tile_bytes
            if last.sealing_ns:
                yield self._matrix(run, waits, due, own, ahead, beside, last)
                waits = np.maximum(waits, stored[-1])
            far_ahead, near_ahead = ahead.at(beside // quantum)
            due = [np.maximum(due[c], stored[c] - far_ahead[c]) for c in self.lanes]
            own = [np.maximum(own[c], ready[c] + last.near_ns[c] - near_ahead[c]) for c in self.lanes]
            yield self._matrix(run, waits, due, own, ahead, beside)

    def _matrix(
        self,
        run: int,
        start: Ints,
        due: Sequence[Ints],
        own: Sequence[Ints],
        ahead: _Sides,
        room: int,
        unsealed: _Last | None = None,
    ) -> Ints:
        """The matrix of a kernel from what it waits for, and the bytes beside it when it starts.

        ``unsealed`` has left a tile that nobody has begun to seal by then.
        """
        quantum, store = self.stairs.quantum, self.store_ns[:, run].tolist()
        kernel_ns = int(self.kernel_ns[run])
        end = start + kernel_ns
        found = [end]
        at_start = ahead.at(room // quantum)
        at_end = ahead.at(int(self.fit.free_bytes[run]) // quantum)
        left = (unsealed.store_ns, unsealed.near_ns) if unsealed else (self.none, self.none)
        for work, first, last, behind in zip((due, own), at_start, at_end, left, strict=True):
            for c in self.lanes:
                most = np.maximum(work[c], start - first[c] + behind[c])
                most += kernel_ns * (c >= self.channels)  # which is work of the CPU, too
                found.append(np.maximum(most, end - last[c]) + store[c])
        return np.stack(found)

    def _choices(self, run: int, is_first: bool) -> list[_Choice]:
        """What of the kernel's own loads may have begun when the one before it ends; nothing, if it is the first."""
        key = run, is_first
        if key not in self._chosen:
            self._chosen[key] = list(self._chosen_of(run, is_first))
        return self._chosen[key]

    def _chosen_of(self, run: int, is_first: bool) -> Iterator[_Choice]:
        loads, fetch = self._own_loads(run), self.fetch_ns[:, run].tolist()
        is_all = sum(fetch[: self.movers]) == sum(load.load_ns for load in loads)
        if is_first:
            found = self._choice(loads, (NOT_BEGUN,) * len(loads), self.none)
            yield found if is_all else found._replace(last_ns=self.none)  # another one may come last
        elif len(loads) > MOST_LOADS or not is_all:
            yield _Choice(0, tuple(fetch), 0, self.none)  # whatever has begun, it is not told apart
        else:
            ways = [(NOT_BEGUN, BEGUN, OPENED) if load.open_ns else (NOT_BEGUN, BEGUN) for load in loads]
            for states in product(*ways):
                yield self._choice(loads, states, fetch)

    def _own_loads(self, run: int) -> list[Loaded]:
        """The loads of a kernel."""
        sizes, times = self.batch.load_bytes[:, run].tolist(), self.batch.load_ns[:, run].tolist()
        opening = self.batch.open_ns[:, run].tolist()
        return [
            Loaded(channel, sizes[row], times[row], opening[row])
            for channel, rows in enumerate(self.operands)
            for row in rows
            if times[row]
        ]

    def _choice(self, loads: Sequence[Loaded], states: Sequence[int], engine_ns: Sequence[int]) -> _Choice:
        """What a state of each load means; of an engine beside the CPU it says nothing."""
        begun, last, chain = [0] * len(self.lanes), [0] * len(self.lanes), 0
        begun[self.movers : self.channels] = engine_ns[self.movers : self.channels]
        states_of = list(zip(loads, states, strict=True))
        for channel in range(self.movers):
            own = [(load, state) for load, state in states_of if load.channel == channel]
            begun[channel] = sum(load.load_ns for load, state in own if state != NOT_BEGUN)
            to_come = [load for load, state in own if state == NOT_BEGUN]
            waiting = [load for load, state in own if state == BEGUN]
            last[channel] = min((load.open_ns for load in to_come or waiting), default=0)
            chain = max(chain, two_stations(to_come))
        if len(self.lanes) > self.channels:
            begun[-1] = sum(load.open_ns for load, state in states_of if state == OPENED)
        size = sum(load.size_bytes for load, state in states_of if state != NOT_BEGUN)
        return _Choice(size, tuple(begun), chain, tuple(last))

    def _loads(self, run: int) -> _Sides:
        """Loads that may be done ahead of a kernel."""
        rows = self.batch.ahead[:, run].tolist()
        lasting = int(self.fit.room.onward_bytes[run]) // self.stairs.quantum
        key = (*rows, lasting)
        if key not in self._ahead:
            near = [self.batch.tables[row] for row in rows]
            self._ahead[key] = _Sides(self._joined(near, self.fit.ahead, lasting), near)
        return self._ahead[key]

    def _stores(self, lasting_bytes: int, tiles: Tiles) -> _Sides:
        """Stores that may be outstanding: of some tiles of the stage, and of earlier stages in so many bytes."""
        lasting = lasting_bytes // self.stairs.quantum
        key = lasting, tiles
        if key not in self._late:
            of = self.options.staircases.of
            near = [of((size, ns, many) for at, size, ns, many in tiles if at == c) for c in self.lanes]
            self._late[key] = _Sides(self._joined(near, self.fit.late, lasting), near)
        return self._late[key]

    def _joined(self, own: Sequence[Ints], others: Sequence[Ints], lasting: int) -> list[Ints]:
        """Staircases of own transfers and of others, which are there for longer and get only so many quanta."""
        return [self.stairs.joined(f, capped(g, lasting)) for f, g in zip(own, others, strict=True)]


def two_stations(loads: Sequence[Loaded]) -> int:
    """Least time until loads of one channel have come and are opened, one by one: Johnson's rule (1954)."""
    quick = sorted((load.load_ns, load.open_ns) for load in loads if load.load_ns < load.open_ns)
    slow = sorted(
        ((load.open_ns, load.load_ns) for load in loads if load.load_ns >= load.open_ns), reverse=True
    )
    come = opened = 0
    for load_ns, open_ns in (*quick, *((load_ns, open_ns) for open_ns, load_ns in slow)):
        come += load_ns
        opened = max(opened, come) + open_ns
    return opened
