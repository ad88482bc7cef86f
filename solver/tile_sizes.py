"""Tile sizes worth trying along an axis."""

from __future__ import annotations


def sizes(total: int, limit: int = 9) -> list[int]:
    """Tile sizes worth trying: the total, its halves, thirds and so on down to one."""
    found: list[int] = []
    parts = 1
    while parts < 2 * total:
        size = -(-total // parts)
        if not found or size != found[-1]:
            found.append(size)
        parts = parts + 1 if parts < 4 else parts * 3 // 2 if parts % 2 == 0 else parts + 1
    return spread(found, limit)


def spread(values: list[int], limit: int) -> list[int]:
    """At most ``limit`` of the values, evenly spread, the ends included."""
    if len(values) <= limit:
        return values
    keep = {round(i * (len(values) - 1) / (limit - 1)) for i in range(limit)}
    return [value for i, value in enumerate(values) if i in keep]
