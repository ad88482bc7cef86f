/* bench_host.c - the cases on the host, for sanitizers: blocks of the very size, and no clock. */
#include "bench.h"

#include "machine.h"
#include "systick.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static uint8_t *block[OOC_SLOTS];

uint8_t *bench_buffer(unsigned slot, uint32_t shift, uint32_t bytes) {
    free(block[slot]);
    block[slot] = malloc(shift + bytes);
    return block[slot] == NULL ? NULL : block[slot] + shift;
}

uint8_t *bench_record(const uint8_t *record, uint32_t bytes) {
    uint8_t *copy = bench_buffer(OOC_SLOT_WEIGHTS, 0, bytes);
    return memcpy(copy, record, bytes);
}

void systick_start(void) {
}

uint64_t systick_ticks(void) {
    return 0;
}

void machine_print(const char *text) {
    printf("%s", text);
}

void machine_print_value(int64_t value) {
    printf("%ld", (long)value);
}

void machine_fail(const char *text, int status) {
    printf("%s\n", text);
    exit(status);
}
