/* emulated_engine.h - a crypto engine beside the CPU, emulated: for programs on a PC and in an emulator.
 *
 * It works with the functions of a struct ooc_crypto, but later: a record is done after an unpredictable number of
 * polls (drawn from a seed, repeatable). Until then its data are turned bit by bit, so that whoever reads them too
 * early computes visibly wrong results.
 */
#ifndef EMULATED_ENGINE_H
#define EMULATED_ENGINE_H

#include "ooc_port.h"

#ifdef OOC_ENGINE

/* What is under way, and how much has been done. */
struct emulated_engine {
    const struct ooc_crypto *by;
    uint32_t random;
    uint32_t polls_left;
    int busy;
    int seals;
    uint8_t use;
    const uint8_t *nonce;
    uint8_t *data;
    uint8_t *tag;
    uint32_t bytes;
    uint32_t records; /* done since emulated_engine_bind */
};

/* Fill in an engine that works by some functions; both must outlive its use. */
void emulated_engine_bind(struct ooc_engine *engine, struct emulated_engine *state, const struct ooc_crypto *by,
                          uint32_t seed);

#endif
#endif
