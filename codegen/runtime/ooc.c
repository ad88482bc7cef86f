/* ooc.c - the state machine: walks through the command lists. */
#include "ooc.h"

#include "ooc_kernels.h"

#include <string.h>

#define COMPUTE_CHANNEL 0xFFu
#define NO_STREAM 0xFFu

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

uint32_t ooc_crc32(uint32_t crc, const uint8_t *data, uint32_t bytes) {
    static const uint32_t table[16] = {
        0x00000000u, 0x1DB71064u, 0x3B6E20C8u, 0x26D930ACu, 0x76DC4190u, 0x6B6B51F4u,
        0x4DB26158u, 0x5005713Cu, 0xEDB88320u, 0xF00F9344u, 0xD6D6A3E8u, 0xCB61B38Cu,
        0x9B64C2B0u, 0x86D3D2D4u, 0xA00AE278u, 0xBDBDF21Cu
    };
    uint32_t i;
    crc = ~crc;
    for (i = 0; i < bytes; i++) {
        crc ^= data[i];
        crc = crc >> 4 ^ table[crc & 15u];
        crc = crc >> 4 ^ table[crc & 15u];
    }
    return ~crc;
}

static uint32_t little_endian(const uint8_t *from) {
    return (uint32_t)from[0] | (uint32_t)from[1] << 8 | (uint32_t)from[2] << 16 | (uint32_t)from[3] << 24;
}

static int port_failed(struct ooc *o, int result) {
    o->port_error = result;
    return OOC_ERROR_PORT;
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

/* ------------------------------------------------------------------- transfers */

static const struct ooc_command *command_of(const struct ooc *o, unsigned stream) {
    return &o->model->stream[stream].commands[o->stream[stream].done];
}

/* Without DMA the compute stream transfers by itself, over channel 0. */
static uint8_t channel_of(const struct ooc *o, unsigned stream) {
    uint8_t channel = o->model->stream[stream].channel;
    return channel == COMPUTE_CHANNEL ? 0 : channel;
}

static int start_segment(struct ooc *o, unsigned stream) {
    const struct ooc_command *command = command_of(o, stream);
    const struct ooc_shape *shape = &o->model->shapes[command->word[1]];
    const struct ooc_region *region = &o->model->region[command->word[2]];
    struct ooc_progress *progress = &o->stream[stream];
    uint32_t offset = (uint32_t)command->word[5] << 16 | command->word[4];
    uint32_t sram = (uint32_t)command->word[0] * o->model->unit + progress->segment * shape->bytes;
    int result;

    offset += region->base + progress->segment * shape->pitch;
    progress->since = port_now(o);
    result = request(o, channel_of(o, stream), region->store, offset, ooc_address(o, sram, shape->bytes),
                     shape->bytes, command->word[3] & OOC_STORE);
    progress->busy = result == 0;
    return result;
}

#ifndef OOC_NO_RECORD_CHECK
static int record_is_sound(const struct ooc *o, const struct ooc_command *command) {
    const struct ooc_shape *shape = &o->model->shapes[command->word[1]];
    uint32_t bytes = shape->bytes * shape->segments;
    const uint8_t *record = ooc_address(o, (uint32_t)command->word[0] * o->model->unit, bytes);
    return ooc_crc32(0, record, bytes - 4) == little_endian(record + bytes - 4);
}
#endif

static void end_command(struct ooc *o, unsigned stream) {
    port_event(o, stream, OOC_EVENT_END);
    o->stream[stream].done++;
    o->stream[stream].waiting = 0;
}

/* Follow the transfer of a busy stream: 1 if something happened, 0, or an error. */
static int follow(struct ooc *o, unsigned stream) {
    struct ooc_progress *progress = &o->stream[stream];
    const struct ooc_command *command = command_of(o, stream);
    int result = completed(o, channel_of(o, stream), progress->since);
    if (result <= 0) {
        progress->busy = result == 0 || result == OOC_ERROR_TIMEOUT;
        return result;
    }
    progress->busy = 0;
    if (++progress->segment < o->model->shapes[command->word[1]].segments) {
        result = start_segment(o, stream);
        return result < 0 ? result : 1;
    }
#ifndef OOC_NO_RECORD_CHECK
    if ((command->word[3] & OOC_CHECKED) && !record_is_sound(o, command)) {
        return OOC_ERROR_RECORD;
    }
#endif
    end_command(o, stream);
    return 1;
}

/* -------------------------------------------------------------------- commands */

/* Whether a stream has a command left whose waits are over. */
static int may_start(struct ooc *o, unsigned stream) {
    struct ooc_progress *progress = &o->stream[stream];
    unsigned other, k = 0;
    int ready = 1;
    if (progress->busy || progress->done == o->model->stream[stream].count) {
        return 0;
    }
    for (other = 0; other < o->model->streams; other++) {
        if (other != stream) {
            if (!progress->waiting) {
                progress->need[k] += command_of(o, stream)->wait[k];
            }
            ready = ready && o->stream[other].done >= progress->need[k];
            k++;
        }
    }
    progress->waiting = 1;
    return ready;
}

static int compute(struct ooc *o, unsigned stream) {
    const struct ooc_command *command = command_of(o, stream);
    uint8_t *address[OOC_SLOTS];
    struct ooc_tile tile;
    unsigned k;
    int result;
    for (k = 0; k < OOC_SLOTS; k++) {
        uint16_t word = command->word[1 + k];
        address[k] = word == OOC_NOWHERE ? NULL : ooc_address(o, (uint32_t)word * o->model->unit, 0);
    }
    port_event(o, stream, OOC_EVENT_START);
    ooc_tile_set(&tile, o->model, &o->model->stages[command->stage], command->word[0], address);
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
    if (!may_start(o, stream) || (command_of(o, stream)->stage == OOC_TRANSFER) != transfers) {
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

int ooc_start(struct ooc *o) {
    unsigned stream;
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
    uint8_t channel = 0;
    unsigned stream;
    int result;
    if (o->model == NULL || o->status == OOC_BUSY) {
        return OOC_ERROR_STATE;
    }
    for (stream = 0; stream < o->model->streams; stream++) {
        if (o->stream[stream].busy) {
            return OOC_ERROR_STATE;
        }
        if (o->model->stream[stream].channel != COMPUTE_CHANNEL && o->model->stream[stream].store == store) {
            channel = o->model->stream[stream].channel;
        }
    }
    result = request(o, channel, store, offset, sram, bytes, to_store);
    return result < 0 ? result : drain(o, channel, port_now(o));
}

static int check_image(struct ooc *o) {
    uint32_t granule = o->port->granule[0] > 1 ? o->port->granule[0] : 1;
    uint32_t bytes = ooc_align(OOC_HEADER_BYTES, granule);
    uint8_t *header = NULL;
    unsigned k;
    int result;
    for (k = 0; k < o->model->banks && header == NULL; k++) {
        header = o->model->bank_bytes[k] >= bytes ? o->bank[k] : NULL;
    }
    if (header == NULL) {
        return OOC_ERROR_FORMAT;
    }
    result = ooc_transfer(o, 0, 0, header, bytes, 0);
    if (result != OOC_DONE) {
        return result;
    }
    if (memcmp(header, "OOCI", 4) != 0 || (header[4] | header[5] << 8) != OOC_FORMAT
        || ooc_crc32(0, header + 16, OOC_HEADER_BYTES - 16) != little_endian(header + 12)
        || memcmp(header + 16, o->model->digest, sizeof o->model->digest) != 0) {
        return OOC_ERROR_IMAGE;
    }
    return OOC_DONE;
}

static int prepare(struct ooc *o, const struct ooc_model *model, uint8_t *const banks[],
                   const struct ooc_port *port) {
    unsigned k;
    int result = OOC_DONE;
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
#ifndef OOC_NO_TABLE_CHECK
    result = ooc_check(o);
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
    switch (status) {
    case OOC_DONE: return "done";
    case OOC_BUSY: return "busy: call ooc_step again";
    case OOC_ERROR_FORMAT: return "the tables do not fit this runtime or its port: generate them again";
    case OOC_ERROR_IMAGE: return "the storage does not hold the image of this model: write NAME.bin to it";
    case OOC_ERROR_PORT: return "the port failed a transfer: see port_error";
    case OOC_ERROR_RECORD: return "a weights record has a wrong checksum: read error or damaged image";
    case OOC_ERROR_DEADLOCK: return "all streams wait for each other: the tables are damaged";
    case OOC_ERROR_TIMEOUT: return "a transfer took longer than the port allows";
    case OOC_ERROR_ARGUMENT: return "null pointer, unknown tensor, wrong size or too little scratch";
    case OOC_ERROR_STATE: return "called at the wrong time: ooc_open, then ooc_start, then ooc_step";
    default: return "unknown status";
    }
#endif
}
