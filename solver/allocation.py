"""Addresses of blocks whose times are fixed.

The problem is dynamic storage allocation. A block occupies ``size_bytes`` from ``begin`` until
``end``; blocks that live at the same time must not share a byte. It is NP-complete (Garey and
Johnson 1979, SR2), and hard in practice where the capacity is hardly more than the most bytes
alive at once.

First fit in several orders is tried first. Where it does not reach the height that is asked for,
the search of `allocation_search` takes over. Its running time has heavy tails, so many searches
are made with other rules and more and more nodes; a section at which they fail weighs more in
those that follow.
"""

from __future__ import annotations

import math
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from enum import Enum

import numpy as np

from ooc_solve.solver.allocation_search import QUIET, UNLIMITED, Attempt, Block, Outcome, Search


class Verdict(Enum):
    """What is known when the search ends."""

    FOUND = "found"
    INFEASIBLE = "infeasible"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Allocation:
    """Addresses of the lowest packing known, and what is known about lower ones.

    ``verdict`` says whether the packing is as low as was asked; ``bound_bytes`` is a height that no
    packing is below. ``address`` is empty if not even a packing that is too high is known.
    """

    verdict: Verdict
    address: tuple[int, ...]
    height_bytes: int
    bound_bytes: int
    nodes: int
    seconds: float


# ------------------------------------------------------------------------------ entry points


@dataclass(frozen=True, slots=True)
class Effort:
    """How far the search goes: seconds, attempts, nodes of the first attempts, processes.

    Without a limit in seconds the result depends on nothing but the blocks and the seed.
    """

    seconds: float = math.inf
    attempts: int = UNLIMITED
    nodes: int = 2000
    jobs: int = 1
    seed: int = 0


def allocate(
    blocks: Sequence[Block], capacity_bytes: int, effort: Effort, walls: Sequence[int] = ()
) -> Allocation:
    """Addresses below the capacity; no block lies across one of the ``walls``.

    If none are found the result holds the lowest packing known, which is too high.
    """
    return _Descent(blocks, capacity_bytes, tuple(walls), effort).run()


def least_height(blocks: Sequence[Block], effort: Effort, walls: Sequence[int] = ()) -> Allocation:
    """The lowest packing; ``FOUND`` means that it is proven that none is lower."""
    return _Descent(blocks, None, tuple(walls), effort).run()


def height_of(blocks: Sequence[Block], address: Sequence[int]) -> int:
    """Bytes from zero to the end of the highest block."""
    return max((at + b.size_bytes for at, b in zip(address, blocks, strict=True)), default=0)


def most_alive(blocks: Sequence[Block]) -> int:
    """Most bytes alive at once."""
    changes = sorted([(b.begin, b.size_bytes) for b in blocks] + [(b.end, -b.size_bytes) for b in blocks])
    alive = most = 0
    for _, change in changes:
        alive += change
        most = max(most, alive)
    return most


# --------------------------------------------------------------------------------- first fit


def first_fits(blocks: Sequence[Block], walls: Sequence[int]) -> Iterator[tuple[int, ...]]:
    """Packings that put one block after the other at the lowest address that is free."""
    orders = (
        [(-b.size_bytes, b.begin - b.end) for b in blocks],
        [(b.begin - b.end, -b.size_bytes) for b in blocks],
        [(-b.size_bytes * (b.end - b.begin), 0) for b in blocks],
        [(b.begin, b.begin - b.end) for b in blocks],
    )
    for keys in orders:
        yield _first_fit(blocks, walls, sorted(range(len(blocks)), key=lambda i: (keys[i], i)))


def _first_fit(blocks: Sequence[Block], walls: Sequence[int], order: Sequence[int]) -> tuple[int, ...]:
    address = [0] * len(blocks)
    placed = np.empty((4, len(blocks)), np.int64)  # begin, end, low and high, in order of placing
    for count, index in enumerate(order):
        block, (begin, end, low, high) = blocks[index], placed[:, :count]
        beside = np.flatnonzero((begin < block.end) & (end > block.begin))
        at = _lifted(0, block, walls)
        for other in beside[np.argsort(low[beside], kind="stable")].tolist():
            if at + block.size_bytes <= low[other]:
                break
            at = _lifted(max(at, int(high[other])), block, walls)
        address[index] = at
        placed[:, count] = block.begin, block.end, at, at + block.size_bytes
    return tuple(address)


def _lifted(at: int, block: Block, walls: Sequence[int]) -> int:
    """The least address from ``at`` on that is aligned and where the block crosses no wall."""
    at = -(-at // block.alignment_bytes) * block.alignment_bytes
    for wall in walls:
        if at < wall < at + block.size_bytes:
            at = -(-wall // block.alignment_bytes) * block.alignment_bytes
    return at


# ---------------------------------------------------------------------------------- attempts

GROWTH, PER_LIMIT = 1.3, 4
"""The limit on nodes grows by this factor after as many attempts."""

BETWEEN = 8
"""One of so many attempts is made at a height above the goal."""

ALONE = 12
"""Attempts before other processes are started: most problems are solved by then."""


def _carried_out(blocks: tuple[Block, ...], walls: tuple[int, ...], attempt: Attempt) -> Outcome:
    return Search(blocks, walls, attempt).run()


class _Descent:
    """Attempts at a height that is to be reached, and now and then at one between it and the best known."""

    def __init__(
        self, blocks: Sequence[Block], capacity: int | None, walls: tuple[int, ...], effort: Effort
    ) -> None:
        self.blocks, self.walls, self.effort = tuple(blocks), walls, effort
        self.begun = time.monotonic()
        self.until = time.time() + effort.seconds
        self.minimal = capacity is None
        # blocks that cannot sink lie on sums of sizes, on walls and on multiples of alignments
        aligned = (b.alignment_bytes for b in blocks if b.alignment_bytes > 1)
        self.step = math.gcd(*(b.size_bytes for b in blocks), *aligned, *walls) or 1
        self.bound = most_alive(self.blocks)
        self.goal = self.bound if capacity is None else capacity
        self.floor = self.goal  # of the heights tried in between
        self.nodes = 0
        self.best: tuple[int, ...] = ()
        self.height = UNLIMITED
        self.weights: dict[int, tuple[float, ...]] = {}

    def run(self) -> Allocation:
        """Search until the goal is reached or shown to be out of reach, or the effort is spent."""
        for address in first_fits(self.blocks, self.walls):
            self._take(address)
            if self._decided() or time.time() > self.until:
                return self._result()
        number = 0
        while number < self.effort.attempts and not self._decided() and time.time() < self.until:
            if number >= ALONE and self.effort.jobs > 1:
                self._together(number)
                break
            attempt = self._attempt(number)
            self._learn(attempt, _carried_out(self.blocks, self.walls, attempt))
            number += 1
        return self._result()

    def _together(self, number: int) -> None:
        """Go on in several processes; results are taken in order, so the seed decides and not the clock."""
        jobs = self.effort.jobs
        with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn")) as pool:
            while number < self.effort.attempts and not self._decided() and time.time() < self.until:
                attempts = [self._attempt(number + lane) for lane in range(jobs)]
                futures = [pool.submit(_carried_out, self.blocks, self.walls, a) for a in attempts]
                for attempt, future in zip(attempts, futures, strict=True):
                    self._learn(attempt, future.result())
                number += jobs

    def _decided(self) -> bool:
        return self.height <= self.goal or self.bound > self.goal

    def _attempt(self, number: int) -> Attempt:
        nodes = int(self.effort.nodes * GROWTH ** (number // PER_LIMIT))
        between = number % BETWEEN == BETWEEN - 1
        capacity = self._between() if between else self.goal
        seed = self.effort.seed * 1_000_003 + number
        weights = self.weights.get(number % self.effort.jobs, ()) if number >= QUIET else ()
        return Attempt(number, seed, capacity, nodes, self.until, weights)

    def _between(self) -> int:
        """A height between the goal and the best known that was not tried with so few nodes."""
        if self.floor + self.step >= self.height:
            self.floor = self.goal
        middle = (self.floor + self.height) // 2 // self.step * self.step
        return max(self.goal, min(middle, self.height - 1))

    def _learn(self, attempt: Attempt, outcome: Outcome) -> None:
        self.nodes += outcome.nodes
        self.weights[attempt.number % self.effort.jobs] = outcome.weights
        if outcome.address is not None:
            self._take(outcome.address)
        elif outcome.complete:
            self.bound = max(self.bound, (attempt.capacity_bytes // self.step + 1) * self.step)
            self.goal = max(self.goal, self.bound) if self.minimal else self.goal
            self.floor = max(self.floor, self.goal)
        elif attempt.capacity_bytes > self.goal:
            self.floor = max(self.floor, attempt.capacity_bytes)

    def _take(self, address: tuple[int, ...]) -> None:
        height = height_of(self.blocks, address)
        if height < self.height:
            self.height, self.best = height, address

    def _result(self) -> Allocation:
        if self.height <= self.goal:
            verdict = Verdict.FOUND
        elif self.bound > self.goal:
            verdict = Verdict.INFEASIBLE
        else:
            verdict = Verdict.UNKNOWN
        seconds = time.monotonic() - self.begun
        return Allocation(verdict, self.best, self.height, min(self.bound, self.height), self.nodes, seconds)
