/* fault_port.c - a port around another one: counts transfers and injects one fault. */
#include "fault_port.h"

#include <stddef.h>
#include <string.h>

#define DONE 1
#define BUSY 0

static const struct ooc_port *below(const struct fault_port *fault) {
    return fault->below;
}

static int begin_below(struct fault_port *fault, uint8_t channel, uint8_t store, uint32_t offset,
                       const uint8_t *source, uint32_t bytes) {
    const struct ooc_port *port = below(fault);
    struct fault_channel *c = &fault->channel[channel];
    int result;
    if (bytes == 0) {
        return 0;
    }
    if (source != NULL) {
        result = port->write_start(port->context, channel, store, offset, source, bytes);
    } else {
        result = port->read_start(port->context, channel, store, offset, c->target, bytes);
    }
    c->below = result >= 0;
    return result;
}

static void flip_bit(uint8_t *bytes, uint32_t count) {
    bytes[count / 2] ^= 0x10u;
}

/* The source is wrong only while the transfer below lasts, and that is waited for. */
static int write_flipped(struct fault_port *fault, uint8_t channel, uint8_t store, uint32_t offset,
                         uint8_t *source, uint32_t bytes) {
    const struct ooc_port *port = below(fault);
    struct fault_channel *c = &fault->channel[channel];
    int result;
    flip_bit(source, bytes);
    result = begin_below(fault, channel, store, offset, source, bytes);
    while (c->below) {
        c->result = port->poll(port->context, channel);
        c->below = c->result == BUSY;
    }
    flip_bit(source, bytes);
    return result;
}

#ifdef OOC_RING
static uint32_t block_of(const struct fault_port *fault, uint32_t offset) {
    uint32_t block = offset / fault->block_bytes;
    return block < FAULT_BLOCKS ? block : FAULT_BLOCKS - 1u;
}

static void count_blocks(struct fault_port *fault, uint32_t offset, uint32_t bytes) {
    uint32_t block;
    if (fault->block_bytes > 0 && bytes > 0) {
        for (block = block_of(fault, offset); block <= block_of(fault, offset + bytes - 1u); block++) {
            fault->block_writes[block]++;
        }
    }
}

uint32_t fault_port_worst_block(const struct fault_port *fault) {
    uint32_t worst = 0;
    unsigned k;
    for (k = 0; k < FAULT_BLOCKS; k++) {
        worst = fault->block_writes[k] > worst ? fault->block_writes[k] : worst;
    }
    return worst;
}
#endif

static void count(struct fault_port *fault, int write, uint32_t offset, uint32_t bytes) {
#ifdef OOC_RING
    if (write) {
        count_blocks(fault, offset, bytes);
    }
#else
    (void)offset;
#endif
    if (write) {
        fault->writes++;
        fault->bytes_written += bytes;
    } else {
        fault->reads++;
        fault->bytes_read += bytes;
    }
}

/* What is left of a transfer that stops half way, in whole granules. */
static uint32_t half(const struct fault_port *fault, uint8_t store, uint32_t bytes) {
    uint32_t granule = store < 2 && below(fault)->granule[store] > 0 ? below(fault)->granule[store] : 1;
    return bytes / 2 - bytes / 2 % granule;
}

/* What a transfer that is at fault says in the end, DONE if it keeps silent about it, BUSY if it
 * never ends. */
static int32_t outcome(const struct fault_port *fault, uint32_t number, int write) {
    const struct faults *faults = &fault->faults;
    if (write && fault->writes == faults->cut) {
        return FAULT_ERROR_POWER;
    }
    if (write && fault->writes == faults->full) {
        return OOC_PORT_FULL;
    }
    if (number == faults->fail) {
        return FAULT_ERROR_INJECTED;
    }
    if (number == faults->partial) {
        return OOC_PORT_SHORT;
    }
    return number == faults->hang ? BUSY : DONE;
}

/* How many bytes it moves nevertheless. */
static uint32_t moving(const struct fault_port *fault, const struct fault_channel *c, uint32_t number,
                       uint8_t store, uint32_t bytes) {
    if (c->result == FAULT_ERROR_POWER || c->result == OOC_PORT_SHORT || number == fault->faults.shorten) {
        return half(fault, store, bytes);
    }
    return c->result == DONE ? bytes : 0;
}

static int begin(struct fault_port *fault, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *sram,
                 uint32_t bytes, int write) {
    struct fault_channel *c;
    uint32_t number;
    if (fault->off) {
        return FAULT_ERROR_POWER;
    }
    if (channel >= OOC_MAX_STREAMS) {
        return FAULT_ERROR_MISUSE;
    }
    count(fault, write, offset, bytes);
    number = fault->reads + fault->writes;
    c = &fault->channel[channel];
    memset(c, 0, sizeof *c);
    c->target = write ? NULL : sram;
    c->bytes = bytes;
    c->result = outcome(fault, number, write);
    if (number == fault->faults.flip && write) {
        return write_flipped(fault, channel, store, offset, sram, bytes);
    }
    c->flip = number == fault->faults.flip;
    bytes = moving(fault, c, number, store, bytes);
    return begin_below(fault, channel, store, offset, write ? sram : NULL, bytes);
}

/* ------------------------------------------------------------------ port functions */

static int read_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes) {
    return begin(context, channel, store, offset, target, bytes, 0);
}

/* Only a write whose bit is flipped changes its source, and puts it right again. */
static int write_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                       uint32_t bytes) {
    return begin(context, channel, store, offset, (uint8_t *)(uintptr_t)source, bytes, 1);
}

/* Not counted and never at fault: the tables know nothing of it. */
static int erase_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint32_t bytes) {
    struct fault_port *fault = context;
    struct fault_channel *c = &fault->channel[channel];
    int result = below(fault)->erase_start(below(fault)->context, channel, store, offset, bytes);
    memset(c, 0, sizeof *c);
    c->result = DONE;
    c->below = result >= 0;
    return result;
}

static int poll(void *context, uint8_t channel) {
    struct fault_port *fault = context;
    const struct ooc_port *port = below(fault);
    struct fault_channel *c = &fault->channel[channel];
    if (c->below) {
        int result = port->poll(port->context, channel);
        if (result <= 0) {
            c->below = result == BUSY;
            return result;
        }
        c->below = 0;
        if (c->flip) {
            flip_bit(c->target, c->bytes);
        }
    }
    fault->off = fault->off || c->result == FAULT_ERROR_POWER;
    return fault->off ? FAULT_ERROR_POWER : c->result;
}

static uint32_t now(void *context) {
    const struct fault_port *fault = context;
    return below(fault)->now(below(fault)->context);
}

static void idle(void *context) {
    const struct fault_port *fault = context;
    below(fault)->idle(below(fault)->context);
}

static void event(void *context, uint8_t stream, uint32_t index, uint8_t what) {
    const struct fault_port *fault = context;
    below(fault)->event(below(fault)->context, stream, index, what);
}

void fault_port_bind(struct ooc_port *port, struct fault_port *fault, const struct ooc_port *around) {
    memset(fault, 0, sizeof *fault);
    fault->below = around;
    *port = *around;
    port->context = fault;
    port->read_start = read_start;
    port->write_start = around->write_start != NULL ? write_start : NULL;
    port->erase_start = around->erase_start != NULL ? erase_start : NULL;
    port->poll = poll;
    port->now = around->now != NULL ? now : NULL;
    port->idle = around->idle != NULL ? idle : NULL;
    port->event = around->event != NULL ? event : NULL;
}

void fault_port_arm(struct fault_port *fault, const struct faults *faults) {
    fault->faults = *faults;
    fault->reads = fault->writes = 0;
    fault->bytes_read = fault->bytes_written = 0;
#ifdef OOC_RING
    memset(fault->block_writes, 0, sizeof fault->block_writes);
#endif
}
