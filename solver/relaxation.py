"""A lower bound on latency over all tilings, residences, transfer orders, times and addresses.

Each stage option is a matrix over (max, +) that lower-bounds what it does to the state
(E, B): E is when the kernels so far have ended, B per channel when at the earliest it can have
done all transfers that are due so far (`step_matrices`). The shortest path through the stages,
over where the live tensors are, is a bound (`Round.forward`). Credits for loads ahead and for
stores that are still outstanding are over-estimates over all options that are left. Paths that
reach an assumed makespan are ruled out, which makes credits smaller and the bound better; if
nothing is left, no plan has a makespan below the assumed one (`latency_bound`). What is left then is
walked through once more, case by case (`refinement`). FORMULATION.md has the proof.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product

import numpy as np

from ooc_solve.models.problem import Problem
from ooc_solve.solver.branching import refuted
from ooc_solve.solver.credits import Credit, Credits, Fitting, Room
from ooc_solve.solver.lives import State
from ooc_solve.solver.maxplus import Ints, applied, chains, minimal, powers, pulled_back, through
from ooc_solve.solver.options import Option
from ooc_solve.solver.refinement import MOST_RUNS, MOST_RUNS_OF_A_PROOF, refined
from ooc_solve.solver.selection import Space, build_space
from ooc_solve.solver.thrift import NS_PER_UNIT
from ooc_solve.solver.tolls import NO_PRICES, Prices, Tolls
from ooc_solve.solver.units import Work, by_units
from ooc_solve.solver.variants import Alive, Batch, Key, Mask, Options, Stock, TimeUpError, check, stages_of

MOST_LABELS = 24
"""Vectors kept per state; one without channels."""

MOST_LOADS = 4
"""Operands of one kernel up to which all choices of what is loaded ahead are compared."""

TIGHT = 0.001
"""The search for the bound ends when what is refuted and what is not are this close."""

GROWTH = (0.002, 0.01, 0.03, 0.1, 0.3)
"""How far above the best bound so far a makespan is assumed, one after the other."""

BRANCHED = (0.003, 0.001)
"""How far above the best bound a makespan is refuted option by option: the next share where that fails."""

FARTHEST = 0.015
"""The same at most once something was not refuted: to fail takes longer than to refute, the more the higher it is."""

FAR = 1.1
"""No walk rules out options, nor is a plan sought to be refuted, where the makespan assumed is more times what is
proven: it takes long, in vain."""

SWEEPS = 4
"""Rounds of ruling out for one assumed makespan; more gain little."""


@dataclass(frozen=True, slots=True)
class Bound:
    """No plan is shorter than ``value_ns``.

    ``survivors`` are the options of each stage that a plan shorter than the incumbent can be
    made of: all of them where no incumbent is known.
    """

    value_ns: int
    survivors: tuple[tuple[Option, ...], ...]


def step_matrices(
    batch: Batch,
    wait_ns: Ints,
    far: Credit,
    near: Credit,
    entry_ns: Ints,
    latest_ns: Ints,
    loose: bool = False,
) -> Ints:
    """Matrices of single kernels on (E, B per channel, C per channel).

    With p compute, d the time of its own loads that cannot begin before the kernel before it ends,
    and per channel w fetched first, s stored after, h loaded ahead at most and o still to be stored
    at most, of all transfers (B) or of those of the stage (C)::

        S = max(E + d, B[c] + w[c] - o[c], C[c] + w[c] - o'[c])         the kernel starts
        E' = S + p
        B'[c] = max(B[c] + w[c], E' - h[c]) + s[c]
        C'[c] = max(C[c] + w[c], E' - h'[c]) + s[c]     or behind the last kernel  E' - entry[c]

    where ``entry`` is what may be there of the next stage's loads. Beside a kernel of another unit (``loose``) only
    what a kernel finds when it starts is certain: S takes the place of E' in the last two. Where the CPU opens and seals by tasks of their
    own, E' is less by what may be opened ahead and more by what may be left to be sealed than the end of the kernel
    (`_ends`); FORMULATION.md has the proof.
    """
    channels, n = batch.fetch_ns.shape
    found = np.empty((2 * channels + 1, 2 * channels + 1, n), np.int64)
    late = np.concatenate((far.late_ns[:channels], near.late_ns[:channels]))
    fetched = np.concatenate((batch.fetch_ns, batch.fetch_ns)) - late
    found[0], end = _ends(batch, wait_ns, fetched, far, latest_ns, channels)
    end = end - batch.compute_ns if loose else end
    found[1 : channels + 1] = end + (batch.store_ns - far.ahead_ns[:channels])[:, None, :]
    behind = np.where(batch.last, -entry_ns, batch.store_ns - near.ahead_ns[:channels])
    found[channels + 1 :] = end + behind[:, None, :]
    due = batch.fetch_ns + batch.store_ns
    for c in range(channels):
        own = found[c + 1, c + 1]
        np.maximum(own, due[c], out=own)
        own = found[channels + c + 1, channels + c + 1]
        np.maximum(own, np.where(batch.last, own, due[c]), out=own)
    return found


def _ends(
    batch: Batch, wait_ns: Ints, fetched_ns: Ints, far: Credit, latest_ns: Ints, channels: int
) -> tuple[Ints, Ints]:
    """What E and each channel (``fetched_ns``) make of E', and of the end of the kernel itself.

    With k the kernel alone, a, a* and z what opening its loads, opening the shortest of them and sealing its tile
    takes, P what may be opened ahead of later kernels when it ends, L what of earlier tiles may still have to be
    sealed then, and L* at any time before::

        E'  >=  E + a + k + z,   E + d + a* + k + z - P - L*,   B[c] + w[c] - o[c] + k + z - P
        end >=  E + a + k - L,   E + d + a* + k - L*,           B[c] + w[c] - o[c] + k

    All but k and d are 0 where checks are part of the kernel.
    """
    opening, least, sealing = batch.cipher_ns
    opened, unsealed = far.ahead_ns[channels:].sum(axis=0), far.late_ns[channels:].sum(axis=0)
    kernel = batch.compute_ns - opening - sealing
    waited = wait_ns + least + kernel - latest_ns[channels:].sum(axis=0)
    prompt = fetched_ns + kernel
    own = np.maximum(batch.compute_ns, waited + sealing - opened)
    end = np.maximum(opening + kernel - unsealed, waited)
    return np.vstack((own[None], prompt + sealing - opened)), np.vstack((end[None], prompt))


def unstarted_ns(sizes: Ints, times: Ints, free_bytes: Ints) -> Ints:
    """Least time of loads (``(loads, runs)``) that are not begun where the others have to fit free bytes."""
    best = np.zeros(len(free_bytes), np.int64)
    for subset in product((0, 1), repeat=len(sizes)):
        chosen = np.flatnonzero(subset)
        fits = sizes[chosen].sum(axis=0) <= free_bytes
        np.maximum(best, np.where(fits, times[chosen].sum(axis=0), 0), out=best)
    found: Ints = times.sum(axis=0) - best
    return found


class Round:
    """One pass over all stages with the credits of the options that are left."""

    def __init__(self, options: Options, alive: Alive, deadline: float) -> None:
        self.options, self.lives, self.deadline = options, options.lives, deadline
        rooms = {key: room for key, mask in alive.items() if (room := self._room(key, mask)) is not None}
        self.credits = Credits(options, rooms)
        self.most = MOST_LABELS if options.channels else 1
        self.stages = len(options.steps)
        by_stage: list[list[tuple[Key, Room]]] = [[] for _ in range(self.stages)]
        for key, room in rooms.items():
            by_stage[key[0]].append((key, room))
        self.labels: list[dict[State, Ints]] = [{} for _ in range(self.stages + 1)]
        self.matrices: list[list[tuple[Key, Mask, Ints]]] = []
        self.fittings: list[list[Fitting]] = []
        self.rest: list[dict[State, Ints]] = []
        self._forward(by_stage)

    @property
    def value_ns(self) -> int | None:
        """Least makespan of the relaxation, None if no path is left."""
        ends = [int(labels.max(axis=0).min()) for labels in self.labels[-1].values()]
        return min((end for end in ends if end < NS_PER_UNIT), default=None)

    @property
    def runs(self) -> int:
        """Runs of equal kernels of all options together."""
        return sum(len(fit.batch.count) for stage in self.fittings for fit in stage)

    def check_time(self) -> None:
        """Raise `TimeUpError` after the deadline."""
        check(self.deadline)

    def _forward(self, by_stage: list[list[tuple[Key, Room]]]) -> None:
        d = self.options.dimensions
        for key, _ in by_stage[0]:
            self.labels[0][key[1]] = self.options.start
        arrived: list[dict[State, list[Ints]]] = [defaultdict(list) for _ in range(self.stages + 1)]
        for stage, batches in enumerate(by_stage):
            self.check_time()
            if stage:
                self.labels[stage] = self._kept(arrived[stage])
            fitting = [self._fitting(key, room) for key, room in batches if key[1] in self.labels[stage]]
            here = self._matrices(fitting)
            for key, _, matrices in here:
                images = applied(matrices, self.labels[stage][key[1]]).reshape(d, -1)
                arrived[stage + key[3]][self.lives.after(*key)].append(images)
            self.matrices.append(here)
        self.labels[-1] = self._kept(arrived[-1])

    def _kept(self, arrived: dict[State, list[Ints]]) -> dict[State, Ints]:
        """The vectors behind an operator that are told apart."""
        return {s: minimal(np.concatenate(images, axis=1), self.most) for s, images in arrived.items()}

    def _matrices(self, fitting: list[Fitting]) -> list[tuple[Key, Mask, Ints]]:
        """The options of some batches and their matrices."""
        self.fittings.append(fitting)
        if not fitting:
            return []
        parts = [fit.batch for fit in fitting]
        count, row_runs, row_count, rows = (
            np.concatenate([getattr(batch, name) for batch in parts])
            for name in ("count", "row_runs", "row_count", "rows")
        )
        single = np.concatenate([self._single(fit) for fit in fitting], axis=2)
        rounds = powers(chains(powers(single, count), row_runs), row_count)
        ends = np.cumsum([len(batch.rows) for batch in parts])
        whole = np.split(chains(rounds, rows), ends[:-1], axis=2)
        return [
            (
                fit.key,
                fit.mask,
                self.options.with_tolls(self._by_units(fit, own), fit.key[0], fit.batch.options),
            )
            for fit, own in zip(fitting, whole, strict=True)
        ]

    def _by_units(self, fit: Fitting, matrices: Ints) -> Ints:
        """The matrices with a row and a column for the NPU, where it may work beside the CPU."""
        (stage, _, _, operators), options, batch = fit.key, self.options, fit.batch
        if options.in_one_chain:
            return matrices
        there = [options.options[stage][number] for number in batch.options]
        npu = np.array([o.tiling.npu for o in there], bool)
        own = np.array([o.compute_ns for o in there], np.int64) * npu
        ends, often = np.flatnonzero(batch.last), batch.count * np.repeat(batch.row_count, batch.row_runs)
        moved = np.add.reduceat((batch.fetch_ns + batch.store_ns) * often, fit.room.begins, axis=1)
        work = Work(npu, own, batch.compute_ns[ends], moved, fit.entry_most_ns)
        return by_units(matrices, options.meetings, stage, operators, work)

    def _room(self, key: Key, mask: Mask) -> Room | None:
        """Options of a batch that fit, None if none do."""
        stage, state, output, operators = key
        batch = self.options.batch(*key).take(mask)
        made = self.lives.ops[stage + operators - 1].output
        own_bytes = self.lives.taken_bytes(made, output)
        arena_bytes = self.options.problem.arena_bytes
        room = arena_bytes - self.lives.kept_bytes(stage, state) - own_bytes
        now = batch.need_bytes, batch.before_output, batch.instant, batch.released
        dying = self.lives.dying(stage, state, operators)
        free = self._free(room, own_bytes, dying, *now)
        runs = np.add.reduceat(batch.row_runs, np.cumsum(batch.rows) - batch.rows)
        fits = np.minimum.reduceat(free, np.cumsum(runs) - runs) >= 0
        if not fits.any():
            return None
        if not fits.all():
            left = mask.copy()
            left[np.flatnonzero(mask)[~fits]] = False
            free, batch, mask = free[np.repeat(fits, runs)], batch.take(fits), left
        before = self._free(room, own_bytes, dying, *batch.previous)
        return Room(mask, batch, free, np.where(batch.first, arena_bytes, before))

    def _fitting(self, key: Key, room: Room) -> Fitting:
        """The same with what may be done beside them."""
        stage, state, _, operators = key
        credited, after = range(self.options.credited), self.lives.after(*key)
        end, fresh = stage + operators, self.credits.fresh(key, room.batch.options)
        ahead = tuple(self.credits.ahead(end, after, c, fresh) for c in credited)
        late = tuple(self.credits.late(stage, state, c) for c in credited)
        entry = tuple(self.credits.entry(end, after, c, fresh) for c in credited)
        return Fitting(key, room, self.options.stairs, ahead, late, entry)

    def _free(
        self,
        room: int,
        own_bytes: int,
        dying: Sequence[tuple[int, int]],
        need: Ints,
        before_output: Ints | Mask,
        instant: Ints | Mask,
        released: Ints,
    ) -> Ints:
        """Bytes that kernels leave free; one that takes no time holds nothing, as lives are half-open."""
        free = room - need + own_bytes * (before_output > 0)
        for operands_read, size in dying:
            free = free + size * (released & operands_read == operands_read)
        return np.where(instant > 0, self.options.problem.arena_bytes, free)

    def _single(self, fit: Fitting) -> Ints:
        """Matrices of the single kernels of a batch."""
        batch = fit.batch
        wait = np.zeros(len(batch.count), np.int64)
        loose = self.options.meetings.loose(fit.key[0], fit.key[3])
        for rows in () if loose else self.options.operands(fit.key[0], fit.key[3]):
            if 0 < len(rows) <= MOST_LOADS:
                loads = batch.load_bytes[rows], batch.load_ns[rows]
                np.maximum(wait, unstarted_ns(*loads, fit.room.free_before_bytes), out=wait)
        entry_ns = fit.entry_ns[: self.options.channels]
        return step_matrices(batch, wait, fit.far, fit.near, entry_ns, fit.latest_ns, loose)

    def below(self, limit_ns: int | None) -> Alive:
        """The options through which there is a path shorter than a limit.

        ``rest`` is left with functions of the vector at each state that bound the end from below.
        """
        d = self.options.dimensions
        functions = self.rest = [{} for _ in range(self.stages + 1)]
        functions[-1] = {state: np.zeros((d, 1), np.int64) for state in self.labels[-1]}
        found: Alive = {}
        for stage in reversed(range(self.stages)):
            self.check_time()
            earlier: dict[State, list[Ints]] = defaultdict(list)
            for key, mask, matrices in self.matrices[stage]:
                rest = functions[stage + key[3]].get(self.lives.after(*key))
                if rest is None:
                    continue
                from_here = pulled_back(matrices, rest)
                if limit_ns is not None:
                    short = through(from_here, self.labels[stage][key[1]]) < limit_ns
                    if not short.any():
                        continue
                    left = mask.copy()
                    left[np.flatnonzero(mask)[~short]] = False
                    mask, from_here = left, from_here[:, short]
                found[key] = mask
                earlier[key[1]].append(from_here.reshape(d, -1))
            functions[stage] = self._kept(earlier)
        return found


class _Search:
    """Assumes makespans and refutes them; what is proven so far is in ``proven_ns``."""

    def __init__(self, options: Options, deadline: float) -> None:
        self.options, self.deadline = options, deadline
        self.layouts_matter = options.layouts_matter
        self.proven_ns = 0
        self.most_runs = MOST_RUNS_OF_A_PROOF
        self.last: Round | None = None  # with something left, and without layouts
        self.lowest: Alive = {}  # what is left where the least makespan that is not refuted is assumed

    def settle(self, alive: Alive, limit_ns: int) -> Alive:
        """Rule out options, first without and then with layouts; nothing is left where the limit is refuted.

        Raises `TimeUpError` at the deadline.
        """
        alive = self.sweep(self.options, alive, limit_ns, MOST_RUNS_OF_A_PROOF)
        if not alive or not self.layouts_matter:
            return alive
        fine = self.options.refined(alive, self.deadline)
        if fine is None:
            return alive
        left = self.sweep(fine, fine.everywhere(), limit_ns, MOST_RUNS_OF_A_PROOF)
        return self.options.among(alive, fine.named(left)) if left else {}

    def sweep(self, options: Options, alive: Alive, limit_ns: int, walked: int = MOST_RUNS) -> Alive:
        """Rule out options until that changes little; up to so many runs of kernels are walked through."""
        for _ in range(SWEEPS):
            now, alive = self._coarser(options, alive, limit_ns)
            before, alive = _number(alive), self._finer(now, alive, limit_ns, walked)
            if not alive:
                self.proven_ns = max(self.proven_ns, limit_ns)
            if not alive or _number(alive) > 0.98 * before:
                break
        return alive

    def _coarser(self, options: Options, alive: Alive, limit_ns: int) -> tuple[Round, Alive]:
        """Rule out options by their matrices until that changes little; the last round, and what is left."""
        for _ in range(SWEEPS):
            now = Round(options, alive, self.deadline)
            value = limit_ns if now.value_ns is None else min(now.value_ns, limit_ns)
            self.proven_ns = max(self.proven_ns, value)
            if value == limit_ns:
                return now, {}
            if options is self.options:
                self.last = now
            before, alive = _number(alive), now.below(limit_ns)
            if _number(alive) > 0.98 * before:
                break
        return now, alive

    def _finer(self, now: Round, alive: Alive, limit_ns: int, walked: int) -> Alive:
        """What a walk through what is left leaves of it."""
        if not alive or not self.options.channels or not self.options.meetings.apart:
            return alive
        if limit_ns > FAR * self.proven_ns:
            return alive  # hardly anything would be ruled out
        most = min(walked, self.most_runs)
        finer = refined(now, limit_ns, most)
        if finer is None:
            if now.runs <= most:  # it took too long, and would again
                self.most_runs = 2 * now.runs // 3
            return alive
        self.proven_ns = max(self.proven_ns, min(limit_ns, finer.value_ns or 0))
        return finer.alive

    def begin(self, alive: Alive) -> Alive:
        """The bound without any assumption, and the options that a plan can be made of: none where each path takes
        more than there is of something that is counted.
        """
        now = self.last = Round(self.options, alive, self.deadline)
        self.proven_ns = now.value_ns or 0
        return {} if now.value_ns is None else now.below(None)

    def climb(self, alive: Alive, limit_ns: int | None) -> Iterator[None]:
        """Refute longer and longer makespans, then halve the distance to what cannot be refuted; step by step."""
        for growth in GROWTH:
            step = self.proven_ns + 1 + int(growth * self.proven_ns)
            if limit_ns is not None and step >= limit_ns:
                break
            left = self.settle(alive, step)
            yield
            if left:
                limit_ns, alive = step, left
                self.lowest = left
                break
        while limit_ns is not None and limit_ns - self.proven_ns > max(1, TIGHT * limit_ns):
            middle = min((self.proven_ns + limit_ns) // 2, int((1 + FARTHEST) * self.proven_ns) + 1)
            left = self.settle(alive, middle)
            yield
            if left:
                limit_ns, alive = middle, left
                self.lowest = left

    def branch(self, alive: Alive, limit_ns: float) -> Iterator[None]:
        """Refute longer and longer makespans option by option, a step at a time."""
        for growth in BRANCHED:
            while self.proven_ns < limit_ns:
                step = int(min(limit_ns, self.proven_ns + 1 + int(growth * self.proven_ns)))
                options, left = self.options, self.sweep(self.options, alive, step)
                if left and self.layouts_matter and (fine := options.refined(left, self.deadline)):
                    options, left = fine, fine.everywhere()
                parts = _Search(options, self.deadline)  # what it proves holds for parts only
                if left and not refuted(parts.sweep, options, left, step):
                    break
                self.proven_ns = max(self.proven_ns, step)
                yield


def _number(alive: Alive) -> int:
    return sum(int(mask.sum()) for mask in alive.values())


class Relaxation:
    """The relaxation of one problem over one or more spaces; what is known grows from call to call.

    ``bound_ns``: no plan is shorter. ``round``: the last pass over the options that are left, None where
    time did not suffice for one, or nothing fits. ``first_ns``: the bound when nothing was assumed
    yet. A ``deadline`` is a time of `time.monotonic`, ``prices`` are those of bytes (`tolls`).
    """

    def __init__(
        self,
        problem: Problem,
        spaces: Sequence[Space] | None = None,
        deadline: float = math.inf,
        prices: Prices = NO_PRICES,
    ) -> None:
        stages = stages_of((build_space(problem),) if spaces is None else spaces)
        self.survivors = tuple(stage.options for stage in stages)
        self.tolls = Tolls(problem, prices)
        self._search: _Search | None = None
        self._alive: Alive = {}
        self._assumed: int | None = None
        self.first_ns = 0
        try:
            options = Options(Stock.of(problem, self.tolls), stages, False, deadline)
            self._search = _Search(options, deadline)
            self._alive = self._search.begin(options.everywhere())
            self.first_ns = self._search.proven_ns
        except TimeUpError:
            pass  # what is known by then stays

    @property
    def bound_ns(self) -> int:
        """The bound so far, at most the least makespan assumed."""
        proven = 0 if self._search is None else self._search.proven_ns
        return proven if self._assumed is None else min(proven, self._assumed)

    @property
    def bound(self) -> int:
        """The bound in terms of the problem's objective."""
        return self.tolls.value(self.bound_ns)

    def excludes(self, value: int, deadline: float = math.inf) -> bool:
        """Whether no plan is better than a value of the problem's objective."""
        return self.refutes(self.tolls.limit(value), deadline)

    @property
    def feasible(self) -> bool:
        """Whether something may fit; without any makespan assumed, nothing is left only where nothing does."""
        return self._search is None or self._search.last is None or self._search.last.value_ns is not None

    @property
    def round(self) -> Round | None:
        """The last pass that left something."""
        return self._search.last if self._search is not None and self._alive else None

    def narrowest(self, most: int, deadline: float = math.inf) -> Round | None:
        """A pass over what the least makespan that is not refuted leaves; None if time does not suffice, or
        there are more than ``most`` options left before.
        """
        if self._search is None or not 0 < _number(self._alive) <= most:
            return None
        self.climb(deadline)
        try:
            found = Round(self._search.options, self._search.lowest or self._alive, deadline)
            found.below(None)
        except TimeUpError:
            return None
        return found if found.value_ns is not None else None

    def assume(self, makespan_ns: int, deadline: float = math.inf) -> None:
        """Rule out what cannot be part of a plan shorter than one that is known."""
        if self._search is None or not self._alive:
            return
        self._assumed = min(makespan_ns, self._assumed or makespan_ns)
        self._search.deadline = deadline
        try:
            self._alive = self._search.sweep(self._search.options, self._alive, makespan_ns)
            self.survivors = self._search.options.named(self._alive)
        except TimeUpError:
            pass  # less is ruled out

    def refutes(self, makespan_ns: int, deadline: float = math.inf) -> bool:
        """Whether no plan is shorter than a makespan; nothing is ruled out for good."""
        if self._search is None or not self._alive or self.bound_ns >= makespan_ns:
            return self.bound_ns >= makespan_ns or not self.feasible
        self._search.deadline, last = deadline, self._search.last
        try:
            return not self._search.sweep(self._search.options, self._alive, makespan_ns)
        except TimeUpError:
            return False
        finally:
            self._search.last = last

    def climb(self, deadline: float = math.inf) -> None:
        """Raise the bound as far as it goes without branching."""
        for _ in self._climbing(deadline):
            pass

    def climbing(self, deadline: float = math.inf) -> Iterator[None]:
        """`climb` and then `branch`, step by step, for those who raise several by turns."""
        yield from self._climbing(deadline)
        yield from self._branching(deadline)

    def _climbing(self, deadline: float) -> Iterator[None]:
        if self._search is None or not self._alive:
            return
        self._search.deadline = deadline
        with suppress(TimeUpError):
            yield from self._search.climb(self._alive, self._assumed)

    def branch(self, deadline: float = math.inf) -> None:
        """Raise it further option by option, up to the makespan that is assumed if one is (see `branching`)."""
        for _ in self._branching(deadline):
            pass

    def _branching(self, deadline: float) -> Iterator[None]:
        if self._search is None or not self._alive:
            return
        self._search.deadline = deadline
        limit_ns = math.inf if self._assumed is None else self._assumed
        with suppress(TimeUpError):
            yield from self._search.branch(self._alive, limit_ns)


def latency_bound(
    problem: Problem,
    incumbent_ns: int | None = None,
    deadline: float = math.inf,
    spaces: Sequence[Space] | None = None,
) -> Bound:
    """Bound the latency of every plan whose options are in the spaces, and say which options matter.

    ``incumbent_ns`` is the makespan of a known plan, ``deadline`` a time of `time.monotonic`;
    ``spaces`` default to the one of the problem, several are taken together. The bound never
    exceeds the incumbent, and equals it where that is proven optimal; survivors may be empty then.
    """
    relaxation = Relaxation(problem, spaces, deadline)
    if incumbent_ns is not None:
        relaxation.assume(incumbent_ns, deadline)
    relaxation.climb(deadline)
    relaxation.branch(deadline)
    return Bound(relaxation.bound_ns, relaxation.survivors)


def proven_bound(problem: Problem, incumbent: int, deadline: float, spaces: Sequence[Space]) -> int:
    """Bound the objective of every plan whose options are in the spaces; at most the incumbent's value.

    For energy the length of a path is its makespan and the tolls of its options (`tolls`).
    """
    return raised(Relaxation(problem, spaces, deadline), incumbent, deadline)


def raised(relaxation: Relaxation, incumbent: int, deadline: float) -> int:
    """The bound of a relaxation in terms of its problem's objective, as high as it gets; at most the incumbent's value."""
    relaxation.assume(relaxation.tolls.limit(incumbent), deadline)
    relaxation.climb(deadline)
    relaxation.branch(deadline)
    return min(incumbent, relaxation.bound)
