"""The list of what is supported: for every operator of ONNX the function that reads it, its kernels and its limits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from ooc_solve.models import onnx_choices as choices
from ooc_solve.models import onnx_composites as composites
from ooc_solve.models import onnx_dialects as dialects
from ooc_solve.models import onnx_layouts as layouts
from ooc_solve.models import onnx_qlinear as qlinear
from ooc_solve.models import onnx_recurrent as recurrent
from ooc_solve.models import onnx_truths as truths
from ooc_solve.models.onnx_graph import Node
from ooc_solve.models.onnx_operands import Operands
from ooc_solve.models.onnx_values import Value

Handler = Callable[[Operands, Node], Value | tuple[Value, ...]]

_FUNCTIONS = (
    *("Abs", "Ceil", "Celu", "Clip", "Elu", "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish"),
    *("LeakyRelu", "Log", "Mish", "Neg", "Reciprocal", "Relu", "Round", "Selu", "Sigmoid", "Sign"),
    *("Softplus", "Softsign", "Sqrt", "Swish", "Tanh", "ThresholdedRelu"),
)


def _composite(recipe: composites.Recipe) -> Handler:
    return lambda given, node: composites.read(given, node, recipe)


@dataclass(frozen=True, slots=True)
class Operator:
    """How an ONNX operator is read: by which function, computed by which kernels, within which limits."""

    read: Handler
    kernels: tuple[str, ...]
    limits: str


_WEIGHTS = "constant int8 weights, per tensor or per output channel; one or two spatial axes; batch 1"

_IN_PLACE = "moves nothing; PERMUTE (whole tensor in SRAM, five loops) where a kernel needs another order"

_IN_BLOCKS = f"{_IN_PLACE}; large ones tile by tile, at most 256 channels of a group"

_TABLE = "of one tensor; a table of 256 bytes, exact"

_PAIR = "one input may repeat along axes; constants of any shape: 256 bytes of table per position"

_MOVE = "three axes longer than 1, or one changed axis"

_COMPOSITE = "read as several other operators; float32 between them"

_FLOATS_OF_TWO = "two activations in float32"

_PRODUCT = "of two activations, the second one whole in SRAM, one matrix at a time"

_POOL = "one or two spatial axes; batch 1"

LAYOUT: dict[str, Operator] = {
    "Transpose": Operator(layouts.transpose, ("permute",), _IN_PLACE),
    "Reshape": Operator(layouts.reshape, ("permute",), _IN_PLACE),
    "Flatten": Operator(layouts.flatten, ("permute",), _IN_PLACE),
    "Squeeze": Operator(layouts.squeeze, ("permute",), _IN_PLACE),
    "Unsqueeze": Operator(layouts.unsqueeze, ("permute",), _IN_PLACE),
    "Identity": Operator(layouts.identity, (), "dropped"),
    "DepthToSpace": Operator(layouts.depth_to_space, ("permute", "transposed"), _IN_BLOCKS),
    "SpaceToDepth": Operator(layouts.space_to_depth, ("permute", "conv"), _IN_BLOCKS),
    "Dropout": Operator(layouts.dropout, (), "dropped"),
}

HANDLERS: dict[str, Operator] = {
    **LAYOUT,
    **dict.fromkeys(_FUNCTIONS, Operator(dialects.function, ("lookup",), _TABLE)),
    "Relu": Operator(dialects.function, ("lookup",), f"part of the operator before it, or {_TABLE}"),
    "Clip": Operator(
        dialects.function, ("lookup",), f"part of the operator before it, or {_TABLE}; constant bounds"
    ),
    "Add": Operator(dialects.arithmetic, ("add", "lookup"), f"{_PAIR}; behind Conv, Gemm, MatMul: its bias"),
    "Sum": Operator(
        dialects.arithmetic, ("add", "lookup"), f"any number of inputs, float32 from three on; {_PAIR}"
    ),
    "Mul": Operator(dialects.arithmetic, ("multiply", "lookup"), _PAIR),
    "Sub": Operator(dialects.arithmetic, ("add", "lookup"), _PAIR),
    "Div": Operator(
        dialects.arithmetic, ("lookup", "multiply"), f"one input constant, of any shape; {_FLOATS_OF_TWO}"
    ),
    "PRelu": Operator(dialects.arithmetic, ("lookup",), "constant slope, of any shape"),
    "BatchNormalization": Operator(
        dialects.batch_normalization, ("lookup",), "part of a Conv before it, or a table per channel"
    ),
    **dict.fromkeys(
        ("Max", "Min"),
        Operator(
            dialects.arithmetic, ("lookup", "add"), f"one input constant, of any shape; {_FLOATS_OF_TWO}"
        ),
    ),
    "Pow": Operator(dialects.arithmetic, ("lookup",), "one input constant; in float32 the exponents below"),
    "Shape": Operator(layouts.constant_shape, (), "constant"),
    "Cast": Operator(dialects.cast, ("lookup",), "dropped; to float32, to truth values"),
    "Expand": Operator(dialects.expand, ("move",), f"constant shape; {_MOVE}"),
    "ReduceMax": Operator(
        dialects.reduce_max, ("max_pool",), "any axes; others than height and width by PERMUTE"
    ),
    **{
        kind: Operator(_composite(recipe), kernels, _COMPOSITE)
        for kind, (recipe, kernels) in (composites.COMPOSITES | truths.TRUTHS).items()
    },
    **dict.fromkeys(
        ("GRU", "LSTM", "RNN"),
        Operator(
            recurrent.read,
            ("conv", "move", "add", "multiply", "lookup"),
            f"{_COMPOSITE}; at most {recurrent.MOST_STEPS} steps, each written out; usual functions, constant weights",
        ),
    ),
    "QuantizeLinear": Operator(dialects.quantize, ("quantize", "lookup"), "int8, uint8; per tensor"),
    "DequantizeLinear": Operator(
        dialects.dequantize, ("dequantize",), "int8, uint8; per tensor; int32 and per axis for constants"
    ),
    "Conv": Operator(
        dialects.conv, ("conv", "depthwise"), f"{_WEIGHTS}; any groups, strides, dilations, pads up to 255"
    ),
    "ConvTranspose": Operator(
        dialects.conv_transpose, ("transposed",), f"{_WEIGHTS}; any groups, strides, dilations"
    ),
    "Gemm": Operator(
        dialects.gemm, ("conv", "matmul"), f"constant int8 weights; alpha 1, beta 1, transA 0; {_PRODUCT}"
    ),
    "MatMul": Operator(dialects.matmul, ("conv", "matmul"), f"constant int8 weights [in, out]; {_PRODUCT}"),
    "AveragePool": Operator(dialects.average_pool, ("average_pool",), _POOL),
    "GlobalAveragePool": Operator(dialects.global_average, ("average_pool",), "any rank"),
    "ReduceMean": Operator(
        dialects.reduce_mean, ("average_pool",), "any axes; others than height and width by PERMUTE"
    ),
    "Softmax": Operator(dialects.softmax, ("softmax",), "any axis; below opset 13 the axes from `axis` on"),
    "MaxPool": Operator(dialects.max_pool, ("max_pool",), f"{_POOL}; no indices"),
    "GlobalMaxPool": Operator(dialects.global_max, ("max_pool",), "one or two spatial axes; batch 1"),
    "Pad": Operator(
        choices.padded, ("move",), f"constant, edge or reflect; constant pads, also negative; {_MOVE}"
    ),
    "Concat": Operator(dialects.concat, ("move",), f"any axis; {_MOVE}"),
    "Slice": Operator(choices.sliced, ("move",), f"constant; backwards at most 64 positions; {_MOVE}"),
    "Split": Operator(choices.split, ("move",), f"constant; {_MOVE}"),
    **dict.fromkeys(
        ("Resize", "Upsample"),
        Operator(
            choices.resized,
            ("move", "transposed"),
            f"nearest, positions evenly apart; linear, cubic: in float32 but by whole factors of height and width; {_MOVE}",
        ),
    ),
    "QLinearConv": Operator(
        qlinear.conv, ("conv", "depthwise"), f"{_WEIGHTS}; any groups, strides, dilations, pads up to 255"
    ),
    "QLinearMatMul": Operator(
        qlinear.matmul, ("conv", "matmul"), f"constant int8 weights [in, out]; {_PRODUCT}"
    ),
    f"{qlinear.OWN_DOMAIN}QGemm": Operator(
        qlinear.gemm, ("conv",), "constant int8 weights; alpha 1, transA 0"
    ),
    f"{qlinear.OWN_DOMAIN}QLinearAdd": Operator(qlinear.pair, ("add", "lookup"), _PAIR),
    f"{qlinear.OWN_DOMAIN}QLinearMul": Operator(qlinear.pair, ("multiply", "lookup"), _PAIR),
    f"{qlinear.OWN_DOMAIN}QLinearSigmoid": Operator(qlinear.function, ("lookup",), _TABLE),
    f"{qlinear.OWN_DOMAIN}QLinearLeakyRelu": Operator(qlinear.function, ("lookup",), _TABLE),
    f"{qlinear.OWN_DOMAIN}Gelu": Operator(dialects.own_gelu, ("lookup",), _TABLE),
    f"{qlinear.OWN_DOMAIN}QLinearAveragePool": Operator(qlinear.average_pool, ("average_pool",), _POOL),
    f"{qlinear.OWN_DOMAIN}QLinearGlobalAveragePool": Operator(
        qlinear.global_average, ("average_pool",), "any rank"
    ),
    f"{qlinear.OWN_DOMAIN}QLinearConcat": Operator(qlinear.concat, ("move", "lookup"), f"any axis; {_MOVE}"),
    f"{qlinear.OWN_DOMAIN}QLinearSoftmax": Operator(
        qlinear.softmax, ("softmax",), "any axis; several values"
    ),
}
"""What is supported."""

_FOR_PROGRAM = "Slice, Split and Gather by constants are; leave what follows the network to the program"

INSTEAD = {
    **dict.fromkeys(("CumSum",), "ReduceSum, ReduceMean and ReduceMax are"),
    **dict.fromkeys(("LpPool", "GlobalLpPool"), "AveragePool and MaxPool are"),
    **dict.fromkeys(("ConvInteger", "MatMulInteger", "DynamicQuantizeLinear"), "static quantisation (QDQ, QOperator) is"),
    **dict.fromkeys(
        ("GatherND", "GatherElements", "ScatterND", "ScatterElements", "TopK", "NonMaxSuppression", "ArgMax", "ArgMin",
         "Hardmax", "NonZero", "OneHot"), _FOR_PROGRAM),
    **dict.fromkeys(("GridSample", "RoiAlign", "MaxRoiPool"), "Resize is"),
    **dict.fromkeys(("Sin", "Cos", "Tan", "DFT", "STFT", "MelWeightMatrix"), "Conv and MatMul are; leave features to the program"),
}  # fmt: skip
"""What is supported instead of operators that are not."""
