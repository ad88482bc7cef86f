/* systick.c - the core's 24-bit counter, made 64 bits wide by its interrupt. */
#include "systick.h"

#include "machine.h"

#define SYST_CSR 0xE000E010u
#define SYST_RVR 0xE000E014u
#define SYST_CVR 0xE000E018u
#define CSR_ENABLE 1u
#define CSR_TICKINT 2u
#define CSR_CLKSOURCE 4u /* the processor clock */
#define LAST 0x00FFFFFFu

static volatile uint32_t wraps;

void SysTick_Handler(void);
void SysTick_Handler(void) {
    wraps++;
}

void systick_start(void) {
    wraps = 0;
    MACHINE_REGISTER(SYST_RVR) = LAST;
    MACHINE_REGISTER(SYST_CVR) = 0;
    MACHINE_REGISTER(SYST_CSR) = CSR_ENABLE | CSR_TICKINT | CSR_CLKSOURCE;
    while (MACHINE_REGISTER(SYST_CVR) == 0) { /* it begins with the reload value at the next clock */
    }
}

/* The count is read between two equal numbers of wraps. */
uint64_t systick_ticks(void) {
    uint32_t before, counted;
    do {
        before = wraps;
        counted = LAST - MACHINE_REGISTER(SYST_CVR);
    } while (before != wraps);
    return ((uint64_t)before << 24) + counted;
}
