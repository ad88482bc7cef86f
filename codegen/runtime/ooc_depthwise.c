/* ooc_depthwise.c - convolutions of one input channel per output channel. */
#include "ooc_conv.h"

#include "ooc_simd.h"
#include "ooc_windows.h"

#if OOC_KINDS & (1u << 1) /* OOC_DEPTHWISE */

/* Four channels at once: their sums, `lanes`; their weights of one tap, `weights`. */

#if defined(OOC_MVE)

typedef int32x4_t lanes;
typedef int32x4_t weights;

OOC_INLINE lanes load_lanes(const int32_t from[OOC_BLOCK]) {
    return vld1q_s32(from);
}

OOC_INLINE void store_lanes(lanes from, int32_t to[OOC_BLOCK]) {
    vst1q_s32(to, from);
}

OOC_INLINE weights load_weights(const int8_t *from) {
    return vldrbq_s32(from);
}

OOC_INLINE lanes add_products(lanes sums, const int8_t *x, weights w, int32_t less) {
    (void)less; /* the inputs are not OOC_CENTRED */
    return vaddq_s32(sums, vmulq_s32(vldrbq_s32(x), w));
}

OOC_INLINE lanes less_times(lanes from, lanes sums, int32_t zero) {
    return vsubq_s32(from, vmulq_n_s32(sums, zero));
}

OOC_INLINE lanes add_weights(lanes sums, weights w) {
    return vaddq_s32(sums, w);
}

#else

typedef struct {
    int32_t s0, s1, s2, s3;
} lanes;

OOC_INLINE lanes load_lanes(const int32_t from[OOC_BLOCK]) {
    lanes to = {from[0], from[1], from[2], from[3]};
    return to;
}

OOC_INLINE void store_lanes(lanes from, int32_t to[OOC_BLOCK]) {
    to[0] = from.s0;
    to[1] = from.s1;
    to[2] = from.s2;
    to[3] = from.s3;
}

#if defined(OOC_DSP)

typedef struct {
    int16x2_t even, odd;
} weights;

OOC_INLINE weights load_weights(const int8_t *from) {
    int8x4_t bytes = ooc_load4(from);
    weights w = {__sxtb16(bytes), ooc_odd(bytes)};
    return w;
}

OOC_INLINE lanes add_products(lanes sums, const int8_t *x, weights w, int32_t less) {
    int8x4_t bytes = ooc_load4(x);
    int16x2_t even = __sxtab16(less, bytes), odd = ooc_odd_less(less, bytes);
    sums.s0 = __smlabb(even, w.even, sums.s0);
    sums.s1 = __smlabb(odd, w.odd, sums.s1);
    sums.s2 = __smlatt(even, w.even, sums.s2);
    sums.s3 = __smlatt(odd, w.odd, sums.s3);
    return sums;
}

#else

typedef lanes weights;

OOC_INLINE weights load_weights(const int8_t *from) {
    weights w = {from[0], from[1], from[2], from[3]};
    return w;
}

OOC_INLINE lanes add_products(lanes sums, const int8_t *x, weights w, int32_t less) {
    (void)less; /* the inputs are not OOC_CENTRED */
    sums.s0 += x[0] * w.s0;
    sums.s1 += x[1] * w.s1;
    sums.s2 += x[2] * w.s2;
    sums.s3 += x[3] * w.s3;
    return sums;
}

OOC_INLINE lanes add_weights(lanes sums, weights w) {
    lanes more = {sums.s0 + w.s0, sums.s1 + w.s1, sums.s2 + w.s2, sums.s3 + w.s3};
    return more;
}

OOC_INLINE lanes less_times(lanes from, lanes sums, int32_t zero) {
    lanes rest = {from.s0 - zero * sums.s0, from.s1 - zero * sums.s1, from.s2 - zero * sums.s2,
                  from.s3 - zero * sums.s3};
    return rest;
}

#endif
#endif

/* ------------------------------------------------------------------- weights of taps */

#define WIDE 3u /* taps in a row of the most frequent kernels by far */

#if defined(OOC_DSP) || defined(OOC_THUMB2)

/* Those of a small kernel are made ready once for all pixels of a block. */
#define MOST_TAPS (3u * WIDE)
#define IS_READY(stage) ((stage)->kernel[1] == WIDE && (stage)->kernel[0] * WIDE <= MOST_TAPS)
typedef weights tap;

struct filter {
    int32_t start[OOC_BLOCK]; /* of the sums of an area */
    tap taps[MOST_TAPS];
};

static void set_filter(const struct ooc_block *block, const struct ooc_windows *windows, struct filter *filter) {
    const uint32_t taps = block->tile->stage->kernel[0] * WIDE;
    const int8_t *w = block->weights;
    uint32_t i;
    for (i = 0; i < taps; i++) {
        filter->taps[i] = load_weights(w);
        w += windows->tap_bytes;
    }
}

OOC_INLINE const tap *first_of(const struct ooc_windows *windows, const struct filter *filter) {
    return filter->taps + windows->first_tap;
}

#else

/* They are used as they lie. */
#define IS_READY(stage) ((stage)->kernel[1] == WIDE)
typedef int8_t tap;

struct filter {
    int32_t start[OOC_BLOCK]; /* of the sums of an area */
};

static void set_filter(const struct ooc_block *block, const struct ooc_windows *windows, struct filter *filter) {
    (void)block;
    (void)windows;
    (void)filter;
}

OOC_INLINE const tap *first_of(const struct ooc_windows *windows, const struct filter *filter) {
    (void)filter;
    return windows->weights;
}

#endif

/* ---------------------------------------------------------------- sums of one pixel */

#if defined(OOC_THUMB2)

/* Two weights per load, and no more registers than there are: compilers spill or move the sums. */
#define TAP \
    "ldrd %[u], %[v], [%[w]], #8\n\t" \
    "ldrsb %[a], [%[x]]\n\t" \
    "mla %[s0], %[u], %[a], %[s0]\n\t" \
    "ldrsb %[u], [%[x], #1]\n\t" \
    "ldrsb %[a], [%[x], #2]\n\t" \
    "mla %[s1], %[v], %[u], %[s1]\n\t" \
    "ldrd %[u], %[v], [%[w]], #8\n\t" \
    "mla %[s2], %[u], %[a], %[s2]\n\t" \
    "ldrsb %[a], [%[x], #3]\n\t" \
    "mla %[s3], %[v], %[a], %[s3]\n\t"
#define STEP "add %[x], %[in]\n\t"
#define ADD_ROWS(taps, behind) \
    __asm__ volatile("0:\n\t" taps behind "add %[x], %[rest]\n\tsubs %[rows], #1\n\tbne 0b" \
                     : [s0] "+r"(sums.s0), [s1] "+r"(sums.s1), [s2] "+r"(sums.s2), [s3] "+r"(sums.s3), \
                       [x] "+r"(x), [w] "+r"(w), [rows] "+r"(rows), [u] "=&r"(u), [v] "=&r"(v), [a] "=&r"(a) \
                     : [in] "r"(in), [rest] "r"(rest) \
                     : "cc", "memory")

/* A pixel on its way through its taps. */
struct walk {
    const int8_t *x;
    const tap *w;
    lanes sums;
};

/* Add the products of some rows of taps: of the three in a row, the first `wide` ones. */
OOC_INLINE void add_rows(const struct ooc_windows *windows, struct walk *at, uint32_t rows, uint32_t wide) {
    const uint32_t in = windows->run_step, rest = windows->row_step - (wide - 1) * in;
    const int8_t *x = at->x;
    const tap *w = at->w;
    lanes sums = at->sums;
    int32_t u, v, a;
    if (wide == 3) {
        ADD_ROWS(TAP STEP TAP STEP TAP, "");
    } else {
        ADD_ROWS(TAP STEP TAP, "add %[w], #16\n\t");
    }
    at->x = x;
    at->w = w;
    at->sums = sums;
}

#else

#if defined(OOC_DSP)

OOC_INLINE uint32_t tap_pitch(const struct ooc_windows *windows) {
    (void)windows;
    return 1;
}

OOC_INLINE weights weights_of(const tap *at) {
    return *at;
}

#else

OOC_INLINE uint32_t tap_pitch(const struct ooc_windows *windows) {
    return windows->tap_bytes;
}

OOC_INLINE weights weights_of(const tap *at) {
    return load_weights(at);
}

#endif

/* A pixel on its way through its taps. */
struct walk {
    const int8_t *x;
    const tap *w;
    lanes sums;
};

OOC_INLINE void add_tap(struct walk *at, int32_t less, uint32_t x_step, uint32_t w_step) {
    at->sums = add_products(at->sums, at->x, weights_of(at->w), less);
    at->x += x_step;
    at->w += w_step;
    OOC_STEP_BY_STEP(at->x);
}

/* Add the products of some rows of taps: of the three in a row, the first `wide` ones. */
OOC_INLINE void add_rows(const struct ooc_windows *windows, struct walk *at, uint32_t rows, uint32_t wide) {
    const uint32_t in = windows->run_step, rest = windows->row_step - (wide - 1) * in;
    const uint32_t pitch = tap_pitch(windows);
    const int32_t less = windows->less;
    do {
        add_tap(at, less, in, pitch);
        if (wide == 3) {
            add_tap(at, less, in, pitch);
        }
        add_tap(at, less, rest, (WIDE - wide + 1) * pitch);
    } while (--rows > 0);
}

#endif

/* Add up the taps of one pixel, from the area's first on. Where the rows of the input are a ring, they may
 * begin anew once: `wraps`. */
OOC_INLINE lanes add_ready_taps(const struct ooc_block *block, const struct ooc_windows *windows,
                                const struct filter *filter, const int8_t *x, uint32_t wide, int wraps) {
    struct walk at;
    at.x = x;
    at.w = first_of(windows, filter);
    at.sums = load_lanes(filter->start);
    if (wraps) {
        add_rows(windows, &at, windows->cut, wide);
        at.x += (int32_t)block->tile->input[0].record_gap;
        add_rows(windows, &at, windows->rows - windows->cut, wide);
    } else {
        add_rows(windows, &at, windows->rows, wide);
    }
    return at.sums;
}

/* Likewise, any number of taps, and their rows wherever they are. */
OOC_APART void add_taps(const struct ooc_tile *tile, const struct ooc_windows *windows, const struct filter *filter,
                        const int8_t *in, int32_t to[OOC_BLOCK]) {
    const uint32_t step = windows->run_step, pitch = windows->tap_bytes;
    const int32_t less = windows->less;
    const int8_t *w_row = windows->weights;
    lanes sums = load_lanes(filter->start);
    uint32_t row, run;
    for (row = 0; row < windows->rows; row++) {
        const int8_t *x = in + ooc_tap_row(tile, windows, row), *w = w_row;
        for (run = windows->runs; run > 0; run--) {
            sums = add_products(sums, x, load_weights(w), less);
            x += step;
            w += pitch;
        }
        w_row += windows->weight_row_step;
    }
    store_lanes(sums, to);
}

/* Likewise, of one channel. */
OOC_APART int32_t channel_sum(const struct ooc_tile *tile, const struct ooc_windows *windows, const int8_t *in,
                              const int8_t *w_row) {
    uint32_t row, run;
    int32_t sum = 0;
    for (row = 0; row < windows->rows; row++) {
        const int8_t *x = in + ooc_tap_row(tile, windows, row), *w = w_row;
        for (run = windows->runs; run > 0; run--) {
            sum += (*x - windows->zero) * *w;
            x += windows->run_step;
            w += windows->tap_bytes;
        }
        w_row += windows->weight_row_step;
    }
    return sum;
}

/* ---------------------------------------------------------------------------- areas */

enum way { FEW_CHANNELS, ANY_TAPS, TWO_WIDE, THREE_WIDE, TWO_WIDE_WRAPPED, THREE_WIDE_WRAPPED };

OOC_INLINE lanes full_sums(const struct ooc_block *block, const struct ooc_windows *windows,
                           const struct filter *filter, const int8_t *in, enum way way) {
    int32_t sums[OOC_BLOCK];
    switch (way) {
    case THREE_WIDE: return add_ready_taps(block, windows, filter, in, 3, 0);
    case TWO_WIDE: return add_ready_taps(block, windows, filter, in, 2, 0);
    case THREE_WIDE_WRAPPED: return add_ready_taps(block, windows, filter, in, 3, 1);
    case TWO_WIDE_WRAPPED: return add_ready_taps(block, windows, filter, in, 2, 1);
    default: add_taps(block->tile, windows, filter, in, sums); return load_lanes(sums);
    }
}

/* Compute one pixel of a full block. */
OOC_INLINE void full_pixel(const struct ooc_block *block, const struct ooc_windows *windows,
                           const struct filter *filter, const int8_t *in, uint8_t *out, enum way way) {
    lanes sums = full_sums(block, windows, filter, in, way);
    if (block->plain) {
        int32_t local[OOC_BLOCK];
        store_lanes(sums, local);
        ooc_store(block, out, local);
    } else {
        int32_t stored[OOC_BLOCK]; /* apart, for only this one need be in memory */
        store_lanes(sums, stored);
        ooc_finish_any(block, out, NULL, stored);
    }
}

/* Compute one pixel of a tile that has fewer channels than a block. */
OOC_INLINE void few_pixel(const struct ooc_block *block, const struct ooc_windows *windows, const int8_t *in,
                          uint8_t *out) {
    int32_t sums[OOC_BLOCK];
    uint32_t i;
    for (i = 0; i < block->count; i++) {
        sums[i] = block->bias[i] + channel_sum(block->tile, windows, in + i, windows->weights + i);
    }
    ooc_finish_any(block, out, NULL, sums);
}

OOC_INLINE void do_area(const struct ooc_block *block, const struct ooc_windows *windows,
                        const struct filter *filter, enum way way) {
    const int8_t *in_line = windows->in;
    uint8_t *out_line = windows->out;
    uint32_t line, left;
    for (line = windows->lines; line > 0; line--) {
        const int8_t *in = in_line;
        uint8_t *out = out_line;
        for (left = windows->pixels; left > 0; left--) {
            if (way == FEW_CHANNELS) {
                few_pixel(block, windows, in, out);
            } else {
                full_pixel(block, windows, filter, in, out, way);
            }
            in += windows->pixel.in;
            out += windows->pixel.out;
        }
        in_line += windows->down.in;
        out_line += windows->down.out;
    }
}

OOC_APART void three_wide_area(const struct ooc_block *block, const struct ooc_windows *windows,
                               const struct filter *filter) {
    do_area(block, windows, filter, THREE_WIDE);
}

/* Next to the padding. */
OOC_APART void two_wide_area(const struct ooc_block *block, const struct ooc_windows *windows,
                             const struct filter *filter) {
    do_area(block, windows, filter, TWO_WIDE);
}

OOC_APART void three_wide_wrapped_area(const struct ooc_block *block, const struct ooc_windows *windows,
                                       const struct filter *filter) {
    do_area(block, windows, filter, THREE_WIDE_WRAPPED);
}

OOC_APART void two_wide_wrapped_area(const struct ooc_block *block, const struct ooc_windows *windows,
                                     const struct filter *filter) {
    do_area(block, windows, filter, TWO_WIDE_WRAPPED);
}

OOC_APART void any_area(const struct ooc_block *block, const struct ooc_windows *windows,
                        const struct filter *filter) {
    do_area(block, windows, filter, ANY_TAPS);
}

OOC_APART void few_channels_area(const struct ooc_block *block, const struct ooc_windows *windows) {
    do_area(block, windows, NULL, FEW_CHANNELS);
}

#if OOC_CENTRED

OOC_INLINE lanes start_of(const struct ooc_block *block, const struct ooc_windows *windows) {
    (void)windows;
    return load_lanes(block->bias);
}

#else

/* The sum of (x - zero) * w is the sum of x * w less zero times the sum of w. */
OOC_INLINE lanes start_of(const struct ooc_block *block, const struct ooc_windows *windows) {
    const int32_t none[OOC_BLOCK] = {0, 0, 0, 0};
    const int8_t *w_row = windows->weights;
    lanes sums = load_lanes(none);
    uint32_t row, run;
    for (row = windows->rows; row > 0; row--) {
        const int8_t *w = w_row;
        for (run = windows->runs; run > 0; run--) {
            sums = add_weights(sums, load_weights(w));
            w += windows->tap_bytes;
        }
        w_row += windows->weight_row_step;
    }
    return less_times(load_lanes(block->bias), sums, windows->zero);
}

#endif

static void ready_area(const struct ooc_block *block, const struct ooc_windows *windows,
                       const struct filter *filter) {
    const int is_three_wide = windows->runs == WIDE;
    if (windows->gaps == 0) {
        if (is_three_wide) {
            three_wide_area(block, windows, filter);
        } else {
            two_wide_area(block, windows, filter);
        }
    } else if (is_three_wide) {
        three_wide_wrapped_area(block, windows, filter);
    } else {
        two_wide_wrapped_area(block, windows, filter);
    }
}

static void full_area(const struct ooc_block *block, const struct ooc_windows *windows, struct filter *filter) {
    store_lanes(start_of(block, windows), filter->start);
    if (IS_READY(block->tile->stage) && windows->gaps <= 1 && windows->rows > 0 && windows->runs > 1) {
        ready_area(block, windows, filter);
    } else {
        any_area(block, windows, filter);
    }
}

static void depthwise_block(const struct ooc_block *block, struct ooc_windows *windows, struct filter *filter) {
    if (block->count == OOC_BLOCK && IS_READY(block->tile->stage)) {
        set_filter(block, windows, filter);
    }
    ooc_rewind(block->tile, windows);
    while (ooc_next_area(block, windows)) {
        if (block->count == OOC_BLOCK) {
            full_area(block, windows, filter);
        } else {
            few_channels_area(block, windows);
        }
    }
}

/* Channels that do not fill a block are computed in one with some before them. */
void ooc_depthwise(const struct ooc_tile *tile) {
    const uint32_t count = tile->channels < OOC_BLOCK ? tile->channels : OOC_BLOCK;
    struct ooc_windows windows;
    struct ooc_block block;
    struct filter filter;
    uint32_t done;
    windows.tap_bytes = (uint16_t)tile->channels;
    windows.run_bytes = 1;
    windows.channel_bytes = 1;
    windows.dense = 0; /* a run is one tap */
    ooc_begin(tile, &windows);
    for (done = 0; done < tile->channels; done += count) {
        uint32_t channel = done + count <= tile->channels ? done : tile->channels - count;
        ooc_set_block(&block, tile, channel, count);
        block.input_offset = (uint16_t)channel;
        block.weights = (const int8_t *)tile->weights + channel;
        depthwise_block(&block, &windows, &filter);
    }
}

#endif
