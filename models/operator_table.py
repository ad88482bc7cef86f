"""The table of supported ONNX operators, from the code that reads them.

``python -m ooc_solve.models.operator_table > OPERATORS.md``
"""

from __future__ import annotations

import sys

from ooc_solve.models import onnx_composites as composites
from ooc_solve.models.onnx_floats import FUNCTIONS
from ooc_solve.models.onnx_handlers import HANDLERS, INSTEAD

_HEAD = """# Supported ONNX operators

Made by `python -m ooc_solve.models.operator_table > OPERATORS.md`; a test compares. `ooc-solve MODEL --check` says it of
every node of a file.

Operators of the standard domain stand between DequantizeLinear and QuantizeLinear; those of `com.microsoft` and
QLinear ones are onnxruntime's. Or the whole network is float32, or parts of it: what is not rounded to bytes, or has no
kernel on bytes, is computed in float32 from the dequantised data, and quantised where the file says so. Opset 7 and later, IR 3 and later. A node whose inputs are all constant is evaluated
with ONNX's own reference evaluator and may be any operator of the standard domain but random ones. Results equal
those of onnxruntime's QOperator kernels (x86-64) in every byte; those of float32 lie within 1e-5 of the outputs' range,
because sums have another order, and are the same on all machines and for all ways of cutting layers.

| operator | kernels | limits |
|---|---|---|
"""

_TAIL = """
In float32 there are kernels for Conv, ConvTranspose, Gemm, MatMul (weights are float32, or computed), pools and means, Softmax, Add,
Sub and Mul of two activations, Add, Sub, Mul, Div, Max, Min, PRelu and BatchNormalization with constants, Relu, Clip,
FUNCTIONS, and everything that moves or joins elements. Div, Max and Min of two activations, COMPOSITES, Pow by 0.5, 1, 1.5,
2, 3 or 4 and their opposites, linear and cubic Resize and Pad by a number or by reflection are read as several of
these. Whole-number limits and factors per channel become part of the operator before.

MatMul of two activations has a kernel on bytes, with one scale per tensor, and one in float32. Truth values are the numbers 0 and
1; `Where` by a computed mask is a sum of products with them. LSTM, GRU and RNN are written out step by step; states
may be inputs and outputs of the network.

Weights that the file has as int4 (or uint4 around 8) are stored and moved with four bits each, and spread before their use.

Kernels: `lookup` maps bytes by a table, float32 by a formula; `move` pads, slices, resizes and joins, tile by tile; `permute` reorders a whole
tensor, which must fit the SRAM with its copy; where large tensors change blocks of channels and squares of pixels for each
other, a convolution of weights 0 and 1 does so tile by tile. `conv` and `transposed` sum over all or some input channels at a time;
grouped ones are not split along input channels.

## Not supported, and what is instead

| operator | instead |
|---|---|
"""


def operator_table() -> str:
    """Return the text of OPERATORS.md."""
    rows = [
        f"| {name} | {', '.join(operator.kernels) or 'none'} | {operator.limits} |"
        for name, operator in sorted(HANDLERS.items(), key=lambda item: (item[0].startswith("com."), item[0]))
    ]
    others = [f"| {name} | {instead} |" for name, instead in sorted(INSTEAD.items())]
    others.append("| If, Loop, Scan | control flow is not: export a model without it |")
    tail = _TAIL.replace("FUNCTIONS", ", ".join(FUNCTIONS)).replace(
        "COMPOSITES", ", ".join(composites.FUNCTIONS)
    )
    return _HEAD + "\n".join(rows) + "\n" + tail + "\n".join(others) + "\n"


if __name__ == "__main__":
    sys.stdout.write(operator_table())
