/* pl081.h - Arm PrimeCell PL081 DMA controller: copies from memory to memory.
 *
 * Registers and list items as in the PL081 technical reference manual (ARM DDI 0218).
 * One transfer moves at most 4095 words; longer copies are linked lists of transfers, which
 * the controller fetches by itself, and only the last one raises the interrupt.
 */
#ifndef PL081_H
#define PL081_H

#include <stdint.h>

#define PL081_WORDS 4095u /* most words of one transfer */
#define PL081_LINKS 32u
#define PL081_BYTES (4u * PL081_WORDS * (PL081_LINKS + 1u)) /* most bytes of one copy */

/* A further transfer, as the controller reads it. */
struct pl081_link {
    uint32_t source;
    uint32_t target;
    uint32_t next;
    uint32_t control;
};

struct pl081 {
    uintptr_t base;
    struct pl081_link link[PL081_LINKS]; /* of the copy under way */
};

/* Begin a copy; addresses and size are multiples of 4. The terminal-count interrupt comes
 * when all is copied. Returns 0, or -1 for what the controller cannot do. */
int pl081_copy(struct pl081 *dma, void *target, const void *source, uint32_t bytes);

/* Take the terminal-count interrupt back. */
void pl081_acknowledge(const struct pl081 *dma);

#endif
