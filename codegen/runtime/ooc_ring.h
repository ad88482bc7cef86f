/* ooc_ring.h - wear levelling: the scratch region takes turns at the places of a ring. Internal to the runtime.
 *
 * Behind the region, in each place, is a note of 16 bytes: the number of the run that used the place last (4), the
 * first bytes of the digest of the tables (8), a checksum (4); lowest byte first. A run writes its note before anything
 * else, so that the next one goes on from there, also after a power cut. A lost note costs evenness, nothing else: a
 * run reads from the scratch region only what it has written itself.
 */
#ifndef OOC_SCRATCH_RING
#define OOC_SCRATCH_RING

#include "ooc.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifdef OOC_RING

/* See that the ring in the tables is inside what it refers to. */
int ooc_ring_check(const struct ooc *state);

/* Find the place of the last run, in as many reads as the number of places has bits, and one more. */
int ooc_ring_find(struct ooc *state);

/* Go on to the place of the next run. */
void ooc_ring_turn(struct ooc *state);

/* Write the note of the run in its place, which is erased where that must be. */
int ooc_ring_note(struct ooc *state);

/* A region as the run sees it: the scratch region where its turn is. */
struct ooc_region ooc_ring_region(const struct ooc *state, unsigned number);

#endif

#ifdef __cplusplus
}
#endif

#endif
