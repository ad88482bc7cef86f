"""Resize by weights: linear and cubic modes of any size.

Where a linear mode enlarges height and width by whole factors, one transposed convolution does it. Else every
output position is a sum of neighbours with weights of its own, axis by axis: each neighbour is a nearest Resize,
its weights are constants along the axis.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models import onnx_moves as moves
from ooc_solve.models import onnx_operators as operators
from ooc_solve.models.layout import View
from ooc_solve.models.onnx_composites import Parts
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_operands import Operands
from ooc_solve.models.onnx_values import Constant, QuantizedConstant
from ooc_solve.models.resampling import Neighbour, linear_taps, neighbours
from ooc_solve.models.vocabulary import UNLIMITED, OpKind


@dataclass(frozen=True, slots=True)
class Resizing:
    """What becomes of a tensor: its new shape, and how positions and weights are found.

    ``scales`` has the factor of each axis, None where it is the ratio of the sizes; ``coefficient`` is that of a
    cubic mode, None for a linear one.
    """

    sizes: tuple[int, ...]
    scales: tuple[np.float32 | None, ...]
    transformation: str
    coefficient: float | None

    def is_by_whole_factors(self, shape: tuple[int, ...]) -> bool:
        """Whether a transposed convolution of height and width does it."""
        if len(shape) != 4 or self.sizes[:2] != shape[:2] or self.coefficient is not None:
            return False
        ends = zip(shape[2:], self.sizes[2:], strict=True)
        return all(linear_taps(*sizes, self.transformation) is not None for sizes in ends)


def by_whole_factors(parts: Parts, resizing: Resizing) -> None:
    """Resize rows and columns by a whole factor, weights by distance.

    The neighbours of the edges are the edges; a transposed depthwise convolution spreads every pixel.
    """
    shape, x = parts.shape(), parts.node.inputs[0]
    ends = zip(shape[2:], resizing.sizes[2:], strict=True)
    high, wide = (linear_taps(*sizes, resizing.transformation) for sizes in ends)
    assert high is not None
    assert wide is not None
    kernel = np.tile(np.outer(high.weights, wide.weights), (shape[1], 1, 1, 1))
    weights = parts.constant(_in_parts(kernel, high.parts * wide.parts))
    begin, end = zip(high.edges, wide.edges, strict=True)
    wider = parts.add("Pad", x, parts.integers(0, 0, *begin, 0, 0, *end), mode="edge")
    parts.add(
        "ConvTranspose", wider, weights,
        strides=[high.factor, wide.factor], group=shape[1],
        pads=[high.before, wide.before, high.after, wide.after],
    )  # fmt: skip


def _in_parts(numbers: NDArray[np.int64], parts: int) -> Constant | QuantizedConstant:
    """Numbers of so many parts of 1: as bytes, if they fit."""
    if numbers.max() > np.iinfo(np.int8).max:
        return Constant((numbers / parts).astype(np.float32))
    scale = np.array([1 / parts], np.float32)
    return QuantizedConstant(numbers.astype(np.int8), scale, np.zeros(1, np.int8), 0)


def by_weights(given: Operands, node: Node, source: View, resizing: Resizing) -> View:
    """Resize a float32 tensor axis by axis."""
    for axis, count in enumerate(resizing.sizes):
        size, scale = source.shape[axis], resizing.scales[axis]
        if size == 1:
            found: tuple[Neighbour, ...] = (Neighbour(np.zeros(count, np.int64), np.ones(count, np.float32)),)
        else:
            found = neighbours(size, count, scale, resizing.transformation, resizing.coefficient)
        if len(found) > 1 or not np.array_equal(found[0].positions, np.arange(size)):
            source = _along(given, node, source, axis, found)
    return source


def _along(given: Operands, node: Node, source: View, axis: int, found: tuple[Neighbour, ...]) -> View:
    """Resize along one axis."""
    total: View | None = None
    for neighbour in found:
        part = _weighted(given, node, source, axis, neighbour)
        total = part if total is None else _combined(given, node, OpKind.ADD, total, part)
    assert total is not None
    return total


def _weighted(given: Operands, node: Node, source: View, axis: int, neighbour: Neighbour) -> View:
    """One neighbour of every position, times its weight."""
    count, name = neighbour.positions.size, node.outputs[0]
    shape = [count if place == axis else size for place, size in enumerate(source.shape)]
    steps = moves.rational_steps(node, neighbour.positions, source.shape[axis])
    moved = moves.moved(given.draft, node, source, {axis: steps}, shape, name, edges=True)
    if (neighbour.weights == 1).all():
        return moved
    along = neighbour.weights.reshape([-1 if place == axis else 1 for place in range(len(shape))])
    weights = moves.constant(given.draft, node, source.tensor, along, None)
    return _combined(given, node, OpKind.MULTIPLY, moved, weights)


def _combined(given: Operands, node: Node, kind: OpKind, one: View, other: View) -> View:
    pending = operators.combination(given.draft, node, kind, one, other)
    return replace(one, tensor=pending.emit(None, UNLIMITED, node.outputs[0]), index=pending.index)
