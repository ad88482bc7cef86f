"""The least work of the busiest resource: never above that of any selection, and found by trying all of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from ooc_solve.api import problem_of, target
from ooc_solve.models.frames import in_flight
from ooc_solve.models.pipelines import cuts, pipelined
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import Budget, Network, Quantization, TaskKind
from ooc_solve.models.zoo import zoo_network
from ooc_solve.models.zoo_builder import Sketch, materialise
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.heuristics import space_of
from ooc_solve.solver.objective import value
from ooc_solve.solver.options import KEPT
from ooc_solve.solver.ruled_plans import HEURISTICS
from ooc_solve.solver.workload import SCALE, Workload, least_period


def two_layers() -> Network:
    """A convolution and a layer that needs more weights."""
    sketch = Sketch("two_layers", (6, 6, 4), Quantization(0.05, 0))
    sketch.conv(8, 3)
    sketch.dense(40)
    return materialise(sketch.blueprint())


def problem(kib: float = 6) -> Problem:
    """Those two on a board with little SRAM."""
    return problem_of(two_layers(), target("f746-sd"), int(kib * 1024))


def all_works(here: Problem) -> list[tuple[int, ...]]:
    """Work of the CPU and of the channel, for each pair of options that fit together and into the arena."""
    space, (first, second) = space_of(here), here.network.ops
    load = Workload(space)
    middle = here.buffer_bytes(here.network.tensors[first.output].size_bytes)
    found: list[tuple[int, ...]] = []
    for where in space.residences[here.network.inputs[0]]:
        given = load.whole[here.network.inputs[0]].ns if where == KEPT else 0
        given_bytes = load.lives.size[here.network.inputs[0]] if where == KEPT else 0
        for a, b in product(*space.options):
            kept = middle if a.output == KEPT else 0
            ends = b.output == KEPT
            last = load.lives.size[second.output] if ends else 0
            fits = a.need_bytes + given_bytes + kept <= here.arena_bytes
            fits = fits and b.need_bytes + kept + last <= here.arena_bytes
            if fits and a.operators == b.operators == 1 and a.inputs == (where,) and b.inputs == (a.output,):
                io = a.total_io_ns + b.total_io_ns + given
                io += load.whole[second.output].ns if ends else 0
                found.append((a.compute_ns + b.compute_ns, io))
    return found


@pytest.mark.parametrize("kib", [3, 4, 6, 12])
def test_no_selection_has_less_to_do(kib: float) -> None:
    """Trying all options of two stages finds the same least sum for any weights, and nothing below the bound."""
    here = problem(kib)
    space = space_of(here)
    single = replace(space, options=tuple(tuple(o for o in own if o.operators == 1) for own in space.options))
    load, works = Workload(single), all_works(here)
    assert works
    for weight in (0, SCALE // 3, SCALE // 2, SCALE):
        way = load.best((SCALE - weight, weight))
        assert way is not None
        assert way.weighted == min(cpu * (SCALE - weight) + io * weight for cpu, io in works)
        assert tuple(way.work_ns) in works
    bound = least_period(single)
    assert bound is not None
    assert bound <= min(map(max, works))


@pytest.mark.parametrize("objective", ["latency", "energy"])
@pytest.mark.parametrize(("name", "kib", "frames"), [("autoencoder", 24, 2), ("ds_cnn", 32, 1)])
def test_no_plan_is_below(name: str, kib: int, frames: int, objective: str) -> None:
    """Runs that follow one another cost no less than what is proven for all runs, in time and in energy."""
    base = problem_of(zoo_network(name), target("f746-sd"), kib * 1024, objective=objective)
    run = replace(base, network=in_flight(base.network, frames))
    bound = least_period(space_of(run))
    assert bound is not None
    for rule in HEURISTICS.values():
        plan = rule(run, Budget(1.0, 1, 1)).plan
        assert plan is None or 2 * bound > value(run.objective, plan.figures) >= bound


def test_ways_count_the_work_of_their_tasks() -> None:
    """What a way says that resources do is at most what the tasks of its selection take, and nearly that."""
    base = problem_of(zoo_network("autoencoder"), target("f746-sd"), 24 * 1024)
    here = replace(base, network=pipelined(base.network, cuts(base.network, base.network)[4]))
    load = Workload(space_of(here))
    way = load.balanced()
    assert way is not None
    graph = expand(here, way.selection)
    for resource, work in zip(load.resources, way.work_ns, strict=True):
        takes = sum(task.duration_ns for task in graph.tasks if task.resource == resource)
        assert 0.98 * takes <= work <= takes
    assert any(task.kind is TaskKind.LOAD for task in graph.tasks)
