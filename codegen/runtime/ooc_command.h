/* ooc_command.h - reads the packed command lists.
 *
 * A stream is a sequence of 16-bit words: cells of one command each, and marks that send
 * the reader back over the cells before them. The first word of each tells what it is:
 *
 *     bits 15-14  0: computation, 1: transfer, 2: mark
 *     bit 13      the words of the command step from round to round
 *     bits 12-8   computation: which addresses follow, bit 8 the first
 *     bits 12-11  transfer: region; bits 10-9: flags (OOC_STORE, OOC_CHECKED)
 *     bits 7, 6   second and third wait follow, otherwise they are 0
 *     bits 5-0    first wait; 63: it follows
 *
 * Then come the waits; of a computation stage, tile and addresses, of a transfer SRAM
 * address, shape, offset low and high; where bit 13 is set a bit set of the words that
 * step, and for each its step (of an offset two words, low half first), to be multiplied
 * by the number of the round, from 0. A mark holds in bits 13-0 how many words its loop
 * has, and in the next word how many rounds there are. Loops do not nest.
 */
#ifndef OOC_COMMAND_H
#define OOC_COMMAND_H

#include "ooc_tables.h"

#ifdef __cplusplus
extern "C" {
#endif

/* A place in the words of a stream; all zeros is the start. */
struct ooc_cursor {
    uint32_t next; /* first word of the next cell; more than there are: a cell was cut off */
    uint16_t round; /* of the loop in which it lies */
    uint16_t number; /* of commands read so far, modulo 65536 */
};

/* Read the next command and go on to the one after it. Never reads beyond the words of
 * the stream: what is missing counts as 0. */
void ooc_command_read(struct ooc_command *command, const struct ooc_stream *stream, struct ooc_cursor *cursor);

#ifdef __cplusplus
}
#endif

#endif
