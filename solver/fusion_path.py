"""The cheapest way through a network, stage by stage, where some operators may be fused.

As in msf-CNN (2025) the boundaries between operators are nodes and stages are edges: one operator,
or several fused ones. An edge is only there where its memory fits beside what is kept. A node also
says where the tensors live that are read behind it; so branches and tensors in storage have paths too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import product

from ooc_solve.models.problem import IoPlace
from ooc_solve.models.vocabulary import Selection
from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.fused import operands
from ooc_solve.solver.options import KEPT, Option, stored_bytes
from ooc_solve.solver.parts import part_bytes
from ooc_solve.solver.selection import Space, whole_transfers

State = tuple[int, ...]
"""Residences of the tensors that are alive at a boundary."""


@dataclass(frozen=True, slots=True)
class _Edge:
    """A stage up to a boundary: its operands, and its options by their residences and that of its output.

    The cheapest options come first.
    """

    end: int
    names: tuple[str, ...]
    options: dict[tuple[State, int], list[Option]]


@dataclass(frozen=True, slots=True)
class _Way:
    """A way to a state: its cost, the way before its last stage, that stage, and which tensors it keeps."""

    cost_ns: int
    before: _Way | None
    option: Option | None
    kept: list[str]


class Paths:
    """All ways through a network; ``allowed`` says which options may begin with an operator."""

    def __init__(self, space: Space, allowed: Callable[[int, Option], bool]) -> None:
        self.space, self.allowed = space, allowed
        self.problem, self.network = space.problem, space.problem.network
        ends = (*self.network.inputs, *self.network.outputs)
        self.pinned = {name for name in ends if self.problem.io is IoPlace.SRAM}
        self.pinned_bytes = sum(map(self._whole_bytes, self.pinned))
        self.whole_ns = {whole.tensor: whole.ns for whole in whole_transfers(self.problem)}
        made = dict.fromkeys(self.network.inputs, 0)
        made |= {op.output: k + 1 for k, op in enumerate(self.network.ops)}
        read = {name: k for k, op in enumerate(self.network.ops) for name in op.inputs}
        count = len(self.network.ops)
        self.alive = [
            tuple(name for name, begin in made.items() if begin <= k <= read.get(name, -1))
            for k in range(count + 1)
        ]
        self.edges = [self._edges(first) for first in range(count)]

    def cheapest(self, arena: int) -> Selection | None:
        """The selection with the least compute and transfer time in sum, None if none fits the arena.

        Tiles count as starting anywhere in their granules, so that most selections can be placed.
        """
        best = self._best(arena)
        return None if best is None else self._selection(best)

    def cost_ns(self, arena: int) -> int | None:
        """Compute and transfer time of the cheapest selection in sum."""
        best = self._best(arena)
        return None if best is None else best.cost_ns

    def _best(self, arena: int) -> _Way | None:
        """The cheapest way from the first boundary to the last."""
        ways: list[dict[State, _Way]] = [{} for _ in self.alive]
        for state in product(*(self.space.residences[name] for name in self.alive[0])):
            kept = [name for name, width in zip(self.alive[0], state, strict=True) if width == KEPT]
            ways[0][state] = _Way(sum(self.whole_ns.get(name, 0) for name in kept), None, None, kept)
        for boundary in range(len(self.network.ops)):
            for state, way in ways[boundary].items():
                keep_time()
                for end, reached, better in self._steps(boundary, state, way, arena):
                    known = ways[end].get(reached)
                    if known is None or better.cost_ns < known.cost_ns:
                        ways[end][reached] = better
        return min(ways[-1].values(), key=lambda way: way.cost_ns, default=None)

    def _edges(self, first: int) -> list[_Edge]:
        """Stages that begin with an operator, with their options by residences."""
        edges: dict[int, _Edge] = {}
        for option in sorted(self.space.options[first], key=_cost_ns):
            if self.allowed(first, option):
                names = operands(self.network, first, option.operators)
                edge = edges.setdefault(option.operators, _Edge(first + option.operators, names, {}))
                edge.options.setdefault((option.inputs, option.output), []).append(option)
        return list(edges.values())

    def _steps(self, boundary: int, state: State, way: _Way, arena: int) -> Iterator[tuple[int, State, _Way]]:
        """Boundaries and states that one stage leads to."""
        places = dict(zip(self.alive[boundary], state, strict=True))
        room = arena - self.pinned_bytes - sum(self._bytes(name, width) for name, width in places.items())
        for edge in self.edges[boundary]:
            inputs, output = tuple(places[name] for name in edge.names), self.network.ops[edge.end - 1].output
            for width in self.space.residences[output]:
                own = self._bytes(output, width)
                fitting = (o for o in edge.options.get((inputs, width), ()) if o.firm_bytes + own <= room)
                option = next(fitting, None)
                if option is not None:
                    cost = way.cost_ns + _cost_ns(option)
                    kept = [output] if width == KEPT else []
                    if kept and output in self.network.outputs:
                        cost += self.whole_ns.get(output, 0)
                    after = {**places, output: width}
                    reached = tuple(after[name] for name in self.alive[edge.end])
                    yield edge.end, reached, _Way(cost, way, option, kept)

    def _selection(self, way: _Way) -> Selection:
        options, kept = [], set(way.kept)
        while way.before is not None and way.option is not None:
            options.append(way.option)
            way = way.before
            kept |= set(way.kept)
        tilings = tuple(tiling for option in reversed(options) for tiling in option.tilings)
        return Selection(tilings, frozenset(kept), self.network.order)

    def _bytes(self, name: str, residence: int) -> int:
        """What is kept of a tensor that is not pinned."""
        if name in self.pinned:
            return 0
        if residence == KEPT:
            return self._whole_bytes(name)
        return part_bytes(self.problem, name, residence)

    def _whole_bytes(self, name: str) -> int:
        return self.problem.buffer_bytes(stored_bytes(self.problem, name))


def _cost_ns(option: Option) -> int:
    return option.compute_ns + option.total_io_ns
