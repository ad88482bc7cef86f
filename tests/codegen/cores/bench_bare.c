/* bench_bare.c - buffers on a bare core: words of SRAM, shifted as the case says. */
#include "bench.h"

uint8_t *bench_buffer(unsigned slot, uint32_t shift, uint32_t bytes) {
    static uint32_t memory[OOC_SLOTS][BENCH_BYTES / 4];
    return bytes + shift <= sizeof memory[slot] ? (uint8_t *)memory[slot] + shift : (uint8_t *)0;
}

uint8_t *bench_record(const uint8_t *record, uint32_t bytes) {
    return bytes > 0 ? (uint8_t *)(uintptr_t)record : (uint8_t *)0;
}
