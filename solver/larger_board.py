"""What a network asks of a larger board, where it fits nowhere on the one it has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Bank
from ooc_solve.solver.deadline import TimeIsUp
from ooc_solve.solver.fused import operands
from ooc_solve.solver.least import LeastSram, least_sram
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.selection import Space, build_space

MOST_BYTES = 1 << 29
"""SRAM of the largest board that is tried."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What the layer number ``stage`` asks for at least, in bytes of its tiles and of the tensors it takes or gives whole.

    No layer asks for more. ``least`` is the least SRAM known to work on some larger board, None where time was too short to find it.
    """

    stage: int
    need_bytes: int
    least: LeastSram | None


def demand(problem: Problem) -> Demand | None:
    """Find the layer that asks for most, and the least SRAM of a larger board; None where no board is large enough."""
    for larger in _boards(problem):
        floors = _least_bytes_by_layer(problem, larger)
        if None in floors:
            continue
        stage, need = max(enumerate(floors), key=lambda item: item[1] or 0)
        try:
            least = least_sram(larger)
        except TimeIsUp:
            return Demand(stage, need or 0, None)
        if least is not None:
            return Demand(stage, need or 0, least)
    return None


def _least_bytes_by_layer(problem: Problem, larger: Problem) -> tuple[int | None, ...]:
    """What each operator asks for at least among the ways to cut it that either board is offered."""
    full = problem.target.board.usable_bytes - problem.reserved_bytes
    offers = (build_space(larger, offered_bytes=arena) for arena in (full, larger.arena_bytes))
    return tuple(
        min((need for need in needs if need is not None), default=None)
        for needs in zip(*map(least_bytes_by_layer, offers), strict=True)
    )


def least_bytes_by_layer(space: Space) -> tuple[int | None, ...]:
    """Bytes that each operator asks for at least, alone or in a fused stage; None where it has no way at all."""
    floors: list[int | None] = [None] * len(space.options)
    for first, options in enumerate(space.options):
        for option in options:
            need = option.need_bytes + _whole_bytes(space.problem, first, option)
            for stage in range(first, first + len(option.tilings)):
                known = floors[stage]
                floors[stage] = need if known is None else min(known, need)
    return tuple(floors)


def _whole_bytes(problem: Problem, first: int, option: Option) -> int:
    """Bytes of the tensors that an option of a stage has in SRAM as a whole."""
    network, count = problem.network, len(option.tilings)
    ends = zip(operands(network, first, count), option.inputs, strict=True)
    kept = {name for name, residence in ends if residence == KEPT}
    if option.output == KEPT:
        kept.add(network.ops[first + count - 1].output)
    return sum(problem.buffer_bytes(network.tensors[name].size_bytes) for name in kept)


def _boards(problem: Problem) -> Iterator[Problem]:
    """The bare problem with twice the SRAM of the board in one bank, four times, and so on."""
    board, size = problem.target.board, problem.target.board.usable_bytes
    while size < MOST_BYTES:
        size *= 2
        larger = replace(board, usable_bytes=size, banks=(Bank("sram", size),))
        yield replace(problem.bare, target=replace(problem.target, board=larger), sram_bytes=size)
