/* ooc_float.c - the kernels of float32 tensors, in plain C.
 *
 * Every operation is rounded to float on its own, and sums have one order: products go input channel by
 * input channel, within a channel tap by tap, row by row; then comes the bias. Partial sums over some of the
 * channels go on where those before ended, so the result does not depend on how a stage is cut, and it is the
 * same on every chip that obeys IEEE 754. models/float_reference.py repeats these kernels one by one.
 */
#include "ooc_conv.h"

#include "ooc_access.h"
#include "ooc_float.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#ifdef OOC_FLOATS

#define LANES 4u /* output channels whose sums are kept in registers */
#define BLOCK 16u /* channels whose sums are kept on the stack */

/* Activations lie on words, in the byte order of the machine; records are little-endian. */
static inline float load(const uint8_t *from) {
    float value;
#if defined(__GNUC__)
    memcpy(&value, __builtin_assume_aligned(from, 4), sizeof value);
#else
    memcpy(&value, from, sizeof value);
#endif
    return value;
}

static inline void store(uint8_t *to, float value) {
#if defined(__GNUC__)
    memcpy(__builtin_assume_aligned(to, 4), &value, sizeof value);
#else
    memcpy(to, &value, sizeof value);
#endif
}

/* Within the limits of the stage, where it has any. */
static float clamped(const struct ooc_stage *stage, float value) {
    const float low = (float)stage->clamp_low, high = (float)stage->clamp_high;
    if (stage->clamp_low > INT16_MIN && value < low) {
        return low;
    }
    return stage->clamp_high < INT16_MAX && value > high ? high : value;
}

/* ---------------------------------------------------------------------- windows */

/* The taps of one output pixel that lie inside the input tensor. */
struct taps {
    int32_t y; /* input position of tap (0, 0) */
    int32_t x;
    struct ooc_span rows;
    struct ooc_span columns;
};

static void set_taps(const struct ooc_tile *tile, int32_t y, int32_t x, struct taps *taps) {
    const struct ooc_stage *stage = tile->stage;
    taps->y = y * stage->stride[0] - stage->pad[0];
    taps->x = x * stage->stride[1] - stage->pad[1];
    taps->rows = ooc_clip_taps(stage, 0, taps->y, tile->height);
    taps->columns = ooc_clip_taps(stage, 1, taps->x, tile->width);
}

static const uint8_t *tap_pixel(const struct ooc_tile *tile, const struct taps *taps, int32_t ky, int32_t kx) {
    const struct ooc_stage *stage = tile->stage;
    return ooc_view_pixel(&tile->input[0], taps->y + ky * stage->dilation[0], taps->x + kx * stage->dilation[1]);
}

/* ----------------------------------------------------------------- convolutions */

/* Some output channels of a tile that read the same input channels. Steps are bytes. */
struct outputs {
    const uint8_t *weights; /* of the first channel's first tap */
    uint32_t channel; /* first one, counted in the tile */
    uint32_t input_offset; /* of the first input channel in a pixel */
    uint32_t depth; /* input channels */
    uint32_t weight_step; /* from channel to channel in the weights */
};

/* The product of an input with a weight of each output channel; weights may be those of one channel. */
OOC_INLINE void add_products(OOC_FLOAT sums[LANES], float x, const uint8_t *w, uint32_t step, uint32_t count) {
    OOC_FLOAT product = x * ooc_load_float(w);
    sums[0] = sums[0] + product;
    if (count == LANES) {
        product = x * ooc_load_float(w + step);
        sums[1] = sums[1] + product;
        product = x * ooc_load_float(w + 2 * step);
        sums[2] = sums[2] + product;
        product = x * ooc_load_float(w + 3 * step);
        sums[3] = sums[3] + product;
    }
}

/* A kernel of one tap, as fully connected layers have them. */
OOC_INLINE void add_point(const struct ooc_tile *tile, const struct outputs *lanes, const struct taps *taps,
                          OOC_FLOAT sums[LANES], uint32_t count) {
    const uint8_t *in = tap_pixel(tile, taps, 0, 0) + lanes->input_offset;
    const uint8_t *w = lanes->weights;
    const uint32_t step = lanes->weight_step;
    uint32_t left;
    for (left = lanes->depth; left > 0; left--) {
        add_products(sums, load(in), w, step, count);
        in += 4;
        w += 4;
    }
}

OOC_INLINE void add_window(const struct ooc_tile *tile, const struct outputs *lanes, const struct taps *taps,
                           OOC_FLOAT sums[LANES], uint32_t count) {
    const struct ooc_stage *stage = tile->stage;
    const uint32_t in_step = stage->dilation[1] * tile->input[0].pixel_pitch, w_step = 4 * lanes->depth;
    const uint32_t step = lanes->weight_step;
    uint32_t i;
    int32_t ky, left;
    for (i = 0; i < lanes->depth; i++) {
        for (ky = taps->rows.low; ky < taps->rows.high; ky++) {
            uint32_t tap = (uint32_t)(ky * stage->kernel[1] + taps->columns.low);
            const uint8_t *in = tap_pixel(tile, taps, ky, taps->columns.low) + lanes->input_offset + 4 * i;
            const uint8_t *w = lanes->weights + tap * w_step + 4 * i;
            for (left = taps->columns.high - taps->columns.low; left > 0; left--) {
                add_products(sums, load(in), w, step, count);
                in += in_step;
                w += w_step;
            }
        }
    }
}

/* Taps of a transposed convolution that reach the pixel. */
OOC_INLINE void add_sources(const struct ooc_tile *tile, const struct outputs *lanes, int32_t y, int32_t x,
                            OOC_FLOAT sums[LANES], uint32_t count) {
    const struct ooc_stage *stage = tile->stage;
    const uint32_t w_step = 4 * lanes->depth;
    uint32_t i;
    int32_t ky, kx;
    for (i = 0; i < lanes->depth; i++) {
        const uint8_t *w = lanes->weights + 4 * i;
        for (ky = 0; ky < stage->kernel[0]; ky++) {
            int32_t row = ooc_source_of(stage, 0, y, ky, tile->height);
            for (kx = 0; kx < stage->kernel[1]; kx++, w += w_step) {
                int32_t column = row < 0 ? -1 : ooc_source_of(stage, 1, x, kx, tile->width);
                if (column >= 0) {
                    const uint8_t *in = ooc_view_pixel(&tile->input[0], row, column) + lanes->input_offset;
                    add_products(sums, load(in + 4 * i), w, lanes->weight_step, count);
                }
            }
        }
    }
}

/* Where sums of splits lie between them, null if there are none. */
static uint8_t *partial_of(const struct ooc_tile *tile, uint32_t channel, int32_t y, int32_t x) {
    return tile->sums == NULL ? NULL : tile->sums + 4 * (ooc_tile_pixel(tile, y, x) * tile->channels + channel);
}

OOC_INLINE void conv_pixel(const struct ooc_tile *tile, const struct outputs *lanes, int32_t y, int32_t x,
                           uint32_t count) {
    const struct ooc_stage *stage = tile->stage;
    uint8_t *partial = partial_of(tile, lanes->channel, y, x);
    OOC_FLOAT sums[LANES] = {0.0f, 0.0f, 0.0f, 0.0f};
    struct taps taps;
    uint32_t i;
    for (i = 0; partial != NULL && !tile->first && i < count; i++) {
        sums[i] = load(partial + 4 * i);
    }
    if (stage->flags & OOC_FLAG_TRANSPOSED) {
        add_sources(tile, lanes, y, x, sums, count);
    } else {
        set_taps(tile, y, x, &taps);
        if (stage->kernel[0] * stage->kernel[1] > 1) {
            add_window(tile, lanes, &taps, sums, count);
        } else if (taps.rows.low < taps.rows.high && taps.columns.low < taps.columns.high) {
            add_point(tile, lanes, &taps, sums, count);
        }
    }
    if (!tile->last) {
        for (i = 0; i < count; i++) {
            store(partial + 4 * i, sums[i]);
        }
    } else {
        uint8_t *out = ooc_view_pixel(&tile->output, y, x) + 4 * lanes->channel;
        for (i = 0; i < count; i++) {
            OOC_FLOAT sum = sums[i] + ooc_load_float(tile->bias + 4 * (lanes->channel + i));
            store(out + 4 * i, clamped(stage, sum));
        }
    }
}

OOC_APART void conv_lanes(const struct ooc_tile *tile, const struct outputs *lanes, uint32_t count) {
    int32_t y, x;
    for (y = tile->row[0]; y < tile->row[1]; y++) {
        for (x = tile->column[0]; x < tile->column[1]; x++) {
            if (count == LANES) {
                conv_pixel(tile, lanes, y, x, LANES);
            } else {
                conv_pixel(tile, lanes, y, x, 1);
            }
        }
    }
}

static void conv(const struct ooc_tile *tile) {
    const struct ooc_stage *stage = tile->stage;
    const int grouped = stage->conv_groups > 1;
    struct outputs lanes;
    uint32_t count;
    lanes.depth = grouped ? tile->group_inputs : tile->depth;
    lanes.weight_step = 4 * stage->kernel[0] * (stage->kernel[1] * lanes.depth);
    for (lanes.channel = 0; lanes.channel < tile->channels; lanes.channel += count) {
        const uint32_t number = tile->first_channel + lanes.channel;
        uint32_t left = tile->channels - lanes.channel;
        if (grouped && tile->group_outputs - number % tile->group_outputs < left) {
            left = tile->group_outputs - number % tile->group_outputs;
        }
        count = left < LANES ? 1 : LANES;
        lanes.weights = tile->weights + lanes.channel * lanes.weight_step;
        lanes.input_offset = grouped ? 4 * (number / tile->group_outputs * lanes.depth) : 0;
        conv_lanes(tile, &lanes, count);
    }
}

/* ------------------------------------------- windows over each channel by itself */

/* What a window makes of a channel: it begins somewhere, takes in values, and ends. */
enum fold { SUM, WEIGHTED_SUM, MAXIMUM };

/* w: the weights of the tap, if there are any. */
static void take_in(enum fold way, OOC_FLOAT *so_far, const uint8_t *in, const uint8_t *w, uint32_t count) {
    uint32_t i;
    for (i = 0; i < count; i++) {
        OOC_FLOAT value = load(in + 4 * i);
        if (way == MAXIMUM) {
            so_far[i] = value > so_far[i] ? value : so_far[i];
        } else {
            if (way == WEIGHTED_SUM) {
                value = value * ooc_load_float(w + 4 * i);
            }
            so_far[i] = so_far[i] + value;
        }
    }
}

static float window_count(const struct ooc_stage *stage, const struct taps *taps) {
    if (stage->flags & OOC_FLAG_COUNT_PAD) {
        return (float)(stage->kernel[0] * stage->kernel[1]);
    }
    return (float)((taps->rows.high - taps->rows.low) * (taps->columns.high - taps->columns.low));
}

/* Some channels from `channel` on of a pixel. */
static void window_block(const struct ooc_tile *tile, enum fold way, const struct taps *taps, uint32_t channel,
                         uint32_t count, uint8_t *out) {
    const struct ooc_stage *stage = tile->stage;
    OOC_FLOAT so_far[BLOCK];
    uint32_t i;
    int32_t ky, kx;
    for (i = 0; i < count; i++) {
        so_far[i] = way == MAXIMUM ? -ooc_infinity() : 0.0f;
    }
    for (ky = taps->rows.low; ky < taps->rows.high; ky++) {
        for (kx = taps->columns.low; kx < taps->columns.high; kx++) {
            const uint8_t *in = tap_pixel(tile, taps, ky, kx) + 4 * channel;
            const uint8_t *w = NULL;
            if (way == WEIGHTED_SUM) {
                w = tile->weights + 4 * ((uint32_t)(ky * stage->kernel[1] + kx) * tile->channels + channel);
            }
            take_in(way, so_far, in, w, count);
        }
    }
    for (i = 0; i < count; i++) {
        OOC_FLOAT value = so_far[i];
        if (way == WEIGHTED_SUM) {
            value = value + ooc_load_float(tile->bias + 4 * (channel + i));
        } else if (way == SUM) {
            value = value / window_count(stage, taps);
        }
        store(out + 4 * (channel + i), clamped(stage, value));
    }
}

static void window_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const uint8_t kind = tile->stage->kind;
    const enum fold way = kind == OOC_MAX_POOL ? MAXIMUM : kind == OOC_DEPTHWISE ? WEIGHTED_SUM : SUM;
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    uint32_t channel, count;
    struct taps taps;
    set_taps(tile, y, x, &taps);
    for (channel = 0; channel < tile->channels; channel += count) {
        count = tile->channels - channel < BLOCK ? tile->channels - channel : BLOCK;
        window_block(tile, way, &taps, channel, count, out);
    }
}

/* ----------------------------------------------------------- element by element */

/* The output may lie exactly where an input does (ooc_kernels.c).
 *
 * Operands with one row or one column repeat it. */
static const uint8_t *operand_pixel(const struct ooc_view *view, int32_t y, int32_t x) {
    return ooc_view_pixel(view, y < view->height ? y : 0, x < view->width ? x : 0);
}

static void pair_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const uint8_t *left = operand_pixel(&tile->input[0], y, x), *right = operand_pixel(&tile->input[1], y, x);
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        OOC_FLOAT value = load(left + 4 * i);
        value = tile->stage->kind == OOC_ADD ? value + load(right + 4 * i) : value * load(right + 4 * i);
        store(out + 4 * i, clamped(tile->stage, value));
    }
}

/* Some columns of the second matrix times a row of the first. Turned: its rows are those columns. */
OOC_INLINE void product_lanes(const struct ooc_tile *tile, const uint8_t *in, uint8_t *out, int32_t x, uint32_t column,
                              uint32_t count) {
    const struct ooc_view *right = &tile->input[1];
    const int turned = (tile->stage->flags & OOC_FLAG_TRANSPOSED) != 0;
    const uint8_t *at[LANES] = {NULL, NULL, NULL, NULL};
    OOC_FLOAT sums[LANES] = {0.0f, 0.0f, 0.0f, 0.0f};
    uint32_t i, k;
    for (i = 0; turned && i < count; i++) {
        at[i] = ooc_view_pixel(right, (int32_t)(column + i), x);
    }
    for (k = 0; k < tile->depth; k++) {
        const OOC_FLOAT value = load(in + 4 * k);
        const uint8_t *row = turned ? NULL : ooc_view_pixel(right, (int32_t)k, x) + 4 * column;
        for (i = 0; i < count; i++) {
            OOC_FLOAT product = value * load(turned ? at[i] + 4 * k : row + 4 * i);
            sums[i] = sums[i] + product;
        }
    }
    for (i = 0; i < count; i++) {
        store(out + 4 * (column + i), clamped(tile->stage, sums[i]));
    }
}

static void product_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const uint8_t *in = ooc_view_pixel(&tile->input[0], y, x);
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    uint32_t column = 0;
    for (; column + LANES <= tile->channels; column += LANES) {
        product_lanes(tile, in, out, x, column, LANES);
    }
    for (; column < tile->channels; column++) {
        product_lanes(tile, in, out, x, column, 1);
    }
}

/* The record: two parameters, or two per channel. */
static void function_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const uint8_t *in = ooc_view_pixel(&tile->input[0], y, x), *parameters = tile->weights;
    const uint32_t step = tile->stage->flags & OOC_FLAG_TABLE_PER_CHANNEL ? 8 : 0;
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        const float a = ooc_load_float(parameters), b = ooc_load_float(parameters + 4);
        store(out + 4 * i, ooc_function((enum ooc_function_kind)tile->stage->fill, load(in + 4 * i), a, b));
        parameters += step;
    }
}

/* The exponentials wait in the output for their sum. */
static void softmax_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const uint8_t *in = ooc_view_pixel(&tile->input[0], y, x);
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    OOC_FLOAT most = load(in), sum = 0.0f, value;
    uint32_t i;
    for (i = 1; i < tile->channels; i++) {
        value = load(in + 4 * i);
        most = value > most ? value : most;
    }
    for (i = 0; i < tile->channels; i++) {
        value = load(in + 4 * i) - most;
        value = ooc_function(OOC_EXP, value, 0.0f, 0.0f);
        store(out + 4 * i, value);
        sum = sum + value;
    }
    for (i = 0; i < tile->channels; i++) {
        value = load(out + 4 * i) / sum;
        store(out + 4 * i, value);
    }
}

/* -------------------------------------------------------------------- dispatcher */

typedef void float_kernel(const struct ooc_tile *tile, int32_t y, int32_t x);

static float_kernel *float_kernel_of(uint8_t kind) {
    switch (kind) {
    case OOC_DEPTHWISE: return OOC_HAS(OOC_DEPTHWISE) ? window_pixel : NULL;
    case OOC_MAX_POOL: return OOC_HAS(OOC_MAX_POOL) ? window_pixel : NULL;
    case OOC_AVERAGE_POOL: return OOC_HAS(OOC_AVERAGE_POOL) ? window_pixel : NULL;
    case OOC_ADD: return OOC_HAS(OOC_ADD) ? pair_pixel : NULL;
    case OOC_MULTIPLY: return OOC_HAS(OOC_MULTIPLY) ? pair_pixel : NULL;
    case OOC_MATMUL: return OOC_HAS(OOC_MATMUL) ? product_pixel : NULL;
    case OOC_LOOKUP: return OOC_HAS(OOC_LOOKUP) ? function_pixel : NULL;
    case OOC_SOFTMAX: return OOC_HAS(OOC_SOFTMAX) ? softmax_pixel : NULL;
    default: return NULL;
    }
}

int ooc_has_float(const struct ooc_stage *stage) {
    if (stage->kind == OOC_CONV) {
        return stage->flags & OOC_FLAG_TRANSPOSED ? OOC_HAS(OOC_TRANSPOSED) : OOC_HAS(OOC_CONV);
    }
    if (stage->kind == OOC_LOOKUP && (stage->fill < 0 || stage->fill > (int8_t)OOC_MOST_FUNCTION)) {
        return 0;
    }
    return float_kernel_of(stage->kind) != NULL;
}

void ooc_float(const struct ooc_tile *tile) {
    float_kernel *pixel = float_kernel_of(tile->stage->kind);
    int32_t y, x;
    if (pixel == NULL) {
        conv(tile);
        return;
    }
    for (y = tile->row[0]; y < tile->row[1]; y++) {
        for (x = tile->column[0]; x < tile->column[1]; x++) {
            pixel(tile, y, x);
        }
    }
}

#endif
