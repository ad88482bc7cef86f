/* ooc_transposed.c - transposed convolutions, any stride, dilation and number of groups.
 *
 * Tap t of output position p comes from input position (p + pad - t * dilation) / stride where that is
 * whole and inside, so each output is a sum of its own and tiles do not overlap.
 */
#include "ooc_conv.h"

#include "ooc_requantize.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#if OOC_KINDS & (1u << 13) /* OOC_TRANSPOSED */

static int32_t dot(const int8_t *in, const int8_t *w, uint32_t count, int32_t zero) {
    int32_t sum = 0;
    uint32_t i;
    for (i = 0; i < count; i++) {
        sum += (in[i] - zero) * w[i];
    }
    return sum;
}

/* The taps of one output channel of a pixel. */
static int32_t taps_sum(const struct ooc_tile *tile, uint32_t channel, int32_t y, int32_t x) {
    const struct ooc_stage *stage = tile->stage;
    const struct ooc_view *view = &tile->input[0];
    const int grouped = stage->conv_groups > 1;
    const uint32_t depth = grouped ? tile->group_inputs : tile->depth;
    const uint32_t offset = grouped ? (tile->first_channel + channel) / tile->group_outputs * depth : 0;
    const int8_t *w = (const int8_t *)tile->weights + channel * stage->kernel[0] * (stage->kernel[1] * depth);
    int32_t sum = 0;
    int32_t ky, kx;
    for (ky = 0; ky < stage->kernel[0]; ky++) {
        int32_t row = ooc_source_of(stage, 0, y, ky, tile->height);
        for (kx = 0; kx < stage->kernel[1]; kx++, w += depth) {
            int32_t column = row < 0 ? -1 : ooc_source_of(stage, 1, x, kx, tile->width);
            if (column >= 0) {
                const int8_t *in = (const int8_t *)ooc_view_pixel(view, row, column) + offset;
                sum += dot(in, w, depth, view->zero_point);
            }
        }
    }
    return sum;
}

static int32_t load_int(const uint8_t *from) {
    int32_t value;
    memcpy(&value, from, sizeof value);
    return value;
}

static void transposed_pixel(const struct ooc_tile *tile, int32_t y, int32_t x, uint8_t *partial) {
    const struct ooc_range range = ooc_output_range(tile);
    uint8_t *out = tile->last ? ooc_view_pixel(&tile->output, y, x) : NULL;
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        int32_t sum = taps_sum(tile, i, y, x);
        if (partial != NULL && !tile->first) {
            sum += load_int(partial + 4 * i);
        }
        if (tile->last) {
            sum += ooc_load_int32(tile->bias + 4 * i);
            out[i] = (uint8_t)ooc_scale_exactly(&range, ooc_load_float(tile->multiplier + 4 * i), sum);
        } else {
            memcpy(partial + 4 * i, &sum, sizeof sum);
        }
    }
}

void ooc_transposed(const struct ooc_tile *tile) {
    uint8_t *partial = tile->sums;
    int32_t y, x;
    for (y = tile->row[0]; y < tile->row[1]; y++) {
        for (x = tile->column[0]; x < tile->column[1]; x++) {
            transposed_pixel(tile, y, x, partial);
            partial = partial != NULL ? partial + 4 * tile->channels : NULL;
        }
    }
}

#endif
