"""What nodes that choose elements of their input ask for: paddings, slices, parts, other sizes. `onnx_moves` does it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models import onnx_composites as composites
from ooc_solve.models import onnx_moves as moves
from ooc_solve.models import onnx_resizes as resizes
from ooc_solve.models.layout import View
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_operands import Operands
from ooc_solve.models.onnx_values import BYTES_AS_INT8, Float32, Real, Value
from ooc_solve.models.resampling import ROUNDINGS, TRANSFORMATIONS, nearest_positions, scaled_size
from ooc_solve.models.vocabulary import InputError

Array = NDArray[Any]


def plain_table(given: Operands, node: Node) -> Real:
    """The input as reals by one table for all channels."""
    real = given.real(node)
    if real.table.ndim != 1:
        raise InputError(
            f"{node}: its input must be quantised after the operator with one constant per channel."
        )
    return real


def padded(given: Operands, node: Node) -> Value:
    """Read a Pad by a constant, the edge or a reflection."""
    mode = node.attributes.get("mode", "constant")
    if mode not in ("constant", "edge", "reflect"):
        raise InputError(f"{node}: mode must be constant, edge or reflect (got {mode}).")
    pads = _all_pads(given, node)
    if mode == "reflect":
        return composites.read(given, node, lambda parts: composites.reflected(parts, pads))
    if mode == "edge":
        return moved(
            given, node, lambda view: moves.pad(given.draft, node, view, pads, None, node.outputs[0])
        )
    filling = given.array(node, 2)
    number = filling.reshape(-1)[0] if filling is not None else node.attributes.get("value", 0)
    value = given.settled(node)
    if isinstance(value, Float32):
        if number != 0:
            return composites.read(given, node, lambda parts: composites.padded(parts, pads, float(number)))
        return Float32(moves.pad(given.draft, node, value.view, pads, 0, node.outputs[0]))
    if isinstance(value, View):
        return moves.pad(given.draft, node, value, pads, int(number) - value.offset, node.outputs[0])
    real = plain_table(given, node)
    matches = BYTES_AS_INT8[real.table == np.float32(number)]
    if not matches.size:
        raise InputError(f"{node}: its value must be one the quantised input can hold (got {number}).")
    zero = real.scale.zero_point if real.scale else int(matches[0])
    fill = zero if zero in matches else int(matches[0])
    return replace(real, view=moves.pad(given.draft, node, real.view, pads, fill, node.outputs[0]))


def _all_pads(given: Operands, node: Node) -> list[int]:
    """Return pads of every axis: starts, then ends."""
    pads = given.integers(node, 1, "pads")
    if pads is None:
        raise InputError(f"{node}: pads must be constant.")
    axes = given.integers(node, 3, "axes")
    if axes is None:
        return pads
    rank = len(given.shape_of(given.operand(node), node.name))
    full = [0] * (2 * rank)
    if len(pads) != 2 * len(axes):
        raise InputError(f"{node}: pads must be {2 * len(axes)} numbers for {len(axes)} axes (got {pads}).")
    for place, axis in enumerate(node.axes_of(axes, rank)):
        full[axis], full[axis + rank] = pads[place], pads[place + len(axes)]
    return full


def moved(given: Operands, node: Node, move: Callable[[View], View]) -> Value:
    """Apply a choice of elements to what is stored, or to what dequantises it."""
    value = given.settled(node)
    if isinstance(value, View):
        return move(value)
    if isinstance(value, Float32):
        return Float32(move(value.view))
    real = plain_table(given, node)
    return replace(real, view=move(real.view))


def sliced(given: Operands, node: Node) -> Value:
    """Read a Slice by constants; backwards it is a composite."""
    shape = given.shape_of(given.operand(node), node.name)
    starts, ends = given.integers(node, 1, "starts"), given.integers(node, 2, "ends")
    if starts is None or ends is None:
        raise InputError(f"{node}: starts and ends must be constant.")
    axes = node.axes_of(given.integers(node, 3, "axes") or range(len(starts)), len(shape))
    steps = given.integers(node, 4, "steps") or [1] * len(starts)
    if min(steps, default=1) < 0:
        picked = dict(zip(axes, zip(starts, ends, steps, strict=True), strict=True))
        return composites.read(given, node, lambda parts: composites.reversed_slices(parts, picked))
    changes, size = {}, list(shape)
    for axis, start, end, step in zip(axes, starts, ends, steps, strict=True):
        if step < 1:
            raise InputError(f"{node}: steps must not be 0.")
        found = range(*slice(start, end, step).indices(shape[axis]))
        changes[axis] = moves.Steps(step, found.start)
        size[axis] = len(found)
    return moved(
        given, node, lambda view: moves.moved(given.draft, node, view, changes, size, node.outputs[0])
    )


def split(given: Operands, node: Node) -> tuple[Value, ...]:
    """Read the parts of a Split, each as a slice."""
    shape = given.shape_of(given.operand(node), node.name)
    axis = node.axis_of(int(node.attributes.get("axis", 0)), len(shape))
    count = int(node.attributes.get("num_outputs", len(node.outputs)))
    if count != len(node.outputs):
        raise InputError(
            f"{node}: num_outputs must be that of its outputs, {len(node.outputs)} (got {count})."
        )
    sizes = given.integers(node, 1, "split")
    if sizes is None:
        part = -(-shape[axis] // count)
        sizes = [min(part, shape[axis] - k * part) for k in range(count)]
    if sum(sizes) != shape[axis] or len(sizes) != len(node.outputs):
        raise InputError(f"{node}: its parts must make up axis {axis} of {shape[axis]} (got {sizes}).")
    parts = (partial(_part, given, node, axis, sizes, k) for k in range(len(sizes)))
    return tuple(moved(given, node, part) for part in parts)


def _part(given: Operands, node: Node, axis: int, sizes: list[int], k: int, view: View) -> View:
    shape = [sizes[k] if place == axis else size for place, size in enumerate(view.shape)]
    changes = {axis: moves.Steps(start=sum(sizes[:k]))}
    return moves.moved(given.draft, node, view, changes, shape, node.outputs[k])


def resized(given: Operands, node: Node) -> Value:
    """Read a Resize: nearest positions as a move, linear and cubic ones by weights."""
    mode = node.attributes.get("mode", "nearest")
    if mode not in ("nearest", "linear", "cubic"):
        raise InputError(
            f"{node}: mode must be nearest, linear or cubic (got {mode}); export the model with one of these."
        )
    shape = given.shape_of(given.operand(node), node.name)
    found = _resize_positions(given, node, shape)
    spread = all(size == 1 or table.size == size for table, size in zip(found, shape, strict=True))
    if mode != "nearest" and not spread:  # one position only is repeated in all modes
        if isinstance(given.settled(node), View):
            raise InputError(
                f"{node}: a {mode} mode must work on real numbers (got integers, which onnxruntime rounds towards 0); "
                "put it between DequantizeLinear and QuantizeLinear."
            )
        return _weighted_resize(given, node, shape, tuple(table.size for table in found))
    changes = {
        axis: moves.rational_steps(node, table, shape[axis])
        for axis, table in enumerate(found)
        if not np.array_equal(table, np.arange(shape[axis]))
    }
    size = [table.size for table in found]
    return moved(
        given,
        node,
        lambda view: moves.moved(given.draft, node, view, changes, size, node.outputs[0], edges=True),
    )


def _weighted_resize(given: Operands, node: Node, shape: tuple[int, ...], sizes: tuple[int, ...]) -> Value:
    """Read a linear or cubic Resize."""
    cubic = node.attributes.get("mode") == "cubic"
    if node.attributes.get("antialias") or node.attributes.get("exclude_outside"):
        raise InputError(f"{node}: antialias and exclude_outside must be 0; average before it instead.")
    resizing = resizes.Resizing(
        sizes,
        tuple(_scale_of(given, node, axis, len(shape)) for axis in range(len(shape))),
        _transformation(given, node),
        float(node.attributes.get("cubic_coeff_a", -0.75)) if cubic else None,
    )
    if resizing.is_by_whole_factors(shape):
        return composites.read(given, node, lambda parts: resizes.by_whole_factors(parts, resizing))
    value = given.settled(node)
    if not isinstance(value, Float32):
        raise InputError(f"{node}: its input must be float32 where it does not enlarge by whole factors.")
    return Float32(resizes.by_weights(given, node, value.view, resizing))


def _scale_of(given: Operands, node: Node, axis: int, rank: int) -> np.float32 | None:
    """Return the factor that the file gives for an axis, None where it is the ratio of the sizes."""
    old = node.kind == "Upsample" or given.opset < 11
    scales = given.array(node, 1 if old else 2)
    along = node.axes_of(node.attributes.get("axes", range(rank)), rank)
    if scales is None or not scales.size or axis not in along:
        return None
    return np.float32(scales.reshape(-1)[along.index(axis)])


def _transformation(given: Operands, node: Node) -> str:
    """How positions are transformed; before opset 11 they were divided."""
    if node.kind == "Upsample" or given.opset < 11:
        return "asymmetric"
    return str(node.attributes.get("coordinate_transformation_mode", "half_pixel"))


def _resize_positions(given: Operands, node: Node, shape: tuple[int, ...]) -> list[Array]:
    """Return the input position of every output position, axis by axis."""
    old = node.kind == "Upsample" or given.opset < 11
    scales = given.array(node, 1 if old else 2)
    sizes = None if old else given.integers(node, 3, "sizes")
    if scales is None and (written := node.attributes.get("scales")):
        scales = np.asarray(written, np.float32)
    wanted = sizes or ([] if scales is None else scales.reshape(-1).tolist())
    axes = node.axes_of(node.attributes.get("axes", range(len(shape))), len(shape))
    if len(wanted) != len(axes) or node.attributes.get("keep_aspect_ratio_policy", "stretch") != "stretch":
        raise InputError(
            f"{node}: constant scales or sizes must be given for each of {len(axes)} axes, to be met."
        )
    transformation = _transformation(given, node)
    rounding = node.attributes.get("nearest_mode", "round_prefer_floor")
    if old:  # before opset 11 positions were rounded down, or up where the output is smaller
        rounding = "ceil" if min(wanted) < 1 else "floor"
    if transformation not in TRANSFORMATIONS or rounding not in ROUNDINGS:
        raise InputError(
            f"{node}: coordinates must be transformed by {', '.join(TRANSFORMATIONS)} (got {transformation})."
        )
    along = dict(zip(axes, wanted, strict=True))
    found = []
    for axis, size in enumerate(shape):
        value = along.get(axis, size if sizes else 1.0)
        scale = None if sizes else np.float32(value)
        count = int(value) if scale is None else scaled_size(size, scale)
        found.append(nearest_positions(size, count, scale, transformation, rounding))
    return found
