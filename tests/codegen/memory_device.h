/* memory_device.h - a device whose storage is memory and whose power may fail: what ring_device.c and sealed_device.c
 * have in common.
 *
 * The port moves bytes at once. Power fails in the write or erase `cut_at`, of which nothing, half or all is done;
 * from then on everything fails until somebody sets `off` to 0.
 */
#ifndef MEMORY_DEVICE_H
#define MEMORY_DEVICE_H

#include "ooc.h"

#define DEVICE_STORES 2
#define DEVICE_IS_OFF (-77)
#define DEVICE_REFUSES (-79)

struct memory_device {
    uint8_t *store[DEVICE_STORES];
    uint32_t size[DEVICE_STORES];
    uint8_t *banks[OOC_MAX_BANKS];
    uint32_t deeds; /* writes and erases; start to count by setting it to 0 */
    uint32_t cut_at; /* 0: never */
    uint32_t torn; /* 0: nothing of it is done, 1: half, 2: all */
    int off;
    int refuses; /* reads of what holds this byte fail */
    uint32_t refused_offset;
    uint8_t refused_store;
    uint64_t seed;
    struct ooc_port port;
};

/* Memory for all regions of a model, each rounded up to whole blocks, and for its arena; and a port to it. */
void device_make(struct memory_device *device, const struct ooc_model *model, uint32_t block_bytes);

/* What the port does; `context` is the device. */
int device_read(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target, uint32_t bytes);
int device_write(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                 uint32_t bytes);

/* Count a write or an erase of so many bytes; how many of them are done. */
uint32_t device_done(struct memory_device *device, uint32_t bytes);

/* All inputs or outputs, one behind the other. Returns what the runtime does. */
int device_write_inputs(struct ooc *state, const uint8_t *from);
int device_read_outputs(struct ooc *state, uint8_t *to, uint32_t *bytes);

/* A number below another one, drawn from the seed. */
uint32_t device_drawn(struct memory_device *device, uint32_t below);

/* All of a file. */
uint8_t *device_file(const char *path, uint32_t *bytes);

/* Zeroed memory, or the end. */
void *device_memory(uint32_t bytes);

void device_fail(const char *what);

#endif
