"""Which outputs may take the bytes of an input, whose last reader is the operator that makes them.

An operator works in place where each element of the output depends on the same element of the
input alone: its kernel reads an element before it writes it, in any order of the elements. Both
tensors are kept whole and are of one size, so the output lies where the input lay.
"""

from __future__ import annotations

from functools import lru_cache

from ooc_solve.models.vocabulary import Network, OpKind, Tensor

ELEMENTWISE = frozenset({OpKind.ADD, OpKind.MULTIPLY, OpKind.LOOKUP})
"""Kinds whose kernels go element by element."""


@lru_cache(maxsize=1 << 12)
def replaceable(network: Network, span: range) -> tuple[str, ...]:
    """The inputs of a stage whose bytes its output may take, if both are kept in SRAM.

    They are read by the last operator of the stage and by none that runs with it or later. Inputs
    of the network stay as they are given, and its outputs have a place of their own.
    """
    op = network.ops[span[-1]]
    if op.kind not in ELEMENTWISE or op.output in network.outputs:
        return ()
    others = (other for k, other in enumerate(network.ops) if k >= span[0] and k != span[-1])
    taken = {name for other in others for name in (*other.inputs, other.output)}
    taken.update(network.inputs, network.outputs)
    output = network.tensors[op.output]
    names = dict.fromkeys(op.inputs)
    return tuple(name for name in names if name not in taken and _alike(network.tensors[name], output))


def _alike(one: Tensor, other: Tensor) -> bool:
    """Whether each element of one tensor lies where the same element of the other does."""
    return _form(one) == _form(other)


def _form(tensor: Tensor) -> tuple[int, int, int, int]:
    return tensor.height, tensor.width, tensor.channels, tensor.dtype.size_bytes
