/* semihost_store.c - two stores in files of the host. */
#include "semihost_store.h"

#include "machine.h"
#include "semihost.h"

#include <stddef.h>

#define STORES 2u
#define GRANULE 512u

static int32_t file[STORES];
static int outcome; /* of the last transfer */

static int is_legal(uint8_t store, uint32_t offset, uint32_t bytes) {
    return store < STORES && offset % GRANULE == 0 && bytes % GRANULE == 0 && bytes > 0;
}

static int read_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes) {
    (void)context;
    (void)channel;
    if (!is_legal(store, offset, bytes)) {
        return SEMIHOST_STORE_ERROR_RANGE;
    }
    outcome = semihost_read(file[store], offset, target, bytes) == 0 ? 1 : SEMIHOST_STORE_ERROR_FILE;
    return 0;
}

static int write_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                       uint32_t bytes) {
    (void)context;
    (void)channel;
    if (!is_legal(store, offset, bytes)) {
        return SEMIHOST_STORE_ERROR_RANGE;
    }
    outcome = semihost_write(file[store], offset, source, bytes) == 0 ? 1 : SEMIHOST_STORE_ERROR_FILE;
    return 0;
}

static int poll(void *context, uint8_t channel) {
    (void)context;
    (void)channel;
    return outcome;
}

const struct ooc_port *semihost_store_open(void) {
    static const struct ooc_port port = {.granule = {GRANULE, GRANULE},
                                         .read_start = read_start,
                                         .write_start = write_start,
                                         .poll = poll};
    static const char *const names[STORES] = {"store0.img", "store1.img"};
    unsigned k;
    for (k = 0; k < STORES; k++) {
        file[k] = semihost_open(names[k], SEMIHOST_UPDATE);
        if (file[k] < 0) {
            machine_print("ooc: the storage cannot be opened: ");
            machine_print(names[k]);
            machine_print("\n");
            return NULL;
        }
    }
    return &port;
}
