/* machine_riscv_virt.c - QEMU's generic 32-bit RISC-V machine: stores are virtio block devices.
 *
 * Each store is a device of its own, -device virtio-blk-device,serial=store0 (store1); requests of all
 * channels are under way at once and complete in any order, whenever the host is done with them. The
 * interrupt that tells so begins the next ones. The run prints how many requests were begun in interrupts,
 * and how many were complete before an earlier one was.
 */
#include "machine.h"
#include "startup_riscv.h"
#include "virtio_blk.h"

#include <stddef.h>

#define STORES 2u
#define CHANNELS 3u /* of the runtime, each with a slot on every device */

/* Memory map of the machine. */
#define VIRTIO 0x10001000u
#define VIRTIO_PITCH 0x1000u
#define VIRTIO_DEVICES 8u
#define VIRTIO_INTERRUPT 1u /* of the first device */
#define MTIME 0x0200BFF8u

const uint32_t machine_ticks_per_s = MACHINE_CLOCK_HZ;

static struct virtio_blk disk[STORES];
static uint8_t store_of_channel[CHANNELS]; /* of the request under way */

/* What the run prints. A ticket is the number of the request under way, from 1; 0: none is. */
static volatile uint32_t ticket[CHANNELS];
static uint32_t requests, begun_in_interrupts, overtaken;
static volatile uint8_t in_interrupt;

/* The high half is read again if the low half wrapped around meanwhile. */
uint64_t machine_ticks(void) {
    uint32_t high, low;
    do {
        high = MACHINE_REGISTER(MTIME + 4);
        low = MACHINE_REGISTER(MTIME);
    } while (MACHINE_REGISTER(MTIME + 4) != high);
    return (uint64_t)high << 32 | low;
}

/* Requests that an earlier one outlasts were overtaking. */
static void note_completed(uint32_t channels) {
    unsigned k, other;
    for (k = 0; k < CHANNELS; k++) {
        int first = 1;
        if ((channels >> k & 1u) == 0u) {
            continue;
        }
        for (other = 0; other < CHANNELS; other++) {
            first = first && (ticket[other] == 0 || ticket[other] >= ticket[k]);
        }
        overtaken += !first;
        ticket[k] = 0;
    }
}

void machine_interrupt(uint32_t number) {
    unsigned k;
    for (k = 0; k < STORES; k++) {
        if (disk[k].base == VIRTIO + VIRTIO_PITCH * (number - VIRTIO_INTERRUPT)) {
            note_completed(virtio_blk_interrupt(&disk[k]));
            in_interrupt = 1;
            machine_completed();
            in_interrupt = 0;
            return;
        }
    }
    machine_fail("an interrupt that nobody asked for", MACHINE_EXIT_FAULT);
}

static int start(uint8_t channel, uint8_t store, uint32_t offset, void *sram, uint32_t bytes, int to_device) {
    if (channel >= CHANNELS || store >= STORES || disk[store].base == 0) {
        return VIRTIO_BLK_ERROR_RANGE;
    }
    store_of_channel[channel] = store;
    ticket[channel] = ++requests;
    begun_in_interrupts += in_interrupt;
    return virtio_blk_start(&disk[store], channel, offset, sram, bytes, to_device);
}

static int read_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes) {
    (void)context;
    return start(channel, store, offset, target, bytes, 0);
}

/* The device only reads what it is given to write. */
static int write_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                       uint32_t bytes) {
    (void)context;
    return start(channel, store, offset, (uint8_t *)(uintptr_t)source, bytes, 1);
}

static int poll(void *context, uint8_t channel) {
    (void)context;
    return virtio_blk_poll(&disk[store_of_channel[channel]], channel);
}

/* Devices are found from the last address down: that is the order in which QEMU fills the slots. */
static unsigned find_disks(void) {
    unsigned k, found = 0;
    for (k = 0; k < VIRTIO_DEVICES && found < STORES; k++) {
        uintptr_t base = VIRTIO + VIRTIO_PITCH * (VIRTIO_DEVICES - 1u - k);
        if (virtio_blk_is_at(base)) {
            disk[found].base = base;
            if (virtio_blk_open(&disk[found]) != 0) {
                return 0;
            }
            riscv_interrupt_enable(VIRTIO_INTERRUPT + VIRTIO_DEVICES - 1u - k);
            found++;
        }
    }
    return found;
}

const struct ooc_port *machine_open(void) {
    static struct ooc_port port;
    if (find_disks() == 0) {
        machine_print("ooc: no virtio-blk-device answers (needs -global virtio-mmio.force-legacy=false)\n");
        return NULL;
    }
    port.granule[0] = VIRTIO_BLK_SECTOR;
    port.granule[1] = VIRTIO_BLK_SECTOR;
    port.read_start = read_start;
    port.write_start = write_start;
    port.poll = poll;
    return &port;
}

int machine_close(void) {
    machine_print_number("begun_in_interrupts", begun_in_interrupts);
    machine_print_number("overtaken", overtaken);
    return 0;
}
