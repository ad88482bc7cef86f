"""Where an NPU may work beside the CPU, and what the relaxation knows of that.

Kernels start in the order of the graph, and wait for all that makes what their operator reads (`models.units`); so
when an operator begins, those it depends on have ended, as they have where there is one unit only.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.npu import offered
from ooc_solve.models.vocabulary import Network, Target
from ooc_solve.solver.maxplus import NEVER, Ints, identity, times


@dataclass(frozen=True, slots=True)
class Meetings:
    """What is certain about the operators of a network in its order, whichever unit computes which.

    ``joins``: all operators before it have ended when it begins. ``parts``: all behind it begin when it has ended.
    ``follows``: at least the last one before it that joins has ended. An operator that does both runs alone, any other one may run beside one of the other unit: it is `loose`.
    """

    joins: tuple[bool, ...]
    parts: tuple[bool, ...]
    follows: tuple[bool, ...]

    def loose(self, stage: int, operators: int = 1) -> bool:
        """Whether some of consecutive operators may run beside others."""
        span = slice(stage, stage + operators)
        return not (all(self.joins[span]) and all(self.parts[span]))

    @property
    def apart(self) -> bool:
        """Whether no operator may ever run beside another."""
        return all(self.joins) and all(self.parts)


def meetings_of(target: Target, network: Network) -> Meetings:
    """Where the units of a target meet in a network; without an NPU they always do."""
    able = offered(target, network)
    if not able:
        return Meetings(*((True,) * len(network.ops) for _ in range(3)))
    return _meetings(network, able)


@lru_cache(maxsize=64)
def _meetings(network: Network, able: frozenset[str]) -> Meetings:
    maker = {op.output: stage for stage, op in enumerate(network.ops)}
    before: list[set[int]] = []  # operators that have ended for sure when this one begins
    for op in network.ops:
        own: set[int] = set()
        for name in op.inputs:
            if name in maker:
                own |= {maker[name]} | before[maker[name]]
        before.append(own)
    here = [op.name in able for op in network.ops]

    def ordered(first: int, later: int) -> bool:
        """Whether an operator has ended when a later one begins, by data or because both run on the CPU."""
        return first in before[later] or not (here[first] or here[later])

    stages = range(len(network.ops))
    joins = tuple(all(ordered(first, later) for first in range(later)) for later in stages)
    parts = tuple(all(ordered(first, later) for later in range(first + 1, len(stages))) for first in stages)
    last = [max((k for k in range(stage) if joins[k]), default=0) for stage in stages]
    return Meetings(joins, parts, tuple(stage > 0 and ordered(last[stage], stage) for stage in stages))


@dataclass(frozen=True, slots=True, eq=False)
class Work:
    """What the options of a stage are for the relaxation beside their matrices, one entry per option.

    ``npu``: whether the NPU does it, and ``npu_ns``: how long that takes. ``last_ns``: of the last kernel. ``moved_ns`` (``(channels, options)``):
    all transfers. ``entry_ns``: of the next stage's loads by channel, at most.
    """

    npu: NDArray[np.bool_]
    npu_ns: Ints
    last_ns: Ints
    moved_ns: Ints
    entry_ns: Ints


def by_units(matrices: Ints, meetings: Meetings, stage: int, operators: int, work: Work) -> Ints:
    """Matrices of the options of a stage with two entries more: N, the time before which no kernel of the NPU starts,
    and J, before which the last operator that joins has not ended.

    ``matrices`` have E, the time before which no kernel of the CPU starts, and what they say of channels, as if all
    kernels were in one chain; of what is loose they hold for the CPU only (FORMULATION.md, "Two units").
    """
    d, n = matrices.shape[0], matrices.shape[2]
    if d > 1 and not meetings.loose(stage, operators):
        both = np.array([*range(d), 0, 0])  # nothing runs beside: N and J are E
        same: Ints = matrices[both][:, both]
        return same
    found = identity(d + 2, n)
    found[:d, :d] = matrices
    npu = np.flatnonzero(work.npu)
    if d == 1:  # the CPU moves the bytes, at any time: all that is known are sums
        found[0, 0] -= work.npu_ns
        found[d, d] = work.npu_ns
        return found
    found[d, :d] = matrices[0] - work.last_ns  # no kernel starts before this one
    found[:, :, npu] = _beside(work, npu)
    span = range(stage, stage + operators)
    joins, parts = all(meetings.joins[k] for k in span), all(meetings.parts[k] for k in span)
    before, behind = identity(d + 2, n), identity(d + 2, n)
    if meetings.follows[stage]:
        before[0, d + 1] = before[d, d + 1] = 0
    if joins:
        before[0, d] = before[d, 0] = 0
    on_cpu, on_npu = np.where(work.npu, NEVER, 0), np.where(work.npu, 0, NEVER)
    if joins:
        behind[d + 1, 0], behind[d + 1, d] = on_cpu, on_npu
    if parts:
        behind[d, 0], behind[0, d] = on_cpu, on_npu
    return times(behind, times(found, before))


def _beside(work: Work, options: Ints) -> Ints:
    """Matrices of options on the NPU that leave the CPU to others; what they load and store comes due."""
    channels = len(work.moved_ns)
    d = 2 * channels + 1
    found = identity(d + 2, len(options))
    found[d, d] = work.npu_ns[options]
    found[0, d] = 0  # later kernels of the CPU do not start before it
    for c in range(channels):
        found[1 + c, 1 + c] = work.moved_ns[c, options]
        found[1 + channels + c, 1 + channels + c] = NEVER
        found[1 + channels + c, 0] = -work.entry_ns[c]
    return found
