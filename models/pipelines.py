"""Runs that overlap: the front of a network for new frames beside its back for those of the run before.

A network is cut where few tensors lead from one part to the other. A *pipelined run* computes the front for its frames
and leaves these tensors in SRAM, and it computes the back from what the run before has left there. The two parts share
nothing else, so their kernels may alternate in any way: but for one rule, that a tensor is not made before the one
that the back reads in its place is read. Outputs are those of the frames of the run before.

So a pipelined run is a network too: what is carried over is its last output and its last input, in the same bytes.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from ooc_solve.models.frames import of_frame, of_frames
from ooc_solve.models.operator_order import listed
from ooc_solve.models.vocabulary import Network, Op


@dataclass(frozen=True, slots=True)
class Cut:
    """Where a network is cut: the tensors that lead from the front to the back, and the outputs of the front's operators."""

    carried: tuple[str, ...]
    front: frozenset[str]

    def size_bytes(self, network: Network) -> int:
        """Bytes that are carried from one run to the next."""
        return sum(network.tensors[name].size_bytes for name in self.carried)


def carried_input(name: str) -> str:
    """What the tensor is called that the run before has left."""
    return f"{name} of the run before"


def cuts(network: Network, base: Network) -> tuple[Cut, ...]:
    """The cuts of a run of several frames (of the network ``base``), or of one, that carry one tensor of each frame.

    All inputs of the network are read by the front, all of its outputs are made by the back.
    """
    network = listed(network)
    found = (_cut(network, names) for names in _candidates(network, listed(base)))
    return tuple({cut.front: cut for cut in found if cut is not None}.values())


def _candidates(network: Network, base: Network) -> Iterator[tuple[str, ...]]:
    """Tensors that might be carried: those of all frames together, or one of each frame."""
    made, last = {op.output for op in network.ops}, network.frames - 1
    for op in listed(base).ops:
        whole = of_frames(op.output, 0, last)
        each = tuple(of_frame(op.output, frame) for frame in range(network.frames))
        for names in ((op.output,),) if network.frames == 1 else (each, (whole,)):
            if made.issuperset(names):
                yield names


def _cut(network: Network, carried: tuple[str, ...]) -> Cut | None:
    """The cut at some tensors, None if more than those lead from front to back, or one part is empty."""
    front = _ancestors(network, carried)
    back = [op for op in network.ops if op.output not in front]
    read = {name for op in back for name in op.inputs} - {op.output for op in back}
    if not back or read != set(carried) or front & set(network.outputs):
        return None
    return Cut(carried, frozenset(front))


def _ancestors(network: Network, names: tuple[str, ...]) -> set[str]:
    """Outputs of the operators that are needed for some tensors, those included."""
    found = set(names)
    for op in reversed(network.ops):
        if op.output in found:
            found.update(op.inputs)
    return found & {op.output for op in network.ops}


def pipelined(network: Network, cut: Cut) -> Network:
    """The network of a run that computes the front for its frames and the back for those of the run before."""
    network = listed(network)
    before = {name: carried_input(name) for name in cut.carried}
    tensors = network.tensors | {
        other: replace(network.tensors[name], name=other) for name, other in before.items()
    }
    front = tuple(op for op in network.ops if op.output in cut.front)
    back = tuple(_renamed(op, before) for op in network.ops if op.output not in cut.front)
    return replace(
        network,
        tensors=tensors,
        ops=front + back,
        inputs=(*network.inputs, *before.values()),
        outputs=(*network.outputs, *cut.carried),
        digest=hashlib.sha256(f"{network.digest} carries {', '.join(cut.carried)}".encode()).hexdigest(),
        carried=tuple(before.items()),
    )


def _renamed(op: Op, names: dict[str, str]) -> Op:
    return replace(op, inputs=tuple(names.get(name, name) for name in op.inputs))


def front_size(network: Network) -> int:
    """Number of operators of the front, of a pipelined network that runs them first."""
    last = {name for name, _ in network.carried}
    return max(k + 1 for k, op in enumerate(network.ops) if op.output in last)
