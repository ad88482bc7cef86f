/* ooc_kernels.c - the dispatcher, and the kernels that do not multiply by weights. Float rules: see
 * ooc_config.h. */
#include "ooc_kernels.h"

#include "ooc.h"
#include "ooc_conv.h"
#include "ooc_requantize.h"

#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#endif

#define BLOCK 16u /* channels whose sums are kept on the stack */

/* A real number of output steps as it is stored. */
static uint8_t rounded(const struct ooc_tile *tile, float steps) {
    const struct ooc_stage *stage = tile->stage;
    return (uint8_t)ooc_quantize(steps, tile->output.zero_point, stage->clamp_low, stage->clamp_high);
}

/* What the model's integers are above the stored ones. */
static int32_t offset_of(const struct ooc_tile *tile) {
    return tile->stage->flags & OOC_FLAG_UNSIGNED ? 128 : 0;
}

/* ------------------------------------------------------------------- windows */

/* The taps of one output pixel that lie inside the input tensor. */
struct window {
    int32_t y; /* input position of tap (0, 0) */
    int32_t x;
    struct ooc_span taps[2]; /* per axis */
};

static void set_window(const struct ooc_tile *tile, int32_t y, int32_t x, struct window *window) {
    const struct ooc_stage *stage = tile->stage;
    window->y = y * stage->stride[0] - stage->pad[0];
    window->x = x * stage->stride[1] - stage->pad[1];
    window->taps[0] = ooc_clip_taps(stage, 0, window->y, tile->height);
    window->taps[1] = ooc_clip_taps(stage, 1, window->x, tile->width);
}

static const int8_t *tap_pixel(const struct ooc_tile *tile, const struct window *window, int32_t ky,
                               int32_t kx) {
    const struct ooc_stage *stage = tile->stage;
    return (const int8_t *)ooc_view_pixel(&tile->input[0], window->y + ky * stage->dilation[0],
                                      window->x + kx * stage->dilation[1]);
}

/* ------------------------------------------------------------------- pooling */

static void max_pool_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    struct window window;
    int8_t *out = (int8_t *)ooc_view_pixel(&tile->output, y, x);
    int8_t low = (int8_t)tile->stage->clamp_low, high = (int8_t)tile->stage->clamp_high;
    uint32_t i;
    int32_t ky, kx;
    set_window(tile, y, x, &window);
    memset(out, low, tile->channels);
    for (ky = window.taps[0].low; ky < window.taps[0].high; ky++) {
        for (kx = window.taps[1].low; kx < window.taps[1].high; kx++) {
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

/* How many elements an average is of. */
static float average_count(const struct ooc_tile *tile, const struct window *window) {
    const struct ooc_stage *stage = tile->stage;
    if (stage->flags & OOC_FLAG_COUNT_PAD) {
        return (float)(stage->kernel[0] * stage->kernel[1]);
    }
    return (float)((window->taps[0].high - window->taps[0].low) * (window->taps[1].high - window->taps[1].low));
}

static float average_multiplier(const struct ooc_tile *tile, const struct window *window) {
    OOC_FLOAT divisor = average_count(tile, window);
    OOC_FLOAT multiplier;
    divisor = tile->output.scale * divisor;
    multiplier = tile->input[0].scale / divisor;
    return multiplier;
}

/* One channel, element by element in float. */
static float float_sum(const struct ooc_tile *tile, const struct window *window, uint32_t channel) {
    OOC_FLOAT sum = 0.0f;
    int32_t ky, kx;
    for (ky = window->taps[0].low; ky < window->taps[0].high; ky++) {
        for (kx = window->taps[1].low; kx < window->taps[1].high; kx++) {
            OOC_FLOAT real = (float)(tap_pixel(tile, window, ky, kx)[channel] - tile->input[0].zero_point);
            real = real * tile->input[0].scale;
            sum = sum + real;
        }
    }
    return sum;
}

static void average_floats(const struct ooc_tile *tile, const struct window *window, uint8_t *out) {
    const struct ooc_stage *stage = tile->stage;
    const int32_t offset = offset_of(tile);
    const float count = average_count(tile, window);
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        OOC_FLOAT steps = float_sum(tile, window, i);
        steps = steps / count;
        steps = steps / tile->output.scale;
        steps = steps + (float)(tile->output.zero_point + offset);
        out[i] = (uint8_t)(ooc_quantize(steps, 0, stage->clamp_low + offset, stage->clamp_high + offset) - offset);
    }
}

static void average_pool_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    struct window window;
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    int32_t sums[BLOCK];
    int32_t zero = tile->input[0].zero_point;
    uint32_t channel, count, i;
    int32_t ky, kx;
    const struct ooc_range range = ooc_output_range(tile);
    struct ooc_scale scale;
    float multiplier;
    int ordinary;
    set_window(tile, y, x, &window);
    if (tile->stage->flags & OOC_FLAG_FLOATS) {
        average_floats(tile, &window, out);
        return;
    }
    multiplier = average_multiplier(tile, &window);
    ordinary = ooc_set_scale(&scale, multiplier);
    for (channel = 0; channel < tile->channels; channel += count) {
        count = tile->channels - channel < BLOCK ? tile->channels - channel : BLOCK;
        memset(sums, 0, sizeof sums);
        for (ky = window.taps[0].low; ky < window.taps[0].high; ky++) {
            for (kx = window.taps[1].low; kx < window.taps[1].high; kx++) {
                const int8_t *in = tap_pixel(tile, &window, ky, kx) + channel;
                for (i = 0; i < count; i++) {
                    sums[i] += in[i] - zero;
                }
            }
        }
        for (i = 0; i < count; i++) {
            out[channel + i] = (uint8_t)(ordinary ? ooc_scale_sum(&range, range.base, &scale, sums[i], 0)
                                                  : ooc_scale_exactly(&range, multiplier, sums[i]));
        }
    }
}

/* -------------------------------------------------------------- element by element */

/* The output may lie exactly where an input does: each element is read before the one in its place is
 * written, and not again. */

/* What adding needs to know of its operands' scales. With ratios below 4, a sum in fixed point with 19
 * fractional bits lies within 512 units of the float32 one: two rounded ratios come to at most 287
 * units, six float roundings of numbers below 2^11 to at most 210. Only sums so close to a half need
 * add_exactly(). */
struct addition {
    float left_ratio;
    float right_ratio;
    int32_t left; /* the ratios in fixed point */
    int32_t right;
    int32_t offset; /* zero points, a half and ADD_DOUBT */
};

#define ADD_BITS 19
#define ADD_DOUBT 512u

static void set_addition(const struct ooc_tile *tile, struct addition *add) {
    const struct ooc_view *a = &tile->input[0], *b = &tile->input[1], *o = &tile->output;
    OOC_FLOAT left_ratio = a->scale / o->scale;
    OOC_FLOAT right_ratio = b->scale / o->scale;
    const float one = (float)(1 << ADD_BITS);
    add->left_ratio = left_ratio;
    add->right_ratio = right_ratio;
    add->left = 0; /* all is in doubt */
    add->right = 0;
    add->offset = 0;
    if (left_ratio < 4.0f && right_ratio < 4.0f) {
        add->left = (int32_t)(add->left_ratio * one + 0.5f);
        add->right = (int32_t)(add->right_ratio * one + 0.5f);
        add->offset = o->zero_point * (1 << ADD_BITS) + (1 << (ADD_BITS - 1)) + (int32_t)ADD_DOUBT
                      - a->zero_point * add->left - b->zero_point * add->right;
    }
}

/* left * right + addend, rounded once: the product is exact in a double, and the sum too if its parts are
 * less than 2^21 apart. */
static float fused(float left, float right, float addend) {
    const double sum = (double)left * (double)right + (double)addend;
    return (float)sum;
}

/* Which way a half goes depends on every rounding on the way to it. */
OOC_APART int32_t add_exactly(const struct ooc_tile *tile, const struct addition *add, int32_t left, int32_t right) {
    const int32_t offset = offset_of(tile);
    OOC_FLOAT rest = add->right_ratio * (float)(tile->input[1].zero_point + offset);
    float sum;
    rest = fused(add->left_ratio, (float)(tile->input[0].zero_point + offset), rest);
    rest = (float)(tile->output.zero_point + offset) - rest;
    sum = fused((float)(right + offset), add->right_ratio, rest);
    sum = fused((float)(left + offset), add->left_ratio, sum);
    return ooc_quantize(sum, 0, tile->stage->clamp_low + offset, tile->stage->clamp_high + offset) - offset;
}

/* Operands with one row or one column repeat it. */
static const int8_t *operand_pixel(const struct ooc_view *view, int32_t y, int32_t x) {
    return (const int8_t *)ooc_view_pixel(view, y < view->height ? y : 0, x < view->width ? x : 0);
}

/* Elements that follow each other. `is_full`: the clamp is that of int8. */
OOC_INLINE void add_run(const struct ooc_tile *tile, const struct addition *add, const int8_t *const in[2],
                        uint8_t *out, uint32_t count, int is_full) {
    const int8_t *left = in[0], *right = in[1];
    const int32_t l = add->left, r = add->right, offset = add->offset;
    const int32_t low = tile->stage->clamp_low, high = tile->stage->clamp_high;
    for (; count > 0; count--) {
        int32_t sum = offset + *left++ * l + *right++ * r;
        int32_t value = is_full ? ooc_whole_int8(sum >> (ADD_BITS - 16)) : ooc_clamp(sum >> ADD_BITS, low, high);
        if (OOC_RARELY(((uint32_t)sum & ((1u << ADD_BITS) - 1u)) < 2 * ADD_DOUBT)) {
            value = add_exactly(tile, add, left[-1], right[-1]);
        }
        *out++ = (uint8_t)value;
    }
}

static void add_elements(const struct ooc_tile *tile, const struct addition *add, int32_t y, int32_t x,
                         uint32_t count) {
    const int8_t *const in[2] = {operand_pixel(&tile->input[0], y, x), operand_pixel(&tile->input[1], y, x)};
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    if (tile->stage->clamp_low == -128 && tile->stage->clamp_high == 127) {
        add_run(tile, add, in, out, count, 1);
    } else {
        add_run(tile, add, in, out, count, 0);
    }
}

/* Whether the pixels of a row follow each other without a gap in all operands. */
static int has_dense_rows(const struct ooc_tile *tile) {
    const uint32_t pixel = tile->channels;
    const int is_dense = tile->input[0].pixel_pitch == pixel && tile->input[1].pixel_pitch == pixel
                         && tile->output.pixel_pitch == pixel;
    return is_dense && tile->column[1] <= tile->input[0].width && tile->column[1] <= tile->input[1].width;
}

static void add_tile(const struct ooc_tile *tile) {
    const int32_t columns = has_dense_rows(tile) ? tile->column[1] - tile->column[0] : 1;
    struct addition add;
    int32_t y, x;
    set_addition(tile, &add);
    for (y = tile->row[0]; y < tile->row[1]; y++) {
        for (x = tile->column[0]; x < tile->column[1]; x += columns) {
            add_elements(tile, &add, y, x, (uint32_t)columns * tile->channels);
        }
    }
}

/* What multiplying needs to know of its operands' scales: their product over the output's, which is
 * mantissa * 2^-shift. A product of two values below 2^16 times the mantissa is exact in 64 bits. The
 * float32 result below 1024 steps lies within 4 units of its 16 fractional bits: two roundings, each at
 * most 2^-24 of it. Only products so close to a half need multiply_exactly(). */
struct product {
    float ratio;
    int64_t mantissa;
    uint32_t shift; /* to 16 fractional bits */
    int is_fixed;
};

#define PRODUCT_DOUBT 8u

static void set_product(const struct ooc_tile *tile, struct product *product) {
    OOC_FLOAT ratio = tile->input[0].scale * tile->input[1].scale;
    uint32_t bits;
    ratio = ratio / tile->output.scale;
    product->ratio = ratio;
    memcpy(&bits, &product->ratio, sizeof bits);
    product->mantissa = (int64_t)((bits & 0x7FFFFFu) | 0x800000u);
    /* 1.f * 2^(e - 127) = mantissa * 2^(e - 150); less 16 bits that stay. */
    product->is_fixed = bits >> 23 > 94 && bits >> 23 < 135;
    product->shift = 134 - (bits >> 23);
}

OOC_APART int32_t multiply_exactly(const struct ooc_tile *tile, const struct product *product, int32_t value) {
    const int32_t offset = offset_of(tile);
    OOC_FLOAT zero = (float)(tile->output.zero_point + offset);
    OOC_FLOAT real = (float)value;
    real = real * product->ratio;
    real = real + zero; /* before rounding: which way a half goes depends on it */
    return ooc_quantize(real, 0, tile->stage->clamp_low + offset, tile->stage->clamp_high + offset) - offset;
}

static void multiply_pixel(const struct ooc_tile *tile, const struct product *product, int32_t y, int32_t x) {
    const int8_t *left = operand_pixel(&tile->input[0], y, x);
    const int8_t *right = operand_pixel(&tile->input[1], y, x);
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    const struct ooc_range range = ooc_output_range(tile);
    const int32_t left_zero = tile->input[0].zero_point, right_zero = tile->input[1].zero_point;
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        int32_t value = (left[i] - left_zero) * (right[i] - right_zero);
        int64_t fixed = product->is_fixed ? (value * product->mantissa >> product->shift) + 32768 : 0;
        if ((((uint32_t)fixed + PRODUCT_DOUBT) & 0xFFFFu) < 2 * PRODUCT_DOUBT) {
            out[i] = (uint8_t)multiply_exactly(tile, product, value);
        } else {
            fixed = (fixed >> 16) + range.zero;
            out[i] = (uint8_t)(fixed < range.low ? range.low : fixed > range.high ? range.high : fixed);
        }
    }
}

static void multiply_tile(const struct ooc_tile *tile) {
    struct product product;
    int32_t y, x;
    set_product(tile, &product);
    for (y = tile->row[0]; y < tile->row[1]; y++) {
        for (x = tile->column[0]; x < tile->column[1]; x++) {
            multiply_pixel(tile, &product, y, x);
        }
    }
}

static void lookup_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const uint8_t *in = ooc_view_pixel(&tile->input[0], y, x);
    const uint8_t *table = tile->weights;
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    uint32_t step = tile->stage->flags & OOC_FLAG_TABLE_PER_CHANNEL ? 256 : 0;
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        out[i] = table[in[i]];
        table += step;
    }
}

static void quantize_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const uint8_t *in = ooc_view_pixel(&tile->input[0], y, x);
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
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
    const int8_t *in = (const int8_t *)ooc_view_pixel(&tile->input[0], y, x);
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    uint32_t i;
    for (i = 0; i < tile->channels; i++) {
        OOC_FLOAT steps = (float)(in[i] - tile->input[0].zero_point);
        float value;
        steps = steps * tile->input[0].scale;
        value = steps;
        memcpy(out + 4 * i, &value, 4);
    }
}

/* -------------------------------------------------------- products of activations */

#if OOC_KINDS & (1u << 12) /* OOC_MATMUL */

#define LANES 4u /* columns of the second matrix whose sums are kept in registers */

/* Where the second matrix lies: bytes from row to row of its depth, and from column to column. */
struct pitches {
    uint32_t row;
    uint32_t column;
};

/* Add to the sums of some columns. The zero point of the second matrix counts by the sum that is returned. */
OOC_INLINE int32_t add_products(int32_t sums[LANES], const int8_t *in, int32_t zero, const int8_t *b,
                                const struct pitches *pitch, uint32_t length, uint32_t count) {
    const uint32_t row = pitch->row, column = pitch->column;
    int32_t total = 0;
    for (; length > 0; length--) {
        const int32_t value = *in++ - zero;
        total += value;
        sums[0] += value * b[0];
        if (count == LANES) {
            sums[1] += value * b[column];
            sums[2] += value * b[2 * column];
            sums[3] += value * b[3 * column];
        }
        b += row;
    }
    return total;
}

/* Some columns of a row of the product. Where records end in padding, rows of the second tensor are found one by one. */
OOC_INLINE void product_columns(const struct ooc_tile *tile, const int8_t *in, int32_t x, uint32_t column,
                                int32_t sums[LANES], uint32_t count) {
    const struct ooc_view *right = &tile->input[1];
    const int turned = (tile->stage->flags & OOC_FLAG_TRANSPOSED) != 0;
    const uint32_t chunk = turned || right->record_gap == 0 ? tile->depth : 1;
    const struct pitches pitch = {turned ? 1 : right->row_pitch, turned ? right->row_pitch : 1};
    int32_t total = 0;
    uint32_t i, k;
    for (i = 0; i < LANES; i++) {
        sums[i] = 0;
    }
    for (k = 0; k < tile->depth; k += chunk) {
        const int8_t *b = (const int8_t *)(turned ? ooc_view_pixel(right, (int32_t)column, x)
                                                  : ooc_view_pixel(right, (int32_t)k, x) + column);
        total += add_products(sums, in + k, tile->input[0].zero_point, b, &pitch, chunk, count);
    }
    for (i = 0; i < count; i++) {
        sums[i] -= right->zero_point * total;
    }
}

static void matmul_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const int8_t *in = (const int8_t *)ooc_view_pixel(&tile->input[0], y, x);
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    const struct ooc_range range = ooc_output_range(tile);
    const int is_even = (tile->stage->flags & OOC_FLAG_TRANSPOSED) == 0 || tile->input[1].record_gap == 0;
    OOC_FLOAT ratio = tile->input[0].scale * tile->input[1].scale;
    int32_t sums[LANES];
    uint32_t column, count, i;
    struct ooc_scale scale;
    int ordinary;
    ratio = ratio / tile->output.scale;
    ordinary = ooc_set_scale(&scale, ratio);
    for (column = 0; column < tile->channels; column += count) {
        count = is_even && tile->channels - column >= LANES ? LANES : 1;
        if (count == LANES) {
            product_columns(tile, in, x, column, sums, LANES);
        } else {
            product_columns(tile, in, x, column, sums, 1);
        }
        for (i = 0; i < count; i++) {
            out[column + i] = (uint8_t)(ordinary ? ooc_scale_sum(&range, range.base, &scale, sums[i], 0)
                                                 : ooc_scale_exactly(&range, ratio, sums[i]));
        }
    }
}

#endif

/* The record: 256 exponentials, entry 255 - d for a value d steps below the greatest one,
 * then the number of output steps per unit. */
static void softmax_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    const int8_t *in = (const int8_t *)ooc_view_pixel(&tile->input[0], y, x);
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    const float steps = ooc_load_float(tile->weights + 4 * 256);
    OOC_FLOAT sum = 0.0f;
    int32_t most = in[0];
    uint32_t i;
    for (i = 1; i < tile->channels; i++) {
        most = in[i] > most ? in[i] : most;
    }
    for (i = 0; i < tile->channels; i++) {
        sum = sum + ooc_load_float(tile->weights + 4 * (255 - most + in[i]));
    }
    for (i = 0; i < tile->channels; i++) {
        OOC_FLOAT share = ooc_load_float(tile->weights + 4 * (255 - most + in[i]));
        share = share * steps;
        share = share / sum;
        out[i] = rounded(tile, share);
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
typedef void tile_kernel(const struct ooc_tile *tile);

static pixel_kernel *pixel_kernel_of(uint8_t kind) {
    switch (kind) {
    case OOC_MAX_POOL: return OOC_HAS(OOC_MAX_POOL) ? max_pool_pixel : NULL;
    case OOC_AVERAGE_POOL: return OOC_HAS(OOC_AVERAGE_POOL) ? average_pool_pixel : NULL;
    case OOC_LOOKUP: return OOC_HAS(OOC_LOOKUP) ? lookup_pixel : NULL;
    case OOC_QUANTIZE: return OOC_HAS(OOC_QUANTIZE) ? quantize_pixel : NULL;
    case OOC_DEQUANTIZE: return OOC_HAS(OOC_DEQUANTIZE) ? dequantize_pixel : NULL;
    case OOC_SOFTMAX: return OOC_HAS(OOC_SOFTMAX) ? softmax_pixel : NULL;
#if OOC_KINDS & (1u << 12) /* OOC_MATMUL */
    case OOC_MATMUL: return matmul_pixel;
#endif
    default: return NULL;
    }
}

static tile_kernel *tile_kernel_of(const struct ooc_stage *stage) {
    switch (stage->kind) {
    case OOC_CONV:
        if (stage->flags & OOC_FLAG_TRANSPOSED) {
            return OOC_HAS(OOC_TRANSPOSED) ? ooc_transposed : NULL;
        }
        return OOC_HAS(OOC_CONV) ? ooc_conv : NULL;
    case OOC_DEPTHWISE: return OOC_HAS(OOC_DEPTHWISE) ? ooc_depthwise : NULL;
    case OOC_ADD: return OOC_HAS(OOC_ADD) ? add_tile : NULL;
    case OOC_MULTIPLY: return OOC_HAS(OOC_MULTIPLY) ? multiply_tile : NULL;
    case OOC_MOVE: return OOC_HAS(OOC_MOVE) ? ooc_move : NULL;
    case OOC_PERMUTE: return OOC_HAS(OOC_PERMUTE) ? permute : NULL;
    default: return NULL;
    }
}

int ooc_has_kernel(const struct ooc_stage *stage) {
#ifdef OOC_FLOATS
    if (stage->flags & OOC_FLAG_FLOAT32) {
        return ooc_has_float(stage);
    }
#endif
    return pixel_kernel_of(stage->kind) != NULL || tile_kernel_of(stage) != NULL;
}

int ooc_kernel(const struct ooc_tile *tile) {
    pixel_kernel *pixel = pixel_kernel_of(tile->stage->kind);
    tile_kernel *whole = tile_kernel_of(tile->stage);
    int32_t y, x;
#ifdef OOC_FLOATS
    if (tile->stage->flags & OOC_FLAG_FLOAT32) {
        ooc_float(tile);
        return OOC_DONE;
    }
#endif
    if (whole != NULL) {
        whole(tile);
        return OOC_DONE;
    }
    if (pixel == NULL) {
        return OOC_ERROR_FORMAT;
    }
    for (y = tile->row[0]; y < tile->row[1]; y++) {
        for (x = tile->column[0]; x < tile->column[1]; x++) {
            pixel(tile, y, x);
        }
    }
    return OOC_DONE;
}
