/* ooc_kernels.c - the arithmetic, in plain C. Float rules: see ooc_config.h. */
#include "ooc_kernels.h"

#include "ooc.h"

#include <string.h>

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

/* Kernels that are not wanted are not referred to, and the compiler drops them. */
#define HAS(kind) ((OOC_KINDS & (1u << (kind))) != 0)

#define BLOCK 16u /* channels whose sums are kept on the stack */

/* ------------------------------------------------------------------ elements */

static uint8_t *view_row(const struct ooc_view *view, int32_t y) {
    uint8_t *row = view->base + (uint32_t)(y - view->row) * view->row_pitch;
    if (view->record_gap != 0) {
        row += (uint32_t)(y / view->record_rows - view->record) * view->record_gap;
    }
    return row;
}

static uint8_t *view_pixel(const struct ooc_view *view, int32_t y, int32_t x) {
    return view_row(view, y) + (uint32_t)(x - view->column) * view->pixel_pitch;
}

static int32_t load_int32(const uint8_t *from) {
    uint32_t bits = (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16
                    | (uint32_t)from[3] << 24;
    int32_t value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static float load_float(const uint8_t *from) {
    int32_t bits = load_int32(from);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Round half to even, add the zero point, keep within [low, high]: |low - zero| < 2^22.
 * Clamping first gives the same as clamping last, since the bounds are whole numbers.
 * Adding 1.5 * 2^23 leaves no bits for a fraction: the sum's low bits are the result. */
static int32_t quantize(float real, int32_t zero, int32_t low, int32_t high) {
    const float shift = 12582912.0f;
    float least = (float)(low - zero);
    float most = (float)(high - zero);
    OOC_FLOAT sum;
    float exact;
    int32_t bits;
    if (!(real > least)) { /* also NaN */
        real = least;
    } else if (real > most) {
        real = most;
    }
    sum = real + shift;
    exact = sum;
    memcpy(&bits, &exact, sizeof bits);
    return bits - 0x4B400000 + zero;
}

/* A real number of output steps as it is stored. */
static uint8_t rounded(const struct ooc_tile *tile, float steps) {
    const struct ooc_stage *stage = tile->stage;
    return (uint8_t)quantize(steps, tile->output.zero_point, stage->clamp_low, stage->clamp_high);
}

static uint8_t requantize(const struct ooc_tile *tile, int32_t sum, float multiplier) {
    OOC_FLOAT real = (float)sum;
    real = real * multiplier;
    return rounded(tile, real);
}

/* ------------------------------------------------------------------- windows */

/* The taps of one output pixel that lie inside the input tensor. */
struct window {
    int32_t y; /* input position of tap (0, 0) */
    int32_t x;
    int32_t low[2]; /* taps [low, high) per axis */
    int32_t high[2];
};

static void clip_taps(const struct ooc_stage *stage, int axis, int32_t position, int32_t size,
                      struct window *window) {
    int32_t dilation = stage->dilation[axis];
    int32_t low = position < 0 ? (dilation - 1 - position) / dilation : 0;
    int32_t high = position < size ? (size - position + dilation - 1) / dilation : 0;
    high = high < stage->kernel[axis] ? high : stage->kernel[axis];
    window->low[axis] = low;
    window->high[axis] = high > low ? high : low;
}

static void set_window(const struct ooc_tile *tile, int32_t y, int32_t x, struct window *window) {
    const struct ooc_stage *stage = tile->stage;
    window->y = y * stage->stride[0] - stage->pad[0];
    window->x = x * stage->stride[1] - stage->pad[1];
    clip_taps(stage, 0, window->y, tile->height, window);
    clip_taps(stage, 1, window->x, tile->width, window);
}

static const int8_t *tap_pixel(const struct ooc_tile *tile, const struct window *window, int32_t ky,
                               int32_t kx) {
    const struct ooc_stage *stage = tile->stage;
    return (const int8_t *)view_pixel(&tile->input[0], window->y + ky * stage->dilation[0],
                                      window->x + kx * stage->dilation[1]);
}

/* Index of an output pixel in the dense order of the tile. */
static uint32_t tile_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    int32_t columns = tile->column[1] - tile->column[0];
    return (uint32_t)((y - tile->row[0]) * columns + (x - tile->column[0]));
}

/* Hand in the sums of `count` channels from `channel` on: into the output, or among the
 * partial sums if there are splits to come. */
static void finish(const struct ooc_tile *tile, int32_t y, int32_t x, uint32_t channel, uint32_t count,
                   int32_t *sums) {
    uint8_t *out;
    uint32_t i;
    if (tile->sums != NULL) {
        uint8_t *partial = tile->sums + 4 * (tile_pixel(tile, y, x) * tile->channels + channel);
        if (!tile->first) {
            for (i = 0; i < count; i++) {
                int32_t before;
                memcpy(&before, partial + 4 * i, 4);
                sums[i] += before;
            }
        }
        if (!tile->last) {
            memcpy(partial, sums, 4 * (size_t)count);
            return;
        }
    }
    out = view_pixel(&tile->output, y, x) + channel;
    for (i = 0; i < count; i++) {
        uint32_t at = 4 * (channel + i);
        out[i] = requantize(tile, sums[i] + load_int32(tile->bias + at), load_float(tile->multiplier + at));
    }
}

/* --------------------------------------------------------------- convolution */

static int32_t dot(const int8_t *x, const int8_t *w, uint32_t n, int32_t zero) {
    int32_t sum = 0;
    uint32_t i;
    for (i = 0; i < n; i++) {
        sum += (x[i] - zero) * w[i];
    }
    return sum;
}

/* Four output channels at a time: each input is loaded once for four products. */
static void dot_four(const int8_t *x, const int8_t *w, uint32_t pitch, uint32_t n, int32_t zero,
                     int32_t *sums) {
    const int8_t *w1 = w + pitch, *w2 = w1 + pitch, *w3 = w2 + pitch;
    int32_t s0 = 0, s1 = 0, s2 = 0, s3 = 0;
    uint32_t i;
    for (i = 0; i < n; i++) {
        int32_t value = x[i] - zero;
        s0 += value * w[i];
        s1 += value * w1[i];
        s2 += value * w2[i];
        s3 += value * w3[i];
    }
    sums[0] += s0;
    sums[1] += s1;
    sums[2] += s2;
    sums[3] += s3;
}

/* Sums of `count` (1 or 4) output channels from `channel` on, over the taps of one window. */
static void conv_sums(const struct ooc_tile *tile, const struct window *window, uint32_t channel,
                      uint32_t count, int32_t *sums) {
    const struct ooc_stage *stage = tile->stage;
    int grouped = stage->conv_groups > 1;
    uint32_t depth = grouped ? tile->group_inputs : tile->depth;
    uint32_t from = grouped ? (tile->first_channel + channel) / tile->group_outputs * depth : 0;
    uint32_t pitch = stage->kernel[0] * (stage->kernel[1] * depth);
    const int8_t *weights = (const int8_t *)tile->weights + channel * pitch;
    int32_t zero = tile->input[0].zero_point;
    /* Where pixels follow each other without a gap, a row of taps is one long product. */
    int dense = stage->dilation[1] == 1 && tile->input[0].pixel_pitch == depth;
    int32_t step = dense ? window->high[1] - window->low[1] : 1;
    int32_t ky, kx;

    memset(sums, 0, count * sizeof *sums);
    for (ky = window->low[0]; ky < window->high[0]; ky++) {
        for (kx = window->low[1]; kx < window->high[1]; kx += step) {
            const int8_t *x = tap_pixel(tile, window, ky, kx) + from;
            const int8_t *w = weights + ((uint32_t)ky * stage->kernel[1] + (uint32_t)kx) * depth;
            if (count == 4) {
                dot_four(x, w, pitch, (uint32_t)step * depth, zero, sums);
            } else {
                sums[0] += dot(x, w, (uint32_t)step * depth, zero);
            }
        }
    }
}

static void conv_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    struct window window;
    int32_t sums[4];
    uint32_t channel, count;
    set_window(tile, y, x, &window);
    for (channel = 0; channel < tile->channels; channel += count) {
        count = tile->stage->conv_groups == 1 && tile->channels - channel >= 4 ? 4 : 1;
        conv_sums(tile, &window, channel, count, sums);
        finish(tile, y, x, channel, count, sums);
    }
}

static void depthwise_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    struct window window;
    int32_t sums[BLOCK];
    int32_t zero = tile->input[0].zero_point;
    uint32_t channel, count, i;
    int32_t ky, kx;
    set_window(tile, y, x, &window);
    for (channel = 0; channel < tile->channels; channel += count) {
        count = tile->channels - channel < BLOCK ? tile->channels - channel : BLOCK;
        memset(sums, 0, sizeof sums);
        for (ky = window.low[0]; ky < window.high[0]; ky++) {
            for (kx = window.low[1]; kx < window.high[1]; kx++) {
                const int8_t *in = tap_pixel(tile, &window, ky, kx) + channel;
                const int8_t *w = (const int8_t *)tile->weights + channel
                                  + ((uint32_t)ky * tile->stage->kernel[1] + (uint32_t)kx) * tile->channels;
                for (i = 0; i < count; i++) {
                    sums[i] += (in[i] - zero) * w[i];
                }
            }
        }
        finish(tile, y, x, channel, count, sums);
    }
}

/* ------------------------------------------------------------------- pooling */

static void max_pool_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    struct window window;
    int8_t *out = (int8_t *)view_pixel(&tile->output, y, x);
    int8_t low = (int8_t)tile->stage->clamp_low, high = (int8_t)tile->stage->clamp_high;
    uint32_t i;
    int32_t ky, kx;
    set_window(tile, y, x, &window);
    memset(out, low, tile->channels);
    for (ky = window.low[0]; ky < window.high[0]; ky++) {
        for (kx = window.low[1]; kx < window.high[1]; kx++) {
            const int8_t *in = tap_pixel(tile, &window, ky, kx);
            for (i = 0; i < tile->channels; i++) {
                out[i] = in[i] > out[i] ? in[i] : out[i];
            }
        }
    }
    for (i = 0; i < tile->channels; i++) {
        out[i] = out[i] < high ? out[i] : high;
    }
}

static float average_multiplier(const struct ooc_tile *tile, const struct window *window) {
    const struct ooc_stage *stage = tile->stage;
    int32_t taps = (window->high[0] - window->low[0]) * (window->high[1] - window->low[1]);
    OOC_FLOAT divisor;
    OOC_FLOAT multiplier;
    if (stage->flags & OOC_FLAG_COUNT_PAD) {
        taps = stage->kernel[0] * stage->kernel[1];
    }
    divisor = (float)taps;
    divisor = tile->output.scale * divisor;
    multiplier = tile->input[0].scale / divisor;
    return multiplier;
}

static void average_pool_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    struct window window;
    uint8_t *out = view_pixel(&tile->output, y, x);
    int32_t sums[BLOCK];
    int32_t zero = tile->input[0].zero_point;
    uint32_t channel, count, i;
    int32_t ky, kx;
    float multiplier;
    set_window(tile, y, x, &window);
    multiplier = average_multiplier(tile, &window);
    for (channel = 0; channel < tile->channels; channel += count) {
        count = tile->channels - channel < BLOCK ? tile->channels - channel : BLOCK;
        memset(sums, 0, sizeof sums);
        for (ky = window.low[0]; ky < window.high[0]; ky++) {
            for (kx = window.low[1]; kx < window.high[1]; kx++) {
                const int8_t *in = tap_pixel(tile, &window, ky, kx) + channel;
                for (i = 0; i < count; i++) {
                    sums[i] += in[i] - zero;
                }
            }
        }
        for (i = 0; i < count; i++) {
            out[channel + i] = requantize(tile, sums[i], multiplier);
        }
    }
}

/* -------------------------------------------------------------- element by element */

static void add_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const struct ooc_view *a = &tile->input[0], *b = &tile->input[1], *o = &tile->output;
    const int8_t *left = (const int8_t *)view_pixel(a, y, x);
    const int8_t *right = (const int8_t *)view_pixel(b, y, x);
    uint8_t *out = view_pixel(o, y, x);
    OOC_FLOAT left_ratio = a->scale / o->scale;
    OOC_FLOAT right_ratio = b->scale / o->scale;
    OOC_FLOAT zero = (float)o->zero_point;
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        OOC_FLOAT l = (float)(left[i] - a->zero_point);
        OOC_FLOAT r = (float)(right[i] - b->zero_point);
        l = l * left_ratio;
        r = r * right_ratio;
        l = l + r;
        l = l + zero; /* before rounding: which way a half goes depends on it */
        out[i] = (uint8_t)quantize(l, 0, tile->stage->clamp_low, tile->stage->clamp_high);
    }
}

static void lookup_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const uint8_t *in = view_pixel(&tile->input[0], y, x);
    const uint8_t *table = tile->weights;
    uint8_t *out = view_pixel(&tile->output, y, x);
    uint32_t step = tile->stage->flags & OOC_FLAG_TABLE_PER_CHANNEL ? 256 : 0;
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        out[i] = table[in[i]];
        table += step;
    }
}

static void quantize_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const uint8_t *in = view_pixel(&tile->input[0], y, x);
    uint8_t *out = view_pixel(&tile->output, y, x);
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        float value;
        OOC_FLOAT steps;
        memcpy(&value, in + 4 * i, 4);
        steps = value / tile->output.scale;
        out[i] = rounded(tile, steps);
    }
}

static void dequantize_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const int8_t *in = (const int8_t *)view_pixel(&tile->input[0], y, x);
    uint8_t *out = view_pixel(&tile->output, y, x);
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        OOC_FLOAT steps = (float)(in[i] - tile->input[0].zero_point);
        float value;
        steps = steps * tile->input[0].scale;
        value = steps;
        memcpy(out + 4 * i, &value, 4);
    }
}

/* The record: 256 exponentials, entry 255 - d for a value d steps below the greatest one,
 * then the number of output steps per unit. */
static void softmax_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const int8_t *in = (const int8_t *)view_pixel(&tile->input[0], y, x);
    uint8_t *out = view_pixel(&tile->output, y, x);
    const float steps = load_float(tile->weights + 4 * 256);
    OOC_FLOAT sum = 0.0f;
    int32_t most = in[0];
    uint32_t i;
    for (i = 1; i < tile->channels; i++) {
        most = in[i] > most ? in[i] : most;
    }
    for (i = 0; i < tile->channels; i++) {
        sum = sum + load_float(tile->weights + 4 * (255 - most + in[i]));
    }
    for (i = 0; i < tile->channels; i++) {
        OOC_FLOAT share = load_float(tile->weights + 4 * (255 - most + in[i]));
        share = share * steps;
        share = share / sum;
        out[i] = rounded(tile, share);
    }
}

/* The fill is the one byte of the stage's record. */
static void pad_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    int32_t from_y = y - tile->stage->pad[0];
    int32_t from_x = x - tile->stage->pad[1];
    uint8_t *out = view_pixel(&tile->output, y, x);
    if (from_y >= 0 && from_y < tile->height && from_x >= 0 && from_x < tile->width) {
        memcpy(out, view_pixel(&tile->input[0], from_y, from_x), tile->channels);
    } else {
        memset(out, tile->weights[0], tile->channels);
    }
}

/* ---------------------------------------------------------------- permutation */

static void permute(const struct ooc_tile *tile) {
    const struct ooc_axis *axis = tile->axes;
    uint32_t size = tile->element_bytes;
    uint8_t *out = tile->output.base;
    uint32_t i[OOC_PERMUTE_AXES] = {0, 0, 0, 0, 0};
    for (i[0] = 0; i[0] < axis[0].size; i[0]++) {
        for (i[1] = 0; i[1] < axis[1].size; i[1]++) {
            for (i[2] = 0; i[2] < axis[2].size; i[2]++) {
                for (i[3] = 0; i[3] < axis[3].size; i[3]++) {
                    const uint8_t *in = tile->input[0].base
                                        + size * (i[0] * axis[0].stride + i[1] * axis[1].stride
                                                  + i[2] * axis[2].stride + i[3] * axis[3].stride);
                    for (i[4] = 0; i[4] < axis[4].size; i[4]++) {
                        memcpy(out, in, size);
                        in += size * axis[4].stride;
                        out += size;
                    }
                }
            }
        }
    }
}

/* -------------------------------------------------------------------- dispatcher */

typedef void pixel_kernel(const struct ooc_tile *tile, int32_t y, int32_t x);

static pixel_kernel *kernel_of(uint8_t kind) {
    switch (kind) {
    case OOC_CONV: return HAS(OOC_CONV) ? conv_pixel : NULL;
    case OOC_DEPTHWISE: return HAS(OOC_DEPTHWISE) ? depthwise_pixel : NULL;
    case OOC_MAX_POOL: return HAS(OOC_MAX_POOL) ? max_pool_pixel : NULL;
    case OOC_AVERAGE_POOL: return HAS(OOC_AVERAGE_POOL) ? average_pool_pixel : NULL;
    case OOC_ADD: return HAS(OOC_ADD) ? add_pixel : NULL;
    case OOC_LOOKUP: return HAS(OOC_LOOKUP) ? lookup_pixel : NULL;
    case OOC_QUANTIZE: return HAS(OOC_QUANTIZE) ? quantize_pixel : NULL;
    case OOC_DEQUANTIZE: return HAS(OOC_DEQUANTIZE) ? dequantize_pixel : NULL;
    case OOC_SOFTMAX: return HAS(OOC_SOFTMAX) ? softmax_pixel : NULL;
    case OOC_PAD: return HAS(OOC_PAD) ? pad_pixel : NULL;
    default: return NULL;
    }
}

int ooc_has_kernel(uint8_t kind) {
    return kernel_of(kind) != NULL || (HAS(OOC_PERMUTE) && kind == OOC_PERMUTE);
}

int ooc_kernel(const struct ooc_tile *tile) {
    pixel_kernel *kernel = kernel_of(tile->stage->kind);
    int32_t y, x;
    if (HAS(OOC_PERMUTE) && tile->stage->kind == OOC_PERMUTE) {
        permute(tile);
        return OOC_DONE;
    }
    if (kernel == NULL) {
        return OOC_ERROR_FORMAT;
    }
    for (y = tile->row[0]; y < tile->row[1]; y++) {
        for (x = tile->column[0]; x < tile->column[1]; x++) {
            kernel(tile, y, x);
        }
    }
    return OOC_DONE;
}
