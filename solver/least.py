"""What the least feasible budget is, and which layer asks for it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import accumulate, product

from ooc_solve.models.cost import align_up
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Selection, TaskGraph
from ooc_solve.solver.deadline import TimeIsUp
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.fused import operands
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.ladder import at_size, rungs
from ooc_solve.solver.options import KEPT
from ooc_solve.solver.placement import buffer_uses
from ooc_solve.solver.search import Candidate, evaluate, first_candidates
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space

GRID = (1.0, 1.06, 1.12, 1.25, 1.4, 1.6, 1.8, 2.0, 2.25, 2.5, 2.75, 3.0, 3.5, 4.0, 5.0, 7.0, 10.0, 1e9)
"""Arena sizes, as multiples of the bound, for which selections are made and measured."""

ENOUGH = 12
"""Selections after which the search for more ends."""

MAKESHIFT = ((Aim.SRAM, False), (Aim.SERIAL, False), (Aim.SERIAL, True))
"""Aims, and whether tiles count as starting anywhere in their granules."""

MAX_TASKS = 6000
"""Selections of more tasks are not looked at: a plan for so little SRAM would be no use."""


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

    Write budgets do not count here.

    The selection model gives the bound; from there on, sizes are tried until the tiles can
    really be placed. At a deadline (see `deadline`) the least that is known by then is the answer.

    Raises
    ------
    TimeIsUp
        If there is none by then.
    """
    full = _unbounded(problem)
    try:
        return _least_sram(full)
    except TimeIsUp:
        if not _steps_down(full):
            raise
        return _steps_down(full)[-1]


def least_known(problem: Problem) -> LeastSram | None:
    """The least SRAM that was found whenever it was asked for; None if it was not, or nothing was found."""
    return next(reversed(_steps_down(_unbounded(problem))), None)


def least_bound_bytes(problem: Problem) -> int | None:
    """SRAM below which nothing of the option space fits, which is soon known; None if nothing fits at all."""
    full = _unbounded(problem)
    relaxed = _relaxed(full)
    return None if relaxed is None else relaxed[1] + full.reserved_bytes


@lru_cache(maxsize=32)
def _relaxed(full: Problem) -> tuple[Space, int] | None:
    """A space with room around the least arena in which something fits, and that least.

    Less SRAM offers narrower planes and more fused stages, which may need less still: what is offered for the
    least so far, and for the rungs below it, is looked at until an octave of them gives nothing.
    """
    best: tuple[Space, int] | None = None
    arenas, failed = [full.arena_bytes], 0
    while arenas and failed <= OCTAVE:
        space = build_space(full, arenas[0])
        selected = SelectionModel(space, arenas.pop(0)).solve(Aim.SRAM, Budget(20.0, 1, 1))
        bound = align_up(selected.bound, full.unit_bytes)
        if selected.selection is None or (best is not None and bound >= best[1]):
            failed += 1
            continue
        best, failed = (space, bound), 0
        below = (size - full.reserved_bytes for size in rungs(full))
        arenas = [bound, *(arena for arena in below if arena < bound)]
    return best


OCTAVE = 4
"""Rungs from one size to half of it."""


def _unbounded(problem: Problem) -> Problem:
    return at_size(problem.bare, problem.target.board.usable_bytes)


@lru_cache(maxsize=32)
def _steps_down(full: Problem) -> list[LeastSram]:
    """What `_least_sram` has found so far, ever less."""
    return []


@lru_cache(maxsize=32)
def _least_sram(full: Problem) -> LeastSram | None:
    relaxed = _relaxed(full)
    if relaxed is None:
        return None
    space, bound = relaxed
    found = _steps_down(full)
    for candidate, size in _smaller_and_smaller(full, space, bound):
        stage, need, kept = busiest_stage(space, candidate.selection)
        found.append(LeastSram(size, bound + full.reserved_bytes, stage, need, kept, candidate))
    return found[-1] if found else None


def _smaller_and_smaller(full: Problem, space: Space, bound: int) -> Iterator[tuple[Candidate, int]]:
    """Plans that need less and less SRAM, and how much."""
    best = full.sram_bytes + 1
    for candidate, size in _placed(full, space, bound):
        if size < best:
            best = size
            yield candidate, size
    yield from _lower(full, best, bound + full.reserved_bytes)


def _placed(full: Problem, space: Space, bound: int) -> Iterator[tuple[Candidate, int]]:
    """Sizes at which one of many selections can be placed, with its plan."""
    found: list[tuple[int, int, Selection]] = []
    seen: set[Selection] = set()
    for share, (aim, firm) in product(GRID, MAKESHIFT):
        if len(found) >= ENOUGH:
            break
        model = SelectionModel(space, min(full.arena_bytes, int(bound * share)), firm=firm)
        selected = model.solve(aim, Budget(5.0, 1, 1))
        if selected.selection is None or selected.selection in seen or selected.tasks > MAX_TASKS:
            continue
        seen.add(selected.selection)
        try:
            graph = expand(full, selected.selection)
        except SelectionError:
            continue
        found.append((peak_bytes(graph), len(found), selected.selection))
    best = full.sram_bytes + 1
    for peak, _, selection in sorted(found)[:4]:
        arena = align_up(peak, full.unit_bytes)
        while arena + full.reserved_bytes < best:
            candidate = evaluate(at_size(full, arena + full.reserved_bytes), selection)
            if candidate is not None:
                best = arena + full.reserved_bytes
                yield candidate, best
                break
            arena += align_up(max(1, arena // 64), full.unit_bytes)


def _lower(full: Problem, best: int, bound: int) -> Iterator[tuple[Candidate, int]]:
    """Less SRAM than ``best``, if it has a plan: first by rungs, since the solver must not know of less."""
    for size in rungs(full):
        if size < best:
            found = first_candidates(space_of(at_size(full, size)), FOREVER_S)
            if not found:
                break
            best = size
            yield found[0], size
    failed, size = 0, best
    while failed < PATIENCE and len(full.network.ops) <= SMALL:
        size -= align_up(size // 64, full.unit_bytes)
        if size < bound:
            break
        found = first_candidates(space_of(at_size(full, size)), FOREVER_S)
        failed = 0 if found else failed + 1
        if found:
            yield found[0], size


PATIENCE = 2
"""Sizes in a row without a plan after which nothing smaller is tried."""

SMALL = 40
"""Networks of more operators are tried on rungs only: each size takes them seconds."""


FOREVER_S = float("inf")
"""A deadline that never comes."""


def peak_bytes(graph: TaskGraph) -> int:
    """Most bytes that any compute step uses at once: no placement needs less."""
    uses = buffer_uses(graph)
    steps = len(graph.compute_tasks)
    change = [0] * (steps + 1)
    for buffer in graph.buffers:
        use = uses[buffer.index]
        if use.last >= 0:
            change[max(use.first, 0)] += buffer.size_bytes
            change[min(use.last, steps - 1) + 1] -= buffer.size_bytes
    return max(accumulate(change))


def busiest_stage(space: Space, selection: Selection) -> tuple[int, int, int]:
    """Stage with the largest demand, its workspace and the bytes kept beside it."""
    network, problem = space.problem.network, space.problem
    worst = (0, 0, 0)
    for stage in selection.stages:
        kept = sum(
            problem.buffer_bytes(network.tensors[name].size_bytes)
            for name, (first, last) in space.lives.items()
            if name in selection.kept and first <= stage[-1] and stage[0] <= last
        )
        tilings, output = selection.tilings[stage[0] : stage[-1] + 1], network.ops[stage[-1]].output
        names = operands(network, stage[0], len(stage))
        fits = [
            o.need_bytes
            for o in space.options[stage[0]]
            if o.tilings == tilings
            and all((w == KEPT) == (n in selection.kept) for w, n in zip(o.inputs, names, strict=True))
            and (o.output == KEPT) == (output in selection.kept)
        ]
        need = min(fits, default=0)
        if tilings[-1].in_place:  # then the output is not beside the input
            spared = problem.buffer_bytes(network.tensors[output].size_bytes)
            need, kept = need + spared, kept - spared
        if need + kept > worst[1] + worst[2]:
            worst = (stage[0], need, kept)
    return worst
