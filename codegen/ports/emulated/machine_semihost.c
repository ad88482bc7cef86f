/* machine_semihost.c - any Cortex-M with a SysTick: storage in files of the host.
 *
 * For the machines whose emulation has no storage of its own. Nothing has to be set up: they run
 * at MACHINE_CLOCK_HZ after reset.
 */
#include "machine.h"
#include "semihost_store.h"
#include "systick.h"

const uint32_t machine_ticks_per_s = MACHINE_CLOCK_HZ;

const struct ooc_port *machine_open(void) {
    systick_start();
    return semihost_store_open();
}

uint64_t machine_ticks(void) {
    return systick_ticks();
}
