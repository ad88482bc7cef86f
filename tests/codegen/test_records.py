"""When records of weights are compared with their checksums: in every run, or in the first that is complete."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ooc_solve.codegen.project import write_project
from ooc_solve.models.problem import IoPlace
from ooc_solve.models.target import load_target

PROGRAM = """
#include "ooc.h"
#include "port_host.h"

#include <stdlib.h>
#include <string.h>

#include OOC_MODEL_HEADER

static struct ooc state;
static struct host_port host;
static uint8_t output[2][4096], input[65536], scratch[512];

static void tell(const char *what, int result) {
    printf("%s %d\\n", what, result);
}

static void open_it(struct ooc_port *port, uint8_t *banks[]) {
    tell("open", ooc_open(&state, &OOC_MODEL, banks, port));
    tell("input", ooc_input_write(&state, 0, input, OOC_MODEL.bindings[0].bytes, scratch, sizeof scratch));
}

static void run(int number) {
    tell("run", ooc_run(&state));
    if (state.status == OOC_DONE) {
        tell("output", ooc_output_read(&state, 0, output[number], OOC_MODEL.bindings[1].bytes, scratch,
                                       sizeof scratch));
    }
}

int main(int count, char **arguments) {
    uint8_t *banks[OOC_MAX_BANKS] = {NULL};
    uint32_t size[HOST_STORES] = {1 << 20, 1 << 20};
    struct ooc_port port;
    FILE *file = count > 1 ? fopen(arguments[1], "rb") : NULL;
    unsigned k;
    host.seed = 5;
    if (file == NULL || host_port_init(&host, size) != 0) {
        return 2;
    }
    host_port_bind(&port, &host);
    tell("image", (int)fread(host.bytes[0], 1, OOC_MODEL.region[0].bytes, file));
    for (k = 0; k < OOC_MODEL.banks; k++) {
        banks[k] = malloc(OOC_MODEL.bank_bytes[k]);
    }
    tell("unopened", ooc_check_records(&state, OOC_RECORDS_FIRST_RUN));
    open_it(&port, banks);
    for (k = 2; k < (unsigned)count; k++) {
        const char *what = arguments[k];
        if (strcmp(what, "flip") == 0) {
            host.bytes[0][512 + 2] ^= 1; /* a bias */
        } else if (strcmp(what, "open") == 0) {
            open_it(&port, banks);
        } else if (strcmp(what, "every") == 0) {
            tell(what, ooc_check_records(&state, OOC_RECORDS_EVERY_RUN));
        } else if (strcmp(what, "first") == 0) {
            tell(what, ooc_check_records(&state, OOC_RECORDS_FIRST_RUN));
        } else if (strcmp(what, "start") == 0) {
            tell(what, ooc_start(&state));
        } else {
            run(strcmp(what, "other") == 0);
        }
    }
    tell("alike", memcmp(output[0], output[1], sizeof output[0]) == 0);
    for (k = 0; k < OOC_MODEL.banks; k++) {
        free(banks[k]);
    }
    host_port_free(&host);
    return fclose(file);
}
"""

DONE, STATE, RECORD = 0, -8, -4


@pytest.fixture(scope="module", params=["f746-sd", "lm3s-qemu"])
def program(request: pytest.FixtureRequest, workshop: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network on a board with DMA and on one without, driven by the words it is given."""
    if shutil.which("gcc") is None:
        pytest.skip("needs gcc")
    folder = tmp_path_factory.mktemp("records") / "out"
    problem = workshop.problem(load_target(request.param), IoPlace.STORAGE)
    write_project(problem, workshop.plan(problem, workshop.selection), folder, "net")
    (folder / "records.c").write_text(PROGRAM)
    sources = [p.name for p in folder.glob("ooc*.c")] + ["net.c", "port_host.c", "records.c"]
    model = ['-DOOC_MODEL_HEADER="net.h"', "-DOOC_MODEL=net_model"]
    flags = ["-std=c99", "-O1", "-ffp-contract=off", "-fsanitize=address,undefined", "-Wall", "-Werror"]
    command = ["gcc", *flags, *model, *sources, "-lm", "-o", "records"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder / "records"


def told(program: Path, *words: str) -> list[tuple[str, int]]:
    """What the program tells after it has opened the network."""
    command = [str(program), "net.bin", *words]
    done = subprocess.run(command, cwd=program.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    lines = [(line.split()[0], int(line.split()[1])) for line in done.stdout.splitlines()]
    assert lines[1:4] == [("unopened", STATE), ("open", DONE), ("input", DONE)]
    return lines[4:]


def results(program: Path, *words: str) -> list[int]:
    """What runs and settings return, and whether the outputs of ``run`` and ``other`` are the same."""
    return [value for name, value in told(program, *words) if name not in ("output", "input", "open")]


def test_every_run_compares(program: Path) -> None:
    """As after ooc_open: storage that goes bad later is noticed in the next run, and good again it is believed."""
    assert results(program, "run", "flip", "other", "flip", "other") == [DONE, RECORD, DONE, 1]


def test_only_the_first_complete_run_compares(program: Path) -> None:
    """What changes in storage after it is computed with, and nothing is told."""
    assert results(program, "first", "run", "flip", "other", "other") == [DONE, DONE, DONE, DONE, 0]


def test_a_failed_run_is_not_the_first(program: Path) -> None:
    """Until a run was right from end to end, all compare; the next one believes."""
    words = ("first", "flip", "run", "run", "flip", "run", "flip", "other")
    assert results(program, *words) == [DONE, RECORD, RECORD, DONE, DONE, 0]


@pytest.mark.parametrize("word", ["first", "every"])
def test_saying_it_again_compares_again(program: Path, word: str) -> None:
    """After either setting the next run compares, whatever was believed before."""
    assert results(program, "first", "run", "flip", word, "run") == [DONE, DONE, DONE, RECORD, 0]


def test_opening_goes_back_to_every_run(program: Path) -> None:
    """A state that is opened knows nothing of earlier runs."""
    assert results(program, "first", "run", "flip", "open", "run") == [DONE, DONE, RECORD, 0]


def test_not_during_a_run(program: Path) -> None:
    """Between runs alone: the records of a run are all compared or none."""
    assert results(program, "start", "first", "run") == [DONE, STATE, DONE, 0]


def test_the_same_words_give_the_same_output(program: Path) -> None:
    """The outputs that the other tests compare are outputs: an untouched network gives one twice."""
    assert results(program, "run", "other") == [DONE, DONE, 1]
    assert np.unique([value for name, value in told(program, "run") if name == "output"]).tolist() == [DONE]
