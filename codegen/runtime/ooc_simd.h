/* ooc_simd.h - instructions beyond C, as far as kernels use them. Internal to the kernels. */
#ifndef OOC_SIMD_H
#define OOC_SIMD_H

#include "ooc_access.h"

/* The zero point as it is taken off: from words of inputs twice at once, as two halves to be added. */
OOC_INLINE int32_t ooc_less(int32_t zero) {
#if defined(OOC_DSP)
    return (int32_t)(((uint32_t)-zero & 0xFFFFu) * 0x10001u);
#else
    return zero;
#endif
}

#if defined(OOC_MVE)

#include <arm_mve.h>

#elif defined(OOC_DSP)

#include <arm_acle.h>

/* Four bytes widen to two pairs of halves: the even ones by __sxtb16, the odd ones by ooc_odd. With
 * ooc_less(zero) first, __sxtab16 and ooc_odd_less take the zero point off on the way. */

OOC_INLINE int8x4_t ooc_load4(const int8_t *from) {
    int8x4_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

OOC_INLINE int16x2_t ooc_odd(int8x4_t bytes) {
    int16x2_t halves;
    __asm__("sxtb16 %0, %1, ror #8" : "=r"(halves) : "r"(bytes));
    return halves;
}

OOC_INLINE int16x2_t ooc_odd_less(int16x2_t less, int8x4_t bytes) {
    int16x2_t halves;
    __asm__("sxtab16 %0, %1, %2, ror #8" : "=r"(halves) : "r"(less), "r"(bytes));
    return halves;
}

#endif

#endif
