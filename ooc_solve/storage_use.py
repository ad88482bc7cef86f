"""What a plan keeps on each storage part, and what it moves there and back."""

from __future__ import annotations

from dataclasses import dataclass

from ooc_solve.models.operator_order import ordered
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Plan
from ooc_solve.solver.figures import traffic_of


@dataclass(frozen=True, slots=True)
class StoreUse:
    """One of ``Target.stores``: its part and port, bytes of the regions in use, bytes moved per inference."""

    storage: str
    port: str
    channel: str
    regions: tuple[tuple[str, int], ...]
    bytes_read: int
    bytes_written: int


def uses_of(problem: Problem, plan: Plan) -> tuple[StoreUse, ...]:
    """What a plan keeps on each of ``Target.stores``."""
    here = ordered(problem, plan.selection.order)
    traffic = traffic_of(here, plan.graph)
    return tuple(
        StoreUse(
            store.storage.name,
            store.port.name,
            store.channel,
            tuple((r.name.value, r.size_bytes) for r in plan.graph.regions if r.store == k and r.size_bytes),
            traffic[k].read_bytes,
            traffic[k].written_bytes,
        )
        for k, store in enumerate(here.target.stores)
    )


def sentences(problem: Problem, plan: Plan) -> tuple[str, ...]:
    """What lies where, for a plan with several storage parts: a sentence each; nothing for one part."""
    uses = uses_of(problem, plan)
    return tuple(map(_sentence, uses)) if len(uses) > 1 else ()


def _sentence(use: StoreUse) -> str:
    held = ", ".join(f"{name} ({size / 1024:,.1f} KiB)" for name, size in use.regions) or "nothing"
    moved = f"{use.bytes_read / 1024:,.1f} KiB read, {use.bytes_written / 1024:,.1f} KiB written"
    return f"On {use.storage} at port {use.port}: {held}; {moved}."
