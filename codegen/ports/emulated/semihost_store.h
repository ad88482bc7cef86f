/* semihost_store.h - two stores in files of the host: any machine, no driver of its own.
 *
 * A transfer is over when its start returns.
 */
#ifndef SEMIHOST_STORE_H
#define SEMIHOST_STORE_H

#include "ooc_port.h"

enum semihost_store_error {
    SEMIHOST_STORE_ERROR_RANGE = -500, /* off the granule, or a third store */
    SEMIHOST_STORE_ERROR_FILE = -501 /* the file does not move that many bytes */
};

/* The port over store0.img and store1.img with a granule of 512 bytes, or null after printing
 * which file cannot be opened. */
const struct ooc_port *semihost_store_open(void);

#endif
