/* host_store.c - prepare the stores of an emulated machine, and read them back, on the host.
 *
 *     host_store pack IMAGE INPUT DIRECTORY BYTES FILL [KEY]
 *     host_store unpack DIRECTORY OUTPUT [KEY]
 *
 * pack makes in DIRECTORY: store0.img with IMAGE and store1.img, the network inputs among them
 * where the tables want them; input.bin, a copy of INPUT, for inputs in the arena; output.bin,
 * zeros. A store file has at least BYTES bytes and a power of two of them; all that nobody wrote
 * holds FILL. unpack collects the outputs from the stores and from output.bin in OUTPUT.
 *
 * Where runs overlap INPUT holds the inputs of any number of runs, and OUTPUT gets theirs. inputs.bin is then the
 * region of inputs as it is before each run, and outputs.bin, zeros, is for that of outputs behind each run.
 *
 * KEY is the file with the key of sealed records, which tables ask for with OOC_SEAL; pack writes their journal.
 *
 * It is the runtime itself that knows where tensors lie: this program opens the tables on the
 * host, over stores in memory.
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
#define OOC_CARRIED 0u /* inputs and outputs that one run leaves for the next: the last ones, in none of the files */
#endif
#define INPUTS ((unsigned)OOC_MODEL.inputs - OOC_CARRIED)
#define OUTPUTS ((unsigned)OOC_MODEL.outputs - OOC_CARRIED)

#define SCRATCH 65536u
#define PATH 4096

struct bench {
    struct host_port host;
    struct ooc_port port;
    struct ooc state;
    uint8_t *banks[OOC_MAX_BANKS];
    uint8_t scratch[SCRATCH];
#ifdef OOC_SEAL
    struct ooc_crypto crypto;
    struct crypto_mbedtls vault;
#ifdef OOC_ENGINE
    struct ooc_engine engine;
    struct emulated_engine engine_state;
#endif
#endif
};

static void fail(const char *what, const char *which) {
    fprintf(stderr, "ooc: %s: %s\n", what, which);
    exit(1);
}

static void *room(size_t bytes) {
    void *memory = calloc(bytes + 1, 1);
    if (memory == NULL) {
        fail("out of memory", "host_store");
    }
    return memory;
}

static uint64_t number(const char *text) {
    char *end;
    unsigned long long value = strtoull(text, &end, 10);
    if (*end != '\0' || end == text) {
        fail("must be a whole number", text);
    }
    return value;
}

/* -------------------------------------------------------------------------- files */

static const char *inside(const char *directory, const char *name) {
    static char path[PATH];
    int length = snprintf(path, PATH, "%s/%s", directory, name);
    if (length < 0 || length >= (int)PATH) {
        fail("path too long", directory);
    }
    return path;
}

static const char *store_name(unsigned store) {
    return store == 0 ? "store0.img" : "store1.img";
}

/* All of a file, or its first `most` bytes; how many in *bytes. */
static uint8_t *read_file(const char *path, uint32_t most, uint32_t *bytes) {
    FILE *stream = fopen(path, "rb");
    uint8_t *content;
    size_t size = most;
    if (stream == NULL) {
        fail("cannot open", path);
    }
    if (most == 0) {
        long end = fseek(stream, 0, SEEK_END) == 0 ? ftell(stream) : -1;
        size = end < 0 || end > 0x7FFFFFFF ? 0 : (size_t)end;
        rewind(stream);
    }
    content = room(size);
    *bytes = (uint32_t)fread(content, 1, size, stream);
    if (*bytes != size) {
        fail("cannot read", path);
    }
    fclose(stream);
    return content;
}

/* Zeros are left as a hole, so that large cards take no room. */
static int pad(FILE *stream, uint64_t from, uint64_t to, uint8_t fill) {
    if (fill == 0 && to > from) {
        return fseek(stream, (long)(to - 1), SEEK_SET) == 0 && fputc(0, stream) == 0;
    }
    for (; from < to; from++) {
        if (fputc(fill, stream) == EOF) {
            return 0;
        }
    }
    return 1;
}

static void write_file(const char *path, const uint8_t *content, uint32_t bytes, uint64_t size, uint8_t fill) {
    FILE *stream = fopen(path, "wb");
    int sound = stream != NULL && fwrite(content, 1, bytes, stream) == bytes && pad(stream, bytes, size, fill);
    if (stream != NULL && fclose(stream) != 0) {
        sound = 0;
    }
    if (!sound) {
        fail("cannot write", path);
    }
}

/* ------------------------------------------------------------------------- tables */

static uint32_t tensors_bytes(unsigned first, unsigned count) {
    uint32_t sum = 0;
    unsigned k;
    for (k = first; k < first + count; k++) {
        sum += OOC_MODEL.bindings[k].bytes;
    }
    return sum;
}

static void store_sizes(uint32_t size[HOST_STORES]) {
    unsigned k;
    size[0] = size[1] = 0;
    for (k = 0; k < 4; k++) {
        const struct ooc_region *region = &OOC_MODEL.region[k];
        if (region->base + region->bytes > size[region->store]) {
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
}

static void check(int result, const char *what) {
    if (result != OOC_DONE) {
        fail(what, ooc_message(result));
    }
}

/* Take the key; for a new device write the journal. */
#ifdef OOC_SEAL
static void provide(struct bench *bench, const char *key_path, int is_new) {
    uint32_t bytes;
    const uint8_t *key = read_file(key_path, 0, &bytes);
    if (bytes != crypto_mbedtls_key_bytes(OOC_MODEL.cipher)) {
        fail("must hold the bytes of the key and nothing else", key_path);
    }
    if (crypto_mbedtls_emulate(&bench->crypto, &bench->vault, OOC_MODEL.cipher, key) != 0) {
        fail("the cipher does not take the key", key_path);
    }
    bench->port.crypto = &bench->crypto;
#ifdef OOC_ENGINE
    emulated_engine_bind(&bench->engine, &bench->engine_state, &bench->crypto, 1);
    bench->port.engine = &bench->engine;
#endif
    if (is_new) {
        check(ooc_provision(&bench->state, &OOC_MODEL, bench->banks, &bench->port, 0), "the journal cannot be written");
    }
}
#else
static void provide(const struct bench *bench, const char *key_path, int is_new) {
    (void)bench;
    (void)key_path;
    (void)is_new;
}
#endif

static void bench_open(struct bench *bench, const char *key_path, int is_new) {
    unsigned k;
    for (k = 0; k < OOC_MODEL.banks; k++) {
        bench->banks[k] = room(OOC_MODEL.bank_bytes[k]);
    }
    host_port_bind(&bench->port, &bench->host);
    provide(bench, key_path, is_new);
    check(ooc_open(&bench->state, &OOC_MODEL, bench->banks, &bench->port), "the tables cannot be opened");
}

static struct bench *bench_new(uint8_t fill) {
    struct bench *bench = room(sizeof *bench);
    uint32_t size[HOST_STORES];
    unsigned k;
    store_sizes(size);
    if (host_port_init(&bench->host, size) != 0) {
        fail("out of memory", "host_store");
    }
    for (k = 0; k < HOST_STORES; k++) {
        memset(bench->host.bytes[k], fill, bench->host.size[k]);
    }
    return bench;
}

/* ------------------------------------------------------------------- the two deeds */

static uint64_t file_size(uint64_t least, uint64_t bytes) {
    uint64_t size = 512;
    while (size < least || size < bytes) {
        size *= 2;
    }
    return size;
}

static void write_inputs(struct bench *bench, const uint8_t *input) {
    unsigned k;
    for (k = 0; k < INPUTS; k++) {
        const struct ooc_binding *binding = &OOC_MODEL.bindings[k];
        if (binding->operand.place == OOC_STREAMED) {
            check(ooc_input_write(&bench->state, k, input, binding->bytes, bench->scratch, SCRATCH),
                  "the input cannot be stored");
        }
        input += binding->bytes;
    }
}

static void read_outputs(struct bench *bench, uint8_t *output) {
    unsigned k;
    for (k = 0; k < OUTPUTS; k++) {
        const struct ooc_binding *binding = &OOC_MODEL.bindings[OOC_MODEL.inputs + k];
        if (binding->operand.place == OOC_STREAMED) {
            check(ooc_output_read(&bench->state, k, output, binding->bytes, bench->scratch, SCRATCH),
                  "the output cannot be read from the storage");
        }
        output += binding->bytes;
    }
}

/* Of how many runs so many bytes are, `each` of a run; 0 if of none, or of more than there may be. */
static uint32_t runs_in(uint32_t bytes, uint32_t each) {
    uint32_t runs = each > 0 && bytes % each == 0 ? bytes / each : 0;
    return OOC_CARRIED || runs == 1 ? runs : 0;
}

/* The region of inputs before each run, and room for that of outputs behind each. */
#if OOC_CARRIED
static uint8_t *region_of(const struct bench *bench, enum ooc_region_id id) {
    const struct ooc_region *region = &OOC_MODEL.region[id];
    return bench->host.bytes[region->store] + region->base;
}

static void pack_regions(struct bench *bench, const uint8_t *input, uint32_t runs, const char *directory) {
    uint32_t region = OOC_MODEL.region[OOC_REGION_INPUT].bytes;
    uint32_t inputs = region * runs, outputs = OOC_MODEL.region[OOC_REGION_OUTPUT].bytes * runs;
    uint8_t *regions = room(inputs);
    uint32_t k;
    for (k = 0; k < runs; k++) {
        write_inputs(bench, input + (size_t)k * tensors_bytes(0, INPUTS));
        memcpy(regions + (size_t)k * region, region_of(bench, OOC_REGION_INPUT), region);
    }
    write_file(inside(directory, "inputs.bin"), regions, inputs, inputs, 0);
    write_file(inside(directory, "outputs.bin"), room(outputs), outputs, outputs, 0);
    free(regions);
}

static uint8_t *read_regions(const char *directory) {
    uint32_t bytes;
    return read_file(inside(directory, "outputs.bin"), 0, &bytes);
}

static void unpack_region(const struct bench *bench, const uint8_t *regions, uint32_t run) {
    uint32_t region = OOC_MODEL.region[OOC_REGION_OUTPUT].bytes;
    memcpy(region_of(bench, OOC_REGION_OUTPUT), regions + (size_t)run * region, region);
}
#else
static void pack_regions(const struct bench *bench, const uint8_t *input, uint32_t runs, const char *directory) {
    (void)bench;
    (void)input;
    (void)runs;
    (void)directory;
}

static uint8_t *read_regions(const char *directory) {
    (void)directory;
    return NULL;
}

static void unpack_region(const struct bench *bench, const uint8_t *regions, uint32_t run) {
    (void)bench;
    (void)regions;
    (void)run;
}
#endif

static void pack(const char *image_path, const char *input_path, const char *directory, uint64_t least,
                 uint8_t fill, const char *key_path) {
    struct bench *bench = bench_new(fill);
    uint32_t image_bytes, input_bytes, outputs, runs;
    uint8_t *image = read_file(image_path, 0, &image_bytes);
    uint8_t *input = read_file(input_path, 0, &input_bytes);
    unsigned k;
    runs = runs_in(input_bytes, tensors_bytes(0, INPUTS));
    outputs = tensors_bytes(OOC_MODEL.inputs, OUTPUTS) * runs;
    if (runs == 0) {
        fprintf(stderr, "ooc: %s must hold %lu bytes%s (got %lu)\n", input_path,
                (unsigned long)tensors_bytes(0, INPUTS), OOC_CARRIED ? " for each run" : "", (unsigned long)input_bytes);
        exit(1);
    }
    if (image_bytes > bench->host.size[0]) {
        fail("not the image of these tables", image_path);
    }
    memcpy(bench->host.bytes[0], image, image_bytes);
    bench_open(bench, key_path, 1);
    pack_regions(bench, input, runs, directory);
    write_inputs(bench, input);
    for (k = 0; k < HOST_STORES; k++) {
        uint32_t bytes = bench->host.size[k];
        write_file(inside(directory, store_name(k)), bench->host.bytes[k], bytes, file_size(least, bytes), fill);
    }
    write_file(inside(directory, "input.bin"), input, input_bytes, input_bytes, 0);
    write_file(inside(directory, "output.bin"), room(outputs), outputs, outputs, 0);
}

static void unpack(const char *directory, const char *output_path, const char *key_path) {
    struct bench *bench = bench_new(0);
    uint32_t bytes, each = tensors_bytes(OOC_MODEL.inputs, OUTPUTS);
    uint8_t *output = read_file(inside(directory, "output.bin"), 0, &bytes);
    uint8_t *regions = read_regions(directory);
    unsigned k;
    for (k = 0; k < HOST_STORES; k++) {
        uint32_t size = bench->host.size[k];
        if (size > 0) {
            uint8_t *content = read_file(inside(directory, store_name(k)), size, &size);
            memcpy(bench->host.bytes[k], content, size);
            free(content);
        }
    }
    bench_open(bench, key_path, 0);
    for (k = 0; k < runs_in(bytes, each); k++) {
        unpack_region(bench, regions, k);
        bench->state.status = OOC_DONE; /* the run was on the machine */
        read_outputs(bench, output + (size_t)k * each);
    }
    write_file(output_path, output, bytes, bytes, 0);
    free(regions);
}

int main(int argc, char *argv[]) {
    if ((argc == 7 || argc == 8) && strcmp(argv[1], "pack") == 0) {
        pack(argv[2], argv[3], argv[4], number(argv[5]), (uint8_t)number(argv[6]), argc == 8 ? argv[7] : "");
    } else if ((argc == 4 || argc == 5) && strcmp(argv[1], "unpack") == 0) {
        unpack(argv[2], argv[3], argc == 5 ? argv[4] : "");
    } else {
        fprintf(stderr, "usage: pack IMAGE INPUT DIRECTORY BYTES FILL [KEY], or unpack DIRECTORY OUTPUT [KEY]\n");
        return 2;
    }
    return 0;
}
