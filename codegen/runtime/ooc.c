/* ooc.c - the state machine: walks through the command lists. */
#include "ooc.h"

#include "ooc_kernels.h"

#include <string.h>

#define COMPUTE_CHANNEL 0xFFu
#define NO_STREAM 0xFFu
#define COMPUTE 0u /* the stream that computes */
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

/* Errors of ports have the numbers of those of the runtime, some way below. */
#define BELOW (OOC_ERROR_SHORT - OOC_PORT_SHORT)
typedef char port_errors_keep_their_distance
    [OOC_ERROR_FULL - OOC_PORT_FULL == BELOW && OOC_ERROR_RANGE - OOC_PORT_RANGE == BELOW ? 1 : -1];

static int port_failed(struct ooc *o, int result) {
    o->port_error = result;
    return result <= OOC_PORT_SHORT && result >= OOC_PORT_RANGE ? result + BELOW : OOC_ERROR_PORT;
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

static uint32_t word_at(const uint8_t *from) {
    uint32_t word;
    memcpy(&word, from, sizeof word);
    return word;
}

/* Before a read: change the last bytes of its target, depending on what they were. */
static uint32_t set_tail(uint8_t *target, uint32_t bytes) {
    uint8_t *tail = target + bytes - TAIL_BYTES;
    uint32_t first = 0;
    if (bytes >= TAIL_BYTES) {
        uint32_t second;
        first = changed(word_at(tail));
        second = ~first;
        memcpy(tail, &first, sizeof first);
        memcpy(tail + 4, &second, sizeof second);
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
        whole = changed(word_at(tail)) == first && word_at(tail + 4) == ~word_at(tail);
    } else if (bytes >= TAIL_BYTES) {
        whole = word_at(tail) != first || word_at(tail + 4) != ~first;
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

/* Look at what has arrived with the segment under way: OOC_BUSY if it must be read again. */
static int arrived(const struct ooc *o, unsigned stream) {
    const struct ooc_progress *progress = &o->stream[stream];
    struct transfer transfer;
    describe(&transfer, o, stream);
    if (!transfer.to_store
        && !came_to_end(transfer.sram, transfer.shape->bytes, progress->tail, progress->busy == AGAIN)) {
        return progress->busy == AGAIN ? OOC_ERROR_SHORT : OOC_BUSY;
    }
    return OOC_DONE;
}

static void end_command(struct ooc *o, unsigned stream) {
    port_event(o, stream, OOC_EVENT_END);
    o->stream[stream].done++;
    o->stream[stream].waiting = 0;
}

/* Follow the transfer of a stream that is busy: 1 if something happened, 0, or an error. */
static int follow(struct ooc *o, unsigned stream) {
    struct ooc_progress *progress = &o->stream[stream];
    int result = 0;
    if (progress->busy) {
        result = completed(o, channel_of(o, stream), progress->since);
    }
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
    cursor.number = 0; /* is not asked for */
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

/* Start the transfer that comes next in a stream if it may: 1 if something happened, 0, or an error. */
static int begin(struct ooc *o, unsigned stream) {
    int result;
    if (!may_start(o, stream) || o->stream[stream].stage != OOC_TRANSFER) {
        return 0;
    }
    o->stream[stream].segment = 0;
    port_event(o, stream, OOC_EVENT_START);
    result = start_segment(o, stream);
    return result < 0 ? result : 1;
}

/* --------------------------------------------------------------------- records */

#ifndef OOC_NO_RECORD_CHECK
static int is_sound(const struct ooc *o, const struct ooc_command *command) {
    const struct ooc_shape *shape = &o->model->shapes[command->word[1]];
    uint32_t bytes = shape->bytes * shape->segments;
    const uint8_t *record = ooc_address(o, (uint32_t)command->word[0] * o->model->unit, bytes);
    return ooc_crc32(0, record, bytes - 4) == little_endian(record + bytes - 4);
}

/* Check the records among the commands of a stream that nobody has looked at yet, up to number `end`:
 * how many of the commands are left, the first of them with the wrong record. */
static uint32_t unsound(struct ooc *o, unsigned stream, uint32_t end) {
    struct ooc_cursor *seen = &o->seen[stream == COMPUTE ? 0 : stream - 1u];
    uint32_t left = (end - seen->number) & 0xFFFFu; /* no command waits for more: SPEC.md, Limits */
    for (; left > 0; left--) {
        struct ooc_command command;
        ooc_command_read(&command, &o->model->stream[stream], seen);
        if (command.stage == OOC_TRANSFER && (command.word[3] & OOC_CHECKED) != 0u && !is_sound(o, &command)) {
            break;
        }
    }
    return left;
}
#else
static uint32_t unsound(struct ooc *o, unsigned stream, uint32_t end) {
    (void)o;
    (void)stream;
    (void)end;
    return 0;
}
#endif

/* ----------------------------------------------------------------------- guard */

/* The main loop may be interrupted anywhere by ooc_advance. Whoever touches streams, status or port
 * holds the guard meanwhile; an interrupt that finds it held leaves a note and returns. Kernels and
 * checksums, which take time, run without it: they read what only the main loop changes.
 *
 * It takes no more than loads and stores of bytes, because interrupts nest: what comes between the look
 * at `held` and its change has ended when the change is made, and put `held` back. A note that is left
 * while the guard is held is found after it was given back; one that comes later finds it free. */
static void hold(struct ooc *o) {
    o->held = 1;
    OOC_BARRIER();
}

static void give_back(struct ooc *o) {
    OOC_BARRIER();
    o->held = 0;
}

static void fail(struct ooc *o, unsigned stream, uint32_t index, int error) {
    if (o->status == OOC_BUSY) { /* the first one is told */
        o->task_stream = (uint8_t)stream;
        o->task_index = index;
        o->status = error;
    }
}

/* Follow all transfers, then start those that may start: how often something happened. */
static unsigned move(struct ooc *o) {
    unsigned stream, pass, happened = 0;
    for (pass = 0; pass < 2; pass++) {
        for (stream = 0; stream < o->model->streams && o->status == OOC_BUSY; stream++) {
            int result = pass == 0 ? follow(o, stream) : begin(o, stream);
            if (result < 0) {
                fail(o, stream, o->stream[stream].done, result);
            }
            happened += result != 0;
        }
    }
    return happened;
}

/* -------------------------------------------------------------------- interface */

int ooc_advance(struct ooc *o) {
    unsigned happened = 0;
    o->again = 1;
    while (o->again && !o->held) {
        hold(o);
        o->again = 0;
        happened += o->status == OOC_BUSY ? move(o) : 0u;
        give_back(o);
    }
    if (happened) {
        o->idle = 0;
    }
    return happened != 0;
}

/* Give the guard back, and do what an interrupt has left undone. */
static void let_go(struct ooc *o) {
    give_back(o);
    if (o->again) {
        (void)ooc_advance(o);
    }
}

/* Nothing happened: wait, be done, or be stuck. */
static void standstill(struct ooc *o) {
    unsigned stream, stuck = NO_STREAM;
    for (stream = 0; stream < o->model->streams; stream++) {
        if (o->stream[stream].busy) {
            o->idle = 1;
            return;
        }
        if (o->stream[stream].done != o->model->stream[stream].count && stuck == NO_STREAM) {
            stuck = stream;
        }
    }
    if (stuck == NO_STREAM) {
        o->status = OOC_DONE;
    } else {
        fail(o, stuck, o->stream[stuck].done, OOC_ERROR_DEADLOCK);
    }
}

/* Under the guard: whether a kernel is to run now. */
static int choose(struct ooc *o, int happened) {
    int runs = 0;
    if (o->status == OOC_BUSY) {
        runs = may_start(o, COMPUTE) && o->stream[COMPUTE].stage != OOC_TRANSFER;
        if (!runs && !happened) {
            standstill(o);
        }
    }
    return runs;
}

/* Check the records that the next kernel waits for. */
static int check_records(struct ooc *o, unsigned *stream, uint32_t *index) {
    const struct ooc_progress *progress = &o->stream[COMPUTE];
    unsigned k = o->model->streams > 1u;
    for (; k < o->model->streams; k++) {
        uint32_t end = k == COMPUTE ? progress->done : progress->need[k - 1u];
        uint32_t left = unsound(o, k, end);
        if (left > 0) {
            *stream = k;
            *index = end - left;
            return OOC_ERROR_RECORD;
        }
    }
    return OOC_DONE;
}

/* Run the kernel of the next command. */
static int compute(const struct ooc *o) {
    const struct ooc_progress *progress = &o->stream[COMPUTE];
    uint8_t *address[OOC_SLOTS];
    struct ooc_tile tile;
    unsigned k;
    for (k = 0; k < OOC_SLOTS; k++) {
        uint16_t word = progress->word[1 + k];
        address[k] = word == OOC_NOWHERE ? NULL : ooc_address(o, (uint32_t)word * o->model->unit, 0);
    }
    ooc_tile_set(&tile, o->model, &o->model->stages[progress->stage], progress->word[0], address);
    return ooc_kernel(&tile);
}

static void compute_checked(struct ooc *o) {
    unsigned stream = COMPUTE;
    uint32_t index = o->stream[COMPUTE].done;
    int result = check_records(o, &stream, &index);
    if (result == OOC_DONE) {
        hold(o);
        port_event(o, COMPUTE, OOC_EVENT_START);
        let_go(o);
        result = compute(o);
    }
    hold(o);
    if (result == OOC_DONE) {
        end_command(o, COMPUTE);
    } else {
        fail(o, stream, index, result);
    }
    let_go(o);
}

/* Transfers go first, so that they run while the kernel does. */
int ooc_step(struct ooc *o) {
    int happened, runs;
    if (o->status != OOC_BUSY) {
        return o->status;
    }
    happened = ooc_advance(o);
    hold(o);
    o->idle = 0;
    runs = choose(o, happened);
    let_go(o);
    if (runs) {
        compute_checked(o);
    }
    return o->status;
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

/* Under the guard. */
static int restart(struct ooc *o) {
    unsigned stream;
    int result = OOC_DONE;
    o->task_stream = NO_STREAM;
    o->task_index = 0;
    for (stream = 0; stream < o->model->streams; stream++) {
        if (o->stream[stream].busy && drain(o, channel_of(o, stream), port_now(o)) == OOC_ERROR_TIMEOUT) {
            o->task_stream = (uint8_t)stream;
            o->task_index = o->stream[stream].done;
            return OOC_ERROR_TIMEOUT;
        }
    }
    memset(o->stream, 0, sizeof o->stream);
    memset(o->seen, 0, sizeof o->seen);
    o->port_error = 0;
    /* A run writes each byte of these regions at most once. */
    result = erase(o, OOC_REGION_OUTPUT);
    return result == OOC_DONE ? erase(o, OOC_REGION_SCRATCH) : result;
}

int ooc_start(struct ooc *o) {
    int result;
    if (o->model == NULL) {
        return OOC_ERROR_STATE;
    }
    hold(o);
    result = restart(o);
    o->status = result == OOC_DONE ? OOC_BUSY : result;
    give_back(o);
    return result;
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
    /* one after the other, from OOC_BUSY down; a table of pointers would cost more */
    static const char text[] =
        "busy: call ooc_step again\0"
        "done\0"
        "tables do not fit runtime or port: generate them again\0"
        "no image in storage, or a damaged header: write NAME.bin\0"
        "transfer failed: see port_error\0"
        "weights with a wrong checksum: read error or damaged image\0"
        "streams wait for each other\0"
        "transfer took longer than the port allows\0"
        "null pointer, unknown tensor, wrong size or small scratch\0"
        "wrong time: ooc_open, then ooc_start, then ooc_step\0"
        "storage does not hold the image of this model: write NAME.bin\0"
        "image ends early: write all of NAME.bin\0"
        "transfer moved too few bytes\0"
        "storage is full or write protected\0"
        "storage is too small for this model\0"
        "unknown status";
    const char *message = text;
    int k = status <= OOC_BUSY && status >= OOC_ERROR_RANGE ? status : OOC_ERROR_RANGE - 1;
    for (; k < OOC_BUSY; k++) {
        message += strlen(message) + 1;
    }
    return message;
#endif
}
