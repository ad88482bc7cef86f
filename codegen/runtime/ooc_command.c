/* ooc_command.c - one cell of a packed command list. It is read for every command of every run, so
 * there is no check here: ooc_command_check.c has made them all. */
#include "ooc_command.h"

#define USUAL 0x0D00u /* one input, weights and output are present */

/* At a mark: back to the start of the loop, or past it after the last round. */
static const uint16_t *turn(const uint16_t *mark, struct ooc_cursor *cursor) {
    if (cursor->round + 1u < mark[1]) {
        cursor->round++;
        return mark - mark[0];
    }
    cursor->round = 0;
    return mark + 2;
}

static const uint16_t *read_waits(uint32_t need[OOC_MAX_STREAMS - 1], uint32_t head, const uint16_t *code) {
    uint32_t wait = head & OOC_CELL_LONG_WAIT;
    need[0] += wait == OOC_CELL_LONG_WAIT ? *code++ : wait;
    if ((head & OOC_CELL_SECOND_WAIT) != 0u) {
        need[1] += *code++;
    }
    if ((head & OOC_CELL_THIRD_WAIT) != 0u) {
        need[2] += *code++;
    }
    return code;
}

/* Steps are multiplied by the number of the round. */
static const uint16_t *read_transfer(struct ooc_command *command, uint32_t head, const uint16_t *code,
                                     uint32_t round) {
    uint16_t *word = command->word;
    uint32_t offset = code[2] | (uint32_t)code[3] << 16;
    command->stage = OOC_TRANSFER;
    word[0] = code[0];
    word[1] = code[1];
#ifdef OOC_ANNEX
    word[2] = (uint16_t)(((head >> 11) & 3u) | ((head >> 6) & 4u));
#else
    word[2] = (uint16_t)((head >> 11) & 3u);
#endif
    word[3] = (uint16_t)((head >> 9) & 3u);
    code += 4;
    if ((head & OOC_CELL_STEPS) != 0u) {
        uint32_t mask = *code++;
        if ((mask & 1u) != 0u) {
            word[0] = (uint16_t)(word[0] + *code++ * round);
        }
        if ((mask & 2u) != 0u) {
            word[1] = (uint16_t)(word[1] + *code++ * round);
        }
        if ((mask & OOC_CELL_OFFSET) != 0u) {
            offset += (code[0] | (uint32_t)code[1] << 16) * round;
            code += 2;
        }
    }
    word[4] = (uint16_t)offset;
    word[5] = (uint16_t)(offset >> 16);
    return code;
}

static const uint16_t *read_computation(struct ooc_command *command, uint32_t head, const uint16_t *code,
                                        uint32_t round) {
    uint16_t *word = command->word;
    command->stage = code[0];
    word[0] = code[1];
    code += 2;
    if ((head & OOC_CELL_PRESENT) == USUAL) { /* which the loop below takes three times as long for */
        word[1] = code[0];
        word[2] = OOC_NOWHERE;
        word[3] = code[1];
        word[4] = code[2];
        word[5] = OOC_NOWHERE;
        code += 3;
    } else {
        uint32_t present = head >> 8;
        uint32_t k;
        for (k = 1; k < OOC_CELL_WORDS; k++) {
            word[k] = (present & 1u) != 0u ? *code++ : OOC_NOWHERE;
            present >>= 1;
        }
    }
    if ((head & OOC_CELL_STEPS) != 0u) {
        uint32_t mask = *code++;
        for (; mask != 0u; mask >>= 1) {
            if ((mask & 1u) != 0u) {
                *word = (uint16_t)(*word + *code++ * round);
            }
            word++;
        }
    }
    return code;
}

int ooc_command_read(struct ooc_command *command, uint32_t need[OOC_MAX_STREAMS - 1],
                     const struct ooc_stream *stream, struct ooc_cursor *cursor) {
    const uint16_t *code = stream->code + cursor->next;
    uint32_t head = *code++;
    if ((head & OOC_CELL_WAITS) != 0u) {
        code = read_waits(need, head, code);
    }
    if ((head & OOC_CELL_TRANSFER) != 0u) {
        code = read_transfer(command, head, code, cursor->round);
    } else {
        code = read_computation(command, head, code, cursor->round);
    }
    if ((head & OOC_CELL_MARK) != 0u) {
        code = turn(code, cursor);
    }
    cursor->next = (uint32_t)(code - stream->code);
    return (int)(head & OOC_CELL_WAITS);
}
