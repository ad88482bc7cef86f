"""Functions of one float32 number by additions and multiplications alone, the same on every machine.

Each operation is rounded to float32 on its own, in the order written; ``codegen/runtime/ooc_float.c`` repeats
them one by one, so that chips without a mathematical library give the bytes of this module. Coefficients are
weighted least-squares fits on Chebyshev nodes, made for this file; ``tests/models/test_float_functions.py`` measures
the errors.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.vocabulary import Function

Floats = NDArray[np.float32]

LEAST, MOST = np.float32(-87.0), np.float32(88.72)
"""Below, exp counts as 0; above, as infinite."""

LOG2_E = np.float32(1.4426950408889634)
LN2_HIGH = np.float32(0.693359375)  # few bits, so that its products with whole numbers are exact
LN2_LOW = np.float32(-2.1219444e-4)
WHOLE = np.float32(12582912.0)  # 1.5 * 2^23: adding it leaves no bits for a fraction

EXP = (0.5, 0.16666512191295624, 0.0416661873459816, 0.008369598537683487, 0.0013951717410236597)
"""``(exp(r) - 1 - r) / r^2`` by powers of ``r``, up to half of ln 2."""

TANH = (
    -0.3333328366279602,
    0.13331490755081177,
    -0.05374349653720856,
    0.020650586113333702,
    -0.005717043299227953,
)
"""``(tanh(x) / x - 1) / x^2`` by powers of ``x^2``, up to 0.625."""

ERF = (
    *(1.1283791065216064, -0.3761262595653534, 0.11283600330352783, -0.026854444295167923),
    *(0.005189535208046436, -0.0008020841632969677, 7.889120024628937e-05),
)
"""``erf(x) / x`` by powers of ``x^2``, up to 1."""

ERFC = (
    *(
        1.128584623336792,
        0.6355023384094238,
        0.10542842000722885,
        -0.02274494059383869,
        0.0028797490522265434,
    ),
    *(2.471333573339507e-05, -8.201277523767203e-05, 1.3290085917105898e-05, -7.502914627366408e-07),
)
"""``-log(1 - erf(x)) / x`` by powers of ``x``, from 1 to 4."""

LOG = (
    *(0.3333335518836975, -0.2500085234642029, 0.19999825954437256, -0.16621370613574982),
    *(0.14227114617824554, -0.13202103972434998, 0.1262032687664032, -0.07362867891788483),
)
"""``(log(1 + f) - f + f^2 / 2) / f^3`` by powers of ``f``, from ``sqrt(1/2) - 1`` to ``sqrt(2) - 1``."""

ROOT_HALF = np.int32(0x3F3504F3)  # the bits of sqrt(1/2)
ROOT_GUESS = np.int32(0x5F3759DF)  # less half the bits of a number: those of about 1 / sqrt of it
SMALLEST = np.float32(1.17549435e-38)  # of the ordinary numbers
NO_NUMBER = np.float32(np.nan)

ONE, HALF = np.float32(1), np.float32(0.5)


def polynomial(x: Floats, coefficients: tuple[float, ...]) -> Floats:
    """Return a polynomial by Horner's rule, the constant coefficient first."""
    result = np.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        result = result * x + np.float32(coefficient)
    return result


def exponential(x: Floats) -> Floats:
    """Return ``exp(x)``: 2 to a whole power times the polynomial of what is left."""
    inside = np.clip(x, LEAST, MOST)
    power = (inside * LOG2_E + WHOLE) - WHOLE
    rest = (inside - power * LN2_HIGH) - power * LN2_LOW
    near = (rest * rest) * polynomial(rest, EXP) + rest + ONE
    whole = np.nan_to_num(power).astype(np.int32)
    scaled = (near.view(np.int32) + (whole << 23)).view(np.float32)
    result = np.where(x < LEAST, np.float32(0), np.where(x > MOST, np.float32(np.inf), scaled))
    return np.asarray(np.where(np.isnan(x), x, result))


def sigmoid(x: Floats) -> Floats:
    """Return ``1 / (1 + exp(-x))``."""
    return ONE / (ONE + exponential(-x))


def hyperbolic_tangent(x: Floats) -> Floats:
    """Return ``tanh(x)``."""
    square = x * x
    near = x * (square * polynomial(square, TANH)) + x
    size = np.abs(x)
    far = ONE - np.float32(2) / (exponential(size + size) + ONE)
    return np.asarray(np.where(size < np.float32(0.625), near, np.where(x < 0, -far, far)))


def error_function(x: Floats) -> Floats:
    """Return ``erf(x)``."""
    square, size = x * x, np.abs(x)
    near = x * polynomial(square, ERF)
    limited = np.minimum(size, np.float32(4))
    far = ONE - exponential(-(limited * polynomial(limited, ERFC)))
    return np.asarray(np.where(size < ONE, near, np.where(x < 0, -far, far)))


def logarithm(x: Floats) -> Floats:
    """Return ``log(x)``: of a whole power of 2, and a series for what is left."""
    bits = np.where(x < SMALLEST, SMALLEST, x).astype(np.float32).view(np.int32)
    whole = (bits - ROOT_HALF) >> 23
    power, rest = whole.astype(np.float32), (bits - (whole << 23)).view(np.float32) - ONE
    square = rest * rest
    near = rest * (square * polynomial(rest, LOG)) + power * LN2_LOW
    result = ((near - HALF * square) + rest) + power * LN2_HIGH
    below = np.where(x < 0, NO_NUMBER, np.float32(-np.inf))
    return np.asarray(np.where(x <= 0, below, np.where(x < np.inf, result, x)))


def square_root(x: Floats) -> Floats:
    """Return ``sqrt(x)``: ``1 / sqrt(x)`` by Newton's method, times ``x``, and what is missing added."""
    bits = np.where(x < SMALLEST, np.float32(0), x).astype(np.float32).view(np.int32)
    guess, half = (ROOT_GUESS - (bits >> 1)).view(np.float32), HALF * x
    for _ in range(3):
        guess = guess * (np.float32(1.5) - (half * guess) * guess)
    root = x * guess
    result = root + (HALF * guess) * (x - root * root)
    below = np.where(x < 0, NO_NUMBER, np.float32(0))
    return np.asarray(np.where(x < SMALLEST, below, np.where(x < np.inf, result, x)))


def softplus(x: Floats) -> Floats:
    """Return ``log(1 + exp(x))``."""
    return np.where(x < 0, np.float32(0), x) + logarithm(ONE + exponential(-np.abs(x)))


def _limited(x: Floats, low: Any, high: Any) -> Floats:
    return np.asarray(np.where(x < low, low, np.where(x > high, high, x)))


def _gelu(x: Floats, a: Floats, b: Floats) -> Floats:
    return (HALF * x) * (ONE + error_function(x * np.float32(0.70710678)))


def _gelu_tanh(x: Floats, a: Floats, b: Floats) -> Floats:
    inner = x + np.float32(0.044715) * ((x * x) * x)
    return (HALF * x) * (ONE + hyperbolic_tangent(np.float32(0.79788456) * inner))


def _hard_sigmoid(x: Floats, a: Floats, b: Floats) -> Floats:
    return _limited(x * a + b, np.float32(0), ONE)


_FORMULAS: dict[Function, Callable[[Floats, Floats, Floats], Floats]] = {
    Function.CLIP: _limited,
    Function.AFFINE: lambda x, a, b: x * a + b,
    Function.LEAKY: lambda x, a, b: np.where(x < 0, x * a, x),
    Function.INVERSE: lambda x, a, b: a / x,
    Function.EXP: lambda x, a, b: exponential(x),
    Function.SIGMOID: lambda x, a, b: sigmoid(x * a),
    Function.SWISH: lambda x, a, b: x * sigmoid(x * a),
    Function.TANH: lambda x, a, b: hyperbolic_tangent(x),
    Function.ERF: lambda x, a, b: error_function(x),
    Function.GELU: _gelu,
    Function.GELU_TANH: _gelu_tanh,
    Function.HARD_SIGMOID: _hard_sigmoid,
    Function.HARD_SWISH: lambda x, a, b: x * _hard_sigmoid(x, a, b),
    Function.ELU: lambda x, a, b: np.where(x < 0, (exponential(x) - ONE) * a, x),
    Function.ABS: lambda x, a, b: np.where(x < 0, -x, x),
    Function.SQRT: lambda x, a, b: square_root(x),
    Function.LOG: lambda x, a, b: logarithm(x),
    Function.SOFTPLUS: lambda x, a, b: softplus(x),
    Function.MISH: lambda x, a, b: x * hyperbolic_tangent(softplus(x)),
}


def apply(function: Function, x: Floats, a: Floats, b: Floats) -> Floats:
    """Return a function of every element; ``a`` and ``b`` broadcast to it."""
    with np.errstate(all="ignore"):
        return np.asarray(_FORMULAS[function](x, a, b), np.float32)
