"""What every byte holds while a plan runs: every read finds what it is after, and outputs are complete."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ooc_solve.models.tiling import StorageLayout, tile_range
from ooc_solve.models.vocabulary import Footprint, RegionName, Task, TaskKind, Tensor, Transfer
from ooc_solve.solver.happens_before import cells_of
from ooc_solve.solver.memory_rules import GIVEN_REGIONS, fits
from ooc_solve.solver.violations import Case, Rule, Violation, task_name


def contents(case: Case) -> Iterator[Violation]:
    """Every read finds what it is after, and the outputs are complete when the run ends."""
    if not fits(case):
        return
    memory = _Contents(case)
    yield from memory.replay()
    yield from memory.missing_outputs()


_EMPTY, _PADDING, _DATA = 0, 1, 2
"""State of a byte of storage: not written, written with padding, written with data."""


class _Contents:
    """What every byte of SRAM, of an NPU's own memory and of storage holds while the tasks run.

    ``owner`` says what a byte of SRAM, or of that memory behind it, was last written as completely, -1 if not or if a write is
    under way: the number of a buffer, or behind those of all buffers that of a tensor, as several
    may lie in one buffer one after the other. Padding, which transfers carry along because parts
    move whole granules, counts as not written when a kernel reads it.
    """

    def __init__(self, case: Case) -> None:
        self.case = case
        self.tenants: dict[int, list[str]] = {}  # tensors of each buffer
        for name, buffer in case.graph.resident:
            self.tenants.setdefault(buffer, []).append(name)
        names = enumerate(case.problem.network.tensors, len(case.graph.buffers))
        self.owner_of = {name: number for number, name in names}
        narrow = len(case.graph.buffers) + len(self.owner_of) <= np.iinfo(np.int16).max  # half the bytes
        size = case.problem.arena_bytes + case.problem.weight_memory_bytes
        self.owner = np.full(size, -1, np.int16 if narrow else np.int32)
        self.stored = {
            region.name: np.zeros(region.size_bytes, np.uint8)
            for region in case.graph.regions
            if region.name not in GIVEN_REGIONS
        }
        self.carried: dict[int, NDArray[np.bool_]] = {}  # which bytes of a transfer under way are data
        self._place_inputs()

    def _place_inputs(self) -> None:
        """Inputs in SRAM are there before the run."""
        case, network = self.case, self.case.problem.network
        for name, buffer in case.graph.resident:
            if name in case.problem.pinned and name in network.inputs:
                place = self._in_sram(buffer, Footprint(0, network.tensors[name].size_bytes))
                place[...] = self.owner_of[name]

    def _owner(self, task: Task, buffer: int, writes: bool) -> int:
        """What a task reads of a buffer, or what it makes of it."""
        network, names = self.case.problem.network, self.tenants.get(buffer)
        if names is None:
            return buffer
        if task.kind is TaskKind.COMPUTE:
            op = network.ops[task.stage]
            due: Sequence[str] = (op.output,) if writes else op.inputs
        else:
            due = network.outputs if task.is_outbound else network.inputs
        return next((self.owner_of[name] for name in due if name in names), -1)

    def _in_sram(self, buffer: int, footprint: Footprint) -> NDArray[np.signedinteger[Any]]:
        return cells_of(self.owner, self.case.placed(buffer, footprint))

    def _in_storage(self, transfer: Transfer) -> NDArray[np.uint8]:
        return cells_of(self.stored[transfer.region], transfer.footprint)

    def replay(self) -> Iterator[Violation]:
        """Run all tasks by their times; what ends at an instant is there for what starts then."""
        case = self.case
        events = []
        for task in case.graph.tasks:
            events.append((case.start(task), 1, task.index))
            if task.duration_ns:
                events.append((case.end_ns[task.index], 0, task.index))
        for _, starts, index in sorted(events):
            task = case.graph.tasks[index]
            if starts:
                yield from self._begin(task)
            if not starts or not task.duration_ns:
                self._finish(task)

    def _begin(self, task: Task) -> Iterator[Violation]:
        """Check what is read, then take away what is about to be overwritten."""
        for source, count in self._missing(task):
            message = f"{task_name(task)} reads {count} bytes of {source} that hold nothing written for it"
            yield Violation(Rule.UNWRITTEN, message, (task.index,), count, self.case.start(task))
        for touch in task.writes:
            self._in_sram(touch.buffer, touch.footprint)[...] = -1
        if task.kind is TaskKind.STORE and task.transfer is not None and task.transfer.region in self.stored:
            self._in_storage(task.transfer)[...] = _EMPTY

    def _missing(self, task: Task) -> list[tuple[str, int]]:
        """Sources of a task with the number of bytes that are not there; notes what a transfer carries."""
        if task.kind is TaskKind.LOAD and task.transfer is not None:
            if task.transfer.region in GIVEN_REGIONS:
                return []
            state = self._in_storage(task.transfer)
            self.carried[task.index] = (state == _DATA).reshape(-1)
            found = [(f"region '{task.transfer.region.value}'", _count(state == _EMPTY))]
        elif task.kind is TaskKind.STORE and task.transfer is not None:
            touch = task.reads[0]
            present = self.carried[task.index] = self._present(task)
            # the last granule may be filled up with anything
            needed = max(0, present.size - self.case.problem.granule_bytes(task.transfer.region) + 1)
            found = [(f"buffer {touch.buffer}", _count(~present[:needed]))]
        elif task.transfer is not None:
            present = self.carried[task.index] = self._present(task)
            found = [(f"buffer {task.reads[0].buffer}", task.transfer.sealed_bytes - _count(present))]
        else:
            found = [
                (
                    f"buffer {touch.buffer}",
                    _count(
                        self._in_sram(touch.buffer, touch.footprint) != self._owner(task, touch.buffer, False)
                    ),
                )
                for touch in task.reads
            ]
        return [(source, count) for source, count in found if count > 0]

    def _present(self, task: Task) -> NDArray[np.bool_]:
        """Which bytes of a transfer are data; what is opened or sealed in place leaves that as it is."""
        touch = task.reads[0]
        owner = self._owner(task, touch.buffer, False)
        found: NDArray[np.bool_] = self._in_sram(touch.buffer, touch.footprint) == owner
        return found.reshape(-1)

    def _finish(self, task: Task) -> None:
        """What a task wrote is there from now on."""
        for touch in task.writes:
            view, owner = self._in_sram(touch.buffer, touch.footprint), self._owner(task, touch.buffer, True)
            if task.index in self.carried:
                data = self.carried.pop(task.index).reshape(view.shape)
                view[...] = np.where(data, owner, -1)
            else:
                view[...] = owner
        if task.kind is TaskKind.STORE and task.transfer is not None and task.transfer.region in self.stored:
            stored = self._in_storage(task.transfer)
            stored[...] = np.where(self.carried.pop(task.index).reshape(stored.shape), _DATA, _PADDING)

    def missing_outputs(self) -> Iterator[Violation]:
        """Outputs of the network that are not complete where they belong."""
        problem = self.case.problem
        places = dict(self._output_layouts())
        for name in problem.network.outputs:
            tensor = problem.network.tensors[name]
            if name in problem.pinned:
                missing = self._missing_in_sram(tensor)
            elif name in places:
                missing = self._missing_in_storage(places[name])
            else:
                missing = tensor.size_bytes
            if missing:
                message = f"output '{name}' lacks {missing} of {tensor.size_bytes} bytes at the end"
                yield Violation(Rule.OUTPUT, message, (), missing, self.case.makespan_ns)

    def _missing_in_sram(self, tensor: Tensor) -> int:
        buffer = dict(self.case.graph.resident).get(tensor.name)
        if buffer is None or self.case.graph.buffers[buffer].size_bytes < tensor.size_bytes:
            return tensor.size_bytes
        return _count(self._in_sram(buffer, Footprint(0, tensor.size_bytes)) != self.owner_of[tensor.name])

    def _missing_in_storage(self, layout: StorageLayout) -> int:
        written, present = self.stored[RegionName.OUTPUT], 0
        for plane in range(layout.planes):
            for record in range(-(-layout.tensor.height // layout.record_rows)):
                low, high = tile_range(record, layout.record_rows, layout.tensor.height)
                start = layout.base + layout.offset(plane, low)
                run = written[start : start + (high - low) * layout.row_bytes(plane)]
                present += _count(run == _DATA)
        return layout.tensor.size_bytes - present

    def _output_layouts(self) -> Iterator[tuple[str, StorageLayout]]:
        """Where each output lies in its region: one after the other, kept ones in one record."""
        case, base = self.case, 0
        granule = case.problem.granule_bytes(RegionName.OUTPUT)
        for geometry in case.geometry:
            tensor, tiling = geometry.output, geometry.tiling
            if case.problem.stored_at_end(tensor):
                kept = tensor.name in case.plan.selection.kept
                plane = tensor.channels if kept else tiling.channels
                layout = StorageLayout(tensor, plane, tensor.height if kept else tiling.rows, granule, base)
                base += layout.size_bytes
                yield tensor.name, layout


def _count(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))
