/* machine_emcraft_sf2.c - Emcraft SmartFusion2 kit (Cortex-M3, 64 KiB): serial NOR flash on MSS SPI 0.
 *
 * There is one store, the whole flash (-drive if=mtd). The CPU moves every byte, so a transfer is over
 * when it was started. Registers of the SPI controller: Microsemi UG0331.
 */
#include "machine.h"
#include "semihost.h"
#include "spi_nor.h"
#include "systick.h"

#include <stddef.h>
#include <string.h>

#define FLASH_BYTES 0x01000000u
#define PIECE_BYTES 256u
#define LONGEST_WAIT ((uint64_t)60u * MACHINE_CLOCK_HZ) /* ticks */

#define SPI0 0x40001000u
#define SPI(offset) MACHINE_REGISTER(SPI0 + (offset))
#define CONTROL 0x00u
#define FRAME_SIZE 0x04u
#define STATUS 0x08u
#define RECEIVE 0x10u
#define TRANSMIT 0x14u
#define SLAVE_SELECT 0x1Cu
#define CONTROL_ENABLE 1u
#define CONTROL_MASTER 2u
#define CONTROL_FRAMES(count) ((count) << 8)
#define CONTROL_HOLD_SELECT (1u << 26) /* from the first frame to the last */
#define CONTROL_BIG_FIFO (1u << 29)
#define STATUS_RECEIVE_EMPTY (1u << 6)
#define BURST 16u /* bytes in the FIFO at once; it holds 32 */

const uint32_t machine_ticks_per_s = MACHINE_CLOCK_HZ;

static struct spi_nor nor;
static uint32_t changed_low = FLASH_BYTES, changed_high; /* bytes that were erased or programmed */

uint64_t machine_ticks(void) {
    return systick_ticks();
}

/* ------------------------------------------------------------------------------ bus */

static uint32_t lesser(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

/* The controller selects the flash with the first of `frames` frames and lets go after the last. */
static void select_for(uint32_t frames) {
    SPI(CONTROL) = CONTROL_MASTER; /* the frame size can be set only while it is off */
    SPI(FRAME_SIZE) = 8;
    while ((SPI(STATUS) & STATUS_RECEIVE_EMPTY) == 0) {
        (void)SPI(RECEIVE);
    }
    SPI(SLAVE_SELECT) = 1;
    SPI(CONTROL) = CONTROL_ENABLE | CONTROL_MASTER | CONTROL_FRAMES(frames) | CONTROL_HOLD_SELECT
                   | CONTROL_BIG_FIFO;
}

static uint8_t received(void) {
    while ((SPI(STATUS) & STATUS_RECEIVE_EMPTY) != 0) {
    }
    return (uint8_t)SPI(RECEIVE);
}

/* Exchange bytes in bursts that fit the FIFO; a null pointer sends zeros or drops what comes. */
static void exchange(const uint8_t *send, uint8_t *receive, uint32_t bytes) {
    uint32_t at = 0, k;
    while (at < bytes) {
        uint32_t burst = lesser(BURST, bytes - at);
        for (k = 0; k < burst; k++) {
            SPI(TRANSMIT) = send != NULL ? send[at + k] : 0;
        }
        for (k = 0; k < burst; k++) {
            uint8_t byte = received();
            if (receive != NULL) {
                receive[at + k] = byte;
            }
        }
        at += burst;
    }
}

static void transaction(void *context, const uint8_t *command, uint32_t command_bytes, const uint8_t *send,
                        uint8_t *receive, uint32_t bytes) {
    (void)context;
    select_for(command_bytes + bytes);
    exchange(command, NULL, command_bytes);
    exchange(send, receive, bytes);
}

/* ----------------------------------------------------------------------------- port */

static int read_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes) {
    (void)channel;
    (void)store;
    return spi_nor_read(context, offset, target, bytes);
}

static void note_changed(uint32_t offset, uint32_t bytes) {
    changed_low = offset < changed_low ? offset : changed_low;
    changed_high = offset + bytes > changed_high ? offset + bytes : changed_high;
}

static int write_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                       uint32_t bytes) {
    (void)channel;
    (void)store;
    note_changed(offset, bytes);
    return spi_nor_program(context, offset, source, bytes);
}

static int erase_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint32_t bytes) {
    (void)channel;
    (void)store;
    note_changed(offset, bytes);
    return spi_nor_erase(context, offset, bytes);
}

static int poll(void *context, uint8_t channel) {
    (void)context;
    (void)channel;
    return 1;
}

const struct ooc_port *machine_open(void) {
    static struct ooc_port port;
    nor.bus.transaction = transaction;
    nor.bytes = FLASH_BYTES;
    systick_start();
    if (spi_nor_open(&nor) != 0) {
        machine_print("ooc: no flash of 16 MiB answers (-drive if=mtd,format=raw,file=store0.img)\n");
        return NULL;
    }
    port.context = &nor;
    port.granule[0] = 1; /* of reads; nothing is programmed but whole pages */
    port.read_start = read_start;
    port.write_start = write_start;
    port.erase_start = erase_start;
    port.poll = poll;
    return &port;
}

/* Whether a piece of the file is what the flash holds; negative: it cannot be read. */
static int has_arrived(int32_t file, uint32_t offset, uint32_t bytes) {
    static uint8_t kept[PIECE_BYTES], written[PIECE_BYTES];
    if (spi_nor_read(&nor, offset, kept, bytes) != 0 || semihost_read(file, offset, written, bytes) != 0) {
        return -1;
    }
    return memcmp(kept, written, bytes) == 0;
}

/* The emulator writes its file in the background and drops the rest when the program ends. */
int machine_close(void) {
    int32_t file = semihost_open("store0.img", SEMIHOST_READ);
    uint64_t begun = machine_ticks();
    uint32_t at = changed_low;
    int arrived = 0;
    if (file < 0) {
        arrived = -1;
    }
    while (at < changed_high && arrived >= 0 && machine_ticks() - begun < LONGEST_WAIT) {
        uint32_t bytes = lesser(PIECE_BYTES, changed_high - at);
        arrived = has_arrived(file, at, bytes);
        at += arrived > 0 ? bytes : 0u;
    }
    if (file >= 0) {
        (void)semihost_close(file);
    }
    if (at < changed_high) {
        machine_print("ooc: what the flash holds does not arrive in store0.img\n");
        return -1;
    }
    return 0;
}
