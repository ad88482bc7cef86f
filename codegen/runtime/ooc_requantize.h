/* ooc_requantize.h - from sums to stored values. Internal to the kernels.
 *
 * The result is always
 *     clamp(rint(float(sum) * multiplier) + zero_point)
 * in float32, every operation rounded on its own, halves to even. There are three ways to it, equal
 * bit for bit:
 *
 * - ooc_quantize(): any compiler, any real number.
 * - float hardware: one conversion each way by the FPU, which saturates as the clamp would.
 * - OOC_INTEGER_SCALING: a product in fixed point with 16 fractional bits. A float32 product
 *   differs from the exact one by two roundings, each at most 2^-24 of it, so below 256 by at most
 *   two units of the fraction; beyond 256 every stored range is saturated. Only a fraction within
 *   4 units of a half can therefore round to another side, and then ooc_quantize() decides.
 */
#ifndef OOC_REQUANTIZE_H
#define OOC_REQUANTIZE_H

#include "ooc_simd.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

/* Where sums end up: the output's quantisation and the closed range of stored values. */
struct ooc_range {
    int32_t zero;
    int32_t low;
    int32_t high;
    int32_t base; /* the zero point as ooc_scale_sum() adds it */
};

#define OOC_DOUBT 4 /* units of the fraction */

/* A multiplier as a chip needs it. */
struct ooc_scale {
#if OOC_INTEGER_SCALING
    int32_t mantissa; /* multiplier = mantissa * 2^(shift - 48) */
    uint32_t shift;
#else
    float multiplier;
#endif
};

/* Round half to even, add the zero point, keep within [low, high]: |low - zero| < 2^22.
 * Clamping first gives the same as clamping last, since the bounds are whole numbers.
 * Adding 1.5 * 2^23 leaves no bits for a fraction: the sum's low bits are the result. */
static inline int32_t ooc_quantize(float real, int32_t zero, int32_t low, int32_t high) {
    const float shift = 12582912.0f;
    float least = (float)(low - zero);
    float most = (float)(high - zero);
    OOC_FLOAT sum;
    float exact;
    int32_t bits;
    if (!(real > least)) { /* also NaN */
        real = least;
    } else if (real > most) {
        real = most;
    }
    sum = real + shift;
    exact = sum;
    memcpy(&bits, &exact, sizeof bits);
    return bits - 0x4B400000 + zero;
}

/* The product as the definition says it, for any multiplier. */
static inline int32_t ooc_scale_exactly(const struct ooc_range *range, float multiplier, int32_t sum) {
    OOC_FLOAT real = (float)sum;
    real = real * multiplier;
    return ooc_quantize(real, range->zero, range->low, range->high);
}

static inline struct ooc_range ooc_range_of(int32_t zero, int32_t low, int32_t high) {
    struct ooc_range range;
    range.zero = zero;
    range.low = low;
    range.high = high;
    range.base = OOC_INTEGER_SCALING ? zero * 65536 + 32768 + OOC_DOUBT : zero; /* and a half */
    return range;
}

static inline struct ooc_range ooc_output_range(const struct ooc_tile *tile) {
    return ooc_range_of(tile->output.zero_point, tile->stage->clamp_low, tile->stage->clamp_high);
}

static inline int32_t ooc_clamp(int32_t value, int32_t low, int32_t high) {
    value = value < low ? low : value;
    return value > high ? high : value;
}

/* Without the 16 bits of fraction, within the range of int8: an instruction that compilers do not always
 * find. */
OOC_INLINE int32_t ooc_whole_int8(int32_t fixed) {
#if defined(__thumb2__) && defined(__GNUC__)
    int32_t whole;
    __asm__("ssat %0, #8, %1, asr #16" : "=r"(whole) : "r"(fixed));
    return whole;
#else
    return ooc_clamp(fixed >> 16, -128, 127);
#endif
}

/* Prepare a multiplier. Returns 0 if it is not one that ooc_scale_sum() can take: then
 * ooc_scale_exactly() can. */
static inline int ooc_set_scale(struct ooc_scale *scale, float multiplier) {
    uint32_t bits;
    uint32_t exponent;
    memcpy(&bits, &multiplier, sizeof bits);
    exponent = bits >> 23; /* with the sign */
#if OOC_INTEGER_SCALING
    /* 1.f * 2^(exponent - 127) = (1.f * 2^30) * 2^(shift - 48) with shift = exponent - 109. */
    if (exponent < 102 || exponent > 140) {
        return 0;
    }
    scale->mantissa = (int32_t)((bits << 7 & 0x3FFFFF80u) | 0x40000000u);
    if (exponent < 109) { /* seven of the mantissa's bits are spare */
        scale->mantissa >>= 109 - exponent;
        exponent = 109;
    }
    scale->shift = exponent - 109;
    return 1;
#else
    scale->multiplier = multiplier;
    return exponent < 255; /* positive and finite */
#endif
}

/* Below, `base` is that of the range: callers keep it at hand, since storing a byte may change whatever
 * a pointer leads to. `is_full` says that the range is that of int8: there are instructions for it. */

#if OOC_INTEGER_SCALING

/* For sums that may round to either side, or are beyond 2^13 steps. */
OOC_APART int32_t ooc_scale_rare(const struct ooc_range *range, const struct ooc_scale *scale, int32_t sum) {
    uint32_t bits = (scale->shift + 79) << 23; /* 2^(shift - 48) */
    float power;
    if ((int32_t)((uint32_t)sum << scale->shift) >> scale->shift != sum) {
        return sum < 0 ? range->low : range->high;
    }
    memcpy(&power, &bits, sizeof power);
    /* The multiplier comes back exactly: 24 bits, and no overflow. */
    return ooc_scale_exactly(range, (float)scale->mantissa * power, sum);
}

OOC_INLINE int32_t ooc_scale_sum(const struct ooc_range *range, int32_t base, const struct ooc_scale *scale,
                                 int32_t sum, int is_full) {
    int32_t shifted = (int32_t)((uint32_t)sum << scale->shift);
    int32_t fixed = (int32_t)((int64_t)shifted * scale->mantissa >> 32) + base;
    /* The fraction is a half, more or less OOC_DOUBT, where that of `fixed` is next to nothing. */
    if (OOC_RARELY(shifted >> scale->shift != sum || ((uint32_t)fixed & 0xFFFFu) < 2 * OOC_DOUBT)) {
        return ooc_scale_rare(range, scale, sum);
    }
    return is_full ? ooc_whole_int8(fixed) : ooc_clamp(fixed >> 16, range->low, range->high);
}

#elif defined(__arm__) && defined(__GNUC__)

/* Two instructions that no C expression gives: nearest whole number, halves to even, saturating (it
 * obeys the rounding mode, which is the usual one, as for all other float operations); */
OOC_INLINE int32_t ooc_nearest(float real) {
    float whole;
    int32_t bits;
    __asm__("vcvtr.s32.f32 %0, %1" : "=t"(whole) : "t"(real));
    memcpy(&bits, &whole, sizeof bits);
    return bits;
}

/* and keeping a value within some bits with sign. */
#define OOC_SATURATE(bits, value) __asm__("ssat %0, #" #bits ", %0" : "+r"(value))

/* Beyond 511 steps every stored value is saturated, whatever the zero point. */
OOC_INLINE int32_t ooc_scale_sum(const struct ooc_range *range, int32_t base, const struct ooc_scale *scale,
                                 int32_t sum, int is_full) {
    int32_t steps = ooc_nearest((float)sum * scale->multiplier);
    OOC_SATURATE(10, steps);
    steps += base;
    if (is_full) {
        OOC_SATURATE(8, steps);
        return steps;
    }
    return ooc_clamp(steps, range->low, range->high);
}

#else

OOC_INLINE int32_t ooc_scale_sum(const struct ooc_range *range, int32_t base, const struct ooc_scale *scale,
                                 int32_t sum, int is_full) {
    (void)base;
    (void)is_full;
    return ooc_scale_exactly(range, scale->multiplier, sum);
}

#endif

#endif
