"""The stack that the runtime uses stays within the reserve that plans count, and nothing calls itself."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ooc_solve.codegen.project import runtime_files
from ooc_solve.models.problem import STACK_BYTES

NODE = re.compile(r'node: \{ title: "([^"]+)" label: "[^"]*?(\d+) bytes \(([a-z,]+)\)')
EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
INDIRECT = "__indirect_call"
LIBRARY_BYTES = 32
"""Most that a function of the compiler's library takes: on a Cortex-M3 soft float and memcpy push 20."""

PC_BYTES = 1024
"""A PC pushes arguments and return addresses; it is here for those without a cross compiler."""

CORTEX_M3 = ("arm-none-eabi-gcc", "-mcpu=cortex-m3", "-mthumb")


@dataclass
class Calls:
    """Who calls whom, and the frame of each function, over all files of the runtime."""

    frame: dict[str, int] = field(default_factory=dict)
    file: dict[str, str] = field(default_factory=dict)
    called: dict[str, set[str]] = field(default_factory=dict)

    def add(self, name: str, text: str) -> None:
        """Read what the compiler wrote about a file."""
        for title, size, kind in NODE.findall(text):
            assert kind in ("static", "dynamic,bounded"), f"{title} has a frame of unknown size"
            self.frame[title], self.file[title] = int(size), name
        for source, target in EDGE.findall(text):
            self.called.setdefault(source, set()).add(target)

    def behind_pointers(self, source: str) -> set[str]:
        """What a call through a pointer may reach: of the state machine the port, which is not ours.

        The dispatcher of kernels reaches public functions; kernels reach static ones.
        """
        if self.file[source] == "ooc.c":
            return set()
        direct = {target for targets in self.called.values() for target in targets}
        orphans = {title for title in self.frame if title not in direct and self.file[title] != "ooc.c"}
        return {title for title in orphans if (":" in title) != (self.file[source] == "ooc_kernels.c")}

    def deepest(self, function: str, path: tuple[str, ...] = ()) -> int:
        """Bytes of the hungriest chain of calls from a function on."""
        assert function not in path, f"recursion: {' -> '.join((*path, function))}"
        if function not in self.frame:
            return LIBRARY_BYTES
        targets = self.called.get(function, set())
        reached = targets - {INDIRECT}
        if INDIRECT in targets:
            reached |= self.behind_pointers(function) - {*path, function}
        return self.frame[function] + max(
            (self.deepest(target, (*path, function)) for target in reached), default=0
        )


def calls_of(folder: Path, compiler: tuple[str, ...], level: str) -> Calls:
    """Compile the runtime and read its calls."""
    calls = Calls()
    for name, content in runtime_files().items():
        (folder / name).write_bytes(content)
    for name in sorted(name for name in runtime_files() if name.endswith(".c")):
        command = [*compiler, level, "-std=c99", "-ffp-contract=off", "-fcallgraph-info=su", "-c", name]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if "sys/cdefs" in done.stderr or "bits/" in done.stderr:
            pytest.skip("needs gcc-multilib for -m32")
        if "callgraph-info" in done.stderr:
            pytest.skip("needs a gcc with -fcallgraph-info (10 or later)")
        assert done.returncode == 0, done.stderr
        calls.add(name, (folder / name).with_suffix(".ci").read_text())
    return calls


@pytest.mark.parametrize("level", ["-O2", "-Os"])
@pytest.mark.parametrize(
    ("compiler", "most"), [(("gcc", "-m32"), PC_BYTES), (CORTEX_M3, STACK_BYTES)], ids=["x86", "cortex-m3"]
)
def test_deepest_chain_fits_the_reserve(
    tmp_path: Path, compiler: tuple[str, ...], most: int, level: str
) -> None:
    """From ooc_run down to the hungriest kernel, the frames together fit, without those of the port."""
    if shutil.which(compiler[0]) is None:
        pytest.skip(f"needs {compiler[0]}")
    calls = calls_of(tmp_path, compiler, level)
    assert 200 < calls.deepest("ooc_run") <= most
    for function in ("ooc_open", "ooc_input_write", "ooc_output_read"):
        assert 50 < calls.deepest(function) <= most


@pytest.mark.skipif(shutil.which(CORTEX_M3[0]) is None, reason=f"needs {CORTEX_M3[0]}")
def test_kernels_are_part_of_the_chain(tmp_path: Path) -> None:
    """The graph reaches the kernels, also those behind pointers: without them the chain is shorter."""
    calls = calls_of(tmp_path, CORTEX_M3, "-Os")
    whole = calls.deepest("ooc_run")
    calls.called["ooc_kernel"] = set()
    assert calls.deepest("ooc_run") < whole
