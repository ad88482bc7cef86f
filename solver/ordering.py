"""In which order operators of side by side branches run: orders that need little memory at once.

A prefix of an order is a set of operators that holds all it depends on, so the best way to
reach each such set is found set by set, by size (the dynamic programme of Liberis and Lane,
2019, and of HMCOS, 2022). Their number grows with the width of the graph only; where a level
holds more than `MOST_SETS` of them, the best are kept and the result is no longer proven.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from ooc_solve.models.operator_order import listed
from ooc_solve.models.problem import IoPlace
from ooc_solve.models.vocabulary import Network

MOST_SETS = 512
"""Sets of finished operators of one size that are looked at; of N frames N * N times fewer."""

Order = tuple[int, ...]
"""Positions of operators in the model's list, in the order in which they run."""

Cost = tuple[int, ...]

Way = tuple[Cost, Order, int]
"""How a set of operators is reached: cost, order, and the bytes that are held then."""


@dataclass(frozen=True, slots=True)
class Found:
    """An order, and whether no other is better."""

    order: Order
    proven: bool


@lru_cache(maxsize=64)
def least_peak(network: Network, io: IoPlace) -> Found:
    """The order with the least `peak_bytes`; of several the one that holds the fewest bytes over all steps."""
    graph = _Graph.of(network, io)
    first = graph.search(lambda cost, live, held: (max(cost[0], live),), (0,))
    limit = graph.peak_bytes(first.order)

    def lean(cost: Cost, live: int, held: int) -> Cost:
        return max(cost[0], live, limit), cost[1] + held

    second = graph.search(lean, (limit, 0))
    return Found(second.order, first.proven and second.proven)


def peak_bytes(network: Network, io: IoPlace, order: Order) -> int:
    """Most bytes of activations that are held at once when operators run in an order.

    An activation is held from the operator that makes it to the last that reads it, the
    inputs of the network from the first that reads them. Inputs and outputs that stay in SRAM
    from start to end do not count: no order changes that.
    """
    return _Graph.of(network, io).peak_bytes(order)


@dataclass(frozen=True, slots=True)
class _Graph:
    """Operators as bits: what each needs before it, and what it takes and frees.

    ``makers[t]`` is the operator that makes a tensor (-1: a network input), ``readers[t]`` the
    set of those that read it.
    """

    needs: tuple[int, ...]
    touched: tuple[tuple[int, ...], ...]  # tensors that each operator reads or makes
    size: tuple[int, ...]
    makers: tuple[int, ...]
    readers: tuple[int, ...]
    most_sets: int

    @classmethod
    def of(cls, network: Network, io: IoPlace) -> _Graph:
        ops, names = listed(network).ops, list(network.tensors)
        number = {name: k for k, name in enumerate(names)}
        makers, readers = [-1] * len(names), [0] * len(names)
        for k, op in enumerate(ops):
            makers[number[op.output]] = k
            for name in op.inputs:
                readers[number[name]] |= 1 << k
        needs = [sum({1 << makers[number[n]] for n in op.inputs if makers[number[n]] >= 0}) for op in ops]
        touched = [tuple(sorted({number[n] for n in (*op.inputs, op.output)})) for op in ops]
        pinned = _pinned(network, io)
        size = [0 if name in pinned else network.tensors[name].size_bytes for name in names]
        most = max(1, MOST_SETS // network.frames**2)  # which of equal frames is ahead makes no difference
        return cls(tuple(needs), tuple(touched), tuple(size), tuple(makers), tuple(readers), most)

    def live(self, done: int, op: int, held: int) -> int:
        """Bytes that are held while an operator runs after those in ``done``, when ``held`` were held before."""
        return held + sum(self.size[t] for t in self.touched[op] if not self._there(t, done))

    def _there(self, tensor: int, done: int) -> bool:
        """Whether a tensor is held when the operators in ``done`` have run and one that touches it comes next."""
        maker = self.makers[tensor]
        return bool(done >> maker & 1 if maker >= 0 else self.readers[tensor] & done)

    def left(self, done: int, op: int, live: int) -> int:
        """Bytes that are held behind an operator; ``done`` includes it."""
        return live - sum(self.size[t] for t in self.touched[op] if not self.readers[t] & ~done)

    def peak_bytes(self, order: Order) -> int:
        """Most bytes that are live at once."""
        done = peak = held = 0
        for op in order:
            live = self.live(done, op, held)
            done |= 1 << op
            peak, held = max(peak, live), self.left(done, op, live)
        return peak

    def search(self, step: Callable[[Cost, int, int], Cost], start: Cost) -> Found:
        """The cheapest order; ``step`` gives the cost behind an operator from that before it.

        It gets the bytes that are held while the operator runs, and those held behind it. Ties
        go to the order that keeps to the model's list for longer.
        """
        level: dict[int, Way] = {0: (start, (), 0)}
        proven = True
        for _ in self.needs:
            if len(level) > self.most_sets:
                level, proven = dict(sorted(level.items(), key=lambda item: item[1])[: self.most_sets]), False
            level = self._next_level(level, step)
        return Found(level.popitem()[1][1], proven)

    def _next_level(self, level: dict[int, Way], step: Callable[[Cost, int, int], Cost]) -> dict[int, Way]:
        """The best way to every set with one operator more."""
        found: dict[int, Way] = {}
        for done, (cost, order, held) in level.items():
            for op, needs in enumerate(self.needs):
                if done >> op & 1 or needs & ~done:
                    continue
                reached, live = done | 1 << op, self.live(done, op, held)
                left = self.left(reached, op, live)
                way = step(cost, live, left), (*order, op), left
                if reached not in found or way < found[reached]:
                    found[reached] = way
        return found


def _pinned(network: Network, io: IoPlace) -> set[str]:
    """Tensors that are in SRAM for the whole run."""
    return {*network.inputs, *network.outputs} if io is IoPlace.SRAM else set()
