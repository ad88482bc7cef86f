/* ooc_tile.c - from the numbers of a compute command to pointers and pitches.
 *
 * The same arithmetic as in the generator (models/tiling.py) and SPEC.md.
 */
#include "ooc_tile.h"

#include "ooc_config.h"

#include <stddef.h>

struct range {
    int32_t low;
    int32_t high;
};

uint32_t ooc_align(uint32_t value, uint32_t granule) {
    uint32_t rest = value % granule;
    return rest ? value + (granule - rest) : value;
}

uint32_t ooc_plane_width(const struct ooc_operand *operand, uint32_t plane, uint32_t channels) {
    uint32_t left = channels - plane * operand->plane_channels;
    return left < operand->plane_channels ? left : operand->plane_channels;
}

uint32_t ooc_row_offset(const struct ooc_operand *operand, uint32_t y, uint32_t row_bytes) {
    uint32_t record = ooc_align(operand->record_rows * row_bytes, operand->granule);
    return y / operand->record_rows * record + y % operand->record_rows * row_bytes;
}

/* Tile `index` of a cut along an axis of `size`; an empty one ends where it begins. */
static struct range cut_range(uint32_t index, const struct ooc_cut *cut, uint16_t size) {
    struct range range = {0, 0};
    int32_t begin = (int32_t)(index * cut->pitch) - cut->lead;
    int32_t end = begin + cut->extent;
    if (index > 0 && begin > 0) {
        range.low = begin < size ? begin : size;
    }
    range.high = end < size ? end : size;
    range.high = range.high > range.low ? range.high : range.low;
    return range;
}

static struct range tile_range(uint32_t index, uint32_t tile, uint32_t size) {
    struct range range;
    uint32_t end = (index + 1) * tile;
    range.low = (int32_t)(index * tile);
    range.high = (int32_t)(end < size ? end : size);
    return range;
}

static uint32_t tile_count(uint32_t size, uint32_t tile) {
    return (size + tile - 1) / tile;
}

int32_t ooc_floor(int32_t value, int32_t divisor) {
    return value >= 0 ? value / divisor : -((divisor - 1 - value) / divisor);
}

static struct ooc_reading window_reading(const struct ooc_stage *stage, int axis) {
    struct ooc_reading reading;
    reading.extra = stage->dilation[axis] * (stage->kernel[axis] - 1);
    reading.step = stage->stride[axis];
    reading.start = -stage->pad[axis];
    reading.period = 1;
    if (stage->flags & OOC_FLAG_TRANSPOSED) { /* tap t of p comes from (p + pad - t * dilation) / stride */
        reading.step = 1;
        reading.period = stage->stride[axis];
        reading.start = stage->pad[axis] - reading.extra + reading.period - 1;
        reading.extra -= reading.period - 1;
    }
    return reading;
}

struct ooc_reading ooc_reading(const struct ooc_tile *tile, int k, int axis) {
    const struct ooc_axis *moved;
    struct ooc_reading reading;
#if OOC_KINDS & (1u << 12) /* OOC_MATMUL */
    if (tile->stage->kind == OOC_MATMUL && k == 1 && axis == 0) { /* all rows of the second matrix */
        reading.step = 0;
        reading.start = 0;
        reading.extra = tile->input[1].height - 1;
        reading.period = 1;
        return reading;
    }
#endif
    if (tile->stage->kind != OOC_MOVE) {
        return window_reading(tile->stage, axis);
    }
    moved = &tile->axes[k * OOC_MOVE_AXES + axis];
    reading.step = (int32_t)(moved->size & 0x7FFFu);
    reading.period = (int32_t)(moved->size >> 16);
    reading.start = (int32_t)moved->stride;
    reading.extra = 0;
    return reading;
}

/* Input rows (axis 0) or columns (1) of an output range, clipped to the tensor; at least
 * one even if none exists, so that there always is a buffer. */
static struct range input_range(const struct ooc_tile *tile, int k, int axis, const int32_t out[2],
                                int32_t size) {
    const struct ooc_reading reading = ooc_reading(tile, k, axis);
    struct range in;
    int32_t low = ooc_floor(out[0] * reading.step + reading.start, reading.period);
    int32_t high = ooc_floor((out[1] - 1) * reading.step + reading.start + reading.extra, reading.period) + 1;
    if (axis == 1 && tile->stage->tiles[1].count == 1 && tile->stage->kind != OOC_MOVE) { /* whole rows */
        low = 0;
        high = size;
    }
    low = low > 0 ? low : 0;
    in.low = low < size - 1 ? low : size - 1;
    high = high < size ? high : size;
    in.high = high > in.low + 1 ? high : in.low + 1;
    return in;
}

static void view_resident(struct ooc_view *view, const struct ooc_tensor *tensor, uint8_t *address,
                          uint32_t channel) {
    view->pixel_pitch = (uint32_t)tensor->channels * tensor->element_bytes;
    view->row_pitch = tensor->width * view->pixel_pitch;
    view->base = address + channel * tensor->element_bytes;
}

static void view_streamed_input(struct ooc_view *view, const struct ooc_tensor *tensor,
                                const struct ooc_operand *operand, uint8_t *address, uint32_t channel,
                                struct range rows, struct range columns) {
    uint32_t plane = channel / operand->plane_channels;
    uint32_t pixel = ooc_plane_width(operand, plane, tensor->channels) * tensor->element_bytes;
    uint32_t row = tensor->width * pixel + OOC_BEHIND_ROW(operand);
    uint32_t start = plane * operand->plane_pitch + ooc_row_offset(operand, (uint32_t)rows.low, row)
                     + (uint32_t)columns.low * pixel;
    uint32_t head = start % operand->granule;
    uint32_t used = operand->record_rows * row;

    view->pixel_pitch = pixel;
    view->base = address + head + (channel - plane * operand->plane_channels) * tensor->element_bytes;
    view->row = (uint16_t)rows.low;
    view->column = (uint16_t)columns.low;
    if (columns.high - columns.low == tensor->width) {
        view->row_pitch = row;
        view->record_rows = operand->record_rows;
        view->record = (uint16_t)(rows.low / operand->record_rows);
        if ((uint32_t)rows.high > (view->record + 1u) * operand->record_rows) { /* more than one record */
            view->record_gap = ooc_align(used, operand->granule) - used;
        }
    } else { /* each row is a segment of its own */
        view->row_pitch = ooc_align(head + (uint32_t)(columns.high - columns.low) * pixel, operand->granule);
    }
}

/* All channels of the box that stage `maker` computes for the same patch, or of a ring of its rows. */
static void view_patch(struct ooc_view *view, const struct ooc_model *model, const struct ooc_operand *operand,
                       const struct ooc_tile *tile, uint8_t *address, uint32_t channel) {
    const struct ooc_tensor *tensor = &model->tensors[operand->tensor];
    const struct ooc_cut *cut = model->stages[operand->maker].tiles;
    struct range rows = cut_range(tile->patch[0], &cut[0], tensor->height);
    struct range columns = cut_range(tile->patch[1], &cut[1], tensor->width);

    view->pixel_pitch = (uint32_t)tensor->channels * tensor->element_bytes;
    view->row_pitch = (uint32_t)(columns.high - columns.low) * view->pixel_pitch;
    view->base = address + channel * tensor->element_bytes;
    view->column = (uint16_t)columns.low;
    if (operand->record_rows == 0) {
        view->row = (uint16_t)rows.low;
    } else { /* a step back to the first row of the ring behind its last */
        view->record_rows = operand->record_rows;
        view->record_gap = 0u - operand->record_rows * view->row_pitch;
    }
}

static void view_common(struct ooc_view *view, const struct ooc_tensor *tensor) {
    view->row = 0;
    view->column = 0;
    view->record_gap = 0;
    view->record_rows = 1;
    view->record = 0;
    view->scale = tensor->scale;
    view->zero_point = tensor->zero_point;
    view->height = tensor->height;
    view->width = tensor->width;
    view->channels = tensor->channels;
}

static void set_input(struct ooc_tile *tile, int k, const struct ooc_model *model, uint8_t *address,
                      uint32_t channel) {
    const struct ooc_stage *stage = tile->stage;
    const struct ooc_operand *operand = &stage->operand[k];
    const struct ooc_tensor *tensor = &model->tensors[operand->tensor];
    struct ooc_view *view = &tile->input[k];
    struct range rows, columns;

    view_common(view, tensor);
    if (operand->place == OOC_PATCH) {
        view_patch(view, model, operand, tile, address, channel);
        return;
    }
    if (operand->place == OOC_RESIDENT || stage->kind == OOC_PERMUTE) {
        view_resident(view, tensor, address, channel);
        return;
    }
    rows = input_range(tile, k, 0, tile->row, tensor->height);
    columns = input_range(tile, k, 1, tile->column, tensor->width);
    view_streamed_input(view, tensor, operand, address, channel, rows, columns);
}

static void set_output(struct ooc_tile *tile, const struct ooc_model *model, uint8_t *address) {
    const struct ooc_operand *operand = &tile->stage->operand[2];
    const struct ooc_tensor *tensor = &model->tensors[operand->tensor];
    struct ooc_view *view = &tile->output;
    view_common(view, tensor);
    tile->element_bytes = tensor->element_bytes;
    if (address == NULL) { /* a split before the last needs none */
        view->base = NULL;
        return;
    }
    if (operand->place == OOC_PATCH) {
        view_patch(view, model, operand, tile, address, tile->first_channel);
        return;
    }
    if (operand->place == OOC_RESIDENT || tile->stage->kind == OOC_PERMUTE) {
        view_resident(view, tensor, address, tile->first_channel);
        return;
    }
    view->base = address;
    view->row = (uint16_t)tile->row[0];
    view->column = (uint16_t)tile->column[0];
    view->pixel_pitch = tile->channels * tensor->element_bytes;
    view->row_pitch
        = (uint32_t)(tile->column[1] - tile->column[0]) * view->pixel_pitch + OOC_BEHIND_ROW(operand);
}

/* Bias and multipliers stand before the weights of the last split. */
static void set_weights(struct ooc_tile *tile, const uint8_t *address) {
    uint8_t kind = tile->stage->kind;
    tile->bias = NULL;
    tile->multiplier = NULL;
    tile->weights = address;
    if ((kind == OOC_CONV || kind == OOC_DEPTHWISE) && tile->last) {
        tile->bias = address;
        tile->multiplier = address + 4 * tile->channels;
        tile->weights = address + 8 * tile->channels;
#ifdef OOC_FLOATS
        if (tile->stage->flags & OOC_FLAG_FLOAT32) { /* there are no multipliers */
            tile->multiplier = NULL;
            tile->weights = address + 4 * tile->channels;
        }
#endif
    }
}

void ooc_tile_set(struct ooc_tile *tile, const struct ooc_model *model, const struct ooc_stage *stage,
                  uint32_t number, uint8_t *const address[OOC_SLOTS]) {
    const struct ooc_tensor *in = &model->tensors[stage->operand[0].tensor];
    const struct ooc_tensor *out = &model->tensors[stage->operand[2].tensor];
    uint32_t splits = stage->kind == OOC_CONV ? tile_count(in->channels, stage->split_channels) : 1;
    uint32_t groups = tile_count(out->channels, stage->tile_channels);
    uint32_t columns = stage->tiles[1].count;
    uint32_t split = number % splits;
    uint32_t group = number / splits % groups;
    uint32_t column = number / splits / groups % columns;
    uint32_t row = number / splits / groups / columns;
    struct range rows = cut_range(row, &stage->tiles[0], out->height);
    struct range cols = cut_range(column, &stage->tiles[1], out->width);
    struct range channels = tile_range(group, stage->tile_channels, out->channels);
    struct range depth = {0, in->channels};
    uint32_t from = (uint32_t)channels.low; /* first input channel */
    int k;

    if (stage->kind == OOC_CONV) {
        depth = tile_range(split, stage->split_channels, in->channels);
        from = (uint32_t)depth.low;
    } else if (stage->kind == OOC_SOFTMAX) {
        from = 0;
    } /* a move that does not keep channels apart has tiles of all channels */
    tile->stage = stage;
    tile->axes = stage->kind == OOC_PERMUTE || stage->kind == OOC_MOVE ? model->axes + stage->first_axis : NULL;
    tile->patch[0] = row;
    tile->patch[1] = column;
    tile->row[0] = rows.low;
    tile->row[1] = rows.high;
    tile->column[0] = cols.low;
    tile->column[1] = cols.high;
    tile->first_channel = (uint32_t)channels.low;
    tile->channels = (uint32_t)(channels.high - channels.low);
    tile->depth = (uint32_t)(depth.high - depth.low);
    tile->group_outputs = (uint32_t)out->channels / stage->conv_groups;
    tile->group_inputs = (uint32_t)in->channels / stage->conv_groups;
    tile->height = in->height;
    tile->width = in->width;
    tile->first = split == 0;
    tile->last = split + 1 == splits;
    tile->sums = splits > 1 ? address[OOC_SLOT_SUMS] : NULL;
    for (k = 0; k < stage->inputs; k++) {
        set_input(tile, k, model, address[k], from);
    }
    set_output(tile, model, address[OOC_SLOT_OUTPUT]);
    set_weights(tile, address[OOC_SLOT_WEIGHTS]);
}
