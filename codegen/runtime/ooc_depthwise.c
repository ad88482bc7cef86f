/* ooc_depthwise.c - convolutions of one input channel per output channel. */
#include "ooc_conv.h"

#include "ooc_simd.h"
#include "ooc_windows.h"

#if OOC_KINDS & (1u << 1) /* OOC_DEPTHWISE */

/* sums[0..3] += (x[0..3] - zero) * w[0..3] */

#if defined(OOC_MVE)

typedef int32x4_t lanes;

OOC_INLINE lanes load_sums(const int32_t sums[OOC_BLOCK]) {
    return vld1q_s32(sums);
}

OOC_INLINE void store_sums(lanes from, int32_t sums[OOC_BLOCK]) {
    vst1q_s32(sums, from);
}

OOC_INLINE lanes add_products(lanes sums, const int8_t *x, const int8_t *w, int32_t zero) {
    return vaddq_s32(sums, vmulq_s32(vsubq_n_s32(vldrbq_s32(x), zero), vldrbq_s32(w)));
}

#else

typedef struct {
    int32_t s0, s1, s2, s3;
} lanes;

OOC_INLINE lanes load_sums(const int32_t sums[OOC_BLOCK]) {
    lanes to = {sums[0], sums[1], sums[2], sums[3]};
    return to;
}

OOC_INLINE void store_sums(lanes from, int32_t sums[OOC_BLOCK]) {
    sums[0] = from.s0;
    sums[1] = from.s1;
    sums[2] = from.s2;
    sums[3] = from.s3;
}

#if defined(OOC_DSP)

OOC_INLINE lanes add_products(lanes sums, const int8_t *x, const int8_t *w, int32_t less) {
    int8x4_t a = ooc_load4(x), b = ooc_load4(w);
    int16x2_t a_even = __sxtab16(less, a), a_odd = ooc_odd_less(less, a);
    int16x2_t b_even = __sxtb16(b), b_odd = ooc_odd(b);
    sums.s0 = __smlabb(a_even, b_even, sums.s0);
    sums.s1 = __smlabb(a_odd, b_odd, sums.s1);
    sums.s2 = __smlatt(a_even, b_even, sums.s2);
    sums.s3 = __smlatt(a_odd, b_odd, sums.s3);
    return sums;
}

#else

OOC_INLINE lanes add_products(lanes sums, const int8_t *x, const int8_t *w, int32_t zero) {
    sums.s0 += (x[0] - zero) * w[0];
    sums.s1 += (x[1] - zero) * w[1];
    sums.s2 += (x[2] - zero) * w[2];
    sums.s3 += (x[3] - zero) * w[3];
    return sums;
}

#endif
#endif

/* Kernels three taps wide are by far the most frequent ones. */
OOC_INLINE void add_three_wide(const struct ooc_windows *windows, const int8_t *x, const int8_t *w, int32_t zero,
                               int32_t sums[OOC_BLOCK]) {
    const uint32_t in = windows->run_step, weights = windows->tap_bytes;
    lanes local = load_sums(sums);
    uint32_t rows = windows->rows;
    do {
        local = add_products(local, x, w, zero);
        OOC_IN_ORDER();
        local = add_products(local, x + in, w + weights, zero);
        OOC_IN_ORDER();
        local = add_products(local, x + 2 * in, w + 2 * weights, zero);
        x += windows->row_step;
        w += windows->weight_row_step;
    } while (--rows > 0);
    store_sums(local, sums);
}

OOC_INLINE void add_wide(const struct ooc_windows *windows, const int8_t *x_row, const int8_t *w_row, int32_t zero,
                         int32_t sums[OOC_BLOCK]) {
    lanes local = load_sums(sums);
    uint32_t rows, run;
    for (rows = windows->rows; rows > 0; rows--) {
        const int8_t *x = x_row, *w = w_row;
        for (run = windows->runs; run > 0; run--) {
            local = add_products(local, x, w, zero);
            x += windows->run_step;
            w += windows->tap_bytes;
        }
        x_row += windows->row_step;
        w_row += windows->weight_row_step;
    }
    store_sums(local, sums);
}

/* Four channels of a pixel that shares its taps with others: inputs keep their zero point unless taking
 * it off costs nothing. */
OOC_APART void add_shared(const struct ooc_windows *windows, const int8_t *x, const int8_t *w,
                          int32_t sums[OOC_BLOCK]) {
    const int32_t zero = OOC_CENTRED ? windows->less : 0;
    if (windows->runs == 3) {
        add_three_wide(windows, x, w, zero, sums);
    } else {
        add_wide(windows, x, w, zero, sums);
    }
}

/* Four channels of a pixel by itself. */
OOC_APART void add_own(const struct ooc_windows *windows, const int8_t *x, const int8_t *w,
                       int32_t sums[OOC_BLOCK]) {
    add_wide(windows, x, w, windows->less, sums);
}

/* Whatever the block and the rows are like. */
OOC_APART void add_any(const struct ooc_block *block, const struct ooc_windows *windows, const int8_t *in,
                       int32_t zero, int32_t sums[OOC_BLOCK]) {
    uint32_t row, run, i;
    for (row = 0; row < windows->rows; row++) {
        const int8_t *x = in + ooc_tap_row(block->tile, windows, row);
        const int8_t *w = windows->weights + row * windows->weight_row_step;
        for (run = windows->runs; run > 0; run--) {
            for (i = 0; i < block->count; i++) {
                sums[i] += (x[i] - zero) * w[i];
            }
            x += windows->run_step;
            w += block->tap_bytes;
        }
    }
}

/* Pixels that share their taps begin with what the zero point comes to. */
static void depthwise_span(const struct ooc_block *block, struct ooc_windows *windows) {
    const int is_shared = windows->pixels > 1;
    const int is_fast = windows->even && windows->rows > 0 && block->count == OOC_BLOCK;
    const int32_t zero = is_shared && !OOC_CENTRED ? 0 : windows->zero;
    const int8_t *in = windows->in;
    uint8_t *out = windows->out;
    uint32_t left;
    if (is_shared) {
        ooc_set_start(block, windows);
    } else {
        ooc_begin_alone(block, windows);
    }
    for (left = windows->pixels; left > 0; left--) {
        if (is_shared) {
            memcpy(windows->sums, windows->start, sizeof windows->start);
        }
        if (!is_fast) {
            add_any(block, windows, in, zero, windows->sums);
        } else if (is_shared) {
            add_shared(windows, in, windows->weights, windows->sums);
        } else {
            add_own(windows, in, windows->weights, windows->sums);
        }
        if (block->plain) {
            ooc_store(block, out, windows->sums);
        } else {
            ooc_finish_any(block, out, NULL, windows->sums);
        }
        in += windows->pixel_step;
        out += block->tile->output.pixel_pitch;
    }
}

static void depthwise_block(const struct ooc_block *block, const struct ooc_rows *rows) {
    struct ooc_windows windows;
    int32_t y, x;
    ooc_begin(block, &windows);
    for (y = rows->y.low; y < rows->y.high; y++) {
        for (x = rows->x.low; x < rows->x.high;) {
            x = ooc_set_windows(block, rows, y, x, &windows);
            depthwise_span(block, &windows);
        }
    }
}

void ooc_depthwise(const struct ooc_tile *tile) {
    const struct ooc_rows rows = ooc_tile_rows(tile);
    struct ooc_block block;
    uint32_t channel;
    for (channel = 0; channel < tile->channels; channel += block.count) {
        uint32_t left = tile->channels - channel;
        ooc_set_block(&block, tile, channel, left < OOC_BLOCK ? left : OOC_BLOCK);
        block.input_offset = (uint16_t)channel;
        block.weights = (const int8_t *)tile->weights + channel;
        block.tap_bytes = (uint16_t)tile->channels;
        block.run_bytes = 1;
        block.weight_step = (uint16_t)tile->channels;
        block.channel_bytes = 1;
        block.dense = 0; /* a run is one tap */
        depthwise_block(&block, &rows);
    }
}

#endif
