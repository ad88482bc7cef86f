"""Fixtures that several packages of tests share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from itertools import pairwise
from math import inf
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from ooc_solve.api import Comparison, compare, load, target
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.vocabulary import (
    Bank,
    Board,
    DType,
    Endurance,
    Network,
    Op,
    OpKind,
    Plan,
    Port,
    Quantization,
    RuntimeCost,
    Schedule,
    Selection,
    Storage,
    StorageAccess,
    Store,
    Target,
    TaskGraph,
    Tensor,
    Tiling,
    Window,
)
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import descent
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.figures import figures_of
from ooc_solve.solver.streams import earliest_times, synchronize

# Examples take as long as they take, and those that do not apply are left out by `assume`. They are the same in
# every run, so that what fails once fails again; `--hypothesis-profile exploring` draws others.
settings.register_profile("patient", deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
settings.register_profile("exploring", deadline=None, suppress_health_check=list(HealthCheck))
settings.load_profile("patient")


MOST_PROCESSES = 4
"""Of the suite. Each loads all modules, and some tests start threads and compilers of their own."""


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Folders are tested by as many processes as there are processors; files called by name by this one, at once."""
    by_name = any(Path(argument.partition("::")[0]).is_file() for argument in config.args)
    return 0 if by_name else min(os.cpu_count() or 1, MOST_PROCESSES)


@pytest.fixture(scope="session", autouse=True)
def one_process_for_each_search() -> Iterator[None]:
    """Tests run side by side already, one for each processor."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(descent, "BESIDE_FROM_S", inf)
        yield


@pytest.fixture(scope="module", autouse=True)
def networks_of_their_own() -> None:
    """What the tests of one module leave in caches of problems is not found by those of another."""
    zoo_network.cache_clear()


COMPILERS = ("cc", "gcc", "clang", "arm-none-eabi-gcc", "riscv64-unknown-elf-gcc")


@pytest.fixture(scope="session")
def compiler_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of compilers that remember what they compiled, empty where ccache is not installed.

    It is of this session, so nothing of another checkout or version comes into a test. Processes of one session
    share what is remembered.
    """
    cache, folder = shutil.which("ccache"), tmp_path_factory.mktemp("compilers")
    for name in filter(shutil.which, COMPILERS if cache else ()):
        (folder / name).symlink_to(str(cache))
    own = tmp_path_factory.getbasetemp()
    shared = own.parent if "PYTEST_XDIST_WORKER" in os.environ else own
    (shared / "compiled").mkdir(exist_ok=True)
    (folder / "cache").symlink_to(shared / "compiled")
    return folder


@pytest.fixture(scope="module")
def compiled_once(compiler_cache: Path) -> Iterator[None]:
    """For modules that build many projects: each has the runtime in it, which each set of flags compiles once.

    Not for those that look at what a compiler writes beside its objects: that is not remembered.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{compiler_cache}{os.pathsep}{os.environ['PATH']}")
        patch.setenv("CCACHE_DIR", str(compiler_cache / "cache"))
        patch.setenv("CCACHE_NOHASHDIR", "1")  # projects lie in folders of their own
        yield


@pytest.fixture(scope="session")
def shared_models() -> Path:
    """Folder of real models beside the checkout, with their sample inputs and outputs."""
    folder = Path(__file__).resolve().parents[1].parent / "shared" / "models"
    if not folder.is_dir():
        pytest.skip(f"needs the development models in {folder}")
    return folder


# ------------------------------------------------------------------- a small problem


@pytest.fixture(scope="session")
def tiny_network() -> Network:
    """Convolution, depthwise, 1x1 convolution, average pool, fully connected, softmax; seeded weights."""
    shapes = {
        "image": (16, 16, 3),
        "conv": (8, 8, 8),
        "depthwise": (8, 8, 8),
        "point": (8, 8, 16),
        "pool": (1, 1, 16),
        "dense": (1, 1, 10),
        "softmax": (1, 1, 10),
    }
    scale = {name: Quantization(0.05, 3) for name in shapes} | {"softmax": Quantization(1 / 256, -128)}
    kinds = {"depthwise": OpKind.DEPTHWISE, "pool": OpKind.AVERAGE_POOL, "softmax": OpKind.SOFTMAX}
    windows = {
        "conv": Window((3, 3), (2, 2), pads=(0, 0, 1, 1)),
        "depthwise": Window((3, 3), pads=(1, 1, 1, 1)),
        "pool": Window((8, 8), (8, 8)),
    }
    random, names = np.random.default_rng(7), list(shapes)
    ops = []
    for source, name in pairwise(names):
        kind, window, channels = kinds.get(name, OpKind.CONV), windows.get(name, Window()), shapes[name][2]
        sizes: tuple[int, ...] | None = None
        if kind is OpKind.DEPTHWISE:
            sizes = (*window.kernel, channels)
        elif kind is OpKind.CONV:
            sizes = (channels, *window.kernel, shapes[source][2])
        weights = bias = multiplier = None
        if sizes is not None:
            weights = random.integers(-127, 128, sizes).astype(np.int8)
            bias = random.integers(-999, 1000, channels).astype(np.int32)
            multiplier = random.uniform(0.001, 0.004, channels).astype(np.float32)
        groups = channels if kind is OpKind.DEPTHWISE else 1
        ops.append(Op(name, kind, (source,), name, window, groups, weights, bias, multiplier))
    tensors = {name: Tensor(name, *shapes[name], DType.INT8, scale[name]) for name in names}
    return Network("tiny", tensors, tuple(ops), ("image",), ("softmax",), digest="tiny-7")


@pytest.fixture(scope="session")
def tiny_target() -> Target:
    """A core with two banks of SRAM, and a card on a DMA channel of its own that moves 32 bytes at a time."""
    port = Port("sdio", "sd-4bit", 25_000_000, 12_000_000, 0.9, 0.8, 2_000)
    runtime = RuntimeCost("plain", 2.0, 3.0, 2.5, 8.0, 400.0)
    board = Board(
        name="tiny-board",
        title="A board for tests",
        core="Cortex-M4",
        cores=1,
        clock_hz=100_000_000,
        usable_bytes=65_536,
        banks=(Bank("high", 4_096), Bank("low", 6_144)),
        flash_bytes=None,
        dma_channels=4,
        overlaps_cpu=True,
        dma_setup_cycles=0.0,
        cpu_stall_cycles_per_byte=0.0,
        ports=(port,),
        runtimes=(runtime,),
        active_mw=100.0,
        io_wait_mw=40.0,
        sleep_mw=1.0,
    )
    card = Storage(
        name="tiny-card",
        kind="sd",
        capacity_bytes=1 << 20,
        volatile=False,
        read=StorageAccess(10_000_000, 3_000, 32),
        write=StorageAccess(5_000_000, 9_000, 32),
        erase=None,
        endurance=Endurance(3_000, "device", 4.0),
        read_nj_per_byte=6.0,
        write_nj_per_byte=12.0,
        erase_nj_per_byte=0.0,
        idle_mw=0.5,
        sleep_mw=0.1,
    )
    store = Store("card", port, card)
    return Target("tiny", "Tiny", board, runtime, store, store, {"board.cpu.clock_hz": "M"})


@pytest.fixture(scope="session")
def tiny_problem(tiny_network: Network, tiny_target: Target) -> Problem:
    """The small network on the small board; input and output on the card."""
    return Problem(tiny_network, tiny_target, 10_240, IoPlace.STORAGE)


@pytest.fixture(scope="session")
def tiny_selection() -> Selection:
    """Halo, channel planes, weights fetched twice, partial sums, a kept tensor: something of everything."""
    tilings = (
        Tiling(4, 8, 4, 3, hold_weights=True),
        Tiling(2, 8, 4, 8),
        Tiling(4, 8, 8, 4),
        Tiling(1, 1, 16, 16),
        Tiling(1, 1, 5, 16),
        Tiling(1, 1, 10, 10),
    )
    return Selection(tilings, frozenset({"point", "dense"}))


@pytest.fixture(scope="session")
def planned() -> Callable[[Problem, Selection, bool], Plan]:
    """Function that makes a right plan of a selection; the flag says whether tasks may overlap in time."""
    return _planned


def _planned(problem: Problem, selection: Selection, overlapping: bool) -> Plan:
    """First all tasks one after the other; then, if they may overlap, each as early as its waits allow."""
    graph = expand(problem, selection)
    ends = np.cumsum([task.duration_ns for task in graph.tasks]).tolist()
    schedule = Schedule((0, *ends[:-1]), _first_fit(problem, graph))
    streams = synchronize(graph, schedule)
    if overlapping:
        schedule = Schedule(earliest_times(graph, streams), schedule.address)
    return Plan(selection, graph, schedule, streams, figures_of(problem, graph, schedule), "test")


def _first_fit(problem: Problem, graph: TaskGraph) -> tuple[int, ...]:
    """Lowest address for each buffer while tasks run one by one; none across a wall."""
    last = {touch.buffer: task.index for task in graph.tasks for touch in (*task.reads, *task.writes)}
    first = {touch.buffer: task.index for task in graph.tasks[::-1] for touch in (*task.reads, *task.writes)}
    walls = np.cumsum([size for _, size in problem.banks]).tolist()
    address: list[int] = []
    for buffer in graph.buffers:
        pinned = [other.index for other in graph.buffers if buffer.pinned or other.pinned]
        others = [
            (address[other.index], address[other.index] + other.size_bytes)
            for other in graph.buffers[: buffer.index]
            if other.index in pinned
            or (first[other.index] <= last[buffer.index] and first[buffer.index] <= last[other.index])
        ]
        at = 0
        while any(low < at + buffer.size_bytes and at < high for low, high in others) or any(
            at < wall < at + buffer.size_bytes for wall in walls[:-1]
        ):
            at += problem.unit_bytes
        address.append(at)
    return tuple(address)


# ------------------------------------------------------------------------ something found


@pytest.fixture(scope="session")
def comparison() -> Comparison:
    """Every scheduler on a network that must spill: several layers, reads, writes, and a search."""
    return compare(load("zoo:ds_cnn"), target("f746-sd"), "12KiB", time_limit=1.5)
