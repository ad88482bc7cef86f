/* spi_nor.c - serial NOR flash with the usual command set (3-byte addresses). */
#include "spi_nor.h"

#include <stddef.h>

#define READ 0x03u
#define PAGE_PROGRAM 0x02u
#define WRITE_ENABLE 0x06u
#define READ_STATUS 0x05u
#define SECTOR_ERASE 0xD8u
#define READ_IDENTIFICATION 0x9Fu
#define WRITE_IN_PROGRESS 1u
#define PATIENCE 10000000u /* status reads before the flash is given up */

static uint32_t lesser(uint32_t a, uint32_t b) {
    return a < b ? a : b;
}

static void send_alone(const struct spi_nor *nor, uint8_t command) {
    nor->bus.transaction(nor->bus.context, &command, 1, NULL, NULL, 0);
}

static void addressed(const struct spi_nor *nor, uint8_t code, uint32_t offset, const uint8_t *send,
                      uint8_t *receive, uint32_t bytes) {
    uint8_t command[4];
    command[0] = code;
    command[1] = (uint8_t)(offset >> 16);
    command[2] = (uint8_t)(offset >> 8);
    command[3] = (uint8_t)offset;
    nor->bus.transaction(nor->bus.context, command, sizeof command, send, receive, bytes);
}

static int wait_until_ready(const struct spi_nor *nor) {
    static const uint8_t command = READ_STATUS;
    uint32_t patience;
    for (patience = PATIENCE; patience > 0; patience--) {
        uint8_t status = 0;
        nor->bus.transaction(nor->bus.context, &command, 1, NULL, &status, 1);
        if ((status & WRITE_IN_PROGRESS) == 0) {
            return 0;
        }
    }
    return SPI_NOR_ERROR_BUSY;
}

static int is_inside(const struct spi_nor *nor, uint32_t offset, uint32_t bytes) {
    return offset <= nor->bytes && bytes <= nor->bytes - offset;
}

int spi_nor_open(const struct spi_nor *nor) {
    static const uint8_t command = READ_IDENTIFICATION;
    uint8_t identity[3] = {0, 0, 0}; /* manufacturer, type, capacity as a power of two */
    nor->bus.transaction(nor->bus.context, &command, 1, NULL, identity, sizeof identity);
    if (identity[2] >= 32 || (uint32_t)1 << identity[2] != nor->bytes) {
        return SPI_NOR_ERROR_ABSENT;
    }
    return wait_until_ready(nor);
}

int spi_nor_read(const struct spi_nor *nor, uint32_t offset, uint8_t *target, uint32_t bytes) {
    if (!is_inside(nor, offset, bytes)) {
        return SPI_NOR_ERROR_RANGE;
    }
    while (bytes > 0) {
        uint32_t now = lesser(bytes, SPI_NOR_BURST);
        addressed(nor, READ, offset, NULL, target, now);
        offset += now;
        target += now;
        bytes -= now;
    }
    return 0;
}

int spi_nor_program(const struct spi_nor *nor, uint32_t offset, const uint8_t *source, uint32_t bytes) {
    int result = is_inside(nor, offset, bytes) ? 0 : SPI_NOR_ERROR_RANGE;
    while (bytes > 0 && result == 0) {
        /* The address wraps around within a page, so none may be crossed. */
        uint32_t now = lesser(bytes, SPI_NOR_PAGE - offset % SPI_NOR_PAGE);
        send_alone(nor, WRITE_ENABLE);
        addressed(nor, PAGE_PROGRAM, offset, source, NULL, now);
        result = wait_until_ready(nor);
        offset += now;
        source += now;
        bytes -= now;
    }
    return result;
}

int spi_nor_erase(const struct spi_nor *nor, uint32_t offset, uint32_t bytes) {
    int result = is_inside(nor, offset, bytes) ? 0 : SPI_NOR_ERROR_RANGE;
    uint32_t end = offset + bytes;
    for (offset -= offset % SPI_NOR_SECTOR; offset < end && result == 0; offset += SPI_NOR_SECTOR) {
        send_alone(nor, WRITE_ENABLE);
        addressed(nor, SECTOR_ERASE, offset, NULL, NULL, 0);
        result = wait_until_ready(nor);
    }
    return result;
}
