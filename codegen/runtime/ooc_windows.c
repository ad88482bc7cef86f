/* ooc_windows.c - walking over the output pixels of a tile, area by area. */
#include "ooc_windows.h"

/* --------------------------------------------------------------------- blocks */

void ooc_set_block(struct ooc_block *block, const struct ooc_tile *tile, uint32_t channel, uint32_t count) {
    uint32_t i;
    block->tile = tile;
    block->channel = (uint16_t)channel;
    block->count = (uint8_t)count;
    block->exact = 0;
    block->range = ooc_output_range(tile);
    block->bias[0] = 0;
    block->bias[1] = 0;
    block->bias[2] = 0;
    block->bias[3] = 0;
    for (i = 0; tile->last && i < count; i++) {
        block->bias[i] = ooc_load_int32(tile->bias + 4 * (channel + i));
        if (!ooc_set_scale(&block->scale[i], ooc_load_float(tile->multiplier + 4 * (channel + i)))) {
            block->exact = 1;
        }
    }
    block->plain = count == OOC_BLOCK && block->range.low == -128 && block->range.high == 127 && tile->sums == NULL
                   && !block->exact;
}

static void add_partial(const struct ooc_block *block, const uint8_t *partial, int32_t sums[OOC_BLOCK]) {
    uint32_t i;
    for (i = 0; i < block->count; i++) {
        sums[i] += ooc_load_int32(partial + 4 * i);
    }
}

/* What the definition says, for multipliers that ooc_scale_sum() cannot take. */
static void store_exactly(const struct ooc_block *block, uint8_t *out, const int32_t sums[OOC_BLOCK]) {
    const uint8_t *multiplier = block->tile->multiplier + 4 * block->channel;
    uint32_t i;
    for (i = 0; i < block->count; i++) {
        out[i] = (uint8_t)ooc_scale_exactly(&block->range, ooc_load_float(multiplier + 4 * i), sums[i]);
    }
}

void ooc_finish_any(const struct ooc_block *block, uint8_t *out, uint8_t *partial, int32_t sums[OOC_BLOCK]) {
    uint32_t i;
    if (partial != NULL && !block->tile->first) {
        add_partial(block, partial, sums);
    }
    if (partial != NULL && !block->tile->last) {
        memcpy(partial, sums, 4 * (size_t)block->count);
        return;
    }
    if (block->exact) {
        store_exactly(block, out, sums);
        return;
    }
    for (i = 0; i < block->count; i++) {
        out[i] = (uint8_t)ooc_scale_sum(&block->range, block->range.base, &block->scale[i], sums[i], 0);
    }
}

/* ---------------------------------------------------------------------- areas */

/* Output positions whose windows lie inside the input altogether, within [low, high). */
static struct ooc_span whole_windows(const struct ooc_stage *stage, int axis, int32_t size, const int32_t ends[2]) {
    struct ooc_span span;
    int32_t stride = stage->stride[axis];
    int32_t room = size + stage->pad[axis] - stage->dilation[axis] * (stage->kernel[axis] - 1);
    int32_t low = (stage->pad[axis] + stride - 1) / stride;
    int32_t high = room > 0 ? (room + stride - 1) / stride : 0;
    high = high < ends[1] ? high : ends[1];
    span.low = low < ends[0] ? ends[0] : low;
    span.low = span.low < ends[1] ? span.low : ends[1];
    span.high = high < span.low ? span.low : high;
    return span;
}

/* The pixels of a tile are one long row if there is no gap between its rows on either side. */
static int is_flat(const struct ooc_tile *tile, struct ooc_span y, struct ooc_span x) {
    const struct ooc_stage *stage = tile->stage;
    const struct ooc_view *in = &tile->input[0], *out = &tile->output;
    uint32_t width = (uint32_t)(tile->column[1] - tile->column[0]);
    int is_point = stage->kernel[0] == 1 && stage->kernel[1] == 1 && stage->stride[0] == 1 && stage->stride[1] == 1;
    int is_whole = y.low == tile->row[0] && y.high == tile->row[1] && x.low == tile->column[0]
                   && x.high == tile->column[1];
    int is_dense = in->record_gap == 0 && in->row_pitch == width * in->pixel_pitch
                   && (!tile->last || (out->record_gap == 0 && out->row_pitch == width * out->pixel_pitch));
    return is_point && is_whole && is_dense;
}

/* Which pixels there are: one long row if they have no gaps. */
static void set_pixels(const struct ooc_tile *tile, struct ooc_windows *windows) {
    windows->whole_y = whole_windows(tile->stage, 0, tile->height, tile->row);
    windows->whole_x = whole_windows(tile->stage, 1, tile->width, tile->column);
    windows->bottom = tile->row[1];
    windows->right = tile->column[1];
    if (is_flat(tile, windows->whole_y, windows->whole_x)) {
        windows->right = tile->column[0] + (tile->row[1] - tile->row[0]) * (tile->column[1] - tile->column[0]);
        windows->whole_x.high = windows->right;
        windows->bottom = tile->row[0] + 1;
        windows->whole_y.high = windows->bottom;
    }
}

void ooc_begin(const struct ooc_tile *tile, struct ooc_windows *windows) {
    const struct ooc_stage *stage = tile->stage;
    const struct ooc_view *in = &tile->input[0];
    set_pixels(tile, windows);
    windows->across.in = stage->stride[1] * in->pixel_pitch;
    windows->across.out = tile->output.pixel_pitch;
    windows->across.partial = 4 * tile->channels;
    windows->down.in = stage->stride[0] * in->row_pitch;
    windows->down.out = tile->output.row_pitch;
    windows->down.partial = (uint32_t)(tile->column[1] - tile->column[0]) * windows->across.partial;
    windows->run_step = stage->dilation[1] * in->pixel_pitch;
    windows->row_step = stage->dilation[0] * in->row_pitch;
    windows->has_gaps = in->record_gap != 0 || tile->output.record_gap != 0;
    windows->weight_row_step = stage->kernel[1] * windows->tap_bytes;
    windows->zero = in->zero_point;
    windows->less = ooc_less(windows->zero);
}

/* Where the area reads: the taps kx of those rows. */
static void set_input(const struct ooc_block *block, int32_t x, struct ooc_span kx, struct ooc_windows *windows) {
    const struct ooc_stage *stage = block->tile->stage;
    const struct ooc_view *view = &block->tile->input[0];
    const struct ooc_span ky = windows->taps;
    uint32_t tap = (uint32_t)ky.low * stage->kernel[1] + (uint32_t)kx.low;
    uint32_t width = (uint32_t)(kx.high - kx.low);
    int32_t column = x * stage->stride[1] - stage->pad[1] + kx.low * stage->dilation[1];

    windows->runs = windows->dense ? 1 : width;
    windows->length = windows->dense ? width * windows->run_bytes : windows->run_bytes;
    windows->first_tap = tap;
    windows->weights = block->weights + tap * windows->tap_bytes;
    windows->rows = width == 0 ? 0 : (uint32_t)(ky.high - ky.low);
    windows->in = (const int8_t *)view->base;
    if (windows->rows > 0) { /* otherwise all is padding: nothing will be read */
        windows->in = (const int8_t *)ooc_view_pixel(view, windows->y, column) + block->input_offset;
    }
}

/* Where the area writes. */
static void set_output(const struct ooc_block *block, int32_t x, struct ooc_windows *windows) {
    const struct ooc_tile *tile = block->tile;
    int32_t y = windows->band.low;
    windows->out = NULL;
    windows->partial = NULL;
    if (tile->last) {
        windows->out = ooc_view_pixel(&tile->output, y, x) + block->channel;
    }
    if (tile->sums != NULL) {
        windows->partial = tile->sums + 4 * (ooc_tile_pixel(tile, y, x) * tile->channels + block->channel);
    }
}

/* The end of the pixels from `at` on, along one axis, that have the same taps. */
static int32_t alike_until(struct ooc_span whole, int32_t at) {
    return at >= whole.low && at < whole.high ? whole.high : at + 1;
}

/* Where there are gaps between the rows of taps. */
static void set_gaps(const struct ooc_stage *stage, const struct ooc_view *in, struct ooc_windows *windows) {
    const int32_t step = stage->dilation[0], size = in->record_rows;
    const int32_t last = windows->y + (windows->taps.high - windows->taps.low - 1) * step;
    windows->gaps = (uint8_t)(last / size - windows->y / size);
    windows->cut = (uint8_t)((size - windows->y % size + step - 1) / step);
}

/* The next rows of pixels; where there are gaps between rows, one by one. */
static void set_band(const struct ooc_tile *tile, struct ooc_windows *windows) {
    const struct ooc_stage *stage = tile->stage;
    int32_t y = windows->band.high;
    int32_t top = y * stage->stride[0] - stage->pad[0];
    windows->taps = ooc_clip_taps(stage, 0, top, tile->height);
    windows->band.low = y;
    windows->band.high = windows->has_gaps ? y + 1 : alike_until(windows->whole_y, y);
    windows->y = top + windows->taps.low * stage->dilation[0];
    windows->gaps = 0;
    if (tile->input[0].record_gap != 0) {
        set_gaps(stage, &tile->input[0], windows);
    }
    windows->next = tile->column[0];
}

int ooc_next_area(const struct ooc_block *block, struct ooc_windows *windows) {
    const struct ooc_stage *stage = block->tile->stage;
    struct ooc_span kx = {0, stage->kernel[1]};
    int32_t x;
    if (windows->next == windows->right) {
        if (windows->band.high == windows->bottom) {
            return 0;
        }
        set_band(block->tile, windows);
    }
    x = windows->next;
    windows->next = alike_until(windows->whole_x, x);
    windows->lines = (uint32_t)(windows->band.high - windows->band.low);
    windows->pixels = (uint32_t)(windows->next - x);
    windows->pixel = windows->across;
    if (windows->pixels == 1) { /* a column */
        windows->pixels = windows->lines;
        windows->pixel = windows->down;
        windows->lines = 1;
    }
    if (x < windows->whole_x.low || x >= windows->whole_x.high) {
        kx = ooc_clip_taps(stage, 1, x * stage->stride[1] - stage->pad[1], block->tile->width);
    }
    set_input(block, x, kx, windows);
    set_output(block, x, windows);
    return 1;
}

int32_t ooc_gap_bytes(const struct ooc_view *view, const struct ooc_windows *windows, int32_t y) {
    uint32_t gaps = (uint32_t)(y / view->record_rows - windows->y / view->record_rows);
    return (int32_t)(gaps * view->record_gap);
}
