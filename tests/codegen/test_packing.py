"""Packed command lists: nothing is lost, loops are found, damage is told, and C reads what Python wrote."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ooc_solve.codegen.packing import (
    MOST_WORDS,
    NOWHERE,
    TRANSFER,
    CommandRow,
    PackingError,
    items_in,
    pack,
    unpack,
)
from ooc_solve.codegen.project import runtime_files
from ooc_solve.codegen.table_builder import build_tables
from ooc_solve.codegen.tables import table_bytes
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.solve import SCHEDULERS

HALF = st.integers(0, 0xFFFF)
WAIT = st.sampled_from((0, 0, 1, 2, 62, 63, 64, 0xFFFF))
WAITS = st.tuples(WAIT, WAIT, WAIT)
ADDRESS = st.one_of(st.just(NOWHERE), HALF)
COMPUTES = st.builds(
    CommandRow,
    WAITS,
    st.integers(0, TRANSFER - 1),
    st.tuples(HALF, ADDRESS, ADDRESS, ADDRESS, ADDRESS, ADDRESS),
)
TRANSFERS = st.builds(
    CommandRow,
    WAITS,
    st.just(TRANSFER),
    st.tuples(HALF, HALF, st.integers(0, 3), st.integers(0, 3), HALF, HALF),
)
COMMAND = st.one_of(COMPUTES, TRANSFERS)


def transfer(sram: int, offset: int, wait: int = 0) -> CommandRow:
    return CommandRow((wait, 0, 0), TRANSFER, (sram, 7, 3, 1, offset & 0xFFFF, offset >> 16))


def compute(tile: int, weights: int, sums: int = NOWHERE) -> CommandRow:
    return CommandRow((1, 0, 0), 5, (tile, 64, NOWHERE, weights, 128, sums))


def stepped(command: CommandRow, rounds: int, step: tuple[int, ...]) -> CommandRow:
    """The command in a later round, its words moved on by a step each."""
    word = [w if w == NOWHERE else w + rounds * s & 0xFFFF for w, s in zip(command.word, step, strict=True)]
    if command.is_transfer:
        offset = command.offset + rounds * step[4] & 0xFFFFFFFF
        word[2:] = [*command.word[2:4], offset & 0xFFFF, offset >> 16]
    a, b, c, d, e, f = word
    return CommandRow(command.wait, command.stage, (a, b, c, d, e, f))


@st.composite
def regular_lists(draw: st.DrawFn) -> list[CommandRow]:
    """Lists as plans have them: stretches of loops, here and there something else."""
    commands: list[CommandRow] = []
    for _ in range(draw(st.integers(0, 5))):
        body = draw(st.lists(COMMAND, min_size=1, max_size=5))
        step = st.tuples(*[st.sampled_from((0, 0, 1, 8, 512, -64))] * 6)
        steps = draw(st.lists(step, min_size=len(body), max_size=len(body)))
        for k in range(draw(st.integers(1, 9))):
            commands += [stepped(command, k, s) for command, s in zip(body, steps, strict=True)]
    return commands


@given(st.lists(COMMAND, max_size=40))
def test_any_list_survives(commands: list[CommandRow]) -> None:
    """Unpacking gives back exactly the commands that were packed, in at most 22 bytes each."""
    code = pack(commands)
    assert unpack(code) == tuple(commands)
    assert all(0 <= word <= 0xFFFF for word in code)
    assert len(code) <= MOST_WORDS * len(commands)


@given(regular_lists())
def test_regular_lists_survive(commands: list[CommandRow]) -> None:
    """Loops with steps, at any place and in any number, are unpacked to what was packed."""
    code = pack(commands)
    assert unpack(code) == tuple(commands)
    assert sum(item.rounds * len(item.cells) for item in items_in(code)) == len(commands)


def test_steps_become_one_loop() -> None:
    """A thousand rounds of two commands with steady steps take as many words as three rounds."""

    def rounds(count: int) -> list[CommandRow]:
        return [c for k in range(count) for c in (transfer(8 * k, 70_000 + 94_208 * k), compute(k, 3, 9 + k))]

    (item,) = items_in(pack(rounds(1000)))
    assert (len(item.cells), item.rounds) == (2, 1000)
    assert len(pack(rounds(1000))) == len(pack(rounds(3)))


def test_interrupted_loop_goes_on() -> None:
    """One odd command costs its own words and a second loop, not the rest of the pattern."""
    commands = [transfer(0, 512 * k) for k in range(100)]
    odd = [*commands[:50], transfer(9, 1, wait=3), *commands[50:]]
    assert len(pack(odd)) <= 2 * len(pack(commands)) + 5


def test_same_list_same_words() -> None:
    """Packing is a function of the list alone."""
    random = Random(4)
    commands = [transfer(random.randrange(3), 512 * random.randrange(4)) for _ in range(300)]
    assert pack(commands) == pack(list(commands))


def test_nothing_is_packed_to_nothing() -> None:
    """An empty stream has no words."""
    assert pack([]) == ()
    assert unpack(()) == ()


LOOP = pack([transfer(0, 512 * k) for k in range(9)])


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (LOOP[:3], "a cell ends after the last of 3 words"),
        (LOOP[:-1], "a cell ends after the last of 9 words"),
        (LOOP[:-2], "a cell ends after the last of 8 words"),
        ((*LOOP[:-2], 0, 9), "has no body"),
        ((*LOOP[:-2], len(LOOP), 9), "has no body"),
        ((*LOOP[:-1], 1), "only one round"),
        ((*LOOP, *LOOP[:-2], len(LOOP) + 2, 9), "has no body"),
    ],
)
def test_damaged_words_are_told(code: tuple[int, ...], message: str) -> None:
    """Words that are no command list name the word at which they stop making sense."""
    with pytest.raises(PackingError, match=message):
        unpack(code)


READER_FILES = ("ooc_command.c", "ooc_command_check.c")
READER = """\
#include "ooc_command.h"
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
int main(void) {
    static uint16_t all[1000000];
    size_t words = fread(all, 2, 1000000, stdin);
    uint16_t *code = malloc(words * 2 + 1);
    struct ooc_stream stream;
    struct ooc_cursor cursor = {0, 0, 0};
    if (code == NULL) return 2;
    memcpy(code, all, words * 2);
    memset(&stream, 0, sizeof stream);
    stream.code = code;
    stream.words = (uint32_t)words;
    while (ooc_command_fits(&stream, &cursor)) {
        struct ooc_command c;
        uint32_t wait[OOC_MAX_STREAMS - 1] = {0, 0, 0};
        int waits = ooc_command_read(&c, wait, &stream, &cursor);
        if ((waits != 0) != (wait[0] + wait[1] + wait[2] > 0)) return 3;
        printf("%u %u %u %u", wait[0], wait[1], wait[2], c.stage);
        printf(" %u %u %u %u %u %u\\n", c.word[0], c.word[1], c.word[2], c.word[3], c.word[4], c.word[5]);
    }
    free(code);
    return ooc_command_ends(&stream, &cursor) ? 0 : 1;
}
"""


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_runtime_reads_what_was_packed(tmp_path: Path) -> None:
    """The C reader gives the same commands; what is cut off or damaged is refused before it is read."""
    for name, content in runtime_files().items():
        if name.startswith(("ooc_command", "ooc_tables")):
            (tmp_path / name).write_bytes(content)
    (tmp_path / "reader.c").write_text(READER)
    sanitize = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"]
    command = ["gcc", "-std=c99", "-Wall", "-Werror", *sanitize, "reader.c", *READER_FILES, "-o", "reader"]
    subprocess.run(command, cwd=tmp_path, check=True)
    random, commands = Random(11), []
    for _ in range(200):
        body = [
            random.choice(
                (
                    transfer(random.randrange(9), random.randrange(1 << 32), random.choice((0, 63, 700))),
                    compute(random.randrange(1 << 16), random.randrange(1 << 16)),
                    CommandRow((63, 1, 65535), 3, (1, 2, 3, 4, 5, 6)),
                )
            )
            for _ in range(random.randrange(1, 7))
        ]
        steps = [tuple(random.choice((0, 1, 5000, -8)) for _ in range(6)) for _ in body]
        for k in range(random.choice((1, 2, 30))):
            commands += [stepped(c, k, s) for c, s in zip(body, steps, strict=True)]
    code = pack(commands)
    words = b"".join(word.to_bytes(2, "little") for word in code)
    found = subprocess.run(["./reader"], cwd=tmp_path, input=words, capture_output=True, check=True).stdout
    expected = [" ".join(map(str, (*c.wait, c.stage, *c.word))) for c in commands]
    assert len(code) < 11 * len(commands)
    assert found.decode().splitlines() == expected
    damaged = [words[:cut] for cut in range(0, len(words), len(words) // 30)]
    damaged += [_flipped(words, random.randrange(8 * len(words))) for _ in range(100)]
    for some in damaged:
        result = subprocess.run(
            ["timeout", "1", "./reader"],
            cwd=tmp_path,
            env={**os.environ, "ASAN_OPTIONS": "exitcode=99", "UBSAN_OPTIONS": "exitcode=99"},
            input=some,
            stdout=subprocess.DEVNULL,
            check=False,
        )
        assert result.returncode in (0, 1, 124)  # 124: an endless loop, which a number of commands would end


def _flipped(content: bytes, bit: int) -> bytes:
    number = int.from_bytes(content, "little") ^ 1 << bit
    return number.to_bytes(len(content), "little")


@pytest.mark.parametrize(
    ("network", "kib", "scheduler", "most"),
    [
        ("mobilenet_v2_224", 256, "demand-layering", 12_000),
        ("mobilenet_v2_224", 128, "demand-layering", 18_000),
        ("mobilenet_v2_224", 64, "serial", 36_000),
        ("vgg16_224", 128, "serial", 40_000),
    ],
)
def test_large_networks_stay_below_64_kib(network: str, kib: int, scheduler: str, most: int) -> None:
    """Tables of networks of MobileNetV2's size and above stay far below 64 KiB."""
    problem = Problem(zoo_network(network), load_target("f746-sd"), kib * 1024, IoPlace.STORAGE)
    plan = SCHEDULERS[scheduler](problem, Budget(10.0, 1, 1)).plan
    assert plan is not None
    assert table_bytes(build_tables(problem, plan)) < most
