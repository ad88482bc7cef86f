"""Comparisons, logic and choices, read as others: what is true is the number 1, what is false 0.

No kernel knows truth values; a Cast to float32 leaves the numbers as they are. Comparisons are exact for finite
numbers: two floats that differ have a difference that is not 0.
"""

from __future__ import annotations

import numpy as np

from ooc_solve.models.onnx_composites import Parts, Recipe
from ooc_solve.models.onnx_values import Constant, QuantizedConstant
from ooc_solve.models.vocabulary import InputError

_HUGE, _LARGE = 3e38, 1e7
"""The smallest float is 1.4e-45: times the first, and what comes out times the second, it is more than 1."""


def _positive(parts: Parts, x: str) -> str:
    """1 where a number is above 0, else 0."""
    x, one = parts.add("Relu", x), parts.constant(1)
    for factor in (_HUGE, _LARGE):
        x = parts.add("Min", parts.add("Mul", x, parts.constant(factor)), one)
    return x


def _opposite(parts: Parts, x: str) -> str:
    return parts.add("Sub", parts.constant(1), x)


def _greater(parts: Parts) -> None:
    a, b = parts.node.inputs
    _positive(parts, parts.add("Sub", a, b))


def _less(parts: Parts) -> None:
    a, b = parts.node.inputs
    _positive(parts, parts.add("Sub", b, a))


def _greater_or_equal(parts: Parts) -> None:
    a, b = parts.node.inputs
    _opposite(parts, _positive(parts, parts.add("Sub", b, a)))


def _less_or_equal(parts: Parts) -> None:
    a, b = parts.node.inputs
    _opposite(parts, _positive(parts, parts.add("Sub", a, b)))


def _equal(parts: Parts) -> None:
    _opposite(parts, _positive(parts, parts.add("Abs", parts.add("Sub", *parts.node.inputs))))


def _not(parts: Parts) -> None:
    _opposite(parts, parts.node.inputs[0])


def _and(parts: Parts) -> None:
    parts.add("Mul", *_as_numbers(parts))


def _or(parts: Parts) -> None:
    parts.add("Min", parts.add("Add", *_as_numbers(parts)), parts.constant(1))


def _xor(parts: Parts) -> None:
    parts.add("Abs", parts.add("Sub", *_as_numbers(parts)))


def _as_numbers(parts: Parts) -> tuple[str, ...]:
    """The inputs, constants among them as numbers."""
    found = (parts.given.value(parts.node, position) for position in range(len(parts.node.inputs)))
    return tuple(
        parts.constant(value.array.astype(np.float32)) if isinstance(value, Constant) else name
        for name, value in zip(parts.node.inputs, found, strict=True)
    )


def of_number(parts: Parts) -> None:
    """A Cast to truth values: what is not 0 is true."""
    _positive(parts, parts.add("Abs", parts.node.inputs[0]))


def _where(parts: Parts) -> None:
    """``x`` and ``y``, each times 1 or 0 where it is computed."""
    mask = parts.given.operand(parts.node, 0)
    if not isinstance(mask, Constant):
        _refuse_infinity(parts)
        chosen, x, y = parts.node.inputs
        parts.add("Add", parts.add("Mul", x, chosen), parts.add("Mul", y, _opposite(parts, chosen)))
        return
    where = mask.array.astype(bool)
    terms, constant = [], np.zeros(where.shape, np.float32)
    for position, here in ((1, where), (2, ~where)):
        value = parts.given.value(parts.node, position)
        if isinstance(value, Constant | QuantizedConstant):
            array = value.array if isinstance(value, Constant) else value.real()
            constant = np.where(here, array, constant).astype(np.float32)
        else:
            terms.append(
                parts.add("Mul", parts.node.inputs[position], parts.constant(here.astype(np.float32)))
            )
    x = terms[0] if len(terms) == 1 else parts.add("Add", *terms)
    if constant.any():
        parts.add("Add", x, parts.constant(constant))


def _refuse_infinity(parts: Parts) -> None:
    """Refuse constants that times 0 are not 0."""
    for position in (1, 2):
        value = parts.given.value(parts.node, position)
        array = value.array if isinstance(value, Constant) else np.zeros(1)
        if not np.isfinite(array.astype(np.float64)).all():
            raise InputError(
                f"{parts.node}: what is chosen by a computed mask must be finite (got {array.min()} to "
                f"{array.max()}); use a large number, as -1e4."
            )


_KERNELS = ("add", "lookup")

TRUTHS: dict[str, tuple[Recipe, tuple[str, ...]]] = {
    "And": (_and, ("multiply",)),
    "Equal": (_equal, _KERNELS),
    "Greater": (_greater, _KERNELS),
    "GreaterOrEqual": (_greater_or_equal, _KERNELS),
    "Less": (_less, _KERNELS),
    "LessOrEqual": (_less_or_equal, _KERNELS),
    "Not": (_not, ("lookup",)),
    "Or": (_or, _KERNELS),
    "Where": (_where, ("multiply", *_KERNELS)),
    "Xor": (_xor, _KERNELS),
}
"""Operators that give or take truth values, with the kernels of what they are read as."""
