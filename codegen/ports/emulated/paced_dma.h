/* paced_dma.h - storage whose every transfer takes setup + bytes / rate: a timer in front of a DMA.
 *
 * The stores are parts of one memory. A transfer begins with a timer loaded with the time it shall
 * take; the timer's interrupt starts the DMA, whose own interrupt completes the transfer.
 * Channels are independent, and the CPU computes meanwhile. Emulated DMA moves everything in no
 * time; on an emulator that counts instructions (-icount) this is an exact storage model.
 */
#ifndef PACED_DMA_H
#define PACED_DMA_H

#include "ooc_port.h"
#include "pl081.h"

#define PACED_CHANNELS 2u
#define PACED_STORES 2u

enum paced_error {
    PACED_ERROR_RANGE = -400, /* outside of the store, off the granule, too long, or channel in use */
    PACED_ERROR_DMA = -401
};

enum paced_state { PACED_FREE = 0, PACED_WAITING = 1, PACED_MOVING = 2, PACED_DONE = 3, PACED_FAILED = 4 };

/* How long transfers take; rates as timer ticks per byte, times 65536. */
struct paced_store {
    uint8_t *memory;
    uint32_t bytes;
    uint32_t setup_ticks[2]; /* of a read, of a write; likewise below */
    uint32_t ticks_per_byte[2];
};

struct paced_channel {
    struct pl081 dma;
    uintptr_t timer; /* CMSDK APB timer */
    uint8_t *target;
    const uint8_t *source;
    uint32_t bytes;
    volatile uint8_t state; /* enum paced_state */
};

struct paced_dma {
    struct paced_store store[PACED_STORES];
    struct paced_channel channel[PACED_CHANNELS];
};

/* Fill in the transfers of a port whose context is `paced`; granules of 4 bytes. */
void paced_dma_bind(struct ooc_port *port, struct paced_dma *paced);

/* To be called from the interrupts of a channel's timer and DMA. They return 1 if the transfer has ended. */
int paced_dma_timer_interrupt(struct paced_channel *channel);
int paced_dma_interrupt(struct paced_channel *channel);

#endif
