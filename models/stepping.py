"""A plan in time as the runtime carries it out, kernel after kernel.

A plan lets a transfer start the moment its waits are over. The runtime has one thread: it looks after
transfers between kernels only, so that a transfer that could start while a kernel runs starts when
the kernel ends, and comparing the checksum of a record keeps both the CPU and the channel. This is
`ooc_step` with the durations of the cost model.
"""

from __future__ import annotations

from dataclasses import dataclass

from ooc_solve.models.cost import handling_ns
from ooc_solve.models.vocabulary import InternalError, Plan, Target, Task, TaskKind


@dataclass(slots=True)
class _Stream:
    """How far one resource has come; ``ends_ns`` is when the request under way ends."""

    order: tuple[int, ...]
    done: int = 0
    busy: bool = False
    requests_left: int = 0
    ends_ns: int = 0


@dataclass(slots=True)
class _Run:
    plan: Plan
    target: Target
    streams: list[_Stream]
    now_ns: int = 0

    def task(self, stream: _Stream) -> Task:
        return self.plan.graph.tasks[stream.order[stream.done]]

    def follow(self, stream: _Stream) -> bool:
        """Take note of a request that has ended: begin the next one of the transfer, or end it."""
        if not stream.busy or stream.ends_ns > self.now_ns:
            return False
        if stream.requests_left:
            self.request(stream)
        else:
            self.now_ns += self.check_ns(self.task(stream))
            stream.busy, stream.done = False, stream.done + 1
        return True

    def begin(self, stream: _Stream, transfers: bool) -> bool:
        """Start the next task if it is of the wanted sort and may."""
        if stream.busy or stream.done == len(stream.order):
            return False
        task = self.task(stream)
        needs = self.plan.streams.required[task.index]
        ready = all(
            other.done >= need for other, need in zip(self.streams, needs, strict=True) if other is not stream
        )
        if not ready or (task.kind is not TaskKind.COMPUTE) != transfers:
            return False
        if task.transfer is None:
            self.now_ns += task.duration_ns
            stream.done += 1
        else:
            stream.busy, stream.requests_left = True, task.transfer.segments
            self.request(stream)
        return True

    def request(self, stream: _Stream) -> None:
        """Begin one request of a transfer: the CPU's part first, then the channel's."""
        task = self.task(stream)
        assert task.transfer is not None
        segments = task.transfer.segments
        handling = handling_ns(self.target, task.transfer.size_bytes, segments, False)
        channel = task.duration_ns - handling - self.check_ns(task)
        self.now_ns += handling // segments
        stream.requests_left -= 1
        stream.ends_ns = self.now_ns + channel // segments

    def check_ns(self, task: Task) -> int:
        """What comparing the checksum of the record takes."""
        transfer = task.transfer
        assert transfer is not None
        if not transfer.checked:
            return 0
        both = handling_ns(self.target, transfer.size_bytes, transfer.segments, True)
        return both - handling_ns(self.target, transfer.size_bytes, transfer.segments, False)


def stepped_makespan_ns(plan: Plan, target: Target) -> int:
    """Return how long a run takes whose transfers are looked after between kernels only.

    The tasks have the durations of the plan; ``target`` says how much of a transfer is the CPU's.

    Raises
    ------
    InternalError
        If the streams deadlock.
    """
    run = _Run(plan, target, [_Stream(order) for order in plan.streams.order])
    while any(stream.done < len(stream.order) for stream in run.streams):
        moved = [run.follow(stream) for stream in run.streams]
        moved += [run.begin(stream, True) for stream in run.streams]
        moved += [run.begin(stream, False) for stream in run.streams]
        if any(moved):
            continue
        ends = [stream.ends_ns for stream in run.streams if stream.busy]
        if not ends:
            raise InternalError("The streams of the plan deadlock.")
        run.now_ns = max(run.now_ns, min(ends))
    return run.now_ns
