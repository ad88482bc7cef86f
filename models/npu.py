"""Which operators an NPU may compute, and how their weights come to it.

An operator runs whole: its inputs and its output lie in the SRAM that NPU and CPU share, and fit the NPU's data memory
together. Weights are either read from flash while it computes, or lie in a weight memory. There they are *resident*,
loaded once at start-up, at the low end, or they are *loaded* within the run, in front of the operator, and give way
to others when it is done. What is loaded may be some output channels at a time, so an operator may have more
weights than that memory has bytes. Which operators run there, and with which weights resident, is part of a plan;
also those for which the NPU is slower are offered, as it may work while the CPU does something else.

CPU and NPU compute beside each other where data allow it (`models.units`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import lru_cache

from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import DType, InputError, Network, Op, OpKind, Target, Tiling

COMPUTED = (OpKind.CONV, OpKind.DEPTHWISE, OpKind.MAX_POOL, OpKind.AVERAGE_POOL, OpKind.ADD)
"""Kinds of operators that an NPU computes, on int8."""


SIZES = 5
"""So many sizes of groups of channels are offered whose weights are loaded for the NPU, each half of the one before."""


def whole_tiling(network: Network, op: Op) -> Tiling:
    """The tiling of an operator that the NPU runs in one piece, with its weights there or none to load."""
    out, first = network.tensors[op.output], network.tensors[op.inputs[0]]
    return Tiling(out.height, out.width, out.channels, first.channels, npu=True)


def ways(target: Target, network: Network, op: Op) -> tuple[Tiling, ...]:
    """All ways in which the target's NPU may run an operator, none if it cannot.

    Weights are loaded only where not all of them can be resident.
    """
    if not _is_fit(target, network, op):
        return ()
    whole, most = whole_tiling(network, op), _weight_mem_bytes(target)
    if most is None or not op.weight_bytes:
        return (whole,)
    resident = (whole,) if op.weight_bytes <= most else ()
    return (*resident, *_loading(network, op, most)) if is_crowded(target, network) else resident


def _is_fit(target: Target, network: Network, op: Op) -> bool:
    """Whether the NPU computes such an operator, wherever its weights are."""
    if target.npu is None or op.kind not in COMPUTED or op.window.transposed or op.by_floats:
        return False
    tensors = [network.tensors[name] for name in (*op.inputs, op.output)]
    data = target.npu.data_mem_bytes
    fits = data is None or sum(tensor.size_bytes for tensor in tensors) <= data
    return fits and all(tensor.dtype is DType.INT8 for tensor in tensors)


def _weight_mem_bytes(target: Target) -> int | None:
    return None if target.npu is None else target.npu.weight_mem_bytes


def _loading(network: Network, op: Op, most: int) -> Iterator[Tiling]:
    """Tilings whose weights are loaded, whole or by groups of channels, each group's within some bytes."""
    if op.packed:
        return  # nobody unpacks them there
    whole = replace(whole_tiling(network, op), npu_loads=True)
    found, parts = 0, 1
    while found < SIZES and parts <= (whole.channels if op.groups == 1 else 1):
        tiling = replace(whole, channels=-(-whole.channels // parts))
        if StageGeometry.of(network, op, tiling).weight_bytes((0, 0, 0, 0)) <= most:
            yield tiling
            found += 1
        parts *= 2


def is_crowded(target: Target, network: Network) -> bool:
    """Whether an NPU's weight memory is too small for the weights of all that it could run."""
    most = _weight_mem_bytes(target)
    return most is not None and _wanted_bytes(target, network) > most


@lru_cache(maxsize=64)
def _wanted_bytes(target: Target, network: Network) -> int:
    return sum(op.weight_bytes for op in network.ops if _is_fit(target, network, op))


def offered(target: Target, network: Network) -> frozenset[str]:
    """Names of the operators that plans may run on the NPU."""
    return frozenset() if target.npu is None else _offered(target, network)


@lru_cache(maxsize=64)
def _offered(target: Target, network: Network) -> frozenset[str]:
    return frozenset(op.name for op in network.ops if ways(target, network, op))


def held_bytes(network: Network, tilings: tuple[Tiling, ...]) -> int:
    """Resident weights of the operators that run on the NPU."""
    pairs = zip(network.ops, tilings, strict=True)
    return sum(op.weight_bytes for op, tiling in pairs if tiling.npu and not tiling.npu_loads)


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
