/* ooc_command_check.c - whether a command list can be read: ooc_command.c does not ask. */
#include "ooc_command.h"

static uint32_t count_bits(uint32_t mask) {
    uint32_t count = 0;
    for (; mask != 0u; mask >>= 1) {
        count += mask & 1u;
    }
    return count;
}

/* Words of a cell without its mark; more than are left if it is cut off. */
static uint32_t cell_words(const uint16_t *cell, uint32_t left) {
    uint32_t head = cell[0];
    uint32_t steps = 0x3F; /* the words that may step */
    uint32_t words = 3u + count_bits(head & (OOC_CELL_SECOND_WAIT | OOC_CELL_THIRD_WAIT));
    if ((head & OOC_CELL_LONG_WAIT) == OOC_CELL_LONG_WAIT) {
        words++;
    }
    if ((head & OOC_CELL_TRANSFER) != 0u) {
        steps = 3u | OOC_CELL_OFFSET;
        words += 2u;
    } else {
        words += count_bits(head & OOC_CELL_PRESENT);
    }
    if ((head & OOC_CELL_STEPS) != 0u) {
        uint32_t mask = words < left ? cell[words] : UINT32_MAX;
        words += 1u + count_bits(mask);
        if ((head & OOC_CELL_TRANSFER) != 0u && (mask & OOC_CELL_OFFSET) != 0u) {
            words++; /* two halves */
        }
        if ((mask & ~steps) != 0u) {
            words = UINT32_MAX;
        }
    }
    return words;
}

int ooc_command_fits(const struct ooc_stream *stream, const struct ooc_cursor *cursor) {
    const uint16_t *cell = stream->code + cursor->next;
    uint32_t left, words;
    if (cursor->next >= stream->words) {
        return 0;
    }
    left = stream->words - cursor->next;
    words = cell_words(cell, left);
    if ((cell[0] & OOC_CELL_MARK) == 0u) {
        return words <= left;
    }
    return words <= left && left - words >= 2u && cell[words] <= cursor->next + words;
}

int ooc_command_ends(const struct ooc_stream *stream, const struct ooc_cursor *cursor) {
    return cursor->next == stream->words && cursor->round == 0u;
}
