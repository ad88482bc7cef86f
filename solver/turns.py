"""Whether the scratch region has room for its turns: in the ring, and the ring on its part."""

from __future__ import annotations

from ooc_solve.models.cost import align_down, align_up
from ooc_solve.models.problem import Problem
from ooc_solve.models.sealing import SEAL_BYTES
from ooc_solve.models.vocabulary import RegionName, TaskGraph
from ooc_solve.solver.figures import ring_of, scratch_bytes

MOST_OFFSET = (1 << 32) - 1
"""Offsets on a store have 32 bits in the tables."""


def misfit(problem: Problem, graph: TaskGraph) -> str | None:
    """What is wrong with the ring of a problem for the tasks, with the size that would be right; None if nothing is."""
    asked, most = problem.scratch_ring_bytes, problem.most_scratch_bytes
    ring = ring_of(problem, graph)
    if asked is None or most is None or ring is None:
        return None
    part = problem.activation_store.storage
    if scratch_bytes(graph) > most or ring.step_bytes > asked:
        return (
            f"the scratch ring must hold the scratch region of {scratch_bytes(graph)} bytes and its note (got {asked} "
            f"bytes): the least ring known to work is {ring.step_bytes} bytes, and twice as much levels"
        )
    greatest = greatest_ring_bytes(problem, graph)
    if asked > greatest:
        return (
            f"the scratch ring must fit on '{part.name}' behind the other regions (got {asked} bytes): the greatest "
            f"that does is {greatest} bytes"
        )
    return None


def greatest_ring_bytes(problem: Problem, graph: TaskGraph) -> int:
    """What the part has left for a ring: all but the other regions there and the journal of sealed records."""
    store, block = problem.store_index(RegionName.SCRATCH), problem.block_bytes(RegionName.SCRATCH)
    taken = sum(
        align_up(region.size_bytes, block)
        for region in graph.regions
        if region.store == store and region.name is not RegionName.SCRATCH
    )
    if problem.target.crypto is not None:
        taken += 2 * align_up(align_up(SEAL_BYTES, problem.granule_bytes(RegionName.SCRATCH)), block)
    return max(
        0, align_down(min(problem.activation_store.storage.capacity_bytes, MOST_OFFSET) - taken, block)
    )
