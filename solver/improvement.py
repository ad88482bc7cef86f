"""Better plans for one amount of SRAM: wide searches over all stages, then over windows of a few.

The beam search proposes selections by simulation; the promising ones get tasks, addresses and
times. How far it goes is counted in work, so a result depends on the problem, the effort and
the seed, and on the deadline only if that cuts it short.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from heapq import heappop, nsmallest
from math import inf

from ooc_solve.models.vocabulary import Objective, Selection
from ooc_solve.solver.allocation_search import UNLIMITED
from ooc_solve.solver.beam import COVERED, Allowed, Course, Outlook, Proposal, Vista, search
from ooc_solve.solver.fused import operands
from ooc_solve.solver.guidance import Guide
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.parts import parted
from ooc_solve.solver.relaxation import FAR, Relaxation
from ooc_solve.solver.search import (
    MANY_TASKS,
    MERGED_TASKS,
    PACKED_TASKS,
    Candidate,
    Draft,
    carried_out,
    drafted,
    polish,
)
from ooc_solve.solver.selection import Space
from ooc_solve.solver.windows import MOST_TASKS as WINDOWED_TASKS

HASTY_WIDTH, HASTY_EFFORT, MANY_STAGES = 2, 15_000, 32
"""Partial selections that the very first search keeps where there is less effort for each of more stages, so that
there is a plan soon."""

FIRST_WIDTH = 24
"""Partial selections that the first searches keep, over a few options per stage."""

FEW = 9
"""Options for the same residences that the first searches use: from fast to small."""

WIDTHS = (32, 96, 288, 864)
"""Partial selections that the searches over all options keep, one after the other."""

MARGINS = (0.0, 0.04, 0.1)
"""Shares of the arena that they leave free, since tiles cannot always be packed without gaps."""

WINDOW_WIDTH = 32
"""Partial selections kept where only a window is searched."""

WINDOWS = (2, 3, 4, 5)
"""Stages in a window."""

TRIED = 8
"""Proposals of a wide search that are carried out; of a window `TRIED_OF_WINDOW`."""

TRIED_OF_WINDOW = 3

DRAFTS = 6
"""Proposals that get tasks, for each of them."""

TASKS_OF_DRAFTS = 24_000
"""Tasks that the drafts of one search have together; one draft is always made."""

MOST_DRAFTS = 64
"""Proposals with tasks that wait to be carried out."""

APART = 0.0002
"""Proposals whose prices differ by a smaller share are taken for the same."""

PESSIMISM = 1.05
"""How much simulated prices are above what can be done, at most, where selections are given up."""

HOPE, MORE_HOPE = 1.01, 1.002
"""Proposals are carried out up to this many times the least simulated price of a good plan; as many times
more whenever a search brought none."""

MOST_OF_NARROW = 600
"""Options left, for each way in which tensors may lie, up to which those are searched that the highest bound leaves."""

ONLY_WINDOWED_TASKS = 4000
"""The search ends with the first plan of more tasks, as its windows gain more than other tilings."""

POOL = 4
"""Plans around which windows are searched."""

DRAFT_UNITS_PER_TASK = 2
"""Units of effort to expand a task and to time it."""

UNITS_PER_TASK, UNITS_PER_TASK_OF_MANY = 16, 3
"""Units of effort to place and schedule a task, and to pack it again, which is not done where there are too many."""

POLISH_UNITS_PER_TASK = 40
"""Units of effort to schedule a task of a plan that is the best so far in every way."""

FAILED_TASKS = 200
"""Tasks that are counted for a selection that cannot be carried out."""

STEP_UNITS = 10
"""Units of effort to find out what one option does in one state."""


def _never(_: int) -> bool:
    """No plan is good enough."""
    return False


class Improvement:
    """A search for a better plan than ``start``, which never gives a worse one.

    ``effort`` is counted in units that take about 30 us on a desktop machine: `UNITS_PER_TASK` of
    them per task of a selection that is carried out, and as many as `beam` says for simulation.
    ``pool`` holds the best plans with their options and simulated prices.
    """

    def __init__(
        self,
        space: Space,
        start: Candidate | None,
        effort: int,
        seed: int,
        relaxation: Relaxation | None = None,
        keep: Callable[[Candidate], None] | None = None,
    ) -> None:
        self.space, self.left = space, effort
        self.deadline: float = 0.0
        self.is_enough: Callable[[int], bool] = _never
        self.relaxation, self.told = relaxation, keep
        self.guide: Guide | None = None
        self.random = random.Random(seed)
        self.best, self.hope = start, HOPE
        self.assumed: int | None = None
        self.courses: dict[float, Course] = {}
        self.charged: dict[float, int] = {}
        self.seen = set() if start is None else {start.selection}
        self.drafts: list[tuple[float, int, Draft, Proposal]] = []  # a heap: the most promising first
        self.pool: list[tuple[Candidate, Proposal]] = []
        self.everything: Allowed = [range(len(options)) for options in space.options]
        stages = len(space.options)
        self.is_hasty = stages > MANY_STAGES and effort < HASTY_EFFORT * stages
        self._rounds = self._wide()

    @property
    def over(self) -> bool:
        """Whether the effort is spent, time is up, or the best plan good enough."""
        if self.left <= 0 or time.monotonic() > self.deadline:
            return True
        return self.best is not None and self.is_enough(self.best.score[0])

    def run(self, deadline: float, is_enough: Callable[[int], bool] = _never) -> Candidate | None:
        """The best plan found by a time of `time.monotonic`, or one whose objective is enough.

        It may be asked for a better one later, and goes on then.
        """
        self.deadline, self.is_enough = deadline, is_enough
        if self.best is not None and not self.pool:
            self._take_up(self.best)
        if self.is_hasty and self.guide is None:
            self._be_guided()
            self._hurry()
        self._look_ahead()
        while not self.over:
            if (not next(self._rounds, False) and not self.pool) or self.over:
                break
            self._look_ahead()
            for _ in range(2 * len(self.space.options) if self.pool else 0):
                if self.over:
                    break
                self._window()
        return self.best

    def _look_ahead(self) -> None:
        """Ask the relaxation what can still be better than the best plan, and how much."""
        best = None if self.best is None else self.best.score[0]
        if self.relaxation is None or (self.guide is not None and best == self.assumed):
            return
        self.assumed = best
        if best is not None:
            limit = self.relaxation.tolls.limit(best)
            is_far = limit > FAR * self.relaxation.bound_ns  # so that hardly anything would be ruled out
            if not is_far or len(self.space.options) <= MANY_STAGES:
                self.relaxation.assume(limit, self.deadline)
            if self.relaxation.bound_ns >= limit:
                self.left = 0  # proven
                return
        self._be_guided()

    def _be_guided(self) -> None:
        """Take what the relaxation says by now."""
        if self.relaxation is not None and self.relaxation.round is not None:
            self.guide = Guide(self.relaxation.round, self.space.options)
            self.everything = self.guide.survivors()

    def _hurry(self) -> None:
        """Have some plan that is made of all options, or of a few where nothing says which are the best."""
        allowed = self.everything if self.guide is not None else [_few(o) for o in self.space.options]
        proposals = self._search(MARGINS[0], allowed, HASTY_WIDTH, Outlook(self._course(MARGINS[0]), allowed))
        self._try(proposals, 1)

    def _course(self, margin: float) -> Course:
        if margin not in self.courses:
            room = int(margin * self.space.problem.arena_bytes)
            self.courses[margin] = Course(self.space, room)
            self.charged[margin] = 0
        return self.courses[margin]

    def _search(
        self, margin: float, allowed: Allowed, width: int, outlook: Outlook, all_of_them: bool = False
    ) -> tuple[Proposal, ...]:
        course, vista = self._course(margin), None
        if self.guide is not None:
            vista = Vista(course, self.guide, None if all_of_them else allowed, self._hopeless)
        found = search(course, allowed, width, outlook, self.deadline, vista)
        self.left -= found.effort + STEP_UNITS * (course.looked_at - self.charged[margin])
        self.charged[margin] = course.looked_at
        return found.proposals

    @property
    def _hopeless(self) -> int | None:
        """From which length of a path on (`tolls`) selections are given up."""
        if self.assumed is None or self.relaxation is None:
            return None
        return int(PESSIMISM * self.relaxation.tolls.limit(self.assumed))

    def _wide(self) -> Iterator[bool]:
        """Searches over all stages, wider and wider."""
        few = [_few(options) for options in self.space.options]
        for width in WIDTHS if self.guide is not None else (FIRST_WIDTH, *WIDTHS):
            for margin in MARGINS:
                allowed = few if width == FIRST_WIDTH else self.everything
                outlook = Outlook(self._course(margin), allowed)
                self._try(self._search(margin, allowed, width, outlook), TRIED)
                while self.over:
                    yield True
                if (width, margin) == (WIDTHS[0], MARGINS[0]):
                    self._narrow()
                while self.over:
                    yield True
            yield True

    def _narrow(self) -> None:
        """Search what is left where the bound is as high as it gets, once there is a plan."""
        if self.over:
            return
        self._look_ahead()
        if self.over or self.relaxation is None or self.assumed is None:
            return
        lowest = self.relaxation.narrowest(MOST_OF_NARROW, self.deadline)
        if lowest is None:
            return
        guide, self.guide = self.guide, Guide(lowest, self.space.options)
        allowed = self.guide.survivors()
        for margin in MARGINS:
            outlook = Outlook(self._course(margin), allowed)
            self._try(self._search(margin, allowed, WIDTHS[0], outlook), TRIED)
            if self.best is not None and PACKED_TASKS < len(self.best.graph.tasks) <= WINDOWED_TASKS:
                self.left = 0  # windows of what is found gain more than other tilings
                break
        self.guide = guide

    def _window(self) -> None:
        """Search all options of a few stages, the other tilings unchanged."""
        _, center = self.pool[min(len(self.pool) - 1, int(self.random.expovariate(1.0)))]
        length = min(self.random.choice(WINDOWS), len(self.everything))
        first = self.random.randrange(len(self.everything) - length + 1)
        margin = self.random.choice(MARGINS)
        allowed = self._around(center.numbers, first, first + length)
        outlook = Outlook(self._course(margin), allowed)
        self._try(self._search(margin, allowed, WINDOW_WIDTH, outlook), TRIED_OF_WINDOW)

    def _around(self, numbers: Sequence[int], first: int, end: int) -> Allowed:
        """All options of stages that touch a window, elsewhere those with the tilings that a plan has."""
        allowed: list[Sequence[int]] = [[] for _ in numbers]
        for stage, number in enumerate(numbers):
            if number == COVERED:
                continue
            options, behind = self.space.options[stage], stage + 1
            while behind < len(numbers) and numbers[behind] == COVERED:
                behind += 1
            if stage < end and first < behind:
                for inside in range(stage, behind):
                    allowed[inside] = range(len(self.space.options[inside]))
            else:
                tilings = options[number].tilings
                allowed[stage] = [n for n, o in enumerate(options) if o.tilings == tilings]
        return allowed

    def _try(self, proposals: Sequence[Proposal], most: int) -> None:
        """Carry out the proposals that may be better than what is known, and earlier ones where these are few."""
        drafts = self._drafts_of(proposals, DRAFTS * most, self._worthwhile(most))
        if not drafts:
            self.hope *= MORE_HOPE
        while len(drafts) < most and self.drafts:
            drafts.append(heappop(self.drafts))
        drafts.sort(key=lambda draft: draft[:2])
        best = self.best
        for tried, (expected, _, draft, proposal) in enumerate(drafts[:most]):
            limit_ns = self._limit_ns(best)
            if (self.over and tried) or (self.is_quickest and expected >= limit_ns):
                break
            candidate = carried_out(self.space.problem, draft, limit_ns, self.deadline)
            tasks = len(draft.graph.tasks)
            self.left -= tasks * (UNITS_PER_TASK if tasks <= MERGED_TASKS else UNITS_PER_TASK_OF_MANY)
            if candidate is not None:
                self.pool.append((candidate, proposal))
                if best is None or candidate.score < best.score:
                    best = candidate
                    if ONLY_WINDOWED_TASKS < tasks <= WINDOWED_TASKS:
                        self.left = 0  # windows gain more, the earlier they begin
        self.drafts = nsmallest(MOST_DRAFTS, [*self.drafts, *drafts[most:]])  # sorted, which is a heap
        self.pool.sort(key=lambda pair: pair[0].score)
        del self.pool[POOL:]
        if best is not None and best is not self.best:
            self._finish(best)

    def _drafts_of(
        self, proposals: Sequence[Proposal], most: int, limit: float
    ) -> list[tuple[float, int, Draft, Proposal]]:
        """Proposals up to a price that are new, with tasks; first what they are expected to come to."""
        found: list[tuple[float, int, Draft, Proposal]] = []
        drafted_now, tasks, before = 0, 0, 0.0
        for proposal in proposals:
            enough = drafted_now == most or tasks > TASKS_OF_DRAFTS or (self.over and drafted_now)
            if enough or proposal.price > limit:
                break
            if proposal.price < before * (1 + APART):
                continue
            before = proposal.price
            selection = self._course(0.0).selection(proposal.numbers)
            if selection in self.seen:
                continue
            drafted_now += 1
            self.seen.add(selection)
            draft = drafted(self.space.problem, selection)
            tasks += FAILED_TASKS if draft is None else len(draft.graph.tasks)
            self.left -= DRAFT_UNITS_PER_TASK * (FAILED_TASKS if draft is None else len(draft.graph.tasks))
            if draft is not None:
                expected = draft.counted_ns if self.is_quickest else proposal.price
                found.append((expected, len(self.seen), draft, proposal))
        return found

    def _limit_ns(self, best: Candidate | None) -> int:
        """What a plan must be shorter than; any length will do where something else is minimised."""
        return UNLIMITED if best is None or not self.is_quickest else best.score[1]

    @property
    def is_quickest(self) -> bool:
        """Whether time is what is minimised."""
        return self.space.problem.objective is Objective.LATENCY

    def _worthwhile(self, most: int) -> float:
        """Up to which price proposals are carried out: after a wide search all that seem better than the best.

        Simulated prices are too low where tiles cannot be packed, so after a search of a window they
        are compared with the simulated price of the best plan.
        """
        if not self.pool:
            return inf
        best, proposal = self.pool[0]
        known = self.hope * proposal.price
        wide = most == TRIED and self.space.problem.objective is not Objective.WEAR
        return max(known, PESSIMISM * best.score[0]) if wide else known

    def _finish(self, candidate: Candidate) -> None:
        """Take a plan that is better than all before, and schedule it in every way that is known."""
        self.best = candidate
        if self.told is not None:
            self.told(candidate)
        self.left -= POLISH_UNITS_PER_TASK * min(len(candidate.graph.tasks), MANY_TASKS)
        self.best = polish(self.space.problem, candidate, self.deadline)
        if self.told is not None:
            self.told(self.best)

    def _take_up(self, candidate: Candidate) -> None:
        """Put a plan that is given into the pool, if it is made of options of the space."""
        numbers = numbers_of(self.space, candidate.selection)
        if numbers is not None:
            only = [[] if n == COVERED else [n] for n in numbers]
            found = self._search(0.0, only, 1, Outlook(self._course(0.0), only))
            if found:
                self.pool.append((candidate, found[0]))


def numbers_of(space: Space, selection: Selection) -> tuple[int, ...] | None:
    """The options that a selection is made of, `COVERED` where a stage goes on; None if one is not in the space."""
    network = space.problem.network
    width = {n: KEPT if n in selection.kept else t.channels for n, t in network.tensors.items()}
    for op, tiling in zip(network.ops, selection.tilings, strict=True):
        if width[op.output] != KEPT:
            width[op.output] = parted(tiling.channels, tiling.kept_rows, tiling.stored_from)
    numbers = [COVERED] * len(network.ops)
    for stage in selection.stages:
        tilings = selection.tilings[stage[0] : stage[-1] + 1]
        names = operands(network, stage[0], len(stage))
        wanted = tilings, tuple(width[n] for n in names), width[network.ops[stage[-1]].output]
        options = space.options[stage[0]]
        found = [n for n, o in enumerate(options) if (o.tilings, o.inputs, o.output) == wanted]
        if not found:
            return None
        numbers[stage[0]] = found[0]
    return tuple(numbers)


def _few(options: Sequence[Option]) -> list[int]:
    """Numbers of a few options for each residence of the tensors: from the fastest to the smallest."""
    groups: dict[object, list[int]] = defaultdict(list)
    for number in sorted(range(len(options)), key=lambda n: (_work_ns(options[n]), options[n].need_bytes)):
        group = groups[options[number].operators, options[number].inputs, options[number].output]
        if not group or options[number].need_bytes < options[group[-1]].need_bytes:
            group.append(number)
    found: list[int] = []
    for group in groups.values():
        last = len(group) - 1
        found += {group[round(i * last / (FEW - 1))] for i in range(FEW)}
    return sorted(found)


def _work_ns(option: Option) -> int:
    """Time of an option if its transfers overlap, but are not free."""
    return max(option.compute_ns, option.total_io_ns) + option.total_io_ns // 8
