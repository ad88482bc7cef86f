/* ooc_check.c - walk through the tables once, so that the rest may trust them. */
#include "ooc.h"

#include "ooc_kernels.h"
#include "ooc_ring.h"
#include "ooc_seal.h"
#include "ooc_unpack.h"

#include <stddef.h>

#define COMPUTE_CHANNEL 0xFFu

/* ----------------------------------------------------------------------- stages */

static int operand_is_sound(const struct ooc_model *model, const struct ooc_operand *operand) {
    if (operand->tensor >= model->tensor_count) {
        return 0;
    }
    if (operand->place == OOC_PATCH) {
        return operand->maker < model->stage_count
               && model->stages[operand->maker].operand[2].tensor == operand->tensor;
    }
    return operand->place == OOC_RESIDENT
           || (operand->plane_channels > 0 && operand->record_rows > 0 && operand->granule > 0);
}

static int tensors_are_sound(const struct ooc_model *model) {
    unsigned k;
    for (k = 0; k < model->tensor_count; k++) {
        const struct ooc_tensor *tensor = &model->tensors[k];
        if (tensor->height == 0 || tensor->width == 0 || tensor->channels == 0
            || (tensor->element_bytes != 1 && tensor->element_bytes != 4)) {
            return 0;
        }
    }
    return 1;
}

static int window_is_sound(const struct ooc_stage *stage) {
    int axis;
    for (axis = 0; axis < 2; axis++) {
        const struct ooc_cut *cut = &stage->tiles[axis];
        if (stage->kernel[axis] == 0 || stage->stride[axis] == 0 || stage->dilation[axis] == 0
            || cut->count == 0 || cut->pitch == 0 || cut->extent == 0) {
            return 0;
        }
    }
    return stage->tile_channels > 0 && stage->split_channels > 0 && stage->conv_groups > 0;
}

static int elements_are_sound(const struct ooc_stage *stage, const struct ooc_tensor *in,
                              const struct ooc_tensor *out) {
    if (stage->kind == OOC_PERMUTE || stage->kind == OOC_MOVE) {
        return in->element_bytes == out->element_bytes;
    }
#ifdef OOC_FLOATS
    if (stage->flags & OOC_FLAG_FLOAT32) {
        return in->element_bytes == 4 && out->element_bytes == 4;
    }
#endif
    return in->element_bytes == (stage->kind == OOC_QUANTIZE ? 4 : 1)
           && out->element_bytes == (stage->kind == OOC_DEQUANTIZE ? 4 : 1);
}

static int channels_are_sound(const struct ooc_stage *stage, const struct ooc_tensor *in,
                              const struct ooc_tensor *out) {
    if (stage->kind == OOC_PERMUTE || stage->kind == OOC_MOVE) {
        return 1;
    }
#if OOC_KINDS & (1u << 12) /* OOC_MATMUL */
    if (stage->kind == OOC_MATMUL) { /* matrices_fit() */
        return 1;
    }
#endif
    if (stage->kind != OOC_CONV) {
        return in->channels == out->channels;
    }
    return in->channels % stage->conv_groups == 0
           && out->channels % stage->conv_groups == 0
           && (stage->conv_groups == 1 || stage->split_channels >= in->channels);
}

#if OOC_KINDS & (1u << 12) /* OOC_MATMUL */
/* The second input is [depth, matrices, columns], or [columns, matrices, depth] if it is turned, and is read whole. */
static int matrices_fit(const struct ooc_model *model, const struct ooc_stage *stage) {
    const struct ooc_tensor *left = &model->tensors[stage->operand[0].tensor];
    const struct ooc_tensor *right = &model->tensors[stage->operand[1].tensor];
    const struct ooc_tensor *out = &model->tensors[stage->operand[2].tensor];
    const int turned = (stage->flags & OOC_FLAG_TRANSPOSED) != 0;
    return (turned ? right->channels : right->height) == left->channels
           && (turned ? right->height : right->channels) == out->channels && left->height == out->height
           && left->width == out->width && right->width == out->width && stage->tile_channels >= out->channels
           && stage->operand[1].place != OOC_PATCH;
}
#endif

static int takes_two(const struct ooc_stage *stage) {
#if OOC_KINDS & (1u << 12) /* OOC_MATMUL */
    if (stage->kind == OOC_MATMUL) {
        return 1;
    }
#endif
    return stage->kind == OOC_ADD || stage->kind == OOC_MULTIPLY
           || (stage->kind == OOC_MOVE && stage->inputs == 2);
}

static int move_is_sound(const struct ooc_model *model, const struct ooc_stage *stage) {
    uint32_t end = stage->first_axis + (uint32_t)stage->inputs * OOC_MOVE_AXES;
    uint32_t k;
    for (k = stage->first_axis; k < end; k++) {
        if (end > model->axis_count || model->axes[k].size >> 16 == 0) {
            return 0;
        }
    }
    return 1;
}

static int axes_are_sound(const struct ooc_model *model, const struct ooc_stage *stage) {
    if (stage->kind == OOC_MOVE) {
        return move_is_sound(model, stage);
    }
    return stage->kind != OOC_PERMUTE || stage->first_axis + OOC_PERMUTE_AXES <= model->axis_count;
}

static int stage_is_sound(const struct ooc_model *model, const struct ooc_stage *stage) {
    const struct ooc_tensor *out;
    int k;
    if (!ooc_has_kernel(stage) || stage->inputs != (takes_two(stage) ? 2 : 1)
        || !window_is_sound(stage)) {
        return 0;
    }
    for (k = 0; k < 3; k++) {
        if (k != 1 || stage->inputs == 2) {
            if (!operand_is_sound(model, &stage->operand[k])) {
                return 0;
            }
        }
    }
    out = &model->tensors[stage->operand[2].tensor];
    for (k = 0; k < stage->inputs; k++) {
        const struct ooc_tensor *in = &model->tensors[stage->operand[k].tensor];
        if (!elements_are_sound(stage, in, out) || !channels_are_sound(stage, in, out)) {
            return 0;
        }
    }
#if OOC_KINDS & (1u << 12) /* OOC_MATMUL */
    if (stage->kind == OOC_MATMUL) {
        return matrices_fit(model, stage);
    }
#endif
    return axes_are_sound(model, stage);
}

/* --------------------------------------------------------------------- commands */

static uint64_t count_tiles(const struct ooc_model *model, const struct ooc_stage *stage) {
    const struct ooc_tensor *in = &model->tensors[stage->operand[0].tensor];
    const struct ooc_tensor *out = &model->tensors[stage->operand[2].tensor];
    uint64_t count = (uint64_t)stage->tiles[0].count * stage->tiles[1].count;
    count *= (uint64_t)((out->channels + stage->tile_channels - 1) / stage->tile_channels);
    if (stage->kind == OOC_CONV) {
        count *= (uint64_t)((in->channels + stage->split_channels - 1) / stage->split_channels);
    }
    return count;
}

static int needs_weights(const struct ooc_stage *stage) {
    const uint8_t kind = stage->kind;
#ifdef OOC_FLOATS
    if (kind == OOC_SOFTMAX && (stage->flags & OOC_FLAG_FLOAT32)) {
        return 0;
    }
#endif
    return kind == OOC_CONV || kind == OOC_DEPTHWISE || kind == OOC_LOOKUP || kind == OOC_SOFTMAX;
}

static int compute_is_sound(const struct ooc *o, const struct ooc_command *command) {
    const struct ooc_model *model = o->model;
    const struct ooc_stage *stage;
    unsigned k;
    if (command->stage >= model->stage_count) {
        return 0;
    }
    stage = &model->stages[command->stage];
    if (command->word[0] >= count_tiles(model, stage)) {
        return 0;
    }
    for (k = 1; k < 6; k++) { /* input 0, input 1, weights, output, sums */
        uint16_t word = command->word[k];
        int needed = k == 1 || (k == 2 && stage->inputs == 2) || (k == 3 && needs_weights(stage))
                     || (k == 4 && stage->kind != OOC_CONV);
        if (word == OOC_NOWHERE ? needed : ooc_address(o, (uint32_t)word * model->unit, 1) == NULL) {
            return 0;
        }
    }
    if (stage->kind == OOC_CONV) {
        uint32_t in = model->tensors[stage->operand[0].tensor].channels;
        uint32_t splits = (in + stage->split_channels - 1) / stage->split_channels;
        int last = command->word[0] % splits == splits - 1;
        return (!last || command->word[4] != OOC_NOWHERE) && (splits == 1 || command->word[5] != OOC_NOWHERE);
    }
    return 1;
}

static int transfer_is_sound(const struct ooc *o, const struct ooc_command *command) {
    const struct ooc_model *model = o->model;
    const struct ooc_shape *shape;
    const struct ooc_region *region;
    uint32_t offset = (uint32_t)command->word[5] << 16 | command->word[4];
    uint64_t bytes;
    uint32_t granule;
    if (command->word[1] >= model->shape_count || command->word[2] >= OOC_REGIONS) {
        return 0;
    }
    shape = &model->shapes[command->word[1]];
    region = &model->region[command->word[2]];
    bytes = (uint64_t)shape->bytes * shape->segments;
    if (bytes == 0 || bytes > UINT32_MAX || region->store >= OOC_STORES
        || ooc_address(o, (uint32_t)command->word[0] * model->unit, (uint32_t)bytes) == NULL
        || offset + (shape->segments - 1u) * (uint64_t)shape->pitch + shape->bytes > region->bytes
        || region->bytes > UINT32_MAX - region->base) {
        return 0;
    }
    granule = o->port->granule[region->store] > 1 ? o->port->granule[region->store] : 1;
    if ((region->base + offset) % granule || shape->bytes % granule
        || (shape->segments > 1 && shape->pitch % granule)) {
        return 0;
    }
    if (command->word[3] & OOC_STORE) {
        return command->word[2] != OOC_REGION_IMAGE && command->word[2] != OOC_REGION_ANNEX
               && o->port->write_start != NULL;
    }
#ifdef OOC_PACKED
    if (!ooc_unpack_check(o, command)) {
        return 0;
    }
#endif
#ifdef OOC_SEAL
    if (model->cipher != (uint8_t)OOC_CIPHER_NONE) { /* in one piece, from the start of a granule of a tensor */
        int opened = command->word[2] == OOC_REGION_SCRATCH || (command->word[3] & OOC_CHECKED) != 0u;
        int known = command->word[2] != OOC_REGION_SCRATCH
                    || (model->sealed_count > 0u && model->sealed->offset <= offset);
        return !opened || (known && shape->segments == 1u && bytes > OOC_SEAL_BYTES);
    }
#endif
    return !(command->word[3] & OOC_CHECKED) || bytes > 4;
}

#ifdef OOC_SEAL
/* Records of weights are opened, and rows of spilled activations are opened or sealed, in one piece. */
static int crypto_is_sound(const struct ooc *o, const struct ooc_command *command) {
    const struct ooc_model *model = o->model;
    uint32_t offset = (uint32_t)command->word[5] << 16 | command->word[4];
    int known = model->sealed_count > 0u && model->sealed->offset <= offset;
    int sealed = command->word[2] == OOC_REGION_SCRATCH ? known : (command->word[3] & OOC_CHECKED) != 0u;
    return transfer_is_sound(o, command) && sealed && model->cipher != (uint8_t)OOC_CIPHER_NONE
           && model->shapes[command->word[1]].segments == 1u
           && model->shapes[command->word[1]].bytes > OOC_SEAL_BYTES;
}
#endif

/* Only the compute stream computes; it transfers over channel 0 if nobody else does. */
static int command_is_sound(const struct ooc *o, unsigned stream, const struct ooc_command *command) {
    const struct ooc_model *model = o->model;
    unsigned other;
#ifdef OOC_SEAL
    if (command->stage == OOC_CRYPTO) {
        return model->stream[stream].channel == COMPUTE_CHANNEL && crypto_is_sound(o, command);
    }
#endif
    if (command->stage != OOC_TRANSFER) {
        return model->stream[stream].channel == COMPUTE_CHANNEL && compute_is_sound(o, command);
    }
    for (other = 0; other < model->streams; other++) {
        if (other != stream && model->stream[stream].channel == COMPUTE_CHANNEL
            && model->stream[other].channel == 0) {
            return 0;
        }
    }
#ifdef OOC_ENGINE
    if (model->stream[stream].channel == OOC_ENGINE_CHANNEL) { /* the last stream */
        return ooc_engine_works(model) && crypto_is_sound(o, command);
    }
#endif
    return transfer_is_sound(o, command);
}

/* -------------------------------------------------------------------- everything */

/* Read a stream as a run will; the words end with the last command, and no loop is left
 * halfway. */
static int stream_is_sound(struct ooc *o, unsigned number) {
    const struct ooc_stream *stream = &o->model->stream[number];
    struct ooc_cursor cursor = {0, 0, 0};
    struct ooc_command command;
    uint32_t need[OOC_MAX_STREAMS - 1] = {0, 0, 0}; /* is not asked for */
    if (stream->words == UINT32_MAX || (stream->words > 0u && stream->code == NULL)) {
        return 0;
    }
    for (o->task_index = 0; o->task_index < stream->count; o->task_index++) {
        if (!ooc_command_fits(stream, &cursor)) {
            return 0;
        }
        (void)ooc_command_read(&command, need, stream, &cursor);
        if (!command_is_sound(o, number, &command)) {
            return 0;
        }
    }
    return ooc_command_ends(stream, &cursor);
}

static int streams_are_sound(struct ooc *o) {
    const struct ooc_model *model = o->model;
    unsigned stream, other;
    for (stream = 0; stream < model->streams; stream++) {
        for (other = 0; other < stream; other++) {
            if (model->stream[other].channel == model->stream[stream].channel) {
                return 0;
            }
        }
        o->task_stream = (uint8_t)stream;
        if (!stream_is_sound(o, stream)) {
            return 0;
        }
    }
    o->task_stream = 0xFF;
    o->task_index = 0;
    return 1;
}

static int bindings_are_sound(const struct ooc *o) {
    const struct ooc_model *model = o->model;
    unsigned k;
    for (k = 0; k < (unsigned)model->inputs + model->outputs; k++) {
        const struct ooc_binding *binding = &model->bindings[k];
        const struct ooc_tensor *tensor;
        uint64_t bytes;
        if (!operand_is_sound(model, &binding->operand)) {
            return 0;
        }
        tensor = &model->tensors[binding->operand.tensor];
        bytes = (uint64_t)tensor->height * tensor->width * tensor->channels * tensor->element_bytes;
        if (binding->bytes != bytes) {
            return 0;
        }
        if (binding->operand.place == OOC_PATCH) {
            return 0;
        }
        if (binding->operand.place == OOC_RESIDENT && ooc_address(o, binding->offset, binding->bytes) == NULL) {
            return 0;
        }
    }
    return 1;
}

/* Buffers begin on words, as ooc_checksum takes for granted. */
static int banks_are_sound(const struct ooc_model *model) {
    unsigned k;
    int sound = model->unit > 0 && model->unit % 4u == 0u;
    for (k = 0; k < model->banks; k++) {
        sound = sound && model->bank_bytes[k] % 4u == 0u;
    }
    return sound;
}

int ooc_check(struct ooc *o) {
    const struct ooc_model *model = o->model;
    unsigned k;
    int sound = banks_are_sound(model) && tensors_are_sound(model);
    for (k = 0; k < model->stage_count && sound; k++) {
        sound = stage_is_sound(model, &model->stages[k]);
    }
#ifdef OOC_SEAL
    sound = sound && ooc_seal_check(o);
#endif
#ifdef OOC_RING
    sound = sound && ooc_ring_check(o);
#endif
    return sound && bindings_are_sound(o) && streams_are_sound(o) ? OOC_DONE : OOC_ERROR_FORMAT;
}
