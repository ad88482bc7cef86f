"""Thousands of partial plans at once, stage by stage, without tasks and addresses.

Kernels run in their order. Loads go in order of the kernel that waits for them, the weights first;
one may start once the bytes of all kernels until its own leave room for it, those of a tile that is
stored beside a kernel included. Up to `WAITING` tiles
wait to be stored: the oldest goes where the channel would be idle otherwise, where its bytes are
needed, where a load reads what it writes, or when there are more of them. Only the sum of bytes is
looked at, not addresses.

Everything is an array over partial plans. What a plan's future depends on is its `Front`: when
the kernels and each channel are done, the tile that is not stored yet, and the *gates*. A gate
``(bytes, ns)`` says that loads may not begin before ``ns`` once they take more than ``bytes``, all
loads from here on counted; a kernel makes one from the room that it leaves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.profiles import (
    COMPUTE,
    LOAD_BYTES,
    LOAD_NS,
    LOAD_OPEN,
    LOAD_REACH,
    LOAD_ROWS,
    LOADS,
    NEED,
    PLANE,
    STORE_BYTES,
    STORE_NS,
    STORE_ROW,
    STORE_SEAL,
    Ints,
    Profile,
)

GATES = 8
"""Kernels whose room is remembered; loads never run further ahead of the oldest of them."""

OPEN = 1 << 60
"""Bytes of a gate that stops nothing."""

WAITING = 3
"""Tiles that may wait to be stored at once."""

TILE_BYTES, TILE_NS, TILE_READY, TILE_TENSOR, TILE_ROW = range(5)
TILE_ROWS = 5
"""What is known of a tile that waits: buffer bytes, ns of its store, when its kernel ended (ns) and an engine
or the CPU has sealed it (that the engine may be busy otherwise is not looked at), number
of its tensor, first row (as in `profiles.PLANE`)."""


@dataclass(slots=True, eq=False)
class Front:
    """Where partial plans stand; the last axis counts them.

    ``compute_ns`` and ``channel_ns`` (``(channels, plans)``): when the kernels and transfers so far
    are done. ``gate_bytes`` and ``gate_ns`` (``(GATES, plans)``), the newest at ``newest``;
    ``floor_ns``: no load starts earlier. ``npu_ns``: when the NPU is done, which else has no part. ``waiting`` tiles are still to be stored; ``tiles``
    (``(TILE_ROWS, WAITING, plans)``) says what they are, the oldest first.
    """

    compute_ns: Ints
    channel_ns: Ints
    gate_bytes: Ints
    gate_ns: Ints
    newest: Ints
    floor_ns: Ints
    waiting: Ints
    tiles: Ints
    npu_ns: Ints

    @classmethod
    def start(cls, channels: int) -> Front:
        """One plan before its first stage."""
        one = np.zeros(1, np.int64)
        gates = np.full((GATES, 1), OPEN, np.int64)
        tiles = np.zeros((TILE_ROWS, WAITING, 1), np.int64)
        return cls(one, np.zeros((channels, 1), np.int64), gates, np.zeros((GATES, 1), np.int64), one, one, one,
                   tiles, one)  # fmt: skip

    def take(self, which: Ints) -> Front:
        """A copy of some of the plans, in the order given."""
        return Front(*(getattr(self, f.name)[..., which] for f in fields(self)))

    @classmethod
    def joined(cls, fronts: Sequence[Front]) -> Front:
        """The plans of several fronts."""
        return cls(
            *(np.concatenate([getattr(f, part.name) for f in fronts], axis=-1) for part in fields(cls))
        )

    def ends_ns(self, channel: int) -> Ints:
        """When plans without further stages are over; ``channel`` is that of stores."""
        stored = self.channel_ns[channel]
        for tile in range(WAITING):
            ready, ns = self.tiles[TILE_READY, tile], self.tiles[TILE_NS, tile]
            stored = np.where(ns > 0, np.maximum(stored, ready) + ns, stored)
        ends: Ints = np.maximum(np.maximum(self.compute_ns, self.channel_ns.max(axis=0)), stored)
        return np.maximum(ends, self.npu_ns)


class Profiled:
    """Tables of several profiles of one stage, end to end."""

    def __init__(self, profiles: Sequence[Profile]) -> None:
        self.table = np.concatenate([p.table for p in profiles], axis=1)
        self.kernels = np.array([p.kernels for p in profiles], np.int64)
        self.npu = np.array([p.npu for p in profiles], bool)
        self.begins = np.cumsum(self.kernels) - self.kernels


@dataclass(frozen=True, slots=True)
class StageTraffic:
    """Which channel moves each operand (weights last) and the tiles that are stored; tensor numbers.

    ``engine`` is the channel of an engine that opens and seals beside the CPU, -1 where the CPU does that.
    ``joins``: both units have ended all before when the stage begins.
    """

    operands: tuple[int, ...]
    stores: int
    inputs: tuple[int, ...]
    output: int
    engine: int = -1
    joins: bool = True


def advance(front: Front, profiled: Profiled, which: Ints, room_bytes: Ints, traffic: StageTraffic) -> Front:
    """Carry plans through a stage: plan i by profile ``which[i]``, with ``room_bytes[i]`` beside kept tensors.

    All kernels must fit in the room. Plans that come from one front can be repeated by `Front.take`.
    """
    order = np.argsort(-profiled.kernels[which], kind="stable")
    walk = _Walk(front.take(order), profiled, which[order], room_bytes[order], traffic)
    back = np.empty_like(order)
    back[order] = np.arange(len(order))
    return walk.run().take(back)


class _Walk:
    """One stage for many plans, those with most kernels first."""

    def __init__(
        self, front: Front, profiled: Profiled, which: Ints, room: Ints, traffic: StageTraffic
    ) -> None:
        self.front, self.profiled, self.traffic, self.room = front, profiled, traffic, room
        self.begins, self.kernels = profiled.begins[which], profiled.kernels[which]
        self.npu = profiled.npu[which]
        self.loaded = np.zeros(len(which), np.int64)
        self.everyone = np.arange(len(which))
        self.stores = bool(front.waiting.any())

    def run(self) -> Front:
        """The front behind the stage."""
        front = self.front
        longest = int(self.kernels[0]) if len(self.kernels) else 0
        active = np.searchsorted(-self.kernels, -np.arange(longest), side="left")
        for kernel in range(longest):
            keep_time()
            self._kernel(kernel, int(active[kernel]))
        front.gate_bytes = np.where(front.gate_bytes < OPEN, front.gate_bytes - self.loaded, OPEN)
        return front

    def _kernel(self, kernel: int, n: int) -> None:
        front = self.front
        table = self.profiled.table[:, self.begins[:n] + kernel]
        free = self.room[:n] - table[NEED]
        begin = self._unit_free_ns(n)
        stores = table[STORE_NS].any()
        if self.stores:
            self._make_room(n, free + table[STORE_BYTES], begin)
        for k, channel in reversed(tuple(enumerate(self.traffic.operands))):
            start = LOADS + LOAD_ROWS * k
            if table[start + LOAD_NS].any():
                self._load(n, k, channel, table[start : start + LOAD_ROWS], begin)
        if self.stores and stores:
            self._make_room(n, free, begin)
        end, npu = begin + table[COMPUTE], self.npu[:n]
        front.compute_ns[:n] = np.where(npu, front.compute_ns[:n], end)
        front.npu_ns[:n] = np.where(npu, end, front.npu_ns[:n])
        self._gate(n, self.loaded[:n] + free - self._held(n))
        if self.traffic.engine < 0:
            front.compute_ns[:n] += table[STORE_SEAL]
        if stores:
            self._finish(n, table)

    def _unit_free_ns(self, n: int) -> Ints:
        """When the unit of the next kernel has nothing more to do, or both where they meet."""
        cpu, npu = self.front.compute_ns[:n], self.front.npu_ns[:n]
        return np.maximum(cpu, npu) if self.traffic.joins else np.where(self.npu[:n], npu, cpu)

    def _held(self, n: int) -> Ints:
        """Bytes of tiles that wait to be stored."""
        held: Ints = self.front.tiles[TILE_BYTES, :, :n].sum(axis=0)
        return held

    def _make_room(self, n: int, free: Ints, begin: Ints) -> None:
        """Store tiles until the others fit into free bytes; kernels ``begin`` when they are gone."""
        for _ in range(WAITING):
            if not self._store(n, self._held(n) > free, begin):
                break

    def _store(self, n: int, which: NDArray[np.bool_], begin: Ints | None = None) -> bool:
        """Store the oldest tile of some plans; False if there is none."""
        front = self.front
        plans = np.flatnonzero(which & (front.waiting[:n] > 0))
        if not len(plans):
            return False
        tiles, channel = front.tiles[:, :, plans], front.channel_ns[self.traffic.stores]
        end = np.maximum(channel[plans], tiles[TILE_READY, 0]) + tiles[TILE_NS, 0]
        channel[plans] = end
        self._open_gates(plans, tiles[TILE_BYTES, 0], end)
        if begin is not None:
            begin[plans] = np.maximum(begin[plans], end)
        front.tiles[:, :-1, plans] = tiles[:, 1:]
        front.tiles[:, -1, plans] = 0
        front.waiting[plans] -= 1
        return True

    def _open_gates(self, plans: Ints, size: Ints, end: Ints) -> None:
        """Let loads have the bytes of tiles that are stored before the kernels end beside which they waited."""
        front = self.front
        waited = (front.gate_ns[:, plans] > end) & (front.gate_bytes[:, plans] < OPEN)
        front.gate_bytes[:, plans] += waited * size
        front.floor_ns[plans] = np.where(
            waited.any(axis=0), np.maximum(front.floor_ns[plans], end), front.floor_ns[plans]
        )

    def _opens(self, n: int) -> Ints:
        """When there is room for all loads so far."""
        front = self.front
        opens: Ints = np.where(front.gate_bytes[:, :n] < self.loaded[:n], front.gate_ns[:, :n], 0).max(axis=0)
        np.maximum(opens, front.floor_ns[:n], out=opens)
        return opens

    def _load(self, n: int, k: int, channel: int, figures: Ints, begin: Ints) -> None:
        """Load an operand where it is new; ``begin`` waits for it."""
        front = self.front
        self.loaded[:n] += figures[LOAD_BYTES]
        done, loads = front.channel_ns[channel], figures[LOAD_NS] > 0
        opens = self._after_stores(n, k, channel, figures) if self.stores else self._opens(n)
        end = np.maximum(done[:n], opens) + figures[LOAD_NS]
        done[:n] = np.where(loads, end, done[:n])
        end = self._opened(n, figures[LOAD_OPEN], end)
        np.copyto(begin, np.maximum(begin, end), where=loads)

    def _opened(self, n: int, opening: Ints, loaded: Ints) -> Ints:
        """When an engine, or the CPU between kernels, has opened what was loaded by then."""
        by_engine = self.traffic.engine >= 0
        busy = self.front.channel_ns[self.traffic.engine] if by_engine else self.front.compute_ns
        end = np.maximum(busy[:n], loaded) + opening
        busy[:n] = np.where(opening > 0, end, busy[:n])
        found: Ints = np.where(opening > 0, end, loaded)
        return found

    def _after_stores(self, n: int, k: int, channel: int, figures: Ints) -> Ints:
        """When a load may start after the stores that come first: what it reads, and what begins before it."""
        front, loads = self.front, figures[LOAD_NS] > 0
        done, stores = front.channel_ns[channel], front.channel_ns[self.traffic.stores]
        opens, written = self._opens(n), np.zeros(n, np.int64)
        for _ in range(WAITING):
            read = loads & self._reads_waiting(n, k, figures[LOAD_REACH])
            start = np.maximum(stores[:n], front.tiles[TILE_READY, 0, :n])
            sooner = loads & (start < np.maximum(done[:n], opens))
            if not self._store(n, read | sooner):
                break
            written = np.where(read, np.maximum(written, stores[:n]), written)
            opens = np.maximum(self._opens(n), written)
        return opens

    def _reads_waiting(self, n: int, k: int, reach: Ints) -> NDArray[np.bool_]:
        """Whether a load reads any tile that is not stored yet."""
        if k >= len(self.traffic.inputs):
            return np.zeros(n, bool)
        tiles = self.front.tiles[:, :, :n]
        ahead = reach - tiles[TILE_ROW]
        own = (tiles[TILE_TENSOR] == self.traffic.inputs[k]) & (tiles[TILE_NS] > 0)
        found: NDArray[np.bool_] = (own & (ahead > 0) & (ahead < PLANE // 2)).any(axis=0)
        return found

    def _finish(self, n: int, table: Ints) -> None:
        """Tiles are ready to be stored."""
        front, new = self.front, table[STORE_NS] > 0
        self._store(n, new & (front.waiting[:n] == WAITING))
        plans = np.flatnonzero(new)
        at = front.waiting[plans]
        front.tiles[TILE_BYTES, at, plans] = table[STORE_BYTES, plans]
        front.tiles[TILE_NS, at, plans] = table[STORE_NS, plans]
        sealing = table[STORE_SEAL, plans] if self.traffic.engine >= 0 else 0
        front.tiles[TILE_READY, at, plans] = front.compute_ns[plans] + sealing
        front.tiles[TILE_TENSOR, at, plans] = self.traffic.output
        front.tiles[TILE_ROW, at, plans] = table[STORE_ROW, plans]
        front.waiting[plans] += 1
        self.stores = True

    def _gate(self, n: int, gate: Ints) -> None:
        """Remember the room of a kernel; it replaces the newest gate if that is no narrower."""
        front, plans = self.front, self.everyone[:n]
        newest = front.newest[:n]
        wider = front.gate_bytes[newest, plans] < gate
        newest = np.where(wider, (newest + 1) % GATES, newest)
        lost = wider & (front.gate_bytes[newest, plans] < OPEN)
        floor = np.maximum(front.floor_ns[:n], front.gate_ns[newest, plans])
        front.floor_ns[:n] = np.where(lost, floor, front.floor_ns[:n])
        front.gate_bytes[newest, plans] = gate
        front.gate_ns[newest, plans] = front.compute_ns[:n]
        front.newest[:n] = newest
