/* ooc_tensor_io.c - network inputs and outputs between the caller and their place. */
#include "ooc.h"

#include "ooc_tile.h"

#include <string.h>

/* Copy between `stream`, `bytes` bytes of a plane as it lies in storage from offset `at`
 * on, and the dense tensor. Padding is skipped. */
static void copy_plane(const struct ooc_operand *operand, const struct ooc_tensor *tensor, uint32_t plane,
                       uint32_t at, uint8_t *stream, uint32_t bytes, uint8_t *dense, const uint8_t *source) {
    uint32_t element = tensor->element_bytes;
    uint32_t pixel = ooc_plane_width(operand, plane, tensor->channels) * element;
    uint32_t row = tensor->width * pixel;
    uint32_t used = operand->record_rows * row;
    uint32_t record = ooc_align(used, operand->granule);
    uint32_t end = at + bytes;

    while (at < end) {
        uint32_t inside = at % record;
        uint32_t y = at / record * operand->record_rows + inside / row;
        uint32_t x = inside % row / pixel;
        uint32_t skip = inside % pixel;
        uint32_t run = pixel - skip;
        if (inside >= used || y >= tensor->height) { /* padding */
            run = record - inside < end - at ? record - inside : end - at;
            if (source != NULL) {
                memset(stream, 0, run);
            }
        } else {
            uint32_t first = (y * tensor->width + x) * tensor->channels + plane * operand->plane_channels;
            uint32_t to = first * element + skip;
            run = run < end - at ? run : end - at;
            if (source != NULL) {
                memcpy(stream, source + to, run);
            } else {
                memcpy(dense + to, stream, run);
            }
        }
        stream += run;
        at += run;
    }
}

/* Bytes of a plane up to the end of its last granule in use. */
static uint32_t plane_bytes(const struct ooc_operand *operand, const struct ooc_tensor *tensor,
                            uint32_t plane) {
    uint32_t row = tensor->width * ooc_plane_width(operand, plane, tensor->channels) * tensor->element_bytes;
    return ooc_align(ooc_row_offset(operand, tensor->height - 1u, row) + row, operand->granule);
}

/* One of dense and source is null: the direction. */
static int move_streamed(struct ooc *o, const struct ooc_binding *binding, const struct ooc_region *region,
                         uint8_t *dense, const uint8_t *source, uint8_t *scratch, uint32_t scratch_bytes) {
    const struct ooc_operand *operand = &binding->operand;
    const struct ooc_tensor *tensor = &o->model->tensors[operand->tensor];
    uint32_t planes = (tensor->channels + operand->plane_channels - 1u) / operand->plane_channels;
    uint32_t most = scratch_bytes - scratch_bytes % operand->granule;
    uint32_t plane, at, bytes;
    if (scratch == NULL || most == 0) {
        return OOC_ERROR_ARGUMENT;
    }
    for (plane = 0; plane < planes; plane++) {
        uint32_t end = plane_bytes(operand, tensor, plane);
        uint32_t start = region->base + binding->offset + plane * operand->plane_pitch;
        for (at = 0; at < end; at += bytes) {
            int result;
            bytes = end - at < most ? end - at : most;
            if (source != NULL) {
                copy_plane(operand, tensor, plane, at, scratch, bytes, NULL, source);
            }
            result = ooc_transfer(o, region->store, start + at, scratch, bytes, source != NULL);
            if (result != OOC_DONE) {
                return result;
            }
            if (dense != NULL) {
                copy_plane(operand, tensor, plane, at, scratch, bytes, dense, NULL);
            }
        }
    }
    return OOC_DONE;
}

int ooc_input_write(struct ooc *o, unsigned input, const void *data, uint32_t bytes, uint8_t *scratch,
                    uint32_t scratch_bytes) {
    const struct ooc_binding *binding;
    if (o->model == NULL || o->status == OOC_BUSY) {
        return OOC_ERROR_STATE;
    }
    if (data == NULL || input >= o->model->inputs || bytes != o->model->bindings[input].bytes) {
        return OOC_ERROR_ARGUMENT;
    }
    binding = &o->model->bindings[input];
    if (binding->operand.place == OOC_STREAMED) {
        int result = input == 0 ? ooc_erase(o, OOC_REGION_INPUT) : OOC_DONE;
        if (result == OOC_DONE) {
            result = move_streamed(o, binding, &o->model->region[OOC_REGION_INPUT], NULL, data, scratch,
                                   scratch_bytes);
        }
        return result;
    }
    memcpy(ooc_address(o, binding->offset, bytes), data, bytes);
    return OOC_DONE;
}

int ooc_output_read(struct ooc *o, unsigned output, void *data, uint32_t bytes, uint8_t *scratch,
                    uint32_t scratch_bytes) {
    const struct ooc_binding *binding;
    if (o->model == NULL || o->status != OOC_DONE) {
        return OOC_ERROR_STATE;
    }
    if (data == NULL || output >= o->model->outputs) {
        return OOC_ERROR_ARGUMENT;
    }
    binding = &o->model->bindings[o->model->inputs + output];
    if (bytes != binding->bytes) {
        return OOC_ERROR_ARGUMENT;
    }
    if (binding->operand.place == OOC_STREAMED) {
        return move_streamed(o, binding, &o->model->region[OOC_REGION_OUTPUT], data, NULL, scratch,
                             scratch_bytes);
    }
    memcpy(data, ooc_address(o, binding->offset, bytes), bytes);
    return OOC_DONE;
}
