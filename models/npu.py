"""Which operators an NPU may compute, and which weights its own memory then holds.

An operator runs whole: its inputs and its output lie in the SRAM that NPU and CPU share, and fit the NPU's data memory
together. Weights are either read from flash while it computes, or lie in a weight memory that is loaded once, at
start-up. Where that memory is too small for all operators that could run there, those are offered that save most
time of the CPU per byte, one after the other as far as they fit. Also those for which the NPU is slower, as
it may work while the CPU does something else.

CPU and NPU compute beside each other where data allow it (`models.units`).
"""

from __future__ import annotations

from functools import lru_cache

from ooc_solve.models.cost import compute_ns
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import DType, InputError, Network, Op, OpKind, Target, Tiling

COMPUTED = (OpKind.CONV, OpKind.DEPTHWISE, OpKind.MAX_POOL, OpKind.AVERAGE_POOL, OpKind.ADD)
"""Kinds of operators that an NPU computes, on int8."""


def whole_tiling(network: Network, op: Op) -> Tiling:
    """The tiling of an operator that runs on the NPU: one tile."""
    out, first = network.tensors[op.output], network.tensors[op.inputs[0]]
    return Tiling(out.height, out.width, out.channels, first.channels, npu=True)


def is_computed(target: Target, network: Network, op: Op) -> bool:
    """Whether the target's NPU computes an operator at all."""
    if target.npu is None or op.kind not in COMPUTED or op.window.transposed or op.by_floats:
        return False
    tensors = [network.tensors[name] for name in (*op.inputs, op.output)]
    data, weights = target.npu.data_mem_bytes, target.npu.weight_mem_bytes
    fits = data is None or sum(tensor.size_bytes for tensor in tensors) <= data
    return (
        fits
        and all(tensor.dtype is DType.INT8 for tensor in tensors)
        and (weights is None or op.weight_bytes <= weights)
    )


def offered(target: Target, network: Network) -> frozenset[str]:
    """Names of the operators that plans may run on the NPU; together they fit its weight memory."""
    return frozenset() if target.npu is None else _offered(target, network)


@lru_cache(maxsize=64)
def _offered(target: Target, network: Network) -> frozenset[str]:
    able = [op for op in network.ops if is_computed(target, network, op)]
    most = target.npu.weight_mem_bytes if target.npu is not None else None
    if most is None:
        return frozenset(op.name for op in able)
    chosen, left = set(), most
    for op in sorted(able, key=lambda op: -_saved_ns(target, network, op) / max(1, op.weight_bytes)):
        if op.weight_bytes <= left:
            chosen.add(op.name)
            left -= op.weight_bytes
    return frozenset(chosen)


def _saved_ns(target: Target, network: Network, op: Op) -> int:
    """What the NPU saves of the time that the CPU takes for an operator in one piece."""
    there = whole_tiling(network, op)
    here = Tiling(there.rows, there.columns, there.channels, there.split)
    slow, fast = (StageGeometry.of(network, op, tiling).tile_work((0, 0, 0, 0)) for tiling in (here, there))
    return compute_ns(target, slow) - compute_ns(target, fast)


def held_bytes(network: Network, tilings: tuple[Tiling, ...]) -> int:
    """Weights of the operators that run on the NPU."""
    pairs = zip(network.ops, tilings, strict=True)
    return sum(op.weight_bytes for op, tiling in pairs if tiling.npu)


def check_emitted(target: Target, tilings: tuple[Tiling, ...]) -> None:
    """Refuse to emit C for a plan with an NPU.

    Raises
    ------
    InputError
        If some operator runs on the NPU.
    """
    count = sum(tiling.npu for tiling in tilings)
    if count and target.npu is not None:
        raise InputError(
            f"Target '{target.name}': C is emitted for kernels of the CPU alone ({count} operators of the plan run on "
            f"NPU '{target.npu.name}'); leave 'npu' out of the target file to emit."
        )
