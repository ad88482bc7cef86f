"""A plan for a run of several frames made from the plan of one: what every frame does again, and once for all.

The search for a run looks at as many times more operators as it has frames; this is where it need not be worse
than what is known of one.
"""

from __future__ import annotations

from dataclasses import replace

from ooc_solve.models.frames import of_frame, of_frames, shared_operators
from ooc_solve.models.operator_order import listed, ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import InternalError, Network, Op, Plan, Selection, Tiling
from ooc_solve.solver.allowance import excesses
from ooc_solve.solver.plans import settled
from ooc_solve.solver.search import evaluate, polish
from ooc_solve.solver.validate import validate


def repeated_plan(run: Problem, single: Problem, plan: Plan, deadline: float) -> Plan | None:
    """The plan for a run in which each frame is tiled as in the plan of one; None if that fits nowhere.

    ``deadline`` (of `time.monotonic`) limits how many ways to schedule it are tried.
    """
    selection = repeated(run.network, ordered(single, plan.selection.order).network, plan.selection)
    if selection is None:
        return None
    run = ordered(run, selection.order)
    found = evaluate(run, selection)
    if found is None:
        return None
    made = settled(run, polish(run, found, deadline), plan.scheduler)
    if excesses(run, made.figures):
        return None
    if violations := validate(run, made):
        raise InternalError(
            f"A repeated plan breaks the rule '{violations[0].rule}': {violations[0].message}"
        )
    return made


def repeated(run: Network, single: Network, selection: Selection) -> Selection | None:
    """The selection for a run, from that of one frame.

    Operators that are there for each frame are tiled as in one; those that compute all frames have all rows
    in a tile, if the tile of one frame has, so that their weights are loaded once. What puts frames together or
    takes them apart is not tiled. None if a fused stage has operators of both sorts.
    """
    run, base, last = listed(run), listed(single), run.frames - 1
    shared = shared_operators(base)
    if any(0 < len(shared.intersection(span)) < len(span) for span in _spans(single, selection)):
        return None
    tiling_of = {op.output: tiling for op, tiling in zip(single.ops, selection.tilings, strict=True)}
    each = [name for name in tiling_of if name not in shared]
    tilings = {of_frame(name, frame): tiling_of[name] for frame in range(run.frames) for name in each}
    whole = {of_frames(name, 0, last): tiling_of[name] for name in shared}
    rest = [op for op in run.ops if op.output not in tilings]
    tilings |= {op.output: _for_all(run, op, whole.get(op.output)) for op in rest}
    kept = {of_frame(name, frame) for frame in range(run.frames) for name in selection.kept}
    kept |= run.tensors.keys() - {
        of_frame(name, frame) for frame in range(run.frames) for name in base.tensors
    }
    place = {op.output: k for k, op in enumerate(run.ops)}
    order = tuple(place[name] for name in tilings)
    order = () if order == tuple(range(len(order))) else order
    return Selection(tuple(tilings.values()), frozenset(kept & run.tensors.keys()), order)


def _spans(network: Network, selection: Selection) -> list[list[str]]:
    """Outputs of the operators of each stage."""
    return [[network.ops[k].output for k in span] for span in selection.stages]


def _for_all(run: Network, op: Op, tiling: Tiling | None) -> Tiling:
    """The tiling of an operator that computes all frames, or moves them (None), from that of one frame."""
    out, source = run.tensors[op.output], run.tensors[op.inputs[0]]
    if tiling is None:
        return Tiling(out.height, out.width, out.channels, source.channels)
    if tiling.patch is not None or tiling.ring_rows:
        return replace(tiling, rows=out.height, columns=out.width, patch=None, ring_rows=0)
    whole = tiling.rows * run.frames >= out.height
    return replace(tiling, rows=out.height) if whole else tiling
