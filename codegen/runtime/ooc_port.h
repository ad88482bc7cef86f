/* ooc_port.h - what a board supplies: asynchronous transfers between storage and SRAM.
 *
 * A port is one const struct of functions. The runtime calls them only from ooc_open,
 * ooc_start, ooc_step, ooc_run, ooc_transfer, the functions built on these, and ooc_advance,
 * never one while another runs. A port may complete transfers in an interrupt of its own, and
 * call ooc_advance there once `poll` would say so: then transfers follow each other while kernels run.
 */
#ifndef OOC_PORT_H
#define OOC_PORT_H

#include <stdint.h>

/* What ooc_port.event is told. */
#define OOC_EVENT_START 0u
#define OOC_EVENT_END 1u

/* Storage parts that a model may use. */
#ifdef OOC_ANNEX
#define OOC_STORES 3
#else
#define OOC_STORES 2
#endif

/* Negative results of `read_start`, `write_start`, `erase_start` and `poll` that the runtime
 * tells apart. Any other negative number is the port's own. */
enum ooc_port_error {
    OOC_PORT_SHORT = -1001, /* fewer bytes moved than were asked for */
    OOC_PORT_FULL = -1002, /* no room left to write, or write protected */
    OOC_PORT_RANGE = -1003 /* beyond the end of the store */
};

/* How records are sealed and opened, with keys that only the port knows; only where tables ask for it (OOC_SEAL). Data is
 * changed in place. A function returns 0, or a negative number where it failed;
 * `open` returns 1 where the tag is wrong, and may leave anything in the data then. They are called from the
 * main loop, never from ooc_advance, and may block until an engine is done. */
#define OOC_NONCE_BYTES 12u
#define OOC_SEAL_BYTES (OOC_NONCE_BYTES + OOC_TAG_BYTES)
#define OOC_TAG_BYTES 16u

/* What is sealed. Images are sealed by the host, with a key that many devices may share. All else is sealed by
 * the device: its key must belong to this device and this model alone, or nonces come twice. */
enum ooc_use { OOC_USE_IMAGE = 1, OOC_USE_SCRATCH = 2, OOC_USE_JOURNAL = 3 };

enum ooc_cipher { OOC_CIPHER_NONE = 0, OOC_CIPHER_AES_128_GCM = 1, OOC_CIPHER_CHACHA20_POLY1305 = 2 };

struct ooc_crypto {
    /* Handed to every function as it is. */
    void *context;

    /* enum ooc_cipher: must be that of the tables. */
    uint8_t cipher;

    /* `bytes` may be 0: then only the nonce is sealed. */
    int (*seal)(void *context, uint8_t use, const uint8_t nonce[OOC_NONCE_BYTES], uint8_t *data, uint32_t bytes,
                uint8_t tag[OOC_TAG_BYTES]);
    int (*open)(void *context, uint8_t use, const uint8_t nonce[OOC_NONCE_BYTES], uint8_t *data, uint32_t bytes,
                const uint8_t tag[OOC_TAG_BYTES]);

    /* A number below 2^24 that was never given before, from where nobody can take it back: a counter in
     * the chip. Null: the runtime counts in a journal in the storage, which whoever writes the storage can
     * take back (THREATS.md). */
    int (*opening)(void *context, uint32_t *number);
};

#ifdef OOC_ENGINE
/* An engine that opens and seals beside the CPU, with the same keys as ooc_crypto; only where tables have a stream
 * for it (OOC_ENGINE). One record at a time. Like transfers, these may be called from ooc_advance, and must not
 * block; where the end of a record interrupts, the port calls ooc_advance there. */
struct ooc_engine {
    /* Handed to every function as it is. */
    void *context;

    /* Begin to seal (seals: 1) or to open (0) a record, in place. All pointers stay valid, and nobody touches what they
     * point to, until `poll` says that it is done. Returns 0, or a negative number. */
    int (*start)(void *context, int seals, uint8_t use, const uint8_t nonce[OOC_NONCE_BYTES], uint8_t *data,
                 uint32_t bytes, uint8_t tag[OOC_TAG_BYTES]);

    /* Is the record done? 1: yes; 0: not yet; OOC_WRONG_TAG: it was opened, and its tag is wrong; negative: it failed. */
    int (*poll)(void *context);
};
#define OOC_WRONG_TAG 2
#endif

struct ooc_port {
    /* Handed to every function as it is. */
    void *context;

    /* Granule of each store in bytes (1, 512, 2048 ...; 0 counts as 1). Storage
     * offsets and lengths of all transfers are multiples of it: tables made for a
     * smaller granule are refused by ooc_open(). */
    uint16_t granule[OOC_STORES];

    /* Longest time, in ticks of `now`, that one request may take; 0: no limit. */
    uint32_t timeout;

    /* Begin to move `bytes` bytes from `offset` of a store to SRAM. At most one request
     * is outstanding per channel; the target stays untouched by the runtime until
     * `poll` says done. The CPU may have written it just before: with a data cache, its
     * lines must be cleaned or dropped first. Returns 0, or a negative number of the port's choosing, which
     * the runtime keeps in ooc.port_error. */
    int (*read_start)(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes);

    /* The other direction, same rules. May be null if the model stores nothing. */
    int (*write_start)(void *context, uint8_t channel, uint8_t store, uint32_t offset,
                       const uint8_t *source, uint32_t bytes);

    /* Begin to erase the bytes from `offset` of a store, so that each can be written once;
     * same rules. For memories that must be erased first; null where writing overwrites.
     * A region begins on an erase block and shares none: the port rounds `bytes` up to
     * whole blocks. The runtime erases what a run writes before the run, and the inputs'
     * region before input 0 is written. */
    int (*erase_start)(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint32_t bytes);

    /* Is the outstanding request of a channel finished? 1: yes, the bytes are where they
     * should be (visible to the CPU: a port with a data cache has invalidated it; in storage, where records are
     * sealed: even if power fails now);
     * 0: not yet; negative: it failed and is no longer outstanding. A port that can count
     * what moved says OOC_PORT_SHORT when it is not all. Must not block. */
    int (*poll)(void *context, uint8_t channel);

    /* A clock that wraps around; null if there is none. Only used with `timeout`. */
    uint32_t (*now)(void *context);

    /* Called when nothing can be done before a transfer completes: sleep until an
     * interrupt. May return at any time. May be null. Where interrupts call ooc_advance: look at
     * ooc.idle with interrupts off, and sleep only if it is still set. */
    void (*idle)(void *context);

    /* Told when command `index` of a stream starts and ends, for traces and tests. May
     * be null. */
    void (*event)(void *context, uint8_t stream, uint32_t index, uint8_t what);

    /* Bytes of each store, so that a storage too small is refused by ooc_open(); 0: not
     * known. */
    uint32_t capacity[OOC_STORES];

#ifdef OOC_SEAL
    /* Of models with sealed records; otherwise it may be null. */
    const struct ooc_crypto *crypto;
#endif
#ifdef OOC_ENGINE
    const struct ooc_engine *engine;
#endif
};

#endif
