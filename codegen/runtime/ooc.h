/* ooc.h - run a network whose weights and activations do not fit into SRAM.
 *
 * ooc-solve turned the network into const tables (NAME.c, NAME.h) and a storage image
 * (NAME.bin). The tables are a schedule: one list of commands for the CPU and one for
 * each IO channel. This runtime walks through the lists, starts transfers and runs
 * kernels; it decides nothing.
 *
 *     static struct ooc state;
 *     static uint8_t arena[NAME_BANK0_BYTES];    aligned to 16 bytes
 *     uint8_t *banks[] = {arena};
 *
 *     int status = ooc_open(&state, &NAME_model, banks, &port);
 *     if (status == OOC_DONE)
 *         status = ooc_input_write(&state, 0, image, sizeof image, scratch, sizeof scratch);
 *     if (status == OOC_DONE)
 *         status = ooc_run(&state);
 *     if (status == OOC_DONE)
 *         status = ooc_output_read(&state, 0, result, sizeof result, scratch, sizeof scratch);
 *     if (status != OOC_DONE) printf("%s\n", ooc_message(status));
 *
 * There are no globals, no heap, no recursion: the caller owns state and arena, and
 * several networks may run side by side with a state, an arena and a port each. One
 * state must not be used by two threads at the same time, and by an interrupt only
 * through ooc_advance.
 *
 * Files: ooc.c, ooc_command.c, ooc_checksum.c, ooc_tile.c, the kernels; ooc_seal.c with OOC_SEAL; ooc_ring.c with
 * OOC_RING; ooc_unpack.c with OOC_PACKED; ooc_check.c and
 * ooc_command_check.c unless OOC_NO_TABLE_CHECK;
 * ooc_tensor_io.c if ooc_input_write or ooc_output_read is used. Switches and the rules
 * for floating point: ooc_config.h.
 *
 * Trust: tables are believed after ooc_open (counts, addresses and ranges of
 * transfers checked once), the arena is as large as the tables say, and everything
 * that comes from storage is checked (header, checksum of each record of weights).
 */
#ifndef OOC_H
#define OOC_H

#include "ooc_command.h"
#include "ooc_config.h"
#include "ooc_port.h"
#include "ooc_tables.h"

#if OOC_FORMAT != 5
#error "ooc: this runtime reads table format 5; take the runtime that came with ooc_tables.h"
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* What every function returns: done, busy, or a negative error. */
enum ooc_status { OOC_DONE = 0, OOC_BUSY = 1 };

enum ooc_error {
    OOC_ERROR_FORMAT = -1, /* tables are of another format, damaged, or need a kernel left out */
    OOC_ERROR_IMAGE = -2, /* the storage holds no image, or its header is damaged */
    OOC_ERROR_PORT = -3, /* the port refused or failed a transfer: see ooc.port_error */
    OOC_ERROR_RECORD = -4, /* a record of weights arrived with a wrong checksum */
    OOC_ERROR_DEADLOCK = -5, /* every stream waits for another: the tables are wrong */
    OOC_ERROR_TIMEOUT = -6, /* a transfer took longer than ooc_port.timeout */
    OOC_ERROR_ARGUMENT = -7, /* null pointer, unknown tensor number, wrong size, small scratch */
    OOC_ERROR_STATE = -8, /* called at the wrong time, such as ooc_step before ooc_start */
    OOC_ERROR_DIGEST = -9, /* the image belongs to other tables */
    OOC_ERROR_TRUNCATED = -10, /* the image does not go on to its end */
    OOC_ERROR_SHORT = -11, /* a transfer moved fewer bytes than asked for */
    OOC_ERROR_FULL = -12, /* the storage has no room left to write */
    OOC_ERROR_RANGE = -13, /* the storage is smaller than the tables need */
    OOC_ERROR_TAMPERED = -14, /* a sealed record was changed; likewise below, with OOC_SEAL only */
    OOC_ERROR_SWAPPED = -15, /* it belongs to another place */
    OOC_ERROR_REPLAYED = -16, /* it is of another run, or of another image */
    OOC_ERROR_JOURNAL = -17, /* the journal does not say which runs there were: see ooc_provision */
    OOC_ERROR_CRYPTO = -18 /* the port has no such cipher, or it failed */
};

/* When weights are compared with the checksums that came with them. */
enum ooc_records {
    OOC_RECORDS_EVERY_RUN = 0, /* whenever they were loaded: as after ooc_open */
    OOC_RECORDS_FIRST_RUN = 1 /* until a run is complete */
};

/* How far one stream has come. */
struct ooc_progress {
    uint32_t done; /* completed commands */
    uint32_t need[OOC_MAX_STREAMS - 1]; /* completed commands required of the others */
    uint32_t since; /* port clock when the request under way was started */
    uint32_t tail; /* what the last bytes of its target were set to */
    struct ooc_cursor cursor; /* behind the command below; count: segments of it that have come */
    struct ooc_command command; /* the next one, or the one under way */
    uint8_t phase; /* 0: no command is read; 1: it waits; 2: its waits are over; 3: its transfer is
                    * under way; 4: again, to see whether it ended early */
    uint8_t channel; /* of its transfers */
};

/* The state of one network. Its contents may be read, but only the runtime writes them. */
struct ooc {
    const struct ooc_model *model;
    const struct ooc_port *port;
    uint8_t *bank[OOC_MAX_BANKS];
    struct ooc_progress stream[OOC_MAX_STREAMS];
    int16_t status; /* what ooc_step returned last */
    uint8_t records; /* see ooc_check_records; 2: no more */
    int32_t port_error; /* after OOC_ERROR_PORT: what the port returned */
    uint32_t task_index; /* after an error: the command it happened in (SPEC.md, Faults) ... */
    uint8_t task_stream; /* ... and its stream; 0xFF: in no command */
    volatile uint8_t idle; /* the last step could do nothing but wait for a transfer */
    volatile uint8_t held; /* somebody works on what ooc_advance works on ... */
    volatile uint8_t again; /* ... and an interrupt came meanwhile */
    struct ooc_cursor seen[OOC_MAX_STREAMS - 1]; /* of IO streams: records before are checked */
#ifdef OOC_SEAL
    uint32_t opening; /* number of this ooc_open, and of the run: nonces are made of them */
    uint32_t run;
#endif
#ifdef OOC_RING
    uint32_t turn; /* number of the run, of all with these tables on this storage */
    uint32_t place; /* of the scratch region in its ring */
#endif
};

/* 256 bytes where a pointer has 32 bits; 16 more with OOC_SEAL, 8 more with OOC_RING. */
#ifdef OOC_SEAL
#define OOC_SEAL_STATE_BYTES 16u
#else
#define OOC_SEAL_STATE_BYTES 0u
#endif
#ifdef OOC_RING
#define OOC_RING_STATE_BYTES 8u
#else
#define OOC_RING_STATE_BYTES 0u
#endif
#define OOC_STATE_BYTES (232u + OOC_SEAL_STATE_BYTES + OOC_RING_STATE_BYTES)
typedef char ooc_state_is_as_large_as_plans_count
    [sizeof(struct ooc) <= OOC_STATE_BYTES + 6 * sizeof(void *) ? 1 : -1];

/* Prepare a state. Checks tables and port, then reads the header of the image from
 * store 0 into the first bank large enough for 64 bytes rounded up to the granule, and
 * compares format and digest; likewise the image's last granule, to see that it is there.
 * Blocks for these two transfers.
 *
 * Called first, once; before inputs are placed, since it overwrites part of the arena.
 * banks: one address for each of model->banks, each of bank_bytes[k] bytes, aligned to
 * 4 bytes and to what the port needs. State, model and port must outlive the use.
 * Errors: ARGUMENT, FORMAT, RANGE, IMAGE, DIGEST, TRUNCATED, those of a transfer. */
int ooc_open(struct ooc *state, const struct ooc_model *model, uint8_t *const banks[],
             const struct ooc_port *port);

#ifdef OOC_SEAL
/* Write the journal of a new device, before the first ooc_open: openings are counted from `opening` on, which must be
 * beyond all that were counted with this device key (0 for a new key): ooc.opening says what was counted last. Again
 * before tables whose journal lies elsewhere. Without spilled tensors, or with ooc_crypto.opening, there is nothing to
 * write. Arguments as of ooc_open, which comes next.
 * Errors: ARGUMENT, FORMAT, RANGE, CRYPTO, those of a transfer. */
int ooc_provision(struct ooc *state, const struct ooc_model *model, uint8_t *const banks[],
                  const struct ooc_port *port, uint32_t opening);
#endif

/* Say when weights are compared with their checksums (enum ooc_records); between runs. With
 * OOC_RECORDS_FIRST_RUN the first run that ends with OOC_DONE has read all records and found them right,
 * and later runs believe the storage: what it returns wrongly from then on is computed with. Reads
 * that end early are told all the same; sealed records are opened in every run. Say it again, and the next run compares; ooc_open goes back
 * to every run.
 * Errors: STATE. */
int ooc_check_records(struct ooc *state, unsigned when);

/* Begin a run from the first commands. Inputs must be in place. Also the way to start
 * again after an error: waits for transfers still under way, whatever their result.
 * With ooc_port.erase_start: erases what the run will write, and waits for it. With OOC_RING: goes on to the
 * next place of the scratch region, and writes down that it did.
 * Errors: STATE (not opened), PORT, TIMEOUT; with OOC_RING those of a transfer. */
int ooc_start(struct ooc *state);

/* Do what can be done now: ask for completed transfers, start those that may start,
 * run at most one kernel. Returns OOC_BUSY (call again), OOC_DONE (outputs are in
 * place) or an error, which further calls repeat until ooc_start. When ooc.idle is set
 * after OOC_BUSY, nothing will happen before a transfer completes (ooc_advance clears it then).
 * Errors: STATE, RECORD, DEADLOCK, those of a transfer: PORT, TIMEOUT, SHORT, FULL, RANGE. */
int ooc_step(struct ooc *state);

/* Note which transfers have ended, and start those that may start. For the interrupt that
 * completes a transfer, so that the next one begins while a kernel still runs; without it
 * transfers begin between kernels. May be called at any time after ooc_open, from
 * interrupts that interrupt each other as well, if all run on the core that runs the main loop
 * and each returns before what it interrupted goes on: not from another thread. The port
 * is called from there, but never while one of its functions runs for this state.
 * Returns 1 if something happened, otherwise 0. A failure is told by the next ooc_step. */
int ooc_advance(struct ooc *state);

/* ooc_start, then ooc_step until it is done; calls ooc_port.idle while it waits. */
int ooc_run(struct ooc *state);

/* Move bytes between a store and SRAM and wait for it. For the caller's own use while
 * no run is under way. offset, bytes: multiples of the granule; sram: where the port
 * can reach it. to_store: 0 reads, otherwise writes. After TIMEOUT the request may still be
 * under way: reset the port before going on.
 * Errors: STATE, those of a transfer. */
int ooc_transfer(struct ooc *state, uint8_t store, uint32_t offset, uint8_t *sram, uint32_t bytes,
                 int to_store);

/* Erase a region (enum ooc_region_id) and wait for it; nothing to do without
 * ooc_port.erase_start. Used by ooc_start and ooc_input_write; also for the caller's own
 * use while no run is under way.
 * Errors: STATE, PORT, TIMEOUT. */
int ooc_erase(struct ooc *state, unsigned region);

/* Address of a byte of the arena, counted over all banks laid end to end. Null if
 * outside, or if fewer than `bytes` bytes follow in that bank. */
uint8_t *ooc_address(const struct ooc *state, uint32_t offset, uint32_t bytes);

/* Copy a network input from `data` to where the tables want it: arena or storage.
 * Storage is written through `scratch`, which the port must reach; it holds at least one
 * granule and may be null for an input in the arena. `data`: height x width x channels,
 * dense, `bytes` exactly its size. Between runs only. Where storage must be erased, input 0
 * comes first: writing it erases the others. (ooc_tensor_io.c)
 * Errors: ARGUMENT, STATE, PORT, TIMEOUT. */
int ooc_input_write(struct ooc *state, unsigned input, const void *data, uint32_t bytes, uint8_t *scratch,
                    uint32_t scratch_bytes);

/* Copy a network output to `data`; after a run that returned OOC_DONE. Otherwise as
 * ooc_input_write. (ooc_tensor_io.c) */
int ooc_output_read(struct ooc *state, unsigned output, void *data, uint32_t bytes, uint8_t *scratch,
                    uint32_t scratch_bytes);

/* The sum over `count` bytes, aligned to 4 bytes, of which the last four are their checksum: 0 if
 * all are as they were written. Of headers and records (SPEC.md, Checksums). (ooc_checksum.c) */
uint32_t ooc_checksum(const uint8_t *bytes, uint32_t count);

/* A sentence for a status or error; "" with OOC_NO_MESSAGES. */
const char *ooc_message(int status);

/* Used by ooc_open: walk through the tables and see that every index, address and range
 * is inside what it refers to. Returns OOC_DONE or OOC_ERROR_FORMAT with the command in
 * the state. (ooc_check.c, absent with OOC_NO_TABLE_CHECK) */
int ooc_check(struct ooc *state);

#ifdef __cplusplus
}
#endif

#endif
