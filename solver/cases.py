"""The matrices of single kernels, case by case: what has begun when the one before ends, and what is done when it starts.

It is told apart which loads of a kernel have begun when the one before it ends, beside the stores that are outstanding
then, and whether the tile of that one has been stored when the kernel starts. Where the CPU opens and seals records, it
is one more channel in this: what it opens is like loads, what it seals like stores, and as it does one thing at a time,
more cases can be told apart. The channels, and the CPU then, are *lanes*. FORMULATION.md has the proof.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from ooc_solve.solver.maxplus import NEVER, Ints, applied, capped, minimal

if TYPE_CHECKING:
    from ooc_solve.solver.credits import Fitting
    from ooc_solve.solver.relaxation import Round

MOST_LOADS = 3
"""Loads of one kernel up to which it is told apart which of them have begun."""

SETS = 4
"""Sets of transfers whose Φ a vector has: of all stages (B), of the present one (C), of those up to it (P), and of those
up to the next one (Q)."""


@dataclass(frozen=True, slots=True)
class Last:
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


Tile = tuple[int, int, int]
"""A tile to be stored or sealed: lane, bytes, ns."""

Tiles = tuple[tuple[int, int, int, int], ...]
"""Tiles of a stage that may be outstanding: lane, bytes, ns, how many."""


class Loaded(NamedTuple):
    """A load of a kernel: channel, bytes, time, and least time in which the CPU opens it."""

    channel: int
    size_bytes: int
    load_ns: int
    open_ns: int


NOT_BEGUN, BEGUN, OPENED = range(3)
"""How far a load can be when the kernel before ends. The CPU does one thing at a time, so what it opens it has
opened by then, or not begun to open."""


class Choices(NamedTuple):
    """What may have begun when the kernel before ends: bytes of it, and most ns per lane that have been done of it.

    The kernel waits at least ``chain_ns`` from then on, and ``last_ns[c]`` from the last load of lane c on. The last
    axis has one entry per choice.
    """

    size_bytes: Ints
    begun_ns: Ints
    chain_ns: Ints
    last_ns: Ints


class Cases:
    """The matrices of the kernels of one fitting, each worked out once.

    A vector has the end of the last kernel, and for each of the `SETS` the Φ of every lane.
    """

    def __init__(self, round_: Round, fit: Fitting) -> None:
        self.fit, self.batch, self.options, self.stairs = fit, fit.batch, round_.options, fit.stairs
        self.channels, self.lanes = round_.options.channels, range(round_.options.credited)
        self.movers = round_.options.costs.movers
        self.d = 1 + SETS * len(self.lanes)
        self.lane = np.tile(np.array(self.lanes), SETS)  # of each row but the first
        self.arena_bytes = round_.options.problem.arena_bytes
        self.operands = round_.options.operands(fit.key[0], fit.key[3])
        self.fetch_ns, self.store_ns = self.batch.fetch_ns, self.batch.store_ns
        self.kernel_ns = self.batch.compute_ns
        if len(self.lanes) > self.channels:  # the CPU's own
            opening, _, sealing = self.batch.cipher_ns
            self.fetch_ns = np.vstack((self.fetch_ns, opening))
            self.store_ns = np.vstack((self.store_ns, sealing))
            self.kernel_ns = self.kernel_ns - opening - sealing
        self.looked_at = 0
        self._known: dict[tuple[int, Last, Tiles, Tiles], Ints] = {}
        self._ahead: dict[tuple[int, ...], Ints] = {}
        self._late: dict[tuple[int, Tiles], Ints] = {}
        self._chosen: dict[tuple[int, bool], Choices] = {}

    def behind(self, run: int, same_stage: bool) -> Last:
        """What a kernel leaves to the next one."""
        store = tuple(self.store_ns[:, run].tolist())
        near = store if same_stage else (0,) * len(store)
        free = int(self.fit.free_bytes[run])
        so_far = int(self.fit.room.so_far_bytes[run]) if same_stage else self.arena_bytes
        return Last(free, so_far, store, near, int(self.batch.tile_bytes[run]), self.channels)

    def left(self, run: int) -> Iterator[Tile]:
        """Tiles that a kernel leaves to be stored."""
        for lane, ns in enumerate(self.store_ns[:, run].tolist()):
            if ns:
                yield lane, int(self.batch.tile_bytes[run]), ns

    def entered(self, vectors: Ints, run: int) -> Ints:
        """Vectors behind the last kernel of a stage as the next one finds them."""
        vectors, entry_ns = vectors.copy(), self.fit.entry_ns[:, run, None]
        _, every, own, so_far, to_next, _ = np.split(vectors, 1 + len(self.lanes) * np.arange(SETS + 1))
        own[:] = vectors[0] - entry_ns
        np.maximum(to_next, so_far - entry_ns, out=so_far)
        to_next[:] = every
        return vectors

    def images(self, run: int, last: Last, earlier: Tiles, now: Tiles, vectors: Ints) -> Ints:
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

    def _matrices(self, run: int, last: Last, earlier: Tiles, now: Tiles) -> Ints:
        """The matrices of a kernel, one per case (along the first axis here)."""
        quantum, lane = self.stairs.quantum, self.lane
        room, ahead = int(self.fit.free_bytes[run]), self._loads(run)
        late = self._stores(int(self.fit.room.so_far_bytes[run]), now)[:, room // quantum]
        fetch, store = self.fetch_ns[:, run], np.array(last.store_ns, np.int64)
        tile = np.concatenate((store, last.near_ns, store, store))
        one = np.full((self.d, self.d), NEVER, np.int64)
        np.fill_diagonal(one, 0)
        begun = self._choices(run, last)
        slots = (max(0, last.free_bytes) - begun.size_bytes) // quantum
        out = tile[:, None] + self._stores(last.so_far_bytes, earlier)[:, slots]
        gone = one[0] - begun.begun_ns[:, :, None]
        for row, c in enumerate(lane):
            np.maximum(gone[c], one[1 + row] - out[row, :, None], out=gone[c])
        ready = gone + fetch[:, None, None]  # its own loads are there, if the lane does nothing else
        there = ready[lane] + tile[:, None, None]
        due = np.maximum(one[1:, None] + fetch[lane, None, None], there - ahead[:, slots, None])
        waits = np.maximum((due - late[:, None, None]).max(axis=0), one[0] + begun.chain_ns[:, None])
        np.maximum(waits, (ready + begun.last_ns[:, :, None]).max(axis=0), out=waits)
        stored = ready + store[:, None, None]
        whole = np.maximum(stored.max(axis=0), one[0] + last.chain_ns)  # sealed, then stored
        found = [self._started(run, np.maximum(waits, whole), due, ahead, room)]
        if any(last.store_ns) and last.tile_bytes <= room:
            beside = room - last.tile_bytes
            if last.sealing_ns:
                found.append(self._started(run, waits, due, ahead, beside, last))
                waits = np.maximum(waits, stored[-1])
            due = np.maximum(due, there - ahead[:, beside // quantum, None, None])
            found.append(self._started(run, waits, due, ahead, beside))
        if len(self.lanes) == self.channels:
            return np.concatenate(found, axis=2)
        cases = np.concatenate(found, axis=2).reshape(self.d * self.d, -1)  # there are many of them
        return minimal(cases, cases.shape[1]).reshape(
            self.d, self.d, -1
        )  # one above another changes no minimum

    def _started(
        self, run: int, start: Ints, due: Ints, ahead: Ints, room: int, unsealed: Last | None = None
    ) -> Ints:
        """Matrices ``(d, d, n)`` of a kernel from what it waits for (``(n, d)``), and the bytes beside it when it starts.

        ``unsealed`` has left a tile that nobody has begun to seal by then.
        """
        quantum, kernel_ns = self.stairs.quantum, int(self.kernel_ns[run])
        end = start + kernel_ns
        first = -ahead[:, room // quantum]
        if unsealed:
            store = unsealed.store_ns
            first += np.array((*store, *unsealed.near_ns, *store, *store), np.int64)
        most = np.maximum(due, start + first[:, None, None])
        most[self.lane >= self.channels] += kernel_ns  # which is work of the CPU, too
        np.maximum(most, end - ahead[:, int(self.fit.free_bytes[run]) // quantum, None, None], out=most)
        most += self.store_ns[self.lane, run, None, None]
        return np.concatenate((end[None], most)).transpose(0, 2, 1)

    # --------------------------------------------------------------------------- loads of its own

    def _choices(self, run: int, last: Last) -> Choices:
        """What of a kernel's own loads may have begun when the one before it ends; nothing, if there was none."""
        key = run, last.is_none
        if key not in self._chosen:
            fetch = tuple(self.fetch_ns[:, run].tolist())
            loads = tuple(self._own_loads(run))
            self._chosen[key] = choices(loads, fetch, self.movers, self.channels, last.is_none)
        found = self._chosen[key]
        fits = found.size_bytes <= max(0, last.free_bytes)
        return found if fits.all() else Choices(*(figures[..., fits] for figures in found))

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

    # ------------------------------------------------------------- what lies beside a kernel

    def _loads(self, run: int) -> Ints:
        """Staircases of loads that may be done ahead of a kernel, one for each row of a vector but the first."""
        rows = self.batch.ahead[:, run].tolist()
        lasting = int(self.fit.room.onward_bytes[run]) // self.stairs.quantum
        key = (*rows, lasting)
        if key not in self._ahead:
            near = [self.batch.tables[row] for row in rows]
            every, to_next = (self._joined(near, far, lasting) for far in (self.fit.ahead, self.fit.entry))
            self._ahead[key] = np.stack((*every, *near, *near, *to_next))
        return self._ahead[key]

    def _stores(self, lasting_bytes: int, tiles: Tiles) -> Ints:
        """The same of stores that may be outstanding: of some tiles of the stage, and of earlier ones in so many bytes."""
        lasting = lasting_bytes // self.stairs.quantum
        key = lasting, tiles
        if key not in self._late:
            of = self.options.staircases.of
            near = [of((size, ns, many) for at, size, ns, many in tiles if at == c) for c in self.lanes]
            every = self._joined(near, self.fit.late, lasting)
            self._late[key] = np.stack((*every, *near, *every, *every))
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


@lru_cache(maxsize=1 << 14)
def choices(
    loads: tuple[Loaded, ...], fetch_ns: tuple[int, ...], movers: int, channels: int, is_first: bool
) -> Choices:
    """What of a kernel's loads, and of all that each lane does before it, may have begun; nothing, if it is the first.

    ``movers`` of the lanes move something, behind the ``channels`` comes what the CPU opens. Of an engine beside the
    CPU nothing is said.
    """
    is_all = sum(fetch_ns[:movers]) == sum(load.load_ns for load in loads)
    nothing = np.zeros((len(fetch_ns), 1), np.int64)
    if is_first:
        found = _choice(loads, (NOT_BEGUN,) * len(loads), fetch_ns, movers, channels)
        found = found._replace(begun_ns=nothing)
        return found if is_all else found._replace(last_ns=nothing)  # another one may come last
    if len(loads) > MOST_LOADS or not is_all:  # whatever has begun, it is not told apart
        return Choices(nothing[0], np.array(fetch_ns, np.int64)[:, None], nothing[0], nothing)
    ways = [(NOT_BEGUN, BEGUN, OPENED) if load.open_ns else (NOT_BEGUN, BEGUN) for load in loads]
    chosen = [_choice(loads, states, fetch_ns, movers, channels) for states in product(*ways)]
    return Choices(*(np.concatenate(figures, axis=-1) for figures in zip(*chosen, strict=True)))


def _choice(
    loads: Sequence[Loaded], states: Sequence[int], fetch_ns: Sequence[int], movers: int, channels: int
) -> Choices:
    """What a state of each load means."""
    begun, last, chain = [0] * len(fetch_ns), [0] * len(fetch_ns), 0
    begun[movers:channels] = fetch_ns[movers:channels]
    states_of = list(zip(loads, states, strict=True))
    for channel in range(movers):
        own = [(load, state) for load, state in states_of if load.channel == channel]
        begun[channel] = sum(load.load_ns for load, state in own if state != NOT_BEGUN)
        to_come = [load for load, state in own if state == NOT_BEGUN]
        waiting = [load for load, state in own if state == BEGUN]
        last[channel] = min((load.open_ns for load in to_come or waiting), default=0)
        chain = max(chain, two_stations(to_come))
    if len(fetch_ns) > channels:
        begun[-1] = sum(load.open_ns for load, state in states_of if state == OPENED)
    size = sum(load.size_bytes for load, state in states_of if state != NOT_BEGUN)
    columns = (np.array(figures, np.int64)[..., None] for figures in (size, begun, chain, last))
    return Choices(*columns)
