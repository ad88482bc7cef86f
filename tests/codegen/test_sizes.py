"""Code size of the runtime on a Cortex-M3: golden numbers that may shrink but not grow unnoticed."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from ooc_solve.codegen.project import runtime_files

GCC, SIZE = "arm-none-eabi-gcc", "arm-none-eabi-size"
FLAGS = ("-mcpu=cortex-m3", "-mthumb", "-Os", "-std=c99", "-ffunction-sections")
GOLDEN = tomllib.loads((Path(__file__).parent / "golden" / "sizes.toml").read_text())
MOST_GROWTH = 1.02
CORE = ("ooc.c", "ooc_command.c")
MOST_CORE_BYTES = 4096

pytestmark = pytest.mark.skipif(
    not (shutil.which(GCC) and shutil.which(SIZE)), reason=f"needs {GCC} and {SIZE}"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runtime")
    for name, content in runtime_files().items():
        (folder / name).write_bytes(content)
    return folder


def sections(folder: Path, name: str) -> tuple[int, int, int]:
    """Bytes of text with constants, of .data and of .bss."""
    subprocess.run([GCC, *FLAGS, "-c", name, "-o", "object.o"], cwd=folder, check=True)
    listing = subprocess.run([SIZE, "object.o"], cwd=folder, capture_output=True, text=True, check=True)
    text, data, bss = listing.stdout.splitlines()[1].split()[:3]
    return int(text), int(data), int(bss)


@pytest.mark.parametrize("name", sorted(GOLDEN["text_bytes"]))
def test_size_is_the_golden_one(folder: Path, name: str) -> None:
    """No file of the runtime is more than 2 % larger than it was when its number was written down."""
    text, _, _ = sections(folder, name)
    golden = GOLDEN["text_bytes"][name]
    assert text <= golden * MOST_GROWTH, f"{name} has grown from {golden} to {text} bytes"
    assert text >= golden / 1.25, f"{name} has shrunk from {golden} to {text} bytes: write that down"


def test_core_fits_4_kib(folder: Path) -> None:
    """The state machine and the reader of commands fit 4 KiB, the texts of the messages included."""
    assert sum(sections(folder, name)[0] for name in CORE) <= MOST_CORE_BYTES


@pytest.mark.parametrize("name", sorted(name for name in runtime_files() if name.endswith(".c")))
def test_runtime_has_no_variables(folder: Path, name: str) -> None:
    """Nothing in .data or .bss: all state belongs to the caller."""
    assert sections(folder, name)[1:] == (0, 0)


def test_every_file_is_watched() -> None:
    """Every file of the runtime has its golden number."""
    assert {name for name in runtime_files() if name.endswith(".c")} == set(GOLDEN["text_bytes"])
