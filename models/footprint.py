"""Bytes that the constant tables take on a 32-bit chip, counted before they are built.

The sizes are those of the structs in ``codegen/runtime/ooc_tables.h`` with 4-byte
pointers; the emitted C asserts them. Command lists are packed when they are emitted, so
what is counted here for them is the most they can take: each command in a cell of its
own, with a word for every stream it may wait for. The builder of the tables holds them
to that.
"""

from __future__ import annotations

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import OpKind, RegionName, Task, TaskGraph, TaskKind, Transfer

CODE_BYTES = 2
"""Bytes of a word of a command list."""

TRANSFER_WORDS = 5
"""Head, SRAM address, shape and offset of a transfer."""

CRYPTO_WORDS = 8
"""Head, stage and the six words of a transfer, where the CPU opens or seals its records."""

COMPUTE_WORDS = 3
"""Head, stage and tile of a computation; each address is a word more."""

TENSOR_BYTES = 16
OPERAND_BYTES = 16
STAGE_BYTES = 40 + 3 * OPERAND_BYTES
AXIS_BYTES = 8
SHAPE_BYTES = 12
REGION_BYTES = 12
BINDING_BYTES = OPERAND_BYTES + 8
STREAM_BYTES = 16
MODEL_BYTES = 56 + 4 * REGION_BYTES + 4 * STREAM_BYTES + 5 * 4 + 8

SEALING_BYTES = 8 + REGION_BYTES
"""What ``struct ooc_model`` has besides where records are sealed."""

RING_BYTES = 12
"""What ``struct ooc_model`` has besides where the scratch region takes turns."""

PERMUTE_AXES = 5
"""Axes stored per permutation; unused ones have size 1."""

MOVE_AXES = 3
"""Axes stored per input of a move."""


PACKING_BYTES = 8
"""What a shape takes besides where weights are packed."""

PACKING_POINTER_BYTES = 4
"""What ``struct ooc_model`` has besides then."""


def transfer_shape(transfer: Transfer) -> tuple[int, int, int, int, int]:
    """Bytes, pitch and segments of a transfer, start and number of its packed weights; equal ones share a row."""
    pitch = transfer.pitch if transfer.segments > 1 else 0
    size = transfer.segment_bytes, pitch, transfer.segments
    return (*size, transfer.packed_start, transfer.packed_weights)


def command_bytes(task: Task, resources: int) -> int:
    """Most bytes that the command of a task takes, 22 at most."""
    words = CRYPTO_WORDS if task.occupies_cpu else TRANSFER_WORDS
    if task.kind is TaskKind.COMPUTE:
        words = COMPUTE_WORDS + sum(buffer >= 0 for buffer in task.operands)
    return CODE_BYTES * (words + resources - 1)


def spilled_tensors(problem: Problem, graph: TaskGraph) -> tuple[str, ...]:
    """Tensors that lie in the scratch region, in the order of the operators that make them."""
    stored = {
        task.stage
        for task in graph.tasks
        if task.kind is TaskKind.STORE
        and task.transfer is not None
        and task.transfer.region is RegionName.SCRATCH
    }
    return tuple(op.output for stage, op in enumerate(problem.network.ops) if stage in stored)


def count_table_bytes(problem: Problem, graph: TaskGraph) -> int:
    """Most bytes that all constant tables of a plan with these tasks take."""
    network = problem.network
    shapes = {transfer_shape(task.transfer) for task in graph.tasks if task.transfer is not None}
    packing = any(op.packed for op in network.ops)
    sealed = SEALING_BYTES + BINDING_BYTES * len(spilled_tensors(problem, graph))
    axes = sum(PERMUTE_AXES * (op.kind is OpKind.PERMUTE) + MOVE_AXES * len(op.places) for op in network.ops)
    annexed = any(region.name is RegionName.ANNEX and region.size_bytes for region in graph.regions)
    return (
        MODEL_BYTES
        + (REGION_BYTES if annexed else 0)
        + (sealed if problem.target.crypto is not None else 0)
        + (RING_BYTES if problem.scratch_ring_bytes is not None else 0)
        + sum(command_bytes(task, len(graph.resources)) for task in graph.tasks)
        + STAGE_BYTES * len(network.ops)
        + TENSOR_BYTES * len(network.tensors)
        + SHAPE_BYTES * len(shapes)
        + (PACKING_POINTER_BYTES + PACKING_BYTES * len(shapes) if packing else 0)
        + AXIS_BYTES * axes
        + BINDING_BYTES * (len(network.inputs) + len(network.outputs))
    )
