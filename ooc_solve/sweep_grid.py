"""Grid files: which points a sweep has.

A grid is a TOML file; every combination of its lists is a point::

    schema = "ooc-sweep/1"
    models = ["zoo:resnet8", "model.onnx"]  # paths are relative to this file
    targets = ["f746-sd", "my-board.toml"]
    sram = ["32KiB", "64KiB", 100000, "full"]  # "full": all that the board has

    # what follows may be left out, and then is as here
    objectives = ["latency"]
    schedulers = ["cp-sat"]
    seeds = [1]
    speeds = [1]  # times what ports and parts move per second
    time_limit = 20  # seconds for each point
    workers = 1  # processes for each point

    # and these may be left out
    io = "storage"  # where input and output live: storage if the target's takes writes
    write_budget = "64KiB"  # most bytes written per inference: no limit

Models and targets are read at once, so that no work is spent on a grid that names a missing one. What does
not go together is no error: an amount of SRAM that a board lacks makes a row that says so.
"""

from __future__ import annotations

import hashlib
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path
from typing import Any, TypeVar

from ooc_solve import __version__
from ooc_solve.api import load, size_bytes, target
from ooc_solve.models.link_speed import at_speed
from ooc_solve.models.problem import IoPlace
from ooc_solve.models.vocabulary import Budget, InputError, Network, Objective, OocError, Target
from ooc_solve.solver.solve import SCHEDULERS

SCHEMA = "ooc-sweep/1"
FULL = "full"
MOST_SECONDS, MOST_SEED, MOST_SPEED = 1e6, (1 << 31) - 1, 1000

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Point:
    """One problem for one scheduler. ``model`` is what the grid calls the network; ``io`` may be left open."""

    model: str
    network: Network
    target: Target
    sram_bytes: int
    objective: str
    scheduler: str
    io: str | None
    write_budget_bytes: int | None
    budget: Budget

    @property
    def key(self) -> str:
        """A name that is the same only for the same work by the same version."""
        target = asdict(replace(self.target, provenance={}))
        asked = (
            __version__, self.model, self.network.name, self.network.digest, target, self.sram_bytes,
            self.objective, self.scheduler, self.io, self.write_budget_bytes, self.budget,
        )  # fmt: skip
        return hashlib.sha256(repr(asked).encode()).hexdigest()[:32]


Series = tuple[Point, ...]
"""Points that differ in SRAM and in speed only: the slowest first, of those as fast the least SRAM."""


@dataclass(frozen=True, slots=True)
class Grid:
    """All points of a sweep, in series."""

    series: tuple[Series, ...]

    @property
    def points(self) -> tuple[Point, ...]:
        """The points in the order of the results."""
        return tuple(point for series in self.series for point in series)


def read_grid(path: Path) -> Grid:
    """The points of a grid file.

    Raises
    ------
    InputError
        If the file, a model or a target cannot be read, or an entry is not as it must be; names the entry.
    """
    return _Reader(path).grid()


class _Reader:
    """Takes the entries of a grid file one by one."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.tables = self._parsed()

    def grid(self) -> Grid:
        """All points."""
        self._check_keys()
        models = self._list("models", self._model)
        targets = self._list("targets", self._target)
        sizes = self._list("sram", self._size)
        objectives = self._list("objectives", self._one_of([o.value for o in Objective]), ["latency"])
        schedulers = self._list("schedulers", self._one_of(list(SCHEDULERS)), ["cp-sat"])
        seeds = self._list("seeds", self._seed, [1])
        speeds = sorted(self._list("speeds", self._speed, [1]))
        shared = self._shared()

        def series() -> Iterator[Series]:
            for (name, network), board, objective, scheduler, seed in product(
                models, targets, objectives, schedulers, seeds
            ):
                yield tuple(
                    Point(name, network, at_speed(board, speed), size, objective, scheduler, *shared(seed))
                    for speed in speeds
                    for size in _ascending(sizes, board)
                )

        return Grid(tuple(series()))

    def _parsed(self) -> dict[str, Any]:
        try:
            return tomllib.loads(self.path.read_bytes().decode())
        except OSError as error:
            raise InputError(f"{self.path}: the grid must be a file to read ({error.strerror}).") from None
        except (ValueError, RecursionError) as error:
            raise InputError(f"{self.path}: the grid must be valid TOML ({error}).") from None

    def _check_keys(self) -> None:
        for key in self.tables:
            if key not in _KEYS:
                raise self._wrong(key, f"is not a key of a grid; the keys are {', '.join(_KEYS)}")
        if self.tables.get("schema") != SCHEMA:
            raise self._wrong("schema", f"must be '{SCHEMA}' (got {self.tables.get('schema')!r})")

    def _shared(self) -> Callable[[int], tuple[str | None, int | None, Budget]]:
        """What all points have in common, for a seed."""
        io = self._single("io", self._one_of([place.value for place in IoPlace]), None)
        writes = self._single("write_budget", lambda _, value: 0 if value == 0 else self._bytes(value), None)
        seconds = self._single("time_limit", self._seconds, 20.0)
        workers = self._single("workers", lambda _, value: self._whole(value, 1, 1024), 1)
        assert seconds is not None
        assert workers is not None
        return lambda seed: (io, writes, Budget(seconds, workers, seed))

    def _list(self, key: str, read: Callable[[str, Any], T], default: list[Any] | None = None) -> list[T]:
        """The entries of a list that has some, none of them twice."""
        given = self.tables.get(key, default)
        if not isinstance(given, list) or not given:
            raise self._wrong(key, f"must be a list with at least one entry (got {given!r})")
        for place, value in enumerate(given):
            if value in given[:place]:
                raise self._wrong(f"{key}[{place}]", f"must not be there twice (got {value!r}); take one out")
        return [self._read(f"{key}[{place}]", read, value) for place, value in enumerate(given)]

    def _single(self, key: str, read: Callable[[str, Any], T], default: T | None) -> T | None:
        return self._read(key, read, self.tables[key]) if key in self.tables else default

    def _read(self, place: str, read: Callable[[str, Any], T], value: Any) -> T:
        try:
            return read(place, value)
        except OocError as error:
            raise self._wrong(place, f"must be one that can be used; {error}".rstrip(".")) from None
        except ValueError as error:
            raise self._wrong(place, str(error)) from None

    def _wrong(self, place: str, complaint: str) -> InputError:
        return InputError(f"{self.path}: '{place}' {complaint}.")

    # each of these returns a value or raises ValueError with what must hold

    def _model(self, place: str, value: Any) -> tuple[str, Network]:
        text = self._text(value)
        return text, load(text if text.startswith("zoo:") else self.path.parent / text)

    def _target(self, place: str, value: Any) -> Target:
        text = self._text(value)
        return target(self.path.parent / text if text.endswith(".toml") else text)

    def _size(self, place: str, value: Any) -> int | None:
        return None if value == FULL else self._bytes(value)

    def _bytes(self, value: Any) -> int:
        if type(value) not in (int, str):
            raise ValueError(f"must be a size such as 65536 or '64KiB' (got {value!r})")
        return size_bytes(value)

    def _one_of(self, words: list[str]) -> Callable[[str, Any], str]:
        def read(place: str, value: Any) -> str:
            if value not in words:
                raise ValueError(f"must be one of {', '.join(words)} (got {value!r})")
            return str(value)

        return read

    def _seed(self, place: str, value: Any) -> int:
        return self._whole(value, 0, MOST_SEED)

    def _speed(self, place: str, value: Any) -> float:
        if type(value) not in (int, float) or not 1 / MOST_SPEED <= value <= MOST_SPEED:
            raise ValueError(f"must be a factor from {1 / MOST_SPEED} to {MOST_SPEED} (got {value!r})")
        return float(value)

    def _whole(self, value: Any, least: int, most: int) -> int:
        if type(value) is not int or not least <= value <= most:
            raise ValueError(f"must be a whole number from {least} to {most} (got {value!r})")
        return value

    def _seconds(self, place: str, value: Any) -> float:
        if type(value) not in (int, float) or not 0 < value <= MOST_SECONDS:
            raise ValueError(f"must be seconds above 0 and up to {MOST_SECONDS:.0f} (got {value!r})")
        return float(value)

    def _text(self, value: Any) -> str:
        if not isinstance(value, str) or not value.strip():
            raise ValueError(f"must be a text (got {value!r})")
        return value


def _ascending(sizes: list[int | None], target: Target) -> list[int]:
    """The sizes for one target, the least first; ``None`` stands for all that its board has."""
    return sorted({target.board.usable_bytes if size is None else size for size in sizes})


_KEYS = (
    "schema", "models", "targets", "sram", "objectives", "schedulers", "seeds", "speeds", "time_limit",
    "workers", "io", "write_budget",
)  # fmt: skip
