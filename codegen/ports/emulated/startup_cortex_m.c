/* startup_cortex_m.c - from reset to main, for any Cortex-M (ARM DDI 0403, 0419, 0553). */
#include "machine.h"
#include "semihost.h"
#include "stack.h"

#define INTERRUPTS 128
#define VTOR 0xE000ED08u
#define CCR 0xE000ED14u
#define CCR_LOB (1u << 19) /* low-overhead loops */
#define CPACR 0xE000ED88u
#define CPACR_FPU (0xFu << 20) /* floating point and MVE */
#define CFSR 0xE000ED28u
#define HFSR 0xE000ED2Cu
#define BFAR 0xE000ED38u

extern uint32_t stack_high[], data_load[], data_low[], data_high[], bss_low[], bss_high[];

int main(void);
void Reset_Handler(void);
void SysTick_Handler(void);
static void interrupt(void);

static uint32_t exception_number(void) {
    uint32_t number;
    __asm__ volatile("mrs %0, ipsr" : "=r"(number));
    return number & 0x1FFu;
}

static void print_part(const char *name, uint32_t value) {
    machine_print(name);
    machine_print_value(value);
}

static void fault(void) {
    print_part("ooc: fault or unexpected interrupt: exception ", exception_number());
#if __ARM_ARCH >= 7
    print_part(", CFSR ", MACHINE_REGISTER(CFSR));
    print_part(", HFSR ", MACHINE_REGISTER(HFSR));
    print_part(", BFAR ", MACHINE_REGISTER(BFAR));
#endif
    machine_print("\n");
    semihost_exit(MACHINE_EXIT_FAULT);
}

__attribute__((weak)) void SysTick_Handler(void) {
    fault();
}

__attribute__((weak)) void machine_interrupt(uint32_t number) {
    (void)number;
    fault();
}

static void interrupt(void) {
    machine_interrupt(exception_number() - 16u);
}

typedef void (*vector)(void);

#define REPEAT4(x) x, x, x, x
#define REPEAT16(x) REPEAT4(x), REPEAT4(x), REPEAT4(x), REPEAT4(x)
#define REPEAT64(x) REPEAT16(x), REPEAT16(x), REPEAT16(x), REPEAT16(x)

__attribute__((section(".vectors"), used)) static const vector vectors[16 + INTERRUPTS] = {
    (vector)(uintptr_t)stack_high, Reset_Handler, REPEAT4(fault), REPEAT4(fault), REPEAT4(fault), fault,
    SysTick_Handler, REPEAT64(interrupt), REPEAT64(interrupt)
};

static void units_on(void) {
#if defined(__ARM_FP) || defined(__ARM_FEATURE_MVE)
    MACHINE_REGISTER(CPACR) |= CPACR_FPU;
    __asm__ volatile("dsb\n isb" ::: "memory");
#endif
#if defined(__ARM_FEATURE_MVE)
    MACHINE_REGISTER(CCR) |= CCR_LOB;
#endif
#if __ARM_ARCH >= 7
    MACHINE_REGISTER(VTOR) = (uint32_t)(uintptr_t)vectors;
#endif
}

void Reset_Handler(void) {
    const uint32_t *from = data_load;
    uint32_t *to;
    units_on();
    stack_paint();
    for (to = data_low; (uintptr_t)to < (uintptr_t)data_high; to++) {
        *to = *from++;
    }
    for (to = bss_low; (uintptr_t)to < (uintptr_t)bss_high; to++) {
        *to = 0;
    }
    semihost_exit(main());
}
