"""Networks with attention, quantised: products of two activations on bytes, normalisation in float32 between them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray

from ooc_solve.codegen.project import write_project
from ooc_solve.models import reference
from ooc_solve.models.int8_twin import int8_twin
from ooc_solve.models.onnx_quantization import Quantized, quantize_onnx
from ooc_solve.models.onnx_reader import read_onnx, survey_onnx
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, DType, OpKind
from ooc_solve.solver.solve import SCHEDULERS
from tests.emitted_networks import emitted_outputs
from tests.exported_networks import Exporter, vision_transformer

ACTIVATIONS = ("int8", "uint8")
SRAM_BYTES = 9_000
"""Less than the network's weights and activations take together."""

Array = NDArray[Any]

needs_compiler = pytest.mark.skipif(
    shutil.which("make") is None or shutil.which("gcc") is None, reason="needs make and gcc"
)


@pytest.fixture(scope="module", params=ACTIVATIONS)
def transformer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Quantized:
    """A vision transformer of one layer, quantised with random samples."""
    path = tmp_path_factory.mktemp("model") / "transformer.onnx"
    path.write_bytes(vision_transformer().SerializeToString())
    return quantize_onnx(path, "random", request.param)


def test_only_normalisation_is_computed_in_float32(transformer: Quantized, tmp_path: Path) -> None:
    """Both products, Softmax and Gelu have kernels on bytes; what is left in float32 is LayerNormalization's."""
    network = transformer.network
    products = [network.tensors[op.output].dtype for op in network.ops if op.kind is OpKind.MATMUL]
    assert products == [DType.INT8, DType.INT8]
    (tmp_path / "q.onnx").write_bytes(transformer.content)
    reports, problems = survey_onnx(tmp_path / "q.onnx")
    assert problems == ()
    in_floats = {report.operator for report in reports if any("float" in name for name in report.kernels)}
    assert in_floats == {"LayerNormalization"}


@needs_compiler
def test_a_quantised_transformer_gives_onnxruntimes_numbers(transformer: Quantized, tmp_path: Path) -> None:
    """From plan to run in less SRAM than it takes, the emitted program gives what onnxruntime's kernels give."""
    network = transformer.network
    source = network.inputs[0]
    shape = network.tensors[source].graph_shape
    feeds = {source: np.random.default_rng(7).normal(0, 1, shape).astype(np.float32)}
    problem = Problem(network, load_target("f746-sd"), SRAM_BYTES, IoPlace.STORAGE)
    found = emitted_outputs(problem, "demand-layering", feeds, tmp_path, tmp_path / "objects")
    theirs = outputs_of(transformer.content, feeds)
    for name, expected in zip(network.outputs, theirs, strict=True):
        assert np.abs(found[name].reshape(expected.shape) - expected).max() <= 1e-5 * np.ptp(expected)


@needs_compiler
def test_the_kernel_is_compiled_where_it_is_asked_for(tmp_path: Path) -> None:
    """The Makefile asks for the kernels of products; tables that need them stop a compiler that leaves them out."""
    path = tmp_path / "model.onnx"
    path.write_bytes(product("QOperator", (5, 7), (7, 3)).SerializeToString())
    problem = Problem(read_onnx(path), load_target("f746-sd"), 16384, IoPlace.STORAGE)
    result = SCHEDULERS["demand-layering"](problem, Budget(2.0, 1, 1))
    assert result.plan is not None, result.reason
    write_project(problem, result.plan, tmp_path / "c", "net")
    assert "-DOOC_MATRICES" in (tmp_path / "c" / "Makefile").read_text()
    command = ["gcc", "-std=c99", "-fsyntax-only", "-I.", "net.c"]
    done = subprocess.run(command, cwd=tmp_path / "c", capture_output=True, text=True, check=False)
    assert "compile it and the runtime with -DOOC_MATRICES" in done.stderr
    subprocess.run([*command, "-DOOC_MATRICES"], cwd=tmp_path / "c", check=True)


def outputs_of(content: bytes, feeds: dict[str, Array]) -> list[Array]:
    """What onnxruntime's kernels give for a file as it is."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    found: list[Array] = session.run(None, feeds)
    return found


def test_a_transformer_has_a_shape_on_bytes(tmp_path: Path) -> None:
    """What planning would gain by quantisation is known of networks with attention too."""
    path = tmp_path / "transformer.onnx"
    path.write_bytes(vision_transformer().SerializeToString())
    network = read_onnx(path)
    twin = int8_twin(network)
    assert twin is not None
    made = {twin.tensors[op.output].dtype for op in twin.ops if op.kind is OpKind.MATMUL}
    assert made == {DType.INT8}
    problem = Problem(twin, load_target("f746-sd"), SRAM_BYTES, IoPlace.STORAGE)
    result = SCHEDULERS["serial"](problem, Budget(2.0, 1, 1))
    assert result.plan is not None, result.reason


def product(kind: str, *shapes: tuple[int, ...]) -> onnx.ModelProto:
    """A product of two inputs of float32, quantised on both sides, in QDQ or QOperator form."""
    exporter = Exporter((1,), 13)
    pairs = [
        (exporter.constant(np.float32(scale)), exporter.constant(np.int8(zero)))
        for scale, zero in ((0.031, 3), (0.017, -9), (0.043, 11))
    ]
    sides = [exporter.add("QuantizeLinear", f"x{k}", *pairs[k]) for k in (0, 1)]
    if kind == "QDQ":
        reals = [exporter.add("DequantizeLinear", side, *pairs[k]) for k, side in enumerate(sides)]
        made = exporter.add("QuantizeLinear", exporter.add("MatMul", *reals), *pairs[2])
    else:
        made = exporter.add("QLinearMatMul", sides[0], *pairs[0], sides[1], *pairs[1], *pairs[2])
    model: onnx.ModelProto = exporter.model(exporter.add("DequantizeLinear", made, *pairs[2]))
    del model.graph.input[:]
    for k, shape in enumerate(shapes):
        value = onnx.helper.make_tensor_value_info(f"x{k}", onnx.TensorProto.FLOAT, shape)
        model.graph.input.append(value)
    return model


@pytest.mark.parametrize("kind", ["QDQ", "QOperator"])
@pytest.mark.parametrize(
    "shapes",
    [((5, 7), (7, 3)), ((1, 2, 5, 7), (1, 2, 7, 6)), ((2, 4, 6), (6, 5)), ((1, 3, 4, 8), (1, 1, 8, 4))],
)
def test_products_of_bytes_are_those_of_qlinearmatmul(
    tmp_path: Path, kind: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]
) -> None:
    """Batched or with one matrix for all, in either form, the one kernel gives onnxruntime's bytes."""
    path = tmp_path / "model.onnx"
    path.write_bytes(product(kind, *shapes).SerializeToString())
    network = read_onnx(path)
    made = [network.tensors[op.output].dtype for op in network.ops if op.kind is OpKind.MATMUL]
    assert made == [DType.INT8]
    rng = np.random.default_rng(3)
    feeds = {f"x{k}": rng.normal(0, 1.2, shape).astype(np.float32) for k, shape in enumerate(shapes)}
    (expected,) = outputs_of(product("QOperator", *shapes).SerializeToString(), feeds)
    (name,) = network.outputs
    assert np.array_equal(reference.graph_output(network, name, reference.run(network, feeds)), expected)
    assert np.ptp(expected) > 1


def test_bytes_times_float32_is_computed_in_float32(tmp_path: Path) -> None:
    """A product of which one side is not quantised has a kernel all the same."""
    exporter = Exporter((1, 4, 4), 13)
    pair = exporter.constant(np.float32(0.05)), exporter.constant(np.int8(2))
    real = exporter.add("DequantizeLinear", exporter.add("QuantizeLinear", "input", *pair), *pair)
    path = tmp_path / "model.onnx"
    path.write_bytes(exporter.model(exporter.add("MatMul", real, "input")).SerializeToString())
    network = read_onnx(path)
    made = [network.tensors[op.output].dtype for op in network.ops if op.kind is OpKind.MATMUL]
    assert made == [DType.FLOAT32]
