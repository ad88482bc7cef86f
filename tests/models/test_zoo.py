"""The built-in networks are the published architectures, alive, and always the same bytes."""

from __future__ import annotations

import hashlib
import tracemalloc

import numpy as np
import onnxruntime
import pytest
from numpy.typing import NDArray

from ooc_solve.models import zoo
from ooc_solve.models.vocabulary import DType, InputError, Network, Op, OpKind
from ooc_solve.models.zoo import describe, zoo_names, zoo_network
from tests.models.onnx_export import export

SMALL = ("autoencoder", "ds_cnn", "mobilenet_v1_025_96", "resnet8")

MACS = {
    "resnet8": 12_501_632,
    "ds_cnn": 2_656_768,
    "mobilenet_v1_025_96": 7_489_664,
    "autoencoder": 264_192,
    "mobilenet_v1_224": 568_740_352,
    "mobilenet_v2_224": 300_774_272,
    "resnet18_224": 1_814_073_344,
    "alexnet_224": 714_188_480,
    "vgg16_224": 15_470_264_320,
    "squeezenet_224": 349_151_936,
}

# Published parameters (Keras summaries, torchvision), normalised channels, and what a normalised
# channel adds to them beyond the bias it is folded into: 4 in Keras on top of a bias, 3 in Keras
# instead of one, 1 in torchvision instead of one.
PARAMETERS = {
    "resnet8": (78_666, 240, 4),
    "ds_cnn": (24_908, 576, 4),
    "mobilenet_v1_025_96": (221_794, 2_736, 4),
    "autoencoder": (269_992, 1_032, 4),
    "mobilenet_v1_224": (4_253_864, 10_944, 3),
    "mobilenet_v2_224": (3_504_872, 17_056, 1),
    "resnet18_224": (11_689_512, 4_800, 1),
    "alexnet_224": (61_100_840, 0, 0),
    "vgg16_224": (138_357_544, 0, 0),
    "squeezenet_224": (1_235_496, 0, 0),
}

INPUTS = {
    "resnet8": (1, 32, 32, 3),
    "ds_cnn": (1, 49, 10, 1),
    "mobilenet_v1_025_96": (1, 96, 96, 3),
    "autoencoder": (1, 640),
}
CLASSES = {"resnet8": 10, "ds_cnn": 12, "mobilenet_v1_025_96": 2, "autoencoder": 640}

# A network's digest and the SHA-256 of its bytes, in pairs. If the bytes change on purpose,
# raise FORMAT in zoo_builder.py, which changes the digests, and renew both.
GOLDEN: dict[str, tuple[str, str]] = {
    "autoencoder": (
        "c4c0bcf32e59f6ee63daeefd30e29acadefdb064e8ca4d489cd88e9a464ba198",
        "e85df9e4be8eb9cf5aae4c069966e09d0f4c186df5c21090e1ccc5843e2f7727",
    ),
    "ds_cnn": (
        "14d992370e9b68345e05887d36f57153a3eab695e43a35a0458f8cb91f13ae38",
        "bf931287b42ff66f056d64debe4c35dfffeb028f0f466e196f26a566e417abfc",
    ),
    "mobilenet_v1_025_96": (
        "3404d5dc31f81b869b7404c3aa9fdb63c4baae17092ef16c5f9de4bd8c8f09d2",
        "7ae4830036f6c705a408e3d8de18153b4caa18322fbe5066a9eec2fe57de3d40",
    ),
    "resnet8": (
        "04ec3d4e38975378e35eb021b1450a2206af153c02282ff4b4254dcd3a907107",
        "caaef39a734a47836881367fc2c76a22ceb067b4e6492e4ba02831cf072128f3",
    ),
}


def bytes_hash(network: Network) -> str:
    """SHA-256 over all arrays and quantisations of a network."""
    summary = hashlib.sha256()
    for op in network.ops:
        quantization = network.tensors[op.output].quantization
        assert quantization is not None
        summary.update(repr((op.clamp, quantization.scale, quantization.zero_point)).encode())
        for array in (op.weights, op.bias, op.multiplier):
            if array is not None:
                summary.update(np.ascontiguousarray(array).tobytes())
    return summary.hexdigest()


def weighted(network: Network) -> list[Op]:
    """Return the convolutions of a network."""
    return [op for op in network.ops if op.kind in (OpKind.CONV, OpKind.DEPTHWISE)]


def layer_outputs(network: Network, seed: int) -> dict[str, NDArray[np.int8]]:
    """Every layer's output as onnxruntime computes it on random bytes, channels first."""
    model = export(network, every_layer=True)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options)
    shape = network.tensors[network.inputs[0]].graph_shape
    image = np.random.default_rng(seed).integers(-128, 128, shape).astype(np.int8)
    names = [f"{op.output}_planar" for op in network.ops]
    results = session.run(names, {network.inputs[0]: image})
    return {op.output: result for op, result in zip(network.ops, results, strict=True)}


@pytest.mark.parametrize("name", zoo_names())
def test_macs_and_parameters_are_the_published_ones(name: str) -> None:
    """Each network has the multiply-accumulates and parameters its architecture is known for."""
    network = zoo_network(name)
    published, channels, extra = PARAMETERS[name]
    sizes = [
        op.weights.size + op.bias.size
        for op in weighted(network)
        if op.weights is not None and op.bias is not None
    ]
    assert sum(network.macs(op) for op in network.ops) == MACS[name]
    assert sum(sizes) == published - extra * channels


@pytest.mark.parametrize("name", zoo_names())
def test_description_agrees_with_the_network(name: str) -> None:
    """The one-line description gives the size and the counts of the network it describes."""
    line = describe(name)
    assert "\n" not in line
    assert line.startswith(f"{name}: input ")
    unit = {"k": 10**3, "M": 10**6, "G": 10**9}
    number, prefix = line.split(", ")[1].split()[:2]
    assert float(number) * unit[prefix] == pytest.approx(MACS[name], rel=0.005)


def test_listing_makes_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """All networks can be described without one of them being built."""

    def refuse(*_: object) -> None:
        raise AssertionError("a network was built")

    monkeypatch.setattr(zoo, "materialise", refuse)
    assert len([describe(name) for name in zoo_names()]) == len(MACS)


@pytest.mark.parametrize(("wrong", "right"), [("resnet9", "resnet8"), ("MobileNet_v2", "mobilenet_v2_224")])
def test_unknown_name_suggests_the_nearest(wrong: str, right: str) -> None:
    """A misspelt name is an input error that names the nearest network."""
    for function in (zoo_network, describe):
        with pytest.raises(InputError, match=f"did you mean 'zoo:{right}'"):
            function(wrong)


def test_name_like_no_other_lists_all() -> None:
    """A name like none of ours is an input error that lists what there is."""
    with pytest.raises(InputError, match=", ".join(zoo_names())):
        zoo_network("xyzzy")


@pytest.mark.parametrize("name", SMALL)
def test_same_bytes_every_time(name: str) -> None:
    """Two builds of a network agree in digest and in every byte, with what was recorded."""
    first, second = zoo_network(name), zoo_network(name)
    assert (first.digest, bytes_hash(first)) == (second.digest, bytes_hash(second)) == GOLDEN[name]


def test_digests_tell_networks_apart() -> None:
    """No two networks share a digest."""
    digests = {zoo_network(name).digest for name in SMALL}
    assert len(digests) == len(SMALL)


@pytest.mark.parametrize("name", SMALL)
def test_inputs_and_outputs(name: str) -> None:
    """Input and output are int8, dense, and have the shapes the original gives them."""
    network = zoo_network(name)
    source, result = network.tensors[network.inputs[0]], network.tensors[network.outputs[0]]
    assert source.graph_shape == INPUTS[name]
    assert (result.graph_shape, result.elements) == ((1, CLASSES[name]), CLASSES[name])
    assert {tensor.dtype for tensor in network.tensors.values()} == {DType.INT8}
    assert not any(tensor.planar for tensor in network.tensors.values())
    assert (network.ops[-1].kind is OpKind.SOFTMAX) == (name != "autoencoder")


@pytest.mark.parametrize("name", [*SMALL, "mobilenet_v2_224", "squeezenet_224", "resnet18_224"])
def test_arrays_have_the_forms_kernels_read(name: str) -> None:
    """Weights are int8, biases int32, multipliers finite positive float32, one per channel."""
    network = zoo_network(name)
    for op in weighted(network):
        source, result = network.tensors[op.inputs[0]], network.tensors[op.output]
        assert op.weights is not None
        assert op.bias is not None
        assert op.multiplier is not None
        full = (result.channels, *op.window.kernel, source.channels)
        assert op.weights.shape == (full if op.kind is OpKind.CONV else full[1:])
        assert (result.height, result.width) == op.window.output_size(source.height, source.width)
        assert [array.dtype for array in (op.weights, op.bias, op.multiplier)] == [
            np.int8,
            np.int32,
            np.float32,
        ]
        assert op.bias.shape == op.multiplier.shape == (result.channels,)
        assert np.all((op.multiplier > 0) & np.isfinite(op.multiplier))
        assert len(np.unique(op.multiplier)) > result.channels / 2
        assert op.weights.min() >= -127


@pytest.mark.parametrize("name", [*SMALL, "mobilenet_v1_224", "squeezenet_224"])
def test_scales_are_float32(name: str) -> None:
    """Every scale is a float32, so that no reader of the network rounds it differently."""
    for tensor in zoo_network(name).tensors.values():
        assert tensor.quantization is not None
        assert float(np.float32(tensor.quantization.scale)) == tensor.quantization.scale


@pytest.mark.parametrize("name", ["resnet8", "resnet18_224", "mobilenet_v2_224"])
def test_residual_sums_mix_three_scales(name: str) -> None:
    """Every residual sum has three different scales and no zero point of zero."""
    network = zoo_network(name)
    sums = [op for op in network.ops if op.kind is OpKind.ADD]
    assert sums
    for op in sums:
        parts = [network.tensors[tensor].quantization for tensor in (*op.inputs, op.output)]
        assert len({part.scale for part in parts if part is not None}) == 3
        assert all(part is not None and part.zero_point != 0 for part in parts)


def test_concatenated_tensors_share_one_quantisation() -> None:
    """All inputs of a concatenation, and its output, are quantised alike."""
    network = zoo_network("squeezenet_224")
    joins = [op for op in network.ops if op.kind is OpKind.MOVE]
    assert len(joins) == 8
    for op in joins:
        assert len({network.tensors[name].quantization for name in (*op.inputs, op.output)}) == 1
        assert network.tensors[op.output].channels == sum(
            network.tensors[name].channels for name in op.inputs
        )


def test_relu6_limits_inside_the_byte_range() -> None:
    """In a relu6 network the clamp spans 0 to 6 in real units and ends below 127."""
    network = zoo_network("mobilenet_v2_224")
    limited = [op for op in weighted(network) if op.clamp != (-128, 127)]
    assert len(limited) == 35
    for op in limited:
        quantization = network.tensors[op.output].quantization
        assert quantization is not None
        low, high = op.clamp
        assert low == quantization.zero_point
        assert high < 127
        assert (high - low) * quantization.scale == pytest.approx(6.0, abs=quantization.scale / 2)


def test_building_needs_little_more_memory_than_the_weights() -> None:
    """While the 61 MB of AlexNet are made, never more than twice as much is allocated."""
    tracemalloc.start()
    try:
        network = zoo_network("alexnet_224")
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 2 * sum(op.weight_bytes for op in network.ops)


@pytest.mark.parametrize("name", [*SMALL, "squeezenet_224", "mobilenet_v2_224"])
def test_activations_neither_die_nor_saturate(name: str) -> None:
    """On random input every layer uses 20 values or more, and less than 20 % of them clip.

    Layers of fewer than 64 values cannot show 20 different ones; over eight inputs they must
    show more than one. Softmax is left out: with many classes nearly all of it is zero.
    """
    network = zoo_network(name)
    images = [layer_outputs(network, seed) for seed in range(8 if name in SMALL else 1)]
    for op in network.ops:
        if op.kind is OpKind.SOFTMAX:
            continue
        values = np.concatenate([image[op.output].ravel() for image in images])
        quantization = network.tensors[op.output].quantization
        assert quantization is not None
        rectified = quantization.zero_point == -128
        clipped = np.mean(values == op.clamp[1]) + (0.0 if rectified else np.mean(values == op.clamp[0]))
        enough = 20 if network.tensors[op.output].elements >= 64 else 2
        assert len(np.unique(values)) >= enough, op.name
        assert clipped < 0.2, op.name


@pytest.mark.parametrize("name", SMALL)
def test_output_depends_on_the_input(name: str) -> None:
    """Different inputs give different outputs: nothing on the way has gone constant."""
    network = zoo_network(name)
    before_softmax = network.ops[-2 if network.ops[-1].kind is OpKind.SOFTMAX else -1].output
    results = {layer_outputs(network, seed)[before_softmax].tobytes() for seed in range(4)}
    assert len(results) > 1


def test_a_network_is_made_once() -> None:
    """The same name gives the same object, so that equal problems are found equal."""
    assert zoo_network("ds_cnn") is zoo_network("ds_cnn")
