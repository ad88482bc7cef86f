"""One search for addresses below a capacity: depth first, from the bottom, over what lies where.

Packings are built from the bottom. It is enough to look at those in which no block can sink, as
every packing turns into one of them by letting its blocks drop. Time is cut into *sections*, in
which no block begins or ends; the *skyline* holds the height reached in each. A stretch of the
skyline between higher neighbours is a *valley*. At a section of a valley there are few choices:
one of the blocks that fit between its walls lies on its floor there, or none does and the floor
rises by what is lost. A section can lose no more than its *slack*, the capacity less the bytes
that ever live in it. So the search always turns to the section that leaves it the fewest choices.

Three things cut branches off before they are looked into:

- A valley must be filled up to its lower wall wherever a block reaches over that wall.
- At a boundary between two sections a block that lives on both sides needs both floors at one
  height, so the sizes of what begins and of what ends there must add up to the difference, within
  the slack: a question of subset sums.
- States that failed are remembered.

Sections between which no block is left are searched on their own.
"""

from __future__ import annotations

import math
import random
import time
from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

Skyline = tuple[tuple[int, int], ...]
"""First section and height of each stretch, in order of time; neighbours differ in height."""

Slack = tuple[int, ...]
"""Bytes that each section can still lose."""

UNLIMITED = 1 << 60


@dataclass(frozen=True, slots=True)
class Block:
    """Bytes needed during ``[begin, end)``, at an address that is a multiple of the alignment."""

    begin: int
    end: int
    size_bytes: int
    alignment_bytes: int = 1


class Rule(Enum):
    """Which valley is worked on: that with the fewest choices, the lowest, the shallowest."""

    FEWEST = 0
    LOWEST = 1
    SHALLOWEST = 2


class Order(Enum):
    """Which block is tried first, after those that fill a valley or end level with its walls.

    EDGES prefers blocks that meet an end of the valley, and long ones among them. The value is how
    much chance there is in it. No order is best for all: of the public instances some are solved
    within hundreds of states by SIZE and not at all by EDGES, and others the other way round.
    """

    EDGES = 0.2
    SIZE = 0.3
    AREA = 0.31
    LENGTH = 1.0


TURNS = (
    Order.SIZE, Order.EDGES, Order.AREA, Order.LENGTH, Order.SIZE, Order.AREA, Order.SIZE, Order.AREA,
)  # fmt: skip
"""Orders of the attempts, one after the other; the first `QUIET` leave nothing to chance
and know nothing of each other."""

QUIET = 2


@dataclass(frozen=True, slots=True)
class Attempt:
    """One search: its rules follow from ``number``, the rest limits it."""

    number: int
    seed: int
    capacity_bytes: int
    nodes: int
    until: float  # time.time()
    weights: tuple[float, ...] = ()

    @property
    def rule(self) -> Rule:
        """Rules take turns too, more slowly, since each is worth trying with each order."""
        return (Rule.FEWEST, Rule.LOWEST, Rule.FEWEST, Rule.SHALLOWEST)[self.number // len(TURNS) % 4]

    @property
    def order(self) -> Order:
        """Orders take turns."""
        return TURNS[self.number % len(TURNS)]


@dataclass(frozen=True, slots=True)
class Outcome:
    """Addresses if there are any, whether the search went to its end, what it learned."""

    address: tuple[int, ...] | None
    complete: bool
    nodes: int
    weights: tuple[float, ...]


LEARNED = 10.0
"""Weight of the section that failed most, against one that never did."""

# ------------------------------------------------------------------------------ one search


@dataclass(slots=True)
class _Frame:
    """A state on the path: what may be done next, and where to go back to once all of it failed.

    ``rest`` are the parts that are still to be searched once this one is filled. ``parent`` is the
    length of the path up to the state that was split into parts, `WHOLE` where nothing was split.
    """

    key: tuple[int, Skyline, int]
    moves: Iterator[_State]
    rest: tuple[_Part, ...]
    parent: int


@dataclass(frozen=True, slots=True)
class _State:
    """Sections ``[first, end)``, their skyline, the blocks left there (as bits), the slack of all sections.

    ``span`` are the sections that the last block covers.
    """

    first: int
    end: int
    skyline: Skyline
    left: int
    slack: Slack
    span: tuple[int, int]


@dataclass(frozen=True, slots=True)
class _Part:
    """A state to be searched on its own."""

    state: _State
    parent: int


@dataclass(frozen=True, slots=True)
class _Spot:
    """A section of a valley with the fewest choices: the blocks, and by how much the floor could rise."""

    choices: int
    section: int
    blocks: int
    lift: int


@dataclass(frozen=True, slots=True)
class _Valley:
    """Sections ``[first, end)`` at one height between higher walls; ``stretch`` is its place in the skyline."""

    stretch: int
    first: int
    end: int
    height: int
    left_wall: int
    right_wall: int

    @property
    def depth(self) -> int:
        """Bytes up to the lower wall."""
        return min(self.left_wall, self.right_wall) - self.height


HIGH = 1 << 59
"""Valleys deeper than this have no walls."""

WHOLE = -1

NOISY_FROM = 4
"""Attempts from this one on choose valleys with some chance."""

MOST_SUMMED = 12
"""Sums of more blocks than this are taken to be anything."""


class Search:
    """Depth-first search over the choices; see the module."""

    def __init__(self, blocks: tuple[Block, ...], walls: tuple[int, ...], attempt: Attempt) -> None:
        self.attempt, self.walls = attempt, walls
        self.random = random.Random(attempt.seed)
        self.unit = math.gcd(*(b.alignment_bytes for b in blocks)) if blocks else 1
        self.size = [-(-b.size_bytes // self.unit) * self.unit for b in blocks]
        self.alignment = [b.alignment_bytes for b in blocks]
        self.top = [attempt.capacity_bytes - b.size_bytes for b in blocks]  # highest address
        self.alignments = sorted(set(self.alignment) - {self.unit})
        self.plain = not walls and not self.alignments and attempt.capacity_bytes % self.unit == 0
        self._cut(blocks)
        self.address = [0] * len(blocks)
        self.weight = list(attempt.weights) or [1.0] * self.sections
        self.slack_numbers: dict[Slack, int] = {}
        self.sums: dict[int, list[int]] = {}
        self.spots: dict[tuple[object, ...], _Spot] = {}
        self.matched: dict[tuple[int, ...], bool] = {}
        self.failed: set[tuple[int, Skyline, int]] = set()
        self.nodes = 0

    def _cut(self, blocks: tuple[Block, ...]) -> None:
        """Cut time into sections; sets of blocks are numbers with a bit for each."""
        times = sorted({t for b in blocks for t in (b.begin, b.end)})
        number = {t: i for i, t in enumerate(times)}
        self.sections = max(0, len(times) - 1)
        self.first = [number[b.begin] for b in blocks]
        self.end = [number[b.end] for b in blocks]
        self.beginning = [0] * (self.sections + 1)
        self.ending = [0] * (self.sections + 1)
        for i, (first, end) in enumerate(zip(self.first, self.end, strict=True)):
            self.beginning[first] |= 1 << i
            self.ending[end] |= 1 << i
        self.alive: list[int] = []
        self.crossing: list[int] = []  # that live on both sides of a boundary
        for begins, ends in zip(self.beginning, self.ending, strict=True):
            self.crossing.append((self.alive[-1] if self.alive else 0) & ~ends)
            self.alive.append(self.crossing[-1] | begins)
        self.alive.pop()
        self.begun_from = [0] * (self.sections + 2)  # that begin at a boundary or later
        self.ended_by = [0] * (self.sections + 2)  # that end at a boundary or earlier
        for x in range(self.sections, -1, -1):
            self.begun_from[x] = self.begun_from[x + 1] | self.beginning[x]
        for x in range(self.sections + 1):
            self.ended_by[x] = self.ended_by[x - 1] | self.ending[x]

    # ------------------------------------------------------------------------------ path

    def run(self) -> Outcome:
        """Search until a packing is found, all are excluded or a limit is reached."""
        limit = -(-self.attempt.capacity_bytes // self.unit) * self.unit
        slack = tuple(limit - sum(self._sizes(alive)) for alive in self.alive)
        whole = _State(0, self.sections, ((0, 0),), (1 << len(self.size)) - 1, slack, (0, self.sections))
        if min(slack, default=0) < 0 or min(self.top, default=0) < 0:
            return self._outcome(None, True)
        path: list[_Frame] = []
        if self._advance(path, whole, ()):
            return self._outcome(tuple(self.address), True)
        while path:
            frame = path[-1]
            state = next(frame.moves, None)
            if state is None:
                self.failed.add(frame.key)
                path.pop()
                if frame.parent != WHOLE:
                    del path[frame.parent :]
                continue
            self.nodes += 1
            if self.nodes >= self.attempt.nodes or (
                self.nodes % 256 == 0 and time.time() > self.attempt.until
            ):
                return self._outcome(None, False)
            if self._advance(path, state, frame.rest):
                return self._outcome(tuple(self.address), True)
        return self._outcome(None, True)

    def _outcome(self, address: tuple[int, ...] | None, complete: bool) -> Outcome:
        most = max(self.weight, default=1.0)
        weights = tuple(max(1.0, weight / most * LEARNED) for weight in self.weight)
        return Outcome(address, complete, self.nodes, weights)

    def _advance(self, path: list[_Frame], state: _State, rest: tuple[_Part, ...]) -> bool:
        """Extend the path by the parts of a state; whether nothing is left to do."""
        parts = [_Part(part, WHOLE) for part in self._parts(state)]
        if len(parts) > 1:
            parts = [_Part(part.state, len(path)) for part in parts]
        pending = (*parts, *rest)
        if not pending:
            return True
        part, *others = pending
        number = self.slack_numbers.setdefault(part.state.slack, len(self.slack_numbers))
        key = (part.state.left, part.state.skyline, number)
        if key in self.failed:
            if part.parent != WHOLE:
                del path[part.parent :]
            return False
        path.append(_Frame(key, self._moves(part.state), tuple(others), part.parent))
        return False

    def _parts(self, state: _State) -> list[_State]:
        """Cut a state where no block that is left lives on both sides; drop parts that are filled."""
        if not state.left:
            return []
        low, high = max(state.span[0], state.first + 1), min(state.span[1], state.end - 1)
        cuts = [x for x in range(low, high + 1) if not self.crossing[x] & state.left]
        if not cuts:
            return [state]
        parts = []
        for first, end in zip((state.first, *cuts), (*cuts, state.end), strict=True):
            left = state.left & self.begun_from[first] & self.ended_by[end]
            if left:
                skyline = _within(state.skyline, first, end)
                parts.append(_State(first, end, skyline, left, state.slack, (first, first)))
        return sorted(parts, key=lambda part: (part.left.bit_count(), part.first))

    # --------------------------------------------------------------------------- choices

    def _moves(self, state: _State) -> Iterator[_State]:
        """States after each choice at the section that leaves the fewest."""
        found = self._narrowest(state)
        if found is None:
            return
        valley, spot = found
        for block in self._sorted(valley, spot.blocks):
            top = valley.height + self.size[block]
            left = state.left & ~(1 << block)
            span = self.first[block], self.end[block]
            if self._level(state, valley, span, top, left, state.slack):
                self.address[block] = valley.height
                skyline = _raised(state.skyline, valley, span, top)
                yield _State(state.first, state.end, skyline, left, state.slack, span)
            else:
                self.weight[spot.section] += 0.1
        at = spot.section
        if state.slack[at] >= spot.lift:
            slack = (*state.slack[:at], state.slack[at] - spot.lift, *state.slack[at + 1 :])
            top, span = valley.height + spot.lift, (at, at + 1)
            if self._level(state, valley, span, top, state.left, slack):
                skyline = _raised(state.skyline, valley, span, top)
                yield _State(state.first, state.end, skyline, state.left, slack, (at, at))
        self.weight[at] += 1

    def _narrowest(self, state: _State) -> tuple[_Valley, _Spot] | None:
        """The valley to work on with its section of fewest choices; None if a section has none."""
        best: tuple[tuple[float, float], _Valley, _Spot] | None = None
        for valley in _valleys(state.skyline, state.end):
            spot = self._spot(state, valley)
            if spot.choices == 0:
                return None
            key = self._urgency(valley, spot)
            if best is None or key < best[0]:
                best = key, valley, spot
        return None if best is None else best[1:]

    def _urgency(self, valley: _Valley, spot: _Spot) -> tuple[float, float]:
        if self.attempt.rule is Rule.LOWEST:
            return spot.choices > 1, valley.height
        if self.attempt.rule is Rule.SHALLOWEST:
            return spot.choices > 1, valley.depth
        noise = 1.0 + 0.5 * self.random.random() if self.attempt.number >= NOISY_FROM else 1.0
        return spot.choices / self.weight[spot.section] * noise, valley.height

    def _spot(self, state: _State, valley: _Valley) -> _Spot:
        """The section of a valley with the fewest choices, remembered by all that it depends on."""
        first, end = valley.first, valley.end
        inside = self.begun_from[first] & self.ended_by[end] & state.left
        height = -1 if self.plain else valley.height
        key = (first, end, inside, valley.depth, state.slack[first:end], height)
        spot = self.spots.get(key)
        if spot is None:
            spot = self.spots[key] = self._find_spot(state, valley, inside)
            if spot.choices == 0:
                self.weight[spot.section] += 1
        return spot

    def _find_spot(self, state: _State, valley: _Valley, inside: int) -> _Spot:
        fitting = inside if self.plain else self._fitting(inside, valley.height)
        lifts = sorted((self.size[i], 1 << i) for i in _members(inside))
        highest = min(valley.depth, self._lift_to_place(valley.height))
        best: _Spot | None = None
        for section in range(valley.first, valley.end):
            alive, slack = self.alive[section], state.slack[section]
            if self._hollow(alive, state.left, inside, valley.depth - slack):
                return _Spot(0, section, 0, 0)
            lift = next((size for size, bit in lifts if size >= highest or not bit & alive), highest)
            lift = min(lift, highest)
            choices = (alive & fitting).bit_count() + (slack >= lift)
            if best is None or choices / self.weight[section] < best.choices / self.weight[best.section]:
                best = _Spot(choices, section, alive & fitting, lift)
            if choices == 0:
                break
        assert best is not None
        return best

    def _hollow(self, alive: int, left: int, inside: int, depth: int) -> bool:
        """Whether too little is left to fill a section up to the wall that some block reaches over."""
        if depth <= 0 or depth > HIGH or alive & inside == alive & left:
            return False
        return sum(self._sizes(alive & inside)) < depth

    def _fitting(self, blocks: int, height: int) -> int:
        """Those of the blocks that may lie at a height: aligned, across no wall, below the capacity."""
        found = 0
        for i in _members(blocks):
            high = height + self.attempt.capacity_bytes - self.top[i]
            crosses = any(height < wall < high for wall in self.walls)
            if height % self.alignment[i] == 0 and height <= self.top[i] and not crosses:
                found |= 1 << i
        return found

    def _lift_to_place(self, height: int) -> int:
        """Bytes up to the next address at which something may lie though nothing carries it there."""
        places = [-height % alignment for alignment in self.alignments]
        places += [-(-wall // self.unit) * self.unit - height for wall in self.walls]
        return min((lift for lift in places if lift > 0), default=UNLIMITED)

    def _level(
        self, state: _State, valley: _Valley, span: tuple[int, int], top: int, left: int, slack: Slack
    ) -> bool:
        """Whether the boundaries of a new step of the skyline can still be bridged by what crosses them."""
        first, end = span
        if first > state.first:
            before = valley.height if first > valley.first else valley.left_wall
            if not self._matches(first, before, top, left, slack):
                return False
        if end < state.end:
            after = valley.height if end < valley.end else valley.right_wall
            return self._matches(end, top, after, left, slack)
        return True

    def _matches(self, boundary: int, before: int, after: int, left: int, slack: Slack) -> bool:
        """Whether what ends and what begins at a boundary can bring both floors to one height.

        The lowest block that crosses lies on some of those that end and some of those that begin;
        their heights may differ by what the lower side can lose.
        """
        if not self.crossing[boundary] & left:
            return True
        step, down, up = after - before, slack[boundary - 1], slack[boundary]
        if -up <= step <= down:
            return True
        begins, ends = self.beginning[boundary] & left, self.ending[boundary] & left
        if begins.bit_count() > MOST_SUMMED or ends.bit_count() > MOST_SUMMED:
            return True
        key = (begins, ends, step, down, up)
        found = self.matched.get(key)
        if found is None:
            found = self.matched[key] = self._summed(begins, ends, step, down, up)
        return found

    def _summed(self, begins: int, ends: int, step: int, down: int, up: int) -> bool:
        """Whether some sum of sizes of ``begins`` plus ``step`` less one of ``ends`` is in ``-up..down``."""
        sums = self._sums(ends)
        for size in self._sums(begins):
            place = bisect_left(sums, step + size - down)
            if place < len(sums) and sums[place] <= step + size + up:
                return True
        return False

    def _sums(self, blocks: int) -> list[int]:
        """Sums of the sizes of all subsets, in order."""
        sums = self.sums.get(blocks)
        if sums is None:
            found = {0}
            for size in self._sizes(blocks):
                found |= {size + other for other in found}
            sums = self.sums[blocks] = sorted(found)
        return sums

    def _sizes(self, blocks: int) -> Iterator[int]:
        return (self.size[i] for i in _members(blocks))

    def _sorted(self, valley: _Valley, blocks: int) -> list[int]:
        """Blocks in the order in which they are tried; of equals only one."""
        equals: dict[tuple[int, int, int, int], int] = {}
        for i in _members(blocks):
            equals.setdefault((self.first[i], self.end[i], self.size[i], self.alignment[i]), i)
        return sorted(
            equals.values(), key=lambda i: (*self._edges(valley, i), self._preference(i), -self.size[i], i)
        )

    def _edges(self, valley: _Valley, block: int) -> tuple[bool, int, int]:
        """Whether the block leaves part of the valley free, how many of its ends are not level, or do not meet."""
        at_left, at_right = self.first[block] == valley.first, self.end[block] == valley.end
        top = valley.height + self.size[block]
        level = (at_left and top == valley.left_wall) + (at_right and top == valley.right_wall)
        meets = at_left + at_right if self.attempt.order is Order.EDGES else 0
        return not (at_left and at_right), -level, -meets

    def _preference(self, block: int) -> float:
        order = self.attempt.order
        length, size = self.end[block] - self.first[block], self.size[block]
        chance = order.value * (self.random.random() - 0.5) if self.attempt.number >= QUIET else 0.0
        if order is Order.SIZE:
            return -size * (1.0 + chance)
        return -length * (size if order is Order.AREA else 1.0) * (1.0 + chance)


def _members(blocks: int) -> Iterator[int]:
    """Numbers of the bits that are set."""
    while blocks:
        lowest = blocks & -blocks
        yield lowest.bit_length() - 1
        blocks ^= lowest


def _valleys(skyline: Skyline, end: int) -> Iterator[_Valley]:
    """Stretches with higher ones, or nothing, on both sides."""
    last = len(skyline) - 1
    for number, (first, height) in enumerate(skyline):
        left = skyline[number - 1][1] if number else UNLIMITED
        right = skyline[number + 1][1] if number < last else UNLIMITED
        if left > height < right:
            stop = skyline[number + 1][0] if number < last else end
            yield _Valley(number, first, stop, height, left, right)


def _raised(skyline: Skyline, valley: _Valley, span: tuple[int, int], top: int) -> Skyline:
    """The skyline with part of a valley raised."""
    first, end = span
    middle = [(valley.first, valley.height)] if first > valley.first else []
    middle.append((first, top))
    if end < valley.end:
        middle.append((end, valley.height))
    found = list(skyline[: valley.stretch])
    for stretch in (*middle, *skyline[valley.stretch + 1 :]):
        if not found or found[-1][1] != stretch[1]:
            found.append(stretch)
    return tuple(found)


def _within(skyline: Skyline, first: int, end: int) -> Skyline:
    """The part of a skyline over some sections."""
    inner = [(at, height) for at, height in skyline if at < end]
    below = [stretch for stretch in inner if stretch[0] <= first]
    return ((first, below[-1][1]), *(stretch for stretch in inner if stretch[0] > first))
