/* ooc_command.h - reads the packed command lists.
 *
 * A stream is a sequence of 16-bit words: cells of one command each, some with a mark behind them
 * that sends the reader back over cells. The first word of a cell tells what it is:
 *
 *     bit 15      a mark follows the cell
 *     bit 14      0: computation, 1: transfer
 *     bit 13      the words of the command step from round to round
 *     bits 12-8   computation: which addresses follow, bit 8 the first
 *     bits 12-11  transfer: region; bits 10-9: flags (OOC_STORE, OOC_CHECKED)
 *     bit 8       transfer: region + 4 (with OOC_ANNEX only, otherwise 0)
 *     bits 7, 6   second and third wait follow, otherwise they are 0
 *     bits 5-0    first wait; 63: it follows
 *
 * Then come the waits; of a computation stage, tile and addresses, of a transfer SRAM
 * address, shape, offset low and high; where bit 13 is set a bit set of the words that
 * step, and for each its step (of an offset two words, low half first), to be multiplied
 * by the number of the round, from 0. A mark is two words: how many words the cells of its loop
 * have, and how many rounds there are. Loops do not nest.
 */
#ifndef OOC_COMMAND_H
#define OOC_COMMAND_H

#include "ooc_tables.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Parts of the first word. */
#define OOC_CELL_MARK 0x8000u
#define OOC_CELL_TRANSFER 0x4000u
#define OOC_CELL_STEPS 0x2000u
#define OOC_CELL_PRESENT 0x1F00u
#define OOC_CELL_SECOND_WAIT 0x80u
#define OOC_CELL_THIRD_WAIT 0x40u
#define OOC_CELL_LONG_WAIT 0x3Fu
#define OOC_CELL_WAITS 0xFFu

/* Words of a command, and the bit of an offset among those that step. */
#define OOC_CELL_WORDS 6u
#define OOC_CELL_OFFSET 0x10u

/* A place in the words of a stream; all zeros is the start. */
struct ooc_cursor {
    uint32_t next; /* first word of the next cell */
    uint16_t round; /* of the loop in which it lies */
    uint16_t count; /* left alone by the reader: for its caller */
};

/* Read the next command, add its waits to `need`, and go on behind it: whether there are any. There
 * must be such a command: ooc_command_fits. */
int ooc_command_read(struct ooc_command *command, uint32_t need[OOC_MAX_STREAMS - 1],
                     const struct ooc_stream *stream, struct ooc_cursor *cursor);

/* Whether ooc_command_read finds all that it would read within the words of the stream.
 * (ooc_command_check.c) */
int ooc_command_fits(const struct ooc_stream *stream, const struct ooc_cursor *cursor);

/* Whether the words end here, and no loop is left halfway. (ooc_command_check.c) */
int ooc_command_ends(const struct ooc_stream *stream, const struct ooc_cursor *cursor);

#ifdef __cplusplus
}
#endif

#endif
