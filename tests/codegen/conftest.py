"""Small problems and plans, made by hand: no solver decides anything here."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    Buffer,
    DType,
    Figures,
    Network,
    Op,
    OpKind,
    Plan,
    Quantization,
    Schedule,
    Selection,
    Target,
    TaskGraph,
    Tensor,
    Tiling,
    Window,
)
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.streams import earliest_times, synchronize

GOLDEN = Path(__file__).parent / "golden"
MOST_GROWTH = 1.02
NO_FIGURES = Figures(0, 0, 0, 0, 0, 0, 0, 0, None)


@dataclass
class Sketch:
    """A network under construction, with random parameters from a fixed seed."""

    rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))
    tensors: dict[str, Tensor] = field(default_factory=dict)
    ops: list[Op] = field(default_factory=list)

    def tensor(self, name: str, height: int, width: int, channels: int, dtype: DType = DType.INT8) -> str:
        scale = float(np.float32(self.rng.uniform(0.01, 0.2)))
        quantization = Quantization(scale, int(self.rng.integers(-20, 20))) if dtype is DType.INT8 else None
        self.tensors[name] = Tensor(name, height, width, channels, dtype, quantization)
        return name

    def weighted(
        self, name: str, kind: OpKind, source: str, channels: int, window: Window, groups: int = 1
    ) -> str:
        given = self.tensors[source]
        height, width = window.output_size(given.height, given.width)
        shape: tuple[int, ...] = (channels, *window.kernel, given.channels // groups)
        if kind is OpKind.DEPTHWISE:
            shape = (*window.kernel, channels)
        self.ops.append(
            Op(
                name,
                kind,
                (source,),
                self.tensor(f"{name}.out", height, width, channels),
                window,
                groups if kind is OpKind.CONV else channels,
                self.rng.integers(-128, 128, shape, dtype=np.int8),
                self.rng.integers(-500, 500, channels, dtype=np.int32),
                self.rng.uniform(1e-4, 5e-3, channels).astype(np.float32),
            )
        )
        return f"{name}.out"

    def add(self, name: str, a: str, b: str) -> str:
        given = self.tensors[a]
        out = self.tensor(f"{name}.out", given.height, given.width, given.channels)
        self.ops.append(Op(name, OpKind.ADD, (a, b), out))
        return out

    def network(self, inputs: tuple[str, ...], outputs: tuple[str, ...]) -> Network:
        return Network("sketch", dict(self.tensors), tuple(self.ops), inputs, outputs)


SAME3 = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))


def small_network() -> Network:
    """A residual block with a split convolution, a depthwise one, a permutation and a classifier."""
    net = Sketch()
    net.tensor("image", 9, 8, 4)
    first = net.weighted("first", OpKind.CONV, "image", 8, SAME3)
    deep = net.weighted("deep", OpKind.DEPTHWISE, first, 8, SAME3)
    wide = net.weighted("wide", OpKind.CONV, deep, 8, Window())
    total = net.add("total", first, wide)
    turned = net.tensor("turned", 1, 1, 9 * 8 * 8)
    order = ((8, 1), (9, 64), (8, 8))  # channels, rows, columns: as a graph in NCHW flattens
    net.ops.append(Op("turn", OpKind.PERMUTE, (total,), turned, permutation=order))
    net.tensors["turned"] = Tensor("turned", 1, 1, 576, DType.INT8, net.tensors[total].quantization)
    scores = net.weighted("scores", OpKind.CONV, turned, 10, Window())
    return net.network(("image",), (scores,))


SMALL_TILINGS = (
    Tiling(4, 8, 8, 4),  # first: stripes of 4 rows
    Tiling(4, 8, 4, 8),  # deep: two channel groups, stored as two planes
    Tiling(4, 8, 8, 4),  # wide: two splits of the input channels
    Tiling(4, 8, 8, 8),  # total
    Tiling(1, 1, 576, 576),  # turn
    Tiling(1, 1, 4, 200),  # scores: three channel groups, three splits
)
SMALL_KEPT = frozenset({"total.out", "turned"})
SMALL_SELECTION = Selection(SMALL_TILINGS, SMALL_KEPT)


def striped_selection(network: Network, stripes: int, spill: bool) -> Selection:
    """Every layer in horizontal stripes; tensors kept in SRAM, or spilled where a kernel allows it."""
    whole = {n for op in network.ops if op.kind is OpKind.PERMUTE for n in (*op.inputs, op.output)}
    tilings, kept = [], whole & set(network.inputs)
    for op in network.ops:
        out, source = network.tensors[op.output], network.tensors[op.inputs[0]]
        rows = out.height if op.kind is OpKind.PERMUTE else -(-out.height // stripes)
        tilings.append(Tiling(rows, out.width, out.channels, source.channels))
        if not spill or op.output in whole:
            kept.add(op.output)
    return Selection(tuple(tilings), frozenset(kept))


def address_of(problem: Problem, graph: TaskGraph, reuse: bool) -> list[int]:
    """Addresses bank by bank: one after the other, or first fit over serial lifetimes."""
    uses: list[list[int]] = [[] for _ in graph.buffers]
    for task in graph.tasks:
        for touch in (*task.reads, *task.writes):
            uses[touch.buffer].append(task.index)
    placed: list[tuple[int, Buffer]] = []
    for buffer in graph.buffers:
        placed.append((_first_fit(problem, placed, buffer, uses, reuse), buffer))
    return [address for address, _ in placed]


def _first_fit(
    problem: Problem, placed: list[tuple[int, Buffer]], buffer: Buffer, uses: list[list[int]], reuse: bool
) -> int:
    def alive_together(other: Buffer) -> bool:
        mine, theirs = uses[buffer.index], uses[other.index]
        kept = buffer.pinned or other.pinned or not reuse
        return kept or (min(mine) <= max(theirs) and min(theirs) <= max(mine))

    taken = sorted((a, a + other.size_bytes) for a, other in placed if alive_together(other))
    start = 0
    for _, size in problem.banks:
        low = start
        for first, end in taken:
            if first < low + buffer.size_bytes and end > low:
                low = end
        if low + buffer.size_bytes <= start + size:
            return low
        start += size
    raise AssertionError(f"the test's arena is too small for {buffer.label}")


def serial_plan(problem: Problem, selection: Selection, reuse: bool = True) -> Plan:
    """Tasks in the order of the graph, each as early as its bytes and its resource allow."""
    graph = expand(problem, selection)
    rough = Schedule(tuple(range(len(graph.tasks))), tuple(address_of(problem, graph, reuse)))
    streams = synchronize(graph, rough)
    schedule = Schedule(earliest_times(graph, streams), rough.address)
    return Plan(selection, graph, schedule, streams, NO_FIGURES, "by hand")


def makespan_of(plan: Plan) -> int:
    """End of the last task of a plan."""
    return max(plan.schedule.start_ns[t.index] + t.duration_ns for t in plan.graph.tasks)


@pytest.fixture(scope="session")
def target() -> Target:
    """A board with DMA, an SD card for everything, granules of 512 bytes."""
    return load_target("f746-sd")


@pytest.fixture(scope="session")
def psram_target() -> Target:
    """A board whose storage is addressed byte by byte."""
    return load_target("f746-qspi-sdram")


def small_problem(target: Target, io: IoPlace = IoPlace.STORAGE, sram_bytes: int = 64 * 1024) -> Problem:
    """The small network on a target."""
    return Problem(small_network(), target, sram_bytes, io)


@pytest.fixture(scope="session")
def problem(target: Target) -> Problem:
    """The small network with input and output on the SD card."""
    return small_problem(target)


@pytest.fixture(scope="session")
def plan(problem: Problem) -> Plan:
    """A plan of it that spills most tensors and uses SRAM again and again."""
    return serial_plan(problem, SMALL_SELECTION)


@dataclass(frozen=True)
class Workshop:
    """What tests make problems and plans with."""

    network: Callable[[], Network] = small_network
    problem: Callable[..., Problem] = small_problem
    plan: Callable[..., Plan] = serial_plan
    makespan_ns: Callable[[Plan], int] = makespan_of
    striped: Callable[..., Selection] = striped_selection
    selection: Selection = SMALL_SELECTION


@pytest.fixture(scope="session")
def workshop() -> Workshop:
    """Problems and plans by hand."""
    return Workshop()


# ------------------------------------------------------------------- recorded numbers


def grown_numbers(file: str, entry: str, compiler: str, found: dict[str, int]) -> dict[str, tuple[int, int]]:
    """Numbers more than 2 % above those recorded, as found and recorded.

    ``golden/FILE`` holds an object per entry: the compiler with its version, and the numbers. With
    ``OOC_RENEW_COUNTS`` in the environment the entry is written first. Numbers of another compiler
    are not compared: the test is skipped.
    """
    path = GOLDEN / file
    table = json.loads(path.read_text()) if path.is_file() else {}
    done = subprocess.run([compiler, "-dumpfullversion"], capture_output=True, text=True, check=True)
    version = f"{compiler} {done.stdout.strip()}"
    if "OOC_RENEW_COUNTS" in os.environ:
        table[entry] = {"compiler": version, "numbers": found}
        path.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n")
    assert entry in table, f"{entry} is not recorded: run with OOC_RENEW_COUNTS=1"
    if table[entry]["compiler"] != version:
        pytest.skip(f"numbers are of {table[entry]['compiler']}, this is {version}")
    known = table[entry]["numbers"]
    assert set(known) == set(found)
    return {name: (value, known[name]) for name, value in found.items() if value > MOST_GROWTH * known[name]}


@pytest.fixture(scope="session")
def grown() -> Callable[[str, str, str, dict[str, int]], dict[str, tuple[int, int]]]:
    """Function that compares numbers with those recorded, or records them."""
    return grown_numbers
