/* sealed_device.c - a device whose storage somebody changes, or whose power fails: for test_sealed_runs.py.
 *
 *     prog attack IMAGE INPUT KEY OUTPUT COUNT SEED   a line per attack: kind, result, stream, command
 *     prog cut IMAGE INPUT KEY                        cuts power at every write; prints what nonces came twice
 *     prog journal IMAGE INPUT KEY                    loses slots of the journal; a line per case: name, result
 *
 * Compile with -DOOC_SEAL, -DOOC_MODEL_HEADER and -DOOC_MODEL as main_host.c; with -DOOC_ENGINE an engine opens and
 * seals, later. The port moves bytes at once.
 */
#include "crypto_mbedtls.h"
#ifdef OOC_ENGINE
#include "emulated_engine.h"
#endif
#include "ooc.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include OOC_MODEL_HEADER

#define MOST_OPENS 200000u
#define MOST_NONCES 400000u
#define POWER_IS_OFF (-77)

/* A record that was opened: where it lies in storage, and which read brought it. */
struct opened {
    uint32_t read;
    uint32_t address;
    uint32_t bytes;
    uint8_t store;
    uint8_t use;
};

static uint8_t *stores[2], *pristine[2], *before[2];
static uint32_t sizes[2];
static struct opened opens[MOST_OPENS];
static uint32_t open_count, read_count, write_count, cut_at, torn, attack_read;
static uint8_t noting, off;
static uint8_t (*nonces)[OOC_NONCE_BYTES];
static uint32_t nonce_count;
static struct ooc_crypto real, watched;
static struct crypto_mbedtls vault;
static struct ooc_port port;
#ifdef OOC_ENGINE
static struct ooc_engine engine;
static struct emulated_engine engine_state;
#endif
static struct ooc state;
static uint8_t *banks[OOC_MAX_BANKS];
static uint64_t seed = 1;
static void (*attack)(void);

static uint32_t drawn(uint32_t below) {
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (uint32_t)(seed >> 33) % below;
}

static uint8_t *read_file(const char *path, uint32_t *bytes) {
    FILE *stream = fopen(path, "rb");
    uint8_t *content = malloc(1u << 24);
    if (stream == NULL || content == NULL) {
        fprintf(stderr, "cannot read %s\n", path);
        exit(2);
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
    if (++read_count == attack_read && attack != NULL) {
        attack();
    }
    memcpy(target, stores[store] + offset, bytes);
    return 0;
}

static int write_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                       uint32_t bytes) {
    (void)context;
    (void)channel;
    if (off || offset + bytes > sizes[store]) {
        return POWER_IS_OFF;
    }
    if (++write_count == cut_at) {
        off = 1;
        memcpy(stores[store] + offset, source, torn == 0 ? 0 : torn == 1 ? bytes / 2 : bytes);
        return POWER_IS_OFF;
    }
    memcpy(stores[store] + offset, source, bytes);
    return 0;
}

static int poll(void *context, uint8_t channel) {
    (void)context;
    (void)channel;
    return off ? POWER_IS_OFF : 1;
}

/* Reads of one stream: a load is opened before the next one, or some loads later. So all reads are noted. */
#define MOST_READS 100000u
static struct { const uint8_t *target; uint32_t address, bytes; uint8_t store; } reads[MOST_READS];

static int noted_read(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes) {
    int result = read_start(context, channel, store, offset, target, bytes);
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
    const uint8_t *image = read_file(image_path, &image_bytes), *key = read_file(key_path, &key_bytes);
    for (k = 0; k < 4; k++) {
        const struct ooc_region *region = &OOC_MODEL.region[k];
        uint32_t end = region->base + region->bytes;
        sizes[region->store] = end > sizes[region->store] ? end : sizes[region->store];
    }
    if (OOC_MODEL.journal.bytes > 0) {
        sizes[OOC_MODEL.journal.store] = OOC_MODEL.journal.base + OOC_MODEL.journal.bytes;
    }
    for (k = 0; k < 2; k++) {
        stores[k] = calloc(sizes[k] + 1, 1);
        pristine[k] = calloc(sizes[k] + 1, 1);
        before[k] = calloc(sizes[k] + 1, 1);
    }
    memcpy(stores[0], image, image_bytes);
    for (k = 0; k < OOC_MODEL.banks; k++) {
        banks[k] = calloc(OOC_MODEL.bank_bytes[k], 1);
    }
    if (crypto_mbedtls_emulate(&real, &vault, OOC_MODEL.cipher, key) != 0) {
        exit(2);
    }
    watched = real;
    watched.open = open_noted;
    watched.seal = seal_noted;
    port.granule[0] = port.granule[1] = 1;
    port.read_start = noted_read;
    port.write_start = write_start;
    port.poll = poll;
    port.crypto = &watched;
#ifdef OOC_ENGINE
    emulated_engine_bind(&engine, &engine_state, &watched, 1);
    port.engine = &engine;
#endif
    if (ooc_provision(&state, &OOC_MODEL, banks, &port, 0) != OOC_DONE) {
        exit(2);
    }
}

static int write_inputs(const uint8_t *input) {
    static uint8_t scratch[65536];
    int result = OOC_DONE;
    unsigned k;
    for (k = 0; k < OOC_MODEL.inputs && result == OOC_DONE; k++) {
        result = ooc_input_write(&state, k, input, OOC_MODEL.bindings[k].bytes, scratch, sizeof scratch);
        input += OOC_MODEL.bindings[k].bytes;
    }
    return result;
}

static uint32_t outputs(uint8_t *to) {
    static uint8_t scratch[65536];
    uint32_t at = 0;
    unsigned k;
    for (k = 0; k < OOC_MODEL.outputs; k++) {
        uint32_t bytes = OOC_MODEL.bindings[OOC_MODEL.inputs + k].bytes;
        if (ooc_output_read(&state, k, to + at, bytes, scratch, sizeof scratch) != OOC_DONE) {
            exit(3);
        }
        at += bytes;
    }
    return at;
}

/* ---------------------------------------------------------------------- attacks */

static const struct opened *victim, *other;

static void flip(void) {
    stores[victim->store][victim->address + drawn(victim->bytes)] ^= (uint8_t)(1u << drawn(8));
}

static void swap(void) {
    uint8_t *a = stores[victim->store] + victim->address, *b = stores[other->store] + other->address;
    uint32_t k;
    for (k = 0; k < victim->bytes; k++) {
        uint8_t kept = a[k];
        a[k] = b[k];
        b[k] = kept;
    }
}

static void replay(void) {
    memcpy(stores[victim->store] + victim->address, before[victim->store] + victim->address, victim->bytes);
}

/* Choose a record for a kind of attack: 0 flip, 1 swap, 2 replay. Whether there is one. */
static int choose(uint32_t kind) {
    uint32_t tries;
    for (tries = 0; tries < 10000; tries++) {
        victim = &opens[drawn(open_count)];
        if (kind == 0 || (kind == 2 && victim->use == OOC_USE_SCRATCH)) {
            return 1;
        }
        other = &opens[drawn(open_count)];
        if (kind == 1 && other->use == victim->use && other->bytes == victim->bytes && other->read <= victim->read
            && (other->store != victim->store || other->address != victim->address)) {
            return 1;
        }
    }
    return 0;
}

static void note_clean_run(const uint8_t *input, const char *output_path) {
    uint8_t *output = calloc(1u << 20, 1);
    FILE *file = fopen(output_path, "wb");
    uint32_t bytes;
    read_count = 0;
    noting = 1;
    if (write_inputs(input) != OOC_DONE || ooc_start(&state) != OOC_DONE) {
        exit(4);
    }
    while (ooc_step(&state) == OOC_BUSY) {
    }
    noting = 0;
    if (state.status != OOC_DONE) {
        fprintf(stderr, "a clean run failed: %d\n", (int)state.status);
        exit(4);
    }
    bytes = outputs(output);
    if (file == NULL || fwrite(output, 1, bytes, file) != bytes || fclose(file) != 0) {
        exit(4);
    }
    free(output);
}

static void attacks(const uint8_t *input, const char *output_path, uint32_t count) {
    static void (*const kinds[3])(void) = {flip, swap, replay};
    static const char *const names[3] = {"flip", "swap", "replay"};
    uint32_t i, k;
    if (ooc_open(&state, &OOC_MODEL, banks, &port) != OOC_DONE) {
        exit(4);
    }
    note_clean_run(input, output_path);
    for (k = 0; k < 2; k++) {
        memcpy(before[k], stores[k], sizes[k]);
    }
    for (i = 0; i < count; i++) {
        uint32_t kind = i % 3;
        if (!choose(kind)) {
            continue;
        }
        for (k = 0; k < 2; k++) {
            memcpy(pristine[k], stores[k], sizes[k]);
        }
        attack = kinds[kind];
        if (write_inputs(input) != OOC_DONE) {
            exit(4);
        }
        read_count = 0;
        attack_read = victim->read;
        (void)ooc_run(&state);
        printf("%s %s %u %lu\n", names[kind], name_of(state.status), (unsigned)state.task_stream,
               (unsigned long)state.task_index);
        attack = NULL;
        for (k = 0; k < 2; k++) {
            memcpy(stores[k], pristine[k], sizes[k]);
        }
    }
    note_clean_run(input, output_path);
}

/* -------------------------------------------------------------------- power cuts */

static int by_bytes(const void *a, const void *b) {
    return memcmp(a, b, OOC_NONCE_BYTES);
}

static int live(const uint8_t *input) {
    int result = ooc_open(&state, &OOC_MODEL, banks, &port);
    result = result == OOC_DONE ? write_inputs(input) : result;
    return result == OOC_DONE ? ooc_run(&state) : result;
}

static void cuts(const uint8_t *input) {
    uint32_t writes, k, twice = 0, lives = 0, failed = 0;
    nonces = calloc(MOST_NONCES, OOC_NONCE_BYTES);
    write_count = 0;
    if (nonces == NULL || live(input) != OOC_DONE) {
        exit(4);
    }
    writes = write_count;
    for (torn = 0; torn < 3; torn++) {
        for (cut_at = 1; cut_at <= writes; cut_at++) {
            write_count = 0;
            (void)live(input);
            off = 0;
            lives++;
        }
        cut_at = 0;
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
    memset(stores[OOC_MODEL.journal.store] + OOC_MODEL.journal.base + slot * bytes, 0xFF, bytes);
}

static void opened(const char *what) {
    int result = ooc_open(&state, &OOC_MODEL, banks, &port);
    printf("%s %s %lu\n", what, name_of(result), (unsigned long)state.opening);
}

static void journal(void) {
    opened("first");
    opened("second");
    lose(0);
    opened("newest_lost");
    opened("after");
    lose(1);
    opened("newest_lost_again");
    lose(0);
    lose(1);
    opened("both_lost");
}

int main(int argc, char *argv[]) {
    uint32_t bytes;
    const uint8_t *input;
    if (argc < 5) {
        return 2;
    }
    input = read_file(argv[3], &bytes);
    set_up(argv[2], argv[4]);
    if (strcmp(argv[1], "attack") == 0 && argc == 8) {
        seed = strtoull(argv[7], NULL, 10);
        attacks(input, argv[5], (uint32_t)strtoul(argv[6], NULL, 10));
    } else if (strcmp(argv[1], "cut") == 0) {
        cuts(input);
    } else {
        journal();
    }
    return 0;
}
