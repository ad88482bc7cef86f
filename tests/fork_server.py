"""Runs command lines of ooc-solve, each in a forked child with limits of its own, and says how it ended.

Reads one JSON object per line, ``{"arguments": [...], "log": path}``; answers with ``code`` (None where a
signal ended it), ``signal`` and ``peak_bytes`` (most resident memory). What the child prints goes to the log.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback

import onnx.reference  # noqa: F401  (loaded once, before the children are forked)

from ooc_solve.cli import main

CPU_S = 10
WALL_S = 300  # a wait without end, on a busy machine too
ADDRESSES_BYTES = 4 << 30  # keeps a runaway child from the machine; what is judged is `peak_bytes`
CRASHED = 70


def run(arguments: list[str], log: str) -> None:
    """Become the command; never returns."""
    descriptor = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES_BYTES, ADDRESSES_BYTES))
    signal.alarm(WALL_S)
    code = CRASHED
    try:
        code = main(arguments)
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else CRASHED
    except BaseException:  # noqa: BLE001 (that is what is looked for)
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def serve() -> None:
    """Answer until the input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        child = os.fork()
        if child == 0:
            run(request["arguments"], request["log"])
        _, status, usage = os.wait4(child, 0)
        ended = os.WIFEXITED(status)
        answer = {
            "code": os.WEXITSTATUS(status) if ended else None,
            "signal": 0 if ended else os.WTERMSIG(status),
            "peak_bytes": usage.ru_maxrss * 1024,
        }
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
