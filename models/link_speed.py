"""The same system with faster or slower transfers: what ports and parts move per second, times a factor."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from ooc_solve.models.vocabulary import StorageAccess, Store, Target


def at_speed(target: Target, factor: float) -> Target:
    """The target whose ports and parts move so many times the bytes per second; it carries the factor in its name.

    Whatever a request takes besides (setup, programming, erasing, cycles of the CPU) stays. Rates are rounded
    down, so a greater factor never makes a transfer longer.
    """
    exact = Fraction(str(factor))
    if exact <= 0:
        raise ValueError(f"the factor must be above 0 (got {factor})")
    if exact == 1:
        return target

    def rate(bytes_per_s: int) -> int:
        return max(1, int(bytes_per_s * exact))

    def faster(access: StorageAccess) -> StorageAccess:
        return replace(access, bytes_per_s=rate(access.bytes_per_s))

    def store(old: Store) -> Store:
        part = replace(old.storage, read=faster(old.storage.read), write=faster(old.storage.write))
        return replace(
            old, storage=part, port=replace(old.port, peak_bytes_per_s=rate(old.port.peak_bytes_per_s))
        )

    return replace(
        target,
        name=f"{target.name}@{factor:g}x",
        weights=store(target.weights),
        activations=None if target.activations is None else store(target.activations),
        annex=None if target.annex is None else store(target.annex),
        parts=tuple(map(store, target.parts)),
    )
