"""The part of a Makefile that shows people what came out: the first values of each output, as real numbers."""

from __future__ import annotations

import re

from ooc_solve.models.vocabulary import DType, Network, Tensor

SHOWN = 10
"""Values of an output that are shown."""

MOST_SCORES = 4096
"""Up to so many scores are searched for the largest."""

_OD_TYPES = {DType.INT8: "d1", DType.UINT8: "u1", DType.FLOAT32: "f4"}


def values_recipe(network: Network) -> str:
    """The make variable VALUES: shell commands that print a line per output of the file ``$output``.

    Quantised outputs are shown as the real numbers they stand for. ``od`` and ``awk`` are those of POSIX.
    """
    return _VALUES.format(shown=SHOWN, calls="; \\\n".join(_calls(network)))


def _calls(network: Network) -> list[str]:
    """A call of the shell function ``show`` for each output, with its place in the file."""
    found, offset = [], 0
    for name in network.taken:
        tensor = network.tensors[name]
        scores = tensor.elements == tensor.channels and 1 < tensor.elements <= MOST_SCORES
        read = tensor.elements if scores else min(SHOWN, tensor.elements)
        found.append(
            f"show {_OD_TYPES[tensor.dtype]} {offset} {read * tensor.dtype.size_bytes} "
            f"{_affine(tensor)} {int(scores)} '{_words(tensor)}'"
        )
        offset += tensor.size_bytes
    return found


def _affine(tensor: Tensor) -> str:
    quantization = tensor.quantization
    return "1 0" if quantization is None else f"{quantization.scale!r} {quantization.zero_point}"


def _words(tensor: Tensor) -> str:
    """What is shown; nothing in it means anything to make or to a shell."""
    name = re.sub(r"[^A-Za-z0-9_.:/-]", "?", tensor.name)
    if tensor.elements == 1:
        return f"{name}:"
    if tensor.elements <= SHOWN:
        return f"{name}, {tensor.elements} values:"
    return f"{name}, the first {SHOWN} of {tensor.elements} values:"


_VALUES = """\
# In a recipe: the first values of each output, and the largest of scores (places count from 0).
define VALUES
show() {{ LC_ALL=C od -An -v -t $$1 -j $$2 -N $$3 "$$output" | LC_ALL=C awk -v scale=$$4 -v zero=$$5 -v scores=$$6 \\
    -v line="$$7" '{{ for (k = 1; k <= NF; k++) {{ value = scale * ($$k - zero); \\
        if (n < {shown}) line = line sprintf(" %.4g", value); \\
        if (!n || value > most) {{ most = value; at = n }} n++ }} }} \\
    END {{ print line (scores ? sprintf("; largest: %.4g at %d", most, at) : "") }}'; }}; \\
{calls}
endef
"""
