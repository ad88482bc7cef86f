"""A network in the making: tensors whose shape may still settle, and the operators so far."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import Index, View, is_sequential, nchw, sequential, strides_of
from ooc_solve.models.op_fusion import Size, fold_pads, fuse_clamps, without_unused
from ooc_solve.models.pixel_blocks import blocks_of
from ooc_solve.models.vocabulary import (
    FLOATING,
    UNLIMITED,
    DType,
    Function,
    InputError,
    Network,
    Op,
    OpKind,
    Place,
    Quantization,
    Tensor,
)

_ELEMENTWISE = (OpKind.LOOKUP, OpKind.QUANTIZE, OpKind.DEQUANTIZE, OpKind.ADD, OpKind.MULTIPLY)

# Loops that a PERMUTE may nest; more occur in no network met.
_PERMUTE_LOOPS = 5

# Larger tensors of few channels are put in another order tile by tile, by a MOVE for each further channel.
_LARGEST_PERMUTE_BYTES = 1 << 14
_FEW_PLANES = 4

IDENTITY_TABLE: NDArray[np.uint8] = np.arange(256, dtype=np.uint8)


@dataclass(slots=True)
class _Draft:
    """A tensor whose height, width and channels stay open until an operator needs them."""

    size: Size
    dtype: DType
    quantization: Quantization | None
    settled: bool
    graph_shape: tuple[int, ...]


class NetworkDraft:
    """Collects operators and tensors; ``finish`` turns them into a ``Network``.

    Elementwise operators do not care how their elements are arranged, so the arrangement of
    their tensors is settled by the first neighbour that does.
    """

    def __init__(self) -> None:
        self._tensors: dict[str, _Draft] = {}
        self._ops: list[Op] = []
        self._op_names: set[str] = set()
        self._pixels: dict[str, str] = {}  # images by those that hold their planes
        self.origin: object = None  # who asks for the operators to come
        self.kernels: dict[object, list[str]] = {}  # kernels of the operators that each one asked for

    # ------------------------------------------------------------------ tensors

    def add_tensor(
        self,
        name: str,
        size: Size,
        dtype: DType = DType.INT8,
        quantization: Quantization | None = None,
        *,
        settled: bool = True,
        graph_shape: tuple[int, ...] = (),
    ) -> str:
        """Add a tensor and return its name, made unique."""
        unique = _unique(name, self._tensors)
        self._tensors[unique] = _Draft(size, dtype, quantization, settled, graph_shape)
        return unique

    def size(self, tensor: str) -> Size:
        """Height, width and channels as they stand."""
        return self._tensors[tensor].size

    def quantization(self, tensor: str) -> Quantization | None:
        """Quantisation, None while no operator has told it."""
        return self._tensors[tensor].quantization

    def is_settled(self, tensor: str) -> bool:
        """Whether an operator has fixed the arrangement of a tensor."""
        return self._tensors[tensor].settled

    def settle(self, tensor: str, size: Size | None = None) -> bool:
        """Fix the arrangement of a tensor and of its elementwise neighbours, if they allow it."""
        size = size or self.size(tensor)
        group = self._group(tensor)
        if any(self._tensors[name].settled and self._tensors[name].size != size for name in group):
            return False
        for name in group:
            self._tensors[name].size = size
            self._tensors[name].settled = True
        return True

    def read_as(self, view: View, quantization: Quantization) -> View:
        """Return the view with the quantisation a reader assumes.

        The first reader tells what a graph input means. A later one that disagrees (the file may
        say anything) gets a copy of its own.
        """
        tensor = self._tensors[view.tensor]
        if tensor.quantization is None:
            tensor.quantization = quantization
        if tensor.quantization == quantization:
            return view
        return self.lookup(view, IDENTITY_TABLE, quantization, f"{view.tensor}_reread")

    # ---------------------------------------------------------------- operators

    def add_op(self, op: Op) -> None:
        """Append an operator whose output tensor is already added; its name is made unique."""
        name = _unique(op.name, self._op_names)
        self._op_names.add(name)
        self._ops.append(replace(op, name=name))
        kernel = "transposed" if op.window.transposed else op.kind.value
        if op.kind in FLOATING and self.is_float(op.output):
            kernel = f"float_{kernel}"
        self.kernels.setdefault(self.origin, []).append(kernel)

    def elementwise(self, op: Op, quantization: Quantization | None, dtype: DType = DType.INT8) -> str:
        """Append an operator that leaves the arrangement as it is, and return its output tensor.

        All inputs must be arranged alike, or repeat rows or columns.
        """
        source = self._tensors[max(op.inputs, key=self._elements)]
        output = self.add_tensor(op.output, source.size, dtype, quantization, settled=source.settled)
        self.add_op(replace(op, output=output))
        return output

    def lookup(
        self,
        view: View,
        table: NDArray[np.uint8],
        quantization: Quantization | None,
        name: str,
        *,
        tensor: str = "",
        dtype: DType = DType.INT8,
    ) -> View:
        """Map every byte by a table of 256, or of ``[channels, 256]``."""
        if table.ndim == 2:
            self.settle(view.tensor)
        op = Op(name, OpKind.LOOKUP, (view.tensor,), tensor or name, weights=table)
        return View(self.elementwise(op, quantization, dtype), view.index)

    def function(
        self, view: View, function: Function, parameters: NDArray[np.float32], name: str, *, tensor: str = ""
    ) -> View:
        """Compute a function of every float32 element; parameters are ``[2]`` or ``[channels, 2]``."""
        if parameters.ndim == 2:
            self.settle(view.tensor)
        op = Op(
            name,
            OpKind.LOOKUP,
            (view.tensor,),
            tensor or name,
            weights=parameters,
            function=function,
            clamp=UNLIMITED,
        )
        return View(self.elementwise(op, None, DType.FLOAT32), view.index)

    def move(
        self,
        label: str,
        inputs: tuple[str, ...],
        places: tuple[Place, ...],
        size: Size,
        name: str,
        fill: int = 0,
        *,
        edges: bool = False,
    ) -> str:
        """Append a MOVE of tensors with one type and quantisation, and return its output tensor."""
        source = self._tensors[inputs[0]]
        output = self.add_tensor(name, size, source.dtype, source.quantization)
        differ = any(self.size(tensor)[2] != size[2] for tensor in inputs)
        op = Op(
            label, OpKind.MOVE, inputs, output, places=places, fill=fill, edges=edges, whole_pixels=differ
        )
        self.add_op(op)
        return output

    @staticmethod
    def can_be_copied(order: Index) -> bool:
        """Whether a PERMUTE can read stored data in an order."""
        loops = strides_of(order)
        return loops is not None and len(loops) <= _PERMUTE_LOOPS

    def stored_as(self, view: View, order: Index, name: str) -> str:
        """Return a tensor that holds the view's elements in the memory order ``order``.

        ``order`` is ``[height, width, channels]`` of offsets. That is the view's own tensor if it
        happens to be arranged so, else a permuted copy.
        """
        height, width, channels = order.shape
        size = (height, width, channels)
        if is_sequential(order) and self.settle(view.tensor, size):
            return view.tensor
        loops = strides_of(order)
        if self._is_large(view.tensor) and loops == ((height * width, 1), (channels, height * width)):
            interleaved = self._interleaved(view.tensor, size, name)
            if interleaved is not None:
                return interleaved
        blocks = self._in_blocks(view.tensor, order, name)
        if blocks is not None:
            return blocks
        if loops is None or not self.can_be_copied(order):
            raise InputError(
                f"'{name}': its input must be a plain reordering of stored data, but combines Transpose and "
                "Reshape in a way no nest of strides can read; export the model without the Reshape."
            )
        source = self._tensors[view.tensor]
        output = self.add_tensor(f"{name}_input", size, source.dtype, source.quantization)
        self.add_op(Op(f"{name}_permute", OpKind.PERMUTE, (view.tensor,), output, permutation=loops))
        return output

    def in_pixels(self, view: View, name: str) -> View:
        """Return the view over a tensor of its pixels, if what is stored is large and has them as blocks of channels."""
        if len(view.shape) != 4 or view.shape[0] != 1 or is_sequential(view.index):
            return view
        order = view.index[0].transpose(1, 2, 0)
        tensor = None if is_sequential(order) else self._in_blocks(view.tensor, order, name)
        return view if tensor is None else replace(view, tensor=tensor, index=nchw(*self.size(tensor)))

    def _in_blocks(self, tensor: str, order: Index, name: str) -> str | None:
        """Return a tensor in another order that convolutions make tile by tile, None where a PERMUTE is better."""
        source = self._tensors[tensor]
        real = source.dtype is DType.FLOAT32
        known = real or (source.dtype is DType.INT8 and source.quantization is not None)
        blocks = blocks_of(order, source.size) if known and self._is_large(tensor) else None
        if blocks is None or not self.settle(tensor):
            return None
        height, width, channels = order.shape
        output = self.add_tensor(
            f"{name}_input", (height, width, channels), source.dtype, source.quantization
        )
        op = Op(
            f"{name}_blocks", OpKind.CONV, (tensor,), output, blocks.window, blocks.groups,
            weights=blocks.weights.astype(np.float32) if real else blocks.weights,
            bias=np.zeros(channels, np.float32 if real else np.int32),
            multiplier=None if real else np.ones(channels, np.float32),
            clamp=UNLIMITED if real else (-128, 127),
        )  # fmt: skip
        self.add_op(op)
        return output

    def stored_by_plane(self, view: View, name: str) -> str | None:
        """Return the tensor that holds the few channels of a view one after the other, each row by row.

        MOVEs put it together tile by tile. None where it is small, so that a PERMUTE is better, or is none such.
        """
        height, width, channels = self.size(view.tensor)
        planes = strides_of(view.index) == ((channels, 1), (height * width, channels))
        if not planes or channels > _FEW_PLANES or not self._is_large(view.tensor):
            return None
        self.settle(view.tensor)
        made, rows = view.tensor, height
        for channel in range(1, channels):
            places = Place(), Place(start=(-rows, 0, channel))
            label = f"{name}_plane"
            made = self.move(label, (made, view.tensor), places, (rows + height, width, 1), label)
            rows += height
        return made

    def _interleaved(self, tensor: str, size: Size, name: str) -> str | None:
        """Return the tensor of pixels whose channels a tensor holds one after the other."""
        height, width, channels = size
        if not 1 < channels <= _FEW_PLANES or not self.settle(tensor, (channels * height, width, 1)):
            return None
        made = self._pixels.get(tensor, tensor)
        for channel in range(1, channels if made == tensor else 0):
            places = Place(), Place(start=(channel * height, 0, -channel))
            label = f"{name}_pixels"
            made = self.move(label, (made, tensor), places, (height, width, channel + 1), label)
        self._pixels[tensor] = made
        return made

    def is_planar_image(self, view: View) -> bool:
        """Whether a view is a large image of few planes that no operator has arranged otherwise yet."""
        if len(view.shape) != 4 or not 1 < view.shape[1] <= _FEW_PLANES or not self._is_large(view.tensor):
            return False
        free = not self.is_settled(view.tensor) or view.tensor in self._pixels
        return free and is_sequential(view.index)

    def _is_large(self, tensor: str) -> bool:
        draft = self._tensors[tensor]
        return prod(draft.size) * draft.dtype.size_bytes > _LARGEST_PERMUTE_BYTES

    def channels_last(self, view: View, name: str) -> str:
        """Return the tensor that holds a ``1 x channels x height x width`` view channels innermost."""
        return self.stored_as(view, view.index[0].transpose(1, 2, 0), name)

    def aligned(self, left: View, right: View, name: str) -> tuple[str, str]:
        """Return tensors of two views in which the same elements lie at the same places.

        The left one stays; the right one is permuted if it must be.
        """
        size = self.size(left.tensor)
        if np.array_equal(left.index, right.index):
            if self.settle(right.tensor, size) or self.settle(left.tensor, self.size(right.tensor)):
                return left.tensor, right.tensor
            order = sequential(size)
        else:
            order = np.asarray(left.scatter(right.index), np.int64).reshape(size)
        self.settle(left.tensor)
        return left.tensor, self.stored_as(right, order, name)

    # ------------------------------------------------------------------- result

    def finish(
        self, name: str, inputs: Sequence[str], outputs: dict[str, str], digest: str
    ) -> tuple[Network, dict[str, str]]:
        """Build the network.

        ``outputs`` maps names of graph outputs to tensors. The second result maps tensors of the
        draft to their names in the network (an output takes the graph's name).
        """
        kept = set(outputs.values())
        sizes = {key: draft.size for key, draft in self._tensors.items()}
        ops = fold_pads(self._ops, sizes, self._zero_points(), kept)
        ops = fuse_clamps(ops, {key: draft.quantization for key, draft in self._tensors.items()}, kept)
        ops = without_unused(ops, kept)
        names = self._final_names({tensor: graph_name for graph_name, tensor in outputs.items()})
        used = {*inputs, *kept, *(tensor for op in ops for tensor in (*op.inputs, op.output))}
        network = Network(
            name=name,
            tensors={names[key]: self._tensor(key, names[key]) for key in self._tensors if key in used},
            ops=tuple(_renamed(op, names) for op in ops),
            inputs=tuple(names[key] for key in inputs),
            outputs=tuple(outputs),
            digest=digest,
        )
        return network, {key: value for key, value in names.items() if key in used}

    def set_graph_shape(self, tensor: str, shape: tuple[int, ...]) -> None:
        """Record the shape under which the graph shows a tensor."""
        self._tensors[tensor].graph_shape = shape

    def dtype(self, tensor: str) -> DType:
        """Element type of a tensor."""
        return self._tensors[tensor].dtype

    def is_float(self, tensor: str) -> bool:
        """Whether a tensor is stored in float32."""
        return self.dtype(tensor) is DType.FLOAT32

    def _tensor(self, key: str, name: str) -> Tensor:
        draft = self._tensors[key]
        return Tensor(name, *draft.size, draft.dtype, draft.quantization, graph_shape=draft.graph_shape)

    def _zero_points(self) -> dict[str, int]:
        return {
            name: draft.quantization.zero_point if draft.quantization is not None else 0
            for name, draft in self._tensors.items()
            if draft.quantization is not None or self.is_float(name)
        }

    def _final_names(self, wanted: dict[str, str]) -> dict[str, str]:
        """Give outputs their graph names; a tensor that had such a name by chance steps aside."""
        taken = set(wanted.values())
        names: dict[str, str] = dict(wanted)
        for key in self._tensors:
            if key not in wanted:
                names[key] = _unique(key, taken)
                taken.add(names[key])
        return names

    def _group(self, tensor: str) -> set[str]:
        """Return all tensors joined to one by elementwise operators."""
        group, changed = {tensor}, True
        while changed:
            changed = False
            for op in self._ops:
                members = {
                    n for n in (*op.inputs, op.output) if self._elements(n) == self._elements(op.output)
                }
                if op.kind in _ELEMENTWISE and members & group and not members <= group:
                    group |= members
                    changed = True
        return group

    def _elements(self, tensor: str) -> int:
        return prod(self._tensors[tensor].size)


def _renamed(op: Op, names: dict[str, str]) -> Op:
    return replace(op, inputs=tuple(names[key] for key in op.inputs), output=names[op.output])


def _unique(name: str, taken: Sequence[str] | dict[str, _Draft] | set[str]) -> str:
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}#{number}", number + 1
    return candidate
