/* machine_lm3s6965evb.c - Stellaris LM3S6965 evaluation board: Cortex-M3, SD card on SSI0.
 *
 * Both stores are the one card. Registers: LM3S6965 data sheet; SSI is a PL022 (ARM DDI 0194).
 * There is no DMA: a transfer is over when its start returns.
 */
#include "machine.h"
#include "sd_spi.h"
#include "systick.h"

#include <stddef.h>

#define RCC 0x400FE060u /* run-mode clock configuration */
#define RCC_SYSDIV (0xFu << 23)
#define RCC_DIVIDE_BY_4 (3u << 23) /* 200 MHz / 4 */
#define RCC_USESYSDIV (1u << 22)
#define RCC_PWRDN (1u << 13)
#define RCC_BYPASS (1u << 11)
#define RIS 0x400FE050u
#define RIS_PLL_LOCKED (1u << 6)

#define RCGC1 0x400FE104u
#define RCGC1_SSI0 (1u << 4)
#define RCGC2 0x400FE108u
#define RCGC2_PORT_A (1u << 0)
#define RCGC2_PORT_D (1u << 3)

#define PORT_A_AFSEL 0x40004420u
#define PORT_A_DEN 0x4000451Cu
#define SSI_PINS 0x34u /* PA2 clock, PA4 receive, PA5 transmit */
#define PORT_D_PIN0 0x40007004u /* the data register, masked by the address to one pin */
#define PORT_D_DIR 0x40007400u
#define PORT_D_DEN 0x4000751Cu
#define CARD_SELECT 1u

#define SSI_CR0 0x40008000u
#define SSI_CR1 0x40008004u
#define SSI_DR 0x40008008u
#define SSI_SR 0x4000800Cu
#define SSI_CPSR 0x40008010u
#define CR0_8_BITS 7u
#define CR1_ENABLE 2u
#define SR_RECEIVED 4u
#define FIFO 8u
#define SLOW 126u /* 50 MHz / 126 < 400 kHz */
#define FAST 2u /* 25 MHz */

const uint32_t machine_ticks_per_s = MACHINE_CLOCK_HZ;

static struct sd_card card;
static int outcome; /* of the last transfer */

/* -------------------------------------------------------------------- the link */

static uint8_t received(void) {
    while ((MACHINE_REGISTER(SSI_SR) & SR_RECEIVED) == 0) {
    }
    return (uint8_t)MACHINE_REGISTER(SSI_DR);
}

static uint8_t exchange(uint8_t byte) {
    MACHINE_REGISTER(SSI_DR) = byte;
    return received();
}

static void receive(uint8_t *target, uint32_t bytes) {
    uint32_t at, k;
    for (at = 0; at < bytes; at += FIFO) {
        for (k = 0; k < FIFO; k++) {
            MACHINE_REGISTER(SSI_DR) = 0xFF;
        }
        for (k = 0; k < FIFO; k++) {
            target[at + k] = received();
        }
    }
}

static void send(const uint8_t *source, uint32_t bytes) {
    uint32_t at, k;
    for (at = 0; at < bytes; at += FIFO) {
        for (k = 0; k < FIFO; k++) {
            MACHINE_REGISTER(SSI_DR) = source[at + k];
        }
        for (k = 0; k < FIFO; k++) {
            (void)received();
        }
    }
}

static void select_card(int on) {
    MACHINE_REGISTER(PORT_D_PIN0) = on ? 0 : CARD_SELECT;
}

/* -------------------------------------------------------------------- the port */

static int is_legal(uint32_t offset, uint32_t bytes) {
    return offset % SD_BLOCK == 0 && bytes % SD_BLOCK == 0 && bytes > 0;
}

static int read_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, uint8_t *target,
                      uint32_t bytes) {
    (void)context;
    (void)channel;
    (void)store;
    outcome = is_legal(offset, bytes) ? sd_read(&card, offset / SD_BLOCK, target, bytes / SD_BLOCK)
                                      : SD_ERROR_COMMAND;
    return outcome;
}

static int write_start(void *context, uint8_t channel, uint8_t store, uint32_t offset, const uint8_t *source,
                       uint32_t bytes) {
    (void)context;
    (void)channel;
    (void)store;
    outcome = is_legal(offset, bytes) ? sd_write(&card, offset / SD_BLOCK, source, bytes / SD_BLOCK)
                                      : SD_ERROR_COMMAND;
    return outcome;
}

static int poll(void *context, uint8_t channel) {
    (void)context;
    (void)channel;
    return outcome == 0 ? 1 : outcome;
}

/* -------------------------------------------------------------------- the board */

static void clock_on(void) {
    uint32_t rcc = MACHINE_REGISTER(RCC) | RCC_BYPASS;
    MACHINE_REGISTER(RCC) = rcc;
    rcc = (rcc & ~(RCC_SYSDIV | RCC_PWRDN)) | RCC_DIVIDE_BY_4 | RCC_USESYSDIV;
    MACHINE_REGISTER(RCC) = rcc;
    while ((MACHINE_REGISTER(RIS) & RIS_PLL_LOCKED) == 0) {
    }
    MACHINE_REGISTER(RCC) = rcc & ~RCC_BYPASS;
}

static void ssi_on(void) {
    MACHINE_REGISTER(RCGC1) |= RCGC1_SSI0;
    MACHINE_REGISTER(RCGC2) |= RCGC2_PORT_A | RCGC2_PORT_D;
    MACHINE_REGISTER(PORT_A_AFSEL) |= SSI_PINS;
    MACHINE_REGISTER(PORT_A_DEN) |= SSI_PINS;
    MACHINE_REGISTER(PORT_D_DEN) |= CARD_SELECT;
    MACHINE_REGISTER(PORT_D_DIR) |= CARD_SELECT;
    MACHINE_REGISTER(SSI_CR1) = 0;
    MACHINE_REGISTER(SSI_CR0) = CR0_8_BITS;
    MACHINE_REGISTER(SSI_CPSR) = SLOW;
    MACHINE_REGISTER(SSI_CR1) = CR1_ENABLE;
}

const struct ooc_port *machine_open(void) {
    static const struct ooc_port port = {.granule = {SD_BLOCK, SD_BLOCK},
                                         .read_start = read_start,
                                         .write_start = write_start,
                                         .poll = poll};
    clock_on();
    systick_start();
    ssi_on();
    card.link.select = select_card;
    card.link.exchange = exchange;
    card.link.receive = receive;
    card.link.send = send;
    outcome = sd_open(&card);
    if (outcome != 0) {
        machine_print("ooc: the SD card does not answer (error ");
        machine_print_value(outcome);
        machine_print(")\n");
        return NULL;
    }
    MACHINE_REGISTER(SSI_CPSR) = FAST;
    return &port;
}

uint64_t machine_ticks(void) {
    return systick_ticks();
}
