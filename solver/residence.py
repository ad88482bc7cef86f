"""Which tensors stay in SRAM when the one that is needed last goes first."""

from __future__ import annotations

from ooc_solve.models.cost import read_ns, write_ns
from ooc_solve.models.vocabulary import Budget, Op, Selection
from ooc_solve.solver.options import KEPT, Option, stored_bytes
from ooc_solve.solver.parts import rows_kept
from ooc_solve.solver.selection import Aim, SelectionModel, Space


def clairvoyant(space: Space, arena: int) -> frozenset[str] | None:
    """The tensors that stay when, stage by stage, whatever does not fit is evicted; None if that is not enough.

    As in Belady's rule (1966) the tensor goes that is needed again last. Weighed by what it costs to
    store and fetch it per byte, over the stages until then, one goes first that storage holds anyway.
    What goes is in storage from the start to the end of its life, as a plan has no way to keep a
    tensor for a part of it; so stages before are looked at again by whoever chooses their tiles.
    """
    kept = set(space.residences)
    for stage, op in enumerate(space.problem.network.ops):
        while not _fits(space, kept, stage, op, arena):
            out = [name for name in _alive(space, kept, stage) if len(space.residences[name]) > 1]
            if not out:
                return None
            kept.remove(min(out, key=lambda name: (_worth(space, name, stage), name)))
    return frozenset(kept)


def selection_of(space: Space, arena: int, kept: frozenset[str]) -> Selection | None:
    """The tiling with the least total work when exactly these tensors stay; None if none fits the arena.

    Tiles count as starting anywhere in their granules: what fits then can mostly be placed.
    """
    model = SelectionModel(space, arena, firm=True)
    for name, by_width in model.resides.items():
        model.model.add(by_width[KEPT] == (name in kept))
    return model.solve(Aim.SERIAL, Budget(10.0, 1, 1)).selection


def _alive(space: Space, kept: set[str], stage: int) -> list[str]:
    return [name for name, (first, last) in space.lives.items() if name in kept and first <= stage <= last]


def _fits(space: Space, kept: set[str], stage: int, op: Op, arena: int) -> bool:
    """Whether the kept tensors and the least tiles of a stage fit beside each other."""
    taken = sum(_bytes(space, name) for name in _alive(space, kept, stage))

    def suits(option: Option) -> bool:
        places = zip((*op.inputs, op.output), (*option.inputs, option.output), strict=True)
        return all((place == KEPT) == (name in kept) and not rows_kept(place) for name, place in places)

    single = (option for option in space.options[stage] if option.operators == 1)
    least = min((option.need_bytes for option in single if suits(option)), default=arena + 1)
    return taken + least <= arena


def _bytes(space: Space, name: str) -> int:
    return space.problem.buffer_bytes(stored_bytes(space.problem, name))


def _worth(space: Space, name: str, stage: int) -> float:
    """Transfer time per byte freed, over the stages until the tensor is needed again."""
    uses = [k for k, op in enumerate(space.problem.network.ops) if name in op.inputs]
    ahead = min((use - stage for use in uses if use >= stage), default=len(space.options))
    if ahead == 0:
        return float("inf")
    problem = space.problem
    size, store = stored_bytes(problem, name), problem.activation_store
    again = sum(use >= stage for use in uses)
    cost_ns = max(1, again) * read_ns(problem.target, store, size)
    if name not in problem.network.inputs:
        cost_ns += write_ns(problem.target, store, size)
    return cost_ns / _bytes(space, name) / ahead
