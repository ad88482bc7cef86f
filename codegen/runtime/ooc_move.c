/* ooc_move.c - pad, slice, nearest resize, concatenation: every output element is one of an input, or
 * a constant.
 */
#include "ooc_conv.h"

#include "ooc_access.h"
#include "ooc_config.h"

#include <string.h>

#if OOC_KINDS & (1u << 9) /* OOC_MOVE */

/* The output channels that an input has. */
struct part {
    struct ooc_reading rows;
    struct ooc_reading columns;
    struct ooc_reading channels;
    uint32_t low;
    uint32_t high;
    int32_t count; /* channels of the input */
    int limited; /* edges are repeated, so channels need not follow each other */
};

/* Where an input has an output position; with OOC_FLAG_EDGES the nearest that it has. */
static int32_t position(const struct ooc_tile *tile, const struct ooc_reading *reading, int32_t at, int32_t size) {
    int32_t found = ooc_floor(at * reading->step + reading->start, reading->period);
    if (tile->stage->flags & OOC_FLAG_EDGES) {
        found = found < 0 ? 0 : found;
        found = found < size ? found : size - 1;
    }
    return found;
}

static void set_part(const struct ooc_tile *tile, int k, struct part *part) {
    const struct ooc_view *view = &tile->input[k];
    part->rows = ooc_reading(tile, k, 0);
    part->columns = ooc_reading(tile, k, 1);
    part->channels = ooc_reading(tile, k, 2);
    part->count = view->channels;
    part->limited = tile->stage->flags & OOC_FLAG_EDGES
                    && (part->channels.start < 0 || part->channels.start + (int32_t)tile->channels > view->channels);
    for (part->low = 0; part->low < tile->channels; part->low++) {
        if (position(tile, &part->channels, (int32_t)part->low, view->channels) >= 0) {
            break;
        }
    }
    for (part->high = tile->channels; part->high > part->low; part->high--) {
        if (position(tile, &part->channels, (int32_t)part->high - 1, view->channels) < view->channels) {
            break;
        }
    }
}

static void copy_channels(const struct ooc_tile *tile, const struct part *part, const uint8_t *in, uint8_t *out) {
    const struct ooc_reading *channels = &part->channels;
    uint32_t size = tile->element_bytes;
    uint32_t i;
    if (channels->step == 1 && channels->period == 1 && !part->limited) {
        uint32_t first = (uint32_t)((int32_t)part->low + channels->start);
        memcpy(out + part->low * size, in + first * size, (part->high - part->low) * size);
        return;
    }
    for (i = part->low; i < part->high; i++) {
        memcpy(out + i * size, in + (uint32_t)position(tile, channels, (int32_t)i, part->count) * size, size);
    }
}

/* The last input first, so that the first one prevails where several have an element. */
static void move_pixel(const struct ooc_tile *tile, const struct part *parts, int32_t y, int32_t x) {
    uint8_t *out = ooc_view_pixel(&tile->output, y, x);
    int k;
    if (tile->stage->inputs == 1) { /* two inputs have all there is between them */
        memset(out, tile->stage->fill, tile->channels * tile->element_bytes);
    }
    for (k = tile->stage->inputs - 1; k >= 0; k--) {
        const struct ooc_view *view = &tile->input[k];
        int32_t row = position(tile, &parts[k].rows, y, view->height);
        int32_t column = position(tile, &parts[k].columns, x, view->width);
        if (row >= 0 && row < view->height && column >= 0 && column < view->width) {
            copy_channels(tile, &parts[k], ooc_view_pixel(view, row, column), out);
        }
    }
}

void ooc_move(const struct ooc_tile *tile) {
    struct part parts[2];
    int32_t y, x;
    int k;
    for (k = 0; k < tile->stage->inputs; k++) {
        set_part(tile, k, &parts[k]);
    }
    for (y = tile->row[0]; y < tile->row[1]; y++) {
        for (x = tile->column[0]; x < tile->column[1]; x++) {
            move_pixel(tile, parts, y, x);
        }
    }
}

#endif
