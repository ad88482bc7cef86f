/* ooc_tile.h - one tile of one operator, as a kernel sees it.
 *
 * ooc_tile_set() turns the numbers of a compute command into pointers and pitches, so
 * that kernels need not know about planes, records, granules and boxes. Kernels for a
 * particular chip are written against this struct.
 */
#ifndef OOC_TILE_H
#define OOC_TILE_H

#include "ooc_tables.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Where the elements of one operand lie. Element (y, x) of the first channel is at
 *     base + (y - row) * row_pitch + (y / record_rows - record) * record_gap
 *          + (x - column) * pixel_pitch
 * and the channels of a pixel follow each other. */
struct ooc_view {
    uint8_t *base;
    uint32_t row_pitch; /* bytes, likewise below */
    uint32_t pixel_pitch;
    uint32_t record_gap; /* padding after a record; 0: none between these rows, no division is needed */
    float scale;
    int16_t zero_point;
    uint16_t row; /* of the element at base */
    uint16_t column;
    uint16_t record_rows;
    uint16_t record; /* the one in which base lies */
    uint16_t height; /* of the whole tensor */
    uint16_t width;
    uint16_t channels;
};

/* Bytes behind each row of an operand in storage. */
#ifdef OOC_SEAL
#define OOC_BEHIND_ROW(operand) ((uint32_t)(operand)->seal)
#else
#define OOC_BEHIND_ROW(operand) 0u
#endif

/* Along an axis, output position p needs input positions floor((p * step + start) / period) up to and
 * including floor((p * step + start + extra) / period), as far as those exist. */
struct ooc_reading {
    int32_t step;
    int32_t start;
    int32_t extra;
    int32_t period; /* positive */
};

struct ooc_tile {
    const struct ooc_stage *stage;
    const struct ooc_axis *axes; /* of a permutation or move */
    struct ooc_view input[2];
    struct ooc_view output;
    uint32_t patch[2]; /* number of the tile among those along rows and columns */
    int32_t row[2]; /* output rows [row[0], row[1]), columns likewise */
    int32_t column[2];
    int32_t height; /* of the input tensor: taps outside of it are padding */
    int32_t width;
    uint32_t channels; /* output channels of the tile */
    uint32_t depth; /* input channels in the buffer that this tile sums over */
    uint32_t group_outputs; /* convolution: output and input channels of one group */
    uint32_t group_inputs;
    uint32_t first_channel; /* first output channel */
    uint32_t element_bytes; /* of the output */
    const uint8_t *bias; /* int32 (float32) per output channel, little-endian; null before the last split */
    const uint8_t *multiplier; /* float32 per output channel, little-endian; null for float32 */
    const uint8_t *weights;
    uint8_t *sums; /* partial sums, int32 (float32) [rows][columns][channels]; null if not split */
    uint8_t first; /* first split: the partial sums are not valid yet */
    uint8_t last; /* last split: the output is due */
};

/* The five addresses of a compute command. */
enum ooc_slot {
    OOC_SLOT_INPUT_0,
    OOC_SLOT_INPUT_1,
    OOC_SLOT_WEIGHTS,
    OOC_SLOT_OUTPUT,
    OOC_SLOT_SUMS,
    OOC_SLOTS
};

/* Describe tile `number` of a stage. address: SRAM addresses by enum ooc_slot, null where
 * the command has none. */
void ooc_tile_set(struct ooc_tile *tile, const struct ooc_model *model, const struct ooc_stage *stage,
                  uint32_t number, uint8_t *const address[OOC_SLOTS]);

/* What an axis of a stage (0: rows, 1: columns, of a move 2: channels) needs of input k. */
struct ooc_reading ooc_reading(const struct ooc_tile *tile, int k, int axis);

/* value / divisor, rounded down; the divisor is positive. */
int32_t ooc_floor(int32_t value, int32_t divisor);

/* Offset in bytes of row y of a plane from the start of that plane; rows of row_bytes
 * bytes. */
uint32_t ooc_row_offset(const struct ooc_operand *operand, uint32_t y, uint32_t row_bytes);

/* Number of channels of a plane. */
uint32_t ooc_plane_width(const struct ooc_operand *operand, uint32_t plane, uint32_t channels);

/* value rounded up to a multiple of granule. */
uint32_t ooc_align(uint32_t value, uint32_t granule);

#ifdef __cplusplus
}
#endif

#endif
