/* two_models.c - two emitted networks in one program, step by step in turns.
 *
 *     prog IMAGE_A INPUT_A OUTPUT_A IMAGE_B INPUT_B OUTPUT_B
 *
 * Each has a state, an arena and a port of its own; the runtime is linked once. The next step
 * belongs to the other network, so that neither is ever alone.
 */
#include "ooc.h"
#include "port_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include MODEL_A_HEADER
#include MODEL_B_HEADER

#define NETWORKS 2

struct network {
    const struct ooc_model *model;
    struct ooc state;
    struct ooc_port port;
    struct host_port host;
    uint8_t *banks[OOC_MAX_BANKS];
};

static uint8_t scratch[4096];

static size_t read_file(const char *path, uint8_t *data, size_t most) {
    FILE *file = fopen(path, "rb");
    size_t bytes = file == NULL ? 0 : fread(data, 1, most, file);
    if (file != NULL) {
        fclose(file);
    }
    return bytes;
}

static int open_network(struct network *network, const char *image, uint64_t seed) {
    uint32_t size[HOST_STORES] = {0, 0};
    unsigned k;
    for (k = 0; k < 4; k++) {
        const struct ooc_region *region = &network->model->region[k];
        if (region->store < HOST_STORES && region->base + region->bytes > size[region->store]) {
            size[region->store] = region->base + region->bytes;
        }
    }
    for (k = 0; k < network->model->banks; k++) {
        network->banks[k] = malloc(network->model->bank_bytes[k]);
        if (network->banks[k] == NULL) {
            return OOC_ERROR_ARGUMENT;
        }
    }
    network->host.seed = seed;
    network->host.granule[0] = network->host.granule[1] = 1;
    if (host_port_init(&network->host, size) != 0) {
        return OOC_ERROR_PORT;
    }
    read_file(image, network->host.bytes[0], network->host.size[0]);
    host_port_bind(&network->port, &network->host);
    return ooc_open(&network->state, network->model, network->banks, &network->port);
}

static int give_input(struct network *network, const char *path) {
    uint32_t bytes = network->model->bindings[0].bytes;
    uint8_t *data = malloc(bytes);
    int result = OOC_ERROR_ARGUMENT;
    if (data != NULL && read_file(path, data, bytes) == bytes) {
        result = ooc_input_write(&network->state, 0, data, bytes, scratch, sizeof scratch);
    }
    free(data);
    return result == OOC_DONE ? ooc_start(&network->state) : result;
}

static int take_output(struct network *network, const char *path) {
    uint32_t bytes = network->model->bindings[network->model->inputs].bytes;
    uint8_t *data = malloc(bytes);
    FILE *file = fopen(path, "wb");
    int result = OOC_ERROR_ARGUMENT;
    if (data != NULL && file != NULL) {
        result = ooc_output_read(&network->state, 0, data, bytes, scratch, sizeof scratch);
        fwrite(data, 1, bytes, file);
        fclose(file);
    }
    free(data);
    return result;
}

/* Whoever is busy takes one step; how often both still were is what the test looks at. */
static int run_in_turns(struct network *networks, unsigned long *together) {
    int status[NETWORKS] = {OOC_BUSY, OOC_BUSY};
    unsigned k;
    while (status[0] == OOC_BUSY || status[1] == OOC_BUSY) {
        *together += status[0] == OOC_BUSY && status[1] == OOC_BUSY;
        for (k = 0; k < NETWORKS; k++) {
            if (status[k] == OOC_BUSY) {
                status[k] = ooc_step(&networks[k].state);
            }
        }
    }
    return status[0] != OOC_DONE ? status[0] : status[1];
}

int main(int argc, char *argv[]) {
    static struct network networks[NETWORKS];
    unsigned long together = 0;
    int result = OOC_DONE;
    int k;
    if (argc != 7) {
        return 2;
    }
    networks[0].model = &MODEL_A;
    networks[1].model = &MODEL_B;
    for (k = 0; k < NETWORKS && result == OOC_DONE; k++) {
        result = open_network(&networks[k], argv[1 + 3 * k], (uint64_t)k + 1);
        result = result == OOC_DONE ? give_input(&networks[k], argv[2 + 3 * k]) : result;
    }
    result = result == OOC_DONE ? run_in_turns(networks, &together) : result;
    for (k = 0; k < NETWORKS && result == OOC_DONE; k++) {
        result = take_output(&networks[k], argv[3 + 3 * k]);
    }
    printf("%lu\n", together);
    if (result != OOC_DONE) {
        fprintf(stderr, "%s\n", ooc_message(result));
    }
    return result != OOC_DONE;
}
