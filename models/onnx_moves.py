"""Operators that choose elements of their inputs: padding, slices, nearest resizing, concatenation.

All become MOVEs along rows, columns or channels. Which stored axis an axis of the graph becomes is a
matter of `Arrangement`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import Index, View, by_channel, is_sequential, sequential
from ooc_solve.models.network_draft import NetworkDraft
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_values import BYTES_AS_INT8, Pending, Scale
from ooc_solve.models.op_fusion import Size
from ooc_solve.models.vocabulary import MAX_INPUTS, Function, InputError, Place, Quantization

MOST_TABLES = 1 << 16
"""Tables of one lookup at most: 16 MiB."""


def pad(
    draft: NetworkDraft, node: Node, source: View, pads: Sequence[int], value: int | None, name: str
) -> View:
    """Lower Pad by a stored value, or by the edges without one; scale and zero point stay.

    Negative pads cut off.
    """
    rank = len(source.shape)
    if len(pads) != 2 * rank:
        raise InputError(f"{node}: pads must be {2 * rank} numbers (got {list(pads)}).")
    starts = {axis: Steps(start=-pads[axis]) for axis in range(rank) if pads[axis] or pads[axis + rank]}
    shape = [source.shape[axis] + pads[axis] + pads[axis + rank] for axis in range(rank)]
    return moved(draft, node, source, starts, shape, name, value or 0, edges=value is None)


@dataclass(frozen=True, slots=True)
class Steps:
    """What position ``p`` along an axis of a moved tensor was before: ``floor((p * step + start) / period)``."""

    step: int = 1
    start: int = 0
    period: int = 1


def moved(
    draft: NetworkDraft,
    node: Node,
    source: View,
    changes: dict[int, Steps],
    shape: Sequence[int],
    name: str,
    fill: int = 0,
    *,
    edges: bool = False,
) -> View:
    """Lower an operator that takes every element of its output from a place along each axis, or a constant.

    With ``edges`` it is the nearest element there is instead of the constant.
    """
    if min(shape) < 1:
        raise InputError(f"{node}: its output must have elements (got shape {list(shape)}).")
    within = None if edges else _within_channels(draft, source, changes)
    if within is not None:
        return _channel_blocks(draft, node, source, changes, within, shape, name, fill)
    arrangement = _arranged(draft, node, source, set(changes))
    tensor = draft.stored_as(source, arrangement.stored(source.index), node.name)
    by_place = {arrangement.numbers[axis]: steps for axis, steps in changes.items()}
    rows, columns, channels = (by_place.get(place, Steps()) for place in range(3))
    place = Place(
        (rows.step, columns.step, channels.step),
        (rows.start, columns.start, channels.start),
        (rows.period, columns.period, channels.period),
    )
    result = draft.move(node.name, (tensor,), (place,), arrangement.size_of(shape), name, fill, edges=edges)
    return replace(source, tensor=result, index=arrangement.index_of(shape))


def _within_channels(draft: NetworkDraft, source: View, changes: dict[int, Steps]) -> tuple[int, ...] | None:
    """Axes in the order of memory, if the only changed one is the first of several that make up a pixel's channels.

    Such an axis is cut into blocks of neighbouring channels; heads of attention are.
    """
    if len(changes) != 1 or any((steps.step, steps.period) != (1, 1) for steps in changes.values()):
        return None
    (axis,), shape = changes, source.shape
    if shape[axis] == 1:
        return None
    corner = source.index[(0,) * len(shape)]
    strides = {
        k: int(np.take(source.index, 1, k).flat[0] - corner) for k, size in enumerate(shape) if size > 1
    }
    order = sorted(strides, key=lambda k: -strides[k])
    inner = int(np.prod([shape[k] for k in order[order.index(axis) + 1 :]]))
    order += [k for k in range(len(shape)) if k not in strides]
    fits = shape[axis] * inner == draft.size(source.tensor)[2] and is_sequential(
        source.index.transpose(order)
    )
    return tuple(order) if inner > 1 and fits and draft.settle(source.tensor) else None


def _channel_blocks(
    draft: NetworkDraft,
    node: Node,
    source: View,
    changes: dict[int, Steps],
    order: tuple[int, ...],
    shape: Sequence[int],
    name: str,
    fill: int,
) -> View:
    """Lower a shift along such an axis as one along the channels."""
    height, width, channels = draft.size(source.tensor)
    ((axis, steps),) = changes.items()
    inner = channels // source.shape[axis]
    place = Place(start=(0, 0, steps.start * inner))
    size = (height, width, shape[axis] * inner)
    result = draft.move(node.name, (source.tensor,), (place,), size, name, fill)
    return replace(source, tensor=result, index=Arrangement(order, {}).index_of(shape))


def rational_steps(node: Node, found: NDArray[np.int64], size: int) -> Steps:
    """Write a nearest-neighbour table, position in the input by position in the output, as a formula.

    Positions before the first and behind the last count as those. Tried are the ratio of the sizes, and
    of the sizes less one, as with aligned corners.
    """
    count = found.size
    at = np.arange(count, dtype=np.int64)
    for step, period in ((size, count), (size - 1, count - 1)):
        if period < 1:
            continue
        # floor((at * step + start) / period) == found: found * period <= at * step + start < (found + 1) * period
        least = (found * period - at * step)[found > 0].max(initial=-step * count)
        most = ((found + 1) * period - at * step)[found < size - 1].min(initial=step * count + 1) - 1
        if least <= most:
            return Steps(step, int(max(least, min(0, most))), period)
    raise InputError(
        f"{node}: its scale must repeat or skip positions evenly (got {count} of {size} positions)."
    )


@dataclass(frozen=True, slots=True)
class Arrangement:
    """Axes of a view in the order of memory, and the stored axis that each belongs to: 0 rows, 1 columns, 2 channels."""

    order: tuple[int, ...]
    numbers: dict[int, int]

    def size_of(self, shape: Sequence[int]) -> Size:
        """Height, width and channels for a shape of the view."""
        size = [1, 1, 1]
        for axis, number in self.numbers.items():
            size[number] *= shape[axis]
        return (size[0], size[1], size[2])

    def changes_channels(self, changed: set[int]) -> bool:
        """Whether an axis that is stored as channels is among those."""
        return any(self.numbers.get(axis) == 2 for axis in changed)

    def stored(self, index: Index) -> Index:
        """The view's elements as ``[height, width, channels]``."""
        return index.transpose(self.order).reshape(self.size_of(index.shape))

    def index_of(self, shape: Sequence[int]) -> Index:
        """Index of a view of that shape over a tensor arranged so."""
        return sequential([shape[axis] for axis in self.order]).transpose(np.argsort(self.order))


def _arranged(draft: NetworkDraft, node: Node, source: View, changed: set[int]) -> Arrangement:
    """Choose the arrangement in which to change some axes: one that fits what is stored, if channels stay.

    Where they do not, it is used if what is stored is settled, else data is put in another order first.
    """
    if 1 not in changed and draft.is_planar_image(source):
        changed = {*changed, 2, 3}  # its readers mostly take pixels, so that is how it is put first
    possible = sorted(_arrangements(source.shape, changed), key=lambda a: a.changes_channels(changed))
    if not possible:
        raise InputError(f"{node}: at most three axes can be longer than 1 (got {source.shape}).")
    for arrangement in possible:
        if arrangement.changes_channels(changed) and not draft.is_settled(source.tensor):
            break
        size = arrangement.size_of(source.shape)
        if is_sequential(arrangement.stored(source.index)) and draft.settle(source.tensor, size):
            return arrangement
    return possible[0]


def _arrangements(shape: Sequence[int], changed: set[int]) -> Iterator[Arrangement]:
    """Arrangements with channels last, first, in the middle, or none; beyond three axes, what surrounds one."""
    axes = range(len(shape))
    large = [axis for axis in axes if shape[axis] > 1 or axis in changed]
    small = [axis for axis in axes if axis not in large]
    for channel in (large[-1:], large[:1], large[1:2], []):
        spatial = [axis for axis in large if axis not in channel]
        if len(spatial) <= 2:
            numbers = {axis: 2 - len(spatial) + place for place, axis in enumerate(spatial)}
            yield Arrangement((*spatial, *channel, *small), numbers | dict.fromkeys(channel, 2))
            if len(spatial) == 1:  # as rows
                yield Arrangement((*spatial, *channel, *small), {spatial[0]: 0, **dict.fromkeys(channel, 2)})
    if len(large) > 3 and len(changed) == 1:
        (middle,) = changed
        yield Arrangement(tuple(axes), {axis: 1 + (axis > middle) - (axis < middle) for axis in axes})


def with_channels(draft: NetworkDraft, node: Node, source: View, axis: int) -> View:
    """Return a view of a tensor in which one axis is stored as channels."""
    for arrangement in _arrangements(source.shape, {axis}):
        if arrangement.numbers.get(axis) == 2:
            tensor = draft.stored_as(source, arrangement.stored(source.index), node.name)
            return replace(source, tensor=tensor, index=arrangement.index_of(source.shape))
    raise InputError(f"{node}: at most three axes can be longer than 1 (got {source.shape}).")


def varies_along_one_axis(draft: NetworkDraft, array: NDArray[Any], view: View) -> bool:
    """Whether a constant operand is one number per stored channel, or per position of a single axis."""
    varying = sum(size > 1 for size in array.shape)
    return varying <= 1 or by_channel(array, view.index, draft.size(view.tensor)[2]) is not None


def channel_operand(
    draft: NetworkDraft, node: Node, array: NDArray[Any], view: View
) -> tuple[NDArray[Any], View]:
    """Return a constant operand as one value, or as one per stored channel of a view arranged for it."""
    if array.size > 1 and (array == array.flat[0]).all() and array.size <= view.index.size:
        array = array.reshape(-1)[:1]  # the same number everywhere needs no arrangement
    found = by_channel(array, view.index, draft.size(view.tensor)[2])
    if found is not None:
        return np.asarray(found), view
    rank = max(array.ndim, len(view.shape))
    varying = [axis - rank for axis, size in enumerate((1,) * (rank - array.ndim) + array.shape) if size > 1]
    if len(varying) == 1 and -varying[0] <= len(view.shape) and array.size == view.shape[varying[0]]:
        return array.reshape(-1), with_channels(draft, node, view, varying[0] + len(view.shape))
    return _element_operand(draft, node, array, view)


def _element_operand(
    draft: NetworkDraft, node: Node, array: NDArray[Any], view: View
) -> tuple[NDArray[Any], View]:
    """Return a constant operand as one value per element, and the elements in a row of channels."""
    try:
        values = np.broadcast_to(array, view.shape).reshape(-1)
    except ValueError:
        raise InputError(
            f"{node}: a constant operand must fit its other input (got shape {array.shape} for {view.shape})."
        ) from None
    if values.size > MOST_TABLES:
        raise InputError(
            f"{node}: a constant operand that varies along several axes must have at most {MOST_TABLES} "
            f"elements (got {values.size}); one number per position of a single axis may have more."
        )
    tensor = draft.stored_as(view, view.index.reshape(1, 1, -1), node.name)
    return values, replace(view, tensor=tensor, index=sequential(view.shape))


def constant(
    draft: NetworkDraft, node: Node, beside: str, values: NDArray[Any], known: Quantization | None
) -> View:
    """Return a view of constants: stored int8 with what they mean, or float32 beside a tensor of float32.

    A MOVE that finds nothing of the tensor ``beside`` makes room, and a function of each element fills it.
    """
    if not 0 < values.size <= MOST_TABLES:
        raise InputError(
            f"{node}: a constant input must have 1 to {MOST_TABLES} elements (got {values.size})."
        )
    nowhere = Place(start=(draft.size(beside)[0], 0, 0))
    label = f"{node.name}_constant"
    room = draft.move(label, (beside,), (nowhere,), (1, 1, values.size), label)
    view, flat = View(room, sequential(values.shape)), values.reshape(-1, 1)
    if draft.is_float(room):
        limits = np.ascontiguousarray(np.repeat(flat.astype(np.float32), 2, axis=1))
        return draft.function(view, Function.CLIP, limits, label)
    return draft.lookup(view, np.repeat(flat.astype(np.int8).view(np.uint8), 256, axis=1), known, label)


def concatenation(draft: NetworkDraft, node: Node, parts: Sequence[tuple[View, Scale]], axis: int) -> Pending:
    """Lower Concat along an axis; parts of another scale are rounded to the output's first."""
    views = [view for view, _ in parts]
    arrangement, shape = _arranged_alike(draft, node, views, axis)

    def emit(output: Scale | None, clamp: tuple[int, int], name: str) -> str:
        assert output is not None
        stored = []
        for view, scale in parts:
            if scale.quantization != output.quantization or clamp != (-128, 127):
                table = (
                    np.clip(output.stored(scale.real(BYTES_AS_INT8)), *clamp).astype(np.int8).view(np.uint8)
                )
                label = f"{node.name}_rescale"
                view = draft.lookup(view, table, output.quantization, label, tensor=f"{view.tensor}_rescaled")
            stored.append(view)
        return _joined(draft, node, stored, arrangement, axis, name)

    return Pending(node, arrangement.index_of(shape), emit)


def joined(draft: NetworkDraft, node: Node, views: Sequence[View], axis: int, name: str) -> View:
    """Lower Concat of integers as they are."""
    arrangement, shape = _arranged_alike(draft, node, views, axis)
    tensor = _joined(draft, node, views, arrangement, axis, name)
    return replace(views[0], tensor=tensor, index=arrangement.index_of(shape))


def _arranged_alike(
    draft: NetworkDraft, node: Node, views: Sequence[View], axis: int
) -> tuple[Arrangement, list[int]]:
    """Choose an arrangement of all parts, and tell the shape of the result."""
    if len({tuple(np.delete(view.shape, axis)) for view in views}) != 1:
        raise InputError(
            f"{node}: inputs must have one shape but for axis {axis} (got {[view.shape for view in views]})."
        )
    shape = list(views[0].shape)
    shape[axis] = sum(view.shape[axis] for view in views)
    largest = max(views, key=lambda view: view.index.size)
    return _arranged(draft, node, largest, {axis}), shape


def _joined(
    draft: NetworkDraft, node: Node, views: Sequence[View], arrangement: Arrangement, axis: int, name: str
) -> str:
    """Join views in an arrangement, neighbours first, so that few elements are moved often."""
    tensors = [draft.stored_as(view, arrangement.stored(view.index), node.name) for view in views]
    while len(tensors) > 1:
        label = name if len(tensors) <= MAX_INPUTS else f"{name}_part"
        pairs = [tensors[k : k + MAX_INPUTS] for k in range(0, len(tensors), MAX_INPUTS)]
        tensors = [
            pair[0] if len(pair) == 1 else _pair(draft, node, pair, arrangement.numbers[axis], label)
            for pair in pairs
        ]
    return tensors[0]


def _pair(draft: NetworkDraft, node: Node, pair: list[str], axis: int, name: str) -> str:
    first, second = (draft.size(tensor) for tensor in pair)
    size = list(first)
    size[axis] += second[axis]
    places = (Place(), Place.shifted(axis, first[axis]))
    return draft.move(node.name, tuple(pair), places, (size[0], size[1], size[2]), name)
