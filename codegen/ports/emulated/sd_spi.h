/* sd_spi.h - SD card in SPI mode (SD Physical Layer Simplified Specification, chapter 7).
 *
 * The driver knows no controller: it gets three functions that move bytes. Blocks have 512 bytes.
 */
#ifndef SD_SPI_H
#define SD_SPI_H

#include <stdint.h>

#define SD_BLOCK 512u

/* The link to the card. */
struct sd_link {
    void (*select)(int on); /* chip select, active low on the wire */
    uint8_t (*exchange)(uint8_t byte);
    void (*receive)(uint8_t *target, uint32_t bytes); /* sends 0xFF; bytes: a multiple of 8 */
    void (*send)(const uint8_t *source, uint32_t bytes); /* ignores what comes back; likewise */
};

struct sd_card {
    struct sd_link link;
    uint8_t block_addressed; /* SDHC and SDXC; else SDSC, addressed by bytes */
};

enum sd_error {
    SD_ERROR_ABSENT = -200, /* nothing answers */
    SD_ERROR_VOLTAGE = -201, /* the card does not take 2.7 to 3.6 V */
    SD_ERROR_BUSY = -202, /* the card does not get ready */
    SD_ERROR_COMMAND = -203, /* the card refused a command */
    SD_ERROR_TOKEN = -204, /* no data came */
    SD_ERROR_CRC = -205, /* data came with a wrong CRC-16 */
    SD_ERROR_WRITE = -206 /* the card refused data */
};

/* Wake the card up; the link is set. The link runs at no more than 400 kHz. 0 or an error. */
int sd_open(struct sd_card *card);

/* Move `blocks` blocks from number `first` on; 0 or an error. */
int sd_read(const struct sd_card *card, uint32_t first, uint8_t *target, uint32_t blocks);
int sd_write(const struct sd_card *card, uint32_t first, const uint8_t *source, uint32_t blocks);

#endif
