/* ooc_windows.h - walking over the output pixels of a tile, and the taps of their windows.
 * Internal to the kernels.
 *
 * Convolutions work on a block of up to four output channels at a time, pixel by pixel. Windows that
 * reach into the padding are cut. Pixels with equal taps form an area: one with all whole windows, one
 * per row above and below it, one per column left and right of it, one per pixel in the corners. Within
 * an area nothing is tested any more.
 */
#ifndef OOC_WINDOWS_H
#define OOC_WINDOWS_H

#include "ooc_requantize.h"

#define OOC_BLOCK 4u /* channels */

/* Whether products that many pixels share are made of inputs less their zero point: where that costs
 * nothing. Otherwise sums begin with the rest: the sum of (x - zero) * w is the sum of x * w less zero times
 * the sum of w. That pays if several pixels share it. */
#if defined(OOC_DSP)
#define OOC_CENTRED 1
#else
#define OOC_CENTRED 0
#endif

/* Some output channels of a tile. */
struct ooc_block {
    const struct ooc_tile *tile;
    const int8_t *weights; /* of the first channel's first tap */
    uint16_t input_offset; /* bytes of the first input channel in a pixel */
    uint16_t channel; /* first one, counted in the tile */
    uint8_t count; /* 1 to OOC_BLOCK */
    uint8_t exact; /* a multiplier needs ooc_scale_exactly() */
    uint8_t plain; /* OOC_BLOCK channels in the range of int8, no partial sums, not exact */
    int32_t bias[OOC_BLOCK]; /* 0 before the last split */
    struct ooc_range range;
    struct ooc_scale scale[OOC_BLOCK];
};

/* Bytes from an output pixel to another one. */
struct ooc_step {
    uint32_t in; /* from window to window */
    uint32_t out;
    uint32_t partial;
};

/* The windows of an area of output pixels, their taps row by row, each row in runs. Steps are bytes. The
 * pixels are walked line by line; a column of them is one line. */
struct ooc_windows {
    const int8_t *in; /* first tap inside the input, first input channel */
    const int8_t *weights; /* of that tap */
    uint32_t first_tap; /* its number */
    uint8_t *out; /* first channel of the block; null if there is no output yet */
    uint8_t *partial; /* likewise among the partial sums; null if there are none */
    uint32_t lines;
    uint32_t pixels; /* per line */
    struct ooc_step pixel; /* along a line */
    struct ooc_step across; /* from pixel to pixel of a row */
    struct ooc_step down; /* from row to row */
    int32_t bottom; /* row below the tile's pixels, column right of them; they begin where the tile does */
    int32_t right;
    struct ooc_span whole_y; /* rows and columns of those whose windows lie inside the input */
    struct ooc_span whole_x;
    struct ooc_span band; /* rows of the area */
    struct ooc_span taps; /* vertical ones of their windows */
    int32_t next; /* column behind the area */
    int32_t y; /* input row of the first row of taps */
    uint32_t rows;
    uint32_t runs; /* per row */
    uint32_t run_step; /* from run to run in the input; in the weights they are dense */
    uint32_t length; /* bytes per run */
    uint32_t row_step; /* from row to row of taps in the input, if there is no gap between */
    uint8_t gaps; /* between rows of taps */
    uint8_t cut; /* rows of taps before the first gap */
    uint8_t has_gaps; /* somewhere between rows of the input or of the output: an area has one row */
    uint8_t dense; /* a row of taps is one run */
    uint32_t weight_row_step;
    uint32_t channel_bytes; /* from channel to channel in the weights */
    uint16_t tap_bytes; /* from tap to tap in the weights */
    uint16_t run_bytes; /* of one tap in a run */
    int32_t zero; /* of the input */
    int32_t less; /* likewise, as whole words need it: ooc_less() */
};

/* Load the biases and multipliers of the block's channels. */
void ooc_set_block(struct ooc_block *block, const struct ooc_tile *tile, uint32_t channel, uint32_t count);

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
    const struct ooc_range *range = &block->range;
    const struct ooc_scale *scale = block->scale;
    const int32_t base = range->base;
    out[0] = (uint8_t)ooc_scale_sum(range, base, &scale[0], sums[0], 1);
    out[1] = (uint8_t)ooc_scale_sum(range, base, &scale[1], sums[1], 1);
    out[2] = (uint8_t)ooc_scale_sum(range, base, &scale[2], sums[2], 1);
    out[3] = (uint8_t)ooc_scale_sum(range, base, &scale[3], sums[3], 1);
}
#endif

/* Likewise for any block; into the partial sums instead if there are splits to come. */
void ooc_finish_any(const struct ooc_block *block, uint8_t *out, uint8_t *partial, int32_t sums[OOC_BLOCK]);

/* Set what all areas of a tile have in common. How its weights lie must be there already: tap_bytes,
 * run_bytes, channel_bytes and dense. */
void ooc_begin(const struct ooc_tile *tile, struct ooc_windows *windows);

/* Let the areas begin anew, for another block. */
OOC_INLINE void ooc_rewind(const struct ooc_tile *tile, struct ooc_windows *windows) {
    windows->band.high = tile->row[0];
    windows->next = windows->right;
}

/* Set the next area. Returns 0 if there is none. */
int ooc_next_area(const struct ooc_block *block, struct ooc_windows *windows);

/* Bytes in gaps before a row of taps: fewer than none where a ring of rows begins again. */
int32_t ooc_gap_bytes(const struct ooc_view *view, const struct ooc_windows *windows, int32_t y);

/* Bytes from the first row of taps to another one. */
OOC_INLINE int32_t ooc_tap_row(const struct ooc_tile *tile, const struct ooc_windows *windows, uint32_t row) {
    int32_t bytes = (int32_t)(row * windows->row_step);
    if (windows->gaps > 0) {
        bytes += ooc_gap_bytes(&tile->input[0], windows, windows->y + (int32_t)row * tile->stage->dilation[0]);
    }
    return bytes;
}

#endif
