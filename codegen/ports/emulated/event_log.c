/* event_log.c - when each command of a run started and ended, for traces and calibration. */
#include "event_log.h"

#include "machine.h"
#include "ooc_port.h"
#include "semihost.h"

#define CHUNK 4096u
#define LONGEST_LINE 64u

/* Text on its way into a file. */
struct writer {
    int32_t file;
    uint32_t offset; /* of the file; text before is written */
    uint32_t used;
    int failed;
    char text[CHUNK];
};

static void put(struct writer *writer, const char *text) {
    while (*text != '\0') {
        writer->text[writer->used++] = *text++;
    }
}

static void put_number(struct writer *writer, uint64_t value) {
    char text[21];
    unsigned at = sizeof text - 1;
    text[at] = '\0';
    do {
        text[--at] = (char)('0' + (int)(value % 10u));
        value /= 10u;
    } while (value != 0);
    put(writer, &text[at]);
}

static void flush(struct writer *writer) {
    if (semihost_write(writer->file, writer->offset, writer->text, writer->used) != 0) {
        writer->failed = 1;
    }
    writer->offset += writer->used;
    writer->used = 0;
}

static uint64_t ns_of(uint64_t ticks) {
    uint64_t rate = machine_ticks_per_s;
    return ticks / rate * 1000000000u + (ticks % rate * 1000000000u + rate / 2u) / rate;
}

static void put_entry(struct writer *writer, const struct event_entry *entry) {
    if (writer->used > CHUNK - LONGEST_LINE) {
        flush(writer);
    }
    put_number(writer, entry->stream);
    put(writer, ",");
    put_number(writer, entry->index);
    put(writer, entry->what == OOC_EVENT_START ? ",start," : ",end,");
    put_number(writer, ns_of(entry->ticks));
    put(writer, "\n");
}

void event_log_add(struct event_log *log, uint8_t stream, uint32_t index, uint8_t what, uint64_t ticks) {
    if (log->count < log->capacity) {
        struct event_entry *entry = &log->entry[log->count];
        entry->stream = stream;
        entry->index = index;
        entry->what = what;
        entry->ticks = ticks;
    }
    log->count++;
}

int event_log_write(const struct event_log *log, const char *path) {
    static struct writer writer;
    uint32_t k;
    writer.file = semihost_open(path, SEMIHOST_CREATE);
    writer.offset = writer.used = 0;
    writer.failed = writer.file < 0 || log->count > log->capacity;
    put(&writer, "stream,index,event,ns\n");
    for (k = 0; k < log->count && !writer.failed; k++) {
        put_entry(&writer, &log->entry[k]);
    }
    if (!writer.failed) {
        flush(&writer);
    }
    if (writer.file >= 0) {
        (void)semihost_close(writer.file);
    }
    if (writer.failed) {
        machine_print("ooc: the log of events could not be written whole\n");
    }
    return writer.failed ? -1 : 0;
}
