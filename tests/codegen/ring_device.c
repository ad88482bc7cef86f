/* ring_device.c - a device whose storage counts what is done to each block, and whose power fails: for
 * test_scratch_ring.py.
 *
 *     prog count IMAGE INPUT EXPECTED BLOCK RUNS EACH   RUNS runs, opened again every EACH; a line per block that was
 *                                                      written: store, number, programs, erases
 *     prog cut IMAGE INPUT EXPECTED                     cuts power at every write and erase of a run at every place
 *     prog life IMAGE INPUT EXPECTED COUNT SEED         COUNT runs, half of them cut somewhere
 *
 * Compile with -DOOC_RING, -DOOC_MODEL_HEADER and -DOOC_MODEL as main_host.c. With -DNOR=bytes storage must be erased
 * in blocks of so many bytes before it is written, once. The port moves bytes at once.
 */
#include "ooc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include OOC_MODEL_HEADER

#define POWER_IS_OFF (-77)
#define NOT_ERASED (-78)
#define MOST_BLOCKS 100000u

static uint8_t *stores[2], *pristine[2];
static uint32_t sizes[2], input_bytes, output_bytes, block_bytes = 4096;
static uint8_t *input, *expected, *found, *banks[OOC_MAX_BANKS], scratch[1u << 17];
static uint32_t programs[2][MOST_BLOCKS], erases[2][MOST_BLOCKS];
static uint32_t deed_count, cut_at, torn, note_writes;
static int off, note_is_written;
static struct ooc state;
static uint64_t seed = 1;

static uint32_t drawn(uint32_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static void fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    exit(1);
}

static uint8_t *read_file(const char *path, uint32_t *bytes) {
    FILE *stream = fopen(path, "rb");
    uint8_t *content = malloc(1u << 24);
    if (stream == NULL || content == NULL) {
        fail(path);
    }
    *bytes = (uint32_t)fread(content, 1, 1u << 24, stream);
    fclose(stream);
    return content;
}

/* ------------------------------------------------------------------------- port */

static int read_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes) {
    (void)context;
    (void)channel;
    if (off || offset + bytes > sizes[store]) {
        return POWER_IS_OFF;
    }
    memcpy(target, stores[store] + offset, bytes);
    return 0;
}

/* How much of a write or erase is done: all of it, or what `torn` says if power fails in it. */
static uint32_t done(uint32_t bytes) {
    if (++deed_count == cut_at) {
        off = 1;
        return torn == 0 ? 0 : torn == 1 ? bytes / 2 : bytes;
    }
    return bytes;
}

static int is_note(uint8_t store, uint32_t offset) {
    const struct ooc_region *region = &OOC_MODEL.region[OOC_REGION_SCRATCH];
    return store == region->store && offset >= region->base
           && (offset - region->base) % OOC_MODEL.ring.step == region->bytes;
}

static int write_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                       uint32_t bytes) {
    uint32_t k;
    (void)context;
    (void)channel;
    if (off || offset + bytes > sizes[store]) {
        return POWER_IS_OFF;
    }
#ifdef NOR
    for (k = 0; k < bytes; k++) {
        if (stores[store][offset + k] != 0xFF) {
            return NOT_ERASED;
        }
    }
#endif
    for (k = offset / block_bytes; k <= (offset + bytes - 1) / block_bytes; k++) {
        programs[store][k]++;
    }
    k = done(bytes);
    memcpy(stores[store] + offset, source, k);
    if (is_note(store, offset)) {
        note_writes++;
        note_is_written = k >= 16; /* the rest of a granule says nothing */
    }
    return off ? POWER_IS_OFF : 0;
}

#ifdef NOR
static int erase_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint32_t bytes) {
    uint32_t whole = (bytes + NOR - 1) / NOR * NOR;
    uint32_t k;
    (void)context;
    (void)channel;
    if (off || offset % NOR != 0 || offset + whole > sizes[store]) {
        return POWER_IS_OFF;
    }
    for (k = offset / block_bytes; k < (offset + whole) / block_bytes; k++) {
        erases[store][k]++;
    }
    memset(stores[store] + offset, 0xFF, done(whole));
    return off ? POWER_IS_OFF : 0;
}
#endif

static int poll(void *context, uint8_t channel) {
    (void)context;
    (void)channel;
    return off ? POWER_IS_OFF : 1;
}

static struct ooc_port port;

/* ----------------------------------------------------------------------- device */

static uint32_t whole(uint32_t bytes) {
#ifdef NOR
    return (bytes + NOR - 1) / NOR * NOR;
#else
    return bytes;
#endif
}

static void make(const char *image_path, const char *input_path, const char *expected_path) {
    uint32_t image_bytes;
    const uint8_t *image = read_file(image_path, &image_bytes);
    unsigned k;
    input = read_file(input_path, &input_bytes);
    expected = read_file(expected_path, &output_bytes);
    found = malloc(output_bytes);
    for (k = 0; k < 4; k++) {
        const struct ooc_region *region = &OOC_MODEL.region[k];
        uint32_t bytes = k == OOC_REGION_SCRATCH ? OOC_MODEL.ring.step * OOC_MODEL.ring.places : region->bytes;
        if (region->base + whole(bytes) > sizes[region->store]) {
            sizes[region->store] = region->base + whole(bytes);
        }
    }
    for (k = 0; k < 2; k++) {
        stores[k] = malloc(sizes[k] + 1);
        pristine[k] = malloc(sizes[k] + 1);
        memset(pristine[k], 0x5A, sizes[k]);
    }
    memcpy(pristine[0], image, image_bytes);
    for (k = 0; k < OOC_MODEL.banks; k++) {
        banks[k] = malloc(OOC_MODEL.bank_bytes[k]);
    }
    port.read_start = read_start;
    port.write_start = write_start;
#ifdef NOR
    port.erase_start = erase_start;
#endif
    port.poll = poll;
    port.capacity[0] = sizes[0];
    port.capacity[1] = sizes[1];
}

static void factory(void) {
    unsigned k;
    for (k = 0; k < 2; k++) {
        memcpy(stores[k], pristine[k], sizes[k]);
    }
}

/* Power is back: nothing but the stores is as it was. */
static void boot(void) {
    unsigned k;
    uint32_t at = 0;
    off = 0;
    cut_at = 0;
    for (k = 0; k < OOC_MODEL.banks; k++) {
        memset(banks[k], 0xA5, OOC_MODEL.bank_bytes[k]);
    }
    if (ooc_open(&state, &OOC_MODEL, banks, &port) != OOC_DONE) {
        fail("cannot be opened");
    }
    for (k = 0; k < OOC_MODEL.inputs; k++) {
        if (ooc_input_write(&state, k, input + at, OOC_MODEL.bindings[k].bytes, scratch, sizeof scratch) != OOC_DONE) {
            fail("no input");
        }
        at += OOC_MODEL.bindings[k].bytes;
    }
}

/* 1 if the outputs are what they should be. */
static int is_right(void) {
    unsigned k;
    uint32_t at = 0;
    for (k = 0; k < OOC_MODEL.outputs; k++) {
        uint32_t bytes = OOC_MODEL.bindings[OOC_MODEL.inputs + k].bytes;
        if (ooc_output_read(&state, k, found + at, bytes, scratch, sizeof scratch) != OOC_DONE) {
            return 0;
        }
        at += bytes;
    }
    return memcmp(found, expected, output_bytes) == 0;
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
    deed_count = 0;
    if (ooc_run(&state) != OOC_DONE || !is_right()) {
        fail("a run without cuts fails");
    }
    deeds = deed_count;
    for (place = 0; place < OOC_MODEL.ring.places; place++) {
        for (at = 1; at <= deeds; at++) {
            for (torn = 0; torn < 3; torn++) {
                uint32_t k, next;
                factory();
                boot();
                for (k = 0; k < place; k++) {
                    wrong += ooc_run(&state) != OOC_DONE;
                }
                deed_count = 0;
                cut_at = at;
                note_is_written = 0;
                if (ooc_run(&state) == OOC_DONE) {
                    fail("power was not cut");
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
        deed_count = 0;
        torn = drawn(2);
        cut_at = drawn(2) == 0 ? 1u + drawn(30) : 0u;
        note_is_written = 0;
        result = ooc_run(&state);
        astray += state.place != next;
        next = note_is_written ? (next + 1u) % places : next;
        wrong += !off && (result != OOC_DONE || !is_right());
        cuts += off != 0;
        if (off || drawn(4) == 0) {
            boot();
        }
    }
    printf("cuts %lu\nwrong %lu\nastray %lu\n", (unsigned long)cuts, (unsigned long)wrong, (unsigned long)astray);
}

int main(int argc, char *argv[]) {
    if (argc < 5) {
        fail("usage");
    }
    make(argv[2], argv[3], argv[4]);
    if (strcmp(argv[1], "count") == 0 && argc == 8) {
        block_bytes = (uint32_t)atol(argv[5]);
        count((uint32_t)atol(argv[6]), (uint32_t)atol(argv[7]));
    } else if (strcmp(argv[1], "cut") == 0) {
        cut();
    } else if (strcmp(argv[1], "life") == 0 && argc == 7) {
        seed = (uint64_t)atol(argv[6]);
        life((uint32_t)atol(argv[5]));
    } else {
        fail("usage");
    }
    return 0;
}
