/* ooc_windows.c - walking over the output pixels of a tile. */
#include "ooc_windows.h"

/* --------------------------------------------------------------------- blocks */

void ooc_set_block(struct ooc_block *block, const struct ooc_tile *tile, uint32_t channel, uint32_t count) {
    uint32_t i;
    block->tile = tile;
    block->channel = (uint16_t)channel;
    block->count = (uint8_t)count;
    block->exact = 0;
    block->range = ooc_output_range(tile);
    for (i = 0; tile->last && i < count; i++) {
        if (!ooc_set_scale(&block->scale[i], ooc_load_float(tile->multiplier + 4 * (channel + i)))) {
            block->exact = 1;
        }
    }
    block->plain = count == OOC_BLOCK && block->range.low == -128 && block->range.high == 127 && tile->sums == NULL
                   && !block->exact;
}

/* The bias of a channel, which is due with the last split; that of the last one for those missing. */
static int32_t bias_of(const struct ooc_block *block, uint32_t channel) {
    uint32_t at = block->channel + (channel < block->count ? channel : block->count - 1u);
    return block->tile->last ? ooc_load_int32(block->tile->bias + 4 * at) : 0;
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
        out[i] = (uint8_t)ooc_scale_sum(&block->range, &block->scale[i], sums[i], 0);
    }
}

/* ---------------------------------------------------------------------- spans */

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
                   && (!tile->last || out->row_pitch == width * out->pixel_pitch);
    return is_point && is_whole && is_dense;
}

struct ooc_rows ooc_tile_rows(const struct ooc_tile *tile) {
    struct ooc_span whole_rows = whole_windows(tile->stage, 0, tile->height, tile->row);
    struct ooc_rows rows;
    rows.whole = whole_windows(tile->stage, 1, tile->width, tile->column);
    rows.y.low = tile->row[0];
    rows.y.high = tile->row[1];
    rows.x.low = tile->column[0];
    rows.x.high = tile->column[1];
    if (is_flat(tile, whole_rows, rows.whole)) {
        rows.x.high = rows.x.low + (rows.y.high - rows.y.low) * (rows.x.high - rows.x.low);
        rows.whole.high = rows.x.high;
        rows.y.high = rows.y.low + 1;
    }
    return rows;
}

/* Where the span writes. */
static void set_output(const struct ooc_block *block, int32_t y, int32_t x, struct ooc_windows *windows) {
    const struct ooc_tile *tile = block->tile;
    windows->out = NULL;
    windows->partial = NULL;
    if (tile->last) {
        windows->out = ooc_view_pixel(&tile->output, y, x) + block->channel;
    }
    if (tile->sums != NULL) {
        windows->partial = tile->sums + 4 * (ooc_tile_pixel(tile, y, x) * tile->channels + block->channel);
    }
}

void ooc_begin_alone(const struct ooc_block *block, struct ooc_windows *windows) {
    uint32_t i;
    for (i = 0; i < OOC_BLOCK; i++) {
        windows->sums[i] = bias_of(block, i);
    }
}

void ooc_begin(const struct ooc_block *block, struct ooc_windows *windows) {
    const struct ooc_stage *stage = block->tile->stage;
    const struct ooc_view *view = &block->tile->input[0];
    windows->tap_bytes = block->tap_bytes;
    windows->channel_bytes = block->channel_bytes;
    windows->pixel_step = stage->stride[1] * view->pixel_pitch;
    windows->run_step = stage->dilation[1] * view->pixel_pitch;
    windows->row_step = stage->dilation[0] * view->row_pitch;
    windows->even = view->record_gap == 0;
    windows->weight_row_step = stage->kernel[1] * block->tap_bytes;
    windows->zero = view->zero_point;
    windows->less = ooc_less(windows->zero);
    windows->start_weights = NULL;
}

/* Where the span reads: the taps ky, kx. */
static void set_input(const struct ooc_block *block, int32_t x, struct ooc_span ky, struct ooc_span kx,
                      struct ooc_windows *windows) {
    const struct ooc_stage *stage = block->tile->stage;
    const struct ooc_view *view = &block->tile->input[0];
    uint32_t tap = (uint32_t)ky.low * stage->kernel[1] + (uint32_t)kx.low;
    uint32_t width = (uint32_t)(kx.high - kx.low);
    int32_t column = x * stage->stride[1] - stage->pad[1] + kx.low * stage->dilation[1];

    windows->runs = block->dense ? 1 : width;
    windows->length = block->dense ? width * block->run_bytes : block->run_bytes;
    windows->weights = block->weights + tap * block->tap_bytes;
    windows->rows = width == 0 ? 0 : (uint32_t)(ky.high - ky.low);
    windows->in = (const int8_t *)view->base;
    if (windows->rows > 0) { /* otherwise all is padding: nothing will be read */
        windows->in = (const int8_t *)ooc_view_pixel(view, windows->y, column) + block->input_offset;
    }
}

static int32_t weight_sum(const struct ooc_windows *windows, const int8_t *w_row, uint32_t step) {
    int32_t sum = 0;
    uint32_t row, k;
    for (row = 0; row < windows->rows; row++) {
        const int8_t *w = w_row;
        for (k = windows->runs * windows->length; k > 0; k--) {
            sum += *w;
            w += step;
        }
        w_row += windows->weight_row_step;
    }
    return sum;
}

void ooc_set_start(const struct ooc_block *block, struct ooc_windows *windows) {
    uint32_t i;
    if (windows->start_weights == windows->weights && windows->start_rows == windows->rows) {
        return;
    }
    windows->start_weights = windows->weights;
    windows->start_rows = windows->rows;
    for (i = 0; i < OOC_BLOCK; i++) {
        windows->start[i] = bias_of(block, i);
        if (!OOC_CENTRED && i < block->count) {
            const int8_t *w = windows->weights + i * block->channel_bytes;
            windows->start[i] -= windows->zero * weight_sum(windows, w, block->weight_step);
        }
    }
}

int32_t ooc_set_windows(const struct ooc_block *block, const struct ooc_rows *rows, int32_t y, int32_t x,
                        struct ooc_windows *windows) {
    const struct ooc_tile *tile = block->tile;
    const struct ooc_stage *stage = tile->stage;
    int32_t top = y * stage->stride[0] - stage->pad[0];
    struct ooc_span ky = ooc_clip_taps(stage, 0, top, tile->height);
    struct ooc_span kx = {0, stage->kernel[1]};
    int32_t end = rows->whole.high;
    if (x < rows->whole.low || x >= end) { /* windows cut left or right go one by one */
        kx = ooc_clip_taps(stage, 1, x * stage->stride[1] - stage->pad[1], tile->width);
        end = x + 1;
    }
    windows->y = top + ky.low * stage->dilation[0];
    windows->pixels = (uint32_t)(end - x);
    set_input(block, x, ky, kx, windows);
    set_output(block, y, x, windows);
    return end;
}
