/* startup_riscv.c - from reset to main on 32-bit RISC-V, machine mode, one hart, external interrupts
 * through a PLIC (RISC-V privileged specification; RISC-V PLIC specification).
 */
#include "startup_riscv.h"

#include "machine.h"
#include "semihost.h"
#include "stack.h"

#define PLIC 0x0C000000u
#define PLIC_PRIORITY(source) MACHINE_REGISTER(PLIC + 4u * (source))
#define PLIC_ENABLE(source) MACHINE_REGISTER(PLIC + 0x2000u + 4u * ((source) / 32u)) /* hart 0, machine mode */
#define PLIC_THRESHOLD MACHINE_REGISTER(PLIC + 0x200000u)
#define PLIC_CLAIM MACHINE_REGISTER(PLIC + 0x200004u)

#define MCAUSE_EXTERNAL 0x8000000Bu
#define MIE_EXTERNAL 0x800u
#define MSTATUS_INTERRUPTS 8u

#define TRAP_STACK_BYTES 2048u

#define READ_CSR(name, value) __asm__ volatile("csrr %0, " #name : "=r"(value))
#define WRITE_CSR(name, value) __asm__ volatile("csrw " #name ", %0" : : "r"(value) : "memory")
#define SET_CSR(name, value) __asm__ volatile("csrs " #name ", %0" : : "r"(value) : "memory")

extern uint32_t data_load[], data_low[], data_high[], bss_low[], bss_high[];

int main(void);
void Reset_Handler(void);
void startup(void) __attribute__((noreturn));
void riscv_trap(void);

/* Traps run here and leave the stack of the program alone, which is what a plan counts. */
static uint64_t trap_stack[TRAP_STACK_BYTES / 8u] __attribute__((aligned(16)));

static void fault(uint32_t cause) {
    uint32_t at, value;
    READ_CSR(mepc, at);
    READ_CSR(mtval, value);
    machine_print_number("ooc: fault, mcause", cause);
    machine_print_number("mepc", at);
    machine_print_number("mtval", value);
    semihost_exit(MACHINE_EXIT_FAULT);
}

__attribute__((weak)) void machine_interrupt(uint32_t number) {
    (void)number;
    machine_fail("an interrupt that nobody handles", MACHINE_EXIT_FAULT);
}

/* The end of the trap stack waits in mscratch, meanwhile the program's stack pointer does. Interrupts stay
 * off until mret; a trap in a trap is a fault, which does not return. */
__attribute__((naked, aligned(4))) static void trap_vector(void) {
    __asm__ volatile("csrrw sp, mscratch, sp\n"
                     "addi sp, sp, -64\n"
                     "sw ra, 0(sp)\n sw t0, 4(sp)\n sw t1, 8(sp)\n sw t2, 12(sp)\n"
                     "sw t3, 16(sp)\n sw t4, 20(sp)\n sw t5, 24(sp)\n sw t6, 28(sp)\n"
                     "sw a0, 32(sp)\n sw a1, 36(sp)\n sw a2, 40(sp)\n sw a3, 44(sp)\n"
                     "sw a4, 48(sp)\n sw a5, 52(sp)\n sw a6, 56(sp)\n sw a7, 60(sp)\n"
                     "call riscv_trap\n"
                     "lw ra, 0(sp)\n lw t0, 4(sp)\n lw t1, 8(sp)\n lw t2, 12(sp)\n"
                     "lw t3, 16(sp)\n lw t4, 20(sp)\n lw t5, 24(sp)\n lw t6, 28(sp)\n"
                     "lw a0, 32(sp)\n lw a1, 36(sp)\n lw a2, 40(sp)\n lw a3, 44(sp)\n"
                     "lw a4, 48(sp)\n lw a5, 52(sp)\n lw a6, 56(sp)\n lw a7, 60(sp)\n"
                     "addi sp, sp, 64\n"
                     "csrrw sp, mscratch, sp\n"
                     "mret");
}

/* Called by the vector. */
__attribute__((used)) void riscv_trap(void) {
    uint32_t cause, source;
    READ_CSR(mcause, cause);
    if (cause != MCAUSE_EXTERNAL) {
        fault(cause);
    }
    source = PLIC_CLAIM;
    machine_interrupt(source);
    PLIC_CLAIM = source;
}

void riscv_interrupt_enable(uint32_t source) {
    PLIC_PRIORITY(source) = 1;
    PLIC_ENABLE(source) |= (uint32_t)1 << source % 32u;
    PLIC_THRESHOLD = 0;
    SET_CSR(mie, MIE_EXTERNAL);
    SET_CSR(mstatus, MSTATUS_INTERRUPTS);
}

void startup(void) {
    const uint32_t *from = data_load;
    uint32_t *to;
    WRITE_CSR(mscratch, (uint32_t)(uintptr_t)&trap_stack[TRAP_STACK_BYTES / 8u]);
    WRITE_CSR(mtvec, (uint32_t)(uintptr_t)trap_vector);
    stack_paint();
    for (to = data_low; (uintptr_t)to < (uintptr_t)data_high; to++) {
        *to = *from++;
    }
    for (to = bss_low; (uintptr_t)to < (uintptr_t)bss_high; to++) {
        *to = 0;
    }
    semihost_exit(main());
}

/* First in memory: the core starts there. */
__attribute__((naked, section(".vectors"), used)) void Reset_Handler(void) {
    __asm__ volatile("la sp, stack_high\n j startup");
}
