"""What figures of searches depend on: the machine and the versions, in words to stand beside them."""

from __future__ import annotations

import os
import platform
from importlib.metadata import version
from pathlib import Path


def conditions() -> tuple[str, ...]:
    """Processor and cores, system and Python, versions of ours and of the solver."""
    return (
        f"machine: {_processor()}, {os.cpu_count()} cores",
        f"system: {platform.system()} {platform.release()}, Python {platform.python_version()}",
        f"versions: ooc-solve {version('ooc-solve')}, OR-Tools {version('ortools')}",
    )


def _processor() -> str:
    """The processor by its name, where the system tells it."""
    name = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return name
