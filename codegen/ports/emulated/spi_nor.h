/* spi_nor.h - serial NOR flash with the usual command set (3-byte addresses).
 *
 * Programming only clears bits: bytes that are written again must be erased before. Erasing
 * works on whole sectors of SPI_NOR_SECTOR bytes.
 *
 * The bus is one function: select the flash, send `command`, then send or receive `bytes` bytes,
 * then deselect it. `send` or `receive` or both are null.
 */
#ifndef SPI_NOR_H
#define SPI_NOR_H

#include <stdint.h>

#define SPI_NOR_PAGE 256u
#define SPI_NOR_SECTOR 65536u
#define SPI_NOR_BURST 32768u /* most bytes that the bus is asked to move at once */

enum spi_nor_error {
    SPI_NOR_ERROR_ABSENT = -200, /* no flash answers, or one of another size */
    SPI_NOR_ERROR_RANGE = -201, /* outside of the flash */
    SPI_NOR_ERROR_BUSY = -202 /* programming or erasing does not end */
};

struct spi_bus {
    void *context;
    void (*transaction)(void *context, const uint8_t *command, uint32_t command_bytes, const uint8_t *send,
                        uint8_t *receive, uint32_t bytes);
};

struct spi_nor {
    struct spi_bus bus;
    uint32_t bytes; /* size, a power of two up to 16 MiB */
};

/* See that a flash of nor->bytes bytes answers. All functions return 0 or an error. */
int spi_nor_open(const struct spi_nor *nor);

int spi_nor_read(const struct spi_nor *nor, uint32_t offset, uint8_t *target, uint32_t bytes);

/* Program bytes that have been erased. */
int spi_nor_program(const struct spi_nor *nor, uint32_t offset, const uint8_t *source, uint32_t bytes);

/* Erase every sector that holds one of these bytes. */
int spi_nor_erase(const struct spi_nor *nor, uint32_t offset, uint32_t bytes);

#endif
