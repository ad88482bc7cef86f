/* ooc_seal.h - sealed records: weights, rows of spilled activations, the journal. Internal to the runtime.
 *
 * A sealed record is its payload, encrypted, then nonce and tag. What a nonce says is where the record
 * belongs and when it was sealed: enum ooc_use in byte 0; bytes 1-7 of an image the first of the digest,
 * otherwise the numbers of the run (4) and of the opening (3); in bytes 8-11 the offset in the region.
 * All lowest byte first.
 */
#ifndef OOC_SEALED_RECORDS
#define OOC_SEALED_RECORDS

#include "ooc.h"
#include "ooc_tile.h"

#ifdef __cplusplus
extern "C" {
#endif

#define OOC_MOST_OPENINGS 0x00FFFFFFu

#ifdef OOC_SEAL

/* See that the sealed parts of the tables are inside what they refer to. */
int ooc_seal_check(const struct ooc *state);

/* Take the port's cipher, and find the number of this opening. `scratch` holds a granule of the store in
 * which the journal is. */
int ooc_seal_prepare(struct ooc *state, uint8_t *scratch);

/* Write both slots of the journal. */
int ooc_seal_provision(struct ooc *state, uint8_t *scratch, uint32_t opening);

/* Erase a part of a store where that must be, while nothing is under way. (ooc.c) */
int ooc_seal_erase(struct ooc *state, const struct ooc_region *part);

/* Go on to the next run. */
int ooc_seal_next_run(struct ooc *state);

/* Do what an OOC_CRYPTO command says: open the records that a load has brought to `sram`, or seal those there that a
 * store will take. */
int ooc_seal_work(const struct ooc *state, const struct ooc_command *command, uint8_t *sram);

/* Make zeros of what a store moves besides rows, up to the granules: it goes to storage in the clear, and opened weights
 * may have been there. `offset` is that of a segment in the region. */
void ooc_seal_blank(const struct ooc *state, unsigned region, uint32_t offset, uint8_t *sram, uint32_t bytes);

#ifdef OOC_ENGINE
/* Have the engine begin with record `number` of those that a command of its stream opens or seals at `sram`: 1, 0 if
 * there is none left, or an error. */
int ooc_engine_start(const struct ooc *state, const struct ooc_command *command, uint8_t *sram, uint32_t number);

/* Ask for its end: 1, 0 or an error. */
int ooc_engine_end(const struct ooc *state, const struct ooc_command *command, uint8_t *sram, uint32_t number);

/* Whether tables have a stream for an engine. */
int ooc_engine_works(const struct ooc_model *model);
#endif

#endif

#ifdef __cplusplus
}
#endif

#endif
