/* emulated_engine.c - a crypto engine beside the CPU, emulated. */
#include "emulated_engine.h"

#ifdef OOC_ENGINE

#include <string.h>

#define MISUSE (-1) /* started while it is busy, or polled while it is not */
#define MOST_POLLS 8u

static void turn(const struct emulated_engine *state) {
    uint32_t k;
    for (k = 0; k < state->bytes; k++) {
        state->data[k] = (uint8_t)~state->data[k];
    }
}

static int start(void *context, int seals, uint8_t use, const uint8_t nonce[OOC_NONCE_BYTES], uint8_t *data,
                 uint32_t bytes, uint8_t tag[OOC_TAG_BYTES]) {
    struct emulated_engine *state = context;
    if (state->busy) {
        return MISUSE;
    }
    state->random = state->random * 1664525u + 1013904223u;
    state->polls_left = (state->random >> 16) % MOST_POLLS;
    state->busy = 1;
    state->seals = seals;
    state->use = use;
    state->nonce = nonce;
    state->data = data;
    state->bytes = bytes;
    state->tag = tag;
    turn(state);
    return 0;
}

static int poll(void *context) {
    struct emulated_engine *state = context;
    const struct ooc_crypto *by = state->by;
    int result;
    if (!state->busy) {
        return MISUSE;
    }
    if (state->polls_left > 0u) {
        state->polls_left--;
        return 0;
    }
    state->busy = 0;
    state->records++;
    turn(state);
    result = state->seals ? by->seal(by->context, state->use, state->nonce, state->data, state->bytes, state->tag)
                          : by->open(by->context, state->use, state->nonce, state->data, state->bytes, state->tag);
    if (result > 0) {
        return OOC_WRONG_TAG;
    }
    return result == 0 ? 1 : result;
}

void emulated_engine_bind(struct ooc_engine *engine, struct emulated_engine *state, const struct ooc_crypto *by,
                          uint32_t seed) {
    memset(state, 0, sizeof *state);
    state->by = by;
    state->random = seed;
    engine->context = state;
    engine->start = start;
    engine->poll = poll;
}

#else
typedef char ooc_has_no_engine; /* C wants a declaration */
#endif
