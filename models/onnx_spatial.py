"""The inputs of operators with windows, as rows and columns of stored tensors."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import Index, View, nchw
from ooc_solve.models.network_draft import NetworkDraft
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_values import Constant, QuantizedConstant
from ooc_solve.models.op_fusion import Size
from ooc_solve.models.vocabulary import InputError, Window

Array = NDArray[Any]
Weights = Constant | QuantizedConstant


@dataclass(frozen=True, slots=True, eq=False)
class Spatial:
    """An operator's ``1 x channels x height x width`` input in a tensor with channels innermost.

    Inputs with one spatial axis get a second one of size 1: the height if ``tall``, else the width.
    """

    node: Node
    tensor: str
    size: Size
    rank: int
    tall: bool

    @classmethod
    def of(cls, draft: NetworkDraft, node: Node, view: View) -> Spatial:
        """Arrange a view of rank 3 or 4 for a windowed operator."""
        rank = len(view.shape)
        if rank not in (3, 4):
            raise InputError(f"{node}: must have one or two spatial axes (got {rank - 2}).")
        if view.shape[0] != 1:
            raise InputError(f"{node}: the batch must be 1 (got {view.shape[0]}); export it with batch 1.")
        tall = rank == 3 and draft.size(view.tensor)[1] == 1
        index = view.index
        if rank == 3:
            index = index[..., np.newaxis] if tall else index[:, :, np.newaxis, :]
        tensor = draft.channels_last(view.with_index(index), node.name)
        return cls(node, tensor, draft.size(tensor), rank, tall)

    def pair(self, values: Sequence[int] | None, default: int = 1) -> tuple[int, int]:
        """Return an attribute with one entry per spatial axis as (vertical, horizontal)."""
        if values is None:
            return (default, default) if self.rank == 4 else self.pair([default])
        if len(values) != self.rank - 2:
            raise InputError(
                f"{self.node}: must have {self.rank - 2} entries per attribute (got {list(values)})."
            )
        if self.rank == 4:
            return (values[0], values[1])
        return (values[0], 1) if self.tall else (1, values[0])

    def pads(self, values: Sequence[int] | None) -> tuple[int, int, int, int]:
        """Return an ONNX ``pads`` attribute as (top, left, bottom, right)."""
        if values is None:
            return (0, 0, 0, 0)
        half = len(values) // 2
        begin, end = self.pair(values[:half]), self.pair(values[half:])
        if self.rank == 3:  # the axis that was added has no pads
            axis = 0 if self.tall else 1
            begin, end = ((p[0], 0) if axis == 0 else (0, p[1]) for p in (begin, end))
        return (*begin, *end)

    def index_of(self, size: Size) -> Index:
        """Return the graph's index of an output of the given stored size."""
        index = nchw(*size)
        if self.rank == 4:
            return index
        return index[..., 0] if self.tall else index[:, :, 0, :]

    def window(self, kernel: Sequence[int] | None = None) -> Window:
        """Read kernel, strides, dilations and padding from the node's attributes."""
        attributes = self.node.attributes
        shape = self.kernel_shape(kernel)
        if shape is None:
            raise InputError(f"{self.node}: must have a kernel_shape.")
        window = Window(
            kernel=self.pair(shape),
            stride=self.pair(attributes.get("strides")),
            dilation=self.pair(attributes.get("dilations")),
        )
        explicit = self.pads(attributes.get("pads"))
        return replace(window, pads=self._automatic_pads(window, explicit))

    def taps(self, weights: Weights) -> Array:
        """Return constant weights less their zero points, with two spatial axes behind the first two."""
        if weights.array.ndim != self.rank:
            raise InputError(
                f"{self.node}: weights must have rank {self.rank} like the input (got {weights.array.ndim})."
            )
        kernel = weights.array.shape[2:]
        return weights.centred(self.node).reshape(*weights.array.shape[:2], *self.pair(kernel))

    def kernel_shape(self, weights: Sequence[int] | None) -> Sequence[int] | None:
        """Return the kernel's shape by the node, which must be that of its weights, or by the weights alone."""
        shape: Sequence[int] | None = self.node.attributes.get("kernel_shape")
        if shape is None or weights is None:
            return weights if shape is None else shape
        if list(shape) != list(weights):
            raise InputError(
                f"{self.node}: kernel_shape must be that of its weights, {list(weights)} (got {list(shape)}); "
                "the file is damaged."
            )
        return shape

    def transposed_window(self, kernel: Sequence[int]) -> Window:
        """Read the window of a transposed convolution; its last pads say what size comes out."""
        attributes = self.node.attributes
        window = Window(
            kernel=self.pair(self.kernel_shape(kernel)),
            stride=self.pair(attributes.get("strides")),
            dilation=self.pair(attributes.get("dilations")),
            transposed=True,
        )
        full = window.output_size(self.size[0], self.size[1])
        longer = self.pair(attributes.get("output_padding"), default=0)
        wanted = attributes.get("output_shape")
        mode = attributes.get("auto_pad", "NOTSET")
        if wanted is None and mode in ("SAME_UPPER", "SAME_LOWER"):
            wanted = [size * stride for size, stride in zip(self.size[:2], window.stride, strict=True)]
        elif wanted is not None:
            wanted = list(self.pair(wanted[-(self.rank - 2) :]))
        if wanted is None:
            pads = self.pads(attributes.get("pads"))
        else:
            total = [max(full[k] + longer[k] - wanted[k], 0) for k in (0, 1)]
            begin = [t // 2 if mode == "SAME_UPPER" else t - t // 2 for t in total]
            pads = (begin[0], begin[1], total[0] - begin[0], total[1] - begin[1])
        last = (pads[2] - longer[0], pads[3] - longer[1])
        if min(last) < 0:
            raise InputError(
                f"{self.node}: output_padding must not exceed the pads at the end (got {longer}, {pads})."
            )
        return replace(window, pads=(pads[0], pads[1], *last))

    def _automatic_pads(
        self, window: Window, explicit: tuple[int, int, int, int]
    ) -> tuple[int, int, int, int]:
        mode = self.node.attributes.get("auto_pad", "NOTSET")
        if mode in ("NOTSET", ""):
            return self._ceil_pads(window, explicit) if self.node.attributes.get("ceil_mode") else explicit
        if mode == "VALID":
            return (0, 0, 0, 0)
        if mode not in ("SAME_UPPER", "SAME_LOWER"):
            raise InputError(
                f"{self.node}: auto_pad must be NOTSET, VALID, SAME_UPPER or SAME_LOWER (got {mode})."
            )
        begin, end = [], []
        for length, reach, stride in zip(self.size, window.reach, window.stride, strict=False):
            total = max((math.ceil(length / stride) - 1) * stride + reach - length, 0)
            small, large = total // 2, total - total // 2
            begin.append(large if mode == "SAME_LOWER" else small)
            end.append(small if mode == "SAME_LOWER" else large)
        return (begin[0], begin[1], end[0], end[1])

    def _ceil_pads(self, window: Window, pads: tuple[int, int, int, int]) -> tuple[int, int, int, int]:
        """Pad below and right until rounding down gives what rounding up gave."""
        extra = []
        for axis in (0, 1):
            padded = self.size[axis] + pads[axis] + pads[axis + 2]
            reach, stride = window.reach[axis], window.stride[axis]
            steps = math.ceil((padded - reach) / stride)
            if steps * stride >= self.size[axis] + pads[axis]:  # a window must start inside
                steps -= 1
            extra.append(max(steps * stride + reach - padded, 0))
        if any(extra) and self.node.attributes.get("count_include_pad"):
            raise InputError(
                f"{self.node}: ceil_mode with count_include_pad is not supported; use floor mode."
            )
        return (pads[0], pads[1], pads[2] + extra[0], pads[3] + extra[1])

    def output_size(self, window: Window, channels: int) -> Size:
        """Return the stored size of the output."""
        height, width = window.output_size(self.size[0], self.size[1])
        if min(height, width) < 1:
            raise InputError(
                f"{self.node}: its window must fit the padded input (window {window.reach}, input {self.size[:2]})."
            )
        return (height, width, channels)
