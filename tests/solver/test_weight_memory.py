"""Weights loaded into an NPU's own memory within a run: bounds that hold, schedules that keep the rules, a judge that
notices when one does not, and what people are told.
"""

from __future__ import annotations

import json
import random
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO
from itertools import islice

import pytest
from rich.console import Console

from ooc_solve.models.npu import is_crowded, ways
from ooc_solve.models.plan_json import dump_plan, parse_plan
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget, Buffer, Plan, TaskKind
from ooc_solve.models.zoo import zoo_network
from ooc_solve.npu_use import holdings, sentences
from ooc_solve.report import report, show_weight_memory
from ooc_solve.solver.budgets import priced
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.heuristics import finish
from ooc_solve.solver.instances import (
    broken_rules,
    dump_instance,
    graph_of,
    instance_of,
    parse_instance,
    problem_of,
)
from ooc_solve.solver.listing import makespan_ns, settle
from ooc_solve.solver.options import Option
from ooc_solve.solver.relaxation import Relaxation, latency_bound
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space, least_compute_ns
from ooc_solve.solver.solve import SCHEDULERS
from ooc_solve.solver.thrift import NS_PER_UNIT, Holdings
from ooc_solve.solver.tolls import Prices
from ooc_solve.solver.units import meetings_of
from ooc_solve.solver.validate import Rule, validate
from ooc_solve.solver.weaving import Policy, weave
from ooc_solve.trace import trace_of
from tests.solver.test_relaxation import check_samples, choices, optimum_ns, random_problem, selection_of
from tests.solver.test_units import branched_problem, few_options, kept_space, schedules


def crowded(problem: Problem, rng: random.Random) -> Problem | None:
    """The problem with a weight memory for some of its weights, None if it has no NPU that needs any."""
    npu = problem.target.npu
    if npu is None:
        return None
    wide = replace(problem.target, npu=replace(npu, weight_mem_bytes=1 << 20))
    wanted = [op.weight_bytes for op in problem.network.ops if ways(wide, problem.network, op)]
    if sum(wanted) < 64:
        return None
    most = rng.randint(min(size for size in wanted if size) // 2, sum(wanted) - 1)
    board = replace(problem.target.board, overlaps_cpu=rng.random() < 0.85)
    small = replace(npu, weight_mem_bytes=most, weight_bytes_per_s=None)
    return replace(problem, target=replace(problem.target, npu=small, board=board))


def crowded_problems(seeds: range) -> Iterator[tuple[int, Problem]]:
    """Chains and branched networks on targets whose weight memory is too small."""
    for seed in seeds:
        rng = random.Random(seed)
        plain = branched_problem(seed, 4) if seed % 2 else random_problem(seed, 4, 4, 12)
        problem = crowded(plain, rng)
        if problem is not None and is_crowded(problem.target, problem.network):
            yield seed, problem


def loads(chosen: tuple[Option, ...]) -> bool:
    """Whether a selection loads weights for the NPU."""
    return any(tiling.npu_loads for option in chosen for tiling in option.tilings)


def loading_space(problem: Problem) -> Space:
    """A space in which all tensors stay, where possible only with weights that are loaded for the NPU."""
    space = kept_space(build_space(problem))
    some = (tuple(o for o in own if o.tiling.npu_loads) or own for own in space.options)
    return replace(space, options=tuple(some))


# ----------------------------------------------------------------------------- bounds


def check_bounds(seeds: range, many: int) -> Counter[str]:
    """No bound of single selections is above their optimum."""
    seen = Counter[str]()
    for seed, problem in crowded_problems(seeds):
        seen += check_samples(loading_space(problem), seed, many)
        seen["branched"] += not meetings_of(problem.target, problem.network).apart
    return seen


def check_spaces(seeds: range, most: int) -> Counter[str]:
    """No bound of a whole space is above the best of all its selections, and it has what the memory allows."""
    seen = Counter[str]()
    for seed, problem in crowded_problems(seeds):
        space = few_options(kept_space(build_space(problem)), seed)
        every = list(islice(choices(space, random.Random(seed)), most + 1)) if all(space.options) else []
        if not 0 < len(every) <= most:
            continue
        for chosen in every:
            resident = sum(option.resident_bytes for option in chosen)
            loaded = max(option.loaded_bytes for option in chosen)
            fits = resident + loaded <= problem.weight_memory_bytes
            assert fits or optimum_ns(problem, chosen) is None, f"seed {seed}"
        values = {chosen: optimum_ns(problem, chosen) for chosen in every}
        known = {chosen: value for chosen, value in values.items() if value is not None}
        if not known or -1 in known.values():
            continue
        best = min(known.values())
        selected = SelectionModel(space).solve(Aim.MAKESPAN_BOUND, Budget(5.0, 1, 1))
        assert selected.bound <= best, f"seed {seed}: selection model {selected.bound} > {best}"
        assert (least_compute_ns(space) or 0) <= best, f"seed {seed}: compute"
        bound = latency_bound(problem, spaces=(space,)).value_ns
        assert bound <= best, f"seed {seed}: relaxation {bound} > {best}"
        for relaxation in (priced(problem, [space]), Relaxation(problem, [space], prices=Prices(resident=9))):
            assert relaxation.bound <= best, f"seed {seed}: with a price {relaxation.bound} > {best}"
            assert not relaxation.excludes(best + 1), f"seed {seed}"
        seen["tight" if bound == best else "near" if bound > 0.9 * best else "far"] += 1
        seen["loads"] += any(loads(chosen) for chosen, value in known.items() if value == best)
    return seen


def test_no_selection_beats_its_bound() -> None:
    """The relaxation of single selections that load weights for the NPU never exceeds their optimum."""
    seen = check_bounds(range(50), 2)
    assert seen["tight"] > 5
    assert seen["branched"] > 1


def test_no_selection_of_a_space_beats_its_bound() -> None:
    """Nor do the bounds over spaces with every way to divide the memory, whatever a resident byte costs."""
    seen = check_spaces(range(64), 60)
    assert seen["tight"] + seen["near"] + seen["far"] > 12
    assert seen["loads"] > 3


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_no_bound_is_beaten_often(block: int) -> None:
    """The same over hundreds of networks."""
    seeds = range(20_000 + 250 * block, 20_250 + 250 * block)
    seen = check_bounds(seeds, 6) + check_spaces(seeds, 120)
    assert seen["tight"] > 50
    assert seen["loads"] > 10


def test_a_path_is_above_zero_where_it_holds_more_than_there_is() -> None:
    """Resident weights add up, those loaded for a stage count beside all that are resident before it and behind."""
    problem = Problem(zoo_network("resnet8"), small_target(), 256 << 10, IoPlace.SRAM)
    options = {
        (o.resident_bytes, o.loaded_bytes): o for own in kept_space(build_space(problem)).options for o in own
    }
    both = [options[key] for key in sorted(options) if any(key)]
    rng, most = random.Random(1), problem.weight_memory_bytes
    counter = Holdings(most)
    seen = Counter[bool]()
    for _ in range(200):
        path = rng.choices(both, k=rng.randint(2, 24))
        vector = counter.start_ns
        for option in path:
            rows = counter.of(0, option)
            vector = tuple(max(a + b for a, b in zip(row, vector, strict=True)) for row in rows)  # type: ignore[assignment]
        needed = sum(o.resident_bytes for o in path) + max(o.loaded_bytes for o in path)
        assert (max(vector) > 0) == (needed > most)
        assert all(entry % NS_PER_UNIT == 0 for entry in vector)
        seen[needed > most] += 1
    assert min(seen[True], seen[False]) > 20


# -------------------------------------------------------------------------- schedules


def check_schedules(seeds: range) -> Counter[str]:
    """Validate whatever is made of selections that load weights, before and after it is settled."""
    seen = Counter[str]()
    for seed, problem in crowded_problems(seeds):
        space = loading_space(problem)
        found = islice(choices(space, random.Random(seed)), 30) if all(space.options) else ()
        for chosen in islice(filter(loads, found), 2):
            selection = selection_of(problem, chosen)
            try:
                graph = expand(problem, selection)
            except SelectionError:
                seen["too large"] += 1
                continue
            seen["waits"] += any(task.after for task in graph.tasks if task.kind is TaskKind.LOAD)
            for schedule in schedules(problem, graph):
                plan = finish(problem, selection, graph, schedule, "made")
                assert not validate(problem, plan), f"seed {seed}: {validate(problem, plan)[0]}"
                tidy = settle(graph, schedule.start_ns, schedule.address)
                assert not validate(problem, finish(problem, selection, graph, tidy, "settled"))
                assert makespan_ns(graph, tidy.start_ns) <= makespan_ns(graph, schedule.start_ns)
                seen["valid"] += 1
    return seen


def test_every_schedule_keeps_the_rules() -> None:
    """What any maker of schedules makes of loads for the NPU is valid, also where they wait for bytes of others."""
    seen = check_schedules(range(16))
    assert seen["valid"] > 30
    assert seen["waits"] > 3


@pytest.mark.slow
def test_every_schedule_keeps_the_rules_often() -> None:
    """The same over hundreds of networks."""
    assert check_schedules(range(3000, 3400))["valid"] > 500


# ------------------------------------------------------------------------------ plans


def small_target(most: int = 40_000):  # type: ignore[no-untyped-def]
    """The MAX78000 with less memory for weights."""
    target = load_target("max78000-cnn")
    assert target.npu is not None
    return replace(target, npu=replace(target.npu, weight_mem_bytes=most))


@pytest.fixture(scope="module")
def planned() -> tuple[Problem, Plan]:
    """ResNet-8 with a weight memory for half of its weights."""
    problem = Problem(zoo_network("resnet8"), small_target(), 256 << 10, IoPlace.SRAM)
    plan = SCHEDULERS["demand-layering"](problem, Budget()).plan
    assert plan is not None
    return problem, plan


def held_buffers(plan: Plan) -> list[Buffer]:
    """Buffers in the weight memory."""
    return [buffer for buffer in plan.graph.buffers if buffer.held is not None]


def test_loading_is_faster_than_the_cpu(planned: tuple[Problem, Plan]) -> None:
    """All that can run there does, and no plan without loads within the run comes near it."""
    problem, plan = planned
    assert not validate(problem, plan)
    tilings = plan.selection.tilings
    assert sum(tiling.npu for tiling in tilings) == 14
    assert sum(tiling.npu_loads for tiling in tilings) > 1
    space = build_space(problem)
    without = (tuple(o for o in own if not o.tiling.npu_loads) for own in space.options)
    model = SelectionModel(replace(space, options=tuple(without)))
    assert model.solve(Aim.MAKESPAN_BOUND, Budget(5.0, 1, 1)).bound > 20 * plan.figures.latency_ns


def test_later_weights_take_the_bytes_of_earlier_ones(planned: tuple[Problem, Plan]) -> None:
    """More is loaded than there is room for at once, each piece beside the resident weights."""
    problem, plan = planned
    told = holdings(problem, plan)
    resident = sum(one.size_bytes for one in told if one.loaded_ns is None)
    loaded = [one for one in told if one.loaded_ns is not None]
    assert sum(one.size_bytes for one in loaded) > problem.weight_memory_bytes - resident
    assert all(resident <= one.first_byte < one.end_byte <= problem.weight_memory_bytes for one in loaded)
    assert all(one.from_ns < one.loaded_ns < one.to_ns for one in loaded if one.loaded_ns)
    for first, one in enumerate(loaded):
        for other in loaded[first + 1 :]:
            apart = one.end_byte <= other.first_byte or other.end_byte <= one.first_byte
            assert apart or one.to_ns <= other.from_ns or other.to_ns <= one.from_ns


def test_a_plan_file_keeps_them(planned: tuple[Problem, Plan]) -> None:
    """What is loaded where is read as it was written."""
    problem, plan = planned
    assert parse_plan(problem, dump_plan(problem, plan), "file") == plan


def test_an_instance_file_keeps_them(planned: tuple[Problem, Plan]) -> None:
    """They take no SRAM there; the plan's schedule is right, and so is one that our solver makes of the file."""
    problem, plan = planned
    instance = parse_instance(dump_instance(instance_of(problem, plan, "resnet8")), "file")
    assert broken_rules(instance, plan.schedule) == ()
    here, graph = problem_of(instance), graph_of(instance)
    schedule = weave(here, graph, Policy(32, 1, False))
    assert schedule is not None
    assert broken_rules(instance, schedule) == ()


def with_held(plan: Plan, number: int, held: tuple[int, int]) -> Plan:
    """The plan with a record elsewhere in the weight memory."""
    buffers = [*plan.graph.buffers]
    buffers[number] = replace(buffers[number], held=held)
    return replace(plan, graph=replace(plan.graph, buffers=tuple(buffers)))


def rules_broken(problem: Problem, plan: Plan) -> set[Rule]:
    """Which rules a plan violates."""
    return {violation.rule for violation in validate(problem, plan)}


def test_the_judge_knows_the_memory(planned: tuple[Problem, Plan]) -> None:
    """Records over resident weights, beyond the end or over each other are reported, with the bytes."""
    problem, plan = planned
    first, *_, last = held_buffers(plan)
    assert first.held is not None
    size = first.held[1] - first.held[0]
    over = validate(problem, with_held(plan, first.index, (0, size)))
    assert Rule.NPU in {violation.rule for violation in over}
    assert last.held is not None
    end = problem.weight_memory_bytes
    beyond = with_held(plan, last.index, (end + 8 - (last.held[1] - last.held[0]), end + 8))
    (found,) = (v for v in validate(problem, beyond) if v.rule is Rule.NPU)
    assert found.bytes == 8
    assert "between the" in found.message
    starts = [0] * len(plan.schedule.start_ns)
    at_once = replace(plan, schedule=replace(plan.schedule, start_ns=tuple(starts)))
    messages = [v.message for v in validate(problem, at_once) if v.rule is Rule.OVERLAP]
    assert any("of the NPU's memory on" in message for message in messages)


def test_the_judge_knows_what_is_loaded(planned: tuple[Problem, Plan]) -> None:
    """A kernel before its load has ended, and a load whose bytes go elsewhere, are reported."""
    problem, plan = planned
    kernel = next(
        task
        for task in plan.graph.compute_tasks
        if task.operands[2] >= 0 and plan.graph.buffers[task.operands[2]].held
    )
    load = next(task for task in plan.graph.tasks if task.index in kernel.after and task.moved)
    starts = [*plan.schedule.start_ns]
    starts[load.index] = starts[kernel.index]
    late = replace(plan, schedule=replace(plan.schedule, start_ns=tuple(starts)))
    assert {Rule.PRECEDENCE, Rule.UNWRITTEN} <= rules_broken(problem, late)
    tasks = [*plan.graph.tasks]
    other = next(b for b in plan.graph.buffers if b.held is None)
    touch = replace(load.writes[0], buffer=other.index)
    tasks[load.index] = replace(load, writes=(touch,))
    astray = replace(plan, graph=replace(plan.graph, tasks=tuple(tasks)))
    assert {Rule.NPU, Rule.COVERAGE} <= rules_broken(problem, astray)


def test_streams_alone_keep_the_order(planned: tuple[Problem, Plan]) -> None:
    """A load that no longer waits for the kernel whose weights it replaces is a race."""
    problem, plan = planned
    waiting = next(t for t in plan.graph.tasks if t.kind is TaskKind.LOAD and t.after)
    required = [*plan.streams.required]
    own = plan.graph.resources.index(waiting.resource)
    for number in plan.streams.order[own]:
        required[number] = tuple(need if r == own else 0 for r, need in enumerate(required[number]))
    loose = replace(plan, streams=replace(plan.streams, required=tuple(required)))
    assert Rule.STREAMS in rules_broken(problem, loose)


def test_only_parts_that_are_offered_are_loaded(planned: tuple[Problem, Plan]) -> None:
    """Tiles of rows, more than the memory holds beside resident weights, and loads on the CPU are no selections."""
    problem, plan = planned
    tilings = plan.selection.tilings
    at, loaded = next((k, t) for k, t in enumerate(tilings) if t.npu_loads)

    def changed(tiling: object) -> None:
        expand(problem, replace(plan.selection, tilings=(*tilings[:at], tiling, *tilings[at + 1 :])))  # type: ignore[arg-type]

    with pytest.raises(SelectionError, match="cannot run on an NPU"):
        changed(replace(loaded, rows=loaded.rows // 2))
    target = small_target(39_000)
    resident = SCHEDULERS["demand-layering"](replace(problem, target=small_target()), Budget()).plan
    assert resident is not None
    with pytest.raises(SelectionError, match=r"cannot be loaded for the NPU|the weight memory of"):
        expand(replace(problem, target=target), plan.selection)
    with pytest.raises(ValueError, match="only an operator on an NPU"):
        replace(loaded, npu=False)


def test_nothing_is_loaded_where_all_weights_are_resident() -> None:
    """The memory of the board holds all of ResNet-8: no option loads, none counts bytes of it."""
    problem = Problem(zoo_network("resnet8"), load_target("max78000-cnn"), 256 << 10, IoPlace.SRAM)
    options = [option for own in build_space(problem).options for option in own]
    assert any(option.tiling.npu for option in options)
    assert not any(tiling.npu_loads for option in options for tiling in option.tilings)
    assert not any(option.resident_bytes or option.loaded_bytes for option in options)


def test_people_and_programs_are_told(planned: tuple[Problem, Plan]) -> None:
    """What is loaded into the weight memory, and when: a sentence, a table, the JSON report, the trace."""
    problem, plan = planned
    loaded = [one for one in holdings(problem, plan) if one.loaded_ns is not None]
    (sentence,) = sentences(problem, plan)
    assert f"KiB of {len({one.layer for one in loaded})} operators are loaded there" in sentence
    assert f"in {len(loaded)} pieces" in sentence
    out = StringIO()
    show_weight_memory(Console(file=out, width=100), problem, plan)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith("loaded into the weight memory of the NPU")
    assert [line.split()[0] for line in lines[2:] if line.strip()] == [one.layer for one in loaded]
    result = SCHEDULERS["demand-layering"](problem, Budget())
    told = json.loads(json.dumps(report(problem, [result])))["weight_memory"]
    assert {one["layer"] for one in told if one["loaded_ns"]} == {one.layer for one in loaded}
    counters = [e for e in trace_of(problem, plan)["traceEvents"] if e.get("name") == "weight memory"]
    peak = max(event["args"]["bytes"] for event in counters)
    assert 0 < peak <= problem.weight_memory_bytes
