/* bench.c - runs the cases of cases.c on a bare Cortex-M and reports, per case, how many instructions
 * the kernels took and how many bytes of the output differ from what is expected.
 *
 * Made for QEMU with -icount shift=7: an instruction then takes 128 ns of its time, so that the
 * SysTick, at BENCH_CLOCK_HZ, counts instructions.
 */
#include "bench.h"

#include "machine.h"
#include "ooc_kernels.h"
#include "systick.h"

#include <string.h>

#define NANOSECONDS 128u /* per instruction */

int main(void);

/* All tiles of a case in their order; what a plan would place in SRAM lies in buffers. */
static void run(const struct bench_case *c, uint8_t *const buffer[OOC_SLOTS]) {
    static struct ooc_model model; /* all that a tile needs of it are the tensors */
    struct ooc_tile tile;
    uint32_t number;
    model.tensors = c->tensors;
    for (number = 0; number < c->tiles; number++) {
        uint32_t at = c->record_at[number];
        uint8_t *address[OOC_SLOTS];
        memcpy(address, buffer, sizeof address);
        address[OOC_SLOT_WEIGHTS] = bench_record(c->records + at, c->record_at[number + 1] - at);
        ooc_tile_set(&tile, &model, &c->stage, number, address);
        if (ooc_kernel(&tile) != 0) {
            machine_fail("a kernel is missing", MACHINE_EXIT_FAILED);
        }
    }
}

static void report(const struct bench_case *c) {
    uint8_t *buffer[OOC_SLOTS];
    uint64_t before, passed;
    uint32_t wrong = 0, i;
    buffer[OOC_SLOT_INPUT_0] = bench_buffer(OOC_SLOT_INPUT_0, c->shift, c->input_bytes);
    buffer[OOC_SLOT_INPUT_1] = bench_buffer(OOC_SLOT_INPUT_1, c->shift, c->input_bytes);
    buffer[OOC_SLOT_OUTPUT] = bench_buffer(OOC_SLOT_OUTPUT, c->shift, c->output_bytes);
    buffer[OOC_SLOT_SUMS] = bench_buffer(OOC_SLOT_SUMS, c->shift, c->sums_bytes);
    memcpy(buffer[OOC_SLOT_INPUT_0], c->input[0], c->input_bytes);
    memcpy(buffer[OOC_SLOT_INPUT_1], c->input[1], c->input_bytes);
    before = systick_ticks();
    run(c, buffer);
    passed = systick_ticks() - before;
    for (i = 0; i < c->output_bytes; i++) {
        wrong += buffer[OOC_SLOT_OUTPUT][i] != c->expected[i];
    }
    machine_print(c->name);
    machine_print(" ");
    machine_print_value((int64_t)(passed * (1000000000u / NANOSECONDS) / BENCH_CLOCK_HZ));
    machine_print(" ");
    machine_print_value((int64_t)wrong);
    machine_print("\n");
}

int main(void) {
    uint32_t k;
    systick_start();
    for (k = 0; k < bench_count; k++) {
        report(&bench_cases[k]);
    }
    return 0;
}
