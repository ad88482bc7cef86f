"""Which tensors matter between which stages, and what they take in SRAM when kept."""

from __future__ import annotations

from collections import defaultdict

from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import Op, Tiling
from ooc_solve.solver.fused import operands
from ooc_solve.solver.options import KEPT, stored_bytes
from ooc_solve.solver.parts import part_bytes
from ooc_solve.solver.workspace import Ranges, input_ranges

State = tuple[int, ...]
"""Code of the residence of each tensor that is alive between two stages, in the order of `Lives.alive`."""


class Lives:
    """Which tensors matter where, and what they take in SRAM when kept."""

    def __init__(self, problem: Problem) -> None:
        network, self.problem = problem.network, problem
        self.network = network
        self.ops = network.ops
        self.consumers: dict[str, list[int]] = defaultdict(list)
        self.producer: dict[str, int] = {}
        for stage, op in enumerate(self.ops):
            for name in dict.fromkeys(op.inputs):
                self.consumers[name].append(stage)
            self.producer[op.output] = stage
        self.pinned, twice = problem.pinned, {name for name, _ in network.carried}
        self.size = {n: problem.buffer_bytes(stored_bytes(problem, n)) for n in network.tensors}
        self.pinned_bytes = sum(self.size[n] for n in self.pinned - twice)
        self.alive = [self._alive(stage) for stage in range(len(self.ops) + 1)]
        self._in_full: dict[str, bool] = {}

    def _alive(self, stage: int) -> tuple[str, ...]:
        """Tensors that are there before a stage and used in it or later; pinned ones are always there."""
        return tuple(
            name
            for name, users in self.consumers.items()
            if name not in self.pinned and users[-1] >= stage and self.producer.get(name, -1) < stage
        )

    def kept_bytes(self, stage: int, state: State) -> int:
        """SRAM of tensors that are kept over a stage, its output aside."""
        alive = zip(self.alive[stage], state, strict=True)
        return self.pinned_bytes + sum(self.taken_bytes(n, w) for n, w in alive if self.occupies(n, stage))

    def taken_bytes(self, name: str, residence: int) -> int:
        """SRAM of a tensor between its stages, where it is kept in part at least."""
        if name in self.pinned:
            return 0  # counted as such
        return self.size[name] if residence == KEPT else part_bytes(self.problem, name, residence)

    def occupies(self, name: str, stage: int) -> bool:
        """Whether a kept tensor is in SRAM for sure: a network input may come as late as its first use."""
        return name in self.producer or self.consumers[name][0] <= stage

    def residence(self, stage: int, state: State, name: str) -> int:
        """Where an input of a stage lives."""
        return KEPT if name in self.pinned else state[self.alive[stage].index(name)]

    def dying(self, stage: int, state: State, operators: int) -> list[tuple[int, int]]:
        """What is kept of tensors that nothing reads after a stage: its operands that are one, as bits, and the bytes."""
        names = operands(self.network, stage, operators)
        found = []
        for name in dict.fromkeys(names):
            size = self.taken_bytes(name, self.residence(stage, state, name))
            if size and self.consumers[name][-1] < stage + operators and self.occupies(name, stage):
                found.append((sum(1 << k for k, other in enumerate(names) if other == name), size))
        return found

    def after(self, stage: int, state: State, output: int, operators: int = 1) -> State:
        """The state behind a stage."""
        end = stage + operators
        known = dict(zip(self.alive[stage], state, strict=True)) | {self.ops[end - 1].output: output}
        return tuple(known[name] for name in self.alive[end])

    def inputs(self, stage: int, state: State, operators: int) -> tuple[int, ...]:
        """Where a stage finds what it reads."""
        names = operands(self.network, stage, operators)
        return tuple(self.residence(stage, state, name) for name in names)

    def read_in_full(self, name: str) -> bool:
        """Whether some consumer reads every element, whatever its tiling: then all stores precede its end."""
        if name not in self._in_full:
            self._in_full[name] = self._is_read_in_full(name)
        return self._in_full[name]

    def _is_read_in_full(self, name: str) -> bool:
        return any(
            _covers(self.problem, self.ops[stage], k)
            for stage in self.consumers[name]
            for k, other in enumerate(self.ops[stage].inputs)
            if other == name
        )


def _covers(problem: Problem, op: Op, k: int) -> bool:
    network = problem.network
    channels = network.tensors[op.inputs[0]].channels
    smallest = Tiling(1, 1, network.tensors[op.output].channels, channels)
    geometry = StageGeometry.of(network, op, smallest)
    tensor = geometry.inputs[k]
    rows, columns = input_ranges(geometry, k)
    return all(_reaches(ranges, size) for ranges, size in ((rows, tensor.height), (columns, tensor.width)))


def _reaches(ranges: Ranges, size: int) -> bool:
    """Whether ranges, in order of where they begin, cover everything up to a size."""
    reached = 0
    for low, high in sorted(ranges):
        if low > reached:
            return False
        reached = max(reached, high)
    return reached >= size
