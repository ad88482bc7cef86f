"""Functions by additions and multiplications alone lie next to those of a mathematical library."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ooc_solve.models.float_functions import (
    LEAST,
    apply,
    error_function,
    exponential,
    hyperbolic_tangent,
    logarithm,
    sigmoid,
    square_root,
)
from ooc_solve.models.vocabulary import CHEAP, Function

Floats = NDArray[np.float32]

MOST_ERROR = 3e-7
"""A little over two units in the last place."""


def points(low: float, high: float) -> Floats:
    """Evenly spread, and closer and closer to 0."""
    small = np.logspace(-20, -1, 500)
    return np.concatenate([np.linspace(low, high, 20_001), small, -small]).astype(np.float32)


@pytest.mark.parametrize(
    ("function", "exact", "low", "high"),
    [
        (exponential, math.exp, -86.9, 88.7),
        (sigmoid, lambda x: 1 / (1 + math.exp(-x)), -80, 80),
        (hyperbolic_tangent, math.tanh, -20, 20),
        (error_function, math.erf, -8, 8),
        (lambda x: logarithm(np.abs(x)), lambda x: math.log(abs(x)) if x else -math.inf, -9, 9),
        (lambda x: square_root(np.abs(x)), lambda x: math.sqrt(abs(x)), -900, 900),
    ],
)
def test_relative_error(
    function: Callable[[Floats], Floats], exact: Callable[[float], float], low: float, high: float
) -> None:
    """Two units in the last place, however small the result is."""
    x = points(low, high)
    expected = np.array([exact(value) for value in x.tolist()])
    with np.errstate(all="ignore"):
        error = np.where(function(x) == expected, 0, np.abs(function(x) / expected - 1))
    assert np.nanmax(error) < MOST_ERROR


def test_ends_of_the_exponential() -> None:
    """Beyond float32 it is infinite, below its ordinary numbers 0; what is no number stays none."""
    x = np.array([88.73, np.inf, float(LEAST) - 1, -np.inf, np.nan], np.float32)
    with np.errstate(all="ignore"):
        found = exponential(x)
    assert found[:4].tolist() == [np.inf, np.inf, 0, 0]
    assert np.isnan(found[4])


@pytest.mark.parametrize(("function", "at_zero"), [(logarithm, -np.inf), (square_root, 0)])
def test_ends_of_logarithm_and_root(function: Callable[[Floats], Floats], at_zero: float) -> None:
    """Infinite ones stay so, what is negative or no number has none."""
    x = np.array([0, np.inf, -1, np.nan], np.float32)
    with np.errstate(all="ignore"):
        found = function(x)
    assert found[:2].tolist() == [at_zero, np.inf]
    assert np.isnan(found[2:]).all()


def gelu(x: float) -> float:
    return x / 2 * (1 + math.erf(x / math.sqrt(2)))


DEFINED: dict[Function, Callable[[float, float, float], float]] = {
    Function.CLIP: lambda x, a, b: min(max(x, a), b),
    Function.AFFINE: lambda x, a, b: x * a + b,
    Function.LEAKY: lambda x, a, b: x if x >= 0 else a * x,
    Function.INVERSE: lambda x, a, b: a / x,
    Function.EXP: lambda x, a, b: math.exp(x),
    Function.SIGMOID: lambda x, a, b: 1 / (1 + math.exp(-a * x)),
    Function.SWISH: lambda x, a, b: x / (1 + math.exp(-a * x)),
    Function.TANH: lambda x, a, b: math.tanh(x),
    Function.ERF: lambda x, a, b: math.erf(x),
    Function.GELU: lambda x, a, b: gelu(x),
    Function.GELU_TANH: lambda x, a, b: (
        x / 2 * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    Function.HARD_SIGMOID: lambda x, a, b: min(max(a * x + b, 0), 1),
    Function.HARD_SWISH: lambda x, a, b: x * min(max(a * x + b, 0), 1),
    Function.ELU: lambda x, a, b: x if x >= 0 else a * (math.exp(x) - 1),
    Function.ABS: lambda x, a, b: abs(x),
    Function.SQRT: lambda x, a, b: math.sqrt(x) if x > 0 else math.nan,
    Function.LOG: lambda x, a, b: math.log(x) if x > 0 else math.nan,
    Function.SOFTPLUS: lambda x, a, b: math.log1p(math.exp(x)),
    Function.MISH: lambda x, a, b: x * math.tanh(math.log1p(math.exp(x))),
}


@pytest.mark.parametrize("function", list(Function))
def test_every_function_is_what_it_is_called(function: Function) -> None:
    """With its two parameters each computes its definition, to the last digits."""
    x = np.linspace(-6, 6, 1001).astype(np.float32)
    x = x[x != 0]
    a, b = np.float32(-0.75), np.float32(1.5)
    expected = np.array([DEFINED[function](value, float(a), float(b)) for value in x.tolist()])
    found = apply(function, x, a, b)  # type: ignore[arg-type]
    assert found.dtype == np.float32
    assert np.array_equal(np.isnan(found), np.isnan(expected))
    assert np.nanmax(np.abs(found - expected)) <= 2 * MOST_ERROR * max(1.0, np.nanmax(np.abs(expected)))


def test_cheap_functions_are_a_few_operations(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the cost model counts as an exponential is what calls one, a logarithm or a root."""
    calls: list[Any] = []

    def counted(x: Floats) -> Floats:
        calls.append(x)
        return np.ones_like(x)

    for name in ("exponential", "logarithm", "square_root"):
        monkeypatch.setattr(f"ooc_solve.models.float_functions.{name}", counted)
    x = np.array([0.5, -3.0], np.float32)
    one = np.ones(1, np.float32)
    for function in Function:
        calls.clear()
        apply(function, x, one, one)
        assert bool(calls) == (function not in CHEAP), function
