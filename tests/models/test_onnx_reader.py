"""Real quantised models give what onnxruntime gives; unusable files give one clear error."""

from __future__ import annotations

import hashlib
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from ooc_solve.models import reference
from ooc_solve.models.layout import View
from ooc_solve.models.onnx_reader import read_onnx, read_onnx_with_names, survey_onnx
from ooc_solve.models.vocabulary import DType, InputError, Network, OpKind

Array = NDArray[Any]

QOPERATOR = (
    "mlperf_tiny/ic_resnet8_ort_qop_u8s8",
    "mlperf_tiny/ic_resnet8_ort_qop_s8_pertensor",
    "mlperf_tiny/vww_mobilenetv1_025_96_ort_qop_u8s8",
    "mlperf_tiny/kws_dscnn_ort_qop_u8s8",
    "mlperf_tiny/ad_autoencoder_ort_qop_u8s8",
    "micro_kws/micro_kws_m_qoperator",
)
QDQ = (
    "mlperf_tiny/ic_resnet8_int8",
    "mlperf_tiny/ic_resnet8_ort_qdq_s8",
    "mlperf_tiny/ic_resnet8_ort_qdq_s8_sym",
    "mlperf_tiny/vww_mobilenetv1_025_96_int8",
    "mlperf_tiny/vww_mobilenetv1_025_96_ort_qdq_s8",
    "mlperf_tiny/kws_dscnn_int8",
    "mlperf_tiny/kws_dscnn_ort_qdq_s8",
    "mlperf_tiny/ad_autoencoder_int8",
    "mlperf_tiny/ad_autoencoder_ort_qdq_s8",
    "mcunet/mcunet_vww_int8",
    "micro_kws/micro_kws_m_qdq",
    "mobilenet/mobilenetv1_025_128_ort_qdq_s8",
)
FLOAT = (
    "mlperf_tiny/ic_resnet8_float",
    "mlperf_tiny/vww_mobilenetv1_025_96_float",
    "mlperf_tiny/kws_dscnn_float",
    "mlperf_tiny/ad_autoencoder_float",
    "micro_kws/micro_kws_m_float",
    "mobilenet/mobilenetv1_025_128_float",
    "mnist/mnist_cntk_opset8_float",
)
LAYERED = tuple(
    name for name in (*QOPERATOR, *QDQ) if not name.endswith(("_sym", "_pertensor", "_128_ort_qdq_s8"))
)


def samples(path: Path) -> tuple[str, Array, Array, Array]:
    """Name of the input, sample inputs, onnxruntime's outputs as written and optimised."""
    data = np.load(path.with_suffix(".npz"))
    return str(data["input_name"]), data["input"], data["output_noopt_0"], data["output_0"]


def outputs_of(network: Network, name: str, inputs: Array) -> Array:
    """Outputs of the network for all samples, in the graph's shape."""
    (output,) = network.outputs
    return np.concatenate(
        [
            reference.graph_output(network, output, reference.run(network, {name: inputs[k : k + 1]}))
            for k in range(len(inputs))
        ]
    )


@pytest.mark.parametrize("name", QOPERATOR)
def test_qoperator_outputs_are_equal_to_the_byte(shared_models: Path, name: str) -> None:
    """Every output of every sample is exactly onnxruntime's."""
    path = shared_models / f"{name}.onnx"
    key, inputs, expected, _ = samples(path)
    assert np.array_equal(outputs_of(read_onnx(path), key, inputs), expected)


@pytest.mark.parametrize("name", QDQ)
def test_qdq_classes_are_equal(shared_models: Path, name: str) -> None:
    """Every sample gets onnxruntime's class (any of them where its two settings or a tie disagree)."""
    path = shared_models / f"{name}.onnx"
    key, inputs, *accepted = samples(path)
    found = outputs_of(read_onnx(path), key, inputs).argmax(axis=1)
    best = [(output == output.max(axis=1, keepdims=True)) for output in accepted]
    assert all((best[0] | best[1])[np.arange(len(found)), found])


def onnxruntime_layers(
    path: Path, network: Network, names: dict[str, View]
) -> tuple[dict[str, Array], Array]:
    """Tensors of onnxruntime as the network would store them, and the sample's input."""
    data = np.load(path.with_name(f"{path.stem}_layers.npz"))
    layers: dict[str, Array] = {}
    for position, name in enumerate(data["names"]):
        view = names.get(str(name))
        if view is not None:
            values = (data[f"t{position:03d}"].astype(int) - view.offset).astype(np.int8)
            shape = reference.stored_shape(network.tensors[view.tensor])
            layers.setdefault(view.tensor, view.scatter(values).reshape(shape))
    return layers, data["input"]


@pytest.mark.parametrize("name", LAYERED)
def test_every_layer_agrees(shared_models: Path, name: str) -> None:
    """Fed with onnxruntime's own tensors, every operator gives its next one.

    QLinear operators to the byte. In QDQ form, which onnxruntime computes in float, one step apart
    at most: 1 of 100 000 values, and up to 1 of 50 in average pools, whose ties float error decides.
    """
    path = shared_models / f"{name}.onnx"
    network, names = read_onnx_with_names(path)
    layers, sample = onnxruntime_layers(path, network, names)
    values = {network.inputs[0]: sample, **layers}
    compared = {True: 0, False: 0}
    differing = {True: 0, False: 0}
    for op in network.ops:
        result = reference.run_op(network, op, values)
        values.setdefault(op.output, result)
        if op.output in layers:
            difference = np.abs(result.astype(int) - layers[op.output].astype(int))
            pool = op.kind is OpKind.AVERAGE_POOL
            assert difference.max() <= (0 if name in QOPERATOR else 1), op.name
            compared[pool] += difference.size
            differing[pool] += int((difference > 0).sum())
    assert len(layers) >= 0.9 * len([op for op in network.ops if op.kind is not OpKind.DEQUANTIZE])
    assert differing[False] <= 1 + compared[False] / 100_000
    assert differing[True] <= 1 + compared[True] / 50


@pytest.mark.parametrize("name", [*QOPERATOR, *QDQ])
def test_nothing_is_permuted_and_layout_costs_no_operator(shared_models: Path, name: str) -> None:
    """None of these networks needs its data in another order than the one it is in."""
    kinds = {op.kind for op in read_onnx(shared_models / f"{name}.onnx").ops}
    assert kinds.isdisjoint({OpKind.PERMUTE, OpKind.MOVE})


@pytest.mark.parametrize("name", FLOAT)
def test_float_networks_agree(shared_models: Path, name: str) -> None:
    """Every output of every sample lies within 1e-5 of onnxruntime's, as a share of the outputs' range."""
    path = shared_models / f"{name}.onnx"
    key, inputs, _, expected = samples(path)
    network = read_onnx(path)
    found = outputs_of(network, key, inputs).reshape(expected.shape)
    assert np.abs(found - expected).max() <= 1e-5 * np.ptp(expected)
    assert {tensor.dtype for tensor in network.tensors.values()} == {DType.FLOAT32}


@pytest.mark.parametrize("name", FLOAT)
def test_float_networks_have_no_operator_more_than_needed(shared_models: Path, name: str) -> None:
    """Limits, biases and layouts are part of the operators they belong to."""
    kinds = {op.kind for op in read_onnx(shared_models / f"{name}.onnx").ops}
    assert kinds.isdisjoint({OpKind.PERMUTE, OpKind.MOVE, OpKind.LOOKUP})


def test_digest_is_that_of_the_file(shared_models: Path) -> None:
    """The digest of a network is the SHA-256 of the file it came from."""
    path = shared_models / "mlperf_tiny" / "kws_dscnn_int8.onnx"
    assert read_onnx(path).digest == hashlib.sha256(path.read_bytes()).hexdigest()


# ------------------------------------------------------------------ unusable files


def model_of(
    nodes: list[onnx.NodeProto],
    shape: tuple[int | str, ...] = (1, 4),
    dtype: int = TensorProto.INT8,
    constants: dict[str, Array] | None = None,
) -> onnx.ModelProto:
    """A model with input ``x``, output ``y``."""
    scale = {"s": np.float32(0.5), "z": np.int8(0)}
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("x", dtype, shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in {**scale, **(constants or {})}.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)])


def dequantize(source: str = "x", output: str = "r") -> onnx.NodeProto:
    """A DequantizeLinear of the input."""
    return helper.make_node("DequantizeLinear", [source, "s", "z"], [output], "dequantize")


def quantize(source: str, output: str = "y") -> onnx.NodeProto:
    """A QuantizeLinear to the output."""
    return helper.make_node("QuantizeLinear", [source, "s", "z"], [output], "quantize")


def complaint(tmp_path: Path, model: onnx.ModelProto) -> str:
    """The error a model gives."""
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(InputError) as caught:
        read_onnx(path)
    return str(caught.value)


@pytest.mark.parametrize(
    "content", [b"", b"this is not a model", b"\x00" * 100, b"\x89PNG\r\n\x1a\n" + b"7" * 50]
)
def test_files_of_another_kind_are_refused(tmp_path: Path, content: bytes) -> None:
    """A file that is no ONNX model gives one line naming it."""
    path = tmp_path / "picture.onnx"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"picture\.onnx': must be an ONNX model") as caught:
        read_onnx(path)
    assert "\n" not in str(caught.value)


def test_missing_and_truncated_files_are_refused(tmp_path: Path) -> None:
    """A missing file and every truncation of a good one give an input error, never a traceback."""
    with pytest.raises(InputError, match=r"nothing\.onnx': the model file cannot be read"):
        read_onnx(tmp_path / "nothing.onnx")
    content = model_of([dequantize(), quantize("r")]).SerializeToString()
    path = tmp_path / "cut.onnx"
    for length in range(len(content) - 1):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            read_onnx(path)


def test_missing_external_data_is_refused(tmp_path: Path) -> None:
    """A model whose weights lie in a file that is not there says so."""
    model = model_of([dequantize(), quantize("r")], constants={"w": np.zeros(2000, np.float32)})
    onnx.save(
        model, tmp_path / "m.onnx", save_as_external_data=True, location="weights.bin", size_threshold=100
    )
    (tmp_path / "weights.bin").unlink()
    with pytest.raises(InputError, match=r"m\.onnx': the external data of .w. cannot be read"):
        read_onnx(tmp_path / "m.onnx")


def test_free_dimensions_but_the_batch_are_refused(tmp_path: Path) -> None:
    """A free batch is 1; any other free dimension is named."""
    nodes = [dequantize(), quantize("r")]
    path = tmp_path / "free.onnx"
    path.write_bytes(model_of(nodes, ("batch", 4)).SerializeToString())
    assert read_onnx(path).tensors["x"].graph_shape == (1, 4)
    message = complaint(tmp_path, model_of(nodes, ("batch", 3, "height", 8)))
    assert message.startswith("Graph input 'x': dimension 2 ('height') must have a fixed size")


def test_types_that_are_not_known_are_refused(tmp_path: Path) -> None:
    """A double input is refused by name and type."""
    message = complaint(tmp_path, model_of([dequantize(), quantize("r")], dtype=TensorProto.DOUBLE))
    assert message == "Graph input 'x': must be float32, uint8 or int8 (got double)."


WEIGHTS: dict[str, Array] = {
    "w": np.ones((2, 1, 3, 3, 3), np.int8),
    "w2": np.ones((4, 2), np.int8),
    "wf": np.ones((4, 2), np.float32),
}

REFUSED = {
    "CumSum 'l': operator is not supported; ReduceSum, ReduceMean and ReduceMax are": (
        [dequantize(), helper.make_node("CumSum", ["r", "wf"], ["m"], "l"), quantize("m")],
        (1, 4),
    ),
    "Conv 'c': must have one or two spatial axes (got 3).": (
        [
            dequantize(),
            dequantize("w", "wr"),
            helper.make_node("Conv", ["r", "wr"], ["m"], "c"),
            quantize("m"),
        ],
        (1, 1, 5, 5, 5),
    ),
    "Relu 'r1': its input 'nowhere' must be produced before it": (
        [helper.make_node("Relu", ["nowhere"], ["m"], "r1"), quantize("m")],
        (1, 4),
    ),
    "'m': must be made once (got 2 times); repair the file.": (
        [
            dequantize(),
            helper.make_node("Relu", ["r"], ["m"], "r1"),
            helper.make_node("Tanh", ["r"], ["m"], "t1"),
            quantize("m"),
        ],
        (1, 4),
    ),
    "Relu 'two': must have at most 1 input (got 2); the file is damaged.": (
        [dequantize(), helper.make_node("Relu", ["r", "r"], ["m"], "two"), quantize("m")],
        (1, 4),
    ),
    "Dropout 'd': its output 'mask' must not be read, only the first is supported": (
        [dequantize(), helper.make_node("Dropout", ["r"], ["m", "mask"], "d"), quantize("mask")],
        (1, 4),
    ),
    "MaxPool 'p': its output 'places' must not be read, only the first is supported": (
        [
            dequantize(),
            helper.make_node("MaxPool", ["r"], ["m", "places"], "p", kernel_shape=[2, 2]),
            quantize("places"),
        ],
        (1, 1, 4, 4),
    ),
    "Split 'many': num_outputs must be that of its outputs, 1 (got 4611686018427387904).": (
        [dequantize(), helper.make_node("Split", ["r"], ["m"], "many", num_outputs=2**62), quantize("m")],
        (1, 4),
    ),
    "Reshape 'b': (1, 4) cannot be reshaped to [2, 3]": (
        [helper.make_node("Reshape", ["x", "shape"], ["m"], "b"), dequantize("m"), quantize("r")],
        (1, 4),
    ),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_is_not_supported_is_named(tmp_path: Path, message: str) -> None:
    """Each refusal names operator and node and says what must hold, in one line."""
    nodes, shape = REFUSED[message]
    constants: dict[str, Array] = {**WEIGHTS, "shape": np.array([2, 3])}
    found = complaint(tmp_path, model_of(nodes, shape, constants=constants))
    assert found.startswith(message)
    assert "\n" not in found


def test_outputs_that_nobody_reads_are_left_out(tmp_path: Path) -> None:
    """A mask, or where the largest elements are, may be named as long as nothing needs it."""
    pool = helper.make_node("MaxPool", ["r"], ["p", "places"], kernel_shape=[2, 2])
    drop = helper.make_node("Dropout", ["p"], ["m", "mask"])
    path = tmp_path / "more.onnx"
    path.write_bytes(model_of([dequantize(), pool, drop, quantize("m")], (1, 1, 4, 4)).SerializeToString())
    assert [op.kind for op in read_onnx(path).ops] == [OpKind.MAX_POOL]


def test_outputs_and_names_are_given_once(tmp_path: Path) -> None:
    """An output that is listed twice, or a constant with the name of a result, is refused in one line."""
    model = model_of([dequantize(), helper.make_node("Relu", ["r"], ["m"]), quantize("m")])
    model.graph.output.append(model.graph.output[0])
    model.graph.initializer.append(numpy_helper.from_array(np.ones(4, np.float32), "m"))
    assert complaint(tmp_path, model).split("\n") == [
        "'m': must be made once (got 2 times); repair the file.",
        "Graph output 'y': must be listed once (got 2 times); repair the file.",
    ]


def test_attributes_of_another_type_are_refused(tmp_path: Path) -> None:
    """An attribute that is a number where ONNX wants a list gives an error that names it."""
    turn = helper.make_node("Transpose", ["r"], ["m"], "turn", perm=1)
    message = complaint(tmp_path, model_of([dequantize(), turn, quantize("m")]))
    assert message.startswith("Transpose 'turn': attribute 'perm' must be of the type ONNX gives it")


@pytest.mark.parametrize(
    "node",
    [
        helper.make_node("ConvTranspose", ["r", "wr"], ["m"], "n", group=0),
        helper.make_node("Clip", ["r", "none", "none"], ["m"], "n"),
    ],
    ids=lambda node: node.op_type,
)
def test_attributes_that_fit_no_shape_are_refused(tmp_path: Path, node: onnx.NodeProto) -> None:
    """A group count or a bound that cannot be is one sentence about the node, no traceback."""
    constants: dict[str, Array] = {
        "none": np.array([], np.float32),
        "w": np.ones((3, 3, 1, 1), np.int8),
    }
    nodes = [dequantize(), dequantize("w", "wr"), node, quantize("m")]
    message = complaint(tmp_path, model_of(nodes, (1, 3, 4, 4), constants=constants))
    assert message.startswith(f"{node.op_type} 'n': its attributes must fit the shapes of its inputs (")


@pytest.mark.parametrize(
    "value", [np.array([0, 3], np.complex64), np.array([0.0, 3.0]), np.array(["0", "3"])]
)
def test_positions_that_are_no_whole_numbers_are_refused(tmp_path: Path, value: Array) -> None:
    """Complex numbers, fractions and texts are no positions, even where they could be taken for some."""
    nodes = [dequantize(), helper.make_node("Slice", ["r", "v", "v"], ["m"], "n"), quantize("m")]
    message = complaint(tmp_path, model_of(nodes, (1, 3, 4, 4), constants={"v": value}))
    assert re.match(r"Slice 'n': .* must be (whole|real) numbers \(got ", message)


def test_constants_of_another_type_are_refused(tmp_path: Path) -> None:
    """A bias of bytes, a scale of whole numbers and a zero point of another type are no numbers of the operator."""
    constants: dict[str, Array] = {"w": np.ones((3, 3, 1, 1), np.int8), "b": np.zeros(3, np.int8)}
    constants |= {"one": np.array([1]), "zero": np.array(0, np.uint8)}
    ends, weights = ("x", "s", "z"), ("w", "s", "z")
    for inputs, text in (
        ((*ends, *weights, "s", "z", "b"), "its bias must be int32 (got int8)"),
        (
            (*ends, "w", "one", "z", "s", "z"),
            "a float32 scale and a zero point of their own type (got int64, int8",
        ),
        (
            (*ends, "w", "s", "zero", "s", "z"),
            "a float32 scale and a zero point of their own type (got float32, uint8",
        ),
    ):
        node = helper.make_node("QLinearConv", inputs, ["y"], "q")
        assert text in complaint(tmp_path, model_of([node], (1, 3, 4, 4), constants=constants))


def test_means_over_channels_take_no_more_memory_than_the_tensor(tmp_path: Path) -> None:
    """Windows are only looked for where they have as many elements as are averaged."""
    path = tmp_path / "mean.onnx"
    mean = helper.make_node("ReduceMean", ["r"], ["m"], axes=[3])
    path.write_bytes(model_of([dequantize(), mean, quantize("m")], (1, 100, 100, 2)).SerializeToString())
    tracemalloc.start()
    try:
        read_onnx(path)
        assert tracemalloc.get_traced_memory()[1] < 50e6
    finally:
        tracemalloc.stop()


def test_damaged_models_give_input_errors_or_networks(shared_models: Path, tmp_path: Path) -> None:
    """Whatever bytes of a model are overwritten, reading it ends in a network or an input error."""
    content = (shared_models / "micro_kws" / "micro_kws_m_qoperator.onnx").read_bytes()
    rng = np.random.default_rng(7)
    refused = 0
    for _ in range(100):
        damaged = np.frombuffer(content, np.uint8).copy()
        damaged[rng.integers(0, len(content), 20)] = rng.integers(0, 256, 20)
        path = tmp_path / "damaged.onnx"
        path.write_bytes(damaged.tobytes())
        try:
            with np.errstate(all="ignore"):
                read_onnx(path)
        except InputError:
            refused += 1
    assert refused > 0


def test_control_flow_is_refused(tmp_path: Path) -> None:
    """An If gives a line about control flow."""
    branch = helper.make_graph(
        [helper.make_node("Identity", ["r"], ["b"])], "branch", [], [helper.make_empty_tensor_value_info("b")]
    )
    choice = helper.make_node("If", ["c"], ["m"], "choice", then_branch=branch, else_branch=branch)
    model = model_of([dequantize(), choice, quantize("m")], constants={"c": np.array(True)})
    assert (
        complaint(tmp_path, model) == "If 'choice': control flow is not supported; export a model without it."
    )


def test_all_problems_are_reported_together(tmp_path: Path) -> None:
    """Independent problems give a line each; nodes after a problem give none."""
    nodes = [
        dequantize(),
        helper.make_node("Cos", ["r"], ["a"], "first"),
        quantize("a", "qa"),
        helper.make_node("Sin", ["r"], ["b"], "second"),
        quantize("b", "y"),
    ]
    lines = complaint(tmp_path, model_of(nodes)).split("\n")
    assert [line.split(":")[0] for line in lines] == ["Cos 'first'", "Sin 'second'"]


def test_only_the_first_of_very_many_problems_are_told(tmp_path: Path) -> None:
    """Of 207 problems 200 are told, and how many there are besides, however long their names are."""
    cosines = [helper.make_node("Cos", ["r"], [f"a{k}"], f"{k} " * 9_999) for k in range(207)]
    lines = complaint(tmp_path, model_of([dequantize(), *cosines, quantize("a6", "y")])).split("\n")
    assert [line.split()[1] for line in lines[:200]] == [f"'{k}" for k in range(200)]
    assert lines[200:] == ["... and 7 more problems; the file may be damaged."]
    assert max(map(len, lines)) < 1_100


def test_problems_behind_problems_are_found(tmp_path: Path) -> None:
    """Unbound dimensions and operators that are not supported are told in one run, wherever they stand."""
    nodes = [
        dequantize(),
        helper.make_node("Cos", ["r"], ["a"], "first"),
        helper.make_node("Relu", ["a"], ["b"], "between"),
        helper.make_node("CumSum", ["b", "wf"], ["c"], "second"),
        quantize("c", "y"),
    ]
    model = model_of(nodes, ("batch", 2, "height", "width"), constants=WEIGHTS)
    lines = complaint(tmp_path, model).split("\n")
    assert [line.split(";")[0] for line in lines] == [
        "Graph input 'x': dimension 2 ('height') must have a fixed size",
        "Graph input 'x': dimension 3 ('width') must have a fixed size",
        "Cos 'first': operator is not supported",
        "CumSum 'second': operator is not supported",
    ]


def test_survey_says_what_becomes_of_every_node(tmp_path: Path) -> None:
    """Every node has its kernels, a note where it has none, or its problem; what follows a problem has nothing."""
    nodes = [
        dequantize(),
        helper.make_node("Relu", ["r"], ["f"], "relu"),
        quantize("f", "q"),
        helper.make_node("Transpose", ["q"], ["t"], "turn"),
        helper.make_node("Cos", ["r"], ["c"], "cosine"),
        quantize("c", "y"),
    ]
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of(nodes).SerializeToString())
    reports, problems = survey_onnx(path)
    told = [(report.operator, report.kernels, report.note, bool(report.problem)) for report in reports]
    assert told == [
        ("DequantizeLinear", (), "part of what reads it", False),
        ("Relu", (), "part of what reads it", False),
        ("QuantizeLinear", ("lookup",), "", False),
        ("Transpose", (), "moves nothing", False),
        ("Cos", (), "", True),
        ("QuantizeLinear", (), "", False),
    ]
    assert [problem.split(":")[0] for problem in problems] == ["Cos 'cosine'"]


def test_control_characters_in_names_are_escaped(tmp_path: Path) -> None:
    """Line feeds, escape sequences and marks of direction in names reach no terminal as they are."""
    node = helper.make_node("Cos", ["r"], ["a"], "x\n\x1b[31m\u202e\x00é")
    told = complaint(tmp_path, model_of([dequantize(), node, quantize("a", "y")]))
    assert told.startswith(r"Cos 'x\n\x1b[31m\u202e\x00é': ")
    assert told.isprintable()


def test_an_input_of_a_type_that_does_not_exist(tmp_path: Path) -> None:
    """A number that stands for no element type is told as such."""
    model = model_of([dequantize(), quantize("r", "y")])
    model.graph.input[0].type.tensor_type.elem_type = 99
    assert "(got type 99, which ONNX does not have)" in complaint(tmp_path, model)


@pytest.mark.parametrize(
    "wanted", [TensorProto.INT16, TensorProto.UINT16, TensorProto.INT4, TensorProto.FLOAT8E4M3FN]
)
def test_other_types_than_bytes_are_refused_without_a_zero_point(tmp_path: Path, wanted: int) -> None:
    """A QuantizeLinear that names its type instead of a zero point gives bytes or is refused."""
    node = helper.make_node("QuantizeLinear", ["r", "s"], ["y"], "quantize", output_dtype=wanted)
    message = complaint(tmp_path, model_of([dequantize(), node]))
    assert message == (
        f"QuantizeLinear 'quantize': output_dtype must be 2 (uint8) or 3 (int8) (got {wanted}); quantise to bytes."
    )


def test_training_is_refused(tmp_path: Path) -> None:
    """Dropout is left out of inference, but one that always trains does something."""
    constants: dict[str, Array] = {"ratio": np.array(0.5, np.float32), "on": np.array(True)}
    node = helper.make_node("Dropout", ["r", "ratio", "on"], ["m"], "drop")
    message = complaint(tmp_path, model_of([dequantize(), node, quantize("m")], constants=constants))
    assert message == "Dropout 'drop': must not be in training mode; export the network for inference."


def test_an_opset_that_is_not_known_is_refused(tmp_path: Path) -> None:
    """Nobody knows what operators mean in an opset that the onnx package lacks."""
    model = model_of([dequantize(), quantize("r")])
    newest = onnx.defs.onnx_opset_version()
    model.opset_import[0].version = newest + 1
    assert f"opset must be at most {newest}" in complaint(tmp_path, model)


def test_of_limits_that_cross_the_upper_one_counts(tmp_path: Path) -> None:
    """Clip with its minimum above its maximum gives the maximum everywhere, as ONNX says."""
    constants: dict[str, Array] = {"low": np.array(3, np.float32), "high": np.array(1, np.float32)}
    node = helper.make_node("Clip", ["r", "low", "high"], ["m"], "clip")
    path = tmp_path / "model.onnx"
    path.write_bytes(model_of([dequantize(), node, quantize("m")], constants=constants).SerializeToString())
    network = read_onnx(path)
    values = reference.run(network, {"x": np.array([[-8, 0, 2, 100]], np.int8)})
    assert reference.graph_output(network, network.outputs[0], values).reshape(-1).tolist() == [2, 2, 2, 2]


def test_quantisers_of_onnxruntimes_domain_are_the_standard_ones(tmp_path: Path) -> None:
    """QuantizeLinear and DequantizeLinear of com.microsoft read as those of ONNX do."""
    plain = model_of([dequantize(), helper.make_node("Relu", ["r"], ["m"], "relu"), quantize("m")])
    own = onnx.ModelProto()
    own.CopyFrom(plain)
    own.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    for node in own.graph.node:
        node.domain = "" if node.op_type == "Relu" else "com.microsoft"
    found = []
    for name, model in (("plain", plain), ("own", own)):
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        network = read_onnx(path)
        values = reference.run(network, {"x": np.array([[-8, 0, 2, 100]], np.int8)})
        found.append(reference.graph_output(network, network.outputs[0], values).tolist())
    assert found[0] == found[1]


def _calling(body: onnx.NodeProto) -> onnx.ModelProto:
    """A model whose only operator between bytes is a function of its own, of one node."""
    call = helper.make_node("Own", ["r"], ["m"], "call", domain="my")
    model = model_of([dequantize(), call, quantize("m")])
    sets = [helper.make_opsetid("", 13), helper.make_opsetid("my", 1)]
    model.opset_import.append(sets[1])
    model.functions.append(helper.make_function("my", "Own", ["a"], ["b"], [body], sets))
    return model


def test_functions_of_a_model_are_written_out(tmp_path: Path) -> None:
    """A function that the file defines computes what its nodes do."""
    path = tmp_path / "function.onnx"
    path.write_bytes(_calling(helper.make_node("Relu", ["a"], ["b"])).SerializeToString())
    network = read_onnx(path)
    values = reference.run(network, {"x": np.array([[-8, 0, 2, 100]], np.int8)})
    assert reference.graph_output(network, network.outputs[0], values).reshape(-1).tolist() == [0, 0, 2, 100]


def test_functions_that_call_themselves_are_refused(tmp_path: Path) -> None:
    """A function without an end is told in one line."""
    message = complaint(tmp_path, _calling(helper.make_node("Own", ["a"], ["b"], domain="my")))
    assert "the functions that it defines must be such that onnx can write them out" in message
    assert "\n" not in message
