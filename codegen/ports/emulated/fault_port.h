/* fault_port.h - a port around another one: counts transfers and injects one fault.
 *
 * The faults are those of the host port, by the same names: what a storage may do to the
 * runtime, whatever the driver below it.
 */
#ifndef FAULT_PORT_H
#define FAULT_PORT_H

#include "ooc_port.h"
#include "ooc_tables.h"

/* What the port returns for an injected fault (ooc.port_error). */
enum fault_error { FAULT_ERROR_MISUSE = -100, FAULT_ERROR_INJECTED = -101, FAULT_ERROR_POWER = -102 };

/* Numbers of transfers count from 1, reads and writes together, and of writes likewise; 0: never. */
struct faults {
    uint32_t fail; /* this transfer fails */
    uint32_t flip; /* one bit of this transfer is wrong, without an error */
    uint32_t shorten; /* this transfer moves half of its bytes, without an error */
    uint32_t partial; /* this transfer moves half of its bytes and says so */
    uint32_t hang; /* this transfer never ends */
    uint32_t full; /* this write finds no room left */
    uint32_t cut; /* power goes in the middle of this write: nothing works after it */
};

#ifdef OOC_RING
#define FAULT_BLOCKS 256u /* the last one counts for all behind it too */
#endif

struct fault_channel {
    uint8_t *target; /* null: a write */
    uint32_t bytes;
    int32_t result; /* what poll says when the transfer below is done, or there is none */
    uint8_t below; /* the port below has a transfer under way */
    uint8_t flip;
};

struct fault_port {
    const struct ooc_port *below;
    struct faults faults;
    uint32_t reads;
    uint32_t writes;
    uint64_t bytes_read;
    uint64_t bytes_written;
    struct fault_channel channel[OOC_MAX_STREAMS];
    uint8_t off; /* power is gone */
#ifdef OOC_RING
    uint32_t block_bytes; /* of a block below; 0: they are not counted */
    uint16_t block_writes[FAULT_BLOCKS]; /* write requests that touched each block of the store that is written */
#endif
};

/* Fill in a port whose context is `fault`, around `below`. */
void fault_port_bind(struct ooc_port *port, struct fault_port *fault, const struct ooc_port *below);

#ifdef OOC_RING
/* The most writes that a block got. */
uint32_t fault_port_worst_block(const struct fault_port *fault);
#endif

/* Set the counters to 0 and have these faults from now on. */
void fault_port_arm(struct fault_port *fault, const struct faults *faults);

#endif
