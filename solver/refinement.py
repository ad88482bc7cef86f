"""A finer pass over the options that `relaxation` leaves: kernel by kernel, case by case.

The matrices of `relaxation` count loads ahead and stores outstanding apart from each other, as if
each had all free bytes. Here cases are told apart (`cases`), and transfers by how soon they are due. Each
case is a matrix; a kernel takes a vector to its images under all of them. Sets of matrices have no powers, so
each option is walked through, which pays once few are left; loops are left early, once what they do only comes
again later. FORMULATION.md has the proof.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from ooc_solve.solver.cases import SETS, Cases, Last, Tile, Tiles
from ooc_solve.solver.lives import State
from ooc_solve.solver.maxplus import Ints, applied, minimal, pulled_back, through

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


Vectors = dict[Last, Ints]
"""Vectors (columns) by the kernel that they are behind."""


class _Walk:
    """One pass over all stages.

    A vector has the end of the last kernel and Φ of each of the `SETS` on every lane (see `Cases`), then what is
    written where there is a budget (`thrift`). Those of the round have two sets of channels, and where the CPU is a
    lane its Φ instead of the end.
    """

    def __init__(self, round_: Round, limit_ns: int) -> None:
        self.round, self.limit_ns = round_, limit_ns
        self.channels, self.lanes = round_.options.channels, round_.options.credited
        self.images = 0

    def run(self) -> Refined:
        """Walk from the first stage to the last."""
        none = (0,) * self.lanes
        nothing = Last(-1, 0, none, none, 0, self.channels)
        arrived: list[dict[State, dict[Last, list[Ints]]]] = [
            defaultdict(lambda: defaultdict(list)) for _ in range(self.round.stages + 1)
        ]
        for state, vectors in self.round.labels[0].items():
            arrived[0][state][nothing].append(self._widened(vectors))
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

    def _widened(self, vectors: Ints) -> Ints:
        """Vectors of the round before all stages, where no kernel has ended and all sets are alike."""
        n, cpu = self.channels, vectors[:1]
        clocks, written = vectors[1 : 1 + n], vectors[1 + 2 * n :]
        of_cpu = [cpu] * (self.lanes - n)
        return np.concatenate((cpu if self.lanes == n else 0 * cpu, *SETS * [clocks, *of_cpu], written))

    def _of_round(self, vectors: Ints) -> Ints:
        """Vectors as the round has them."""
        n, lanes = self.channels, self.lanes
        end, far, near, _, written = np.split(vectors, (1, 1 + lanes, 1 + 2 * lanes, 1 + SETS * lanes))
        return np.concatenate((end if lanes == n else far[n:], far[:n], near[:n], written))

    def _hopeful(self, matrices: Ints, before: Vectors, end: int, after: State) -> Mask:
        """Which of some options may still be on a path shorter than the limit, by their matrices."""
        rest = self.round.rest[end].get(after)
        if rest is None or not before:
            return np.zeros(matrices.shape[2], bool)
        vectors = minimal(self._of_round(np.hstack(list(before.values()))), MOST_VECTORS)
        return through(pulled_back(matrices, rest), vectors) < self.limit_ns

    def _walked(
        self, fit: Fitting, hopeful: Mask, before: Vectors, arrived: dict[State, dict[Last, list[Ints]]]
    ) -> Mask:
        """Walk through the hopeful options of a batch; which are left."""
        end, after, cases = fit.key[0] + fit.key[3], self.round.lives.after(*fit.key), Cases(self.round, fit)
        left, places, images = np.zeros_like(fit.mask), np.flatnonzero(fit.mask), self.images
        for number in np.flatnonzero(hopeful).tolist():
            self.round.check_time()
            walk = _Option(cases, before)
            found = self._short(walk.through(number), end, after)
            self.images = images + cases.looked_at
            if self.images > MOST_IMAGES:
                raise _TooLongError
            if found.shape[1]:
                left[places[number]] = True
                arrived[after][cases.behind(walk.run, False)].append(found)
        return left

    def _short(self, vectors: Ints, end: int, after: State) -> Ints:
        """Vectors from which the end may be reached before the limit."""
        rest = self.round.rest[end].get(after)
        if rest is None:
            return vectors[:, :0]
        total = (self._of_round(vectors)[:, :, None] + rest[:, None, :]).max(axis=0).min(axis=1)
        return vectors[:, total < self.limit_ns]


def _settled(arrived: dict[Last, list[Ints]]) -> Vectors:
    return {last: minimal(np.hstack(found), MOST_VECTORS) for last, found in arrived.items()}


class _Option:
    """A walk through the kernels of one option, which leaps where what comes again only takes that much longer.

    Images of later vectors are that much later, so once the vectors are those of an earlier time but for a
    delay, and the same tiles may be outstanding, all that came in between comes again with that delay.
    """

    def __init__(self, cases: Cases, before: Vectors) -> None:
        self.cases, self.before = cases, before
        self.vectors = np.zeros((cases.d, 0), np.int64)
        self.run = -1  # of the last kernel
        self.tiles: dict[Tile, int] = {}  # that kernels so far have left, no more of a kind than fit
        self.earlier, self.now = Tiles(), Tiles()  # when the last kernel started, and behind it

    def through(self, number: int) -> Ints:
        """Vectors behind an option of the batch, from those before it."""
        cases = self.cases
        for row, many in cases.batch.loops(number):
            self.repeat(many, partial(self.row, row))
        vectors = cases.entered(self.vectors, self.run)
        stage, options = cases.fit.key[0], cases.batch.options[number : number + 1]
        vectors[: cases.d] += cases.options.toll_ns(stage, options)
        if cases.options.counters:
            vectors[cases.d :] = applied(cases.options.counted(stage, options), vectors[cases.d :])[:, 0]
        return vectors

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
