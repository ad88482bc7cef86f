/* machine.h - what an emulated machine supplies, and what it gets.
 *
 * A machine is one file machine_NAME.c and its drivers; codegen/machines.py says with which
 * flags, memory and emulator arguments it is built and run. main_emulated.c opens it, runs the
 * network and reports. Around the run the host prepares and reads back the stores: files
 * store0.img (weights, and all the rest if there is one store) and store1.img in the
 * directory where the emulator is started.
 */
#ifndef MACHINE_H
#define MACHINE_H

#include "ooc_port.h"

#include <stdint.h>

/* ---------------------------------------------------- what machine_NAME.c defines */

/* Set up clocks, counter, storage and DMA. Returns a port that stays valid, or null after
 * machine_print of one line that says why the storage does not answer. */
const struct ooc_port *machine_open(void);

/* After a run that succeeded: see that store0.img and store1.img hold what the stores hold.
 * Returns 0, or -1 after machine_print of one line. Storage that is a file of the emulator
 * has nothing to do: the default (weak) returns 0. */
int machine_close(void);

/* A counter that never wraps around, from machine_open on, and its rate. systick.h has one. */
uint64_t machine_ticks(void);
extern const uint32_t machine_ticks_per_s;

/* Called for external interrupt `number` (0: the first after the 16 of the core). The default
 * (weak) ends the program. SysTick_Handler is weak as well; systick.c defines it. */
void machine_interrupt(uint32_t number);

/* ------------------------------------------------- what it may use (semihost.c, startup) */

/* Tell the runtime that a transfer has ended, so that the next one begins (ooc_advance). For
 * interrupts, whose stack must have room for it. */
void machine_completed(void);

/* Print text, a number, or a line "NAME VALUE". */
void machine_print(const char *text);
void machine_print_value(int64_t value);
void machine_print_number(const char *name, uint64_t value);

/* Print one line "ooc: TEXT" and end the emulation with an exit status. */
void machine_fail(const char *text, int status) __attribute__((noreturn));

/* Exit statuses of the program: 0 done, else: */
#define MACHINE_EXIT_FAILED 1 /* the run failed, or the storage did not answer */
#define MACHINE_EXIT_USAGE 2 /* an argument that main_emulated.c does not know */
#define MACHINE_EXIT_FAULT 99 /* a fault or an interrupt that nobody handles */

/* Peripheral registers. */
#define MACHINE_REGISTER(address) (*(volatile uint32_t *)(uintptr_t)(address))

#endif
