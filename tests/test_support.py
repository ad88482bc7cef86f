"""``--check`` lists every node of a model, plain and narrow where it is piped."""

from __future__ import annotations

import io
import tempfile
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from ooc_solve.cli import main
from ooc_solve.models.onnx_reader import NodeReport
from ooc_solve.models.vocabulary import InputError, UsageError
from ooc_solve.support import show_support, support_table


def model_file(folder: Path, *kinds: str) -> Path:
    """A quantised model whose functions are of some kinds, with a name no terminal should see as it is."""
    nodes = [helper.make_node("DequantizeLinear", ["x", "s", "z"], ["r0"], "first")]
    nodes += [helper.make_node(kind, ["r0"], [f"f{k}"], f"odd/;\x1b[31m{k}") for k, kind in enumerate(kinds)]
    nodes += [helper.make_node("QuantizeLinear", [f"f{k}", "s", "z"], [f"y{k}"]) for k in range(len(kinds))]
    outputs = [helper.make_tensor_value_info(f"y{k}", TensorProto.INT8, None) for k in range(len(kinds))]
    constants = [
        numpy_helper.from_array(np.array(0.1, np.float32), "s"),
        numpy_helper.from_array(np.array(0, np.int8), "z"),
    ]
    source = helper.make_tensor_value_info("x", TensorProto.INT8, (1, 4))
    graph = helper.make_graph(nodes, "functions", [source], outputs, constants)
    path = folder / "model.onnx"
    path.write_bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 15)]).SerializeToString()
    )
    return path


def float_model_file(folder: Path, function: str = "Relu") -> Path:
    """A float32 model: a convolution and a function on 3 x 8 x 8."""
    weights = np.random.default_rng(3).normal(size=(6, 3, 3, 3)).astype(np.float32)
    nodes = [
        helper.make_node("Conv", ["x", "w"], ["f"], "conv", pads=(1, 1, 1, 1)),
        helper.make_node(function, ["f"], ["y"], "function"),
    ]
    source = helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 3, 8, 8))
    output = helper.make_tensor_value_info("y", TensorProto.FLOAT, (1, 6, 8, 8))
    graph = helper.make_graph(nodes, "float", [source], [output], [numpy_helper.from_array(weights, "w")])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    path = folder / "float.onnx"
    path.write_bytes(model.SerializeToString())
    return path


def shown(path: Path | str) -> tuple[int, str]:
    """Exit code and text of a check into a pipe."""
    text = io.StringIO()
    return show_support(Console(file=text, width=200, highlight=False), str(path)), text.getvalue()


def test_a_supported_model_gives_0(tmp_path: Path) -> None:
    """Every node has a row with its kernels or where it went, and no line is wider than 80 columns."""
    code, text = shown(model_file(tmp_path, "Relu", "Sigmoid"))
    assert code == 0
    assert "5 nodes, 0 not supported." in text
    assert text.count("lookup") == 2
    assert max(map(len, text.splitlines())) <= 80
    assert "\x1b" not in text


def test_all_problems_are_told_and_give_1(tmp_path: Path) -> None:
    """Each node that is not supported is marked in the table and has its reason in a line below; others stay."""
    code, text = shown(model_file(tmp_path, "Cos", "Relu", "Sin"))
    assert code == 1
    assert "7 nodes, 2 not supported." in text
    lines = [line for line in text.splitlines() if line.startswith("- ")]
    assert [line.split()[1] for line in lines] == ["Cos", "Sin"]
    assert text.count("NO, see below") == 2
    assert text.count("lookup") == 1
    assert text.count("not known") == 2


def test_long_names_take_one_line(tmp_path: Path) -> None:
    """Names in which exporters write their history are cut, and nodes of the same end are told apart."""
    history = (
        "model/activation_1/Relu;model/batch_normalization_1/FusedBatchNormV3;model/conv2d_1/Conv2D_quant"
    )
    operator = "com.microsoft.QLinearAveragePool"
    reports = [NodeReport(f"{number};{history}", operator, ("conv",)) for number in "12"]
    text = io.StringIO()
    Console(file=text, width=80).print(support_table(tuple(reports)))
    rows = [line.split() for line in text.getvalue().splitlines() if "conv2d_1" in line]
    assert [row[0] for row in rows] == ["1", "2"]
    assert all(row[-2:] == ["QLinearAveragePool", "conv"] for row in rows)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The option needs nothing but the model, and its exit code is that of the check."""
    assert main([str(model_file(tmp_path, "Relu")), "--check"]) == 0
    assert main([str(model_file(tmp_path, "Cos")), "--check"]) == 1
    assert "Cos" in capsys.readouterr().out


def test_the_quantised_model_is_checked(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With --quantize the nodes are those of the quantised model, which the headline says, and no file stays."""
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    model, samples = float_model_file(tmp_path), tmp_path / "samples.npz"
    np.savez(samples, x=np.random.default_rng(4).normal(size=(5, 3, 8, 8)).astype(np.float32))
    before = set(tmp_path.rglob("*"))
    assert main([str(model), "--check"]) == 0
    plain = capsys.readouterr().out
    assert "quantised" not in plain
    assert "QLinearConv" not in plain
    assert main([str(model), "--quantize", str(samples), "--check"]) == 0
    text = capsys.readouterr().out
    assert text.startswith("Nodes of the quantised model (QOperator form, 5 samples):\n")
    assert "QLinearConv" in text
    assert "float" not in text
    assert "0 not supported." in text
    assert set(tmp_path.rglob("*")) == before


@pytest.mark.parametrize("fault", ["missing", "not a number", "shape", "float operator"])
def test_what_cannot_be_quantised_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], fault: str
) -> None:
    """Samples and models that planning refuses are refused by a check in the same words, without a table."""
    model = float_model_file(tmp_path, "Cos" if fault == "float operator" else "Relu")
    values = np.zeros((2, 3, 8, 7 if fault == "shape" else 8), np.float32)
    if fault == "not a number":
        values[1, 0, 0, 0] = np.nan
    samples = tmp_path / "samples.npz"
    if fault != "missing":
        np.savez(samples, x=values)
    command = [str(model), "--quantize", str(samples)]
    assert main(command) == 1
    planning = capsys.readouterr()
    assert main([*command, "--check"]) == 1
    checking = capsys.readouterr()
    assert checking.err == planning.err
    assert checking.err.startswith("ooc-solve: error: ")
    assert checking.out == planning.out == ""


def test_what_cannot_be_checked(tmp_path: Path) -> None:
    """Built-in networks and files that are not ONNX have no nodes to list."""
    with pytest.raises(UsageError, match="every built-in network is supported"):
        shown("zoo:resnet8")
    (tmp_path / "x.onnx").write_bytes(b"not onnx")
    with pytest.raises(InputError, match="must be an ONNX model"):
        shown(tmp_path / "x.onnx")


def test_models_of_the_field_are_supported(shared_models: Path) -> None:
    """A quantised model as a converter writes it has no problem at all."""
    code, text = shown(shared_models / "mlperf_tiny" / "ic_resnet8_ort_qop_u8s8.onnx")
    assert code == 0
    assert "conv" in text
