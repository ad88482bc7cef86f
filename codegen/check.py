"""Proof about tables, from the tables alone: order, addresses, and that reads find what they need.

Durations are unknown on the chip, so nothing here is about time. A command happens before
another if the order of streams and the waits say so (vector clocks). If every two commands
of different streams that touch a common byte, one writing, are ordered this way, every
execution computes what one execution in a fixed order computes. That one is replayed with
labels instead of values: a label names one byte of one tensor, weight record or partial
sum, and whatever a kernel reads must carry the labels that the tables say it needs.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Any

import numpy as np
from numpy.lib.stride_tricks import as_strided
from numpy.typing import NDArray

from ooc_solve.codegen.decode import (
    SRAM,
    Access,
    Content,
    DecodeError,
    Move,
    Subject,
    accesses,
    move_of,
    stored_tensor,
)
from ooc_solve.codegen.tables import (
    COMPUTE_CHANNEL,
    ENGINE_CHANNEL,
    FLAG_CHECKED,
    FORMAT,
    HOMES,
    KINDS,
    REGIONS,
    RESIDENT,
    STREAMED,
    BindingRow,
    PackingRow,
    Tables,
    has_annex,
    has_engine,
)
from ooc_solve.models.in_place import ELEMENTWISE
from ooc_solve.models.levelling import NOTE_BYTES
from ooc_solve.models.vocabulary import Footprint, OpKind, RegionName
from ooc_solve.models.weight_records import HEADER_BYTES

Position = tuple[int, int]
"""Stream and number of a command in it."""

Labels = NDArray[Any]
"""What bytes hold; 0: nothing was written."""

OPEN = 0
"""Instead of the place for which a byte is sealed: it is not."""

NO_COMMAND: Position = (-1, -1)
INPUT, OUTPUT, SCRATCH = (REGIONS.index(n) for n in (RegionName.INPUT, RegionName.OUTPUT, RegionName.SCRATCH))
IMAGES = tuple(map(REGIONS.index, HOMES))
"""The image, and the annex that some tables have."""


class Rule(Enum):
    """What tables must satisfy; the value is the name used in messages."""

    MALFORMED = "malformed"  # a command or binding refers to rows that are not there
    OUTSIDE_BANK = "outside-bank"  # bytes beyond the arena, or across the wall of a bank
    OUTSIDE_REGION = "outside-region"
    OFF_GRANULE = "off-granule"  # a transfer that storage cannot address
    MISALIGNED = "misaligned"  # an address or bank size that is no multiple of the unit
    DEADLOCK = "deadlock"
    UNORDERED = "unordered"  # two streams race for a byte
    UNWRITTEN = "unwritten"  # a read of what was never written
    WRONG_DATA = "wrong-data"  # a read that finds other data than the operator needs
    OVERWRITTEN = "overwritten"  # a kernel writes over what it has still to read
    SEALED = "sealed"  # to be opened while open, to be sealed while sealed, or not done in time


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that does not hold: at which command (-1: none), for which bytes of what."""

    rule: Rule
    stream: int
    command: int
    space: str
    first_byte: int
    end_byte: int
    detail: str

    def __str__(self) -> str:
        where = f"stream {self.stream}, command {self.command}" if self.stream >= 0 else "tables"
        return f"{self.rule.value}: {where}: {self.detail} ({self.space} bytes {self.first_byte}:{self.end_byte})"


def check_tables(tables: Tables) -> tuple[Violation, ...]:
    """Everything that is wrong with tables; nothing if every execution of them is right."""
    return tuple(_Checker(tables).run())


def _space_name(space: int) -> str:
    return "SRAM" if space == SRAM else REGIONS[space].value


class _Checker:
    """One check of one set of tables."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self.found: list[Violation] = []
        self.touched: dict[Position, tuple[Access, ...]] = {}
        self.padding: dict[int, NDArray[np.bool_]] = {}

    def run(self) -> list[Violation]:
        self._model()
        self._ring()
        for stream, row in enumerate(self.tables.stream):
            for number in range(len(row.commands)):
                self._decode((stream, number))
        for image in IMAGES[: 1 + has_annex(self.tables)]:
            self._records(image)
        bound = [self._binding(k, row) for k, row in enumerate(self.tables.bindings)]
        order = self._order()
        self._races(order)
        if all(bound):
            self._replay(order)
        return self.found

    def _report(self, rule: Rule, at: Position, space: int, span: tuple[int, int], detail: str) -> None:
        self.found.append(Violation(rule, *at, _space_name(space), *span, detail))

    # ------------------------------------------------------------ single commands

    def _model(self) -> None:
        tables = self.tables
        if tables.format != FORMAT:
            self._report(Rule.MALFORMED, NO_COMMAND, SRAM, (0, 0), f"format {tables.format} is not {FORMAT}")
        for size in tables.bank_bytes:
            if size % tables.unit:
                detail = f"a bank must be a multiple of {tables.unit} bytes"
                self._report(Rule.MISALIGNED, NO_COMMAND, SRAM, (0, size), detail)
        for space, row in enumerate(tables.used_regions):
            span = (row.base, row.base + row.bytes)
            for other in tables.used_regions[:space]:
                if other.store == row.store and row.base < other.base + other.bytes and other.base < span[1]:
                    detail = "two regions of a store overlap"
                    self._report(Rule.OUTSIDE_REGION, NO_COMMAND, space, span, detail)
            if row.bytes and row.base % tables.granule_bytes[space]:
                detail = f"a region must start on a granule of {tables.granule_bytes[space]} bytes"
                self._report(Rule.OFF_GRANULE, NO_COMMAND, space, span, detail)

    def _ring(self) -> None:
        """Each place of the ring holds the scratch region and its note, which goes through bytes that no input has."""
        tables, ring = self.tables, self.tables.ring
        if ring is None:
            return
        region, granule = tables.region[SCRATCH], tables.granule_bytes[SCRATCH]
        end = region.bytes + ring.note
        if ring.places < 1 or end > ring.step or ring.note < NOTE_BYTES:
            detail = f"a place of {ring.step} bytes must hold the scratch region and its note"
            self._report(Rule.OUTSIDE_REGION, NO_COMMAND, SCRATCH, (region.bytes, end), detail)
        if ring.step % granule or ring.note % granule or region.bytes % granule:
            detail = f"places and notes must begin on granules of {granule} bytes"
            self._report(Rule.OFF_GRANULE, NO_COMMAND, SCRATCH, (region.bytes, end), detail)
        low = ring.buffer * tables.unit
        span = (low, low + ring.note)
        if not self._in_one_bank(*span):
            self._report(Rule.OUTSIDE_BANK, NO_COMMAND, SRAM, span, "the note must lie in one bank")
        for number, binding in enumerate(tables.bindings[: tables.inputs]):
            if (
                binding.operand.place == RESIDENT
                and low < binding.offset + binding.bytes
                and binding.offset < span[1]
            ):
                detail = f"the note must not lie on input {number}"
                self._report(Rule.WRONG_DATA, NO_COMMAND, SRAM, span, detail)

    def _decode(self, at: Position) -> None:
        command = self.tables.stream[at[0]].commands[at[1]]
        if not command.is_transfer and self.tables.stream[at[0]].channel != COMPUTE_CHANNEL:
            self._report(Rule.MALFORMED, at, SRAM, (0, 0), "an IO channel cannot compute")
            return
        if command.is_crypto and (self.tables.sealing is None or has_engine(self.tables)):
            self._report(Rule.MALFORMED, at, SRAM, (0, 0), "the CPU has nothing to open or to seal")
            return
        try:
            self.touched[at] = accesses(self.tables, command, self._is_crypto(at))
        except DecodeError as error:
            self._report(Rule.MALFORMED, at, SRAM, (0, 0), str(error))
            return
        for access in self.touched[at]:
            self._inside(at, access)
        if command.is_transfer or command.is_crypto:
            move = move_of(self.tables, command)
            self._granules(at, move)
            if self.tables.sealing is not None and move.store and not self._is_crypto(at):
                self.touched[at] += self._blanked(move)
        else:
            self._overwriting(at, KINDS[self.tables.stages[command.stage].kind])

    def _blanked(self, move: Move) -> tuple[Access, ...]:
        """Bytes of SRAM of which a store makes zeros, since they go to storage in the clear: those of no element."""
        there = Footprint(move.offset, move.segment_bytes, move.segments, move.pitch)
        padding = self._padding(move.region)
        if there.span[1] > padding.size:
            return ()  # outside of its region: reported
        edges = np.flatnonzero(np.diff(_view(padding, there).reshape(-1), prepend=False, append=False))
        spans = (Footprint(move.sram + int(a), int(b - a)) for a, b in edges.reshape(-1, 2))
        return tuple(Access(SRAM, move.sram, span, True) for span in spans)

    def _padding(self, region: int) -> NDArray[np.bool_]:
        """Which bytes of a region that a run writes hold neither elements nor what is behind sealed rows."""
        if region not in self.padding:
            tables = self.tables
            assert tables.sealing is not None
            bindings = tables.sealing.sealed if region == SCRATCH else tables.bindings[tables.inputs :]
            found = np.ones(tables.region[region].bytes, np.bool_)
            for binding in bindings:
                if binding.operand.place == STREAMED:
                    for access in stored_tensor(tables, binding.operand, region, binding.offset):
                        f = access.footprint
                        rows = replace(f, run=f.run + binding.operand.seal)
                        if rows.span[1] <= found.size:
                            _view(found, rows)[...] = False
            self.padding[region] = found
        return self.padding[region]

    def _is_crypto(self, at: Position) -> bool:
        """Whether a command opens or seals in place: one of an engine, or of the CPU."""
        row = self.tables.stream[at[0]]
        return row.channel == ENGINE_CHANNEL or row.commands[at[1]].is_crypto

    def _inside(self, at: Position, access: Access) -> None:
        span = access.footprint.span
        if access.space == SRAM:
            if not self._in_one_bank(access.base, span[1]):
                self._report(Rule.OUTSIDE_BANK, at, SRAM, span, "a buffer must lie in one bank")
        elif span[1] > self.tables.region[access.space].bytes:
            size = self.tables.region[access.space].bytes
            detail = f"a transfer must stay in its region of {size} bytes"
            self._report(Rule.OUTSIDE_REGION, at, access.space, span, detail)
        if access.write and access.space in (*IMAGES, INPUT):
            self._report(Rule.OUTSIDE_REGION, at, access.space, span, "this region is read only")

    def _overwriting(self, at: Position, kind: OpKind) -> None:
        """A kernel writes over what it reads only where it goes element by element, and each where it was read."""
        written = [access for access in self.touched[at] if access.write]
        for access in written:
            low, high = access.footprint.span
            for other in self.touched[at]:
                first, end = other.footprint.span
                apart = other.write or end <= low or high <= first
                if not (apart or _is_in_place(kind, other, access)):
                    detail = "a kernel writes over bytes that it reads"
                    self._report(Rule.OVERWRITTEN, at, SRAM, (max(low, first), min(high, end)), detail)

    def _records(self, image: int) -> None:
        """Weight records fill an image behind its header, one after the other."""
        found: dict[tuple[int, int], Position] = {}
        for at, touched in self.touched.items():
            command = self.tables.stream[at[0]].commands[at[1]]
            if command.is_transfer and touched[0].space == image:
                found.setdefault(touched[0].footprint.span, at)
        end = -(-HEADER_BYTES // self.tables.granule_bytes[image]) * self.tables.granule_bytes[image]
        for span, at in sorted(found.items()):
            if span[0] != end:
                detail = f"a weight record must start where the one before ends, at {end}"
                self._report(Rule.WRONG_DATA, at, image, span, detail)
            end = span[1]
        if end != self.tables.region[image].bytes:
            span = (end, self.tables.region[image].bytes)
            detail = f"the {REGIONS[image].value} must end with its last record"
            self._report(Rule.WRONG_DATA, NO_COMMAND, image, span, detail)

    def _in_one_bank(self, low: int, high: int) -> bool:
        start = 0
        for size in self.tables.bank_bytes:
            if start <= low and high <= start + size:
                return True
            start += size
        return False

    def _granules(self, at: Position, move: Move) -> None:
        granule = self.tables.granule_bytes[move.region]
        pitch = move.pitch if move.segments > 1 else 0
        if move.offset % granule or move.segment_bytes % granule or pitch % granule:
            span = Footprint(move.offset, move.segment_bytes, move.segments, move.pitch).span
            detail = f"offset, size and pitch must be multiples of {granule} bytes"
            self._report(Rule.OFF_GRANULE, at, move.region, span, detail)

    def _binding(self, number: int, binding: BindingRow) -> bool:
        """Report a binding that does not fit; whether it can be replayed."""
        tables, operand = self.tables, binding.operand
        before = len(self.found)
        span = (binding.offset, binding.offset + binding.bytes)
        if (
            operand.tensor >= len(tables.tensors)
            or tables.tensors[operand.tensor].size_bytes != binding.bytes
        ):
            detail = f"binding {number} is not of the size of its tensor"
            self._report(Rule.MALFORMED, NO_COMMAND, SRAM, span, detail)
        elif operand.place not in (RESIDENT, STREAMED):
            detail = f"binding {number} must be a whole tensor"
            self._report(Rule.MALFORMED, NO_COMMAND, SRAM, span, detail)
        elif operand.place == RESIDENT:
            if not self._in_one_bank(*span):
                self._report(
                    Rule.OUTSIDE_BANK, NO_COMMAND, SRAM, span, f"binding {number} must lie in one bank"
                )
            if binding.offset % tables.unit:
                detail = f"binding {number} must start on a unit of {tables.unit} bytes"
                self._report(Rule.MISALIGNED, NO_COMMAND, SRAM, span, detail)
        else:
            self._streamed_binding(number, binding)
        return len(self.found) == before

    def _streamed_binding(self, number: int, binding: BindingRow) -> None:
        tables, operand = self.tables, binding.operand
        region = INPUT if number < tables.inputs else OUTPUT
        if min(operand.plane_channels, operand.record_rows, operand.granule) < 1:
            detail = f"binding {number} has records without elements"
            self._report(Rule.MALFORMED, NO_COMMAND, region, (0, 0), detail)
            return
        parts = stored_tensor(tables, operand, region, binding.offset)
        end = max(access.footprint.span[1] for access in parts)
        span = (binding.offset, end)
        if end > tables.region[region].bytes:
            detail = f"binding {number} must stay in its region"
            self._report(Rule.OUTSIDE_REGION, NO_COMMAND, region, span, detail)
        if binding.offset % operand.granule:
            detail = f"binding {number} must start on a granule"
            self._report(Rule.OFF_GRANULE, NO_COMMAND, region, span, detail)

    # ---------------------------------------------------------------------- order

    def _order(self) -> list[tuple[Position, tuple[int, ...]]]:
        """One possible sequence of all commands, each with its vector clock.

        Entry ``r`` of a clock counts the commands of stream ``r`` that surely come before.
        """
        streams = self.tables.stream
        clocks: list[list[tuple[int, ...]]] = [[] for _ in streams]
        required = [required_counts(self.tables, s) for s in range(len(streams))]
        sequence = []
        progress = True
        while progress:
            progress = False
            for s in range(len(streams)):
                while len(clocks[s]) < len(streams[s].commands):
                    clock = _clock(s, clocks, required[s][len(clocks[s])])
                    if clock is None:
                        break
                    sequence.append(((s, len(clocks[s])), clock))
                    clocks[s].append(clock)
                    progress = True
        self._deadlocks([len(done) for done in clocks], required)
        return sequence

    def _deadlocks(self, done: list[int], required: list[list[tuple[int, ...]]]) -> None:
        for s, row in enumerate(self.tables.stream):
            if done[s] < len(row.commands):
                need = required[s][done[s]]
                missing = [
                    f"{need[r]} commands of stream {r} (which ends or stops after {done[r]})"
                    for r in range(len(done))
                    if r != s and need[r] > done[r]
                ]
                detail = f"waits for ever for {', '.join(missing)}"
                self._report(Rule.DEADLOCK, (s, done[s]), SRAM, (0, 0), detail)

    def _races(self, order: list[tuple[Position, tuple[int, ...]]]) -> None:
        history: dict[int, _History] = {}
        told: set[tuple[Position, Position]] = set()
        for at, clock in order:
            for access in self.touched.get(at, ()):
                spans = history.setdefault(access.space, _History())
                for other, low, high in spans.visit(access.footprint.span, at, access.write):
                    if other[0] != at[0] and other[1] >= clock[other[0]] and (other, at) not in told:
                        told.add((other, at))
                        detail = f"not ordered against stream {other[0]}, command {other[1]}"
                        self._report(Rule.UNORDERED, at, access.space, (low, high), detail)

    # --------------------------------------------------------------------- replay

    def _replay(self, order: list[tuple[Position, tuple[int, ...]]]) -> None:
        """Execute the commands on labels."""
        images = (a for touched in self.touched.values() for a in touched if a.space in IMAGES)
        memory = _Memory(self.tables, {(access.space, access.base) for access in images})
        for at, _ in order:
            touched = self.touched.get(at, ())
            if not all(memory.holds(access) for access in touched):
                continue  # outside of memory: reported before
            command = self.tables.stream[at[0]].commands[at[1]]
            if command.is_transfer or command.is_crypto:
                move = move_of(self.tables, command)
                if self.tables.sealing is not None:
                    self._seals(at, memory, move, bool(command.word[3] & FLAG_CHECKED))
                if not self._is_crypto(at):
                    self._transfer(at, memory, move)
                self._unpack(at, memory, move)
                continue
            for access in touched:
                if access.write:
                    memory.write(access)
                else:
                    self._expect(at, memory, access, "a kernel reads")
                    self._expect_seal(at, access, memory.sealed(access), OPEN, "a kernel reads")
        for k, binding in enumerate(self.tables.bindings[self.tables.inputs :]):
            for access in bound_bytes(self.tables, binding, OUTPUT):
                self._expect(NO_COMMAND, memory, access, f"output {k} has")

    def _expect(self, at: Position, memory: _Memory, access: Access, what: str) -> None:
        found = memory.view(access).reshape(-1)
        wanted = memory.labels(access, found)
        if wanted is not None and np.array_equal(found, wanted):
            return
        missing = int(found.size - np.count_nonzero(found))
        rule = Rule.UNWRITTEN if missing else Rule.WRONG_DATA
        subject = access.content.subject.value if access.content is not None else "bytes"
        detail = f"{what} {missing} bytes that nothing wrote" if missing else f"{what} other {subject}"
        self._report(rule, at, access.space, access.footprint.span, detail)

    def _seals(self, at: Position, memory: _Memory, move: Move, checked: bool) -> None:
        """Follow for which place bytes are sealed; only what is goes to the scratch region."""
        sram = Access(SRAM, move.sram, Footprint(move.sram, move.size_bytes), False)
        there = Footprint(move.offset, move.segment_bytes, move.segments, move.pitch)
        seals, place = memory.sealed(sram), memory.places(move.region, there)
        if self._is_crypto(at) and move.store:
            data = seals[
                : max(1, move.size_bytes - self.tables.granule_bytes[move.region] + 1)
            ]  # then padding
            self._expect_seal(at, sram, data, OPEN, "a command is to seal")
            spent = _view(memory.spent, there)
            if spent.any():
                detail = (
                    "a command seals for a place for which this run has sealed before: a nonce comes twice"
                )
                self._report(Rule.SEALED, at, SCRATCH, there.span, detail)
            spent[...] = True
            seals[...] = place
        elif self._is_crypto(at):
            self._expect_seal(at, sram, seals, place, "a command is to open")
            seals[...] = OPEN
        elif move.region == SCRATCH:
            stored = memory.sealed(Access(SCRATCH, move.offset, there, move.store))
            if move.store:
                self._expect_seal(at, sram, seals, place, "a transfer takes")
                stored[...] = seals.reshape(stored.shape)
            else:
                seals[...] = stored.reshape(seals.shape)
        elif not move.store:
            seals[...] = place if move.region in IMAGES and checked else OPEN

    def _expect_seal(
        self, at: Position, access: Access, found: Labels, wanted: Labels | int, what: str
    ) -> None:
        if not (found == wanted).all():
            still = "sealed" if wanted is OPEN else "open or sealed for another place"
            self._report(
                Rule.SEALED, at, access.space, access.footprint.span, f"{what} bytes that are {still}"
            )

    def _transfer(self, at: Position, memory: _Memory, move: Move) -> None:
        """Padding travels along with data, but no granule may be padding only."""
        there = Footprint(move.offset, move.segment_bytes, move.segments, move.pitch)
        for access in self.touched[at][2:] if move.store else ():
            memory.view(access)[...] = 0  # blanked
        stored = memory.view(Access(move.region, move.offset, there, move.store))
        flat = memory.view(Access(SRAM, move.sram, Footprint(move.sram, move.size_bytes), not move.store))
        sram = flat.reshape(stored.shape)
        source, target = (sram, stored) if move.store else (stored, sram)
        granule = self.tables.granule_bytes[move.region]
        if source.size % granule == 0 and not source.reshape(-1, granule).any(axis=1).all():
            access = self.touched[at][0]
            detail = "a transfer takes granules that nothing wrote"
            self._report(Rule.UNWRITTEN, at, access.space, access.footprint.span, detail)
        if not move.store or move.region not in (*IMAGES, INPUT):
            target[...] = source

    def _unpack(self, at: Position, memory: _Memory, move: Move) -> None:
        """Spread packed weights: before the first kernel that waits for their load, or once their record is open."""
        command = self.tables.stream[at[0]].commands[at[1]]
        if self.tables.sealing is None or self._is_crypto(at):
            for spread in self.touched.get(at, ())[2:]:
                memory.unpack(spread, move, self.tables.packings[command.word[1]])


def _is_in_place(kind: OpKind, read: Access, write: Access) -> bool:
    """Whether each element is read where it is written: of partial sums, or of a tensor element by element."""
    subjects = {access.content.subject for access in (read, write) if access.content is not None}
    places = subjects == {Subject.SUMS} or (subjects == {Subject.TENSOR} and kind in ELEMENTWISE)
    return places and read.footprint == write.footprint


def required_counts(tables: Tables, stream: int) -> list[tuple[int, ...]]:
    """For each command of a stream how many of every stream must be complete (own: before it)."""
    count = len(tables.stream)
    need = [0] * count
    rows = []
    for number, command in enumerate(tables.stream[stream].commands):
        others = [r for r in range(count) if r != stream]
        for k, r in enumerate(others):
            need[r] += command.wait[k]
        need[stream] = number
        rows.append(tuple(need))
    return rows


def _clock(s: int, clocks: list[list[tuple[int, ...]]], need: tuple[int, ...]) -> tuple[int, ...] | None:
    """Vector clock of the next command of stream ``s``, None if it cannot start yet."""
    if any(need[r] > len(clocks[r]) for r in range(len(clocks)) if r != s):
        return None
    clock = list(need)
    for r, count in enumerate(need):
        if count:
            clock = [max(pair) for pair in zip(clock, clocks[r][count - 1], strict=True)]
    return tuple(clock)


def bound_bytes(tables: Tables, binding: BindingRow, region: int) -> Iterator[Access]:
    """Where the elements of a network input or output lie, before or after a run."""
    operand = binding.operand
    if operand.place == STREAMED:
        yield from stored_tensor(tables, operand, region, binding.offset)
        return
    content = Content(Subject.TENSOR, (operand.tensor,), Footprint(0, binding.bytes))
    yield Access(SRAM, binding.offset, Footprint(binding.offset, binding.bytes), False, content)


# -------------------------------------------------------------------- byte histories


@dataclass(slots=True)
class _Piece:
    """Bytes with one history: last writer, and the last reader of each stream since."""

    writer: Position | None = None
    readers: dict[int, Position] = field(default_factory=dict)


class _History:
    """Bytes of one space cut into pieces of equal history."""

    def __init__(self) -> None:
        self.starts: list[int] = [0]
        self.pieces: list[_Piece] = [_Piece()]

    def visit(self, span: tuple[int, int], at: Position, write: bool) -> list[tuple[Position, int, int]]:
        """Record an access; the earlier commands it conflicts with and the common bytes.

        Only the last writer and each stream's last reader since are named: whoever is
        ordered after them is ordered after all before.
        """
        first, last = self._cut(span[0]), self._cut(span[1])
        found = []
        for k in range(first, last):
            piece, low, high = self.pieces[k], self.starts[k], self.starts[k + 1]
            others = [] if piece.writer is None else [piece.writer]
            others += piece.readers.values() if write else ()
            found += [(other, low, high) for other in others]
            piece.readers[at[0]] = at
        if write:
            self.starts[first:last] = [span[0]]
            self.pieces[first:last] = [_Piece(at)]
        return found

    def _cut(self, position: int) -> int:
        at = bisect_right(self.starts, position) - 1
        if self.starts[at] == position:
            return at
        piece = self.pieces[at]
        self.starts.insert(at + 1, position)
        self.pieces.insert(at + 1, _Piece(piece.writer, dict(piece.readers)))
        return at + 1


class _Memory:
    """A label per byte of SRAM and of every region.

    Labels are numbered through: bytes of the image from 1, of the annex, then each tensor densely, then
    weights that were packed in the images, two per byte of these, then partial sums as they appear.
    ``records`` are images and offsets where records begin.
    """

    def __init__(self, tables: Tables, records: set[tuple[int, int]]) -> None:
        self.tensor_start = []
        self.image_start: dict[int, int] = {}
        self.free = 1
        for image in IMAGES[: 1 + has_annex(tables)]:
            self.image_start[image] = self.free
            self.free += tables.region[image].bytes
        stored = self.free - 1  # bytes of the images
        self.record_starts = {self.image_start[image] + offset for image, offset in records}
        for tensor in tables.tensors:
            self.tensor_start.append(self.free)
            self.free += tensor.size_bytes
        self.halves = self.free
        self.free += 2 * stored
        self.after_halves = self.free
        self.packings: dict[int, PackingRow] = {}  # by the label of the first byte of a record
        self.sums: dict[tuple[int, ...], int] = {}
        self.records: dict[tuple[int, ...], int] = {}
        self.owners: dict[int, tuple[int, ...]] = {}
        self.form = np.dtype(np.uint32 if self.free + _sum_bytes(tables) < 1 << 32 else np.uint64)
        sizes = {SRAM: tables.arena_bytes} | {k: row.bytes for k, row in enumerate(tables.region)}
        self.cells = {
            space: np.zeros(0 if space in IMAGES else size, self.form) for space, size in sizes.items()
        }
        self.sizes = sizes
        self.spent = np.zeros(sizes[SCRATCH], np.bool_)  # bytes for which this run has sealed
        self.seals = {space: np.full(sizes[space], OPEN, self.form) for space in (SRAM, SCRATCH)}
        for binding in tables.bindings[: tables.inputs]:
            for access in bound_bytes(tables, binding, INPUT):
                self.write(access)

    def holds(self, access: Access) -> bool:
        """Whether all bytes exist."""
        return access.footprint.span[1] <= self.sizes[access.space]

    def view(self, access: Access) -> Labels:
        """The labels of a footprint, by rows, columns and runs; those of images are made here."""
        f = access.footprint
        if access.space in IMAGES:
            return self.positions(f, self.image_start[access.space])
        return _view(self.cells[access.space], f)

    def sealed(self, access: Access) -> Labels:
        """For which place (`places`) bytes of SRAM or of the scratch region are sealed."""
        return _view(self.seals[access.space], access.footprint)

    def places(self, region: int, f: Footprint) -> Labels:
        """A number for each byte of the images and the scratch region, other than `OPEN`."""
        behind = 1 + sum(self.sizes.get(image, 0) for image in IMAGES)
        return self.positions(f, self.image_start.get(region, behind)).reshape(-1)

    def write(self, access: Access) -> None:
        """Label what a kernel or the host writes."""
        view = self.view(access)
        if access.space == SRAM:
            self.sealed(access)[...] = OPEN
        content = access.content
        if content is None:
            raise ValueError("only transfers write unnamed bytes")
        if content.subject is Subject.SUMS:
            self.sums[content.key] = self.free
            self.free += content.dense.run
            view[...] = self.positions(content.dense, self.sums[content.key]).reshape(view.shape)
        elif content.subject is Subject.SEAL:
            view[...] = 1  # as the first byte of the image's header, which no kernel expects either
        else:
            view[...] = self.positions(content.dense, self.tensor_start[content.key[0]]).reshape(view.shape)

    def unpack(self, spread: Access, move: Move, packing: PackingRow) -> None:
        """Label the weights of a record once they are spread."""
        start = self.image_start[move.region] + move.offset
        self.packings[start] = packing
        self.view(spread)[...] = self._record(start, packing.end, packing.start)

    def _record(self, start: int, size: int, head: int) -> Labels:
        """Labels of a record as a kernel finds it: of another size than its packed weights mean, none that there are."""
        packing = self.packings.get(start, PackingRow(size, 0))
        plain = self.positions(Footprint(0, packing.start), start)
        if not packing.weights:
            return plain
        halves = self.positions(Footprint(0, packing.weights), self.halves + 2 * (start - 1))
        labels: Labels = np.concatenate([plain, halves])
        fits = (packing.start, packing.end) == (head, size)
        return labels if fits else np.zeros(size, self.form)

    def labels(self, access: Access, found: Labels) -> Labels | None:
        """What an access must find, flat; None if there is no such data."""
        content = access.content
        if content is None:
            return None
        if content.subject is Subject.TENSOR:
            start = self.tensor_start[content.key[0]]
        elif content.subject is Subject.SUMS:
            if content.key not in self.sums:
                return None
            start = self.sums[content.key]
        else:
            first = int(found[0])
            if self.halves <= first < self.after_halves:
                first = 1 + (first - self.halves) // 2
            start = self.records.setdefault(content.key, first)
            foreign = self.owners.setdefault(start, content.key) != content.key
            if foreign or start not in self.record_starts:
                return None
            return self._record(start, content.dense.run, content.head)
        return self.positions(content.dense, start).reshape(-1)

    def positions(self, f: Footprint, start: int) -> Labels:
        """``start`` plus the position of each byte of a footprint, by rows, columns and runs."""
        run = np.arange(start + f.start, start + f.start + f.run, dtype=self.form)
        if f.rows == f.columns == 1:
            return run
        rows = np.arange(f.rows, dtype=self.form) * self.form.type(f.row_stride)
        columns = np.arange(f.columns, dtype=self.form) * self.form.type(f.column_stride)
        positions: Labels = rows[:, None, None] + columns[None, :, None] + run
        return positions[:, 0] if f.columns == 1 else positions


def _view(cells: Labels, f: Footprint) -> Labels:
    """The cells of a footprint, by rows, columns and runs."""
    cells, step = cells[f.start :], cells.itemsize
    if f.rows == f.columns == 1:
        return cells[: f.run]
    strides = (f.row_stride * step, f.column_stride * step, step)
    view: Labels = as_strided(cells, (f.rows, f.columns, f.run), strides)
    return view[:, 0] if f.columns == 1 else view


def _sum_bytes(tables: Tables) -> int:
    """Bytes of partial sums over a whole run, or more."""
    total = 0
    for stage in tables.stages:
        source, out = (tables.tensors[k] for k in (stage.operand[0].tensor, stage.operand[2].tensor))
        total += 4 * out.size_bytes * -(-source.channels // max(1, stage.split_channels))
    return total
