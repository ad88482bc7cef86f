"""The network that makes several inferences in one run: frames in flight.

Every operator is there once per frame, and all copies have the same constants; but where frames can lie
one below the other in one tensor, one operator computes them all, and what it loads serves every frame.
That is so for fully connected layers, and for whatever computes rows of its output from rows of its input
that no other frame needs. Tensors are put together and taken apart by moves.

Inputs and outputs of the network are there once per frame: ``input_0``, ``input_1``, ... for ``input``.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

from ooc_solve.models.operator_order import listed
from ooc_solve.models.vocabulary import InputError, Network, Op, OpKind, Place, Tensor, Window

MOST_FRAMES = 8
"""Frames of one run at most: the more there are, the less another one brings, and the longer the search takes."""

ALONE = (OpKind.MOVE, OpKind.PERMUTE, OpKind.MATMUL)
"""Kinds that are never computed for several frames at once."""


def in_flight(network: Network, frames: int) -> Network:
    """The network that makes so many inferences in one run; the same network for one.

    Raises
    ------
    InputError
        If that is no number of frames that is supported.
    """
    return network if checked_frames(frames) == 1 else _Frames(listed(network), frames).network()


def checked_frames(frames: int) -> int:
    """The number of frames; raises as `in_flight` does."""
    if not 1 <= frames <= MOST_FRAMES:
        raise InputError(f"The frames in flight must be a number from 1 to {MOST_FRAMES} (got {frames}).")
    return frames


def of_frame(name: str, frame: int) -> str:
    """What a tensor or operator is called in one frame."""
    return f"{name}_{frame}"


def of_frames(name: str, first: int, last: int) -> str:
    """What a tensor is called in which some frames lie one below the other, or an operator that computes them."""
    return of_frame(name, first) if first == last else f"{name}_{first}to{last}"


# ------------------------------------------------------------------ what can be shared


def shared_operators(network: Network) -> frozenset[str]:
    """Outputs of the operators that compute all frames at once.

    They are at the end of the network: no operator behind them computes frame by frame, so what is put
    together is taken apart at the outputs only. The first ones are those whose weights outweigh what has
    to be put together for them.
    """
    tail, found = _tail(network), set[str]()
    for op in network.ops:
        put_together = sum(network.tensors[name].size_bytes for name in op.inputs)
        follows = not found.isdisjoint(op.inputs)
        if op.output in tail and (follows or op.weight_bytes > put_together):
            found.add(op.output)
    return frozenset(found)


def _tail(network: Network) -> set[str]:
    """Outputs of the operators that can compute all frames at once, as can all that come behind them."""
    alone, tail = set[str](), set[str]()
    for op in reversed(network.ops):
        if op.output not in alone and stacked_window(network, op) is not None:
            tail.add(op.output)
        else:
            alone.update(op.inputs)
    return tail


def stacked_window(network: Network, op: Op) -> Window | None:
    """The window with which an operator computes frames that lie one below the other; None if it cannot.

    It can if each row of its output takes as many rows of the input as the stride says and no others, so
    that the rows of one frame are computed from the rows of that frame.
    """
    out, inputs = network.tensors[op.output], [network.tensors[name] for name in op.inputs]
    if op.kind in ALONE or any(tensor.planar for tensor in (out, *inputs)):
        return None
    if op.kind in (OpKind.ADD, OpKind.MULTIPLY):
        return op.window if all(tensor.height == out.height for tensor in inputs) else None
    window, height = op.window, inputs[0].height
    if out.height == 1:
        window = replace(window, stride=(height, window.stride[1]))
    aligned = window.stride[0] * out.height == height and window.reach[0] <= window.stride[0]
    padded = window.transposed or window.pads[0] or window.pads[2]
    return window if aligned and not padded else None


# ------------------------------------------------------------------------- the frames


@dataclass(slots=True)
class _Frames:
    """A network of several frames while it is made: operators are appended in the order in which they run."""

    base: Network
    frames: int
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def network(self) -> Network:
        """All frames up to where they are put together, one after the other; then what computes all of them."""
        base, frames = self.base, range(self.frames)
        shared = shared_operators(base)
        for frame in frames:
            for name in base.inputs:
                self._tensor(name, frame, frame)
            for op in base.ops:
                if op.output not in shared:
                    self._copy(op, frame)
        for op in base.ops:
            if op.output in shared:
                self._share(op)
        for name in base.outputs:
            if name in shared:
                self._take_apart(name)
        return Network(
            base.name,
            self.tensors,
            tuple(self.ops),
            tuple(of_frame(name, frame) for frame in frames for name in base.inputs),
            tuple(of_frame(name, frame) for frame in frames for name in base.outputs),
            hashlib.sha256(f"{base.digest} {self.frames} frames".encode()).hexdigest(),
            frames=self.frames,
        )

    def _tensor(self, name: str, first: int, last: int) -> str:
        """The tensor of some frames, one below the other; only that of one frame has a shape in the graph."""
        made, count = self.base.tensors[name], last - first + 1
        shape = made.graph_shape if count == 1 else ()
        found = of_frames(name, first, last)
        self.tensors[found] = replace(made, name=found, height=count * made.height, graph_shape=shape)
        return found

    def _copy(self, op: Op, frame: int) -> None:
        inputs, output = (of_frame(name, frame) for name in op.inputs), self._tensor(op.output, frame, frame)
        self.ops.append(replace(op, name=of_frame(op.name, frame), inputs=tuple(inputs), output=output))

    def _share(self, op: Op) -> None:
        """Append an operator that computes all frames, behind the moves that put its inputs together."""
        last, window = self.frames - 1, stacked_window(self.base, op)
        assert window is not None
        name, output = of_frames(op.name, 0, last), self._tensor(op.output, 0, last)
        inputs = tuple(self._put_together(name, 0, last) for name in op.inputs)
        self.ops.append(replace(op, name=name, inputs=inputs, output=output, window=window))

    def _put_together(self, name: str, first: int, last: int) -> str:
        """The tensor of some frames, made by moves unless it is there: halves first, so that little is moved often."""
        found = of_frames(name, first, last)
        if found in self.tensors:
            return found
        middle = (first + last) // 2
        halves = self._put_together(name, first, middle), self._put_together(name, middle + 1, last)
        places = Place(), Place.shifted(0, self.tensors[halves[0]].height)
        self._tensor(name, first, last)
        self.ops.append(Op(f"join {found}", OpKind.MOVE, halves, found, places=places))
        return found

    def _take_apart(self, name: str) -> None:
        """One tensor for each frame of a tensor that holds all of them."""
        whole, height = of_frames(name, 0, self.frames - 1), self.base.tensors[name].height
        for frame in range(self.frames):
            part, place = self._tensor(name, frame, frame), Place(start=(frame * height, 0, 0))
            self.ops.append(Op(f"part {part}", OpKind.MOVE, (whole,), part, places=(place,)))
