/* bench.h - what the generated cases.c hands to bench.c. */
#ifndef BENCH_H
#define BENCH_H

#include "ooc_tile.h"

/* An operator with its data; both inputs have the same size. */
struct bench_case {
    const char *name;
    const uint8_t *input[2];
    const uint8_t *records;
    const uint8_t *expected;
    const uint32_t *record_at; /* offset of each tile's record; one more for their end */
    uint32_t tiles;
    uint32_t shift; /* bytes from an aligned address to each buffer */
    uint32_t input_bytes;
    uint32_t output_bytes;
    uint32_t sums_bytes;
    struct ooc_tensor tensors[3];
    struct ooc_stage stage;
};

extern const struct bench_case bench_cases[];
extern const uint32_t bench_count;

/* Where a kernel finds `bytes` bytes: a buffer of a slot, and a copy of a record or the record itself.
 * A host that looks for reads and writes beyond them gives blocks of just that size. */
uint8_t *bench_buffer(unsigned slot, uint32_t shift, uint32_t bytes);
uint8_t *bench_record(const uint8_t *record, uint32_t bytes);

#endif
