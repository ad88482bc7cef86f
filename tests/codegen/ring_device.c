/* ring_device.c - a device whose storage counts what is done to each block, and whose power fails: for
 * test_scratch_ring.py.
 *
 *     prog count IMAGE INPUT EXPECTED BLOCK RUNS EACH   RUNS runs, opened again every EACH; a line per block that was
 *                                                      written: store, number, programs, erases
 *     prog cut IMAGE INPUT EXPECTED                     cuts power at every write and erase of a run at every place
 *     prog life IMAGE INPUT EXPECTED COUNT SEED         COUNT runs, half of them cut somewhere
 *     prog refuse IMAGE INPUT EXPECTED                  opens and runs while the note of one place cannot be read
 *
 * Compile with -DOOC_RING, -DOOC_MODEL_HEADER and -DOOC_MODEL as main_host.c. With -DNOR=bytes storage must be erased
 * in blocks of so many bytes before it is written, once.
 */
#include "memory_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include OOC_MODEL_HEADER

#define NOT_ERASED (-78)
#define MOST_BLOCKS 100000u
#ifndef NOR
#define BLOCK 1u
#else
#define BLOCK NOR
#endif

static struct memory_device device;
static uint8_t *pristine[DEVICE_STORES], *input, *expected, *found;
static uint32_t output_bytes, block_bytes = 4096, note_writes;
static uint32_t programs[DEVICE_STORES][MOST_BLOCKS], erases[DEVICE_STORES][MOST_BLOCKS];
static int note_is_written;
static struct ooc state;

/* ------------------------------------------------------------------------- port */

static int is_note(uint8_t store, uint32_t offset) {
    const struct ooc_region *region = &OOC_MODEL.region[OOC_REGION_SCRATCH];
    return store == region->store && offset >= region->base
           && (offset - region->base) % OOC_MODEL.ring.step == region->bytes;
}

static void count_blocks(uint32_t counter[MOST_BLOCKS], uint32_t offset, uint32_t bytes) {
    uint32_t k;
    for (k = offset / block_bytes; k <= (offset + bytes - 1) / block_bytes; k++) {
        counter[k]++;
    }
}

static int write_counted(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                         uint32_t bytes) {
    int result;
#ifdef NOR
    uint32_t k;
    for (k = 0; !device.off && k < bytes && offset + bytes <= device.size[store]; k++) {
        if (device.store[store][offset + k] != 0xFF) {
            return NOT_ERASED;
        }
    }
#endif
    if (device.off) {
        return DEVICE_IS_OFF;
    }
    result = device_write(context, channel, store, offset, source, bytes);
    count_blocks(programs[store], offset, bytes);
    if (is_note(store, offset)) {
        note_writes++;
        /* the rest of a granule says nothing */
        note_is_written = result == 0 || device.torn == 2 || (device.torn == 1 && bytes / 2 >= 16);
    }
    return result;
}

#ifdef NOR
static int erase_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint32_t bytes) {
    uint32_t whole = (bytes + NOR - 1) / NOR * NOR;
    (void)context;
    (void)channel;
    if (device.off || offset % NOR != 0 || offset + whole > device.size[store]) {
        return DEVICE_IS_OFF;
    }
    count_blocks(erases[store], offset, whole);
    memset(device.store[store] + offset, 0xFF, device_done(&device, whole));
    return device.off ? DEVICE_IS_OFF : 0;
}
#endif

/* ----------------------------------------------------------------------- device */

static void make(const char *image_path, const char *input_path, const char *expected_path) {
    uint32_t image_bytes, input_bytes;
    const uint8_t *image = device_file(image_path, &image_bytes);
    unsigned k;
    input = device_file(input_path, &input_bytes);
    expected = device_file(expected_path, &output_bytes);
    found = device_memory(output_bytes);
    device.seed = 1;
    device_make(&device, &OOC_MODEL, BLOCK);
    device.port.write_start = write_counted;
#ifdef NOR
    device.port.erase_start = erase_start;
#endif
    for (k = 0; k < DEVICE_STORES; k++) {
        pristine[k] = device_memory(device.size[k]);
        memset(pristine[k], 0x5A, device.size[k]);
    }
    memcpy(pristine[0], image, image_bytes);
}

static void factory(void) {
    unsigned k;
    for (k = 0; k < DEVICE_STORES; k++) {
        memcpy(device.store[k], pristine[k], device.size[k]);
    }
}

/* Power is back: nothing but the stores is as it was. */
static void boot(void) {
    unsigned k;
    device.off = 0;
    device.cut_at = 0;
    for (k = 0; k < OOC_MODEL.banks; k++) {
        memset(device.banks[k], 0xA5, OOC_MODEL.bank_bytes[k]);
    }
    if (ooc_open(&state, &OOC_MODEL, device.banks, &device.port) != OOC_DONE) {
        device_fail("cannot be opened");
    }
    if (device_write_inputs(&state, input) != OOC_DONE) {
        device_fail("no input");
    }
}

/* 1 if the outputs are what they should be. */
static int is_right(void) {
    uint32_t bytes;
    return device_read_outputs(&state, found, &bytes) == OOC_DONE && memcmp(found, expected, output_bytes) == 0;
}

/* --------------------------------------------------------------------- the deeds */

static void count(uint32_t runs, uint32_t each) {
    uint32_t wrong = 0;
    uint32_t k, store;
    factory();
    boot();
    memset(programs, 0, sizeof programs);
    memset(erases, 0, sizeof erases);
    for (k = 0; k < runs; k++) {
        if (k > 0 && k % each == 0) { /* what the host writes is not the run's */
            static uint32_t kept[2][2][MOST_BLOCKS];
            memcpy(kept[0], programs, sizeof programs);
            memcpy(kept[1], erases, sizeof erases);
            boot();
            memcpy(programs, kept[0], sizeof programs);
            memcpy(erases, kept[1], sizeof erases);
        }
        wrong += ooc_run(&state) != OOC_DONE || !is_right();
    }
    printf("wrong 0 %lu 0\n", (unsigned long)wrong);
    for (store = 0; store < 2; store++) {
        for (k = 0; k < MOST_BLOCKS; k++) {
            if (programs[store][k] + erases[store][k] > 0) {
                printf("%lu %lu %lu %lu\n", (unsigned long)store, (unsigned long)k,
                       (unsigned long)programs[store][k], (unsigned long)erases[store][k]);
            }
        }
    }
}

static void cut(void) {
    uint32_t deeds, lives = 0, wrong = 0, astray = 0;
    uint32_t place, at;
    factory();
    boot();
    device.deeds = 0;
    if (ooc_run(&state) != OOC_DONE || !is_right()) {
        device_fail("a run without cuts fails");
    }
    deeds = device.deeds;
    for (place = 0; place < OOC_MODEL.ring.places; place++) {
        for (at = 1; at <= deeds; at++) {
            for (device.torn = 0; device.torn < 3; device.torn++) {
                uint32_t k, next;
                factory();
                boot();
                for (k = 0; k < place; k++) {
                    wrong += ooc_run(&state) != OOC_DONE;
                }
                device.deeds = 0;
                device.cut_at = at;
                note_is_written = 0;
                if (ooc_run(&state) == OOC_DONE) {
                    device_fail("power was not cut");
                }
                astray += state.place != place;
                next = note_is_written ? (place + 1u) % OOC_MODEL.ring.places : place;
                boot();
                wrong += ooc_run(&state) != OOC_DONE || !is_right();
                astray += state.place != next;
                lives++;
            }
        }
    }
    printf("deeds %lu\nlives %lu\nwrong %lu\nastray %lu\n", (unsigned long)deeds, (unsigned long)lives,
           (unsigned long)wrong, (unsigned long)astray);
}

/* Runs whose note is complete are at one place after the other, whatever happens between. */
static void life(uint32_t runs) {
    uint32_t wrong = 0, astray = 0, cuts = 0, places = OOC_MODEL.ring.places;
    uint32_t next = 0;
    uint32_t k;
    factory();
    boot();
    for (k = 0; k < runs; k++) {
        int result;
        device.deeds = 0;
        device.torn = device_drawn(&device, 2);
        device.cut_at = device_drawn(&device, 2) == 0 ? 1u + device_drawn(&device, 30) : 0u;
        note_is_written = 0;
        result = ooc_run(&state);
        astray += state.place != next;
        next = note_is_written ? (next + 1u) % places : next;
        wrong += !device.off && (result != OOC_DONE || !is_right());
        cuts += device.off != 0;
        if (device.off || device_drawn(&device, 4) == 0) {
            boot();
        }
    }
    printf("cuts %lu\nwrong %lu\nastray %lu\n", (unsigned long)cuts, (unsigned long)wrong, (unsigned long)astray);
}

static void refuse(void) {
    const struct ooc_region *region = &OOC_MODEL.region[OOC_REGION_SCRATCH];
    uint32_t wrong = 0, runs = 0, place, k;
    device.refused_store = region->store;
    for (place = 0; place < OOC_MODEL.ring.places; place++) {
        for (k = 0; k < OOC_MODEL.ring.places; k++) {
            device.refuses = 0;
            factory();
            boot();
            for (runs = 0; runs < k; runs++) {
                wrong += ooc_run(&state) != OOC_DONE;
            }
            device.refuses = 1;
            device.refused_offset = region->base + place * OOC_MODEL.ring.step + region->bytes;
            boot();
            wrong += ooc_run(&state) != OOC_DONE || !is_right();
        }
    }
    printf("wrong %lu\n", (unsigned long)wrong);
}

int main(int argc, char *argv[]) {
    if (argc < 5) {
        device_fail("usage");
    }
    make(argv[2], argv[3], argv[4]);
    if (strcmp(argv[1], "count") == 0 && argc == 8) {
        block_bytes = (uint32_t)atol(argv[5]);
        count((uint32_t)atol(argv[6]), (uint32_t)atol(argv[7]));
    } else if (strcmp(argv[1], "cut") == 0) {
        cut();
    } else if (strcmp(argv[1], "refuse") == 0) {
        refuse();
    } else if (strcmp(argv[1], "life") == 0 && argc == 7) {
        device.seed = (uint64_t)atol(argv[6]);
        life((uint32_t)atol(argv[5]));
    } else {
        device_fail("usage");
    }
    return 0;
}
