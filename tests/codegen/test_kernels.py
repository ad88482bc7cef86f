"""The C kernels against the reference executor, byte for byte, on random tiles and layouts."""

from __future__ import annotations

import ctypes
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ooc_solve.models.reference import run_op
from ooc_solve.models.vocabulary import DType, Op, OpKind, Place, Quantization, Tensor, Tiling
from tests.codegen.kernel_cases import DRAWS, in_floats, random_case
from tests.codegen.kernel_library import (
    DRIVER,
    KERNELS,
    RUNTIME,
    WARNINGS,
    Case,
    CStage,
    CTensor,
    compile_c,
    run,
)

Array = NDArray[Any]
CASES = 60
FLAGS = {
    "gcc-c99": ("gcc", "-std=c99", "-O2"),
    "gcc-gnu99-fma": ("gcc", "-std=gnu99", "-O3", "-march=native"),
    "gcc-integers": ("gcc", "-std=c99", "-O2", "-DOOC_INTEGER_SCALING=1"),
    "clang-c99": ("clang", "-std=c99", "-O2"),
    "clang-integers": ("clang", "-std=c99", "-O2", "-DOOC_INTEGER_SCALING=1"),
    "clang-fma": ("clang", "-std=c99", "-O3", "-march=native"),
}


@pytest.fixture(scope="module", params=list(FLAGS))
def library(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> ctypes.CDLL:
    folder = tmp_path_factory.mktemp("kernels")
    (folder / "driver.c").write_text(DRIVER)
    sources = [folder / "driver.c", *(RUNTIME / name for name in KERNELS)]
    target = folder / "kernels.so"
    flags = (*FLAGS[request.param], *WARNINGS, "-DOOC_FLOATS", "-DOOC_MATRICES")
    compile_c(*flags, f"-I{RUNTIME}", "-shared", "-fPIC", *sources, "-o", target)
    loaded = ctypes.CDLL(str(target))
    assert (loaded.sizes(0), loaded.sizes(1)) == (ctypes.sizeof(CTensor), ctypes.sizeof(CStage))
    return loaded


DRAWS |= {
    f"float_{name}": in_floats(draw) for name, draw in DRAWS.items() if name not in ("quantize", "dequantize")
}


# ------------------------------------------------------------------------------ tests


@pytest.mark.parametrize("kind", list(DRAWS))
def test_kernel_equals_reference(library: ctypes.CDLL, kind: str) -> None:
    """Tile by tile, resident or streamed in any layout, a kernel gives the bytes of the reference."""
    streamed = narrow = split = 0
    for seed in range(CASES):
        rng = np.random.default_rng([list(DRAWS).index(kind), seed])
        case = random_case(kind, rng)
        values = dict(zip(case.network.inputs, case.data, strict=True))
        expected = run_op(case.network, case.op, values)
        found = run(library, case, rng)
        assert found.tobytes() == expected.tobytes(), f"{kind} seed {seed}: {case}"
        streamed += case.layouts[0] is not None
        narrow += case.layouts[0] is not None and case.tiling.columns < case.tensors[-1].width
        split += case.geometry.grid[3] > 1
    if not kind.endswith("permute"):
        assert min(streamed, narrow) > CASES // 20, "the cases drawn leave out a layout"
    assert split > 0 or not kind.endswith(("conv", "transposed"))


@pytest.mark.parametrize("start", [-2, 0, 1])
@pytest.mark.parametrize("dtype", [DType.INT8, DType.FLOAT32])
def test_edges_of_channels_are_repeated(library: ctypes.CDLL, start: int, dtype: DType) -> None:
    """Before the first and behind the last channel of the input stands the nearest one, on either side or one alone."""
    op = Op("op", OpKind.MOVE, ("a",), "y", places=(Place(start=(0, 0, start)),), edges=True)
    tensors = (Tensor("a", 2, 2, 3, dtype), Tensor("y", 2, 2, 6, dtype))
    data = np.arange(12).reshape(2, 2, 3).astype("f4" if dtype is DType.FLOAT32 else "i1")
    case = Case(op, tensors, Tiling(2, 2, 6, 3), (data,), (None, None))
    found = run(library, case, np.random.default_rng(0))
    assert np.array_equal(found, data[..., np.clip(np.arange(6) + start, 0, 2)])


def test_rounding_goes_half_to_even(library: ctypes.CDLL) -> None:
    """Sums that fall on a half are rounded to the even neighbour, as are ties behind a zero point."""
    steps = np.arange(-40, 40, dtype=np.float32) / 2
    shape = (1, 1, steps.size)
    output = Tensor("y", *shape, DType.INT8, Quantization(1.0, 3))
    op = Op("op", OpKind.QUANTIZE, ("a",), "y")
    case = Case(
        op,
        (Tensor("a", *shape, DType.FLOAT32), output),
        Tiling(1, 1, steps.size, steps.size),
        (steps.reshape(shape),),
        (None, None),
    )
    found = run(library, case, np.random.default_rng(0)).reshape(-1)
    assert found.tolist() == (np.rint(steps) + 3).astype(int).tolist()


def test_quantize_saturates(library: ctypes.CDLL) -> None:
    """Reals beyond the range, infinities included, become the nearest end of the clamp."""
    reals = np.array([1e30, -1e30, np.inf, -np.inf, 127.4, -128.4], np.float32)
    shape = (1, 1, reals.size)
    output = Tensor("y", *shape, DType.INT8, Quantization(1.0, 0))
    case = Case(
        Op("op", OpKind.QUANTIZE, ("a",), "y"),
        (Tensor("a", *shape, DType.FLOAT32), output),
        Tiling(1, 1, reals.size, reals.size),
        (reals.reshape(shape),),
        (None, None),
    )
    found = run(library, case, np.random.default_rng(0)).reshape(-1)
    assert found.tolist() == [127, -128, 127, -128, 127, -128]


def exact_rescaling(sums: Array, multipliers: Array, zero: int, low: int, high: int) -> Array:
    """The definition, operation by operation; NaN counts as below everything."""
    with np.errstate(all="ignore"):
        real = sums.astype(np.float32) * multipliers
    steps = np.where(np.isnan(real), -np.inf, np.rint(real)).astype(np.float64)
    return np.clip(steps + zero, low, high).astype(np.int8)


def near_ties(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Sums and multipliers whose products lie on or next to a half."""
    bits = rng.integers(1, 25, count)
    mantissa = rng.integers(1 << 23, 1 << 24, count) >> (24 - bits) << (24 - bits)
    multipliers = np.ldexp(np.maximum(mantissa, 1 << 23), -rng.integers(15, 50, count)).astype(np.float32)
    halves = rng.integers(-300, 300, count) + 0.5
    sums = np.rint(halves / multipliers.astype(np.float64)) + rng.integers(-1, 2, count)
    return np.clip(sums, -(2**31), 2**31 - 1).astype(np.int32), multipliers


def any_sums(rng: np.random.Generator, count: int) -> tuple[Array, Array]:
    """Sums of all sizes, multipliers of all sizes and kinds."""
    sums = rng.integers(-(2**31), 2**31, count) >> rng.integers(0, 32, count)
    multipliers = np.ldexp(rng.uniform(0.5, 1, count), rng.integers(-45, 20, count)).astype(np.float32)
    odd = np.array(
        [0, -0.5, np.inf, -np.inf, np.nan, 1e-42, 3e38, 1.0, 0.5, 2.0**-25, 2.0**-26, 2.0**13, 2.0**14]
    )
    chosen = rng.random(count) < 0.1
    multipliers[chosen] = rng.choice(odd, int(chosen.sum())).astype(np.float32)
    return sums.astype(np.int32), multipliers


@pytest.mark.parametrize("draw", [near_ties, any_sums])
@pytest.mark.parametrize("bounds", [(0, -128, 127), (-128, -128, 127), (127, -128, 127), (-7, -7, 101)])
def test_rescaling_is_that_of_float32(
    library: ctypes.CDLL,
    draw: Callable[[np.random.Generator, int], tuple[Array, Array]],
    bounds: tuple[int, int, int],
) -> None:
    """One conversion, one float32 product, halves to even, for ties, huge sums and odd multipliers alike."""
    count = 400_000
    sums, multipliers = draw(np.random.default_rng(list(map(abs, bounds))), count)
    out = np.zeros(count, np.int8)
    pointers = (array.ctypes.data_as(ctypes.c_void_p) for array in (sums, multipliers, out))
    given, factors, found = pointers
    library.rescale(given, factors, count, (ctypes.c_int32 * 3)(*bounds), found)
    expected = exact_rescaling(sums, multipliers, *bounds)
    wrong = np.flatnonzero(out != expected)
    assert wrong.size == 0, [(sums[k], multipliers[k], out[k], expected[k]) for k in wrong[:5]]


def test_kind_left_out_is_refused(tmp_path: Path) -> None:
    """A kernel that OOC_KINDS leaves out is reported as a format error, not run."""
    source = tmp_path / "kinds.c"
    source.write_text(
        '#include "ooc_kernels.h"\n#include <string.h>\n'
        "int main(void) {\n"
        "    struct ooc_stage conv, add, transposed;\n"
        "    memset(&conv, 0, sizeof conv);\n"
        "    add = transposed = conv;\n"
        "    add.kind = OOC_ADD;\n"
        "    transposed.flags = OOC_FLAG_TRANSPOSED;\n"
        "    return ooc_has_kernel(&conv) && !ooc_has_kernel(&add) && !ooc_has_kernel(&transposed) ? 0 : 1;\n"
        "}\n"
    )
    program = tmp_path / "kinds"
    files = (*(RUNTIME / name for name in KERNELS), source)
    compile_c("gcc", "-std=c99", "-O2", *WARNINGS, "-DOOC_KINDS=1u", f"-I{RUNTIME}", *files, "-o", program)
    assert subprocess.run([program], check=False).returncode == 0


FLOATS = """
#include "%s"
#include <stdio.h>
int main(void) {
    uint32_t seed = 1, hash = 2166136261u, k;
    struct ooc_tile tile;
    struct ooc_stage stage;
    struct ooc_range range = ooc_range_of(0, -128, 127);
    struct ooc_scale scale;
    int8_t bytes[2];
    uint8_t out = 0;
    memset(&tile, 0, sizeof tile);
    memset(&stage, 0, sizeof stage);
    stage.clamp_low = -128;
    stage.clamp_high = 127;
    tile.stage = &stage;
    tile.channels = 1;
    tile.row[1] = 1;
    tile.column[1] = 1;
    tile.input[0].base = (uint8_t *)&bytes[0];
    tile.input[1].base = (uint8_t *)&bytes[1];
    tile.output.base = &out;
    for (k = 0; k < 4000000; k++) {
        seed = seed * 1664525u + 1013904223u;
        tile.output.zero_point = (int32_t)(seed >> 24) - 128;
        range = ooc_range_of(tile.output.zero_point, -128, 127);
        (void)ooc_set_scale(&scale, (float)((seed & 0xFFFFu) + 512u) * 0x1p-33f);
        hash = (hash ^ (uint8_t)ooc_scale_sum(&range, range.base, &scale, (int32_t)seed >> 8, 1)) * 16777619u;
        bytes[0] = (int8_t)((int32_t)(seed >> 8 & 255) - 128);
        bytes[1] = (int8_t)((int32_t)(seed >> 16 & 255) - 128);
        tile.input[0].scale = (float)(10007u + (seed >> 4 & 0xFFFu)) * 0x1p-20f;
        tile.input[1].scale = (float)(13001u + (seed >> 13 & 0xFFFu)) * 0x1p-20f;
        tile.output.scale = (float)(17011u + (seed >> 20)) * 0x1p-20f;
        add_tile(&tile);
        hash = (hash ^ out) * 16777619u;
    }
    printf("%%08lx\\n", (unsigned long)hash);
    return 0;
}
"""


def test_floats_are_the_same_everywhere(tmp_path: Path) -> None:
    """Rescaling and adding give equal bits on SSE, x87 and FMA units, with gcc and clang."""
    source = tmp_path / "floats.c"
    source.write_text(FLOATS % (RUNTIME / "ooc_kernels.c"))
    variants = [
        (compiler, standard, *machine)
        for compiler in ("gcc", "clang")
        for standard in ("-std=c99", "-std=gnu99")
        for machine in (
            ("-O2",),
            ("-O2", "-DOOC_INTEGER_SCALING=1"),
            ("-O3", "-march=native"),
            ("-O2", "-m32", "-mfpmath=387"),
            ("-O0",),
        )
        if not (compiler == "clang" and "-m32" in machine)
    ]
    variants += [("clang", "-std=c99", "-O2", "-m32", "-march=i686")]
    hashes: dict[str, list[str]] = {}
    for number, variant in enumerate(variants):
        program = tmp_path / f"floats{number}"
        only = "-DOOC_KINDS=(1u<<OOC_ADD)"  # other kernels are in other files
        command = [*variant, only, f"-I{RUNTIME}", str(source), "-o", str(program)]
        if shutil.which(variant[0]) is None:
            continue
        if subprocess.run(command, check=False, capture_output=True).returncode != 0:
            assert "-m32" in variant, f"{' '.join(variant)} does not compile"
            continue  # no 32-bit C library
        found = subprocess.run([program], capture_output=True, text=True, check=True).stdout
        hashes.setdefault(found, []).append(" ".join(variant))
    if sum(map(len, hashes.values())) < 2:
        pytest.skip("no two compilers to compare")
    assert len(hashes) == 1, hashes


RINGS = """
#include "ooc_kernels.h"
#include <stdlib.h>
#include <string.h>
enum { HEIGHT = 13, WIDTH = 9, DEPTH = 8, ROW = WIDTH * DEPTH };
static int8_t input[HEIGHT * ROW];
static uint8_t record[8 * DEPTH + 9 * DEPTH * DEPTH];
static struct ooc_stage stage;

static void set_view(struct ooc_view *view, void *base, int zero, int ring) {
    view->base = base;
    view->row_pitch = ROW;
    view->pixel_pitch = DEPTH;
    view->zero_point = (int16_t)zero;
    view->record_rows = (uint16_t)(ring > 0 ? ring : 1);
    view->record_gap = 0u - (uint32_t)(ring * ROW);
}

/* Rows [low, high); rings of so many rows, or 0. */
static void compute(int kind, int low, int high, void *in, int in_ring, void *out, int out_ring) {
    struct ooc_tile tile;
    memset(&tile, 0, sizeof tile);
    stage.kind = (uint8_t)kind;
    stage.inputs = 1;
    memset(stage.kernel, 3, 2);
    memset(stage.stride, 1, 2);
    memset(stage.dilation, 1, 2);
    memset(stage.pad, 1, 2);
    stage.conv_groups = kind == OOC_CONV ? 1 : DEPTH;
    stage.clamp_low = -128;
    stage.clamp_high = 127;
    tile.stage = &stage;
    set_view(&tile.input[0], in, 7, in_ring);
    set_view(&tile.output, out, -3, out_ring);
    tile.row[0] = low;
    tile.row[1] = high;
    tile.column[1] = tile.width = WIDTH;
    tile.height = HEIGHT;
    tile.channels = tile.depth = tile.group_outputs = tile.group_inputs = DEPTH;
    tile.bias = record;
    tile.multiplier = record + 4 * DEPTH;
    tile.weights = record + 8 * DEPTH;
    tile.first = tile.last = 1;
    (void)ooc_kernel(&tile);
}

/* How many rows differ from those of the whole if `rows` at a time are computed in rings. */
static int differing(int kind, int rows, int ring, const uint8_t *whole) {
    int8_t *in = malloc((size_t)(ring * ROW));
    uint8_t *out = malloc((size_t)(ring * ROW));
    int low, y, wrong = 0;
    for (low = 0; low < HEIGHT; low += rows) {
        int high = low + rows < HEIGHT ? low + rows : HEIGHT;
        memset(in, 85, (size_t)(ring * ROW));
        for (y = low - 1; y <= high; y++) {
            if (y >= 0 && y < HEIGHT) {
                memcpy(in + y % ring * ROW, input + y * ROW, ROW);
            }
        }
        compute(kind, low, high, in, ring, out, ring);
        for (y = low; y < high; y++) {
            wrong += memcmp(out + y % ring * ROW, whole + y * ROW, ROW) != 0;
        }
    }
    free(in);
    free(out);
    return wrong;
}

int main(void) {
    static uint8_t whole[HEIGHT * ROW];
    const float multiplier = 0.003f;
    int kind, rows, ring, wrong = 0;
    uint32_t i;
    for (i = 0; i < sizeof input; i++) {
        input[i] = (int8_t)(rand() % 256 - 128);
    }
    for (i = 0; i < sizeof record; i++) {
        record[i] = (uint8_t)(rand() % 256);
    }
    for (i = 0; i < DEPTH; i++) {
        memset(record + 4 * i + 2, 0, 2);
        memcpy(record + 4 * DEPTH + 4 * i, &multiplier, 4);
    }
    for (kind = OOC_CONV; kind <= OOC_DEPTHWISE; kind++) {
        compute(kind, 0, HEIGHT, input, 0, whole, 0);
        for (ring = 3; ring < 8; ring++) {
            for (rows = 1; rows + 2 <= ring; rows++) {
                wrong += differing(kind, rows, ring, whole);
            }
        }
    }
    return wrong;
}
"""


@pytest.mark.parametrize("scaling", ["-DOOC_INTEGER_SCALING=0", "-DOOC_INTEGER_SCALING=1"])
def test_rings_of_rows_give_the_bytes_of_whole_tensors(scaling: str, tmp_path: Path) -> None:
    """Windows that go around the end of a ring, and outputs that do, have the bytes of a tensor in one piece."""
    source = tmp_path / "rings.c"
    source.write_text(RINGS)
    program = tmp_path / "rings"
    files = (*(RUNTIME / name for name in KERNELS), source)
    checks = ("-O1", "-g", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", scaling)
    compile_c("gcc", "-std=c99", *checks, *WARNINGS, f"-I{RUNTIME}", *files, "-o", program)
    done = subprocess.run([program], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
