/* event_log.h - when each command of a run started and ended, for traces and calibration. */
#ifndef EVENT_LOG_H
#define EVENT_LOG_H

#include <stdint.h>

struct event_entry {
    uint32_t index; /* of the command in its stream */
    uint8_t stream;
    uint8_t what; /* OOC_EVENT_* */
    uint16_t reserved;
    uint64_t ticks;
};

/* Events beyond `capacity` are counted and not kept. */
struct event_log {
    struct event_entry *entry;
    uint32_t capacity;
    uint32_t count;
};

void event_log_add(struct event_log *log, uint8_t stream, uint32_t index, uint8_t what, uint64_t ticks);

/* Write a file of lines "stream,index,event,ns" (event: start or end), after a line with these
 * words. Returns 0, or -1 after printing why not. */
int event_log_write(const struct event_log *log, const char *path);

#endif
