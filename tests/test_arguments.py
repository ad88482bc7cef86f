"""Values of options: which texts mean something, and what."""

from __future__ import annotations

import argparse
from collections.abc import Callable

import pytest

from ooc_solve.arguments import parse_budget, parse_count, parse_rate, parse_seconds, parse_size, parse_years


def test_sizes() -> None:
    """Sizes are bytes, k and KiB are 1024, M and MiB are 1024 of those."""
    assert [parse_size(t) for t in ("65536", "64KiB", "64k", "1.5MiB", "8 B")] == [
        65536, 65536, 65536, 1536 * 1024, 8,
    ]  # fmt: skip


def test_numbers() -> None:
    """Only a budget may be 0; counts are whole, all else is positive."""
    assert parse_budget(" 0 ") == 0
    assert parse_budget("2k") == 2048
    assert parse_count("2147483647") == 2**31 - 1
    assert [parse(text) for parse, text in ((parse_seconds, "0.5"), (parse_rate, "1e9"), (parse_years, "1e6"))] == [
        0.5, 1e9, 1e6,
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("parse", "text"),
    [
        (parse_size, "0"),
        (parse_budget, "-1"),
        (parse_count, "-1"),
        (parse_count, "1.5"),
        (parse_count, "2147483648"),
        (parse_seconds, "0"),
        (parse_seconds, "inf"),
        (parse_rate, "nan"),
        (parse_years, "1e7"),
    ],
)
def test_what_means_nothing(parse: Callable[[str], float], text: str) -> None:
    """What is no such value is one complaint about the command line, which shows it."""
    with pytest.raises(argparse.ArgumentTypeError, match=f"got '{text}'"):
        parse(text)
