"""The kernels of a fused stage in their order: what each computes, loads, needs and leaves to be stored.

The figures are those of the tasks that `expansion` makes of the stage, as arrays and without task
graph. What fetched activations cost depends on who asks: the simulation knows how they were laid
out (`profiles`), the relaxation takes the least (`steps`); so the caller prices them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np

from ooc_solve.models.cost import align_up, check_ns, compute_ns
from ooc_solve.models.patches import buffer_elements
from ooc_solve.models.problem import Problem
from ooc_solve.models.sealing import trailer_bytes
from ooc_solve.models.tiling import StageGeometry, cut_range
from ooc_solve.models.vocabulary import OpKind, Tensor
from ooc_solve.solver.maxplus import Ints
from ooc_solve.solver.options import KEPT, Option

Span = tuple[int, int]
Pricer = Callable[[int, Tensor, Span, Span], int]
"""Buffer bytes of rows and columns of operand ``k``, a tensor whose channels are in one plane."""


@dataclass(frozen=True, slots=True)
class Fetch:
    """A load of an operand (`WEIGHTS` for a weight record) right before a kernel."""

    kernel: int
    operand: int
    place: int  # of the operator in its stage
    rows: Span  # of an activation
    columns: Span
    size: int  # of a weight record, with its checksum


WEIGHTS = -1


@dataclass(slots=True)
class Patchwork:
    """Kernels of a fused stage; ``starts`` are the kernels with which patches begin.

    ``compute_ns`` includes checking the records that a kernel is the first to wait for.
    ``change`` has an entry more than there are kernels: bytes that come into use and go.
    ``stored`` says which tile ``(rows, columns, channels)`` a kernel leaves to be stored, and its
    first row.
    """

    problem: Problem
    layers: list[StageGeometry]
    option: Option
    price: Pricer
    compute_ns: Ints = field(init=False)
    change: Ints = field(init=False)
    fetches: list[Fetch] = field(init=False, default_factory=list)
    stored: list[tuple[int, tuple[int, int, int], int]] = field(init=False, default_factory=list)
    starts: list[int] = field(init=False, default_factory=list)
    released: list[int] = field(init=False, default_factory=list)  # per operand: kernels that may read it
    firsts: list[int] = field(init=False, default_factory=list)  # first kernel of each operator

    def __post_init__(self) -> None:
        order = list(self._order())
        shapes = [(n, self.layers[n].output_box((*tile, 0)).shape) for n, tile in order]
        times = {kind: self._kernel_ns(*kind) for kind in set(shapes)}
        self.compute_ns = np.array([times[kind] for kind in shapes], np.int64)
        self.change = np.zeros(len(order) + 1, np.int64)
        at: list[dict[tuple[int, int], list[int]]] = [
            {} for _ in self.layers
        ]  # kernels by operator and patch
        for kernel, (n, tile) in enumerate(order):
            at[n].setdefault(tile[:2], []).append(kernel)
        self.firsts = [min(kernels)[0] for kernels in (list(by.values()) for by in at)]
        self.starts = sorted({min(by[tile][0] for by in at if tile in by) for tile in at[-1]})
        for n, by_patch in enumerate(at):
            self._weights(n, by_patch)
            self._patches(n, at)
        for operand, (n, k, residence) in enumerate(self.outer()):
            self.released.append(1 + max(kernels[-1] for kernels in at[n].values()))
            if residence != KEPT:
                self._input(operand, n, k, at[n])
        if self.option.output != KEPT:
            self._stores(at[-1])
        self.fetches.sort(key=lambda fetch: fetch.kernel)

    @property
    def kernels(self) -> int:
        """How many there are."""
        return len(self.compute_ns)

    @property
    def need_bytes(self) -> Ints:
        """Bytes of tiles, patches and records during each kernel."""
        found: Ints = np.cumsum(self.change)[:-1]
        return found

    def outer(self) -> Iterator[tuple[int, int, int]]:
        """Operator, its operand and residence, for each tensor that is made outside of the stage."""
        inner = {layer.output.name for layer in self.layers[:-1]}
        residences = iter(self.option.inputs)
        for n, layer in enumerate(self.layers):
            for k, name in enumerate(layer.op.inputs):
                if name not in inner:
                    yield n, k, next(residences)

    def _order(self) -> Iterator[tuple[int, tuple[int, int, int]]]:
        """Operator and tile of each kernel."""
        rows, columns, _, _ = self.layers[-1].grid
        filled = [_filled(layer) for layer in self.layers]
        for row in range(rows):
            for column in range(columns):
                for n, layer in enumerate(self.layers):
                    if filled[n][0][row] and filled[n][1][column]:
                        for group in range(layer.grid[2]):
                            yield n, (row, column, group)

    def _kernel_ns(self, n: int, shape: tuple[int, int, int]) -> int:
        layer = self.layers[n]
        depth = layer.split_range if layer.op.kind is OpKind.CONV else 1
        return compute_ns(self.problem.target, layer.work(*shape, depth))

    def _occupy(self, first: int, last: int, room: int) -> None:
        """Bytes in use from one kernel to another, that one included."""
        self.change[first] += room
        self.change[last + 1] -= room

    def _weights(self, n: int, by_patch: dict[tuple[int, int], list[int]]) -> None:
        layer = self.layers[n]
        if layer.op.weights is None:
            return
        granule = self.problem.granule_bytes(layer.tiling.weights_in)
        patches = list(by_patch.values())
        for key, groups in _records(layer).items():
            size = align_up(
                layer.weight_bytes((0, 0, key[0], 0)) + trailer_bytes(self.problem.target), granule
            )
            room, check = self.problem.buffer_bytes(size), check_ns(self.problem.target, size)
            uses = [[kernels[g] for g in groups] for kernels in patches]
            lives = (
                [(uses[0][0], uses[-1][-1])] if layer.tiling.hold_weights else [(u[0], u[-1]) for u in uses]
            )
            for first, last in lives:
                self._occupy(first, last, room)
                self.compute_ns[first] += check
                self.fetches.append(Fetch(first, WEIGHTS, n, (0, 0), (0, 0), size))

    def _patches(self, n: int, at: list[dict[tuple[int, int], list[int]]]) -> None:
        """Buffers of the patches that an operator makes, until the last operator that reads them."""
        layer, patch = self.layers[n], self.layers[n].tiling.patch
        if patch is None:
            return
        readers = [k for k, other in enumerate(self.layers) if layer.output.name in other.op.inputs]
        element = layer.output.dtype.size_bytes
        lives = {
            tile: (kernels[0], max(at[k][tile][-1] for k in readers if tile in at[k]))
            for tile, kernels in at[n].items()
            if any(tile in at[k] for k in readers)
        }
        if patch.ring_rows:
            last = max(kernel for k in readers for kernels in at[k].values() for kernel in kernels)
            lives = {(0, 0): (min(kernels[0] for kernels in at[n].values()), last)}
        for tile, (first, end) in lives.items():
            room = self.problem.buffer_bytes(buffer_elements(patch, layer.output, tile) * element)
            self._occupy(first, end, room)

    def _input(self, operand: int, n: int, k: int, by_patch: dict[tuple[int, int], list[int]]) -> None:
        """Boxes of a spilled tensor; one that is wanted again at once stays."""
        layer, tensor = self.layers[n], self.layers[n].inputs[k]
        lives: list[tuple[int, int, tuple[Span, Span]]] = []
        for tile, kernels in by_patch.items():
            box = layer.input_box(k, (*tile, 0, 0))
            now = box.rows, box.columns
            if lives and lives[-1][2] == now:
                lives[-1] = lives[-1][0], kernels[-1], now
            else:
                lives.append((kernels[0], kernels[-1], now))
        for first, last, (rows, columns) in lives:
            self.fetches.append(Fetch(first, operand, n, rows, columns, 0))
            self._occupy(first, last, self.price(operand, tensor, rows, columns))

    def _stores(self, by_patch: dict[tuple[int, int], list[int]]) -> None:
        layer = self.layers[-1]
        for tile, kernels in by_patch.items():
            for group, kernel in enumerate(kernels):
                box = layer.output_box((*tile, group, 0))
                self.stored.append((kernel, box.shape, box.rows[0]))


def _filled(layer: StageGeometry) -> tuple[list[bool], list[bool]]:
    """Which rows and columns of patches an operator computes anything for."""
    rows, columns, _, _ = layer.grid
    patch, out = layer.tiling.patch, layer.output
    if patch is None:
        return [True] * rows, [True] * columns
    high = (cut_range(i, patch.rows, out.height) for i in range(rows))
    wide = (cut_range(j, patch.columns, out.width) for j in range(columns))
    return [a < b for a, b in high], [a < b for a, b in wide]


def _records(layer: StageGeometry) -> dict[tuple[int, int], list[int]]:
    """Groups that use each weight record."""
    found: dict[tuple[int, int], list[int]] = {}
    for group in range(layer.grid[2]):
        found.setdefault(layer.weight_key((0, 0, group, 0)), []).append(group)
    return found
