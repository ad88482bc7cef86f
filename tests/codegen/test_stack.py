"""The stack that the runtime uses stays within the reserve that plans count, and nothing calls itself.

What it was last, per core and level of optimisation, is in ``golden/stack.json``. After a change that is
meant to change it, renew it and look at the difference::

    OOC_RENEW_COUNTS=1 python -m pytest tests/codegen/test_stack.py
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from ooc_solve.codegen.machines import ARM, MACHINES
from ooc_solve.codegen.project import port_files, runtime_files
from ooc_solve.models.problem import STACK_BYTES

NODE = re.compile(r'node: \{ title: "([^"]+)" label: "[^"]*?(\d+) bytes \(([a-z,]+)\)')
EDGE = re.compile(r'edge: \{ sourcename: "([^"]+)" targetname: "([^"]+)"')
INDIRECT = "__indirect_call"
LIBRARY_BYTES = 32
"""Most that a function of the compiler's library takes: on a Cortex-M3 soft float and memcpy push 20."""

PC_BYTES = 1024
"""A PC pushes arguments and return addresses; it is here for those without a cross compiler."""

CORES = {
    "m0": ("microbit", 36),
    "m3": ("lm3s6965evb", 36),
    "m4": ("mps2-an386", 108),
    "m7": ("mps2-an500", 108),
    "m33": ("mps2-an505", 108),
    "m55": ("mps3-an547", 108),
    "rv32": ("virt", 96),
}
"""A machine of each core, and the stack that an interrupt takes there.

A Cortex-M stores 8 words, with floating point 26, and aligns them to 8 bytes (ARM DDI 0403 B1.5.7). On
RISC-V the handler stores what it uses: gcc's frames of ``trap`` and ``machine_interrupt``.
"""

ENTRANCES = ("ooc_run", "ooc_open", "ooc_input_write", "ooc_output_read")


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
    (folder / "freestanding").mkdir()
    library = {f"freestanding/{name}": text for name, text in port_files("freestanding").items()}
    for name, content in (runtime_files() | library).items():
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


def compiler_of(core: str) -> tuple[str, ...]:
    """The compiler with the flags for a core; skip the test without it."""
    machine = MACHINES[CORES[core][0]]
    if shutil.which(machine.tools.compiler) is None:
        pytest.skip(f"needs {machine.tools.compiler} ({machine.tools.packages[0]})")
    return (machine.tools.compiler, *machine.flags.split())


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("level", ["-O2", "-Os"])
def test_deepest_chain_on_a_pc(tmp_path: Path, level: str) -> None:
    """From ooc_run down to the hungriest kernel, the frames together are bounded on a PC as well."""
    calls = calls_of(tmp_path, ("gcc", "-m32"), level)
    assert 200 < calls.deepest("ooc_run") <= PC_BYTES
    assert all(50 < calls.deepest(function) <= PC_BYTES for function in ENTRANCES)


@pytest.mark.parametrize("level", ["-O2", "-Os"])
@pytest.mark.parametrize("core", list(CORES))
def test_deepest_chain_fits_the_reserve(
    tmp_path: Path, core: str, level: str, grown: Callable[..., dict[str, tuple[int, int]]]
) -> None:
    """The deepest chains, without the port's frames, fit with an interrupt and grow by no more than 2 %."""
    compiler = compiler_of(core)
    calls = calls_of(tmp_path, compiler, level)
    found = {function: calls.deepest(function) for function in ENTRANCES}
    assert all(50 < size <= STACK_BYTES - CORES[core][1] for size in found.values()), found
    assert grown("stack.json", f"{core} {level}", compiler[0], found) == {}


@pytest.mark.parametrize("level", ["-O2", "-Os"])
@pytest.mark.parametrize("core", ["m3", "m4"])
def test_float_kernels_fit_the_reserve(tmp_path: Path, core: str, level: str) -> None:
    """With the kernels of float32, in soft float and in hardware, the deepest chain fits as well."""
    calls = calls_of(tmp_path, (*compiler_of(core), "-DOOC_FLOATS", "-DOOC_MATRICES"), level)
    assert calls.deepest("ooc_float") > 100, "the chain goes through the kernels"
    assert calls.deepest("ooc_run") <= STACK_BYTES - CORES[core][1]


@pytest.mark.skipif(shutil.which(ARM.compiler) is None, reason=f"needs {ARM.compiler}")
def test_kernels_are_part_of_the_chain(tmp_path: Path) -> None:
    """The graph reaches the kernels, also those behind pointers: without them the chain is shorter."""
    calls = calls_of(tmp_path, compiler_of("m3"), "-Os")
    whole = calls.deepest("ooc_run")
    calls.called["ooc_kernel"] = set()
    assert calls.deepest("ooc_run") < whole
