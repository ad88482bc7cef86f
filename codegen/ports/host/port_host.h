/* port_host.h - emulated storage on a PC: latency, counters, faults.
 *
 * The stores are in memory. Transfers are asynchronous in the worst way that a real DMA
 * allows: their bytes move at the start, at completion, or half and half, and completion
 * comes after an unpredictable number of polls (all drawn from a seed, repeatable).
 * Until then the target of a read holds garbage, so that a schedule which uses a buffer
 * too early or gives it away too late computes visibly wrong results.
 *
 * Host only: this file is C99 with the hosted library and takes memory from the heap.
 */
#ifndef PORT_HOST_H
#define PORT_HOST_H

#include "ooc_port.h"

#include <stddef.h>
#include <stdio.h>

#define HOST_STORES OOC_STORES
#define HOST_CHANNELS 8

/* Words of a line of host_port.log; event is start or end. The time is that of the processor: it shows the
 * order of commands and what waits for what, not the times of a board. */
#define HOST_LOG_HEAD "stream,index,event,ns\n"

/* What the port returns for an injected fault (ooc.port_error). */
enum host_error {
    HOST_ERROR_MISUSE = -100, /* off the granule, no such store or channel, or channel busy */
    HOST_ERROR_INJECTED = -101,
    HOST_ERROR_POWER = -102
};

struct host_channel {
    int busy;
    int write;
    int fault; /* enum host_error or ooc_port_error, delivered at completion; 0: none */
    int hangs; /* never completes */
    int move_at_start; /* 0: nothing, 1: first half, 2: all */
    uint8_t store;
    uint32_t offset;
    uint32_t bytes;
    uint8_t *sram;
    const uint8_t *source;
    uint32_t polls_left;
    uint32_t polls;
    uint64_t done_ns; /* latency model */
};

/* Settings (set before host_port_init; faults at any time), contents and counters. Transfer
 * numbers count from 1, reads and writes together; 0 switches a fault off. */
struct host_port {
    /* settings */
    uint64_t seed; /* 0: latency model, see below */
    uint32_t granule[HOST_STORES]; /* transfers off it fail with HOST_ERROR_MISUSE */
    uint32_t block_bytes; /* for block_writes; 0: 4096 */
    uint32_t setup_ns; /* latency model: a transfer takes setup + bytes / rate */
    uint64_t read_bytes_per_s;
    uint64_t write_bytes_per_s;
    uint32_t timeout_us; /* ooc_port.timeout */
    uint32_t fail_transfer; /* this transfer fails */
    uint32_t flip_transfer; /* one bit of this transfer is wrong, without an error */
    uint32_t short_transfer; /* this transfer moves half of its bytes, without an error */
    uint32_t partial_transfer; /* likewise, and the port says so */
    uint32_t hang_transfer; /* this transfer never ends */
    uint32_t full_write; /* this write finds the store full */
    uint32_t cut_write; /* power goes in the middle of this write: nothing works after it */
    FILE *log; /* gets a line HOST_LOG_HEAD for every start and end of a command; NULL: nobody does */

    /* contents */
    uint8_t *bytes[HOST_STORES];
    uint32_t size[HOST_STORES];

    /* counters */
    uint32_t transfers;
    uint32_t reads;
    uint32_t writes;
    uint64_t bytes_read;
    uint64_t bytes_written;
    uint32_t max_polls; /* most polls of one transfer */
    uint32_t *block_writes[HOST_STORES]; /* write requests that touched each block */
    uint64_t clock_ns; /* latency model: virtual time, stands still while kernels run */

    struct host_channel channel[HOST_CHANNELS];
    uint64_t random;
    int off; /* power is gone */
};

/* Give the port its stores (sizes in bytes, rounded up to the granule) and fill them with
 * garbage. Returns 0, or -1 if memory is short. */
int host_port_init(struct host_port *host, const uint32_t size[HOST_STORES]);

/* Return the memory of host_port_init. */
void host_port_free(struct host_port *host);

/* Set all counters and the clock to 0; nothing may be under way. */
void host_port_reset(struct host_port *host);

/* Take all faults away: power is back, nothing is under way. The stores keep what they hold. */
void host_port_repair(struct host_port *host);

/* Next number of the port's xorshift generator. */
uint64_t host_port_random(struct host_port *host);

/* Blocks of a store, each with its number in block_writes. */
uint32_t host_port_blocks(const struct host_port *host, unsigned store);

/* Most often written block over all stores. */
uint32_t host_port_worst_block(const struct host_port *host);

/* Fill in a port whose context is `host`. */
void host_port_bind(struct ooc_port *port, struct host_port *host);

#endif
