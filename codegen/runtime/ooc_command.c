/* ooc_command.c - one cell of a packed command list. */
#include "ooc_command.h"

#define SORT_TRANSFER 1u
#define SORT_MARK 2u
#define STEPS 0x2000u
#define BODY 0x3FFFu
#define SECOND_WAIT 0x80u
#define THIRD_WAIT 0x40u
#define LONG_WAIT 0x3Fu
#define OFFSET 4u /* word of a transfer where its offset begins */
#define WORDS 6u

/* The next word; 0 beyond the end, which leaves the cursor there for good. */
static uint16_t take(const struct ooc_stream *stream, struct ooc_cursor *cursor) {
    uint16_t word = 0;
    if (cursor->next < stream->words) {
        word = stream->code[cursor->next];
        cursor->next++;
    } else {
        cursor->next = stream->words + 1u;
    }
    return word;
}

static uint32_t take_long(const struct ooc_stream *stream, struct ooc_cursor *cursor) {
    uint32_t low = take(stream, cursor);
    return low | (uint32_t)take(stream, cursor) << 16;
}

static void set_offset(struct ooc_command *command, uint32_t offset) {
    command->word[OFFSET] = (uint16_t)(offset & 0xFFFFu);
    command->word[OFFSET + 1u] = (uint16_t)(offset >> 16);
}

static void read_waits(struct ooc_command *command, uint32_t head, const struct ooc_stream *stream,
                       struct ooc_cursor *cursor) {
    uint32_t wait = head & LONG_WAIT;
    command->wait[0] = wait == LONG_WAIT ? take(stream, cursor) : (uint16_t)wait;
    command->wait[1] = (head & SECOND_WAIT) != 0u ? take(stream, cursor) : 0u;
    command->wait[2] = (head & THIRD_WAIT) != 0u ? take(stream, cursor) : 0u;
}

static void read_words(struct ooc_command *command, uint32_t head, const struct ooc_stream *stream,
                       struct ooc_cursor *cursor) {
    uint32_t k;
    if (head >> 14 == SORT_TRANSFER) {
        command->stage = OOC_TRANSFER;
        command->word[0] = take(stream, cursor);
        command->word[1] = take(stream, cursor);
        command->word[2] = (uint16_t)((head >> 11) & 3u);
        command->word[3] = (uint16_t)((head >> 9) & 3u);
        set_offset(command, take_long(stream, cursor));
        return;
    }
    command->stage = take(stream, cursor);
    command->word[0] = take(stream, cursor);
    for (k = 1; k < WORDS; k++) {
        command->word[k] = ((head >> (7u + k)) & 1u) != 0u ? take(stream, cursor) : OOC_NOWHERE;
    }
}

static void read_steps(struct ooc_command *command, const struct ooc_stream *stream,
                       struct ooc_cursor *cursor) {
    uint32_t mask = take(stream, cursor);
    uint32_t k;
    for (k = 0; k < WORDS; k++) {
        if (((mask >> k) & 1u) == 0u) {
            continue;
        }
        if (command->stage == OOC_TRANSFER && k == OFFSET) {
            uint32_t offset = (uint32_t)command->word[OFFSET + 1u] << 16 | command->word[OFFSET];
            set_offset(command, offset + take_long(stream, cursor) * cursor->round);
        } else {
            uint32_t step = (uint32_t)take(stream, cursor) * cursor->round;
            command->word[k] = (uint16_t)((command->word[k] + step) & 0xFFFFu);
        }
    }
}

/* At a mark: back to the start of the loop, or past it after the last round. */
static void turn(const struct ooc_stream *stream, struct ooc_cursor *cursor) {
    uint32_t mark = cursor->next;
    uint32_t body, rounds;
    if (mark >= stream->words || stream->code[mark] >> 14 != SORT_MARK) {
        return;
    }
    body = take(stream, cursor) & BODY;
    rounds = take(stream, cursor);
    if (cursor->round + 1u < rounds) {
        cursor->round++;
        cursor->next = mark - body;
    } else {
        cursor->round = 0;
    }
}

void ooc_command_read(struct ooc_command *command, const struct ooc_stream *stream,
                      struct ooc_cursor *cursor) {
    uint32_t head = take(stream, cursor);
    read_waits(command, head, stream, cursor);
    read_words(command, head, stream, cursor);
    if ((head & STEPS) != 0u) {
        read_steps(command, stream, cursor);
    }
    turn(stream, cursor);
    cursor->number++;
}
