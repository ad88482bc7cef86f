"""The kernels on emulated cores: the bytes of the reference executor, and not more instructions than before.

The counts that were measured last are in ``golden/kernel_counts.json``. After a change that is meant to
change them, renew them and look at the difference (likewise ``test_stack.py``, ``test_network_counts.py``)::

    OOC_RENEW_COUNTS=1 python -m pytest tests/codegen/test_kernel_counts.py

Counts depend on the compiler: they are compared only with the one that the file names.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ooc_solve.codegen.image import weight_payload
from ooc_solve.codegen.machines import MACHINES, memory_script
from ooc_solve.codegen.tables import KINDS
from ooc_solve.models.reference import run_op
from ooc_solve.models.tiling import StageGeometry, live_taps
from ooc_solve.models.vocabulary import DType, Network, Op, OpKind, Quantization, Tensor, Tiling, Window

Array = NDArray[Any]

HERE = Path(__file__).resolve().parent
CODEGEN = HERE.parents[1] / "codegen"
RUNTIME = CODEGEN / "runtime"
PORT = CODEGEN / "ports" / "emulated"

CORES = {
    "m0": "microbit",
    "m3": "emcraft-sf2",
    "m4": "mps2-an386",
    "m7": "mps2-an500",
    "m33": "mps2-an505",
    "m55": "mps3-an547",
}
KERNELS = (
    "ooc_kernels.c",
    "ooc_windows.c",
    "ooc_conv.c",
    "ooc_depthwise.c",
    "ooc_transposed.c",
    "ooc_move.c",
    "ooc_tile.c",
)
STARTUP = ("startup_cortex_m.c", "stack.c", "systick.c", "semihost.c")
STRICT = (
    "-DOOC_MATRICES",
    "-std=c99",
    "-O2",
    "-ffp-contract=off",
    "-Wall",
    "-Wextra",
    "-Wconversion",
    "-Werror",
)
BUFFER_BYTES = 5200
DEPTHWISE_3X3 = ("depthwise3x3", "depthwise3x3-valid", "depthwise3x3-stride2")
MOST_PER_PRODUCT = 6.5


# ------------------------------------------------------------------------------ cases


@dataclass(frozen=True, slots=True)
class Case:
    """One operator on resident tensors, with the tiling it is computed in."""

    name: str
    op: Op
    tensors: tuple[Tensor, ...]  # inputs, then output
    tiling: Tiling
    shift: int = 0  # bytes from an aligned address to each buffer

    @property
    def geometry(self) -> StageGeometry:
        """Where its tiles are."""
        return StageGeometry(self.op, self.tensors[:-1], self.tensors[-1], self.tiling)

    @property
    def macs(self) -> int:
        """Products of a depthwise convolution that are computed: taps in the padding do not count."""
        given, win = self.tensors[0], self.op.window
        axes = zip(win.output_size(given.height, given.width), (given.height, given.width), strict=True)
        rows, columns = (live_taps((0, end), win, axis, size).inside for axis, (end, size) in enumerate(axes))
        return rows * columns * given.channels


def window(kernel: int, stride: int = 1, pad: int = 0, dilation: int = 1) -> Window:
    """A square window."""
    return Window((kernel, kernel), (stride, stride), (dilation, dilation), (pad, pad, pad, pad))


def tensor(name: str, rng: np.random.Generator, height: int, width: int, channels: int) -> Tensor:
    """An activation with a random quantisation."""
    scale = float(np.float32(rng.uniform(0.01, 0.1)))
    return Tensor(
        name, height, width, channels, DType.INT8, Quantization(scale, int(rng.integers(-128, 128)))
    )


def weighted(
    name: str,
    size: tuple[int, int, int],
    channels: int,
    win: Window,
    groups: int = 1,
    tiling: Tiling | None = None,
    shift: int = 0,
) -> Case:
    """A convolution of an input of height, width and depth, or a depthwise one if ``groups`` is 0."""
    rng = np.random.default_rng(list(name.encode()))
    height, width, depth = size
    rows, columns = win.output_size(height, width)
    kind = OpKind.CONV if groups else OpKind.DEPTHWISE
    shape = (channels, *win.kernel, depth // groups) if groups else (*win.kernel, channels)
    taps = win.taps * (depth // groups if groups else 1)
    op = Op(
        name,
        kind,
        ("a",),
        "y",
        win,
        groups or channels,
        rng.integers(-128, 128, shape).astype(np.int8),
        rng.integers(-5000, 5000, channels).astype(np.int32),
        (rng.uniform(0.3, 1.0, channels) * 0.012 / taps**0.5).astype(np.float32),
    )
    tensors = (tensor("a", rng, height, width, depth), tensor("y", rng, rows, columns, channels))
    return Case(name, op, tensors, tiling or Tiling(rows, columns, channels, depth), shift)


def added(name: str, size: tuple[int, int, int]) -> Case:
    """A sum of two tensors."""
    rng = np.random.default_rng(list(name.encode()))
    parts = tuple(tensor(part, rng, *size) for part in "aby")
    scales = (Quantization(0.05, -11), Quantization(0.03, 4), Quantization(0.0625, -3))
    tensors = tuple(replace(part, quantization=scale) for part, scale in zip(parts, scales, strict=True))
    return Case(name, Op(name, OpKind.ADD, ("a", "b"), "y"), tensors, Tiling(*size, size[2]))


def pooled(name: str, kind: OpKind, size: tuple[int, int, int], win: Window) -> Case:
    """A pool."""
    rng = np.random.default_rng(list(name.encode()))
    out = tensor("y", rng, *win.output_size(*size[:2]), size[2])
    tiling = Tiling(out.height, out.width, out.channels, size[2])
    return Case(name, Op(name, kind, ("a",), "y", win), (tensor("a", rng, *size), out), tiling)


def multiplied(name: str, rows: int, depth: int, *, count: int = 1, turned: bool = False) -> Case:
    """A product of matrices of two activations, as many columns as rows; few of its bytes are saturated."""
    rng = np.random.default_rng(list(name.encode()))
    left, right = (rows, count, depth), (rows, count, depth) if turned else (depth, count, rows)
    one, other = tensor("a", rng, *left), tensor("b", rng, *right)
    assert one.quantization is not None
    assert other.quantization is not None
    scale = one.quantization.scale * other.quantization.scale * 110 * depth**0.5
    made = Tensor("y", rows, count, rows, DType.INT8, Quantization(float(np.float32(scale)), 5))
    op = Op(name, OpKind.MATMUL, ("a", "b"), "y", turned=turned)
    return Case(name, op, (one, other, made), Tiling(rows, count, rows, depth))


MEASURED = (
    weighted("conv3x3", (16, 16, 16), 16, window(3, pad=1)),
    weighted("conv3x3-valid", (18, 18, 16), 16, window(3)),
    weighted("conv3x3-first", (16, 16, 3), 16, window(3, pad=1)),
    weighted("conv3x3-stride2", (16, 16, 16), 32, window(3, 2, 1)),
    weighted("conv3x3-stripes", (16, 16, 16), 16, window(3, pad=1), tiling=Tiling(2, 16, 8, 16)),
    weighted("conv1x1", (16, 16, 16), 16, window(1)),
    weighted("conv1x1-deep", (5, 5, 64), 64, window(1)),
    weighted("conv1x1-split", (8, 8, 32), 32, window(1), tiling=Tiling(8, 8, 16, 16)),
    weighted("depthwise3x3", (16, 16, 16), 16, window(3, pad=1), 0),
    weighted("depthwise3x3-valid", (18, 18, 16), 16, window(3), 0),
    weighted("depthwise3x3-wide", (5, 5, 64), 64, window(3, pad=1), 0),
    weighted("depthwise3x3-stride2", (16, 16, 16), 16, window(3, 2, 1), 0),
    weighted("depthwise5x5", (16, 16, 16), 16, window(5, pad=2), 0),
    weighted("dense", (1, 1, 256), 64, window(1)),
    weighted("dense-small-tiles", (1, 1, 256), 64, window(1), tiling=Tiling(1, 1, 8, 64)),
    added("add", (16, 16, 16)),
    pooled("average-pool", OpKind.AVERAGE_POOL, (8, 8, 32), window(8)),
    pooled("max-pool", OpKind.MAX_POOL, (16, 16, 16), window(2, 2)),
    multiplied("matmul", 32, 32),
    multiplied("matmul-turned", 32, 32, turned=True),
)

ODD = (
    weighted("odd-channels", (7, 5, 7), 11, window(3, pad=1), shift=1),
    weighted("odd-one-channel", (9, 8, 1), 5, window(5, 2, 2), shift=2),
    weighted("odd-groups", (6, 7, 12), 18, window(3, pad=1), 3, shift=3),
    weighted("odd-dilation", (9, 9, 5), 6, window(3, pad=2, dilation=2), shift=1),
    weighted("odd-window", (5, 9, 6), 7, Window((2, 4), (2, 1), (1, 2), (1, 3, 0, 2)), shift=1),
    weighted("odd-splits", (7, 7, 21), 10, window(3, pad=1), tiling=Tiling(3, 4, 3, 5), shift=1),
    weighted("odd-tiles", (7, 7, 21), 10, window(1), tiling=Tiling(2, 3, 7, 21), shift=3),
    weighted("odd-padding", (2, 2, 3), 5, window(3, pad=2), shift=1),
    weighted("odd-depthwise", (7, 6, 19), 19, window(3, pad=1), 0, shift=1),
    weighted("odd-depthwise-wide", (9, 8, 6), 6, Window((5, 2), (1, 2), (1, 2), (2, 1, 2, 1)), 0, shift=1),
    weighted("odd-depthwise-tiles", (9, 8, 10), 10, window(3, 2, 1), 0, tiling=Tiling(2, 3, 3, 10)),
    multiplied("odd-matmul", 7, 5, count=2),
    multiplied("odd-matmul-turned", 7, 5, count=2, turned=True),
)


# -------------------------------------------------------------------------- C source


def c_bytes(name: str, values: bytes) -> str:
    """A constant array."""
    return f"static const uint8_t {name}[] = {{{','.join(map(str, values or bytes(1)))}}};\n"


def weights_of(geometry: StageGeometry, tile: int) -> bytes:
    """The record of a tile, to a multiple of 4 bytes."""
    if geometry.op.weights is None:
        return b""
    _, _, group, split = geometry.index(tile)
    payload = weight_payload(geometry, group, split)
    return payload + bytes(-len(payload) % 4)


def sums_bytes(geometry: StageGeometry) -> int:
    """Bytes of partial sums that the largest tile needs."""
    largest = max(geometry.output_box(index).elements for index in geometry.order())
    return 4 * largest if geometry.grid[3] > 1 else 0


def c_case(number: int, case: Case) -> tuple[str, str]:
    """The arrays of a case, and its row in the table."""
    geometry, op = case.geometry, case.op
    *inputs, output = case.tensors
    rng = np.random.default_rng(number)
    data = {t.name: rng.integers(-128, 128, (t.height, t.width, t.channels)).astype(np.int8) for t in inputs}
    names = tuple(data)
    network = Network(case.name, {t.name: t for t in case.tensors}, (op,), names, (output.name,))
    expected = run_op(network, op, data)
    numbers = sorted(geometry.number(index) for index in geometry.order())
    payloads = [weights_of(geometry, tile) for tile in numbers]
    at = np.cumsum([0, *map(len, payloads)]).tolist()
    texts = [
        *(c_bytes(f"{name}{number}", values.tobytes()) for name, values in data.items()),
        c_bytes(f"records{number}", b"".join(payloads)),
        c_bytes(f"expected{number}", expected.tobytes()),
        f"static const uint32_t at{number}[] = {{{','.join(map(str, at))}}};\n",
    ]
    row = (
        f'{{"{case.name}", {{{names[0]}{number}, {names[-1]}{number}}}, records{number}, expected{number}, at{number}, {len(numbers)}, '
        f"{case.shift}, {inputs[0].elements}, {output.elements}, {sums_bytes(geometry)}, {c_tensors(case)}, {c_stage(case)}}},\n"
    )
    return "".join(texts), row


def c_tensors(case: Case) -> str:
    """Three ``struct ooc_tensor``: input, input or output, output."""
    rows = []
    for t in (case.tensors[0], case.tensors[1], case.tensors[-1]):
        assert t.quantization is not None
        scale = float(t.quantization.scale).hex()
        rows.append(f"{{{t.height},{t.width},{t.channels},{t.quantization.zero_point},{scale}f,1,{{0,0,0}}}}")
    return f"{{{','.join(rows)}}}"


def c_stage(case: Case) -> str:
    """A ``struct ooc_stage`` on resident operands."""
    op, tiling, win = case.op, case.tiling, case.op.window
    operands = ",".join(f"{{{k},1,1,1,0,0,0,0}}" for k in range(3))
    pairs = (win.kernel, win.stride, win.dilation, win.pads[:2])
    sizes = zip(case.geometry.grid, (tiling.rows, tiling.columns), strict=False)
    cuts = ",".join(f"{{{count},{size},0,{size}}}" for count, size in sizes)
    return (
        f"{{{KINDS.index(op.kind)},{len(op.inputs)},{4 if op.turned else 0},0,{','.join(f'{{{a},{b}}}' for a, b in pairs)},{op.groups},0,"
        f"{{{cuts}}},{tiling.channels},{tiling.split},{op.clamp[0]},{op.clamp[1]},"
        f"{{{operands}}}}}"
    )


@cache
def c_source(cases: tuple[Case, ...]) -> str:
    """The text of cases.c."""
    parts = [c_case(number, case) for number, case in enumerate(cases)]
    return (
        '#include "bench.h"\n'
        + "".join(arrays for arrays, _ in parts)
        + f"const struct bench_case bench_cases[] = {{{''.join(row for _, row in parts)}}};\n"
        + f"const uint32_t bench_count = {len(cases)};\n"
    )


# ------------------------------------------------------------------------ run on a core


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a core reported of one case."""

    instructions: int
    wrong_bytes: int


def fits(core: str, case: Case) -> bool:
    """Whether the case fits the smallest machine, which stands for all that is special about its core."""
    return core != "m0" or sum(t.elements for t in case.tensors) < 2200


def build(core: str, cases: Iterable[Case], folder: Path, flags: tuple[str, ...]) -> Path:
    """Compile and link the cases for a core; skip the test without a compiler."""
    machine = MACHINES[CORES[core]]
    if shutil.which(machine.tools.compiler) is None:
        pytest.skip(f"needs {machine.tools.compiler} ({machine.tools.packages[0]})")
    (folder / "cases.c").write_text(c_source(tuple(cases)))
    (folder / "memory.ld").write_text(memory_script(machine, (machine.banks[0].name,)))
    program = folder / f"{core}.elf"
    sources = [RUNTIME / name for name in KERNELS] + [PORT / name for name in STARTUP]
    sources += [HERE / "cores" / "bench.c", HERE / "cores" / "bench_bare.c", folder / "cases.c"]
    command = [machine.tools.compiler, *machine.flags.split(), *STRICT, *flags]
    command += [
        f"-DBENCH_CLOCK_HZ={machine.clock_hz}u",
        f"-DBENCH_BYTES={2400 if core == 'm0' else BUFFER_BYTES}",
    ]
    command += [*(f"-I{path}" for path in (RUNTIME, PORT, HERE / "cores"))]
    command += ["-nostartfiles", "--specs=nano.specs", "--specs=nosys.specs", "-Wl,--gc-sections"]
    command += [
        "-Wl,--no-warn-rwx-segments",
        f"-L{folder}",
        "-T",
        str(PORT / "emulated.ld"),
        "-o",
        str(program),
    ]
    finished = subprocess.run([*command, *map(str, sources)], check=False, capture_output=True, text=True)
    assert finished.returncode == 0, finished.stderr
    return program


def run(core: str, cases: tuple[Case, ...], folder: Path, flags: tuple[str, ...] = ()) -> dict[str, Outcome]:
    """Run the cases on a core; skip the test without an emulator."""
    machine = MACHINES[CORES[core]]
    if shutil.which(machine.tools.emulator) is None:
        pytest.skip(f"needs {machine.tools.emulator} ({machine.tools.packages[1]})")
    program = build(core, cases, folder, flags)
    command = [machine.tools.emulator, "-M", machine.name, "-display", "none", "-monitor", "none"]
    command += ["-serial", "none", "-nodefaults", "-icount", "shift=7,sleep=off", "-kernel", str(program)]
    command += ["-chardev", "stdio,id=out", "-semihosting-config", "enable=on,target=native,chardev=out"]
    done = subprocess.run(
        command, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = [line.split() for line in done.stdout.splitlines()]
    return {name: Outcome(int(count), int(wrong)) for name, count, wrong in rows}


# -------------------------------------------------------------------------------- tests


@pytest.mark.parametrize("flags", [(), ("-DOOC_PLAIN",), ("-DOOC_INTEGER_SCALING=1",)], ids="-".join)
@pytest.mark.parametrize("core", list(CORES))
def test_cores_give_the_bytes_of_the_reference(core: str, flags: tuple[str, ...], tmp_path: Path) -> None:
    """With whatever instructions a core has, every output byte is that of the reference executor."""
    cases = tuple(case for case in (*ODD, *MEASURED) if fits(core, case))
    found = run(core, cases, tmp_path, flags)
    assert set(found) == {case.name for case in cases}
    assert {name: outcome.wrong_bytes for name, outcome in found.items() if outcome.wrong_bytes} == {}


@pytest.mark.parametrize("machine", ["-m64", "-m32"])
@pytest.mark.parametrize("compiler", ["gcc", "clang"])
@pytest.mark.parametrize("variant", ["-DOOC_INTEGER_SCALING=0", "-DOOC_INTEGER_SCALING=1"])
def test_kernels_stay_in_their_buffers(compiler: str, machine: str, variant: str, tmp_path: Path) -> None:
    """Address and undefined-behaviour sanitizers find nothing, with buffers of just the size needed."""
    (tmp_path / "cases.c").write_text(c_source((*ODD, *MEASURED)))
    program = tmp_path / "bench"
    sources = [RUNTIME / name for name in KERNELS]
    sources += [HERE / "cores" / "bench.c", HERE / "cores" / "bench_host.c", tmp_path / "cases.c"]
    flags = [
        "-DOOC_MATRICES",
        "-std=c99",
        "-O1",
        "-g",
        "-fsanitize=address,undefined",
        "-fno-sanitize-recover=all",
        machine,
        variant,
    ]
    command = [
        compiler,
        *flags,
        "-DBENCH_CLOCK_HZ=1u",
        *(f"-I{path}" for path in (RUNTIME, PORT, HERE / "cores")),
    ]
    if shutil.which(compiler) is None:
        pytest.skip(f"needs {compiler}")
    built = subprocess.run(
        [*command, *map(str, sources), "-o", str(program)], check=False, capture_output=True, text=True
    )
    if built.returncode != 0 and machine == "-m32":
        pytest.skip("needs 32-bit libraries (gcc-multilib)")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stdout.splitlines() if not line.endswith(" 0")] == []


@pytest.mark.parametrize("core", list(CORES))
def test_instructions_do_not_grow(
    core: str, tmp_path: Path, grown: Callable[..., dict[str, tuple[int, int]]]
) -> None:
    """No measured case takes 2 % more instructions than the count recorded for it."""
    cases = tuple(case for case in MEASURED if fits(core, case))
    found = {name: outcome.instructions for name, outcome in run(core, cases, tmp_path).items()}
    assert grown("kernel_counts.json", core, MACHINES[CORES[core]].tools.compiler, found) == {}


@pytest.mark.parametrize("core", [core for core in CORES if core != "m0"])
def test_depthwise_takes_few_instructions_per_product(core: str, tmp_path: Path) -> None:
    """A 3x3 depthwise convolution takes at most 6.5 instructions per product, all else included.

    Taps in the padding are not products here: no instruction computes them. Maps of a few pixels, of which
    most are next to the padding, take more: ``depthwise3x3-wide``.
    """
    cases = tuple(case for case in MEASURED if case.name in DEPTHWISE_3X3)
    found = run(core, cases, tmp_path)
    per_product = {case.name: found[case.name].instructions / case.macs for case in cases}
    assert set(per_product) == set(DEPTHWISE_3X3)
    assert {name: value for name, value in per_product.items() if value > MOST_PER_PRODUCT} == {}
