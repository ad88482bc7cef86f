"""What the relaxation tells the beam search: how good a partial selection can still become.

The relaxation (see `relaxation`) has a matrix for each option, and for each residence of the tensors
functions that bound what follows from below. The search carries a vector of the relaxation along with
each of its simulated plans; the larger of vector and simulation, entry by entry, goes into the functions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ooc_solve.solver.lives import State
from ooc_solve.solver.maxplus import NEVER, Ints, minimal, pulled_back
from ooc_solve.solver.options import Option
from ooc_solve.solver.relaxation import Round

FUNCTIONS = 24
"""Functions that are kept for each residence of the tensors."""

Numbers = Sequence[Sequence[int]]
"""Numbers of the options of each stage."""


Way = tuple[tuple[int, State], Ints, Ints]
"""Boundary and state behind some options of a stage, their numbers and their matrices."""


class Guide:
    """Matrices of the options of one space that are left in a round, and functions of what follows."""

    def __init__(self, round_: Round, options: Sequence[Sequence[Option]]) -> None:
        self.lives, self.dimensions = round_.lives, round_.options.dimensions
        self.channels = round_.options.channels
        self.start = round_.options.start
        numbers = [{option: n for n, option in enumerate(own)} for own in options]
        self.behind: list[dict[State, list[Way]]] = []
        for stage, batches in enumerate(round_.matrices):
            here: dict[State, list[Way]] = defaultdict(list)
            known = round_.options.options[stage]
            for key, mask, matrices in batches:
                batch = round_.options.batch(*key)
                chosen = [known[o] for o, there in zip(batch.options, mask, strict=True) if there]
                own = np.array([numbers[stage].get(option, -1) for option in chosen], np.int64)
                after = stage + key[3], self.lives.after(*key)
                here[key[1]].append((after, own[own >= 0], matrices[:, :, own >= 0]))
            self.behind.append(dict(here))
        self._tables: dict[tuple[int, State], tuple[Ints, Ints]] = {}
        self.functions = self.backwards(None)

    def backwards(self, allowed: Numbers | None) -> list[dict[State, Ints]]:
        """Functions ``(d, n)`` of what follows each stage in each state, by the options allowed (None: all)."""
        found: list[dict[State, Ints]] = [{} for _ in range(len(self.behind) + 1)]
        ways = (way for here in self.behind for batches in here.values() for way in batches)
        ends = {state for (end, state), _, _ in ways if end == len(self.behind)}
        found[-1] = {state: np.zeros((self.dimensions, 1), np.int64) for state in ends}
        for stage in reversed(range(len(self.behind))):
            few = None if allowed is None else np.asarray(allowed[stage])
            for state, batches in self.behind[stage].items():
                parts = []
                for after, numbers, matrices in batches:
                    rest = found[after[0]].get(after[1])
                    if rest is None:
                        continue
                    if few is not None:
                        matrices = matrices[:, :, np.isin(numbers, few)]
                    if matrices.shape[2]:
                        parts.append(pulled_back(matrices, rest).reshape(self.dimensions, -1))
                if parts:
                    found[stage][state] = minimal(np.concatenate(parts, axis=1), FUNCTIONS)
        return found

    def survivors(self) -> list[list[int]]:
        """Numbers of the options of each stage that are left."""
        return [
            sorted({int(n) for batches in here.values() for _, numbers, _ in batches for n in numbers})
            for here in self.behind
        ]

    def matrices(self, stage: int, state: State, options: Sequence[int]) -> Ints:
        """Matrices ``(d, d, n)`` of some options in one state; `NEVER` all over where one is ruled out."""
        key = stage, state
        if key not in self._tables:
            batches = self.behind[stage].get(state, [])
            size = 1 + max((int(numbers.max()) for _, numbers, _ in batches if len(numbers)), default=-1)
            where = np.full(size + 1, -1, np.int64)
            parts, count = [], 0
            for _, numbers, matrices in batches:
                where[numbers] = np.arange(count, count + len(numbers))
                count += len(numbers)
                parts.append(matrices)
            d = self.dimensions
            parts.append(np.full((d, d, 1), NEVER, np.int64))
            where[where < 0] = count
            self._tables[key] = where, np.concatenate(parts, axis=2)
        where, table = self._tables[key]
        found: Ints = table[:, :, where[np.minimum(options, len(where) - 1)]]
        return found


def least_ns(functions: Ints, vectors: Ints) -> NDArray[np.float64]:
    """Least value of any of the functions ``(d, q)`` for each vector ``(d, n)``."""
    total = functions[0, :, None] + vectors[0]
    for i in range(1, len(vectors)):
        np.maximum(total, functions[i, :, None] + vectors[i], out=total)
    found: NDArray[np.float64] = total.min(axis=0).astype(float)
    return found


def carried(matrices: Ints, vectors: Ints) -> Ints:
    """Each vector ``(d, n)`` under its own matrix ``(d, d, n)``."""
    found: Ints = (matrices + vectors[None]).max(axis=1)
    return found
