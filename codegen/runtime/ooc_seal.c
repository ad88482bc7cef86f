/* ooc_seal.c - sealed records: opens what was loaded, seals what is stored, counts openings and runs. */
#include "ooc_seal.h"

#ifdef OOC_SEAL

#include <string.h>

#define STAMP 1u /* where the parts of a nonce begin */
#define OFFSET 8u
#define STAMP_BYTES 7u
#define SLOTS 2u

/* ---------------------------------------------------------------------- records */

static void put(uint8_t *to, uint32_t value, unsigned bytes) {
    unsigned k;
    for (k = 0; k < bytes; k++) {
        to[k] = (uint8_t)(value >> (8u * k));
    }
}

static uint32_t taken(const uint8_t *from, unsigned bytes) {
    uint32_t value = 0;
    unsigned k;
    for (k = 0; k < bytes; k++) {
        value |= (uint32_t)from[k] << (8u * k);
    }
    return value;
}

/* The nonce that a record has if it is the right one. */
static void expect(const struct ooc *o, uint8_t use, uint32_t offset, uint8_t nonce[OOC_NONCE_BYTES]) {
    nonce[0] = use;
    if (use == (uint8_t)OOC_USE_IMAGE) {
        memcpy(nonce + STAMP, o->model->digest, STAMP_BYTES);
    } else {
        put(nonce + STAMP, o->run, 4);
        put(nonce + STAMP + 4, o->opening, 3);
    }
    put(nonce + OFFSET, offset, 4);
}

/* Whether a record that was opened is the right one: its own nonce tells where it belongs. */
static int open_judge(const struct ooc *o, uint8_t use, uint32_t offset, const uint8_t *nonce) {
    uint8_t wanted[OOC_NONCE_BYTES];
    expect(o, use, offset, wanted);
    if (nonce[0] != use || memcmp(nonce + OFFSET, wanted + OFFSET, 4) != 0) {
        return OOC_ERROR_SWAPPED;
    }
    return memcmp(nonce, wanted, OFFSET) == 0 ? OOC_DONE : OOC_ERROR_REPLAYED;
}

/* Open a record whose payload has `bytes` bytes. */
static int open_record(const struct ooc *o, uint8_t use, uint32_t offset, uint8_t *data, uint32_t bytes) {
    const struct ooc_crypto *crypto = o->port->crypto;
    const uint8_t *nonce = data + bytes;
    int result = crypto->open(crypto->context, use, nonce, data, bytes, nonce + OOC_NONCE_BYTES);
    if (result != 0) {
        return result < 0 ? OOC_ERROR_CRYPTO : OOC_ERROR_TAMPERED;
    }
    return open_judge(o, use, offset, nonce);
}

static int seal_record(const struct ooc *o, uint8_t use, uint32_t offset, uint8_t *data, uint32_t bytes) {
    const struct ooc_crypto *crypto = o->port->crypto;
    uint8_t *nonce = data + bytes;
    int result;
    expect(o, use, offset, nonce);
    result = crypto->seal(crypto->context, use, nonce, data, bytes, nonce + OOC_NONCE_BYTES);
    return result == 0 ? OOC_DONE : OOC_ERROR_CRYPTO;
}

/* ------------------------------------------------------------------------- rows */

static uint32_t row_bytes(const struct ooc *o, const struct ooc_operand *operand, uint32_t plane) {
    const struct ooc_tensor *tensor = &o->model->tensors[operand->tensor];
    uint32_t pixel = ooc_plane_width(operand, plane, tensor->channels) * tensor->element_bytes;
    return tensor->width * pixel + operand->seal;
}

/* The tensor in whose bytes of the scratch or the output region an offset lies; null if there is none. */
static const struct ooc_binding *tensor_at(const struct ooc *o, unsigned region, uint32_t offset) {
    const struct ooc_model *model = o->model;
    int spilled = region == (unsigned)OOC_REGION_SCRATCH;
    const struct ooc_binding *each = spilled ? model->sealed : model->bindings + model->inputs;
    const struct ooc_binding *found = NULL;
    unsigned left = spilled ? model->sealed_count : model->outputs;
    for (; left > 0; left--, each++) {
        if (each->operand.place == (uint8_t)OOC_STREAMED && each->offset <= offset
            && (found == NULL || each->offset > found->offset)) {
            found = each;
        }
    }
    return found;
}

/* The first row that begins at byte `at` of a plane or behind it. */
static uint32_t first_row(const struct ooc_operand *operand, uint32_t at, uint32_t row) {
    uint32_t record = ooc_align(operand->record_rows * row, operand->granule);
    uint32_t inside = (at % record + row - 1u) / row;
    inside = inside < operand->record_rows ? inside : operand->record_rows;
    return at / record * operand->record_rows + inside;
}

/* Rows of a plane from the first that begins in what a transfer moves. */
struct rows {
    const struct ooc_operand *operand;
    uint32_t start; /* offset of the plane */
    uint32_t bytes; /* of a row */
    uint32_t y;
    uint32_t height;
};

static struct rows rows_from(const struct ooc *o, const struct ooc_binding *tensor, uint32_t offset) {
    const struct ooc_operand *operand = &tensor->operand;
    uint32_t plane = (offset - tensor->offset) / operand->plane_pitch;
    struct rows rows;
    rows.operand = operand;
    rows.start = tensor->offset + plane * operand->plane_pitch;
    rows.bytes = row_bytes(o, operand, plane);
    rows.y = first_row(operand, offset - rows.start, rows.bytes);
    rows.height = o->model->tensors[operand->tensor].height;
    return rows;
}

static struct rows spilled_rows(const struct ooc *o, uint32_t offset) {
    return rows_from(o, tensor_at(o, OOC_REGION_SCRATCH, offset), offset);
}

void ooc_seal_blank(const struct ooc *o, unsigned region, uint32_t offset, uint8_t *sram, uint32_t bytes) {
    const struct ooc_binding *tensor = tensor_at(o, region, offset);
    struct rows rows;
    uint32_t record, at, end;
    if (tensor == NULL) {
        return;
    }
    rows = rows_from(o, tensor, offset);
    record = ooc_align(rows.operand->record_rows * rows.bytes, rows.operand->granule);
    at = offset - rows.start;
    end = at + bytes;
    while (at < end) { /* record by record */
        uint32_t first = at / record * rows.operand->record_rows;
        uint32_t left = first < rows.height ? rows.height - first : 0u;
        uint32_t count = left < rows.operand->record_rows ? left : rows.operand->record_rows;
        uint32_t used = at / record * record + count * rows.bytes;
        uint32_t next = at - at % record + record;
        next = next < end ? next : end;
        used = used > at ? used : at;
        if (used < next) {
            memset(sram + (rows.start + used - offset), 0, next - used);
        }
        at = next;
    }
}

/* Open or seal the rows that lie whole in what a transfer moves. */
static int work_rows(const struct ooc *o, uint32_t offset, uint8_t *sram, uint32_t bytes, int seals) {
    struct rows rows = spilled_rows(o, offset);
    uint32_t payload = rows.bytes - rows.operand->seal;
    int result = OOC_DONE;
    for (; rows.y < rows.height && result == OOC_DONE; rows.y++) {
        uint32_t at = rows.start + ooc_row_offset(rows.operand, rows.y, rows.bytes);
        if (at + rows.bytes > offset + bytes) {
            break;
        }
        result = (seals ? seal_record : open_record)(o, (uint8_t)OOC_USE_SCRATCH, at, sram + (at - offset), payload);
    }
    return result;
}

/* Where a record of weights belongs: in one count over image and annex, so that no nonce comes twice. */
static uint32_t record_place(const struct ooc *o, const struct ooc_command *command, uint32_t offset) {
#ifdef OOC_ANNEX
    if (command->word[2] == (uint16_t)OOC_REGION_ANNEX) {
        return o->model->region[OOC_REGION_IMAGE].bytes + offset;
    }
#else
    (void)o;
    (void)command;
#endif
    return offset;
}

int ooc_seal_work(const struct ooc *o, const struct ooc_command *command, uint8_t *sram) {
    uint32_t bytes = o->model->shapes[command->word[1]].bytes;
    uint32_t offset = (uint32_t)command->word[5] << 16 | command->word[4];
    if (command->word[2] == (uint16_t)OOC_REGION_SCRATCH) {
        return work_rows(o, offset, sram, bytes, (command->word[3] & OOC_STORE) != 0u);
    }
    offset = record_place(o, command, offset);
    return open_record(o, (uint8_t)OOC_USE_IMAGE, offset, sram, bytes - OOC_SEAL_BYTES);
}

/* ----------------------------------------------------------------------- engine */

#ifdef OOC_ENGINE
int ooc_engine_works(const struct ooc_model *model) {
    return model->streams > 0u && model->stream[model->streams - 1u].channel == OOC_ENGINE_CHANNEL;
}

/* A record in SRAM. */
struct record {
    uint32_t offset;
    uint8_t *data;
    uint32_t bytes; /* of the payload */
    uint8_t use;
};

/* Record `number` of those whole in what a transfer moves; 0 if there are fewer. */
static int find_record(const struct ooc *o, const struct ooc_command *command, uint8_t *sram, uint32_t number,
                       struct record *found) {
    uint32_t bytes = o->model->shapes[command->word[1]].bytes;
    uint32_t offset = (uint32_t)command->word[5] << 16 | command->word[4];
    int there = number == 0u;
    found->use = (uint8_t)OOC_USE_IMAGE;
    found->offset = record_place(o, command, offset);
    found->bytes = bytes - OOC_SEAL_BYTES;
    found->data = sram;
    if (command->word[2] == (uint16_t)OOC_REGION_SCRATCH) {
        struct rows rows = spilled_rows(o, offset);
        uint32_t y = rows.y + number;
        found->use = (uint8_t)OOC_USE_SCRATCH;
        found->offset = rows.start + ooc_row_offset(rows.operand, y, rows.bytes);
        found->bytes = rows.bytes - rows.operand->seal;
        there = y < rows.height && found->offset + rows.bytes <= offset + bytes;
        found->data = sram + (found->offset - offset);
    }
    return there;
}

int ooc_engine_start(const struct ooc *o, const struct ooc_command *command, uint8_t *sram, uint32_t number) {
    const struct ooc_engine *engine = o->port->engine;
    int seals = (command->word[3] & OOC_STORE) != 0u;
    struct record record;
    uint8_t *nonce;
    if (!find_record(o, command, sram, number, &record)) {
        return 0;
    }
    nonce = record.data + record.bytes;
    if (seals) {
        expect(o, record.use, record.offset, nonce);
    }
    return engine->start(engine->context, seals, record.use, nonce, record.data, record.bytes, nonce + OOC_NONCE_BYTES)
                   == 0
               ? 1
               : OOC_ERROR_CRYPTO;
}

int ooc_engine_end(const struct ooc *o, const struct ooc_command *command, uint8_t *sram, uint32_t number) {
    int result = o->port->engine->poll(o->port->engine->context);
    struct record record;
    if (result < 0 || result == OOC_WRONG_TAG) {
        return result < 0 ? OOC_ERROR_CRYPTO : OOC_ERROR_TAMPERED;
    }
    if (result != 0 && (command->word[3] & OOC_STORE) == 0u && find_record(o, command, sram, number, &record)) {
        int judged = open_judge(o, record.use, record.offset, record.data + record.bytes);
        result = judged == OOC_DONE ? 1 : judged;
    }
    return result;
}
#endif

/* ---------------------------------------------------------------------- journal */

static uint32_t slot_bytes(const struct ooc *o) {
    return o->model->journal.bytes / SLOTS;
}

static uint32_t journal_granule(const struct ooc *o) {
    uint32_t granule = o->port->granule[o->model->journal.store];
    return granule > 1u ? granule : 1u;
}

/* A slot is read and written in whole granules. */
static uint32_t slot_moved(const struct ooc *o) {
    return ooc_align(OOC_SEAL_BYTES, journal_granule(o));
}

static int move_slot(struct ooc *o, unsigned slot, uint8_t *scratch, int to_store) {
    const struct ooc_region *journal = &o->model->journal;
    uint32_t offset = journal->base + slot * slot_bytes(o);
    return ooc_transfer(o, journal->store, offset, scratch, slot_moved(o), to_store);
}

/* The number of the opening that a slot holds; OOC_ERROR_JOURNAL if there is none, or what became of the transfer. */
static int read_slot(struct ooc *o, unsigned slot, uint8_t *scratch, uint32_t *number) {
    int result = move_slot(o, slot, scratch, 0);
    *number = 0;
    if (result == OOC_DONE) {
        o->run = 0;
        o->opening = taken(scratch + STAMP + 4, 3);
        result = open_record(o, (uint8_t)OOC_USE_JOURNAL, 0, scratch, 0);
        *number = result == OOC_DONE ? o->opening : 0u;
        result = result == OOC_DONE || result == OOC_ERROR_CRYPTO ? result : OOC_ERROR_JOURNAL;
    }
    return result;
}

/* Whether a slot is lost: changed, or torn, perhaps so that its part cannot read it. */
static int is_lost(int result) {
    return result == OOC_ERROR_JOURNAL || result == OOC_ERROR_PORT || result == OOC_ERROR_SHORT;
}

static int write_slot(struct ooc *o, unsigned slot, uint8_t *scratch, uint32_t number) {
    const struct ooc_region *journal = &o->model->journal;
    struct ooc_region part = *journal;
    int result;
    part.bytes = slot_bytes(o);
    part.base += slot * part.bytes;
    result = ooc_seal_erase(o, &part);
    o->run = 0;
    o->opening = number;
    memset(scratch, 0, slot_moved(o)); /* lest something leaks that was in the arena */
    if (result == OOC_DONE) {
        result = seal_record(o, (uint8_t)OOC_USE_JOURNAL, 0, scratch, 0);
    }
    return result == OOC_DONE ? move_slot(o, slot, scratch, 1) : result;
}

/* The number of the last opening is in one slot, the one before it in the other; this one's takes the place of the
 * latter, and is used only when it is there. A slot that is lost may have held the number behind the one that is left:
 * the next but one is taken then, and written into both, so that whichever is lost next, nothing counts back. */
static int count_opening(struct ooc *o, uint8_t *scratch) {
    uint32_t number[SLOTS];
    int found[SLOTS];
    uint32_t next;
    unsigned last, k;
    int lost, result;
    for (k = 0; k < SLOTS; k++) {
        found[k] = read_slot(o, k, scratch, &number[k]);
        if (found[k] != OOC_DONE && !is_lost(found[k])) {
            return found[k];
        }
    }
    if (found[0] != OOC_DONE && found[1] != OOC_DONE) {
        return found[0] == OOC_ERROR_JOURNAL ? found[1] : found[0];
    }
    last = found[0] != OOC_DONE || (found[1] == OOC_DONE && number[1] > number[0]) ? 1u : 0u;
    lost = found[1u - last] != OOC_DONE;
    next = number[last] + (lost ? 2u : 1u);
    result = next > OOC_MOST_OPENINGS ? OOC_ERROR_JOURNAL : write_slot(o, 1u - last, scratch, next);
    return result == OOC_DONE && lost ? write_slot(o, last, scratch, next) : result;
}

static int use_port(struct ooc *o) {
    const struct ooc_crypto *crypto = o->port->crypto;
    int fits = o->model->cipher == (uint8_t)OOC_CIPHER_NONE
               || (crypto != NULL && crypto->cipher == o->model->cipher && crypto->open != NULL
                   && crypto->seal != NULL);
#ifdef OOC_ENGINE
    fits = fits && (!ooc_engine_works(o->model) || o->port->engine != NULL);
#endif
    return fits ? OOC_DONE : OOC_ERROR_CRYPTO;
}

/* Whether openings are counted in the journal. */
static int counts(const struct ooc *o) {
    return o->model->sealed_count > 0u && o->port->crypto->opening == NULL;
}

int ooc_seal_prepare(struct ooc *o, uint8_t *scratch) {
    int result = use_port(o);
    if (result == OOC_DONE && o->model->sealed_count > 0u) {
        const struct ooc_crypto *crypto = o->port->crypto;
        if (counts(o)) {
            result = count_opening(o, scratch);
        } else if (crypto->opening(crypto->context, &o->opening) != 0) {
            result = OOC_ERROR_CRYPTO;
        } else {
            result = o->opening > OOC_MOST_OPENINGS ? OOC_ERROR_JOURNAL : OOC_DONE;
        }
    }
    o->run = 0;
    return result;
}

int ooc_seal_next_run(struct ooc *o) {
    int due = o->model->sealed_count > 0u;
    if (due && o->run == UINT32_MAX) {
        return OOC_ERROR_JOURNAL;
    }
    o->run += due ? 1u : 0u; /* 0 is the journal's */
    return OOC_DONE;
}

int ooc_seal_provision(struct ooc *o, uint8_t *scratch, uint32_t opening) {
    int result = opening > OOC_MOST_OPENINGS ? OOC_ERROR_ARGUMENT : use_port(o);
    unsigned k;
    for (k = 0; k < SLOTS && result == OOC_DONE && counts(o); k++) {
        result = write_slot(o, k, scratch, opening);
    }
    return result;
}

/* ----------------------------------------------------------------------- tables */

static int sealed_is_sound(const struct ooc *o, const struct ooc_binding *sealed, uint32_t after) {
    const struct ooc_model *model = o->model;
    const struct ooc_operand *operand = &sealed->operand;
    return operand->tensor < model->tensor_count && operand->place == (uint8_t)OOC_STREAMED
           && operand->plane_channels > 0u && operand->record_rows > 0u && operand->granule > 0u
           && operand->plane_pitch > 0u && operand->seal == OOC_SEAL_BYTES && sealed->offset >= after
           && sealed->offset <= model->region[OOC_REGION_SCRATCH].bytes;
}

/* Slots begin on granules and share none. */
static int journal_is_sound(const struct ooc *o) {
    const struct ooc_region *journal = &o->model->journal;
    uint32_t granule = journal_granule(o);
    return slot_bytes(o) >= slot_moved(o) && slot_bytes(o) % granule == 0u && journal->base % granule == 0u
           && journal->bytes <= UINT32_MAX - journal->base && o->port->write_start != NULL;
}

int ooc_seal_check(const struct ooc *o) {
    const struct ooc_model *model = o->model;
    int sound = model->sealed_count == 0u || (model->sealed != NULL && model->cipher != (uint8_t)OOC_CIPHER_NONE);
    uint32_t after = 0;
    unsigned k;
    for (k = 0; k < model->sealed_count && sound; k++) {
        sound = sealed_is_sound(o, &model->sealed[k], after);
        after = model->sealed[k].offset;
    }
    for (k = model->inputs; k < (unsigned)model->inputs + model->outputs && sound; k++) { /* ooc_seal_blank */
        const struct ooc_operand *output = &model->bindings[k].operand;
        sound = output->place != (uint8_t)OOC_STREAMED || output->plane_pitch > 0u;
    }
    return sound && model->journal.store <= 1u && (model->sealed_count == 0u || journal_is_sound(o));
}

#else
typedef char ooc_has_no_sealed_records; /* C wants a declaration */
#endif
