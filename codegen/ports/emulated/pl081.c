/* pl081.c - Arm PrimeCell PL081 DMA controller: copies from memory to memory. */
#include "pl081.h"

#define REGISTER(dma, offset) (*(volatile uint32_t *)((dma)->base + (offset)))
#define TERMINAL_COUNT_CLEAR 0x008u
#define CONFIGURATION 0x030u
#define CHANNEL_SOURCE 0x100u
#define CHANNEL_TARGET 0x104u
#define CHANNEL_LINK 0x108u
#define CHANNEL_CONTROL 0x10Cu
#define CHANNEL_CONFIGURATION 0x110u

#define CONTROL_INTERRUPT (1u << 31)
#define CONTROL_WORDS (1u << 27 | 1u << 26 | 2u << 21 | 2u << 18) /* both addresses rise, words */
#define CHANNEL_ENABLE 1u
#define CHANNEL_INTERRUPT (1u << 15)

static uint32_t address_of(const void *pointer) {
    return (uint32_t)(uintptr_t)pointer;
}

/* Describe the next transfer of a copy and step over what it moves. */
static void describe(struct pl081_link *link, uint32_t *target, uint32_t *source, uint32_t *words) {
    uint32_t now = *words < PL081_WORDS ? *words : PL081_WORDS;
    *words -= now;
    link->source = *source;
    link->target = *target;
    link->next = 0;
    link->control = (*words == 0 ? CONTROL_INTERRUPT : 0) | CONTROL_WORDS | now;
    *source += 4 * now;
    *target += 4 * now;
}

int pl081_copy(struct pl081 *dma, void *target, const void *source, uint32_t bytes) {
    uint32_t to = address_of(target), from = address_of(source), words = bytes / 4;
    struct pl081_link first;
    struct pl081_link *last = &first;
    uint32_t k;

    if (((to | from | bytes) & 3u) != 0 || bytes == 0 || bytes > PL081_BYTES) {
        return -1;
    }
    describe(&first, &to, &from, &words);
    for (k = 0; words > 0; k++) {
        last->next = address_of(&dma->link[k]);
        last = &dma->link[k];
        describe(last, &to, &from, &words);
    }
    /* Off while it is programmed: the controller starts, and interrupts, when it is switched on. */
    REGISTER(dma, CONFIGURATION) = 0;
    REGISTER(dma, CHANNEL_SOURCE) = first.source;
    REGISTER(dma, CHANNEL_TARGET) = first.target;
    REGISTER(dma, CHANNEL_LINK) = first.next;
    REGISTER(dma, CHANNEL_CONTROL) = first.control;
    REGISTER(dma, CHANNEL_CONFIGURATION) = CHANNEL_INTERRUPT | CHANNEL_ENABLE;
    REGISTER(dma, CONFIGURATION) = 1;
    return 0;
}

void pl081_acknowledge(const struct pl081 *dma) {
    REGISTER(dma, TERMINAL_COUNT_CLEAR) = 1;
}
