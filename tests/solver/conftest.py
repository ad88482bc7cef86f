"""Small problems drawn at random: task graphs built by hand, and networks with their option spaces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from hypothesis import assume
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    CRYPTO,
    NPU_UNIT,
    POINT,
    Bank,
    Budget,
    Buffer,
    BufferRole,
    Crypto,
    DType,
    Footprint,
    Network,
    Objective,
    Op,
    OpKind,
    Place,
    Plan,
    Region,
    RegionName,
    Selection,
    Target,
    Task,
    TaskGraph,
    TaskKind,
    Tensor,
    Touch,
    Transfer,
    Window,
)
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.placement import buffer_uses
from ooc_solve.solver.selection import Aim, SelectionModel, build_space

UNIT = 8
"""Bytes per unit of SRAM on every board whose addresses fit 16-bit fields."""

Case = tuple[Problem, TaskGraph]


@cache
def _target(name: str, banks_bytes: tuple[int, ...]) -> Target:
    target = load_target(name)
    banks = tuple(Bank(f"bank{i}", size) for i, size in enumerate(banks_bytes))
    return replace(target, board=replace(target.board, banks=banks, usable_bytes=1 << 16), provenance={})


def arena_problem(
    banks_units: tuple[int, ...],
    *,
    target: str = "u585-octal",
    objective: Objective = Objective.LATENCY,
    write_budget_bytes: int | None = None,
) -> Problem:
    """Make a problem with banks of so many units, for task graphs that come without a network."""
    one = Tensor("x", 1, 1, 1, DType.INT8)
    op = Op("pool", OpKind.MAX_POOL, ("x",), "y")
    network = Network("dummy", {"x": one, "y": replace(one, name="y")}, (op,), ("x",), ("y",))
    system = _target(target, tuple(UNIT * units for units in banks_units))
    sram = RESERVED_BYTES + UNIT * sum(banks_units)
    return Problem(network, system, sram, IoPlace.SRAM, objective, write_budget_bytes)


@dataclass(slots=True)
class Sketch:
    """A task graph in the making; sizes in units, every task touches the whole of its buffers."""

    resources: tuple[str, ...] = ("cpu", "io")
    tasks: list[Task] = field(default_factory=list)
    buffers: list[Buffer] = field(default_factory=list)
    offset: int = 0

    def buffer(self, units: int, role: BufferRole = BufferRole.INPUT, pinned: bool = False) -> int:
        """Add a buffer."""
        index = len(self.buffers)
        self.buffers.append(Buffer(index, role, 0, f"b{index}", units * UNIT, pinned))
        return index

    def _task(
        self,
        kind: TaskKind,
        resource: str,
        ns: int,
        reads: tuple[int, ...],
        writes: tuple[int, ...],
        after: tuple[int, ...],
        transfer: Transfer | None = None,
    ) -> int:
        index = len(self.tasks)
        touches = [
            tuple(Touch(b, Footprint(0, self.buffers[b].size_bytes)) for b in which)
            for which in (reads, writes)
        ]
        self.tasks.append(
            Task(index, kind, resource, ns, 0, -1, touches[0], touches[1], tuple(sorted(after)), transfer)
        )
        return index

    def load(
        self,
        buffer: int,
        ns: int,
        resource: str = "io",
        store: int | None = None,
        after: tuple[int, ...] = (),
    ) -> int:
        """Fill a buffer from the image, or from where task ``store`` has put something."""
        size = self.buffers[buffer].size_bytes
        if store is None:
            transfer = Transfer(RegionName.IMAGE, self.offset, size)
            self.offset += size
        else:
            written = self.tasks[store].transfer
            assert written is not None
            transfer, after = replace(written, segment_bytes=size), (store, *after)
        return self._task(TaskKind.LOAD, resource, ns, (), (buffer,), after, transfer)

    def compute(
        self,
        ns: int,
        reads: tuple[int, ...] = (),
        writes: tuple[int, ...] = (),
        after: tuple[int, ...] = (),
        npu: bool = False,
    ) -> int:
        """Run a kernel."""
        unit = NPU_UNIT if npu else self.resources[0]
        return self._task(TaskKind.COMPUTE, unit, ns, reads, writes, after)

    def store(self, buffer: int, ns: int, after: int, resource: str = "io") -> int:
        """Write a buffer to storage."""
        size = self.buffers[buffer].size_bytes
        transfer = Transfer(RegionName.SCRATCH, self.offset, size)
        self.offset += size
        return self._task(TaskKind.STORE, resource, ns, (buffer,), (), (after,), transfer)

    def engage(self, kind: TaskKind, buffer: int, ns: int, after: int) -> int:
        """Open or seal a buffer in place, on an engine if there is one, else on the CPU."""
        transfer = Transfer(RegionName.SCRATCH, 0, self.buffers[buffer].size_bytes, sealed_records=1)
        resource = CRYPTO if CRYPTO in self.resources else self.resources[0]
        return self._task(kind, resource, ns, (buffer,), (buffer,), (after,), transfer)

    def graph(self) -> TaskGraph:
        """The finished graph."""
        regions = tuple(Region(name, 0, self.offset) for name in RegionName if name is not RegionName.ANNEX)
        return TaskGraph(tuple(self.tasks), tuple(self.buffers), self.resources, regions)


@st.composite
def _task_graphs(draw: DrawFn) -> Case:
    """One to four compute tasks, perhaps on two units, with at most five transfers and crypto tasks, and six buffers."""
    channels: tuple[str, ...] = draw(st.sampled_from([("io",), ("io", "io2"), ()]))
    ciphers = [CRYPTO, "cpu", ""] if channels else ["cpu", ""]
    cipher = draw(st.sampled_from(ciphers))
    two_units = not cipher and draw(st.booleans())
    engines = [CRYPTO] if cipher == CRYPTO else [NPU_UNIT] if two_units else []
    sketch = Sketch(("cpu", *channels, *engines))
    ns, units = st.integers(1, 9), st.integers(1, 3)

    def channel() -> str:
        return draw(st.sampled_from(channels or ("cpu",)))

    def free(transfers: int) -> bool:
        used = sum(task.kind is not TaskKind.COMPUTE for task in sketch.tasks)
        return used + transfers <= 5 and len(sketch.buffers) < 6

    def engaged(kind: TaskKind, buffer: int, after: int) -> int:
        """The task that opens or seals what comes or goes, if one does; else the one before."""
        if not cipher or not free(2) or not draw(st.booleans()):
            return after
        return sketch.engage(kind, buffer, draw(ns), after)

    loaded: dict[int, int] = {}  # buffer to its load
    made: dict[int, int] = {}  # kept buffer to the kernel that fills it
    kept: list[int] = []
    stored: list[int] = []
    if draw(st.booleans()):
        kept.append(sketch.buffer(draw(units), BufferRole.TENSOR, pinned=True))
    for _ in range(draw(st.sampled_from([3, 4, 2, 1]))):
        reads: set[int] = set()
        for _ in range(draw(st.sampled_from([1, 2, 0]))):
            ways = (["load"] if free(1) else []) + (["again"] if loaded else []) + (["kept"] if kept else [])
            ways += ["spilled"] if stored and free(1) else []
            way = draw(st.sampled_from(ways or ["none"]))
            if way == "load":
                buffer = sketch.buffer(draw(units))
                loaded[buffer] = engaged(TaskKind.DECRYPT, buffer, sketch.load(buffer, draw(ns), channel()))
                reads.add(buffer)
            elif way == "spilled":
                store = draw(st.sampled_from(stored))
                buffer = sketch.buffer(sketch.buffers[sketch.tasks[store].reads[0].buffer].size_bytes // UNIT)
                load = sketch.load(buffer, draw(ns), channel(), store)
                loaded[buffer] = engaged(TaskKind.DECRYPT, buffer, load)
                reads.add(buffer)
            elif way in ("again", "kept"):
                reads.add(draw(st.sampled_from(sorted(loaded) if way == "again" else kept)))
        output = draw(st.sampled_from(["kept", "store"])) if free(1) else "none"
        writes: tuple[int, ...] = ()
        if output != "none":
            role = BufferRole.TENSOR if output == "kept" else BufferRole.OUTPUT
            writes = (sketch.buffer(draw(units), role, pinned=output == "kept" and draw(st.booleans())),)
        after = tuple({done[b] for done in (loaded, made) for b in reads if b in done})
        step = sketch.compute(
            draw(ns), tuple(sorted(reads)), writes, after, two_units and draw(st.booleans())
        )
        if output == "store":
            done = engaged(TaskKind.ENCRYPT, writes[0], step)
            stored.append(sketch.store(writes[0], draw(ns), done, channel()))
        elif output == "kept":
            kept.append(writes[0])
            made[writes[0]] = step
    targets = ["n6-neural-art"] if two_units else ["u585-octal", "f746-sd", "rp2350-psram"]
    target = draw(st.sampled_from(targets))
    return arena_problem(_banks(draw, sketch), target=target), sketch.graph()


def _banks(draw: DrawFn, sketch: Sketch) -> tuple[int, ...]:
    """An arena about as large as the busiest compute step and the pinned buffers need, in one bank or two."""
    size = [buffer.size_bytes // UNIT for buffer in sketch.buffers]
    pinned = {buffer.index for buffer in sketch.buffers if buffer.pinned}
    least = 1
    for task in sketch.tasks:
        used = pinned | {touch.buffer for touch in (*task.reads, *task.writes)}
        least = max(least, sum(size[buffer] for buffer in used))
    total = max(1, least + draw(st.sampled_from([0, 1, 2, 0, 3, -1])))
    second = draw(st.integers(0, total // 2)) if draw(st.booleans()) else 0
    return (total - second, second) if second else (total,)


def _weights(kind: OpKind, channels: int, inputs: int, groups: int, window: Window) -> dict[str, object]:
    kernel = window.kernel
    if kind is OpKind.CONV:
        weights = np.zeros((channels, *kernel, inputs // groups), np.int8)
    elif kind is OpKind.DEPTHWISE:
        weights = np.zeros((*kernel, channels), np.int8)
    else:
        return {"weights": np.zeros(256, np.uint8)} if kind is OpKind.LOOKUP else {}
    return {
        "weights": weights,
        "bias": np.zeros(channels, np.int32),
        "multiplier": np.ones(channels, np.float32),
    }


WINDOWED = (OpKind.CONV, OpKind.DEPTHWISE, OpKind.MAX_POOL, OpKind.AVERAGE_POOL)


def _draw_op(draw: DrawFn, number: int, tensors: dict[str, Tensor], recent: list[str]) -> Op:
    """An operator on the newest tensor, and the tensor it makes."""
    source = tensors[recent[-1]]
    alike = [n for n in recent if replace(tensors[n], name="") == replace(source, name="")]
    kind = draw(st.sampled_from([*WINDOWED, OpKind.ADD, OpKind.MULTIPLY, OpKind.LOOKUP, OpKind.MOVE]))
    window, channels, groups = POINT, source.channels, 1
    if kind is OpKind.MOVE:
        return _draw_move(draw, number, tensors, source)
    inputs: tuple[str, ...] = (source.name,)
    if kind in WINDOWED:
        pair = st.tuples(st.integers(1, 3), st.integers(1, 3))
        small = st.integers(1, 2)
        window = Window(
            draw(pair),
            draw(st.tuples(small, small)),
            draw(st.tuples(small, small)),
            draw(st.tuples(*[st.integers(0, 2)] * 4)),
        )
        transposed = replace(window, transposed=True)
        if kind is OpKind.CONV and draw(st.integers(0, 3)) == 0:
            window = transposed
        if min(window.output_size(source.height, source.width)) < 1:
            window = POINT
    if kind is OpKind.CONV:
        channels = draw(st.integers(1, 9))
        if source.channels % 2 == 0 and channels % 2 == 0:
            groups = draw(st.sampled_from([1, 1, 2]))
    if kind in (OpKind.ADD, OpKind.MULTIPLY):
        fitting = [n for n in recent if n in alike or _repeats(tensors[n], source)]
        inputs = (draw(st.sampled_from(fitting)), source.name)
    height, width = window.output_size(source.height, source.width)
    name = f"t{number}"
    tensors[name] = Tensor(name, height, width, channels, DType.INT8)
    fields = _weights(kind, channels, source.channels, groups, window)
    if "bias" in fields:
        fields["packed"] = draw(st.booleans())
    return Op(f"op{number}", kind, inputs, name, window, groups, **fields)  # type: ignore[arg-type]


def _repeats(few: Tensor, many: Tensor) -> bool:
    """Whether a tensor becomes another one by repeating rows or columns."""
    rows, columns = few.height in (1, many.height), few.width in (1, many.width)
    return rows and columns and few.channels == many.channels


def _draw_move(draw: DrawFn, number: int, tensors: dict[str, Tensor], source: Tensor) -> Op:
    """A choice of elements of the newest tensor, or two tensors side by side."""
    name, shape = f"t{number}", [source.height, source.width, source.channels]
    axis = draw(st.integers(0, 2))
    if draw(st.booleans()):
        shape[axis] *= 2
        inputs, places = (source.name, source.name), (Place(), Place.shifted(axis, shape[axis] // 2))
    else:
        changed = [
            (draw(st.integers(0, 2)), draw(st.integers(-2, 2)), draw(st.integers(1, 2))) for _ in range(2)
        ]
        if axis == 2:
            changed.append((1, draw(st.integers(-2, 2)), 1))
        else:
            changed.append((1, 0, 1))
        shape = [
            draw(st.integers(1, size + 2)) if k < 2 or axis == 2 else size for k, size in enumerate(shape)
        ]
        inputs = (source.name,)  # type: ignore[assignment]
        places = (Place(*zip(*changed, strict=True)),)  # type: ignore[assignment]
    tensors[name] = Tensor(name, shape[0], shape[1], shape[2], DType.INT8)
    whole = shape[2] != source.channels
    return Op(f"op{number}", OpKind.MOVE, inputs, name, places=places, whole_pixels=whole)


@st.composite
def _networks(draw: DrawFn, most_ops: int = 3, side: int = 7, channels: int = 9) -> Network:
    size = st.integers(1, side)
    tensors = {"t": Tensor("t", draw(size), draw(size), draw(st.integers(1, channels)), DType.INT8)}
    ops: list[Op] = []
    for number in range(draw(st.integers(1, most_ops))):
        ops.append(_draw_op(draw, number, tensors, list(tensors)))
    return Network("random", tensors, tuple(ops), ("t",), (ops[-1].output,))


TARGETS = (
    *("u585-octal", "f746-qspi-sdram", "esp32s3-psram", "lm3s-qemu", "nrf52840-nor", "f746-sd"),
    *("h747-qspi-sd", "rt1060-flash-sdram-sd"),
)


CIPHER = Crypto("aes128_gcm", "sw", 700, True, "rw", cycles_per_byte=20)
ENGINE = replace(CIPHER, engine="hw", cpu_busy=False)


@st.composite
def _problems(draw: DrawFn, most_ops: int = 3, side: int = 7, channels: int = 9) -> Problem:
    """A random network on a target, in an arena of 128 bytes to 8 KiB; records may be sealed."""
    network = draw(_networks(most_ops, side, channels))
    target = replace(load_target(draw(st.sampled_from(TARGETS))), provenance={})
    ciphers = [None, CIPHER] if any(op.packed for op in network.ops) else [None, CIPHER, ENGINE]
    target = replace(target, crypto=draw(st.sampled_from(ciphers)))
    places = [IoPlace.SRAM] if target.activations is None else [IoPlace.STORAGE, IoPlace.SRAM]
    arena = UNIT * draw(st.integers(16, 128)) * draw(st.sampled_from([1, 2, 8]))
    objective = draw(st.sampled_from(Objective))
    problem = Problem(network, target, 2 * RESERVED_BYTES, draw(st.sampled_from(places)), objective)
    return replace(problem, sram_bytes=problem.reserved_bytes + arena)


def _in_two_banks(problem: Problem, second_bytes: int) -> Problem:
    arena = problem.arena_bytes
    sizes = (arena - second_bytes, second_bytes)
    banks = tuple(Bank(f"bank{i}", size) for i, size in enumerate(sizes) if size)
    board = replace(problem.target.board, dma_channels=0, banks=banks)
    changed = replace(problem, target=replace(problem.target, board=board))
    assert changed.arena_bytes == arena
    return changed


def _tiles_of(problem: Problem) -> TaskGraph:
    selected = SelectionModel(build_space(problem)).solve(Aim.LAYER_OVERLAP, Budget(20.0, 1, 1))
    assume(selected.selection is not None)
    assert selected.selection is not None
    try:
        return expand(problem, selected.selection)
    except SelectionError:
        assume(False)
        raise


def _busiest_step_bytes(graph: TaskGraph, stage: int) -> int:
    uses = buffer_uses(graph)
    return max(
        sum(b.size_bytes for b in graph.buffers if uses[b.index].first <= step <= uses[b.index].last)
        for step, task in enumerate(graph.compute_tasks)
        if task.stage == stage
    )


Bytes = set[tuple[str, int]]


def _bytes_of(footprint: Footprint, space: str, base: int = 0) -> Bytes:
    """Every single byte of a footprint."""
    return {
        (space, base + footprint.start + r * footprint.row_stride + c * footprint.column_stride + i)
        for r in range(footprint.rows)
        for c in range(footprint.columns)
        for i in range(footprint.run)
    }


def _accesses(task: Task, address: tuple[int, ...]) -> tuple[Bytes, Bytes]:
    """Single bytes that a task reads and writes, in SRAM and in storage."""
    reads, writes = (
        {byte for touch in touches for byte in _bytes_of(touch.footprint, "sram", address[touch.buffer])}
        for touches in (task.reads, task.writes)
    )
    if task.moved is not None:
        stored = _bytes_of(task.moved.footprint, task.moved.region.value)
        (writes if task.kind is TaskKind.STORE else reads).update(stored)
    return reads, writes


def _conflicts(graph: TaskGraph, address: tuple[int, ...]) -> list[tuple[int, int]]:
    touched = [_accesses(task, address) for task in graph.tasks]
    return [
        (a, b)
        for a, b in combinations(range(len(touched)), 2)
        if touched[a][1] & touched[b][1] or touched[a][0] & touched[b][1] or touched[a][1] & touched[b][0]
    ]


@pytest.fixture(scope="session")
def in_two_banks() -> Callable[[Problem, int], Problem]:
    """The problem with its arena in two banks, the second of so many bytes (0: one bank)."""
    return _in_two_banks


@pytest.fixture(scope="session")
def tiles_of() -> Callable[[Problem], TaskGraph]:
    """Tasks of a selection that fits the problem; leaves examples out for which there is none."""
    return _tiles_of


@pytest.fixture(scope="session")
def busiest_step_bytes() -> Callable[[TaskGraph, int], int]:
    """Largest sum of buffers that are all needed during one compute step of a stage."""
    return _busiest_step_bytes


@pytest.fixture(scope="session")
def conflicts() -> Callable[[TaskGraph, tuple[int, ...]], list[tuple[int, int]]]:
    """Every pair of tasks that touch a common byte, one of them writing it, found byte by byte."""
    return _conflicts


@pytest.fixture(scope="session")
def plan(
    tiny_problem: Problem, tiny_selection: Selection, planned: Callable[[Problem, Selection, bool], Plan]
) -> Plan:
    """A right plan in which all tasks run one after the other."""
    return planned(tiny_problem, tiny_selection, False)


@pytest.fixture(scope="session")
def overlapping(
    tiny_problem: Problem, tiny_selection: Selection, planned: Callable[[Problem, Selection, bool], Plan]
) -> Plan:
    """The same with each task as early as its waits allow."""
    return planned(tiny_problem, tiny_selection, True)


@pytest.fixture(scope="session")
def new_problem() -> Callable[..., Problem]:
    """`arena_problem`."""
    return arena_problem


@pytest.fixture(scope="session")
def new_sketch() -> Callable[..., Any]:
    """`Sketch`."""
    return Sketch


@pytest.fixture(scope="session")
def task_graphs() -> SearchStrategy[Case]:
    """Problems with hand-built task graphs."""
    return _task_graphs()


@pytest.fixture(scope="session")
def problems() -> Callable[..., SearchStrategy[Problem]]:
    """Problems with random networks; takes the most operators, the side and the channels."""
    return _problems
