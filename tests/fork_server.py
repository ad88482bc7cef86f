"""Runs command lines of ooc-solve, each in a forked child with limits of its own, and says how it ended.

Reads one JSON object per line, ``{"arguments": [...], "log": path}``; answers with ``code`` (None where a
signal ended it), ``signal`` and ``peak_bytes`` (most resident memory). What the child prints goes to the log.
``{"compare": path, "log": path}`` instead computes a model here and with onnxruntime; the code is 0 where they
agree, or where onnxruntime does not run it.
"""

from __future__ import annotations

import json
import os
import resource
import signal
import sys
import traceback
from typing import Any

import numpy as np
import onnx.reference  # noqa: F401  (loaded once, before the children are forked)
import onnxruntime

from ooc_solve.cli import main
from ooc_solve.models import reference
from ooc_solve.models.onnx_reader import read_onnx

CPU_S = 10
WALL_S = 300  # a wait without end, on a busy machine too
ADDRESSES_BYTES = 4 << 30  # keeps a runaway child from the machine; what is judged is `peak_bytes`
CRASHED = 70
DIFFERENT = 71
MOST_SHARE = 1e-5  # of the range of a float32 output


def compare(path: str) -> int:
    """Compute a model with random bytes, in numpy as the kernels do and with onnxruntime; return the exit code."""
    network, rng = read_onnx(path), np.random.default_rng(1)
    tensors = [network.tensors[name] for name in network.inputs]
    feeds = {t.name: rng.integers(-128, 128, t.graph_shape).astype(t.dtype.value) for t in tensors}
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads, options.log_severity_level = 1, 4
    try:
        session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        expected = session.run(list(network.outputs), feeds)
    except Exception as error:  # noqa: BLE001 (of its own kinds; what it does not run has no right result)
        print(f"not run by onnxruntime: {error}")
        return 0
    with np.errstate(all="ignore"):
        values = reference.run(network, feeds)
    found = [reference.graph_output(network, name, values) for name in network.outputs]
    return 0 if all(map(agree, found, expected)) else DIFFERENT


def agree(found: np.ndarray, expected: np.ndarray) -> bool:
    """Whether integers are the same, and float32 numbers but for rounding; prints where not."""
    if (found.shape, found.dtype) != (expected.shape, expected.dtype):
        print(f"{found.dtype} {found.shape} instead of {expected.dtype} {expected.shape}")
        return False
    exact = found.dtype.kind in "iu"
    size = 0.0 if exact else float(np.abs(np.nan_to_num(expected)).max(initial=0))
    wrong = int((~np.isclose(found, expected, rtol=0, atol=MOST_SHARE * size, equal_nan=True)).sum())
    print(f"{wrong} of {found.size} elements differ")
    return wrong == 0


def run(request: dict[str, Any]) -> None:
    """Do what is asked for; never returns."""
    descriptor = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S, CPU_S + 1))
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESSES_BYTES, ADDRESSES_BYTES))
    signal.alarm(WALL_S)
    code = CRASHED
    try:
        code = compare(request["compare"]) if "compare" in request else main(request["arguments"])
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
            run(request)
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
