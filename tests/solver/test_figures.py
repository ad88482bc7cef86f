"""Figures of schedules against sums worked out by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from ooc_solve.models.energy import Traffic
from ooc_solve.models.footprint import count_table_bytes
from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.vocabulary import (
    Buffer,
    BufferRole,
    Endurance,
    Erase,
    Footprint,
    Plan,
    Region,
    RegionName,
    Schedule,
    Selection,
    Store,
    Target,
    Task,
    TaskGraph,
    TaskKind,
    Touch,
    Transfer,
)
from ooc_solve.solver.figures import figures_of, hottest_programs, traffic_of


@pytest.fixture
def graph() -> TaskGraph:
    """Load 64 bytes in 10 ns, compute for 20 ns, store 32 bytes in 5 ns."""
    load = Transfer(RegionName.IMAGE, 64, 64)
    store = Transfer(RegionName.OUTPUT, 0, 32)
    first, second = Touch(0, Footprint(0, 64)), Touch(1, Footprint(0, 32))
    return TaskGraph(
        tasks=(
            Task(0, TaskKind.LOAD, "sdio", 10, 0, -1, (), (first,), (), load),
            Task(1, TaskKind.COMPUTE, "cpu", 20, 0, 0, (first,), (second,), (0,)),
            Task(2, TaskKind.STORE, "sdio", 5, 0, -1, (second,), (), (1,), store),
        ),
        buffers=(
            Buffer(0, BufferRole.WEIGHTS, 0, "weights", 64),
            Buffer(1, BufferRole.OUTPUT, 0, "output", 32),
        ),
        resources=("cpu", "sdio"),
        regions=(
            Region(RegionName.IMAGE, 0, 128),
            Region(RegionName.INPUT, 0, 0),
            Region(RegionName.OUTPUT, 0, 32),
            Region(RegionName.SCRATCH, 0, 0),
        ),
    )


SERIAL = Schedule((0, 10, 30), (32, 0))


def test_times_and_bytes(tiny_problem: Problem, graph: TaskGraph) -> None:
    """Latency is the last end, compute and io times are sums, bytes are those of the transfers."""
    figures = figures_of(tiny_problem, graph, SERIAL)
    assert (figures.latency_ns, figures.compute_ns, figures.io_ns) == (35, 20, 15)
    assert (figures.bytes_read, figures.bytes_written) == (64, 32)
    assert traffic_of(tiny_problem, graph) == (Traffic(64, 32, 1, 1),)


def test_latency_is_the_last_end_not_the_last_start(tiny_problem: Problem, graph: TaskGraph) -> None:
    """A long task that starts early may end last."""
    assert figures_of(tiny_problem, graph, Schedule((0, 10, 24), (32, 0))).latency_ns == 30


def test_sram_peak_is_the_highest_end_and_the_reserve(tiny_problem: Problem, graph: TaskGraph) -> None:
    """The buffer at 32 of 64 bytes ends at 96, above the other one."""
    assert figures_of(tiny_problem, graph, SERIAL).sram_peak_bytes == 96 + RESERVED_BYTES


def test_energy(tiny_problem: Problem, graph: TaskGraph) -> None:
    """100 mW x 20 ns + 40 mW x 15 ns + 0.5 mW x 35 ns = 2617.5 pJ; 64 B x 6 nJ + 32 B x 12 nJ = 768 nJ."""
    assert figures_of(tiny_problem, graph, SERIAL).energy_nj == 771


def test_waiting_costs_energy(tiny_problem: Problem, graph: TaskGraph) -> None:
    """A millisecond of waiting costs 40 mW of the board and 0.5 mW of the card: 40 500 nJ."""
    late = Schedule((0, 10, 1_000_030), (32, 0))
    assert figures_of(tiny_problem, graph, late).energy_nj == 41_271


def test_table_bytes(tiny_problem: Problem, graph: TaskGraph) -> None:
    """Table bytes are those that the tables are counted to have."""
    assert figures_of(tiny_problem, graph, SERIAL).table_bytes == count_table_bytes(tiny_problem, graph)


def test_lifetime(tiny_problem: Problem, graph: TaskGraph) -> None:
    """1 MiB x 3000 cycles survive 32 B x 4 per inference 24 576 000 times: 67.3 years at 1000 a day."""
    years = figures_of(tiny_problem, graph, SERIAL).lifetime_years
    assert years == pytest.approx(24_576_000 / 1000 / 365.25)
    assert figures_of(tiny_problem, graph, SERIAL, 1000).lifetime_years == years
    assert figures_of(tiny_problem, graph, SERIAL, 500).lifetime_years == pytest.approx(2 * (years or 0.0))


def test_lifetime_at_the_rate_of_the_problem(tiny_problem: Problem, graph: TaskGraph) -> None:
    """Half as many inferences a day make the storage last twice as long."""
    years = figures_of(tiny_problem, graph, SERIAL).lifetime_years
    rarely = replace(tiny_problem, inferences_per_day=500.0)
    assert figures_of(rarely, graph, SERIAL).lifetime_years == pytest.approx(2 * (years or 0.0))


def test_hottest_block(tiny_problem: Problem, tiny_target: Target, graph: TaskGraph) -> None:
    """Bare flash: the block that two of three requests touch decides, whatever the bytes."""
    part = replace(
        tiny_target.weights.storage,
        erase=Erase(True, 32, 0, 0),
        endurance=Endurance(10_000, "block", 1.0),
    )
    store = replace(tiny_target.weights, storage=part)
    problem = replace(tiny_problem, target=replace(tiny_target, weights=store, activations=store))
    spread = replace(graph.tasks[2], transfer=Transfer(RegionName.OUTPUT, 0, 16, 3, 24))  # at 0, 24 and 48
    several = replace(graph, tasks=(*graph.tasks[:2], spread))
    assert hottest_programs(problem, several) == 2
    assert hottest_programs(tiny_problem, several) == 0
    years = figures_of(problem, several, SERIAL).lifetime_years
    assert years == pytest.approx(10_000 / 2 / 1000 / 365.25)


def test_no_lifetime_without_wear(tiny_problem: Problem, tiny_target: Target, graph: TaskGraph) -> None:
    """A part that does not wear lasts for ever, whatever is written."""
    store = replace(tiny_target.weights, storage=replace(tiny_target.weights.storage, endurance=None))
    problem = replace(tiny_problem, target=replace(tiny_target, weights=store, activations=store))
    assert figures_of(problem, graph, SERIAL).lifetime_years is None


def test_reading_does_not_wear(
    tiny_problem: Problem,
    tiny_selection: Selection,
    planned: Callable[[Problem, Selection, bool], Plan],
) -> None:
    """With everything kept in SRAM nothing is written, so the part lasts for ever."""
    problem = replace(tiny_problem, io=IoPlace.SRAM)
    tensors = frozenset(problem.network.tensors)
    figures = planned(problem, replace(tiny_selection, kept=tensors), False).figures
    assert figures.bytes_written == 0
    assert figures.lifetime_years is None


def test_traffic_counts_for_the_store_that_moves_it(
    tiny_problem: Problem, tiny_target: Target, graph: TaskGraph
) -> None:
    """Weights from one part and activations to another: energy and wear follow the bytes."""
    card = tiny_target.weights
    ram = Store(
        "ram", replace(card.port, name="quad"), replace(card.storage, name="ram", write_nj_per_byte=1.0)
    )
    problem = replace(tiny_problem, target=replace(tiny_target, activations=ram))
    assert traffic_of(problem, graph) == (Traffic(read_bytes=64, reads=1), Traffic(0, 32, 0, 1))
    # 2635 pJ with a second part idling at 0.5 mW, 64 B x 6 nJ, 32 B x 1 nJ
    assert figures_of(problem, graph, SERIAL).energy_nj == 384 + 32 + 3


def test_kernels_longer_than_the_makespan_are_refused(tiny_problem: Problem, graph: TaskGraph) -> None:
    """Kernels that run at the same time on one core have no energy; the caller is told."""
    twice = replace(graph, tasks=(*graph.tasks, replace(graph.tasks[1], index=3)))
    with pytest.raises(ValueError, match="within the makespan"):
        figures_of(tiny_problem, twice, Schedule((0, 0, 0, 0), (32, 0)))
