"""Sweeps on a Dask cluster: the same rows, and nothing lost when a worker dies."""

from __future__ import annotations

import csv
import os
import signal
import threading
import time
from pathlib import Path

import pytest

from ooc_solve.sweep import main

distributed = pytest.importorskip("distributed", reason="needs Dask: pip install distributed")

GRID = """schema = "ooc-sweep/1"
models = ["zoo:autoencoder"]
targets = ["f746-sd"]
sram = ["12KiB", "24KiB"]
seeds = [1, 2, 3]
time_limit = 1
workers = 1
"""


def test_a_worker_killed_midway_loses_nothing(tmp_path: Path) -> None:
    """Two workers, one killed when the first point is finished: every point has its row all the same."""
    grid, out = tmp_path / "grid.toml", tmp_path / "out"
    grid.write_text(GRID)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        workers = client.run(os.getpid)
        killed: list[int] = []

        def kill_one() -> None:
            until = time.monotonic() + 120
            while not list(out.glob("points/*.json")) and time.monotonic() < until:
                time.sleep(0.01)
            busy = [name for name, tasks in client.processing().items() if tasks]
            pid = workers[busy[0]]
            os.kill(pid, signal.SIGKILL)
            killed.append(pid)

        killer = threading.Thread(target=kill_one)
        killer.start()
        code = main([str(grid), "-o", str(out), "--cluster", cluster.scheduler_address])
        killer.join()
        assert killed
        assert set(workers.values()) != set(client.run(os.getpid).values())
    assert code == 0
    rows = list(csv.DictReader((out / "results.csv").read_text().splitlines()))
    assert [(row["seed"], row["sram_bytes"]) for row in rows] == [
        (seed, size) for seed in "123" for size in ("12288", "24576")
    ]
    assert all(row["value"] and row["plan_hash"] for row in rows)
