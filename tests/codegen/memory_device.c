/* memory_device.c - a device whose storage is memory and whose power may fail. */
#include "memory_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MOST_FILE_BYTES (1u << 24)
#define SCRATCH_BYTES (1u << 17)

void device_fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

void *device_memory(uint32_t bytes) {
    void *found = calloc((size_t)bytes + 1, 1);
    if (found == NULL) {
        device_fail("out of memory");
    }
    return found;
}

uint8_t *device_file(const char *path, uint32_t *bytes) {
    FILE *stream = fopen(path, "rb");
    uint8_t *content = device_memory(MOST_FILE_BYTES);
    if (stream == NULL) {
        device_fail(path);
    }
    *bytes = (uint32_t)fread(content, 1, MOST_FILE_BYTES, stream);
    fclose(stream);
    return content;
}

uint32_t device_drawn(struct memory_device *device, uint32_t below) {
    device->seed = device->seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(device->seed >> 33) % below;
}

/* ------------------------------------------------------------------------- port */

static int is_reached(const struct memory_device *device, uint8_t store, uint32_t offset, uint32_t bytes) {
    return !device->off && store < DEVICE_STORES && offset + bytes <= device->size[store];
}

uint32_t device_done(struct memory_device *device, uint32_t bytes) {
    if (++device->deeds == device->cut_at) {
        device->off = 1;
        return device->torn == 0 ? 0 : device->torn == 1 ? bytes / 2 : bytes;
    }
    return bytes;
}

int device_read(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target, uint32_t bytes) {
    struct memory_device *device = context;
    (void)channel;
    if (!is_reached(device, store, offset, bytes)) {
        return DEVICE_IS_OFF;
    }
    if (device->refuses && store == device->refused_store && offset <= device->refused_offset
        && device->refused_offset - offset < bytes) {
        return DEVICE_REFUSES;
    }
    memcpy(target, device->store[store] + offset, bytes);
    return 0;
}

int device_write(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                 uint32_t bytes) {
    struct memory_device *device = context;
    (void)channel;
    if (!is_reached(device, store, offset, bytes)) {
        return DEVICE_IS_OFF;
    }
    memcpy(device->store[store] + offset, source, device_done(device, bytes));
    return device->off ? DEVICE_IS_OFF : 0;
}

static int poll(void *context, uint8_t channel) {
    const struct memory_device *device = context;
    (void)channel;
    return device->off ? DEVICE_IS_OFF : 1;
}

/* ----------------------------------------------------------------------- device */

static void reach(struct memory_device *device, const struct ooc_region *region, uint32_t bytes, uint32_t block) {
    uint32_t end = region->base + (bytes + block - 1) / block * block;
    if (end > device->size[region->store]) {
        device->size[region->store] = end;
    }
}

void device_make(struct memory_device *device, const struct ooc_model *model, uint32_t block_bytes) {
    unsigned k;
    for (k = 0; k < 4; k++) {
        reach(device, &model->region[k], model->region[k].bytes, block_bytes);
    }
#ifdef OOC_RING
    reach(device, &model->region[OOC_REGION_SCRATCH], model->ring.step * model->ring.places, block_bytes);
#endif
#ifdef OOC_SEAL
    reach(device, &model->journal, model->journal.bytes, block_bytes);
#endif
    for (k = 0; k < DEVICE_STORES; k++) {
        device->store[k] = device_memory(device->size[k]);
        device->port.capacity[k] = device->size[k];
    }
    for (k = 0; k < model->banks; k++) {
        device->banks[k] = device_memory(model->bank_bytes[k]);
    }
    device->port.context = device;
    device->port.read_start = device_read;
    device->port.write_start = device_write;
    device->port.poll = poll;
}

int device_write_inputs(struct ooc *state, const uint8_t *from) {
    static uint8_t scratch[SCRATCH_BYTES];
    int result = OOC_DONE;
    unsigned k;
    for (k = 0; k < state->model->inputs && result == OOC_DONE; k++) {
        uint32_t bytes = state->model->bindings[k].bytes;
        result = ooc_input_write(state, k, from, bytes, scratch, sizeof scratch);
        from += bytes;
    }
    return result;
}

int device_read_outputs(struct ooc *state, uint8_t *to, uint32_t *bytes) {
    static uint8_t scratch[SCRATCH_BYTES];
    int result = OOC_DONE;
    unsigned k;
    *bytes = 0;
    for (k = 0; k < state->model->outputs && result == OOC_DONE; k++) {
        uint32_t each = state->model->bindings[state->model->inputs + k].bytes;
        result = ooc_output_read(state, k, to + *bytes, each, scratch, sizeof scratch);
        *bytes += each;
    }
    return result;
}
