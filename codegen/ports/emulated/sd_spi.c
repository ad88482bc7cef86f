/* sd_spi.c - SD card in SPI mode. */
#include "sd_spi.h"

#include <stddef.h>

/* Commands (SD Physical Layer 7.3.1.3). */
#define GO_IDLE_STATE 0u
#define SEND_IF_COND 8u
#define STOP_TRANSMISSION 12u
#define SET_BLOCKLEN 16u
#define READ_SINGLE_BLOCK 17u
#define READ_MULTIPLE_BLOCK 18u
#define WRITE_BLOCK 24u
#define WRITE_MULTIPLE_BLOCK 25u
#define SD_SEND_OP_COND 41u
#define APP_CMD 55u
#define READ_OCR 58u

#define IF_COND 0x1AAu /* 2.7 to 3.6 V, and a pattern that comes back */
#define HOST_HAS_HIGH_CAPACITY 0x40000000u
#define R1_IDLE 0x01u
#define R1_ILLEGAL 0x04u
#define NO_ANSWER 0xFFu
#define OCR_POWERED 0x80u
#define OCR_HIGH_CAPACITY 0x40u

#define START_BLOCK 0xFEu
#define START_BLOCK_OF_MANY 0xFCu
#define STOP_TRANSFER 0xFDu
#define DATA_RESPONSE 0x1Fu
#define DATA_ACCEPTED 0x05u

/* Bytes waited for: answers come within 8, a read within 100 ms and a write within 250 ms. At
 * 25 MHz these are 312500 and 781250 bytes. */
#define ANSWER_BYTES 10u
#ifndef SD_WAIT_BYTES
#define SD_WAIT_BYTES 800000u
#endif
#define WAKE_TRIES 100000u

/* ---------------------------------------------------------------------- checksums */

static uint8_t crc7(const uint8_t *bytes, unsigned count) {
    uint8_t crc = 0;
    unsigned k, bit;
    for (k = 0; k < count; k++) {
        crc ^= bytes[k];
        for (bit = 0; bit < 8; bit++) {
            crc = (uint8_t)((unsigned)crc << 1 ^ ((crc & 0x80u) != 0 ? 0x12u : 0u));
        }
    }
    return (uint8_t)(crc | 1u);
}

/* x^16 + x^12 + x^5 + 1, a byte at a time without a table. */
static uint16_t crc16(const uint8_t *bytes, uint32_t count) {
    uint32_t crc = 0;
    uint32_t k;
    for (k = 0; k < count; k++) {
        uint32_t x = (crc >> 8 ^ bytes[k]) & 0xFFu;
        x ^= x >> 4;
        crc = (crc << 8 ^ x << 12 ^ x << 5 ^ x) & 0xFFFFu;
    }
    return (uint16_t)crc;
}

/* ----------------------------------------------------------------------- commands */

static void begin(const struct sd_card *card) {
    card->link.select(1);
    (void)card->link.exchange(0xFF);
}

/* The card lets go of the line only after eight more clocks. */
static void end(const struct sd_card *card) {
    card->link.select(0);
    (void)card->link.exchange(0xFF);
}

/* Whether a byte other than `idle` comes in time; it is left in *byte. */
static int await(const struct sd_card *card, uint8_t idle, uint32_t most, uint8_t *byte) {
    uint32_t k;
    for (k = 0; k < most; k++) {
        *byte = card->link.exchange(0xFF);
        if (*byte != idle) {
            return 1;
        }
    }
    return 0;
}

/* Wait until the card holds the line high. */
static int await_ready(const struct sd_card *card) {
    uint32_t k;
    for (k = 0; k < SD_WAIT_BYTES; k++) {
        if (card->link.exchange(0xFF) == 0xFF) {
            return 0;
        }
    }
    return SD_ERROR_BUSY;
}

/* R1, or NO_ANSWER. A command follows the one before after eight clocks; one that stops a
 * transfer comes at once, and the byte after it means nothing. */
static uint8_t command(const struct sd_card *card, unsigned number, uint32_t argument) {
    uint8_t frame[6] = {(uint8_t)(0x40u | number),  (uint8_t)(argument >> 24), (uint8_t)(argument >> 16),
                        (uint8_t)(argument >> 8), (uint8_t)argument,         0};
    unsigned k;
    uint8_t answer = NO_ANSWER;
    frame[5] = crc7(frame, 5);
    if (number != STOP_TRANSMISSION) {
        (void)card->link.exchange(0xFF);
    }
    for (k = 0; k < sizeof frame; k++) {
        (void)card->link.exchange(frame[k]);
    }
    if (number == STOP_TRANSMISSION) {
        (void)card->link.exchange(0xFF);
    }
    for (k = 0; k < ANSWER_BYTES && (answer & 0x80u) != 0; k++) {
        answer = card->link.exchange(0xFF);
    }
    return answer;
}

/* The four bytes that follow R1 in R3 and R7. */
static void rest_of_answer(const struct sd_card *card, uint8_t rest[4]) {
    unsigned k;
    for (k = 0; k < 4; k++) {
        rest[k] = card->link.exchange(0xFF);
    }
}

/* ------------------------------------------------------------------------ wake up */

static int reset(const struct sd_card *card) {
    unsigned k;
    for (k = 0; k < 10; k++) {
        if (command(card, GO_IDLE_STATE, 0) == R1_IDLE) {
            return 0;
        }
    }
    return SD_ERROR_ABSENT;
}

/* Cards before version 2 do not know SEND_IF_COND. */
static int check_voltage(const struct sd_card *card, uint32_t *capacity) {
    uint8_t rest[4];
    *capacity = 0;
    if ((command(card, SEND_IF_COND, IF_COND) & R1_ILLEGAL) != 0) {
        return 0;
    }
    rest_of_answer(card, rest);
    *capacity = HOST_HAS_HIGH_CAPACITY;
    return rest[2] == IF_COND >> 8 && rest[3] == (IF_COND & 0xFFu) ? 0 : SD_ERROR_VOLTAGE;
}

static int initialise(const struct sd_card *card, uint32_t capacity) {
    uint32_t k;
    for (k = 0; k < WAKE_TRIES; k++) {
        (void)command(card, APP_CMD, 0);
        if (command(card, SD_SEND_OP_COND, capacity) == 0) {
            return 0;
        }
    }
    return SD_ERROR_BUSY;
}

static int read_capacity_class(struct sd_card *card) {
    uint8_t ocr[4];
    uint32_t k;
    for (k = 0; k < WAKE_TRIES; k++) {
        if ((command(card, READ_OCR, 0) & (uint8_t)~R1_IDLE) != 0) {
            return SD_ERROR_COMMAND;
        }
        rest_of_answer(card, ocr);
        if ((ocr[0] & OCR_POWERED) != 0) {
            card->block_addressed = (ocr[0] & OCR_HIGH_CAPACITY) != 0;
            return 0;
        }
    }
    return SD_ERROR_BUSY;
}

static int wake(struct sd_card *card) {
    uint32_t capacity = 0;
    int result = reset(card);
    if (result == 0) {
        result = check_voltage(card, &capacity);
    }
    if (result == 0) {
        result = initialise(card, capacity);
    }
    if (result == 0) {
        result = read_capacity_class(card);
    }
    if (result == 0 && !card->block_addressed && command(card, SET_BLOCKLEN, SD_BLOCK) != 0) {
        result = SD_ERROR_COMMAND;
    }
    return result;
}

int sd_open(struct sd_card *card) {
    unsigned k;
    int result;
    card->link.select(0);
    for (k = 0; k < 10; k++) { /* 74 clocks or more without being selected */
        (void)card->link.exchange(0xFF);
    }
    begin(card);
    result = wake(card);
    end(card);
    return result;
}

/* --------------------------------------------------------------------------- data */

static uint32_t address_of(const struct sd_card *card, uint32_t block) {
    return card->block_addressed ? block : block * SD_BLOCK;
}

static int receive_block(const struct sd_card *card, uint8_t *target) {
    uint8_t token;
    uint32_t crc;
    if (!await(card, 0xFF, SD_WAIT_BYTES, &token) || token != START_BLOCK) {
        return SD_ERROR_TOKEN;
    }
    card->link.receive(target, SD_BLOCK);
    crc = (uint32_t)card->link.exchange(0xFF) << 8;
    crc |= card->link.exchange(0xFF);
    return crc == crc16(target, SD_BLOCK) ? 0 : SD_ERROR_CRC;
}

static int send_block(const struct sd_card *card, const uint8_t *source, uint8_t token) {
    uint16_t crc = crc16(source, SD_BLOCK);
    uint8_t answer;
    (void)card->link.exchange(token);
    card->link.send(source, SD_BLOCK);
    (void)card->link.exchange((uint8_t)(crc >> 8));
    (void)card->link.exchange((uint8_t)crc);
    if (!await(card, 0xFF, ANSWER_BYTES, &answer) || (answer & DATA_RESPONSE) != DATA_ACCEPTED) {
        return SD_ERROR_WRITE;
    }
    return await_ready(card);
}

int sd_read(const struct sd_card *card, uint32_t first, uint8_t *target, uint32_t blocks) {
    unsigned number = blocks == 1 ? READ_SINGLE_BLOCK : READ_MULTIPLE_BLOCK;
    int result = 0;
    begin(card);
    if (command(card, number, address_of(card, first)) != 0) {
        result = SD_ERROR_COMMAND;
    } else {
        uint32_t k;
        for (k = 0; k < blocks && result == 0; k++) {
            result = receive_block(card, target + k * SD_BLOCK);
        }
        if (number == READ_MULTIPLE_BLOCK) {
            (void)command(card, STOP_TRANSMISSION, 0);
            result = await_ready(card) != 0 ? SD_ERROR_BUSY : result;
        }
    }
    end(card);
    return result;
}

int sd_write(const struct sd_card *card, uint32_t first, const uint8_t *source, uint32_t blocks) {
    unsigned number = blocks == 1 ? WRITE_BLOCK : WRITE_MULTIPLE_BLOCK;
    uint8_t token = blocks == 1 ? START_BLOCK : START_BLOCK_OF_MANY;
    int result = 0;
    begin(card);
    if (command(card, number, address_of(card, first)) != 0) {
        result = SD_ERROR_COMMAND;
    } else {
        uint32_t k;
        (void)card->link.exchange(0xFF);
        for (k = 0; k < blocks && result == 0; k++) {
            result = send_block(card, source + k * SD_BLOCK, token);
        }
        if (number == WRITE_MULTIPLE_BLOCK) {
            (void)card->link.exchange(STOP_TRANSFER);
            (void)card->link.exchange(0xFF);
            result = await_ready(card) != 0 ? SD_ERROR_BUSY : result;
        }
    }
    end(card);
    return result;
}
