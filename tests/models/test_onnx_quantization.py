"""Float models quantised by onnxruntime: read back, equal in every byte, and honest about the change."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

import ooc_solve
from ooc_solve.cli import main
from ooc_solve.models import onnx_quantization, reference
from ooc_solve.models.onnx_graph import load_graph
from ooc_solve.models.onnx_quantization import ACTIVATIONS, Quantized, quantize_onnx
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.vocabulary import InputError

Array = NDArray[Any]


def float_model(opset: int = 17, *, gemm_rank: int = 1, function: str = "Relu") -> onnx.ModelProto:
    """Convolution, function, pool, classifier and softmax on 3 x 8 x 8, with a free batch."""
    rng = np.random.default_rng(3)
    bias = rng.normal(size=5).astype(np.float32)
    constants = {
        "w": rng.normal(size=(6, 3, 3, 3)).astype(np.float32),
        "b": rng.normal(size=6).astype(np.float32),
        "v": rng.normal(size=(6, 5)).astype(np.float32),
        "c": bias if gemm_rank == 1 else bias[np.newaxis],
    }
    nodes = [
        helper.make_node("Conv", ["x", "w", "b"], ["f"], "conv", pads=(1, 1, 1, 1)),
        helper.make_node(function, ["f"], ["g"], "function"),
        helper.make_node("GlobalAveragePool", ["g"], ["p"], "pool"),
        helper.make_node("Flatten", ["p"], ["q"], "flatten"),
        helper.make_node("Gemm", ["q", "v", "c"], ["s"], "gemm"),
        helper.make_node("Softmax", ["s"], ["y"], "softmax", axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "float",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ("N", 3, 8, 8))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ("N", 5))],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8 if opset > 8 else 3
    if model.ir_version == 3:  # constants were inputs then
        graph.input.extend(
            helper.make_tensor_value_info(name, TensorProto.FLOAT, array.shape)
            for name, array in constants.items()
        )
        model.graph.CopyFrom(graph)
    return model


@pytest.fixture
def samples(tmp_path: Path) -> Path:
    """Nine samples under the input's name."""
    path = tmp_path / "samples.npz"
    np.savez(path, x=np.random.default_rng(4).normal(size=(9, 3, 8, 8)).astype(np.float32))
    return path


def saved(folder: Path, model: onnx.ModelProto) -> Path:
    """The model as a file."""
    path = folder / "net.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def outputs(content: bytes, feeds: list[Array]) -> Array:
    """What onnxruntime computes from a file, sample by sample."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return np.stack([session.run(None, {"x": feed})[0] for feed in feeds])


def computed(quantized: Quantized, feeds: list[Array]) -> Array:
    """What our own arithmetic computes."""
    network, name = quantized.network, quantized.network.outputs[0]
    rows = [reference.run(network, {"x": feed})[name] for feed in feeds]
    return np.stack([row.reshape(network.tensors[name].graph_shape) for row in rows])


@pytest.mark.parametrize("activations", ACTIVATIONS)
@pytest.mark.parametrize(("opset", "rank"), [(17, 1), (7, 2)])
def test_our_arithmetic_gives_onnxruntimes_bytes(
    tmp_path: Path, samples: Path, activations: str, opset: int, rank: int
) -> None:
    """Asymmetric activations come in QOperator form and exact; symmetric ones keep the Relu, which makes it QDQ."""
    model = float_model(opset, gemm_rank=rank)
    quantized = quantize_onnx(saved(tmp_path, model), str(samples), activations)
    assert quantized.samples == 9
    assert quantized.network.name == "net"
    feeds = list(np.load(samples)["x"][:, np.newaxis])
    ours, theirs = computed(quantized, feeds), outputs(quantized.content, feeds)
    if not activations.endswith("symmetric"):
        assert quantized.form == "QOperator"
        assert ours.tobytes() == theirs.tobytes()
    assert np.abs(ours - theirs).max() <= 1 / 128  # float kernels decide ties otherwise
    before = outputs(model.SerializeToString(), feeds)
    (change,) = quantized.changes
    difference = np.abs(before.astype(float) - theirs)
    assert change.most == difference.max() > 0
    assert change.mean == difference.mean()
    assert change.range == float(np.ptp(before))
    assert change.same_class == (before.argmax(-1) == theirs.argmax(-1)).sum()


def test_symmetric_activations_have_the_middle_as_zero_point(tmp_path: Path, samples: Path) -> None:
    """Asymmetric ones use the whole range after a Relu, symmetric ones keep zero in the middle."""
    path = saved(tmp_path, float_model())
    zeros = {}
    for activations in ("int8", "int8-symmetric"):
        network = quantize_onnx(path, str(samples), activations).network
        found = [tensor.quantization for tensor in network.tensors.values()]
        zeros[activations] = {q.zero_point for q in found if q is not None}
    assert -128 in zeros["int8"]
    assert zeros["int8-symmetric"] <= {0, -128}  # the latter is that of probabilities
    assert 0 in zeros["int8-symmetric"]


def test_operators_without_a_quantised_kernel_are_read_as_tables(tmp_path: Path, samples: Path) -> None:
    """HardSwish, which QOperator leaves in float32, becomes a table, equal to the file's own arithmetic."""
    quantized = quantize_onnx(saved(tmp_path, float_model(function="HardSwish")), str(samples))
    feeds = list(np.load(samples)["x"][:, np.newaxis])
    assert computed(quantized, feeds).tobytes() == outputs(quantized.content, feeds).tobytes()


def test_random_samples_are_the_same_every_time(tmp_path: Path) -> None:
    """Two calls give one file."""
    path = saved(tmp_path, float_model())
    assert quantize_onnx(path, "random").content == quantize_onnx(path, "random").content


@pytest.mark.parametrize(
    ("entries", "complaint"),
    [
        ({"x": np.zeros((9, 3, 8, 7), np.float32)}, r"samples of shape \[1, 3, 8, 8\]"),
        ({"x": np.full((9, 3, 8, 8), np.nan, np.float32)}, "finite"),
        ({"x": np.zeros((0, 3, 8, 8), np.float32)}, "at least one"),
        ({"a": np.zeros(3), "b": np.zeros(3)}, "an entry for each of the inputs"),
        ({"x": np.array(["a"])}, "finite samples"),
        ({"x": np.array(None)}, "cannot be read"),
    ],
)
def test_wrong_samples_are_refused(tmp_path: Path, entries: dict[str, Array], complaint: str) -> None:
    """Samples of another shape, number, name or type are named as such."""
    np.savez(tmp_path / "wrong.npz", **entries)  # type: ignore[arg-type]
    with pytest.raises(InputError, match=complaint):
        quantize_onnx(saved(tmp_path, float_model()), str(tmp_path / "wrong.npz"))


def test_a_file_that_is_no_npz_is_refused(tmp_path: Path) -> None:
    """Text, a cut archive and an absent file give one sentence."""
    path = saved(tmp_path, float_model())
    for name, content in (("text.npz", b"samples"), ("cut.npz", b"PK\x03\x04aaaa")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=r"cannot be read \(it holds no numbers, or is damaged\)\.$"):
            quantize_onnx(path, str(tmp_path / name))
    with pytest.raises(InputError, match=r"cannot be read \(No such file or directory\)\.$"):
        quantize_onnx(path, str(tmp_path / "absent.npz"))


def test_damaged_samples_are_refused_or_taken(tmp_path: Path) -> None:
    """Wherever a bit of an archive is wrong or its end is missing, it is refused in words, unless it still holds samples."""
    path, calibration = saved(tmp_path, float_model()), tmp_path / "bits.npz"
    np.savez_compressed(calibration, x=np.random.default_rng(4).normal(size=(1, 3, 8, 8)).astype(np.float32))
    content = calibration.read_bytes()
    inputs = load_graph(path).inputs
    refused = 0
    for at in range(0, len(content), 3):
        flipped = bytearray(content)
        flipped[at] ^= 1 << at % 8
        for damaged in (content[:at], bytes(flipped)):
            calibration.write_bytes(damaged)
            try:
                onnx_quantization.samples_of(calibration, inputs)
            except InputError:
                refused += 1
    assert refused > len(content) // 3


def test_a_quantised_model_is_not_quantised_again(tmp_path: Path, samples: Path) -> None:
    """It is named as what it is, with the node that shows it."""
    path = saved(tmp_path, float_model())
    path.write_bytes(quantize_onnx(path, str(samples)).content)
    with pytest.raises(InputError, match=r"must be a float32 model .*QuantizeLinear 'x_QuantizeLinear'"):
        quantize_onnx(path, str(samples))


def test_without_onnxruntime_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the library one sentence says what to install."""
    monkeypatch.setattr(onnx_quantization, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install onnxruntime"):
        quantize_onnx(saved(tmp_path, float_model()), "random")


def test_the_command_writes_the_quantised_model_beside_the_project(
    tmp_path: Path, samples: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """It can be given back to the tool, and the change is told."""
    path, project = saved(tmp_path, float_model()), tmp_path / "net_c"
    arguments = ["--quantize", str(samples), "--scheduler", "serial", "-o", str(project)]
    assert main([str(path), *arguments]) == 0
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= 80
    told = " ".join(printed.split())
    assert "the quantised model, with whose outputs to compare" in told
    assert "Quantised in QOperator form with 9 samples" in told
    assert "of 9 keep their largest entry" in told
    assert (project / "Makefile").is_file()
    assert read_onnx(tmp_path / "net_c.onnx").digest == quantize_onnx(path, str(samples)).network.digest


def test_built_in_networks_are_not_quantised(capsys: pytest.CaptureFixture[str]) -> None:
    """They are int8 already."""
    assert main(["zoo:resnet8", "--quantize", "random"]) == 2
    assert "int8 already" in capsys.readouterr().err


def test_the_change_of_outputs_is_in_the_json_report(tmp_path: Path, samples: Path) -> None:
    """The command's report and the Python API say of each output what the terminal says."""
    path, file = saved(tmp_path, float_model()), tmp_path / "report.json"
    arguments = ["--quantize", str(samples), "--scheduler", "serial", "--json", str(file)]
    assert main([str(path), *arguments]) == 0
    told = json.loads(file.read_text())["quantization"]
    quantized = ooc_solve.quantize(path, samples)
    (change,) = quantized.changes
    assert (told["form"], told["samples"], told["calibration"]) == (quantized.form, 9, str(samples))
    assert told["outputs"] == {
        change.name: {
            "most": change.most,
            "mean": change.mean,
            "range": change.range,
            "same_class": change.same_class,
        }
    }
