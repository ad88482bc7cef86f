"""In which order operators may start so that the CPU and an NPU work at once.

Operators are listed as for processors of several kinds (Topcuoglu, Hariri, Wu: HEFT, 2002): the one with the longest
way to the end first, on the unit where it ends first. They start in the order of this schedule; which
unit computes which is chosen anew, as any option is.
"""

from __future__ import annotations

from functools import lru_cache

from ooc_solve.models.cost import compute_ns
from ooc_solve.models.npu import offered, whole_tiling
from ooc_solve.models.operator_order import listed
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import Network, Op, Target, Tiling
from ooc_solve.solver.units import meetings_of


def unit_order(target: Target, network: Network) -> tuple[int, ...] | None:
    """Positions in the model's list in the order in which operators start; None where units never work at once."""
    base = listed(network)
    return None if meetings_of(target, base).apart else _unit_order(target, base)


@lru_cache(maxsize=64)
def _unit_order(target: Target, network: Network) -> tuple[int, ...]:
    ops, able = network.ops, offered(target, network)
    times = [_times_ns(target, network, op, op.name in able) for op in ops]
    maker = {op.output: stage for stage, op in enumerate(ops)}
    needs = [sorted({maker[name] for name in op.inputs if name in maker}) for op in ops]
    way = [min(own) for own in times]
    for stage in reversed(range(len(ops))):
        for before in needs[stage]:
            way[before] = max(way[before], min(times[before]) + way[stage])
    free, start, end = [0, 0], [0] * len(ops), [0] * len(ops)
    for stage in sorted(range(len(ops)), key=lambda s: (-way[s], s)):
        ready = max((end[before] for before in needs[stage]), default=0)
        ends = [max(ready, at) + own for at, own in zip(free, times[stage], strict=False)]
        unit = ends.index(min(ends))
        free[unit] = end[stage] = ends[unit]
        start[stage] = ends[unit] - times[stage][unit]
    return tuple(sorted(range(len(ops)), key=lambda s: (start[s], -way[s], s)))


def _times_ns(target: Target, network: Network, op: Op, able: bool) -> list[int]:
    """What an operator takes in one piece on the CPU, and on the NPU if it can be there; at least 1 ns."""
    there = whole_tiling(network, op)
    here = Tiling(there.rows, there.columns, there.channels, there.split)
    works = [StageGeometry.of(network, op, way).tile_work((0, 0, 0, 0)) for way in (here, there)[: 1 + able]]
    return [max(1, compute_ns(target, work)) for work in works]
