"""Which store of a target is for what, where the target only lists its parts.

The rule, on records of `RECORD_BYTES`:

- *weights*: of the parts that keep their content without power, the one that reads them best;
- *activations*: of the parts that need not be erased before they are written, the one that writes and
  reads them best; none where every part needs it;
- *annex*, a second place for weights: of the other parts that keep their content, and whose channel no
  store so far uses unless it is the very part of the activations, the one that reads them best.

Best is fastest; for energy the least energy; for wear what does not wear at all, then fastest. Where two are
alike the one that is listed first is taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from fractions import Fraction

from ooc_solve.models.cost import read_ns, write_ns
from ooc_solve.models.energy import Rates, Traffic, erased_bytes
from ooc_solve.models.vocabulary import Objective, Store, Target

RECORD_BYTES = 4096
"""What a record counts for the choice: a usual tile of weights or activations."""

Price = Callable[[Store], tuple[Fraction | int, ...]]


def assigned(target: Target, objective: Objective) -> Target:
    """The target with the roles of its ``parts`` given for an objective; as it is where it lists none."""
    if not target.parts:
        return target
    reading, spilling = _reading(target, objective), _spilling(target, objective)
    lasting = [part for part in target.parts if not part.storage.volatile]
    weights = min(lasting, key=reading)
    activations = _best((part for part in target.parts if not _needs_erasing(part)), spilling)
    taken = {store.channel for store in (weights, activations) if store is not None}
    others = (part for part in lasting if part != weights)
    free = [
        p for p in others if p.channel not in taken or (p == activations and p.channel != weights.channel)
    ]
    return replace(target, weights=weights, activations=activations, annex=_best(free, reading))


def _best(parts: Iterable[Store], price: Price) -> Store | None:
    return min(parts, key=price, default=None)


def _needs_erasing(store: Store) -> bool:
    return store.storage.erase is not None and store.storage.erase.required


def _reading(target: Target, objective: Objective) -> Price:
    """What it takes to read a record."""
    if objective is Objective.ENERGY:
        return lambda store: (_energy(target, store, Traffic(read_bytes=RECORD_BYTES, reads=1)),)
    return lambda store: (read_ns(target, store, RECORD_BYTES),)


def _spilling(target: Target, objective: Objective) -> Price:
    """What it takes to write a record and to read it again."""

    def duration(store: Store) -> int:
        return write_ns(target, store, RECORD_BYTES) + read_ns(target, store, RECORD_BYTES)

    def energy(store: Store) -> Fraction:
        erased = erased_bytes(store.storage, RECORD_BYTES)
        return _energy(target, store, Traffic(RECORD_BYTES, RECORD_BYTES, 1, 1, erased))

    if objective is Objective.ENERGY:
        return lambda store: (energy(store),)
    if objective is Objective.WEAR:
        return lambda store: (store.storage.endurance is not None, duration(store))
    return lambda store: (duration(store),)


def _energy(target: Target, store: Store, traffic: Traffic) -> Fraction:
    """Picojoules of transfers to and from a part."""
    alone = replace(target, weights=store, activations=None, annex=None)
    return Rates.of(alone).stores[0].picojoules(traffic)
