"""What makes the patches of fused stages overlap: the kernels, and the same network with smaller ones.

A patch needs of a stage's first tensor more rows than it covers: every kernel of ``k`` rows, dilation ``d``,
adds ``d (k - 1)`` times the product of the strides before it (the arithmetic of receptive fields). What
overlaps is computed again for each patch, or kept in SRAM. MCUNetV2 (Lin et al., 2021) moves receptive field
from such stages to later ones: `redistributed` makes kernels behind them larger until an output sees as many rows
as before. How well such a network works only training it tells.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np

from ooc_solve.models.operator_order import listed, ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import Network, Op, OpKind, Plan, Window

KERNELS = (OpKind.CONV, OpKind.DEPTHWISE)


@dataclass(frozen=True, slots=True)
class Halo:
    """What one kernel of a fused stage adds to the overlap.

    ``rows``: rows of the stage's first tensor beyond those a patch covers, that of this kernel only.
    ``again``: how much more its operator computes because patches overlap, as a share.
    """

    stage: int
    op: str
    kernel: tuple[int, int]
    rows: int
    again: float


def halos(problem: Problem, plan: Plan) -> tuple[Halo, ...]:
    """The kernels of the plan's fused stages that make patches overlap, the worst first."""
    network = ordered(problem, plan.selection.order).network
    found = []
    for stage, span in enumerate(plan.selection.stages):
        if len(span) > 1:
            first = network.tensors[network.ops[span[0]].inputs[0]].height
            found += [
                Halo(stage, op.name, op.window.kernel, rows, _again(network, plan, k))
                for k in span
                if (rows := _rows(network, op := network.ops[k], first)) > 0
            ]
    return tuple(sorted(found, key=lambda halo: -halo.rows))


def _rows(network: Network, op: Op, first_height: int) -> int:
    stride = max(1, first_height // network.tensors[op.inputs[0]].height)
    return (op.window.reach[0] - 1) * stride


def _again(network: Network, plan: Plan, k: int) -> float:
    """How many more elements of an operator's output are computed than there are, as a share."""
    op = network.ops[k]
    geometry = StageGeometry.of(network, op, plan.selection.tilings[k])
    tiles = {task.tile for task in plan.graph.compute_tasks if task.stage == k}
    computed = sum(geometry.output_box(geometry.index(tile)).elements for tile in tiles)
    computed //= geometry.grid[3]  # partial sums over input channels are no repetition
    return computed / network.tensors[op.output].elements - 1


def cut_kernels(problem: Problem) -> tuple[str, ...]:
    """Kernels of operators that do not fit the arena whole, the largest first: where patches may help."""
    network = problem.network

    def size(op: Op) -> int:
        return sum(network.tensors[name].size_bytes for name in (*op.inputs, op.output))

    found = [op for op in network.ops if shrunk_op(network, op) and size(op) > problem.arena_bytes]
    return tuple(op.name for op in sorted(found, key=size, reverse=True))


def receptive_rows(network: Network) -> int:
    """Rows of an input that one row of an output sees, padding counted.

    Windows as high as their input (global pooling, a classifier) and PERMUTE see everything and are left out.
    """
    seen = {name: (Fraction(1), Fraction(1)) for name in network.inputs}
    for op in network.ops:
        seen[op.output] = max(_seen(network, op, k, seen[name]) for k, name in enumerate(op.inputs))
    return max(int(seen[name][0]) for name in network.outputs)


def _seen(
    network: Network, op: Op, operand: int, source: tuple[Fraction, Fraction]
) -> tuple[Fraction, Fraction]:
    """Rows that one row of the output sees, and how far apart neighbours see, from those of an input."""
    height = network.tensors[op.inputs[operand]].height
    if op.needs_whole_tensors or op.kind is OpKind.MATMUL or op.window.reach[0] >= height:
        return source
    rows, pitch = source
    reading = op.reading(operand, 0)
    return rows + pitch * Fraction(reading.extra, reading.period), pitch * Fraction(
        reading.step, reading.period
    )


def redistributed(
    network: Network, names: Iterable[str], later: Iterable[str]
) -> tuple[Network, tuple[str, ...]] | None:
    """The network with smaller kernels ``names``, and larger ones among ``later`` that make up for them.

    Of the kernels that can grow, the one that adds the fewest multiply-accumulates per row of receptive field
    does, until as many rows are seen as before. Also the names of those; None where that cannot be reached.
    """
    made, base, grown = shrunk(network, names), listed(network), list[str]()
    wanted = receptive_rows(base)
    while made is not None and receptive_rows(made) < wanted:
        name = _cheapest(made, later)
        if name is None:
            return None
        made = _with_op(made, grown_op(made, _named(made, name)), f"{name} grown")
        grown.append(name)
    return None if made is None or not grown else (made, tuple(dict.fromkeys(grown)))


def _cheapest(network: Network, names: Iterable[str]) -> str | None:
    """Which kernel adds the fewest multiply-accumulates per row that an output sees, None if no row can be had."""
    rows, found = receptive_rows(network), list[tuple[Fraction, str]]()
    for name in names:
        larger = grown_op(network, _named(network, name))
        if larger is None:
            continue
        changed = _with_op(network, larger, "")
        more, gained = (
            changed.macs(larger) - network.macs(_named(network, name)),
            receptive_rows(changed) - rows,
        )
        if gained > 0:
            found.append((Fraction(more, gained), name))
    return min(found)[1] if found else None


def _named(network: Network, name: str) -> Op:
    return next(op for op in network.ops if op.name == name)


def _with_op(network: Network, changed: Op | None, words: str) -> Network:
    assert changed is not None
    ops = tuple(changed if op.name == changed.name else op for op in network.ops)
    digest = hashlib.sha256(f"{network.digest} {words}".encode()).hexdigest()
    return replace(network, ops=ops, digest=digest)


def grown_op(network: Network, op: Op) -> Op | None:
    """The operator with a kernel two rows and two columns larger, None where that is larger than its input.

    The new weights are zeros, the output is as large as before.
    """
    window, weights = op.window, op.weights
    if op.kind not in KERNELS or weights is None or window.transposed:
        return None
    rows, columns = window.dilation
    top, left, bottom, right = window.pads
    made = Window(
        (window.kernel[0] + 2, window.kernel[1] + 2),
        window.stride,
        window.dilation,
        (top + rows, left + columns, bottom + rows, right + columns),
    )
    source = network.tensors[op.inputs[0]]
    if made.reach[0] > source.height or made.reach[1] > source.width:
        return None
    around = ((1, 1), (1, 1), (0, 0))
    wide = np.pad(weights, around if op.kind is OpKind.DEPTHWISE else ((0, 0), *around))
    return replace(op, window=made, weights=wide)


def shrunk(network: Network, names: Iterable[str]) -> Network | None:
    """The network with the kernels of these operators one step smaller (5x5 to 3x3, 3x3 to 1x1).

    Tensors keep their shapes and kernels their middle; None if one of them cannot be made smaller.
    """
    base, wanted, ops = listed(network), set(names), []
    for op in base.ops:
        made = shrunk_op(base, op) if op.name in wanted else op
        if made is None:
            return None
        ops.append(made)
    digest = hashlib.sha256(f"{base.digest} shrunk {sorted(wanted)}".encode()).hexdigest()
    return replace(base, ops=tuple(ops), digest=digest)


def shrunk_op(network: Network, op: Op) -> Op | None:
    """The operator with a kernel two rows and two columns smaller, None if that changes its output."""
    window, weights = op.window, op.weights
    high, wide = window.kernel
    if op.kind not in KERNELS or weights is None or window.transposed or min(high, wide) < 3:
        return None
    pads = (
        _fewer(window.pads[0], window.pads[2], window.dilation[0]),
        _fewer(window.pads[1], window.pads[3], window.dilation[1]),
    )
    made = Window(
        (high - 2, wide - 2),
        window.stride,
        window.dilation,
        (pads[0][0], pads[1][0], pads[0][1], pads[1][1]),
    )
    source, output = network.tensors[op.inputs[0]], network.tensors[op.output]
    if made.output_size(source.height, source.width) != (output.height, output.width):
        return None
    middle = (slice(1, -1), slice(1, -1))
    cropped = weights[middle] if op.kind is OpKind.DEPTHWISE else weights[(slice(None), *middle)]
    return replace(op, window=made, weights=cropped.copy())


def _fewer(before: int, after: int, dilation: int) -> tuple[int, int]:
    """Padding of a kernel that reaches ``dilation`` less far to either side."""
    left = max(0, before + after - 2 * dilation)
    first = min(max(0, before - dilation), left)
    return first, left - first
