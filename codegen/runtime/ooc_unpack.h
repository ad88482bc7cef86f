/* ooc_unpack.h - weights of four bits: two to a byte in storage, a byte each for the kernels. Internal to the runtime. */
#ifndef OOC_UNPACK_H
#define OOC_UNPACK_H

#include "ooc.h"

#ifdef OOC_PACKED

/* Spread the weights of what a transfer has loaded, if they are packed. */
void ooc_unpack(const struct ooc *state, const struct ooc_command *command, uint8_t *sram);

/* See that a transfer brings all its packed weights, and that they fit where it puts them. */
int ooc_unpack_check(const struct ooc *state, const struct ooc_command *command);

#endif

#endif
