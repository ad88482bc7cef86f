"""From a selection of tilings to the graph of tasks and buffers that it means."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

from ooc_solve.models.cost import (
    align_down,
    align_up,
    compute_ns,
    opening_ns,
    read_ns,
    sealing_ns,
    write_ns,
)
from ooc_solve.models.in_place import replaceable
from ooc_solve.models.npu import held_bytes, ways
from ooc_solve.models.parts import is_kept, makes_part, part_layout, reads_part
from ooc_solve.models.patches import buffer_elements, can_be_fused, covered, patch_footprints
from ooc_solve.models.problem import Problem
from ooc_solve.models.sealing import SEAL_BYTES
from ooc_solve.models.tiling import StageGeometry, StorageLayout, TileIndex
from ooc_solve.models.units import UnitUses
from ooc_solve.models.vocabulary import (
    NPU_UNIT,
    Box,
    Buffer,
    BufferRole,
    Footprint,
    Region,
    RegionName,
    Selection,
    Task,
    TaskGraph,
    TaskKind,
    Tensor,
    Touch,
    Transfer,
)
from ooc_solve.models.weight_memory import NOBODY, WeightMemory
from ooc_solve.models.weight_records import HEADER_BYTES, weight_record
from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.interleaving import in_turns

ACCUMULATOR_BYTES = 4


class SelectionError(ValueError):
    """A selection that cannot be carried out, e.g. a tile that storage cannot address."""


def expand(problem: Problem, selection: Selection) -> TaskGraph:
    """Build the task graph of a selection.

    Raises
    ------
    SelectionError
        If it means nothing (`meaning`), or its regions are more than their parts hold.
    """
    graph = meaning(problem, selection)
    _check_storage(problem, graph.regions)
    return graph


def meaning(problem: Problem, selection: Selection) -> TaskGraph:
    """The task graph of a selection, whether or not the storage parts are large enough for its regions.

    Raises
    ------
    SelectionError
        If the tilings and the storage layouts do not fit each other, or the selection was made for
        another order of the operators (`operator_order.ordered` gives the problem it was made for).
    """
    if selection.order != problem.network.order:
        raise SelectionError("the selection is for another order of the operators")
    if selection.tilings and selection.tilings[-1].patch is not None:
        raise SelectionError("the last operator cannot be fused with one behind it")
    _check_npu(problem, selection)
    return _Expander(problem, selection).run()


def _check_npu(problem: Problem, selection: Selection) -> None:
    """Refuse operators on an NPU that cannot be there, or whose weights do not fit there together."""
    network, npu = problem.network, problem.target.npu
    for op, tiling in zip(network.ops, selection.tilings, strict=True):
        if tiling.npu:
            inside = {*op.inputs, op.output} <= selection.kept | problem.pinned
            if (
                not inside
                or replace(tiling, annex=False) not in ways(problem.target, network, op)
                or (tiling.annex and not tiling.npu_loads)
            ):
                raise SelectionError(f"'{op.name}' cannot run on an NPU, or not in this way")
    most = npu.weight_mem_bytes if npu is not None else None
    if most is not None and (held := held_bytes(network, selection.tilings)) > most:
        raise SelectionError(f"the weight memory of '{problem.target.name}' has {most} bytes, not {held}")


def _check_storage(problem: Problem, regions: tuple[Region, ...]) -> None:
    """Refuse a selection whose regions are more than their parts hold."""
    for number, store in enumerate(problem.target.stores):
        here = [region for region in regions if region.store == number]
        used = sum(align_up(region.size_bytes, problem.granule_bytes(region.name)) for region in here)
        if used > store.storage.capacity_bytes:
            raise SelectionError(f"'{store.storage.name}' holds fewer than {used} bytes")


def resident_footprint(tensor: Tensor, box: Box) -> Footprint:
    """Bytes of a box in a buffer that holds the whole tensor densely."""
    element = tensor.dtype.size_bytes
    pixel, row = tensor.channels * element, tensor.width * tensor.channels * element
    rows, columns, channels = box.shape
    start = box.rows[0] * row + box.columns[0] * pixel + box.channels[0] * element
    if channels == tensor.channels:
        if columns == tensor.width:
            return Footprint(start, rows * row)
        return Footprint(start, columns * pixel, rows, row)
    return Footprint(start, channels * element, rows, row, columns, pixel)


@dataclass(slots=True)
class _Spilled:
    """Where a spilled tensor lies, and who wrote which bytes of it.

    With ``kept`` its first rows stay in a ``buffer``, and those from ``stored_from`` on are spilled.
    """

    region: RegionName
    layout: StorageLayout
    stores: list[tuple[int, int, int]] = field(default_factory=list)  # first byte, end, task
    kept: StorageLayout | None = None
    buffer: int = -1
    stored_from: int = 0

    def keeps(self, rows: tuple[int, int]) -> bool:
        """Whether all of some rows stay."""
        return self.kept is not None and is_kept(rows, self.kept.tensor.height)


@dataclass(slots=True)
class _Fetched:
    """A tile in SRAM: its buffer, where it begins there, and the task that loaded it (-1: it was kept)."""

    buffer: int
    task: int
    offset: int = 0


@dataclass(slots=True)
class _Layer:
    """One operator while its stage is walked: what it has in SRAM beside kept tensors and patches."""

    stage: int
    geometry: StageGeometry
    weights: dict[tuple[int, int], _Fetched] = field(default_factory=dict)
    inputs: list[dict[tuple[int, Box], _Fetched]] = field(default_factory=list)
    accumulator: int = -1

    def __post_init__(self) -> None:
        self.inputs = [{} for _ in self.geometry.inputs]


class _Expander:
    """Walks the stages in order and appends tasks; one instance per expansion."""

    def __init__(self, problem: Problem, selection: Selection) -> None:
        self.problem = problem
        self.selection = selection
        self.network = problem.network
        self.cipher = problem.crypto_resource
        self.pinned, self.carried = problem.pinned, dict(problem.network.carried)
        self.tasks: list[Task] = []
        self.uses = UnitUses()
        self.buffers: list[Buffer] = []
        self.resident: dict[str, int] = {}
        self.resident_load: dict[str, int] = {}
        self.spilled: dict[str, _Spilled] = {}
        self.patches: dict[str, int] = {}  # buffer of the present patch of a tensor inside a fused stage
        self.patch_of = {
            op.output: tiling.patch
            for op, tiling in zip(self.network.ops, selection.tilings, strict=True)
            if tiling.patch is not None
        }
        self.region_bytes = dict.fromkeys(problem.regions, 0)
        self.records: dict[tuple[int, int, int], int] = {}
        self.weight_memory = self._weight_memory()
        self.present = 0  # number of the stage that is walked
        self.begun: list[tuple[int, int]] = []  # stage and first task of each tile
        for home in {RegionName.IMAGE, *(tiling.weights_in for tiling in selection.tilings)}:
            if home not in self.region_bytes:
                raise SelectionError("weights cannot come from an annex: the target has none")
            self.region_bytes[home] = align_up(HEADER_BYTES, problem.granule_bytes(home))

    def _weight_memory(self) -> WeightMemory:
        """What resident weights leave of the NPU's own memory, in whole units."""
        resident = held_bytes(self.network, self.selection.tilings)
        end = align_down(self.problem.weight_memory_bytes, self.problem.unit_bytes)
        return WeightMemory(self.problem.buffer_bytes(resident), end)

    # ------------------------------------------------------------------ whole run

    def run(self) -> TaskGraph:
        for name in self.network.inputs:
            self._place_input(self.network.tensors[name])
        for number, span in enumerate(self.selection.stages):
            self.present = number
            self._check_fusion(span)
            self._check_places(span)
            self._stage([_Layer(k, self._geometry(k)) for k in span])
        return TaskGraph(
            tasks=self._in_turns(),
            buffers=tuple(self.buffers),
            resources=self._resources(),
            regions=tuple(
                Region(name, self.problem.store_index(name), size) for name, size in self.region_bytes.items()
            ),
            resident=tuple(self.resident.items()),
            weight_records=tuple(self.records.items()),
        )

    def _in_turns(self) -> tuple[Task, ...]:
        """The tasks in the order in which the stages take turns."""
        if not self.selection.turns:
            return tuple(self.tasks)
        try:
            return in_turns(self.tasks, self.begun, self.selection.turns)
        except ValueError as error:
            raise SelectionError(f"the stages cannot take turns: {error}") from error

    def _resources(self) -> tuple[str, ...]:
        names = [self.problem.compute_resource]
        for store in self.problem.target.stores:
            if (name := self.problem.resource_of(store)) not in names:
                names.append(name)
        if self.cipher is not None and self.cipher not in names:
            names.append(self.cipher)
        if any(tiling.npu for tiling in self.selection.tilings):
            names.append(NPU_UNIT)
        return tuple(names)

    def _place_input(self, tensor: Tensor) -> None:
        if tensor.name in self.pinned:
            self.resident[tensor.name] = self._buffer(
                BufferRole.TENSOR, -1, tensor.name, tensor.size_bytes, pinned=True
            )
            return
        granule = self.problem.granule_bytes(RegionName.INPUT)
        layout = StorageLayout(
            tensor, tensor.channels, tensor.height, granule, self.region_bytes[RegionName.INPUT]
        )
        self.region_bytes[RegionName.INPUT] += layout.size_bytes
        self.spilled[tensor.name] = _Spilled(RegionName.INPUT, layout)
        if tensor.name in self.selection.kept:
            size = align_up(tensor.size_bytes, granule)
            buffer = self._buffer(BufferRole.TENSOR, -1, tensor.name, size)
            self.resident[tensor.name] = buffer
            self.resident_load[tensor.name] = self._load(
                -1, buffer, Transfer(RegionName.INPUT, layout.base, size), ()
            )

    # ------------------------------------------------------------------- one stage

    def _geometry(self, number: int) -> StageGeometry:
        return StageGeometry.of(self.network, self.network.ops[number], self.selection.tilings[number])

    def _check_fusion(self, span: range) -> None:
        """Refuse patches of tensors that have to be whole, or that do not hold what is read of them."""
        if len(span) == 1:
            return
        first, inner = self.network.ops[span[0]], {self.network.ops[k].output for k in span[:-1]}
        if not can_be_fused(self.network, span) or inner & self.selection.kept:
            raise SelectionError(
                f"'{first.name}' cannot be fused with the {len(span) - 1} operators behind it"
            )
        if not covered(self.network, span, tuple(self.selection.tilings[k] for k in span)):
            raise SelectionError(f"the patches behind '{first.name}' do not hold what is read of them")

    def _check_places(self, span: range) -> None:
        """Refuse outputs in place where no input gives its bytes away."""
        for k in span:
            if self.selection.tilings[k].in_place and (k != span[-1] or self._replaced(span) is None):
                raise SelectionError(f"'{self.network.ops[k].name}' cannot work in place")

    def _replaced(self, span: range) -> str | None:
        """The kept input whose bytes a kept output takes; None if there is none."""
        kept = self.selection.kept
        if self.network.ops[span[-1]].output not in kept:
            return None
        return next((name for name in replaceable(self.network, span) if name in kept), None)

    def _stage(self, layers: list[_Layer]) -> None:
        last = layers[-1]
        if last.geometry.tiling.in_place:
            replaced = self._replaced(range(layers[0].stage, last.stage + 1))
            self.resident[last.geometry.output.name] = self.resident[str(replaced)]
        for layer in layers:
            self._place_output(layer.stage, layer.geometry)
        if len(layers) == 1:
            for index in layers[0].geometry.order():
                self._tile(layers[0], index)
        else:
            self._patchwise(layers)
        if last.geometry.output.name in self.resident and self.problem.stored_at_end(last.geometry.output):
            self._store_resident(last.stage, last.geometry.output)

    def _patchwise(self, layers: list[_Layer]) -> None:
        """Compute all operators of a fused stage for one patch after the other."""
        rows, columns, _, _ = layers[-1].geometry.grid
        for row in range(rows):
            for column in range(columns):
                for layer in layers:
                    self._patch(layer, row, column)

    def _patch(self, layer: _Layer, row: int, column: int) -> None:
        """Compute one patch of one operator, all channels of it."""
        geometry = layer.geometry
        _, _, groups, splits = geometry.grid
        if splits > 1:
            raise SelectionError(f"'{geometry.op.name}' cannot be split inside a fused stage")
        if not geometry.output_box((row, column, 0, 0)).elements:
            return  # earlier patches computed all that this one needs
        if not geometry.tiling.hold_weights:
            layer.weights.clear()
        if (patch := geometry.tiling.patch) is not None:
            name = geometry.output.name
            if not patch.ring_rows or name not in self.patches:
                size = (
                    buffer_elements(patch, geometry.output, (row, column)) * geometry.output.dtype.size_bytes
                )
                self.patches[name] = self._buffer(
                    BufferRole.PATCH, layer.stage, f"{name} patch {row}.{column}", size
                )
        for group in range(groups):
            self._tile(layer, (row, column, group, 0))

    def _tile(self, layer: _Layer, index: TileIndex) -> None:
        """Append the loads of a tile, its kernel, and its store."""
        stage, geometry = layer.stage, layer.geometry
        self.begun.append((self.present, len(self.tasks)))
        loaded: list[int] = []
        operands, offsets = [-1, -1, -1, -1, -1], [0, 0, 0, 0, 0]
        reads: list[Touch] = []
        known = len(self.tasks)
        for k in range(len(geometry.inputs)):
            found, touches = self._input(layer, k, index)
            operands[k], offsets[k] = found.buffer, found.offset
            reads += touches
            loaded += [found.task] if found.task >= 0 else []
        if geometry.loads_weights:
            fetched = self._weights(stage, geometry, index, layer.weights)
            operands[2] = fetched.buffer
            reads.append(Touch(fetched.buffer, Footprint(0, geometry.weight_bytes(index))))
            loaded.append(fetched.task)
        checking = self._checking_ns(self.tasks[known:])  # by the first kernel that waits for a load
        writes: list[Touch] = []
        splits = geometry.grid[3]
        box = geometry.output_box(index)
        if splits > 1:
            size = box.elements * ACCUMULATOR_BYTES
            if index[3] == 0:
                layer.accumulator = self._buffer(BufferRole.ACCUMULATOR, stage, "partial sums", size)
            else:
                reads.append(Touch(layer.accumulator, Footprint(0, size)))
            if index[3] < splits - 1:
                writes.append(Touch(layer.accumulator, Footprint(0, size)))
            operands[4] = layer.accumulator
        if index[3] == splits - 1:
            output, touched = self._output(stage, geometry, index, box)
            operands[3], offsets[3] = output.buffer, output.offset
            writes += touched
        compute = self._compute(stage, geometry, index, reads, writes, loaded, (operands, offsets), checking)
        if geometry.loads_weights and (held := self.buffers[operands[2]].held) is not None:
            self.weight_memory.use(*held, compute)
        if index[3] == splits - 1:
            self._store_tile(stage, geometry, index, output, compute)

    def _checking_ns(self, loads: list[Task]) -> int:
        """The CPU's time to check what was loaded; what is sealed is opened by tasks of its own."""
        moves = [task.moved for task in loads if task.moved is not None]
        return sum(opening_ns(self.problem.target, move) for move in moves if not move.sealed_records)

    def _compute(
        self,
        stage: int,
        geometry: StageGeometry,
        index: TileIndex,
        reads: list[Touch],
        writes: list[Touch],
        after: list[int],
        operands: tuple[list[int], list[int]],
        checking_ns: int,
    ) -> int:
        duration = checking_ns + compute_ns(self.problem.target, geometry.tile_work(index))
        (a, b, c, d, e), (f, g, h, i, j) = operands
        unit, kept = self.problem.unit_of(geometry.tiling), self.resident
        sources = [kept[tensor.name] for tensor in geometry.inputs if tensor.name in kept]
        made = kept.get(geometry.output.name, -1)
        waits = self.uses.waits(unit, len(self.tasks), sources, made)
        return self._append(
            TaskKind.COMPUTE,
            unit,
            duration,
            stage,
            geometry.number(index),
            tuple(reads),
            tuple(writes),
            tuple(sorted({*after, *waits})),
            None,
            (a, b, c, d, e),
            (f, g, h, i, j),
        )

    # -------------------------------------------------------------------- operands

    def _input(self, layer: _Layer, operand: int, index: TileIndex) -> tuple[_Fetched, list[Touch]]:
        """Where an input of a tile is, and the bytes read."""
        geometry, cache = layer.geometry, layer.inputs[operand]
        tensor = geometry.inputs[operand]
        box = geometry.input_box(operand, index)
        if tensor.name in self.patches:
            return self._patch_input(tensor, index, box)
        if tensor.name in self.resident:
            buffer = self.resident[tensor.name]
            touch = Touch(buffer, resident_footprint(tensor, box))
            return _Fetched(buffer, self.resident_load.get(tensor.name, -1)), [touch]
        spilled = self.spilled[tensor.name]
        plane = self._plane(geometry, spilled, box)
        low, width = spilled.layout.plane_channels * plane, spilled.layout.plane_width(plane)
        box = Box(box.rows, box.columns, (low, low + width))
        key = (plane, box)
        if key not in cache and not geometry.tiling.hold_inputs:
            cache.clear()  # what comes after a tile that is kept is fetched again
        layout = spilled.layout
        if spilled.kept is not None and spilled.keeps(box.rows):
            layout = spilled.kept
            fetched = self._kept_tile(spilled, layout, plane, box.rows)
        else:
            if key not in cache:
                cache[key] = self._fetch(layer.stage, spilled, plane, box)
            fetched = cache[key]
        exact = geometry.input_box(operand, index)
        touches = streamed_footprints(layout, plane, box, exact)
        return fetched, [Touch(fetched.buffer, moved(f, fetched.offset)) for f in touches]

    def _kept_tile(
        self, spilled: _Spilled, layout: StorageLayout, plane: int, rows: tuple[int, int]
    ) -> _Fetched:
        """Where rows that are kept begin in their buffer, as a load of them would.

        Raises
        ------
        SelectionError
            If no address begins there.
        """
        offset = align_down(layout.offset(plane, rows[0]), layout.granule_bytes)
        if offset % self.problem.unit_bytes:
            raise SelectionError(f"rows kept of '{layout.tensor.name}' do not start on units of SRAM")
        return _Fetched(spilled.buffer, -1, offset)

    def _patch_input(self, tensor: Tensor, index: TileIndex, box: Box) -> tuple[_Fetched, list[Touch]]:
        buffer, patch = self.patches[tensor.name], self.patch_of[tensor.name]
        parts = patch_footprints(patch, tensor, (index[0], index[1]), box)
        return _Fetched(buffer, -1), [Touch(buffer, part) for part in parts]

    def _plane(self, geometry: StageGeometry, spilled: _Spilled, box: Box) -> int:
        if geometry.op.needs_whole_tensors:
            layout = spilled.layout
            dense = layout.record_rows >= layout.tensor.height or layout.rows_are_aligned
            if layout.planes > 1 or not dense or layout.seal_bytes:
                raise SelectionError(f"'{geometry.op.name}' needs its input whole and dense")
            return 0
        plane = spilled.layout.plane_of(box.channels)
        if plane is None or (spilled.layout.planes == 1 and geometry.grid[3] > 1):
            raise SelectionError(f"'{geometry.op.name}': input planes do not match its tiles")
        return plane

    def _fetch(self, stage: int, spilled: _Spilled, plane: int, box: Box) -> _Fetched:
        transfer = input_transfer(spilled.region, spilled.layout, plane, box)
        low, high = transfer.footprint.span
        writers = tuple(task for first, end, task in spilled.stores if first < high and low < end)
        buffer = self._buffer(
            BufferRole.INPUT, stage, f"{spilled.layout.tensor.name} rows {box.rows[0]}:{box.rows[1]}",
            transfer.size_bytes,
        )  # fmt: skip
        return _Fetched(buffer, self._load(stage, buffer, transfer, writers))

    def _weights(
        self,
        stage: int,
        geometry: StageGeometry,
        index: TileIndex,
        cache: dict[tuple[int, int], _Fetched],
    ) -> _Fetched:
        key = geometry.weight_key(index)
        if key not in cache:
            if not geometry.tiling.hold_weights:
                cache.clear()
            size = weight_record(self.problem, geometry, index).size_bytes
            record = (stage, *key)
            home = geometry.tiling.weights_in
            if record not in self.records:
                self.records[record] = self.region_bytes[home]
                self.region_bytes[home] += size
            label, room = f"weights {key[0]}.{key[1]}", max(size, geometry.weight_bytes(index))
            if geometry.tiling.npu:
                transfer = Transfer(home, self.records[record], size)
                cache[key] = self._held(stage, f"{label} for the NPU", room, transfer)
                return cache[key]
            buffer = self._buffer(BufferRole.WEIGHTS, stage, label, room)
            transfer = self._record_transfer(home, self.records[record], size, geometry.packed(index))
            cache[key] = _Fetched(buffer, self._load(stage, buffer, transfer, ()))
        return cache[key]

    def _held(self, stage: int, label: str, room: int, transfer: Transfer) -> _Fetched:
        """Load a record into the NPU's own memory, once the last kernel is over that used those bytes."""
        room = self.problem.buffer_bytes(room)
        try:
            low, last = self.weight_memory.place(room)
        except ValueError as error:
            raise SelectionError(f"{label} of an operator cannot be loaded for the NPU: {error}") from error
        buffer = self._buffer(BufferRole.WEIGHTS, stage, label, 0)
        self.buffers[buffer] = replace(self.buffers[buffer], held=(low, low + room))
        return _Fetched(buffer, self._load(stage, buffer, transfer, () if last == NOBODY else (last,)))

    def _record_transfer(self, home: RegionName, offset: int, size: int, packed: tuple[int, int]) -> Transfer:
        plain = Transfer(home, offset, size, checked=True, packed_start=packed[0], packed_weights=packed[1])
        if self.problem.target.crypto is None:
            return plain
        return replace(plain, sealed_records=1, sealed_bytes=size - SEAL_BYTES)

    # --------------------------------------------------------------------- outputs

    def _place_output(self, stage: int, geometry: StageGeometry) -> None:
        tensor, problem = geometry.output, self.problem
        if tensor.name in self.patch_of or tensor.name in self.resident:
            return
        if tensor.name in self.carried:
            self.resident[tensor.name] = self.resident[self.carried[tensor.name]]
            return
        pinned = tensor.name in self.pinned
        if pinned or tensor.name in self.selection.kept:
            size = tensor.size_bytes
            if problem.stored_at_end(tensor):
                size = align_up(size, problem.granule_bytes(RegionName.OUTPUT))
            self.resident[tensor.name] = self._buffer(
                BufferRole.TENSOR, stage, tensor.name, size, pinned=pinned
            )
            return
        if problem.target.activations is None:
            raise SelectionError(f"'{tensor.name}' has to stay in SRAM: the target stores no activations")
        region = RegionName.OUTPUT if tensor.name in self.network.outputs else RegionName.SCRATCH
        tiling = geometry.tiling
        if geometry.op.needs_whole_tensors and geometry.grid != (1, 1, 1, 1):
            raise SelectionError(f"'{geometry.op.name}' cannot be tiled")
        seal, base = problem.seal_bytes(region), self.region_bytes[region]
        if geometry.op.needs_whole_tensors and seal:
            raise SelectionError(f"'{geometry.op.name}' writes its output densely, so it cannot be sealed")
        layout = StorageLayout(
            tensor, tiling.channels, tiling.rows, problem.granule_bytes(region), base, seal
        )
        if tiling.columns < tensor.width and (
            not layout.rows_are_aligned
            or tiling.columns * tiling.channels * tensor.dtype.size_bytes % layout.granule_bytes
        ):
            raise SelectionError(f"'{geometry.op.name}': column blocks do not start on storage granules")
        self.region_bytes[region] += layout.size_bytes
        self.spilled[tensor.name] = _Spilled(region, layout)
        if tiling.kept_rows:
            self._place_part(stage, geometry, self.spilled[tensor.name])

    def _place_part(self, stage: int, geometry: StageGeometry, spilled: _Spilled) -> None:
        """A buffer for the first rows of a tensor, which stay."""
        tensor, tiling = geometry.output, geometry.tiling
        if not makes_part(geometry) or spilled.region is not RegionName.SCRATCH or spilled.layout.seal_bytes:
            raise SelectionError(f"'{tensor.name}' cannot be kept in part")
        for consumer in (k for k, op in enumerate(self.network.ops) if tensor.name in op.inputs):
            reader = self._geometry(consumer)
            for operand, name in enumerate(reader.op.inputs):
                fits = reads_part(reader, operand, tiling.kept_rows, tiling.stored_from)
                if name == tensor.name and not fits:
                    raise SelectionError(
                        f"'{reader.op.name}' reads rows of '{name}' across those that are kept"
                    )
        spilled.kept = part_layout(spilled.layout, tiling.kept_rows)
        spilled.stored_from = tiling.stored_from
        label = f"{tensor.name} rows 0:{tiling.kept_rows}"
        spilled.buffer = self._buffer(BufferRole.TENSOR, stage, label, spilled.kept.size_bytes)

    def _output(
        self, stage: int, geometry: StageGeometry, index: TileIndex, box: Box
    ) -> tuple[_Fetched, list[Touch]]:
        tensor, patch = geometry.output, geometry.tiling.patch
        if patch is not None:
            buffer = self.patches[tensor.name]
            parts = patch_footprints(patch, tensor, (index[0], index[1]), box)
            return _Fetched(buffer, -1), [Touch(buffer, part) for part in parts]
        if tensor.name in self.resident:
            buffer = self.resident[tensor.name]
            return _Fetched(buffer, -1), [Touch(buffer, resident_footprint(tensor, box))]
        spilled = self.spilled[tensor.name]
        layout = spilled.layout
        size = box.elements * tensor.dtype.size_bytes + box.shape[0] * layout.seal_bytes
        if spilled.kept is not None and spilled.keeps(box.rows):
            tile = self._kept_tile(spilled, spilled.kept, index[2], box.rows)
            return tile, [Touch(tile.buffer, Footprint(tile.offset, size))]
        granule = layout.granule_bytes
        buffer = self._buffer(
            BufferRole.OUTPUT, stage, f"{tensor.name} rows {box.rows[0]}:{box.rows[1]}",
            align_up(size, granule),
        )  # fmt: skip
        return _Fetched(buffer, -1), [Touch(buffer, Footprint(0, size))]

    def _store_tile(
        self, stage: int, geometry: StageGeometry, index: TileIndex, tile: _Fetched, compute: int
    ) -> None:
        tensor = geometry.output
        if tensor.name not in self.spilled or tensor.name in self.resident:
            return
        spilled = self.spilled[tensor.name]
        if is_kept(geometry.output_box(index).rows, spilled.stored_from):
            return  # nobody fetches it
        transfer = output_transfer(spilled.region, spilled.layout, geometry, index)
        sealed = self._crypto(TaskKind.ENCRYPT, stage, tile.buffer, transfer, compute)
        task = self._store(stage, tile.buffer, transfer, (sealed,), tile.offset)
        low, high = transfer.footprint.span
        spilled.stores.append((low, high, task))

    def _store_resident(self, stage: int, tensor: Tensor) -> None:
        granule = self.problem.granule_bytes(RegionName.OUTPUT)
        size = align_up(tensor.size_bytes, granule)
        transfer = Transfer(RegionName.OUTPUT, self.region_bytes[RegionName.OUTPUT], size)
        self.region_bytes[RegionName.OUTPUT] += size
        last = max(task.index for task in self.tasks if task.kind is TaskKind.COMPUTE)
        self._store(stage, self.resident[tensor.name], transfer, (last,))

    # ------------------------------------------------------------------ appenders

    def _buffer(self, role: BufferRole, stage: int, label: str, size: int, pinned: bool = False) -> int:
        index = len(self.buffers)
        self.buffers.append(Buffer(index, role, stage, label, self.problem.buffer_bytes(size), pinned))
        return index

    def _load(self, stage: int, buffer: int, transfer: Transfer, after: tuple[int, ...]) -> int:
        store = self.problem.target.stores[self.problem.store_index(transfer.region)]
        duration = read_ns(self.problem.target, store, transfer.size_bytes, transfer.segments)
        touch = Touch(buffer, Footprint(0, _extent_bytes(transfer)))
        task = self._append(
            TaskKind.LOAD, self.problem.resource_of(store), duration, stage, -1, (), (touch,), after, transfer
        )
        return self._crypto(TaskKind.DECRYPT, stage, buffer, transfer, task)

    def _crypto(self, kind: TaskKind, stage: int, buffer: int, transfer: Transfer, after: int) -> int:
        """Open or seal the records of a transfer, if it has some: the task that does so, or the one before it."""
        if self.cipher is None or not transfer.sealed_records:
            return after
        cost_ns = opening_ns if kind is TaskKind.DECRYPT else sealing_ns
        touch = (Touch(buffer, Footprint(0, _extent_bytes(transfer))),)
        duration = cost_ns(self.problem.target, transfer)
        return self._append(kind, self.cipher, duration, stage, -1, touch, touch, (after,), transfer)

    def _store(
        self, stage: int, buffer: int, transfer: Transfer, after: tuple[int, ...], offset: int = 0
    ) -> int:
        store = self.problem.target.stores[self.problem.store_index(transfer.region)]
        duration = write_ns(self.problem.target, store, transfer.size_bytes, transfer.segments)
        touch = Touch(buffer, Footprint(offset, transfer.size_bytes))
        return self._append(
            TaskKind.STORE,
            self.problem.resource_of(store),
            duration,
            stage,
            -1,
            (touch,),
            (),
            after,
            transfer,
        )

    def _append(
        self,
        kind: TaskKind,
        resource: str,
        duration: int,
        stage: int,
        tile: int,
        reads: tuple[Touch, ...],
        writes: tuple[Touch, ...],
        after: tuple[int, ...],
        transfer: Transfer | None,
        operands: tuple[int, int, int, int, int] = (-1, -1, -1, -1, -1),
        offsets: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0),
    ) -> int:
        keep_time()
        index = len(self.tasks)
        self.tasks.append(
            Task(
                index,
                kind,
                resource,
                duration,
                stage,
                tile,
                reads,
                writes,
                after,
                transfer,
                operands,
                offsets,
            )
        )
        return index


def input_transfer(region: RegionName, layout: StorageLayout, plane: int, box: Box) -> Transfer:
    """The read that brings a box of one plane into SRAM, rounded out to granules.

    Raises
    ------
    SelectionError
        If the box is narrower than the tensor and its rows do not start alike in their granules.
    """
    tensor, granule = layout.tensor, layout.granule_bytes
    pixel = layout.plane_width(plane) * tensor.dtype.size_bytes
    first = layout.base + layout.offset(plane, box.rows[0])
    if box.columns == (0, tensor.width):
        end = layout.base + layout.offset(plane, box.rows[1] - 1) + layout.row_bytes(plane)
        start = align_down(first, granule)
        return _sealed(Transfer(region, start, align_up(end, granule) - start), layout, plane)
    if not layout.rows_are_aligned:
        raise SelectionError(f"column blocks of '{tensor.name}' do not start on storage granules")
    first += box.columns[0] * pixel
    start = align_down(first, granule)
    segment = align_up(first - start + (box.columns[1] - box.columns[0]) * pixel, granule)
    rows = box.rows[1] - box.rows[0]
    if layout.record_bytes(plane) != layout.record_rows * layout.row_bytes(plane):
        raise SelectionError(f"column blocks of '{tensor.name}' cross padded records")
    return Transfer(region, start, segment, rows, layout.row_bytes(plane))


def output_transfer(
    region: RegionName, layout: StorageLayout, geometry: StageGeometry, index: TileIndex
) -> Transfer:
    """The write that takes an output tile to storage."""
    box, granule = geometry.output_box(index), layout.granule_bytes
    element = geometry.output.dtype.size_bytes
    start = layout.base + layout.offset(index[2], box.rows[0])
    rows, columns, channels = box.shape
    if columns == geometry.output.width:
        size = align_up(box.elements * element + rows * layout.seal_bytes, granule)
        return _sealed(Transfer(region, start, size), layout, index[2])
    start += box.columns[0] * channels * element
    if columns * channels * element % granule:
        raise SelectionError(f"'{geometry.op.name}': a column block ends inside a storage granule")
    return Transfer(region, start, columns * channels * element, rows, layout.row_bytes(index[2]))


def moved(footprint: Footprint, offset: int) -> Footprint:
    """A footprint so many bytes further on."""
    return replace(footprint, start=footprint.start + offset) if offset else footprint


def _extent_bytes(transfer: Transfer) -> int:
    """Bytes of SRAM that a transfer is about: packed weights are spread there, before anybody else touches them."""
    return max(transfer.size_bytes, transfer.packed_start + transfer.packed_weights)


def _sealed(transfer: Transfer, layout: StorageLayout, plane: int) -> Transfer:
    """The transfer with the sealed rows of a plane that it moves whole."""
    if not layout.seal_bytes:
        return transfer
    start = transfer.offset - layout.base
    rows = layout.rows_within(plane, start, start + transfer.size_bytes)
    return replace(
        transfer, sealed_records=rows, sealed_bytes=rows * (layout.row_bytes(plane) - layout.seal_bytes)
    )


def streamed_footprints(layout: StorageLayout, plane: int, box: Box, exact: Box) -> list[Footprint]:
    """Bytes of box ``exact`` inside the buffer that was loaded for ``box`` of one plane."""
    tensor, element = layout.tensor, layout.tensor.dtype.size_bytes
    pixel = layout.plane_width(plane) * element
    skip = (exact.channels[0] - box.channels[0]) * element
    run = (exact.channels[1] - exact.channels[0]) * element
    first = layout.base + layout.offset(plane, box.rows[0]) + box.columns[0] * pixel
    head = first % layout.granule_bytes
    columns = box.columns[1] - box.columns[0]
    inner = (columns * pixel, 1, 0) if run == pixel else (run, columns, pixel)
    if box.columns != (0, tensor.width):
        pitch = align_up(head + columns * pixel, layout.granule_bytes)
        rows = box.rows[1] - box.rows[0]
        return [Footprint(head + skip, inner[0], rows, pitch, inner[1], inner[2])]
    pieces = []
    row = box.rows[0]
    while row < box.rows[1]:
        end = min(box.rows[1], (row // layout.record_rows + 1) * layout.record_rows)
        start = head + layout.offset(plane, row) - layout.offset(plane, box.rows[0])
        if inner[1] == 1:
            pieces.append(Footprint(start, (end - row) * layout.row_bytes(plane)))
        else:
            pieces.append(
                Footprint(start + skip, inner[0], end - row, layout.row_bytes(plane), inner[1], inner[2])
            )
        row = end
    return pieces
