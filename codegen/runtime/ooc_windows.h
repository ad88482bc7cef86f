/* ooc_windows.h - walking over the output pixels of a tile, and the taps of their windows.
 * Internal to the kernels.
 *
 * Convolutions work on a block of up to four output channels at a time, pixel by pixel. Windows that
 * reach into the padding are cut: per row of pixels above and below, per pixel left and right. All
 * pixels between those form one span with equal taps, in which nothing is tested any more.
 */
#ifndef OOC_WINDOWS_H
#define OOC_WINDOWS_H

#include "ooc_requantize.h"

#define OOC_BLOCK 4u /* channels */

/* Whether products that many pixels share are made of inputs less their zero point: where that costs
 * nothing. Otherwise see ooc_set_start(). */
#if defined(OOC_DSP)
#define OOC_CENTRED 1
#else
#define OOC_CENTRED 0
#endif

/* Some output channels of a tile. */
struct ooc_block {
    const struct ooc_tile *tile;
    const int8_t *weights; /* of the first channel's first tap */
    uint32_t channel_bytes; /* from channel to channel in the weights */
    uint16_t tap_bytes; /* from tap to tap in the weights */
    uint16_t run_bytes; /* of one tap in a run */
    uint16_t weight_step; /* from one weight of a channel to the next */
    uint16_t input_offset; /* bytes of the first input channel in a pixel */
    uint16_t channel; /* first one, counted in the tile */
    uint8_t count; /* 1 to OOC_BLOCK */
    uint8_t dense; /* a row of taps is one run */
    uint8_t exact; /* a multiplier needs ooc_scale_exactly() */
    uint8_t plain; /* OOC_BLOCK channels in the range of int8, no partial sums, not exact */
    struct ooc_range range;
    struct ooc_scale scale[OOC_BLOCK];
};

/* The windows of a span of output pixels, their taps row by row, each row in runs. Steps are bytes. */
struct ooc_windows {
    const int8_t *in; /* first tap inside the input, first input channel */
    const int8_t *weights; /* of that tap */
    uint8_t *out; /* first channel of the block; null if there is no output yet */
    uint8_t *partial; /* likewise among the partial sums; null if there are none */
    uint32_t pixels;
    uint32_t pixel_step; /* from window to window, in the input */
    int32_t y; /* input row of the first row of taps */
    uint32_t rows;
    uint32_t runs; /* per row */
    uint32_t run_step; /* from run to run in the input; in the weights they are dense */
    uint32_t length; /* bytes per run */
    uint32_t row_step; /* from row to row of taps in the input, if there is no gap between: `even` */
    uint32_t even;
    uint32_t weight_row_step;
    uint32_t tap_bytes; /* from tap to tap and from channel to channel in the weights */
    uint32_t channel_bytes;
    int32_t zero; /* of the input */
    int32_t less; /* likewise, as whole words need it: ooc_less() */
    int32_t start[OOC_BLOCK]; /* see ooc_set_start() */
    const int8_t *start_weights; /* for which it was set last; null at first */
    uint32_t start_rows;
    int32_t sums[2 * OOC_BLOCK]; /* of one pixel and the next */
};

/* Load the multipliers of the block's channels. */
void ooc_set_block(struct ooc_block *block, const struct ooc_tile *tile, uint32_t channel, uint32_t count);

/* Set where the sums of a span begin: the sum of (x - zero) * w is the sum of x * w less zero times the
 * sum of w. That pays if several pixels share it. With OOC_CENTRED they begin with the bias. */
void ooc_set_start(const struct ooc_block *block, struct ooc_windows *windows);

/* Rescale and store the sums of one pixel of a plain block. */
#if defined(OOC_MVE) && !OOC_INTEGER_SCALING
OOC_INLINE void ooc_store(const struct ooc_block *block, uint8_t *out, const int32_t sums[OOC_BLOCK]) {
    float32x4_t real = vcvtq_f32_s32(vld1q_s32(sums));
    int32x4_t steps = vcvtnq_s32_f32(vmulq_f32(real, vld1q_f32(&block->scale[0].multiplier)));
    steps = vaddq_n_s32(vmaxq_s32(vminq_s32(steps, vdupq_n_s32(511)), vdupq_n_s32(-512)), block->range.zero);
    vstrbq_s32((int8_t *)out, vmaxq_s32(vminq_s32(steps, vdupq_n_s32(127)), vdupq_n_s32(-128)));
}
#else
OOC_INLINE void ooc_store(const struct ooc_block *block, uint8_t *out, const int32_t sums[OOC_BLOCK]) {
    const struct ooc_range range = block->range;
    const struct ooc_scale *scale = block->scale;
    out[0] = (uint8_t)ooc_scale_sum(&range, &scale[0], sums[0], 1);
    out[1] = (uint8_t)ooc_scale_sum(&range, &scale[1], sums[1], 1);
    out[2] = (uint8_t)ooc_scale_sum(&range, &scale[2], sums[2], 1);
    out[3] = (uint8_t)ooc_scale_sum(&range, &scale[3], sums[3], 1);
}
#endif

/* Likewise for any block; into the partial sums instead if there are splits to come. */
void ooc_finish_any(const struct ooc_block *block, uint8_t *out, uint8_t *partial, int32_t sums[OOC_BLOCK]);

/* Let the sums of a pixel that stands alone begin with the bias. */
void ooc_begin_alone(const struct ooc_block *block, struct ooc_windows *windows);

/* The rows of output pixels of a tile. */
struct ooc_rows {
    struct ooc_span y;
    struct ooc_span x;
    struct ooc_span whole; /* columns whose windows lie inside the input */
};

/* The rows of a tile; one long row if its pixels have no gaps. */
struct ooc_rows ooc_tile_rows(const struct ooc_tile *tile);

/* Set what all spans of a block have in common. */
void ooc_begin(const struct ooc_block *block, struct ooc_windows *windows);

/* The span that begins at column x of row y; returns the column behind it. */
int32_t ooc_set_windows(const struct ooc_block *block, const struct ooc_rows *rows, int32_t y, int32_t x,
                        struct ooc_windows *windows);

/* Bytes from the first row of taps to another one. */
OOC_INLINE uint32_t ooc_tap_row(const struct ooc_tile *tile, const struct ooc_windows *windows, uint32_t row) {
    const struct ooc_view *view = &tile->input[0];
    uint32_t bytes = row * windows->row_step;
    if (!windows->even) {
        int32_t y = windows->y + (int32_t)row * tile->stage->dilation[0];
        bytes += (uint32_t)(y / view->record_rows - windows->y / view->record_rows) * view->record_gap;
    }
    return bytes;
}

#endif
