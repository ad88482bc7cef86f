/* startup_riscv.h - interrupts of the RISC-V machines. */
#ifndef STARTUP_RISCV_H
#define STARTUP_RISCV_H

#include <stdint.h>

/* Let a source of the PLIC interrupt; machine_interrupt is called with its number. */
void riscv_interrupt_enable(uint32_t source);

#endif
