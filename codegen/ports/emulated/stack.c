/* stack.c - how much of the stack was ever used, by painting it. */
#include "stack.h"

#define PAINT 0x5AC3A53Cu
#define SPARED 16u /* words below the frame of stack_paint that it does not touch */

extern uint32_t stack_low[];

void stack_paint(void) {
    const volatile uint32_t *end = (uint32_t *)__builtin_frame_address(0) - SPARED;
    volatile uint32_t *word = stack_low;
    for (; word < end; word++) {
        *word = PAINT;
    }
}

__attribute__((noinline)) uintptr_t stack_mark(void) {
    uintptr_t pointer;
#if defined(__riscv)
    __asm__ volatile("mv %0, sp" : "=r"(pointer));
#else
    __asm__ volatile("mov %0, sp" : "=r"(pointer));
#endif
    return pointer;
}

uint32_t stack_used_bytes(uintptr_t mark) {
    const volatile uint32_t *word = stack_low;
    while ((uintptr_t)word < mark && *word == PAINT) {
        word++;
    }
    return (uint32_t)(mark - (uintptr_t)word);
}
