"""When running tasks end, kernels that requests interrupt among them.

The CPU begins and completes every request of a transfer. What that takes is part of the transfer, whose
channel waits meanwhile; so does a kernel that runs when the request completes, or what the CPU opens or seals
then, and ends that much later.
"""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import replace

from ooc_solve.models.vocabulary import Task, TaskGraph


class Clock:
    """Tasks that run, in the order in which they end.

    ``request_ns`` is what each request takes from a kernel that runs when it completes (0: nothing).
    """

    def __init__(self, graph: TaskGraph, request_ns: int = 0) -> None:
        self.tasks, self.request_ns = graph.tasks, request_ns
        self.ahead: list[tuple[int, int, bool]] = []  # time, task, whether it ends or only a request of it
        self.kernel, self.since, self.until = -1, 0, 0

    def start(self, task: int, now: int) -> None:
        """Let a task begin; the times of successive calls do not fall."""
        begun = self.tasks[task]
        end = now + begun.duration_ns
        heapq.heappush(self.ahead, (end, task, True))
        if begun.occupies_cpu:
            self.kernel, self.since, self.until = task, now, end
        elif self.request_ns:
            for time in list(completions(begun, now))[:-1]:
                heapq.heappush(self.ahead, (time, task, False))

    def end(self) -> tuple[int, int] | None:
        """Time (ns) and number of the task that ends next; None if nothing runs."""
        while self.ahead:
            now, task, ends = heapq.heappop(self.ahead)
            if task == self.kernel:
                if now < self.until:
                    heapq.heappush(self.ahead, (self.until, task, True))
                    continue
                self.kernel = -1
            elif self.kernel >= 0 and self.since < now < self.until:
                self.until += self.request_ns
            if ends:
                return now, task
        return None


def completions(transfer: Task, start_ns: int) -> Iterator[int]:
    """When each request of a transfer task that starts then completes (ns), the last one at its end."""
    for number in range(1, transfer.requests + 1):
        yield start_ns + transfer.duration_ns * number // transfer.requests


def interrupted(graph: TaskGraph, start_ns: Sequence[int], request_ns: int) -> TaskGraph:
    """The graph with the durations that its kernels have in a schedule, where requests interrupt them."""
    if not request_ns:
        return graph
    moments = sorted(time for task in graph.tasks for time in completions(task, start_ns[task.index]))

    def lengthened(task: Task) -> Task:
        if not task.occupies_cpu:
            return task
        at = bisect_right(moments, start_ns[task.index])
        end = start_ns[task.index] + task.duration_ns
        while at < len(moments) and moments[at] < end:
            at, end = at + 1, end + request_ns
        return replace(task, duration_ns=end - start_ns[task.index])

    return replace(graph, tasks=tuple(map(lengthened, graph.tasks)))
