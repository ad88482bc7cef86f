"""Traces against the plan, the format, and logs of runs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from ooc_solve.api import Comparison, encrypted, load, solve, target
from ooc_solve.measurement import random_input
from ooc_solve.models.problem import RESERVED_BYTES
from ooc_solve.models.vocabulary import InputError, TaskKind
from ooc_solve.report import verdict
from ooc_solve.timeline import lives_ns, occupied_bytes
from ooc_solve.trace import LOG_COLUMNS, PLAN_PROCESS, main, measured, to_text, trace_of, with_run

NEEDED = {
    "X": {"pid", "tid", "ts", "dur", "name", "cat", "args"},
    "C": {"pid", "ts", "name", "args"},
    "M": {"pid", "name", "args"},
    "s": {"pid", "tid", "ts", "name", "cat", "id"},
    "f": {"pid", "tid", "ts", "name", "cat", "id", "bp"},
}
"""Fields that the "Trace Event Format" asks of each phase."""


@pytest.fixture(scope="module")
def trace(comparison: Comparison) -> dict[str, Any]:
    """The trace of a plan, as a viewer reads it."""
    found: dict[str, Any] = json.loads(to_text(trace_of(comparison.problem, comparison.plan.decided)))
    return found


def of_phase(trace: dict[str, Any], phase: str, pid: int = PLAN_PROCESS) -> list[dict[str, Any]]:
    """Events of one kind and process."""
    return [event for event in trace["traceEvents"] if event["ph"] == phase and event["pid"] == pid]


def check_format(trace: dict[str, Any]) -> None:
    """Every event has what its phase needs; slices of a thread do not overlap; flows join slices."""
    for event in trace["traceEvents"]:
        assert NEEDED[event["ph"]] <= event.keys()
    slices = [event for event in trace["traceEvents"] if event["ph"] == "X"]
    threads: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for event in slices:
        threads.setdefault((event["pid"], event["tid"]), []).append(event)
    for thread in threads.values():
        for first, second in pairwise(thread):
            assert first["ts"] + first["dur"] <= second["ts"] + 1e-6
    flows: dict[int, list[dict[str, Any]]] = {}
    for event in trace["traceEvents"]:
        if event["ph"] in "sf":
            assert isinstance(event["id"], int)
            flows.setdefault(event["id"], []).append(event)
    assert flows
    for pair in flows.values():
        assert [event["ph"] for event in pair] == ["s", "f"]
        assert pair[0]["ts"] <= pair[1]["ts"]
        for event in pair:
            own = threads[event["pid"], event["tid"]]
            assert any(piece["ts"] <= event["ts"] <= piece["ts"] + piece["dur"] for piece in own)


def test_format(trace: dict[str, Any]) -> None:
    """The trace of a plan keeps the rules of the format."""
    check_format(trace)


def test_every_task_is_a_slice(trace: dict[str, Any], comparison: Comparison) -> None:
    """Each task is there once, on the thread of its resource, with its time, kind and layer."""
    plan, problem = comparison.plan.decided, comparison.problem
    names = {e["tid"]: e["args"]["name"] for e in of_phase(trace, "M") if e["name"] == "thread_name"}
    slices = {event["args"]["task"]: event for event in of_phase(trace, "X")}
    assert len(slices) == len(of_phase(trace, "X")) == len(plan.graph.tasks)
    for task in plan.graph.tasks:
        event = slices[task.index]
        assert names[event["tid"]] == task.resource
        assert event["ts"] == plan.schedule.start_ns[task.index] / 1000
        assert event["dur"] == task.duration_ns / 1000
        assert event["cat"] == task.kind.value
        assert event["args"]["layer"] == problem.network.ops[max(task.stage, 0)].name
        if task.transfer is not None:
            assert event["args"]["bytes"] == task.transfer.size_bytes


def test_flows_follow_the_data(trace: dict[str, Any], comparison: Comparison) -> None:
    """There is an arrow for each result that is used on another resource, loads to kernels among them."""
    tasks = comparison.plan.decided.graph.tasks
    due = sum(tasks[other].resource != task.resource for task in tasks for other in task.after)
    assert len(of_phase(trace, "s")) == len(of_phase(trace, "f")) == due
    kinds = {(tasks[other].kind, task.kind) for task in tasks for other in task.after}
    assert {(TaskKind.LOAD, TaskKind.COMPUTE), (TaskKind.COMPUTE, TaskKind.STORE)} <= kinds


def test_counter_is_the_occupancy(trace: dict[str, Any], comparison: Comparison) -> None:
    """The counter tells the bytes that buffers hold."""
    plan = comparison.plan.decided
    held = occupied_bytes((buffer.size_bytes for buffer in plan.graph.buffers), lives_ns(plan))
    assert counted(trace) == [pytest.approx(step) for step in held]


def counted(trace: dict[str, Any], pid: int = PLAN_PROCESS) -> list[tuple[float, int]]:
    """Times (ns) and bytes of the SRAM counter of a process."""
    return [(event["ts"] * 1000, event["args"]["bytes"]) for event in of_phase(trace, "C", pid)]


# --------------------------------------------------------------------------------- measured runs


def log_of(trace: dict[str, Any], stretch: int = 3, offset: int = 5000) -> list[dict[str, str]]:
    """A log of a run that begins later than 0 and takes longer than the plan."""
    events = []
    for piece in of_phase(trace, "X"):
        stream, index = piece["args"]["stream"], piece["args"]["index"]
        start = round(piece["ts"] * 1000) * stretch + offset
        events.append((start, 1, stream, index, "start"))
        events.append((start + round(piece["dur"] * 1000) * stretch, 0, stream, index, "end"))
    return [
        {"stream": str(stream), "index": str(index), "event": what, "ns": str(time)}
        for time, _, stream, index, what in sorted(events)
    ]


def test_a_run_lies_beside_its_plan(trace: dict[str, Any]) -> None:
    """The plan's events stay, and the run's slices have its times and the names of the plan."""
    both = with_run(trace, log_of(trace), "run.csv")
    check_format(both)
    assert both["traceEvents"][: len(trace["traceEvents"])] == trace["traceEvents"]
    planned = {event["args"]["task"]: event for event in of_phase(both, "X")}
    slices = of_phase(both, "X", PLAN_PROCESS + 1)
    assert len(slices) == len(planned)
    for event in slices:
        plan = planned[event["args"]["task"]]
        assert (event["name"], event["cat"]) == (plan["name"], plan["cat"])
        assert event["ts"] == pytest.approx(3 * plan["ts"])
        assert event["dur"] == pytest.approx(3 * plan["dur"])
    first = min(event["ts"] for event in planned.values()) * 1000
    stretched = [pytest.approx((3 * (at - first), held)) for at, held in counted(trace)]
    assert counted(both, PLAN_PROCESS + 1) == stretched, "a run counts its SRAM on its own clock"
    third = with_run(both, log_of(trace, 2), "again.csv")
    assert len(of_phase(third, "X", PLAN_PROCESS + 2)) == len(planned)


def test_a_run_as_tasks(trace: dict[str, Any], comparison: Comparison) -> None:
    """The tasks of a plan take on the starts and durations of its log, and nothing else of them changes."""
    plan = comparison.plan.decided
    graph, schedule = measured(plan, log_of(trace, stretch=3, offset=5000), "run.csv")
    first = min(plan.schedule.start_ns)
    for task, there in zip(plan.graph.tasks, graph.tasks, strict=True):
        assert there.duration_ns == 3 * task.duration_ns
        assert schedule.start_ns[task.index] == 3 * (plan.schedule.start_ns[task.index] - first)
        assert replace(there, duration_ns=task.duration_ns) == task
    assert schedule.address == plan.schedule.address
    rows = log_of(trace)
    rest = [row for row in rows if (row["stream"], row["index"]) != (rows[0]["stream"], rows[0]["index"])]
    with pytest.raises(InputError, match="every command of the plan once"):
        measured(plan, rest, "run.csv")


def write_log(path: Path, rows: Iterable[dict[str, str]]) -> None:
    """Write a log as a port does."""
    lines = [",".join(LOG_COLUMNS), *(",".join(row.values()) for row in rows)]
    path.write_text("\n".join(lines) + "\n")


def test_broken_logs(trace: dict[str, Any]) -> None:
    """Logs that are cut, doubled, or of another plan are refused with a sentence that names them."""
    rows = log_of(trace)
    broken = {
        "must end": [row for row in rows if row is not rows[-1]],
        "every command of the plan once": rows[:-2],
        "start once and then end once": [*rows, *rows],
        "line 2": [{**rows[0], "ns": "soon"}, *rows[1:]],
    }
    for words, log in broken.items():
        with pytest.raises(InputError, match=f"(?s)Log 'x.csv'.*{words}"):
            with_run(trace, log, "x.csv")


def test_the_command(trace: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """ooc-trace writes both, and refuses with one line what is no trace or no log."""
    plan, log, out = tmp_path / "plan.json", tmp_path / "run.csv", tmp_path / "both.json"
    plan.write_text(to_text(trace))
    write_log(log, log_of(trace))
    assert main([str(plan), str(log), "-o", str(out)]) == 0
    check_format(json.loads(out.read_text()))
    out.unlink()
    for arguments in ((log, log), (plan, plan), (plan, tmp_path / "none.csv"), (tmp_path / "none", log)):
        assert main([*map(str, arguments), "-o", str(out)]) == 1
        said = capsys.readouterr().err
        assert said.startswith("ooc-trace: error: ")
        assert said.count("\n") == 1
        assert not out.exists()


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make and a C compiler")
def test_the_host_keeps_a_log(
    trace: dict[str, Any], comparison: Comparison, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A run of the emitted project on the host logs every command; what it waits for ended before it."""
    folder = comparison.plan.to_c(tmp_path / "c")
    (tmp_path / "in.bin").write_bytes(random_input(comparison.problem.network))
    command = ["make", "-s", "-C", str(folder), "host-run", f"INPUT={tmp_path / 'in.bin'}"]
    options = ["OUTPUT=out.bin", "LOG=run.csv"]  # files of where make was called
    caller = {**os.environ, "PWD": str(tmp_path)}
    done = subprocess.run(
        [*command, *options], cwd=tmp_path, env=caller, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    comparison.plan.to_c(folder)  # nothing of the run lies in the project
    (tmp_path / "plan.json").write_text(to_text(trace))
    arguments = [str(tmp_path / "plan.json"), str(tmp_path / "run.csv"), "-o", str(tmp_path / "both.json")]
    assert main(arguments) == 0
    told = capsys.readouterr().out.splitlines()
    assert told[0] == f"plan: cp-sat: {comparison.plan.figures.latency_ns / 1e6:,.2f} ms"
    assert told[1].startswith("run: run.csv: ")
    assert "perfetto" in told[2]
    both = json.loads((tmp_path / "both.json").read_text())
    steps = counted(both, PLAN_PROCESS + 1)
    assert 0 < max(held for _, held in steps) <= comparison.plan.figures.sram_peak_bytes - RESERVED_BYTES
    assert steps[-1][1] == 0
    measured = {e["args"]["task"]: e for e in of_phase(both, "X", PLAN_PROCESS + 1)}
    for event in measured.values():
        for other in event["args"]["after"]:
            assert measured[other]["ts"] + measured[other]["dur"] <= event["ts"] + 1e-6


def test_the_cpu_opens_and_seals_in_slices_of_its_own() -> None:
    """What the CPU opens and seals lies on its track beside the kernels, and adds up to what the summary says."""
    board = encrypted(target("f746-sd"), "aes-128-gcm")
    solution = solve(load("zoo:ds_cnn"), board, "16KiB", scheduler="serial")
    made = trace_of(solution.problem, solution.plan.decided)
    crypto = [event for event in of_phase(made, "X") if event["cat"] in ("decrypt", "encrypt")]
    kernels = [event for event in of_phase(made, "X") if event["cat"] == "compute"]
    words = next(words for words in verdict(solution.problem, solution.result) if "to open and seal" in words)
    assert {event["cat"] for event in crypto} == {"decrypt", "encrypt"}
    assert {event["tid"] for event in crypto} == {event["tid"] for event in kernels}
    assert f"takes {sum(event['dur'] for event in crypto) / 1000:,.2f} ms" in words
