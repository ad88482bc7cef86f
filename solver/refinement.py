"""A finer pass over the options that `relaxation` leaves: kernel by kernel, case by case.

The matrices of `relaxation` count loads ahead and stores outstanding apart from each other, as if
each had all free bytes. Here it is told apart which loads of a kernel have begun when the one before
it ends, beside the stores that are outstanding then, and whether the tile of that one has been
stored when the next one starts. Each case is a matrix; a kernel takes a vector to its images under
all of them. Sets of matrices have no powers, so each option is walked through, which pays once few
are left; loops are left early, once what they do only comes again later. FORMULATION.md has the proof.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import TYPE_CHECKING

import numpy as np

from ooc_solve.solver.lives import State
from ooc_solve.solver.maxplus import NEVER, Ints, applied, capped, minimal, pulled_back, through

if TYPE_CHECKING:
    from ooc_solve.solver.credits import Fitting
    from ooc_solve.solver.relaxation import Round
    from ooc_solve.solver.variants import Alive, Mask

MOST_RUNS, MOST_RUNS_OF_A_PROOF = 20_000, 120_000
"""Runs of equal kernels of all options together above which they are not walked through."""

MOST_IMAGES = 100_000
"""Kernels that are looked at before a walk is given up: some ten seconds."""

MOST_VECTORS = 16
"""Vectors kept per state, and between kernels."""

MOST_LOADS = 3
"""Loads of one kernel up to which it is told apart which of them have begun."""

CHOICES = tuple(
    np.array(list(product((0, 1), repeat=n)), np.int64).reshape(2**n, n).T for n in range(MOST_LOADS + 1)
)
"""All choices among so many loads, ``(loads, choices)``."""


@dataclass(frozen=True, slots=True)
class Refined:
    """What is left of the options, and the least makespan of a path through them (None: there is no path)."""

    alive: Alive
    value_ns: int | None


def refined(round_: Round, limit_ns: int, most_runs: int = MOST_RUNS) -> Refined | None:
    """Walk through the options of a round, without those that no path shorter than a limit goes through.

    None if there are too many runs of kernels, or it takes too long. The round has its ``rest`` for the limit, or a
    larger one.
    """
    if round_.runs > most_runs:
        return None
    with suppress(_TooLongError):
        return _Walk(round_, limit_ns).run()
    return None


class _TooLongError(Exception):
    """More kernels than a walk may look at."""


@dataclass(frozen=True, slots=True)
class _Last:
    """The kernel before: bytes that it left free, time to store its tile per channel, bytes of the tile.

    ``near_ns`` is the same time where the next kernel is of the same stage, else 0; ``so_far_bytes`` the
    least that kernels of the stage have left free then, all where there were none.
    """

    free_bytes: int
    so_far_bytes: int
    store_ns: tuple[int, ...]
    near_ns: tuple[int, ...]
    tile_bytes: int


_Tile = tuple[int, int, int]
"""A tile to be stored: channel, bytes, ns."""

Tiles = tuple[tuple[int, int, int, int], ...]
"""Tiles of a stage that may be outstanding: channel, bytes, ns, how many."""

Vectors = dict[_Last, Ints]
"""Vectors (columns) by the kernel that they are behind."""


class _Walk:
    """One pass over all stages."""

    def __init__(self, round_: Round, limit_ns: int) -> None:
        self.round, self.limit_ns = round_, limit_ns
        self.d, self.channels = round_.options.dimensions, round_.options.channels
        self.images = 0

    def run(self) -> Refined:
        """Walk from the first stage to the last."""
        none = (0,) * self.channels
        arena_bytes = self.round.options.problem.arena_bytes
        nothing = _Last(arena_bytes, arena_bytes, none, none, 0)
        arrived: list[dict[State, dict[_Last, list[Ints]]]] = [
            defaultdict(lambda: defaultdict(list)) for _ in range(self.round.stages + 1)
        ]
        for state, vectors in self.round.labels[0].items():
            arrived[0][state][nothing].append(vectors)
        alive: Alive = {}
        for stage, fittings in enumerate(self.round.fittings):
            here = {state: _settled(found) for state, found in arrived[stage].items()}
            for fit, (*_, matrices) in zip(fittings, self.round.matrices[stage], strict=True):
                before = here.get(fit.key[1], {})
                hopeful = self._hopeful(
                    matrices, before, stage + fit.key[3], self.round.lives.after(*fit.key)
                )
                if hopeful.any():
                    left = self._walked(fit, hopeful, before, arrived[stage + fit.key[3]])
                    if left.any():
                        alive[fit.key] = left
        ends = [v.max(axis=0).min() for found in arrived[-1].values() for vs in found.values() for v in vs]
        least = int(min(ends)) if ends else None
        return Refined({} if least is None else alive, least)

    def _hopeful(self, matrices: Ints, before: Vectors, end: int, after: State) -> Mask:
        """Which of some options may still be on a path shorter than the limit, by their matrices."""
        rest = self.round.rest[end].get(after)
        if rest is None or not before:
            return np.zeros(matrices.shape[2], bool)
        vectors = minimal(np.hstack(list(before.values())), MOST_VECTORS)
        return through(pulled_back(matrices, rest), vectors) < self.limit_ns

    def _walked(
        self, fit: Fitting, hopeful: Mask, before: Vectors, arrived: dict[State, dict[_Last, list[Ints]]]
    ) -> Mask:
        """Walk through the hopeful options of a batch; which are left."""
        end, after, cases = fit.key[0] + fit.key[3], self.round.lives.after(*fit.key), _Cases(self.round, fit)
        left, places, images = np.zeros_like(fit.mask), np.flatnonzero(fit.mask), self.images
        for number in np.flatnonzero(hopeful).tolist():
            self.round.check_time()
            found = self._short(cases.walked(number, before), end, after)
            self.images = images + cases.looked_at
            if self.images > MOST_IMAGES:
                raise _TooLongError
            if found.shape[1]:
                left[places[number]] = True
                arrived[after][cases.last(number)].append(found)
        return left

    def _short(self, vectors: Ints, end: int, after: State) -> Ints:
        """Vectors from which the end may be reached before the limit."""
        rest = self.round.rest[end].get(after)
        if rest is None:
            return vectors[:, :0]
        total = (vectors[:, :, None] + rest[:, None, :]).max(axis=0).min(axis=1)
        return vectors[:, total < self.limit_ns]


def _settled(arrived: dict[_Last, list[Ints]]) -> Vectors:
    return {last: minimal(np.hstack(found), MOST_VECTORS) for last, found in arrived.items()}


@dataclass(frozen=True, slots=True)
class _Sides:
    """Staircases per channel: of transfers of all stages, and of those of one."""

    far: list[Ints]
    near: list[Ints]

    def at(self, slots: int) -> tuple[list[int], list[int]]:
        """Most time per channel in some free quanta."""
        return [int(f[slots]) for f in self.far], [int(f[slots]) for f in self.near]


class _Option:
    """A walk through the kernels of one option, which leaps where what comes again only takes that much longer.

    Images of later vectors are that much later, so once the vectors are those of an earlier time but for a
    delay, and the same tiles may be outstanding, all that came in between comes again with that delay.
    """

    def __init__(self, cases: _Cases, before: Vectors) -> None:
        self.cases, self.before = cases, before
        self.vectors = np.zeros((cases.d, 0), np.int64)
        self.run = -1  # of the last kernel
        self.tiles: dict[_Tile, int] = {}  # that kernels so far have left, no more of a kind than fit
        self.earlier, self.now = Tiles(), Tiles()  # when the last kernel started, and behind it

    def row(self, runs: Sequence[tuple[int, int]]) -> None:
        """Walk through a round of the outer loop: runs, and how many kernels each has."""
        for run, many in runs:
            self.repeat(many, partial(self._kernel, run))

    def repeat(self, many: int, walk: Callable[[], None]) -> None:
        """Walk through the same several times."""
        seen: dict[object, tuple[int, int]] = {}
        for left in reversed(range(many)):
            walk()
            if not left:
                return
            base = int(self.vectors[0, 0]) if self.vectors.size else 0
            here = self.run, self.earlier, self.now, (self.vectors - base).tobytes()
            if here in seen:
                left_then, then = seen[here]
                times, rest = divmod(left, left_then - left)
                self.vectors = self.vectors + times * (base - then)
                for _ in range(rest):
                    walk()
                return
            seen[here] = left, base

    def _kernel(self, run: int) -> None:
        if self.run < 0:
            found = [self.cases.images(run, last, (), (), vs) for last, vs in self.before.items()]
            self.vectors = minimal(np.hstack(found), MOST_VECTORS)
        else:
            last = self.cases.behind(self.run, True)
            images = self.cases.images(run, last, self.earlier, self.now, self.vectors)
            self.vectors = minimal(images, MOST_VECTORS)
        self.run, self.earlier = run, self.now
        self._leave(run)

    def _leave(self, run: int) -> None:
        """Add the tiles that a kernel leaves to be stored."""
        for tile in self.cases.left(run):
            many, most = self.tiles.get(tile, 0), self.cases.arena_bytes // max(1, tile[1]) + 1
            if many < most:
                self.tiles[tile] = many + 1
                self.now = tuple(sorted((*kind, count) for kind, count in self.tiles.items()))


class _Cases:
    """The matrices of the kernels of one fitting, case by case, each worked out once."""

    def __init__(self, round_: Round, fit: Fitting) -> None:
        self.fit, self.batch, self.options = fit, fit.batch, round_.options
        self.stairs, self.d = fit.stairs, 1 + 2 * round_.options.channels
        self.arena_bytes = round_.options.problem.arena_bytes
        self.channels = range(round_.options.channels)
        self.operands = round_.options.operands(fit.key[0], fit.key[3])
        self.looked_at = 0
        self._known: dict[tuple[int, _Last, Tiles, Tiles], Ints] = {}
        self._ahead: dict[tuple[int, ...], _Sides] = {}
        self._late: dict[tuple[int, Tiles], _Sides] = {}

    def walked(self, number: int, before: Vectors) -> Ints:
        """Vectors behind an option, from those before it."""
        walk = _Option(self, before)
        for row, many in self.batch.loops(number):
            walk.repeat(many, partial(walk.row, row))
        vectors = walk.vectors
        vectors = vectors.copy()
        vectors[1 + len(self.channels) : self.d] = vectors[0] - self.fit.entry_ns[:, walk.run, None]
        stage, options = self.fit.key[0], self.batch.options[number : number + 1]
        vectors[: self.d] += self.options.toll_ns(stage, options)
        if self.options.counters:
            vectors[self.d :] = applied(self.options.counted(stage, options), vectors[self.d :])[:, 0]
        return vectors

    def last(self, number: int) -> _Last:
        """What the last kernel of an option leaves to the next stage."""
        return self.behind(self.batch.last_run(number), False)

    def behind(self, run: int, same_stage: bool) -> _Last:
        store = tuple(self.batch.store_ns[:, run].tolist())
        near = store if same_stage else (0,) * len(store)
        free = int(self.fit.free_bytes[run])
        so_far = int(self.fit.room.so_far_bytes[run]) if same_stage else self.arena_bytes
        return _Last(free, so_far, store, near, int(self.batch.tile_bytes[run]))

    def left(self, run: int) -> Iterator[_Tile]:
        """Tiles that a kernel leaves to be stored."""
        for channel, ns in enumerate(self.batch.store_ns[:, run].tolist()):
            if ns:
                yield channel, int(self.batch.tile_bytes[run]), ns

    def images(self, run: int, last: _Last, earlier: Tiles, now: Tiles, vectors: Ints) -> Ints:
        """All vectors that a kernel makes of some.

        ``earlier``: tiles of the stage that may be outstanding when the kernel before ends, its own
        aside; ``now``: when this one starts.
        """
        key = run, last, earlier, now
        self.looked_at += 1
        if key not in self._known:
            self._known[key] = self._matrices(*key)
        clocks = applied(self._known[key], vectors[: self.d])
        written = np.broadcast_to(vectors[self.d :, None], (len(vectors) - self.d, *clocks.shape[1:]))
        return np.concatenate((clocks, written)).reshape(len(vectors), -1)

    def _matrices(self, run: int, last: _Last, earlier: Tiles, now: Tiles) -> Ints:
        """The matrices of a kernel, one per case: of its own loads (along the first axis here), and of the last tile."""
        batch, n, quantum = self.batch, len(self.channels), self.stairs.quantum
        room, ahead = int(self.fit.free_bytes[run]), self._loads(run)
        late = self._stores(int(self.fit.room.so_far_bytes[run]), now)
        far_late, near_late = late.at(room // quantum)
        fetch = batch.fetch_ns[:, run].tolist()
        one = np.full((self.d, self.d), NEVER, np.int64)
        np.fill_diagonal(one, 0)  # rows: E, B per channel, C per channel
        sizes, begun = self._choices(run)
        fits = sizes <= last.free_bytes
        slots, begun = (last.free_bytes - sizes[fits]) // quantum, begun[:, fits, None]
        stores = self._stores(last.so_far_bytes, earlier)
        ready, due, own = [], [], []
        for c in self.channels:
            b, own_b, b_tile, own_tile = one[1 + c], one[1 + n + c], last.store_ns[c], last.near_ns[c]
            gone = np.maximum(one[0] - begun[c], b - (b_tile + stores.far[c][slots, None]))
            gone = np.maximum(gone, own_b - (own_tile + stores.near[c][slots, None]))
            ready.append(gone + fetch[c])  # its own loads are there, if the channel does nothing else
            due.append(np.maximum(b + fetch[c], ready[c] + (b_tile - ahead.far[c][slots, None])))
            own.append(np.maximum(own_b + fetch[c], ready[c] + (own_tile - ahead.near[c][slots, None])))
        at_least = [due[c] - far_late[c] for c in self.channels]
        at_least += [own[c] - near_late[c] for c in self.channels]
        stored = [ready[c] + last.store_ns[c] for c in self.channels]
        found = [self._cases(run, np.maximum.reduce([*stored, *at_least]), due, own, ahead, room)]
        if any(last.store_ns) and last.tile_bytes <= room:
            far_ahead, near_ahead = ahead.at((room - last.tile_bytes) // quantum)
            due = [np.maximum(due[c], stored[c] - far_ahead[c]) for c in self.channels]
            own = [np.maximum(own[c], ready[c] + (last.near_ns[c] - near_ahead[c])) for c in self.channels]
            start = np.maximum.reduce([*ready, *at_least])
            found.append(self._cases(run, start, due, own, ahead, room - last.tile_bytes))
        return np.concatenate(found, axis=2)

    def _cases(
        self, run: int, start: Ints, due: Sequence[Ints], own: Sequence[Ints], ahead: _Sides, room: int
    ) -> Ints:
        """Matrices ``(d, d, n)`` of a kernel from what it waits for (``(n, d)``), and the bytes beside it when it starts."""
        quantum, store = self.stairs.quantum, self.batch.store_ns[:, run].tolist()
        end = start + self.batch.compute_ns[run]
        found = np.empty((self.d, self.d, len(start)), np.int64)
        found[0] = end.T
        at_start = ahead.at(room // quantum)
        at_end = ahead.at(int(self.fit.free_bytes[run]) // quantum)
        place = 1
        for work, first, last in zip((due, own), at_start, at_end, strict=True):
            for c in self.channels:
                most = np.maximum(work[c], np.maximum(start - first[c], end - last[c]))
                found[place], place = (most + store[c]).T, place + 1
        return found

    def _choices(self, run: int) -> tuple[Ints, Ints]:
        """Bytes ``(n,)``, and ns ``(channels, n)``, of each choice among the kernel's own loads."""
        sizes, times = self.batch.load_bytes[:, run].tolist(), self.batch.load_ns[:, run].tolist()
        fetch = self.batch.fetch_ns[:, run]
        loads = [(row, channel) for channel, rows in enumerate(self.operands) for row in rows if times[row]]
        if len(loads) > MOST_LOADS or fetch.sum() != sum(times):
            return np.zeros(1, np.int64), fetch[:, None]  # whatever has begun, it is not told apart
        chosen = CHOICES[len(loads)]
        begun = np.zeros((len(fetch), len(loads)), np.int64)
        for n, (row, channel) in enumerate(loads):
            begun[channel, n] = times[row]
        return np.array([sizes[row] for row, _ in loads], np.int64) @ chosen, begun @ chosen

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
            near = [of((size, ns, many) for at, size, ns, many in tiles if at == c) for c in self.channels]
            self._late[key] = _Sides(self._joined(near, self.fit.late, lasting), near)
        return self._late[key]

    def _joined(self, own: Sequence[Ints], others: Sequence[Ints], lasting: int) -> list[Ints]:
        """Staircases of own transfers and of others, which are there for longer and get only so many quanta."""
        return [self.stairs.joined(f, capped(g, lasting)) for f, g in zip(own, others, strict=True)]
