"""Static quantisation of float32 ONNX files by onnxruntime, and what it changes.

Weights become int8 with one scale per output channel, activations int8 or uint8 with one scale per tensor. The
QOperator form is tried first, because its kernels compute what ours do in every byte; then QuantizeLinear and
DequantizeLinear around float operators. onnxruntime is an extra and imported only here.
"""

from __future__ import annotations

import logging
import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import external_data_helper

from ooc_solve.models.onnx_graph import GraphInput, load_graph, load_model
from ooc_solve.models.onnx_reader import read_onnx
from ooc_solve.models.onnx_versions import at_least
from ooc_solve.models.vocabulary import FLOATING, DType, InputError, Network

Array = NDArray[Any]
Feeds = dict[str, Array]

ACTIVATIONS = ("int8", "uint8", "int8-symmetric", "uint8-symmetric")
RANDOM_SAMPLES = 16
_PER_CHANNEL_OPSET = 13  # the first whose DequantizeLinear has an axis
_FORMS = ("QOperator", "QDQ")


@dataclass(frozen=True, slots=True)
class OutputChange:
    """How far one output moved over all samples; differences in the output's own unit.

    ``range`` is the float model's largest value minus its smallest. ``same_class`` counts the samples whose
    largest entry stayed the largest, None for outputs that are not one row of scores.
    """

    name: str
    most: float
    mean: float
    range: float
    same_class: int | None


@dataclass(frozen=True, slots=True, eq=False)
class Quantized:
    """A quantised model: as a network, and as the bytes of an ONNX file.

    ``form`` is "QOperator" or "QDQ"; ``samples`` those that the scales and the changes come from.
    """

    network: Network
    content: bytes
    form: str
    samples: int
    changes: tuple[OutputChange, ...]


def quantize_onnx(path: Path, calibration: str, activations: str = "int8") -> Quantized:
    """Quantise a float32 model with samples of an .npz file, or with ``"random"`` ones.

    An entry of the file per input has its samples along axis 0; of a model with one input it may have
    any name. Random samples are standard normal and seeded.

    Raises
    ------
    InputError
        Without onnxruntime, for a model that is quantised already or that no form of can be read, and
        for samples that do not fit.
    """
    if find_spec("onnxruntime") is None:
        raise InputError("Quantising needs onnxruntime: pip install onnxruntime.")
    if activations not in ACTIVATIONS:
        raise InputError(f"Activations must be one of {', '.join(ACTIVATIONS)} (got '{activations}').")
    inputs = _float_inputs(path)
    samples = _random_samples(inputs) if calibration == "random" else samples_of(Path(calibration), inputs)
    with tempfile.TemporaryDirectory(prefix="ooc-quantize-") as name, _quiet():
        prepared = _prepared(path, inputs, Path(name))
        return _best_form(path, prepared, samples, activations, Path(name))


def _best_form(path: Path, prepared: Path, samples: list[Feeds], activations: str, folder: Path) -> Quantized:
    """Quantise in each form until one needs no kernel of float32, else take the one that needs the fewest.

    Where none can be read, the problems of the last are the user's.
    """
    found: list[tuple[int, str, Path, Network]] = []
    problem: InputError | None = None
    for form in _FORMS:
        file = folder / form / path.name  # the name of the file is that of the network
        file.parent.mkdir()
        try:
            _quantize(prepared, file, samples, form, activations)
            network = read_onnx(file)
        except InputError as error:
            problem = error
            continue
        found.append((_float_operators(network), form, file, network))
        if not found[-1][0]:
            break
    if not found:
        assert problem is not None
        raise InputError(f"'{path}': cannot be run after quantisation.", *problem.args)
    _, form, file, network = min(found, key=lambda item: item[0])
    shapes = {array.shape for array in samples[0].values()}
    before, after = _outputs(prepared, samples), _outputs(file, samples)
    changes = tuple(_change(name, before[name], after[name], shapes) for name in before)
    return Quantized(network, file.read_bytes(), form, len(samples), changes)


def _float_operators(network: Network) -> int:
    """Operators that compute in float32."""
    outputs = [network.tensors[op.output] for op in network.ops if op.kind in FLOATING]
    return sum(tensor.dtype is DType.FLOAT32 for tensor in outputs)


# ----------------------------------------------------------------------------- samples


def _float_inputs(path: Path) -> tuple[GraphInput, ...]:
    graph = load_graph(path)
    if graph.problems:
        raise InputError(*graph.problems)
    quantized = next(
        (node for node in graph.nodes if "QLinear" in node.kind or "QuantizeLinear" in node.kind), None
    )
    others = [item for item in graph.inputs if item.dtype is not DType.FLOAT32]
    if quantized is not None or others:
        found = f"node {quantized}" if quantized else f"input '{others[0].name}' of {others[0].dtype.value}"
        raise InputError(
            f"'{path}': must be a float32 model to be quantised (got {found}); leave --quantize out."
        )
    return graph.inputs


def _random_samples(inputs: tuple[GraphInput, ...]) -> list[Feeds]:
    rng = np.random.default_rng(0)
    return [
        {item.name: rng.standard_normal(item.shape).astype(np.float32) for item in inputs}
        for _ in range(RANDOM_SAMPLES)
    ]


def samples_of(path: Path, inputs: tuple[GraphInput, ...]) -> list[Feeds]:
    """Read the samples of every input from an .npz file, in float32 and the shape of the input.

    Raises ``InputError`` for a file that is none, and for samples that do not fit.
    """
    try:
        with path.open("rb") as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in _entries(path, file.files, inputs)}
    except InputError:
        raise
    except Exception as error:  # numpy, zipfile and zlib raise errors of many kinds
        reason = (
            error.strerror
            if isinstance(error, OSError) and error.strerror
            else "it holds no numbers, or is damaged"
        )
        raise InputError(
            f"'{path}': must be an .npz file of samples, but cannot be read ({reason})."
        ) from error
    columns = {
        item.name: _stacked(path, item, array) for item, array in zip(inputs, arrays.values(), strict=True)
    }
    counts = {len(column) for column in columns.values()}
    if len(counts) != 1 or 0 in counts:
        raise InputError(
            f"'{path}': every input must have as many samples, at least one (got {sorted(counts)})."
        )
    return [{name: column[k] for name, column in columns.items()} for k in range(counts.pop())]


def _entries(path: Path, present: list[str], inputs: tuple[GraphInput, ...]) -> list[str]:
    """Return the entry of every input: its own name, or for a single input 'input' or the only entry."""
    names = [item.name for item in inputs]
    if all(name in present for name in names):
        return names
    if len(names) == 1 and ("input" in present or len(present) == 1):
        return ["input"] if "input" in present else present
    raise InputError(f"'{path}': must have an entry for each of the inputs {names} (got {present}).")


def _stacked(path: Path, item: GraphInput, array: Array) -> Array:
    """Return samples along axis 0, each with the shape of the input."""
    one = item.shape[1:] if item.shape[:1] == (1,) else item.shape
    fits = array.dtype.kind in "fiu" and array.shape[1:] in (one, item.shape)
    if not fits or not np.isfinite(array).all():
        raise InputError(
            f"'{path}': input '{item.name}' must have finite samples of shape {list(item.shape)} along axis 0 "
            f"(got {array.dtype} of shape {list(array.shape)})."
        )
    return array.astype(np.float32).reshape(-1, *item.shape)


# ------------------------------------------------------------------------ onnxruntime


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep onnxruntime's advice about preprocessing, which has been followed, from the user."""
    root = logging.getLogger()
    level = root.level
    root.setLevel(logging.ERROR)
    try:
        yield
    finally:
        root.setLevel(level)


def _prepared(path: Path, inputs: tuple[GraphInput, ...], folder: Path) -> Path:
    """Write the model with batch 1, a new enough operator set, BatchNormalization folded and shapes inferred."""
    from onnxruntime.quantization.shape_inference import quant_pre_process

    model = load_model(path)[0]
    external_data_helper.load_external_data_for_model(model, str(path.parent))  # load_graph has tried it
    model = at_least(model, _PER_CHANNEL_OPSET, path)
    _bind(model, {item.name: item.shape for item in inputs})
    plain, prepared = folder / "plain.onnx", folder / "prepared.onnx"
    plain.write_bytes(model.SerializeToString())
    _run(path, quant_pre_process, plain, prepared, skip_symbolic_shape=True)
    ready = load_model(prepared)[0]
    _flatten_biases(ready.graph)
    prepared.write_bytes(ready.SerializeToString())
    return prepared


def _bind(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]]) -> None:
    """Give inputs the shapes they are read with; before IR 4 constants were listed among them."""
    model.ir_version = max(model.ir_version, 4)
    for value in [value for value in model.graph.input if value.name not in shapes]:
        model.graph.input.remove(value)
    for value in model.graph.input:
        for dim, size in zip(value.type.tensor_type.shape.dim, shapes[value.name], strict=True):
            dim.dim_value = size


def _flatten_biases(graph: onnx.GraphProto) -> None:
    """Write Gemm's biases ``[1, n]`` as ``[n]``, the only form that quantisation per channel takes."""
    readers = Counter(name for node in graph.node for name in node.input)
    biases = {node.input[2] for node in graph.node if node.op_type == "Gemm" and len(node.input) > 2}
    for item in graph.initializer:
        if item.name in biases and readers[item.name] == 1 and len(item.dims) == 2 and item.dims[0] == 1:
            del item.dims[0]
            stale = [value for value in graph.value_info if value.name == item.name]
            for value in stale:
                graph.value_info.remove(value)


def _quantize(prepared: Path, file: Path, samples: list[Feeds], form: str, activations: str) -> None:
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    kind = QuantType.QUInt8 if activations.startswith("uint8") else QuantType.QInt8
    _run(
        prepared,
        quantize_static,
        prepared,
        file,
        _reader(samples),
        quant_format=getattr(QuantFormat, form),
        per_channel=True,
        activation_type=kind,
        weight_type=QuantType.QInt8,
        extra_options={"ActivationSymmetric": activations.endswith("symmetric")},
    )


def _reader(samples: list[Feeds]) -> Any:
    from onnxruntime.quantization import CalibrationDataReader

    class Reader(CalibrationDataReader):  # type: ignore[misc]
        """Hands out one sample after the other."""

        def __init__(self) -> None:
            self.left = iter(samples)

        def get_next(self) -> Feeds | None:
            return next(self.left, None)

    return Reader()


def _run(path: Path, function: Any, *arguments: Any, **options: Any) -> None:
    try:
        function(*arguments, **options)
    except InputError:
        raise
    except Exception as error:  # it raises whatever its own code and its kernels raise
        reason = str(error).strip().splitlines() or [type(error).__name__]
        raise InputError(f"'{path.name}': onnxruntime cannot quantise it ({reason[0]}).") from error


def _outputs(file: Path, samples: list[Feeds]) -> dict[str, Array]:
    """Return all outputs of all samples, graph optimisation off so that kernels are those of the file."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    names = [item.name for item in session.get_outputs()]
    rows = [session.run(names, sample) for sample in samples]
    return {name: np.stack([row[k] for row in rows]) for k, name in enumerate(names)}


def _change(name: str, before: Array, after: Array, inputs: set[tuple[int, ...]]) -> OutputChange:
    """Compare an output over all samples; one row of numbers is taken for scores, unless it is like an input."""
    difference = np.abs(before.astype(np.float64) - after)
    shape, same = before.shape[1:], None
    if 1 < max(shape, default=1) == np.prod(shape) and shape not in inputs:
        rows, others = before.reshape(len(before), -1), after.reshape(len(after), -1)
        same = int((rows.argmax(1) == others.argmax(1)).sum())
    return OutputChange(name, float(difference.max()), float(difference.mean()), float(np.ptp(before)), same)
