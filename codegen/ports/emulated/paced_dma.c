/* paced_dma.c - storage whose every transfer takes setup + bytes / rate. */
#include "paced_dma.h"

#define GRANULE 4u

/* CMSDK APB timer (ARM DDI 0479): counts down to 0, then raises its interrupt. */
#define TIMER(channel, offset) (*(volatile uint32_t *)((channel)->timer + (offset)))
#define TIMER_CONTROL 0x0u
#define TIMER_VALUE 0x4u
#define TIMER_RELOAD 0x8u
#define TIMER_CLEAR 0xCu
#define TIMER_ENABLE (1u | 1u << 3) /* count, and interrupt */

static uint32_t ticks_of(const struct paced_store *store, uint32_t bytes, int to_store) {
    uint64_t moving = (uint64_t)bytes * store->ticks_per_byte[to_store];
    uint32_t ticks = store->setup_ticks[to_store] + (uint32_t)(moving >> 16);
    return ticks > 0 ? ticks : 1;
}

static int start(struct paced_channel *channel, uint8_t *target, const uint8_t *source, uint32_t bytes,
                 uint32_t ticks) {
    channel->target = target;
    channel->source = source;
    channel->bytes = bytes;
    channel->state = PACED_WAITING;
    TIMER(channel, TIMER_RELOAD) = ticks;
    TIMER(channel, TIMER_VALUE) = ticks;
    TIMER(channel, TIMER_CONTROL) = TIMER_ENABLE;
    return 0;
}

static int is_legal(const struct paced_dma *paced, uint8_t channel, uint8_t store, uint32_t offset,
                    uint32_t bytes) {
    return channel < PACED_CHANNELS && store < PACED_STORES && paced->channel[channel].state == PACED_FREE
           && (offset | bytes) % GRANULE == 0 && bytes <= PL081_BYTES && offset <= paced->store[store].bytes
           && bytes <= paced->store[store].bytes - offset;
}

static int read_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes) {
    struct paced_dma *paced = context;
    if (!is_legal(paced, channel, store, offset, bytes)) {
        return PACED_ERROR_RANGE;
    }
    return start(&paced->channel[channel], target, paced->store[store].memory + offset, bytes,
                 ticks_of(&paced->store[store], bytes, 0));
}

static int write_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                       uint32_t bytes) {
    struct paced_dma *paced = context;
    if (!is_legal(paced, channel, store, offset, bytes)) {
        return PACED_ERROR_RANGE;
    }
    return start(&paced->channel[channel], paced->store[store].memory + offset, source, bytes,
                 ticks_of(&paced->store[store], bytes, 1));
}

static int poll(void *context, uint8_t channel) {
    struct paced_dma *paced = context;
    struct paced_channel *c = &paced->channel[channel];
    if (c->state == PACED_WAITING || c->state == PACED_MOVING) {
        return 0;
    }
    if (c->state != PACED_DONE) {
        c->state = PACED_FREE;
        return PACED_ERROR_DMA;
    }
    c->state = PACED_FREE;
    return 1;
}

int paced_dma_timer_interrupt(struct paced_channel *channel) {
    TIMER(channel, TIMER_CLEAR) = 1;
    TIMER(channel, TIMER_CONTROL) = 0;
    channel->state = PACED_MOVING;
    if (pl081_copy(&channel->dma, channel->target, channel->source, channel->bytes) != 0) {
        channel->state = PACED_FAILED;
    }
    return channel->state == PACED_FAILED;
}

int paced_dma_interrupt(struct paced_channel *channel) {
    pl081_acknowledge(&channel->dma);
    channel->state = PACED_DONE;
    return 1;
}

void paced_dma_bind(struct ooc_port *port, struct paced_dma *paced) {
    port->context = paced;
    port->granule[0] = GRANULE;
    port->granule[1] = GRANULE;
    port->read_start = read_start;
    port->write_start = write_start;
    port->poll = poll;
}
