"""An NPU works beside the CPU: schedules that show it, bounds that hold for it, rules that keep it in order."""

from __future__ import annotations

import math
import random
from collections import Counter
from dataclasses import replace
from itertools import islice, pairwise

import pytest

from ooc_solve.models.frames import in_flight
from ooc_solve.models.operator_order import ordered
from ooc_solve.models.plan_json import dump_plan, parse_plan
from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.units import UnitUses
from ooc_solve.models.vocabulary import (
    NPU_UNIT,
    POINT,
    Budget,
    DType,
    Network,
    Op,
    OpKind,
    Plan,
    Schedule,
    Target,
    TaskGraph,
    Tensor,
    Window,
)
from ooc_solve.models.zoo import zoo_network
from ooc_solve.npu_use import beside_ns
from ooc_solve.solver.allocation_schedule import packed_schedules
from ooc_solve.solver.audit import audited_energy_nj
from ooc_solve.solver.cpsat import lower_bound_ns, solve_graph
from ooc_solve.solver.expansion import expand
from ooc_solve.solver.heuristics import finish
from ooc_solve.solver.improvement import Improvement
from ooc_solve.solver.listing import by_due_date, makespan_ns, order_of, run, settle
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.placed_merging import placed_merge
from ooc_solve.solver.placement import place
from ooc_solve.solver.relaxation import Relaxation, latency_bound
from ooc_solve.solver.search import QUICK_POLICIES
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space, least_compute_ns
from ooc_solve.solver.solve import cp_sat
from ooc_solve.solver.unit_order import unit_order
from ooc_solve.solver.units import meetings_of
from ooc_solve.solver.validate import Rule, validate
from ooc_solve.solver.weaving import Policy, weave
from ooc_solve.solver.windows import shortened
from tests.solver.test_relaxation import (
    begins,
    check_samples,
    choices,
    optimum_ns,
    random_problem,
    random_store,
    selection_of,
    weighted,
    whole_space,
)


def slow_npu(name: str = "n6-neural-art", slower: int = 50) -> Target:
    """A target whose NPU is about as fast as its CPU."""
    target = load_target(name)
    assert target.npu is not None
    assert target.npu.macs_per_s is not None
    rate = target.npu.outputs_per_s
    return replace(
        target,
        npu=replace(
            target.npu,
            macs_per_s=target.npu.macs_per_s // slower,
            outputs_per_s=None if rate is None else rate // slower,
        ),
    )


def branched(rng: random.Random, most_ops: int) -> Network:
    """Convolutions, pools, additions and lookups that read any of the tensors before them."""
    side, channels = rng.randint(1, 4), rng.randint(1, 8)
    tensors = {"t": Tensor("t", side, side, channels, DType.INT8)}
    ops: list[Op] = []
    kinds = (OpKind.CONV, OpKind.CONV, OpKind.DEPTHWISE, OpKind.MAX_POOL, OpKind.ADD, OpKind.LOOKUP)
    for number in range(rng.randint(2, most_ops)):
        kind, window = rng.choice(kinds), POINT
        inputs: tuple[str, ...] = tuple(rng.choices(list(tensors), k=2 if kind is OpKind.ADD else 1))
        if kind in (OpKind.CONV, OpKind.DEPTHWISE) and rng.random() < 0.5:
            window = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
        tensors[f"t{number}"] = replace(tensors["t"], name=f"t{number}")
        fields = weighted(kind, channels, channels, window)
        ops.append(Op(f"op{number}", kind, inputs, f"t{number}", window, 1, **fields))  # type: ignore[arg-type]
    read = {name for op in ops for name in op.inputs}
    outputs = tuple(sorted(op.output for op in ops if op.output not in read))
    return Network("branched", tensors, tuple(ops), ("t",), outputs)


def branched_problem(seed: int, most_ops: int = 5) -> Problem:
    """Such a network on a target with an NPU about as fast as its CPU, in little SRAM or much."""
    rng = random.Random(seed)
    network, target = branched(rng, most_ops), load_target(rng.choice(["n6-neural-art", "max78000-cnn"]))
    assert target.npu is not None
    pace = rng.choice((0.5, 2.0))
    runtime = replace(target.runtime, conv_cycles_per_mac=pace, dw_cycles_per_mac=pace,
                      cycles_per_output=rng.choice((1.0, 3.0)), cycles_per_call=rng.choice((0.0, 50.0)))  # fmt: skip
    most = None if target.npu.weight_mem_bytes is None else rng.choice((100, 1_000, 100_000))
    npu = replace(target.npu, fixed_ns=rng.choice((0, 300, 2_000)), weight_mem_bytes=most,
                  macs_per_s=rng.choice((20, 100)) * 1_000_000)  # fmt: skip
    board = replace(target.board, clock_hz=100_000_000)
    spill = target.activations
    spilled = None if spill is None else random_store(rng, spill)
    target = replace(target, weights=random_store(rng, target.weights), activations=spilled, npu=npu, board=board,
                     runtime=runtime, provenance={})  # fmt: skip
    io = IoPlace.SRAM if spill is None or rng.random() < 0.5 else IoPlace.STORAGE
    size = max(t.size_bytes for t in network.tensors.values())
    weights = max(op.weight_bytes for op in network.ops)
    arena = 8 * (int(size * rng.uniform(3, 8) + 2 * weights) // 8 + 4)
    return Problem(network, target, RESERVED_BYTES + arena, io)


def resources_of(graph: TaskGraph) -> set[str]:
    """Units that compute something."""
    return {task.resource for task in graph.compute_tasks}


# ------------------------------------------------------------------------------ plans


def improved(problem: Problem, effort: int) -> Plan:
    """The plan of a guided search of so much work."""
    space = build_space(problem)
    found = Improvement(space, None, effort, 1, Relaxation(problem, [space])).run(math.inf)
    assert found is not None
    return finish(problem, found.selection, found.graph, found.schedule, "improved")


def test_a_shortcut_runs_beside_the_main_path() -> None:
    """With both units a residual network takes less time than either needs alone, as both compute at once."""
    problem = Problem(zoo_network("resnet8"), slow_npu(), 256 << 10, IoPlace.SRAM)
    order = unit_order(problem.target, problem.network)
    assert order is not None
    here = ordered(problem, order)
    plan = improved(here, 1500)
    assert not validate(here, plan)
    assert beside_ns(plan) > 100_000
    alone = replace(here, target=replace(here.target, npu=None))
    assert plan.figures.latency_ns < (least_compute_ns(build_space(alone)) or 0)
    both_ns = sum(min(o.compute_ns for o in own if o.operators == 1) for own in build_space(here).options)
    assert plan.figures.latency_ns < both_ns  # the least that taking turns could come to


def tower() -> Network:
    """Four convolutions in a row."""
    window = Window((3, 3), (1, 1), (1, 1), (1, 1, 1, 1))
    fields = weighted(OpKind.CONV, 16, 16, window)
    names = ("t", "a", "b", "c", "d")
    ops = tuple(
        Op(made, OpKind.CONV, (read,), made, window, 1, **fields)  # type: ignore[arg-type]
        for read, made in pairwise(names)
    )
    tensors = {name: Tensor(name, 16, 16, 16, DType.INT8) for name in names}
    return Network("tower", tensors, ops, ("t",), ("d",))


def test_frames_overlap_in_the_order_of_both_units() -> None:
    """With two frames in flight the operators of one frame run beside those of the other."""
    problem = Problem(in_flight(tower(), 2), slow_npu(), 512 << 10, IoPlace.SRAM)
    order = unit_order(problem.target, problem.network)
    assert order is not None
    here = ordered(problem, order)
    plan = improved(here, 1000)
    assert not validate(here, plan)
    assert beside_ns(plan) > plan.figures.latency_ns // 2
    assert plan.figures.compute_ns > 3 * plan.figures.latency_ns // 2


def sampled(seed: int, tries: int = 6) -> list[tuple[Problem, TaskGraph, tuple[object, ...]]]:
    """Selections of a random problem that use both units, with their tasks."""
    problem = branched_problem(seed)
    space = build_space(problem)
    found: list[tuple[Problem, TaskGraph, tuple[object, ...]]] = []
    space = kept_space(space)
    for chosen in islice(choices(space, random.Random(seed)), 40) if all(space.options) else ():
        graph = expand(problem, selection_of(problem, chosen))
        if len(resources_of(graph)) == 2:
            found.append((problem, graph, chosen))
    return found[:tries]


def schedules(problem: Problem, graph: TaskGraph) -> list[Schedule]:
    """What all makers of schedules make of some tasks."""
    found = [weave(problem, graph, policy) for policy, _ in QUICK_POLICIES]
    found += list(packed_schedules(problem, graph, [Policy(32, 1, False), Policy(3, 1, True)], 1 << 60))
    found.append(placed_merge(problem, graph))
    placement = place(problem, graph, 8, 1)
    if placement is not None:
        found.append(Schedule(tuple(run(order_of(graph, placement), by_due_date)), placement.address))
    woven = next((schedule for schedule in found if schedule is not None), None)
    if woven is not None and len(graph.tasks) > 15:
        found.append(shortened(problem, graph, woven, 0.05))
    if woven is not None:
        found.append(solve_graph(problem, graph, woven, Budget(5.0, 1, 1), deterministic=0.2).schedule)
    return [schedule for schedule in found if schedule is not None]


def check_schedules(seeds: range) -> Counter[str]:
    """Validate whatever is made of selections with both units, before and after it is settled."""
    seen = Counter[str]()
    for seed in seeds:
        for problem, graph, chosen in sampled(seed):
            for schedule in schedules(problem, graph):
                selection = selection_of(problem, chosen)  # type: ignore[arg-type]
                plan = finish(problem, selection, graph, schedule, "made")
                assert not validate(problem, plan), f"seed {seed}: {validate(problem, plan)[0]}"
                tidy = settle(graph, schedule.start_ns, schedule.address)
                assert not validate(problem, finish(problem, selection, graph, tidy, "settled"))
                assert makespan_ns(graph, tidy.start_ns) <= makespan_ns(graph, schedule.start_ns)
                assert lower_bound_ns(graph) <= makespan_ns(graph, tidy.start_ns)
                seen["beside" if beside_ns(plan) else "in turn"] += 1
    return seen


def test_every_schedule_keeps_the_rules() -> None:
    """What any maker of schedules makes of two units is valid, and some of it overlaps."""
    seen = check_schedules(range(8))
    assert seen["beside"] > 5
    assert seen["in turn"] > 5


@pytest.mark.slow
def test_every_schedule_keeps_the_rules_often() -> None:
    """The same over hundreds of networks."""
    assert check_schedules(range(1000, 1400))["beside"] > 400


# ----------------------------------------------------------------------------- bounds


def check_bounds(seeds: range, many: int) -> Counter[str]:
    """No bound of single selections is above their optimum."""
    seen = Counter[str]()
    for seed in seeds:
        problem = branched_problem(seed, 4)
        if not meetings_of(problem.target, problem.network).apart:
            space = whole_space(problem)
            seen += check_samples(space if seed % 4 == 0 else kept_space(space), seed, many)
    return seen


def check_spaces(seeds: range, most: int) -> Counter[str]:
    """No bound of a whole space is above the best of all its selections."""
    seen = Counter[str]()
    for seed in seeds:
        problem = branched_problem(seed, 4)
        if meetings_of(problem.target, problem.network).apart:
            continue
        space = few_options(kept_space(build_space(problem)), seed)
        every = list(islice(choices(space, random.Random(seed)), most + 1)) if all(space.options) else []
        values = [optimum_ns(problem, chosen) for chosen in every[:most]]
        known = [value for value in values if value is not None]
        if not known or len(every) > most or -1 in known:
            continue
        best, selected = min(known), SelectionModel(space).solve(Aim.MAKESPAN_BOUND, Budget(5.0, 1, 1))
        assert selected.bound <= best, f"seed {seed}: selection model {selected.bound} > {best}"
        assert (least_compute_ns(space) or 0) <= best, f"seed {seed}: compute"
        bound = latency_bound(problem, spaces=(space,)).value_ns
        assert bound <= best, f"seed {seed}: relaxation {bound} > {best}"
        seen["tight" if bound == best else "near" if bound > 0.9 * best else "far"] += 1
    return seen


def kept_space(space: Space) -> Space:
    """A space in which all tensors stay in SRAM, so that the NPU has a part in more of its selections."""

    def kept(option: Option) -> bool:
        return {*option.inputs, option.output} == {KEPT}

    return replace(
        space,
        options=tuple(tuple(filter(kept, own)) for own in space.options),
        residences=dict.fromkeys(space.residences, (KEPT,)),
    )


def few_options(space: Space, seed: int) -> Space:
    """A space with the NPU's options, and of each operator those two of the CPU that have the fewest tasks, and one more."""
    rng = random.Random(seed)

    def some(own: tuple[Option, ...]) -> tuple[Option, ...]:
        single = [option for option in own if option.operators == 1]
        npu = [option for option in single if option.tiling.npu]
        cpu = sorted((option for option in single if not option.tiling.npu), key=lambda o: o.tasks)
        return tuple(dict.fromkeys((*npu, *cpu[:2], *rng.sample(cpu, min(1, len(cpu))))))

    return replace(space, options=tuple(map(some, space.options)))


def test_no_selection_beats_its_bound() -> None:
    """The relaxation of single selections on two units never exceeds their optimum, and is often close."""
    seen = check_bounds(range(16), 3)
    assert seen["tight"] > 10
    assert seen["near"] > seen["far"]


def test_the_cpu_loads_while_the_npu_computes() -> None:
    """Without DMA too, in a chain of operators of which no two ever run at once: 196 and 216 do that."""
    seen = Counter[str]()
    for seed in (166, 194, 196, 216):
        problem = random_problem(seed, 4, 4, 12)
        target, npu = problem.target, problem.target.npu
        if npu is None:
            continue
        board = replace(target.board, overlaps_cpu=False)
        slow = replace(target, board=board, npu=replace(npu, macs_per_s=20_000_000))
        seen += check_samples(kept_space(build_space(replace(problem, target=slow))), seed, 3)
    assert seen.total() > 5


def test_no_selection_of_a_space_beats_its_bound() -> None:
    """Nor do the bounds over whole option spaces: of the selection model, of kernels alone, of the relaxation."""
    seen = check_spaces(range(16), 60)
    assert seen.total() > 5


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_no_bound_is_beaten_often(block: int) -> None:
    """The same over thousands of selections and hundreds of spaces."""
    seeds = range(10_000 + 500 * block, 10_500 + 500 * block)
    seen = check_bounds(seeds, 10) + check_spaces(seeds, 150)
    assert seen["tight"] > 100


@pytest.mark.slow
def test_the_search_takes_at_least_its_bound() -> None:
    """The plan of the whole solver for two units is valid and not below its bound."""
    problem = Problem(zoo_network("resnet8"), slow_npu(), 128 << 10, IoPlace.STORAGE)
    result = cp_sat(problem, Budget(2.0, 1, 1))
    assert result.plan is not None
    assert not validate(ordered(problem, result.plan.selection.order), result.plan)
    assert 0 < result.bound <= (result.objective or 0)


# ----------------------------------------------------------------------------- rules


def diamond() -> Network:
    """One operator, two that read it, and one that adds both."""
    tensors = {name: Tensor(name, 4, 4, 8, DType.INT8) for name in ("t", "a", "b", "c", "d")}
    fields = weighted(OpKind.CONV, 8, 8, POINT)
    ops = tuple(
        Op(made, OpKind.CONV, (read,), made, POINT, 1, **fields)  # type: ignore[arg-type]
        for made, read in (("a", "t"), ("b", "a"), ("c", "a"))
    )
    last = Op("d", OpKind.ADD, ("b", "c"), "d", POINT, 1)
    return Network("diamond", tensors, (*ops, last), ("t",), ("d",))


def test_branches_are_loose_and_joints_are_not() -> None:
    """Only operators of which neither needs the other may run at once, and none without an NPU."""
    target, network = load_target("n6-neural-art"), diamond()
    meetings = meetings_of(target, network)
    assert [meetings.loose(k) for k in range(4)] == [False, True, True, False]
    assert meetings.joins == (True, True, False, True)
    assert meetings.parts == (True, False, True, True)
    assert meetings.follows == (False, True, False, True)
    assert meetings.loose(2, 2)
    assert meetings_of(replace(target, npu=None), network).apart
    assert unit_order(replace(target, npu=None), network) is None


def test_a_kernel_waits_for_the_other_unit() -> None:
    """A reader waits for the last writer of the other unit, a writer also for its last reader, neither for its own."""
    uses = UnitUses()
    assert list(uses.waits("cpu", 0, (), 7)) == []
    assert list(uses.waits("cpu", 1, (), 7)) == []
    assert list(uses.waits("npu", 2, (7,), 8)) == [1]
    assert list(uses.waits("cpu", 3, (7,), -1)) == []
    assert list(uses.waits("cpu", 4, (8,), 7)) == [2, 2]


def two_unit_plan() -> tuple[Problem, Plan]:
    """A diamond with one branch on each unit, both at once."""
    problem = Problem(diamond(), load_target("n6-neural-art"), 64 << 10, IoPlace.SRAM)
    space = build_space(problem)
    chosen = next(
        own
        for own in choices(space, random.Random(1))
        if [o.tiling.npu for _, o in begins(own)] == [False, True, False, False]
    )
    graph = expand(problem, selection_of(problem, chosen))
    schedule = solve_graph(problem, graph, None, Budget(5.0, 1, 1)).schedule
    assert schedule is not None
    return problem, finish(problem, selection_of(problem, chosen), graph, schedule, "cp-sat")


def test_a_plan_file_keeps_both_units() -> None:
    """A plan with both units at work is read as it was written, and its energy counts both."""
    problem, plan = two_unit_plan()
    assert parse_plan(problem, dump_plan(problem, plan), "file") == plan
    assert plan.figures.compute_ns == sum(task.duration_ns for task in plan.graph.compute_tasks)
    assert plan.figures.energy_nj == audited_energy_nj(problem, plan)


def test_the_validator_knows_the_order_of_two_units() -> None:
    """A kernel before an earlier one, or on another unit than its operator's, is reported; the plan itself is not."""
    problem, plan = two_unit_plan()
    assert not validate(problem, plan)
    assert beside_ns(plan) > 0
    npu = next(task for task in plan.graph.tasks if task.resource == NPU_UNIT)
    late = [*plan.schedule.start_ns]
    late[npu.index] = plan.figures.latency_ns
    moved = replace(plan, schedule=replace(plan.schedule, start_ns=tuple(late)))
    assert Rule.PRECEDENCE in {violation.rule for violation in validate(problem, moved)}
    tasks = [*plan.graph.tasks]
    tasks[npu.index] = replace(npu, resource="cpu")
    wrong = replace(plan, graph=replace(plan.graph, tasks=tuple(tasks)))
    assert Rule.RESOURCE in {violation.rule for violation in validate(problem, wrong)}
