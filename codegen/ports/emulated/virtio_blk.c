/* virtio_blk.c - block device behind a virtio memory-mapped transport (virtio 1.0). */
#include "virtio_blk.h"

#define REGISTER(disk, offset) (*(volatile uint32_t *)((disk)->base + (offset)))
#define MAGIC 0x000u
#define VERSION 0x004u
#define DEVICE 0x008u
#define DRIVER_FEATURES 0x020u
#define DRIVER_FEATURES_SELECT 0x024u
#define QUEUE_SELECT 0x030u
#define QUEUE_SIZE_MAX 0x034u
#define QUEUE_SIZE 0x038u
#define QUEUE_READY 0x044u
#define QUEUE_NOTIFY 0x050u
#define INTERRUPT_STATUS 0x060u
#define INTERRUPT_ACKNOWLEDGE 0x064u
#define STATUS 0x070u
#define QUEUE_DESCRIPTORS 0x080u
#define QUEUE_AVAILABLE 0x090u
#define QUEUE_USED 0x0A0u
#define CAPACITY 0x100u

#define MAGIC_VALUE 0x74726976u /* "virt" */
#define BLOCK_DEVICE 2u
#define STATUS_ACKNOWLEDGE 1u
#define STATUS_DRIVER 2u
#define STATUS_DRIVER_OK 4u
#define STATUS_FEATURES_OK 8u
#define FEATURE_VERSION_1 1u /* bit 32: bit 0 of the second word */

#define DESCRIPTOR_NEXT 1u
#define DESCRIPTOR_DEVICE_WRITES 2u
#define DESCRIPTORS_PER_SLOT 3u /* header, data, status */
#define REQUEST_READ 0u
#define REQUEST_WRITE 1u
#define STATUS_FINE 0u
#define STATUS_PENDING 0xFFu

/* Everything written before is in memory before what follows. */
static void barrier(void) {
    __sync_synchronize();
}

static void set_address(const struct virtio_blk *disk, uint32_t offset, const volatile void *address) {
    REGISTER(disk, offset) = (uint32_t)(uintptr_t)address;
    REGISTER(disk, offset + 4) = (uint32_t)((uint64_t)(uintptr_t)address >> 32);
}

int virtio_blk_is_at(uintptr_t base) {
    const volatile uint32_t *header = (const volatile uint32_t *)base;
    return header[MAGIC / 4] == MAGIC_VALUE && header[DEVICE / 4] == BLOCK_DEVICE;
}

static int negotiate(struct virtio_blk *disk) {
    uint32_t status = STATUS_ACKNOWLEDGE | STATUS_DRIVER;
    REGISTER(disk, STATUS) = 0; /* reset */
    REGISTER(disk, STATUS) = status;
    REGISTER(disk, DRIVER_FEATURES_SELECT) = 0;
    REGISTER(disk, DRIVER_FEATURES) = 0;
    REGISTER(disk, DRIVER_FEATURES_SELECT) = 1;
    REGISTER(disk, DRIVER_FEATURES) = FEATURE_VERSION_1;
    REGISTER(disk, STATUS) = status | STATUS_FEATURES_OK;
    return (REGISTER(disk, STATUS) & STATUS_FEATURES_OK) != 0;
}

static int set_queue(struct virtio_blk *disk) {
    REGISTER(disk, QUEUE_SELECT) = 0;
    if (REGISTER(disk, QUEUE_SIZE_MAX) < VIRTIO_BLK_QUEUE) {
        return 0;
    }
    REGISTER(disk, QUEUE_SIZE) = VIRTIO_BLK_QUEUE;
    set_address(disk, QUEUE_DESCRIPTORS, disk->descriptor);
    set_address(disk, QUEUE_AVAILABLE, &disk->available);
    set_address(disk, QUEUE_USED, &disk->used);
    REGISTER(disk, QUEUE_READY) = 1;
    REGISTER(disk, STATUS) = STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK;
    return 1;
}

int virtio_blk_open(struct virtio_blk *disk) {
    if (!virtio_blk_is_at(disk->base) || REGISTER(disk, VERSION) != 2) {
        return VIRTIO_BLK_ERROR_ABSENT;
    }
    if (!negotiate(disk) || !set_queue(disk)) {
        return VIRTIO_BLK_ERROR_REFUSED;
    }
    disk->sectors = REGISTER(disk, CAPACITY) | (uint64_t)REGISTER(disk, CAPACITY + 4) << 32;
    return 0;
}

static void describe(struct virtio_blk *disk, uint32_t number, const volatile void *address, uint32_t bytes,
                     uint32_t flags) {
    struct virtio_descriptor *descriptor = &disk->descriptor[number];
    descriptor->address = (uintptr_t)address;
    descriptor->bytes = bytes;
    descriptor->flags = (uint16_t)flags;
    descriptor->next = (uint16_t)(number + 1);
}

static int is_legal(const struct virtio_blk *disk, uint32_t slot, uint64_t offset, uint32_t bytes) {
    return slot < VIRTIO_BLK_SLOTS && !disk->outstanding[slot] && (offset | bytes) % VIRTIO_BLK_SECTOR == 0
           && bytes > 0 && offset / VIRTIO_BLK_SECTOR + bytes / VIRTIO_BLK_SECTOR <= disk->sectors;
}

int virtio_blk_start(struct virtio_blk *disk, uint32_t slot, uint64_t offset, void *sram, uint32_t bytes,
                     int to_device) {
    uint32_t first = slot * DESCRIPTORS_PER_SLOT;
    uint16_t index = disk->available.index;
    if (!is_legal(disk, slot, offset, bytes)) {
        return VIRTIO_BLK_ERROR_RANGE;
    }
    disk->request[slot].type = to_device ? REQUEST_WRITE : REQUEST_READ;
    disk->request[slot].sector = offset / VIRTIO_BLK_SECTOR;
    describe(disk, first, &disk->request[slot], sizeof disk->request[slot], DESCRIPTOR_NEXT);
    describe(disk, first + 1, sram, bytes, DESCRIPTOR_NEXT | (to_device ? 0 : DESCRIPTOR_DEVICE_WRITES));
    describe(disk, first + 2, &disk->status[slot], 1, DESCRIPTOR_DEVICE_WRITES);
    disk->status[slot] = STATUS_PENDING;
    disk->busy[slot] = 1;
    disk->outstanding[slot] = 1;
    disk->available.ring[index % VIRTIO_BLK_QUEUE] = (uint16_t)first;
    barrier();
    disk->available.index = (uint16_t)(index + 1);
    barrier();
    REGISTER(disk, QUEUE_NOTIFY) = 0;
    return 0;
}

int virtio_blk_poll(struct virtio_blk *disk, uint32_t slot) {
    if (slot >= VIRTIO_BLK_SLOTS || !disk->outstanding[slot]) {
        return VIRTIO_BLK_ERROR_RANGE;
    }
    if (disk->busy[slot]) {
        return 0;
    }
    barrier();
    disk->outstanding[slot] = 0;
    return disk->status[slot] == STATUS_FINE ? 1 : VIRTIO_BLK_ERROR_DEVICE;
}

uint32_t virtio_blk_interrupt(struct virtio_blk *disk) {
    const volatile struct virtio_used *used = &disk->used;
    uint32_t completed = 0;
    REGISTER(disk, INTERRUPT_ACKNOWLEDGE) = REGISTER(disk, INTERRUPT_STATUS);
    while (disk->seen != used->index) {
        uint32_t slot;
        barrier();
        slot = used->ring[disk->seen % VIRTIO_BLK_QUEUE].id / DESCRIPTORS_PER_SLOT;
        disk->busy[slot] = 0;
        completed |= (uint32_t)1 << slot;
        disk->seen++;
    }
    return completed;
}
