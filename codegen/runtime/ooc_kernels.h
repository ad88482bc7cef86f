/* ooc_kernels.h - the arithmetic.
 *
 * Activations are int8 (real = scale * (stored - zero_point)), weights int8 with zero
 * point 0, sums int32, rescaling by one float32 multiplier per output channel, rounding
 * half to even. This is bit for bit what onnxruntime's QLinear kernels compute. Stages of float32 are
 * computed by ooc_float.c, where OOC_FLOATS asks for it.
 * Windows skip the taps that fall on padding. On chips with DSP or vector instructions
 * convolutions use them, with the same result (ooc_config.h).
 */
#ifndef OOC_KERNELS_H
#define OOC_KERNELS_H

#include "ooc_config.h"
#include "ooc_tile.h"

#ifdef __cplusplus
extern "C" {
#endif

/* Compute one tile. Called by ooc_step with a tile set up by ooc_tile_set; may take as
 * long as the tile needs; up to 0.7 KiB of stack on a Cortex-M. Replace this function to use
 * kernels of your own; those that give the same bytes keep all promises of the plan.
 * Returns OOC_DONE, or OOC_ERROR_FORMAT if the kind is not compiled in. */
int ooc_kernel(const struct ooc_tile *tile);

/* Nonzero if ooc_kernel can compute tiles of the stage. */
int ooc_has_kernel(const struct ooc_stage *stage);

#ifdef __cplusplus
}
#endif

#endif
