/* ooc_conv.c - convolutions and fully connected layers. */
#include "ooc_conv.h"

#include "ooc_dot.h"

#if OOC_KINDS & (1u << 0) /* OOC_CONV */

/* A place that may be missing, moved. */
OOC_INLINE uint8_t *moved(uint8_t *place, uint32_t bytes) {
    return place != NULL ? place + bytes : NULL;
}

/* Hand in what the sums of some pixels come to, and move on. */
OOC_INLINE void finish_pixels(const struct ooc_block *block, struct ooc_dots *dots, uint32_t pixels) {
    struct ooc_windows *windows = &dots->windows;
    const struct ooc_step step = windows->pixel;
    uint8_t *out = windows->out, *partial = windows->partial;
    int32_t *sums = dots->sums;
    windows->in += pixels * step.in;
    do {
        if (block->plain) {
            ooc_store(block, out, sums);
            out += step.out;
        } else {
            ooc_finish_any(block, out, partial, sums);
            out = moved(out, step.out);
            partial = moved(partial, step.partial);
        }
        sums += OOC_BLOCK;
    } while (--pixels > 0);
    windows->out = out;
    windows->partial = partial;
}

/* Two pixels, two channels at a time. */
OOC_INLINE void add_two_pixels(const struct ooc_block *block, struct ooc_dots *dots) {
    memcpy(dots->sums, dots->start, sizeof dots->start);
    memcpy(dots->sums + OOC_BLOCK, dots->start, sizeof dots->start);
    ooc_add_taps(block->tile, dots, block->count, ooc_pair_rows);
}

OOC_INLINE void add_one_pixel(const struct ooc_block *block, struct ooc_dots *dots) {
    int32_t *sums = dots->sums;
    sums[0] = block->bias[0];
    sums[1] = block->bias[1];
    sums[2] = block->bias[2];
    sums[3] = block->bias[3];
    ooc_add_taps(block->tile, dots, block->count, ooc_quad_rows);
}

/* The last pixel of a line may stand alone. */
static void conv_line(const struct ooc_block *block, struct ooc_dots *dots) {
    uint32_t left, pixels;
    for (left = dots->windows.pixels; left > 0; left -= pixels) {
        pixels = left > 1 ? 2 : 1;
        if (pixels == 2) {
            add_two_pixels(block, dots);
        } else {
            add_one_pixel(block, dots);
        }
        finish_pixels(block, dots, pixels);
    }
}

static int32_t weight_sum(const struct ooc_windows *windows, const int8_t *w_row) {
    int32_t sum = 0;
    uint32_t row, k;
    for (row = 0; row < windows->rows; row++) {
        const int8_t *w = w_row;
        for (k = windows->runs * windows->length; k > 0; k--) {
            sum += *w++;
        }
        w_row += windows->weight_row_step;
    }
    return sum;
}

/* Where the sums of pairs begin. Areas of one row after the other have it in common. */
static void set_start(const struct ooc_block *block, struct ooc_dots *dots) {
    const struct ooc_windows *windows = &dots->windows;
    uint32_t row_bytes = windows->runs * windows->length;
    uint32_t i;
    if (dots->start_weights == windows->weights && dots->start_rows == windows->rows
        && dots->start_row_bytes == row_bytes) {
        return;
    }
    dots->start_weights = windows->weights;
    dots->start_rows = windows->rows;
    dots->start_row_bytes = row_bytes;
    memcpy(dots->start, block->bias, sizeof dots->start);
    for (i = 0; !OOC_CENTRED && i < block->count; i++) {
        const int8_t *w = windows->weights + i * windows->channel_bytes;
        dots->start[i] -= windows->zero * weight_sum(windows, w);
    }
}

static void conv_area(const struct ooc_block *block, struct ooc_dots *dots) {
    struct ooc_windows *windows = &dots->windows;
    const int8_t *in = windows->in;
    uint8_t *out = windows->out, *partial = windows->partial;
    uint32_t left;
    if (windows->pixels > 1) {
        set_start(block, dots);
    }
    for (left = windows->lines; left > 0; left--) {
        windows->in = in;
        windows->out = out;
        windows->partial = partial;
        conv_line(block, dots);
        in += windows->down.in;
        out = moved(out, windows->down.out);
        partial = moved(partial, windows->down.partial);
    }
}

/* Channels from `channel` on that belong to one group and fit a block. */
static uint32_t block_channels(const struct ooc_tile *tile, uint32_t channel) {
    uint32_t left = tile->channels - channel;
    if (tile->stage->conv_groups > 1) {
        uint32_t in_group = tile->group_outputs - (tile->first_channel + channel) % tile->group_outputs;
        left = left < in_group ? left : in_group;
    }
    return left < OOC_BLOCK ? left : OOC_BLOCK;
}

void ooc_conv(const struct ooc_tile *tile) {
    const struct ooc_stage *stage = tile->stage;
    const int grouped = stage->conv_groups > 1;
    const uint32_t depth = grouped ? tile->group_inputs : tile->depth;
    struct ooc_dots dots;
    struct ooc_windows *windows = &dots.windows;
    struct ooc_block block;
    uint32_t channel;
    windows->tap_bytes = (uint16_t)depth;
    windows->run_bytes = (uint16_t)depth;
    windows->channel_bytes = stage->kernel[0] * (stage->kernel[1] * depth);
    /* Where pixels follow each other without a gap, a row of taps is one long product. */
    windows->dense = stage->dilation[1] == 1 && tile->input[0].pixel_pitch == depth;
    ooc_begin(tile, windows);
    for (channel = 0; channel < tile->channels; channel += block.count) {
        ooc_set_block(&block, tile, channel, block_channels(tile, channel));
        block.input_offset = 0;
        if (grouped) {
            block.input_offset = (uint16_t)((tile->first_channel + channel) / tile->group_outputs * depth);
        }
        block.weights = (const int8_t *)tile->weights + channel * windows->channel_bytes;
        dots.start_weights = NULL;
        ooc_rewind(tile, windows);
        while (ooc_next_area(&block, windows)) {
            conv_area(&block, &dots);
        }
    }
}

#endif
