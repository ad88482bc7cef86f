/* ooc_function.c - functions of one float by additions and multiplications alone.
 *
 * They need no mathematical library, and each operation is rounded on its own, in the order of
 * models/float_functions.py, which explains the coefficients: both give the same bits.
 */
#include "ooc_float.h"

#include "ooc_access.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#ifdef OOC_FLOATS

#define SMALLEST 1.17549435e-38f /* of the ordinary numbers */

static float from_bits(uint32_t bits) {
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static uint32_t bits_of(float value) {
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

static float no_number(void) {
    return from_bits(0x7FC00000u);
}

float ooc_infinity(void) {
    return from_bits(0x7F800000u);
}

/* Horner's rule, the constant coefficient first. */
static float polynomial(float x, const float *coefficients, uint32_t count) {
    OOC_FLOAT sum = coefficients[count - 1];
    uint32_t i;
    for (i = count - 1; i > 0; i--) {
        sum = sum * x;
        sum = sum + coefficients[i - 1];
    }
    return sum;
}

/* 2 to a whole power times the polynomial of what is left. */
static float exponential(float x) {
    static const float near[] = {0.5f, 0.16666512191295624f, 0.0416661873459816f, 0.008369598537683487f,
                                 0.0013951717410236597f};
    const float shift = 12582912.0f; /* adding it leaves no bits for a fraction */
    OOC_FLOAT power, rest, part, sum;
    if (!(x >= -87.0f)) {
        return x < 0.0f ? 0.0f : x; /* not a number */
    }
    if (x > 88.72f) {
        return ooc_infinity();
    }
    power = x * 1.4426950408889634f;
    power = power + shift;
    power = power - shift;
    part = power * 0.693359375f;
    rest = x - part;
    part = power * -2.1219444e-4f;
    rest = rest - part;
    sum = rest * rest;
    sum = sum * polynomial(rest, near, 5);
    sum = sum + rest;
    sum = sum + 1.0f;
    return from_bits(bits_of(sum) + ((uint32_t)(int32_t)power << 23));
}

static float sigmoid(float x) {
    OOC_FLOAT sum = exponential(-x);
    sum = 1.0f + sum;
    sum = 1.0f / sum;
    return sum;
}

static float size_of(float x) {
    return x < 0.0f ? -x : x;
}

static float hyperbolic_tangent(float x) {
    static const float near[] = {-0.3333328366279602f, 0.13331490755081177f, -0.05374349653720856f,
                                 0.020650586113333702f, -0.005717043299227953f};
    const float size = size_of(x);
    OOC_FLOAT sum;
    if (size < 0.625f) {
        const OOC_FLOAT square = x * x;
        sum = square * polynomial(square, near, 5);
        sum = x * sum;
        sum = sum + x;
        return sum;
    }
    sum = size + size;
    sum = exponential(sum) + 1.0f;
    sum = 2.0f / sum;
    sum = 1.0f - sum;
    return x < 0.0f ? -sum : sum;
}

static float error_function(float x) {
    static const float near[] = {1.1283791065216064f,  -0.3761262595653534f,   0.11283600330352783f,
                                 -0.026854444295167923f, 0.005189535208046436f, -0.0008020841632969677f,
                                 7.889120024628937e-05f};
    static const float far[] = {1.128584623336792f,     0.6355023384094238f,    0.10542842000722885f,
                                -0.02274494059383869f,  0.0028797490522265434f, 2.471333573339507e-05f,
                                -8.201277523767203e-05f, 1.3290085917105898e-05f, -7.502914627366408e-07f};
    const float size = size_of(x);
    const float inside = size > 4.0f ? 4.0f : size;
    OOC_FLOAT sum;
    if (size < 1.0f) {
        const OOC_FLOAT square = x * x;
        sum = x * polynomial(square, near, 7);
        return sum;
    }
    sum = inside * polynomial(inside, far, 9);
    sum = exponential(-sum);
    sum = 1.0f - sum;
    return x < 0.0f ? -sum : sum;
}

/* Of a whole power of 2, and a series for what is left. */
static float logarithm(float x) {
    static const float near[] = {0.3333335518836975f,  -0.2500085234642029f,  0.19999825954437256f,
                                 -0.16621370613574982f, 0.14227114617824554f, -0.13202103972434998f,
                                 0.1262032687664032f,  -0.07362867891788483f};
    const uint32_t bits = bits_of(x < SMALLEST ? SMALLEST : x);
    const int32_t whole = (int32_t)((bits - 0x3F3504F3u + 0x3F800000u) >> 23) - 127;
    const float power = (float)whole;
    OOC_FLOAT rest, square, sum, part;
    if (!(x > 0.0f)) {
        return x < 0.0f ? no_number() : x >= 0.0f ? -ooc_infinity() : x;
    }
    if (x >= ooc_infinity()) {
        return x;
    }
    rest = from_bits(bits - ((uint32_t)whole << 23));
    rest = rest - 1.0f;
    square = rest * rest;
    sum = square * polynomial(rest, near, 8);
    sum = rest * sum;
    part = power * -2.1219444e-4f;
    sum = sum + part;
    part = 0.5f * square;
    sum = sum - part;
    sum = sum + rest;
    part = power * 0.693359375f;
    sum = sum + part;
    return sum;
}

/* 1 / sqrt(x) by Newton's method, times x, and what is missing added. */
static float square_root(float x) {
    OOC_FLOAT guess, half, root, part;
    unsigned k;
    if (!(x >= SMALLEST)) {
        return x < 0.0f ? no_number() : x >= 0.0f ? 0.0f : x;
    }
    if (x >= ooc_infinity()) {
        return x;
    }
    guess = from_bits(0x5F3759DFu - (bits_of(x) >> 1));
    half = 0.5f * x;
    for (k = 0; k < 3u; k++) {
        part = half * guess;
        part = part * guess;
        part = 1.5f - part;
        guess = guess * part;
    }
    root = x * guess;
    part = root * root;
    part = x - part;
    half = 0.5f * guess;
    part = half * part;
    root = root + part;
    return root;
}

static float softplus(float x) {
    OOC_FLOAT sum = exponential(x < 0.0f ? x : -x);
    sum = 1.0f + sum;
    sum = logarithm(sum);
    sum = (x < 0.0f ? 0.0f : x) + sum;
    return sum;
}

static float limited(float x, float low, float high) {
    return x < low ? low : x > high ? high : x;
}

static float affine(float x, float a, float b) {
    OOC_FLOAT sum = x * a;
    sum = sum + b;
    return sum;
}

/* x / 2 * (1 + inner) */
static float gate(float x, float inner) {
    OOC_FLOAT half = 0.5f * x;
    OOC_FLOAT sum = 1.0f + inner;
    sum = half * sum;
    return sum;
}

static float gelu(float x) {
    OOC_FLOAT inner = x * 0.70710678f;
    return gate(x, error_function(inner));
}

static float gelu_by_tanh(float x) {
    OOC_FLOAT inner = x * x;
    inner = inner * x;
    inner = 0.044715f * inner;
    inner = x + inner;
    inner = 0.79788456f * inner;
    return gate(x, hyperbolic_tangent(inner));
}

static float elu(float x, float a) {
    OOC_FLOAT sum = exponential(x);
    sum = sum - 1.0f;
    sum = sum * a;
    return sum;
}

static float product(float x, float y) {
    OOC_FLOAT value = x * y;
    return value;
}

static float quotient(float x, float y) {
    OOC_FLOAT value = x / y;
    return value;
}

float ooc_function(enum ooc_function_kind kind, float x, float a, float b) {
    switch (kind) {
    case OOC_CLIP: return limited(x, a, b);
    case OOC_AFFINE: return affine(x, a, b);
    case OOC_LEAKY: return x < 0.0f ? product(x, a) : x;
    case OOC_INVERSE: return quotient(a, x);
    case OOC_EXP: return exponential(x);
    case OOC_SIGMOID: return sigmoid(product(x, a));
    case OOC_SWISH: return product(x, sigmoid(product(x, a)));
    case OOC_TANH: return hyperbolic_tangent(x);
    case OOC_ERF: return error_function(x);
    case OOC_GELU: return gelu(x);
    case OOC_GELU_TANH: return gelu_by_tanh(x);
    case OOC_HARD_SIGMOID: return limited(affine(x, a, b), 0.0f, 1.0f);
    case OOC_HARD_SWISH: return product(x, limited(affine(x, a, b), 0.0f, 1.0f));
    case OOC_ELU: return x < 0.0f ? elu(x, a) : x;
    case OOC_ABS: return size_of(x);
    case OOC_SQRT: return square_root(x);
    case OOC_LOG: return logarithm(x);
    case OOC_SOFTPLUS: return softplus(x);
    case OOC_MISH: return product(x, hyperbolic_tangent(softplus(x)));
    default: return x;
    }
}

#endif
