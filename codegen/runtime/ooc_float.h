/* ooc_float.h - functions of one float, the same on every chip. Internal to the kernels. */
#ifndef OOC_FLOAT_H
#define OOC_FLOAT_H

#include "ooc_config.h"

/* In ooc_stage.fill of a lookup of float32; a and b are its two parameters. */
enum ooc_function_kind {
    OOC_CLIP = 0, /* x limited to [a, b] */
    OOC_AFFINE = 1, /* x * a + b */
    OOC_LEAKY = 2, /* x, below 0 x * a */
    OOC_INVERSE = 3, /* a / x */
    OOC_EXP = 4,
    OOC_SIGMOID = 5, /* 1 / (1 + exp(-a x)) */
    OOC_SWISH = 6, /* x / (1 + exp(-a x)) */
    OOC_TANH = 7,
    OOC_ERF = 8,
    OOC_GELU = 9, /* x / 2 * (1 + erf(x / sqrt 2)) */
    OOC_GELU_TANH = 10, /* the same by tanh */
    OOC_HARD_SIGMOID = 11, /* x * a + b limited to [0, 1] */
    OOC_HARD_SWISH = 12, /* x * (x * a + b limited to [0, 1]) */
    OOC_ELU = 13, /* x, below 0 a * (exp(x) - 1) */
    OOC_ABS = 14,
    OOC_SQRT = 15,
    OOC_LOG = 16,
    OOC_SOFTPLUS = 17, /* log(1 + exp(x)) */
    OOC_MISH = 18, /* x * tanh(log(1 + exp(x))) */
    OOC_MOST_FUNCTION = OOC_MISH
};

float ooc_function(enum ooc_function_kind kind, float x, float a, float b);

float ooc_infinity(void);

#endif
