/* ooc_conv.c - convolutions and fully connected layers. */
#include "ooc_conv.h"

#include "ooc_dot.h"

#if OOC_KINDS & (1u << 0) /* OOC_CONV */

/* Hand in what windows->sums has of some pixels, and move on. */
OOC_INLINE void finish_pixels(const struct ooc_block *block, struct ooc_windows *windows, uint32_t pixels) {
    const struct ooc_tile *tile = block->tile;
    uint8_t *out = windows->out, *partial = windows->partial;
    int32_t *sums = windows->sums;
    windows->in += pixels * windows->pixel_step;
    windows->pixels -= pixels;
    do {
        if (block->plain) {
            ooc_store(block, out, sums);
            out += tile->output.pixel_pitch;
        } else {
            ooc_finish_any(block, out, partial, sums);
            out = out != NULL ? out + tile->output.pixel_pitch : NULL;
            partial = partial != NULL ? partial + 4 * tile->channels : NULL;
        }
        sums += OOC_BLOCK;
    } while (--pixels > 0);
    windows->out = out;
    windows->partial = partial;
}

/* Two pixels, two channels at a time. */
OOC_INLINE void add_two_pixels(const struct ooc_block *block, struct ooc_windows *windows) {
    memcpy(windows->sums, windows->start, sizeof windows->start);
    memcpy(windows->sums + OOC_BLOCK, windows->start, sizeof windows->start);
    ooc_add_taps(block->tile, windows, block->count, ooc_pair_rows);
}

OOC_INLINE void add_one_pixel(const struct ooc_block *block, struct ooc_windows *windows) {
    ooc_begin_alone(block, windows);
    ooc_add_taps(block->tile, windows, block->count, ooc_quad_rows);
}

/* The last pixel of a span may stand alone. */
static void conv_span(const struct ooc_block *block, struct ooc_windows *windows) {
    if (windows->pixels > 1) {
        ooc_set_start(block, windows);
    }
    while (windows->pixels > 0) {
        uint32_t pixels = windows->pixels > 1 ? 2 : 1;
        if (pixels == 2) {
            add_two_pixels(block, windows);
        } else {
            add_one_pixel(block, windows);
        }
        finish_pixels(block, windows, pixels);
    }
}

static void conv_block(const struct ooc_block *block, const struct ooc_rows *rows) {
    struct ooc_windows windows;
    int32_t y, x;
    ooc_begin(block, &windows);
    for (y = rows->y.low; y < rows->y.high; y++) {
        for (x = rows->x.low; x < rows->x.high;) {
            x = ooc_set_windows(block, rows, y, x, &windows);
            conv_span(block, &windows);
        }
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
    int grouped = stage->conv_groups > 1;
    uint32_t depth = grouped ? tile->group_inputs : tile->depth;
    const struct ooc_rows rows = ooc_tile_rows(tile);
    struct ooc_block block;
    uint32_t channel;
    for (channel = 0; channel < tile->channels; channel += block.count) {
        ooc_set_block(&block, tile, channel, block_channels(tile, channel));
        block.input_offset = 0;
        if (grouped) {
            block.input_offset = (uint16_t)((tile->first_channel + channel) / tile->group_outputs * depth);
        }
        block.tap_bytes = (uint16_t)depth;
        block.run_bytes = (uint16_t)depth;
        block.weight_step = 1;
        block.channel_bytes = stage->kernel[0] * (stage->kernel[1] * depth);
        block.weights = (const int8_t *)tile->weights + channel * block.channel_bytes;
        /* Where pixels follow each other without a gap, a row of taps is one long product. */
        block.dense = stage->dilation[1] == 1 && tile->input[0].pixel_pitch == depth;
        conv_block(&block, &rows);
    }
}

#endif
