/* sealed_device.c - a device whose storage somebody changes, or whose power fails: for test_sealed_runs.py.
 *
 *     prog attack IMAGE INPUT KEY OUTPUT COUNT SEED   a line per attack: kind, result, stream, command
 *     prog cut IMAGE INPUT KEY                        cuts power at every write; prints what nonces came twice
 *     prog journal IMAGE INPUT KEY                    loses slots of the journal; a line per case: name, result
 *     prog noise IMAGE INPUT KEY COUNT SEED           bytes anywhere but in inputs and outputs change at any read;
 *                                                     prints how many runs told it or were right
 *     prog dump IMAGE INPUT KEY FOLDER                one run; leaves the stores in FOLDER/storeK.bin
 *
 * Compile with -DOOC_SEAL, -DOOC_MODEL_HEADER and -DOOC_MODEL as main_host.c; with -DOOC_ENGINE an engine opens and
 * seals, later.
 */
#include "crypto_mbedtls.h"
#ifdef OOC_ENGINE
#include "emulated_engine.h"
#endif
#include "memory_device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include OOC_MODEL_HEADER

#define MOST_OPENS 200000u
#define MOST_NONCES 400000u

/* A record that was opened: where it lies in storage, and which read brought it. */
struct opened {
    uint32_t read;
    uint32_t address;
    uint32_t bytes;
    uint8_t store;
    uint8_t use;
};

static struct memory_device device;
static uint8_t *pristine[DEVICE_STORES], *before[DEVICE_STORES];
static struct opened opens[MOST_OPENS];
static uint32_t open_count, read_count, attack_read;
static uint8_t noting;
static uint8_t (*nonces)[OOC_NONCE_BYTES];
static uint32_t nonce_count;
static struct ooc_crypto real, watched;
static struct crypto_mbedtls vault;
#ifdef OOC_ENGINE
static struct ooc_engine engine;
static struct emulated_engine engine_state;
#endif
static struct ooc state;
static void (*attack)(void);

/* ------------------------------------------------------------------------- port */

/* Reads of one stream: a load is opened before the next one, or some loads later. So all reads are noted. */
#define MOST_READS 100000u
static struct { const uint8_t *target; uint32_t address, bytes; uint8_t store; } reads[MOST_READS];

static int noted_read(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes) {
    int result;
    if (!device.off && ++read_count == attack_read && attack != NULL) {
        attack();
    }
    result = device_read(context, channel, store, offset, target, bytes);
    if (result == 0 && noting && read_count < MOST_READS) {
        reads[read_count].target = target;
        reads[read_count].address = offset;
        reads[read_count].bytes = bytes;
        reads[read_count].store = store;
    }
    return result;
}

static int open_noted(void *context, uint8_t use, const uint8_t nonce[OOC_NONCE_BYTES], uint8_t *data,
                      uint32_t bytes, const uint8_t tag[OOC_TAG_BYTES]) {
    uint32_t k = read_count;
    if (noting && open_count < MOST_OPENS) {
        while (k > 0 && !(data >= reads[k].target && data + bytes <= reads[k].target + reads[k].bytes)) {
            k--;
        }
        opens[open_count].read = k;
        opens[open_count].store = reads[k].store;
        opens[open_count].address = reads[k].address + (uint32_t)(data - reads[k].target);
        opens[open_count].bytes = bytes + OOC_SEAL_BYTES;
        opens[open_count++].use = use;
    }
    return real.open(context, use, nonce, data, bytes, tag);
}

static int seal_noted(void *context, uint8_t use, const uint8_t nonce[OOC_NONCE_BYTES], uint8_t *data,
                      uint32_t bytes, uint8_t tag[OOC_TAG_BYTES]) {
    if (nonces != NULL && use == OOC_USE_SCRATCH && nonce_count < MOST_NONCES) {
        memcpy(nonces[nonce_count++], nonce, OOC_NONCE_BYTES);
    }
    return real.seal(context, use, nonce, data, bytes, tag);
}

/* ----------------------------------------------------------------------- device */

static const char *name_of(int result) {
    switch (result) {
    case OOC_DONE: return "done";
    case OOC_ERROR_TAMPERED: return "tampered";
    case OOC_ERROR_SWAPPED: return "swapped";
    case OOC_ERROR_REPLAYED: return "replayed";
    case OOC_ERROR_JOURNAL: return "journal";
    case OOC_ERROR_TRUNCATED: return "truncated";
    default: return "other";
    }
}

static void set_up(const char *image_path, const char *key_path) {
    uint32_t k, image_bytes, key_bytes;
    const uint8_t *image = device_file(image_path, &image_bytes), *key = device_file(key_path, &key_bytes);
    device.seed = 1;
    device_make(&device, &OOC_MODEL, 1);
    device.port.read_start = noted_read;
    for (k = 0; k < DEVICE_STORES; k++) {
        pristine[k] = device_memory(device.size[k]);
        before[k] = device_memory(device.size[k]);
    }
    memcpy(device.store[0], image, image_bytes);
    if (crypto_mbedtls_emulate(&real, &vault, OOC_MODEL.cipher, key) != 0) {
        exit(2);
    }
    watched = real;
    watched.open = open_noted;
    watched.seal = seal_noted;
    device.port.crypto = &watched;
#ifdef OOC_ENGINE
    emulated_engine_bind(&engine, &engine_state, &watched, 1);
    device.port.engine = &engine;
#endif
    if (ooc_provision(&state, &OOC_MODEL, device.banks, &device.port, 0) != OOC_DONE) {
        exit(2);
    }
}

/* ---------------------------------------------------------------------- attacks */

static const struct opened *victim, *other;

static void flip(void) {
    device.store[victim->store][victim->address + device_drawn(&device, victim->bytes)] ^= (uint8_t)(1u << device_drawn(&device, 8));
}

static void swap(void) {
    uint8_t *a = device.store[victim->store] + victim->address, *b = device.store[other->store] + other->address;
    uint32_t k;
    for (k = 0; k < victim->bytes; k++) {
        uint8_t kept = a[k];
        a[k] = b[k];
        b[k] = kept;
    }
}

static void replay(void) {
    memcpy(device.store[victim->store] + victim->address, before[victim->store] + victim->address, victim->bytes);
}

/* Choose a record for a kind of attack: 0 flip, 1 swap, 2 replay. Whether there is one. */
static int choose(uint32_t kind) {
    uint32_t tries;
    for (tries = 0; tries < 10000; tries++) {
        victim = &opens[device_drawn(&device, open_count)];
        if (kind == 0 || (kind == 2 && victim->use == OOC_USE_SCRATCH)) {
            return 1;
        }
        other = &opens[device_drawn(&device, open_count)];
        if (kind == 1 && other->use == victim->use && other->bytes == victim->bytes && other->read <= victim->read
            && (other->store != victim->store || other->address != victim->address)) {
            return 1;
        }
    }
    return 0;
}

static void note_clean_run(const uint8_t *input, const char *output_path) {
    uint8_t *output = device_memory(1u << 20);
    FILE *file = fopen(output_path, "wb");
    uint32_t bytes;
    read_count = 0;
    noting = 1;
    if (device_write_inputs(&state, input) != OOC_DONE || ooc_start(&state) != OOC_DONE) {
        exit(4);
    }
    while (ooc_step(&state) == OOC_BUSY) {
    }
    noting = 0;
    if (state.status != OOC_DONE) {
        fprintf(stderr, "a clean run failed: %d\n", (int)state.status);
        exit(4);
    }
    if (device_read_outputs(&state, output, &bytes) != OOC_DONE || file == NULL || fwrite(output, 1, bytes, file) != bytes || fclose(file) != 0) {
        exit(4);
    }
    free(output);
}

static void attacks(const uint8_t *input, const char *output_path, uint32_t count) {
    static void (*const kinds[3])(void) = {flip, swap, replay};
    static const char *const names[3] = {"flip", "swap", "replay"};
    uint32_t i, k;
    if (ooc_open(&state, &OOC_MODEL, device.banks, &device.port) != OOC_DONE) {
        exit(4);
    }
    note_clean_run(input, output_path);
    for (k = 0; k < 2; k++) {
        memcpy(before[k], device.store[k], device.size[k]);
    }
    for (i = 0; i < count; i++) {
        uint32_t kind = i % 3;
        if (!choose(kind)) {
            continue;
        }
        for (k = 0; k < 2; k++) {
            memcpy(pristine[k], device.store[k], device.size[k]);
        }
        attack = kinds[kind];
        if (device_write_inputs(&state, input) != OOC_DONE) {
            exit(4);
        }
        read_count = 0;
        attack_read = victim->read;
        (void)ooc_run(&state);
        printf("%s %s %u %lu\n", names[kind], name_of(state.status), (unsigned)state.task_stream,
               (unsigned long)state.task_index);
        attack = NULL;
        for (k = 0; k < 2; k++) {
            memcpy(device.store[k], pristine[k], device.size[k]);
        }
    }
    note_clean_run(input, output_path);
}

/* -------------------------------------------------------------------- power cuts */

static int by_bytes(const void *a, const void *b) {
    return memcmp(a, b, OOC_NONCE_BYTES);
}

static int live(const uint8_t *input) {
    int result = ooc_open(&state, &OOC_MODEL, device.banks, &device.port);
    result = result == OOC_DONE ? device_write_inputs(&state, input) : result;
    return result == OOC_DONE ? ooc_run(&state) : result;
}

static void cuts(const uint8_t *input) {
    uint32_t writes, k, twice = 0, lives = 0, failed = 0;
    nonces = device_memory(MOST_NONCES * OOC_NONCE_BYTES);
    device.deeds = 0;
    if (live(input) != OOC_DONE) {
        exit(4);
    }
    writes = device.deeds;
    for (device.torn = 0; device.torn < 3; device.torn++) {
        for (device.cut_at = 1; device.cut_at <= writes; device.cut_at++) {
            device.deeds = 0;
            (void)live(input);
            device.off = 0;
            lives++;
        }
        device.cut_at = 0;
        failed += live(input) != OOC_DONE;
    }
    qsort(nonces, nonce_count, OOC_NONCE_BYTES, by_bytes);
    for (k = 1; k < nonce_count; k++) {
        twice += memcmp(nonces[k - 1], nonces[k], OOC_NONCE_BYTES) == 0;
    }
    printf("writes %lu\nlives %lu\nnonces %lu\ntwice %lu\nfailed %lu\n", (unsigned long)writes,
           (unsigned long)lives, (unsigned long)nonce_count, (unsigned long)twice, (unsigned long)failed);
}

/* ----------------------------------------------------------------------- journal */

static void lose(unsigned slot) {
    uint32_t bytes = OOC_MODEL.journal.bytes / 2;
    memset(device.store[OOC_MODEL.journal.store] + OOC_MODEL.journal.base + slot * bytes, 0xFF, bytes);
}

/* Reads of a slot fail, as of a block that was torn and has the wrong check bits; 2: of none. */
static void refuse(unsigned slot) {
    device.refused_store = OOC_MODEL.journal.store;
    device.refused_offset = OOC_MODEL.journal.base + slot * (OOC_MODEL.journal.bytes / 2);
    device.refuses = slot < 2;
}

static void opened(const char *what) {
    int result = ooc_open(&state, &OOC_MODEL, device.banks, &device.port);
    printf("%s %s %lu\n", what, name_of(result), (unsigned long)state.opening);
}

static void journal(void) {
    unsigned slot, k;
    opened("first");
    opened("second");
    for (slot = 0; slot < 2; slot++) {
        lose(slot);
        opened("lost");
        lose(slot);
        opened("lost_again");
        lose(1 - slot);
        opened("other_lost");
        opened("after");
        opened("later");
    }
    for (k = 0; k < 2; k++) {
        refuse(k);
        opened("refused");
        refuse(2);
        opened("after");
    }
    lose(0);
    lose(1);
    opened("both_lost");
    if (ooc_provision(&state, &OOC_MODEL, device.banks, &device.port, 1000) != OOC_DONE) {
        exit(4);
    }
    opened("provisioned");
}

/* ------------------------------------------------------------------------- noise */

static int is_plain(uint8_t store, uint32_t address) {
    unsigned k;
    for (k = OOC_REGION_INPUT; k <= OOC_REGION_OUTPUT; k++) {
        const struct ooc_region *region = &OOC_MODEL.region[k];
        if (region->store == store && address >= region->base && address - region->base < region->bytes) {
            return 1;
        }
    }
    return 0;
}

static void make_noise(void) {
    uint8_t store = (uint8_t)device_drawn(&device, DEVICE_STORES);
    uint32_t bytes = 1u + device_drawn(&device, 64), k, at;
    if (device.size[store] == 0) {
        return;
    }
    at = device_drawn(&device, device.size[store]);
    for (k = at; k < at + bytes && k < device.size[store]; k++) {
        if (!is_plain(store, k)) {
            device.store[store][k] = (uint8_t)device_drawn(&device, 256);
        }
    }
}

/* Journal and image are looked at once, so each time starts with ooc_open; what was there before is put back. */
static void noise(const uint8_t *input, uint32_t count) {
    uint8_t *wanted = device_memory(1u << 20), *output = device_memory(1u << 20);
    uint32_t told = 0, right = 0, bytes = 0, i, k;
    read_count = 0;
    if (live(input) != OOC_DONE || device_read_outputs(&state, wanted, &bytes) != OOC_DONE) {
        exit(4);
    }
    for (k = read_count, i = 0; i < count; i++) {
        unsigned j;
        for (j = 0; j < DEVICE_STORES; j++) {
            memcpy(pristine[j], device.store[j], device.size[j]);
        }
        attack = make_noise;
        attack_read = 1u + device_drawn(&device, k);
        read_count = 0;
        if (live(input) != OOC_DONE) {
            told++;
        } else {
            attack = NULL;
            right += device_read_outputs(&state, output, &bytes) == OOC_DONE && memcmp(output, wanted, bytes) == 0;
        }
        attack = NULL;
        for (j = 0; j < DEVICE_STORES; j++) {
            memcpy(device.store[j], pristine[j], device.size[j]);
        }
    }
    printf("told %lu\nright %lu\n", (unsigned long)told, (unsigned long)right);
}

/* -------------------------------------------------------------------------- dump */

/* The arena is full of something before, so that whatever is not written by the run is seen. */
static void dump(const uint8_t *input, const char *folder) {
    char path[512];
    unsigned k;
    for (k = 0; k < OOC_MODEL.banks; k++) {
        memset(device.banks[k], 0xA5, OOC_MODEL.bank_bytes[k]);
    }
    if (ooc_provision(&state, &OOC_MODEL, device.banks, &device.port, 0) != OOC_DONE || live(input) != OOC_DONE) {
        exit(4);
    }
    for (k = 0; k < DEVICE_STORES; k++) {
        FILE *file;
        snprintf(path, sizeof path, "%s/store%u.bin", folder, k);
        file = fopen(path, "wb");
        if (file == NULL || fwrite(device.store[k], 1, device.size[k], file) != device.size[k] || fclose(file) != 0) {
            exit(4);
        }
    }
}

int main(int argc, char *argv[]) {
    uint32_t bytes;
    const uint8_t *input;
    if (argc < 5) {
        return 2;
    }
    input = device_file(argv[3], &bytes);
    set_up(argv[2], argv[4]);
    if (strcmp(argv[1], "attack") == 0 && argc == 8) {
        device.seed = strtoull(argv[7], NULL, 10);
        attacks(input, argv[5], (uint32_t)strtoul(argv[6], NULL, 10));
    } else if (strcmp(argv[1], "cut") == 0) {
        cuts(input);
    } else if (strcmp(argv[1], "noise") == 0 && argc == 7) {
        device.seed = strtoull(argv[6], NULL, 10);
        noise(input, (uint32_t)strtoul(argv[5], NULL, 10));
    } else if (strcmp(argv[1], "dump") == 0 && argc == 6) {
        dump(input, argv[5]);
    } else {
        journal();
    }
    return 0;
}
