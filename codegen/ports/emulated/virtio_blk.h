/* virtio_blk.h - block device behind a virtio memory-mapped transport (virtio 1.0).
 *
 * One request per slot may be under way; requests of different slots complete in any order,
 * each at the moment the host is done with it.
 */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include <stdint.h>

#define VIRTIO_BLK_SLOTS 4u
#define VIRTIO_BLK_SECTOR 512u
#define VIRTIO_BLK_QUEUE 16u /* a power of two, at least three descriptors per slot */

struct virtio_descriptor {
    uint64_t address;
    uint32_t bytes;
    uint16_t flags;
    uint16_t next;
};

struct virtio_available {
    uint16_t flags;
    uint16_t index;
    uint16_t ring[VIRTIO_BLK_QUEUE];
    uint16_t event;
};

struct virtio_used {
    uint16_t flags;
    uint16_t index;
    struct virtio_used_entry {
        uint32_t id;
        uint32_t bytes;
    } ring[VIRTIO_BLK_QUEUE];
    uint16_t event;
};

struct virtio_request {
    uint32_t type;
    uint32_t reserved;
    uint64_t sector;
};

enum virtio_blk_error {
    VIRTIO_BLK_ERROR_ABSENT = -300, /* no block device at that address, or an old transport */
    VIRTIO_BLK_ERROR_REFUSED = -301, /* the device does not take the features or the queue */
    VIRTIO_BLK_ERROR_RANGE = -302, /* outside of the device, off the sector, or slot in use */
    VIRTIO_BLK_ERROR_DEVICE = -303 /* the device failed the request */
};

/* Driver and the memory it shares with the device. Statically allocated and zero at first. */
struct virtio_blk {
    struct virtio_descriptor descriptor[VIRTIO_BLK_QUEUE] __attribute__((aligned(16)));
    struct virtio_available available;
    struct virtio_used used __attribute__((aligned(4)));
    struct virtio_request request[VIRTIO_BLK_SLOTS];
    volatile uint8_t status[VIRTIO_BLK_SLOTS];
    volatile uint8_t busy[VIRTIO_BLK_SLOTS];
    uint8_t outstanding[VIRTIO_BLK_SLOTS]; /* submitted and not yet collected */
    uint64_t sectors;
    uintptr_t base;
    uint16_t seen; /* entries of the used ring already handled */
};

/* Find out whether a block device is at an address. */
int virtio_blk_is_at(uintptr_t base);

/* Start the device at disk->base. Returns 0 or an error. */
int virtio_blk_open(struct virtio_blk *disk);

/* Begin to read (write) whole sectors. Returns 0 or an error. */
int virtio_blk_start(struct virtio_blk *disk, uint32_t slot, uint64_t offset, void *sram, uint32_t bytes,
                     int to_device);

/* What became of the request of a slot: 1 done, 0 under way, or an error. */
int virtio_blk_poll(struct virtio_blk *disk, uint32_t slot);

/* Handle the interrupt of the device; bit k of what it returns: the request of slot k is complete. */
uint32_t virtio_blk_interrupt(struct virtio_blk *disk);

#endif
