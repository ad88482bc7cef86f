"""However early the time is up, the command answers with a plan or with the reason why there is none."""

from __future__ import annotations

import time

import pytest

from ooc_solve.cli import main
from ooc_solve.models.zoo import zoo_network
from ooc_solve.solver import deadline

ASKED: dict[str, tuple[str, ...]] = {
    "latency": (),
    "frames": ("--frames", "2"),
    "pareto": ("--pareto",),
    "advice": ("--advise",),
    "factor": ("--max-latency", "1.1x"),
    "wear": ("--objective", "wear", "--lifetime-years", "5"),
    "few writes": ("--objective", "energy", "--write-budget", "100"),
    "rule": ("--scheduler", "demand-layering"),
    "rule with frames": ("--scheduler", "demand-layering", "--frames", "2"),
    "rule with pareto": ("--scheduler", "demand-layering", "--pareto"),
}
AT_ONCE, SOON = 0.0, (0.4, 0.7, 0.8, 0.9, 1.1, 1.5)
"""Seconds of the processor that are left: before anything is known, and about when there is a plan."""


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [
        *((asked, AT_ONCE) for asked in ASKED),
        *(("frames", 0.8), ("advice", 0.8), ("rule with frames", 1.5)),
        *(pytest.param(asked, seconds, marks=pytest.mark.slow) for asked in ASKED for seconds in SOON),
    ],
)
def test_the_end_of_time_is_no_accident(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], asked: str, seconds: float
) -> None:
    """The command ends with a plan, or with one line that says that the time was too short."""
    monkeypatch.setattr(time, "monotonic", time.process_time)
    monkeypatch.setattr(deadline, "LEAST_WORK_S", seconds)
    monkeypatch.setattr(deadline, "OVERRUN_S", 0.0)
    zoo_network.cache_clear()  # nothing is known beforehand
    code = main(["zoo:ds_cnn", "--sram", "14KiB", "--time-limit", "0.01", *ASKED[asked]])
    shown = capsys.readouterr()
    assert code in ((3,) if seconds == AT_ONCE else (0, 3))
    if code == 3:
        assert shown.err.startswith("ooc-solve: infeasible: ds_cnn: ")
        assert shown.err.count("\n") == 1
    else:
        assert "It fits: " in shown.out
