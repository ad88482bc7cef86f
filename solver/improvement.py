"""Better plans for one amount of SRAM: wide searches over all stages, then over windows of a few.

The beam search proposes selections by simulation; the promising ones get tasks, addresses and
times. How far it goes is counted in work, so a result depends on the problem, the effort and
the seed, and on the deadline only if that cuts it short.
"""

from __future__ import annotations

import random
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence

from ooc_solve.models.vocabulary import Selection
from ooc_solve.solver.beam import Allowed, Course, Outlook, Proposal, search
from ooc_solve.solver.options import KEPT, Option
from ooc_solve.solver.search import Candidate, evaluate
from ooc_solve.solver.selection import Space

FIRST_WIDTH = 24
"""Partial selections that the first searches keep, over a few options per stage."""

FEW = 9
"""Options for the same residences that the first searches use: from fast to small."""

WIDTHS = (32, 96, 288)
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

APART = 0.0002
"""Proposals whose prices differ by a smaller share are taken for the same."""

HOPE, MORE_HOPE = 1.01, 1.002
"""Proposals are carried out up to this many times the least simulated price of a good plan; as many times
more whenever a search brought none."""

POOL = 4
"""Plans around which windows are searched."""

UNITS_PER_TASK = 4
"""Units of effort to expand, place and schedule a task."""

STEP_UNITS = 10
"""Units of effort to find out what one option does in one state."""


def improve(space: Space, start: Candidate, effort: int, seed: int, deadline: float) -> Candidate:
    """Search for a better plan than ``start``; never returns a worse one.

    ``effort`` is counted in units that take about 30 us on a desktop machine: `UNITS_PER_TASK` of
    them per task of a selection that is carried out, and as many as `beam` says for simulation.
    """
    return _Improvement(space, start, effort, seed, deadline).run()


class _Improvement:
    """One run; ``pool`` holds the best plans with their options and simulated prices."""

    def __init__(self, space: Space, start: Candidate, effort: int, seed: int, deadline: float) -> None:
        self.space, self.deadline, self.left = space, deadline, effort
        self.random = random.Random(seed)
        self.best, self.hope = start, HOPE
        self.courses: dict[float, Course] = {}
        self.charged: dict[float, int] = {}
        self.seen: dict[Selection, Candidate | None] = {start.selection: start}
        self.pool: list[tuple[Candidate, Proposal]] = []
        self.everything: Allowed = [range(len(options)) for options in space.options]

    @property
    def over(self) -> bool:
        """Whether the effort is spent or time is up."""
        return self.left <= 0 or time.monotonic() > self.deadline

    def run(self) -> Candidate:
        """The best plan found."""
        self._take_up(self.best)
        rounds = self._wide()
        while not self.over:
            if not next(rounds, False) and not self.pool:
                break
            for _ in range(2 * len(self.space.options) if self.pool else 0):
                if self.over:
                    break
                self._window()
        return self.best

    def _course(self, margin: float) -> Course:
        if margin not in self.courses:
            room = int(margin * self.space.problem.arena_bytes)
            self.courses[margin] = Course(self.space, room)
            self.charged[margin] = 0
        return self.courses[margin]

    def _search(self, margin: float, allowed: Allowed, width: int, outlook: Outlook) -> tuple[Proposal, ...]:
        course = self._course(margin)
        found = search(course, allowed, width, outlook, self.deadline)
        self.left -= found.effort + STEP_UNITS * (course.looked_at - self.charged[margin])
        self.charged[margin] = course.looked_at
        return found.proposals

    def _wide(self) -> Iterator[bool]:
        """Searches over all stages, wider and wider."""
        few = [_few(options) for options in self.space.options]
        for width, allowed in ((FIRST_WIDTH, few), *((width, self.everything) for width in WIDTHS)):
            for margin in MARGINS:
                if self.over:
                    return
                outlook = Outlook(self._course(margin), allowed)
                self._try(self._search(margin, allowed, width, outlook), TRIED)
            yield True

    def _window(self) -> None:
        """Search all options of a few stages, the other tilings unchanged."""
        _, center = self.pool[min(len(self.pool) - 1, int(self.random.expovariate(1.0)))]
        length = min(self.random.choice(WINDOWS), len(self.everything))
        first = self.random.randrange(len(self.everything) - length + 1)
        margin = self.random.choice(MARGINS)
        allowed: list[Sequence[int]] = []
        for stage, options in enumerate(self.space.options):
            tiling = options[center.numbers[stage]].tiling
            inside = first <= stage < first + length
            allowed.append([n for n, o in enumerate(options) if inside or o.tiling == tiling])
        outlook = Outlook(self._course(margin), allowed)
        self._try(self._search(margin, allowed, WINDOW_WIDTH, outlook), TRIED_OF_WINDOW)

    def _try(self, proposals: Sequence[Proposal], most: int) -> None:
        """Carry out the proposals that may be better than what is known."""
        limit = self.hope * min((p.price for _, p in self.pool), default=float("inf"))
        before, all_tries = 0.0, most
        for proposal in proposals:
            if most == 0 or (self.over and most < all_tries) or proposal.price > limit:
                break
            if proposal.price < before * (1 + APART):
                continue
            before, selection = proposal.price, self._course(0.0).selection(proposal.numbers)
            if selection in self.seen:
                continue
            most -= 1
            candidate = self.seen[selection] = evaluate(self.space.problem, selection)
            tasks = self.best.graph.tasks if candidate is None else candidate.graph.tasks
            self.left -= UNITS_PER_TASK * len(tasks)
            if candidate is not None:
                self._keep(candidate, proposal)
        if most == all_tries:
            self.hope *= MORE_HOPE

    def _keep(self, candidate: Candidate, proposal: Proposal) -> None:
        self.pool.append((candidate, proposal))
        self.pool.sort(key=lambda pair: pair[0].score)
        del self.pool[POOL:]
        if candidate.score < self.best.score:
            self.best = candidate

    def _take_up(self, candidate: Candidate) -> None:
        """Put a plan that is given into the pool, if it is made of options of the space."""
        numbers = self._numbers(candidate.selection)
        if numbers is not None:
            only = [[n] for n in numbers]
            found = self._search(0.0, only, 1, Outlook(self._course(0.0), only))
            if found:
                self.pool.append((candidate, found[0]))

    def _numbers(self, selection: Selection) -> tuple[int, ...] | None:
        """The options that a selection is made of, None if one is not in the space."""
        network = self.space.problem.network
        width = {n: KEPT if n in selection.kept else t.channels for n, t in network.tensors.items()}
        for op, tiling in zip(network.ops, selection.tilings, strict=True):
            if width[op.output] != KEPT:
                width[op.output] = tiling.channels
        numbers = []
        for op, tiling, options in zip(network.ops, selection.tilings, self.space.options, strict=True):
            wanted = tiling, tuple(width[n] for n in op.inputs), width[op.output]
            found = [n for n, o in enumerate(options) if (o.tiling, o.inputs, o.output) == wanted]
            if not found:
                return None
            numbers.append(found[0])
        return tuple(numbers)


def _few(options: Sequence[Option]) -> list[int]:
    """Numbers of a few options for each residence of the tensors: from the fastest to the smallest."""
    groups: dict[object, list[int]] = defaultdict(list)
    for number in sorted(range(len(options)), key=lambda n: (_work_ns(options[n]), options[n].need_bytes)):
        group = groups[options[number].inputs, options[number].output]
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
