"""Traces for viewers: a plan, and beside it measured runs, as Chrome trace events (JSON).

The format is that of "Trace Event Format" (Google, catapult project): complete events (``X``) on a
thread per resource, counters (``C``), flows (``s`` and ``f``) from each task to those that use its
result, names as metadata (``M``); times are in microseconds. Perfetto and chrome://tracing open it.

A trace is enough to place a measured run beside its plan: each slice of the plan says in its
arguments which command of which stream it is, and a log of a run names commands by these numbers.
It says, too, which buffers the command touches, and their sizes lie beside the events: so the bytes
of SRAM in use are counted for a run as for the plan, from the first start to the last end of a touch.
"""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ooc_solve import __version__
from ooc_solve.command_line import Parser, exit_code_of
from ooc_solve.models.plan_json import plan_hash
from ooc_solve.models.problem import Problem
from ooc_solve.models.vocabulary import InputError, Plan, Schedule, Task, TaskGraph
from ooc_solve.npu_use import holdings
from ooc_solve.timeline import (
    layer_of,
    lives_in_use,
    occupied_bytes,
    span_of,
    task_label,
    touched_buffers,
)
from ooc_solve.whole_file import check_writable, write_whole

SCHEMA = "ooc-trace/2"
PLAN_PROCESS = 1
MOST_FLOWS = 10_000_000
"""Numbers of flows that each process has for itself."""

LOG_COLUMNS = ("stream", "index", "event", "ns")
"""First line of a log of a run; the ports write it."""


@dataclass(frozen=True, slots=True)
class Slice:
    """A stretch of time of one command: ``stream`` and ``index`` name it.

    ``after`` are the tasks whose results it uses, ``buffers`` what it touches.
    """

    name: str
    kind: str
    stream: int
    index: int
    start_ns: int
    duration_ns: int
    task: int
    after: tuple[int, ...]
    buffers: tuple[int, ...]
    detail: dict[str, Any]


def trace_of(problem: Problem, plan: Plan) -> dict[str, Any]:
    """The trace of a plan."""
    slices = tuple(_slices(problem, plan))
    buffers = [(buffer.size_bytes, buffer.pinned) for buffer in plan.graph.buffers]
    events = [
        *_process(PLAN_PROCESS, f"plan: {plan.scheduler}", plan.graph.resources, slices),
        *_sram_counter(PLAN_PROCESS, slices, buffers),
        *_weight_memory_counter(PLAN_PROCESS, problem, plan),
    ]
    return {
        "displayTimeUnit": "ms",
        "otherData": {
            "schema": SCHEMA,
            "version": __version__,
            "model": problem.network.name,
            "target": problem.target.name,
            "plan_hash": plan_hash(problem, plan),
            "buffers": buffers,
        },
        "traceEvents": events,
    }


def _slices(problem: Problem, plan: Plan) -> Iterator[Slice]:
    for stream, order in enumerate(plan.streams.order):
        for index, number in enumerate(order):
            task = plan.graph.tasks[number]
            start, end = span_of(plan, task)
            yield Slice(
                task_label(problem, plan, task),
                task.kind.value,
                stream,
                index,
                start,
                end - start,
                number,
                task.after,
                touched_buffers(task),
                _detail(problem, plan, task),
            )


def _detail(problem: Problem, plan: Plan, task: Task) -> dict[str, Any]:
    detail: dict[str, Any] = {"layer": layer_of(problem, plan, task.stage)}
    if task.transfer is None:
        return detail | {"tile": task.tile}
    return detail | {
        "bytes": task.transfer.size_bytes,
        "region": task.transfer.region.value,
        "offset": task.transfer.offset,
    }


def _sram_counter(
    pid: int, slices: Sequence[Slice], buffers: Sequence[tuple[int, bool]]
) -> Iterator[dict[str, Any]]:
    """How many bytes of SRAM hold something; ``buffers``: size in bytes, and whether it lives always."""
    uses = ((piece.start_ns, piece.start_ns + piece.duration_ns, piece.buffers) for piece in slices)
    lives = lives_in_use(uses, [pinned for _, pinned in buffers])
    yield from _counter(pid, "SRAM", occupied_bytes((size for size, _ in buffers), lives))


def _weight_memory_counter(pid: int, problem: Problem, plan: Plan) -> Iterator[dict[str, Any]]:
    """How many bytes of an NPU's own memory hold weights."""
    held = holdings(problem, plan)
    lives = [(one.from_ns, one.to_ns) for one in held]
    yield from _counter(pid, "weight memory", occupied_bytes((one.size_bytes for one in held), lives))


def _counter(pid: int, name: str, changes: Iterable[tuple[int, int]]) -> Iterator[dict[str, Any]]:
    """Bytes in use as they change (time in ns, bytes)."""
    for time, held in changes:
        yield {
            "ph": "C",
            "pid": pid,
            "tid": 0,
            "ts": time / 1000,
            "name": name,
            "args": {"bytes": held},
        }


# ------------------------------------------------------------------------- events of a process


def _process(
    pid: int, name: str, threads: Sequence[str], slices: Sequence[Slice]
) -> Iterator[dict[str, Any]]:
    """Names, slices and flows of one process; slices of one thread come in order of time."""
    yield _metadata(pid, 0, "process_name", name=name)
    yield _metadata(pid, 0, "process_sort_index", sort_index=pid)
    for stream, thread in enumerate(threads):
        yield _metadata(pid, _thread(pid, stream), "thread_name", name=thread)
        yield _metadata(pid, _thread(pid, stream), "thread_sort_index", sort_index=stream)
    for piece in slices:
        yield _complete(pid, piece)
    yield from _flows(pid, slices)


def _thread(pid: int, stream: int) -> int:
    """Number of a thread: no other process has it, and none is taken for its main thread."""
    return pid * 100 + stream


def _metadata(pid: int, tid: int, what: str, **arguments: Any) -> dict[str, Any]:
    return {"ph": "M", "pid": pid, "tid": tid, "name": what, "args": arguments}


def _complete(pid: int, piece: Slice) -> dict[str, Any]:
    own = {
        "task": piece.task,
        "stream": piece.stream,
        "index": piece.index,
        "after": list(piece.after),
        "buffers": list(piece.buffers),
    }
    return {
        "ph": "X",
        "pid": pid,
        "tid": _thread(pid, piece.stream),
        "ts": piece.start_ns / 1000,
        "dur": piece.duration_ns / 1000,
        "name": piece.name,
        "cat": piece.kind,
        "args": piece.detail | own,
    }


def _flows(pid: int, slices: Sequence[Slice]) -> Iterator[dict[str, Any]]:
    """An arrow from the end of each task to the start of those on other resources that use its result.

    A flow begins at the slice that holds its time, so it is a nanosecond before the end.
    """
    by_task = {piece.task: piece for piece in slices}
    number = pid * MOST_FLOWS
    for piece in slices:
        for other in piece.after:
            source = by_task.get(other)
            if source is None or source.stream == piece.stream:
                continue
            leaves = source.start_ns + max(0, source.duration_ns - 1)
            flow = {"name": "uses", "cat": "data", "id": number, "pid": pid}
            number += 1
            yield flow | {"ph": "s", "tid": _thread(pid, source.stream), "ts": leaves / 1000}
            yield flow | {
                "ph": "f",
                "bp": "e",
                "tid": _thread(pid, piece.stream),
                "ts": piece.start_ns / 1000,
            }


# --------------------------------------------------------------------------------- measured runs


def with_run(trace: dict[str, Any], rows: Iterable[dict[str, str]], name: str) -> dict[str, Any]:
    """The trace of a plan with a measured run of it as one more process.

    ``rows`` are the lines of its log; time counts from the first of them.

    Raises
    ------
    InputError
        If the log is not whole or not one of this plan; ``name`` says which log.
    """
    events: list[dict[str, Any]] = trace["traceEvents"]
    planned = [_planned(event) for event in events if _is_planned_slice(event)]
    threads = [
        event["args"]["name"]
        for event in events
        if event["ph"] == "M" and event["name"] == "thread_name" and event["pid"] == PLAN_PROCESS
    ]
    spans = _spans(rows, name)
    known = {(piece.stream, piece.index): piece for piece in planned}
    _check_commands(spans, known, name)
    first = min((start for start, _ in spans.values()), default=0)
    slices = [
        replace(known[key], start_ns=start - first, duration_ns=end - start)
        for key, (start, end) in sorted(spans.items())
    ]
    pid = max(event["pid"] for event in events) + 1
    run = [*_process(pid, f"run: {name}", threads, slices)]
    return trace | {
        "traceEvents": [*events, *run, *_sram_counter(pid, slices, trace["otherData"]["buffers"])]
    }


def measured(plan: Plan, rows: Iterable[dict[str, str]], name: str) -> tuple[TaskGraph, Schedule]:
    """The tasks of a plan with the starts and durations that a run of it took, for pictures.

    ``rows`` are the lines of its log; time counts from the first of them. Addresses are those of the plan.

    Raises
    ------
    InputError
        If the log is not whole or not one of this plan; ``name`` says which log.
    """
    spans = _spans(rows, name)
    number = {
        (stream, index): task
        for stream, order in enumerate(plan.streams.order)
        for index, task in enumerate(order)
    }
    _check_commands(spans, number, name)
    first = min((start for start, _ in spans.values()), default=0)
    found = {number[key]: span for key, span in spans.items()}
    tasks = tuple(
        replace(task, duration_ns=found[task.index][1] - found[task.index][0]) for task in plan.graph.tasks
    )
    starts = tuple(found[task.index][0] - first for task in tasks)
    return replace(plan.graph, tasks=tasks), Schedule(starts, plan.schedule.address)


def _check_commands(logged: Iterable[tuple[int, int]], known: Iterable[tuple[int, int]], name: str) -> None:
    """Refuse a log that does not hold every command of the plan."""
    got, wanted = set(logged), set(known)
    if got != wanted:
        raise InputError(
            f"Log '{name}': it must hold every command of the plan once (got {len(got)} commands for "
            f"{len(wanted)}); log a whole run of the project that was emitted with this trace."
        )


def _is_planned_slice(event: dict[str, Any]) -> bool:
    return bool(event["ph"] == "X" and event["pid"] == PLAN_PROCESS)


def _planned(event: dict[str, Any]) -> Slice:
    detail = dict(event["args"])
    task, after, buffers = detail.pop("task"), tuple(detail.pop("after")), tuple(detail.pop("buffers"))
    stream, index = detail.pop("stream"), detail.pop("index")
    return Slice(event["name"], event["cat"], stream, index, 0, 0, task, after, buffers, detail)


def _spans(rows: Iterable[dict[str, str]], name: str) -> dict[tuple[int, int], tuple[int, int]]:
    """Start and end of each command, ns."""
    starts: dict[tuple[int, int], int] = {}
    spans: dict[tuple[int, int], tuple[int, int]] = {}
    for line, row in enumerate(rows, start=2):
        try:
            key, time, begins = (
                (int(row["stream"]), int(row["index"])),
                int(row["ns"]),
                row["event"] == "start",
            )
            if not begins and row["event"] != "end":
                raise ValueError
        except (KeyError, TypeError, ValueError):
            raise InputError(
                f"Log '{name}', line {line}: it must be stream,index,start or end,ns (got {row}); log the run again."
            ) from None
        if begins is (key in starts) or (begins and key in spans):
            raise InputError(
                f"Log '{name}', line {line}: command {key[1]} of stream {key[0]} must start once and then end once; "
                "log one run only."
            )
        if begins:
            starts[key] = time
        else:
            spans[key] = starts.pop(key), time
    if starts:
        stream, index = next(iter(starts))
        raise InputError(f"Log '{name}': command {index} of stream {stream} must end; log the whole run.")
    return spans


# ----------------------------------------------------------------------------------- the command


def parser() -> argparse.ArgumentParser:
    """The command line of ``ooc-trace``."""
    made = Parser(
        prog="ooc-trace",
        description="Put logs of measured runs beside the trace of their plan (see ooc-solve --trace).",
    )
    made.add_argument("trace", type=Path, help="trace of the plan")
    made.add_argument("logs", type=Path, nargs="+", metavar="LOG", help="log of a run (CSV)")
    made.add_argument("-o", "--output", type=Path, required=True, metavar="FILE", help="where to write both")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parser().parse_args(arguments)
    return exit_code_of("ooc-trace", lambda: run(options))


def run(options: argparse.Namespace) -> int:
    """Do what the parsed command line asks for."""
    check_writable(options.output, "--output")
    trace = read_trace(options.trace)
    for path in options.logs:
        trace = with_run(trace, read_log(path), path.name)
    write_whole(options.output, to_text(trace), "--output")
    print("\n".join(summary(trace)))
    print(f"Written to {options.output}: open it at https://ui.perfetto.dev, which keeps it on this machine.")
    return 0


def summary(trace: dict[str, Any]) -> Iterator[str]:
    """How long the plan and each run take, a line each, runs compared with the plan."""
    spans, names = dict[int, list[float]](), dict[int, str]()
    for event in trace["traceEvents"]:
        if event["ph"] == "X":
            spans.setdefault(event["pid"], []).extend((event["ts"], event["ts"] + event["dur"]))
        elif event["name"] == "process_name":
            names[event["pid"]] = event["args"]["name"]
    took = {pid: max(times) - min(times) for pid, times in spans.items()}
    planned = took.get(PLAN_PROCESS, 0.0)
    for pid, time in took.items():
        against = "" if pid == PLAN_PROCESS or not planned else f" ({time / planned - 1:+.1%})"
        yield f"{names[pid]}: {time / 1000:,.2f} ms{against}"


def read_trace(path: Path) -> dict[str, Any]:
    """Read the trace of a plan from a file."""
    try:
        trace: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if trace["otherData"]["schema"] != SCHEMA:
            raise KeyError
    except OSError as error:
        raise InputError(f"Trace '{path}': it must be a file that can be read ({error.strerror}).") from error
    except (ValueError, KeyError, TypeError, RecursionError):
        raise InputError(f"Trace '{path}': it must be one that ooc-solve --trace wrote.") from None
    return trace


def read_log(path: Path) -> list[dict[str, str]]:
    """The lines of a log of a run."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            rows = list(reader)
    except OSError as error:
        raise InputError(f"Log '{path}': it must be a file that can be read ({error.strerror}).") from error
    except (ValueError, csv.Error):
        raise InputError(f"Log '{path}': it must be text, as a port writes it.") from None
    if tuple(reader.fieldnames or ()) != LOG_COLUMNS:
        raise InputError(f"Log '{path}': its first line must be {','.join(LOG_COLUMNS)}.")
    return rows


def to_text(trace: dict[str, Any]) -> str:
    """The trace as a file: an event a line."""
    head = {key: value for key, value in trace.items() if key != "traceEvents"}
    lines = ",\n".join(json.dumps(event, separators=(",", ":")) for event in trace["traceEvents"])
    return json.dumps(head)[:-1] + ', "traceEvents": [\n' + lines + "\n]}\n"
