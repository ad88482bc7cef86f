"""Colours and words of everything drawn.

The colours are those of Okabe and Ito ("Color Universal Design", 2008), which stay apart for people
with any of the common colour blindnesses, on light and on dark pages. None is the only sign of what
it means: tasks lie in rows, and names come with a pointer, a legend or a table.
"""

from __future__ import annotations

from ooc_solve.bottlenecks import Cause
from ooc_solve.models.vocabulary import BufferRole, TaskKind

CIPHER_COLOUR = "#CC79A7"
TASK_COLOURS = {
    TaskKind.COMPUTE: "#0072B2",
    TaskKind.LOAD: "#E69F00",
    TaskKind.STORE: "#D55E00",
    TaskKind.ENCRYPT: CIPHER_COLOUR,
    TaskKind.DECRYPT: CIPHER_COLOUR,
}
BUFFER_COLOURS = {
    BufferRole.TENSOR: "#009E73",
    BufferRole.INPUT: "#56B4E9",
    BufferRole.WEIGHTS: "#E69F00",
    BufferRole.OUTPUT: "#D55E00",
    BufferRole.ACCUMULATOR: "#CC79A7",
    BufferRole.PATCH: "#F0E442",
}
BUFFER_NAMES = {
    BufferRole.TENSOR: "kept tensor",
    BufferRole.INPUT: "input tile",
    BufferRole.WEIGHTS: "weights",
    BufferRole.OUTPUT: "output tile",
    BufferRole.ACCUMULATOR: "partial sums",
    BufferRole.PATCH: "patch",
}
LAYER_GREYS = ("#8A8F98", "#B9BEC6")
TASK_NAMES = {
    TaskKind.COMPUTE: "compute",
    TaskKind.LOAD: "read",
    TaskKind.STORE: "write",
    TaskKind.ENCRYPT: "encrypt",
    TaskKind.DECRYPT: "decrypt",
}
CAUSE_COLOURS = {
    Cause.COMPUTE: "#0072B2",
    Cause.IO: "#E69F00",
    Cause.MEMORY: BUFFER_COLOURS[BufferRole.TENSOR],
    Cause.CRYPTO: CIPHER_COLOUR,
}
BEST_COLOUR = "#0072B2"
BOUND_COLOUR = "#D55E00"
