"""Bytes that the constant tables take on a 32-bit chip, counted before they are built.

The sizes are those of the structs in ``codegen/runtime/ooc_tables.h`` with 4-byte
pointers; the emitted C asserts them, and a test compares the count with built tables.
"""

from __future__ import annotations

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import OpKind, TaskGraph, Transfer

COMMAND_BYTES = 20
TENSOR_BYTES = 16
OPERAND_BYTES = 16
STAGE_BYTES = 28 + 3 * OPERAND_BYTES
AXIS_BYTES = 8
SHAPE_BYTES = 12
REGION_BYTES = 12
BINDING_BYTES = OPERAND_BYTES + 8
STREAM_BYTES = 12
MODEL_BYTES = 56 + 4 * REGION_BYTES + 4 * STREAM_BYTES + 5 * 4 + 8

PERMUTE_AXES = 5
"""Axes stored per permutation; unused ones have size 1."""


def transfer_shape(transfer: Transfer) -> tuple[int, int, int]:
    """Bytes, pitch and segments of a transfer; equal triples share one row of the tables."""
    pitch = transfer.pitch if transfer.segments > 1 else 0
    return transfer.segment_bytes, pitch, transfer.segments


def count_table_bytes(problem: Problem, graph: TaskGraph) -> int:
    """Bytes of all constant tables of a plan with these tasks."""
    network = problem.network
    shapes = {transfer_shape(task.transfer) for task in graph.tasks if task.transfer is not None}
    permutations = sum(op.kind is OpKind.PERMUTE for op in network.ops)
    return (
        MODEL_BYTES
        + COMMAND_BYTES * len(graph.tasks)
        + STAGE_BYTES * len(network.ops)
        + TENSOR_BYTES * len(network.tensors)
        + SHAPE_BYTES * len(shapes)
        + AXIS_BYTES * PERMUTE_AXES * permutations
        + BINDING_BYTES * (len(network.inputs) + len(network.outputs))
    )
