"""The bound over the whole option space never exceeds what its selections really take."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice, pairwise

import numpy as np
import pytest

from ooc_solve.models.patches import can_be_fused
from ooc_solve.models.problem import RESERVED_BYTES, IoPlace, Problem
from ooc_solve.models.sealing import encrypted
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import (
    POINT,
    Budget,
    Crypto,
    DType,
    Network,
    Op,
    OpKind,
    Selection,
    Status,
    Store,
    Target,
    TaskGraph,
    TaskKind,
    Tensor,
    Window,
)
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import options as options_module
from ooc_solve.solver import selection as selection_module
from ooc_solve.solver.cpsat import solve_graph
from ooc_solve.solver.expansion import SelectionError, expand
from ooc_solve.solver.fused import operands
from ooc_solve.solver.ladder import at_size
from ooc_solve.solver.least import peak_bytes
from ooc_solve.solver.listing import makespan_ns
from ooc_solve.solver.lives import Lives
from ooc_solve.solver.options import KEPT, Option, OptionCosts
from ooc_solve.solver.relaxation import latency_bound
from ooc_solve.solver.ruled_plans import HEURISTICS
from ooc_solve.solver.search import first_candidates
from ooc_solve.solver.selection import Aim, SelectionModel, Space, build_space

BASES = (
    "u585-octal",
    "f746-qspi-sdram",
    "esp32s3-psram",
    "lm3s-qemu",
    "nrf52840-nor",
    "f746-sd",
    "rp2350-psram",
    "h747-qspi-sd",
    "rt1060-flash-sdram-sd",
    "n6-neural-art",
    "max78000-cnn",
)
ANNEXED = ("h747-qspi-sd", "rt1060-flash-sdram-sd", "esp32s3-flash-psram-sd")
MOST_SELECTIONS = 40
MOST_TASKS = 18

# --------------------------------------------------------------------------- problems


def random_store(rng: random.Random, store: Store) -> Store:
    """A store whose times are like those of small kernels, with granules of any size."""
    storage, granule = store.storage, rng.choice((1, 2, 8, 16, 64, 64))
    write_granule = rng.choice((granule, 1))
    rates = [rng.choice((100, 200, 500)) * 1_000_000 for _ in range(2)]
    setups = [rng.choice((0, 50, 200, 1000)) for _ in range(2)]
    burst = rng.choice((None, None, 64))
    read = replace(storage.read, bytes_per_s=rates[0], setup_ns=setups[0], granularity_bytes=granule,
                   max_burst_bytes=burst)  # fmt: skip
    write = replace(storage.write, bytes_per_s=rates[1], setup_ns=setups[1], granularity_bytes=write_granule,
                    max_burst_bytes=burst, page_bytes=None, page_program_ns=None)  # fmt: skip
    port = replace(store.port, peak_bytes_per_s=1_000_000_000, setup_ns=0)
    return replace(store, storage=replace(storage, read=read, write=write, erase=None), port=port)


def random_target(rng: random.Random, bases: Sequence[str] = BASES) -> Target:
    """A target of any kind: one channel or more, with or without DMA, kernels as slow as transfers."""
    target = load_target(rng.choice(bases))
    weights = random_store(rng, target.weights)
    activations = target.activations
    if activations is not None:
        same = activations == target.weights
        activations = weights if same and rng.random() < 0.7 else random_store(rng, activations)
    annex = target.annex
    if annex is not None:
        annex = activations if annex == target.activations else random_store(rng, annex)
    pace = rng.choice((0.2, 1.0, 4.0))
    runtime = replace(target.runtime, conv_cycles_per_mac=pace, dw_cycles_per_mac=pace, fc_cycles_per_mac=pace,
                      cycles_per_output=rng.choice((0.0, 3.0)), cycles_per_call=rng.choice((0.0, 20.0, 200.0)))  # fmt: skip
    board = replace(target.board, clock_hz=100_000_000)
    npu = target.npu
    if npu is not None:  # as slow to start as small kernels, with room for some of their weights
        most = None if npu.weight_mem_bytes is None else rng.choice((100, 1_000, 100_000))
        npu = replace(npu, fixed_ns=rng.choice((0, 500, 5_000)), weight_mem_bytes=most)
    return replace(
        target,
        weights=weights,
        activations=activations,
        annex=annex,
        npu=npu,
        runtime=runtime,
        board=board,
        provenance={},
    )


def weighted(kind: OpKind, channels: int, inputs: int, window: Window) -> dict[str, object]:
    """Arrays of an operator, all zeros."""
    shape = {OpKind.CONV: (channels, *window.kernel, inputs), OpKind.DEPTHWISE: (*window.kernel, channels)}
    if kind is OpKind.LOOKUP:
        return {"weights": np.zeros(256, np.uint8)}
    if kind not in shape:
        return {}
    bias, scale = np.zeros(channels, np.int32), np.ones(channels, np.float32)
    return {"weights": np.zeros(shape[kind], np.int8), "bias": bias, "multiplier": scale}


KINDS = (OpKind.CONV, OpKind.CONV, OpKind.CONV, OpKind.DEPTHWISE, OpKind.MAX_POOL, OpKind.ADD, OpKind.LOOKUP)


def random_network(
    rng: random.Random, most_ops: int, side: int, channels: int, packs: float = 0.3
) -> Network:
    """Operators in a row, with additions that reach back; a share of the weights has four bits."""
    tensors = {
        "t": Tensor("t", rng.randint(1, side), rng.randint(1, side), rng.randint(1, channels), DType.INT8)
    }
    ops: list[Op] = []
    for number in range(rng.randint(1, most_ops)):
        source, kind, window = list(tensors.values())[-1], rng.choice(KINDS), POINT
        inputs: tuple[str, ...] = (source.name,)
        out = source.channels
        if kind in (OpKind.CONV, OpKind.DEPTHWISE, OpKind.MAX_POOL):
            kernel, stride = rng.choice((1, 3)), rng.choice((1, 1, 2))
            window = Window((kernel,) * 2, (stride,) * 2, (1, 1), (rng.randint(0, kernel // 2),) * 4)
            if min(window.output_size(source.height, source.width)) < 1:
                window = POINT
        if kind is OpKind.CONV:
            out = rng.randint(1, channels)
        if kind is OpKind.ADD:
            alike = [n for n, t in tensors.items() if replace(t, name="") == replace(source, name="")]
            inputs = (rng.choice(alike), source.name)
        height, width = window.output_size(source.height, source.width)
        name = f"t{number}"
        tensors[name] = Tensor(name, height, width, out, DType.INT8)
        fields = weighted(kind, out, source.channels, window)
        if "bias" in fields and packs and rng.random() < packs:
            fields["packed"] = True
        ops.append(Op(f"op{number}", kind, inputs, name, window, 1, **fields))  # type: ignore[arg-type]
    outputs = {ops[-1].output}
    if len(ops) > 1 and rng.random() < 0.2:  # an output that is read again, too
        outputs.add(rng.choice(ops[:-1]).output)
    return Network("random", tensors, tuple(ops), ("t",), tuple(sorted(outputs)))


def random_problem(
    seed: int,
    most_ops: int = 3,
    side: int = 6,
    channels: int = 12,
    bases: Sequence[str] = BASES,
    packs: float = 0.3,
) -> Problem:
    """A network on a target with SRAM in which little more than the busiest tile fits."""
    rng = random.Random(seed)
    network, target = random_network(rng, most_ops, side, channels, packs), random_target(rng, bases)
    places = (
        [IoPlace.SRAM] if target.activations is None else [IoPlace.STORAGE, IoPlace.STORAGE, IoPlace.SRAM]
    )
    largest = max(t.size_bytes for t in network.tensors.values()) + max(op.weight_bytes for op in network.ops)
    arena = 8 * max(8, int(largest * rng.uniform(0.3, 2.5)) // 8)
    return Problem(network, target, RESERVED_BYTES + arena, rng.choice(places))


# ------------------------------------------------------------------------- selections


def whole_space(problem: Problem) -> Space:
    """The option space before any option is dropped for being dominated."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(options_module, "pareto", lambda options, **_: options)
        patch.setattr(OptionCosts, "_least_need", lambda *_: 0)
        patch.setattr(selection_module, "spans", lambda network, *_: fusible(network))
        return build_space(problem)


def fusible(network: Network) -> Iterator[range]:
    """All consecutive operators that may be fused, worth it or not."""
    count = len(network.ops)
    every = (range(a, b) for a in range(count) for b in range(a + 2, count + 1))
    return (span for span in every if can_be_fused(network, span))


def choices(space: Space, rng: random.Random) -> Iterator[tuple[Option, ...]]:
    """Combinations of options that agree on where each tensor lives, in random order."""
    ops = space.problem.network.ops

    def extend(stage: int, width: dict[str, int], chosen: tuple[Option, ...]) -> Iterator[tuple[Option, ...]]:
        if stage == len(ops):
            yield chosen
            return
        for option in rng.sample(space.options[stage], len(space.options[stage])):
            end = stage + option.operators
            names = operands(space.problem.network, stage, option.operators)
            named = [*zip(names, option.inputs, strict=True), (ops[end - 1].output, option.output)]
            if all(width.get(name, w) == w for name, w in named) and len(dict(named)) == len(set(named)):
                yield from extend(end, width | dict(named), (*chosen, option))

    return extend(0, {}, ())


def samples(space: Space, rng: random.Random, tries: int) -> Iterator[tuple[Option, ...]]:
    """Some combinations of options that agree and whose kernels fit the arena, small ones preferred."""
    ops = space.problem.network.ops
    for _ in range(tries):
        width = {name: rng.choice(widths) for name, widths in space.residences.items()}
        chosen: list[Option] = []
        stage = 0
        while stage < len(ops):
            fit = [
                o for o in space.options[stage] if o.tasks <= MOST_TASKS and agrees(space, stage, o, width)
            ]
            if not fit:
                break
            chosen.append(min(rng.choices(fit, k=2), key=lambda o: o.tasks / o.operators))
            stage += chosen[-1].operators
        if stage == len(ops) and sum(o.tasks for o in chosen) <= MOST_TASKS + len(ops):
            yield tuple(chosen)


def agrees(space: Space, stage: int, option: Option, width: dict[str, int]) -> bool:
    """Whether an option assumes these residences."""
    network = space.problem.network
    names, made = operands(network, stage, option.operators), network.ops[stage + option.operators - 1].output
    return option.inputs == tuple(width[name] for name in names) and option.output == width[made]


def begins(chosen: Sequence[Option]) -> Iterator[tuple[int, Option]]:
    """Options with the operators that they begin with."""
    stage = 0
    for option in chosen:
        yield stage, option
        stage += option.operators


def selection_of(problem: Problem, chosen: tuple[Option, ...]) -> Selection:
    """The selection that options make."""
    network, kept = problem.network, set[str]()
    for stage, option in begins(chosen):
        names = operands(network, stage, option.operators)
        kept |= {n for n, w in zip(names, option.inputs, strict=True) if w == KEPT}
        kept |= {network.ops[stage + option.operators - 1].output} if option.output == KEPT else set()
    return Selection(tuple(t for option in chosen for t in option.tilings), frozenset(kept))


def optimum_ns(problem: Problem, chosen: tuple[Option, ...]) -> int | None:
    """Least makespan of a selection; None if it cannot be carried out, -1 if that is not known."""
    try:
        graph = expand(problem, selection_of(problem, chosen))
    except SelectionError:
        return None
    if len(graph.tasks) > MOST_TASKS:
        return -1
    if peak_bytes(graph) > problem.arena_bytes:
        return None
    result = solve_graph(problem, graph, None, Budget(3.0, 1, 1))
    if result.status is Status.FEASIBLE:
        return -1
    return makespan_ns(graph, result.schedule.start_ns) if result.schedule is not None else None


def sealed_problem(seed: int, most_ops: int = 3, side: int = 6, channels: int = 12) -> Problem:
    """A random problem whose records the CPU opens and seals, or an engine; that takes as long as small kernels."""
    plain, rng = random_problem(seed, most_ops, side, channels, packs=0.0), random.Random(-seed)
    engine = rng.random() < 0.2
    cipher = Crypto("aes128_gcm", "hw" if engine else "sw", rng.choice((0, 100, 1000)), not engine, "rw",
                    cycles_per_byte=rng.choice((0.2, 1.0, 5.0)))  # fmt: skip
    target = replace(plain.target, crypto=cipher, npu=None)
    problem = replace(plain, target=target, sram_bytes=1 << 16)
    return replace(problem, sram_bytes=problem.reserved_bytes + plain.arena_bytes)


def check_selections(seed: int, many: int, sealed: bool = False) -> Counter[str]:
    """Compare the bound of single selections with what they take at least."""
    problem = sealed_problem(seed) if sealed else random_problem(seed)
    return check_samples(whole_space(problem), seed, many)


def check_samples(space: Space, seed: int, many: int) -> Counter[str]:
    """The same for a given space."""
    problem, rng, seen = space.problem, random.Random(seed), Counter[str]()
    if not all(space.options):
        return seen
    for chosen in islice(dict.fromkeys(samples(space, rng, 40)), many):
        optimum = optimum_ns(problem, chosen)
        if optimum == -1:
            continue
        by_stage = dict(begins(chosen))
        alone = replace(
            space, options=tuple((by_stage[k],) if k in by_stage else () for k in range(len(space.options)))
        )
        bound = latency_bound(problem, spaces=(alone,)).value_ns
        if optimum is None:
            seen["impossible"] += 1
            continue
        assert bound <= optimum, f"seed {seed}: {bound} > {optimum} for {selection_of(problem, chosen)}"
        above = latency_bound(problem, optimum + 1, spaces=(alone,))
        assert all(own for k, own in enumerate(above.survivors) if k in by_stage)
        seen["fused"] += any(option.operators > 1 for option in chosen)
        seen["tight" if bound == optimum else "near" if bound > 0.9 * optimum else "far"] += 1
    return seen


def check_space_with_annex(seed: int, most: int) -> Counter[str]:
    """Try all selections of a small network whose weights may lie on two stores: what the best of them is worth."""
    problem = random_problem(seed, most_ops=2, side=3, channels=4, bases=ANNEXED)
    space = whole_space(problem)
    every = list(islice(choices(space, random.Random(seed)), most + 1)) if all(space.options) else []
    values = {c: optimum_ns(problem, c) for c in every} if 0 < len(every) <= most else {}
    feasible = {chosen: value for chosen, value in values.items() if value is not None}
    if not feasible or -1 in feasible.values():
        return Counter()
    best = min(feasible.values())
    bound = latency_bound(problem, spaces=(space,)).value_ns
    assert bound <= best, f"seed {seed}: {bound} > {best}"
    undominated = latency_bound(problem, spaces=(build_space(problem),)).value_ns
    assert undominated <= best, f"seed {seed}: {undominated} > {best} without dominated options"
    above = latency_bound(problem, best + 1, spaces=(space,)).survivors
    first = next(chosen for chosen, value in feasible.items() if value == best)
    assert all(option in above[stage] for stage, option in begins(first))
    one_store = [v for c, v in feasible.items() if not any(t.annex for o in c for t in o.tilings)]
    gains = min(one_store, default=best + 1) > best
    return Counter(
        {"tried": 1, "tight": int(bound == best), "gains": int(gains), "selections": len(feasible)}
    )


def check_space(
    seed: int, most_ops: int = 3, side: int = 6, channels: int = 12, sealed: bool = False
) -> Counter[str]:
    """Compare the bound over all selections with the best of them, with and without an incumbent."""
    problem = (sealed_problem if sealed else random_problem)(seed, most_ops, side, channels)
    space, rng = whole_space(problem), random.Random(seed)
    every = list(islice(choices(space, rng), MOST_SELECTIONS + 1)) if all(space.options) else []
    if not every or len(every) > MOST_SELECTIONS:
        return Counter()
    values = [optimum_ns(problem, chosen) for chosen in every]
    if -1 in values or all(value is None for value in values):
        return Counter()
    best = min(value for value in values if value is not None)
    bound = latency_bound(problem, spaces=(space,)).value_ns
    assert bound <= best, f"seed {seed}: {bound} > {best}"
    for incumbent in (best, best + 1, 2 * best):
        found = latency_bound(problem, incumbent, spaces=(space, build_space(problem)))
        assert found.value_ns <= best, f"seed {seed}: {found.value_ns} > {best} with incumbent {incumbent}"
        if incumbent > best:
            chosen = next(c for c, value in zip(every, values, strict=True) if value == best)
            assert all(option in found.survivors[stage] for stage, option in begins(chosen))
    return Counter(["tight" if bound == best else "near" if bound > 0.9 * best else "far"])


# ------------------------------------------------------------------------------ tests


def test_the_bound_holds_where_weights_lie_on_two_stores() -> None:
    """No selection with weights on two stores beats the bound, and some beat all that have them on one."""
    seen = sum((check_space_with_annex(seed, 60) for seed in range(24)), Counter())
    assert seen["tried"] >= 5
    assert seen["tight"] >= 2
    assert seen["gains"] >= 1


@pytest.mark.slow
def test_the_bound_holds_on_many_problems_with_two_stores() -> None:
    """The same on hundreds of problems, with all selections of larger spaces."""
    seen = sum((check_space_with_annex(seed, 400) for seed in range(100, 500)), Counter())
    assert seen["gains"] >= 10


@pytest.mark.parametrize("block", range(4))
def test_no_selection_beats_its_bound(block: int) -> None:
    """The bound of single selections never exceeds their optimum, and is close to it more often than not."""
    seen = sum((check_selections(seed, 3) for seed in range(20 * block, 20 * block + 20)), Counter())
    assert seen["tight"] + seen["near"] > seen["far"]
    assert seen["tight"] >= 5


def test_no_selection_of_a_space_beats_its_bound() -> None:
    """The bound over a whole option space never exceeds the best of its selections; some bounds are attained."""
    seen = sum((check_space(seed, most_ops=2, side=4, channels=4) for seed in range(40)), Counter())
    assert seen["tight"] >= 3


def test_no_selection_beats_its_bound_where_records_are_sealed() -> None:
    """Openings on the CPU that come before a load has ended, or sealing that is put off, are not below the bound.

    In 5005 an input that is kept comes behind the only record of the first kernel.
    """
    seen = sum((check_selections(seed, 3, sealed=True) for seed in (*range(14), 5005)), Counter())
    assert seen["tight"] + seen["near"] > seen["far"]
    assert seen["tight"] >= 3


@pytest.mark.slow
@pytest.mark.parametrize("block", range(4))
def test_no_selection_beats_its_bound_where_records_are_sealed_often(block: int) -> None:
    """The same over hundreds of selections, and over spaces of them."""
    seen = Counter[str]()
    for seed in range(1000 + 100 * block, 1100 + 100 * block):
        seen += check_selections(seed, 4, sealed=True)
        check_space(seed, most_ops=2, side=4, channels=4, sealed=True)
    assert seen["tight"] + seen["near"] > seen["far"]


def test_an_input_of_a_fused_stage_may_go_early() -> None:
    """A kept tensor that only the first operator of a fused stage reads leaves its bytes to later kernels."""
    problem = random_problem(1928, bases=BASES[:7], packs=0.0)
    assert check_samples(whole_space(problem), 1928, 6)["fused"]


@pytest.mark.slow
@pytest.mark.parametrize("block", range(20))
def test_no_selection_beats_its_bound_often(block: int) -> None:
    """The same over thousands of selections."""
    for seed in range(1000 + 150 * block, 1150 + 150 * block):
        check_selections(seed, 6)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(10))
def test_no_selection_of_a_space_beats_its_bound_often(block: int) -> None:
    """The same over a thousand option spaces."""
    for seed in range(1000 + 100 * block, 1100 + 100 * block):
        check_space(seed, most_ops=3, side=4, channels=4)


CASES = [
    ("resnet8", "f746-sd", 12), ("ds_cnn", "lm3s-qemu", 16), ("autoencoder", "rp2350-psram", 16),
    pytest.param("resnet8", "f746-sd", 32, marks=pytest.mark.slow),
    pytest.param("resnet8", "f746-qspi-sdram", 16, marks=pytest.mark.slow),
    pytest.param("ds_cnn", "l4r5-sdspi", 8, marks=pytest.mark.slow),
]  # fmt: skip


@pytest.mark.parametrize(("name", "target", "kib"), CASES)
def test_no_plan_of_a_real_network_beats_the_bound(name: str, target: str, kib: int) -> None:
    """Plans of the rules and of the selection model, for this SRAM and for less, take at least the bound."""
    problem = Problem(zoo_network(name), load_target(target), kib << 10, IoPlace.STORAGE)
    here = [p for p in (problem, at_size(problem, kib << 9)) if all(build_space(p).options)]
    spaces = [build_space(p) for p in here]
    plans = [candidate.score[0] for space in spaces for candidate in first_candidates(space, 0.0)]
    rules = [rule(problem, Budget()).plan for rule in HEURISTICS.values()]
    plans += [p.figures.latency_ns for p in rules if p is not None and not p.selection.order]
    bound = latency_bound(problem, deadline=time.monotonic() + 60, spaces=spaces).value_ns
    assert 0 < bound <= min(plans)


@pytest.mark.parametrize(("name", "kib"), [("ds_cnn", 16), ("resnet8", 32)])
def test_no_plan_with_a_software_cipher_beats_the_bound(name: str, kib: int) -> None:
    """Plans of the rules for sealed networks take at least the bound, which is more than the CPU's work alone."""
    target = encrypted(load_target("f746-sd"), "aes-128-gcm")
    problem = Problem(zoo_network(name), target, kib << 10, IoPlace.STORAGE)
    space = build_space(problem)
    plans = [candidate.score[0] for candidate in first_candidates(space, 0.0)]
    rules = [rule(problem, Budget()).plan for rule in HEURISTICS.values()]
    plans += [p.figures.latency_ns for p in rules if p is not None and not p.selection.order]
    bound = latency_bound(problem, deadline=time.monotonic() + 60, spaces=(space,)).value_ns
    work = SelectionModel(space).solve(Aim.MAKESPAN_BOUND, Budget(60.0, 1, 1)).bound
    assert 0 < work <= min(plans)
    assert 0.99 * work <= bound <= min(plans)


def test_the_bound_is_better_than_that_of_the_selection_model() -> None:
    """Where memory is tight and storage slow, the order of transfers costs time that totals do not show."""
    problem = Problem(zoo_network("ds_cnn"), load_target("l4r5-sdspi"), 8 << 10, IoPlace.STORAGE)
    space = build_space(problem)
    totals = SelectionModel(space).solve(Aim.MAKESPAN_BOUND, Budget(60.0, 1, 1)).bound
    assert latency_bound(problem, spaces=(space,)).value_ns > 1.2 * totals


def test_the_bound_does_not_depend_on_the_run() -> None:
    """The same problem has the same bound, whatever was asked before."""
    problem = Problem(zoo_network("ds_cnn"), load_target("f746-sd"), 32 << 10, IoPlace.STORAGE)
    first = latency_bound(problem)
    latency_bound(at_size(problem, 16 << 10))
    assert latency_bound(problem) == first


def test_an_optimal_incumbent_is_proven() -> None:
    """With a plan as short as the bound of its space, the bound is that plan, and no option survives."""
    problem = random_problem(1, most_ops=1)
    space = build_space(problem)
    bound = latency_bound(problem, spaces=(space,)).value_ns
    found = latency_bound(problem, bound, spaces=(space,))
    assert found.value_ns == bound
    assert not any(found.survivors)


def test_nothing_is_claimed_when_there_is_no_time() -> None:
    """A deadline that has passed gives the bound zero and leaves every option."""
    problem = Problem(zoo_network("ds_cnn"), load_target("f746-sd"), 32 << 10, IoPlace.STORAGE)
    space = build_space(problem)
    found = latency_bound(problem, None, 0.0, (space,))
    assert found.value_ns == 0
    assert found.survivors == tuple(tuple(dict.fromkeys(options)) for options in space.options)


def test_a_deadline_is_kept() -> None:
    """What is proven after a second is returned soon after it."""
    problem = Problem(zoo_network("mobilenet_v1_025_96"), load_target("f746-sd"), 64 << 10, IoPlace.STORAGE)
    spaces = (build_space(problem),)
    begun = time.monotonic()
    found = latency_bound(problem, None, begun + 1.0, spaces)
    assert time.monotonic() - begun < 10.0
    assert found.value_ns >= 0


def test_without_dma_nothing_overlaps() -> None:
    """Where the CPU moves the bytes, the bound of a selection is all its work, which every schedule takes."""
    problem = replace(random_problem(3), target=load_target("lm3s-qemu"))
    space, rng = build_space(replace(problem, sram_bytes=20 << 10)), random.Random(0)
    checked = 0
    for chosen in samples(space, rng, 20):
        try:
            graph = expand(space.problem, selection_of(problem, chosen))
        except SelectionError:
            continue
        by_stage = dict(begins(chosen))
        alone = replace(
            space, options=tuple((by_stage[k],) if k in by_stage else () for k in range(len(space.options)))
        )
        work = sum(task.duration_ns for task in graph.tasks)
        assert latency_bound(space.problem, work + 1, spaces=(alone,)).value_ns == work
        checked += 1
    assert checked


def skipping_problem(seed: int) -> Problem:
    """A network whose second layer reads rows 0 and 2 of four, on a random target."""
    rng = random.Random(seed)
    tensors = {"t": Tensor("t", 4, 1, 16, DType.INT8), "t0": Tensor("t0", 4, 1, 16, DType.INT8)}
    tensors |= {"t1": Tensor("t1", 2, 1, 16, DType.INT8), "t2": Tensor("t2", 2, 1, 4, DType.INT8)}
    kinds = (OpKind.MAX_POOL, OpKind.MAX_POOL, OpKind.CONV)
    windows = (POINT, Window(stride=(2, 1)), POINT)
    ops = []
    for kind, window, (source, name) in zip(kinds, windows, pairwise(tensors), strict=True):
        fields = weighted(kind, tensors[name].channels, 16, window)
        ops.append(Op(name, kind, (source,), name, window, **fields))  # type: ignore[arg-type]
    network = Network("skipping", tensors, tuple(ops), ("t",), ("t2",))
    while (target := random_target(rng)).activations is None:
        pass
    return Problem(network, target, RESERVED_BYTES + 8 * rng.randint(16, 40), IoPlace.STORAGE)


def by_single_rows(seed: int) -> Space:
    """Options of such a network that store the tensor with the skipped rows row by row."""
    space = whole_space(skipping_problem(seed))
    first = tuple(o for o in space.options[0] if o.operators == 1 and o.output == 16 and o.tiling.rows == 1)
    return replace(space, options=(first, *space.options[1:]))


def unawaited(graph: TaskGraph) -> set[int]:
    """Stages that store a tile which no load waits for."""
    awaited = {other for task in graph.tasks if task.kind is TaskKind.LOAD for other in task.after}
    return {t.stage for t in graph.tasks if t.kind is TaskKind.STORE and t.index not in awaited}


def test_only_tensors_not_read_in_full_have_stores_that_nothing_awaits() -> None:
    """Strides skip rows whose stores may be put off for ever; all other stores precede some load."""
    skipped = checked = 0
    spaces = [*(whole_space(random_problem(seed)) for seed in range(80)), *map(by_single_rows, range(20))]
    for space in spaces:
        problem, lives = space.problem, Lives(space.problem)
        for chosen in islice(samples(space, random.Random(0), 20), 5):
            try:
                graph = expand(problem, selection_of(problem, chosen))
            except SelectionError:
                continue
            for stage in unawaited(graph):
                name = problem.network.ops[stage].output
                assert name in problem.network.outputs or not lives.read_in_full(name)
                skipped += name not in problem.network.outputs
            checked += 1
    assert checked > 100
    assert skipped


def test_no_selection_beats_its_bound_where_rows_are_skipped() -> None:
    """Stores that nothing awaits may be outstanding to the end, which the bound allows for."""
    seen = sum((check_samples(by_single_rows(seed), seed, 4) for seed in range(40)), Counter())
    assert seen["tight"] >= 5
