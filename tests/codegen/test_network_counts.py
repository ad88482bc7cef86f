"""Where the instructions of a whole inference go on emulated cores, and that they do not grow unnoticed.

The plugin ``probe.c`` counts by function from the start of ``ooc_run`` to its end: of a run that compares all
records of weights with their checksums, and of one that believes what an earlier run has found right. The
table is printed by::

    python -m pytest -s -m "slow or not slow" tests/codegen/test_network_counts.py

The counts that were measured last are in ``golden/network_counts.json``. They depend on the plans of the
serial scheduler as well as on the runtime. After a change that is meant to change them, renew them with
``OOC_RENEW_COUNTS=1`` before that command and look at the difference.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest

from ooc_solve.codegen.machines import ARM
from ooc_solve.codegen.project import runtime_files, write_project
from ooc_solve.measurement import random_input
from ooc_solve.models.problem import IoPlace, Problem
from ooc_solve.models.target import load_target
from ooc_solve.models.vocabulary import Budget
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver.solve import SCHEDULERS

MISSING = [tool for tool in ("make", "cc", ARM.compiler, ARM.emulator) if shutil.which(tool) is None]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"needs {', '.join(MISSING)}")

PARTS = ("kernels", "library", "checksum", "state machine", "driver")
RUNTIME = {
    **dict.fromkeys(("ooc_kernels", "ooc_windows", "ooc_conv", "ooc_depthwise", "ooc_tile"), "kernels"),
    **dict.fromkeys(("ooc", "ooc_command"), "state machine"),
    "ooc_checksum": "checksum",
}
"""Files of the runtime that run during an inference. Soft float and memcpy are the compiler's library."""

MOST_OUTSIDE_KERNELS = 0.02
MOST_PER_CHECKED_BYTE = 1.0
SECTION = re.compile(r"^ \.text\S*\s+0x([0-9a-f]+)\s+0x([0-9a-f]+)\s+(\S+)$", re.MULTILINE)
NETWORKS = (
    ("ds_cnn", 24),
    ("resnet8", 24),
    ("autoencoder", 24),
    pytest.param("mobilenet_v1_025_96", 24, marks=pytest.mark.slow),
)
"""Networks of the zoo and KiB of SRAM.

The autoencoder computes once with each weight: between two commands of the state machine there is only as
much to do as there are weights in a tile, and each of them is part of a checksum.
"""


@dataclass(frozen=True, slots=True)
class Inference:
    """Instructions of one inference by part, as the machine's clock counts them together, and commands.

    ``record_bytes`` are those of the records that it loads, with repetitions.
    """

    parts: dict[str, int]
    by_clock: int
    commands: int
    record_bytes: int

    @property
    def instructions(self) -> int:
        """All of them."""
        return sum(self.parts.values())

    def share(self, part: str) -> float:
        """What a part takes of the whole."""
        return self.parts[part] / self.instructions

    @property
    def per_command(self) -> int:
        """Instructions of the state machine for a command."""
        return round(self.parts["state machine"] / self.commands)

    @property
    def per_checked_byte(self) -> float:
        """Instructions of the checksum for a byte of the records."""
        return self.parts["checksum"] / self.record_bytes

    def row(self, name: str, kib: int, target: str) -> str:
        """A row of the table."""
        cells = " | ".join(f"{100 * self.share(part):.2f} %" for part in PARTS)
        counts = f"{self.instructions:,} | {cells} | {self.commands} | {self.per_command}"
        return f"| {name}, {kib} KiB | {target} | {counts} |"


def part_of(file: str) -> str:
    """To which part an object of the linker's map belongs."""
    if ".a(" in file:
        return "library"
    stem = PurePosixPath(file).stem
    if f"{stem}.c" in runtime_files():
        assert stem in RUNTIME, f"{stem} has no part in an inference"
        return RUNTIME[stem]
    return "driver"


def parts_of(profile: str, link_map: str) -> dict[str, int]:
    """Instructions by part, of a profile by function."""
    memory = link_map.split("Linker script and memory map")[1]
    sections = sorted(
        (int(low, 16), int(low, 16) + int(size, 16), o) for low, size, o in SECTION.findall(memory)
    )
    sections = [section for section in sections if section[0] < section[1]]
    starts = [low for low, _, _ in sections]
    found: Counter[str] = Counter(dict.fromkeys(PARTS, 0))
    for line in profile.splitlines():
        count, address, name = line.split()
        _, high, file = sections[bisect_right(starts, int(address, 16)) - 1]
        assert int(address, 16) < high, f"{name} is in no section of the map"
        found[part_of(file)] += int(count)
    return dict(found)


def infer(name: str, kib: int, target: str, folder: Path) -> tuple[Inference, Inference]:
    """Plan a network of the zoo one task after the other; a run that compares records, and one that does not."""
    network = zoo_network(name)
    problem = Problem(network, load_target(target), kib * 1024, IoPlace.STORAGE)
    result = SCHEDULERS["serial"](problem, Budget(5.0, 1, 1))
    assert result.plan is not None, result.reason
    write_project(problem, result.plan, folder / "out", "net")
    (folder / "in.bin").write_bytes(random_input(network))
    transfers = [task.transfer for task in result.plan.graph.tasks if task.transfer is not None]
    record_bytes = sum(transfer.size_bytes for transfer in transfers if transfer.checked)
    return measured(folder, record_bytes), measured(folder, record_bytes, "ARGUMENTS=--before 1")


def measured(folder: Path, record_bytes: int, *arguments: str) -> Inference:
    """One run of the project in a folder."""
    command = ["make", "-s", "-C", "out", "run", "INPUT=in.bin", "OUTPUT=out.bin", "ICOUNT=7", "PROFILE=1"]
    environment = {**os.environ, "PWD": str(folder)}
    done = subprocess.run(
        [*command, *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    printed = dict(re.findall(r"^(\w+) (\d+)$", done.stdout, re.MULTILINE))
    build = folder / "out" / "build"
    parts = parts_of((build / "run" / "profile.txt").read_text(), (build / "net.map").read_text())
    return Inference(parts, int(printed["instructions"]), int(printed["tasks"]), record_bytes)


@pytest.mark.parametrize("target", ["lm3s-qemu", "an386-qemu"])
@pytest.mark.parametrize(("name", "kib"), NETWORKS)
def test_instructions_of_an_inference(
    name: str, kib: int, target: str, tmp_path: Path, grown: Callable[..., dict[str, tuple[int, int]]]
) -> None:
    """Outside kernels 2 % at most, but for the checksum, which has a number of its own; nothing grows."""
    checking, believing = infer(name, kib, target, tmp_path)
    for inference, what in ((checking, "every run"), (believing, "first run")):
        print(f"\n{inference.row(name, kib, f'{target}, {what}')}")
        assert abs(inference.instructions - inference.by_clock) <= 100
        assert inference.parts["kernels"] > inference.instructions / 10
        assert 0 < inference.share("state machine") <= MOST_OUTSIDE_KERNELS
    assert 0 < checking.per_checked_byte <= MOST_PER_CHECKED_BYTE
    assert believing.parts["checksum"] == 0
    found = {
        "instructions": checking.instructions,
        "checksum_share_ppm": round(1_000_000 * checking.share("checksum")),
        "state_machine_per_command": checking.per_command,
        "state_machine_per_command_believing": believing.per_command,
    }
    assert grown("network_counts.json", f"{name} {target}", ARM.compiler, found) == {}


def test_parts_are_those_of_the_map() -> None:
    """Functions count for the file that holds their address; two of one name are told apart."""
    link_map = (
        " .text.gone     0x00000000       0x10 build/target/ooc.o\n"
        "Linker script and memory map\n"
        " .text.poll     0x00000100       0x10 build/target/ooc.o\n"
        " .text.another_long_name\n"
        "                0x00000110       0x20 build/target/sd_spi.o\n"
        " .text          0x00000130       0x10 /usr/lib/libgcc.a(_divsf3.o)\n"
        " .text.ooc_checksum\n"
        "                0x00000140       0x10 build/target/ooc_checksum.o\n"
    )
    profile = "7 100 poll\n5 120 poll\n3 130 __divsf3\n2 140 ooc_checksum\n"
    wanted = {"kernels": 0, "library": 3, "checksum": 2, "state machine": 7, "driver": 5}
    assert parts_of(profile, link_map) == wanted
    with pytest.raises(AssertionError, match="in no section"):
        parts_of("1 900 lost\n", link_map)
