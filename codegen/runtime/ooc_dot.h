/* ooc_dot.h - sums of products over the taps of convolution windows. Internal to the kernels.
 *
 * The taps are walked row by row, run by run; a run is a row of bytes that follow each other both
 * in the input and in the weights. Four sums are made at a time, chosen so that what is loaded is
 * used more than once: two pixels by two channels, or, where a pixel stands alone, one pixel by four
 * channels. How a run is added to the sums depends on the chip (ooc_config.h).
 */
#ifndef OOC_DOT_H
#define OOC_DOT_H

#include "ooc_simd.h"
#include "ooc_windows.h"

/* The windows of an area, and the sums of some of its pixels. */
struct ooc_dots {
    struct ooc_windows windows;
    int32_t sums[2 * OOC_BLOCK]; /* of one pixel and the next */
    int32_t start[OOC_BLOCK]; /* of pairs */
    const int8_t *start_weights; /* for which it was set last; null at first */
    uint32_t start_rows;
    uint32_t start_row_bytes;
};

/* Both kernels add up some rows of one run each, to dots->sums: for two pixels and `count` channels, a
 * pair at a time, or for one pixel and four channels at once. Missing channels repeat the last one, and
 * their sums are not used. With pairs, inputs keep their zero point unless they are OOC_CENTRED. */

#if defined(OOC_MVE)

/* Sixteen products per instruction. */

OOC_INLINE int8x16_t ooc_lanes(const int8_t *from, uint32_t count) {
    return vldrbq_z_s8(from, vctp8q(count));
}

OOC_INLINE void ooc_add_pair(const int8_t *x, const int8_t *w, uint32_t w_pitch, uint32_t rows,
                             const struct ooc_windows *windows, int32_t *sums) {
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[OOC_BLOCK], s3 = sums[OOC_BLOCK + 1];
    int8x16_t a, b, u;
    for (; rows > 0; rows--) {
        const int8_t *x0 = x, *x1 = x + windows->pixel.in;
        const int8_t *w0 = w, *w1 = w + w_pitch;
        uint32_t left;
        for (left = windows->length; left >= 16; left -= 16) {
            a = vldrbq_s8(x0);
            b = vldrbq_s8(x1);
            u = vldrbq_s8(w0);
            s0 = vmladavaq_s8(s0, a, u);
            s2 = vmladavaq_s8(s2, b, u);
            u = vldrbq_s8(w1);
            s1 = vmladavaq_s8(s1, a, u);
            s3 = vmladavaq_s8(s3, b, u);
            x0 += 16;
            x1 += 16;
            w0 += 16;
            w1 += 16;
        }
        if (left > 0) { /* lanes that are not loaded are 0 */
            a = ooc_lanes(x0, left);
            b = ooc_lanes(x1, left);
            u = ooc_lanes(w0, left);
            s0 = vmladavaq_s8(s0, a, u);
            s2 = vmladavaq_s8(s2, b, u);
            u = ooc_lanes(w1, left);
            s1 = vmladavaq_s8(s1, a, u);
            s3 = vmladavaq_s8(s3, b, u);
        }
        x += windows->row_step;
        w += windows->weight_row_step;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[OOC_BLOCK] = s2;
    sums[OOC_BLOCK + 1] = s3;
}

/* sum of (x - zero) * w over the lanes. */
OOC_INLINE int32_t ooc_add_lanes(int32_t sum, int8x16_t x, int8x16_t w, int32_t zero) {
    return vmladavaq_s8(sum, x, w) - zero * vaddvq_s8(w);
}

OOC_APART void ooc_quad_rows(const int8_t *x, const int8_t *w, uint32_t rows, struct ooc_dots *dots,
                             uint32_t count) {
    const struct ooc_windows *windows = &dots->windows;
    const int32_t zero = windows->zero;
    int32_t *sums = dots->sums;
    int32_t s0 = sums[0], s1 = sums[1], s2 = sums[2], s3 = sums[3];
    int8x16_t a;
    for (; rows > 0; rows--) {
        const int8_t *x0 = x, *w0 = w, *w1 = w0 + (count > 1 ? windows->channel_bytes : 0);
        const int8_t *w2 = w1 + (count > 2 ? windows->channel_bytes : 0);
        const int8_t *w3 = w2 + (count > 3 ? windows->channel_bytes : 0);
        uint32_t left;
        for (left = windows->length; left >= 16; left -= 16) {
            a = vldrbq_s8(x0);
            s0 = ooc_add_lanes(s0, a, vldrbq_s8(w0), zero);
            s1 = ooc_add_lanes(s1, a, vldrbq_s8(w1), zero);
            s2 = ooc_add_lanes(s2, a, vldrbq_s8(w2), zero);
            s3 = ooc_add_lanes(s3, a, vldrbq_s8(w3), zero);
            x0 += 16;
            w0 += 16;
            w1 += 16;
            w2 += 16;
            w3 += 16;
        }
        if (left > 0) {
            a = ooc_lanes(x0, left);
            s0 = ooc_add_lanes(s0, a, ooc_lanes(w0, left), zero);
            s1 = ooc_add_lanes(s1, a, ooc_lanes(w1, left), zero);
            s2 = ooc_add_lanes(s2, a, ooc_lanes(w2, left), zero);
            s3 = ooc_add_lanes(s3, a, ooc_lanes(w3, left), zero);
        }
        x += windows->row_step;
        w += windows->weight_row_step;
    }
    sums[0] = s0;
    sums[1] = s1;
    sums[2] = s2;
    sums[3] = s3;
}

#else

/* Four steps of the loop at a time, unless there are too few registers for one. */
#if (defined(__thumb__) && !defined(__thumb2__)) || defined(__i386__)
#define OOC_WORDS 0
#else
#define OOC_WORDS 1
#endif

/* Where a run stands, and its sums, in registers. */
struct ooc_pair {
    const int8_t *x, *w;
    uint32_t x_pitch, w_pitch; /* bytes to the other pixel, to the other channel */
    int32_t s0, s1, s2, s3;
};

struct ooc_quad {
    const int8_t *x, *w0, *w1, *w2, *w3;
    int32_t s0, s1, s2, s3;
};

OOC_INLINE void ooc_pair_byte(struct ooc_pair *p, int32_t zero) {
    int32_t a = p->x[0] - zero, b = p->x[p->x_pitch] - zero, u = p->w[0], v = p->w[p->w_pitch];
    p->s0 += a * u;
    p->s1 += a * v;
    p->s2 += b * u;
    p->s3 += b * v;
    p->x++;
    p->w++;
}

OOC_INLINE void ooc_quad_byte(struct ooc_quad *q, int32_t zero) {
    int32_t a = *q->x++ - zero;
    q->s0 += a * *q->w0++;
    q->s1 += a * *q->w1++;
    q->s2 += a * *q->w2++;
    q->s3 += a * *q->w3++;
}

#if defined(OOC_DSP)

/* Four bytes per load; two products per instruction, of the even and of the odd bytes. Widening the
 * inputs takes their zero point off on the way. */

OOC_INLINE void ooc_pair_word(struct ooc_pair *p, int16x2_t less) {
    int8x4_t a = ooc_load4(p->x), b = ooc_load4(p->x + p->x_pitch), w = ooc_load4(p->w);
    int16x2_t a_odd = ooc_odd_less(less, a), a_even = __sxtab16(less, a);
    int16x2_t b_odd = ooc_odd_less(less, b), b_even = __sxtab16(less, b);
    int16x2_t odd = ooc_odd(w), even = __sxtb16(w);
    p->s0 = __smlad(a_even, even, p->s0);
    p->s2 = __smlad(b_even, even, p->s2);
    p->s0 = __smlad(a_odd, odd, p->s0);
    p->s2 = __smlad(b_odd, odd, p->s2);
    w = ooc_load4(p->w + p->w_pitch);
    odd = ooc_odd(w);
    even = __sxtb16(w);
    p->s1 = __smlad(a_even, even, p->s1);
    p->s3 = __smlad(b_even, even, p->s3);
    p->s1 = __smlad(a_odd, odd, p->s1);
    p->s3 = __smlad(b_odd, odd, p->s3);
    p->x += 4;
    p->w += 4;
}

OOC_INLINE int32_t ooc_word_dot(int16x2_t even, int16x2_t odd, const int8_t *from, int32_t sum) {
    int8x4_t w = ooc_load4(from);
    sum = __smlad(even, __sxtb16(w), sum);
    return __smlad(odd, ooc_odd(w), sum);
}

OOC_INLINE void ooc_quad_word(struct ooc_quad *q, int16x2_t less) {
    int8x4_t a = ooc_load4(q->x);
    int16x2_t odd = ooc_odd_less(less, a), even = __sxtab16(less, a);
    q->s0 = ooc_word_dot(even, odd, q->w0, q->s0);
    q->s1 = ooc_word_dot(even, odd, q->w1, q->s1);
    q->s2 = ooc_word_dot(even, odd, q->w2, q->s2);
    q->s3 = ooc_word_dot(even, odd, q->w3, q->s3);
    q->x += 4;
    q->w0 += 4;
    q->w1 += 4;
    q->w2 += 4;
    q->w3 += 4;
}

#else

/* Four steps at a time: the loop itself then costs little beside its products. */

OOC_INLINE void ooc_pair_word(struct ooc_pair *p, int32_t zero) {
    ooc_pair_byte(p, zero);
    ooc_pair_byte(p, zero);
    ooc_pair_byte(p, zero);
    ooc_pair_byte(p, zero);
}

OOC_INLINE void ooc_quad_word(struct ooc_quad *q, int32_t zero) {
    ooc_quad_byte(q, zero);
    ooc_quad_byte(q, zero);
    ooc_quad_byte(q, zero);
    ooc_quad_byte(q, zero);
}

#endif

OOC_INLINE void ooc_add_pair(const int8_t *x, const int8_t *w, uint32_t w_pitch, uint32_t rows,
                             const struct ooc_windows *windows, int32_t *sums) {
    struct ooc_pair p;
    p.s0 = sums[0];
    p.s1 = sums[1];
    p.s2 = sums[OOC_BLOCK];
    p.s3 = sums[OOC_BLOCK + 1];
    for (; rows > 0; rows--) {
        const int8_t *end;
        OOC_IN_ORDER();
        end = x + (windows->length & ~3u);
        p.x = x;
        p.w = w;
        p.x_pitch = windows->pixel.in;
        p.w_pitch = w_pitch;
        while (OOC_WORDS && p.x != end) {
            ooc_pair_word(&p, OOC_CENTRED ? windows->less : 0);
        }
        end = x + windows->length;
        while (p.x != end) {
            ooc_pair_byte(&p, OOC_CENTRED ? windows->zero : 0);
        }
        x += windows->row_step;
        w += windows->weight_row_step;
    }
    sums[0] = p.s0;
    sums[1] = p.s1;
    sums[OOC_BLOCK] = p.s2;
    sums[OOC_BLOCK + 1] = p.s3;
}

OOC_APART void ooc_quad_rows(const int8_t *x, const int8_t *w, uint32_t rows, struct ooc_dots *dots,
                             uint32_t count) {
    const struct ooc_windows *windows = &dots->windows;
    int32_t *sums = dots->sums;
    struct ooc_quad q;
    q.s0 = sums[0];
    q.s1 = sums[1];
    q.s2 = sums[2];
    q.s3 = sums[3];
    for (; rows > 0; rows--) {
        const int8_t *end;
        OOC_IN_ORDER();
        end = x + (windows->length & ~3u);
        q.x = x;
        q.w0 = w;
        q.w1 = q.w0 + (count > 1 ? windows->channel_bytes : 0);
        q.w2 = q.w1 + (count > 2 ? windows->channel_bytes : 0);
        q.w3 = q.w2 + (count > 3 ? windows->channel_bytes : 0);
        while (OOC_WORDS && q.x != end) {
            ooc_quad_word(&q, windows->less);
        }
        end = x + windows->length;
        while (q.x != end) {
            ooc_quad_byte(&q, windows->zero);
        }
        x += windows->row_step;
        w += windows->weight_row_step;
    }
    sums[0] = q.s0;
    sums[1] = q.s1;
    sums[2] = q.s2;
    sums[3] = q.s3;
}

#endif

OOC_APART void ooc_pair_rows(const int8_t *x, const int8_t *w, uint32_t rows, struct ooc_dots *dots,
                             uint32_t count) {
    const struct ooc_windows *windows = &dots->windows;
    uint32_t from;
    for (from = 0; from < count; from += 2) {
        uint32_t w_pitch = from + 1 < count ? windows->channel_bytes : 0;
        ooc_add_pair(x, w, w_pitch, rows, windows, dots->sums + from);
        w += 2 * windows->channel_bytes;
    }
}

typedef void ooc_rows_kernel(const int8_t *x, const int8_t *w, uint32_t rows, struct ooc_dots *dots,
                             uint32_t count);

/* Where there is more than one run per row, or a gap between rows, each run goes alone. */
OOC_INLINE void ooc_add_runs(const struct ooc_tile *tile, struct ooc_dots *dots, uint32_t count,
                            ooc_rows_kernel *kernel) {
    const struct ooc_windows *windows = &dots->windows;
    const int8_t *w_row = windows->weights;
    uint32_t row, run;
    for (row = 0; row < windows->rows; row++) {
        const int8_t *x = windows->in + ooc_tap_row(tile, windows, row);
        const int8_t *w = w_row;
        for (run = windows->runs; run > 0; run--) {
            kernel(x, w, 1, dots, count);
            x += windows->run_step;
            w += windows->length;
        }
        w_row += windows->weight_row_step;
    }
}

/* Add up the taps of the first window, or the first two. */
OOC_INLINE void ooc_add_taps(const struct ooc_tile *tile, struct ooc_dots *dots, uint32_t count,
                             ooc_rows_kernel *kernel) {
    const struct ooc_windows *windows = &dots->windows;
    if (windows->gaps == 0 && windows->runs == 1) {
        kernel(windows->in, windows->weights, windows->rows, dots, count);
    } else {
        ooc_add_runs(tile, dots, count, kernel);
    }
}

#endif
