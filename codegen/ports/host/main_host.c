/* main_host.c - run an emitted network on a PC.
 *
 *     prog IMAGE INPUT OUTPUT [--seed N] [--runs N] [--stats] [--blocks]
 *          [--latency-ns N] [--read-bps N] [--write-bps N] [--granule N] [--block N]
 *          [--fail N] [--flip N] [--short N] [--partial N] [--hang N] [--timeout-us N]
 *          [--full N] [--cut N] [--shrink N] [--retry N] [--log FILE] [--key FILE]
 *          [--annex FILE] [--rounds N]
 *
 * Compile with -DOOC_MODEL_HEADER='"NAME.h"' -DOOC_MODEL=NAME_model together with the
 * emitted NAME.c, the runtime and port_host.c. IMAGE is NAME.bin; it is copied, never
 * changed. INPUT holds all network inputs one after the other, dense, in the order of
 * the tables; OUTPUT receives the outputs likewise, and appears only if all went well.
 *
 * --seed 0 (default): transfers take latency + bytes / rate of a virtual clock that stands
 * still while kernels run. Other seeds: unpredictable completion (port_host.h). --runs N:
 * N runs with seeds N, N+1, ..., each with a new storage and arena full of garbage; all
 * outputs must be equal. --rounds N: each of them runs N times on its storage, and the counters are those of all
 * rounds. --granule N: what the emulated storage insists on (default 1).
 * --block N: bytes of a block in worst_block_writes (default 4096). --blocks: --stats, and of each block that was
 * written its store, its number and how many writes touched it. --log FILE: when each
 * command of the only run started and ended (port_host.h), for ooc-trace.
 *
 * --key FILE: the key of sealed records, which tables ask for with OOC_SEAL. The journal is provisioned first.
 * --annex FILE: NAME_annex.bin, which tables ask for with OOC_ANNEX; copied to its store, never changed.
 *
 * OOC_CARRIED inputs and outputs, the last ones, are carried from one run to the next: they are in none of the files,
 * and the outputs of a run are those of the inputs of the run before. Then INPUT may hold the inputs of any number of
 * runs, OUTPUT receives the outputs of all, and the network runs once more than that, for the last of them. Faults
 * concern the first run, counters are those of the last; --retry and --rounds are for networks without such inputs.
 *
 * Faults, each in every run, by the number of the transfer (from 1): --fail fails, --flip has
 * one wrong bit, --short moves half of its bytes silently, --partial says so, --hang never
 * ends (--timeout-us: what the port allows; 1000000 with --hang). By the number of the write:
 * --full finds no room, --cut loses power in the middle. --shrink N: the stores lack N bytes.
 * --retry 1: after a failure the fault is repaired and the network runs again; --retry 2:
 * likewise after a power cycle, with what is in the stores. The failure is still told.
 *
 * Exit status: 0 done, 1 failed (one line on stderr says why), 2 wrong usage.
 */
#include "ooc.h"
#include "port_host.h"

#ifdef OOC_ENGINE
#include "emulated_engine.h"
#endif
#ifdef OOC_SEAL
#include "crypto_mbedtls.h"
#endif

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include OOC_MODEL_HEADER

#ifndef OOC_CARRIED
#define OOC_CARRIED 0u
#endif
#define INPUTS ((unsigned)OOC_MODEL.inputs - OOC_CARRIED)
#define OUTPUTS ((unsigned)OOC_MODEL.outputs - OOC_CARRIED)
#define GUARD 64u
#define GUARD_BYTE 0xC5u

struct bytes {
    uint8_t *data;
    uint32_t size;
};

struct options {
    const char *image;
    const char *input;
    const char *output;
    uint64_t runs;
    uint64_t retry;
    uint32_t shrink;
    uint32_t rounds; /* 0 counts as 1 */
    int stats; /* 1, or 3 with those of each block */
    const char *log_path; /* NULL: no log */
    const char *key_path;
    struct bytes key;
    const char *annex_path;
    struct bytes annex;
    FILE *log;
    struct host_port host; /* settings only, without faults */
    struct host_port fault; /* faults only */
};

/* -------------------------------------------------------------------------- files */

static int complain(const char *what, const char *which) {
    fprintf(stderr, "ooc: %s%s%s\n", what, *which ? ": " : "", which);
    return 1;
}

static int read_file(const char *path, struct bytes *file) {
    FILE *stream = fopen(path, "rb");
    long size = -1;
    file->data = NULL;
    if (stream == NULL) {
        return complain("cannot open", path);
    }
    if (fseek(stream, 0, SEEK_END) == 0) {
        size = ftell(stream);
    }
    if (size >= 0 && size <= 0x7FFFFFFF && fseek(stream, 0, SEEK_SET) == 0) {
        file->size = (uint32_t)size;
        file->data = malloc((size_t)size + 1);
    }
    if (file->data == NULL || fread(file->data, 1, file->size, stream) != file->size) {
        free(file->data);
        file->data = NULL;
        fclose(stream);
        return complain("cannot read", path);
    }
    fclose(stream);
    return 0;
}

/* Write beside the target, then rename: a reader never sees half an output. */
static int write_file(const char *path, const struct bytes *content) {
    size_t length = strlen(path);
    char *temporary = malloc(length + 5);
    FILE *stream;
    int sound;
    if (temporary == NULL) {
        return complain("out of memory", "");
    }
    memcpy(temporary, path, length);
    memcpy(temporary + length, ".tmp", 5);
    stream = fopen(temporary, "wb");
    sound = stream != NULL && fwrite(content->data, 1, content->size, stream) == content->size;
    if (stream != NULL && fclose(stream) != 0) {
        sound = 0;
    }
    sound = sound && rename(temporary, path) == 0;
    if (!sound) {
        remove(temporary);
        complain("cannot write", path);
    }
    free(temporary);
    return !sound;
}

/* --------------------------------------------------------------------------- arena */

static void arena_fill(uint8_t *const banks[], struct host_port *host) {
    unsigned k;
    uint32_t i;
    for (k = 0; k < OOC_MODEL.banks; k++) {
        for (i = 0; i < OOC_MODEL.bank_bytes[k]; i++) {
            banks[k][i] = (uint8_t)host_port_random(host);
        }
    }
}

static int arena_new(uint8_t *blocks[], uint8_t *banks[], struct host_port *host) {
    unsigned k;
    for (k = 0; k < OOC_MODEL.banks; k++) {
        uint32_t size = OOC_MODEL.bank_bytes[k];
        blocks[k] = malloc((size_t)size + (size_t)2 * GUARD);
        if (blocks[k] == NULL) {
            return complain("out of memory", "");
        }
        memset(blocks[k], GUARD_BYTE, (size_t)size + (size_t)2 * GUARD);
        banks[k] = blocks[k] + GUARD;
    }
    arena_fill(banks, host);
    return 0;
}

static int arena_is_intact(uint8_t *const banks[]) {
    unsigned k, i;
    for (k = 0; k < OOC_MODEL.banks; k++) {
        for (i = 0; i < GUARD; i++) {
            if (banks[k][OOC_MODEL.bank_bytes[k] + i] != GUARD_BYTE || *(banks[k] - 1 - i) != GUARD_BYTE) {
                return 0;
            }
        }
    }
    return 1;
}

static void arena_free(uint8_t *blocks[]) {
    unsigned k;
    for (k = 0; k < OOC_MODEL.banks; k++) {
        free(blocks[k]);
    }
}

/* ----------------------------------------------------------------------------- run */

static uint32_t tensors_bytes(unsigned first, unsigned count) {
    uint32_t sum = 0;
    unsigned k;
    for (k = first; k < first + count; k++) {
        sum += OOC_MODEL.bindings[k].bytes;
    }
    return sum;
}

static void store_sizes(uint32_t size[HOST_STORES], uint32_t lacking) {
    unsigned k;
    memset(size, 0, HOST_STORES * sizeof size[0]);
    for (k = 0; k < OOC_REGIONS; k++) {
        const struct ooc_region *region = &OOC_MODEL.region[k];
        if (region->store < HOST_STORES && region->base + region->bytes > size[region->store]) {
            size[region->store] = region->base + region->bytes;
        }
    }
#ifdef OOC_RING
    size[OOC_MODEL.region[OOC_REGION_SCRATCH].store] =
        OOC_MODEL.region[OOC_REGION_SCRATCH].base + OOC_MODEL.ring.places * OOC_MODEL.ring.step;
#endif
#ifdef OOC_SEAL
    if (OOC_MODEL.journal.bytes > 0) {
        size[OOC_MODEL.journal.store] = OOC_MODEL.journal.base + OOC_MODEL.journal.bytes;
    }
#endif
    for (k = 0; k < HOST_STORES; k++) {
        size[k] -= size[k] < lacking ? size[k] : lacking;
    }
}

/* Take the key, and write the journal of a new device. */
#ifdef OOC_SEAL
static struct crypto_mbedtls vault;
static struct ooc_crypto crypto;
#ifdef OOC_ENGINE
static struct ooc_engine engine;
static struct emulated_engine engine_state;
#endif

static int check_key(const struct options *options) {
    uint32_t bytes = crypto_mbedtls_key_bytes(OOC_MODEL.cipher);
    if (options->key.size == bytes) {
        return 0;
    }
    fprintf(stderr, "ooc: %s must hold the %lu bytes of the key (got %lu)\n",
            options->key_path != NULL ? options->key_path : "--key FILE", (unsigned long)bytes,
            (unsigned long)options->key.size);
    return 1;
}

static int provide(struct ooc *state, uint8_t *const banks[], struct ooc_port *port, const struct bytes *key) {
    if (crypto_mbedtls_emulate(&crypto, &vault, OOC_MODEL.cipher, key->data) != 0) {
        return OOC_ERROR_CRYPTO;
    }
    port->crypto = &crypto;
#ifdef OOC_ENGINE
    emulated_engine_bind(&engine, &engine_state, &crypto, 1);
    port->engine = &engine;
#endif
    return ooc_provision(state, &OOC_MODEL, banks, port, 0);
}
#else
static int check_key(const struct options *options) {
    (void)options;
    return 0;
}

static int provide(const struct ooc *state, uint8_t *const banks[], const struct ooc_port *port,
                   const struct bytes *key) {
    (void)state;
    (void)banks;
    (void)port;
    (void)key;
    return OOC_DONE;
}
#endif

static uint32_t scratch_size(void) {
    uint32_t most = 4096;
    unsigned k;
    for (k = 0; k < (unsigned)OOC_MODEL.inputs + OOC_MODEL.outputs; k++) {
        uint32_t granule = OOC_MODEL.bindings[k].operand.granule;
        most = granule > most ? granule : most;
    }
    return most;
}

static int report(const struct ooc *state, int result) {
    fprintf(stderr, "ooc: error %d, %s", result, ooc_message(result));
    if (state->task_stream != 0xFF) {
        fprintf(stderr, " (stream %u, command %lu)", (unsigned)state->task_stream,
                (unsigned long)state->task_index);
    }
    if (state->port_error != 0) {
        fprintf(stderr, " (port error %ld)", (long)state->port_error);
    }
    fprintf(stderr, "\n");
    return 1;
}

static void print_blocks(const struct host_port *host) {
    uint32_t i;
    unsigned k;
    for (k = 0; k < HOST_STORES; k++) {
        for (i = 0; i < host_port_blocks(host, k); i++) {
            if (host->block_writes[k][i] > 0) {
                printf("block_writes %u %lu %lu\n", k, (unsigned long)i, (unsigned long)host->block_writes[k][i]);
            }
        }
    }
}

static void print_stats(const struct ooc *state, const struct host_port *host, int stats) {
    unsigned long tasks = 0, arena = 0;
    unsigned k;
    for (k = 0; k < OOC_MODEL.streams; k++) {
        tasks += state->stream[k].done;
    }
    for (k = 0; k < OOC_MODEL.banks; k++) {
        arena += OOC_MODEL.bank_bytes[k];
    }
    printf("tasks %lu\nreads %lu\nwrites %lu\n", tasks, (unsigned long)host->reads,
           (unsigned long)host->writes);
    printf("bytes_read %.0f\nbytes_written %.0f\n", (double)host->bytes_read, (double)host->bytes_written);
    printf("arena_bytes %lu\nstate_bytes %lu\n", arena, (unsigned long)sizeof(struct ooc));
    printf("max_polls %lu\nworst_block_writes %lu\n", (unsigned long)host->max_polls,
           (unsigned long)host_port_worst_block(host));
    printf("virtual_ns %.0f\n", (double)host->clock_ns);
    if (stats > 1) {
        print_blocks(host);
    }
}

/* Counters and faults concern the schedule alone, not ooc_open or the copies of inputs and
 * outputs. */
static int run_measured(struct ooc *state, struct host_port *host, const struct options *options, int stats) {
    uint32_t round;
    int result;
    host_port_reset(host);
    host->fail_transfer = options->fault.fail_transfer;
    host->flip_transfer = options->fault.flip_transfer;
    host->short_transfer = options->fault.short_transfer;
    host->partial_transfer = options->fault.partial_transfer;
    host->hang_transfer = options->fault.hang_transfer;
    host->full_write = options->fault.full_write;
    host->cut_write = options->fault.cut_write;
    host->log = options->log;
    result = ooc_run(state);
    for (round = 1; round < options->rounds && result == OOC_DONE; round++) {
        result = ooc_run(state);
    }
    host->log = NULL;
    if (stats && result == OOC_DONE) {
        print_stats(state, host, stats);
    }
    return result;
}

static int write_inputs(struct ooc *state, const struct bytes *input, const struct bytes *scratch) {
    const uint8_t *from = input->data;
    int result = OOC_DONE;
    unsigned k;
    for (k = 0; k < INPUTS && result == OOC_DONE; k++) {
        uint32_t bytes = OOC_MODEL.bindings[k].bytes;
        result = ooc_input_write(state, k, from, bytes, scratch->data, scratch->size);
        from += bytes;
    }
    return result;
}

static int read_outputs(struct ooc *state, const struct bytes *output, const struct bytes *scratch) {
    uint8_t *to = output->data;
    int result = OOC_DONE;
    unsigned k;
    for (k = 0; k < OUTPUTS && result == OOC_DONE; k++) {
        uint32_t bytes = OOC_MODEL.bindings[OOC_MODEL.inputs + k].bytes;
        result = ooc_output_read(state, k, to, bytes, scratch->data, scratch->size);
        to += bytes;
    }
    return result;
}

/* Runs that overlap: the outputs of each are those of the inputs before. The last inputs are given twice. */
#if OOC_CARRIED
static int infer(struct ooc *state, uint8_t *const banks[], const struct ooc_port *port,
                 struct host_port *host, const struct options *options, const struct bytes *input,
                 const struct bytes *output, const struct bytes *scratch, int stats) {
    struct bytes in = {input->data, tensors_bytes(0, INPUTS)};
    struct bytes out = {output->data, tensors_bytes(OOC_MODEL.inputs, OUTPUTS)};
    uint32_t runs = input->size / in.size;
    uint32_t k;
    int result = OOC_DONE;
    (void)banks;
    (void)port;
    for (k = 0; k <= runs && result == OOC_DONE; k++) {
        in.data = input->data + (size_t)in.size * (k < runs ? k : runs - 1);
        result = write_inputs(state, &in, scratch);
        if (result == OOC_DONE) {
            result = k == 0 ? run_measured(state, host, options, 0) : ooc_run(state);
        }
        if (result == OOC_DONE && k > 0) {
            out.data = output->data + (size_t)out.size * (k - 1);
            result = read_outputs(state, &out, scratch);
        }
    }
    if (stats && result == OOC_DONE) {
        print_stats(state, host, stats);
    }
    host_port_repair(host);
    return result;
}
#else
/* One inference; after a failed run another one, if that is asked for. */
static int infer(struct ooc *state, uint8_t *const banks[], const struct ooc_port *port,
                 struct host_port *host, const struct options *options, const struct bytes *input,
                 const struct bytes *output, const struct bytes *scratch, int stats) {
    int result = write_inputs(state, input, scratch);
    if (result == OOC_DONE) {
        result = run_measured(state, host, options, stats);
        if (result != OOC_DONE && options->retry > 0) {
            report(state, result);
            host_port_repair(host);
            result = OOC_DONE;
            if (options->retry > 1) {
                arena_fill(banks, host);
                result = ooc_open(state, &OOC_MODEL, banks, port);
                result = result == OOC_DONE ? write_inputs(state, input, scratch) : result;
            }
            result = result == OOC_DONE ? ooc_run(state) : result;
        }
    }
    host_port_repair(host);
    return result == OOC_DONE ? read_outputs(state, output, scratch) : result;
}

#endif

/* Put what the host writes once where the tables expect it. */
static void install(struct host_port *host, const struct bytes *image, const struct bytes *annex) {
    memcpy(host->bytes[0], image->data, image->size < host->size[0] ? image->size : host->size[0]);
#ifdef OOC_ANNEX
    {
        const struct ooc_region *region = &OOC_MODEL.region[OOC_REGION_ANNEX];
        uint32_t left = region->base < host->size[region->store] ? host->size[region->store] - region->base : 0;
        uint32_t bytes = annex->size < left ? annex->size : left;
        if (bytes > 0) {
            memcpy(host->bytes[region->store] + region->base, annex->data, bytes);
        }
    }
#else
    (void)annex;
#endif
}

static int run_once(const struct options *options, uint64_t seed, const struct bytes *image,
                    const struct bytes *input, const struct bytes *output, int stats) {
    struct host_port host = options->host;
    struct ooc_port port;
    struct ooc state;
    struct bytes scratch;
    uint8_t *blocks[OOC_MAX_BANKS] = {NULL, NULL, NULL, NULL};
    uint8_t *banks[OOC_MAX_BANKS] = {NULL, NULL, NULL, NULL};
    uint32_t size[HOST_STORES];
    int result, failed;

    store_sizes(size, options->shrink);
    host.seed = seed;
    scratch.size = scratch_size();
    scratch.data = malloc(scratch.size);
    if (scratch.data == NULL || host_port_init(&host, size) != 0 || arena_new(blocks, banks, &host) != 0) {
        host_port_free(&host);
        arena_free(blocks);
        free(scratch.data);
        return complain("out of memory", "");
    }
    install(&host, image, &options->annex);
    host_port_bind(&port, &host);
    result = provide(&state, banks, &port, &options->key);
    if (result == OOC_DONE) {
        result = ooc_open(&state, &OOC_MODEL, banks, &port);
    }
    if (result == OOC_DONE) {
        result = infer(&state, banks, &port, &host, options, input, output, &scratch, stats);
    }
    failed = result == OOC_DONE ? 0 : report(&state, result);
    if (!arena_is_intact(banks)) {
        failed = complain("the arena was overrun", "");
    }
    arena_free(blocks);
    host_port_free(&host);
    free(scratch.data);
    return failed;
}

static int run_all(const struct options *options, const struct bytes *image, const struct bytes *input,
                   const struct bytes *output) {
    struct bytes again = {NULL, 0};
    uint64_t k;
    int failed = run_once(options, options->host.seed, image, input, output, options->stats);
    again.size = output->size;
    again.data = malloc((size_t)again.size + 1);
    if (again.data == NULL) {
        return complain("out of memory", "");
    }
    for (k = 1; k < options->runs && !failed; k++) {
        failed = run_once(options, options->host.seed + k, image, input, &again, 0);
        if (!failed && memcmp(again.data, output->data, output->size) != 0) {
            fprintf(stderr, "ooc: outputs differ between seeds %.0f and %.0f\n", (double)options->host.seed,
                    (double)(options->host.seed + k));
            failed = 1;
        }
    }
    free(again.data);
    return failed;
}

/* -------------------------------------------------------------------- command line */

static int usage(const char *what, const char *which) {
    complain(what, which);
    fprintf(stderr,
            "usage: IMAGE INPUT OUTPUT [--seed N] [--runs N] [--stats] [--blocks] [--latency-ns N]\n"
            "       [--read-bps N] [--write-bps N] [--granule N] [--block N] [--fail N] [--flip N] [--short N]\n"
            "       [--partial N] [--hang N] [--timeout-us N] [--full N] [--cut N] [--shrink N]\n"
            "       [--retry N] [--log FILE] [--key FILE] [--annex FILE] [--rounds N]\n");
    return 2;
}

static int number(const char *text, uint64_t *value) {
    *value = 0;
    if (*text == '\0' || strlen(text) > 18) {
        return 0;
    }
    for (; *text != '\0'; text++) {
        if (*text < '0' || *text > '9') {
            return 0;
        }
        *value = *value * 10 + (uint64_t)(*text - '0');
    }
    return 1;
}

/* An option whose value fits 32 bits, and where it goes. */
static uint32_t *small_option(struct options *options, const char *name) {
    struct {
        const char *name;
        uint32_t *target;
    } const option[] = {
        {"--latency-ns", &options->host.setup_ns},
        {"--block", &options->host.block_bytes},
        {"--timeout-us", &options->host.timeout_us},
        {"--shrink", &options->shrink},
        {"--rounds", &options->rounds},
        {"--fail", &options->fault.fail_transfer},
        {"--flip", &options->fault.flip_transfer},
        {"--short", &options->fault.short_transfer},
        {"--partial", &options->fault.partial_transfer},
        {"--hang", &options->fault.hang_transfer},
        {"--full", &options->fault.full_write},
        {"--cut", &options->fault.cut_write}
    };
    size_t k;
    for (k = 0; k < sizeof option / sizeof option[0]; k++) {
        if (strcmp(name, option[k].name) == 0) {
            return option[k].target;
        }
    }
    return NULL;
}

/* Store the value of an option; 0 if there is no such option. */
static int set_option(struct options *options, const char *name, uint64_t value) {
    struct host_port *host = &options->host;
    uint32_t *small = small_option(options, name);
    if (small != NULL) {
        *small = (uint32_t)value;
    } else if (strcmp(name, "--seed") == 0) {
        host->seed = value;
    } else if (strcmp(name, "--runs") == 0) {
        options->runs = value;
    } else if (strcmp(name, "--retry") == 0) {
        options->retry = value;
    } else if (strcmp(name, "--read-bps") == 0) {
        host->read_bytes_per_s = value;
    } else if (strcmp(name, "--write-bps") == 0) {
        host->write_bytes_per_s = value;
    } else if (strcmp(name, "--granule") == 0) {
        unsigned k;
        for (k = 0; k < HOST_STORES; k++) {
            host->granule[k] = (uint32_t)value;
        }
    } else {
        return 0;
    }
    return 1;
}

static int parse(int argc, char *argv[], struct options *options) {
    const char **file[] = {&options->image, &options->input, &options->output};
    unsigned files = 0;
    int k;
    for (k = 1; k < argc; k++) {
        uint64_t value;
        if (strcmp(argv[k], "--stats") == 0) {
            options->stats |= 1;
        } else if (strcmp(argv[k], "--blocks") == 0) {
            options->stats |= 3;
        } else if (strcmp(argv[k], "--log") == 0 && k + 1 < argc) {
            options->log_path = argv[++k];
        } else if (strcmp(argv[k], "--key") == 0 && k + 1 < argc) {
            options->key_path = argv[++k];
        } else if (strcmp(argv[k], "--annex") == 0 && k + 1 < argc) {
            options->annex_path = argv[++k];
        } else if (strncmp(argv[k], "--", 2) != 0) {
            if (files == 3) {
                return usage("too many files", argv[k]);
            }
            *file[files++] = argv[k];
        } else if (k + 1 == argc || !number(argv[k + 1], &value)) {
            return usage("a whole number must follow", argv[k]);
        } else if (!set_option(options, argv[k], value)) {
            return usage("unknown option", argv[k]);
        } else {
            k++;
        }
    }
    if (options->log_path != NULL && (options->runs > 1 || options->rounds > 1)) {
        return usage("a log is of one run", options->log_path);
    }
    if (OOC_CARRIED && (options->retry > 0 || options->rounds > 0)) {
        return usage("not for runs that overlap", "--retry, --rounds");
    }
    if (options->fault.hang_transfer != 0 && options->host.timeout_us == 0) {
        options->host.timeout_us = 1000000;
    }
    return files == 3 ? 0 : usage("three files are needed", "IMAGE INPUT OUTPUT");
}

/* The log is a file of its own: it is closed, and found whole, before the output appears. */
static int open_log(struct options *options) {
    if (options->log_path != NULL) {
        options->log = fopen(options->log_path, "wb");
        if (options->log == NULL) {
            return complain("cannot write", options->log_path);
        }
        fprintf(options->log, HOST_LOG_HEAD);
    }
    return 0;
}

static int close_log(const struct options *options) {
    int sound = options->log == NULL || !ferror(options->log);
    if (options->log != NULL && fclose(options->log) != 0) {
        sound = 0;
    }
    return sound ? 0 : complain("cannot write", options->log_path);
}

/* Of how many runs a file holds the inputs; 0 if of none, or of more than there may be. */
static uint32_t runs_in(const struct bytes *input) {
    uint32_t each = tensors_bytes(0, INPUTS);
    uint32_t runs = each > 0 && input->size % each == 0 ? input->size / each : 0;
    return OOC_CARRIED || runs == 1 ? runs : 0;
}

int main(int argc, char *argv[]) {
    static struct options options;
    struct bytes image, input, output;
    uint32_t runs;
    int failed = parse(argc, argv, &options);
    if (failed) {
        return failed;
    }
    if (options.key_path != NULL && read_file(options.key_path, &options.key) != 0) {
        return 1;
    }
    if (options.annex_path != NULL && read_file(options.annex_path, &options.annex) != 0) {
        free(options.key.data);
        return 1;
    }
    if (read_file(options.image, &image) != 0) {
        free(options.key.data);
        free(options.annex.data);
        return 1;
    }
    if (read_file(options.input, &input) != 0) {
        free(options.key.data);
        free(options.annex.data);
        free(image.data);
        return 1;
    }
    runs = runs_in(&input);
    output.size = tensors_bytes(OOC_MODEL.inputs, OUTPUTS) * runs;
    output.data = malloc((size_t)output.size + 1);
    if (output.data == NULL) {
        failed = complain("out of memory", "");
    } else if (runs == 0) {
        fprintf(stderr, "ooc: %s must hold %lu bytes%s (got %lu)\n", options.input,
                (unsigned long)tensors_bytes(0, INPUTS), OOC_CARRIED ? " for each run" : "",
                (unsigned long)input.size);
        failed = 1;
    } else {
        (void)remove(options.output); /* one of an earlier run would look like that of this one */
        failed = check_key(&options);
        failed = failed ? failed : open_log(&options);
        failed = failed ? failed : run_all(&options, &image, &input, &output);
        failed = close_log(&options) || failed;
    }
    if (!failed) {
        failed = write_file(options.output, &output);
    }
    free(options.key.data);
    free(options.annex.data);
    free(image.data);
    free(input.data);
    free(output.data);
    return failed;
}
