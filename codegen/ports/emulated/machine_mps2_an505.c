/* machine_mps2_an505.c - Arm MPS2 board with AN505 (Cortex-M33): paced DMA between PSRAM and SRAM.
 *
 * Store 0 begins at the start of the PSRAM, store 1 in its middle; the log of events is kept in SRAM
 * that no plan knows of. Each of the two IO channels has a timer and a DMA controller of its own. Addresses are those
 * of the secure world, numbers of interrupts those of the NVIC (Arm DAI 0505).
 *
 * How long a transfer takes comes from the board file: PACEk_READ_SETUP_NS, PACEk_READ_BYTES_PER_S and
 * likewise WRITE, for store k. With OOC_EVENT_LOG the run leaves a file events.csv (event_log.h).
 *
 * There is no idle hook: in QEMU 7.2 time that passes in WFI does not count as it should under -icount.
 */
#include "event_log.h"
#include "machine.h"
#include "paced_dma.h"
#include "semihost.h"
#include "systick.h"

#include <stddef.h>

#ifndef PACE1_READ_SETUP_NS /* there is one store */
#define PACE1_READ_SETUP_NS PACE0_READ_SETUP_NS
#define PACE1_WRITE_SETUP_NS PACE0_WRITE_SETUP_NS
#define PACE1_READ_BYTES_PER_S PACE0_READ_BYTES_PER_S
#define PACE1_WRITE_BYTES_PER_S PACE0_WRITE_BYTES_PER_S
#endif

#define TICK_HZ MACHINE_CLOCK_HZ
#define TICKS(ns) ((uint32_t)((uint64_t)(ns) * TICK_HZ / 1000000000u))
#define PACE(bytes_per_s) ((uint32_t)(((uint64_t)TICK_HZ << 16) / (bytes_per_s)))

#define PSRAM 0x80000000u
#define STORE_BYTES 0x00800000u
#define LOG 0x38200000u
#define LOG_BYTES 0x00200000u

#define TIMER0 0x50000000u
#define TIMER1 0x50001000u
#define TIMER0_INTERRUPT 3u
#define TIMER1_INTERRUPT 4u
#define DMA0 0x50110000u
#define DMA1 0x50111000u
#define DMA0_TERMINAL_COUNT 57u
#define DMA1_TERMINAL_COUNT 60u
#define NVIC_ISER 0xE000E100u
#define NVIC_IPR 0xE000E400u
#define LOWER_PRIORITY 0x80u
#define FPCCR 0xE000EF34u
#define FPCCR_SAVE (3u << 30) /* ASPEN, LSPEN */
#define HANDLER_STACK_BYTES 2048u

const uint32_t machine_ticks_per_s = TICK_HZ;

static struct paced_dma paced;
static struct ooc_port port;
static int32_t file_bytes[PACED_STORES]; /* of the images; -1: there is none */

#ifdef OOC_EVENT_LOG
static struct event_log event_log;

static void event(void *context, uint8_t stream, uint32_t index, uint8_t what) {
    (void)context;
    event_log_add(&event_log, stream, index, what, systick_ticks());
}
#endif

uint64_t machine_ticks(void) {
    return systick_ticks();
}

void machine_interrupt(uint32_t number) {
    int completed = 0;
    switch (number) {
    case TIMER0_INTERRUPT: completed = paced_dma_timer_interrupt(&paced.channel[0]); break;
    case TIMER1_INTERRUPT: completed = paced_dma_timer_interrupt(&paced.channel[1]); break;
    case DMA0_TERMINAL_COUNT: completed = paced_dma_interrupt(&paced.channel[0]); break;
    case DMA1_TERMINAL_COUNT: completed = paced_dma_interrupt(&paced.channel[1]); break;
    default: machine_fail("an interrupt that nobody asked for", MACHINE_EXIT_FAULT);
    }
    if (completed) {
        machine_completed();
    }
}

/* The counter's interrupt, which has priority 0, goes before: the log of events reads the time. */
static void enable(uint32_t number) {
    *(volatile uint8_t *)(uintptr_t)(NVIC_IPR + number) = LOWER_PRIORITY;
    MACHINE_REGISTER(NVIC_ISER + 4 * (number / 32)) = (uint32_t)1 << number % 32;
}

static void set_channel(struct paced_channel *channel, uint32_t timer, uint32_t dma, uint32_t timer_interrupt,
                        uint32_t dma_interrupt) {
    channel->timer = timer;
    channel->dma.base = dma;
    channel->state = PACED_FREE;
    enable(timer_interrupt);
    enable(dma_interrupt);
}

static void set_stores(void) {
    static const struct paced_store store[PACED_STORES] = {
        {(uint8_t *)PSRAM, STORE_BYTES, {TICKS(PACE0_READ_SETUP_NS), TICKS(PACE0_WRITE_SETUP_NS)},
         {PACE(PACE0_READ_BYTES_PER_S), PACE(PACE0_WRITE_BYTES_PER_S)}},
        {(uint8_t *)PSRAM + STORE_BYTES, STORE_BYTES,
         {TICKS(PACE1_READ_SETUP_NS), TICKS(PACE1_WRITE_SETUP_NS)},
         {PACE(PACE1_READ_BYTES_PER_S), PACE(PACE1_WRITE_BYTES_PER_S)}},
    };
    unsigned k;
    for (k = 0; k < PACED_STORES; k++) {
        paced.store[k] = store[k];
    }
}

/* ---------------------------------------------------------------------- image files */

static const char *const image[PACED_STORES] = {"store0.img", "store1.img"};

static int read_image(unsigned k) {
    int32_t file = semihost_open(image[k], SEMIHOST_READ);
    int failed;
    file_bytes[k] = file < 0 ? -1 : semihost_length(file);
    if (file < 0) {
        return k == 0 ? -1 : 0;
    }
    failed = file_bytes[k] < 0 || (uint32_t)file_bytes[k] > paced.store[k].bytes
             || semihost_read(file, 0, paced.store[k].memory, (uint32_t)file_bytes[k]) != 0;
    (void)semihost_close(file);
    return failed ? -1 : 0;
}

static int write_image(unsigned k) {
    int32_t file;
    int failed;
    if (file_bytes[k] < 0) {
        return 0;
    }
    file = semihost_open(image[k], SEMIHOST_UPDATE);
    failed = file < 0 || semihost_write(file, 0, paced.store[k].memory, (uint32_t)file_bytes[k]) != 0;
    if (file >= 0) {
        (void)semihost_close(file);
    }
    return failed ? -1 : 0;
}

/* Interrupts run on a stack of their own, and leave but eight words on that of the program, which is
 * what a plan counts: no handler touches a float register, so none is saved. The program goes on where
 * it is, on what is the process stack from here on. */
static void separate_stacks(void) {
    static uint64_t handlers[HANDLER_STACK_BYTES / 8u];
    MACHINE_REGISTER(FPCCR) &= ~FPCCR_SAVE;
    __asm__ volatile("mrs r0, msp\n"
                     "msr psp, r0\n"
                     "mrs r0, control\n"
                     "orr r0, r0, #2\n"
                     "msr control, r0\n"
                     "isb\n"
                     "msr msp, %0\n"
                     "isb"
                     :
                     : "r"(&handlers[HANDLER_STACK_BYTES / 8u])
                     : "r0", "memory");
}

const struct ooc_port *machine_open(void) {
    separate_stacks();
    set_stores();
    if (read_image(0) != 0 || read_image(1) != 0) {
        machine_print("ooc: a store image cannot be read or is too large for the PSRAM\n");
        return NULL;
    }
    set_channel(&paced.channel[0], TIMER0, DMA0, TIMER0_INTERRUPT, DMA0_TERMINAL_COUNT);
    set_channel(&paced.channel[1], TIMER1, DMA1, TIMER1_INTERRUPT, DMA1_TERMINAL_COUNT);
    systick_start();
    paced_dma_bind(&port, &paced);
#ifdef OOC_EVENT_LOG
    event_log.entry = (struct event_entry *)LOG;
    event_log.capacity = LOG_BYTES / sizeof(struct event_entry);
    port.event = event;
#endif
    return &port;
}

int machine_close(void) {
    if (write_image(0) != 0 || write_image(1) != 0) {
        machine_print("ooc: a store image cannot be written\n");
        return -1;
    }
#ifdef OOC_EVENT_LOG
    return event_log_write(&event_log, "events.csv");
#else
    return 0;
#endif
}
