/* ooc_unpack.c - weights of four bits: two to a byte in storage, a byte each for the kernels. */
#include "ooc_unpack.h"

#include <stddef.h>

#ifdef OOC_PACKED

/* The number from -8 to 7 that the lower half of a byte stands for. */
static uint8_t number(uint32_t byte) {
    return (uint8_t)(((byte & 15u) ^ 8u) - 8u);
}

/* From the last pair to the first: each byte is read before what it holds is written over it, or behind it. */
static void spread(uint8_t *weights, uint32_t count) {
    uint8_t *to = weights + count;
    uint32_t pair = count / 2u;
    if (count % 2u != 0u) {
        to--;
        *to = number(weights[pair]);
    }
    while (pair > 0u) {
        uint32_t both;
        pair--;
        both = weights[pair];
        to -= 2;
        to[0] = number(both);
        to[1] = number(both >> 4);
    }
}

void ooc_unpack(const struct ooc *o, const struct ooc_command *command, uint8_t *sram) {
    const struct ooc_packing *packing = o->model->packings;
    if (packing != NULL) {
        packing += command->word[1];
        spread(sram + packing->start, packing->weights);
    }
}

int ooc_unpack_check(const struct ooc *o, const struct ooc_command *command) {
    const struct ooc_model *model = o->model;
    const struct ooc_shape *shape = &model->shapes[command->word[1]];
    const struct ooc_packing *packing = model->packings;
    uint64_t stored, end;
    if (packing == NULL || packing[command->word[1]].weights == 0u) {
        return 1;
    }
    packing += command->word[1];
    stored = (uint64_t)packing->start + (packing->weights + UINT64_C(1)) / 2u;
    end = (uint64_t)packing->start + packing->weights;
    return (command->word[2] == (uint16_t)OOC_REGION_IMAGE || command->word[2] == (uint16_t)OOC_REGION_ANNEX)
           && command->word[3] == OOC_CHECKED
           && shape->segments == 1u && stored < shape->bytes && end <= UINT32_MAX
           && ooc_address(o, (uint32_t)command->word[0] * model->unit, (uint32_t)end) != NULL;
}

#else
typedef char ooc_has_no_packed_weights; /* C wants a declaration */
#endif
