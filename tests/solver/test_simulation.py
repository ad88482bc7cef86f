"""The simulation times selections almost as the real schedules do, many at once."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import BufferRole, RegionName, TaskKind
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.beam import COVERED, Course, State, Step
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.placement import buffer_uses
from ooc_solve.solver.profiles import (
    COMPUTE,
    LOAD_BYTES,
    LOAD_NS,
    LOAD_OPEN,
    LOAD_ROWS,
    LOADS,
    NEED,
    STORE_BYTES,
    STORE_NS,
    STORE_SEAL,
    Profile,
)
from ooc_solve.solver.search import evaluate
from ooc_solve.solver.simulation import Front, Profiled, StageTraffic, advance

Problems = Callable[..., SearchStrategy[Problem]]


def random_path(course: Course, choose: Callable[[Sequence[Any]], Any]) -> list[Step] | None:
    """Some way through all stages, None where it ends in a corner."""
    state: State = choose(course.starts())
    path = []
    stage = 0
    while stage < course.stages:
        allowed = range(len(course.options[stage]))
        steps = [s for n in course.spans[stage] for s in course.steps(stage, n, state, allowed)]
        if not steps:
            return None
        path.append(choose(steps))
        state, stage = path[-1].after, stage + path[-1].operators
    return path


def numbers(path: Sequence[Step]) -> list[int]:
    """The options of a path, operator by operator."""
    return [n for step in path for n in (step.option, *[COVERED] * (step.operators - 1))]


def begins(path: Sequence[Step]) -> list[int]:
    """First operators of the stages of a path."""
    return [sum(step.operators for step in path[:k]) for k in range(len(path))]


def simulated(course: Course, paths: Sequence[Sequence[Step]]) -> list[int]:
    """Makespan (ns) of every path; those with stages of the same operators are simulated together."""
    front = Front.start(course.profiles.channels).take(np.zeros(len(paths), np.int64))
    for k, stage in enumerate(begins(paths[0])):
        steps = [path[k] for path in paths]
        assert {step.operators for step in steps} == {steps[0].operators}
        room = np.array([step.room_bytes for step in steps], np.int64)
        profiled = Profiled([step.profile for step in steps])
        traffic = course.traffic(stage, steps[0].operators)
        front = advance(front, profiled, np.arange(len(paths)), room, traffic)
    return [int(end) for end in front.ends_ns(course.profiles.channel_of[RegionName.OUTPUT])]


@given(data=st.data())
@settings(max_examples=100, deadline=None)
def test_profiles_are_what_expansion_makes(data: st.DataObject, problems: Problems) -> None:
    """Kernels, transfers and tile buffers of every stage are those of the task graph, in order."""
    problem = data.draw(problems())
    course = Course(space_of(problem))
    path = random_path(course, lambda choices: data.draw(st.sampled_from(choices)))
    assume(path is not None)
    assert path is not None
    compare(problem, course, path)


@pytest.mark.parametrize(
    ("name", "target", "kib"),
    [
        ("mobilenet_v1_025_96", "f746-sd", 40),
        ("mobilenet_v1_025_96", "h747-qspi", 24),
        ("mobilenet_v1_025_96", "l4r5-sdspi", 40),
    ],
)
def test_profiles_of_fused_stages_are_what_expansion_makes(name: str, target: str, kib: int) -> None:
    """The same for real networks with fused stages wherever there are any."""
    problem = Problem(zoo_network(name), load_target(target), kib * 1024, IoPlace.STORAGE)
    course, rng = Course(space_of(problem)), random.Random(2)

    def fused(choices: Sequence[Any]) -> Any:
        wide = [c for c in choices if isinstance(c, Step) and c.operators > 1]
        return rng.choice(wide or choices)

    found = 0
    for _ in range(30):
        path = random_path(course, fused)
        if path is not None and any(step.operators > 1 for step in path):
            compare(problem, course, path)
            found += 1
    assert found >= 3


def compare(problem: Problem, course: Course, path: Sequence[Step]) -> None:
    """Compare the profiles of a path with the task graph that it means."""
    try:
        graph = expand(problem, course.selection(numbers(path)))
    except SelectionError:
        return
    uses, kernel = buffer_uses(graph), 0
    tiles = [b for b in graph.buffers if b.role is not BufferRole.TENSOR]
    for stage, step in zip(begins(path), path, strict=True):
        table = step.profile.table
        tasks = [t for t in graph.tasks if stage <= t.stage < stage + step.operators]
        if course.profiles.overlaps:
            compute = [t.duration_ns for t in tasks if t.kind is TaskKind.COMPUTE]
            assert table[COMPUTE].tolist() == compute
            stores = [t.duration_ns for t in tasks if t.kind is TaskKind.STORE]
            assert table[STORE_NS][table[STORE_NS] > 0].tolist() == stores
            loads = sorted(t.duration_ns for t in tasks if t.kind is TaskKind.LOAD)
            rows = table[LOADS + LOAD_NS :: LOAD_ROWS]
            kept = [
                t.duration_ns
                for t in graph.tasks
                if t.stage < 0 and uses[t.writes[0].buffer].first in range(kernel, kernel + len(compute))
            ]
            assert sorted(rows[rows > 0].tolist()) == sorted(loads + kept)
            opened = table[LOADS + LOAD_OPEN :: LOAD_ROWS]
            crypto = [opened[opened > 0].tolist(), table[STORE_SEAL][table[STORE_SEAL] > 0].tolist()]
            for found, kind in zip(crypto, (TaskKind.DECRYPT, TaskKind.ENCRYPT), strict=True):
                own = [t.duration_ns for t in tasks if t.kind is kind]
                assert sorted(found) == sorted(own)
            held = [
                sum(b.size_bytes for b in tiles if uses[b.index].first <= k <= uses[b.index].last)
                for k in range(kernel, kernel + len(compute))
            ]
            size = {b.label: b.size_bytes for b in graph.buffers if b.role is BufferRole.TENSOR}
            absent = size.get(
                course.output(stage, step.operators), 0
            )  # a kept output comes with its first bytes
            if course.options[stage][step.option].tiling.in_place:  # its bytes are there, with another tensor
                output = course.network.tensors[course.output(stage, step.operators)]
                absent = problem.buffer_bytes(output.size_bytes)
                held[-1] -= absent
            for need, bytes_ in zip(table[NEED, :-1].tolist(), held, strict=False):
                assert need in (bytes_, bytes_ - absent)
            assert table[NEED, -1] == held[-1]
            kernel += len(compute)
        else:
            assert table[COMPUTE].tolist() == [sum(t.duration_ns for t in tasks)] or stage == 0


@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_plans_do_not_disturb_each_other(data: st.DataObject, problems: Problems) -> None:
    """Plans that are simulated together take as long as each of them alone."""
    course = Course(space_of(data.draw(problems())))
    paths = [random_path(course, lambda choices: data.draw(st.sampled_from(choices))) for _ in range(4)]
    made = [path for path in paths if path is not None]
    found = [path for path in made if begins(path) == begins(made[0])]
    assume(len(found) > 1)
    assert simulated(course, found) == [simulated(course, [path])[0] for path in found]


@given(data=st.data())
@settings(max_examples=60, deadline=None)
def test_no_resource_is_faster_than_its_work(data: st.DataObject, problems: Problems) -> None:
    """A plan takes at least its compute time, and without DMA exactly its compute and transfers."""
    course = Course(space_of(data.draw(problems())))
    path = random_path(course, lambda choices: data.draw(st.sampled_from(choices)))
    assume(path is not None)
    assert path is not None
    compute, moved = sum(s.profile.compute_ns for s in path), sum(s.profile.io_ns for s in path)
    makespan = simulated(course, [path])[0]
    if course.profiles.overlaps:
        tables = [step.profile.table for step in path]
        engine = sum(int(t[LOADS + LOAD_OPEN :: LOAD_ROWS].sum() + t[STORE_SEAL].sum()) for t in tables)
        assert max(compute, moved // course.profiles.channels) <= makespan <= compute + moved + engine
    else:
        assert makespan == compute + moved


@pytest.mark.parametrize(
    ("name", "target", "kib", "apart"),
    [
        ("ds_cnn", "f746-sd", 128, 0.02),
        ("resnet8", "f746-sd", 256, 0.02),
        ("autoencoder", "l4r5-sdspi", 16, 0.02),
        ("resnet8", "f746-sd", 20, 0.08),
    ],
)
def test_near_to_real_schedules(name: str, target: str, kib: int, apart: float) -> None:
    """Simulated makespans are near to those of real schedules, the nearer the more SRAM there is."""
    problem = Problem(zoo_network(name), load_target(target), kib * 1024, IoPlace.STORAGE)
    course = Course(space_of(problem))
    outcomes = []
    rng = np.random.default_rng(1)

    def cheap(choices: Sequence[Any]) -> Any:
        if not isinstance(choices[0], Step):
            return choices[0]
        return min(choices, key=lambda s: (s.profile.compute_ns + s.profile.io_ns) * rng.uniform(1, 1.3))

    for _ in range(24):
        path = random_path(course, cheap)
        real = path and evaluate(problem, course.selection(numbers(path)))
        if path and real:
            outcomes.append(simulated(course, [path])[0] / real.score[1] - 1)
    assert len(outcomes) >= 4
    assert float(np.median(np.abs(outcomes))) <= apart


def test_loads_get_the_bytes_of_tiles_that_are_stored_beside_a_kernel() -> None:
    """A load that fits once a tile is stored waits for that, and not until the kernel beside it ends."""
    weights = LOADS + LOAD_ROWS
    table = np.zeros((weights + LOAD_ROWS, 3), np.int64)
    table[COMPUTE], table[NEED] = (10, 100, 10), (60, 20, 50)
    table[STORE_BYTES, 0], table[STORE_NS, 0] = 40, 10
    table[weights + LOAD_BYTES], table[weights + LOAD_NS] = (20, 20, 50), (5, 5, 30)
    profile = Profile(table, 60, 120, 50, (0,), (0,))
    traffic = StageTraffic(operands=(0, 0), stores=0, inputs=(0,), output=1)
    front = advance(Front.start(1), Profiled([profile]), np.zeros(1, np.int64), np.array([100]), traffic)
    # kernels from 5, 15 and 115 ns on, the tile stored from 15 to 25, the last load from then to 55
    assert front.ends_ns(0).tolist() == [125]
