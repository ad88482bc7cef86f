"""The stack that the runtime uses stays within the reserve that plans count."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from ooc_solve.codegen.project import port_files, runtime_files
from ooc_solve.models.problem import STACK_BYTES

CORE = ("ooc.c", "ooc_tile.c", "ooc_kernels.c")
ENTRY = ("ooc_run", "ooc_step", "compute")
"""The way from the caller down to a kernel; what the compiler inlined has no frame of its own."""


def frames(folder: Path, flags: tuple[str, ...]) -> dict[str, int]:
    """Stack bytes of each function of the core, by name without the compiler's suffixes."""
    found: dict[str, int] = {}
    for name in CORE:
        command = [
            "gcc",
            "-std=c99",
            "-ffp-contract=off",
            "-fstack-usage",
            *flags,
            "-c",
            name,
            "-o",
            f"{name}.o",
        ]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if "sys/cdefs" in done.stderr or "bits/" in done.stderr:
            pytest.skip("needs gcc-multilib for -m32")
        assert done.returncode == 0, done.stderr
        for line in (folder / f"{name}.su").read_text().splitlines():
            where, size, kind = line.split("\t")
            assert kind in ("static", "dynamic,bounded"), f"{where} has a frame of unknown size"
            function = where.split(":")[-1].split(".")[0]
            found[function] = max(found.get(function, 0), int(size))
    return found


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("level", ["-O2", "-Os"])
def test_deepest_chain_fits_the_reserve(tmp_path: Path, level: str) -> None:
    """ooc_run, ooc_step, the dispatcher and the hungriest kernel together fit, on a 32-bit machine."""
    for name, content in (runtime_files() | port_files("host")).items():
        (tmp_path / name).write_bytes(content)
    sizes = frames(tmp_path, (level, "-m32", "-fstack-usage"))
    entry = sum(sizes.get(function, 0) for function in ENTRY)
    kernels = max(size for function, size in sizes.items() if function.endswith("_pixel"))
    deepest = entry + max(sizes["ooc_tile_set"], sizes["ooc_kernel"] + kernels)
    assert 200 < deepest <= STACK_BYTES
