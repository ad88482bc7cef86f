/* systick.h - the core's 24-bit counter (ARM DDI 0403 B3.3), made 64 bits wide by its interrupt. */
#ifndef SYSTICK_H
#define SYSTICK_H

#include <stdint.h>

/* Count the processor clock from 0 on. */
void systick_start(void);
uint64_t systick_ticks(void);

#endif
