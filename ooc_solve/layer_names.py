"""Names of layers as tables and sentences have room for.

Exporters write whole histories into the names of nodes: ``model/activation_1/Relu;model/conv2d_1/BiasAdd;
model/conv2d_1/Conv2D``. What tells layers apart stands at the end.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from ooc_solve.models.vocabulary import Network

LONGEST = 24
"""Characters of a short name, if not told otherwise."""


def short_names(network: Network, longest: int = LONGEST) -> dict[str, str]:
    """A short name for each operator by its own, in the order of the network; no two are alike."""
    names = [op.name for op in network.ops]
    return dict(zip(names, shortened(names, longest), strict=True))


def shortened(names: Sequence[str], longest: int = LONGEST) -> tuple[str, ...]:
    """Short names in the same order, no two alike.

    The last two parts of the path of the last node that was merged into each, without those that only read a
    variable; where others are called alike, the place in the order (from 1) stands before.
    """
    found = [_cut(_last(name), longest) for name in names]
    count = Counter(found)
    return tuple(
        short if count[short] == 1 else _cut(f"{number} {_last(name)}", longest)
        for number, (name, short) in enumerate(zip(names, found, strict=True), start=1)
    )


def _last(name: str) -> str:
    nodes = [node for node in name.split(";") if node and "ReadVariableOp" not in node]
    path = [part for part in (nodes[-1] if nodes else name).split("/") if part]
    return "/".join(path[-2:]) or name


def _cut(text: str, longest: int) -> str:
    """The text, or its beginning and its end."""
    if len(text) <= longest:
        return text
    head = longest // 2 - 1
    return f"{text[:head]}…{text[head + 1 - longest :]}"
