"""What the least feasible budget is, and which layer asks for it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from itertools import product

from ooc_solve.models.cost import align_up
from ooc_solve.models.problem import RESERVED_BYTES, Problem
from ooc_solve.models.vocabulary import Budget, Selection
from ooc_solve.solver.options import KEPT
from ooc_solve.solver.search import Candidate, at_size, evaluate
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space


@dataclass(frozen=True, slots=True)
class LeastSram:
    """Least SRAM for which a plan is known.

    ``bound_bytes`` is proven: no selection of the option space fits in less. ``stage`` is the
    layer that asks for the most, ``need_bytes`` its workspace, ``kept_bytes`` the tensors
    that must stay in SRAM beside it.
    """

    sram_bytes: int
    bound_bytes: int
    stage: int
    need_bytes: int
    kept_bytes: int
    candidate: Candidate


def least_sram(problem: Problem) -> LeastSram | None:
    """Search for the least SRAM; None if the target cannot run the network with all of its SRAM.

    The selection model gives the bound; from there on, sizes are tried until the tiles can
    really be placed.
    """
    return _least_sram(at_size(problem, problem.target.board.usable_bytes))


@lru_cache(maxsize=32)
def _relaxed(full: Problem) -> tuple[Space, int] | None:
    """A space in which something fits, and the least arena bytes of its selections."""
    arena = 2048
    while True:
        arena = min(arena, full.arena_bytes)
        space = build_space(full, arena)
        selected = SelectionModel(space, arena).solve(Aim.SRAM, Budget(20.0, 1, 1))
        if selected.selection is not None:
            return space, align_up(selected.bound, full.unit_bytes)
        if arena == full.arena_bytes:
            return None
        arena *= 2


def sram_bound(problem: Problem) -> int | None:
    """SRAM below which no selection of the option space fits, None if none fits at all."""
    found = _relaxed(at_size(problem, problem.target.board.usable_bytes))
    return found[1] + RESERVED_BYTES if found is not None else None


@lru_cache(maxsize=32)
def _least_sram(full: Problem) -> LeastSram | None:
    relaxed = _relaxed(full)
    if relaxed is None:
        return None
    space, bound = relaxed
    candidate, size = _smallest(full, space, bound)
    if candidate is None:
        return None
    stage, need, kept = busiest_stage(space, candidate.selection)
    return LeastSram(size, bound + RESERVED_BYTES, stage, need, kept, candidate)


def _smallest(full: Problem, space: Space, bound: int) -> tuple[Candidate | None, int]:
    """Least size at which a selection can be placed: bisection from the bound to a firm fit."""
    firm = SelectionModel(space, full.arena_bytes, firm=True).solve(Aim.SRAM, Budget(5.0, 1, 1))
    low = bound
    high = align_up(firm.value, full.unit_bytes) if firm.selection is not None else full.arena_bytes
    best: tuple[Candidate | None, int] = (None, 0)
    while best[0] is None and high <= full.arena_bytes:
        best = _try_size(full, space, high)
        low, high = (low, high) if best[0] is not None else (high, high + max(64, high // 8))
    while best[0] is not None and high - low > full.unit_bytes:
        middle = align_up((low + high) // 2, full.unit_bytes)
        found = _try_size(full, space, middle)
        if found[0] is not None:
            best, high = found, middle
        elif middle >= high:
            break
        else:
            low = middle
    return best


def _try_size(full: Problem, space: Space, arena: int) -> tuple[Candidate | None, int]:
    here = at_size(full, arena + RESERVED_BYTES)
    for firm, aim in product((True, False), (Aim.SERIAL, Aim.SRAM, Aim.LAYER_OVERLAP)):
        selected = SelectionModel(space, arena, firm=firm).solve(aim, Budget(5.0, 1, 1))
        if selected.selection is not None:
            candidate = evaluate(here, selected.selection)
            if candidate is not None:
                return candidate, arena + RESERVED_BYTES
    return None, 0


def busiest_stage(space: Space, selection: Selection) -> tuple[int, int, int]:
    """Stage with the largest demand, its workspace and the bytes kept beside it."""
    network, problem = space.problem.network, space.problem
    worst = (0, 0, 0)
    for stage, options in enumerate(space.options):
        kept = sum(
            problem.buffer_bytes(network.tensors[name].size_bytes)
            for name, (first, last) in space.lives.items()
            if name in selection.kept and first <= stage <= last
        )
        op, tiling = network.ops[stage], selection.tilings[stage]
        fits = [
            o.need_bytes
            for o in options
            if o.tiling == tiling
            and all((w == KEPT) == (n in selection.kept) for w, n in zip(o.inputs, op.inputs, strict=True))
            and (o.output == KEPT) == (op.output in selection.kept)
        ]
        need = min(fits, default=0)
        if need + kept > worst[1] + worst[2]:
            worst = (stage, need, kept)
    return worst


def unbudgeted(problem: Problem) -> Problem:
    """The same problem without a write budget, judged by latency."""
    return Problem(problem.network, problem.target, problem.sram_bytes, problem.io)


def least_writes(problem: Problem) -> int | None:
    """Least bytes written per inference with the problem's SRAM, None if nothing fits at all."""
    selected = SelectionModel(build_space(unbudgeted(problem))).solve(Aim.WRITES, Budget(10.0, 1, 1))
    return selected.value if selected.selection is not None else None
