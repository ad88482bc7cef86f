/* stack.h - how much of the stack was ever used, by painting it. The linker script places it. */
#ifndef STACK_H
#define STACK_H

#include <stdint.h>

/* Fill the unused part; called first thing after reset. */
void stack_paint(void);

/* Where the stack of the caller ends. */
uintptr_t stack_mark(void);

/* Bytes below the mark that were ever used, by functions and interrupts. */
uint32_t stack_used_bytes(uintptr_t mark);

#endif
