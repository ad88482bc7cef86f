/* ooc_conv.h - the kernels in files of their own. Internal to the kernels. */
#ifndef OOC_CONV_H
#define OOC_CONV_H

#include "ooc_tile.h"

void ooc_conv(const struct ooc_tile *tile);
void ooc_depthwise(const struct ooc_tile *tile);
void ooc_transposed(const struct ooc_tile *tile);
void ooc_move(const struct ooc_tile *tile);
void ooc_float(const struct ooc_tile *tile);

/* Nonzero if ooc_float can compute tiles of the stage. */
int ooc_has_float(const struct ooc_stage *stage);

#endif
