"""The shape of a float32 network after quantisation: what planning needs of it, without its numbers.

Static quantisation (onnxruntime's, in QOperator form) puts one operator that quantises behind each input and one
that dequantises before each output; between them every tensor has a quarter of the bytes and every weight is a byte,
with an int32 bias and a float32 multiplier per output channel. Times, bytes and SRAM follow from that alone. The
weights are zeros: such a network is for plans, never to be run.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

import numpy as np

from ooc_solve.models.operator_order import listed
from ooc_solve.models.vocabulary import DType, Network, Op, OpKind, Quantization, Tensor

_UNIT = Quantization(1.0, 0)


def int8_twin(network: Network) -> Network | None:
    """The network as it would be in int8, None if not all of its tensors are float32.

    Operators keep their names and windows; tensors in between are called ``NAME_quantized``.
    """
    base = listed(network)
    if any(tensor.dtype is not DType.FLOAT32 for tensor in base.tensors.values()):
        return None
    ends = {name: base.tensors[name] for name in (*base.inputs, *base.outputs)}
    tensors = ends | {_twin(name): _int8(tensor) for name, tensor in base.tensors.items()}
    first = [Op(f"{name}_quantize", OpKind.QUANTIZE, (name,), _twin(name)) for name in base.inputs]
    last = [Op(f"{name}_dequantize", OpKind.DEQUANTIZE, (_twin(name),), name) for name in base.outputs]
    ops = (*first, *(_quantized(base, op) for op in base.ops), *last)
    digest = hashlib.sha256(f"{base.digest} in int8".encode()).hexdigest()
    return replace(base, tensors=tensors, ops=ops, digest=digest)


def _twin(name: str) -> str:
    return f"{name}_quantized"


def _int8(tensor: Tensor) -> Tensor:
    return replace(tensor, name=_twin(tensor.name), dtype=DType.INT8, quantization=_UNIT, graph_shape=())


def _quantized(network: Network, op: Op) -> Op:
    """The operator on bytes, with room for the numbers that quantisation would find."""
    return replace(
        op,
        inputs=tuple(map(_twin, op.inputs)),
        output=_twin(op.output),
        clamp=(-128, 127),
        function=None,
        fill=0,
        **_numbers(network.tensors[op.output].channels, op),
    )


def _numbers(channels: int, op: Op) -> dict[str, Any]:
    """Weights, bias and multiplier of the kinds that have some, in their int8 shapes."""
    if op.kind in (OpKind.CONV, OpKind.DEPTHWISE) and op.weights is not None:
        return {
            "weights": np.zeros(op.weights.shape, np.int8),
            "bias": np.zeros(channels, np.int32),
            "multiplier": np.ones(channels, np.float32),
        }
    if op.kind is OpKind.LOOKUP and op.weights is not None:
        return {"weights": np.zeros((*op.weights.shape[:-1], 256), np.uint8)}
    if op.kind is OpKind.SOFTMAX:
        return {"weights": np.zeros(256, np.float32), "multiplier": np.ones(1, np.float32)}
    return {}
