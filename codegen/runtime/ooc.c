/* ooc.c - the state machine: walks through the command lists. */
#include "ooc.h"

#include "ooc_kernels.h"

#include <string.h>

#define COMPUTE_CHANNEL 0xFFu
#define NO_STREAM 0xFFu
#define AGAIN 2u /* ooc_progress.busy of a transfer that is made a second time */

/* ----------------------------------------------------------------- small parts */

uint8_t *ooc_address(const struct ooc *o, uint32_t offset, uint32_t bytes) {
    unsigned k;
    for (k = 0; k < o->model->banks; k++) {
        uint32_t size = o->model->bank_bytes[k];
        if (offset < size) {
            return bytes <= size - offset ? o->bank[k] + offset : NULL;
        }
        offset -= size;
    }
    return NULL;
}

static uint32_t little_endian(const uint8_t *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static int port_failed(struct ooc *o, int result) {
    int error = OOC_ERROR_PORT;
    o->port_error = result;
    if (result == OOC_PORT_SHORT) {
        error = OOC_ERROR_SHORT;
    } else if (result == OOC_PORT_FULL) {
        error = OOC_ERROR_FULL;
    } else if (result == OOC_PORT_RANGE) {
        error = OOC_ERROR_RANGE;
    }
    return error;
}

static uint32_t port_now(const struct ooc *o) {
    return o->port->now != NULL ? o->port->now(o->port->context) : 0;
}

static void port_event(const struct ooc *o, unsigned stream, uint8_t what) {
    if (o->port->event != NULL) {
        o->port->event(o->port->context, (uint8_t)stream, o->stream[stream].done, what);
    }
}

/* Begin a request; 0 or an error. */
static int request(struct ooc *o, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *sram,
                   uint32_t bytes, int to_store) {
    const struct ooc_port *port = o->port;
    int result;
    if (!to_store) {
        result = port->read_start(port->context, channel, store, offset, sram, bytes);
    } else if (port->write_start != NULL) {
        result = port->write_start(port->context, channel, store, offset, sram, bytes);
    } else {
        return OOC_ERROR_PORT;
    }
    return result < 0 ? port_failed(o, result) : 0;
}

/* Ask for the end of a request begun at `since`: 1, 0 or an error. */
static int completed(struct ooc *o, uint8_t channel, uint32_t since) {
    int result = o->port->poll(o->port->context, channel);
    if (result < 0) {
        return port_failed(o, result);
    }
    if (result == 0 && o->port->timeout != 0 && port_now(o) - since > o->port->timeout) {
        return OOC_ERROR_TIMEOUT;
    }
    return result != 0;
}

/* ----------------------------------------------------------------- short reads */

#ifndef OOC_NO_TAIL_CHECK
#define TAIL_BYTES 8u

/* Another number for every number, and never the same. */
static uint32_t changed(uint32_t value) {
    return value * 0x9E3779B1u + 0x85EBCA6Bu;
}

/* Before a read: change the last bytes of its target, depending on what they were. */
static uint32_t set_tail(uint8_t *target, uint32_t bytes) {
    uint8_t *tail = target + bytes - TAIL_BYTES;
    uint32_t first = 0;
    if (bytes >= TAIL_BYTES) {
        uint32_t second;
        unsigned k;
        first = changed(little_endian(tail));
        second = changed(first);
        for (k = 0; k < 4u; k++) {
            tail[k] = (uint8_t)(first >> 8u * k & 0xFFu);
            tail[4u + k] = (uint8_t)(second >> 8u * k & 0xFFu);
        }
    }
    return first;
}

/* After it: if they are as they were set, the read ended early, or that is what came: what an
 * aborted read left behind may have gone to storage as padding. Another read tells, which
 * sets them differently; it must bring what the first one seemed to leave. */
static int came_to_end(const uint8_t *target, uint32_t bytes, uint32_t first, int again) {
    const uint8_t *tail = target + bytes - TAIL_BYTES;
    int whole = 1;
    if (bytes >= TAIL_BYTES && again) {
        whole = changed(little_endian(tail)) == first && little_endian(tail + 4) == first;
    } else if (bytes >= TAIL_BYTES) {
        whole = little_endian(tail) != first || little_endian(tail + 4) != changed(first);
    }
    return whole;
}
#else
static uint32_t set_tail(uint8_t *target, uint32_t bytes) {
    (void)target;
    (void)bytes;
    return 0;
}

static int came_to_end(const uint8_t *target, uint32_t bytes, uint32_t first, int again) {
    (void)target;
    (void)bytes;
    (void)first;
    (void)again;
    return 1;
}
#endif

/* ------------------------------------------------------------------- transfers */

/* What the transfer command of a stream moves: one segment after the other. */
struct transfer {
    const struct ooc_shape *shape;
    const struct ooc_region *region;
    uint32_t offset; /* of the segment under way, from the start of the store */
    uint8_t *sram; /* likewise */
    uint32_t bytes; /* of all segments */
    int checked;
    int to_store;
};

static void describe(struct transfer *transfer, const struct ooc *o, unsigned stream) {
    const struct ooc_progress *progress = &o->stream[stream];
    const uint16_t *word = progress->word;
    const struct ooc_shape *shape = &o->model->shapes[word[1]];
    uint32_t sram = (uint32_t)word[0] * o->model->unit + progress->segment * shape->bytes;
    transfer->shape = shape;
    transfer->region = &o->model->region[word[2]];
    transfer->offset = transfer->region->base + ((uint32_t)word[5] << 16 | word[4]);
    transfer->offset += progress->segment * shape->pitch;
    transfer->sram = ooc_address(o, sram, shape->bytes);
    transfer->bytes = shape->bytes * shape->segments;
    transfer->checked = (word[3] & OOC_CHECKED) != 0u;
    transfer->to_store = (word[3] & OOC_STORE) != 0u;
}

/* Without DMA the compute stream transfers by itself, over channel 0. */
static uint8_t channel_of(const struct ooc *o, unsigned stream) {
    uint8_t channel = o->model->stream[stream].channel;
    return channel == COMPUTE_CHANNEL ? 0 : channel;
}

static int start_segment(struct ooc *o, unsigned stream) {
    struct ooc_progress *progress = &o->stream[stream];
    struct transfer transfer;
    int result;
    describe(&transfer, o, stream);
    if (!transfer.to_store) {
        progress->tail = set_tail(transfer.sram, transfer.shape->bytes);
    }
    progress->since = port_now(o);
    result = request(o, channel_of(o, stream), transfer.region->store, transfer.offset, transfer.sram,
                     transfer.shape->bytes, transfer.to_store);
    progress->busy = result == 0;
    return result;
}

#ifndef OOC_NO_RECORD_CHECK
static int record_is_sound(const uint8_t *record, uint32_t bytes) {
    return ooc_crc32(0, record, bytes - 4) == little_endian(record + bytes - 4);
}
#endif

/* Look at what has arrived with the segment under way: OOC_BUSY if it must be read again. */
static int arrived(const struct ooc *o, unsigned stream) {
    const struct ooc_progress *progress = &o->stream[stream];
    struct transfer transfer;
    describe(&transfer, o, stream);
    if (!transfer.to_store
        && !came_to_end(transfer.sram, transfer.shape->bytes, progress->tail, progress->busy == AGAIN)) {
        return progress->busy == AGAIN ? OOC_ERROR_SHORT : OOC_BUSY;
    }
#ifndef OOC_NO_RECORD_CHECK
    if (transfer.checked && progress->segment + 1u == transfer.shape->segments) {
        const uint8_t *record = transfer.sram - (transfer.bytes - transfer.shape->bytes);
        return record_is_sound(record, transfer.bytes) ? OOC_DONE : OOC_ERROR_RECORD;
    }
#endif
    return OOC_DONE;
}

static void end_command(struct ooc *o, unsigned stream) {
    port_event(o, stream, OOC_EVENT_END);
    o->stream[stream].done++;
    o->stream[stream].waiting = 0;
}

/* Follow the transfer of a busy stream: 1 if something happened, 0, or an error. */
static int follow(struct ooc *o, unsigned stream) {
    struct ooc_progress *progress = &o->stream[stream];
    int result = completed(o, channel_of(o, stream), progress->since);
    if (result <= 0) {
        if (result < 0 && result != OOC_ERROR_TIMEOUT) {
            progress->busy = 0;
        }
        return result;
    }
    result = arrived(o, stream);
    progress->busy = 0;
    if (result == OOC_BUSY) {
        result = start_segment(o, stream);
        progress->busy = result == 0 ? AGAIN : 0;
    } else if (result == OOC_DONE) {
        progress->segment++;
        if (progress->segment < o->model->shapes[progress->word[1]].segments) {
            result = start_segment(o, stream);
        } else {
            end_command(o, stream);
        }
    }
    return result < 0 ? result : 1;
}

/* -------------------------------------------------------------------- commands */

/* Read the next command of a stream, and add its waits to what it needs. */
static void read_command(struct ooc *o, unsigned stream) {
    struct ooc_progress *progress = &o->stream[stream];
    struct ooc_cursor cursor;
    struct ooc_command command;
    unsigned k;
    cursor.next = progress->next;
    cursor.round = progress->round;
    ooc_command_read(&command, &o->model->stream[stream], &cursor);
    progress->next = cursor.next;
    progress->round = cursor.round;
    progress->stage = command.stage;
    memcpy(progress->word, command.word, sizeof progress->word);
    for (k = 0; k < OOC_MAX_STREAMS - 1; k++) {
        progress->need[k] += command.wait[k];
    }
    progress->waiting = 1;
}

/* Whether a stream has a command left whose waits are over. */
static int may_start(struct ooc *o, unsigned stream) {
    struct ooc_progress *progress = &o->stream[stream];
    unsigned other, k = 0;
    int ready = 1;
    if (progress->busy || progress->done == o->model->stream[stream].count) {
        return 0;
    }
    if (!progress->waiting) {
        read_command(o, stream);
    }
    for (other = 0; other < o->model->streams; other++) {
        if (other != stream) {
            ready = ready && o->stream[other].done >= progress->need[k];
            k++;
        }
    }
    return ready;
}

static int compute(struct ooc *o, unsigned stream) {
    const struct ooc_progress *progress = &o->stream[stream];
    uint8_t *address[OOC_SLOTS];
    struct ooc_tile tile;
    unsigned k;
    int result;
    for (k = 0; k < OOC_SLOTS; k++) {
        uint16_t word = progress->word[1 + k];
        address[k] = word == OOC_NOWHERE ? NULL : ooc_address(o, (uint32_t)word * o->model->unit, 0);
    }
    port_event(o, stream, OOC_EVENT_START);
    ooc_tile_set(&tile, o->model, &o->model->stages[progress->stage], progress->word[0], address);
    result = ooc_kernel(&tile);
    if (result == OOC_DONE) {
        end_command(o, stream);
    }
    return result;
}

/* Start the next command of a stream if that is possible and of the wanted sort: 1 if
 * something happened, 0, or an error. */
static int advance(struct ooc *o, unsigned stream, int transfers) {
    int result;
    if (!may_start(o, stream) || (o->stream[stream].stage == OOC_TRANSFER) != transfers) {
        return 0;
    }
    if (transfers) {
        o->stream[stream].segment = 0;
        port_event(o, stream, OOC_EVENT_START);
        result = start_segment(o, stream);
    } else {
        result = compute(o, stream);
    }
    return result < 0 ? result : 1;
}

/* -------------------------------------------------------------------- interface */

static int fail(struct ooc *o, unsigned stream, int error) {
    o->task_stream = (uint8_t)stream;
    o->task_index = stream == NO_STREAM ? 0 : o->stream[stream].done;
    o->status = error;
    return error;
}

/* Nothing happened: wait, be done, or be stuck. */
static int standstill(struct ooc *o) {
    unsigned stream, finished = 0, stuck = NO_STREAM;
    for (stream = 0; stream < o->model->streams; stream++) {
        if (o->stream[stream].busy) {
            o->idle = 1;
            return OOC_BUSY;
        }
        if (o->stream[stream].done == o->model->stream[stream].count) {
            finished++;
        } else if (stuck == NO_STREAM) {
            stuck = stream;
        }
    }
    if (finished < o->model->streams) {
        return fail(o, stuck, OOC_ERROR_DEADLOCK);
    }
    o->status = OOC_DONE;
    return OOC_DONE;
}

/* Transfers go first, so that they run while the kernel does. */
int ooc_step(struct ooc *o) {
    unsigned stream, happened = 0;
    int pass, result;
    if (o->status != OOC_BUSY) {
        return o->status;
    }
    o->idle = 0;
    for (pass = 0; pass < 3; pass++) {
        for (stream = 0; stream < o->model->streams; stream++) {
            result = 0;
            if (pass > 0) {
                result = advance(o, stream, pass == 1);
            } else if (o->stream[stream].busy) {
                result = follow(o, stream);
            }
            if (result < 0) {
                return fail(o, stream, result);
            }
            happened += (unsigned)result;
        }
    }
    return happened ? OOC_BUSY : standstill(o);
}

static void idle(const struct ooc *o) {
    if (o->port->idle != NULL) {
        o->port->idle(o->port->context);
    }
}

/* Wait until a channel has nothing outstanding. */
static int drain(struct ooc *o, uint8_t channel, uint32_t since) {
    int result;
    while ((result = completed(o, channel, since)) == 0) {
        idle(o);
    }
    return result < 0 ? result : OOC_DONE;
}

/* The IO channel behind which a store lies. */
static uint8_t channel_behind(const struct ooc *o, uint8_t store) {
    uint8_t channel = 0;
    unsigned stream;
    for (stream = 0; stream < o->model->streams; stream++) {
        const struct ooc_stream *s = &o->model->stream[stream];
        if (s->channel != COMPUTE_CHANNEL && s->store == store) {
            channel = s->channel;
        }
    }
    return channel;
}

/* Erase a region while no transfer is under way. */
static int erase(struct ooc *o, unsigned number) {
    const struct ooc_region *region = &o->model->region[number];
    const struct ooc_port *port = o->port;
    uint8_t channel = channel_behind(o, region->store);
    uint32_t since = port_now(o);
    int result;
    if (port->erase_start == NULL || region->bytes == 0) {
        return OOC_DONE;
    }
    result = port->erase_start(port->context, channel, region->store, region->base, region->bytes);
    return result < 0 ? port_failed(o, result) : drain(o, channel, since);
}

/* Whether the caller may use the port: opened, no run and no transfer under way. */
static int is_at_rest(const struct ooc *o) {
    unsigned stream;
    int rest = o->model != NULL && o->status != OOC_BUSY;
    for (stream = 0; rest && stream < o->model->streams; stream++) {
        rest = !o->stream[stream].busy;
    }
    return rest;
}

int ooc_erase(struct ooc *o, unsigned region) {
    return is_at_rest(o) ? erase(o, region) : OOC_ERROR_STATE;
}

int ooc_start(struct ooc *o) {
    unsigned stream;
    int result;
    if (o->model == NULL) {
        return OOC_ERROR_STATE;
    }
    for (stream = 0; stream < o->model->streams; stream++) {
        if (o->stream[stream].busy && drain(o, channel_of(o, stream), port_now(o)) == OOC_ERROR_TIMEOUT) {
            return fail(o, stream, OOC_ERROR_TIMEOUT);
        }
    }
    memset(o->stream, 0, sizeof o->stream);
    o->task_stream = NO_STREAM;
    o->port_error = 0;
    /* A run writes each byte of these regions at most once. */
    result = erase(o, OOC_REGION_OUTPUT);
    if (result == OOC_DONE) {
        result = erase(o, OOC_REGION_SCRATCH);
    }
    if (result != OOC_DONE) {
        return fail(o, NO_STREAM, result);
    }
    o->status = OOC_BUSY;
    return OOC_DONE;
}

int ooc_run(struct ooc *o) {
    int result = ooc_start(o);
    if (result != OOC_DONE) {
        return result;
    }
    while ((result = ooc_step(o)) == OOC_BUSY) {
        if (o->idle) {
            idle(o);
        }
    }
    return result;
}

int ooc_transfer(struct ooc *o, uint8_t store, uint32_t offset, uint8_t *sram, uint32_t bytes, int to_store) {
    uint8_t channel;
    int again;
    if (!is_at_rest(o)) {
        return OOC_ERROR_STATE;
    }
    channel = channel_behind(o, store);
    for (again = 0; again < 2; again++) {
        uint32_t tail = to_store ? 0u : set_tail(sram, bytes);
        uint32_t since = port_now(o);
        int result = request(o, channel, store, offset, sram, bytes, to_store);
        if (result == OOC_DONE) {
            result = drain(o, channel, since);
        }
        if (result != OOC_DONE || to_store || came_to_end(sram, bytes, tail, again)) {
            return result;
        }
    }
    return OOC_ERROR_SHORT;
}

static uint32_t granule_of(const struct ooc *o, unsigned store) {
    uint32_t granule = o->port->granule[store];
    return granule > 1u ? granule : 1u;
}

static int check_header(const struct ooc *o, const uint8_t *header) {
    if (memcmp(header, "OOCI", 4) != 0 || little_endian(header + 4) != OOC_FORMAT
        || ooc_crc32(0, header + 16, OOC_HEADER_BYTES - 16) != little_endian(header + 12)) {
        return OOC_ERROR_IMAGE;
    }
    if (memcmp(header + 16, o->model->digest, sizeof o->model->digest) != 0
        || little_endian(header + 8) != o->model->region[OOC_REGION_IMAGE].bytes) {
        return OOC_ERROR_DIGEST;
    }
    return OOC_DONE;
}

/* The header says how the image ends: is the end there? */
static int check_image(struct ooc *o) {
    uint32_t granule = granule_of(o, 0);
    uint32_t bytes = ooc_align(OOC_HEADER_BYTES, granule);
    uint32_t image = o->model->region[OOC_REGION_IMAGE].bytes;
    uint8_t *header = NULL;
    unsigned k;
    int result;
    for (k = 0; k < o->model->banks && header == NULL; k++) {
        header = o->model->bank_bytes[k] >= bytes ? o->bank[k] : NULL;
    }
    if (header == NULL || image < bytes || image % granule != 0u) {
        return OOC_ERROR_FORMAT;
    }
    result = ooc_transfer(o, 0, 0, header, bytes, 0);
    if (result == OOC_DONE) {
        result = check_header(o, header);
    }
    if (result == OOC_DONE) {
        uint32_t end = little_endian(header + 48);
        uint32_t length = ooc_align(4, granule);
        result = ooc_transfer(o, 0, image - length, header, length, 0);
        if (result == OOC_DONE && little_endian(header + length - 4) != end) {
            result = OOC_ERROR_TRUNCATED;
        }
    }
    return result;
}

/* Whether the stores are as large as the regions on them. */
static int check_capacity(const struct ooc *o) {
    unsigned k;
    for (k = 0; k < 4u; k++) {
        const struct ooc_region *region = &o->model->region[k];
        if (region->store > 1u) {
            return OOC_ERROR_FORMAT;
        }
        if (o->port->capacity[region->store] != 0u && region->bytes != 0u
            && (region->base > o->port->capacity[region->store]
                || region->bytes > o->port->capacity[region->store] - region->base)) {
            return OOC_ERROR_RANGE;
        }
    }
    return OOC_DONE;
}

static int prepare(struct ooc *o, const struct ooc_model *model, uint8_t *const banks[],
                   const struct ooc_port *port) {
    unsigned k;
    int result;
    if (model->format != OOC_FORMAT || model->banks > OOC_MAX_BANKS || model->streams > OOC_MAX_STREAMS) {
        return OOC_ERROR_FORMAT;
    }
    for (k = 0; k < model->banks; k++) {
        if (banks[k] == NULL && model->bank_bytes[k] > 0) {
            return OOC_ERROR_ARGUMENT;
        }
        o->bank[k] = banks[k];
    }
    o->model = model;
    o->port = port;
    result = check_capacity(o);
#ifndef OOC_NO_TABLE_CHECK
    if (result == OOC_DONE) {
        result = ooc_check(o);
    }
#endif
    return result == OOC_DONE ? check_image(o) : result;
}

int ooc_open(struct ooc *o, const struct ooc_model *model, uint8_t *const banks[],
             const struct ooc_port *port) {
    int result;
    if (o == NULL || model == NULL || banks == NULL || port == NULL || port->read_start == NULL
        || port->poll == NULL) {
        return OOC_ERROR_ARGUMENT;
    }
    memset(o, 0, sizeof *o);
    o->status = OOC_ERROR_STATE;
    o->task_stream = NO_STREAM;
    result = prepare(o, model, banks, port);
    if (result != OOC_DONE) {
        o->model = NULL; /* no run with a model that was refused */
        o->status = result;
    }
    return result;
}

const char *ooc_message(int status) {
#ifdef OOC_NO_MESSAGES
    (void)status;
    return "";
#else
    static const char *const message[] = {
        "done",
        "the tables do not fit this runtime or its port: generate them again",
        "the storage holds no image, or its header is damaged: write NAME.bin to it",
        "the port failed a transfer: see port_error",
        "a weights record has a wrong checksum: read error or damaged image",
        "all streams wait for each other: the tables are damaged",
        "a transfer took longer than the port allows",
        "null pointer, unknown tensor, wrong size or too little scratch",
        "called at the wrong time: ooc_open, then ooc_start, then ooc_step",
        "the storage does not hold the image of this model: write NAME.bin to it",
        "the image ends too early: write all of NAME.bin to the storage",
        "a transfer moved fewer bytes than asked for",
        "the storage is full or write protected",
        "the storage is smaller than this model needs"
    };
    const char *text = "unknown status";
    if (status == OOC_BUSY) {
        text = "busy: call ooc_step again";
    } else if (status <= 0 && status >= OOC_ERROR_RANGE) {
        text = message[-status];
    }
    return text;
#endif
}
