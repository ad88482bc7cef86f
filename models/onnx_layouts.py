"""Operators of ONNX that only lay their input out anew: views change, nothing moves."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from ooc_solve.models.layout import Index, View, as_size, sequential
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_operands import Operands
from ooc_solve.models.onnx_values import Constant, Float32, Pending, QuantizedConstant, Real, Value
from ooc_solve.models.vocabulary import InputError


def _rearranged(given: Operands, node: Node, change: Callable[[Index], Index]) -> Value:
    """Apply a change of layout to whatever carries an index."""
    value = given.operand(node)
    if isinstance(value, View):
        return _seen_through(given, node, value, change)
    if isinstance(value, Real | Float32):
        return replace(value, view=_seen_through(given, node, value.view, change))
    if isinstance(value, Pending):  # factors of bytes go by the channels of the operator alone
        rescaled = value.rescaled if value.is_float else None
        return replace(value, index=change(value.index), rescaled=rescaled)
    assert isinstance(value, QuantizedConstant)
    if value.scale.size > 1 or value.zero_point.size > 1:
        raise InputError(
            f"{node}: weights with one scale per channel cannot be reshaped; fold it into the weights."
        )
    return replace(value, array=change(value.array))


def _seen_through(given: Operands, node: Node, view: View, change: Callable[[Index], Index]) -> View:
    """Change the layout of a view; where no copy could undo what has come together, copy before that."""
    index = change(view.index)
    if given.draft.can_be_copied(index):
        return view.with_index(index)
    tensor = given.draft.stored_as(view, as_size(view.index), node.name)
    return replace(view, tensor=tensor, index=change(sequential(view.shape)))


def transpose(given: Operands, node: Node) -> Value:
    """Read a permutation of axes."""
    value = given.operand(node)
    rank = len(given.shape_of(value, node.name))
    order = node.attributes.get("perm", range(rank)[::-1])
    if sorted(order) != list(range(rank)):
        raise InputError(
            f"{node}: perm must hold each of the {rank} axes of its input once (got {list(order)})."
        )
    if isinstance(value, QuantizedConstant):
        return value.transposed(tuple(order))
    return _rearranged(given, node, lambda index: np.transpose(index, order))


def reshape(given: Operands, node: Node) -> Value:
    """Read a constant shape; 0 keeps an axis, -1 takes the rest."""
    target = given.integers(node, 1, "shape")
    if target is None:
        raise InputError(f"{node}: its target shape must be a constant.")
    before = given.shape_of(given.operand(node), node.name)
    if not node.attributes.get("allowzero"):
        target = [
            before[axis] if size == 0 and axis < len(before) else size for axis, size in enumerate(target)
        ]
    try:
        return _rearranged(given, node, lambda index: index.reshape(target))
    except ValueError:
        raise InputError(f"{node}: {before} cannot be reshaped to {target}; is the batch 1?") from None


def flatten(given: Operands, node: Node) -> Value:
    """Read a matrix: the axes before one, and those from it on."""
    shape = given.shape_of(given.operand(node), node.name)
    axis, rank = int(node.attributes.get("axis", 1)), len(shape)
    rows = int(np.prod(shape[: rank if axis == rank else node.axis_of(axis, rank)]))
    return _rearranged(given, node, lambda index: index.reshape(rows, -1))


def squeeze(given: Operands, node: Node) -> Value:
    """Read fewer axes of size 1."""
    shape, axes = given.shape_of(given.operand(node), node.name), given.integers(node, 1, "axes")
    gone = None if axes is None else tuple({node.axis_of(axis, len(shape)) for axis in axes})
    return _rearranged(given, node, lambda index: np.squeeze(index, gone))


def unsqueeze(given: Operands, node: Node) -> Value:
    """Read more axes of size 1."""
    shape, axes = given.shape_of(given.operand(node), node.name), given.integers(node, 1, "axes") or []
    new = tuple(node.axes_of(axes, len(shape) + len(axes)))
    return _rearranged(given, node, lambda index: np.expand_dims(index, new))


def depth_to_space(given: Operands, node: Node) -> Value:
    """Read blocks of channels as squares of pixels."""
    batch, channels, height, width = _planar_shape(given, node)
    size = _block_size(node)
    if channels % (size * size):
        raise InputError(f"{node}: {size} x {size} must divide its {channels} channels.")
    depth = channels // (size * size)
    blocks = (batch, depth, size, size, height, width)
    order = (0, 1, 4, 2, 5, 3)
    if node.attributes.get("mode", "DCR") == "DCR":
        blocks, order = (batch, size, size, depth, height, width), (0, 3, 4, 1, 5, 2)
    shape = (batch, depth, height * size, width * size)
    return _rearranged(given, node, lambda index: index.reshape(blocks).transpose(order).reshape(shape))


def space_to_depth(given: Operands, node: Node) -> Value:
    """Read squares of pixels as blocks of channels."""
    batch, channels, height, width = _planar_shape(given, node)
    size = _block_size(node)
    if height % size or width % size:
        raise InputError(f"{node}: its block of {size} must divide {height} rows and {width} columns.")
    blocks = (batch, channels, height // size, size, width // size, size)
    shape = (batch, channels * size * size, height // size, width // size)
    return _rearranged(
        given, node, lambda index: index.reshape(blocks).transpose(0, 3, 5, 1, 2, 4).reshape(shape)
    )


def _block_size(node: Node) -> int:
    size = int(node.attributes.get("blocksize", 0))
    if size < 1:
        raise InputError(f"{node}: must have a blocksize of at least 1 (got {size}).")
    return size


def _planar_shape(given: Operands, node: Node) -> tuple[int, int, int, int]:
    shape = given.shape_of(given.operand(node), node.name)
    if len(shape) != 4:
        raise InputError(f"{node}: must have four axes (got {len(shape)}).")
    return shape[0], shape[1], shape[2], shape[3]


def dropout(given: Operands, node: Node) -> Value:
    """Read what inference makes of it: nothing."""
    training = given.array(node, 2)
    if training is not None and training.any():
        raise InputError(f"{node}: must not be in training mode; export the network for inference.")
    return identity(given, node)


def identity(given: Operands, node: Node) -> Value:
    """Read the input itself."""
    return given.operand(node)


def constant_shape(given: Operands, node: Node) -> Value:
    """Read the shape of the input, which is known."""
    shape = given.shape_of(given.operand(node), node.name)
    part = slice(node.attributes.get("start"), node.attributes.get("end"))
    return Constant(np.array(shape[part], np.int64))
