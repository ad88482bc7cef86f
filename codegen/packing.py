"""Command lists as they stand in the constant tables: 16-bit words with loops over what repeats.

Plans repeat themselves: the same few transfers and computations with another tile and another
offset. A stream is a sequence of cells, one command each, some with a mark behind them that sends
the reader back over cells. A cell says how its words step from round to round. ``SPEC.md``
has the layout; ``pack`` finds the loops and ``unpack`` is what every runtime does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NOWHERE = 0xFFFF
"""An address field that the command does not use."""

TRANSFER = 0xFFFF
"""In place of a stage: the command is a transfer."""

CRYPTO_WORK = 0xFFFE
"""In place of a stage: the command opens or seals the records of a transfer, whose words it has."""

MOST_BODY = 64
"""Commands of a loop body. Longer ones were never worth their search."""

MARK, IS_TRANSFER = 1 << 15, 1 << 14
STEPS = 1 << 13
SECOND_WAIT, THIRD_WAIT = 1 << 7, 1 << 6
LONG_WAIT = 63
OFFSET_WORD = 4
"""Word of a transfer from which on the offset stands, low half first."""

WORD = (1 << 16) - 1
LONG_WORD = (1 << 32) - 1

MOST_WORDS = 11
"""Words of the longest cell outside of a loop: 22 bytes."""

Grid = NDArray[np.int64]


class PackingError(ValueError):
    """Words that are no command list."""


@dataclass(frozen=True, slots=True)
class CommandRow:
    """``struct ooc_command``: what a cell says, with the number of the round put in."""

    wait: tuple[int, int, int]
    stage: int
    word: tuple[int, int, int, int, int, int]

    @property
    def is_transfer(self) -> bool:
        """Whether it moves bytes between storage and SRAM."""
        return self.stage == TRANSFER

    @property
    def is_crypto(self) -> bool:
        """Whether the CPU opens or seals records."""
        return self.stage == CRYPTO_WORK

    @property
    def offset(self) -> int:
        """Offset of a transfer in its region, or of what is opened or sealed for it."""
        return self.word[4] | self.word[5] << 16


@dataclass(frozen=True, slots=True)
class Item:
    """Cells that run ``rounds`` times; ``first`` counts the commands before them.

    ``cells`` are the words of each cell, as half-open intervals.
    """

    first: int
    cells: tuple[tuple[int, int], ...]
    rounds: int


# ---------------------------------------------------------------------------- cells


def _steps(command: CommandRow, after: CommandRow | None) -> list[tuple[int, list[int]]]:
    """Words that differ in the next round with their steps, modulo their width."""
    if after is None:
        return []
    found = []
    for k, (now, then) in enumerate(zip(command.word, after.word, strict=True)):
        if command.is_transfer and k >= OFFSET_WORD:
            continue
        if now != then:
            found.append((k, [then - now & WORD]))
    if command.is_transfer and command.offset != after.offset:
        step = after.offset - command.offset & LONG_WORD
        found.append((OFFSET_WORD, [step & WORD, step >> 16]))
    return found


def _cell(command: CommandRow, after: CommandRow | None = None) -> list[int]:
    """The words of a command; ``after`` is the one in the next round of its loop."""
    short = min(LONG_WAIT, command.wait[0])
    waits = [command.wait[0]] if short == LONG_WAIT else []
    head = short
    for wait, bit in ((command.wait[1], SECOND_WAIT), (command.wait[2], THIRD_WAIT)):
        if wait:
            head |= bit
            waits.append(wait)
    if command.is_transfer:
        sram, shape, region, flags, low, high = command.word
        if region > 7 or flags > 3:
            raise PackingError(
                f"region and flags of a transfer must be at most 7 and 3 (got {region} and {flags})"
            )
        head |= IS_TRANSFER | (region & 3) << 11 | flags << 9 | region >> 2 << 8
        words = [sram, shape, low, high]
    else:
        present = [(k, word) for k, word in enumerate(command.word[1:]) if word != NOWHERE]
        head |= sum(1 << 8 + k for k, _ in present)
        words = [command.stage, command.word[0], *(word for _, word in present)]
    steps = _steps(command, after)
    if steps:
        head |= STEPS
        words += [sum(1 << k for k, _ in steps), *(half for _, halves in steps for half in halves)]
    return [head, *waits, *words]


# -------------------------------------------------------------------------- packing


def pack(commands: Sequence[CommandRow]) -> tuple[int, ...]:
    """The words of a command list, loops included. The same list gives the same words."""
    code: list[int] = []
    for first, length, rounds in _choices(commands):
        if rounds == 1:
            code += _cell(commands[first])
            continue
        end = first + length
        following = commands[end : end + length]
        cells = [_cell(*pair) for pair in zip(commands[first:end], following, strict=True)]
        cells[-1][0] |= MARK
        code += [*(word for cell in cells for word in cell), sum(map(len, cells)), rounds]
    return tuple(code)


def _choices(commands: Sequence[CommandRow]) -> Iterator[tuple[int, int, int]]:
    """First command, length and rounds of the commands and loops that together take the fewest words.

    For each first command and each length of a body, the loop with the most rounds is
    looked at; the cheapest way to the end is found from the end on. Of equal ones the
    shorter body is taken.
    """
    if not commands:
        return
    cost, end = _loops(commands)
    total = np.zeros(len(commands) + 1, np.int64)
    chosen = np.zeros(len(commands), np.int64)
    for at in range(len(commands) - 1, -1, -1):
        way = cost[at] + total[end[at]]
        chosen[at] = way.argmin()
        total[at] = way[chosen[at]]
    at = 0
    while at < len(commands):
        length, after = int(chosen[at]), int(end[at, chosen[at]])
        yield at, max(1, length), (after - at) // length if length else 1
        at = after


def _loops(commands: Sequence[CommandRow]) -> tuple[Grid, Grid]:
    """Words of, and position after, the loop from each command on with each body length.

    Column 0 is the command alone. Where there is no loop the cost is prohibitive.
    """
    count = len(commands)
    fixed, value = _columns(commands)
    single = np.array([len(_cell(command)) for command in commands])
    most = min(MOST_BODY, count // 2)
    cost = np.full((count, most + 1), np.iinfo(np.int32).max, np.int64)
    end = np.repeat(np.arange(1, count + 1)[:, None], most + 1, axis=1)
    cost[:, 0] = single
    for length in range(1, most + 1):
        rounds = _rounds(fixed, value, length)
        differ = value[length:] != value[:-length]
        steps = differ.sum(axis=1) + (differ[:, OFFSET_WORD] & (fixed[length:, 3] == TRANSFER))
        body = _window(single[:-length] + steps + differ.any(axis=1), length)
        at = np.flatnonzero(rounds[: len(body)] > 1)
        cost[at, length] = body[at] + 2
        end[at, length] = at + length * rounds[at]
    return cost, end


def _columns(commands: Sequence[CommandRow]) -> tuple[Grid, Grid]:
    """Per command what must be equal in all rounds of a loop, and what may step."""
    fixed, value = [], []
    for command in commands:
        a, b, c, d, e, f = command.word
        if command.is_transfer:
            fixed.append((*command.wait, command.stage, c, d))
            value.append((a, b, 0, 0, command.offset, 0))
        else:
            present = sum(1 << k for k, word in enumerate(command.word[1:]) if word != NOWHERE)
            fixed.append((*command.wait, command.stage, present, 0))
            value.append((a, b, c, d, e, f))
    return np.array(fixed, np.int64), np.array(value, np.int64)


def _rounds(fixed: Grid, value: Grid, length: int) -> Grid:
    """Rounds of the longest loop with bodies of a length from each command on, 1 if there is none."""
    alike = (fixed[length:] == fixed[:-length]).all(axis=1)
    step = value[length:] - value[:-length]
    steady = alike[length:] & alike[:-length] & (step[length:] == step[:-length]).all(axis=1)
    rounds = np.ones(len(fixed), np.int64)
    rounds[: len(alike)] += _run(alike) >= length
    more = _run(steady) // length
    rounds[: len(more)] += np.where(rounds[: len(more)] > 1, more, 0)
    return np.minimum(rounds, WORD)


def _run(true: NDArray[np.bool_]) -> Grid:
    """How many entries from each on are true."""
    at = np.arange(len(true))
    stop = np.where(true, len(true), at)
    return np.asarray(np.minimum.accumulate(stop[::-1])[::-1] - at, np.int64)


def _window(cells: Grid, length: int) -> Grid:
    """Sums of ``length`` entries from each on."""
    sums = np.concatenate(([0], np.cumsum(cells)))
    return np.asarray(sums[length:] - sums[:-length], np.int64)


# ------------------------------------------------------------------------ unpacking


def unpack(code: Sequence[int]) -> tuple[CommandRow, ...]:
    """The commands that words stand for, loops run through.

    Raises
    ------
    PackingError
        If the words are no command list: cells that end early, or loops without a body.
    """
    reader = _Reader(code)
    commands = []
    while reader.at < len(code):
        commands.append(reader.cell())
        reader.turn()
    return tuple(commands)


def items_in(code: Sequence[int]) -> tuple[Item, ...]:
    """Where the cells and loops of words lie, each loop once.

    Raises
    ------
    PackingError
        As ``unpack``.
    """
    reader = _Reader(code)
    items: list[Item] = []
    cells: list[tuple[int, int]] = []
    first = 0
    while reader.at < len(code):
        start = reader.at
        reader.cell()
        cells.append((start, reader.at))
        if (rounds := reader.mark()) > 1:
            body = [cell for cell in cells if cell[0] >= reader.body]
            for cell in cells[: len(cells) - len(body)]:
                items.append(Item(first, (cell,), 1))
                first += 1
            items.append(Item(first, tuple(body), rounds))
            first += rounds * len(body)
            cells = []
    for cell in cells:
        items.append(Item(first, (cell,), 1))
        first += 1
    return tuple(items)


class _Reader:
    """Walks through words as the runtime does: a position and the number of the round."""

    def __init__(self, code: Sequence[int]) -> None:
        self.code, self.at, self.round, self.floor, self.body = code, 0, 0, 0, 0
        self.marked = False

    def take(self) -> int:
        if self.at >= len(self.code):
            raise PackingError(f"a cell ends after the last of {len(self.code)} words")
        self.at += 1
        return self.code[self.at - 1]

    def cell(self) -> CommandRow:
        head = self.take()
        self.marked = bool(head & MARK)
        wait = (
            self.take() if head & LONG_WAIT == LONG_WAIT else head & LONG_WAIT,
            self.take() if head & SECOND_WAIT else 0,
            self.take() if head & THIRD_WAIT else 0,
        )
        if head & IS_TRANSFER:
            region = head >> 11 & 3 | head >> 6 & 4
            stage, word = TRANSFER, [self.take(), self.take(), region, head >> 9 & 3]
            word += [self.take(), self.take()]
        else:
            stage, word = self.take(), [self.take()]
            word += [self.take() if head >> 8 + k & 1 else NOWHERE for k in range(5)]
        if head & STEPS:
            self.step(word, stage == TRANSFER)
        a, b, c, d, e, f = word
        return CommandRow(wait, stage, (a, b, c, d, e, f))

    def step(self, word: list[int], transfer: bool) -> None:
        mask = self.take()
        for k in range(len(word)):
            if mask >> k & 1:
                step = self.take()
                if transfer and k == OFFSET_WORD:
                    offset = word[4] | word[5] << 16
                    offset += (step | self.take() << 16) * self.round
                    word[4], word[5] = offset & WORD, offset >> 16 & WORD
                else:
                    word[k] = word[k] + step * self.round & WORD

    def turn(self) -> None:
        """Behind a cell: at a mark back to the start of its loop, or on."""
        floor = self.floor
        rounds = self.mark()
        if self.round + 1 < rounds:
            self.round += 1
            self.at, self.floor = self.body, floor
        elif rounds > 1:
            self.round = 0

    def mark(self) -> int:
        """Read the mark behind the last cell; rounds of its loop, 1 if there is none."""
        if not self.marked:
            return 1
        at = self.at
        self.body = at - self.take()
        rounds = self.take()
        if not self.floor <= self.body < at or rounds < 2:
            raise PackingError(f"the loop that ends at word {at} has no body or only one round")
        self.floor = self.at
        return rounds
