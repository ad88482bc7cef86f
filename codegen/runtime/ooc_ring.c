/* ooc_ring.c - wear levelling: at which place of its ring the scratch region lies in a run. */
#include "ooc_ring.h"

#ifdef OOC_RING

#include <string.h>

#define DIGEST 4u /* where the parts of a note begin */
#define CHECKSUM 12u
#define NOTE_BYTES 16u

static void put(uint8_t *to, uint32_t value) {
    unsigned k;
    for (k = 0; k < 4u; k++) {
        to[k] = (uint8_t)(value >> (8u * k));
    }
}

static uint32_t taken(const uint8_t *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

/* Where notes go through: whatever is there belongs to no input, so it may be lost between runs. */
static uint8_t *buffer(const struct ooc *o) {
    const struct ooc_ring *ring = &o->model->ring;
    return ooc_address(o, (uint32_t)ring->buffer * o->model->unit, ring->note);
}

static int move_note(struct ooc *o, uint32_t place, int to_store) {
    const struct ooc_region *region = &o->model->region[OOC_REGION_SCRATCH];
    const struct ooc_ring *ring = &o->model->ring;
    uint32_t offset = region->base + place * ring->step + region->bytes;
    return ooc_transfer(o, region->store, offset, buffer(o), ring->note, to_store);
}

/* The number of the run that used a place last; 1 in *known if there is a sound note of these tables. One that was torn
 * so that its part cannot read it is lost like any other. */
static int read_note(struct ooc *o, uint32_t place, uint32_t *run, int *known) {
    int result = move_note(o, place, 0);
    const uint8_t *note = buffer(o);
    *known = 0;
    *run = 0;
    if (result == OOC_DONE) {
        *known = ooc_checksum(note, NOTE_BYTES) == 0u
                 && memcmp(note + DIGEST, o->model->digest, CHECKSUM - DIGEST) == 0;
        *run = taken(note);
    }
    return result == OOC_ERROR_PORT || result == OOC_ERROR_SHORT ? OOC_DONE : result;
}

/* The last place up to which each run came right behind the one at place 0: there the last run was. */
static int search(struct ooc *o, uint32_t first) {
    uint32_t low = 0, high = o->model->ring.places;
    int result = OOC_DONE;
    while (high - low > 1u && result == OOC_DONE) {
        uint32_t middle = low + (high - low) / 2u;
        uint32_t run;
        int known;
        result = read_note(o, middle, &run, &known);
        if (known && run == first + middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    o->place = low;
    o->turn = first + low;
    return result;
}

/* Without a note at place 0 a lap was about to begin there, or nothing was ever written. */
int ooc_ring_find(struct ooc *o) {
    uint32_t last = o->model->ring.places - 1u;
    uint32_t run;
    int known;
    int result = read_note(o, 0, &run, &known);
    if (result != OOC_DONE) {
        return result;
    }
    if (known) {
        return search(o, run);
    }
    result = read_note(o, last, &run, &known);
    o->place = last;
    o->turn = known ? run : UINT32_MAX;
    return result;
}

void ooc_ring_turn(struct ooc *o) {
    o->place = o->place + 1u < o->model->ring.places ? o->place + 1u : 0u;
    o->turn++;
}

/* The rest of the granule is zeros, lest something leaks that was in the arena. */
int ooc_ring_note(struct ooc *o) {
    uint8_t *note = buffer(o);
    memset(note, 0, o->model->ring.note);
    put(note, o->turn);
    memcpy(note + DIGEST, o->model->digest, CHECKSUM - DIGEST);
    put(note + CHECKSUM, ooc_checksum(note, CHECKSUM));
    return move_note(o, o->place, 1);
}

struct ooc_region ooc_ring_region(const struct ooc *o, unsigned number) {
    struct ooc_region region = o->model->region[number];
    if (number == (unsigned)OOC_REGION_SCRATCH) {
        region.base += o->place * o->model->ring.step;
        region.bytes = o->model->ring.step;
    }
    return region;
}

/* ----------------------------------------------------------------------- tables */

static int inputs_are_apart(const struct ooc *o) {
    const struct ooc_model *model = o->model;
    uint32_t start = (uint32_t)model->ring.buffer * model->unit;
    int apart = 1;
    unsigned k;
    for (k = 0; k < model->inputs; k++) {
        const struct ooc_binding *input = &model->bindings[k];
        apart = apart
                && (input->operand.place != (uint8_t)OOC_RESIDENT || start >= input->offset + input->bytes
                    || input->offset >= start + model->ring.note);
    }
    return apart;
}

int ooc_ring_check(const struct ooc *o) {
    const struct ooc_ring *ring = &o->model->ring;
    const struct ooc_region *region = &o->model->region[OOC_REGION_SCRATCH];
    return ring->places > 0u && ring->note >= NOTE_BYTES && region->bytes <= UINT32_MAX - ring->note
           && ring->step >= region->bytes + ring->note && ring->step <= (UINT32_MAX - region->base) / ring->places
           && o->port->write_start != NULL && buffer(o) != NULL && inputs_are_apart(o);
}

#else
typedef char ooc_has_no_scratch_ring; /* C wants a declaration */
#endif
