"""Values of options as all commands read them: what a text must be to mean a size, a time, a count."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

from ooc_solve.api import size_bytes
from ooc_solve.models.vocabulary import InputError

T = TypeVar("T")


def read_by(reader: Callable[[str], T]) -> Callable[[str], T]:
    """A reader of texts whose complaint is one about the command line."""

    def parse(text: str) -> T:
        try:
            return reader(text)
        except InputError as error:
            raise argparse.ArgumentTypeError(str(error)) from None

    return parse


def parse_size(text: str) -> int:
    """Bytes of a size, as `size_bytes` reads it."""
    return read_by(size_bytes)(text)


def parse_budget(text: str) -> int:
    """A size that may be zero."""
    return 0 if text.strip() == "0" else parse_size(text)


def parse_seconds(text: str) -> float:
    """A positive, finite number of seconds."""
    return _between(text, 1e6, "seconds must be more than 0 and at most 1000000")


def parse_rate(text: str) -> float:
    """Inferences a day: positive, at most a billion."""
    return _between(text, 1e9, "inferences a day must be more than 0 and at most 1000000000")


def parse_years(text: str) -> float:
    """Years of a lifetime: positive, at most a million."""
    return _between(text, 1e6, "years must be more than 0 and at most 1000000")


def _between(text: str, most: float, words: str) -> float:
    try:
        found = float(text)
    except ValueError:
        found = -1.0
    if not 0 < found <= most:
        raise argparse.ArgumentTypeError(f"{words} (got '{text}')")
    return found


def parse_count(text: str) -> int:
    """A whole number from 0 to 2**31 - 1."""
    if not text.isdecimal() or int(text) >= 1 << 31:
        raise argparse.ArgumentTypeError(f"a whole number from 0 to 2147483647 is needed (got '{text}')")
    return int(text)


def parse_processes(text: str) -> int:
    """A whole number from 1 to 1024."""
    if not text.isdecimal() or not 1 <= int(text) <= 1024:
        raise argparse.ArgumentTypeError(f"a whole number from 1 to 1024 is needed (got '{text}')")
    return int(text)
