/* port_host.c - emulated storage on a PC. */
#include "port_host.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

uint64_t host_port_random(struct host_port *host) {
    uint64_t x = host->random;
    x ^= x << 13;
    x ^= x >> 7;
    x ^= x << 17;
    host->random = x;
    return x >> 11;
}

static void garbage(struct host_port *host, uint8_t *target, size_t bytes) {
    size_t i;
    for (i = 0; i < bytes; i++) {
        target[i] = (uint8_t)host_port_random(host);
    }
}

/* ------------------------------------------------------------------------- memory */

static uint32_t block_bytes(const struct host_port *host) {
    return host->block_bytes ? host->block_bytes : 4096;
}

static uint32_t granule_of(const struct host_port *host, unsigned store) {
    return host->granule[store] ? host->granule[store] : 1;
}

uint32_t host_port_blocks(const struct host_port *host, unsigned store) {
    return host->size[store] / block_bytes(host) + 1;
}

int host_port_init(struct host_port *host, const uint32_t size[HOST_STORES]) {
    unsigned k;
    host->random = host->seed * 0x9E3779B97F4A7C15u + 0x2545F4914F6CDD1Du;
    host->random += host->random == 0;
    for (k = 0; k < HOST_STORES; k++) {
        uint32_t granule = granule_of(host, k);
        host->size[k] = (size[k] + granule - 1) / granule * granule;
        host->bytes[k] = malloc((size_t)host->size[k] + 1);
        host->block_writes[k] = calloc(host_port_blocks(host, k), sizeof(uint32_t));
        if (host->bytes[k] == NULL || host->block_writes[k] == NULL) {
            host_port_free(host);
            return -1;
        }
        garbage(host, host->bytes[k], host->size[k]);
    }
    return 0;
}

void host_port_free(struct host_port *host) {
    unsigned k;
    for (k = 0; k < HOST_STORES; k++) {
        free(host->bytes[k]);
        free(host->block_writes[k]);
        host->bytes[k] = NULL;
        host->block_writes[k] = NULL;
    }
}

void host_port_reset(struct host_port *host) {
    unsigned k;
    host->transfers = host->reads = host->writes = host->max_polls = 0;
    host->bytes_read = host->bytes_written = host->clock_ns = 0;
    for (k = 0; k < HOST_STORES; k++) {
        memset(host->block_writes[k], 0, host_port_blocks(host, k) * sizeof(uint32_t));
    }
}

void host_port_repair(struct host_port *host) {
    host->fail_transfer = host->flip_transfer = host->short_transfer = host->partial_transfer = 0;
    host->hang_transfer = host->full_write = host->cut_write = 0;
    host->off = 0;
    memset(host->channel, 0, sizeof host->channel);
}

uint32_t host_port_worst_block(const struct host_port *host) {
    uint32_t worst = 0, i;
    unsigned k;
    for (k = 0; k < HOST_STORES; k++) {
        for (i = 0; i < host_port_blocks(host, k); i++) {
            worst = host->block_writes[k][i] > worst ? host->block_writes[k][i] : worst;
        }
    }
    return worst;
}

/* ---------------------------------------------------------------------- transfers */

static void move(struct host_port *host, const struct host_channel *c, uint32_t from, uint32_t to) {
    uint8_t *stored = host->bytes[c->store] + c->offset;
    if (from >= to) {
        return;
    }
    if (c->write) {
        memcpy(stored + from, c->source + from, to - from);
    } else {
        memcpy(c->sram + from, stored + from, to - from);
    }
}

static void flip_bit(struct host_port *host, const struct host_channel *c) {
    uint8_t *target = c->write ? host->bytes[c->store] + c->offset : c->sram;
    target[host_port_random(host) % c->bytes] ^= (uint8_t)(1u << host_port_random(host) % 8);
}

static uint64_t duration_ns(const struct host_port *host, const struct host_channel *c) {
    uint64_t rate = c->write ? host->write_bytes_per_s : host->read_bytes_per_s;
    return host->setup_ns + (rate ? (c->bytes * (uint64_t)1000000000 + rate - 1) / rate : 0);
}

static void count(struct host_port *host, const struct host_channel *c) {
    uint32_t block = c->offset / block_bytes(host);
    uint32_t last = (c->offset + c->bytes - 1) / block_bytes(host);
    host->transfers++;
    if (!c->write) {
        host->reads++;
        host->bytes_read += c->bytes;
        return;
    }
    host->writes++;
    host->bytes_written += c->bytes;
    for (; block <= last; block++) {
        host->block_writes[c->store][block]++;
    }
}

/* 0, or why a request is refused. */
static int refusal(const struct host_port *host, uint8_t channel, uint8_t store, uint32_t offset,
                   uint32_t bytes) {
    if (channel >= HOST_CHANNELS || host->channel[channel].busy || store >= HOST_STORES || bytes == 0
        || offset % granule_of(host, store) != 0 || bytes % granule_of(host, store) != 0) {
        return HOST_ERROR_MISUSE;
    }
    return offset <= host->size[store] && bytes <= host->size[store] - offset ? 0 : OOC_PORT_RANGE;
}

/* Bytes that move in the end: half of them in a transfer that is cut short. */
static uint32_t moving(const struct host_port *host, const struct host_channel *c, uint32_t number) {
    int half = number == host->short_transfer || c->fault == OOC_PORT_SHORT || c->fault == HOST_ERROR_POWER;
    return half ? c->bytes / 2 : c->bytes;
}

/* The fault that is set for the transfer just counted, 0 if there is none. */
static int fault_of(const struct host_port *host, const struct host_channel *c) {
    int fault = 0;
    if (c->write && host->writes == host->cut_write) {
        fault = HOST_ERROR_POWER;
    } else if (c->write && host->writes == host->full_write) {
        fault = OOC_PORT_FULL;
    } else if (host->transfers == host->fail_transfer) {
        fault = HOST_ERROR_INJECTED;
    } else if (host->transfers == host->partial_transfer) {
        fault = OOC_PORT_SHORT;
    }
    return fault;
}

static int start(struct host_port *host, struct host_channel *c) {
    count(host, c);
    c->fault = fault_of(host, c);
    c->hangs = host->transfers == host->hang_transfer;
    c->busy = 1;
    if (host->seed == 0) {
        c->done_ns = host->clock_ns + duration_ns(host, c);
    } else {
        c->polls_left = (uint32_t)(host_port_random(host) % 16);
        c->move_at_start = (int)(host_port_random(host) % 3);
    }
    c->bytes = moving(host, c, host->transfers);
    if (c->write) {
        garbage(host, host->bytes[c->store] + c->offset, c->bytes);
    } else {
        garbage(host, c->sram, c->bytes);
    }
    move(host, c, 0, c->move_at_start == 2 ? c->bytes : c->move_at_start == 1 ? c->bytes / 2 : 0);
    if (host->transfers == host->flip_transfer && c->bytes > 0) {
        c->polls_left = 0;
        c->move_at_start = 2;
        move(host, c, 0, c->bytes);
        flip_bit(host, c);
    }
    return 0;
}

static int finish(struct host_port *host, struct host_channel *c) {
    c->busy = 0;
    host->max_polls = c->polls > host->max_polls ? c->polls : host->max_polls;
    if (c->fault == HOST_ERROR_POWER) {
        host->off = 1;
    }
    if (c->fault != HOST_ERROR_INJECTED && c->fault != OOC_PORT_FULL) {
        move(host, c, c->move_at_start == 2 ? c->bytes : c->move_at_start == 1 ? c->bytes / 2 : 0, c->bytes);
    }
    return c->fault != 0 ? c->fault : 1;
}

/* ------------------------------------------------------------------ port functions */

static int begin(struct host_port *host, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *sram,
                 const uint8_t *source, uint32_t bytes) {
    struct host_channel *c;
    int refused = host->off ? HOST_ERROR_POWER : refusal(host, channel, store, offset, bytes);
    if (refused != 0) {
        return refused;
    }
    c = &host->channel[channel];
    memset(c, 0, sizeof *c);
    c->store = store;
    c->offset = offset;
    c->bytes = bytes;
    c->sram = sram;
    c->source = source;
    c->write = source != NULL;
    return start(host, c);
}

static int read_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes) {
    return begin(context, channel, store, offset, target, NULL, bytes);
}

static int write_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                       uint32_t bytes) {
    return begin(context, channel, store, offset, NULL, source, bytes);
}

static int poll(void *context, uint8_t channel) {
    struct host_port *host = context;
    struct host_channel *c = &host->channel[channel];
    if (host->off) {
        c->busy = 0;
        return HOST_ERROR_POWER;
    }
    if (!c->busy) {
        return HOST_ERROR_MISUSE;
    }
    if (c->hangs) {
        return 0;
    }
    c->polls++;
    if (host->seed == 0 ? host->clock_ns < c->done_ns : c->polls_left > 0) {
        c->polls_left -= c->polls_left > 0;
        return 0;
    }
    return finish(host, c);
}

static uint32_t now(void *context) {
    const struct host_port *host = context;
    return (uint32_t)(host->clock_ns / 1000);
}

/* Nothing can happen before a transfer ends: let the virtual clock jump there, or go on by
 * a millisecond where no end is in sight. */
static void idle(void *context) {
    struct host_port *host = context;
    uint64_t next = UINT64_MAX;
    unsigned k;
    for (k = 0; k < HOST_CHANNELS; k++) {
        if (host->channel[k].busy && !host->channel[k].hangs && host->channel[k].done_ns < next) {
            next = host->channel[k].done_ns;
        }
    }
    if (next == UINT64_MAX) {
        host->clock_ns += 1000000;
    } else if (next > host->clock_ns) {
        host->clock_ns = next;
    }
}

static void event(void *context, uint8_t stream, uint32_t index, uint8_t what) {
    const struct host_port *host = context;
    if (host->log != NULL) {
        double ns = (double)clock() * (1e9 / (double)CLOCKS_PER_SEC);
        fprintf(host->log, "%u,%lu,%s,%.0f\n", (unsigned)stream, (unsigned long)index,
                what == OOC_EVENT_START ? "start" : "end", ns);
    }
}

void host_port_bind(struct ooc_port *port, struct host_port *host) {
    unsigned k;
    memset(port, 0, sizeof *port);
    port->context = host;
    for (k = 0; k < HOST_STORES; k++) {
        port->granule[k] = (uint16_t)granule_of(host, k);
        port->capacity[k] = host->size[k];
    }
    port->timeout = host->timeout_us;
    port->read_start = read_start;
    port->write_start = write_start;
    port->poll = poll;
    port->now = now;
    port->idle = idle;
    port->event = event;
}
