"""From a plan to tables: addresses, layouts in storage, packed commands, and the digest that ties an image to them.

What does not fit the fields of the tables is refused by name.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from ooc_solve.codegen.packing import CRYPTO_WORK, NOWHERE, TRANSFER, CommandRow
from ooc_solve.codegen.tables import (
    BYTEWISE,
    COMPUTE_CHANNEL,
    ENGINE_CHANNEL,
    FLAG_CHECKED,
    FLAG_COUNT_PAD,
    FLAG_EDGES,
    FLAG_FLOAT32,
    FLAG_FLOATS,
    FLAG_STORE,
    FLAG_TABLE_PER_CHANNEL,
    FLAG_TRANSPOSED,
    FLAG_UNSIGNED,
    FORMAT,
    HOMES,
    KINDS,
    MAX_BANKS,
    MAX_STREAMS,
    MOST_STEP,
    NO_STORE,
    PATCH,
    REGIONS,
    RESIDENT,
    STREAMED,
    UINT8,
    UINT16,
    UINT32,
    AxisRow,
    BindingRow,
    CutRow,
    OperandRow,
    PackingRow,
    RegionRow,
    RingRow,
    SealingRow,
    ShapeRow,
    StageRow,
    StreamRow,
    Tables,
    TensorRow,
    table_bytes,
)
from ooc_solve.models.cost import align_down, align_up
from ooc_solve.models.footprint import MOVE_AXES, PERMUTE_AXES, count_table_bytes, transfer_shape
from ooc_solve.models.problem import MAX_UNITS, Problem
from ooc_solve.models.sealing import SEAL_BYTES, cipher_of
from ooc_solve.models.tiling import StageGeometry, StorageLayout
from ooc_solve.models.vocabulary import (
    CRYPTO,
    FLOATING,
    UNLIMITED,
    DType,
    InputError,
    InternalError,
    Network,
    Op,
    OpKind,
    Place,
    Plan,
    RegionName,
    Task,
    TaskKind,
    Tensor,
)
from ooc_solve.models.weight_records import HEADER_BYTES


def build_tables(problem: Problem, plan: Plan) -> Tables:
    """Build the tables of a plan.

    Raises
    ------
    InputError
        If the network or the plan does not fit the fields of the tables.
    InternalError
        If the tables are larger than the plan promised.
    """
    tables = _Builder(problem, plan).run()
    most = count_table_bytes(problem, plan.graph)
    if table_bytes(tables) > most:
        raise InternalError(f"Tables must fit the {most} bytes the plan counted (got {table_bytes(tables)}).")
    return tables


def table_digest(network: Network, tables: Tables) -> bytes:
    """SHA-256 over the network and the tables, what ties an image to its tables."""
    text = json.dumps(replace(tables, digest=b""), default=_plain, separators=(",", ":"))
    return hashlib.sha256(_network_digest(network) + b"\n" + text.encode()).digest()


def _plain(value: object) -> object:
    """A row as the list of its fields, bytes as hexadecimal digits."""
    if isinstance(value, bytes):
        return value.hex()
    if dataclasses.is_dataclass(value):
        return [getattr(value, part.name) for part in dataclasses.fields(value) if part.init]
    if isinstance(value, np.generic):
        return value.item()
    raise TypeError(f"a row of the tables holds a {type(value).__name__}")


def _network_digest(network: Network) -> bytes:
    """SHA-256 over the digest of the reader and all parameters.

    A file names its external data, but does not hold them; and readers change. What a sealed image holds must be the same
    wherever its digest is, for nonces are made of it.
    """
    state = hashlib.sha256(network.digest.encode())
    for op in network.ops:
        for array in (op.weights, op.bias, op.multiplier):
            state.update(b"-" if array is None else f"{array.dtype.str}{array.shape}".encode())
            state.update(b"" if array is None else np.ascontiguousarray(array).data)
    return state.hexdigest().encode()


def storage_layouts(problem: Problem, plan: Plan) -> dict[str, tuple[RegionName, StorageLayout]]:
    """Where each tensor that is ever in storage lies, in the order in which space was given out.

    Raises
    ------
    InternalError
        If the regions of the task graph have other sizes.
    """
    network = problem.network
    used = {RegionName.INPUT: 0, RegionName.OUTPUT: 0, RegionName.SCRATCH: 0}
    found: dict[str, tuple[RegionName, StorageLayout]] = {}
    for tensor, channels, rows in _stored(problem, plan):
        name = tensor.name
        region = RegionName.SCRATCH
        if name in network.inputs:
            region = RegionName.INPUT
        elif name in network.outputs:
            region = RegionName.OUTPUT
        granule = problem.granule_bytes(region)
        layout = StorageLayout(tensor, channels, rows, granule, used[region], problem.seal_bytes(region))
        used[region] += layout.size_bytes
        found[name] = region, layout
    for region_row in plan.graph.regions:
        if region_row.name in used and used[region_row.name] != region_row.size_bytes:
            raise InternalError(
                f"Region '{region_row.name.value}' must be as large as the tensors laid out in it "
                f"({used[region_row.name]} bytes; the task graph says {region_row.size_bytes})."
            )
    return found


def _stored(problem: Problem, plan: Plan) -> Iterator[tuple[Tensor, int, int]]:
    """Tensors in storage with their plane channels and record rows."""
    network, resident = problem.network, dict(plan.graph.resident)
    for name in network.inputs:
        tensor = network.tensors[name]
        if problem.in_storage_at_start(tensor):
            yield tensor, tensor.channels, tensor.height
    for op, tiling in zip(network.ops, plan.selection.tilings, strict=True):
        tensor = network.tensors[op.output]
        if tiling.patch is not None:
            continue  # never leaves SRAM
        if op.output not in resident:
            yield tensor, min(tiling.channels, tensor.channels), tiling.rows
        elif problem.stored_at_end(tensor):
            yield tensor, tensor.channels, tensor.height


def _fit(value: int, most: int, what: str, where: str, advice: str) -> int:
    """The value, if it fits its field."""
    if not 0 <= value <= most:
        raise InputError(f"{where}: {what} must be at most {most} to fit the tables (got {value}); {advice}.")
    return value


SMALLER_LAYER = "change the layer"

FEWER_TILES = "allow more SRAM, so that tiles are larger"


class _Builder:
    """Builds the rows of one plan; one instance per plan."""

    def __init__(self, problem: Problem, plan: Plan) -> None:
        self.problem, self.plan = problem, plan
        self.network, self.graph = problem.network, plan.graph
        self.number = {name: k for k, name in enumerate(self._tensor_order())}
        self.layouts = storage_layouts(problem, plan)
        self.resident = dict(self.graph.resident)
        self.patches = {
            op.output: (number, tiling.patch)
            for number, (op, tiling) in enumerate(zip(self.network.ops, plan.selection.tilings, strict=True))
            if tiling.patch is not None
        }
        self.shapes: dict[tuple[int, int, int, int, int], int] = {}
        self.axes: list[AxisRow] = []
        self.walls = self._bank_walls()
        self.bank_bytes = self._bank_bytes()

    def run(self) -> Tables:
        stages = tuple(self._stage(k, op) for k, op in enumerate(self.network.ops))
        streams = self._streams()
        if len(stages) >= TRANSFER:
            raise InputError(f"Network '{self.network.name}': at most {TRANSFER - 1} layers fit the tables.")
        regions = self._regions()
        tables = Tables(
            format=FORMAT,
            unit=_fit(self.problem.unit_bytes, UINT16, "the SRAM address unit", "The board", "use less SRAM"),
            inputs=_fit(len(self.network.inputs), UINT8, "the inputs", "The network", SMALLER_LAYER),
            outputs=_fit(len(self.network.outputs), UINT8, "the outputs", "The network", SMALLER_LAYER),
            bank_bytes=self.bank_bytes,
            digest=bytes(32),
            region=regions,
            stream=streams,
            tensors=tuple(self._tensor(self.network.tensors[name]) for name in self.number),
            stages=stages,
            shapes=tuple(ShapeRow(*shape[:3]) for shape in self.shapes),
            axes=tuple(self.axes),
            bindings=self._bindings(),
            granule_bytes=self._granules(),
            ring=self._ring(regions),
            packings=self._packings(),
        )
        tables = replace(tables, sealing=self._sealing(tables.used_regions))
        return replace(tables, digest=table_digest(self.network, tables))

    def _packings(self) -> tuple[PackingRow, ...]:
        if not any(op.packed for op in self.network.ops):
            return ()
        return tuple(PackingRow(start, weights) for *_, start, weights in self.shapes)

    def _tensor_order(self) -> tuple[str, ...]:
        return (*self.network.inputs, *(op.output for op in self.network.ops))

    # ------------------------------------------------------------------ SRAM banks

    def _bank_walls(self) -> tuple[tuple[int, int], ...]:
        """First byte and end of each bank, as the addresses of the plan count them."""
        walls, start = [], 0
        for _, size in self.problem.banks:
            walls.append((start, start + size))
            start += size
        return tuple(walls)

    def _bank_bytes(self) -> tuple[int, ...]:
        """What the plan uses of each bank; banks after the last used one are left out.

        The first one has room for the header of an image, which is read before a run.
        """
        unit = self.problem.unit_bytes
        used = [unit] * len(self.walls)
        headers = [align_up(HEADER_BYTES, self.problem.granule_bytes(home)) for home in self._homes()]
        used[0] = align_up(max(*headers, self._slot_bytes()), unit)
        last = 0
        for buffer, address in zip(self.graph.buffers, self.plan.schedule.address, strict=True):
            bank = self._bank_of(address)
            used[bank] = max(used[bank], align_up(address + buffer.size_bytes - self.walls[bank][0], unit))
            last = max(last, bank)
        if last >= MAX_BANKS:
            raise InputError(
                f"Board '{self.problem.target.board.name}': a plan may use at most {MAX_BANKS} SRAM banks "
                f"(got {last + 1}); join banks at consecutive addresses in the board file."
            )
        return tuple(used[: last + 1])

    def _bank_of(self, address: int) -> int:
        for bank, (low, high) in enumerate(self.walls):
            if low <= address < high:
                return bank
        raise InternalError(f"Every buffer must lie in a bank of SRAM (got address {address}).")

    def _address(self, buffer: int) -> int:
        """Byte address of a buffer over the used parts of the banks laid end to end."""
        address = self.plan.schedule.address[buffer]
        bank = self._bank_of(address)
        return sum(self.bank_bytes[:bank]) + address - self.walls[bank][0]

    def _units(self, buffer: int, offset: int = 0) -> int:
        """Address field of what begins some bytes into a buffer, NOWHERE for -1."""
        if buffer < 0:
            return NOWHERE
        address = self._address(buffer) + offset
        units, rest = divmod(address, self.problem.unit_bytes)
        if rest:
            raise InternalError(
                f"What lies in buffer '{self.graph.buffers[buffer].label}' must start on a unit of "
                f"{self.problem.unit_bytes} bytes (got address {address})."
            )
        label = f"Buffer '{self.graph.buffers[buffer].label}'"
        return _fit(units, MAX_UNITS, "the address in units", label, "use less SRAM")

    # --------------------------------------------------------------------- sealing

    def _slot_bytes(self) -> int:
        """What is moved of a slot of the journal; 0 if there is none."""
        if self.problem.target.crypto is None or not self._spilled():
            return 0
        return align_up(SEAL_BYTES, self.problem.granule_bytes(RegionName.SCRATCH))

    def _spilled(self) -> list[tuple[str, StorageLayout]]:
        """Tensors in the scratch region by their offsets there."""
        return [(n, layout) for n, (region, layout) in self.layouts.items() if region is RegionName.SCRATCH]

    def _sealing(self, regions: tuple[RegionRow, ...]) -> SealingRow | None:
        """What is sealed, and the journal behind all regions of its store: two slots that are erased apart."""
        crypto = self.problem.target.crypto
        if crypto is None:
            return None
        sealed = tuple(
            BindingRow(self._streamed(layout), layout.base, layout.tensor.size_bytes)
            for _, layout in self._spilled()
        )
        images = sum(regions[REGIONS.index(home)].bytes for home in self._homes())
        target = f"Target '{self.problem.target.name}'"
        _fit(images, UINT32, "the bytes of sealed image and annex", target, "use a smaller network")
        store = self.problem.store_index(RegionName.SCRATCH)
        alignment = self.problem.block_bytes(RegionName.SCRATCH)
        end = align_up(max(r.base + r.bytes for r in regions if r.store == store), alignment)
        size = 2 * align_up(self._slot_bytes(), alignment)
        part = self.problem.target.stores[store].storage
        label = f"Storage '{part.name}'"
        _fit(
            end + size,
            min(UINT32, part.capacity_bytes),
            "the end of the journal",
            label,
            "use a smaller network",
        )
        return SealingRow(cipher_of(crypto).number, sealed, RegionRow(end, size, store))

    # --------------------------------------------------------------------- regions

    def _homes(self) -> tuple[RegionName, ...]:
        return tuple(name for name in HOMES if name in self._names())

    def _names(self) -> tuple[RegionName, ...]:
        """The regions that there are, by number: no annex without a record in it."""
        annexed = any(tiling.annex for tiling in self.plan.selection.tilings)
        return REGIONS if annexed else REGIONS[:-1]

    def _granules(self) -> tuple[int, ...]:
        return tuple(map(self.problem.granule_bytes, self._names()))

    def _regions(self) -> tuple[RegionRow, ...]:
        """Regions one after the other on each store, images first, on granules and erase blocks."""
        size = {region.name: region.size_bytes for region in self.graph.regions}
        end = [0] * len(self.problem.target.stores)
        rows = {}
        for name in sorted(self._names(), key=lambda name: name not in HOMES):
            store = self.problem.store_index(name)
            base = align_up(end[store], self.problem.block_bytes(name))
            part = self.problem.target.stores[store].storage
            label = f"Storage '{part.name}'"
            end[store] = _fit(
                base + size[name], UINT32, "the end of a region in bytes", label, "use a smaller network"
            )
            rows[name] = RegionRow(base, size[name], store)
        return tuple(rows[name] for name in self._names())

    def _ring(self, regions: tuple[RegionRow, ...]) -> RingRow | None:
        """Where the scratch region takes turns.

        A note goes through a buffer whose bytes go to the scratch region later in the run: it holds a granule, and no
        input, for those stay in the arena for the whole run.
        """
        scratch = regions[REGIONS.index(RegionName.SCRATCH)]
        ring = self.problem.ring(scratch.bytes)
        if ring is None:
            return None
        part = self.problem.target.stores[scratch.store].storage
        most = min(UINT32, part.capacity_bytes)
        advice = f"choose a --scratch-ring of at most {align_down(most - scratch.base, ring.step_bytes)}"
        _fit(scratch.base + ring.size_bytes, most, "the end of the ring", f"Storage '{part.name}'", advice)
        if ring.note_offset != scratch.bytes:
            raise InternalError(
                f"A note must lie right behind the scratch region ({scratch.bytes}; got {ring.note_offset})."
            )
        return RingRow(ring.step_bytes, ring.places, self._units(self._spilling_buffer()), ring.note_bytes)

    def _spilling_buffer(self) -> int:
        """The buffer of the first task that stores to the scratch region."""
        for task in self.graph.tasks:
            if task.kind is TaskKind.STORE and task.transfer and task.transfer.region is RegionName.SCRATCH:
                return task.reads[0].buffer
        raise InternalError("A scratch region must have a task that stores there.")

    # ------------------------------------------------------------ tensors and stages

    def _tensor(self, tensor: Tensor) -> TensorRow:
        where = f"Tensor '{tensor.name}'"
        for axis, size in (("height", tensor.height), ("width", tensor.width), ("channels", tensor.channels)):
            _fit(size, UINT16, f"the {axis}", where, SMALLER_LAYER)
        _fit(tensor.size_bytes, UINT32, "the size in bytes", where, SMALLER_LAYER)
        if tensor.dtype is DType.INT32:
            raise InputError(f"{where}: the runtime has no int32 tensors; quantise the network to int8.")
        quantization = tensor.quantization
        return TensorRow(
            tensor.height,
            tensor.width,
            tensor.channels,
            quantization.zero_point if quantization else 0,
            quantization.scale if quantization else 1.0,
            tensor.dtype.size_bytes,
        )

    def _stage(self, number: int, op: Op) -> StageRow:
        where = f"{op.kind.value} '{op.name}'"
        geometry = StageGeometry.of(self.network, op, self.plan.selection.tilings[number])
        _check_op(op, geometry, where)
        window, tiling, out = op.window, geometry.tiling, geometry.output
        for what in (window.kernel, window.stride, window.dilation, window.pads[:2]):
            for value in what:
                _fit(value, UINT8, "kernel, stride, dilation and padding", where, SMALLER_LAYER)
        rows, columns, groups, splits = geometry.grid
        _fit(rows * columns * groups * splits, UINT16, "the number of tiles", where, FEWER_TILES)
        channels = geometry.inputs[0].channels
        flags = FLAG_COUNT_PAD if op.count_include_pad else 0
        if op.kind is OpKind.LOOKUP and op.weights is not None and op.weights.ndim == 2:
            flags |= FLAG_TABLE_PER_CHANNEL
        flags |= FLAG_TRANSPOSED if window.transposed or op.turned else 0
        flags |= FLAG_EDGES if op.edges else 0
        flags |= FLAG_UNSIGNED if op.offset else 0
        flags |= FLAG_FLOATS if op.by_floats else 0
        flags |= FLAG_FLOAT32 if geometry.is_float else 0
        return StageRow(
            kind=KINDS.index(op.kind),
            inputs=len(op.inputs),
            flags=flags,
            fill=op.fill if op.function is None else op.function.value,
            kernel=window.kernel,
            stride=window.stride,
            dilation=window.dilation,
            pad=(window.pads[0], window.pads[1]),
            conv_groups=_fit(op.groups, UINT16, "the number of groups", where, SMALLER_LAYER),
            first_axis=self._axes_of(op, where),
            tiles=_cuts(geometry, where),
            tile_channels=min(tiling.channels, out.channels),
            split_channels=min(tiling.split, channels) if op.kind is OpKind.CONV else channels,
            clamp_low=op.clamp[0],
            clamp_high=op.clamp[1],
            operand=(
                self._operand(op.inputs[0]),
                self._operand(op.inputs[1]) if len(op.inputs) > 1 else OperandRow(),
                self._operand(op.output),
            ),
        )

    def _axes_of(self, op: Op, where: str) -> int:
        """Index of the first axis; unused axes of a permutation come first."""
        if op.kind is OpKind.MOVE:
            axes = [self._moved(place, axis, where) for place in op.places for axis in range(MOVE_AXES)]
        elif op.kind is OpKind.PERMUTE:
            unused = [AxisRow(1, 0)] * (PERMUTE_AXES - len(op.permutation))
            axes = [*unused, *(AxisRow(size, stride) for size, stride in op.permutation)]
        else:
            return 0
        if op.kind is OpKind.PERMUTE and len(axes) > PERMUTE_AXES:
            raise InputError(
                f"{where}: a permutation may have at most {PERMUTE_AXES} axes (got {len(op.permutation)}); "
                "split it into two nodes."
            )
        first = _fit(len(self.axes), UINT16 - len(axes), "the number of axes", where, SMALLER_LAYER)
        self.axes += axes
        return first

    def _moved(self, place: Place, axis: int, where: str) -> AxisRow:
        step, start, period = place.step[axis], place.start[axis], place.period[axis]
        for value in (step, period, abs(start) >> 15):
            _fit(value, MOST_STEP, "steps of a slice or resize", where, SMALLER_LAYER)
        return AxisRow.moved(step, start, period)

    def _operand(self, name: str) -> OperandRow:
        """How a stage sees a tensor: resident, streamed by the rules of its layout, or as a patch."""
        tensor = self.network.tensors[name]
        if name in self.patches:
            maker, patch = self.patches[name]
            return OperandRow(self.number[name], tensor.channels, patch.ring_rows, 1, 0, PATCH, maker)
        if name in self.resident:
            return OperandRow(self.number[name], tensor.channels, tensor.height, 1, 0, RESIDENT)
        return self._streamed(self.layouts[name][1])

    def _streamed(self, layout: StorageLayout) -> OperandRow:
        where = f"Tensor '{layout.tensor.name}'"
        return OperandRow(
            self.number[layout.tensor.name],
            layout.plane_channels,
            min(layout.record_rows, layout.tensor.height),
            _fit(layout.granule_bytes, UINT16, "the storage granule", where, "use another storage part"),
            _fit(layout.plane_pitch, UINT32, "the distance of planes", where, SMALLER_LAYER),
            STREAMED,
            0,
            layout.seal_bytes,
        )

    # -------------------------------------------------------------------- bindings

    def _bindings(self) -> tuple[BindingRow, ...]:
        return tuple(
            self._binding(name, region)
            for names, region in (
                (self.network.inputs, RegionName.INPUT),
                (self.network.outputs, RegionName.OUTPUT),
            )
            for name in names
        )

    def _binding(self, name: str, region: RegionName) -> BindingRow:
        tensor = self.network.tensors[name]
        if name in self.problem.pinned:
            return BindingRow(self._operand(name), self._address(self.resident[name]), tensor.size_bytes)
        place, layout = self.layouts[name]
        if place is not region:
            raise InputError(
                f"Output '{name}': a network output in storage must be computed by a layer (it is an input "
                "of the network); use --io sram."
            )
        return BindingRow(self._streamed(layout), layout.base, tensor.size_bytes)

    # --------------------------------------------------------------------- streams

    def _streams(self) -> tuple[StreamRow, ...]:
        resources = self.graph.resources
        if len(resources) > MAX_STREAMS:
            raise InputError(
                f"Target '{self.problem.target.name}': at most {MAX_STREAMS - 1} IO channels and engines fit the tables "
                f"(got {len(resources) - 1}); let ports share an exclusive_group."
            )
        return tuple(self._stream(k) for k in range(len(resources)))

    def _stream(self, number: int) -> StreamRow:
        required = [0] * MAX_STREAMS
        commands = []
        for index in self.plan.streams.order[number]:
            need = [*self.plan.streams.required[index]]
            need += [0] * (MAX_STREAMS - len(need))
            rise = [need[k] - required[k] for k in range(MAX_STREAMS) if k != number]
            required = need
            commands.append(self._command(self.graph.tasks[index], rise))
        channel = COMPUTE_CHANNEL if number == 0 else number - 1
        if self.graph.resources[number] == CRYPTO:
            return StreamRow.of(commands, ENGINE_CHANNEL, NO_STORE)
        return StreamRow.of(commands, channel, self._store_behind(number))

    def _store_behind(self, stream: int) -> int:
        resource = self.graph.resources[stream]
        for k, store in enumerate(self.problem.target.stores):
            if self.problem.resource_of(store) == resource:
                return k
        return 0

    def _command(self, task: Task, rise: list[int]) -> CommandRow:
        where = self._where(task)
        if min(rise) < 0:
            raise InternalError(f"{where}: required counts must never fall along a stream.")
        a, b, c = (_fit(r, UINT16, "the commands waited for at once", where, FEWER_TILES) for r in rise)
        if task.kind is TaskKind.COMPUTE:
            x0, x1, weights, out, sums = map(self._units, task.operands, task.offsets)
            return CommandRow((a, b, c), task.stage, (task.tile, x0, x1, weights, out, sums))
        stage = CRYPTO_WORK if task.occupies_cpu else TRANSFER
        return CommandRow((a, b, c), stage, self._transfer_words(task, where))

    def _transfer_words(self, task: Task, where: str) -> tuple[int, int, int, int, int, int]:
        transfer = task.transfer
        if transfer is None:
            raise InternalError(f"{where}: a transfer must say what it moves.")
        store = task.is_outbound
        offset = _fit(transfer.offset, UINT32, "the storage offset", where, "use a smaller network")
        touch = task.reads[0] if store else task.writes[0]
        flags = (FLAG_STORE if store else 0) | (FLAG_CHECKED if transfer.checked else 0)
        return (
            self._units(touch.buffer, touch.footprint.start),
            self._shape(transfer_shape(transfer), where),
            REGIONS.index(transfer.region),
            flags,
            offset & UINT16,
            offset >> 16,
        )

    def _shape(self, shape: tuple[int, int, int, int, int], where: str) -> int:
        size, pitch, segments, _, _ = shape
        _fit(size, UINT32, "the bytes of a transfer", where, "use smaller tiles")
        _fit(pitch, UINT32, "the pitch of a transfer", where, SMALLER_LAYER)
        _fit(segments, UINT16, "the segments of a transfer", where, "use smaller tiles")
        number = self.shapes.setdefault(shape, len(self.shapes))
        return _fit(number, UINT16 - 1, "the number of different transfers", where, FEWER_TILES)

    def _where(self, task: Task) -> str:
        if 0 <= task.stage < len(self.network.ops):
            op = self.network.ops[task.stage]
            return f"{op.kind.value} '{op.name}'"
        return f"{task.kind.value.capitalize()} {task.index}"


def _check_op(op: Op, geometry: StageGeometry, where: str) -> None:
    """Refuse what the kernels of this format do not compute."""
    for value in op.clamp:
        if not UNLIMITED[0] <= value <= UNLIMITED[1]:
            raise InputError(f"{where}: clamp bounds must fit 16 bits (got {value}); {SMALLER_LAYER}.")
    if op.kind not in BYTEWISE and DType.UINT8 in {t.dtype for t in (*geometry.inputs, geometry.output)}:
        raise InputError(f"{where}: the kernel computes on int8 (got uint8); quantise the network to int8.")
    if op.kind in (OpKind.CONV, OpKind.DEPTHWISE):
        _check_parameters(op, geometry, where)
    kinds = {t.dtype is DType.FLOAT32 for t in (*geometry.inputs, geometry.output)}
    if op.kind in FLOATING and len(kinds) > 1:
        raise InputError(f"{where}: the kernel computes on int8 or on float32 (got both); {SMALLER_LAYER}.")
    differ = op.kind is OpKind.MOVE and any(t.channels != geometry.output.channels for t in geometry.inputs)
    if differ and not op.takes_whole_pixels:
        raise InternalError(f"{where}: a move between different numbers of channels must take whole pixels.")
    if op.kind is OpKind.CONV and op.groups > 1 and geometry.grid[3] > 1:
        raise InternalError(f"{where}: a grouped convolution must not be split along input channels.")


def _cuts(geometry: StageGeometry, where: str) -> tuple[CutRow, CutRow]:
    """How rows and columns of a stage are cut."""
    patch, tiling, out = geometry.tiling.patch, geometry.tiling, geometry.output
    if patch is None:
        rows, columns = min(tiling.rows, out.height), min(tiling.columns, out.width)
        return CutRow(geometry.grid[0], rows, 0, rows), CutRow(geometry.grid[1], columns, 0, columns)
    for cut in (patch.rows, patch.columns):
        _fit(
            max(cut.count, cut.pitch, cut.extent, 2 * abs(cut.lead)), UINT16, "patches", where, SMALLER_LAYER
        )
    high, wide = (CutRow(c.count, c.pitch, c.lead, c.extent) for c in (patch.rows, patch.columns))
    return high, wide


def _check_parameters(op: Op, geometry: StageGeometry, where: str) -> None:
    if geometry.is_float:
        if op.weights is None or op.weights.dtype != "float32" or op.multiplier is not None:
            raise InternalError(f"{where}: a layer of float32 must have float32 weights and no multipliers.")
        return
    if op.weights is None or op.weights.dtype != "int8":
        found = "none" if op.weights is None else op.weights.dtype
        raise InputError(f"{where}: weights must be int8 (got {found}); quantise the network to int8.")
    if op.packed and (op.weights.min() < -8 or op.weights.max() > 7):
        raise InternalError(f"{where}: weights of four bits must be -8 to 7.")
    if op.multiplier is None:
        raise InputError(f"{where}: a quantised layer needs a multiplier per output channel; quantise it.")
