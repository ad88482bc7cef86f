"""Fitting of cost coefficients to measured cycles and transfer times.

Every fit is non-negative and minimises relative errors, so that a small kernel counts as much as a
large one: ``min sum ((a_i . x - b_i) / b_i)^2`` subject to ``x >= 0``.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.cost import COARSE_PER_MAC, FLOAT_PREFIX, KERNEL_KINDS, NS_PER_S, KernelWork, cycles_of
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import (
    DType,
    InputError,
    KernelCost,
    Op,
    OpKind,
    Place,
    RuntimeCost,
    Tensor,
    Tiling,
    Window,
)

Matrix = NDArray[np.float64]

WEIGHTIEST = (7, 8, 5, 0, 2, 6, 1, 4, 3, 9)
"""Positions in `KernelWork.figures`: MACs of both sorts, outputs, the call, lines, runs, blocks, single
pixels, cut areas, tails of runs."""

MOST = 1e15
"""Numbers in CSV files are no larger."""

MOST_SIZE, MOST_WINDOW = 65_535, 255
"""No axis of a tensor, or of a window, is longer: the tables of the runtime have 16 and 8 bits."""

MOST_BYTES_PER_S = 1e12
"""No storage of a microcontroller is faster: times were in another unit."""

PER_MAC_FIGURES = ("conv_cycles_per_mac", "dw_cycles_per_mac", "fc_cycles_per_mac")
COARSE_FIGURES = (
    *PER_MAC_FIGURES,
    *("cycles_per_output", "cycles_per_call", "cycles_per_request", "cycles_per_checked_byte"),
)
"""Figures of a kernel library that do not belong to one kind of kernels."""

MORE_SAMPLES = 4
"""So many more samples than figures per MAC must there be to tell the figures of calls and outputs as well."""

SMALLEST_PER_MAC = 1e-6
"""Stands for a figure per MAC that no sample tells; board files want one above 0."""


@dataclass(frozen=True, slots=True)
class KernelSample:
    """One measured kernel call; ``label`` is for people."""

    label: str
    work: KernelWork
    cycles: float


@dataclass(frozen=True, slots=True)
class RequestSample:
    """Cycles the CPU spent on some requests of transfers, or before kernels, comparing bytes with a checksum."""

    label: str
    requests: int
    checked_bytes: int
    cycles: float
    kernels: int = 0


@dataclass(frozen=True, slots=True)
class TransferSample:
    """One measured transfer of one request; ``direction`` is "read" or "write"."""

    direction: str
    size_bytes: int
    microseconds: float


@dataclass(frozen=True, slots=True)
class Row:
    """A sample beside what the fitted coefficients say."""

    label: str
    measured: float
    fitted: float

    @property
    def error(self) -> float:
        """Relative error of the fit."""
        return self.fitted / self.measured - 1


@dataclass(frozen=True, slots=True)
class TransferFit:
    """Setup and rate of one direction."""

    direction: str
    setup_ns: int
    bytes_per_s: int
    rows: tuple[Row, ...]


@dataclass(frozen=True, slots=True)
class Told:
    """What samples tell of a kind of kernels: so many different calls, that many of all its figures.

    ``columns`` are those figures, as positions in `KernelWork.figures`.
    """

    kind: str
    calls: int
    columns: tuple[int, ...]
    figures: int


@dataclass(frozen=True, slots=True)
class RuntimeFit:
    """Figures of a kernel library, the samples they were fitted to, and what these tell of each kind.

    ``kept`` are figures that no sample told.
    """

    cost: RuntimeCost
    rows: tuple[Row, ...]
    told: tuple[Told, ...]
    kept: tuple[str, ...] = ()


def rms_error(rows: Sequence[Row]) -> float:
    """Root of the mean squared relative error; 0 without rows."""
    return float(np.sqrt(np.mean([row.error**2 for row in rows]))) if rows else 0.0


# ----------------------------------------------------------------- non-negative least squares


def nonnegative_least_squares(a: Matrix, b: Matrix) -> Matrix:
    """Return ``x >= 0`` that minimises the Euclidean norm of ``a x - b``.

    The active set method of Lawson and Hanson (Solving Least Squares Problems, 1974, chapter 23):
    columns enter by the steepest gradient, and leave where they would turn negative.

    Parameters
    ----------
    a
        Matrix, shape (rows, columns).
    b
        Vector, shape (rows,).
    """
    scale = np.linalg.norm(a, axis=0)
    scale[scale == 0] = 1.0
    scaled = a / scale
    x = np.zeros(a.shape[1])
    free = np.zeros(a.shape[1], bool)
    tolerance = 1e-12 * max(1.0, float(np.abs(scaled.T @ b).max(initial=0.0)))
    for _ in range(10 * a.shape[1] + 10):
        gradient = np.where(free, -np.inf, scaled.T @ (b - scaled @ x))
        if not gradient.size or gradient.max() <= tolerance:
            break
        free[int(gradient.argmax())] = True
        x = _solve_free(scaled, b, x, free)
    return np.asarray(x / scale, np.float64)


def _solve_free(a: Matrix, b: Matrix, x: Matrix, free: NDArray[np.bool_]) -> Matrix:
    """Least squares over the free columns; columns that would turn negative are set to 0 and leave."""
    while True:
        wanted = np.zeros_like(x)
        wanted[free] = np.linalg.lstsq(a[:, free], b, rcond=None)[0]
        negative = free & (wanted <= 0)
        if not negative.any():
            return wanted
        step = np.min(x[negative] / (x[negative] - wanted[negative]))
        x = x + step * (wanted - x)
        free &= x > 1e-15
        x[~free] = 0.0


def _fit(
    features: Matrix | Sequence[Sequence[float]], measured: Sequence[float], power: float = 1.0
) -> Matrix:
    """Coefficients of features, each row weighed by its measured value to the power of ``-power``.

    1 minimises relative errors. 0.5 weighs relative errors by time: for samples that are noisy while
    small, which would otherwise outvote the large ones.
    """
    b = np.array(measured, np.float64)
    weight = b**-power
    return nonnegative_least_squares(np.asarray(features, np.float64) * weight[:, None], b * weight)


# -------------------------------------------------------------------------------- kernels


def fit_runtime(
    name: str,
    kernels: Sequence[KernelSample],
    requests: Sequence[RequestSample] = (),
    known: RuntimeCost | None = None,
) -> RuntimeFit:
    """Fit the figures of a kernel library; what no sample tells stays as it is ``known``.

    The coarse figures are fitted to all samples of int8 kernels together; kinds that have samples get figures of
    their own besides. ``rms_error_percent`` is that of the latter.

    Raises
    ------
    InputError
        If there are no samples, or one did not take any time.
    """
    if not kernels:
        raise InputError("A calibration needs at least one measured kernel (got none).")
    for label, cycles in ((s.label, s.cycles) for group in (kernels, requests) for s in group):
        if not cycles > 0:
            raise InputError(f"Cycles must be above 0 (got {cycles:g} for {label}).")
    kinds = sorted({sample.work.kind for sample in kernels})
    integers = [sample for sample in kernels if not sample.work.kind.startswith(FLOAT_PREFIX)]
    if not integers:
        raise InputError(
            "A calibration needs at least one measured kernel of int8 beside those of float32 (got none), for the "
            "figures that all kinds share."
        )
    calls = {kind: [s for s in kernels if s.work.kind == kind] for kind in kinds}
    told = tuple(_told(kind, samples) for kind, samples in calls.items())
    own = {what.kind: _fit_kind(what, calls[what.kind]) for what in told}
    rows = tuple(Row(s.label, s.cycles, kernel_cycles(own[s.work.kind], s.work)) for s in kernels)
    per_request, per_byte = fit_requests(requests)
    found = _fit_coarse(integers, known)
    if requests:
        found |= {"cycles_per_request": per_request, "cycles_per_checked_byte": per_byte}
    kept = {} if known is None else {k: getattr(known, k) for k in COARSE_FIGURES if k not in found}
    cost = RuntimeCost(
        name=name,
        **{**dict.fromkeys(PER_MAC_FIGURES, SMALLEST_PER_MAC), **kept, **found},
        rms_error_percent=_rounded(100 * rms_error(rows)),
        kernels=tuple(own.values()),
    )
    return RuntimeFit(cost, rows, told, tuple(kept))


def kernel_cycles(cost: KernelCost, work: KernelWork) -> float:
    """Cycles of a kernel call by the figures of its kind."""
    return float(np.dot(cycles_of(cost), work.figures))


def _fit_kind(told: Told, samples: Sequence[KernelSample]) -> KernelCost:
    figures, columns = _figures(samples), list(told.columns)
    found = np.zeros(figures.shape[1])
    found[columns] = _fit(figures[:, columns], [sample.cycles for sample in samples], power=0.5)
    return KernelCost(told.kind, *(_rounded(value) for value in found))


def _told(kind: str, samples: Sequence[KernelSample]) -> Told:
    """The figures that the samples can tell, one for every two different calls.

    The weightiest is one of them, because calls of other sizes depend on it most; the others are those that
    leave the least error, one after the other.
    """
    figures, cycles = _figures(samples), [sample.cycles for sample in samples]
    different = len(np.unique(figures, axis=0))
    columns = [column for column in WEIGHTIEST if figures[:, column].any()]
    most = max(1, different // 2)

    def error(chosen: list[int]) -> float:
        fitted = np.dot(figures[:, chosen], _fit(figures[:, chosen], cycles))
        return round(float(np.sum((fitted / np.array(cycles) - 1) ** 2)), 9)

    chosen = columns if most >= len(columns) else columns[:1]
    while len(chosen) < min(most, len(columns)):
        chosen = min(([*chosen, column] for column in columns if column not in chosen), key=error)
    return Told(kind, different, tuple(chosen), len(columns))


def _figures(samples: Sequence[KernelSample]) -> Matrix:
    return np.array([sample.work.figures for sample in samples], np.float64)


def _fit_coarse(samples: Sequence[KernelSample], known: RuntimeCost | None) -> dict[str, float]:
    """The coarse figures that the samples tell; where they are few, those of calls and outputs are taken as known."""
    per_mac = sorted({COARSE_PER_MAC[s.work.kind] for s in samples if s.work.kind in COARSE_PER_MAC})
    macs = [[s.work.macs * (COARSE_PER_MAC.get(s.work.kind) == name) for name in per_mac] for s in samples]
    cycles = [s.cycles for s in samples]
    if known is not None and len(samples) < len(per_mac) + MORE_SAMPLES:
        fixed = [known.cycles_per_call + known.cycles_per_output * s.work.outputs for s in samples]
        rest = [max(c - f, c / 2) for c, f in zip(cycles, fixed, strict=True)]
        found = dict(zip(per_mac, _fit(macs, rest), strict=True)) if per_mac else {}
    else:
        features = [(1, s.work.outputs, *row) for s, row in zip(samples, macs, strict=True)]
        found = dict(
            zip(("cycles_per_call", "cycles_per_output", *per_mac), _fit(features, cycles), strict=True)
        )
    return {
        name: max(_rounded(value), SMALLEST_PER_MAC) if name in per_mac else _rounded(value)
        for name, value in found.items()
    }


def fit_requests(samples: Sequence[RequestSample]) -> tuple[float, float]:
    """Cycles per request and per byte compared with a checksum."""
    if not samples:
        return 0.0, 0.0
    # how long a request waits to be noticed is up to chance
    found = _fit(
        [(s.requests, s.checked_bytes, s.kernels) for s in samples], [s.cycles for s in samples], power=0.5
    )
    return _rounded(found[0]), _rounded(found[1])


def _rounded(value: float) -> float:
    """Five significant digits: more say nothing, and board files stay readable."""
    return float(f"{value:.5g}")


# ------------------------------------------------------------------------------ transfers


def fit_transfers(samples: Sequence[TransferSample], source: str) -> tuple[TransferFit, ...]:
    """Fit setup and rate of each direction that has samples; ``source`` is where they come from.

    Raises
    ------
    InputError
        If there are no samples, or those of a direction do not tell a rate.
    """
    if not samples:
        raise InputError(f"{source}: at least two transfers are needed (got none).")
    found = []
    for direction in ("read", "write"):
        own = [sample for sample in samples if sample.direction == direction]
        if own:
            found.append(_fit_direction(direction, own, source))
    return tuple(found)


def _fit_direction(direction: str, samples: Sequence[TransferSample], source: str) -> TransferFit:
    setup, per_byte = _fit([(1, s.size_bytes) for s in samples], [s.microseconds * 1000 for s in samples])
    if per_byte <= 0 or len({s.size_bytes for s in samples}) < 2:
        raise InputError(
            f"{source}: {direction} times must grow with the bytes, of at least two sizes, to tell a rate; "
            "measure more sizes."
        )
    if NS_PER_S / per_byte > MOST_BYTES_PER_S:
        raise InputError(
            f"{source}: {direction} times must be in microseconds (got a rate of "
            f"{NS_PER_S / per_byte:.3g} bytes per second)."
        )
    rows = tuple(
        Row(f"{direction} {s.size_bytes}", s.microseconds, (setup + per_byte * s.size_bytes) / 1000)
        for s in samples
    )
    return TransferFit(direction, round(setup), max(1, round(NS_PER_S / per_byte)), rows)


# ------------------------------------------------------------------------------- profiles


def put_runtime(board: dict[str, Any], cost: RuntimeCost, source: str, same: Sequence[str] = ()) -> None:
    """Replace the figures of a kernel library in the table of a board; ``source`` is their provenance.

    Not of those that are the ``same`` as before.

    Kinds of float32 kernels without samples keep theirs, as coarse figures do not stand for them.
    """
    before = board.get("runtime", {}).get(cost.name, {}).get("kernel", {})
    measured = {kernel.kind for kernel in cost.kernels}
    kept = {k: v for k, v in before.items() if k.startswith(FLOAT_PREFIX) and k not in measured}
    table = {
        key: value
        for key, value in asdict(cost).items()
        if key not in ("name", "kernels") and value is not None
    }
    table["kernel"] = {
        kernel.kind: {key: value for key, value in asdict(kernel).items() if key != "kind" and value}
        for kernel in cost.kernels
    } | kept
    board.setdefault("runtime", {})[cost.name] = table
    prefix = f"runtime.{cost.name}."
    provenance = board.setdefault("provenance", {})
    stay = tuple(f"{prefix}kernel.{kind}." for kind in kept)
    unchanged = {f"{prefix}{key}" for key in same}
    for key in [
        k for k in provenance if k.startswith(prefix) and not k.startswith(stay) and k not in unchanged
    ]:
        del provenance[key]
    provenance |= {f"{prefix}{key}": source for key in table if key != "kernel" and key not in same}
    provenance |= {
        f"{prefix}kernel.{kind}.{key}": source
        for kind, keys in table["kernel"].items()
        if kind not in kept
        for key in keys
    }


def put_transfers(tables: dict[str, Any], role: str, fits: Sequence[TransferFit], source: str) -> None:
    """Make the port and the storage part behind ``role`` of a target take the fitted times.

    Raises
    ------
    InputError
        If the part programs pages or must be erased: such writes have no single rate.
    """
    place = tables[role]
    part = tables["storage"][place["storage"]]
    port = next(port for port in tables["board"]["port"] if port["id"] == place["port"])
    if any(fit.direction == "write" for fit in fits) and (
        "page_program_ns" in part["write"] or part.get("erase", {}).get("required")
    ):
        raise InputError(
            f"Writes to '{place['storage']}' depend on pages and erased blocks, not on one rate: leave them "
            "out of the transfers."
        )
    peak = max(port["peak_bytes_per_s"], *(fit.bytes_per_s for fit in fits))
    for way in ("read", "write"):
        share = port[f"{way}_efficiency"] * port["peak_bytes_per_s"] / peak
        port[f"{way}_efficiency"] = min(1.0, share)
    shared = min(port["setup_ns"], *(fit.setup_ns for fit in fits))
    for way in ("read", "write"):
        part[way]["setup_ns"] += port["setup_ns"] - shared
    port |= {"peak_bytes_per_s": peak, "setup_ns": shared, "cpu_cycles_per_byte": 0}
    changed = {f"port.{port['id']}.{key}" for key in ("peak_bytes_per_s", "setup_ns", "cpu_cycles_per_byte")}
    for fit in fits:
        port[f"{fit.direction}_efficiency"] = fit.bytes_per_s / peak
        part[fit.direction] |= {
            "setup_ns": fit.setup_ns - shared,
            "bytes_per_s": max(fit.bytes_per_s, part[fit.direction]["bytes_per_s"]),
        }
        changed.add(f"port.{port['id']}.{fit.direction}_efficiency")
        notes = part.setdefault("provenance", {})
        notes |= {f"{fit.direction}.{key}": source for key in ("setup_ns", "bytes_per_s")}
    tables["board"].setdefault("provenance", {}).update(dict.fromkeys(sorted(changed), source))


# ------------------------------------------------------------------------------ CSV files

KERNEL_COLUMNS = (
    *("op", "height", "width", "channels", "input_channels", "kernel_height", "kernel_width"),
    *("stride", "padding", "cycles"),
)
_LIMITS = dict.fromkeys(KERNEL_COLUMNS[1:5], MOST_SIZE) | dict.fromkeys(KERNEL_COLUMNS[5:8], MOST_WINDOW)
TRANSFER_COLUMNS = ("direction", "bytes", "microseconds")


def read_kernel_samples(path: Path) -> list[KernelSample]:
    """Read measured kernels: a CSV file with the columns of `KERNEL_COLUMNS`, one call per row.

    ``op`` is a kind of kernel; height, width and channels are those of the output; ``padding`` is
    "same" or "valid". Raises `InputError` naming file and line.
    """
    samples = [_kernel_sample(row, place) for row, place in _rows(path, KERNEL_COLUMNS)]
    if not samples:
        raise InputError(f"{path}: at least one measured kernel is needed (got none).")
    return samples


def read_transfer_samples(path: Path) -> list[TransferSample]:
    """Read measured transfers: a CSV file with the columns of `TRANSFER_COLUMNS`, one request per row.

    ``direction`` is "read" or "write". Raises `InputError` naming file and line.
    """
    samples = []
    for row, place in _rows(path, TRANSFER_COLUMNS):
        if row["direction"] not in ("read", "write"):
            raise InputError(f"{place}: direction must be read or write (got '{row['direction']}').")
        size = _number(row, "bytes", place, whole=True)
        samples.append(TransferSample(row["direction"], int(size), _number(row, "microseconds", place)))
    return samples


def _rows(path: Path, columns: tuple[str, ...]) -> Iterator[tuple[dict[str, str], str]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, strict=True)
            missing = [name for name in columns if name not in (reader.fieldnames or ())]
            if missing:
                raise InputError(
                    f"{path}: the first line must name the columns {', '.join(columns)} (no {missing[0]})."
                )
            for row in reader:
                yield {name: (row[name] or "").strip() for name in columns}, f"{path}, line {reader.line_num}"
    except OSError as error:
        raise InputError(f"{path}: the file cannot be read ({error.strerror}).") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: the file must be CSV in UTF-8 ({error}).") from error


def _number(row: dict[str, str], name: str, place: str, whole: bool = False, most: float = MOST) -> float:
    try:
        value = float(int(row[name])) if whole else float(row[name])
    except ValueError:
        value = -1.0
    if not 0 < value <= most:
        raise InputError(
            f"{place}: {name} must be a {'whole ' if whole else ''}number above 0, up to {most:g} "
            f"(got '{row[name]}')."
        )
    return value


def _kernel_sample(row: dict[str, str], place: str) -> KernelSample:
    if row["op"] not in KERNEL_KINDS:
        raise InputError(f"{place}: op must be one of {', '.join(KERNEL_KINDS)} (got '{row['op']}').")
    if row["padding"] not in ("same", "valid"):
        raise InputError(f"{place}: padding must be same or valid (got '{row['padding']}').")
    height, width, channels, depth, kernel_height, kernel_width, stride = (
        int(_number(row, name, place, whole=True, most=most)) for name, most in _LIMITS.items()
    )
    name = row["op"].removeprefix(FLOAT_PREFIX)
    dtype = DType.INT8 if name == row["op"] else DType.FLOAT32
    transposed = name == "transposed"
    kind = OpKind.CONV if name == "fc" or transposed else OpKind(name)
    same = row["padding"] == "same"
    (above, top), (beside, left) = (
        _input_axis(n, k, stride, same) for n, k in ((height, kernel_height), (width, kernel_width))
    )
    window = Window(
        (kernel_height, kernel_width), (stride, stride), pads=(top, left, top, left), transposed=transposed
    )
    source = Tensor("input", above, beside, depth, dtype)
    pair = kind in (OpKind.ADD, OpKind.MULTIPLY)
    places = (Place(),) if kind is OpKind.MOVE else ()
    weights = np.zeros(1, np.int8) if kind in (OpKind.CONV, OpKind.DEPTHWISE, OpKind.LOOKUP) else None
    op = Op(row["op"], kind, ("input",) * (1 + pair), "output", window, weights=weights, places=places)
    tiling = Tiling(height, width, channels, depth)
    geometry = StageGeometry(op, (source,), Tensor("output", height, width, channels, dtype), tiling)
    work = replace(geometry.work(height, width, channels, depth), kind=row["op"])
    label = f"{row['op']} {height}x{width}x{channels}, kernel {kernel_height}x{kernel_width}x{depth}"
    return KernelSample(label, work, _number(row, "cycles", place))


def _input_axis(outputs: int, kernel: int, stride: int, same: bool) -> tuple[int, int]:
    """Input size and padding in front along an axis."""
    if not same:
        return (outputs - 1) * stride + kernel, 0
    size = outputs * stride
    return size, max(0, (outputs - 1) * stride + kernel - size) // 2
