/* ooc_access.h - how kernels read tables, records and views. Internal to the kernels. */
#ifndef OOC_ACCESS_H
#define OOC_ACCESS_H

#include "ooc_config.h"
#include "ooc_tile.h"

#include <stddef.h>
#include <string.h>

/* Kernels that are not wanted are not referred to, and the compiler drops them. */
#define OOC_HAS(kind) ((OOC_KINDS & (1u << (kind))) != 0)

/* Inner loops are inlined; functions apart keep their stack from adding up. */
#if defined(__GNUC__)
#define OOC_INLINE static inline __attribute__((always_inline))
#define OOC_APART static __attribute__((noinline))
#else
#define OOC_INLINE static inline
#define OOC_APART static
#endif

/* Loads stay behind here: compilers that gather them all first run out of registers. */
#if defined(__GNUC__)
#define OOC_IN_ORDER() __asm__ volatile("" ::: "memory")
#else
#define OOC_IN_ORDER() ((void)0)
#endif

/* Pointers move step by step: compilers that make one pointer per step run out of registers. */
#if defined(__GNUC__)
#define OOC_STEP_BY_STEP(pointer) __asm__ volatile("" : "+r"(pointer) : : "memory")
#else
#define OOC_STEP_BY_STEP(pointer) ((void)0)
#endif

/* Code for what is rare stays out of the way. */
#if defined(__GNUC__)
#define OOC_RARELY(condition) __builtin_expect(!!(condition), 0)
#else
#define OOC_RARELY(condition) (condition)
#endif

static inline uint8_t *ooc_view_row(const struct ooc_view *view, int32_t y) {
    uint32_t bytes = (uint32_t)(y - view->row) * view->row_pitch;
    if (view->record_gap != 0) { /* modulo 2^32, since that of a ring leads back */
        bytes += (uint32_t)(y / view->record_rows - view->record) * view->record_gap;
    }
    return view->base + bytes;
}

static inline uint8_t *ooc_view_pixel(const struct ooc_view *view, int32_t y, int32_t x) {
    return ooc_view_row(view, y) + (uint32_t)(x - view->column) * view->pixel_pitch;
}

static inline int32_t ooc_load_int32(const uint8_t *from) {
    uint32_t bits = (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16
                    | (uint32_t)from[3] << 24;
    int32_t value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

static inline float ooc_load_float(const uint8_t *from) {
    int32_t bits = ooc_load_int32(from);
    float value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* Index of an output pixel in the dense order of the tile. */
static inline uint32_t ooc_tile_pixel(const struct ooc_tile *tile, int32_t y, int32_t x) {
    int32_t columns = tile->column[1] - tile->column[0];
    return (uint32_t)((y - tile->row[0]) * columns + (x - tile->column[0]));
}

/* Output positions or taps [low, high) of one axis. */
struct ooc_span {
    int32_t low;
    int32_t high;
};

/* Taps of one axis that lie inside the input tensor, tap 0 being at `position`. */
static inline struct ooc_span ooc_clip_taps(const struct ooc_stage *stage, int axis, int32_t position,
                                            int32_t size) {
    struct ooc_span taps;
    int32_t dilation = stage->dilation[axis];
    taps.low = 0;
    taps.high = stage->kernel[axis];
    if (position + dilation * (taps.high - 1) >= size) {
        int32_t inside = position < size ? (size - position + dilation - 1) / dilation : 0;
        taps.high = inside < taps.high ? inside : taps.high;
    }
    if (position < 0) {
        taps.low = (dilation - 1 - position) / dilation;
        taps.high = taps.high > taps.low ? taps.high : taps.low;
    }
    return taps;
}

/* Where a tap of an output position of a transposed convolution lies in the input, -1 if nowhere. */
static inline int32_t ooc_source_of(const struct ooc_stage *stage, int axis, int32_t at, int32_t tap,
                                    int32_t size) {
    int32_t from = at + stage->pad[axis] - tap * stage->dilation[axis];
    if (from < 0 || from % stage->stride[axis] != 0) {
        return -1;
    }
    from /= stage->stride[axis];
    return from < size ? from : -1;
}

#endif
