/* ooc_tables.h - the shape of the tables that ooc-solve emits for one model.
 *
 * Everything that varies from model to model is in const tables of these types;
 * the runtime (ooc.c, ooc_kernels.c) is the same for all. codegen/SPEC.md describes
 * the format for those who write another runtime or another generator.
 *
 * Tensors are height x width x channels, channels innermost. Intervals are half-open.
 * All multi-byte values are in the byte order of the machine that runs the tables;
 * the storage image is little-endian.
 */
#ifndef OOC_TABLES_H
#define OOC_TABLES_H

#include <stdint.h>

/* Raised whenever a table or image written for an older runtime would be misread. */
#define OOC_FORMAT 5

#define OOC_MAX_STREAMS 4 /* one compute stream, up to three IO channels and engines */
#define OOC_MAX_BANKS 4
#define OOC_NOWHERE 0xFFFFu /* an address field that the command does not use */
#define OOC_TRANSFER 0xFFFFu /* in ooc_command.stage: the command is a transfer */
#define OOC_CRYPTO 0xFFFEu /* likewise: it opens or seals the records of a transfer in SRAM (OOC_SEAL) */

/* Number of bytes of an on-storage image header, before padding to the granule. */
#define OOC_HEADER_BYTES 64u

enum ooc_kind {
    OOC_CONV = 0,
    OOC_DEPTHWISE = 1,
    OOC_MAX_POOL = 2,
    OOC_AVERAGE_POOL = 3,
    OOC_ADD = 4,
    OOC_LOOKUP = 5,
    OOC_QUANTIZE = 6,
    OOC_DEQUANTIZE = 7,
    OOC_SOFTMAX = 8,
    OOC_MOVE = 9,
    OOC_PERMUTE = 10,
    OOC_MULTIPLY = 11,
    OOC_MATMUL = 12
};

/* In OOC_KINDS: stages of OOC_CONV with OOC_FLAG_TRANSPOSED. */
#define OOC_TRANSPOSED 13

/* A tensor: logical shape and quantisation (real = scale * (stored - zero_point)). */
struct ooc_tensor {
    uint16_t height;
    uint16_t width;
    uint16_t channels;
    int16_t zero_point;
    float scale;
    uint8_t element_bytes;
    uint8_t reserved[3];
};

/* How a stage sees one operand.
 *
 * Resident: the buffer holds the whole tensor, rows of width * channels elements.
 * Streamed: the buffer holds what one transfer moves. In storage the tensor is cut
 * into planes of plane_channels channels (the last may be narrower), each plane into
 * records of record_rows rows; a record is dense and starts on a granule:
 *
 *     bytes(row in plane p)    = width * channels(p) * element_bytes + seal
 *     bytes(record in plane p) = record_rows * bytes(row), rounded up to the granule
 *     offset(p, y)             = p * plane_pitch + (y / record_rows) * bytes(record)
 *                                + (y % record_rows) * bytes(row)
 *
 * A streamed input buffer begins with the granule that contains the first byte of
 * the tile's input box; when the box is narrower than the tensor each of its rows is
 * a segment of its own, of equal length, one after the other in SRAM.
 * A streamed output buffer holds the tile densely, with `seal` bytes behind each row.
 *
 * Patch: the tensor is made and used inside a fused stage. The buffer holds the tile of
 * stage `maker` in the same row and column of tiles, densely, all channels of it; or, if
 * record_rows is not 0, so many rows of that tile's columns, row y at y % record_rows.
 */
enum ooc_place { OOC_RESIDENT = 0, OOC_STREAMED = 1, OOC_PATCH = 2 };
struct ooc_operand {
    uint16_t tensor; /* index into ooc_model.tensors */
    uint16_t plane_channels;
    uint16_t record_rows;
    uint16_t granule; /* bytes */
    uint32_t plane_pitch;
    uint8_t place; /* enum ooc_place */
    uint8_t seal; /* bytes behind each row where rows are sealed, otherwise 0 */
    uint16_t maker; /* of a patch: the stage that computes it */
};

/* Tiles along an axis: tile i is [i * pitch - lead, i * pitch - lead + extent), clipped to the
 * tensor; the first begins at 0. */
struct ooc_cut {
    uint16_t count;
    uint16_t pitch;
    int16_t lead;
    uint16_t extent;
};

/* One operator and its tiling. Tile number of (row, column, group, split):
 *     ((row * columns + column) * groups + group) * splits + split
 */
struct ooc_stage {
    uint8_t kind; /* enum ooc_kind */
    uint8_t inputs; /* number of activation operands */
    uint8_t flags; /* OOC_FLAG_* */
    int8_t fill; /* move: what stands where no input has anything; lookup of float32: enum ooc_function_kind */
    uint8_t kernel[2]; /* vertical, horizontal; likewise below */
    uint8_t stride[2];
    uint8_t dilation[2];
    uint8_t pad[2]; /* top, left */
    uint16_t conv_groups;
    uint16_t first_axis; /* permutation, move: index into ooc_model.axes */
    struct ooc_cut tiles[2]; /* rows, columns */
    uint16_t tile_channels;
    uint16_t split_channels; /* input channels per partial sum; all of them if not split */
    int16_t clamp_low; /* of float32, INT16_MIN: no limit; */
    int16_t clamp_high; /* likewise INT16_MAX */
    struct ooc_operand operand[3]; /* input 0, input 1, output */
};

#define OOC_FLAG_COUNT_PAD 1u /* average pool: padding counts in the divisor */
#define OOC_FLAG_TABLE_PER_CHANNEL 2u /* lookup: one table of 256 bytes per channel */
#define OOC_FLAG_TRANSPOSED 4u /* convolution: input positions lie `stride` output positions apart;
                                    product: the second matrix is turned */
#define OOC_FLAG_EDGES 8u /* move: where an input has nothing, the nearest that it has */
#define OOC_FLAG_UNSIGNED 16u /* add, multiply, average pool: the model's integers are 128 above the stored ones */
#define OOC_FLAG_FLOATS 32u /* average pool: sums are float */
#define OOC_FLAG_FLOAT32 64u /* a kind that computes: its tensors, weights and sums are float32 */

/* One axis of a permutation, outermost first; five per permutation, unused ones have size 1.
 * Or one axis of an input of a move, three per input: rows, columns, channels. Output position p is
 * input position floor((p * step + start) / period), if that exists. */
#define OOC_PERMUTE_AXES 5
#define OOC_MOVE_AXES 3
struct ooc_axis {
    uint32_t size; /* move: step + 65536 * period, both below 32768 */
    uint32_t stride; /* input elements; move: start, modulo 2^32 */
};

/* What a transfer moves: `segments` times `bytes`, `pitch` bytes apart in storage,
 * one after the other in SRAM. */
struct ooc_shape {
    uint32_t bytes;
    uint32_t pitch;
    uint16_t segments;
    uint16_t reserved;
};

/* Of the shape with the same number, where a record has weights of four bits: they begin at byte `start`, the
 * first of two in the lower half of a byte. Before the first kernel that waits for the record they are spread
 * there, a byte each; the buffer has room for that. No weights: nothing is packed. */
struct ooc_packing {
    uint32_t start;
    uint32_t weights;
};

/* One command of one stream, as ooc_command.h reads it from the packed words.
 *
 * With it comes by how much the number of completed commands required of each other stream
 * rises (streams in ascending order, own one left out). The command may start when every
 * other stream has completed its required number.
 *
 * compute:  stage = index, word = {tile, input 0, input 1, weights, output, accumulator}
 * transfer: stage = OOC_TRANSFER, word = {sram, shape, region, flags, offset low, offset high}
 * crypto:   stage = OOC_CRYPTO, word = that of the load that is opened, or of the store that is sealed for
 *
 * SRAM addresses count units of ooc_model.unit bytes over all banks laid end to end;
 * offsets count bytes from the start of the region.
 */
struct ooc_command {
    uint16_t stage;
    uint16_t word[6];
};

#define OOC_STORE 1u /* transfer flag: SRAM to storage; otherwise storage to SRAM */
#define OOC_CHECKED 2u /* transfer flag: the last 4 bytes are a checksum of all before them, padding included;
                        * in a model with a cipher the last OOC_SEAL_BYTES are nonce and tag */

/* A part of a store. */
enum ooc_region_id {
    OOC_REGION_IMAGE = 0,
    OOC_REGION_INPUT = 1,
    OOC_REGION_OUTPUT = 2,
    OOC_REGION_SCRATCH = 3,
    OOC_REGION_ANNEX = 4 /* a second image, on another store; with OOC_ANNEX only */
};
#ifdef OOC_ANNEX
#define OOC_REGIONS 5
#else
#define OOC_REGIONS 4
#endif
struct ooc_region {
    uint32_t base; /* bytes from the start of the store */
    uint32_t bytes;
    uint8_t store; /* 0: weights, then activations and annex as far as they are other parts */
    uint8_t reserved[3];
};

/* Where a network input or output lies: in a region (operand.place) or in the arena. */
struct ooc_binding {
    struct ooc_operand operand;
    uint32_t offset; /* bytes from the start of the region, or SRAM address in bytes */
    uint32_t bytes; /* dense size of the tensor */
};

/* The last stream may be that of an engine that opens and seals records beside the CPU. Its commands are the loads
 * whose records it opens, once more, and the stores whose records it seals. (OOC_ENGINE) */
#define OOC_ENGINE_CHANNEL 0xFEu

struct ooc_stream {
    const uint16_t *code; /* cells and loops: ooc_command.h */
    uint32_t words; /* of code */
    uint32_t count; /* commands, loops run through */
    uint8_t channel; /* IO channel number given to the port; 0xFF: the compute stream; OOC_ENGINE_CHANNEL */
    uint8_t store; /* store behind the channel; 0xFF: none */
    uint8_t reserved[2];
};

/* Where the scratch region takes turns: `places` of `step` bytes each, from its base on. In each, right behind the
 * region, `note` bytes say which run used it last (ooc_ring.h). They go through SRAM from address `buffer` on. */
struct ooc_ring {
    uint32_t step;
    uint16_t places;
    uint16_t buffer;
    uint16_t note;
    uint16_t reserved;
};

struct ooc_model {
    uint16_t format; /* OOC_FORMAT */
    uint16_t unit; /* bytes per SRAM address unit */
    uint8_t streams;
    uint8_t banks;
    uint8_t inputs;
    uint8_t outputs;
    uint32_t bank_bytes[OOC_MAX_BANKS]; /* arena bytes needed in each bank */
    uint8_t digest[32]; /* must equal the one in the image header */
    struct ooc_region region[OOC_REGIONS];
    struct ooc_stream stream[OOC_MAX_STREAMS];
    const struct ooc_tensor *tensors;
    const struct ooc_stage *stages;
    const struct ooc_shape *shapes;
    const struct ooc_axis *axes;
    const struct ooc_binding *bindings; /* inputs, then outputs */
    uint16_t tensor_count;
    uint16_t stage_count;
    uint16_t shape_count;
    uint16_t axis_count;
#ifdef OOC_SEAL
    uint8_t cipher; /* enum ooc_cipher */
    uint8_t reserved;
    uint16_t sealed_count;
    const struct ooc_binding *sealed; /* tensors in the scratch region, by their offsets there */
    struct ooc_region journal; /* two slots, one after the other; no bytes if nothing is spilled */
#endif
#ifdef OOC_RING
    struct ooc_ring ring;
#endif
#ifdef OOC_PACKED
    const struct ooc_packing *packings; /* one per shape, or NULL */
#endif
};

#endif
