"""Level one: which tiling for each stage, and what stays in SRAM.

A small CP-SAT model over `Option`s. Its optimum never exceeds the cost of any plan that
uses options of the space, so its proven bound is a bound for the whole problem
(FORMULATION.md, "Selection").
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from enum import Enum
from functools import cached_property, partial
from itertools import chain, product

from ortools.sat.python import cp_model

from ooc_solve.models.cost import read_ns, write_ns
from ooc_solve.models.energy import Rates
from ooc_solve.models.in_place import replaceable
from ooc_solve.models.npu import is_crowded, offered
from ooc_solve.models.problem import Problem
from ooc_solve.models.tiling import StageGeometry
from ooc_solve.models.vocabulary import Budget, Op, OpKind, RegionName, Selection, Status, Tensor, Tiling
from ooc_solve.solver.deadline import keep_time
from ooc_solve.solver.fused import fused_options, operands, spans
from ooc_solve.solver.options import KEPT, Option, costs_of, residences, stored_bytes
from ooc_solve.solver.parts import part_bytes, rows_kept, width_of
from ooc_solve.solver.solving import solved_in_time
from ooc_solve.solver.units import Meetings, meetings_of


class Aim(Enum):
    """What a selection minimises. `LAYER_OVERLAP` and `SERIAL` only make good candidates, the others bounds too."""

    MAKESPAN_BOUND = "bound"  # max of total compute and total transfers: a bound for latency
    LAYER_OVERLAP = "overlap"  # sum over stages of max(compute, transfer)
    SERIAL = "serial"  # sum of everything
    ENERGY = "energy"
    WRITES = "writes"
    SRAM = "sram"  # least arena bytes


PEAK_SCALE = 1 << 24
"""Weight of a byte of SRAM against a task, for `Aim.SRAM`: bytes first, then fewer tasks."""

PEAK_TASKS = 1 << 16

SCALE = {Aim.SRAM: PEAK_SCALE, Aim.ENERGY: 1000}
"""What an objective is divided by to give bytes or nJ."""

Expression = cp_model.LinearExpr


def _weighted(pairs: Sequence[tuple[cp_model.IntVar, int]]) -> Expression:
    """Weighted sum of variables."""
    return cp_model.LinearExpr.weighted_sum([x for x, _ in pairs], [w for _, w in pairs])


@dataclass(frozen=True, slots=True)
class Space:
    """Options of every stage, and where each tensor may live."""

    problem: Problem
    options: tuple[tuple[Option, ...], ...]
    residences: dict[str, tuple[int, ...]]
    lives: dict[str, tuple[int, int]]  # stages during which a kept tensor occupies SRAM

    @property
    def size(self) -> int:
        """Number of options."""
        return sum(map(len, self.options))


INSIDE = -1
"""Residence of a tensor that is made and used within one stage."""


@dataclass(frozen=True, slots=True)
class Cover:
    """An option that does some operator: its variable, and where the tensors of that operator are."""

    chosen: cp_model.IntVar
    option: Option
    inputs: tuple[int, ...]
    output: int


@dataclass(frozen=True, slots=True)
class Selected:
    """Outcome of one run of the selection model."""

    status: Status
    selection: Selection | None
    value: int
    bound: int
    tasks: int = 0


@dataclass(frozen=True, slots=True)
class WholeTransfer:
    """The one transfer of a network input or output that lives in storage, if it is kept in SRAM."""

    tensor: str
    resource: str
    ns: int
    bytes_read: int
    bytes_written: int
    storage_pj: int


def _whole_ns(resource: str, whole: WholeTransfer) -> int:
    """Time of a whole transfer on a resource."""
    return whole.ns if whole.resource == resource else 0


def _loading_ns(tensor: str, whole: WholeTransfer) -> int:
    """Time of a whole transfer that loads a tensor."""
    return whole.ns if whole.bytes_read and whole.tensor == tensor else 0


def _tiles_ns(resource: str, option: Option) -> int:
    """Transfer time of the tiles of an option on a resource."""
    return dict(option.io_ns).get(resource, 0)


def whole_transfers(problem: Problem) -> tuple[WholeTransfer, ...]:
    """Transfers of network inputs before, and of outputs after they are kept, as expansion makes them."""
    target, store, network = problem.target, problem.activation_store, problem.network
    resource, costs = problem.resource_of(store), costs_of(problem)
    ends = {name for name in (*network.inputs, *network.outputs) if name not in problem.pinned}
    size = {name: stored_bytes(problem, name) for name in ends}
    loads = [
        WholeTransfer(n, resource, read_ns(target, store, size[n]), size[n], 0,
                      costs.read_pj(RegionName.INPUT, size[n], 1))
        for n in network.inputs if n in ends
    ]  # fmt: skip
    stores = [
        WholeTransfer(n, resource, write_ns(target, store, size[n]), 0, size[n],
                      costs.written_pj(RegionName.OUTPUT, size[n], 1))
        for n in network.outputs if n in ends
    ]  # fmt: skip
    return (*loads, *stores)


def unfused(space: Space) -> Space:
    """The space without fused stages."""
    return replace(space, options=tuple(tuple(o for o in own if o.operators == 1) for own in space.options))


def least_compute_ns(space: Space) -> int | None:
    """Least time that the kernels of any selection take, None if some operator has no option.

    What may run beside kernels of another unit counts by half: the busier unit has at least half of it. Nor do
    operators that need each other ever take less than the longest way through them.
    """
    meetings = meetings_of(space.problem.target, space.problem.network)
    least: list[int | None] = [0, *([None] * len(space.options))]  # twice the time
    for stage, options in enumerate(space.options):
        begun = least[stage]
        if begun is None:
            continue
        for option in options:
            share = 1 if meetings.loose(stage, option.operators) else 2
            end, total = stage + option.operators, begun + share * option.compute_ns
            known = least[end]
            least[end] = total if known is None else min(known, total)
    if least[-1] is None or meetings.apart:
        return None if least[-1] is None else least[-1] // 2
    return max(-(-least[-1] // 2), _longest_way_ns(space))


def _longest_way_ns(space: Space) -> int:
    """Longest way through the operators of a network, each in its least time; those that may be fused take none."""
    fused = {
        stage + place
        for stage, options in enumerate(space.options)
        for option in options
        if option.operators > 1
        for place in range(option.operators)
    }
    ends: dict[str, int] = {}
    for stage, (op, options) in enumerate(zip(space.problem.network.ops, space.options, strict=True)):
        own = 0 if stage in fused else min(option.compute_ns for option in options)
        ends[op.output] = own + max((ends.get(name, 0) for name in op.inputs), default=0)
    return max(ends.values(), default=0)


def outputs_written(space: Space) -> int:
    """Fewest bytes that any selection writes of the network's outputs: each of them whole, or by its tiles."""
    found = {whole.tensor: whole.bytes_written for whole in whole_transfers(space.problem)}
    total = 0
    for name in space.problem.network.outputs:
        by_tiles = (
            option.bytes_written
            for stage, options in enumerate(space.options)
            for option in options
            if option.output != KEPT
            and space.problem.network.ops[stage + option.operators - 1].output == name
        )
        total += min(found.get(name, 0), min(by_tiles, default=found.get(name, 0)))
    return total


def build_space(problem: Problem, arena_bytes: int | None = None, offered_bytes: int | None = None) -> Space:
    """Enumerate the option space of a problem within an arena (default: the problem's).

    Which planes and tilings are offered depends on the arena too, or on ``offered_bytes``: less
    offers more.
    """
    arena = problem.arena_bytes if arena_bytes is None else arena_bytes
    offered = arena if offered_bytes is None else offered_bytes
    network = problem.network
    where = residences(problem, offered)
    costs = costs_of(problem)
    known: dict[object, tuple[Option, ...]] = {}
    stages = []
    for op in network.ops:
        keep_time()
        shape = _shape_of(problem, op, where)
        if shape not in known:
            found: list[Option] = []
            for inputs in product(*(where[name] for name in op.inputs)):
                for output in where[op.output]:
                    if _compatible(network.tensors, op, inputs, output):
                        found += costs.options(op, inputs, output, arena, offered)
            known[shape] = tuple(found)
        stages.append(known[shape])
    frugal = problem.spares_writes
    for span in spans(network, offered, problem.patch_depth, frugal):
        stages[span[0]] += tuple(fused_options(costs, span, where, arena, offered, frugal))
    return Space(problem, tuple(stages), where, _lives(problem))


def _shape_of(problem: Problem, op: Op, where: dict[str, tuple[int, ...]]) -> object:
    """Everything the options of an operator depend on; equal for repeated layers."""
    network = problem.network
    tensors = tuple(
        (
            t.height,
            t.width,
            t.channels,
            t.dtype,
            where[t.name],
            t.name in network.inputs,
            t.name in network.outputs,
        )
        for t in (network.tensors[name] for name in (*op.inputs, op.output))
    )
    weights = None if op.weights is None else (op.weights.shape, op.weight_bytes, op.packed)
    on_npu = op.name in offered(problem.target, network)
    number = network.ops.index(op)
    given = tuple(name in replaceable(network, range(number, number + 1)) for name in op.inputs)
    return op.kind, op.window, op.groups, op.places, weights, tensors, on_npu, given


def _compatible(tensors: dict[str, Tensor], op: Op, inputs: tuple[int, ...], output: int) -> bool:
    inputs, output = tuple(map(width_of, inputs)), width_of(output)
    planes = {w for w, name in zip(inputs, op.inputs, strict=True) if w not in (KEPT, tensors[name].channels)}
    if op.needs_whole_tensors:
        return not planes and output in (KEPT, tensors[op.output].channels)
    if op.kind is OpKind.CONV:
        return not planes or op.groups == 1
    if op.takes_whole_pixels:
        return not planes and output in (KEPT, tensors[op.output].channels)
    if len(planes) > 1:
        return False
    mixed = planes and any(w == tensors[name].channels for w, name in zip(inputs, op.inputs, strict=True))
    return not mixed and (not planes or output == KEPT or output in planes)


def _lives(problem: Problem) -> dict[str, tuple[int, int]]:
    network = problem.network
    end = len(network.ops) - 1
    lives: dict[str, tuple[int, int]] = {}
    for stage, op in enumerate(network.ops):
        lives[op.output] = (stage, stage)
        for name in op.inputs:
            lives[name] = (lives.get(name, (stage, stage))[0], stage)
    for name in (*network.inputs, *network.outputs):
        if name in problem.pinned:
            lives[name] = (0, end)
    for name, _ in network.carried:  # lies where the input lies that it is carried to
        del lives[name]
    return lives


def covers_of(space: Space, choice: Sequence[Sequence[cp_model.IntVar]]) -> list[list[Cover]]:
    """The options that do each operator."""
    network = space.problem.network
    found: list[list[Cover]] = [[] for _ in network.ops]
    for first, (options, variables) in enumerate(zip(space.options, choice, strict=True)):
        keep_time()
        for option, x in zip(options, variables, strict=True):
            if (
                option.operators == 1
            ):  # may read a tensor twice, and then assume two residences, which no plan has
                found[first].append(Cover(x, option, option.inputs, option.output))
                continue
            last = first + option.operators - 1
            names = operands(network, first, option.operators)
            where = dict(zip(names, option.inputs, strict=True))
            for stage in range(first, last + 1):
                inputs = tuple(where.get(name, INSIDE) for name in network.ops[stage].inputs)
                output = option.output if stage == last else INSIDE
                found[stage].append(Cover(x, option, inputs, output))
    return found


class SelectionModel:
    """CP-SAT model over a space; solved for several aims."""

    def __init__(
        self, space: Space, arena_bytes: int | None = None, slack: float = 0.0, firm: bool = False
    ) -> None:
        """Build the rules.

        ``slack`` is the share of a second set of fetched tiles for which room is left.
        ``firm`` counts tiles that start anywhere in their granules: its selections can
        mostly be placed, but its optimum is no bound.
        """
        self.space = space
        self.problem = space.problem
        self.model = cp_model.CpModel()
        self.arena = space.problem.arena_bytes if arena_bytes is None else arena_bytes
        self.choice = [[self.model.new_bool_var(f"x{s}.{o}") for o in range(len(options))]
                       for s, options in enumerate(space.options)]  # fmt: skip
        self.resides = {
            name: {w: self.model.new_bool_var(f"{name}@{w}") for w in widths}
            for name, widths in space.residences.items()
        }
        for op in self.problem.network.ops[:-1]:
            self.resides[op.output][INSIDE] = self.model.new_bool_var(f"{op.output} inside")
        self.covers = covers_of(space, self.choice)
        self.peak = self.model.new_int_var(0, max(self.arena, 1), "peak")
        self.whole = whole_transfers(self.problem)
        self.one_option_per_stage()
        self.options_match_residences()
        self.memory_per_stage(slack, firm)
        self.buffers_in_banks()
        self.weight_memory()
        self.write_budget()
        self.ring()
        self.latency_budget()
        self.energy_budget()

    # ------------------------------------------------------------------------ rules

    def one_option_per_stage(self) -> None:
        """Every operator is done by exactly one option, every tensor lives in exactly one place."""
        for covers in self.covers:
            self.model.add_exactly_one(cover.chosen for cover in covers)
        for by_width in self.resides.values():
            self.model.add_exactly_one(by_width.values())

    def options_match_residences(self) -> None:
        """An option is used only where its tensors live as it assumes."""
        for op, covers in zip(self.problem.network.ops, self.covers, strict=True):
            keep_time()
            for k, name in enumerate(op.inputs):
                for width, flag in self.resides[name].items():
                    self.model.add(sum(c.chosen for c in covers if c.inputs[k] == width) == flag)
            for width, flag in self.resides[op.output].items():
                self.model.add(sum(c.chosen for c in covers if c.output == width) == flag)

    def memory_per_stage(self, slack: float, firm: bool) -> None:
        """Kept tensors alive in a stage and the workspace of its option fit the arena."""

        def need(option: Option) -> int:
            return (option.firm_bytes if firm else option.need_bytes) + int(slack * option.ahead_bytes)

        for stage, covers in enumerate(self.covers):
            keep_time()
            kept = [pair for name in self._alive(stage) for pair in self._taken(name)]
            self.model.add(_weighted(kept + [(c.chosen, need(c.option)) for c in covers]) <= self.peak)
        for first, last, pairs in self._fused():
            names = {name for stage in range(first, last + 1) for name in self._alive(stage)}
            kept = [pair for name in sorted(names) for pair in self._taken(name)]
            most = sum(size for _, size in kept)
            used = sum(x for _, x in pairs)  # whatever is alive in some operator is alive in all of them
            needed = _weighted([(x, need(option)) for option, x in pairs])
            self.model.add(_weighted(kept) + needed <= self.peak + most * (1 - used))

    def _fused(self) -> Iterator[tuple[int, int, list[tuple[Option, cp_model.IntVar]]]]:
        """Fused stages: first and last operator, and the options that do them."""
        for first, (options, variables) in enumerate(zip(self.space.options, self.choice, strict=True)):
            by_length: dict[int, list[tuple[Option, cp_model.IntVar]]] = defaultdict(list)
            for option, x in zip(options, variables, strict=True):
                if option.operators > 1:
                    by_length[option.operators].append((option, x))
            for operators, pairs in by_length.items():
                yield first, first + operators - 1, pairs

    def buffers_in_banks(self) -> None:
        """A kept tensor lies in one bank all its life, and some bank takes the largest tile beside."""
        banks = self._banks_bytes()
        if len(banks) < 2:
            return  # memory_per_stage says it all
        lies: dict[str, dict[int, cp_model.IntVar]] = {}
        for name in self.space.lives:
            fitting = [k for k, size in enumerate(banks) if self._kept_bytes(name) <= size]
            lies[name] = {k: self.model.new_bool_var(f"{name} in {k}") for k in fitting}
            self.model.add(sum(lies[name].values()) == self.resides[name][KEPT])
        for stage, covers in enumerate(self.covers):
            keep_time()
            most = max((c.option.largest_bytes for c in covers), default=0)
            takes = [self.model.new_bool_var(f"largest of {stage} in {k}") for k in range(len(banks))]
            self.model.add_exactly_one(takes)
            spared = self._spared(stage)
            for k, size in enumerate(banks):
                self.model.add(self._lying(lies, self._alive(stage), k) <= size + spared)
                for names, largest in self._together(stage):
                    fits = size + spared + most * (1 - takes[k])
                    self.model.add(self._lying(lies, names, k) + largest <= fits)

    def _spared(self, stage: int) -> Expression:
        """Bytes of the output of a stage, if it lies where an input does."""
        size = self._kept_bytes(self.problem.network.ops[stage].output)
        return _weighted(
            [(c.chosen, size) for c in self.covers[stage] if c.output == KEPT and c.option.tiling.in_place]
        )

    def _lying(self, lies: dict[str, dict[int, cp_model.IntVar]], names: list[str], bank: int) -> Expression:
        """Bytes of kept tensors that lie in a bank."""
        return _weighted([(lies[n][bank], self._kept_bytes(n)) for n in names if bank in lies[n]])

    def _together(self, stage: int) -> list[tuple[list[str], Expression]]:
        """Tensors that are alive with every tile of a stage, and the largest of those tiles.

        An output that the stage begins is there with all tiles only if none of them is a partial sum.
        """
        network, own = self.problem.network, self.problem.network.ops[stage].output
        alive = self._alive(stage)
        before = [name for name in alive if name != own or self.space.lives[name][0] < stage]

        def unless_split(option: Option) -> int:
            if option.operators > 1:
                return 0  # tiles of the operators before it come and go while it is not there yet
            splits = StageGeometry.of(network, network.ops[stage], option.tiling).grid[3]
            return option.largest_bytes if splits == 1 else 0

        return [
            (before, self._stage_total(stage, lambda o: o.largest_bytes)),
            (alive, self._stage_total(stage, unless_split)),
        ]

    def _banks_bytes(self) -> list[int]:
        """Bytes of each bank of the arena."""
        if self.arena <= 0:
            return []
        return [
            size
            for _, size in replace(self.problem, sram_bytes=self.arena + self.problem.reserved_bytes).banks
        ]

    def _alive(self, stage: int) -> list[str]:
        """Tensors that occupy SRAM during a stage if they are kept."""
        return [name for name, (first, last) in self.space.lives.items() if first <= stage <= last]

    def _taken(self, name: str) -> list[tuple[cp_model.IntVar, int]]:
        """Where a tensor may live, if it is kept there in part at least, with the SRAM that takes."""
        by_width = self.resides[name]
        parts = [
            (x, part_bytes(self.problem, name, w)) for w, x in by_width.items() if w > 0 and rows_kept(w)
        ]
        return [(by_width[KEPT], self._kept_bytes(name)), *parts]

    def _kept_bytes(self, name: str) -> int:
        """SRAM that a kept tensor takes."""
        return self.problem.buffer_bytes(stored_bytes(self.problem, name))

    def weight_memory(self) -> None:
        """Resident weights and those that a stage loads fit the NPU's own memory together."""
        if not is_crowded(self.problem.target, self.problem.network):
            return
        resident = self._total(lambda o: o.resident_bytes)
        for stage in range(len(self.covers)):
            loaded = self._stage_total(stage, lambda o: o.loaded_bytes)
            self.model.add(resident + loaded <= self.problem.weight_memory_bytes)

    def write_budget(self) -> None:
        """Bytes written per inference stay within the budget."""
        most = self.problem.most_written_bytes
        if most is not None:
            self.model.add(self._written() <= most)
        if not self.problem.allows_writes:
            self.model.add(self._written() == 0)

    def ring(self) -> None:
        """What is spilled fits into a place of the ring: no byte of the scratch region is written twice."""
        most = self.problem.most_scratch_bytes
        if most is not None:
            self.model.add(self._spilled() <= most)

    def latency_budget(self) -> None:
        """The least makespan that the chosen options allow stays within the budget."""
        if self.problem.limits.latency_ns is not None:
            self.model.add(self.makespan <= self.problem.limits.latency_ns)

    def energy_budget(self) -> None:
        """The least energy that the chosen options allow stays within the budget."""
        if self.problem.limits.energy_nj is not None:
            self.model.add(self.energy_pj <= 1000 * self.problem.limits.energy_nj)

    def few_tasks(self, most: int) -> None:
        """At most so many tasks: no rule for a plan, but those of more take minutes to be carried out."""
        self.model.add(self._total(lambda o: o.tasks) <= most)

    def few_writes(self, most: int) -> None:
        """At most so many bytes written, whatever the budget."""
        self.model.add(self._written() <= most)

    # ------------------------------------------------------------------- objectives

    def _total(self, figure: Callable[[Option], int]) -> Expression:
        """Sum of a figure over the chosen options."""
        pairs = [
            (x, figure(option))
            for options, variables in zip(self.space.options, self.choice, strict=True)
            for option, x in zip(options, variables, strict=True)
        ]
        return _weighted(pairs)

    def _stage_total(self, stage: int, figure: Callable[[Option], int]) -> Expression:
        """A figure of the option that does an operator."""
        return _weighted([(c.chosen, figure(c.option)) for c in self.covers[stage]])

    def _whole_total(self, figure: Callable[[WholeTransfer], int]) -> Expression:
        """Sum of a figure over the transfers of kept network inputs and outputs."""
        return _weighted([(self.resides[w.tensor][KEPT], figure(w)) for w in self.whole])

    def _written(self) -> Expression:
        """Bytes written, those of network outputs that are kept and stored at the end included."""
        return self._total(lambda o: o.bytes_written) + self._whole_total(lambda w: w.bytes_written)

    def _spilled(self) -> Expression:
        """Bytes written of tensors that are no outputs of the network."""
        network = self.problem.network
        pairs = [
            (x, option.bytes_written)
            for stage, (options, variables) in enumerate(zip(self.space.options, self.choice, strict=True))
            for option, x in zip(options, variables, strict=True)
            if network.ops[stage + option.operators - 1].output not in network.outputs
        ]
        return _weighted(pairs)

    def objective(self, aim: Aim) -> Expression:
        """Expression to minimise for an aim."""
        if aim is Aim.SRAM:
            return self.peak * PEAK_SCALE + self._total(lambda o: min(o.tasks, PEAK_TASKS))
        if aim is Aim.WRITES:
            return self._written()
        if aim is Aim.SERIAL:
            return self._total(lambda o: o.compute_ns + o.total_io_ns)
        if aim is Aim.LAYER_OVERLAP:
            return self._total(lambda o: max(o.compute_ns, o.total_io_ns) + o.total_io_ns // 64)
        return self.makespan if aim is Aim.MAKESPAN_BOUND else self.energy_pj

    @cached_property
    def makespan(self) -> Expression:
        """A variable at least as large as the work of every resource, and as first fetch + kernels + last store.

        Kernels of one unit follow each other and those that run alone, whoever computes these.
        """
        model, ops = self.model, self.problem.network.ops
        meetings = meetings_of(self.problem.target, self.problem.network)
        makespan = model.new_int_var(0, self._horizon_ns(), "makespan")
        compute = self._total(lambda o: 0 if o.tiling.npu else o.compute_ns)
        last: Expression = self._stage_total(-1, lambda o: o.last_ns)
        last += self._whole_total(lambda w: w.ns if w.bytes_written and w.tensor == ops[-1].output else 0)
        last = last if meetings.parts[-1] and meetings.joins[-1] else _weighted([])
        model.add(makespan >= compute)
        for npu in (False,) if meetings.apart else (False, True):
            kernels = self._kernels_of(npu, meetings)
            model.add(makespan >= self._stage_total(0, lambda o: o.first_ns) + kernels + last)
            for name in ops[0].inputs:
                load = self._whole_total(partial(_loading_ns, name))
                model.add(makespan >= load + kernels + last)
        for resource in self._transfer_resources():
            busy = self._total(partial(_tiles_ns, resource)) + self._whole_total(partial(_whole_ns, resource))
            own_unit = resource == self.problem.compute_resource
            model.add(makespan >= (busy + compute if own_unit else busy))
        return makespan

    def _kernels_of(self, npu: bool, meetings: Meetings) -> Expression:
        """Kernels of a unit, and those of the other one that run alone."""
        pairs = [
            (x, option.kernels_ns)
            for stage, (options, variables) in enumerate(zip(self.space.options, self.choice, strict=True))
            for option, x in zip(options, variables, strict=True)
            if option.tiling.npu == npu or not meetings.loose(stage, option.operators)
        ]
        return _weighted(pairs)

    def _transfer_resources(self) -> set[str]:
        used = {name for options in self.space.options for o in options for name, _ in o.io_ns}
        return used | {w.resource for w in self.whole}

    def _horizon_ns(self) -> int:
        """More than any selection takes."""
        longest = (
            max((o.compute_ns + o.total_io_ns for o in options), default=0) for options in self.space.options
        )
        return 2 * (sum(longest) + sum(w.ns for w in self.whole)) + 1

    @cached_property
    def energy_pj(self) -> Expression:
        """Lower estimate of the energy in pJ, rounded down term by term to stay within 64 bits."""
        rates = Rates.of(self.problem.target)
        own = self._total(lambda o: int(rates.per_compute_ns * o.compute_ns) + o.storage_pj)
        own += self._whole_total(lambda w: w.storage_pj)
        makespan_us = self.model.new_int_var(0, self._horizon_ns() // 1000, "makespan_us")
        self.model.add(1000 * makespan_us + 999 >= self.makespan)
        return own + int(1000 * rates.per_ns) * makespan_us

    # ---------------------------------------------------------------------- solving

    def solve(self, aim: Aim, budget: Budget, below: int | None = None) -> Selected:
        """Minimise an aim; INFEASIBLE when no selection fits, or none is better than ``below``.

        The next aim of the same model begins with what was found for this one.
        """
        if any(not covers for covers in self.covers):
            return Selected(Status.INFEASIBLE, None, 0, 0)
        objective = self.objective(aim)
        self.model.minimize(objective)
        if below is not None:
            self.model.add(objective < below * SCALE.get(aim, 1))
        solver = cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = budget.time_limit_s
        solver.parameters.num_workers = budget.workers
        solver.parameters.random_seed = budget.seed
        solver.parameters.catch_sigint_signal = False  # Ctrl-C is for Python, which cleans up
        code = solved_in_time(solver, self.model)
        bound = max(0, int(solver.best_objective_bound)) if code != cp_model.INFEASIBLE else 0
        if code not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            status = Status.INFEASIBLE if code == cp_model.INFEASIBLE else Status.FEASIBLE
            return Selected(status, None, 0, bound)
        tilings: list[Tiling] = []
        tasks = 0
        for stage, covers in enumerate(self.covers):
            if len(tilings) == stage:
                chosen = next(c.option for c in covers if solver.value(c.chosen))
                tilings += chosen.tilings
                tasks += chosen.tasks
        self.model.clear_hints()  # type: ignore[no-untyped-call]
        for x in chain(*self.choice, *(by_width.values() for by_width in self.resides.values())):
            self.model.add_hint(x, solver.value(x))
        kept = frozenset(n for n, by_width in self.resides.items() if solver.value(by_width[KEPT]))
        status = Status.OPTIMAL if code == cp_model.OPTIMAL else Status.FEASIBLE
        value = solver.value(objective)  # exact, unlike the solver's own figures, which are floats
        bound = value if status is Status.OPTIMAL else bound
        value, bound = value // SCALE.get(aim, 1), bound // SCALE.get(aim, 1)
        return Selected(
            status, Selection(tuple(tilings), kept, self.problem.network.order), value, bound, tasks
        )
