"""Bounds case by case: which option does an operator, one after the other.

What may be loaded ahead or stored late is over-estimated in `relaxation` over all options that are left, so a path
through them looks shorter than it would if they were all there is. Every plan does each operator by one option:
where a makespan is refuted for each option that an operator may have, nothing else being left of that operator, it
is refuted. FORMULATION.md has the proof.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np

from ooc_solve.solver.variants import Alive, Options


class Sweep(Protocol):
    """Leaves of some options those that a plan shorter than a limit can be made of."""

    def __call__(self, options: Options, alive: Alive, limit_ns: int) -> Alive:
        """Nothing is left where there is no such plan."""


def refuted(sweep: Sweep, options: Options, alive: Alive, limit_ns: int) -> bool:
    """Whether no plan made of some options is shorter than a limit; False as soon as one path cannot be refuted."""
    left = sweep(options, alive, limit_ns)
    if not left:
        return True
    parts = branches(options, left)
    return bool(parts) and all(refuted(sweep, options, part, limit_ns) for part in parts)


def branches(options: Options, alive: Alive) -> list[Alive]:
    """What is left for each option of the first operator that has more than one; empty where none has.

    Every selection made of what is left is made of what one of them leaves.
    """
    for operator in range(len(options.steps)):
        doing = {
            (key[0], number)
            for key, mask in alive.items()
            if key[0] <= operator < key[0] + key[3]
            for number, there in zip(options.batch(*key).options, mask, strict=True)
            if there
        }
        if len(doing) > 1:
            return [_with(options, alive, operator, *option) for option in sorted(doing)]
    return []


def _with(options: Options, alive: Alive, operator: int, stage: int, number: int) -> Alive:
    """What is left if an operator is done by one option, which begins with some stage."""
    found: Alive = {}
    for key, mask in alive.items():
        if key[0] <= operator < key[0] + key[3]:
            mask = mask & (np.array(options.batch(*key).options) == number) & (key[0] == stage)
        if mask.any():
            found[key] = mask
    return found
