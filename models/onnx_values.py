"""What a name in an ONNX graph may stand for while the graph is being read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.layout import Index, View
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.vocabulary import UNLIMITED, InputError, Quantization

Array = NDArray[Any]
Floats = NDArray[np.float32]

INFINITY = np.float32(np.inf)
BYTES_AS_INT8: NDArray[np.int8] = np.arange(256, dtype=np.uint8).view(np.int8)


@dataclass(frozen=True, slots=True)
class Scale:
    """Scale and zero point of an activation, the latter as stored (int8).

    ``offset`` is 128 where the graph's integers are uint8.
    """

    scale: np.float32
    zero_point: int
    offset: int = 0

    @property
    def quantization(self) -> Quantization:
        """The same in the words of the network."""
        return Quantization(float(self.scale), self.zero_point)

    def real(self, stored: Array) -> Floats:
        """Return what stored integers mean, as DequantizeLinear computes it in float32."""
        return np.asarray((stored.astype(np.int32) - self.zero_point).astype(np.float32) * self.scale)

    def stored(self, real: Floats) -> NDArray[np.int8]:
        """Return the stored integers for real values, as QuantizeLinear computes them in float32."""
        steps = np.rint(np.asarray(real, np.float32) / self.scale) + self.zero_point
        return np.asarray(np.clip(steps, -128, 127).astype(np.int8))


@dataclass(frozen=True, slots=True, eq=False)
class Constant:
    """An array known while reading. As weights of float32, its values are what is stored."""

    array: Array
    four_bits: bool = False

    def centred(self, node: Node) -> Floats:
        """Return the values in float32."""
        if not np.issubdtype(self.array.dtype, np.floating):
            raise InputError(
                f"{node}: weights of a float32 operator must be float32 (got {self.array.dtype})."
            )
        return self.array.astype(np.float32)

    def scales(self, node: Node, axis: int) -> Floats:
        """Return the factor that makes stored values real ones."""
        return np.ones(1, np.float32)

    def transposed(self, order: tuple[int, ...]) -> Constant:
        """Return the constant with permuted axes."""
        return Constant(np.transpose(self.array, order))


@dataclass(frozen=True, slots=True, eq=False)
class QuantizedConstant:
    """An integer array with scales: a weight or bias behind a DequantizeLinear.

    ``scale`` and ``zero_point`` have one entry, or one per position of ``axis``. ``four_bits``: the file has int4
    or uint4.
    """

    array: Array
    scale: Floats
    zero_point: Array
    axis: int
    four_bits: bool = False

    def centred(self, node: Node) -> NDArray[np.int8]:
        """Return the integers minus their zero points; they must fit int8.

        Weights of large networks have none and are returned as they are, not copied.
        """
        if self.array.dtype == np.int8 and not self.zero_point.any():
            return self.array
        shape = [1] * self.array.ndim
        if self.zero_point.size > 1:
            shape[self.axis] = self.zero_point.size
        values = self.array.astype(np.int64) - self.zero_point.astype(np.int64).reshape(shape)
        if values.min() < -128 or values.max() > 127:
            raise InputError(
                f"{node}: weights minus their zero point must fit int8 "
                f"(got {values.min()} to {values.max()}); quantise the weights symmetrically."
            )
        return values.astype(np.int8)

    def scales(self, node: Node, axis: int) -> Floats:
        """Return one scale, or one per position of ``axis``."""
        if self.scale.size > 1 and self.axis != axis:
            raise InputError(
                f"{node}: weights must have one scale or one per output channel (got one per position of axis "
                f"{self.axis}); quantise per tensor or per output channel."
            )
        return self.scale.reshape(-1)

    def real(self) -> Floats:
        """Return the values in float32."""
        shape = [1] * self.array.ndim
        if self.scale.size > 1:
            shape[self.axis] = self.scale.size
        steps = self.array.astype(np.int64) - self.zero_point.astype(np.int64).reshape(
            shape if self.zero_point.size > 1 else [1] * self.array.ndim
        )
        return np.asarray(steps.astype(np.float32) * self.scale.reshape(shape))

    def transposed(self, order: tuple[int, ...]) -> QuantizedConstant:
        """Return the constant with permuted axes."""
        axis = order.index(self.axis) if self.axis < len(order) else self.axis
        return replace(self, array=np.transpose(self.array, order), axis=axis)


@dataclass(frozen=True, slots=True, eq=False)
class Real:
    """Real numbers that follow byte by byte from a stored tensor.

    ``table`` gives the float32 value of every byte, ``[256]`` or ``[channels, 256]``. Elementwise
    functions act on the table alone. ``scale`` is present while the table is the plain
    dequantisation.
    """

    view: View
    table: Floats
    scale: Scale | None

    @classmethod
    def dequantized(cls, view: View, scale: Scale) -> Real:
        """Return the real numbers behind a stored tensor."""
        return cls(view, scale.real(BYTES_AS_INT8), scale)


@dataclass(frozen=True, slots=True, eq=False)
class Float32:
    """An activation stored in float32: an input of the graph, or what a float32 kernel computes."""

    view: View


@dataclass(frozen=True, slots=True, eq=False)
class Pending:
    """The result of an operator before rounding.

    Integers come only with the scale they get, float32 (``is_float``) with the first reader that nothing can be
    folded for.

    ``emit(scale, clamp, name)`` (no scale for float32) adds the operator and returns its output tensor; ``index`` shows
    that tensor in the graph's shape. ``low`` and ``high`` limit the real values (Relu, Clip).
    ``add_bias(bias, index)`` makes the same operator with a bias, where it can still take one;
    ``rescaled(factor, addend)`` with its result times a factor plus an addend per channel, of so many ``channels``.
    """

    node: Node
    index: Index
    emit: Callable[[Scale | None, tuple[int, int], str], str]
    low: np.float32 = -INFINITY
    high: np.float32 = INFINITY
    add_bias: Callable[[Constant | QuantizedConstant, Index], Pending] | None = None
    rescaled: Callable[[Floats, Floats], Pending] | None = None
    channels: int = 0
    is_float: bool = False

    def limited(self, low: np.float32, high: np.float32) -> Pending:
        """Return the result after ``min(max(x, low), high)``; nothing can be folded after that."""
        low, high = (np.minimum(np.maximum(bound, low), high) for bound in (self.low, self.high))
        return replace(self, low=low, high=high, add_bias=None, rescaled=None)

    def clamp(self, scale: Scale) -> tuple[int, int]:
        """Return the limits in stored steps; rounding is monotone, so limiting commutes with it."""
        low, high = scale.stored(np.array([self.low, self.high], np.float32))
        return int(low), int(high)

    @property
    def float_clamp(self) -> tuple[int, int] | None:
        """The limits of a float32 result, None where they are no whole numbers that tables hold."""
        least, most = UNLIMITED
        if not all(
            np.isinf(bound) or (bound == np.rint(bound) and least < bound < most) for bound in self.limits
        ):
            return None
        low, high = (
            bound if np.isfinite(bound) else end for bound, end in zip(self.limits, UNLIMITED, strict=True)
        )
        return int(low), int(high)

    @property
    def limits(self) -> tuple[np.float32, np.float32]:
        """Limits of the real values."""
        return self.low, self.high


@dataclass(frozen=True, slots=True)
class Unknown:
    """The output of a node that could not be read; its readers are not reported again."""


Value = Constant | QuantizedConstant | View | Real | Float32 | Pending | Unknown
