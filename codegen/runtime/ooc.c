/* ooc.c - the state machine: walks through the command lists. */
#include "ooc.h"

#include "ooc_access.h"
#include "ooc_kernels.h"
#include "ooc_ring.h"
#include "ooc_seal.h"
#include "ooc_unpack.h"

#include <string.h>

#define COMPUTE_CHANNEL 0xFFu
#define NO_STREAM 0xFFu
#define COMPUTE 0u /* the stream that computes */
#define UNREAD 0u /* ooc_progress.phase: see there */
#define WAITING 1u
#define READY 2u
#define BUSY 3u
#define AGAIN 4u
#define RECORDS_SEEN 2u /* ooc.records after a complete run with OOC_RECORDS_FIRST_RUN */

#ifdef OOC_ONE_STREAM
#define MOST_STREAMS 1u
#define STREAMS(o) 1u
#else
#define MOST_STREAMS OOC_MAX_STREAMS
#define STREAMS(o) ((o)->model->streams)
#endif

#ifdef OOC_ONE_BANK
#define MOST_BANKS 1u
#else
#define MOST_BANKS OOC_MAX_BANKS
#endif

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

/* Where the buffer of a command begins: in a bank, as ooc_check has seen. */
static inline uint8_t *place(const struct ooc *o, uint32_t units) {
    uint8_t *const *bank = o->bank;
    uint32_t offset = units * o->model->unit;
#ifndef OOC_ONE_BANK
    const uint32_t *size = o->model->bank_bytes;
    for (; offset >= *size; size++) {
        offset -= *size;
        bank++;
    }
#endif
    return *bank + offset;
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
static inline int request(struct ooc *o, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *sram,
                          uint32_t bytes, int to_store) {
    const struct ooc_port *port = o->port;
    int result = to_store ? port->write_start(port->context, channel, store, offset, sram, bytes)
                          : port->read_start(port->context, channel, store, offset, sram, bytes);
    return result < 0 ? port_failed(o, result) : 0;
}

/* Ask for the end of a request: 1, 0 or an error. */
static inline int completed(struct ooc *o, uint8_t channel) {
    int result;
#ifdef OOC_ENGINE
    if (channel == OOC_ENGINE_CHANNEL) { /* of a run that failed: whatever it says, it is the end */
        return o->port->engine->poll(o->port->engine->context) != 0;
    }
#endif
    result = o->port->poll(o->port->context, channel);
    return result < 0 ? port_failed(o, result) : result != 0;
}

static int is_late(const struct ooc *o, uint32_t since) {
    return o->port->timeout != 0 && port_now(o) - since > o->port->timeout;
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
static inline int came_to_end(const uint8_t *target, uint32_t bytes, uint32_t first, int again) {
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

/* Without DMA the compute stream transfers by itself, over channel 0. */
static uint8_t channel_of(const struct ooc *o, unsigned stream) {
    uint8_t channel = o->model->stream[stream].channel;
    return channel == COMPUTE_CHANNEL ? 0 : channel;
}

static void end_command(const struct ooc *o, struct ooc_progress *progress, unsigned stream) {
    port_event(o, stream, OOC_EVENT_END);
    progress->done++;
    progress->phase = UNREAD;
}

/* What transfer() says besides errors, 0 (nothing happened) and 1 (something did). */
#define ENDED 2
#define NEXT 3 /* only to itself: there is another segment to start */

/* A segment has come: the transfer has ended, or goes on with the next one, or with the same again. */
static inline int arrived(struct ooc_progress *progress, const struct ooc_shape *shape, const uint8_t *sram,
                          uint8_t *phase) {
    int again = *phase == AGAIN;
    if ((progress->command.word[3] & OOC_STORE) == 0u && !came_to_end(sram, shape->bytes, progress->tail, again)) {
        *phase = AGAIN;
        return again ? OOC_ERROR_SHORT : NEXT;
    }
    *phase = BUSY;
    progress->cursor.count++;
    return progress->cursor.count == shape->segments ? ENDED : NEXT;
}

#ifdef OOC_SEAL
#define SEALS(o) ((o)->model->cipher != (uint8_t)OOC_CIPHER_NONE) /* then records are opened by commands */
#else
#define SEALS(o) 0
#endif

/* How far the scratch region has moved from where the tables have it. */
#ifdef OOC_RING
#define MOVED(o, number) ((number) == (unsigned)OOC_REGION_SCRATCH ? (o)->place * (o)->model->ring.step : 0u)
#else
#define MOVED(o, number) 0u
#endif

/* Start the segment whose turn it is: 0 or an error. */
static int start(struct ooc *o, struct ooc_progress *progress, const struct ooc_shape *shape, uint8_t *sram) {
    const uint16_t *word = progress->command.word;
    const struct ooc_region *region = &o->model->region[word[2]];
    uint32_t offset = ((uint32_t)word[5] << 16 | word[4]) + progress->cursor.count * shape->pitch;
    int to_store = word[3] & (int)OOC_STORE;
    if (!to_store) {
        progress->tail = set_tail(sram, shape->bytes);
    }
#ifdef OOC_SEAL
    if (to_store && SEALS(o)) {
        ooc_seal_blank(o, word[2], offset, sram, shape->bytes);
    }
#endif
    offset += region->base + MOVED(o, word[2]);
    return request(o, progress->channel, region->store, offset, sram, shape->bytes, to_store);
}

/* Go on with a transfer as far as it goes. */
OOC_APART int transfer(struct ooc *o, struct ooc_progress *progress) {
    const struct ooc_shape *shape = &o->model->shapes[progress->command.word[1]];
    int starts = progress->phase == READY;
    uint8_t phase = starts ? BUSY : progress->phase;
    int result, happened = starts;
    do {
        uint8_t *sram = place(o, progress->command.word[0]) + progress->cursor.count * shape->bytes;
        result = starts ? start(o, progress, shape, sram) : 0;
        if (result == 0) {
            result = completed(o, progress->channel);
            if (result > 0) {
                happened = 1;
                starts = 1;
                result = arrived(progress, shape, sram, &phase);
            } else if (result == 0) {
                if (happened) { /* it has just been started */
                    progress->since = port_now(o);
                }
                result = is_late(o, progress->since) ? OOC_ERROR_TIMEOUT : happened;
            }
        }
    } while (result == NEXT);
    progress->phase = result >= 0 || result == OOC_ERROR_TIMEOUT ? phase : READY;
    return result;
}

#ifdef OOC_ENGINE
/* Go on with the records of a transfer as far as the engine goes; says what transfer() does. */
static int engage(struct ooc *o, struct ooc_progress *progress) {
    uint8_t *sram = place(o, progress->command.word[0]);
    int happened = progress->phase == READY;
    int result = 1;
    while (result > 0) {
        if (progress->phase == READY) {
            result = ooc_engine_start(o, &progress->command, sram, progress->cursor.count);
            if (result <= 0) {
                return result == 0 ? ENDED : result;
            }
            progress->phase = BUSY;
            progress->since = port_now(o);
        }
        result = ooc_engine_end(o, &progress->command, sram, progress->cursor.count);
        if (result != 0) { /* nothing is under way now */
            progress->phase = READY;
            progress->cursor.count++;
            happened = 1;
        } else if (is_late(o, progress->since)) {
            result = OOC_ERROR_TIMEOUT;
        }
    }
    return result < 0 ? result : happened;
}
#endif

/* -------------------------------------------------------------------- commands */

/* Whether the waits of a stream's command are over; once they are, they stay so. */
static int may_start(const struct ooc *o, unsigned stream) {
    const uint32_t *need = o->stream[stream].need;
    unsigned other;
    for (other = 0; other < STREAMS(o); other++) {
        if (other != stream) {
            if (o->stream[other].done < *need) {
                return 0;
            }
            need++;
        }
    }
    return 1;
}

/* Go on with a stream until it waits or is to compute: whether something happened, or an error. */
OOC_APART int go_on(struct ooc *o, struct ooc_progress *progress, unsigned number) {
    const struct ooc_stream *stream = &o->model->stream[number];
    int result, happened = 0;
    do {
        result = 0;
        if (progress->phase == UNREAD && progress->done != stream->count) {
            int waits = ooc_command_read(&progress->command, progress->need, stream, &progress->cursor);
            progress->phase = waits ? WAITING : READY;
        }
        if (progress->phase == WAITING && may_start(o, number)) {
            progress->phase = READY;
        }
        if (progress->phase >= READY && progress->command.stage == OOC_TRANSFER) {
            if (progress->phase == READY) {
                progress->cursor.count = 0;
                port_event(o, number, OOC_EVENT_START);
            }
#ifdef OOC_ENGINE
            result = stream->channel == OOC_ENGINE_CHANNEL ? engage(o, progress) : transfer(o, progress);
#else
            result = transfer(o, progress);
#endif
            happened |= result;
            if (result == ENDED) {
                end_command(o, progress, number);
            }
        }
    } while (result == ENDED);
    return result < 0 ? result : happened;
}

/* --------------------------------------------------------------------- records */

#ifdef OOC_PACKED
#define UNPACKS(o) ((o)->model->packings != NULL) /* then records are unpacked in every run */
#else
#define UNPACKS(o) 0
#endif

#if !defined(OOC_NO_RECORD_CHECK) || defined(OOC_PACKED)
/* What is wrong with a transfer that has ended. */
static inline int record_fault(const struct ooc *o, const struct ooc_command *command) {
#ifndef OOC_NO_RECORD_CHECK
    const struct ooc_shape *shape = &o->model->shapes[command->word[1]];
    return (command->word[3] & OOC_CHECKED) == 0u
                   || ooc_checksum(place(o, command->word[0]), shape->bytes * shape->segments) == 0u
               ? OOC_DONE
               : OOC_ERROR_RECORD;
#else
    (void)o;
    (void)command;
    return OOC_DONE;
#endif
}

static int fault_of(const struct ooc *o, const struct ooc_command *command) {
    int fault = record_fault(o, command);
#ifdef OOC_PACKED
    if (fault == OOC_DONE) {
        ooc_unpack(o, command, place(o, command->word[0]));
    }
#endif
    return fault;
}

/* Check the records among the commands of a stream that nobody has looked at yet, up to number `end`:
 * how many of the commands are left, the first of them with the wrong record. */
static uint32_t unsound(const struct ooc *o, unsigned stream, struct ooc_cursor *seen, uint32_t end, int *fault) {
    uint32_t left = (end - seen->count) & 0xFFFFu; /* no command waits for more: SPEC.md, Limits */
    uint32_t need[OOC_MAX_STREAMS - 1] = {0, 0, 0}; /* is not asked for */
    struct ooc_command command;
    for (; left > 0; left--) {
        (void)ooc_command_read(&command, need, &o->model->stream[stream], seen);
        seen->count++;
        *fault = command.stage == OOC_TRANSFER ? fault_of(o, &command) : OOC_DONE;
        if (*fault != OOC_DONE) {
            break;
        }
    }
    return left;
}
#else
static uint32_t unsound(const struct ooc *o, unsigned stream, struct ooc_cursor *seen, uint32_t end, int *fault) {
    (void)o;
    (void)stream;
    (void)seen;
    (void)end;
    (void)fault;
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
        o->status = (int16_t)error;
    }
}

/* Go on with all streams until none can: whether something happened. */
static int move(struct ooc *o) {
    unsigned stream = 0, streams = STREAMS(o), left;
    int happened = 0;
    for (left = streams; left > 0; left--) {
        int result = go_on(o, &o->stream[stream], stream);
        if (result != 0) {
            happened = 1;
            left = streams; /* the others may have waited for this one */
        }
        if (result < 0) {
            fail(o, stream, o->stream[stream].done, result);
            break;
        }
        stream = stream + 1u < streams ? stream + 1u : 0u;
    }
    return happened;
}

/* -------------------------------------------------------------------- interface */

int ooc_advance(struct ooc *o) {
    int happened = 0;
    o->again = 1;
    while (o->again && !o->held) {
        hold(o);
        o->again = 0;
        happened |= o->status == OOC_BUSY ? move(o) : 0;
        give_back(o);
    }
    if (happened) {
        o->idle = 0;
    }
    return happened;
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
    for (stream = 0; stream < STREAMS(o); stream++) {
        if (o->stream[stream].phase >= BUSY) {
            o->idle = 1;
            return;
        }
        if (o->stream[stream].done != o->model->stream[stream].count && stuck == NO_STREAM) {
            stuck = stream;
        }
    }
    if (stuck == NO_STREAM) {
        o->status = OOC_DONE;
        o->records = o->records == OOC_RECORDS_EVERY_RUN || UNPACKS(o) ? o->records : RECORDS_SEEN;
    } else {
        fail(o, stuck, o->stream[stuck].done, OOC_ERROR_DEADLOCK);
    }
}

/* Under the guard: whether a kernel is to run now. */
static int choose(struct ooc *o, int happened) {
    const struct ooc_progress *progress = &o->stream[COMPUTE];
    int runs = 0;
    if (o->status == OOC_BUSY) {
        runs = progress->phase == READY && progress->command.stage != OOC_TRANSFER;
        if (!runs && !happened) {
            standstill(o);
        }
    }
    return runs;
}

/* Check the records that the next kernel waits for: those of the IO streams, or those that its own stream
 * has loaded since the last kernel. */
static int check_records(struct ooc *o, unsigned *stream, uint32_t *index) {
    const struct ooc_progress *progress = &o->stream[COMPUTE];
    unsigned first = STREAMS(o) > 1u;
    unsigned k = first;
    int fault = OOC_DONE;
    for (; k < STREAMS(o); k++) {
        uint32_t end = k == COMPUTE ? progress->done : progress->need[k - 1u];
        uint32_t left = unsound(o, k, &o->seen[k - first], end, &fault);
        if (left > 0) {
            *stream = k;
            *index = end - left;
            return fault;
        }
    }
    if (first == COMPUTE) {
        o->seen[0] = progress->cursor; /* behind the command of the kernel */
        o->seen[0].count = (uint16_t)(progress->done + 1u);
    }
    return OOC_DONE;
}

static inline uint8_t *slot(const struct ooc *o, uint32_t units) {
    return units == OOC_NOWHERE ? NULL : place(o, units);
}

#ifdef OOC_SEAL
/* Open what the load of the next command has brought, and unpack it, or seal what its store will take. */
static int open_or_seal(const struct ooc *o, const struct ooc_command *command) {
    uint8_t *sram = place(o, command->word[0]);
    int result = ooc_seal_work(o, command, sram);
#ifdef OOC_PACKED
    if (result == OOC_DONE) {
        ooc_unpack(o, command, sram);
    }
#endif
    return result;
}
#endif

/* Run the kernel of the next command. */
static int compute(const struct ooc *o) {
    const struct ooc_command *command = &o->stream[COMPUTE].command;
    const uint16_t *word = command->word;
    uint8_t *address[OOC_SLOTS];
    struct ooc_tile tile;
    address[OOC_SLOT_INPUT_0] = slot(o, word[1]);
    address[OOC_SLOT_INPUT_1] = slot(o, word[2]);
    address[OOC_SLOT_WEIGHTS] = slot(o, word[3]);
    address[OOC_SLOT_OUTPUT] = slot(o, word[4]);
    address[OOC_SLOT_SUMS] = slot(o, word[5]);
    ooc_tile_set(&tile, o->model, &o->model->stages[command->stage], word[0], address);
    return ooc_kernel(&tile);
}

/* Do what the next command asks of the CPU. */
static inline int work(const struct ooc *o) {
#ifdef OOC_SEAL
    const struct ooc_command *command = &o->stream[COMPUTE].command;
    if (command->stage == OOC_CRYPTO) {
        return open_or_seal(o, command);
    }
#endif
    return compute(o);
}

static void compute_checked(struct ooc *o) {
    unsigned stream = COMPUTE;
    uint32_t index = o->stream[COMPUTE].done;
    int result = o->records == RECORDS_SEEN || SEALS(o) ? OOC_DONE : check_records(o, &stream, &index);
    if (result == OOC_DONE) {
        if (o->port->event != NULL) {
            hold(o);
            port_event(o, COMPUTE, OOC_EVENT_START);
            let_go(o);
        }
        result = work(o);
    }
    hold(o);
    if (result == OOC_DONE) {
        end_command(o, &o->stream[COMPUTE], COMPUTE);
    } else {
        fail(o, stream, index, result);
    }
    let_go(o);
}

/* Transfers go first, so that they run while the kernel does. */
int ooc_step(struct ooc *o) {
    int runs;
    if (o->status != OOC_BUSY) {
        return o->status;
    }
    hold(o);
    o->again = 0;
    o->idle = 0;
    runs = choose(o, move(o));
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
    while ((result = completed(o, channel)) == 0) {
        if (is_late(o, since)) {
            return OOC_ERROR_TIMEOUT;
        }
        idle(o);
    }
    return result < 0 ? result : OOC_DONE;
}

/* The IO channel behind which a store lies. */
static uint8_t channel_behind(const struct ooc *o, uint8_t store) {
    uint8_t channel = 0;
    unsigned stream;
    for (stream = 0; stream < STREAMS(o); stream++) {
        const struct ooc_stream *s = &o->model->stream[stream];
        if (s->channel != COMPUTE_CHANNEL && s->store == store) {
            channel = s->channel;
        }
    }
    return channel;
}

/* Erase a part of a store while no transfer is under way. */
static int erase_part(struct ooc *o, const struct ooc_region *region) {
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

static int erase(struct ooc *o, unsigned number) {
#ifdef OOC_RING
    struct ooc_region here = ooc_ring_region(o, number);
    return erase_part(o, &here);
#else
    return erase_part(o, &o->model->region[number]);
#endif
}

/* Whether the caller may use the port: opened, no run and no transfer under way. */
static int is_at_rest(const struct ooc *o) {
    unsigned stream;
    int rest = o->model != NULL && o->status != OOC_BUSY;
    for (stream = 0; rest && stream < STREAMS(o); stream++) {
        rest = o->stream[stream].phase < BUSY;
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
    for (stream = 0; stream < STREAMS(o); stream++) {
        const struct ooc_progress *progress = &o->stream[stream];
        if (progress->phase >= BUSY && drain(o, progress->channel, port_now(o)) == OOC_ERROR_TIMEOUT) {
            o->task_stream = (uint8_t)stream;
            o->task_index = progress->done;
            return OOC_ERROR_TIMEOUT;
        }
    }
    memset(o->stream, 0, sizeof o->stream);
    memset(o->seen, 0, sizeof o->seen);
    for (stream = 0; stream < STREAMS(o); stream++) {
        o->stream[stream].channel = channel_of(o, stream);
    }
    o->port_error = 0;
    /* A run writes each byte of these regions at most once. */
#ifdef OOC_SEAL
    result = ooc_seal_next_run(o);
    if (result != OOC_DONE) {
        return result;
    }
#endif
#ifdef OOC_RING
    ooc_ring_turn(o);
#endif
    result = erase(o, OOC_REGION_OUTPUT);
    result = result == OOC_DONE ? erase(o, OOC_REGION_SCRATCH) : result;
#ifdef OOC_RING
    o->status = OOC_ERROR_STATE; /* nothing is under way: ooc_transfer may be used */
    result = result == OOC_DONE ? ooc_ring_note(o) : result;
#endif
    return result;
}

int ooc_start(struct ooc *o) {
    int result;
    if (o->model == NULL) {
        return OOC_ERROR_STATE;
    }
    hold(o);
    result = restart(o);
    o->status = (int16_t)(result == OOC_DONE ? OOC_BUSY : result);
    give_back(o);
    return result;
}

int ooc_check_records(struct ooc *o, unsigned when) {
    if (!is_at_rest(o)) {
        return OOC_ERROR_STATE;
    }
    o->records = when == OOC_RECORDS_EVERY_RUN ? OOC_RECORDS_EVERY_RUN : OOC_RECORDS_FIRST_RUN;
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
        int result = to_store && o->port->write_start == NULL
                         ? OOC_ERROR_PORT
                         : request(o, channel, store, offset, sram, bytes, to_store);
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

/* What the header says of the format: where records are sealed, how. */
#ifdef OOC_SEAL
#define FORMAT_OF(model) (OOC_FORMAT | (uint32_t)(model)->cipher << 16)
#else
#define FORMAT_OF(model) OOC_FORMAT
#endif

/* The headers of image and annex begin differently, so that neither passes for the other. */
static int check_header(const struct ooc *o, unsigned number, const uint8_t *header) {
    const char *magic = number == OOC_REGION_IMAGE ? "OOCI" : "OOCA";
    if (memcmp(header, magic, 4) != 0 || little_endian(header + 4) != FORMAT_OF(o->model)
        || ooc_checksum(header, OOC_HEADER_BYTES) != 0u) {
        return OOC_ERROR_IMAGE;
    }
    if (memcmp(header + 16, o->model->digest, sizeof o->model->digest) != 0
        || little_endian(header + 8) != o->model->region[number].bytes) {
        return OOC_ERROR_DIGEST;
    }
    return OOC_DONE;
}

/* The start of the first bank that has so many bytes. */
static inline uint8_t *room(const struct ooc *o, uint32_t bytes) {
    uint8_t *found = NULL;
    unsigned k;
    for (k = 0; k < o->model->banks && found == NULL; k++) {
        found = o->model->bank_bytes[k] >= bytes ? o->bank[k] : NULL;
    }
    return found;
}

/* The header of an image says how it ends: is the end there? */
static int check_part(struct ooc *o, unsigned number, uint8_t store, uint32_t base) {
    uint32_t granule = granule_of(o, store);
    uint32_t bytes = ooc_align(OOC_HEADER_BYTES, granule);
    uint32_t image = o->model->region[number].bytes;
    uint8_t *header = room(o, bytes);
    int result;
    if (header == NULL || image < bytes || image % granule != 0u) {
        return OOC_ERROR_FORMAT;
    }
    result = ooc_transfer(o, store, base, header, bytes, 0);
    if (result == OOC_DONE) {
        result = check_header(o, number, header);
    }
    if (result == OOC_DONE && image > bytes) {
        uint32_t end = little_endian(header + 12);
        uint32_t length = ooc_align(4, granule);
        result = ooc_transfer(o, store, base + image - length, header, length, 0);
        if (result == OOC_DONE && little_endian(header + length - 4) != end) {
            result = OOC_ERROR_TRUNCATED;
        }
    }
    return result;
}

/* The image begins store 0. */
static int check_image(struct ooc *o) {
    int result = check_part(o, OOC_REGION_IMAGE, 0, 0);
#ifdef OOC_ANNEX
    const struct ooc_region *annex = &o->model->region[OOC_REGION_ANNEX];
    if (result == OOC_DONE && annex->bytes > 0u) {
        result = check_part(o, OOC_REGION_ANNEX, annex->store, annex->base);
    }
#endif
    return result;
}

static inline int check_reach(const struct ooc *o, const struct ooc_region *region, uint32_t bytes) {
    uint32_t capacity;
    if (region->store >= (unsigned)OOC_STORES) {
        return OOC_ERROR_FORMAT;
    }
    capacity = o->port->capacity[region->store];
    return capacity != 0u && bytes != 0u && (region->base > capacity || bytes > capacity - region->base)
               ? OOC_ERROR_RANGE
               : OOC_DONE;
}

/* Whether the stores are as large as the regions on them, the scratch region with its ring, and the journal. */
static int check_capacity(const struct ooc *o) {
    int result = OOC_DONE;
    unsigned k;
    for (k = 0; k < (unsigned)OOC_REGIONS && result == OOC_DONE; k++) {
        const struct ooc_region *region = &o->model->region[k];
        uint32_t bytes = region->bytes;
#ifdef OOC_RING
        bytes = k == (unsigned)OOC_REGION_SCRATCH ? o->model->ring.places * o->model->ring.step : bytes;
#endif
        result = check_reach(o, region, bytes);
    }
#ifdef OOC_SEAL
    result = result == OOC_DONE ? check_reach(o, &o->model->journal, o->model->journal.bytes) : result;
#endif
    return result;
}

/* Take tables and port, and see that they fit each other. */
static inline int attach(struct ooc *o, const struct ooc_model *model, uint8_t *const banks[],
                   const struct ooc_port *port) {
    unsigned k;
    int result;
    if (model->format != OOC_FORMAT || model->banks > MOST_BANKS || model->streams > MOST_STREAMS) {
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
    return result;
}

static inline int begin(struct ooc *o, const struct ooc_model *model, uint8_t *const banks[],
                        const struct ooc_port *port) {
    if (o == NULL || model == NULL || banks == NULL || port == NULL || port->read_start == NULL
        || port->poll == NULL) {
        return OOC_ERROR_ARGUMENT;
    }
    memset(o, 0, sizeof *o);
    o->status = OOC_ERROR_STATE;
    o->task_stream = NO_STREAM;
    return attach(o, model, banks, port);
}

#ifdef OOC_SEAL
static int count_opening(struct ooc *o) {
    uint32_t granule = granule_of(o, o->model->journal.store);
    uint8_t *scratch = room(o, ooc_align(OOC_SEAL_BYTES, granule));
    return scratch == NULL ? OOC_ERROR_FORMAT : ooc_seal_prepare(o, scratch);
}

int ooc_provision(struct ooc *o, const struct ooc_model *model, uint8_t *const banks[],
                  const struct ooc_port *port, uint32_t opening) {
    int result = begin(o, model, banks, port);
    if (result == OOC_DONE) {
        uint8_t *scratch = room(o, ooc_align(OOC_SEAL_BYTES, granule_of(o, model->journal.store)));
        result = scratch == NULL ? OOC_ERROR_FORMAT : ooc_seal_provision(o, scratch, opening);
        o->model = NULL; /* ooc_open comes next */
    }
    return result;
}

int ooc_seal_erase(struct ooc *o, const struct ooc_region *part) {
    return erase_part(o, part);
}
#endif

int ooc_open(struct ooc *o, const struct ooc_model *model, uint8_t *const banks[],
             const struct ooc_port *port) {
    int result = begin(o, model, banks, port);
    if (result == OOC_ERROR_ARGUMENT) {
        return result;
    }
    if (result == OOC_DONE) {
        result = check_image(o);
    }
#ifdef OOC_SEAL
    if (result == OOC_DONE) {
        result = count_opening(o);
    }
#endif
#ifdef OOC_RING
    if (result == OOC_DONE) {
        result = ooc_ring_find(o);
    }
#endif
    if (result != OOC_DONE) {
        o->model = NULL; /* no run with a model that was refused */
        o->status = (int16_t)result;
    }
    return result;
}

#ifdef OOC_SEAL
#define LAST_ERROR OOC_ERROR_CRYPTO
#else
#define LAST_ERROR OOC_ERROR_RANGE
#endif

#ifdef OOC_ANNEX
#define IMAGES "NAME.bin and NAME_annex.bin"
#else
#define IMAGES "NAME.bin"
#endif

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
        "no image in storage, or a damaged header: write " IMAGES "\0"
        "transfer failed: see port_error\0"
        "weights with a wrong checksum: read error or damaged image\0"
        "streams wait for each other\0"
        "transfer took longer than the port allows\0"
        "null pointer, unknown tensor, wrong size or small scratch\0"
        "wrong time: ooc_open, then ooc_start, then ooc_step\0"
        "storage does not hold the image of this model: write " IMAGES "\0"
        "image ends early: write all of " IMAGES "\0"
        "transfer moved too few bytes\0"
        "storage is full or write protected\0"
        "storage is too small for this model\0"
#ifdef OOC_SEAL
        "a sealed record was changed\0"
        "a sealed record is in the place of another\0"
        "a sealed record is of another run or image\0"
        "no journal of openings, or it is at its end: ooc_provision\0"
        "the port lacks the cipher, or it failed\0"
#endif
        "unknown status";
    const char *message = text;
    int k = status <= OOC_BUSY && status >= LAST_ERROR ? status : LAST_ERROR - 1;
    for (; k < OOC_BUSY; k++) {
        message += strlen(message) + 1;
    }
    return message;
#endif
}
