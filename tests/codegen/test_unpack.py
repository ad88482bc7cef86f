"""Weights of four bits: half the bytes in the image and on the way, the same results, and no damage unnoticed."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, helper, numpy_helper

from ooc_solve.codegen.check import check_tables
from ooc_solve.codegen.image import packed_weights
from ooc_solve.codegen.project import Project, write_project
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import PackingRow
from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Network, OpKind, Plan, RegionName, TaskKind
from ooc_solve.solver.plans import checked
from ooc_solve.solver.solve import SCHEDULERS

Array = NDArray[Any]
RUNTIME = Path(__file__).resolve().parents[2] / "codegen" / "runtime"
STRICT = ("-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined")

SHAPE = (1, 8, 24, 24)
LAYERS = ((16, 2), (32, 1), (48, 2), (96, 2), (101, 1))
"""Output channels and stride of the depthwise separable layers."""


def mobile_network(weights: int) -> ModelProto:
    """Depthwise separable layers as a mobile network has them; weights of -8 to 7 in an ONNX type."""
    rng = np.random.default_rng(0)
    constants: dict[str, Array] = {"s": np.array(0.05, np.float32), "z": np.array(3, np.int8)}
    packed, nodes, last, channels = [], [], "x", SHAPE[1]
    layers = [
        layer
        for before, (after, step) in zip((SHAPE[1], *(n for n, _ in LAYERS)), LAYERS, strict=False)
        for layer in ((before, step, before, 3), (after, 1, 1, 1))
    ]
    for number, (outputs, stride, groups, kernel) in enumerate(layers):
        shape = (outputs, channels // groups, kernel, kernel)
        values = rng.integers(-8, 8, shape)
        packed.append(helper.make_tensor(f"w{number}", weights, shape, values.reshape(-1).tolist()))
        spread = np.sqrt(np.prod(shape[1:]))
        constants[f"ws{number}"] = (rng.uniform(0.1, 0.2, outputs) / spread).astype(np.float32)
        constants[f"b{number}"] = rng.normal(0, 0.3, outputs).astype(np.float32)
        names = [f"r{number}", f"wr{number}", f"b{number}"]
        nodes += [
            helper.make_node("DequantizeLinear", [last, "s", "z"], names[:1]),
            helper.make_node("DequantizeLinear", [f"w{number}", f"ws{number}"], names[1:2], axis=0),
            helper.make_node(
                "Conv", names, [f"c{number}"], group=groups, strides=[stride] * 2, pads=[kernel // 2] * 4
            ),
            helper.make_node("QuantizeLinear", [f"c{number}", "s", "z"], [f"q{number}"]),
        ]
        last, channels = f"q{number}", outputs
    graph = helper.make_graph(
        nodes,
        "mobile",
        [helper.make_tensor_value_info("x", TensorProto.INT8, SHAPE)],
        [helper.make_tensor_value_info(last, TensorProto.INT8, None)],
        [*packed, *(numpy_helper.from_array(array, name) for name, array in constants.items())],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Network]:
    """The network with weights of four bits and of eight, the same numbers."""
    folder = tmp_path_factory.mktemp("models")
    found: dict[int, Network] = {}
    for kind in (TensorProto.INT4, TensorProto.INT8):
        path = folder / f"mobile{kind}.onnx"
        path.write_bytes(mobile_network(kind).SerializeToString())
        found[kind] = read_onnx(path)
    return found


def planned(
    network: Network, target: str, kib: int, scheduler: str, cipher: str = "none"
) -> tuple[Problem, Plan]:
    problem = Problem(network, encrypted(load_target(target), cipher), kib << 10, IoPlace.STORAGE)
    result = SCHEDULERS[scheduler](problem, Budget(3.0, 1, 1))
    assert result.plan is not None, result.reason
    checked(problem, result.plan)
    assert result.plan.figures.latency_ns >= result.bound
    return problem, result.plan


def weight_bytes_read(plan: Plan) -> int:
    """Bytes of weight records that a run reads."""
    moves = [task.transfer for task in plan.graph.tasks if task.kind is TaskKind.LOAD]
    return sum(move.size_bytes for move in moves if move is not None and move.region is RegionName.IMAGE)


def test_the_reader_packs_what_the_file_has_packed(networks: dict[int, Network]) -> None:
    """Weights of an int4 file are stored with four bits, the same numbers of an int8 file with eight."""
    for kind, network in networks.items():
        convolutions = [op for op in network.ops if op.kind in (OpKind.CONV, OpKind.DEPTHWISE)]
        assert [op.packed for op in convolutions] == [kind == TensorProto.INT4] * 10


@pytest.mark.parametrize("scheduler", ["serial", "demand-layering", "cp-sat"])
def test_transfers_are_about_half(networks: dict[int, Network], scheduler: str) -> None:
    """A plan reads little more than half the bytes of weights; parameters and granules stay."""
    few, many = (
        planned(networks[kind], "f746-qspi-sdram", 48, scheduler)
        for kind in (TensorProto.INT4, TensorProto.INT8)
    )
    assert weight_bytes_read(few[1]) <= 0.62 * weight_bytes_read(many[1])
    assert few[1].figures.bytes_read < many[1].figures.bytes_read


def output_of(
    project: Project, folder: Path, network: Network, x: Array, run: str = "run", *more: str
) -> Array:
    """What the project computes on the host, with sanitizers."""
    (folder / "in.bin").write_bytes(reference.pack_input(network, "x", x))
    command = ["make", "-s", "-C", str(project.directory), run, f"INPUT={folder / 'in.bin'}",
               f"OUTPUT={folder / 'out.bin'}", f"CFLAGS={' '.join(STRICT[1:])}", *more]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return reference.unpack_output(network, network.outputs[0], (folder / "out.bin").read_bytes())


RUNS = [
    ("f746-sd", 24, "demand-layering", "none"),
    ("f746-qspi-sdram", 20, "serial", "none"),
    ("lm3s-qemu", 20, "demand-layering", "none"),
    ("f746-sd", 24, "demand-layering", "aes-128-gcm"),
]


@pytest.mark.parametrize(("target", "kib", "scheduler", "cipher"), RUNS)
def test_runs_give_the_bytes_of_the_reference(
    networks: dict[int, Network], tmp_path: Path, target: str, kib: int, scheduler: str, cipher: str
) -> None:
    """In tiles and partial sums, with and without DMA, sealed or not, no byte differs."""
    network = networks[TensorProto.INT4]
    problem, plan = planned(network, target, kib, scheduler, cipher)
    key = bytes(range(16)) if cipher != "none" else None
    (tmp_path / "key.bin").write_bytes(key or b"")
    project = write_project(problem, plan, tmp_path / "project", "net", key)
    x = np.random.default_rng(1).integers(-128, 128, SHAPE).astype(np.int8)
    run = "host-run" if problem.target.board.emulator else "run"
    more = [f"KEY={tmp_path / 'key.bin'}"] if key else []
    found = output_of(project, tmp_path, network, x, run, *more)
    assert np.array_equal(
        found, reference.graph_output(network, network.outputs[0], reference.run(network, {"x": x}))
    )


def test_both_widths_mean_the_same(networks: dict[int, Network]) -> None:
    """The results of four and of eight bits are equal, and onnxruntime's but for rare ties."""
    x = np.random.default_rng(1).integers(-128, 128, SHAPE).astype(np.int8)
    found = [reference.graph_output(n, n.outputs[0], reference.run(n, {"x": x})) for n in networks.values()]
    assert np.array_equal(found[0], found[1])
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = mobile_network(TensorProto.INT4).SerializeToString()
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x": x})
    assert np.ptp(expected) > 40
    assert np.abs(found[0].astype(np.int64) - expected).max() <= 2


# ------------------------------------------------------------------------------ tables


def test_the_checker_knows_what_unpacking_writes(networks: dict[int, Network]) -> None:
    """Tables are sound as they are; with more weights, fewer, or elsewhere, they are not."""
    problem, plan = planned(networks[TensorProto.INT4], "f746-sd", 24, "demand-layering")
    tables = build_tables(problem, plan)
    assert check_tables(tables) == ()
    at = next(k for k, row in enumerate(tables.packings) if row.weights)
    row = tables.packings[at]
    for wrong in (
        PackingRow(row.start, row.weights + 4096),
        PackingRow(row.start, row.weights // 2),
        PackingRow(row.start + 4, row.weights),
        PackingRow(row.start + 4, row.weights - 4),
        PackingRow(row.start, 10**6),
    ):
        changed = [*tables.packings]
        changed[at] = wrong
        assert check_tables(replace(tables, packings=tuple(changed)))
    image = next(k for k, shape in enumerate(tables.shapes) if not tables.packings[k].weights)
    changed = [*tables.packings]
    changed[image] = PackingRow(0, 4)
    assert check_tables(replace(tables, packings=tuple(changed)))


def test_a_wrong_bit_is_noticed_before_it_is_unpacked(networks: dict[int, Network], tmp_path: Path) -> None:
    """The checksum is over the bytes as they are stored."""
    problem, plan = planned(networks[TensorProto.INT4], "f746-sd", 24, "demand-layering")
    project = write_project(problem, plan, tmp_path / "project", "net")
    image = project.directory / "net.bin"
    content = bytearray(image.read_bytes())
    content[600] ^= 16
    image.write_bytes(bytes(content))
    with pytest.raises(AssertionError, match="wrong checksum"):
        output_of(project, tmp_path, problem.network, np.zeros(SHAPE, np.int8))


# ----------------------------------------------------------------------------- C, alone

DRIVER = r"""
#include "ooc_unpack.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
uint8_t *ooc_address(const struct ooc *o, uint32_t offset, uint32_t bytes) {
    return offset + bytes <= o->model->bank_bytes[0] ? o->bank[0] + offset : NULL;
}
int main(int argc, char **argv) {
    uint32_t start = (uint32_t)atoi(argv[1]), count = (uint32_t)atoi(argv[2]);
    uint8_t *data = malloc(start + count + 1u);
    struct ooc_packing packing[2] = {{0, 0}, {0, 0}};
    struct ooc_model model;
    struct ooc state;
    struct ooc_command command;
    memset(&model, 0, sizeof model);
    memset(&state, 0, sizeof state);
    memset(&command, 0, sizeof command);
    packing[1].start = start;
    packing[1].weights = count;
    model.packings = packing;
    state.model = &model;
    command.word[1] = 1;
    if (argc < 3 || fread(data, 1, start + (count + 1u) / 2u, stdin) == 0u) {
        return 1;
    }
    ooc_unpack(&state, &command, data);
    fwrite(data, 1, start + count, stdout);
    free(data);
    return 0;
}
"""


@pytest.fixture(scope="module")
def unpack(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int, bytes, int], bytes]:
    """The C function on a record, in memory that ends with the last weight."""
    folder = tmp_path_factory.mktemp("unpack")
    (folder / "driver.c").write_text(DRIVER)
    command = [
        "gcc",
        *STRICT,
        "-DOOC_PACKED",
        f"-I{RUNTIME}",
        "driver.c",
        str(RUNTIME / "ooc_unpack.c"),
        "-o",
        "driver",
    ]
    subprocess.run(command, cwd=folder, check=True)

    def run(start: int, record: bytes, count: int) -> bytes:
        arguments = [str(folder / "driver"), str(start), str(count)]
        return subprocess.run(arguments, input=record, capture_output=True, check=True).stdout

    return run


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 16, 17, 255, 256, 1001])
@pytest.mark.parametrize("start", [0, 8, 40])
def test_c_unpacks_what_python_packs(
    unpack: Callable[[int, bytes, int], bytes], start: int, count: int
) -> None:
    """All numbers of four bits, odd counts too, come back, and what stands before them stays."""
    rng = np.random.default_rng(count)
    weights = np.concatenate([np.arange(-8, 8), rng.integers(-8, 8, 1000)])[:count].astype(np.int8)
    head = rng.bytes(start)
    packed = packed_weights(weights.tobytes())
    assert len(packed) == (count + 1) // 2
    assert unpack(start, head + packed, count) == head + weights.tobytes()


def test_unpacking_takes_the_instructions_that_the_cost_model_says(tmp_path: Path) -> None:
    """Ten instructions for two weights on a Cortex-M3: the loop as the compiler writes it."""
    compile_ = [
        "arm-none-eabi-gcc",
        "-O2",
        "-std=c99",
        "-mcpu=cortex-m3",
        "-mthumb",
        "-DOOC_PACKED",
        f"-I{RUNTIME}",
    ]
    file = tmp_path / "unpack.o"
    subprocess.run([*compile_, "-c", str(RUNTIME / "ooc_unpack.c"), "-o", str(file)], check=True)
    listing = subprocess.run(
        ["arm-none-eabi-objdump", "-d", "--no-show-raw-insn", str(file)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    lines = listing.split("<ooc_unpack>:\n")[1].split("\n\n")[0].splitlines()
    places = {line.split(":")[0].strip(): k for k, line in enumerate(lines)}
    back = [(k, places[line.split()[2]]) for k, line in enumerate(lines) if line.split()[1].startswith("bne")]
    (loop,) = [(k - to + 1) for k, to in back if to < k]
    assert loop / 2 <= load_target("f746-sd").runtime.cycles_per_unpacked_weight
